//! L0: HTTP/1.x from the side of who asks: a response, read as it arrives.
//!
//! It knows the message format of RFC 9112, and nothing of who asks whom, nor why.
//!
//! Rules:
//! - The outcome does not depend on how the bytes were cut. A head that arrives whole is parsed
//!   where it lies; of one that does not, a copy is kept, and parsed again as more arrives.
//! - Where a response ends is certain, or the response is an error: two lengths, a length beside
//!   a coding, a coding other than chunked, a line of a chunk that does not end in CR LF.
//! - Nothing grows: head, whole response and the part of the body that is kept have their limits.

use std::fmt;

/// Longest head of a response, in bytes.
pub const MAX_HEAD: usize = 16 << 10;
/// Longest response, interim ones before it included, in bytes.
pub const MAX_ANSWER: usize = 64 << 10;
/// So much of a body is kept, in bytes.
pub const MAX_BODY: usize = 1 << 10;
/// Most header lines of a response.
const MAX_HEADERS: usize = 100;
/// Most hexadecimal digits of a chunk's length: enough for any, without leading zeros for ever.
const MAX_SIZE_DIGITS: u8 = 16;

/// A response that has arrived whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From 200 to 599.
    pub status: u16,
    /// Whether the connection may be used for another request (RFC 9112 section 9.3).
    pub keeps_alive: bool,
    /// The first [`MAX_BODY`] bytes of the body.
    pub body: Vec<u8>,
    values: Vec<(&'static str, Vec<u8>)>,
}

impl Answer {
    /// The values of all header lines of that name, which must be one of those that are wanted, in
    /// the order they came.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.values
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }
}

/// Why bytes are no response of which the end is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The first line is not like `HTTP/1.1 200 OK`.
    StatusLine,
    /// A header line has no valid name or a control character in its value, is folded, or is one
    /// too many.
    HeaderLine,
    /// The head is longer than [`MAX_HEAD`].
    HeadTooLarge,
    /// The whole is longer than [`MAX_ANSWER`].
    TooLarge,
    /// The headers contradict each other about the length, or name a coding that is not chunked.
    Length,
    /// The chunks are not as they should be.
    Chunk,
    /// The connection shall speak another protocol, which nobody asked for.
    Upgrade,
    /// The connection ended within the response.
    Unfinished,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StatusLine => "its answer is not HTTP/1.x (perhaps that port speaks TLS)",
            Self::HeaderLine => "its answer has a malformed header line, or more than 100",
            Self::HeadTooLarge => "the head of its answer is over 16 KiB",
            Self::TooLarge => "its answer is over 64 KiB",
            Self::Length => "the headers of its answer leave in doubt where it ends",
            Self::Chunk => "its answer is chunked, but not as HTTP has it",
            Self::Upgrade => "its answer is 101, which was not asked for",
            Self::Unfinished => "its answer ended too early",
        })
    }
}

impl std::error::Error for AnswerError {}

/// Reads the responses of one connection, one after another.
#[derive(Debug)]
pub struct AnswerReader {
    wanted: &'static [&'static str],
    state: State,
    /// Bytes of the present response that were taken.
    taken: usize,
    /// The beginning of a head that did not arrive whole.
    spilled: Vec<u8>,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Sized { left: usize },
    Chunked(Chunked),
    UntilEnd,
}

/// What is due within a chunked body (RFC 9112 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunked {
    Size { size: usize, digits: u8 },
    Extension { size: usize },
    SizeEnd { size: usize },
    Data { left: usize },
    DataEnd,
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastEnd,
}

