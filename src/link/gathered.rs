//! L1: room in which what waits for one link after the other is put together, to be written as one.
//!
//! It knows bytes, not whose they are. Its rule: events that many streams get, each with a line of
//! its own in them, are copied once for all lines of one length that follow each other. For the
//! next stream only its line is put in its places, which is a fraction of the whole.

use std::io::IoSlice;
use std::sync::{Arc, Weak};

use super::entry::Events;

/// Where parts are several, of no more bytes in the mean, they are put together: the kernel takes
/// longer for one more of them than it takes to copy them.
pub(super) const SMALL_BYTES: usize = 512;

/// A line that two pieces of such a length cover is put in its places as two, which overlap: a call
/// that copies it would take longer.
const PIECES: [usize; 2] = [16, 32];

/// Bytes of one link that are put together, and room for more.
#[derive(Debug)]
pub struct Gathered {
    room: Box<[u8]>,
    filled: usize,
    /// The events that are there, if they are all there is, and how long the line in them is. That
    /// they are known does not keep them, but their place in memory is not given to others.
    events: Weak<Events>,
    line: usize,
}

impl Gathered {
    /// Room for so many bytes.
    pub fn of(bytes: usize) -> Gathered {
        Gathered { room: vec![0; bytes].into(), filled: 0, events: Weak::new(), line: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.room[..self.filled]
    }

    /// Forgets what is there.
    pub(super) fn begin(&mut self) {
        (self.filled, self.events) = (0, Weak::new());
    }

    /// Adds bytes as far as there is room. Whether all had some.
    pub(super) fn put(&mut self, bytes: &[u8]) -> bool {
        let rest = &mut self.room[self.filled..];
        let n = bytes.len().min(rest.len());
        rest[..n].copy_from_slice(&bytes[..n]);
        self.filled += n;
        n == bytes.len()
    }

    /// Shows those events behind that line, put together if their parts are small and there is
    /// room; how many slices it used.
    #[inline(never)]
    pub(super) fn events<'a>(
        &'a mut self,
        line: &'a [u8],
        events: &'a Arc<Events>,
        into: &mut [IoSlice<'a>],
    ) -> usize {
        let bytes = events.bytes_behind(line);
        match into.first_mut() {
            Some(slot) if bytes <= self.room.len().min(events.parts() * SMALL_BYTES) => {
                *slot = IoSlice::new(self.lay_out(line, events));
                1
            }
            _ => events.slices(line, into),
        }
    }

    /// Those events behind that line, which have room, and nothing else.
    fn lay_out(&mut self, line: &[u8], events: &Arc<Events>) -> &[u8] {
        if self.line == line.len() && std::ptr::eq(self.events.as_ptr(), Arc::as_ptr(events)) {
            self.put_in_places(line, events);
            return self.bytes();
        }
        self.begin();
        events.each_part(line, &mut |part| self.put(part));
        (self.events, self.line) = (Arc::downgrade(events), line.len());
        self.bytes()
    }

    fn put_in_places(&mut self, line: &[u8], events: &Events) {
        let is_put = self.put_pieces::<{ PIECES[0] }>(line, events)
            || self.put_pieces::<{ PIECES[1] }>(line, events);
        if !is_put {
            for at in events.places(line.len()) {
                self.room[at..at + line.len()].copy_from_slice(line);
            }
        }
    }

    /// Puts the line in its places as two pieces of that length, if they cover it.
    #[inline]
    fn put_pieces<const PIECE: usize>(&mut self, line: &[u8], events: &Events) -> bool {
        match (line.first_chunk::<PIECE>(), line.last_chunk::<PIECE>()) {
            (Some(first), Some(last)) if line.len() <= 2 * PIECE => {
                for at in events.places(line.len()) {
                    let place = &mut self.room[at..at + line.len()];
                    place[..PIECE].copy_from_slice(first);
                    place[line.len() - PIECE..].copy_from_slice(last);
                }
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events each with a number in it, of which every third has no line.
    fn events(count: usize) -> Arc<Events> {
        let mut events = Events::default();
        for number in 0..count {
            events.push(&[format!("data: {number}\n\n").as_bytes()], number % 3 != 2);
        }
        Arc::new(events)
    }

    #[test]
    fn what_is_put_in_places_is_what_each_part_is_one_after_the_other() {
        let (few, many) = (events(1), events(7));
        let mut gathered = Gathered::of(2_000);
        let lengths = (0..100).chain([5, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 64]);
        for (round, length) in lengths.enumerate() {
            for letter in [b'a', b'b', b'c'] {
                let line: Vec<u8> = (0..length).map(|at| letter + (at % 7) as u8).collect();
                for _ in 0..1 + round % 2 {
                    let of = if letter == b'c' { &few } else { &many };
                    let wanted = of.behind(&line);
                    assert_eq!(gathered.lay_out(&line, of), &wanted[..], "{length} bytes");
                }
            }
        }
    }

    #[test]
    fn what_was_put_together_besides_is_not_taken_for_events() {
        let events = events(2);
        let mut gathered = Gathered::of(100);
        gathered.lay_out(b"id: 1\n", &events);
        gathered.begin();
        assert!(gathered.put(b"something else"));
        assert_eq!(gathered.lay_out(b"id: 2\n", &events), &events.behind(b"id: 2\n")[..]);
        gathered.begin();
        assert!(!gathered.put(&[b'x'; 101]));
        assert_eq!(gathered.bytes(), [b'x'; 100]);
    }

    #[test]
    fn events_that_are_gone_are_not_taken_for_others() {
        let mut gathered = Gathered::of(100);
        for count in [1, 2, 3, 1, 2, 3] {
            let events = events(count);
            assert_eq!(gathered.lay_out(b"id: 1\n", &events), &events.behind(b"id: 1\n")[..]);
        }
    }
}
