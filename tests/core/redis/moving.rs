//! A cluster whose slots move: what browsers publish keeps its order, and so does what is stored
//! and recorded of it.

use super::super::world::*;
use super::names;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{HistoryRule, HistoryRules, Settings, Sharding};

/// Of a cluster of four the first has the channel of this facility, and the second that of the
/// other.
const MOVES: &str = "news";
const STAYS: &str = "chat";
/// Another of the first.
const NEAR: &str = "bar";
const FORMS: [Sharding; 3] = [Sharding::Off, Sharding::Both, Sharding::On];

fn channel() -> String {
    format!("broadcast:{MOVES}")
}

fn hears(facility: &str) -> String {
    format!("/ws/{facility}?subscribe-broadcast")
}

fn speaks(facility: &str) -> String {
    format!("/ws/{facility}?publish-broadcast")
}

/// A cluster, with a history of the channel or without.
fn world(form: Sharding, is_recorded: bool) -> World {
    let rule = HistoryRule::parse("news=100/60").expect("a rule");
    let rules = if is_recorded { vec![rule] } else { vec![] };
    let history = HistoryRules { prefix: String::new(), rules };
    around(Settings { history, ..with_cluster(4, form) })
}

fn around(settings: Settings) -> World {
    let mut world = World::around(settings, FakeRedis::of_cluster(0, 4));
    world.pass(100);
    world
}

/// The slot of the channel is at that node, and these nodes know.
fn moves_to(world: &mut World, node: u16, who: std::ops::Range<usize>) {
    let mut shards = vec![Shard::of((0, 10), &[0, 2]), Shard::of((8_192, 16_383), &[1, 3])];
    match node {
        0 => shards[0].slots.push((11, 8_191)),
        1 => shards[1].slots.insert(0, (11, 8_191)),
        _ => {
            shards[0].nodes = vec![0];
            shards.push(Shard::of((11, 8_191), &[node]));
        }
    }
    who.for_each(|at| world.node(at).learn(2 + u64::from(node), &shards));
}

/// What the first answers to publishing on the channel with an error of that word.
fn redirection(word: &str, node: u16) -> &'static str {
    format!("{word} {} localhost:{}", slot(&channel()), 6379 + node).leak()
}

/// What is stored of the channel, wherever that is.
fn stored(world: &mut World, node: usize) -> String {
    let now_ms = world.now_ms;
    let stored = world.node(node).stored(0, &channel(), now_ms);
    String::from_utf8_lossy(stored.unwrap_or_default()).into_owned()
}

#[test]
fn what_belongs_to_a_node_that_nobody_knows_yet_is_waited_for_by_what_comes_later() {
    for (form, word) in [(Sharding::Off, "SET"), (Sharding::On, "SPUBLISH")] {
        let mut world = world(form, false);
        let (heard, speaker) = (world.open(&hears(MOVES)), world.open(&speaks(MOVES)));
        let (other, here) = (world.open(&hears(STAYS)), world.open(&speaks(STAYS)));
        world.node(0).denied_with = Some((word, redirection("MOVED", 7)));
        world.say(speaker, "one");
        world.node(0).denied_with = None;
        world.say(speaker, "two");
        world.say(here, "not moved");
        assert_eq!(world.texts(other), ["not moved"], "nothing of another slot waits");
        world.pass(300);
        world.say(speaker, "three");
        assert_eq!(world.texts(heard), ["one", "two", "three"], "{form:?}");
        assert_eq!(stored(&mut world, 0), "three");
        world.node(0).take_commands();
        world.say(speaker, "four");
        let count = world.node(0).take_commands().len();
        assert_eq!((world.texts(heard), count), (vec!["four".to_owned()], 2), "nothing waits");
    }
}

