//! L3: TLS between the sockets and the loop: which links have it, and how their bytes go through.
//!
//! A socket stays what it is; a link that is secured is read and written by the way of its session,
//! which lies beside, so that the others cost nothing for it. Rules:
//! * a link is read for few records at a time until it sends large ones: each record has its price,
//!   however small it is;
//! * of bytes that are encrypted and not sent, one is not taken from the outbox: so for the core
//!   they wait, the frame of the last of them is begun, and the link is not finished;
//! * who does not begin as TLS does is handed on as it is, to be told so.

use std::io::{self, IoSlice};

use rustls::server::UnbufferedServerConnection;

use super::super::reactor::{BOTH, Reactor};
use super::super::socket::{Reading, Socket, token_of};
use super::TlsUses;
use super::identity::ServerTls;
use super::records;
use super::session::Session;
use crate::link::{Cause, Input, LinkId};

/// Bytes read at a time of a link that sends small records: two large ones.
const FEW: usize = 33 << 10;
/// Records of this size, on average, are large.
const LARGE: usize = 1 << 10;
/// Bytes encrypted for one write: two records.
const BATCH: usize = 32 << 10;
/// What encrypting adds to them, and to notices that go before them, at most.
const ADDED: usize = 1 << 10;

/// The TLS of one loop.
#[derive(Default)]
pub(in crate::net) struct Tls {
    /// What it is spoken with from now on.
    pub uses: TlsUses,
    /// The sessions, by the places of their links.
    sessions: Vec<Option<Box<Secured>>>,
    /// Room for what is read.
    came: Vec<u8>,
    /// Room for what is to be encrypted.
    joined: Vec<u8>,
    /// Room for what is encrypted.
    sealed: Vec<u8>,
}

/// A link's session, and how far it is.
struct Secured {
    session: Session,
    /// Something has come.
    began: bool,
    /// It sends large records.
    is_bulky: bool,
    /// The core was told that it is secure.
    is_told: bool,
    /// KiB that the core was told it holds.
    held_kib: usize,
    /// A byte of the outbox is encrypted, and waits in `session` with those before it.
    owes: bool,
    /// Our end is shut when that is sent.
    shuts: bool,
}

/// What came of writing to a link.
pub(in crate::net) struct Written {
    /// Bytes that are no longer the outbox's.
    pub taken: usize,
    /// The kernel takes no more.
    pub is_full: bool,
}

impl Tls {
    /// No link yet.
    pub(in crate::net) fn of(uses: TlsUses) -> Tls {
        Tls { uses, ..Tls::default() }
    }

    /// A link that was accepted begins its session. Without one it would never be read.
    pub(in crate::net) fn begin(&mut self, link: LinkId) {
        let Some(ServerTls(config)) = &self.uses.shown else { return };
        let Ok(connection) = UnbufferedServerConnection::new(config.clone()) else { return };
        self.enter(link, Session::server(connection));
    }

    /// A link that is dialed has a session with that host.
    pub(in crate::net) fn begin_with(&mut self, link: LinkId, host: &str) -> Result<(), String> {
        let Some(redis) = &self.uses.redis else {
            return Err("nothing says whom to believe".to_owned());
        };
        let connection = redis.unbuffered(host)?;
        self.enter(link, Session::client(connection));
        Ok(())
    }

    /// A link that was dialed is made: it speaks first.
    fn greet(&mut self, link: LinkId, socket: &mut Socket) {
        let Some(secured) = self.sessions.get_mut(link.index as usize).and_then(Option::as_mut)
        else {
            return;
        };
        secured.began = true;
        secured.session.open(&mut self.came, 0, &mut []);
        secured.send(socket);
    }

    fn enter(&mut self, link: LinkId, session: Session) {
        let at = link.index as usize;
        if self.sessions.len() <= at {
            self.sessions.reserve_exact((at + 1 - self.sessions.len()).max(at / 8));
            self.sessions.resize_with(at + 1, || None);
        }
        self.sessions[at] = Some(Box::new(Secured {
            session,
            began: false,
            is_bulky: false,
            is_told: false,
            held_kib: 0,
            owes: false,
            shuts: false,
        }));
    }

    fn get(&mut self, link: LinkId) -> Option<&mut Secured> {
        self.sessions.get_mut(link.index as usize)?.as_deref_mut()
    }

    /// Whether its handshake is under way.
    pub(in crate::net) fn is_shaking(&self, link: LinkId) -> bool {
        let secured = self.sessions.get(link.index as usize).and_then(Option::as_ref);
        secured.is_some_and(|secured| !secured.session.done)
    }

