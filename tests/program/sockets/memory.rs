//! What waits for who does not read: where it waits, and how much of it there may be.

use crate::support::client::{Client, Event, upgrade};
use crate::support::{Wsloop, eventually};

const HEAR: &str = "room?subscribe-broadcast";
const KIB: usize = 1 << 10;

/// Has so many messages of 100 KiB said where everybody hears them.
fn say(server: &Wsloop, messages: usize) {
    let mut speaker = server.connect("room?publish-broadcast&subscribe-broadcast&echo");
    let message = "x".repeat(100 * KIB);
    for _ in 0..messages {
        speaker.send(&message);
        speaker.expect(&[&message]);
    }
    speaker.close();
}

#[test]
fn what_waits_for_a_slow_reader_waits_where_it_counts() {
    let server = Wsloop::start(&[]);
    let _slow = server.connect(HEAR);
    say(&server, 20);
    // The rest is on its way, in the reader's buffer or just behind.
    server.expect_metric("memory_bytes", |bytes| bytes > 1500 * KIB as u64);
}

#[test]
fn past_the_memory_limit_the_largest_is_closed_and_told_so() {
    let server = Wsloop::start(&["--memory-limit", "2MiB", "--outbox-limit", "16MiB"]);
    let mut slow = server.connect(HEAR);
    say(&server, 40);
    server.expect_metric("memory_closed_total", |closed| closed == 1);
    server.expect_log(&["--memory-limit", "said once"]);
    assert_eq!(server.metric("slow_total"), 0);
    assert!(matches!(end_of(&mut slow), Event::Close(Some(1013), _)));
    let mut next = server.connect(HEAR);
    assert!(matches!(next.next(), Event::Text(_)), "others are served, with what is stored");
}

#[test]
fn what_a_peak_took_is_given_back() {
    let server = Wsloop::start(&["--echo", "/echo", "--outbox-limit", "16MiB"]);
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.process().id()));
        let status = status.expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its size");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    };
    let before: usize = resident();
    let request = upgrade("echo", server.address(), "").replace("/ws/echo", "/echo");
    let open = |_| Client::open(server.address(), &request).expect("it is let in");
    let mut slow: Vec<Client> = (0..30).map(open).collect();
    // Messages of many sizes for many, so that little of the heap is in one piece.
    for round in 0..60 {
        for client in &mut slow {
            client.send(&"x".repeat(20 * KIB + 1500 * round));
        }
    }
    server.expect_metric("memory_bytes", |bytes| bytes > 40 << 20);
    assert!(resident() > before + (40 << 10));
    drop(slow);
    let left = || (resident() < before + (8 << 10)).then_some(());
    eventually("the memory is given back", left);
}

/// What comes behind all messages.
fn end_of(client: &mut Client) -> Event {
    loop {
        match client.next() {
            Event::Text(_) => {}
            end => return end,
        }
    }
}
