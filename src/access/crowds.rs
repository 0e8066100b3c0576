//! L1: the number of conns of each address.
//!
//! Its rule: an IPv6 address counts as its /64, because one peer has all of those.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::link::LinkId;

/// An address as far as one peer has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network(u128);

impl Network {
    /// That of an address; whoever comes by a Unix socket has one of their own.
    pub(crate) fn of(address: Option<IpAddr>) -> Network {
        match address.map(|address| address.to_canonical()) {
            None => Network(0),
            Some(IpAddr::V4(address)) => Network(address.to_ipv6_mapped().to_bits()),
            Some(IpAddr::V6(address)) => Network(address.to_bits() >> 64 << 64),
        }
    }
}

/// How many conns each network has.
#[derive(Debug, Default)]
pub(crate) struct Crowds {
    /// Most that one may have; 0 is any number, and then nothing is counted.
    most: usize,
    counts: BTreeMap<Network, usize>,
    /// By the place of a conn.
    networks: Vec<Option<Network>>,
}

impl Crowds {
    /// One may have so many; 0 is any number.
    pub(crate) fn new(most: usize) -> Crowds {
        Crowds { most, ..Crowds::default() }
    }

    /// The same from now on: who came while it was any number is not counted.
    pub(crate) fn renew(&mut self, most: usize) {
        self.most = most;
    }

    /// By how many a network would have too many with one more.
    pub(crate) fn excess(&self, network: Network) -> usize {
        let count = self.counts.get(&network).copied().unwrap_or(0);
        if self.most == 0 { 0 } else { (count + 1).saturating_sub(self.most) }
    }

    /// A conn has come.
    pub(crate) fn enter(&mut self, link: LinkId, network: Network) {
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
    pub(crate) fn leave(&mut self, link: LinkId) {
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
        Network::of(Some(text.parse().expect("an address")))
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
