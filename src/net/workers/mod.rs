//! L3: a master and its workers: several processes that serve at the same addresses.
//!
//! The master serves nobody. It listens everywhere, starts the workers, which are this program
//! anew, with the listening sockets, and replaces those that die. Its rules:
//! * each worker has TCP sockets of its own (SO_REUSEPORT), of which the master keeps copies:
//!   nobody who waits in the queue of one that has died is lost, and nobody is refused. What cannot
//!   be had several times, as sockets with paths and those of systemd, all workers share;
//! * signals and figures go through the master, and the service manager knows it alone;
//! * workers are started from the thread that runs it, because they end when that thread does
//!   ([`Worker::of_this_process`]).

pub(super) mod letters;
mod operators;
mod slot;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use self::operators::Board;
use self::slot::{News, Slot};
use super::door::SocketFile;
use super::leaving::{successor, wait_for};
use super::listen::{Accepted, AdminSockets, Comers, Listener, listen_for};
use super::notify::{Notify, Watchdog};
use super::signals::{Asked, Signals};
use super::{ReactorError, inherited};
use crate::browser::settings::Settings;

pub use worker::Worker;

const SIGNALS: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
/// Listeners for who runs the server have the tokens from here downwards.
const OPERATORS: usize = usize::MAX - 2;
const EVENTS: usize = 64;

/// Starts the workers and keeps them.
pub struct Master {
    poll: Poll,
    signals: Signals,
    watchdog: Watchdog,
    notify: Notify,
    start: Instant,
    listeners: Vec<Listener>,
    /// Files of sockets on which it listens no more.
    files: Vec<SocketFile>,
    operators: Vec<Listener>,
    slots: Vec<Slot>,
    board: Arc<Board>,
    sender: Sender<Word>,
    receiver: Receiver<Word>,
    waker: Arc<Waker>,
    /// Every worker has served.
    began: bool,
    reloading: bool,
    ending: bool,
    /// Another process is to take over.
    handing_over: bool,
}

/// What another thread says to the master.
#[derive(Debug)]
enum Word {
    /// The configuration is another.
    Renewed(Box<Settings>),
    /// That process has taken over, or nobody has.
    HandedOver(Result<u32, String>),
}

/// Tells the master from another thread.
#[derive(Clone, Debug)]
pub struct MasterRemote {
    sender: Sender<Word>,
    waker: Arc<Waker>,
}

impl MasterRemote {
    /// Has all workers read the configuration, which is good and says this.
    pub fn renew(&self, settings: Settings) {
        self.tell(Word::Renewed(Box::new(settings)));
    }

    fn tell(&self, word: Word) {
        let told = self.sender.send(word);
        let _ = told.map(|()| self.waker.wake());
    }
}

