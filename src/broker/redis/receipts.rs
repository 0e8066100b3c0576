//! L1: what becomes of publishes about which somebody wants to know.
//!
//! Its rule: each receipt is given back once, whatever happens to the link: with the answer of the
//! server, or as dropped when that cannot come any more. What no byte was sent of is published on
//! the next link, and keeps its receipt.

use super::later::Publication;
use super::session::{Awaited, Session};
use crate::broker::{PublishOutcome, Receipt};

impl Session {
    /// What is known of publishes and not told, and what will never be known of those that are not
    /// published once more.
    pub(super) fn unanswered(&self, again: &[Publication<'_>]) -> Vec<(Receipt, PublishOutcome)> {
        let mut again: Vec<Receipt> = again.iter().filter_map(|one| one.receipt).collect();
        let receipt = |awaited: &Awaited| match awaited {
            Awaited::Publish(receipt, _) | Awaited::Record(receipt, _) => *receipt,
            _ => None,
        };
        // One number may stand for several publishes, of which some are published once more.
        let awaited = self.awaited.iter().rev().filter_map(receipt);
        let dropped = awaited.filter(|receipt| {
            let at = again.iter().rposition(|one| one == receipt);
            at.map(|at| again.remove(at)).is_none()
        });
        let dropped: Vec<Receipt> = dropped.collect();
        let dropped = dropped.into_iter().rev().map(|receipt| (receipt, PublishOutcome::Dropped));
        self.published.iter().copied().chain(dropped).collect()
    }

    /// It is known what became of a publish.
    pub(super) fn receive(&mut self, receipt: Option<Receipt>, outcome: PublishOutcome) {
        self.published.extend(receipt.map(|receipt| (receipt, outcome)));
    }

    /// What became of a publish, if it is to be told of one.
    pub(super) fn next_published(&mut self) -> Option<(Receipt, PublishOutcome)> {
        self.published.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Redis;
    use super::super::later::PATIENCE_MS;
    use super::*;
    use crate::broker::{BrokerEvent, RedisAddress, RedisSettings, Uses};
    use crate::link::{LinkId, Target};

    const CONN: LinkId = LinkId { index: 7, generation: 1 };

    /// A Redis that is up at the beginning of time.
    fn up() -> Redis {
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
        let mut redis = Redis::new(settings, 60, uses, 1);
        greet(&mut redis, 0);
        redis
    }

    fn greet(redis: &mut Redis, now_ms: u64) {
        redis.tick(now_ms);
        redis.connected(now_ms);
        let sent = redis.unsent().len();
        redis.advance(sent);
        assert_eq!(outcomes(redis, b"%1\r\n+mode\r\n+standalone\r\n", now_ms), []);
    }

    fn publish(redis: &mut Redis, number: u64) {
        let receipt = Some(Receipt { conn: CONN, number });
        redis.publish("c", b"x", (None, receipt), 0).expect("there is room");
    }

    /// What is said of publishes when these bytes arrive.
    fn outcomes(redis: &mut Redis, bytes: &[u8], now_ms: u64) -> Vec<(u64, PublishOutcome)> {
        let (mut input, mut outcomes) = (bytes, Vec::new());
        while let Some(event) = redis.next(&mut input, now_ms) {
            if let BrokerEvent::Published { receipt, outcome } = event {
                assert_eq!(receipt.conn, CONN);
                outcomes.push((receipt.number, outcome));
            }
        }
        outcomes
    }

    #[test]
    fn each_publish_is_answered_for_itself() {
        let mut redis = up();
        (1..=4).for_each(|number| publish(&mut redis, number));
        let replies = b":1\r\n+OK\r\n-NOPERM no\r\n-NOPERM no\r\n-OOM full\r\n-OOM full\r\n:0\r\n";
        let expected = [
            (1, PublishOutcome::Accepted),
            (2, PublishOutcome::Denied),
            (3, PublishOutcome::Failed),
            (4, PublishOutcome::Accepted),
        ];
        assert_eq!(outcomes(&mut redis, replies, 1), expected);
        assert_eq!(outcomes(&mut redis, b"", 2), [], "each is said once");
    }

    #[test]
    fn what_was_sent_is_dropped_with_its_link_and_the_rest_goes_on() {
        let mut redis = up();
        publish(&mut redis, 1);
        let first = redis.unsent().len();
        publish(&mut redis, 2);
        publish(&mut redis, 2);
        redis.advance(first + 1);
        assert_eq!(outcomes(&mut redis, b":1\r\n+OK\r\n", 1), [(1, PublishOutcome::Accepted)]);
        let dropped = [(Receipt { conn: CONN, number: 2 }, PublishOutcome::Dropped)];
        assert_eq!(redis.lost(1).receipts, dropped, "one of the two is published once more");
        let later = redis.deadline_ms();
        greet(&mut redis, later);
        let replies = b"+OK\r\n:1\r\n+OK\r\n";
        assert_eq!(outcomes(&mut redis, replies, later + 1), [(2, PublishOutcome::Accepted)]);
    }

    #[test]
    fn what_waits_too_long_for_a_link_is_dropped() {
        let mut redis = up();
        redis.lost(0);
        publish(&mut redis, 1);
        redis.tick(PATIENCE_MS - 1);
        assert_eq!(outcomes(&mut redis, b"", PATIENCE_MS - 1), []);
        redis.tick(PATIENCE_MS);
        assert!(redis.has_more());
        let expected = [(1, PublishOutcome::Dropped)];
        assert_eq!(outcomes(&mut redis, b"", PATIENCE_MS), expected);
        assert!(!redis.has_more());
    }
}
