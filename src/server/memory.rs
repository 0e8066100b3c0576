//! The memory that peers make grow: how much it is, and who gives way when it is too much.
//!
//! It knows what each party says that it holds. Its rules:
//! * nothing is counted while messages pass: what is held cannot have grown by more than has
//!   arrived or been made since the last count, and a count is due when that may be too much;
//! * a shared frame is counted once, in parts by those who hold it;
//! * what the kernel holds for who does not read counts as far as it is bounded;
//! * past the limit the largest is closed first, until what is left is below it.

use std::collections::BinaryHeap;

use super::Server;
use super::table::{Party, Slot};
use crate::access::ask::Application;
use crate::handler::Handler;
use crate::link::{LinkId, SaidOnce};

/// The least part of the limit by which what is held may have grown before it is counted anew, so
/// that little is spent on counting near the limit.
const PART: usize = 32;
/// So often it is counted for the metrics, if anything has happened.
const EVERY_MS: u64 = 1_000;
/// What is held goes when peers read or leave, though nothing arrives: this much is counted again.
const GOING: usize = 1 << 20;
/// To close who holds less than this would free nothing.
const LEAST: usize = 1 << 10;

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Bytes by the last count.
    held: usize,
    /// What had arrived or been made by then.
    grown: u64,
    counted_ms: u64,
    said: SaidOnce,
}

impl Server {
    /// Most bytes that the kernel is to take for a conn before it can send them; 0 is any number.
    pub(crate) fn socket_mode(&self) -> u32 {
        self.cx.settings.socket_mode
    }

    pub(crate) fn unsent_limit(&self) -> u32 {
        u32::try_from(self.cx.settings.unsent_limit).unwrap_or(u32::MAX)
    }

    /// Bytes that have ever arrived or been made, at most.
    pub(crate) fn grown(&self) -> u64 {
        self.cx.grown()
    }

    /// When it is counted again, whatever happens.
    pub(super) fn count_ms(&self) -> Option<u64> {
        (self.memory.held >= GOING).then_some(self.memory.counted_ms + EVERY_MS)
    }

    /// Counts what is held, if it may be too much or was not counted for a while, and has those
    /// give way who hold most while it is.
    pub(super) fn bound_memory(&mut self) {
        let limit = self.cx.settings.memory_limit;
        let grown = self.cx.grown() - self.memory.grown;
        let room = limit.saturating_sub(self.memory.held).max(limit / PART) as u64;
        let now_ms = self.cx.now.mono_ms;
        let is_old = now_ms >= self.memory.counted_ms + EVERY_MS;
        let may_be_over = limit > 0 && grown > room;
        let may_have_changed = grown > 0 || self.memory.held >= GOING;
        if !(may_be_over || is_old && may_have_changed) {
            return;
        }
        (self.memory.grown, self.memory.counted_ms) = (self.cx.grown(), now_ms);
        let mut held = self.held_by_nobody();
        held += self.table.slots().map(|slot| self.held_at(slot)).sum::<usize>();
        if limit > 0 && held > limit {
            held = self.make_way(held, limit);
        }
        self.memory.held = held;
        self.cx.metrics.memory_bytes = held as u64;
    }

    /// Has the largest give way one after the other until no more than the limit is held; returns
    /// how much is.
    fn make_way(&mut self, mut held: usize, limit: usize) -> usize {
        let of = |(link, slot): (LinkId, &Slot)| (self.held_at(slot), link.index);
        let is_worth_it = |(bytes, _): &(usize, u32)| *bytes >= LEAST;
        let mut largest: BinaryHeap<(usize, u32)> =
            self.table.places().map(of).filter(is_worth_it).collect();
        while held > limit
            && let Some((bytes, index)) = largest.pop()
        {
            let Some((link, slot)) = self.table.at(index) else { continue };
            let closes = !matches!(&slot.party, Party::Browser(conn) if conn.is_closing());
            let mut left = self.give_way(link);
            if left > bytes / 2 {
                // What is on its way stays for a conn that closes, and its close frame would come
                // behind all that.
                left = self.give_way(link);
            }
            if closes {
                self.cx.metrics.memory_closed_total += 1;
                self.say_who_gives_way(link, bytes, limit);
            }
            held = (held + left).saturating_sub(bytes);
            largest.extend((left >= LEAST).then_some((left, index)));
        }
        held
    }

    /// Closes whoever is there; returns what it holds still.
    fn give_way(&mut self, link: LinkId) -> usize {
        self.drop_client(link);
        self.drop_guest(link);
        self.on_conn(link, |conn, cx| conn.give_way(link, cx));
        self.route_effects();
        self.table.peek(link).map_or(0, |slot| self.held_at(slot))
    }

    fn say_who_gives_way(&mut self, link: LinkId, bytes: usize, limit: usize) {
        if self.memory.said.first() {
            tracing::warn!(
                "what waits for peers, and what they have sent in part, is more than the {} MiB of \
                 --memory-limit: who has most of it is closed, first {link} with {} KiB (said \
                 once; then counted)",
                limit >> 20,
                bytes >> 10
            );
        }
    }

    /// The loop holds so much for a link.
    pub(super) fn note_held(&mut self, link: LinkId, kib: usize) {
        let Some(slot) = self.table.get(link) else { return };
        let kib = u16::try_from(kib).unwrap_or(u16::MAX);
        let more = kib.saturating_sub(std::mem::replace(&mut slot.held_kib, kib));
        self.cx.took(usize::from(more) << 10);
    }

    /// Bytes that whoever is there holds.
    fn held_at(&self, slot: &Slot) -> usize {
        match &slot.party {
            Party::Browser(conn) => {
                let in_kernel = if slot.blocked { self.cx.settings.unsent_limit } else { 0 };
                conn.held_bytes() + in_kernel + (usize::from(slot.held_kib) << 10)
            }
            Party::Client(client) => client.held_bytes(),
            Party::Guest(at) => self.proxy.guest_held(*at),
            Party::Redis(_)
            | Party::Sentinel(..)
            | Party::App(_)
            | Party::Handler(_)
            | Party::Uplink(_)
            | Party::Gone(_) => 0,
        }
    }

    /// Bytes that are no one conn's: each kind has a limit of its own.
    fn held_by_nobody(&self) -> usize {
        let questions = self.application.as_ref().map_or(0, Application::held_bytes);
        let endpoints = self.cx.endpoints.iter().map(|queue| queue.held_bytes()).sum::<usize>();
        let handlers = self.handlers.iter().map(Handler::held_bytes).sum::<usize>();
        self.relay.held_bytes()
            + self.topics.held_bytes()
            + self.broker.unsent_bytes()
            + questions
            + endpoints
            + handlers
    }
}
