//! What operators and balancers are told, at their own address and at the health path.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::keys;
use crate::support::client::{Response, tcp};
use crate::support::redis::RedisServer;
use crate::support::stream::EventStream;
use crate::support::{Folder, Wsloop, eventually};

const LOOPBACK: [&str; 2] = ["--admin", "127.0.0.1:0"];

/// The answer to a request for that path, with these header lines.
pub fn ask(address: SocketAddr, path: &str, more: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{more}\r\n");
    Response::to(address, &request)
}

/// The values of all metrics, and the types of all that are announced.
pub fn metrics(address: SocketAddr) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let answer = ask(address, "/metrics", "");
    assert_eq!(answer.status, 200);
    let (mut values, mut types) = (BTreeMap::new(), BTreeMap::new());
    for line in answer.body.lines() {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            let (name, kind) = about.split_once(' ').expect("a name and a type");
            assert_eq!(types.insert(name.to_owned(), kind.to_owned()), None, "{name} twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            let value = value.parse().expect("a number");
            assert_eq!(values.insert(name.to_owned(), value), None, "{name} twice");
            let family = name.split('{').next().expect("a name");
            assert!(family.starts_with("wsloop_") || family.starts_with("process_"), "{name}");
            let ends = ["_bucket", "_sum", "_count"];
            let base = ends.iter().find_map(|end| family.strip_suffix(end)).unwrap_or(family);
            assert!(types.contains_key(family) || types[base] == "histogram", "{name}");
        }
    }
    (values, types)
}

