//! What a page that asks for it is told of an outage: an empty message, when it hears all again.

use super::super::world::*;
use super::{CHANNEL, HEARS};

const TOLD: &str = "/ws/foo?subscribe-broadcast&gaps";

#[test]
fn who_asks_for_it_is_told_of_each_outage_once_and_before_what_came_meanwhile() {
    for (url, gap) in [
        (TOLD, Some(Heard::Text(String::new()))),
        ("/ws/foo?subscribe-broadcast&gaps&binary", Some(Heard::Binary(Vec::new()))),
        (HEARS, None),
    ] {
        let mut world = World::new(with_redis());
        let id = world.open(url);
        world.pass(60_000);
        assert_eq!(world.heard(id), [], "there was no outage");
        for text in ["one", "two"] {
            world.kill_redis();
            world.pass(1_000);
            assert_eq!(world.heard(id), [], "{url}: it cannot load anything anew yet");
            world.redis.set(CHANNEL, text);
            world.revive_redis();
            let mut heard = world.heard(id);
            assert!(matches!(heard.pop(), Some(Heard::Text(_) | Heard::Binary(_))), "{url}");
            assert_eq!(heard, Vec::from_iter(gap.clone()), "{url}");
            world.pass(60_000);
            assert_eq!(world.heard(id), []);
        }
    }
}

#[test]
fn nobody_else_can_say_that_there_was_an_outage() {
    let mut world = World::new(with_redis());
    let (id, speaker) = (world.open(TOLD), world.open("/ws/foo?publish-broadcast"));
    world.say(speaker, "");
    world.publish(CHANNEL, "");
    world.redis.set(CHANNEL, "");
    let late = world.open(TOLD);
    assert_eq!([world.heard(id), world.heard(late)], [[], []]);
}

/// Redis is cut off again after so many bytes of its answers, for every number of them.
#[test]
fn an_outage_that_nobody_was_told_of_yet_is_one_with_the_next() {
    let mut cut = 0;
    for after in 0..400 {
        let mut world = World::new(with_redis());
        let id = world.open(TOLD);
        world.redis.paused = true;
        world.cut_redis();
        world.pass(200);
        world.redis.cut_after = Some(after);
        world.redis.paused = false;
        world.run();
        world.pass(4_000);
        let heard = world.texts(id);
        // The stored message is asked for behind the confirmation, and its answer is cut last.
        match heard.len() {
            2 => break,
            _ => assert_eq!(heard, [""], "after {after}"),
        }
        cut += 1;
    }
    assert!((50..399).contains(&cut), "it was told of both after {cut} bytes");
}

#[test]
fn who_hears_two_channels_is_told_when_both_are_heard_again() {
    let mut world = World::new(by_session());
    world.redis.set("session:anns-key", r#"{"wsloop:username": "ann"}"#);
    let target = "/ws/foo?subscribe-broadcast&subscribe-user&gaps";
    let id = world.ask(&upgrade(target, &["Cookie: sessionid=anns-key"]));
    assert_eq!(
        world.response(id).header("X-Wsloop-Granted"),
        Some("subscribe-broadcast,subscribe-user,gaps")
    );
    // The batch is refused, and each of its channels is asked for by itself.
    world.open("/ws/denied?subscribe-broadcast");
    world.redis.denied = vec![("SUBSCRIBE", "broadcast:denied")];
    world.kill_redis();
    world.redis.paused = true;
    world.redis.reach = Reach::Answers;
    world.pass(200);
    let mut served = 0;
    while world.redis.subscribed().len() < 2 {
        assert_eq!(world.heard(id), [], "after {served} answers");
        world.redis.serve(1);
        world.run();
        served += 1;
        assert!(served < 20);
    }
    assert_eq!(world.texts(id), [""]);
    world.redis.paused = false;
    world.publish("user:ann:foo", "live");
    assert_eq!(world.texts(id), ["live"]);
}

#[test]
fn who_comes_during_an_outage_or_hears_nothing_is_not_told_of_it() {
    let mut world = World::new(with_redis());
    let silent = world.open("/ws/foo?publish-broadcast&gaps");
    let told = world.open(TOLD);
    world.redis.paused = true;
    world.cut_redis();
    world.pass(100);
    let comes = world.knock(TOLD);
    assert_eq!(world.status(comes), None);
    world.vanish(told);
    world.redis.paused = false;
    world.pass(1_000);
    assert_eq!(world.status(comes), Some(101));
    assert_eq!([world.heard(silent), world.heard(comes)], [[], []]);
    world.cut_redis();
    world.pass(1_000);
    assert_eq!(world.texts(comes), [""]);
}

/// It does not read, and what it is told waits for it as everything else does.
#[test]
fn who_is_slow_is_told_when_it_reads() {
    let mut world = World::new(with_redis());
    let id = world.open(TOLD);
    world.stall(id, 0);
    world.publish(CHANNEL, "before");
    world.cut_redis();
    world.pass(1_000);
    world.publish(CHANNEL, "after");
    world.resume(id);
    assert_eq!(world.texts(id), ["before", "", "after"]);
}
