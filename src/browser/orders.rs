//! L2: what may be ordered: the same for an application in this process and for one in another.

use std::fmt;

use super::endpoint::{ConnId, Order};
use crate::proto::http;
use crate::proto::ws::frame;

/// Longest reason of a close frame (RFC 6455 section 5.5: 125 bytes with the code).
const MAX_REASON: usize = 123;
/// Longest name of a channel.
const MAX_CHANNEL: usize = 512;

/// Why an order is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadOrder {
    /// A close frame may not carry this code.
    CloseCode(u16),
    /// The reason of a close frame is too long.
    Reason,
    /// A name of a channel is empty or too long.
    Channel,
    /// A handshake is not refused with this status.
    Status(u16),
    /// This is no header or sub-protocol that may be said in a handshake.
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
            BadOrder::Status(status) => {
                write!(f, "{status} refuses nothing: use a status from 400 to 599")
            }
            BadOrder::Header(name) => write!(f, "{name:?} cannot be said in a handshake"),
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
            Order::Refuse { status, .. } if !(400..600).contains(status) => {
                Err(BadOrder::Status(*status))
            }
            Order::Accept { protocol, headers, .. } => {
                let wrong = headers.iter().find(|(name, value)| !may_be_said(name, value));
                let wrong = wrong.map(|(name, _)| name);
                let bad = |name: &&String| !http::is_token(name.as_bytes());
                match wrong.or(protocol.as_ref().filter(bad)) {
                    Some(name) => Err(BadOrder::Header(name.clone())),
                    None => Ok(self),
                }
            }
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
            | Order::Pause { conn, .. } => Some(*conn),
            _ => None,
        }
    }
}

/// Whether a 101 may have this header of the application's.
fn may_be_said(name: &str, value: &str) -> bool {
    let own = ["upgrade", "connection", "content-length", "transfer-encoding"];
    let lower = name.to_ascii_lowercase();
    http::is_token(name.as_bytes())
        && !value.bytes().any(|byte| byte.is_ascii_control())
        && !own.contains(&&*lower)
        && !lower.starts_with("sec-websocket-")
}
