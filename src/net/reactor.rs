//! L3: the loop: poll, read, tick, put out, over and over.
//!
//! It owns every socket, in a slab with the same places as the core's. It knows readiness, budgets
//! and the clock; it does not know which link is whose. Its rules:
//! * links that the core says come first are read before the others, so that Redis never waits for
//!   browsers;
//! * a link is read so often in a turn and no more, and reading has a time budget
//!   ([`reading`](super::reading)). A link that a budget stopped is left over, once. The next turn
//!   does not sleep, and reads the links with new events first, then the leftovers in rotation;
//! * a link that wants to rest is not read, and costs no turn, until the core names it again;
//! * what waits is written when everything of a turn has been queued, or the core has no room for
//!   more ([`writing`](super::writing));
//! * running out of descriptors pauses accepting; it never spins.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};

use super::ReactorError;
use super::clock;
use super::dial::Dials;
use super::heap::Heap;
use super::inherited;
use super::leaving::Ending;
use super::listen::{Accepted, AdminSockets, Comers, Listener, RespSockets, listen_for};
use super::notify::{Notify, Watchdog};
use super::remote::News;
use super::signals::{self, Signals};
use super::socket::{Socket, Stream, link_of, token_of};
use super::sockets::Desk;
use super::sweep::is_after_pause;
use super::tls::{Tls, TlsUses};
use crate::link::places::Places;
use crate::link::{Cause, Gathered, Input, LinkId, Now, Target};
use crate::server::Server;

const WAKER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
/// Listeners have the tokens from here downwards; no link has so high a place.
pub(super) const LISTENERS: usize = usize::MAX - 2;

/// Bytes read at a time, from whichever link: a message of 64 KiB comes in one read, and is not put
/// together.
const SCRATCH_BYTES: usize = 128 << 10;
/// Time for reading in a turn, besides Redis: twenty peers that send as fast as they can leave a
/// quiet one its answer within some milliseconds.
const READ_BUDGET: Duration = Duration::from_millis(2);
pub(super) const EVENTS: usize = 1024;
pub(super) const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// The loop and all it owns.
pub struct Reactor {
    pub(super) server: Server,
    pub(super) poll: Poll,
    pub(super) links: Places<Socket>,
    pub(super) listeners: Vec<Listener>,
    pub(super) signals: Option<Signals>,
    pub(super) news: News,
    pub(super) dials: Dials,
    /// Links whose reading a budget stopped, and those that want to be read again.
    pub(super) leftovers: VecDeque<LinkId>,
    pub(super) scratch: Box<[u8]>,
    /// What is put together for one link after the other.
    pub(super) gathered: Gathered,
    pub(super) tls: Tls,
    pub(super) start: Instant,
    /// When that was, in seconds of Unix time.
    pub(super) began_s: f64,
    /// When messages arrived that are not written yet, and how many had before.
    pub(super) arrived: Option<Instant>,
    pub(super) deliveries: u64,
    /// Bytes that came from those who were accepted, and went to them.
    pub(super) bytes: [u64; 2],
    pub(super) now: Now,
    pub(super) accept_after_ms: u64,
    pub(super) said_no_descriptors: bool,
    /// The end was asked for.
    pub(super) ending: Option<Ending>,
    /// When it begins, if it was put off.
    pub(super) leaves_ms: Option<u64>,
    /// Another process is to take over, and has.
    pub(super) handing_over: Arc<AtomicBool>,
    pub(super) handed_over: Arc<AtomicBool>,
    pub(super) notify: Notify,
    watchdog: Watchdog,
    pub(super) lost_lines: Arc<AtomicU64>,
    pub(super) heap: Heap,
    /// The application, if it is in this process.
    pub(super) desk: Option<Desk>,
}

impl Reactor {
    /// Listens on every address that the given ones stand for.
    pub fn bind(addresses: &[String], server: Server) -> Result<Self, ReactorError> {
        Reactor::bind_beside(None, addresses, TlsUses::default(), server)
    }

