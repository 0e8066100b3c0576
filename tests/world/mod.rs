//! A world around the core, without sockets and without a clock: browsers, a Redis, an application
//! that is asked who they are, and time that passes when it is told to.
//!
//! It drives [`Server`] as the contract at the top of the crate says, and watches that the core
//! keeps its side of it: outputs name links that exist, places agree, nothing is sent after the
//! end, and no deadline is left in the past, which would have a real loop spin.
//!
//! What happens is a function of what it is told: it draws no numbers and looks at no clock.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part of it")]

pub mod app;
pub mod browser;
pub mod redis;
pub mod visitor;

use std::hash::RandomState;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use slab::Slab;
use wsloop::access::channel::Allow;
use wsloop::access::permissions::Rules;
use wsloop::broker::{self, Kind, RedisSettings};
use wsloop::browser::settings::{Refuse, Settings};
use wsloop::link::LinkId;
use wsloop::link::Metrics;
use wsloop::link::Output;
use wsloop::link::Target;
use wsloop::proto::ws::deflate::Compression;
use wsloop::proto::ws::frame::Opcode;
use wsloop::proto::ws::upgrade::AllowedOrigins;
use wsloop::server::Server;

pub use app::FakeApp;
pub use browser::{Browser, Heard, Response, Seen, masked, request, upgrade};
pub use redis::{Arrival, FakeRedis, Reach};
pub use visitor::{Visitor, VisitorId};
pub use wsloop::link::{Cause, Input};

/// The place of a browser among all that there ever were.
pub type BrowserId = usize;

/// Seconds that stored messages live in [`settings`].
pub const EXPIRE_S: u64 = 3600;

/// Milliseconds after which a silent Redis is down in [`with_redis`].
pub const REDIS_TIMEOUT_MS: u64 = 5_000;

/// The time of day when a world begins, in milliseconds of Unix time.
pub const BEGIN_UNIX_MS: u64 = 1_800_000_000_000;

/// Where every browser comes from.
const SOMEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 4321);

/// What the clock of deadlines shows when a world begins.
pub const BEGIN_MS: u64 = 1_000_000;

/// More turns than anything takes that happens at one time.
const MANY_TURNS: usize = 100_000;

