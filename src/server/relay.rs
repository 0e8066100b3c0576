//! What conns hear: channels, deliveries and stored messages.
//!
//! It knows the hub, and puts into outboxes. Its rules:
//! * a message is encoded once for all who get it, and those that arrived together go out as one;
//! * a conn stands in line for flushing once, however much is queued for it;
//! * no outbox grows past its limit once the kernel has refused bytes of it.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::lines::Line;
use super::table::{Party, Table};
use crate::broker::Delivery;
use crate::browser::{self, Conn, Context};
use crate::fanout::encoded::{Encoded, Run};
use crate::fanout::hub::{ChannelId, Hub};
use crate::fanout::overflow::Overflow;
use crate::fanout::stored::{ChannelState, Fetch, Fetches};
use crate::link::{LinkId, Metrics};

/// Messages of more bytes than this are not joined with others, which would copy them.
const JOINED_MESSAGE: usize = 4 << 10;
/// Most bytes that are joined.
const JOINED_BYTES: usize = 64 << 10;

/// Who hears what.
#[derive(Debug)]
pub(super) struct Relay {
    pub hub: Hub<ChannelState>,
    /// Whose conns there are.
    pub owners: Hub<()>,
    fetches: Fetches,
    arrived: Arrived,
    /// Conns that were handed more than may wait for them.
    slow: Vec<LinkId>,
    keys: RandomState,
}

/// Messages for one channel that arrived one right after the other and go out together.
#[derive(Debug, Default)]
struct Arrived {
    channel: ChannelId,
    except: Option<LinkId>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// A subscription that was made.
pub(super) struct Subscribed {
    pub channel: ChannelId,
    /// It is the channel's first: the broker is to be asked for it.
    pub first: bool,
}

impl Relay {
    pub(super) fn new(keys: RandomState) -> Self {
        Relay {
            hub: Hub::new(keys.clone()),
            owners: Hub::new(keys.clone()),
            fetches: Fetches::default(),
            arrived: Arrived::default(),
            slow: Vec::new(),
            keys,
        }
    }

    /// Lets a conn hear a channel. Until the broker has confirmed it the conn does not open.
    pub(super) fn subscribe(
        &mut self,
        link: LinkId,
        conn: &mut Conn,
        name: &str,
    ) -> Option<Subscribed> {
        let of = &mut conn.member()?.subscriptions;
        let (channel, first) = self.hub.subscribe(link.index, of, name, |state| !state.confirmed);
        if !self.hub.state(channel).confirmed {
            conn.await_confirmation();
        }
        Some(Subscribed { channel, first })
    }

    /// Lets a conn wait for the channel's stored message, which is to come after that of fetch
    /// `after`. True is for a fetch that the broker is to be asked for.
    pub(super) fn wait_for_stored(
        &mut self,
        link: LinkId,
        channel: ChannelId,
        after: u64,
    ) -> (u64, bool) {
        let name = self.hub.name(channel).clone();
        self.fetches.wait(link, channel, &name, self.hub.state(channel), after)
    }

    /// The broker has come up and knows nothing: the fetches to ask it for, each with the channel
    /// to be subscribed to.
    pub(super) fn catch_up(&mut self, table: &Table) -> Vec<(u64, Arc<str>)> {
        let forgotten = self.fetches.forgotten();
        let mut fetches = Vec::new();
        for channel in self.in_the_order_of_conns(table) {
            let name = self.hub.name(channel).clone();
            let state = self.hub.state(channel);
            state.confirmed = false;
            fetches.push((self.fetches.catch_up(channel, name.clone(), state), name));
        }
        for fetch in forgotten.into_values() {
            if self.is_current(&fetch) {
                let state = self.hub.state(fetch.channel);
                self.fetches.wait_again(fetch, state);
            }
        }
        fetches
    }

    /// The same for one channel, if somebody hears it.
    pub(super) fn catch_up_with(&mut self, name: &Arc<str>) -> Option<u64> {
        let channel = self.hub.find(name)?;
        Some(self.fetches.catch_up(
            channel,
            self.hub.name(channel).clone(),
            self.hub.state(channel),
        ))
    }

