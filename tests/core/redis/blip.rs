//! What browsers publish while Redis is away for a moment.

use super::super::world::*;
use super::{BOTH, CHANNEL, HEARS, SPEAKS};
use wsloop::proto::ws::frame::Opcode;

fn texts_of(world: &mut World) -> Vec<String> {
    let published = world.redis.take_published();
    published.into_iter().map(|(_, text)| String::from_utf8(text).expect("a text")).collect()
}

#[test]
fn what_is_published_during_a_redial_is_heard_and_stored_when_redis_is_back() {
    let mut world = World::new(with_redis());
    let (id, speaker) = (world.open(HEARS), world.open(BOTH));
    world.kill_redis();
    for text in ["one", "two", "three"] {
        world.say(speaker, text);
        world.pass(200);
    }
    assert!(world.texts(id).is_empty());
    world.redis.reach = Reach::Answers;
    world.pass(1_000);
    assert_eq!(world.texts(id), ["one", "two", "three"]);
    assert!(world.texts(speaker).is_empty(), "they are its own");
    assert_eq!(world.redis.stored(0, CHANNEL, world.now_ms), Some(&b"three"[..]));
    let metrics = world.metrics();
    assert_eq!((metrics.publishes_total, metrics.publishes_dropped_total), (3, 0));
    world.say(speaker, "four");
    assert_eq!(world.texts(id), ["four"]);
}

#[test]
fn what_waits_for_redis_too_long_is_given_up_and_counted() {
    let mut world = World::new(with_redis());
    let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
    world.kill_redis();
    world.say(speaker, "old");
    world.pass(4_999);
    world.say(speaker, "new");
    world.pass(1);
    assert_eq!(world.metrics().publishes_dropped_total, 1);
    world.redis.reach = Reach::Answers;
    world.pass(4_990);
    assert_eq!(world.texts(id), ["new"]);
    assert_eq!(world.metrics().publishes_dropped_total, 1);
}

#[test]
fn no_more_waits_for_redis_than_its_buffer_may_have() {
    let mut settings = with_redis();
    redis_of(&mut settings).buffer_limit = 10_000;
    let mut world = World::new(settings);
    let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
    world.kill_redis();
    let burst: Vec<u8> = (0..20).flat_map(|_| masked(Opcode::Text, &[b'x'; 1000])).collect();
    world.send(speaker, &burst);
    world.run();
    let metrics = world.metrics();
    assert_eq!((metrics.publishes_total, metrics.publishes_dropped_total), (4, 16));
    world.redis.reach = Reach::Answers;
    world.pass(1_000);
    assert_eq!(world.texts(id).len(), 4);
}

/// Redis takes so many bytes before the link breaks, for every number of them.
#[test]
fn what_redis_has_not_begun_to_take_is_sent_again_and_nothing_else() {
    let all = ["one", "two", "three"];
    let (mut taken, mut cut) = (0, 0);
    loop {
        let mut world = World::new(with_redis());
        let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
        world.redis.appetite = Some(taken);
        all.iter().for_each(|text| world.say(speaker, text));
        world.cut_redis();
        let whole = world.redis.appetite != Some(0);
        world.redis.appetite = None;
        world.pass(1_000);
        let published = texts_of(&mut world);
        // The PUBLISH of one may have been cut in two, which is then only stored.
        let without = |at| all.iter().enumerate().filter(move |(n, _)| *n != at);
        let may = (0..=3).any(|at| without(at).map(|(_, text)| *text).eq(published.iter()));
        assert!(may, "after {taken}: {published:?}");
        assert_eq!(world.texts(id), all, "after {taken}");
        cut += usize::from(published.len() < 3);
        if whole {
            break assert_eq!(published.len(), 3);
        }
        taken += 1;
    }
    // Of PUBLISH and SET only the first matters for that.
    assert!(taken > 200 && (100..200).contains(&cut), "{cut} of {taken}");
}

/// What was published and not stored is stored by the next link, or the one behind that.
#[test]
fn what_was_only_to_be_stored_is_not_published_by_any_link() {
    let mut world = World::new(with_redis());
    let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
    world.redis.appetite = Some(47);
    world.say(speaker, "text");
    assert_eq!(world.texts(id), ["text"], "its PUBLISH was taken");
    for _ in 0..3 {
        world.cut_redis();
        // HELLO.
        world.redis.appetite = Some(47);
        world.pass(1_000);
    }
    world.redis.appetite = None;
    world.cut_redis();
    world.pass(2_000);
    assert_eq!(texts_of(&mut world), ["text"]);
    assert_eq!(world.redis.stored(0, CHANNEL, world.now_ms), Some(&b"text"[..]));
    assert!(world.texts(id).is_empty());
}

/// A message whose push is lost with the link is stored by the next one before anybody asks for
/// what is stored.
#[test]
fn what_was_published_and_is_not_stored_yet_is_heard_when_its_push_is_lost() {
    let mut world = World::new(with_redis());
    let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
    (world.redis.appetite, world.redis.held) = (Some(47), true);
    world.say(speaker, "text");
    assert_eq!(texts_of(&mut world), ["text"], "its PUBLISH was taken");
    (world.redis.appetite, world.redis.held) = (None, false);
    world.cut_redis();
    world.pass(1_000);
    assert_eq!(world.texts(id), ["text"]);
    assert!(texts_of(&mut world).is_empty());
}

/// One error answers the whole batch of subscriptions, and each is asked for by itself behind it.
#[test]
fn what_has_waited_is_published_when_its_browsers_are_subscribed_again() {
    // Nothing is stored, so that who does not hear it misses it.
    let mut settings = with_redis();
    settings.broker.expire_s = 0;
    let mut world = World::new(settings);
    let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
    world.open("/ws/denied?subscribe-broadcast");
    world.redis.denied = vec![("SUBSCRIBE", "broadcast:denied")];
    world.kill_redis();
    world.say(speaker, "meanwhile");
    world.redis.reach = Reach::Answers;
    world.pass(1_000);
    assert_eq!(world.texts(id), ["meanwhile"]);
}
