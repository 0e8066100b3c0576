//! A channel that is heard at another node than before: whoever hears it, and in whichever way, has
//! each message once.

use super::*;
use wsloop::{HistoryRule, HistoryRules};

/// The ways to hear a channel.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Conn,
    Page,
    Stream,
}

const WAYS: [Way; 3] = [Way::Conn, Way::Page, Way::Stream];

/// Somebody comes to hear the first channel in that way.
fn come(world: &mut World, way: Way) -> usize {
    match way {
        Way::Conn => world.knock(&hears(FIRST)),
        Way::Page => page(world, FIRST),
        Way::Stream => {
            let target = format!("/ws/?topic=broadcast+{FIRST}");
            let headers = ["Host: example.com", "Accept: text/event-stream"];
            world.ask(&request("GET", &target, &headers))
        }
    }
}

/// What it was told since: messages, and `gap`.
fn told(world: &mut World, id: usize) -> Vec<String> {
    let mut told = Vec::new();
    for text in world.texts(id) {
        let (header, payload) = text.split_once('\n').unwrap_or((&text, ""));
        match header.split(' ').next().unwrap_or_default() {
            "message" | "stored" => told.push(payload.to_owned()),
            "gap" | "" => told.push("gap".to_owned()),
            "welcome" | "ok" | "subscribed" => {}
            _ => told.push(text),
        }
    }
    told
}

/// Those messages come from a node, and are not stored.
fn come_from(world: &mut World, node: usize, texts: &[&str]) {
    for text in texts {
        world.node(node).publish(&channel(FIRST), text, 0, 0);
        world.run();
    }
}

/// The first master is replaced by order. What it had is heard at it and at the second.
fn replace(world: &mut World) {
    (0..4).for_each(|node| world.node(node).learn(1, &split(8_191, &[2, 0], &[1, 3])));
    for _ in 0..1_200 {
        if world.node(1).subscribed().contains(&channel(FIRST)) {
            return;
        }
        world.pass(1);
    }
    panic!("it is not heard at the other");
}

#[test]
fn a_master_that_is_left_was_heard_once() {
    for way in WAYS {
        let mut world = world(Sharding::Off);
        let one = come(&mut world, way);
        come_from(&mut world, 0, &["said twice", "said twice"]);
        assert_eq!(told(&mut world, one), ["said twice"; 2], "{way:?}");
        replace(&mut world);
        come_from(&mut world, 1, &["said twice", "said twice", "1"]);
        come_from(&mut world, 0, &["1", "2", "2"]);
        come_from(&mut world, 1, &["2"]);
        assert_eq!(told(&mut world, one), ["1", "2", "2"], "{way:?}");
        world.pass(500);
        assert!(!world.node(0).has_client(), "{way:?}: it is left");
        come_from(&mut world, 1, &["2", "2", "3"]);
        assert_eq!(told(&mut world, one), ["2", "3"], "{way:?}: nothing twice, and no gap");
        assert_eq!(world.metrics().repeats_dropped_total, 5, "{way:?}");
    }
}

/// Many messages of the channel are on their way to the other node at one time.
#[test]
fn a_busy_channel_of_a_master_that_is_left_was_heard_once() {
    for way in WAYS {
        let mut world = world(Sharding::Off);
        let one = come(&mut world, way);
        let said: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        (0..4).for_each(|node| world.node(node).learn(1, &split(8_191, &[2, 0], &[1, 3])));
        for _ in 0..60 {
            if world.node(1).subscribed().contains(&channel(FIRST)) {
                break;
            }
            come_from(&mut world, 0, &said);
            world.pass(20);
        }
        assert!(told(&mut world, one).len() >= said.len(), "{way:?}");
        come_from(&mut world, 1, &said);
        come_from(&mut world, 1, &["next"]);
        world.pass(500);
        assert_eq!(told(&mut world, one), ["next"], "{way:?}");
    }
}

