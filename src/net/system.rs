//! L3: what service managers want and nothing safe does: sockets that a process is born with, and
//! the clock that they compare with.
#![allow(unsafe_code, reason = "std owns no socket by its number, and does not tell this clock")]

use std::os::fd::{FromRawFd, OwnedFd};

/// Owns what is open under that number, if anything is. To be asked for once for each number, and
/// only for those that were announced to this process.
pub(super) fn own(fd: i32) -> Option<OwnedFd> {
    std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).ok()?;
    // SAFETY: it is open, and the protocol by which it was announced says that it is for this
    // process, where nobody else knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Microseconds of the system's monotonic clock.
pub(super) fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes into a value of this function.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    debug_assert_eq!(done, 0, "every Linux has this clock");
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000
}
