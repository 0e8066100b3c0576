//! Records of every size, and readers and writers of every speed.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, StreamOwned};

use super::{Site, TALK};
use crate::support::client::{Event, Response, frame_bytes, tcp};
use crate::support::tls::{connect, open};
use wsloop::proto::ws::frame::Opcode;

/// Sends these bytes in records of that size.
fn in_records(stream: &mut crate::support::tls::TlsStream, bytes: &[u8], size: usize) {
    for piece in bytes.chunks(size) {
        stream.conn.writer().write_all(piece).expect("room");
        stream.conn.write_tls(&mut stream.sock).expect("it is taken");
    }
}

#[test]
#[ignore = "needs openssl"]
fn records_of_one_byte_are_a_message() {
    let site = Site::start(&[]);
    for version in [&TLS12, &TLS13] {
        let mut socket = open(site.address(), &site.client_of(version), TALK);
        let text: String = (0..5000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
        let frame = frame_bytes(true, Opcode::Text, text.as_bytes());
        in_records(socket.stream(), &frame, 1);
        socket.expect(&[&text]);
        socket.close();
    }
}

#[test]
#[ignore = "needs openssl"]
fn records_are_cut_anywhere() {
    let site = Site::start(&[]);
    let mut socket = open(site.address(), &site.client, TALK);
    let text = "x".repeat(40_000);
    // Records of 16 KiB, sent in pieces that end in none of them.
    socket
        .stream()
        .conn
        .writer()
        .write_all(&frame_bytes(true, Opcode::Text, text.as_bytes()))
        .expect("room");
    let mut sealed = Vec::new();
    while socket.stream().conn.wants_write() {
        socket.stream().conn.write_tls(&mut sealed).expect("a vector");
    }
    for piece in sealed.chunks(7001) {
        socket.stream().sock.write_all(piece).expect("it is taken");
        thread::sleep(Duration::from_millis(2));
    }
    socket.expect(&[&text]);
    socket.close();
}

#[test]
#[ignore = "needs openssl"]
fn a_handshake_may_come_one_byte_at_a_time() {
    let site = Site::start(&[]);
    let name = "localhost".try_into().expect("a name");
    let session = ClientConnection::new(site.client.clone(), name).expect("a session");
    let mut stream = StreamOwned::new(session, tcp(site.address()));
    let mut sealed = Vec::new();
    while stream.conn.is_handshaking() {
        while stream.conn.wants_write() {
            stream.conn.write_tls(&mut sealed).expect("a vector");
        }
        for byte in sealed.drain(..) {
            stream.sock.write_all(&[byte]).expect("it is taken");
        }
        if stream.conn.wants_read() {
            stream.conn.read_tls(&mut stream.sock).expect("an answer");
            stream.conn.process_new_packets().expect("a handshake");
        }
    }
    stream.write_all(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it is taken");
    assert_eq!(Response::read(&mut stream).status, 404);
}

#[test]
#[ignore = "needs openssl"]
fn who_reads_slowly_has_every_byte() {
    let site = Site::start(&["--max-message-size", "8MiB", "--outbox-limit", "64MiB"]);
    let mut slow = open(site.address(), &site.client, "room?subscribe-broadcast");
    let mut fast = site.server.connect("room?publish-broadcast");
    let texts: Vec<String> = (0..24).map(|n| format!("{n:06}").repeat(60_000 + n)).collect();
    for text in &texts {
        fast.send(text);
    }
    // More waits than all buffers on the way take, so that the kernel refuses some.
    site.server.expect_metric("messages_out_total", |count| count == 24);
    site.server.expect_metric("memory_bytes", |bytes| bytes > 1 << 20);
    for text in &texts {
        slow.expect(&[text]);
    }
    slow.close();
    site.server.expect_metric("memory_bytes", |bytes| bytes == 0);
}

#[test]
#[ignore = "needs openssl"]
fn what_waits_is_whole_before_the_end() {
    let site = Site::start(&["--outbox-limit=64MiB", "--close-timeout=20", "--compression=off"]);
    let mut slow = open(site.address(), &site.client, "room?subscribe-broadcast");
    let mut fast = site.server.connect("room?publish-broadcast");
    let texts: Vec<String> = (0..24).map(|n| format!("{n:06}").repeat(60_000 + n)).collect();
    for text in &texts {
        fast.send(text);
    }
    site.server.expect_metric("messages_out_total", |count| count == texts.len() as u64);
    site.server.expect_metric("memory_bytes", |bytes| bytes > 1 << 20);
    // Its answer is the last of what waits, and the socket is closed behind that.
    slow.frame(true, Opcode::Close, &1000u16.to_be_bytes());
    for text in &texts {
        slow.expect(&[text]);
    }
    slow.expect_close(1000, "");
}

#[test]
#[ignore = "needs openssl"]
fn who_does_not_read_skips_to_the_latest_and_is_not_confused() {
    let site = Site::start(&[
        "--max-message-size=1MiB",
        "--outbox-limit=2MiB",
        "--overflow=latest",
        "--compression=off",
    ]);
    let mut slow = open(site.address(), &site.client, "room?subscribe-broadcast");
    let mut fast = site.server.connect("room?publish-broadcast");
    let text = |n: usize| format!("{n:06}").repeat(100_000);
    for n in 0..40 {
        fast.send(&text(n));
    }
    site.server.expect_metric("superseded_total", |count| count > 0);
    let mut last = None;
    while last != Some(39) {
        let got = slow.text();
        let n = got[..6].parse().expect("a number");
        assert_eq!(got, text(n), "whole, whatever was left out");
        assert!(last < Some(n));
        last = Some(n);
    }
    slow.close();
}

#[test]
#[ignore = "needs openssl"]
fn who_never_reads_is_closed_and_harms_nobody() {
    let site = Site::start(&["--outbox-limit=2MiB", "--close-timeout=1"]);
    let mut slow = open(site.address(), &site.client, "room?subscribe-broadcast");
    let mut other = open(site.address(), &site.client, "room?subscribe-broadcast");
    let mut fast = site.server.connect("room?publish-broadcast");
    for n in 0..60 {
        let text = format!("{n:04}").repeat(100_000);
        fast.send(&text);
        other.expect(&[&text]);
    }
    site.server.expect_metric("slow_total", |count| count == 1);
    site.server.expect_metric("conns_open", |count| count == 2);
    // What it had of it is whole, up to where it was cut.
    while matches!(slow.next_within(Duration::from_secs(5)), Some(Event::Text(_))) {}
    other.close();
}

#[test]
#[ignore = "needs openssl"]
fn a_large_body_is_passed_over() {
    let site = Site::start(&[]);
    let mut stream = connect(site.address(), &site.client, "localhost").expect("a handshake");
    let request = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
    in_records(&mut stream, request.as_bytes(), 3);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}
