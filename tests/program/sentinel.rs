//! A Redis that sentinels watch: wherever the master goes, the program follows, and the browsers
//! stay.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Event, upgrade};
use crate::support::redis::{RedisClient, RedisServer, Value};
use crate::support::sentinels::{NAME, SentinelServer, Sentinels, master};
use crate::support::tls::Authority;
use crate::support::{Folder, Wsloop, eventually, free_port};

/// How long the program may take to follow what the sentinels have decided.
const FOLLOWED: Duration = Duration::from_secs(5);
const CONNS: usize = 1_000;
const CHANNELS: usize = 100;
/// Conns that speak `wsloop.1`, on a channel with a history.
const PAGES: usize = 20;
const HISTORY: &str = "chat/*=5000/300";

fn server(url: &str, more: &[&str]) -> Wsloop {
    let args = ["--redis", url, "--allow", "all", "--redis-timeout", "2"];
    // The browsers answer no ping before they are read, which may be long after.
    let args = [&args[..], &["--ping-interval", "0"]].concat();
    Wsloop::start(&[&args[..], more].concat())
}

/// What happens to the master while messages are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It ends without a word.
    Killed,
    /// It stops, and all that is connected to it hangs.
    Frozen,
    /// The sentinels are asked for another one.
    Replaced,
}

/// A publisher, which follows the sentinels itself.
struct App<'a> {
    sentinels: &'a Sentinels,
    port: u16,
    redis: RedisClient,
    sentinel: RedisClient,
    /// The numbers that the program has heard, by the answer of Redis, of each channel.
    heard: Vec<Vec<u64>>,
    next: u64,
}

