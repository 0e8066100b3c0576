//! A cluster: a channel is heard, read and written where its slot is, wherever that goes.

mod alone;
mod gaps;
mod leaving;
mod map;
mod moving;
mod quarrel;
mod slotless;

use super::super::world::*;
use super::names;
use wsloop::{Settings, Sharding};

/// Of a cluster of four the first has the channel of this facility, and the second that of the
/// other.
const FIRST: &str = "news";
const SECOND: &str = "chat";

fn channel(facility: &str) -> String {
    format!("broadcast:{facility}")
}

fn hears(facility: &str) -> String {
    format!("/ws/{facility}?subscribe-broadcast&gaps")
}

fn both(facility: &str) -> String {
    format!("/ws/{facility}?subscribe-broadcast&publish-broadcast&echo")
}

fn world_of(settings: Settings) -> World {
    World::around(settings, FakeRedis::of_cluster(0, 4))
}

fn world(form: Sharding) -> World {
    let mut world = world_of(with_cluster(4, form));
    world.pass(100);
    world
}

/// All nodes that are there learn how the cluster is now.
fn learn(world: &mut World, epoch: u64, shards: &[Shard]) {
    (0..4).for_each(|node| world.node(node).learn(epoch, shards));
}

/// The two shards, with these slots up to the end of the first.
fn split(first_has: u16, first: &[u16], second: &[u16]) -> Vec<Shard> {
    vec![Shard::of((0, first_has), first), Shard::of((first_has + 1, 16_383), second)]
}

#[test]
fn a_channel_is_heard_published_and_stored_where_its_slot_is() {
    assert!(slot(&channel(FIRST)) < 8_192 && slot(&channel(SECOND)) > 8_192);
    let mut world = world(Sharding::Off);
    let (first, second) = (world.open(&both(FIRST)), world.open(&both(SECOND)));
    assert_eq!(world.node(0).subscribed(), [channel(FIRST)]);
    assert_eq!(world.node(1).subscribed(), [channel(SECOND)]);
    assert!(!world.node(2).has_client() && !world.node(3).has_client());
    world.say(first, "one");
    world.say(second, "two");
    assert_eq!((world.texts(first), world.texts(second)), (vec!["one".into()], vec!["two".into()]));
    let now_ms = world.now_ms;
    assert_eq!(world.node(0).stored(0, &channel(FIRST), now_ms), Some(&b"one"[..]));
    assert_eq!(world.node(1).stored(0, &channel(SECOND), now_ms), Some(&b"two"[..]));
    assert_eq!(world.metrics().broker_up, 1);
}

#[test]
fn any_node_leads_to_the_cluster_and_one_that_says_nothing_of_use_to_the_next() {
    let mut world = World::around(
        with_cluster(4, Sharding::Off),
        FakeRedis::with(|redis| {
            redis.reach = Reach::Refuses;
        }),
    );
    let waiting = world.knock(&hears(SECOND));
    world.pass(2_000);
    assert_eq!(world.metrics().broker_up, 0, "the first is a master that cannot be reached");
    assert_eq!(world.node(1).subscribed().len(), 0);
    assert_eq!(world.status(waiting), Some(503), "it came while nobody was known");
    let second = world.open(&hears(SECOND));
    world.publish_at(1, &channel(SECOND), "live");
    assert_eq!(world.texts(second), ["live"]);
}

