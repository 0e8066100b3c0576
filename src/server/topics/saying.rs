//! L2: something that is said of a channel with positions: as messages of `wsloop.1`, encoded once
//! for all who hear them, or as events that also say where the channels of their stream stand. The
//! stream of one facility is told what is published without the header.
//!
//! It knows forms. Its rules:
//! * what an event says, and where its channels stand behind it, go out together or not at all;
//! * where a channel stands is part of its event, and the last thing in the line about that: so
//!   streams that hear nothing else share all of it, and are handed one thing;
//! * what a stream hears besides is in front of that, in bytes of its own. Small events that go out
//!   together are copied behind it, and larger ones are shared.

use std::iter;

use crate::browser::topics::Publications;
use crate::browser::{self, Context, Member};
use crate::fanout::encoded::{Encoded, Form, GoesAs, Run};
use crate::fanout::hub::ChannelId;
use crate::fanout::overflow::Overflow;
use crate::link::{Frame, LinkId, Outbox};
use crate::proto::{sse, topics};
use crate::server::lines::Line;
use crate::server::table::{Party, Table};

/// How the line begins that says where channels stand.
const ID: &[u8] = b"id: ";
/// Events of more bytes than this are not copied for a stream that hears other channels too.
const COPIED_BYTES: usize = 4 << 10;

/// Messages of the server, and their frames and events so far.
#[derive(Debug)]
pub(super) struct Saying<'a> {
    pub run: Run<'a>,
    /// Where a channel stands behind this, by its two words, if that is not what it says.
    stands: Option<Option<(&'a str, &'a str)>>,
    /// The events for each form of streams.
    events: Vec<(Form, Events<'a>)>,
}

/// The events of one form.
#[derive(Debug)]
struct Events<'a> {
    /// Each from its channel's position on, if it says one.
    all: Vec<Event>,
    /// All of them, as streams are told that hear no other channel with positions.
    alone: Frame,
    /// Where its channel stands behind them, by its two words, if they say so.
    stands: Option<(&'a str, &'a str)>,
    /// They are what is published, and not about that.
    is_payload: bool,
    /// What the last stream was told, behind what of other channels.
    last: Option<(Box<str>, Frame)>,
}

#[derive(Debug)]
struct Event {
    bytes: Frame,
    has_id: bool,
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
        let (now, limit) = (cx.now.tick(), cx.settings.outbox_limit);
        let to = Line::of(receivers);
        // The next mostly wants the same as the last.
        let mut known = None;
        for &index in streams {
            let Some((link, slot, lines)) = table.at_and_lines(index) else { continue };
            let Party::Browser(conn) = &mut slot.party else { continue };
            let Some((outbox, member, goes_out)) = conn.receiver() else { continue };
            let at = match known {
                Some((form, at)) if form == member.form => at,
                _ => known.insert((member.form, self.formed(member.form, index, cx))).1,
            };
            let events = &mut self.events[at].1;
            if events.all.is_empty() {
                continue;
            }
            member.spoken = now;
            match events.is_told_alone(member) {
                true => outbox.push(events.alone.clone()),
                false => {
                    let superseded = events.tell(channel, outbox, member, cx);
                    browser::supersede(link, superseded, cx);
                }
            }
            cx.metrics.messages_out_total += events.all.len() as u64;
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
    }

    /// Which events are those of a form.
    fn formed(&mut self, form: Form, index: u32, cx: &mut Context) -> usize {
        self.events.iter().position(|(known, _)| *known == form).unwrap_or_else(|| {
            let mut events = Events::new();
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
                events.is_payload = matches!(bare, Some(Bare::Payload(_)));
                let frame;
                let event = match said {
                    Ok(said) => {
                        frame = cx.encoder.frame(&mut Encoded::new(said), index, form);
                        &frame[..]
                    }
                    Err(event) => event,
                };
                events.add(event, stands);
            }
            events.alone = events.behind("");
            self.events.push((form, events));
            self.events.len() - 1
        })
    }
}

impl<'a> Events<'a> {
    fn new() -> Self {
        let (all, alone) = (Vec::new(), Frame::default());
        Events { all, alone, stands: None, is_payload: false, last: None }
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
        let before = self.stands.and_then(|(pair, position)| member.stand_behind(pair, position));
        let before = before.as_deref().unwrap_or_default();
        if !before.is_empty() {
            cx.queued_bytes(before.len());
        }
        match label.filter(|_| skips) {
            Some(label) => self.replace(before, label, outbox),
            None => {
                self.push(before, label, outbox);
                0
            }
        }
    }

    /// Adds an event, which says where its channel stands.
    fn add(&mut self, event: &[u8], stands: Option<(&'a str, &'a str)>) {
        let Some((pair, position)) = stands else {
            self.all.push(Event { bytes: Frame::from(event), has_id: false });
            return;
        };
        let line = format!("{pair} {position}\n");
        let bytes = Frame::from([line.as_bytes(), event].concat());
        self.all.push(Event { bytes, has_id: true });
        self.stands = stands;
    }

    /// All of them behind where other channels stand.
    fn behind(&self, before: &str) -> Frame {
        let mut bytes = Vec::with_capacity(self.bytes_behind(before));
        self.all.iter().for_each(|event| event.append(before, &mut bytes));
        Frame::from(bytes)
    }

    fn bytes_behind(&self, before: &str) -> usize {
        let bytes = self.all.iter().map(|event| event.bytes.len()).sum::<usize>();
        bytes + self.all.len() * (ID.len() + before.len())
    }

    fn push(&mut self, before: &str, label: Option<u32>, outbox: &mut Outbox) {
        let run = match before {
            "" => Some(self.alone.clone()),
            before if self.bytes_behind(before) <= COPIED_BYTES => Some(self.copied(before)),
            _ => None,
        };
        match (run, label) {
            (Some(run), None) => outbox.push(run),
            (Some(run), label) => outbox.push_labelled(run, label),
            (None, label) => {
                let line = line(before);
                for event in &self.all {
                    match event.has_id {
                        true => outbox.push_event(line.clone(), event.bytes.clone(), label),
                        false => outbox.push_labelled(event.bytes.clone(), label),
                    }
                }
            }
        }
    }

    /// Puts the last one in the place of those of its label; how many are dropped.
    fn replace(&mut self, before: &str, label: u32, outbox: &mut Outbox) -> usize {
        let Some(last) = self.all.last() else { return 0 };
        let event = last.bytes.clone();
        let dropped = match last.has_id {
            true => outbox.replace_event(line(before), event, label),
            false => outbox.replace(event, label),
        };
        dropped + self.all.len() - 1
    }

    /// All of them in one, shared with the last stream if it is the same.
    fn copied(&mut self, before: &str) -> Frame {
        match &self.last {
            Some((known, run)) if **known == *before => run.clone(),
            _ => {
                let run = self.behind(before);
                self.last = Some((before.into(), run.clone()));
                run
            }
        }
    }
}

impl Event {
    fn append(&self, before: &str, bytes: &mut Vec<u8>) {
        if self.has_id {
            bytes.extend_from_slice(ID);
            bytes.extend_from_slice(before.as_bytes());
        }
        bytes.extend_from_slice(&self.bytes);
    }
}

/// The line about where channels stand, up to the channel of the event.
fn line(before: &str) -> Frame {
    Frame::from([ID, before.as_bytes()].concat())
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
