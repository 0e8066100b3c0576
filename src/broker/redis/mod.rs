//! L1: Redis at the end of one nonblocking link.
//!
//! It knows when to dial, to greet, to ping and to give up, and the commands that are sent; it has
//! no socket and no clock: the owner dials when told to, hands in what arrives and sends what
//! waits. `session` is about what is awaited on one link, `asking` and `window` about what is asked
//! for on it, `kind` about what kind of server answers, `errors` and `health` about what its errors
//! mean, `later` about what is to be published on the next link, `own` about what conns shall not
//! have back, `receipts` about what became of publishes, `following` about where it is,
//! `timing` about what is due, `refused` about errors, `inside` about answers that are
//! looked into, `clustered` about a node of a cluster, `shard` about how subscriptions there end.
//! Its rules:
//! * PUBLISH is never sent inside MULTI: before Redis 7.2 its push would land inside EXEC's array;
//! * what a turn had no time for is kept here, and nothing is read meanwhile;
//! * what may have been sent is not sent again;
//! * a master that has become a replica is left, if somebody may publish; a replica that is found
//!   instead is left again only after a while, as the next dial may find no other;
//! * where sentinels say where it is, nothing else is dialed, a link to anywhere else is left as
//!   soon as all is taken that was heard there, or after 200 ms, and a replica is left at once.

mod asking;
mod clustered;
mod commands;
mod errors;
mod following;
mod health;
mod inside;
mod kind;
mod later;
mod own;
mod pair;
mod receipts;
mod refused;
mod resume;
mod session;
mod shard;
mod timing;
mod window;

use std::collections::VecDeque;

use super::{Ask, BrokerEvent, HistoryRules, Notice, PublishOutcome, Receipt};
use super::{RedisAddress, RedisSettings, Status, Uses, Watch};
use crate::link::{Backoff, LinkId, Target};
use crate::proto::resp::{Decoder, Item, Push, Reply};
use asking::READ_HEAD;
use clustered::Clustering;
pub(super) use clustered::{Again, Elsewhere, MOST_TRIES, Redirected};
use errors::Ill;
pub(crate) use errors::{denies_command, tls_mend};
pub(super) use errors::{greeting_refused, unquoted};
use health::Health;
use inside::Inside;
pub(super) use kind::is_sentinel;
use later::Later;
pub(super) use later::{PATIENCE_MS, Publication};
pub(super) use own::Echo;
use session::{Awaited, Session};

/// How often a server is asked for its role, whom publishing would not tell.
const ROLE_MS: u64 = 5_000;
/// A replica is left again after so long, to look for a master.
const REPLICA_MS: u64 = 30_000;

/// A Redis server.
#[derive(Debug)]
pub struct Redis {
    settings: RedisSettings,
    /// Where it is, as far as that is known.
    target: Option<Target>,
    /// Who says where it is.
    watch: Option<Box<Watch>>,
    /// Where it was dialed last.
    dialed: Option<Target>,
    expire_s: u64,
    uses: Uses,
    histories: HistoryRules,
    state: State,
    /// Whether the last dial failed.
    failed: bool,
    backoff: Backoff,
    decoder: Decoder,
    session: Session,
    /// Bytes that arrived when a turn was full.
    kept: Vec<u8>,
    /// What is to be published on the next link, or when this one is ready.
    later: Later,
    /// Conns that are to be told when that is published.
    settling: Vec<LinkId>,
    /// Publishes that were given up, to be told.
    given_up: VecDeque<Receipt>,
    /// What this link was first asked to subscribe to is answered.
    ready: bool,
    /// When a server was last left because it was a replica.
    left_ms: Option<u64>,
    /// When ROLE is to be asked.
    role_ms: u64,
    inside: Inside,
    health: Health,
}

/// What goes with a link that is lost.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Asks that are not answered.
    pub asks: Vec<Ask>,
    /// What a node of a cluster has not done, to be done elsewhere or later.
    pub(super) elsewhere: Vec<Again>,
    /// Conns that waited for what they had published to be answered.
    pub settled: Vec<LinkId>,
    /// What became of publishes.
    pub receipts: Vec<(Receipt, PublishOutcome)>,
    /// Bytes of answers that were expected.
    pub owed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting {
        until_ms: u64,
    },
    LookingUp {
        since_ms: u64,
    },
    Dialing {
        since_ms: u64,
    },
    Greeting {
        since_ms: u64,
    },
    Up {
        since_ms: u64,
    },
    /// It is elsewhere now. Nothing is asked of it any more; what it has sent is taken to the last
    /// message that it counts as heard here.
    Leaving {
        since_ms: u64,
    },
}