impl Master {
    /// Listens on the addresses, for so many workers; `hangups_end` as of
    /// [`listen`](super::listen()).
    pub fn bind(
        addresses: &[String],
        admin: Option<AdminSockets>,
        settings: &Settings,
        workers: usize,
        hangups_end: bool,
    ) -> Result<Master, ReactorError> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let signals = Signals::register(poll.registry(), SIGNALS, hangups_end)?;
        let accepted = Accepted {
            kept_alive: settings.ping_interval_ms == 0,
            unsent_limit: u32::try_from(settings.unsent_limit).unwrap_or(u32::MAX),
            socket_mode: settings.socket_mode,
            workers,
        };
        let mut operators = admin.map_or_else(Vec::new, |sockets| sockets.0);
        let listeners = listen_for(addresses, "--listen", Comers::Browsers, &operators, accepted)?;
        for (at, listener) in operators.iter_mut().enumerate() {
            listener.socket.register(poll.registry(), Token(OPERATORS - at))?;
        }
        let notify = Notify::of_this_process();
        let (sender, receiver) = mpsc::channel();
        Ok(Master {
            poll,
            signals,
            watchdog: Watchdog::of_this_process(notify.clone()),
            notify,
            start: Instant::now(),
            listeners,
            files: Vec::new(),
            operators,
            slots: (1..=workers).map(Slot::new).collect(),
            board: Arc::new(Board::new(workers, settings)),
            sender,
            receiver,
            waker,
            began: false,
            reloading: false,
            ending: false,
            handing_over: false,
        })
    }

    /// Where it listens, as URLs of a browser or of a proxy.
    pub fn places(&self) -> Vec<String> {
        let mut places: Vec<String> = self.listeners.iter().filter_map(Listener::place).collect();
        places.dedup();
        places
    }

    /// For other threads that have something to tell.
    pub fn remote(&self) -> MasterRemote {
        MasterRemote { sender: self.sender.clone(), waker: self.waker.clone() }
    }

    /// Serves until all workers are gone after the end was asked for. `began` is called when all of
    /// them serve.
    pub fn run(&mut self, began: impl FnOnce()) -> Result<(), ReactorError> {
        let mut events = Events::with_capacity(EVENTS);
        let mut began = Some(began);
        while !self.slots.iter().all(Slot::is_over) {
            self.start_those_due()?;
            match self.poll.poll(&mut events, self.timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
            for event in &events {
                match event.token() {
                    SIGNALS => self.on_signal(),
                    WAKER => self.on_words(),
                    Token(token) if token > OPERATORS - self.operators.len() => {
                        self.accept(OPERATORS - token);
                    }
                    Token(number) => self.hear(number - 1)?,
                }
            }
            if !self.began && self.slots.iter().all(Slot::serves) {
                self.began = true;
                self.begin_to_serve();
                began.take().into_iter().for_each(|began| began());
            }
            if self.reloading && !self.slots.iter().any(Slot::reloads) {
                self.reloading = false;
                self.manager_hears("READY=1");
            }
            self.beat();
        }
        Ok(())
    }

    /// Whoever waits for that is told; what was given to this process and is not used is closed.
    fn begin_to_serve(&mut self) {
        if !inherited::takes_a_place() {
            self.notify.say(&format!("READY=1\nMAINPID={}", std::process::id()));
        }
        inherited::serves();
    }

    fn start_those_due(&mut self) -> Result<(), ReactorError> {
        for at in 0..self.slots.len() {
            if self.slots[at].due().is_none_or(|due| due > Instant::now()) {
                continue;
            }
            let sockets = sockets_of(at, self.slots.len(), &self.listeners);
            let slot = &mut self.slots[at];
            if let Err(error) = slot.start(&sockets, self.poll.registry()) {
                if !self.began {
                    return Err(error.into());
                }
                tracing::error!("worker {} cannot be started: {error}", slot.number);
                slot.put_off();
            }
        }
        Ok(())
    }

    /// A worker has said something, or is gone.
    fn hear(&mut self, at: usize) -> Result<(), ReactorError> {
        let slot = &mut self.slots[at];
        let number = slot.number;
        match slot.hear(!self.ending)? {
            News::Nothing => {}
            News::Serves => {
                if slot.deaths() > 1 {
                    tracing::info!("worker {number} serves, after {} have died", slot.deaths());
                }
                self.board.post(at, slot.worker());
            }
            News::Died(status) if self.ending => {
                self.board.post(at, None);
                if !status.success() {
                    tracing::warn!("worker {number} has ended before its time: {status}");
                }
            }
            News::Died(status) if !self.began => {
                let why = format!("worker {number} has ended before all served: {status}");
                return Err(io::Error::other(why).into());
            }
            News::Died(status) => {
                self.board.post(at, None);
                self.board.count_restart();
                if slot.deaths() == 1 {
                    tracing::error!(
                        "worker {number} has died, and is replaced: {status} (said once if it dies \
                         again soon; then counted)"
                    );
                }
            }
        }
        Ok(())
    }

    fn on_signal(&mut self) {
        let Asked { ends, successors } = self.signals.take();
        if successors > 0 {
            self.begin_to_hand_over();
        }
        for _ in 0..ends {
            tracing::info!("asked to end");
            self.manager_hears("STOPPING=1");
            self.end(letters::END);
        }
    }

    /// Has all workers end. Nobody but they has the listening sockets from here on, or the process
    /// that has taken over, so that whoever they do not accept is refused.
    fn end(&mut self, letter: u8) {
        self.ending = true;
        self.board.end();
        let listeners = std::mem::take(&mut self.listeners);
        self.files.extend(listeners.into_iter().filter_map(|one| one.socket.into_file()));
        for slot in &mut self.slots {
            slot.tell(letter);
            slot.close();
        }
    }

    fn on_words(&mut self) {
        while let Ok(word) = self.receiver.try_recv() {
            match word {
                Word::Renewed(settings) => {
                    self.board.renew(&settings);
                    self.slots.iter_mut().for_each(|slot| slot.tell(letters::RELOAD));
                    self.reloading = true;
                }
                Word::HandedOver(Ok(id)) => {
                    tracing::info!("process {id} has taken over");
                    self.notify.say(&format!("MAINPID={id}"));
                    for mut listener in self.operators.drain(..) {
                        listener.socket.own_file(false);
                        listener.socket.deregister(self.poll.registry());
                    }
                    self.listeners.iter_mut().for_each(|one| one.socket.own_file(false));
                    self.end(letters::HANDED_OVER);
                }
                Word::HandedOver(Err(why)) => {
                    self.handing_over = false;
                    tracing::error!(
                        "SIGUSR2: nobody takes over, and this process serves on: {why}"
                    );
                }
            }
        }
    }

    /// Starts the program anew, as it was started, with the listening sockets. When that serves,
    /// this process and its workers end.
    fn begin_to_hand_over(&mut self) {
        if self.ending || self.handing_over {
            return tracing::warn!("SIGUSR2: another process is taking over already");
        }
        let all = self.listeners.iter().chain(&self.operators);
        let sockets = all.map(|one| (one.socket.socket(), &*one.name)).collect();
        match successor(sockets) {
            Ok((child, ready)) => {
                tracing::info!("SIGUSR2: process {} is to take over", child.id());
                self.handing_over = true;
                let remote = self.remote();
                std::thread::spawn(move || remote.tell(Word::HandedOver(wait_for(child, ready))));
            }
            Err(error) => tracing::error!("SIGUSR2: no other process can be started: {error}"),
        }
    }

    /// Somebody who runs the server has come.
    fn accept(&mut self, at: usize) {
        // Whoever has gone again is passed over; what else goes wrong is tried again with the next.
        while let Ok((stream, _)) = self.operators[at].socket.accept() {
            self.board.answer(stream);
        }
    }

    /// Gives the service manager its sign of life, and wants one of each worker.
    fn beat(&mut self) {
        let now_ms = self.start.elapsed().as_millis() as u64;
        if self.watchdog.beat(now_ms)
            && let Some(every_ms) = self.watchdog.every_ms()
        {
            let patience = Duration::from_millis(2 * every_ms);
            self.slots.iter_mut().for_each(|slot| slot.ask(patience));
        }
    }

    fn manager_hears(&self, text: &str) {
        if !self.handing_over {
            self.notify.say(text);
        }
    }

    /// How long nothing is to be done, unless something happens.
    fn timeout(&self) -> Option<Duration> {
        let beat = self.watchdog.deadline_ms().map(|ms| self.start + Duration::from_millis(ms));
        let due = self.slots.iter().filter_map(Slot::due).chain(beat).min();
        due.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

/// The sockets of a worker: of each address its part, or the only one.
fn sockets_of(at: usize, workers: usize, listeners: &[Listener]) -> Vec<&Listener> {
    let mut addresses = BTreeMap::<_, Vec<&Listener>>::new();
    for listener in listeners {
        let place = (listener.socket.address(), listener.socket.path(), &listener.name);
        addresses.entry(place).or_default().push(listener);
    }
    let mut own = Vec::new();
    for sockets in addresses.values() {
        let count = sockets.len();
        let is_own = |number: usize| match count < workers {
            true => number == at % count,
            false => number % workers == at,
        };
        own.extend((0..count).filter(|number| is_own(*number)).map(|number| sockets[number]));
    }
    own
}
