//! L2: endpoints: WebSockets whose messages are for the application that wsloop is a part of.
//!
//! A conn of an endpoint is a conn like any other, but what it says goes into the queue of its
//! endpoint instead of to the broker. Its rules:
//! * whatever is said of a conn comes in this order: that it asks or has opened, its messages, that
//!   it has closed, once each but for messages;
//! * the queue is bounded: while as much waits as may, no conn of the endpoint is read, and who
//!   comes waits for its 101;
//! * who is not read for that reason is not judged by its silence.

use std::collections::VecDeque;
use std::fmt;

use super::deciding::{Channels, Wanted};
use super::settings::Settings;
use crate::access::identity::Identity;
use crate::link::{Frame, LinkId};
use crate::proto::http::Head;
use crate::web::upstream::{PlainRequest, PlainRequests, RequestId};

/// A kind of WebSockets that are the application's own, by what their paths begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What its paths begin with, `/` and perhaps more. The longest that a path begins with has it,
    /// and it goes before a facility of the relay if its own is as long as the relay's prefix.
    pub path: String,
    /// Whether the application decides about each handshake, which begins with
    /// [`SocketEvent::Asked`] then. Without, whoever asks as RFC 6455 section 4.2.1 wants it is let
    /// in, with [`SocketEvent::Opened`].
    pub decides: bool,
    /// Whether pages of every origin may connect. Without, a page may that is of this host or
    /// among the allowed origins (RFC 6455 section 10.2).
    pub any_origin: bool,
    /// Most events that wait for the application before conns are read no more; at least 1. Twice
    /// as many may be under way, besides one [`SocketEvent::Closed`] for each conn.
    pub queue_events: usize,
    /// Most bytes of messages and requests that wait so, and as many under way. One may pass it.
    pub queue_bytes: usize,
    /// Whether plain HTTP requests below its path are for the application too, as
    /// [`SocketEvent::Request`], and how they are taken. Pages and metrics go before. Nothing is
    /// found out about who asks.
    pub requests: Option<PlainRequests>,
    /// Whether its application decides about the channels of the relay's conns, each of which
    /// begins with [`SocketEvent::Joining`] then. Of at most one endpoint, whose path may be empty:
    /// then no other conn is its own.
    pub joins: bool,
}

impl Default for Endpoint {
    /// Every path, pages of this host, 1,024 events and 4 MiB, and no plain HTTP.
    fn default() -> Self {
        Endpoint {
            path: "/".to_owned(),
            decides: false,
            any_origin: false,
            queue_events: 1024,
            queue_bytes: 4 << 20,
            requests: None,
            joins: false,
        }
    }
}

/// The endpoint that has that path, with its number.
pub(super) fn of<'s>(
    path: &str,
    is_facility: bool,
    settings: &'s Settings,
) -> Option<(usize, &'s Endpoint)> {
    let is_of = |of: &&(usize, &Endpoint)| !of.1.path.is_empty() && path.starts_with(&of.1.path);
    let all = settings.endpoints.iter().enumerate();
    let (at, endpoint) = all.rev().filter(|of| is_of(&of)).max_by_key(|(_, of)| of.path.len())?;
    let goes_before = !is_facility || endpoint.path.len() >= settings.url_prefix.len();
    goes_before.then_some((at, endpoint))
}

