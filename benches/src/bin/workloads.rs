//! Fixed work for the core, one piece by name:
//!
//! * `handshakes`, `churn`, `delivery`, `streams`, `placed`, `joined`, `placed-joined`,
//!   `topics`, `topic-streams`, `topics-joined`, `topic-streams-joined`, `broadcast`, `echo`,
//!   `large`, `pushes` and `deflate` run under callgrind, which counts the instructions of
//!   `measured` alone; see `scripts/counts`;
//! * `bytes` prints the bytes of a conn with 100,000 of them on one channel, `stream-bytes` those
//!   of a stream, and `placed-bytes` those of a stream with positions; `memory` is the program that
//!   has more of them.
//!
//! What is counted is the same in every run but for the keys of the hash maps, which are random.

use std::env;
use std::hint::black_box;
use std::process::ExitCode;

use wsloop::internals::browser::Order;
use wsloop::proto::ws::frame::{self, Opcode};
use wsloop::{ConnId, LinkId};
use wsloop_benches::live::{Counting, Live};
use wsloop_benches::{
    Core, ECHO, OFFER, READ, close, hears, masked, push, speaks, stream, text, upgrade,
};

#[global_allocator]
static COUNTING: Counting = Counting;

/// What a stream is told of a message besides the message.
const PLACED: &str = "id: b stocks VgmOYqW-1\ndata: \n\n";

