//! A world around the core, without sockets and without a clock: browsers, a Redis, an application
//! that is asked who they are, and time that passes when it is told to.
//!
//! It drives [`Server`] as the contract at the top of the crate says, and watches that the core
//! keeps its side of it: outputs name links that exist, each link has a place of its own, nothing
//! is sent after the end, and no deadline is left in the past, which would have a real loop spin.
//!
//! What happens is a function of what it is told: it draws no numbers and looks at no clock.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part of it")]

pub mod app;
pub mod browser;
pub mod handler;
pub mod redis;
pub mod resp_client;

mod calls;
mod contract;
mod hear;
mod nodes;
mod people;
mod settings;
mod setup;
mod stream;

use std::collections::BTreeMap;
use std::io::IoSlice;

use wsloop::{Gathered, Server, Settings, Target};

pub use app::{FakeApp, Mark};
pub use browser::{Browser, Heard, Response, Seen, masked, request, upgrade};
pub use calls::{AppTold, Call, Told};
pub use contract::{Cause, Input};
use contract::{LinkId, Output, next_write, unsent};
pub use handler::{FakeHandlers, HandlerHeard, HandlerLink};
use nodes::Node;
pub use redis::{Arrival, FakeRedis, Reach, Shard, slot};
pub use resp_client::{RespClient, RespClientId};
pub use settings::{
    AUTH_TIMEOUT_MS, EXPIRE_S, REDIS_TIMEOUT_MS, app_target, application, by_application,
    by_session, on_kept_links, redis_of, sessions, settings, with_cluster, with_redis,
    with_replica, with_several,
};
pub use setup::{Packing, Setup, token};

/// The place of a browser among all that there ever were.
pub type BrowserId = usize;

/// The time of day when a world begins, in milliseconds of Unix time.
pub const BEGIN_UNIX_MS: u64 = 1_800_000_000_000;

/// What the clock of deadlines shows when a world begins.
pub const BEGIN_MS: u64 = 1_000_000;

/// More turns than anything takes that happens at one time.
const MANY_TURNS: usize = 100_000;

/// The server and everything outside.
pub struct World {
    pub server: Server,
    gathered: Gathered,
    pub now_ms: u64,
    pub browsers: Vec<Browser>,
    pub resp_clients: Vec<RespClient>,
    pub redis: FakeRedis,
    nodes: Vec<Node>,
    pub app: FakeApp,
    pub handlers: FakeHandlers,
    /// Knob: the time of day, less what has passed since the beginning.
    pub begin_unix_ms: u64,
    /// When Redis was dialed.
    pub dials_ms: Vec<u64>,
    /// What the server was told, when it is watched: then somebody is to take it.
    pub calls: Option<Vec<Call>>,
    /// Knob: links that are flushed in a turn, after which the loop goes on in the next.
    pub flushes: usize,
    /// Knob: pulls from one link in a flush, after which the loop says that it has stopped.
    pub pulls: usize,
    pings: bool,
    links: BTreeMap<u32, (u32, Party)>,
    /// Links that go on in the next turn, whether or not they have something new to say.
    leftovers: Vec<LinkId>,
    /// Links that are not asked for their wish until the server names them.
    resting: Vec<LinkId>,
    redis_link: Option<LinkId>,
    /// The latest time there has been: Redis has a clock of its own.
    latest_ms: u64,
    /// Bytes of commands that wait for Redis and were looked at.
    peeked: usize,
    /// Bytes that anybody has taken.
    carried: usize,
    /// What has happened to Redis's link and is still to be told.
    redis_news: Option<News>,
    /// That Redis's link is lost is noted.
    loss_noted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Party {
    Browser(BrowserId),
    RespClient(RespClientId),
    Redis,
    Node(usize),
    App,
    Handler,
}

#[derive(Debug)]
enum News {
    Connected,
    HungUp(Cause),
}

impl World {
    /// A server of these settings, which has had its first turn.
    pub fn new(settings: Settings) -> Self {
        World::around(settings, FakeRedis::new())
    }

    /// The same, with a Redis that was prepared.
    pub fn around(settings: Settings, redis: FakeRedis) -> Self {
        World::begin(settings, redis, None)
    }

    /// The same, and what the server is told is noted from the start.
    pub fn watched(settings: Settings, redis: FakeRedis) -> Self {
        World::begin(settings, redis, Some(Vec::new()))
    }

    fn begin(settings: Settings, redis: FakeRedis, calls: Option<Vec<Call>>) -> Self {
        let pings = settings.ping_interval_ms > 0;
        let mut world = World {
            nodes: nodes::besides_the_first(&settings),
            server: contract::server(settings),
            gathered: contract::gathered(),
            now_ms: BEGIN_MS,
            browsers: Vec::new(),
            resp_clients: Vec::new(),
            redis,
            app: FakeApp::new(),
            handlers: FakeHandlers::default(),
            begin_unix_ms: BEGIN_UNIX_MS,
            dials_ms: Vec::new(),
            calls,
            flushes: usize::MAX,
            pulls: usize::MAX,
            pings,
            latest_ms: 0,
            peeked: 0,
            carried: 0,
            links: BTreeMap::new(),
            leftovers: Vec::new(),
            resting: Vec::new(),
            redis_link: None,
            redis_news: None,
            loss_noted: false,
        };
        world.run();
        world
    }

