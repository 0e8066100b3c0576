//! What the benchmarks share: the core of wsloop in the hands of a loop that has no sockets.
//!
//! It knows the contract at the top of wsloop and what a browser and Redis would say; it measures
//! nothing. Its rules: everything is done in the same order every time, time passes when it is told
//! to, and what a peer sends is made by the caller, outside of what is measured.

pub mod live;
pub mod sites;

use std::hash::RandomState;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use wsloop::internals::browser::Order;
use wsloop::proto::ws::frame::{self, Opcode};
use wsloop::{
    Allow, BrokerKind, BrokerSettings, ConnId, Endpoint, Gathered, HistoryRule, HistoryRules,
    Input, LinkId, Now, Output, RedisAddress, RedisSettings, Server, Settings, SocketEvent, Target,
    Wish,
};

/// Where every browser comes from.
const SOMEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 4321);

/// Bytes that one read brings at most, as in wsloop's own loop.
pub const READ: usize = 128 << 10;

/// Path of the WebSockets whose messages come back.
pub const ECHO: &str = "/echo";

/// Path of the WebSockets of an application.
pub const OWN: &str = "/own/";

/// Slices that are taken at once: few, so that little of what is measured is this loop's own.
const SLICES: usize = 8;
/// Room for what is put together before it is sent.
const GATHERED_BYTES: usize = 16 << 10;

/// A server, its time, and Redis when it has one.
#[derive(Debug)]
pub struct Core {
    server: Server,
    gathered: Gathered,
    now_ms: u64,
    redis: Option<LinkId>,
    /// Links that the server closed.
    closed: usize,
}

impl Core {
    /// A server with the embedded broker.
    pub fn local() -> Core {
        Core::new(settings(BrokerKind::Local { store_limit: 64 << 20 }))
    }

    /// The same, where every channel has a history.
    pub fn local_with_history() -> Core {
        let rules = vec![HistoryRule::parse("*=100/300").expect("a rule")];
        let history = HistoryRules { prefix: String::new(), rules };
        let settings = settings(BrokerKind::Local { store_limit: 64 << 20 });
        Core::new(Settings { history, ..settings })
    }

    /// A server with an endpoint of an application below [`OWN`].
    pub fn endpoint() -> Core {
        let endpoint = Endpoint { path: OWN.to_owned(), ..Endpoint::default() };
        let settings = settings(BrokerKind::Local { store_limit: 64 << 20 });
        Core::new(Settings { endpoints: vec![endpoint], ..settings })
    }

    /// A server with a Redis that is up.
    pub fn redis() -> Core {
        let mut core = Core::new(settings(redis_kind()));
        core.greet();
        core
    }

    /// Redis is dialed, and greets.
    fn greet(&mut self) {
        self.pass(1);
        self.redis_says(&mut b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec());
        self.drain();
        assert_eq!(self.server.metrics().broker_up, 1, "Redis was greeted");
    }

    fn new(settings: Settings) -> Core {
        let server = Server::new(settings, RandomState::new(), 1);
        let gathered = Gathered::of(GATHERED_BYTES);
        Core { server, gathered, now_ms: 1_000_000, redis: None, closed: 0 }
    }

    /// A browser connects and asks for a WebSocket; nothing is sent yet.
    pub fn ask(&mut self, request: &mut [u8]) -> LinkId {
        let link = self.server.accept(SOMEWHERE, self.now());
        self.receive(link, request);
        link
    }

    /// A browser opens a WebSocket that the embedded broker, or none, has a part in.
    pub fn open(&mut self, request: &[u8]) -> LinkId {
        let open = self.open_conns();
        let link = self.ask(&mut request.to_vec());
        self.drain();
        assert_eq!(self.open_conns(), open + 1, "the handshake is complete");
        link
    }

    /// A browser opens a WebSocket of the application, which receives that.
    pub fn open_own(&mut self) -> ConnId {
        self.open(&upgrade(OWN, &[]));
        let mut events = Vec::new();
        self.server.take_events(0, &mut events);
        self.obey(Order::Received { endpoint: 0, events: events.len(), bytes: 0 });
        match events[..] {
            [SocketEvent::Opened { conn, .. }] => conn,
            _ => panic!("{events:?}"),
        }
    }

    /// The application wants something.
    pub fn obey(&mut self, order: Order) {
        let now = self.now();
        self.server.obey(std::iter::once(order), now);
    }

    /// A browser opens a WebSocket that hears the broadcasts to a facility, which Redis confirms
    /// when it is asked to.
    pub fn open_by_redis(&mut self, facility: &str) -> LinkId {
        let (open, channels) = (self.open_conns(), self.server.metrics().channels);
        let link = self.ask(&mut upgrade(&hears(facility), &[]));
        let mut answer = Vec::new();
        if self.server.metrics().channels > channels {
            let length = facility.len() + "broadcast:".len();
            let confirmed =
                format!(">3\r\n$9\r\nsubscribe\r\n${length}\r\nbroadcast:{facility}\r\n:1\r\n");
            answer.extend_from_slice(confirmed.as_bytes());
        }
        // Nothing is stored.
        answer.extend_from_slice(b"_\r\n");
        self.drain();
        self.redis_says(&mut answer);
        self.drain();
        assert_eq!(self.open_conns(), open + 1, "the handshake is complete");
        link
    }

    /// Bytes arrive from a browser, and are all looked at unless the turn is full.
    pub fn receive(&mut self, link: LinkId, bytes: &mut [u8]) {
        self.server.handle(Input::Received { link, bytes }, self.now());
        while self.server.wish(link) == Wish::GoOn {
            self.server.handle(Input::WentOn { link }, self.now());
        }
    }

    fn now(&self) -> Now {
        Now { mono_ms: self.now_ms, unix_ms: 1_800_000_000_000 }
    }

