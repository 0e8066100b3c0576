//! UTF-8: checked as wsloop checks it, and by the standard library.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use wsloop_benches::text;

const SIZES: [usize; 6] = [16, 125, 1 << 10, 16 << 10, 64 << 10, 1 << 20];

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES, sample_size = 100)]
fn ascii_simdutf8(bencher: Bencher, size: usize) {
    simd(bencher, &text(size));
}

#[divan::bench(args = SIZES, sample_size = 100)]
fn ascii_std(bencher: Bencher, size: usize) {
    standard(bencher, &text(size));
}

#[divan::bench(args = SIZES, sample_size = 100)]
fn mixed_simdutf8(bencher: Bencher, size: usize) {
    simd(bencher, &mixed(size));
}

#[divan::bench(args = SIZES, sample_size = 100)]
fn mixed_std(bencher: Bencher, size: usize) {
    standard(bencher, &mixed(size));
}

fn simd(bencher: Bencher, text: &str) {
    bencher
        .counter(BytesCount::of_str(text))
        .bench_local(|| simdutf8::basic::from_utf8(black_box(text.as_bytes())).is_ok());
}

fn standard(bencher: Bencher, text: &str) {
    bencher
        .counter(BytesCount::of_str(text))
        .bench_local(|| std::str::from_utf8(black_box(text.as_bytes())).is_ok());
}

/// About so many bytes of characters that take one to four of them.
fn mixed(bytes: usize) -> String {
    "Zürich, Ελλάδα, 東京, 🙂! "
        .chars()
        .cycle()
        .scan(0, |length, c| {
            *length += c.len_utf8();
            (*length <= bytes).then_some(c)
        })
        .collect()
}
