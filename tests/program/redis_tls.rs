//! A Redis that speaks TLS: whom it is believed from, what is shown to it, and that it is lost and
//! found like another.

use std::process::Command;

use wsloop::{Expire, Publisher, RedisTls};

use super::support::redis::RedisServer;
use super::support::tls::{Authority, Files};
use super::support::{Wsloop, eventually, free_port};

const TALK: &str = "room?subscribe-broadcast&publish-broadcast&echo";

/// A Redis with this certificate, and the port where it speaks TLS.
fn redis(authority: &Authority, files: &Files, more: &[&str]) -> (RedisServer, u16) {
    let port = free_port();
    let tls_port = port.to_string();
    let root = authority.root();
    let args = ["--tls-port", &tls_port, "--tls-cert-file", &files.cert];
    let args = [&args[..], &["--tls-key-file", &files.key, "--tls-ca-cert-file", &root], more];
    (RedisServer::start_with(&args.concat()), port)
}

/// A server that asks it so.
fn server(url: &str, more: &[&str]) -> Wsloop {
    let args = ["--redis", url, "--allow", "all", "--redis-timeout", "2", "--log", "debug"];
    Wsloop::start(&[&args[..], more].concat())
}

fn is_up(server: &Wsloop) {
    eventually("Redis is up", || (server.metric("broker_up") == 1).then_some(()));
}

#[test]
#[ignore = "needs openssl and redis-server"]
fn a_redis_is_reached_by_tls_and_found_again() {
    let authority = Authority::new();
    let files = authority.issue("redis", "DNS:localhost");
    let (mut redis, port) = redis(&authority, &files, &["--tls-auth-clients", "no"]);
    let (url, root) = (format!("rediss://localhost:{port}/1"), authority.root());
    let args = ["--redis-ca", &root, "--prefix", "p", "--max-message-size", "2MiB"];
    let server = server(&url, &args);
    is_up(&server);
    let mut socket = server.connect(TALK);
    let large = "large".repeat(200_000);
    for text in ["from the browser", &large] {
        socket.send(text);
        socket.expect(&[text]);
    }
    let told = redis.connect().command(&["PUBLISH", "p:broadcast:room", &large]);
    assert_eq!(format!("{told:?}").matches('1').count(), 1, "{told:?}");
    socket.expect(&[&large]);
    // What it stored is there for who comes later.
    let mut late = server.connect("room?subscribe-broadcast");
    assert_eq!(late.text().len(), large.len());
    redis.kill();
    server.expect_metric("broker_up", |up| up == 0);
    redis.revive(|_| {});
    is_up(&server);
    eventually("it is subscribed again", || {
        let told = redis.connect().command(&["PUBLISH", "p:broadcast:room", "again"]);
        format!("{told:?}").contains('1').then_some(())
    });
    socket.expect_among("again");
}

#[test]
#[ignore = "needs openssl and redis-server"]
fn publishers_reach_it_too() {
    let authority = Authority::new();
    let files = authority.issue("redis", "DNS:localhost");
    let (_redis, port) = redis(&authority, &files, &[]);
    let (url, root) = (format!("rediss://localhost:{port}"), authority.root());
    let shown = authority.issue("client", "DNS:client");
    let flags = ["--redis-ca", &root, "--redis-cert", &shown.cert, "--redis-key", &shown.key];
    let server = server(&url, &flags);
    is_up(&server);
    let mut socket = server.connect(TALK);
    let program = |command: &str, args: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_wsloop"));
        program.args([command, "--redis", &url]).args(args);
        let output = program.output().expect("the program");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("UTF-8"))
    };
    let publish = ["room", "by command", "--broadcast"];
    let (code, said) = program("publish", &[&publish[..], &flags].concat());
    assert_eq!(code, Some(0), "{said}");
    socket.expect(&["by command"]);
    let (code, said) = program("fetch", &[&["room", "--broadcast"][..], &flags].concat());
    assert_eq!((code, said.trim()), (Some(0), "by command"));
    // It wants a certificate, and is believed from one authority alone.
    let (code, said) = program("publish", &[&publish[..], &flags[..2]].concat());
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = program("publish", &publish);
    assert!(code == Some(1) && said.contains("invalid peer certificate"), "{said}");
    let (code, said) = program("publish", &[&publish[..], &flags[..4]].concat());
    assert!(code == Some(2) && said.contains("--redis-cert: has no key"), "{said}");

    let read = |path: &str| std::fs::read(path).expect("a file");
    let (ca, cert, key) = (read(&root), read(&shown.cert), read(&shown.key));
    let certificate = Some((&*cert, &*key));
    let tls = RedisTls { authority: Some(&ca), certificate, ..RedisTls::default() };
    let mut publisher = Publisher::new(&url).and_then(|one| one.tls(&tls)).expect("a publisher");
    for text in ["by library", &"large".repeat(100_000)] {
        let sent = publisher.to("room").broadcast().publish(text, Expire::Default);
        assert_eq!(sent.expect("it is sent").receivers, 1);
        socket.expect(&[text]);
    }
    let stored = publisher.to("room").broadcast().fetch().expect("an answer");
    assert_eq!(stored.map(|stored| stored.len()), Some(500_000));
}

