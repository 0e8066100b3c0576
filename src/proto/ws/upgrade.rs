//! L0: the server's half of the WebSocket opening handshake (RFC 6455 section 4.2): a request head
//! becomes an [`Upgrade`] or a [`UpgradeError`], and an upgrade becomes the 101.
//!
//! It knows nothing of channels, identities or permissions; what a path means is others' business.
//!
//! Rules:
//! - Whatever is not plainly valid is refused, and the refusal's text tells a developer, perhaps
//!   one with a proxy in between, what to change.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1_smol::Sha1;

use super::deflate;
pub use super::origin::AllowedOrigins;
use super::origin::{Authority, Quoted, is_origin_of};
use crate::proto::http::{self, Head};

/// Most sub-protocols that one request may offer.
pub const MAX_PROTOCOLS: usize = 64;

/// What RFC 6455 section 4.2.2 has appended to the key.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A valid opening handshake, borrowed from the bytes of its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade<'b> {
    /// The path, still percent-encoded.
    pub path: &'b str,
    /// The query, still percent-encoded; empty when there is none.
    pub query: &'b str,
    /// Host and port that the client connected to, as sent.
    pub host: &'b str,
    /// The page that connects, as sent; only browsers say.
    pub origin: Option<&'b str>,
    /// The value of Sec-WebSocket-Accept.
    pub accept: [u8; 28],
    protocols: Vec<&'b str>,
}

impl<'b> Upgrade<'b> {
    /// The sub-protocols that the client offers, the one it likes best first.
    pub fn protocols(&self) -> impl Iterator<Item = &'b str> {
        self.protocols.iter().copied()
    }

    /// Refuses a page of an origin that may not connect. Without an Origin the client is not a
    /// browser and passes: it could have sent any.
    pub fn check_origin(&self, allowed: &AllowedOrigins) -> Result<(), UpgradeError> {
        match self.origin {
            Some(origin) if is_origin_of(self.host, origin) => Ok(()),
            Some(origin) if !allowed.permits(origin, self.host) => {
                Err(UpgradeError::OriginRefused {
                    origin: origin.to_owned(),
                    host: self.host.to_owned(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Why a request does not become a WebSocket. `Display` is the body to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// The method is POST, which has always been a bad request here, or another one than GET with
    /// an upgrade.
    Method,
    /// The method is none that WebSocket paths know.
    MethodNotAllowed,
    /// A body is announced, which an upgrade has none of: what follows would be taken for frames.
    Body,
    /// The version is HTTP/1.0, which has no upgrades.
    HttpVersion,
    /// There is not exactly one Host, or it is not a host with or without a port.
    Host,
    /// Upgrade does not list `websocket`: an ordinary request.
    NoUpgrade,
    /// Connection does not list `upgrade`.
    NoConnectionUpgrade,
    /// There is not exactly one Sec-WebSocket-Version, or it is not 13.
    WebSocketVersion,
    /// There is not exactly one Sec-WebSocket-Key, or it is not 16 bytes of base64.
    Key,
    /// A sub-protocol is not a token or is offered twice, or more than [`MAX_PROTOCOLS`] are.
    Protocols,
    /// There is more than one Origin, or it is not text.
    Origin,
    /// Pages of this origin may not connect.
    OriginRefused {
        /// The Origin as sent.
        origin: String,
        /// The Host as sent.
        host: String,
    },
}

impl UpgradeError {
    /// The HTTP status to refuse with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Method
            | Self::Body
            | Self::HttpVersion
            | Self::Host
            | Self::NoConnectionUpgrade
            | Self::Key
            | Self::Protocols
            | Self::Origin => 400,
            Self::OriginRefused { .. } => 403,
            Self::MethodNotAllowed => 405,
            Self::NoUpgrade | Self::WebSocketVersion => 426,
        }
    }

    /// The headers that this status asks for. With 426 these are the version to come back with
    /// (RFC 6455 section 4.4) and the protocol to upgrade to (RFC 9110 section 15.5.22).
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::NoUpgrade | Self::WebSocketVersion => &[
                ("Sec-WebSocket-Version", "13"),
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
            ],
            Self::MethodNotAllowed => &[("Allow", "GET, HEAD")],
            _ => &[],
        }
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method | Self::MethodNotAllowed => {
                "A WebSocket is opened with GET and no other HTTP method."
            }
            Self::Body => {
                "A request for a WebSocket has no body: neither a Transfer-Encoding nor a \
                 Content-Length other than 0."
            }
            Self::HttpVersion => {
                "A WebSocket needs HTTP/1.1, and this request came with HTTP/1.0; a proxy in \
                 between may have changed it (nginx needs `proxy_http_version 1.1;`)."
            }
            Self::Host => {
                "The request must have exactly one Host header, such as `example.com` or \
                 `example.com:8080`."
            }
            Self::NoUpgrade => {
                "This URL speaks WebSocket, and the request does not ask for an upgrade to a \
                 websocket: open it with `new WebSocket(url)`, and if that is what you did, have \
                 the proxy in between pass the upgrade on (nginx: `proxy_http_version 1.1; \
                 proxy_set_header Upgrade $http_upgrade; \
                 proxy_set_header Connection \"upgrade\";`)."
            }
            Self::NoConnectionUpgrade => {
                "The request has `Upgrade: websocket` but no `Connection: Upgrade`; a proxy in \
                 between may have dropped it (nginx: `proxy_set_header Connection \"upgrade\";`)."
            }
            Self::WebSocketVersion => {
                "The request must have exactly one Sec-WebSocket-Version header, with the value \
                 13 (RFC 6455)."
            }
            Self::Key => {
                "The request must have exactly one Sec-WebSocket-Key header: 16 random bytes in \
                 base64, which is 24 characters."
            }
            Self::Protocols => {
                "Sec-WebSocket-Protocol must be a comma-separated list of at most 64 different \
                 names, without blanks or any of ()<>@,;:\\\"/[]?={} in them."
            }
            Self::Origin => "The request has more than one Origin header, or one that is not text.",
            Self::OriginRefused { origin, host } => {
                let (origin, host) = (Quoted(origin), Quoted(host));
                return write!(
                    f,
                    "Pages of the origin {origin} may not open a WebSocket on the host {host}: \
                     behind a proxy that rewrites Host, pass Host on (nginx: `proxy_set_header \
                     Host $http_host;`), or name the origin with --allowed-origins."
                );
            }
        })
    }
}

