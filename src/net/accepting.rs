//! L3: accepts from the listeners: how many a turn, when it pauses, and when a shutdown stops it.
//!
//! An accept in vain costs ten times what asking costs whether there is somebody. So a few are
//! accepted and then it is asked, and the more there were the more are accepted next.

use std::io::{self, ErrorKind};

use mio::Token;

use super::ReactorError;
use super::listen::{Comers, Listener};
use super::reactor::{LISTENERS, Reactor};
use super::socket::{Socket, Stream};
use crate::link::Peer;

/// Conns accepted in a turn.
const ACCEPTS: usize = 256;
/// During a shutdown, accepting ends when no connection has arrived for this long.
const QUIET_MS: u64 = 100;
/// The longest time that a shutdown goes on accepting.
const LISTEN_ON_MS: u64 = 2000;
/// The pause in accepting after the descriptors ran out.
const ACCEPT_PAUSE_MS: u64 = 500;

/// The end was asked for.
pub(super) struct Ending {
    asked_ms: u64,
    /// When somebody came last.
    came_ms: u64,
}

impl Reactor {
    pub(super) fn accept_from(&mut self, listeners: Vec<Listener>) -> Result<(), ReactorError> {
        for mut listener in listeners {
            let token = Token(LISTENERS - self.listeners.len());
            listener.socket.register(self.poll.registry(), token)?;
            self.listeners.push(listener);
        }
        Ok(())
    }

    pub(super) fn accept(&mut self) {
        for at in 0..self.listeners.len() {
            let listener = &mut self.listeners[at];
            if std::mem::take(&mut listener.asked) {
                listener.batch = if listener.ready { ACCEPTS.min(listener.batch * 4) } else { 1 };
            }
            // Whoever waits when the end comes is to be told so, before it comes.
            let mut left = if self.ending.is_some() { ACCEPTS } else { listener.batch };
            while left > 0 {
                let paused = self.now.mono_ms < self.accept_after_ms;
                let listener = &self.listeners[at];
                if paused || !listener.ready || !self.accepts(listener.comers) {
                    break;
                }
                let (comers, secured) = (listener.comers, listener.secured);
                match listener.socket.accept() {
                    Ok((stream, peer)) => self.accepted(stream, peer, comers, secured),
                    Err(error) => self.on_accept_error(at, &error),
                }
                left -= 1;
                if left == 0 {
                    self.ask_for_more(at);
                }
            }
        }
    }

    /// Has the kernel tell in the next turn whether there is somebody more to accept.
    fn ask_for_more(&mut self, at: usize) {
        let listener = &mut self.listeners[at];
        if listener.ready {
            let token = Token(LISTENERS - at);
            let result = listener.socket.reregister(self.poll.registry(), token);
            (listener.ready, listener.asked) = (result.is_err(), true);
        }
    }

    pub(super) fn accepts(&self, comers: Comers) -> bool {
        match comers {
            Comers::Browsers => self.server.accepting(),
            Comers::Clients => self.server.accepting_clients(),
        }
    }

    /// The end was asked for, so many times just now. Who has come already, and waits in the
    /// kernel to be accepted, is told so: a socket that nobody accepts is reset.
    pub(super) fn end_listening(&mut self, times: usize) {
        let impatient = times > 1 || self.ending.is_some();
        let now_ms = self.now.mono_ms;
        self.ending = Some(Ending { asked_ms: now_ms, came_ms: now_ms });
        match impatient {
            true => self.listeners.clear(),
            // Those of RESP clients are the last, so that the others keep their tokens.
            false => self.listeners.retain(|listener| listener.comers == Comers::Browsers),
        }
    }

    /// Whether somebody may still come, though the end was asked for.
    pub(super) fn ends_listening(&self) -> bool {
        self.ending.is_some() && !self.listeners.is_empty()
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
            self.listeners.clear();
        }
    }

    fn accepted(&mut self, stream: Stream, peer: Peer, comers: Comers, secured: bool) {
        if let Some(ending) = &mut self.ending {
            ending.came_ms = self.now.mono_ms;
        }
        let link = match comers {
            Comers::Browsers => self.server.accept(peer, self.now),
            Comers::Clients => self.server.accept_client(peer, self.now),
        };
        let mut socket = Socket::accepted(link.generation, stream);
        if secured {
            self.tls.begin(link);
            socket.secured = true;
        }
        self.insert(link, socket);
        self.register(link);
    }

    fn on_accept_error(&mut self, at: usize, error: &io::Error) {
        match error.kind() {
            ErrorKind::WouldBlock => {
                (self.listeners[at].ready, self.listeners[at].batch) = (false, 1);
            }
            ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
            _ => {
                self.accept_after_ms = self.now.mono_ms + ACCEPT_PAUSE_MS;
                self.listeners[at].ready = true;
                if !std::mem::replace(&mut self.said_no_descriptors, true) {
                    tracing::warn!(
                        "accepting pauses: {error}; raise the limit (ulimit -n) or lower \
                         --max-connections (said once)"
                    );
                }
            }
        }
    }
}
