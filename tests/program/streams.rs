//! Streams of server-sent events and POST over real sockets, and through curl.

mod topics;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::support::client::{Response, tcp};
use crate::support::redis::{RedisServer, Value};
use crate::support::{Process, Wsloop, eventually};

const HEARS: &str = "/ws/news?subscribe-broadcast";
const SPEAKS: &str = "/ws/news?publish-broadcast";
const CHANNEL: &str = "broadcast:news";

/// One stream, and what has come of it.
struct Stream {
    lines: BufReader<TcpStream>,
    head: Response,
}

impl Stream {
    fn open(server: &Wsloop, version: &str) -> Stream {
        let mut stream = tcp(server.address());
        let host = server.address();
        let request = format!(
            "GET {HEARS} HTTP/{version}\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it is taken");
        let (head, rest) = Response::read_head(&mut stream);
        assert_eq!(rest, b"", "nothing is published yet");
        Stream { lines: BufReader::new(stream), head }
    }

    /// The lines of the next event.
    fn event(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(
                self.lines.read_line(&mut line).expect("a line") > 0,
                "it has ended: {lines:?}"
            );
            match line.trim_end_matches('\n') {
                "" => return lines,
                line => lines.push(line.to_owned()),
            }
        }
    }
}

/// Publishes by a connection that may be used again.
fn post(stream: &mut TcpStream, host: &str, body: &str) -> u16 {
    let length = body.len();
    let request =
        format!("POST {SPEAKS} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("it is taken");
    Response::next(stream).status
}

fn up_and_down(args: &[&str]) {
    let server = Wsloop::start(&[args, &["--allow", "all"]].concat());
    server.expect_metric("broker_up", |up| up == 1);
    let host = server.address().to_string();
    let mut streams = ["1.1", "1.0"].map(|version| Stream::open(&server, version));
    let mut socket = server.connect("news?subscribe-broadcast&publish-broadcast");
    assert_eq!(streams[0].head.status, 200);
    assert_eq!(streams[0].head.header("content-type"), Some("text/event-stream"));
    let mut speaker = tcp(server.address());
    for n in 0..50 {
        assert_eq!(post(&mut speaker, &host, &format!("number {n}\nof 50")), 202);
    }
    for n in 0..50 {
        let lines = [format!("data: number {n}"), "data: of 50".to_owned()];
        streams.iter_mut().for_each(|stream| assert_eq!(stream.event(), lines));
        assert_eq!(socket.text(), format!("number {n}\nof 50"));
    }
    socket.send_binary(b"\xff");
    socket.send("a\rb");
    for stream in &mut streams {
        assert_eq!(stream.event(), ["event: binary", "data: /w=="]);
        assert_eq!(stream.event(), ["event: text", "data: YQ1i"]);
    }
    assert_eq!(server.metric("streams"), 2);
    assert_eq!(server.metric("posts_total"), 50);
    // A large one, which does not come in one piece.
    let large = "x".repeat(1 << 20);
    assert_eq!(post(&mut speaker, &host, &large), 202);
    for stream in &mut streams {
        assert_eq!(stream.event(), [format!("data: {large}")]);
    }
    assert_eq!(post(&mut speaker, &host, &format!("{large}x")), 413);
    let [first, mut second] = streams;
    drop(first);
    server.expect_metric("streams", |streams| streams == 1);
    server.process().signal("TERM");
    let last = second.event();
    assert!(last[0].starts_with("retry: "), "{last:?}");
    assert_eq!(last[1..], ["event: close", "data: 1001 the server is shutting down"]);
    let mut rest = Vec::new();
    second.lines.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, b"");
}

#[test]
fn streams_and_posts_with_the_embedded_broker() {
    up_and_down(&[]);
}

#[test]
#[ignore = "needs redis-server"]
fn streams_and_posts_with_redis() {
    let redis = RedisServer::start();
    up_and_down(&["--redis", &redis.url()]);
    let stored = redis.connect().command(&["STRLEN", CHANNEL]);
    assert_eq!(stored, Value::Integer(1 << 20), "it is stored as other messages are");
}

#[test]
#[ignore = "needs redis-server"]
fn a_stream_goes_on_when_redis_was_away_and_a_post_says_so_meanwhile() {
    let mut redis = RedisServer::start();
    let args = ["--allow", "all", "--redis", &redis.url(), "--redis-timeout", "2"];
    let server = Wsloop::start(&args);
    server.expect_metric("broker_up", |up| up == 1);
    let host = server.address().to_string();
    let mut stream = Stream::open(&server, "1.1");
    redis.kill();
    server.expect_metric("broker_up", |up| up == 0);
    let status = post(&mut tcp(server.address()), &host, "nobody takes it");
    assert_eq!(status, 503);
    redis.revive(|_| {});
    server.expect_metric("broker_up", |up| up == 1);
    let taken = || (post(&mut tcp(server.address()), &host, "here again") == 202).then_some(());
    eventually("a broker that takes messages", taken);
    assert_eq!(stream.event(), ["data: here again"]);
}

/// Starts curl; what it prints comes as it does.
fn curl(args: &[&str]) -> (Process, BufReader<std::process::ChildStdout>) {
    let mut command = Command::new("curl");
    command.args(["-sS", "-N", "--noproxy", "*"]).args(args).stdout(Stdio::piped());
    let mut process = Process::spawn(&mut command);
    let lines = BufReader::new(process.stdout());
    (process, lines)
}

#[test]
#[ignore = "needs curl"]
fn curl_hears_and_publishes() {
    let server = Wsloop::start(&["--allow", "all"]);
    let url = format!("http://{}/ws/news", server.address());
    let hears = format!("{url}?subscribe-broadcast");
    let (_listener, mut lines) = curl(&["-H", "Accept: text/event-stream", &hears]);
    server.expect_metric("streams", |streams| streams == 1);
    let speaks = format!("{url}?publish-broadcast");
    for (args, status) in [
        (&["--data-binary", "hello"][..], "202"),
        (&["-H", "Transfer-Encoding: chunked", "--data-binary", "in chunks"], "202"),
        (&["-H", "Expect: 100-continue", "--data-binary", "when told to"], "202"),
        (&["-H", "Cookie: a=b", "--data-binary", "whose?"], "403"),
        (&["-H", "Origin: https://evil.example", "--data-binary", "evil"], "403"),
    ] {
        let what = [&["-o", "/dev/null", "-w", "%{http_code}"], args, &[&speaks]].concat();
        let (_process, mut said) = curl(&what);
        let mut code = String::new();
        said.read_to_string(&mut code).expect("text");
        assert_eq!(code, status, "{args:?}");
    }
    for text in ["hello", "in chunks", "when told to"] {
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        assert_eq!(line, format!("data: {text}\n"));
        lines.read_line(&mut line).expect("a line");
    }
}
