//! L2: the whole server without I/O: [`Input`] -> state -> [`Output`].
//!
//! It owns the table of links, and routes between those who are at their other ends. It has no
//! socket and no clock, and knows nothing of the loop that drives it; the contract with that loop
//! stands at the top of the crate. Its rules:
//! * a link's name yields its party once, and one `match` hands on what happened;
//! * no party touches another: what one wants of others is an effect or an event, which is routed
//!   here; a delivery alone goes straight to the outboxes.
//!
//! `accepting` is about who comes, `table` about links, `others` about those of others than
//! browsers, `dialed` about those that are dialed, `routing` about what conns want, `brokering` and
//! `said` about what the broker says, `nodes` about its links, `relay` and `handout` about who
//! hears it, `gaps` about outages, `clients` about RESP clients, `guests` about requests that go on
//! to an application, `endpoints`, `following` and `hearing` about conns of the application itself,
//! `handlers` about applications in other processes, `memory` about what all of them hold, `ending`
//! about the end.

mod accepting;
mod brokering;
mod canary;
mod clients;
mod clusters;
mod deaf;
mod dialed;
mod ending;
mod endpoints;
mod following;
mod gaps;
mod guests;
mod handlers;
mod handout;
mod hearing;
mod inspecting;
mod lines;
mod memory;
mod mending;
mod nodes;
mod others;
mod overlaps;
mod pairs;
mod posting;
mod relay;
mod repeats;
mod routing;
mod said;
mod sentinels;
mod strangers;
mod table;
mod topics;

use std::hash::RandomState;
use std::io::IoSlice;
use std::sync::Arc;

use crate::access::ask::Application;
use crate::access::control;
use crate::broker::{Broker, HistoryRules, Status, Uses};
use crate::browser::settings::Settings;
use crate::browser::{Conn, Context};
use crate::fanout::trail::Trails;
use crate::handler::Handler;
use crate::link::timers::{self, Wheel};
use crate::link::{Cause, Input, LinkId, Metrics, Now, Output, Wish};
use crate::web::upstream::Proxy;
pub(crate) use accepting::SURPLUS;
use brokering::Loss;
use canary::Canary;
use clients::Clients;
pub(crate) use clients::SURPLUS_CLIENTS;
use ending::Ending;
use endpoints::Slow;
use following::Following;
pub(crate) use inspecting::{OPERATORS, ProcessFigures};
use memory::Memory;
use nodes::Nodes;
use relay::Relay;
use said::Said;
use strangers::Strangers;
use table::{Next, Party, Table};
use topics::Topics;

/// The server.
#[derive(Debug)]
pub struct Server {
    table: Table,
    relay: Relay,
    topics: Topics,
    /// What conns share: settings, time, counters.
    cx: Context,
    wheel: Wheel,
    broker: Broker,
    nodes: Nodes,
    /// The application, if it is asked about handshakes.
    application: Option<Application>,
    clients: Clients,
    /// The applications of endpoints that are in other processes.
    handlers: Vec<Handler>,
    /// What goes between browsers and upstreams.
    proxy: Proxy,
    strangers: Strangers,
    memory: Memory,
    slow: Slow,
    following: Following,
    /// The channel on which the application speaks to us.
    control: Option<Arc<str>>,
    ending: Ending,
    canary: Canary,
    process: ProcessFigures,
    said: Said,
}

