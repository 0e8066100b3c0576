//! L1: what conns have published themselves and shall not have back.
//!
//! A conn's own message comes back on the link on which it was published, or on another: of a
//! replica, or of another node of a cluster. Its rules:
//! * where it comes back on the same link it comes before the answer to the command after it, or
//!   not at all;
//! * where it comes back on another, the session there is told of it before it is sent. It looks
//!   for it for [`ECHO_MS`], and no longer than its link lasts. What was not published after all
//!   is not looked for any more;
//! * one is found once, the oldest first. Another's message of the same bytes on the same channel
//!   may be taken for it, if it comes before it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};

use super::Redis;
use super::session::Session;
use crate::link::LinkId;

/// How long a message is looked for that was published on another link.
const ECHO_MS: u64 = 10_000;
/// How many of them are looked for at most; past it, the oldest is not any more.
const MOST_EXPECTED: usize = 8_192;

/// Own messages on one link.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Published on this link and looked for on it.
    here: VecDeque<Withheld>,
    /// Published on another, in the order in which they were.
    expected: VecDeque<Expected>,
    /// What is published here may come back elsewhere.
    pub(super) is_told: bool,
    /// What is to be said of that.
    news: Vec<Echo>,
    /// The ticket of the first command on this link.
    first: u64,
}

#[derive(Debug)]
struct Withheld {
    command: u64,
    hash: u64,
    conn: LinkId,
}

#[derive(Debug)]
struct Expected {
    from: usize,
    ticket: u64,
    hash: u64,
    conn: LinkId,
    until_ms: u64,
}

/// What a link has to say of a message that may come back on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Echo {
    /// It is about to be published. The ticket is different for each of a Redis.
    Sent { ticket: u64, channel: Box<str>, hash: u64, conn: LinkId },
    /// It was not.
    Withdrawn { ticket: u64 },
}

impl Own {
    /// That of the next link, on which no own message comes back of this one; `commands` were sent
    /// on this.
    pub(super) fn next(&mut self, commands: u64) -> Own {
        Own {
            is_told: self.is_told,
            news: std::mem::take(&mut self.news),
            first: self.first + commands,
            ..Own::default()
        }
    }

    /// A conn's message is about to be published by the command of that number.
    pub(super) fn withhold(&mut self, command: u64, channel: &str, payload: &[u8], conn: LinkId) {
        let hash = hash(channel.as_bytes(), payload);
        self.here.push_back(Withheld { command, hash, conn });
        if self.is_told {
            let ticket = self.first + command;
            self.news.push(Echo::Sent { ticket, channel: channel.into(), hash, conn });
        }
    }

    /// What that command was to publish was not published.
    pub(super) fn withdraw(&mut self, command: u64) {
        if self.is_told {
            self.news.push(Echo::Withdrawn { ticket: self.first + command });
        }
    }

    /// Looks no more for what commands older than that one have published here.
    pub(super) fn forget(&mut self, command: u64) {
        while self.here.front().is_some_and(|own| own.command < command) {
            self.here.pop_front();
        }
    }

    /// The conn whose message this is that arrived, if it is one that is still looked for.
    #[inline]
    pub(super) fn take(&mut self, channel: &[u8], payload: &[u8], now_ms: u64) -> Option<LinkId> {
        if self.here.is_empty() && self.expected.is_empty() {
            return None;
        }
        self.find(channel, payload, now_ms)
    }

    #[inline(never)]
    fn find(&mut self, channel: &[u8], payload: &[u8], now_ms: u64) -> Option<LinkId> {
        let hash = hash(channel, payload);
        if let Some(at) = self.here.iter().position(|own| own.hash == hash) {
            return self.here.remove(at).map(|own| own.conn);
        }
        while self.expected.front().is_some_and(|own| own.until_ms <= now_ms) {
            self.expected.pop_front();
        }
        let at = self.expected.iter().position(|own| own.hash == hash)?;
        self.expected.remove(at).map(|own| own.conn)
    }

    fn expect(&mut self, expected: Expected) {
        self.expected.push_back(expected);
        if self.expected.len() > MOST_EXPECTED {
            self.expected.pop_front();
        }
    }

    fn expect_no_more(&mut self, from: usize, ticket: u64) {
        // It is one of the last, as a rule.
        let is_it = |own: &Expected| own.from == from && own.ticket == ticket;
        if let Some(at) = self.expected.iter().rposition(is_it) {
            self.expected.remove(at);
        }
    }
}

impl Session {
    /// The oldest command has not published what it was to.
    pub(super) fn has_not_published(&mut self, command: u64) {
        self.own.withdraw(command);
        self.own.forget(command + 1);
    }
}

impl Redis {
    /// From now on it says what may come back on another link.
    pub(in crate::broker) fn tell_echoes(&mut self) {
        self.session.own.is_told = true;
    }

    /// What there is to say of that.
    pub(in crate::broker) fn take_echoes(&mut self) -> Vec<Echo> {
        std::mem::take(&mut self.session.own.news)
    }

    /// Whether there is any.
    #[inline]
    pub(in crate::broker) fn has_echoes(&self) -> bool {
        !self.session.own.news.is_empty()
    }

