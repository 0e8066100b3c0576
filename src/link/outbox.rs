//! L1: the bytes that wait for one conn, a queue of shared frames.
//!
//! It does not know what the bytes mean beyond where a frame ends, whose they are, or how they are
//! sent. Its rules:
//! * an empty outbox owns no memory, and one waiting frame needs none besides the shared frame;
//! * a frame is never copied: a thousand outboxes share one, and a message that nobody else gets
//!   goes out of the buffer in which it came;
//! * once a byte of a frame has been sent, the rest of that frame stays first in line.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use crate::proto::sse;
use crate::proto::ws::frame::{self, MAX_HEADER, Opcode};

/// Encoded bytes, one frame or a run of them, shared by everyone they are sent to.
pub(crate) type Frame = Arc<[u8]>;

/// What a small frame of its own takes besides its bytes: a place in the queue, two counters, and
/// what the allocator adds.
const FRAME_COST: usize = 64;

/// Frames of an outbox that are looked at to know how much of it is shared.
const LOOKED_AT: usize = 16;

/// Tells frames apart that may take each other's place.
pub(crate) type Label = u32;

/// The bytes that wait for one conn.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
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

#[derive(Debug, Default)]
struct Many {
    frames: VecDeque<(Entry, Option<Label>)>,
    /// Bytes of the first frame that are already sent.
    sent: usize,
    /// Bytes of all frames that are not yet sent.
    unsent: usize,
}

/// What is in line as one.
#[derive(Debug)]
enum Entry {
    /// One frame or a run of them.
    Shared(Frame),
    Own(Box<Own>),
}

/// What nobody else gets as it is.
#[derive(Debug)]
enum Own {
    /// A message behind its frame's header.
    Message { head: [u8; MAX_HEADER], head_len: usize, payload: Vec<u8> },
    /// An event that others get too, behind a line of it that may be another for each.
    Event { line: Frame, event: Frame },
}

