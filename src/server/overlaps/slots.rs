//! L2: while both forms of a channel are heard and its slot moves, what is published to all nodes
//! is heard where it was as well, until it is heard at the new shard.
//!
//! Its rules:
//! * a message of shards comes from one node alone, and is no repeat;
//! * until the new node has confirmed the channel what comes waits, as nobody is told anything of a
//!   channel that is not confirmed;
//! * of messages to all nodes the former node has the word, until a moment has passed since then.
//!   What comes from the new one meanwhile is kept until the former has said it, and so are
//!   messages of shards behind it: they come in the order in which the new one had them;
//! * it is as long as it takes, since nothing else is lost by it; only the bytes that are kept are
//!   bounded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{MOMENT_MS, MOST_AHEAD, MOST_KEPT, PATIENCE_MS};
use crate::broker::{Behind, Delivery, Status};
use crate::fanout::fingerprint::Fingerprints;
use crate::link::{LinkId, Metrics};
use crate::server::Server;

/// The channels whose slot has moved a moment ago.
#[derive(Debug, Default)]
pub(in crate::server) struct Slots {
    channels: BTreeMap<Arc<str>, Moving>,
    /// When each is looked at next.
    due: BTreeSet<(u64, Arc<str>)>,
    /// Those of which something is to be delivered.
    ready: BTreeSet<Arc<str>>,
    /// Bytes that are kept.
    kept: usize,
}

#[derive(Debug)]
struct Moving {
    from: usize,
    /// Nobody may know yet.
    to: Option<usize>,
    by_ms: u64,
    is_confirmed: bool,
    /// Hashes of what was delivered before, the last of it: the new node may have to repeat it.
    before: Vec<u64>,
    /// Hashes of what was delivered since and has not come from the new one.
    ahead: VecDeque<u64>,
    /// What has come from the new one alone; the first was published to all.
    kept: VecDeque<Kept>,
    /// What is to be delivered before anything else.
    ready: VecDeque<Kept>,
}

/// A message that is to be delivered later.
#[derive(Debug)]
pub(in crate::server) struct Kept {
    hash: u64,
    payload: Box<[u8]>,
    except: Option<LinkId>,
    is_sharded: bool,
}

impl Kept {
    /// The same as it came, on that channel.
    pub(in crate::server) fn of<'a>(&'a self, channel: &'a [u8]) -> Delivery<'a> {
        let Kept { payload, except, is_sharded, .. } = self;
        Delivery { channel, payload, except: *except, is_sharded: *is_sharded }
    }
}

/// Whose subscription is to end where.
type Silenced = Option<(usize, Arc<str>)>;

impl Moving {
    /// The channel is heard at the new node no more: the former has the rest to say.
    fn unconfirm(&mut self) {
        self.is_confirmed = false;
        self.before.extend(self.ahead.drain(..));
        self.kept.retain(|kept| kept.is_sharded);
        self.release();
    }

    /// What waited for the first of those that are kept waits no more.
    fn release(&mut self) {
        let plain = self.kept.iter().position(|next| !next.is_sharded);
        let sharded = plain.unwrap_or(self.kept.len());
        self.ready.extend(self.kept.drain(..sharded));
    }

    /// A message of the former node: whether it waits.
    fn said_by_former(&mut self, this: &Kept, metrics: &mut Metrics) -> bool {
        let waits = !self.is_confirmed || !self.ready.is_empty();
        if this.is_sharded {
            return waits;
        }
        let is_same = |other: &Kept| !other.is_sharded && other.hash == this.hash;
        match self.kept.iter().position(is_same) {
            Some(at) => {
                self.kept.remove(at);
                metrics.repeats_dropped_total += 1;
            }
            None => self.ahead.push_back(this.hash),
        }
        if self.ahead.len() > MOST_AHEAD {
            self.ahead.pop_front();
        }
        waits
    }

    /// A message of the new node: whether it was delivered before.
    fn was_delivered(&mut self, this: &Kept) -> bool {
        if this.is_sharded {
            return false;
        }
        if let Some(at) = self.ahead.iter().position(|other| *other == this.hash) {
            self.ahead.remove(at);
            return true;
        }
        let at = self.before.iter().position(|other| *other == this.hash);
        at.map(|at| self.before.remove(at)).is_some()
    }
}

