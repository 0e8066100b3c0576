//! Workers whose Redis is a cluster, or has a replica that is heard in its place: a message comes
//! to the browsers of each worker, once.

use super::{of_worker, signal};
use crate::admin::{ask, metrics};
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::redis::RedisServer;
use crate::support::{Wsloop, eventually};

const ARGS: [&str; 6] = ["--workers", "2", "--admin", "127.0.0.1:0", "--allow", "all"];
const TEXTS: [&str; 3] = ["first", "second", "third"];

fn server(args: &[&str]) -> Wsloop {
    let server = Wsloop::start(&[&ARGS[..], args].concat());
    eventually("both are ready", || {
        (ask(server.admin(), "/readyz", "").status == 200).then_some(())
    });
    server
}

/// Browsers that hear a facility, and may publish there, of both workers.
fn browsers(server: &Wsloop, facility: &str) -> Vec<Client> {
    let path = format!("{facility}?subscribe-broadcast&publish-broadcast&echo");
    let all: Vec<Client> = (0..40).map(|_| server.connect(&path)).collect();
    let values = metrics(server.admin()).0;
    let parts = [1, 2].map(|number| of_worker(&values, number));
    assert!(parts.iter().all(|part| *part > 0.0), "{parts:?}");
    all
}

/// What is published is heard once by all, and what one of them publishes, too.
fn all_hear(browsers: &mut [Client], publish: impl Fn(&str)) {
    TEXTS.iter().for_each(|text| publish(text));
    browsers.iter_mut().for_each(|browser| browser.expect(&TEXTS));
    for at in [0, browsers.len() - 1] {
        let text = format!("from {at}");
        browsers[at].send(&text);
        browsers.iter_mut().for_each(|browser| browser.expect(&[&text]));
    }
    // Nothing came twice: whatever had would come before this.
    publish("last");
    browsers.iter_mut().for_each(|browser| browser.expect(&["last"]));
}

#[test]
#[ignore = "needs redis-server"]
fn each_hears_a_cluster_once() {
    let cluster = Cluster::start();
    for sharded in ["off", "both", "on"] {
        let server = server(&["--redis", &cluster.url(), "--redis-sharded", sharded]);
        let channel = format!("broadcast:{sharded}");
        let home = cluster.home_of(&channel);
        let mut all = browsers(&server, sharded);
        let word = if sharded == "off" { "PUBLISH" } else { "SPUBLISH" };
        all_hear(&mut all, |text| {
            home.connect().command(&[word, &channel, text]);
        });
        // One that hangs stops nobody of the other, and has missed nothing when it goes on.
        let worker = super::children(server.process().id())[0];
        signal("STOP", worker);
        home.connect().command(&[word, &channel, "meanwhile"]);
        signal("CONT", worker);
        all.iter_mut().for_each(|browser| browser.expect(&["meanwhile"]));
    }
}

#[test]
#[ignore = "needs redis-server"]
fn each_hears_a_replica_once() {
    let (master, port) = RedisServer::start_on_tcp_with(&["--repl-diskless-sync-delay", "0"]);
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port.to_string()]);
    let server = server(&["--redis", &master.url(), "--redis-replica", &replica.url()]);
    let mut all = browsers(&server, "room");
    let channel = "broadcast:room".to_owned();
    let hears = |redis: &RedisServer| redis.connect().channels().contains(&channel);
    eventually("the replica alone is heard", || (hears(&replica) && !hears(&master)).then_some(()));
    all_hear(&mut all, |text| {
        master.connect().command(&["PUBLISH", &channel, text]);
    });
    // Both workers hear the master in its place, and nothing is heard at both.
    drop(replica);
    eventually("the master is heard", || hears(&master).then_some(()));
    eventually("by both", || {
        let told = master.connect().command(&["PUBSUB", "NUMSUB", &channel]);
        format!("{told:?}").contains("Integer(2)").then_some(())
    });
    all_hear(&mut all, |text| {
        master.connect().command(&["PUBLISH", &channel, text]);
    });
}