impl std::error::Error for UpgradeError {}

/// Checks everything that RFC 6455 section 4.2.1 asks of an opening handshake, in the order in
/// which a request becomes less and less like a WebSocket's.
pub fn check<'b>(head: &Head<'b>) -> Result<Upgrade<'b>, UpgradeError> {
    let lines = Lines::of(head);
    match head.method {
        "GET" => {}
        "HEAD" if !lines.upgrades => {}
        "HEAD" | "POST" => return Err(UpgradeError::Method),
        _ => return Err(UpgradeError::MethodNotAllowed),
    }
    if head.minor_version < 1 {
        return Err(UpgradeError::HttpVersion);
    }
    let host = lines.host(head).ok_or(UpgradeError::Host)?;
    if !lines.upgrades {
        return Err(UpgradeError::NoUpgrade);
    }
    if lines.has_body {
        return Err(UpgradeError::Body);
    }
    if !lines.connects {
        return Err(UpgradeError::NoConnectionUpgrade);
    }
    if lines.version.only() != Some(b"13") {
        return Err(UpgradeError::WebSocketVersion);
    }
    let key = lines.key.only().filter(|key| is_key(key));
    let accept = accept(key.ok_or(UpgradeError::Key)?);
    let protocols = if lines.offers { protocols(head) } else { Some(Vec::new()) };
    let (protocols, origin) = (protocols.ok_or(UpgradeError::Protocols)?, lines.origin()?);
    Ok(Upgrade { path: head.path, query: head.query, host, origin, accept, protocols })
}

/// A GET that does not ask for an upgrade where WebSockets are: a developer who looks.
pub fn inquiry<'b>(head: &Head<'b>) -> Result<Upgrade<'b>, UpgradeError> {
    let lines = Lines::of(head);
    let (host, origin) = (lines.host(head).ok_or(UpgradeError::Host)?, lines.origin()?);
    let (accept, protocols) = ([0; 28], Vec::new());
    Ok(Upgrade { path: head.path, query: head.query, host, origin, accept, protocols })
}