/// Names one conn of an endpoint. When the conn has gone the name means nothing, and does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId(pub(crate) LinkId);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What has happened to a conn of an endpoint. There may be further kinds one day.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketEvent {
    /// A conn asks to be let in, and waits for `accept` or `refuse` no longer than a handshake may
    /// take. When it is accepted no `Opened` follows; when it is refused, nothing.
    Asked {
        /// The conn.
        conn: ConnId,
        /// What it asks for.
        request: Box<ConnRequest>,
    },
    /// A conn is open: its 101 is on its way.
    Opened {
        /// The conn.
        conn: ConnId,
        /// What it has asked for.
        request: Box<ConnRequest>,
    },
    /// A whole message, however many frames it came in (RFC 6455 section 5.4). An empty message is
    /// a message. Pings and pongs are none.
    Message {
        /// The conn.
        conn: ConnId,
        /// The message, no longer than `max_message_size`.
        message: Message,
    },
    /// The conn says and hears nothing more.
    Closed {
        /// The conn.
        conn: ConnId,
        /// The code of the first close frame, the peer's or ours (RFC 6455 section 7.4): 1005 if
        /// the peer gave none, 1006 if none came.
        code: u16,
        /// The reason in that frame, of at most 123 bytes.
        reason: String,
    },
    /// A conn of the relay asks for channels, and waits for `grant` or `refuse` no longer than a
    /// handshake may take. It was found out who asks; rules that need a login have had their say.
    Joining {
        /// The conn.
        conn: ConnId,
        /// What it asks for, and who it is.
        request: Box<ConnRequest>,
        /// The channels that the rules would grant.
        wanted: Box<Wanted>,
    },
    /// A conn of the relay about which was asked says and hears nothing more. Nothing is said of
    /// one that was refused.
    Released {
        /// The conn.
        conn: ConnId,
        /// What it heard, all of that in `hears`, and published to: nothing if it never opened.
        channels: Box<Channels>,
        /// As of [`SocketEvent::Closed`].
        code: u16,
        /// As of [`SocketEvent::Closed`].
        reason: String,
    },
    /// A plain HTTP request, whole and with its body, which waits for `respond`, no longer than
    /// the endpoint's [`PlainRequests`] say. It is no conn's: nothing is said of its end.
    Request {
        /// The request.
        id: RequestId,
        /// What it asks for.
        request: Box<PlainRequest>,
    },
}

impl SocketEvent {
    /// Bytes that count as those that wait for the application.
    #[doc(hidden)]
    pub fn held_bytes(&self) -> usize {
        match self {
            SocketEvent::Message { message, .. } => message.as_bytes().len(),
            SocketEvent::Request { request, .. } => request.held_bytes(),
            SocketEvent::Joining { wanted, .. } => wanted.channels.size().0,
            SocketEvent::Released { channels, .. } => channels.size().0,
            SocketEvent::Asked { .. } | SocketEvent::Opened { .. } | SocketEvent::Closed { .. } => {
                0
            }
        }
    }
}

/// One message of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// UTF-8, as RFC 6455 section 8.1 wants it.
    Text(String),
    /// Any bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// Its bytes, whichever kind it is.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }
}

/// The request by which a conn came (RFC 6455 section 4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnRequest {
    /// Where it comes from; a trusted proxy is looked through. None by a Unix socket.
    pub address: Option<std::net::IpAddr>,
    /// The path, as sent: still percent-encoded.
    pub path: String,
    /// What follows the first `?`, as sent; empty without.
    pub query: String,
    /// The header lines, in their order; the names as sent, in whatever case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The sub-protocols that the client offers, the one it likes best first.
    pub protocols: Vec<String>,
    /// The user, where a source says who that is.
    pub user: Option<String>,
    /// The user's groups.
    pub groups: Vec<String>,
    /// The key of the session.
    pub session: Option<String>,
}

impl ConnRequest {
    /// What a head says.
    pub(super) fn of<'b>(head: &Head<'b>, protocols: impl Iterator<Item = &'b str>) -> ConnRequest {
        ConnRequest {
            path: head.path.to_owned(),
            query: head.query.to_owned(),
            headers: head.lines().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            protocols: protocols.map(str::to_owned).collect(),
            ..ConnRequest::default()
        }
    }

    /// The same of who is known to ask.
    pub(super) fn by(self, identity: &Identity) -> ConnRequest {
        let Identity { session, user, groups } = identity.clone();
        ConnRequest { user, groups, session, ..self }
    }

    /// The value of the first header line of that name, in any case, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }
}

