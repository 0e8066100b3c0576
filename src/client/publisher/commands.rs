//! L4: commands that go to Redis together, as bytes.
//!
//! It does not know what a command does. Its rule: each command has the slot of its channel, so
//! that any of them can be sent by itself to where that is.

use std::ops::Range;

use crate::broker::spread::slot_of;

/// Commands in the order of their replies.
#[derive(Debug, Default)]
pub(super) struct Commands {
    bytes: Vec<u8>,
    each: Vec<(Range<usize>, u16)>,
}

impl Commands {
    /// One more, which concerns this channel.
    pub(super) fn add(&mut self, channel: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.each.push((start..self.bytes.len(), slot_of(channel)));
    }

    /// All of them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.each.len()
    }

    /// One of them.
    pub(super) fn one(&self, at: usize) -> &[u8] {
        &self.bytes[self.each[at].0.clone()]
    }

    /// The slot of its channel.
    pub(super) fn slot(&self, at: usize) -> u16 {
        self.each[at].1
    }
}
