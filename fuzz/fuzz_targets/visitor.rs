#![no_main]
#[path = "../../tests/fuzzed/visitor.rs"]
mod visitor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| visitor::check(data));
