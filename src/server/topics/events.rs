//! L2: messages of one channel that go to streams together, each stream being handed one run of
//! events, as a WebSocket is of frames.
//!
//! Its rules:
//! * each event says where the channels of its stream stand: a stream that is cut off anywhere has
//!   nothing twice;
//! * streams that hear no other channel with positions are told the same, which is made once;
//! * another has a run of its own, a copy of the same events with its own lines between;
//! * what is large is not copied: it goes out event by event, each shared by all.

use super::saying::Saying;
use crate::browser::Context;
use crate::fanout::encoded::Form;
use crate::fanout::hub::ChannelId;
use crate::fanout::overflow::Overflow;
use crate::link::{Frame, LinkId};
use crate::server::lines::Line;
use crate::server::table::{Party, Table};

/// Bytes of a run at most.
const RUN_BYTES: usize = 16 << 10;

/// Messages that go out together, and their runs so far.
#[derive(Debug)]
pub(super) struct Events<'s, 'a> {
    messages: &'s mut [Saying<'a>],
    /// The two words of the channel, and where it stands behind the last message that says so.
    stands: Option<(&'a str, &'a str)>,
    /// Where it stands behind each.
    positions: Vec<Option<&'a str>>,
    formed: Vec<Formed>,
    /// Where a run is made.
    scratch: Vec<u8>,
}

/// The messages in one form.
#[derive(Debug)]
struct Formed {
    /// For the stream of one facility.
    is_bare: bool,
    form: Form,
    events: Vec<Frame>,
    /// Bytes of all events.
    bytes: usize,
    /// The run for those that hear no other channel with positions.
    alone: Option<Frame>,
}

impl<'s, 'a> Events<'s, 'a> {
    /// Messages in their order.
    pub(super) fn of(messages: &'s mut [Saying<'a>]) -> Self {
        let stands = messages.iter().rev().find_map(Saying::stands);
        let position = |message: &Saying<'a>| message.stands().map(|(_, position)| position);
        let positions = messages.iter().map(position).collect();
        Events { messages, stands, positions, formed: Vec::new(), scratch: Vec::new() }
    }

    /// Hands them to the stream of that place, one of so many receivers of a channel.
    pub(super) fn hand(
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
        let (is_bare, form, skips) = (member.is_placed(), member.form, member.skips);
        let is_latest = is_bare && member.overflow == Overflow::Latest;
        let formed = self.formed(index, is_bare, form, cx);
        let ids = self.stands.and_then(|(pair, position)| member.stands(pair, position));
        let ids = ids.as_ref().map(|(ids, place)| (&ids[..place.start], &ids[place.end..]));
        let is_told = ids.is_some() == self.stands.is_some();
        let run = self.run(formed, ids.unwrap_or_default(), cx).filter(|_| is_told && !skips);
        let Some(run) = run else {
            for message in &mut *self.messages {
                message.hand_event(channel, index, receivers, slow, table, cx);
            }
            return;
        };
        match is_latest {
            true => outbox.push_labelled(run, Some(channel)),
            false => outbox.push(run),
        }
        member.spoken = cx.now.tick();
        cx.metrics.messages_out_total += self.messages.len() as u64;
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

    /// Which of the forms that is.
    fn formed(&mut self, index: u32, is_bare: bool, form: Form, cx: &mut Context) -> usize {
        let is_it = |known: &Formed| known.is_bare == is_bare && known.form == form;
        self.formed.iter().position(is_it).unwrap_or_else(|| {
            let messages = self.messages.iter_mut();
            let events = messages.map(|message| message.event(index, is_bare, form, cx));
            let events = events.map(|event| event.map_or_else(Frame::default, |(event, _)| event));
            let events: Vec<Frame> = events.collect();
            let bytes = events.iter().map(|event| event.len()).sum();
            self.formed.push(Formed { is_bare, form, events, bytes, alone: None });
            self.formed.len() - 1
        })
    }

    /// The run of a stream that is told of all its channels with that around each position, unless
    /// it is too large.
    fn run(&mut self, formed: usize, around: (&str, &str), cx: &mut Context) -> Option<Frame> {
        let formed = &mut self.formed[formed];
        let pair = self.stands.map_or("", |(pair, _)| pair);
        // Nobody else begins with this channel and ends with it.
        let is_alone = around.1.is_empty() && around.0.len() <= pair.len() + 1;
        if let Some(run) = formed.alone.as_ref().filter(|_| is_alone) {
            return Some(run.clone());
        }
        let ids = formed.events.len() * (around.0.len() + around.1.len());
        if formed.bytes + ids > RUN_BYTES {
            return None;
        }
        let out = &mut self.scratch;
        out.clear();
        let events = formed.events.iter().zip(&self.positions);
        for (event, position) in events.filter(|(event, _)| !event.is_empty()) {
            if let Some(position) = position {
                for part in ["id: ", around.0, position, around.1, "\n"] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
            out.extend_from_slice(event);
        }
        cx.queued_bytes(out.len());
        let run = Frame::from(&out[..]);
        if is_alone {
            formed.alone = Some(run.clone());
        }
        Some(run)
    }
}
