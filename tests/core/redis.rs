//! The core without sockets: what it asks of Redis, and how it bears Redis's absence.

mod blip;
mod cluster;
mod conditions;
mod crowd;
mod gaps;
mod kinds;
mod link;
mod mending;
mod moving;
mod recording;
mod replica;
mod several;

use crate::world::*;
use wsloop::proto::ws::frame::Opcode;

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const SPEAKS: &str = "/ws/foo?publish-broadcast";
const BOTH: &str = "/ws/foo?subscribe-broadcast&publish-broadcast";
const CHANNEL: &str = "broadcast:foo";

fn hears(facility: usize) -> String {
    format!("/ws/{facility}?subscribe-broadcast")
}

/// The first words of commands, for what matters is which came.
fn names(commands: &[String]) -> Vec<&str> {
    commands.iter().map(|command| command.split(' ').next().unwrap_or_default()).collect()
}

// Greeting.

#[test]
fn the_greeting_brings_what_the_url_says() {
    let account = |user: &str| Some((user.to_string(), "secret".to_string()));
    for (user, password, account, up) in [
        (None, None, None, true),
        (None, Some("secret"), account("default"), true),
        (Some("ws"), Some("secret"), account("ws"), true),
        (Some("ws"), Some("wrong"), account("ws"), false),
        (None, None, account("default"), false),
    ] {
        let mut settings = with_redis();
        redis_of(&mut settings).user = user.map(str::to_string);
        redis_of(&mut settings).password = password.map(str::to_string);
        redis_of(&mut settings).db = 3;
        let redis = FakeRedis::with(|redis| redis.account = account);
        let mut world = World::around(settings, redis);
        assert_eq!(world.metrics().broker_up, u64::from(up), "{user:?} {password:?}");
        let id = world.knock(SPEAKS);
        assert_eq!(world.status(id), Some(if up { 101 } else { 503 }));
        world.say(id, "hello");
        let stored = world.redis.stored(3, CHANNEL, world.now_ms);
        assert_eq!(stored, up.then_some(&b"hello"[..]));
    }
}

#[test]
fn a_server_without_resp3_is_refused_and_tried_again() {
    let mut world = World::around(with_redis(), FakeRedis::with(|redis| redis.ancient = true));
    assert_eq!((world.metrics().broker_up, world.redis_link()), (0, None));
    let id = world.knock(HEARS);
    assert_eq!(world.status(id), Some(503));
    world.redis.ancient = false;
    world.revive_redis();
    world.open(HEARS);
}

// Subscriptions.

#[test]
fn the_101_waits_until_the_subscription_is_confirmed() {
    let mut world = World::new(with_redis());
    world.redis.set(CHANNEL, "stored");
    world.redis.held = true;
    let (first, second) = (world.knock(HEARS), world.knock(HEARS));
    let speaker = world.open(SPEAKS);
    assert_eq!([world.status(first), world.status(second)], [None; 2]);
    world.pass(1_000);
    assert_eq!([world.status(first), world.status(second)], [None; 2]);
    assert_eq!(world.metrics().handshakes_pending, 2);
    world.redis.held = false;
    world.say(speaker, "live");
    for id in [first, second] {
        assert_eq!(
            (world.status(id), world.texts(id)),
            (Some(101), vec!["stored".into(), "live".into()])
        );
    }
    assert_eq!(names(&world.redis.take_commands())[..2], ["SUBSCRIBE", "GETRANGE"]);
}

#[test]
fn a_channel_is_subscribed_to_only_while_somebody_listens() {
    let mut world = World::new(with_redis());
    let speaker = world.open(SPEAKS);
    world.say(speaker, "x");
    assert_eq!(world.redis.subscribed(), [""; 0], "who publishes need not hear");
    let ids: Vec<BrowserId> = (0..3).map(|_| world.open(HEARS)).collect();
    assert_eq!(world.redis.subscribed(), [CHANNEL]);
    world.hang_up(ids[0]);
    world.vanish(ids[1]);
    assert_eq!(world.redis.subscribed(), [CHANNEL]);
    world.send_frame(ids[2], Opcode::Close, b"");
    assert_eq!(world.redis.subscribed(), [""; 0]);
    let commands = world.redis.take_commands();
    let about = |name| commands.iter().filter(|command| command.starts_with(name)).count();
    assert_eq!((about("SUBSCRIBE"), about("UNSUBSCRIBE"), about("GETRANGE")), (1, 1, 3));
    assert_eq!(world.metrics().channels, 0);
}

