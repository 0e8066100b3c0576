//! L1: Redis at the end of one nonblocking link.
//!
//! It knows when to dial, to greet, to ping and to give up, and the commands that are sent; it has
//! no socket and no clock: the owner dials when told to, hands in what arrives and sends what
//! waits. `session` is about what is awaited on one link, `window` about how
//! much of it may be asks. Its rules:
//! * PUBLISH is never sent inside MULTI: before Redis 7.2 its push would land inside EXEC's array;
//! * what a turn had no time for is kept here, and nothing is read meanwhile.

mod session;
mod window;

pub(crate) use session::is_condition;

use std::sync::Arc;

use super::{Ask, BrokerEvent, PublishError, RedisSettings, Status};
use crate::link::{LinkId, Target};
use crate::proto::resp::{Decoder, Item};
use session::{Awaited, Session};

/// Names in one SUBSCRIBE command.
const SUBSCRIBE_BATCH: usize = 512;
/// What a command takes besides the channel and the message.
const COMMAND_BYTES: usize = 64;
const BACKOFF_FIRST_MS: u64 = 100;
const BACKOFF_LAST_MS: u64 = 5_000;
/// A link that was up for less is dialed again only after a pause.
const STEADY_MS: u64 = 1_000;

/// A Redis server.
#[derive(Debug)]
pub struct Redis {
    settings: RedisSettings,
    expire_s: u64,
    max_value: usize,
    state: State,
    /// Whether the last dial failed.
    failed: bool,
    /// Failed dials in a row.
    attempts: u32,
    random: u64,
    decoder: Decoder,
    session: Session,
    /// Bytes that arrived when a turn was full.
    kept: Vec<u8>,
}

/// What goes with a link that is lost.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Asks that are not answered.
    pub asks: Vec<Ask>,
    /// Conns that waited for what they had published to be answered.
    pub settled: Vec<LinkId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting { until_ms: u64 },
    Dialing { since_ms: u64 },
    Greeting { since_ms: u64 },
    Up { since_ms: u64 },
}

/// What the owner is to do about the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisDue {
    /// Dial it.
    Dial,
    /// Give it up: what was due has not come.
    GiveUp,
}

impl Redis {
    pub(super) fn new(settings: RedisSettings, expire_s: u64, max_value: usize, seed: u64) -> Self {
        Redis {
            expire_s,
            max_value,
            state: State::Resting { until_ms: 0 },
            failed: false,
            attempts: 0,
            random: seed | 1,
            decoder: Decoder::new(max_value),
            session: new_session(&settings, max_value),
            settings,
            kept: Vec::new(),
        }
    }

    pub(super) fn status(&self) -> Status {
        match self.state {
            State::Up { .. } => Status::Up,
            _ if self.failed => Status::Down,
            _ => Status::Dialing,
        }
    }

    /// Where it is to be dialed.
    pub fn target(&self) -> &Target {
        &self.settings.target
    }

    /// Lets time pass: pings an idle link, and says when to dial or to give up.
    pub fn tick(&mut self, now_ms: u64) -> Option<RedisDue> {
        let timeout_ms = self.settings.timeout_ms;
        match self.state {
            State::Resting { until_ms } if until_ms <= now_ms => {
                self.state = State::Dialing { since_ms: now_ms };
                Some(RedisDue::Dial)
            }
            State::Dialing { since_ms } | State::Greeting { since_ms }
                if since_ms + timeout_ms <= now_ms =>
            {
                Some(RedisDue::GiveUp)
            }
            State::Up { .. } if self.deadline_ms() <= now_ms => {
                if !self.session.awaited.is_empty() {
                    return Some(RedisDue::GiveUp);
                }
                self.session.command(&[b"PING"], Awaited::Ping, now_ms);
                None
            }
            _ => None,
        }
    }

    /// When [`Redis::tick`] has something to do next.
    pub fn deadline_ms(&self) -> u64 {
        match self.state {
            State::Resting { until_ms } => until_ms,
            State::Dialing { since_ms } | State::Greeting { since_ms } => {
                since_ms + self.settings.timeout_ms
            }
            State::Up { .. } if self.session.awaited.is_empty() => {
                self.session.heard_ms + self.settings.timeout_ms
            }
            State::Up { .. } => self.session.due_ms + self.settings.timeout_ms,
        }
    }

    /// The dial succeeded: introduces us.
    pub fn connected(&mut self, now_ms: u64) {
        self.state = State::Greeting { since_ms: now_ms };
        self.session.heard_ms = now_ms;
        let name: [&[u8]; 2] = [b"SETNAME", b"wsloop"];
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if let Some(password) = &self.settings.password {
            let user = self.settings.user.as_deref().unwrap_or("default");
            hello.extend([&b"AUTH"[..], user.as_bytes(), password.as_bytes()]);
        }
        hello.extend(name);
        self.session.command(&hello, Awaited::Greeting, now_ms);
        if self.settings.db != 0 {
            let db = self.settings.db.to_string();
            self.session.command(&[b"SELECT", db.as_bytes()], Awaited::Greeting, now_ms);
        }
    }

