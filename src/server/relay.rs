//! L2: what conns hear: channels, deliveries and stored messages.
//!
//! It knows the hub, and puts into outboxes. Its rules:
//! * a message is encoded once for all who get it, and those that arrived together go out as one;
//! * what is delivered while a conn waits for a channel's stored message is held for it, no longer
//!   than the broker may take to answer, and no more than an outbox may have;
//! * a conn stands in line for flushing once, however much is queued for it;
//! * no outbox grows past its limit once the kernel has refused bytes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::RandomState;
use std::iter;
use std::sync::Arc;

use super::gaps::Gaps;
use super::handout::{Packet, hand_out};
use super::overlaps::Overlaps;
use super::repeats::{Recent, Reheard};
use super::table::{Party, Table};
use crate::access::channel;
use crate::broker::Delivery;
use crate::broker::spread::Spread;
use crate::browser::{Conn, Context};
use crate::fanout::encoded::Run;
use crate::fanout::fingerprint::Fingerprints;
use crate::fanout::hub::{ChannelId, Hub, Joined, Waits};
use crate::fanout::stored::{ChannelState, Fetches, Released, Since, Waiter};
use crate::fanout::trail::Trails;
use crate::link::LinkId;

/// Messages of more bytes than this are not joined with others, which would copy them.
pub(super) const JOINED_MESSAGE: usize = 4 << 10;
/// Most bytes that are joined.
pub(super) const JOINED_BYTES: usize = 64 << 10;
/// Bytes that are held on all channels together before the one that passes this waits no longer.
const HELD_BYTES: usize = 64 << 20;
/// Bytes that may be held on a channel, however small an outbox is.
const HELD_AT_LEAST: usize = 64 << 10;

/// Who hears what.
#[derive(Debug)]
pub(super) struct Relay {
    pub hub: Hub<ChannelState>,
    /// Whose conns there are besides those who hear a channel of their owner's, by which they are
    /// found.
    pub owners: Hub<()>,
    pub gaps: Gaps,
    pub(super) trails: Trails,
    /// How channels are spread over the nodes of the broker.
    pub(super) spread: Spread,
    pub(super) fetches: Fetches,
    /// Bytes that are held on all channels.
    pub(super) held: usize,
    /// How long a live message waits for the stored one.
    patience_ms: u64,
    /// Since when the oldest message of a channel waits, or one before it.
    due: BTreeSet<(Since, ChannelId)>,
    /// Messages that have ever been held.
    waited: u64,
    arrived: Arrived,
    /// Conns that were handed more than may wait for them.
    pub(super) slow: Vec<LinkId>,
    /// Channels that are heard at another node since a moment ago, with hashes of what was
    /// delivered last.
    pub(super) reheard: BTreeMap<Arc<str>, Reheard>,
    /// Channels that are heard at two nodes, as one is to be left.
    pub(super) overlaps: Overlaps,
    pub(super) recent: Recent,
    /// Hashes of what comes from a master whose replica is about to be heard.
    pub(super) recorded: Option<Vec<(Arc<str>, u64)>>,
    pub(super) fingerprints: Fingerprints,
}

/// Messages for one channel that arrived one right after the other and go out together.
#[derive(Debug, Default)]
struct Arrived {
    channel: ChannelId,
    except: Option<LinkId>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Relay {
    pub(super) fn new(keys: RandomState, spread: Spread, patience_ms: u64, trails: Trails) -> Self {
        Relay {
            fingerprints: Fingerprints::new(&keys),
            hub: Hub::new(keys.clone(), channel::owner_of),
            owners: Hub::new(keys.clone(), |_| None),
            gaps: Gaps::new(spread.clone(), keys),
            trails,
            fetches: Fetches::new(spread.clone()),
            spread,
            held: 0,
            patience_ms,
            due: BTreeSet::new(),
            waited: 0,
            arrived: Arrived::default(),
            slow: Vec::new(),
            reheard: BTreeMap::new(),
            overlaps: Overlaps::default(),
            recent: Recent::default(),
            recorded: None,
        }
    }

    /// Channels are spread otherwise from now on.
    pub(super) fn set_spread(&mut self, spread: &Spread) {
        self.gaps.set_spread(spread.clone(), &self.hub);
        self.fetches.set_spread(spread.clone());
        self.trails.set_spread(spread.clone());
        self.spread = spread.clone();
    }

    /// The names of all channels.
    pub(super) fn names(&self) -> impl Iterator<Item = Arc<str>> {
        self.hub.channels().map(|(_, name)| name.clone())
    }

    /// Whether the broker has confirmed a channel; one that nobody hears has nothing to confirm.
    pub(super) fn is_confirmed(&self, name: &str) -> bool {
        let channel = self.hub.find(name.as_bytes());
        channel.is_none_or(|channel| self.hub.peek(channel).confirmed)
    }

    /// The broker has ceased to have the messages of a channel.
    pub(super) fn unconfirm(&mut self, name: &str) {
        if let Some(channel) = self.hub.find(name.as_bytes()) {
            self.hub.state(channel).confirmed = false;
        }
    }

    /// Whether anybody hears a channel.
    pub(super) fn hears(&self, name: &str) -> bool {
        self.hub.find(name.as_bytes()).is_some()
    }

    /// Lets a conn hear these channels. Until the broker has confirmed them it does not open, and
    /// it waits for the stored message of each, in their order, but for the last so many. The
    /// broker is to be asked for those that are `new`.
    pub(super) fn subscribe(
        &mut self,
        link: LinkId,
        conn: &mut Conn,
        (names, live): (Vec<String>, usize),
        mut new: impl FnMut(Arc<str>),
    ) {
        let Relay { hub, fetches, trails, .. } = self;
        let (mut last_fetch, mut wanted) = (0, names.len() - live);
        let join = |Joined { channel, name, state, first }: Joined<'_, ChannelState>| {
            if first {
                state.is_trailed = trails.begin(name);
                new(name.clone());
            }
            if !state.confirmed {
                conn.await_confirmation();
            }
            if wanted == 0 {
                return Waits::for_confirmation(state.confirmed);
            }
            wanted -= 1;
            last_fetch = fetches.wait(link, channel, name, state, last_fetch);
            Waits::for_stored(state.confirmed)
        };
        hub.subscribe(link.index, names.iter().map(String::as_str), join);
    }

