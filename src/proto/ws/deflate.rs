//! permessage-deflate (RFC 7692): negotiating it, compressing payloads, inflating them.
//!
//! It knows offers, payloads and windows; not frames, nor which message is worth compressing.
//!
//! Rules:
//! - zlib's state is kept for no connection. A [`Deflater`] and an [`Inflater`] serve everybody,
//!   one message at a time; where a context is taken over from message to message, it is kept as
//!   what it is, the last bytes of what was said ([`Window`]), and zlib is reminded of them.
//! - What a peer sends is inflated in chunks of a fixed size, so that whoever takes them can stop
//!   at any limit and has spent one chunk too much at most.
//! - A message must end where a block of DEFLATE ends; what is cut short is refused.
//! - An offer is taken whole or not at all (RFC 7692 section 5.1): what is wrong in one declines
//!   it, and the next is looked at.

use std::fmt;

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

use super::frame::ProtocolError;

/// The header that offers and answers are in.
pub const HEADER: &str = "Sec-WebSocket-Extensions";

/// The largest window, as a power of two.
const MAX_BITS: u8 = 15;

/// The smallest window in which messages that refer to earlier ones are compressed, where the
/// client allows so much: what is kept of those may be less, but a message is more than that.
const REFERRING_BITS: u8 = 12;

/// zlib has no raw window of 8 bits for compressing. That of 9 bits serves: zlib keeps 262 bytes
/// of every window to itself, so that no distance is above 250.
const MIN_DEFLATE_BITS: u8 = 9;

/// How hard to look for repetitions, of 9: zlib's own default.
const LEVEL: i32 = 6;

/// Bytes that are inflated at a time.
const CHUNK: usize = 16 << 10;

/// What section 7.2.1 takes off the end of a compressed message: an empty stored block, but for
/// its first bits.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// That tail and a last block, empty too. Only behind a message that ends between two blocks does
/// it end the stream.
const TAIL_AND_END: [u8; 9] = [0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff];

/// What is done about compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Every offer is declined.
    Off,
    /// Each message is compressed by itself, once for all who get it, and so is each that comes.
    Shared,
    /// Where the client agrees, messages refer to those before them: smaller, but compressed for
    /// every conn by itself.
    Dedicated,
}

/// What was agreed on with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Our window, as a power of two: 8 to 15.
    pub server_bits: u8,
    /// Whether a message of ours may refer to those before it.
    pub server_takeover: bool,
    /// The client's window, as a power of two: 8 to 15.
    pub client_bits: u8,
    /// Whether a message of the client's may refer to those before it.
    pub client_takeover: bool,
}

/// Takes the first offer that can be taken, in the lines of a request's [`HEADER`], and returns
/// what is then agreed on and the header's value for the response. Of a client's messages that may
/// refer to earlier ones, about `kept` bytes are kept if the client lets us choose.
pub fn negotiate<'b>(
    lines: impl IntoIterator<Item = &'b [u8]>,
    compression: Compression,
    kept: usize,
) -> Option<(Agreement, String)> {
    let takeover = match compression {
        Compression::Off => return None,
        Compression::Shared => false,
        Compression::Dedicated => true,
    };
    let offer = lines.into_iter().flat_map(|line| split(line, b',')).find_map(Offer::read)?;
    let kept_bits = kept.max(1).ilog2().clamp(8, u32::from(MAX_BITS)) as u8;
    Some(offer.accept(takeover, kept_bits))
}

/// The last bytes of what was said, to which the next message may refer.
#[derive(Debug)]
pub struct Window {
    bits: u8,
    /// Bytes that are kept at most.
    kept: u32,
    bytes: Vec<u8>,
}

impl Window {
    /// An empty window that grows to at most two to the power of `bits`, 8 to 15.
    pub fn new(bits: u8) -> Window {
        Window { bits, kept: 1 << bits, bytes: Vec::new() }
    }

