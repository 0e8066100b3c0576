//! The embedded broker and the Redis clients that people have: redis-cli, redis-py and ioredis, as
//! they are, and wsloop itself.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::support::client::tcp;
use crate::support::{Folder, PATIENCE, Process, Wsloop, eventually, scenarios};

const HEAR: &str = "subscribe-broadcast";
const SPEAK: &str = "publish-broadcast";

/// A server that answers Redis clients, and the port at which it does.
fn start() -> (Wsloop, String) {
    let server = Wsloop::start(&["--allow", "all", "--resp", "127.0.0.1:0"]);
    let port = server.resp_address().port().to_string();
    (server, port)
}

/// What a program prints that ends well.
#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}{errors}");
    text
}

#[track_caller]
fn redis_cli(port: &str, args: &[&str]) -> String {
    output(Command::new("redis-cli").args(["-p", port]).args(args))
}

/// A program that goes on, and its lines.
fn lines_of(command: &mut Command) -> (Process, Receiver<String>) {
    let mut process = Process::spawn(command.stdout(Stdio::piped()));
    let stdout = BufReader::new(process.stdout());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
    (process, lines)
}

#[track_caller]
fn expect_lines(lines: &Receiver<String>, expected: &[&str]) {
    for line in expected {
        assert_eq!(lines.recv_timeout(PATIENCE).as_deref(), Ok(*line));
    }
}

#[test]
#[ignore = "needs redis-cli"]
fn redis_cli_publishes_stores_and_looks_around() {
    let (server, port) = start();
    let mut browser = server.connect(&format!("foo?{HEAR}"));
    for version in ["-2", "-3"] {
        assert_eq!(redis_cli(&port, &[version, "PUBLISH", "broadcast:foo", "hello"]), "1\n");
        browser.expect(&["hello"]);
    }
    assert_eq!(redis_cli(&port, &["SET", "broadcast:foo", "kept", "EX", "60"]), "OK\n");
    assert_eq!(redis_cli(&port, &["keys", "broadcast:*"]), "broadcast:foo\n");
    assert_eq!(redis_cli(&port, &["get", "broadcast:foo"]), "kept\n");
    assert_eq!(redis_cli(&port, &["--scan", "--pattern", "*foo"]), "broadcast:foo\n");
    let ttl = redis_cli(&port, &["ttl", "broadcast:foo"]);
    assert!(ttl.trim().parse().is_ok_and(|ttl| (45..=60).contains(&ttl)), "{ttl}");
    assert_eq!(redis_cli(&port, &["-n", "3", "-a", "any", "--no-auth-warning", "ping"]), "PONG\n");
    let refused = redis_cli(&port, &["lpush", "a", "b"]);
    assert!(refused.contains("unknown command 'lpush'") && refused.contains("--redis"));
    server.connect(&format!("foo?{HEAR}")).expect(&["kept"]);
}

#[test]
#[ignore = "needs redis-cli"]
fn redis_cli_hears_what_browsers_say() {
    let (server, port) = start();
    for (version, command, kind) in [
        ("-2", ["subscribe", "broadcast:foo"], &["message"][..]),
        ("-3", ["subscribe", "broadcast:foo"], &["message"]),
        ("-2", ["psubscribe", "broadcast:*"], &["pmessage", "broadcast:*"]),
    ] {
        let mut client = Command::new("redis-cli");
        client.args([version, "-p", &port]).args(command).stdin(Stdio::null());
        let (_process, lines) = lines_of(&mut client);
        expect_lines(&lines, &[command[0], command[1], "1"]);
        server.connect(&format!("foo?{SPEAK}")).send("from a browser");
        expect_lines(&lines, &[kind, &["broadcast:foo", "from a browser"]].concat());
    }
    server.expect_metric("resp_clients", |clients| clients == 0);
}

