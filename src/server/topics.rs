//! L2: who hears channels by `wsloop.1`: each message with a header that says of which channel it is.
//!
//! It knows the hub of those conns, which is another than the relay's, so that plain conns pay
//! nothing for it; it puts into outboxes. Its rules:
//! * a message and its header are encoded once for all who hear the channel;
//! * a conn waits until the broker has confirmed the channel and has said what is stored; what is
//!   live is held for it until then, no longer than the broker may take and no more than an outbox
//!   may have;
//! * who waits is told once: that it hears the channel, or why it does not;
//! * whoever heard a channel when the broker was lost is told of a gap when it is back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::RandomState;
use std::iter;
use std::sync::Arc;

use super::Server;
use super::handout::hand_out;
use super::table::Table;
use crate::access::channel;
use crate::broker::{Ask, Status};
use crate::browser::topics::{Unheard, words_of};
use crate::browser::{Context, Hear};
use crate::fanout::encoded::{Encoded, Run};
use crate::fanout::hub::{ChannelId, Hub, Joined, Waits};
use crate::link::{Frame, LinkId};
use crate::proto::topics::{NOWHERE, TopicHeader};
use crate::proto::ws::frame::{self, Opcode};

/// Bytes that may be held on a channel, however small an outbox is.
const HELD_AT_LEAST: usize = 64 << 10;

/// Who hears what.
#[derive(Debug)]
pub(super) struct Topics {
    hub: Hub<Heard>,
    /// The questions for stored messages, by their numbers, with the channels they are about.
    fetches: BTreeMap<u64, (ChannelId, Arc<str>)>,
    /// The number of the last one that was made.
    made: u64,
    /// Those that the broker was not asked yet.
    to_ask: VecDeque<u64>,
    /// Wishes in the order in which they came, with the channels that they are for.
    wishes: VecDeque<(u64, LinkId, Arc<str>)>,
    /// Bytes that are held on all channels.
    held: usize,
    patience_ms: u64,
}

/// A channel that is heard.
#[derive(Debug, Default)]
struct Heard {
    /// What clients call it: its audience and facility.
    words: (String, String),
    /// Whether the broker has confirmed it.
    confirmed: bool,
    /// The question for its stored message that is under way, and whether the broker was asked.
    fetch: Option<(u64, bool)>,
    waiters: Vec<Waiter>,
    /// What was delivered since somebody waits, with its header.
    held: Vec<Arc<[u8]>>,
}

/// A conn that waits for a channel.
#[derive(Clone, Debug)]
struct Waiter {
    link: LinkId,
    wants: Wants,
    /// The question whose answer it waits for; none while the channel is not confirmed.
    fetch: Option<u64>,
    /// Where in what is held its own begins.
    start: usize,
}

#[derive(Clone, Debug)]
enum Wants {
    /// It has wished to hear the channel under this number, behind that position if there is one.
    New(u64, Option<String>),
    /// It has heard the channel before the broker was lost.
    Again,
}

impl Heard {
    fn header<'a>(&'a self, of: fn(&'a str, &'a str, &'a str) -> TopicHeader<'a>) -> Vec<u8> {
        self.header_at(of, NOWHERE)
    }

    fn header_at<'a>(
        &'a self,
        of: fn(&'a str, &'a str, &'a str) -> TopicHeader<'a>,
        position: &'a str,
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        of(&self.words.0, &self.words.1, position).append(&mut bytes);
        bytes
    }

    fn held_bytes(&self) -> usize {
        self.held.iter().map(|message| message.len()).sum()
    }

    /// Forgets what is held for nobody any more; how many bytes that is.
    fn trim(&mut self) -> usize {
        let first = self.waiters.iter().map(|waiter| waiter.start).min();
        let gone = first.unwrap_or(self.held.len());
        self.waiters.iter_mut().for_each(|waiter| waiter.start -= gone);
        self.held.drain(..gone).map(|message| message.len()).sum()
    }
}