    /// The window of our messages to a client that has one of two to the power of `bits`, of which
    /// no more than `kept` bytes are kept between messages.
    pub fn kept(bits: u8, kept: usize) -> Window {
        let kept = kept.min(1 << bits);
        let needed = kept.max(1).next_power_of_two().ilog2() as u8;
        let bits = bits.min(needed.max(REFERRING_BITS));
        Window { bits, kept: kept as u32, bytes: Vec::new() }
    }

    /// Takes note of a message.
    pub fn push(&mut self, message: &[u8]) {
        let size = self.kept as usize;
        let message = &message[message.len().saturating_sub(size)..];
        let excess = (self.bytes.len() + message.len()).saturating_sub(size);
        self.bytes.drain(..excess);
        self.bytes.reserve_exact(message.len());
        self.bytes.extend_from_slice(message);
    }
}

/// Compresses messages, for any number of conns, with a state of zlib for each size of window, of
/// 200 to 400 KiB, that exists from its first use.
#[derive(Default)]
pub struct Deflater {
    states: [Option<Box<Deflate>>; (MAX_BITS - MIN_DEFLATE_BITS + 1) as usize],
    out: Vec<u8>,
    compressions: u64,
}

impl Deflater {
    /// Compresses a message by itself, with a window of two to the power of `bits`, 8 to 15. `None`
    /// when that would not make it smaller.
    pub fn compress(&mut self, message: &[u8], bits: u8) -> Option<&[u8]> {
        self.run(message, bits, &[])
    }

    /// Compresses a message that may refer to those before it, and takes note of it. `None`, and no
    /// note is taken, when that would not make it smaller.
    pub fn compress_after(&mut self, message: &[u8], window: &mut Window) -> Option<&[u8]> {
        let compressed = self.run(message, window.bits, &window.bytes)?;
        window.push(message);
        Some(compressed)
    }

    /// How many messages were compressed, also in vain.
    pub fn compressions(&self) -> u64 {
        self.compressions
    }

    fn run(&mut self, message: &[u8], bits: u8, before: &[u8]) -> Option<&[u8]> {
        let bits = bits.clamp(MIN_DEFLATE_BITS, MAX_BITS);
        let state = self.states[usize::from(bits - MIN_DEFLATE_BITS)]
            .get_or_insert_with(|| Box::new(Deflate::new(LEVEL, false, bits)));
        self.compressions += 1;
        state.reset();
        if !before.is_empty() {
            state.set_dictionary(before).ok()?;
        }
        // Room for a result that is smaller, with its tail: what fills it is not.
        let room = message.len() + TAIL.len();
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
        let out = &mut self.out[..room];
        state.compress(message, out, DeflateFlush::SyncFlush).ok()?;
        let (taken, made) = (state.total_in() as usize, state.total_out() as usize);
        if taken < message.len() || made >= room {
            return None;
        }
        self.out[..made].strip_suffix(&TAIL)
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").field("compressions", &self.compressions).finish_non_exhaustive()
    }
}

/// The longest that a message of `len` bytes may be when compressed: nine bits for each byte, which
/// is what fixed codes take at worst (storing takes less), and a little for blocks.
pub fn longest(len: usize) -> usize {
    len.saturating_add(len / 8).saturating_add(256)
}

/// Where states for inflating come from and go back to. It keeps one, of 64 KiB; others are made
/// while several compressed messages are incomplete.
#[derive(Debug, Default)]
pub struct Inflater {
    spare: Option<Inflating>,
    /// The window that is begun for a peer which has none, as a power of two; 0 is none.
    begins: u8,
}

impl Inflater {
    /// The state for a message, which may refer to what is in `before`.
    pub fn begin(&mut self, before: Option<&Window>) -> Result<Inflating, ProtocolError> {
        let mut inflating = self.spare.take().unwrap_or_else(Inflating::new);
        inflating.0.restart();
        inflating.0.taken = 0;
        if let Some(window) = before.filter(|window| !window.bytes.is_empty()) {
            let reminded = inflating.0.inflate.set_dictionary(&window.bytes);
            reminded.map_err(|_| ProtocolError::NotDeflated)?;
        }
        Ok(inflating)
    }

