//! Peers that stall, flood, or are out to cost more than they pay.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::version::TLS13;

use super::{Site, TALK};
use crate::support::client::{frame_bytes, tcp};
use crate::support::tls::{TlsStream, connect, open};
use wsloop::proto::ws::frame::Opcode;

/// The first bytes of a handshake that is never finished.
const BEGUN: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 0xfc];

/// Waits for the end of a stream, whatever comes before it.
fn ends(stream: &mut TcpStream) -> Duration {
    let since = Instant::now();
    let mut rest = [0; 4096];
    while !matches!(stream.read(&mut rest), Ok(0) | Err(_)) {}
    since.elapsed()
}

#[test]
#[ignore = "needs openssl"]
fn a_handshake_that_stalls_is_given_up() {
    let site = Site::start(&["--handshake-timeout=1"]);
    for sent in [&b""[..], &BEGUN[..1], &BEGUN] {
        let mut stream = tcp(site.address());
        stream.write_all(sent).expect("it is taken");
        let took = ends(&mut stream);
        assert!((Duration::from_millis(900)..Duration::from_secs(8)).contains(&took), "{took:?}");
    }
    // One that is done, with no request behind it, is given up as well.
    let mut stream = connect(site.address(), &site.client, "localhost").expect("a handshake");
    ends(&mut stream.sock);
    site.server.expect_metric("handshake_timeouts_total", |count| count == 4);
}

#[test]
#[ignore = "needs openssl"]
fn handshakes_that_stall_give_way() {
    let site = Site::start(&["--max-handshakes=50"]);
    let begin = || {
        let mut stream = tcp(site.address());
        stream.write_all(&BEGUN).expect("it is taken");
        stream
    };
    let stalled: Vec<_> = (0..400).map(|_| begin()).collect();
    let mut socket = open(site.address(), &site.client, TALK);
    socket.send("through");
    socket.expect(&["through"]);
    assert!(site.server.metric("strangers_evicted_total") > 0);
    drop(stalled);
    socket.close();
}

#[test]
#[ignore = "needs openssl"]
fn what_comes_in_part_is_bounded_and_counted() {
    let site = Site::start(&[]);
    // A handshake message of 16 MiB, in records of 16 KiB.
    let mut stream = tcp(site.address());
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend_from_slice(&[1, 0xff, 0xff, 0xff]);
    record.resize(5 + 0x4000, 0);
    let mut later = record[..5].to_vec();
    later.resize(5 + 0x4000, 0);
    let _ = stream.write_all(&record).and_then(|()| stream.write_all(&later));
    ends(&mut stream);
    site.server.expect_log(&["has no TLS"]);
    // Records that are never whole count as what is held.
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut socket = open(site.address(), &site.client, TALK);
        socket.stream().sock.write_all(&record_head(0x4000)).expect("it is taken");
        socket.stream().sock.write_all(&[7; 0x3f00]).expect("it is taken");
        held.push(socket);
    }
    site.server.expect_metric("memory_bytes", |bytes| bytes > 40 * 0x3f00);
    drop(held);
    site.server.expect_metric("memory_bytes", |bytes| bytes < 0x3f00);
}

fn record_head(length: u16) -> [u8; 5] {
    let [high, low] = length.to_be_bytes();
    [23, 3, 3, high, low]
}

/// Renews the keys so often, with a byte of a message each time. Whether the server bears it.
fn renew_keys(stream: &mut TlsStream, times: usize, bytes: &mut impl Iterator<Item = u8>) -> bool {
    for _ in 0..times {
        stream.conn.refresh_traffic_keys().expect("TLS 1.3");
        let byte = [bytes.next().expect("a byte")];
        stream.conn.writer().write_all(&byte).expect("room");
        if stream.conn.write_tls(&mut stream.sock).is_err() {
            return false;
        }
        // The answers are keys, too.
        stream.sock.set_nonblocking(true).expect("a socket");
        while matches!(stream.conn.read_tls(&mut stream.sock), Ok(1..)) {
            if stream.conn.process_new_packets().is_err() {
                return false;
            }
        }
        stream.sock.set_nonblocking(false).expect("a socket");
    }
    true
}

#[test]
#[ignore = "needs openssl"]
fn who_renews_keys_without_end_is_cut_off() {
    let site = Site::start(&[]);
    let mut socket = open(site.address(), &site.client_of(&TLS13), TALK);
    let text = "y".repeat(30);
    let mut frame = frame_bytes(true, Opcode::Text, text.as_bytes()).into_iter();
    let total = frame.len();
    assert!(renew_keys(socket.stream(), total, &mut frame), "as many as a long life needs");
    socket.expect(&[&text]);
    let mut endless = frame_bytes(true, Opcode::Text, &[b'z'; 9000]).into_iter();
    assert!(
        !renew_keys(socket.stream(), 9000, &mut endless) || {
            ends(&mut socket.stream().sock);
            true
        }
    );
    site.server.expect_log(&["has no TLS", "nothing but new keys"]);
    assert_eq!(site.server.metric("tls_failed_total"), 1);
}

#[test]
#[ignore = "needs openssl"]
fn nonsense_is_answered_with_an_alert() {
    let site = Site::start(&[]);
    let mut stream = tcp(site.address());
    stream.write_all(&[22, 3, 1, 0, 4, 9, 0, 0, 0]).expect("it is taken");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    // A record that was changed on its way ends the conn, and nothing of it is heard.
    let mut socket = open(site.address(), &site.client, TALK);
    let mut other = site.server.connect("room?subscribe-broadcast");
    let frame = frame_bytes(true, Opcode::Text, b"never heard");
    socket.stream().conn.writer().write_all(&frame).expect("room");
    let mut sealed = Vec::new();
    socket.stream().conn.write_tls(&mut sealed).expect("a vector");
    *sealed.last_mut().expect("a record") ^= 1;
    socket.stream().sock.write_all(&sealed).expect("it is taken");
    ends(&mut socket.stream().sock);
    assert_eq!(other.arrived(), []);
    assert_eq!(site.server.metric("tls_failed_total"), 2);
}