/// Milliseconds in which a thousand conns come, so that a million come before the first ping.
const THOUSAND_MS: u64 = 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["handshakes"] => handshakes(),
        ["churn"] => churn(),
        ["delivery"] => delivery(),
        ["streams"] => streams(),
        ["placed"] => placed(),
        ["joined"] => joined(),
        ["placed-joined"] => placed_joined(),
        ["topics"] => topics(1),
        ["topic-streams"] => topic_streams(1),
        ["topics-joined"] => topics(16),
        ["topic-streams-joined"] => topic_streams(16),
        ["broadcast"] => broadcast(),
        ["echo"] => echo(),
        ["large"] => large(),
        ["pushes"] => pushes(),
        ["deflate"] => deflate(),
        ["bytes"] => println!("{}", bytes()),
        ["stream-bytes"] => println!("{}", stream_bytes(Core::local())),
        ["placed-bytes"] => println!("{}", stream_bytes(Core::local_with_history())),
        _ => {
            eprintln!(
                "usage: workloads \
                 handshakes|churn|delivery|streams|placed|joined|placed-joined|topics|\
                 topic-streams|topics-joined|topic-streams-joined|broadcast|echo|large|pushes|\
                 deflate|bytes|stream-bytes|placed-bytes"
            );
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// What callgrind looks at. Its name is in `scripts/counts`.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// A thousand handshakes, each of a turn of its own.
fn handshakes() {
    let mut core = Core::local();
    let request = upgrade(&hears("stocks"), &[]);
    let mut requests: Vec<Vec<u8>> = vec![request; 1_000];
    measured(|| {
        for request in &mut requests {
            core.ask(request);
            core.drain();
        }
    });
    assert_eq!(core.open_conns(), 1_000);
}

/// A thousand conns that open and close, one after the other, beside one that stays.
fn churn() {
    let mut core = Core::local();
    let request = upgrade(&hears("stocks"), &[]);
    core.open(&request);
    let mut conns = vec![(request, close()); 1_000];
    measured(|| {
        for (request, close) in &mut conns {
            let link = core.ask(request);
            core.drain();
            core.receive(link, close);
            core.drain();
        }
    });
    assert_eq!((core.open_conns(), core.closed()), (1, 1_000));
}

/// One message of 128 bytes to ten thousand conns.
fn delivery() {
    let mut core = Core::local();
    let request = upgrade(&hears("stocks"), &[]);
    for _ in 0..10_000 {
        core.open(&request);
    }
    let speaker = core.open(&upgrade(&speaks("stocks"), &[]));
    let sent = second(&mut core, speaker, &masked(text(128).as_bytes()));
    assert_eq!(sent, 10_000 * (4 + 128));
}

/// The same to ten thousand streams, which is to cost what a delivery costs.
fn streams() {
    let mut core = Core::local();
    let request = stream(&hears("stocks"));
    for _ in 0..10_000 {
        core.open(&request);
    }
    let speaker = core.open(&upgrade(&speaks("stocks"), &[]));
    let sent = second(&mut core, speaker, &masked(text(128).as_bytes()));
    assert_eq!(sent, 10_000 * ("data: \n\n".len() + 128));
}

/// The same to ten thousand streams that say where their channel stands.
fn placed() {
    let mut core = Core::local_with_history();
    let sent = to_streams(&mut core, &masked(text(128).as_bytes()));
    assert_eq!(sent, 10_000 * (PLACED.len() + 128));
}

/// Sixteen messages together to ten thousand conns.
fn joined() {
    let mut core = Core::local();
    let request = upgrade(&hears("stocks"), &[]);
    for _ in 0..10_000 {
        core.open(&request);
    }
    let speaker = core.open(&upgrade(&speaks("stocks"), &[]));
    let sent = second(&mut core, speaker, &masked(text(128).as_bytes()).repeat(16));
    assert_eq!(sent, 10_000 * 16 * (4 + 128));
}

/// The same to ten thousand streams that say where their channel stands.
fn placed_joined() {
    let mut core = Core::local_with_history();
    let sent = to_streams(&mut core, &masked(text(128).as_bytes()).repeat(16));
    assert_eq!(sent, 10_000 * 16 * (PLACED.len() + "0".len() + 128), "16 to 31 of that time");
}

/// One message, or some together, to ten thousand WebSockets that hear two topics by `wsloop.1`:
/// all of them the one, and each the other.
fn topics(messages: usize) {
    let mut core = Core::local_with_history();
    for number in 0..10_000 {
        let link = core.open(&upgrade("/ws/", &["Sec-WebSocket-Protocol: wsloop.1"]));
        let own = format!("subscribe 2 broadcast own-{number:05}");
        for said in ["subscribe 1 broadcast stocks", &own] {
            core.receive(link, &mut masked(said.as_bytes()));
            core.drain();
        }
    }
    let header = "message broadcast stocks 1800000000000-1\n".len() + tens(messages);
    assert_eq!(to_stocks(&mut core, messages), 10_000 * messages * (4 + header + 128));
}

/// The same to streams, each event of which says where both topics stand.
fn topic_streams(messages: usize) {
    let mut core = Core::local_with_history();
    for number in 0..10_000 {
        let target = format!("/ws/?topic=broadcast+stocks&topic=broadcast+own-{number:05}");
        core.open(&stream(&target));
    }
    let line = "id: b own-00000 @VgmOYqW.1 b stocks VgmOYqW-1\n".len();
    let lines = "data: message broadcast stocks 1800000000000-1\ndata: \n\n".len();
    let event = line + lines + 2 * tens(messages) + 128;
    assert_eq!(to_stocks(&mut core, messages), 10_000 * messages * event);
}

/// Digits by which the positions of so many messages are longer: they are 16 to 31 of that time.
fn tens(messages: usize) -> usize {
    usize::from(messages == 16)
}

/// Says so many messages of 128 bytes together, the second time, and returns the bytes sent.
fn to_stocks(core: &mut Core, messages: usize) -> usize {
    let speaker = core.open(&upgrade(&speaks("stocks"), &[]));
    second(core, speaker, &masked(text(128).as_bytes()).repeat(messages))
}

/// Hands something to ten thousand streams on one channel, and returns the bytes sent.
fn to_streams(core: &mut Core, message: &[u8]) -> usize {
    let request = stream(&hears("stocks"));
    for _ in 0..10_000 {
        core.open(&request);
    }
    let speaker = core.open(&upgrade(&speaks("stocks"), &[]));
    second(core, speaker, message)
}

/// The same by the application of an endpoint, which is to cost what a delivery costs.
fn broadcast() {
    let mut core = Core::endpoint();
    let conns: Box<[ConnId]> = (0..10_000).map(|_| core.open_own()).collect();
    let order = |payload: &str| {
        let frame = frame::encode(Opcode::Text, payload.as_bytes());
        Order::Broadcast { conns: conns.clone(), frame }
    };
    core.obey(order("the first"));
    core.drain();
    let order = order(&text(128));
    let sent = measured(|| {
        core.obey(order);
        core.drain()
    });
    assert_eq!(sent, 10_000 * (4 + 128));
}

/// Ten thousand frames of 64 bytes: a hundred turns in which each of a hundred conns sends one.
fn echo() {
    assert_eq!(come_back(100, 100, 64), 10_000 * (2 + 64));
}

/// A hundred frames of 64 KiB: ten turns in which each of ten conns sends one, in one read.
fn large() {
    assert_eq!(come_back(10, 10, 64 << 10), 100 * (10 + (64 << 10)));
}

/// Frames of that many bytes come back, one of each conn in each turn; returns the bytes sent.
fn come_back(conns: usize, turns: usize, bytes: usize) -> usize {
    let mut core = Core::local();
    let request = upgrade(ECHO, &[]);
    let conns: Vec<_> = (0..conns).map(|_| core.open(&request)).collect();
    let frame = masked(text(bytes).as_bytes());
    let mut turns = vec![vec![frame; conns.len()]; turns];
    measured(|| {
        let mut sent = 0;
        for frames in &mut turns {
            for (conn, frame) in conns.iter().zip(frames) {
                core.receive(*conn, frame);
            }
            sent += core.drain();
        }
        sent
    })
}

/// Ten thousand pushes of 64 bytes, to one conn each, as many in a turn as a read brings.
fn pushes() {
    let mut core = Core::redis();
    let mut stream = Vec::new();
    let payload = text(64);
    for number in 0..10_000 {
        let facility = format!("user-{number:05}");
        core.open_by_redis(&facility);
        stream.extend(push(&facility, &payload));
    }
    let sent = measured(|| {
        let mut sent = 0;
        for read in stream.chunks_mut(READ) {
            core.redis_says(read);
            sent += core.drain();
        }
        sent
    });
    assert_eq!(sent, 10_000 * (2 + 64));
}

/// One message of 4 KiB to a thousand conns that have it compressed.
fn deflate() {
    let mut core = Core::local();
    let request = upgrade(&hears("stocks"), &[OFFER]);
    for _ in 0..1_000 {
        core.open(&request);
    }
    let speaker = core.open(&upgrade(&speaks("stocks"), &[]));
    let sent = second(&mut core, speaker, &masked(text(4096).as_bytes()));
    assert_eq!(core.compressions(), 2);
    assert!(sent < 1_000 * 4096);
}

/// Measures the second of two deliveries, and returns how many bytes it sent: what is made once in
/// the life of a server, such as the tables of the compressor, is not to drown the rest.
fn second(core: &mut Core, speaker: LinkId, message: &[u8]) -> usize {
    core.receive(speaker, &mut message.to_vec());
    core.drain();
    let mut message = message.to_vec();
    measured(|| {
        core.receive(speaker, &mut message);
        core.drain()
    })
}

fn bytes() -> usize {
    let before = Live::now();
    let core = filled(100_000, |_| "stocks".to_owned());
    let live = Live::now().since(&before);
    assert_eq!(core.open_conns(), 100_000);
    live.bytes() / 100_000
}

fn stream_bytes(mut core: Core) -> usize {
    let request = stream(&hears("stocks"));
    let before = Live::now();
    for _ in 0..100_000 {
        core.open(&request);
    }
    let live = Live::now().since(&before);
    assert_eq!(core.open_conns(), 100_000);
    live.bytes() / 100_000
}

/// A server with so many conns, on the channels that are said.
fn filled(conns: usize, facility: impl Fn(usize) -> String) -> Core {
    let mut core = Core::redis();
    for number in 0..conns {
        core.open_by_redis(&facility(number));
        if number % 1_000 == 999 {
            core.pass(THOUSAND_MS);
        }
    }
    core
}
