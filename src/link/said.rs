//! L1: log lines that are said once while their condition lasts, and again when it comes back.
//!
//! A condition that every message or every connection meets would fill the log. Its owner keeps a
//! [`SaidOnce`] beside its counters, logs when [`SaidOnce::first`] says so, and calls
//! [`SaidOnce::ended`] when the condition is over. Without a call of `ended`, the line is said once
//! in the life of the process.

use std::mem;

/// Whether the line about a condition was logged since the condition began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaidOnce(bool);

impl SaidOnce {
    /// The condition holds: whether its line is to be logged, as it was not since it began.
    #[must_use = "the line counts as logged from here on"]
    pub fn first(&mut self) -> bool {
        !mem::replace(&mut self.0, true)
    }

    /// The condition does not hold: the next `first` is one again. Returns whether the line was
    /// logged, for the owner who wants to log that the condition has ended.
    pub fn ended(&mut self) -> bool {
        mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_and_again_when_its_condition_came_back() {
        let mut said = SaidOnce::default();
        assert!(!said.ended(), "nothing was said");
        assert_eq!([said.first(), said.first(), said.first()], [true, false, false]);
        assert_eq!([said.ended(), said.ended()], [true, false]);
        assert_eq!([said.first(), said.first()], [true, false]);
    }
}
