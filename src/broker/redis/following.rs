//! L1: where Redis is: always at one place, or where its sentinels say.

use super::{Redis, State};
use crate::broker::{RedisAddress, Watch};
use crate::link::Target;

impl Redis {
    /// What to say of it when it is given up.
    pub(crate) fn late(&self) -> &'static str {
        match (self.state, &self.dialed) {
            (State::Dialing { .. }, Some(target)) => target.late_dial(),
            _ => "it did not answer in time",
        }
    }

    /// Where it is to be dialed, if that is known.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// What was said of where it is.
    pub fn address(&self) -> &RedisAddress {
        &self.settings.address
    }

    /// Where it was dialed last, for people.
    pub fn dialed(&self) -> String {
        match &self.dialed {
            Some(target) => target.to_string(),
            None => self.settings.address.to_string(),
        }
    }

    /// Who says where it is, if anybody does.
    pub fn watch(&mut self) -> Option<&mut Watch> {
        self.watch.as_deref_mut()
    }

    /// The same, to be looked at.
    pub fn peek_watch(&self) -> Option<&Watch> {
        self.watch.as_deref()
    }

    /// Goes where the sentinels say now: whether the link is to be left for that.
    pub fn follow(&mut self, now_ms: u64) -> bool {
        let Some(target) = self.watch.as_deref().and_then(Watch::target) else { return false };
        if self.target.as_ref() != Some(&target) {
            self.target = Some(target);
            if let State::Resting { until_ms } = &mut self.state {
                *until_ms = now_ms;
            }
        }
        self.has_moved()
    }

    /// It is a replica there. Other sentinels may know better; the next dial waits all the same.
    pub fn refute(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.refute();
            self.target = watch.target().or(self.target.take());
        }
    }

    /// Whether it is elsewhere than it was dialed.
    pub(super) fn has_moved(&self) -> bool {
        !matches!(self.state, State::Resting { .. }) && self.dialed != self.target
    }

    /// Whether nobody can say where it is.
    pub(super) fn is_nowhere(&self) -> bool {
        self.target.is_none() && self.watch.as_ref().is_some_and(|watch| watch.is_dark())
    }
}