    /// The link is gone, or could not be made. What was awaited is given back.
    pub fn lost(&mut self, now_ms: u64) -> Lost {
        let steady = matches!(self.state, State::Up { since_ms } if since_ms + STEADY_MS <= now_ms);
        let was_up = matches!(self.state, State::Up { .. });
        self.failed = !was_up;
        self.attempts = if steady { 0 } else { self.attempts + 1 };
        let pause_ms = if steady { 0 } else { self.backoff_ms() };
        self.state = State::Resting { until_ms: now_ms + pause_ms };
        self.kept = Vec::new();
        self.decoder = Decoder::new(self.max_value);
        let session = new_session(&self.settings, self.max_value);
        std::mem::replace(&mut self.session, session).lost()
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
        !matches!(self.state, State::Up { .. }) || self.session.awaited.is_empty()
    }

    pub(super) fn settle(&mut self, conn: LinkId) -> bool {
        self.session.settle(conn)
    }

    pub(super) fn subscribe(&mut self, channels: Vec<Arc<str>>, now_ms: u64) {
        for batch in channels.chunks(SUBSCRIBE_BATCH) {
            let mut command: Vec<&[u8]> = vec![b"SUBSCRIBE"];
            command.extend(batch.iter().map(|channel| channel.as_bytes()));
            let wanted = batch.iter().map(|channel| (channel.clone(), true)).collect();
            self.session.command(&command, Awaited::Subscribe(wanted), now_ms);
        }
    }

    pub(super) fn unsubscribe(&mut self, channel: Arc<str>, confirmed: bool, now_ms: u64) {
        if !matches!(self.state, State::Up { .. }) {
            return;
        }
        if !confirmed {
            // The confirmation under way must not be taken for that of a later subscription.
            self.session.unwant(&channel);
        }
        let command = [b"UNSUBSCRIBE", channel.as_bytes()];
        self.session.command(&command, Awaited::Unsubscribe(channel.clone()), now_ms);
    }

    pub(super) fn ask(&mut self, ask: Ask, name: &str, now_ms: u64) {
        self.session.ask(ask, name, now_ms);
    }

    /// Whether one more ask would be made at once.
    pub(super) fn has_room(&self) -> bool {
        matches!(self.state, State::Up { .. }) && self.session.has_room()
    }

    pub(super) fn publish(
        &mut self,
        channel: &str,
        payload: &[u8],
        except: Option<LinkId>,
        now_ms: u64,
    ) -> Result<(), PublishError> {
        if !matches!(self.state, State::Up { .. }) {
            return Err(PublishError::Down);
        }
        let size = 2 * (channel.len() + payload.len() + COMMAND_BYTES);
        if self.unsent().len() + size > self.settings.buffer_limit {
            return Err(PublishError::Full);
        }
        if let Some(conn) = except {
            self.session.withhold(channel.as_bytes(), payload, conn);
        }
        let publish = [b"PUBLISH", channel.as_bytes(), payload];
        self.session.command(&publish, Awaited::Publish, now_ms);
        if self.expire_s > 0 {
            let expire_s = self.expire_s.to_string();
            let set: [&[u8]; 5] = [b"SET", channel.as_bytes(), payload, b"EX", expire_s.as_bytes()];
            self.session.command(&set, Awaited::Set, now_ms);
        }
        Ok(())
    }

    pub(super) fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        now_ms: u64,
    ) -> Option<BrokerEvent<'a>> {
        if matches!(self.state, State::Resting { .. } | State::Dialing { .. }) {
            return None;
        }
        if let Some(conn) = self.session.next_settled() {
            return Some(BrokerEvent::Settled { conn });
        }
        if !input.is_empty() {
            (self.session.heard_ms, self.session.due_ms) = (now_ms, now_ms);
        }
        let event = match self.decoder.next(input) {
            Ok(None) => {
                self.session.make_asks(now_ms);
                return None;
            }
            Ok(Some(Item::Push(push))) => self.session.on_push(push),
            Ok(Some(Item::Reply(reply))) => self.session.on_reply(reply),
            Err(error) => BrokerEvent::Broken { reason: error.to_string() },
        };
        if event == BrokerEvent::Up {
            self.state = State::Up { since_ms: now_ms };
            self.failed = false;
        }
        Some(event)
    }

    /// Doubles from try to try up to the last, less up to a half by chance, so that the processes
    /// that lost a Redis together do not return together.
    fn backoff_ms(&mut self) -> u64 {
        let doublings = self.attempts.saturating_sub(1).min(10);
        let most_ms = (BACKOFF_FIRST_MS << doublings).min(BACKOFF_LAST_MS);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        most_ms - self.random % (most_ms / 2)
    }
}

/// A link on which nothing is awaited.
fn new_session(settings: &RedisSettings, max_value: usize) -> Session {
    Session::new(max_value.min(settings.window.saturating_mul(4)), settings.window)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left to do of a greeting that is answered with an error.
    fn refused(error: &str) -> String {
        let settings = RedisSettings {
            target: Target::Unix("/redis.sock".into()),
            user: None,
            password: Some("sesame".to_string()),
            db: 0,
            timeout_ms: 5_000,
            buffer_limit: 1 << 20,
            window: 1 << 20,
        };
        let mut redis = Redis::new(settings, 0, 1 << 20, 1);
        assert_eq!(redis.tick(0), Some(RedisDue::Dial));
        redis.connected(0);
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
            ("NOAUTH Authentication required.", "redis://:PASSWORD@HOST"),
            ("WRONGPASS invalid username-password pair", "mend the user or the password"),
            ("NOPROTO unsupported protocol version", "RESP3"),
        ] {
            assert!(refused(error).contains(mend), "{error}");
        }
    }
}
