//! L2: the whole server without I/O: [`Input`] -> state -> [`Output`].
//!
//! It is the only owner of the conns, the hub and the broker, and carries between them. It has no
//! socket and no clock, and knows nothing of the loop that drives it; the contract with that loop
//! stands at the top of the crate.
//!
//! `browsers` is about what browsers send, `brokering` about the broker, `identifying` about who
//! the browsers are, `visitors` about the Redis clients of the embedded broker.

mod brokering;
mod browsers;
mod identifying;
mod relay;
mod table;
mod visitors;

use std::collections::VecDeque;
use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::access::ask::Auth;
use crate::access::control;
use crate::broker::{Broker, Redis, Status, Wish};
use crate::browser::handshake;
use crate::browser::settings::Settings;
use crate::link::LinkId;
use crate::link::Metrics;
use crate::link::timers;
use crate::link::{Cause, Input, Output};
use crate::proto::ws::deflate::Inflater;
use crate::proto::ws::message::Limits;
use crate::server::relay::Relay;
use crate::server::table::Party;
use visitors::Visitors;

/// The server.
#[derive(Debug)]
pub struct Server {
    relay: Relay,
    broker: Broker,
    /// The application, if it is asked about handshakes.
    auth: Option<Auth>,
    /// The channel on which the application speaks to us.
    control: Option<Arc<str>>,
    broker_link: Option<LinkId>,
    /// The kernel took less for the broker than waited, and something has waited ever since: the
    /// loop will come for it by itself.
    broker_blocked: bool,
    /// Conns whose close is answered when the broker has answered so many commands.
    farewells: VecDeque<(u64, LinkId)>,
    /// Bytes of the broker that are for the next turn, because this one was full.
    kept: Vec<u8>,
    visitors: Visitors,
    /// A dial was wished for and is to be put out.
    dial: bool,
    limits: Limits,
    inflater: Inflater,
    now_ms: u64,
    /// The time of day, in milliseconds of Unix time.
    unix_ms: u64,
    /// When a shutdown that was asked for must have ended.
    ends_ms: Option<u64>,
    /// What was already said about the present outage.
    said: Said,
}

/// What is logged once for each outage, and then only counted.
#[derive(Debug, Default)]
struct Said {
    unreachable: bool,
    dropped: bool,
    refused: bool,
    evicted: bool,
    unanswered: bool,
}

impl Server {
    /// A server of these settings. Look-ups are hashed with `keys`; `seed` is for jitter.
    pub fn new(settings: Settings, keys: RandomState, seed: u64) -> Self {
        let limits = handshake::limits(&settings);
        let broker = Broker::new(settings.broker.clone(), settings.max_message_size, seed);
        let sources = &settings.sources;
        let auth = sources.auth.clone().map(Auth::new);
        let control = sources.is_some().then(|| Arc::from(control::channel(&settings.prefix)));
        let mut relay = Relay::new(settings, keys);
        relay.metrics.broker_up = u64::from(broker.status() == Status::Up);
        Server {
            relay,
            broker,
            auth,
            control,
            broker_link: None,
            broker_blocked: false,
            farewells: VecDeque::new(),
            kept: Vec::new(),
            visitors: Visitors::default(),
            dial: false,
            limits,
            inflater: Inflater::default(),
            now_ms: 0,
            unix_ms: 0,
            ends_ms: None,
            said: Said::default(),
        }
    }

    /// Whether a conn may be accepted now. If not, it is to wait where it is.
    pub fn accepting(&self) -> bool {
        let settings = self.relay.settings();
        let pending = self.relay.metrics.handshakes_pending as usize;
        self.ends_ms.is_none()
            && self.relay.conns() < settings.max_connections + SURPLUS
            && pending < settings.max_handshakes
    }

    /// Sets the time of day, in milliseconds of Unix time: tokens have an end.
    pub fn set_clock(&mut self, unix_ms: u64) {
        self.unix_ms = unix_ms;
    }

