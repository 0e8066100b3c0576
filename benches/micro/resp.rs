//! Redis's pushes, decoded beside the redis crate on the same bytes, which are all there at once.
//!
//! wsloop's decoder returns what it borrows, the redis crate's a value that owns it.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use wsloop::proto::resp::{Decoder, Item, Push};
use wsloop_benches::{push, text};

/// How many pushes, and the bytes of each one's payload.
const PUSHES: [(usize, usize); 2] = [(16, 64), (1, 64 << 10)];

fn main() {
    divan::main();
}

#[divan::bench(args = PUSHES, sample_size = 100)]
fn wsloop(bencher: Bencher, (pushes, size): (usize, usize)) {
    let stream = stream(pushes, size);
    let mut decoder = Decoder::new(1 << 20);
    counted(bencher, pushes, &stream).bench_local(|| {
        let mut input = black_box(&stream[..]);
        let mut seen = 0;
        while let Some(item) = decoder.next(&mut input).expect("good RESP") {
            assert!(matches!(black_box(item), Item::Push(Push::Message { .. })));
            seen += 1;
        }
        assert_eq!(seen, pushes);
    });
}

#[divan::bench(args = PUSHES, sample_size = 100)]
fn redis(bencher: Bencher, (pushes, size): (usize, usize)) {
    let stream = stream(pushes, size);
    let mut parser = redis::Parser::new();
    counted(bencher, pushes, &stream).bench_local(|| {
        let mut input = black_box(&stream[..]);
        for _ in 0..pushes {
            let value = parser.parse_value(&mut input).expect("good RESP");
            assert!(matches!(black_box(value), redis::Value::Push { .. }));
        }
    });
}

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, pushes: usize, stream: &[u8]) -> Bencher<'a, 'b> {
    bencher.counter(BytesCount::of_slice(stream)).counter(ItemsCount::new(pushes))
}

fn stream(pushes: usize, size: usize) -> Vec<u8> {
    push("stocks", &text(size)).repeat(pushes)
}
