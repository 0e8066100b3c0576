//! L2: something that is said of a channel with positions: as messages of `wsloop.1`, encoded once
//! for all who hear them, or as events that also say where the channels of their stream stand. The
//! stream of one facility is told what is published without the header.
//!
//! It knows forms. Its rules:
//! * what an event says, and where its channels stand behind it, go out together or not at all;
//! * where a channel stands is part of its event, and the last thing in the line about that: so
//!   streams that hear nothing else share all of it, and are handed one thing;
//! * what a stream hears besides is in front of that, in a line of its own, and the events are
//!   shared: they are put together when they are sent. Streams one after the other that hear the
//!   same besides are handed one thing too, where that is small.

use std::iter;
use std::sync::Arc;

use crate::browser::topics::Publications;
use crate::browser::{self, Context, Member};
use crate::fanout::encoded::{Encoded, Form, GoesAs, Run};
use crate::fanout::hub::ChannelId;
use crate::fanout::overflow::Overflow;
use crate::link::{Events, Frame, LinkId, Outbox};
use crate::proto::sse;
use crate::proto::topics::{self, ID, Moved, Stand};
use crate::server::lines::Line;
use crate::server::table::{Party, Table};

/// Events of more bytes than this are not put together before they are sent.
const COPIED_BYTES: usize = 4 << 10;

/// Messages of the server, and their frames and events so far.
#[derive(Debug)]
pub(super) struct Saying<'a> {
    pub run: Run<'a>,
    /// Where a channel stands behind this, by its two words, if that is not what it says.
    stands: Option<Option<(&'a str, &'a str)>>,
    /// The events for each form of streams.
    events: Vec<(Form, Formed)>,
}

/// The events of one form.
#[derive(Debug, Default)]
struct Formed {
    /// Each from its channel's position on, if it says one.
    events: Arc<Events>,
    count: usize,
    /// All of them, as streams are told that hear no other channel with positions.
    alone: Frame,
    /// Where its channel stands behind them, if they say so.
    stands: Option<Stand>,
    /// They are what is published, and not about that.
    is_payload: bool,
    /// What the line became of the last stream that heard of another channel before.
    moved: Option<Moved>,
    /// How the line began of the last stream. It is a copy: to hold what the stream has would be to
    /// count in its memory, and that of the one before, once more for each.
    last: Vec<u8>,
    /// All behind that, if another's began so too.
    last_run: Option<Frame>,
}

impl<'a> Saying<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Saying::together(text, iter::empty())
    }

    /// Messages that go out together.
    pub(super) fn together(first: &'a [u8], others: impl Iterator<Item = &'a [u8]>) -> Self {
        Saying { run: Run::new(first, others), stands: None, events: Vec::new() }
    }

    /// Says where a channel stands behind this, or that it does not say so; or nothing else than
    /// the messages do.
    pub(super) fn set_stands(&mut self, stands: Option<Option<(&'a str, &'a str)>>) {
        if self.stands != stands {
            (self.stands, self.events) = (stands, Vec::new());
        }
    }

    /// Hands it to the streams of these places, of so many receivers of a channel.
    pub(super) fn hand_events(
        &mut self,
        channel: ChannelId,
        streams: &[u32],
        receivers: usize,
        slow: &mut Vec<LinkId>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let to = Line::of(receivers);
        // One after the other mostly wants the same.
        let mut rest = streams;
        while let [first, behind @ ..] = rest {
            let form = form_of(*first, table);
            rest = match form.map(|form| (form, self.formed(form, *first, cx))) {
                Some((form, at)) => {
                    let events = &mut self.events[at].1;
                    let handed = events.hand((channel, to), form, rest, slow, table, cx);
                    &rest[handed..]
                }
                None => behind,
            };
        }
    }

    /// Which events are those of a form.
    fn formed(&mut self, form: Form, index: u32, cx: &mut Context) -> usize {
        self.events.iter().position(|(known, _)| *known == form).unwrap_or_else(|| {
            let (mut formed, mut events) = (Formed::default(), Events::default());
            for text in self.run.payloads() {
                let stands = self.stands.unwrap_or_else(|| topics::stands(text));
                let bare = (form.goes_as == GoesAs::PlacedEvents).then(|| Bare::of(text));
                let said = match &bare {
                    None => Ok(text),
                    Some(Bare::Payload(payload)) => Ok(*payload),
                    Some(Bare::Event(event)) => Err(event),
                    Some(Bare::Begin(event)) if stands.is_some() => Err(event),
                    Some(Bare::Begin(_) | Bare::Nothing) => continue,
                };
                formed.is_payload = matches!(bare, Some(Bare::Payload(_)));
                let frame;
                let event = match said {
                    Ok(said) => {
                        frame = cx.encoder.frame(&mut Encoded::new(said), index, form);
                        &frame[..]
                    }
                    Err(event) => event,
                };
                formed.add(event, stands, &mut events);
            }
            formed.alone = events.behind(ID.as_bytes());
            formed.events = Arc::new(events);
            self.events.push((form, formed));
            self.events.len() - 1
        })
    }
}

fn form_of(index: u32, table: &mut Table) -> Option<Form> {
    let (_, slot, _) = table.at_and_lines(index)?;
    match &mut slot.party {
        Party::Browser(conn) => conn.receiver().map(|(_, member, _)| member.form),
        _ => None,
    }
}

