//! The core without sockets: the stored message comes first and what is live behind it, and what is
//! asked of Redis for that is bounded.

use super::world::*;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{AskSettings, Settings};

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const BOTH: &str = "/ws/foo?subscribe-broadcast&publish-broadcast";
const CHANNEL: &str = "broadcast:foo";

/// The application that says who somebody is.
fn application() -> AskSettings {
    AskSettings {
        target: app_target(),
        host: "app".to_owned(),
        path: "/".to_owned(),
        timeout_ms: 3_000,
        connections: 2,
        keep_alive: true,
        waiting: 10,
    }
}

fn hears(facility: usize) -> String {
    format!("/ws/{facility}?subscribe-broadcast")
}

/// A world in which somebody is let in whose stored message Redis has not answered.
fn waiting_for_stored(target: &str, settings: Settings) -> (World, BrowserId) {
    let mut world = World::new(settings);
    world.redis.set(CHANNEL, "stored");
    world.redis.paused = true;
    let id = world.knock(target);
    world.redis.serve(1);
    world.run();
    assert_eq!(world.status(id), Some(101));
    (world, id)
}

/// Somebody else publishes, and has nothing stored.
fn push(world: &mut World, channel: &str, text: &str) {
    world.redis.publish(channel, text, 0, 0);
    world.run();
}

/// Redis says something all the while, so that it is not taken for dead.
fn pass_without_an_answer(world: &mut World, ms: u64) {
    for _ in 0..10 {
        world.pass(ms / 10);
        world.redis.blurt(b">2\r\n+invalidate\r\n_\r\n");
        world.run();
    }
}

#[test]
fn live_messages_wait_until_the_stored_one_has_gone_out() {
    let (mut world, id) = waiting_for_stored(HEARS, with_redis());
    let other = world.open("/ws/foo");
    ["one", "two"].iter().for_each(|text| push(&mut world, CHANNEL, text));
    assert!(world.texts(id).is_empty() && world.texts(other).is_empty());
    world.redis.paused = false;
    world.run();
    push(&mut world, CHANNEL, "three");
    assert_eq!(world.texts(id), ["stored", "one", "two", "three"]);
}

#[test]
fn the_embedded_brokers_stored_message_precedes_the_answer_to_an_early_close() {
    let mut world = World::new(settings());
    let speaker = world.open(BOTH);
    world.say(speaker, "stored");
    let id = world.ask(&[upgrade(HEARS, &[]), masked(Opcode::Close, b"")].concat());
    let heard = world.heard(id);
    assert!(matches!(&heard[..], [Heard::Text(text), Heard::Close(..)] if text == "stored"));
}

#[test]
fn a_stream_that_never_pauses_does_not_cost_anybody_the_stored_message() {
    let mut world = World::new(with_redis());
    world.redis.set(CHANNEL, "stored");
    world.redis.paused = true;
    let mut ids = Vec::new();
    for n in 0..100 {
        ids.push(world.knock(HEARS));
        push(&mut world, CHANNEL, &n.to_string());
        world.redis.serve(1);
        world.run();
    }
    world.redis.paused = false;
    world.run();
    push(&mut world, CHANNEL, "end");
    for (n, id) in ids.into_iter().enumerate() {
        let mut texts = world.texts(id);
        assert_eq!(texts.remove(0), "stored", "browser {n}");
        assert_eq!(texts.pop().as_deref(), Some("end"));
        let numbers: Vec<usize> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let expected: Vec<usize> = (numbers.first().copied().unwrap_or(100)..100).collect();
        assert_eq!(numbers, expected, "in order and without a gap");
    }
}

#[test]
fn a_stored_message_that_is_one_of_those_that_wait_keeps_its_place() {
    let (mut world, id) = waiting_for_stored(HEARS, with_redis());
    for text in ["one", "stored", "two"] {
        push(&mut world, CHANNEL, text);
    }
    let late = world.open(HEARS);
    world.redis.paused = false;
    world.run();
    assert_eq!(world.texts(id), ["one", "stored", "two"]);
    assert_eq!(world.texts(late), ["stored"], "it came behind them");
}

