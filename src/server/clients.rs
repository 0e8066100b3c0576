//! L2: the Redis clients of the embedded broker: accepting them, their commands, their replies.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Server;
use super::table::{Party, Table};
use crate::broker::client::{self, Heard, PubSub, RespClient, Step};
use crate::broker::history::Offset;
use crate::broker::{Broker, FIRST};
use crate::browser::Context;
use crate::link::{LinkId, Now, Output, Peer, SaidOnce, Wish};

/// Most bytes that all RESP clients together have not read or not finished: a transaction and a
/// slow subscriber at their own limits, and not a hundred of each.
const MOST_HELD: usize = 128 << 20;
/// RESP clients beyond the most there may be that are accepted to be told so.
pub(crate) const SURPLUS_CLIENTS: usize = 8;

/// The RESP clients there are.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// In the order of their coming.
    links: Vec<LinkId>,
    /// Those who let more wait than they may.
    slow: Vec<LinkId>,
    /// One of them may hold more than before.
    grew: bool,
    said_held: SaidOnce,
    said_slow: SaidOnce,
    said_full: SaidOnce,
}

impl Clients {
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Tells every client of a message who hears its channel. What that makes counts as queued, so
    /// that a turn ends before it is very much.
    #[inline]
    pub(super) fn hear(
        &mut self,
        channel: &[u8],
        payload: &[u8],
        table: &mut Table,
        cx: &mut Context,
    ) {
        // With Redis there is never one.
        if !self.links.is_empty() {
            self.tell(channel, payload, table, cx);
        }
    }

    #[inline(never)]
    fn tell(&mut self, channel: &[u8], payload: &[u8], table: &mut Table, cx: &mut Context) {
        for link in &self.links {
            let Some(slot) = table.get(*link) else { continue };
            let Party::Client(client) = &mut slot.party else { continue };
            let bytes = client.hear(channel, payload);
            if bytes > 0 {
                self.grew = true;
                cx.inflated(bytes);
                self.slow.extend((slot.blocked && client.is_slow()).then_some(*link));
                table.stand(*link, 1);
            }
        }
    }
}

impl Server {
    /// Whether a RESP client may be accepted now: there is an embedded broker to come to, and no
    /// end.
    pub fn accepting_clients(&self) -> bool {
        let most = self.cx.settings.max_resp_clients + SURPLUS_CLIENTS;
        let has_room = self.clients.len() < most;
        has_room && !self.ending.has_begun() && matches!(self.broker, Broker::Local(_))
    }

    /// Names the link of a RESP client that was accepted: a Redis client of the embedded broker.
    pub fn accept_client(&mut self, peer: impl Into<Peer>, now: Now) -> LinkId {
        self.set_now(now);
        let peer = peer.into();
        let most = self.cx.settings.max_resp_clients;
        let full = self.clients.len() >= most;
        let client = RespClient::refused("ERR max number of clients reached");
        let link = self.table.name(Party::Client(Box::new(client)));
        if let Some(client) = self.table.client(link).filter(|_| !full) {
            let number = u64::from(link.generation);
            let settings = &self.cx.settings;
            let password = settings.resp_password.as_deref().map(Arc::from);
            *client = RespClient::new(number, settings.max_message_size, password);
        }
        tracing::debug!("{link} accepted from {peer}, a Redis client");
        self.clients.links.push(link);
        self.cx.metrics.resp_clients += 1;
        self.cx.metrics.resp_clients_total += 1;
        if full {
            self.cx.metrics.resp_clients_closed_total += 1;
            if self.clients.said_full.first() {
                tracing::warn!(
                    "Redis clients are refused: there are {most} of them (said once; then counted)"
                );
            }
        }
        self.after_client(link);
        link
    }

    /// Bytes from a RESP client, or none when it goes on with those that it has kept.
    pub(super) fn client_received(&mut self, link: LinkId, bytes: &[u8]) {
        let mut input = bytes;
        self.clients.grew = true;
        self.run_commands(link, &mut input);
        if let Some(client) = self.table.client(link).filter(|_| !input.is_empty()) {
            client.keep(input);
        }
        // A few bytes may have asked for many.
        let held = self.table.peek_client(link).map_or(0, RespClient::held_bytes);
        self.cx.took(held);
        self.after_client(link);
    }

    /// A RESP client has ended its side, and may still read what it is answered; or its link
    /// failed.
    pub(super) fn client_hung_up(&mut self, link: LinkId, ended: bool) {
        match self.table.client(link) {
            Some(client) if ended => {
                client.end();
                self.after_client(link);
            }
            _ => self.drop_client(link),
        }
    }

    /// Closes every RESP client's link.
    pub(super) fn drop_clients(&mut self) {
        for link in std::mem::take(&mut self.clients.links) {
            self.drop_client(link);
        }
    }

    /// Closes those who let more wait than they may.
    pub(super) fn close_slow_clients(&mut self) {
        for link in std::mem::take(&mut self.clients.slow) {
            self.after_client(link);
        }
        if std::mem::take(&mut self.clients.grew) {
            self.bound_clients();
        }
    }