/// Whether a conn joins and leaves before or after what it caused is confirmed: who is there in the
/// end hears, and else nothing is subscribed to.
#[test]
fn joining_and_leaving_while_answers_are_under_way() {
    for plan in 0..1 << 8 {
        let mut world = World::new(with_redis());
        world.redis.paused = true;
        let mut here: Vec<BrowserId> = Vec::new();
        for step in 0..4 {
            match here.pop() {
                Some(id) => world.vanish(id),
                None => here.push(world.knock(HEARS)),
            }
            // How much Redis does in between: nothing, one command, two, everything.
            match plan >> (2 * step) & 3 {
                3 => world.redis.serve(100),
                some => world.redis.serve(some),
            }
            world.run();
        }
        let last = world.knock(HEARS);
        world.redis.paused = false;
        world.run();
        assert_eq!(world.status(last), Some(101), "plan {plan:#b}");
        assert_eq!(world.redis.subscribed(), [CHANNEL], "plan {plan:#b}");
        world.publish(CHANNEL, "live");
        assert_eq!(world.texts(last), ["live"], "plan {plan:#b}");
        world.vanish(last);
        assert_eq!(world.redis.subscribed(), [""; 0], "plan {plan:#b}");
        assert_eq!((world.metrics().broker_lost_total, world.metrics().channels), (0, 0));
    }
}

#[test]
fn who_may_not_hear_a_channel_is_told_so() {
    for denied in [("SUBSCRIBE", CHANNEL), ("SUBSCRIBE", "*")] {
        let redis = FakeRedis::with(|redis| redis.denied = vec![denied]);
        let mut world = World::around(with_redis(), redis);
        let (denied, publisher) = (world.knock(BOTH), world.open(SPEAKS));
        assert_eq!(world.status(denied), Some(503));
        assert!(world.response(denied).header("Retry-After").is_some());
        world.say(publisher, "x");
        assert_eq!((world.metrics().publishes_total, world.metrics().broker_errors_total), (1, 1));
        assert_eq!((world.metrics().broker_lost_total, world.metrics().conns), (0, 1));
    }
}

/// One error answers a whole batch; the other channels are not to suffer for the one.
#[test]
fn one_denied_channel_does_not_take_its_batch_with_it() {
    let mut world = World::new(with_redis());
    let ids: Vec<BrowserId> = (0..10).map(|n| world.open(&hears(n))).collect();
    world.redis.denied = vec![("SUBSCRIBE", "broadcast:7")];
    world.kill_redis();
    // It leaves while the answer to the batch is awaited, and another one comes and goes.
    world.redis.paused = true;
    world.redis.reach = Reach::Answers;
    world.pass(200);
    world.redis.serve(1);
    world.run();
    world.vanish(ids[3]);
    let brief = world.knock(&hears(4));
    world.redis.paused = false;
    world.run();
    world.hang_up(brief);

    for (n, id) in ids.into_iter().enumerate() {
        world.publish(&format!("broadcast:{n}"), "live");
        match n {
            3 => {}
            7 => assert!(matches!(&world.heard(id)[..], [Heard::Close(Some(1011), _)])),
            _ => assert_eq!(world.texts(id), ["live"], "channel {n}"),
        }
    }
    let expected: Vec<String> =
        (0..10).filter(|n| ![3, 7].contains(n)).map(|n| format!("broadcast:{n}")).collect();
    assert_eq!(world.redis.subscribed(), expected);
    assert_eq!(world.metrics().conns, 8);
}

/// The channels of a batch are subscribed to only when each is asked for alone, and that is after
/// what is stored for them was asked for.
#[test]
fn what_is_published_until_a_batch_is_asked_for_again_is_fetched() {
    let mut world = World::new(with_redis());
    let (id, _) = (world.open(&hears(1)), world.open(&hears(2)));
    world.redis.denied = vec![("SUBSCRIBE", "broadcast:2")];
    world.kill_redis();
    world.redis.paused = true;
    world.redis.reach = Reach::Answers;
    world.pass(200);
    // HELLO, the batch, and a GET for each of its channels.
    world.redis.serve(4);
    world.run();
    world.publish("broadcast:1", "meanwhile");
    world.redis.paused = false;
    world.run();
    assert_eq!(world.texts(id), ["meanwhile"]);
}

#[test]
fn an_error_where_it_may_come_does_not_cost_the_link() {
    for denied in ["GET", "GETRANGE", "SET", "PUBLISH", "UNSUBSCRIBE", "PING"] {
        let redis = FakeRedis::with(|redis| redis.denied = vec![(denied, "*")]);
        let mut world = World::around(with_redis(), redis);
        let (id, leaver) = (world.open(HEARS), world.open(BOTH));
        world.open("/ws/bar?subscribe-broadcast");
        world.say(leaver, "x");
        world.vanish(leaver);
        world.vanish(2);
        world.pass(30_000);
        world.publish(CHANNEL, "live");
        assert_eq!(world.texts(id).last().map(String::as_str), Some("live"), "{denied}");
        assert_eq!((world.dials_ms.len(), world.metrics().broker_lost_total), (1, 0), "{denied}");
    }
}

