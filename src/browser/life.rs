//! L2: a conn's deadlines and the ways it ends: pings and timeouts, expiry of its token, disconnect
//! by the application, overflow of its outbox, shutdown.

use super::conn::{Closing, Conn, Head, Last, Life, Member, Unserved};
use super::context::{Context, Idle, Pace};
use super::effect::Effect;
use super::refusal::{self, Refusal};
use crate::fanout::overflow::Overflow;
use crate::link::timers::Tick;
use crate::link::{Cause, Frame, LinkId};
use crate::proto::ws::frame::{self, Opcode};

const EXPIRED: &str = "the token has expired";
const TOO_LATE: &str = "The handshake took too long on the server's side; try again later.";

const LATE_BODY: &str = "The body did not arrive within the time that a handshake may take.";

/// What is asked for each receiver of a message. Of all who are asked most are open, which a single
/// comparison shows; the others are looked at apart.
impl Life {
    /// Whether what waits may go out.
    #[inline]
    pub(super) fn may_send(&self) -> bool {
        matches!(self, Life::Open(_)) || self.may_send_unopen()
    }

    #[inline(never)]
    fn may_send_unopen(&self) -> bool {
        !matches!(self, Life::Joining(_) | Life::Closing(Closing { held: true, .. }))
    }

    /// The member of one that is joining.
    #[inline(never)]
    pub(super) fn joining(&mut self) -> Option<&mut Member> {
        match self {
            Life::Joining(joining) => Some(&mut joining.member),
            _ => None,
        }
    }
}

/// What a conn's deadline was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The 101 has not gone out in time.
    Handshake,
    /// The peer has not hung up in time.
    Close,
    /// A ping was not answered.
    Pong,
    /// A ping is to be sent.
    Ping,
    /// A stream is to be kept in use.
    Comment,
    /// It is idle, and is to be sent this.
    Idle(Idle),
    /// What let it in is no longer valid.
    Expired,
}

/// What an open conn is told when the server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// It goes away, as far as it knows for good.
    Away,
    /// Another process is there, or will be soon.
    Restart,
}

impl Goodbye {
    pub(super) fn words(self) -> (u16, &'static str) {
        match self {
            Goodbye::Away => (1001, "the server is shutting down"),
            Goodbye::Restart => (1012, "the server restarts; come back soon"),
        }
    }
}

impl Unserved {
    /// The status that says it.
    pub(super) fn status(self) -> u16 {
        match self {
            Unserved::Full | Unserved::Ending => 503,
            Unserved::Crowded | Unserved::Hasty => 429,
        }
    }

    /// What is said besides.
    pub(super) fn text(self) -> &'static str {
        match self {
            Unserved::Full => "All connections are taken (see --max-connections); try again later.",
            Unserved::Crowded => {
                "There are as many connections from your address as may be (see \
                 --max-per-address); try again later."
            }
            Unserved::Hasty => {
                "Connections come from your address faster than they may (see --handshake-rate); \
                 try again later."
            }
            Unserved::Ending => "The server is shutting down; try again.",
        }
    }
}

impl Conn {
    /// A byte came from it.
    pub(crate) fn heard(&mut self, cx: &Context) {
        if let Life::Open(member) = &mut self.life {
            (member.heard, member.pinged) = (cx.now.tick(), 0);
        }
    }

    /// The tick at which [`Conn::look_after`] has something to do.
    pub(crate) fn deadline(&self, cx: &Context) -> Option<Tick> {
        self.due(&cx.pace).map(|(at, _)| at)
    }

    /// Does what is due.
    pub(crate) fn look_after(&mut self, link: LinkId, cx: &mut Context) {
        let now = cx.now.tick();
        let Some((_, due)) = self.due(&cx.pace).filter(|(at, _)| *at <= now) else { return };
        match due {
            Due::Close => cx.put(link, Effect::Drop),
            Due::Handshake => self.handshake_timed_out(link, cx),
            Due::Comment => self.send_comment(cx),
            Due::Idle(_) if self.has_topics() => self.send_beat(cx),
            Due::Idle(Idle::Heartbeat) => self.send_heartbeat(cx),
            Due::Idle(Idle::Pong) => self.send_unasked_pong(cx),
            Due::Expired => {
                cx.metrics.expired_total += 1;
                self.close(link, Some(4401), EXPIRED, cx);
            }
            // What it has said since may wait to be read.
            Due::Pong if self.is_passed_over(cx) => self.heard(cx),
            Due::Pong => {
                cx.metrics.pong_timeouts_total += 1;
                self.close(link, Some(1011), "nothing came in answer to a ping", cx);
            }
            Due::Ping => {
                cx.metrics.pings_total += 1;
                if let Life::Open(member) = &mut self.life {
                    member.pinged = now.max(1);
                }
                self.outbox.push(frame::encode(Opcode::Ping, &[]));
                cx.queued(1);
            }
        }
    }

