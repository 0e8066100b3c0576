//! L4: all connections of the tool in one loop.
//!
//! Dials go out from many loopback addresses, because each has only some 28,000 ports towards one
//! server, and ports rest for a minute after use.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::broker::{RedisAddress, RedisSettings};
use crate::link::Target;
use crate::proto::resp::command;
use crate::proto::ws::client::{self, key};

use super::StressError;
use super::conn::{Client, Conn, Fate, Task, Turn, Work};
use super::topic::Place;
use crate::client::url::{Url, of_one};

const SCRATCH_BYTES: usize = 64 << 10;
const EVENTS: usize = 1024;
/// The error of a connect that goes on, which has no stable [`ErrorKind`].
const EINPROGRESS: i32 = 115;
/// Source addresses for a loopback target: 127.0.0.2 and so on.
const SOURCES: u32 = 250;

/// Where to dial, and what to ask for there.
#[derive(Clone, Debug)]
pub(super) struct Door {
    address: SocketAddr,
    authority: String,
    target: String,
}

impl Door {
    /// Looks up where a URL leads.
    pub(super) fn to(url: &Url) -> Result<Door, StressError> {
        let (authority, target) = (url.authority.clone(), url.target());
        let unreachable = |error| StressError::Unreachable { what: url.authority.clone(), error };
        Ok(Door { address: url.resolve().map_err(unreachable)?, authority, target })
    }
}

/// All connections.
pub(super) struct Pool {
    poll: Poll,
    events: Events,
    start: Instant,
    links: Links,
}

struct Links {
    conns: Slab<Conn>,
    scratch: Box<[u8]>,
    out: Vec<u8>,
    dialed: u32,
    handshaking: usize,
    /// What keys are made of.
    seed: u64,
    /// The beginning of the pool's time, as the pool has it.
    start: Instant,
}

impl Pool {
    /// A pool without connections. `seed` makes its keys unlike those of any other.
    pub(super) fn new(seed: u64) -> Result<Pool, StressError> {
        let start = Instant::now();
        let links = Links {
            conns: Slab::new(),
            scratch: vec![0; SCRATCH_BYTES].into(),
            out: Vec::new(),
            dialed: 0,
            handshaking: 0,
            seed,
            start,
        };
        Ok(Pool { poll: Poll::new()?, events: Events::with_capacity(EVENTS), start, links })
    }

    /// Nanoseconds since the pool was made.
    pub(super) fn now_ns(&self) -> u64 {
        elapsed_ns(self.start)
    }

    /// Connections, in whatever state.
    pub(super) fn len(&self) -> usize {
        self.links.conns.len()
    }

    /// Connections that are not open yet.
    pub(super) fn handshaking(&self) -> usize {
        self.links.handshaking
    }

