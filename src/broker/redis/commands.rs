//! L1: what the owner wants of Redis, as commands on its link.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::session::Awaited;
use super::{Redis, State};
use crate::broker::history::look::Look;
use crate::broker::history::reading::Reading;
use crate::broker::spread::slot_of;
use crate::broker::{Ask, Sharding};
use crate::link::LinkId;

/// Names in one SUBSCRIBE command.
const SUBSCRIBE_BATCH: usize = 512;

impl Redis {
    pub(in crate::broker) fn settle(&mut self, conn: LinkId) -> bool {
        let waits = matches!(self.state, State::Up { .. }) && !self.later.is_empty();
        if waits {
            self.settling.push(conn);
        }
        waits || self.session.settle(conn)
    }

    pub(in crate::broker) fn subscribe(&mut self, channels: Vec<Arc<str>>, now_ms: u64) {
        let form = self.session.form();
        if form != Sharding::On {
            // In both forms it is the other one that counts.
            let counts = form == Sharding::Off;
            for batch in channels.chunks(SUBSCRIBE_BATCH) {
                let wanted = batch.iter().map(|channel| (channel.clone(), counts)).collect();
                self.hear(b"SUBSCRIBE", batch, Awaited::Subscribe(wanted), now_ms);
            }
        }
        if form != Sharding::Off {
            // One command may be about one slot.
            let mut slots: BTreeMap<u16, Vec<Arc<str>>> = BTreeMap::new();
            for channel in channels {
                slots.entry(slot_of(&channel)).or_default().push(channel);
            }
            for batch in slots.values().flat_map(|channels| channels.chunks(SUBSCRIBE_BATCH)) {
                let wanted = batch.iter().map(|channel| (channel.clone(), true)).collect();
                self.hear(b"SSUBSCRIBE", batch, Awaited::ShardSubscribe(wanted), now_ms);
            }
        }
    }

    fn hear(&mut self, word: &[u8], channels: &[Arc<str>], awaited: Awaited, now_ms: u64) {
        let mut command: Vec<&[u8]> = vec![word];
        command.extend(channels.iter().map(|channel| channel.as_bytes()));
        self.session.command(&command, awaited, now_ms);
    }

    /// Asks for the messages of a channel that all nodes have.
    pub(in crate::broker) fn subscribe_plainly(&mut self, channel: Arc<str>, now_ms: u64) {
        let wanted = [(channel.clone(), true)].into();
        self.hear(b"SUBSCRIBE", &[channel], Awaited::Subscribe(wanted), now_ms);
    }

    pub(in crate::broker) fn unsubscribe(
        &mut self,
        channel: Arc<str>,
        confirmed: bool,
        now_ms: u64,
    ) {
        if !matches!(self.state, State::Up { .. }) {
            return;
        }
        if !confirmed {
            // The confirmation under way must not be taken for that of a later subscription.
            self.session.unwant(&channel);
        }
        let form = self.session.form();
        if form != Sharding::On {
            self.unsubscribe_plainly(channel.clone(), now_ms);
        }
        if form != Sharding::Off {
            let command = [b"SUNSUBSCRIBE", channel.as_bytes()];
            self.session.command(&command, Awaited::ShardUnsubscribe(channel.clone()), now_ms);
        }
    }

    /// Asks for no more messages of a channel that all nodes have.
    pub(in crate::broker) fn unsubscribe_plainly(&mut self, channel: Arc<str>, now_ms: u64) {
        if matches!(self.state, State::Up { .. }) {
            let command = [b"UNSUBSCRIBE", channel.as_bytes()];
            self.session.command(&command, Awaited::Unsubscribe(channel.clone()), now_ms);
        }
    }

    /// Asks for no more messages of a channel that stay at its shard. The node must be up.
    pub(in crate::broker) fn unsubscribe_shard(&mut self, channel: Arc<str>, now_ms: u64) {
        self.session.unwant(&channel);
        let command = [b"SUNSUBSCRIBE", channel.as_bytes()];
        self.session.command(&command, Awaited::ShardUnsubscribe(channel.clone()), now_ms);
    }

    pub(in crate::broker) fn ask(&mut self, ask: Ask, name: &str, now_ms: u64) {
        self.session.ask(ask, name, now_ms);
    }

    pub(in crate::broker) fn read(
        &mut self,
        ask: Ask,
        channel: &str,
        reading: Reading,
        now_ms: u64,
    ) {
        self.session.read(ask, channel, reading, now_ms);
    }

    pub(in crate::broker) fn look(
        &mut self,
        ask: Ask,
        channel: &str,
        look: (Look, usize),
        now_ms: u64,
    ) {
        self.session.look(ask, channel, look, now_ms);
    }

    /// Publishes what is to come back on this channel, to show that messages pass. It must be up.
    pub fn canary(&mut self, channel: &str, payload: &[u8], now_ms: u64) {
        self.session.canary(channel, payload, now_ms);
    }
}
