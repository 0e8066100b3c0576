//! A conn's way through its stages, and its deadlines.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Relay;
use crate::access::identity::Identity;
use crate::access::sources::{Refused, Who};
use crate::browser::conn::{Conn, Due, Stage};
use crate::browser::handshake::{self, Asked, Decision, Examined, Refusal};
use crate::fanout::overflow::Overflow;
use crate::link::Frame;
use crate::link::LinkId;
use crate::link::Output;
use crate::link::timers::Tick;
use crate::proto::http;
use crate::proto::ws::frame::{self, Opcode};
use crate::server::table::Party;

/// What is known of a request from its head.
#[derive(Debug)]
pub enum Request {
    /// All that there is to decide.
    Decided(Decision),
    /// What it asks for, and who does, or what is to be looked up to know that.
    Asked(Asked, Who),
}

const EXPIRED: &str = "the token has expired";
const LOOKUP_LATE: &str = "The handshake took too long on the server's side; try again later.";
const BROKER_DOWN: &str = "The message broker cannot be reached at the moment; try again later.";

impl Relay {
    /// Names a link for a conn that was accepted.
    pub fn accept(&mut self, address: IpAddr) -> LinkId {
        let surplus = self.conns() >= self.settings.max_connections;
        let mut conn = Conn::new(self.now, surplus);
        if self.settings.sources.auth.is_some() {
            conn.early().address = Some(address);
        }
        let link = self.name_link(Party::Conn(conn));
        self.metrics.conns_accepted_total += 1;
        self.metrics.conns += 1;
        self.metrics.handshakes_pending += 1;
        self.rearm(link.index);
        link
    }

    /// Looks at the request at the start of `bytes`, of which it takes so many; `None` while it is
    /// incomplete. `unix_ms` is the time of day.
    pub fn examine(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        unix_ms: u64,
    ) -> Result<Option<(Request, usize)>, Refusal> {
        let head = http::parse_head(bytes, self.settings.max_head_size)
            .map_err(|error| handshake::bad_head(error, &self.settings))?;
        let Some((head, length)) = head else { return Ok(None) };
        tracing::debug!("{link} asks: {} {:?}", head.method, head.path);
        let examined = handshake::examine(&head, &self.settings, &mut self.metrics);
        let conn = self.peek(link);
        if conn.is_some_and(|conn| conn.surplus) {
            return Err(self.refuse_surplus(examined));
        }
        let address = conn.and_then(|conn| conn.early.as_ref()?.address);
        let request = match examined {
            Examined::Decided(decision) => Request::Decided(decision),
            Examined::Asked(asked) => {
                let sources = &self.settings.sources;
                match sources.identify(&head, address, unix_ms, &mut self.metrics) {
                    Ok(who) => Request::Asked(asked, who),
                    Err(refused) => return Err(self.refuse_unidentified(refused, &asked)),
                }
            }
        };
        Ok(Some((request, length)))
    }

    fn refuse_surplus(&mut self, examined: Examined) -> Refusal {
        self.metrics.conns_full_total += 1;
        let text = "All connections are taken (see --max-connections); try again later.";
        let accepted = match examined {
            Examined::Decided(Decision::Open(pending)) => Some(pending.accepted),
            Examined::Decided(Decision::Answer(_) | Decision::Refuse(_)) => None,
            Examined::Asked(asked) => Some(asked.accepted()),
        };
        handshake::unavailable(text, accepted.as_deref(), &self.settings)
    }

    fn refuse_unidentified(&mut self, refused: Refused, asked: &Asked) -> Refusal {
        match refused {
            Refused::Token(error) => {
                self.metrics.tokens_refused_total += 1;
                if self.metrics.tokens_refused_total == 1 {
                    tracing::info!("a token was refused: {error} (said once; then counted)");
                }
                let text = format!("The token is not valid: {error}.");
                handshake::unauthorized(&text, asked, &self.settings)
            }
            Refused::Unaskable => {
                let text = "The application cannot be asked about this request.";
                handshake::turned_away(400, text, asked, &self.settings)
            }
        }
    }