    /// Reads once. What comes out fits into `content` whole.
    fn read(&mut self, link: LinkId, socket: &mut Socket, content: &mut [u8]) -> Reading {
        self.came.resize(content.len(), 0);
        let Some(secured) = self.sessions.get_mut(link.index as usize).and_then(Option::as_mut)
        else {
            return Reading::Nothing;
        };
        let session = &mut secured.session;
        if let Some(fault) = &session.fault {
            return Reading::Insecure(fault.clone());
        }
        if session.ended {
            return Reading::Ended;
        }
        let kept = session.kept();
        let end = if secured.is_bulky { content.len() } else { content.len().min(kept + FEW) };
        let arrived = match socket.read(&mut self.came[kept..end]) {
            Reading::Some(arrived) => arrived,
            other => return other,
        };
        if !std::mem::replace(&mut secured.began, true) && !records::begins(self.came[0]) {
            content[..arrived].copy_from_slice(&self.came[..arrived]);
            socket.secured = false;
            return Reading::Some(arrived);
        }
        let opened = session.open(&mut self.came, arrived, content);
        secured.is_bulky = opened.content / LARGE >= opened.records.max(1) as usize;
        secured.send(socket);
        // Both are told by the next read.
        socket.has_more |= session_is_over(&secured.session);
        match opened.content {
            0 => Reading::Inner,
            bytes => Reading::Some(bytes),
        }
    }

