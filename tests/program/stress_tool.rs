//! The load tool as a program: what it says of a server that does everything right, of one that
//! does not, and of what it cannot be asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::redis::RedisServer;
use crate::support::{Wsloop, free_port};
use wsloop::proto::http;
use wsloop::proto::ws::frame::{self, Opcode, Role};
use wsloop::proto::ws::message::{Event, Limits, Reader};
use wsloop::proto::ws::upgrade;

fn stress(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    command.env_clear().arg("stress").args(args).output().expect("the program runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The JSON of a run that ends with this exit status.
#[track_caller]
fn report(args: &[&str], status: i32) -> Json {
    let output = stress(&[args, &["--json", "--settle=0.01"]].concat());
    assert_eq!(output.status.code(), Some(status), "{args:?}: {}", stderr(&output));
    Json::parse(&String::from_utf8(output.stdout).expect("UTF-8"))
}

/// A URL of the server.
fn url(address: SocketAddr, path: &str) -> String {
    format!("ws://{address}{path}")
}

#[test]
fn fanout_over_the_embedded_broker_loses_nothing_and_measures_the_server() {
    let server = Wsloop::start(&["--allow", "all"]);
    let pid = server.process().id().to_string();
    let url = url(server.address(), "/ws/foo");
    let args = [&url, "--clients=50", "--messages=40", "--window=4", "--size=200", "--pid", &pid];
    // A second run finds the last message of the first one stored, which is none of its own.
    for _ in 0..2 {
        let json = report(&args, 0);
        for (name, number) in [
            ("clients", 50.0),
            ("connected", 50.0),
            ("messages", 40.0),
            ("size", 200.0),
            ("window", 4.0),
            ("deliveries", 2000.0),
            ("lost", 0.0),
            ("duplicated", 0.0),
            ("reordered", 0.0),
            ("corrupt", 0.0),
        ] {
            assert_eq!(json.number(name), number, "{name}");
        }
        assert_eq!(json.text("mode"), "fanout");
        assert_eq!(json.text("url"), format!("{url}?subscribe-broadcast"));
        for histogram in ["connect.ms", "latency_ms", "last_ms"] {
            let at = |name: &str| json.number(&format!("{histogram}.{name}"));
            assert!(at("p50") > 0.0 && at("p50") <= at("p99") && at("p999") <= at("max"));
        }
        assert!(json.number("server.handshake_cpu_us") > 0.0);
        assert!(json.number("server.delivery_cpu_us") > 0.0);
        assert!(json.number("server.private_bytes.after") > 100_000.0);
        assert!(json.number("deliveries_per_s") > 0.0);
        assert!(json.is_null("probe") && json.is_null("failure"));
    }
    server.expect_metric("conns", |count| count <= 1);
}

#[test]
fn a_probe_is_reported_apart_and_a_rate_is_kept() {
    let server = Wsloop::start(&["--allow", "all"]);
    let [main, quiet] = ["/ws/foo", "/ws/quiet"].map(|path| url(server.address(), path));
    let args = ["--clients=5", "--messages=30", "--rate=100", "--probe", &quiet];
    let json = report(&[&[&main, "--probe-interval=10"], &args[..]].concat(), 0);
    assert!(json.number("seconds") >= 0.29, "{}", json.number("seconds"));
    assert!(json.number("probe.messages") >= 2.0);
    assert!(json.number("probe.latency_ms.p50") > 0.0);
    assert_eq!((json.number("probe.lost"), json.number("deliveries")), (0.0, 150.0));
}

#[test]
#[ignore = "needs redis-server"]
fn fanout_over_redis_loses_nothing() {
    let (redis, port) = RedisServer::start_on_tcp();
    let server = Wsloop::start(&["--redis", &redis.url()]);
    let [main, quiet] = ["/ws/foo", "/ws/quiet"].map(|path| url(server.address(), path));
    for redis in [redis.url(), format!("redis://127.0.0.1:{port}")] {
        let args = ["--clients=50", "--messages=40", "--window=8", "--redis", &redis];
        let json = report(&[&[&*main, "--probe", &quiet], &args[..]].concat(), 0);
        assert_eq!((json.number("deliveries"), json.number("lost")), (2000.0, 0.0));
        assert!(json.number("probe.messages") >= 1.0);
    }
    let password = format!("redis://:hush@127.0.0.1:{port}");
    let output = stress(&[&main, "--redis", &password, "--clients=1"]);
    let line = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.starts_with("wsloop: Redis: ") && !line.contains("hush"), "{line}");
}

#[test]
#[ignore = "needs redis-server"]
fn each_client_can_have_a_channel_of_its_own() {
    let (redis, _) = RedisServer::start_on_tcp();
    let server = Wsloop::start(&["--redis", &redis.url(), "--allow=all"]);
    let own = url(server.address(), "/ws/own-{n}");
    let args = [&*own, "--redis", &redis.url(), "--clients=30", "--messages=100", "--window=8"];
    let json = report(&args, 0);
    assert_eq!((json.number("deliveries"), json.number("lost")), (100.0, 0.0));
    // Through Redis to whoever said it, in rooms that are nobody else's.
    let room = "/ws/room-{n}?subscribe-broadcast&publish-broadcast&echo";
    let room = url(server.address(), room);
    let json = report(&[&room, "--mode=echo", "--clients=5", "--messages=20", "--window=4"], 0);
    assert_eq!((json.number("deliveries"), json.number("corrupt")), (100.0, 0.0));
    server.expect_metric("publishes_total", |count| count == 100);
}

#[test]
fn echoes_come_back() {
    let server = Wsloop::start(&["--echo", "/echo"]);
    let url = url(server.address(), "/echo");
    // Larger than what is read at a time, so that messages come in pieces.
    for size in ["64", "100KiB"] {
        let size = format!("--size={size}");
        let args = [&*url, "--mode=echo", "--clients=10", "--messages=20", "--window=3", &size];
        let json = report(&args, 0);
        assert_eq!((json.number("deliveries"), json.number("lost")), (200.0, 0.0));
        assert!(json.number("latency_ms.p50") > 0.0 && json.is_null("last_ms"));
    }
}

#[test]
fn idle_conns_are_only_there_and_pings_are_answered() {
    let server = Wsloop::start(&["--ping-interval=0.05", "--pong-timeout=0.2"]);
    let pid = server.process().id().to_string();
    let url = url(server.address(), "/ws/foo");
    let args = [&url, "--mode=idle", "--clients=20", "--duration=0.6", "--pid", &pid];
    let json = report(&args, 0);
    assert_eq!(json.number("connected"), 20.0);
    assert!(json.number("seconds") >= 0.6);
    assert!(json.number("server.idle_cpu_percent") > 0.0);
    assert!(json.is_null("messages") && json.is_null("latency_ms"));
}

#[test]
fn churn_comes_and_goes() {
    let server = Wsloop::start(&[]);
    let pid = server.process().id().to_string();
    let url = url(server.address(), "/ws/foo");
    let args = [&url, "--mode=churn", "--clients=8", "--duration=0.4", "--pid", &pid];
    let json = report(&args, 0);
    assert!(json.number("connected") > 8.0, "{}", json.number("connected"));
    assert!(json.number("connect.per_s") > 0.0);
    assert!(json.number("server.handshake_cpu_us") > 0.0);
    assert!(json.is_null("server.private_bytes.connected"));
    server.expect_metric("conns", |count| count <= 1);
}

#[test]
fn a_table_is_for_people() {
    let server = Wsloop::start(&["--allow", "all"]);
    let pid = server.process().id().to_string();
    let url = url(server.address(), "/ws/foo");
    let args = [&url, "--clients=5", "--messages=3", "--settle=0.01", "--pid", &pid];
    let output = stress(&args);
    let table = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "", "no bar where there is no terminal");
    for words in ["5 of 5", "15 in", " ms", " µs per delivery", " bytes per conn", "nothing lost"]
    {
        assert!(table.contains(words), "{words}: {table}");
    }
}

