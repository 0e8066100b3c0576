//! A slot that goes: what its former node says of its own, and what is still asked of it.

use super::*;
use wsloop::Cause;

/// The slot of the first channel goes to the second master, and nothing else.
fn without(gone: u16) -> Vec<Shard> {
    let first =
        Shard { slots: vec![(0, gone - 1), (gone + 1, 8_191)], ..Shard::of((0, 0), &[0, 2]) };
    let slots = vec![(gone, gone), (8_192, 16_383)];
    vec![first, Shard { slots, ..Shard::of((0, 0), &[1, 3]) }]
}

/// Redis says by a push that the channel is heard no more, and answers the SUNSUBSCRIBE that is on
/// its way with MOVED as well. What comes behind it is the answer to what was asked behind it.
#[test]
fn an_unsubscription_that_a_slot_overtakes_hands_nobody_another_session() {
    let Settings { sources, .. } = by_session();
    let mut world = world_of(Settings { sources, ..with_cluster(4, Sharding::On) });
    world.pass(100);
    let gone = slot(&channel(FIRST));
    let is_there = |key: &String| {
        let at = slot(&format!("session:{key}"));
        at < 8_192 && at != gone
    };
    let keys = (0..100).map(|number| format!("sessions-key-{number}")).filter(is_there);
    let keys: Vec<String> = keys.take(2).collect();
    for (key, user) in keys.iter().zip(["ann", "bob"]) {
        let stored = format!(r#"{{"wsloop:username": "{user}"}}"#);
        world.node(0).set(&format!("session:{key}"), stored);
    }
    let first = world.open(&hears(FIRST));
    world.node(0).paused = true;
    world.vanish(first);
    let [ann, bob] = [0, 1].map(|at| {
        let cookie = format!("Cookie: sessionid={}", keys[at]);
        world.ask(&upgrade("/ws/inbox?subscribe-user", &[&cookie]))
    });
    learn(&mut world, 2, &without(gone));
    world.node(0).paused = false;
    world.run();
    world.pass(2_000);
    for user in ["ann", "bob"] {
        let inbox = format!("user:{user}:inbox");
        let node = usize::from(slot(&inbox) >= 8_192);
        world.node(node).spublish(&inbox, &format!("for {user} alone"));
    }
    world.run();
    let heard = [world.texts(ann), world.texts(bob)];
    assert_eq!(heard, [["for ann alone"], ["for bob alone"]]);
    assert_eq!(world.metrics().broker_lost_total, 0);
}

#[test]
fn unsubscriptions_that_a_slot_overtakes_cost_no_link() {
    for (form, leave) in [(Sharding::On, 1), (Sharding::On, 3), (Sharding::Both, 1)] {
        let mut world = world(form);
        let all = [FIRST, "lobby", "corner", "hall"].map(|facility| world.open(&hears(facility)));
        let gone = slot(&channel(FIRST));
        world.node(0).paused = true;
        all[..leave].iter().for_each(|id| world.vanish(*id));
        learn(&mut world, 2, &without(gone));
        world.node(0).paused = false;
        world.run();
        world.pass(1_000);
        assert_eq!(world.metrics().broker_lost_total, 0, "{form:?}");
        let node = usize::from(slot(&channel("hall")) >= 8_192);
        world.node(node).spublish(&channel("hall"), "live");
        world.run();
        assert_eq!(world.texts(all[3]), ["live"], "{form:?}");
    }
}

/// Nobody leaves: the map comes from the new node before the former one says that the slot is gone.
#[test]
fn a_map_that_comes_before_the_word_of_the_former_node_costs_no_link() {
    let mut world = world(Sharding::On);
    let (first, other) = (world.open(&hears(FIRST)), world.open(&hears("lobby")));
    world.node(0).held = true;
    learn(&mut world, 2, &without(slot(&channel(FIRST))));
    world.pass(2_500);
    world.node(0).held = false;
    world.run();
    world.pass(1_000);
    assert_eq!((world.metrics().broker_lost_total, world.texts(other).len()), (0, 0));
    world.node(1).spublish(&channel(FIRST), "live");
    world.run();
    // It asks for gaps, and there may be one.
    assert_eq!(world.texts(first), ["", "live"]);
}

/// Many that end together are answered with few bytes.
#[test]
fn unsubscriptions_that_end_together_share_a_hello() {
    let mut world = world(Sharding::On);
    let all: Vec<usize> = (0..40).map(|at| world.open(&hears(&format!("room/{at}")))).collect();
    world.node(0).take_commands();
    let greeted = hellos(&mut world);
    for id in all {
        world.browsers[id].ending = Some(Cause::Ended);
    }
    world.run();
    let commands = world.node(0).take_commands();
    let count = names(&commands).iter().filter(|name| **name == "SUNSUBSCRIBE").count();
    assert!(count > 10, "{commands:?}");
    assert_eq!(hellos(&mut world) - greeted, 1);
}

/// How many greetings the first node was given.
fn hellos(world: &mut World) -> usize {
    world.node(0).cluster.as_ref().expect("a node").hellos
}

/// A world that hears the application, and the masters that have its channel and have it not.
fn with_control() -> (World, usize, usize) {
    let Settings { sources, .. } = by_session();
    let mut world = world_of(Settings { sources, ..with_cluster(4, Sharding::On) });
    world.pass(100);
    assert_eq!(world.metrics().control_heard, 1);
    let old = usize::from(slot("wsloop:control") >= 8_192);
    (world, old, 1 - old)
}

/// All slots but one go to that master. If `is_late`, the former one says so only seconds later.
fn all_go(world: &mut World, (from, to): (usize, usize), is_late: bool) {
    world.node(from).held = is_late;
    let (most, least) = ([to as u16, 2], [from as u16, 3]);
    let shards = match from {
        0 => split(0, &least, &most),
        _ => split(16_382, &most, &least),
    };
    learn(world, 2, &shards);
    world.run();
    world.pass(3_000);
    world.node(from).held = false;
    world.run();
}

fn control_is_heard_at(world: &mut World, node: usize) -> bool {
    world.node(node).shard_subscribed().iter().any(|name| name == "wsloop:control")
}

/// The map may tell of the slot before its former node does, and the new one may not be ready.
#[test]
fn the_application_is_asked_for_until_it_is_heard_where_its_slot_is() {
    for is_late in [false, true] {
        let (mut world, old, new) = with_control();
        world.node(new).denied_with = Some(("SSUBSCRIBE", "CLUSTERDOWN The cluster is down"));
        all_go(&mut world, (old, new), is_late);
        assert_eq!(world.metrics().control_heard, 0, "{is_late}");
        world.node(new).denied_with = None;
        world.pass(1_000);
        assert!(control_is_heard_at(&mut world, new), "{is_late}");
        assert_eq!(world.metrics().control_heard, 1, "{is_late}");
    }
}

/// Whoever logs out stays connected then, so readiness has to show it.
#[test]
fn an_application_that_may_not_be_heard_where_its_slot_is_is_not_said_to_be_heard() {
    for is_late in [false, true] {
        let (mut world, old, new) = with_control();
        world.node(new).denied = vec![("SSUBSCRIBE", "wsloop:control")];
        all_go(&mut world, (old, new), is_late);
        world.pass(2_000);
        assert!(!control_is_heard_at(&mut world, new), "{is_late}");
        assert_eq!(world.metrics().control_heard, 0, "{is_late}");
        world.node(new).denied.clear();
        world.pass(60_000);
        assert!(control_is_heard_at(&mut world, new), "{is_late}");
        assert_eq!(world.metrics().control_heard, 1, "{is_late}");
    }
}