    /// Something has happened to a RESP client: what waits for it is to be sent, and what it has
    /// asked besides is to be done, or it is closed.
    pub(super) fn after_client(&mut self, link: LinkId) {
        let Some(slot) = self.table.get(link) else { return };
        let Party::Client(client) = &mut slot.party else { return };
        if client.is_done(slot.blocked) {
            return self.drop_client(link);
        }
        if slot.blocked && client.is_slow() {
            self.cx.metrics.resp_clients_closed_total += 1;
            if self.clients.said_slow.first() {
                tracing::warn!(
                    "{link}, a Redis client, reads too slowly and is closed (said once; then \
                     counted)"
                );
            }
            return self.drop_client(link);
        }
        if client.wish() == Wish::GoOn {
            self.table.put(Output::Resume(link));
        }
        self.table.stand(link, 1);
    }

    pub(super) fn drop_client(&mut self, link: LinkId) {
        if self.table.client(link).is_some() {
            self.clients.links.retain(|of| *of != link);
            self.cx.metrics.resp_clients -= 1;
            self.table.close(link);
        }
    }

    /// Does what a RESP client asks, until there is no more of it or the turn is full. A
    /// transaction is done as a whole. What others have published before is delivered before.
    fn run_commands(&mut self, link: LinkId, input: &mut &[u8]) {
        self.broker_events(FIRST, &mut &[][..]);
        if self.broker.has_more() {
            return;
        }
        loop {
            let full = self.cx.is_full();
            let (Some(client), Some(local)) = (self.table.client(link), self.broker.local()) else {
                return;
            };
            if full && !client.is_executing() {
                return;
            }
            match client.step(input, local, self.cx.now) {
                Step::Idle => return,
                Step::Done => {}
                Step::Publish { channel, payload, recorded } => {
                    self.publish_for(link, channel, payload, recorded);
                }
                Step::PubSub(question) => {
                    let heard = self.who_hears(question);
                    if let Some(client) = self.table.client(link) {
                        client.told(&heard);
                    }
                }
            }
        }
    }

    /// Whether this process hears a channel: as with a real Redis, all its conns are one client,
    /// those with positions among them.
    fn hears(&self, channel: &[u8]) -> bool {
        let control = self.control.as_deref().map(str::as_bytes);
        self.relay.hub.find(channel).is_some()
            || self.topics.hears(channel)
            || control == Some(channel)
    }

    /// Who hears what.
    fn who_hears(&mut self, question: PubSub) -> Heard {
        let clients = || self.clients.links.iter().filter_map(|link| self.table.peek_client(*link));
        let control = self.control.as_deref();
        match question {
            PubSub::Channels(pattern) => {
                let conns = self.relay.hub.channels().map(|(_, name)| name.as_bytes());
                let topics = self.topics.channels().map(|(name, _)| name.as_bytes());
                let conns = conns.chain(topics);
                let ours = conns.chain(control.map(str::as_bytes)).map(<[u8]>::to_vec);
                let theirs = clients().flat_map(|client| client.hearing().0);
                let all: BTreeSet<Vec<u8>> = ours.chain(theirs.map(|name| name.to_vec())).collect();
                Heard::Channels(match pattern {
                    Some(pattern) => client::matching(all.into_iter(), &pattern),
                    None => all.into_iter().collect(),
                })
            }
            PubSub::Receivers(names) => {
                let theirs = |name: &[u8]| clients().filter(|client| client.hears(name)).count();
                let receivers = |name: &[u8]| usize::from(self.hears(name)) + theirs(name);
                let count = |name: Vec<u8>| (receivers(&name), name);
                let counts = names.into_iter().map(count);
                Heard::Receivers(counts.map(|(count, name)| (name, count)).collect())
            }
            PubSub::Patterns => {
                let patterns = clients().flat_map(|client| client.hearing().1);
                Heard::Patterns(patterns.collect::<BTreeSet<_>>().len())
            }
        }
    }

    /// Closes the one that holds most, while all clients together hold more than they may.
    fn bound_clients(&mut self) {
        loop {
            let held = |link: &LinkId| self.table.peek_client(*link).map(RespClient::held_bytes);
            let links = self.clients.links.iter();
            let held = links.filter_map(|link| Some((held(link)?, *link))).collect::<Vec<_>>();
            if held.iter().map(|(bytes, _)| bytes).sum::<usize>() <= MOST_HELD {
                return;
            }
            let Some((bytes, link)) = held.into_iter().max_by_key(|(bytes, _)| *bytes) else {
                return;
            };
            self.cx.metrics.resp_clients_closed_total += 1;
            if self.clients.said_held.first() {
                tracing::warn!(
                    "Redis clients hold too much together: {link}, with {} MiB that it has not \
                     read or not finished, is closed (said once; then counted)",
                    bytes >> 20
                );
            }
            self.drop_client(link);
        }
    }

    fn publish_for(
        &mut self,
        link: LinkId,
        channel: Arc<[u8]>,
        payload: Arc<[u8]>,
        recorded: Option<Offset>,
    ) {
        let mut receivers = usize::from(self.hears(&channel));
        for link in &self.clients.links {
            receivers += self.table.client(*link).map_or(0, |client| client.ears(&channel));
        }
        // At once, because clients may count on hearing it before the answer to what they ask next.
        self.clients.hear(&channel, &payload, &mut self.table, &mut self.cx);
        if let (Some(client), Some(local)) = (self.table.client(link), self.broker.local()) {
            local.announce(channel, payload, recorded, self.cx.now);
            client.published(receivers);
        }
    }
}
