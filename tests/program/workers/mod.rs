//! A master and its workers, over a real Redis: that they are one server, and that who dies is
//! missed by nobody.

mod brokers;
mod life;
mod signals;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::admin::{ask, metrics};
use super::cli::complaint;
use super::support::client::{Client, Response, upgrade};
use super::support::redis::RedisServer;
use super::support::{Folder, PATIENCE, Wsloop, eventually};

/// A server of two workers, and its Redis.
struct Site {
    server: Wsloop,
    redis: RedisServer,
}

impl Site {
    fn start(args: &[&str]) -> Site {
        Site::start_in(&[], args)
    }

    fn start_in(environment: &[&str], args: &[&str]) -> Site {
        let redis = RedisServer::start();
        let url = redis.url();
        let own = ["--workers", "2", "--redis", &url, "--admin", "127.0.0.1:0", "--allow", "all"];
        let server = Wsloop::start_in(environment, Stdio::null(), &[&own[..], args].concat());
        Site { server, redis }
    }

    /// The workers' processes.
    fn workers(&self) -> Vec<u32> {
        children(self.server.process().id())
    }

    /// Two workers, none of which is that one.
    fn workers_without(&self, gone: u32) -> Vec<u32> {
        eventually("two workers", || {
            let workers = self.workers();
            (workers.len() == 2 && !workers.contains(&gone)).then_some(workers)
        })
    }

    /// What all of them say together.
    fn values(&self) -> BTreeMap<String, f64> {
        metrics(self.server.admin()).0
    }

    fn expect_ready(&self, status: u16, words: &str) {
        eventually(&format!("{status} {words}"), || {
            let answer = ask(self.server.admin(), "/readyz", "");
            (answer.status == status && answer.body.contains(words)).then_some(())
        });
    }
}

/// The living processes that one has started.
fn children(parent: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").expect("Linux").map_while(Result::ok) {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let state = fields.next();
        if fields.next().and_then(|id| id.parse().ok()) == Some(parent) && state != Some("Z") {
            all.push(id);
        }
    }
    all.sort();
    all
}

/// Whether a process lives.
fn lives(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z")
}

fn signal(name: &str, id: u32) {
    let status = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status();
    assert!(status.expect("kill is there").success());
}

fn of_worker(values: &BTreeMap<String, f64>, number: usize) -> f64 {
    values[&format!("wsloop_worker_conns_open{{worker=\"{number}\"}}")]
}

#[test]
#[ignore = "needs redis-server"]
fn each_holds_its_part_and_figures_are_of_all() {
    let site = Site::start(&[]);
    let mut clients: Vec<Client> =
        (0..1000).map(|_| site.server.connect("room?subscribe-broadcast")).collect();
    let values = site.values();
    let parts = [1, 2].map(|number| of_worker(&values, number));
    assert!(parts.iter().all(|part| *part >= 200.0), "{parts:?}");
    for (name, value) in [
        ("wsloop_conns_open", 1000.0),
        ("wsloop_handshakes_total", 1000.0),
        ("wsloop_broker_up", 1.0),
        ("wsloop_workers", 2.0),
        ("wsloop_ready", 1.0),
        ("wsloop_workers_restarted_total", 0.0),
    ] {
        assert_eq!(values[name], value, "{name}");
    }
    assert!(values["process_open_fds"] >= 1000.0, "{}", values["process_open_fds"]);
    let told = ask(site.server.admin(), "/conns", "");
    let told: Value = serde_json::from_str(&told.body).expect("JSON");
    assert_eq!(
        (&told["open"], &told["facilities"][0]["subscriptions"]),
        (&1000.into(), &1000.into())
    );
    // Redis sends it to each of the two.
    assert_eq!(site.redis.connect().publish("broadcast:room", "to all"), 2);
    clients.iter_mut().for_each(|client| client.expect(&["to all"]));
}

#[test]
#[ignore = "needs redis-server"]
fn a_message_of_one_reaches_the_browsers_of_the_other() {
    let site = Site::start(&[]);
    let path = "room?subscribe-broadcast&publish-broadcast&echo";
    let mut clients: Vec<Client> = (0..40).map(|_| site.server.connect(path)).collect();
    let values = site.values();
    assert!([1, 2].iter().all(|number| of_worker(&values, *number) > 0.0), "a chance of 2 to -39");
    for number in 0..clients.len() {
        let text = format!("from {number}");
        clients[number].send(&text);
        clients.iter_mut().for_each(|client| client.expect(&[&text]));
    }
    assert_eq!(site.values()["wsloop_publishes_total"], 40.0);
    // Nobody is told a message twice.
    clients.into_iter().for_each(Client::close);
}

