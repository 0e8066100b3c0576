//! L1: Redis at the end of one nonblocking link.
//!
//! It knows the protocol's order and what it has asked; it has no socket and no clock: the owner
//! dials when told to, hands in what arrives and sends what waits. Its rules:
//! * every command has its entry among the awaited, in order. A reply ends the oldest; a
//!   confirmation push counts the oldest subscription down, a message push touches none. One entry
//!   too many or too few would hand one browser's answer to another, so a reply that does not fit
//!   the oldest entry ends the link;
//! * message pushes come anywhere between replies, a conn's own among them: before the reply to its
//!   PUBLISH or after it, but never after the reply to the command that follows;
//! * PUBLISH is never sent inside MULTI: before Redis 7.2 its push would land inside EXEC's array.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::{Delivery, Event, PublishError, RedisSettings, Status, Target};
use crate::link::LinkId;
use crate::proto::resp::{self, Decoder, Item, Push, Reply};

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting { until_ms: u64 },
    Dialing { since_ms: u64 },
    Greeting { since_ms: u64 },
    Up { since_ms: u64 },
}

/// What belongs to one link and goes with it.
#[derive(Debug, Default)]
struct Session {
    out: Vec<u8>,
    sent: usize,
    awaited: VecDeque<Awaited>,
    /// The number of the oldest awaited command; the first on a link has 0.
    oldest: u64,
    /// Own publications whose push is not to reach the conn they came from.
    own: VecDeque<Own>,
    heard_ms: u64,
    /// Since when an answer is due without a byte having arrived.
    due_ms: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Awaited {
    Greeting,
    /// Confirmations that are still to come; a `None` is not wanted any more.
    Subscribe(VecDeque<(Arc<str>, bool)>),
    Unsubscribe(Arc<str>),
    Publish,
    Set,
    Get,
    Ping,
}

#[derive(Debug)]
struct Own {
    command: u64,
    hash: u64,
    conn: LinkId,
}

/// What the owner is to do about the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Dial it.
    Dial,
    /// Give it up: what was due has not come.
    GiveUp,
}

