//! L2: what is heard at a node of a cluster that is to be left is heard at another first, so that
//! nothing is missed between the two.
//!
//! Its rules:
//! * the node that is left has the word: what comes from the other meanwhile is kept, unless it was
//!   delivered already;
//! * when all is confirmed at the other, and a moment has passed in which the node that is left
//!   may catch up, what is kept and has not come from that is delivered, and it is left;
//! * nobody waits for long: a node that has no more to say is left all the same. Then it may have
//!   hung before, and what was published meanwhile may be missing, as after any outage.

mod slots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Server;
use crate::broker::Delivery;
use crate::fanout::fingerprint::Fingerprints;
use crate::link::Metrics;
use slots::Slots;

/// How long both are heard when all is confirmed.
const MOMENT_MS: u64 = 50;
/// How long it may take until all is.
const PATIENCE_MS: u64 = 500;
/// Bytes that are kept before the node is left at once.
const MOST_KEPT: usize = 4 << 20;
/// Messages of a channel that the other has yet to repeat; older ones are not waited for.
const MOST_AHEAD: usize = 1_000;

/// The channels that are heard twice.
#[derive(Debug, Default)]
pub(super) struct Overlaps {
    channels: BTreeMap<Arc<str>, Overlap>,
    left: Vec<Left>,
    /// Those of a node that is left just now which are heard at another already.
    passed_on: BTreeMap<Arc<str>, usize>,
    /// Bytes that are kept.
    kept: usize,
    /// Those whose slot has moved, while both forms are heard.
    pub(super) slots: Slots,
}

/// A node that is about to be left.
#[derive(Debug)]
struct Left {
    node: usize,
    /// Since when its channels are to be heard elsewhere, too.
    since_ms: u64,
    /// When it is, at the latest.
    by_ms: u64,
    /// Channels that are not confirmed elsewhere.
    missing: usize,
}

#[derive(Debug)]
struct Overlap {
    from: usize,
    to: usize,
    is_confirmed: bool,
    /// Hashes of what was delivered before, the last of it: the other may have to repeat it.
    before: Vec<u64>,
    /// Hashes of what was delivered since and has not come from the other.
    ahead: VecDeque<u64>,
    /// What has come from the other alone.
    kept: VecDeque<(u64, Box<[u8]>)>,
}

/// What is left of one channel.
#[derive(Debug)]
pub(super) struct Rest {
    name: Arc<str>,
    to: usize,
    is_confirmed: bool,
    ahead: Vec<u64>,
    kept: Vec<Box<[u8]>>,
}

impl Overlaps {
    /// Channels that are heard at a node that is to be left are to be heard there, too.
    fn begin(
        &mut self,
        from: usize,
        heard: &[(usize, Vec<Arc<str>>)],
        mut before: BTreeMap<Arc<str>, Vec<u64>>,
        now_ms: u64,
    ) {
        let mut missing = 0;
        for (to, names) in heard {
            for name in names {
                let (ahead, kept) = (VecDeque::new(), VecDeque::new());
                let (to, before) = (*to, before.remove(name).unwrap_or_default());
                let overlap = Overlap { from, to, is_confirmed: false, before, ahead, kept };
                missing += usize::from(self.channels.insert(name.clone(), overlap).is_none());
            }
        }
        let by_ms = now_ms + PATIENCE_MS;
        self.left.push(Left { node: from, since_ms: now_ms, by_ms, missing });
    }

    /// A channel is heard at a node that is about to be left, and nobody heard it before: whether
    /// it is to be heard at that other, too.
    fn add(&mut self, from: usize, to: usize, name: &Arc<str>) -> bool {
        let left = self.left.iter_mut().find(|left| left.node == from && left.by_ms > 0);
        let Some(left) = left.filter(|_| !self.channels.contains_key(name)) else { return false };
        left.missing += 1;
        left.by_ms = left.since_ms + PATIENCE_MS;
        let (before, ahead, kept) = (Vec::new(), VecDeque::new(), VecDeque::new());
        let overlap = Overlap { from, to, is_confirmed: false, before, ahead, kept };
        self.channels.insert(name.clone(), overlap);
        true
    }

    /// Whether any node is about to be left.
    pub(super) fn leaves_any(&self) -> bool {
        !self.left.is_empty()
    }

    /// Whether a node is about to be left.
    fn leaves(&self, node: usize) -> bool {
        self.left.iter().any(|left| left.node == node)
    }

    /// When one is.
    pub(super) fn leave_ms(&self) -> Option<u64> {
        let left = self.left.iter().map(|left| left.by_ms);
        left.chain(self.slots.due_ms()).min()
    }

