//! L2: how conns come to hear a channel: what they wait for, and what they are told first.
//!
//! Its rules:
//! * a page that is cut off before it has the stored message asks for all of that again: an event
//!   says where its channel stands when nothing more is due;
//! * on a channel without a history what is live is held for those who wait for the stored message,
//!   which is dropped where it is one of these: whoever publishes it may store it later;
//! * whoever waits longer than the broker may take to answer hears nothing and is told so, if it
//!   was not told before that it hears;
//! * what was missed comes a page at a time, and to a conn only while not much waits for it: one
//!   that reads slowly has it as fast as it reads, and no outbox overflows of that.

use std::collections::VecDeque;
use std::sync::Arc;

use super::arriving::{Arriving, Joining, Turn};
use super::floor::Floor;
use super::handing::{placed_text, subscribed, text_of};
use super::saying::Saying;
use super::{Topic, Topics};
use crate::broker::history::look::Looked;
use crate::browser::Context;
use crate::browser::topics::Unheard;
use crate::fanout::hub::ChannelId;
use crate::link::LinkId;
use crate::proto::topics::{self, NOWHERE, TopicHeader};
use crate::server::Server;
use crate::server::table::Table;

/// The code of a close when what a conn has missed cannot be had at the moment.
const TRY_AGAIN: u16 = 1013;

/// A page as it goes out, and what is said besides.
struct Texts {
    words: (String, String),
    fresh: Vec<u8>,
    gap: Vec<u8>,
    stored: Option<Vec<u8>>,
    messages: Vec<Vec<u8>>,
    held: Vec<Vec<u8>>,
}

/// The same, each encoded once for all.
struct Page<'a> {
    words: &'a (String, String),
    fresh: Saying<'a>,
    gap: Saying<'a>,
    stored: Option<Saying<'a>>,
    messages: Vec<Saying<'a>>,
    held: Vec<Saying<'a>>,
}

impl Texts {
    fn new(topic: &Topic, looked: &Looked<'_>, held: &[Arc<[u8]>]) -> Texts {
        let words = topic.words.clone();
        let end = topic.size.map_or(NOWHERE.to_owned(), |_| looked.position().to_string());
        let is_held = |stored: &[u8]| held.iter().any(|held| **held == *stored);
        let stored = looked.stored.filter(|stored| !stored.is_empty() && !is_held(stored));
        let placed = looked.entries.iter();
        Texts {
            fresh: subscribed(&words, &end),
            gap: text_of(&TopicHeader::Gap(&words.0, &words.1, &end), b""),
            stored: stored.map(|it| text_of(&TopicHeader::Stored(&words.0, &words.1), it)),
            messages: placed.map(|(at, text)| placed_text(&words, Some(*at), text)).collect(),
            held: held.iter().map(|it| placed_text(&words, None, it)).collect(),
            words,
        }
    }
}

impl<'a> Page<'a> {
    fn new(texts: &'a Texts) -> Page<'a> {
        let sayings = |texts: &'a [Vec<u8>]| texts.iter().map(|it| Saying::new(it)).collect();
        let mut stored = texts.stored.as_deref().map(Saying::new);
        let stands = topics::stands(&texts.fresh);
        stored.iter_mut().for_each(|saying| saying.set_stands(Some(stands)));
        Page {
            words: &texts.words,
            fresh: Saying::new(&texts.fresh),
            gap: Saying::new(&texts.gap),
            stored,
            messages: sayings(&texts.messages),
            held: sayings(&texts.held),
        }
    }
}

impl Server {
    /// Ends wishes that have waited longer than the broker may take.
    pub(in crate::server) fn end_wishes(&mut self) {
        let now_ms = self.cx.now.mono_ms;
        while self.topics.deadline_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            self.topics.end_wish(&mut self.table, &mut self.cx);
        }
        for link in self.topics.take_slow() {
            self.after(link);
        }
        self.route_effects();
    }
}

impl Topics {
    /// Whether a channel is heard.
    pub(in crate::server) fn hears(&self, channel: &[u8]) -> bool {
        self.hub.find(channel).is_some()
    }

