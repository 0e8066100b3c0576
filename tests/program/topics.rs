//! `wsloop.1` with a real Redis, and with the embedded broker of the program.

use std::net::SocketAddr;

use crate::support::client::{Client, Event, upgrade};
use crate::support::redis::{RedisClient, RedisServer};
use crate::support::{Wsloop, eventually};

const CHANNEL: &str = "broadcast:chat/1";
const ARGS: [&str; 4] = ["--allow", "all", "--history", "chat/*=5/300"];

fn open(address: SocketAddr) -> Client {
    let request = upgrade("", address, "Sec-WebSocket-Protocol: wsloop.1\r\n");
    let mut client = Client::open(address, &request).expect("a 101");
    assert_eq!(client.response.header("sec-websocket-protocol"), Some("wsloop.1"));
    let welcome = client.text();
    assert!(welcome.starts_with("welcome subscriptions=1000 commands=64 "), "{welcome}");
    client
}

/// Hears the channel behind that position, if one is given; what is said up to the `ok`.
fn subscribe(client: &mut Client, since: &str) -> Vec<String> {
    let since = if since.is_empty() { String::new() } else { format!(" broadcast {since}") };
    client.send(&format!("subscribe 1 broadcast chat/1{since}"));
    let mut said = Vec::new();
    loop {
        match client.text() {
            text if text == "ok 1" => return said,
            text => said.push(text),
        }
    }
}

/// The position and the payload of the next message.
fn message(client: &mut Client) -> (String, String) {
    let text = client.text();
    split(&text)
}

fn split(text: &str) -> (String, String) {
    let (header, payload) = text.split_once('\n').unwrap_or((text, ""));
    let position = header.strip_prefix("message broadcast chat/1 ");
    (position.unwrap_or_else(|| panic!("{text:?}")).to_owned(), payload.to_owned())
}

/// Says something, which comes back, and is answered; where it stands.
fn publish(client: &mut Client, text: &str) -> String {
    client.send(&format!("publish 2 broadcast chat/1\n{text}"));
    let mut said = [client.text(), client.text()];
    said.sort();
    assert_eq!(said[1], "ok 2", "{said:?}");
    let (position, payload) = split(&said[0]);
    assert_eq!(payload, text);
    position
}

/// What holds with either broker.
fn go(address: SocketAddr, mut publish_plain: impl FnMut(&str)) {
    let mut john = open(address);
    let said = subscribe(&mut john, "");
    assert_eq!(said.len(), 1, "{said:?}");
    let begin = said[0].strip_prefix("subscribed broadcast chat/1 @").expect("a time").to_owned();
    let positions: Vec<String> =
        ["one", "two", "three"].into_iter().map(|text| publish(&mut john, text)).collect();
    assert!(positions.iter().all(|position| position.contains('-') && position != "-"));
    // Who was away since two gets three, and who was since the beginning all of them.
    let mut mary = open(address);
    let said = subscribe(&mut mary, &positions[1]);
    assert_eq!(said[0], format!("subscribed broadcast chat/1 {}", positions[1]));
    assert_eq!(split(&said[1]), (positions[2].clone(), "three".to_owned()));
    assert_eq!(said.len(), 2, "{said:?}");
    let mut anne = open(address);
    let said = subscribe(&mut anne, &format!("@{begin}"));
    let payloads: Vec<String> = said[1..].iter().map(|text| split(text).1).collect();
    assert_eq!(payloads, ["one", "two", "three"]);
    // Live, for all.
    publish_plain("plain");
    for client in [&mut john, &mut mary, &mut anne] {
        assert_eq!(message(client).1, "plain");
    }
    // What was trimmed is a gap, and then the stored message comes.
    for n in 0..6 {
        publish(&mut john, &n.to_string());
    }
    let mut late = open(address);
    let said = subscribe(&mut late, &positions[0]);
    assert!(said[1].starts_with("gap broadcast chat/1 "), "{said:?}");
    assert_eq!(said[2], "stored broadcast chat/1 -\n5");
    // Binary goes both ways.
    late.send_binary(b"publish 3 broadcast chat/2\n\xff\0");
    assert_eq!(late.text(), "ok 3");
    late.send("subscribe 4 broadcast chat/2");
    assert!(late.text().starts_with("subscribed broadcast chat/2 "));
    assert_eq!(late.message(), Event::Binary(b"stored broadcast chat/2 -\n\xff\0".to_vec()));
    assert_eq!(late.text(), "ok 4");
    late.send("what?");
    late.expect_close(4400, "subscribe, unsubscribe, publish or ping");
}

#[test]
#[ignore = "needs redis-server"]
fn all_topics_of_a_page_come_by_one_websocket_with_redis() {
    let redis = RedisServer::start();
    let server = Wsloop::start(&[&ARGS[..], &["--redis", &redis.url()]].concat());
    server.expect_metric("broker_up", |up| up == 1);
    let mut app: RedisClient = redis.connect();
    go(server.address(), |text| assert_eq!(app.publish(CHANNEL, text), 1));
    eventually("the last to be gone", || (server.metric("subscriptions") == 0).then_some(()));
    assert_eq!(app.channels(), [""; 0]);
}

