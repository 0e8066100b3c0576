#![no_main]
#[path = "../../tests/fuzzed/deflate.rs"]
mod deflate;

libfuzzer_sys::fuzz_target!(|data: &[u8]| deflate::check(data));