/// What the header lines say that a handshake is about, found in one pass.
#[derive(Default)]
struct Lines<'b> {
    host: Line<'b>,
    origin: Line<'b>,
    version: Line<'b>,
    key: Line<'b>,
    /// Upgrade lists `websocket`.
    upgrades: bool,
    /// Connection lists `upgrade`.
    connects: bool,
    /// A body is announced.
    has_body: bool,
    /// Sub-protocols are offered.
    offers: bool,
}

/// The value of a header that is to come once.
#[derive(Clone, Copy, Default)]
enum Line<'b> {
    #[default]
    Missing,
    Once(&'b [u8]),
    Again,
}

impl<'b> Lines<'b> {
    fn of(head: &Head<'b>) -> Lines<'b> {
        let mut lines = Lines::default();
        for (name, value) in head.lines() {
            // Mostly they are written as here.
            let is = |known: &str| name == known || name.eq_ignore_ascii_case(known);
            match name.len() {
                4 if is("Host") => lines.host.add(value),
                6 if is("Origin") => lines.origin.add(value),
                7 if is("Upgrade") => lines.upgrades |= lists(value, b"websocket"),
                10 if is("Connection") => lines.connects |= lists(value, b"upgrade"),
                14 if is("Content-Length") => lines.has_body |= value != b"0",
                17 if is("Sec-WebSocket-Key") => lines.key.add(value),
                17 if is("Transfer-Encoding") => lines.has_body = true,
                21 if is("Sec-WebSocket-Version") => lines.version.add(value),
                22 if is("Sec-WebSocket-Protocol") => lines.offers = true,
                _ => {}
            }
        }
        lines
    }

    /// The host that the request is for: that of an absolute-form target, else the Host header,
    /// which must be there and valid either way (RFC 9112 section 3.2).
    fn host(&self, head: &Head<'b>) -> Option<&'b str> {
        let valid = |host: &&str| Authority::parse(host).is_some();
        let header = self.host.only_text().filter(valid)?;
        head.authority.map_or(Some(header), |authority| Some(authority).filter(valid))
    }

    fn origin(&self) -> Result<Option<&'b str>, UpgradeError> {
        match self.origin {
            Line::Missing => Ok(None),
            line => line.only_text().map(Some).ok_or(UpgradeError::Origin),
        }
    }
}

impl<'b> Line<'b> {
    fn add(&mut self, value: &'b [u8]) {
        *self = if let Line::Missing = self { Line::Once(value) } else { Line::Again };
    }

    fn only(self) -> Option<&'b [u8]> {
        if let Line::Once(value) = self { Some(value) } else { None }
    }

    fn only_text(self) -> Option<&'b str> {
        self.only().and_then(|value| str::from_utf8(value).ok())
    }
}

/// The sub-protocol to speak: the first one offered that is spoken here, or without a list simply
/// the first one. Never one that begins with `bearer.`: that is how browsers hand over a token,
/// and the response would show it.
pub fn choose_protocol<'b>(
    offered: impl IntoIterator<Item = &'b str>,
    spoken: Option<&[String]>,
) -> Option<&'b str> {
    let is_bearer = |name: &str| {
        name.as_bytes().get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"bearer."))
    };
    offered.into_iter().find(|&name| {
        !is_bearer(name) && spoken.is_none_or(|spoken| spoken.iter().any(|known| known == name))
    })
}

/// The 101 response (RFC 6455 section 4.2.2), with the chosen sub-protocol and the extensions that
/// were agreed on, if there are any, and with further headers.
pub fn accepted(
    accept: &[u8; 28],
    protocol: Option<&str>,
    extensions: Option<&str>,
    headers: &[(&str, &str)],
) -> Vec<u8> {
    let mut out = begin_accepted(accept, protocol, extensions);
    for (name, value) in headers {
        http::push_header(&mut out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The same, to be followed by further headers and an empty line.
pub(crate) fn begin_accepted(
    accept: &[u8; 28],
    protocol: Option<&str>,
    extensions: Option<&str>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept);
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol {
        http::push_header(&mut out, "Sec-WebSocket-Protocol", protocol);
    }
    if let Some(extensions) = extensions {
        http::push_header(&mut out, deflate::HEADER, extensions);
    }
    out
}

/// Whether the request's Host is as HTTP/1.1 wants it (RFC 9112 section 3.2): one, and valid. Of
/// HTTP/1.0 none is asked.
pub fn has_host(head: &Head<'_>) -> bool {
    let lines = Lines::of(head);
    let needs_none = head.minor_version < 1 && matches!(lines.host, Line::Missing);
    needs_none || lines.host(head).is_some()
}

/// The host that a valid request is for, with its port if one is written.
pub(crate) fn host<'b>(head: &Head<'b>) -> Option<&'b str> {
    Lines::of(head).host(head)
}

