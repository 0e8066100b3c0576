//! What Redis answers that says nothing about a browser: it is waited out.

use super::super::world::*;
use super::{CHANNEL, HEARS};

const CONDITIONS: [&str; 8] = [
    "BUSY Redis is busy running a script.",
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "READONLY You can't write against a read only replica.",
    "MOVED 3999 127.0.0.1:6381",
    "STRANGE nobody knows this yet",
];

#[test]
fn a_condition_of_redis_closes_nobody_and_is_waited_out() {
    for condition in CONDITIONS {
        let mut world = World::new(with_redis());
        let ids: Vec<BrowserId> = (0..3).map(|_| world.open(HEARS)).collect();
        world.cut_redis();
        world.redis.condition = Some(condition);
        world.pass(20_000);
        for id in &ids {
            assert!(world.heard(*id).is_empty(), "{condition}");
        }
        world.redis.condition = None;
        world.pass(6_000);
        world.publish(CHANNEL, "live");
        for id in &ids {
            assert_eq!(world.texts(*id), ["live"], "{condition}");
        }
        assert!(world.dials_ms.len() < 30, "{condition}: {} dials", world.dials_ms.len());
    }
}

#[test]
fn who_comes_while_redis_is_in_no_state_to_answer_is_served_or_told_to_come_again() {
    for condition in &CONDITIONS[..5] {
        let mut world = World::new(with_redis());
        world.redis.set(CHANNEL, "stored");
        world.redis.condition = Some(condition);
        let id = world.knock(HEARS);
        world.pass(1_000);
        world.redis.condition = None;
        world.pass(8_000);
        match world.status(id) {
            Some(101) => assert_eq!(world.texts(id), ["stored"], "{condition}"),
            other => assert_eq!(other, Some(503), "{condition}"),
        }
        let late = world.open(HEARS);
        assert_eq!(world.texts(late), ["stored"], "{condition}");
    }
}

#[test]
fn the_applications_channel_is_asked_for_until_it_is_heard() {
    let redis = FakeRedis::with(|redis| redis.denied = vec![("SUBSCRIBE", "wsloop:control")]);
    let mut world = World::around(by_session(), redis);
    assert_eq!((world.metrics().control_heard, world.metrics().broker_up), (0, 1));
    world.pass(11_000);
    let asked = world.redis.take_commands();
    let asked = asked.iter().filter(|command| *command == "SUBSCRIBE wsloop:control").count();
    assert!((2..=4).contains(&asked), "{asked} times");
    world.redis.denied.clear();
    world.pass(5_000);
    assert_eq!(world.metrics().control_heard, 1);
    assert_eq!(world.redis.subscribed(), ["wsloop:control"]);
    assert_eq!((world.metrics().broker_lost_total, world.dials_ms.len()), (0, 1));
}