    /// Since when the channels of a node have been heard elsewhere, too, if that was for as long
    /// as it should be.
    fn since_ms(&self, node: usize, now_ms: u64) -> Option<u64> {
        let is_done = |left: &&Left| left.missing == 0 && (1..=now_ms).contains(&left.by_ms);
        let mut left = self.left.iter().filter(|left| left.node == node);
        left.next().filter(is_done).map(|left| left.since_ms)
    }

    fn next_left(&self, now_ms: u64) -> Option<usize> {
        let mut left = self.left.iter();
        left.find(|left| left.by_ms <= now_ms).map(|left| left.node)
    }

    /// A node has confirmed a channel.
    pub(super) fn on_confirmed(&mut self, node: usize, channel: &[u8], now_ms: u64) {
        let Ok(name) = std::str::from_utf8(channel) else { return };
        self.slots.on_confirmed(node, name, now_ms);
        let Some(overlap) = self.channels.get_mut(name) else { return };
        if overlap.to != node || std::mem::replace(&mut overlap.is_confirmed, true) {
            return;
        }
        let left = self.left.iter_mut().find(|left| left.node == overlap.from);
        if let Some(left) = left {
            left.missing -= 1;
            if left.missing == 0 {
                left.by_ms = left.by_ms.min(now_ms + MOMENT_MS);
            }
        }
    }

    /// Whether a message is not to be delivered now, as the other node has the word or has
    /// delivered it.
    pub(super) fn takes(
        &mut self,
        node: usize,
        Delivery { channel, payload, .. }: Delivery<'_>,
        fingerprints: &Fingerprints,
        metrics: &mut Metrics,
    ) -> bool {
        let name = std::str::from_utf8(channel).ok();
        let Some(overlap) = name.and_then(|name| self.channels.get_mut(name)) else { return false };
        let hash = fingerprints.of(payload);
        if node == overlap.from {
            match overlap.kept.iter().position(|(other, _)| *other == hash) {
                Some(at) => {
                    let kept = overlap.kept.remove(at);
                    metrics.repeats_dropped_total += 1;
                    self.kept -= kept.map_or(0, |(_, payload)| payload.len());
                }
                None => overlap.ahead.push_back(hash),
            }
            if overlap.ahead.len() > MOST_AHEAD {
                overlap.ahead.pop_front();
            }
            return false;
        }
        if node != overlap.to {
            return false;
        }
        match overlap.ahead.iter().position(|other| *other == hash) {
            Some(at) => {
                overlap.ahead.remove(at);
                metrics.repeats_dropped_total += 1;
            }
            None => match overlap.before.iter().position(|other| *other == hash) {
                Some(at) => {
                    overlap.before.remove(at);
                    metrics.repeats_dropped_total += 1;
                }
                None => {
                    overlap.kept.push_back((hash, payload.into()));
                    self.kept += payload.len();
                }
            },
        }
        if self.kept > MOST_KEPT {
            self.left.iter_mut().for_each(|left| left.by_ms = 0);
        }
        true
    }

    /// Whether a channel is heard at a node by now, and nothing of it is missed.
    pub(super) fn is_passed_on(&self, name: &str, to: usize) -> bool {
        self.passed_on.get(name) == Some(&to)
    }

    /// A node is left, or lost: the channels that were heard there and at another. Those that were
    /// to be heard there are not.
    fn end(&mut self, node: usize) -> Vec<Rest> {
        self.left.retain(|left| left.node != node);
        let is_over = |one: &Overlap| one.from == node || one.to == node;
        let over = self.channels.iter().filter(|(_, one)| is_over(one));
        let over: Vec<Arc<str>> = over.map(|(name, _)| name.clone()).collect();
        let mut rests = Vec::new();
        for name in over {
            let Some(one) = self.channels.remove(&name) else { continue };
            let Overlap { from, to, ahead, kept, is_confirmed, .. } = one;
            let left = self.left.iter_mut().find(|left| left.node == from);
            left.into_iter().for_each(|left| left.missing -= usize::from(!is_confirmed));
            self.kept -= kept.iter().map(|(_, payload)| payload.len()).sum::<usize>();
            if from == node {
                let kept = kept.into_iter().map(|(_, payload)| payload).collect();
                rests.push(Rest { name, to, is_confirmed, ahead: ahead.into(), kept });
            }
        }
        rests
    }
}

