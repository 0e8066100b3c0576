//! L2: whether a new conn is accepted, which one is evicted to make room for it, and what is judged
//! otherwise from then on.

use super::Server;
use super::table::Party;
use crate::access::crowds::Network;
use crate::access::proxies::Via;
use crate::browser::settings::Settings;
use crate::browser::{Conn, Unserved};
use crate::link::timers::{self, Tick};
use crate::link::{LinkId, Now, Peer};

/// Conns beyond `--max-connections` that are accepted to be told so.
pub(crate) const SURPLUS: usize = 32;
/// So many of one address are told that it has too many; more are closed without a word.
const TOLD: usize = 8;
/// A conn that has not sent its request for this long may be evicted when all places are taken. A
/// younger one may just not have been read yet.
const PATIENCE_MS: u64 = 1_000;

impl Server {
    /// Takes over what can change while conns are open: who may come, what is granted, limits and
    /// timeouts. Conns keep what they were granted. What links, timers and parsers were made with
    /// stays as it was: the broker, the sources themselves, paths, pings, sizes of messages.
    pub fn renew(&mut self, settings: Settings) {
        self.cx.renew(settings);
    }

    /// Whether a conn may be accepted now. If not, it is to wait where it is. Who comes when the
    /// server ends is told so, and the loop decides when nobody comes any more.
    pub fn accepting(&self) -> bool {
        let settings = &self.cx.settings;
        let pending = self.cx.metrics.handshakes_pending as usize;
        self.conns() < settings.max_connections + SURPLUS
            && (pending < settings.max_handshakes
                || self.strangers.oldest().is_some_and(|came| came <= self.late()))
    }

    /// Names the link of a conn that was accepted from `peer`. Whom a trusted proxy passes on is
    /// counted when the proxy says who it is.
    pub fn accept(&mut self, peer: impl Into<Peer>, now: Now) -> LinkId {
        self.set_now(now);
        let peer = peer.into();
        let network = Network::of(peer.ip());
        let has_room = self.make_room();
        let via = self.cx.settings.proxies.via(peer.ip());
        let is_counted = via == Via::Direct && peer != Peer::Unix;
        let excess = if is_counted { self.cx.crowds.excess(network) } else { 0 };
        let unserved = match self.ending.has_begun() {
            true => Some(Unserved::Ending),
            false if excess > 0 => Some(Unserved::Crowded),
            false => (!has_room).then_some(Unserved::Full),
        };
        let conn = Conn::accepted(peer.ip(), via, unserved, false, &mut self.cx);
        let link = self.table.name(Party::Browser(conn));
        self.strangers.enter(link, network, self.cx.now.tick());
        if is_counted {
            self.cx.crowds.enter(link, network);
        }
        tracing::debug!("{link} accepted from {peer}");
        self.after(link);
        if excess > TOLD {
            self.cx.metrics.conns_crowded_total += 1;
            self.on_conn(link, |conn, cx| conn.drop_now(link, cx));
            self.route_effects();
        }
        link
    }

    /// The same for who has come where operators do: they are served when nobody else is.
    pub(crate) fn accept_operator(&mut self, peer: impl Into<Peer>, now: Now) -> LinkId {
        self.set_now(now);
        let peer = peer.into();
        let conn = Conn::accepted(peer.ip(), Via::Direct, None, true, &mut self.cx);
        let link = self.table.name(Party::Browser(conn));
        self.strangers.enter(link, Network::of(peer.ip()), self.cx.now.tick());
        tracing::debug!("{link} accepted from {peer}, where operators come");
        self.after(link);
        link
    }

    /// Has a stranger give way where there are as many handshakes as may be, or as many conns.
    /// Whether one more has room then.
    fn make_room(&mut self) -> bool {
        let settings = &self.cx.settings;
        let pending = self.cx.metrics.handshakes_pending as usize;
        let full = self.conns() >= settings.max_connections;
        if pending < settings.max_handshakes && !full {
            return true;
        }
        let table = &self.table;
        let may = |link| {
            let conn = table.peek_conn(link);
            conn.is_some_and(|conn| if full { conn.may_be_served() } else { conn.is_stranger() })
        };
        let first = self.strangers.first_to_go(self.late(), may);
        let Some(first) = first else { return !full };
        self.cx.metrics.strangers_evicted_total += 1;
        if self.said.strangers.first() {
            tracing::warn!(
                "connections that have not sent their request give way to others, see \
                 --max-handshakes and --max-per-address (said once; then counted)"
            );
        }
        self.on_conn(first, |conn, cx| conn.drop_now(first, cx));
        self.route_effects();
        true
    }

    /// Who came then, or before, and has not sent its request gives way.
    fn late(&self) -> Tick {
        self.cx.now.tick().saturating_sub(timers::ticks(PATIENCE_MS))
    }

    /// When the next stranger may give way to who cannot be accepted now.
    pub(super) fn room_ms(&self) -> Option<u64> {
        let pending = self.cx.metrics.handshakes_pending as usize;
        let came =
            self.strangers.oldest().filter(|_| pending >= self.cx.settings.max_handshakes)?;
        let at = came + timers::ticks(PATIENCE_MS);
        (at > self.cx.now.tick()).then(|| u64::from(at) * timers::TICK_MS)
    }

    /// Somebody who came from there is a stranger no more.
    pub(super) fn met(&mut self, network: Network) {
        let table = &self.table;
        let is_stranger = |link| table.peek_conn(link).is_some_and(|conn| conn.is_stranger());
        self.strangers.leave(network, is_stranger);
    }
}
