//! L1: the nodes of a broker that are a master and its replica.
//!
//! The replica is up when it has shown that it is of use, and is heard and read while it is up.
//! Otherwise the master is. What is published, stored and asked of sessions is so at the master: a
//! session that was stored just now may not be at the replica yet.

use std::sync::Arc;

use super::nodes::Nodes;
use super::redis::Redis;
use super::replica::Judgement;
use super::spread::Spread;
use super::{RedisAddress, RedisSettings, Status, Uses};

/// The place of each.
pub(crate) const MASTER: usize = 0;
pub(crate) const REPLICA: usize = 1;

/// How often a replica is asked that has yet to catch up.
const CATCH_UP_MS: u64 = 50;

/// Whether these are a master and its replica.
pub(super) fn is_pair(settings: &[RedisSettings]) -> bool {
    matches!(settings, [_, RedisSettings { address: RedisAddress::Replica(_), .. }])
}

/// What a Redis of these settings is used for: nobody publishes at a replica.
pub(super) fn uses_of(settings: &RedisSettings, uses: Uses) -> Uses {
    let is_replica = matches!(settings.address, RedisAddress::Replica(_));
    Uses { publishes: uses.publishes && !is_replica, ..uses }
}

/// Has two Redis know that they are a pair.
pub(super) fn pair_up(all: &mut [Redis]) {
    for (node, redis) in all.iter_mut().enumerate() {
        redis.pair_up(node == REPLICA);
        redis.tell_echoes();
    }
}

impl Nodes {
    /// What follows from what one of a pair has said of the other.
    pub(crate) fn take_replication(&mut self, node: usize, now_ms: u64) -> Judgement {
        let (Some(said), Some(replica)) = (self.all[node].take_replication(), &mut self.replica)
        else {
            return Judgement::Quiet;
        };
        if self.all[MASTER].status() == Status::Up {
            replica.master_is_up();
        }
        if node == MASTER {
            let is_waited_for = replica.asks_level();
            let judgement = replica.on_master(said, now_ms);
            if is_waited_for {
                self.all[REPLICA].look_at_replication(now_ms);
            }
            return judgement;
        }
        let in_use =
            self.spread.heard_at() == Some(REPLICA) && self.all[REPLICA].status() == Status::Up;
        let judgement = replica.on_replica(said, in_use, now_ms);
        match judgement {
            Judgement::Useful => self.all[REPLICA].accept_replica(),
            Judgement::Early if replica.asks_level() => {
                self.all[MASTER].look_at_replication(now_ms);
            }
            Judgement::Early => self.all[REPLICA].look_at_replication(now_ms + CATCH_UP_MS),
            _ => {}
        }
        judgement
    }

    /// The replica has begun anew, and that is made up for.
    pub(crate) fn on_anew(&mut self) {
        self.replica.iter_mut().for_each(|replica| replica.began_anew());
    }

    /// The link of one of a pair is lost.
    pub(crate) fn pair_lost(&mut self, node: usize) {
        if let Some(replica) = &mut self.replica {
            match node {
                MASTER => replica.master_lost(),
                _ => replica.lost(),
            }
        }
    }

    /// These channels are heard at a node no more.
    pub(crate) fn silence(&mut self, node: usize, names: Vec<Arc<str>>, now_ms: u64) {
        for name in names {
            self.all[node].unsubscribe(name, false, now_ms);
        }
    }

    /// From now on that one of the pair is heard and read.
    pub(crate) fn hear_from(&mut self, node: usize) {
        self.spread = Spread::of_pair(node);
    }
}