/// The server and everything outside.
pub struct World {
    pub server: Server,
    pub now_ms: u64,
    pub browsers: Vec<Browser>,
    pub visitors: Vec<Visitor>,
    pub redis: FakeRedis,
    pub app: FakeApp,
    /// Knob: the time of day, less what has passed since the beginning.
    pub begin_unix_ms: u64,
    /// When Redis was dialed.
    pub dials_ms: Vec<u64>,
    /// What the server was told, when it is watched: then somebody is to take it.
    pub calls: Option<Vec<Call>>,
    /// Knob: links that are flushed in a turn, after which the loop goes on in the next.
    pub flushes: usize,
    pings: bool,
    links: Slab<(u32, Party)>,
    redis_link: Option<LinkId>,
    /// The latest time there has been: Redis has a clock of its own.
    latest_ms: u64,
    /// Bytes of commands that wait for Redis and were looked at.
    peeked: usize,
    /// Bytes that anybody has taken.
    carried: usize,
    /// What has happened to Redis's link and is still to be told.
    redis_news: Option<News>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Party {
    Browser(BrowserId),
    Visitor(VisitorId),
    Redis,
    App,
}

#[derive(Debug)]
enum News {
    Connected,
    HungUp(Cause),
}

/// One thing that the server was told, and what it made of that at once.
#[derive(Debug)]
pub struct Call {
    pub told: Told,
    /// Who has been given a 101 and nothing that ends it.
    pub opened: Vec<BrowserId>,
    /// Who is closed from here on, and with which last bytes.
    pub closing: Vec<(BrowserId, Vec<u8>)>,
    /// What Redis is to do.
    pub commands: Vec<Vec<Vec<u8>>>,
    /// Whether the broker is up.
    pub up: bool,
    /// Messages that have ever come from browsers.
    pub messages: u64,
}

/// What the server was told.
#[derive(Debug)]
pub enum Told {
    /// So many bytes came from a browser.
    Bytes(BrowserId, usize),
    /// A browser sends no more, and may still read; or its link has failed.
    Ended(BrowserId, Cause),
    /// A browser takes no more.
    Blocked(BrowserId),
    /// Redis said this.
    Redis(Vec<Arrival>),
    /// The link to Redis is lost, or was given up.
    Lost,
    /// Anything else.
    Other,
}

/// Whether this is a close frame, and not the rest of another that begins like one.
fn is_close_frame(bytes: &[u8]) -> bool {
    match bytes {
        [0x88, 0] => true,
        [0x88, length, high, low, reason @ ..] if usize::from(*length) == reason.len() + 2 => {
            let code = u16::from_be_bytes([*high, *low]);
            (1000..5000).contains(&code) && std::str::from_utf8(reason).is_ok()
        }
        _ => false,
    }
}

/// The settings most tests use: the embedded broker, everything allowed, and all that happens by
/// itself switched off.
pub fn settings() -> Settings {
    Settings {
        url_prefix: "/ws/".to_string(),
        prefix: String::new(),
        allow: Allow::parse("all").expect("a list"),
        rules: Rules::default(),
        require_login: false,
        sources: Default::default(),
        heartbeat: None,
        ping_interval_ms: 0,
        pong_timeout_ms: 10_000,
        handshake_timeout_ms: 10_000,
        close_timeout_ms: 5_000,
        shutdown_timeout_ms: 10_000,
        max_head_size: 8192,
        max_message_size: 1 << 20,
        max_fragments: 128,
        outbox_limit: 4 << 20,
        overflows: Default::default(),
        max_connections: 20_000,
        max_handshakes: 20_000,
        subprotocols: None,
        allowed_origins: AllowedOrigins::Listed(Vec::new()),
        refuse: Refuse::Status,
        pages: Vec::new(),
        metrics_path: None,
        echo_path: None,
        compression: Compression::Shared,
        compression_min: 256,
        broker: broker::Settings {
            expire_s: EXPIRE_S,
            kind: Kind::Local { store_limit: 64 << 20 },
        },
    }
}

/// The same with Redis.
pub fn with_redis() -> Settings {
    let redis = RedisSettings {
        target: Target::Tcp { host: "localhost".to_string(), port: 6379 },
        user: None,
        password: None,
        db: 0,
        timeout_ms: REDIS_TIMEOUT_MS,
        buffer_limit: 16 << 20,
    };
    let broker = broker::Settings { expire_s: EXPIRE_S, kind: Kind::Redis(redis) };
    Settings { broker, ..settings() }
}

/// Where the application is asked.
pub fn app_target() -> Target {
    Target::Unix("/app.sock".into())
}

/// The settings of Redis among them.
pub fn redis_of(settings: &mut Settings) -> &mut RedisSettings {
    match &mut settings.broker.kind {
        Kind::Redis(redis) => redis,
        Kind::Local { .. } => panic!("these are not for Redis"),
    }
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
            server: Server::new(settings, RandomState::new(), 1),
            now_ms: BEGIN_MS,
            browsers: Vec::new(),
            visitors: Vec::new(),
            redis,
            app: FakeApp::new(),
            begin_unix_ms: BEGIN_UNIX_MS,
            dials_ms: Vec::new(),
            calls,
            flushes: usize::MAX,
            pings,
            latest_ms: 0,
            peeked: 0,
            carried: 0,
            links: Slab::new(),
            redis_link: None,
            redis_news: None,
        };
        world.run();
        world
    }

    // Browsers.

    /// A browser connects.
    pub fn accept(&mut self) -> BrowserId {
        let link = self.server.accept(SOMEWHERE, self.now_ms);
        let id = self.browsers.len();
        self.insert(link, Party::Browser(id));
        let mut browser = Browser::new(link);
        browser.came_ms = self.now_ms.max(self.latest_ms);
        self.browsers.push(browser);
        id
    }

    /// A browser connects and sends this.
    pub fn ask(&mut self, bytes: &[u8]) -> BrowserId {
        let id = self.accept();
        self.send(id, bytes);
        self.run();
        id
    }

    /// A browser asks for a WebSocket, and may have to wait for it.
    pub fn knock(&mut self, target: &str) -> BrowserId {
        self.ask(&upgrade(target, &[]))
    }

    /// A browser asks for a WebSocket and gets it.
    pub fn open(&mut self, target: &str) -> BrowserId {
        let id = self.knock(target);
        assert_eq!(self.status(id), Some(101), "{target}");
        id
    }

    /// Lets bytes go out from a browser, in one piece, at the next turn that has none before.
    pub fn send(&mut self, id: BrowserId, bytes: &[u8]) {
        self.browsers[id].send(bytes.to_vec());
    }

    /// A browser sends a text message.
    pub fn say(&mut self, id: BrowserId, text: &str) {
        self.browsers[id].send_frame(Opcode::Text, text.as_bytes());
        self.run();
    }

    /// A browser sends a frame.
    pub fn send_frame(&mut self, id: BrowserId, opcode: Opcode, payload: &[u8]) {
        self.browsers[id].send_frame(opcode, payload);
        self.run();
    }

    /// A browser ends its side.
    pub fn hang_up(&mut self, id: BrowserId) {
        self.browsers[id].ending = Some(Cause::Ended);
        self.run();
    }

    /// A browser's link fails.
    pub fn vanish(&mut self, id: BrowserId) {
        self.browsers[id].ending = Some(Cause::Failed("Connection reset by peer".to_string()));
        self.run();
    }

    /// A browser takes so many bytes more and then none.
    pub fn stall(&mut self, id: BrowserId, after: usize) {
        self.browsers[id].appetite = Some(after);
    }

    /// A browser takes everything again.
    pub fn resume(&mut self, id: BrowserId) {
        self.browsers[id].appetite = None;
        if self.browsers[id].closed_ms.is_none() {
            self.flush(self.browsers[id].link);
        }
        self.run();
    }

    /// The status that a browser was answered with.
    pub fn status(&self, id: BrowserId) -> Option<u16> {
        self.browsers[id].response.as_ref().map(|response| response.status)
    }

    /// The response that a browser was given, which is complete.
    pub fn response(&self, id: BrowserId) -> &Response {
        self.browsers[id].response.as_ref().expect("it was answered")
    }

    /// Takes everything that a browser was sent.
    pub fn heard(&mut self, id: BrowserId) -> Vec<Heard> {
        std::mem::take(&mut self.browsers[id].heard).into_iter().map(|(_, heard)| heard).collect()
    }

    /// Takes everything that a browser was sent, which must be text.
    pub fn texts(&mut self, id: BrowserId) -> Vec<String> {
        let text = |heard| match heard {
            Heard::Text(text) => text,
            other => panic!("not text: {other:?}"),
        };
        self.heard(id).into_iter().map(text).collect()
    }

    // Redis.

    /// Somebody else publishes and stores a message.
    pub fn publish(&mut self, channel: &str, payload: impl AsRef<[u8]>) {
        self.redis.publish(channel, payload, EXPIRE_S, self.now_ms);
        self.run();
    }

    /// Redis's link breaks; the server may be dialed again.
    pub fn cut_redis(&mut self) {
        if self.redis_link.is_some() {
            self.redis.disconnected();
            self.redis_news =
                Some(News::HungUp(Cause::Failed("Connection reset by peer".to_string())));
        }
        self.run();
    }

    /// Redis dies.
    pub fn kill_redis(&mut self) {
        self.redis.reach = Reach::Refuses;
        self.cut_redis();
    }

    /// Redis is there again, and enough time passes for it to be dialed.
    pub fn revive_redis(&mut self) {
        self.redis.reach = Reach::Answers;
        self.pass(5_000);
        assert_eq!(self.metrics().broker_up, 1);
    }

    /// Redis's link, while there is one.
    pub fn redis_link(&self) -> Option<LinkId> {
        self.redis_link
    }

    // The application.

    /// The only question that the application has not answered, and the number of its link.
    #[track_caller]
    pub fn question(&self) -> (usize, &str) {
        let questions = self.app.questions();
        assert_eq!(questions.len(), 1, "{questions:?}");
        questions[0]
    }

    /// The application answers the only question that it has not answered.
    #[track_caller]
    pub fn answer(&mut self, answer: impl AsRef<[u8]>) {
        let (link, _) = self.question();
        self.app.say(link, answer);
        self.run();
    }

    /// A socket of the application takes questions again.
    pub fn resume_app(&mut self, number: usize) {
        self.flush(self.app.links[number].link);
        self.run();
    }

    // The loop.

    /// What the server has counted.
    pub fn metrics(&self) -> &Metrics {
        self.server.metrics()
    }

    /// The process is asked to end.
    pub fn shut_down(&mut self) {
        self.server.handle(Input::ShutdownAsked, self.now_ms);
        self.note(Told::Other);
        self.run();
    }

    /// Lets time pass, with a turn at each deadline, while the server is not done.
    pub fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while let Some(at_ms) = self.server.next_deadline_ms().filter(|at_ms| *at_ms <= until_ms)
            && !self.server.is_done()
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
        let used = self.server.slices(self.browsers[id].link, &mut slices);
        slices[..used].iter().map(|slice| slice.len()).sum()
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
            let deadline_ms = self.server.next_deadline_ms();
            let is_due = deadline_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
            let is_over = !is_due || self.server.is_done();
            if is_over && !self.is_busy() {
                return;
            }
        }
        panic!("the loop would spin");
    }

    /// One turn of the loop: each party is heard once, Redis first. True when the turn was over
    /// before all was put out, so that another follows at once.
    pub fn turn(&mut self) -> bool {
        self.server.set_clock(self.begin_unix_ms + self.now_ms.saturating_sub(BEGIN_MS));
        self.hear_redis();
        self.hear_app();
        for id in 0..self.browsers.len() {
            self.hear_browser(id);
        }
        for id in 0..self.visitors.len() {
            self.hear_visitor(id);
        }
        self.server.tick(self.now_ms);
        self.note(Told::Other);
        let cut = self.put_out();
        self.latest_ms = self.latest_ms.max(self.now_ms);
        self.redis.work(self.latest_ms);
        self.server.check_invariants();
        let is_conn = |party: &Party| matches!(party, Party::Browser(_));
        let conns = self.links.iter().filter(|(_, (_, party))| is_conn(party)).count();
        assert_eq!(self.metrics().conns as usize, conns);
        cut && self.server.next_deadline_ms().is_some_and(|at_ms| at_ms <= self.latest_ms)
    }

    /// Whether somebody outside has something to say.
    fn is_busy(&self) -> bool {
        self.redis_news.is_some()
            || self.redis.has_to_speak()
            || self.app.has_to_speak()
            || self.browsers.iter().any(Browser::has_to_speak)
            || self.visitors.iter().any(Visitor::has_to_speak)
    }

    fn hear_redis(&mut self) {
        let Some(link) = self.redis_link else { return };
        match self.redis_news.take() {
            Some(News::Connected) => {
                self.redis.connected();
                self.server.handle(Input::Connected { link }, self.now_ms);
                self.note(Told::Other);
            }
            Some(News::HungUp(cause)) => {
                self.server.handle(Input::HungUp { link, cause }, self.now_ms);
                self.note(Told::Lost);
            }
            None if !self.server.is_reading(link) => {}
            None => {
                let Some((mut bytes, breaks)) = self.redis.speak() else { return };
                if !bytes.is_empty() {
                    let bytes = &mut bytes[..];
                    self.server.handle(Input::Received { link, bytes }, self.now_ms);
                    let arrived = self.redis.take_arrived();
                    self.note(Told::Redis(arrived));
                }
                if breaks {
                    self.redis.disconnected();
                    self.redis_news = Some(News::HungUp(Cause::Ended));
                }
            }
        }
    }

    /// The application says all that it has to say.
    fn hear_app(&mut self) {
        while let Some((link, said)) = self.app.speak() {
            self.flush(link);
            match said {
                app::Said::Connected => self.server.handle(Input::Connected { link }, self.now_ms),
                app::Said::Bytes(mut bytes) => {
                    let bytes = &mut bytes[..];
                    self.server.handle(Input::Received { link, bytes }, self.now_ms);
                }
                app::Said::HungUp(cause) => {
                    self.server.handle(Input::HungUp { link, cause }, self.now_ms);
                }
            }
            self.note(Told::Other);
        }
    }

    fn hear_browser(&mut self, id: BrowserId) {
        let browser = &mut self.browsers[id];
        if !browser.has_to_speak() {
            return;
        }
        let link = browser.link;
        // With every event epoll says as well that the socket can be written to.
        self.flush(link);
        if !self.server.is_reading(link) {
            return;
        }
        let browser = &mut self.browsers[id];
        if let Some(mut bytes) = browser.sending.pop_front() {
            let bytes = &mut bytes[..];
            let length = bytes.len();
            browser.lively_ms = self.now_ms.max(self.latest_ms);
            self.server.handle(Input::Received { link, bytes }, self.now_ms);
            return self.note(Told::Bytes(id, length));
        }
        if let Some(cause) = browser.ending.take() {
            browser.ended = true;
            let told = Told::Ended(id, cause.clone());
            self.server.handle(Input::HungUp { link, cause }, self.now_ms);
            self.note(told);
        }
    }

    fn put_out(&mut self) -> bool {
        let mut flushes = self.flushes;
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Dial(link, target) if target == app_target() => {
                    self.insert(link, Party::App);
                    self.app.dialed(link);
                }
                Output::Dial(link, _) => self.dial(link),
                Output::Flush(link) => {
                    self.flush(link);
                    flushes -= 1;
                    if flushes == 0 {
                        return true;
                    }
                }
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
    }

    /// Pulls what waits for a link, as far as the other end takes it.
    fn flush(&mut self, link: LinkId) {
        let party = self.party(link);
        loop {
            let mut slices = [IoSlice::new(&[]); 4];
            let used = self.server.slices(link, &mut slices);
            if used == 0 {
                return;
            }
            let given = slices[..used].iter().flat_map(|slice| slice.iter().copied());
            let given: Vec<u8> = given.collect();
            assert!(!given.is_empty(), "slices of nothing");
            let taken = match party {
                Party::App => self.app.receive(link, &given),
                Party::Redis => {
                    let appetite = &mut self.redis.appetite;
                    let taken = appetite.map_or(given.len(), |most| most.min(given.len()));
                    *appetite = appetite.map(|most| most - taken);
                    self.redis.receive(&given[..taken]);
                    self.peeked = self.peeked.saturating_sub(taken);
                    taken
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
                Party::Visitor(id) => self.visitors[id].take(&given),
            };
            self.server.advance(link, taken);
            self.carried += taken;
            if taken < given.len() {
                self.server.handle(Input::Blocked { link }, self.now_ms);
                return self.note(match party {
                    Party::Redis | Party::App | Party::Visitor(_) => Told::Other,
                    Party::Browser(id) => Told::Blocked(id),
                });
            }
        }
    }

    /// Notes what the server was told and what has come of it, when it is watched.
    fn note(&mut self, told: Told) {
        if self.calls.is_none() {
            return;
        }
        let up = self.metrics().broker_up == 1;
        let (opened, closing, commands) = (Vec::new(), Vec::new(), Vec::new());
        let messages = self.metrics().messages_in_total;
        let mut call = Call { told, opened, closing, commands, up, messages };
        for id in 0..self.browsers.len() {
            let browser = &self.browsers[id];
            if browser.closed_ms.is_some() || browser.seen == Seen::Closing {
                continue;
            }
            let mut few = [IoSlice::new(&[]); 16];
            let used = self.server.slices(browser.link, &mut few);
            let mut many = Vec::new();
            let mut slices = &few[..used];
            if used == few.len() {
                many.resize(1 << 13, IoSlice::new(&[]));
                let used = self.server.slices(browser.link, &mut many);
                slices = &many[..used];
            }
            let (Some(first), Some(last)) = (slices.first(), slices.last()) else { continue };
            let mut seen = browser.seen;
            if seen == Seen::Nothing {
                let opens = first.starts_with(b"HTTP/1.1 101") && first.ends_with(b"\r\n\r\n");
                seen = if opens { Seen::Open } else { Seen::Closing };
                call.opened.extend(opens.then_some(id));
                let browser = &mut self.browsers[id];
                let now_ms = self.now_ms.max(self.latest_ms);
                (browser.lively_ms, browser.spoken_to_ms) = (now_ms, now_ms);
            }
            if seen == Seen::Closing || is_close_frame(last) {
                seen = Seen::Closing;
                call.closing.push((id, last.to_vec()));
                self.browsers[id].closing_ms = Some(self.latest_ms());
            }
            self.browsers[id].seen = seen;
        }
        if let Some(link) = self.redis_link {
            let mut slices = [IoSlice::new(&[])];
            if self.server.slices(link, &mut slices) > 0 {
                let mut rest = &slices[0][self.peeked.min(slices[0].len())..];
                while let Some((command, length)) = redis::parse_command(rest) {
                    call.commands.push(command);
                    rest = &rest[length..];
                }
                self.peeked = slices[0].len();
            }
        }
        self.calls.as_mut().expect("it is watched").push(call);
    }

    fn close(&mut self, link: LinkId) {
        match self.party(link) {
            Party::Browser(id) => {
                let browser = &mut self.browsers[id];
                browser.closed_ms = Some(self.now_ms);
                browser.ended = true;
            }
            Party::Visitor(id) => self.visitors[id].closed = true,
            // A link that was given up may not be the one that is there now.
            Party::Redis if self.redis_link == Some(link) => {
                self.redis.disconnected();
                (self.redis_link, self.redis_news) = (None, None);
                self.note(Told::Lost);
            }
            Party::Redis => {}
            Party::App => self.app.closed(link),
        }
        self.links.remove(link.index as usize);
    }

    fn insert(&mut self, link: LinkId, party: Party) {
        let index = self.links.insert((link.generation, party));
        assert_eq!(index, link.index as usize, "the core and its loop disagree about places");
    }

    fn party(&self, link: LinkId) -> Party {
        match self.links.get(link.index as usize) {
            Some((generation, party)) if *generation == link.generation => *party,
            _ => panic!("{link:?} is not known"),
        }
    }
}
