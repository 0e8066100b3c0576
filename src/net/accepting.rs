//! L3: accepts from the listeners: how many a turn, and when it pauses.
//!
//! An accept in vain costs ten times what asking costs whether there is somebody. So a few are
//! accepted and then it is asked, and the more there were the more are accepted next.

use std::io::{self, ErrorKind};

use mio::Token;

use super::ReactorError;
use super::listen::{Comers, Listener};
use super::process;
use super::reactor::{LISTENERS, Reactor};
use super::socket::{Socket, Stream};
use crate::link::Peer;

/// Conns accepted in a turn.
const ACCEPTS: usize = 256;
/// The pause in accepting after the descriptors ran out.
const ACCEPT_PAUSE_MS: u64 = 500;

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
            Comers::Operators => self.server.accepting_operators(),
        }
    }

    /// Somebody who runs the server has come by another way than a listening socket.
    pub(super) fn operator_came(&mut self, stream: std::os::unix::net::UnixStream) {
        if self.server.accepting_operators() && stream.set_nonblocking(true).is_ok() {
            let stream = Stream::Unix(mio::net::UnixStream::from_std(stream));
            self.accepted(stream, Peer::Unix, Comers::Operators, false);
        }
    }

    fn accepted(&mut self, stream: Stream, peer: Peer, comers: Comers, secured: bool) {
        if let Some(ending) = self.ending.as_mut().filter(|_| comers == Comers::Browsers) {
            ending.came_ms = self.now.mono_ms;
        }
        let link = match comers {
            Comers::Browsers => self.server.accept(peer, self.now),
            Comers::Clients => self.server.accept_client(peer, self.now),
            Comers::Operators => {
                self.server.note_process(process::figures(self.began_s));
                self.server.accept_operator(peer, self.now)
            }
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