    fn send_unasked_pong(&mut self, cx: &mut Context) {
        if let Life::Open(member) = &mut self.life {
            member.spoken = cx.now.tick();
        }
        self.outbox.push(frame::encode(Opcode::Pong, &[]));
        cx.queued(1);
    }

    /// Its socket ended, so that what waits for it may still be sent, or failed.
    pub(crate) fn hung_up(&mut self, link: LinkId, cause: &Cause, cx: &mut Context) {
        if let Cause::Tls(reason) = cause {
            cx.metrics.tls_failed_total += 1;
            tracing::debug!("{link} has no TLS: {reason}");
        }
        let unsent = *cause == Cause::Ended && !self.outbox.is_empty();
        match &mut self.life {
            Life::Closing(closing) if unsent => closing.ended = true,
            // Its request is whole, and it may still read the answer.
            Life::Posting(posting) if *cause == Cause::Ended && posting.has_body() => {
                posting.ended = true;
            }
            Life::Open(_) if unsent => {
                self.finish(link, Frame::default(), Last::Answer, cx);
                if let Life::Closing(closing) = &mut self.life {
                    closing.ended = true;
                }
            }
            _ => {
                if self.is_open() {
                    // That is how streams end.
                    cx.figures.left(Some(1006).filter(|_| !self.is_stream()));
                }
                tracing::debug!("{link} hung up");
                self.drop_now(link, cx);
            }
        }
    }

    /// The kernel takes no more of it, and more waits than may: it skips to the latest messages, if
    /// that is what its facility wants and helps, or is closed.
    pub(crate) fn overflowed(&mut self, link: LinkId, cx: &mut Context) {
        if let Life::Open(member) = &mut self.life
            && member.overflow == Overflow::Latest
        {
            member.skips = true;
            let superseded = self.outbox.keep_latest();
            supersede(link, superseded, cx);
            if !self.is_over(cx.settings.outbox_limit) {
                return;
            }
        }
        self.close_slow(link, cx);
    }

    /// Whether so much waits for it that what it has missed is to wait until that is sent, which is
    /// said then.
    pub(crate) fn is_behind(&mut self, cx: &Context) -> bool {
        let is_behind = self.is_over(cx.settings.outbox_limit / 2);
        if is_behind && let Some(member) = self.member() {
            member.is_awaited = true;
        }
        is_behind
    }

    /// Whether it is to be said when nothing waits for it any more, and that will be so.
    pub(crate) fn is_awaited(&self) -> bool {
        let member = match &self.life {
            Life::Open(member) => member,
            Life::Joining(joining) => &joining.member,
            _ => return false,
        };
        member.is_awaited && !self.outbox.is_empty()
    }

    /// A disconnect names the conn: closes it, or refuses it while its handshake is under way.
    pub(crate) fn disconnect(&mut self, link: LinkId, code: u16, reason: &str, cx: &mut Context) {
        match self.is_pending() {
            true => {
                let refusal = refusal::revoked(self.accepted_frame().as_deref(), &cx.settings);
                self.refuse(link, refusal, cx);
            }
            false => self.close(link, Some(code), reason, cx),
        }
    }

    /// The server ends, or makes room for another process.
    pub(crate) fn shut_down(&mut self, link: LinkId, goodbye: Goodbye, cx: &mut Context) {
        match &self.life {
            Life::Closing(_) => {}
            // The broker's answer is on its way.
            Life::Posting(_) if self.awaits_broker() => self.asks_no_more(),
            Life::Open(_) => {
                let (code, why) = goodbye.words();
                tracing::debug!("{link} closes: {code} {why:?}");
                cx.figures.closed(code);
                cx.access_log.closed(link, code, true);
                self.note_last_words(Some(code), why, cx);
                if self.is_stream() {
                    return self.end_stream_with(link, goodbye, cx);
                }
                self.finish(link, frame::encode_close(Some(code), why), Last::Goodbye, cx);
            }
            // Its request may be on its way, and a socket that is shut then is reset.
            Life::Head(_) if !self.has_begun() => {
                if let Life::Head(head) = &mut self.life {
                    (head.began, head.whence.unserved) = (cx.now.tick(), Some(Unserved::Ending));
                }
            }
            _ => self.refuse_waiting(link, 503, Unserved::Ending.text(), cx),
        }
    }

