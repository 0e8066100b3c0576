//! What an outage of Redis keeps from browsers comes from the histories of their channels.

use super::super::world::*;
use super::{BOTH, CHANNEL, HEARS, names};
use wsloop::{HistoryRule, HistoryRules, Settings};

/// Most messages of the history of [`CHANNEL`].
const MOST: usize = 40;

fn keeping() -> Settings {
    let rules = vec![HistoryRule::parse("foo=40/60").expect("a rule")];
    Settings { history: HistoryRules { prefix: String::new(), rules }, ..with_redis() }
}

fn keep(world: &mut World, texts: &[&str]) {
    for text in texts {
        world.redis.publish_kept(CHANNEL, text, MOST);
    }
    world.run();
}

/// Redis is away while these are published.
fn outage(world: &mut World, texts: &[&str]) {
    world.kill_redis();
    keep(world, texts);
    world.revive_redis();
}

#[test]
fn what_was_published_in_an_outage_comes_in_its_order_and_before_what_is_live() {
    let mut world = World::new(keeping());
    let (id, other) = (world.open(HEARS), world.open("/ws/bar?subscribe-broadcast"));
    keep(&mut world, &["one", "two"]);
    world.redis.publish("broadcast:foo", "plain", 0, 0);
    world.run();
    outage(&mut world, &["three", "four"]);
    keep(&mut world, &["five"]);
    assert_eq!(world.texts(id), ["one", "two", "plain", "three", "four", "five"]);
    assert_eq!(world.metrics().missed_total, 2);
    outage(&mut world, &[]);
    outage(&mut world, &["six"]);
    assert_eq!(world.texts(id), ["six"], "and nothing twice");
    assert!(world.texts(other).is_empty());
    assert_eq!(world.metrics().missed_total, 3);
}

#[test]
fn an_outage_of_an_empty_channel_is_mended_too() {
    let mut world = World::new(keeping());
    let id = world.open(HEARS);
    outage(&mut world, &["one", "two"]);
    assert_eq!(world.texts(id), ["one", "two"]);
}

/// What is not there any more, or may not be, is not made up: there is the stored message.
#[test]
fn what_is_gone_from_the_history_is_missed_as_without_one() {
    let many: Vec<String> = (0..MOST).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let gone: [fn(&mut World); 3] = [
        |world| world.redis.histories.forget(),
        |world| world.redis.histories.ms += 60_000,
        |_| {},
    ];
    for (number, gone) in gone.into_iter().enumerate() {
        for (before, during) in [(&["one"][..], &["two"][..]), (&[], &["two"])] {
            let mut world = World::new(keeping());
            let id = world.open(HEARS);
            keep(&mut world, before);
            world.texts(id);
            world.kill_redis();
            match number {
                // Trimmed, as far as one can know.
                2 => keep(&mut world, &many),
                _ => keep(&mut world, during),
            }
            world.redis.set(CHANNEL, "stored");
            gone(&mut world);
            world.revive_redis();
            let texts = world.texts(id);
            // An entry that is there shows that nothing is missing, however old it is.
            match (number, before.len()) {
                (1, 1) => assert_eq!(texts, ["stored", "two"], "{number} {before:?}"),
                _ => assert_eq!(texts, ["stored"], "{number} {before:?}"),
            }
            keep(&mut world, &["live"]);
            outage(&mut world, &["next"]);
            assert_eq!(world.texts(id), ["live", "next"], "{number} {before:?}: it goes on");
        }
    }
}

/// However long nothing was said, the place is of use.
#[test]
fn a_quiet_channel_is_mended_as_a_busy_one() {
    for before in [&[][..], &["one"]] {
        let mut world = World::new(keeping());
        let id = world.open(HEARS);
        keep(&mut world, before);
        for _ in 0..20 {
            world.pass(30_000);
            world.redis.histories.ms += 30_000;
        }
        world.redis.histories.forget();
        world.pass(15_000);
        outage(&mut world, &["two"]);
        assert_eq!(world.texts(id), [before, &["two"]].concat());
    }
}

/// What is only published has no place, and is not asked about each time.
#[test]
fn a_channel_of_plain_messages_is_hardly_asked_about() {
    let mut world = World::new(keeping());
    world.open(HEARS);
    world.redis.take_commands();
    for n in 0..60 {
        world.redis.publish(CHANNEL, n.to_string(), 0, 0);
        world.run();
    }
    assert_eq!(names(&world.redis.take_commands()), ["EVAL"; 6]);
}

