//! L3: what the application wants of its conns, from whichever thread.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::area::{AreaError, SharedArea};
use super::shared::{Inbox, Orders};
use crate::browser::deciding::Channels;
use crate::browser::endpoint::{ConnId, Message, Order};
use crate::browser::orders::BadOrder;
use crate::link::Frame;
use crate::net::ReactorError;
use crate::proto::ws::frame::{self, Opcode};
use crate::web::upstream::RequestId;

/// From so many bytes on that wait for a conn it is said to be slow.
const SLOW: usize = 64 << 10;

/// Sends to the conns of an endpoint, and closes them, from any thread. It can be cloned, and a
/// clone lives on when the [`Sockets`](super::Sockets) have gone: then every conn is closed.
///
/// Nothing here blocks: what is to be sent waits in the outbox of its conn, and is bounded there as
/// for every conn. A [`ConnId`] that means nothing any more does no harm.
#[derive(Debug)]
pub struct Sender {
    pub(super) orders: Arc<Orders>,
    pub(super) inbox: Arc<Inbox>,
    /// It is that of who receives, whose next event is not far when it has some in hand.
    pub(super) receives: bool,
}

/// What has become of something that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way, with little before it.
    Queued,
    /// It is on its way, with so many bytes that wait for this conn, itself included: 64 KiB or
    /// more. A conn whose socket takes nothing and that lets more wait than `outbox_limit` is
    /// closed with 1008.
    Slow {
        /// The bytes that wait.
        bytes: usize,
    },
    /// The conn has closed, and nothing was sent.
    Closed,
}

/// What messages a shared area is sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaKind {
    /// Text: all up to the zeros at its end. What is no UTF-8 goes as a binary message.
    Text,
    /// Binary messages, each the whole area.
    Binary,
}

/// Why something could not be done. There may be further reasons one day.
#[derive(Debug)]
#[non_exhaustive]
pub enum SocketsError {
    /// The loop could not begin: an address cannot be listened on, above all.
    Loop(ReactorError),
    /// No thread could be started for the loop.
    Thread(std::io::Error),
    /// There is no endpoint, or there are more than 255, or the path of one does not begin with
    /// `/`, or several decide about the relay's conns.
    Endpoints,
    /// The loop has ended: there will be no more events. `shut_down` was asked for, or it failed,
    /// which is in the log.
    ShutDown,
    /// A close frame may not carry this code (RFC 6455 section 7.4): 1000 to 1003, 1007 to 1014 and
    /// 3000 to 4999 may be.
    CloseCode(u16),
    /// The reason of a close frame is over 123 bytes.
    Reason,
    /// A name of a channel is empty or over 512 bytes.
    Channel,
    /// The channels that a conn is granted are over 4,096, their names over 128 KiB, or one is
    /// empty.
    Channels,
    /// A handshake is refused with 400 to 599.
    Status(u16),
    /// A request is answered with 200 to 599.
    Answer(u16),
    /// This is no name of a header or sub-protocol, or its value has control characters (RFC 9110
    /// section 5.6.2), or it is one of those that the server says itself.
    Header(String),
}

impl Sender {
    /// Sends a text message.
    pub fn send(&self, conn: ConnId, text: impl AsRef<str>) -> Sent {
        self.put(conn, frame::encode(Opcode::Text, text.as_ref().as_bytes()))
    }

    /// Sends a binary message.
    pub fn send_binary(&self, conn: ConnId, bytes: impl AsRef<[u8]>) -> Sent {
        self.put(conn, frame::encode(Opcode::Binary, bytes.as_ref()))
    }

    /// Sends a message of the kind that it is.
    pub fn send_message(&self, conn: ConnId, message: &Message) -> Sent {
        self.put(conn, frame_of(message))
    }

    /// Sends a text message to all of these. It is made into a frame once, and shared.
    pub fn broadcast(&self, conns: impl IntoIterator<Item = ConnId>, text: impl AsRef<str>) {
        let frame = frame::encode(Opcode::Text, text.as_ref().as_bytes());
        self.put_to_all(conns, frame);
    }

    /// Sends a binary message to all of these.
    pub fn broadcast_binary(
        &self,
        conns: impl IntoIterator<Item = ConnId>,
        bytes: impl AsRef<[u8]>,
    ) {
        self.put_to_all(conns, frame::encode(Opcode::Binary, bytes.as_ref()));
    }

