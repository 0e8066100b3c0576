//! L0: HTTP/1.x from the side of who asks: a response, read as it arrives.
//!
//! It knows the message format of RFC 9112, and nothing of who asks whom, nor why.
//!
//! Rules:
//! - The outcome does not depend on how the bytes were cut. A head that arrives whole is parsed
//!   where it lies; of one that does not, a copy is kept, and parsed again as more arrives.
//! - Where a response ends is certain, or the response is an error.
//! - Nothing grows: head, whole response and the part of the body that is kept have their limits.

use std::fmt;

use super::HeadError;
use super::body::{BodyError, BodyReader, Framing};
use super::message::{LengthError, ResponseHead, parse_response};

/// Longest head of a response, in bytes.
pub const MAX_HEAD: usize = 16 << 10;
/// Longest response, interim ones before it included, in bytes.
pub const MAX_ANSWER: usize = 64 << 10;
/// So much of a body is kept, in bytes.
pub const MAX_BODY: usize = 1 << 10;

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

impl From<HeadError> for AnswerError {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::TooLarge => Self::HeadTooLarge,
            HeadError::HeaderLine | HeadError::TooManyHeaders => Self::HeaderLine,
            HeadError::RequestLine
            | HeadError::HttpVersion
            | HeadError::Target
            | HeadError::LineEnd => Self::StatusLine,
        }
    }
}

impl From<LengthError> for AnswerError {
    fn from(_: LengthError) -> Self {
        Self::Length
    }
}

impl From<BodyError> for AnswerError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Chunk | BodyError::Trailer => Self::Chunk,
            BodyError::Unfinished => Self::Unfinished,
        }
    }
}

/// Reads the responses of one connection, one after another.
#[derive(Debug)]
pub struct AnswerReader {
    wanted: &'static [&'static str],
    /// The body that is read; before it the head is.
    body: Option<BodyReader>,
    /// Bytes of the present response that were taken.
    taken: usize,
    /// The beginning of a head that did not arrive whole.
    spilled: Vec<u8>,
    answer: Answer,
}

impl AnswerReader {
    /// Reads responses of which the values of these headers are wanted.
    pub fn new(wanted: &'static [&'static str]) -> Self {
        let answer = Answer { status: 0, keeps_alive: false, body: Vec::new(), values: Vec::new() };
        AnswerReader { wanted, body: None, taken: 0, spilled: Vec::new(), answer }
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
        self.body.as_mut().ok_or(AnswerError::Unfinished)?.ended()?;
        Ok(self.finish())
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
            let Some(body) = &mut self.body else {
                if input.is_empty() {
                    return Ok(false);
                }
                self.read_head(input)?;
                continue;
            };
            let data = body.next(input)?;
            if body.due() > MAX_ANSWER as u64 {
                return Err(AnswerError::TooLarge);
            }
            let Some(data) = data else { return Ok(body.is_done()) };
            let room = MAX_BODY - self.answer.body.len();
            self.answer.body.extend_from_slice(&data[..data.len().min(room)]);
        }
    }

    /// Goes on with a head: what of it is there is parsed, and kept if it is not whole.
    fn read_head(&mut self, input: &mut &[u8]) -> Result<(), AnswerError> {
        let held = self.spilled.len();
        let piece = &input[..input.len().min(MAX_HEAD - held)];
        let parsed = match held {
            0 => parse(piece, self.wanted)?,
            _ => {
                self.spilled.extend_from_slice(piece);
                parse(&self.spilled, self.wanted)?
            }
        };
        let Some((answer, framing, length)) = parsed else {
            if held == 0 {
                self.spilled.extend_from_slice(piece);
            }
            take(input, piece.len());
            return Ok(());
        };
        take(input, length.saturating_sub(held));
        self.spilled = Vec::new();
        if answer.status >= 200 {
            (self.answer, self.body) = (answer, Some(BodyReader::new(framing)));
        }
        Ok(())
    }
}

/// The head at the start of `bytes` as an answer without its body, how that is framed, and the
/// length of the head; `None` while it is incomplete.
fn parse(
    bytes: &[u8],
    wanted: &'static [&'static str],
) -> Result<Option<(Answer, Framing, usize)>, AnswerError> {
    let Some((head, length)) = parse_response(bytes, MAX_HEAD)? else { return Ok(None) };
    let status = head.status;
    if status == 101 {
        return Err(AnswerError::Upgrade);
    }
    let framing = head.framing(false)?;
    let values = head
        .lines()
        .filter_map(|(name, value)| {
            let wanted = wanted.iter().find(|wanted| name.eq_ignore_ascii_case(wanted))?;
            Some((*wanted, value.to_vec()))
        })
        .collect();
    let keeps_alive = head.keeps_alive() && is_certain(&head, framing);
    Ok(Some((Answer { status, keeps_alive, body: Vec::new(), values }, framing, length)))
}

/// Whether the connection can be trusted to have nothing of a body left behind: a sender whose
/// headers speak of one where none can be may send it all the same.
fn is_certain(head: &ResponseHead<'_>, framing: Framing) -> bool {
    let is_coded = || head.list("transfer-encoding").next().is_some();
    match (head.status, framing) {
        (_, Framing::UntilEnd) => false,
        (304, _) => !is_coded(),
        (100..200 | 204, _) => !is_coded() && head.list("content-length").all(|size| size == b"0"),
        _ => true,
    }
}

/// Takes up to so many bytes from the front of the input.
fn take(input: &mut &[u8], most: usize) {
    *input = &input[most.min(input.len())..];
}