    /// Hands a message to everyone who hears its channel. Until the broker has confirmed the
    /// channel its messages are the rest of an earlier subscription: who joins now gets what is
    /// stored, which is newer. The next may be for the same: after the last comes
    /// [`Relay::deliver_arrived`].
    pub(super) fn deliver(&mut self, delivery: Delivery<'_>, table: &mut Table, cx: &mut Context) {
        cx.metrics.deliveries_total += 1;
        let Delivery { channel: name, payload, except } = delivery;
        let Some(mut channel) = self.heard_channel(name).filter(|_| !payload.is_empty()) else {
            return;
        };
        if !self.arrived.takes(channel, except, payload) {
            self.deliver_arrived(table, cx);
            let Some(still) = self.heard_channel(name) else { return };
            channel = still;
        }
        if payload.len() > JOINED_MESSAGE {
            return self.fan_out(channel, Run::new([payload].into_iter()), except, table, cx);
        }
        (self.arrived.channel, self.arrived.except) = (channel, except);
        self.arrived.bytes.extend_from_slice(payload);
        self.arrived.ends.push(self.arrived.bytes.len());
    }

    /// Hands out the messages that may have had to wait for others to go with.
    pub(super) fn deliver_arrived(&mut self, table: &mut Table, cx: &mut Context) {
        if self.arrived.ends.is_empty() {
            return;
        }
        let mut arrived = std::mem::take(&mut self.arrived);
        self.fan_out(arrived.channel, Run::new(arrived.payloads()), arrived.except, table, cx);
        arrived.bytes.clear();
        arrived.ends.clear();
        self.arrived = arrived;
    }

    /// Takes the conns that were handed more than may wait for them: their timers have changed.
    pub(super) fn take_slow(&mut self) -> Vec<LinkId> {
        std::mem::take(&mut self.slow)
    }

    /// A fetch is answered: the stored message goes to those who wait for it, or, when it is news
    /// after an outage, to everyone.
    pub(super) fn on_stored(
        &mut self,
        fetch: u64,
        payload: Option<&[u8]>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let Some(fetch) = self.fetches.answered(fetch) else { return };
        let Some(payload) = payload.filter(|p| !p.is_empty() && self.is_current(&fetch)) else {
            return;
        };
        let hash = self.hash(payload);
        let state = self.hub.state(fetch.channel);
        if state.is_news(hash) && fetch.is_for_everyone(state) {
            return self.fan_out(fetch.channel, Run::new([payload].into_iter()), None, table, cx);
        }
        let links: Vec<LinkId> = fetch.entitled(state).collect();
        let mut encoded = Encoded::new(payload);
        for link in links {
            let now = cx.now.tick();
            let Some(slot) = table.get(link) else { continue };
            let Party::Browser(conn) = &mut slot.party else { continue };
            let Some((outbox, member, _)) = conn.receiver() else { continue };
            member.spoken = now;
            outbox.push(cx.encoder.frame(&mut encoded, link.index, member.form));
            cx.metrics.messages_out_total += 1;
            cx.queued(1);
            self.slow.push(link);
        }
        cx.metrics.compressions_total = cx.encoder.compressions();
    }

    /// The broker has confirmed the channel: conns that waited for nothing else open. Returns those
    /// that waited.
    pub(super) fn on_subscribed(
        &mut self,
        name: &[u8],
        table: &mut Table,
        cx: &mut Context,
    ) -> Vec<LinkId> {
        let name = std::str::from_utf8(name).ok();
        let Some(channel) = name.and_then(|name| self.hub.find(name)) else { return Vec::new() };
        self.hub.state(channel).confirmed = true;
        let mut links = Vec::new();
        for index in self.hub.take_waiting(channel) {
            if let Some((link, slot)) = table.at(index)
                && let Party::Browser(conn) = &mut slot.party
            {
                conn.on_confirmed(link, cx);
                links.push(link);
            }
        }
        links
    }

    /// The broker will not let us hear the channel: whoever counts on it is told, not left waiting.
    pub(super) fn on_denied(
        &mut self,
        name: &str,
        table: &mut Table,
        cx: &mut Context,
    ) -> Vec<LinkId> {
        let Some(channel) = self.hub.find(name) else { return Vec::new() };
        let mut links = Vec::new();
        for index in self.hub.subscribers(channel) {
            if let Some((link, slot)) = table.at(index)
                && let Party::Browser(conn) = &mut slot.party
                && conn.member().is_some()
            {
                conn.on_denied(link, cx);
                links.push(link);
            }
        }
        links
    }