#[test]
fn what_a_server_does_wrong_is_counted_and_a_failure() {
    // The fault, and what is then lost, duplicated, reordered and corrupt.
    for (fault, expected) in [
        (Fault::None, [0.0, 0.0, 0.0, 0.0]),
        (Fault::Drop, [1.0, 0.0, 0.0, 0.0]),
        (Fault::Duplicate, [0.0, 1.0, 0.0, 0.0]),
        (Fault::Swap, [0.0, 0.0, 1.0, 0.0]),
        (Fault::Spoil, [1.0, 0.0, 0.0, 1.0]),
    ] {
        let address = faulty(fault);
        let fanout = url(address, "/ws/foo?hear");
        let publish = url(address, "/ws/foo?publish");
        let echo = url(address, "/ws/foo?echo");
        let status = if fault == Fault::None { 0 } else { 1 };
        let common = ["--messages=10", "--window=4", "--timeout=10"];
        let runs: [&[&str]; 2] = [
            &[&fanout, "--publish", &publish, "--clients=3"],
            &[&echo, "--mode=echo", "--clients=1"],
        ];
        for run in runs {
            let json = report(&[run, &common].concat(), status);
            let names = ["lost", "duplicated", "reordered", "corrupt"];
            assert_eq!(names.map(|name| json.number(name)), expected, "{fault:?} {run:?}");
        }
    }
}

