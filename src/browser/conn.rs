//! L2: one browser: Head -> Authorizing -> Joining -> Open -> Closing.
//!
//! A conn knows its own stage, its times, what waits for it and what it may do. It does not know
//! other conns, the hub or the broker; [`crate::relay`] moves it. Its rules:
//! * open and idle, it owns nothing outside its own few cache lines;
//! * every stage has a deadline, except Open with pings and heartbeats off.

use std::net::IpAddr;
use std::sync::Arc;

use crate::access::channel::Grant;
use crate::access::sources::Lookup;
use crate::browser::handshake::Asked;
use crate::browser::settings::Settings;
use crate::fanout::encoded::Form;
use crate::fanout::hub::Subscriptions;
use crate::fanout::overflow::Overflow;
use crate::link::timers::{self, Tick};
use crate::link::{Frame, Outbox};
use crate::proto::ws::deflate::Agreement;
use crate::proto::ws::message::Reader;

/// A heartbeat goes out when nothing did for so long: browsers expect one every 4 s.
const HEARTBEAT_MS: u64 = 3_900;

/// One browser connection, from its first byte to its last.
#[derive(Debug)]
pub struct Conn {
    /// The bytes that wait for it.
    pub outbox: Outbox,
    /// Its frames on their way to become messages.
    pub reader: Reader,
    /// What it needs only until its 101 has gone out.
    pub early: Option<Box<Early>>,
    /// The channels its messages go to.
    pub publications: Box<[Publication]>,
    /// What it hears.
    pub subscriptions: Subscriptions,
    /// Whose it is, in the relay's index of that.
    pub owners: Subscriptions,
    /// The tick at which it may stay no longer; 0 is none.
    pub expires: Tick,
    /// When a byte last came from it.
    pub heard: Tick,
    /// When a message was last queued for it. Pages do not see pings and pongs.
    pub spoken: Tick,
    /// Open: when the ping was sent that is still unanswered, if [`Conn::pinged`]. Else: when the
    /// handshake or the closing began.
    pub since: Tick,
    /// The tick at which its timer entry fires; another one is stale.
    pub wake: Tick,
    /// Answers of the broker without which nothing goes out to it: confirmations of its channels
    /// before its 101, or that of what it published last before the answer to its close.
    pub awaiting: u16,
    /// Where it is in its life.
    pub stage: Stage,
    /// A ping is unanswered.
    pub pinged: bool,
    /// It is in line to be flushed, among those who share what waits with few others.
    pub in_front: bool,
    /// It is in line to be flushed, in a crowd.
    pub in_back: bool,
    /// The kernel refused bytes, and the outbox has not been empty since.
    pub blocked: bool,
    /// What is done when it lets more wait than it may.
    pub overflow: Overflow,
    /// It skips to the latest messages until nothing waits for it any more.
    pub skips: bool,
    /// It sends nothing more: its end of the socket is shut.
    pub ended: bool,
    /// What form its messages go out in.
    pub form: Form,
    /// Its messages come back to it, and go nowhere else.
    pub echoes: bool,
    /// It was accepted beyond the limit, to be told so.
    pub surplus: bool,
}

/// Where a conn is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its request head is not complete.
    Head,
    /// Its request is good; it is being found out who asks, or the broker that it needs is being
    /// dialed.
    Authorizing,
    /// It is subscribed; its 101 waits for the broker's confirmation.
    Joining,
    /// It sends and hears.
    Open,
    /// The last bytes are queued or sent; input is discarded.
    Closing,
    /// Its link is to be closed; nothing else happens to it.
    Gone,
}

/// What a conn needs only until its 101 has gone out.
#[derive(Debug, Default)]
pub struct Early {
    /// The incomplete head; later, what came behind the head.
    pub bytes: Vec<u8>,
    /// Where it comes from, if the application is to be told.
    pub address: Option<IpAddr>,
    /// What it asks for, until it is known who it is.
    pub waiting: Option<Box<Waiting>>,
    /// What was decided about the request, until the conn joins.
    pub grant: Option<Grant>,
    /// Its 101, until that goes out or something else does.
    pub accepted: Option<Frame>,
}

/// A handshake that waits until it is known who asks.
#[derive(Debug)]
pub struct Waiting {
    /// What it asks for.
    pub asked: Asked,
    /// What is still to be looked up.
    pub lookup: Lookup,
    /// The application has been asked.
    pub asking: bool,
}

/// A channel that a conn publishes to.
#[derive(Debug)]
pub struct Publication {
    /// Its name.
    pub channel: Arc<str>,
    /// Whether the conn hears it too and does not want its own messages back.
    pub withhold: bool,
}

/// The settings that are times, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    handshake: Tick,
    close: Tick,
    ping: Option<Tick>,
    pong: Tick,
    heartbeat: Option<Tick>,
}

