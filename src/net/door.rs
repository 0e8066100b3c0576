//! L3: a listening socket of either family, and the file of one that has a path.
//!
//! Its rule: a file is removed only while it is the socket that was bound here. Another process may
//! have taken its place.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::inherited;
use super::listen::BACKLOG;
use super::socket::Stream;
use crate::link::Peer;

/// A listening socket of either family.
pub(super) enum Door {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, whose file goes with it.
    Unix(UnixListener, SocketFile),
}

/// The name of a Unix socket.
pub(super) struct SocketFile {
    /// Its path, or a name that begins with `@` and has no file.
    path: PathBuf,
    /// Device and number of its file, by which it is known again.
    identity: Option<(u64, u64)>,
}

impl Door {
    /// Accepts somebody, who comes from there.
    pub(super) fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Door::Tcp(listener) => {
                listener.accept().map(|(stream, peer)| (Stream::Tcp(stream), Peer::Tcp(peer)))
            }
            Door::Unix(listener, _) => {
                listener.accept().map(|(stream, _)| (Stream::Unix(stream), Peer::Unix))
            }
        }
    }

    /// Where it is, if it has an address.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Door::Tcp(listener) => listener.local_addr().ok(),
            Door::Unix(..) => None,
        }
    }

    /// Its path with `unix:` before it, if it has one.
    pub(super) fn path(&self) -> Option<String> {
        match self {
            Door::Tcp(_) => None,
            Door::Unix(_, file) => Some(format!("unix:{}", file.path.display())),
        }
    }

    /// Has readiness told under this token.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Door::Tcp(listener) => registry.register(listener, token, Interest::READABLE),
            Door::Unix(listener, _) => registry.register(listener, token, Interest::READABLE),
        }
    }

    /// Has it told once more if there is somebody to accept.
    pub(super) fn reregister(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Door::Tcp(listener) => registry.reregister(listener, token, Interest::READABLE),
            Door::Unix(listener, _) => registry.reregister(listener, token, Interest::READABLE),
        }
    }

    /// A socket that was listening before this process had it.
    pub(super) fn given(socket: OwnedFd) -> io::Result<Door> {
        inherited::check(&socket)?;
        let socket = Socket::from(socket);
        let address = socket.local_addr()?;
        if !address.is_unix() {
            return Ok(Door::Tcp(TcpListener::from_std(socket.into())));
        }
        let path = match (address.as_pathname(), address.as_abstract_namespace()) {
            (Some(path), _) => path.to_owned(),
            (None, name) => {
                let name = [b"@", name.unwrap_or_default()].concat();
                PathBuf::from(OsStr::from_bytes(&name))
            }
        };
        let file = SocketFile { identity: None, path };
        Ok(Door::Unix(UnixListener::from_std(socket.into()), file))
    }

    /// The file of the socket is this process's, or another's from now on.
    pub(super) fn own_file(&mut self, own: bool) {
        if let Door::Unix(_, SocketFile { path, identity }) = self {
            let file = fs::symlink_metadata(path).ok().filter(|_| own);
            *identity = file.map(|file| (file.dev(), file.ino()));
        }
    }

    /// Listens no more; the file goes when this is dropped.
    pub(super) fn into_file(self) -> Option<SocketFile> {
        match self {
            Door::Tcp(_) => None,
            Door::Unix(_, file) => Some(file),
        }
    }

    /// The socket itself.
    pub(super) fn socket(&self) -> SockRef<'_> {
        match self {
            Door::Tcp(listener) => SockRef::from(listener),
            Door::Unix(listener, _) => SockRef::from(listener),
        }
    }

    /// Has readiness told no more, which a socket would that another process has open.
    pub(super) fn deregister(&mut self, registry: &Registry) {
        let _ = match self {
            Door::Tcp(listener) => registry.deregister(listener),
            Door::Unix(listener, _) => registry.deregister(listener),
        };
    }

    /// Listens at a path, for whom the mode of its file lets in. A file that a process has left
    /// behind, so that nobody answers there, is replaced.
    pub(super) fn at_path(path: &Path, mode: u32) -> io::Result<Door> {
        if let Some(name) = path.as_os_str().as_bytes().strip_prefix(b"@") {
            return Door::at_name(path, name);
        }
        make_way(path)?;
        let socket = unix_socket()?;
        socket.bind(&SockAddr::unix(path)?)?;
        let listening = fs::set_permissions(path, Permissions::from_mode(mode))
            // Nobody can connect before this.
            .and_then(|()| socket.listen(BACKLOG));
        let file = fs::symlink_metadata(path);
        let identity = file.ok().map(|file| (file.dev(), file.ino()));
        let file = SocketFile { path: path.to_owned(), identity };
        let door = Door::Unix(UnixListener::from_std(socket.into()), file);
        listening.map(|()| door)
    }

    /// Listens at a name of Linux's that is no file: whoever is on this machine may connect.
    fn at_name(path: &Path, name: &[u8]) -> io::Result<Door> {
        let name = [b"\0", name].concat();
        let socket = unix_socket()?;
        socket.bind(&SockAddr::unix(OsStr::from_bytes(&name))?)?;
        socket.listen(BACKLOG)?;
        let file = SocketFile { path: path.to_owned(), identity: None };
        Ok(Door::Unix(UnixListener::from_std(socket.into()), file))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Some(identity) = self.identity else { return };
        let file = fs::symlink_metadata(&self.path);
        if file.is_ok_and(|file| (file.dev(), file.ino()) == identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn unix_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Removes the file of a socket at which nobody answers; what is no socket stays.
fn make_way(path: &Path) -> io::Result<()> {
    let Ok(file) = fs::symlink_metadata(path) else { return Ok(()) };
    if !file.file_type().is_socket() {
        let why = "there is a file that is no socket; remove it, or choose another path";
        return Err(io::Error::new(ErrorKind::AlreadyExists, why));
    }
    // A socket whose queue is full says at once that it cannot take more, and is somebody's.
    match unix_socket()?.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Ok(()),
    }
}
