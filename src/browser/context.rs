//! L2: what all conns share while one of them is at work.
//!
//! It knows the settings, the time, the counters and the tools that one conn after another uses. It
//! knows no conn. What a conn wants of others it puts here, for the server to route.

use std::collections::VecDeque;

use super::access_log::AccessLog;
use super::effect::Effect;
use super::endpoint::{EventQueue, Receiver, SocketEvent};
use super::settings::Settings;
use crate::access::crowds::Crowds;
use crate::access::rates::{HandshakeRates, MessageRates, PostRates};
use crate::fanout::encoded::Encoder;
use crate::link::figures::Figures;
use crate::link::timers::{self, Tick};
use crate::link::{DayClock, Frame, LinkId, Metrics, Now, SaidOnce, SaidRarely};
use crate::proto::ws::deflate::Inflater;
use crate::proto::ws::frame;
use crate::proto::ws::message::Limits;

/// Frames that a turn may queue before it ends: about 16 MiB of places in outboxes.
const FRAMES_PER_TURN: usize = 1 << 20;
/// Bytes that a turn may queue before some go out: as many as stay in a processor's cache, and more
/// than a turn reads of Redis. Without, each of a crowd that sends something large is read before
/// anybody is written to, and the heap grows and shrinks by all of that in every turn.
const BYTES_PER_TURN: usize = 512 << 10;
/// Frames of one conn that are looked at in one go.
const FRAMES_PER_GO: u32 = 128;
/// Bytes of a place in an outbox.
const PLACE: usize = size_of::<Frame>();
/// What one of them and the frame in it take besides the frame's bytes, at most.
const PLACE_COST: u64 = 128;
/// Who is accepted only to be told that it is not served has so long to say its request.
const UNSERVED_MS: u64 = 1_000;
/// The idle time after which a heartbeat goes out: browsers expect one every 4 s.
const HEARTBEAT_MS: u64 = 3_900;

/// What all conns share.
#[derive(Debug)]
pub struct Context {
    /// What the core was told at the start.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Metrics,
    pub(crate) figures: Figures,
    /// What is said of conns at their end.
    pub(crate) access_log: AccessLog,
    /// When everything happens until the next call of the core.
    pub now: Now,
    /// How many conns each address has.
    pub(crate) crowds: Crowds,
    /// How often each conn says something, and each address comes.
    pub(crate) message_rates: MessageRates,
    pub(crate) handshake_rates: HandshakeRates,
    /// How often each publishes by plain HTTP.
    pub(super) post_rates: PostRates,
    /// Makes frames of messages.
    pub encoder: Encoder,
    pub(super) inflater: Inflater,
    pub(super) pace: Pace,
    pub(super) limits: Limits,
    /// Frames to one conn that are to go out as one.
    pub(super) replies: Vec<u8>,
    pub(super) said: Said,
    /// Frames that the conn at work may still take in this go.
    pub(super) frames_left: u32,
    effects: VecDeque<(LinkId, Effect)>,
    /// Conns that go on when the broker has said what it has to say.
    going_on: VecDeque<LinkId>,
    /// What conns have said to the endpoints.
    pub(crate) endpoints: Vec<EventQueue>,
    /// Conns that their applications do not want read.
    paused: usize,
    /// What the conn of an endpoint closes with that is about to.
    pub(super) last_words: Option<(u16, String)>,
    /// Frames queued that were not yet to be flushed.
    queued: usize,
    /// Bytes queued that have not gone out; of a message to many they count once.
    queued_bytes: usize,
    /// So many are as many as may be; none while the queue of an endpoint is full, or a conn of one
    /// is not to be read, so that who is to be read is looked at more closely.
    most_queued_bytes: usize,
    /// Bytes that have ever arrived or been inflated.
    taken: u64,
}

/// The settings that are times, in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub handshake: Tick,
    pub close: Tick,
    /// For the request of who is not served.
    pub unserved: Tick,
    /// For the next request of who was answered.
    pub keep_alive: Tick,
    pub ping: Option<Tick>,
    pub pong: Tick,
    /// What is said to who has heard nothing for so long.
    pub idle: Option<(Tick, Idle)>,
    /// For what ends at a time of day.
    pub day: DayClock,
}

/// What is said to keep a conn in use that is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Idle {
    /// The heartbeat text.
    Heartbeat,
    /// A pong that nobody has asked for (RFC 6455 section 5.5.3).
    Pong,
}