/// Nobody heard it before the node began to be left.
#[test]
fn who_comes_while_a_master_is_left_misses_nothing() {
    for way in WAYS {
        let mut world = world(Sharding::Off);
        let first = world.open(&hears("lobby"));
        assert!(slot(&channel("lobby")) < 8_192);
        (0..4).for_each(|node| world.node(node).learn(1, &split(8_191, &[2, 0], &[1, 3])));
        for _ in 0..1_200 {
            if world.node(1).subscribed().contains(&channel("lobby")) {
                break;
            }
            world.pass(1);
        }
        let one = come(&mut world, way);
        assert_eq!(world.node(0).subscribed().len(), 2, "{way:?}: it is heard where others are");
        come_from(&mut world, 0, &["1", "2"]);
        come_from(&mut world, 1, &["2"]);
        world.node(1).publish(&channel(FIRST), "3", 0, 0);
        world.pass(600);
        assert!(!world.node(0).has_client());
        come_from(&mut world, 1, &["4"]);
        assert_eq!(told(&mut world, one), ["1", "2", "3", "4"], "{way:?}: no gap");
        assert_eq!(told(&mut world, first), [""; 0]);
    }
}

#[test]
fn a_node_that_is_lost_was_heard_once() {
    for way in WAYS {
        let mut world = world(Sharding::Off);
        let one = come(&mut world, way);
        come_from(&mut world, 0, &["1", "2", "3"]);
        assert_eq!(told(&mut world, one), ["1", "2", "3"], "{way:?}");
        world.kill_node(0);
        come_from(&mut world, 1, &["2", "3", "4", "3"]);
        world.pass(6_000);
        let mut told = told(&mut world, one);
        told.retain(|text| text != "gap");
        assert_eq!(told, ["4", "3"], "{way:?}");
    }
}

/// Both forms are heard: the former node has the word, and what it said before is no news.
#[test]
fn a_slot_that_moves_was_heard_once() {
    for way in WAYS {
        let mut world = world(Sharding::Both);
        let one = come(&mut world, way);
        come_from(&mut world, 0, &["said twice", "said twice"]);
        assert_eq!(told(&mut world, one), ["said twice"; 2], "{way:?}");
        learn(&mut world, 2, &split(10, &[0, 2], &[1, 3]));
        world.run();
        for _ in 0..1_200 {
            if world.node(1).subscribed().contains(&channel(FIRST)) {
                break;
            }
            world.pass(1);
        }
        come_from(&mut world, 1, &["said twice", "said twice"]);
        world.node(1).spublish(&channel(FIRST), "said twice");
        world.run();
        come_from(&mut world, 0, &["1"]);
        come_from(&mut world, 1, &["1"]);
        world.pass(1_000);
        come_from(&mut world, 1, &["1", "said twice"]);
        let mut told = told(&mut world, one);
        // Messages of the shard alone may be missing.
        told.retain(|text| text != "gap");
        assert_eq!(told, ["said twice", "1", "1", "said twice"], "{way:?}");
        assert_eq!(world.node(0).subscribed(), [""; 0], "{way:?}");
    }
}

/// One has heard it for longer than the other, and both know what they were told.
#[test]
fn conns_and_pages_of_one_channel_hear_it_once() {
    let orders = [[Way::Conn, Way::Page], [Way::Page, Way::Conn]];
    for ([first, later], is_lost) in orders.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let mut world = world(Sharding::Off);
        let first = come(&mut world, first);
        come_from(&mut world, 0, &["1"]);
        let later = come(&mut world, later);
        come_from(&mut world, 0, &["2"]);
        assert_eq!(told(&mut world, first), ["1", "2"]);
        assert_eq!(told(&mut world, later), ["2"]);
        match is_lost {
            true => world.kill_node(0),
            false => replace(&mut world),
        }
        come_from(&mut world, 1, &["1", "2", "3"]);
        // What is stored may be asked for first.
        world.pass(6_000);
        for one in [first, later] {
            let mut told = told(&mut world, one);
            told.retain(|text| text != "gap");
            assert_eq!(told, ["3"], "{is_lost}");
        }
    }
}

/// A cluster in which the channel has a history.
fn with_history(form: Sharding) -> World {
    let rules = vec![HistoryRule::parse("news=20/60").expect("a rule")];
    let history = HistoryRules { prefix: String::new(), rules };
    let mut world = world_of(Settings { history, ..with_cluster(4, form) });
    world.pass(100);
    world
}

