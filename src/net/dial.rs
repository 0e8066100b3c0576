//! L3: from a target to a stream: names are looked up on a thread of their own, for the resolver
//! blocks, and the addresses of a name are tried one after another.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use mio::Waker;
use mio::net::{TcpStream, UnixStream};

use super::link::Stream;
use crate::link::LinkId;
use crate::link::Target;

/// Finds the addresses of a name, in the order in which they are to be tried.
pub(super) type LookUp = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// The dials that are under way.
#[derive(Debug)]
pub(super) struct Dials {
    waker: Arc<Waker>,
    sender: Sender<(LinkId, io::Result<Vec<SocketAddr>>)>,
    pub(super) look_up: LookUp,
    resolved: Receiver<(LinkId, io::Result<Vec<SocketAddr>>)>,
    /// Names that were dialed so far: each dial begins at another address of the name, because one
    /// that swallows what is sent to it would use up the time of them all.
    named: usize,
    /// Addresses that have not been tried yet.
    untried: Vec<(LinkId, VecDeque<SocketAddr>)>,
}

impl Dials {
    /// No dials; `waker` is woken when a name has been looked up.
    pub(super) fn new(waker: Waker) -> Self {
        let (sender, resolved) = channel();
        let look_up = |host: &str, port| Ok((host, port).to_socket_addrs()?.collect());
        let waker = Arc::new(waker);
        Dials { waker, sender, look_up, resolved, named: 0, untried: Vec::new() }
    }

    /// Begins a dial: `None` means that the name is being looked up.
    pub(super) fn begin(&mut self, link: LinkId, target: Target) -> io::Result<Option<Stream>> {
        match target {
            Target::Unix(path) => UnixStream::connect(path).map(|s| Some(Stream::Unix(s))),
            Target::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(address) => {
                    self.untried.push((link, [SocketAddr::new(address, port)].into()));
                    self.next(link).map(Some)
                }
                Err(_) => {
                    let (waker, sender) = (self.waker.clone(), self.sender.clone());
                    let look_up = self.look_up;
                    std::thread::Builder::new().name("resolver".into()).spawn(move || {
                        let found = look_up(&host, port);
                        // Nobody may be waiting any more; then the answer is not needed.
                        let _ = sender.send((link, found));
                        let _ = waker.wake();
                    })?;
                    Ok(None)
                }
            },
        }
    }

    /// A name that has been looked up, and the stream to its first address.
    pub(super) fn resolved(&mut self) -> Option<(LinkId, io::Result<Stream>)> {
        let (link, found) = self.resolved.try_recv().ok()?;
        let stream = found.and_then(|mut addresses| {
            let first = self.named % addresses.len().max(1);
            addresses.rotate_left(first);
            self.named += 1;
            self.untried.push((link, addresses.into()));
            self.next(link)
        });
        Some((link, stream))
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
        self.untried.retain(|(of, _)| *of != link);
    }
}
