//! The program with several real Redis, among which channels are spread.

use std::time::{Duration, Instant};

use crate::admin::ask;
use crate::support::client::{Client, Event, upgrade};
use crate::support::redis::{RedisServer, Value};
use crate::support::sentinels::Sentinels;
use crate::support::{Wsloop, eventually};

/// Facilities whose broadcast is at that one of three Redis.
const AT: [&str; 3] = ["chat", "news", "room9"];
const ARGS: [&str; 8] = [
    "--allow",
    "all",
    "--admin",
    "127.0.0.1:0",
    "--session-key",
    "session:{}",
    "--session-format",
    "json",
];

fn channel(node: usize) -> String {
    format!("broadcast:{}", AT[node])
}

/// Three Redis, and a server that has them in their order.
fn three() -> (Vec<RedisServer>, Wsloop) {
    let all: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let urls: Vec<String> = all.iter().map(RedisServer::url).collect();
    let flags = urls.iter().flat_map(|url| ["--redis", url]);
    let server = Wsloop::start(&ARGS.into_iter().chain(flags).collect::<Vec<_>>());
    server.expect_metric("broker_up", |up| up == 1);
    (all, server)
}

fn readiness(server: &Wsloop, status: u16, words: &str) {
    eventually(words, || {
        let answer = ask(server.admin(), "/readyz", "");
        (answer.status == status && answer.body.contains(words)).then_some(())
    });
}

fn options(node: usize, options: &str) -> String {
    format!("{}?{options}", AT[node])
}

