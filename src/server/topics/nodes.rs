//! L2: what becomes of channels with positions when nodes of the broker come up, or have other
//! channels than before.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Mending, Topics};
use crate::broker::spread::Spread;
use crate::fanout::hub::ChannelId;

impl Topics {
    /// Channels are spread otherwise from now on, and what was to be asked somewhere is asked where
    /// its channel is read now: nobody is asked anything at a node that may never come back.
    pub(in crate::server) fn set_spread(&mut self, spread: Spread) {
        self.spread = spread;
        let waiting: Vec<_> = self.to_ask.iter_mut().map(std::mem::take).collect();
        for question in waiting.into_iter().flatten() {
            self.to_ask[self.spread.reads(&question.1)].push_back(question);
        }
    }

    /// Whether the broker has confirmed a channel; one that nobody hears has nothing to confirm.
    pub(in crate::server) fn is_confirmed(&self, name: &str) -> bool {
        let channel = self.hub.find(name.as_bytes());
        channel.is_none_or(|channel| self.hub.peek(channel).confirmed)
    }

    /// The broker has ceased to have the messages of a channel.
    pub(in crate::server) fn unconfirm(&mut self, name: &str) {
        if let Some(channel) = self.hub.find(name.as_bytes()) {
            self.hub.state(channel).confirmed = false;
        }
    }

    /// Another node has said a message that was delivered, or one that equals it: what is in the
    /// history says which.
    pub(in crate::server) fn on_repeated(&mut self, name: &[u8]) {
        let Some(channel) = self.hub.find(name) else { return };
        let topic = self.hub.state(channel);
        if topic.size.is_some() && topic.confirmed {
            topic.line.doubt();
            self.look_behind(channel);
        }
    }

    /// Fingerprints of what was given out of histories in a cluster before it has arrived.
    pub(in crate::server) fn take_early(&mut self) -> Vec<(Arc<str>, u64)> {
        std::mem::take(&mut self.early)
    }

    /// Fingerprints of what was handed over from histories after an outage in a cluster, and may
    /// come live as well.
    pub(in crate::server) fn take_mended(&mut self) -> Vec<(Arc<str>, u64)> {
        std::mem::take(&mut self.mended)
    }

    /// The names of all channels.
    pub(in crate::server) fn names(&self) -> impl Iterator<Item = Arc<str>> {
        self.hub.channels().map(|(_, name)| name.clone())
    }

    /// A node of the broker has come up and knows nothing: the channels to be subscribed to.
    pub(in crate::server) fn catch_up(&mut self, node: usize) -> Vec<Arc<str>> {
        let Topics { hub, spread, .. } = self;
        let own = hub.channels().filter(|(_, name)| spread.hears(name) == node);
        let names: Vec<_> = own.map(|(_, name)| name.clone()).collect();
        self.catch_up_with(&names)
    }

    /// These channels, as far as they are heard, are to be subscribed to anew: those that are.
    pub(in crate::server) fn catch_up_with(&mut self, names: &[Arc<str>]) -> Vec<Arc<str>> {
        let ids = names.iter().filter_map(|name| Some((self.hub.find(name.as_bytes())?, name)));
        let channels: BTreeMap<ChannelId, Arc<str>> =
            ids.map(|(id, name)| (id, name.clone())).collect();
        // What was asked about a channel that nobody hears any more may never be answered.
        let hub = &self.hub;
        let is_heard = |channel: ChannelId, name: &Arc<str>| {
            hub.contains(channel) && Arc::ptr_eq(hub.name(channel), name)
        };
        self.asked.retain(|_, (channel, name)| {
            !channels.contains_key(channel) && is_heard(*channel, name)
        });
        let asked = &self.asked;
        for questions in &mut self.to_ask {
            questions.retain(|(number, ..)| asked.contains_key(number));
        }
        for channel in channels.keys() {
            let hears = self.hub.subscribers(*channel).len();
            let topic = self.hub.state(*channel);
            topic.confirmed = false;
            topic.looking = None;
            topic.line.interrupt();
            topic.held = Vec::new();
            let joining = topic.joining.take();
            topic.arriving.splice(..0, joining.into_iter().flat_map(|joining| joining.all));
            topic.mending = match topic.count_absent() < hears {
                true => Mending::Due,
                false => Mending::Done,
            };
        }
        channels.into_values().collect()
    }
}
