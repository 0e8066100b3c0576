//! L2: the end that was asked for: announced, spread over some time, then awaited.
//!
//! Its rules:
//! * announced, everything goes on as before, but the server is not ready;
//! * while it drains, handshakes are finished, conns and requests are served; open conns are told
//!   one after the other, at even distances and in an order of chance, that the server restarts;
//! * then whoever is left is told so, handshakes are refused, and nobody new is served;
//! * when the time of that is over, whoever is left is dropped.

use super::Server;
use crate::browser::{Conn, Goodbye};
use crate::link::LinkId;

/// How far it is.
#[derive(Debug)]
pub(super) struct Ending {
    stage: Stage,
    random: u64,
}

#[derive(Debug)]
enum Stage {
    /// Nobody has asked.
    Running,
    /// It will be asked for.
    Announced,
    /// Conns are told one after the other.
    Draining(Drain),
    /// All are told; at that time they must have closed.
    Ending { at_ms: u64 },
}

#[derive(Debug)]
struct Drain {
    began_ms: u64,
    span_ms: u64,
    /// Those who were open when it began and have not been told, the next one last.
    left: Vec<LinkId>,
    /// How many there were.
    all: usize,
}

impl Drain {
    /// When so many of those are to have been told.
    fn at_ms(&self, told: usize) -> u64 {
        let part_ms = (self.span_ms as u128 * told as u128).div_ceil(self.all.max(1) as u128);
        self.began_ms + part_ms as u64
    }

    fn ends_ms(&self) -> u64 {
        self.began_ms + self.span_ms
    }

    /// When the next one is to be told, or all.
    fn next_ms(&self) -> u64 {
        match self.left.len() {
            0 => self.ends_ms(),
            left => self.at_ms(self.all - left + 1).min(self.ends_ms()),
        }
    }
}

impl Ending {
    /// Nobody has asked; `seed` is for the order.
    pub(super) fn new(seed: u64) -> Ending {
        Ending { stage: Stage::Running, random: seed | 1 }
    }

    /// It will be asked for.
    pub(super) fn announce(&mut self) {
        if let Stage::Running = self.stage {
            self.stage = Stage::Announced;
        }
    }

    /// Whether nobody new is served any more.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self.stage, Stage::Ending { .. })
    }

    /// Whether nobody has asked for it.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running)
    }

    /// When something is to be done about it.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        match &self.stage {
            Stage::Running | Stage::Announced => None,
            Stage::Draining(drain) => Some(drain.next_ms()),
            Stage::Ending { at_ms } => Some(*at_ms),
        }
    }

    fn shuffle(&mut self, links: &mut [LinkId]) {
        for end in (1..links.len()).rev() {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            links.swap(end, (self.random % (end as u64 + 1)) as usize);
        }
    }
}

impl Server {
    /// Whether a shutdown that was asked for is complete.
    pub fn is_done(&mut self) -> bool {
        let over = match self.ending.stage {
            Stage::Running | Stage::Announced => return false,
            Stage::Draining(_) => false,
            Stage::Ending { at_ms } => at_ms <= self.cx.now.mono_ms,
        };
        let settled = self.broker.is_settled();
        self.conns() == 0 && (settled && self.has_told_handlers() || over)
    }

    /// When something is to be done that hardly ever is.
    #[inline]
    pub(super) fn rare_ms(&self) -> Option<u64> {
        let canary = self.canary.deadline_ms();
        let retry = self.nodes.retry_ms();
        if self.ending.is_running() && retry.is_none() {
            return canary;
        }
        let all = [canary, retry, self.ending.deadline_ms()];
        all.into_iter().flatten().min()
    }

    /// How long the loop waits before it says that the end is asked for.
    pub(crate) fn drain_delay_ms(&self) -> u64 {
        self.cx.settings.drain_delay_ms
    }

    /// The end is asked for: whoever asks again does not want to wait so long.
    pub(super) fn shut_down(&mut self) {
        let (now_ms, span_ms) = (self.cx.now.mono_ms, self.cx.settings.drain_ms);
        match self.ending.stage {
            Stage::Running | Stage::Announced if span_ms == 0 => {
                self.tell_all(Goodbye::Away, self.cx.settings.shutdown_timeout_ms);
            }
            Stage::Running | Stage::Announced => {
                let mut left = self.table.conns(Conn::is_open);
                self.ending.shuffle(&mut left);
                let drain = Drain { began_ms: now_ms, span_ms, all: left.len(), left };
                self.ending.stage = Stage::Draining(drain);
            }
            Stage::Draining(_) => {
                self.tell_all(Goodbye::Restart, self.cx.settings.shutdown_timeout_ms);
            }
            Stage::Ending { .. } => self.tell_all(Goodbye::Away, 0),
        }
    }

    /// Tells whose turn it is, and drops who has not closed in time.
    #[inline]
    pub(super) fn go_on_ending(&mut self) {
        if !self.ending.is_running() {
            self.end_further();
        }
    }

    fn end_further(&mut self) {
        let now_ms = self.cx.now.mono_ms;
        while let Stage::Draining(drain) = &mut self.ending.stage
            && drain.next_ms() <= now_ms
        {
            match drain.left.pop() {
                Some(link) => self.on_conn(link, |conn, cx| {
                    if conn.is_open() {
                        conn.shut_down(link, Goodbye::Restart, cx);
                    }
                }),
                None => self.tell_all(Goodbye::Restart, self.cx.settings.shutdown_timeout_ms),
            }
        }
        if self.ending.deadline_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            for link in self.table.conns(|_| true) {
                self.on_conn(link, |conn, cx| conn.drop_now(link, cx));
            }
            self.drop_guests();
        }
    }

    /// Tells everybody, who has so long to close.
    fn tell_all(&mut self, goodbye: Goodbye, grace_ms: u64) {
        self.ending.stage = Stage::Ending { at_ms: self.cx.now.mono_ms + grace_ms };
        self.drop_clients();
        self.proxy.end();
        for link in self.table.conns(|conn| !conn.is_closing()) {
            self.on_conn(link, |conn, cx| conn.shut_down(link, goodbye, cx));
        }
    }
}
