#![no_main]
#[path = "../../tests/fuzzed/handler.rs"]
mod handler;

libfuzzer_sys::fuzz_target!(|data: &[u8]| handler::check(data));