/// What the owner is to do about the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisDue {
    /// Dial it.
    Dial,
    /// Give it up: what was due has not come.
    GiveUp,
    /// Give it up: it is a replica, and another dial may find a master.
    Leave,
    /// Give it up: it is elsewhere, and has not said that nothing more comes.
    Move,
}

impl Redis {
    pub(super) fn new(settings: RedisSettings, expire_s: u64, uses: Uses, seed: u64) -> Self {
        let (target, watch) = match &settings.address {
            RedisAddress::Fixed(target) | RedisAddress::Replica(target) => {
                (Some(target.clone()), None)
            }
            RedisAddress::Cluster(_) => (None, None),
            RedisAddress::Watched(sentinels) => {
                let watch = Watch::new(sentinels, settings.timeout_ms, seed);
                (None, Some(Box::new(watch)))
            }
        };
        Redis {
            target,
            watch,
            dialed: None,
            expire_s,
            uses,
            histories: HistoryRules::default(),
            state: State::Resting { until_ms: 0 },
            failed: false,
            backoff: Backoff::new(seed),
            decoder: new_decoder(uses),
            session: new_session(&settings, uses),
            settings,
            kept: Vec::new(),
            later: Later::default(),
            settling: Vec::new(),
            given_up: VecDeque::new(),
            ready: false,
            left_ms: None,
            role_ms: 0,
            inside: Inside::default(),
            health: Health::default(),
        }
    }

    /// Has what browsers publish on channels that these rules fit recorded.
    pub(super) fn keep_histories(&mut self, rules: HistoryRules) {
        self.histories = rules;
    }

    pub(super) fn status(&self) -> Status {
        match self.state {
            State::Up { .. } => Status::Up,
            _ if self.failed || self.is_nowhere() => Status::Down,
            _ => Status::Dialing,
        }
    }

    /// The name is being looked up, which has a longer time than the dial, or was.
    pub fn on_lookup(&mut self, begins: bool, now_ms: u64) {
        if matches!(self.state, State::LookingUp { .. } | State::Dialing { .. }) {
            self.state = match begins {
                true => State::LookingUp { since_ms: now_ms },
                false => State::Dialing { since_ms: now_ms },
            };
        }
    }

    /// The dial succeeded: introduces us.
    pub fn connected(&mut self, now_ms: u64) {
        self.state = State::Greeting { since_ms: now_ms };
        self.session.heard_ms = now_ms;
        self.session.dialed(self.dialed.as_ref());
        let name: [&[u8]; 2] = [b"SETNAME", b"wsloop"];
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if let Some(password) = &self.settings.password {
            let user = self.settings.user.as_deref().unwrap_or("default");
            hello.extend([&b"AUTH"[..], user.as_bytes(), password.as_bytes()]);
        }
        hello.extend(name);
        self.session.command(&hello, Awaited::Hello, now_ms);
        if self.settings.db != 0 {
            let db = self.settings.db.to_string();
            self.session.command(&[b"SELECT", db.as_bytes()], Awaited::Greeting, now_ms);
        }
    }

    /// The link is gone, or could not be made. What was awaited is given back.
    pub fn lost(&mut self, now_ms: u64) -> Lost {
        let up_ms = match self.state {
            State::Up { since_ms } => Some(now_ms.saturating_sub(since_ms)),
            _ => None,
        };
        let moved = self.has_moved() || self.is_leaving();
        // One that greets and does nothing else is no better than one that is not there.
        self.failed = (up_ms.is_none() || self.health.has(Ill::All)) && !moved;
        let leads_on = moved && self.target.is_some();
        let pause_ms = if leads_on { 0 } else { self.backoff.pause_ms(up_ms) };
        self.state = State::Resting { until_ms: now_ms + pause_ms };
        (self.kept, self.inside, self.ready) = (Vec::new(), Inside::default(), false);
        self.decoder = new_decoder(self.uses);
        let session = new_session(&self.settings, self.uses);
        let pair = self.session.pair.as_ref().map(|pair| pair.next());
        let (mut lost, unsent, own) = std::mem::replace(&mut self.session, session).lost();
        (self.session.own, self.session.pair) = (own, pair);
        lost.settled.append(&mut self.settling);
        unsent.into_iter().for_each(|publication| self.later.push(publication));
        lost
    }

