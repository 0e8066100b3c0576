#![no_main]
#[path = "../../tests/fuzzed/resp.rs"]
mod resp;

libfuzzer_sys::fuzz_target!(|data: &[u8]| resp::check(data));