/// Lines of the log that are said once.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub superseded: SaidOnce,
    pub slow: SaidOnce,
    pub hasty: SaidOnce,
    pub token: SaidOnce,
    pub unanswered: SaidOnce,
    pub host: SaidRarely,
    pub proxy: SaidOnce,
    pub origin: SaidRarely,
    pub silent: SaidRarely,
}

impl Context {
    /// It is now.
    pub fn set_now(&mut self, now: Now) {
        self.now = now;
        self.pace.day.set(now);
    }

    /// Whether the time of day has jumped ahead since this was last asked.
    pub fn day_has_jumped(&mut self) -> bool {
        self.pace.day.has_jumped()
    }

    /// What conns of these settings share.
    pub fn new(settings: Settings) -> Self {
        let ping_ms = settings.ping_interval_ms;
        let pace = Pace {
            handshake: timers::ticks(settings.handshake_timeout_ms),
            close: timers::ticks(settings.close_timeout_ms),
            unserved: timers::ticks(UNSERVED_MS.min(settings.handshake_timeout_ms)),
            keep_alive: timers::ticks(settings.front.keep_alive_ms),
            ping: (ping_ms > 0).then(|| timers::ticks(ping_ms)),
            pong: timers::ticks(settings.pong_timeout_ms),
            idle: idle(&settings),
            day: DayClock::default(),
        };
        let limits = Limits {
            role: frame::Role::Server,
            max_message: settings.max_message_size,
            max_fragments: settings.max_fragments,
            compression: false,
        };
        let (mut message_rates, mut handshake_rates) =
            (MessageRates::default(), HandshakeRates::default());
        message_rates.renew(settings.message_rate);
        handshake_rates.renew(settings.handshake_rate);
        let mut post_rates = PostRates::default();
        post_rates.renew(settings.message_rate);
        Context {
            metrics: Metrics::default(),
            figures: Figures::default(),
            access_log: AccessLog::new(settings.access_log),
            now: Now::default(),
            crowds: Crowds::new(settings.max_per_address),
            message_rates,
            handshake_rates,
            post_rates,
            encoder: Encoder::new(settings.compression_min, settings.compression_window),
            inflater: Inflater::default(),
            pace,
            limits,
            replies: Vec::new(),
            said: Said::default(),
            frames_left: 0,
            effects: VecDeque::new(),
            going_on: VecDeque::new(),
            endpoints: settings.endpoints.iter().map(EventQueue::new).collect(),
            paused: 0,
            last_words: None,
            queued: 0,
            queued_bytes: 0,
            most_queued_bytes: BYTES_PER_TURN,
            taken: 0,
            settings,
        }
    }

    /// Takes over what can change while conns are open.
    pub fn renew(&mut self, settings: Settings) {
        self.settings.renew(settings);
        let handshake_ms = self.settings.handshake_timeout_ms;
        self.pace.handshake = timers::ticks(handshake_ms);
        self.pace.unserved = timers::ticks(UNSERVED_MS.min(handshake_ms));
        self.pace.close = timers::ticks(self.settings.close_timeout_ms);
        self.limits.max_fragments = self.settings.max_fragments;
        self.crowds.renew(self.settings.max_per_address);
        self.message_rates.renew(self.settings.message_rate);
        self.post_rates.renew(self.settings.message_rate);
        self.handshake_rates.renew(self.settings.handshake_rate);
        let ping_ms = self.settings.ping_interval_ms;
        self.pace.ping = (ping_ms > 0).then(|| timers::ticks(ping_ms));
        self.pace.pong = timers::ticks(self.settings.pong_timeout_ms);
    }

    /// A conn has its go: it may take so many frames, and keeps the rest for its next.
    pub fn begin_go(&mut self) {
        self.frames_left = FRAMES_PER_GO;
    }

    /// Wants something of another party.
    pub fn put(&mut self, link: LinkId, effect: Effect) {
        self.effects.push_back((link, effect));
    }

    /// The oldest thing that is wanted.
    pub fn take(&mut self) -> Option<(LinkId, Effect)> {
        self.effects.pop_front()
    }

    /// Whether something is wanted.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Whether it has begun to close before its request was whole, which is still to be told.
    pub fn leaves_as_stranger(&self, link: LinkId) -> bool {
        let left = self.effects.iter().rev().find_map(|(of, effect)| match effect {
            Effect::Left(left) if *of == link => Some(left.stranger.is_some()),
            _ => None,
        });
        left.unwrap_or(false)
    }

