//! L4: what the program is asked for on the command line: to serve, to publish and listen, or to
//! put load on a server.

pub(crate) mod cli;
mod command;
pub(crate) mod stress;

pub use command::{Command, Stop};