/// What the application wants of the conns of its endpoint. About a conn that has gone, or is none
/// of the endpoint's, nothing is done.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the methods of a `Sender` say what they are")]
pub enum Order {
    /// Send this frame, which is not compressed.
    Send { conn: ConnId, frame: Frame },
    /// Send it to all of these.
    Broadcast { conns: Box<[ConnId]>, frame: Frame },
    /// Begin the close handshake.
    Close { conn: ConnId, code: u16, reason: String },
    /// Forward what the broker delivers on that channel.
    Subscribe { conn: ConnId, channel: String },
    /// Forward no more of it.
    Unsubscribe { conn: ConnId, channel: String },
    /// Send the latest of a shared area from now on, this first.
    Follow { conn: ConnId, area: u32, binary: bool, content: Vec<u8> },
    /// Send it no more.
    Unfollow { conn: ConnId, area: u32 },
    /// Send the content of that area, which is new, to all who follow it.
    Show { area: u32, content: Vec<u8> },
    /// Publish a message.
    Publish { channel: String, payload: Vec<u8> },
    /// Let a conn in that has asked.
    Accept { conn: ConnId, protocol: Option<String>, headers: Vec<(String, String)> },
    /// Refuse it.
    Refuse { conn: ConnId, status: u16, text: String },
    /// Read a conn no more, or again.
    Pause { conn: ConnId, pauses: bool },
    /// Let a conn of the relay hear and publish to these channels.
    Grant { conn: ConnId, channels: Box<Channels> },
    /// Answer a plain request.
    Respond { id: RequestId, status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// The application has received so many events, with so many bytes of messages.
    Received { endpoint: usize, events: usize, bytes: usize },
    /// Nobody receives the events of that endpoint any more.
    Gone { endpoint: usize },
}

/// Whom the messages of a conn are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Addressee {
    /// The channels that it publishes to.
    #[default]
    Broker,
    /// Itself.
    Itself,
    /// The endpoint of that number.
    Endpoint(u8),
    /// The channels that it publishes to, which the application of that endpoint decides.
    Decided(u8),
    /// The channels that each names: it speaks `wsloop.1`.
    Topics,
}

/// A request for an application of which nobody has decided that it opens.
#[derive(Debug)]
pub(crate) struct Knock {
    /// What is still to be told the application.
    pub request: Option<Box<ConnRequest>>,
    /// What it wants, if it is the relay's and the application decides about that.
    pub wanted: Option<Box<Wanted>>,
    /// It wants its own messages back.
    pub echo: bool,
    /// The sub-protocols that were offered.
    pub offered: Vec<String>,
    /// It stands in line until there is room in the queue.
    pub in_line: bool,
}

/// Whether an application receives the events of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// It does.
    There,
    /// None does at the moment. Events are kept for the next, and nobody is let in.
    Away,
    /// None does, and none will have these. Nobody is let in.
    Gone,
}

/// The events of one endpoint, on their way to the application.
#[derive(Debug)]
pub(crate) struct EventQueue {
    pub events: Vec<SocketEvent>,
    /// Whether the application decides about handshakes.
    pub decides: bool,
    /// Who receives them.
    pub receiver: Receiver,
    /// Conns that wait for room before they open.
    pub knocking: VecDeque<LinkId>,
    /// The place of the conn whose message was the last that found room.
    pub last: u32,
    /// Events, and bytes of messages, that the application has not received.
    waiting: [usize; 2],
    most: [usize; 2],
    is_full: bool,
}

impl EventQueue {
    pub(crate) fn new(endpoint: &Endpoint) -> EventQueue {
        EventQueue {
            events: Vec::new(),
            decides: endpoint.decides,
            receiver: Receiver::There,
            knocking: VecDeque::new(),
            last: 0,
            waiting: [0; 2],
            most: [endpoint.queue_events.max(1), endpoint.queue_bytes.max(1)],
            is_full: false,
        }
    }

    /// Whether nobody is to be read for it.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Puts an event behind the others; whether it is full from here on.
    pub(super) fn push(&mut self, event: SocketEvent) -> bool {
        if self.receiver == Receiver::Gone {
            return false;
        }
        self.waiting[0] += 1;
        self.waiting[1] += event.held_bytes();
        self.events.push(event);
        self.is_full |= self.waiting[0] >= self.most[0] || self.waiting[1] >= self.most[1];
        self.is_full
    }

    /// The application has received so many events and bytes; whether there is room again, which
    /// is when half of it is free.
    pub(super) fn received(&mut self, events: usize, bytes: usize) -> bool {
        self.waiting[0] = self.waiting[0].saturating_sub(events);
        self.waiting[1] = self.waiting[1].saturating_sub(bytes);
        let has_room = self.waiting[0] <= self.most[0] / 2 && self.waiting[1] <= self.most[1] / 2;
        has_room && std::mem::take(&mut self.is_full)
    }

    /// Nobody receives any more, and nothing waits.
    pub(super) fn end(&mut self) {
        (self.receiver, self.is_full, self.waiting) = (Receiver::Gone, false, [0; 2]);
        self.events = Vec::new();
    }

    /// Bytes of messages and requests that wait here.
    pub(crate) fn held_bytes(&self) -> usize {
        self.waiting[1]
    }
}