    /// Takes the bytes that were kept when a turn was full.
    pub fn take_kept(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }

    /// Keeps bytes for the next turn.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
    }

    /// Whether bytes are kept.
    pub fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The channel of the message that was skipped last, if it is known.
    pub(super) fn skipped_channel(&self) -> Option<&str> {
        std::str::from_utf8(self.decoder.skipped_channel()?).ok()
    }

    /// Bytes that wait to be sent.
    pub fn unsent(&self) -> &[u8] {
        self.session.unsent()
    }

    /// Forgets the first `n` of them: they are sent.
    pub fn advance(&mut self, n: usize) {
        self.session.advance(n);
    }

    /// Whether every command that was sent is answered.
    pub fn is_settled(&self) -> bool {
        let waits = !self.session.awaited.is_empty() || !self.later.is_empty();
        !matches!(self.state, State::Up { .. }) || !waits
    }

    /// Whether there is something to say that nothing more need arrive for.
    pub(super) fn has_more(&self) -> bool {
        self.health.has_more() || !self.given_up.is_empty() || self.is_greeted()
    }

    /// Whether one more ask would be made at once.
    pub(super) fn has_room(&self) -> bool {
        matches!(self.state, State::Up { .. }) && self.session.has_room()
    }

    /// What there is to say that nothing has to arrive for.
    fn next_own(&mut self, now_ms: u64) -> Option<BrokerEvent<'static>> {
        if let Some(notice) = self.health.next() {
            return Some(BrokerEvent::Notice(notice));
        }
        if let Some(receipt) = self.given_up.pop_front() {
            return Some(BrokerEvent::Published { receipt, outcome: PublishOutcome::Dropped });
        }
        if !self.is_linked() {
            return None;
        }
        if self.is_greeted() {
            self.come_up(now_ms);
            return Some(BrokerEvent::Up);
        }
        if let Some((receipt, outcome)) = self.session.next_published() {
            return Some(BrokerEvent::Published { receipt, outcome });
        }
        self.session.next_settled().map(|conn| BrokerEvent::Settled { conn })
    }

    /// Whether it is to come up.
    fn is_greeted(&self) -> bool {
        matches!(self.state, State::Greeting { .. }) && self.session.is_greeted
    }

    fn is_linked(&self) -> bool {
        matches!(self.state, State::Greeting { .. } | State::Up { .. } | State::Leaving { .. })
    }

    pub(super) fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        now_ms: u64,
    ) -> Option<BrokerEvent<'a>> {
        if let Some(event) = self.next_own(now_ms) {
            return Some(event);
        }
        if !self.is_linked() {
            return None;
        }
        if !input.is_empty() {
            (self.session.heard_ms, self.session.due_ms) = (now_ms, now_ms);
        }
        // Nearly everything that arrives, and it shows nothing of the server.
        if let Some(message) = self.decoder.message(input) {
            self.inside.clear();
            return Some(self.session.on_message(message));
        }
        let room = self.session.looks_inside();
        let looks_inside = room.bytes > 0 && !self.decoder.is_at_push(input);
        self.decoder.allow_elements(room.elements);
        let before: &[u8] = input;
        let item = self.decoder.next(input);
        // One that did not arrive at once.
        if let Ok(Some(Item::Push(push @ Push::Message { .. }))) = item {
            self.inside.clear();
            return Some(self.session.on_push(push));
        }
        if looks_inside {
            self.inside.take(&before[..before.len() - input.len()], room);
        }
        let cured = if self.health.is_well() { &[] } else { self.session.cured() };
        let (mut event, cured) = match item {
            Ok(None) => {
                self.session.make_asks(now_ms);
                let up = matches!(self.state, State::Up { .. });
                if up && !self.ready && !self.session.is_subscribing() {
                    // Browsers hear on this link now what is published.
                    self.ready = true;
                    let settling = std::mem::take(&mut self.settling);
                    self.session.publish_all(&mut self.later, settling, self.expire_s, now_ms);
                }
                return None;
            }
            Ok(Some(Item::Push(push))) => {
                let confirms = matches!(push, Push::Subscribed { .. });
                (self.session.on_push(push), if confirms { cured } else { &[] })
            }
            Ok(Some(Item::Reply(reply))) => {
                let good = !matches!(reply, Reply::Error(_));
                (self.session.on_reply(reply, self.inside.bytes()), if good { cured } else { &[] })
            }
            Err(error) => (BrokerEvent::Broken { reason: error.to_string() }, &[][..]),
        };
        self.inside.clear();
        let left_lately = left_lately(self.left_ms, self.watch.is_some(), now_ms);
        if let BrokerEvent::Demoted { reason } = event {
            event = self.session.demoted(reason, left_lately);
            self.left_ms = Some(self.left_ms.filter(|_| left_lately).unwrap_or(now_ms));
        }
        self.health.note(&event, cured);
        Some(event)
    }
}

