//! How the process ends.

use super::*;

#[test]
fn sigterm_says_1001_to_every_conn_and_ends_with_status_0() {
    says_1001_to_every_conn_and_ends_with_status_0("TERM");
}

#[test]
fn sighup_ends_as_sigterm_does() {
    says_1001_to_every_conn_and_ends_with_status_0("HUP");
}

fn says_1001_to_every_conn_and_ends_with_status_0(signal: &str) {
    let mut server = Wsloop::start(&[]);
    let mut clients: Vec<Client> =
        (0..20).map(|_| server.connect(&format!("room?{OPEN}"))).collect();
    let mut idle = tcp(server.address());
    let mut half = tcp(server.address());
    half.write_all(b"GET /ws/room HTTP/1.1\r\n").expect("bytes are taken");
    server.expect_metric("conns", |n| n == 23);
    server.process().signal(signal);
    for client in &mut clients {
        client.expect_close(1001, "shutting down");
        client.frame(true, Opcode::Close, &1001u16.to_be_bytes());
    }
    let mut nothing = String::new();
    idle.read_to_string(&mut nothing).expect("an end without a reset");
    assert_eq!(nothing, "", "who has asked nothing is answered nothing");
    assert_eq!(Response::read(&mut half).status, 503);
    drop((clients, idle, half));
    assert!(server.wait().success());
}

#[test]
fn a_shutdown_waits_no_longer_than_it_may() {
    let mut server = Wsloop::start(&["--shutdown-timeout", "0.5", "--close-timeout", "60"]);
    let mut silent = server.connect("room");
    let asked = Instant::now();
    server.process().signal("INT");
    silent.expect_close(1001, "");
    assert!(server.wait().success());
    assert!(asked.elapsed() >= Duration::from_millis(500), "the silent client had its time");
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Wsloop::start(&["--shutdown-timeout", "3600", "--close-timeout", "3600"]);
    let mut silent = server.connect("room");
    server.process().signal("TERM");
    silent.expect_close(1001, "");
    thread::sleep(Duration::from_millis(200));
    assert!(server.is_running(), "the silent client has an hour");
    server.process().signal("TERM");
    assert!(server.wait().success());
}
