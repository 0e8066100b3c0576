//! L3: the sockets that connections are accepted from.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::ReactorError;
use super::door::Door;
use super::inherited;

/// Connections that the kernel keeps for us until they are accepted. Where `net.core.somaxconn` is
/// lower, that counts. With too few a burst of browsers waits a second or more for its next try.
pub(super) const BACKLOG: i32 = 4096;

/// Without pings, the kernel probes a peer that was silent for this long, at this interval.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
/// A peer that acknowledges neither probes nor data for this long has vanished. Since Linux 5.11
/// this also ends a peer that acknowledges and does not read, so it must not be short.
const VANISHED_AFTER: Duration = Duration::from_secs(300);

/// Free ports that are tried until one is free on all addresses of a name.
const PORTS_TRIED: usize = 20;

/// Sockets that are no browsers': the files of those that have them are for this user alone.
const OF_OWNER: Accepted =
    Accepted { kept_alive: true, unsent_limit: 0, socket_mode: 0o600, workers: 1 };

/// What comes before the path of a socket.
const UNIX: &str = "unix:";
/// What comes before an address at which TLS is spoken.
const HTTPS: &str = "https://";

/// EAFNOSUPPORT of Linux, which has no kind of its own.
const NO_SUCH_FAMILY: i32 = 97;

/// A listening socket.
pub(super) struct Listener {
    /// The socket.
    pub socket: Door,
    /// There may be somebody to accept.
    pub ready: bool,
    /// So many are accepted before it is asked whether there are more.
    pub batch: usize,
    /// That was asked in the turn before.
    pub asked: bool,
    /// For whom.
    pub comers: Comers,
    /// The flag that it comes from, with its value.
    pub name: String,
    /// Another process has the socket too: whoever waits there is accepted by that, or will be.
    pub shared: bool,
    /// TLS is spoken here, and nothing else.
    pub secured: bool,
}

impl Listener {
    fn new(socket: Door, comers: Comers, name: String, secured: bool) -> Self {
        let shared = false;
        Listener { socket, ready: true, batch: 1, asked: false, comers, name, shared, secured }
    }

    /// Where it is, as the URL of a browser or of a proxy.
    pub(super) fn place(&self) -> Option<String> {
        match self.socket.address() {
            Some(address) if self.secured => Some(format!("https://{address}")),
            Some(address) => Some(format!("http://{address}")),
            None => self.socket.path(),
        }
    }
}

/// Sockets on which Redis clients of the embedded broker are accepted. They can be bound before
/// there is a server, so that its pages say where they are.
pub struct RespSockets(pub(super) Vec<Listener>);

impl RespSockets {
    /// Binds every address that `given`, a host and a port, stands for, or the socket at the path
    /// behind `unix:`.
    pub fn bind(given: &str) -> Result<RespSockets, ReactorError> {
        listen_for(&[given.to_owned()], "--resp", Comers::Clients, &[], OF_OWNER).map(RespSockets)
    }

    /// Where they are: the ports chosen, where 0 was given.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        addresses_of(&self.0)
    }

    /// The same, and the paths of sockets, in words.
    pub fn places(&self) -> Vec<String> {
        places_of(&self.0)
    }
}

fn places_of(listeners: &[Listener]) -> Vec<String> {
    let place = |listener: &Listener| match listener.socket.address() {
        Some(address) => Some(address.to_string()),
        None => listener.socket.path(),
    };
    listeners.iter().filter_map(place).collect()
}

/// Sockets on which those are answered who run the server.
pub struct AdminSockets(pub(super) Vec<Listener>);

impl AdminSockets {
    /// Binds what `given` stands for, as [`RespSockets::bind`] does.
    pub fn bind(given: &str) -> Result<AdminSockets, ReactorError> {
        let (flag, comers) = ("--admin", Comers::Operators);
        listen_for(&[given.to_owned()], flag, comers, &[], OF_OWNER).map(AdminSockets)
    }

    /// Where they are, in words.
    pub fn places(&self) -> Vec<String> {
        places_of(&self.0)
    }
}

