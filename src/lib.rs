//! wsloop: the WebSocket loop for web applications.
//!
//! One single-threaded epoll process holds every browser connection; the application pushes to the
//! browsers by publishing to Redis, or to a broker embedded here. In scope: WebSockets, what they
//! may hear and say, and the way to and from the broker; and to pass on to the application the
//! requests that are for it, or to tell it of them where it is in the same process. Out of scope:
//! to answer those.
//!
//! # A WebSocket server of one's own
//!
//! An application in Rust can have the WebSockets to itself, on the same core and the same loop: it
//! binds [`Sockets`], receives a [`SocketEvent`] after the other, and sends. This is all of a
//! server that sends back what it is sent:
//!
//! ```no_run
//! use wsloop::{SocketEvent, Sockets};
//!
//! let mut sockets = Sockets::bind("127.0.0.1:8080")?;
//! loop {
//!     if let SocketEvent::Message { conn, message } = sockets.recv()? {
//!         sockets.send_message(conn, &message);
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), wsloop::SocketsError>(())
//! ```
//!
//! * The loop runs on a thread of its own: handshakes, pings, pongs and close handshakes go on
//!   while the application computes, sleeps or only sends. Of each conn it says in order that it
//!   has opened, its messages, and that it has closed.
//! * Nothing that is sent blocks. [`Sent`] says whether a conn is slow; a [`Sender`] sends from
//!   other threads.
//! * Events wait in a bounded queue. While it is full, conns are not read, and their peers wait.
//! * An [`Endpoint`] says which paths are the application's, and whether it decides itself about
//!   handshakes. Several endpoints, each with a receiver of its own, and the relay are served
//!   together ([`Sockets::serve_all`]).
//! * A [`SharedArea`] has bytes of which every conn that follows it is sent the latest.
//! * Plain HTTP below an endpoint's path is the application's too, if its [`PlainRequests`] say so:
//!   each request is a [`SocketEvent::Request`], answered with [`Sender::respond`].
//! * The relay's conns can have their channels decided by the application: each is a
//!   [`SocketEvent::Joining`], answered with [`Sender::grant`] or [`Sender::refuse`], and a
//!   [`SocketEvent::Released`] at its end.
//! * A conn can hear channels of the broker, the embedded one or Redis ([`Sender::subscribe`]):
//!   what is published there goes to it without the application.
//!
//! # The rooms
//!
//! Folders are the layers. A file imports its own layer or a lower one, and no two folders import
//! each other.
//!
//! | | folder | what it is about |
//! |---|---|---|
//! | L0 | [`proto`] | bytes and values: WebSocket frames, HTTP heads, RESP. No clock, no socket, no link |
//! | L1 | `link` | what every party needs: ids, targets, outboxes, timers, time, counters, the contract |
//! | L1 | `access` | who may do what: channels, permissions, tokens, sessions, the application |
//! | L1 | `fanout` | what goes to whom: the hub, shared frames, stored messages, slow readers |
//! | L1 | `broker` | where messages come from: Redis, or the embedded broker and its RESP clients |
//! | L2 | `web` | plain HTTP: pages, metrics |
//! | L2 | `browser` | one conn: its handshake, its life, its frames |
//! | L2 | `handler` | an application in another process, which handles the conns of an endpoint |
//! | L2 | `server` | the table of parties, and the routing between them |
//! | L3 | `net` | the only home of mio, sockets and the clock |
//! | L4 | `config`, `client`, `tool` | flags and files; clients; the command line and the load tool |
//!
//! # The words of several Redis
//!
//! | word | meaning |
//! |---|---|
//! | node | one Redis of those that the broker has, with a link of its own; of a cluster, the master of a shard |
//! | slot | one of the 16,384 parts of all names; the hash of a channel says in which it is |
//! | shard | a master of a cluster and its replicas, which have some of the slots |
//! | map | which shard has which slots, as one node of a cluster says; the highest epoch counts |
//! | replica | a Redis that has what its master has, a little later; it may be heard in its place |
//! | sentinel | a process that says where the master is |
//!
//! # The contract between the core and its loop
//!
//! [`Server`] is the whole server without I/O; [`Reactor`] is a loop that drives it, and anybody
//! may write another. A turn of the loop:
//!
//! 1. Say what happened: [`accept`](Server::accept) for each new connection (if
//!    [`accepting`](Server::accepting) says so), [`handle`](Server::handle) with an [`Input`] for
//!    everything else, and [`tick`](Server::tick) once. Before a link is read its
//!    [`wish`](Server::wish) is asked for: [`Wish::Read`] is answered with what arrived, and so is
//!    [`Wish::Fill`], or with [`Input::Filled`] when the loop has put that into the link's
//!    [`room`](Server::room); [`Wish::GoOn`] is answered with [`Input::WentOn`];
//!    [`Wish::Later`] and whatever a budget of the loop cuts short are offered again in the next
//!    turn, or after point 2 has been done in the midst of this one; a link that wants to
//!    [`Wish::Rest`] is left alone until [`Output::Resume`] names it.
//! 2. Do what is to be done: call [`poll_output`](Server::poll_output) until it returns `None`. An
//!    [`Output`] carries no bytes: at a [`Output::Flush`] the loop pulls them with
//!    [`slices`](Server::slices), or with [`next_write`](Server::next_write) where small ones are
//!    to be put together, and says with [`advance`](Server::advance) how many the kernel took, and
//!    with [`Input::Blocked`] when that were fewer than it was given. When the socket takes bytes
//!    again, or when the loop has stopped before, it says [`Input::Writable`]. A loop may stop
//!    after some milliseconds of flushing, and go on in its next turn.
//! 3. Sleep until something happens, or until [`next_deadline_ms`](Server::next_deadline_ms).
//!
//! At an [`Output::Dial`] of a name that cannot be answered at once the loop says
//! [`Input::LookingUp`], and [`Input::LookedUp`] when it has the addresses: the time that a dial
//! may take begins then.
//!
//! Time is one value, [`Now`], in every call. Inputs are past tense and borrow their bytes, outputs
//! are imperative. A link may be anybody's: the loop does not know whose. A link is named by
//! `accept` or by [`Output::Dial`], and its name is free again when [`Output::Close`] has been
//! returned; between those two the loop may say anything about it, and what it says later does no
//! harm.
//!
//! A loop with an application in the same process does what that wants with `obey`, and hands over
//! what `take_events` has, once a turn.
//!
//! # Four ways through the house
//!
//! Each passes its rooms in order, and goes back into none.
//!
//! * *A browser's bytes become a publish*: `net` reads them; `server` finds the conn in its table;
//!   `browser` unmasks them where they lie and says the message; `broker` takes it.
//! * *A session is looked up*: `browser` wants it, as an effect; `server` routes the ask to the
//!   `broker`, which gives the ask back with the answer; `server` hands it to that `browser`, which
//!   is admitted by the rules of `access`.
//! * *A message reaches its browsers*: `net` reads it; `broker` decodes it; `server` finds its
//!   channel in the hub of `fanout`, and puts one shared frame into the outbox of each; `net`
//!   flushes every outbox once.
//! * *Redis is lost*: `net` says so; `server` closes the link; `broker` gives back what it had been
//!   asked, and dials after a pause; what browsers hear is asked for again from the hub.

