//! L0: the client's side of the opening handshake: the request, and whether its answer opens a
//! WebSocket (RFC 6455 section 4.1).
//!
//! It knows bytes only: the key comes from the caller, and what a refusal leads to is the caller's.
//! Extensions are not asked for, and sub-protocols only by who names them, so an answer with what
//! was not asked for is none that opens.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::upgrade;
use crate::proto::http;

/// Most header lines in an answer.
const MAX_HEADERS: usize = 64;

/// What a server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerAnswer {
    /// The WebSocket is open; its frames follow.
    Open,
    /// Another status than 101.
    Refused {
        /// The status.
        status: u16,
        /// Bytes of its body, if it says so.
        body: Option<usize>,
    },
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerAnswerError {
    /// It is not HTTP/1.x.
    NotHttp,
    /// It has more header lines than are read, or more bytes than the caller allows.
    TooLarge,
    /// A 101 to another protocol, or without `Connection: Upgrade`.
    NotUpgraded,
    /// A 101 whose Sec-WebSocket-Accept does not belong to the key.
    WrongAccept,
    /// A 101 with an extension or a sub-protocol that was not asked for.
    NotAsked,
}

impl fmt::Display for ServerAnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ServerAnswerError::NotHttp => "the answer to the handshake is not HTTP",
            ServerAnswerError::TooLarge => "the answer to the handshake is too large",
            ServerAnswerError::NotUpgraded => "a 101 does not upgrade to a WebSocket",
            ServerAnswerError::WrongAccept => "a 101 has a Sec-WebSocket-Accept for another key",
            ServerAnswerError::NotAsked => {
                "a 101 has an extension or sub-protocol nobody asked for"
            }
        })
    }
}

impl std::error::Error for ServerAnswerError {}

/// A Sec-WebSocket-Key as it is on the wire.
pub type ClientKey = [u8; 24];

/// The key that stands for these bytes, which should not be guessable.
pub fn key(nonce: [u8; 16]) -> ClientKey {
    let mut key = [0; 24];
    STANDARD.encode_slice(nonce, &mut key).expect("16 bytes are 24 characters of base64");
    key
}

/// Appends the request for `target`, a path and query, to `host`, which may have a port.
pub fn request(out: &mut Vec<u8>, host: &str, target: &str, key: &ClientKey) {
    request_with(out, host, target, key, &[]);
}

/// The same with more header lines: names and values, which the caller has checked.
pub fn request_with(
    out: &mut Vec<u8>,
    host: &str,
    target: &str,
    key: &ClientKey,
    headers: &[(&str, &str)],
) {
    out.extend_from_slice(b"GET ");
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    http::push_header(out, "Host", host);
    http::push_header(out, "Upgrade", "websocket");
    http::push_header(out, "Connection", "Upgrade");
    http::push_header(out, "Sec-WebSocket-Version", "13");
    for (name, value) in headers {
        http::push_header(out, name, value);
    }
    out.extend_from_slice(b"Sec-WebSocket-Key: ");
    out.extend_from_slice(key);
    out.extend_from_slice(b"\r\n\r\n");
}

/// Reads the answer at the start of `bytes`: what it says and the length of its head in bytes once
/// that has arrived whole, `None` while more is needed. `max_head` is the largest length.
pub fn answer(
    bytes: &[u8],
    key: &ClientKey,
    max_head: usize,
) -> Result<Option<(ServerAnswer, usize)>, ServerAnswerError> {
    answer_to(bytes, key, max_head, &[])
}

