//! Every call that a world makes of the core, and nothing else.
//!
//! When the contract between the core and its loop changes, this file does.

use std::hash::RandomState;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use wsloop::internals::browser::Order;
use wsloop::{Gathered, Metrics, Now, Server, Settings, SocketEvent, Wish};

use super::{BEGIN_MS, World};

pub use wsloop::{Cause, Input, LinkId, Output};

/// Where every browser comes from.
const SOMEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 4321);
/// So few that some of what is small does not fit.
const GATHERED_BYTES: usize = 600;

/// A server of these settings.
pub(super) fn server(settings: Settings) -> Server {
    Server::new(settings, RandomState::new(), 1)
}

/// The bytes that may be sent to a link.
pub(super) fn unsent<'a>(server: &'a Server, link: LinkId, into: &mut [IoSlice<'a>]) -> usize {
    server.slices(link, into)
}

/// The same, for one write.
pub(super) fn next_write<'a>(
    server: &'a Server,
    link: LinkId,
    into: &mut [IoSlice<'a>],
    gathered: &'a mut Gathered,
) -> usize {
    server.next_write(link, into, gathered)
}

/// Room for what is put together for a write.
pub(super) fn gathered() -> Gathered {
    Gathered::of(GATHERED_BYTES)
}

impl World {
    /// What the server has counted.
    pub fn metrics(&self) -> &Metrics {
        self.server.metrics()
    }

    /// Whether a browser may connect now.
    pub fn accepting(&self) -> bool {
        self.server.accepting()
    }

    /// Whether a shutdown that was asked for is complete.
    pub fn is_done(&mut self) -> bool {
        self.server.is_done()
    }

    /// Whether the server has something more to do outside.
    pub fn has_output(&mut self) -> bool {
        self.next_output().is_some()
    }

    /// The time, as the server is told it.
    pub fn now(&self) -> Now {
        Now { mono_ms: self.now_ms, unix_ms: self.unix_ms() }
    }

    /// The time that the server is told, which it remembers should the clock go back.
    fn told_now(&mut self) -> Now {
        self.latest_ms = self.latest_ms();
        self.now()
    }

    /// The time of day.
    pub fn unix_ms(&self) -> u64 {
        self.begin_unix_ms + self.now_ms.saturating_sub(BEGIN_MS)
    }

    /// The application of an endpoint wants something.
    pub fn order(&mut self, order: Order) {
        let now = self.told_now();
        self.server.obey([order].into_iter(), now);
        self.run();
    }

    /// What has happened at an endpoint, on its way to an application that does not receive.
    pub fn told(&mut self, endpoint: usize) -> Vec<SocketEvent> {
        let mut events = Vec::new();
        self.server.take_events(endpoint, &mut events);
        events
    }

    /// The same, and the application receives it.
    pub fn events(&mut self, endpoint: usize) -> Vec<SocketEvent> {
        let told = self.told(endpoint);
        self.received(endpoint, &told);
        told
    }

    /// The application receives these.
    pub fn received(&mut self, endpoint: usize, events: &[SocketEvent]) {
        let bytes = events.iter().map(SocketEvent::held_bytes).sum();
        self.order(Order::Received { endpoint, events: events.len(), bytes });
    }

    pub(super) fn accept_browser(&mut self, from: Option<IpAddr>) -> LinkId {
        let peer = from.map_or(SOMEWHERE, |address| SocketAddr::new(address, 4321));
        let now = self.told_now();
        self.server.accept(peer, now)
    }

    pub(super) fn accept_resp_client(&mut self) -> LinkId {
        let now = self.told_now();
        self.server.accept_client(SOMEWHERE, now)
    }

    pub(super) fn handle(&mut self, input: Input<'_>) {
        let now = self.told_now();
        self.server.handle(input, now);
    }

    pub(super) fn handle_bytes(&mut self, link: LinkId, bytes: &mut [u8]) {
        let filled = self.fill(link, bytes);
        if filled < bytes.len() {
            self.handle(Input::Received { link, bytes: &mut bytes[filled..] });
        }
        self.leave_over(link);
    }

    /// Puts the front of what arrived where a link has room for it. Returns how much that was.
    fn fill(&mut self, link: LinkId, bytes: &[u8]) -> usize {
        if self.server.wish(link) != Wish::Fill {
            return 0;
        }
        let Some(room) = self.server.room(link, 0) else { return 0 };
        let filled = bytes.len().min(room.capacity() - room.len());
        room.extend_from_slice(&bytes[..filled]);
        self.handle(Input::Filled { link, bytes: filled });
        filled
    }

    pub(super) fn tick(&mut self) {
        let now = self.told_now();
        self.server.tick(now);
    }

    /// Whether a link is to be read now. One that rests is not asked again until the server names
    /// it.
    pub(super) fn is_reading(&mut self, link: LinkId) -> bool {
        if self.resting.contains(&link) {
            return false;
        }
        let wish = self.server.wish(link);
        self.resting.extend((wish == Wish::Rest).then_some(link));
        matches!(wish, Wish::Read | Wish::Fill)
    }

    /// Lets a link that is among the leftovers go on, if that is what it wants.
    pub(super) fn go_on(&mut self, link: LinkId) {
        if self.server.wish(link) == Wish::GoOn {
            self.handle(Input::WentOn { link });
        }
        self.leave_over(link);
    }

    /// The server asks for a link's wish again.
    pub(super) fn resume_reading(&mut self, link: LinkId) {
        self.resting.retain(|resting| *resting != link);
        self.leave_over(link);
    }

    fn leave_over(&mut self, link: LinkId) {
        let more = matches!(self.server.wish(link), Wish::GoOn | Wish::Later);
        if more && !self.leftovers.contains(&link) {
            self.leftovers.push(link);
        }
    }

    pub(super) fn next_output(&mut self) -> Option<Output> {
        self.server.poll_output()
    }

    pub(super) fn advance(&mut self, link: LinkId, taken: usize) {
        self.server.advance(link, taken);
    }

    pub(super) fn next_deadline_ms(&mut self) -> Option<u64> {
        self.server.next_deadline_ms()
    }
}
