//! Histories with a real Redis, and in the embedded broker of the program.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::client::{Client, upgrade};
use crate::support::redis::{RedisClient, RedisServer, Value};
use crate::support::{Wsloop, eventually};

const CHANNEL: &[u8] = b"broadcast:chat/1";
const STREAM: &[u8] = b"wsloop:history:{broadcast:chat/1}";
const TARGET: &str = "chat/1?subscribe-broadcast&publish-broadcast&echo";
const ARGS: [&str; 4] = ["--allow", "all", "--history", "chat/*=3/300"];

fn relay(redis: &RedisServer) -> Wsloop {
    let server = Wsloop::start(&[&ARGS[..], &["--redis", &redis.url()]].concat());
    server.expect_metric("broker_up", |up| up == 1);
    server
}

fn ask(app: &mut RedisClient, command: &[&[u8]]) -> Value {
    app.command(command)
}

/// The messages of the history, the oldest first.
fn kept(redis: &RedisServer) -> Vec<String> {
    let Value::Array(entries) = ask(&mut redis.connect(), &[b"XRANGE", STREAM, b"-", b"+"]) else {
        panic!("XRANGE is answered with entries");
    };
    let message = |entry: Value| match entry {
        Value::Array(parts) => match &parts[1] {
            Value::Array(fields) => match &fields[1] {
                Value::Bulk(text) => String::from_utf8(text.clone()).expect("a text"),
                field => panic!("{field:?}"),
            },
            fields => panic!("{fields:?}"),
        },
        entry => panic!("{entry:?}"),
    };
    entries.into_iter().map(message).collect()
}

fn say(browser: &mut Client, texts: &[&str]) {
    texts.iter().for_each(|text| browser.send(text));
    browser.expect(texts);
}

#[test]
#[ignore = "needs redis-server"]
fn redis_keeps_what_browsers_publish_and_others_hear_it_alone() {
    let redis = RedisServer::start();
    let server = relay(&redis);
    let mut browser = server.connect(TARGET);
    let mut app = redis.connect();
    say(&mut browser, &["one", "two"]);
    assert_eq!(kept(&redis), ["one", "two"]);
    assert_eq!(app.publish("broadcast:chat/1", "plain"), 1);
    browser.expect(&["plain"]);
    app.pipeline(&[
        vec![b"MULTI"],
        vec![b"XADD", STREAM, b"MAXLEN", b"=", b"3", b"*", b"message", b"three"],
        vec![b"PEXPIRE", STREAM, b"300000"],
        vec![b"PUBLISH", CHANNEL, b"three"],
        vec![b"EXEC"],
    ]);
    browser.expect(&["three"]);
    say(&mut browser, &["four"]);
    assert_eq!(kept(&redis), ["two", "three", "four"], "a plain PUBLISH is in no history");
    let Value::Integer(ms) = ask(&mut app, &[b"PTTL", STREAM]) else { panic!("PTTL is a number") };
    assert!((200_000..=300_000).contains(&ms), "{ms}");
    let mut elsewhere = server.connect("news?subscribe-broadcast&publish-broadcast&echo");
    say(&mut elsewhere, &["hello"]);
    assert_eq!(ask(&mut app, &[b"EXISTS", b"wsloop:history:{broadcast:news}"]), Value::Integer(0));
}

/// What is in the way is said in the log, and the messages come all the same.
#[test]
#[ignore = "needs redis-server"]
fn what_redis_does_not_keep_is_heard_and_said() {
    let redis = RedisServer::start();
    let server = relay(&redis);
    let mut browser = server.connect(TARGET);
    let mut app = redis.connect();
    ask(&mut app, &[b"SET", STREAM, b"in the way"]);
    say(&mut browser, &["one", "two"]);
    // The place was asked for when it came, and is when there is something new.
    server.expect_metric("broker_errors_total", |errors| errors >= 2);
    ask(&mut app, &[b"DEL", STREAM]);
    say(&mut browser, &["three"]);
    assert_eq!(kept(&redis), ["three"]);
    for line in ["does not keep it in the history of its channel: WRONGTYPE", "histories again"] {
        eventually(line, || server.log().contains(line).then_some(()));
    }
}

