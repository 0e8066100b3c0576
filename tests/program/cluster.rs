//! The program with a real cluster of Redis: whatever becomes of its nodes and slots, the browsers
//! stay, and each channel goes on where it is then.

mod cost;
mod load;
mod rights;
mod speakers;
mod tls;

use std::time::Duration;

use load::Load;

use crate::admin::ask;
use crate::support::client::{Client, upgrade};
use crate::support::cluster::Cluster;
use crate::support::redis::Value;
use crate::support::{Wsloop, eventually};

/// The browsers of these tests answer no ping before they are read, which may be long after.
const ARGS: [&str; 10] = [
    "--allow",
    "all",
    "--admin",
    "127.0.0.1:0",
    "--ping-interval",
    "0",
    "--session-key",
    "session:{}",
    "--session-format",
    "json",
];

fn server(cluster: &Cluster, more: &[&str]) -> Wsloop {
    let url = cluster.url();
    let args = [&ARGS[..], &["--redis", &url, "--redis-timeout", "2"], more].concat();
    let server = Wsloop::start(&args);
    readiness(&server, 200, "ready");
    server
}

fn readiness(server: &Wsloop, status: u16, words: &str) {
    eventually(words, || {
        let answer = ask(server.admin(), "/readyz", "");
        (answer.status == status && answer.body.contains(words)).then_some(())
    });
}

/// A facility whose broadcast is at that master.
fn facility_at(cluster: &Cluster, port: u16, word: &str) -> String {
    let mut names = (0..100).map(|at| format!("{word}{at}"));
    let is_there = |name: &String| cluster.home_of(&format!("broadcast:{name}")).port == port;
    names.find(is_there).expect("one of a hundred")
}

