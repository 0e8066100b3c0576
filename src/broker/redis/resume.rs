//! L1: what is published on a link: what browsers publish now, and what has waited for a link.

use super::later::{Later, Publication};
use super::session::{Awaited, Session, Unsent};
use crate::broker::history::script::{self, WORDS_BEFORE_CHANNEL};
use crate::link::LinkId;
use crate::proto::resp::scalars;

impl Session {
    /// The server has greeted us: pings one that was in no state to answer, and stores what was
    /// published on the link that was lost. Its push may have been lost, too, so that is stored
    /// before anybody asks what is stored.
    pub(super) fn begin(&mut self, was_ill: bool, later: &mut Later, expire_s: u64, now_ms: u64) {
        if was_ill {
            self.command(&[b"PING"], Awaited::Ping, now_ms);
        }
        while let Some(publication) = later.pop_stored_only() {
            self.publish(&publication, expire_s, now_ms);
        }
    }

    /// Publishes all that has waited, and tells these conns when that is answered.
    pub(super) fn publish_all(
        &mut self,
        later: &mut Later,
        settling: Vec<LinkId>,
        expire_s: u64,
        now_ms: u64,
    ) {
        while let Some(publication) = later.pop() {
            self.publish(&publication, expire_s, now_ms);
        }
        for conn in settling {
            self.settle(conn);
        }
    }

    /// Publishes a message, and stores it for so many seconds if that is to be.
    pub(super) fn publish(&mut self, publication: &Publication<'_>, expire_s: u64, now_ms: u64) {
        let begin = |session: &Session| session.gone + session.out.len() as u64;
        let (publish, command) = (begin(self), self.commands());
        self.send(publication, now_ms);
        let last = if expire_s > 0 { begin(self) } else { publish };
        self.store(publication, expire_s, now_ms);
        let &Publication { except, receipt, history, stored_only, at_ms, .. } = publication;
        self.unsent.push_back(Unsent {
            publish,
            command,
            last,
            except,
            receipt,
            history,
            stored_only,
            at_ms,
        });
    }

    /// Publishes what another node of the cluster has said is about to belong here.
    pub(super) fn publish_ahead(
        &mut self,
        publication: &Publication<'_>,
        expire_s: u64,
        now_ms: u64,
    ) {
        // What is stored with it has its own answer where both were sent first: its key may be
        // there still, and one that is at both nodes cannot be moved.
        match publication.stored_only {
            false => {
                self.command(&[b"ASKING"], Awaited::Asking, now_ms);
                self.send(publication, now_ms);
            }
            true if expire_s > 0 => {
                self.command(&[b"ASKING"], Awaited::Asking, now_ms);
                self.store(publication, expire_s, now_ms);
            }
            true => {}
        }
    }

    fn send(&mut self, publication: &Publication<'_>, now_ms: u64) {
        let Publication { channel, payload, except, receipt, history, .. } = publication;
        if publication.stored_only {
            return;
        }
        if let Some(conn) = except {
            self.withhold(channel, payload, *conn);
        }
        match history {
            None => {
                // All nodes take the other form, whoever has the slot.
                let is_sharded = self.is_sharded();
                let kept = if is_sharded { self.kept(publication, false) } else { None };
                let word: &[u8] = if is_sharded { b"SPUBLISH" } else { b"PUBLISH" };
                let awaited = Awaited::Publish(*receipt, kept);
                self.command(&[word, channel.as_bytes(), payload], awaited, now_ms);
            }
            Some(size) => {
                let kept = self.kept(publication, false);
                self.awaits(Awaited::Record(*receipt, kept), now_ms);
                let is_sharded = self.is_sharded();
                script::publish(&mut self.out, channel, payload, *size, is_sharded);
            }
        }
    }

    fn store(&mut self, publication: &Publication<'_>, expire_s: u64, now_ms: u64) {
        if expire_s == 0 {
            return;
        }
        let Publication { channel, payload, .. } = publication;
        let expire_s = expire_s.to_string();
        let set: [&[u8]; 5] = [b"SET", channel.as_bytes(), payload, b"EX", expire_s.as_bytes()];
        let kept = self.kept(publication, true);
        self.command(&set, Awaited::Set(kept), now_ms);
    }

    /// What a publication is of which some waits in the bytes to be sent.
    pub(super) fn publication(&self, unsent: &Unsent) -> Option<Publication<'static>> {
        let whole = unsent.publish >= self.gone + self.sent as u64;
        let begin = if whole { unsent.publish } else { unsent.last };
        let command = self.out.get((begin - self.gone) as usize..)?;
        let is_script = unsent.history.is_some() && whole && !unsent.stored_only;
        let before = if is_script { WORDS_BEFORE_CHANNEL } else { 1 };
        let mut words = scalars(command).skip(before);
        let channel = std::str::from_utf8(words.next()?).ok()?.to_owned().into();
        let payload = words.next()?.to_owned().into();
        let (except, history, at_ms) = (unsent.except, unsent.history, unsent.at_ms);
        let stored_only = unsent.stored_only || !whole;
        let receipt = unsent.receipt.filter(|_| !stored_only);
        let tries = 0;
        Some(Publication { channel, payload, except, receipt, history, stored_only, at_ms, tries })
    }
}
