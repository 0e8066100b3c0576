//! wsloop: the WebSocket loop for web applications.
//!
//! Rooms (a file imports its own layer or a lower one, never a higher):
//!
//! | layer | files | knows |
//! |---|---|---|
//! | L0 | [`proto`] | bytes and values; no clock, no socket, no connection id, no channel |
//! | L1 | [`channel`], [`identity`], [`hub`], [`outbox`], [`timers`], [`metrics`], [`broker`] | the domain; time is an argument |
//! | L2 | [`conn`], [`server`] | composition, still without I/O |
//! | L3 | [`net`] | the only home of mio, sockets and the clock |
//! | L4 | [`config`], `main.rs` | the edge: flags, environment, exit codes |

pub mod broker;
pub mod channel;
pub mod config;
pub mod conn;
pub mod encoded;
pub mod handshake;
pub mod hub;
pub mod identity;
pub mod link_id;
pub mod metrics;
pub mod net;
pub mod outbox;
pub mod proto;
pub mod relay;
pub mod server;
pub mod settings;
pub mod slots;
pub mod stored;
pub mod timers;
