//! L1: what goes out on a link that is up, of what has waited for one.

use super::later::Later;
use super::session::{Awaited, Session};
use crate::link::LinkId;

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
}
