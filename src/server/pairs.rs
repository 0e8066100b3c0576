//! L2: a Redis and its replica: which of the two is heard, as the replica shows that it is of use,
//! or is lost.
//!
//! Who hears goes from one to the other as through an outage: what is stored and what is in
//! histories is asked for, and whoever asks for that is told that messages may be missing. The
//! application is heard at the master: nobody stays connected because a replica has lost its
//! master.

use super::Server;
use super::brokering::Loss;
use crate::broker::{Judgement, MASTER, REPLICA, Status};

impl Server {
    /// Acts on what one of the two has said of the other.
    pub(super) fn on_replication(&mut self, node: usize) {
        let now_ms = self.cx.now.mono_ms;
        let Some(nodes) = self.broker.pair() else { return };
        match nodes.take_replication(node, now_ms) {
            Judgement::Quiet | Judgement::Useful | Judgement::Early => {}
            Judgement::Level => self.relay.record(),
            Judgement::Again => self.hear_anew(REPLICA),
            Judgement::Useless(why) => {
                self.on_broker_lost(REPLICA, Loss::Broken(&why.to_string()));
            }
        }
    }

    /// The replica has lost its master for a while, and takes a new copy of all that this has.
    pub(super) fn on_anew(&mut self, node: usize) {
        let is_up = self.broker.status_at(node) == Status::Up;
        if let Some(nodes) = self.broker.pair().filter(|_| node == REPLICA && is_up) {
            nodes.on_anew();
            if nodes.spread().heard_at() == Some(REPLICA) {
                self.hear_anew(REPLICA);
            }
        }
    }

    /// The replica is up: it is heard from now on, and the master is not.
    pub(super) fn before_pair_up(&mut self, node: usize) {
        let now_ms = self.cx.now.mono_ms;
        let names = self.heard_by_conns();
        let Some(nodes) = self.broker.pair() else { return };
        if node == MASTER || nodes.spread().heard_at() == Some(REPLICA) {
            return;
        }
        nodes.hear_from(REPLICA);
        nodes.silence(MASTER, names, now_ms);
        self.canary.hurry(MASTER, now_ms);
        self.relay.on_recorded(now_ms);
        self.on_pair_spread();
        self.said.at(REPLICA).is_heard_again();
    }

    /// The link of one of the two is lost, or could not be made: without the replica the master is
    /// heard.
    pub(super) fn after_pair_loss(&mut self, node: usize) {
        let Some(nodes) = self.broker.pair() else { return };
        nodes.pair_lost(node);
        self.relay.recorded = None;
        if node == MASTER || nodes.spread().heard_at() == Some(MASTER) {
            // A replica that is not heard yet is nobody's loss.
            self.cx.metrics.broker_up = u64::from(self.broker.status() == Status::Up);
            return;
        }
        nodes.hear_from(MASTER);
        self.on_pair_spread();
        self.said.at(REPLICA).is_not_heard();
        if self.broker.status_at(MASTER) == Status::Up {
            self.hear_anew(MASTER);
            for link in self.table.conns(|conn| conn.is_pending()) {
                self.on_conn(link, |conn, cx| conn.on_broker_up(link, cx));
            }
        }
    }

    fn on_pair_spread(&mut self) {
        self.on_spread();
        self.relay.gaps.forget_all();
        self.cx.metrics.broker_up = u64::from(self.broker.status() == Status::Up);
    }

    fn hear_anew(&mut self, node: usize) {
        let names = self.heard_by_conns();
        self.hear_at(node, names);
    }
}