impl Slots {
    /// A channel is heard at a node in one form only.
    pub(in crate::server) fn unheard(&mut self, name: &Arc<str>, node: usize, now_ms: u64) {
        if let Some(one) = self.channels.get_mut(name) {
            if one.to.unwrap_or(one.from) == node {
                one.unconfirm();
                self.recount();
            }
            return;
        }
        let (ahead, kept, ready) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        let (to, by_ms, is_confirmed, before) = (None, 0, false, Vec::new());
        let one = Moving { from: node, to, by_ms, is_confirmed, before, ahead, kept, ready };
        self.channels.insert(name.clone(), one);
        self.look_at(name, now_ms + PATIENCE_MS);
    }

    /// A channel is to be heard elsewhere. Returns where it is not to be heard any more.
    fn begin(&mut self, behind: Behind, before: Vec<u64>, now_ms: u64) -> Silenced {
        let Behind { name, from, to, is_up } = behind;
        if is_up {
            self.unheard(&name, from, now_ms);
        }
        let one = self.channels.get_mut(&name)?;
        one.before.extend(before);
        one.unconfirm();
        let left = one.to.replace(to).filter(|left| is_up && *left != one.from);
        self.recount();
        self.look_at(&name, now_ms + PATIENCE_MS);
        left.map(|left| (left, name))
    }

    /// Whether a channel is heard where it was as well.
    pub(in crate::server) fn has(&self, name: &str) -> bool {
        self.channels.contains_key(name)
    }

    fn look_at(&mut self, name: &Arc<str>, at_ms: u64) {
        let Some(one) = self.channels.get_mut(name) else { return };
        self.due.remove(&(one.by_ms, name.clone()));
        one.by_ms = at_ms;
        self.due.insert((at_ms, name.clone()));
    }

    fn recount(&mut self) {
        let kept = self.channels.values().flat_map(|one| one.kept.iter().chain(&one.ready));
        self.kept = kept.map(|kept| kept.payload.len()).sum();
    }

    /// When one is looked at.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    /// A node has confirmed a channel.
    pub(super) fn on_confirmed(&mut self, node: usize, name: &str, now_ms: u64) {
        let Some((name, one)) = self.channels.get_key_value(name) else { return };
        if one.to.unwrap_or(one.from) != node || one.is_confirmed {
            return;
        }
        let (name, is_back) = (name.clone(), one.from == node);
        self.look_at(&name, now_ms + if is_back { 0 } else { MOMENT_MS });
        self.channels.get_mut(&name).into_iter().for_each(|one| one.is_confirmed = true);
        self.ready.insert(name);
    }

    /// Whether a message is not to be delivered now; nothing where it is not of such a channel.
    pub(in crate::server) fn takes(
        &mut self,
        node: usize,
        delivery: Delivery<'_>,
        fingerprints: &Fingerprints,
        metrics: &mut Metrics,
    ) -> Option<bool> {
        let Delivery { channel, payload, except, is_sharded } = delivery;
        let name = std::str::from_utf8(channel).ok()?;
        let one = self.channels.get_mut(name)?;
        let (hash, bytes) = (fingerprints.of(payload), payload.len());
        let mut this = Kept { hash, payload: Box::default(), except, is_sharded };
        let kept = one.kept.len();
        let waits = match node {
            node if node == one.from => one.said_by_former(&this, metrics),
            node if Some(node) != one.to => return None,
            _ if one.was_delivered(&this) => {
                metrics.repeats_dropped_total += 1;
                return Some(true);
            }
            _ if is_sharded && one.kept.is_empty() => !one.ready.is_empty(),
            _ => {
                this.payload = payload.into();
                one.kept.push_back(this);
                self.has_kept(bytes);
                return Some(true);
            }
        };
        if one.kept.len() < kept {
            self.kept = self.kept.saturating_sub(bytes);
        }
        if waits {
            this.payload = payload.into();
            one.ready.push_back(this);
            self.kept += bytes;
        }
        let one = self.channels.get_mut(name)?;
        one.release();
        if !one.ready.is_empty() {
            self.ready.insert(name.into());
        }
        Some(waits)
    }

    fn has_kept(&mut self, bytes: usize) {
        self.kept += bytes;
        if self.kept > MOST_KEPT {
            let names: Vec<Arc<str>> = self.channels.keys().cloned().collect();
            names.iter().for_each(|name| self.look_at(name, 0));
        }
    }