#[test]
fn sessions_are_at_their_slots_and_the_application_is_heard_once() {
    let Settings { sources, .. } = by_session();
    let mut world = world_of(Settings { sources, ..with_cluster(4, Sharding::Off) });
    world.pass(100);
    let key = "session:anns-key";
    let owner = usize::from(slot(key) >= 8_192);
    world.node(owner).set(key, r#"{"wsloop:username": "ann"}"#);
    world.node(1 - owner).set(key, r#"{"wsloop:username": "nobody"}"#);
    let id = world.ask(&upgrade("/ws/inbox?subscribe-user", &["Cookie: sessionid=anns-key"]));
    assert_eq!(world.status(id), Some(101));
    assert_eq!(world.metrics().control_heard, 1);
    let heard =
        (0..2).filter(|node| world.node(*node).subscribed().contains(&"wsloop:control".to_owned()));
    assert_eq!(heard.count(), 1);
    let owner = usize::from(slot("wsloop:control") >= 8_192);
    world.publish_at(owner, "wsloop:control", r#"{"disconnect": {"user": "ann"}}"#);
    assert!(matches!(world.heard(id)[..], [Heard::Close(Some(_), _)]));
}

#[test]
fn a_slot_that_moves_takes_what_is_stored_along_and_leaves_what_is_heard() {
    let mut world = world(Sharding::Off);
    let first = world.open(&both(FIRST));
    let moved = split(10, &[0, 2], &[1, 3]);
    learn(&mut world, 2, &moved);
    world.node(1).set(&channel(FIRST), "stored at the second");
    // Nobody has told us yet.
    let late = world.open(&hears(FIRST));
    assert_eq!(world.texts(late), ["stored at the second"]);
    assert_eq!(world.node(0).subscribed(), [channel(FIRST)], "it is heard where it was");
    world.say(first, "said");
    let now_ms = world.now_ms;
    assert_eq!(world.node(1).stored(0, &channel(FIRST), now_ms), Some(&b"said"[..]));
    world.pass(1_500);
    world.node(0).take_commands();
    world.say(first, "again");
    let now_ms = world.now_ms;
    assert_eq!(world.node(1).stored(0, &channel(FIRST), now_ms), Some(&b"again"[..]));
    let commands = world.node(0).take_commands();
    assert!(!names(&commands).contains(&"SET"), "{commands:?}");
    assert_eq!(world.texts(late), ["said", "again"], "once each");
    assert_eq!(world.metrics().broker_found_total, 2, "the slot that was asked for, and the rest");
    world.kill_node(0);
    assert_eq!(world.node(1).subscribed(), [channel(FIRST)], "heard at once where its slot is");
    assert_eq!(world.texts(late), [""], "and that there was an outage");
    world.say(first, "after");
    assert_eq!(world.texts(late), ["after"]);
    assert!(world.browsers.iter().all(|one| one.closed_ms.is_none()));
}

#[test]
fn what_is_about_to_move_is_asked_for_there() {
    let mut world = world(Sharding::Off);
    world.node(2).learn(1, &[]);
    let at = slot(&channel(FIRST));
    world.node(0).cluster.as_mut().expect("a node").leaving.insert(at, 1);
    world.node(1).cluster.as_mut().expect("a node").coming.insert(at);
    world.node(1).set(&channel(FIRST), "ahead of its slot");
    let first = world.open(&both(FIRST));
    assert_eq!(world.texts(first), ["ahead of its slot"]);
    let asked = world.node(1).take_commands();
    assert!(names(&asked).ends_with(&["ASKING", "GETRANGE"]), "{asked:?}");
    world.say(first, "said");
    let now_ms = world.now_ms;
    assert_eq!(world.node(1).stored(0, &channel(FIRST), now_ms), Some(&b"said"[..]));
    assert_eq!(world.node(0).stored(0, &channel(FIRST), now_ms), None);
}

#[test]
fn what_nobody_can_do_is_tried_again_and_then_given_up() {
    let mut world = world(Sharding::Off);
    world.node(0).denied_with = Some(("GETRANGE", "TRYAGAIN Multiple keys request"));
    world.node(0).set(&channel(FIRST), "stored");
    let first = world.knock(&hears(FIRST));
    world.pass(1_000);
    assert_eq!(world.status(first), Some(101), "it is heard all the same");
    assert_eq!(world.texts(first), [""; 0]);
    world.node(0).denied_with = None;
    world.pass(1_000);
    assert_eq!(world.texts(first), ["stored"]);
    world.node(0).denied_with = Some(("GETRANGE", "CLUSTERDOWN The cluster is down"));
    let late = world.knock(&hears(FIRST));
    world.pass(10_000);
    assert_eq!(world.status(late), Some(101));
    world.publish_at(0, &channel(FIRST), "live");
    assert_eq!(world.texts(late), ["live"]);
    assert_eq!(world.metrics().broker_lost_total, 0, "that is no reason to leave it");
}

#[test]
fn a_failover_is_followed_at_once_and_what_changed_is_delivered() {
    for frozen in [false, true] {
        let mut world = world(Sharding::Off);
        let (first, second) = (world.open(&hears(FIRST)), world.open(&hears(SECOND)));
        match frozen {
            true => world.node(0).paused = true,
            false => world.kill_node(0),
        }
        let mut shards = split(8_191, &[0, 2], &[1, 3]);
        shards[0].failed = true;
        (1..4).for_each(|node| world.node(node).learn(1, &shards));
        world.pass(1_500);
        assert_eq!(world.metrics().broker_up, 0);
        let heard = world.node(1).subscribed();
        assert!(heard.contains(&channel(FIRST)), "the other has it meanwhile: {heard:?}");
        let shards = split(8_191, &[2, 0], &[1, 3]);
        (1..4).for_each(|node| world.node(node).learn(2, &shards));
        world.node(2).set(&channel(FIRST), "stored meanwhile");
        world.pass(500);
        assert_eq!(world.metrics().broker_up, 1, "frozen: {frozen}");
        assert!(world.node(2).has_client());
        assert_eq!(world.texts(first), ["", "stored meanwhile"]);
        assert_eq!(world.texts(second), [""; 0]);
        assert!(world.browsers.iter().all(|one| one.closed_ms.is_none()));
        // The old one comes back as a replica, and says what it knew.
        match frozen {
            true => world.node(0).paused = false,
            false => world.node(0).reach = Reach::Answers,
        }
        world.pass(5_000);
        assert_eq!((world.metrics().broker_up, world.node(0).has_client()), (1, false));
    }
}

#[test]
fn one_that_knows_less_or_cannot_serve_is_not_believed() {
    let mut world = world(Sharding::Off);
    learn(&mut world, 5, &split(8_191, &[0, 2], &[1, 3]));
    world.pass(2_000);
    let wrong = split(8_191, &[3, 2], &[1, 0]);
    world.node(0).learn(4, &wrong);
    world.pass(3_000);
    assert!(world.node(0).has_client() && !world.node(3).has_client());
    world.node(0).learn(6, &wrong);
    world.node(0).cluster.as_mut().expect("a node").serves = false;
    world.pass(3_000);
    assert!(world.node(0).has_client() && !world.node(3).has_client());
    assert_eq!(world.metrics().broker_lost_total, 0);
}

#[test]
fn a_cluster_may_grow_and_shrink() {
    let mut world = world(Sharding::Off);
    let (first, second) = (world.open(&hears(FIRST)), world.open(&hears(SECOND)));
    let thirds = vec![
        Shard::of((0, 100), &[0, 2]),
        Shard::of((8_192, 16_383), &[1]),
        Shard::of((101, 8_191), &[3]),
    ];
    learn(&mut world, 2, &thirds);
    world.pass(1_500);
    assert!(world.node(3).has_client());
    world.node(3).set(&channel(FIRST), "at the third");
    let late = world.open(&hears(FIRST));
    assert_eq!(world.texts(late), ["at the third"]);
    learn(&mut world, 3, &[Shard::of((0, 16_383), &[3, 0, 1, 2])]);
    world.pass(1_500);
    world.publish_at(0, &channel(FIRST), "one");
    world.publish_at(1, &channel(SECOND), "two");
    assert_eq!((world.texts(first), world.texts(second)), (vec!["one".into()], vec!["two".into()]));
    [first, second, late].into_iter().for_each(|id| world.vanish(id));
    world.pass(3_000);
    let linked: Vec<usize> = (0..4).filter(|node| world.node(*node).has_client()).collect();
    assert_eq!(linked, [3], "those without slots are left when nothing is heard there");
    assert_eq!(world.metrics().broker_up, 1);
}

#[test]
fn sharded_channels_are_heard_at_their_shard_and_follow_their_slot() {
    let mut world = world(Sharding::On);
    let (first, second) = (world.open(&both(FIRST)), world.open(&hears(SECOND)));
    assert_eq!(world.node(0).shard_subscribed(), [channel(FIRST)]);
    assert_eq!(world.node(1).shard_subscribed(), [channel(SECOND)]);
    assert!(!world.node(0).subscribed().contains(&channel(FIRST)));
    world.say(first, "one");
    assert_eq!(world.texts(first), ["one"]);
    let commands = world.node(0).take_commands();
    assert!(names(&commands).contains(&"SPUBLISH") && !names(&commands).contains(&"PUBLISH"));
    learn(&mut world, 2, &split(10, &[0, 2], &[1, 3]));
    world.run();
    world.pass(300);
    let mut heard = world.node(1).shard_subscribed();
    heard.sort();
    assert_eq!(heard, [channel(SECOND), channel(FIRST)]);
    world.node(1).spublish(&channel(FIRST), "two");
    world.run();
    assert_eq!(world.texts(first), ["two"]);
    world.say(first, "three");
    assert_eq!(world.texts(first), ["three"]);
    assert_eq!(world.texts(second), [""; 0]);
    world.vanish(first);
    assert_eq!(world.node(1).shard_subscribed(), [channel(SECOND)]);
    assert_eq!(world.metrics().broker_lost_total, 0);
}

#[test]
fn what_is_subscribed_to_where_it_is_no_more_is_heard_where_it_is() {
    let mut world = world(Sharding::On);
    learn(&mut world, 2, &split(10, &[0, 2], &[1, 3]));
    let first = world.open(&hears(FIRST));
    assert_eq!(world.node(1).shard_subscribed(), [channel(FIRST)]);
    world.node(1).spublish(&channel(FIRST), "live");
    world.run();
    assert_eq!(world.texts(first), ["live"]);
}

#[test]
fn both_forms_are_heard_while_publishers_are_changed() {
    let mut world = world(Sharding::Both);
    let first = world.open(&both(FIRST));
    world.publish_at(0, &channel(FIRST), "plain");
    world.node(0).spublish(&channel(FIRST), "sharded");
    world.run();
    assert_eq!(world.texts(first), ["plain", "sharded"]);
    learn(&mut world, 2, &split(10, &[0, 2], &[1, 3]));
    world.run();
    world.pass(300);
    assert_eq!((world.node(0).shard_subscribed(), world.node(0).subscribed()), (vec![], vec![]));
    world.publish_at(0, &channel(FIRST), "plain");
    world.publish_at(1, &channel(FIRST), "plain again");
    world.say(first, "sharded");
    let heard = ["plain again", "sharded"];
    assert_eq!(world.texts(first), heard, "and nothing of where it was heard before");
}

/// What is published to all nodes is heard where it was until it is heard at the new shard, in the
/// order in which the new one had it. What is published to shards is missed for so long, of which
/// the page is told.
#[test]
fn both_forms_are_heard_in_order_while_a_slot_moves() {
    let mut world = world(Sharding::Both);
    let first = world.open(&hears(FIRST));
    world.publish_at(0, &channel(FIRST), "before");
    assert_eq!(world.texts(first), ["before"]);
    world.node(1).held = true;
    learn(&mut world, 2, &split(10, &[0, 2], &[1, 3]));
    world.run();
    world.pass(700);
    assert_eq!(world.node(0).shard_subscribed(), [""; 0], "its slot has moved");
    world.publish_at(0, &channel(FIRST), "while nobody has confirmed it");
    assert_eq!(world.texts(first), [""; 0], "it is not confirmed");
    world.node(1).held = false;
    world.run();
    assert_eq!(world.texts(first), ["", "while nobody has confirmed it"]);
    for text in ["before", "while nobody has confirmed it", "one"] {
        world.publish_at(1, &channel(FIRST), text);
    }
    for text in ["two", "one"] {
        world.node(1).spublish(&channel(FIRST), text);
    }
    world.publish_at(1, &channel(FIRST), "three");
    assert_eq!(world.texts(first), [""; 0], "the former node has the word");
    world.publish_at(0, &channel(FIRST), "one");
    assert_eq!(world.texts(first), ["one", "two", "one"]);
    world.publish_at(0, &channel(FIRST), "four");
    world.publish_at(1, &channel(FIRST), "four");
    assert_eq!(world.texts(first), ["four"]);
    world.pass(300);
    assert_eq!(world.texts(first), ["three"], "it has not come from the former in a moment");
    assert_eq!(world.node(0).subscribed(), [""; 0]);
    world.publish_at(1, &channel(FIRST), "five");
    assert_eq!(world.texts(first), ["five"]);
    assert_eq!(world.metrics().broker_lost_total, 0);
}

/// A slot that goes on to another node, or back, is followed, and nothing stays heard twice.
#[test]
fn both_forms_are_heard_while_a_slot_moves_again() {
    for (last, shards) in [(0, split(8_191, &[0, 2], &[1, 3])), (2, split(10, &[0], &[1, 3]))] {
        let mut shards = shards;
        if last == 2 {
            shards[1].slots = vec![(8_192, 16_383)];
            shards.push(Shard::of((11, 8_191), &[2]));
        }
        let mut world = world(Sharding::Both);
        let first = world.open(&both(FIRST));
        world.node(1).held = true;
        learn(&mut world, 2, &split(10, &[0, 2], &[1, 3]));
        world.run();
        world.pass(700);
        world.publish_at(0, &channel(FIRST), "moved once");
        world.node(1).held = false;
        learn(&mut world, 3, &shards);
        world.run();
        world.publish_at(0, &channel(FIRST), "moved twice");
        assert_eq!(world.texts(first), ["moved once", "moved twice"], "{last}");
        world.pass(3_000);
        for node in 0..3 {
            let expected = if node == last { vec![channel(FIRST)] } else { vec![] };
            assert_eq!(world.node(node).subscribed(), expected, "{node} of {last}");
        }
        world.publish_at(last, &channel(FIRST), "plain");
        world.node(last).spublish(&channel(FIRST), "sharded");
        world.run();
        assert_eq!(world.texts(first), ["plain", "sharded"], "{last}");
    }
}

#[test]
fn a_server_without_sharded_channels_is_told_apart() {
    let mut world = world(Sharding::On);
    world.node(0).unknown = vec!["SSUBSCRIBE"];
    let first = world.knock(&hears(FIRST));
    world.pass(1_000);
    assert_ne!(world.status(first), Some(101));
    assert!(world.metrics().broker_lost_total > 0);
}

#[test]
fn what_was_delivered_before_comes_no_second_time_from_the_next_node() {
    let mut world = world(Sharding::Off);
    let first = world.open(&hears(FIRST));
    for text in ["one", "two", "three"] {
        world.node(0).publish(&channel(FIRST), text, 0, 0);
    }
    world.run();
    assert_eq!(world.texts(first), ["one", "two", "three"]);
    world.kill_node(0);
    // The other node takes the last ones only now.
    for text in ["two", "three", "four", "three"] {
        world.node(1).publish(&channel(FIRST), text, 0, 0);
    }
    world.run();
    world.pass(6_000);
    assert_eq!(world.texts(first), ["", "four", "three"]);
}

/// Somebody who hears a channel by `wsloop.1`.
fn page(world: &mut World, facility: &str) -> usize {
    let id = world.ask(&upgrade("/ws/", &["Sec-WebSocket-Protocol: wsloop.1"]));
    world.say(id, &format!("subscribe 1 broadcast {facility}"));
    id
}

#[test]
fn a_question_that_the_former_owner_of_a_slot_has_is_answered() {
    let mut world = world(Sharding::Off);
    let first = page(&mut world, FIRST);
    assert!(world.texts(first).iter().any(|text| text == "ok 1"));
    world.node(0).paused = true;
    let late = page(&mut world, FIRST);
    let moved = split(10, &[0, 2], &[1, 3]);
    (1..4).for_each(|node| world.node(node).learn(2, &moved));
    world.node(1).set(&channel(FIRST), "stored at the second");
    world.pass(1_500);
    assert!(!world.texts(late).iter().any(|text| text == "ok 1"), "the former one is slow");
    world.node(0).learn(2, &moved);
    world.node(0).paused = false;
    world.pass(1_500);
    let texts = world.texts(late);
    assert!(texts.iter().any(|text| text.ends_with("stored at the second")), "{texts:?}");
}

#[test]
fn what_a_node_was_to_be_asked_is_asked_where_its_slots_are_then() {
    let mut world = world(Sharding::Off);
    let first = page(&mut world, FIRST);
    world.texts(first);
    world.kill_node(0);
    world.pass(1_500);
    assert_eq!(world.texts(first), [""; 0], "nobody knows what is stored");
    let all = [Shard::of((0, 16_383), &[1, 3])];
    (1..4).for_each(|node| world.node(node).learn(2, &all));
    world.node(1).set(&channel(FIRST), "stored at the second");
    world.pass(1_500);
    let texts = world.texts(first);
    assert!(texts.iter().any(|text| text.ends_with("stored at the second")), "{texts:?}");
}

/// The old master goes on as a replica, and hears what is published as all nodes do.
#[test]
fn what_is_published_while_a_master_is_left_comes_once() {
    let mut world = world(Sharding::Off);
    let first = world.open(&hears(FIRST));
    let publish = |world: &mut World, node: usize, text: &str| {
        world.node(node).publish(&channel(FIRST), text, 0, 0);
        world.run();
    };
    publish(&mut world, 0, "before");
    (0..4).for_each(|node| world.node(node).learn(1, &split(8_191, &[2, 0], &[1, 3])));
    for _ in 0..1_200 {
        if world.node(1).subscribed().contains(&channel(FIRST)) {
            break;
        }
        world.pass(1);
    }
    let is_heard =
        |world: &mut World, node: usize| world.node(node).subscribed().contains(&channel(FIRST));
    assert!(is_heard(&mut world, 0) && is_heard(&mut world, 1), "it is heard at both");
    for (node, text) in [(1, "before"), (0, "1"), (1, "1"), (1, "2"), (0, "2"), (1, "3")] {
        publish(&mut world, node, text);
    }
    publish(&mut world, 0, "4");
    world.pass(500);
    assert!(!world.node(0).has_client() && world.node(2).has_client());
    publish(&mut world, 1, "4");
    publish(&mut world, 1, "5");
    assert_eq!(world.texts(first), ["before", "1", "2", "4", "3", "5"], "nothing twice, no gap");
    assert_eq!(world.metrics().repeats_dropped_total, 4);
}
