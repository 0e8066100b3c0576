//! L2: a browser's request as an upstream is to have it.
//!
//! It knows heads. Its rules:
//! * where the body ends is said by us, in our own words, whatever the browser said;
//! * what concerns one connection alone ends there (RFC 9110 section 7.6.1);
//! * what says where the request comes from is ours: nothing of that kind is passed on;
//! * a header's name with `_` is dropped, for WSGI and CGI take it for one with `-`.

use std::net::IpAddr;

use super::desk::PlainRequest;
use super::settings::{Speaks, Upstream};
use crate::proto::http::body::Framing;
use crate::proto::http::message::request_framing;
use crate::proto::http::{Head, Scheme};
use crate::proto::uwsgi::Packet;

/// A request that goes to an upstream.
#[derive(Debug)]
pub struct Forwarded {
    /// The number of the upstream.
    pub to: usize,
    /// The head, as the upstream is to have it.
    pub head: Vec<u8>,
    /// How its body comes, and how it goes on.
    pub framing: Framing,
    /// What matters of it when it is answered.
    pub traits: Traits,
    /// What came behind its head.
    pub early: Vec<u8>,
    /// What the application in this process is told, if it is to answer.
    pub asked: Option<Box<PlainRequest>>,
}

/// What of a request matters when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// It is HEAD, so that no answer has a body.
    pub bare: bool,
    /// It may be sent twice without harm (RFC 9110 section 9.2.2).
    pub idempotent: bool,
    /// The digit after `HTTP/1.`.
    pub minor_version: u8,
    /// The browser wants to use the connection again.
    pub keeps_alive: bool,
    /// It waits for a 100 before it sends the body.
    pub expects: bool,
    /// It asks for a WebSocket.
    pub upgrades: bool,
}

/// Whose request it is, as the upstream is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub address: Option<IpAddr>,
    pub scheme: Scheme,
}

/// Why a request goes to nobody.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unforwarded {
    pub status: u16,
    pub text: String,
}

impl Unforwarded {
    fn because(status: u16, text: impl Into<String>) -> Unforwarded {
        Unforwarded { status, text: text.into() }
    }
}

/// Headers of one connection alone, besides those that `Connection` names.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    // CGI would take it for the variable that names a proxy for the application's own requests.
    "proxy",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "host",
];
const IDEMPOTENT: [&str; 5] = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];

/// Makes of a request, whose head came as `bytes`, what goes to that upstream.
pub(crate) fn forward(
    head: &Head<'_>,
    bytes: &[u8],
    asker: Asker,
    to: (usize, &Upstream),
) -> Result<Forwarded, Unforwarded> {
    let (number, upstream) = to;
    let (framing, mut traits) = traits(head, bytes)?;
    traits.upgrades &= upstream.speaks == Speaks::Http;
    let out = match upstream.speaks {
        Speaks::Http => http_head(head, framing, traits, asker, upstream),
        Speaks::Uwsgi => uwsgi_head(head, framing, asker, upstream)?,
    };
    Ok(Forwarded { to: number, head: out, framing, traits, early: Vec::new(), asked: None })
}

/// Makes of a request, whose head came as `bytes`, what the application of that endpoint is told.
pub(crate) fn ask(
    head: &Head<'_>,
    bytes: &[u8],
    asker: Asker,
    endpoint: usize,
) -> Result<Forwarded, Unforwarded> {
    let (framing, mut traits) = traits(head, bytes)?;
    traits.upgrades = false;
    let asked = Some(Box::new(PlainRequest::of(head, asker)));
    Ok(Forwarded { to: endpoint, head: Vec::new(), framing, traits, early: Vec::new(), asked })
}

/// How the body of a request is framed, and what else matters of it.
fn traits(head: &Head<'_>, bytes: &[u8]) -> Result<(Framing, Traits), Unforwarded> {
    if matches!(head.method, "CONNECT" | "TRACE") {
        let text = format!("{} is not passed on to the application.", head.method);
        return Err(Unforwarded::because(405, text));
    }
    let framing = request_framing(head, bytes)
        .map_err(|error| Unforwarded::because(error.status(), error.to_string()))?;
    let said = |option: &[u8]| head.list("connection").any(|o| o.eq_ignore_ascii_case(option));
    let is = |name: &str, word: &[u8]| head.list(name).any(|w| w.eq_ignore_ascii_case(word));
    let traits = Traits {
        bare: head.method == "HEAD",
        idempotent: IDEMPOTENT.contains(&head.method),
        minor_version: head.minor_version,
        keeps_alive: !said(b"close") && (head.minor_version > 0 || said(b"keep-alive")),
        expects: head.minor_version > 0 && is("expect", b"100-continue"),
        upgrades: head.method == "GET"
            && framing == Framing::Empty
            && said(b"upgrade")
            && is("upgrade", b"websocket"),
    };
    Ok((framing, traits))
}

/// The lines of a head that concern who is at its end.
fn passed_on<'h>(head: &Head<'h>) -> impl Iterator<Item = (&'h str, &'h [u8])> {
    let named: Vec<&[u8]> = head.list("connection").collect();
    head.lines().filter(move |(name, _)| {
        let is = |other: &[u8]| name.as_bytes().eq_ignore_ascii_case(other);
        !HOP_BY_HOP.iter().any(|other| is(other.as_bytes()))
            && !named.iter().any(|other| is(other))
            && !name.contains('_')
            && !says_whence(name)
    })
}

/// Whether a header of that name says where a request comes from.
fn says_whence(name: &str) -> bool {
    let begins = name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("x-forwarded-"));
    begins || ["forwarded", "x-real-ip"].iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Path and query as they came, without the authority of a whole URL.
