//! L1: one Redis or several, among which channels are spread.
//!
//! It knows which of them has a channel, and nothing of links. Its rules:
//! * what is stored of a channel, its history, its messages, and what is published on it are at one
//!   node; sessions are at the first;
//! * each node has an order of its own; there is none between two of them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::cluster::Cluster;
use super::moving::MovingSlots;
use super::paired;
use super::redis::{Echo, Redirected, Redis};
use super::replica::Replica;
use super::spread::Spread;
use super::{HistoryRules, PublishError, Receipt, RedisAddress, RedisSettings, Status, Uses};
use crate::link::LinkId;

/// The node that has what is no channel's.
pub(crate) const FIRST: usize = 0;

/// Redis servers, one at least.
#[derive(Debug)]
pub struct Nodes {
    pub(super) all: Vec<Redis>,
    pub(super) spread: Spread,
    /// The cluster that they are, if they are one.
    pub(super) cluster: Option<Box<Cluster>>,
    /// What is known of the second, if it is a replica of the first.
    pub(super) replica: Option<Box<Replica>>,
    /// What belongs elsewhere and is to be tried again, at that time.
    pub(super) parked: VecDeque<(u64, Redirected)>,
    /// The channels among those, each of which is asked for once.
    pub(super) parked_names: BTreeSet<Arc<str>>,
    /// What is to be published where slots move.
    pub(super) moving: MovingSlots,
    pub(super) seed: Seed,
    /// Conns that are to be told when nodes have answered what they were asked, and how many have
    /// not.
    settling: Vec<(LinkId, usize)>,
}

/// What a node of a cluster is made of.
#[derive(Debug)]
pub(super) struct Seed {
    settings: RedisSettings,
    expire_s: u64,
    uses: Uses,
    seed: u64,
    pub(super) histories: HistoryRules,
}

impl Seed {
    /// The node of that number.
    pub(super) fn redis(&self, at: usize) -> Redis {
        let seed = self.seed.wrapping_add(at as u64);
        let mut redis = Redis::new(self.settings.clone(), self.expire_s, self.uses, seed);
        redis.keep_histories(self.histories.clone());
        redis.tell_echoes();
        redis
    }
}

impl Nodes {
    /// Nodes of these settings, in their order.
    pub(super) fn new(settings: Vec<RedisSettings>, expire_s: u64, uses: Uses, seed: u64) -> Nodes {
        assert!(!settings.is_empty(), "a broker that is Redis needs the settings of one");
        let cluster = match &settings[0].address {
            RedisAddress::Cluster(cluster) => Some(Box::new(Cluster::new(cluster))),
            _ => None,
        };
        let kept = settings[0].clone();
        let redis = |(at, settings)| {
            let uses = paired::uses_of(&settings, uses);
            Redis::new(settings, expire_s, uses, seed.wrapping_add(at as u64))
        };
        let is_pair = paired::is_pair(&settings);
        let mut all: Vec<Redis> = settings.into_iter().enumerate().map(redis).collect();
        if cluster.is_some() {
            all.iter_mut().for_each(Redis::tell_echoes);
        }
        if is_pair {
            paired::pair_up(&mut all);
        }
        let histories = HistoryRules::default();
        let mut nodes = Nodes {
            spread: match is_pair {
                true => Spread::of_pair(paired::REPLICA),
                false => Spread::over(all.len()),
            },
            replica: is_pair.then(Box::default),
            all,
            cluster,
            parked: VecDeque::new(),
            parked_names: BTreeSet::new(),
            moving: MovingSlots::default(),
            seed: Seed { settings: kept, expire_s, uses, seed, histories },
            settling: Vec::new(),
        };
        nodes.respread(std::iter::empty(), 0);
        nodes.look_elsewhere(0);
        nodes
    }

    /// Has what browsers publish on channels that these rules fit recorded.
    pub(super) fn keep_histories(&mut self, rules: &HistoryRules) {
        self.seed.histories = rules.clone();
        self.all.iter_mut().for_each(|redis| redis.keep_histories(rules.clone()));
    }

    /// How channels are spread.
    pub(crate) fn spread(&self) -> &Spread {
        &self.spread
    }