impl Topics {
    pub(super) fn new(keys: RandomState, patience_ms: u64) -> Self {
        Topics {
            hub: Hub::new(keys, channel::owner_of),
            fetches: BTreeMap::new(),
            made: 0,
            to_ask: VecDeque::new(),
            wishes: VecDeque::new(),
            held: 0,
            patience_ms,
        }
    }

    /// The channels that are heard.
    pub(super) fn len(&self) -> usize {
        self.hub.len()
    }

    /// Whether somebody hears that channel.
    pub(super) fn hears(&self, name: &str) -> bool {
        self.hub.len() > 0 && self.hub.find(name.as_bytes()).is_some()
    }

    /// Bytes of messages that wait for stored ones.
    pub(super) fn held_bytes(&self) -> usize {
        self.held
    }

    /// When [`Server::end_wishes`] has something to do.
    pub(super) fn deadline_ms(&mut self) -> Option<u64> {
        while let Some((_, link, name)) = self.wishes.front() {
            if self.is_waiting(*link, name) {
                break;
            }
            self.wishes.pop_front();
        }
        self.wishes.front().map(|(at_ms, ..)| at_ms + self.patience_ms)
    }

    fn is_waiting(&self, link: LinkId, name: &str) -> bool {
        let Some(channel) = self.hub.find(name.as_bytes()) else { return false };
        let waits = |waiter: &Waiter| waiter.link == link && matches!(waiter.wants, Wants::New(..));
        self.hub.peek(channel).waiters.iter().any(waits)
    }

    /// A conn is to hear a channel; the channel, if nobody has heard it.
    fn join(&mut self, link: LinkId, hear: Hear, prefix: &str, now_ms: u64) -> Option<Arc<str>> {
        let Topics { hub, wishes, .. } = self;
        let (mut new, mut joined) = (None, None);
        let Hear { number, channel: name, since } = hear;
        hub.subscribe_also(link.index, &name, |Joined { channel, name, state, first }| {
            if first {
                state.words = words_of(name, prefix);
                new = Some(name.clone());
            }
            let (wants, start) = (Wants::New(number, since.clone()), state.held.len());
            state.waiters.push(Waiter { link, wants, fetch: None, start });
            wishes.push_back((now_ms, link, name.clone()));
            joined = Some(channel);
            Waits::default()
        });
        joined.into_iter().for_each(|channel| self.fetch(channel));
        new
    }

    /// Has what is stored asked for, for those who wait for that and not for anything yet.
    fn fetch(&mut self, channel: ChannelId) {
        let name = self.hub.name(channel).clone();
        let state = self.hub.state(channel);
        if !state.confirmed || state.waiters.iter().all(|waiter| waiter.fetch.is_some()) {
            return;
        }
        // Who comes when the broker has been asked may have missed what came since.
        let number = match state.fetch {
            Some((_, true)) => return,
            Some((number, false)) => number,
            None => {
                self.made += 1;
                state.fetch = Some((self.made, false));
                self.fetches.insert(self.made, (channel, name));
                self.to_ask.push_back(self.made);
                self.made
            }
        };
        state.waiters.iter_mut().for_each(|waiter| waiter.fetch = Some(number));
    }

    /// The next question for the broker, with the name of its channel.
    fn next_to_ask(&mut self) -> Option<(u64, Arc<str>)> {
        while let Some(number) = self.to_ask.pop_front() {
            let Some((channel, name)) = self.fetches.get(&number).cloned() else { continue };
            if self.is_current(channel, &name) {
                self.hub.state(channel).fetch = Some((number, true));
                return Some((number, name));
            }
            self.fetches.remove(&number);
        }
        None
    }

    fn is_current(&self, channel: ChannelId, name: &Arc<str>) -> bool {
        self.hub.contains(channel) && Arc::ptr_eq(self.hub.name(channel), name)
    }