    /// The process is going to be asked to end.
    pub fn announce_the_end(&mut self) {
        self.handle(Input::ShutdownAnnounced);
        self.run();
    }

    /// The process is asked to end.
    pub fn shut_down(&mut self) {
        self.handle(Input::ShutdownAsked);
        self.note(Told::ShutDown);
        self.run();
    }

    /// Lets time pass, with a turn at each deadline, while the server is not done.
    pub fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while let Some(at_ms) = self.next_deadline_ms().filter(|at_ms| *at_ms <= until_ms)
            && !self.is_done()
        {
            self.now_ms = at_ms;
            self.run();
        }
        self.now_ms = until_ms;
        self.run();
    }

    /// Whether the server pings silent browsers.
    pub fn server_pings(&self) -> bool {
        self.pings
    }

    /// Bytes that wait for a browser.
    pub fn waiting(&self, id: BrowserId) -> usize {
        let mut slices = vec![IoSlice::new(&[]); 1 << 10];
        let used = unsent(&self.server, self.browsers[id].link, &mut slices);
        slices[..used].iter().map(|slice| slice.len()).sum()
    }

    /// Pieces in which bytes wait for a browser.
    pub fn pieces(&self, id: BrowserId) -> usize {
        let mut slices = vec![IoSlice::new(&[]); 1 << 10];
        unsent(&self.server, self.browsers[id].link, &mut slices)
    }

    /// The latest time there has been.
    pub fn latest_ms(&self) -> u64 {
        self.latest_ms.max(self.now_ms)
    }

    /// Redis's socket takes commands again.
    pub fn resume_redis(&mut self) {
        self.redis.appetite = None;
        if let Some(link) = self.redis_link {
            self.flush(link);
        }
        self.run();
    }

    /// Turns until nothing happens any more.
    pub fn run(&mut self) {
        let (mut idle, mut turns) = (0, 0);
        while idle < 3 {
            turns += 1;
            assert!(turns < MANY_TURNS, "somebody is never heard");
            idle = if self.is_busy() { 0 } else { idle + 1 };
            let carried = self.carried;
            // A turn in which something went out was no idle one.
            if self.turn() || self.carried > carried {
                idle = 0;
                continue;
            }
            let deadline_ms = self.next_deadline_ms();
            let is_due = deadline_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
            let is_over = !is_due || self.is_done();
            if is_over && !self.is_busy() {
                return;
            }
        }
        panic!("the loop would spin");
    }

    /// One turn of the loop: each party is heard once, Redis first. True when the turn was over
    /// before all was put out, so that another follows at once.
    pub fn turn(&mut self) -> bool {
        self.hear_those_who_go_on();
        self.hear_redis();
        self.hear_nodes();
        self.hear_app();
        self.hear_handlers();
        for id in 0..self.browsers.len() {
            self.hear_browser(id);
        }
        for id in 0..self.resp_clients.len() {
            self.hear_resp_client(id);
        }
        self.tick();
        self.note(Told::Tick);
        let cut = self.put_out();
        self.latest_ms = self.latest_ms.max(self.now_ms);
        self.redis.work(self.latest_ms);
        for node in &mut self.nodes {
            node.redis.work(self.latest_ms);
        }
        self.run_bus();
        self.server.check_invariants();
        let kept = self.app.links.iter().any(|link| link.dead && !link.closed);
        assert!(!kept || cut, "a link to the application is kept that has ended");
        let is_conn = |party: &Party| matches!(party, Party::Browser(_));
        let conns = self.links.values().filter(|(_, party)| is_conn(party)).count();
        assert_eq!(self.metrics().conns as usize, conns);
        cut && self.next_deadline_ms().is_some_and(|at_ms| at_ms <= self.latest_ms)
    }

    /// Whether somebody outside has something to say.
    fn is_busy(&self) -> bool {
        self.redis_news.is_some()
            || self.redis.has_to_speak()
            || self.nodes.iter().any(Node::has_to_speak)
            || self.app.has_to_speak()
            || self.handlers.has_to_speak()
            || !self.leftovers.is_empty()
            || self
                .browsers
                .iter()
                .any(|one| one.has_to_speak() && !self.resting.contains(&one.link))
            || self.resp_clients.iter().any(RespClient::has_to_speak)
    }

