//! L3: the signals that ask for the end, or for another process, as readable sockets.
//!
//! Rules:
//! - SIGTERM and SIGINT each ask once more; the second time means at once.
//! - SIGHUP asks only where it is to end the process, and if nothing has asked before. A terminal
//!   that closes sends it twice, directly and through the shell, which is not impatience.
//! - SIGUSR2 asks for another process that takes this one's place.
//! - A worker heeds none of them: its master does.
//! - A SIGHUP that was ignored when the process began stays ignored: `nohup` asks for that.

use std::fs;
use std::io::{self, Read};
use std::sync::Arc;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};

/// How often something was asked for.
#[derive(Default)]
pub(super) struct Asked {
    /// The end.
    pub ends: usize,
    /// Another process.
    pub successors: usize,
}

/// Where signals arrive.
pub(super) struct Signals {
    ends: UnixStream,
    hangups: UnixStream,
    successors: UnixStream,
    asked: bool,
}

impl Signals {
    /// From now on these signals make `token` readable instead of ending the process; SIGHUP only
    /// if `hangups_end`.
    pub(super) fn register(
        registry: &Registry,
        token: Token,
        hangups_end: bool,
    ) -> io::Result<Signals> {
        let heeded = hangups_end && !is_ignored(SIGHUP);
        let hangups: &[i32] = if heeded { &[SIGHUP] } else { &[] };
        let mut signals = Signals {
            ends: readable_at(&[SIGTERM, SIGINT])?,
            hangups: readable_at(hangups)?,
            successors: readable_at(&[SIGUSR2])?,
            asked: false,
        };
        for socket in [&mut signals.ends, &mut signals.hangups, &mut signals.successors] {
            registry.register(socket, token, Interest::READABLE)?;
        }
        Ok(signals)
    }

    /// What was asked for since the last call.
    pub(super) fn take(&mut self) -> Asked {
        let successors = arrived(&mut self.successors);
        let mut times = arrived(&mut self.ends);
        if arrived(&mut self.hangups) > 0 && times == 0 && !self.asked {
            times = 1;
        }
        self.asked |= times > 0;
        Asked { ends: times, successors }
    }
}

/// From now on a worker heeds none of these: they are for its master, and whoever signals all
/// processes of a service would ask it twice.
pub(super) fn turn_deaf() -> io::Result<()> {
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGUSR2] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}

/// A socket that gets one byte for each of these signals.
fn readable_at(signals: &[i32]) -> io::Result<UnixStream> {
    let (receiver, sender) = std::os::unix::net::UnixStream::pair()?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, sender.try_clone()?)?;
    }
    receiver.set_nonblocking(true)?;
    Ok(UnixStream::from_std(receiver))
}

/// Reads all there is, as an edge-triggered socket has to be.
fn arrived(socket: &mut UnixStream) -> usize {
    let mut room = [0; 16];
    let mut sum = 0;
    while let Ok(n @ 1..) = socket.read(&mut room) {
        sum += n;
    }
    sum
}

/// Whether this process ignores a signal. Without /proc nobody can tell, and it is heeded.
pub(super) fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & 1 << (signal - 1) != 0
}
