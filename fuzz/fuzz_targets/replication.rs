#![no_main]
#[path = "../../tests/fuzzed/replication.rs"]
mod replication;

libfuzzer_sys::fuzz_target!(|data: &[u8]| replication::check(data));
