#![no_main]
#[path = "../../tests/fuzzed/server.rs"]
mod server;

libfuzzer_sys::fuzz_target!(|data: &[u8]| server::check(data));