    /// A conn goes on with what it has kept when the broker has said what it has to say.
    pub fn postpone(&mut self, link: LinkId) {
        self.going_on.push_back(link);
    }

    /// The next conn that waited for that.
    pub fn next_postponed(&mut self) -> Option<LinkId> {
        self.going_on.pop_front()
    }

    /// Counts frames that were queued.
    pub fn queued(&mut self, frames: usize) {
        self.queued += frames;
    }

    /// Counts a message's bytes as if they were places: what was inflated may be a thousand times
    /// what was read, and a turn is not to last until all of that is passed on.
    pub fn inflated(&mut self, bytes: usize) {
        self.queued += bytes / PLACE;
        self.took(bytes);
    }

    /// Counts bytes that have arrived, or have come out of those.
    #[inline]
    pub fn took(&mut self, bytes: usize) {
        self.taken += bytes as u64;
    }

    /// No less than the bytes that are held can have grown by since it was less by so much.
    pub fn grown(&self) -> u64 {
        let places = self.metrics.messages_out_total * PLACE_COST;
        self.taken + self.encoder.asked() + places
    }

    /// Frames that were queued are to be flushed.
    pub fn flushed(&mut self, frames: usize) {
        self.queued = self.queued.saturating_sub(frames);
    }

    /// Counts bytes that were queued.
    #[inline]
    pub fn queued_bytes(&mut self, bytes: usize) {
        self.queued_bytes += bytes;
    }

    /// So many bytes have gone out.
    #[inline]
    pub fn sent(&mut self, bytes: usize) {
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
    }

    /// Everything that was queued is flushed.
    pub fn all_flushed(&mut self) {
        (self.queued, self.queued_bytes) = (0, 0);
    }

    /// Whether so much is queued that it is to be put out before more is read: a few small messages
    /// to very many conns would else fill the memory with places in outboxes.
    pub fn is_full(&self) -> bool {
        self.queued >= FRAMES_PER_TURN
    }

    /// Whether nobody is to be read before some of what is queued is put out. What was read is
    /// taken all the same.
    pub fn has_no_room(&self) -> bool {
        self.is_full() || self.queued_bytes >= self.most_queued_bytes
    }

    /// The same, whatever endpoints there are.
    pub(crate) fn has_queued_enough(&self) -> bool {
        self.is_full() || self.queued_bytes >= BYTES_PER_TURN
    }

    /// Something has happened to a conn of an endpoint.
    pub(crate) fn tell(&mut self, endpoint: u8, event: SocketEvent) {
        if self.endpoints[usize::from(endpoint)].push(event) {
            (self.frames_left, self.most_queued_bytes) = (0, 0);
        }
    }

    /// The application has received so many events and bytes of an endpoint's; whether there is
    /// room again.
    pub(crate) fn told(&mut self, endpoint: usize, events: usize, bytes: usize) -> bool {
        let has_room = self.endpoints[endpoint].received(events, bytes);
        self.look_for_room();
        has_room
    }

    /// Nobody receives the events of an endpoint any more.
    pub(crate) fn end_endpoint(&mut self, endpoint: usize) {
        self.endpoints[endpoint].end();
        self.look_for_room();
    }

    /// Somebody receives the events of an endpoint.
    pub(crate) fn begin_endpoint(&mut self, endpoint: u8, decides: bool) {
        let queue = &mut self.endpoints[usize::from(endpoint)];
        (queue.receiver, queue.decides) = (Receiver::There, decides);
        self.settings.endpoints[usize::from(endpoint)].decides = decides;
    }

    /// One conn more is not to be read, or one less.
    pub(super) fn pause(&mut self, pauses: bool) {
        self.paused = if pauses { self.paused + 1 } else { self.paused - 1 };
        self.look_for_room();
    }

    fn look_for_room(&mut self) {
        let is_full = self.paused > 0 || self.endpoints.iter().any(EventQueue::is_full);
        self.most_queued_bytes = if is_full { 0 } else { BYTES_PER_TURN };
    }
}

/// What is said to conns that are idle: the heartbeat serves for both.
fn idle(settings: &Settings) -> Option<(Tick, Idle)> {
    match (&settings.heartbeat, settings.pong_interval_ms) {
        (Some(_), _) => Some((timers::ticks(HEARTBEAT_MS), Idle::Heartbeat)),
        (None, 0) => None,
        (None, every_ms) => Some((timers::ticks(every_ms), Idle::Pong)),
    }
}
