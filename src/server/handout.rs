//! L2: puts messages into outboxes: one message for everyone who hears a channel, or the stored
//! message for one conn that has waited for it.
//!
//! It does not know who hears what. When an outbox is full it tells the conn (`browser/life`),
//! which closes or skips.

use super::lines::Line;
use super::table::{Party, Table};
use crate::browser::{self, Context};
use crate::fanout::encoded::{Encoded, Run};
use crate::fanout::hub::ChannelId;
use crate::fanout::overflow::Overflow;
use crate::fanout::stored::Released;
use crate::link::LinkId;

/// Hands messages to each of these conns of a channel that has so many receivers.
#[allow(clippy::too_many_arguments, reason = "they are parts of one that borrow each other")]
pub(super) fn hand_out(
    conns: impl Iterator<Item = u32>,
    receivers: usize,
    channel: ChannelId,
    run: &mut Run<'_>,
    except: Option<LinkId>,
    slow: &mut Vec<LinkId>,
    table: &mut Table,
    cx: &mut Context,
) {
    let (now, limit) = (cx.now.tick(), cx.settings.outbox_limit);
    let line = Line::of(receivers);
    let messages = run.messages();
    cx.queued_bytes(run.bytes());
    for index in conns {
        let Some((link, slot, lines)) = table.at_and_lines(index) else { continue };
        if except == Some(link) {
            continue;
        }
        let Party::Browser(conn) = &mut slot.party else { continue };
        let Some((outbox, member, goes_out)) = conn.receiver() else { continue };
        member.spoken = now;
        if member.skips {
            let frame = run.last(&mut cx.encoder, index, member.form);
            let superseded = outbox.replace(frame, channel) + messages - 1;
            browser::supersede(link, superseded, cx);
        } else {
            let frames = run.frames(&mut cx.encoder, index, member.form);
            match member.overflow {
                Overflow::Close => outbox.push(frames),
                Overflow::Latest => outbox.push_labelled(frames, Some(channel)),
            }
        }
        cx.metrics.messages_out_total += messages as u64;
        cx.queued(1);
        if slot.blocked {
            if conn.is_over(limit) {
                conn.overflowed(link, cx);
                slow.push(link);
            }
        } else if goes_out {
            slot.enter(index, line, lines);
        }
    }
}

/// A stored message and what was held until it came, encoded once for all who get it.
pub(super) struct Packet<'a> {
    pub channel: ChannelId,
    stored: Option<Encoded<'a>>,
    /// Where the stored message is the last time among those that were held.
    twin: Option<usize>,
    held: Vec<(Encoded<'a>, Option<LinkId>)>,
}

impl<'a> Packet<'a> {
    pub(super) fn new(
        channel: ChannelId,
        stored: Option<&'a [u8]>,
        released: &'a Released,
    ) -> Self {
        let held = released.messages.iter();
        let is_twin = |payload: &[u8]| Some(payload) == stored;
        Packet {
            channel,
            stored: stored.map(Encoded::new),
            twin: released.messages.iter().rposition(|held| is_twin(&held.payload)),
            held: held.map(|held| (Encoded::new(&held.payload), held.except)).collect(),
        }
    }

    /// Hands to the conn of that index the stored message, if it is to have it and it does not come
    /// anyway, and what was held from `start` on. It is one of so many receivers.
    #[allow(clippy::too_many_arguments, reason = "they are parts of one that borrow each other")]
    pub(super) fn hand(
        &mut self,
        index: u32,
        start: usize,
        stored: bool,
        receivers: usize,
        slow: &mut Vec<LinkId>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let Some((link, slot, lines)) = table.at_and_lines(index) else { return };
        let Party::Browser(conn) = &mut slot.party else { return };
        let Some((outbox, member, _)) = conn.receiver() else { return };
        let stored = stored && self.twin.is_none_or(|twin| twin < start);
        if let Some(stored) = self.stored.as_mut().filter(|_| stored) {
            outbox.push(cx.encoder.frame(stored, index, member.form));
            member.spoken = cx.now.tick();
            cx.metrics.messages_out_total += 1;
            cx.queued(1);
        }
        for (message, except) in &mut self.held[start..] {
            if *except == Some(link) {
                continue;
            }
            let frame = cx.encoder.frame(message, index, member.form);
            match member.overflow {
                _ if member.skips => {
                    let superseded = outbox.replace(frame, self.channel);
                    browser::supersede(link, superseded, cx);
                }
                Overflow::Close => outbox.push(frame),
                Overflow::Latest => outbox.push_labelled(frame, Some(self.channel)),
            }
            member.spoken = cx.now.tick();
            cx.metrics.messages_out_total += 1;
            cx.queued(1);
        }
        if slot.blocked {
            if conn.is_over(cx.settings.outbox_limit) {
                conn.overflowed(link, cx);
                slow.push(link);
            }
        } else {
            slot.stand(index, Line::of(receivers), lines);
        }
    }
}
