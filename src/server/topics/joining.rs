//! L2: how conns come to hear a channel: what they wait for, and what they are told first.
//!
//! Its rules:
//! * a page that is cut off before it has the stored message asks for all of that again: an event
//!   says where its channel stands when nothing more is due;
//! * on a channel without a history what is live is held for those who wait for the stored message,
//!   which is dropped where it is one of these: whoever publishes it may store it later;
//! * whoever waits longer than the broker may take to answer hears nothing and is told so.

use std::collections::VecDeque;
use std::iter;
use std::sync::Arc;

use super::floor::Floor;
use super::handing::{placed_text, subscribed, text_of};
use super::saying::Saying;
use super::{Arriving, Topic, Topics};
use crate::broker::history::Offset;
use crate::broker::history::look::{Look, Looked};
use crate::broker::history::position::Position;
use crate::browser::Context;
use crate::browser::topics::Unheard;
use crate::fanout::hub::ChannelId;
use crate::link::LinkId;
use crate::proto::topics::{self, NOWHERE, TopicHeader};
use crate::server::Server;
use crate::server::table::Table;

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
        while let Some((_, link, name)) = self.wishes.front() {
            let channel = self.hub.find(name.as_bytes());
            if channel.is_some_and(|channel| self.hub.peek(channel).awaits(*link)) {
                break;
            }
            self.wishes.pop_front();
        }
        // A crowd may have come at one time.
        if self.wishes.is_empty() {
            self.wishes = VecDeque::new();
        }
        self.wishes.front().map(|(at_ms, ..)| at_ms + self.patience_ms)
    }

    /// Ends the oldest wish.
    fn end_wish(&mut self, table: &mut Table, cx: &mut Context) {
        let Some((_, link, name)) = self.wishes.pop_front() else { return };
        let Some(channel) = self.hub.find(name.as_bytes()) else { return };
        let ended = self.hub.state(channel).take(link);
        for one in ended {
            self.refuse(&one, &name, Unheard::Unavailable, table, cx);
        }
    }

    /// Asks where the channel stands for those who are about to hear it.
    pub(super) fn let_in(&mut self, channel: ChannelId) {
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

    /// It is known where the channel stands for those who were about to hear it.
    pub(super) fn on_joined(
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
        let held = std::mem::take(&mut topic.held);
        if size.is_some() {
            if topic.line.at().is_none() {
                topic.epoch = looked.epoch;
            }
            topic.line.begin(looked.end);
            let floor = Floor { at: looked.position(), behind: topic.line.arrived() };
            topic.floors.extend(joining.iter().map(|one| (one.link.index, floor)));
        }
        self.welcome(channel, &joining, &looked, &held, table, cx);
        for one in &joining {
            let conn = table.conn(one.link).into_iter();
            conn.for_each(|conn| conn.on_heard(one.link, one.number, &name, Ok(()), cx));
            self.slow.push(one.link);
        }
        self.hub.state(channel).lift_floors();
        // Nobody's wish is kept that is done.
        self.deadline_ms();
    }

    /// Tells everybody who begins to hear a channel where it stands, and hands out what each has
    /// missed or what is stored.
    fn welcome(
        &mut self,
        channel: ChannelId,
        joining: &[Arriving],
        looked: &Looked<'_>,
        held: &[Arc<[u8]>],
        table: &mut Table,
        cx: &mut Context,
    ) {
        let topic = self.hub.peek(channel);
        let (words, size) = (topic.words.clone(), topic.size);
        let end = size.map_or(NOWHERE.to_owned(), |_| looked.position().to_string());
        let fresh = subscribed(&words, &end);
        let gap = text_of(&TopicHeader::Gap(&words.0, &words.1, &end), b"");
        let is_held = |stored: &[u8]| held.iter().any(|held| **held == *stored);
        let stored = looked.stored.filter(|stored| !stored.is_empty() && !is_held(stored));
        let stored = stored.map(|it| text_of(&TopicHeader::Stored(&words.0, &words.1), it));
        let message =
            |(offset, payload): &(Offset, &[u8])| placed_text(&words, Some(*offset), payload);
        let messages: Vec<Vec<u8>> = looked.entries.iter().map(message).collect();
        let stands = topics::stands(&fresh);
        let (mut fresh, mut gap) = (Saying::new(&fresh), Saying::new(&gap));
        let mut stored = stored.as_deref().map(Saying::new);
        stored.iter_mut().for_each(|saying| saying.set_stands(Some(stands)));
        let mut messages: Vec<Saying<'_>> = messages.iter().map(|text| Saying::new(text)).collect();
        let held: Vec<Vec<u8>> = held.iter().map(|it| placed_text(&words, None, it)).collect();
        let mut held: Vec<Saying<'_>> = held.iter().map(|text| Saying::new(text)).collect();
        for one in joining {
            let to = one.link.index;
            let missed = size.zip(one.position()).and_then(|(size, at)| looked.since(at, size));
            let goes_on = one.since.as_deref().filter(|_| missed.is_none_or(|all| !all.is_empty()));
            let more = missed.is_none() && stored.is_some();
            match goes_on.map(|since| subscribed(&words, since)) {
                Some(text) => self.hand(channel, to, &mut Saying::new(&text), table, cx),
                None => {
                    fresh.set_stands(more.then_some(None));
                    self.hand(channel, to, &mut fresh, table, cx);
                }
            }
            if let Some(missed) = missed {
                cx.metrics.resumed_total += 1;
                cx.metrics.recovered_total += missed.len() as u64;
                let begin = messages.len() - missed.len();
                for (saying, (_, payload)) in messages[begin..].iter_mut().zip(missed) {
                    if !payload.is_empty() {
                        self.hand(channel, to, saying, table, cx);
                    }
                }
                continue;
            }
            if one.since.is_some() {
                cx.metrics.gaps_total += 1;
                gap.set_stands(more.then_some(None));
                self.hand(channel, to, &mut gap, table, cx);
            }
            let behind = stored.iter_mut().chain(&mut held);
            behind.for_each(|saying| self.hand(channel, to, saying, table, cx));
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
        let conn = table.conn(one.link).into_iter();
        conn.for_each(|conn| conn.on_heard(one.link, one.number, name, Err(why), cx));
        self.slow.push(one.link);
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
}

impl Topic {
    /// Whether that conn is about to hear it.
    fn awaits(&self, link: LinkId) -> bool {
        let joining = self.joining.iter().flat_map(|(_, all)| all);
        self.arriving.iter().chain(joining).any(|one| one.link == link)
    }

    /// A conn is about to hear it no more.
    fn take(&mut self, link: LinkId) -> Vec<Arriving> {
        let joining = self.joining.iter_mut().map(|(_, all)| all);
        let all = iter::once(&mut self.arriving).chain(joining);
        all.flat_map(|all| all.extract_if(.., |one| one.link == link)).collect()
    }
}

impl Arriving {
    /// The position that it has, if it is one.
    fn position(&self) -> Option<Position> {
        self.since.as_deref().and_then(Position::parse)
    }
}
