//! L2: links of others than browsers: the same verbs, out of the ways of conns, where every
//! instruction counts; and what is to be written to any link next.

use std::io::IoSlice;

use super::Server;
use super::table::Party;
use crate::link::{Gathered, LinkId, Wish};

impl Server {
    /// What such a link wants of the loop as to its input.
    #[inline(never)]
    pub(super) fn wish_of_another(&self, link: LinkId) -> Wish {
        match self.table.peek(link).map(|slot| &slot.party) {
            Some(Party::Redis(node)) if self.broker.has_kept(*node) => Wish::GoOn,
            Some(Party::Client(client)) => client.wish(),
            Some(Party::Redis(_) | Party::Sentinel(..) | Party::App(_)) => Wish::Read,
            Some(Party::Handler(at)) => self.handler_wish(*at),
            Some(Party::Guest(at)) => self.proxy.guest_wish(*at),
            Some(Party::Uplink(at)) => self.proxy.uplink_wish(*at),
            Some(Party::Browser(_) | Party::Gone(_)) | None => Wish::Rest,
        }
    }

    /// The bytes that may be sent to a link, as [`Server::slices`] gives them, for one write: small
    /// parts are put together. Those for which there is room in `into` tell whether they are small:
    /// a few will do. Where it is filled, [`Server::slices`] gives more.
    #[inline]
    pub fn next_write<'a>(
        &'a self,
        link: LinkId,
        into: &mut [IoSlice<'a>],
        gathered: &'a mut Gathered,
    ) -> usize {
        match self.table.peek_conn(link) {
            Some(conn) => conn.next_write(into, gathered),
            None => self.slices_of_another(link, into),
        }
    }

    /// The bytes that may be sent to it.
    #[inline(never)]
    pub(super) fn slices_of_another<'a>(&'a self, link: LinkId, into: &mut [IoSlice<'a>]) -> usize {
        match self.table.peek(link).map(|slot| &slot.party) {
            Some(Party::Redis(node)) => fill(into, self.broker.unsent(*node)),
            Some(Party::Sentinel(node, at)) => {
                fill(into, self.peek_watch(*node).map_or(&[], |watch| watch.unsent(*at)))
            }
            Some(Party::App(at)) => {
                fill(into, self.application.as_ref().map_or(&[], |app| app.unsent(*at)))
            }
            Some(Party::Handler(at)) => fill(into, self.handlers[*at].unsent()),
            Some(Party::Client(client)) => fill(into, client.unsent()),
            Some(Party::Guest(at)) => fill(into, self.proxy.guest_unsent(*at)),
            Some(Party::Uplink(at)) => fill(into, self.proxy.uplink_unsent(*at)),
            Some(Party::Browser(_) | Party::Gone(_)) | None => 0,
        }
    }

    /// The first `n` of those bytes are sent.
    #[inline(never)]
    pub(super) fn advance_another(&mut self, link: LinkId, n: usize) {
        let Some(slot) = self.table.get(link) else { return };
        let sent = match &mut slot.party {
            Party::Redis(node) => self.broker.advance(*node, n),
            Party::Sentinel(node, at) => {
                let watch = self.broker.redis(*node).and_then(|redis| redis.watch());
                watch.is_none_or(|watch| watch.advance(*at, n))
            }
            Party::App(at) => self.application.as_mut().is_none_or(|app| app.advance(*at, n)),
            Party::Handler(at) => {
                let at = *at;
                return self.handler_advance(link, at, n);
            }
            Party::Client(client) => {
                client.advance(n);
                client.unsent().is_empty()
            }
            Party::Guest(_) | Party::Uplink(_) => return self.upstream_advance(link, n),
            Party::Browser(_) | Party::Gone(_) => true,
        };
        let is_client = matches!(slot.party, Party::Client(_));
        slot.blocked &= !sent;
        if self.cx.has_effects() {
            self.route_effects();
        }
        if is_client {
            self.after_client(link);
        }
    }

    /// Bytes arrived from it, or those that were left over when there are none.
    #[inline(never)]
    pub(super) fn another_received(&mut self, link: LinkId, bytes: &mut [u8]) {
        let now_ms = self.cx.now.mono_ms;
        match self.party(link) {
            Some(Party::Redis(node)) => {
                let node = *node;
                self.broker_received(node, bytes);
            }
            Some(Party::Sentinel(node, at)) => {
                let (node, at) = (*node, *at);
                self.on_sentinels(node, |watch, now_ms| watch.received(at, bytes, now_ms));
            }
            Some(Party::App(at)) => {
                let at = *at;
                self.application.iter_mut().for_each(|app| app.received(at, bytes, now_ms));
            }
            Some(Party::Handler(at)) => {
                let at = *at;
                self.handler_received(at, bytes);
            }
            Some(Party::Client(_)) => self.client_received(link, bytes),
            Some(Party::Guest(_) | Party::Uplink(_)) => self.upstream_received(link, bytes),
            Some(Party::Browser(_) | Party::Gone(_)) | None => {}
        }
    }
}

/// One slice of all that waits, if anything does.
fn fill<'a>(into: &mut [IoSlice<'a>], unsent: &'a [u8]) -> usize {
    match into.first_mut().filter(|_| !unsent.is_empty()) {
        None => 0,
        Some(slot) => {
            *slot = IoSlice::new(unsent);
            1
        }
    }
}