/// A message is recorded at the first master and its replica, and said where that is heard.
fn keep(world: &mut World, text: &str) {
    keep_at(world, [0, 2], text);
}

fn keep_at(world: &mut World, nodes: [usize; 2], text: &str) {
    let ms = nodes.map(|node| world.node(node).histories.ms);
    for node in nodes {
        world.node(node).histories.ms = ms[0].max(ms[1]);
        world.node(node).publish_kept(&channel(FIRST), text, 20);
    }
    world.run();
}

/// The first master is lost, and its replica takes its slots.
fn fail_over(world: &mut World) {
    let shards = split(8_191, &[2, 0], &[1, 3]);
    (1..4).for_each(|node| world.node(node).learn(2, &shards));
    for _ in 0..3_000 {
        if world.node(2).subscribed().contains(&channel(FIRST)) {
            return;
        }
        world.pass(1);
    }
    panic!("it is not heard at the replica");
}

/// What was missed comes from the history, and then from another node as well.
#[test]
fn a_channel_with_a_history_is_heard_once_at_the_next_node() {
    for way in WAYS {
        let mut world = with_history(Sharding::Off);
        let one = come(&mut world, way);
        keep(&mut world, "1");
        keep(&mut world, "2");
        assert_eq!(told(&mut world, one), ["1", "2"], "{way:?}");
        world.kill_node(0);
        keep(&mut world, "3");
        fail_over(&mut world);
        let mended = if way == Way::Conn { vec!["gap", "3"] } else { vec!["3"] };
        assert_eq!(told(&mut world, one), mended, "{way:?}");
        come_from(&mut world, 2, &["2", "3"]);
        keep(&mut world, "4");
        come_from(&mut world, 2, &["not kept"]);
        keep(&mut world, "3");
        assert_eq!(told(&mut world, one), ["4", "not kept", "3"], "{way:?}");
    }
}

/// It equals what was missed, of which another node may still have to say it.
#[test]
fn what_is_taken_for_a_repeat_and_recorded_comes_at_once_with_its_position() {
    for way in [Way::Page, Way::Stream] {
        let mut world = with_history(Sharding::Off);
        let one = come(&mut world, way);
        keep(&mut world, "1");
        world.kill_node(0);
        keep(&mut world, "again");
        fail_over(&mut world);
        assert_eq!(told(&mut world, one), ["1", "again"], "{way:?}");
        keep(&mut world, "again");
        assert_eq!(told(&mut world, one), ["again"], "{way:?}: it is in the history");
        assert_eq!(world.metrics().repeats_dropped_total, 1, "{way:?}");
        world.pass(1_000);
        keep(&mut world, "again");
        keep(&mut world, "2");
        assert_eq!(told(&mut world, one), ["again", "2"], "{way:?}");
    }
}

/// The link was lost for a moment, or the node is another: nobody says again what is long ago.
#[test]
fn what_was_said_long_ago_may_be_said_again() {
    for way in WAYS {
        for is_recorded in [true, false] {
            let mut world = match is_recorded {
                true => with_history(Sharding::Off),
                false => world(Sharding::Off),
            };
            let one = come(&mut world, way);
            let say = |world: &mut World, node: usize| match is_recorded {
                true => keep(world, "reload"),
                false => come_from(world, node, &["reload"]),
            };
            say(&mut world, 0);
            assert_eq!(told(&mut world, one), ["reload"]);
            world.pass(10_000);
            world.kill_node(0);
            world.node(0).reach = Reach::Answers;
            let node = await_heard(&mut world);
            // Where it is recorded it is heard at the node that has its slot alone.
            assert_eq!(node == 0, is_recorded, "{way:?}");
            told(&mut world, one);
            say(&mut world, node);
            // What is stored may be asked for first.
            world.pass(6_000);
            let mut told = told(&mut world, one);
            told.retain(|text| text != "gap");
            assert_eq!(told, ["reload"], "{way:?}, at {node}");
        }
    }
}

/// The node where it is heard by now.
fn await_heard(world: &mut World) -> usize {
    for _ in 0..3_000 {
        let is_heard = |node: &usize| world.node(*node).subscribed().contains(&channel(FIRST));
        if let Some(node) = (0..4).find(is_heard) {
            return node;
        }
        world.pass(1);
    }
    panic!("it is heard nowhere");
}

