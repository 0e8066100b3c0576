//! L2: what is done about an outage of Redis for those who hear: everybody waits for what may have
//! been stored meanwhile; and what it has kept from a channel that has a history is read, and goes
//! out before anything live, in the order of the stream.
//!
//! A conn's own message whose push was lost with the link comes back to it, as the stored one does:
//! nothing says any more whose it was.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Server;
use super::handout::Packet;
use super::relay::Relay;
use super::table::Table;
use crate::broker::Ask;
use crate::broker::history::reading::Since;
use crate::browser::Context;
use crate::fanout::hub::ChannelId;
use crate::fanout::stored::Released;
use crate::link::LinkId;

impl Server {
    /// Asks for the places of trails, as many as a node of the broker has room for.
    pub(super) fn ask_for_places(&mut self, node: usize) {
        while self.relay.trails.has_to_ask()
            && self.broker.has_room(node)
            && let Some((number, name, reading)) = self.relay.trails.next_to_ask(node)
        {
            self.broker.read(node, Ask::Place(number), &name, reading, self.cx.now.mono_ms);
        }
    }

    /// Asks for what came into a channel's history in an outage, beside that fetch.
    pub(super) fn ask_for_missed(&mut self, node: usize, fetch: u64, name: &Arc<str>) {
        if let Some(reading) = self.relay.trails.to_mend(name, fetch) {
            self.broker.read(node, Ask::Missed(fetch), name, reading, self.cx.now.mono_ms);
        }
    }
}

impl Relay {
    /// A node of the broker has come up and knows nothing: the channels to be subscribed to.
    /// Everybody waits for what may have been stored meanwhile.
    pub(super) fn catch_up(&mut self, node: usize, table: &mut Table) -> Vec<Arc<str>> {
        self.gaps.begin(node, &self.hub, table);
        self.trails.forget_questions(node);
        let forgotten = self.fetches.forgotten(node);
        let mut names = Vec::new();
        for channel in self.in_the_order_of_conns() {
            let name = self.hub.name(channel).clone();
            if self.spread.hears(&name) != node {
                continue;
            }
            let own = self.hub.hold_all(channel);
            let state = self.hub.state(channel);
            state.confirmed = false;
            let fetch = self.fetches.catch_up(channel, name.clone(), state);
            self.trails.mend(&name, fetch);
            self.fetches.wait_for_news(links_of(own, table), state);
            names.push(name);
        }
        for fetch in forgotten.into_values() {
            if self.is_current(fetch.channel, &fetch.name) {
                let state = self.hub.state(fetch.channel);
                self.fetches.wait_again(fetch, state);
            }
        }
        names
    }

    /// These channels, as far as they are heard, are to be subscribed to anew at a node that is up:
    /// those that are. Everybody waits as after an outage.
    pub(super) fn catch_up_some(
        &mut self,
        node: usize,
        names: &[Arc<str>],
        table: &mut Table,
    ) -> Vec<Arc<str>> {
        let mut heard = Vec::new();
        for name in names {
            let Some(channel) = self.hub.find(name.as_bytes()) else { continue };
            self.hub.state(channel).confirmed = false;
            self.gaps.expect(node, channel, &self.hub, table);
            self.catch_up_with(name, table);
            heard.push(name.clone());
        }
        heard
    }

    /// Redis was asked for a channel's messages once more, behind the asks that were made:
    /// everybody waits for what is stored behind that.
    pub(super) fn catch_up_with(&mut self, name: &str, table: &mut Table) {
        let Some(channel) = self.hub.find(name.as_bytes()) else { return };
        let name = self.hub.name(channel).clone();
        let own = self.hub.hold_all(channel);
        let state = self.hub.state(channel);
        let overtaken = self.fetches.overtaken(state);
        let fetch = self.fetches.catch_up(channel, name.clone(), state);
        self.trails.mend(&name, fetch);
        self.fetches.wait_for_news(links_of(own, table), state);
        for fetch in overtaken {
            self.fetches.wait_again(fetch, state);
        }
    }

