//! A handshake without a conn: a browser's request head read, checked and answered, each including
//! what comes before it.

use divan::{Bencher, black_box};
use wsloop::proto::http::{Head, parse_head};
use wsloop::proto::ws::upgrade;
use wsloop_benches::{OFFER, hears};

const MAX_HEAD: usize = 8192;

fn main() {
    divan::main();
}

#[divan::bench(sample_size = 100)]
fn head(bencher: Bencher) {
    let request = request();
    bencher.bench_local(|| parsed(black_box(&request)).path.len());
}

#[divan::bench(sample_size = 100)]
fn head_and_check(bencher: Bencher) {
    let request = request();
    bencher.bench_local(|| upgrade::check(&parsed(black_box(&request))).expect("good").accept);
}

#[divan::bench(sample_size = 100)]
fn head_and_check_and_101(bencher: Bencher) {
    let request = request();
    bencher.bench_local(|| {
        let upgrade = upgrade::check(&parsed(black_box(&request))).expect("good");
        upgrade::accepted(&upgrade.accept, None, None, &[])
    });
}

fn request() -> Vec<u8> {
    wsloop_benches::upgrade(&hears("stocks"), &[OFFER])
}

fn parsed(request: &[u8]) -> Head<'_> {
    parse_head(request, MAX_HEAD).expect("a good head").expect("a whole one").0
}