impl Server {
    /// A server of these settings. Look-ups are hashed with `keys`; `seed` is for jitter.
    pub fn new(settings: Settings, keys: RandomState, seed: u64) -> Self {
        let uses = Uses {
            max_message: settings.max_message_size,
            max_session: settings.max_session_size,
            publishes: settings.grants_publishing(),
        };
        let mut broker = Broker::new(settings.broker.clone(), uses, seed);
        broker.keep_histories(settings.history.clone(), settings.history_limit);
        let sources = &settings.sources;
        let application = sources.auth.clone().map(Application::new);
        let control = sources.is_some().then(|| Arc::from(control::channel(&settings.prefix)));
        let patience_ms = settings.broker.patience_ms();
        let canary = match settings.is_watched() {
            true => Canary::new(&settings.prefix, seed, broker.spread().most_nodes()),
            false => Canary::default(),
        };
        let requests = settings.endpoints.iter().map(|endpoint| endpoint.requests.as_ref());
        let proxy = Proxy::new(&settings.front, requests);
        // The embedded broker is never away.
        let rules = match broker {
            Broker::Local(_) => HistoryRules::default(),
            Broker::Redis(_) => settings.history.clone(),
        };
        let trails = Trails::new(rules, broker.spread(), keys.clone());
        let handlers = handlers::handlers(&settings, seed);
        let mut cx = Context::new(settings);
        cx.metrics.broker_up = u64::from(broker.status() == Status::Up);
        let mut server = Server {
            table: Table::default(),
            topics: Topics::new(keys.clone(), broker.spread(), patience_ms),
            relay: Relay::new(keys, broker.spread(), patience_ms, trails),
            cx,
            wheel: Wheel::default(),
            nodes: Nodes::new(&broker),
            said: Said::new(&mut broker),
            broker,
            application,
            clients: Clients::default(),
            handlers,
            proxy,
            strangers: Strangers::default(),
            memory: Memory::default(),
            slow: Slow::default(),
            following: Following::default(),
            control,
            ending: Ending::new(seed),
            canary,
            process: ProcessFigures::default(),
        };
        server.begin_handlers();
        server
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input<'_>, now: Now) {
        self.set_now(now);
        match input {
            Input::Received { link, bytes } => {
                self.cx.took(bytes.len());
                self.received(link, bytes);
            }
            Input::Filled { link, bytes } => {
                self.cx.took(bytes);
                self.on_conn(link, |conn, cx| conn.heard(cx));
                self.received(link, &mut []);
            }
            Input::WentOn { link } => self.received(link, &mut []),
            Input::LookingUp { link } => self.on_lookup(link, true),
            Input::LookedUp { link } => self.on_lookup(link, false),
            Input::Connected { link } => self.on_connected(link),
            Input::Secured { link } => self.on_conn(link, |conn, cx| conn.secured(cx)),
            Input::Exposed { link } => self.on_conn(link, |conn, cx| conn.exposed(cx)),
            Input::Held { link, kib } => self.note_held(link, kib),
            Input::Blocked { link } => self.blocked(link),
            Input::Writable { link } => {
                self.table.get(link).into_iter().for_each(|slot| slot.blocked = false);
                self.table.stand(link, 1);
            }
            Input::HungUp { link, cause } => self.hung_up(link, cause),
            Input::ShutdownAnnounced => self.ending.announce(),
            Input::ShutdownAsked => self.shut_down(),
        }
        self.route();
    }

