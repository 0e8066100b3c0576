//! L3: the loop's time: what it is, and how long to sleep.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::listen::Listener;
use super::reactor::Reactor;
use crate::link::Now;

/// Milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Now, in seconds of Unix time.
pub(super) fn unix_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl Reactor {
    /// A turn that began then is over. Messages that have arrived in it, or in one before, are
    /// written when nothing more is to be put out.
    pub(super) fn note_turn(&mut self, woken: Instant) {
        let deliveries = self.server.metrics().deliveries_total;
        if std::mem::replace(&mut self.deliveries, deliveries) != deliveries {
            self.arrived.get_or_insert(woken);
        }
        let now = Instant::now();
        let us = |since: Instant| now.duration_since(since).as_micros() as u64;
        let arrived = self.arrived.take_if(|_| !self.server.has_outputs());
        self.server.note_turn(us(woken), arrived.map(us));
    }

    pub(super) fn now_at(&self, now: Instant) -> Now {
        let mono_ms = now.duration_since(self.start).as_millis() as u64;
        Now { mono_ms, unix_ms: unix_ms() }
    }

    /// How long to sleep: not at all while something is left to read or to accept.
    pub(super) fn timeout(&mut self) -> Option<Duration> {
        let now_ms = self.start.elapsed().as_millis() as u64;
        let accepts = |listener: &Listener| listener.ready && self.accepts(listener.comers);
        let waiting = self.listeners.iter().any(accepts);
        let accept_ms = waiting.then_some(self.accept_after_ms);
        let read_ms = (!self.leftovers.is_empty()).then_some(0);
        let slow = self.dials.say_slow().map(|left| now_ms + left.as_millis() as u64 + 1);
        let others = slow.into_iter().chain(accept_ms).chain(read_ms).chain(self.quiet_at_ms());
        let others = others.chain(self.heap.deadline_ms());
        let others = others.chain(self.leaves_ms).chain(self.watchdog_ms());
        let deadlines = self.server.next_deadline_ms().into_iter().chain(others);
        deadlines.min().map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms)))
    }
}
