//! Channels that are spread over several Redis: each is at one of them, and one that goes takes no
//! more with it than its own.

use super::super::world::*;
use super::names;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{HistoryRule, HistoryRules, Settings};

/// Of two Redis the first has this one, and the other that.
const NEWS: &str = "broadcast:news";
const CHAT: &str = "broadcast:chat";

fn both(facility: &str) -> String {
    format!("/ws/{facility}?subscribe-broadcast&publish-broadcast&echo")
}

fn hears(facility: &str) -> String {
    format!("/ws/{facility}?subscribe-broadcast&gaps")
}

/// Somebody who hears each, and both Redis have been told nothing since.
fn two() -> (World, BrowserId, BrowserId) {
    let mut world = World::new(with_several(2));
    let (news, chat) = (world.open(&hears("news")), world.open(&hears("chat")));
    world.node(0).take_commands();
    world.node(1).take_commands();
    (world, news, chat)
}

#[test]
fn a_channel_is_heard_published_and_stored_where_it_belongs() {
    let mut world = World::new(with_several(2));
    let (news, chat) = (world.open(&both("news")), world.open(&both("chat")));
    assert_eq!(world.node(0).subscribed(), [NEWS]);
    assert_eq!(world.node(1).subscribed(), [CHAT]);
    world.say(news, "one");
    world.say(chat, "two");
    assert_eq!(world.texts(news), ["one"]);
    assert_eq!(world.texts(chat), ["two"]);
    let now_ms = world.now_ms;
    for (node, channel, text) in [(0, NEWS, "one"), (1, CHAT, "two")] {
        let redis = world.node(node);
        assert_eq!(redis.stored(0, channel, now_ms), Some(text.as_bytes()));
        assert_eq!(redis.stored(0, if node == 0 { CHAT } else { NEWS }, now_ms), None);
        assert_eq!(names(&redis.take_commands()), ["SUBSCRIBE", "GETRANGE", "PUBLISH", "SET"]);
    }
    let late = world.open(&hears("chat"));
    assert_eq!(world.texts(late), ["two"]);
    for id in [news, chat, late] {
        world.vanish(id);
    }
    assert_eq!([world.node(0).subscribed(), world.node(1).subscribed()], [[""; 0], [""; 0]]);
}

#[test]
fn one_that_goes_takes_its_own_channels_alone() {
    let (mut world, news, chat) = two();
    world.kill_node(1);
    assert_eq!(world.metrics().broker_up, 0);
    world.publish_at(0, NEWS, "goes on");
    assert_eq!(world.texts(news), ["goes on"]);
    let (refused, open) = (world.knock(&hears("chat")), world.knock(&hears("news")));
    world.pass(1_000);
    assert_eq!((world.status(refused), world.status(open)), (Some(503), Some(101)));
    world.texts(open);
    world.node(1).set(CHAT, "missed");
    world.node(0).set(NEWS, "not sent again");
    world.node(0).take_commands();
    world.revive_node(1);
    assert_eq!((world.metrics().broker_up, world.metrics().broker_lost_total), (1, 1));
    assert_eq!(world.texts(chat), ["", "missed"], "and that there was an outage");
    assert_eq!([world.texts(news), world.texts(open)], [[""; 0], [""; 0]]);
    assert!(!names(&world.node(0).take_commands()).contains(&"SUBSCRIBE"));
    assert_eq!(world.node(1).subscribed(), [CHAT]);
    assert_eq!(world.browsers.iter().filter(|one| one.closed_ms.is_some()).count(), 1);
}

#[test]
fn who_waits_when_one_goes_for_good_is_refused_if_it_needs_that_one() {
    let mut world = World::new(with_several(2));
    for node in [0, 1] {
        world.node(node).paused = true;
    }
    let (news, chat) = (world.knock(&hears("news")), world.knock(&hears("chat")));
    assert_eq!([world.status(news), world.status(chat)], [None; 2]);
    world.kill_node(1);
    world.pass(1_000);
    assert_eq!([world.status(news), world.status(chat)], [None, Some(503)]);
    world.node(0).paused = false;
    world.run();
    assert_eq!(world.status(news), Some(101));
}

