//! Visitors: who comes, what they ask of the broker, and what is sent to them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Server;
use crate::broker::Broker;
use crate::broker::client::{Step, Visitor};
use crate::link::LinkId;
use crate::link::Output;
use crate::server::relay::Relay;
use crate::server::table::Party;

/// Most visitors; who comes then is told so.
const MOST: usize = 128;
/// Bytes that may wait for a visitor whose socket takes no more: as much as Redis lets wait for a
/// subscriber.
const UNSENT_LIMIT: usize = 32 << 20;

/// All visitors, by their places.
#[derive(Debug, Default)]
pub(super) struct Visitors {
    here: BTreeMap<u32, Entry>,
    /// Those for whom something waits.
    line: VecDeque<LinkId>,
    /// Those who have more to ask although nothing more arrived.
    woken: VecDeque<LinkId>,
    /// Those who let more wait than they may.
    slow: Vec<LinkId>,
    /// What was already said.
    said_slow: bool,
    said_full: bool,
}

#[derive(Debug)]
struct Entry {
    link: LinkId,
    visitor: Visitor,
    in_line: bool,
    woken: bool,
    /// The kernel took less than waited, and will say when it takes more.
    blocked: bool,
    /// It asks for no more, and is closed when all is answered.
    ended: bool,
}

impl Visitors {
    /// Whether that link is a visitor's.
    pub(super) fn has(&self, link: LinkId) -> bool {
        self.here.get(&link.index).is_some_and(|entry| entry.link == link)
    }

    /// What waits to be sent to a visitor, if the link is one's.
    pub(super) fn unsent(&self, link: LinkId) -> Option<&[u8]> {
        let entry = self.here.get(&link.index).filter(|entry| entry.link == link)?;
        Some(entry.visitor.unsent())
    }

    /// Tells every visitor of a message who hears its channel. What that makes counts as queued, so
    /// that a turn ends before it is very much.
    pub(super) fn hear(&mut self, channel: &[u8], payload: &[u8], relay: &mut Relay) {
        for entry in self.here.values_mut() {
            let bytes = entry.visitor.hear(channel, payload);
            if bytes > 0 {
                relay.inflated(bytes);
                entry.stand(&mut self.line);
                self.slow.extend(entry.is_slow().then_some(entry.link));
            }
        }
    }

    /// Whom something is to be sent to next.
    pub(super) fn next_flush(&mut self) -> Option<Output> {
        while let Some(link) = self.line.pop_front() {
            let Some(entry) = self.of(link) else { continue };
            entry.in_line = false;
            if !entry.blocked {
                return Some(Output::Flush(link));
            }
        }
        None
    }

    /// Whether something is to be done for a visitor at once.
    pub(super) fn wait(&self) -> bool {
        !self.line.is_empty() || !self.woken.is_empty()
    }

    /// Panics when what is counted and in line disagrees with what is there.
    pub(super) fn check_invariants(&self, counted: u64) {
        assert_eq!(self.here.len() as u64, counted);
        for entry in self.here.values() {
            let waits = !entry.visitor.unsent().is_empty();
            assert!(!waits || entry.in_line || entry.blocked, "a visitor is not answered");
            assert!(entry.in_line <= self.line.contains(&entry.link));
            assert!(entry.woken <= self.woken.contains(&entry.link));
        }
    }

    fn of(&mut self, link: LinkId) -> Option<&mut Entry> {
        self.here.get_mut(&link.index).filter(|entry| entry.link == link)
    }
}

impl Entry {
    /// Puts it in line if something waits for it.
    fn stand(&mut self, line: &mut VecDeque<LinkId>) {
        let waits = !self.visitor.unsent().is_empty() && !self.blocked;
        if waits && !std::mem::replace(&mut self.in_line, true) {
            line.push_back(self.link);
        }
    }

    fn is_slow(&self) -> bool {
        self.blocked && self.visitor.unsent().len() > UNSENT_LIMIT
    }

    /// Whether there is nothing more to say to it, or nobody who would hear it.
    fn is_done_with(&self) -> bool {
        let sent = self.visitor.unsent().is_empty();
        let last = self.visitor.is_over();
        last && (sent || self.blocked) || self.ended && sent && !self.visitor.has_more()
    }
}

impl Server {
    /// Whether a visitor may be accepted now: there is an embedded broker to come to, and no end.
    pub fn accepting_visitors(&self) -> bool {
        self.ends_ms.is_none() && matches!(self.broker, Broker::Local(_))
    }

    /// Names the link of a visitor that was accepted: a Redis client of the embedded broker.
    pub fn accept_visitor(&mut self, peer: &dyn std::fmt::Display, now_ms: u64) -> LinkId {
        self.set_now(now_ms);
        let link = self.relay.name_link(Party::Visitor);
        let settings = self.relay.settings();
        let conns = self.relay.conns() + self.visitors.here.len();
        let full = self.visitors.here.len() >= MOST || conns >= settings.max_connections;
        let visitor = match full {
            true => Visitor::refused("ERR max number of clients reached"),
            false => Visitor::new(u64::from(link.generation), settings.max_message_size),
        };
        tracing::debug!("{link} accepted from {peer}, a Redis client");
        let (in_line, woken, blocked, ended) = (false, false, false, false);
        let entry = Entry { link, visitor, in_line, woken, blocked, ended };
        self.visitors.here.insert(link.index, entry);
        self.relay.metrics.visitors += 1;
        self.relay.metrics.visitors_total += 1;
        if full {
            self.relay.metrics.visitors_closed_total += 1;
            if !std::mem::replace(&mut self.visitors.said_full, true) {
                tracing::warn!(
                    "Redis clients are refused: there are {MOST} of them, or as many links as \
                     --max-connections allows (said once; then counted)"
                );
            }
        }
        self.after_steps(link);
        link
    }

