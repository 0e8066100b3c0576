//! Streams of topics, which go on where they were cut off, with both brokers and through curl.

use std::io::BufRead;
use std::net::{SocketAddr, TcpStream};

use super::curl;
use crate::support::client::{Response, tcp};
use crate::support::redis::RedisServer;
use crate::support::stream::EventStream;
use crate::support::{PATIENCE, Wsloop, eventually};
use wsloop::proto::topics::Vector;

const TARGET: &str = "/ws/?topic=broadcast+chat/1&topic=broadcast+news";
const ARGS: [&str; 4] = ["--allow", "all", "--history", "chat/*=5/300"];

fn post(address: SocketAddr, facility: &str, body: &[u8]) {
    use std::io::Write;
    let mut stream: TcpStream = tcp(address);
    let length = body.len();
    let head = format!(
        "POST /ws/{facility}?publish-broadcast HTTP/1.1\r\nHost: {address}\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it is taken");
    stream.write_all(body).expect("it is taken");
    assert_eq!(Response::next(&mut stream).status, 202);
}

/// What a stream says up to the last of its answers.
fn open(address: SocketAddr, last_id: &str) -> (EventStream, Vec<String>) {
    let mut stream = EventStream::open(address, TARGET, last_id);
    let welcome = stream.text();
    assert!(welcome.starts_with("welcome subscriptions=1000 commands=64 "), "{welcome}");
    let (mut said, mut answers) = (Vec::new(), 0);
    while answers < 2 {
        match stream.text() {
            text if text.starts_with("ok ") => answers += 1,
            text => said.push(text),
        }
    }
    (stream, said)
}

/// The payload of the next message.
fn message(stream: &mut EventStream) -> String {
    let text = stream.text();
    let (header, payload) = text.split_once('\n').unwrap_or_else(|| panic!("{text:?}"));
    assert!(header.starts_with("message broadcast "), "{text:?}");
    payload.to_owned()
}

/// What holds with either broker.
fn go(server: &Wsloop) {
    let address = server.address();
    let (mut john, said) = open(address, "");
    assert_eq!(said.len(), 2, "{said:?}");
    for text in ["one", "two\nlines", "three"] {
        post(address, "chat/1", text.as_bytes());
        assert_eq!(message(&mut john), text);
    }
    post(address, "news", b"is not kept");
    assert_eq!(message(&mut john), "is not kept");
    let last = john.last_id.clone();
    assert!(last.starts_with("b chat/1 ") && last.split(' ').count() == 3, "{last}");
    // He is cut off.
    drop(john);
    for text in ["four", "five"] {
        post(address, "chat/1", text.as_bytes());
    }
    let (mut john, said) = open(address, &last);
    let payload = |text: &String| text.split_once('\n').map(|(_, payload)| payload.to_owned());
    let missed: Vec<String> = said.iter().filter_map(payload).collect();
    assert_eq!(missed, ["four", "five", "is not kept"], "the last one is stored");
    post(address, "chat/1", b"six");
    assert_eq!(message(&mut john), "six");
    // What is binary, or has a CR, comes whole.
    post(address, "chat/1", b"\xff\0");
    post(address, "chat/1", b"a\rb");
    for (name, payload) in [("binary", &b"\xff\0"[..]), ("text", b"a\rb")] {
        let (known, data) = john.next_within(PATIENCE).expect("an event");
        assert!(data.starts_with(b"message broadcast chat/1 ") && data.ends_with(payload));
        assert_eq!(known, name);
    }
    // Too much was missed.
    for n in 0..6 {
        post(address, "chat/1", n.to_string().as_bytes());
    }
    let (_mary, said) = open(address, &last);
    let gap = said.iter().position(|text| text.starts_with("gap broadcast chat/1 "));
    let gap = gap.unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(said[gap + 1], "stored broadcast chat/1 -\n5");
    assert_eq!((server.metric("streams"), server.metric("resumed_total")), (2, 1));
}

