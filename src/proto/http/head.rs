//! L0: HTTP/1.x request heads, parsed in place, and whole responses, written in one piece.
//!
//! It knows the message format of RFC 9112 and nothing of WebSockets, pages or routing.
//!
//! Rules:
//! - A head is parsed again from its first byte whenever more has arrived; nothing is kept between
//!   calls, and the outcome does not depend on how the bytes were cut.
//! - What the RFC lets a server refuse is refused: folded lines, blanks before a colon, control
//!   characters. Every refusal has a status and one sentence for whoever wrote the client.
//! - Request bodies are not read: every response closes the connection.

use std::fmt;
use std::mem::MaybeUninit;

/// Most header lines in one request head.
pub const MAX_HEADERS: usize = 100;

/// A complete request head, borrowed from the buffer it arrived in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'b> {
    /// The method as sent; it is case-sensitive.
    pub method: &'b str,
    /// The request target as sent, for the log.
    pub target: &'b str,
    /// Host and port of an absolute-form target. They stand in for the Host header then, as
    /// RFC 9112 section 3.2.2 asks. Not checked for being a valid host.
    pub authority: Option<&'b str>,
    /// The path, still percent-encoded; it begins with a slash.
    pub path: &'b str,
    /// What follows the first `?` of the target, still percent-encoded; empty when there is none.
    pub query: &'b str,
    /// The digit after `HTTP/1.`: 0 or 1.
    pub minor_version: u8,
    /// In memory of their own, or in that of who parses: an array with room for all that may come
    /// would be copied with every move, and cost a tenth of a handshake.
    headers: Headers<'b>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Headers<'b> {
    Own(Vec<httparse::Header<'b>>),
    Lent(&'b [httparse::Header<'b>]),
}

impl<'b> Headers<'b> {
    fn iter(&self) -> std::slice::Iter<'_, httparse::Header<'b>> {
        match self {
            Headers::Own(headers) => headers.iter(),
            Headers::Lent(headers) => headers.iter(),
        }
    }
}

impl<'b> Head<'b> {
    /// The value of the first header line of that name, in any case, without the blanks around it.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.values(name).next()
    }

    /// The values of all header lines of that name, in the order they came.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    /// All header lines, name and value, in the order they came.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.headers.iter().map(|header| (header.name, header.value))
    }

    /// The elements of a comma-separated header; several lines count as one list, and empty
    /// elements are skipped (RFC 9110 section 5.6.1.2).
    pub fn list(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.values(name).flat_map(elements)
    }
}

/// The elements of one line of a comma-separated header.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Why bytes are not the request head of anything served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// The first line is not `METHOD target HTTP/1.x`.
    RequestLine,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    HttpVersion,
    /// The target is neither a path nor an absolute URL, or has a fragment.
    Target,
    /// A header line has no valid name or a control character in its value, or is folded.
    HeaderLine,
    /// A carriage return stands without its line feed.
    LineEnd,
    /// There are more than [`MAX_HEADERS`] header lines.
    TooManyHeaders,
    /// The head does not end within the permitted number of bytes.
    TooLarge,
}

impl HeadError {
    /// The HTTP status to refuse with.
    pub fn status(self) -> u16 {
        match self {
            Self::TooManyHeaders | Self::TooLarge => 431,
            Self::RequestLine
            | Self::HttpVersion
            | Self::Target
            | Self::HeaderLine
            | Self::LineEnd => 400,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RequestLine => {
                "This is not an HTTP request, whose first line is like `GET /path HTTP/1.1`; \
                 perhaps TLS (https:// or wss://) was sent to a port that speaks plain HTTP."
            }
            Self::HttpVersion => "This port speaks HTTP/1.1 and no other version of HTTP.",
            Self::Target => {
                "The request target must be a path such as /ws/topic or a whole URL, without a \
                 #fragment."
            }
            Self::HeaderLine => {
                "A header line is not of the form `Name: value`: each stands on one line, with no \
                 blank before the name or the colon and no control character in the value."
            }
            Self::LineEnd => "Lines must end with CR LF, and a CR may stand nowhere else.",
            Self::TooManyHeaders => "The request has more than 100 header lines.",
            Self::TooLarge => {
                "The request line and headers are larger than this server accepts; large cookies \
                 are the usual cause."
            }
        })
    }
}

impl std::error::Error for HeadError {}

/// Parses the request head at the start of `buf`: the head and its length in bytes once it has
/// arrived whole, `None` while more is needed.
///
/// `max_head` is the largest length, the empty line at the end included. Only so many bytes are
/// looked at, so that the same bytes are too large however they were cut into reads.
pub fn parse_head(buf: &[u8], max_head: usize) -> Result<Option<(Head<'_>, usize)>, HeadError> {
    let mut room = header_room();
    let parsed = parse(buf, max_head, &mut room)?;
    Ok(parsed.map(|(head, headers, length)| {
        (Head { headers: Headers::Own(headers.to_vec()), ..head }, length)
    }))
}

