//! L2: what goes to those who hear a channel with positions: messages in their places, and gaps.
//!
//! A stream that is cut off between a gap and what is stored behind it asks for both again: an
//! event says where its channel stands when nothing more is due.

use std::iter;

use super::Topics;
use super::floor::Floor;
use super::saying::Saying;
use crate::broker::history::Offset;
use crate::broker::history::look::Looked;
use crate::browser::Context;
use crate::fanout::hub::ChannelId;
use crate::fanout::line::Placed;
use crate::proto::topics::{self, NOWHERE, TopicHeader};
use crate::server::handout::hand_out;
use crate::server::relay::{JOINED_BYTES, JOINED_MESSAGE};
use crate::server::table::Table;

impl Topics {
    /// Hands messages to all who hear a channel, each to those who are to have it.
    pub(super) fn give_out(
        &mut self,
        channel: ChannelId,
        mut placed: &[Placed],
        table: &mut Table,
        cx: &mut Context,
    ) {
        self.note_early(channel, placed);
        while !placed.is_empty() {
            let (now, later) = placed.split_at(joined(placed));
            self.give_out_joined(channel, now, table, cx);
            placed = later;
        }
    }

    /// Notes what is given out before it has arrived: in a cluster it may come from a node where
    /// the channel is heard only then.
    fn note_early(&mut self, channel: ChannelId, placed: &[Placed]) {
        let Some(fingerprints) = &self.fingerprints else { return };
        let name = self.hub.name(channel);
        let early = placed.iter().filter(|one| one.offset.is_some() && one.number.is_none());
        self.early.extend(early.map(|one| (name.clone(), fingerprints.of(&one.payload))));
    }

    /// Hands out messages that go together, but for those who are not to have all of them.
    fn give_out_joined(
        &mut self,
        channel: ChannelId,
        placed: &[Placed],
        table: &mut Table,
        cx: &mut Context,
    ) {
        let topic = self.hub.peek(channel);
        let text = |one: &Placed| placed_text(&topic.words, one.offset, &one.payload);
        let texts: Vec<Vec<u8>> = placed.iter().map(text).collect();
        let Some((first, others)) = texts.split_first() else { return };
        let has_all = |floor: &Floor| placed.iter().all(|one| floor.is_below(one));
        let has_floors = !topic.floors.is_empty();
        let saying = Saying::together(first, others.iter().map(Vec::as_slice));
        self.hand_all(channel, saying, |floor| floor.is_none_or(has_all), table, cx);
        if has_floors {
            for (one, text) in placed.iter().zip(&texts) {
                let is_for = |floor: &Floor| !has_all(floor) && floor.is_below(one);
                let saying = Saying::new(text);
                self.hand_all(channel, saying, |floor| floor.is_some_and(is_for), table, cx);
            }
        }
    }

    /// Tells those who hear a channel, and whom it is for, that something may be missing, and what
    /// is stored.
    pub(super) fn tell_of_gap(
        &mut self,
        channel: ChannelId,
        position: &str,
        stored: Option<&[u8]>,
        is_for: impl Fn(Option<&Floor>) -> bool,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let words = self.hub.peek(channel).words.clone();
        let gap = text_of(&TopicHeader::Gap(&words.0, &words.1, position), b"");
        let stored = stored.filter(|stored| !stored.is_empty());
        let mut saying = Saying::new(&gap);
        saying.set_stands(stored.map(|_| None));
        cx.metrics.gaps_total += self.hand_all(channel, saying, &is_for, table, cx) as u64;
        if let Some(stored) = stored {
            let text = text_of(&TopicHeader::Stored(&words.0, &words.1), stored);
            let mut saying = Saying::new(&text);
            saying.set_stands(Some(topics::stands(&gap)));
            self.hand_all(channel, saying, &is_for, table, cx);
        }
    }

    /// Hands something to all who hear a channel and whom it is for, as their floors say; to how
    /// many.
    fn hand_all(
        &mut self,
        channel: ChannelId,
        mut saying: Saying<'_>,
        is_for: impl Fn(Option<&Floor>) -> bool,
        table: &mut Table,
        cx: &mut Context,
    ) -> usize {
        let topic = self.hub.peek(channel);
        let absent = topic.absent();
        let hears =
            |index: &u32| absent.binary_search(index).is_err() && is_for(topic.floors.get(index));
        let all = self.hub.subscribers(channel);
        let mut conns: Vec<u32> = match absent.is_empty() && topic.floors.is_empty() {
            // So it is nearly always, and one like the other.
            true if is_for(None) => all.collect(),
            true => Vec::new(),
            false => all.filter(hears).collect(),
        };
        let receivers = conns.len();
        let streams = match topic.streams.is_empty() {
            true => Vec::new(),
            false if topic.streams.len() == self.hub.subscribers(channel).len() => {
                std::mem::take(&mut conns)
            }
            false => conns.extract_if(.., |index| topic.streams.contains(index)).collect(),
        };
        let (conns, slow) = (conns.into_iter(), &mut self.slow);
        hand_out(conns, receivers, channel, &mut saying.run, None, slow, table, cx);
        saying.hand_events(channel, &streams, receivers, slow, table, cx);
        cx.metrics.compressions_total = cx.encoder.compressions();
        receivers
    }

    /// Hands something to one conn.
    pub(super) fn hand(
        &mut self,
        channel: ChannelId,
        to: u32,
        saying: &mut Saying<'_>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let slow = &mut self.slow;
        match self.hub.peek(channel).streams.contains(&to) {
            true => {
                cx.queued_bytes(saying.run.payloads().map(<[u8]>::len).sum());
                saying.hand_events(channel, &[to], 1, slow, table, cx);
            }
            false => {
                hand_out(iter::once(to), 1, channel, &mut saying.run, None, slow, table, cx);
            }
        }
        cx.metrics.compressions_total = cx.encoder.compressions();
    }

    /// It is known what is behind the line's place.
    pub(super) fn on_look(
        &mut self,
        channel: ChannelId,
        answer: Result<Option<&[u8]>, ()>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let topic = self.hub.state(channel);
        let placed = match answer.ok().flatten().and_then(Looked::parse) {
            Some(looked) => topic.line.answered(&looked.entries, looked.whole, looked.end),
            None => topic.line.give_up(),
        };
        self.give_out(channel, &placed, table, cx);
        self.hub.state(channel).lift_floors();
    }
}

/// How many of these messages go out together.
fn joined(placed: &[Placed]) -> usize {
    let mut bytes = 0;
    let fits = |one: &&Placed| {
        bytes += one.payload.len();
        one.payload.len() <= JOINED_MESSAGE && bytes <= JOINED_BYTES
    };
    placed.iter().take_while(fits).count().max(1)
}

pub(super) fn subscribed(words: &(String, String), position: &str) -> Vec<u8> {
    text_of(&TopicHeader::Subscribed(&words.0, &words.1, position), b"")
}

/// A message as it goes out.
pub(super) fn placed_text(
    words: &(String, String),
    offset: Option<Offset>,
    payload: &[u8],
) -> Vec<u8> {
    let position = offset.map_or(NOWHERE.to_owned(), |offset| offset.to_string());
    text_of(&TopicHeader::Message(&words.0, &words.1, &position), payload)
}

pub(super) fn text_of(header: &TopicHeader<'_>, payload: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(payload.len() + 64);
    header.append(&mut text);
    text.extend_from_slice(payload);
    text
}