    /// Bytes came from a conn, whose stage is returned. The answer to a ping can bring its deadline
    /// forward, from that of the answer to that of the next ping.
    pub fn heard(&mut self, link: LinkId) -> Option<Stage> {
        let now = self.now;
        let conn = self.conn(link)?;
        let stage = conn.stage;
        if conn.heard(now) {
            self.rearm(link.index);
        }
        Some(stage)
    }

    /// Keeps what a conn sends behind its head until its 101 has gone out.
    pub fn keep_early(&mut self, link: LinkId, bytes: &[u8]) {
        let limit = self.settings.max_head_size;
        let Some(conn) = self.conn(link).filter(|_| !bytes.is_empty()) else { return };
        let early = conn.early();
        if early.bytes.len() + bytes.len() <= limit {
            early.bytes.extend_from_slice(bytes);
            return;
        }
        let waiting = early.waiting.as_ref().map(|waiting| waiting.asked.accepted());
        let accepted = early.accepted.take().or(waiting);
        let refusal = handshake::too_eager(accepted.as_deref(), &self.settings);
        self.refuse(link, refusal);
    }

    /// Keeps what an open conn has sent for the next turn, because this one is full.
    pub fn keep_for_later(&mut self, link: LinkId, bytes: &[u8]) {
        if let Some(conn) = self.conn(link).filter(|_| !bytes.is_empty()) {
            conn.early().bytes.extend_from_slice(bytes);
            self.woken.push_back(link);
        }
    }

    /// Whether bytes of an open conn are kept for the next turn.
    pub fn is_kept_for_later(&self, link: LinkId) -> bool {
        self.peek(link).is_some_and(|conn| conn.stage == Stage::Open && conn.early.is_some())
    }

    /// Opens a conn whose channels the broker has all confirmed: what waits for it goes out, unless
    /// its time is over.
    pub fn open_if_joined(&mut self, link: LinkId) {
        let now = self.now;
        let Some(conn) = self.slots.conn(link) else { return };
        if conn.stage != Stage::Joining || conn.awaiting > 0 {
            return;
        }
        if (1..=now).contains(&conn.expires) {
            return self.open_too_late(link);
        }
        conn.stage = Stage::Open;
        (conn.heard, conn.spoken) = (now, now);
        self.lines.stand(link.index, conn, 1);
        let woken = conn.early.as_ref().is_some_and(|early| !early.bytes.is_empty());
        if !woken {
            conn.early = None;
        }
        self.metrics.handshakes_pending -= 1;
        self.metrics.handshakes_total += 1;
        self.metrics.conns_open += 1;
        if woken {
            self.woken.push_back(link);
        }
        self.rearm(link.index);
    }

    /// Opens a conn whose token has expired meanwhile, only to say so.
    fn open_too_late(&mut self, link: LinkId) {
        self.metrics.expired_total += 1;
        let accepted = self.conn(link).and_then(Conn::take_accepted);
        let mut last = accepted.map(|accepted| accepted.to_vec()).unwrap_or_default();
        last.extend_from_slice(&frame::encode_close(Some(4401), EXPIRED));
        self.finish(link, Frame::from(last));
    }

    /// Refuses a conn's request, and closes.
    pub fn refuse(&mut self, link: LinkId, refusal: Refusal) {
        tracing::debug!("{link} refused: {} {}", refusal.status, refusal.text);
        self.metrics.handshakes_refused_total += 1;
        self.finish(link, refusal.bytes);
    }

    /// Refuses a conn that needs the broker, which is down; `accepted` would have been its 101.
    pub fn refuse_unavailable(&mut self, link: LinkId, accepted: Option<&[u8]>) {
        let refusal = handshake::unavailable(BROKER_DOWN, accepted, &self.settings);
        self.refuse(link, refusal);
    }

    /// Refuses a conn whose handshake waits for something.
    pub fn refuse_waiting(&mut self, link: LinkId, status: u16, text: &str) {
        let Some(conn) = self.conn(link) else { return };
        let waiting = conn.early.as_mut().and_then(|early| early.waiting.take());
        let refusal = match (waiting, conn.take_accepted()) {
            (Some(waiting), _) => {
                if waiting.asking {
                    self.unasked.push(link);
                }
                handshake::turned_away(status, text, &waiting.asked, &self.settings)
            }
            (None, accepted) => handshake::unavailable(text, accepted.as_deref(), &self.settings),
        };
        self.refuse(link, refusal);
    }