#[test]
fn nobody_elses_messages_and_no_other_channels_wait() {
    let mut world = World::new(with_redis());
    let neighbour = world.open(HEARS);
    let elsewhere = world.open(&hears(1));
    world.redis.set(CHANNEL, "stored");
    world.redis.paused = true;
    let id = world.open(HEARS);
    push(&mut world, CHANNEL, "live");
    push(&mut world, "broadcast:1", "there");
    assert_eq!(world.texts(neighbour), ["live"]);
    assert_eq!(world.texts(elsewhere), ["there"]);
    assert!(world.texts(id).is_empty());
    world.redis.paused = false;
    world.run();
    assert_eq!(world.texts(id), ["stored", "live"]);
    assert!(world.texts(neighbour).is_empty());
}

#[test]
fn when_there_is_no_answer_in_time_live_messages_go() {
    let (mut world, id) = waiting_for_stored(HEARS, with_redis());
    push(&mut world, CHANNEL, "one");
    // Redis says something all the while, so that it is not taken for dead.
    for _ in 0..9 {
        world.pass(REDIS_TIMEOUT_MS / 10);
        world.redis.blurt(b">2\r\n+invalidate\r\n_\r\n");
        world.run();
    }
    assert!(world.texts(id).is_empty());
    world.pass(REDIS_TIMEOUT_MS / 10);
    assert_eq!(world.texts(id), ["one"]);
    push(&mut world, CHANNEL, "two");
    assert_eq!(world.texts(id), ["two"], "it waits for nothing any more");
    world.redis.paused = false;
    world.run();
    push(&mut world, CHANNEL, "three");
    assert_eq!(world.texts(id), ["three"], "what was stored would be older");
    let metrics = world.metrics();
    assert_eq!((metrics.stored_late_total, metrics.broker_lost_total), (1, 0));
}

#[test]
fn no_more_is_held_than_an_outbox_may_have() {
    let settings = Settings { outbox_limit: 40_000, max_message_size: 20_000, ..with_redis() };
    let (mut world, id) = waiting_for_stored(HEARS, settings);
    for _ in 0..6 {
        push(&mut world, CHANNEL, &"x".repeat(10_000));
    }
    assert!(world.texts(id).is_empty(), "64 KiB may wait, however small an outbox is");
    push(&mut world, CHANNEL, &"x".repeat(10_000));
    push(&mut world, CHANNEL, "y");
    assert_eq!(world.texts(id).len(), 8);
    assert_eq!(world.metrics().slow_total, 0, "nobody is closed for it");
}

#[test]
fn who_waits_for_a_stored_message_does_not_have_its_own_back() {
    let (mut world, id) = waiting_for_stored(BOTH, with_redis());
    world.say(id, "mine");
    push(&mut world, CHANNEL, "another's");
    // The SET comes before the GET of who comes now, and so does the message itself.
    let late = world.open(HEARS);
    world.redis.paused = false;
    world.run();
    assert_eq!(world.texts(id), ["stored", "another's"]);
    assert_eq!(world.texts(late).iter().filter(|text| *text == "mine").count(), 1);
}

#[test]
fn who_leaves_while_it_waits_leaves_nothing_behind() {
    let (mut world, id) = waiting_for_stored(HEARS, with_redis());
    let other = world.open(HEARS);
    push(&mut world, CHANNEL, "one");
    world.vanish(id);
    let new = world.open(HEARS);
    push(&mut world, CHANNEL, "two");
    world.vanish(other);
    world.redis.paused = false;
    world.run();
    assert_eq!(world.texts(new), ["stored", "two"]);
    world.vanish(new);
    world.pass(2 * REDIS_TIMEOUT_MS);
    assert_eq!((world.metrics().channels, world.metrics().conns), (0, 0));
}