impl Server {
    /// Whether a node that is to be left is so later, when what is heard there is heard elsewhere.
    pub(super) fn overlaps(&mut self, node: usize) -> bool {
        if self.relay.overlaps.leaves(node) {
            return true;
        }
        let now_ms = self.cx.now.mono_ms;
        let names: BTreeSet<Arc<str>> = self.heard_names().into_iter().collect();
        let names = names.into_iter().filter(|name| self.is_confirmed(name)).collect();
        let Some(nodes) = self.broker.cluster() else { return false };
        let heard = nodes.refuges(node, names);
        if heard.is_empty() {
            return false;
        }
        self.deliver_arrived();
        let names = heard.iter().flat_map(|(_, names)| names);
        let before = self.last_delivered(names.cloned());
        self.relay.overlaps.begin(node, &heard, before, now_ms);
        for (to, names) in heard {
            self.broker.subscribe_at(to, names, now_ms);
        }
        if let Some(redis) = self.broker.redis(node) {
            redis.ask_about_cluster(now_ms);
        }
        true
    }

    /// Somebody hears a channel that nobody heard before: where its node is about to be left, it is
    /// heard at another as well, as all that was heard already.
    pub(super) fn overlap_new(&mut self, name: Arc<str>) {
        let node = self.broker.spread().hears(&name);
        let now_ms = self.cx.now.mono_ms;
        if !self.relay.overlaps.leaves(node) {
            return;
        }
        let Some(nodes) = self.broker.cluster() else { return };
        let heard = nodes.refuges(node, vec![name]);
        for (to, names) in heard {
            if names.iter().all(|name| self.relay.overlaps.add(node, to, name)) {
                self.broker.subscribe_at(to, names, now_ms);
            }
        }
    }

    /// Leaves nodes whose channels are heard elsewhere by now.
    pub(super) fn end_overlaps(&mut self) {
        while let Some(node) = self.relay.overlaps.next_left(self.cx.now.mono_ms) {
            self.leave_moved(node);
        }
        self.end_slots();
    }

    /// The link of a node is lost or left: what has come from others in its place alone is
    /// delivered.
    pub(super) fn flush_overlaps(&mut self, node: usize) -> Vec<Rest> {
        self.lose_slots(node);
        let since_ms = self.relay.overlaps.since_ms(node, self.cx.now.mono_ms);
        let mut rests = self.relay.overlaps.end(node);
        // One that hangs may have missed what came before the other was asked.
        let has_lived = match (since_ms, self.broker.peek_redis(node)) {
            (Some(since_ms), Some(redis)) => redis.has_answered_since(since_ms),
            _ => false,
        };
        for rest in &mut rests {
            rest.is_confirmed &= has_lived;
        }
        for Rest { name, kept, .. } in &mut rests {
            for payload in kept.drain(..) {
                let (channel, payload) = (name.as_bytes(), &payload);
                let delivery = Delivery { channel, payload, except: None, is_sharded: false };
                self.hand_over(name, delivery);
            }
        }
        let confirmed = rests.iter().filter(|rest| rest.is_confirmed);
        let passed_on = confirmed.map(|rest| (rest.name.clone(), rest.to)).collect();
        self.relay.overlaps.passed_on = passed_on;
        self.deliver_arrived();
        let slow = self.topics.take_slow();
        slow.into_iter().for_each(|link| self.after(link));
        rests
    }

    /// Delivers a message that was kept.
    fn hand_over(&mut self, name: &Arc<str>, delivery: Delivery<'_>) {
        if self.control.as_ref() == Some(name) {
            return self.on_control(delivery.payload);
        }
        let (table, cx) = (&mut self.table, &mut self.cx);
        self.relay.note_recent(delivery, cx.now.mono_ms);
        if !self.topics.is_empty() {
            self.topics.deliver(delivery, table, cx);
        }
        self.relay.deliver(delivery, table, cx);
    }

    /// Those channels are heard at another node alone: what that has yet to repeat is known. Where
    /// it is not heard by now, it is not to be.
    pub(super) fn after_overlaps(&mut self, rests: Vec<Rest>) {
        let now_ms = self.cx.now.mono_ms;
        let spread = self.broker.spread();
        self.relay.overlaps.passed_on.clear();
        for Rest { name, to, is_confirmed, ahead, .. } in rests {
            let is_heard = self.relay.hears(&name)
                || self.topics.hears(name.as_bytes())
                || self.control.as_ref() == Some(&name);
            if is_heard && spread.hears(&name) == to {
                if is_confirmed && self.control.as_ref() == Some(&name) {
                    self.nodes.heard_control(to, &mut self.cx.metrics);
                }
                self.relay.on_reheard_exactly(&name, ahead, now_ms);
            } else if let Some(nodes) = self.broker.cluster() {
                nodes.silence(to, vec![name], now_ms);
            }
        }
    }
}
