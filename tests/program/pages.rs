//! Who comes back and has missed more than one answer of the broker may have: it comes all, and in
//! order, at the speed at which the page reads.

use std::thread;
use std::time::Duration;

use crate::support::client::{Client, Event, upgrade};
use crate::support::redis::RedisServer;
use crate::support::stream::EventStream;
use crate::support::{PATIENCE, Wsloop};
use wsloop::{Expire, Publisher};

const HISTORY: &str = "chat/*=500/300";
const ARGS: [&str; 4] = ["--allow", "all", "--history", HISTORY];
/// 20 MiB, which is five times what may wait for a conn.
const LAST: u64 = 320;
const BYTES: usize = 64 << 10;
const ALL: &str = "/ws/?topic=broadcast+chat/1";
const ONE: &str = "/ws/chat/1?subscribe-broadcast";

fn socket(server: &Wsloop, since: &str) -> Client {
    let head = upgrade("", server.address(), "Sec-WebSocket-Protocol: wsloop.1\r\n");
    let mut client = Client::open(server.address(), &head).expect("a WebSocket");
    assert!(client.text().starts_with("welcome "));
    client.send(&format!("subscribe 1 broadcast chat/1{since}"));
    client
}

/// The number that a message begins with.
fn number(message: &str) -> u64 {
    message.split(' ').next().and_then(|word| word.parse().ok()).expect("a number")
}

/// What a socket hears, until the last number.
fn heard_by_socket(mut client: Client, pause: Duration) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.last() != Some(&LAST.to_string()) {
        match client.next_within(PATIENCE) {
            Some(Event::Text(text)) => heard.push(match text.split_once('\n') {
                Some((_, payload)) => number(payload).to_string(),
                None => {
                    assert!(!text.starts_with("refused"), "{text} behind {heard:?}");
                    text.split(' ').next().expect("a word").to_owned()
                }
            }),
            other => panic!("behind {heard:?}: {other:?}"),
        }
        thread::sleep(pause);
    }
    heard
}

/// The same of a stream.
fn heard_by_stream(mut stream: EventStream, is_one: bool, pause: Duration) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.last() != Some(&LAST.to_string()) {
        let Some((name, data)) = stream.next_within(PATIENCE) else {
            panic!("nothing behind {:?}", heard.last());
        };
        let text = String::from_utf8(data).expect("text");
        heard.push(match (text.split_once('\n'), &*name) {
            (Some((_, payload)), "") => number(payload).to_string(),
            (None, "") if is_one => number(&text).to_string(),
            (_, "") => text.split(' ').next().expect("a word").to_owned(),
            (_, name) => name.to_owned(),
        });
        thread::sleep(pause);
    }
    heard
}

/// All that is published between is there when they come back, fast or slow.
fn play(server: &Wsloop, url: &str) {
    let mut client = socket(server, "");
    let position = client.text();
    let position = position.strip_prefix("subscribed broadcast chat/1 ").expect("it is new");
    assert_eq!(client.text(), "ok 1");
    drop(client);
    let last_id = format!("broadcast chat/1 {position}");
    let mut publisher = Publisher::new(url).expect("a URL").history(HISTORY).expect("a rule");
    for number in 1..=LAST {
        let message = format!("{number} {}", "x".repeat(BYTES));
        publisher.to("chat/1").broadcast().publish(message, Expire::Unstored).expect("it is there");
    }
    let expected: Vec<String> = (1..=LAST).map(|number| number.to_string()).collect();
    thread::scope(|scope| {
        for pause in [Duration::ZERO, Duration::from_millis(5)] {
            let (expected, last_id, position) = (&expected, &last_id, &position);
            scope.spawn(move || {
                let mut heard =
                    heard_by_socket(socket(server, &format!(" broadcast {position}")), pause);
                assert_eq!(heard.remove(0), "subscribed");
                assert_eq!(heard, *expected);
            });
            for target in [ALL, ONE] {
                scope.spawn(move || {
                    let stream = EventStream::open(server.address(), target, last_id);
                    let mut heard = heard_by_stream(stream, target == ONE, pause);
                    heard.retain(|word| !["welcome", "subscribed"].contains(&&**word));
                    assert_eq!(heard, *expected);
                });
            }
        }
    });
}

#[test]
fn who_has_missed_much_has_it_all_from_the_embedded_broker() {
    let server = Wsloop::start(&[&ARGS[..], &["--resp", "127.0.0.1:0"]].concat());
    play(&server, &format!("redis://{}", server.resp_address()));
}

#[test]
#[ignore = "needs redis-server"]
fn who_has_missed_much_has_it_all_from_redis() {
    let redis = RedisServer::start();
    let url = redis.url();
    let server = Wsloop::start(&[&ARGS[..], &["--redis", &url]].concat());
    server.expect_metric("broker_up", |up| up == 1);
    play(&server, &url);
}
