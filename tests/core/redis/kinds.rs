//! What kind of server it is that answers: masters, replicas, Sentinels and nodes of clusters.

use super::super::world::*;
use super::{CHANNEL, HEARS, SPEAKS, names};
use wsloop::{Allow, Settings};

fn count(commands: &[String], name: &str) -> usize {
    names(commands).into_iter().filter(|other| *other == name).count()
}

/// Nothing is stored.
fn without_expiry() -> Settings {
    let mut settings = with_redis();
    settings.broker.expire_s = 0;
    settings
}

#[test]
fn what_has_no_messages_or_not_all_of_them_is_refused() {
    for (mode, slots, unknown, up) in [
        ("sentinel", "", vec![], false),
        ("cluster", "0-5460", vec![], false),
        ("cluster", "", vec![], false),
        ("cluster", "0-16383", vec!["CLUSTER"], false),
        ("cluster", "0-16383", vec![], true),
        ("standalone", "", vec!["CLUSTER", "ROLE"], true),
        ("", "", vec![], true),
    ] {
        let redis = FakeRedis::with(|redis| {
            (redis.mode, redis.slots, redis.unknown) = (mode, slots, unknown);
        });
        let mut world = World::around(with_redis(), redis);
        let id = world.knock(HEARS);
        let expected = if up { 101 } else { 503 };
        assert_eq!(world.status(id), Some(expected), "{mode} {slots}");
        world.pass(60_000);
        assert_eq!(world.metrics().broker_up, u64::from(up), "{mode} {slots}");
        assert!(world.dials_ms.len() < 30, "{} dials", world.dials_ms.len());
    }
}

#[test]
fn a_node_that_loses_slots_is_not_gone_on_with() {
    let redis = FakeRedis::with(|redis| redis.mode = "cluster");
    let mut world = World::around(with_redis(), redis);
    let first = world.open(HEARS);
    world.redis.slots = "0-8191";
    world.redis.condition = Some("MOVED 9000 10.0.0.2:6379");
    world.knock("/ws/bar?subscribe-broadcast");
    world.redis.condition = None;
    world.pass(1_000);
    assert_eq!((world.metrics().broker_up, world.metrics().broker_lost_total), (0, 1));
    assert!(world.browsers[first].closed_ms.is_none());
}

#[test]
fn a_master_that_was_demoted_is_left_and_a_replica_that_is_found_again_is_stayed_on() {
    let mut world = World::new(with_redis());
    let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
    world.say(speaker, "before");
    world.redis.role = "replica";
    world.say(speaker, "refused");
    world.pass(20_000);
    assert_eq!((world.dials_ms.len(), world.metrics().broker_up), (2, 1));
    world.say(speaker, "refused too");
    world.pass(1_000);
    assert_eq!(world.texts(id), ["before", "refused", "refused too"], "it is heard at least");
    assert_eq!(world.dials_ms.len(), 2);
    world.pass(10_000);
    assert_eq!(world.dials_ms.len(), 3, "the master is looked for");
    world.pass(60_000);
    assert_eq!(world.dials_ms.len(), 5);

    world.redis.role = "master";
    world.pass(6_000);
    world.say(speaker, "stored");
    world.pass(60_000);
    assert_eq!(world.redis.stored(0, CHANNEL, world.now_ms), Some(&b"stored"[..]));
    assert_eq!(world.dials_ms.len(), 5, "it is no replica any more");
    assert_eq!(world.metrics().conns_open, 2);
}

#[test]
fn what_is_sent_when_a_master_was_demoted_reaches_the_next_one_once() {
    let mut world = World::new(with_redis());
    let speaker = world.open(SPEAKS);
    world.redis.role = "replica";
    world.say(speaker, "first");
    world.redis.reach = Reach::Refuses;
    world.pass(100);
    world.say(speaker, "second");
    (world.redis.role, world.redis.reach) = ("master", Reach::Answers);
    world.pass(2_000);
    let published: Vec<Vec<u8>> =
        world.redis.take_published().into_iter().map(|(_, text)| text).collect();
    assert_eq!(published, [b"first".to_vec(), b"second".to_vec()]);
    assert_eq!(world.redis.stored(0, CHANNEL, world.now_ms), Some(&b"second"[..]));
}

#[test]
fn where_nothing_is_stored_the_role_is_asked_for() {
    let mut world = World::new(without_expiry());
    let id = world.open(HEARS);
    world.redis.take_commands();
    world.pass(60_000);
    assert_eq!(count(&world.redis.take_commands(), "ROLE"), 12);
    assert_eq!(world.dials_ms.len(), 1);
    world.redis.role = "replica";
    world.pass(5_000);
    assert_eq!((world.dials_ms.len(), world.metrics().broker_lost_total), (2, 1));
    world.redis.role = "master";
    world.pass(60_000);
    assert_eq!(world.dials_ms.len(), 2, "that it is a master again is seen as well");
    world.publish(CHANNEL, "live");
    assert_eq!(world.texts(id), ["live"]);
}

#[test]
fn who_may_not_ask_for_the_role_asks_once() {
    let redis = FakeRedis::with(|redis| redis.denied = vec![("ROLE", "*")]);
    let mut world = World::around(without_expiry(), redis);
    world.redis.denied = vec![];
    world.redis.unknown = vec!["ROLE"];
    world.pass(60_000);
    assert_eq!(count(&world.redis.take_commands(), "ROLE"), 1);
    assert_eq!(world.dials_ms.len(), 1);
}

#[test]
fn a_replica_is_good_enough_where_nobody_publishes() {
    let allow = Allow::parse("subscribe-broadcast").expect("a list");
    for expire_s in [0, EXPIRE_S] {
        let mut settings = Settings { allow, ..with_redis() };
        settings.broker.expire_s = expire_s;
        let redis = FakeRedis::with(|redis| redis.role = "replica");
        let mut world = World::around(settings, redis);
        let id = world.open(HEARS);
        world.pass(120_000);
        assert_eq!(count(&world.redis.take_commands(), "ROLE"), 0);
        assert_eq!(world.dials_ms.len(), 1);
        world.publish(CHANNEL, "live");
        assert_eq!(world.texts(id), ["live"]);
    }
}

/// KeyDB and others say less of themselves, and a proxy may say what is not so.
#[test]
fn who_says_readonly_and_not_what_it_is_is_left_once_and_then_after_a_while() {
    for role in ["", "master"] {
        let mut world = World::new(with_redis());
        let speaker = world.open(SPEAKS);
        world.redis.denied_with = Some(("SET", "READONLY You can't write against it."));
        world.redis.role = role;
        for (seconds, dials) in [(20, 2), (15, 3), (20, 3)] {
            for _ in 0..seconds {
                world.say(speaker, "x");
                world.pass(1_000);
            }
            assert_eq!(world.dials_ms.len(), dials, "{role:?}");
        }
    }
}
