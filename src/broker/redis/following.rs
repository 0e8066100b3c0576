//! L1: where Redis is: always at one place, or where its sentinels say.

use super::session::Awaited;
use super::{Redis, State};
use crate::broker::{RedisAddress, Watch};
use crate::link::Target;

impl Redis {
    /// What to say of it when it is given up.
    pub(crate) fn late(&self) -> &'static str {
        match (self.state, &self.dialed) {
            (State::Dialing { .. }, Some(target)) => target.late_dial(),
            _ => "it did not answer in time",
        }
    }

    /// Where it is to be dialed, if that is known.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// What was said of where it is.
    pub fn address(&self) -> &RedisAddress {
        &self.settings.address
    }

    /// Where it was dialed last, for people.
    pub fn dialed(&self) -> String {
        match &self.dialed {
            Some(target) => target.to_string(),
            None => self.settings.address.to_string(),
        }
    }

    /// Who says where it is, if anybody does.
    pub fn watch(&mut self) -> Option<&mut Watch> {
        self.watch.as_deref_mut()
    }

    /// The same, to be looked at.
    pub fn peek_watch(&self) -> Option<&Watch> {
        self.watch.as_deref()
    }

    /// Goes where the sentinels say now: whether the link is to be left for that at once. One that
    /// is up ends its subscriptions first, so that whatever it counts as heard here is.
    pub fn follow(&mut self, now_ms: u64) -> bool {
        let target = self.watch.as_deref().and_then(Watch::target);
        target.is_some_and(|target| self.go_to(target, now_ms))
    }

    fn go_to(&mut self, target: Target, now_ms: u64) -> bool {
        if self.target.as_ref() != Some(&target) {
            self.target = Some(target);
            if let State::Resting { until_ms } = &mut self.state {
                *until_ms = now_ms;
            }
        }
        if matches!(self.state, State::Up { .. }) && self.has_moved() {
            (self.state, self.ready) = (State::Leaving { since_ms: now_ms }, false);
            self.session.command(&[b"RESET"], Awaited::Reset, now_ms);
        }
        self.has_moved() && !self.is_leaving()
    }

    /// Whether it is about to be left for another, having been up.
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    /// It is a replica there. Other sentinels may know better; the next dial waits all the same.
    pub fn refute(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.refute();
            self.target = watch.target().or(self.target.take());
        }
    }

    /// Whether it is elsewhere than it was dialed.
    pub(super) fn has_moved(&self) -> bool {
        !matches!(self.state, State::Resting { .. }) && self.dialed != self.target
    }

    /// Whether nobody can say where it is.
    pub(super) fn is_nowhere(&self) -> bool {
        self.target.is_none() && self.watch.as_ref().is_some_and(|watch| watch.is_dark())
    }
}

#[cfg(test)]
mod tests {
    use super::super::RedisDue;
    use super::super::tests::dialed;
    use super::*;
    use crate::broker::BrokerEvent;

    const HELLO: &[u8] = b"%2\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n\
        $4\r\nrole\r\n$6\r\nmaster\r\n";

    /// A Redis that is up, and has begun to be left at 10 ms for another.
    fn leaving() -> Redis {
        let mut redis = dialed(None, 60);
        let mut input = HELLO;
        while redis.next(&mut input, 0).is_some() {}
        redis.subscribe(vec!["room".into()], 0);
        redis.advance(redis.unsent().len());
        assert!(!redis.go_to(Target::Unix("/new.sock".into()), 10), "it is left at once");
        redis
    }

    #[test]
    fn the_last_that_it_counts_as_heard_is_heard_before_it_is_left() {
        let mut redis = leaving();
        assert_eq!(redis.unsent(), b"*1\r\n$5\r\nRESET\r\n");
        assert!(!redis.go_to(Target::Unix("/new.sock".into()), 11), "it is not left twice");
        redis.publish("room", b"later", (None, None), 11).expect("room");
        let mut input: &[u8] = b">3\r\n$9\r\nsubscribe\r\n$4\r\nroom\r\n:1\r\n\
            >3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$4\r\nlast\r\n+RESET\r\n";
        assert!(matches!(redis.next(&mut input, 12), Some(BrokerEvent::Subscribed { .. })));
        let Some(BrokerEvent::Delivery(last)) = redis.next(&mut input, 12) else {
            panic!("a message is lost")
        };
        assert_eq!(last.payload, b"last");
        assert_eq!(redis.next(&mut input, 12), Some(BrokerEvent::Left));
        assert_eq!(redis.unsent(), b"*1\r\n$5\r\nRESET\r\n", "nothing is sent behind it");
        redis.lost(12);
        assert_eq!(redis.tick(12), Some(RedisDue::Dial), "the other is dialed without a pause");
        assert!(!redis.later.is_empty(), "what was published meanwhile is for the other");
    }

    #[test]
    fn one_that_hangs_is_left_within_200_ms_whatever_it_says_of_that() {
        let mut redis = leaving();
        assert_eq!((redis.deadline_ms(), redis.tick(209)), (210, None));
        assert_eq!(redis.tick(210), Some(RedisDue::Move));
        let mut redis = leaving();
        let mut input: &[u8] = b">3\r\n$9\r\nsubscribe\r\n$4\r\nroom\r\n:1\r\n\
            -ERR unknown command 'RESET'\r\n";
        assert!(matches!(redis.next(&mut input, 12), Some(BrokerEvent::Subscribed { .. })));
        assert_eq!(redis.next(&mut input, 12), Some(BrokerEvent::Left));
    }
}
