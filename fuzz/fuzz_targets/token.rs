#![no_main]
#[path = "../../tests/fuzzed/token.rs"]
mod token;

libfuzzer_sys::fuzz_target!(|data: &[u8]| token::check(data));
