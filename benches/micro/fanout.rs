//! One message of 128 bytes to many conns through the whole core: received from a browser,
//! published, queued for everybody, and taken by the loop.

use divan::Bencher;
use divan::counter::ItemsCount;
use wsloop_benches::{Core, hears, masked, speaks, text, upgrade};

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 1_000, 100_000], sample_size = 10)]
fn delivered_and_drained(bencher: Bencher, conns: usize) {
    let mut core = Core::local();
    let request = upgrade(&hears("stocks"), &[]);
    for _ in 0..conns {
        core.open(&request);
    }
    let speaker = core.open(&upgrade(&speaks("stocks"), &[]));
    let message = masked(text(128).as_bytes());
    let mut received = message.clone();
    bencher.counter(ItemsCount::new(conns)).bench_local(|| {
        received.copy_from_slice(&message);
        core.receive(speaker, &mut received);
        assert_eq!(core.drain(), conns * (4 + 128));
    });
}