// Absence.

#[test]
fn handshakes_wait_for_the_first_dial_and_are_refused_once_it_failed() {
    let mut world =
        World::around(with_redis(), FakeRedis::with(|redis| redis.reach = Reach::Silent));
    let waits = [world.knock(HEARS), world.knock(SPEAKS)];
    let needs_nothing = world.open("/ws/foo");
    let granted_nothing = world.open("/ws/foo?subscribe-user");
    world.pass(4_900);
    assert_eq!(waits.map(|id| world.status(id)), [None; 2]);
    world.redis.reach = Reach::Refuses;
    world.pass(100);
    for id in waits {
        assert_eq!(world.status(id), Some(503), "the dial timed out");
        assert!(world.response(id).header("Retry-After").is_some());
    }
    let late = world.knock(HEARS);
    assert_eq!(world.status(late), Some(503), "at once");
    assert_eq!(world.metrics().conns_open, 2);

    // Also while another dial is under way, for the last one failed.
    world.redis.reach = Reach::Silent;
    world.pass(400);
    let late = world.knock(SPEAKS);
    assert_eq!(world.status(late), Some(503));

    world.redis.reach = Reach::Answers;
    world.pass(10_000);
    world.open(HEARS);
    assert_eq!([needs_nothing, granted_nothing].map(|id| world.browsers[id].closed_ms), [None; 2]);
}

#[test]
fn handshakes_that_waited_are_served_when_redis_answers() {
    let mut world = World::around(with_redis(), FakeRedis::with(|redis| redis.held = true));
    world.redis.set(CHANNEL, "stored");
    let (hearer, speaker) = (
        world.knock(HEARS),
        world.ask(&{
            let mut bytes = upgrade(SPEAKS, &[]);
            bytes.extend(masked(Opcode::Text, b"early"));
            bytes
        }),
    );
    let gone = world.knock(HEARS);
    world.vanish(gone);
    assert_eq!((world.status(hearer), world.status(speaker)), (None, None));
    world.redis.held = false;
    world.run();
    assert_eq!((world.status(hearer), world.status(speaker)), (Some(101), Some(101)));
    assert_eq!(world.texts(hearer), ["stored", "early"]);
}

#[test]
fn a_handshake_waits_for_redis_no_longer_than_a_handshake_may_take() {
    let mut settings = with_redis();
    redis_of(&mut settings).timeout_ms = 60_000;
    let mut world = World::around(settings, FakeRedis::with(|redis| redis.reach = Reach::Silent));
    let id = world.knock(HEARS);
    world.pass(9_900);
    assert_eq!(world.status(id), None);
    world.pass(150);
    assert_eq!(world.status(id), Some(503));
    assert_eq!(world.metrics().handshake_timeouts_total, 1);
}

#[test]
fn dialing_backs_off_to_five_seconds_at_most() {
    let mut world =
        World::around(with_redis(), FakeRedis::with(|redis| redis.reach = Reach::Refuses));
    world.pass(120_000);
    let pauses: Vec<u64> = world.dials_ms.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses[0] <= 100, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 5_000), "{pauses:?}");
    let late = &pauses[10..];
    assert!(late.iter().all(|pause| *pause >= 2_500), "{pauses:?}");
    assert!(late.iter().any(|pause| pause != &late[0]), "there is jitter: {pauses:?}");
    assert_eq!(world.metrics().broker_dials_total, world.dials_ms.len() as u64);
    assert_eq!(world.metrics().broker_lost_total, 0, "it never was up");
    world.revive_redis();
}

#[test]
fn browsers_stay_when_redis_dies_and_hear_again_when_it_returns() {
    let mut world = World::new(with_redis());
    let ids: Vec<BrowserId> = (0..1500).map(|n| world.open(&hears(n))).collect();
    world.redis.take_commands();
    world.kill_redis();
    world.pass(20_000);
    assert_eq!(world.metrics().conns_open, 1500);
    assert_eq!((world.metrics().broker_up, world.metrics().broker_lost_total), (0, 1));
    world.vanish(ids[0]);
    world.revive_redis();

    let commands = world.redis.take_commands();
    let subscribes = names(&commands).into_iter().filter(|name| *name == "SUBSCRIBE").count();
    assert_eq!(subscribes, 3, "in batches");
    assert_eq!(names(&commands)[..4], ["SUBSCRIBE", "SUBSCRIBE", "SUBSCRIBE", "GETRANGE"]);
    assert_eq!(world.redis.subscribed().len(), 1499);
    for n in 0..1500 {
        world.redis.publish(&format!("broadcast:{n}"), format!("again {n}"), 0, 0);
    }
    world.run();
    for (n, id) in ids.into_iter().enumerate().skip(1) {
        assert_eq!(world.texts(id), [format!("again {n}")]);
    }
}