#![warn(unreachable_pub)]
#![deny(missing_docs)]

mod access;
mod broker;
mod browser;
mod client;
mod config;
mod fanout;
mod handler;
mod link;
mod net;
pub mod proto;
mod server;
mod tool;
mod web;

pub use access::ask::AskSettings;
pub use access::channel::{Allow, Audience};
pub use access::hosts::AllowedHosts;
pub use access::key::{KeyError, TokenAlgorithm, TokenKeys};
pub use access::permissions::{Rule, Rules, Who};
pub use access::proxies::{ForwardedHeaders, Proxies, TrustedProxies};
pub use access::session::{Entries, Format};
pub use access::sources::{Sessions, Sources, Tokens};
pub use broker::{
    BrokerKind, BrokerSettings, Clustered, RedisAddress, RedisSettings, Sentinels, Sharding,
};
pub use broker::{HistoryRule, HistoryRules, HistorySize};
pub use browser::deciding::{Channels, Wanted};
pub use browser::endpoint::{ConnId, ConnRequest, Endpoint, Message, SocketEvent};
pub use browser::settings::{CompressionFor, HandlerSettings, Refuse, Settings};
pub use client::publisher::{Error as PublisherError, Expire, Published, Publisher, RedisTls};
pub use fanout::overflow::Overflows;
pub use link::{Cause, Gathered, Input, LinkId, Metrics, Now, Output, Peer, Target, Wish};
pub use net::{AreaError, AreaKind, AreaNumber, SharedArea};
pub use net::{Reactor, ReactorError, Sender, Sent, Sockets, SocketsError, TlsPair};
pub use server::Server;
pub use web::upstream::{Front, PlainRequest, PlainRequests, RequestId, Speaks, Upstream};
pub use web::{Page, PageContent};

/// What the program itself, its tests, fuzz targets and benchmarks need besides: no part of the
/// library, and free to change.
#[doc(hidden)]
pub mod internals;
