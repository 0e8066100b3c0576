//! L1: how often somebody may do something: a mean rate, and a second's worth of it at one time.
//!
//! Of each, one number is kept: the time at which what was done would be at the mean rate (the
//! generic cell rate algorithm). It knows times, not what is done.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::crowds::Network;
use crate::link::{LinkId, Now};

/// Most networks or users that are remembered; past it, who is not is let in.
const REMEMBERED: usize = 1 << 16;
const SECOND_US: u64 = 1_000_000;

/// A mean rate.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// From one to the next.
    every_us: u64,
}

impl Rate {
    /// So many a second; 0 is any number.
    fn new(a_second: usize) -> Option<Rate> {
        let every_us = SECOND_US.checked_div(a_second as u64)?;
        Some(Rate { every_us: every_us.max(1) })
    }

    /// Whether one more is within the rate; if so it is noted in `due_us`.
    fn allows(self, due_us: &mut u64, now_us: u64) -> bool {
        let due = (*due_us).max(now_us);
        let is_within = due + self.every_us <= now_us + SECOND_US.max(self.every_us);
        if is_within {
            *due_us = due + self.every_us;
        }
        is_within
    }
}

/// Of the messages of each conn, by its place.
#[derive(Debug, Default)]
pub(crate) struct MessageRates {
    rate: Option<Rate>,
    due_us: Vec<u64>,
}

impl MessageRates {
    /// So many a second from now on; 0 is any number.
    pub(crate) fn renew(&mut self, a_second: usize) {
        self.rate = Rate::new(a_second);
    }

    /// Whether there is one.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.rate.is_some()
    }

    /// A conn has opened at that place.
    pub(crate) fn begin(&mut self, link: LinkId) {
        if let Some(due_us) = self.due_us.get_mut(link.index as usize) {
            *due_us = 0;
        }
    }

    /// Whether a conn may say one more message.
    pub(crate) fn allows(&mut self, link: LinkId, now: Now) -> bool {
        let Some(rate) = self.rate else { return true };
        let index = link.index as usize;
        if self.due_us.len() <= index {
            self.due_us.resize(index + 1, 0);
        }
        rate.allows(&mut self.due_us[index], now.mono_ms * 1000)
    }
}

/// Of what each of some does, who are remembered while they have not rested.
#[derive(Debug)]
pub(crate) struct Rates<Who> {
    rate: Option<Rate>,
    due_us: BTreeMap<Who, u64>,
}

/// Of the handshakes of each network.
pub(crate) type HandshakeRates = Rates<Network>;

/// Of what is published by plain HTTP.
pub(crate) type PostRates = Rates<Publisher>;

/// Who publishes by plain HTTP: behind a proxy one connection may be of many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Publisher {
    /// This user.
    User(String),
    /// Nobody that is known, from there.
    Network(Network),
}

impl Publisher {
    /// Whoever is there.
    pub(crate) fn at(address: Option<IpAddr>) -> Publisher {
        Publisher::Network(Network::of(address))
    }
}

impl<Who> Default for Rates<Who> {
    fn default() -> Self {
        Rates { rate: None, due_us: BTreeMap::new() }
    }
}

impl<Who: Ord> Rates<Who> {
    /// So many a second from now on; 0 is any number.
    pub(crate) fn renew(&mut self, a_second: usize) {
        self.rate = Rate::new(a_second);
        if self.rate.is_none() {
            self.due_us.clear();
        }
    }

    /// Whether one more may come from there.
    pub(crate) fn allows(&mut self, who: Who, now: Now) -> bool {
        let Some(rate) = self.rate else { return true };
        let now_us = now.mono_ms * 1000;
        if self.due_us.len() >= REMEMBERED && !self.due_us.contains_key(&who) {
            self.due_us.retain(|_, due_us| *due_us > now_us);
            if self.due_us.len() >= REMEMBERED {
                return true;
            }
        }
        rate.allows(self.due_us.entry(who).or_default(), now_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_may_come_at_once_and_then_the_rate() {
        for a_second in [1, 3, 10, 1000] {
            let (rate, mut due_us) = (Rate::new(a_second).expect("a rate"), 0);
            let begin = 5_000_000;
            let at_once = (0..2 * a_second).filter(|_| rate.allows(&mut due_us, begin)).count();
            assert_eq!(at_once, a_second);
            // Whoever is refused is not punished for having tried.
            let mut later = 0;
            for ms in 1..=10_000 {
                later += usize::from(rate.allows(&mut due_us, begin + ms * 1000));
            }
            assert!((10 * a_second - 1..=10 * a_second).contains(&later), "{a_second} {later}");
        }
        assert!(Rate::new(0).is_none());
    }

    #[test]
    fn networks_that_have_rested_are_forgotten() {
        let mut rates = HandshakeRates::default();
        rates.renew(1);
        let network = |n: u32| Network::of(Some(std::net::Ipv4Addr::from_bits(n).into()));
        let at = |mono_ms| Now { mono_ms, unix_ms: 0 };
        for n in 0..REMEMBERED as u32 {
            assert!(rates.allows(network(n), at(1)) && !rates.allows(network(n), at(1)));
        }
        assert!(rates.allows(network(1 << 20), at(2)), "there is no room to know it");
        assert_eq!(rates.due_us.len(), REMEMBERED);
        assert!(rates.allows(network(1 << 20), at(5000)));
        assert_eq!(rates.due_us.len(), 1);
    }
}