    /// Lets a window of two to the power of `bits` begin with a peer's first compressed message;
    /// with 0 none begins.
    pub fn begin_windows(&mut self, bits: u8) {
        self.begins = bits;
    }

    /// Takes note of a message, in the window of its peer or in one that begins with it.
    pub(super) fn remember(&self, window: &mut Option<Box<Window>>, message: &[u8]) {
        if window.is_none() && self.begins > 0 {
            *window = Some(Box::new(Window::new(self.begins)));
        }
        if let Some(window) = window {
            window.push(message);
        }
    }

    /// Takes back the state of a message that is complete.
    pub fn end(&mut self, inflating: Inflating) {
        self.spare = Some(inflating);
    }
}

/// Bytes of memory of a message that is being inflated, besides what has come out: zlib's window
/// and tables, and a chunk.
pub(crate) const INFLATING: usize = (48 << 10) + CHUNK;

/// A message that is being inflated.
pub struct Inflating(Box<State>);

struct State {
    inflate: Inflate,
    /// Bytes taken of the message.
    taken: usize,
    /// No byte was taken since the stream began: a message may end here without its tail.
    fresh: bool,
    /// The chunk was filled, so that there may be more to come without further input.
    more: bool,
    /// What follows the chunk is not deflated. What was made before is looked at first, so that the
    /// error does not depend on how the bytes arrived.
    failed: bool,
    chunk: [u8; CHUNK],
}

impl Inflating {
    /// Takes bytes from the front of `input` until they make a chunk; `None` when all were taken.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<&[u8]>, ProtocolError> {
        let state = &mut *self.0;
        while state.failed || state.more || !input.is_empty() {
            if state.failed {
                return Err(ProtocolError::NotDeflated);
            }
            let (taken, made, status) = state.step(input)?;
            *input = &input[taken..];
            state.taken += taken;
            state.fresh = false;
            state.more = made == CHUNK;
            if status == Status::StreamEnd {
                // The last block of a stream is not the end of a message (section 7.2.3.4). A new
                // stream follows, which is not reminded of this one: that costs a copy of the
                // window, and streams may be two bytes long.
                state.restart();
            } else if taken == 0 && made == 0 && !input.is_empty() {
                return Err(ProtocolError::NotDeflated);
            }
            if made > 0 {
                return Ok(Some(&state.chunk[..made]));
            }
        }
        Ok(None)
    }

    /// Checks that what was taken is a whole message.
    pub fn finish(&mut self) -> Result<(), ProtocolError> {
        let state = &mut *self.0;
        if state.fresh {
            return Ok(());
        }
        match state.step(&TAIL_AND_END)? {
            (taken, 0, Status::StreamEnd) if taken == TAIL_AND_END.len() => Ok(()),
            _ => Err(ProtocolError::NotDeflated),
        }
    }

    /// Compressed bytes that were taken of the message.
    pub fn taken(&self) -> usize {
        self.0.taken
    }

    fn new() -> Inflating {
        let inflate = Inflate::new(false, MAX_BITS);
        Inflating(Box::new(State {
            inflate,
            taken: 0,
            fresh: true,
            more: false,
            failed: false,
            chunk: [0; CHUNK],
        }))
    }
}

impl fmt::Debug for Inflating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflating").field("taken", &self.0.taken).finish_non_exhaustive()
    }
}

impl State {
    fn restart(&mut self) {
        self.inflate.reset(false);
        (self.fresh, self.more, self.failed) = (true, false, false);
    }

