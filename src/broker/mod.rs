//! L1: where messages come from: Redis, one or several, or `Local` (in this process, the default).
//!
//! The rest of the code cannot tell which it has: it subscribes, publishes and fetches, and takes
//! [`BrokerEvent`]s. A broker knows channels by name, and conns by their links, which it gives back
//! and never looks at. Its rules:
//! * it has nodes: each Redis is one, and `Local` is one that is always up. What is about a channel
//!   is at one node, and what a node says is about its own channels alone;
//! * an answer carries its ask, once. When a node goes down, what it has not answered is given back
//!   unanswered;
//! * a node answers asks of one kind in the order in which they were made;
//! * the delivery of a conn's own publish names that conn in `except`, exactly once.
//!
//! A RESP client is a Redis client of the embedded broker: an application that publishes, or
//! somebody who looks around. `client` is about one of them, `store` about what they and the conns
//! have stored, `glob` about their patterns, `history` about channels whose last messages are kept,
//! `nodes` and `spread` about several Redis.

pub(crate) mod client;
pub(crate) mod cluster;
mod clustering;
mod event;
mod glob;
pub(crate) mod history;
mod local;
mod moving;
mod nodes;
mod paired;
mod redis;
pub(crate) mod replica;
mod sentinel;
mod settings;
pub(crate) mod spread;
pub(crate) mod store;

use std::sync::Arc;

pub(crate) use clustering::{Behind, Turned};
pub(crate) use event::{Ask, BrokerEvent, Delivery, Notice, PublishOutcome, Receipt};
pub(crate) use local::Local;
pub(crate) use nodes::{FIRST, Nodes};
pub(crate) use paired::{MASTER, REPLICA};
pub(crate) use redis::{Lost, Redis, RedisDue, denies_command, tls_mend};
pub(crate) use replica::Judgement;
pub use sentinel::Watch;
pub(crate) use sentinel::{SentinelErrand, SentinelNotice};
pub use settings::{BrokerKind, BrokerSettings, Clustered, RedisAddress, RedisSettings, Sentinels};
pub use settings::{Sharding, Uses};

use crate::link::{LinkId, Now};
use history::look::Look;
use history::reading::Reading;
pub use history::{HistoryRule, HistoryRules, HistorySize};
use spread::Spread;

/// Whether the broker, or a node of it, can be asked anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It answers.
    Up,
    /// The outcome of a dial is awaited.
    Dialing,
    /// The last dial failed; there will be another.
    Down,
}

impl Status {
    /// The worse of two.
    pub(crate) fn worse(self, other: Status) -> Status {
        match (self, other) {
            (Status::Down, _) | (_, Status::Down) => Status::Down,
            (Status::Dialing, _) | (_, Status::Dialing) => Status::Dialing,
            (Status::Up, Status::Up) => Status::Up,
        }
    }
}

/// Why a message was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The broker cannot be reached.
    Down,
    /// Too many bytes wait for it already.
    Full,
}

/// One of the brokers.
#[derive(Debug)]
pub enum Broker {
    /// In this process.
    Local(Box<Local>),
    /// Redis servers.
    Redis(Box<Nodes>),
}

impl Broker {
    /// The broker of these settings; `seed` is for the jitter of its dialing.
    pub fn new(settings: BrokerSettings, uses: Uses, seed: u64) -> Self {
        match settings.kind {
            BrokerKind::Local { store_limit } => {
                let local = Local::new(settings.expire_s, store_limit).with_epoch(seed as u32);
                Broker::Local(Box::new(local))
            }
            BrokerKind::Redis(all) => {
                Broker::Redis(Box::new(Nodes::new(all, settings.expire_s, uses, seed)))
            }
        }
    }

    /// How many nodes it has.
    #[inline]
    pub(crate) fn nodes(&self) -> usize {
        match self {
            Broker::Local(_) => 1,
            Broker::Redis(nodes) => nodes.spread().nodes(),
        }
    }

    /// How channels are spread over them.
    #[inline]
    pub(crate) fn spread(&self) -> Spread {
        match self {
            Broker::Local(_) => Spread::over(1),
            Broker::Redis(nodes) => nodes.spread().clone(),
        }
    }

