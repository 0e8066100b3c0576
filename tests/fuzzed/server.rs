//! Any bytes as a script for the whole core: whatever browsers, Redis and the clock do, in whatever
//! order, everybody hears what they are to hear, and nothing panics.

#[path = "../sim/mod.rs"]
pub mod sim;
#[path = "../world/mod.rs"]
pub mod world;

/// Panics when something went otherwise than the model of the simulation says.
pub fn check(data: &[u8]) {
    sim::play("these bytes", &mut sim::Dice::Bytes(data), usize::MAX, false);
}