#[test]
fn after_an_outage_what_was_stored_meanwhile_comes_before_what_is_live() {
    let mut world = World::new(with_redis());
    let ids: Vec<BrowserId> = (0..3).map(|_| world.open(HEARS)).collect();
    world.publish(CHANNEL, "before");
    world.cut_redis();
    world.redis.set(CHANNEL, "missed");
    world.redis.paused = true;
    world.pass(500);
    // The greeting and SUBSCRIBE are through, GETRANGE is not.
    world.redis.serve(2);
    world.run();
    let late = world.open(HEARS);
    push(&mut world, CHANNEL, "live");
    world.redis.paused = false;
    world.run();
    for id in ids {
        assert_eq!(world.texts(id), ["before", "missed", "live"]);
    }
    assert_eq!(world.texts(late), ["missed", "live"]);
}

#[test]
fn what_waits_when_the_link_is_lost_goes_behind_what_the_next_one_brings() {
    let (mut world, id) = waiting_for_stored(HEARS, with_redis());
    push(&mut world, CHANNEL, "live");
    world.redis.paused = false;
    world.redis.cut_after = Some(0);
    world.run();
    world.pass(1_000);
    assert_eq!(world.metrics().broker_lost_total, 1);
    assert_eq!(world.texts(id), ["stored", "live"]);
}

#[test]
fn an_outage_that_lasts_holds_nothing_for_ever() {
    let (mut world, id) = waiting_for_stored(HEARS, with_redis());
    push(&mut world, CHANNEL, "live");
    world.kill_redis();
    world.pass(REDIS_TIMEOUT_MS);
    assert_eq!(world.texts(id), ["live"]);
}

#[test]
fn what_was_let_go_without_an_answer_is_held_for_nobody_when_the_link_is_lost() {
    let (mut world, id) = waiting_for_stored(HEARS, with_redis());
    push(&mut world, CHANNEL, "one");
    pass_without_an_answer(&mut world, REDIS_TIMEOUT_MS - 100);
    push(&mut world, CHANNEL, "two");
    pass_without_an_answer(&mut world, 100);
    assert_eq!(world.texts(id), ["one", "two"], "one has waited too long");
    world.cut_redis();
    world.pass(1_000);
    // It answers HELLO, and no question for what is stored.
    world.redis.serve(1);
    world.run();
    pass_without_an_answer(&mut world, REDIS_TIMEOUT_MS);
    world.redis.paused = false;
    world.run();
    push(&mut world, CHANNEL, "three");
    assert_eq!(world.texts(id), ["stored", "three"]);
}

/// It waits no more for what is stored, while others do since an outage: another outage does not
/// bring again what it was let go with.
#[test]
fn what_was_let_go_does_not_come_again_after_another_outage() {
    let (mut world, id) = waiting_for_stored(HEARS, with_redis());
    push(&mut world, CHANNEL, "one");
    pass_without_an_answer(&mut world, REDIS_TIMEOUT_MS - 2_000);
    world.cut_redis();
    world.pass(500);
    // It answers HELLO and SUBSCRIBE.
    world.redis.serve(2);
    world.run();
    push(&mut world, CHANNEL, "two");
    pass_without_an_answer(&mut world, 1_600);
    assert_eq!(world.texts(id), ["one", "two"], "one has waited too long");
    world.cut_redis();
    world.redis.paused = false;
    world.pass(1_000);
    push(&mut world, CHANNEL, "three");
    assert_eq!(world.texts(id), ["stored", "three"]);
}

// What is asked.

/// Redis cuts who lets more than so many bytes wait; the numbers are those of its default, in
/// kilobytes instead of megabytes.
#[test]
fn after_an_outage_the_answers_never_pass_what_redis_lets_wait() {
    let mut settings = Settings { max_message_size: 1 << 10, ..with_redis() };
    redis_of(&mut settings).window = 4 << 10;
    let mut world = World::new(settings);
    let ids: Vec<BrowserId> = (0..400).map(|n| world.open(&hears(n))).collect();
    world.redis.output_limit = 32 << 10;
    world.kill_redis();
    for n in 0..400 {
        world.redis.set(&format!("broadcast:{n}"), format!("{n:01000}"));
    }
    // The confirmations of the subscriptions are no answers to asks.
    world.redis.reach = Reach::Answers;
    world.pass(5_000);
    let confirmations = 400 * 60;
    assert!(world.redis.most_unsaid < confirmations + (16 << 10), "{}", world.redis.most_unsaid);
    for (n, id) in ids.into_iter().enumerate() {
        assert_eq!(world.texts(id), [format!("{n:01000}")]);
    }
    assert_eq!(world.metrics().broker_lost_total, 1);
}

