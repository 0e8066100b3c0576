//! L1: the nodes of a broker that is a cluster: how what they say of it changes what they are, and
//! what becomes of what they say belongs elsewhere.
//!
//! Its rules:
//! * PUBLISH reaches all nodes wherever it is made, so that a channel is heard where it is as long
//!   as that node is up, whoever has its slot, and then at any other that is, unless it has a
//!   history, which is at the owner alone; what is stored of it
//!   is asked for where the slot is. SPUBLISH reaches the shard of the slot, so that the channel is
//!   heard there and nowhere else;
//! * what belongs elsewhere is done there at once, or, where that node is not up or is not known,
//!   as soon as it is. A question is given up after a number of tries, and what is published after
//!   some seconds; it keeps its order meanwhile, which is what `moving` is about.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cluster::Cluster;
use super::nodes::Nodes;
use super::paired::MASTER;
use super::redis::{Again, Elsewhere, Lost, MOST_TRIES, Redirected, Redis};
use super::spread::{Slots, Spread, slot_of};
use super::{Ask, Sharding, Status};
use crate::link::Target;

/// Until something is tried again that nobody could do.
pub(super) const RETRY_MS: u64 = 250;
/// Tries that are made at once.
pub(super) const TRIES_AT_ONCE: u8 = 4;
/// What waits to be tried again at most; past it, the oldest is given up.
const MOST_PARKED: usize = 100_000;

/// What has followed from what was said of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Turned {
    /// The slots have others than before, or there are more nodes.
    pub(crate) is_spread: bool,
    /// What was said is followed: nodes may be of no use any more.
    pub(crate) is_followed: bool,
    /// Nodes whose links are to be left: the master is elsewhere.
    pub(crate) left: Vec<usize>,
    /// Asks that are given up.
    pub(crate) given_up: Vec<Ask>,
    /// Channels that are to be heard, unless they are by now.
    pub(crate) hear: Vec<Arc<str>>,
}

/// Channels, and the node where they are to be heard.
pub(crate) type AtNode = (usize, Vec<Arc<str>>);

/// A channel whose slot has moved and that is heard in both forms: what is published to all nodes
/// may be heard where it was as well.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) name: Arc<str>,
    /// Where it was heard, and whether that can be asked.
    pub(crate) from: usize,
    pub(crate) is_up: bool,
    /// Where it is heard from now on.
    pub(crate) to: usize,
}