#[test]
fn what_one_does_not_answer_keeps_nobody_of_another() {
    let mut world = World::new(with_several(2));
    world.node(0).set(NEWS, "stored");
    world.node(1).paused = true;
    // More than may be under way.
    let waiting: Vec<BrowserId> =
        (0..200).map(|at| world.knock(&format!("/ws/chat{at}?subscribe-broadcast"))).collect();
    let news = world.open(&hears("news"));
    assert_eq!(world.texts(news), ["stored"]);
    world.publish_at(0, NEWS, "live");
    assert_eq!(world.texts(news), ["live"]);
    let at_first = waiting.iter().filter(|id| world.status(**id) == Some(101)).count();
    assert!((50..150).contains(&at_first), "{at_first} are at the first");
    world.node(1).paused = false;
    world.run();
    assert!(waiting.iter().all(|id| world.status(*id) == Some(101)));
}

#[test]
fn sessions_are_at_the_first_and_the_application_is_heard_at_all() {
    let Settings { sources, .. } = by_session();
    let mut world = World::new(Settings { sources, ..with_several(3) });
    for node in 0..3 {
        world.node(node).set("session:anns-key", r#"{"wsloop:username": "nobody"}"#);
    }
    world.node(0).set("session:anns-key", r#"{"wsloop:username": "ann"}"#);
    assert_eq!(world.metrics().control_heard, 1);
    for node in 0..3 {
        let target = "/ws/inbox?subscribe-user";
        let id = world.ask(&upgrade(target, &["Cookie: sessionid=anns-key"]));
        assert_eq!(world.status(id), Some(101));
        assert!(world.node(0).subscribed().contains(&"user:ann:inbox".to_owned()));
        let message = r#"{"disconnect": {"user": "ann"}}"#;
        world.publish_at(node, "wsloop:control", message);
        assert!(matches!(world.heard(id)[..], [Heard::Close(Some(_), _)]), "at {node}");
    }
    world.kill_node(2);
    assert_eq!(world.metrics().control_heard, 0, "it is guarded no more");
    world.revive_node(2);
    assert_eq!(world.metrics().control_heard, 1);
    world.node(1).denied = vec![("SUBSCRIBE", "wsloop:control")];
    world.kill_node(1);
    world.revive_node(1);
    assert_eq!((world.metrics().broker_up, world.metrics().control_heard), (1, 0));
    world.node(1).denied = Vec::new();
    world.pass(5_000);
    assert_eq!(world.metrics().control_heard, 1, "it was asked for again there");
}

/// What a conn has published is settled when all of them have answered.
#[test]
fn a_close_waits_for_what_was_published_at_each() {
    let mut world = World::new(with_several(2));
    for order in [[0, 1], [1, 0]] {
        let speakers = [world.open(&both("news")), world.open(&both("chat"))];
        for node in [0, 1] {
            world.node(node).paused = true;
        }
        for id in speakers {
            world.say(id, "last words");
        }
        for id in speakers {
            world.send_frame(id, Opcode::Close, &1000u16.to_be_bytes());
        }
        let closed = |world: &mut World, id: BrowserId| {
            let heard = world.heard(id);
            heard.iter().any(|heard| matches!(heard, Heard::Close(..)))
        };
        assert!(speakers.iter().all(|id| !closed(&mut world, *id)));
        world.node(order[0]).paused = false;
        world.run();
        assert!(speakers.iter().all(|id| !closed(&mut world, *id)), "another is to answer");
        world.node(order[1]).paused = false;
        world.run();
        assert!(speakers.iter().all(|id| closed(&mut world, *id)));
    }
}

fn topics(keeps: bool) -> (World, BrowserId) {
    let rules = vec![HistoryRule::parse("*=40/60").expect("a rule")];
    let rules = if keeps { rules } else { Vec::new() };
    let history = HistoryRules { prefix: String::new(), rules };
    let mut world = World::new(Settings { history, ..with_several(2) });
    let id = world.ask(&upgrade("/ws/", &["Sec-WebSocket-Protocol: wsloop.1"]));
    world.say(id, "subscribe 1 broadcast news");
    world.say(id, "subscribe 2 broadcast chat");
    let heard = world.texts(id);
    assert!(heard.contains(&"ok 1".to_owned()) && heard.contains(&"ok 2".to_owned()), "{heard:?}");
    (world, id)
}

#[test]
fn a_topic_has_a_gap_only_where_its_redis_was_away() {
    let (mut world, id) = topics(false);
    world.kill_node(1);
    world.publish_at(0, NEWS, "live");
    assert_eq!(world.texts(id), ["message broadcast news -\nlive"]);
    world.say(id, "subscribe 3 broadcast chat2");
    world.texts(id);
    world.revive_node(1);
    let told = world.texts(id);
    assert!(told.iter().any(|text| text.starts_with("gap broadcast chat ")), "{told:?}");
    assert!(!told.iter().any(|text| text.contains("news")), "{told:?}");
}

#[test]
fn an_outage_is_mended_from_the_history_of_its_own_redis() {
    let (mut world, id) = topics(true);
    for (node, channel, text) in [(0, NEWS, "a"), (1, CHAT, "b")] {
        world.node(node).publish_kept(channel, text, 40);
    }
    world.run();
    assert_eq!(world.texts(id).len(), 2);
    world.kill_node(1);
    world.node(1).publish_kept(CHAT, "c", 40);
    world.node(0).publish_kept(NEWS, "d", 40);
    world.run();
    let texts = world.texts(id);
    assert!(texts.len() == 1 && texts[0].ends_with("\nd"), "{texts:?}");
    world.revive_node(1);
    let texts = world.texts(id);
    assert!(texts.len() == 1 && texts[0].ends_with("\nc"), "{texts:?}");
    assert_eq!(world.metrics().broker_up, 1);
}

/// Numbers that look drawn, from a seed.
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn below(&mut self, most: u64) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % most) as usize
    }
}