    /// A message has arrived.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        name: &[u8],
        payload: &[u8],
        slow: &mut Vec<LinkId>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        if self.hub.len() > 0
            && !payload.is_empty()
            && let Some(channel) = self.hub.find(name)
        {
            self.hand_out(channel, payload, slow, table, cx);
        }
    }

    fn hand_out(
        &mut self,
        channel: ChannelId,
        payload: &[u8],
        slow: &mut Vec<LinkId>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let state = self.hub.state(channel);
        if !state.confirmed {
            return;
        }
        let mut message = state.header(TopicHeader::Message);
        message.extend_from_slice(payload);
        let waiting: BTreeSet<u32> = state.waiters.iter().map(|it| it.link.index).collect();
        if !waiting.is_empty() {
            self.held += message.len();
            state.held.push(Arc::from(&message[..]));
        }
        let is_over = state.held_bytes() > cx.settings.outbox_limit.max(HELD_AT_LEAST);
        let conns = self.hub.subscribers(channel).filter(|conn| !waiting.contains(conn));
        let receivers = self.hub.subscribers(channel).len() - waiting.len();
        let mut run = Run::new(&message, iter::empty());
        hand_out(conns, receivers, channel, &mut run, None, slow, table, cx);
        cx.metrics.compressions_total = cx.encoder.compressions();
        if is_over {
            let links = self.release(channel, |_| true, None, table, cx);
            slow.extend(links);
        }
    }

    /// The broker has confirmed a channel.
    pub(super) fn on_subscribed(&mut self, name: &[u8]) {
        if let Some(channel) = self.hub.find(name) {
            self.hub.state(channel).confirmed = true;
            self.fetch(channel);
        }
    }

    /// What is stored is known, or that this is not to be known: returns those who waited.
    pub(super) fn on_stored(
        &mut self,
        number: u64,
        payload: Option<&[u8]>,
        table: &mut Table,
        cx: &mut Context,
    ) -> Vec<LinkId> {
        let Some((channel, name)) = self.fetches.remove(&number) else { return Vec::new() };
        if !self.is_current(channel, &name) {
            return Vec::new();
        }
        let payload = payload.filter(|payload| !payload.is_empty());
        let waited = |waiter: &Waiter| waiter.fetch == Some(number);
        let links = self.release(channel, waited, payload, table, cx);
        self.hub.state(channel).fetch = None;
        self.fetch(channel);
        links
    }

    /// Lets those wait no longer: they get what is stored, and what was held. Returns them.
    fn release(
        &mut self,
        channel: ChannelId,
        is_released: impl Fn(&Waiter) -> bool,
        stored: Option<&[u8]>,
        table: &mut Table,
        cx: &mut Context,
    ) -> Vec<LinkId> {
        let name = self.hub.name(channel).clone();
        let state = self.hub.state(channel);
        let (released, left) =
            std::mem::take(&mut state.waiters).into_iter().partition(|waiter| is_released(waiter));
        state.waiters = left;
        let released: Vec<Waiter> = released;
        let mut twin = state.header(TopicHeader::Message);
        twin.extend_from_slice(stored.unwrap_or_default());
        let twin = state.held.iter().rposition(|held| stored.is_some() && held[..] == twin[..]);
        let stored = stored.map(|payload| {
            let mut message =
                state.header(|channel, facility, _| TopicHeader::Stored(channel, facility));
            message.extend_from_slice(payload);
            message
        });
        let mut stored = stored.as_deref().map(Encoded::new);
        let gap = frame::encode(Opcode::Text, &state.header(TopicHeader::Gap));
        let held: Vec<Arc<[u8]>> = state.held.clone();
        let mut held: Vec<Encoded<'_>> = held.iter().map(|message| Encoded::new(message)).collect();
        for Waiter { link, wants, start, .. } in &released {
            let mut to = Receiver { link: *link, table, cx };
            if let Wants::New(_, since) = wants {
                let since = since.as_deref().unwrap_or(NOWHERE);
                let header = state.header_at(TopicHeader::Subscribed, since);
                to.push(frame::encode(Opcode::Text, &header), 0);
            }
            if !matches!(wants, Wants::New(_, None)) {
                to.push(gap.clone(), 0);
            }
            if twin.is_none_or(|twin| twin < *start) {
                stored.iter_mut().for_each(|stored| to.push_encoded(stored));
            }
            held[*start..].iter_mut().for_each(|message| to.push_encoded(message));
            if let (Wants::New(number, _), Some(conn)) = (wants, table.conn(*link)) {
                conn.on_heard(*link, *number, &name, Ok(()), cx);
            }
        }
        self.held -= state.trim();
        cx.metrics.compressions_total = cx.encoder.compressions();
        released.iter().map(|waiter| waiter.link).collect()
    }

    /// The broker is lost.
    pub(super) fn lost(&mut self) {
        (self.fetches, self.to_ask, self.held) = (BTreeMap::new(), VecDeque::new(), 0);
        let channels: Vec<ChannelId> = self.hub.channels().map(|(channel, _)| channel).collect();
        for channel in channels {
            let state = self.hub.state(channel);
            (state.confirmed, state.fetch, state.held) = (false, None, Vec::new());
            for waiter in &mut state.waiters {
                (waiter.fetch, waiter.start) = (None, 0);
            }
        }
    }

    /// The broker is up, and knows nothing: the channels to be subscribed to. Who has heard them
    /// waits to be told of the gap.
    pub(super) fn catch_up(&mut self, table: &mut Table) -> Vec<Arc<str>> {
        let channels: Vec<(ChannelId, Arc<str>)> =
            self.hub.channels().map(|(channel, name)| (channel, name.clone())).collect();
        for (channel, _) in &channels {
            let conns: Vec<u32> = self.hub.subscribers(*channel).collect();
            let state = self.hub.state(*channel);
            let waiting: BTreeSet<u32> = state.waiters.iter().map(|it| it.link.index).collect();
            let others = conns.into_iter().filter(|conn| !waiting.contains(conn));
            state.waiters.extend(others.filter_map(|conn| {
                let (link, _) = table.at(conn)?;
                Some(Waiter { link, wants: Wants::Again, fetch: None, start: 0 })
            }));
        }
        channels.into_iter().map(|(_, name)| name).collect()
    }

    /// The broker will not let us hear a channel: who has wished for it is told, and who has heard
    /// it is closed. Returns them.
    pub(super) fn on_denied(
        &mut self,
        name: &str,
        table: &mut Table,
        cx: &mut Context,
    ) -> Vec<LinkId> {
        let Some(channel) = self.hub.find(name.as_bytes()) else { return Vec::new() };
        let conns: Vec<u32> = self.hub.subscribers(channel).collect();
        let waiters = self.hub.state(channel).waiters.clone();
        let mut links = Vec::new();
        for conn in conns {
            let Some((link, _)) = table.at(conn) else { continue };
            let wish = waiters.iter().find(|waiter| waiter.link == link);
            let Some(conn) = table.conn(link) else { continue };
            match wish.map(|waiter| &waiter.wants) {
                Some(Wants::New(number, _)) => {
                    conn.on_heard(link, *number, name, Err(Unheard::Denied), cx);
                }
                Some(Wants::Again) | None => conn.on_denied(link, cx),
            }
            links.push(link);
        }
        links
    }

    /// A conn hears a channel no more; the channel if nobody does then, and whether it was
    /// confirmed.
    fn unhear(&mut self, link: LinkId, name: &str) -> Option<(Arc<str>, bool)> {
        let channel = self.hub.find(name.as_bytes())?;
        let state = self.hub.state(channel);
        state.waiters.retain(|waiter| waiter.link != link);
        self.held -= state.trim();
        let (name, state) = self.hub.unsubscribe_from(link.index, channel)?;
        Some((name, state.confirmed))
    }

    /// A conn hears nothing more.
    pub(super) fn leave(&mut self, link: LinkId, mut forgotten: impl FnMut(Arc<str>, bool)) {
        if self.hub.len() == 0 {
            return;
        }
        let channels: Vec<ChannelId> = self.hub.channels_of(link.index).collect();
        for channel in channels {
            let state = self.hub.state(channel);
            state.waiters.retain(|waiter| waiter.link != link);
            self.held -= state.trim();
        }
        self.hub.unsubscribe(link.index, |name, state| forgotten(name, state.confirmed));
    }

    /// Panics when what is counted and indexed disagrees with what is there.
    pub(super) fn check_invariants(&self, table: &Table) {
        self.hub.check_invariants();
        for index in self.hub.conns() {
            let conn = table.conn_at(index).expect("only conns hear");
            assert!(conn.has_topics(), "somebody hears with headers who does not know them");
        }
        let held: usize = self.hub.states().map(Heard::held_bytes).sum();
        assert_eq!(self.held, held, "bytes that are held");
        for state in self.hub.states() {
            assert!(!state.waiters.is_empty() || state.held.is_empty(), "it is held for nobody");
        }
    }
}

