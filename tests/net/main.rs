//! The loop over real sockets, a turn at a time: a test for each rule at the top of the reactor.
//!
//! The loop and its peers share a thread, so what is ready before a turn is known. Nothing is
//! measured by the clock but that the loop sleeps, and that it does not.

#[path = "../support/mod.rs"]
mod support;
#[path = "../world/mod.rs"]
mod world;

mod dialing;
mod pauses;
mod reading;
mod turns;
mod writing;
