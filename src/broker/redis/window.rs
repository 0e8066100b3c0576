//! L1: how many asks may be under way.
//!
//! Redis cuts a client that hears channels when what is on its way to it passes 32 MB, or 8 MB for
//! a minute. So three things are bounded: the number of asks, the bytes that their answers are
//! expected to have, and the bytes that they may have at worst.

/// Asks under way at most: more are not quicker.
const DEPTH: usize = 64;
/// The answers may be this many times larger than expected, at worst.
const WORST: usize = 4;
/// What a reply takes besides its value.
const REPLY_BYTES: usize = 32;

/// The asks that are under way.
#[derive(Debug)]
pub(super) struct Window {
    limit: usize,
    largest: usize,
    under_way: usize,
    /// Bytes that the next reply is expected to have: as many as the largest of the last ones.
    expected: usize,
}

impl Window {
    /// Nothing is under way; a reply has at most `largest` bytes, and `limit` are to be expected.
    pub(super) fn new(limit: usize, largest: usize) -> Self {
        Window { limit, largest, under_way: 0, expected: largest }
    }

    /// Whether one more ask may be made.
    pub(super) fn has_room(&self) -> bool {
        let asks = self.under_way + 1;
        let expected = asks.saturating_mul(self.expected) <= self.limit;
        let worst = asks.saturating_mul(self.largest) <= self.limit.saturating_mul(WORST);
        self.under_way == 0 || asks <= DEPTH && expected && worst
    }

    /// One more is made.
    pub(super) fn asked(&mut self) {
        self.under_way += 1;
    }

    /// The oldest is answered with so many bytes.
    pub(super) fn answered(&mut self, bytes: usize) {
        self.under_way -= 1;
        self.expected =
            (bytes + REPLY_BYTES).min(self.largest).max(self.expected - self.expected / 8);
    }

    /// Bytes that are expected to come.
    pub(super) fn owed(&self) -> usize {
        self.under_way.saturating_mul(self.expected)
    }

    /// Whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many asks the window takes at once.
    fn fill(window: &mut Window) -> usize {
        let mut asked = 0;
        while window.has_room() {
            window.asked();
            asked += 1;
        }
        asked
    }

    #[test]
    fn at_first_every_reply_may_be_as_large_as_any() {
        assert_eq!(fill(&mut Window::new(4 << 20, 1 << 20)), 4);
        assert_eq!(fill(&mut Window::new(4 << 20, 1 << 10)), DEPTH);
        assert_eq!(fill(&mut Window::new(1, 1 << 30)), 1, "one at least");
    }

    #[test]
    fn what_is_small_lets_more_be_asked_and_what_is_large_fewer_at_once() {
        let mut window = Window::new(4 << 20, 1 << 20);
        for _ in 0..100 {
            window.asked();
            window.answered(100);
        }
        assert_eq!(fill(&mut window), 16, "at worst all of them are large");
        window.answered(1 << 20);
        assert!(!window.has_room(), "15 that may be so large are under way");
        (0..11).for_each(|_| window.answered(1 << 20));
        assert!(!window.has_room(), "4 are");
        window.answered(1 << 20);
        assert!(window.has_room());
    }
}
