//! L1: how subscriptions that stay at their shard end.
//!
//! A node that loses a slot ends what is heard of it, with the push that also confirms a
//! SUNSUBSCRIBE; one that comes after that is answered with MOVED as well. So such a push does not
//! say whether an answer is still to come. A HELLO behind the commands does: no user can be denied
//! it, it is answered while a script runs, and it is not answered with an error.

use std::collections::BTreeSet;
use std::str;
use std::sync::Arc;

use super::errors::unquoted;
use super::session::{Awaited, Session};
use crate::broker::{BrokerEvent, Notice};
use crate::proto::resp;

/// With its version: without one, some servers that speak as Redis does go back to RESP2.
const HELLO: &[u8] = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n";

impl Session {
    /// Asks for no more messages of that channel. Those that end together share a HELLO, of whose
    /// answers Redis would otherwise keep too many.
    pub(super) fn unsubscribe_shard(&mut self, channel: Arc<str>, now_ms: u64) {
        match self.awaited.back_mut() {
            Some(Awaited::ShardUnsubscribe(names)) if self.out.len() - self.sent >= HELLO.len() => {
                names.insert(channel.clone());
                self.out.truncate(self.out.len() - HELLO.len());
            }
            _ => {
                let names = BTreeSet::from([channel.clone()]);
                self.awaits(Awaited::ShardUnsubscribe(names), now_ms);
            }
        }
        resp::command(&mut self.out, &[b"SUNSUBSCRIBE", channel.as_bytes()]);
        self.out.extend_from_slice(HELLO);
    }

    /// A channel is heard here no more, as was asked for or as the slot has gone.
    pub(super) fn on_shard_unsubscribed<'a>(&mut self, channel: &'a [u8]) -> BrokerEvent<'a> {
        let name = str::from_utf8(channel).unwrap_or_default();
        let is_due = match self.awaited.front_mut() {
            Some(Awaited::ShardUnsubscribe(names)) => names.remove(name),
            _ => false,
        };
        if is_due { BrokerEvent::Quiet } else { BrokerEvent::Unheard { channel } }
    }

    /// An error while those are awaited is about one of them.
    pub(super) fn on_shard_unsubscribe_refused<'a>(&self, reason: &str) -> BrokerEvent<'a> {
        let reason = unquoted(reason);
        match self.redirects(&reason) {
            true => BrokerEvent::Quiet,
            false => BrokerEvent::Notice(Notice::Refused { reason }),
        }
    }
}
