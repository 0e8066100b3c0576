//! A cluster whose nodes are reached by TLS alone: all that a plain one is to do, and whom it and
//! its clients believe. (Redis may be built without TLS; then these are left out by this name.)

use std::process::Command;

use wsloop::{Expire, Publisher, RedisTls};

use super::{crowd_at, facility_at, is_killed, load, readiness, server, slots_move};
use crate::support::Wsloop;
use crate::support::cluster::Cluster;
use crate::support::tls::{Authority, Files};

fn authority(cluster: &Cluster) -> &Authority {
    &cluster.secure.as_ref().expect("TLS").authority
}

/// One for each master.
fn facilities(cluster: &Cluster) -> Vec<String> {
    cluster.masters().into_iter().map(|port| facility_at(cluster, port, "room")).collect()
}

#[test]
#[ignore = "needs openssl and redis-server"]
fn slots_that_move_are_followed() {
    let cluster = Cluster::start_secure();
    let root = authority(&cluster).root();
    let outcome = crowd_at(&cluster, "both", &["--redis-ca", &root], &load::CROWD, slots_move);
    assert_eq!(outcome.missing, 0);
}

#[test]
#[ignore = "needs openssl and redis-server"]
fn a_master_that_is_killed_is_followed_to_its_replica() {
    let cluster = Cluster::start_secure();
    let root = authority(&cluster).root();
    crowd_at(&cluster, "off", &["--redis-ca", &root], &load::CROWD, is_killed);
}

/// Wherever a node says that another one is, its certificate may be for one name of all.
#[test]
#[ignore = "needs openssl and redis-server"]
fn nodes_share_one_name_and_are_shown_a_certificate() {
    let cluster = Cluster::start_secure_as("DNS:redis.test", "yes");
    let (root, shown) = (authority(&cluster).root(), authority(&cluster).issue("client", "DNS:c"));
    let by_name = ["--redis-ca", &root, "--redis-server-name", "redis.test"];
    let all = [&by_name[..], &["--redis-cert", &shown.cert, "--redis-key", &shown.key]].concat();
    let server = server(&cluster, &all);
    readiness(&server, 200, "ready");
    for facility in facilities(&cluster) {
        let path = format!("{facility}?subscribe-broadcast&publish-broadcast&echo");
        let mut browser = server.connect(&path);
        let channel = format!("broadcast:{facility}");
        cluster.home_of(&channel).connect().publish(&channel, "hush");
        browser.expect(&["hush"]);
        browser.send("own");
        browser.expect(&["own"]);
    }
    let refused: [(&[&str], &str); 2] =
        [(&all[..2], "not valid for name"), (&by_name, "ertificate")];
    for (args, words) in refused {
        is_refused(&cluster, args, &[words]);
    }
}

/// A server that cannot be ready says why.
fn is_refused(cluster: &Cluster, more: &[&str], words: &[&str]) {
    let url = cluster.url();
    let args = ["--redis", &url, "--redis-timeout", "1", "--admin", "127.0.0.1:0"];
    let server = Wsloop::start(&[&args[..], more].concat());
    server.expect_log(words);
    readiness(&server, 503, "cannot be reached");
}

#[test]
#[ignore = "needs openssl and redis-server"]
fn who_has_signed_it_is_to_be_known() {
    let cluster = Cluster::start_secure();
    let other = Authority::new();
    let words = ["invalid peer certificate", "--redis-ca"];
    is_refused(&cluster, &["--redis-ca", &other.root()], &words);
    is_refused(&cluster, &[], &words);
}

/// What the publisher of Python is to say, and where.
const PYTHON: &str = "
import sys
from wsloop.publisher import RedisPublisher
url, facility, text = sys.argv[1:]
RedisPublisher(facility=facility, broadcast=True, redis=url).publish_message(text)
";

#[test]
#[ignore = "needs openssl, python3 with redis, and redis-server"]
fn publishers_reach_every_node() {
    let cluster = Cluster::start_secure_as("IP:127.0.0.1", "yes");
    let (root, shown) = (authority(&cluster).root(), authority(&cluster).issue("client", "DNS:c"));
    let flags = ["--redis-ca", &root, "--redis-cert", &shown.cert, "--redis-key", &shown.key];
    let server = server(&cluster, &flags);
    let mut publisher = rust_publisher(&cluster.url(), &root, &shown);
    for facility in facilities(&cluster) {
        let mut browser = server.connect(&format!("{facility}?subscribe-broadcast"));
        let to = publisher.to(&facility).broadcast();
        to.publish("by library", Expire::Default).expect("it is sent");
        browser.expect(&["by library"]);

        let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
        command.args(["publish", "--redis", &cluster.url(), &facility, "by command"]);
        succeeds(command.arg("--broadcast").args(flags));
        browser.expect(&["by command"]);

        let queries =
            [("ssl_ca_certs", &root), ("ssl_certfile", &shown.cert), ("ssl_keyfile", &shown.key)];
        let query = queries.map(|(name, path)| format!("{name}={path}")).join("&");
        let url = format!("{}?{query}", cluster.url());
        let mut python = Command::new("/usr/bin/python3");
        let from = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python/src");
        python.env("PYTHONPATH", from).env("PYTHONDONTWRITEBYTECODE", "1");
        succeeds(python.args(["-c", PYTHON, &url, &facility, "by Python"]));
        browser.expect(&["by Python"]);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    command.args(["publish", "--redis", &cluster.url(), "room0", "no", "--broadcast"]);
    let output = command.output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("--redis-ca"), "{said}");
}

fn rust_publisher(url: &str, root: &str, shown: &Files) -> Publisher {
    let [ca, cert, key] =
        [root, &shown.cert, &shown.key].map(|path| std::fs::read(path).expect("a file"));
    let certificate = Some((&*cert, &*key));
    let tls = RedisTls { authority: Some(&ca), certificate, ..RedisTls::default() };
    Publisher::new(url).and_then(|one| one.tls(&tls)).expect("a publisher")
}

fn succeeds(command: &mut Command) {
    let output = command.output().expect("the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
