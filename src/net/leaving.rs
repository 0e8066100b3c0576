//! L3: the end as the loop sees it: when it is told to the core, when accepting ends, and how the
//! listening sockets are handed over to a process that takes this one's place.
//!
//! Whoever waits to be accepted is told of the end, because a socket that nobody accepts is reset;
//! unless another process has the listening socket too, and accepts them.

use std::env;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;

use mio::Token;
use socket2::SockRef;

use super::inherited::HANDED_OVER;
use super::listen::{Comers, Listener};
use super::reactor::{LISTENERS, Reactor};
use super::signals::{Asked, Signals};
use crate::link::Input;

/// During a shutdown, accepting ends when no connection has arrived for this long.
const QUIET_MS: u64 = 100;
/// The longest time that a shutdown goes on accepting.
const LISTEN_ON_MS: u64 = 2000;

/// The end was asked for.
pub(super) struct Ending {
    asked_ms: u64,
    /// When somebody came last.
    pub came_ms: u64,
}

impl Reactor {
    /// A signal has come, or a master has said so.
    pub(super) fn on_signal(&mut self) {
        let signalled = self.signals.as_mut().map(Signals::take);
        let Asked { mut ends, successors } = signalled.unwrap_or_default();
        ends += std::mem::take(&mut self.news.ends);
        if successors > 0 {
            self.begin_to_hand_over();
        }
        let delay_ms = self.server.drain_delay_ms();
        let mut left = ends;
        if ends > 0 && self.ending.is_none() && self.leaves_ms.is_none() && delay_ms > 0 {
            tracing::info!("asked to end; serving on for {} s", delay_ms as f64 / 1000.0);
            self.manager_hears("STOPPING=1");
            self.leaves_ms = Some(self.now.mono_ms + delay_ms);
            self.server.handle(Input::ShutdownAnnounced, self.now);
            left -= 1;
        }
        self.leave(left);
    }

    /// What was put off is done when its time has come, or another process has this one's sockets.
    pub(super) fn leave_when_due(&mut self) {
        let due = self.leaves_ms.is_some_and(|at_ms| at_ms <= self.now.mono_ms);
        let handed_over = self.handed_over.swap(false, Ordering::AcqRel);
        if handed_over {
            for listener in &mut self.listeners {
                listener.shared = true;
                listener.socket.own_file(false);
            }
        }
        if due || handed_over && self.ending.is_none() {
            self.leave(1);
        }
    }

    /// The end was asked for so many times.
    pub(super) fn leave(&mut self, times: usize) {
        for _ in 0..times {
            tracing::info!("asked to end");
            self.server.handle(Input::ShutdownAsked, self.now);
        }
        if times > 0 {
            self.leaves_ms = None;
            self.manager_hears("STOPPING=1");
            self.end_listening(times);
        }
    }

    /// So many times just now.
    fn end_listening(&mut self, times: usize) {
        let impatient = times > 1 || self.ending.is_some();
        let now_ms = self.now.mono_ms;
        self.ending = Some(Ending { asked_ms: now_ms, came_ms: now_ms });
        self.keep_listeners(|listener| match listener.comers {
            Comers::Browsers => !impatient && !listener.shared,
            Comers::Clients => false,
            // Who runs it wants to see how it ends.
            Comers::Operators => !listener.shared,
        });
    }

    /// Keeps those that are so.
    fn keep_listeners(&mut self, so: impl Fn(&Listener) -> bool) {
        for mut listener in std::mem::take(&mut self.listeners) {
            if !so(&listener) {
                // A socket that another process has too would go on telling.
                listener.socket.deregister(self.poll.registry());
                continue;
            }
            let token = Token(LISTENERS - self.listeners.len());
            let _ = listener.socket.reregister(self.poll.registry(), token);
            self.listeners.push(listener);
        }
    }

    /// Whether somebody may still come, though the end was asked for.
    pub(super) fn ends_listening(&self) -> bool {
        self.ending.is_some() && self.listeners.iter().any(|one| one.comers == Comers::Browsers)
    }

