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

/// How the time of day goes with the ticks of the timers. A moment of the day is kept in ticks of
/// the time of day since the timers began. What that is in ticks of the timers is asked anew each
/// time, for either clock may jump.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DayClock {
    /// The Unix time when the timers began, in milliseconds.
    began_ms: u64,
    /// So many milliseconds the time of day has gone faster than the timers since then.
    ahead_ms: i64,
    /// How many of these have been followed.
    followed_ms: i64,
}

impl DayClock {
    /// It is now.
    pub(crate) fn set(&mut self, now: Now) {
        if self.began_ms == 0 {
            self.began_ms = now.unix_ms.saturating_sub(now.mono_ms);
        }
        let gone_ms = now.unix_ms as i64 - self.began_ms as i64;
        self.ahead_ms = gone_ms - now.mono_ms as i64;
    }

    /// The first tick of the day behind a moment of Unix time; it is never 0.
    pub(crate) fn moment(&self, unix_ms: u64) -> Tick {
        let tick = unix_ms.saturating_sub(self.began_ms) / timers::TICK_MS + 1;
        tick.min(u64::from(Tick::MAX)) as Tick
    }

    /// The tick of the timers at which that tick of the day begins, as the clocks go now.
    pub(crate) fn tick_of(&self, moment: Tick) -> Tick {
        let day_ms = i64::from(moment) * timers::TICK_MS as i64;
        let ms = day_ms.saturating_sub(self.ahead_ms).max(0) as u64;
        ms.div_ceil(timers::TICK_MS).min(u64::from(Tick::MAX)) as Tick
    }

    /// Whether the time of day has jumped ahead by a tick or more since this was last asked: what
    /// ends at a moment of it may then end before its timer fires.
    pub(crate) fn has_jumped(&mut self) -> bool {
        let jump_ms = self.ahead_ms - self.followed_ms;
        if jump_ms.unsigned_abs() >= timers::TICK_MS {
            self.followed_ms = self.ahead_ms;
        }
        jump_ms >= timers::TICK_MS as i64
    }
}

impl Now {
    /// The tick of the timers.
    pub(crate) fn tick(self) -> Tick {
        timers::tick(self.mono_ms)
    }
}
