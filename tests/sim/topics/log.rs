//! What was ever recorded in a channel's history, and where a position is in it.

use std::collections::BTreeSet;

use super::{KEPT_MS, Stand};

/// The messages of a channel, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Log {
    texts: Vec<String>,
    /// The ids of their entries.
    ids: Vec<Id>,
    /// So many of the first had expired when another came.
    pub expired: usize,
    /// How many there were when Redis began another life.
    pub restarted: usize,
    /// The places of those that Redis had no more then.
    lost: BTreeSet<usize>,
}

/// The two numbers of an entry's id.
pub(super) type Id = (u64, u64);

impl Log {
    /// Notes a message.
    pub(super) fn push(&mut self, text: String, id: Id) {
        assert!(!self.contains(&text), "{text} is recorded twice");
        if let Some(last) = self.ids.last() {
            assert!(*last < id, "{text} at {id:?}: {self:?}");
            if id.0 >= last.0 + KEPT_MS {
                self.expired = self.len();
            }
        }
        self.texts.push(text);
        self.ids.push(id);
    }

    /// Redis begins another life, and has of these what is so.
    pub(super) fn restart(&mut self, has: impl Fn(&str) -> bool) {
        self.restarted = self.len();
        let places = self.texts.iter().enumerate();
        self.lost.extend(places.filter(|(_, text)| !has(text)).map(|(place, _)| place));
    }

    /// Whether who stands somewhere may stand before that place now without having been told where
    /// anything between is: Redis itself has lost it. At a time, which is of one life of Redis,
    /// that is a gap, but for what was heard before it was lost.
    pub(super) fn goes_on(&self, stand: &Stand, to: usize) -> bool {
        let Some(from) = stand.next.filter(|from| *from <= to) else { return false };
        let is_time = time_of(&stand.position).is_some();
        let is_known = |place: usize| !is_time || stand.plain.contains(&self.texts[place]);
        (from..to).all(|place| self.lost.contains(&place) && is_known(place))
    }

    /// Whether none of these that somebody has heard is behind that place: Redis itself has lost
    /// them, and nobody can tell any more what they came behind.
    pub(super) fn has_lost_all(&self, heard: &BTreeSet<String>, place: usize) -> bool {
        let mut behind = self.texts.iter().enumerate().skip(place + 1);
        behind.all(|(place, text)| self.lost.contains(&place) || !heard.contains(text))
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        self.place_of(text).is_some()
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &String> {
        self.texts.iter()
    }

    /// The place of a message.
    pub(super) fn place_of(&self, text: &str) -> Option<usize> {
        self.texts.iter().position(|known| known == text)
    }

    /// How many messages are before a position: behind an entry, or since a time at which the
    /// history had none.
    pub(super) fn before(&self, position: &str) -> usize {
        match time_of(position) {
            Some(ms) => self.ids.partition_point(|id| id.0 < ms),
            None => self.ids.partition_point(|known| *known <= id(position)),
        }
    }
}

/// The time that a position is, if it is one.
pub(super) fn time_of(position: &str) -> Option<u64> {
    let (ms, _epoch) = position.strip_prefix('@')?.split_once('.').expect("an epoch");
    Some(ms.parse().expect("a time"))
}

/// Reads the id of an entry.
pub(super) fn id(text: &str) -> Id {
    let (ms, number) = text.split_once('-').expect("two numbers");
    (ms.parse().expect("a time"), number.parse().expect("a number"))
}