#[test]
fn all_topics_of_a_page_come_by_one_websocket_with_the_embedded_broker() {
    let server = Wsloop::start(&[&ARGS[..], &["--resp", "off"]].concat());
    let mut speaker = server.connect("chat/1?publish-broadcast");
    go(server.address(), |text| speaker.send(text));
    eventually("the last to be gone", || (server.metric("subscriptions") == 0).then_some(()));
}

#[test]
#[ignore = "needs redis-server"]
fn redis_goes_and_comes_and_nothing_is_missed_or_it_is_said() {
    let mut redis = RedisServer::start();
    let server = Wsloop::start(&[&ARGS[..], &["--redis", &redis.url()]].concat());
    server.expect_metric("broker_up", |up| up == 1);
    let mut client = open(server.address());
    subscribe(&mut client, "");
    publish(&mut client, "before");
    redis.kill();
    server.expect_metric("broker_up", |up| up == 0);
    // A Redis that has lost all has another life.
    redis.revive(|app| assert_eq!(app.publish(CHANNEL, "nobody is there"), 0));
    assert!(client.text().starts_with("gap broadcast chat/1 "));
    publish(&mut client, "after");
}

/// What is said of a channel that nobody has used before: by the answer to a publish, to who comes
/// back behind a time, and to who does so when Redis was told to trim.
fn probe(server: &Wsloop, app: &mut RedisClient, facility: &str) -> Vec<String> {
    let until_answered = |client: &mut Client, command: String| {
        client.send(&command);
        let mut said = Vec::new();
        loop {
            let text = client.text();
            // Whether a message comes before the answer is open; the rest has its order.
            let (verb, rest) = text.split_once(' ').expect("two words");
            match verb {
                "ok" | "refused" | "dropped" => said.push(format!("{verb} {rest}")),
                "subscribed" => said.push(rest.rsplit(' ').next().expect("a word").to_owned()),
                "gap" => said.push("gap".to_owned()),
                "message" if command.starts_with("subscribe") => {
                    said.push(format!("message {}", rest.contains('-')));
                }
                _ => {}
            }
            if matches!(verb, "ok" | "refused" | "dropped") {
                return said;
            }
        }
    };
    let subscribe = format!("subscribe 1 broadcast {facility}");
    let mut first = open(server.address());
    let mut said = until_answered(&mut first, subscribe.clone());
    let time = said.remove(0);
    for number in 2..4 {
        let text = format!("publish {number} broadcast {facility}\nhello");
        said.extend(until_answered(&mut first, text));
    }
    let resume = format!("{subscribe} broadcast {time}");
    said.extend(until_answered(&mut open(server.address()), resume.clone()).into_iter().skip(1));
    let stream = format!("wsloop:history:{{broadcast:{facility}}}");
    app.command(&[b"XTRIM", stream.as_bytes(), b"MAXLEN", b"1"]);
    said.extend(until_answered(&mut open(server.address()), resume).into_iter().skip(1));
    said.push(format!("{} errors", server.metric("broker_errors_total")));
    said
}

/// The rights that the book gives are enough, and each of those for histories is needed.
#[test]
#[ignore = "needs redis-server"]
fn a_user_of_redis_needs_these_rights_for_histories_and_no_others() {
    let page = include_str!("../../docs/src/operations.md");
    let (_, rest) = page.split_once("it needs the streams and its scripts as well: ").expect("it");
    let (list, _) = rest.split_once(". Without").expect("an end");
    let rights: Vec<&str> = list.split('`').filter(|word| word.starts_with('+')).collect();
    assert!(rights.len() > 8, "{list}");
    let redis = RedisServer::start();
    let mut app = redis.connect();
    let base = "ACL SETUSER wsloop on >a-secret ~broadcast:* &broadcast:* &wsloop:control +hello \
                +ping +select +role +subscribe +unsubscribe +publish +get +getrange +set \
                ~wsloop:history:{broadcast:*";
    let all = format!("{base} {}", rights.join(" "));
    let words: Vec<&[u8]> = all.split_whitespace().map(str::as_bytes).collect();
    app.command(&words);
    let url = redis.url().replace("redis+unix://", "redis+unix://wsloop:a-secret@");
    let server = Wsloop::start(&[&ARGS[..], &["--redis", &url]].concat());
    server.expect_metric("broker_up", |up| up == 1);
    let expected = probe(&server, &mut app, "chat/all");
    let good = ["ok 1", "ok 2", "ok 3", "message true", "message true", "ok 1", "gap", "ok 1"];
    assert_eq!(expected, [&good[..], &["0 errors"]].concat());
    for (number, right) in rights.iter().enumerate() {
        let without = right.replace('+', "-");
        app.command(&[&b"ACL"[..], b"SETUSER", b"wsloop", without.as_bytes()]);
        let errors = server.metric("broker_errors_total");
        let mut said = probe(&server, &mut app, &format!("chat/{number}"));
        said.pop();
        let errors = server.metric("broker_errors_total") - errors;
        assert!(said != good || errors > 0, "nothing is different without {right}");
        app.command(&[&b"ACL"[..], b"SETUSER", b"wsloop", right.as_bytes()]);
    }
}
