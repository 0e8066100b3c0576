//! wsloop: the WebSocket loop for web applications.
//!
//! One single-threaded epoll process holds every browser connection; the application pushes to the
//! browsers by publishing to Redis, or to a broker embedded here. In scope: WebSockets, what they
//! may hear and say, and the way to and from the broker. Out of scope: requests and responses, which
//! the application answers itself.
//!
//! # The rooms
//!
//! A file imports its own layer or a lower one, never a higher.
//!
//! | layer | files | knows |
//! |---|---|---|
//! | L0 | [`proto`] | bytes and values: no clock, no socket, no connection id, no channel |
//! | L1 | [`channel`], [`identity`], [`link_id`], [`hub`], [`outbox`], [`encoded`], [`stored`], [`timers`], [`metrics`], [`broker`] | the domain: no sockets, and time is an argument |
//! | L2 | [`settings`], [`conn`], [`slots`], [`handshake`], [`relay`], [`server`] | composition, still without I/O |
//! | L3 | [`net`] | the only home of mio, sockets and the clock |
//! | L4 | [`config`], `main.rs` | the edge: flags, environment, exit codes |
//!
//! # The contract between the core and its loop
//!
//! [`server::Server`] is the whole server without I/O; [`net::Reactor`] is a loop that drives it, and
//! anybody may write another. A turn of the loop:
//!
//! 1. tell what happened: [`accept`](server::Server::accept) for each new connection (if
//!    [`accepting`](server::Server::accepting) says so), [`handle`](server::Server::handle) with an
//!    [`Input`](server::Input) for everything else, and [`tick`](server::Server::tick) once;
//! 2. do what is to be done: call [`poll_output`](server::Server::poll_output) until it returns
//!    `None`. An [`Output`](server::Output) carries no bytes: at a `Flush` the loop pulls them with
//!    [`slices`](server::Server::slices) and says with [`advance`](server::Server::advance) how many
//!    the kernel took, and with `Input::Blocked` when that were fewer than it was given;
//! 3. sleep until something happens, or until
//!    [`next_deadline_ms`](server::Server::next_deadline_ms).
//!
//! Times are milliseconds since a start of the loop's choosing. Inputs are past tense and borrow
//! their bytes, outputs are imperative. A link may be a browser's or Redis's: the loop does not know
//! which. A link is named by `accept` or by `Output::Dial`, and its name is free again when
//! `Output::Close` has been returned; between those two the loop may say anything about it, and
//! what it says later does no harm.

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
