//! A replica that is heard and read in the place of its master.

use super::super::world::*;
use super::names;
use wsloop::Settings;

const NEWS: &str = "broadcast:news";
const HEARS: &str = "/ws/news?subscribe-broadcast&gaps";
const BOTH: &str = "/ws/news?subscribe-broadcast&publish-broadcast";
const MASTER: usize = 0;
const REPLICA: usize = 1;

/// Somebody who hears the channel at the replica.
fn one() -> (World, BrowserId) {
    let mut world = World::new(with_replica());
    let news = world.open(HEARS);
    (world, news)
}

/// What either is subscribed to.
fn heard(world: &mut World) -> [Vec<String>; 2] {
    [MASTER, REPLICA].map(|node| world.node(node).subscribed())
}

/// The replica has repeated all that there is.
fn publish(world: &mut World, text: &str) {
    world.publish_at(MASTER, NEWS, text);
    world.replicate();
}

#[test]
fn the_replica_is_heard_and_read_and_the_master_is_published_and_stored_at() {
    let mut world = World::new(with_replica());
    world.node(MASTER).set(NEWS, "stored");
    world.replicate();
    let speaker = world.open(BOTH);
    assert_eq!(world.texts(speaker), ["stored"]);
    assert_eq!(heard(&mut world), [vec![], vec![NEWS.to_owned()]]);
    world.node(MASTER).take_commands();
    world.node(REPLICA).take_commands();
    world.say(speaker, "hello");
    assert_eq!(names(&world.node(MASTER).take_commands()), ["PUBLISH", "SET"]);
    assert_eq!(world.node(REPLICA).take_commands(), [""; 0]);
    let late = world.open(HEARS);
    assert_eq!(world.texts(late), ["stored"], "the other is not there yet");
    world.replicate();
    assert_eq!(world.texts(late), ["hello"]);
    let later = world.open(HEARS);
    assert_eq!(world.texts(later), ["hello"]);
}

#[test]
fn who_publishes_does_not_have_it_back_from_the_replica() {
    let mut world = World::new(with_replica());
    let (speaker, other) = (world.open(BOTH), world.open(HEARS));
    world.say(speaker, "hello");
    world.replicate();
    assert_eq!([world.texts(speaker), world.texts(other)], [vec![], vec!["hello"]]);
    world.node(MASTER).held = true;
    world.say(speaker, "before the master answers");
    world.replicate();
    assert_eq!(world.texts(speaker), [""; 0]);
    world.node(MASTER).held = false;
    world.run();
    publish(&mut world, "hello");
    assert_eq!(world.texts(speaker), ["hello"], "it is another's");
    world.node(MASTER).denied = vec![("PUBLISH", "*")];
    world.say(speaker, "refused");
    world.node(MASTER).allow_all();
    publish(&mut world, "refused");
    assert_eq!(world.texts(speaker), ["refused"]);
}

