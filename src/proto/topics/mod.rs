//! L0: the sub-protocol `wsloop.1`, one WebSocket for all topics of a page: what a client wants,
//! and the headers of what the server says.
//!
//! It knows words, not what they name: audiences, facilities and positions are for others. Its
//! rules:
//! * a message is one header line of words with one space between; a line feed and a payload follow
//!   where there is one, and the payload is bytes as they are;
//! * in a word a space, `%`, and what is no printable character of ASCII are escaped as `%` and two
//!   hexadecimal digits, and any other byte may be;
//! * what is read is borrowed, and no more is made of a message than it has bytes.
//!
//! The book's page on the protocol specifies it.

mod command;
mod header;
mod short;
mod standing;
mod vector;

pub use command::{CommandError, TopicCommand, Verb};
pub use header::{TopicHeader, stands};
pub use standing::{ID, Moved, Stand, Standing};
pub use vector::{Vector, pair};

/// The name of the sub-protocol.
pub const WSLOOP_1: &str = "wsloop.1";
/// Bytes of a position at most.
pub const MAX_POSITION: usize = 64;
/// Bytes of the positions of all channels of a stream, at most: with the rest of a request they are
/// to fit into its head.
pub const MAX_VECTOR: usize = 8 << 10;
/// The largest number of a command: what every script can count to exactly.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;
/// The close code of what is no command.
pub const NO_COMMAND: u16 = 4400;
/// The position where there is none.
pub const NOWHERE: &str = "-";
