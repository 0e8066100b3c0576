//! What is asked of the master and done by all: to end, to read the configuration, to hand over.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::*;
use crate::restarts::{ACTIVATED, Comers, Successor};

#[test]
#[ignore = "needs redis-server"]
fn all_drain_and_the_master_ends_with_success() {
    let mut site = Site::start(&["--drain", "0.5"]);
    let host = site.server.address();
    let mut clients: Vec<Client> = (0..40).map(|_| site.server.connect("room")).collect();
    // Whoever signals all processes of a service asks each once.
    let workers = site.workers();
    workers.iter().for_each(|worker| signal("TERM", *worker));
    a_moment();
    assert_eq!(site.workers(), workers, "workers heed their master alone");
    let asked = Instant::now();
    site.server.process().signal("TERM");
    for client in &mut clients {
        client.expect_close(1012, "restarts");
    }
    assert!(asked.elapsed() > Duration::from_millis(250), "one after the other");
    assert!(site.server.wait().success());
    assert!(TcpStream::connect(host).is_err(), "nobody listens");
    assert!(!workers.iter().any(|id| lives(*id)));
}

#[test]
#[ignore = "needs redis-server"]
fn who_is_asked_again_does_not_drain() {
    let mut site = Site::start(&["--drain", "60", "--drain-delay", "60"]);
    let mut clients: Vec<Client> = (0..10).map(|_| site.server.connect("room")).collect();
    site.server.process().signal("TERM");
    for number in [1, 2] {
        site.server.expect_log(&[&format!("worker {number} "), "serving on for 60 s"]);
    }
    site.expect_ready(503, "the server is shutting down");
    drop(site.server.connect("room"));
    site.server.process().signal("TERM");
    let refused = || TcpStream::connect(site.server.address()).is_err();
    eventually("nobody listens", || refused().then_some(()));
    site.server.process().signal("TERM");
    clients.iter_mut().for_each(|client| client.expect_close(1012, "restarts"));
    drop(clients);
    assert!(site.server.wait().success());
}

#[test]
#[ignore = "needs redis-server"]
fn a_socket_of_systemd_is_for_both_and_stays() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = socket.local_addr().expect("an address");
    let redis = RedisServer::start();
    let url = redis.url();
    let start = || {
        let stdin = Stdio::from(OwnedFd::from(socket.try_clone().expect("a socket")));
        let args = ["--workers", "2", "--redis", &url, "--listen", "systemd"];
        Wsloop::start_in(&ACTIVATED, stdin, &args)
    };
    let mut server = start();
    assert!(server.addresses().contains(&host), "{:?}", server.addresses());
    for worker in children(server.process().id()) {
        signal("STOP", worker);
        drop(Client::open(host, &upgrade("room", host, "")).expect("the other serves"));
        signal("CONT", worker);
    }
    server.process().signal("TERM");
    assert!(server.wait().success());
    // Whoever comes in between waits for the next.
    let mut early = TcpStream::connect(host).expect("systemd listens");
    early.set_read_timeout(Some(PATIENCE)).expect("a socket");
    early.write_all(upgrade("room", host, "").as_bytes()).expect("it is taken");
    let next = start();
    Client::accepted(early).unwrap_or_else(|response| panic!("refused: {response:?}"));
    drop(next);
}

#[test]
#[ignore = "needs redis-server"]
fn a_new_configuration_reaches_all_and_a_wrong_one_nobody() {
    let folder = Folder::new();
    let path = folder.join("wsloop.toml");
    let rule = "[[allow]]\nfacility = \"room\"\n";
    fs::write(&path, "").expect("a file");
    let redis = RedisServer::start();
    let url = redis.url();
    let file = path.to_str().expect("UTF-8");
    let server = Wsloop::start(&["--config", file, "--workers", "2", "--redis", &url]);
    let granted = || {
        let asked = (0..30).map(|_| {
            let answer = server.get("/ws/room?publish-broadcast");
            answer.header("x-wsloop-granted") == Some("publish-broadcast")
        });
        asked.filter(|granted| *granted).count()
    };
    assert_eq!(granted(), 0);
    fs::write(&path, rule).expect("a file");
    server.process().signal("HUP");
    server.expect_log(&["SIGHUP: the configuration is read again", "[[allow]]"]);
    eventually("all 30 are granted it", || (granted() == 30).then_some(()));
    fs::write(&path, "max-handshakes = \"few\"\n").expect("a file");
    server.process().signal("HUP");
    server.expect_log(&["SIGHUP: nothing is changed", "wsloop.toml:1: max-handshakes"]);
    a_moment();
    assert_eq!(granted(), 30);
    let log = server.log();
    assert_eq!(log.matches("nothing is changed").count(), 1, "by the master: {log}");
    assert_eq!(log.matches("is read again").count(), 1, "likewise: {log}");
}

