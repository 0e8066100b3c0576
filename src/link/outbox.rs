//! L1: the bytes that wait for one conn, a queue of shared frames.
//!
//! It does not know what the bytes mean beyond where a frame ends, whose they are, or how they are
//! sent. Its rules:
//! * an empty outbox owns no memory; and one frame that waits needs none besides the shared frame
//!   until a part of it is sent, nor do events and the line in them;
//! * a frame is never copied: a thousand outboxes share one, and a message that nobody else gets
//!   goes out of the buffer in which it came;
//! * once a byte of a frame has been sent, the rest of that frame stays first in line.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use super::entry::{Entry, Events, FRAME_COST, Frame, Own, share};
use super::gathered::{Gathered, SMALL_BYTES};
use crate::proto::ws::frame::{self, Opcode};

/// Frames of an outbox that are looked at to know how much of it is shared.
const LOOKED_AT: usize = 16;

/// Tells frames apart that may take each other's place.
pub(crate) type Label = u32;

/// The bytes that wait for one conn.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Waiting,
}

/// Two variants and not more, because a null frame pointer can stand for one other and no more:
/// so an outbox is three words. What is alone and not begun needs no allocation of its own.
#[derive(Debug)]
enum Waiting {
    /// One frame; or events that others get too, and their line is what stands here as a frame.
    One {
        frame: Frame,
        events: Option<Arc<Events>>,
    },
    Other(Option<Box<Other>>),
}

#[derive(Debug)]
enum Other {
    /// A frame alone, of which a part is sent.
    Begun {
        frame: Frame,
        sent: usize,
    },
    /// What nobody else gets as it is, alone.
    Own {
        own: Own,
        sent: usize,
    },
    Many(Many),
}

