//! L3: what other threads tell the loop: lines of the log that were lost, new settings, which they
//! have read from files, because the loop reads none, and what a worker's master says.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use mio::Waker;
use signal_hook::consts::SIGHUP;

use super::reactor::Reactor;
use super::signals::is_ignored;
use super::tls::TlsUses;
use super::workers::letters;
use crate::browser::settings::Settings;

/// What the loop is told.
#[derive(Debug)]
pub(super) enum Told {
    /// What the server is to be from now on, and what TLS is spoken with.
    Renewed(Box<(Settings, TlsUses)>, Sender<()>),
    /// Somebody who runs the server has come.
    Operator(UnixStream),
    /// The end is asked for.
    End,
    /// Another process has the listening sockets of this one too, and serves.
    HandedOver,
    /// This is to be answered, to show that the loop goes round.
    Asked(Arc<UnixStream>, u8),
}

/// Tells the loop from another thread.
#[derive(Clone, Debug)]
pub struct Remote {
    sender: Sender<Told>,
    waker: Arc<Waker>,
}

impl Remote {
    /// Has the loop look at what else another thread has noted.
    pub(super) fn wake(&self) {
        let _ = self.waker.wake();
    }

    /// Has the server take over what can change while conns are open, and waits until the loop, on
    /// its own thread, has done so.
    pub fn renew(&self, settings: Settings, tls: TlsUses) {
        let (follows, followed) = mpsc::channel();
        self.tell(Told::Renewed(Box::new((settings, tls)), follows));
        // An error is the end of the loop.
        let _ = followed.recv();
    }

    /// What is told after the end is told nobody.
    pub(super) fn tell(&self, what: Told) {
        let told = self.sender.send(what);
        let _ = told.map(|()| self.waker.wake());
    }
}

/// Where the loop hears of it.
#[derive(Debug)]
pub(super) struct News {
    sender: Sender<Told>,
    receiver: Receiver<Told>,
    waker: Arc<Waker>,
    /// How often the end was asked for, and nothing done about that yet.
    pub ends: usize,
}

impl News {
    /// No news; `waker` is woken when there are.
    pub(super) fn new(waker: Arc<Waker>) -> News {
        let (sender, receiver) = mpsc::channel();
        News { sender, receiver, waker, ends: 0 }
    }

    /// Who can tell.
    pub(super) fn remote(&self) -> Remote {
        Remote { sender: self.sender.clone(), waker: self.waker.clone() }
    }

    /// What wakes the loop.
    pub(super) fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// The next.
    pub(super) fn take(&self) -> Option<Told> {
        self.receiver.try_recv().ok()
    }
}

impl Reactor {
    /// For other threads that have something to tell.
    pub fn remote(&self) -> Remote {
        self.news.remote()
    }

    /// What wakes the loop.
    pub(super) fn waker(&self) -> Arc<Waker> {
        self.news.waker()
    }

    /// Has the metrics say how many lines of the log were lost, as is counted there.
    #[doc(hidden)]
    pub fn count_lost_lines(&mut self, lines: Arc<AtomicU64>) {
        self.lost_lines = lines;
    }

    /// Takes what they have told.
    pub(super) fn on_news(&mut self) {
        while let Some(told) = self.news.take() {
            match told {
                Told::Renewed(renewed, follows) => {
                    self.server.renew(renewed.0);
                    self.tls.uses.renew(renewed.1);
                    let _ = follows.send(());
                }
                Told::Operator(stream) => self.operator_came(stream),
                Told::End => self.news.ends += 1,
                Told::HandedOver => self.handed_over.store(true, Ordering::Release),
                Told::Asked(socket, answer) => {
                    // A master that does not read does not wait for this.
                    let _ = letters::say(&*socket, answer, None);
                }
            }
        }
    }
}

/// SIGHUP, for a thread that waits for it. `None` where this process ignores it, as under `nohup`.
#[derive(Debug)]
pub struct HangUps(UnixStream);

impl HangUps {
    /// Hears what is said there instead.
    pub(super) fn said_by(socket: UnixStream) -> HangUps {
        HangUps(socket)
    }

    /// From now on SIGHUP is heard here instead of ending the process.
    pub fn register() -> io::Result<Option<HangUps>> {
        if is_ignored(SIGHUP) {
            return Ok(None);
        }
        let (receiver, sender) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGHUP, sender)?;
        Ok(Some(HangUps(receiver)))
    }

    /// Waits for the next one; several that came meanwhile are one.
    pub fn wait(&mut self) -> io::Result<()> {
        match self.0.read(&mut [0; 64])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
