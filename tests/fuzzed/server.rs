//! Any bytes as a script for the whole core: whatever browsers, Redis and the clock do, in whatever
//! order, everybody hears what they are to hear, and nothing panics.

#[path = "../sim/mod.rs"]
pub mod sim;
#[path = "../world/mod.rs"]
pub mod world;

use std::panic::{catch_unwind, resume_unwind};

/// Panics when something went otherwise than the model of the simulation says, and then says what
/// happened.
pub fn check(data: &[u8]) {
    let play = |trace| sim::play(&mut sim::Dice::Bytes(data), usize::MAX, trace);
    if let Err(panic) = catch_unwind(|| play(false)) {
        play(true);
        resume_unwind(panic);
    }
}
