//! L2: how exchanges end that do not end with an answer: failures, timeouts, and who leaves.

use super::{App, Errand, Guest, Proxy, Returned, Stage, State};
use crate::link::Metrics;
use crate::link::timers::{self, Tick};
use crate::web::text_response;

impl Proxy {
    /// An upstream's link ended in order, or failed, which `failure` says in the system's words; or
    /// could not be made. It is closed in either case.
    pub(crate) fn uplink_hung_up(
        &mut self,
        at: usize,
        failure: Option<&str>,
        metrics: &mut Metrics,
    ) {
        let Some(uplink) = self.uplinks.get(at) else { return };
        let to = uplink.to;
        match uplink.state {
            State::Resting { .. } => self.rested_for_good(at),
            State::Dialing { .. } => {
                let why = failure.unwrap_or("it closed the connection").to_owned();
                self.refused(at, &why, metrics);
            }
            State::Serving { guest } => self.lost(at, guest, failure, metrics),
        }
        self.serve(to, metrics);
    }

    /// Nobody is there. Who has waited long enough for somebody is told so; the others wait for the
    /// next dial.
    fn refused(&mut self, at: usize, why: &str, metrics: &mut Metrics) {
        let to = self.uplinks[at].to;
        self.drop_uplink(at);
        self.apps[to].away = Some(self.now + timers::ticks(super::AGAIN_MS));
        while let Some(guest) = self.apps[to].waiting.front().copied()
            && self.guests[guest].came + self.patience <= self.now
        {
            self.unreachable(guest, 502, why, metrics);
        }
        self.wake_first(to);
    }

    fn unreachable(&mut self, guest: usize, status: u16, why: &str, metrics: &mut Metrics) {
        let text = "The application cannot be reached; try again later.";
        self.fail(guest, status, text, &format!("it cannot be reached: {why}"), metrics);
    }

    /// Of those who wait for an upstream that is away, one has to wake for the next dial.
    fn wake_first(&mut self, to: usize) {
        let app = &self.apps[to];
        let first = app.waiting.front().filter(|_| app.away.is_some());
        self.errands.extend(first.map(|guest| Errand::Wake(self.guests[*guest].link)));
    }

    /// A dial took too long, for which somebody has waited.
    fn dial_failed(&mut self, at: usize, why: &str, metrics: &mut Metrics) {
        let to = self.uplinks[at].to;
        self.drop_uplink(at);
        if let Some(guest) = self.apps[to].waiting.front().copied() {
            self.unreachable(guest, 504, why, metrics);
        }
    }

    /// The link that a guest is on has gone.
    fn lost(&mut self, at: usize, guest: usize, failure: Option<&str>, metrics: &mut Metrics) {
        let there = &mut self.guests[guest];
        if let Stage::Tunnel(_) = there.stage {
            (there.stage, there.closes) = (Stage::Done, true);
            let (link, is_sent) = (there.link, there.down.is_empty());
            self.drop_uplink(at);
            return match is_sent {
                true => self.give_back(guest),
                false => self.errands.push_back(Errand::Flush(link)),
            };
        }
        if failure.is_none() && self.end_of_answer(at, guest, metrics) {
            return;
        }
        let uplink = &self.uplinks[at];
        self.apps[uplink.to].keeps_links &= !uplink.used;
        let there = &mut self.guests[guest];
        if there.up.keeps && uplink.used && !there.again {
            metrics.upstream_retries_total += 1;
            there.up.rewind();
            (there.again, there.stage) = (true, Stage::Waiting);
            let to = there.to;
            self.drop_uplink(at);
            return self.apps[to].waiting.push_front(guest);
        }
        let why = match failure {
            Some(why) => format!("its connection failed before its answer was whole: {why}"),
            None => "it closed the connection before its answer was whole".to_owned(),
        };
        let text = "The application ended the connection without an answer.";
        self.fail(guest, 502, text, &why, metrics);
    }

    /// A guest's socket ended, or failed. One whose answer is whole takes that first.
    pub(crate) fn guest_hung_up(&mut self, at: usize, ended: bool, metrics: &mut Metrics) {
        let Some(guest) = self.guests.get_mut(at) else { return };
        match ended && guest.stage == Stage::Done && !guest.down.is_empty() {
            true => guest.closes = true,
            false => self.drop_guest(at, metrics),
        }
    }

    /// Closes a guest's link at once, whatever waits.
    pub(crate) fn drop_guest(&mut self, at: usize, metrics: &mut Metrics) {
        let Some(guest) = self.guests.get(at) else { return };
        let link = guest.link;
        self.leave(at, metrics);
        self.forget(at);
        self.errands.push_back(Errand::Close(link));
    }

