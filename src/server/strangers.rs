//! L2: conns whose request is not complete yet, and the number of conns of each address.
//!
//! It knows links and networks. Its rules:
//! * an IPv6 address counts as its /64, because one peer has all of those;
//! * room is made by evicting the oldest stranger of the network that has the most strangers: a
//!   peer that opens sockets and sends nothing loses only its own;
//! * a conn is not evicted before its request can have been read. Until then newcomers wait in the
//!   kernel's queue;
//! * the cost of a handshake does not depend on the number of strangers.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::link::LinkId;
use crate::link::timers::Tick;

/// Networks without a stranger that are kept, which is cheaper than to forget and learn them.
const IDLE_NETWORKS: usize = 256;

/// An address as far as one peer has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Network(u128);

impl Network {
    /// That of an address.
    pub(crate) fn of(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(address) => Network(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Network(address.to_bits() >> 64 << 64),
        }
    }
}

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

/// How many conns each network has.
#[derive(Debug, Default)]
pub(super) struct Crowds {
    /// Most that one may have; 0 is any number, and then nothing is counted.
    most: usize,
    counts: BTreeMap<Network, usize>,
    /// By the place of a conn.
    networks: Vec<Option<Network>>,
}

impl Crowds {
    /// One may have so many; 0 is any number.
    pub(super) fn new(most: usize) -> Crowds {
        Crowds { most, ..Crowds::default() }
    }

    /// By how many a network would have too many with one more.
    pub(super) fn excess(&self, network: Network) -> usize {
        let count = self.counts.get(&network).copied().unwrap_or(0);
        if self.most == 0 { 0 } else { (count + 1).saturating_sub(self.most) }
    }

    /// A conn has come.
    pub(super) fn enter(&mut self, link: LinkId, network: Network) {
        if self.most > 0 {
            let index = link.index as usize;
            if self.networks.len() <= index {
                self.networks.resize(index + 1, None);
            }
            self.networks[index] = Some(network);
            *self.counts.entry(network).or_default() += 1;
        }
    }

    /// A conn has gone.
    pub(super) fn leave(&mut self, link: LinkId) {
        let network = self.networks.get_mut(link.index as usize).and_then(Option::take);
        if let Some(network) = network
            && let Some(count) = self.counts.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::of(text.parse().expect("an address"))
    }

    fn link(index: u32) -> LinkId {
        LinkId { index, generation: index + 1 }
    }

    #[test]
    fn an_address_is_its_network() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:1:2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "127.0.0.1", false),
        ] {
            assert_eq!(network(one) == network(other), same, "{one} {other}");
        }
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
            let network = Network::of(IpAddr::V4(index.into()));
            strangers.enter(link(index), network, 9);
            strangers.leave(network, |of| of == link(0));
        }
        assert!(strangers.order.len() <= 2 + IDLE_NETWORKS, "{}", strangers.order.len());
        assert!(strangers.counts.len() <= 2 + IDLE_NETWORKS, "{}", strangers.counts.len());
        assert_eq!(strangers.first_to_go(9, |of| of == link(0)), Some(link(0)));
    }

    #[test]
    fn a_network_has_as_many_as_it_may() {
        let mut crowds = Crowds::new(2);
        let here = network("192.0.2.1");
        let excess = |crowds: &Crowds| crowds.excess(here);
        for (index, before) in [(0, 0), (7, 0), (3, 1), (4, 2)] {
            assert_eq!(excess(&crowds), before);
            crowds.enter(link(index), here);
        }
        assert_eq!(crowds.excess(network("192.0.2.2")), 0);
        crowds.leave(link(7));
        crowds.leave(link(7));
        assert_eq!(excess(&crowds), 2);
        [0, 3, 4].into_iter().for_each(|index| crowds.leave(link(index)));
        assert_eq!((excess(&crowds), crowds.counts.len()), (0, 0));
        let mut any = Crowds::new(0);
        any.enter(link(0), here);
        assert_eq!((any.excess(here), any.networks.len()), (0, 0));
    }
}