impl AnswerReader {
    /// Reads responses of which the values of these headers are wanted.
    pub fn new(wanted: &'static [&'static str]) -> Self {
        let answer = Answer { status: 0, keeps_alive: false, body: Vec::new(), values: Vec::new() };
        AnswerReader { wanted, state: State::Head, taken: 0, spilled: Vec::new(), answer }
    }

    /// Takes what arrived from the front of `input`, until a response is whole; `None` when all is
    /// taken. What is behind the response stays in `input`. After an error there is nothing more
    /// to be had from this connection.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Answer>, AnswerError> {
        let allowed = input.len().min(MAX_ANSWER - self.taken);
        let mut window = &input[..allowed];
        let whole = self.read(&mut window)?;
        let taken = allowed - window.len();
        self.taken += taken;
        *input = &input[taken..];
        match whole {
            true => Ok(Some(self.finish())),
            false if !input.is_empty() => Err(AnswerError::TooLarge),
            false => Ok(None),
        }
    }

    /// The peer has ended its side in order: the response whose end that is.
    pub fn ended(&mut self) -> Result<Answer, AnswerError> {
        match self.state {
            State::UntilEnd => Ok(self.finish()),
            _ => Err(AnswerError::Unfinished),
        }
    }

    /// Whether a byte of the present response has come.
    pub fn is_begun(&self) -> bool {
        self.taken > 0
    }

    fn finish(&mut self) -> Answer {
        let next = AnswerReader::new(self.wanted);
        std::mem::replace(self, next).answer
    }

    /// Whether the response is whole; if not, all of `input` is taken.
    fn read(&mut self, input: &mut &[u8]) -> Result<bool, AnswerError> {
        loop {
            let used_up = input.is_empty();
            match &mut self.state {
                State::Sized { left: 0 } => return Ok(true),
                _ if used_up => return Ok(false),
                State::Head => self.read_head(input)?,
                State::Sized { left } => {
                    let piece = take(input, *left);
                    *left -= piece.len();
                    keep(&mut self.answer.body, piece);
                }
                State::UntilEnd => {
                    let piece = take(input, usize::MAX);
                    keep(&mut self.answer.body, piece);
                }
                State::Chunked(Chunked::Data { left }) if *left > 0 => {
                    let piece = take(input, *left);
                    *left -= piece.len();
                    keep(&mut self.answer.body, piece);
                }
                State::Chunked(chunked) => match chunked.step(take(input, 1)[0])? {
                    Some(next) => *chunked = next,
                    None => return Ok(true),
                },
            }
        }
    }

    /// Goes on with a head: what of it is there is parsed, and kept if it is not whole.
    fn read_head(&mut self, input: &mut &[u8]) -> Result<(), AnswerError> {
        let held = self.spilled.len();
        let piece = &input[..input.len().min(MAX_HEAD - held)];
        let parsed = match held {
            0 => parse_head(piece, self.wanted)?,
            _ => {
                self.spilled.extend_from_slice(piece);
                parse_head(&self.spilled, self.wanted)?
            }
        };
        let Some((answer, state, length)) = parsed else {
            if held + piece.len() == MAX_HEAD {
                return Err(AnswerError::HeadTooLarge);
            }
            if held == 0 {
                self.spilled.extend_from_slice(piece);
            }
            take(input, piece.len());
            return Ok(());
        };
        take(input, length.saturating_sub(held));
        self.spilled = Vec::new();
        if answer.status >= 200 {
            (self.answer, self.state) = (answer, state);
        }
        Ok(())
    }
}

impl Chunked {
    /// What is due after this byte; `None` when it was the last of the body.
    fn step(self, byte: u8) -> Result<Option<Self>, AnswerError> {
        let text = byte == b'\t' || !byte.is_ascii_control();
        Ok(Some(match (self, byte) {
            (Self::Size { size, digits }, b'\r' | b';') if digits > 0 => match byte {
                b'\r' => Self::SizeEnd { size },
                _ => Self::Extension { size },
            },
            (Self::Size { size, digits }, _) if digits < MAX_SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16).ok_or(AnswerError::Chunk)?;
                let size = size * 16 + digit as usize;
                if size > MAX_ANSWER {
                    return Err(AnswerError::TooLarge);
                }
                Self::Size { size, digits: digits + 1 }
            }
            (Self::Extension { size }, b'\r') => Self::SizeEnd { size },
            (Self::Extension { size }, _) if text => Self::Extension { size },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::TrailerStart,
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::Data { left: 0 }, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::TrailerStart, b'\r') => Self::LastEnd,
            (Self::TrailerStart | Self::Trailer, _) if text => Self::Trailer,
            (Self::Trailer, b'\r') => Self::TrailerEnd,
            (Self::TrailerEnd, b'\n') => Self::TrailerStart,
            (Self::LastEnd, b'\n') => return Ok(None),
            _ => return Err(AnswerError::Chunk),
        }))
    }
}

