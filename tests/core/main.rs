//! The core without sockets and without a clock, in the world of `tests/world`.

#[path = "../world/mod.rs"]
mod world;

mod alive;
mod asks;
mod closing;
mod deflate;
mod draining;
mod endpoints;
mod fanout;
mod front;
mod grants;
mod handlers;
mod handshake;
mod identity;
mod limits;
mod memory;
mod proxies;
mod rates;
mod redis;
mod resp_clients;
mod stored;
mod strangers;
mod streams;
mod topics;
mod turns;
