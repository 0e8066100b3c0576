//! A cluster of a single shard, whose master is said to have failed: nobody else is there to ask.

use super::*;

/// A master and its replica, and a page that hears at the master.
fn one() -> (World, BrowserId) {
    let mut world = World::around(with_cluster(2, Sharding::Off), FakeRedis::of_cluster(0, 2));
    world.pass(100);
    let first = world.open(&hears(FIRST));
    assert_eq!(world.metrics().broker_up, 1);
    (world, first)
}

fn shard(nodes: &[u16], failed: bool) -> [Shard; 1] {
    [Shard { failed, ..Shard::of((0, 16_383), nodes) }]
}

/// The replica knows that the master is gone, and can serve nothing.
fn fails(world: &mut World) {
    world.kill_node(0);
    world.node(1).learn(1, &shard(&[0, 1], true));
    world.node(1).cluster.as_mut().expect("a node").serves = false;
    world.pass(20_000);
    assert_eq!(world.metrics().broker_up, 0);
}

#[test]
fn a_cluster_whose_only_master_was_said_to_have_failed_is_found_again() {
    let (mut world, first) = one();
    fails(&mut world);
    (0..2).for_each(|node| world.node(node).learn(2, &shard(&[0, 1], false)));
    world.node(1).cluster.as_mut().expect("a node").serves = true;
    world.node(0).reach = Reach::Answers;
    world.pass(6_000);
    assert_eq!(world.metrics().broker_up, 1);
    assert_eq!(world.texts(first), [""]);
    world.publish_at(0, &channel(FIRST), "live");
    assert_eq!(world.texts(first), ["live"]);
}

/// It is promoted after a while, and the old one stays away.
#[test]
fn the_replica_of_the_only_master_is_heard_when_it_is_the_master() {
    let (mut world, first) = one();
    fails(&mut world);
    world.node(1).learn(2, &shard(&[1], false));
    world.node(1).cluster.as_mut().expect("a node").serves = true;
    world.pass(6_000);
    assert_eq!(world.metrics().broker_up, 1);
    assert_eq!(world.texts(first), [""]);
    world.publish_at(1, &channel(FIRST), "live");
    assert_eq!(world.texts(first), ["live"]);
}

/// Another answers at the address of the master, and says as well that this has failed.
#[test]
fn those_who_say_that_the_master_has_failed_are_asked_now_and_then() {
    for is_anybody_at_its_place in [false, true] {
        let (mut world, _) = one();
        fails(&mut world);
        if is_anybody_at_its_place {
            let cluster = world.node(1).cluster.clone();
            world.node(0).cluster = cluster;
            world.node(0).reach = Reach::Answers;
        }
        let before = world.metrics().broker_dials_total;
        world.pass(60_000);
        let dials = world.metrics().broker_dials_total - before;
        assert!((10..=60).contains(&dials), "{is_anybody_at_its_place}: {dials} dials a minute");
    }
}

/// The channel is heard there still, and it has said of the other that it failed.
#[test]
fn a_node_without_slots_that_goes_last_leaves_nobody_alone() {
    let mut world = world(Sharding::Off);
    let second = world.open(&hears(SECOND));
    let shards = |nodes: &[u16], failed| {
        let idle = Shard { slots: vec![], nodes: vec![1], failed: false };
        vec![Shard { failed, ..Shard::of((0, 16_383), nodes) }, idle]
    };
    learn(&mut world, 2, &shards(&[0, 2], false));
    world.pass(3_000);
    assert_eq!(world.node(1).subscribed(), [channel(SECOND)]);
    world.kill_node(0);
    learn(&mut world, 3, &shards(&[0, 2], true));
    world.pass(3_000);
    world.kill_node(1);
    world.pass(1_000);
    world.texts(second);
    learn(&mut world, 4, &shards(&[2], false));
    world.pass(12_000);
    assert_eq!(world.metrics().broker_up, 1);
    assert_eq!(world.texts(second), [""]);
    world.publish_at(2, &channel(SECOND), "live");
    assert_eq!(world.texts(second), ["live"]);
}