#[test]
#[ignore = "needs redis-server"]
fn a_socket_with_a_path_is_for_both_workers() {
    let folder = Folder::new();
    let path = folder.join("wsloop.sock");
    let mut site = Site::start(&["--listen", &format!("unix:{}", path.display())]);
    let come = || {
        let mut stream = UnixStream::connect(&path).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(upgrade("room", "localhost", "").as_bytes()).expect("it is taken");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        assert_eq!(&status, b"HTTP/1.1 101");
        stream
    };
    // While one does nothing the other serves.
    let mut streams = Vec::new();
    for worker in site.workers() {
        signal("STOP", worker);
        streams.extend((0..5).map(|_| come()));
        signal("CONT", worker);
    }
    let values = site.values();
    let parts = [1, 2].map(|number| of_worker(&values, number));
    assert_eq!(parts.iter().sum::<f64>(), 10.0, "{parts:?}");
    assert!(parts.iter().all(|part| *part > 0.0), "{parts:?}");
    drop(streams);
    site.server.process().signal("TERM");
    assert!(site.server.wait().success());
    assert!(!path.exists(), "its file goes with the master");
}

#[test]
#[ignore = "needs redis-server"]
fn nobody_is_ready_while_a_worker_is_not() {
    let mut site = Site::start(&[]);
    site.expect_ready(200, "ready");
    let stopped = site.workers()[0];
    signal("STOP", stopped);
    site.expect_ready(503, "it does not answer");
    assert_eq!(site.values()["wsloop_ready"], 0.0);
    assert_eq!(ask(site.server.admin(), "/healthz", "").status, 200, "the master is well");
    signal("CONT", stopped);
    site.expect_ready(200, "ready");
    site.redis.kill();
    site.expect_ready(503, "worker 1: Redis cannot be reached");
    site.expect_ready(503, "worker 2: Redis cannot be reached");
    site.server.process().signal("TERM");
    assert!(site.server.wait().success());
}

#[test]
#[ignore = "needs redis-server"]
fn the_master_wants_the_token_and_has_it_for_its_workers() {
    let folder = Folder::new();
    let file = folder.join("token");
    fs::write(&file, "the word\n").expect("a file");
    let site = Site::start(&["--admin-token-file", file.to_str().expect("UTF-8")]);
    let admin = site.server.admin();
    let known = "Authorization: Bearer the word\r\n";
    for path in ["/", "/metrics", "/conns", "/readyz", "/healthz"] {
        assert_eq!(ask(admin, path, "").status, 401, "{path}");
        assert_eq!(ask(admin, path, "Authorization: Bearer a word\r\n").status, 401, "{path}");
    }
    eventually("workers that are ready", || {
        (ask(admin, "/readyz", known).body == "ready\n").then_some(())
    });
    let told: Value = serde_json::from_str(&ask(admin, "/conns", known).body).expect("JSON");
    assert_eq!(told["open"], 0);
    let request = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(Response::to(admin, request).status, 421);
    assert_eq!(Response::to(admin, "nonsense\r\n\r\n").status, 400);
}

#[test]
#[ignore = "needs redis-server"]
fn what_several_workers_cannot_do_is_refused() {
    let refusal = |args: &[&str]| complaint(args, &[]);
    let said = refusal(&["--workers", "2", "--listen", "127.0.0.1:0"]);
    assert!(said.contains("--workers: ") && said.contains("through Redis"), "{said}");
    let site = Site::start(&[]);
    let (url, taken) = (site.redis.url(), site.server.address().to_string());
    let common = ["--workers", "2", "--redis", &url];
    let said = refusal(&[&common[..], &["--metrics", "/metrics"]].concat());
    assert!(said.contains("--metrics: ") && said.contains("--admin"), "{said}");
    // Sockets that share an address do not share it with another program.
    let said = refusal(&[&common[..], &["--listen", &taken]].concat());
    assert!(said.contains("another program listens there"), "{said}");
}

/// A moment in which something would have happened.
fn a_moment() {
    std::thread::sleep(Duration::from_millis(300));
}
