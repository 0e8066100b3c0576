//! Applications and peers that do not do their part.

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Pings after a silence of 50 ms, and half a minute for the answer.
fn pinging() -> Settings {
    Settings { ping_interval_ms: 50, pong_timeout_ms: 30_000, ..Settings::base() }
}

fn small(queue_events: usize) -> Endpoint {
    Endpoint { queue_events, ..Endpoint::default() }
}

#[test]
fn an_application_that_only_sends_need_not_receive() {
    let settings = Settings { ping_interval_ms: 50, pong_timeout_ms: 5_000, ..Settings::base() };
    let mut sockets = serve(settings, Endpoint::default());
    let (mut client, conn) = open(&mut sockets);
    let mut pings = 0;
    while pings < 3 {
        if let Event::Ping(payload) = client.next() {
            client.frame(true, Opcode::Pong, &payload);
            pings += 1;
        }
    }
    assert_eq!(sockets.send(conn, "pushed"), Sent::Queued);
    assert_eq!(client.text(), "pushed");
}

#[test]
fn an_application_that_never_receives_leaves_the_loop_sound() {
    let path = |path: &str, queue| Endpoint { path: path.to_owned(), ..small(queue) };
    let endpoints = vec![path("/stuck", 16), path("/", 1024)];
    let settings = Settings { url_prefix: String::new(), ..pinging() };
    let all = Sockets::serve_all(&["127.0.0.1:0".to_owned()], settings, endpoints);
    let mut all = all.expect("a port");
    let (mut lively, mut stuck) = (all.pop().expect("two"), all.pop().expect("two"));
    let address = lively.addresses()[0];
    let request = upgrade("x", address, "").replacen("/ws/x", "/stuck", 1);
    let mut flood = Client::open(address, &request).expect("a 101");
    flood.stream().set_nonblocking(true).expect("a socket");
    let frame = frame_bytes(true, Opcode::Binary, &[0; 1 << 10]);
    // Until the kernel takes no more, because nobody reads.
    let (mut sent, mut quiet) = (0, 0);
    while quiet < 20 {
        match std::io::Write::write(flood.stream(), &frame[sent % frame.len()..]) {
            Ok(n) => (sent, quiet) = (sent + n, 0),
            Err(_) => {
                thread::sleep(Duration::from_millis(10));
                quiet += 1;
            }
        }
        assert!(sent < 64 << 20, "everything is taken");
    }
    let (mut client, conn) = open(&mut lively);
    client.send("hello");
    assert_eq!(next(&mut lively), text(conn, "hello"));
    lively.send(conn, "hello");
    assert_eq!(client.text(), "hello");
    flood.stream().set_nonblocking(false).expect("a socket");
    assert!(matches!(flood.next(), Event::Ping(_)), "and it is pinged");
    // When it does receive, all of it is there.
    let mut whole = 0;
    next(&mut stuck);
    while whole < sent / frame.len() {
        match next(&mut stuck) {
            SocketEvent::Message { message, .. } => {
                assert_eq!(message.as_bytes().len(), 1 << 10);
                whole += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_application_that_panics_takes_its_own_conns_along_and_no_others() {
    let path = |path: &str| Endpoint { path: path.to_owned(), ..Endpoint::default() };
    let settings = Settings { url_prefix: String::new(), ..Settings::base() };
    let endpoints = vec![path("/panics"), path("/")];
    let all = Sockets::serve_all(&["127.0.0.1:0".to_owned()], settings, endpoints);
    let mut all = all.expect("a port");
    let (mut other, mut panics) = (all.pop().expect("two"), all.pop().expect("two"));
    let address = other.addresses()[0];
    let (mut client, conn) = open(&mut other);
    let request = upgrade("x", address, "").replacen("/ws/x", "/panics", 1);
    let mut theirs = Client::open(address, &request).expect("a 101");
    let quiet = |_: &panic::PanicHookInfo<'_>| {};
    let hook = panic::take_hook();
    panic::set_hook(Box::new(quiet));
    let sender = panics.sender();
    let (say, said) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        if let SocketEvent::Opened { conn, .. } = next(&mut panics) {
            say.send(conn).expect("it is heard");
        }
        panic!("as it was asked to");
    });
    assert!(thread.join().is_err());
    assert_eq!(sender.send(said.recv().expect("it has opened"), "late"), Sent::Closed);
    panic::set_hook(hook);
    theirs.expect_close(1001, "the application has ended");
    let refused = Client::open(address, &request).expect_err("nobody is there");
    assert_eq!(refused.status, 503);
    client.send("alive?");
    assert_eq!(next(&mut other), text(conn, "alive?"));
    other.send(conn, "alive");
    assert_eq!(client.text(), "alive");
}

#[test]
fn an_application_that_floods_is_told_who_is_slow_and_others_get_theirs() {
    let settings = Settings { outbox_limit: 1 << 20, unsent_limit: 16 << 10, ..Settings::base() };
    let mut sockets = serve(settings, Endpoint::default());
    let (mut slow, one) = open(&mut sockets);
    let (mut fast, two) = open(&mut sockets);
    let reads = Arc::new(AtomicBool::new(true));
    let reading = reads.clone();
    let reader = thread::spawn(move || {
        let mut heard = 0;
        while reading.load(Ordering::SeqCst) || fast.next_within(Duration::ZERO).is_some() {
            heard += usize::from(fast.next_within(Duration::from_millis(5)).is_some());
        }
        heard
    });
    let mut was_slow = 0;
    let deadline = Instant::now() + PATIENCE;
    while let Sent::Queued | Sent::Slow { .. } = sent(&sockets, one) {
        if let Sent::Slow { bytes } = sent(&sockets, one) {
            assert!(bytes >= 64 << 10);
            was_slow += 1;
        }
        assert_ne!(sent(&sockets, two), Sent::Closed, "who reads stays");
        assert!(Instant::now() < deadline, "the slow one is never closed");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(was_slow > 0, "it was said");
    reads.store(false, Ordering::SeqCst);
    assert!(reader.join().expect("it read") > 0);
    match next(&mut sockets) {
        SocketEvent::Closed { conn, code: 1008, .. } => assert_eq!(conn, one),
        other => panic!("{other:?}"),
    }
    while !matches!(slow.next(), Event::Close(Some(1008), _)) {}
}

#[test]
fn a_flood_of_peers_is_received_in_full_and_in_order() {
    const CLIENTS: usize = 8;
    const EACH: usize = 500;
    let mut sockets = serve(Settings::base(), small(8));
    let address = sockets.addresses()[0];
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            thread::spawn(move || {
                let mut client = connect(address);
                (0..EACH).for_each(|number| client.send(&number.to_string()));
                assert_eq!(client.text(), "thanks");
            })
        })
        .collect();
    let mut heard = std::collections::BTreeMap::<u32, usize>::new();
    let mut done = 0;
    while done < CLIENTS {
        if let SocketEvent::Message { conn, message } = next(&mut sockets) {
            let number = conn.to_string().trim_start_matches('#').parse().expect("a number");
            let count = heard.entry(number).or_default();
            assert_eq!(message, Message::Text(count.to_string()));
            *count += 1;
            if *count == EACH {
                sockets.send(conn, "thanks");
                done += 1;
            }
        }
    }
    clients.into_iter().for_each(|client| client.join().expect("it was thanked"));
}

#[test]
fn peers_that_flood_leave_a_quiet_one_its_turn() {
    const EACH: usize = 3_000;
    let mut sockets = serve(Settings::base(), small(8));
    let flood = frame_bytes(true, Opcode::Text, b"flood").repeat(EACH);
    let mut floods: Vec<_> = (0..3).map(|_| open(&mut sockets).0).collect();
    let (mut quiet, conn) = open(&mut sockets);
    floods.iter_mut().for_each(|client| client.raw(&flood));
    // The queue is full of them before anything is received.
    thread::sleep(Duration::from_millis(50));
    quiet.send("quiet");
    let before = (0..).find(|_| next(&mut sockets) == text(conn, "quiet")).expect("it is heard");
    assert!(before < EACH / 3, "behind {before} others");
}

fn sent(sockets: &Sockets, conn: ConnId) -> Sent {
    sockets.send_binary(conn, vec![0; 10_000])
}
