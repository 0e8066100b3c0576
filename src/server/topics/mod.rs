//! L2: who hears channels with positions: conns that speak `wsloop.1`, and streams of topics.
//!
//! It knows the line of each channel (`fanout::line`), who hears it and who is about to, and puts
//! into outboxes. It does not know commands. Its rules:
//! * a conn hears a channel from the moment at which the broker has said where the channel stands:
//!   it is told that position, then what it has missed or what is stored, and then what is behind
//!   that position, each once and in the order of the history;
//! * whoever begins at one time shares one look at the history, and each is judged by its own
//!   position: one whose position is gone has a gap, and no other;
//! * a channel without a history has no positions, and whoever was away from it has a gap;
//! * an outage of the broker is mended from the history for all, or said to all as a gap;
//! * a message is encoded once for all who hear it.
//!
//! Conns that do not speak `wsloop.1` are not touched by any of this: see `relay`. `joining` is
//! about those who begin to hear a channel, `floor` about from where on each does, `handing` about
//! what goes out, and `saying` about its forms.

mod arriving;
mod floor;
mod handing;
mod invariants;
mod joining;
mod mending;
mod nodes;
mod saying;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::RandomState;
use std::sync::Arc;

use super::Server;
use super::table::Table;
use crate::access::channel;
use crate::broker::history::Offset;
use crate::broker::history::look::Look;
use crate::broker::spread::Spread;
use crate::broker::{Ask, Delivery, HistorySize, Status};
use crate::browser::topics::{Unheard, words_of};
use crate::browser::{Conn, Context, Hear};
use crate::fanout::fingerprint::Fingerprints;
use crate::fanout::hub::{ChannelId, Hub, Joined, Waits};
use crate::fanout::line::{Line, Placed};
use crate::link::LinkId;
use arriving::{Arriving, Joining};
use floor::Floor;

/// Bytes that may wait on a channel for a look at its history, however small an outbox is.
const WAITING_AT_LEAST: usize = 1 << 20;

/// Who hears what with positions.
#[derive(Debug)]
pub(in crate::server) struct Topics {
    hub: Hub<Topic>,
    /// Questions that are not answered, with the channel that each is about.
    asked: BTreeMap<u64, (ChannelId, Arc<str>)>,
    /// Questions that each node of the broker is to be asked.
    to_ask: Box<[Questions]>,
    spread: Spread,
    questions: u64,
    /// Wishes in the order in which they came, with the channels that they are for.
    wishes: VecDeque<(u64, LinkId, Arc<str>)>,
    /// How long a wish waits for the broker.
    patience_ms: u64,
    slow: Vec<LinkId>,
    /// What messages are known by that another node of a cluster may repeat.
    fingerprints: Option<Fingerprints>,
    /// Those of messages that were handed over from a history after an outage.
    mended: Vec<(Arc<str>, u64)>,
    /// Those of messages that were given out of one before they arrive.
    early: Vec<(Arc<str>, u64)>,
}

/// Questions by their numbers, about these channels: what is stored, or a look at the history.
type Questions = VecDeque<(u64, Arc<str>, Option<Look>)>;

/// A channel that is heard.
#[derive(Debug, Default)]
struct Topic {
    /// What clients call it: its audience, and its facility.
    words: (String, String),
    /// How much is kept of it, if it has a history.
    size: Option<HistorySize>,
    confirmed: bool,
    line: Line,
    /// The broker's life when the line began.
    epoch: u32,
    /// Who is about to hear it and was not asked about yet, and who was, by that question.
    arriving: Vec<Arriving>,
    joining: Option<Joining>,
    /// Who is, and does not read what it has missed as fast as that comes.
    resting: Vec<Arriving>,
    /// Up to which entry the history was read for those who were asked about, where that is not
    /// its end.
    swept: Option<Offset>,
    /// The last look was for those who came meanwhile.
    is_between: bool,
    /// What has come, where there is no history, since what is stored was asked for.
    held: Vec<Arc<[u8]>>,
    /// The look at what is behind the line's place.
    looking: Option<u64>,
    mending: Mending,
    /// Who hears only what is behind some place, until the line has passed that.
    floors: BTreeMap<u32, Floor>,
    /// Who hears it by a stream, which says with each event where its channels stand.
    streams: BTreeSet<u32>,
}