    /// When that is over, unless somebody comes.
    pub(super) fn quiet_at_ms(&self) -> Option<u64> {
        let ending = self.ending.as_ref().filter(|_| self.ends_listening())?;
        Some((ending.came_ms + QUIET_MS).min(ending.asked_ms + LISTEN_ON_MS))
    }

    /// When nobody has come for a while, or they never cease to, whoever comes is refused by the
    /// kernel from here on, and can try another process at once.
    pub(super) fn end_listening_when_quiet(&mut self) {
        if self.quiet_at_ms().is_some_and(|quiet_ms| quiet_ms <= self.now.mono_ms) {
            // Whoever came just now is the last.
            self.listeners.iter_mut().for_each(|listener| listener.ready = true);
            self.accept();
            self.keep_listeners(|listener| listener.comers == Comers::Operators);
        }
    }

    /// Starts the program anew, as it was started, with the listening sockets. When that serves,
    /// this process ends.
    fn begin_to_hand_over(&mut self) {
        if self.ending.is_some() || self.handing_over.swap(true, Ordering::AcqRel) {
            return tracing::warn!("SIGUSR2: another process is taking over already");
        }
        let sockets = self.listeners.iter().map(|one| (one.socket.socket(), &*one.name));
        let (child, ready) = match successor(sockets.collect()) {
            Ok(begun) => begun,
            Err(error) => {
                self.handing_over.store(false, Ordering::Release);
                return tracing::error!("SIGUSR2: no other process can be started: {error}");
            }
        };
        tracing::info!("SIGUSR2: process {} is to take over", child.id());
        let (remote, notify) = (self.remote(), self.notify.clone());
        let (handed_over, handing_over) = (self.handed_over.clone(), self.handing_over.clone());
        std::thread::spawn(move || match wait_for(child, ready) {
            Ok(id) => {
                tracing::info!("process {id} has taken over");
                notify.say(&format!("MAINPID={id}"));
                handed_over.store(true, Ordering::Release);
                remote.wake();
            }
            Err(why) => {
                tracing::error!("SIGUSR2: nobody takes over, and this process serves on: {why}");
                handing_over.store(false, Ordering::Release);
            }
        });
    }

    fn manager_hears(&self, text: &str) {
        if !self.handed_over_to_another() {
            self.notify.say(text);
        }
    }

    /// Whether the manager knows another process as this service's.
    fn handed_over_to_another(&self) -> bool {
        self.handing_over.load(Ordering::Acquire)
    }
}

/// Starts the program anew, as it was started, with these listening sockets, each with its name;
/// and where that process will say that it serves.
pub(super) fn successor(sockets: Vec<(SockRef<'_>, &str)>) -> io::Result<(Child, UnixStream)> {
    let mut args = env::args_os();
    let program = args.next().ok_or(io::ErrorKind::NotFound)?;
    let (ready, waits) = UnixStream::pair()?;
    let pass = |on: bool| -> io::Result<String> {
        let waits = SockRef::from(&waits);
        waits.set_cloexec(!on)?;
        let mut lines = format!("{} {}", std::process::id(), raw(&waits));
        for (socket, name) in &sockets {
            socket.set_cloexec(!on)?;
            lines += &format!("\n{} {name}", raw(socket));
        }
        Ok(lines)
    };
    let lines = pass(true)?;
    // Whoever takes over gives the signs of life that this process was asked for.
    let child =
        Command::new(program).args(args).env(HANDED_OVER, lines).env_remove("WATCHDOG_PID").spawn();
    pass(false)?;
    Ok((child?, ready))
}

pub(super) fn raw(socket: &SockRef<'_>) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&**socket)
}

/// Waits until the process serves, or ends without that.
pub(super) fn wait_for(mut child: Child, mut ready: UnixStream) -> Result<u32, String> {
    match ready.read(&mut [0]) {
        Ok(1) => Ok(child.id()),
        _ => Err(match child.wait() {
            Ok(status) => format!("it ended, {status}"),
            Err(error) => error.to_string(),
        }),
    }
}