impl Default for Waiting {
    fn default() -> Self {
        Waiting::Other(None)
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

impl Outbox {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        match &self.waiting {
            Waiting::One { frame, events: None } => frame.len(),
            Waiting::One { frame, events: Some(events) } => events.bytes_behind(frame),
            Waiting::Other(None) => 0,
            Waiting::Other(Some(other)) => other.len(),
        }
    }

    /// Frames that wait, one that is partly sent included. What was pushed as one counts as one.
    pub(crate) fn frames(&self) -> usize {
        match &self.waiting {
            Waiting::One { .. } => 1,
            Waiting::Other(None) => 0,
            Waiting::Other(Some(other)) => match &**other {
                Other::Begun { .. } | Other::Own { .. } => 1,
                Other::Many(many) => many.frames.len(),
            },
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
            Waiting::One { frame, events } => {
                share(frame) + events.as_ref().map_or(0, Events::share)
            }
            Waiting::Other(None) => 0,
            Waiting::Other(Some(other)) => match &**other {
                Other::Begun { frame, .. } => size_of::<Other>() + share(frame),
                Other::Own { own, .. } => size_of::<Other>() + own.share(),
                Other::Many(many) => many.held_bytes(),
            },
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.waiting, Waiting::Other(None))
    }

    /// Puts a frame last in line.
    pub(crate) fn push(&mut self, frame: Frame) {
        if frame.is_empty() {
            return;
        }
        match &mut self.waiting {
            // There is nothing to drop, which is not looked for either.
            Waiting::Other(None) => {
                std::mem::forget(std::mem::replace(
                    &mut self.waiting,
                    Waiting::One { frame, events: None },
                ));
            }
            _ => self.push_entry(Entry::Shared(frame), None),
        }
    }

    /// Puts a message last in line, as a frame of its own.
    pub(crate) fn push_own(&mut self, opcode: Opcode, payload: Vec<u8>) {
        let (head, head_len) = frame::head(opcode, payload.len(), None);
        let own = Own::Message { head, head_len, payload };
        match &self.waiting {
            Waiting::Other(None) => {
                self.waiting = Waiting::Other(Some(Box::new(Other::Own { own, sent: 0 })));
            }
            _ => self.push_entry(Entry::Own(Box::new(own)), None),
        }
    }

    /// Puts server-sent events last in line, under a label, which have a line of this outbox's own
    /// where they say so. The two are one: no event goes without its line.
    pub(crate) fn push_events(&mut self, line: Frame, events: Arc<Events>, label: Option<Label>) {
        match (&self.waiting, label) {
            (Waiting::Other(None), None) => {
                let events = Some(events);
                std::mem::forget(std::mem::replace(
                    &mut self.waiting,
                    Waiting::One { frame: line, events },
                ));
            }
            _ => self.push_entry(Entry::Own(Box::new(Own::Events { line, events })), label),
        }
    }

    /// Puts such events last in line in place of those of their label that are not started, and
    /// returns how many those were.
    pub(crate) fn replace_events(
        &mut self,
        line: Frame,
        events: Arc<Events>,
        label: Label,
    ) -> usize {
        let dropped = self.give_up_label(label);
        self.push_events(line, events, Some(label));
        dropped
    }

    /// Puts a frame last in line, under a label.
    pub(crate) fn push_labelled(&mut self, frame: Frame, label: Option<Label>) {
        if !frame.is_empty() {
            self.push_entry(Entry::Shared(frame), label);
        }
    }

    fn push_entry(&mut self, entry: Entry, label: Option<Label>) {
        if let Waiting::Other(Some(other)) = &mut self.waiting
            && let Other::Many(many) = &mut **other
        {
            return many.push(entry, label);
        }
        let mut many = std::mem::take(&mut self.waiting).into_many();
        many.push(entry, label);
        self.waiting = many.into();
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
    #[inline]
    pub(crate) fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        match &self.waiting {
            Waiting::One { frame, events: None } => match into.first_mut() {
                Some(slot) => {
                    *slot = IoSlice::new(frame);
                    1
                }
                None => 0,
            },
            Waiting::One { frame, events: Some(events) } => events.slices(frame, into),
            Waiting::Other(None) => 0,
            Waiting::Other(Some(other)) => other.slices(into),
        }
    }

    /// The same for one write: small parts are put together. The first of them tell, so `into` is
    /// short; where it is filled, [`Outbox::slices`] has more.
    #[inline]
    pub(crate) fn next_write<'a>(
        &'a self,
        into: &mut [IoSlice<'a>],
        gathered: &'a mut Gathered,
    ) -> usize {
        match &self.waiting {
            Waiting::One { frame, events: Some(events) } => gathered.events(frame, events, into),
            Waiting::Other(Some(other)) => other.next_write(into, gathered),
            Waiting::One { .. } | Waiting::Other(None) => self.slices(into),
        }
    }

    /// Forgets the first `n` bytes: they are sent. `n` is at most [`Outbox::len`].
    #[inline]
    pub(crate) fn advance(&mut self, n: usize) {
        match &self.waiting {
            // It is dropped where it is: to be taken out first, it would be copied.
            Waiting::One { frame, events: None } if frame.len() == n => {
                self.waiting = Waiting::Other(None);
            }
            _ => self.advance_other(n),
        }
    }

    /// The same apart, so that the commonest is short where it is called.
    #[inline(never)]
    fn advance_other(&mut self, n: usize) {
        let unsent = self.len();
        assert!(n <= unsent, "more bytes were sent than waited");
        if n == unsent {
            self.waiting = Waiting::Other(None);
        } else if n > 0 {
            let other = match std::mem::take(&mut self.waiting) {
                Waiting::Other(None) => return,
                Waiting::One { frame, events: None } => Box::new(Other::Begun { frame, sent: n }),
                Waiting::One { frame: line, events: Some(events) } => {
                    Box::new(Other::Own { own: Own::Events { line, events }, sent: n })
                }
                Waiting::Other(Some(mut other)) => {
                    other.advance(n);
                    other
                }
            };
            self.waiting = Waiting::Other(Some(other));
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
        if self.is_empty() {
            return 0;
        }
        let Many { mut frames, sent, .. } = std::mem::take(&mut self.waiting).into_many();
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
            self.waiting = Many { frames: kept, sent, unsent }.into();
        }
        dropped
    }
}

impl Waiting {
    /// What waits, as a queue.
    fn into_many(self) -> Many {
        let (entry, sent) = match self {
            Waiting::One { frame, events: None } => (Entry::Shared(frame), 0),
            Waiting::One { frame: line, events: Some(events) } => {
                (Entry::Own(Box::new(Own::Events { line, events })), 0)
            }
            Waiting::Other(None) => return Many::default(),
            Waiting::Other(Some(other)) => match *other {
                Other::Begun { frame, sent } => (Entry::Shared(frame), sent),
                Other::Own { own, sent } => (Entry::Own(Box::new(own)), sent),
                Other::Many(many) => return many,
            },
        };
        let unsent = entry.len() - sent;
        Many { frames: VecDeque::from([(entry, None)]), sent, unsent }
    }
}

impl From<Many> for Waiting {
    fn from(many: Many) -> Self {
        Waiting::Other(Some(Box::new(Other::Many(many))))
    }
}

impl Other {
    fn len(&self) -> usize {
        match self {
            Other::Begun { frame, sent } => frame.len() - sent,
            Other::Own { own, sent } => own.len() - sent,
            Other::Many(many) => many.unsent,
        }
    }

    #[inline(never)]
    fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        self.each_unsent(&mut |unsent| {
            let slot = into.get_mut(used);
            used += usize::from(slot.is_some());
            slot.map(|slot| *slot = IoSlice::new(unsent)).is_some()
        });
        used
    }

