//! L0: bytes to values and back. No clock, no socket, no connection id, no channel.

pub mod client;
pub mod deflate;
pub mod frame;
pub mod http;
pub mod message;
pub mod resp;
pub mod upgrade;
