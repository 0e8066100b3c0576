//! L2: the conns and what they hear: every delivery and every closing goes through here.
//!
//! It knows conns, the hub, the timers and what waits to be put out; it does not know the broker,
//! to which the server carries what is asked for here. Its rules:
//! * a message is encoded once for all who get it, and those that arrived together go out as one;
//! * a conn is put in line for flushing once, however much is queued for it;
//! * a conn leaves the hub when it begins to close, and its place when its Close is put out;
//! * no outbox grows past its limit once the kernel has refused bytes of it.
//!
//! `hear` is about channels and messages, `life` about stages and deadlines, `lines` about who is
//! flushed when.

mod hear;
mod life;
mod lines;

pub use life::Request;

use std::collections::VecDeque;
use std::hash::RandomState;
use std::sync::Arc;

use crate::browser::conn::{Conn, Pace, Stage};
use crate::browser::settings::Settings;
use crate::fanout::encoded::Encoder;
use crate::fanout::hub::Hub;
use crate::fanout::stored::{ChannelState, Fetches};
use crate::link::Frame;
use crate::link::LinkId;
use crate::link::Metrics;
use crate::link::Output;
use crate::link::timers::{Tick, Wheel};
use crate::server::table::{Party, Slots};
use hear::Arrived;
use lines::Lines;

/// Frames that a turn may queue before it ends: about 16 MiB of places in outboxes.
const FRAMES_PER_TURN: usize = 1 << 20;

/// Bytes of a place in an outbox.
const PLACE: usize = size_of::<Frame>();

/// A session as it is stored, or `None` when there is none.
pub type Session = Option<Vec<u8>>;

/// The conns, the hub, and what waits to be put out.
#[derive(Debug)]
pub struct Relay {
    /// What is counted.
    pub metrics: Metrics,
    /// Who hears what.
    pub hub: Hub<ChannelState>,
    /// Sessions that were looked up for conns, or `None` when they cannot be read: for the server
    /// to take.
    pub looked_up: VecDeque<(LinkId, Option<Session>)>,
    /// Conns about which the application was asked, and of which no answer is wanted any more: for
    /// the server to take.
    pub unasked: Vec<LinkId>,
    /// Channels that nobody hears any more, and whether the broker had confirmed them: for the
    /// server to take.
    pub left: Vec<(Arc<str>, bool)>,
    /// Open conns of which bytes were kept, from before they opened or from a turn that was full:
    /// for the server to take.
    pub woken: VecDeque<LinkId>,
    settings: Settings,
    pace: Pace,
    keys: RandomState,
    slots: Slots,
    /// Whose conns there are.
    owners: Hub<()>,
    fetches: Fetches,
    encoder: Encoder,
    wheel: Wheel,
    outputs: VecDeque<Output>,
    lines: Lines,
    arrived: Arrived,
    flush_broker: Option<LinkId>,
    /// It was said that a channel may not be heard.
    said_denied: bool,
    /// Frames queued that were not yet to be flushed.
    queued: usize,
    now: Tick,
}

impl Relay {
    /// No conns yet. Look-ups are hashed with `keys`.
    pub fn new(settings: Settings, keys: RandomState) -> Self {
        Relay {
            metrics: Metrics::default(),
            hub: Hub::new(keys.clone()),
            looked_up: VecDeque::new(),
            unasked: Vec::new(),
            owners: Hub::new(keys.clone()),
            left: Vec::new(),
            woken: VecDeque::new(),
            pace: Pace::new(&settings),
            encoder: Encoder::new(settings.compression_min),
            settings,
            keys,
            slots: Slots::default(),
            fetches: Fetches::default(),
            wheel: Wheel::default(),
            outputs: VecDeque::new(),
            lines: Lines::default(),
            arrived: Arrived::default(),
            flush_broker: None,
            said_denied: false,
            queued: 0,
            now: 0,
        }
    }

    /// Notes the time at which everything happens until the next call.
    pub fn set_now(&mut self, now: Tick) {
        self.now = now;
    }

    /// What the core was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the core was told, and what is counted.
    pub fn settings_and_metrics(&mut self) -> (&Settings, &mut Metrics) {
        (&self.settings, &mut self.metrics)
    }

    /// Names a link.
    pub fn name_link(&mut self, party: Party) -> LinkId {
        self.slots.name(party)
    }

    /// The conn of that link, unless it has gone.
    pub fn conn(&mut self, link: LinkId) -> Option<&mut Conn> {
        self.slots.conn(link)
    }

    /// The conn of that link, to be looked at; unless it has gone.
    pub fn peek(&self, link: LinkId) -> Option<&Conn> {
        self.slots.peek(link)
    }

    /// The links of all conns that are so, in the order of their places.
    pub fn links(&self, so: fn(&Conn) -> bool) -> Vec<LinkId> {
        self.slots.conns().filter(|(_, conn)| so(conn)).map(|(link, _)| link).collect()
    }

    /// The number of conns, in whatever stage.
    pub fn conns(&self) -> usize {
        self.metrics.conns as usize
    }

    /// Whether so much is queued that it is to be put out before more is read: a few small messages
    /// to very many conns would else fill the memory with places in outboxes.
    pub fn is_full(&self) -> bool {
        self.queued >= FRAMES_PER_TURN
    }