/// Whom a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comers {
    /// Conns.
    Browsers,
    /// Redis clients of the embedded broker.
    Clients,
    /// Those who run the server.
    Operators,
}

/// What the kernel does for all who are accepted from a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    /// It notices who has vanished, as it has to of those who are not pinged.
    pub kept_alive: bool,
    /// It takes so many bytes that it cannot send yet; 0 is as many as its buffer holds.
    pub unsent_limit: u32,
    /// Who may connect to a Unix socket, as its file's mode.
    pub socket_mode: u32,
    /// So many processes accept, each from TCP sockets of its own.
    pub workers: usize,
}

/// Listens on every address that `given`, the values of a flag, stand for; `taken` are those
/// that this process has already.
pub(super) fn listen_for(
    given: &[String],
    flag: &'static str,
    comers: Comers,
    taken: &[Listener],
    accepted: Accepted,
) -> Result<Vec<Listener>, ReactorError> {
    let failed = |address: &String, ours, error| ReactorError::Listen {
        address: address.clone(),
        flag,
        ours,
        error,
    };
    let listener = |socket, text: &str, secured| {
        Listener::new(socket, comers, inherited::name_of(flag, text), secured)
    };
    let (mut named, mut bound) = (Vec::new(), Vec::<Listener>::new());
    for text in given {
        let given = inherited::doors(flag, text);
        let given = given.and_then(|given| given.map(|given| take(given, accepted)).transpose());
        if let Some((sockets, shared)) = given.map_err(|error| failed(text, false, error))? {
            let listeners =
                sockets.into_iter().map(|socket| listener(socket, text, is_https(text)));
            bound.extend(listeners.map(|listener| Listener { shared, ..listener }));
            continue;
        }
        let addresses = match text.starts_with(UNIX) {
            true => Vec::new(),
            false => {
                let addresses = text.strip_prefix(HTTPS).unwrap_or(text).to_socket_addrs();
                addresses.map_err(|error| failed(text, false, error))?.collect()
            }
        };
        named.push((text, addresses));
    }
    let every: Vec<SocketAddr> = named.iter().flat_map(|(_, all)| all.iter().copied()).collect();
    for (text, mut addresses) in named {
        let secured = text.starts_with(HTTPS);
        if let Some(path) = text.strip_prefix(UNIX) {
            if !bound.iter().any(|one| one.socket.path().as_ref() == Some(text)) {
                let door = Door::at_path(Path::new(path), accepted.socket_mode);
                let ours = taken.iter().any(|one| one.socket.path().as_ref() == Some(text));
                let socket = door.map_err(|error| failed(text, ours, error))?;
                bound.push(listener(socket, text, false));
            }
            continue;
        }
        let is_same = |one: &Listener, address| {
            one.secured == secured && one.socket.address() == Some(address)
        };
        addresses.retain(|address| {
            address.port() == 0 || !bound.iter().any(|one| is_same(one, *address))
        });
        if addresses.is_empty() {
            continue;
        }
        let sockets =
            bind_all(&addresses, &every, accepted.workers).map_err(|(address, error)| {
                let own = [addresses_of(&bound), addresses_of(taken)].concat();
                failed(text, own.iter().any(|own| overlap(*own, address)), error)
            })?;
        let set = |socket| accepted.set(socket);
        sockets.iter().try_for_each(set).map_err(|error| failed(text, false, error))?;
        bound.extend(sockets.into_iter().map(|one| listener(Door::Tcp(one), text, secured)));
    }
    Ok(bound)
}

/// Sockets that were given to this process, and whether whoever gave them keeps them.
fn take(given: inherited::Doors, accepted: Accepted) -> io::Result<(Vec<Door>, bool)> {
    let mut doors = given.doors;
    if !given.shared {
        doors.extend(missing(&doors, accepted.workers)?);
    }
    for door in &mut doors {
        if let Door::Tcp(socket) = door {
            accepted.set(socket)?;
        }
        door.own_file(given.owned);
    }
    Ok((doors, given.shared))
}

/// Whether TLS is to be spoken there.
fn is_https(text: &str) -> bool {
    text.starts_with(HTTPS)
}