    /// Where a channel's history ends at a node is known; nothing if it is not.
    pub(super) fn on_place(&mut self, number: u64, text: Option<&[u8]>, node: usize, cx: &Context) {
        let end = text.and_then(Since::parse).map(|since| since.end);
        self.trails.on_place(number, end, node, cx.now.mono_ms);
    }

    /// What came into a channel's history in an outage is known; nothing if it is not.
    pub(super) fn on_missed(&mut self, fetch: u64, text: Option<&[u8]>, cx: &Context) {
        let mut since = text.and_then(Since::parse);
        let most = cx.settings.max_message_size;
        if let Some(messages) = since.as_mut().and_then(|since| since.messages.as_mut()) {
            // They were skipped live, too.
            messages.retain(|message| (1..=most).contains(&message.len()));
        }
        let Some(name) = self.fetches.name_of(fetch) else { return };
        let Relay { trails, fingerprints, .. } = self;
        trails.on_read(&name, fetch, since, |message| fingerprints.of(message));
    }

    /// A channel is to be heard at another node, though its own was up.
    pub(super) fn note_moved(&mut self, name: &str) {
        if let Some(channel) = self.hub.find(name.as_bytes()) {
            self.hub.state(channel).is_moved = true;
        }
    }

    /// Hands what was missed in an outage to everyone who heard the channel, and behind it what was
    /// held; false when nothing could be read of that. The stored message goes before it if it is
    /// news and is none of these.
    pub(super) fn hand_over_missed(
        &mut self,
        channel: ChannelId,
        (stored, news): (Option<&[u8]>, bool),
        held: &Released,
        start: usize,
        table: &mut Table,
        cx: &mut Context,
    ) -> bool {
        let name = self.hub.name(channel).clone();
        let Some(messages) = self.trails.mended(&name, &held.messages[start..]) else {
            return false;
        };
        cx.metrics.missed_total += (messages.len() - (held.messages.len() - start)) as u64;
        let all = Released::from(messages);
        let is_cluster = self.spread.owners().is_some();
        for message in &all.messages {
            let hash = self.fingerprints.of(&message.payload);
            self.hub.state(channel).saw(hash);
            if is_cluster && message.is_missed() {
                self.on_mended(&name, hash, cx.now.mono_ms);
            }
        }
        let mut packet = Packet::new(channel, stored, &all);
        let conns = self.hub.release_all(channel);
        let receivers = conns.len();
        for index in conns {
            packet.hand(index, 0, news, receivers, &mut self.slow, table, cx);
        }
        true
    }

    /// All channels, so that those of each conn are in its own order, as far as conns agree.
    fn in_the_order_of_conns(&self) -> Vec<ChannelId> {
        let ids = || self.hub.channels().map(|(channel, _)| channel);
        let places = ids().last().map_or(0, |last| last as usize + 1);
        // The channels that come right behind a channel for some conn, and how often it is one.
        let (mut behind, mut before) = (vec![Vec::new(); places], vec![0u32; places]);
        for channels in self.hub.channels_of_each() {
            let mut last = None;
            for channel in channels {
                if let Some(last) = last.replace(channel) {
                    behind[last as usize].push(channel);
                    before[channel as usize] += 1;
                }
            }
        }
        let mut free: VecDeque<ChannelId> = ids().filter(|id| before[*id as usize] == 0).collect();
        let (mut order, mut taken) = (Vec::new(), vec![false; places]);
        let mut rest = ids();
        while let Some(channel) =
            free.pop_front().or_else(|| rest.find(|channel| !taken[*channel as usize]))
        {
            if std::mem::replace(&mut taken[channel as usize], true) {
                continue;
            }
            order.push(channel);
            for next in std::mem::take(&mut behind[channel as usize]) {
                before[next as usize] -= 1;
                if before[next as usize] == 0 {
                    free.push_back(next);
                }
            }
        }
        order
    }
}

/// The links of the conns with these indices.
fn links_of(conns: Vec<u32>, table: &mut Table) -> Vec<LinkId> {
    conns.into_iter().filter_map(|index| table.at(index).map(|(link, _)| link)).collect()
}