    /// Names the link of a conn that was accepted from `peer`.
    pub fn accept(&mut self, peer: SocketAddr, now_ms: u64) -> LinkId {
        self.set_now(now_ms);
        let link = self.relay.accept(peer.ip());
        tracing::debug!("{link} accepted from {peer}");
        link
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input<'_>, now_ms: u64) {
        self.set_now(now_ms);
        match input {
            Input::Received { link, bytes } if self.broker_link == Some(link) => {
                self.on_broker_bytes(bytes);
            }
            Input::Received { link, bytes } if self.visitors.has(link) => {
                self.on_visitor_bytes(link, bytes);
            }
            Input::HungUp { link, cause } if self.visitors.has(link) => {
                self.on_visitor_hung_up(link, cause == Cause::Ended);
            }
            Input::Blocked { link } if self.visitors.has(link) => self.on_visitor_blocked(link),
            Input::Received { link, bytes } => self.on_bytes(link, bytes),
            Input::Connected { link } if self.broker_link == Some(link) => {
                if let Some(redis) = self.broker.redis() {
                    redis.connected(now_ms);
                }
            }
            Input::HungUp { link, cause } if self.broker_link == Some(link) => {
                let reason = match cause {
                    Cause::Ended => "it hung up".to_string(),
                    Cause::Failed(reason) => reason,
                };
                self.on_broker_lost(&reason);
            }
            Input::HungUp { link, cause } if self.relay.peek(link).is_some() => {
                self.relay.hung_up(link, cause == Cause::Ended);
            }
            Input::HungUp { link, cause } => self.on_auth_hung_up(link, &cause),
            Input::Blocked { link } if self.broker_link == Some(link) => self.broker_blocked = true,
            Input::Blocked { link } => self.relay.blocked(link),
            Input::ShutdownAsked => self.on_shutdown(),
            Input::Connected { link } => {
                if let Some(auth) = self.auth.as_mut().filter(|auth| auth.is_mine(link)) {
                    auth.connected(link, self.now_ms);
                }
            }
        }
        self.carry();
    }

    /// Lets time pass: timers, pings, dials, the end of a shutdown.
    pub fn tick(&mut self, now_ms: u64) {
        self.set_now(now_ms);
        self.relay.tick();
        if let Some(auth) = &mut self.auth {
            auth.tick(self.now_ms);
        }
        match self.timed_redis().and_then(|redis| redis.tick(now_ms)) {
            Some(Wish::Dial) => self.dial = true,
            Some(Wish::GiveUp) => self.on_broker_lost("it did not answer in time"),
            None => {}
        }
        if self.ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms) {
            for link in self.relay.links(|_| true) {
                self.relay.drop_conn(link);
            }
        }
        self.carry();
        self.note_evictions();
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// Whether bytes of this link are to be read now. If not, they are to be offered again in the
    /// next turn: this one has as much to send as a turn may, or has bytes of the link left over.
    pub fn is_reading(&self, link: LinkId) -> bool {
        let kept = match self.broker_link == Some(link) {
            true => !self.kept.is_empty(),
            false => self.relay.is_kept_for_later(link),
        };
        !kept && !self.relay.is_full()
    }

    /// The next thing to do outside; to be called until `None`, and again after every call of
    /// another method. What a loop leaves for its next turn, after as much writing as a turn may
    /// take, comes then, behind what is more urgent.
    pub fn poll_output(&mut self) -> Option<Output> {
        if std::mem::take(&mut self.dial)
            && let Some(target) = self.broker.redis().map(|redis| redis.target().clone())
        {
            let link = self.relay.name_link(Party::Broker);
            (self.broker_link, self.broker_blocked) = (Some(link), false);
            self.relay.metrics.broker_dials_total += 1;
            return Some(Output::Dial(link, target));
        }
        if let Some(output) = self.auth_output().or_else(|| self.visitors.next_flush()) {
            return Some(output);
        }
        self.relay.poll_output()
    }

