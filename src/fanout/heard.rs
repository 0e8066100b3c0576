//! L1: what each conn hears, by its index: channels, and where it stands among those who hear them.
//!
//! A conn hears all that it ever does from one moment on, so that a list has the size that it
//! needs; a single channel needs no list.

use crate::link::places::is_due;

/// A channel's place in the hub; reused after its last subscriber has left.
pub(crate) type ChannelId = u32;

/// One channel that a conn hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub channel: ChannelId,
    /// Where the conn stands among the channel's subscribers.
    pub position: u32,
}

/// All that a conn hears, in the order of its subscribing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    One(Subscription),
    Many(Box<[Subscription]>),
}

/// What each conn hears.
#[derive(Debug, Default)]
pub(super) struct Conns {
    heard: Vec<Heard>,
    /// Conns that hear something.
    count: usize,
    /// Those that went since it was last tried to give memory back.
    gone: usize,
}

impl Default for Heard {
    fn default() -> Self {
        Heard::Many(Box::default())
    }
}

impl Heard {
    pub(super) fn as_slice(&self) -> &[Subscription] {
        match self {
            Heard::One(one) => std::slice::from_ref(one),
            Heard::Many(many) => many,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Subscription] {
        match self {
            Heard::One(one) => std::slice::from_mut(one),
            Heard::Many(many) => many,
        }
    }
}

impl Conns {
    /// What a conn hears.
    pub(super) fn of(&self, conn: u32) -> &[Subscription] {
        self.heard.get(conn as usize).map_or(&[], Heard::as_slice)
    }

    /// Notes what a conn hears that has heard nothing.
    pub(super) fn enter(&mut self, conn: u32, heard: Heard) {
        let index = conn as usize;
        if self.heard.len() <= index {
            let more = index + 1 - self.heard.len();
            if index >= self.heard.capacity() {
                self.heard.reserve_exact(more.max(self.heard.len() / 8).max(16));
            }
            self.heard.resize_with(index + 1, Heard::default);
        }
        let before = std::mem::replace(&mut self.heard[index], heard);
        assert_eq!(before, Heard::default(), "a conn subscribes once");
        self.count += 1;
    }

    /// Notes what a conn hears besides.
    pub(super) fn add(&mut self, conn: u32, more: Subscription) {
        let before = self.heard.get_mut(conn as usize).map(std::mem::take).unwrap_or_default();
        let all = match before.as_slice() {
            [] => return self.enter(conn, Heard::One(more)),
            before => [before, &[more]].concat(),
        };
        self.heard[conn as usize] = Heard::Many(all.into());
    }

    /// A conn hears that channel no more, if it has.
    pub(super) fn remove(&mut self, conn: u32, channel: ChannelId) -> Option<Subscription> {
        let it = *self.of(conn).iter().find(|one| one.channel == channel)?;
        let left = self.of(conn).iter().filter(|one| **one != it).copied().collect::<Vec<_>>();
        match left[..] {
            [] => drop(self.leave(conn)),
            [one] => self.heard[conn as usize] = Heard::One(one),
            _ => self.heard[conn as usize] = Heard::Many(left.into()),
        }
        Some(it)
    }

    /// A conn has come to stand elsewhere in a channel.
    pub(super) fn moved(&mut self, conn: u32, channel: ChannelId, position: u32) {
        let heard = self.heard[conn as usize].as_mut_slice();
        let it = heard.iter_mut().find(|one| one.channel == channel);
        it.expect("who stands in a channel hears it").position = position;
    }

    /// A conn hears nothing any more: what it heard.
    pub(super) fn leave(&mut self, conn: u32) -> Heard {
        let heard = self.heard.get_mut(conn as usize).map(std::mem::take).unwrap_or_default();
        if heard.as_slice().is_empty() {
            return heard;
        }
        self.count -= 1;
        self.gone += 1;
        if is_due(self.count, self.heard.len(), self.gone) {
            let last = self.heard.iter().rposition(|heard| !heard.as_slice().is_empty());
            self.heard.truncate(last.map_or(0, |last| last + 1));
            self.heard.shrink_to_fit();
            self.gone = 0;
        }
        heard
    }

    /// What each conn hears, in the order of their indices.
    pub(super) fn all(&self) -> impl Iterator<Item = &[Subscription]> {
        self.heard.iter().map(Heard::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(channel: ChannelId) -> Heard {
        Heard::One(Subscription { channel, position: 0 })
    }

    #[test]
    fn a_conn_that_hears_one_channel_needs_two_words() {
        assert_eq!(size_of::<Heard>(), 16);
        assert_eq!(size_of_val(Heard::default().as_slice()), 0);
    }

    #[test]
    fn what_is_not_needed_is_given_back() {
        let mut conns = Conns::default();
        (0..10_000).for_each(|conn| conns.enter(conn, one(conn)));
        assert!(conns.heard.capacity() <= 10_000 * 9 / 8 + 1);
        (5..10_000).for_each(|conn| assert_eq!(conns.leave(conn), one(conn)));
        assert!(conns.heard.capacity() < 5_000, "{}", conns.heard.capacity());
        assert_eq!(conns.leave(9_999), Heard::default(), "it has left");
        (0..5).for_each(|conn| assert_eq!(conns.leave(conn), one(conn)));
        assert!(conns.heard.capacity() <= 64, "{}", conns.heard.capacity());
    }
}
