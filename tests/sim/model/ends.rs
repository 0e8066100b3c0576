//! How conns are closed: what is to be, and what may be.

use super::super::super::world::Cause;
use super::super::ask::{Flaw, FlawKind};
use super::guest::{End, Guest, Life};
use super::{Model, TICK_MS};

/// Who is not served has so long to say its request.
const UNSERVED_MS: u64 = 1_000;

/// The last bytes of a browser.
type Closing = (usize, Vec<u8>);

impl Model {
    /// A browser is to be closed by what the server is told just now.
    pub(super) fn end(&mut self, id: usize, end: End) {
        assert_eq!(self.guests[id].due, None, "it ends but once");
        self.leave(id);
        self.guests[id].due = Some(end);
        self.due.push(id);
    }

    /// A browser sends no more, or its link has failed.
    pub(super) fn ended(&mut self, id: usize, cause: &Cause) {
        let guest = &mut self.guests[id];
        let reads_on = *cause == Cause::Ended && guest.life == Life::Open;
        guest.reads_until_ms =
            reads_on.then_some(self.now_ms + self.setup.close_timeout_ms - 2 * TICK_MS);
        guest.excused = true;
        self.leave(id);
    }

    /// A browser has given way to others, without a word.
    pub fn given_way(&mut self, id: usize) {
        self.guests[id].excused = true;
        self.leave(id);
    }

    /// The operator asks for the end. Who has sent nothing may still do so, and is told then.
    pub(super) fn shut_down(&mut self) {
        self.shut_down = true;
        for id in 0..self.guests.len() {
            match self.guests[id].life {
                Life::Closing => {}
                Life::Open => {
                    self.guests[id].goodbye = !self.guests[id].grant.publish.is_empty();
                    self.end(id, End::Code(Some(1001)));
                }
                Life::Head if self.guests[id].told == 0 => self.guests[id].surplus = true,
                _ => self.end(id, End::Status(503)),
            }
        }
        if let Some(local) = &mut self.local {
            local.shut_down();
        }
    }

    /// Browsers that are closed because they read too slowly hear nothing of what arrives in the
    /// same breath: nothing of that can have gone out. But what one says in that breath is heard.
    pub(super) fn give_up_slow(&mut self, closings: &[Closing], speaker: Option<usize>) {
        for (id, last) in closings.iter().filter(|(id, _)| Some(*id) != speaker) {
            let guest = &mut self.guests[*id];
            let slow = read_end(last) == End::Code(Some(1008));
            if slow
                && guest.life == Life::Open
                && guest.stalled_ms.is_some()
                && is_for_slowness(last)
            {
                guest.cut_short = true;
                self.leave(*id);
            }
        }
    }

    /// Who was to be closed is, and who is closed was to be, or there is a reason.
    pub(super) fn check_ends(&mut self, closings: &[Closing]) {
        for (id, last) in closings {
            let end = read_end(last);
            let guest = &mut self.guests[*id];
            // It may have been too slow for what it said before it ended.
            guest.cut_short |=
                guest.stalled_ms.is_some() && guest.ended.is_some() && is_for_slowness(last);
            match guest.due.take().filter(|_| !guest.cut_short) {
                // What it has said may be read in the same breath, and before.
                Some(_) if guest.is_fault(&end) => {}
                Some(due) => assert_eq!(end, due, "browser {id} is closed otherwise"),
                None => self.check_reason(*id, &end, last),
            }
            let guest = &mut self.guests[*id];
            guest.answered = true;
            guest.closes_ms.get_or_insert(self.now_ms);
            self.leave(*id);
        }
        for id in std::mem::take(&mut self.due) {
            let due = self.guests[id].due.take();
            assert_eq!(due, None, "browser {id} is not closed");
        }
    }

    fn check_reason(&self, id: usize, end: &End, last: &[u8]) {
        let guest = &self.guests[id];
        let just = match *end {
            End::Status(status) => self.may_be_refused(guest, id, status),
            End::Code(code) if guest.ended == Some(code) => {
                assert!(guest.unstored == 0, "the close of browser {id} is answered too early");
                true
            }
            End::Code(Some(1008)) => guest.cut_short,
            End::Code(Some(1011)) => {
                let (ping_ms, pong_ms) = (self.setup.ping_interval_ms, self.setup.pong_timeout_ms);
                let silent_ms = self.now_ms - guest.heard_ms;
                last.ends_with(b"nothing came in answer to a ping")
                    && silent_ms + 2 * TICK_MS >= ping_ms + pong_ms
            }
            End::Code(Some(4401)) => guest.expires_ms.is_some_and(|at_ms| at_ms <= self.unix_ms),
            End::Code(_) => guest.is_fault(end),
            End::Dropped => false,
        };
        let last = last.escape_ascii();
        assert!(just, "browser {id}, {:?}, is closed with {end:?}: {last}", guest.life);
    }

    /// Whether a browser may be refused now though nothing was told that would have it refused.
    fn may_be_refused(&self, guest: &Guest, id: usize, status: u16) -> bool {
        let waited_ms = self.now_ms - guest.came_ms;
        let late = waited_ms + TICK_MS >= self.setup.handshake_timeout_ms;
        match (status, guest.life) {
            (408, Life::Head) => late,
            (503, Life::Head) => {
                self.shut_down || guest.surplus && waited_ms + TICK_MS >= UNSERVED_MS
            }
            (503, Life::LookingUp | Life::Waiting | Life::Joining) => late || !self.up,
            (503, Life::Asking) => {
                late || self.app_silent > 0 || guest.trouble || self.is_overdue(id)
            }
            // Garbage is no head long before it is whole, and a long one too long.
            (status, Life::Head) => {
                let fits = |flaw: Flaw| flaw.kind == FlawKind::Unreadable && flaw.status == status;
                guest.ask.bad.is_some_and(fits)
            }
            _ => false,
        }
    }
}

fn is_for_slowness(last: &[u8]) -> bool {
    last.trim_ascii_end().ends_with(b"this connection reads too slowly")
}

/// The code in the last event of a stream, if that is there.
fn code_of_stream(last: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(last).ok()?;
    let (_, data) = text.split_once("event: close\ndata: ")?;
    data.split(' ').next()?.parse().ok()
}

/// How a browser is closed that is sent these bytes last.
pub(super) fn read_end(last: &[u8]) -> End {
    if let Some(code) = code_of_stream(last) {
        return if last.starts_with(b"HTTP/") {
            End::Status(code - 4000)
        } else {
            End::Code(Some(code))
        };
    }
    if !last.starts_with(b"HTTP/") {
        let code = last.get(2..4).map(|code| u16::from_be_bytes([code[0], code[1]]));
        return End::Code(code);
    }
    let digits = std::str::from_utf8(&last[9..12]).expect("a status");
    let status = digits.parse().expect("a status");
    // Behind a 101 the close frame says it.
    let head = last.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    match (status, last.get(head + 6..head + 8)) {
        (101, Some(code)) => End::Status(u16::from_be_bytes([code[0], code[1]]) - 4000),
        _ => End::Status(status),
    }
}
