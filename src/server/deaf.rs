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
pub(super) struct Deaf(Option<Denied>);

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
        self.0.get_or_insert_with(denied).node = node;
    }

    /// The channel is heard: its name if it was denied, which is over now.
    #[inline]
    pub(super) fn hears(&mut self, channel: &[u8]) -> Option<Arc<str>> {
        let denied = self.0.take_if(|denied| denied.channel.as_bytes() == channel);
        denied.map(|denied| denied.channel)
    }

    /// The node that denies it.
    pub(super) fn at(&self) -> Option<usize> {
        self.0.as_ref().map(|denied| denied.node)
    }

    /// When the channel is asked for again.
    #[inline]
    pub(super) fn retry_ms(&self) -> Option<u64> {
        self.0.as_ref().map(|denied| denied.retry_ms)
    }

    /// The channel, if it is to be asked for now.
    fn due(&mut self, now_ms: u64) -> Option<Arc<str>> {
        let denied = self.0.as_mut().filter(|denied| denied.retry_ms <= now_ms)?;
        denied.retry_ms = now_ms + RETRY_MS;
        Some(denied.channel.clone())
    }
}

impl Server {
    /// Asks again for what was denied, unless somebody does who wants to hear it.
    pub(super) fn retry_hearing(&mut self) {
        let Some(name) = self.deaf.due(self.cx.now.mono_ms) else { return };
        let channel = name.as_bytes();
        let is_wanted = self.relay.hub.find(channel).is_some() || self.topics.hears(channel);
        if !is_wanted && self.broker.can_hear(&name) {
            self.broker.subscribe(name, self.cx.now.mono_ms);
        }
    }
}
