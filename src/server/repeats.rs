//! L2: messages of a cluster that come twice, as a channel is heard at another node than before.
//!
//! A message goes to all nodes, and to some of them later: the node where a channel is heard from
//! now on may have yet to take what was delivered from the one before. What was delivered last is
//! compared by hash with what comes first, for a moment. A replica may likewise have yet to take
//! what was delivered from its master.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Server;
use super::nodes::Nodes;
use super::relay::Relay;
use crate::broker::{Delivery, MASTER};
use crate::browser::Context;
use crate::fanout::stored::CatchUp;

/// How long what comes first is looked at.
const MOMENT_MS: u64 = 2_000;
/// The same of what was handed over from a history, and of what a replica may repeat: both are on
/// their way already. A message that equals one of them is lost if it is published so soon.
const SOON_MS: u64 = 250;
/// Messages that are recorded at most while a replica catches up; later ones may come twice.
const MOST_RECORDED: usize = 20_000;

/// For how long all that was delivered is known again where another node says it; for how long the
/// last two of a channel are, and all where it is what is stored; how many messages that may be.
const RECENT_MS: u64 = 200;
const STORED_MS: u64 = 2_000;
const MOST_RECENT: usize = 8_192;

/// What was delivered a moment ago, of all channels of a cluster.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Past>);

/// A message by its time, and the hashes of its channel and of itself.
#[derive(Debug)]
struct Past {
    at_ms: u64,
    channel: u64,
    message: u64,
    is_sharded: bool,
    /// It was read in a history, and given out where positions are: it has yet to arrive.
    is_early: bool,
}

impl Recent {
    fn note(&mut self, past: Past) {
        let is_old = |other: &Past| other.at_ms + STORED_MS < past.at_ms;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        if self.0.len() == MOST_RECENT {
            self.0.pop_front();
        }
        self.0.push_back(past);
    }

    /// Whether all who hear a channel had that message.
    fn has(&self, channel: u64, message: u64, now_ms: u64) -> bool {
        let is_it = |past: &Past| (past.channel, past.message) == (channel, message);
        let is_told = |past: &Past| !past.is_early && now_ms <= past.at_ms + STORED_MS;
        self.0.iter().any(|past| is_it(past) && is_told(past))
    }

    /// Hashes of the messages of each channel that another node may say again, the oldest first,
    /// by those of channels.
    fn by_channel(&self, now_ms: u64) -> BTreeMap<u64, Vec<u64>> {
        let mut channels: BTreeMap<u64, VecDeque<&Past>> = BTreeMap::new();
        let is_old = |past: &Past| now_ms > past.at_ms + RECENT_MS;
        let may_come = |past: &&Past| !past.is_sharded && now_ms <= past.at_ms + STORED_MS;
        for past in self.0.iter().filter(may_come) {
            let all = channels.entry(past.channel).or_default();
            all.push_back(past);
            if all.len() > 2 && is_old(all[0]) {
                all.pop_front();
            }
        }
        let hashes = |all: VecDeque<&Past>| all.iter().map(|past| past.message).collect();
        channels.into_iter().map(|(channel, all)| (channel, hashes(all))).collect()
    }
}

/// What was delivered of a channel before it was heard at another node.
#[derive(Debug)]
pub(super) struct Reheard {
    /// The last hashes, the oldest first.
    hashes: Vec<u64>,
    /// They are known to come, and others before them; else the first that is another is the end.
    is_exact: bool,
    until_ms: u64,
}

impl Server {
    /// These channels are heard at another node from now on, or at one that was away.
    pub(super) fn rehear(&mut self, names: &[Arc<str>]) {
        let now_ms = self.cx.now.mono_ms;
        for (name, hashes) in self.last_delivered(names.iter().cloned()) {
            if !self.relay.overlaps.slots.has(&name) {
                self.relay.on_reheard(&name, hashes, now_ms);
            }
        }
    }

    /// Hashes of what was last delivered of channels to whoever hears them, the oldest first. What
    /// has arrived is to be handed out before.
    pub(super) fn last_delivered(
        &self,
        names: impl Iterator<Item = Arc<str>>,
    ) -> BTreeMap<Arc<str>, Vec<u64>> {
        let mut recent = self.relay.recent.by_channel(self.cx.now.mono_ms);
        let last = |name: Arc<str>| {
            let channel = self.relay.fingerprints.of(name.as_bytes());
            (name, recent.remove(&channel).unwrap_or_default())
        };
        names.map(last).collect()
    }
}

impl Relay {
    /// A channel is heard at another node from now on, of which messages of these hashes were
    /// delivered last, the oldest first.
    pub(super) fn on_reheard(&mut self, name: &Arc<str>, hashes: Vec<u64>, now_ms: u64) {
        if !hashes.is_empty() {
            let until_ms = now_ms + MOMENT_MS;
            self.reheard.insert(name.clone(), Reheard { hashes, is_exact: false, until_ms });
        }
    }

    /// A message was handed over from the history at a node of a cluster where the channel is heard
    /// since a moment ago, and may come from there as well.
    pub(super) fn on_mended(&mut self, name: &Arc<str>, hash: u64, now_ms: u64) {
        let until_ms = now_ms + SOON_MS;
        let fresh = || Reheard { hashes: Vec::new(), is_exact: false, until_ms };
        self.reheard.entry(name.clone()).or_insert_with(fresh).hashes.push(hash);
    }

    /// What comes late by now is looked at no more.
    pub(super) fn end_reheard(&mut self, now_ms: u64) {
        self.reheard.retain(|_, reheard| now_ms < reheard.until_ms);
    }

