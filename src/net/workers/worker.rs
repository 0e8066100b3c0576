//! L3: the worker's side of the bond with its master: it hears what the master says, and does not
//! outlive it.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::parent_id;
use std::sync::Arc;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::letters;
use crate::net::inherited;
use crate::net::remote::{HangUps, Remote, Told};

/// Exit status of a worker whose master has gone.
const ALONE: i32 = 1;

/// This process, as one of several that a master has started.
pub struct Worker {
    number: usize,
    socket: Arc<UnixStream>,
}

impl Worker {
    /// What this process is, if it is a worker: asked for once, before anything else is. An error
    /// is that its master has gone.
    pub fn of_this_process() -> io::Result<Option<Worker>> {
        let Some(bond) = inherited::bond()? else { return Ok(None) };
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // A master that was gone before that sends no signal.
        if parent_id() != bond.master {
            return Err(inherited::gone());
        }
        Ok(Some(Worker { number: bond.number, socket: Arc::new(bond.socket) }))
    }

    /// Which it is, from 1 on.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Has the loop do from now on what the master says. What is returned hears that the
    /// configuration is to be read again.
    pub fn obey(&self, remote: Remote) -> io::Result<HangUps> {
        let (receiver, mut hangups) = UnixStream::pair()?;
        let socket = self.socket.clone();
        std::thread::spawn(move || {
            while let Ok((letter, with)) = letters::hear(&*socket) {
                match letter {
                    letters::OPERATOR => {
                        let stream = with.map(UnixStream::from);
                        stream.into_iter().for_each(|one| remote.tell(Told::Operator(one)));
                    }
                    letters::RELOAD => {
                        let _ = hangups.write(&[0]);
                    }
                    letters::END => remote.tell(Told::End),
                    letters::HANDED_OVER => remote.tell(Told::HandedOver),
                    letters::ALIVE => remote.tell(Told::Asked(socket.clone(), letter)),
                    _ => {}
                }
            }
            std::process::exit(ALONE);
        });
        Ok(HangUps::said_by(receiver))
    }

    /// Tells the master that the configuration is read again.
    pub fn reloaded(&self) {
        let _ = letters::say(&*self.socket, letters::RELOADED, None);
    }
}
