//! L2: the lines of links that wait to be flushed: who is written to next.
//!
//! It knows places. What goes to few receivers is written before what goes to a crowd, however long
//! that has waited, so that a message to very many delays nobody's answer. After a few of those,
//! one of the crowd is written, so that it moves on. Redis and the application come first.

use std::collections::VecDeque;

use crate::link::places::give_back_queue;

/// A message to more receivers than this makes them a crowd: writing to so many takes a turn's
/// time.
pub(super) const CROWD: usize = 256;
/// After so many of the front line one of the back line has its turn.
pub(super) const FRONT_RUN: u32 = 16;

/// Which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Redis and the application.
    First,
    /// Those who share what waits with few others.
    Front,
    /// A crowd.
    Back,
}

impl Line {
    /// The line for something that goes to so many receivers.
    pub(super) fn of(receivers: usize) -> Line {
        if receivers <= CROWD { Line::Front } else { Line::Back }
    }

    /// Its bit among those of a place.
    pub(super) fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The lines, of places.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: [VecDeque<u32>; 3],
    /// Those of the front line that went before those of the back line in one go.
    run: u32,
}

impl Lines {
    /// Puts a place last in a line.
    pub(super) fn stand(&mut self, index: u32, line: Line) {
        self.lines[line as usize].push_back(index);
    }

    /// Gives back what lines have that were longer once than there are links now.
    pub(super) fn give_back(&mut self, links: usize) {
        self.lines.iter_mut().for_each(|line| give_back_queue(line, links));
    }

    /// Takes the first place of a line.
    pub(super) fn take(&mut self, line: Line) -> Option<u32> {
        let index = self.lines[line as usize].pop_front();
        match line {
            Line::Front if index.is_some() => self.run += 1,
            Line::Back => self.run = 0,
            _ => {}
        }
        index
    }

    /// Whether somebody stands in that line.
    #[inline]
    pub(super) fn has(&self, line: Line) -> bool {
        !self.lines[line as usize].is_empty()
    }

    /// The line whose turn it is, if somebody stands in one.
    #[inline]
    pub(super) fn which(&self) -> Option<Line> {
        if self.has(Line::First) {
            return Some(Line::First);
        }
        match (self.has(Line::Front), self.has(Line::Back)) {
            (true, back) if self.run < FRONT_RUN || !back => Some(Line::Front),
            (_, true) => Some(Line::Back),
            (_, false) => None,
        }
    }

    /// Whether nobody stands in line.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }
}
