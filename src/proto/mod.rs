//! L0: bytes to values and back. No clock, no socket, no link, no channel.

pub mod handler;
pub mod http;
pub mod proxy;
pub mod resp;
pub mod sse;
pub mod topics;
pub mod uwsgi;
pub mod ws;