const PYTHON: &str = r#"
import sys, redis
port = int(sys.argv[1])
r = redis.Redis(port=port, password="any", db=2, client_name="tests", decode_responses=True)
assert r.ping() and r.client_getname() == "tests"
assert r.publish("broadcast:foo", "from Python") == 1
p = r.pipeline()
p.publish("broadcast:foo", "piped")
p.set("broadcast:foo", "stored", ex=60)
p.get("broadcast:foo")
assert p.execute() == [1, True, "stored"]
# Seconds that are left, some of which have passed.
left = lambda name, seconds: seconds - 15 <= r.ttl(name) <= seconds
assert left("broadcast:foo", 60)
assert r.pipeline(transaction=False).exists("none").exists("broadcast:foo").execute() == [0, 1]
assert r.set("px", "1", px=50000, nx=True) and r.set("px", "2", nx=True) is None
assert r.set("px", "3", xx=True, keepttl=True) and left("px", 50)
assert r.expire("px", 100) and left("px", 100) and r.delete("px", "none") == 1
assert r.setex("s", 90, "x") and r.mget("s", "none") == ["x", None] and r.delete("s") == 1
assert r.info()["redis_version"] == "7.0.0" and r.info()["server_name"] == "wsloop"
with r.pipeline() as watching:
    watching.watch("w")
    r.set("w", "other", ex=60)
    watching.multi()
    watching.set("w", "mine")
    try:
        watching.execute()
        raise AssertionError("it was changed")
    except redis.WatchError:
        pass
r.delete("w")
try:
    r.lpush("list", "x")
    raise AssertionError("there are no lists")
except redis.ResponseError as error:
    assert "use a real Redis" in str(error), error
bulk = r.pipeline(transaction=False)
for n in range(10000):
    bulk.set("many:%d" % n, "x", ex=60)
assert all(bulk.execute())
assert len(r.keys("many:*")) == 10000 and r.keys("broadcast:*") == ["broadcast:foo"]
assert len(set(r.scan_iter("many:*7", count=100))) == 1000
heard = r.pubsub()
heard.subscribe("broadcast:foo")
heard.psubscribe("broad*:f?[nmo]")
kinds = [heard.get_message(timeout=20)["type"] for _ in range(2)]
assert kinds == ["subscribe", "psubscribe"], kinds
print("listening", flush=True)
for _ in range(2):
    message = heard.get_message(timeout=20)
    print(message["type"], message["channel"], message["data"], flush=True)
heard.close()
"#;

#[test]
#[ignore = "needs python3 with redis"]
fn redis_py_works_unchanged() {
    let (server, port) = start();
    let mut browser = server.connect(&format!("foo?{HEAR}"));
    // Debian's package belongs to Debian's interpreter, whatever else is first on PATH.
    let mut command = Command::new("/usr/bin/python3");
    let (mut process, lines) = lines_of(command.args(["-c", PYTHON, &port]));
    expect_lines(&lines, &["listening"]);
    browser.expect(&["from Python", "piped"]);
    server.connect(&format!("foo?{HEAR}")).expect(&["stored"]);
    server.connect(&format!("foo?{SPEAK}")).send("from a browser");
    expect_lines(
        &lines,
        &["message broadcast:foo from a browser", "pmessage broadcast:foo from a browser"],
    );
    let status = eventually("the end of the script", || process.status());
    assert!(status.success(), "{status}");
}

const NODE: &str = r#"
const Redis = require('ioredis');
const assert = require('assert');
const port = Number(process.argv[1]);
(async () => {
    const redis = new Redis(port, '127.0.0.1', { connectionName: 'tests', db: 1 });
    assert.equal(await redis.publish('broadcast:foo', 'from Node'), 1);
    const results = await redis.multi()
        .publish('broadcast:foo', 'piped').set('broadcast:foo', 'stored', 'EX', 60).exec();
    assert.deepEqual(results, [[null, 1], [null, 'OK']]);
    assert.equal(await redis.get('broadcast:foo'), 'stored');
    assert.deepEqual(await redis.keys('broadcast:*'), ['broadcast:foo']);
    await assert.rejects(redis.lpush('a', 'b'), /use a real Redis/);
    const heard = new Redis(port);
    heard.on('message', (channel, text) => {
        console.log('message', channel, text);
        heard.disconnect();
        redis.quit();
    });
    assert.equal(await heard.subscribe('broadcast:foo'), 1);
    console.log('listening');
})();
"#;

