//! How workers come, die, are replaced, and go with their master.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::restarts::Manager;
use crate::support::client::{Event, tcp};

#[test]
#[ignore = "needs redis-server"]
fn one_that_is_killed_is_replaced_and_no_connect_is_refused() {
    let site = Site::start(&[]);
    let host = site.server.address();
    let stop = Arc::<AtomicBool>::default();
    let stopped = stop.clone();
    // Whoever the dead one had is gone; whoever comes is not refused.
    let comers = thread::spawn(move || {
        let mut came = 0;
        while !stopped.load(Ordering::Relaxed) {
            let mut stream = TcpStream::connect(host).expect("no connect is refused");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            let _ = stream.write_all(upgrade("room", host, "").as_bytes());
            let mut status = [0; 12];
            let answered = stream.read_exact(&mut status).is_ok();
            came += usize::from(answered && &status == b"HTTP/1.1 101");
        }
        came
    });
    for deaths in 1..=3 {
        // Each is the successor of the one before.
        let killed = site.workers()[1];
        signal("KILL", killed);
        site.workers_without(killed);
        let counted = || site.values()["wsloop_workers_restarted_total"] == f64::from(deaths);
        eventually("a restart that is counted", || counted().then_some(()));
        site.expect_ready(200, "ready");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(comers.join().expect("nobody is refused") > 10);
    assert_eq!(site.server.log().matches("has died, and is replaced").count(), 1, "said once");
}

#[test]
#[ignore = "needs redis-server"]
fn whoever_waits_at_a_dead_one_is_served_by_the_next() {
    let site = Site::start(&[]);
    let host = site.server.address();
    let stopped = site.workers()[0];
    signal("STOP", stopped);
    let mut streams: Vec<TcpStream> = (0..30).map(|_| tcp(host)).collect();
    for stream in &mut streams {
        stream.write_all(upgrade("room", host, "").as_bytes()).expect("it is taken");
    }
    a_moment();
    signal("KILL", stopped);
    for stream in streams {
        Client::accepted(stream).unwrap_or_else(|response| panic!("refused: {response:?}"));
    }
}

#[test]
#[ignore = "needs redis-server"]
fn what_a_dead_one_has_counted_stays_counted() {
    let site = Site::start(&[]);
    let clients: Vec<Client> = (0..40).map(|_| site.server.connect("room")).collect();
    assert_eq!(site.values()["wsloop_handshakes_total"], 40.0);
    let killed = site.workers()[0];
    signal("KILL", killed);
    site.workers_without(killed);
    site.expect_ready(200, "ready");
    let values = site.values();
    assert_eq!(values["wsloop_handshakes_total"], 40.0);
    assert!(values["wsloop_conns_open"] < 40.0, "those of the dead one are gone");
    drop(clients);
}

#[test]
#[ignore = "needs redis-server"]
fn a_master_that_is_killed_leaves_nobody() {
    let site = Site::start(&[]);
    let workers = site.workers();
    assert_eq!(workers.len(), 2);
    let mut client = site.server.connect("room");
    let Site { server, redis: _redis } = site;
    let host = server.address();
    signal("KILL", server.process().id());
    eventually("nobody", || (!workers.iter().any(|id| lives(*id))).then_some(()));
    // Its last thread may still hold what it listens at.
    eventually("nobody listens", || TcpStream::connect(host).is_err().then_some(()));
    assert!(matches!(client.next(), Event::End | Event::Reset));
    // It has died as it was to.
    std::mem::forget(server);
}

#[test]
#[ignore = "needs redis-server"]
fn one_that_hangs_is_killed_and_replaced() {
    let folder = Folder::new();
    let manager = Manager::new(&folder);
    let environment = [&*manager.1, "WATCHDOG_USEC=1000000"];
    let mut site = Site::start_in(&environment, &[]);
    let told = manager.hears();
    assert_eq!(told, format!("READY=1\nMAINPID={}", site.server.process().id()));
    let hung = site.workers()[0];
    signal("STOP", hung);
    site.server.expect_log(&["gives no sign of life and is killed"]);
    site.workers_without(hung);
    site.expect_ready(200, "ready");
    site.server.process().signal("HUP");
    assert!(manager.hears().starts_with("RELOADING=1\n"));
    assert_eq!(manager.hears(), "READY=1", "when both have read it");
    site.server.process().signal("TERM");
    assert_eq!(manager.hears(), "STOPPING=1", "of the master, and of nobody else");
    assert!(site.server.wait().success());
}
