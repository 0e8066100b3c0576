//! L1: the sentinels that say where the Redis of a name is now.
//!
//! It knows a link to each of them, what each says, and what follows from all of it: an address.
//! It has no socket and no clock, and does not know Redis itself; `one` is about a single sentinel.
//! Its rules:
//! * all sentinels are asked, all the time: one may be cut off together with the Redis that it
//!   still takes for the master;
//! * of what they say the highest epoch of the configuration counts. What has a lower epoch than
//!   what was followed before counts only where most of them say it: they were set up anew;
//! * where none of them answers, Redis is where it was.

mod one;

use std::collections::VecDeque;

use super::Sentinels;
use crate::link::{LinkId, Target};
use one::{Due, Sentinel};

/// What the owner is to do about a link to a sentinel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentinelErrand {
    /// Dial the sentinel of that number, and say what the link is called with [`Watch::dialing`].
    Dial(usize, Target),
    /// Close a link: it is forgotten here.
    Close(LinkId),
}

/// Something that whoever runs the server wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentinelNotice {
    /// A sentinel is of no use, which it was before, or for another reason than before.
    Useless {
        /// Where it is.
        at: Target,
        /// Why.
        reason: String,
        /// None of them is of use now.
        last: bool,
    },
    /// A sentinel is of use, which it was not before.
    Useful {
        /// Where it is.
        at: Target,
    },
    /// Redis is somewhere else than before, or is found.
    Found {
        /// Where Redis is.
        at: Target,
        /// The epoch of the sentinels' configuration.
        epoch: u64,
        /// Which sentinel has said it.
        by: Target,
    },
}

/// Where a master is, as a sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    epoch: u64,
    host: String,
    port: u16,
}

/// All sentinels of one Redis.
#[derive(Debug)]
pub struct Watch {
    sentinels: Vec<Sentinel>,
    is_tls: bool,
    decided: Option<View>,
    errands: VecDeque<SentinelErrand>,
    notices: VecDeque<SentinelNotice>,
}

impl Watch {
    /// Nobody is dialed yet. `seed` is for the jitter of dials, `timeout_ms` for what is due.
    pub fn new(settings: &Sentinels, timeout_ms: u64, seed: u64) -> Watch {
        let of_each = settings.targets.iter().zip(1..);
        let sentinel = |(target, number): (&Target, u64)| {
            let seed = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            Sentinel::new(settings, target.clone(), timeout_ms, seed)
        };
        Watch {
            sentinels: of_each.map(sentinel).collect(),
            is_tls: settings.is_tls(),
            decided: None,
            errands: VecDeque::new(),
            notices: VecDeque::new(),
        }
    }

    /// Where Redis is, if a sentinel has ever said it.
    pub fn target(&self) -> Option<Target> {
        let View { host, port, .. } = self.decided.clone()?;
        Some(match self.is_tls {
            true => Target::Tls { host, port },
            false => Target::Tcp { host, port },
        })
    }

    /// Whether each of them was tried, and none is of use.
    pub(super) fn is_dark(&self) -> bool {
        self.sentinels.iter().all(Sentinel::is_useless)
    }

    /// How many of them say where Redis is.
    pub fn useful(&self) -> usize {
        self.sentinels.iter().filter(|sentinel| sentinel.view().is_some()).count()
    }

    /// What is to be done about a link, if anything is.
    pub fn next_errand(&mut self) -> Option<SentinelErrand> {
        self.errands.pop_front()
    }

    /// What is to be said, if anything is.
    pub fn next_notice(&mut self) -> Option<SentinelNotice> {
        self.notices.pop_front()
    }

    /// Lets time pass: dials, asks, and gives up what has not answered.
    pub fn tick(&mut self, now_ms: u64) {
        for at in 0..self.sentinels.len() {
            match self.sentinels[at].tick(now_ms) {
                Some(Due::Dial) => {
                    let target = self.sentinels[at].target().clone();
                    self.errands.push_back(SentinelErrand::Dial(at, target));
                }
                Some(Due::GiveUp) => self.lost(at, self.sentinels[at].late(), now_ms),
                None => {}
            }
        }
    }

    /// When [`Watch::tick`] has something to do next.
    pub fn deadline_ms(&self) -> u64 {
        self.sentinels.iter().map(Sentinel::deadline_ms).min().unwrap_or(u64::MAX)
    }

    /// The name of the sentinel of that number is being looked up, or was.
    pub fn on_lookup(&mut self, at: usize, begins: bool, now_ms: u64) {
        self.sentinels[at].on_lookup(begins, now_ms);
    }