#[test]
fn a_node_that_is_found_is_dialed_and_has_all_of_it_in_order() {
    for (form, is_recorded) in FORMS.into_iter().flat_map(|form| [(form, false), (form, true)]) {
        let mut world = world(form, is_recorded);
        let (heard, speaker) = (world.open(&hears(MOVES)), world.open(&speaks(MOVES)));
        world.node(0).paused = true;
        world.say(speaker, "1");
        world.say(speaker, "2");
        moves_to(&mut world, 2, 0..4);
        world.node(2).held = true;
        world.node(0).paused = false;
        world.run();
        for text in ["3", "4", "5"] {
            world.say(speaker, text);
            world.pass(10);
        }
        world.node(2).held = false;
        world.pass(500);
        world.say(speaker, "6");
        assert_eq!(world.texts(heard), ["1", "2", "3", "4", "5", "6"], "{form:?} {is_recorded}");
        assert_eq!(stored(&mut world, 2), "6");
        if is_recorded {
            assert_eq!(world.node(2).history(&channel()), ["1", "2", "3", "4", "5", "6"]);
        }
    }
}

/// Nobody has said MOVED when the map says that the slot is elsewhere.
#[test]
fn what_the_former_node_has_not_answered_is_waited_for() {
    for (form, is_recorded) in FORMS.into_iter().flat_map(|form| [(form, false), (form, true)]) {
        let mut world = world(form, is_recorded);
        let (heard, speaker) = (world.open(&hears(MOVES)), world.open(&speaks(MOVES)));
        world.node(0).paused = true;
        (1..=3).for_each(|number: u8| world.say(speaker, &number.to_string()));
        moves_to(&mut world, 1, 1..4);
        world.pass(2_100);
        world.node(1).take_commands();
        world.say(speaker, "4");
        world.say(speaker, "5");
        world.pass(100);
        let commands = world.node(1).take_commands().join(" ");
        assert!(!commands.contains("broadcast:news 4"), "{commands}");
        moves_to(&mut world, 1, 0..1);
        world.node(0).paused = false;
        world.run();
        world.pass(100);
        world.say(speaker, "6");
        assert_eq!(world.texts(heard), ["1", "2", "3", "4", "5", "6"], "{form:?} {is_recorded}");
        assert_eq!(stored(&mut world, 1), "6");
        if is_recorded {
            assert_eq!(world.node(1).history(&channel()), ["1", "2", "3", "4", "5", "6"]);
        }
        assert_eq!(world.metrics().publishes_dropped_total, 0);
    }
}

/// What the former has published may be on the bus when the next is sent to another.
#[test]
fn what_is_published_to_all_nodes_goes_elsewhere_only_a_moment_later() {
    for (form, waits) in [(Sharding::Off, true), (Sharding::On, false)] {
        let mut world = world(form, false);
        let speaker = world.open(&speaks(MOVES));
        world.say(speaker, "one");
        moves_to(&mut world, 1, 0..4);
        world.node(0).denied_with = Some(("SET", redirection("MOVED", 1)));
        world.say(speaker, "two");
        world.node(0).denied_with = None;
        world.node(1).take_commands();
        world.say(speaker, "three");
        let has = |world: &mut World| {
            let commands = world.node(1).take_commands().join(" ");
            commands.contains("PUBLISH broadcast:news three")
        };
        assert_eq!(has(&mut world), !waits, "{form:?}");
        assert_eq!(stored(&mut world, 1), if waits { "two" } else { "three" });
        world.pass(49);
        assert!(!has(&mut world));
        world.pass(1);
        assert_eq!((has(&mut world), stored(&mut world, 1)), (waits, "three".to_owned()));
        world.say(speaker, "four");
        assert_eq!(stored(&mut world, 1), "four", "at once");
    }
}

