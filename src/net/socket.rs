//! L3: one socket: a single read, a single write, and whether there is more.
//!
//! It does not know what its bytes mean, nor how often it is read or written in a turn: `reactor`
//! has the loops and the budgets. Its rules, which edge-triggered readiness asks for:
//! * a short read or a short write means that the kernel has no more, or takes no more;
//! * a short read of what has ended already is the last: the end is known, and is not read.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::buffer::spare_capacity;
use rustix::net::SendFlags;

use crate::link::LinkId;

/// A stream of either family, or one that is still to be made.
#[derive(Debug)]
pub(super) enum Stream {
    /// A name is being looked up.
    Unmade,
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// One socket and what is known of its readiness.
#[derive(Debug)]
pub(super) struct Socket {
    /// Which of the links that have had this place.
    pub generation: u32,
    /// Its socket.
    pub stream: Stream,
    /// It is read before those of others.
    pub comes_first: bool,
    /// It was accepted, not dialed.
    pub accepted: bool,
    /// It can be read and written; a dialed one only when its peer has answered.
    pub made: bool,
    /// The peer will send no more, or the link has failed: it was said, and is not read again.
    pub over: bool,
    /// It is among those to be read in the next turn whether or not more arrives.
    pub left_over: bool,
    /// Something may have arrived that was not read.
    pub has_more: bool,
    /// The peer has said that it will send no more, but not all of that may be read.
    pub ending: bool,
    /// The link has failed; only reading tells why.
    pub failing: bool,
    /// All is read that the peer has ever sent.
    pub drained: bool,
    /// Its bytes go through a session of TLS.
    pub secured: bool,
    /// It is told when it can be written to: a socket that has never been full need not be.
    pub told_writable: bool,
    /// What is written goes nowhere.
    deaf: bool,
}

/// The token under which a link's readiness is told.
pub(super) fn token_of(link: LinkId) -> Token {
    Token((link.generation as usize) << 32 | link.index as usize)
}

/// The link of such a token.
pub(super) fn link_of(token: usize) -> LinkId {
    LinkId { index: token as u32, generation: (token >> 32) as u32 }
}

/// The outcome of one read.
#[derive(Debug)]
pub(super) enum Reading {
    /// So many bytes; [`Socket::has_more`] tells whether there may be more.
    Some(usize),
    /// So many, behind what a link has put together.
    Filled(usize),
    /// Some, which were for what secures the link.
    Inner,
    /// None for now.
    Nothing,
    /// None ever again.
    Ended,
    /// The link failed.
    Failed(io::Error),
    /// What secures it did, in words.
    Insecure(String),
}

impl Socket {
    /// A link whose stream is not made yet.
    pub(super) fn unmade(generation: u32, comes_first: bool) -> Self {
        let stream = Stream::Unmade;
        Socket {
            generation,
            stream,
            comes_first,
            accepted: false,
            made: false,
            over: false,
            left_over: false,
            has_more: false,
            ending: false,
            failing: false,
            drained: false,
            secured: false,
            told_writable: true,
            deaf: false,
        }
    }

    /// A link that was accepted.
    pub(super) fn accepted(generation: u32, stream: Stream) -> Self {
        Socket {
            generation,
            stream,
            comes_first: false,
            accepted: true,
            made: true,
            over: false,
            left_over: false,
            has_more: false,
            ending: false,
            failing: false,
            drained: false,
            secured: false,
            told_writable: false,
            deaf: false,
        }
    }

    /// Its peer takes no more, but may have said something before: what is written from here on
    /// goes nowhere, and reading tells how the link ends.
    pub(super) fn turn_deaf(&mut self) {
        (self.deaf, self.has_more) = (true, true);
    }

    /// Reads once.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Reading {
        let most = into.len();
        self.read_with(most, |stream| match stream {
            Stream::Unmade => Err(ErrorKind::WouldBlock.into()),
            Stream::Tcp(stream) => stream.read(into),
            Stream::Unix(stream) => stream.read(into),
        })
    }