    /// The bytes that may be sent to a link: fills `into`, and returns how many slices it used.
    pub fn slices<'a>(&'a self, link: LinkId, into: &mut [std::io::IoSlice<'a>]) -> usize {
        if let Some(conn) = self.relay.peek(link) {
            return if conn.is_held() { 0 } else { conn.outbox.slices(into) };
        }
        if self.broker_link == Some(link) {
            return fill(into, self.broker.unsent().unwrap_or_default());
        }
        fill(into, self.visitors.unsent(link).unwrap_or_else(|| self.auth_unsent(link)))
    }

    /// The first `n` of those bytes are sent.
    pub fn advance(&mut self, link: LinkId, n: usize) {
        match self.broker.redis() {
            Some(redis) if self.broker_link == Some(link) => {
                redis.advance(n);
                self.broker_blocked &= !redis.unsent().is_empty();
            }
            _ if self.relay.peek(link).is_some() => self.relay.advance(link, n),
            _ if self.visitors.has(link) => self.visitor_took(link, n),
            _ => self.auth_advance(link, n),
        }
    }

    /// When [`Server::tick`] has something to do, whatever happens before.
    pub fn next_deadline_ms(&mut self) -> Option<u64> {
        let wake = self.relay.next_wake().map(|tick| u64::from(tick) * timers::TICK_MS);
        let broker = self.timed_redis().map(|redis| redis.deadline_ms());
        let kept = !self.kept.is_empty() || !self.relay.woken.is_empty();
        let kept = kept || self.relay.has_outputs() || self.visitors.wait();
        let at_once = (kept || self.broker.has_more()).then_some(self.now_ms);
        let auth = self.auth.as_ref().and_then(Auth::deadline_ms);
        wake.into_iter().chain(broker).chain(auth).chain(self.ends_ms).chain(at_once).min()
    }

    /// Whether a shutdown that was asked for is complete.
    pub fn is_done(&mut self) -> bool {
        let Some(ends_ms) = self.ends_ms else { return false };
        let settled = self.broker.redis().is_none_or(|redis| redis.is_settled());
        self.relay.conns() == 0 && (settled || ends_ms <= self.now_ms)
    }

    /// What was counted so far.
    pub fn metrics(&self) -> &Metrics {
        &self.relay.metrics
    }

    /// Panics when the parts disagree with each other: a bug of ours, never a peer's doing.
    pub fn check_invariants(&self) {
        self.relay.check_invariants();
        self.visitors.check_invariants(self.relay.metrics.visitors);
        self.check_askers();
    }

    /// Redis, as long as its time matters: a server that ends does not dial again.
    fn timed_redis(&mut self) -> Option<&mut Redis> {
        match self.broker_link {
            None if self.ends_ms.is_some() => None,
            _ => self.broker.redis(),
        }
    }

    fn set_now(&mut self, now_ms: u64) {
        // A clock that steps back must not make deadlines come late.
        self.now_ms = self.now_ms.max(now_ms);
        self.relay.set_now(timers::tick(self.now_ms));
    }

    fn on_shutdown(&mut self) {
        let grace_ms = self.relay.settings().shutdown_timeout_ms;
        let ends_ms = if self.ends_ms.is_some() { 0 } else { grace_ms };
        self.ends_ms = Some(self.now_ms + ends_ms);
        self.drop_visitors();
        self.relay.shut_down();
    }
}

/// One slice of all that waits, if anything does.
fn fill<'a>(into: &mut [std::io::IoSlice<'a>], unsent: &'a [u8]) -> usize {
    match into.first_mut() {
        Some(slot) if !unsent.is_empty() => {
            *slot = std::io::IoSlice::new(unsent);
            1
        }
        _ => 0,
    }
}

/// Conns accepted beyond the limit at one time, to be told so.
const SURPLUS: usize = 32;