    /// The same, where the node is known to have messages of these hashes yet to come.
    pub(super) fn on_reheard_exactly(&mut self, name: &Arc<str>, hashes: Vec<u64>, now_ms: u64) {
        match hashes.is_empty() {
            true => drop(self.reheard.remove(name)),
            false => {
                let reheard = Reheard { hashes, is_exact: true, until_ms: now_ms + MOMENT_MS };
                self.reheard.insert(name.clone(), reheard);
            }
        }
    }

    /// What comes from a master from now on may come from its replica again, if that is heard soon.
    pub(super) fn record(&mut self) {
        self.recorded = Some(Vec::new());
    }

    /// The replica is heard, which may repeat what was recorded.
    pub(super) fn on_recorded(&mut self, now_ms: u64) {
        self.end_reheard(now_ms);
        let mut hashes: BTreeMap<Arc<str>, Vec<u64>> = BTreeMap::new();
        for (name, hash) in self.recorded.take().into_iter().flatten() {
            hashes.entry(name).or_default().push(hash);
        }
        let until_ms = now_ms + SOON_MS;
        let reheard = |(name, hashes)| (name, Reheard { hashes, is_exact: true, until_ms });
        self.reheard.extend(hashes.into_iter().map(reheard));
    }

    fn note_recorded(&mut self, node: usize, Delivery { channel, payload, .. }: Delivery<'_>) {
        let Some(recorded) = self.recorded.as_mut().filter(|_| node == MASTER) else { return };
        if recorded.len() < MOST_RECORDED
            && let Ok(name) = std::str::from_utf8(channel)
        {
            recorded.push((name.into(), self.fingerprints.of(payload)));
        }
    }

    /// Whether a message from a node of a cluster, or of a master and its replica, is another
    /// node's to deliver, or was delivered by the node where its channel was heard before.
    #[cold]
    pub(super) fn is_repeated(
        &mut self,
        node: usize,
        delivery: Delivery<'_>,
        nodes: &Nodes,
        cx: &mut Context,
    ) -> bool {
        self.note_recorded(node, delivery);
        let metrics = &mut cx.metrics;
        if self.overlaps.takes(node, delivery, &self.fingerprints, metrics) {
            return true;
        }
        let has_word = match self.overlaps.slots.takes(node, delivery, &self.fingerprints, metrics)
        {
            Some(true) => return true,
            Some(false) => true,
            None => !nodes.may_repeat,
        };
        let is_repeated = !delivery.is_sharded && self.was_delivered(node, delivery, has_word, cx);
        cx.metrics.repeats_dropped_total += u64::from(is_repeated);
        if !is_repeated {
            self.note_recent(delivery, cx.now.mono_ms);
        }
        is_repeated
    }

    /// A message is delivered in a cluster.
    pub(super) fn note_recent(&mut self, delivery: Delivery<'_>, at_ms: u64) {
        if self.spread.owners().is_some() {
            let Delivery { channel, payload, is_sharded, .. } = delivery;
            let [channel, message] = [channel, payload].map(|bytes| self.fingerprints.of(bytes));
            self.recent.note(Past { at_ms, channel, message, is_sharded, is_early: false });
        }
    }

    /// A message of that hash was read in a history in a cluster and given out before it arrives.
    pub(super) fn note_early(&mut self, name: &str, message: u64, at_ms: u64) {
        let channel = self.fingerprints.of(name.as_bytes());
        self.recent.note(Past { at_ms, channel, message, is_sharded: false, is_early: true });
    }

    /// Whether a stored message of that hash is news to those who heard its channel before an
    /// outage. It is not where it was delivered a moment ago: newer ones may have been since, which
    /// are yet to be stored.
    pub(super) fn is_news(&self, catch_up: &CatchUp, name: &str, hash: u64, now_ms: u64) -> bool {
        let channel = || self.fingerprints.of(name.as_bytes());
        catch_up.is_news(hash) && !self.recent.has(channel(), hash, now_ms)
    }

    /// What the application has said to us, unless another node has it to say, or has said it.
    pub(super) fn order(
        &mut self,
        node: usize,
        delivery: Delivery<'_>,
        cx: &mut Context,
    ) -> Option<Vec<u8>> {
        let is_taken = self.overlaps.takes(node, delivery, &self.fingerprints, &mut cx.metrics);
        let slots = &mut self.overlaps.slots;
        let waits = slots.takes(node, delivery, &self.fingerprints, &mut cx.metrics);
        (!is_taken && waits != Some(true)).then(|| delivery.payload.to_vec())
    }

    fn was_delivered(
        &mut self,
        node: usize,
        delivery: Delivery<'_>,
        has_word: bool,
        cx: &Context,
    ) -> bool {
        let Delivery { channel, payload, .. } = delivery;
        let now_ms = cx.now.mono_ms;
        let Ok(name) = std::str::from_utf8(channel) else { return false };
        if !has_word && self.spread.hears(name) != node {
            return true;
        }
        let Some(reheard) = self.reheard.get_mut(name) else { return false };
        let hash = self.fingerprints.of(payload);
        let at = reheard.hashes.iter().position(|other| *other == hash);
        match at.filter(|_| now_ms < reheard.until_ms) {
            Some(at) => {
                let from = if reheard.is_exact { at } else { 0 };
                reheard.hashes.drain(from..=at);
                true
            }
            None if reheard.is_exact && now_ms < reheard.until_ms => false,
            None => {
                self.reheard.remove(name);
                false
            }
        }
    }
}
