//! A message that arrives in pieces: put together, inflated if need be, and judged as it comes.

use std::borrow::Cow;

use super::deflate::Inflating;
use super::frame::{ProtocolError, unmask};
use super::message::{Event, Kind, ROOM_BYTES};

/// Bytes that are unmasked and judged while they are in the cache; the mask begins anew with each.
const BLOCK_BYTES: usize = 32 << 10;

/// A message that arrives in pieces.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) kind: Kind,
    pub(super) data: Vec<u8>,
    /// How much of `data` has been taken; more is there only while the room is filled.
    taken: usize,
    /// How much of `data` is whole UTF-8 characters; of interest for text only.
    valid: usize,
    /// Frames begun, the first one included.
    pub(super) fragments: usize,
    /// What turns its payload into `data`, if it is compressed.
    pub(super) inflating: Option<Inflating>,
}

impl Assembly {
    /// An empty message.
    pub(super) fn new(kind: Kind) -> Assembly {
        Assembly { kind, data: Vec::new(), taken: 0, valid: 0, fragments: 1, inflating: None }
    }

    /// Whether nothing has come of a message that is not compressed.
    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.inflating.is_none()
    }

    /// Bytes of payload that have arrived of it.
    pub(super) fn arrived(&self) -> usize {
        self.inflating.as_ref().map_or(self.data.len(), Inflating::taken)
    }

    /// Appends what comes out of a compressed piece, up to the limit.
    pub(super) fn inflate(&mut self, mut piece: &[u8], limit: usize) -> Result<(), ProtocolError> {
        let Some(mut inflating) = self.inflating.take() else { return Ok(()) };
        while let Some(chunk) = inflating.next(&mut piece)? {
            if chunk.len() > limit - self.data.len() {
                return Err(ProtocolError::MessageTooBig);
            }
            self.push(chunk, limit)?;
        }
        self.inflating = Some(inflating);
        Ok(())
    }

    /// Appends a piece; `most` is what the message can grow to at most.
    pub(super) fn push(&mut self, piece: &[u8], most: usize) -> Result<(), ProtocolError> {
        let needed = self.data.len() + piece.len();
        if needed > self.data.capacity() {
            // Doubling keeps the copying linear; Vec's own doubling would pass the limit.
            let room = self.data.capacity().saturating_mul(2).min(most).max(needed);
            self.data.reserve_exact(room - self.data.len());
        }
        self.data.extend_from_slice(piece);
        self.judge(self.data.len())
    }

    /// Room for what is to come of a frame, of which `rest` bytes are, and `waiting` of them have
    /// arrived already; none where more would fit in.
    pub(super) fn make_room(&mut self, rest: usize, waiting: usize) -> Option<&mut Vec<u8>> {
        let len = self.data.len();
        if self.data.capacity() - len < ROOM_BYTES {
            let more = len.max(waiting);
            let all = rest <= more.saturating_add(ROOM_BYTES);
            self.data.reserve_exact(if all { rest } else { more });
        }
        let room = self.data.capacity() - len;
        (ROOM_BYTES..=rest).contains(&room).then_some(&mut self.data)
    }

    /// Whether the room is filled in part.
    pub(super) fn is_filled(&self) -> bool {
        self.data.len() > self.taken
    }

    /// Takes what the room was filled with, which is no more than `rest`, and of which `at` is the
    /// place in the mask. Returns how much that was.
    pub(super) fn take_filled(
        &mut self,
        rest: u64,
        mask: Option<[u8; 4]>,
        at: usize,
    ) -> Result<u64, ProtocolError> {
        let len = self.data.len();
        let filled = (len - self.taken) as u64;
        debug_assert!(filled <= rest, "more was filled in than there was room");
        while self.taken < len {
            let next = len.min(self.taken + BLOCK_BYTES);
            if let Some(mask) = mask {
                unmask(&mut self.data[self.taken..next], mask, at);
            }
            self.judge(next)?;
        }
        Ok(filled)
    }

    /// What is before `end` is taken, text when it is UTF-8 so far.
    fn judge(&mut self, end: usize) -> Result<(), ProtocolError> {
        self.taken = end;
        if self.kind == Kind::Text {
            self.valid += match simdutf8::compat::from_utf8(&self.data[self.valid..end]) {
                Ok(text) => text.len(),
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => return Err(ProtocolError::TextNotUtf8),
            };
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Event<'static>, ProtocolError> {
        if self.kind == Kind::Text && self.valid < self.data.len() {
            return Err(ProtocolError::TextNotUtf8);
        }
        Ok(Event::Message { kind: self.kind, data: Cow::Owned(self.data) })
    }
}