    /// The conns of an owner.
    pub(super) fn conns_of(&self, owner: &str, table: &mut Table) -> Vec<LinkId> {
        let Some(owner) = self.owners.find(owner) else { return Vec::new() };
        let conns = self.owners.subscribers(owner);
        conns.filter_map(|index| table.at(index).map(|(link, _)| link)).collect()
    }

    /// Panics when what is counted and indexed disagrees with what is there.
    pub(super) fn check_invariants(&self, metrics: &Metrics) {
        self.hub.check_invariants();
        self.owners.check_invariants();
        assert_eq!(metrics.channels, self.hub.len() as u64);
        assert!(self.arrived.ends.is_empty() && self.slow.is_empty(), "something was forgotten");
    }

    /// The channel of that name, if somebody hears it and the broker has confirmed it.
    fn heard_channel(&mut self, name: &[u8]) -> Option<ChannelId> {
        let channel = self.hub.find(std::str::from_utf8(name).ok()?)?;
        self.hub.state(channel).confirmed.then_some(channel)
    }

    /// All channels, so that those of each conn are in its own order, as far as conns agree.
    fn in_the_order_of_conns(&self, table: &Table) -> Vec<ChannelId> {
        let ids = || self.hub.channels().map(|(channel, _)| channel);
        let places = ids().last().map_or(0, |last| last as usize + 1);
        // The channels that come right behind a channel for some conn, and how often it is one.
        let (mut behind, mut before) = (vec![Vec::new(); places], vec![0u32; places]);
        for slot in table.slots() {
            let Party::Browser(conn) = &slot.party else { continue };
            let mut last = None;
            for channel in self.hub.channels_of(conn.subscriptions()) {
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

    fn fan_out(
        &mut self,
        channel: ChannelId,
        mut run: Run<'_>,
        except: Option<LinkId>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        for payload in run.payloads() {
            let hash = self.hash(payload);
            self.hub.state(channel).delivered(hash);
        }
        let (now, limit) = (cx.now.tick(), cx.settings.outbox_limit);
        let subscribers = self.hub.subscribers(channel);
        let line = Line::of(subscribers.len());
        let messages = run.messages();
        for index in subscribers {
            let Some((link, slot, lines)) = table.at_and_lines(index) else { continue };
            if except == Some(link) {
                continue;
            }
            let Party::Browser(conn) = &mut slot.party else { continue };
            let Some((outbox, member, goes_out)) = conn.receiver() else { continue };
            member.spoken = now;
            if member.skips {
                let frame = run.last(&mut cx.encoder, index, member.form);
                let superseded = outbox.replace(frame, channel) + messages - 1;
                browser::supersede(link, superseded, cx);
            } else {
                let frames = run.frames(&mut cx.encoder, index, member.form);
                match member.overflow {
                    Overflow::Close => outbox.push(frames),
                    Overflow::Latest => outbox.push_labelled(frames, Some(channel)),
                }
            }
            cx.metrics.messages_out_total += messages as u64;
            cx.queued(1);
            if slot.blocked {
                if conn.is_over(limit) {
                    conn.overflowed(link, cx);
                    self.slow.push(link);
                }
            } else if goes_out {
                slot.enter(index, line, lines);
            }
        }
        cx.metrics.compressions_total = cx.encoder.compressions();
    }

    /// Whether the channel that was asked about is still the one of that id.
    fn is_current(&self, fetch: &Fetch) -> bool {
        self.hub.contains(fetch.channel) && Arc::ptr_eq(self.hub.name(fetch.channel), &fetch.name)
    }

    fn hash(&self, payload: &[u8]) -> u64 {
        self.keys.hash_one(payload) | 1
    }
}

impl Arrived {
    /// Whether a message may go out together with those that are here.
    fn takes(&self, channel: ChannelId, except: Option<LinkId>, payload: &[u8]) -> bool {
        (channel, except) == (self.channel, self.except)
            && payload.len() <= JOINED_MESSAGE
            && self.bytes.len() + payload.len() <= JOINED_BYTES
    }

    fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}