impl<'a> App<'a> {
    fn new(sentinels: &'a Sentinels) -> App<'a> {
        // The first sentinel may be cut off.
        let mut sentinel = sentinels.sentinels[2].connect();
        let port = master(&mut sentinel);
        let redis = sentinels.at(port).connect();
        App { sentinels, port, redis, sentinel, heard: vec![Vec::new(); CHANNELS], next: 0 }
    }

    /// Says the next number, and notes whether it was heard.
    fn say(&mut self) {
        self.next += 1;
        let at = self.next as usize % CHANNELS;
        let channel = format!("broadcast:room/{at}");
        let number = self.next.to_string();
        match self.redis.command(&["PUBLISH", &channel, &number]) {
            Value::Integer(0) => {}
            Value::Integer(1) => self.heard[at].push(self.next),
            other => panic!("{other:?}"),
        }
    }

    /// Records and says the next number on the channel with a history.
    fn record(&mut self, number: u64) {
        let stream = "wsloop:history:{broadcast:chat/1}";
        let number = number.to_string();
        let add = ["XADD", stream, "MAXLEN", "5000", "*", "m", &number];
        let publish = ["PUBLISH", "broadcast:chat/1", &number];
        self.redis.ok(&["MULTI"]);
        for command in [&add[..], &["PEXPIRE", stream, "300000"], &publish] {
            let queued = self.redis.command(command);
            assert_eq!(queued, Value::Status("QUEUED".to_owned()));
        }
        let done = self.redis.command(&["EXEC"]);
        assert!(matches!(done, Value::Array(_)), "{done:?}");
    }

    /// Goes to the master that there is now.
    fn follow(&mut self) {
        let before = self.port;
        self.port = eventually("there is another master", || {
            Some(master(&mut self.sentinel)).filter(|port| *port != before)
        });
        self.redis = self.sentinels.at(self.port).connect();
    }
}

/// What a page was told: numbers, and 0 for a gap.
fn told(client: &mut Client, last: u64) -> Vec<u64> {
    let mut told = Vec::new();
    while told.last() != Some(&last) {
        let Event::Text(text) = client.message() else { panic!("a text") };
        let (header, payload) = text.split_once('\n').unwrap_or((&text, ""));
        match header.split(' ').next() {
            Some("message") => told.push(payload.parse().expect("a number")),
            Some("gap") => told.push(0),
            Some("welcome" | "ok" | "subscribed" | "stored") => {}
            _ => panic!("not expected: {text}"),
        }
    }
    told
}

/// A thousand conns, 500 messages a second, and the master meets this fate.
fn a_failover(fate: Fate) {
    let constellation = Sentinels::start();
    let server = server(&constellation.url(), &["--history", HISTORY, "--max-handshakes", "2000"]);
    server.expect_metric("broker_up", |up| up == 1);
    server.expect_metric("sentinels_up", |up| up == 3);
    let path = |at: usize| format!("room/{}?subscribe-broadcast", at % CHANNELS);
    let mut conns: Vec<Client> = (0..CONNS).map(|at| server.connect(&path(at))).collect();
    let mut pages: Vec<Client> = (0..PAGES).map(|_| page(&server)).collect();
    let first = constellation.redis[0].1;
    let process = (fate != Fate::Replaced).then(|| constellation.redis[0].0.process().id());
    let (said, last) = {
        let course = Course::default();
        let constellation = &constellation;
        thread::scope(|scope| {
            let app = scope.spawn(|| publish(constellation, fate, &course));
            eventually("there is something to follow", || course.said(BEFORE).then_some(()));
            course.hold.store(true, Ordering::SeqCst);
            eventually("nobody waits for the master", || {
                course.held.load(Ordering::SeqCst).then_some(())
            });
            match (fate, process) {
                (Fate::Killed, Some(id)) => signal("KILL", id),
                (Fate::Frozen, Some(id)) => signal("STOP", id),
                _ => {
                    let mut sentinel = constellation.sentinels[0].connect();
                    sentinel.ok(&["SENTINEL", "FAILOVER", NAME]);
                }
            }
            let now = constellation.decided(1, first);
            let decided = Instant::now();
            eventually("the program has followed", || {
                let is_up = server.metric("broker_up") == 1;
                (is_up && server.metric("broker_found_total") == 2).then_some(())
            });
            let took = decided.elapsed();
            println!("{fate:?}: at {now}, {} ms after the sentinels' word", took.as_millis());
            assert!(took < FOLLOWED, "it took {took:?}");
            assert_ne!(now, first);
            let before = course.count.load(Ordering::SeqCst);
            eventually("it goes on", || course.said(before + AFTER).then_some(()));
            course.ended.store(true, Ordering::SeqCst);
            app.join().expect("a publisher")
        })
    };
    if let (Fate::Frozen, Some(id)) = (fate, process) {
        // It says now what it was told before, to whom it may.
        signal("CONT", id);
        thread::sleep(Duration::from_secs(1));
    }
    let mut app = constellation.at(constellation.sentinels[1].master()).connect();
    for (at, heard) in said.iter().enumerate() {
        assert_eq!(app.publish(&format!("broadcast:room/{at}"), "end"), 1);
        assert!(heard.len() >= 5, "{heard:?}");
    }
    for (at, conn) in conns.iter_mut().enumerate() {
        let expected: Vec<String> = said[at % CHANNELS].iter().map(u64::to_string).collect();
        let mut got = Vec::new();
        while got.last().is_none_or(|text| text != "end") {
            got.push(conn.text());
        }
        got.pop();
        assert_eq!(got, expected, "{fate:?}: conn {at}");
    }
    for page in &mut pages {
        expect_in_order(&told(page, last), last);
    }
    assert_eq!(server.metric("conns_open"), (CONNS + PAGES) as u64);
}

/// Every number once and in order, but where there is a gap.
fn expect_in_order(told: &[u64], last: u64) {
    let mut expected = 1;
    for (at, number) in told.iter().enumerate() {
        match *number {
            0 => continue,
            number if number == expected => {}
            number => {
                let is_told = at > 0 && told[at - 1] == 0 && number > expected;
                assert!(is_told, "{expected} is missing in {told:?}");
            }
        }
        expected = number + 1;
    }
    assert_eq!(expected, last + 1);
}

/// Somebody who speaks `wsloop.1` and hears the channel with a history.
fn page(server: &Wsloop) -> Client {
    let request = upgrade("", server.address(), "Sec-WebSocket-Protocol: wsloop.1\r\n");
    let mut client = Client::open(server.address(), &request).expect("a WebSocket");
    client.send("subscribe 1 broadcast chat/1");
    while !client.text().starts_with("ok 1") {}
    client
}

fn signal(name: &str, id: u32) {
    let kill = format!("kill -{name} {id}");
    let done = std::process::Command::new("sh").args(["-c", &kill]).status().expect("a shell");
    assert!(done.success());
}

/// How many numbers are said before the master meets its fate, and after.
const BEFORE: u64 = 400;
const AFTER: u64 = 800;

/// Where the publisher is.
#[derive(Default)]
struct Course {
    count: AtomicU64,
    /// The master is about to meet its fate.
    hold: AtomicBool,
    /// Nothing is on its way to a master that will not answer.
    held: AtomicBool,
    ended: AtomicBool,
}

impl Course {
    fn said(&self, count: u64) -> bool {
        self.count.load(Ordering::SeqCst) >= count
    }
}

/// Publishes 500 numbers a second until it is told to end: those that the program has heard, by
/// channel, and the last one that was recorded.
fn publish(constellation: &Sentinels, fate: Fate, course: &Course) -> (Vec<Vec<u64>>, u64) {
    let mut app = App::new(constellation);
    let (first, mut recorded) = (app.port, 0);
    while !course.ended.load(Ordering::SeqCst) {
        let is_over = app.port == first && course.hold.load(Ordering::SeqCst);
        course.held.store(is_over || app.port != first, Ordering::SeqCst);
        if is_over && (fate != Fate::Replaced || master(&mut app.sentinel) != first) {
            app.follow();
        }
        // A master that is being replaced does not take what would be written.
        let may_record = fate != Fate::Replaced || app.port != first || !is_over;
        if app.next.is_multiple_of(10) && may_record {
            recorded += 1;
            app.record(recorded);
        }
        app.say();
        course.count.store(app.next, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(2));
    }
    (app.heard, recorded)
}

#[test]
#[ignore = "needs redis-server"]
fn a_master_that_is_killed_is_followed_to_the_next() {
    a_failover(Fate::Killed);
}

#[test]
#[ignore = "needs redis-server"]
fn a_master_that_only_hangs_is_left_for_the_next() {
    a_failover(Fate::Frozen);
}

#[test]
#[ignore = "needs redis-server"]
fn a_master_that_is_replaced_is_left_for_the_next() {
    a_failover(Fate::Replaced);
}

#[test]
#[ignore = "needs redis-server"]
fn what_was_stored_and_published_meanwhile_comes_after_a_failover() {
    let constellation = Sentinels::start();
    let server = server(&constellation.url(), &[]);
    server.expect_metric("broker_up", |up| up == 1);
    let (first, port) = &constellation.redis[0];
    let mut app = first.connect();
    app.ok(&["SET", "broadcast:room", "before"]);
    let mut browser = server.connect("room?subscribe-broadcast");
    browser.expect(&["before"]);
    let mut other = server.connect("hall?subscribe-broadcast&publish-broadcast&echo");
    // Nobody is told, and the replica has it.
    app.ok(&["SET", "broadcast:room", "changed"]);
    assert_eq!(app.command(&["WAIT", "1", "5000"]), Value::Integer(1));
    assert_eq!(browser.next_within(Duration::from_millis(100)), None);
    first.process().signal("KILL");
    server.expect_metric("broker_up", |up| up == 0);
    let mut said = 0;
    let now = eventually("the sentinels decide", || {
        said += 1;
        other.send(&format!("meanwhile {said}"));
        thread::sleep(Duration::from_millis(100));
        Some(constellation.sentinels[1].master()).filter(|now| now != port)
    });
    browser.expect(&["changed"]);
    // What is said within the last seconds before Redis is back is kept.
    other.expect_among(&format!("meanwhile {said}"));
    assert_eq!(constellation.at(now).connect().publish("broadcast:room", "live"), 1);
    browser.expect(&["live"]);
    assert_eq!(other.next_within(Duration::from_millis(100)), None);
}

#[test]
#[ignore = "needs redis-server"]
fn redis_stays_where_it_was_while_no_sentinel_answers() {
    let (redis, port) = RedisServer::start_on_tcp();
    let mut sentinel = SentinelServer::start(port, 1, "");
    let absent = free_port();
    let url = format!("redis+sentinel://127.0.0.1:{absent},127.0.0.1:{}/{NAME}", sentinel.port);
    let server = server(&url, &[]);
    server.expect_metric("broker_up", |up| up == 1);
    server.expect_log(&[&format!("the sentinel at 127.0.0.1:{absent} is of no use")]);
    let mut browser = server.connect("room?subscribe-broadcast");
    sentinel.kill();
    server.expect_metric("sentinels_up", |up| up == 0);
    server.expect_log(&["nor is any other"]);
    assert_eq!(redis.connect().publish("broadcast:room", "still"), 1);
    browser.expect(&["still"]);
    assert!(sentinel.revive());
    server.expect_metric("sentinels_up", |up| up == 1);
    assert_eq!(server.metric("broker_lost_total"), 0);
}

#[test]
#[ignore = "needs redis-server"]
fn what_is_wrong_is_said_and_nobody_is_kept_waiting() {
    let (_redis, port) = RedisServer::start_on_tcp();
    let sentinel = SentinelServer::start(port, 1, "requirepass sesame");
    let at = sentinel.port;
    let folder = Folder::new();
    for (file, text) in [("right", "sesame\n"), ("wrong", "tahini\n")] {
        fs::write(folder.join(file), text).expect("a file");
    }
    let path = |file: &str| folder.join(file).to_str().expect("UTF-8").to_owned();
    let (right, wrong) = (path("right"), path("wrong"));
    let password = "--redis-sentinel-password";
    for (url, more, words) in [
        (format!("127.0.0.1:{at}/{NAME}"), &[][..], "that of the sentinels with --redis-sent"),
        (format!("127.0.0.1:{at}/{NAME}"), &[password, &wrong], "does not take the password"),
        (format!("127.0.0.1:{at}/other"), &[password, &right], "no Redis of the name other"),
        (format!("127.0.0.1:{port}/{NAME}"), &[], "it is no Sentinel but a Redis"),
    ] {
        let server = server(&format!("redis+sentinel://{url}"), more);
        server.expect_log(&[words]);
        let refused = server.try_connect("room?subscribe-broadcast").expect_err("a 503");
        assert_eq!(refused.status, 503, "{words}");
        assert!(!server.log().contains("tahini"));
    }
    let server = server(&format!("redis+sentinel://127.0.0.1:{at}/{NAME}"), &[password, &right]);
    server.expect_metric("broker_up", |up| up == 1);
}

#[test]
#[ignore = "needs openssl and redis-server"]
fn sentinels_and_redis_are_reached_by_tls() {
    let authority = Authority::new();
    let files = authority.issue("redis", "IP:127.0.0.1");
    let root = authority.root();
    let tls = |word: &str| {
        [("cert-file", &files.cert), ("key-file", &files.key), ("ca-cert-file", &root)]
            .map(|(name, file)| format!("{word}tls-{name} {file}"))
    };
    let port = free_port();
    let tls_port = port.to_string();
    let more = ["--tls-port", &tls_port, "--tls-auth-clients", "no", "--tls-replication", "yes"];
    let files_of_it = tls("--");
    let words = files_of_it.iter().flat_map(|line| line.split(' '));
    let args: Vec<&str> = more.into_iter().chain(words).collect();
    let redis = RedisServer::start_with(&args);
    let secure = free_port();
    let lines = tls("").join("\n");
    let more = format!("tls-port {secure}\ntls-auth-clients no\ntls-replication yes\n{lines}");
    let _sentinel = SentinelServer::start(port, 1, &more);
    let url = format!("rediss+sentinel://localhost:{secure}/{NAME}");
    let server = server(&url, &["--redis-ca", &root, "--redis-server-name", "127.0.0.1"]);
    server.expect_metric("broker_up", |up| up == 1);
    let mut browser = server.connect("room?subscribe-broadcast");
    assert_eq!(redis.connect().publish("broadcast:room", "hush"), 1);
    browser.expect(&["hush"]);
    let mut publisher = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    publisher.args(["publish", "room", "by command", "--broadcast", "--redis", &url]);
    publisher.args(["--redis-ca", &root, "--redis-server-name", "127.0.0.1"]);
    let output = publisher.output().expect("the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    browser.expect(&["by command"]);
}
