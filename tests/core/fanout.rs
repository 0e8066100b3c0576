//! The core without sockets: who hears what, the echo rule, stored messages, and many conns.

use crate::world::*;
use wsloop::internals::broker;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{BrokerKind, Settings};

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const SPEAKS: &str = "/ws/foo?publish-broadcast";
const BOTH: &str = "/ws/foo?subscribe-broadcast&publish-broadcast";
const ECHO: &str = "/ws/foo?subscribe-broadcast&publish-broadcast&echo";
const CHANNEL: &str = "broadcast:foo";

/// A world for each broker: the embedded one, and Redis with either order of push and reply.
fn worlds() -> Vec<(&'static str, World)> {
    worlds_of(|_| {})
}

/// The same with other settings.
fn worlds_of(change: impl Fn(&mut Settings)) -> Vec<(&'static str, World)> {
    let (mut local, mut redis) = (settings(), with_redis());
    change(&mut local);
    change(&mut redis);
    let push_later = FakeRedis::with(|redis| redis.push_first = false);
    vec![
        ("the embedded broker", World::new(local)),
        ("Redis, push first", World::new(redis.clone())),
        ("Redis, reply first", World::around(redis, push_later)),
    ]
}

fn numbered(word: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{word} {n}")).collect()
}

// Fan-out.

#[test]
fn every_message_of_a_burst_reaches_everyone_in_order_and_once() {
    for (broker, mut world) in worlds() {
        let hearers: Vec<BrowserId> = (0..50).map(|_| world.open(HEARS)).collect();
        let elsewhere = world.open("/ws/bar?subscribe-broadcast");
        let speaker = world.open(SPEAKS);
        let texts = numbered("message", 200);
        let burst: Vec<u8> =
            texts.iter().flat_map(|text| masked(Opcode::Text, text.as_bytes())).collect();
        world.send(speaker, &burst);
        world.run();
        for id in hearers {
            assert_eq!(world.texts(id), texts, "{broker}");
        }
        assert_eq!(world.heard(elsewhere), [], "{broker}");
        assert_eq!(world.heard(speaker), [], "{broker}: it does not listen");
        let metrics = world.metrics();
        assert_eq!((metrics.publishes_total, metrics.messages_in_total), (200, 200));
        assert_eq!((metrics.deliveries_total, metrics.messages_out_total), (200, 10_000));
    }
}

#[test]
fn what_arrives_in_pieces_is_delivered_the_same() {
    for piece in [1, 2, 3, 7, 64, 1000] {
        let mut world = World::new(with_redis());
        world.redis.piece = piece;
        let id = world.open(HEARS);
        let texts = numbered("a message that is cut", 20);
        texts.iter().for_each(|text| world.redis.publish(CHANNEL, text, 0, 0));
        world.run();
        assert_eq!(world.texts(id), texts, "in pieces of {piece}");
    }
}

#[test]
fn text_stays_text_and_what_is_not_text_goes_out_as_binary() {
    for (broker, mut world) in worlds() {
        let plain = world.open(HEARS);
        let binary = world.open("/ws/foo?subscribe-broadcast&binary");
        let speaker = world.open(SPEAKS);
        world.send_frame(speaker, Opcode::Text, "caf\u{e9}".as_bytes());
        world.send_frame(speaker, Opcode::Binary, b"text all the same");
        world.send_frame(speaker, Opcode::Binary, b"\x00\x12\xaa");
        let late = world.open(HEARS);
        let text = |text: &str| Heard::Text(text.to_string());
        let bytes = |bytes: &[u8]| Heard::Binary(bytes.to_vec());
        let as_it_is = [text("caf\u{e9}"), text("text all the same"), bytes(b"\x00\x12\xaa")];
        let all_binary = ["caf\u{e9}".as_bytes(), b"text all the same", b"\x00\x12\xaa"].map(bytes);
        assert_eq!(world.heard(plain), as_it_is, "{broker}");
        assert_eq!(world.heard(binary), all_binary, "{broker}");
        assert_eq!(world.heard(late), [bytes(b"\x00\x12\xaa")], "{broker}: stored as it came");
    }
}

