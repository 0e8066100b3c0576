//! The program with a real Redis and its real replica, which is heard in its place.

mod flapping;

use std::time::Duration;

use crate::admin::ask;
use crate::support::client::{Client, upgrade};
use crate::support::redis::{RedisServer, Value};
use crate::support::{Wsloop, eventually};

const NEWS: &str = "broadcast:news";
const HEARS: &str = "news?subscribe-broadcast&gaps";
const BOTH: &str = "news?subscribe-broadcast&publish-broadcast";
const QUICK: [&str; 2] = ["--repl-diskless-sync-delay", "0"];
const ARGS: [&str; 8] = [
    "--allow",
    "all",
    "--admin",
    "127.0.0.1:0",
    "--redis-timeout",
    "1",
    "--session-key=session:{}",
    "--session-format=json",
];

/// A master, its replica, and a server that has both.
struct Pair {
    master: RedisServer,
    replica: RedisServer,
    server: Wsloop,
}

impl Pair {
    fn start() -> Pair {
        Pair::start_with(&[])
    }

    fn start_with(more: &[&str]) -> Pair {
        let (master, port) = RedisServer::start_on_tcp_with(&QUICK);
        let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port.to_string()]);
        let (of, at) = (master.url(), replica.url());
        let server =
            Wsloop::start(&[&ARGS[..], more, &["--redis", &of, "--redis-replica", &at]].concat());
        let pair = Pair { master, replica, server };
        pair.expect_replica(1);
        pair
    }

    /// The replica is heard, or the master in its place.
    fn expect_replica(&self, up: u8) {
        expect_up(&self.server, &self.replica, up);
        self.expect_ready(200, "ready");
    }

    fn expect_ready(&self, status: u16, words: &str) {
        eventually(words, || {
            let answer = ask(self.server.admin(), "/readyz", "");
            (answer.status == status && answer.body.contains(words)).then_some(())
        });
    }

    /// Publishes and stores at the master, in this order.
    fn publish(&self, text: &str) {
        let mut app = self.master.connect();
        app.publish(NEWS, text);
        app.ok(&["SET", NEWS, text]);
    }

    /// What conns hear is heard at that one alone.
    fn expect_heard(&self, at: &RedisServer) {
        let hears = |redis: &RedisServer| redis.connect().channels().contains(&NEWS.to_owned());
        let other = if std::ptr::eq(at, &self.master) { &self.replica } else { &self.master };
        eventually("it is heard there", || (hears(at) && !hears(other)).then_some(()));
    }
}

/// That Redis is up, as the server says.
fn expect_up(server: &Wsloop, redis: &RedisServer, up: u8) {
    let place = redis.socket().display().to_string();
    let line = format!("\nwsloop_redis_up{{redis=\"{place}\"}} {up}\n");
    eventually(&line, || ask(server.admin(), "/metrics", "").body.contains(&line).then_some(()));
}

