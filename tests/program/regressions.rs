//! What uWSGI's WebSockets get wrong, each as a test that it would fail.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Event, frame_bytes, tcp, upgrade};
use crate::support::{PATIENCE, Wsloop};
use wsloop::internals::link::timers;
use wsloop::proto::ws::frame::Opcode;

const BOTH: &str = "room?subscribe-broadcast&publish-broadcast&echo";
const HEAR: &str = "room?subscribe-broadcast";
const SAY: &str = "room?publish-broadcast";

/// uWSGI keeps the beginning of a fragmented message for the whole process, so what one browser
/// began is delivered to the next one that continues anything.
#[test]
fn cross_connection_fragments() {
    let server = Wsloop::start(&[]);
    let mut witness = server.connect(HEAR);
    let (mut alice, mut bob, mut eve) =
        (server.connect(SAY), server.connect(SAY), server.connect(SAY));
    alice.frame(false, Opcode::Text, b"Alice's secret, ");
    bob.frame(false, Opcode::Text, b"Bob's secret, ");
    assert_eq!(alice.arrived(), []);
    assert_eq!(bob.arrived(), []);
    eve.frame(true, Opcode::Continuation, b"told to Eve");
    eve.expect_close(1002, "");
    bob.frame(true, Opcode::Continuation, b"told by Bob");
    witness.expect(&["Bob's secret, told by Bob"]);
    alice.frame(false, Opcode::Continuation, b"");
    alice.frame(true, Opcode::Ping, b"between");
    assert_eq!(alice.next(), Event::Pong(b"between".to_vec()));
    alice.frame(true, Opcode::Continuation, b"told by Alice");
    witness.expect(&["Alice's secret, told by Alice"]);
}

/// A continuation that continues nothing is a null pointer to uWSGI: the worker dies, and all of
/// its sockets with it.
#[test]
fn orphan_continuation() {
    let server = Wsloop::start(&[]);
    let mut witness = server.connect(BOTH);
    for fin in [true, false] {
        let mut orphan = server.connect(SAY);
        orphan.frame(fin, Opcode::Continuation, b"orphan");
        orphan.expect_close(1002, "");
        let mut finished = server.connect(SAY);
        finished.send("whole");
        witness.expect(&["whole"]);
        finished.frame(fin, Opcode::Continuation, b"one too many");
        finished.expect_close(1002, "");
    }
    assert_eq!(witness.arrived(), []);
    server.expect_metric("protocol_errors_total", |n| n == 4);
}

/// In uWSGI, a browser that closes frees the message that another is in the middle of, whose next
/// fragment then kills the worker.
#[test]
fn peer_closes_while_another_is_mid_message() {
    let server = Wsloop::start(&[]);
    let mut witness = server.connect(BOTH);
    let mut speaker = server.connect(SAY);
    speaker.frame(false, Opcode::Text, b"one, ");
    assert_eq!(speaker.arrived(), []);
    server.connect(SAY).close();
    speaker.frame(false, Opcode::Continuation, b"two, ");
    assert_eq!(speaker.arrived(), []);
    let mut rude = server.connect(SAY);
    rude.frame(false, Opcode::Text, b"never finished");
    drop(rude);
    server.expect_metric("conns_open", |n| n == 2);
    speaker.frame(true, Opcode::Continuation, b"three");
    witness.expect(&["one, two, three"]);
    assert_eq!(witness.arrived(), []);
}

/// uWSGI's limit is on one frame: a message of any size passes in fragments, and what is too large
/// ends the connection without a close frame.
#[test]
fn fragment_sum_over_limit() {
    let server = Wsloop::start(&[]);
    let mut witness = server.connect(BOTH);
    let part = vec![b'x'; 600 << 10];
    let mut fragments = server.connect(SAY);
    fragments.frame(false, Opcode::Text, &part);
    assert_eq!(fragments.arrived(), [], "up to here it is allowed");
    for _ in 0..4 {
        fragments.frame(false, Opcode::Continuation, &part);
    }
    fragments.frame(true, Opcode::Continuation, &part);
    fragments.expect_close(1009, "");
    let mut whole = server.connect(SAY);
    whole.frame(true, Opcode::Text, &vec![b'y'; (1 << 20) + 1]);
    whole.expect_close(1009, "");
    // Half and half is exactly the limit.
    witness.frame(false, Opcode::Text, &vec![b'z'; 1 << 19]);
    witness.frame(true, Opcode::Continuation, &vec![b'z'; 1 << 19]);
    assert!(witness.text() == "z".repeat(1 << 20));
}