/// With a window of one nothing comes after a message that is lost.
#[test]
fn a_run_that_gets_no_further_is_given_up() {
    let address = faulty(Fault::Drop);
    let (hear, publish) = (url(address, "/ws/foo?hear"), url(address, "/ws/foo?publish"));
    let args = [&hear, "--publish", &publish, "--clients=3", "--messages=10", "--timeout=0.3"];
    let json = report(&args, 1);
    assert_eq!(json.text("failure"), "nothing arrived for 0.3 s");
    assert_eq!((json.number("lost"), json.number("deliveries")), (1.0, 11.0));
}

#[test]
fn where_nobody_may_publish_that_is_hinted_at() {
    let server = Wsloop::start(&["--allow=subscribe-broadcast"]);
    let url = url(server.address(), "/ws/a");
    let json = report(&[&url, "--clients=2", "--messages=5", "--timeout=0.3"], 1);
    assert_eq!((json.number("deliveries"), json.number("lost")), (0.0, 2.0));
    assert!(json.text("failure").contains("--allow"), "{}", json.text("failure"));
}

#[test]
fn who_is_closed_is_told_with_code_and_reason() {
    let address = faulty(Fault::Close);
    let (hear, publish) = (url(address, "/ws/foo?hear"), url(address, "/ws/foo?publish"));
    let args = [&*hear, "--publish", &publish, "--clients=3", "--messages=10"];
    let output = stress(&args);
    let line = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert!(line.contains("1 closed by the server with 1008 enough"), "{line}");
    // The one that was closed at message 3 lacks it and all that follow.
    assert!(line.contains("7 lost"), "{line}");
}

#[test]
fn refusals_are_one_line() {
    let server = Wsloop::start(&[]);
    let other = faulty(Fault::None);
    let nobody = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
    for (address, path, words) in [
        (server.address(), "/nowhere", "refuses with 404: WebSockets are served below /ws/"),
        (other, "/?refuse", "refuses with 403: No entry.\n"),
        (other, "/?close", "closes an open conn with 4403 No entry."),
        (nobody, "/ws/a", "Connection refused"),
    ] {
        let output = stress(&[&url(address, path), "--clients=3", "--settle=0.01"]);
        let line = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{path}: {line}");
        assert!(line.contains(words), "{path}: {line}");
        assert_eq!((line.lines().count(), output.stdout.len()), (1, 0), "{path}: {line}");
    }
}

