//! What browsers publish on channels that have a history, with Redis.

use super::super::world::*;
use super::{BOTH, CHANNEL, HEARS, SPEAKS, names};
use wsloop::{HistoryRule, HistoryRules, Settings};

fn keeping() -> Settings {
    let rules = vec![HistoryRule::parse("foo=2/60").expect("a rule")];
    Settings { history: HistoryRules { prefix: String::new(), rules }, ..with_redis() }
}

#[test]
fn what_browsers_publish_is_recorded_where_a_rule_fits_and_published_alone_elsewhere() {
    let mut world = World::new(keeping());
    let (id, speaker) = (world.open(HEARS), world.open(BOTH));
    let other = world.open("/ws/bar?publish-broadcast&subscribe-broadcast&echo");
    world.redis.take_commands();
    for text in ["one", "two", "three"] {
        world.say(speaker, text);
    }
    assert_eq!(names(&world.redis.commands)[..2], ["EVAL", "SET"]);
    let eval = world.redis.commands[0].clone();
    let end = " 1 wsloop:history:{broadcast:foo} broadcast:foo one 2 60000";
    assert!(eval.ends_with(end), "{eval}");
    assert_eq!(world.redis.history(CHANNEL), ["two", "three"]);
    assert_eq!(world.redis.stored(0, CHANNEL, world.now_ms), Some(&b"three"[..]));
    assert_eq!(world.texts(id), ["one", "two", "three"]);
    assert!(world.texts(speaker).is_empty(), "they are its own");
    world.redis.take_commands();
    world.say(other, "plain");
    assert_eq!(names(&world.redis.take_commands()), ["PUBLISH", "SET"]);
    assert_eq!(world.texts(other), ["plain"]);
}

#[test]
fn what_waited_for_redis_is_recorded_when_it_is_back() {
    let mut world = World::new(keeping());
    let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
    world.kill_redis();
    for text in ["one", "two", "three"] {
        world.say(speaker, text);
    }
    world.redis.reach = Reach::Answers;
    world.pass(1_000);
    assert_eq!(world.texts(id), ["one", "two", "three"]);
    assert_eq!(world.redis.history(CHANNEL), ["two", "three"]);
}

#[test]
fn what_cannot_be_recorded_is_published_and_counted_until_it_can_be_again() {
    let mut world = World::new(keeping());
    let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
    world.redis.denied_with = Some(("SET", "OOM it is full"));
    world.redis.unkept = Some("OOM it is full");
    world.say(speaker, "one");
    assert_eq!(world.texts(id), ["one"]);
    assert_eq!(world.metrics().broker_errors_total, 2);
    (world.redis.denied_with, world.redis.unkept) = (None, None);
    world.say(speaker, "two");
    assert_eq!(
        (world.redis.history(CHANNEL), world.texts(id)),
        (vec!["two".into()], vec!["two".into()])
    );
    assert_eq!(world.metrics().broker_errors_total, 2);
    world.redis.deny("EVAL", CHANNEL.into());
    world.say(speaker, "three");
    assert!(world.texts(id).is_empty(), "it is not published");
    assert_eq!(world.metrics().broker_errors_total, 3);
}

/// Redis takes so many bytes before the link breaks, for every number of them.
#[test]
fn what_redis_has_not_begun_to_take_is_recorded_later_and_nothing_twice() {
    let all = ["one", "two", "three"];
    let (mut taken, mut cut) = (0, 0);
    loop {
        let mut world = World::new(keeping());
        let speaker = world.open(SPEAKS);
        world.redis.appetite = Some(taken);
        all.iter().for_each(|text| world.say(speaker, text));
        world.cut_redis();
        let whole = world.redis.appetite != Some(0);
        world.redis.appetite = None;
        world.pass(1_000);
        let published = world.redis.take_published().into_iter();
        let published: Vec<String> =
            published.map(|(_, text)| String::from_utf8(text).expect("a text")).collect();
        let without = |at| all.iter().enumerate().filter(move |(n, _)| *n != at);
        let may = (0..=3).any(|at| without(at).map(|(_, text)| *text).eq(published.iter()));
        assert!(may, "after {taken}: {published:?}");
        let last = &published[published.len() - 2..];
        assert_eq!(world.redis.history(CHANNEL), last, "after {taken}");
        let stored = world.redis.stored(0, CHANNEL, world.now_ms);
        assert!(stored.is_some_and(|text| [&b"two"[..], b"three"].contains(&text)));
        cut += usize::from(published.len() < 3);
        if whole {
            break;
        }
        taken += 1;
    }
    assert!(taken > 1000 && (800..taken).contains(&cut), "{cut} of {taken}");
}