/// The same for a request that offered sub-protocols, of which the answer may choose one.
pub fn answer_to(
    bytes: &[u8],
    key: &ClientKey,
    max_head: usize,
    protocols: &[String],
) -> Result<Option<(ServerAnswer, usize)>, ServerAnswerError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(&bytes[..bytes.len().min(max_head)]) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < max_head => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(ServerAnswerError::TooLarge);
        }
        Err(_) => return Err(ServerAnswerError::NotHttp),
    };
    let status = response.code.ok_or(ServerAnswerError::NotHttp)?;
    let values = |name: &'static str| {
        let named = response.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value)
    };
    let lists = |name: &'static str, element: &[u8]| {
        let mut elements = values(name).flat_map(|value| value.split(|byte| *byte == b','));
        elements.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(element))
    };
    if status != 101 {
        let body = values("Content-Length").next();
        let body = body.and_then(|length| str::from_utf8(length).ok()?.parse().ok());
        return Ok(Some((ServerAnswer::Refused { status, body }, length)));
    }
    if !lists("Upgrade", b"websocket") || !lists("Connection", b"upgrade") {
        return Err(ServerAnswerError::NotUpgraded);
    }
    if !values("Sec-WebSocket-Accept").eq([&upgrade::accept(key)[..]]) {
        return Err(ServerAnswerError::WrongAccept);
    }
    let asked = |chosen: &[u8]| {
        chosen.is_empty() || protocols.iter().any(|protocol| protocol.as_bytes() == chosen)
    };
    if values("Sec-WebSocket-Extensions").any(|value| !value.is_empty())
        || !values("Sec-WebSocket-Protocol").all(asked)
    {
        return Err(ServerAnswerError::NotAsked);
    }
    Ok(Some((ServerAnswer::Open, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.3.
    const NONCE: [u8; 16] = *b"the sample nonce";
    const OPEN: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        \r\n";

    fn read(bytes: &str) -> Result<Option<(ServerAnswer, usize)>, ServerAnswerError> {
        answer(bytes.as_bytes(), &key(NONCE), 1024)
    }

    #[test]
    fn what_is_asked_is_what_the_server_takes_and_its_answer_opens() {
        let mut request_bytes = Vec::new();
        request(&mut request_bytes, "h:1", "/ws/a?echo", &key(NONCE));
        let (head, length) = http::parse_head(&request_bytes, 1024).unwrap().unwrap();
        assert_eq!(length, request_bytes.len());
        let asked = upgrade::check(&head).unwrap();
        assert_eq!((asked.host, asked.path, asked.query), ("h:1", "/ws/a", "echo"));
        let answered = upgrade::accepted(&asked.accept, None, None, &[]);
        let expected = Ok(Some((ServerAnswer::Open, answered.len())));
        assert_eq!(answer(&answered, &key(NONCE), 1024), expected);
    }

    #[test]
    fn an_answer_is_read_when_it_is_whole_and_the_rest_is_left() {
        for end in 0..OPEN.len() {
            assert_eq!(read(&OPEN[..end]), Ok(None), "{end}");
        }
        let with_frames = format!("{OPEN}frames");
        assert_eq!(read(&with_frames), Ok(Some((ServerAnswer::Open, OPEN.len()))));
    }

    #[test]
    fn answers_that_open_nothing() {
        let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\n";
        let body = |body| ServerAnswer::Refused { status: 403, body };
        assert_eq!(read(refused), Ok(Some((body(Some(3)), refused.len()))));
        let endless = refused.replace("Content-Length: 3\r\n", "");
        assert_eq!(read(&endless), Ok(Some((body(None), endless.len()))));
        for (part, by, error) in [
            ("HTTP/1.1 101", "SSH-2.0", ServerAnswerError::NotHttp),
            ("Upgrade: WebSocket", "Upgrade: h2c", ServerAnswerError::NotUpgraded),
            ("keep-alive, Upgrade", "keep-alive", ServerAnswerError::NotUpgraded),
            ("s3pPL", "s3ppL", ServerAnswerError::WrongAccept),
            ("Sec-WebSocket-Accept", "Accept", ServerAnswerError::WrongAccept),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a\r\n\r\n", ServerAnswerError::NotAsked),
            (
                "\r\n\r\n",
                &format!("\r\n{}\r\n", "A: b\r\n".repeat(62)),
                ServerAnswerError::TooLarge,
            ),
            (
                "\r\n\r\n",
                &format!("\r\nA: {}\r\n\r\n", "b".repeat(1024)),
                ServerAnswerError::TooLarge,
            ),
        ] {
            assert_eq!(read(&OPEN.replacen(part, by, 1)), Err(error), "{by}");
        }
    }
}