#[test]
fn neither_empty_messages_nor_heartbeats_are_published() {
    for (broker, mut world) in worlds_of(|s| s.heartbeat = Some(b"--heartbeat--".to_vec())) {
        let hearer = world.open(HEARS);
        let speaker = world.open(SPEAKS);
        world.say(speaker, "");
        world.send_frame(speaker, Opcode::Binary, b"");
        world.say(speaker, "--heartbeat--");
        assert_eq!(world.texts(speaker), ["--heartbeat--"], "{broker}: answered at once");
        assert_eq!(world.heard(hearer), [], "{broker}");
        assert_eq!(world.metrics().publishes_total, 0);
        assert_eq!(world.metrics().messages_in_total, 2);
        let late = world.open(HEARS);
        assert_eq!(world.heard(late), [], "{broker}: nothing is stored");
    }
    // What the backend publishes is forwarded, except that nothing is not a message.
    let mut world = World::new(Settings { heartbeat: Some(b"hb".to_vec()), ..with_redis() });
    let hearer = world.open(HEARS);
    world.publish(CHANNEL, "hb");
    world.publish(CHANNEL, "");
    assert_eq!(world.texts(hearer), ["hb"]);
}

#[test]
fn a_message_of_the_greatest_size_goes_round() {
    for (broker, mut world) in worlds_of(|s| s.max_message_size = 1000) {
        let (hearer, speaker) = (world.open(HEARS), world.open(SPEAKS));
        let text = "x".repeat(1000);
        world.say(speaker, &text);
        assert_eq!(world.texts(hearer), [text.as_str()], "{broker}");
        let late = world.open(HEARS);
        assert_eq!(world.texts(late), [text], "{broker}");
    }
}

// The echo rule.

#[test]
fn own_messages_are_withheld_however_fast_they_come() {
    let same = vec!["again".to_string(); 100];
    for texts in [same, numbered("different", 100)] {
        for (broker, mut world) in worlds() {
            let (speaker, tab, echo) = (world.open(BOTH), world.open(BOTH), world.open(ECHO));
            let burst: Vec<u8> =
                texts.iter().flat_map(|text| masked(Opcode::Text, text.as_bytes())).collect();
            world.send(speaker, &burst);
            world.run();
            assert_eq!(world.heard(speaker), [], "{broker}");
            assert_eq!(world.texts(tab), texts, "{broker}: another tab of the same user");
            assert_eq!(world.texts(echo), texts, "{broker}");
            world.send(echo, &burst);
            world.run();
            assert_eq!(world.texts(echo), texts, "{broker}: it asked for its own");
            assert_eq!(world.texts(speaker), texts, "{broker}: the same bytes, not its own");
        }
    }
}

#[test]
fn the_same_bytes_from_somebody_else_are_delivered() {
    for (broker, mut world) in worlds() {
        let (one, two) = (world.open(BOTH), world.open(BOTH));
        world.send(one, &masked(Opcode::Text, b"hi"));
        world.send(two, &masked(Opcode::Text, b"hi"));
        world.run();
        assert_eq!((world.texts(one), world.texts(two)), (vec!["hi".into()], vec!["hi".into()]));
        world.say(one, "hi");
        assert_eq!((world.texts(one), world.texts(two)), (vec![], vec!["hi".into()]), "{broker}");
        world.say(two, "hi");
        assert_eq!((world.texts(one), world.texts(two)), (vec!["hi".into()], vec![]), "{broker}");
    }
    for push_first in [true, false] {
        let mut world =
            World::around(with_redis(), FakeRedis::with(|redis| redis.push_first = push_first));
        let id = world.open(BOTH);
        for (before, after) in [(0, 1), (1, 0), (3, 3)] {
            world.redis.paused = true;
            world.say(id, "hi");
            (0..before).for_each(|_| world.redis.publish(CHANNEL, "hi", 0, 0));
            world.redis.paused = false;
            world.run();
            (0..after).for_each(|_| world.publish(CHANNEL, "hi"));
            assert_eq!(world.texts(id).len(), before + after, "all but its own");
        }
    }
}