    /// Another node, of that number, has said that of a message that comes back here. Where there
    /// is no link it does not.
    pub(in crate::broker) fn expect_echo(&mut self, from: usize, echo: Echo, now_ms: u64) {
        let is_linked = self.is_linked();
        match echo {
            Echo::Sent { ticket, hash, conn, .. } if is_linked => {
                let until_ms = now_ms + ECHO_MS;
                self.session.own.expect(Expected { from, ticket, hash, conn, until_ms });
            }
            Echo::Sent { .. } => {}
            Echo::Withdrawn { ticket } => self.session.own.expect_no_more(from, ticket),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{BrokerEvent, RedisAddress, RedisSettings, Uses};
    use crate::link::Target;

    const CONN: LinkId = LinkId { index: 7, generation: 1 };

    /// Two Redis that are up: what is published at the first comes back at the second.
    fn two() -> (Redis, Redis) {
        let redis = || {
            let settings = RedisSettings {
                address: RedisAddress::Fixed(Target::Unix("/redis.sock".into())),
                user: None,
                password: None,
                db: 0,
                timeout_ms: 60_000,
                buffer_limit: 1 << 20,
                window: 1 << 20,
            };
            let uses = Uses { max_message: 1 << 20, max_session: 1 << 20, publishes: true };
            let mut redis = Redis::new(settings, 0, uses, 1);
            redis.tell_echoes();
            greet(&mut redis, 0);
            redis
        };
        (redis(), redis())
    }

    fn greet(redis: &mut Redis, now_ms: u64) {
        redis.tick(now_ms);
        redis.connected(now_ms);
        let sent = redis.unsent().len();
        redis.advance(sent);
        heard(redis, b"%1\r\n+mode\r\n+standalone\r\n", now_ms);
    }

    fn publish(redis: &mut Redis, payload: &str, now_ms: u64) {
        redis.publish("c", payload.as_bytes(), (Some(CONN), None), now_ms).expect("there is room");
    }

    fn pass(from: &mut Redis, to: &mut Redis, now_ms: u64) {
        from.take_echoes().into_iter().for_each(|echo| to.expect_echo(0, echo, now_ms));
    }

    /// Whether each message that arrives is kept from the conn.
    fn heard(redis: &mut Redis, bytes: &[u8], now_ms: u64) -> Vec<bool> {
        let (mut input, mut heard) = (bytes, Vec::new());
        while let Some(event) = redis.next(&mut input, now_ms) {
            if let BrokerEvent::Delivery(delivery) = event {
                heard.push(delivery.except == Some(CONN));
            }
        }
        heard
    }

    fn push(payload: &str) -> Vec<u8> {
        format!(">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n{payload}\r\n", payload.len())
            .into_bytes()
    }

    #[test]
    fn what_comes_back_elsewhere_is_known_once_and_for_a_while() {
        let (mut master, mut replica) = two();
        for payload in ["a", "b", "a"] {
            publish(&mut master, payload, 0);
        }
        pass(&mut master, &mut replica, 0);
        let pushes = [push("a"), push("x"), push("a"), push("a")].concat();
        assert_eq!(heard(&mut replica, &pushes, 1), [true, false, true, false]);
        assert_eq!(heard(&mut replica, &push("b"), ECHO_MS), [false], "too late");
        publish(&mut master, "c", ECHO_MS);
        pass(&mut master, &mut replica, ECHO_MS);
        assert_eq!(heard(&mut replica, &push("c"), 2 * ECHO_MS - 1), [true]);
    }

    #[test]
    fn what_was_not_published_is_not_looked_for() {
        let (mut master, mut replica) = two();
        for payload in ["refused", "sent", "not sent"] {
            publish(&mut master, payload, 0);
        }
        heard(&mut master, b"-NOPERM no\r\n", 1);
        let unsent = master.unsent().len();
        let last = b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$8\r\nnot sent\r\n".len();
        master.advance(unsent - last);
        let lost = master.lost(1);
        assert_eq!(lost, super::super::Lost::default());
        pass(&mut master, &mut replica, 1);
        let pushes = [push("refused"), push("not sent"), push("sent")].concat();
        assert_eq!(heard(&mut replica, &pushes, 2), [false, false, true]);
        let later = master.deadline_ms();
        greet(&mut master, later);
        pass(&mut master, &mut replica, later);
        assert_eq!(heard(&mut replica, &push("not sent"), later), [true], "now it is sent");
    }

    #[test]
    fn a_link_that_is_lost_takes_along_what_was_looked_for_there() {
        let (mut master, mut replica) = two();
        publish(&mut master, "a", 0);
        pass(&mut master, &mut replica, 0);
        replica.lost(1);
        publish(&mut master, "b", 1);
        pass(&mut master, &mut replica, 1);
        let later = replica.deadline_ms();
        greet(&mut replica, later);
        let pushes = [push("a"), push("b")].concat();
        assert_eq!(heard(&mut replica, &pushes, later), [false, false]);
    }

    #[test]
    fn what_is_looked_for_has_a_limit_and_the_oldest_goes() {
        let (mut master, mut replica) = two();
        for number in 0..=MOST_EXPECTED {
            publish(&mut master, &number.to_string(), 0);
            pass(&mut master, &mut replica, 0);
        }
        let last = MOST_EXPECTED.to_string();
        let pushes = [push("0"), push("1"), push(&last)].concat();
        assert_eq!(heard(&mut replica, &pushes, 1), [false, true, true]);
    }
}