    /// Whether it is a cluster, whose nodes and their channels may change.
    #[inline]
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Broker::Redis(nodes) if nodes.cluster().is_some())
    }

    /// The nodes of the cluster, if that is what it is.
    pub(crate) fn cluster(&mut self) -> Option<&mut Nodes> {
        match self {
            Broker::Redis(nodes) if nodes.cluster().is_some() => Some(nodes),
            _ => None,
        }
    }

    /// The nodes, if they are a master and its replica.
    pub(crate) fn pair(&mut self) -> Option<&mut Nodes> {
        match self {
            Broker::Redis(nodes) if nodes.spread().heard_at().is_some() => Some(nodes),
            _ => None,
        }
    }

    /// Whether the same message of a channel may come from several nodes.
    #[inline]
    pub(crate) fn may_repeat(&self) -> bool {
        let Broker::Redis(nodes) = self else { return false };
        let is_both = nodes.cluster().is_some_and(|cluster| cluster.form() == Sharding::Both);
        is_both || nodes.spread().heard_at().is_some()
    }

    /// Asks a node for the messages of a channel that all nodes have. It must be up.
    pub(crate) fn subscribe_plainly_at(&mut self, node: usize, channel: Arc<str>, now_ms: u64) {
        match self {
            Broker::Local(local) => local.subscribe(vec![channel]),
            Broker::Redis(nodes) => nodes.get_mut(node).subscribe_plainly(channel, now_ms),
        }
    }

    /// When something is due about the cluster.
    pub(crate) fn cluster_ms(&self) -> Option<u64> {
        match self {
            Broker::Local(_) => None,
            Broker::Redis(nodes) => nodes.cluster_ms(),
        }
    }

    /// Whether a node matters for whether all of it can be asked.
    pub(crate) fn counts(&self, node: usize) -> bool {
        match self {
            Broker::Local(_) => true,
            Broker::Redis(nodes) => nodes.counts(node),
        }
    }

    /// Has the last messages of channels kept that these rules fit; all of them may take so many
    /// bytes in this process.
    pub fn keep_histories(&mut self, rules: HistoryRules, limit: usize) {
        match self {
            _ if rules.is_empty() => {}
            Broker::Local(local) => local.keep_histories(rules, limit),
            Broker::Redis(nodes) => nodes.keep_histories(&rules),
        }
    }

    /// Whether all of it can be asked anything.
    pub fn status(&self) -> Status {
        match self {
            Broker::Local(_) => Status::Up,
            Broker::Redis(nodes) => nodes.status(),
        }
    }

    /// Whether a node can be asked anything.
    pub(crate) fn status_at(&self, node: usize) -> Status {
        match self {
            Broker::Local(_) => Status::Up,
            Broker::Redis(nodes) => nodes.get(node).status(),
        }
    }

    /// Whether the nodes where a channel is heard and read can be asked anything.
    pub(crate) fn status_of(&self, channel: &str) -> Status {
        let Broker::Redis(nodes) = self else { return Status::Up };
        let hears = nodes.spread().hears(channel);
        let reads = nodes.spread().reads(channel);
        let status = self.status_at(hears);
        if reads == hears { status } else { status.worse(self.status_at(reads)) }
    }

    /// Whether the node where a channel is heard can be asked for its messages.
    pub(crate) fn can_hear(&self, channel: &str) -> bool {
        match self {
            Broker::Local(_) => true,
            Broker::Redis(nodes) => self.status_at(nodes.spread().hears(channel)) == Status::Up,
        }
    }

    /// Whether the node that has what is stored under a name that is no channel's can be asked.
    pub(crate) fn status_of_name(&self, name: &str) -> Status {
        match self {
            Broker::Local(_) => Status::Up,
            Broker::Redis(nodes) => self.status_at(nodes.spread().keeps(name)),
        }
    }

    /// The same for all nodes that have one of these.
    pub(crate) fn status_of_all<'n>(&self, channels: impl IntoIterator<Item = &'n str>) -> Status {
        match self {
            Broker::Local(_) => Status::Up,
            Broker::Redis(nodes) if nodes.spread().nodes() == 1 => nodes.status(),
            Broker::Redis(_) => {
                let statuses = channels.into_iter().map(|channel| self.status_of(channel));
                statuses.fold(Status::Up, Status::worse)
            }
        }
    }

    /// Asks for the messages of a channel. The node that has it must be up.
    pub fn subscribe(&mut self, channel: Arc<str>, now_ms: u64) {
        match self {
            Broker::Local(local) => local.subscribe(vec![channel]),
            Broker::Redis(nodes) => nodes.hears(&channel).subscribe(vec![channel], now_ms),
        }
    }

    /// Asks a node for the messages of these channels. It must be up.
    pub(crate) fn subscribe_at(&mut self, node: usize, channels: Vec<Arc<str>>, now_ms: u64) {
        match self {
            Broker::Local(local) => local.subscribe(channels),
            Broker::Redis(nodes) => nodes.get_mut(node).subscribe(channels, now_ms),
        }
    }

    /// Asks for no more messages of the channel; `confirmed` is whether
    /// [`BrokerEvent::Subscribed`] came.
    pub fn unsubscribe(&mut self, channel: Arc<str>, confirmed: bool, now_ms: u64) {
        match self {
            Broker::Local(_) => {}
            Broker::Redis(nodes) => nodes.hears(&channel).unsubscribe(channel, confirmed, now_ms),
        }
    }

    /// Asks a node for what is stored of a channel. It must be up.
    pub fn ask(&mut self, node: usize, ask: Ask, channel: &str, now_ms: u64) {
        match self {
            Broker::Local(local) => local.ask(ask, channel, now_ms),
            Broker::Redis(nodes) => nodes.get_mut(node).ask(ask, channel, now_ms),
        }
    }

    /// Asks for what is stored under a name that is no channel's. The node that has it must be up.
    pub(crate) fn ask_name(&mut self, ask: Ask, name: &str, now_ms: u64) {
        match self {
            Broker::Local(local) => local.ask(ask, name, now_ms),
            Broker::Redis(nodes) => nodes.keeps(name).ask(ask, name, now_ms),
        }
    }

    /// Asks a node what is in the history of a channel, which only a Redis may have to be asked. It
    /// must be up.
    pub(crate) fn read(
        &mut self,
        node: usize,
        ask: Ask,
        channel: &str,
        reading: Reading,
        now_ms: u64,
    ) {
        if let Broker::Redis(nodes) = self {
            nodes.get_mut(node).read(ask, channel, reading, now_ms);
        }
    }

    /// Looks at the history of a channel at a node, which must be up: in pages of so many bytes, of
    /// so many that an answer may have.
    pub(crate) fn look(
        &mut self,
        node: usize,
        ask: Ask,
        channel: &str,
        (look, bytes): (Look, (usize, usize)),
        now: Now,
    ) {
        match self {
            Broker::Local(local) => local.look(ask, channel, look, bytes, now),
            Broker::Redis(nodes) => {
                nodes.get_mut(node).look(ask, channel, (look, bytes.0), now.mono_ms);
            }
        }
    }

    /// Whether a node is to be asked for more stored messages now.
    pub(crate) fn has_room(&self, node: usize) -> bool {
        match self {
            Broker::Local(_) => true,
            Broker::Redis(nodes) => nodes.get(node).has_room(),
        }
    }

    /// Publishes a message and stores it; `except` shall not have it back, and what becomes of it
    /// is said for the receipt, unless this fails.
    pub fn publish(
        &mut self,
        channel: &str,
        payload: &[u8],
        except: Option<LinkId>,
        receipt: Option<Receipt>,
        now: Now,
    ) -> Result<(), PublishError> {
        match self {
            Broker::Local(local) => {
                local.publish(channel, payload, except, now);
                receipt.into_iter().for_each(|receipt| local.accepted(receipt));
                Ok(())
            }
            Broker::Redis(nodes) => nodes.publish(channel, payload, (except, receipt), now.mono_ms),
        }
    }

    /// Tells the nodes where conns' own messages come back that were published at others. This is
    /// to be done before anything is sent to a node that has said something or taken something on.
    pub(crate) fn pass_echoes(&mut self, now_ms: u64) {
        if let Broker::Redis(nodes) = self {
            nodes.pass_echoes(now_ms);
        }
    }

    /// Takes what arrived from a node from the front of `input` until there is something to say;
    /// `None` when all is taken. Call it until then, with an empty input as well.
    #[inline]
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        node: usize,
        input: &mut &'i [u8],
        now_ms: u64,
    ) -> Option<BrokerEvent<'a>> {
        match self {
            Broker::Local(local) => local.next(),
            Broker::Redis(nodes) => nodes.get_mut(node).next(input, now_ms),
        }
    }

    /// The Redis of that node, if it is one: for the link, which only Redis has.
    pub fn redis(&mut self, node: usize) -> Option<&mut Redis> {
        match self {
            Broker::Local(_) => None,
            Broker::Redis(nodes) => Some(nodes.get_mut(node)),
        }
    }

    /// The same, to be looked at.
    pub(crate) fn peek_redis(&self, node: usize) -> Option<&Redis> {
        match self {
            Broker::Local(_) => None,
            Broker::Redis(nodes) => Some(nodes.get(node)),
        }
    }

    /// The embedded broker, if that is what it is: for RESP clients, which only that one has.
    pub fn local(&mut self) -> Option<&mut Local> {
        match self {
            Broker::Local(local) => Some(local),
            Broker::Redis(_) => None,
        }
    }

    /// Asks to be told when all that was asked so far is answered; false when it is.
    pub fn settle(&mut self, conn: LinkId) -> bool {
        match self {
            Broker::Local(_) => false,
            Broker::Redis(nodes) => nodes.settle(conn),
        }
    }

    /// A node has answered what it was asked when a conn was to be told of that, or has gone:
    /// whether no other has yet to.
    pub(crate) fn has_settled(&mut self, conn: LinkId) -> bool {
        match self {
            Broker::Local(_) => true,
            Broker::Redis(nodes) => nodes.has_settled(conn),
        }
    }

    /// Whether every command that was sent is answered.
    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Broker::Local(_) => true,
            Broker::Redis(nodes) => nodes.is_settled(),
        }
    }

    /// Whether a node is up and has answered all that it was asked. What one of a cluster was asked
    /// may be with any other.
    pub(crate) fn owes_nothing(&self, node: usize) -> bool {
        match self {
            Broker::Local(local) => !local.has_more(),
            Broker::Redis(nodes) => nodes.owes_nothing(node),
        }
    }

    /// A node that has something to say that nothing more need arrive for.
    pub(crate) fn with_more(&self) -> Option<usize> {
        match self {
            Broker::Local(local) => local.has_more().then_some(FIRST),
            Broker::Redis(nodes) => nodes.with_more(),
        }
    }

    /// Whether there is one.
    pub fn has_more(&self) -> bool {
        self.with_more().is_some()
    }

    /// The commands that wait to be sent to a node.
    pub(crate) fn unsent(&self, node: usize) -> &[u8] {
        match self {
            Broker::Local(_) => &[],
            Broker::Redis(nodes) => nodes.get(node).unsent(),
        }
    }

    /// Bytes of all that waits to be sent.
    pub(crate) fn unsent_bytes(&self) -> usize {
        match self {
            Broker::Local(_) => 0,
            Broker::Redis(nodes) => nodes.unsent_bytes(),
        }
    }

    /// The first `n` bytes for a node are sent; true when that was all.
    pub(crate) fn advance(&mut self, node: usize, n: usize) -> bool {
        match self {
            Broker::Local(_) => true,
            Broker::Redis(nodes) => {
                let redis = nodes.get_mut(node);
                redis.advance(n);
                redis.unsent().is_empty()
            }
        }
    }

    /// Whether bytes of a node were kept that a turn had no time for.
    pub(crate) fn has_kept(&self, node: usize) -> bool {
        match self {
            Broker::Local(_) => false,
            Broker::Redis(nodes) => nodes.get(node).has_kept(),
        }
    }

    /// The channel of the message of a node that was skipped last, if it is known.
    pub(crate) fn skipped_channel(&self, node: usize) -> Option<&str> {
        match self {
            Broker::Local(_) => None,
            Broker::Redis(nodes) => nodes.get(node).skipped_channel(),
        }
    }

    /// Stored messages that were given up because the store was full.
    pub fn evicted(&self) -> u64 {
        match self {
            Broker::Local(local) => local.evicted(),
            Broker::Redis(_) => 0,
        }
    }

    /// Messages of histories that were given up because there was no room for more.
    pub fn history_evicted(&self) -> u64 {
        match self {
            Broker::Local(local) => local.history_evicted(),
            Broker::Redis(_) => 0,
        }
    }
}
