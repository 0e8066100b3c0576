//! L1: a master and its replica are asked what they know of each other.

use super::session::{Awaited, Session};
use super::{Redis, State};
use crate::broker::BrokerEvent;
use crate::broker::replica::Replication;

/// How often they are asked.
const EVERY_MS: u64 = 1_000;

/// What belongs to a link to one of a pair.
#[derive(Debug)]
pub(super) struct Pair {
    is_replica: bool,
    is_asked: bool,
    said: Option<Result<Replication, String>>,
    /// When it is asked again.
    next_ms: u64,
}

impl Pair {
    fn new(is_replica: bool) -> Box<Pair> {
        Box::new(Pair { is_replica, is_asked: false, said: None, next_ms: 0 })
    }

    /// That of the next link.
    pub(super) fn next(&self) -> Box<Pair> {
        Pair::new(self.is_replica)
    }
}

impl Session {
    /// Whether it is up only when it has shown that it is of use.
    pub(super) fn is_on_trial(&self) -> bool {
        self.pair.as_ref().is_some_and(|pair| pair.is_replica)
    }

    /// Has it say when it forgets all its data, as it does when it takes a new copy of its master:
    /// what was published since it lost that it never hears. Nobody has a key of that prefix.
    pub(super) fn track(&mut self, now_ms: u64) {
        let words: [&[u8]; 6] =
            [b"CLIENT", b"TRACKING", b"ON", b"BCAST", b"PREFIX", b"wsloop:no-such-key"];
        self.command(&words, Awaited::Tracking, now_ms);
    }

    /// Asks what it is, and whose.
    pub(super) fn ask_replication(&mut self, now_ms: u64) {
        let Some(pair) = &mut self.pair else { return };
        pair.next_ms = now_ms + EVERY_MS;
        if !std::mem::replace(&mut pair.is_asked, true) {
            self.command(&[b"INFO", b"replication"], Awaited::Replication, now_ms);
        }
    }

    /// That is answered.
    pub(super) fn on_replication<'a>(&mut self, answer: Result<&[u8], String>) -> BrokerEvent<'a> {
        if let Some(pair) = &mut self.pair {
            let parse = |text| Replication::parse(text).ok_or_else(|| STRANGE.to_owned());
            (pair.is_asked, pair.said) = (false, Some(answer.and_then(parse)));
        }
        BrokerEvent::Quiet
    }
}

impl Redis {
    /// It is one of a pair: the replica, or the master of one.
    pub(in crate::broker) fn pair_up(&mut self, is_replica: bool) {
        self.session.pair = Some(Pair::new(is_replica));
    }

    /// What it says of that, once.
    pub(in crate::broker) fn take_replication(&mut self) -> Option<Result<Replication, String>> {
        self.session.pair.as_mut()?.said.take()
    }

    /// Whether it has said something of that.
    pub(in crate::broker) fn has_replication(&self) -> bool {
        self.session.pair.as_ref().is_some_and(|pair| pair.said.is_some())
    }

    /// It is of use: it is up.
    pub(in crate::broker) fn accept_replica(&mut self) {
        self.session.is_greeted = true;
    }

    /// It is to be asked at that time.
    pub(in crate::broker) fn look_at_replication(&mut self, at_ms: u64) {
        self.session.pair.iter_mut().for_each(|pair| pair.next_ms = at_ms);
    }

    /// When it is to be asked. On trial it is asked first when it has greeted.
    pub(super) fn ask_replication_ms(&self) -> Option<u64> {
        let pair = self.session.pair.as_ref().filter(|pair| !pair.is_asked)?;
        let may_be_asked = match self.state {
            State::Up { .. } => true,
            State::Greeting { .. } => pair.is_replica && pair.next_ms > 0,
            _ => false,
        };
        may_be_asked.then_some(pair.next_ms)
    }
}

const STRANGE: &str = "its answer to INFO replication is none";
