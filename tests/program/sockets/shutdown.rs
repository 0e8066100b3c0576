//! How the process ends.

use super::*;

#[test]
fn sigterm_says_1001_to_every_conn_and_ends_with_status_0() {
    let mut server = Wsloop::start(&[]);
    let mut clients: Vec<Client> =
        (0..20).map(|_| server.connect(&format!("room?{OPEN}"))).collect();
    let mut idle = tcp(server.address());
    let mut half = tcp(server.address());
    half.write_all(b"GET /ws/room HTTP/1.1\r\n").expect("bytes are taken");
    server.expect_metric("conns", |n| n == 23);
    server.process().signal("TERM");
    for client in &mut clients {
        client.expect_close(1001, "shutting down");
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
    silent.hear_close(1001, "");
    assert!(server.wait().success());
    assert!(asked.elapsed() >= Duration::from_millis(500), "the silent client had its time");
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Wsloop::start(&["--shutdown-timeout", "3600", "--close-timeout", "3600"]);
    let mut silent = server.connect("room");
    server.process().signal("TERM");
    silent.hear_close(1001, "");
    thread::sleep(Duration::from_millis(200));
    assert!(server.is_running(), "the silent client has an hour");
    server.process().signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn who_waits_to_be_accepted_when_the_process_ends_is_not_reset() {
    let mut server = Wsloop::start(&[]);
    let host = server.address();
    server.process().signal("STOP");
    let mut crowd: Vec<_> = (0..600)
        .map(|_| {
            let mut stream = tcp(host);
            stream.write_all(upgrade("room", host, "").as_bytes()).expect("the kernel takes it");
            stream
        })
        .collect();
    server.process().signal("TERM");
    server.process().signal("CONT");
    for stream in crowd.drain(..) {
        match Client::accepted(stream) {
            Err(response) => {
                assert_eq!(response.status, 503);
                assert!(response.header("retry-after").is_some(), "{response:?}");
            }
            // Whose request was read before the signal is let in, and told then.
            Ok(mut client) => client.expect_close(1001, "shutting down"),
        }
    }
    assert!(server.wait().success());
}

#[test]
fn the_end_does_not_wait_for_those_who_never_cease_to_come() {
    let mut server = Wsloop::start(&[]);
    let host = server.address();
    let comers = thread::spawn(move || {
        let mut answered = 0;
        while let Ok(mut stream) = std::net::TcpStream::connect(host) {
            let mut bytes = Vec::new();
            let request = format!("GET /chat/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let sent = stream.write_all(request.as_bytes());
            let _ = sent.and_then(|()| stream.read_to_end(&mut bytes));
            answered += usize::from(bytes.starts_with(b"HTTP/1.1 503"));
            thread::sleep(Duration::from_millis(20));
        }
        answered
    });
    thread::sleep(Duration::from_millis(100));
    let asked = Instant::now();
    server.process().signal("TERM");
    assert!(server.wait().success());
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    assert!(comers.join().expect("they are refused in the end") > 0);
}
