//! Who is told that Redis was away: conns that asked to be, once an outage, as soon as all that
//! they hear is confirmed again.
//!
//! It knows which conns are to be told and how many of their channels are missing; not what is
//! published. What they are told is an empty message: none that is published is empty, so that
//! nobody else can say it.

use std::collections::HashMap;
use std::hash::RandomState;

use super::handout::Packet;
use super::table::Table;
use crate::browser::{Conn, Context};
use crate::fanout::hub::{ChannelId, Hub};
use crate::fanout::stored::{ChannelState, Released};
use crate::link::LinkId;

/// The conns that are to be told.
#[derive(Debug)]
pub(super) struct Gaps {
    /// Channels of each that are yet to be confirmed; it has at least one.
    missing: HashMap<LinkId, usize, RandomState>,
}

impl Gaps {
    pub(super) fn new(keys: RandomState) -> Self {
        Gaps { missing: HashMap::with_hasher(keys) }
    }

    /// The broker is up again and has confirmed nothing. Whoever is open was so before the outage;
    /// who was not told of the last one is told of both at once.
    pub(super) fn begin(&mut self, hub: &Hub<ChannelState>, table: &Table) {
        self.missing.clear();
        for link in table.conns(Conn::asks_for_gaps) {
            let channels = hub.channels_of(link.index).len();
            if channels > 0 {
                self.missing.insert(link, channels);
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
        if self.missing.is_empty() {
            return;
        }
        let mut told = Vec::new();
        for index in hub.subscribers(channel) {
            let Some((link, _)) = table.at(index) else { continue };
            let Some(missing) = self.missing.get_mut(&link) else { continue };
            *missing -= 1;
            if *missing == 0 {
                self.missing.remove(&link);
                told.push(index);
            }
        }
        if self.missing.is_empty() {
            self.missing.shrink_to_fit();
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
        if !self.missing.is_empty() {
            self.missing.remove(&link);
        }
    }
}
