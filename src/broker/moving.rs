//! L1: slots of a cluster that move: what is published in them keeps its order.
//!
//! It knows what waits in which slot, and has the nodes publish it. Its rules:
//! * a slot moves from when something that was published in it comes back as it belongs elsewhere,
//!   or when it has another node than before while something of the former is under way, until
//!   nothing of it waits. Nothing is kept of any other slot;
//! * while it moves, what comes back waits in the order in which it was first sent, and what is
//!   new waits behind that. It goes when the nodes that were sent any of it have answered all
//!   that they were sent until then, each of which answers in order, or are lost;
//! * what is published to all nodes goes by another node only a moment after the former has
//!   answered, for both reach a third by ways of their own. What is to be stored alone need not
//!   wait for that;
//! * what waits counts with what waits for its node, and is given up after as long. It goes to
//!   the node that has the slot then, where it waits for the link if it has to.

use std::collections::{BTreeMap, VecDeque};

use super::clustering::{RETRY_MS, TRIES_AT_ONCE};
use super::nodes::Nodes;
use super::redis::{Again, PATIENCE_MS, Publication};
use super::spread::slot_of;
use super::{PublishError, Receipt, Sharding, Status};
use crate::link::{LinkId, Target};

/// Who shall not have a message back, and who is told what becomes of it.
type Whose = (Option<LinkId>, Option<Receipt>);

/// How long a message to all nodes may be on its way between two of them.
const MOMENT_MS: u64 = 50;

/// The slots that move.
#[derive(Debug, Default)]
pub(super) struct MovingSlots {
    slots: BTreeMap<u16, MovingSlot>,
    /// Bytes of all that waits.
    bytes: usize,
    /// Conns that are to be told when all of it is published.
    settling: Vec<LinkId>,
}

#[derive(Debug, Default)]
struct MovingSlot {
    owed: Vec<Owed>,
    waiting: VecDeque<Waiting>,
    /// How many of those have come back; they are the first.
    back: usize,
    /// Before, nothing is tried: nobody could do it.
    at_ms: u64,
    /// Before, nothing is published to all nodes.
    plain_ms: u64,
}

/// A node that has not answered all that it was sent.
#[derive(Debug)]
struct Owed {
    node: usize,
    /// How many commands that is since its link is up.
    commands: u64,
    /// The slot was its own.
    had: bool,
}

/// Something that is to be published.
#[derive(Debug)]
struct Waiting {
    publication: Box<Publication<'static>>,
    /// Where the slot is about to be.
    asking: Option<Target>,
}

impl MovingSlots {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of all that waits.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the slot of the channel moves.
    fn has(&self, channel: &str) -> bool {
        self.slots.contains_key(&slot_of(channel))
    }

    /// Lets something that is new wait behind all else of its slot.
    fn push(&mut self, publication: Publication<'static>) {
        self.bytes += publication.cost();
        let slot = self.slots.entry(slot_of(&publication.channel)).or_default();
        slot.waiting.push_back(Waiting { publication: Box::new(publication), asking: None });
    }

    /// Lets something that waited for a link, or was not sent on it, wait before what is new.
    fn push_unsent(&mut self, unsent: Vec<Publication<'static>>) {
        for publication in unsent.into_iter().rev() {
            self.bytes += publication.cost();
            let slot = self.slots.entry(slot_of(&publication.channel)).or_default();
            let this = Waiting { publication: Box::new(publication), asking: None };
            slot.waiting.insert(slot.back, this);
        }
    }

    /// Asks to be told when all of it is published; false when it is.
    pub(super) fn settle(&mut self, conn: LinkId) -> bool {
        if self.bytes > 0 {
            self.settling.push(conn);
        }
        self.bytes > 0
    }

    /// Whether anything waits that is to be asked at such a place ahead of its slot.
    pub(super) fn asks_at(&self, is_there: impl Fn(&Target) -> bool) -> bool {
        let waiting = self.slots.values().flat_map(|moving| &moving.waiting);
        waiting.filter_map(|one| one.asking.as_ref()).any(is_there)
    }

    /// When something is due of any.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.slots.values().filter_map(MovingSlot::due_ms).min()
    }
}

impl MovingSlot {
    /// What has come back goes before all that was sent after it, to whatever node.
    fn push_back(&mut self, this: Waiting) {
        let is_later = |other: &Waiting| other.publication.at_ms > this.publication.at_ms;
        let mut at = self.back;
        while at > 0 && is_later(&self.waiting[at - 1]) {
            at -= 1;
        }
        self.waiting.insert(at, this);
        self.back += 1;
    }

