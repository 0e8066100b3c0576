//! L1: what stands in line for one conn as one: frames that others get too, and what has a part of
//! its own.
//!
//! It knows where a frame or an event ends; not whom it is for. Its rules:
//! * what others get too is shared and never copied for a conn;
//! * an event and the line in it that is this conn's own are one.

use std::io::IoSlice;
use std::sync::Arc;

use crate::proto::sse;
use crate::proto::ws::frame::{self, MAX_HEADER};

/// Encoded bytes, one frame or a run of them, shared by everyone they are sent to.
pub(crate) type Frame = Arc<[u8]>;

/// What a small frame of its own takes besides its bytes: a place in the queue, two counters, and
/// what the allocator adds.
pub(super) const FRAME_COST: usize = 64;

/// Server-sent events that go out together, each to be led by a line that may be another for each
/// outbox, if it has one.
#[derive(Debug, Default)]
pub(crate) struct Events {
    bytes: Vec<u8>,
    /// Where the events begin that have such a line.
    led: Vec<usize>,
}

/// What is in line as one.
#[derive(Debug)]
pub(super) enum Entry {
    /// One frame or a run of them.
    Shared(Frame),
    Own(Box<Own>),
}

/// What nobody else gets as it is.
#[derive(Debug)]
pub(super) enum Own {
    /// A message behind its frame's header.
    Message { head: [u8; MAX_HEADER], head_len: usize, payload: Vec<u8> },
    /// Events that others get too, behind a line that may be another for each.
    Events { line: Frame, events: Arc<Events> },
}

impl Events {
    /// Adds an event, led by the line or not.
    pub(crate) fn push(&mut self, event: &[&[u8]], is_led: bool) {
        if is_led {
            self.led.push(self.bytes.len());
        }
        event.iter().for_each(|part| self.bytes.extend_from_slice(part));
    }

    /// All of them behind that line.
    pub(crate) fn behind(&self, line: &[u8]) -> Frame {
        let mut bytes = Vec::with_capacity(self.bytes_behind(line));
        self.each_part(line, &mut |part| {
            bytes.extend_from_slice(part);
            true
        });
        Frame::from(bytes)
    }

    /// The last one alone.
    pub(crate) fn latest(&self) -> Events {
        let event = pieces(&self.bytes).last().unwrap_or_default();
        let is_led = self.led.last() == Some(&(self.bytes.len() - event.len()));
        let mut latest = Events::default();
        latest.push(&[event], is_led);
        latest
    }

    /// Bytes of all of them behind that line.
    pub(crate) fn bytes_behind(&self, line: &[u8]) -> usize {
        self.bytes.len() + self.led.len() * line.len()
    }

    /// What a holder has of them.
    pub(super) fn share(self: &Arc<Self>) -> usize {
        (self.bytes.capacity() + FRAME_COST) / Arc::strong_count(self)
    }

    /// Their parts when they are not one text.
    pub(super) fn parts(&self) -> usize {
        2 * self.led.len() + 1
    }

    /// Where a line of so many bytes begins in each event that has one, when all are one text.
    #[inline]
    pub(super) fn places(&self, line: usize) -> impl Iterator<Item = usize> {
        self.led.iter().enumerate().map(move |(before, at)| at + before * line)
    }

    /// Fills `into` with their parts, as far as there is room, and returns how many it used.
    #[inline(never)]
    pub(super) fn slices<'a>(&'a self, line: &'a [u8], into: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        self.each_part(line, &mut |part: &'a [u8]| match into.get_mut(used) {
            Some(slot) => {
                *slot = IoSlice::new(part);
                used += usize::from(!part.is_empty());
                true
            }
            None => false,
        });
        used
    }

    /// Shows its parts one after the other, until one is not taken. Whether all were.
    #[inline]
    pub(super) fn each_part<'a>(
        &'a self,
        line: &'a [u8],
        put: &mut impl FnMut(&'a [u8]) -> bool,
    ) -> bool {
        let mut start = 0;
        for at in &self.led {
            if !(put(&self.bytes[start..*at]) && put(line)) {
                return false;
            }
            start = *at;
        }
        put(&self.bytes[start..])
    }
}

impl Own {
    pub(super) fn len(&self) -> usize {
        match self {
            Own::Message { head_len, payload, .. } => head_len + payload.len(),
            Own::Events { line, events } => events.bytes_behind(line),
        }
    }

    /// What a holder has of it.
    pub(super) fn share(&self) -> usize {
        match self {
            Own::Message { payload, .. } => payload.capacity() + FRAME_COST,
            Own::Events { line, events } => share(line) + Events::share(events),
        }
    }

    /// Shows its parts one after the other, until one is not taken. Whether all were.
    #[inline]
    pub(super) fn each_part<'a>(&'a self, put: &mut impl FnMut(&'a [u8]) -> bool) -> bool {
        match self {
            Own::Message { head, head_len, payload } => put(&head[..*head_len]) && put(payload),
            Own::Events { line, events } => events.each_part(line, put),
        }
    }
}

impl Entry {
    pub(super) fn len(&self) -> usize {
        match self {
            Entry::Shared(run) => run.len(),
            Entry::Own(own) => own.len(),
        }
    }

    pub(super) fn frames(&self) -> usize {
        match self {
            Entry::Shared(run) => pieces(run).count(),
            Entry::Own(own) => match &**own {
                Own::Message { .. } => 1,
                Own::Events { events, .. } => pieces(&events.bytes).count(),
            },
        }
    }

    /// What a holder has of it.
    pub(super) fn share(&self) -> usize {
        match self {
            Entry::Shared(run) => share(run),
            Entry::Own(own) => own.share(),
        }
    }

    /// Shows its parts one after the other, until one is not taken. Whether all were.
    #[inline]
    pub(super) fn each_part<'a>(&'a self, put: &mut impl FnMut(&'a [u8]) -> bool) -> bool {
        match self {
            Entry::Shared(run) => put(run),
            Entry::Own(own) => own.each_part(put),
        }
    }

    /// Its last frame.
    pub(super) fn last(self) -> Option<Entry> {
        match self.in_one() {
            Entry::Shared(run) => pieces(&run).last().map(Frame::from).map(Entry::Shared),
            own => Some(own),
        }
    }

    /// A run of frames up to the end of that which is partly sent, and what is behind it.
    pub(super) fn split_behind(self, sent: usize) -> (Entry, Option<Entry>) {
        let run = match self.in_one() {
            Entry::Shared(run) => run,
            own => return (own, None),
        };
        let mut end = 0;
        for frame in pieces(&run) {
            end += frame.len();
            if end > sent {
                break;
            }
        }
        match end == run.len() {
            true => (Entry::Shared(run), None),
            false => {
                let [begun, rest] = [&run[..end], &run[end..]].map(Frame::from);
                (Entry::Shared(begun), Some(Entry::Shared(rest)))
            }
        }
    }

    /// The same with events as one run, which can be cut.
    fn in_one(self) -> Entry {
        match self {
            Entry::Own(own) => match *own {
                Own::Events { line, events } => Entry::Shared(events.behind(&line)),
                own => Entry::Own(Box::new(own)),
            },
            shared => shared,
        }
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
pub(super) fn share(frame: &Frame) -> usize {
    (frame.len() + FRAME_COST) / Arc::strong_count(frame)
}
