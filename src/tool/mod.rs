//! L4: what the program is asked for on the command line: to serve, to publish and listen, to put
//! load on a server, or to print manual pages and completions.

pub(crate) mod cli;
mod command;
mod manual;
pub(crate) mod stress;

pub use command::{Command, Stop};