/// uWSGI answers every ping with an empty pong, so a client that tells its pings apart believes
/// that none was answered.
#[test]
fn ping_payload_echo() {
    let server = Wsloop::start(&[]);
    let mut client = server.connect(BOTH);
    for payload in [&b""[..], b"1", b"\x00\xff", &[b'p'; 125]] {
        client.frame(true, Opcode::Ping, payload);
        assert_eq!(client.next(), Event::Pong(payload.to_vec()));
    }
    client.frame(true, Opcode::Pong, b"not asked for");
    assert_eq!(client.arrived(), []);
    // A ping that is too long, and one in parts.
    let mut long = frame_bytes(true, Opcode::Binary, &[b'p'; 126]);
    long[0] = 0x89;
    for bytes in [long, frame_bytes(false, Opcode::Ping, b"half")] {
        let mut broken = server.connect(SAY);
        broken.raw(&bytes);
        broken.expect_close(1002, "");
    }
}

/// uWSGI's `recv_nb` returns the same empty string for an empty message and for none, and a
/// one-byte message for every fragment that is not the last.
#[test]
fn empty_message_versus_no_data() {
    let server = Wsloop::start(&[]);
    let mut witness = server.connect(HEAR);
    let mut speaker = server.connect(SAY);
    speaker.send("");
    speaker.send_binary(b"");
    assert_eq!(speaker.arrived(), [], "it is no end, and no error");
    server.expect_metric("messages_in_total", |n| n == 2);
    speaker.frame(false, Opcode::Text, b"");
    speaker.frame(false, Opcode::Continuation, b"");
    speaker.frame(false, Opcode::Continuation, b"hel");
    speaker.frame(false, Opcode::Continuation, b"");
    speaker.frame(true, Opcode::Continuation, b"lo");
    witness.expect(&["hello"]);
    assert_eq!(witness.arrived(), []);
    server.expect_metric("messages_in_total", |n| n == 3);
}

/// To uWSGI a ping interval of 0 means to ping without a pause: a million pings in five seconds.
#[test]
fn ping_interval_0() {
    let server = Wsloop::start(&["--ping-interval", "0", "--pong-timeout", "0.1"]);
    let mut client = server.connect(BOTH);
    assert_eq!(client.next_within(Duration::from_secs(1)), None);
    let before = server.cpu_time();
    client.send("still here");
    client.expect(&["still here"]);
    assert!(before < Duration::from_millis(500), "{before:?}");
    assert_eq!(server.metric("pings_total"), 0);
}

/// To uWSGI only a pong is life: a busy client whose pong is late is dropped in mid-sentence.
#[test]
fn busy_client_that_delays_pong() {
    let server = Wsloop::start(&["--ping-interval", "0.3", "--pong-timeout", "1"]);
    let mut busy = server.connect(SAY);
    for _ in 0..5 {
        // The next ping comes instead of a close, although the last one is not answered.
        assert_eq!(busy.next(), Event::Ping(Vec::new()));
        busy.send("no time for a pong");
    }
    busy.frame(true, Opcode::Pong, b"");
    assert_eq!(busy.arrived(), []);
    assert_eq!(server.metric("pong_timeouts_total"), 0);
}

