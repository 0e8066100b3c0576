//! L2: a Redis that lets wsloop subscribe to nothing, so that no browser can be let in.
//!
//! Readiness says so, and then no browser may come any more, so that nothing else would show when
//! it is mended. Its rules:
//! * it begins when a channel of browsers is denied because the command is: a channel that alone is
//!   denied is a matter of those who wanted it;
//! * that channel is asked for again every few seconds, until it is heard.

use std::sync::Arc;

use super::Server;

/// How long it is until the channel is asked for again.
const RETRY_MS: u64 = 5_000;

/// Whether there is one.
#[derive(Debug, Default)]
pub(super) struct Deaf {
    denied: Option<Denied>,
    /// What was asked for until it was heard, and is to be left if nobody wants it.
    heard: Option<Arc<str>>,
}

/// What was denied, and by which node.
#[derive(Debug)]
struct Denied {
    node: usize,
    channel: Arc<str>,
    retry_ms: u64,
}

impl Deaf {
    /// A node denies the command that subscribes. The first channel stays the one that is asked
    /// for, so that there is but one to be left when it is heard.
    pub(super) fn denied(&mut self, node: usize, channel: &Arc<str>, now_ms: u64) {
        let retry_ms = now_ms + RETRY_MS;
        let denied = || Denied { node, channel: channel.clone(), retry_ms };
        self.denied.get_or_insert_with(denied).node = node;
    }

    /// A channel is heard: if it was the one that was denied, that is over.
    #[inline]
    pub(super) fn hears(&mut self, channel: &[u8]) {
        let is_it = |denied: &mut Denied| denied.channel.as_bytes() == channel;
        if let Some(denied) = self.denied.take_if(is_it) {
            self.heard = Some(denied.channel);
        }
    }

    /// The node that denies it.
    pub(super) fn at(&self) -> Option<usize> {
        self.denied.as_ref().map(|denied| denied.node)
    }

    /// When the channel is asked for again, or left: at once.
    #[inline]
    pub(super) fn retry_ms(&self) -> Option<u64> {
        match self.heard {
            None => self.denied.as_ref().map(|denied| denied.retry_ms),
            Some(_) => Some(0),
        }
    }

    /// The channel, if it is to be asked for now.
    fn due(&mut self, now_ms: u64) -> Option<Arc<str>> {
        let denied = self.denied.as_mut().filter(|denied| denied.retry_ms <= now_ms)?;
        denied.retry_ms = now_ms + RETRY_MS;
        Some(denied.channel.clone())
    }
}

impl Server {
    /// Asks again for what was denied, unless somebody does who wants to hear it; once it is heard,
    /// it is left unless somebody wants it.
    pub(super) fn retry_hearing(&mut self) {
        let now_ms = self.cx.now.mono_ms;
        if let Some(name) = self.nodes.deaf.heard.take()
            && !self.is_wanted(&name)
        {
            self.broker.unsubscribe(name, true, now_ms);
        }
        if let Some(name) = self.nodes.deaf.due(now_ms)
            && !self.is_wanted(&name)
            && self.broker.can_hear(&name)
        {
            self.broker.subscribe(name, now_ms);
        }
    }

    fn is_wanted(&self, channel: &str) -> bool {
        let channel = channel.as_bytes();
        self.relay.hub.find(channel).is_some() || self.topics.hears(channel)
    }
}
