//! L0: where messages of HTTP/1.1 end, as their heads say, and the heads of responses.
//!
//! It knows RFC 9112 section 6.3. Its rule: a request of which two readers could think
//! differently is refused, whatever else is in it; nobody is to smuggle one behind another.

use std::fmt;

use super::body::Framing;
use super::{Head, HeadError, MAX_HEADERS, elements, head_error};

/// Why the end of a message is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthError {
    /// There is a Content-Length beside a Transfer-Encoding.
    Both,
    /// There are several lengths, or one that is no number.
    Length,
    /// There is a Transfer-Encoding other than `chunked`.
    Coding,
    /// HTTP/1.0 has no Transfer-Encoding.
    Old,
    /// A line of the head ends with LF alone.
    BareLf,
}

impl LengthError {
    /// The status that a request is refused with.
    pub fn status(self) -> u16 {
        match self {
            LengthError::Coding => 501,
            _ => 400,
        }
    }
}

impl fmt::Display for LengthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "Content-Length and Transfer-Encoding exclude each other: send one.",
            Self::Length => "Content-Length must be one number, and stand once.",
            Self::Coding => "The only Transfer-Encoding that is known here is chunked.",
            Self::Old => "HTTP/1.0 has no Transfer-Encoding: send a Content-Length.",
            Self::BareLf => "Lines of the request must end with CR LF, not LF alone.",
        })
    }
}

impl std::error::Error for LengthError {}

/// How the body of a request is framed whose head came as `bytes`.
pub fn request_framing(head: &Head<'_>, bytes: &[u8]) -> Result<Framing, LengthError> {
    if has_bare_lf(bytes) {
        return Err(LengthError::BareLf);
    }
    let mut lengths = head.values("content-length");
    let length = lengths.next();
    let mut codings = head.values("transfer-encoding");
    let coding = codings.next();
    match (length, coding) {
        (None, None) => Ok(Framing::Empty),
        (Some(_), Some(_)) => Err(LengthError::Both),
        (Some(_), None) if lengths.next().is_some() => Err(LengthError::Length),
        (Some(length), None) => number(length).map(Framing::Sized).ok_or(LengthError::Length),
        (None, Some(_)) if head.minor_version == 0 => Err(LengthError::Old),
        (None, Some(coding)) => match codings.next() {
            None if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            _ => Err(LengthError::Coding),
        },
    }
}

/// Whether a line of a head ends without CR.
fn has_bare_lf(head: &[u8]) -> bool {
    let is_bare = |(at, byte): (usize, &u8)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r');
    head.iter().enumerate().any(is_bare)
}

/// The head of a response, borrowed from the buffer it arrived in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead<'b> {
    /// From 100 to 599.
    pub status: u16,
    /// The words behind it; they may be missing.
    pub reason: &'b str,
    /// The digit after `HTTP/1.`: 0 or 1.
    pub minor_version: u8,
    headers: Vec<httparse::Header<'b>>,
}

impl<'b> ResponseHead<'b> {
    /// All header lines, name and value, in the order they came.
    pub fn lines(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.headers.iter().map(|header| (header.name, header.value))
    }

