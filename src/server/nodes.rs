//! L2: what is known of each node of the broker besides what the broker knows: its link, and
//! whether the application is heard there.
//!
//! The application may speak to us at any node, so that its channel is subscribed to at each.

use std::ops::Range;

use super::Server;
use super::brokering::Loss;
use super::deaf::Deaf;
use crate::broker::{Broker, MASTER, Redis, RedisDue};
use crate::link::{LinkId, Metrics};

/// How long it is until a channel is asked for again that guards security and was denied.
const CONTROL_RETRY_MS: u64 = 5_000;

/// The nodes of the broker, in their order.
#[derive(Debug)]
pub(super) struct Nodes {
    all: Box<[Node]>,
    /// How many of them there are; those of a cluster may become more.
    known: usize,
    /// They are a cluster, which has one channel for the application.
    pub(super) is_cluster: bool,
    /// They are a master and its replica. The application is heard at the master.
    pub(super) is_pair: bool,
    /// When the application's channel is asked for again somewhere.
    control_retry_ms: Option<u64>,
    /// The same message of a channel may come from several of them.
    pub(super) may_repeat: bool,
    /// Or from one of them after another.
    pub(super) may_overlap: bool,
    /// Sentinels say of one where it is.
    pub(super) is_watched: bool,
    /// One lets nobody hear anything.
    pub(super) deaf: Deaf,
}

/// One of them.
#[derive(Debug, Default)]
struct Node {
    link: Option<LinkId>,
    hears_control: bool,
    /// When the application's channel is asked for again, after it was denied.
    control_retry_ms: Option<u64>,
}

impl Nodes {
    /// Those of that broker, of which none has a link; the embedded broker has none that would need
    /// one.
    pub(super) fn new(broker: &Broker) -> Nodes {
        let nodes = match broker {
            Broker::Local(_) => 0,
            Broker::Redis(_) => broker.spread().most_nodes(),
        };
        let watch = |node| broker.peek_redis(node)?.peek_watch();
        Nodes {
            all: (0..nodes).map(|_| Node::default()).collect(),
            control_retry_ms: None,
            known: if nodes == 0 { 0 } else { broker.nodes() },
            is_cluster: broker.is_cluster(),
            is_pair: broker.spread().heard_at().is_some(),
            may_repeat: broker.may_repeat(),
            may_overlap: broker.is_cluster() || broker.spread().heard_at().is_some(),
            is_watched: (0..broker.nodes()).any(|node| watch(node).is_some()),
            deaf: Deaf::default(),
        }
    }

    /// Their numbers.
    #[inline]
    pub(super) fn all(&self) -> Range<usize> {
        0..self.known
    }

    /// The link of one.
    #[inline]
    pub(super) fn link(&self, node: usize) -> Option<LinkId> {
        self.all[node].link
    }

    /// One has a link.
    pub(super) fn dialing(&mut self, node: usize, link: LinkId) {
        self.all[node].link = Some(link);
    }

    /// One has its link no more, and nothing is heard there.
    pub(super) fn lost(&mut self, node: usize, metrics: &mut Metrics) -> Option<LinkId> {
        let Node { link, .. } = std::mem::take(&mut self.all[node]);
        self.note_retries();
        self.note_control(metrics);
        link
    }

    /// The application is heard at one.
    pub(super) fn heard_control(&mut self, node: usize, metrics: &mut Metrics) {
        self.all[node].hears_control = true;
        self.note_control(metrics);
    }

    /// It is heard there no more.
    pub(super) fn lost_control(&mut self, node: usize, metrics: &mut Metrics) {
        self.all[node].hears_control = false;
        self.note_control(metrics);
    }

    /// Whether it is heard there.
    pub(super) fn hears_control(&self, node: usize) -> bool {
        self.all[node].hears_control
    }

