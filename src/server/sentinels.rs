//! L2: the links to the sentinels that say where Redis is.
//!
//! What they say is found out below; here the links are dialed and closed, what is to be said is
//! said, and the link to Redis is left when Redis is elsewhere.

use super::Server;
use super::brokering::Loss;
use super::table::Party;
use crate::broker::{SentinelErrand, SentinelNotice, Status, Watch};

impl Server {
    /// Has something done about the links to a node's sentinels, and sees to what follows from it.
    pub(super) fn on_sentinels(&mut self, node: usize, act: impl FnOnce(&mut Watch, u64)) {
        let now_ms = self.cx.now.mono_ms;
        let was_down = self.broker.status_at(node) == Status::Down;
        let Some(watch) = self.broker.redis(node).and_then(|redis| redis.watch()) else { return };
        act(watch, now_ms);
        while let Some(errand) = watch.next_errand() {
            match errand {
                SentinelErrand::Dial(at, target) => {
                    self.table.dial(Party::Sentinel(node, at), target);
                }
                SentinelErrand::Close(link) => self.table.close(link),
            }
        }
        watch.to_flush().for_each(|link| self.table.stand(link, 1));
        while let Some(notice) = watch.next_notice() {
            let moved = matches!(notice, SentinelNotice::Found { .. });
            self.cx.metrics.broker_found_total += u64::from(moved);
            self.said.at(node).sentinel(&notice, now_ms);
        }
        let nodes = self.nodes.all();
        let useful = nodes.filter_map(|node| self.peek_watch(node)).map(Watch::useful);
        self.cx.metrics.sentinels_up = useful.sum::<usize>() as u64;
        if self.broker.redis(node).is_some_and(|redis| redis.follow(now_ms)) {
            self.on_broker_lost(node, Loss::Moved);
        }
        if self.broker.redis(node).is_some_and(|redis| redis.is_leaving()) {
            self.canary.begin(node, None);
            self.cx.metrics.broker_up = 0;
        }
        if !was_down && self.broker.status_at(node) == Status::Down {
            self.refuse_pending(node);
        }
    }

    /// Lets time pass for them. A server that ends without Redis looks for it no more.
    pub(super) fn tick_sentinels(&mut self) {
        if !self.nodes.is_watched {
            return;
        }
        for node in self.nodes.all() {
            if self.sentinels_of_ms(node).is_some_and(|at_ms| at_ms <= self.cx.now.mono_ms) {
                self.on_sentinels(node, Watch::tick);
            }
        }
    }

    /// When [`Server::tick_sentinels`] has something to do.
    pub(super) fn sentinels_ms(&mut self) -> Option<u64> {
        if !self.nodes.is_watched {
            return None;
        }
        self.nodes.all().filter_map(|node| self.sentinels_of_ms(node)).min()
    }

    fn sentinels_of_ms(&mut self, node: usize) -> Option<u64> {
        self.timed_redis(node)?.watch().map(|watch| watch.deadline_ms())
    }

    /// The sentinels of a node, to be looked at.
    pub(super) fn peek_watch(&self, node: usize) -> Option<&Watch> {
        self.broker.peek_redis(node)?.peek_watch()
    }
}
