//! Who is told that Redis was away: conns that asked to be, once an outage of a node, as soon as
//! all that they hear of it is confirmed again.
//!
//! It knows which conns are to be told and how many of their channels are missing; not what is
//! published. What they are told is an empty message: none that is published is empty, so that
//! nobody else can say it.

use std::collections::HashMap;
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
    /// Channels of each that are yet to be confirmed, by the node that has them; it has at least
    /// one.
    missing: Box<[HashMap<LinkId, usize, RandomState>]>,
    spread: Spread,
}

impl Gaps {
    pub(super) fn new(spread: Spread, keys: RandomState) -> Self {
        let missing = vec![HashMap::with_hasher(keys); spread.most_nodes()];
        Gaps { missing: missing.into(), spread }
    }

    /// Channels are spread otherwise from now on.
    pub(super) fn set_spread(&mut self, spread: Spread) {
        self.spread = spread;
    }

    /// Whoever is to be told is to be expected anew.
    pub(super) fn forget_all(&mut self) {
        self.missing.iter_mut().for_each(HashMap::clear);
    }

    /// A node of the broker is up again and has confirmed nothing. Whoever is open was so before
    /// the outage; who was not told of the last one is told of both at once.
    pub(super) fn begin(&mut self, node: usize, hub: &Hub<ChannelState>, table: &Table) {
        let missing = &mut self.missing[node];
        missing.clear();
        for link in table.conns(Conn::asks_for_gaps) {
            let channels = hub.channels_of(link.index);
            let own = |channel: &ChannelId| self.spread.hears(hub.name(*channel)) == node;
            let channels = channels.filter(own).count();
            if channels > 0 {
                missing.insert(link, channels);
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
                *self.missing[node].entry(link).or_default() += 1;
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
        if self.missing.iter().all(HashMap::is_empty) {
            return;
        }
        let missing = &mut self.missing[self.spread.hears(hub.name(channel))];
        let mut told = Vec::new();
        for index in hub.subscribers(channel) {
            let Some((link, _)) = table.at(index) else { continue };
            let Some(left) = missing.get_mut(&link) else { continue };
            *left -= 1;
            if *left == 0 {
                missing.remove(&link);
                told.push(index);
            }
        }
        if missing.is_empty() {
            missing.shrink_to_fit();
        }
        let nothing = Released::default();
        let mut packet = Packet::new(channel, Some(b""), &nothing);
        let receivers = told.len();
        for index in told {
            packet.hand(index, 0, true, receivers, slow, table, cx);
        }
    }

    /// A conn hears nothing more.
    pub(super) fn forget(&mut self, link: LinkId) {
        for missing in self.missing.iter_mut().filter(|missing| !missing.is_empty()) {
            missing.remove(&link);
        }
    }
}
