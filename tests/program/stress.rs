//! The stress test of ws4redis, for both brokers: a thousand WebSockets and one that publishes.
//! All of them are open at the same time, held by one thread.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::support::Wsloop;
use crate::support::client::{Client, Event, tcp, upgrade};
use crate::support::redis::RedisServer;
use wsloop::proto::ws::frame::Opcode;

const COUNT: usize = 1000;
const ARGS: [&str; 2] = ["--allow", "all"];

#[test]
fn a_thousand_hear_a_message_with_the_embedded_broker() {
    let _alone = alone();
    live("embedded", &Wsloop::start(&ARGS));
}

#[test]
fn a_thousand_come_to_a_stored_message_with_the_embedded_broker() {
    let _alone = alone();
    stored("embedded", &Wsloop::start(&ARGS));
}

#[test]
#[ignore = "needs redis-server"]
fn a_thousand_hear_a_message_with_redis() {
    let _alone = alone();
    let redis = RedisServer::start();
    live("Redis", &Wsloop::start(&[&ARGS[..], &["--redis", &redis.url()]].concat()));
}

#[test]
#[ignore = "needs redis-server"]
fn a_thousand_come_to_a_stored_message_with_redis() {
    let _alone = alone();
    let redis = RedisServer::start();
    stored("Redis", &Wsloop::start(&[&ARGS[..], &["--redis", &redis.url()]].concat()));
}

/// All subscribe, one more publishes, and all receive it, once.
fn live(broker: &str, server: &Wsloop) {
    let start = Instant::now();
    let mut clients = connect_all(server, "foobar?subscribe-broadcast");
    let connected = start.elapsed();
    let mut publisher = server.connect("foobar?publish-broadcast");
    let start = Instant::now();
    publisher.send("Hello, World");
    for client in &mut clients {
        client.expect(&["Hello, World"]);
    }
    let heard = start.elapsed();
    // Had anybody been told twice, the second time would come before this.
    publisher.send("Goodbye, World");
    for client in &mut clients {
        client.expect(&["Goodbye, World"]);
    }
    println!("{broker}: {COUNT} connected in {connected:.1?}, all heard a message in {heard:.1?}");
    close_all(clients);
}

/// One publishes, then all connect, and each receives the stored message first.
fn stored(broker: &str, server: &Wsloop) {
    let mut publisher = server.connect("foobar?publish-broadcast&subscribe-broadcast&echo");
    publisher.send("Hello, World");
    publisher.expect(&["Hello, World"]);
    let start = Instant::now();
    let mut clients = connect_all(server, "foobar?subscribe-broadcast");
    for client in &mut clients {
        client.expect(&["Hello, World"]);
    }
    let heard = start.elapsed();
    publisher.send("Goodbye, World");
    for client in &mut clients {
        client.expect(&["Goodbye, World"]);
    }
    println!("{broker}: {COUNT} connected and had the stored message in {heard:.1?}");
    close_all(clients);
}

/// Connects all, each before the handshake of any other is read.
fn connect_all(server: &Wsloop, path: &str) -> Vec<Client> {
    let host = server.address();
    let request = upgrade(path, host, "");
    let streams: Vec<TcpStream> = (0..COUNT)
        .map(|_| {
            let mut stream = tcp(host);
            stream.write_all(request.as_bytes()).expect("the request is taken");
            stream
        })
        .collect();
    streams.into_iter().map(|stream| Client::accepted(stream).expect("a 101")).collect()
}

fn close_all(mut clients: Vec<Client>) {
    for client in &mut clients {
        client.frame(true, Opcode::Close, &1000u16.to_be_bytes());
    }
    for client in &mut clients {
        assert_eq!(client.next(), Event::Close(Some(1000), String::new()));
        assert_eq!(client.next(), Event::End);
    }
}

/// One of these tests at a time, so that each measures only itself, with descriptors for all.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    let needed = COUNT as u64 + 200;
    assert!(limit >= needed, "{limit} open files are too few; allow {needed} (ulimit -Hn)");
    turn
}