#[test]
#[ignore = "needs redis-server"]
fn each_channel_is_at_one_of_them_and_sessions_are_at_the_first() {
    let (all, server) = three();
    let path = |node| options(node, "subscribe-broadcast&publish-broadcast&echo");
    let mut browsers: Vec<Client> = (0..3).map(|node| server.connect(&path(node))).collect();
    for (node, redis) in all.iter().enumerate() {
        let mut app = redis.connect();
        let channels = app.channels();
        let own = channels.iter().filter(|name| name.starts_with("broadcast:"));
        assert_eq!(own.collect::<Vec<_>>(), [&channel(node)]);
        assert!(channels.iter().any(|name| name == "wsloop:control"), "{channels:?}");
        assert_eq!(app.publish(&channel(node), "from the application"), 1);
        browsers[node].expect(&["from the application"]);
        browsers[node].send("from a browser");
        browsers[node].expect(&["from a browser"]);
        let mut late = server.connect(&options(node, "subscribe-broadcast"));
        late.expect(&["from a browser"]);
        let stored = app.command(&["GET", &channel(node)]);
        assert_eq!(stored, Value::Bulk(b"from a browser".to_vec()));
        let other = app.command(&["GET", &channel((node + 1) % 3)]);
        assert_eq!(other, Value::Nil);
    }
    all[0].connect().ok(&["SET", "session:key-of-ann", r#"{"wsloop:username": "ann"}"#]);
    for redis in &all {
        let cookie = "Cookie: sessionid=key-of-ann\r\n";
        let request = upgrade("inbox?subscribe-user", server.address(), cookie);
        let mut ann = Client::open(server.address(), &request).expect("a 101");
        let granted = ann.response.header("x-wsloop-granted");
        assert_eq!(granted, Some("subscribe-user"));
        let heard = redis.connect().publish("wsloop:control", r#"{"disconnect":{"user":"ann"}}"#);
        assert_eq!(heard, 1);
        ann.hear_close(4403, "");
    }
}

#[test]
#[ignore = "needs redis-server"]
fn one_that_is_killed_stops_nobody_who_hears_the_others() {
    let (mut all, server) = three();
    readiness(&server, 200, "ready");
    let path = |node| options(node, "subscribe-broadcast&gaps");
    let mut browsers: Vec<Client> = (0..3).map(|node| server.connect(&path(node))).collect();
    let (mut first, mut third) = (all[0].connect(), all[2].connect());
    let mut longest = Duration::ZERO;
    for number in 0..200 {
        if number == 50 {
            all[1].kill();
        }
        let text = number.to_string();
        let began = Instant::now();
        first.publish(&channel(0), &text);
        third.publish(&channel(2), &text);
        browsers[0].expect(&[&text]);
        browsers[2].expect(&[&text]);
        longest = longest.max(began.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(longest < Duration::from_millis(500), "{longest:?}");
    let place = all[1].socket().display().to_string();
    readiness(&server, 503, &format!("not ready: Redis at {place} cannot be reached; "));
    let figures = ask(server.admin(), "/metrics", "").body;
    for (redis, up) in all.iter().zip([1, 0, 1]) {
        let line = format!("\nwsloop_redis_up{{redis=\"{}\"}} {up}\n", redis.socket().display());
        assert!(figures.contains(&line), "{figures}");
    }
    assert_eq!(server.try_connect(&path(1)).map(|_| ()).expect_err("a 503").status, 503);
    server.connect(&path(0)).close();
    all[1].revive(|app| app.ok(&["SET", &channel(1), "stored meanwhile"]));
    readiness(&server, 200, "ready");
    browsers[1].expect(&["", "stored meanwhile"]);
    all[1].connect().publish(&channel(1), "live");
    browsers[1].expect(&["live"]);
    for node in [0, 2] {
        assert_eq!(browsers[node].next_within(Duration::from_millis(100)), None);
    }
    assert_eq!(server.metric("broker_lost_total"), 1);
    server.expect_log(&["Redis at", "is lost", "browsers stay"]);
}

/// A page hears topics of all three on one WebSocket; one Redis is killed and back.
#[test]
#[ignore = "needs redis-server"]
fn a_topic_whose_redis_was_killed_has_a_gap_and_no_other_has() {
    let (mut all, server) = three();
    let offer = "Sec-WebSocket-Protocol: wsloop.1\r\n";
    let request = upgrade("", server.address(), offer);
    let mut page = Client::open(server.address(), &request).expect("a 101");
    assert!(page.text().starts_with("welcome "));
    for (node, facility) in AT.iter().enumerate() {
        page.send(&format!("subscribe {} broadcast {facility}", node + 1));
    }
    let mut said = Vec::new();
    while said.iter().filter(|text: &&String| text.starts_with("ok ")).count() < 3 {
        said.push(page.text());
    }
    all[1].kill();
    eventually("it is lost", || (server.metric("broker_up") == 0).then_some(()));
    for (node, redis) in all.iter().enumerate().filter(|(node, _)| *node != 1) {
        redis.connect().publish(&channel(node), "live");
        assert_eq!(page.text(), format!("message broadcast {} -\nlive", AT[node]));
    }
    all[1].revive(|_| {});
    let gap = match page.next() {
        Event::Text(text) => text,
        other => panic!("{other:?}"),
    };
    assert!(gap.starts_with(&format!("gap broadcast {} ", AT[1])), "{gap}");
    all[1].connect().publish(&channel(1), "again");
    assert_eq!(page.text(), format!("message broadcast {} -\nagain", AT[1]));
}

/// One of two is found by sentinels, which decide for another when its master is killed.
#[test]
#[ignore = "needs redis-server"]
fn one_that_is_found_by_sentinels_moves_and_the_other_stays() {
    let (mut watched, fixed) = (Sentinels::start(), RedisServer::start());
    let urls = format!("{} {}", watched.url(), fixed.url());
    let server = Wsloop::start(&[&ARGS[..], &["--redis", &urls]].concat());
    server.expect_metric("broker_up", |up| up == 1);
    // Of two the first has news, and the second chat.
    let mut news = server.connect("news?subscribe-broadcast");
    let mut chat = server.connect("chat?subscribe-broadcast");
    let (before, mut app) = (watched.sentinels[0].master(), fixed.connect());
    assert_eq!(watched.at(before).connect().publish("broadcast:news", "before"), 1);
    news.expect(&["before"]);
    watched.redis[0].0.kill();
    let mut number = 0;
    let after = eventually("the sentinels decide", || {
        number += 1;
        assert_eq!(app.publish("broadcast:chat", number.to_string()), 1);
        chat.expect(&[&number.to_string()]);
        Some(watched.sentinels[0].master()).filter(|port| *port != before)
    });
    server.expect_metric("broker_up", |up| up == 1);
    assert_eq!(watched.at(after).connect().publish("broadcast:news", "after"), 1);
    news.expect(&["after"]);
    assert_eq!(app.publish("broadcast:chat", "last"), 1);
    chat.expect(&["last"]);
    assert!(number > 1 && server.metric("conns_open") >= 2);
}
