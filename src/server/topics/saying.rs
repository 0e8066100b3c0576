//! L2: something that is said of a channel with positions: as a message of `wsloop.1`, encoded once
//! for all who hear it, or as an event that also says where the channels of its stream stand. The
//! stream of one facility is told what is published without the header.
//!
//! It knows forms. Its rules:
//! * what an event says, and where its channels stand behind it, go out together or not at all;
//! * the event is shared by all; so is the line about the channels, while it is the same for one
//!   stream as for the last.

use std::iter;

use crate::browser::{self, Context};
use crate::fanout::encoded::{Form, Run};
use crate::fanout::hub::ChannelId;
use crate::fanout::overflow::Overflow;
use crate::link::{Frame, LinkId};
use crate::proto::{sse, topics};
use crate::server::lines::Line;
use crate::server::table::{Party, Table};

/// A message of the server, and its frames so far.
#[derive(Debug)]
pub(super) struct Saying<'a> {
    pub run: Run<'a>,
    text: &'a [u8],
    /// Where a channel stands behind this, by its two words, if that is not what it says.
    pub stands: Option<Option<(&'a str, &'a str)>>,
    /// The line for the last stream.
    line: Option<Frame>,
    /// What the stream of one facility is told of it.
    bare: Option<Bare<'a>>,
}

/// What an event is to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing but where the channel stands.
    Begin,
    /// A message whose place a later one may take.
    Latest,
    Other,
}

/// What the stream of one facility is told.
#[derive(Debug)]
enum Bare<'a> {
    /// This event.
    Event(Frame),
    /// This one, which is nothing without where its channel stands.
    Begin(Frame),
    /// Nothing.
    Nothing,
    /// What is published.
    Payload(Run<'a>),
}

impl<'a> Saying<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let run = Run::new(text, iter::empty());
        Saying { run, text, stands: None, line: None, bare: None }
    }

    /// Hands it to the stream of that place, one of so many receivers of a channel.
    pub(super) fn hand_event(
        &mut self,
        channel: ChannelId,
        index: u32,
        receivers: usize,
        slow: &mut Vec<LinkId>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let Some((link, slot, lines)) = table.at_and_lines(index) else { return };
        let Party::Browser(conn) = &mut slot.party else { return };
        let Some((outbox, member, goes_out)) = conn.receiver() else { return };
        member.spoken = cx.now.tick();
        let Some((event, kind)) = self.event(index, member.is_placed(), member.form, cx) else {
            return;
        };
        let is_latest = kind == Kind::Latest && member.overflow == Overflow::Latest;
        let label = is_latest.then_some(channel);
        let stands = self.stands();
        let ids = stands.and_then(|(pair, position)| member.stands(pair, position));
        let line = ids.map(|(ids, _)| self.line_of(&format!("id: {ids}\n")));
        cx.queued_bytes(line.as_ref().map_or(0, |line| line.len()));
        let dropped = match (line, label) {
            (None, _) if kind == Kind::Begin => return,
            (Some(line), Some(label)) if member.skips => outbox.replace_event(line, event, label),
            (None, Some(label)) if member.skips => outbox.replace(event, label),
            (line, label) => {
                match line {
                    Some(line) => outbox.push_event(line, event, label),
                    None => outbox.push_labelled(event, label),
                }
                0
            }
        };
        browser::supersede(link, dropped, cx);
        cx.metrics.messages_out_total += 1;
        cx.queued(1);
        if slot.blocked {
            if conn.is_over(cx.settings.outbox_limit) {
                conn.overflowed(link, cx);
                slow.push(link);
            }
        } else if goes_out {
            slot.enter(index, Line::of(receivers), lines);
        }
    }

    /// Where a channel stands behind it, by its two words, if it says that.
    pub(super) fn stands(&self) -> Option<(&'a str, &'a str)> {
        self.stands.unwrap_or_else(|| topics::stands(self.text))
    }

    /// Its event for the stream of that place, which may be that of one facility and be told
    /// nothing of it.
    pub(super) fn event(
        &mut self,
        index: u32,
        is_bare: bool,
        form: Form,
        cx: &mut Context,
    ) -> Option<(Frame, Kind)> {
        if !is_bare {
            return Some((self.run.frames(&mut cx.encoder, index, form), Kind::Other));
        }
        match self.bare() {
            Bare::Event(event) => Some((event.clone(), Kind::Other)),
            Bare::Begin(event) => Some((event.clone(), Kind::Begin)),
            Bare::Nothing => None,
            Bare::Payload(run) => Some((run.frames(&mut cx.encoder, index, form), Kind::Latest)),
        }
    }

    /// The line of a stream's own, shared with the last stream if it is the same.
    fn line_of(&mut self, line: &str) -> Frame {
        let last = self.line.take().filter(|last| **last == *line.as_bytes());
        self.line.insert(last.unwrap_or_else(|| Frame::from(line.as_bytes()))).clone()
    }

    fn bare(&mut self) -> &mut Bare<'a> {
        let text = self.text;
        self.bare.get_or_insert_with(|| Bare::of(text))
    }
}

impl<'a> Bare<'a> {
    fn of(text: &'a [u8]) -> Self {
        let feed = text.iter().position(|byte| *byte == b'\n');
        let payload = feed.map_or(&b""[..], |at| &text[at + 1..]);
        if !payload.is_empty() {
            return Bare::Payload(Run::new(payload, iter::empty()));
        }
        let text = std::str::from_utf8(text).unwrap_or_default();
        let parts = text.split_once(' ').zip(text.rsplit_once(' '));
        let pair = parts.map(|((verb, _), (front, _))| (verb, &front[verb.len()..]));
        match pair.map(|(verb, pair)| (verb, pair.trim_start())) {
            Some(("gap", pair)) => Bare::Event(Frame::from(sse::gap(pair))),
            Some(("subscribed", pair)) => Bare::Begin(Frame::from(sse::subscribed(pair))),
            _ => Bare::Nothing,
        }
    }
}
