//! Who is told that Redis was away: conns that asked to be, once an outage of a node, as soon as
//! all that they hear of it is confirmed again.
//!
//! It knows which conns are to be told, and sees in the hub what of theirs is not confirmed; not
//! what is published. A channel may be asked for any number of times until it is confirmed, and go
//! to another node meanwhile, so that nothing is counted. What they are told is an empty message:
//! none that is published is empty, so that nobody else can say it.

use std::collections::HashSet;
use std::hash::RandomState;

use super::handout::Packet;
use super::table::{Party, Table};
use crate::broker::spread::Spread;
use crate::browser::{Conn, Context};
use crate::fanout::hub::{ChannelId, Hub};
use crate::fanout::stored::{ChannelState, Released};
use crate::link::LinkId;

/// The conns that are to be told.
#[derive(Debug)]
pub(super) struct Gaps {
    /// Those that miss channels, by the node that has these.
    untold: Box<[HashSet<LinkId, RandomState>]>,
    spread: Spread,
}

impl Gaps {
    pub(super) fn new(spread: Spread, keys: RandomState) -> Self {
        let untold = vec![HashSet::with_hasher(keys); spread.most_nodes()];
        Gaps { untold: untold.into(), spread }
    }

    /// Channels are spread otherwise from now on. Who misses nothing of a node any more is told of
    /// what it misses at another, which is to be expected there.
    pub(super) fn set_spread(&mut self, spread: Spread, hub: &Hub<ChannelState>) {
        self.spread = spread;
        for (node, untold) in self.untold.iter_mut().enumerate() {
            untold.retain(|link| misses(link.index, node, &self.spread, hub));
            give_back(untold);
        }
    }

    /// Whoever is to be told is to be expected anew.
    pub(super) fn forget_all(&mut self) {
        self.untold.iter_mut().for_each(HashSet::clear);
    }

    /// A node of the broker is up again and has confirmed nothing. Whoever is open was so before
    /// the outage; who was not told of the last one is told of both at once.
    pub(super) fn begin(&mut self, node: usize, hub: &Hub<ChannelState>, table: &Table) {
        let untold = &mut self.untold[node];
        untold.clear();
        for link in table.conns(Conn::asks_for_gaps) {
            let mut channels = hub.channels_of(link.index);
            if channels.any(|channel| self.spread.hears(hub.name(channel)) == node) {
                untold.insert(link);
            }
        }
    }

    /// A channel is to be confirmed by a node that was up before.
    pub(super) fn expect(
        &mut self,
        node: usize,
        channel: ChannelId,
        hub: &Hub<ChannelState>,
        table: &mut Table,
    ) {
        for index in hub.subscribers(channel) {
            if let Some((link, slot)) = table.at(index)
                && let Party::Browser(conn) = &slot.party
                && conn.asks_for_gaps()
            {
                self.untold[node].insert(link);
            }
        }
    }

    /// A channel is confirmed that was not: who has missed no other one is told.
    pub(super) fn heard(
        &mut self,
        channel: ChannelId,
        hub: &Hub<ChannelState>,
        slow: &mut Vec<LinkId>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        if self.untold.iter().all(HashSet::is_empty) {
            return;
        }
        let node = self.spread.hears(hub.name(channel));
        let untold = &mut self.untold[node];
        let mut told = Vec::new();
        for index in hub.subscribers(channel) {
            let Some((link, _)) = table.at(index) else { continue };
            if untold.contains(&link) && !misses(index, node, &self.spread, hub) {
                untold.remove(&link);
                told.push(index);
            }
        }
        give_back(untold);
        let nothing = Released::default();
        let mut packet = Packet::new(channel, Some(b""), &nothing);
        let receivers = told.len();
        for index in told {
            packet.hand(index, 0, true, receivers, slow, table, cx);
        }
    }

    /// A conn hears nothing more.
    pub(super) fn forget(&mut self, link: LinkId) {
        for untold in self.untold.iter_mut().filter(|untold| !untold.is_empty()) {
            untold.remove(&link);
        }
    }
}

/// Whether a conn hears a channel of that node which is not confirmed.
fn misses(conn: u32, node: usize, spread: &Spread, hub: &Hub<ChannelState>) -> bool {
    let mut missing = hub.channels_of(conn).filter(|channel| !hub.peek(*channel).confirmed);
    missing.any(|channel| spread.hears(hub.name(channel)) == node)
}

/// Most of the time nobody is to be told.
fn give_back(untold: &mut HashSet<LinkId, RandomState>) {
    if untold.is_empty() {
        untold.shrink_to_fit();
    }
}