/// The rights that the book gives.
#[test]
#[ignore = "needs redis-server"]
fn a_user_of_redis_with_these_rights_keeps_what_browsers_publish() {
    let redis = RedisServer::start();
    let mut app = redis.connect();
    let rights = "SETUSER wsloop on >a-secret ~broadcast:* &broadcast:* &wsloop:control +hello \
                  +ping +select +role +subscribe +unsubscribe +publish +get +getrange +set \
                  ~wsloop:history:{broadcast:* +eval +xadd +pexpire +xrange +xrevrange +xlen +time \
                  +info +xinfo|stream";
    let rights: Vec<&[u8]> = rights.split(' ').map(str::as_bytes).collect();
    ask(&mut app, &[&[&b"ACL"[..]][..], &rights].concat());
    let url = redis.url().replace("redis+unix://", "redis+unix://wsloop:a-secret@");
    let server = Wsloop::start(&[&ARGS[..], &["--redis", &url]].concat());
    server.expect_metric("broker_up", |up| up == 1);
    say(&mut server.connect(TARGET), &["one", "two"]);
    assert_eq!(kept(&redis), ["one", "two"]);
    server.expect_metric("broker_errors_total", |errors| errors == 0);
}

#[test]
fn a_channel_that_can_have_no_history_is_named_once() {
    let server = Wsloop::start(&ARGS);
    let mut browser = server.connect("chat/%7B1%7D?subscribe-broadcast&publish-broadcast&echo");
    server.connect("chat/%7B2%7D?subscribe-broadcast");
    say(&mut browser, &["one"]);
    // A line may come later than what it is about.
    let said = || server.log().matches("has no history, as its name has a brace in it").count();
    eventually("a line about it", || (said() > 0).then_some(()));
    assert_eq!(said(), 1, "{}", server.log());
}

#[test]
fn who_only_publishes_to_such_a_channel_is_told_in_the_log_too() {
    for way in ["a WebSocket", "a WebSocket for all topics", "a POST"] {
        let server = Wsloop::start(&ARGS);
        match way {
            "a WebSocket" => server.connect("chat/%7B1%7D?publish-broadcast").send("one"),
            "a WebSocket for all topics" => {
                let address = server.address();
                let head = "Sec-WebSocket-Protocol: wsloop.1\r\n";
                let mut client = Client::open(address, &upgrade("", address, head)).expect("a 101");
                client.text();
                client.send("publish 1 broadcast chat/{1}\none");
                assert_eq!(client.text(), "ok 1");
            }
            _ => {
                let post = "POST /ws/chat/%7B1%7D?publish-broadcast HTTP/1.1\r\nHost: localhost\r\n\
                            Connection: close\r\nContent-Length: 3\r\n\r\none";
                let mut stream = TcpStream::connect(server.address()).expect("a link");
                stream.write_all(post.as_bytes()).expect("it is taken");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("an answer");
                assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
            }
        }
        let line = "has no history, as its name has a brace in it";
        eventually(way, || server.log().contains(line).then_some(()));
    }
}

/// Redis cuts wsloop's link, and what is published before wsloop is back comes all the same.
#[test]
#[ignore = "needs redis-server"]
fn what_redis_has_while_wsloop_is_away_is_read_and_handed_on() {
    let redis = RedisServer::start();
    let server =
        Wsloop::start(&["--allow", "all", "--history", "chat/*=300/300", "--redis", &redis.url()]);
    server.expect_metric("broker_up", |up| up == 1);
    let mut browsers: Vec<Client> = (0..3).map(|_| server.connect(TARGET)).collect();
    let mut app = redis.connect();
    // It knows where it stands, though the channel is empty.
    eventually("wsloop has asked", || match app.command(&["INFO", "commandstats"]) {
        Value::Bulk(text) => String::from_utf8_lossy(&text).contains("cmdstat_eval:").then_some(()),
        other => panic!("{other:?}"),
    });
    let mut expected = Vec::new();
    for round in 0..5 {
        let texts: Vec<String> = (0..10).map(|n| format!("{round} {n}")).collect();
        let mut commands: Vec<Vec<&[u8]>> = Vec::new();
        for (n, text) in texts.iter().enumerate() {
            if n == [0, 5][round.min(1)] {
                commands.push(vec![b"CLIENT", b"KILL", b"TYPE", b"pubsub"]);
            }
            let text = text.as_bytes();
            commands.push(vec![b"MULTI"]);
            commands.push(vec![b"XADD", STREAM, b"MAXLEN", b"300", b"*", b"message", text]);
            commands.push(vec![b"PEXPIRE", STREAM, b"300000"]);
            commands.push(vec![b"PUBLISH", CHANNEL, text]);
            commands.push(vec![b"EXEC"]);
        }
        app.pipeline(&commands);
        expected.extend(texts);
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        browsers.iter_mut().for_each(|browser| browser.expect(&expected[round * 10..]));
    }
    server.expect_metric("missed_total", |missed| missed >= 10 + 4 * 5);
    server.expect_metric("broker_errors_total", |errors| errors == 0);
}
