//! A loop that takes its turns when it is told to, with a Redis and browsers at the other ends.

use std::fs;
use std::hash::RandomState;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Metrics, Reactor, RedisAddress, Server, Settings, Target};

use crate::support::PATIENCE;
use crate::support::client::{Client, Event, frame_bytes, upgrade};
use crate::world::{FakeRedis, redis_of, with_redis};

/// A turn in which nothing happens takes so long.
const SLEEP: Duration = Duration::from_millis(2);

/// The loop.
pub struct Loop {
    pub reactor: Reactor,
    pub redis: Option<RedisEnd>,
    /// The system calls that wrote, of each turn, when they are counted.
    pub writes: Option<Vec<usize>>,
}

impl Loop {
    /// A loop with the embedded broker, or with what the settings say.
    pub fn new(settings: Settings) -> Loop {
        let server = Server::new(settings, RandomState::new(), 1);
        let listen = ["127.0.0.1:0".to_owned()];
        let reactor = Reactor::bind(&listen, server).expect("a loop");
        Loop { reactor, redis: None, writes: None }
    }

    /// A loop whose Redis is up.
    pub fn with_redis(change: impl FnOnce(&mut Settings)) -> Loop {
        let end = RedisEnd::at("127.0.0.1", 0);
        let mut settings = with_redis();
        let target = Target::Tcp { host: "127.0.0.1".to_owned(), port: end.port() };
        redis_of(&mut settings).address = RedisAddress::Fixed(target);
        change(&mut settings);
        let mut lp = Loop { redis: Some(end), ..Loop::new(settings) };
        lp.until("Redis is up", |lp| lp.metrics().broker_up == 1);
        lp
    }

    /// One turn. Then Redis does what it was asked.
    pub fn turn(&mut self) {
        self.turn_for(SLEEP);
    }

    /// The same, which sleeps for so long if nothing happens.
    pub fn turn_for(&mut self, most: Duration) {
        let before = self.writes.as_ref().map(|_| writes());
        self.reactor.turn_once(most).expect("the system is with us");
        if let (Some(turns), Some(before)) = (&mut self.writes, before) {
            turns.push(writes() - before);
        }
        if let Some(redis) = &mut self.redis {
            redis.work();
        }
    }

    /// Turns until it is so.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut so: impl FnMut(&mut Loop) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            assert!(Instant::now() < deadline, "in vain: {what}");
            self.turn();
        }
    }

    /// Turns until nothing has happened for some.
    pub fn settle(&mut self) {
        let mut idle = 0;
        let mut began = Instant::now();
        self.until("the loop sleeps", |_| {
            idle = if began.elapsed() < SLEEP { 0 } else { idle + 1 };
            began = Instant::now();
            idle > 5
        });
    }

    pub fn metrics(&self) -> &Metrics {
        self.reactor.server().metrics()
    }

    pub fn address(&self) -> SocketAddr {
        self.reactor.addresses()[0]
    }

    /// An open WebSocket on a socket of one's own.
    #[track_caller]
    pub fn open_on(&mut self, mut stream: TcpStream, path: &str) -> Client {
        let request = upgrade(path, self.address(), "");
        stream.write_all(request.as_bytes()).expect("a request is taken");
        stream.set_nonblocking(true).expect("a socket");
        self.until("an answer", |_| stream.peek(&mut [0]).is_ok());
        stream.set_nonblocking(false).expect("a socket");
        Client::accepted(stream).expect("a 101")
    }

    /// An open WebSocket. The path begins with the facility.
    #[track_caller]
    pub fn open(&mut self, path: &str) -> Client {
        let stream = TcpStream::connect(self.address()).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        self.open_on(stream, path)
    }

    /// The next event of a client.
    #[track_caller]
    pub fn next(&mut self, client: &mut Client) -> Event {
        let mut next = None;
        self.until("an event", |_| {
            next = client.next_within(Duration::from_micros(100));
            next.is_some()
        });
        next.expect("it is there")
    }

    /// The next events of a client are these texts.
    #[track_caller]
    pub fn expect(&mut self, client: &mut Client, texts: &[String]) {
        for text in texts {
            let event = self.next(client);
            assert!(event == Event::Text(text.clone()), "{event:.80?} and not {text:.80}");
        }
    }
}

/// System calls of this thread that write.
fn writes() -> usize {
    let io = fs::read_to_string("/proc/thread-self/io").expect("proc");
    let line = io.lines().find_map(|line| line.strip_prefix("syscw: ")).expect("a count");
    line.parse().expect("a number")
}

/// Text messages, one behind the other.
pub fn texts(texts: &[String]) -> Vec<u8> {
    texts.iter().flat_map(|text| frame_bytes(true, Opcode::Text, text.as_bytes())).collect()
}

/// These numbers as texts.
pub fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

/// Writes as much as the kernel takes, and returns how much that was.
pub fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).expect("a socket");
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("writing failed: {error}"),
        }
    }
    stream.set_nonblocking(false).expect("a socket");
    written
}

/// Reads what the kernel has, and returns how much that was.
pub fn read_some(stream: &mut TcpStream) -> usize {
    stream.set_nonblocking(true).expect("a socket");
    let mut room = vec![0; 64 << 10];
    let mut bytes = 0;
    while let Ok(n @ 1..) = stream.read(&mut room) {
        bytes += n;
    }
    stream.set_nonblocking(false).expect("a socket");
    bytes
}

/// A socket that takes little on its way to us.
pub fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16 << 10).expect("a size");
    socket.set_send_buffer_size(64 << 10).expect("a size");
    socket.connect(&address.into()).expect("a connection");
    socket.into()
}

/// A Redis at the other end of a socket.
pub struct RedisEnd {
    listener: TcpListener,
    link: Option<TcpStream>,
    unsent: Vec<u8>,
    pub fake: FakeRedis,
    /// Knob: it neither reads nor answers.
    pub asleep: bool,
    /// Links that were accepted.
    pub accepted: usize,
}

impl RedisEnd {
    /// One that listens there.
    pub fn at(host: &str, port: u16) -> RedisEnd {
        let listener = TcpListener::bind((host, port)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let fake = FakeRedis::new();
        RedisEnd { listener, link: None, unsent: Vec::new(), fake, asleep: false, accepted: 0 }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    /// Somebody publishes this, and it is on its way.
    pub fn publish(&mut self, channel: &str, payload: impl AsRef<[u8]>) {
        self.fake.publish(channel, payload, 0, 0);
        self.work();
    }

    /// Says what nobody asked for, as far as the kernel takes it; returns how much that was.
    pub fn say(&mut self, bytes: &[u8]) -> usize {
        write_some(self.link.as_mut().expect("a client"), bytes)
    }

    pub fn work(&mut self) {
        if self.asleep {
            return;
        }
        if let Ok((stream, _)) = self.listener.accept() {
            stream.set_nodelay(true).expect("a socket");
            self.fake.connected();
            self.accepted += 1;
            self.link = Some(stream);
        }
        let Some(link) = &mut self.link else { return };
        link.set_nonblocking(true).expect("a socket");
        let mut bytes = vec![0; 64 << 10];
        while let Ok(n @ 1..) = link.read(&mut bytes) {
            self.fake.receive(&bytes[..n]);
        }
        self.fake.work(0);
        while let Some((mut bytes, _)) = self.fake.speak() {
            self.unsent.append(&mut bytes);
        }
        let taken = write_some(link, &self.unsent);
        self.unsent.drain(..taken);
    }
}
