//! L1: the bytes that wait for one conn, a queue of shared frames.
//!
//! It does not know what the bytes mean, whose they are, or how they are sent. Its rules:
//! * an empty outbox owns no memory, and one waiting frame needs none besides the shared frame;
//! * a frame is never copied: a thousand outboxes share one;
//! * once a byte of a frame has been sent, the rest of that frame stays first in line.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

/// Encoded bytes, shared by everyone they are sent to.
pub type Frame = Arc<[u8]>;

/// What a small frame of its own takes besides its bytes: a place in the queue, two counters, and
/// what the allocator adds.
const FRAME_COST: usize = 64;

/// The bytes that wait for one conn.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Waiting,
}

/// Two variants and not three, because a null frame pointer can stand for one other and no more:
/// so an outbox is three words. A single frame needs no allocation of its own.
#[derive(Debug)]
enum Waiting {
    One { frame: Frame, sent: usize },
    Many(Option<Box<Many>>),
}

impl Default for Waiting {
    fn default() -> Self {
        Waiting::Many(None)
    }
}

#[derive(Debug)]
struct Many {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are already sent.
    sent: usize,
    /// Bytes of all frames that are not yet sent.
    unsent: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        match &self.waiting {
            Waiting::Many(None) => 0,
            Waiting::One { frame, sent } => frame.len() - sent,
            Waiting::Many(Some(many)) => many.unsent,
        }
    }

    /// Frames that wait, one that is partly sent included. What was pushed as one counts as one.
    pub fn frames(&self) -> usize {
        match &self.waiting {
            Waiting::One { .. } => 1,
            Waiting::Many(None) => 0,
            Waiting::Many(Some(many)) => many.frames.len(),
        }
    }

    /// Bytes of memory that what waits may take: an empty frame has its place in the queue, too.
    pub fn cost(&self) -> usize {
        self.len() + self.frames() * FRAME_COST
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        matches!(self.waiting, Waiting::Many(None))
    }

    /// Puts a frame last in line.
    pub fn push(&mut self, frame: Frame) {
        if frame.is_empty() {
            return;
        }
        match &mut self.waiting {
            Waiting::Many(None) => self.waiting = Waiting::One { frame, sent: 0 },
            Waiting::Many(Some(many)) => {
                many.unsent += frame.len();
                many.frames.push_back(frame);
            }
            Waiting::One { frame: first, sent } => {
                let unsent = first.len() - *sent + frame.len();
                let (first, sent) = (first.clone(), *sent);
                let frames = VecDeque::from([first, frame]);
                self.waiting = Waiting::Many(Some(Box::new(Many { frames, sent, unsent })));
            }
        }
    }

    /// Fills `into` with what waits, first in line first, and returns how many slices it used.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        match &self.waiting {
            Waiting::Many(None) => 0,
            Waiting::One { frame, sent } => match into.first_mut() {
                Some(slot) => {
                    *slot = IoSlice::new(&frame[*sent..]);
                    1
                }
                None => 0,
            },
            Waiting::Many(Some(many)) => {
                let mut sent = many.sent;
                let mut used = 0;
                for (slot, frame) in into.iter_mut().zip(&many.frames) {
                    *slot = IoSlice::new(&frame[std::mem::take(&mut sent)..]);
                    used += 1;
                }
                used
            }
        }
    }

    /// Forgets the first `n` bytes: they are sent. `n` is at most [`Outbox::len`].
    pub fn advance(&mut self, n: usize) {
        let unsent = self.len();
        assert!(n <= unsent, "more bytes were sent than waited");
        match &mut self.waiting {
            waiting if n == unsent => *waiting = Waiting::default(),
            Waiting::Many(None) => {}
            Waiting::One { sent, .. } => *sent += n,
            Waiting::Many(Some(many)) => many.advance(n),
        }
    }

    /// Drops every frame of which no byte has been sent, and returns how many those were.
    pub fn drop_unstarted(&mut self) -> usize {
        match std::mem::take(&mut self.waiting) {
            Waiting::Many(None) => 0,
            Waiting::One { sent: 0, .. } => 1,
            started @ Waiting::One { .. } => {
                self.waiting = started;
                0
            }
            Waiting::Many(Some(mut many)) => {
                let all = many.frames.len();
                match many.frames.pop_front() {
                    Some(frame) if many.sent > 0 => {
                        self.waiting = Waiting::One { frame, sent: many.sent };
                        all - 1
                    }
                    _ => all,
                }
            }
        }
    }
}

impl Many {
    fn advance(&mut self, n: usize) {
        self.unsent -= n;
        self.sent += n;
        while let Some(first) = self.frames.front() {
            if self.sent < first.len() {
                break;
            }
            self.sent -= first.len();
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str) -> Frame {
        Arc::from(text.as_bytes())
    }

    fn waiting(outbox: &Outbox) -> String {
        let mut slices = [IoSlice::new(&[]); 8];
        let used = outbox.slices(&mut slices);
        slices[..used].iter().map(|s| std::str::from_utf8(s).unwrap()).collect()
    }

    #[test]
    fn an_outbox_is_three_words() {
        assert_eq!(size_of::<Outbox>(), 24);
    }

    #[test]
    fn what_is_pushed_comes_out_in_order_however_it_is_taken() {
        let text = "abcdefghijkl";
        for step in 1..=text.len() {
            let mut outbox = Outbox::default();
            for part in ["abc", "", "d", "efghijk", "l"] {
                outbox.push(frame(part));
            }
            let mut taken = String::new();
            while !outbox.is_empty() {
                let line = waiting(&outbox);
                assert_eq!(line.len(), outbox.len());
                let n = step.min(line.len());
                taken.push_str(&line[..n]);
                outbox.advance(n);
            }
            assert_eq!(taken, text);
            assert_eq!(outbox.len(), 0);
        }
    }

    #[test]
    fn frames_are_shared_not_copied() {
        let shared = frame("once");
        let mut outbox = Outbox::default();
        outbox.push(shared.clone());
        outbox.push(shared.clone());
        assert_eq!(Arc::strong_count(&shared), 3);
        outbox.advance(8);
        assert_eq!(Arc::strong_count(&shared), 1);
    }

    #[test]
    fn few_slices_show_only_the_front() {
        let mut outbox = Outbox::default();
        for _ in 0..5 {
            outbox.push(frame("x"));
        }
        assert_eq!(outbox.slices(&mut [IoSlice::new(&[]); 2]), 2);
        assert_eq!(outbox.slices(&mut []), 0);
    }

    #[test]
    fn only_a_started_frame_survives_the_drop() {
        for (sent, rest, dropped) in
            [(0, "", 3), (1, "bc", 2), (3, "", 2), (4, "ef", 1), (9, "", 0)]
        {
            let mut outbox = Outbox::default();
            for part in ["abc", "def", "ghi"] {
                outbox.push(frame(part));
            }
            outbox.advance(sent);
            assert_eq!(outbox.drop_unstarted(), dropped, "sent {sent}");
            assert_eq!(waiting(&outbox), rest, "sent {sent}");
        }
        let mut one = Outbox::default();
        one.push(frame("abc"));
        one.advance(1);
        assert_eq!((one.drop_unstarted(), one.len()), (0, 2));
    }

    #[test]
    #[should_panic(expected = "more bytes were sent")]
    fn advancing_past_the_end_is_our_bug() {
        Outbox::default().advance(1);
    }
}