    /// The first parts, for as many as there is room, tell whether they are small.
    #[inline(never)]
    fn next_write<'a>(&'a self, into: &mut [IoSlice<'a>], gathered: &'a mut Gathered) -> usize {
        let used = self.slices(into);
        let bytes: usize = into[..used].iter().map(|slice| slice.len()).sum();
        if used <= 1 || bytes > used * SMALL_BYTES {
            return used;
        }
        gathered.begin();
        self.each_unsent(&mut |unsent| gathered.put(unsent));
        into[0] = IoSlice::new(gathered.bytes());
        1
    }

    fn advance(&mut self, n: usize) {
        match self {
            Other::Begun { sent, .. } | Other::Own { sent, .. } => *sent += n,
            Other::Many(many) => many.advance(n),
        }
    }

    /// Shows what is not sent, part by part, until one is not taken.
    #[inline]
    fn each_unsent<'a>(&'a self, put: &mut impl FnMut(&'a [u8]) -> bool) {
        let mut skipped = match self {
            Other::Begun { sent, .. }
            | Other::Own { sent, .. }
            | Other::Many(Many { sent, .. }) => *sent,
        };
        let mut put = |part: &'a [u8]| {
            let unsent = &part[skipped.min(part.len())..];
            skipped -= part.len() - unsent.len();
            unsent.is_empty() || put(unsent)
        };
        match self {
            Other::Begun { frame, .. } => _ = put(frame),
            Other::Own { own, .. } => _ = own.each_part(&mut put),
            Other::Many(many) => _ = many.frames.iter().all(|(entry, _)| entry.each_part(&mut put)),
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
        let all: String = slices[..used].iter().map(|s| std::str::from_utf8(s).unwrap()).collect();
        for room in [0, 1, all.len() / 2, all.len(), all.len() + 9] {
            let mut gathered = Gathered::of(room);
            let mut slices = [IoSlice::new(&[]); 8];
            let used = outbox.next_write(&mut slices, &mut gathered);
            let taken: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
            assert!(taken.len() >= room.min(all.len()), "{all:?}");
            assert!(all.as_bytes().starts_with(&taken[..taken.len().min(all.len())]));
        }
        all
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
        let event = || {
            let mut events = Events::default();
            events.push(&[b"data: ", b"a\n\n"], true);
            Arc::new(events)
        };
        let push = |outbox: &mut Outbox, id: &str| {
            outbox.push_events(frame(&format!("id: {id}\n")), event(), Some(7));
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
        assert_eq!(outbox.replace_events(frame("id: 3\n"), event(), 7), 1);
        assert_eq!(outbox.replace_events(frame("id: 4\n"), event(), 8), 0);
        assert_eq!(waiting(&outbox), "id: 3\ndata: a\n\nid: 4\ndata: a\n\n");
        assert!(outbox.held_bytes() >= 30 + 4 * FRAME_COST);
    }

    #[test]
    fn events_and_the_line_in_them_go_out_however_they_are_taken_and_are_cut_between_events() {
        let all = ["id: b 1\ndata: x\n\n", "event: gap\ndata: a\n\n", "id: b 2\ndata: y\n\n"];
        let mut events = Events::default();
        for (event, is_led) in [("1\ndata: x\n\n", true), (all[1], false), ("2\ndata: y\n\n", true)]
        {
            events.push(&[event.as_bytes()], is_led);
        }
        let events = Arc::new(events);
        for sent in 0..=all.concat().len() {
            for label in [None, Some(1)] {
                let mut outbox = Outbox::default();
                outbox.push_events(frame("id: b "), events.clone(), label);
                assert_eq!((waiting(&outbox), outbox.frames()), (all.concat(), 1));
                outbox.advance(sent);
                assert_eq!(waiting(&outbox), all.concat()[sent..]);
                let (mut end, mut begun) = (0, 0);
                while sent > 0 && end <= sent && begun < all.len() {
                    end += all[begun].len();
                    begun += 1;
                }
                assert_eq!(outbox.drop_unstarted(), all.len() - begun, "sent {sent}");
                assert_eq!(waiting(&outbox), all.concat()[sent..end]);
            }
            let mut outbox = Outbox::default();
            outbox.push_events(frame("id: b "), events.clone(), Some(1));
            outbox.advance(sent);
            outbox.keep_latest();
            let rest = waiting(&outbox);
            assert!(rest.ends_with(all[2]) || all[2].ends_with(&rest), "sent {sent}: {rest}");
        }
        let latest = events.latest().behind(b"id: b ");
        assert_eq!(&latest[..], all[2].as_bytes());
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
