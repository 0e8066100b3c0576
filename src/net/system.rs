//! L3: what service managers want and std does not have: sockets that a process is born with, and
//! the clock that they compare with.
#![allow(unsafe_code, reason = "nothing safe owns a socket by its number")]

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::time::{ClockId, clock_gettime};

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
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000
}