    /// Encrypts and writes once, no more than [`BATCH`].
    pub(in crate::net) fn write(
        &mut self,
        link: LinkId,
        socket: &mut Socket,
        slices: &[IoSlice<'_>],
    ) -> io::Result<Written> {
        let full = Written { taken: 0, is_full: true };
        let secured = self.sessions.get_mut(link.index as usize).and_then(Option::as_mut);
        let Some(secured) = secured.filter(|secured| secured.session.done) else {
            return Ok(full);
        };
        secured.try_send(socket)?;
        if !secured.session.sealed.is_empty() {
            return Ok(full);
        }
        let owed = usize::from(std::mem::take(&mut secured.owes));
        join(slices, owed, &mut self.joined);
        if self.joined.is_empty() {
            return Ok(Written { taken: owed, is_full: false });
        }
        self.sealed.resize(BATCH + ADDED, 0);
        let sealed = secured.session.seal(&self.joined, &mut self.sealed);
        let sealed = &self.sealed[..sealed.map_err(io::Error::other)?];
        let sent = socket.write(&[IoSlice::new(sealed)])?.unwrap_or(0);
        let taken = owed + self.joined.len();
        if sent == sealed.len() {
            return Ok(Written { taken, is_full: false });
        }
        secured.session.sealed = sealed[sent..].to_vec();
        secured.owes = true;
        Ok(Written { taken: taken - 1, is_full: true })
    }

    /// All that waited is sent: says that no more comes, and shuts the writing side.
    pub(in crate::net) fn finish(&mut self, link: LinkId, socket: &mut Socket) {
        let Tls { sealed: room, .. } = self;
        room.resize(BATCH + ADDED, 0);
        let Some(secured) = self.sessions.get_mut(link.index as usize).and_then(Option::as_mut)
        else {
            return;
        };
        secured.shuts = true;
        if secured.session.done
            && let Ok(bytes) = secured.session.close(room)
        {
            secured.session.sealed.extend_from_slice(&room[..bytes]);
        }
        secured.send(socket);
    }

    /// The link is closed: says so to a peer that was not told yet, if the kernel takes it.
    pub(in crate::net) fn close(&mut self, link: LinkId, socket: &mut Socket) {
        let is_told = self.get(link).is_none_or(|secured| secured.shuts);
        if !is_told {
            self.finish(link, socket);
        }
        self.forget(link);
    }

    fn forget(&mut self, link: LinkId) {
        if let Some(place) = self.sessions.get_mut(link.index as usize) {
            *place = None;
        }
    }
}

fn session_is_over(session: &Session) -> bool {
    session.ended || session.fault.is_some()
}

/// Puts the front of what waits, without its first `owed` bytes, into one piece. It does not end
/// behind the first byte of a slice: a frame must have begun for the core when its first byte is
/// on its way, and a last byte is not taken before all is sent.
fn join(slices: &[IoSlice<'_>], mut owed: usize, joined: &mut Vec<u8>) {
    joined.clear();
    for slice in slices {
        let part = &slice[owed.min(slice.len())..];
        owed -= slice.len() - part.len();
        let taken = part.len().min(BATCH - joined.len());
        if taken == 1 && part.len() > 1 {
            break;
        }
        joined.extend_from_slice(&part[..taken]);
        if joined.len() == BATCH {
            break;
        }
    }
}

impl Secured {
    /// Sends what the session has to send; a failure means that the peer has gone, which reading
    /// will tell.
    fn send(&mut self, socket: &mut Socket) {
        if self.try_send(socket).is_err() {
            self.session.sealed = Vec::new();
        }
    }

    fn try_send(&mut self, socket: &mut Socket) -> io::Result<()> {
        let sealed = &mut self.session.sealed;
        if !sealed.is_empty() {
            match socket.write(&[IoSlice::new(sealed)])? {
                Some(sent) if sent == sealed.len() => *sealed = Vec::new(),
                sent => drop(sealed.drain(..sent.unwrap_or(0))),
            }
        }
        if sealed.is_empty() && self.shuts {
            socket.stream.shut_writing();
        }
        Ok(())
    }
}

impl Reactor {
    /// Reads a link that is secured, and tells the core what it has to know of its TLS.
    pub(in crate::net) fn read_secured(&mut self, link: LinkId) -> Reading {
        let Some(socket) = self.links.get_mut(link.index as usize) else { return Reading::Nothing };
        let reading = self.tls.read(link, socket, &mut self.scratch);
        if !socket.secured {
            self.tls.forget(link);
            self.server.handle(Input::Exposed { link }, self.now);
            return reading;
        }
        self.tell_of(link);
        reading
    }

    /// A link that was dialed is made: its handshake begins.
    pub(in crate::net) fn greet(&mut self, link: LinkId) {
        if let Some(socket) = self.links.get_mut(link.index as usize) {
            self.tls.greet(link, socket);
            self.tell_of(link);
        }
    }

    /// A link that is secured can be written to: what is encrypted already goes out first. Whether
    /// it does.
    pub(in crate::net) fn write_sealed(&mut self, link: LinkId) -> bool {
        let Some(socket) = self.links.get_mut(link.index as usize) else { return false };
        let Some(secured) = self.tls.get(link) else { return false };
        secured.send(socket);
        let is_sent = secured.session.sealed.is_empty();
        self.tell_of(link);
        is_sent
    }

    /// Tells the core that a handshake is done, and what is held that it does not see; has the
    /// kernel tell when it takes more of what waits here.
    pub(in crate::net) fn tell_of(&mut self, link: LinkId) {
        if self.link(link).is_none_or(|socket| !socket.secured) {
            return;
        }
        let Some(secured) = self.tls.get(link) else { return };
        let was_dialed = secured.session.is_asking();
        let waits = !secured.session.sealed.is_empty();
        let done = secured.session.done && !std::mem::replace(&mut secured.is_told, true);
        let kib = secured.session.held().div_ceil(1 << 10);
        let was_kib = std::mem::replace(&mut secured.held_kib, kib);
        match was_dialed {
            true if done => self.on_connected(link),
            false if done => self.server.handle(Input::Secured { link }, self.now),
            _ => {}
        }
        if kib != was_kib {
            self.server.handle(Input::Held { link, kib }, self.now);
        }
        if waits {
            self.tell_when_writable(link);
        }
    }

    /// Has the kernel tell when it takes more.
    pub(in crate::net) fn tell_when_writable(&mut self, link: LinkId) {
        let Some(socket) = self.links.get_mut(link.index as usize) else { return };
        if !std::mem::replace(&mut socket.told_writable, true) {
            let registry = self.poll.registry();
            if let Err(error) = socket.stream.reregister(registry, token_of(link), BOTH) {
                self.hung_up(link, Cause::Failed(error.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is joined of slices of these lengths, whose bytes are their numbers.
    fn joined(lengths: &[usize], owed: usize) -> Vec<u8> {
        let bytes: Vec<_> = lengths.iter().zip(1..).map(|(n, byte)| vec![byte; *n]).collect();
        let slices: Vec<_> = bytes.iter().map(|bytes| IoSlice::new(bytes)).collect();
        let mut joined = vec![9; 3];
        join(&slices, owed, &mut joined);
        joined
    }

    #[test]
    fn what_waits_is_joined_without_what_is_owed() {
        assert_eq!(joined(&[2, 3], 0), [1, 1, 2, 2, 2]);
        assert_eq!(joined(&[2, 3], 1), [1, 2, 2, 2]);
        assert_eq!(joined(&[1, 3], 1), [2, 2, 2]);
        assert!(joined(&[1], 1).is_empty());
        assert_eq!(joined(&[BATCH + 5, 7], 1), vec![1; BATCH]);
    }

    #[test]
    fn no_more_than_a_frame_has_begun_is_on_its_way() {
        // One byte of the second would fit, and is not taken.
        assert_eq!(joined(&[BATCH - 1, 2], 0), vec![1; BATCH - 1]);
        assert_eq!(joined(&[BATCH, 2], 1), vec![1; BATCH - 1]);
        // Two are, and one that is all of its slice.
        assert_eq!(joined(&[BATCH - 2, 3], 0)[BATCH - 3..], [1, 2, 2]);
        assert_eq!(joined(&[BATCH - 1, 1, 4], 0)[BATCH - 2..], [1, 2]);
    }
}