#[test]
fn figures_say_what_has_happened() {
    let server = Wsloop::start(&[&LOOPBACK[..], &["--allow", "all"]].concat());
    let admin = server.admin();
    let mut client = server.connect("room?subscribe-broadcast&publish-broadcast&echo");
    client.send("hello");
    client.expect(&["hello"]);
    let mut wrong = server.connect("room");
    wrong.raw(&[0x83, 0x80, 0, 0, 0, 0]);
    wrong.hear_close(1002, "");
    drop(wrong);
    client.close();
    assert_eq!(server.get("/ws/room").status, 426);
    let is_counted = || {
        let (values, _) = metrics(admin);
        let closed = values.contains_key("wsloop_closes_total{by=\"browser\",code=\"1000\"}");
        closed.then_some(values)
    };
    let values = eventually("a close that is counted", is_counted);
    let at_least = [
        ("wsloop_handshakes_total", 2.0),
        ("wsloop_messages_in_total", 1.0),
        ("wsloop_bytes_in_total", 300.0),
        ("wsloop_bytes_out_total", 300.0),
        ("wsloop_closes_total{by=\"server\",code=\"1002\"}", 1.0),
        ("wsloop_refusals_total{status=\"426\"}", 1.0),
        ("wsloop_turn_seconds_count", 3.0),
        ("wsloop_fanout_seconds_count", 1.0),
        ("wsloop_fanout_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("wsloop_conns_by_state{state=\"head\"}", 1.0),
        ("wsloop_ready", 1.0),
        ("process_resident_memory_bytes", 1e6),
        ("process_max_fds", 100.0),
        ("process_start_time_seconds", 1.7e9),
    ];
    for (name, least) in at_least {
        let value = values.get(name).copied().unwrap_or_else(|| panic!("no {name}"));
        assert!(value >= least, "{name} {value}");
    }
    assert_eq!(
        values["wsloop_fanout_seconds_count"],
        values["wsloop_fanout_seconds_bucket{le=\"+Inf\"}"]
    );
    // The public port has the counters, where that is asked for, and nothing else of these.
    for path in ["/conns", "/readyz", "/healthz"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

#[test]
fn who_listens_is_told_and_no_session() {
    let folder = Folder::new();
    let key = folder.join("key");
    fs::write(&key, keys::OLD).expect("a file");
    let key = key.to_str().expect("UTF-8");
    let server =
        Wsloop::start(&[&LOOPBACK[..], &["--token-key-file", key, "--prefix", "shop"]].concat());
    let admin = server.admin();
    let _everybody = server.connect("news?subscribe-broadcast");
    let _more = server.connect("room?subscribe-broadcast");
    let path = keys::by(keys::OLD).replace("subscribe-user", "subscribe-user&subscribe-session");
    let _john = server.connect(&path);
    let mut stream = EventStream::open(server.address(), "/ws/?topic=broadcast+room", "");
    while stream.text() != "ok 1" {}
    let answer = ask(admin, "/conns", "");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let told: Value = serde_json::from_str(&answer.body).expect("JSON");
    let one = |name: &str, count: u32| json!({ "name": name, "subscriptions": count });
    assert_eq!(told["facilities"], json!([one("room", 3), one("news", 1)]), "{told}");
    assert_eq!(told["users"], json!([one("john", 1)]));
    assert_eq!((&told["open"], &told["groups"]), (&json!(4), &json!([])));
}

#[test]
fn nobody_else_is_answered_there() {
    let server = Wsloop::start(&LOOPBACK);
    let admin = server.admin();
    for (host, status) in [
        (admin.to_string(), 200),
        ("localhost".to_owned(), 200),
        ("evil.example".to_owned(), 421),
        ("evil.example:80\r\nHost: localhost".to_owned(), 421),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(Response::to(admin, &request).status, status, "{host}");
    }
    let post = format!("POST /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    assert_eq!(Response::to(admin, &post).status, 405);
    assert_eq!(ask(admin, "/nothing", "").status, 404);
    let socket = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    assert_eq!(ask(admin, "/ws/room", socket).status, 404, "no browser is served here");
    for (path, kind) in [("/", "text/html"), ("/admin.js", "text/javascript")] {
        let answer = ask(admin, path, "");
        assert!(answer.header("content-type").is_some_and(|is| is.starts_with(kind)), "{path}");
        assert!(answer.header("content-security-policy").is_some());
    }
}

#[test]
fn a_token_is_asked_for_where_others_may_come() {
    let folder = Folder::new();
    let file = folder.join("token");
    fs::write(&file, "the word\n").expect("a file");
    let file = file.to_str().expect("UTF-8");
    let server = Wsloop::start(&["--admin", "0.0.0.0:0", "--admin-token-file", file]);
    let admin = SocketAddr::from(([127, 0, 0, 1], server.admin().port()));
    let basic = |pair: &str| format!("Authorization: Basic {}\r\n", STANDARD.encode(pair));
    for (said, status) in [
        (String::new(), 401),
        ("Authorization: Bearer the wor\r\n".to_owned(), 401),
        ("Authorization: Bearer the word\r\n".to_owned(), 200),
        ("Authorization: bearer  the word \r\n".to_owned(), 200),
        (basic("anybody:the word"), 200),
        (basic("the word"), 401),
        (basic("the word:"), 401),
    ] {
        for path in ["/", "/metrics", "/healthz", "/readyz", "/conns"] {
            assert_eq!(ask(admin, path, &said).status, status, "{path} {said}");
        }
    }
    let output = Command::new(env!("CARGO_BIN_EXE_wsloop")).args(["--admin", "0.0.0.0:0"]).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("is not of this machine alone"), "{said}");
}

#[test]
fn a_unix_socket_is_for_this_user() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.join("admin");
    let server = Wsloop::start(&["--admin", &format!("unix:{}", path.display())]);
    server.expect_log(&["operators: unix:"]);
    assert_eq!(fs::metadata(&path).expect("a socket").permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).expect("somebody listens");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: wsloop\r\n\r\n").expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 421 "), "a page may have been given that name: {answer}");
    let mut stream = UnixStream::connect(&path).expect("somebody listens");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is taken");
    answer.clear();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
}

