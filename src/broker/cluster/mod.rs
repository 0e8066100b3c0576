//! L1: which nodes of the broker are which shards of a cluster, and who has which slots.
//!
//! It knows what the nodes say of the cluster, and no link: `map` is about one answer. Its rules:
//! * a node of the broker is a shard, and stays so when another of the shard's members becomes its
//!   master;
//! * of what is said the highest epoch counts. What has a lower one than what was followed before
//!   counts only when nothing else is said for a while: the cluster was set up anew. A node that
//!   cannot serve is believed only if it is the only one;
//! * a slot that nobody has stays with whoever had it last;
//! * a node without slots is needed only as long as others say that something belongs there, and a
//!   while longer.

mod map;

use std::collections::BTreeMap;

use super::spread::{MOST_NODES, SLOTS};
use super::{Clustered, Sharding, Status};
use crate::link::Target;
pub use map::{Map, Member, Shard, of_info, of_redirection};

/// How often the cluster is asked about itself.
const ASK_MS: u64 = 1_000;
/// The same while a shard is away, or something was found elsewhere than it should be.
const ASK_SOON_MS: u64 = 100;
/// Between two such questions at least, whatever is found.
const ASK_PAUSE_MS: u64 = 20;
/// So many answers in a row with a lower epoch are believed.
const ANEW: u32 = 10;
/// For so long after something has changed nobody is believed who has the same epoch and says
/// otherwise: whoever has voted for a master knows of the epoch before it knows of the master.
const SETTLED_MS: u64 = 1_500;
/// A slot may be found elsewhere so often in that time.
const MOST_FOUND: u8 = 4;
const FOUND_MS: u64 = 250;

/// For so long a node that has no slots is kept after another last said that something belongs
/// there: what comes next of a slot that is about to be there need not dial it once more.
const WANTED_MS: u64 = 2_000;

/// What a node says of the cluster.
#[derive(Debug)]
pub(crate) struct Said {
    /// Who has which slots.
    pub(crate) map: Map,
    /// The epoch of that.
    pub(crate) epoch: u64,
    /// Whether it can serve.
    pub(crate) serves: bool,
}

/// A shard, as it is known.
#[derive(Clone, Debug, Default)]
struct Known {
    members: Vec<String>,
    master: String,
    at: Option<Target>,
    has_slots: bool,
    /// Most of the cluster says that the master has failed, and there is no other yet.
    has_failed: bool,
    /// When another node last said that something belongs there, whether it has slots or not.
    wanted_ms: Option<u64>,
    /// Where else somebody of the shard may listen.
    others: Vec<Target>,
}

/// A cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    seeds: Vec<Target>,
    form: Sharding,
    /// How often something else than a master was dialed.
    tried: usize,
    shards: Vec<Known>,
    owners: Box<[u8]>,
    epoch: u64,
    is_known: bool,
    older: u32,
    /// Who was said to have which slots last, and when that changed.
    masters: Vec<(String, Vec<(u16, u16)>)>,
    changed_ms: u64,
    ask_ms: u64,
    /// When it was asked last, and the node that was.
    asked_ms: u64,
    asked: usize,
    /// Something is not where it should be; this node may know.
    hurry: Option<usize>,
    /// Slots that were found elsewhere: since when, and how often since then.
    found: BTreeMap<u16, (u64, u8)>,
}

impl Cluster {
    /// One of which only this is known.
    pub(super) fn new(settings: &Clustered) -> Cluster {
        Cluster {
            seeds: settings.seeds.clone(),
            form: settings.form,
            tried: 0,
            shards: vec![Known::default()],
            owners: vec![0; SLOTS].into(),
            epoch: 0,
            is_known: false,
            older: 0,
            masters: Vec::new(),
            changed_ms: 0,
            ask_ms: 0,
            asked_ms: 0,
            asked: 0,
            hurry: None,
            found: BTreeMap::new(),
        }
    }

    /// How channels are heard, and published on.
    pub(super) fn form(&self) -> Sharding {
        self.form
    }

    /// How many shards there are, or have been.
    pub(super) fn nodes(&self) -> usize {
        self.shards.len()
    }

    /// The node that has each slot.
    pub(super) fn owners(&self) -> &[u8] {
        &self.owners
    }

