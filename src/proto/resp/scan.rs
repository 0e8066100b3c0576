//! The scanner: finds where RESP3 items end, and enforces every limit.
//!
//! It goes on where it stopped, looks at no byte twice and does not recurse. It holds numbers only,
//! never bytes of the stream.

use super::{Item, MAX_TEXT, Push, Reply, RespError};

/// Most levels of aggregates in an item. HELLO's answer with modules has four.
pub(super) const MAX_DEPTH: usize = 8;
/// Most elements in an item, at all levels together, unless a larger reply is expected; an entry of
/// a map is two. HELLO's answer with modules has some hundred.
pub(crate) const MAX_ELEMENTS: u32 = 4096;
/// Digits of the greatest length, `u32::MAX`. Redis's own limit, 512 MiB, can be raised.
const MAX_DIGITS: u8 = 10;

/// Finds where items end. It holds numbers only, never bytes of the stream.
#[derive(Debug)]
pub(super) struct Scanner {
    /// Most bytes of a string that is a reply, and of one that is a message.
    max_reply: usize,
    max_message: usize,
    /// Most elements in a reply. A push may have [`MAX_ELEMENTS`], whatever reply is expected.
    pub(super) max_elements: u32,
    state: State,
    /// How many elements each open aggregate still lacks, the outermost first.
    open: [u32; MAX_DEPTH],
    pub(super) depth: usize,
    /// Elements that the item's aggregates have declared so far.
    elements: u32,
    /// Whether the item is a push.
    pub(super) push: bool,
    /// How many elements the push has declared.
    push_len: u32,
    /// What the item is, where that is known without its contents. Otherwise it is to be kept.
    pub(super) verdict: Option<Item<'static>>,
    #[cfg(test)]
    pub(super) scanned: usize,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// The first byte of an element.
    Kind,
    /// Part of the number behind a kind that has a length.
    Length(Length),
    /// Part of a line, after so many bytes of it, the last of which was a CR or not.
    Line { len: usize, cr: bool },
    /// Part of a string that goes on for so many bytes, at least one.
    Blob { left: u32 },
    /// The CR behind a string.
    BlobCr,
    /// The LF behind a string.
    BlobLf,
}

/// What was read of a length.
#[derive(Clone, Copy, Debug)]
struct Length {
    kind: u8,
    negative: bool,
    digits: u8,
    value: u64,
    cr: bool,
}

impl Scanner {
    pub(super) fn new(max_reply: usize, max_message: usize) -> Scanner {
        Scanner {
            max_reply,
            max_message,
            max_elements: MAX_ELEMENTS,
            state: State::Kind,
            open: [0; MAX_DEPTH],
            depth: 0,
            elements: 0,
            push: false,
            push_len: 0,
            verdict: None,
            #[cfg(test)]
            scanned: 0,
        }
    }

    /// The most that a payload may have, in bytes.
    pub(super) fn max_message(&self) -> usize {
        self.max_message
    }

    pub(super) fn is_between_items(&self) -> bool {
        self.depth == 0 && matches!(self.state, State::Kind)
    }

    /// Goes through `input` to the end of an item or of the input. Returns how many bytes that was
    /// and whether the item is complete.
    pub(super) fn run(&mut self, input: &[u8]) -> Result<(usize, bool), RespError> {
        let mut rest = input;
        while let Some(first) = rest.first() {
            let taken = self.step(*first, rest)?;
            rest = &rest[taken..];
            #[cfg(test)]
            {
                self.scanned += taken;
            }
            if self.is_between_items() {
                return Ok((input.len() - rest.len(), true));
            }
        }
        Ok((input.len(), false))
    }

    /// Advances by at least one byte of `rest`, whose first is `byte`. Returns by how many.
    fn step(&mut self, byte: u8, rest: &[u8]) -> Result<usize, RespError> {
        match self.state {
            State::Kind => self.begin_element(byte)?,
            State::Length(length) => self.step_length(length, byte)?,
            State::Line { len, cr } => return self.step_line(len, cr, rest),
            State::Blob { left } => {
                let taken = rest.len().min(left as usize);
                let left = left - taken as u32;
                self.state = if left > 0 { State::Blob { left } } else { State::BlobCr };
                return Ok(taken);
            }
            State::BlobCr if byte == b'\r' => self.state = State::BlobLf,
            State::BlobLf if byte == b'\n' => self.end_element(),
            State::BlobCr | State::BlobLf => return Err(RespError::BadLineEnd),
        }
        Ok(1)
    }

