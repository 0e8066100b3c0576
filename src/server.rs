//! L2: the whole server without I/O: [`Input`] -> state -> [`Output`].
//!
//! It is the only owner of the conns, the hub and the broker, and carries between them. It has no
//! socket and no clock, and knows nothing of the loop that drives it; the contract with that loop
//! stands at the top of the crate.

use std::hash::RandomState;

use crate::broker::{Broker, Event, PublishError, Status, Target, Wish};
use crate::channel::Grant;
use crate::conn::{Publication, Stage};
use crate::handshake::{self, Decision, Pending};
use crate::link_id::LinkId;
use crate::metrics::Metrics;
use crate::proto::frame::{self, Opcode};
use crate::proto::message::{self, Limits};
use crate::relay::Relay;
use crate::settings::Settings;
use crate::slots::Party;
use crate::timers;

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes arrived. They are unmasked where they lie.
    Received {
        /// From whom.
        link: LinkId,
        /// What; never empty.
        bytes: &'a mut [u8],
    },
    /// A link that was dialed is made.
    Connected {
        /// Which.
        link: LinkId,
    },
    /// The kernel took fewer bytes than waited; nothing is lost.
    Blocked {
        /// Whose.
        link: LinkId,
    },
    /// The peer ended its side, or the link failed, or could not be made. Still to be closed.
    HungUp {
        /// Which.
        link: LinkId,
        /// Why.
        cause: Cause,
    },
    /// The process is asked to end; asked again, to end at once.
    ShutdownAsked,
}

/// Why a link hung up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer sends no more, but may still read.
    Ended,
    /// The link failed, in the words of the system.
    Failed(String),
}

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Make this link, to that address.
    Dial(LinkId, Target),
    /// Bytes wait in this link's outbox: take them with `slices` and `advance`.
    Flush(LinkId),
    /// All that waited is sent: shut the writing side, and go on reading.
    Finish(LinkId),
    /// Close this link and forget it. The name means nothing from here on.
    Close(LinkId),
}

/// The server.
#[derive(Debug)]
pub struct Server {
    relay: Relay,
    broker: Broker,
    broker_link: Option<LinkId>,
    /// The kernel took less for the broker than waited, and something has waited ever since: the
    /// loop will come for it by itself.
    broker_blocked: bool,
    /// A dial was wished for and is to be put out.
    dial: bool,
    limits: Limits,
    now_ms: u64,
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
}