#[test]
#[ignore = "needs redis-server"]
fn others_take_over_with_more_workers_with_none_and_with_some_again() {
    let folder = Folder::new();
    let (file, socket) = (folder.join("wsloop.toml"), folder.join("socket"));
    let redis = RedisServer::start();
    let write = |workers: usize| {
        let text = format!("workers = \"{workers}\"\nredis = \"{}\"\n", redis.url());
        fs::write(&file, text).expect("a file");
    };
    write(2);
    let place = format!("unix:{}", socket.display());
    let config = file.to_str().expect("UTF-8");
    let args = ["--config", config, "--admin", "127.0.0.1:0", "--listen", &place, "--drain", "0.3"];
    let mut server = Wsloop::start_in(&["WSLOOP_METRICS="], Stdio::null(), &args);
    let (host, admin) = (server.address(), server.admin());
    let mut open = server.connect("room");
    let comers = Comers::begin(host);
    write(3);
    server.process().signal("USR2");
    let id = taken_over(&server, 1);
    let second = Successor(id.to_string());
    open.expect_close(1012, "");
    drop(open);
    assert!(server.wait().success());
    assert!(socket.exists(), "it is the other master's now");
    assert_eq!(children(id).len(), 3);
    assert_eq!(metrics(admin).0["wsloop_workers"], 3.0);
    write(1);
    signal("USR2", id);
    let single = taken_over(&server, 2);
    let third = Successor(single.to_string());
    eventually("the end of the second", || (!lives(id)).then_some(()));
    drop(second);
    assert!(!metrics(admin).0.contains_key("wsloop_workers"), "one process is no master");
    UnixStream::connect(&socket).expect("it listens there, too");
    write(2);
    signal("USR2", single);
    let master = taken_over(&server, 3);
    let last = Successor(master.to_string());
    eventually("the end of the third", || (!lives(single)).then_some(()));
    drop(third);
    assert!(comers.end() > 10);
    assert_eq!(metrics(admin).0["wsloop_workers"], 2.0);
    UnixStream::connect(&socket).expect("it listens there, too");
    let mut one = Client::open(host, &upgrade("room", host, "")).expect("a 101");
    signal("TERM", master);
    one.expect_close(1012, "");
    eventually("a socket that is removed", || (!socket.exists()).then_some(()));
    drop(last);
}

#[test]
#[ignore = "needs redis-server"]
fn who_cannot_take_over_leaves_all_workers_as_they_were() {
    let folder = Folder::new();
    let file = folder.join("wsloop.toml");
    fs::write(&file, "").expect("a file");
    let redis = RedisServer::start();
    let config = file.to_str().expect("UTF-8");
    let args = ["--config", config, "--workers", "2", "--redis", &redis.url()];
    let server = Wsloop::start(&args);
    let workers = children(server.process().id());
    fs::write(&file, "nonsense = 1\n").expect("a file");
    server.process().signal("USR2");
    server.expect_log(&["nobody takes over, and this process serves on"]);
    drop(server.connect("room"));
    assert_eq!(children(server.process().id()), workers);
}

/// Who has taken over, which has happened so often.
fn taken_over(server: &Wsloop, times: usize) -> u32 {
    eventually("somebody who has taken over", || {
        let log = server.log();
        let mut lines = log.lines().filter(|line| line.contains("has taken over"));
        let line = lines.nth(times - 1)?;
        let (_, rest) = line.split_once("process ")?;
        rest.split(' ').next()?.parse().ok()
    })
}