    /// When [`Server::end_wishes`] has something to do.
    pub(in crate::server) fn deadline_ms(&mut self) -> Option<u64> {
        while let Some((at_ms, link, name)) = self.wishes.front() {
            let channel = self.hub.find(name.as_bytes());
            let since = channel.and_then(|channel| self.hub.peek(channel).awaits_since(*link));
            if since.is_some_and(|since_ms| since_ms <= *at_ms) {
                break;
            }
            let wish = self.wishes.pop_front();
            // The broker has answered meanwhile, and is asked for more.
            if let Some((since_ms, (_, link, name))) = since.zip(wish) {
                let at = self.wishes.partition_point(|(at_ms, ..)| *at_ms <= since_ms);
                self.wishes.insert(at, (since_ms, link, name));
            }
        }
        // A crowd may have come at one time.
        if self.wishes.is_empty() {
            self.wishes = VecDeque::new();
        }
        self.wishes.front().map(|(at_ms, ..)| at_ms + self.patience_ms)
    }

    /// Ends the oldest wish. A conn that hears the channel already, and has not all that it has
    /// missed, waits on: the rest comes when the broker is back.
    fn end_wish(&mut self, table: &mut Table, cx: &mut Context) {
        let Some((_, link, name)) = self.wishes.pop_front() else { return };
        let Some(channel) = self.hub.find(name.as_bytes()) else { return };
        let ended = self.hub.state(channel).take(link);
        for mut one in ended {
            if one.is_heard {
                one.at_ms = cx.now.mono_ms;
                self.wishes.push_back((one.at_ms, link, name.clone()));
                self.hub.state(channel).arriving.push(one);
            } else {
                self.refuse(&one, &name, Unheard::Unavailable, table, cx);
            }
        }
    }

    /// It is known where the channel stands for those who were about to hear it, and a page of what
    /// they have missed.
    pub(super) fn on_joined(
        &mut self,
        channel: ChannelId,
        joining: Joining,
        answer: Result<Option<&[u8]>, ()>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let size = self.hub.state(channel).size;
        let looked = answer.ok().and_then(|text| match size {
            Some(_) => text.and_then(Looked::parse),
            None => Some(Looked::nowhere(text)),
        });
        let Some(looked) = looked else {
            return self.refuse_all(channel, joining.all, Unheard::Unavailable, table, cx);
        };
        let topic = self.hub.state(channel);
        let held = std::mem::take(&mut topic.held);
        let last = looked.entries.last().map(|(last, _)| *last);
        if !joining.is_between {
            topic.swept = last.filter(|_| !looked.whole);
        }
        // The broker answers, if not everybody at one time.
        topic.arriving.iter_mut().for_each(|one| one.at_ms = cx.now.mono_ms);
        let mut more = Vec::new();
        let texts = Texts::new(topic, &looked, &held);
        let mut page = Page::new(&texts);
        for mut one in joining.all {
            let turn = one.turn(joining.look, &looked, size);
            let conn = table.conn(one.link);
            let rests = turn.missed() > 0 && conn.is_some_and(|conn| conn.is_behind(cx));
            if !rests && turn.is_last() {
                self.begin_at(channel, one.link, &looked);
            }
            if !rests {
                self.tell(channel, &mut one, &turn, &mut page, table, cx);
            }
            let is_over = !rests && turn.is_last();
            self.told(channel, &mut one, is_over, table, cx);
            match is_over {
                true => self.wake(one.link, cx.now.mono_ms),
                false => more.push(one),
            }
        }
        for mut one in more {
            one.at_ms = cx.now.mono_ms;
            let rests = table.conn(one.link).is_some_and(|conn| conn.is_behind(cx));
            let topic = self.hub.state(channel);
            if rests { topic.resting.push(one) } else { topic.arriving.push(one) }
        }
        self.hub.state(channel).lift_floors();
        // Nobody's wish is kept that is done.
        self.deadline_ms();
    }

    /// A conn hears the channel from where its history ends.
    fn begin_at(&mut self, channel: ChannelId, link: LinkId, looked: &Looked<'_>) {
        let topic = self.hub.state(channel);
        if topic.size.is_some() {
            if topic.line.at().is_none() {
                topic.epoch = looked.epoch;
            }
            topic.line.begin(looked.end);
            let floor = Floor { at: looked.position(), behind: topic.line.arrived() };
            topic.floors.insert(link.index, floor);
        }
    }