#[test]
fn balancers_may_ask_as_they_like_and_hear_of_the_end() {
    let args = ["--health", "/up", "--drain-delay", "60", "--drain", "60"];
    let mut server = Wsloop::start(&[&LOOPBACK[..], &args].concat());
    let (host, admin) = (server.address(), server.admin());
    let ask_all = |expected: u16| {
        for request in [
            format!("GET /up HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            "GET /up HTTP/1.0\r\n\r\n".to_owned(),
            "OPTIONS /up HTTP/1.0\r\n\r\n".to_owned(),
            "GET /up HTTP/1.1\r\nHost: whatever.example\r\n\r\n".to_owned(),
        ] {
            assert_eq!(Response::to(host, &request).status, expected, "{request}");
        }
        let mut stream = tcp(host);
        stream.write_all(b"HEAD /up HTTP/1.0\r\n\r\n").expect("it is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let head = format!("HTTP/1.1 {expected} ");
        assert!(answer.starts_with(&head) && answer.ends_with("\r\n\r\n"), "{answer}");
    };
    ask_all(200);
    let post = format!("POST /up HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(Response::to(host, &post).status, 405);
    let open = server.connect("room");
    server.process().signal("TERM");
    server.expect_log(&["serving on for 60 s"]);
    ask_all(503);
    assert_eq!(ask(admin, "/healthz", "").status, 200, "it is well, and not ready");
    let unready = ask(admin, "/readyz", "");
    assert_eq!(
        (unready.status, unready.body.trim()),
        (503, "not ready: the server is shutting down")
    );
    // While it drains, browsers are no longer accepted, but operators are.
    server.process().signal("TERM");
    eventually("nobody listens", || TcpStream::connect(host).is_err().then_some(()));
    let (values, _) = metrics(admin);
    assert_eq!((values["wsloop_conns_open"], values["wsloop_ready"]), (1.0, 0.0));
    drop(open);
    assert!(server.wait().success());
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_that_passes_no_messages_on_is_not_ready() {
    let redis = RedisServer::start();
    let server = Wsloop::start(
        &[&LOOPBACK[..], &["--redis", &redis.url(), "--redis-timeout", "60"]].concat(),
    );
    let admin = server.admin();
    let says = |status: u16, words: &str| {
        eventually(&format!("{status} {words}"), || {
            let answer = ask(admin, "/readyz", "");
            (answer.status == status && answer.body.contains(words)).then_some(())
        });
    };
    says(200, "ready");
    // The link is up, and Redis does nothing.
    redis.process().signal("STOP");
    says(503, "no message came back from Redis lately");
    redis.process().signal("CONT");
    says(200, "ready");
    let channels = redis.connect().channels();
    assert!(channels.iter().all(|name| name.starts_with("wsloop:canary:")), "{channels:?}");
    drop(redis);
    says(503, "Redis cannot be reached");
}

#[test]
#[ignore = "needs redis-server"]
fn where_publishing_is_denied_a_redis_that_answers_is_ready() {
    for (right, word) in [("-publish", "publish"), ("resetchannels", "channel")] {
        let redis = RedisServer::start();
        redis.connect().ok(&["ACL", "SETUSER", "default", "allchannels", right]);
        let args = ["--redis", &redis.url(), "--health", "/up"];
        let server = Wsloop::start(&args);
        server.expect_log(&["readiness can only say that Redis answers"]);
        eventually("a server that is ready", || (server.get("/up").status == 200).then_some(()));
        assert_eq!(server.log().matches("readiness can only").count(), 1, "{word}");
    }
}

#[test]
fn dashboard_and_alerts_know_the_metrics_by_their_names() {
    let server = Wsloop::start(&LOOPBACK);
    let (_, types) = metrics(server.admin());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy/monitoring");
    for file in ["grafana.json", "alerts.yml"] {
        let text = fs::read_to_string(folder.join(file)).expect("a file");
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let words = text.split(|letter| !is_part(letter));
        let is_name = |word: &&str| word.starts_with("wsloop_") || word.starts_with("process_");
        let names: BTreeSet<&str> = words.filter(is_name).collect();
        assert!(names.len() > 10, "{file}: {names:?}");
        for name in names {
            let histogram = name.strip_suffix("_bucket").and_then(|name| types.get(name));
            let is_known =
                types.contains_key(name) || histogram.is_some_and(|is| is == "histogram");
            assert!(is_known, "{file}: there is no {name}");
        }
    }
    let text = fs::read_to_string(folder.join("grafana.json")).expect("a file");
    let board: Value = serde_json::from_str(&text).expect("JSON");
    assert!(board["panels"].as_array().is_some_and(|panels| panels.len() > 10));
}