fn addresses_of(listeners: &[Listener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.socket.address()).collect()
}

/// Whether nobody else can listen on one while somebody listens on the other.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (any || one.ip() == other.ip())
}

/// Binds all addresses of one name. Where any free port is wanted they have the same one, for a
/// browser tries whichever address of the name it likes.
fn bind_all(
    addresses: &[SocketAddr],
    every: &[SocketAddr],
    workers: usize,
) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    for _ in 0..PORTS_TRIED {
        match bind_with_one_port(addresses, every, workers) {
            // The port that was free on one address is taken on another.
            Err((address, error))
                if error.kind() == ErrorKind::AddrInUse && address.port() == 0 => {}
            other => return other,
        }
    }
    bind_with_one_port(addresses, every, workers)
}

fn bind_with_one_port(
    addresses: &[SocketAddr],
    every: &[SocketAddr],
    workers: usize,
) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut unavailable = None;
    for given in addresses {
        let mut address = *given;
        if address.port() == 0
            && let Some(first) = sockets.first().and_then(|socket| socket.local_addr().ok())
        {
            address.set_port(first.port());
        }
        // An IPv6 socket for every address would take the port of the IPv4 one too.
        let beside = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        match bind_for(workers, address, address.is_ipv6() && every.iter().any(beside)) {
            Ok(bound) => sockets.extend(bound),
            // A name may stand for an address of a family that this machine lacks.
            Err(error) if is_lacking(&error) => unavailable = Some((*given, error)),
            Err(error) => return Err((*given, error)),
        }
    }
    match unavailable {
        Some(unavailable) if sockets.is_empty() => Err(unavailable),
        _ => Ok(sockets),
    }
}

impl Accepted {
    /// Has the kernel do it. Accepted sockets inherit it, which saves system calls for each.
    fn set(&self, socket: &TcpListener) -> io::Result<()> {
        let socket = SockRef::from(socket);
        if self.unsent_limit > 0 {
            socket.set_tcp_notsent_lowat(self.unsent_limit)?;
        }
        if !self.kept_alive {
            return Ok(());
        }
        socket.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY),
        )?;
        socket.set_tcp_user_timeout(Some(VANISHED_AFTER))
    }
}

/// Whether this machine has no such address, or its kernel no such family.
fn is_lacking(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}

/// One socket for each worker, between which the kernel chooses for whoever connects.
fn bind_for(workers: usize, address: SocketAddr, only_v6: bool) -> io::Result<Vec<TcpListener>> {
    if workers == 1 {
        return Ok(vec![listening(bound(address, only_v6, false)?)?]);
    }
    // Sockets that share an address with each other would share it with another program's as well:
    // one that does not share finds out whether there is one.
    let alone = bound(address, only_v6, false)?;
    let address = alone.local_addr()?.as_socket().unwrap_or(address);
    drop(alone);
    let sockets = (0..workers).map(|_| listening(bound(address, only_v6, true)?));
    sockets.collect()
}

/// What is missing of the sockets of `doors` so that each worker has one of its own. One that does
/// not share its address is for all of them.
fn missing(doors: &[Door], workers: usize) -> io::Result<Vec<Door>> {
    let of = |door: &Door| door.address().filter(|_| door.socket().reuse_port().unwrap_or(false));
    let mut addresses: Vec<SocketAddr> = doors.iter().filter_map(of).collect();
    addresses.sort();
    let mut more = Vec::new();
    for same in addresses.chunk_by(|one, other| one == other) {
        let address = same[0];
        let first = doors.iter().find(|door| door.address() == Some(address));
        let is_alone = |door: &Door| address.is_ipv6() && door.socket().only_v6().unwrap_or(false);
        let only_v6 = first.is_some_and(is_alone);
        for _ in same.len()..workers {
            more.push(Door::Tcp(listening(bound(address, only_v6, true)?)?));
        }
    }
    Ok(more)
}

fn bound(address: SocketAddr, only_v6: bool, shares: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if shares {
        socket.set_reuse_port(true)?;
    }
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn listening(socket: Socket) -> io::Result<TcpListener> {
    // Accepted sockets inherit it, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}