    /// The same, where this process listens on some sockets already.
    pub(super) fn bind_beside(
        beside: Option<&RespSockets>,
        addresses: &[String],
        tls: TlsUses,
        server: Server,
    ) -> Result<Self, ReactorError> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let notify = Notify::of_this_process();
        let mut reactor = Reactor {
            server,
            poll,
            links: Places::default(),
            listeners: Vec::new(),
            signals: None,
            news: News::new(waker.clone()),
            dials: Dials::new(waker),
            leftovers: VecDeque::new(),
            scratch: vec![0; SCRATCH_BYTES].into(),
            gathered: Gathered::of(SCRATCH_BYTES),
            tls: Tls::of(tls),
            start: Instant::now(),
            began_s: clock::unix_s(),
            arrived: None,
            deliveries: 0,
            bytes: [0; 2],
            now: Now::default(),
            accept_after_ms: 0,
            said_no_descriptors: false,
            ending: None,
            leaves_ms: None,
            handing_over: Arc::default(),
            handed_over: Arc::default(),
            watchdog: Watchdog::of_this_process(notify.clone()),
            notify,
            lost_lines: Arc::default(),
            heap: Heap::new(),
            desk: None,
        };
        let kept_alive = !reactor.server.pings();
        let (unsent_limit, socket_mode) =
            (reactor.server.unsent_limit(), reactor.server.socket_mode());
        let accepted = Accepted { kept_alive, unsent_limit, socket_mode, workers: 1 };
        let (flag, comers) = ("--listen", Comers::Browsers);
        let taken = beside.map_or(&[][..], |sockets| &sockets.0);
        reactor.accept_from(listen_for(addresses, flag, comers, taken, accepted)?)?;
        Ok(reactor)
    }

    /// Where it listens: the ports chosen, where 0 was given.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let browsers = self.listeners.iter().filter(|one| one.comers == Comers::Browsers);
        browsers.filter_map(|listener| listener.socket.address()).collect()
    }

    /// The same, and the paths of sockets, as URLs of a browser or of a proxy.
    pub fn places(&self) -> Vec<String> {
        let browsers = self.listeners.iter().filter(|one| one.comers == Comers::Browsers);
        let mut places: Vec<String> = browsers.filter_map(Listener::place).collect();
        places.dedup();
        places
    }

    /// Answers those who run the server, at these addresses.
    pub fn answer_operators(&mut self, sockets: AdminSockets) -> Result<(), ReactorError> {
        self.accept_from(sockets.0)
    }

    /// Answers Redis clients of the embedded broker as well.
    pub fn answer_redis_clients(&mut self, sockets: RespSockets) -> Result<(), ReactorError> {
        self.accept_from(sockets.0)
    }

    /// From now on SIGTERM and SIGINT ask for the end, a second one for the end at once; SIGHUP
    /// asks for it if `hangups_end`. A worker's master asks instead.
    pub fn heed_signals(&mut self, hangups_end: bool) -> Result<(), ReactorError> {
        match inherited::is_worker() {
            true => signals::turn_deaf()?,
            false => {
                let registry = self.poll.registry();
                self.signals = Some(Signals::register(registry, SIGNALS, hangups_end)?);
            }
        }
        Ok(())
    }

    /// Serves until a shutdown that was asked for is complete.
    pub fn run(&mut self) -> Result<(), ReactorError> {
        let mut events = Events::with_capacity(EVENTS);
        self.begin_to_serve();
        while !self.server.is_done() || self.ends_listening() {
            self.turn(&mut events, None)?;
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

    /// When the service manager has to hear of the loop.
    pub(super) fn watchdog_ms(&self) -> Option<u64> {
        self.watchdog.deadline_ms()
    }

    /// One turn, which sleeps for `most` at most.
    pub(super) fn turn(
        &mut self,
        events: &mut Events,
        most: Option<Duration>,
    ) -> Result<(), ReactorError> {
        let timeout = self.timeout().into_iter().chain(most).chain(self.patience()).min();
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let since = self.now.mono_ms;
        let woken = Instant::now();
        self.now = self.now_at(woken);
        match is_after_pause(self.now.mono_ms - since, timeout) {
            true => self.sweep(events)?,
            false => self.hear(events, Some(woken + READ_BUDGET)),
        }
        self.look_at_orders();
        self.server.note_lost_lines(self.lost_lines.load(Ordering::Relaxed));
        self.leave_when_due();
        self.watchdog.beat(self.now.mono_ms);
        self.server.tick(self.now);
        self.put_out();
        self.hand_over_events();
        self.note_turn(woken);
        let held = self.server.metrics().memory_bytes;
        self.heap.note(held, self.server.grown(), self.now.mono_ms);
        Ok(())
    }

    /// Hands on what the events say; links are read until that time, or all of them once in a
    /// sweep, which leaves the leftovers for its end.
    pub(super) fn hear(&mut self, events: &Events, until: Option<Instant>) {
        let (mut first, mut fresh) = (Vec::new(), Vec::new());
        let mut signalled = false;
        for event in events {
            match event.token() {
                WAKER => self.on_woken(),
                SIGNALS => signalled = true,
                Token(token) if token > LISTENERS - self.listeners.len() => {
                    self.listeners[LISTENERS - token].ready = true;
                }
                Token(token) => {
                    let link = link_of(token);
                    let Some(entry) = self.link(link) else { continue };
                    entry.ending |= event.is_read_closed();
                    entry.failing |= event.is_error();
                    let (comes_first, left_over) = (entry.comes_first, entry.left_over);
                    let secured = entry.secured;
                    if !entry.made {
                        self.on_dialed(link);
                    } else if event.is_writable() && (!secured || self.write_sealed(link)) {
                        self.server.handle(Input::Writable { link }, self.now);
                    }
                    let readable =
                        event.is_readable() || event.is_read_closed() || event.is_error();
                    if let Some(entry) = self.link(link).filter(|_| readable) {
                        entry.has_more = true;
                    }
                    if !readable || left_over {
                        continue;
                    }
                    if comes_first {
                        first.push(link);
                    } else if secured && self.tls.is_shaking(link) {
                        self.leave_over(link);
                    } else {
                        fresh.push(link);
                    }
                }
            }
        }
        let were_left = self.leftovers.len();
        self.read_all(first, fresh, until);
        if until.is_some() {
            self.read_leftovers(were_left, until);
        }
        self.accept();
        if signalled || self.news.ends > 0 {
            // After reading: what a browser had said by then is not lost.
            self.on_signal();
        }
        self.end_listening_when_quiet();
    }

    pub(super) fn dial(&mut self, link: LinkId, target: Target) {
        let comes_first = self.server.comes_first(link);
        let mut socket = Socket::unmade(link.generation, comes_first);
        let begun = match &target {
            Target::Tls { host, .. } => self.tls.begin_with(link, host),
            _ => Ok(()),
        };
        socket.secured = matches!(target, Target::Tls { .. });
        self.insert(link, socket);
        if let Err(why) = begun {
            return self.hung_up(link, Cause::Tls(why));
        }
        match self.dials.begin(link, target) {
            Ok(None) => self.server.handle(Input::LookingUp { link }, self.now),
            Ok(Some(stream)) => self.on_stream(link, Ok(stream)),
            Err(error) => self.on_stream(link, Err(error)),
        }
    }

    /// Another thread has found something out.
    fn on_woken(&mut self) {
        self.on_news();
        while let Some((link, stream)) = self.dials.resolved() {
            match self.link(link) {
                Some(_) => {
                    self.server.handle(Input::LookedUp { link }, self.now);
                    self.on_stream(link, stream);
                }
                None => self.dials.end(link),
            }
        }
    }

    /// A dialed link has its stream, which is not made yet, or will not have one.
    fn on_stream(&mut self, link: LinkId, stream: io::Result<Stream>) {
        let Some(entry) = self.link(link) else { return };
        match stream {
            Ok(stream) => {
                entry.stream = stream;
                self.register(link);
            }
            Err(error) => self.on_dial_failed(link, &error),
        }
    }

    /// A stream that was dialed has become ready: to be written, or with an error.
    fn on_dialed(&mut self, link: LinkId) {
        let Some(entry) = self.link(link) else { return };
        match entry.stream.is_made() {
            Ok(false) => {}
            Err(error) => self.on_dial_failed(link, &error),
            Ok(true) => {
                entry.made = true;
                entry.stream.send_at_once();
                match entry.secured {
                    false => self.on_connected(link),
                    true => self.greet(link),
                }
            }
        }
    }

    /// A link that was dialed is made, and its TLS handshake is done if it has one.
    pub(super) fn on_connected(&mut self, link: LinkId) {
        self.dials.end(link);
        self.server.handle(Input::Connected { link }, self.now);
    }

    fn on_dial_failed(&mut self, link: LinkId, error: &io::Error) {
        match self.dials.has_next(link) {
            true => {
                let stream = self.dials.next(link);
                self.on_stream(link, stream);
            }
            false => self.hung_up(link, Cause::Failed(error.to_string())),
        }
    }

    pub(super) fn hung_up(&mut self, link: LinkId, cause: Cause) {
        if let Some(entry) = self.link(link) {
            entry.over = true;
        }
        self.server.handle(Input::HungUp { link, cause }, self.now);
    }

    /// The core names places in the order in which they are taken and given up here, so the two
    /// slabs agree; if ever they did not, bytes would go to the wrong browser.
    pub(super) fn insert(&mut self, link: LinkId, entry: Socket) {
        let index = self.links.insert(entry);
        assert_eq!(index, link.index as usize, "the core and the reactor disagree about places");
    }

    pub(super) fn register(&mut self, link: LinkId) {
        let Some(entry) = self.links.get_mut(link.index as usize) else { return };
        // Every socket can be written to at first. To be told so is one more turn for each.
        let interest = if entry.told_writable { BOTH } else { Interest::READABLE };
        let result = entry.stream.register(self.poll.registry(), token_of(link), interest);
        if let Err(error) = result {
            self.hung_up(link, Cause::Failed(error.to_string()));
        }
    }

    pub(super) fn link(&mut self, link: LinkId) -> Option<&mut Socket> {
        self.links.get_mut(link.index as usize).filter(|entry| entry.generation == link.generation)
    }
}
