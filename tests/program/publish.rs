//! The commands for scripts, as a script sees them: what they print, where, and how they end.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::redis::{RedisClient, RedisServer, Value};
use crate::support::{Folder, PATIENCE, Wsloop, eventually, free_port};

fn wsloop(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    command.env_clear().args(args).stdin(Stdio::null());
    command
}

/// Exit status, standard output and standard error.
fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit"), text(output.stdout), text(output.stderr))
}

fn run(args: &[&str]) -> (i32, String, String) {
    ended(wsloop(args).output().expect("the program runs"))
}

/// It prints this and nothing else.
#[track_caller]
fn prints(args: &[&str], expected: &str) {
    assert_eq!(run(args), (0, expected.to_owned(), String::new()), "{args:?}");
}

/// It ends so, with one line on standard error that contains the words.
#[track_caller]
fn complains(args: &[&str], status: i32, words: &str) -> String {
    let (code, out, err) = run(args);
    assert_eq!((code, out.as_str()), (status, ""), "{args:?}: {err}");
    assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
    assert!(err.starts_with("wsloop: ") && err.contains(words), "{args:?}: {err}");
    err
}

#[test]
fn wrong_use_is_one_line_and_2() {
    let long = "r".repeat(124);
    let cases: [(&[&str], &str); 25] = [
        (&["publish"], "required arguments were not provided: <FACILITY>; <MESSAGE|->"),
        (&["publish", "chat", "hi"], "give --broadcast, --user NAME, --group NAME or"),
        (&["fetch", "chat"], "give --broadcast, --user NAME, --group NAME or"),
        (&["publish", "--broadcast", "chat"], "<MESSAGE|->"),
        (&["publish", "--broadcast", "chat", "hi", "there"], "unexpected argument 'there'"),
        (&["publish", "--user", "a:b", "chat", "hi"], "\"a:b\" is no name of a user"),
        (&["publish", "--group=", "chat", "hi"], "no name of a group: it is empty"),
        (&["fetch", "--session", "s", "a:b"], "the facility \"a:b\" has a colon"),
        (&["fetch", "--broadcast", "--prefix=user", "f"], "--prefix: \"user\" has broadcast"),
        (&["fetch", "--broadcast", "--prefix=a:", "f"], "--prefix: \"a:\" ends with a colon"),
        (&["fetch", "--broadcast", "--redis=h", "f"], "--redis: the URL has no scheme"),
        (&["publish", "--broadcast", "--expire=1h", "f", "m"], "--expire: \"1h\" is no whole"),
        (&["publish", "--broadcast", "--history=f", "f", "m"], "--history: \"f\" is no rule"),
        (&["disconnect"], "--user <NAME>|--session <KEY>|--group <NAME>"),
        (&["disconnect", "--user", "a", "--group", "b"], "cannot be used with"),
        (&["disconnect", "--user", "a", "--code", "1005"], "--code: \"1005\" is no close code"),
        (&["disconnect", "--user", "a", "--reason", &long], "124 bytes, more than 123"),
        (&["listen"], "<URL>"),
        (&["listen", "wss://h/ws/f"], "TLS, which is not spoken here"),
        (&["listen", "h:80/ws/f"], "has no scheme; write ws://"),
        (&["listen", "--header", "hush", "ws://h"], "--header: no colon"),
        (&["listen", "--token", "a b", "ws://h"], "--token: "),
        (&["listen", "--token-file", "/nowhere", "ws://h"], "--token-file: \"/nowhere\" cannot be"),
        (&["listen", "--token-file", "/dev/null", "ws://h"], "--token-file: the token is empty"),
        (&["listen", "--token-file=/dev/null", "--token=t", "ws://h"], "--token-file: "),
    ];
    for (args, words) in cases {
        complains(args, 2, words);
    }
    let mut command = wsloop(&["fetch", "--broadcast", "f"]);
    let output = command.env("WSLOOP_REDIS", "redis://u:hush@h:port").output().expect("it runs");
    let (code, _, err) = ended(output);
    assert!(code == 2 && err.starts_with("wsloop: WSLOOP_REDIS: "), "{err}");
    assert!(!err.contains("hush"), "{err}");
}

