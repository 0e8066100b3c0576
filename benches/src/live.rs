//! An allocator that counts the bytes that are live.
//!
//! It hands everything on to the system's, and knows bytes as they were asked for: what the
//! system's own bookkeeping adds is not in them. Its counts are the process's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// To be made the global allocator of a program that wants to know.
#[derive(Debug)]
pub struct Counting;

const CLASSES: usize = usize::BITS as usize;

static BYTES: [AtomicUsize; CLASSES] = [const { AtomicUsize::new(0) }; CLASSES];
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// What is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Bytes, by the power of two that the allocation is at least as large as.
    pub by_size: [usize; CLASSES],
    /// Allocations.
    pub allocations: usize,
}

impl Live {
    /// What is live now.
    pub fn now() -> Live {
        Live {
            by_size: std::array::from_fn(|class| BYTES[class].load(Relaxed)),
            allocations: ALLOCATIONS.load(Relaxed),
        }
    }

    /// What has come to be live since; sizes of which less is live count nothing.
    pub fn since(&self, before: &Live) -> Live {
        Live {
            by_size: std::array::from_fn(|class| {
                self.by_size[class].saturating_sub(before.by_size[class])
            }),
            allocations: self.allocations.saturating_sub(before.allocations),
        }
    }

    /// The same without one allocation of so many bytes.
    pub fn without(mut self, bytes: usize) -> Live {
        let class = &mut self.by_size[bytes.max(1).ilog2() as usize];
        *class = class.saturating_sub(bytes);
        self
    }

    /// All bytes.
    pub fn bytes(&self) -> usize {
        self.by_size.iter().sum()
    }
}

fn class(layout: &Layout) -> &'static AtomicUsize {
    &BYTES[layout.size().max(1).ilog2() as usize]
}

// Only the trait can be asked what is allocated, and the trait is unsafe.
#[expect(unsafe_code, reason = "each method passes on what it was given, under the same promises")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        class(&layout).fetch_add(layout.size(), Relaxed);
        ALLOCATIONS.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        class(&layout).fetch_sub(layout.size(), Relaxed);
        ALLOCATIONS.fetch_sub(1, Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        class(&layout).fetch_add(layout.size(), Relaxed);
        ALLOCATIONS.fetch_add(1, Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        class(&layout).fetch_sub(layout.size(), Relaxed);
        BYTES[size.max(1).ilog2() as usize].fetch_add(size, Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}
