//! The core without sockets: what nobody can make grow without bound.

use std::io::IoSlice;

use crate::world::*;
use wsloop::proto::ws::deflate::Compression;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Allow, Overflows, Refuse, Settings, Wish};

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const SPEAKS: &str = "/ws/foo?publish-broadcast";

/// Frames that a turn may queue.
const TURN: usize = 1 << 20;

/// Something is left unread in the first turn, and in the end everybody has heard all messages.
fn fill_a_turn(
    mut world: World,
    hearers: &[BrowserId],
    messages: usize,
    is_left: impl Fn(&World) -> bool,
) {
    world.flushes = 1;
    world.turn();
    assert!(is_left(&world), "the turn is full");
    world.flushes = usize::MAX;
    world.run();
    assert!(!is_left(&world), "it reads again when all is put out");
    for hearer in hearers {
        let heard = world.texts(*hearer);
        assert!(heard.len() == messages && heard.iter().all(|text| text == "x"));
    }
    assert_eq!(world.metrics().slow_total, 0);
}

#[test]
fn a_turn_that_many_browsers_fill_is_put_out_before_more_is_read() {
    let mut world = World::new(settings());
    let hearers: Vec<BrowserId> = (0..1100).map(|_| world.open(HEARS)).collect();
    let messages = TURN / hearers.len() + 4;
    let speakers: Vec<BrowserId> = (0..messages).map(|_| world.open(SPEAKS)).collect();
    for speaker in &speakers {
        world.send(*speaker, &masked(Opcode::Text, b"x"));
    }
    let last = speakers[messages - 1];
    fill_a_turn(world, &hearers, messages, |world| world.browsers[last].has_to_speak());
}

#[test]
fn a_turn_that_redis_fills_is_put_out_before_more_is_read() {
    let mut world = World::new(with_redis());
    let urls = [HEARS, "/ws/bar?subscribe-broadcast"];
    let hearers: Vec<BrowserId> = (0..1100).map(|n| world.open(urls[n % 2])).collect();
    let messages = TURN / hearers.len() + 4;
    for _ in 0..messages {
        for channel in ["broadcast:foo", "broadcast:bar"] {
            world.redis.publish(channel, "x", 0, world.now_ms);
        }
    }
    world.redis.work(world.now_ms);
    let link = world.redis_link().expect("it is up");
    fill_a_turn(world, &hearers, messages, |world| {
        matches!(world.server.wish(link), Wish::Later | Wish::GoOn)
    });
}

#[test]
fn tiny_frames_count_in_an_outbox_too() {
    let mut world = World::new(Settings { outbox_limit: 10_000, ..settings() });
    let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
    world.stall(id, 0);
    (0..100).for_each(|_| world.say(speaker, "x"));
    assert_eq!(world.metrics().slow_total, 0, "a hundred messages are 6,700 bytes of memory");
    (0..100).for_each(|_| world.say(speaker, "x"));
    assert_eq!(world.metrics().slow_total, 1);
}

#[test]
fn a_facility_has_a_length() {
    let mut world = World::new(Settings { max_head_size: 64 << 10, ..settings() });
    for (length, status) in [(512, 101), (513, 414), (60_000, 414)] {
        let id = world.knock(&format!("/ws/{}?subscribe-broadcast", "x".repeat(length)));
        assert_eq!(world.status(id), Some(status), "{length} bytes");
    }
    assert_eq!(world.metrics().channels, 1);
}

#[test]
fn many_groups_with_a_long_facility_cost_nobody_the_memory() {
    let groups = (0..1000).map(|n| format!("\"group-{n:04}\"")).collect::<Vec<_>>().join(",");
    let session = format!("{{\"wsloop:username\":\"john\",\"ws4redis:memberof\":[{groups}]}}");
    let cookie = "Cookie: sessionid=johns-key";
    for (facility, query, status) in [
        ("x".repeat(100), "subscribe-group", 101),
        ("x".repeat(100), "subscribe-group&publish-group", 403),
        ("x".repeat(512), "subscribe-group", 403),
        ("x".repeat(512), "subscribe-user", 101),
        ("x".repeat(20), "subscribe-group&publish-group", 101),
    ] {
        let allow = Allow::parse("all").expect("a list");
        let mut world = World::new(Settings { allow, ..by_session() });
        world.redis.set("session:johns-key", &session);
        let target = format!("/ws/{facility}?{query}");
        let id = world.ask(&upgrade(&target, &[cookie]));
        assert_eq!(world.status(id), Some(status), "{} {query}", facility.len());
        if status == 403 {
            let text = world.response(id).text();
            assert!(text.contains("1000 groups") && text.contains("131072"), "{text}");
            assert_eq!(world.metrics().channels, 0);
        }
    }
}

#[test]
fn who_is_one_too_many_is_told_in_the_way_that_was_asked_for() {
    for (refuse, status) in [(Refuse::Status, 503), (Refuse::Close, 101)] {
        let mut world = World::new(Settings { max_connections: 1, refuse, ..settings() });
        world.open(HEARS);
        let id = world.knock(HEARS);
        assert_eq!(world.status(id), Some(status));
        let closed = world.heard(id).iter().any(|h| matches!(h, Heard::Close(Some(4503), _)));
        assert_eq!(closed, refuse == Refuse::Close);
        assert_eq!(world.metrics().conns_full_total, 1);
    }
}

#[test]
fn a_redis_that_is_still_loading_counts_as_away() {
    let mut world = World::new(with_redis());
    world.redis.set("broadcast:foo", "stored");
    world.redis.loading = true;
    let early = world.knock(HEARS);
    world.pass(6_000);
    assert_eq!(world.texts(early), [""; 0]);
    let dials = world.dials_ms.len();
    assert!((3..20).contains(&dials), "it was dialed {dials} times");
    world.redis.loading = false;
    world.pass(6_000);
    assert_eq!((world.status(early), world.texts(early)), (Some(101), vec!["stored".to_string()]));
}