impl Outbox {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        match &self.waiting {
            Waiting::Many(None) => 0,
            Waiting::One { frame, sent } => frame.len() - sent,
            Waiting::Many(Some(many)) => many.unsent,
        }
    }

    /// Frames that wait, one that is partly sent included. What was pushed as one counts as one.
    pub(crate) fn frames(&self) -> usize {
        match &self.waiting {
            Waiting::One { .. } => 1,
            Waiting::Many(None) => 0,
            Waiting::Many(Some(many)) => many.frames.len(),
        }
    }

    /// Bytes of memory that what waits may take: an empty frame has its place in the queue, too.
    pub(crate) fn cost(&self) -> usize {
        self.len() + self.frames() * FRAME_COST
    }

    /// Bytes of memory that it holds, and of shared frames its share. Of many frames some stand for
    /// all.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.waiting {
            Waiting::One { frame, .. } => share(frame),
            Waiting::Many(None) => 0,
            Waiting::Many(Some(many)) => many.held_bytes(),
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.waiting, Waiting::Many(None))
    }

    /// Puts a frame last in line.
    pub(crate) fn push(&mut self, frame: Frame) {
        if frame.is_empty() {
            return;
        }
        match &mut self.waiting {
            Waiting::Many(None) => self.waiting = Waiting::One { frame, sent: 0 },
            Waiting::Many(Some(many)) => many.push(Entry::Shared(frame), None),
            Waiting::One { .. } => self.push_labelled(frame, None),
        }
    }

    /// Puts a message last in line, as a frame of its own.
    pub(crate) fn push_own(&mut self, opcode: Opcode, payload: Vec<u8>) {
        let (head, head_len) = frame::head(opcode, payload.len(), None);
        let own = Own::Message { head, head_len, payload };
        self.push_entry(Entry::Own(Box::new(own)), None);
    }

    /// Puts a server-sent event last in line, under a label, that begins with a line of this
    /// outbox's own. The two are one: neither goes without the other.
    pub(crate) fn push_event(&mut self, line: Frame, event: Frame, label: Option<Label>) {
        self.push_entry(Entry::Own(Box::new(Own::Event { line, event })), label);
    }

    /// Puts such an event last in line in place of those of its label that are not started, and
    /// returns how many those were.
    pub(crate) fn replace_event(&mut self, line: Frame, event: Frame, label: Label) -> usize {
        let dropped = self.give_up_label(label);
        self.push_event(line, event, Some(label));
        dropped
    }

    /// Puts a frame last in line, under a label.
    pub(crate) fn push_labelled(&mut self, frame: Frame, label: Option<Label>) {
        if !frame.is_empty() {
            self.push_entry(Entry::Shared(frame), label);
        }
    }

    fn push_entry(&mut self, entry: Entry, label: Option<Label>) {
        let mut many = match std::mem::take(&mut self.waiting) {
            Waiting::Many(many) => many.unwrap_or_default(),
            Waiting::One { frame, sent } => {
                let unsent = frame.len() - sent;
                let frames = VecDeque::from([(Entry::Shared(frame), None)]);
                Box::new(Many { frames, sent, unsent })
            }
        };
        many.push(entry, label);
        self.waiting = Waiting::Many(Some(many));
    }

    /// Puts a frame last in line in place of those of its label that are not started, and returns
    /// how many those were.
    pub(crate) fn replace(&mut self, frame: Frame, label: Label) -> usize {
        let dropped = self.give_up_label(label);
        self.push_labelled(frame, Some(label));
        dropped
    }

    fn give_up_label(&mut self, label: Label) -> usize {
        self.give_up(|frame, other| match other == Some(label) {
            true => None,
            false => Some(frame),
        })
    }

    /// Keeps of each label only the last frame, besides one that is started, and all that have no
    /// label. Returns how many frames were dropped.
    pub(crate) fn keep_latest(&mut self) -> usize {
        let mut seen = Vec::new();
        self.give_up(|frame, label| match label {
            None => Some(frame),
            Some(label) if seen.contains(&label) => None,
            Some(label) => {
                seen.push(label);
                frame.last()
            }
        })
    }

    /// Fills `into` with what waits, first in line first, and returns how many slices it used.
    pub(crate) fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
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
                let parts = many.frames.iter().flat_map(|(entry, _)| {
                    let parts = entry.behind(std::mem::take(&mut sent));
                    parts.into_iter().filter(|part| !part.is_empty())
                });
                let fill = |(slot, part): (&mut IoSlice<'a>, &'a [u8])| *slot = IoSlice::new(part);
                into.iter_mut().zip(parts).map(fill).count()
            }
        }
    }

    /// Forgets the first `n` bytes: they are sent. `n` is at most [`Outbox::len`].
    pub(crate) fn advance(&mut self, n: usize) {
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
    pub(crate) fn drop_unstarted(&mut self) -> usize {
        self.give_up(|_, _| None)
    }

    /// Keeps what `keep` makes of each entry, from the last to the first, and the rest of a frame
    /// that is started; what is behind that frame in its run is an entry of its own. Returns how
    /// many frames were dropped.
    fn give_up(&mut self, mut keep: impl FnMut(Entry, Option<Label>) -> Option<Entry>) -> usize {
        let (mut frames, sent) = match std::mem::take(&mut self.waiting) {
            Waiting::Many(None) => return 0,
            Waiting::One { frame, sent } => (VecDeque::from([(Entry::Shared(frame), None)]), sent),
            Waiting::Many(Some(many)) => (many.frames, many.sent),
        };
        let count = |frames: &VecDeque<(Entry, Option<Label>)>| -> usize {
            frames.iter().map(|(entry, _)| entry.frames()).sum()
        };
        let before = count(&frames);
        let started = if sent > 0 { frames.pop_front() } else { None };
        let mut kept = VecDeque::new();
        while let Some((frame, label)) = frames.pop_back() {
            if let Some(frame) = keep(frame, label) {
                kept.push_front((frame, label));
            }
        }
        if let Some((run, label)) = started {
            let (begun, rest) = run.split_behind(sent);
            if let Some(rest) = rest.and_then(|rest| keep(rest, label)) {
                kept.push_front((rest, label));
            }
            kept.push_front((begun, label));
        }
        let dropped = before - count(&kept);
        let unsent = kept.iter().map(|(frame, _)| frame.len()).sum::<usize>() - sent;
        if !kept.is_empty() {
            self.waiting = Waiting::Many(Some(Box::new(Many { frames: kept, sent, unsent })));
        }
        dropped
    }
}

/// The frames of a run, or its server-sent events, which begin with a letter or a colon.
fn pieces(run: &[u8]) -> Box<dyn Iterator<Item = &[u8]> + '_> {
    match run.first() {
        Some(first) if first.is_ascii() => Box::new(sse::events(run)),
        _ => Box::new(frame::frames(run)),
    }
}

/// What one of its holders has of a frame.
fn share(frame: &Frame) -> usize {
    (frame.len() + FRAME_COST) / Arc::strong_count(frame)
}

impl Own {
    fn parts(&self) -> [&[u8]; 2] {
        match self {
            Own::Message { head, head_len, payload } => [&head[..*head_len], payload],
            Own::Event { line, event } => [line, event],
        }
    }
}

impl Entry {
    fn len(&self) -> usize {
        match self {
            Entry::Shared(run) => run.len(),
            Entry::Own(own) => own.parts().iter().map(|part| part.len()).sum(),
        }
    }