#[test]
fn a_conn_that_publishes_where_it_does_not_listen_leaves_nothing_behind() {
    for (broker, mut world) in worlds() {
        let (speaker, hearer) = (world.open(SPEAKS), world.open(BOTH));
        world.say(speaker, "hi");
        world.say(hearer, "hi");
        assert_eq!(world.texts(hearer), ["hi"], "{broker}: but for its own");
    }
}

/// What is remembered of an own message, for a push that never comes, dies with the reply to the
/// next command, or at once with an error.
#[test]
fn what_is_withheld_is_forgotten_when_its_push_cannot_come_any_more() {
    for push_first in [true, false] {
        for expire_s in [0, 60] {
            let mut settings = with_redis();
            settings.broker.expire_s = expire_s;
            let redis = FakeRedis::with(|redis| redis.push_first = push_first);
            let mut world = World::around(settings, redis);
            let id = world.open(BOTH);

            // Refused: nothing was published, so the next equal message is somebody else's.
            world.redis.denied = vec![("PUBLISH", CHANNEL)];
            world.redis.paused = true;
            world.say(id, "hi");
            world.redis.serve(1);
            world.run();
            world.redis.publish(CHANNEL, "hi", 0, 0);
            world.run();
            assert_eq!(world.texts(id), ["hi"], "expire {expire_s}");
            world.redis.paused = false;
            world.redis.denied.clear();
            world.run();
            assert_eq!(world.metrics().broker_errors_total, 1);

            // The push is lost, and the next command is answered.
            world.redis.denied = vec![("PUBLISH", CHANNEL)];
            world.say(id, "ho");
            world.redis.denied.clear();
            world.say(id, "next");
            world.publish(CHANNEL, "ho");
            assert_eq!(world.texts(id), ["ho"], "expire {expire_s}");

            // The link goes.
            world.redis.held = true;
            world.say(id, "he");
            world.redis.held = false;
            world.cut_redis();
            world.pass(5_000);
            world.heard(id);
            world.publish(CHANNEL, "he");
            assert_eq!(world.texts(id), ["he"], "expire {expire_s}");
        }
    }
}

// Stored messages.

#[test]
fn who_comes_later_gets_the_last_message_first() {
    for (broker, mut world) in worlds() {
        let speaker = world.open(SPEAKS);
        world.say(speaker, "one");
        world.say(speaker, "two");
        let late = world.open(BOTH);
        assert_eq!(world.texts(late), ["two"], "{broker}");
        world.say(late, "three");
        assert_eq!(world.heard(late), [], "{broker}");
        let own = world.open(BOTH);
        assert_eq!(world.texts(own), ["three"], "{broker}: own or not, without echo");
        world.hang_up(own);
        let elsewhere = world.open("/ws/bar?subscribe-broadcast");
        assert_eq!(world.heard(elsewhere), [], "{broker}");
    }
}

#[test]
fn a_stored_message_is_binary_for_who_wants_it_so() {
    for (broker, mut world) in worlds() {
        let speaker = world.open(SPEAKS);
        world.say(speaker, "one");
        let late = world.open("/ws/foo?subscribe-broadcast&binary");
        assert_eq!(world.heard(late), [Heard::Binary(b"one".to_vec())], "{broker}");
    }
}

#[test]
fn stored_messages_expire_and_each_publishing_renews_them() {
    for (broker, mut world) in worlds_of(|s| s.broker.expire_s = 10) {
        let speaker = world.open(SPEAKS);
        for (passed_ms, said, heard) in [
            (0, Some("one"), Some("one")),
            (9_999, None, Some("one")),
            (1, None, None),
            (0, Some("two"), Some("two")),
            (6_000, Some("two"), Some("two")),
            (9_999, None, Some("two")),
            (1, None, None),
        ] {
            world.pass(passed_ms);
            said.into_iter().for_each(|text| world.say(speaker, text));
            let late = world.open(HEARS);
            assert_eq!(world.texts(late), Vec::from_iter(heard), "{broker}");
            world.hang_up(late);
        }
    }
    for (broker, mut world) in worlds_of(|s| s.broker.expire_s = 0) {
        let (speaker, hearer) = (world.open(SPEAKS), world.open(HEARS));
        world.say(speaker, "one");
        let late = world.open(HEARS);
        assert_eq!(world.heard(late), [], "{broker}: nothing is stored");
        assert_eq!(world.texts(hearer), ["one"], "{broker}");
        assert!(world.redis.take_commands().iter().all(|command| !command.starts_with("SET")));
    }
}