#[test]
fn many_handshakes_on_large_stored_messages_ask_for_few_at_a_time() {
    let mut world = World::new(with_redis());
    let large = "x".repeat(1 << 20);
    for n in 0..60 {
        world.redis.set(&format!("broadcast:{n}"), &large);
    }
    world.redis.paused = true;
    let ids: Vec<BrowserId> = (0..60).map(|n| world.knock(&hears(n))).collect();
    world.redis.paused = false;
    world.redis.output_limit = 32 << 20;
    world.run();
    for id in ids {
        assert_eq!(world.texts(id).iter().map(String::len).collect::<Vec<_>>(), [large.len()]);
    }
    assert!(world.redis.most_unsaid <= 5 << 20, "{}", world.redis.most_unsaid);
    assert_eq!(world.metrics().broker_lost_total, 0);
}

#[test]
fn of_a_value_that_is_too_large_no_more_is_asked_than_shows_that() {
    let mut world = World::new(Settings { max_message_size: 1_000, ..with_redis() });
    for (length, heard) in [(999, 1), (1_000, 1), (1_001, 0), (5_000_000, 0)] {
        world.redis.set(CHANNEL, "x".repeat(length));
        let id = world.open(HEARS);
        assert_eq!(world.texts(id).len(), heard, "{length} bytes");
        world.vanish(id);
    }
    assert!(world.redis.most_unsaid < 1_200, "{}", world.redis.most_unsaid);
    assert_eq!(world.metrics().stored_unreadable_total, 2);
}

#[test]
fn where_getrange_is_denied_or_unknown_get_does_it() {
    for (denied, unknown) in [(vec![("GETRANGE", "*")], vec![]), (vec![], vec!["GETRANGE"])] {
        let redis = FakeRedis::with(|redis| (redis.denied, redis.unknown) = (denied, unknown));
        let mut world = World::around(with_redis(), redis);
        for n in 0..10 {
            world.redis.set(&format!("broadcast:{n}"), format!("stored {n}"));
        }
        world.redis.paused = true;
        let ids: Vec<BrowserId> = (0..10).map(|n| world.knock(&hears(n))).collect();
        world.redis.paused = false;
        world.run();
        for (n, id) in ids.into_iter().enumerate() {
            assert_eq!(world.texts(id), [format!("stored {n}")]);
        }
        assert_eq!(world.metrics().stored_unreadable_total, 0);
    }
}

#[test]
fn a_conns_stored_messages_come_in_the_order_of_its_channels_however_few_are_asked_at_a_time() {
    let identity = ["X-Wsloop-User: john", "X-Wsloop-Groups: a, b, c"];
    let mut settings = with_redis();
    redis_of(&mut settings).window = 256 << 10;
    settings.sources.auth = Some(application());
    let mut world = World::new(settings);
    let names = ["broadcast:foo", "group:a:foo", "group:b:foo", "group:c:foo", "user:john:foo"];
    names.iter().for_each(|name| world.redis.set(name, name));
    let all = "/ws/foo?subscribe-broadcast&subscribe-group&subscribe-user";
    let lines: String = identity.iter().map(|line| format!("{line}\r\n")).collect();
    let ids: Vec<BrowserId> = (0..3)
        .map(|_| {
            let id = world.knock(all);
            world.answer(format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n"));
            id
        })
        .collect();
    assert_eq!(world.status(ids[0]), Some(101));
    let first = world.texts(ids[0]);
    assert_eq!(first.len(), 5, "{first:?}");
    for id in &ids[1..] {
        assert_eq!(world.texts(*id), first);
    }
    world.cut_redis();
    names.iter().for_each(|name| world.redis.set(name, format!("{name} anew")));
    world.pass(1_000);
    let anew: Vec<String> = first.iter().map(|name| format!("{name} anew")).collect();
    assert_eq!(world.texts(ids[0]), anew);
}