#[test]
fn what_is_asked_for_ahead_of_its_slot_keeps_its_order() {
    for (form, is_recorded) in FORMS.into_iter().flat_map(|form| [(form, false), (form, true)]) {
        let mut world = world(form, is_recorded);
        let (heard, speaker) = (world.open(&hears(MOVES)), world.open(&speaks(MOVES)));
        let at = slot(&channel());
        world.node(0).paused = true;
        world.say(speaker, "1");
        world.node(0).cluster.as_mut().expect("a node").leaving.insert(at, 1);
        world.node(1).cluster.as_mut().expect("a node").coming.insert(at);
        world.say(speaker, "2");
        moves_to(&mut world, 1, 1..4);
        world.pass(2_100);
        world.say(speaker, "3");
        world.node(0).paused = false;
        world.run();
        world.say(speaker, "4");
        moves_to(&mut world, 1, 0..1);
        world.pass(100);
        world.say(speaker, "5");
        assert_eq!(stored(&mut world, 1), "5", "{form:?} {is_recorded}");
        if is_recorded {
            assert_eq!(world.node(1).history(&channel()), ["1", "2", "3", "4", "5"]);
        }
        let texts = world.texts(heard);
        assert!(texts.is_sorted() && texts.len() == 5, "{form:?} {is_recorded}: {texts:?}");
    }
}

/// Of what was sent nobody knows what became; all else goes, in order.
#[test]
fn what_a_lost_link_did_not_take_goes_before_what_came_later() {
    for (form, is_recorded) in FORMS.into_iter().flat_map(|form| [(form, false), (form, true)]) {
        let mut world = world(form, is_recorded);
        let (heard, speaker) = (world.open(&hears(MOVES)), world.open(&speaks(MOVES)));
        world.node(0).paused = true;
        world.say(speaker, "sent");
        world.node(0).appetite = Some(0);
        world.say(speaker, "1");
        world.say(speaker, "2");
        moves_to(&mut world, 1, 1..4);
        world.pass(2_100);
        world.say(speaker, "3");
        world.kill_node(0);
        world.say(speaker, "4");
        world.pass(200);
        world.say(speaker, "5");
        let heard = world.texts(heard);
        assert_eq!(heard.last().map(String::as_str), Some("5"), "{form:?} {is_recorded}");
        let published = world.node(1).take_published().into_iter();
        let texts = published.filter(|(name, _)| *name == channel().into_bytes());
        let texts: Vec<String> =
            texts.map(|(_, text)| String::from_utf8_lossy(&text).into_owned()).collect();
        assert_eq!(texts, ["1", "2", "3", "4", "5"], "{form:?} {is_recorded}");
        assert_eq!(stored(&mut world, 1), "5");
    }
}

#[test]
fn what_waits_for_the_link_of_a_former_node_goes_to_the_next_in_order() {
    let mut world = world(Sharding::On, false);
    let speaker = world.open(&speaks(MOVES));
    world.kill_node(0);
    world.say(speaker, "1");
    world.say(speaker, "2");
    moves_to(&mut world, 1, 1..4);
    world.pass(1_500);
    world.say(speaker, "3");
    let commands = world.node(1).take_commands();
    let said: Vec<&String> = commands.iter().filter(|one| one.starts_with("SPUBLISH")).collect();
    let expected = ["1", "2", "3"].map(|text| format!("SPUBLISH {} {text}", channel()));
    assert_eq!(said, expected.iter().collect::<Vec<_>>());
}

#[test]
fn what_nobody_does_is_given_up_in_time_and_refused_past_the_limit() {
    let mut settings = with_cluster(4, Sharding::On);
    redis_of(&mut settings).buffer_limit = 2_000;
    let mut world = around(settings);
    let (heard, speaker) = (world.open(&hears(MOVES)), world.open(&speaks(MOVES)));
    let here = world.open(&speaks(STAYS));
    world.node(0).denied_with = Some(("SPUBLISH", "CLUSTERDOWN The cluster is down"));
    let text = |number: u8| format!("{number}{}", "x".repeat(200));
    for number in 1..=6 {
        world.say(speaker, &text(number));
    }
    assert_eq!(world.metrics().publishes_dropped_total, 3, "there is room for three");
    world.say(here, "short");
    assert_eq!(world.metrics().publishes_dropped_total, 3, "there is some for others");
    world.pass(3_000);
    world.say(speaker, "late");
    world.pass(1_990);
    assert_eq!(world.metrics().publishes_dropped_total, 3);
    world.pass(300);
    assert_eq!(world.metrics().publishes_dropped_total, 6, "those that came first");
    world.node(0).denied_with = None;
    world.pass(300);
    assert_eq!(world.texts(heard), ["late"]);
    assert_eq!(
        (world.metrics().publishes_dropped_total, stored(&mut world, 0)),
        (6, "late".into())
    );
}

