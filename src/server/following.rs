//! L2: conns that are sent the latest of a shared area: what was overtaken before it could be sent
//! is skipped.
//!
//! A frame is made once for all who follow. Who has gone is forgotten when there is something new.

use std::collections::BTreeMap;

use super::Server;
use super::lines::Line;
use super::table::{Party, Table};
use crate::browser::Context;
use crate::browser::endpoint::ConnId;
use crate::fanout::encoded::Encoded;
use crate::link::LinkId;
use crate::proto::ws::message::Kind;

/// Who follows each area, and whether in binary messages.
#[derive(Debug, Default)]
pub(super) struct Following(BTreeMap<u32, Vec<(LinkId, bool)>>);

/// Labels of channels are numbers from 0 on, those of areas from here downwards.
const LABELS: u32 = u32::MAX;

impl Server {
    pub(super) fn follow(&mut self, conn: ConnId, area: u32, binary: bool, content: &[u8]) {
        let ConnId(link) = conn;
        if self.table.peek_conn(link).is_none_or(|conn| conn.application().is_none()) {
            return;
        }
        let all = self.following.0.entry(area).or_default();
        all.retain(|(other, _)| *other != link);
        all.push((link, binary));
        let (table, cx) = (&mut self.table, &mut self.cx);
        let mut latest = Latest::new(area, content, 1);
        if latest.hand(link, binary, table, cx) == Some(true) {
            self.after(link);
        }
    }

    pub(super) fn unfollow(&mut self, ConnId(link): ConnId, area: u32) {
        if let Some(all) = self.following.0.get_mut(&area) {
            all.retain(|(other, _)| *other != link);
            if all.is_empty() {
                self.following.0.remove(&area);
            }
        }
    }

    /// What an area has now goes to all who follow it.
    pub(super) fn show(&mut self, area: u32, content: &[u8]) {
        let Some(mut all) = self.following.0.remove(&area) else { return };
        let mut latest = Latest::new(area, content, all.len());
        let mut slow = Vec::new();
        all.retain(|(link, binary)| {
            let handed = latest.hand(*link, *binary, &mut self.table, &mut self.cx);
            slow.extend((handed == Some(true)).then_some(*link));
            handed.is_some()
        });
        if !all.is_empty() {
            self.following.0.insert(area, all);
        }
        slow.into_iter().for_each(|link| self.after(link));
    }
}

/// The content of an area, in the forms in which it was wanted.
struct Latest<'a> {
    label: u32,
    line: Line,
    text: Encoded<'a>,
    binary: Encoded<'a>,
    bytes: usize,
}

impl<'a> Latest<'a> {
    fn new(area: u32, content: &'a [u8], receivers: usize) -> Latest<'a> {
        let end = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Latest {
            label: LABELS - area,
            line: Line::of(receivers),
            text: Encoded::new(&content[..end]),
            binary: Encoded::of(Kind::Binary, content),
            bytes: content.len(),
        }
    }

    /// Hands it to a conn, in the place of what it has not been sent; nothing if it has gone, and
    /// else whether that was too much for it.
    fn hand(
        &mut self,
        link: LinkId,
        binary: bool,
        table: &mut Table,
        cx: &mut Context,
    ) -> Option<bool> {
        let (at, slot, lines) = table.at_and_lines(link.index)?;
        let Party::Browser(conn) = &mut slot.party else { return None };
        if at != link || conn.application().is_none() {
            return None;
        }
        let limit = cx.settings.outbox_limit;
        let (outbox, member, _) = conn.receiver()?;
        member.spoken = cx.now.tick();
        let message = if binary { &mut self.binary } else { &mut self.text };
        let frame = cx.encoder.frame(message, link.index, member.form);
        cx.queued_bytes(std::mem::take(&mut self.bytes));
        match outbox.is_empty() {
            true => outbox.push(frame),
            false => {
                cx.metrics.superseded_total += outbox.replace(frame, self.label) as u64;
            }
        }
        cx.metrics.messages_out_total += 1;
        cx.queued(1);
        if !slot.blocked {
            slot.enter(link.index, self.line, lines);
        } else if conn.is_over(limit) {
            conn.overflowed(link, cx);
            return Some(true);
        }
        Some(false)
    }
}