/// Where header lines are kept while a head is looked at.
pub(crate) type HeaderRoom<'b> = [MaybeUninit<httparse::Header<'b>>; MAX_HEADERS];

/// Room for as many header lines as a head may have.
pub(crate) fn header_room<'b>() -> HeaderRoom<'b> {
    [const { MaybeUninit::uninit() }; MAX_HEADERS]
}

/// Does as [`parse_head`] does, without memory for the header lines besides the `room`.
pub(crate) fn parse_head_in<'b>(
    buf: &'b [u8],
    max_head: usize,
    room: &'b mut HeaderRoom<'b>,
) -> Result<Option<(Head<'b>, usize)>, HeadError> {
    let parsed = parse(buf, max_head, room)?;
    Ok(parsed
        .map(|(head, headers, length)| (Head { headers: Headers::Lent(headers), ..head }, length)))
}

/// A head but for its header lines, those, and the length of all.
type Parsed<'h, 'b> = (Head<'b>, &'h [httparse::Header<'b>], usize);

fn parse<'h, 'b>(
    buf: &'b [u8],
    max_head: usize,
    room: &'h mut HeaderRoom<'b>,
) -> Result<Option<Parsed<'h, 'b>>, HeadError> {
    let window = &buf[..buf.len().min(max_head)];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(window, room);
    let length = match parsed.map_err(head_error)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if buf.len() >= max_head => return Err(HeadError::TooLarge),
        httparse::Status::Partial => return Ok(None),
    };
    let (Some(method), Some(target), Some(minor_version)) =
        (request.method, request.path, request.version)
    else {
        return Err(HeadError::RequestLine);
    };
    let (authority, path, query) = split_target(target).ok_or(HeadError::Target)?;
    let headers = Headers::Lent(&[]);
    let head = Head { method, target, authority, path, query, minor_version, headers };
    Ok(Some((head, request.headers, length)))
}

/// A complete response: status line, `headers`, Content-Length, `Connection: close`, body.
///
/// For statuses that have a body, that is all but 1xx, 204 and 304. A header value cannot end
/// its line: control characters in it become blanks.
pub fn response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = response_head(status, headers, body.len());
    out.extend_from_slice(body);
    out
}

/// What [`response`] writes before a body of so many bytes; alone, it is the answer to HEAD.
pub fn response_head(status: u16, headers: &[(&str, &str)], body_length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + body_length);
    out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
    for (name, value) in headers {
        push_header(&mut out, name, value);
    }
    push_header(&mut out, "Content-Length", &body_length.to_string());
    push_header(&mut out, "Connection", "close");
    out.extend_from_slice(b"\r\n");
    out
}

/// The head of a response that is not followed by a length: what ends it is the end of the
/// connection, or a Content-Length among the headers, behind which the connection ends, too.
pub fn open_response_head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = kept_response_head(status, headers);
    out.truncate(out.len() - 2);
    push_header(&mut out, "Connection", "close");
    out.extend_from_slice(b"\r\n");
    out
}

/// The head of a response behind which the connection may be used again; what it says of its
/// length is among the headers.
pub fn kept_response_head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} {}\r\n", reason(status)).into_bytes();
    headers.iter().for_each(|(name, value)| push_header(&mut out, name, value));
    out.extend_from_slice(b"\r\n");
    out
}

/// Appends one header line. Control characters in the value become blanks.
pub(crate) fn push_header(out: &mut Vec<u8>, name: &str, value: &str) {
    debug_assert!(is_token(name.as_bytes()), "header names are ours: {name:?}");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    match value.bytes().any(|byte| byte.is_ascii_control()) {
        false => out.extend_from_slice(value.as_bytes()),
        true => out.extend(value.bytes().map(|b| if b.is_ascii_control() { b' ' } else { b })),
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends one header line whose value is a list of tokens.
pub(crate) fn push_list(out: &mut Vec<u8>, name: &str, tokens: impl Iterator<Item = &'static str>) {
    out.extend_from_slice(name.as_bytes());
    let mut before = ": ";
    for token in tokens {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(token.as_bytes());
        before = ",";
    }
    out.extend_from_slice(if before == "," { b"\r\n" } else { b": \r\n" });
}

/// Whether `text` is a token of RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &[u8]) -> bool {
    let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(legal)
}

/// Authority (of an absolute URL), path and query of a request target. Neither a fragment nor the
/// targets that CONNECT and `OPTIONS *` have are for this server.
fn split_target(target: &str) -> Option<(Option<&str>, &str, &str)> {
    if target.as_bytes().contains(&b'#') {
        return None;
    }
    let (authority, rest) = if target.starts_with('/') {
        (None, target)
    } else {
        let (scheme, rest) = target.split_once("://")?;
        let schemes = ["http", "https", "ws", "wss"];
        schemes.iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        (Some(authority), rest)
    };
    // Faster than to search a text for a character.
    let end = rest.bytes().position(|byte| byte == b'?');
    let (path, query) = end.map_or((rest, ""), |end| (&rest[..end], &rest[end + 1..]));
    Some((authority, if path.is_empty() { "/" } else { path }, query))
}

pub(crate) fn head_error(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::Version => HeadError::HttpVersion,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => HeadError::HeaderLine,
        httparse::Error::NewLine => HeadError::LineEnd,
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        // A request has no status; the parser shares this enum with responses.
        httparse::Error::Token | httparse::Error::Status => HeadError::RequestLine,
    }
}

