//! The bytes of a conn of the core, by kinds of sites:
//!
//! * `memory [conns]` prints a table of them, with 10,000 conns if not told otherwise;
//! * `memory windows` prints what dedicated compression costs at each size of what it keeps.
//!
//! It is a program of its own, so that what it calls changes nothing of `workloads`, whose
//! instructions are counted.

use std::env;
use std::process::ExitCode;

use wsloop_benches::live::Counting;
use wsloop_benches::sites::{Kind, Sizes, window};

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => memory(10_000),
        ["windows"] => windows(),
        [conns] if conns.parse().is_ok_and(|conns: usize| conns > 0) => {
            memory(conns.parse().expect("it is one"));
        }
        _ => {
            eprintln!("usage: memory [conns]|windows");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
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
