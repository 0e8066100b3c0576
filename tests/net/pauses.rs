//! What comes of a pause: a process that did not run, with whatever peers have said meanwhile.

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use wsloop::Settings;
use wsloop::proto::ws::frame::Opcode;

use crate::support::client::{Client, frame_bytes, upgrade};
use crate::turns::{Loop, read_some, texts, write_some};
use crate::world::settings;

/// More than the kernel tells at a time.
const CROWD: usize = 2500;

#[test]
fn a_pause_closes_nobody_who_had_answered() {
    let _ = rlimit::increase_nofile_limit(4 * CROWD as u64);
    let settings = Settings {
        ping_interval_ms: 500,
        pong_timeout_ms: 5_000,
        max_connections: 2 * CROWD,
        max_handshakes: 2 * CROWD,
        ..settings()
    };
    let mut lp = Loop::new(settings);
    let request = upgrade("room", lp.address(), "");
    let mut crowd: Vec<TcpStream> = Vec::new();
    for _ in 0..CROWD {
        let mut stream = TcpStream::connect(lp.address()).expect("a connection");
        stream.write_all(request.as_bytes()).expect("a request is taken");
        crowd.push(stream);
        if crowd.len().is_multiple_of(100) {
            lp.turn();
        }
    }
    lp.until("all are open and pinged", |lp| lp.metrics().pings_total >= CROWD as u64);
    let pong = frame_bytes(true, Opcode::Pong, b"");
    let mut silent = crowd.split_off(CROWD - 10);
    for stream in &mut crowd {
        assert!(read_some(stream) > 0);
        // A loud one has more to say than is read in one go.
        stream.write_all(&pong.repeat(300)).expect("it is taken");
    }
    sleep(Duration::from_millis(6_500));
    lp.turn();
    let closed = lp.metrics().pong_timeouts_total;
    assert_eq!(closed, 10, "those who had not answered, and nobody else");
    lp.settle();
    assert_eq!(lp.metrics().conns_open, crowd.len() as u64);
    assert!(silent.iter_mut().all(|stream| read_some(stream) > 0));
}

/// After a pause reading has no end but this one: as much is queued as may be. No event tells again
/// of what was not read.
#[test]
fn whoever_waits_for_room_after_a_pause_is_read_and_answered() {
    let mut lp = Loop::new(Settings { echo_path: Some("/ws/echo".to_owned()), ..settings() });
    let (number, text) = (40, "x".repeat(48 << 10));
    let mut crowd: Vec<Client> = (0..number).map(|_| lp.open("echo")).collect();
    let message = texts(&[text]);
    for client in &mut crowd {
        assert_eq!(write_some(client.stream(), &message), message.len(), "the kernel takes it");
    }
    sleep(Duration::from_millis(1_500));
    lp.turn();
    assert_eq!(lp.metrics().messages_in_total, number, "all are read in one turn");
    // The header of what goes out has no mask.
    let answer = message.len() - 4;
    for client in &mut crowd {
        let mut bytes = 0;
        lp.until("its answer", |_| {
            bytes += read_some(client.stream());
            bytes == answer
        });
    }
}