/// What the Python package, the publisher and the server take and refuse, too.
#[test]
fn codes_and_seconds_are_those_of_everybody() {
    let rules = include_str!("../../clients/python/tests/rules.json");
    let rules: serde_json::Value = serde_json::from_str(rules).expect("JSON");
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let check = |path: &str, args: &[&str], flag: &str, is_taken: bool| {
        let values = rules.pointer(path).and_then(serde_json::Value::as_array).expect("a list");
        for value in values {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let given = format!("--{flag}={value}");
            let args = [args, &["--redis", &nobody, &given]].concat();
            let (status, _, err) = ended(wsloop(&args).output().expect("it runs"));
            // What is taken fails where nobody listens.
            assert_eq!(status, if is_taken { 1 } else { 2 }, "{args:?}: {err}");
        }
    };
    let (disconnect, publish) = (["disconnect", "--user=a"], ["publish", "--broadcast", "f", "m"]);
    check("/codes/taken", &disconnect, "code", true);
    check("/codes/refused", &disconnect, "code", false);
    check("/expire/taken", &publish, "expire", true);
    check("/expire/refused", &publish, "expire", false);
    check("/not whole seconds", &publish, "expire", false);
}

#[test]
fn help_says_the_exit_statuses_and_no_secret() {
    for command in ["publish", "fetch", "listen", "disconnect"] {
        let output = wsloop(&[command, "--help"]).env("WSLOOP_REDIS", "redis://:hush@h").output();
        let (code, help, _) = ended(output.expect("it runs"));
        assert!(code == 0 && help.contains("Exit status: 0") && !help.contains("hush"), "{help}");
        let unheard = help.contains("3 no process heard it");
        assert_eq!(unheard, command == "disconnect", "{help}");
    }
}

#[test]
fn a_redis_that_cannot_be_reached_is_one_line_within_10_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    // It says hello, and nothing after that.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let polite = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let mut guests = Vec::new();
        for guest in listener.incoming() {
            let mut guest = guest.expect("a connection");
            let _ = guest.write_all(b"+OK\r\n");
            guests.push(guest);
        }
    });
    let cases = [
        (format!("redis://u:hush@127.0.0.1:{}", free_port()), "refused"),
        (format!("redis://:hush@{}", silent.local_addr().expect("an address")), "too long"),
        (format!("redis://{polite}"), "too long"),
        ("unix:///nowhere/redis.sock".to_owned(), "No such file"),
    ];
    thread::scope(|scope| {
        for (url, words) in &cases {
            for command in [
                &["publish", "--broadcast", "f", "m"][..],
                &["fetch", "--user", "u", "f"],
                &["disconnect", "--user", "u"],
            ] {
                scope.spawn(move || {
                    let args = [command, &["--redis", url]].concat();
                    let began = Instant::now();
                    let line = complains(&args, 1, words);
                    assert!(began.elapsed() < Duration::from_secs(10), "{args:?}");
                    assert!(!line.contains("hush"), "{line}");
                });
            }
        }
    });
}

#[test]
#[ignore = "needs redis-server"]
fn what_is_published_is_in_its_channels_history_where_a_rule_says_so() {
    let redis = RedisServer::start();
    let url = &redis.url();
    let mut app = redis.connect();
    let length = |app: &mut RedisClient, channel: &str| {
        app.command(&["XLEN", &format!("wsloop:history:{{site:{channel}}}")])
    };
    let args = ["publish", "--redis", url, "--prefix=site", "--broadcast", "--user=john"];
    let rules = ["--history=chat/*=2/60,a=1/1", "--history=news=9/60"];
    for text in ["1", "2", "3"] {
        let args = [&args[..], &rules, &["chat/1", text]].concat();
        prints(&args, "published to 2 channels, heard by 0 subscribers\n");
    }
    assert_eq!(length(&mut app, "broadcast:chat/1"), Value::Integer(2));
    assert_eq!(length(&mut app, "user:john:chat/1"), Value::Integer(2));
    app.expect_ttl("wsloop:history:{site:broadcast:chat/1}", 60);
    app.expect_ttl("site:broadcast:chat/1", 3600);
    let mut command = wsloop(&[&args[..], &["other", "x"]].concat());
    command.env("WSLOOP_HISTORY", "chat/*=2/60");
    assert_eq!(ended(command.output().expect("it runs")).0, 0);
    assert_eq!(length(&mut app, "broadcast:other"), Value::Integer(0));
    let (_, _, err) = run(&[&args[..], &rules, &["chat/{1", "x"]].concat());
    assert!(err.contains("chat/{1\" has no history, as its name has a brace in it"), "{err}");
    app.command(&["SET", "wsloop:history:{site:broadcast:news}", "in the way"]);
    complains(&[&args[..], &rules, &["news", "x"]].concat(), 1, "UNKEPT WRONGTYPE");
}