    fn put_out(&mut self) -> bool {
        let mut flushes = self.flushes;
        while let Some(output) = self.next_output() {
            match output {
                Output::Dial(link, target) if target == app_target() => {
                    self.insert(link, Party::App);
                    self.app.dialed(link);
                    self.note(Told::AppSilent(self.app.silent()));
                }
                Output::Dial(link, Target::Unix(path)) => {
                    self.insert(link, Party::Handler);
                    self.handlers.dialed(link, path.display().to_string());
                }
                Output::Dial(link, target) => match self.node_at(&target) {
                    Some(at) => self.dial_node(at, link),
                    None => self.dial(link),
                },
                Output::Flush(link) => {
                    self.flush(link);
                    flushes -= 1;
                    if flushes == 0 {
                        return true;
                    }
                }
                Output::Resume(link) => self.resume_reading(link),
                Output::Finish(link) => match self.party(link) {
                    Party::Browser(id) => self.browsers[id].finish(self.now_ms),
                    party => panic!("{party:?} is not finished with"),
                },
                Output::Close(link) => self.close(link),
            }
        }
        false
    }

    fn dial(&mut self, link: LinkId) {
        self.insert(link, Party::Redis);
        self.redis.disconnected();
        self.peeked = 0;
        self.dials_ms.push(self.now_ms);
        self.redis_link = Some(link);
        self.redis_news = match self.redis.reach {
            Reach::Answers => Some(News::Connected),
            Reach::Refuses => Some(News::HungUp(Cause::Failed("Connection refused".to_string()))),
            Reach::Silent => None,
        };
        self.loss_noted = false;
        self.note(Told::Dialed);
    }

    /// Pulls what waits for a link, as far as the other end takes it.
    fn flush(&mut self, link: LinkId) {
        let party = self.party(link);
        for _ in 0..self.pulls {
            let mut slices = [IoSlice::new(&[]); 4];
            let used = next_write(&self.server, link, &mut slices, &mut self.gathered);
            if used == 0 {
                return;
            }
            let whole = |slices: &[IoSlice<'_>]| -> Vec<u8> {
                slices.iter().flat_map(|slice| slice.iter().copied()).collect()
            };
            let given = whole(&slices[..used]);
            assert!(!given.is_empty(), "slices of nothing");
            let used = unsent(&self.server, link, &mut slices);
            let shown = whole(&slices[..used]);
            assert!(given.starts_with(&shown) || shown.starts_with(&given), "it is what waits");
            let taken = match party {
                Party::App => self.app.receive(link, &given),
                Party::Handler => self.handlers.receive(link, &given),
                Party::Redis => {
                    let appetite = &mut self.redis.appetite;
                    let taken = appetite.map_or(given.len(), |most| most.min(given.len()));
                    *appetite = appetite.map(|most| most - taken);
                    self.redis.receive(&given[..taken]);
                    self.peeked = self.peeked.saturating_sub(taken);
                    taken
                }
                Party::Node(at) => {
                    self.nodes[at].redis.receive(&given);
                    given.len()
                }
                Party::Browser(id) => {
                    let browser = &mut self.browsers[id];
                    // A socket that is new takes something.
                    let first = usize::from(browser.taken == 0);
                    let taken = browser.appetite.map_or(given.len(), |most| most.max(first));
                    let taken = taken.min(given.len());
                    browser.appetite = browser.appetite.map(|most| most.saturating_sub(taken));
                    browser.take(&given[..taken], self.now_ms.max(self.latest_ms));
                    taken
                }
                Party::RespClient(id) => self.resp_clients[id].take(&given),
            };
            self.advance(link, taken);
            self.carried += taken;
            if taken < given.len() {
                self.handle(Input::Blocked { link });
                return self.note(match party {
                    Party::Browser(id) => Told::Blocked(id),
                    _ => Told::Other,
                });
            }
        }
        self.handle(Input::Writable { link });
        self.note(Told::Other);
    }

    fn close(&mut self, link: LinkId) {
        match self.party(link) {
            Party::Browser(id) => {
                let browser = &mut self.browsers[id];
                browser.closed_ms = Some(self.now_ms);
                browser.ended = true;
            }
            Party::RespClient(id) => self.resp_clients[id].closed = true,
            // A link that was given up may not be the one that is there now.
            Party::Redis if self.redis_link == Some(link) => {
                self.redis.disconnected();
                (self.redis_link, self.redis_news) = (None, None);
                self.note_loss();
            }
            Party::Redis => {}
            Party::Node(at) => self.close_node(at, link),
            Party::Handler => self.handlers.closed(link),
            Party::App => {
                self.app.closed(link, self.latest_ms());
                self.note(Told::AppSilent(self.app.silent()));
            }
        }
        self.links.remove(&link.index);
        self.resting.retain(|resting| *resting != link);
    }

    fn insert(&mut self, link: LinkId, party: Party) {
        let other = self.links.insert(link.index, (link.generation, party));
        assert!(other.is_none(), "the core named two links of one place");
    }

    fn party(&self, link: LinkId) -> Party {
        self.find_party(link).unwrap_or_else(|| panic!("{link:?} is not known"))
    }

    fn find_party(&self, link: LinkId) -> Option<Party> {
        let known = self.links.get(&link.index);
        known.filter(|(generation, _)| *generation == link.generation).map(|(_, party)| *party)
    }

    /// Whether bytes of a browser are left over that were read.
    fn is_left_over(&self, id: BrowserId) -> bool {
        self.leftovers.contains(&self.browsers[id].link)
    }
}