    /// Begins the close handshake (RFC 6455 section 7.1.2): what was sent before goes out before.
    pub fn close(&self, conn: ConnId, code: u16, reason: &str) -> Result<(), SocketsError> {
        self.check(Order::Close { conn, code, reason: reason.to_owned() })
    }

    /// Forwards to a conn that is open what the broker delivers on a channel, from now on and
    /// without the application: first the message that is stored for it, if one is. A name of at
    /// most 512 bytes, as a publisher has it.
    pub fn subscribe(&self, conn: ConnId, channel: &str) -> Result<(), SocketsError> {
        self.check(Order::Subscribe { conn, channel: channel.to_owned() })
    }

    /// Forwards no more of a channel.
    pub fn unsubscribe(&self, conn: ConnId, channel: &str) -> Result<(), SocketsError> {
        self.check(Order::Unsubscribe { conn, channel: channel.to_owned() })
    }

    /// Sends these bytes of a shared area as a text message, or as a binary one where they are no
    /// UTF-8.
    pub fn send_from_shared_area(
        &self,
        conn: ConnId,
        area: &SharedArea,
        range: Range<usize>,
    ) -> Result<Sent, AreaError> {
        let bytes = area.read(range)?;
        Ok(match String::from_utf8(bytes) {
            Ok(text) => self.send(conn, text),
            Err(error) => self.send_binary(conn, error.as_bytes()),
        })
    }

    /// Sends these bytes of a shared area as a binary message.
    pub fn send_binary_from_shared_area(
        &self,
        conn: ConnId,
        area: &SharedArea,
        range: Range<usize>,
    ) -> Result<Sent, AreaError> {
        Ok(self.send_binary(conn, area.read(range)?))
    }

    /// Sends a conn that is open all of a shared area, now and whenever it has changed, as binary
    /// messages or as text. Whoever reads more slowly than it changes is sent the latest, and never
    /// what was overtaken. Zeros at the end of an area are no part of a text. What has changed is
    /// read and made into a frame once for all who follow.
    pub fn follow(&self, conn: ConnId, area: &SharedArea, kind: AreaKind) -> Result<(), AreaError> {
        area.follow(&self.orders)?;
        let before = area.known_version();
        let content = area.read(0..area.size())?;
        let binary = kind == AreaKind::Binary;
        self.give(Order::Follow { conn, area: area.number(), binary, content });
        if area.known_version() != before {
            // It may have been shown before this one followed.
            area.tell();
        }
        Ok(())
    }

    /// Sends no more of a shared area.
    pub fn unfollow(&self, conn: ConnId, area: &SharedArea) {
        self.give(Order::Unfollow { conn, area: area.number() });
    }

    /// Publishes a message on a channel of the broker, and stores it as long as its settings say.
    pub fn publish(&self, channel: &str, message: impl AsRef<[u8]>) -> Result<(), SocketsError> {
        let (channel, payload) = (channel.to_owned(), message.as_ref().to_vec());
        self.check(Order::Publish { channel, payload })
    }

