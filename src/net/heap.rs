//! L3: which pages of the heap are kept, and when they are given back to the system.
//!
//! Left to itself the allocator of glibc gives back each large block and the top of its heap as
//! soon as they are free, and takes a fault for each page when it needs them again: an echo of
//! 1 MiB cost 156, and a third of its time. Yet it keeps what is freed below the top: after
//! 1,273 MiB had waited for slow readers, 238 MiB stayed with nobody connected, and 5 MiB after it
//! was trimmed. No safe interface tells it when, and allocators that are as compact return pages
//! only while they are at work. Its rules:
//! * some MiB that are free are kept while there is much to do;
//! * the heap is trimmed when what peers hold has fallen to half of its peak, and when there is
//!   little to do after there was much.

use std::ffi::c_int;

/// What is kept at most, because a few of the largest messages and what is made of them need as
/// much. A peak below this is left to the next rest.
const KEPT_BYTES: u32 = 32 << 20;
/// Less than this in the time of a rest is little to do.
const BUSY_BYTES: u64 = 8 << 20;
/// How long there is little to do before the heap is trimmed.
const REST_MS: u64 = 1_000;

/// What is known of the heap.
#[derive(Debug, Default)]
pub(super) struct Heap {
    /// The most that peers held since the last trim.
    peak_bytes: u64,
    /// Bytes that had arrived or been made when there was last much to do.
    grown: u64,
    /// When a rest will have been one.
    rested_ms: Option<u64>,
}

impl Heap {
    /// The heap of a process that serves.
    pub(super) fn new() -> Self {
        allocator::keep(KEPT_BYTES as c_int);
        Heap::default()
    }

    /// Peers hold so many bytes now, and so many have ever arrived or been made.
    pub(super) fn note(&mut self, held_bytes: u64, grown: u64, now_ms: u64) {
        if self.has_fallen_to(held_bytes) | self.has_rested(grown, now_ms) {
            allocator::trim();
        }
    }

    /// When it is to be told again.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.rested_ms
    }

    fn has_fallen_to(&mut self, held_bytes: u64) -> bool {
        self.peak_bytes = self.peak_bytes.max(held_bytes);
        let is_peak = self.peak_bytes >= u64::from(KEPT_BYTES);
        let has_fallen = is_peak && held_bytes <= self.peak_bytes / 2;
        if has_fallen {
            self.peak_bytes = held_bytes;
        }
        has_fallen
    }

    fn has_rested(&mut self, grown: u64, now_ms: u64) -> bool {
        let is_busy = grown - self.grown >= BUSY_BYTES;
        let has_rested = !is_busy && self.rested_ms.is_some_and(|at_ms| at_ms <= now_ms);
        if is_busy || has_rested {
            self.grown = grown;
            self.rested_ms = is_busy.then_some(now_ms + REST_MS);
        }
        has_rested
    }
}

#[cfg(target_env = "gnu")]
#[allow(
    unsafe_code,
    reason = "nothing safe speaks to the allocator, and the head of this file says the gain"
)]
mod allocator {
    use std::ffi::c_int;

    /// Gives back what is free.
    pub(super) fn trim() {
        // SAFETY: it takes a number, and gives back only pages that the allocator holds free. Of
        // 1,273 MiB that had waited for slow readers, 238 MiB stayed without it and 5 MiB with it.
        unsafe {
            libc::malloc_trim(0);
        }
    }

    /// Has pages kept that are free, up to so many bytes at the top of the heap, and blocks smaller
    /// than that taken from the heap.
    pub(super) fn keep(bytes: c_int) {
        // SAFETY: both take numbers, and change from when on the allocator asks the system. An echo
        // of 1 MiB took 156 faults without them, and a third of its time.
        unsafe {
            libc::mallopt(libc::M_TRIM_THRESHOLD, bytes);
            libc::mallopt(libc::M_MMAP_THRESHOLD, bytes);
        }
    }
}

/// Other allocators have no such calls.
#[cfg(not(target_env = "gnu"))]
mod allocator {
    pub(super) fn trim() {}

    pub(super) fn keep(_bytes: std::ffi::c_int) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mib(bytes: u64) -> u64 {
        bytes << 20
    }

    #[test]
    fn it_is_trimmed_once_whenever_half_of_a_peak_is_gone() {
        let mut heap = Heap::default();
        let fallen = [0, 31, 0, 400, 201, 200, 101, 100, 51, 0, 0];
        let fallen = fallen.map(|held| heap.has_fallen_to(mib(held)));
        let trims = [false, false, false, false, false, true, false, true, false, true, false];
        assert_eq!(fallen, trims);
    }

    #[test]
    fn it_is_trimmed_once_when_there_is_little_to_do_after_there_was_much() {
        let mut heap = Heap::default();
        let table = [
            (0, 0, false, None),
            (7, 5_000, false, None),
            (8, 6_000, false, Some(7_000)),
            (15, 6_999, false, Some(7_000)),
            (16, 7_000, false, Some(8_000)),
            (23, 7_999, false, Some(8_000)),
            (23, 8_000, true, None),
            (30, 20_000, false, None),
            (31, 20_000, false, Some(21_000)),
            (31, 30_000, true, None),
        ];
        for (grown, now_ms, trims, deadline_ms) in table {
            assert_eq!(heap.has_rested(mib(grown), now_ms), trims, "{grown} at {now_ms}");
            assert_eq!(heap.deadline_ms(), deadline_ms, "{grown} at {now_ms}");
        }
    }
}