#[test]
#[ignore = "needs redis-server"]
fn what_is_stored_and_every_session_is_at_its_slot() {
    let cluster = Cluster::start();
    let server = server(&cluster, &[]);
    readiness(&server, 200, "ready");
    for (at, port) in cluster.masters().into_iter().enumerate() {
        let facility = facility_at(&cluster, port, "room");
        let channel = format!("broadcast:{facility}");
        let path = format!("{facility}?subscribe-broadcast&publish-broadcast&echo");
        let mut browser = server.connect(&path);
        let mut app = cluster.at(port).connect();
        app.publish(&channel, "from the application");
        browser.expect(&["from the application"]);
        browser.send("from a browser");
        browser.expect(&["from a browser"]);
        server.connect(&format!("{facility}?subscribe-broadcast")).expect(&["from a browser"]);
        let stored = app.command(&["GET", &channel]);
        assert_eq!(stored, Value::Bulk(b"from a browser".to_vec()));
        let mut keys = (0..100).map(|of| format!("key-of-ann-{at}x{of}"));
        let is_there = |key: &String| cluster.home_of(&format!("session:{key}")).port == port;
        let key = keys.find(is_there).expect("one of a hundred");
        app.ok(&["SET", &format!("session:{key}"), r#"{"wsloop:username": "ann"}"#]);
        let cookie = format!("Cookie: sessionid={key}\r\n");
        let request = upgrade("inbox?subscribe-user", server.address(), &cookie);
        let mut ann = Client::open(server.address(), &request).expect("a 101");
        assert_eq!(ann.response.header("x-wsloop-granted"), Some("subscribe-user"));
        app.publish("wsloop:control", r#"{"disconnect":{"user":"ann"}}"#);
        ann.hear_close(4403, "");
    }
}

/// A crowd with a server of these arguments, the shards alone being told or all nodes.
fn crowd(sharded: &str, fate: impl FnOnce(&Load)) -> load::Outcome {
    crowd_at(&Cluster::start(), sharded, &[], &load::CROWD, fate)
}

/// The same at that cluster, with more arguments.
fn crowd_at(
    cluster: &Cluster,
    sharded: &str,
    more: &[&str],
    scale: &load::Scale,
    fate: impl FnOnce(&Load),
) -> load::Outcome {
    let args = ["--history", "chat/*=5000/300", "--max-handshakes", "2000"];
    let args = [&args[..], &["--redis-sharded", sharded], more].concat();
    let server = server(cluster, &args);
    Load::new(cluster, &server, scale).run(sharded, fate)
}

/// A third of the slots moves to the next master while their channels are heard.
fn slots_move(load: &Load) {
    let masters = load.cluster.masters();
    load.cluster.reshard(masters[0], masters[1], 2000);
}

/// The first master's replica takes its place by order.
fn is_replaced(load: &Load) {
    let master = load.cluster.masters()[0];
    load.cluster.fail_over_to(load.cluster.replica_of(master));
    // The old one stays up, so that it shows by nothing else when it is left.
    load.server.expect_metric("broker_found_total", |found| found > 0);
}

/// Each master is replaced by its replica, and that by it. Nobody is elected in the place of the
/// same again within twice the time that a node may be silent.
fn all_are_replaced(load: &Load) {
    for found in 1..=6 {
        let master = load.cluster.masters()[found as usize % 3];
        load.cluster.fail_over_to(load.cluster.replica_of(master));
        load.server.expect_metric("broker_found_total", |total| total >= found);
        load.server.expect_metric("broker_up", |up| up == 1);
        load.goes_on_for(Duration::from_millis(1_200));
        load.cluster.settle();
    }
}

/// The first master is gone without a word, and its replica takes its place.
fn is_killed(load: &Load) {
    let master = load.cluster.masters()[0];
    load.course.hold(master);
    load.cluster.at(master).kill();
    load.cluster.replaced(master, 0);
}

/// The first master hangs until its replica has its place, and goes on then.
fn is_frozen(load: &Load) {
    let master = load.cluster.masters()[0];
    load.course.hold(master);
    load.cluster.at(master).freeze();
    load.cluster.replaced(master, 0);
    load.server.expect_metric("broker_up", |up| up == 1);
    load.course.goes_on(200);
    load.cluster.at(master).thaw();
    load.cluster.settle();
}

#[test]
#[ignore = "needs redis-server"]
fn slots_that_move_while_they_are_heard_lose_nothing() {
    let outcome = crowd("off", slots_move);
    assert_eq!((outcome.missing, outcome.gaps, outcome.gaps_in_crowd), (0, 0, 0));
}

#[test]
#[ignore = "needs redis-server"]
fn a_master_that_is_replaced_by_order_is_followed() {
    crowd("off", is_replaced);
}

/// What is published goes to all nodes, the old master among them: nothing may be missing.
#[test]
#[ignore = "needs redis-server"]
fn masters_that_are_replaced_by_order_lose_nothing() {
    assert_eq!(crowd("off", all_are_replaced).missing, 0);
}

/// Of each channel several messages are on their way from node to node at one time.
#[test]
#[ignore = "needs redis-server"]
fn busy_channels_of_masters_that_are_replaced_lose_nothing() {
    let outcome = crowd_at(&Cluster::start(), "off", &[], &load::BUSY, all_are_replaced);
    assert_eq!((outcome.missing, outcome.gaps_in_crowd), (0, 0));
}

#[test]
#[ignore = "needs redis-server"]
fn a_master_that_is_killed_is_followed_to_its_replica() {
    crowd("off", is_killed);
}

#[test]
#[ignore = "needs redis-server"]
fn a_master_that_only_hangs_is_left_for_its_replica() {
    crowd("off", is_frozen);
}

#[test]
#[ignore = "needs redis-server"]
fn channels_of_shards_go_with_their_slots() {
    let outcome = crowd("on", slots_move);
    assert_eq!(outcome.missing, 0);
}

#[test]
#[ignore = "needs redis-server"]
fn channels_of_shards_go_with_their_slots_while_both_forms_are_heard() {
    assert_eq!(crowd("both", slots_move).missing, 0);
}

#[test]
#[ignore = "needs redis-server"]
fn channels_of_shards_are_heard_at_a_replica_that_is_promoted_by_order() {
    assert_eq!(crowd("on", is_replaced).missing, 0);
}

#[test]
#[ignore = "needs redis-server"]
fn channels_of_shards_are_heard_at_the_replica_of_a_master_that_was_killed() {
    assert_eq!(crowd("on", is_killed).missing, 0);
}

/// What is stored anew while nobody is told comes with the failover, and what browsers publish
/// while their master is gone comes once.
#[test]
#[ignore = "needs redis-server"]
fn what_was_stored_and_published_meanwhile_comes_after_a_failover() {
    let cluster = Cluster::start();
    let server = server(&cluster, &[]);
    let master = cluster.masters()[0];
    let facility = facility_at(&cluster, master, "room");
    let (channel, mut app) = (format!("broadcast:{facility}"), cluster.at(master).connect());
    app.ok(&["SET", &channel, "before"]);
    let mut browser = server.connect(&format!("{facility}?subscribe-broadcast"));
    browser.expect(&["before"]);
    app.ok(&["SET", &channel, "changed"]);
    assert_eq!(app.command(&["WAIT", "1", "5000"]), Value::Integer(1));
    assert_eq!(browser.next_within(Duration::from_millis(100)), None);
    let hall = facility_at(&cluster, master, "hall");
    let mut other = server.connect(&format!("{hall}?subscribe-broadcast&publish-broadcast&echo"));
    cluster.at(master).kill();
    server.expect_metric("broker_up", |up| up == 0);
    other.send("meanwhile");
    let now = cluster.replaced(master, cluster.slot_of(&channel));
    browser.expect(&["changed"]);
    other.expect(&["meanwhile"]);
    cluster.at(now).connect().publish(&channel, "live");
    browser.expect(&["live"]);
    assert_eq!(other.next_within(Duration::from_millis(100)), None);
}

/// All nodes of a shard are gone: the others go on, and that is said.
#[test]
#[ignore = "needs redis-server"]
fn a_shard_that_is_gone_stops_nobody_who_hears_the_others() {
    let mut cluster = Cluster::start_with(&["--cluster-require-full-coverage", "no"]);
    let server = server(&cluster, &[]);
    let masters = cluster.masters();
    let facility = |port| facility_at(&cluster, port, "room");
    let (gone, here) = (facility(masters[0]), facility(masters[1]));
    let mut browser = server.connect(&format!("{here}?subscribe-broadcast"));
    let replica = cluster.replica_of(masters[0]);
    cluster.at(replica).kill();
    cluster.at(masters[0]).kill();
    readiness(&server, 503, &format!("Redis at 127.0.0.1:{} cannot be reached", masters[0]));
    let mut app = cluster.at(masters[1]).connect();
    for number in 0..100 {
        app.publish(&format!("broadcast:{here}"), number.to_string());
        browser.expect(&[&number.to_string()]);
    }
    let path = format!("{gone}?subscribe-broadcast");
    assert_eq!(server.try_connect(&path).map(|_| ()).expect_err("a 503").status, 503);
    cluster.at_mut(masters[0]).revive();
    readiness(&server, 200, "ready");
    let mut late = eventually("it is heard again", || server.try_connect(&path).ok());
    cluster.at(masters[0]).connect().publish(&format!("broadcast:{gone}"), "again");
    late.expect(&["again"]);
}

/// Publishers that speak of shards, and those that do not yet, are both heard.
#[test]
#[ignore = "needs redis-server"]
fn publishers_of_both_forms_are_heard() {
    let cluster = Cluster::start();
    let server = server(&cluster, &["--redis-sharded", "both"]);
    for port in cluster.masters() {
        let facility = facility_at(&cluster, port, "room");
        let channel = format!("broadcast:{facility}");
        let path = format!("{facility}?subscribe-broadcast&publish-broadcast&echo");
        let mut browser = server.connect(&path);
        let mut app = cluster.at(port).connect();
        app.publish(&channel, "to all");
        assert_eq!(app.command(&["SPUBLISH", &channel, "to the shard"]), Value::Integer(1));
        browser.expect(&["to all", "to the shard"]);
        browser.send("own");
        browser.expect(&["own"]);
        assert_eq!(browser.next_within(Duration::from_millis(100)), None);
    }
}