#[test]
fn an_empty_stored_value_is_not_sent() {
    let mut world = World::new(with_redis());
    world.redis.set(CHANNEL, "");
    let id = world.open(HEARS);
    assert_eq!(world.heard(id), []);
    assert_eq!(world.metrics().stored_unreadable_total, 0);
}

#[test]
fn what_is_too_large_is_skipped_and_counted_and_the_link_stays() {
    let mut world = World::new(Settings { max_message_size: 1000, ..with_redis() });
    world.redis.piece = 100;
    world.redis.set(CHANNEL, "x".repeat(1001));
    let id = world.open(HEARS);
    assert_eq!(world.metrics().stored_unreadable_total, 1);
    world.publish(CHANNEL, "x".repeat(1_000_000));
    world.publish(CHANNEL, "small");
    assert_eq!(world.texts(id), ["small"]);
    assert_eq!(world.metrics().deliveries_skipped_total, 1);
    assert_eq!((world.metrics().broker_lost_total, world.dials_ms.len()), (0, 1));
}

#[test]
fn a_stored_message_that_cannot_be_read_leaves_the_socket_open() {
    let mut world = World::new(with_redis());
    world.redis.denied = vec![("GETRANGE", CHANNEL), ("GET", CHANNEL)];
    let id = world.open(HEARS);
    world.publish(CHANNEL, "live");
    assert_eq!(world.texts(id), ["live"]);
    assert_eq!(world.metrics().stored_unreadable_total, 1);
    assert_eq!(world.metrics().broker_lost_total, 0);
}

/// The live copy comes between the confirmation of SUBSCRIBE and the answer to GET.
#[test]
fn a_message_whose_live_copy_crosses_the_stored_one_is_sent_once() {
    let mut world = World::new(with_redis());
    world.redis.set(CHANNEL, "old");
    world.redis.paused = true;
    let id = world.knock(HEARS);
    world.redis.serve(1);
    world.run();
    assert_eq!(world.status(id), Some(101));
    world.redis.publish(CHANNEL, "new", EXPIRE_S, world.now_ms);
    world.redis.paused = false;
    world.run();
    assert_eq!(world.texts(id), ["new"]);
}

#[test]
fn conns_that_come_while_a_stored_message_is_under_way_share_it() {
    let mut world = World::new(with_redis());
    world.redis.set(CHANNEL, "old");
    world.redis.paused = true;
    let early: Vec<BrowserId> = (0..10).map(|_| world.knock(HEARS)).collect();
    world.redis.serve(1);
    world.run();
    let late: Vec<BrowserId> = (0..10).map(|_| world.open(HEARS)).collect();
    world.redis.publish(CHANNEL, "new", EXPIRE_S, world.now_ms);
    world.run();
    let latest: Vec<BrowserId> = (0..10).map(|_| world.open(HEARS)).collect();
    world.redis.paused = false;
    world.run();
    let subscribe = format!("SUBSCRIBE {CHANNEL}");
    let get = format!("GETRANGE {CHANNEL} 0 {}", 1 << 20);
    assert_eq!(world.redis.take_commands(), [subscribe, get.clone(), get]);
    for id in [early, late, latest].concat() {
        assert_eq!(world.texts(id), ["new"], "live or stored, and once");
    }
}

/// What was published before a channel was subscribed to is no live message for who comes next: it
/// would keep the newer stored one from it.
#[test]
fn the_rest_of_an_earlier_subscription_is_not_heard() {
    let mut world = World::new(with_redis());
    let gone = world.open(HEARS);
    world.redis.held = true;
    world.publish(CHANNEL, "old");
    world.hang_up(gone);
    assert_eq!(world.redis.subscribed(), [""; 0]);
    world.publish(CHANNEL, "missed");
    let id = world.knock(HEARS);
    world.redis.held = false;
    world.run();
    assert_eq!(world.texts(id), ["missed"]);
}