/// What is to be done about an outage of the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mending {
    /// Nothing.
    #[default]
    Done,
    /// It is to be found out what was missed, when the channel is confirmed again.
    Due,
    /// That is asked, with this question; where there is a history, by that look.
    Asked(u64, Option<Look>),
}

impl Server {
    /// A conn is to hear a channel.
    pub(in crate::server) fn hear_topic(&mut self, link: LinkId, hear: Hear) {
        let conn = self.table.peek_conn(link).filter(|conn| conn.has_topics());
        let Some(is_stream) = conn.map(Conn::is_stream) else { return };
        let status = self.broker.status_of(&hear.channel);
        if status == Status::Down {
            let (number, why) = (hear.number, Err(Unheard::Unavailable));
            return self.on_conn(link, |conn, cx| {
                conn.on_heard(link, number, &hear.channel, why, cx);
            });
        }
        let settings = &self.cx.settings;
        let size = settings.history.of(&hear.channel);
        self.said.braces(&settings.history, &hear.channel);
        let words = words_of(&hear.channel, &settings.prefix);
        let now_ms = self.cx.now.mono_ms;
        let new = self.topics.hear((link, is_stream), hear, size, words, now_ms);
        if let Some(name) = new.filter(|name| self.broker.can_hear(name)) {
            self.broker.subscribe(name.clone(), now_ms);
            self.overlap_new(name);
        }
        self.note_channels();
    }

    /// It is to hear it no more, or no more about to.
    pub(in crate::server) fn unhear_topic(&mut self, link: LinkId, channel: &str) {
        if let Some((name, confirmed)) = self.topics.unhear(link, channel) {
            self.unsubscribe(name, confirmed);
        }
        self.topics.wake(link, self.cx.now.mono_ms);
        self.note_channels();
    }

    /// A conn hears nothing more.
    pub(in crate::server) fn leave_topics(&mut self, link: LinkId) {
        for (name, confirmed) in self.topics.leave(link) {
            self.unsubscribe(name, confirmed);
        }
    }

    /// Nobody of one kind hears a channel any more: the broker is to send no more of it, unless
    /// somebody of the other kind does.
    pub(in crate::server) fn unsubscribe(&mut self, name: Arc<str>, confirmed: bool) {
        let bytes = name.as_bytes();
        if self.topics.hub.find(bytes).is_none() && self.relay.hub.find(bytes).is_none() {
            self.broker.unsubscribe(name, confirmed, self.cx.now.mono_ms);
        }
    }

    /// Asks what is to be asked, as much as each node of the broker has room for.
    #[inline]
    pub(in crate::server) fn ask_about_topics(&mut self) {
        if self.topics.to_ask.iter().any(|asks| !asks.is_empty()) {
            self.ask_nodes_about_topics();
        }
    }

    fn ask_nodes_about_topics(&mut self) {
        let settings = &self.cx.settings;
        // What comes at one time is to fit into an outbox, beside what is live.
        let limit = settings.max_message_size;
        let bytes = (limit.min(settings.outbox_limit / 4), limit);
        for node in 0..self.topics.to_ask.len() {
            while !self.topics.to_ask[node].is_empty()
                && self.broker.status_at(node) == Status::Up
                && self.broker.has_room(node)
                && let Some((number, name, look)) = self.topics.to_ask[node].pop_front()
            {
                if !self.topics.asked.contains_key(&number) {
                    continue;
                }
                let ask = Ask::Topic(number);
                match look {
                    Some(look) => self.broker.look(node, ask, &name, (look, bytes), self.cx.now),
                    None => self.broker.ask(node, ask, &name, self.cx.now.mono_ms),
                }
            }
        }
    }

    /// Channels that somebody hears.
    pub(in crate::server) fn note_channels(&mut self) {
        self.cx.metrics.channels = (self.relay.hub.len() + self.topics.hub.len()) as u64;
    }
}

impl Topics {
    pub(in crate::server) fn new(keys: RandomState, spread: Spread, patience_ms: u64) -> Self {
        let is_cluster = spread.owners().is_some();
        Topics {
            fingerprints: is_cluster.then(|| Fingerprints::new(&keys)),
            hub: Hub::new(keys, channel::owner_of),
            asked: BTreeMap::new(),
            to_ask: vec![VecDeque::new(); spread.most_nodes()].into(),
            spread,
            questions: 0,
            wishes: VecDeque::new(),
            patience_ms,
            slow: Vec::new(),
            mended: Vec::new(),
            early: Vec::new(),
        }
    }

