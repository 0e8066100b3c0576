#![no_main]
#[path = "../../tests/fuzzed/vector.rs"]
mod vector;

libfuzzer_sys::fuzz_target!(|data: &[u8]| vector::check(data));