/// Who is handed something.
struct Receiver<'a> {
    link: LinkId,
    table: &'a mut Table,
    cx: &'a mut Context,
}

impl Receiver<'_> {
    fn push(&mut self, frame: Frame, messages: u64) {
        let conn = self.table.conn(self.link);
        let Some((outbox, member, _)) = conn.and_then(|conn| conn.receiver()) else { return };
        outbox.push(frame);
        member.spoken = self.cx.now.tick();
        self.cx.metrics.messages_out_total += messages;
        self.cx.queued(1);
    }

    fn push_encoded(&mut self, message: &mut Encoded<'_>) {
        let conn = self.table.conn(self.link);
        let Some((_, member, _)) = conn.and_then(|conn| conn.receiver()) else { return };
        let form = member.form;
        let frame = self.cx.encoder.frame(message, self.link.index, form);
        self.push(frame, 1);
    }
}

impl Server {
    /// A conn wishes to hear a channel.
    pub(super) fn hear(&mut self, link: LinkId, hear: Hear) {
        if !self.table.peek_conn(link).is_some_and(|conn| conn.has_topics()) {
            return;
        }
        let (now_ms, status) = (self.cx.now.mono_ms, self.broker.status());
        if status == Status::Down {
            let Hear { number, channel, .. } = hear;
            let why = Err(Unheard::Unavailable);
            return self.on_conn(link, |conn, cx| conn.on_heard(link, number, &channel, why, cx));
        }
        let new = self.topics.join(link, hear, &self.cx.settings.prefix, now_ms);
        if let Some(name) = new.filter(|_| status == Status::Up) {
            self.broker.subscribe(vec![name], now_ms);
        }
        self.count_channels();
    }