impl Redis {
    pub(super) fn new(settings: RedisSettings, expire_s: u64, max_value: usize, seed: u64) -> Self {
        Redis {
            settings,
            expire_s,
            max_value,
            state: State::Resting { until_ms: 0 },
            failed: false,
            attempts: 0,
            random: seed | 1,
            decoder: Decoder::new(max_value),
            session: Session::default(),
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
    pub fn tick(&mut self, now_ms: u64) -> Option<Wish> {
        let timeout_ms = self.settings.timeout_ms;
        match self.state {
            State::Resting { until_ms } if until_ms <= now_ms => {
                self.state = State::Dialing { since_ms: now_ms };
                Some(Wish::Dial)
            }
            State::Dialing { since_ms } | State::Greeting { since_ms }
                if since_ms + timeout_ms <= now_ms =>
            {
                Some(Wish::GiveUp)
            }
            State::Up { .. } if self.deadline_ms() <= now_ms => {
                if !self.session.awaited.is_empty() {
                    return Some(Wish::GiveUp);
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

    /// The link is gone, or could not be made. All that was awaited is forgotten.
    pub fn lost(&mut self, now_ms: u64) {
        let steady = matches!(self.state, State::Up { since_ms } if since_ms + STEADY_MS <= now_ms);
        let was_up = matches!(self.state, State::Up { .. });
        self.failed = !was_up;
        self.attempts = if steady { 0 } else { self.attempts + 1 };
        let pause_ms = if steady { 0 } else { self.backoff_ms() };
        self.state = State::Resting { until_ms: now_ms + pause_ms };
        self.session = Session::default();
        self.decoder = Decoder::new(self.max_value);
    }

    /// Bytes that wait to be sent.
    pub fn unsent(&self) -> &[u8] {
        &self.session.out[self.session.sent..]
    }

    /// Forgets the first `n` of them: they are sent.
    pub fn advance(&mut self, n: usize) {
        self.session.advance(n);
    }

    /// Whether every command that was sent is answered.
    pub fn is_settled(&self) -> bool {
        !matches!(self.state, State::Up { .. }) || self.session.awaited.is_empty()
    }

    pub(super) fn unanswered(&self) -> Option<u64> {
        let asked = self.session.oldest + self.session.awaited.len() as u64;
        (asked > self.session.oldest).then_some(asked)
    }

    pub(super) fn answered(&self) -> u64 {
        self.session.oldest
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
            let subscribes = self.session.awaited.iter_mut().filter_map(|awaited| match awaited {
                Awaited::Subscribe(channels) => Some(channels),
                _ => None,
            });
            for (_, wanted) in subscribes.flatten().filter(|(name, _)| *name == channel) {
                *wanted = false;
            }
        }
        let command = [b"UNSUBSCRIBE", channel.as_bytes()];
        self.session.command(&command, Awaited::Unsubscribe(channel.clone()), now_ms);
    }

    pub(super) fn fetch(&mut self, channel: &str, now_ms: u64) {
        self.session.command(&[b"GET", channel.as_bytes()], Awaited::Get, now_ms);
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
            let command = self.session.oldest + self.session.awaited.len() as u64;
            let hash = hash(channel.as_bytes(), payload);
            self.session.own.push_back(Own { command, hash, conn });
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
    ) -> Option<Event<'a>> {
        if matches!(self.state, State::Resting { .. } | State::Dialing { .. }) {
            return None;
        }
        if !input.is_empty() {
            (self.session.heard_ms, self.session.due_ms) = (now_ms, now_ms);
        }
        let event = match self.decoder.next(input) {
            Ok(None) => return None,
            Ok(Some(Item::Push(push))) => self.session.on_push(push),
            Ok(Some(Item::Reply(reply))) => self.session.on_reply(reply),
            Err(error) => Event::Broken { reason: error.to_string() },
        };
        if event == Event::Up {
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

impl Session {
    fn command(&mut self, arguments: &[&[u8]], awaited: Awaited, now_ms: u64) {
        if self.awaited.is_empty() {
            self.due_ms = now_ms;
        }
        resp::command(&mut self.out, arguments);
        self.awaited.push_back(awaited);
    }

    fn advance(&mut self, n: usize) {
        self.sent += n;
        assert!(self.sent <= self.out.len(), "more bytes were sent than waited");
        if self.sent == self.out.len() {
            self.out.clear();
            self.out.shrink_to(64 << 10);
            self.sent = 0;
        } else if self.sent > self.out.len() / 2 && self.sent > 64 << 10 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    fn on_push<'a>(&mut self, push: Push<'a>) -> Event<'a> {
        match push {
            Push::Message { channel, payload } => {
                let except = self.take_own(channel, payload);
                Event::Delivery(Delivery { channel, payload, except })
            }
            Push::Subscribed { channel } => self.on_subscribed(channel),
            Push::Unsubscribed { channel } => match self.awaited.front() {
                Some(Awaited::Unsubscribe(name)) if name.as_bytes() == channel => {
                    self.finish();
                    Event::Quiet
                }
                _ => misfit("a confirmation of an UNSUBSCRIBE that was not due"),
            },
            Push::TooLarge => Event::Skipped,
            _ => Event::Quiet,
        }
    }

    fn on_subscribed<'a>(&mut self, channel: &'a [u8]) -> Event<'a> {
        let Some(Awaited::Subscribe(channels)) = self.awaited.front_mut() else {
            return misfit("a confirmation of a SUBSCRIBE that was not due");
        };
        match channels.pop_front() {
            Some((name, wanted)) if name.as_bytes() == channel => {
                if channels.is_empty() {
                    self.finish();
                }
                if wanted { Event::Subscribed { channel } } else { Event::Quiet }
            }
            _ => misfit("a confirmation of another channel than was due"),
        }
    }

    fn on_reply<'a>(&mut self, reply: Reply<'a>) -> Event<'a> {
        let Some(awaited) = self.awaited.pop_front() else {
            return misfit("a reply that nothing asked for");
        };
        self.finished();
        match (awaited, reply) {
            (awaited, Reply::Error(reason)) => self.on_error(awaited, reason),
            (Awaited::Greeting, Reply::Status(_) | Reply::Aggregate) => {
                match self.awaited.is_empty() {
                    true => Event::Up,
                    false => Event::Quiet,
                }
            }
            (Awaited::Get, Reply::Bulk(payload)) => Event::Answer(Some(payload)),
            (Awaited::Get, Reply::Null) => Event::Answer(None),
            (Awaited::Get, Reply::TooLarge) => {
                Event::NoAnswer { reason: "the value is larger than a message may be".to_string() }
            }
            (Awaited::Publish, Reply::Integer(_))
            | (Awaited::Set, Reply::Status(_))
            | (Awaited::Ping, Reply::Status(_) | Reply::Bulk(_)) => Event::Quiet,
            _ => misfit("a reply of another kind than was due"),
        }
    }

    fn on_error<'a>(&mut self, awaited: Awaited, reason: &str) -> Event<'a> {
        // An unknown command is quoted with its arguments: a password, or what somebody wrote.
        let reason = reason.split(", with args beginning").next().unwrap_or(reason).to_string();
        match awaited {
            Awaited::Greeting => Event::Broken { reason: greeting_refused(&reason) },
            Awaited::Subscribe(channels) => self.on_subscribe_denied(channels, &reason),
            // It answers nothing of use yet, and will when it is dialed again.
            Awaited::Get if ["LOADING", "MASTERDOWN"].iter().any(|w| reason.starts_with(w)) => {
                Event::Broken { reason }
            }
            Awaited::Get => Event::NoAnswer { reason },
            Awaited::Publish => {
                self.forget_own(self.oldest);
                Event::Refused { reason }
            }
            Awaited::Set | Awaited::Unsubscribe(_) => Event::Refused { reason },
            Awaited::Ping => Event::Quiet,
        }
    }

    /// One error denies the whole batch, so each of its channels is asked for by itself; but not
    /// one whose UNSUBSCRIBE is under way, for that would come first.
    fn on_subscribe_denied<'a>(
        &mut self,
        mut channels: VecDeque<(Arc<str>, bool)>,
        reason: &str,
    ) -> Event<'a> {
        if channels.len() > 1 {
            for (channel, _) in channels.into_iter().filter(|(_, wanted)| *wanted) {
                let command = [b"SUBSCRIBE", channel.as_bytes()];
                resp::command(&mut self.out, &command);
                self.awaited.push_back(Awaited::Subscribe([(channel.clone(), true)].into()));
            }
            return Event::Quiet;
        }
        match channels.pop_front() {
            Some((channel, true)) => Event::Denied { channel, reason: reason.to_string() },
            _ => Event::Quiet,
        }
    }