/// Nobody who comes in an outage or after it gets what was before.
#[test]
fn who_comes_later_gets_the_stored_message_and_what_is_live() {
    let mut world = World::new(keeping());
    let id = world.open(HEARS);
    keep(&mut world, &["one"]);
    world.kill_redis();
    keep(&mut world, &["two"]);
    world.redis.set(CHANNEL, "two");
    world.redis.reach = Reach::Answers;
    world.redis.held = true;
    world.pass(1_000);
    world.redis.held = false;
    world.run();
    let late = world.open(HEARS);
    keep(&mut world, &["three"]);
    assert_eq!(world.texts(id), ["one", "two", "three"]);
    assert_eq!(world.texts(late), ["two", "three"]);
}

#[test]
fn what_browsers_publish_is_theirs_and_everybody_elses_after_an_outage() {
    let mut world = World::new(keeping());
    let (id, speaker) = (world.open(HEARS), world.open(BOTH));
    world.kill_redis();
    world.say(speaker, "one");
    keep(&mut world, &["between"]);
    world.revive_redis();
    world.say(speaker, "two");
    assert_eq!(world.texts(id), ["between", "one", "two"]);
    assert_eq!(world.texts(speaker), ["between"]);
}

#[test]
fn a_long_trail_is_asked_about_anew_and_a_channel_without_a_rule_never() {
    let mut world = World::new(keeping());
    let id = world.open(HEARS);
    world.open("/ws/bar?subscribe-broadcast");
    world.redis.take_commands();
    for n in 0..60 {
        world.redis.publish_kept(CHANNEL, n.to_string(), MOST);
        world.redis.publish("broadcast:bar", n.to_string(), 0, 0);
        world.run();
    }
    let commands = world.redis.take_commands();
    // At the first, and then at each tenth, a quarter of what is kept.
    assert_eq!(names(&commands), ["EVAL"; 6], "{commands:?}");
    assert!(commands.iter().all(|command| command.contains("{broadcast:foo}")));
    world.texts(id);
    outage(&mut world, &["next"]);
    assert_eq!(world.texts(id), ["next"]);
}

#[test]
fn who_may_not_read_histories_is_as_without_and_says_so_once() {
    for error in ["NOPERM this user has no permissions to run the 'eval' command", "ERR no"] {
        let mut world = World::new(keeping());
        world.redis.denied_with = Some(("EVAL", error));
        let id = world.open(HEARS);
        keep(&mut world, &["one"]);
        world.kill_redis();
        keep(&mut world, &["two"]);
        world.redis.set(CHANNEL, "stored");
        world.revive_redis();
        assert_eq!(world.texts(id), ["one", "stored"]);
        assert_eq!(world.metrics().broker_errors_total, 2);
    }
}

/// Links that break wherever they may, in the middle of what is mended included: whoever stays has
/// every message that was kept, once and in order, and of the others none twice.
#[test]
fn whoever_stays_has_what_was_kept_once_and_in_order() {
    for seed in 0..400 {
        let mut world = World::new(keeping());
        let mut random = Random(seed * 2 + 1);
        let ids = [world.open(HEARS), world.open(HEARS)];
        let (mut kept, mut plain, mut got) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
        for n in 0..120 {
            match random.below(15) {
                0..=4 => {
                    let text = format!("k{n}");
                    world.redis.publish_kept(CHANNEL, &text, MOST);
                    kept.push(text);
                }
                5 | 6 => {
                    let text = format!("p{n}");
                    world.redis.publish(CHANNEL, &text, 0, 0);
                    plain.push(text);
                }
                7 => world.redis.cut_after = Some(random.below(400) as usize),
                8 => world.redis.piece = 1 + random.below(100) as usize,
                9 => world.pass(random.below(300)),
                10 => world.redis.paused = random.below(2) == 0,
                11..=13 => world.redis.serve(1 + random.below(2) as usize),
                _ => world.cut_redis(),
            }
            if random.below(2) == 0 {
                world.run();
            }
            for (id, got) in ids.iter().zip(&mut got) {
                got.extend(world.texts(*id));
            }
            // More than the history has is not missed.
            if n % 20 == 19 {
                (world.redis.paused, world.redis.cut_after) = (false, None);
                world.run();
                world.pass(6_000);
            }
        }
        (world.redis.paused, world.redis.cut_after) = (false, None);
        world.run();
        world.pass(6_000);
        for (id, mut got) in ids.into_iter().zip(got) {
            got.extend(world.texts(id));
            let (ours, others): (Vec<_>, Vec<_>) =
                got.iter().cloned().partition(|text| text.starts_with('k'));
            assert_eq!(ours, kept, "seed {seed}");
            let mut known = plain.iter();
            assert!(
                others.iter().all(|text| known.any(|of| of == text)),
                "seed {seed}: {others:?}"
            );
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}