    /// Lets a conn in that has [asked](crate::SocketEvent::Asked): with one of the sub-protocols
    /// that it offers, or none, and with further headers of the 101 (RFC 6455 section 4.2.2).
    pub fn accept(
        &self,
        conn: ConnId,
        subprotocol: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<(), SocketsError> {
        let (protocol, headers) = (subprotocol.map(str::to_owned), owned(headers));
        self.check(Order::Accept { conn, protocol, headers })
    }

    /// Refuses a conn that has [asked](crate::SocketEvent::Asked) or is
    /// [joining](crate::SocketEvent::Joining), with a status of 400 to 599 and
    /// a text for the developer of the page.
    pub fn refuse(&self, conn: ConnId, status: u16, text: &str) -> Result<(), SocketsError> {
        self.check(Order::Refuse { conn, status, text: text.to_owned() })
    }

    /// Lets a conn of the relay in that is [joining](crate::SocketEvent::Joining): it hears and
    /// publishes to these channels, of whatever names. A channel that stands twice counts once.
    ///
    /// # Errors
    ///
    /// [`SocketsError::Channels`] for an empty name, over 4,096 names, or over 128 KiB of them.
    pub fn grant(&self, conn: ConnId, channels: Channels) -> Result<(), SocketsError> {
        self.check(Order::Grant { conn, channels: Box::new(channels) })
    }

    /// Answers a [request](crate::SocketEvent::Request), with a status of 200 to 599, headers and a
    /// body, which is not sent to who has asked with HEAD, nor with 204 and 304 (RFC 9110 section
    /// 6.4.1). What concerns the connection and the length is said by the server (RFC 9110 section
    /// 7.6.1). An answer that is too late, or is given twice, does nothing.
    ///
    /// # Errors
    ///
    /// [`SocketsError::Answer`] for another status, [`SocketsError::Header`] for a header that
    /// cannot be said, or that is the server's.
    pub fn respond(
        &self,
        id: RequestId,
        status: u16,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<(), SocketsError> {
        self.check(Order::Respond { id, status, headers: owned(headers), body: body.into() })
    }

    /// Asks for the end: conns are told 1001 and close, and the loop ends when all have, or when
    /// `shutdown_timeout_ms` is over. Events go on until then.
    pub fn shut_down(&self) {
        self.orders.ends.store(true, Ordering::SeqCst);
        self.orders.wake();
    }

    fn put(&self, conn: ConnId, frame: Frame) -> Sent {
        if self.inbox.is_over.load(Ordering::SeqCst) {
            return Sent::Closed;
        }
        let Some(waiting) = self.orders.cells.ordered(conn, frame.len()) else {
            return Sent::Closed;
        };
        self.give(Order::Send { conn, frame });
        if waiting >= SLOW { Sent::Slow { bytes: waiting } } else { Sent::Queued }
    }

    fn put_to_all(&self, conns: impl IntoIterator<Item = ConnId>, frame: Frame) {
        let conns: Box<[ConnId]> = conns.into_iter().collect();
        if !conns.is_empty() {
            self.give(Order::Broadcast { conns, frame });
        }
    }

    /// Gives an order that may be wrong.
    fn check(&self, order: Order) -> Result<(), SocketsError> {
        self.give(order.checked()?);
        Ok(())
    }

    fn give(&self, order: Order) {
        let may_wait = self.receives && self.inbox.in_hand.load(Ordering::SeqCst);
        if self.orders.give(order, may_wait) {
            self.inbox.held_back.store(true, Ordering::SeqCst);
        }
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        Sender { orders: self.orders.clone(), inbox: self.inbox.clone(), receives: false }
    }
}

fn frame_of(message: &Message) -> Frame {
    match message {
        Message::Text(text) => frame::encode(Opcode::Text, text.as_bytes()),
        Message::Binary(bytes) => frame::encode(Opcode::Binary, bytes),
    }
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl From<BadOrder> for SocketsError {
    fn from(bad: BadOrder) -> Self {
        match bad {
            BadOrder::CloseCode(code) => SocketsError::CloseCode(code),
            BadOrder::Reason => SocketsError::Reason,
            BadOrder::Channel => SocketsError::Channel,
            BadOrder::Channels => SocketsError::Channels,
            BadOrder::Status(status) => SocketsError::Status(status),
            BadOrder::Answer(status) => SocketsError::Answer(status),
            BadOrder::Header(name) => SocketsError::Header(name),
        }
    }
}

impl fmt::Display for SocketsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What mends it is no flag here.
            SocketsError::Loop(ReactorError::Listen { address, error, .. }) => {
                write!(f, "cannot listen on {address}: {error}")
            }
            SocketsError::Loop(error) => error.fmt(f),
            SocketsError::Thread(error) => write!(f, "no thread for the loop: {error}"),
            SocketsError::Endpoints => f.write_str(
                "give 1 to 255 endpoints, each with a path that begins with /; one of them may \
                     decide about the relay's conns",
            ),
            SocketsError::ShutDown => f.write_str("the loop has ended"),
            SocketsError::CloseCode(code) => BadOrder::CloseCode(*code).fmt(f),
            SocketsError::Reason => BadOrder::Reason.fmt(f),
            SocketsError::Channel => BadOrder::Channel.fmt(f),
            SocketsError::Channels => BadOrder::Channels.fmt(f),
            SocketsError::Status(status) => BadOrder::Status(*status).fmt(f),
            SocketsError::Answer(status) => BadOrder::Answer(*status).fmt(f),
            SocketsError::Header(name) => BadOrder::Header(name.clone()).fmt(f),
        }
    }
}

impl std::error::Error for SocketsError {}