/// What a conn's deadline was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The 101 has not gone out in time.
    HandshakeTimeout,
    /// The peer has not hung up in time.
    CloseTimeout,
    /// A ping was not answered.
    PongTimeout,
    /// A ping is to be sent.
    Ping,
    /// A heartbeat is to be sent.
    Heartbeat,
    /// What let it in is no longer valid.
    Expired,
}

impl Pace {
    /// The paces of these settings.
    pub fn new(settings: &Settings) -> Self {
        let ping_ms = settings.ping_interval_ms;
        Pace {
            handshake: timers::ticks(settings.handshake_timeout_ms),
            close: timers::ticks(settings.close_timeout_ms),
            ping: (ping_ms > 0).then(|| timers::ticks(ping_ms)),
            pong: timers::ticks(settings.pong_timeout_ms),
            heartbeat: settings.heartbeat.is_some().then(|| timers::ticks(HEARTBEAT_MS)),
        }
    }
}

impl Conn {
    /// A conn that was accepted just now.
    pub fn new(now: Tick, surplus: bool) -> Self {
        Conn {
            outbox: Outbox::default(),
            reader: Reader::new(),
            early: None,
            publications: Box::default(),
            subscriptions: Subscriptions::default(),
            owners: Subscriptions::default(),
            expires: 0,
            heard: now,
            spoken: now,
            since: now,
            wake: 0,
            awaiting: 0,
            stage: Stage::Head,
            pinged: false,
            in_front: false,
            in_back: false,
            blocked: false,
            overflow: Overflow::Close,
            skips: false,
            ended: false,
            form: Form::default(),
            echoes: false,
            surplus,
        }
    }

    /// Whether its handshake is under way.
    pub fn is_pending(&self) -> bool {
        matches!(self.stage, Stage::Head | Stage::Authorizing | Stage::Joining)
    }

    /// Takes what was agreed on about compression.
    pub fn agree(&mut self, agreement: Option<Agreement>) {
        self.form = Form::new(agreement);
        if let Some(Agreement { client_bits, client_takeover: true, .. }) = agreement {
            self.reader = Reader::with_takeover(client_bits);
        }
    }

    /// Whether a part of its request head has come.
    pub fn has_begun(&self) -> bool {
        self.early.as_ref().is_some_and(|early| !early.bytes.is_empty())
    }

    /// Whether its handshake waits for the broker.
    pub fn waits_for_broker(&self) -> bool {
        match self.stage {
            Stage::Joining => true,
            Stage::Authorizing => !self.waits_for_application(),
            _ => false,
        }
    }

    /// Whether its handshake waits for the application's answer.
    pub fn waits_for_application(&self) -> bool {
        let waiting = self.early.as_ref().and_then(|early| early.waiting.as_ref());
        waiting.is_some_and(|waiting| waiting.asking)
    }

    /// Whether what waits for it is not to go out yet.
    pub fn is_held(&self) -> bool {
        self.stage == Stage::Joining || self.awaiting > 0
    }

    /// Whether it has let more wait than it may.
    pub fn is_slow(&self, limit: usize) -> bool {
        self.blocked && self.outbox.cost() > limit
    }

    /// A byte came from it; true when that answers a ping, after which its deadline is another.
    pub fn heard(&mut self, now: Tick) -> bool {
        self.heard = now;
        self.stage == Stage::Open && std::mem::take(&mut self.pinged)
    }

    /// The next thing that is due, and when.
    pub fn due(&self, pace: &Pace) -> Option<(Tick, Due)> {
        match self.stage {
            Stage::Head | Stage::Authorizing | Stage::Joining => {
                Some((self.since + pace.handshake, Due::HandshakeTimeout))
            }
            Stage::Closing => Some((self.since + pace.close, Due::CloseTimeout)),
            Stage::Gone => None,
            Stage::Open => {
                let life = match (pace.ping, self.pinged) {
                    (Some(_), true) => Some((self.since + pace.pong, Due::PongTimeout)),
                    (Some(ping), false) => Some((self.heard + ping, Due::Ping)),
                    (None, _) => None,
                };
                let heartbeat = pace.heartbeat.map(|every| (self.spoken + every, Due::Heartbeat));
                let end = (self.expires > 0).then_some((self.expires, Due::Expired));
                life.into_iter().chain(heartbeat).chain(end).min_by_key(|(tick, _)| *tick)
            }
        }
    }

    /// The 101 that it is not going to get after all, or only to be closed.
    pub fn take_accepted(&mut self) -> Option<Frame> {
        self.early.as_mut()?.accepted.take()
    }

    /// The box for what is needed before the 101.
    pub fn early(&mut self) -> &mut Early {
        self.early.get_or_insert_default()
    }
}