    /// Lets time pass: timers, pings, dials, the end of a shutdown.
    pub fn tick(&mut self, now: Now) {
        self.set_now(now);
        let now_ms = self.cx.now.mono_ms;
        self.follow_the_day();
        self.fire_timers();
        self.relay.release_overdue(&mut self.table, &mut self.cx);
        self.relay.trails.tick(now_ms);
        self.end_wishes();
        for link in self.relay.take_slow() {
            self.after(link);
        }
        if let Some(application) = &mut self.application {
            application.tick(now_ms);
        }
        self.tick_sentinels();
        self.tick_nodes();
        self.tick_cluster();
        self.tick_handlers();
        self.retry_channels();
        self.send_canary();
        self.go_on_ending();
        self.proxy.measure(&mut self.cx.metrics);
        self.bound_memory();
        self.route();
        self.note_evictions();
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// What a link wants of the loop as to its input.
    pub fn wish(&self, link: LinkId) -> Wish {
        let wish = match self.table.peek_conn(link) {
            Some(conn) => conn.wish(),
            None => self.wish_of_another(link),
        };
        match wish {
            Wish::Read | Wish::Fill | Wish::GoOn if self.cx.has_no_room() => {
                self.wish_without_room(link, wish)
            }
            wish => wish,
        }
    }

    /// Where a link whose wish is [`Wish::Fill`] has room for what arrives next: that is appended,
    /// up to its capacity, and said with [`Input::Filled`] before anything else is. `waiting` is
    /// how many bytes the kernel is known to have for the link, or 0. `None` when there is no room,
    /// and the link is to be read as if its wish were [`Wish::Read`].
    pub fn room(&mut self, link: LinkId, waiting: usize) -> Option<&mut Vec<u8>> {
        self.table.conn(link)?.room(waiting)
    }

    /// The next thing to do outside; to be called until `None`, and again after every call of
    /// another method. What a loop leaves for its next turn, after as much writing as a turn may
    /// take, comes then, behind what is more urgent.
    pub fn poll_output(&mut self) -> Option<Output> {
        match self.table.next() {
            Some(Next::Flush(link, frames)) => {
                self.cx.flushed(frames);
                Some(Output::Flush(link))
            }
            Some(Next::Output(output)) => {
                self.before(&output);
                Some(output)
            }
            None => {
                self.cx.all_flushed();
                None
            }
        }
    }

    /// The bytes that may be sent to a link: fills `into`, and returns how many slices it used.
    #[inline]
    pub fn slices<'a>(&'a self, link: LinkId, into: &mut [IoSlice<'a>]) -> usize {
        match self.table.peek_conn(link) {
            Some(conn) => conn.slices(into),
            None => self.slices_of_another(link, into),
        }
    }

    /// The first `n` of those bytes are sent. A call would cost a delivery 45 of 343 instructions.
    #[inline(always)]
    pub fn advance(&mut self, link: LinkId, n: usize) {
        let Some(slot) = self.table.get(link) else { return };
        let Party::Browser(conn) = &mut slot.party else { return self.advance_another(link, n) };
        let sent = conn.advance(link, n, &mut self.cx);
        slot.blocked &= !sent;
        if self.cx.has_effects() {
            self.route_effects();
        }
    }

    /// When [`Server::tick`] has something to do, whatever happens before.
    pub fn next_deadline_ms(&mut self) -> Option<u64> {
        let wake = self.wheel.next().map(|tick| u64::from(tick) * timers::TICK_MS);
        let at_once = self.table.has_outputs() || self.broker.has_more();
        let at_once = at_once.then_some(self.cx.now.mono_ms);
        wake.into_iter()
            .chain(self.relay.deadline_ms())
            .chain(self.topics.deadline_ms())
            .chain(self.count_ms())
            .chain(self.rare_ms())
            .chain(self.room_ms())
            .chain(self.handlers_ms())
            .chain(self.sentinels_ms())
            .chain(self.nodes_ms())
            .chain(self.cluster_ms())
            .chain(self.application.as_ref().and_then(Application::deadline_ms))
            .chain(at_once)
            .min()
    }

    /// Whether silent browsers are pinged.
    pub(crate) fn pings(&self) -> bool {
        self.cx.settings.ping_interval_ms > 0
    }

    /// So many lines of the log were lost so far.
    pub(crate) fn note_lost_lines(&mut self, lines: u64) {
        self.cx.metrics.log_lines_dropped_total = lines;
    }

    /// What was counted so far.
    pub fn metrics(&self) -> &Metrics {
        &self.cx.metrics
    }

    /// Panics when the parts disagree with each other: a bug of ours, never a peer's doing.
    pub fn check_invariants(&self) {
        self.relay.check_invariants(&self.table);
        self.topics.check_invariants(&self.table);
        self.topics.check_asked(|node| self.broker.owes_nothing(node));
        let channels = self.relay.hub.len() + self.topics.len();
        assert_eq!(self.cx.metrics.channels, channels as u64);
        let count = |so: fn(&Conn) -> bool| self.table.conns(so).len() as u64;
        assert_eq!(self.cx.metrics.handshakes_pending, count(Conn::is_pending));
        assert_eq!(self.cx.metrics.conns_open, count(Conn::is_open));
        assert_eq!(self.strangers.count() as u64, count(|conn| conn.is_stranger()));
        let (mut clients, mut asked, mut guests) = (0, 0, (0, 0));
        self.proxy.check_invariants();
        for slot in self.table.slots() {
            match &slot.party {
                Party::Browser(conn) => {
                    asked += usize::from(conn.is_asked_about()) + conn.topic_questions().len();
                    let over = slot.blocked && conn.is_over(self.cx.settings.outbox_limit);
                    assert!(!over || conn.is_closing(), "an outbox is past its limit");
                }
                Party::Client(_) => clients += 1,
                Party::Guest(_) => guests.0 += 1,
                Party::Uplink(_) => guests.1 += 1,
                Party::Redis(_) | Party::Sentinel(..) | Party::App(_) => {}
                Party::Handler(_) | Party::Gone(_) => {}
            }
            let idle = slot.lines == 0 && !slot.blocked;
            let waits = matches!(slot.party, Party::Browser(_) | Party::Client(_));
            assert!(!(waits && idle && slot.has_unsent()), "somebody is not answered");
        }
        assert_eq!(self.cx.metrics.resp_clients, clients);
        assert_eq!(self.clients.len() as u64, clients);
        assert_eq!(self.proxy.count(), guests);
        let unanswered = self.application.as_ref().map_or(0, Application::unanswered);
        assert_eq!(unanswered, asked, "a question is kept about who has gone");
    }

    /// The number of conns, in whatever part of their life.
    fn conns(&self) -> usize {
        self.cx.metrics.conns as usize
    }

    fn party(&mut self, link: LinkId) -> Option<&mut Party> {
        self.table.get(link).map(|slot| &mut slot.party)
    }

    /// Something is about to be put out.
    fn before(&mut self, output: &Output) {
        match output {
            Output::Dial(link, _) => self.on_dialing(*link),
            Output::Close(link) => {
                if self.table.free(*link) {
                    self.cx.metrics.conns -= 1;
                    self.cx.crowds.leave(*link);
                    self.cx.access_log.ended(*link, self.cx.now);
                }
            }
            Output::Flush(_) | Output::Resume(_) | Output::Finish(_) => {}
        }
    }

    /// Bytes that arrived, or those that were left over when there are none.
    fn received(&mut self, link: LinkId, bytes: &mut [u8]) {
        match self.table.is_browser(link) {
            true => self.browser_received(link, bytes),
            false => self.another_received(link, bytes),
        }
    }

    fn blocked(&mut self, link: LinkId) {
        let Some(slot) = self.table.get(link) else { return };
        if !std::mem::replace(&mut slot.blocked, true) {
            self.cx.took(self.cx.settings.unsent_limit);
        }
        match slot.party {
            Party::Browser(_) => {
                self.after(link);
                self.note_slow(link);
            }
            Party::Client(_) => self.after_client(link),
            _ => {}
        }
    }

    fn hung_up(&mut self, link: LinkId, cause: Cause) {
        let now_ms = self.cx.now.mono_ms;
        let failure = match &cause {
            Cause::Ended => None,
            Cause::Failed(reason) | Cause::Tls(reason) => Some(reason.as_str()),
        };
        match self.party(link) {
            Some(Party::Browser(_)) => {
                self.on_conn(link, |conn, cx| conn.hung_up(link, &cause, cx));
            }
            Some(Party::Redis(node)) => {
                let node = *node;
                self.on_broker_lost(node, Loss::HungUp(failure.unwrap_or("it hung up")));
            }
            Some(Party::Sentinel(node, at)) => {
                let (node, at) = (*node, *at);
                self.on_sentinels(node, |watch, now_ms| watch.hung_up(at, failure, now_ms));
            }
            Some(Party::App(at)) => {
                let at = *at;
                self.application.iter_mut().for_each(|app| app.hung_up(at, failure, now_ms));
            }
            Some(Party::Client(_)) => self.client_hung_up(link, cause == Cause::Ended),
            Some(Party::Guest(_) | Party::Uplink(_)) => self.upstream_hung_up(link, failure),
            Some(Party::Handler(at)) => {
                let at = *at;
                self.handler_lost(at, failure.unwrap_or("it hung up"));
            }
            Some(Party::Gone(_)) | None => {}
        }
    }

    fn set_now(&mut self, now: Now) {
        // A clock that steps back must not make deadlines come late.
        let mono_ms = self.cx.now.mono_ms.max(now.mono_ms);
        self.cx.set_now(Now { mono_ms, unix_ms: now.unix_ms });
    }

    /// Closes whose time is over because the time of day has jumped, as it does when the machine
    /// was suspended: their timers know nothing of that.
    fn follow_the_day(&mut self) {
        if self.cx.day_has_jumped() && self.cx.settings.sources.token.is_some() {
            for link in self.table.conns(Conn::ends) {
                self.on_conn(link, |conn, cx| conn.look_after(link, cx));
            }
        }
    }

    fn fire_timers(&mut self) {
        while let Some((at, indexes)) = self.wheel.fire(self.cx.now.tick()) {
            for index in indexes {
                if let Some((link, slot)) = self.table.at(index)
                    && let Party::Browser(conn) = &mut slot.party
                    && conn.wake == at
                {
                    conn.wake = 0;
                    self.on_conn(link, |conn, cx| conn.look_after(link, cx));
                } else if let Some((link, _)) = self.table.at(index) {
                    self.guest_fired(link, at);
                }
            }
        }
    }

    /// Lets a conn do something, and sees to what came of it.
    fn on_conn(&mut self, link: LinkId, act: impl FnOnce(&mut Conn, &mut Context)) {
        if let Some(conn) = self.table.conn(link) {
            act(conn, &mut self.cx);
            self.after(link);
        }
    }

    /// Something has happened to a conn: what waits for it is to be flushed, one that lets too much
    /// wait is closed, and its timer is to fire no later than its deadline.
    fn after(&mut self, link: LinkId) {
        let limit = self.cx.settings.outbox_limit;
        let Some(slot) = self.table.get(link) else { return };
        let Party::Browser(conn) = &mut slot.party else { return };
        if slot.blocked && conn.is_over(limit) {
            conn.overflowed(link, &mut self.cx);
        }
        if let Some(at) = conn.deadline(&self.cx)
            && (conn.wake == 0 || at < conn.wake)
        {
            conn.wake = self.wheel.schedule(at, link.index);
        }
        self.table.stand(link, 1);
    }
}