    /// Counts a message's bytes as if they were places: what was inflated may be a thousand times
    /// what was read, and a turn is not to last until all of that is passed on.
    pub fn inflated(&mut self, bytes: usize) {
        self.queued += bytes / PLACE;
    }

    /// Puts a frame into a conn's outbox.
    pub fn send(&mut self, link: LinkId, frame: Frame) {
        let limit = self.settings.outbox_limit;
        self.queued += 1;
        let Some(conn) = self.slots.conn(link) else { return };
        conn.outbox.push(frame);
        self.lines.stand(link.index, conn, 1);
        if conn.is_slow(limit) {
            self.overflow(link);
        }
    }

    /// Puts a message into a conn's outbox, which puts its next heartbeat off.
    pub fn send_message(&mut self, link: LinkId, frame: Frame) {
        let now = self.now;
        if let Some(conn) = self.conn(link) {
            conn.spoken = now;
            self.send(link, frame);
        }
    }

    /// Lets what waits for a conn go out that was held.
    pub fn release(&mut self, link: LinkId) {
        let Some(conn) = self.slots.conn(link) else { return };
        conn.awaiting = 0;
        self.lines.stand(link.index, conn, 1);
    }

    /// The kernel took `n` of a conn's bytes.
    pub fn advance(&mut self, link: LinkId, n: usize) {
        let Some(conn) = self.conn(link) else { return };
        conn.outbox.advance(n);
        if !conn.outbox.is_empty() {
            return;
        }
        (conn.blocked, conn.skips) = (false, false);
        if conn.stage == Stage::Closing {
            match conn.ended {
                true => self.drop_conn(link),
                false => self.outputs.push_back(Output::Finish(link)),
            }
        }
    }

    /// The kernel took no more of a conn's bytes.
    pub fn blocked(&mut self, link: LinkId) {
        let limit = self.settings.outbox_limit;
        let Some(conn) = self.conn(link) else { return };
        conn.blocked = true;
        if conn.is_slow(limit) {
            self.overflow(link);
        }
    }

    /// The conn's socket ended, so that what waits for it may still be sent, or failed.
    pub fn hung_up(&mut self, link: LinkId, ended: bool) {
        let Some(conn) = self.conn(link) else { return };
        conn.ended = true;
        let unsent = ended && !conn.outbox.is_empty();
        match conn.stage {
            Stage::Closing if unsent => {}
            Stage::Open if unsent => self.finish(link, Frame::default()),
            _ => {
                tracing::debug!("{link} hung up");
                self.drop_conn(link);
            }
        }
    }

    /// Puts the broker's link in line for flushing, before any conn's: when a browser reads the
    /// answer to its close, what it said before has been sent to the broker.
    pub fn flush_broker(&mut self, link: LinkId) {
        self.flush_broker = Some(link);
    }

    /// Puts out something about a link that is not a conn's.
    pub fn put_out(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// The next thing to do outside.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(link) = self.flush_broker.take() {
            return Some(Output::Flush(link));
        }
        if let Some(output) = self.outputs.pop_front() {
            if let Output::Close(link) = &output
                && let Some(Party::Conn(_)) = self.slots.free(*link)
            {
                self.metrics.conns -= 1;
            }
            return Some(output);
        }
        let Some((link, frames)) = self.lines.next(&mut self.slots) else {
            self.queued = 0;
            return None;
        };
        self.queued = self.queued.saturating_sub(frames);
        Some(Output::Flush(link))
    }

    /// Whether something is still to be put out.
    pub fn has_outputs(&self) -> bool {
        self.flush_broker.is_some() || !self.outputs.is_empty() || !self.lines.is_empty()
    }

    /// Panics when what is counted and indexed disagrees with what is there.
    pub fn check_invariants(&self) {
        self.hub.check_invariants();
        self.owners.check_invariants();
        let count = |so: fn(&Conn) -> bool| self.links(so).len() as u64;
        assert_eq!(self.metrics.channels, self.hub.len() as u64);
        assert_eq!(self.metrics.conns, count(|_| true));
        assert_eq!(self.metrics.handshakes_pending, count(Conn::is_pending));
        assert_eq!(self.metrics.conns_open, count(|conn| conn.stage == Stage::Open));
        for (_, conn) in self.slots.conns() {
            let hears = matches!(conn.stage, Stage::Joining | Stage::Open);
            let known = hears || conn.stage == Stage::Authorizing;
            let channels = self.hub.channels_of(conn.subscriptions).count();
            assert!(hears || channels == 0, "a conn that is not open hears something");
            let early = conn.early.as_deref();
            let (waits, granted) = early
                .map_or((false, false), |early| (early.waiting.is_some(), early.grant.is_some()));
            let authorizing = conn.stage == Stage::Authorizing;
            assert!(!(waits && granted) && authorizing == (waits || granted), "a conn is stuck");
            let owners = self.owners.channels_of(conn.owners).count();
            assert!(known || owners == 0, "a conn that is not open is somebody's");
            let slow = conn.is_slow(self.settings.outbox_limit);
            let leaving = matches!(conn.stage, Stage::Closing | Stage::Gone);
            assert!(!slow || leaving, "an outbox is past its limit");
        }
    }
}
