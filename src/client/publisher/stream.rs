//! L4: a blocking byte stream to a [`Target`], where nothing waits past a deadline: neither the
//! looking up of a name, nor a connect, a read or a write.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::link::Target;
use crate::net::ClientTls;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over TCP, without Nagle's delay.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// By TLS.
    Tls(Box<StreamOwned<ClientConnection, Timely>>),
}

/// A TCP socket below something that reads and writes it as often as it likes, until then.
#[derive(Debug)]
pub(crate) struct Timely {
    stream: TcpStream,
    until: Instant,
}

impl Read for Timely {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(room).map_err(timely)
    }
}

impl Write for Timely {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(bytes).map_err(timely)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// Connects, and is done with the handshake of TLS where that is spoken, with `tls`.
    pub(crate) fn dial(
        target: &Target,
        tls: Option<&ClientTls>,
        deadline: Instant,
    ) -> io::Result<Stream> {
        match target {
            Target::Unix(path) => dial_unix(path, deadline),
            Target::Tcp { host, port } => dial_tcp(host, *port, deadline).map(Stream::Tcp),
            Target::Tls { host, port } => {
                let unknown = || io::Error::other("nothing says whom to believe");
                let connection = tls.ok_or_else(unknown)?.connection(host);
                let connection = connection.map_err(io::Error::other)?;
                let stream = Timely { stream: dial_tcp(host, *port, deadline)?, until: deadline };
                let mut stream = StreamOwned::new(connection, stream);
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock)?;
                }
                Ok(Stream::Tls(Box::new(stream)))
            }
        }
    }

    /// Reads what there is, or waits for it; 0 bytes are the end.
    pub(crate) fn read(&mut self, room: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            let left = Some(left(deadline)?);
            let read = match self {
                Stream::Tcp(stream) => stream.set_read_timeout(left).and(stream.read(room)),
                Stream::Unix(stream) => stream.set_read_timeout(left).and(stream.read(room)),
                Stream::Tls(stream) => {
                    stream.sock.until = deadline;
                    stream.read(room)
                }
            };
            match read {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read.map_err(timely),
            }
        }
    }

    /// Writes some of it. An error means that none of it was taken.
    pub(crate) fn write(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<usize> {
        loop {
            let left = Some(left(deadline)?);
            let written = match self {
                Stream::Tcp(stream) => stream.set_write_timeout(left).and(stream.write(bytes)),
                Stream::Unix(stream) => stream.set_write_timeout(left).and(stream.write(bytes)),
                Stream::Tls(stream) => {
                    stream.sock.until = deadline;
                    stream.write(bytes)
                }
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => return written.map_err(timely),
            }
        }
    }

    /// Whether there is nothing to read: no byte, no end, no failure. A byte is taken.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let nothing = |read: io::Result<usize>| {
            read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        let is_quiet = |stream: &mut TcpStream| {
            stream.set_nonblocking(true).is_ok()
                && nothing(stream.read(&mut [0]))
                && stream.set_nonblocking(false).is_ok()
        };
        match self {
            Stream::Tcp(stream) => is_quiet(stream),
            Stream::Tls(stream) => is_quiet(&mut stream.sock.stream),
            Stream::Unix(stream) => {
                stream.set_nonblocking(true).is_ok()
                    && nothing(stream.read(&mut [0]))
                    && stream.set_nonblocking(false).is_ok()
            }
        }
    }
}

/// The addresses of a name are tried one after another, each with its share of the time that is
/// left, because one of them may swallow what is sent to it.
fn dial_tcp(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => look_up(host.to_owned(), port, deadline)?,
    };
    let mut failure = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for (address, untried) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let share = left(deadline)? / u32::try_from(untried).unwrap_or(u32::MAX);
        let share = share.max(Duration::from_millis(1));
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A connect waits while the listener's backlog is full, as long as a write may.
fn dial_unix(path: &Path, deadline: Instant) -> io::Result<Stream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(left(deadline)?))?;
    socket.connect(&SockAddr::unix(path)?).map_err(timely)?;
    Ok(Stream::Unix(UnixStream::from(OwnedFd::from(socket))))
}

/// The system's resolver cannot be hurried, so it has a thread, which is left to itself when it is
/// late.
fn look_up(host: String, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    let (sender, found) = mpsc::channel();
    std::thread::Builder::new().name("resolver".into()).spawn(move || {
        // Nobody may be waiting any more; then the answer is not needed.
        let _ = sender.send((host.as_str(), port).to_socket_addrs().map(Iterator::collect));
    })?;
    let late = "the name was not looked up in time";
    let answer = found.recv_timeout(left(deadline)?);
    answer.unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, late)))
}

/// The time that is left, more than none.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(late()) } else { Ok(left) }
}

/// A timeout of the socket is reported as if it were nonblocking.
fn timely(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { late() } else { error }
}

fn late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "it took too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::TcpListener;

    const SHORT: Duration = Duration::from_millis(300);
    /// More than anything here may take, on a busy machine.
    const LONG: Duration = Duration::from_secs(10);

    /// A listener whose queue is full: it answers no more.
    fn full(domain: Domain, address: &SockAddr) -> (Socket, Vec<Socket>) {
        let listener = Socket::new(domain, Type::STREAM, None).expect("a socket");
        listener.bind(address).expect("a free address");
        listener.listen(0).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let mut waiting = Vec::new();
        loop {
            let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
            socket.set_write_timeout(Some(SHORT)).expect("a socket");
            match socket.connect(&address) {
                Ok(()) => waiting.push(socket),
                Err(_) => return (listener, waiting),
            }
        }
    }

    #[track_caller]
    fn too_late(target: &Target) {
        let began = Instant::now();
        let error = Stream::dial(target, None, began + SHORT).expect_err("nobody answers");
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{target}: {error}");
        assert!((SHORT..LONG).contains(&began.elapsed()), "{target}: {:?}", began.elapsed());
    }

    #[test]
    fn a_full_backlog_is_not_waited_for_longer_than_allowed() {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let (listener, _waiting) = full(Domain::IPV4, &any.into());
        let address = listener.local_addr().expect("an address").as_socket().expect("TCP");
        too_late(&Target::Tcp { host: "127.0.0.1".into(), port: address.port() });

        let name = format!("wsloop-backlog-{}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let (_listener, _waiting) = full(Domain::UNIX, &SockAddr::unix(&path).expect("a path"));
        too_late(&Target::Unix(path.clone()));
        std::fs::remove_file(path).expect("the socket is there");
    }

    #[test]
    fn a_name_is_looked_up_and_every_address_of_it_tried() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let deadline = Instant::now() + LONG;
        let dialed = Stream::dial(&Target::Tcp { host: "localhost".into(), port }, None, deadline);
        let mut stream = dialed.expect("localhost has an address of IPv4");
        let (mut peer, _) = listener.accept().expect("a connection");
        assert!(stream.is_quiet());
        let begun = Instant::now();
        let error = stream.read(&mut [0], begun + SHORT).expect_err("nothing arrives");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        peer.write_all(b"x?").expect("a connection");
        assert!(!stream.is_quiet());
        let mut room = [0; 2];
        assert_eq!(stream.read(&mut room, Instant::now() + LONG).expect("a byte"), 1);
        assert!(stream.is_quiet());
        drop(peer);
        assert_eq!(stream.read(&mut room, Instant::now() + LONG).expect("the end"), 0);
        assert!(!stream.is_quiet());
    }
}