    /// Whether what is only to be stored comes back from where the whole of it did, which stores
    /// it when that is published. Ahead of its slot, each of the two goes by itself. What has come
    /// back is in the order of its times, and the whole of this is among the last.
    fn stores(&self, this: &Publication) -> bool {
        let is_whole = |Waiting { publication: other, asking }: &Waiting| {
            !other.stored_only
                && asking.is_none()
                && other.at_ms == this.at_ms
                && (&other.channel, &other.payload) == (&this.channel, &this.payload)
        };
        let back = self.waiting.range(..self.back).rev();
        let mut late = back.take_while(|other| other.publication.at_ms >= this.at_ms);
        this.stored_only && late.any(is_whole)
    }

    fn pop(&mut self) -> Option<Waiting> {
        self.back = self.back.saturating_sub(1);
        self.waiting.pop_front()
    }

    /// That node is to answer so many commands before anything goes.
    fn owe(&mut self, owed: Owed) {
        match self.owed.iter_mut().find(|other| other.node == owed.node) {
            Some(other) => {
                other.commands = owed.commands;
                other.had |= owed.had;
            }
            None => self.owed.push(owed),
        }
    }

    /// When the first is given up that waits.
    fn expires_ms(&self) -> Option<u64> {
        self.waiting.front().map(|first| first.publication.at_ms + PATIENCE_MS)
    }

    fn due_ms(&self) -> Option<u64> {
        match self.waiting.front() {
            None => self.owed.is_empty().then_some(self.plain_ms),
            Some(_) if !self.owed.is_empty() => self.expires_ms(),
            Some(first) if first.publication.stored_only => Some(self.at_ms),
            Some(_) => Some(self.at_ms.max(self.plain_ms)),
        }
    }

    /// Whether nothing goes now, whatever moment it is.
    fn is_stuck(&self, now_ms: u64) -> bool {
        !self.owed.is_empty() || self.at_ms > now_ms
    }
}

impl Nodes {
    /// Publishes a message at a node, or behind what waits where its slot moves.
    #[inline(never)]
    pub(super) fn publish_moving(
        &mut self,
        node: usize,
        channel: &str,
        payload: &[u8],
        (whose, now_ms): (Whose, u64),
    ) -> Result<(), PublishError> {
        let held = self.moving.bytes;
        let publication = self.all[node].publication(channel, payload, whose, (held, now_ms))?;
        match self.moving.has(channel) {
            true => self.moving.push(publication.into_owned()),
            false => self.all[node].publish_now(publication, now_ms),
        }
        Ok(())
    }

    /// Something that was published comes back from a node, as it was not done: it belongs
    /// elsewhere, where it may be asked for ahead of its slot, or nobody knows yet.
    pub(super) fn come_back(
        &mut self,
        by: usize,
        publication: Box<Publication<'static>>,
        (is_known, asking): (bool, Option<Target>),
        now_ms: u64,
    ) {
        let slot = slot_of(&publication.channel);
        let owner = self.spread.writes(&publication.channel);
        let is_new = !self.moving.slots.contains_key(&slot);
        self.owe(slot, by, false);
        self.owe(slot, owner, false);
        let is_stored = |moving: &MovingSlot| asking.is_none() && moving.stores(&publication);
        if self.moving.slots.get(&slot).is_some_and(is_stored) {
            return;
        }
        if is_new {
            for node in [by, owner] {
                let unsent = self.all[node].take_later(|channel| slot_of(channel) == slot);
                self.moving.push_unsent(unsent);
            }
        }
        self.moving.bytes += publication.cost();
        let moving = self.moving.slots.entry(slot).or_default();
        moving.push_back(Waiting { publication, asking });
        let is_tired = moving.waiting[0].publication.tries > TRIES_AT_ONCE;
        moving.at_ms = if is_known && !is_tired { 0 } else { now_ms + RETRY_MS };
    }

    /// What was sent to that node of a slot is to be answered before anything else of it goes.
    fn owe(&mut self, slot: u16, node: usize, had: bool) {
        let owed = Owed { node, commands: self.all[node].commands(), had };
        self.moving.slots.entry(slot).or_default().owe(owed);
    }

    /// Slots have these nodes from now on. What is under way at a former one is waited for, and
    /// what waits for its link goes elsewhere.
    pub(super) fn move_slots(&mut self, owners: &[u8], now_ms: u64) {
        let Some(before) = self.spread.owners() else { return };
        let pairs = (0..).zip(before.iter().zip(owners)).filter(|(_, (from, to))| from != to);
        let moved: Vec<(u16, usize)> =
            pairs.map(|(slot, (from, _))| (slot, usize::from(*from))).collect();
        if moved.is_empty() {
            return;
        }
        let published = |redis: &super::Redis| redis.publishes_since(now_ms, MOMENT_MS);
        let published: Vec<bool> = self.all.iter().map(published).collect();
        for (slot, from) in moved {
            if let Some(moving) = self.moving.slots.get_mut(&slot) {
                moving.at_ms = 0;
                // Where it was about to be is where it is, or it went on.
                moving.waiting.iter_mut().for_each(|one| one.asking = None);
            }
            if published[from] {
                self.owe(slot, from, true);
            }
        }
        for node in 0..self.all.len() {
            let is_elsewhere =
                |channel: &str| usize::from(owners[usize::from(slot_of(channel))]) != node;
            let unsent = self.all[node].take_later(is_elsewhere);
            self.moving.push_unsent(unsent);
        }
    }