#[test]
#[ignore = "needs node with ioredis"]
fn ioredis_works_unchanged() {
    let (server, port) = start();
    let mut browser = server.connect(&format!("foo?{HEAR}"));
    let mut command = Command::new("node");
    command.env("NODE_PATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/node_modules"));
    let (mut process, lines) = lines_of(command.args(["-e", NODE, &port]));
    expect_lines(&lines, &["listening"]);
    browser.expect(&["from Node", "piped"]);
    server.connect(&format!("foo?{HEAR}")).expect(&["stored"]);
    server.connect(&format!("foo?{SPEAK}")).send("from a browser");
    expect_lines(&lines, &["message broadcast:foo from a browser"]);
    let status = eventually("the end of the script", || process.status());
    assert!(status.success(), "{status}");
}

/// A second wsloop takes the first one's embedded broker for its Redis, and cannot tell.
#[test]
fn it_is_redis_enough_for_wsloop_itself() {
    let (_broker, port) = start();
    let url = format!("redis://user:any@127.0.0.1:{port}/1");
    let server = Wsloop::start(&[&scenarios::ARGS[..], &["--redis", &url]].concat());
    server.expect_metric("broker_up", |up| up == 1);
    scenarios::play_all(&server);
    assert_eq!(server.metric("broker_lost_total"), 0);
}

#[test]
fn who_does_not_read_is_closed_and_nobody_else() {
    let (server, port) = start();
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    let mut deaf = tcp(address);
    deaf.write_all(b"SUBSCRIBE broadcast:foo\r\n").expect("a command is taken");
    let mut confirmed = [0; 40];
    deaf.read_exact(&mut confirmed).expect("a confirmation");
    let mut browser = server.connect(&format!("foo?{HEAR}"));
    let mut publisher = tcp(address);
    let text = "x".repeat(900_000);
    let publish = format!("*3\r\n$7\r\nPUBLISH\r\n$13\r\nbroadcast:foo\r\n$900000\r\n{text}\r\n");
    let mut answers = BufReader::new(publisher.try_clone().expect("a socket")).lines();
    let mut heard_by = || {
        publisher.write_all(publish.as_bytes()).expect("a command is taken");
        // Whoever publishes faster than this browser reads makes it one that reads too slowly.
        assert_eq!(browser.text().len(), 900_000);
        answers.next().expect("an answer").expect("an answer")
    };
    // What the kernel takes for it is not known; what is unsent here is limited to 32 MiB.
    let taken = (0..200).take_while(|_| heard_by() == ":2").count();
    assert!((37..200).contains(&taken), "{taken} messages are taken for who does not read");
    assert_eq!(heard_by(), ":1");
    server.expect_metric("resp_clients_closed_total", |closed| closed == 1);
    server.expect_log(&["reads too slowly"]);
    publisher.write_all(b"PING\r\n").expect("a command is taken");
    assert_eq!(answers.next().expect("an answer").expect("an answer"), "+PONG");
}

#[test]
fn a_web_page_is_cut_off() {
    let (server, port) = start();
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("a connection");
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nPUBLISH broadcast:foo evil\r\n";
    stream.write_all(post.as_bytes()).expect("a request is taken");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut answer = Vec::new();
    // It ends, or is reset because not all was read.
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    server.expect_metric("resp_clients", |clients| clients == 0);
    assert_eq!(server.metric("deliveries_total"), 0);
}

