//! L2: an open conn that is a stream of server-sent events: it hears and does not speak.
//!
//! It knows what keeps a stream in use and how it ends. Its rules:
//! * what a peer sends behind its request is passed over; when it ends its side it is gone, for a
//!   page that is left cannot be told from it;
//! * a stream that the server ends has a last event that says why.

use super::conn::{Conn, Last, Life, Member};
use super::context::{Context, Pace};
use super::life::Goodbye;
use crate::link::timers::Tick;
use crate::link::{Frame, LinkId};
use crate::proto::sse;

/// The time after which pages come back when the server ends: between these, in milliseconds, each
/// at its own.
const BACK_MS: (u32, u32) = (1_000, 5_000);

impl Conn {
    /// Whether it is a stream, or about to be one.
    pub(crate) fn is_stream(&self) -> bool {
        match &self.life {
            Life::Open(member) => member.is_stream(),
            Life::Joining(joining) => joining.member.is_stream(),
            Life::Waiting(waiting) => waiting.joining.member.is_stream(),
            _ => false,
        }
    }

    /// Keeps it in use. What waits for it already does so.
    pub(super) fn send_comment(&mut self, cx: &mut Context) {
        let Life::Open(member) = &mut self.life else { return };
        member.spoken = cx.now.tick();
        if self.outbox.is_empty() {
            cx.metrics.pings_total += 1;
            self.outbox.push(Frame::from(sse::COMMENT));
            cx.queued(1);
        }
    }

    /// Ends it: the page is told why, and comes back when it wants to.
    pub(super) fn end_stream(&mut self, link: LinkId, code: u16, why: &str, cx: &mut Context) {
        self.finish(link, Frame::from(sse::close(code, why, None)), Last::Response, cx);
    }

    /// Ends it with the server: not all are to come back at one time.
    pub(super) fn end_stream_with(&mut self, link: LinkId, goodbye: Goodbye, cx: &mut Context) {
        let (code, why) = goodbye.words();
        let (least, most) = BACK_MS;
        let back_ms = least + link.index.wrapping_mul(0x9e37_79b1) % (most - least);
        let last = sse::close(code, why, Some(back_ms));
        self.finish(link, Frame::from(last), Last::Response, cx);
    }
}

impl Member {
    pub(super) fn is_stream(&self) -> bool {
        self.form.is_events()
    }

    /// When it is to be kept in use.
    pub(super) fn comment_due(&self, pace: &Pace) -> Option<Tick> {
        Some(self.spoken + pace.comments()?)
    }
}

impl Pace {
    /// The time after which a stream that has heard nothing is sent a comment.
    pub(super) fn comments(&self) -> Option<Tick> {
        let idle = self.idle.map(|(every, _)| every);
        self.ping.into_iter().chain(idle).min()
    }
}
