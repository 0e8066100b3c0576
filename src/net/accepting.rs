//! L3: who is accepted, and when: the part of the loop that has the listeners in its hands.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::ReactorError;
use super::link::Socket;
use super::listen::{Comers, Listener};
use super::reactor::{LISTENERS, Reactor};

/// Conns accepted in a turn.
const ACCEPTS: usize = 256;
/// Out of descriptors, accepting pauses for so long.
const ACCEPT_PAUSE_MS: u64 = 500;

impl Reactor {
    pub(super) fn accept_from(&mut self, listeners: Vec<Listener>) -> Result<(), ReactorError> {
        for mut listener in listeners {
            let token = Token(LISTENERS - self.listeners.len());
            self.poll.registry().register(&mut listener.socket, token, Interest::READABLE)?;
            self.listeners.push(listener);
        }
        Ok(())
    }

    pub(super) fn accept(&mut self) {
        for at in 0..self.listeners.len() {
            for _ in 0..ACCEPTS {
                let paused = self.now.mono_ms < self.accept_after_ms;
                let listener = &self.listeners[at];
                if paused || !listener.ready || !self.accepts(listener.comers) {
                    break;
                }
                let comers = listener.comers;
                match listener.socket.accept() {
                    Ok((stream, peer)) => self.accepted(stream, peer, comers),
                    Err(error) => self.on_accept_error(at, &error),
                }
            }
        }
    }

    pub(super) fn accepts(&self, comers: Comers) -> bool {
        match comers {
            Comers::Browsers => self.server.accepting(),
            Comers::Clients => self.server.accepting_clients(),
        }
    }

    fn accepted(&mut self, stream: TcpStream, peer: SocketAddr, comers: Comers) {
        let link = match comers {
            Comers::Browsers => self.server.accept(peer, self.now),
            Comers::Clients => self.server.accept_client(&peer, self.now),
        };
        self.insert(link, Socket::accepted(link.generation, stream));
        self.register(link);
    }

    fn on_accept_error(&mut self, at: usize, error: &io::Error) {
        match error.kind() {
            ErrorKind::WouldBlock => self.listeners[at].ready = false,
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
