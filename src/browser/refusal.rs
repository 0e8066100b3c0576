//! L2: how a conn is refused: every refusal is a complete response whose text says what to do.
//!
//! It knows statuses and texts; what is refused, and why, is decided in `handshake` and `opening`.

use super::handshake::Request;
use super::settings::{Refuse, Settings};
use crate::link::Frame;
use crate::proto::http::{Head, HeadError};
use crate::proto::proxy::ProxyError;
use crate::proto::ws::frame;
use crate::proto::ws::upgrade;
use crate::web;

/// The header of a 101 that says which options were granted.
pub(super) const GRANTED: &str = "X-Wsloop-Granted";

/// When to come back who was refused for the time being.
pub(super) const RETRY_AFTER: (&str, &str) = ("Retry-After", "5");

/// What to send to a conn that is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status, also for the log.
    pub status: u16,
    /// One or two sentences for the developer.
    pub text: String,
    /// Everything to send.
    pub bytes: Frame,
    /// What is sent ends with a close frame.
    pub closes: bool,
}

impl Refusal {
    /// The same to who has asked with HEAD.
    pub fn without_body(mut self) -> Refusal {
        let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end.filter(|_| !self.closes) {
            self.bytes = Frame::from(&self.bytes[..end + 4]);
        }
        self
    }
}

/// The refusal of bytes that are no request head.
pub(crate) fn bad_head(error: HeadError, settings: &Settings) -> Refusal {
    refuse(error.status(), &[], error.to_string(), None, settings)
}

/// The refusal of a proxy that does not say where its connection comes from.
pub(crate) fn unannounced(error: ProxyError, settings: &Settings) -> Refusal {
    refuse(400, &[], error.to_string(), None, settings)
}

/// The refusal of a request that came without TLS to a port for that alone: where it would have
/// been answered, for whoever only reads, or a sentence.
pub(crate) fn exposed(head: &Head<'_>, settings: &Settings) -> Refusal {
    let host = upgrade::host(head).filter(|_| matches!(head.method, "GET" | "HEAD"));
    let Some(host) = host else {
        let text = "This port speaks TLS: ask with https:// or wss://.";
        return refuse(400, &[], text.to_owned(), None, settings);
    };
    let mark = if head.query.is_empty() { "" } else { "?" };
    let place = ["https://", host, head.path, mark, head.query].concat();
    let text = format!("This port speaks TLS: {place}");
    refuse(302, &[("Location", &place)], text, None, settings)
}

/// The refusal of a request that could be served later; `accepted` is the 101 it would have had.
pub(crate) fn unavailable(text: &str, accepted: Option<&[u8]>, settings: &Settings) -> Refusal {
    unserved(503, text, accepted, settings)
}

/// The refusal of who may come again; `accepted` is the 101 it would have had.
pub(crate) fn unserved(
    status: u16,
    text: &str,
    accepted: Option<&[u8]>,
    settings: &Settings,
) -> Refusal {
    refuse(status, &[RETRY_AFTER], text.to_string(), accepted, settings)
}

/// The refusal of a request whose token is not valid.
pub(crate) fn unauthorized(text: &str, request: &Request<'_>, settings: &Settings) -> Refusal {
    request.refuse(401, &[("WWW-Authenticate", "Bearer")], text, settings)
}

/// The refusal of a request in the words of the application, or because of what was heard of it.
pub(crate) fn turned_away(
    status: u16,
    text: &str,
    request: &Request<'_>,
    settings: &Settings,
) -> Refusal {
    let headers: &[_] = if status == 503 { &[RETRY_AFTER] } else { &[] };
    request.refuse(status, headers, text, settings)
}

/// The refusal of a conn whose right to be here was withdrawn before it was open; `accepted` is the
/// 101 it would have had.
pub(crate) fn revoked(accepted: Option<&[u8]>, settings: &Settings) -> Refusal {
    refuse(403, &[], "This connection may no longer be here.".to_owned(), accepted, settings)
}

/// The refusal of a request that took too long to arrive.
pub(crate) fn too_late(settings: &Settings) -> Refusal {
    let text = "The request did not arrive within the time that a handshake may take.";
    refuse(408, &[], text.to_string(), None, settings)
}

/// The refusal of a conn that sent too much before it had its 101.
pub(crate) fn too_eager(accepted: Option<&[u8]>, settings: &Settings) -> Refusal {
    let text = "Wait for the 101 before sending messages; too many came before it.";
    refuse(400, &[], text.to_string(), accepted, settings)
}

pub(super) fn not_upgraded(
    refusal: &upgrade::UpgradeError,
    accepted: Option<&[u8]>,
    settings: &Settings,
) -> Refusal {
    refuse(refusal.status(), refusal.headers(), refusal.to_string(), accepted, settings)
}

pub(super) fn refuse(
    status: u16,
    headers: &[(&str, &str)],
    text: String,
    accepted: Option<&[u8]>,
    settings: &Settings,
) -> Refusal {
    let (bytes, closes) = match (settings.refuse, accepted) {
        (Refuse::Close, Some(accepted)) if !is_stream(accepted) => {
            let mut bytes = accepted.to_vec();
            bytes.extend_from_slice(&frame::encode_close(Some(4000 + status), &text));
            (bytes, true)
        }
        _ => {
            let readable = accepted.map(readable_as).unwrap_or_default();
            let headers = [headers, &readable].concat();
            (web::text_response(status, &headers, &text, false), false)
        }
    };
    Refusal { status, text, bytes: Frame::from(bytes), closes }
}

/// Whether what a request would have been answered with is the head of a stream, and no 101.
fn is_stream(accepted: &[u8]) -> bool {
    accepted.starts_with(b"HTTP/1.1 200 ")
}

/// The headers by which who may read a stream may read its refusal.
fn readable_as(accepted: &[u8]) -> Vec<(&str, &str)> {
    let head = std::str::from_utf8(accepted).unwrap_or_default();
    let lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.filter(|(name, _)| name.starts_with("Access-Control-") || *name == "Vary").collect()
}

/// The headers by which a page of that origin may read an answer, with its cookies.
pub(super) fn readable_by(origin: Option<&str>) -> Vec<(&'static str, &str)> {
    let headers = |origin| {
        vec![
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Expose-Headers", GRANTED),
            ("Vary", "Origin"),
        ]
    };
    origin.map(headers).unwrap_or_default()
}