/// The history is at the new node already when a message is stored at the former one, which waits
/// to be recorded and published: it comes in its order, whenever the new node is reached.
#[test]
fn what_is_stored_ahead_of_a_history_comes_once() {
    for is_reached in [true, false] {
        let mut world = with_history(Sharding::On);
        let one = come(&mut world, Way::Conn);
        for text in ["1", "2"] {
            keep_at(&mut world, [0, 1], text);
            world.node(0).spublish(&channel(FIRST), text);
        }
        world.run();
        assert_eq!(told(&mut world, one), ["1", "2"]);
        if !is_reached {
            world.kill_node(1);
        }
        world.node(1).set(&channel(FIRST), "4");
        learn(&mut world, 2, &split(10, &[0, 2], &[1, 3]));
        world.run();
        world.pass(300);
        if !is_reached {
            world.revive_node(1);
        }
        world.pass(3_000);
        assert_eq!(world.node(1).shard_subscribed(), [channel(FIRST)]);
        let late = come(&mut world, Way::Conn);
        assert_eq!(told(&mut world, late), ["4"], "it is stored");
        for text in ["3", "4"] {
            keep_at(&mut world, [1, 3], text);
            world.node(1).spublish(&channel(FIRST), text);
        }
        world.run();
        assert_eq!(told(&mut world, one), ["gap", "3", "4"]);
    }
}

/// While a slot moves, what its history has at the new node is not heard at the former.
#[test]
fn what_is_recorded_where_a_slot_is_about_to_be_is_not_missed() {
    let mut world = with_history(Sharding::On);
    let one = come(&mut world, Way::Conn);
    let at = slot(&channel(FIRST));
    world.node(0).cluster.as_mut().expect("a node").leaving.insert(at, 1);
    world.node(1).cluster.as_mut().expect("a node").coming.insert(at);
    keep_at(&mut world, [1, 3], "recorded");
    world.node(0).spublish(&channel(FIRST), "heard");
    world.run();
    world.pass(100);
    assert_eq!(told(&mut world, one), ["heard"]);
    learn(&mut world, 2, &split(10, &[0, 2], &[1, 3]));
    world.run();
    world.pass(500);
    let mut told = told(&mut world, one);
    told.retain(|text| text != "gap");
    assert_eq!(told, ["recorded"]);
}

/// Who publishes does not record it, and nobody could hear it.
#[test]
fn what_is_stored_in_an_outage_and_not_recorded_is_told() {
    let mut world = with_history(Sharding::On);
    let one = come(&mut world, Way::Conn);
    keep_at(&mut world, [0, 2], "1");
    world.node(0).spublish(&channel(FIRST), "1");
    world.run();
    world.kill_node(0);
    world.node(2).set(&channel(FIRST), "2");
    let shards = split(8_191, &[2, 0], &[1, 3]);
    (1..4).for_each(|node| world.node(node).learn(2, &shards));
    world.pass(5_000);
    assert_eq!(world.node(2).shard_subscribed(), [channel(FIRST)]);
    let mut told = told(&mut world, one);
    told.retain(|text| text != "gap");
    assert_eq!(told, ["1", "2"]);
}

#[test]
fn what_is_stored_is_not_told_again_while_newer_ones_are_yet_to_be_stored() {
    for (pause_ms, told_again) in [(0, false), (3_000, true)] {
        let mut world = world(Sharding::On);
        let one = come(&mut world, Way::Conn);
        for text in ["1", "2", "3", "4"] {
            world.node(0).spublish(&channel(FIRST), text);
        }
        world.run();
        assert_eq!(told(&mut world, one), ["1", "2", "3", "4"]);
        world.pass(pause_ms);
        let now_ms = world.now_ms;
        world.node(1).publish(&channel(FIRST), "1", 60, now_ms);
        learn(&mut world, 2, &split(10, &[0, 2], &[1, 3]));
        world.run();
        world.pass(300);
        assert_eq!(world.node(1).shard_subscribed(), [channel(FIRST)]);
        let behind = if told_again { vec!["gap", "1"] } else { vec!["gap"] };
        assert_eq!(told(&mut world, one), behind, "after {pause_ms} ms");
    }
}
