//! L2: an upstream's response as the browser is to have it.
//!
//! It knows heads. Its rule: where the body ends is said by us, whatever the upstream said.

use super::request::{Traits, push};
use crate::proto::http::body::Framing;
use crate::proto::http::message::{LengthError, ResponseHead};

/// How a response goes on to the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// How its body comes.
    pub framing: Framing,
    /// How its body goes on.
    pub out: Framing,
    /// The upstream's link may be used again.
    pub reusable: bool,
    /// The browser's link is closed behind it.
    pub closes: bool,
}

const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "content-length",
];

/// How the body of a response goes on, to a request of those traits; `closes` when the browser's
/// link is not to be used again.
pub(super) fn plan(
    head: &ResponseHead<'_>,
    traits: Traits,
    closes: bool,
) -> Result<Plan, LengthError> {
    let framing = head.framing(traits.bare)?;
    let out = match framing {
        Framing::UntilEnd | Framing::Chunked if traits.minor_version > 0 => Framing::Chunked,
        Framing::Chunked => Framing::UntilEnd,
        framing => framing,
    };
    let closes = closes || !traits.keeps_alive || out == Framing::UntilEnd;
    let reusable = framing != Framing::UntilEnd && head.keeps_alive();
    Ok(Plan { framing, out, reusable, closes })
}

/// Appends the head of a response that goes on like that.
pub(super) fn push_head(out: &mut Vec<u8>, head: &ResponseHead<'_>, traits: Traits, plan: &Plan) {
    push_lines(out, head);
    match plan.out {
        Framing::Sized(length) => push(out, "Content-Length", length.to_string().as_bytes()),
        Framing::Chunked => push(out, "Transfer-Encoding", b"chunked"),
        Framing::Empty => {
            // What a GET would have had; of a 204 nothing is said.
            let length = head.lines().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            if let Some((name, value)) = length.filter(|_| head.status >= 200 && head.status != 204)
                && value.iter().all(u8::is_ascii_digit)
            {
                push(out, name, value);
            }
        }
        Framing::UntilEnd => {}
    }
    match (plan.closes, traits.minor_version) {
        (true, _) => push(out, "Connection", b"close"),
        (false, 0) => push(out, "Connection", b"keep-alive"),
        (false, _) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of an interim response.
pub(super) fn push_interim(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    push_lines(out, head);
    out.extend_from_slice(b"\r\n");
}

/// Appends the head of a 101: the browser has what it asked for.
pub(super) fn push_switch(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    push_lines(out, head);
    push(out, "Connection", b"Upgrade");
    push(out, "Upgrade", b"websocket");
    out.extend_from_slice(b"\r\n");
}

fn push_lines(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    out.extend_from_slice(format!("HTTP/1.1 {} ", head.status).as_bytes());
    out.extend_from_slice(head.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    let named: Vec<&[u8]> = head.list("connection").collect();
    for (name, value) in head.lines() {
        let is = |other: &[u8]| name.as_bytes().eq_ignore_ascii_case(other);
        if !HOP_BY_HOP.iter().any(|other| is(other.as_bytes())) && !named.iter().any(|o| is(o)) {
            push(out, name, value);
        }
    }
}