    /// The elements of a comma-separated header.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.values(name).flat_map(elements)
    }

    /// How its body is framed; `bare` when it answers HEAD.
    pub fn framing(&self, bare: bool) -> Result<Framing, LengthError> {
        if bare || matches!(self.status, 100..200 | 204 | 304) {
            return Ok(Framing::Empty);
        }
        let length = self.length()?;
        let is_coded = self.values("transfer-encoding").next().is_some();
        match (length, is_coded) {
            (None, false) => Ok(Framing::UntilEnd),
            (Some(_), true) => Err(LengthError::Both),
            (Some(length), false) => Ok(Framing::Sized(length)),
            (None, true) if self.minor_version == 0 => Err(LengthError::Old),
            (None, true) => {
                let mut codings = self.list("transfer-encoding");
                let chunked = codings.next().is_some_and(|c| c.eq_ignore_ascii_case(b"chunked"));
                match chunked && codings.next().is_none() {
                    true => Ok(Framing::Chunked),
                    false => Err(LengthError::Coding),
                }
            }
        }
    }

    /// Whether the connection may be used again behind it.
    pub fn keeps_alive(&self) -> bool {
        let said = |option: &[u8]| self.list("connection").any(|o| o.eq_ignore_ascii_case(option));
        !said(b"close") && (self.minor_version > 0 || said(b"keep-alive"))
    }

    /// The one length that every Content-Length gives.
    fn length(&self) -> Result<Option<u64>, LengthError> {
        let mut length = None;
        let lists = self.values("content-length");
        for value in lists.flat_map(|list| list.split(|byte| *byte == b',')) {
            let next = number(value.trim_ascii()).ok_or(LengthError::Length)?;
            if length.is_some_and(|length| length != next) {
                return Err(LengthError::Length);
            }
            length = Some(next);
        }
        Ok(length)
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }
}

/// Parses the response head at the start of `buf`: the head and its length once it has arrived
/// whole, `None` while more is needed; at most `max_head` bytes are looked at.
pub fn parse_response(
    buf: &[u8],
    max_head: usize,
) -> Result<Option<(ResponseHead<'_>, usize)>, HeadError> {
    let window = &buf[..buf.len().min(max_head)];
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(window).map_err(head_error)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if buf.len() >= max_head => return Err(HeadError::TooLarge),
        httparse::Status::Partial => return Ok(None),
    };
    let (Some(status @ 100..600), Some(minor_version)) = (response.code, response.version) else {
        return Err(HeadError::RequestLine);
    };
    let reason = response.reason.unwrap_or("");
    let headers = response.headers.to_vec();
    Ok(Some((ResponseHead { status, reason, minor_version, headers }, length)))
}