#[test]
fn sessions_and_the_application_are_at_the_master() {
    let Settings { sources, .. } = by_session();
    let mut world = World::new(Settings { sources, ..with_replica() });
    world.node(MASTER).set("session:anns-key", r#"{"wsloop:username": "ann"}"#);
    let target = "/ws/inbox?subscribe-user";
    let id = world.ask(&upgrade(target, &["Cookie: sessionid=anns-key"]));
    assert_eq!(world.status(id), Some(101));
    assert_eq!(world.node(MASTER).subscribed(), ["wsloop:control"]);
    assert_eq!(world.node(REPLICA).subscribed(), ["user:ann:inbox"]);
    assert_eq!(world.metrics().control_heard, 1);
    world.publish_at(MASTER, "wsloop:control", r#"{"disconnect": {"user": "ann"}}"#);
    assert!(world.browsers[id].closed_ms.is_some());
}

#[test]
fn without_the_replica_the_master_is_heard_until_it_is_back() {
    let (mut world, news) = one();
    world.kill_node(REPLICA);
    assert_eq!(heard(&mut world), [vec![NEWS.to_owned()], vec![]]);
    assert_eq!(world.texts(news), [""], "some may be missing");
    publish(&mut world, "from the master");
    assert_eq!(world.texts(news), ["from the master"]);
    let late = world.open(HEARS);
    assert_eq!(world.texts(late), ["from the master"]);
    world.revive_node(REPLICA);
    assert_eq!(heard(&mut world), [vec![], vec![NEWS.to_owned()]]);
    assert_eq!([world.texts(news), world.texts(late)], [[""], [""]]);
    publish(&mut world, "from the replica");
    assert_eq!([world.texts(news), world.texts(late)], [["from the replica"]; 2]);
}

#[test]
fn one_that_is_never_there_keeps_nobody_out() {
    let mut world = World::new(with_replica());
    world.kill_node(REPLICA);
    world.pass(1_000);
    let news = world.open(HEARS);
    publish(&mut world, "live");
    assert_eq!(world.texts(news), ["live"]);
}

#[test]
fn what_is_missed_between_the_two_is_caught_up_with() {
    let (mut world, news) = one();
    world.node(MASTER).set(NEWS, "missed");
    world.kill_node(REPLICA);
    assert_eq!(world.texts(news), ["", "missed"]);
    world.node(MASTER).set(NEWS, "missed again");
    world.replicate();
    world.revive_node(REPLICA);
    assert_eq!(world.texts(news), ["", "missed again"]);
}

#[test]
fn one_that_is_of_no_use_is_not_heard() {
    type Turn = fn(&mut FakeRedis);
    let turns: [(&str, Turn); 4] = [
        ("a master", |redis| redis.role = "master"),
        ("another's", |redis| redis.history = "b"),
        ("it has lost its master", |redis| redis.link = "down"),
        ("it must not say", |redis| redis.denied = vec![("INFO", "*")]),
    ];
    for (what, turn) in turns {
        let (mut world, news) = one();
        turn(world.node(REPLICA));
        world.pass(8_000);
        assert_eq!(heard(&mut world), [vec![NEWS.to_owned()], vec![]], "{what}");
        world.texts(news);
        world.publish_at(MASTER, NEWS, "live");
        assert_eq!(world.texts(news), ["live"], "{what}");
        *world.node(REPLICA) = FakeRedis::with(|redis| redis.role = "replica");
        world.kill_node(REPLICA);
        world.revive_node(REPLICA);
        world.pass(5_000);
        assert_eq!(heard(&mut world), [vec![], vec![NEWS.to_owned()]], "{what}");
    }
}

/// Nothing reaches it, however long that takes, and the other hears.
#[test]
fn one_that_never_had_its_master_is_not_heard() {
    for is_master_first in [true, false] {
        let mut world = World::new(with_replica());
        let order = if is_master_first { [MASTER, REPLICA] } else { [REPLICA, MASTER] };
        for node in order {
            world.kill_node(node);
        }
        *world.node(REPLICA) = FakeRedis::with(|redis| {
            (redis.role, redis.link, redis.history) = ("replica", "down", "none");
        });
        for node in order {
            world.revive_node(node);
        }
        let news = world.open(HEARS);
        for number in 0..8 {
            world.publish_at(MASTER, NEWS, number.to_string());
            world.pass(1_000);
            assert_eq!(heard(&mut world), [vec![NEWS.to_owned()], vec![]], "{number}");
        }
        let live: Vec<String> = (0..8).map(|number| number.to_string()).collect();
        assert_eq!(world.texts(news), live);
        let replica = world.node(REPLICA);
        (replica.link, replica.history) = ("up", FakeRedis::new().history);
        world.pass(6_000);
        assert_eq!(heard(&mut world), [vec![], vec![NEWS.to_owned()]]);
    }
}

#[test]
fn one_that_loses_its_master_for_a_moment_catches_up() {
    let (mut world, news) = one();
    world.node(REPLICA).link = "down";
    world.pass(2_000);
    world.node(MASTER).set(NEWS, "missed");
    world.replicate();
    world.node(REPLICA).link = "up";
    assert_eq!(world.texts(news), [""; 0]);
    world.pass(2_000);
    assert_eq!(world.texts(news), ["", "missed"]);
    assert_eq!(heard(&mut world), [vec![], vec![NEWS.to_owned()]]);
    assert_eq!(world.metrics().broker_lost_total, 0);
}

#[test]
fn one_that_falls_behind_is_left() {
    let (mut world, _) = one();
    for offset in 1..25 {
        world.node(MASTER).offset = offset;
        world.pass(1_000);
    }
    assert_eq!(heard(&mut world), [vec![NEWS.to_owned()], vec![]]);
    world.replicate();
    world.pass(6_000);
    assert_eq!(heard(&mut world), [vec![], vec![NEWS.to_owned()]]);
}

#[test]
fn without_the_master_the_replica_stays_and_publishes_wait() {
    let mut world = World::new(with_replica());
    let (speaker, news) = (world.open(BOTH), world.open(HEARS));
    world.node(MASTER).set(NEWS, "stored");
    world.replicate();
    world.kill_node(MASTER);
    world.node(REPLICA).link = "down";
    world.say(speaker, "waits");
    world.pass(3_000);
    assert_eq!(heard(&mut world)[REPLICA], [NEWS]);
    assert_eq!(world.texts(news), [""; 0]);
    world.node(REPLICA).link = "up";
    world.node(MASTER).reach = Reach::Answers;
    world.pass(1_500);
    world.replicate();
    assert_eq!(heard(&mut world), [vec![], vec![NEWS.to_owned()]]);
    assert_eq!(world.texts(news).last().map(String::as_str), Some("waits"));
    assert!(!world.texts(speaker).contains(&"waits".to_owned()));
}

#[test]
fn errors_of_a_replica_are_conditions() {
    for condition in ["MASTERDOWN Link with MASTER is down", "LOADING Redis is loading"] {
        let (mut world, news) = one();
        world.node(REPLICA).condition = Some(condition);
        let late = world.knock(HEARS);
        world.pass(6_000);
        assert_eq!(world.status(late), Some(101), "{condition}");
        assert_eq!(heard(&mut world), [vec![NEWS.to_owned()], vec![]], "{condition}");
        world.node(REPLICA).condition = None;
        world.pass(10_000);
        assert_eq!(heard(&mut world), [vec![], vec![NEWS.to_owned()]], "{condition}");
        world.texts(news);
        publish(&mut world, "live");
        assert_eq!(world.texts(news), ["live"], "{condition}");
    }
}

#[test]
fn a_frozen_replica_is_left() {
    let (mut world, news) = one();
    world.node(REPLICA).paused = true;
    world.pass(15_000);
    assert_eq!(heard(&mut world), [vec![NEWS.to_owned()], vec![]]);
    world.texts(news);
    publish(&mut world, "live");
    assert_eq!(world.texts(news), ["live"]);
}

/// It repeats what it has not had when it was asked, and nothing before.
#[test]
fn what_a_replica_has_yet_to_repeat_comes_once() {
    let (mut world, news) = one();
    world.kill_node(REPLICA);
    publish(&mut world, "1");
    assert_eq!(world.texts(news), ["", "1"]);
    world.node(MASTER).offset = 10;
    world.node(REPLICA).reach = Reach::Answers;
    world.pass(3_000);
    assert_eq!(heard(&mut world), [vec![NEWS.to_owned()], vec![]], "it is behind");
    world.publish_at(MASTER, NEWS, "2");
    assert_eq!(world.texts(news), ["2"]);
    world.node(REPLICA).offset = 10;
    world.pass(100);
    assert_eq!(heard(&mut world), [vec![], vec![NEWS.to_owned()]]);
    world.replicate();
    assert_eq!(world.texts(news), [""], "it was heard at the master");
    publish(&mut world, "2");
    publish(&mut world, "3");
    assert_eq!(world.texts(news), ["2", "3"]);
}

/// What it has had is said in the same breath as what is behind that.
#[test]
fn what_is_behind_the_level_of_the_master_comes_once() {
    let (mut world, news) = one();
    world.kill_node(REPLICA);
    publish(&mut world, "1");
    assert_eq!(world.texts(news), ["", "1"]);
    for node in [MASTER, REPLICA] {
        world.node(node).offset = 10;
    }
    world.node(MASTER).held = true;
    world.node(REPLICA).take_commands();
    world.node(REPLICA).reach = Reach::Answers;
    let asked = |world: &mut World| {
        world.pass(1);
        world.node(REPLICA).take_commands().iter().any(|command| command.starts_with("INFO"))
    };
    assert!((0..3_000).any(|_| asked(&mut world)));
    world.pass(5);
    world.publish_at(MASTER, NEWS, "2");
    assert_eq!(world.texts(news), [""; 0], "the master's answer is on its way, and this behind it");
    world.node(MASTER).held = false;
    world.run();
    let heard_at_replica = |world: &mut World| {
        world.pass(1);
        !world.node(REPLICA).subscribed().is_empty()
    };
    assert!((0..3_000).any(|_| heard_at_replica(&mut world)));
    world.replicate();
    assert_eq!(world.texts(news), ["2", ""], "it was heard at the master");
}

/// Its data goes when it takes a new copy of its master's, and what was published just before never
/// comes.
#[test]
fn one_that_begins_anew_between_two_looks_is_caught_up_with() {
    let (mut world, news) = one();
    assert!(
        world
            .node(REPLICA)
            .take_commands()
            .iter()
            .any(|command| { command == "CLIENT TRACKING ON BCAST PREFIX wsloop:no-such-key" })
    );
    publish(&mut world, "1");
    world.node(MASTER).set(NEWS, "missed");
    world.replicate();
    world.node(REPLICA).blurt(b">2\r\n$10\r\ninvalidate\r\n_\r\n");
    world.run();
    publish(&mut world, "2");
    assert_eq!(world.texts(news), ["1", "", "missed", "2"]);
    world.pass(3_000);
    assert_eq!(world.texts(news), [""; 0], "and no more gaps");
    assert_eq!(world.metrics().broker_lost_total, 0);
}

/// It is asked for the channel a second time before it has confirmed it once.
#[test]
fn one_that_begins_anew_twice_in_a_row_leaves_one_gap() {
    let (mut world, news) = one();
    let anew: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";
    world.node(REPLICA).take_commands();
    world.node(REPLICA).blurt(&anew.repeat(2));
    world.run();
    let asked = world.node(REPLICA).take_commands();
    assert_eq!(names(&asked).iter().filter(|name| **name == "SUBSCRIBE").count(), 2);
    world.pass(3_000);
    publish(&mut world, "live");
    assert_eq!(world.texts(news), ["", "live"]);
}

/// Both were away. The master is heard first, and has much to answer before it says what it has.
#[test]
fn one_that_is_back_before_its_master_says_what_it_has_says_nothing_twice() {
    let (mut world, news) = one();
    publish(&mut world, "0");
    world.kill_node(REPLICA);
    world.kill_node(MASTER);
    world.texts(news);
    world.node(MASTER).reach = Reach::Answers;
    world.node(MASTER).paused = true;
    world.node(MASTER).take_commands();
    // HELLO, SUBSCRIBE and GETRANGE.
    world.node(MASTER).serve(3);
    world.pass(1_000);
    let commands = world.node(MASTER).take_commands();
    assert!(!commands.iter().any(|command| command.starts_with("INFO")), "{commands:?}");
    world.texts(news);
    world.node(MASTER).offset = 10;
    world.publish_at(MASTER, NEWS, "1");
    assert_eq!(world.texts(news), ["1"], "it is heard at the master");
    world.node(REPLICA).reach = Reach::Answers;
    world.pass(3_000);
    assert_eq!(heard(&mut world), [vec![NEWS.to_owned()], vec![]], "it waits for its master");
    world.replicate();
    world.node(MASTER).paused = false;
    world.pass(3_000);
    assert_eq!(heard(&mut world), [vec![], vec![NEWS.to_owned()]]);
    world.replicate();
    assert_eq!(world.texts(news), [""], "it was heard at the master");
    publish(&mut world, "2");
    assert_eq!(world.texts(news), ["2"]);
}

/// Nobody knows what the replica would say again.
#[test]
fn one_whose_master_may_not_be_asked_is_not_heard_while_that_is() {
    for is_denied_first in [true, false] {
        let mut world = World::new(with_replica());
        if is_denied_first {
            world.kill_node(MASTER);
            world.kill_node(REPLICA);
            world.node(MASTER).denied = vec![("INFO", "*")];
            world.revive_node(MASTER);
            world.revive_node(REPLICA);
        }
        let news = world.open(HEARS);
        world.node(MASTER).denied = vec![("INFO", "*")];
        world.pass(3_000);
        assert_eq!(heard(&mut world), [vec![NEWS.to_owned()], vec![]]);
        world.texts(news);
        for number in 0..200 {
            world.publish_at(MASTER, NEWS, number.to_string());
            world.pass(10);
        }
        world.replicate();
        world.pass(6_000);
        let all: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        assert_eq!(world.texts(news), all, "once each");
        world.node(MASTER).allow_all();
        world.pass(6_000);
        assert_eq!(heard(&mut world), [vec![], vec![NEWS.to_owned()]]);
        world.texts(news);
        world.node(MASTER).denied = vec![("INFO", "*")];
        world.kill_node(MASTER);
        world.pass(3_000);
        assert_eq!(heard(&mut world)[REPLICA], [NEWS], "the master is away");
    }
}