    /// Refuses every conn whose handshake waits for the broker.
    pub fn refuse_all_waiting(&mut self) {
        for link in self.links(Conn::waits_for_broker) {
            self.refuse_waiting(link, 503, BROKER_DOWN);
        }
    }

    /// Sends a close frame, and closes.
    pub fn close(&mut self, link: LinkId, code: Option<u16>, reason: &str) {
        tracing::debug!("{link} closes: {code:?} {reason:?}");
        self.finish(link, frame::encode_close(code, reason));
    }

    /// Sends the last bytes of a conn. Then its end is shut and what it still sends discarded, so
    /// that no reset destroys those bytes on their way.
    pub fn finish(&mut self, link: LinkId, last: Frame) {
        let now = self.now;
        let Some(conn) = self.conn(link).filter(|conn| conn.stage != Stage::Closing) else {
            return;
        };
        if conn.stage == Stage::Joining {
            conn.outbox.drop_unstarted();
        }
        self.settle(link, Stage::Closing);
        let Some(conn) = self.slots.conn(link) else { return };
        conn.since = now;
        conn.outbox.push(last);
        self.lines.stand(link.index, conn, 1);
        self.rearm(link.index);
    }

    /// Closes a conn's link at once, whatever waits.
    pub fn drop_conn(&mut self, link: LinkId) {
        if self.conn(link).is_some() {
            self.settle(link, Stage::Gone);
            self.outputs.push_back(Output::Close(link));
        }
    }

    /// A conn lets more wait than it may: it skips to the latest messages, if that is what its
    /// facility wants and helps, or is closed.
    pub(super) fn overflow(&mut self, link: LinkId) {
        let limit = self.settings.outbox_limit;
        let Some(conn) = self.conn(link) else { return };
        if conn.overflow == Overflow::Latest && conn.stage == Stage::Open {
            conn.skips = true;
            let superseded = conn.outbox.keep_latest();
            let slow = conn.is_slow(limit);
            self.supersede(link, superseded);
            if !slow {
                return;
            }
        }
        self.close_slow(link);
    }

    /// Counts messages given up for newer ones.
    pub(super) fn supersede(&mut self, link: LinkId, messages: usize) {
        if messages > 0 && self.metrics.superseded_total == 0 {
            tracing::warn!(
                "{link} reads too slowly and skips messages, see --overflow (said once; then \
                 counted)"
            );
        }
        self.metrics.superseded_total += messages as u64;
    }

    /// A frame of which a byte is on its way must be finished; the rest is given up for a close
    /// frame that says why, should the browser ever read on.
    fn close_slow(&mut self, link: LinkId) {
        let Some(conn) = self.conn(link).filter(|conn| conn.stage != Stage::Closing) else {
            return;
        };
        let dropped = conn.outbox.drop_unstarted();
        self.metrics.frames_dropped_total += dropped as u64;
        self.metrics.slow_total += 1;
        if self.metrics.slow_total == 1 {
            tracing::warn!(
                "{link} reads too slowly and is closed, see --outbox-limit (said once; then \
                 counted)"
            );
        }
        self.close(link, Some(1008), "this connection reads too slowly");
    }

    /// Notes whose a conn is, so that it can be found by that.
    pub fn own(&mut self, link: LinkId, identity: &Identity) {
        let Some(conn) = self.slots.conn(link) else { return };
        // An application may name a group twice.
        let owners: BTreeSet<String> = identity.owners().collect();
        for owner in owners {
            self.owners.subscribe(link.index, &mut conn.owners, &owner, |()| false);
        }
    }

    /// Closes every conn of an owner, or refuses it while its handshake is under way.
    pub fn disconnect(&mut self, owner: &str, code: u16, reason: &str) {
        let Some(owner) = self.owners.find(owner) else { return };
        let conns: Vec<u32> = self.owners.subscribers(owner).collect();
        self.metrics.disconnected_total += conns.len() as u64;
        for index in conns {
            let Some((link, conn)) = self.slots.at(index) else { continue };
            if conn.is_pending() {
                let accepted = conn.take_accepted();
                let refusal = handshake::revoked(accepted.as_deref(), &self.settings);
                self.refuse(link, refusal);
            } else {
                self.close(link, Some(code), reason);
            }
        }
    }

