//! L3: the place of one worker: it is started, replaced when it dies, and killed when it hangs.
//!
//! Its rule: the first death is mended at once, and those that follow soon after it ever later.

use std::env;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use socket2::SockRef;

use super::letters;
use crate::net::inherited::{HANDED_OVER, OF_MASTER, SHARED};
use crate::net::leaving::raw;
use crate::net::listen::Listener;

/// This very program, also when its file has been replaced: all workers are of one version.
const PROGRAM: &str = "/proc/self/exe";
/// A worker that has served for so long has not died of how it was started.
const STEADY: Duration = Duration::from_secs(10);
/// The pause before the second replacement, twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The place of a worker.
pub(super) struct Slot {
    /// From 1 on.
    pub number: usize,
    state: State,
    /// Workers that died here one soon after the other.
    deaths: u32,
}

enum State {
    /// Nobody is here; somebody will be, from then on.
    Vacant(Instant),
    Taken(Running),
    /// Nobody is here any more.
    Over,
}

struct Running {
    child: Child,
    socket: mio::net::UnixStream,
    /// The same, for other threads.
    shared: Arc<std::os::unix::net::UnixStream>,
    serves: Option<Instant>,
    /// It was asked for a sign of life, and has not answered.
    asked: Option<Instant>,
    /// It was told to read the configuration, and has not said that it is done.
    reloads: bool,
}

/// What a worker has said, or what came of it.
pub(super) enum News {
    /// It serves now.
    Serves,
    /// Nothing that anybody waits for.
    Nothing,
    /// It is gone.
    Died(ExitStatus),
}

impl Slot {
    pub(super) fn new(number: usize) -> Slot {
        Slot { number, state: State::Vacant(Instant::now()), deaths: 0 }
    }

    /// When somebody is to be started here.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Vacant(at) => Some(at),
            _ => None,
        }
    }

    /// Starts a worker with these sockets, each beside the word whether systemd has it.
    pub(super) fn start(&mut self, sockets: &[&Listener], registry: &Registry) -> io::Result<()> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let pass = |on: bool| -> io::Result<String> {
            let theirs = SockRef::from(&theirs);
            theirs.set_cloexec(!on)?;
            let (master, number) = (std::process::id(), self.number);
            let mut lines = format!("{master} {number} {}", raw(&theirs));
            for listener in sockets {
                let socket = listener.socket.socket();
                socket.set_cloexec(!on)?;
                let shared = SHARED[usize::from(listener.shared)];
                lines += &format!("\n{} {shared} {}", raw(&socket), listener.name);
            }
            Ok(lines)
        };
        let lines = pass(true)?;
        let mut args = env::args_os();
        let mut command = Command::new(PROGRAM);
        command.arg0(args.next().unwrap_or_else(|| PROGRAM.into())).args(args);
        command.env(OF_MASTER, lines).stdin(Stdio::null()).stdout(Stdio::null());
        for name in [HANDED_OVER, "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS"] {
            command.env_remove(name);
        }
        // What a terminal signals to all of its programs is for the master.
        let child = command.process_group(0).spawn();
        pass(false)?;
        let child = child?;
        let mut socket = mio::net::UnixStream::from_std(ours.try_clone()?);
        registry.register(&mut socket, Token(self.number), Interest::READABLE)?;
        let shared = Arc::new(ours);
        let (serves, asked, reloads) = (None, None, false);
        self.state = State::Taken(Running { child, socket, shared, serves, asked, reloads });
        Ok(())
    }

    /// It could not be started; it is tried again later.
    pub(super) fn put_off(&mut self) {
        let pause = PAUSE.saturating_mul(1 << self.deaths.min(16)).min(LONGEST_PAUSE);
        self.deaths += 1;
        self.state = State::Vacant(Instant::now() + pause);
    }

    /// Reads what the worker says. Once it is gone the place is vacant, or over if nobody is to be
    /// there `again`.
    pub(super) fn hear(&mut self, again: bool) -> io::Result<News> {
        let State::Taken(running) = &mut self.state else { return Ok(News::Nothing) };
        let mut said = News::Nothing;
        let mut room = [0; 64];
        loop {
            match running.socket.read(&mut room) {
                Ok(0) => break,
                Ok(n) => {
                    for letter in &room[..n] {
                        match *letter {
                            letters::SERVES => {
                                running.serves = Some(Instant::now());
                                said = News::Serves;
                            }
                            letters::ALIVE => running.asked = None,
                            letters::RELOADED => running.reloads = false,
                            _ => {}
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(said),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // It is dead, or as good as dead: nobody can tell it anything.
        let _ = running.child.kill();
        let status = running.child.wait()?;
        if running.serves.is_some_and(|since| since.elapsed() >= STEADY) {
            self.deaths = 0;
        }
        let pause = match self.deaths {
            0 => Duration::ZERO,
            deaths => PAUSE.saturating_mul(1 << (deaths - 1).min(16)).min(LONGEST_PAUSE),
        };
        self.deaths += 1;
        self.state = if again { State::Vacant(Instant::now() + pause) } else { State::Over };
        Ok(News::Died(status))
    }

    /// Nobody is to be started here any more.
    pub(super) fn close(&mut self) {
        if let State::Vacant(_) = self.state {
            self.state = State::Over;
        }
    }

    /// Whether nobody is here, nor will be.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether its worker serves.
    pub(super) fn serves(&self) -> bool {
        matches!(&self.state, State::Taken(running) if running.serves.is_some())
    }

    /// Whether its worker still reads the configuration.
    pub(super) fn reloads(&self) -> bool {
        matches!(&self.state, State::Taken(running) if running.reloads)
    }

    /// How many have died here one soon after the other.
    pub(super) fn deaths(&self) -> u32 {
        self.deaths
    }

    /// Its process and the socket to it, for other threads.
    pub(super) fn worker(&self) -> Option<(u32, Arc<std::os::unix::net::UnixStream>)> {
        match &self.state {
            State::Taken(running) => Some((running.child.id(), running.shared.clone())),
            _ => None,
        }
    }

    /// Tells it something.
    pub(super) fn tell(&mut self, letter: u8) {
        if let State::Taken(running) = &mut self.state {
            running.reloads |= letter == letters::RELOAD;
            // One that takes nothing more hangs, or is gone, which is noticed elsewhere.
            let _ = letters::say(running.shared.as_fd(), letter, None);
        }
    }

    /// Asks for a sign of life, and kills a worker that has given none for so long.
    pub(super) fn ask(&mut self, patience: Duration) {
        let State::Taken(running) = &mut self.state else { return };
        match running.asked {
            _ if running.serves.is_none() => {}
            None => {
                running.asked = Some(Instant::now());
                self.tell(letters::ALIVE);
            }
            Some(since) if since.elapsed() >= patience => {
                tracing::error!("worker {} gives no sign of life and is killed", self.number);
                let _ = running.child.kill();
            }
            Some(_) => {}
        }
    }
}
