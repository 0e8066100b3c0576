//! L0: bodies of HTTP/1.1 messages, read as they arrive and written as they leave (RFC 9112
//! sections 6 and 7).
//!
//! It knows where a body ends; not whose it is, nor what is in it. Its rules:
//! - The outcome does not depend on how the bytes were cut; data is handed on where it lies.
//! - Where a body ends is certain, or the body is an error: no line of a chunk ends without CR LF,
//!   and no blank stands around a length.
//! - Nothing grows: lines of chunks and trailers have their limits.

use std::fmt;

use super::is_token;

/// Longest line that begins a chunk, and all trailer lines together, in bytes.
const MAX_SIZE_LINE: u16 = 256;
const MAX_TRAILERS: usize = 4 << 10;
/// Most trailer lines.
const MAX_TRAILER_LINES: usize = 32;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// It has so many bytes.
    Sized(u64),
    /// It comes in chunks, and trailers may follow.
    Chunked,
    /// It ends with the connection.
    UntilEnd,
}

/// Why bytes are no body of which the end is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The chunks are not as they should be.
    Chunk,
    /// A trailer is malformed, or there are too many.
    Trailer,
    /// The connection ended within the body.
    Unfinished,
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chunk => "the body is chunked, but not as HTTP has it",
            Self::Trailer => "a trailer behind the body is malformed, or there are over 4 KiB",
            Self::Unfinished => "the body ended too early",
        })
    }
}

impl std::error::Error for BodyError {}

/// Reads one body.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sized { left: u64 },
    UntilEnd,
    Size { size: u64, line: u16 },
    Extension { size: u64, line: u16 },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataEnd,
    DataEnded,
    Trailers,
    Done,
}

impl BodyReader {
    /// Reads a body of that framing.
    pub fn new(framing: Framing) -> BodyReader {
        let state = match framing {
            Framing::Empty | Framing::Sized(0) => State::Done,
            Framing::Sized(left) => State::Sized { left },
            Framing::UntilEnd => State::UntilEnd,
            Framing::Chunked => State::Size { size: 0, line: 0 },
        };
        BodyReader { state, trailers: Vec::new() }
    }

    /// Whether the body is whole.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes of data are due for certain: those of a body, or of the chunk that has begun.
    pub fn due(&self) -> u64 {
        match self.state {
            State::Sized { left } | State::Data { left } => left,
            State::SizeEnd { size } => size,
            _ => 0,
        }
    }