#[test]
fn a_browser_that_leaves_is_answered_when_its_last_message_is_published() {
    let mut world = world(Sharding::On, false);
    let (heard, speaker) = (world.open(&hears(MOVES)), world.open(&speaks(MOVES)));
    world.node(0).denied_with = Some(("SPUBLISH", redirection("MOVED", 7)));
    world.say(speaker, "one");
    world.node(0).denied_with = None;
    world.say(speaker, "two");
    world.send_frame(speaker, Opcode::Close, &1000u16.to_be_bytes());
    world.pass(200);
    assert_eq!((world.heard(speaker), world.texts(heard).len()), (vec![], 0), "it waits");
    world.node(0).paused = true;
    world.pass(100);
    assert_eq!(world.heard(speaker), [], "nothing is answered");
    world.node(0).paused = false;
    world.run();
    assert_eq!(world.heard(speaker), [Heard::Close(Some(1000), String::new())]);
    assert_eq!(world.texts(heard), ["one", "two"]);
}

#[test]
fn what_waits_when_the_server_ends_is_published() {
    let mut world = world(Sharding::On, false);
    let speaker = world.open(&speaks(MOVES));
    world.node(0).denied_with = Some(("SPUBLISH", redirection("MOVED", 7)));
    world.say(speaker, "one");
    world.node(0).denied_with = None;
    world.shut_down();
    assert!(!world.is_done(), "a message waits");
    world.pass(300);
    assert!(world.is_done());
    let commands = world.node(0).take_commands();
    assert_eq!(names(&commands).iter().filter(|name| **name == "SPUBLISH").count(), 2);
    assert_eq!(world.metrics().publishes_dropped_total, 0);
}

/// One that comes back and what it comes back from disagree for a while.
#[test]
fn nodes_that_send_to_each_other_are_asked_again_and_nothing_is_out_of_order() {
    let mut world = world(Sharding::On, false);
    let (heard, speaker) = (world.open(&hears(MOVES)), world.open(&speaks(MOVES)));
    moves_to(&mut world, 1, 0..1);
    world.say(speaker, "one");
    world.say(speaker, "two");
    let commands = world.node(1).take_commands();
    assert!(names(&commands).contains(&"SPUBLISH"), "{commands:?}");
    moves_to(&mut world, 0, 0..1);
    world.say(speaker, "three");
    world.pass(600);
    world.say(speaker, "four");
    assert_eq!(world.texts(heard), ["one", "two", "three", "four"]);
    assert_eq!(stored(&mut world, 0), "four");
}

/// The former node goes on with the slot when the next has not yet done what it was sent.
#[test]
fn what_is_sent_ahead_of_its_slot_is_waited_for() {
    for (is_recorded, waits) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = world(Sharding::Off, is_recorded);
        let (speaker, near) = (world.open(&speaks(MOVES)), world.open(&speaks(NEAR)));
        let at = slot(&channel());
        world.node(0).cluster.as_mut().expect("a node").leaving.insert(at, 1);
        world.node(1).cluster.as_mut().expect("a node").coming.insert(at);
        world.node(1).paused = true;
        world.node(0).paused = waits;
        world.say(speaker, "1");
        world.say(near, "it is answered later");
        world.node(0).serve(if waits { 2 } else { 0 });
        world.run();
        world.say(speaker, "2");
        world.node(0).cluster.as_mut().expect("a node").leaving.clear();
        world.node(0).take_commands();
        world.node(0).paused = false;
        world.run();
        let commands = world.node(0).take_commands();
        let is_first = |command: &String| !command.contains(&format!("{} 2", channel()));
        assert!(commands.iter().all(is_first), "{is_recorded} {waits}: {commands:?}");
        world.node(1).paused = false;
        world.run();
        assert_eq!((stored(&mut world, 1), stored(&mut world, 0)), ("1".into(), "2".into()));
    }
}