    /// The link of a node is lost. What was not sent on it goes with what waits.
    pub(super) fn take_unsent(&mut self, node: usize) {
        if self.moving.is_empty() {
            return;
        }
        // Nothing more is answered of what that link was sent.
        let owed = self.moving.slots.values_mut().flat_map(|moving| &mut moving.owed);
        owed.filter(|owed| owed.node == node).for_each(|owed| owed.commands = 0);
        let moving = &self.moving;
        let unsent = self.all[node].take_later(|channel| moving.has(channel));
        self.moving.push_unsent(unsent);
    }

    /// Publishes what can be published of what waits, and gives up what has waited too long. Conns
    /// that are to be told that all they had published is answered.
    pub(crate) fn bring_on(&mut self, now_ms: u64) -> Vec<LinkId> {
        if self.moving.is_empty() {
            return Vec::new();
        }
        let mut slots = std::mem::take(&mut self.moving.slots);
        slots.retain(|slot, moving| !self.bring_slot_on(*slot, moving, now_ms));
        self.moving.slots = slots;
        self.pass_echoes(now_ms);
        match self.moving.bytes {
            0 => self.settle_moved(),
            _ => Vec::new(),
        }
    }

    /// The same of one slot; whether it moves no more.
    fn bring_slot_on(&mut self, slot: u16, moving: &mut MovingSlot, now_ms: u64) -> bool {
        let Some(cluster) = &self.cluster else { return true };
        let is_plain = cluster.form() == Sharding::Off;
        let owner = usize::from(cluster.owners()[usize::from(slot)]);
        let (all, plain_ms) = (&self.all, &mut moving.plain_ms);
        moving.owed.retain(|owed| {
            let is_owed = !all[owed.node].has_answered(owed.commands);
            if !is_owed && owed.had && is_plain {
                *plain_ms = now_ms + MOMENT_MS;
            }
            is_owed
        });
        if !moving.is_stuck(now_ms) {
            self.publish_waiting(owner, moving, now_ms);
        }
        while moving.is_stuck(now_ms)
            && moving.expires_ms().is_some_and(|at_ms| at_ms <= now_ms)
            && let Some(Waiting { publication, .. }) = moving.pop()
        {
            self.moving.bytes -= publication.cost();
            self.all[owner].give_up(Again::Publish(publication));
        }
        moving.waiting.is_empty() && moving.owed.is_empty() && moving.plain_ms <= now_ms
    }

    /// Publishes what waits, as far as it goes to one node. What goes to another one, and what
    /// comes behind what is ahead of its slot, waits until that has answered.
    fn publish_waiting(&mut self, owner: usize, moving: &mut MovingSlot, now_ms: u64) {
        let Some(cluster) = &mut self.cluster else { return };
        let mut sent_to = None;
        while let Some(first) = moving.waiting.front()
            && (first.publication.stored_only || moving.plain_ms <= now_ms)
        {
            let ahead = first.asking.as_ref().and_then(|target| cluster.find(target, now_ms));
            let node = ahead.unwrap_or(owner);
            if sent_to.is_some_and(|other| other != node) {
                break;
            }
            if self.all[node].status() != Status::Up {
                // One that has no slots is dialed only when it is to be asked.
                let (master, at) = cluster.leader(node);
                self.all[node].lead(master, at, now_ms);
                if ahead.is_some() {
                    moving.at_ms = now_ms + RETRY_MS;
                    break;
                }
            }
            let Some(Waiting { publication, .. }) = moving.pop() else { break };
            self.moving.bytes -= publication.cost();
            self.all[node].take_on(*publication, ahead.is_some(), now_ms);
            sent_to = Some(node);
        }
        if let Some(node) = sent_to.filter(|node| *node != owner || !moving.waiting.is_empty()) {
            moving.owe(Owed { node, commands: self.all[node].commands(), had: false });
        }
    }

    /// Nothing waits any more: conns for whom nothing is under way at any node either.
    fn settle_moved(&mut self) -> Vec<LinkId> {
        let mut settled = Vec::new();
        for conn in std::mem::take(&mut self.moving.settling) {
            if self.settle_later(conn) {
                settled.push(conn);
            }
        }
        settled
    }
}