    /// Whether [`Relay::next_to_ask`] may have one.
    #[inline]
    pub(super) fn has_to_ask(&self) -> bool {
        self.fetches.has_to_ask()
    }

    /// The next fetch to ask a node of the broker for, with the name of its channel.
    pub(super) fn next_to_ask(&mut self, node: usize) -> Option<(u64, Arc<str>)> {
        while let Some((number, channel, name)) = self.fetches.next_to_ask(node) {
            if self.is_current(channel, &name) {
                return Some((number, name));
            }
            self.fetches.take(number);
        }
        None
    }

    /// When it has something to do.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.overdue_ms().into_iter().chain(self.trails.deadline_ms()).min()
    }

    /// When [`Relay::release_overdue`] has.
    fn overdue_ms(&self) -> Option<u64> {
        self.due.first().map(|(since, _)| since.at_ms + self.patience_ms)
    }

    /// Lets go what has waited too long for a stored message.
    pub(super) fn release_overdue(&mut self, table: &mut Table, cx: &mut Context) {
        while self.overdue_ms().is_some_and(|at_ms| at_ms <= cx.now.mono_ms)
            && let Some((since, channel)) = self.due.pop_first()
        {
            if self.hub.contains(channel) {
                self.give_up(channel, since.place, table, cx);
                self.note_deadline(channel);
            }
        }
    }

    /// Bytes of messages that wait for stored ones.
    pub(super) fn held_bytes(&self) -> usize {
        self.held
    }

    /// A conn hears nothing more. The broker is to send no more of channels that are `forgotten`;
    /// it is told whether they were confirmed.
    pub(super) fn leave(&mut self, link: LinkId, mut forgotten: impl FnMut(Arc<str>, bool)) {
        self.gaps.forget(link);
        self.owners.unsubscribe(link.index, |_, ()| {});
        self.hub.unsubscribe(link.index, |name, state| {
            self.held -= state.held_bytes();
            self.trails.end(&name);
            forgotten(name, state.confirmed);
        });
    }

    /// Hands a message to everyone who hears its channel. Until the broker has confirmed the
    /// channel its messages are the rest of an earlier subscription: who joins now gets what is
    /// stored, which is newer. The next may be for the same: after the last comes
    /// [`Relay::deliver_arrived`].
    pub(super) fn deliver(&mut self, delivery: Delivery<'_>, table: &mut Table, cx: &mut Context) {
        cx.metrics.deliveries_total += 1;
        let Delivery { channel: name, payload, except, .. } = delivery;
        let Some(channel) = self.heard_channel(name).filter(|_| !payload.is_empty()) else {
            return;
        };
        if !self.arrived.takes(channel, except, payload) {
            // The channel stays: whoever is closed by this leaves it later, by an effect.
            self.deliver_arrived(table, cx);
        }
        if payload.len() > JOINED_MESSAGE {
            return self.fan_out(channel, Run::new(payload, iter::empty()), except, table, cx);
        }
        (self.arrived.channel, self.arrived.except) = (channel, except);
        self.arrived.bytes.extend_from_slice(payload);
        self.arrived.ends.push(self.arrived.bytes.len());
    }

    /// Hands out the messages that may have had to wait for others to go with.
    pub(super) fn deliver_arrived(&mut self, table: &mut Table, cx: &mut Context) {
        let Some(first) = self.arrived.ends.first() else { return };
        let first = *first;
        let Arrived { channel, except, .. } = self.arrived;
        let mut bytes = std::mem::take(&mut self.arrived.bytes);
        let mut ends = std::mem::take(&mut self.arrived.ends);
        let others = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]);
        self.fan_out(channel, Run::new(&bytes[..first], others), except, table, cx);
        bytes.clear();
        ends.clear();
        (self.arrived.bytes, self.arrived.ends) = (bytes, ends);
    }

    /// Takes the conns that were handed more than may wait for them: their timers have changed.
    pub(super) fn take_slow(&mut self) -> Vec<LinkId> {
        std::mem::take(&mut self.slow)
    }

    /// A fetch is answered: the stored message goes to those who wait for it, and, when it is news
    /// after an outage, to everyone; behind it what was held.
    pub(super) fn on_stored(
        &mut self,
        number: u64,
        payload: Option<&[u8]>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let Some(fetch) = self.fetches.take(number) else { return };
        let channel = fetch.channel;
        if !self.is_current(channel, &fetch.name) {
            return;
        }
        let payload = payload.filter(|payload| !payload.is_empty());
        let hash = payload.map(|payload| self.fingerprints.of(payload));
        let state = self.hub.state(channel);
        let released = state.release(number, None, &mut self.fetches);
        hash.into_iter().for_each(|hash| state.saw_stored(hash));
        let (name, now_ms) = (&fetch.name, cx.now.mono_ms);
        let everyone = fetch
            .catch_up
            .map(|it| (it.since, hash.is_some_and(|hash| self.is_news(&it, name, hash, now_ms))));
        let packet = Packet::new(channel, payload, &released);
        self.held -= released.freed;
        if let Some((since, news)) = everyone.filter(|_| self.hub.state(channel).is_trailed) {
            let start = released.start(since);
            // While a slot moves a message may be stored before it is recorded and published.
            let news = news && !fetch.catch_up.is_some_and(|it| it.is_moved);
            self.hand_over((packet, hash), &released, &fetch.waiters, None, table, cx);
            if !self.hand_over_missed(channel, (payload, news), &released, start, table, cx) {
                let packet = Packet::new(channel, payload, &released);
                self.hand_over((packet, hash), &released, &[], everyone, table, cx);
            }
            return;
        }
        self.hand_over((packet, hash), &released, &fetch.waiters, everyone, table, cx);
    }

    /// What is held on a channel up to that place goes without the stored message, and so does what
    /// is behind it for the same conns.
    fn give_up(&mut self, channel: ChannelId, place: u64, table: &mut Table, cx: &mut Context) {
        let Some(until) = self.hub.state(channel).held_until(place) else { return };
        for number in self.hub.state(channel).fetches_before(until) {
            let Some(gone) = self.fetches.give_up(number, until) else { continue };
            let state = self.hub.state(channel);
            let released = state.release(number, gone.rest, &mut self.fetches);
            cx.metrics.stored_late_total += 1;
            let everyone = gone.everyone.map(|catch_up| (catch_up.since, false));
            if everyone.is_some() {
                self.trails.abandon(self.hub.name(channel));
            }
            let packet = Packet::new(channel, None, &released);
            self.held -= released.freed;
            self.hand_over((packet, None), &released, &gone.waiters, everyone, table, cx);
        }
    }

    /// Hands a stored message of that hash and what was held behind it to those who waited, and to
    /// everyone else who heard the channel since so many deliveries, if it is news to them.
    fn hand_over(
        &mut self,
        (mut packet, hash): (Packet<'_>, Option<u64>),
        released: &Released,
        waiters: &[Waiter],
        everyone: Option<(u32, bool)>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let channel = packet.channel;
        for waiter in waiters {
            let index = waiter.link.index;
            if table.peek(waiter.link).is_some() && self.hub.release(channel, index) {
                let (start, stored) = (released.start(waiter.since), waiter.wants(hash));
                packet.hand(index, start, stored, 1, &mut self.slow, table, cx);
            }
        }
        if let Some((since, news)) = everyone {
            let start = released.start(since);
            let conns = self.hub.release_all(channel);
            let receivers = conns.len();
            for index in conns {
                packet.hand(index, start, news, receivers, &mut self.slow, table, cx);
            }
        }
        cx.metrics.compressions_total = cx.encoder.compressions();
    }

    /// The broker has confirmed the channel: conns that waited for nothing else open, or are told
    /// of the outage. Returns those that waited to open.
    pub(super) fn on_subscribed(
        &mut self,
        node: usize,
        name: &[u8],
        table: &mut Table,
        cx: &mut Context,
    ) -> Vec<LinkId> {
        self.overlaps.on_confirmed(node, name, cx.now.mono_ms);
        let Some(channel) = self.hub.find(name) else { return Vec::new() };
        if !std::mem::replace(&mut self.hub.state(channel).confirmed, true) {
            self.gaps.heard(channel, &self.hub, &mut self.slow, table, cx);
            if self.hub.state(channel).is_trailed {
                self.trails.confirmed(self.hub.name(channel));
            }
        }
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
        let Some(channel) = self.hub.find(name.as_bytes()) else { return Vec::new() };
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

    /// The conns of an owner. What an application has chosen for a conn does not say whose it is.
    pub(super) fn conns_of(&self, owner: &str, table: &mut Table) -> Vec<LinkId> {
        let others = self.owners.find(owner.as_bytes()).into_iter();
        let others = others.flat_map(|owner| self.owners.subscribers(owner));
        let is_own = |at: &u32| table.conn_at(*at).is_some_and(Conn::hears_as_itself);
        let conns = self.hub.heard_of(owner).filter(is_own).chain(others).collect::<Vec<u32>>();
        conns.into_iter().filter_map(|index| table.at(index).map(|(link, _)| link)).collect()
    }

    /// Panics when what is counted and indexed disagrees with what is there.
    pub(super) fn check_invariants(&self, table: &Table) {
        self.hub.check_invariants();
        self.owners.check_invariants();
        for index in self.hub.conns().chain(self.owners.conns()) {
            let conn = table.conn_at(index).expect("only conns hear and are somebody's");
            assert!(conn.is_known(), "a stranger hears or is somebody's");
        }
        assert!(self.arrived.ends.is_empty() && self.slow.is_empty(), "something was forgotten");
        self.hub.states().for_each(ChannelState::check_invariants);
        let held: usize = self.hub.states().map(ChannelState::held_bytes).sum();
        assert_eq!(self.held, held, "bytes that are held");
    }

    /// The channel of that name, if somebody hears it and the broker has confirmed it.
    fn heard_channel(&mut self, name: &[u8]) -> Option<ChannelId> {
        let channel = self.hub.find(name)?;
        self.hub.state(channel).confirmed.then_some(channel)
    }

    fn fan_out(
        &mut self,
        channel: ChannelId,
        mut run: Run<'_>,
        except: Option<LinkId>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let holds = self.hub.state(channel).holds();
        for payload in run.payloads() {
            let hash = self.fingerprints.of(payload);
            let state = self.hub.state(channel);
            state.delivered(hash, &self.fetches);
            if state.is_trailed {
                self.trails.delivered(self.hub.name(channel), hash);
            }
            if holds {
                let state = self.hub.state(channel);
                self.waited += 1;
                let since = Since { place: self.waited, at_ms: cx.now.mono_ms };
                self.held += state.hold(payload, except, since);
            }
        }
        let receivers = self.hub.subscribers(channel).len();
        match holds {
            false => {
                let conns = self.hub.subscribers(channel);
                hand_out(conns, receivers, channel, &mut run, except, &mut self.slow, table, cx);
            }
            true => {
                let conns = self.hub.receivers(channel).into_iter();
                hand_out(conns, receivers, channel, &mut run, except, &mut self.slow, table, cx);
                self.note_deadline(channel);
                self.bound(channel, table, cx);
            }
        }
        cx.metrics.compressions_total = cx.encoder.compressions();
    }

    /// Notes until when the oldest message of the channel may be held.
    fn note_deadline(&mut self, channel: ChannelId) {
        if let Some(since) = self.hub.state(channel).held_since() {
            self.due.insert((since, channel));
        }
    }

    /// Lets go what is held on a channel when that is more than may wait.
    fn bound(&mut self, channel: ChannelId, table: &mut Table, cx: &mut Context) {
        let state = self.hub.state(channel);
        let most = cx.settings.outbox_limit.max(HELD_AT_LEAST);
        if state.held_bytes() > most || self.held > HELD_BYTES {
            self.give_up(channel, u64::MAX, table, cx);
        }
    }

    /// Whether the channel that was asked about is still the one of that id.
    pub(super) fn is_current(&self, channel: ChannelId, name: &Arc<str>) -> bool {
        self.hub.contains(channel) && Arc::ptr_eq(self.hub.name(channel), name)
    }
}

impl Arrived {
    /// Whether a message may go out together with those that are here.
    fn takes(&self, channel: ChannelId, except: Option<LinkId>, payload: &[u8]) -> bool {
        (channel, except) == (self.channel, self.except)
            && payload.len() <= JOINED_MESSAGE
            && self.bytes.len() + payload.len() <= JOINED_BYTES
    }
}