    /// Whether nobody hears anything.
    #[inline]
    pub(in crate::server) fn is_empty(&self) -> bool {
        self.hub.len() == 0
    }

    /// Channels that are heard.
    pub(in crate::server) fn len(&self) -> usize {
        self.hub.len()
    }

    /// The names of channels that are heard, and how many conns hear each.
    pub(in crate::server) fn channels(&self) -> impl Iterator<Item = (&str, usize)> {
        let hub = &self.hub;
        hub.channels().map(|(id, name)| (&name[..], hub.subscribers(id).len()))
    }

    /// Channels that a conn hears.
    pub(in crate::server) fn channels_of(&self, link: LinkId) -> usize {
        self.hub.channels_of(link.index).len()
    }

    /// The conns that hear a channel of that owner's: the application may have said of a topic that
    /// somebody is in a group of which it said nothing before.
    pub(in crate::server) fn conns_of(&self, owner: &str, table: &mut Table) -> Vec<LinkId> {
        let conns = self.hub.heard_of(owner);
        conns.filter_map(|index| table.at(index).map(|(link, _)| link)).collect()
    }

    /// Whether there are conns that were handed something: their timers have changed.
    pub(in crate::server) fn has_slow(&self) -> bool {
        !self.slow.is_empty()
    }

    /// Takes them.
    pub(in crate::server) fn take_slow(&mut self) -> Vec<LinkId> {
        std::mem::take(&mut self.slow)
    }

    /// Bytes of messages that wait for looks at histories.
    pub(in crate::server) fn held_bytes(&self) -> usize {
        self.hub.states().map(Topic::held_bytes).sum()
    }

    /// A message arrives.
    pub(in crate::server) fn deliver(
        &mut self,
        delivery: Delivery<'_>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let Some(channel) = self.hub.find(delivery.channel) else { return };
        let topic = self.hub.state(channel);
        if delivery.payload.is_empty() || !topic.confirmed {
            return;
        }
        if topic.size.is_none() {
            let payload: Arc<[u8]> = Arc::from(delivery.payload);
            if topic.joining.is_some() {
                topic.held.push(payload.clone());
            }
            self.give_out(channel, &[Placed::plain(payload)], table, cx);
            return self.bound(channel, table, cx);
        }
        // Before somebody has been told where it stands nobody hears it.
        if topic.line.at().is_none() {
            return;
        }
        topic.line.push(delivery.payload);
        let most = cx.settings.outbox_limit.max(WAITING_AT_LEAST);
        if topic.line.held_bytes() > most {
            let placed = topic.line.give_up();
            self.give_out(channel, &placed, table, cx);
            // Where the history ends is not known any more, and so nobody's position is.
            return self.place_anew(channel);
        }
        self.look_behind(channel);
    }

    /// Finds out where a channel stands, for which too much has waited: all have a gap.
    fn place_anew(&mut self, channel: ChannelId) {
        self.hub.state(channel).looking = None;
        self.mend(channel, Look::Join(None));
    }

    /// Lets those who wait for what is stored wait no longer, when what is held for them is more
    /// than may wait.
    fn bound(&mut self, channel: ChannelId, table: &mut Table, cx: &mut Context) {
        let topic = self.hub.state(channel);
        if topic.held_bytes() > cx.settings.outbox_limit.max(WAITING_AT_LEAST)
            && let Some(joining) = topic.joining.take()
        {
            self.asked.remove(&joining.number);
            self.on_joined(channel, joining, Ok(None), table, cx);
            self.let_in(channel);
        }
    }

    /// From now on the channel's messages arrive.
    pub(in crate::server) fn on_subscribed(&mut self, name: &[u8]) {
        let Some(channel) = self.hub.find(name) else { return };
        let topic = self.hub.state(channel);
        topic.confirmed = true;
        if topic.mending == Mending::Due {
            let at = topic.line.at();
            self.mend(channel, Look::Join(at));
        }
        self.let_in(channel);
    }

