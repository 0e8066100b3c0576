//! L1: the time, as one value.

use super::timers::{self, Tick};

/// When something happens: by a clock that never steps back, and by the time of day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since a start of the loop's choosing. What lies before an earlier call's counts
    /// as that call's.
    pub mono_ms: u64,
    /// Milliseconds of Unix time, which tokens are held against. It may jump.
    pub unix_ms: u64,
}

impl Now {
    /// The tick of the timers.
    pub(crate) fn tick(self) -> Tick {
        timers::tick(self.mono_ms)
    }
}