    /// The broker has answered what it published before its close.
    pub(crate) fn settled(&mut self) {
        if let Life::Closing(closing) = &mut self.life {
            closing.held = false;
        }
    }

    /// Refuses its request, and closes.
    pub(super) fn refuse(&mut self, link: LinkId, refusal: Refusal, cx: &mut Context) {
        tracing::debug!("{link} refused: {} {}", refusal.status, refusal.text);
        cx.metrics.handshakes_refused_total += 1;
        *cx.figures.refusals.entry(refusal.status).or_default() += 1;
        cx.access_log.answered(link, refusal.status);
        let refusal = if self.is_bare() { refusal.without_body() } else { refusal };
        let last = if refusal.closes { Last::Close } else { Last::Response };
        self.finish(link, refusal.bytes, last, cx);
    }

    /// Sends a close frame, and closes when the browser has answered it.
    pub(super) fn close(&mut self, link: LinkId, code: Option<u16>, why: &str, cx: &mut Context) {
        tracing::debug!("{link} closes: {code:?} {why:?}");
        if let Some(code) = code {
            cx.figures.closed(code);
            cx.access_log.closed(link, code, true);
        }
        self.note_last_words(code, why, cx);
        match self.is_stream() {
            true => self.end_stream(link, code.unwrap_or(1000), why, cx),
            false => self.finish(link, frame::encode_close(code, why), Last::Close, cx),
        }
    }

    /// Answers the browser's close frame, and closes.
    pub(super) fn answer_close(
        &mut self,
        link: LinkId,
        code: Option<u16>,
        why: &str,
        cx: &mut Context,
    ) {
        tracing::debug!("{link} is closed: {code:?} {why:?}");
        self.note_last_words(code, why, cx);
        self.finish(link, frame::encode_close(code, why), Last::Answer, cx);
    }

    /// Answers a plain request, and closes.
    pub(crate) fn respond(&mut self, link: LinkId, response: Frame, cx: &mut Context) {
        let status = response.get(9..12).and_then(|text| std::str::from_utf8(text).ok());
        let status = status.and_then(|text| text.parse().ok()).unwrap_or(0);
        cx.access_log.answered(link, status);
        self.finish(link, response, Last::Response, cx);
    }

    /// Sends its last bytes, and discards what it still sends.
    pub(super) fn finish(&mut self, link: LinkId, bytes: Frame, last: Last, cx: &mut Context) {
        self.send_replies(cx);
        let mut ended = false;
        match &self.life {
            Life::Closing(_) => return,
            Life::Posting(posting) => ended = posting.ended,
            // Its 101 is held, and what waits behind it goes with that.
            Life::Joining(_) => drop(self.outbox.drop_unstarted()),
            _ => {}
        }
        self.leave(link, last, cx);
        if let Life::Closing(closing) = &mut self.life {
            closing.ended = ended;
        }
        self.outbox.push(bytes);
        cx.queued(1);
    }

    /// Closes its link at once, whatever waits.
    pub(crate) fn drop_now(&mut self, link: LinkId, cx: &mut Context) {
        if !self.is_closing() {
            self.leave(link, Last::Answer, cx);
        }
        cx.put(link, Effect::Drop);
    }

    /// A frame of which a byte is on its way must be finished; the rest is given up for a close
    /// frame that says why, should the browser ever read on.
    fn close_slow(&mut self, link: LinkId, cx: &mut Context) {
        if self.is_closing() {
            return;
        }
        let dropped = self.outbox.drop_unstarted();
        cx.metrics.frames_dropped_total += dropped as u64;
        cx.metrics.slow_total += 1;
        if cx.said.slow.first() {
            tracing::warn!(
                "{link} reads too slowly and is closed, see --outbox-limit (said once; then \
                 counted)"
            );
        }
        self.close(link, Some(1008), "this connection reads too slowly", cx);
    }

    /// It says more than it may.
    pub(super) fn close_hasty(&mut self, link: LinkId, cx: &mut Context) {
        cx.metrics.hasty_total += 1;
        if cx.said.hasty.first() {
            tracing::warn!(
                "{link} sends too many messages and is closed, see --message-rate (said once; then \
                 counted)"
            );
        }
        self.close(link, Some(1008), "this connection sends too many messages", cx);
    }

