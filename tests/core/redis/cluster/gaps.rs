//! What a page that asks for it is told when a slot moves: nobody hears what is published to shards
//! until the new one has confirmed the channel, with both forms as well.

use super::*;

/// The second has the slot of the first's channel.
fn moves(world: &mut World) {
    learn(world, 2, &split(10, &[0, 2], &[1, 3]));
    world.run();
}

/// What a page was told that had heard nothing before, once the channel is heard at that node.
fn told(world: &mut World, page: usize, node: usize) -> Vec<String> {
    world.pass(5_000);
    assert_eq!(world.node(node).shard_subscribed(), [channel(FIRST)]);
    world.texts(page)
}

/// A node that takes long is asked again every 250 ms.
#[test]
fn who_asks_for_gaps_is_told_once_of_a_slot_that_moves_however_slow_the_new_node_is() {
    for form in [Sharding::On, Sharding::Both] {
        for slow_ms in [0, 100, 400, 1_000, 3_000] {
            let mut world = world(form);
            let first = world.open(&hears(FIRST));
            world.texts(first);
            world.node(1).held = slow_ms > 0;
            moves(&mut world);
            world.pass(slow_ms);
            world.node(1).held = false;
            world.run();
            assert_eq!(told(&mut world, first, 1), [""], "{form:?} {slow_ms} ms");
        }
    }
}

/// With plain channels alone nobody leaves where it is heard.
#[test]
fn who_asks_for_gaps_is_not_told_of_a_slot_that_nothing_is_missed_of() {
    let mut world = world(Sharding::Off);
    let first = world.open(&hears(FIRST));
    world.texts(first);
    moves(&mut world);
    world.pass(5_000);
    assert_eq!(world.texts(first), [""; 0]);
}

#[test]
fn who_asks_for_gaps_is_told_of_a_slot_that_moves_though_the_new_node_is_not_ready() {
    let errors = ["CLUSTERDOWN The cluster is down", "TRYAGAIN Multiple keys request"];
    let forms = [Sharding::On, Sharding::Both];
    for (form, error) in forms.into_iter().flat_map(|form| errors.map(|error| (form, error))) {
        let mut world = world(form);
        let first = world.open(&hears(FIRST));
        world.texts(first);
        world.node(1).denied_with = Some(("SSUBSCRIBE", error));
        moves(&mut world);
        world.node(1).spublish(&channel(FIRST), "lost");
        world.pass(100);
        world.node(1).denied_with = None;
        assert_eq!(told(&mut world, first, 1), [""], "{form:?} {error}");
    }
}

/// The first is back after an outage, and has not confirmed the channel when it loses the slot.
#[test]
fn who_asks_for_gaps_is_told_again_when_a_slot_goes_back() {
    let mut world = world(Sharding::On);
    let first = world.open(&hears(FIRST));
    world.texts(first);
    world.node(0).held = true;
    world.cut_node(0);
    world.pass(3_000);
    world.node(0).held = false;
    world.node(0).denied_with = Some(("SSUBSCRIBE", "CLUSTERDOWN The cluster is down"));
    world.pass(1_000);
    moves(&mut world);
    assert_eq!(told(&mut world, first, 1), [""], "of both at once");
    world.node(0).denied_with = None;
    learn(&mut world, 3, &split(8_191, &[0, 2], &[1, 3]));
    world.run();
    assert_eq!(told(&mut world, first, 0), [""]);
}

/// The slots of both go to the same node.
#[test]
fn who_hears_two_channels_is_told_when_both_are_heard_at_their_new_node() {
    let Settings { sources, .. } = by_session();
    let mut world = world_of(Settings { sources, ..with_cluster(4, Sharding::On) });
    world.pass(100);
    let key = "session:anns-key";
    let node = usize::from(slot(key) >= 8_192);
    world.node(node).set(key, r#"{"wsloop:username": "ann"}"#);
    let target = format!("/ws/{FIRST}?subscribe-broadcast&subscribe-user&gaps");
    let ann = world.ask(&upgrade(&target, &["Cookie: sessionid=anns-key"]));
    assert_eq!(world.status(ann), Some(101));
    world.texts(ann);
    world.node(2).denied_with = Some(("SSUBSCRIBE", "CLUSTERDOWN The cluster is down"));
    learn(&mut world, 2, &[Shard::of((0, 16_383), &[2, 3])]);
    world.run();
    world.pass(1_000);
    assert_eq!(world.texts(ann), [""; 0], "neither is heard");
    world.node(2).denied_with = None;
    world.pass(5_000);
    let heard = world.node(2).shard_subscribed();
    assert!([channel(FIRST), "user:ann:news".into()].iter().all(|name| heard.contains(name)));
    assert_eq!(world.texts(ann), [""]);
}
