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
        let Publication { channel, payload, except, receipt, history, stored_only, at_ms } =
            publication;
        let begin = |session: &Session| session.gone + session.out.len() as u64;
        let publish = begin(self);
        let mut last = publish;
        if !stored_only {
            if let Some(conn) = except {
                self.withhold(channel.as_bytes(), payload, *conn);
            }
            match history {
                None => {
                    let command = [b"PUBLISH", channel.as_bytes(), payload];
                    self.command(&command, Awaited::Publish(*receipt), now_ms);
                }
                Some(size) => {
                    self.awaits(Awaited::Record(*receipt), now_ms);
                    script::publish(&mut self.out, channel, payload, *size);
                }
            }
        }
        if expire_s > 0 {
            last = begin(self);
            let expire_s = expire_s.to_string();
            let set: [&[u8]; 5] = [b"SET", channel.as_bytes(), payload, b"EX", expire_s.as_bytes()];
            self.command(&set, Awaited::Set, now_ms);
        }
        self.unsent.push_back(Unsent {
            publish,
            last,
            except: *except,
            receipt: *receipt,
            history: *history,
            stored_only: *stored_only,
            at_ms: *at_ms,
        });
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
        Some(Publication { channel, payload, except, receipt, history, stored_only, at_ms })
    }
}