    /// One of them.
    #[inline]
    pub(super) fn get(&self, node: usize) -> &Redis {
        &self.all[node]
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn get_mut(&mut self, node: usize) -> &mut Redis {
        &mut self.all[node]
    }

    /// The one where the channel is heard.
    pub(super) fn hears(&mut self, channel: &str) -> &mut Redis {
        &mut self.all[self.spread.hears(channel)]
    }

    /// The one that has what is stored under a name that is no channel's.
    pub(super) fn keeps(&mut self, name: &str) -> &mut Redis {
        &mut self.all[self.spread.keeps(name)]
    }

    /// Publishes a message on a channel where that belongs.
    pub(super) fn publish(
        &mut self,
        channel: &str,
        payload: &[u8],
        whose: (Option<LinkId>, Option<Receipt>),
        now_ms: u64,
    ) -> Result<(), PublishError> {
        let node = self.spread.writes(channel);
        let published = match self.moving.is_empty() {
            true => self.all[node].publish(channel, payload, whose, now_ms),
            false => self.publish_moving(node, channel, payload, (whose, now_ms)),
        };
        self.pass_echoes_of(node, now_ms);
        published
    }

    /// Tells the nodes where conns' own messages come back that were published at others.
    pub(super) fn pass_echoes(&mut self, now_ms: u64) {
        for node in 0..self.all.len() {
            self.pass_echoes_of(node, now_ms);
        }
    }

    #[inline]
    fn pass_echoes_of(&mut self, node: usize, now_ms: u64) {
        if !self.all[node].has_echoes() {
            return;
        }
        for echo in self.all[node].take_echoes() {
            match &echo {
                Echo::Sent { channel, .. } => {
                    let hears = self.spread.hears(channel);
                    if hears != node {
                        self.all[hears].expect_echo(node, echo, now_ms);
                    }
                }
                // What is heard may have moved meanwhile.
                Echo::Withdrawn { .. } => {
                    let others = self.all.iter_mut().enumerate().filter(|(at, _)| *at != node);
                    others.for_each(|(_, redis)| redis.expect_echo(node, echo.clone(), now_ms));
                }
            }
        }
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Redis> {
        self.all.iter()
    }

    /// The least that any of them is.
    pub(super) fn status(&self) -> Status {
        let counts = (0..self.all.len()).filter(|node| self.counts(*node));
        let statuses = counts.map(|node| self.all[node].status());
        statuses.reduce(Status::worse).unwrap_or(Status::Down)
    }

    /// One that has something to say that nothing more need arrive for.
    pub(super) fn with_more(&self) -> Option<usize> {
        (0..self.all.len()).find(|node| self.all[*node].has_more() || self.has_news(*node))
    }

    /// Asks to be told when all that was asked so far is answered; false when it is.
    pub(super) fn settle(&mut self, conn: LinkId) -> bool {
        let waits = usize::from(self.moving.settle(conn)) + self.settle_all(conn);
        if waits > 1 {
            self.settling.push((conn, waits));
        }
        waits > 0
    }

    /// Asks to be told by each node; how many have anything to answer.
    fn settle_all(&mut self, conn: LinkId) -> usize {
        self.all.iter_mut().map(|redis| usize::from(redis.settle(conn))).sum()
    }

    /// What waited while slots moved is at the nodes: asks them, too. Whether all is answered.
    pub(super) fn settle_later(&mut self, conn: LinkId) -> bool {
        let waits = self.settle_all(conn);
        match self.settling.iter_mut().find(|(other, _)| *other == conn) {
            Some((_, others)) => {
                *others += waits;
                self.has_settled(conn)
            }
            None if waits > 1 => {
                self.settling.push((conn, waits));
                false
            }
            None => waits == 0,
        }
    }

    /// Whether every command that was sent is answered, and none has yet to be.
    pub(super) fn is_settled(&self) -> bool {
        self.moving.bytes() == 0 && self.all.iter().all(Redis::is_settled)
    }

    /// Bytes of all that waits to be sent.
    pub(super) fn unsent_bytes(&self) -> usize {
        let unsent = self.all.iter().map(|redis| redis.unsent().len());
        self.moving.bytes() + unsent.sum::<usize>()
    }

    /// A node has answered what it was asked when a conn was to be told of that: whether all have.
    pub(super) fn has_settled(&mut self, conn: LinkId) -> bool {
        let Some(at) = self.settling.iter().position(|(other, _)| *other == conn) else {
            return true;
        };
        self.settling[at].1 -= 1;
        let is_last = self.settling[at].1 == 0;
        if is_last {
            self.settling.swap_remove(at);
        }
        is_last
    }
}
