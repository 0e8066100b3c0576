//! The forms of the log, the line of each conn at its end, and what no log may tell.

use std::fs;

use serde_json::Value;

use crate::keys;
use crate::support::client::{Client, upgrade};
use crate::support::{Folder, Wsloop, eventually};

/// The lines that end a conn, as soon as there are so many.
fn ends(server: &Wsloop, count: usize) -> Vec<String> {
    eventually("a line for each conn", || {
        let log = server.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("conn ended")).collect();
        (lines.len() == count).then(|| lines.into_iter().map(str::to_owned).collect())
    })
}

#[test]
fn each_conn_has_a_line_at_its_end() {
    let folder = Folder::new();
    let key = folder.join("key");
    fs::write(&key, keys::OLD).expect("a file");
    let key = key.to_str().expect("UTF-8");
    let args = ["--access-log", "--log-format", "json", "--token-key-file", key, "--health", "/up"];
    let server = Wsloop::start(&args);
    let john = server.connect(&keys::by(keys::OLD));
    john.close();
    let mut wrong = server.connect("room");
    wrong.raw(&[0x83, 0x80, 0, 0, 0, 0]);
    wrong.hear_close(1002, "");
    drop(wrong);
    assert_eq!(server.try_connect("room?subscribe-nobody").expect_err("a 400").status, 400);
    assert_eq!(server.get("/up").status, 200);
    let mut lines: Vec<Value> = ends(&server, 4)
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    lines.sort_by_key(|line| line["close"].as_u64());
    let said = |line: &Value| {
        let text = |name: &str| line[name].as_str().expect(name).to_owned();
        let (status, close) = (line["status"].as_u64(), line["close"].as_u64());
        (text("path"), text("user"), status, close, text("by"))
    };
    let mut plain: Vec<_> = lines[..2].iter().map(said).collect();
    plain.sort();
    let line = |path: &str, user: &str, status, close, by: &str| {
        (path.to_owned(), user.to_owned(), Some(status), Some(close), by.to_owned())
    };
    assert_eq!(plain, [line("/up", "", 200, 0, ""), line("/ws/room", "", 400, 0, "")]);
    assert_eq!(said(&lines[2]), line("/ws/room", "john", 101, 1000, "browser"));
    assert_eq!(said(&lines[3]), line("/ws/room", "", 101, 1002, "server"));
    for line in &lines {
        assert_eq!((&line["level"], &line["address"]), (&"info".into(), &"127.0.0.1".into()));
        assert!(line["seconds"].as_f64().is_some_and(|seconds| seconds < 60.0));
    }
    // Every other line is an object, too.
    let log = server.log();
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{log}");
}

#[test]
fn nobody_begins_a_line_with_what_they_say_of_themselves() {
    let server = Wsloop::start(&["--access-log", "--log-format", "logfmt", "--log", "debug"]);
    let host = server.address();
    let path = "/ws/a%0alevel=error \" b=1";
    let request = upgrade("room", host, "").replace("/ws/room", &path.replace(' ', "%20"));
    drop(Client::open(host, &request).expect("a 101"));
    let line = ends(&server, 1).remove(0);
    assert!(line.starts_with("time=2"), "{line}");
    for words in [" level=info ", " msg=\"conn ended\" ", " status=101 ", "path=\"/ws/a%0a"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    for line in server.log().lines() {
        assert!(line.starts_with("time=2") && line.contains(" level="), "{line}");
    }
}

#[test]
fn no_log_and_no_answer_tells_a_secret() {
    let folder = Folder::new();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let key = write("key", keys::OLD);
    let token = write("token", "operators-word");
    // Nobody listens there, so that everything that can be said of a failure is.
    let redis = "redis://wsloop:redis-password@127.0.0.1:1";
    let args = [
        "--log=trace",
        "--access-log",
        "--redis",
        redis,
        "--redis-timeout",
        "0.2",
        "--token-key-file",
        &key,
        "--session-key",
        "session:{}",
        "--auth-url",
        "http://127.0.0.1:1/auth",
        "--admin",
        "127.0.0.1:0",
        "--admin-token-file",
        &token,
    ];
    let server = Wsloop::start(&args);
    let host = server.address();
    let good = keys::by(keys::OLD);
    let signature = good.rsplit('.').next().expect("a signature").to_owned();
    let secrets = [
        "redis-password",
        "operators-word",
        "the-cookie",
        "the-basic-word",
        "forged-token",
        keys::OLD,
        &signature,
    ];
    let mut answers = Vec::new();
    for (path, more) in [
        (good.as_str(), ""),
        ("room?subscribe-user&token=forged-token", ""),
        ("room?subscribe-user", "Authorization: Bearer forged-token\r\n"),
        ("room?subscribe-user", "Sec-WebSocket-Protocol: wsloop, bearer.forged-token\r\n"),
        ("room?subscribe-user", "Authorization: Basic the-basic-word\r\n"),
        ("room?subscribe-user", "Cookie: sessionid=the-cookie\r\n"),
        ("room?nonsense", "Cookie: the-cookie\r\nOrigin: http://elsewhere.example\r\n"),
    ] {
        if let Err(response) = Client::open(host, &upgrade(path, host, more)) {
            answers.push(response.body);
        }
    }
    let answers = answers.join("\n");
    server.expect_log(&["conn ended"]);
    ends(&server, 7);
    let log = server.log();
    assert!(log.contains("DEBUG") && log.contains("Redis at 127.0.0.1:1"), "{log}");
    for secret in secrets {
        assert!(!log.contains(secret), "{secret}: {log}");
        assert!(!answers.contains(secret), "{secret}: {answers}");
    }
}