/// The reason phrases of RFC 9110 section 15 (and RFC 6585) for the statuses sent here, and of
/// others that an application may want. The phrase may be empty, which no client minds.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 8192;

    /// The outcome for the whole of `bytes`, after checking that they give the same when they
    /// arrive one by one, and at every longer prefix from the first decisive one on.
    fn replay(bytes: &[u8], max_head: usize) -> Result<Option<(Head<'_>, usize)>, HeadError> {
        let whole = parse_head(bytes, max_head);
        let mut decided = false;
        for end in 0..=bytes.len() {
            let outcome = parse_head(&bytes[..end], max_head);
            decided |= outcome != Ok(None);
            if decided {
                assert_eq!(outcome, whole, "cut at {end} of {:?}", bytes.escape_ascii());
            }
        }
        assert_eq!(decided, whole != Ok(None));
        whole
    }

    #[test]
    fn heads_are_borrowed_and_the_rest_is_left() {
        let bytes =
            b"GET /ws/a%20b?x=1&y HTTP/1.1\r\nHost: h\r\nx-a: 1\r\nX-A:  2, ,\t3 \r\n\r\n\x81";
        let (head, length) = replay(bytes, LIMIT).unwrap().unwrap();
        assert_eq!((head.method, head.target), ("GET", "/ws/a%20b?x=1&y"));
        assert_eq!((head.authority, head.path, head.query), (None, "/ws/a%20b", "x=1&y"));
        assert_eq!((head.minor_version, length), (1, bytes.len() - 1));
        assert_eq!(head.header("HOST"), Some(&b"h"[..]));
        assert_eq!(head.header("x-b"), None);
        assert_eq!(head.header(""), None);
        assert_eq!(head.values("X-a").collect::<Vec<_>>(), [&b"1"[..], b"2, ,\t3"]);
        assert_eq!(head.list("X-a").collect::<Vec<_>>(), [b"1", b"2", b"3"]);
    }

    #[test]
    fn targets() {
        for (target, expected) in [
            ("/", Some((None, "/", ""))),
            ("/a?b?c", Some((None, "/a", "b?c"))),
            ("//a//b/", Some((None, "//a//b/", ""))),
            ("/a?", Some((None, "/a", ""))),
            ("/http://x/", Some((None, "/http://x/", ""))),
            ("http://h/a/b?c", Some((Some("h"), "/a/b", "c"))),
            ("HTTPS://h:1/", Some((Some("h:1"), "/", ""))),
            ("ws://h", Some((Some("h"), "/", ""))),
            ("wss://h?q/r", Some((Some("h"), "/", "q/r"))),
            ("http:///a", Some((Some(""), "/a", ""))),
            ("/a#b", None),
            ("http://h/#", None),
            ("*", None),
            ("h:443", None),
            ("a/b", None),
            ("?q", None),
            ("ftp://h/", None),
            ("http:/h/", None),
        ] {
            let bytes = format!("GET {target} HTTP/1.1\r\n\r\n");
            let outcome = replay(bytes.as_bytes(), LIMIT);
            let outcome =
                outcome.map(|head| head.map(|(head, _)| (head.authority, head.path, head.query)));
            assert_eq!(outcome, expected.map(Some).ok_or(HeadError::Target), "{target}");
        }
    }

    #[test]
    fn refused_heads() {
        for (bytes, expected) in [
            (&b"\x16\x03\x01\x02\x00"[..], HeadError::RequestLine),
            (b"GET  / HTTP/1.1\r\n\r\n", HeadError::RequestLine),
            (b" GET / HTTP/1.1\r\n\r\n", HeadError::RequestLine),
            (b"G(T / HTTP/1.1\r\n\r\n", HeadError::RequestLine),
            (b"GET /\xff HTTP/1.1\r\n\r\n", HeadError::RequestLine),
            (b"GET /\x00 HTTP/1.1\r\n\r\n", HeadError::RequestLine),
            (b"GET /\r\n\r\n", HeadError::RequestLine),
            (b"GET / HTTP/2.0\r\n\r\n", HeadError::HttpVersion),
            (b"GET / HTTP/1.2\r\n\r\n", HeadError::HttpVersion),
            (b"GET / http/1.1\r\n\r\n", HeadError::HttpVersion),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadError::HttpVersion),
            (b"GET / HTTP/1.1 \r\n\r\n", HeadError::LineEnd),
            (b"GET / HTTP/1.1\rHost: h\r\n\r\n", HeadError::LineEnd),
            (b"GET / HTTP/1.1\r\nHost: h\r\n\rX", HeadError::LineEnd),
            (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", HeadError::HeaderLine),
            (b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", HeadError::HeaderLine),
            (b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", HeadError::HeaderLine),
            (b"GET / HTTP/1.1\r\nHost\r\n\r\n", HeadError::HeaderLine),
            (b"GET / HTTP/1.1\r\n: h\r\n\r\n", HeadError::HeaderLine),
            (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", HeadError::HeaderLine),
            (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", HeadError::HeaderLine),
            (b"GET / HTTP/1.1\r\nH\xf6st: h\r\n\r\n", HeadError::HeaderLine),
        ] {
            assert_eq!(replay(bytes, LIMIT), Err(expected), "{:?}", bytes.escape_ascii());
            assert_eq!(expected.status(), 400);
        }
    }

    #[test]
    fn incomplete_heads_wait() {
        for bytes in ["", "\r\n", "G", "GET / HTTP/1.1", "GET / HTTP/1.1\r\nHost: h\r\n\r"] {
            assert_eq!(replay(bytes.as_bytes(), LIMIT), Ok(None), "{bytes:?}");
        }
    }

    #[test]
    fn too_large_is_a_matter_of_the_head_alone() {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let with_more = [head, &b"a frame or two"[..]].concat();
        for bytes in [&head[..], &with_more] {
            let length = replay(bytes, head.len()).map(|head| head.map(|(_, length)| length));
            assert_eq!(length, Ok(Some(head.len())));
            assert_eq!(replay(bytes, head.len() - 1), Err(HeadError::TooLarge));
        }
        // Waiting for more is of no use once as much has arrived as may.
        assert_eq!(parse_head(&head[..20], 20), Err(HeadError::TooLarge));
        assert_eq!(parse_head(&head[..20], 21), Ok(None));
        // What is wrong beyond the limit is not reached, however much arrives at once.
        assert_eq!(replay(b"GET /aaaaaaa HTTP/9", 8), Err(HeadError::TooLarge));
        assert_eq!(replay(&b"\r\n".repeat(40), 64), Err(HeadError::TooLarge));
        assert_eq!(HeadError::TooLarge.status(), 431);
    }

    #[test]
    fn header_lines_are_counted() {
        let with = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
        let bytes = with(MAX_HEADERS);
        let (head, _) = replay(bytes.as_bytes(), LIMIT).unwrap().unwrap();
        assert_eq!(head.values("a").count(), MAX_HEADERS);
        let outcome = with(MAX_HEADERS + 1);
        assert_eq!(replay(outcome.as_bytes(), LIMIT), Err(HeadError::TooManyHeaders));
        assert_eq!(HeadError::TooManyHeaders.status(), 431);
        assert!(HeadError::TooManyHeaders.to_string().contains(&MAX_HEADERS.to_string()));
    }

    #[test]
    fn responses() {
        assert_eq!(
            response(404, &[("Content-Type", "text/plain")], b"No.").escape_ascii().to_string(),
            "HTTP/1.1 404 Not Found\\r\\nContent-Type: text/plain\\r\\nContent-Length: 3\\r\\n\
             Connection: close\\r\\n\\r\\nNo."
        );
        assert_eq!(
            response_head(299, &[], 3),
            b"HTTP/1.1 299 \r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_header_value_cannot_end_its_line() {
        assert_eq!(
            response_head(302, &[("Location", "/a\r\nSet-Cookie: b\0\x7f\u{e9}")], 0),
            "HTTP/1.1 302 Found\r\nLocation: /a  Set-Cookie: b  \u{e9}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
                .as_bytes()
        );
    }

    #[test]
    fn tokens() {
        for (text, expected) in
            [("chat.v1", true), ("!#$%&'*+-.^_`|~", true), ("", false), ("a b", false)]
        {
            assert_eq!(is_token(text.as_bytes()), expected, "{text:?}");
        }
        for byte in *b"()<>@,;:\\\"/[]?={}\t\x7f\x80\0" {
            assert!(!is_token(&[byte]), "{byte}");
        }
    }
}