impl Server {
    /// A server of these settings. Look-ups are hashed with `keys`; `seed` is for jitter.
    pub fn new(settings: Settings, keys: RandomState, seed: u64) -> Self {
        let limits = handshake::limits(&settings);
        let broker = Broker::new(settings.broker.clone(), settings.max_message_size, seed);
        let relay = Relay::new(settings, keys);
        Server {
            relay,
            broker,
            broker_link: None,
            broker_blocked: false,
            dial: false,
            limits,
            now_ms: 0,
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

    /// Names the link of a conn that was accepted from `peer`, which is said for the log.
    pub fn accept(&mut self, peer: &dyn std::fmt::Display, now_ms: u64) -> LinkId {
        self.set_now(now_ms);
        let link = self.relay.accept();
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
            Input::HungUp { link, cause } => self.relay.hung_up(link, cause == Cause::Ended),
            Input::Blocked { link } if self.broker_link == Some(link) => self.broker_blocked = true,
            Input::Blocked { link } => self.relay.blocked(link),
            Input::ShutdownAsked => self.on_shutdown(),
            Input::Connected { .. } => {}
        }
        self.carry();
    }

    /// Lets time pass: timers, pings, dials, the end of a shutdown.
    pub fn tick(&mut self, now_ms: u64) {
        self.set_now(now_ms);
        self.relay.tick();
        match self.broker.redis().and_then(|redis| redis.tick(now_ms)) {
            Some(Wish::Dial) => self.dial = self.ends_ms.is_none(),
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

    /// The next thing to do outside; to be called until `None`, and again after every call of
    /// another method.
    pub fn poll_output(&mut self) -> Option<Output> {
        if std::mem::take(&mut self.dial)
            && let Some(target) = self.broker.redis().map(|redis| redis.target().clone())
        {
            let link = self.relay.name_link(Party::Broker);
            (self.broker_link, self.broker_blocked) = (Some(link), false);
            self.relay.metrics.broker_dials_total += 1;
            return Some(Output::Dial(link, target));
        }
        self.relay.poll_output()
    }

    /// The bytes that wait for a link: fills `into`, and returns how many slices it used.
    pub fn slices<'a>(&'a self, link: LinkId, into: &mut [std::io::IoSlice<'a>]) -> usize {
        if self.broker_link == Some(link) {
            let (Some(slot), Some(unsent)) = (into.first_mut(), self.broker.unsent()) else {
                return 0;
            };
            *slot = std::io::IoSlice::new(unsent);
            return usize::from(!unsent.is_empty());
        }
        self.relay.peek(link).map_or(0, |conn| conn.outbox.slices(into))
    }

    /// The first `n` of those bytes are sent.
    pub fn advance(&mut self, link: LinkId, n: usize) {
        match self.broker.redis() {
            Some(redis) if self.broker_link == Some(link) => {
                redis.advance(n);
                self.broker_blocked &= !redis.unsent().is_empty();
            }
            _ => self.relay.advance(link, n),
        }
    }

    /// When [`Server::tick`] has something to do, whatever happens before.
    pub fn next_deadline_ms(&mut self) -> Option<u64> {
        let wake = self.relay.next_wake().map(|tick| u64::from(tick) * timers::TICK_MS);
        let broker = self.broker.redis().map(|redis| redis.deadline_ms());
        wake.into_iter().chain(broker).chain(self.ends_ms).min()
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
    }

    fn set_now(&mut self, now_ms: u64) {
        // A clock that steps back must not make deadlines come late.
        self.now_ms = self.now_ms.max(now_ms);
        self.relay.set_now(timers::tick(self.now_ms));
    }

    fn on_bytes(&mut self, link: LinkId, bytes: &mut [u8]) {
        self.relay.heard(link);
        let Some(conn) = self.relay.peek(link) else { return };
        match conn.stage {
            Stage::Head => self.on_head(link, bytes),
            Stage::Authorizing | Stage::Joining => self.relay.keep_early(link, bytes),
            Stage::Open => self.on_frames(link, bytes),
            Stage::Closing | Stage::Gone => {}
        }
    }

    /// Bytes of a request head: decides when it is whole, and keeps it until then.
    fn on_head(&mut self, link: LinkId, bytes: &mut [u8]) {
        let kept = self.relay.conn(link).and_then(|conn| conn.early.take());
        let Some(mut joined) = kept.map(|early| early.bytes) else {
            if !self.decide(link, bytes)
                && let Some(conn) = self.relay.conn(link)
            {
                conn.early().bytes = bytes.to_vec();
            }
            return;
        };
        joined.extend_from_slice(bytes);
        if !self.decide(link, &mut joined)
            && let Some(conn) = self.relay.conn(link)
        {
            conn.early().bytes = joined;
        }
    }

    /// Decides about the request in `bytes`; false when it is incomplete.
    fn decide(&mut self, link: LinkId, bytes: &mut [u8]) -> bool {
        match self.relay.decide(link, bytes) {
            Ok(None) => return false,
            Ok(Some((Decision::Answer(answer), _))) => self.relay.finish(link, answer),
            Ok(Some((Decision::Refuse(refusal), _))) | Err(refusal) => {
                self.relay.refuse(link, refusal);
            }
            Ok(Some((Decision::Open(pending), length))) => {
                self.authorize(link, pending);
                self.on_broker_events(&mut &[][..]);
                let rest = &mut bytes[length..];
                match self.relay.peek(link).map(|conn| conn.stage) {
                    Some(Stage::Open) => self.on_frames(link, rest),
                    Some(Stage::Authorizing | Stage::Joining) => self.relay.keep_early(link, rest),
                    _ => {}
                }
            }
        }
        true
    }

    /// Opens a conn, now or when the broker is up, or refuses it.
    fn authorize(&mut self, link: LinkId, pending: Pending) {
        match self.broker.status() {
            _ if !pending.needs_broker() => self.join(link, pending),
            Status::Up => self.join(link, pending),
            Status::Dialing => {
                if let Some(conn) = self.relay.conn(link) {
                    conn.stage = Stage::Authorizing;
                    conn.early().grant = Some(pending.grant);
                    conn.early().accepted = Some(pending.accepted);
                }
            }
            Status::Down => {
                self.relay.refuse_unavailable(link, Some(&pending.accepted));
            }
        }
    }

    /// Subscribes a conn to what it was granted. Its 101 waits until the broker has confirmed that,
    /// so that a page whose socket is open misses nothing that is published from then on.
    fn join(&mut self, link: LinkId, pending: Pending) {
        let Pending { grant, accepted } = pending;
        let publications = publications(&grant);
        let Some(conn) = self.relay.conn(link) else { return };
        conn.stage = Stage::Joining;
        conn.binary = grant.binary;
        conn.publications = publications;
        conn.early().accepted = Some(accepted.clone());
        self.relay.send(link, accepted);
        let mut last_fetch = 0;
        for name in &grant.subscribe {
            let Some((channel, first)) = self.relay.subscribe(link, name) else { return };
            if first {
                let names = vec![self.relay.hub.name(channel).clone()];
                self.broker.subscribe(names, self.now_ms);
            }
            let (fetch, ask) = self.relay.wait_for_stored(link, channel, last_fetch);
            if ask {
                self.broker.fetch(name, self.now_ms);
            }
            last_fetch = fetch;
        }
        self.relay.open_if_joined(link);
    }

    /// Bytes of frames, from a conn that is open.
    fn on_frames(&mut self, link: LinkId, bytes: &mut [u8]) {
        let mut input = bytes;
        while let Some(conn) = self.relay.conn(link).filter(|conn| conn.stage == Stage::Open) {
            match conn.reader.next(&mut input, &self.limits) {
                Ok(None) => return,
                Ok(Some(message::Event::Message { data, .. })) => self.on_message(link, &data),
                Ok(Some(message::Event::Ping(payload))) => {
                    self.relay.send(link, frame::encode(Opcode::Pong, &payload));
                }
                Ok(Some(message::Event::Pong(_))) => {}
                Ok(Some(message::Event::Close(close))) => {
                    self.relay.close(link, close.map(|(code, _)| code), "");
                }
                Err(error) => {
                    self.relay.metrics.protocol_errors_total += 1;
                    self.relay.close(link, Some(error.close_code()), &error.to_string());
                }
            }
        }
    }

    fn on_message(&mut self, link: LinkId, data: &[u8]) {
        if self.relay.settings().heartbeat.as_deref() == Some(data) {
            return self.relay.send_heartbeat(link);
        }
        let Relay { metrics, .. } = &mut self.relay;
        metrics.messages_in_total += 1;
        if data.is_empty() {
            return;
        }
        let Some(conn) = self.relay.peek(link) else { return };
        let mut outcome = (0, None);
        for publication in &conn.publications {
            let except = publication.withhold.then_some(link);
            match self.broker.publish(&publication.channel, data, except, self.now_ms) {
                Ok(()) => outcome.0 += 1,
                Err(error) => outcome.1 = Some(error),
            }
        }
        let dropped = conn.publications.len() as u64 - outcome.0;
        let metrics = &mut self.relay.metrics;
        metrics.publishes_unrouted_total += u64::from(outcome == (0, None));
        metrics.publishes_total += outcome.0;
        metrics.publishes_dropped_total += dropped;
        if let Some(error) = outcome.1
            && !std::mem::replace(&mut self.said.dropped, true)
        {
            let why = match error {
                PublishError::Down => "Redis cannot be reached",
                PublishError::Full => "Redis takes them too slowly, see --redis-buffer-limit",
            };
            tracing::warn!("messages from browsers are dropped: {why} (said once; then counted)");
        }
    }

    fn on_broker_bytes(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        self.on_broker_events(&mut input);
    }

    /// Takes all that the broker has to say.
    fn on_broker_events(&mut self, input: &mut &[u8]) {
        while let Some(event) = self.broker.next(input, self.now_ms) {
            let lost = match event {
                Event::Delivery(delivery) => {
                    self.relay.deliver(delivery);
                    continue;
                }
                Event::Answer(payload) => {
                    self.relay.on_answer(payload);
                    continue;
                }
                Event::Subscribed { channel } => {
                    self.relay.on_subscribed(channel);
                    continue;
                }
                Event::Quiet => continue,
                Event::NoAnswer { reason } => {
                    self.relay.on_no_answer(&reason);
                    None
                }
                Event::Skipped => {
                    self.relay.on_skipped();
                    None
                }
                Event::Denied { channel, reason } => {
                    self.relay.on_denied(&channel, &reason);
                    None
                }
                Event::Refused { reason } => {
                    self.relay.metrics.broker_errors_total += 1;
                    if !std::mem::replace(&mut self.said.refused, true) {
                        tracing::error!("Redis refused a message: {reason} (said once)");
                    }
                    None
                }
                Event::Broken { reason } => Some(Some(reason)),
                Event::Up => Some(None),
            };
            match lost {
                Some(Some(reason)) => return self.on_broker_lost(&reason),
                Some(None) => self.on_broker_up(),
                None => {}
            }
        }
    }

    /// The hub is the truth: what it knows of is subscribed to and fetched again.
    fn on_broker_up(&mut self) {
        tracing::info!("Redis is up, {} channels", self.relay.hub.len());
        self.said = Said::default();
        self.relay.metrics.broker_up = 1;
        let names = self.relay.catch_up();
        self.broker.subscribe(names.clone(), self.now_ms);
        for name in names {
            self.broker.fetch(&name, self.now_ms);
        }
        for link in self.relay.links(|conn| conn.stage == Stage::Authorizing) {
            let Some(early) = self.relay.conn(link).map(|conn| conn.early()) else { continue };
            if let (Some(grant), Some(accepted)) = (early.grant.take(), early.accepted.take()) {
                self.join(link, Pending { grant, accepted });
            }
        }
    }

    /// Browsers stay; who has no 101 yet waits for the dial that follows, or is refused.
    fn on_broker_lost(&mut self, reason: &str) {
        let Some(link) = self.broker_link.take() else { return };
        self.relay.put_out(Output::Close(link));
        let Some(redis) = self.broker.redis() else { return };
        redis.lost(self.now_ms);
        let target = redis.target().clone();
        if std::mem::take(&mut self.relay.metrics.broker_up) == 1 {
            self.relay.metrics.broker_lost_total += 1;
            tracing::warn!("Redis at {target} is lost: {reason}; browsers stay, dialing again");
        } else if !std::mem::replace(&mut self.said.unreachable, true) {
            tracing::warn!("Redis at {target} cannot be used: {reason}; trying on");
        }
        if self.broker.status() == Status::Down {
            self.relay.refuse_all_waiting();
        }
    }

    fn on_shutdown(&mut self) {
        let grace_ms = self.relay.settings().shutdown_timeout_ms;
        let ends_ms = if self.ends_ms.is_some() { 0 } else { grace_ms };
        self.ends_ms = Some(self.now_ms + ends_ms);
        self.relay.shut_down();
    }

    /// Carries between the relay and the broker until neither has anything left for the other.
    fn carry(&mut self) {
        loop {
            self.on_broker_events(&mut &[][..]);
            for (name, confirmed) in std::mem::take(&mut self.relay.left) {
                self.broker.unsubscribe(name, confirmed, self.now_ms);
            }
            let woken = std::mem::take(&mut self.relay.woken);
            if woken.is_empty() {
                break;
            }
            for link in woken {
                if let Some(mut early) = self.relay.conn(link).and_then(|c| c.early.take()) {
                    self.on_frames(link, &mut early.bytes);
                }
            }
        }
        if let (Some(link), Some(unsent)) = (self.broker_link, self.broker.unsent())
            && !unsent.is_empty()
            && !self.broker_blocked
        {
            self.relay.flush_broker(link);
        }
    }

    fn note_evictions(&mut self) {
        let evicted = self.broker.evicted();
        self.relay.metrics.stored_evicted_total = evicted;
        if evicted > 0 && !std::mem::replace(&mut self.said.evicted, true) {
            tracing::warn!("stored messages were given up, see --store-limit (said once)");
        }
    }
}

/// Conns accepted beyond the limit at one time, to be told so.
const SURPLUS: usize = 32;

/// A conn's own messages are withheld from it on channels that it hears, unless it wants an echo.
fn publications(grant: &Grant) -> Box<[Publication]> {
    let publication = |name: &String| Publication {
        channel: name.as_str().into(),
        withhold: !grant.echo && grant.subscribe.contains(name),
    };
    grant.publish.iter().map(publication).collect()
}
