//! L1: when something is due of a Redis: a dial, a ping, an answer, the end of a link.

use super::later::Publication;
use super::session::Awaited;
use super::{REPLICA_MS, ROLE_MS, Redis, RedisDue, State};
use crate::broker::{BrokerEvent, Notice};
use crate::link::LOOKUP_MS;

/// How long a server that is elsewhere now has to send the last of what it counts as heard here.
const LEAVING_MS: u64 = 200;

impl Redis {
    /// Lets time pass: pings an idle link, and says when to dial or to give up.
    pub fn tick(&mut self, now_ms: u64) -> Option<RedisDue> {
        let expired = self.later.expire(now_ms);
        self.on_given_up(expired);
        if self.leave_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            self.left_ms = Some(now_ms);
            return Some(RedisDue::Leave);
        }
        if self.ask_role_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            self.role_ms = now_ms + ROLE_MS;
            self.session.command(&[b"ROLE"], Awaited::Role, now_ms);
        }
        if self.ask_replication_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            self.session.ask_replication(now_ms);
        }
        match self.state {
            State::Resting { .. } if self.answer_ms() <= now_ms => {
                self.state = State::Dialing { since_ms: now_ms };
                self.dialed = self.target.clone();
                Some(RedisDue::Dial)
            }
            State::LookingUp { .. } | State::Dialing { .. } | State::Greeting { .. }
                if self.answer_ms() <= now_ms =>
            {
                Some(RedisDue::GiveUp)
            }
            State::Leaving { .. } if self.answer_ms() <= now_ms => Some(RedisDue::Move),
            State::Up { .. } if self.answer_ms() <= now_ms => {
                if !self.session.awaited.is_empty() {
                    return Some(RedisDue::GiveUp);
                }
                self.session.command(&[b"PING"], Awaited::Ping, now_ms);
                None
            }
            _ => None,
        }
    }

    pub(super) fn on_given_up(
        &mut self,
        publications: impl IntoIterator<Item = Publication<'static>>,
    ) {
        let (mut unpublished, mut is_unstored) = (0, false);
        for publication in publications {
            unpublished += u64::from(!publication.stored_only);
            is_unstored |= publication.stored_only;
            self.given_up.extend(publication.receipt);
        }
        if unpublished > 0 {
            self.health.say(Notice::GivenUp(unpublished));
        }
        if is_unstored {
            let notice = || Notice::Unstored { reason: "nobody took it in time".to_owned() };
            self.health.note(&BrokerEvent::Notice(notice()), &[]);
            self.health.say(notice());
        }
    }

    /// When [`Redis::tick`] has something to do next.
    pub fn deadline_ms(&self) -> u64 {
        let more = [
            self.later.deadline_ms(),
            self.leave_ms(),
            self.ask_role_ms(),
            self.ask_replication_ms(),
        ];
        more.into_iter().flatten().fold(self.answer_ms(), u64::min)
    }

    /// When a dial is due, or something must have arrived.
    fn answer_ms(&self) -> u64 {
        match self.state {
            State::Resting { .. } if self.target.is_none() => u64::MAX,
            State::Resting { until_ms } => until_ms,
            State::LookingUp { since_ms } => since_ms + LOOKUP_MS,
            State::Dialing { since_ms } | State::Greeting { since_ms } => {
                since_ms + self.settings.timeout_ms
            }
            State::Up { .. } if self.session.awaited.is_empty() => {
                self.session.heard_ms + self.settings.timeout_ms
            }
            State::Leaving { since_ms } => since_ms + LEAVING_MS,
            State::Up { .. } => self.session.due_ms + self.settings.timeout_ms,
        }
    }

    /// When a replica is left.
    fn leave_ms(&self) -> Option<u64> {
        let State::Up { since_ms } = self.state else { return None };
        (self.uses.publishes && self.session.is_replica()).then_some(since_ms + REPLICA_MS)
    }

    /// When the server is asked for its role: where nothing is stored nobody says READONLY.
    fn ask_role_ms(&self) -> Option<u64> {
        let State::Up { .. } = self.state else { return None };
        let unsure = self.expire_s == 0 || self.session.is_replica();
        let matters = self.watch.is_some() || (self.uses.publishes && unsure);
        (matters && self.session.may_ask_role).then_some(self.role_ms)
    }
}
