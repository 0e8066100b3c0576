//! wsloop: the WebSocket loop for web applications.
//!
//! One single-threaded epoll process holds every browser connection; the application pushes to the
//! browsers by publishing to Redis, or to a broker embedded here. In scope: WebSockets, what they
//! may hear and say, and the way to and from the broker. Out of scope: requests and responses,
//! which the application answers itself.
//!
//! # The rooms
//!
//! A file imports its own layer or a lower one, never a higher.
//!
//! * L0, bytes and values, without clock, socket, link or channel: [`proto`];
//! * L1, the domain, without sockets, where time is an argument: [`link`], [`access`], [`fanout`],
//!   [`broker`];
//! * L2, the composition, still without I/O: [`browser`], [`server`];
//! * L3, the only home of mio, sockets and the clock: [`net`];
//! * L4, the edge: [`config`], [`client`], [`tool`] and `main.rs`.
//!
//! # The contract between the core and its loop
//!
//! [`server::Server`] is the whole server without I/O; [`net::Reactor`] is a loop that drives it,
//! and anybody may write another. A turn of the loop:
//!
//! 1. tell what happened: [`accept`](server::Server::accept) for each new connection (if
//!    [`accepting`](server::Server::accepting) says so), and likewise
//!    [`accept_visitor`](server::Server::accept_visitor) for each Redis client of the embedded
//!    broker, [`handle`](server::Server::handle) with
//!    an [`Input`](link::Input) for everything else, and [`tick`](server::Server::tick) once.
//!    Bytes are read of a link while [`is_reading`](server::Server::is_reading) says so, and else
//!    in the next turn, so that what a turn queues is bounded;
//! 2. do what is to be done: call [`poll_output`](server::Server::poll_output) until it returns
//!    `None`. An [`Output`](link::Output) carries no bytes: at a `Flush` the loop pulls them
//!    with [`slices`](server::Server::slices) and says with [`advance`](server::Server::advance)
//!    how many the kernel took, and with `Input::Blocked` when that were fewer than it was given.
//!    A loop may stop after some milliseconds of flushing, and go on in its next turn;
//! 3. sleep until something happens, or until
//!    [`next_deadline_ms`](server::Server::next_deadline_ms).
//!
//! Times are milliseconds since a start of the loop's choosing. Inputs are past tense and borrow
//! their bytes, outputs are imperative. A link may be a browser's, a visitor's (a Redis client of
//! the embedded broker) or Redis's: the loop does not know which. A link is named by `accept` or by
//! `Output::Dial`, and its name is free again when `Output::Close` has been returned; between those
//! two the loop may say anything about it, and what it says later does no harm.

pub mod access;
pub mod broker;
pub mod browser;
pub mod client;
pub mod config;
pub mod fanout;
pub mod link;
pub mod net;
pub mod proto;
pub mod server;
pub mod tool;
pub mod web;

pub use client::publisher::{Expire, Published, Publisher};