    fn begin_element(&mut self, kind: u8) -> Result<(), RespError> {
        if self.depth == 0 {
            self.elements = 0;
            self.push = kind == b'>';
            self.verdict = None;
        }
        self.state = match kind {
            b'>' if self.depth > 0 => return Err(RespError::NestedPush),
            b'$' | b'=' | b'!' | b'*' | b'%' | b'~' | b'>' => {
                State::Length(Length { kind, negative: false, digits: 0, value: 0, cr: false })
            }
            b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => State::Line { len: 0, cr: false },
            b'|' => return Err(RespError::Attribute),
            b';' | b'.' => return Err(RespError::Streamed),
            _ => return Err(RespError::UnknownType(kind)),
        };
        Ok(())
    }

    fn step_length(&mut self, mut length: Length, byte: u8) -> Result<(), RespError> {
        let first = length.digits == 0 && !length.negative;
        match byte {
            b'\n' if length.cr => return self.end_length(length),
            _ if length.cr => return Err(RespError::BadLineEnd),
            b'\r' if length.digits > 0 => length.cr = true,
            b'0'..=b'9' if length.digits < MAX_DIGITS => {
                length.digits += 1;
                length.value = length.value * 10 + u64::from(byte - b'0');
            }
            b'-' if first => length.negative = true,
            b'?' if first => return Err(RespError::Streamed),
            _ => return Err(RespError::BadLength),
        }
        self.state = State::Length(length);
        Ok(())
    }

    fn end_length(&mut self, length: Length) -> Result<(), RespError> {
        let Length { kind, negative, value, .. } = length;
        if negative {
            if value != 1 || !matches!(kind, b'$' | b'*') {
                return Err(RespError::BadLength);
            }
            self.verdict.get_or_insert(match self.depth {
                0 => Item::Reply(Reply::Null),
                _ => Item::Push(Push::Other),
            });
            self.end_element();
            return Ok(());
        }
        let length = u32::try_from(value).map_err(|_| RespError::BadLength)?;
        match kind {
            b'$' | b'=' | b'!' => self.begin_blob(kind, length),
            _ => self.begin_aggregate(kind, length),
        }
    }

    fn begin_blob(&mut self, kind: u8, length: u32) -> Result<(), RespError> {
        let size = match kind {
            // The format and a colon come before the text and are counted with it.
            b'=' => length.checked_sub(4).ok_or(RespError::BadLength)?,
            _ => length,
        } as usize;
        if kind == b'!' {
            if size > MAX_TEXT {
                return Err(RespError::TextTooLong);
            }
        } else if size > self.max_blob() {
            self.verdict = Some(if self.push {
                Item::Push(Push::TooLarge)
            } else {
                Item::Reply(Reply::TooLarge)
            });
        }
        self.state = if length > 0 { State::Blob { left: length } } else { State::BlobCr };
        Ok(())
    }

    /// The most bytes that a string may have where the scanner stands.
    fn max_blob(&self) -> usize {
        if !self.push {
            return if self.depth == 0 { self.max_reply } else { self.max_reply.max(MAX_TEXT) };
        }
        let is_name = self.depth == 1 && self.push_len - self.open[0] < 2;
        if is_name { MAX_TEXT } else { self.max_message }
    }

    fn begin_aggregate(&mut self, kind: u8, length: u32) -> Result<(), RespError> {
        if self.depth == MAX_DEPTH {
            return Err(RespError::TooDeep);
        }
        let count = if kind == b'%' { length.saturating_mul(2) } else { length };
        self.elements = self.elements.saturating_add(count);
        if self.elements > if self.push { MAX_ELEMENTS } else { self.max_elements } {
            return Err(RespError::TooManyElements);
        }
        if self.depth == 0 && kind == b'>' {
            self.push_len = count;
        }
        // Messages and confirmations have three plain elements.
        let to_decode = self.depth == 0 && kind == b'>' && count == 3;
        if !to_decode {
            self.verdict.get_or_insert(if self.push {
                Item::Push(Push::Other)
            } else {
                Item::Reply(Reply::Aggregate)
            });
        }
        if count == 0 {
            self.end_element();
        } else {
            self.open[self.depth] = count;
            self.depth += 1;
            self.state = State::Kind;
        }
        Ok(())
    }

    fn step_line(&mut self, len: usize, cr: bool, rest: &[u8]) -> Result<usize, RespError> {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let here = end.unwrap_or(rest.len());
        let len = len + here;
        let cr = here.checked_sub(1).map_or(cr, |last| rest[last] == b'\r');
        // The CR is not part of the text.
        if len > MAX_TEXT + 1 {
            return Err(RespError::TextTooLong);
        }
        if end.is_none() {
            self.state = State::Line { len, cr };
            return Ok(here);
        }
        if !cr {
            return Err(RespError::BadLineEnd);
        }
        self.end_element();
        Ok(here + 1)
    }

    /// Closes the element, and every aggregate of which it was the last.
    fn end_element(&mut self) {
        self.state = State::Kind;
        while let Some(outer) = self.depth.checked_sub(1) {
            self.open[outer] -= 1;
            if self.open[outer] > 0 {
                return;
            }
            self.depth = outer;
        }
    }
}