impl Formed {
    /// Hands them to those of these streams that come before one of another form; how many these
    /// are.
    #[inline(never)]
    fn hand(
        &mut self,
        (channel, to): (ChannelId, Line),
        form: Form,
        streams: &[u32],
        slow: &mut Vec<LinkId>,
        table: &mut Table,
        cx: &mut Context,
    ) -> usize {
        let (now, limit) = (cx.now.tick(), cx.settings.outbox_limit);
        for (handed, &index) in streams.iter().enumerate() {
            let Some((link, slot, lines)) = table.at_and_lines(index) else { continue };
            let Party::Browser(conn) = &mut slot.party else { continue };
            let Some((outbox, member, goes_out)) = conn.receiver() else { continue };
            if member.form != form {
                return handed;
            }
            if self.count == 0 {
                continue;
            }
            member.spoken = now;
            match self.is_told_alone(member) {
                true => outbox.push(self.alone.clone()),
                false => {
                    let superseded = self.tell(channel, outbox, member, cx);
                    browser::supersede(link, superseded, cx);
                }
            }
            cx.metrics.messages_out_total += self.count as u64;
            cx.queued(1);
            if slot.blocked {
                if conn.is_over(limit) {
                    conn.overflowed(link, cx);
                    slow.push(link);
                }
            } else if goes_out {
                slot.enter(index, to, lines);
            }
        }
        streams.len()
    }

    /// Whether that stream is told what all are that hear no other channel with positions.
    fn is_told_alone(&self, member: &Member) -> bool {
        let is_alone = matches!(member.publications, Publications::Fixed(_));
        is_alone && !(self.is_payload && member.overflow == Overflow::Latest)
    }

    /// Tells a stream all of them, or the last one if it skips; how many that takes the place of.
    fn tell(
        &mut self,
        channel: ChannelId,
        outbox: &mut Outbox,
        member: &mut Member,
        cx: &mut Context,
    ) -> usize {
        let is_latest = self.is_payload && member.overflow == Overflow::Latest;
        let (label, skips) = (is_latest.then_some(channel), member.skips);
        let moved = &mut self.moved;
        let line = self.stands.as_ref().and_then(|stand| member.stand_behind(stand, moved));
        if let Some(line) = &line {
            cx.queued_bytes(line.len() - ID.len());
        }
        match label.filter(|_| skips) {
            Some(label) => self.replace(line, label, outbox),
            None => {
                self.push(line, label, outbox);
                0
            }
        }
    }

    /// Adds an event, which says where its channel stands.
    fn add(&mut self, event: &[u8], stands: Option<(&str, &str)>, events: &mut Events) {
        self.count += 1;
        match stands {
            None => events.push(&[event], false),
            Some((pair, position)) => {
                let stand = Stand::new(pair, position);
                events.push(&[stand.triple().as_bytes(), b"\n", event], true);
                self.stands = Some(stand);
            }
        }
    }

    /// Puts all of them last in line, behind where other channels stand.
    fn push(&mut self, line: Option<Frame>, label: Option<u32>, outbox: &mut Outbox) {
        let run = match &line {
            None => Some(&self.alone),
            Some(line) if self.last == **line => {
                let is_small = self.events.bytes_behind(line) <= COPIED_BYTES;
                is_small.then(|| &*self.last_run.get_or_insert_with(|| self.events.behind(line)))
            }
            Some(line) => {
                self.last.clear();
                self.last.extend_from_slice(line);
                self.last_run = None;
                None
            }
        };
        match (run, line) {
            (Some(run), _) if label.is_none() => outbox.push(run.clone()),
            (Some(run), _) => outbox.push_labelled(run.clone(), label),
            (None, line) => {
                outbox.push_events(line.unwrap_or_default(), self.events.clone(), label)
            }
        }
    }

    /// Puts the last one in the place of those of its label; how many are dropped.
    fn replace(&mut self, line: Option<Frame>, label: u32, outbox: &mut Outbox) -> usize {
        let line = line.unwrap_or_else(|| Frame::from(ID.as_bytes()));
        let latest = Arc::new(self.events.latest());
        outbox.replace_events(line, latest, label) + self.count - 1
    }
}

/// What the stream of one facility is told.
enum Bare<'a> {
    /// This event.
    Event(Vec<u8>),
    /// This one, which is nothing without where its channel stands.
    Begin(Vec<u8>),
    /// Nothing.
    Nothing,
    /// What is published.
    Payload(&'a [u8]),
}

impl<'a> Bare<'a> {
    fn of(text: &'a [u8]) -> Self {
        let feed = text.iter().position(|byte| *byte == b'\n');
        let payload = feed.map_or(&b""[..], |at| &text[at + 1..]);
        if !payload.is_empty() {
            return Bare::Payload(payload);
        }
        let text = std::str::from_utf8(text).unwrap_or_default();
        let parts = text.split_once(' ').zip(text.rsplit_once(' '));
        let pair = parts.map(|((verb, _), (front, _))| (verb, &front[verb.len()..]));
        match pair.map(|(verb, pair)| (verb, pair.trim_start())) {
            Some(("gap", pair)) => Bare::Event(sse::gap(pair)),
            Some(("subscribed", pair)) => Bare::Begin(sse::subscribed(pair)),
            _ => Bare::Nothing,
        }
    }
}