    /// Where the master of a node is.
    pub(super) fn at(&self, node: usize) -> Option<&Target> {
        self.shards[node].at.as_ref()
    }

    /// What the master of a node is called, and where it is; nothing while the cluster takes it to
    /// have failed, however it answers us.
    pub(super) fn leader(&self, node: usize) -> (&str, Option<&Target>) {
        let shard = &self.shards[node];
        if shard.has_failed { ("", None) } else { (&shard.master, shard.at.as_ref()) }
    }

    /// Whether a node is needed: it has slots, or it is not known yet who has.
    pub(super) fn is_needed(&self, node: usize) -> bool {
        !self.is_known || self.shards[node].has_slots || self.is_wanted(node)
    }

    fn is_wanted(&self, node: usize) -> bool {
        self.shards[node].wanted_ms.is_some()
    }

    /// Whether a node is needed for no more than what was once to be asked there, and that was long
    /// ago.
    pub(super) fn is_stale(&self, node: usize, now_ms: u64) -> bool {
        let is_old = |at_ms: u64| at_ms + WANTED_MS <= now_ms;
        !self.has_slots(node) && self.shards[node].wanted_ms.is_some_and(is_old)
    }

    /// Nothing is to be asked at a node unless it has slots.
    pub(super) fn unwant(&mut self, node: usize) {
        self.shards[node].wanted_ms = None;
    }

    /// Whether a node has slots.
    pub(super) fn has_slots(&self, node: usize) -> bool {
        !self.is_known || self.shards[node].has_slots
    }

    /// Where a node is to be dialed while no node answers: at its master, and then at whoever else
    /// may know of the cluster.
    pub(super) fn next_try(&mut self, node: usize) -> Option<Target> {
        let shard = &self.shards[node];
        let all: Vec<&Target> = shard.at.iter().chain(&shard.others).chain(&self.seeds).collect();
        self.tried += 1;
        all.get((self.tried - 1) % all.len().max(1)).map(|target| (*target).clone())
    }

    /// The node whose master is there. One that has no slots is wanted for a while from now on.
    pub(super) fn find(&mut self, at: &Target, now_ms: u64) -> Option<usize> {
        let node = self.shards.iter().position(|shard| shard.at.as_ref() == Some(at))?;
        self.shards[node].wanted_ms = Some(now_ms);
        Some(node)
    }

    /// A slot was found to be at a node: whether it was elsewhere before. Two nodes may send to
    /// each other for long, so only so many of such words are followed in a time.
    pub(super) fn found(&mut self, slot: u16, node: usize, now_ms: u64) -> bool {
        let before = usize::from(self.owners[usize::from(slot)]);
        if before == node {
            return false;
        }
        let (since_ms, times) = self.found.entry(slot).or_insert((now_ms, 0));
        if *since_ms + FOUND_MS <= now_ms {
            (*since_ms, *times) = (now_ms, 0);
        }
        if *times == MOST_FOUND {
            return false;
        }
        *times += 1;
        self.owners[usize::from(slot)] = node as u8;
        self.shards[node].has_slots = true;
        true
    }

    /// Something is not where it should be: the cluster is to be asked soon, this node first.
    pub(super) fn hurry(&mut self, node: usize, now_ms: u64) {
        self.hurry = Some(node);
        self.ask_ms = self.ask_ms.min(now_ms.max(self.asked_ms + ASK_PAUSE_MS));
    }

    /// When the cluster is to be asked.
    pub(super) fn ask_ms(&self) -> u64 {
        self.ask_ms
    }

    /// The node that is asked about the cluster now, of those that can be.
    pub(super) fn next_asked(&mut self, statuses: &[Status], now_ms: u64) -> Option<usize> {
        let is_away = |node: usize| statuses[node] != Status::Up && self.shards[node].has_slots;
        let knows = self.hurry.take();
        let is_away = knows.is_some() || (0..statuses.len()).any(is_away);
        self.ask_ms = now_ms + if is_away { ASK_SOON_MS } else { ASK_MS };
        self.asked_ms = now_ms;
        self.found.retain(|_, (since_ms, _)| *since_ms + FOUND_MS > now_ms);
        let nodes = statuses.len();
        let others = (1..=nodes).map(|more| (self.asked + more) % nodes);
        let mut asked = knows.into_iter().chain(others);
        let node = asked.find(|node| statuses[*node] == Status::Up)?;
        self.asked = node;
        Some(node)
    }

