//! L1: what the owner wants of Redis, as commands on its link.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::later::{self, Publication};
use super::session::Awaited;
use super::{Redis, State, role_notice};
use crate::broker::history::look::Look;
use crate::broker::history::reading::Reading;
use crate::broker::spread::slot_of;
use crate::broker::{Ask, PublishError, Receipt, Sharding};
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
            self.session.unsubscribe_shard(channel, now_ms);
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
        self.session.unsubscribe_shard(channel, now_ms);
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

    /// Publishes a message, or lets it wait for the link.
    pub(in crate::broker) fn publish(
        &mut self,
        channel: &str,
        payload: &[u8],
        whose: (Option<LinkId>, Option<Receipt>),
        now_ms: u64,
    ) -> Result<(), PublishError> {
        let publication = self.publication(channel, payload, whose, (0, now_ms))?;
        self.publish_now(publication, now_ms);
        Ok(())
    }

    /// What is to be published, if there is room for it besides what waits here and so many bytes
    /// elsewhere.
    pub(in crate::broker) fn publication<'p>(
        &mut self,
        channel: &'p str,
        payload: &'p [u8],
        (except, receipt): (Option<LinkId>, Option<Receipt>),
        (held, now_ms): (usize, u64),
    ) -> Result<Publication<'p>, PublishError> {
        let up = matches!(self.state, State::Up { .. });
        if !std::mem::replace(&mut self.uses.publishes, true) {
            self.health.say(role_notice(true, &self.session));
        }
        let history = self.histories.of(channel);
        let here = self.unsent().len() + self.later.bytes() + self.session.kept_bytes();
        let cost = later::cost(channel, payload, history.is_some());
        if held + here + cost > self.settings.buffer_limit {
            return Err(if up { PublishError::Full } else { PublishError::Down });
        }
        let (channel, payload) = (channel.into(), payload.into());
        let (stored_only, at_ms) = (false, now_ms);
        Ok(Publication { channel, payload, except, receipt, history, stored_only, at_ms, tries: 0 })
    }

    /// Publishes that, or lets it wait for the link.
    pub(in crate::broker) fn publish_now(&mut self, publication: Publication<'_>, now_ms: u64) {
        match self.ready {
            true => self.session.publish(&publication, self.expire_s, now_ms),
            false => self.later.push(publication.into_owned()),
        }
    }

    /// The same of what waited while its slot moved, or ahead of that.
    pub(in crate::broker) fn take_on(
        &mut self,
        publication: Publication<'static>,
        asking: bool,
        now_ms: u64,
    ) {
        match asking {
            true => self.session.publish_ahead(&publication, self.expire_s, now_ms),
            false => self.publish_now(publication, now_ms),
        }
    }

    /// Takes what waits for the link and is published on such channels, in order.
    pub(in crate::broker) fn take_later(
        &mut self,
        is_such: impl Fn(&str) -> bool,
    ) -> Vec<Publication<'static>> {
        if self.later.is_empty() { Vec::new() } else { self.later.take(is_such) }
    }

    /// Publishes what is to come back on this channel, to show that messages pass. It must be up.
    pub fn canary(&mut self, channel: &str, payload: &[u8], now_ms: u64) {
        self.session.canary(channel, payload, now_ms);
    }
}
