//! L3: gives back to the system the heap that a peak left.
//!
//! The allocator of glibc keeps what is freed below the top of its heap: after 1,273 MiB had waited
//! for slow readers, 238 MiB stayed with nobody connected, and 5 MiB after it was trimmed. No safe
//! interface trims it, and allocators that are as compact return pages only while they are at work.
//! Its rule: the heap is trimmed when what peers hold has fallen to half of its peak.

/// A peak below this leaves nothing that matters.
const LEAST_BYTES: u64 = 8 << 20;

/// What is known of the heap.
#[derive(Debug, Default)]
pub(super) struct Heap {
    /// The most that peers held since the last trim.
    peak_bytes: u64,
}

impl Heap {
    /// Peers hold so many bytes now.
    pub(super) fn note(&mut self, held_bytes: u64) {
        if self.has_fallen_to(held_bytes) {
            trim();
        }
    }

    fn has_fallen_to(&mut self, held_bytes: u64) -> bool {
        self.peak_bytes = self.peak_bytes.max(held_bytes);
        let has_fallen = self.peak_bytes >= LEAST_BYTES && held_bytes <= self.peak_bytes / 2;
        if has_fallen {
            self.peak_bytes = held_bytes;
        }
        has_fallen
    }
}

#[cfg(target_env = "gnu")]
#[allow(
    unsafe_code,
    reason = "nothing safe trims the heap, and the head of this file says the gain"
)]
fn trim() {
    // SAFETY: it takes a number, and gives back only pages that the allocator itself holds free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators have no such call.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_trimmed_once_whenever_half_of_a_peak_is_gone() {
        let mut heap = Heap::default();
        let mib = |bytes: u64| bytes << 20;
        let fallen = [0, mib(7), 0, mib(100), mib(51), mib(50), mib(26), mib(25), mib(13), 0, 0];
        let fallen = fallen.map(|held| heap.has_fallen_to(held));
        let trims = [false, false, false, false, false, true, false, true, false, true, false];
        assert_eq!(fallen, trims);
    }
}