    /// Says goodbye to every conn.
    pub fn shut_down(&mut self) {
        for link in self.links(|conn| conn.stage != Stage::Closing) {
            let Some(conn) = self.conn(link) else { continue };
            match conn.stage {
                Stage::Open => self.close(link, Some(1001), "the server is shutting down"),
                Stage::Head if !conn.has_begun() => self.drop_conn(link),
                _ => self.refuse_waiting(link, 503, "The server is shutting down; try again."),
            }
        }
    }

    /// Lets time pass: pings, heartbeats and what is overdue.
    pub fn tick(&mut self) {
        while let Some((at, indexes)) = self.wheel.fire(self.now) {
            for index in indexes {
                if let Some((link, conn)) = self.slots.at(index)
                    && conn.wake == at
                {
                    conn.wake = 0;
                    self.look_after(link);
                }
            }
        }
    }

    /// The tick at which a conn next needs looking after.
    pub fn next_wake(&self) -> Option<Tick> {
        self.wheel.next()
    }

    fn look_after(&mut self, link: LinkId) {
        let due = self.peek(link).and_then(|conn| conn.due(&self.pace));
        if let Some((_, due)) = due.filter(|(at, _)| *at <= self.now) {
            self.overdue(link, due);
        }
        self.rearm(link.index);
    }

    fn overdue(&mut self, link: LinkId, due: Due) {
        let now = self.now;
        match due {
            Due::CloseTimeout => self.drop_conn(link),
            Due::HandshakeTimeout => self.handshake_timed_out(link),
            Due::Heartbeat => self.send_heartbeat(link),
            Due::Expired => {
                self.metrics.expired_total += 1;
                self.close(link, Some(4401), EXPIRED);
            }
            Due::PongTimeout => {
                self.metrics.pong_timeouts_total += 1;
                self.close(link, Some(1011), "nothing came in answer to a ping");
            }
            Due::Ping => {
                self.metrics.pings_total += 1;
                if let Some(conn) = self.conn(link) {
                    (conn.pinged, conn.since) = (true, now);
                }
                self.send(link, frame::encode(Opcode::Ping, &[]));
            }
        }
    }

    fn handshake_timed_out(&mut self, link: LinkId) {
        self.metrics.handshake_timeouts_total += 1;
        let Some(conn) = self.conn(link) else { return };
        match conn.stage {
            Stage::Head if !conn.has_begun() => self.drop_conn(link),
            Stage::Head => {
                let refusal = handshake::too_late(&self.settings);
                self.refuse(link, refusal);
            }
            _ => self.refuse_waiting(link, 503, LOOKUP_LATE),
        }
    }

    /// Moves a conn into one of the last two stages: it hears nothing more and is counted anew.
    fn settle(&mut self, link: LinkId, stage: Stage) {
        let Some(conn) = self.slots.conn(link) else { return };
        self.metrics.handshakes_pending -= u64::from(conn.is_pending());
        self.metrics.conns_open -= u64::from(conn.stage == Stage::Open);
        conn.stage = stage;
        conn.awaiting = 0;
        let waiting = conn.early.take().and_then(|early| early.waiting);
        if waiting.is_some_and(|waiting| waiting.asking) {
            self.unasked.push(link);
        }
        conn.reader = Default::default();
        conn.publications = Box::default();
        self.encoder.forget(link.index);
        while self.owners.unsubscribe(&mut conn.owners).is_some() {}
        while let Some(gone) = self.hub.unsubscribe(&mut conn.subscriptions) {
            if let Some((name, state)) = gone {
                self.left.push((name, state.confirmed));
            }
        }
        self.metrics.channels = self.hub.len() as u64;
    }

    /// Makes sure that the conn's timer fires no later than its deadline.
    fn rearm(&mut self, index: u32) {
        let Some((_, conn)) = self.slots.at(index) else { return };
        let Some((at, _)) = conn.due(&self.pace) else { return };
        if conn.wake == 0 || at < conn.wake {
            conn.wake = self.wheel.schedule(at, index);
        }
    }
}
