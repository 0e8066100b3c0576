//! L2: who hears channels with positions: conns that speak `wsloop.1`.
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
//! Conns that do not speak `wsloop.1` are not touched by any of this: see `relay`.

use std::collections::{BTreeMap, VecDeque};
use std::hash::RandomState;
use std::iter;
use std::sync::Arc;

use super::Server;
use super::handout::hand_out;
use super::table::Table;
use crate::access::channel;
use crate::broker::history::Offset;
use crate::broker::history::look::{Look, Looked};
use crate::broker::history::position::Position;

use crate::broker::{Ask, Delivery, HistorySize, Status};
use crate::browser::topics::{Unheard, words_of};
use crate::browser::{Context, Hear};
use crate::fanout::encoded::Run;
use crate::fanout::hub::{ChannelId, Hub, Joined, Waits};
use crate::fanout::line::{Line, Placed};
use crate::link::LinkId;
use crate::proto::topics::{NOWHERE, TopicHeader};

/// Bytes that may wait on a channel for a look at its history, however small an outbox is.
const WAITING_AT_LEAST: usize = 1 << 20;

/// Who hears what with positions.
#[derive(Debug)]
pub(super) struct Topics {
    hub: Hub<Topic>,
    /// Questions that are not answered, with the channel that each is about.
    asked: BTreeMap<u64, (ChannelId, Arc<str>)>,
    /// Questions that are to be asked.
    to_ask: VecDeque<(u64, Arc<str>, Option<Look>)>,
    questions: u64,
    slow: Vec<LinkId>,
}

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
    joining: Option<(u64, Vec<Arriving>)>,
    /// The look at what is behind the line's place.
    looking: Option<u64>,
    mending: Mending,
    /// Who hears only what is behind some place, until the line has passed that.
    floors: BTreeMap<u32, Floor>,
}

/// A conn that is about to hear a channel.
#[derive(Debug)]
struct Arriving {
    link: LinkId,
    number: u64,
    since: Option<String>,
}

/// What is to be done about an outage of the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mending {
    /// Nothing.
    #[default]
    Done,
    /// It is to be found out what was missed, when the channel is confirmed again.
    Due,
    /// That is asked, with this question.
    Asked(u64),
}

/// From where on a conn hears a channel.
#[derive(Clone, Copy, Debug)]
struct Floor {
    /// What is in the history, from this offset on.
    from: Offset,
    /// What is not, behind the message of this number.
    behind: u64,
}

impl Server {
    /// A conn is to hear a channel.
    pub(super) fn hear_topic(&mut self, link: LinkId, hear: Hear) {
        if self.table.peek_conn(link).is_none_or(|conn| !conn.has_topics()) {
            return;
        }
        let settings = &self.cx.settings;
        let (size, fits_in_vain) =
            (settings.history.of(&hear.channel), settings.history.fits_in_vain(&hear.channel));
        if fits_in_vain && self.said.braces.first() {
            tracing::warn!(
                "channel {:?} has no history, as its name has a brace in it (said once)",
                hear.channel
            );
        }
        let words = words_of(&hear.channel, &settings.prefix);
        let new = self.topics.hear(link, hear, size, words);
        if let Some(name) = new.filter(|_| self.broker.status() == Status::Up) {
            self.broker.subscribe(vec![name], self.cx.now.mono_ms);
        }
        self.note_channels();
    }

    /// It is to hear it no more, or no more about to.
    pub(super) fn unhear_topic(&mut self, link: LinkId, channel: &str) {
        if let Some((name, confirmed)) = self.topics.unhear(link, channel) {
            self.unsubscribe(name, confirmed);
        }
        self.note_channels();
    }

    /// A conn hears nothing more.
    pub(super) fn leave_topics(&mut self, link: LinkId) {
        for (name, confirmed) in self.topics.leave(link) {
            self.unsubscribe(name, confirmed);
        }
    }

    /// Nobody of one kind hears a channel any more: the broker is to send no more of it, unless
    /// somebody of the other kind does.
    pub(super) fn unsubscribe(&mut self, name: Arc<str>, confirmed: bool) {
        let bytes = name.as_bytes();
        if self.topics.hub.find(bytes).is_none() && self.relay.hub.find(bytes).is_none() {
            self.broker.unsubscribe(name, confirmed, self.cx.now.mono_ms);
        }
    }