    /// A question is answered; with nothing of use where that is an error.
    pub(in crate::server) fn on_answer(
        &mut self,
        number: u64,
        answer: Result<Option<&[u8]>, ()>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let Some((channel, name)) = self.asked.remove(&number) else { return };
        if !self.hub.contains(channel) || !Arc::ptr_eq(self.hub.name(channel), &name) {
            return;
        }
        let topic = self.hub.state(channel);
        if topic.looking == Some(number) {
            topic.looking = None;
            self.on_look(channel, answer, table, cx);
        } else if let Mending::Asked(asked, look) = topic.mending
            && asked == number
        {
            topic.mending = Mending::Done;
            self.on_mended(channel, look, answer, table, cx);
        } else if let Some(joining) = topic.joining.take_if(|joining| joining.number == number) {
            self.on_joined(channel, joining, answer, table, cx);
        }
        if self.hub.contains(channel) {
            self.look_behind(channel);
            self.let_in(channel);
        }
    }

    /// Lets a conn be about to hear a channel; its name if it is new.
    fn hear(
        &mut self,
        (link, is_stream): (LinkId, bool),
        hear: Hear,
        size: Option<HistorySize>,
        words: (String, String),
        now_ms: u64,
    ) -> Option<Arc<str>> {
        let (mut new, mut joined) = (None, None);
        let Hear { number, channel: name, since } = hear;
        let Topics { hub, wishes, .. } = self;
        hub.subscribe_also(link.index, &name, |Joined { channel, name, state, first }| {
            if first {
                new = Some(name.clone());
                (state.size, state.words) = (size, words.clone());
            }
            state.arriving.push(Arriving::new(link, number, since.clone(), now_ms));
            if is_stream {
                state.streams.insert(link.index);
            }
            wishes.push_back((now_ms, link, name.clone()));
            joined = Some(channel);
            Waits::default()
        });
        joined.into_iter().for_each(|channel| self.let_in(channel));
        new
    }

    /// Lets a conn hear a channel no more; the channel if nobody does then, and whether it was
    /// confirmed.
    fn unhear(&mut self, link: LinkId, name: &str) -> Option<(Arc<str>, bool)> {
        let channel = self.hub.find(name.as_bytes())?;
        self.hub.state(channel).forget(link);
        let (name, topic) = self.hub.unsubscribe_from(link.index, channel)?;
        Some((name, topic.confirmed))
    }

    /// Lets a conn hear nothing more; the channels that nobody hears then.
    fn leave(&mut self, link: LinkId) -> Vec<(Arc<str>, bool)> {
        if self.is_empty() {
            return Vec::new();
        }
        let channels: Vec<ChannelId> = self.hub.channels_of(link.index).collect();
        channels.iter().for_each(|channel| self.hub.state(*channel).forget(link));
        let mut forgotten = Vec::new();
        self.hub.unsubscribe(link.index, |name, topic| forgotten.push((name, topic.confirmed)));
        forgotten
    }

    /// Looks at what is behind the line's place, if something waits for that.
    fn look_behind(&mut self, channel: ChannelId) {
        let topic = self.hub.state(channel);
        if topic.mending == Mending::Done
            && let Some(at) = topic.line.ask()
        {
            self.asking(channel);
            let number = self.ask(channel, |_| Some(Look::Behind(at)));
            self.hub.state(channel).looking = Some(number);
        }
    }

    /// The line of a channel is about to be told what is in the history.
    fn asking(&mut self, channel: ChannelId) {
        let name = self.hub.name(channel);
        let is_apart = self.spread.hears(name) != self.spread.reads(name);
        self.hub.state(channel).line.asking(is_apart);
    }

    fn ask(&mut self, channel: ChannelId, look: impl FnOnce(&Topic) -> Option<Look>) -> u64 {
        self.questions += 1;
        let name = self.hub.name(channel).clone();
        let look = look(self.hub.state(channel));
        self.asked.insert(self.questions, (channel, name.clone()));
        let node = self.spread.reads(&name);
        self.to_ask[node].push_back((self.questions, name, look));
        self.questions
    }
}

impl Topic {
    /// Bytes of what waits.
    fn held_bytes(&self) -> usize {
        self.line.held_bytes() + self.held.iter().map(|held| held.len()).sum::<usize>()
    }

    /// A conn hears it no more, nor is about to.
    fn forget(&mut self, link: LinkId) {
        self.take(link);
        self.floors.remove(&link.index);
        self.streams.remove(&link.index);
    }
}