#[test]
fn wrong_use_is_one_line_with_the_way_to_mend_it() {
    let good = "ws://127.0.0.1:1/ws/a";
    let cases: [(&[&str], &str); 24] = [
        (&[], "URL: is missing; write ws://"),
        (&["127.0.0.1:8080"], "URL: \"127.0.0.1:8080\" has no scheme"),
        (&["wss://h/ws/a"], "TLS, which is not spoken here"),
        (&["http://h/ws/a"], "another scheme than ws"),
        (&["ws://:1/"], "the host is missing"),
        (&["ws://h/a b"], "percent-encoded"),
        (&[good, "--mode=fan"], "--mode: \"fan\" is no mode; write fanout, echo, idle or churn"),
        (&[good, "--clients=0"], "--clients: \"0\" is out of range; give 1 to"),
        (&[good, "--clients=1000000"], "--clients: 1000000 is too many: the limit of "),
        (&[good, "--messages=x"], "--messages: \"x\" is no whole number"),
        (&[good, "--size=31"], "--size: \"31\" is out of range; give 32 to 16MiB"),
        (&[good, "--window=0"], "--window: "),
        (&[good, "--rate=0"], "--rate: "),
        (&[good, "--pid=me"], "--pid: "),
        (&[good, "--timeout=0"], "--timeout: "),
        (&[good, "--duration=1"], "--duration: is for --mode idle or churn only"),
        (&[good, "--mode=idle", "--messages=1"], "--messages: is for --mode fanout or echo only"),
        (&[good, "--channel=a"], "--channel: needs --redis"),
        (&[good, "--publish", good, "--redis=redis://h"], "--publish: cannot be used with --redis"),
        (&["ws://h/chat", "--redis=redis://h"], "--channel: is missing"),
        (&["ws://h/ws/{n}"], "--redis: is missing, by which messages get to the clients of a URL"),
        (
            &["ws://h/ws/{n}", "--redis=redis://h", "--channel=a"],
            "--channel: and the URL must have",
        ),
        (
            &[good, "--redis=rediss://h"],
            "--redis: is asked by TLS, which this command does not speak",
        ),
        (&[good, "--client=1"], "a similar argument exists: '--clients'"),
    ];
    for (args, words) in cases {
        let output = stress(args);
        let line = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {line}");
        assert!(line.starts_with("wsloop: ") && line.contains(words), "{args:?}: {line}");
        assert_eq!((line.lines().count(), output.stdout.len()), (1, 0), "{args:?}: {line}");
    }
}

/// What the faulty server does to message 3, for the first who hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It does not come.
    Drop,
    /// It comes twice.
    Duplicate,
    /// It comes after message 4.
    Swap,
    /// One of its bytes is another.
    Spoil,
    /// A close frame comes instead.
    Close,
}

/// A server that gives what arrives on `?publish` to all of `?hear`, and what arrives on `?echo`
/// back, with one fault; `?refuse` and `?close` are let in not at all and not for long. It lives as
/// long as the test.
fn faulty(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let listeners: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let listeners = listeners.clone();
            thread::spawn(move || serve(stream, fault, &listeners));
        }
    });
    address
}

fn serve(mut stream: TcpStream, fault: Fault, listeners: &Mutex<Vec<TcpStream>>) {
    let mut bytes = vec![0; 1 << 16];
    let n = stream.read(&mut bytes).expect("a request");
    let (head, _) = http::parse_head(&bytes[..n], 8192).expect("a request").expect("all of it");
    let asked = upgrade::check(&head).expect("an upgrade");
    let response = upgrade::accepted(&asked.accept, None, None, &[]);
    match asked.query {
        "refuse" => {
            let response = http::response(403, &[], b"No entry.\r\nNever.");
            return stream.write_all(&response).expect("a client");
        }
        "close" => {
            let close = frame::encode_close(Some(4403), "No entry.");
            let bytes = [&response[..], &close].concat();
            return stream.write_all(&bytes).expect("a client");
        }
        _ => {}
    }
    let mine = Mutex::new(Vec::new());
    let hearers = match asked.query {
        "hear" => {
            // Nobody hears anything before the publisher is there, and that comes last.
            stream.write_all(&response).expect("a client");
            return listeners.lock().expect("a list").push(stream);
        }
        "echo" => {
            mine.lock().expect("a list").push(stream.try_clone().expect("a socket"));
            &mine
        }
        _ => listeners,
    };
    stream.write_all(&response).expect("a client");
    let limits =
        Limits { role: Role::Server, max_message: 1 << 20, max_fragments: 1, compression: false };
    let (mut reader, mut number) = (Reader::new(), 0);
    let mut held = Vec::new();
    loop {
        let Ok(n @ 1..) = stream.read(&mut bytes) else { return };
        let mut input = &mut bytes[..n];
        while let Ok(Some(Event::Message { data, .. })) = reader.next(&mut input, &limits) {
            let frame = frame::encode(Opcode::Text, &data).to_vec();
            for (at, hearer) in hearers.lock().expect("a list").iter_mut().enumerate() {
                let mut frame = frame.clone();
                match (at, number, fault) {
                    (0, 3, Fault::Drop) => continue,
                    (0, 3, Fault::Duplicate) => frame.extend_from_within(..),
                    (0, 3, Fault::Swap) => {
                        held = frame;
                        continue;
                    }
                    (0, 4, Fault::Swap) => frame.append(&mut held),
                    (0, 3, Fault::Spoil) => *frame.last_mut().expect("bytes") ^= 1,
                    (0, 3, Fault::Close) => {
                        frame = frame::encode_close(Some(1008), "enough").to_vec()
                    }
                    _ => {}
                }
                // A client that was closed takes no more.
                let _ = hearer.write_all(&frame);
            }
            number += 1;
        }
    }
}