/// The node has answered one and not the next when that one could be tried again.
#[test]
fn what_comes_back_one_by_one_is_tried_again_in_order() {
    let mut world = world(Sharding::On, false);
    let (heard, speaker) = (world.open(&hears(MOVES)), world.open(&speaks(MOVES)));
    world.node(0).denied_with = Some(("SPUBLISH", "CLUSTERDOWN The cluster is down"));
    world.node(0).paused = true;
    world.say(speaker, "1");
    world.say(speaker, "2");
    world.node(0).serve(2);
    world.pass(300);
    world.say(speaker, "3");
    world.node(0).serve(2);
    world.run();
    (world.node(0).denied_with, world.node(0).paused) = (None, false);
    world.pass(600);
    assert_eq!(world.texts(heard), ["1", "2", "3"]);
}

/// The node that was to be asked ahead of the slot is not there when that goes to another.
#[test]
fn what_was_to_go_ahead_goes_where_its_slot_is_then() {
    let mut world = world(Sharding::On, true);
    let speaker = world.open(&speaks(MOVES));
    let none = Shard { slots: vec![], ..Shard::of((0, 0), &[2]) };
    let mut shards = vec![Shard::of((0, 8_191), &[0]), Shard::of((8_192, 16_383), &[1, 3]), none];
    (0..4).for_each(|node| world.node(node).learn(2, &shards));
    world.pass(1_100);
    let at = slot(&channel());
    world.node(0).cluster.as_mut().expect("a node").leaving.insert(at, 2);
    world.node(2).reach = Reach::Silent;
    world.say(speaker, "1");
    world.say(speaker, "2");
    assert_eq!(world.node(0).history(&channel()), [""; 0]);
    (shards[0].slots, shards[1].slots) = (vec![(0, 10)], vec![(11, 16_383)]);
    (0..4).for_each(|node| world.node(node).learn(3, &shards));
    world.pass(200);
    world.say(speaker, "3");
    assert_eq!(world.node(1).history(&channel()), ["1", "2", "3"]);
    assert_eq!(stored(&mut world, 1), "3");
}

/// The last slot of a node goes while something is under way there, which comes back.
#[test]
fn a_node_that_has_no_slots_any_more_answers_before_it_is_left() {
    for (form, is_recorded) in FORMS.into_iter().flat_map(|form| [(form, false), (form, true)]) {
        let mut world = world(form, is_recorded);
        let (speaker, hearer) = (world.open(&speaks(MOVES)), world.open(&hears(MOVES)));
        world.node(0).paused = true;
        world.say(speaker, "1");
        let mut empty = Shard::of((0, 0), &[0, 2]);
        empty.slots.clear();
        let shards = [Shard::of((0, 16_383), &[1, 3]), empty];
        (0..4).for_each(|node| world.node(node).learn(2, &shards));
        world.pass(1_000);
        world.node(0).paused = false;
        world.pass(3_000);
        assert_eq!(world.texts(hearer), ["1"], "{form:?}, recorded: {is_recorded}");
        // Without shards it is heard there on.
        assert_eq!(world.node(0).has_client(), form == Sharding::Off, "{form:?}");
        assert_eq!(world.metrics().publishes_dropped_total, 0, "{form:?}");
    }
}
