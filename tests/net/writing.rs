//! Who is written to when, and how much of it.

use std::fs;

use wsloop::Settings;
use wsloop::proto::ws::frame::Opcode;

use crate::support::client::{Client, Event};
use crate::turns::{Loop, numbers, texts};
use crate::world::{settings, with_redis};

const HEARS: &str = "room?subscribe-broadcast";

/// System calls of this thread that write.
fn writes() -> u64 {
    let io = fs::read_to_string("/proc/thread-self/io").expect("proc");
    let line = io.lines().find_map(|line| line.strip_prefix("syscw: ")).expect("a count");
    line.parse().expect("a number")
}