/// A JSON object, flattened: the path of each value, and the value as it is written.
struct Json(Vec<(String, String)>);

impl Json {
    /// Reads one line of JSON.
    #[track_caller]
    fn parse(text: &str) -> Json {
        let line = text.strip_suffix('\n').expect("the line ends");
        let mut json = Json(Vec::new());
        let rest = json.read("", line);
        assert_eq!(rest, "", "one object in {line}");
        json
    }

    fn number(&self, path: &str) -> f64 {
        self.value(path).parse().unwrap_or_else(|_| panic!("{path} is {}", self.value(path)))
    }

    fn text(&self, path: &str) -> &str {
        self.value(path).trim_matches('"')
    }

    fn is_null(&self, path: &str) -> bool {
        self.value(path) == "null"
    }

    fn value(&self, path: &str) -> &str {
        let found = self.0.iter().find(|(name, _)| name == path);
        found.map(|(_, value)| &**value).unwrap_or_else(|| panic!("no {path}"))
    }

    /// Reads a value, and returns what follows it.
    #[track_caller]
    fn read<'t>(&mut self, path: &str, text: &'t str) -> &'t str {
        let (open, close) = match text.chars().next() {
            Some('{') => ('{', '}'),
            Some('[') => ('[', ']'),
            _ => {
                let end = scalar_end(text);
                self.0.push((path.to_owned(), text[..end].to_owned()));
                return &text[end..];
            }
        };
        let mut rest = &text[1..];
        if let Some(rest) = rest.strip_prefix(close) {
            return rest;
        }
        for index in 0.. {
            let name = if open == '{' {
                let end = scalar_end(rest);
                let name = rest[..end].trim_matches('"').to_owned();
                rest = rest[end..].strip_prefix(':').expect("a colon");
                name
            } else {
                index.to_string()
            };
            let path = if path.is_empty() { name } else { format!("{path}.{name}") };
            rest = self.read(&path, rest);
            if let Some(next) = rest.strip_prefix(',') {
                rest = next;
            } else {
                break;
            }
        }
        rest.strip_prefix(close).unwrap_or_else(|| panic!("not closed: {rest}"))
    }
}

/// Where the string, number or word at the start ends.
#[track_caller]
fn scalar_end(text: &str) -> usize {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut escaped = false;
        for (at, c) in quoted.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return at + 2,
                c => assert!(!c.is_control(), "{c:?} in {text}"),
            }
        }
        panic!("no end of {text}");
    }
    let end = text.find([',', '}', ']', ':']).unwrap_or(text.len());
    let scalar = &text[..end];
    let is_number = scalar.parse::<f64>().is_ok() && !scalar.contains(['n', 'i', '+']);
    assert!(is_number || ["null", "true", "false"].contains(&scalar), "no JSON: {scalar}");
    end
}