    /// A timer entry of a guest's has fired then; one of another time is stale.
    pub(crate) fn guest_due(&mut self, at: usize, fired: Tick, metrics: &mut Metrics) {
        let Some(guest) = self.guests.get_mut(at).filter(|guest| guest.wake == fired) else {
            return;
        };
        guest.wake = 0;
        if guest.stage == Stage::Waiting {
            let to = guest.to;
            self.serve(to, metrics);
        }
        let guest = &self.guests[at];
        if guest.moved + self.patience_of(guest) > self.now {
            return;
        }
        if let Stage::Desk(place) = guest.stage {
            return self.overdue_at_desk(at, place, metrics);
        }
        metrics.upstream_timeouts_total += u64::from(!guest.is_at_desk);
        let owes_body = !guest.body.is_done() && guest.up.is_empty();
        match guest.stage {
            Stage::Done | Stage::Tunnel(_) => self.drop_guest(at, metrics),
            _ if owes_body => {
                let text = "The rest of the request did not arrive in time.";
                self.fail(at, 408, text, "", metrics);
            }
            Stage::Waiting => {
                let text = "All connections to the application are busy; try again later.";
                self.fail(at, 504, text, "all connections to it are busy", metrics);
            }
            _ => {
                let text = "The application did not answer in time.";
                self.fail(at, 504, text, "it did not answer in time", metrics);
            }
        }
    }

    /// The same of an upstream's link.
    pub(crate) fn uplink_due(&mut self, at: usize, fired: Tick, metrics: &mut Metrics) {
        let now = self.now;
        let Some(uplink) = self.uplinks.get_mut(at).filter(|uplink| uplink.wake == fired) else {
            return;
        };
        uplink.wake = 0;
        let to = uplink.to;
        match uplink.state {
            State::Dialing { until } if until <= now => {
                self.dial_failed(at, "the dial took too long", metrics);
                self.serve(to, metrics);
            }
            State::Resting { since } if since + timers::ticks(super::pool::REST_MS) <= now => {
                self.drop_uplink(at);
            }
            _ => {}
        }
    }

    /// Answers a guest with what is wrong, or ends its link if an answer is on its way already. A
    /// reason is for the log, and the upstream's fault.
    pub(super) fn fail(
        &mut self,
        at: usize,
        status: u16,
        text: &str,
        why: &str,
        metrics: &mut Metrics,
    ) {
        let (to, is_begun) = (self.guests[at].to, self.guests[at].answered);
        if !why.is_empty() {
            metrics.upstream_errors_total += 1;
            self.apps[to].say(why);
        }
        self.leave(at, metrics);
        let guest = &mut self.guests[at];
        if is_begun {
            // That the answer is not whole is seen by the end of the link alone, behind what there
            // is of it.
            guest.breaks = true;
        } else {
            let answer = text_response(status, &[], text, guest.traits.bare);
            guest.down.bytes.extend_from_slice(&answer);
            (guest.closes, guest.answered) = (true, true);
        }
        match guest.down.is_empty() {
            true => self.give_back(at),
            false => self.errands.push_back(Errand::Flush(guest.link)),
        }
    }

    /// A guest leaves its upstream: the link that it was on is closed.
    fn leave(&mut self, at: usize, metrics: &mut Metrics) {
        let guest = &self.guests[at];
        let (to, stage) = (guest.to, guest.stage);
        if stage == Stage::Waiting {
            self.apps[to].waiting.retain(|waiting| *waiting != at);
            self.wake_first(to);
        }
        if let Stage::Desk(place) = stage {
            self.leave_desk(at, to, place);
        }
        if let Stage::On(up) | Stage::Tunnel(up) = stage {
            self.drop_uplink(up);
            self.guests[at].stage = Stage::Done;
            self.serve(to, metrics);
        }
        self.guests[at].stage = Stage::Done;
    }

    /// Gives a browser's link back whose answer is sent; it is closed if that is not whole.
    pub(super) fn give_back(&mut self, at: usize) {
        let guest = self.forget(at);
        debug_assert!(guest.down.is_empty() && guest.stage == Stage::Done);
        if guest.breaks {
            return self.errands.push_back(Errand::Close(guest.link));
        }
        self.errands.push_back(Errand::Return(Returned {
            link: guest.link,
            address: guest.address,
            via: guest.via,
            wake: guest.wake,
            early: guest.early,
            stays: !guest.closes,
        }));
    }

    fn forget(&mut self, at: usize) -> Guest {
        let guest = self.guests.remove(at);
        self.at_desks -= usize::from(guest.is_at_desk);
        guest
    }
}

impl App {
    fn say(&mut self, why: &str) {
        if self.said.first() {
            tracing::error!(
                "the application at {} is of no use: {why} (said once until it answers; then \
                 counted)",
                self.settings.target
            );
        }
    }
}
