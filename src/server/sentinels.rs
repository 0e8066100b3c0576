//! L2: the links to the sentinels that say where Redis is.
//!
//! What they say is found out below; here the links are dialed and closed, what is to be said is
//! said, and the link to Redis is left when Redis is elsewhere.

use super::Server;
use super::brokering::Loss;
use super::table::Party;
use crate::broker::{SentinelErrand, SentinelNotice, Status, Watch};

impl Server {
    /// Has something done about the links to sentinels, and sees to what follows from it.
    pub(super) fn on_sentinels(&mut self, act: impl FnOnce(&mut Watch, u64)) {
        let now_ms = self.cx.now.mono_ms;
        let was_down = self.broker.status() == Status::Down;
        let Some(watch) = self.broker.redis().and_then(|redis| redis.watch()) else { return };
        act(watch, now_ms);
        while let Some(errand) = watch.next_errand() {
            match errand {
                SentinelErrand::Dial(at, target) => self.table.dial(Party::Sentinel(at), target),
                SentinelErrand::Close(link) => self.table.close(link),
            }
        }
        watch.to_flush().for_each(|link| self.table.stand(link, 1));
        self.cx.metrics.sentinels_up = watch.useful() as u64;
        while let Some(notice) = watch.next_notice() {
            let moved = matches!(notice, SentinelNotice::Found { .. });
            self.cx.metrics.broker_found_total += u64::from(moved);
            self.said.sentinel(&notice);
        }
        if self.broker.redis().is_some_and(|redis| redis.follow(now_ms)) {
            self.on_broker_lost(Loss::Moved);
        }
        if !was_down && self.broker.status() == Status::Down {
            self.refuse_pending();
        }
    }

    /// Lets time pass for them. A server that ends without Redis looks for it no more.
    pub(super) fn tick_sentinels(&mut self) {
        if self.sentinels_ms().is_some_and(|at_ms| at_ms <= self.cx.now.mono_ms) {
            self.on_sentinels(Watch::tick);
        }
    }

    /// When [`Server::tick_sentinels`] has something to do.
    pub(super) fn sentinels_ms(&mut self) -> Option<u64> {
        self.timed_redis()?.watch().map(|watch| watch.deadline_ms())
    }

    /// The sentinels of Redis, to be looked at.
    pub(super) fn peek_watch(&self) -> Option<&Watch> {
        self.broker.peek_redis()?.peek_watch()
    }
}