#[test]
fn whoever_was_cut_off_goes_on_with_the_embedded_broker() {
    let server = Wsloop::start(&[&ARGS[..], &["--resp", "off"]].concat());
    go(&server);
    eventually("the last to be gone", || (server.metric("subscriptions") == 0).then_some(()));
}

#[test]
#[ignore = "needs redis-server"]
fn whoever_was_cut_off_goes_on_with_redis() {
    let redis = RedisServer::start();
    let server = Wsloop::start(&[&ARGS[..], &["--redis", &redis.url()]].concat());
    server.expect_metric("broker_up", |up| up == 1);
    go(&server);
    eventually("the last to be gone", || (server.metric("subscriptions") == 0).then_some(()));
    assert_eq!(redis.connect().channels(), [""; 0]);
}

/// The stream of one facility goes on as well, through either of two processes.
fn go_on(servers: &[&Wsloop; 2]) {
    let target = "/ws/chat/1?subscribe-broadcast";
    let mut stream = EventStream::open(servers[0].address(), target, "");
    post(servers[0].address(), "chat/1", b"one");
    assert_eq!(stream.text(), "one");
    let last = stream.last_id.clone();
    drop(stream);
    post(servers[1].address(), "chat/1", b"two");
    post(servers[0].address(), "chat/1", b"three");
    let mut stream = EventStream::open(servers[1].address(), target, &last);
    assert_eq!([stream.text(), stream.text()], ["two", "three"]);
    post(servers[0].address(), "chat/1", b"four");
    assert_eq!(stream.text(), "four");
    for n in 0..6 {
        post(servers[1].address(), "chat/1", n.to_string().as_bytes());
    }
    let mut stream = EventStream::open(servers[0].address(), target, &last);
    let (name, data) = stream.next_within(PATIENCE).expect("an event");
    assert_eq!((&*name, &*data), ("gap", &b"broadcast chat/1"[..]));
    assert_eq!(stream.text(), "5", "what is stored");
}

#[test]
fn a_stream_of_one_facility_goes_on_with_the_embedded_broker() {
    let server = Wsloop::start(&[&ARGS[..], &["--resp", "off"]].concat());
    go_on(&[&server, &server]);
}

#[test]
#[ignore = "needs redis-server"]
fn a_stream_of_one_facility_goes_on_with_redis_through_either_of_two() {
    let redis = RedisServer::start();
    let servers = [0, 1].map(|_| Wsloop::start(&[&ARGS[..], &["--redis", &redis.url()]].concat()));
    servers.iter().for_each(|server| server.expect_metric("broker_up", |up| up == 1));
    go_on(&[&servers[0], &servers[1]]);
}

#[test]
#[ignore = "needs curl"]
fn curl_hears_topics_and_goes_on() {
    let server = Wsloop::start(&ARGS);
    let url = format!("http://{}{TARGET}", server.address());
    let accept = ["-H", "Accept: text/event-stream"];
    let (listener, mut lines) = curl(&[&accept[..], &[&url]].concat());
    let mut next = |begin: &str| loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).expect("a line") > 0, "it has ended before {begin:?}");
        if line.starts_with(begin) {
            return line.trim_end().to_owned();
        }
    };
    next("data: ok 2");
    post(server.address(), "chat/1", b"hello");
    let id = next("id: b chat/1 ");
    let stands = Vector::parse(id.trim_start_matches("id: ")).expect("an id");
    let (pair, position) = stands.iter().next().expect("a channel");
    assert_eq!(next("data: message"), format!("data: message {pair} {position}"));
    assert_eq!(next("data: "), "data: hello");
    drop(listener);
    post(server.address(), "chat/1", b"meanwhile");
    let last = id.replace("id: ", "Last-Event-ID: ");
    let (_listener, mut lines) = curl(&[&accept[..], &["-H", &last, &url]].concat());
    let mut said = String::new();
    while !said.contains("data: ok 2") {
        assert!(lines.read_line(&mut said).expect("a line") > 0, "it has ended: {said}");
    }
    assert!(said.contains("data: meanwhile") && !said.contains("data: hello"), "{said}");
}
