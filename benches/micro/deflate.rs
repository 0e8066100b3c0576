//! One message to a thousand conns through the whole core, compressed once for all of them; and to
//! as many that have it as it is.

use divan::Bencher;
use divan::counter::ItemsCount;
use wsloop_benches::{Core, OFFER, hears, masked, speaks, text, upgrade};

const CONNS: usize = 1_000;
const SIZES: [usize; 3] = [256, 4 << 10, 64 << 10];

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES, sample_size = 10)]
fn compressed(bencher: Bencher, size: usize) {
    deliver(bencher, size, &[OFFER]);
}

#[divan::bench(args = SIZES, sample_size = 10)]
fn plain(bencher: Bencher, size: usize) {
    deliver(bencher, size, &[]);
}

fn deliver(bencher: Bencher, size: usize, offer: &[&str]) {
    let mut core = Core::local();
    let request = upgrade(&hears("stocks"), offer);
    for _ in 0..CONNS {
        core.open(&request);
    }
    let speaker = core.open(&upgrade(&speaks("stocks"), &[]));
    let message = masked(text(size).as_bytes());
    let mut received = message.clone();
    let sent = |core: &mut Core, received: &mut [u8]| {
        received.copy_from_slice(&message);
        core.receive(speaker, received);
        core.drain()
    };
    let smaller = sent(&mut core, &mut received) < CONNS * size;
    assert_eq!(smaller, !offer.is_empty(), "compressed if so agreed");
    assert_eq!(core.compressions(), u64::from(smaller));
    bencher.counter(ItemsCount::new(CONNS)).bench_local(|| sent(&mut core, &mut received));
}