/// The number that these digits are.
fn number(text: &[u8]) -> Option<u64> {
    let digits = Some(text).filter(|text| text.iter().all(u8::is_ascii_digit));
    std::str::from_utf8(digits?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::parse_head;
    use super::*;

    #[test]
    fn requests_end_for_certain_or_are_refused() {
        for (lines, expected) in [
            ("", Ok(Framing::Empty)),
            ("Content-Length: 0\r\n", Ok(Framing::Sized(0))),
            ("content-length: 18446744073709551615\r\n", Ok(Framing::Sized(u64::MAX))),
            ("Transfer-Encoding: Chunked\r\n", Ok(Framing::Chunked)),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", Err(LengthError::Length)),
            ("Content-Length: 1\r\nContent-Length: 2\r\n", Err(LengthError::Length)),
            ("Content-Length: 1, 1\r\n", Err(LengthError::Length)),
            ("Content-Length: +1\r\n", Err(LengthError::Length)),
            ("Content-Length: -1\r\n", Err(LengthError::Length)),
            ("Content-Length: 0x1\r\n", Err(LengthError::Length)),
            ("Content-Length: \r\n", Err(LengthError::Length)),
            ("Content-Length: 18446744073709551616\r\n", Err(LengthError::Length)),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Err(LengthError::Both)),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", Err(LengthError::Both)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", Err(LengthError::Coding)),
            ("Transfer-Encoding: x, chunked\r\n", Err(LengthError::Coding)),
            ("Transfer-Encoding: chunked, identity\r\n", Err(LengthError::Coding)),
            ("Transfer-Encoding: xchunked\r\n", Err(LengthError::Coding)),
            ("Transfer-Encoding: \r\n", Err(LengthError::Coding)),
            ("Transfer-Encoding: \"chunked\"\r\n", Err(LengthError::Coding)),
            ("A: b\nC: d\r\n", Err(LengthError::BareLf)),
            ("A: b\n", Err(LengthError::BareLf)),
        ] {
            let bytes = format!("POST / HTTP/1.1\r\n{lines}\r\n");
            let (head, length) = parse_head(bytes.as_bytes(), 8192).expect(lines).expect(lines);
            let framing = request_framing(&head, &bytes.as_bytes()[..length]);
            assert_eq!(framing, expected, "{lines:?}");
        }
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (head, _) = parse_head(old, 8192).expect("a head").expect("whole");
        assert_eq!(request_framing(&head, old), Err(LengthError::Old));
    }

    #[test]
    fn responses_end_as_their_heads_say() {
        for (head, bare, expected, keeps_alive) in [
            ("1.1 200 OK\r\n", false, Ok(Framing::UntilEnd), true),
            ("1.1 200\r\nContent-Length: 3\r\n", false, Ok(Framing::Sized(3)), true),
            ("1.1 200\r\nContent-Length: 3\r\n", true, Ok(Framing::Empty), true),
            ("1.1 204\r\nContent-Length: 3\r\n", false, Ok(Framing::Empty), true),
            ("1.1 304 Not\r\nTransfer-Encoding: chunked\r\n", false, Ok(Framing::Empty), true),
            ("1.1 200\r\nTransfer-Encoding: chunked\r\n", false, Ok(Framing::Chunked), true),
            ("1.0 200\r\nContent-Length: 3\r\n", false, Ok(Framing::Sized(3)), false),
            ("1.0 200\r\nConnection: Keep-Alive\r\n", false, Ok(Framing::UntilEnd), true),
            ("1.1 200\r\nConnection: x, close\r\n", false, Ok(Framing::UntilEnd), false),
            (
                "1.1 200\r\nContent-Length: 3\r\nContent-Length: 3\r\n",
                false,
                Ok(Framing::Sized(3)),
                true,
            ),
            (
                "1.1 200\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
                false,
                Err(LengthError::Length),
                true,
            ),
            (
                "1.1 200\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
                false,
                Err(LengthError::Both),
                true,
            ),
            ("1.1 200\r\nContent-Length: 3, 3\r\n", false, Ok(Framing::Sized(3)), true),
            ("1.1 200\r\nContent-Length: 3,\r\n", false, Err(LengthError::Length), true),
            ("1.1 200\r\nContent-Length:\r\n", false, Err(LengthError::Length), true),
            ("1.1 200\r\nTransfer-Encoding:\r\n", false, Err(LengthError::Coding), true),
            ("1.1 200\r\nTransfer-Encoding: gzip\r\n", false, Err(LengthError::Coding), true),
            ("1.0 200\r\nTransfer-Encoding: chunked\r\n", false, Err(LengthError::Old), false),
        ] {
            let bytes = format!("HTTP/{head}\r\nrest");
            for end in 0..bytes.len() - 4 {
                assert_eq!(parse_response(&bytes.as_bytes()[..end], 8192), Ok(None));
            }
            let parsed = parse_response(bytes.as_bytes(), 8192).expect(head).expect(head);
            assert_eq!(parsed.1, bytes.len() - 4);
            assert_eq!(parsed.0.framing(bare), expected, "{head:?}");
            assert_eq!(parsed.0.keeps_alive(), keeps_alive, "{head:?}");
        }
    }

    #[test]
    fn response_heads_are_bounded_and_valid() {
        for (bytes, expected) in [
            (&b"HTTP/1.1 600 OK\r\n\r\n"[..], HeadError::RequestLine),
            (b"HTTP/1.1 099 OK\r\n\r\n", HeadError::RequestLine),
            (b"HTTP/1.1 abc\r\n\r\n", HeadError::RequestLine),
            (b"HTTP/2 200\r\n\r\n", HeadError::HttpVersion),
            (b"HTTP/1.1 200\r\nA: b\r\n c\r\n\r\n", HeadError::HeaderLine),
            (b"HTTP/1.1 200 OK\r\nA: bbbbbbbbbbbbbbbbbbbbbbb", HeadError::TooLarge),
        ] {
            let outcome = parse_response(bytes, 32).map(|found| found.map(|(_, length)| length));
            assert_eq!(outcome, Err(expected), "{:?}", bytes.escape_ascii());
        }
    }
}
