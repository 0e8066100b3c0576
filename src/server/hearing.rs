//! L2: conns that come to hear one channel after the other, as the application of an endpoint
//! wants it.

use std::sync::Arc;

use super::Server;
use super::relay::Relay;
use crate::fanout::hub::{Joined, Waits};
use crate::link::LinkId;

impl Server {
    /// A conn is to hear one channel more.
    pub(super) fn hear_also(&mut self, link: LinkId, channel: &str) {
        if !self.is_applications(link) {
            return;
        }
        // Whoever comes now has not heard what arrived before.
        self.deliver_arrived();
        self.note_hearing(link, channel, true);
        let new = self.relay.hear_also(link, channel);
        if let Some(name) = new.filter(|name| self.broker.can_hear(name)) {
            self.broker.subscribe(name.clone(), self.cx.now.mono_ms);
            self.overlap_new(name);
        }
        self.ask_for_stored();
        self.note_channels();
    }

    /// It is to hear it no more.
    pub(super) fn hear_no_more(&mut self, link: LinkId, channel: &str) {
        if !self.is_applications(link) {
            return;
        }
        self.deliver_arrived();
        self.note_hearing(link, channel, false);
        if let Some((name, confirmed)) = self.relay.hear_no_more(link, channel) {
            self.unsubscribe(name, confirmed);
        }
        self.note_channels();
    }

    fn is_applications(&self, link: LinkId) -> bool {
        self.table.peek_conn(link).is_some_and(|conn| conn.application().is_some())
    }

    fn note_hearing(&mut self, link: LinkId, channel: &str, hears: bool) {
        if let Some(conn) = self.table.conn(link) {
            conn.note_hearing(channel, hears);
        }
    }
}

impl Relay {
    /// Lets a conn that is open hear one channel more, as [`Relay::subscribe`] does; the channel
    /// if it is new. Nothing when the conn hears it.
    fn hear_also(&mut self, link: LinkId, name: &str) -> Option<Arc<str>> {
        let Relay { hub, fetches, trails, .. } = self;
        let mut new = None;
        hub.subscribe_also(link.index, name, |Joined { channel, name, state, first }| {
            new = first.then(|| name.clone());
            if first {
                state.is_trailed = trails.begin(name);
            }
            fetches.wait(link, channel, name, state, 0);
            Waits::for_stored(state.confirmed)
        });
        new
    }

    /// The names of all channels that a conn hears.
    pub(super) fn heard_by(&self, link: LinkId) -> Vec<String> {
        let channels = self.hub.channels_of(link.index);
        channels.map(|channel| self.hub.name(channel).to_string()).collect()
    }

    /// Lets a conn hear a channel no more; the channel if nobody does then, and whether it was
    /// confirmed.
    fn hear_no_more(&mut self, link: LinkId, name: &str) -> Option<(Arc<str>, bool)> {
        let channel = self.hub.find(name.as_bytes())?;
        let (name, state) = self.hub.unsubscribe_from(link.index, channel)?;
        self.held -= state.held_bytes();
        self.trails.end(&name);
        Some((name, state.confirmed))
    }
}