    fn handshake_timed_out(&mut self, link: LinkId, cx: &mut Context) {
        if let Life::Head(head) = &self.life
            && let Some(why) = head.whence.unserved
        {
            match self.has_begun() {
                true => self.refuse_waiting(link, why.status(), why.text(), cx),
                false => self.drop_now(link, cx),
            }
            return;
        }
        if let Life::Head(Head { rested: true, .. }) = &self.life
            && !self.has_begun()
        {
            return self.drop_now(link, cx);
        }
        cx.metrics.handshake_timeouts_total += 1;
        match &self.life {
            Life::Head(_) if !self.has_begun() => self.drop_now(link, cx),
            Life::Head(_) => {
                let refusal = refusal::too_late(&cx.settings);
                self.refuse(link, refusal, cx);
            }
            Life::Posting(posting) if self.lacks_body() => {
                let refusal = posting.refusal(408, LATE_BODY, &cx.settings);
                self.refuse(link, refusal, cx);
            }
            _ => self.refuse_waiting(link, 503, TOO_LATE, cx),
        }
    }

    /// Whether it is known who it is, and it has not begun to close.
    pub(crate) fn is_known(&self) -> bool {
        !matches!(self.life, Life::Head(_) | Life::Asking(_) | Life::Closing(_))
    }

    /// Whether its request is with HEAD, as far as can be told.
    fn is_bare(&self) -> bool {
        match &self.life {
            Life::Head(head) => is_bare(&head.rest),
            Life::Asking(asking) => asking.request.is_bare(),
            _ => false,
        }
    }

    /// Whether a part of its request head has come.
    fn has_begun(&self) -> bool {
        match &self.life {
            Life::Head(head) => !head.rest.is_empty(),
            _ => true,
        }
    }

    fn due(&self, pace: &Pace) -> Option<(Tick, Due)> {
        let since = match &self.life {
            Life::Open(member) => return member.due(pace),
            Life::Closing(Closing { since, .. }) => return Some((since + pace.close, Due::Close)),
            Life::Head(head) if head.whence.unserved.is_some() => {
                return Some((head.began + pace.unserved, Due::Handshake));
            }
            Life::Head(head) if head.rested && head.rest.is_empty() => {
                return Some((head.began + pace.keep_alive, Due::Handshake));
            }
            Life::Head(head) => head.began,
            Life::Asking(asking) => asking.begun.since,
            Life::Waiting(waiting) => waiting.joining.begun.since,
            Life::Joining(joining) => joining.begun.since,
            Life::Posting(posting) => posting.since,
        };
        Some((since + pace.handshake, Due::Handshake))
    }
}

impl Member {
    /// The tick at which it may stay no longer, as the clocks go now.
    pub(super) fn end(&self, pace: &Pace) -> Option<Tick> {
        (self.expires > 0).then(|| pace.day.tick_of(self.expires))
    }

    fn due(&self, pace: &Pace) -> Option<(Tick, Due)> {
        let end = self.end(pace).map(|at| (at, Due::Expired));
        if self.is_stream() {
            let comment = self.comment_due(pace).map(|at| (at, Due::Comment));
            return comment.into_iter().chain(end).min_by_key(|(tick, _)| *tick);
        }
        let alive = match (pace.ping, self.pinged) {
            (None, _) => None,
            (Some(ping), 0) => Some((self.heard + ping, Due::Ping)),
            (Some(_), pinged) => Some((pinged + pace.pong, Due::Pong)),
        };
        let idle = pace.idle.map(|(every, what)| (self.spoken + every, Due::Idle(what)));
        alive.into_iter().chain(idle).chain(end).min_by_key(|(tick, _)| *tick)
    }
}

/// Whether these are the first bytes of a request with HEAD. Empty lines may go before it.
pub(super) fn is_bare(head: &[u8]) -> bool {
    head.trim_ascii_start().starts_with(b"HEAD ")
}

/// Counts messages given up for newer ones.
pub(crate) fn supersede(link: LinkId, messages: usize, cx: &mut Context) {
    if messages > 0 && cx.said.superseded.first() {
        tracing::warn!(
            "{link} reads too slowly and skips messages, see --overflow (said once; then counted)"
        );
    }
    cx.metrics.superseded_total += messages as u64;
}