    fn frames(&self) -> usize {
        match self {
            Entry::Shared(run) => pieces(run).count(),
            Entry::Own(_) => 1,
        }
    }

    /// What a holder has of it.
    fn share(&self) -> usize {
        match self {
            Entry::Shared(run) => share(run),
            Entry::Own(own) => match &**own {
                Own::Message { payload, .. } => payload.capacity() + FRAME_COST,
                Own::Event { line, event } => share(line) + share(event),
            },
        }
    }

    /// The bytes behind the first `sent`.
    fn behind(&self, sent: usize) -> [&[u8]; 2] {
        match self {
            Entry::Shared(run) => [&run[sent..], &[]],
            Entry::Own(own) => {
                let [first, second] = own.parts();
                [&first[sent.min(first.len())..], &second[sent.saturating_sub(first.len())..]]
            }
        }
    }

    /// Its last frame.
    fn last(self) -> Option<Entry> {
        match &self {
            Entry::Shared(run) => pieces(run).last().map(Frame::from).map(Entry::Shared),
            Entry::Own(_) => Some(self),
        }
    }

    /// A run of frames up to the end of that which is partly sent, and what is behind it.
    fn split_behind(self, sent: usize) -> (Entry, Option<Entry>) {
        let Entry::Shared(run) = &self else { return (self, None) };
        let mut end = 0;
        for frame in pieces(run) {
            end += frame.len();
            if end > sent {
                break;
            }
        }
        match end == run.len() {
            true => (self, None),
            false => {
                let [begun, rest] = [&run[..end], &run[end..]].map(Frame::from);
                (Entry::Shared(begun), Some(Entry::Shared(rest)))
            }
        }
    }
}

impl Many {
    fn push(&mut self, entry: Entry, label: Option<Label>) {
        self.unsent += entry.len();
        self.frames.push_back((entry, label));
    }

    fn held_bytes(&self) -> usize {
        let step = self.frames.len().div_ceil(LOOKED_AT).max(1);
        let looked_at = self.frames.iter().step_by(step).map(|(frame, _)| frame);
        let (all, shares) = looked_at.fold((0, 0), |(all, shares), frame| {
            (all + frame.len() + FRAME_COST, shares + frame.share())
        });
        let whole = self.unsent + self.sent + self.frames.len() * FRAME_COST;
        let places = self.frames.capacity() * size_of::<(Entry, Option<Label>)>();
        places + (whole as u128 * shares as u128 / all.max(1) as u128) as usize
    }