    /// It is to be heard at that one of a cluster, whatever others say of it from now on.
    pub(super) fn control_is_at(&mut self, node: usize, metrics: &mut Metrics) {
        let others = self.all.iter_mut().enumerate().filter(|(at, _)| *at != node);
        for (_, other) in others {
            (other.hears_control, other.control_retry_ms) = (false, None);
        }
        self.note_retries();
        self.note_control(metrics);
    }

    fn note_control(&self, metrics: &mut Metrics) {
        let mut nodes = self.all[..self.known].iter().map(|node| node.hears_control);
        let is_heard = match (self.is_cluster, self.is_pair) {
            (true, _) => nodes.any(|hears| hears),
            (false, true) => self.all[MASTER].hears_control,
            (false, false) => nodes.all(|hears| hears),
        };
        metrics.control_heard = u64::from(is_heard);
    }

    /// It is not, and is asked for again later.
    pub(super) fn denied_control(&mut self, node: usize, now_ms: u64) {
        self.all[node].control_retry_ms = Some(now_ms + CONTROL_RETRY_MS);
        self.note_retries();
    }

    /// When a channel that was denied is asked for again somewhere.
    #[inline]
    pub(super) fn retry_ms(&self) -> Option<u64> {
        match (self.control_retry_ms, self.deaf.retry_ms()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn note_retries(&mut self) {
        self.control_retry_ms = self.all.iter().filter_map(|node| node.control_retry_ms).min();
    }
}

impl Server {
    /// The broker spreads channels otherwise than before.
    pub(super) fn on_spread(&mut self) {
        let spread = self.broker.spread();
        self.nodes.known = spread.nodes();
        self.relay.set_spread(&spread);
        self.topics.set_spread(spread);
    }

    /// Lets time pass for each node whose time matters.
    pub(super) fn tick_nodes(&mut self) {
        let now_ms = self.cx.now.mono_ms;
        for node in self.nodes.all() {
            match self.timed_redis(node).and_then(|redis| redis.tick(now_ms)) {
                Some(RedisDue::Dial) => self.dial_broker(node),
                Some(RedisDue::GiveUp) => {
                    let reason = self.broker.peek_redis(node).map_or("", Redis::late);
                    self.on_broker_lost(node, Loss::Broken(reason));
                }
                Some(RedisDue::Move) => self.on_broker_lost(node, Loss::Moved),
                Some(RedisDue::Leave) => self.on_broker_lost(node, Loss::Left),
                None => {}
            }
        }
    }

    /// When one of them has something to do.
    pub(super) fn nodes_ms(&mut self) -> Option<u64> {
        let nodes = self.nodes.all();
        nodes.filter_map(|node| self.timed_redis(node).map(|redis| redis.deadline_ms())).min()
    }

    /// The Redis of a node, as long as its time matters: a server that ends does not dial again.
    pub(super) fn timed_redis(&mut self, node: usize) -> Option<&mut Redis> {
        match self.nodes.link(node) {
            None if self.ending.has_begun() => None,
            _ => self.broker.redis(node),
        }
    }

    /// Asks again for channels that were denied.
    pub(super) fn retry_channels(&mut self) {
        let now_ms = self.cx.now.mono_ms;
        if self.nodes.retry_ms().is_none_or(|at_ms| at_ms > now_ms) {
            return;
        }
        self.retry_hearing();
        for node in self.nodes.all() {
            let retry_ms = &mut self.nodes.all[node].control_retry_ms;
            if let Some(name) = self.control.clone()
                && retry_ms.take_if(|at_ms| *at_ms <= now_ms).is_some()
            {
                self.broker.subscribe_at(node, vec![name], now_ms);
            }
        }
        self.nodes.note_retries();
    }

    /// What waits for each node is to be sent.
    pub(super) fn flush_nodes(&mut self) {
        for node in self.nodes.all() {
            if let Some(link) = self.nodes.link(node)
                && !self.broker.unsent(node).is_empty()
            {
                self.table.stand(link, 1);
            }
        }
    }
}
