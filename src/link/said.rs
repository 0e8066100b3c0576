//! L1: log lines that are said once while their condition lasts, and again when it comes back.
//!
//! A condition that every message or every connection meets would fill the log. Its owner keeps a
//! [`SaidOnce`] beside its counters, logs when [`SaidOnce::first`] says so, and calls
//! [`SaidOnce::ended`] when the condition is over. Without a call of `ended`, the line is said once
//! in the life of the process.

use std::mem;

/// Whether the line about a condition was logged since the condition began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SaidOnce(bool);

impl SaidOnce {
    /// The condition holds: whether its line is to be logged, as it was not since it began.
    #[must_use = "the line counts as logged from here on"]
    pub(crate) fn first(&mut self) -> bool {
        !mem::replace(&mut self.0, true)
    }

    /// Whether the line was logged since the condition began.
    pub(crate) fn is_said(self) -> bool {
        self.0
    }

    /// The condition does not hold: the next `first` is one again. Returns whether the line was
    /// logged, for the owner who wants to log that the condition has ended.
    pub(crate) fn ended(&mut self) -> bool {
        mem::take(&mut self.0)
    }
}

/// Lines that many peers may cause, each about another of them: a few a minute, so that the one
/// that a developer waits for is not mute because of those before, and nobody fills the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SaidRarely {
    minute: u64,
    lines: u64,
}

impl SaidRarely {
    /// Most lines of one kind in a minute.
    pub(crate) const LINES_PER_MINUTE: u64 = 4;

    /// Whether a line may be logged now, and how many were left out in the minute before it.
    pub(crate) fn may(&mut self, mono_ms: u64) -> Option<u64> {
        let minute = mono_ms / 60_000;
        let mut left_out = 0;
        if minute != self.minute {
            left_out = self.lines.saturating_sub(Self::LINES_PER_MINUTE);
            (self.minute, self.lines) = (minute, 0);
        }
        self.lines += 1;
        (self.lines <= Self::LINES_PER_MINUTE).then_some(left_out)
    }
}

/// How many lines of the log were left out before this one, to end it with.
pub(crate) struct LeftOut(pub(crate) u64);

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            lines => write!(f, " ({lines} lines like this were left out)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_a_minute_are_said_and_the_rest_counted() {
        let mut said = SaidRarely::default();
        let may = (0..6).map(|_| said.may(59_999)).collect::<Vec<_>>();
        assert_eq!(may, [Some(0), Some(0), Some(0), Some(0), None, None]);
        assert_eq!([said.may(60_000), said.may(60_001)], [Some(2), Some(0)]);
        assert_eq!(said.may(600_000), Some(0), "nothing was left out");
    }

    #[test]
    fn a_line_is_said_once_and_again_when_its_condition_came_back() {
        let mut said = SaidOnce::default();
        assert!(!said.ended(), "nothing was said");
        assert_eq!([said.first(), said.first(), said.first()], [true, false, false]);
        assert_eq!([said.ended(), said.ended()], [true, false]);
        assert_eq!([said.first(), said.first()], [true, false]);
    }
}
