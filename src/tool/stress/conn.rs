//! L4: one connection of the tool: a handshake, then messages; or commands to Redis.
//!
//! It does not know what a message is for: that is [`Work`]'s. Its rules:
//! - what arrived is read where it lies, in room that all conns share; only what is incomplete is
//!   kept, and an idle conn keeps nothing;
//! - all that one read leads to goes out in one write;
//! - as with every edge-triggered socket reading goes on until the kernel has no more, or says so
//!   by a short read.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Write};

use socket2::Socket;

use crate::proto::resp::{Decoder, Item, Reply};
use crate::proto::ws::client::{self, ClientKey, ServerAnswer};
use crate::proto::ws::frame::{Opcode, Role, encode_masked};
use crate::proto::ws::message::{Event, Limits, Reader};

use super::StressError;
use super::topic::Place;

/// Largest head of an answer to a handshake.
const MAX_HEAD: usize = 16 << 10;
/// Most that is read of the body of a refusal.
const MAX_BODY: usize = 4 << 10;
const LIMITS: Limits = Limits {
    role: Role::Client,
    max_message: 64 << 20,
    max_fragments: usize::MAX,
    compression: false,
};

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// One of the many: it listens, echoes, or is only there.
    Client,
    /// It publishes what the many hear.
    Publish,
    /// It listens to the probe.
    HearProbe,
    /// It publishes the probe.
    PublishProbe,
}

/// What the conns work for.
pub(super) trait Work {
    /// A handshake is complete (or Redis has answered). What is appended to `out` is sent.
    fn opened(&mut self, conn: &mut Client, now_ns: u64, out: &mut Vec<u8>);
    /// A message came. What is appended to `out` is sent.
    fn heard(&mut self, conn: &mut Client, data: &[u8], now_ns: u64, out: &mut Vec<u8>);
    /// An open conn is over: the code and reason of the server's close frame, or `None` when it
    /// hung up without one.
    fn closed(&mut self, conn: &Client, close: Option<(u16, &str)>);
}

/// What [`Work`] sees of a connection.
#[derive(Debug)]
pub(super) struct Client {
    /// What it is for.
    pub task: Task,
    /// Its number among all, and what it is to hear next.
    pub place: Place,
    /// When it was dialed.
    pub dialed_ns: u64,
    /// It has sent a close frame.
    pub closing: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    /// Its socket.
    pub socket: Socket,
    /// What others see of it.
    pub client: Client,
    state: State,
    /// What the kernel has not taken yet.
    unsent: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// The answer to the request is not here yet.
    Handshake(Box<Handshake>),
    Open(Reader),
    /// A link to Redis; open when it has answered a PING.
    Redis {
        decoder: Box<Decoder>,
        open: bool,
    },
}

#[derive(Debug)]
struct Handshake {
    key: ClientKey,
    /// What has arrived of the answer.
    answer: Vec<u8>,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It does.
    Stays,
    /// It is to be dropped.
    Ends,
}

/// What reading needs besides the conn: the shared room, and the time.
pub(super) struct Turn<'t> {
    /// Room for what arrives.
    pub scratch: &'t mut [u8],
    /// Room for what goes out.
    pub out: &'t mut Vec<u8>,
    /// The time.
    pub now_ns: u64,
}

impl Conn {
    /// A conn that asks for a WebSocket.
    pub(super) fn handshaking(
        socket: Socket,
        client: Client,
        request: Vec<u8>,
        key: ClientKey,
    ) -> Conn {
        let state = State::Handshake(Box::new(Handshake { key, answer: Vec::new() }));
        Conn { socket, client, state, unsent: request }
    }

    /// A link to Redis, which is open when the PING at the end of these commands is answered.
    pub(super) fn redis(socket: Socket, client: Client, commands: Vec<u8>) -> Conn {
        let state = State::Redis { decoder: Box::new(Decoder::new(1 << 16)), open: false };
        Conn { socket, client, state, unsent: commands }
    }

