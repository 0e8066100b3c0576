#![no_main]
#[path = "../../tests/fuzzed/history.rs"]
mod history;

libfuzzer_sys::fuzz_target!(|data: &[u8]| history::check(data));