/// Its stored message arrives after it has begun to close.
#[test]
fn nothing_follows_a_close_frame() {
    let mut world = World::new(with_redis());
    world.redis.set(CHANNEL, "stored");
    world.redis.paused = true;
    let (id, other) = (world.knock(HEARS), world.knock(HEARS));
    world.redis.serve(1);
    world.run();
    world.browsers[id].polite = false;
    world.send_frame(id, Opcode::Close, b"\x03\xe8");
    world.redis.paused = false;
    world.run();
    assert_eq!(world.heard(id), [Heard::Close(Some(1000), String::new())]);
    assert_eq!(world.texts(other), ["stored"]);
}

#[test]
fn a_full_embedded_store_gives_up_the_oldest() {
    let kind = BrokerKind::Local { store_limit: 1200 };
    let broker = broker::BrokerSettings { expire_s: 60, kind };
    let mut world = World::new(Settings { broker, ..settings() });
    for facility in ["a", "b", "c", "d"] {
        let speaker = world.open(&format!("/ws/{facility}?publish-broadcast"));
        world.say(speaker, &"x".repeat(150));
    }
    assert_eq!(world.metrics().stored_evicted_total, 1);
    for (facility, stored) in [("a", 0), ("b", 1), ("d", 1)] {
        let id = world.open(&format!("/ws/{facility}?subscribe-broadcast"));
        assert_eq!(world.texts(id).len(), stored, "{facility}");
    }
}

// Many.

#[test]
fn ten_thousand_conns_come_and_go_and_nothing_is_left() {
    for (broker, mut world) in worlds() {
        let mut ids = Vec::new();
        for n in 0..10_000 {
            let id = world.accept();
            let facility = n % 1000;
            let target = format!("/ws/{facility}?subscribe-broadcast&publish-broadcast");
            world.send(id, &upgrade(&target, &[]));
            ids.push(id);
        }
        world.run();
        assert_eq!(world.metrics().conns_open, 10_000, "{broker}");
        assert_eq!(world.metrics().channels, 1000, "{broker}");
        for (n, id) in ids.iter().enumerate() {
            world.browsers[*id].send_frame(Opcode::Text, format!("{n}").as_bytes());
        }
        world.run();
        assert_eq!(world.metrics().messages_out_total, 90_000, "{broker}: each to nine others");
        for (n, id) in ids.iter().enumerate() {
            match n % 3 {
                0 => world.browsers[*id].send_frame(Opcode::Close, b""),
                1 => world.browsers[*id].ending = Some(Cause::Ended),
                _ => {
                    let reset = Cause::Failed("reset".to_string());
                    world.browsers[*id].ending = Some(reset);
                }
            }
        }
        world.run();
        let metrics = world.metrics();
        let counts = [
            metrics.conns,
            metrics.conns_open,
            metrics.handshakes_pending,
            metrics.channels,
            world.redis.subscribed().len() as u64,
        ];
        assert_eq!(counts, [0; 5], "{broker}");
        assert_eq!(world.metrics().handshakes_total, 10_000);
        assert_eq!(world.metrics().publishes_total, 10_000);
    }
}

#[test]
fn names_that_have_outlived_their_links_do_no_harm() {
    for (broker, mut world) in worlds() {
        let gone = world.open(BOTH);
        let old = world.browsers[gone].link;
        world.vanish(gone);
        let (new, other) = (world.open(BOTH), world.open(HEARS));
        assert_eq!(world.browsers[new].link.index, old.index, "{broker}: its place is taken");
        let mut bytes = masked(Opcode::Text, b"from the grave");
        for input in [
            Input::Received { link: old, bytes: &mut bytes },
            Input::Blocked { link: old },
            Input::Connected { link: old },
            Input::HungUp { link: old, cause: Cause::Ended },
            Input::HungUp { link: old, cause: Cause::Failed(String::new()) },
        ] {
            world.server.handle(input, world.now());
            world.run();
        }
        world.server.advance(old, 10);
        let mut slices = [std::io::IoSlice::new(&[]); 1];
        assert_eq!(world.server.slices(old, &mut slices), 0);
        world.say(new, "alive");
        assert_eq!((world.texts(other), world.heard(new)), (vec!["alive".to_string()], vec![]));
        assert_eq!(world.metrics().conns, 2, "{broker}");
    }
}