    /// Whether messages can be sent.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_) | State::Redis { open: true, .. })
    }

    /// Sends these bytes, after those that wait.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = if self.unsent.is_empty() { write(&self.socket, bytes)? } else { 0 };
        self.unsent.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Sends what waits, as far as the kernel takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let taken = write(&self.socket, &self.unsent)?;
            self.unsent.drain(..taken);
            if self.unsent.is_empty() {
                self.unsent = Vec::new();
            }
        }
        Ok(())
    }

    /// Takes what has arrived. `to_end` says that the peer will send no more.
    pub(super) fn read(
        &mut self,
        to_end: bool,
        turn: Turn<'_>,
        work: &mut impl Work,
    ) -> Result<Fate, StressError> {
        let Turn { scratch, out, now_ns } = turn;
        loop {
            let n = match (&self.socket).read(scratch) {
                Ok(0) => return self.ended(None, work),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Fate::Stays),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.ended(Some(error), work),
            };
            out.clear();
            let fate = self.take(&mut scratch[..n], now_ns, out, work)?;
            if !out.is_empty() && self.send(out).is_err() {
                // The peer has gone, which the next read tells.
                self.unsent = Vec::new();
            }
            if fate == Fate::Ends || (n < scratch.len() && !to_end) {
                return Ok(fate);
            }
        }
    }

    fn take(
        &mut self,
        bytes: &mut [u8],
        now_ns: u64,
        out: &mut Vec<u8>,
        work: &mut impl Work,
    ) -> Result<Fate, StressError> {
        match &mut self.state {
            State::Open(reader) => messages(reader, &mut self.client, bytes, now_ns, out, work),
            State::Redis { decoder, open } => {
                let mut input = &*bytes;
                while let Some(item) = decoder.next(&mut input).map_err(StressError::resp)? {
                    match item {
                        Item::Reply(Reply::Error(text)) => {
                            return Err(StressError::Redis(text.into()));
                        }
                        Item::Reply(Reply::Status("PONG")) if !*open => {
                            *open = true;
                            work.opened(&mut self.client, now_ns, out);
                        }
                        _ => {}
                    }
                }
                Ok(Fate::Stays)
            }
            State::Handshake(handshake) => {
                handshake.answer.extend_from_slice(bytes);
                let answer = client::answer(&handshake.answer, &handshake.key, MAX_HEAD);
                match answer.map_err(StressError::Answer)? {
                    None => Ok(Fate::Stays),
                    Some((ServerAnswer::Open, head)) => {
                        let mut rest = handshake.answer.split_off(head);
                        let mut reader = Reader::new();
                        work.opened(&mut self.client, now_ns, out);
                        let fate =
                            messages(&mut reader, &mut self.client, &mut rest, now_ns, out, work);
                        self.state = State::Open(reader);
                        fate
                    }
                    Some((ServerAnswer::Refused { status, body }, head)) => {
                        let arrived = &handshake.answer[head..];
                        let whole = body.unwrap_or(MAX_BODY).min(MAX_BODY);
                        match arrived.len() < whole && !arrived.contains(&b'\n') {
                            true => Ok(Fate::Stays),
                            false => Err(StressError::refused(status, arrived)),
                        }
                    }
                }
            }
        }
    }

    /// The peer sends no more, or the socket has failed.
    fn ended(
        &mut self,
        error: Option<io::Error>,
        work: &mut impl Work,
    ) -> Result<Fate, StressError> {
        match &self.state {
            State::Open(_) => work.closed(&self.client, None),
            State::Redis { .. } => return Err(StressError::Redis("it hung up".to_owned())),
            State::Handshake(handshake) => {
                let answer = client::answer(&handshake.answer, &handshake.key, MAX_HEAD);
                if let Ok(Some((ServerAnswer::Refused { status, .. }, head))) = answer {
                    return Err(StressError::refused(status, &handshake.answer[head..]));
                }
                return Err(StressError::HungUp(error));
            }
        }
        Ok(Fate::Ends)
    }
}

/// Takes frames, hands on messages, and answers pings and close frames.
fn messages(
    reader: &mut Reader,
    client: &mut Client,
    mut bytes: &mut [u8],
    now_ns: u64,
    out: &mut Vec<u8>,
    work: &mut impl Work,
) -> Result<Fate, StressError> {
    while let Some(event) = reader.next(&mut bytes, &LIMITS).map_err(StressError::Protocol)? {
        match event {
            Event::Message { data, .. } => work.heard(client, &data, now_ns, out),
            Event::Ping(payload) => encode_masked(Opcode::Pong, &payload, mask(now_ns), out),
            Event::Pong(_) => {}
            Event::Close(close) => {
                if !client.closing {
                    close_frame(close.as_ref().map(|(code, _)| *code), now_ns, out);
                }
                let close: Option<(u16, Cow<'_, str>)> = close.or(Some((1005, "".into())));
                work.closed(client, close.as_ref().map(|(code, reason)| (*code, &**reason)));
                return Ok(Fate::Ends);
            }
        }
    }
    Ok(Fate::Stays)
}

/// Appends a close frame.
pub(super) fn close_frame(code: Option<u16>, now_ns: u64, out: &mut Vec<u8>) {
    let code = code.map(u16::to_be_bytes);
    let payload = code.as_ref().map_or(&[][..], |code| code);
    encode_masked(Opcode::Close, payload, mask(now_ns), out);
}

/// A mask for a frame. It hides nothing from anybody here, but costs a proxy no less than any.
pub(super) fn mask(seed: u64) -> [u8; 4] {
    let mixed = (seed | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) as u32).to_ne_bytes()
}

/// Writes once; 0 when the kernel takes nothing now.
fn write(mut socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match socket.write(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A socket that is still being connected takes nothing either.
            Err(error)
                if [ErrorKind::WouldBlock, ErrorKind::NotConnected].contains(&error.kind()) =>
            {
                return Ok(0);
            }
            other => return other,
        }
    }
}