    /// Asks for a WebSocket, and returns the place of its conn.
    pub(super) fn dial(&mut self, door: &Door, task: Task) -> Result<usize, StressError> {
        let failed = |error| StressError::Unreachable { what: door.authority.clone(), error };
        let client = self.links.client(task, self.now_ns());
        let id = client.place.id;
        let socket = connect_tcp(door.address, id).map_err(failed)?;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.links.seed.to_ne_bytes());
        nonce[8..12].copy_from_slice(&id.to_ne_bytes());
        let key = key(nonce);
        let mut request = Vec::with_capacity(256);
        client::request(&mut request, &door.authority, &of_one(&door.target, id), &key);
        self.adopt(Conn::handshaking(socket, client, request, key))
    }

    /// Opens a link to Redis, and returns its place.
    pub(super) fn dial_redis(
        &mut self,
        redis: &RedisSettings,
        task: Task,
    ) -> Result<usize, StressError> {
        let failed = |error| StressError::Unreachable { what: "Redis".to_owned(), error };
        let client = self.links.client(task, self.now_ns());
        let RedisAddress::Fixed(target) = &redis.address else {
            let error = io::ErrorKind::Unsupported.into();
            return Err(failed(error));
        };
        let socket = match target {
            Target::Unix(path) => SockAddr::unix(path).and_then(|path| {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.connect(&path)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            }),
            Target::Tcp { host, port } | Target::Tls { host, port } => {
                std::net::TcpStream::connect((host.as_str(), *port)).and_then(|stream| {
                    stream.set_nodelay(true)?;
                    stream.set_nonblocking(true)?;
                    Ok(stream.into())
                })
            }
        };
        let mut commands = Vec::new();
        match (&redis.user, &redis.password) {
            (Some(user), Some(password)) => {
                command(&mut commands, &[b"AUTH", user.as_bytes(), password.as_bytes()]);
            }
            (None, Some(password)) => command(&mut commands, &[b"AUTH", password.as_bytes()]),
            _ => {}
        }
        command(&mut commands, &[b"PING"]);
        self.adopt(Conn::redis(socket.map_err(failed)?, client, commands))
    }

    fn adopt(&mut self, mut conn: Conn) -> Result<usize, StressError> {
        // Loopback connects at once, so that most requests go out here.
        conn.flush().map_err(|error| StressError::HungUp(Some(error)))?;
        let entry = self.links.conns.vacant_entry();
        let at = entry.key();
        self.poll.registry().register(
            &mut SourceFd(&conn.socket.as_raw_fd()),
            Token(at),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        entry.insert(conn);
        self.links.handshaking += 1;
        Ok(at)
    }

    /// Sends bytes on an open conn. If its peer has gone, reading will tell.
    pub(super) fn send(&mut self, at: usize, bytes: &[u8]) {
        if let Some(conn) = self.links.conns.get_mut(at) {
            let _ = conn.send(bytes);
        }
    }

    /// The open conns of the many, and a way to change what is kept of them.
    pub(super) fn clients(&mut self) -> impl Iterator<Item = (usize, &mut Client)> {
        let open = self.links.conns.iter_mut().filter(|(_, conn)| conn.is_open());
        let clients = open.map(|(at, conn)| (at, &mut conn.client));
        clients.filter(|(_, client)| client.task == Task::Client)
    }

    /// Waits until something happens, but not longer than until `until_ns`, and takes it. Says
    /// whether anything happened.
    pub(super) fn turn(
        &mut self,
        until_ns: u64,
        work: &mut impl Work,
    ) -> Result<bool, StressError> {
        let left = Duration::from_nanos(until_ns.saturating_sub(self.now_ns()));
        match self.poll.poll(&mut self.events, Some(left)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(false),
            other => other?,
        }
        for event in &self.events {
            self.links.on_event(event, work)?;
        }
        Ok(!self.events.is_empty())
    }
}

impl Links {
    fn client(&mut self, task: Task, dialed_ns: u64) -> Client {
        let id = self.dialed;
        self.dialed += 1;
        Client { task, place: Place { id, next: 0 }, dialed_ns, closing: false }
    }

    fn on_event(&mut self, event: &Event, work: &mut impl Work) -> Result<(), StressError> {
        let Token(at) = event.token();
        let Some(conn) = self.conns.get_mut(at) else { return Ok(()) };
        let was_open = conn.is_open();
        if event.is_writable() && !event.is_error() {
            // Its failure is told by the reading.
            let _ = conn.flush();
        }
        if !(event.is_readable() || event.is_read_closed() || event.is_error()) {
            return Ok(());
        }
        let now_ns = elapsed_ns(self.start);
        let turn = Turn { scratch: &mut self.scratch, out: &mut self.out, now_ns };
        let fate = conn.read(event.is_read_closed() || event.is_error(), turn, work)?;
        if !was_open && (conn.is_open() || fate == Fate::Ends) {
            self.handshaking -= 1;
        }
        if fate == Fate::Ends {
            self.conns.remove(at);
        }
        Ok(())
    }
}

/// Begins to connect, from an address of its own if the target is on this machine.
fn connect_tcp(address: SocketAddr, number: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let IpAddr::V4(target) = address.ip()
        && target.is_loopback()
    {
        let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + 1 + number % SOURCES);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

fn elapsed_ns(start: Instant) -> u64 {
    start.elapsed().as_nanos() as u64
}