    /// The link to the sentinel of that number is being dialed, under this name.
    pub fn dialing(&mut self, at: usize, link: LinkId) {
        if !self.sentinels[at].dialing(link) {
            self.errands.push_back(SentinelErrand::Close(link));
        }
    }

    /// The dial succeeded.
    pub fn connected(&mut self, at: usize, now_ms: u64) {
        self.sentinels[at].connected(now_ms);
    }

    /// Bytes arrived.
    pub fn received(&mut self, at: usize, bytes: &[u8], now_ms: u64) {
        let was_useful = self.sentinels[at].view().is_some();
        match self.sentinels[at].received(bytes, now_ms) {
            Ok(switched) => {
                if switched {
                    self.sentinels.iter_mut().for_each(|sentinel| sentinel.ask_soon(now_ms));
                }
                if !was_useful && self.sentinels[at].view().is_some() {
                    let at = self.sentinels[at].target().clone();
                    self.notices.push_back(SentinelNotice::Useful { at });
                }
                self.decide();
            }
            Err(reason) => self.lost(at, &reason, now_ms),
        }
    }

    /// The link has ended, or failed, or could not be made.
    pub fn hung_up(&mut self, at: usize, failure: Option<&str>, now_ms: u64) {
        self.lost(at, failure.unwrap_or("it hung up"), now_ms);
    }

    /// The name of the link to the sentinel of that number.
    pub fn link(&self, at: usize) -> Option<LinkId> {
        self.sentinels[at].link()
    }

    /// The links for which bytes wait.
    pub fn to_flush(&self) -> impl Iterator<Item = LinkId> {
        self.sentinels.iter().filter(|one| !one.unsent().is_empty()).filter_map(Sentinel::link)
    }

    /// Bytes that wait to be sent to the sentinel of that number.
    pub fn unsent(&self, at: usize) -> &[u8] {
        self.sentinels[at].unsent()
    }

    /// The first `n` of those are sent; true when that was all.
    pub fn advance(&mut self, at: usize, n: usize) -> bool {
        self.sentinels[at].advance(n)
    }

    /// Redis is a replica where they say. Nobody may have said otherwise yet; where another of the
    /// same epoch does, that counts now: sentinels that were set up anew begin with one epoch.
    pub(super) fn refute(&mut self) {
        let Some(decided) = &self.decided else { return };
        let other = |view: &&View| view.epoch == decided.epoch && *view != decided;
        let mut sentinels = self.sentinels.iter();
        let by = sentinels.find(|sentinel| sentinel.view().is_some_and(|view| other(&view)));
        let Some((view, by)) = by.and_then(|by| Some((by.view()?.clone(), by.target().clone())))
        else {
            return;
        };
        let epoch = view.epoch;
        self.decided = Some(view);
        let found = self.target().map(|at| SentinelNotice::Found { at, epoch, by });
        self.notices.extend(found);
    }

    fn lost(&mut self, at: usize, reason: &str, now_ms: u64) {
        let link = self.sentinels[at].link();
        self.errands.extend(link.map(SentinelErrand::Close));
        if self.sentinels[at].lost(reason, now_ms) {
            let (at, reason) = (self.sentinels[at].target().clone(), reason.to_owned());
            let last = self.is_dark();
            self.notices.push_back(SentinelNotice::Useless { at, reason, last });
        }
    }

    /// What follows from all that the sentinels say.
    fn decide(&mut self) {
        let views = || self.sentinels.iter().filter_map(Sentinel::view);
        let Some(highest) = views().map(|view| view.epoch).max() else { return };
        let mut best = views().filter(|view| view.epoch == highest);
        let Some(first) = best.next() else { return };
        let follows = match &self.decided {
            None => true,
            Some(decided) if highest > decided.epoch => true,
            // One epoch is one address; the same one may have two names.
            Some(decided) if highest == decided.epoch => {
                first != decided && !best.any(|view| view == decided)
            }
            Some(_) => views().filter(|view| *view == first).count() * 2 > self.sentinels.len(),
        };
        if !follows {
            return;
        }
        let view = first.clone();
        let says = |sentinel: &&Sentinel| sentinel.view() == Some(&view);
        let by = self.sentinels.iter().find(says).map(|sentinel| sentinel.target().clone());
        let before = self.target();
        let epoch = view.epoch;
        self.decided = Some(view);
        let found = self.target().filter(|at| Some(at) != before.as_ref());
        if let Some((at, by)) = found.zip(by) {
            self.notices.push_back(SentinelNotice::Found { at, epoch, by });
        }
    }
}

#[cfg(test)]
mod tests;