/// Three Redis come and go, and whoever hears a channel has each of its messages once and in order,
/// or is told that some are missing.
#[test]
fn whatever_goes_and_comes_each_message_is_heard_once_in_order_or_named_as_a_gap() {
    let rules = vec![HistoryRule::parse("*=1000/600").expect("a rule")];
    let history = HistoryRules { prefix: String::new(), rules };
    let (mut heard_at_all, mut outages) = (0, 0);
    for seed in 0..60 {
        let mut draw = Draw(seed);
        let mut world = World::new(Settings { history: history.clone(), ..with_several(3) });
        let page = world.ask(&upgrade("/ws/", &["Sec-WebSocket-Protocol: wsloop.1"]));
        let facilities: Vec<String> = (0..6).map(|at| format!("f{at}")).collect();
        for (at, facility) in facilities.iter().enumerate() {
            world.say(page, &format!("subscribe {} broadcast {facility}", at + 1));
        }
        let plain: Vec<BrowserId> = facilities.iter().map(|f| world.open(&hears(f))).collect();
        let node_of = |world: &mut World, facility: &String| {
            let name = format!("broadcast:{facility}");
            (0..3).find(|node| world.node(*node).subscribed().contains(&name)).expect("it is heard")
        };
        let nodes: Vec<usize> = facilities.iter().map(|f| node_of(&mut world, f)).collect();
        world.texts(page);
        let mut published = vec![0; facilities.len()];
        for _ in 0..80 {
            match draw.below(10) {
                0 => {
                    world.kill_node(draw.below(3));
                    outages += 1;
                }
                1 => world.revive_node(draw.below(3)),
                2 => world.pass(200),
                _ => {
                    let at = draw.below(facilities.len() as u64);
                    let channel = format!("broadcast:{}", facilities[at]);
                    world.node(nodes[at]).publish_kept(&channel, published[at].to_string(), 1000);
                    published[at] += 1;
                    world.run();
                }
            }
        }
        (0..3).for_each(|node| world.revive_node(node));
        assert_eq!(world.metrics().broker_up, 1, "seed {seed}");
        let told = world.texts(page);
        for (at, facility) in facilities.iter().enumerate() {
            let mut next = 0;
            for text in &told {
                let (head, payload) = text.split_once('\n').unwrap_or((text, ""));
                if head.starts_with(&format!("gap broadcast {facility} ")) {
                    next = usize::MAX;
                } else if head.starts_with(&format!("message broadcast {facility} ")) {
                    for number in payload.split('\n').map(|number| number.parse::<usize>().unwrap())
                    {
                        let fits = number == next || next == usize::MAX;
                        assert!(fits, "seed {seed}, {facility}: {number} for {next}: {told:?}");
                        next = number + 1;
                        heard_at_all += 1;
                    }
                }
            }
            assert!(next == published[at] || next == usize::MAX, "seed {seed}, {facility}");
            let heard = world.texts(plain[at]);
            let numbers: Vec<usize> = heard.iter().filter_map(|text| text.parse().ok()).collect();
            assert!(numbers.is_sorted_by(|one, other| one < other), "seed {seed}: {heard:?}");
        }
    }
    assert!(heard_at_all > 3_000 && outages > 200, "{heard_at_all}, {outages}");
}