    /// Asks what is to be asked, as much as the broker has room for.
    pub(super) fn ask_about_topics(&mut self) {
        let limit = self.cx.settings.max_message_size;
        while !self.topics.to_ask.is_empty()
            && self.broker.status() == Status::Up
            && self.broker.has_room()
            && let Some((number, name, look)) = self.topics.to_ask.pop_front()
        {
            if !self.topics.asked.contains_key(&number) {
                continue;
            }
            let ask = Ask::Topic(number);
            match look {
                Some(look) => self.broker.look(ask, &name, look, limit, self.cx.now),
                None => self.broker.ask(ask, &name, self.cx.now.mono_ms),
            }
        }
    }

    /// Channels that somebody hears.
    pub(super) fn note_channels(&mut self) {
        self.cx.metrics.channels = (self.relay.hub.len() + self.topics.hub.len()) as u64;
    }
}

impl Topics {
    pub(super) fn new(keys: RandomState) -> Self {
        Topics {
            hub: Hub::new(keys, channel::owner_of),
            asked: BTreeMap::new(),
            to_ask: VecDeque::new(),
            questions: 0,
            slow: Vec::new(),
        }
    }

    /// Whether nobody hears anything.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.hub.len() == 0
    }

    /// Channels that are heard.
    pub(super) fn len(&self) -> usize {
        self.hub.len()
    }

    /// Takes the conns that were handed something: their timers have changed.
    pub(super) fn take_slow(&mut self) -> Vec<LinkId> {
        std::mem::take(&mut self.slow)
    }

    /// Bytes of messages that wait for looks at histories.
    pub(super) fn held_bytes(&self) -> usize {
        self.hub.states().map(|topic| topic.line.held_bytes()).sum()
    }

    /// A message arrives.
    pub(super) fn deliver(&mut self, delivery: Delivery<'_>, table: &mut Table, cx: &mut Context) {
        let Some(channel) = self.hub.find(delivery.channel) else { return };
        let topic = self.hub.state(channel);
        if delivery.payload.is_empty() || !topic.confirmed {
            return;
        }
        if topic.size.is_none() {
            let payload = Arc::from(delivery.payload);
            return self.give_out(channel, &[Placed::plain(payload)], table, cx);
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
        }
        self.look_behind(channel);
    }

    /// From now on the channel's messages arrive.
    pub(super) fn on_subscribed(&mut self, name: &[u8]) {
        let Some(channel) = self.hub.find(name) else { return };
        let topic = self.hub.state(channel);
        topic.confirmed = true;
        if topic.mending == Mending::Due {
            let at = topic.line.at();
            let number = self.ask(channel, |topic| topic.size.map(|_| Look::Join(at)));
            self.hub.state(channel).mending = Mending::Asked(number);
        }
        self.let_in(channel);
    }

    /// The broker has come up and knows nothing: the channels to be subscribed to.
    pub(super) fn catch_up(&mut self) -> Vec<Arc<str>> {
        (self.asked, self.to_ask) = (BTreeMap::new(), VecDeque::new());
        let channels: Vec<_> = self.hub.channels().map(|(id, name)| (id, name.clone())).collect();
        for (channel, _) in &channels {
            let hears = self.hub.subscribers(*channel).len();
            let topic = self.hub.state(*channel);
            topic.confirmed = false;
            topic.looking = None;
            topic.line.interrupt();
            let joining = topic.joining.take();
            topic.arriving.splice(..0, joining.into_iter().flat_map(|(_, all)| all));
            topic.mending = match topic.arriving.len() < hears {
                true => Mending::Due,
                false => Mending::Done,
            };
        }
        channels.into_iter().map(|(_, name)| name).collect()
    }

    /// A question is answered; with nothing of use where that is an error.
    pub(super) fn on_answer(
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
        } else if topic.mending == Mending::Asked(number) {
            topic.mending = Mending::Done;
            self.on_mended(channel, answer, table, cx);
        } else if let Some((_, joining)) = topic.joining.take_if(|(of, _)| *of == number) {
            self.on_joined(channel, joining, answer, table, cx);
        }
        if self.hub.contains(channel) {
            self.look_behind(channel);
            self.let_in(channel);
        }
    }

    /// The broker will not let us hear the channel: whoever is about to hear it is told; those who
    /// do are returned.
    pub(super) fn on_denied(
        &mut self,
        name: &str,
        table: &mut Table,
        cx: &mut Context,
    ) -> Vec<LinkId> {
        let Some(channel) = self.hub.find(name.as_bytes()) else { return Vec::new() };
        let topic = self.hub.state(channel);
        let mut arriving = std::mem::take(&mut topic.arriving);
        arriving.extend(topic.joining.take().into_iter().flat_map(|(_, all)| all));
        let about_to: Vec<u32> = arriving.iter().map(|one| one.link.index).collect();
        let all = self.hub.subscribers(channel).filter(|index| !about_to.contains(index));
        let links = all.filter_map(|index| table.at(index).map(|(link, _)| link)).collect();
        for one in arriving {
            self.refuse(&one, name, Unheard::Denied, table, cx);
        }
        links
    }

    /// Panics when what is counted and indexed disagrees with what is there.
    pub(super) fn check_invariants(&self, table: &Table) {
        self.hub.check_invariants();
        assert!(self.slow.is_empty(), "somebody was forgotten");
        for index in self.hub.conns() {
            let conn = table.conn_at(index).expect("only conns hear");
            assert!(conn.has_topics(), "a conn hears that does not speak wsloop.1");
        }
        for (channel, _) in self.hub.channels() {
            let hears: Vec<u32> = self.hub.subscribers(channel).collect();
            let topic = self.hub.peek(channel);
            assert!(topic.floors.keys().all(|index| hears.contains(index)));
            let joining = topic.joining.iter().flat_map(|(_, all)| all);
            assert!(
                topic.arriving.iter().chain(joining).all(|one| hears.contains(&one.link.index))
            );
            assert!(topic.looking.is_none_or(|number| self.asked.contains_key(&number)));
        }
    }

    /// Lets a conn be about to hear a channel; its name if it is new.
    fn hear(
        &mut self,
        link: LinkId,
        hear: Hear,
        size: Option<HistorySize>,
        words: (String, String),
    ) -> Option<Arc<str>> {
        let (mut new, mut joined) = (None, None);
        let Hear { number, channel: name, since } = hear;
        self.hub.subscribe_also(link.index, &name, |Joined { channel, name, state, first }| {
            if first {
                new = Some(name.clone());
                (state.size, state.words) = (size, words.clone());
            }
            state.arriving.push(Arriving { link, number, since: since.clone() });
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

    /// Asks where the channel stands for those who are about to hear it.
    fn let_in(&mut self, channel: ChannelId) {
        let topic = self.hub.state(channel);
        if !topic.confirmed || topic.joining.is_some() || topic.arriving.is_empty() {
            return;
        }
        let arriving = std::mem::take(&mut topic.arriving);
        let positions = arriving.iter().filter_map(|one| one.position());
        let least =
            positions.map(|position| position.place).min_by_key(|place| place.first_behind());
        let number = self.ask(channel, |topic| topic.size.map(|_| Look::Join(least)));
        self.hub.state(channel).joining = Some((number, arriving));
    }

    /// Looks at what is behind the line's place, if something waits for that.
    fn look_behind(&mut self, channel: ChannelId) {
        let topic = self.hub.state(channel);
        if topic.mending == Mending::Done
            && let Some(at) = topic.line.ask()
        {
            let number = self.ask(channel, |_| Some(Look::Behind(at)));
            self.hub.state(channel).looking = Some(number);
        }
    }

    fn ask(&mut self, channel: ChannelId, look: impl FnOnce(&Topic) -> Option<Look>) -> u64 {
        self.questions += 1;
        let name = self.hub.name(channel).clone();
        let look = look(self.hub.state(channel));
        self.asked.insert(self.questions, (channel, name.clone()));
        self.to_ask.push_back((self.questions, name, look));
        self.questions
    }

    /// It is known what is behind the line's place.
    fn on_look(
        &mut self,
        channel: ChannelId,
        answer: Result<Option<&[u8]>, ()>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let topic = self.hub.state(channel);
        let placed = match answer.ok().flatten().and_then(Looked::parse) {
            Some(looked) => topic.line.answered(&looked.entries, looked.whole),
            None => topic.line.give_up(),
        };
        self.give_out(channel, &placed, table, cx);
        self.hub.state(channel).lift_floors();
    }

    /// It is known what was missed in an outage.
    fn on_mended(
        &mut self,
        channel: ChannelId,
        answer: Result<Option<&[u8]>, ()>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let topic = self.hub.state(channel);
        let text = answer.ok().flatten();
        let Some(size) = topic.size else {
            self.tell_of_gap(channel, NOWHERE, text, table, cx);
            return;
        };
        let looked = text.and_then(Looked::parse);
        let place = topic.line.at().map(|place| Position { place, epoch: topic.epoch });
        let missed = looked.as_ref().zip(place).and_then(|(looked, at)| looked.since(at, size));
        if let Some(missed) = missed {
            cx.metrics.recovered_total += missed.len() as u64;
            let placed = topic.line.answered(missed, true);
            self.give_out(channel, &placed, table, cx);
            return self.hub.state(channel).lift_floors();
        }
        let placed = match &looked {
            Some(looked) => {
                topic.epoch = looked.epoch;
                topic.line.restart(looked.end)
            }
            None => topic.line.give_up(),
        };
        self.give_out(channel, &placed, table, cx);
        let position = looked.as_ref().map_or(NOWHERE.to_owned(), |it| it.position().to_string());
        let stored = looked.and_then(|looked| looked.stored);
        self.tell_of_gap(channel, &position, stored, table, cx);
        self.hub.state(channel).floors.clear();
    }

    /// It is known where the channel stands for those who were about to hear it.
    fn on_joined(
        &mut self,
        channel: ChannelId,
        joining: Vec<Arriving>,
        answer: Result<Option<&[u8]>, ()>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let name = self.hub.name(channel).clone();
        let size = self.hub.state(channel).size;
        let looked = answer.ok().and_then(|text| match size {
            Some(_) => text.and_then(Looked::parse),
            None => Some(Looked::nowhere(text)),
        });
        let Some(looked) = looked else {
            for one in joining {
                self.refuse(&one, &name, Unheard::Unavailable, table, cx);
            }
            return;
        };
        let topic = self.hub.state(channel);
        let from = looked.end.first_behind();
        if size.is_some() {
            if topic.line.at().is_none() {
                topic.epoch = looked.epoch;
            }
            topic.line.begin(looked.end);
            let floor = Floor { from, behind: topic.line.arrived() };
            topic.floors.extend(joining.iter().map(|one| (one.link.index, floor)));
        }
        self.welcome(channel, &joining, &looked, table, cx);
        for one in &joining {
            let conn = table.conn(one.link).into_iter();
            conn.for_each(|conn| conn.on_heard(one.link, one.number, &name, Ok(()), cx));
            self.slow.push(one.link);
        }
        self.hub.state(channel).lift_floors();
    }

    /// Tells everybody who begins to hear a channel where it stands, and hands out what each has
    /// missed or what is stored.
    fn welcome(
        &mut self,
        channel: ChannelId,
        joining: &[Arriving],
        looked: &Looked<'_>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let topic = self.hub.peek(channel);
        let (words, size) = (topic.words.clone(), topic.size);
        let end = size.map_or(NOWHERE.to_owned(), |_| looked.position().to_string());
        let fresh = subscribed(&words, &end);
        let gap = text_of(&TopicHeader::Gap(&words.0, &words.1, &end), b"");
        let stored = looked.stored.filter(|stored| !stored.is_empty());
        let stored = stored.map(|it| text_of(&TopicHeader::Stored(&words.0, &words.1), it));
        let message =
            |(offset, payload): &(Offset, &[u8])| placed_text(&words, Some(*offset), payload);
        let messages: Vec<Vec<u8>> = looked.entries.iter().map(message).collect();
        let new = |text| Run::new(text, iter::empty());
        let (mut fresh, mut gap) = (new(&fresh), new(&gap));
        let mut stored = stored.as_deref().map(new);
        let mut messages: Vec<Run<'_>> = messages.iter().map(|text| new(text)).collect();
        for one in joining {
            let to = one.link.index;
            let missed = size.zip(one.position()).and_then(|(size, at)| looked.since(at, size));
            let goes_on = one.since.as_deref().filter(|_| missed.is_none_or(|all| !all.is_empty()));
            match goes_on.map(|since| subscribed(&words, since)) {
                Some(text) => {
                    let mut run = Run::new(&text, iter::empty());
                    self.hand(channel, to, &mut run, table, cx);
                }
                None => self.hand(channel, to, &mut fresh, table, cx),
            }
            if let Some(missed) = missed {
                cx.metrics.resumed_total += 1;
                cx.metrics.recovered_total += missed.len() as u64;
                let begin = messages.len() - missed.len();
                for (run, (_, payload)) in messages[begin..].iter_mut().zip(missed) {
                    if !payload.is_empty() {
                        self.hand(channel, to, run, table, cx);
                    }
                }
                continue;
            }
            if one.since.is_some() {
                cx.metrics.gaps_total += 1;
                self.hand(channel, to, &mut gap, table, cx);
            }
            if let Some(run) = &mut stored {
                self.hand(channel, to, run, table, cx);
            }
        }
    }

    /// Hands messages to all who hear a channel, each to those who are to have it.
    fn give_out(
        &mut self,
        channel: ChannelId,
        placed: &[Placed],
        table: &mut Table,
        cx: &mut Context,
    ) {
        for one in placed {
            let topic = self.hub.peek(channel);
            let text = placed_text(&topic.words, one.offset, &one.payload);
            self.hand_all(channel, &text, |floor| floor.is_below(one), table, cx);
        }
    }

    /// Tells all who hear a channel that something may be missing, and what is stored.
    fn tell_of_gap(
        &mut self,
        channel: ChannelId,
        position: &str,
        stored: Option<&[u8]>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let words = self.hub.peek(channel).words.clone();
        let text = text_of(&TopicHeader::Gap(&words.0, &words.1, position), b"");
        cx.metrics.gaps_total += self.hand_all(channel, &text, |_| true, table, cx) as u64;
        if let Some(stored) = stored.filter(|stored| !stored.is_empty()) {
            let text = text_of(&TopicHeader::Stored(&words.0, &words.1), stored);
            self.hand_all(channel, &text, |_| true, table, cx);
        }
    }

    /// Hands something to all who hear a channel, but for those whose floor is not below it; to how
    /// many.
    fn hand_all(
        &mut self,
        channel: ChannelId,
        text: &[u8],
        is_above: impl Fn(&Floor) -> bool,
        table: &mut Table,
        cx: &mut Context,
    ) -> usize {
        let topic = self.hub.peek(channel);
        let joining = topic.joining.iter().flat_map(|(_, all)| all);
        let absent: Vec<u32> =
            topic.arriving.iter().chain(joining).map(|one| one.link.index).collect();
        let hears =
            |index: &u32| !absent.contains(index) && topic.floors.get(index).is_none_or(&is_above);
        let conns: Vec<u32> = self.hub.subscribers(channel).filter(hears).collect();
        let (receivers, mut run) = (conns.len(), Run::new(text, iter::empty()));
        let conns = conns.into_iter();
        hand_out(conns, receivers, channel, &mut run, None, &mut self.slow, table, cx);
        receivers
    }

    /// Hands something to one conn.
    fn hand(
        &mut self,
        channel: ChannelId,
        to: u32,
        run: &mut Run<'_>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        hand_out(iter::once(to), 1, channel, run, None, &mut self.slow, table, cx);
    }

    /// A conn is not to hear the channel that it was about to.
    fn refuse(
        &mut self,
        one: &Arriving,
        name: &str,
        why: Unheard,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let conn = table.conn(one.link).into_iter();
        conn.for_each(|conn| conn.on_heard(one.link, one.number, name, Err(why), cx));
        self.slow.push(one.link);
    }
}

impl Topic {
    /// A conn hears it no more, nor is about to.
    fn forget(&mut self, link: LinkId) {
        self.arriving.retain(|one| one.link != link);
        self.joining.iter_mut().for_each(|(_, all)| all.retain(|one| one.link != link));
        self.floors.remove(&link.index);
    }

    /// Forgets floors that the line has passed.
    fn lift_floors(&mut self) {
        let Some(at) = self.line.at() else { return };
        let (next, waits) = (at.first_behind(), self.line.first_waiting());
        self.floors.retain(|_, floor| {
            floor.from > next || waits.is_some_and(|number| number <= floor.behind)
        });
    }
}

impl Arriving {
    /// The position that it has, if it is one.
    fn position(&self) -> Option<Position> {
        self.since.as_deref().and_then(Position::parse)
    }
}

impl Floor {
    /// Whether a message is above it.
    fn is_below(&self, placed: &Placed) -> bool {
        match (placed.offset, placed.number) {
            (Some(offset), _) => offset >= self.from,
            (None, number) => number.is_none_or(|number| number > self.behind),
        }
    }
}

fn subscribed(words: &(String, String), position: &str) -> Vec<u8> {
    text_of(&TopicHeader::Subscribed(&words.0, &words.1, position), b"")
}

/// A message as it goes out.
fn placed_text(words: &(String, String), offset: Option<Offset>, payload: &[u8]) -> Vec<u8> {
    let position = offset.map_or(NOWHERE.to_owned(), |offset| offset.to_string());
    text_of(&TopicHeader::Message(&words.0, &words.1, &position), payload)
}

fn text_of(header: &TopicHeader<'_>, payload: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(payload.len() + 64);
    header.append(&mut text);
    text.extend_from_slice(payload);
    text
}
