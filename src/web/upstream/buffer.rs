//! L2: bytes on their way from one end of an exchange to the other.
//!
//! Its rule: what is sent is forgotten when it is, unless it is to be sent once more.

/// Capacity that is kept when nothing waits.
const KEPT: usize = 4 << 10;

/// Bytes that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub bytes: Vec<u8>,
    sent: usize,
    /// What is sent is kept until it is known that it need not be sent again.
    pub keeps: bool,
}

impl Buffer {
    /// One that holds these bytes, perhaps until it is known that they need not be sent again.
    pub(super) fn of(bytes: Vec<u8>, keeps: bool) -> Buffer {
        Buffer { bytes, sent: 0, keeps }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What waits.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Bytes of memory that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets the first `n` of what waits: they are sent.
    pub(super) fn advance(&mut self, n: usize) {
        assert!(n <= self.len(), "more was sent than waited");
        self.sent += n;
        if self.keeps {
            return;
        }
        if self.is_empty() {
            self.clear();
        } else if self.sent >= self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Has all of it sent once more.
    pub(super) fn rewind(&mut self) {
        debug_assert!(self.keeps, "what was sent is there no more");
        self.sent = 0;
    }

    /// It need not be sent again.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.keeps) {
            self.advance(0);
        }
    }

    fn clear(&mut self) {
        self.sent = 0;
        match self.bytes.capacity() > KEPT {
            true => self.bytes = Vec::new(),
            false => self.bytes.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_forgotten_unless_it_is_kept() {
        let mut buffer = Buffer::of(b"abcdef".to_vec(), false);
        buffer.advance(2);
        assert_eq!((buffer.unsent(), buffer.bytes.len()), (&b"cdef"[..], 6));
        buffer.advance(2);
        assert_eq!((buffer.unsent(), buffer.bytes.len()), (&b"ef"[..], 2));
        buffer.bytes.extend_from_slice(b"g");
        buffer.advance(3);
        assert!(buffer.is_empty() && buffer.bytes.is_empty());

        let mut kept = Buffer::of(b"abc".to_vec(), true);
        kept.advance(3);
        assert!(kept.is_empty());
        kept.rewind();
        assert_eq!(kept.unsent(), b"abc");
        kept.advance(3);
        kept.settle();
        assert!(kept.bytes.is_empty());
    }

    #[test]
    #[should_panic(expected = "more was sent than waited")]
    fn advancing_past_the_end_is_our_bug() {
        Buffer::default().advance(1);
    }
}
