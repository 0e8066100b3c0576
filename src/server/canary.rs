//! L2: a message of our own that goes through each Redis and comes back, to show that messages
//! pass: a link that is up and delivers nothing is of no use.
//!
//! There is one only where somebody asks whether the server is ready. Where Redis does not let us
//! publish or hear it, a link that answers has to do.

use std::sync::Arc;

use super::Server;
use crate::broker::{Broker, Status};

/// How often one is sent.
const EVERY_MS: u64 = 2_000;
const SOON_MS: u64 = 50;
/// One that came back is good for so long: one may be lost on the way, and Redis be slow.
const GOOD_MS: u64 = 6_000;

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Canary {
    /// Its channel; none where nobody asks.
    channel: Option<Arc<str>>,
    number: u64,
    nodes: Box<[Passing]>,
}

/// What is known of it at one node.
#[derive(Clone, Debug, Default)]
struct Passing {
    next_ms: Option<u64>,
    heard_ms: Option<u64>,
    denied: bool,
}

impl Canary {
    /// One on a channel that nobody else has, at so many nodes.
    pub(super) fn new(prefix: &str, seed: u64, nodes: usize) -> Canary {
        let colon = if prefix.is_empty() { "" } else { ":" };
        let channel = format!("{prefix}{colon}wsloop:canary:{seed:016x}");
        let nodes = vec![Passing::default(); nodes].into();
        Canary { channel: Some(channel.into()), number: 0, nodes }
    }

    /// Its channel, if it is sent.
    pub(super) fn channel(&self) -> Option<&Arc<str>> {
        self.channel.as_ref()
    }

    /// A message has come from a node on that channel: whether it is this one, come back.
    #[inline]
    pub(super) fn heard(&mut self, node: usize, channel: &[u8], now_ms: u64) -> bool {
        let is_it = self.channel.as_ref().is_some_and(|own| own.as_bytes() == channel);
        if is_it {
            self.nodes[node].heard_ms = Some(now_ms);
        }
        is_it
    }

    /// A node does not let it pass.
    pub(super) fn denied(&mut self, node: usize) {
        if !std::mem::replace(&mut self.nodes[node].denied, true) {
            tracing::warn!(
                "Redis does not let wsloop publish or hear {:?}, so that readiness can only say \
                 that Redis answers; see ACL SETUSER (said once)",
                self.channel.as_deref().unwrap_or_default()
            );
        }
    }

    /// A node is up, or is not.
    pub(super) fn begin(&mut self, node: usize, up_ms: Option<u64>) {
        if self.channel.is_some() {
            self.nodes[node] = Passing { next_ms: up_ms, heard_ms: None, denied: false };
        }
    }

    /// One is to be sent at a node soon, since another is to hear it that was away: when that has
    /// had the time to begin.
    pub(super) fn hurry(&mut self, node: usize, now_ms: u64) {
        let next_ms = self.nodes.get_mut(node).and_then(|node| node.next_ms.as_mut());
        next_ms.into_iter().for_each(|at_ms| *at_ms = (*at_ms).min(now_ms + SOON_MS));
    }

    /// When one is to be sent.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.nodes.iter().filter_map(|node| node.next_ms).min()
    }

    fn is_well(&self, node: usize, now_ms: u64) -> bool {
        let is_new = |heard_ms: u64| now_ms <= heard_ms + GOOD_MS;
        let node = self.nodes.get(node);
        node.is_none_or(|node| node.denied || node.heard_ms.is_some_and(is_new))
    }
}

impl Server {
    /// Sends the canary when it is due.
    pub(super) fn send_canary(&mut self) {
        let now_ms = self.cx.now.mono_ms;
        let Canary { channel, number, nodes } = &mut self.canary;
        let Some(channel) = channel else { return };
        for (at, node) in nodes.iter_mut().enumerate() {
            if node.next_ms.take_if(|at_ms| *at_ms <= now_ms).is_some()
                && !node.denied
                && let Some(redis) = self.broker.redis(at)
            {
                *number += 1;
                redis.canary(channel, number.to_string().as_bytes(), now_ms);
                node.next_ms = Some(now_ms + EVERY_MS);
            }
        }
    }

    /// Why no browser should be sent here, if there is a reason.
    pub(super) fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.ending.is_running() {
            reasons.push("the server is shutting down".to_owned());
        }
        if let Broker::Redis(_) = &self.broker {
            for node in (0..self.broker.nodes()).filter(|node| self.broker.counts(*node)) {
                let name = self.said.name_of(node);
                match self.broker.status_at(node) {
                    Status::Up if !self.canary.is_well(node, self.cx.now.mono_ms) => {
                        reasons.push(format!("no message came back from {name} lately"));
                    }
                    Status::Up => {}
                    _ => reasons.push(format!("{name} cannot be reached")),
                }
            }
            if let Some(node) = self.nodes.deaf.at() {
                let name = self.said.name_of(node);
                reasons.push(format!("{name} lets wsloop subscribe to nothing, see ACL SETUSER"));
            }
            if self.control.is_some() && self.cx.metrics.control_heard == 0 {
                reasons.push("disconnects of the application are not heard".to_owned());
            }
        }
        reasons
    }
}
