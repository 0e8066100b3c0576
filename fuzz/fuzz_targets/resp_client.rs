#![no_main]
#[path = "../../tests/fuzzed/resp_client.rs"]
mod resp_client;

libfuzzer_sys::fuzz_target!(|data: &[u8]| resp_client::check(data));