    /// What has waited for a channel to be confirmed.
    pub(in crate::server) fn take_waiting(&mut self, channel: &[u8]) -> VecDeque<Kept> {
        let name = std::str::from_utf8(channel).ok();
        let one = name.and_then(|name| self.channels.get_mut(name));
        let one = one.filter(|one| one.is_confirmed && !one.ready.is_empty());
        let ready = one.map(|one| std::mem::take(&mut one.ready)).unwrap_or_default();
        self.kept -= ready.iter().map(|kept| kept.payload.len()).sum::<usize>();
        ready
    }

    /// What is to be delivered now, in order.
    fn take_ready(&mut self) -> Vec<(Arc<str>, Kept)> {
        let mut taken = Vec::new();
        for name in std::mem::take(&mut self.ready) {
            let one = self.channels.get_mut(&name).filter(|one| one.is_confirmed);
            let Some(one) = one else { continue };
            taken.extend(one.ready.drain(..).map(|kept| (name.clone(), kept)));
        }
        if !taken.is_empty() {
            self.recount();
        }
        taken
    }

    /// A node is lost: those that were heard there are heard at the new one alone.
    fn lost(&mut self, node: usize) {
        let mut over = Vec::new();
        for (name, one) in &mut self.channels {
            if one.to == Some(node) {
                one.unconfirm();
            }
            if one.from == node {
                over.push(name.clone());
            }
        }
        over.iter().for_each(|name| self.look_at(name, 0));
        self.recount();
    }

    /// The next that is to be looked at.
    fn next_due(&mut self, now_ms: u64) -> Option<Arc<str>> {
        self.due.first().filter(|(at_ms, _)| *at_ms <= now_ms)?;
        self.due.pop_first().map(|(_, name)| name)
    }
}

impl Server {
    /// The slots of these channels have moved: they are heard on where they were.
    pub(in crate::server) fn hear_behind(&mut self, behind: Vec<Behind>) {
        let now_ms = self.cx.now.mono_ms;
        if !behind.is_empty() {
            self.deliver_arrived();
        }
        let mut last = self.last_delivered(behind.iter().map(|behind| behind.name.clone()));
        for behind in behind {
            let before = last.remove(&behind.name).unwrap_or_default();
            let silenced = self.relay.overlaps.slots.begin(behind, before, now_ms);
            self.silence_plainly(silenced);
        }
        self.hand_ready();
    }

    /// Leaves the nodes where channels were that are heard at their new shard by now.
    pub(super) fn end_slots(&mut self) {
        let now_ms = self.cx.now.mono_ms;
        while let Some(name) = self.relay.overlaps.slots.next_due(now_ms) {
            self.end_slot(&name);
        }
    }

    fn end_slot(&mut self, name: &Arc<str>) {
        let now_ms = self.cx.now.mono_ms;
        let is_heard = self.relay.hears(name)
            || self.topics.hears(name.as_bytes())
            || self.control.as_ref() == Some(name);
        let slots = &mut self.relay.overlaps.slots;
        let Some(one) = slots.channels.get_mut(name) else { return };
        if !one.is_confirmed && is_heard && slots.kept <= MOST_KEPT {
            return slots.look_at(name, now_ms + PATIENCE_MS);
        }
        one.ready.append(&mut one.kept);
        one.is_confirmed = true;
        slots.ready.insert(name.clone());
        self.hand_ready();
        let Some(one) = self.relay.overlaps.slots.channels.remove(name) else { return };
        if one.to.is_none_or(|to| to == one.from) {
            return;
        }
        let is_up = self.broker.status_at(one.from) == Status::Up;
        self.relay.on_reheard_exactly(name, one.ahead.into(), now_ms);
        self.silence_plainly(is_up.then(|| (one.from, name.clone())));
    }

    /// The link of a node is lost.
    pub(super) fn lose_slots(&mut self, node: usize) {
        self.relay.overlaps.slots.lost(node);
        self.end_slots();
        self.hand_ready();
    }

    fn silence_plainly(&mut self, silenced: Silenced) {
        let now_ms = self.cx.now.mono_ms;
        if let (Some((node, name)), Some(nodes)) = (silenced, self.broker.cluster()) {
            nodes.silence_plainly(node, name, now_ms);
        }
    }

    /// Delivers what had to wait for another node.
    pub(in crate::server) fn hand_ready(&mut self) {
        if self.relay.overlaps.slots.ready.is_empty() {
            return;
        }
        for (name, kept) in self.relay.overlaps.slots.take_ready() {
            self.hand_over(&name, kept.of(name.as_bytes()));
        }
        self.deliver_arrived();
        let slow = self.topics.take_slow();
        slow.into_iter().for_each(|link| self.after(link));
    }
}