/// The head at the start of `bytes` as an answer without its body, what follows it, and its
/// length; `None` while it is incomplete.
fn parse_head(
    bytes: &[u8],
    wanted: &'static [&'static str],
) -> Result<Option<(Answer, State, usize)>, AnswerError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes).map_err(head_error)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let (Some(status @ 100..600), Some(minor_version)) = (response.code, response.version) else {
        return Err(AnswerError::StatusLine);
    };
    if status == 101 {
        return Err(AnswerError::Upgrade);
    }
    let headers: &[httparse::Header<'_>] = response.headers;
    let (state, certain) = framing(status, minor_version, headers)?;
    let mut values = Vec::new();
    for header in headers {
        if let Some(name) = wanted.iter().find(|name| header.name.eq_ignore_ascii_case(name)) {
            values.push((*name, header.value.to_vec()));
        }
    }
    let said = |option: &[u8]| {
        list(headers, "connection").any(|element| element.eq_ignore_ascii_case(option))
    };
    let keeps_alive = certain && !said(b"close") && (minor_version > 0 || said(b"keep-alive"));
    Ok(Some((Answer { status, keeps_alive, body: Vec::new(), values }, state, length)))
}

/// How the body is framed (RFC 9112 section 6.3), and whether the connection can be trusted to
/// have nothing of it left behind.
fn framing(
    status: u16,
    minor_version: u8,
    headers: &[httparse::Header<'_>],
) -> Result<(State, bool), AnswerError> {
    let coded = headers.iter().any(|header| is(header, "transfer-encoding"));
    let sized = headers.iter().any(|header| is(header, "content-length"));
    if coded {
        let codings: Vec<&[u8]> = list(headers, "transfer-encoding").collect();
        let chunked = matches!(codings[..], [coding] if coding.eq_ignore_ascii_case(b"chunked"));
        if sized || !chunked || minor_version == 0 {
            return Err(AnswerError::Length);
        }
    }
    let size = if sized { Some(content_length(headers)?) } else { None };
    match (status, size) {
        // These have no body, whatever their headers say; but a sender that says otherwise may
        // send one all the same.
        (100..200 | 204, size) => Ok((State::Sized { left: 0 }, !coded && size.unwrap_or(0) == 0)),
        (304, _) => Ok((State::Sized { left: 0 }, !coded)),
        _ if coded => Ok((State::Chunked(Chunked::Size { size: 0, digits: 0 }), true)),
        (_, Some(size)) if size > MAX_ANSWER => Err(AnswerError::TooLarge),
        (_, Some(size)) => Ok((State::Sized { left: size }, true)),
        (_, None) => Ok((State::UntilEnd, false)),
    }
}

/// The one length that every Content-Length gives.
fn content_length(headers: &[httparse::Header<'_>]) -> Result<usize, AnswerError> {
    let mut length = None;
    for header in headers.iter().filter(|header| is(header, "content-length")) {
        for text in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let digits = Some(text).filter(|text| text.iter().all(u8::is_ascii_digit));
            let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            match number {
                Some(number) if length.is_none_or(|length| length == number) => {
                    length = Some(number);
                }
                _ => return Err(AnswerError::Length),
            }
        }
    }
    length.ok_or(AnswerError::Length)
}

fn is(header: &httparse::Header<'_>, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name)
}

/// The elements of a comma-separated header, empty ones too.
fn list<'h>(headers: &'h [httparse::Header<'h>], name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    headers
        .iter()
        .filter(move |header| is(header, name))
        .flat_map(|header| header.value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Takes up to so many bytes from the front of the input.
fn take<'i>(input: &mut &'i [u8], most: usize) -> &'i [u8] {
    let (taken, rest) = input.split_at(input.len().min(most));
    *input = rest;
    taken
}

fn keep(body: &mut Vec<u8>, piece: &[u8]) {
    let room = MAX_BODY - body.len();
    body.extend_from_slice(&piece[..piece.len().min(room)]);
}

fn head_error(error: httparse::Error) -> AnswerError {
    match error {
        httparse::Error::HeaderName
        | httparse::Error::HeaderValue
        | httparse::Error::TooManyHeaders => AnswerError::HeaderLine,
        httparse::Error::Version
        | httparse::Error::Status
        | httparse::Error::NewLine
        | httparse::Error::Token => AnswerError::StatusLine,
    }
}