    /// The conn whose publication this push is, if it is one that is still looked for.
    fn take_own(&mut self, channel: &[u8], payload: &[u8]) -> Option<LinkId> {
        if self.own.is_empty() {
            return None;
        }
        let hash = hash(channel, payload);
        let at = self.own.iter().position(|own| own.hash == hash)?;
        self.own.remove(at).map(|own| own.conn)
    }

    fn finish(&mut self) {
        self.awaited.pop_front();
        self.finished();
    }

    /// The oldest command is answered. The push of a publication comes before the answer to the
    /// command after it or not at all, so by then nobody need look for it any more.
    fn finished(&mut self) {
        self.forget_own(self.oldest);
        self.oldest += 1;
    }

    /// Looks no more for the pushes of publications older than that command.
    fn forget_own(&mut self, command: u64) {
        while self.own.front().is_some_and(|own| own.command < command) {
            self.own.pop_front();
        }
    }
}

fn hash(channel: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(channel);
    hasher.write_u8(0);
    hasher.write(payload);
    hasher.finish()
}

fn misfit<'a>(what: &str) -> Event<'a> {
    Event::Broken { reason: what.to_string() }
}

fn greeting_refused(reason: &str) -> String {
    let mend = match reason.split(' ').next() {
        Some("NOAUTH") => "; give the password in the URL: redis://:PASSWORD@HOST",
        Some("WRONGPASS") => "; mend the user or the password in the URL",
        Some("NOPROTO") => "; wsloop needs RESP3, which Redis has from version 6.0 on",
        Some("ERR") if reason.contains("unknown command") => {
            "; wsloop needs RESP3, which Redis has from version 6.0 on"
        }
        _ => "",
    };
    format!("it refused the greeting: {reason}{mend}")
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
        };
        let mut redis = Redis::new(settings, 0, 1 << 20, 1);
        assert_eq!(redis.tick(0), Some(Wish::Dial));
        redis.connected(0);
        let reply = format!("-{error}\r\n");
        match redis.next(&mut reply.as_bytes(), 0) {
            Some(Event::Broken { reason }) => reason,
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