/// A uWSGI handler that only sends never pings and never sees what its client sends, so proxies
/// cut it off and a close is not answered.
#[test]
fn push_only_handler_over_2_idle_periods() {
    const PERIOD_MS: u128 = 400;
    let server = Wsloop::start(&["--ping-interval", "0.4", "--pong-timeout", "3600"]);
    let since = Instant::now();
    let mut listener = server.connect(HEAR);
    let mut app = server.connect(SAY);
    let mut pings = 0;
    for n in 0.. {
        let text = format!("push {n}");
        app.send(&text);
        loop {
            match listener.next() {
                Event::Ping(payload) => {
                    pings += 1;
                    listener.frame(true, Opcode::Pong, &payload);
                }
                event => break assert_eq!(event, Event::Text(text)),
            }
        }
        if pings >= 2 {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{pings} pings");
        thread::sleep(Duration::from_millis(20));
    }
    // Deadlines are kept to within a tick.
    assert!(since.elapsed().as_millis() >= 2 * (PERIOD_MS - u128::from(timers::TICK_MS)));
    listener.close();
}

/// A uWSGI handler that sends to all waits up to 4 s for one that does not read, and then leaves it
/// half a frame.
#[test]
fn slow_reader_beside_a_fast_one() {
    let server = Wsloop::start(&["--max-message-size", "64KiB", "--outbox-limit", "128KiB"]);
    let mut slow = server.connect(HEAR);
    let mut fast = server.connect(HEAR);
    let mut app = server.connect(SAY);
    let text = |n: usize| format!("{n:06}{}", "z".repeat(60_000));
    let mut sent = 0;
    let mut longest = Duration::ZERO;
    while server.metric("slow_total") == 0 {
        for _ in 0..20 {
            let since = Instant::now();
            app.send(&text(sent));
            assert!(fast.text() == text(sent));
            longest = longest.max(since.elapsed());
            sent += 1;
        }
        assert!(sent < 2000, "the slow one takes more than 100 MB");
    }
    assert!(longest < Duration::from_secs(2), "the fast one waited {longest:?}");
    app.send("and on");
    fast.expect(&["and on"]);
    // What the slow one is told ends between two frames, and says why.
    let mut got = 0;
    let end = loop {
        match slow.next() {
            Event::Text(message) => assert!(message == text(got)),
            event => break event,
        }
        got += 1;
    };
    assert!(matches!(&end, Event::Close(Some(1008), why) if why.contains("slow")), "{end:?}");
    assert!(got < sent);
    assert_eq!(slow.next(), Event::End);
    assert_eq!(fast.arrived(), []);
}

/// uWSGI answers every close with an empty one, whatever its code, and never looks at it.
#[test]
fn close_code_echo() {
    let server = Wsloop::start(&[]);
    let close = |payload: &[u8]| {
        let mut client = server.connect(BOTH);
        client.frame(true, Opcode::Close, payload);
        let Event::Close(code, _) = client.next() else { panic!("no close") };
        assert_eq!(client.next(), Event::End);
        code
    };
    assert_eq!(close(b""), None);
    for code in [1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4000, 4999] {
        assert_eq!(close(&code.to_be_bytes()), Some(code));
        let with_reason = [&code.to_be_bytes(), "Adé".as_bytes()].concat();
        assert_eq!(close(&with_reason), Some(code));
    }
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        assert_eq!(close(&code.to_be_bytes()), Some(1002), "{code} must not be sent");
    }
    assert_eq!(close(b"\x03"), Some(1002), "half a code");
    assert_eq!(close(b"\x03\xe8\xff"), Some(1007), "a reason that is not UTF-8");
}

/// Frames that a proxy sends on together with the handshake are left in a buffer of uWSGI's that
/// `select` cannot see, until more comes.
#[test]
fn proxy_frames_sent_right_behind_the_handshake() {
    let server = Wsloop::start(&[]);
    let host = server.address();
    let mut bytes = upgrade(BOTH, host, "").into_bytes();
    bytes.extend(frame_bytes(true, Opcode::Text, b"one"));
    bytes.extend(frame_bytes(false, Opcode::Text, b"t"));
    bytes.extend(frame_bytes(true, Opcode::Ping, b"in between"));
    bytes.extend(frame_bytes(true, Opcode::Continuation, b"wo"));
    // Wherever the proxy cuts it.
    for cut in (0..bytes.len()).step_by(7).chain([bytes.len()]) {
        let mut stream = tcp(host);
        stream.write_all(&bytes[..cut]).expect("bytes are taken");
        stream.write_all(&bytes[cut..]).expect("bytes are taken");
        let mut client = Client::accepted(stream).expect("a 101");
        // All but the first are told the last message of the one before.
        let events: Vec<Event> = (0..3 + cut.min(1)).map(|_| client.next()).collect();
        let (pongs, messages): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| matches!(event, Event::Pong(_)));
        assert_eq!(pongs, [Event::Pong(b"in between".to_vec())], "cut at {cut}");
        let expected = ["two", "one", "two"].map(|text| Event::Text(text.to_owned()));
        assert_eq!(messages, expected[1 - cut.min(1)..], "cut at {cut}");
        client.close();
    }
}
