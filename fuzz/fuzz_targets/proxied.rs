#![no_main]
#[path = "../../tests/fuzzed/proxied.rs"]
mod proxied;

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxied::check(data));
