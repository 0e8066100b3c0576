//! L2: conns whose request is not complete yet.
//!
//! It knows links and networks. Its rules:
//! * room is made by evicting the oldest stranger of the network that has the most strangers: a
//!   peer that opens sockets and sends nothing loses only its own;
//! * a conn is not evicted before its request can have been read. Until then newcomers wait in the
//!   kernel's queue;
//! * the cost of a handshake does not depend on the number of strangers.

use std::collections::{BTreeMap, VecDeque};

use crate::access::crowds::Network;
use crate::link::LinkId;
use crate::link::timers::Tick;

/// Networks without a stranger that are kept, which is cheaper than to forget and learn them.
const IDLE_NETWORKS: usize = 256;

/// Conns whose request is not whole.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// In the order of their coming, each with its time. The first is one; of the others some are
    /// strangers no more.
    order: VecDeque<(LinkId, Network, Tick)>,
    counts: BTreeMap<Network, u32>,
    count: usize,
}

impl Strangers {
    /// Somebody has come.
    pub(super) fn enter(&mut self, link: LinkId, network: Network, now: Tick) {
        self.order.push_back((link, network, now));
        *self.counts.entry(network).or_default() += 1;
        self.count += 1;
    }

    /// Somebody is a stranger no more; `is` tells who still is one.
    pub(super) fn leave(&mut self, network: Network, is: impl Fn(LinkId) -> bool) {
        let Some(count) = self.counts.get_mut(&network) else { return };
        *count -= 1;
        let last = *count == 0;
        self.count -= 1;
        if last && self.counts.len() > IDLE_NETWORKS {
            self.counts.remove(&network);
        }
        if self.count == 0 {
            self.order.clear();
        } else if self.order.len() > 2 * self.count + IDLE_NETWORKS {
            self.order.retain(|(link, ..)| is(*link));
        }
        while self.order.front().is_some_and(|(link, ..)| !is(*link)) {
            self.order.pop_front();
        }
    }

    /// It has become known where a stranger really comes from.
    pub(super) fn rename(&mut self, link: LinkId, from: Network, to: Network) {
        // Whoever says it does so at once, so it is among the last.
        let Some(entry) = self.order.iter_mut().rfind(|(of, ..)| *of == link) else { return };
        entry.1 = to;
        *self.counts.entry(to).or_default() += 1;
        if let Some(count) = self.counts.get_mut(&from) {
            *count -= 1;
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// When the oldest of them came.
    pub(super) fn oldest(&self) -> Option<Tick> {
        self.order.front().map(|(.., came)| *came)
    }

    /// The one that gives way to others: of those who may and came no later than `late`.
    pub(super) fn first_to_go(&self, late: Tick, may: impl Fn(LinkId) -> bool) -> Option<LinkId> {
        let most = *self.counts.values().max()?;
        let first = |of: &dyn Fn(&Network) -> bool| {
            let mut order = self.order.iter().take_while(|(.., came)| *came <= late);
            order.find(|(link, network, _)| of(network) && may(*link)).map(|(link, ..)| *link)
        };
        let has_most = |network: &Network| self.counts.get(network) == Some(&most);
        first(&has_most).or_else(|| first(&|_| true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::IpAddr;

    fn network(text: &str) -> Network {
        Network::of(Some(text.parse().expect("an address")))
    }

    fn link(index: u32) -> LinkId {
        LinkId { index, generation: index + 1 }
    }

    #[test]
    fn the_oldest_of_the_network_that_has_most_is_the_first_to_go() {
        let mut strangers = Strangers::default();
        assert_eq!(strangers.first_to_go(9, |_| true), None);
        for (index, address) in ["a", "b", "b", "c", "b", "c"].iter().enumerate() {
            let number = address.as_bytes()[0];
            strangers.enter(link(index as u32), network(&format!("192.0.2.{number}")), 9);
        }
        assert_eq!(strangers.first_to_go(8, |_| true), None, "they have just come");
        assert_eq!(strangers.first_to_go(9, |_| true), Some(link(1)));
        // One that is gone is passed over, and counts no more.
        strangers.leave(network("192.0.2.98"), |_| true);
        assert_eq!(strangers.first_to_go(9, |of| of != link(1)), Some(link(2)));
        strangers.leave(network("192.0.2.98"), |_| true);
        assert_eq!(strangers.first_to_go(9, |of| of.index > 2), Some(link(3)), "c has more now");
        assert_eq!(strangers.count(), 4);
    }

    #[test]
    fn those_who_are_strangers_no_more_do_not_pile_up() {
        let mut strangers = Strangers::default();
        strangers.enter(link(0), network("192.0.2.1"), 9);
        for index in 1..100_000 {
            let network = Network::of(Some(IpAddr::V4(index.into())));
            strangers.enter(link(index), network, 9);
            strangers.leave(network, |of| of == link(0));
        }
        assert!(strangers.order.len() <= 2 + IDLE_NETWORKS, "{}", strangers.order.len());
        assert!(strangers.counts.len() <= 2 + IDLE_NETWORKS, "{}", strangers.counts.len());
        assert_eq!(strangers.first_to_go(9, |of| of == link(0)), Some(link(0)));
    }
}