#[test]
#[ignore = "needs redis-server"]
fn the_replica_is_heard_and_read_and_the_master_has_the_rest() {
    let pair = Pair::start();
    let mut news = pair.server.connect(HEARS);
    pair.expect_heard(&pair.replica);
    pair.publish("live");
    news.expect(&["live"]);
    eventually("it is stored there", || {
        let stored = pair.replica.connect().command(&["GET", NEWS]);
        (stored == Value::Bulk(b"live".to_vec())).then_some(())
    });
    let mut speaker = pair.server.connect(BOTH);
    speaker.expect(&["live"]);
    for number in 0..200 {
        speaker.send(&number.to_string());
    }
    for number in 0..200 {
        news.expect(&[&number.to_string()]);
    }
    pair.publish("end");
    speaker.expect(&["end"]);
    pair.master.connect().ok(&["SET", "session:anns-key", r#"{"wsloop:username": "ann"}"#]);
    let cookie = "Cookie: sessionid=anns-key\r\n";
    let request = upgrade("inbox?subscribe-user", pair.server.address(), cookie);
    let mut ann = Client::open(pair.server.address(), &request).expect("a 101");
    assert_eq!(ann.response.header("x-wsloop-granted"), Some("subscribe-user"));
    let order = r#"{"disconnect":{"user":"ann"}}"#;
    assert_eq!(pair.master.connect().publish("wsloop:control", order), 1);
    ann.hear_close(4403, "");
    assert_eq!(pair.server.metric("broker_lost_total"), 0);
}

/// While the way to the replica is stopped, nobody has anything stored that is newer than live.
#[test]
#[ignore = "needs redis-server"]
fn stored_comes_before_live_at_a_replica_that_lags() {
    let pair = Pair::start();
    let mut news = pair.server.connect(HEARS);
    pair.publish("1");
    news.expect(&["1"]);
    pair.replica.process().signal("STOP");
    pair.publish("2");
    let address = pair.server.address();
    let late = std::thread::spawn(move || {
        Client::open(address, &upgrade(HEARS, address, "")).expect("a 101")
    });
    std::thread::sleep(Duration::from_millis(300));
    pair.replica.process().signal("CONT");
    let mut late = late.join().expect("it is opened");
    pair.publish("3");
    news.expect(&["2", "3"]);
    let texts = [late.text(), late.text()];
    let heard = if texts[0] == "1" {
        vec![texts[0].clone(), texts[1].clone(), late.text()]
    } else {
        texts.to_vec()
    };
    assert!(["1 2 3", "2 3"].contains(&heard.join(" ").as_str()), "{heard:?}");
}

#[test]
#[ignore = "needs redis-server"]
fn a_replica_that_is_killed_or_frozen_leaves_the_master_in_its_place() {
    let mut pair = Pair::start();
    let mut news = pair.server.connect(HEARS);
    let mut speaker = pair.server.connect(BOTH);
    for (frozen, text) in [(false, "killed"), (true, "frozen")] {
        pair.expect_heard(&pair.replica);
        match frozen {
            true => pair.replica.process().signal("STOP"),
            false => pair.replica.kill(),
        }
        pair.expect_ready(200, "ready");
        news.expect(&[""]);
        speaker.send(text);
        news.expect(&[text]);
        match frozen {
            true => pair.replica.process().signal("CONT"),
            false => pair.replica.revive(|_| {}),
        }
        pair.expect_replica(1);
        news.expect(&[""]);
        speaker.send("again");
        news.expect(&["again"]);
    }
    pair.expect_heard(&pair.replica);
    assert_eq!(speaker.next_within(Duration::from_millis(100)), None);
    pair.server.expect_log(&["the replica, is of no use: its master is heard until it is"]);
    pair.server.expect_log(&["the replica, is heard again in the place of its master"]);
}

#[test]
#[ignore = "needs redis-server"]
fn a_replica_that_has_lost_its_master_is_seen_and_left() {
    let pair = Pair::start();
    let mut news = pair.server.connect(HEARS);
    let Value::Array(role) = pair.replica.connect().command(&["ROLE"]) else { panic!("no role") };
    let Value::Integer(port) = role[2] else { panic!("no port: {role:?}") };
    let (other, strange) = RedisServer::start_on_tcp_with(&QUICK);
    let (nobody, strange) = ("1".to_owned(), strange.to_string());
    for (place, word) in [
        (["NO", "ONE"], "it is a master and no replica"),
        (["127.0.0.1", &nobody], "it has lost its master"),
        (["127.0.0.1", &strange], "it is a replica of another master"),
    ] {
        pair.expect_heard(&pair.replica);
        pair.replica.connect().ok(&["REPLICAOF", place[0], place[1]]);
        pair.expect_replica(0);
        pair.expect_heard(&pair.master);
        news.expect(&[""]);
        pair.publish(word);
        // Where it took a copy of another master's data there was a gap then, too.
        news.expect_among(word);
        pair.server.expect_log(&[word]);
        pair.replica.connect().ok(&["REPLICAOF", "127.0.0.1", &port.to_string()]);
        pair.expect_replica(1);
        news.expect(&[""]);
    }
    pair.publish("again");
    news.expect(&["again"]);
    drop(other);
}

/// A replica whose first copy never comes, as its master's address is wrong.
#[test]
#[ignore = "needs redis-server"]
fn a_replica_that_never_had_its_master_is_not_heard() {
    let (master, port) = RedisServer::start_on_tcp_with(&QUICK);
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", "1"]);
    let urls = [master.url(), replica.url()];
    let [of, at] = &urls;
    let server = Wsloop::start(&[&ARGS[..], &["--redis", of, "--redis-replica", at]].concat());
    let pair = Pair { master, replica, server };
    pair.expect_ready(200, "ready");
    let mut news = pair.server.connect(HEARS);
    for number in 0..20 {
        pair.expect_heard(&pair.master);
        pair.publish(&number.to_string());
        news.expect(&[&number.to_string()]);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(pair.server.metric("broker_up"), 1);
    }
    pair.server.expect_log(&["it has lost its master"]);
    pair.replica.connect().ok(&["REPLICAOF", "127.0.0.1", &port.to_string()]);
    pair.expect_replica(1);
    pair.expect_heard(&pair.replica);
}

#[test]
#[ignore = "needs redis-server"]
fn a_master_that_is_killed_and_back_is_heard_by_its_replica_again() {
    let mut pair = Pair::start();
    pair.publish("stored");
    let (mut news, mut speaker) = (pair.server.connect(HEARS), pair.server.connect(BOTH));
    news.expect(&["stored"]);
    speaker.expect(&["stored"]);
    pair.master.kill();
    pair.expect_ready(503, "cannot be reached");
    speaker.send("waits");
    pair.master.revive(|_| {});
    news.expect_among("waits");
    pair.expect_replica(1);
    pair.expect_heard(&pair.replica);
    eventually("both pass messages", || {
        pair.publish("live");
        news.next_within(Duration::from_millis(200)).map(|_| ())
    });
    assert!(pair.server.is_running());
}

/// What came into a history while nobody heard is handed over, whichever of the two is read.
#[test]
#[ignore = "needs redis-server"]
fn a_history_is_read_where_it_is_heard() {
    let mut pair = Pair::start_with(&["--history", "news=100/300"]);
    let (mut news, mut speaker) = (pair.server.connect(HEARS), pair.server.connect(BOTH));
    for number in 0..10 {
        speaker.send(&number.to_string());
        news.expect(&[&number.to_string()]);
    }
    pair.replica.kill();
    speaker.send("at the master");
    news.expect_among("at the master");
    pair.replica.revive(|_| {});
    pair.expect_replica(1);
    for number in 10..20 {
        speaker.send(&number.to_string());
    }
    for number in 10..20 {
        news.expect_among(&number.to_string());
    }
    let length = pair.replica.connect().command(&["XLEN", "wsloop:history:{broadcast:news}"]);
    assert_eq!(length, Value::Integer(21));
}