    /// Bytes that have arrived and were not read.
    pub(super) fn waiting(&self) -> usize {
        let waiting = match &self.stream {
            Stream::Unmade => return 0,
            Stream::Tcp(stream) => rustix::io::ioctl_fionread(stream),
            Stream::Unix(stream) => rustix::io::ioctl_fionread(stream),
        };
        waiting.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Reads once, behind what a buffer has, as much as that has capacity for.
    pub(super) fn fill(&mut self, room: &mut Vec<u8>) -> Reading {
        let most = room.capacity() - room.len();
        let reading = self.read_with(most, |stream| match stream {
            Stream::Unmade => Err(ErrorKind::WouldBlock.into()),
            Stream::Tcp(stream) => Ok(rustix::io::read(stream, spare_capacity(room))?),
            Stream::Unix(stream) => Ok(rustix::io::read(stream, spare_capacity(room))?),
        });
        match reading {
            Reading::Some(n) => Reading::Filled(n),
            reading => reading,
        }
    }

    fn read_with(
        &mut self,
        most: usize,
        mut read: impl FnMut(&mut Stream) -> io::Result<usize>,
    ) -> Reading {
        if self.drained {
            return Reading::Ended;
        }
        let result = loop {
            let result = read(&mut self.stream);
            if !matches!(&result, Err(error) if error.kind() == ErrorKind::Interrupted) {
                break result;
            }
        };
        match result {
            Ok(0) => Reading::Ended,
            Ok(n) => {
                let is_short = n < most;
                self.drained = is_short && self.ending && !self.failing;
                self.has_more = !is_short || self.ending;
                Reading::Some(n)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.has_more = false;
                Reading::Nothing
            }
            Err(error) => Reading::Failed(error),
        }
    }

    /// Writes once; `None` when the kernel takes nothing now.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        if self.deaf {
            return Ok(Some(slices.iter().map(|slice| slice.len()).sum()));
        }
        loop {
            let result = match &mut self.stream {
                Stream::Unmade => return Ok(None),
                Stream::Tcp(stream) => write(stream, slices),
                Stream::Unix(stream) => write(stream, slices),
            };
            match result {
                Ok(n) => return Ok(Some(n)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Writes slices, or the one that there is: a call for one is the cheaper one, and made without the
/// C library, in which a thread can be cancelled in it, cheaper still.
fn write(stream: &mut (impl Write + AsFd), slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match slices {
        [slice] => Ok(rustix::net::send(stream, slice, SendFlags::NOSIGNAL)?),
        _ => stream.write_vectored(slices),
    }
}

impl Stream {
    /// Shuts the writing side. A failure means that the peer has gone, which reading will tell.
    pub(super) fn shut_writing(&mut self) {
        let _ = match self {
            Stream::Unmade => Ok(()),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Lets small writes go out while others are on their way. Without, it would only be slower.
    pub(super) fn send_at_once(&self) {
        if let Stream::Tcp(stream) = self {
            let _ = stream.set_nodelay(true);
        }
    }

    /// Whether a dialed stream is made.
    pub(super) fn is_made(&self) -> io::Result<bool> {
        let (error, peer) = match self {
            Stream::Unmade => return Ok(false),
            Stream::Tcp(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Stream::Unix(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
        };
        match (error, peer) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(true),
            (None, Err(error)) if error.kind() == ErrorKind::NotConnected => Ok(false),
            (None, Err(error)) => Err(error),
        }
    }

    /// Has readiness told under this token.
    pub(super) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Stream::Unmade => Ok(()),
            Stream::Tcp(stream) => stream.register(registry, token, interest),
            Stream::Unix(stream) => stream.register(registry, token, interest),
        }
    }

    /// Has other readiness told than before, and what is so already told again.
    pub(super) fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        match self {
            Stream::Unmade => Ok(()),
            Stream::Tcp(stream) => stream.reregister(registry, token, interest),
            Stream::Unix(stream) => stream.reregister(registry, token, interest),
        }
    }
}
