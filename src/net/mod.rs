//! L3: sockets, the clock and the loop.
//!
//! The only home of mio, sockets, threads and `Instant::now`. It knows links and bytes, not what
//! they mean: that is [`crate::server`]'s.

mod accepting;
mod clock;
mod dial;
mod door;
mod heap;
mod inherited;
mod leaving;
mod listen;
mod lookup;
mod notify;
mod process;
mod reactor;
mod reading;
mod remote;
mod signals;
mod socket;
mod sockets;
mod sweep;
mod system;
mod tls;
mod turn_once;
mod workers;
mod writing;

use std::hash::{BuildHasher, RandomState};

pub use listen::{AdminSockets, RespSockets};
pub use notify::Notify;
pub use reactor::Reactor;
pub use remote::{HangUps, Remote};
pub use sockets::{
    AreaError, AreaKind, AreaNumber, Sender, Sent, SharedArea, Sockets, SocketsError,
};
pub use tls::TlsUses;
pub(crate) use tls::{AskError, ClientTls, Pair, PairError, PemFile, ServerTls};
pub use workers::{Master, MasterRemote, Worker};

use crate::browser::settings::Settings;
use crate::server::Server;

/// Why the loop could not start, or ended.
#[derive(Debug)]
pub enum ReactorError {
    /// An address could not be listened on.
    Listen {
        /// As it was given.
        address: String,
        /// By which flag.
        flag: &'static str,
        /// This process itself listens there.
        ours: bool,
        /// What the system said.
        error: std::io::Error,
    },
    /// The system failed us: no epoll, no signals, no output.
    System(std::io::Error),
}

/// A loop that listens on the addresses, `HOST:PORT`, `https://HOST:PORT` or `unix:PATH`, and will
/// serve until a signal asks for the end, SIGHUP if `hangups_end`. This process listens on the
/// sockets `beside` already. `tls` is what TLS is spoken with.
pub fn listen(
    addresses: &[String],
    tls: TlsUses,
    beside: Option<&RespSockets>,
    settings: Settings,
    hangups_end: bool,
) -> Result<Reactor, ReactorError> {
    let keys = RandomState::new();
    let seed = keys.hash_one("seed");
    let server = Server::new(settings, keys, seed);
    let mut reactor = Reactor::bind_beside(beside, addresses, tls, server)?;
    reactor.heed_signals(hangups_end)?;
    Ok(reactor)
}

impl std::fmt::Display for ReactorError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReactorError::Listen { address, flag, ours, error } => {
                write!(f, "cannot listen on {address}: {error}")?;
                match error.kind() {
                    std::io::ErrorKind::AddrInUse if *ours => write!(
                        f,
                        "; wsloop itself listens there, by another --listen or by --resp: choose \
                         another with {flag}"
                    ),
                    std::io::ErrorKind::AddrInUse => {
                        let mend = "another program listens there: stop it, or choose another with";
                        write!(f, "; {mend} {flag}")
                    }
                    std::io::ErrorKind::AlreadyExists => Ok(()),
                    std::io::ErrorKind::PermissionDenied if !address.starts_with("unix:") => {
                        f.write_str("; ports below 1024 need a privilege")
                    }
                    _ if address.starts_with("unix:") => {
                        write!(f, "; give {flag} a path in a folder that this user may write to")
                    }
                    _ => write!(f, "; give {flag} an address of this machine, as 127.0.0.1:8080"),
                }
            }
            ReactorError::System(error) => write!(f, "the system refused: {error}"),
        }
    }
}

impl std::error::Error for ReactorError {}

impl From<std::io::Error> for ReactorError {
    fn from(error: std::io::Error) -> Self {
        ReactorError::System(error)
    }
}
