//! Who is to be flushed: those who share what waits with few others before the crowds.
//!
//! A message to tens of thousands takes many turns to write. Whoever has something else to send in
//! the meantime does not stand behind all of them, and the crowd moves on all the same. A conn
//! stands in each line at most once.

use std::collections::VecDeque;

use crate::browser::conn::Conn;
use crate::link::LinkId;
use crate::server::table::Slots;

/// A message to more conns than this makes them a crowd: writing to so many takes a turn's time.
const CROWD: usize = 256;
/// After so many of the front line one of the back line has its turn.
const FRONT_RUN: u32 = 16;

/// The two lines of conns, by their places.
#[derive(Debug, Default)]
pub(super) struct Lines {
    front: VecDeque<u32>,
    back: VecDeque<u32>,
    /// Conns of the front line that went before those of the back line in one go.
    run: u32,
}

impl Lines {
    /// Puts a conn in line for which something waits that goes to `receivers` conns, unless that is
    /// held, or the kernel takes no more of it and will say when it does.
    pub(super) fn stand(&mut self, index: u32, conn: &mut Conn, receivers: usize) {
        if conn.is_held() || conn.blocked || conn.in_front {
            return;
        }
        if receivers <= CROWD {
            conn.in_front = true;
            self.front.push_back(index);
        } else if !conn.in_back {
            conn.in_back = true;
            self.back.push_back(index);
        }
    }

    /// The next conn to be flushed, and the number of frames that wait for it.
    pub(super) fn next(&mut self, slots: &mut Slots) -> Option<(LinkId, usize)> {
        loop {
            let front = self.run < FRONT_RUN || self.back.is_empty();
            let front = if front { self.front.pop_front() } else { None };
            self.run = if front.is_some() { self.run + 1 } else { 0 };
            let index = match front {
                Some(index) => index,
                None => self.back.pop_front()?,
            };
            let Some((link, conn)) = slots.at(index) else { continue };
            let stood = match front {
                Some(_) => std::mem::take(&mut conn.in_front),
                None => std::mem::take(&mut conn.in_back),
            };
            // Another conn may have come to that place, or the other line was faster.
            if stood && !conn.is_held() && !conn.outbox.is_empty() {
                return Some((link, conn.outbox.frames()));
            }
        }
    }

    /// Whether nobody stands in line.
    pub(super) fn is_empty(&self) -> bool {
        self.front.is_empty() && self.back.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Frame;
    use crate::server::table::Party;

    const MANY: usize = CROWD + 1;

    fn slots(conns: usize) -> Slots {
        let mut slots = Slots::default();
        for _ in 0..conns {
            slots.name(Party::Conn(Conn::new(0, false)));
        }
        slots
    }

    fn stand(lines: &mut Lines, slots: &mut Slots, index: u32, receivers: usize) {
        let (_, conn) = slots.at(index).expect("a conn");
        conn.outbox.push(Frame::from([1]));
        lines.stand(index, conn, receivers);
    }

    /// Flushes the next, wholly.
    fn next(lines: &mut Lines, slots: &mut Slots) -> Option<u32> {
        let (link, frames) = lines.next(slots)?;
        let conn = slots.conn(link).expect("a conn");
        assert_eq!(frames, conn.outbox.frames());
        conn.outbox.advance(conn.outbox.len());
        Some(link.index)
    }

    #[test]
    fn who_is_one_of_few_goes_before_a_crowd_that_came_first() {
        let (mut lines, mut slots) = (Lines::default(), slots(8));
        for index in 0..6 {
            stand(&mut lines, &mut slots, index, MANY);
        }
        stand(&mut lines, &mut slots, 6, CROWD);
        stand(&mut lines, &mut slots, 3, 1);
        let order: Vec<u32> = std::iter::from_fn(|| next(&mut lines, &mut slots)).collect();
        assert_eq!(order, [6, 3, 0, 1, 2, 4, 5], "and each goes once");
        assert!(lines.is_empty());
    }

    #[test]
    fn a_crowd_moves_on_however_many_go_before_it() {
        let (mut lines, mut slots) = (Lines::default(), slots(2));
        stand(&mut lines, &mut slots, 0, MANY);
        let mut before = 0;
        loop {
            stand(&mut lines, &mut slots, 1, 1);
            match next(&mut lines, &mut slots) {
                Some(1) => before += 1,
                other => break assert_eq!(other, Some(0)),
            }
        }
        assert_eq!(before, FRONT_RUN);
    }

    #[test]
    fn nobody_stands_in_a_line_twice() {
        let (mut lines, mut slots) = (Lines::default(), slots(1));
        for receivers in [MANY, 1, MANY, 1] {
            stand(&mut lines, &mut slots, 0, receivers);
        }
        assert_eq!((lines.front.len(), lines.back.len()), (1, 1));
        assert_eq!(next(&mut lines, &mut slots), Some(0));
        stand(&mut lines, &mut slots, 0, MANY);
        assert_eq!((lines.front.len(), lines.back.len()), (0, 1), "it had not left");
        assert_eq!(next(&mut lines, &mut slots), Some(0));
        assert_eq!(next(&mut lines, &mut slots), None);
    }

    #[test]
    fn who_takes_no_more_or_has_gone_is_passed_over() {
        let (mut lines, mut slots) = (Lines::default(), slots(3));
        slots.at(0).expect("a conn").1.blocked = true;
        stand(&mut lines, &mut slots, 0, 1);
        stand(&mut lines, &mut slots, 1, 1);
        stand(&mut lines, &mut slots, 2, 1);
        let (link, _) = slots.at(1).expect("a conn");
        slots.free(link);
        slots.name(Party::Conn(Conn::new(0, false)));
        assert_eq!(next(&mut lines, &mut slots), Some(2));
        assert_eq!(next(&mut lines, &mut slots), None);
    }
}
