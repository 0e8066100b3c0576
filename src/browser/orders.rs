//! L2: what may be ordered: the same for an application in this process and for one in another.

use std::fmt;

use super::deciding::Channels;
use super::endpoint::{ConnId, Order};
use crate::proto::http;
use crate::proto::ws::frame;

/// Longest reason of a close frame (RFC 6455 section 5.5: 125 bytes with the code).
const MAX_REASON: usize = 123;
/// Longest name of a channel.
const MAX_CHANNEL: usize = 512;
/// Most channels of a conn of the relay, and most bytes of their names.
const MAX_CHANNELS: usize = 4096;
const MAX_NAMES: usize = 128 << 10;

/// Headers of one connection, and of the length of what is sent.
const OF_CONNECTIONS: [&str; 6] =
    ["upgrade", "connection", "keep-alive", "content-length", "transfer-encoding", "trailer"];
/// What headers of a handshake begin with.
const HANDSHAKE: &str = "sec-websocket-";

/// Why an order is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadOrder {
    /// A close frame may not carry this code.
    CloseCode(u16),
    /// The reason of a close frame is too long.
    Reason,
    /// A name of a channel is empty or too long.
    Channel,
    /// A name of a channel is empty, or there are too many of them for one conn.
    Channels,
    /// A handshake is not refused with this status.
    Status(u16),
    /// A plain request is not answered with this status.
    Answer(u16),
    /// This is no header or sub-protocol, or one of the server's own.
    Header(String),
}

impl fmt::Display for BadOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadOrder::CloseCode(code) => {
                write!(f, "{code} is no code to close with: use 1000, or one from 3000 to 4999")
            }
            BadOrder::Reason => f.write_str("a reason has at most 123 bytes"),
            BadOrder::Channel => f.write_str("a channel's name has 1 to 512 bytes"),
            BadOrder::Channels => f.write_str(
                "a conn has at most 4096 channels, with names of 128 KiB, none of which is empty",
            ),
            BadOrder::Status(status) => {
                write!(f, "{status} refuses nothing: use a status from 400 to 599")
            }
            BadOrder::Answer(status) => {
                write!(f, "{status} answers nothing: use a status from 200 to 599")
            }
            BadOrder::Header(name) => {
                write!(f, "{name:?} is no header that can be said, or is one of the server's own")
            }
        }
    }
}

impl Order {
    /// The same, if it may be ordered.
    pub(crate) fn checked(self) -> Result<Order, BadOrder> {
        match &self {
            Order::Close { code, .. } if !frame::may_be_sent(*code) => {
                Err(BadOrder::CloseCode(*code))
            }
            Order::Close { reason, .. } if reason.len() > MAX_REASON => Err(BadOrder::Reason),
            Order::Subscribe { channel, .. }
            | Order::Unsubscribe { channel, .. }
            | Order::Publish { channel, .. }
                if !(1..=MAX_CHANNEL).contains(&channel.len()) =>
            {
                Err(BadOrder::Channel)
            }
            Order::Grant { channels, .. } if !are_channels(channels) => Err(BadOrder::Channels),
            Order::Refuse { status, .. } if !(400..600).contains(status) => {
                Err(BadOrder::Status(*status))
            }
            Order::Respond { status, .. } if !(200..600).contains(status) => {
                Err(BadOrder::Answer(*status))
            }
            Order::Accept { protocol, headers, .. } => {
                let is_own = |name: &str| is_of_connection(name) || name.starts_with(HANDSHAKE);
                let bad = |name: &&String| !http::is_token(name.as_bytes());
                match unsaid(headers, is_own).or(protocol.as_ref().filter(bad)) {
                    Some(name) => Err(BadOrder::Header(name.clone())),
                    None => Ok(self),
                }
            }
            Order::Respond { headers, .. } => match unsaid(headers, is_of_connection) {
                Some(name) => Err(BadOrder::Header(name.clone())),
                None => Ok(self),
            },
            _ => Ok(self),
        }
    }

    /// The conn that it is about, if it is about one.
    pub(crate) fn conn(&self) -> Option<ConnId> {
        match self {
            Order::Send { conn, .. }
            | Order::Close { conn, .. }
            | Order::Subscribe { conn, .. }
            | Order::Unsubscribe { conn, .. }
            | Order::Follow { conn, .. }
            | Order::Unfollow { conn, .. }
            | Order::Accept { conn, .. }
            | Order::Refuse { conn, .. }
            | Order::Grant { conn, .. }
            | Order::Pause { conn, .. } => Some(*conn),
            _ => None,
        }
    }
}

/// Whether one conn may have these channels.
fn are_channels(channels: &Channels) -> bool {
    let (bytes, count) = channels.size();
    let Channels { hears, hears_live, publishes } = channels;
    let is_empty = [hears, hears_live, publishes].into_iter().flatten().any(String::is_empty);
    !is_empty && bytes <= MAX_NAMES && count <= MAX_CHANNELS
}

/// The first of these header lines that cannot be said, or that the server says itself: it is asked
/// about names in small letters.
fn unsaid(headers: &[(String, String)], is_own: impl Fn(&str) -> bool) -> Option<&String> {
    let is_sound = |(name, value): &&(String, String)| {
        let is_text = !value.bytes().any(|byte| byte.is_ascii_control());
        http::is_token(name.as_bytes()) && is_text && !is_own(&name.to_ascii_lowercase())
    };
    headers.iter().find(|line| !is_sound(line)).map(|(name, _)| name)
}

/// Whether a header is of one connection, or of the length of what is sent.
fn is_of_connection(name: &str) -> bool {
    OF_CONNECTIONS.contains(&name)
}