    /// One call of zlib: bytes taken, bytes made, and what it says.
    fn step(&mut self, input: &[u8]) -> Result<(usize, usize, Status), ProtocolError> {
        let inflate = &mut self.inflate;
        let before = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(input, &mut self.chunk, InflateFlush::NoFlush);
        let taken = inflate.total_in() - before.0;
        let made = inflate.total_out() - before.1;
        self.failed = status.is_err();
        match status {
            Err(_) if made == 0 => Err(ProtocolError::NotDeflated),
            status => Ok((taken as usize, made as usize, status.unwrap_or(Status::Ok))),
        }
    }
}

/// One offer of the extension (RFC 7692 section 7.1).
#[derive(Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

impl Offer {
    /// Reads an element of the list; `None` for what is no offer that could be taken.
    fn read(element: &[u8]) -> Option<Offer> {
        let mut parts = split(element, b';').map(<[u8]>::trim_ascii);
        if parts.next() != Some(b"permessage-deflate") {
            return None;
        }
        let mut offer = Offer::default();
        for part in parts {
            let mut halves = part.splitn(2, |&byte| byte == b'=').map(<[u8]>::trim_ascii);
            let (name, value) = (halves.next()?, halves.next());
            let bits = match value {
                Some(value) => Some(window_bits(value)?),
                None => None,
            };
            let new = match (name, bits) {
                (b"server_no_context_takeover", None) => {
                    !std::mem::replace(&mut offer.server_no_context_takeover, true)
                }
                (b"client_no_context_takeover", None) => {
                    !std::mem::replace(&mut offer.client_no_context_takeover, true)
                }
                (b"server_max_window_bits", Some(bits)) => {
                    offer.server_max_window_bits.replace(bits).is_none()
                }
                (b"client_max_window_bits", bits) => {
                    offer.client_max_window_bits.replace(bits.unwrap_or(MAX_BITS)).is_none()
                }
                _ => false,
            };
            if !new {
                return None;
            }
        }
        Some(offer)
    }

    /// The answer. Where contexts are not wanted, the client is told to do without too, as section
    /// 7.1.1.2 permits whatever was offered.
    fn accept(&self, takeover: bool, kept_bits: u8) -> (Agreement, String) {
        let client_takeover = takeover && !self.client_no_context_takeover;
        let client_bits = match self.client_max_window_bits {
            Some(bits) if client_takeover => Some(bits.min(kept_bits)),
            _ => None,
        };
        let agreement = Agreement {
            server_bits: self.server_max_window_bits.unwrap_or(MAX_BITS),
            server_takeover: takeover && !self.server_no_context_takeover,
            client_bits: client_bits.unwrap_or(MAX_BITS),
            client_takeover,
        };
        let mut text = "permessage-deflate".to_owned();
        if !agreement.server_takeover {
            text.push_str("; server_no_context_takeover");
        }
        if !agreement.client_takeover {
            text.push_str("; client_no_context_takeover");
        }
        if let Some(bits) = self.server_max_window_bits {
            text.push_str(&format!("; server_max_window_bits={bits}"));
        }
        if let Some(bits) = client_bits {
            text.push_str(&format!("; client_max_window_bits={bits}"));
        }
        (agreement, text)
    }
}

/// The pieces between separators, of which those in quotes are none.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |&byte| {
        let counts = !std::mem::take(&mut escaped);
        match byte {
            b'"' if counts => quoted = !quoted,
            b'\\' => escaped = quoted && counts,
            _ => {}
        }
        byte == separator && !quoted
    })
}

/// A window's size: 8 to 15 without leading zeros, as a token or in quotes (RFC 6455 section 9.1).
fn window_bits(value: &[u8]) -> Option<u8> {
    let digits = match value.strip_prefix(b"\"") {
        Some(rest) => rest.strip_suffix(b"\"")?,
        None => value,
    };
    let plain = !digits.starts_with(b"0") && digits.iter().all(u8::is_ascii_digit);
    let bits = std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()?;
    (8..=MAX_BITS).contains(&bits).then_some(bits)
}