    /// Bytes arrive from Redis.
    pub fn redis_says(&mut self, bytes: &mut [u8]) {
        let link = self.redis.expect("this server has a Redis");
        self.server.handle(Input::Received { link, bytes }, self.now());
    }

    /// Lets so many milliseconds pass, and does what that brings.
    pub fn pass(&mut self, ms: u64) -> usize {
        self.now_ms += ms;
        self.server.tick(self.now());
        self.drain()
    }

    /// Does what is to be done outside: every byte that waits is taken at once. Returns how many
    /// those were.
    pub fn drain(&mut self) -> usize {
        let mut sent = 0;
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Flush(link) => sent += self.flush(link),
                Output::Dial(link, _) => {
                    self.redis = Some(link);
                    self.server.handle(Input::Connected { link }, self.now());
                }
                Output::Resume(link) => {
                    while self.server.wish(link) == Wish::GoOn {
                        self.server.handle(Input::WentOn { link }, self.now());
                    }
                }
                Output::Close(_) => self.closed += 1,
                Output::Finish(_) => panic!("nobody was to be shut"),
            }
        }
        sent
    }

    /// Takes turns, in which no time passes, until there is nothing left to send.
    pub fn drain_turns(&mut self) -> usize {
        let mut sent = self.drain();
        loop {
            match self.pass(0) {
                0 => return sent,
                more => sent += more,
            }
        }
    }

    /// Conns that are open.
    pub fn open_conns(&self) -> u64 {
        self.server.metrics().conns_open
    }

    /// Links that the server has closed.
    pub fn closed(&self) -> usize {
        self.closed
    }

    /// Times that a message was compressed.
    pub fn compressions(&self) -> u64 {
        self.server.metrics().compressions_total
    }

    fn flush(&mut self, link: LinkId) -> usize {
        let mut sent = 0;
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.server.next_write(link, &mut slices, &mut self.gathered);
            let bytes = slices[..used].iter().map(|slice| slice.len()).sum();
            if bytes > 0 {
                self.server.advance(link, bytes);
                sent += bytes;
            }
            if used < SLICES {
                return sent;
            }
        }
    }
}

/// The target of a WebSocket that hears the broadcasts to a facility.
pub fn hears(facility: &str) -> String {
    format!("/ws/{facility}?subscribe-broadcast")
}

/// The target of a WebSocket that speaks to a facility.
pub fn speaks(facility: &str) -> String {
    format!("/ws/{facility}?publish-broadcast")
}

/// A request for a stream of events.
pub fn stream(target: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: www.example.com\r\nAccept: text/event-stream\r\n\
         Cache-Control: no-cache\r\nCookie: sessionid=q6rcuo1nkc7hgxqkc9vbzd2m0n5s8t4w\r\n\r\n"
    )
    .into_bytes()
}

/// A request for a WebSocket as Chromium makes it, with more headers if wanted.
pub fn upgrade(target: &str, more: &[&str]) -> Vec<u8> {
    let mut head = format!(
        "GET {target} HTTP/1.1\r\nHost: www.example.com\r\nConnection: Upgrade\r\n\
         Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux \
         x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
         Upgrade: websocket\r\nOrigin: https://www.example.com\r\nSec-WebSocket-Version: 13\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
         Cookie: sessionid=q6rcuo1nkc7hgxqkc9vbzd2m0n5s8t4w\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for line in more {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// The header by which browsers offer to compress.
pub const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";

/// A browser's text frame.
pub fn masked(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode_masked(Opcode::Text, payload, [0x37, 0xfa, 0x21, 0x3d], &mut out);
    out
}

/// A browser's close frame.
pub fn close() -> Vec<u8> {
    let mut out = Vec::new();
    let code = 1000u16.to_be_bytes();
    frame::encode_masked(Opcode::Close, &code, [0x37, 0xfa, 0x21, 0x3d], &mut out);
    out
}

/// Redis's push of a message to the broadcasts of a facility.
pub fn push(facility: &str, payload: &str) -> Vec<u8> {
    let (channel, length) = (facility.len() + "broadcast:".len(), payload.len());
    format!(
        ">3\r\n$7\r\nmessage\r\n${channel}\r\nbroadcast:{facility}\r\n${length}\r\n{payload}\r\n"
    )
    .into_bytes()
}

/// So many bytes of ASCII text, such as applications send: objects of a few fields.
pub fn text(bytes: usize) -> String {
    text_of(1, bytes)
}

/// The same, with other values for each seed.
pub fn text_of(seed: u64, bytes: usize) -> String {
    let mut text = String::new();
    let mut random = seed;
    while text.len() < bytes {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let (id, price) = (random >> 52, (random >> 33) % 100_000);
        text.push_str(&format!("{{\"id\":{id},\"name\":\"instrument {id}\",\"price\":{price}}},"));
    }
    text.truncate(bytes);
    text
}

fn redis_kind() -> BrokerKind {
    BrokerKind::Redis(vec![RedisSettings {
        address: RedisAddress::Fixed(Target::Tcp { host: "localhost".to_owned(), port: 6379 }),
        user: None,
        password: None,
        db: 0,
        timeout_ms: 5_000,
        buffer_limit: 16 << 20,
        window: 4 << 20,
    }])
}

/// wsloop's defaults, with room for as many conns as are wanted.
fn settings(kind: BrokerKind) -> Settings {
    Settings {
        allow: Allow::parse("all").expect("a list"),
        max_fragments: 128,
        max_connections: 1 << 30,
        max_handshakes: 1 << 30,
        echo_path: Some(ECHO.to_owned()),
        broker: BrokerSettings { expire_s: 3600, kind },
        ..Settings::base()
    }
}
