//! Fixed work for the core, one piece by name:
//!
//! * `handshakes`, `delivery`, `echo`, `pushes` and `deflate` run under callgrind, which counts the
//!   instructions of `measured` alone; see `scripts/counts`;
//! * `bytes` prints the bytes of a conn with 100,000 of them on one channel;
//! * `windows` prints what dedicated compression costs at each size of what it keeps;
//! * `memory [conns]` prints a table of them, with a million conns if not told otherwise.
//!
//! What is counted is the same in every run but for the keys of the hash maps, which are random.

use std::env;
use std::hint::black_box;
use std::process::ExitCode;

use wsloop::LinkId;
use wsloop_benches::live::Counting;
use wsloop_benches::sites::{Kind, Sizes, window};
use wsloop_benches::{Core, ECHO, OFFER, READ, hears, masked, push, speaks, text, upgrade};

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["handshakes"] => handshakes(),
        ["delivery"] => delivery(),
        ["echo"] => echo(),
        ["pushes"] => pushes(),
        ["deflate"] => deflate(),
        ["bytes"] => println!("{}", bytes(Kind::One, 100_000)),
        ["windows"] => windows(),
        ["memory"] => memory(1_000_000),
        ["memory", conns] if conns.parse().is_ok_and(|conns: usize| conns > 0) => {
            memory(conns.parse().expect("it is one"));
        }
        _ => {
            eprintln!(
                "usage: workloads handshakes|delivery|echo|pushes|deflate|bytes|windows|memory [conns]"
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

/// Ten thousand frames of 64 bytes: a hundred turns in which each of a hundred conns sends one.
fn echo() {
    let mut core = Core::local();
    let request = upgrade(ECHO, &[]);
    let conns: Vec<_> = (0..100).map(|_| core.open(&request)).collect();
    let frame = masked(text(64).as_bytes());
    let mut turns = vec![vec![frame; conns.len()]; 100];
    let sent = measured(|| {
        let mut sent = 0;
        for frames in &mut turns {
            for (conn, frame) in conns.iter().zip(frames) {
                core.receive(*conn, frame);
            }
            sent += core.drain();
        }
        sent
    });
    assert_eq!(sent, 10_000 * (2 + 64));
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

/// Bytes of a conn of that kind when it has heard its messages.
fn bytes(kind: Kind, conns: usize) -> usize {
    kind.measure(conns).after.bytes() / conns
}

fn windows() {
    println!("60 messages of 1 KiB to each of 1,000 conns with dedicated compression\n");
    println!("{:>8} {:>12} {:>12}", "kept", "bytes a conn", "bytes sent");
    for kept in [256, 512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10] {
        let (bytes, sent) = window(kept, 1_000);
        println!("{kept:>8} {bytes:>12} {sent:>12}");
    }
}

fn memory(conns: usize) {
    println!("{conns} conns of the core: bytes live per conn\n");
    println!("{:<36} {:>9} {:>9} {:>9} {:>12}", "", "idle", "after", "after", "allocations");
    println!("{:<36} {:>9} {:>9} {:>9} {:>12}", "", "", "messages", "all left", "after");
    let each = |bytes: usize| bytes as f64 / conns as f64;
    let measured = Kind::ALL.map(|kind| (kind.name(), kind.measure(conns)));
    for (what, Sizes { idle, after, gone }) in &measured {
        println!(
            "{what:<36} {:>9.1} {:>9.1} {:>9.1} {:>12.3}",
            each(idle.bytes()),
            each(after.bytes()),
            each(gone.bytes()),
            each(after.allocations)
        );
    }
    for (what, Sizes { idle, after, gone }) in measured {
        println!("\n{what}, by the size of the allocation");
        for power in 0..idle.by_size.len() {
            let sizes = [idle, after, gone].map(|live| each(live.by_size[power]));
            if sizes.iter().any(|bytes| *bytes >= 0.05) {
                let size = format!("  {} to {}", readable(1 << power), readable(2 << power));
                let [idle, after, gone] = sizes;
                println!("{size:<36} {idle:>9.1} {after:>9.1} {gone:>9.1}");
            }
        }
    }
}

fn readable(bytes: usize) -> String {
    match bytes {
        ..0x400 => format!("{bytes} B"),
        0x400..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