    /// It hears one no more.
    pub(super) fn unhear(&mut self, link: LinkId, channel: &str) {
        if let Some((name, confirmed)) = self.topics.unhear(link, channel)
            && self.relay.hub.find(name.as_bytes()).is_none()
        {
            self.broker.unsubscribe(name, confirmed, self.cx.now.mono_ms);
        }
        self.count_channels();
    }

    /// Asks for what is stored of channels that somebody is about to hear.
    pub(super) fn ask_for_topics(&mut self) {
        while !self.topics.to_ask.is_empty()
            && self.broker.has_room()
            && let Some((number, name)) = self.topics.next_to_ask()
        {
            self.broker.ask(Ask::Topic(number), &name, self.cx.now.mono_ms);
        }
    }

    /// Ends wishes that have waited longer than the broker may take.
    pub(super) fn end_wishes(&mut self) {
        while self.topics.deadline_ms().is_some_and(|at_ms| at_ms <= self.cx.now.mono_ms)
            && let Some((_, link, name)) = self.topics.wishes.pop_front()
        {
            let Some(channel) = self.topics.hub.find(name.as_bytes()) else { continue };
            let waiters = &self.topics.hub.state(channel).waiters;
            let wish = waiters.iter().find(|waiter| waiter.link == link);
            if let Some(Waiter { wants: Wants::New(number, _), .. }) = wish {
                let (number, why) = (*number, Err(Unheard::Unavailable));
                self.on_conn(link, |conn, cx| conn.on_heard(link, number, &name, why, cx));
                // What it wants of that is done before the next is looked at.
                self.route_effects();
            }
        }
    }

    pub(super) fn count_channels(&mut self) {
        self.cx.metrics.channels = (self.relay.hub.len() + self.topics.len()) as u64;
    }
}
