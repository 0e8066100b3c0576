//! L2: from where on a conn hears a channel whose line has not passed that yet.

use super::Topic;
use crate::broker::HistorySize;
use crate::broker::history::Offset;
use crate::broker::history::look::{Looked, Missed};
use crate::broker::history::position::Position;
use crate::fanout::line::Placed;

/// From where on a conn hears a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    /// What the history has behind this position.
    pub(super) at: Position,
    /// What is not, behind the message of this number.
    pub(super) behind: u64,
}

impl Floor {
    /// What is in the history, from this offset on.
    pub(super) fn from(&self) -> Offset {
        self.at.place.first_behind()
    }

    /// Whether a message is above it.
    pub(super) fn is_below(&self, placed: &Placed) -> bool {
        match (placed.offset, placed.number) {
            (Some(offset), _) => offset >= self.from(),
            (None, number) => number.is_none_or(|number| number > self.behind),
        }
    }
}

impl Topic {
    /// Forgets the floors behind which a look does not find all; the least position of the others.
    pub(super) fn keep_standing(
        &mut self,
        looked: &Looked<'_>,
        size: HistorySize,
    ) -> Option<Position> {
        self.floors.retain(|_, floor| looked.since(floor.at, size) != Missed::Gone);
        self.floors.values().map(|floor| floor.at).min_by_key(|at| at.place.first_behind())
    }

    /// Forgets floors that the line has passed.
    pub(super) fn lift_floors(&mut self) {
        let Some(at) = self.line.at() else { return };
        let (next, waits) = (at.first_behind(), self.line.first_waiting());
        self.floors.retain(|_, floor| {
            floor.from() > next || waits.is_some_and(|number| number <= floor.behind)
        });
    }
}