    /// Whoever waits for an answer has it when it hears the channel. A stream that is not open yet
    /// opens before, as its outbox is read only then.
    fn told(
        &mut self,
        channel: ChannelId,
        one: &mut Arriving,
        is_over: bool,
        table: &mut Table,
        cx: &mut Context,
    ) {
        self.slow.push(one.link);
        let Some(conn) = table.conn(one.link) else { return };
        if !one.is_heard && (is_over || conn.is_pending()) {
            one.is_heard = true;
            conn.on_heard(one.link, one.number, self.hub.name(channel), Ok(()), cx);
        }
    }

    /// Tells a conn that begins to hear a channel where that stands, and hands out what it has
    /// missed or what is stored.
    fn tell(
        &mut self,
        channel: ChannelId,
        one: &mut Arriving,
        turn: &Turn<'_, '_>,
        page: &mut Page<'_>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let to = one.link.index;
        let is_gone = matches!(turn, Turn::Fresh | Turn::Gap);
        let more = is_gone && page.stored.is_some();
        if let Turn::Wait = turn {
            return;
        }
        let is_gap = matches!(turn, Turn::Gap);
        let goes_on = one.since.as_deref().filter(|_| is_gap || turn.missed() > 0);
        match goes_on.map(|since| subscribed(page.words, since)) {
            _ if one.is_begun => {}
            Some(text) => self.hand(channel, to, &mut Saying::new(&text), table, cx),
            None => {
                page.fresh.set_stands(more.then_some(None));
                self.hand(channel, to, &mut page.fresh, table, cx);
            }
        }
        if let Turn::All(missed) | Turn::Part(missed) = turn {
            cx.metrics.resumed_total += u64::from(turn.is_last());
            cx.metrics.recovered_total += missed.len() as u64;
            let begin = page.messages.len() - missed.len();
            for (saying, (_, payload)) in page.messages[begin..].iter_mut().zip(*missed) {
                if !payload.is_empty() {
                    self.hand(channel, to, saying, table, cx);
                }
            }
            missed.last().into_iter().for_each(|(last, _)| one.has(*last));
            return;
        }
        if let Turn::Gap = turn {
            cx.metrics.gaps_total += 1;
            page.gap.set_stands(more.then_some(None));
            self.hand(channel, to, &mut page.gap, table, cx);
        }
        let behind = page.stored.iter_mut().chain(&mut page.held);
        behind.for_each(|saying| self.hand(channel, to, saying, table, cx));
    }

    /// Conns are not to hear the channel that they were about to.
    fn refuse_all(
        &mut self,
        channel: ChannelId,
        all: Vec<Arriving>,
        why: Unheard,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let name = self.hub.name(channel).clone();
        for one in all {
            self.refuse(&one, &name, why, table, cx);
        }
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
        if let Some(conn) = table.conn(one.link) {
            match one.is_heard {
                false => conn.on_heard(one.link, one.number, name, Err(why), cx),
                true => conn.disconnect(one.link, TRY_AGAIN, "the message broker is away", cx),
            }
        }
        self.slow.push(one.link);
        self.wake(one.link, cx.now.mono_ms);
    }

    /// The broker will not let us hear the channel: whoever is about to hear it is told; those who
    /// do are returned.
    pub(in crate::server) fn on_denied(
        &mut self,
        name: &str,
        table: &mut Table,
        cx: &mut Context,
    ) -> Vec<LinkId> {
        let Some(channel) = self.hub.find(name.as_bytes()) else { return Vec::new() };
        let topic = self.hub.state(channel);
        let arriving = topic.take_all();
        let about_to: Vec<u32> = arriving.iter().map(|one| one.link.index).collect();
        let all = self.hub.subscribers(channel).filter(|index| !about_to.contains(index));
        let links = all.filter_map(|index| table.at(index).map(|(link, _)| link)).collect();
        for one in arriving {
            self.refuse(&one, name, Unheard::Denied, table, cx);
        }
        links
    }
}

impl Turn<'_, '_> {
    /// Whether nothing comes behind it but what is live.
    fn is_last(&self) -> bool {
        matches!(self, Turn::Fresh | Turn::Gap | Turn::All(_))
    }

    /// How much it is that was missed.
    fn missed(&self) -> usize {
        match self {
            Turn::All(missed) | Turn::Part(missed) => missed.len(),
            Turn::Fresh | Turn::Gap | Turn::Wait => 0,
        }
    }
}