#[test]
fn an_address_that_was_asked_for_and_is_taken_is_one_line_and_status_2() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_wsloop"))
        .env_clear()
        .args(["--listen", "127.0.0.1:0", "--resp", &address])
        .output()
        .expect("it runs");
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains(&address) && line.contains("--resp"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}

#[test]
fn the_default_address_is_given_up_when_it_is_taken() {
    // If this fails somebody else has it, which may end at any time.
    let held = TcpListener::bind("127.0.0.1:6380");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    command.env_clear().args(["--listen", "127.0.0.1:0"]).stderr(Stdio::null());
    let (_process, lines) = lines_of(&mut command);
    let line = lines.recv_timeout(PATIENCE).expect("it listens all the same");
    assert!(line.starts_with("listening on http://127.0.0.1:"), "{line}");
    drop(held);
}

/// Asks line by line at a socket, and gives the lines of the answers.
fn ask_at(path: &std::path::Path, lines: &str, answers: usize) -> Vec<String> {
    let mut stream = std::os::unix::net::UnixStream::connect(path).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(lines.as_bytes()).expect("lines are taken");
    let lines = BufReader::new(stream).lines();
    lines.take(answers).map(|line| line.expect("an answer").trim_end().to_owned()).collect()
}

#[test]
fn a_socket_is_for_this_user_alone_and_goes_with_the_process() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.join("resp.sock");
    let resp = format!("unix:{}", path.display());
    // What a process that was killed has left behind is replaced, what is something else is not.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let mut server = Wsloop::start(&["--resp", &resp]);
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let mut browser = server.connect(&format!("room?{HEAR}"));
    let answers = ask_at(&path, "PING\nPUBLISH broadcast:room hello\n", 2);
    assert_eq!(answers, ["+PONG", ":1"]);
    browser.expect(&["hello"]);
    server.expect_log(&["redis clients: unix:"]);

    // Another one does not take it away.
    let other = Command::new(env!("CARGO_BIN_EXE_wsloop"))
        .env_clear()
        .args(["--listen", "127.0.0.1:0", "--resp", &resp])
        .output()
        .expect("it runs");
    assert_eq!(other.status.code(), Some(2));
    assert_eq!(ask_at(&path, "PING\n", 1), ["+PONG"]);

    drop(browser);
    server.process().signal("TERM");
    assert!(server.wait().success());
    assert!(!path.exists(), "it is left behind");
    fs::write(&path, "somebody's file").expect("a file");
    let other = Command::new(env!("CARGO_BIN_EXE_wsloop"))
        .env_clear()
        .args(["--listen", "127.0.0.1:0", "--resp", &resp])
        .output()
        .expect("it runs");
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    assert_eq!(fs::read(&path).expect("it is still there"), b"somebody's file");
}

#[test]
fn a_password_guards_the_socket_and_the_port() {
    let folder = Folder::new();
    let (path, file) = (folder.join("resp.sock"), folder.join("password"));
    fs::write(&file, "secret\n").expect("a file");
    let file = file.to_str().expect("text");
    for resp in [format!("unix:{}", path.display()), "127.0.0.1:0".to_owned()] {
        let server = Wsloop::start(&["--resp", &resp, "--resp-password", file]);
        let script = "PUBLISH a x\nAUTH wrong\nAUTH secret\nPUBLISH a x\n";
        let answers = if resp.starts_with("unix:") {
            eventually("the socket", || path.exists().then_some(()));
            ask_at(&path, script, 4)
        } else {
            let mut stream = TcpStream::connect(server.resp_address()).expect("a connection");
            stream.write_all(script.as_bytes()).expect("lines are taken");
            let lines = BufReader::new(stream).lines();
            lines.take(4).map(|line| line.expect("an answer")).collect()
        };
        let starts = ["-NOAUTH", "-WRONGPASS", "+OK", ":0"];
        for (answer, start) in answers.iter().zip(starts) {
            assert!(answer.starts_with(start), "{resp}: {answers:?}");
        }
    }
}
