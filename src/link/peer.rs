//! L1: where a link was accepted from.

use std::net::{IpAddr, SocketAddr};

/// Where a link was accepted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// That address.
    Tcp(SocketAddr),
    /// This machine, by a Unix socket.
    Unix,
}

impl Peer {
    /// Its address, if it has one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.ip()),
            Peer::Unix => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Peer::Tcp(address)
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Tcp(address) => write!(f, "{address}"),
            Peer::Unix => f.write_str("a Unix socket"),
        }
    }
}