    fn advance(&mut self, n: usize) {
        self.unsent -= n;
        self.sent += n;
        while let Some((first, _)) = self.frames.front() {
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
        assert_eq!((size_of::<Outbox>(), size_of::<Entry>()), (24, 16));
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
    fn a_message_of_its_own_goes_out_behind_its_header_however_it_is_taken() {
        for step in 1..=14 {
            let mut outbox = Outbox::default();
            outbox.push(Frame::from(*b"\x81\x01a"));
            outbox.push_own(Opcode::Text, b"bcd".to_vec());
            outbox.push_own(Opcode::Text, Vec::new());
            outbox.push_labelled(Frame::from(*b"\x81\x01e"), Some(1));
            let mut taken = Vec::new();
            while !outbox.is_empty() {
                let mut slices = [IoSlice::new(&[]); 8];
                let used = outbox.slices(&mut slices);
                assert!(slices[..used].iter().all(|slice| !slice.is_empty()));
                let bytes: Vec<u8> =
                    slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
                assert_eq!(bytes.len(), outbox.len());
                let n = step.min(bytes.len());
                taken.extend_from_slice(&bytes[..n]);
                outbox.advance(n);
            }
            assert_eq!(taken, b"\x81\x01a\x81\x03bcd\x81\0\x81\x01e");
        }
    }

    #[test]
    fn a_message_of_its_own_is_dropped_unless_it_is_begun_and_counts_with_its_buffer() {
        for (sent, rest, dropped) in [(0, 0, 1), (1, 5, 0), (5, 1, 0)] {
            let mut outbox = Outbox::default();
            let mut payload = b"abcd".to_vec();
            payload.reserve_exact(996);
            outbox.push_own(Opcode::Binary, payload);
            assert!((1_000..1_500).contains(&outbox.held_bytes()), "{}", outbox.held_bytes());
            outbox.advance(sent);
            assert_eq!((outbox.drop_unstarted(), outbox.len()), (dropped, rest), "sent {sent}");
        }
    }

    #[test]
    fn an_event_and_its_own_line_go_out_together_or_not_at_all() {
        let event = || frame("data: a\n\n");
        let push = |outbox: &mut Outbox, id: &str| {
            outbox.push_event(frame(&format!("id: {id}\n")), event(), Some(7));
        };
        for sent in 0..=28 {
            let mut outbox = Outbox::default();
            push(&mut outbox, "1");
            push(&mut outbox, "2");
            let all = waiting(&outbox);
            assert_eq!(all, "id: 1\ndata: a\n\nid: 2\ndata: a\n\n");
            outbox.advance(sent);
            let end = [0, 15, 30][sent.div_ceil(15)];
            let dropped = outbox.drop_unstarted();
            assert_eq!((waiting(&outbox), dropped), (all[sent..end].into(), (30 - end) / 15));
        }
        let mut outbox = Outbox::default();
        push(&mut outbox, "1");
        push(&mut outbox, "2");
        assert_eq!((outbox.keep_latest(), outbox.frames()), (1, 1));
        assert_eq!(outbox.replace_event(frame("id: 3\n"), event(), 7), 1);
        assert_eq!(outbox.replace_event(frame("id: 4\n"), event(), 8), 0);
        assert_eq!(waiting(&outbox), "id: 3\ndata: a\n\nid: 4\ndata: a\n\n");
        assert!(outbox.held_bytes() >= 30 + 4 * FRAME_COST);
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
    fn a_run_that_is_started_ends_with_the_frame_that_is() {
        let run = [b"\x81\x01a\x81\x02bb\x81\x01c".as_slice(), b"\x88\x00"];
        for (sent, rest, dropped) in [(0, "", 4), (2, "a", 3), (3, "\u{81}\u{2}bb", 2)] {
            let mut outbox = Outbox::default();
            run.iter().for_each(|run| outbox.push(Frame::from(*run)));
            outbox.advance(sent);
            assert_eq!(outbox.drop_unstarted(), dropped, "sent {sent}");
            let mut slices = [IoSlice::new(&[]); 2];
            let used = outbox.slices(&mut slices);
            let rest: Vec<u8> = rest.chars().map(|c| c as u8).collect();
            assert_eq!(slices[..used].iter().flat_map(|s| s.to_vec()).collect::<Vec<_>>(), rest);
            assert_eq!(outbox.len(), rest.len());
        }
    }

    #[test]
    fn the_latest_of_each_label_stays_and_what_has_none() {
        let one = |c: u8| Frame::from([0x81, 1, c]);
        let run = Frame::from(*b"\x81\x01d\x81\x01e");
        let mut outbox = Outbox::default();
        for (frame, label) in [
            (one(b'a'), Some(1)),
            (one(b'b'), Some(1)),
            (one(b'p'), None),
            (one(b'x'), Some(2)),
            (one(b'c'), Some(1)),
            (run, Some(1)),
        ] {
            outbox.push_labelled(frame, label);
        }
        outbox.advance(1);
        assert_eq!(outbox.keep_latest(), 3, "b, c and d");
        assert_eq!(outbox.replace(one(b'f'), 1), 1, "e");
        assert_eq!(outbox.replace(one(b'y'), 2), 1, "x");
        outbox.advance(2);
        let mut slices = [IoSlice::new(&[]); 4];
        let used = outbox.slices(&mut slices);
        let kept: Vec<u8> = slices[..used].iter().map(|frame| frame[2]).collect();
        assert_eq!((kept.as_slice(), outbox.len()), (b"pfy".as_slice(), 9));
        outbox.advance(9);
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_latest_stays_though_its_run_is_begun() {
        let run = || Frame::from(*b"\x81\x01a\x81\x01b\x81\x01c");
        let waiting = |outbox: &Outbox| {
            let mut slices = [IoSlice::new(&[]); 4];
            let used = outbox.slices(&mut slices);
            slices[..used].iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>()
        };
        let mut outbox = Outbox::default();
        outbox.push_labelled(run(), Some(1));
        outbox.push_labelled(Frame::from(*b"\x81\x01x"), Some(2));
        outbox.advance(1);
        assert_eq!(outbox.keep_latest(), 1, "b");
        assert_eq!(waiting(&outbox), b"\x01a\x81\x01c\x81\x01x");
        assert_eq!(outbox.replace(Frame::from(*b"\x81\x01d"), 1), 1, "c");
        assert_eq!(waiting(&outbox), b"\x01a\x81\x01x\x81\x01d");
        assert_eq!(outbox.drop_unstarted(), 2, "x and d");
        assert_eq!(waiting(&outbox), b"\x01a");
    }

    #[test]
    #[should_panic(expected = "more bytes were sent")]
    fn advancing_past_the_end_is_our_bug() {
        Outbox::default().advance(1);
    }
}
