//! L3: from a target to a stream: the addresses of a name are tried one after another.
//!
//! It knows dials by their links; `lookup` finds the addresses.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::Waker;
use mio::net::{TcpStream, UnixStream};

use super::lookup::{LookUp, Lookups};
use super::socket::Stream;
use crate::link::LinkId;
use crate::link::Target;

/// The dials that are under way.
#[derive(Debug)]
pub(super) struct Dials {
    lookups: Lookups,
    /// Names that were dialed so far: each dial begins at another address of the name, because one
    /// that swallows what is sent to it would use up the time of them all.
    named: usize,
    /// Addresses that have not been tried yet.
    untried: Vec<(LinkId, VecDeque<SocketAddr>)>,
}

impl Dials {
    /// No dials; `waker` is woken when a name has been looked up.
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Dials { lookups: Lookups::new(waker), named: 0, untried: Vec::new() }
    }

    /// Names are looked up by this from now on.
    pub(super) fn look_up_with(&mut self, look_up: LookUp) {
        self.lookups.look_up = look_up;
    }

    /// Begins a dial: `None` means that the name is being looked up.
    pub(super) fn begin(&mut self, link: LinkId, target: Target) -> io::Result<Option<Stream>> {
        match target {
            Target::Unix(path) => UnixStream::connect(path).map(|s| Some(Stream::Unix(s))),
            Target::Tcp { host, port } | Target::Tls { host, port } => match host.parse::<IpAddr>()
            {
                Ok(address) => {
                    self.untried.push((link, [SocketAddr::new(address, port)].into()));
                    self.next(link).map(Some)
                }
                Err(_) => match self.lookups.begin(link, &host, port)? {
                    Some(addresses) => self.first_of(link, addresses).map(Some),
                    None => Ok(None),
                },
            },
        }
    }

    /// A dial whose name has been looked up, and the stream to its first address.
    pub(super) fn resolved(&mut self) -> Option<(LinkId, io::Result<Stream>)> {
        let (link, found) = self.lookups.next()?;
        let stream = found.and_then(|addresses| self.first_of(link, addresses));
        Some((link, stream))
    }

    /// Says which names take long to be looked up; returns when there may be more to say.
    pub(super) fn say_slow(&mut self) -> Option<Duration> {
        self.lookups.say_slow()
    }

    /// The stream to the next address, after the one before has failed.
    pub(super) fn next(&mut self, link: LinkId) -> io::Result<Stream> {
        let untried = self.untried.iter_mut().find(|(of, _)| *of == link);
        match untried.and_then(|(_, addresses)| addresses.pop_front()) {
            Some(address) => TcpStream::connect(address).map(Stream::Tcp),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether an address is left to try.
    pub(super) fn has_next(&self, link: LinkId) -> bool {
        self.untried.iter().any(|(of, addresses)| *of == link && !addresses.is_empty())
    }

    /// Forgets a dial.
    pub(super) fn end(&mut self, link: LinkId) {
        self.lookups.forget(link);
        self.untried.retain(|(of, _)| *of != link);
    }

    fn first_of(&mut self, link: LinkId, mut addresses: Vec<SocketAddr>) -> io::Result<Stream> {
        let first = self.named % addresses.len().max(1);
        addresses.rotate_left(first);
        self.named += 1;
        self.untried.push((link, addresses.into()));
        self.next(link)
    }
}