#[test]
fn messages_that_arrive_together_are_one_thing_to_send() {
    let mut world = World::new(with_redis());
    let hearer = world.open("/ws/x?subscribe-broadcast");
    world.browsers[hearer].appetite = Some(0);
    for n in 0..16 {
        world.redis.publish("broadcast:x", format!("message {n}"), 0, world.now_ms);
    }
    world.run();
    let mut slices = [IoSlice::new(&[]); 32];
    let link = world.browsers[hearer].link;
    assert_eq!(world.server.slices(link, &mut slices), 1, "one run of frames");
    world.browsers[hearer].appetite = None;
    world.resume(hearer);
    let expected: Vec<String> = (0..16).map(|n| format!("message {n}")).collect();
    assert_eq!(world.texts(hearer), expected);
    assert_eq!(world.metrics().messages_out_total, 16);
}

#[test]
fn a_crowd_makes_nobody_wait_who_has_something_else_to_hear() {
    let mut world = World::new(settings());
    let crowd: Vec<_> = (0..300).map(|_| world.open("/ws/x?subscribe-broadcast")).collect();
    let quiet = world.open("/ws/y?subscribe-broadcast");
    let speaker = world.open("/ws/x?publish-broadcast");
    let other = world.open("/ws/y?publish-broadcast");
    let served =
        |world: &World| crowd.iter().filter(|id| !world.browsers[**id].heard.is_empty()).count();
    world.flushes = 10;
    world.browsers[speaker].send_frame(Opcode::Text, b"to all");
    assert!(world.turn() && served(&world) == 10, "the rest is for later turns");
    world.browsers[other].send_frame(Opcode::Text, b"to one");
    assert!(world.turn());
    assert_eq!(world.texts(quiet), ["to one"]);
    assert_eq!(served(&world), 19);
    world.run();
    assert_eq!(served(&world), 300);
    assert!(crowd.iter().all(|id| world.browsers[*id].heard.len() == 1));
}

#[test]
fn a_slow_reader_may_skip_to_the_latest_message() {
    let overflows = Overflows::parse("foo=latest").expect("a list");
    let compression = Compression::Dedicated;
    let limits = Settings { outbox_limit: 10_000, overflows, compression, ..settings() };
    let mut world = World::new(limits);
    let reader = world.ask(&upgrade(HEARS, &["Sec-WebSocket-Extensions: permessage-deflate"]));
    let other = world.open("/ws/bar?subscribe-broadcast");
    let speakers = [world.open(SPEAKS), world.open("/ws/bar?publish-broadcast")];
    let texts: Vec<String> = (0..200).map(|n| format!("{n} {}", "x".repeat(250))).collect();
    world.stall(reader, 5);
    world.stall(other, 5);
    for text in &texts {
        speakers.iter().for_each(|speaker| world.say(*speaker, text));
        assert!(world.waiting(reader) <= 10_000);
    }
    let metrics = world.metrics().clone();
    assert_eq!((metrics.slow_total, metrics.conns_open), (1, 3), "the other is closed");
    world.browsers[reader].appetite = None;
    world.resume(reader);
    assert_eq!(world.texts(reader), [&*texts[0], &*texts[199]], "the one begun, and the last");
    assert_eq!(metrics.superseded_total, 198);
    for text in &texts[..3] {
        world.say(speakers[0], text);
    }
    assert_eq!(world.texts(reader), texts[..3], "who has caught up hears everything again");
}

/// Messages that arrive together are one run of frames, and the last of them is the latest.
#[test]
fn the_last_of_what_arrived_together_is_the_latest() {
    let overflows = Overflows::parse("latest").expect("a list");
    let mut world = World::new(Settings { outbox_limit: 5_000, overflows, ..with_redis() });
    let reader = world.open(HEARS);
    world.stall(reader, 5);
    world.publish("broadcast:foo", "begun");
    for n in 0..60 {
        world.redis.publish("broadcast:foo", format!("{n} {}", "x".repeat(98)), 0, world.now_ms);
    }
    world.run();
    assert_eq!((world.metrics().superseded_total, world.metrics().slow_total), (59, 0));
    world.resume(reader);
    assert_eq!(world.texts(reader), ["begun".to_owned(), format!("59 {}", "x".repeat(98))]);
}

#[test]
fn who_skips_is_closed_when_that_is_not_enough() {
    let overflows = Overflows::parse("latest").expect("a list");
    let mut world = World::new(Settings { outbox_limit: 5_000, overflows, ..settings() });
    let reader = world.open(HEARS);
    world.stall(reader, 5);
    for _ in 0..100 {
        world.send(reader, &masked(Opcode::Ping, b"pongs are not skipped"));
    }
    world.run();
    assert_eq!((world.metrics().slow_total, world.metrics().conns_open), (1, 0));
}

#[test]
fn a_channel_may_lose_its_last_conn_between_messages_that_arrive_together() {
    let mut world = World::new(Settings { outbox_limit: 2_000, ..with_redis() });
    let reader = world.open(HEARS);
    world.stall(reader, 5);
    world.publish("broadcast:foo", "more than it takes");
    // In one read: what is too much for the only one who hears the channel, and one more, which is
    // too long to go with the others.
    for length in [900, 900, 900, 4_500] {
        world.redis.publish("broadcast:foo", "x".repeat(length), 0, world.now_ms);
    }
    world.run();
    assert_eq!((world.metrics().slow_total, world.metrics().channels), (1, 0));
}