/// The host that a valid request is for, without its port.
pub fn host_name<'b>(head: &Head<'b>) -> Option<&'b str> {
    let host = host(head)?;
    let end = match host.starts_with('[') {
        true => host.find(']')? + 1,
        false => host.find(':').unwrap_or(host.len()),
    };
    Some(&host[..end])
}

/// Whether that line of a list has the element, lower-case letters, in any case.
fn lists(value: &[u8], element: &[u8]) -> bool {
    let is_element = |listed: &[u8]| {
        let pairs = listed.iter().zip(element);
        listed.len() == element.len() && pairs.fold(true, |all, (one, of)| all & (one | 32 == *of))
    };
    // Mostly it is the only one.
    is_element(value) || http::elements(value).any(is_element)
}

/// Which bytes base64 is made of.
const IS_BASE64: [bool; 256] = {
    let (mut is, mut byte) = ([false; 256], 0);
    while byte < 256 {
        is[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'+' | b'/');
        byte += 1;
    }
    is
};

/// Whether it is 16 bytes of base64. The four bits behind the sixteenth byte may be anything.
fn is_key(key: &[u8]) -> bool {
    let Some((text, b"==")) = key.split_at_checked(22) else { return false };
    text.iter().fold(true, |all, byte| all & IS_BASE64[usize::from(*byte)])
}

/// The Sec-WebSocket-Accept that belongs to a key.
pub(super) fn accept(key: &[u8]) -> [u8; 28] {
    let mut sha1 = Sha1::new();
    sha1.update(key);
    sha1.update(KEY_SUFFIX);
    let mut accept = [0; 28];
    STANDARD
        .encode_slice(sha1.digest().bytes(), &mut accept)
        .expect("20 bytes are 28 characters of base64");
    accept
}

/// The sub-protocols that a request offers, those that are text.
pub fn offered<'b>(head: &Head<'b>) -> impl Iterator<Item = &'b str> {
    head.list("Sec-WebSocket-Protocol").filter_map(|name| str::from_utf8(name).ok())
}