    /// Bytes from a visitor.
    pub(super) fn on_visitor_bytes(&mut self, link: LinkId, bytes: &[u8]) {
        let mut input = bytes;
        self.attend(link, &mut input);
        if let Some(entry) = self.visitors.of(link).filter(|_| !input.is_empty()) {
            entry.visitor.keep(input);
        }
        self.after_steps(link);
    }

    /// Goes on with those who had to wait, unless the turn is full, and closes who is too slow.
    pub(super) fn attend_woken_visitors(&mut self) {
        for link in std::mem::take(&mut self.visitors.slow) {
            self.close_slow_visitor(link);
        }
        // Who is woken meanwhile waits for the next time.
        for _ in 0..self.visitors.woken.len() {
            if self.relay.is_full() {
                return;
            }
            let Some(link) = self.visitors.woken.pop_front() else { return };
            if let Some(entry) = self.visitors.of(link) {
                entry.woken = false;
                self.attend(link, &mut &[][..]);
                self.after_steps(link);
            }
        }
    }

    /// A visitor has ended its side, and may still read what it is answered; or its link failed.
    pub(super) fn on_visitor_hung_up(&mut self, link: LinkId, ended: bool) {
        match self.visitors.of(link) {
            Some(entry) if ended => {
                entry.ended = true;
                self.after_steps(link);
            }
            _ => self.drop_visitor(link),
        }
    }

    /// The kernel took no more of a visitor's bytes.
    pub(super) fn on_visitor_blocked(&mut self, link: LinkId) {
        if let Some(entry) = self.visitors.of(link) {
            entry.blocked = true;
            self.after_steps(link);
        }
    }

    /// The kernel took `n` of a visitor's bytes.
    pub(super) fn visitor_took(&mut self, link: LinkId, n: usize) {
        if let Some(entry) = self.visitors.of(link) {
            entry.visitor.advance(n);
            entry.blocked &= !entry.visitor.unsent().is_empty();
            self.after_steps(link);
        }
    }

    /// Closes a visitor's link at once.
    fn drop_visitor(&mut self, link: LinkId) {
        if self.visitors.has(link) {
            self.visitors.here.remove(&link.index);
            self.relay.metrics.visitors -= 1;
            self.relay.put_out(Output::Close(link));
        }
    }

    /// Closes every visitor's link.
    pub(super) fn drop_visitors(&mut self) {
        let links: Vec<LinkId> = self.visitors.here.values().map(|entry| entry.link).collect();
        links.into_iter().for_each(|link| self.drop_visitor(link));
    }

    /// Does what a visitor asks, until there is no more of it or the turn is full. A transaction is
    /// done as a whole. What others have published before is delivered before.
    fn attend(&mut self, link: LinkId, input: &mut &[u8]) {
        self.on_broker_events(&mut &[][..]);
        if self.broker.has_more() {
            return;
        }
        loop {
            let full = self.relay.is_full();
            let (Some(entry), Some(local)) = (self.visitors.of(link), self.broker.local()) else {
                return;
            };
            if full && !entry.visitor.is_executing() {
                return;
            }
            match entry.visitor.step(input, local, self.now_ms) {
                Step::Idle => return,
                Step::Done => {}
                Step::Publish { channel, payload } => self.publish_for(link, channel, payload),
            }
        }
    }

    fn publish_for(&mut self, link: LinkId, channel: Arc<[u8]>, payload: Arc<[u8]>) {
        // As with a real Redis, all conns of this process are one client.
        let name = std::str::from_utf8(&channel).ok();
        let heard = name.is_some_and(|name| self.relay.hub.find(name).is_some());
        let ours = heard || name.is_some_and(|name| self.control.as_deref() == Some(name));
        let ears = self.visitors.here.values().map(|entry| entry.visitor.ears(&channel));
        let receivers = ears.sum::<usize>() + usize::from(ours);
        // At once, because clients may count on hearing it before the answer to what they ask next.
        self.visitors.hear(&channel, &payload, &mut self.relay);
        if let (Some(entry), Some(local)) = (self.visitors.of(link), self.broker.local()) {
            local.announce(channel, payload);
            entry.visitor.published(receivers);
        }
    }

    /// Something has happened to a visitor: what waits for it is to be sent, and what it has asked
    /// besides is to be done, or it is closed.
    fn after_steps(&mut self, link: LinkId) {
        let Some(entry) = self.visitors.here.get_mut(&link.index) else { return };
        if entry.is_done_with() {
            return self.drop_visitor(link);
        }
        if entry.is_slow() {
            return self.close_slow_visitor(link);
        }
        entry.stand(&mut self.visitors.line);
        if entry.visitor.has_more() && !std::mem::replace(&mut entry.woken, true) {
            self.visitors.woken.push_back(link);
        }
    }

    fn close_slow_visitor(&mut self, link: LinkId) {
        if !self.visitors.has(link) {
            return;
        }
        self.relay.metrics.visitors_closed_total += 1;
        if !std::mem::replace(&mut self.visitors.said_slow, true) {
            tracing::warn!(
                "{link}, a Redis client, reads too slowly and is closed (said once; then counted)"
            );
        }
        self.drop_visitor(link);
    }
}