#[test]
#[ignore = "needs redis-server"]
fn what_is_published_can_be_fetched_byte_for_byte() {
    let redis = RedisServer::start();
    let url = &redis.url();
    let server = Wsloop::start(&["--redis", url, "--prefix", "site"]);
    let mut browser = server.connect("chat?subscribe-broadcast");
    let at = ["--redis", url, "--prefix", "site"];
    let with = |args: &[&'static str]| [args, &at[..]].concat();

    let args = with(&["publish", "--broadcast", "--user=john", "chat", "Grüße"]);
    prints(&args, "published to 2 channels, heard by 1 subscriber\n");
    browser.expect(&["Grüße"]);
    let args = with(&["publish", "--json", "--broadcast", "--expire=60", "chat", "-1"]);
    prints(&args, "{\"channels\":1,\"receivers\":1}\n");
    browser.expect(&["-1"]);
    let mut app = redis.connect();
    app.expect_ttl("site:broadcast:chat", 60);

    prints(&with(&["fetch", "--broadcast", "--user=john", "chat"]), "Grüße\n");
    prints(&with(&["fetch", "--broadcast", "--user=mary", "chat"]), "-1\n");
    let json = "{\"kind\":\"text\",\"data\":\"Grüße\"}\n";
    prints(&with(&["fetch", "--json", "--user=john", "chat"]), json);
    complains(&with(&["fetch", "--group=g", "chat"]), 1, "no message is stored");
    let (code, out, _) = run(&with(&["fetch", "--json", "--session=s", "chat"]));
    assert_eq!((code, out.as_str()), (1, "null\n"));

    let binary = [0, b'\n', 0xff, 0xaa, b'\n'];
    let mut command = wsloop(&["publish", "--session=s", "chat", "-"]);
    command.env("WSLOOP_REDIS", url).env("WSLOOP_PREFIX", "site").env("WSLOOP_EXPIRE", "77");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(&binary).expect("it reads");
    let done = ended(child.wait_with_output().expect("a child"));
    assert_eq!(done.1, "published to 1 channel, heard by 0 subscribers\n", "{done:?}");
    app.expect_ttl("site:session:s:chat", 77);
    let fetched = wsloop(&with(&["fetch", "--session=s", "chat"])).output().expect("it runs");
    assert_eq!(fetched.stdout, binary);
    let json = "{\"kind\":\"binary\",\"data\":\"AAr/qgo=\"}\n";
    prints(&with(&["fetch", "--json", "--session=s", "chat"]), json);

    app.ok(&["CONFIG", "SET", "requirepass", "secret"]);
    complains(&with(&["publish", "--broadcast", "chat", "m"]), 1, "NOAUTH");
}

#[test]
#[ignore = "needs redis-server"]
fn a_disconnect_is_heard_on_the_control_channel() {
    let redis = RedisServer::start();
    let url = &redis.url();
    let args = ["disconnect", "--redis", url, "--user", "u"];
    complains(&args, 3, "no process heard it; give the --redis and the --prefix");
    let (code, out, err) = run(&[&args[..], &["--json"]].concat());
    assert_eq!((code, out.as_str()), (3, "{\"receivers\":0}\n"), "{err}");
    let mut process = UnixStream::connect(redis.socket()).expect("Redis listens");
    process.set_read_timeout(Some(PATIENCE)).expect("a socket");
    process.write_all(b"SUBSCRIBE p:wsloop:control\r\n").expect("Redis takes it");
    let mut heard = String::new();
    let mut hear = |words: &str| {
        while !heard.contains(words) {
            let mut room = [0; 1024];
            let n = process.read(&mut room).expect("Redis sends");
            heard.push_str(std::str::from_utf8(&room[..n]).expect("a text"));
        }
        heard.clear();
    };
    hear(":1\r\n");
    let args = ["disconnect", "--redis", url, "--prefix=p", "--user", "john"];
    prints(&args, "told 1 process\n");
    hear("{\"code\":4403,\"disconnect\":{\"user\":\"john\"},\"reason\":\"\"}\r\n");
    let args = [
        &["disconnect", "--redis", url, "--prefix=p", "--json"][..],
        &["--group", "a:b", "--code=4000", "--reason", "go \"home\""],
    ]
    .concat();
    prints(&args, "{\"receivers\":1}\n");
    let message = r#"{"code":4000,"disconnect":{"group":"a:b"},"reason":"go \"home\""}"#;
    hear(&format!("{message}\r\n"));
}

#[test]
fn a_disconnect_is_heard_by_who_knows_whose_browsers_are() {
    let disconnect = |server: &Wsloop| {
        let redis = format!("redis://{}", server.resp_address());
        run(&["disconnect", "--user", "john", "--redis", &redis])
    };
    let nobody = Wsloop::start(&["--resp", "127.0.0.1:0"]);
    let (code, out, err) = disconnect(&nobody);
    assert!(code == 3 && out.is_empty() && err.contains("--auth-url does not listen"), "{err}");
    let url = format!("http://127.0.0.1:{}/", free_port());
    let somebody = Wsloop::start(&["--resp", "127.0.0.1:0", "--auth-url", &url]);
    assert_eq!(disconnect(&somebody), (0, "told 1 process\n".to_owned(), String::new()));
}

/// `wsloop listen`, killed when dropped.
struct Listener {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: BufReader<ChildStderr>,
}

impl Listener {
    fn start(args: &[&str]) -> Listener {
        let mut command = wsloop(&[&["listen"], args].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let stdout = child.stdout.take().map(BufReader::new);
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        Listener { child, stdout, stderr }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let stdout = self.stdout.as_mut().expect("it was not dropped");
        stdout.read_line(&mut line).expect("a pipe");
        line
    }

    /// Reads what it says until a line contains the words.
    #[track_caller]
    fn says(&mut self, words: &str) {
        let mut all = String::new();
        while self.stderr.read_line(&mut all).expect("a pipe") > 0 {
            if all.lines().last().is_some_and(|line| line.contains(words)) {
                return;
            }
        }
        panic!("it does not say {words:?}: {all}");
    }

    #[track_caller]
    fn ends(&mut self) -> ExitStatus {
        eventually("the end of wsloop listen", || self.child.try_wait().expect("a child"))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_a_websocket_brings_is_printed_and_a_shutdown_is_a_good_end() {
    let mut server = Wsloop::start(&["--allow", "all"]);
    let url = format!("ws://{}/ws/room?subscribe-broadcast", server.address());
    let mut plain = Listener::start(&["--once", &url]);
    let mut json = Listener::start(&["--once", "--json", &url]);
    plain.says("connected to ws://");
    json.says("/ws/room");
    let mut sender = server.connect("room?publish-broadcast");
    sender.send("Grüße");
    sender.send_binary(&[0x00, 0x12, 0xaa]);
    sender.send("two\nlines");
    assert_eq!(plain.line(), "Grüße\n");
    assert_eq!(plain.line(), "ABKq\n");
    assert_eq!(plain.line() + &plain.line(), "two\nlines\n");
    for rest in [
        "\"kind\":\"text\",\"data\":\"Grüße\"}\n",
        "\"kind\":\"binary\",\"data\":\"ABKq\"}\n",
        "\"kind\":\"text\",\"data\":\"two\\nlines\"}\n",
    ] {
        let line = json.line();
        assert!(line.starts_with("{\"time\":") && line.ends_with(rest), "{line}");
    }
    sender.close();
    server.process().signal("TERM");
    assert!(server.wait().success());
    assert_eq!(plain.ends().code(), Some(0));
    assert_eq!(json.ends().code(), Some(0));
    assert_eq!(plain.line(), "");
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    let port = free_port();
    let url = format!("ws://127.0.0.1:{port}/ws/room?subscribe-broadcast");
    let mut listener = Listener::start(&[&url]);
    listener.says("; trying again in ");
    let address = format!("127.0.0.1:{port}");
    for text in ["one", "two"] {
        let mut server = Wsloop::start(&["--allow", "all", "--listen", &address]);
        listener.says("connected to ws://");
        let mut sender = server.connect("room?publish-broadcast");
        sender.send(text);
        assert_eq!(listener.line(), format!("{text}\n"));
        sender.close();
        server.process().signal("TERM");
        listener.says("the server closed with 1001");
        assert!(server.wait().success());
    }
    let mut once = Listener::start(&["--once", &url]);
    assert_eq!(once.ends().code(), Some(1));
    once.says("no connection to 127.0.0.1:");
}

#[test]
fn a_refusal_is_the_end_with_status_and_text() {
    let server = Wsloop::start(&[]);
    let address = server.address();
    let url = &format!("ws://{address}/ws/room?token=hush");
    let line = complains(&["listen", "--header", "Origin: http://evil.example", url], 1, "403: ");
    assert!(line.contains("Origin") || line.contains("origin"), "{line}");
    assert!(!line.contains("hush"), "{line}");
    complains(&["listen", &format!("ws://{address}/nowhere")], 1, "refuses with 404");

    let closing = Wsloop::start(&["--refuse", "close"]);
    let url = format!("ws://{}/ws/room", closing.address());
    let mut listener = Listener::start(&["--header", "Origin: http://evil.example", &url]);
    assert_eq!(listener.ends().code(), Some(1));
    listener.says("the server closed with 4403: ");
}

/// A server that answers one request with this and hangs up; what it was asked.
fn answering(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            let mut room = [0; 1024];
            let n = stream.read(&mut room).expect("a request");
            request.push_str(std::str::from_utf8(&room[..n]).expect("a text"));
        }
        stream.write_all(answer.as_bytes()).expect("a client");
        request
    });
    (address, thread)
}

#[test]
fn headers_token_and_subprotocols_are_sent() {
    let (address, server) = answering("HTTP/1.1 401 Unauthorized\r\n\r\nwho\r\n are\tyou?\n");
    let url = format!("ws://{address}/ws/a?b");
    let args = ["listen", "--header", "Cookie: sessionid=s; x=y", "--header", "X-A:b"];
    let more = ["--token", "t.o.k", "--subprotocol", "chat,v2", &url];
    complains(&[&args[..], &more].concat(), 1, "the server refuses with 401: who are you?");
    let request = server.join().expect("a request");
    assert!(request.starts_with("GET /ws/a?b HTTP/1.1\r\n"), "{request}");
    for line in [
        &*format!("Host: {address}"),
        "Cookie: sessionid=s; x=y",
        "X-A: b",
        "Authorization: Bearer t.o.k",
        "Sec-WebSocket-Protocol: chat, v2",
    ] {
        assert_eq!(request.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line}: {request}");
    }

    // Nobody else is to see a token, whether it is in the variable or in a file.
    let folder = Folder::new();
    let file = folder.join("token");
    fs::write(&file, "t.o.k\r\n").expect("a file");
    let file = file.to_str().expect("text");
    let cases: [(&[&str], &str); 3] =
        [(&[], "t.o.k"), (&["--token-file", file], ""), (&["--token-file", file], "another")];
    for (args, variable) in cases {
        let (address, server) = answering("HTTP/1.1 401 Unauthorized\r\n\r\n");
        let url = format!("ws://{address}/ws/a");
        let mut command = wsloop(&[&["listen"], args, &[&*url]].concat());
        let (code, _, _) = ended(command.env("WSLOOP_TOKEN", variable).output().expect("it runs"));
        assert_eq!(code, 1);
        let request = server.join().expect("a request");
        let line = "\r\nAuthorization: Bearer t.o.k\r\n";
        assert_eq!(request.matches(line).count(), 1, "{args:?} {variable}: {request}");
        assert_eq!(request.matches("Authorization").count(), 1, "{args:?} {variable}: {request}");
    }
    let given = wsloop(&["listen", "ws://h"]).env("WSLOOP_TOKEN", "hu sh").output();
    let (code, _, err) = ended(given.expect("it runs"));
    assert!(code == 2 && err.starts_with("wsloop: WSLOOP_TOKEN: the token"), "{err}");
    assert!(!err.contains("hu"), "{err}");

    let server = Wsloop::start(&["--subprotocols", "v2,v1"]);
    let url = format!("ws://{}/ws/a", server.address());
    let mut listener = Listener::start(&["--subprotocol", "v1", &url]);
    listener.says("connected to");
}

#[test]
fn what_is_no_websocket_server_is_not_tried_again() {
    for answer in ["SSH-2.0-server\r\n\r\n", "HTTP/1.1 101 Go\r\nUpgrade: h2c\r\n\r\n"] {
        let (address, server) = answering(answer);
        complains(&["listen", &format!("ws://{address}")], 1, "is no WebSocket: ");
        server.join().expect("a request");
    }
    let (address, server) = answering("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n");
    complains(&["listen", &format!("ws://{address}")], 1, "refuses with 302");
    server.join().expect("a request");
}

#[test]
fn a_reader_that_has_seen_enough_ends_it() {
    let server = Wsloop::start(&["--allow", "all"]);
    let url = format!("ws://{}/ws/room?subscribe-broadcast", server.address());
    let mut listener = Listener::start(&[&url]);
    listener.says("connected to");
    listener.stdout = None;
    let mut sender = server.connect("room?publish-broadcast");
    // A child that another test starts in this moment still has the pipe's other end for a while,
    // and then takes a message.
    let status = eventually("the end of wsloop listen", || {
        sender.send("one");
        listener.child.try_wait().expect("a child")
    });
    assert_eq!(status.code(), Some(0));
}