/// The offered sub-protocols, or `None` when they are not as the RFC asks.
fn protocols<'b>(head: &Head<'b>) -> Option<Vec<&'b str>> {
    let mut protocols = Vec::new();
    for name in head.list("Sec-WebSocket-Protocol") {
        let name = str::from_utf8(name).ok().filter(|name| http::is_token(name.as_bytes()))?;
        if protocols.len() == MAX_PROTOCOLS || protocols.contains(&name) {
            return None;
        }
        protocols.push(name);
    }
    Some(protocols)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET /ws/a?echo HTTP/1.1\r\nHost: h:8080\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// The request with one part of it replaced, once.
    fn request(part: &str, by: &str) -> String {
        assert_eq!(REQUEST.matches(part).count(), 1, "{part:?}");
        REQUEST.replace(part, by)
    }

    /// The outcome of a whole head that arrives byte by byte, with a frame behind it.
    fn replay(request: &str) -> Result<Upgrade<'_>, UpgradeError> {
        for end in 0..request.len() {
            assert_eq!(http::parse_head(&request.as_bytes()[..end], 8192), Ok(None), "{end}");
        }
        let (head, length) = http::parse_head(request.as_bytes(), 8192).unwrap().unwrap();
        let outcome = check(&head);
        let and_more = [request.as_bytes(), b"\x81\x85"].concat();
        let (head, length_with_more) = http::parse_head(&and_more, 8192).unwrap().unwrap();
        assert_eq!((check(&head), length_with_more), (outcome.clone(), length));
        outcome
    }

    #[test]
    fn the_sample_of_the_rfc() {
        let upgrade = replay(REQUEST).unwrap();
        assert_eq!(&upgrade.accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((upgrade.path, upgrade.query), ("/ws/a", "echo"));
        assert_eq!((upgrade.host, upgrade.origin), ("h:8080", None));
        assert_eq!(upgrade.protocols().count(), 0);
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        assert_eq!(accepted(&upgrade.accept, None, None, &[]), format!("{head}\r\n").as_bytes());
        assert_eq!(
            accepted(&upgrade.accept, Some("chat"), Some("x; y"), &[("X-A", "b")]),
            format!(
                "{head}Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: x; y\r\n\
                 X-A: b\r\n\r\n"
            )
            .as_bytes()
        );
    }

    #[test]
    fn what_varies_and_is_valid() {
        for (part, by) in [
            ("Upgrade: websocket", "uPGRADE: h2c, , WebSocket"),
            ("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade:\twebsocket "),
            ("Connection: Upgrade", "Connection: keep-alive, UPGRADE"),
            ("Connection: Upgrade", "Connection: keep-alive\r\nconnection:upgrade"),
            ("Host: h:8080", "Host: h"),
            ("Host: h:8080", "Host: h:"),
            ("Host: h:8080", "Host: my_host.example.:65535"),
            ("Host: h:8080", "Host: [::1]:80"),
            ("Host: h:8080", "Host: 127.0.0.1"),
            // Every letter of base64 is one, and so are those that are none in a URL.
            ("dGhlIHNhbXBsZSBub25jZQ==", "+/09azAZ+/09azAZ+/09ag=="),
            // Bits after the sixteenth byte.
            ("ZQ==", "ZR=="),
            ("Host: h:8080", "Origin: \r\nHost: h:8080"),
            ("Host: h:8080", "Content-Length: 0\r\nHost: h:8080"),
            ("Host: h:8080", "Sec-WebSocket-Protocol:\r\nHost: h:8080"),
        ] {
            assert!(replay(&request(part, by)).is_ok(), "{by:?}");
        }
        let origin = request("Host:", "Origin: https://a\r\nHost:");
        assert_eq!(replay(&origin).unwrap().origin, Some("https://a"));
        // The host of an absolute-form target stands in for the header.
        let absolute = request("/ws/a?echo", "http://b:1/ws/a?echo");
        let upgrade = replay(&absolute).unwrap();
        assert_eq!((upgrade.host, upgrade.path, upgrade.query), ("b:1", "/ws/a", "echo"));
    }

    #[test]
    fn refusals() {
        use UpgradeError::*;
        let no_key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for (part, by, expected) in [
            ("GET", "POST", Method),
            ("GET", "HEAD", Method),
            ("GET", "get", MethodNotAllowed),
            ("GET", "PUT", MethodNotAllowed),
            ("GET", "DELETE", MethodNotAllowed),
            ("GET", "OPTIONS", MethodNotAllowed),
            ("Host:", "Transfer-Encoding: chunked\r\nHost:", Body),
            ("Host:", "Transfer-Encoding:\r\nHost:", Body),
            ("Host:", "Content-Length: 5\r\nHost:", Body),
            ("Host:", "Content-Length: 0\r\nContent-Length: 1\r\nHost:", Body),
            ("Host:", "Content-Length: +0\r\nHost:", Body),
            ("HTTP/1.1", "HTTP/1.0", HttpVersion),
            ("Host: h:8080\r\n", "", Host),
            ("Host: h:8080", "Host: h:8080\r\nHost: h:8080", Host),
            ("Host: h:8080", "Host:", Host),
            ("Host: h:8080", "Host: :8080", Host),
            ("Host: h:8080", "Host: a, b", Host),
            ("Host: h:8080", "Host: user@h", Host),
            ("Host: h:8080", "Host: h/a", Host),
            ("Host: h:8080", "Host: h:+80", Host),
            ("Host: h:8080", "Host: h:65536", Host),
            ("Host: h:8080", "Host: h:80:80", Host),
            ("Host: h:8080", "Host: ::1", Host),
            ("Host: h:8080", "Host: [::1", Host),
            ("Host: h:8080", "Host: [::1]80", Host),
            ("Host: h:8080", "Host: [h]", Host),
            ("Host: h:8080", "Host: h%41", Host),
            ("Host: h:8080", "Host: h\u{e9}", Host),
            ("/ws/a?echo", "http:///ws/a", Host),
            ("/ws/a?echo", "http://user@h:8080/ws/a", Host),
            ("Upgrade: websocket\r\n", "", NoUpgrade),
            ("Upgrade: websocket", "Upgrade:", NoUpgrade),
            ("Upgrade: websocket", "Upgrade: h2c", NoUpgrade),
            ("Upgrade: websocket", "Upgrade: web socket", NoUpgrade),
            ("Upgrade: websocket", "Upgrade: websocket/13", NoUpgrade),
            ("Connection: Upgrade\r\n", "", NoConnectionUpgrade),
            ("Connection: Upgrade", "Connection: close", NoConnectionUpgrade),
            ("Connection: Upgrade", "Connection: keep-alive Upgrade", NoConnectionUpgrade),
            ("Sec-WebSocket-Version: 13\r\n", "", WebSocketVersion),
            ("Version: 13", "Version:", WebSocketVersion),
            ("Version: 13", "Version: 8", WebSocketVersion),
            ("Version: 13", "Version: 013", WebSocketVersion),
            ("Version: 13", "Version: 13, 8", WebSocketVersion),
            ("Host:", "Sec-WebSocket-Version: 13\r\nHost:", WebSocketVersion),
            (no_key, "", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=a", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWE=", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWFh", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j_Q==", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "SGVsbG8sIHdvcmxkIQ==", Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSB1b25jZSBhZ2Fpbg==", Key),
            ("Host:", &format!("{no_key}Host:"), Key),
            ("Host:", "Sec-WebSocket-Protocol: a b\r\nHost:", Protocols),
            ("Host:", "Sec-WebSocket-Protocol: a/b\r\nHost:", Protocols),
            ("Host:", "Sec-WebSocket-Protocol: \u{e9}\r\nHost:", Protocols),
            ("Host:", "Sec-WebSocket-Protocol: a, b, a\r\nHost:", Protocols),
            ("Host:", "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: a\r\nHost:", Protocols),
            ("Host:", "Origin: http://a\r\nOrigin: http://a\r\nHost:", Origin),
        ] {
            assert_eq!(replay(&request(part, by)), Err(expected), "{part:?} -> {by:?}");
        }
    }

    #[test]
    fn an_origin_that_is_not_text_is_refused() {
        let request = request("Host:", "Origin: ?\r\nHost:").replace("/ws/a?echo", "/");
        let bytes: Vec<u8> =
            request.bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
        let (head, _) = http::parse_head(&bytes, 8192).unwrap().unwrap();
        assert_eq!(check(&head), Err(UpgradeError::Origin));
    }

    #[test]
    fn the_first_thing_wrong_is_told() {
        let (head, _) = http::parse_head(b"POST / HTTP/1.0\r\n\r\n", 8192).unwrap().unwrap();
        assert_eq!(check(&head), Err(UpgradeError::Method));
        let plain = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let (head, _) = http::parse_head(plain, 8192).unwrap().unwrap();
        assert_eq!(check(&head), Err(UpgradeError::NoUpgrade));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let foreign = UpgradeError::OriginRefused { origin: "http://a".into(), host: "b".into() };
        for (refusal, status, words) in [
            (UpgradeError::Method, 400, "GET"),
            (UpgradeError::MethodNotAllowed, 405, "GET"),
            (UpgradeError::Body, 400, "Content-Length"),
            (UpgradeError::HttpVersion, 400, "proxy_http_version 1.1"),
            (UpgradeError::Host, 400, "Host"),
            (UpgradeError::NoUpgrade, 426, "upgrade to a websocket"),
            (UpgradeError::NoUpgrade, 426, "proxy_http_version 1.1"),
            (UpgradeError::NoUpgrade, 426, "proxy_set_header Upgrade"),
            (UpgradeError::NoUpgrade, 426, "proxy_set_header Connection"),
            (UpgradeError::NoConnectionUpgrade, 400, "proxy_set_header Connection"),
            (UpgradeError::WebSocketVersion, 426, "13"),
            (UpgradeError::Key, 400, "16 random bytes"),
            (UpgradeError::Protocols, 400, &MAX_PROTOCOLS.to_string()),
            (UpgradeError::Origin, 400, "more than one Origin"),
            (foreign.clone(), 403, "\"http://a\""),
            (foreign.clone(), 403, "\"b\""),
            (foreign.clone(), 403, "pass Host on"),
            (foreign, 403, "--allowed-origins"),
        ] {
            assert_eq!(refusal.status(), status, "{refusal:?}");
            assert!(refusal.to_string().contains(words), "{refusal}");
            let version = refusal.headers().contains(&("Sec-WebSocket-Version", "13"));
            assert_eq!(version, status == 426, "{refusal:?}");
        }
    }

    #[test]
    fn values_of_a_peer_are_quoted_and_cut() {
        let origin = format!("http://\u{e9}\"\r\n<{}", "a".repeat(5000));
        let refusal = UpgradeError::OriginRefused { origin, host: "a".repeat(100) };
        let text = refusal.to_string();
        assert!(text.contains(r#""http://\u{e9}\"\r\n<aaa"#), "{text}");
        assert!(text.contains(r#"aaa..." may"#), "{text}");
        assert!(text.contains(&format!("\"{}\"", "a".repeat(100))), "{text}");
        assert!(text.len() < 600, "{text}");
    }

    #[test]
    fn sub_protocols_are_one_list() {
        let lines = "Sec-WebSocket-Protocol: b.2,, A\r\nsec-websocket-protocol:a \r\nHost:";
        let request_with_three = request("Host:", lines);
        let upgrade = replay(&request_with_three).unwrap();
        assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["b.2", "A", "a"]);
        for (count, expected) in [(MAX_PROTOCOLS, true), (MAX_PROTOCOLS + 1, false)] {
            let names: Vec<String> = (0..count).map(|number| number.to_string()).collect();
            let line = format!("Sec-WebSocket-Protocol: {}\r\nHost:", names.join(","));
            let request = request("Host:", &line);
            let outcome = replay(&request).map(|upgrade| upgrade.protocols().count());
            assert_eq!(outcome, if expected { Ok(count) } else { Err(UpgradeError::Protocols) });
        }
    }

    #[test]
    fn one_sub_protocol_is_chosen() {
        let none: &[&str] = &[];
        for (offered, spoken, expected) in [
            (none, None, None),
            (&["b", "a"], None, Some("b")),
            (&["b", "a"], Some(none), None),
            (&["b", "a"], Some(&["a", "b"][..]), Some("b")),
            (&["c", "a"], Some(&["a", "b"]), Some("a")),
            (&["A"], Some(&["a"]), None),
            (&["bearer.x", "Bearer.y", "a"], None, Some("a")),
            (&["BEARER.x"], None, None),
            (&["bearer.x"], Some(&["bearer.x"]), None),
            (&["bearer", "a"], None, Some("bearer")),
            (&["bearers.x"], None, Some("bearers.x")),
        ] {
            let spoken: Option<Vec<String>> =
                spoken.map(|names| names.iter().map(|&name| name.to_owned()).collect());
            let chosen = choose_protocol(offered.iter().copied(), spoken.as_deref());
            assert_eq!(chosen, expected, "{offered:?} {spoken:?}");
        }
    }

    #[test]
    fn the_origin_is_checked_against_the_host() {
        let listed = AllowedOrigins::parse("https://a").unwrap();
        for (lines, expected) in [
            ("Host: h:8080", None),
            ("Host: h:8080\r\nOrigin: http://h:8080", None),
            ("Host: h:8080\r\nOrigin: https://a", None),
            ("Host: h:8080\r\nOrigin: http://h", Some("http://h")),
            ("Host: h:8080\r\nOrigin:", Some("")),
        ] {
            let request = request("Host: h:8080", lines);
            let outcome = replay(&request).unwrap().check_origin(&listed);
            let refusal = |origin: &str| UpgradeError::OriginRefused {
                origin: origin.to_owned(),
                host: "h:8080".to_owned(),
            };
            assert_eq!(outcome, expected.map_or(Ok(()), |origin| Err(refusal(origin))), "{lines}");
        }
    }
}
