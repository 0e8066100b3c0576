//! L1: a coarse, lazy timer wheel.
//!
//! It knows ticks and small numbers, not what is to happen. Its rules:
//! * an entry costs four bytes, and moving a deadline back costs nothing: the owner lets the old
//!   entry fire at the tick that [`Wheel::schedule`] returned, sees that its deadline has not come,
//!   and schedules again;
//! * an entry cannot be cancelled: one that fires for an owner that remembers another tick is
//!   stale;
//! * a deadline beyond the wheel's horizon fires early, at the horizon, and is scheduled again.

/// Milliseconds in a tick: deadlines are kept to within one.
pub const TICK_MS: u64 = 50;

/// A point in time in ticks since the start; 32 bits are good for six years.
pub(crate) type Tick = u32;

const SLOTS: usize = 1024;

/// The tick that a time in milliseconds falls into.
pub(crate) fn tick(now_ms: u64) -> Tick {
    (now_ms / TICK_MS) as Tick
}

/// The number of ticks that last at least `ms`.
pub(crate) fn ticks(ms: u64) -> Tick {
    ms.div_ceil(TICK_MS).min(u64::from(Tick::MAX / 2)) as Tick
}

/// Entries by the tick at which they fire.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<u32>>,
    occupied: [u64; SLOTS / 64],
    /// Every entry fires after this tick and before this tick plus the number of slots.
    last: Tick,
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel { slots: vec![Vec::new(); SLOTS], occupied: [0; SLOTS / 64], last: 0 }
    }
}

impl Wheel {
    /// Lets `entry` fire at `due`, or a little later when that has passed, or at the horizon when
    /// it lies beyond; returns the tick it will fire at.
    pub(crate) fn schedule(&mut self, due: Tick, entry: u32) -> Tick {
        let ahead = due.saturating_sub(self.last).clamp(1, SLOTS as Tick - 1);
        let at = self.last + ahead;
        let slot = at as usize % SLOTS;
        self.slots[slot].push(entry);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        at
    }

    /// Takes the entries of the earliest tick up to `now` that has any.
    pub(crate) fn fire(&mut self, now: Tick) -> Option<(Tick, Vec<u32>)> {
        let at = self.next().filter(|at| *at <= now);
        match at {
            Some(at) => {
                let slot = at as usize % SLOTS;
                self.last = at;
                self.occupied[slot / 64] &= !(1 << (slot % 64));
                Some((at, std::mem::take(&mut self.slots[slot])))
            }
            None => {
                self.last = self.last.max(now);
                None
            }
        }
    }

    /// The earliest tick at which something fires.
    pub(crate) fn next(&self) -> Option<Tick> {
        let start = (self.last as usize + 1) % SLOTS;
        (0..=SLOTS / 64).find_map(|i| {
            let word = (start / 64 + i) % (SLOTS / 64);
            let mut bits = self.occupied[word];
            if i == 0 {
                bits &= u64::MAX << (start % 64);
            }
            (bits != 0).then(|| {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                self.last + 1 + ((slot + SLOTS - start) % SLOTS) as Tick
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(wheel: &mut Wheel, now: Tick) -> Vec<(Tick, u32)> {
        let mut fired = Vec::new();
        while let Some((at, entries)) = wheel.fire(now) {
            fired.extend(entries.into_iter().map(|e| (at, e)));
        }
        fired
    }

    #[test]
    fn entries_fire_at_their_tick_in_order() {
        let mut wheel = Wheel::default();
        for due in [5, 900, 3, 5, 64, 63, 65] {
            assert_eq!(wheel.schedule(due, due), due);
        }
        assert_eq!(wheel.next(), Some(3));
        assert_eq!(drain(&mut wheel, 2), []);
        assert_eq!(drain(&mut wheel, 63), [(3, 3), (5, 5), (5, 5), (63, 63)]);
        assert_eq!(wheel.next(), Some(64));
        assert_eq!(drain(&mut wheel, 5000), [(64, 64), (65, 65), (900, 900)]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn what_has_passed_fires_at_the_next_tick_and_what_is_far_at_the_horizon() {
        let mut wheel = Wheel::default();
        drain(&mut wheel, 1000);
        assert_eq!(wheel.schedule(7, 1), 1001);
        assert_eq!(wheel.schedule(1_000_000, 2), 1000 + 1023);
        assert_eq!(drain(&mut wheel, 4000), [(1001, 1), (2023, 2)]);
    }

    #[test]
    fn every_distance_from_every_position_is_found() {
        for start in [0, 1, 63, 64, 1022, 1023, 1024, 5000] {
            for ahead in [1, 2, 62, 63, 64, 65, 1022, 1023] {
                let mut wheel = Wheel::default();
                drain(&mut wheel, start);
                wheel.schedule(start + ahead, 9);
                assert_eq!(wheel.next(), Some(start + ahead));
                assert_eq!(drain(&mut wheel, start + ahead - 1), []);
                assert_eq!(drain(&mut wheel, start + ahead), [(start + ahead, 9)]);
            }
        }
    }

    #[test]
    fn a_fired_slot_gives_its_memory_back() {
        let mut wheel = Wheel::default();
        (0..10_000).for_each(|entry| {
            wheel.schedule(10, entry);
        });
        drain(&mut wheel, 10);
        assert!(wheel.slots.iter().all(|slot| slot.capacity() == 0));
    }

    #[test]
    fn times_become_ticks() {
        assert_eq!((tick(0), tick(49), tick(50)), (0, 0, 1));
        assert_eq!((ticks(0), ticks(1), ticks(50), ticks(51)), (0, 1, 1, 2));
    }
}
