//! L3: the sockets that connections are accepted from.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use super::ReactorError;

/// Connections that the kernel keeps for us until they are accepted. Where `net.core.somaxconn` is
/// lower, that counts. With too few a burst of browsers waits a second or more for its next try.
const BACKLOG: i32 = 4096;

/// A listening socket.
pub(super) struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// There may be somebody to accept.
    pub ready: bool,
    /// For whom.
    pub comers: Comers,
}

/// Sockets on which Redis clients of the embedded broker are accepted. They can be bound before
/// there is a server, so that its pages say where they are.
pub struct RespSockets(pub(super) Vec<Listener>);

impl RespSockets {
    /// Binds every address that `given`, a host and a port, stands for.
    pub fn bind(given: &str) -> Result<RespSockets, ReactorError> {
        listen_for(given, "--resp", Comers::Clients).map(RespSockets)
    }

    /// Where they are: the ports chosen, where 0 was given.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().filter_map(|listener| listener.socket.local_addr().ok()).collect()
    }
}

/// Who comes to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comers {
    /// Conns.
    Browsers,
    /// Redis clients of the embedded broker.
    Clients,
}

/// Listens on every address that `given`, the value of a flag, stands for.
pub(super) fn listen_for(
    given: &str,
    flag: &'static str,
    comers: Comers,
) -> Result<Vec<Listener>, ReactorError> {
    let failed = |error| ReactorError::Listen { address: given.to_owned(), flag, error };
    listen(given, comers).map_err(failed)
}

fn listen(given: &str, comers: Comers) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    let mut unavailable = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in given.to_socket_addrs()? {
        match bind(address) {
            Ok(socket) => listeners.push(Listener { socket, ready: true, comers }),
            // A name may stand for an address of a family that this machine lacks.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => unavailable = error,
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty() { Err(unavailable) } else { Ok(listeners) }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it, which saves a system call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}