    /// A shard has no slots, and nothing is heard or asked there: its place may be another's.
    pub(super) fn vacate(&mut self, node: usize) {
        if self.is_known && !self.shards[node].has_slots {
            self.shards[node] = Known::default();
        }
    }

    /// Takes what a node says; `alone` is whether no other can be asked. Whether it is followed.
    pub(super) fn take(&mut self, said: Said, alone: bool, now_ms: u64) -> bool {
        if self.is_known && !said.serves && !alone {
            return false;
        }
        if said.epoch < self.epoch {
            self.older += 1;
            if self.older < ANEW {
                return false;
            }
        }
        let is_fresh = self.is_known && now_ms < self.changed_ms + SETTLED_MS;
        if said.epoch == self.epoch && is_fresh && said.map.masters() != self.masters {
            return false;
        }
        (self.older, self.epoch) = (0, said.epoch);
        let masters = said.map.masters();
        if self.is_known && masters != self.masters {
            self.changed_ms = now_ms;
        }
        (self.masters, self.is_known) = (masters, true);
        self.adopt(said.map);
        true
    }

    fn adopt(&mut self, map: Map) {
        let mut taken = vec![false; self.shards.len()];
        let mut places: Vec<Option<usize>> = vec![None; map.shards.len()];
        let is_known = |known: &Known, shard: &Shard, by: usize| {
            let master = shard.master().map_or("", |master| &master.id);
            match by {
                0 => known.master == master,
                1 => known.members.iter().any(|id| id == master),
                _ => shard.members.iter().any(|member| known.members.contains(&member.id)),
            }
        };
        let slotted = |shard: &Shard| !shard.slots.is_empty();
        // A master that failed is told as a shard of its own without slots, and must not have the
        // node that its replica goes on with.
        for (by, with_slots) in [(0, true), (1, true), (2, true), (0, false)] {
            for (shard, place) in map.shards.iter().zip(&mut places) {
                if place.is_some() || slotted(shard) != with_slots {
                    continue;
                }
                let mut nodes = 0..self.shards.len();
                *place =
                    nodes.find(|node| !taken[*node] && is_known(&self.shards[*node], shard, by));
                place.iter().for_each(|node| taken[*node] = true);
            }
        }
        for known in &mut self.shards {
            known.has_slots = false;
        }
        // Those with slots first: there may not be room for all.
        for with_slots in [true, false] {
            for (shard, place) in map.shards.iter().zip(&mut places) {
                if slotted(shard) == with_slots
                    && let Some(node) = place.or_else(|| self.vacancy(&mut taken))
                {
                    *place = Some(node);
                    self.shards[node].learn(shard);
                    for (first, last) in &shard.slots {
                        self.owners[usize::from(*first)..=usize::from(*last)].fill(node as u8);
                    }
                }
            }
        }
    }

    /// The number of a shard that is new: a place of one that is no more, or one more.
    fn vacancy(&mut self, taken: &mut Vec<bool>) -> Option<usize> {
        let is_vacant = |node: &usize| !taken[*node] && self.shards[*node].master.is_empty();
        if let Some(node) = (0..self.shards.len()).find(is_vacant) {
            taken[node] = true;
            return Some(node);
        }
        if self.shards.len() == MOST_NODES {
            return None;
        }
        self.shards.push(Known::default());
        taken.push(true);
        Some(self.shards.len() - 1)
    }
}

impl Known {
    fn learn(&mut self, shard: &Shard) {
        let Some(master) = shard.master() else { return };
        self.members = shard.members.iter().map(|member| member.id.clone()).collect();
        self.has_slots = !shard.slots.is_empty();
        self.at = Some(master.at.clone());
        self.has_failed = !master.is_online;
        self.master = master.id.clone();
        let others = shard.members.iter().filter(|member| member.id != master.id);
        self.others = others.map(|member| member.at.clone()).collect();
    }
}

#[cfg(test)]
mod tests;