/// Whether a server was left lately as it was a replica, and nobody else says who the master is.
fn left_lately(left_ms: Option<u64>, is_watched: bool, now_ms: u64) -> bool {
    !is_watched && left_ms.is_some_and(|at_ms| now_ms < at_ms + REPLICA_MS)
}

impl Redis {
    fn come_up(&mut self, now_ms: u64) {
        self.session.assume_role(left_lately(self.left_ms, self.watch.is_some(), now_ms));
        (self.state, self.failed) = (State::Up { since_ms: now_ms }, false);
        self.role_ms = now_ms + ROLE_MS;
        self.health.say(role_notice(self.uses.publishes, &self.session));
        self.session.begin(self.health.has(Ill::All), &mut self.later, self.expire_s, now_ms);
    }
}

/// Whether what browsers publish goes to a replica.
fn role_notice(publishes: bool, session: &Session) -> Notice {
    if publishes && session.is_replica() { Notice::Replica } else { Notice::Master }
}

/// A link on which nothing is awaited.
fn new_session(settings: &RedisSettings, uses: Uses) -> Session {
    let max_message = uses.max_message.min(settings.window.saturating_mul(4));
    let must_be_master = matches!(settings.address, RedisAddress::Watched(_));
    let mut session = Session::new(Uses { max_message, ..uses }, settings.window, must_be_master);
    if let RedisAddress::Cluster(cluster) = &settings.address {
        session.cluster = Some(Box::new(Clustering::new(cluster.form)));
    }
    session
}

fn new_decoder(uses: Uses) -> Decoder {
    let largest = uses.max_session.max(uses.max_message).saturating_add(READ_HEAD);
    Decoder::with_limits(largest, uses.max_message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Redis whose link is made, and which keeps what is published for so many seconds.
    pub(super) fn dialed(password: Option<&str>, expire_s: u64) -> Redis {
        let settings = RedisSettings {
            address: RedisAddress::Fixed(Target::Unix("/redis.sock".into())),
            user: None,
            password: password.map(str::to_string),
            db: 0,
            timeout_ms: 5_000,
            buffer_limit: 1 << 20,
            window: 1 << 20,
        };
        let uses = Uses { max_message: 1 << 20, max_session: 1 << 20, publishes: true };
        let mut redis = Redis::new(settings, expire_s, uses, 1);
        assert_eq!(redis.tick(0), Some(RedisDue::Dial));
        redis.connected(0);
        redis
    }

    /// What is left to do of a greeting that is answered with an error.
    fn refused(error: &str) -> String {
        let mut redis = dialed(Some("sesame"), 0);
        let reply = format!("-{error}\r\n");
        match redis.next(&mut reply.as_bytes(), 0) {
            Some(BrokerEvent::Broken { reason }) => reason,
            event => panic!("{event:?}"),
        }
    }

    #[test]
    fn what_redis_quotes_of_a_command_is_not_repeated() {
        let reason = refused(
            "ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'sesame'",
        );
        assert!(!reason.contains("sesame") && reason.contains("version 6.0"), "{reason}");
    }

    #[test]
    fn a_refused_greeting_says_how_to_mend_it() {
        for (error, mend) in [
            ("NOAUTH Authentication required.", ":PASSWORD@ before the host"),
            ("WRONGPASS invalid username-password pair", "mend the user or the password"),
            ("NOPROTO unsupported protocol version", "RESP3"),
        ] {
            assert!(refused(error).contains(mend), "{error}");
        }
    }
}
