//! L3: tells the service manager how it goes: systemd's protocol of datagrams (`sd_notify`), where
//! `NOTIFY_SOCKET` names who listens.
//!
//! Nobody is waited for: a datagram that finds no room is lost.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;

use super::system;

/// Who is told, if anybody is.
#[derive(Clone, Debug, Default)]
pub struct Notify(Option<Arc<(UnixDatagram, SocketAddr)>>);

impl Notify {
    /// Whoever the environment names.
    pub fn of_this_process() -> Notify {
        let name = env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let address = match name.as_bytes() {
            [] => return Notify::default(),
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(&name),
        };
        let socket = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Notify(socket.ok().zip(address.ok()).map(Arc::new))
    }

    /// Says it.
    pub fn say(&self, text: &str) {
        if let Some((socket, address)) = self.0.as_deref() {
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }

    /// The configuration is being read again, until [`Notify::ready`].
    pub fn reloading(&self) {
        if self.0.is_some() {
            self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}", system::monotonic_us()));
        }
    }

    /// It serves.
    pub fn ready(&self) {
        self.say("READY=1");
    }
}

/// The sign of life that the manager wants.
#[derive(Debug)]
pub(super) struct Watchdog {
    notify: Notify,
    every_ms: Option<u64>,
    next_ms: u64,
}

impl Watchdog {
    /// As the environment asks for, twice as often.
    pub(super) fn of_this_process(notify: Notify) -> Watchdog {
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let pid = number("WATCHDOG_PID");
        let is_meant = pid.is_none_or(|pid| pid == u64::from(std::process::id()));
        let every_us = number("WATCHDOG_USEC").filter(|us| *us > 0 && is_meant);
        Watchdog { notify, every_ms: every_us.map(|us| (us / 2000).max(1)), next_ms: 0 }
    }

    /// A turn has come: the loop lives. Whether that was said.
    pub(super) fn beat(&mut self, now_ms: u64) -> bool {
        if let Some(every_ms) = self.every_ms
            && self.next_ms <= now_ms
        {
            self.next_ms = now_ms + every_ms;
            self.notify.say("WATCHDOG=1");
            return true;
        }
        false
    }

    /// How often it is said.
    pub(super) fn every_ms(&self) -> Option<u64> {
        self.every_ms
    }

    /// When the next one has to come.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.every_ms.map(|_| self.next_ms)
    }
}