/// A master and its replica, both by TLS alone.
#[test]
#[ignore = "needs openssl and redis-server"]
fn a_replica_is_heard_by_tls() {
    let authority = Authority::new();
    let files = authority.issue("redis", "DNS:localhost");
    let quick = ["--tls-auth-clients", "no", "--tls-replication", "yes"];
    let quick = [&quick[..], &["--repl-diskless-sync-delay", "0"]].concat();
    let (master, port) = redis(&authority, &files, &quick);
    let of = ["--replicaof", "127.0.0.1", &port.to_string()];
    let (replica, at) = redis(&authority, &files, &[&quick[..], &of].concat());
    let [url, behind] = [port, at].map(|port| format!("rediss://localhost:{port}"));
    let root = authority.root();
    let server = server(&url, &["--redis-replica", &behind, "--redis-ca", &root]);
    is_up(&server);
    let mut socket = server.connect(TALK);
    let hears =
        |redis: &RedisServer| redis.connect().channels().contains(&"broadcast:room".to_owned());
    eventually("the replica alone is heard", || (hears(&replica) && !hears(&master)).then_some(()));
    master.connect().publish("broadcast:room", "from the application");
    socket.expect(&["from the application"]);
    socket.send("from the browser");
    socket.expect(&["from the browser"]);
    server.connect("room?subscribe-broadcast").expect(&["from the browser"]);
    drop(replica);
    eventually("the master is heard", || hears(&master).then_some(()));
    master.connect().publish("broadcast:room", "at the master");
    socket.expect_among("at the master");
}

#[test]
#[ignore = "needs openssl and redis-server"]
fn a_redis_that_is_not_believed_is_not_asked() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = authority.issue("redis", "DNS:localhost");
    let (_redis, port) = redis(&authority, &files, &["--tls-auth-clients", "no"]);
    let (root, wrong) = (authority.root(), other.root());
    let [named, numbered] = ["localhost", "127.0.0.1"].map(|at| format!("rediss://{at}:{port}"));
    let refused: [(&str, &[&str], &str); 4] = [
        (&named, &["--redis-ca", &wrong], "invalid peer certificate"),
        (&named, &[], "invalid peer certificate"),
        (&numbered, &["--redis-ca", &root], "not valid for name"),
        (&named, &["--redis-ca", &root, "--redis-server-name", "other"], "not valid for name"),
    ];
    for (url, args, words) in refused {
        let server = server(url, args);
        server.expect_log(&[words]);
        assert_eq!(server.metric("broker_up"), 0, "{args:?}");
    }
    let by_name = ["--redis-ca", &root, "--redis-server-name", "localhost"];
    is_up(&server(&numbered, &by_name));
}

#[test]
#[ignore = "needs openssl and redis-server"]
fn a_redis_that_wants_a_certificate_is_shown_one() {
    let authority = Authority::new();
    let files = authority.issue("redis", "DNS:localhost");
    let (_redis, port) = redis(&authority, &files, &[]);
    let (url, root) = (format!("rediss://localhost:{port}"), authority.root());
    let without = server(&url, &["--redis-ca", &root]);
    without.expect_log(&["localhost", "ertificate"]);
    assert_eq!(without.metric("broker_up"), 0);
    let shown = authority.issue("client", "DNS:client");
    let pair = ["--redis-cert", &shown.cert, "--redis-key", &shown.key];
    is_up(&server(&url, &[&["--redis-ca", &root][..], &pair].concat()));
}

#[test]
#[ignore = "needs openssl"]
fn what_is_for_tls_is_given_with_it() {
    let authority = Authority::new();
    let root = authority.root();
    let checked = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
        let output = command.arg("check").args(args).output().expect("the program");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let by = "--redis=rediss://h";
    assert_eq!(checked(&[by, "--redis-ca", &root]), "");
    let cases: [(&[&str], &str); 5] = [
        (&["--redis=redis://h", "--redis-ca", &root], "--redis-ca: is for TLS"),
        (&[by, "--redis-cert", &root], "--redis-cert: has no key; give --redis-key"),
        (&[by, "--redis-key", &root], "--redis-key: is no one's; give --redis-cert"),
        (&[by, "--redis-ca", "/etc/hostname"], "has no certificate"),
        (&[by, "--redis-ca", &root, "--redis-server-name", "a b"], "--redis-server-name: \"a b\""),
    ];
    for (args, words) in cases {
        let line = checked(args);
        assert!(line.contains(words), "{args:?}: {line}");
    }
}
