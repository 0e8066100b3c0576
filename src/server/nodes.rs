//! L2: what is known of each node of the broker besides what the broker knows: its link, and
//! whether the application is heard there.
//!
//! The application may speak to us at any node, so that its channel is subscribed to at each.

use super::Server;
use super::brokering::Loss;
use crate::broker::{Redis, RedisDue};
use crate::link::{LinkId, Metrics};

/// How long it is until a channel is asked for again that guards security and was denied.
const CONTROL_RETRY_MS: u64 = 5_000;

/// The nodes of the broker, in their order.
#[derive(Debug)]
pub(super) struct Nodes(Box<[Node]>);

/// One of them.
#[derive(Debug, Default)]
struct Node {
    link: Option<LinkId>,
    hears_control: bool,
    /// When the application's channel is asked for again, after it was denied.
    control_retry_ms: Option<u64>,
}

impl Nodes {
    /// So many, of which none has a link.
    pub(super) fn new(nodes: usize) -> Nodes {
        Nodes((0..nodes).map(|_| Node::default()).collect())
    }

    /// The link of one.
    #[inline]
    pub(super) fn link(&self, node: usize) -> Option<LinkId> {
        self.0[node].link
    }

    /// One has a link.
    pub(super) fn dialing(&mut self, node: usize, link: LinkId) {
        self.0[node].link = Some(link);
    }

    /// One has its link no more, and nothing is heard there.
    pub(super) fn lost(&mut self, node: usize, metrics: &mut Metrics) -> Option<LinkId> {
        let Node { link, .. } = std::mem::take(&mut self.0[node]);
        metrics.control_heard = 0;
        link
    }

    /// The application is heard at one.
    pub(super) fn heard_control(&mut self, node: usize, metrics: &mut Metrics) {
        self.0[node].hears_control = true;
        metrics.control_heard = u64::from(self.0.iter().all(|node| node.hears_control));
    }

    /// It is not, and is asked for again later.
    pub(super) fn denied_control(&mut self, node: usize, now_ms: u64) {
        self.0[node].control_retry_ms = Some(now_ms + CONTROL_RETRY_MS);
    }

    /// When it is asked for again somewhere.
    pub(super) fn control_retry_ms(&self) -> Option<u64> {
        self.0.iter().filter_map(|node| node.control_retry_ms).min()
    }
}

impl Server {
    /// Lets time pass for each node whose time matters.
    pub(super) fn tick_nodes(&mut self) {
        let now_ms = self.cx.now.mono_ms;
        for node in 0..self.broker.nodes() {
            match self.timed_redis(node).and_then(|redis| redis.tick(now_ms)) {
                Some(RedisDue::Dial) => self.dial_broker(node),
                Some(RedisDue::GiveUp) => {
                    self.on_broker_lost(node, Loss::Broken("it did not answer in time"));
                }
                Some(RedisDue::Leave) => self.on_broker_lost(node, Loss::Left),
                None => {}
            }
        }
    }

    /// When one of them has something to do.
    pub(super) fn nodes_ms(&mut self) -> Option<u64> {
        let nodes = 0..self.broker.nodes();
        nodes.filter_map(|node| self.timed_redis(node).map(|redis| redis.deadline_ms())).min()
    }

    /// The Redis of a node, as long as its time matters: a server that ends does not dial again.
    pub(super) fn timed_redis(&mut self, node: usize) -> Option<&mut Redis> {
        match self.nodes.link(node) {
            None if self.ending.has_begun() => None,
            _ => self.broker.redis(node),
        }
    }

    /// Asks again to hear the application, where that was denied.
    pub(super) fn retry_control(&mut self) {
        let now_ms = self.cx.now.mono_ms;
        if self.nodes.control_retry_ms().is_none_or(|at_ms| at_ms > now_ms) {
            return;
        }
        for node in 0..self.broker.nodes() {
            let retry_ms = &mut self.nodes.0[node].control_retry_ms;
            if let Some(name) = self.control.clone()
                && retry_ms.take_if(|at_ms| *at_ms <= now_ms).is_some()
            {
                self.broker.subscribe_at(node, vec![name], now_ms);
            }
        }
    }

    /// What waits for each node is to be sent.
    pub(super) fn flush_nodes(&mut self) {
        for node in 0..self.broker.nodes() {
            if let Some(link) = self.nodes.link(node)
                && !self.broker.unsent(node).is_empty()
            {
                self.table.stand(link, 1);
            }
        }
    }
}
