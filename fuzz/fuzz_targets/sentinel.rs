#![no_main]
#[path = "../../tests/fuzzed/sentinel.rs"]
mod sentinel;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sentinel::check(data));
