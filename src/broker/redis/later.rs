//! L1: what is to be published on the next link.
//!
//! It knows bytes and times, not who is served. Its rules:
//! * what waits has a limit in bytes, and each of it waits a few seconds at most;
//! * it goes out in the order in which it came.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::broker::history::script::SCRIPT;
use crate::broker::{HistorySize, Receipt};
use crate::link::LinkId;

/// How long anything waits.
pub(in crate::broker) const PATIENCE_MS: u64 = 5_000;
/// What the commands take besides the channel and the message.
const COMMAND_BYTES: usize = 64;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Later {
    waiting: VecDeque<Publication<'static>>,
    bytes: usize,
}

/// A message that a browser publishes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::broker) struct Publication<'a> {
    pub channel: Cow<'a, str>,
    pub payload: Cow<'a, [u8]>,
    /// Who shall not have it back.
    pub except: Option<LinkId>,
    /// Who is to be told what becomes of it.
    pub receipt: Option<Receipt>,
    /// How much its channel's history has, if it has one.
    pub history: Option<HistorySize>,
    /// It is to be stored alone: that it was published is likely.
    pub stored_only: bool,
    /// When it came.
    pub at_ms: u64,
    /// How often it was tried, of a node of a cluster.
    pub tries: u8,
}

impl Publication<'_> {
    pub(in crate::broker) fn cost(&self) -> usize {
        cost(&self.channel, &self.payload, self.history.is_some())
    }

    /// The same, for as long as it may have to wait.
    pub(in crate::broker) fn into_owned(self) -> Publication<'static> {
        let Publication { channel, payload, .. } = self;
        let (channel, payload) = (channel.into_owned().into(), payload.into_owned().into());
        let Publication { except, receipt, history, stored_only, at_ms, tries, .. } = self;
        Publication { channel, payload, except, receipt, history, stored_only, at_ms, tries }
    }

    /// The same once more, to be stored alone or not.
    pub(super) fn copied(&self, stored_only: bool) -> Publication<'static> {
        let Publication { channel, payload, .. } = self;
        let (channel, payload) = (channel.to_string().into(), payload.to_vec().into());
        let &Publication { except, history, at_ms, tries, .. } = self;
        let receipt = self.receipt.filter(|_| !stored_only);
        Publication { channel, payload, except, receipt, history, stored_only, at_ms, tries }
    }
}

/// Bytes that publishing and storing a message takes, and recording it where that is done.
pub(super) fn cost(channel: &str, payload: &[u8], is_recorded: bool) -> usize {
    let script = if is_recorded { channel.len() + SCRIPT.len() + COMMAND_BYTES } else { 0 };
    2 * (channel.len() + payload.len() + COMMAND_BYTES) + script
}

impl Later {
    /// Bytes of all that waits.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets one more wait.
    pub(super) fn push(&mut self, publication: Publication<'static>) {
        self.bytes += publication.cost();
        self.waiting.push_back(publication);
    }

    /// The one that came first.
    pub(super) fn pop(&mut self) -> Option<Publication<'static>> {
        let publication = self.waiting.pop_front()?;
        self.bytes -= publication.cost();
        Some(publication)
    }

    /// The one that came first, if it is to be stored alone.
    pub(super) fn pop_stored_only(&mut self) -> Option<Publication<'static>> {
        self.waiting.front().filter(|publication| publication.stored_only)?;
        self.pop()
    }

    /// Takes what is published on such channels, in order.
    pub(super) fn take(&mut self, is_such: impl Fn(&str) -> bool) -> Vec<Publication<'static>> {
        let all = std::mem::take(&mut self.waiting).into_iter();
        let (taken, left): (Vec<_>, _) = all.partition(|one| is_such(&one.channel));
        self.waiting = left.into();
        self.bytes -= taken.iter().map(Publication::cost).sum::<usize>();
        taken
    }

    /// When the first has waited long enough.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.waiting.front().map(|publication| publication.at_ms + PATIENCE_MS)
    }

    /// Gives up what has waited long enough.
    pub(super) fn expire(&mut self, now_ms: u64) -> Vec<Publication<'static>> {
        let mut gone = Vec::new();
        while self.deadline_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            gone.extend(self.pop());
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_goes_in_order_and_no_later_than_after_its_time() {
        let mut later = Later::default();
        for at_ms in [0, 10, 20] {
            let (channel, payload) = ("c".into(), vec![at_ms as u8].into());
            let stored_only = at_ms == 10;
            later.push(Publication {
                channel,
                payload,
                except: None,
                receipt: None,
                history: None,
                stored_only,
                at_ms,
                tries: 0,
            });
        }
        assert_eq!(later.bytes(), 3 * cost("c", b"x", false));
        assert_eq!(later.deadline_ms(), Some(PATIENCE_MS));
        assert!(later.expire(PATIENCE_MS - 1).is_empty());
        assert_eq!(later.expire(PATIENCE_MS + 10).len(), 2);
        assert_eq!(later.pop().map(|publication| publication.at_ms), Some(20));
        assert!(later.is_empty() && later.bytes() == 0 && later.deadline_ms().is_none());
    }
}
