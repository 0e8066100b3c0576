//! Masters without slots: they are left when nothing is to be done there, and not before.

use super::*;
use wsloop::proto::ws::frame::Opcode;

/// The first half of the slots is the first node's up to there, and the fourth's from there on.
fn thirds(last: u16) -> Vec<Shard> {
    vec![
        Shard::of((0, last), &[0, 2]),
        Shard::of((8_192, 16_383), &[1]),
        Shard::of((last + 1, 8_191), &[3]),
    ]
}

/// The fourth node has no slots any more.
fn halves() -> Vec<Shard> {
    let mut halves = split(8_191, &[0, 2], &[1]);
    halves.push(Shard { slots: Vec::new(), nodes: vec![3], failed: false });
    halves
}

/// The fourth node has most of the first half, which was found by MOVED or by the map.
fn world_of_thirds(settings: Settings, is_sent_to: bool) -> World {
    let mut world = world_of(settings);
    world.pass(100);
    learn(&mut world, 2, &thirds(8_000));
    world.pass(3_000);
    assert!(world.node(3).has_client());
    learn(&mut world, 3, &thirds(100));
    if !is_sent_to {
        world.pass(3_000);
    }
    let first = world.open(&hears(FIRST));
    world.pass(3_000);
    world.vanish(first);
    world
}

/// The log would tell for ever of a node that is gone and cannot be dialed.
#[test]
fn a_node_that_was_once_sent_to_is_left_when_it_has_no_slots() {
    for (is_sent_to, is_known) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = world_of_thirds(with_cluster(4, Sharding::Off), is_sent_to);
        let second = world.open(&hears(SECOND));
        let shards = halves();
        learn(&mut world, 4, &shards[..if is_known { 3 } else { 2 }]);
        world.pass(4_000);
        assert!(!world.node(3).has_client(), "sent to: {is_sent_to}, in the map: {is_known}");
        world.kill_node(3);
        let dials = world.metrics().broker_dials_total;
        world.pass(60_000);
        let metrics = world.metrics();
        assert_eq!((metrics.broker_dials_total - dials, metrics.broker_up), (0, 1));
        assert_eq!(metrics.broker_lost_total, 1, "the link that was left");
        assert_eq!(world.texts(second), [""; 0], "nobody misses anything");
    }
}

/// What it was asked would be asked elsewhere, where it may not be.
#[test]
fn a_node_that_owes_an_answer_is_left_when_it_has_given_it() {
    let Settings { sources, .. } = by_session();
    let settings = Settings { sources, ..with_cluster(4, Sharding::Off) };
    let mut world = world_of_thirds(settings, true);
    let mut keys = (0..).map(|number| format!("key-of-ann-{number}"));
    let is_there = |key: &String| (101..8_192).contains(&slot(&format!("session:{key}")));
    let key = keys.find(is_there).expect("there are many");
    world.node(3).set(&format!("session:{key}"), r#"{"wsloop:username": "ann"}"#);
    world.node(3).held = true;
    let cookie = format!("Cookie: sessionid={key}");
    let ann = world.ask(&upgrade("/ws/inbox?subscribe-user", &[&cookie]));
    learn(&mut world, 4, &halves());
    world.pass(4_000);
    assert!(world.node(3).has_client());
    world.node(3).held = false;
    world.run();
    assert_eq!(world.status(ann), Some(101), "it has answered");
    world.pass(2_000);
    assert!(!world.node(3).has_client(), "and is left");
    assert_eq!(world.metrics().broker_lost_total, 1);
}

/// Each of its keys is asked for there, long before it has the slot.
#[test]
fn a_node_where_a_slot_is_about_to_be_is_kept_as_long_as_it_is_sent_to() {
    let mut world = world_of_thirds(with_cluster(4, Sharding::Off), true);
    let first = world.open(&format!("/ws/{FIRST}?publish-broadcast"));
    learn(&mut world, 4, &halves());
    let at = slot(&channel(FIRST));
    world.node(0).cluster.as_mut().expect("a node").leaving.insert(at, 3);
    world.node(3).cluster.as_mut().expect("a node").coming.insert(at);
    let dials = world.metrics().broker_dials_total;
    for number in 0..10 {
        let text = format!("said {number}");
        world.browsers[first].send_frame(Opcode::Text, text.as_bytes());
        world.run();
        world.pass(1_000);
        let now_ms = world.now_ms;
        let stored = world.node(3).stored(0, &channel(FIRST), now_ms);
        assert_eq!(stored, Some(text.as_bytes()));
        assert!(world.node(3).has_client());
    }
    world.node(0).cluster.as_mut().expect("a node").leaving.clear();
    world.pass(4_000);
    assert!(!world.node(3).has_client());
    let metrics = world.metrics();
    assert_eq!((metrics.broker_dials_total - dials, metrics.publishes_dropped_total), (0, 0));
}