#[test]
fn what_was_stored_meanwhile_is_delivered_where_it_changed() {
    let mut world = World::new(with_redis());
    let (now_ms, expire) = (world.now_ms, EXPIRE_S);
    for n in 0..5 {
        world.redis.publish(&format!("broadcast:{n}"), "before", expire, now_ms);
    }
    let ids: Vec<BrowserId> = (0..6).map(|n| world.open(&hears(n))).collect();
    let twin = world.open(&hears(1));
    world.publish("broadcast:2", "live");
    world.publish("broadcast:3", "live");
    ids.iter().chain([&twin]).for_each(|id| drop(world.heard(*id)));
    world.kill_redis();
    let now_ms = world.now_ms;
    world.redis.publish("broadcast:1", "missed", expire, now_ms);
    world.redis.publish("broadcast:3", "missed", expire, now_ms);
    world.redis.publish("broadcast:4", "", expire, now_ms);
    world.redis.publish("broadcast:5", "missed", expire, now_ms);
    world.pass(3_000);
    world.revive_redis();
    let missed = || vec!["missed".to_string()];
    let expected = [vec![], missed(), vec![], missed(), vec![], missed()];
    for (n, (id, expected)) in ids.iter().zip(expected).enumerate() {
        assert_eq!(world.texts(*id), expected, "channel {n}");
    }
    assert_eq!(world.texts(twin), missed());

    // And not again.
    world.cut_redis();
    world.pass(10_000);
    assert_eq!(world.metrics().broker_up, 1);
    ids.iter().for_each(|id| assert_eq!(world.heard(*id), []));
}

/// The live copy of a newer message crosses the answer about the older stored one.
#[test]
fn after_an_outage_an_older_stored_message_does_not_follow_a_newer_one() {
    for stored in ["had before", "missed"] {
        let mut world = World::new(with_redis());
        let id = world.open(HEARS);
        world.publish(CHANNEL, "had before");
        world.redis.paused = true;
        world.cut_redis();
        world.redis.set(CHANNEL, stored);
        world.pass(1_000);
        // The greeting and the SUBSCRIBE are through, GETRANGE is not.
        world.redis.serve(2);
        world.run();
        world.publish(CHANNEL, "newest");
        world.redis.set(CHANNEL, stored);
        world.redis.paused = false;
        world.run();
        let all = ["had before", "missed", "newest"];
        let expected: Vec<&str> =
            all.into_iter().filter(|text| *text != "missed" || stored == "missed").collect();
        assert_eq!(world.texts(id), expected, "{stored}");
    }
}

#[test]
fn who_waited_for_a_stored_message_when_redis_died_gets_it_once() {
    let mut world = World::new(with_redis());
    world.redis.set(CHANNEL, "stored");
    world.redis.paused = true;
    let joining = world.knock(HEARS);
    world.redis.serve(1);
    world.run();
    let late = world.open(HEARS);
    assert_eq!(world.status(joining), Some(101));
    world.cut_redis();
    world.redis.paused = false;
    let meanwhile = world.knock(HEARS);
    assert_eq!(world.status(meanwhile), None, "the last dial did not fail, so it waits");
    world.pass(5_000);
    for id in [joining, late, meanwhile] {
        assert_eq!((world.status(id), world.texts(id)), (Some(101), vec!["stored".to_string()]));
    }
}

#[test]
fn who_waited_for_a_confirmation_when_redis_died_is_served_or_refused() {
    for returns in [true, false] {
        let mut world = World::new(with_redis());
        world.redis.held = true;
        let id = world.knock(HEARS);
        world.redis.held = false;
        if returns {
            world.cut_redis();
        } else {
            world.kill_redis();
        }
        world.pass(1_000);
        assert_eq!(world.status(id), Some(if returns { 101 } else { 503 }));
        assert_eq!(world.metrics().handshakes_pending, 0);
        assert_eq!(world.metrics().channels, u64::from(returns));
    }
}

#[test]
fn what_redis_takes_too_slowly_is_dropped_and_counted() {
    let mut settings = with_redis();
    redis_of(&mut settings).buffer_limit = 10_000;
    let mut world = World::new(settings);
    let speaker = world.open(SPEAKS);
    let burst: Vec<u8> = (0..20).flat_map(|_| masked(Opcode::Text, &[b'x'; 1000])).collect();
    world.send(speaker, &burst);
    world.run();
    let metrics = world.metrics();
    assert_eq!(metrics.publishes_total + metrics.publishes_dropped_total, 20);
    assert!((3..=5).contains(&metrics.publishes_total), "{}", metrics.publishes_total);
    assert_eq!(world.redis.take_commands().len() as u64, 2 * world.metrics().publishes_total);
}