fn origin_form<'h>(head: &Head<'h>) -> (&'h str, &'h str) {
    let at = head.target.len() - head.query.len();
    let has_query = !head.query.is_empty() || head.target.ends_with('?');
    match has_query {
        true => (head.path, &head.target[at - 1..]),
        false => (head.path, ""),
    }
}

fn host<'h>(head: &Head<'h>, upstream: &'h Upstream) -> &'h [u8] {
    let named = head.authority.map(str::as_bytes).or_else(|| head.header("host"));
    named.filter(|host| !host.is_empty()).unwrap_or(upstream.host.as_bytes())
}

fn http_head(
    head: &Head<'_>,
    framing: Framing,
    traits: Traits,
    asker: Asker,
    upstream: &Upstream,
) -> Vec<u8> {
    let (path, query) = origin_form(head);
    let mut out = Vec::with_capacity(1 << 10);
    for part in [head.method, " ", path, query, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    let host = host(head, upstream);
    push(&mut out, "Host", host);
    for (name, value) in passed_on(head) {
        if traits.expects || !name.eq_ignore_ascii_case("expect") {
            push(&mut out, name, value);
        }
    }
    if traits.upgrades {
        push(&mut out, "Connection", b"Upgrade");
        push(&mut out, "Upgrade", b"websocket");
    }
    match framing {
        Framing::Sized(length) => push(&mut out, "Content-Length", length.to_string().as_bytes()),
        Framing::Chunked => push(&mut out, "Transfer-Encoding", b"chunked"),
        Framing::Empty | Framing::UntilEnd => {}
    }
    if let Some(address) = asker.address {
        let address = address.to_canonical().to_string();
        push(&mut out, "X-Forwarded-For", address.as_bytes());
    }
    push(&mut out, "X-Forwarded-Proto", asker.scheme.as_str().as_bytes());
    push(&mut out, "X-Forwarded-Host", host);
    out.extend_from_slice(b"\r\n");
    out
}

fn uwsgi_head(
    head: &Head<'_>,
    framing: Framing,
    asker: Asker,
    upstream: &Upstream,
) -> Result<Vec<u8>, Unforwarded> {
    let length = match framing {
        Framing::Chunked => {
            let text = "The application needs the length of the body: send a Content-Length.";
            return Err(Unforwarded::because(411, text));
        }
        Framing::Sized(length) => length.to_string(),
        Framing::Empty | Framing::UntilEnd => String::new(),
    };
    let (path, query) = origin_form(head);
    let host = host(head, upstream);
    let https = asker.scheme == Scheme::Https;
    let (name, port) = name_and_port(host, https);
    let protocol = if head.minor_version == 0 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut packet = Packet::default();
    packet.push("REQUEST_METHOD", head.method.as_bytes());
    packet.push("REQUEST_URI", [path, query].concat().as_bytes());
    packet.push("PATH_INFO", &decoded(path));
    packet.push("QUERY_STRING", head.query.as_bytes());
    packet.push("SERVER_PROTOCOL", protocol.as_bytes());
    packet.push("REQUEST_SCHEME", asker.scheme.as_str().as_bytes());
    if https {
        packet.push("HTTPS", b"on");
    }
    packet.push("SERVER_NAME", name);
    packet.push("SERVER_PORT", port);
    packet.push("CONTENT_LENGTH", length.as_bytes());
    packet.push("CONTENT_TYPE", head.header("content-type").unwrap_or(b""));
    packet.push_header("Host", host);
    for (name, value) in combined(passed_on(head)) {
        packet.push_header(name, &value);
    }
    if let Some(address) = asker.address {
        let address = address.to_canonical().to_string();
        packet.push("REMOTE_ADDR", address.as_bytes());
        packet.push_header("X-Forwarded-For", address.as_bytes());
    }
    packet.push_header("X-Forwarded-Proto", asker.scheme.as_str().as_bytes());
    packet.push_header("X-Forwarded-Host", host);
    packet.finish().ok_or_else(|| {
        Unforwarded::because(431, "The request's headers are more than the application takes.")
    })
}

/// One value for each name: a variable can stand but once.
fn combined<'h>(
    lines: impl Iterator<Item = (&'h str, &'h [u8])>,
) -> Vec<(&'h str, std::borrow::Cow<'h, [u8]>)> {
    let mut all: Vec<(&str, std::borrow::Cow<'_, [u8]>)> = Vec::new();
    for (name, value) in lines {
        if ["content-type", "expect"].iter().any(|other| name.eq_ignore_ascii_case(other)) {
            continue;
        }
        match all.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, known)) => {
                let between: &[u8] =
                    if name.eq_ignore_ascii_case("cookie") { b"; " } else { b", " };
                let known = known.to_mut();
                known.extend_from_slice(between);
                known.extend_from_slice(value);
            }
            None => all.push((name, value.into())),
        }
    }
    all
}

fn name_and_port(host: &[u8], https: bool) -> (&[u8], &[u8]) {
    let default: &[u8] = if https { b"443" } else { b"80" };
    match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if host[at + 1..].iter().all(u8::is_ascii_digit) && at + 1 < host.len() => {
            (&host[..at], &host[at + 1..])
        }
        _ => (host, default),
    }
}

/// A path without its percents.
pub(super) fn decoded(path: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    let hex = |byte: u8| char::from(byte).to_digit(16);
    while let [first, after @ ..] = rest {
        let byte = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match byte {
            Some((high, low)) => {
                out.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// Appends a line of a head. Its value was parsed, or is ours: it cannot end the line.
pub(super) fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    debug_assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n')), "{name}");
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Whether a trailer of that name is passed on: none that would say as a header what is ours.
pub(super) fn passes_as_trailer(name: &str) -> bool {
    !HOP_BY_HOP.iter().any(|other| name.eq_ignore_ascii_case(other))
        && !name.contains('_')
        && !says_whence(name)
}