    /// Takes the next run of data from the front of `input`; `None` when the body is whole, or all
    /// is taken. What is behind the body stays in `input`.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<&'i [u8]>, BodyError> {
        loop {
            match &mut self.state {
                State::Done => return Ok(None),
                _ if input.is_empty() => return Ok(None),
                State::UntilEnd => return Ok(Some(take(input, u64::MAX))),
                State::Sized { left } => {
                    let data = take(input, *left);
                    *left -= data.len() as u64;
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    return Ok(Some(data));
                }
                State::Data { left } => {
                    let data = take(input, *left);
                    *left -= data.len() as u64;
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Some(data));
                }
                State::Trailers => self.trailer(take(input, 1)[0])?,
                state => *state = state.step(take(input, 1)[0])?,
            }
        }
    }

    /// The peer has ended its side in order: whether the body is whole then.
    pub fn ended(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::UntilEnd | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Unfinished),
        }
    }

    /// The trailer lines of a body that is whole, name and value.
    pub fn trailers(&self) -> Vec<(&str, &[u8])> {
        let mut lines = [httparse::EMPTY_HEADER; MAX_TRAILER_LINES];
        match httparse::parse_headers(&self.trailers, &mut lines) {
            Ok(httparse::Status::Complete((_, lines))) => {
                lines.iter().map(|line| (line.name, line.value)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<(), BodyError> {
        let after_cr = self.trailers.last() == Some(&b'\r');
        let text = byte == b'\t' || byte == b'\r' || !byte.is_ascii_control();
        let legal = if after_cr { byte == b'\n' } else { text };
        if !legal || self.trailers.len() >= MAX_TRAILERS {
            return Err(BodyError::Trailer);
        }
        self.trailers.push(byte);
        if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
            let mut lines = [httparse::EMPTY_HEADER; MAX_TRAILER_LINES];
            let parsed = httparse::parse_headers(&self.trailers, &mut lines);
            match parsed {
                Ok(httparse::Status::Complete((length, _))) if length == self.trailers.len() => {
                    self.state = State::Done;
                }
                _ => return Err(BodyError::Trailer),
            }
        }
        Ok(())
    }
}

impl State {
    /// What is due after this byte of what is around the data of chunks.
    fn step(self, byte: u8) -> Result<State, BodyError> {
        let text = byte == b'\t' || !byte.is_ascii_control();
        Ok(match (self, byte) {
            (State::Size { size, line: 1.. }, b'\r') => State::SizeEnd { size },
            (State::Size { size, line: line @ 1.. }, b';') => State::Extension { size, line },
            // Sixteen digits are enough for any size, without leading zeros for ever.
            (State::Size { size, line: line @ ..16 }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(BodyError::Chunk)?;
                let size = size.checked_mul(16).ok_or(BodyError::Chunk)? + u64::from(digit);
                State::Size { size, line: line + 1 }
            }
            (State::Extension { size, .. }, b'\r') => State::SizeEnd { size },
            (State::Extension { size, line: line @ ..MAX_SIZE_LINE }, _) if text => {
                State::Extension { size, line: line + 1 }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailers,
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataEnd, b'\r') => State::DataEnded,
            (State::DataEnded, b'\n') => State::Size { size: 0, line: 0 },
            _ => return Err(BodyError::Chunk),
        })
    }
}

/// Appends data of a body.
pub fn push_data(out: &mut Vec<u8>, framing: Framing, data: &[u8]) {
    match framing {
        // An empty chunk would be the last.
        Framing::Chunked if data.is_empty() => {}
        Framing::Chunked => {
            out.reserve(data.len() + 20);
            push_hex(out, data.len());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        }
        _ => out.extend_from_slice(data),
    }
}

/// Appends what ends a body, with these trailers where they can be.
pub fn push_end(out: &mut Vec<u8>, framing: Framing, trailers: &[(&str, &[u8])]) {
    if framing != Framing::Chunked {
        return;
    }
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        debug_assert!(is_token(name.as_bytes()), "a name that was parsed: {name:?}");
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn push_hex(out: &mut Vec<u8>, number: usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        out.push(b"0123456789abcdef"[number >> (4 * at) & 15]);
    }
}

/// Takes up to so many bytes from the front of the input.
fn take<'i>(input: &mut &'i [u8], most: u64) -> &'i [u8] {
    let (taken, rest) =
        input.split_at(input.len().min(usize::try_from(most).unwrap_or(usize::MAX)));
    *input = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of `bytes` that arrive so many at a time, and how many are left behind it.
    fn read(
        framing: Framing,
        bytes: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, String, usize, bool), BodyError> {
        let mut reader = BodyReader::new(framing);
        let (mut data, mut taken) = (Vec::new(), 0);
        for piece in bytes.chunks(step) {
            let mut input = piece;
            while let Some(run) = reader.next(&mut input)? {
                data.extend_from_slice(run);
            }
            taken += piece.len() - input.len();
        }
        let trailers: Vec<String> = reader
            .trailers()
            .iter()
            .map(|(name, value)| format!("{name}={}", value.escape_ascii()))
            .collect();
        Ok((data, trailers.join(","), bytes.len() - taken, reader.is_done()))
    }

    #[test]
    fn bodies_end_where_they_say_however_they_are_cut() {
        let chunked = Framing::Chunked;
        for (framing, bytes, expected) in [
            (Framing::Empty, "GET", ("", "", 3, true)),
            (Framing::Sized(0), "GET", ("", "", 3, true)),
            (Framing::Sized(3), "abcGET", ("abc", "", 3, true)),
            (Framing::Sized(4), "abc", ("abc", "", 0, false)),
            (Framing::UntilEnd, "abc", ("abc", "", 0, false)),
            (chunked, "0\r\n\r\nGET", ("", "", 3, true)),
            (
                chunked,
                "3\r\nabc\r\n000B;x=\"y\"\r\n0123456789d\r\n0\r\n\r\n",
                ("abc0123456789d", "", 0, true),
            ),
            (chunked, "1;\r\na\r\n0\r\nA: b\r\nC:  d \r\n\r\nG", ("a", "A=b,C=d", 1, true)),
            (chunked, "3\r\nab", ("ab", "", 0, false)),
            (chunked, "0\r\nA: b\r\n", ("", "", 0, false)),
        ] {
            for step in 1..=bytes.len() {
                let (data, trailers, left, done) =
                    read(framing, bytes.as_bytes(), step).expect(bytes);
                let found = (data.as_slice(), trailers.as_str(), left, done);
                let expected = (expected.0.as_bytes(), expected.1, expected.2, expected.3);
                assert_eq!(found, expected, "{bytes:?} by {step}");
            }
        }
    }

    #[test]
    fn chunks_that_are_not_certain_are_refused() {
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(300));
        let trailers = format!("0\r\nA: {}\r\n\r\n", "x".repeat(MAX_TRAILERS));
        for (bytes, expected) in [
            ("\r\n", BodyError::Chunk),
            ("g\r\n", BodyError::Chunk),
            ("+1\r\na\r\n", BodyError::Chunk),
            ("0x1\r\na\r\n", BodyError::Chunk),
            (" 1\r\na\r\n", BodyError::Chunk),
            ("1 \r\na\r\n", BodyError::Chunk),
            ("1 \na\r\n0\r\n\r\n", BodyError::Chunk),
            ("1\na\r\n", BodyError::Chunk),
            ("1;a\nb\r\n", BodyError::Chunk),
            ("1\r\rna", BodyError::Chunk),
            ("1\r\nab\r\n", BodyError::Chunk),
            ("1\r\na\n0\r\n\r\n", BodyError::Chunk),
            ("00000000000000001\r\n", BodyError::Chunk),
            ("11111111111111111\r\n", BodyError::Chunk),
            (&long, BodyError::Chunk),
            ("0\r\nA: b\n\r\n", BodyError::Trailer),
            ("0\r\n\n", BodyError::Trailer),
            ("0\r\nA b\r\n\r\n", BodyError::Trailer),
            ("0\r\nA : b\r\n\r\n", BodyError::Trailer),
            ("0\r\nA: b\r\n c\r\n\r\n", BodyError::Trailer),
            ("0\r\nA: b\0\r\n\r\n", BodyError::Trailer),
            (&trailers, BodyError::Trailer),
        ] {
            for step in [1, bytes.len()] {
                assert_eq!(
                    read(Framing::Chunked, bytes.as_bytes(), step),
                    Err(expected),
                    "{bytes:?}"
                );
            }
        }
    }

    #[test]
    fn the_end_of_the_connection_ends_only_what_has_no_other_end() {
        for (framing, bytes, expected) in [
            (Framing::UntilEnd, "ab", Ok(())),
            (Framing::Sized(2), "ab", Ok(())),
            (Framing::Sized(3), "ab", Err(BodyError::Unfinished)),
            (Framing::Chunked, "2\r\nab\r\n", Err(BodyError::Unfinished)),
            (Framing::Chunked, "0\r\n", Err(BodyError::Unfinished)),
        ] {
            let mut reader = BodyReader::new(framing);
            let mut input = bytes.as_bytes();
            while reader.next(&mut input).expect(bytes).is_some() {}
            assert_eq!(reader.ended(), expected, "{framing:?} {bytes:?}");
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for length in [1, 15, 16, 255, 4096, 70_000] {
            let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut out = Vec::new();
            push_data(&mut out, Framing::Chunked, &data);
            push_data(&mut out, Framing::Chunked, b"");
            push_end(&mut out, Framing::Chunked, &[("A", b"b")]);
            let (read, trailers, left, done) =
                read(Framing::Chunked, &out, out.len()).expect("a body");
            assert!(read == data && left == 0 && done, "{length}");
            assert_eq!(trailers, "A=b");
        }
        let mut out = Vec::new();
        push_data(&mut out, Framing::Sized(2), b"ab");
        push_end(&mut out, Framing::Sized(2), &[("A", b"b")]);
        assert_eq!(out, b"ab");
    }
}