impl Nodes {
    /// The cluster that they are.
    pub(super) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_deref()
    }

    /// Whether a node matters: it has slots, or may have.
    pub(super) fn counts(&self, node: usize) -> bool {
        match (self.cluster(), self.spread().heard_at()) {
            (Some(cluster), _) => cluster.has_slots(node),
            (None, Some(heard_at)) => node == MASTER || node == heard_at,
            (None, None) => true,
        }
    }

    /// Where a node is, for people.
    pub(crate) fn place_of(&self, node: usize) -> String {
        let at = self.cluster().and_then(|cluster| cluster.at(node));
        at.map_or_else(|| self.all[node].address().to_string(), |at| at.to_string())
    }

    /// Whether any node can be asked.
    fn any_up(&self) -> bool {
        self.all().any(|redis| redis.status() == Status::Up)
    }

    /// Whether no node can be asked, and none is to be dialed.
    pub(crate) fn are_nowhere(&self) -> bool {
        !self.any_up() && self.all().all(|redis| redis.target().is_none())
    }

    /// The link of a node is lost, or could not be made. While nobody answers, others are asked
    /// where everybody is; in the place of a node that has no slots, where one is that has.
    pub(crate) fn look_elsewhere(&mut self, node: usize) {
        if self.any_up() {
            return;
        }
        let Some(cluster) = &mut self.cluster else { return };
        let all = self.all.iter().enumerate();
        let mut lost = all.filter(|(at, redis)| cluster.is_needed(*at) && redis.target().is_none());
        let node = match cluster.is_needed(node) {
            true => Some(node),
            false => lost.next().map(|(at, _)| at),
        };
        if let Some(node) = node
            && let Some(target) = cluster.next_try(node)
        {
            self.all[node].try_at(Some(target));
        }
    }

    /// Asks about the cluster when that is due.
    pub(crate) fn tick_cluster(&mut self, now_ms: u64) {
        let Some(cluster) = self.cluster.as_mut().filter(|one| one.ask_ms() <= now_ms) else {
            return;
        };
        let statuses: Vec<Status> = self.all.iter().map(|redis| redis.status()).collect();
        if let Some(node) = cluster.next_asked(&statuses, now_ms) {
            self.all[node].ask_about_cluster(now_ms);
        }
    }

    /// When something is due about the cluster.
    pub(super) fn cluster_ms(&self) -> Option<u64> {
        let cluster = self.cluster()?;
        let parked = self.parked.front().map(|(at_ms, _)| *at_ms);
        let due = [parked, self.moving.due_ms(), Some(cluster.ask_ms())];
        due.into_iter().flatten().min()
    }

    /// Whether a node has said something of the cluster, or that something belongs elsewhere; or of
    /// its replica or master.
    pub(super) fn has_news(&self, node: usize) -> bool {
        let redis = &self.all[node];
        match (&self.cluster, &self.replica) {
            (Some(_), _) => redis.has_cluster_news(),
            (None, Some(_)) => redis.has_replication(),
            (None, None) => false,
        }
    }

    /// Whether a node is up and has answered all that it was asked, and so have the others of its
    /// cluster.
    pub(super) fn owes_nothing(&self, node: usize) -> bool {
        let is_done = |redis: &Redis| redis.is_settled() && !redis.has_kept();
        let has_news = |other| self.has_news(other);
        let is_with_none = || {
            let is_any = (0..self.all.len()).any(has_news);
            self.parked.is_empty() && !is_any && self.all().all(is_done)
        };
        let redis = self.get(node);
        let is_whole = self.cluster.is_none() || is_with_none();
        redis.status() == Status::Up && is_done(redis) && is_whole
    }

    /// Acts on what a node has said of the cluster, and on what belongs elsewhere.
    pub(crate) fn take_news(&mut self, node: usize, now_ms: u64) -> Turned {
        let mut turned = Turned::default();
        let alone = (0..self.all.len())
            .all(|other| other == node || self.all[other].status() != Status::Up);
        if let Some(said) = self.all[node].take_said()
            && let Some(cluster) = &mut self.cluster
            && cluster.take(said, alone, now_ms)
        {
            self.follow(&mut turned, now_ms);
        }
        while let Some(redirected) = self.all[node].next_redirected() {
            self.redirect(node, redirected, &mut turned, now_ms);
        }
        turned
    }

    /// Tries again what could not be done.
    pub(crate) fn retry(&mut self, now_ms: u64) -> Turned {
        let mut turned = Turned::default();
        while self.parked.front().is_some_and(|(at_ms, _)| *at_ms <= now_ms)
            && let Some((_, redirected)) = self.parked.pop_front()
        {
            if let Again::Hear(name, _) = redirected.what {
                self.parked_names.remove(&name);
                turned.hear.push(name);
                continue;
            }
            let node = self.spread().reads(redirected.what.name());
            let Redirected { what, tries, .. } = redirected;
            self.bring(node, Redirected { what, to: Elsewhere::Later, tries }, &mut turned, now_ms);
        }
        turned
    }

    /// Has done elsewhere, or later, what a node has not that was lost.
    pub(crate) fn take_lost(&mut self, node: usize, lost: &mut Lost, now_ms: u64) -> Turned {
        let mut turned = Turned::default();
        for what in lost.elsewhere.drain(..) {
            let tries = what.tries().saturating_add(1);
            match what {
                Again::Publish(publication) => {
                    self.come_back(node, publication, (false, None), now_ms);
                }
                what => {
                    let parked = Redirected { what, to: Elsewhere::Later, tries };
                    self.park(parked, &mut turned, now_ms);
                }
            }
        }
        self.take_unsent(node);
        turned
    }

    /// Has each node be what the cluster says.
    fn follow(&mut self, turned: &mut Turned, now_ms: u64) {
        let Some(cluster) = &self.cluster else { return };
        while self.all.len() < cluster.nodes() {
            self.all.push(self.seed.redis(self.all.len()));
        }
        self.unwant_stale(now_ms);
        let Some(cluster) = &self.cluster else { return };
        for (node, redis) in self.all.iter_mut().enumerate() {
            let (master, at) = cluster.leader(node);
            if cluster.is_needed(node) && redis.lead(master, at, now_ms) {
                turned.left.push(node);
            }
        }
        // Channels that nobody hears any more may have been heard elsewhere.
        let is_idle = |node: usize| !cluster.is_needed(node) && self.spread.is_heard_at(node);
        turned.is_spread = self.spread.nodes() != cluster.nodes()
            || self.spread.owners() != Some(cluster.owners())
            || (0..self.all.len()).any(is_idle);
        turned.is_followed = true;
    }

    /// What was once sent to nodes that have no slots, and is done, is no reason to keep them.
    fn unwant_stale(&mut self, now_ms: u64) {
        let Some(cluster) = &mut self.cluster else { return };
        for (node, redis) in self.all.iter().enumerate() {
            if !cluster.is_stale(node, now_ms) {
                continue;
            }
            let is_there = |target: &Target| cluster.at(node) == Some(target);
            let is_parked = self.parked.iter().any(|(_, parked)| match &parked.to {
                Elsewhere::Moved(_, target) | Elsewhere::Asking(target) => is_there(target),
                Elsewhere::Later => false,
            });
            let waits = is_parked || self.moving.asks_at(is_there);
            if redis.is_unused() && !waits {
                cluster.unwant(node);
            }
        }
    }

    /// Nodes that have no slots and where nothing is heard: their links are to be left.
    pub(crate) fn leave_idle(&mut self, now_ms: u64) -> Vec<usize> {
        let Some(cluster) = &mut self.cluster else { return Vec::new() };
        let mut left = Vec::new();
        for (node, redis) in self.all.iter_mut().enumerate() {
            let is_idle = !cluster.is_needed(node) && !self.spread.is_heard_at(node);
            // What is under way there comes back, and would be lost with the link.
            if is_idle && redis.is_unused() {
                cluster.vacate(node);
                left.extend(redis.lead("", None, now_ms).then_some(node));
            }
        }
        left
    }

    /// Spreads channels as the cluster has its slots now, of which these are heard: those that are
    /// to be heard elsewhere from now on, by their nodes, all of which are up; and those of which
    /// one form is still heard where it was.
    pub(crate) fn respread<'n>(
        &mut self,
        heard: impl Iterator<Item = &'n Arc<str>>,
        now_ms: u64,
    ) -> (Vec<AtNode>, Vec<Behind>) {
        let Some(cluster) = &self.cluster else { return Default::default() };
        let is_both = cluster.form() == Sharding::Both;
        let is_sharded = cluster.form().is_sharded();
        let owners: Box<[u8]> = cluster.owners().into();
        self.move_slots(&owners, now_ms);
        let mut slots = Slots { owners, moved: BTreeMap::new() };
        let mut elsewhere: Vec<Vec<Arc<str>>> = vec![Vec::new(); self.all.len()];
        let is_up = |node: &usize| self.all[*node].status() == Status::Up;
        let up: Vec<usize> = (0..self.all.len()).filter(is_up).collect();
        let (mut left, mut behind) = (Vec::new(), Vec::new());
        for name in heard {
            let (before, owner) = (self.spread.hears(name), slots.owner_of(name));
            let node = match () {
                () if is_sharded => owner,
                () if is_up(&before) => before,
                () => self.refuge(name, owner, &up),
            };
            if node != owner {
                slots.moved.insert(name.clone(), node);
            }
            if node != before && is_up(&node) {
                elsewhere[node].push(name.clone());
            }
            if node != before && is_both {
                let (name, is_up) = (name.clone(), is_up(&before));
                behind.push(Behind { name, from: before, is_up, to: node });
            } else if node != before && is_up(&before) {
                left.push((before, name.clone()));
            }
        }
        for (node, name) in left {
            self.all[node].unsubscribe(name, false, now_ms);
        }
        for Behind { name, from, .. } in behind.iter().filter(|one| one.is_up) {
            self.all[*from].unsubscribe_shard(name.clone(), now_ms);
        }
        self.spread = Spread::by_slots(self.all.len(), slots);
        let named = elsewhere.into_iter().enumerate();
        (named.filter(|(_, names)| !names.is_empty()).collect(), behind)
    }

    /// What is published on a channel to all nodes is not to be heard at that one any more.
    pub(crate) fn silence_plainly(&mut self, node: usize, name: Arc<str>, now_ms: u64) {
        self.all[node].unsubscribe_plainly(name, now_ms);
    }

    /// Where a channel is heard whose node is not up, of the nodes that are.
    fn refuge(&self, name: &str, owner: usize, up: &[usize]) -> usize {
        match () {
            () if up.contains(&owner) || up.is_empty() => owner,
            // Who records it needs the owner, too: nothing is recorded until that is there, and
            // then all of it is read in order.
            () if self.seed.histories.of(name).is_some() => owner,
            () => up[usize::from(slot_of(name)) % up.len()],
        }
    }

    /// The other nodes that have the messages of channels as well which are heard at one that is
    /// up, and where they are heard when that is left.
    pub(crate) fn refuges(&self, left: usize, names: Vec<Arc<str>>) -> Vec<(usize, Vec<Arc<str>>)> {
        let Some(cluster) = self.cluster() else { return Vec::new() };
        let is_up = |node: &usize| self.all[*node].status() == Status::Up;
        if cluster.form().is_sharded() || !is_up(&left) {
            return Vec::new();
        }
        let up: Vec<usize> =
            (0..self.all.len()).filter(|node| *node != left && is_up(node)).collect();
        let mut refuges = vec![Vec::new(); self.all.len()];
        for name in names.into_iter().filter(|name| self.spread.hears(name) == left) {
            let owner = usize::from(cluster.owners()[usize::from(slot_of(&name))]);
            let node = self.refuge(&name, owner, &up);
            if node != left {
                refuges[node].push(name);
            }
        }
        let named = refuges.into_iter().enumerate();
        named.filter(|(_, names)| !names.is_empty()).collect()
    }

    /// A node has ceased to have the messages of a channel that is heard there.
    pub(crate) fn on_unheard(&mut self, node: usize, name: Arc<str>, now_ms: u64) {
        let what = Again::Hear(name, 0);
        let unheard = Redirected { what, to: Elsewhere::Later, tries: 0 };
        self.redirect(node, unheard, &mut Turned::default(), now_ms);
    }

    fn redirect(&mut self, by: usize, redirected: Redirected, turned: &mut Turned, now_ms: u64) {
        let Some(cluster) = &mut self.cluster else { return };
        let node = match &redirected.to {
            Elsewhere::Moved(_, target) | Elsewhere::Asking(target) => cluster.find(target, now_ms),
            Elsewhere::Later => None,
        };
        cluster.hurry(by, now_ms);
        if let (Elsewhere::Moved(slot, _), Some(node)) = (&redirected.to, node) {
            turned.is_spread |= cluster.found(*slot, node, now_ms);
        }
        let Redirected { what, to, tries } = redirected;
        match (what, node) {
            (Again::Publish(mut publication), _) => {
                publication.tries = tries;
                let asking = match to {
                    Elsewhere::Asking(target) => Some(target),
                    Elsewhere::Moved(..) | Elsewhere::Later => None,
                };
                self.come_back(by, publication, (node.is_some(), asking), now_ms);
            }
            (what @ Again::Ask(_), Some(node)) if tries <= TRIES_AT_ONCE => {
                self.bring(node, Redirected { what, to, tries }, turned, now_ms);
            }
            (what, _) => self.park(Redirected { what, to, tries }, turned, now_ms),
        }
    }

    /// Has something done at a node, or later if that is not up.
    fn bring(&mut self, node: usize, this: Redirected, turned: &mut Turned, now_ms: u64) {
        let asking = matches!(this.to, Elsewhere::Asking(_));
        match self.all[node].status() {
            Status::Up => self.all[node].accept(this.what, this.tries, asking, now_ms),
            _ => {
                // One that has no slots is dialed only when it is to be asked.
                let Some(cluster) = &self.cluster else { return };
                let (master, at) = cluster.leader(node);
                self.all[node].lead(master, at, now_ms);
                let tries = this.tries.saturating_add(1);
                self.park(Redirected { tries, ..this }, turned, now_ms);
            }
        }
    }

    fn park(&mut self, this: Redirected, turned: &mut Turned, now_ms: u64) {
        if let Again::Hear(name, _) = &this.what
            && !self.parked_names.insert(name.clone())
        {
            return;
        }
        self.parked.push_back((now_ms + RETRY_MS, this));
        let is_over = self.parked.len() > MOST_PARKED;
        let tries = self.parked.back().map_or(0, |(_, last)| last.tries);
        let is_heard = |(_, this): &(u64, Redirected)| matches!(this.what, Again::Hear(..));
        let may_end = !self.parked.back().is_some_and(is_heard);
        let given_up = match tries > MOST_TRIES && may_end {
            true => self.parked.pop_back(),
            false if is_over => self.parked.pop_front(),
            false => None,
        };
        if let Some((_, Redirected { what, .. })) = given_up {
            self.give_up(what, turned);
        }
    }

    fn give_up(&mut self, what: Again, turned: &mut Turned) {
        if let Again::Hear(name, _) = &what {
            self.parked_names.remove(name);
        }
        let node = self.spread().reads(what.name());
        turned.given_up.extend(what.who());
        self.all[node].give_up(what);
    }
}
