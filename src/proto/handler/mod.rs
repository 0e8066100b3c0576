//! L0: the framing between wsloop and an application in another process, which handles the conns of
//! an endpoint: bytes to values and back.
//!
//! This is the whole of it:
//! * a frame is a head of 13 bytes and a payload: the payload's length (4 bytes), a kind (1 byte)
//!   and the name of a conn (8 bytes, 0 where the frame is about none); numbers are big-endian;
//! * the first frame of each side is [`HandlerKind::Hello`], which says the version. What a later
//!   version adds to the end of a payload is passed over;
//! * frames go one behind the other, those of all conns on one link.
//!
//! Its rules:
//! * a length is judged when the head is there, by the kind, before anything of the payload is
//!   kept; what is kept grows with what arrived, whatever length is declared;
//! * a frame that cannot be framed ends the link ([`FramingError`]); one whose payload means
//!   nothing is refused by itself ([`WrongOrder`]), and the next is read as ever.

mod said;

use std::fmt;

pub use said::{HandlerHello, HandlerSaid, WrongOrder};

/// The version that is spoken here.
pub const VERSION: u16 = 1;
/// Bytes of a frame's head.
pub const HEAD: usize = 13;
/// Most conns that a broadcast names.
pub const MAX_CONNS: usize = 1 << 16;
/// Most bytes of a payload that is no message.
pub const MAX_WORDS: usize = 64 << 10;
/// The credit of who counts none: the socket's buffer alone says how much is under way.
pub const UNCOUNTED: u32 = u32::MAX;
/// Bytes of capacity that an idle reader may keep.
const IDLE_CAPACITY: usize = 4096;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// What a frame is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum HandlerKind {
            $($(#[$doc])* $name = $number,)*
        }

        impl HandlerKind {
            /// The kind of that number.
            pub fn of(number: u8) -> Option<HandlerKind> {
                match number {
                    $($number => Some(HandlerKind::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// The greeting of either side.
    Hello = 0,
    /// A text message, from the conn or to it.
    Text = 1,
    /// A binary message.
    Binary = 2,
    /// The conn has closed, or is to close: code and reason.
    Close = 3,
    /// A conn is open: its request.
    Opened = 4,
    /// A conn is open that an application before this one was told of: its request.
    Resumed = 5,
    /// A conn asks to be let in: its request.
    Asked = 6,
    /// Let it in: lines of headers.
    Accept = 7,
    /// Refuse it: status and text.
    Refuse = 8,
    /// Forward what the broker delivers on this channel.
    Subscribe = 9,
    /// Forward no more of it.
    Unsubscribe = 10,
    /// Publish a message on a channel.
    Publish = 11,
    /// A text message to many conns.
    BroadcastText = 12,
    /// A binary message to many conns.
    BroadcastBinary = 13,
    /// So many bytes more may be under way to the application.
    Credit = 14,
    /// So many bytes wait for a conn whose socket takes no more; 0 is none any more.
    Slow = 15,
    /// Read the conn no more.
    Pause = 16,
    /// Read it again.
    Resume = 17,
    /// An order was wrong, or the link is: a text.
    Error = 18,
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandlerFrame<'a> {
    /// Its number, whether or not that is a known kind.
    pub kind: u8,
    /// The name of the conn that it is about.
    pub conn: u64,
    /// What it says.
    pub payload: &'a [u8],
}

/// A frame that cannot be framed: nobody can say where the next begins, or what is meant by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    /// It is longer than its kind may be.
    TooLong {
        /// Its kind.
        kind: u8,
        /// Its length.
        length: u32,
        /// The longest.
        most: usize,
    },
    /// The first frame is not the greeting.
    NoHello,
    /// The greeting is of a version that is not spoken here.
    Version(u16),
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FramingError::TooLong { kind, length, most } => write!(
                f,
                "a frame of kind {kind} has {length} bytes and may have {most}; send less, or \
                 raise --max-message-size"
            ),
            FramingError::NoHello => f.write_str(
                "it does not greet as an application of --endpoint does; is another program \
                 listening there?",
            ),
            FramingError::Version(version) => write!(
                f,
                "it speaks version {version} of the framing, and version {VERSION} is spoken here; \
                 use the client that comes with this wsloop"
            ),
        }
    }
}

/// Finds frames in what arrives.
#[derive(Debug)]
pub struct HandlerReader {
    max_message: usize,
    /// What has come of a frame that is not whole.
    rest: Vec<u8>,
    /// The frame in there was whole, and has been said.
    is_said: bool,
}

impl HandlerReader {
    /// One for messages of at most so many bytes.
    pub fn new(max_message: usize) -> HandlerReader {
        HandlerReader { max_message, rest: Vec::new(), is_said: false }
    }

    /// Bytes that it holds.
    pub fn held_bytes(&self) -> usize {
        self.rest.capacity()
    }

    /// The next frame, taken from the front of `input`; `None` when more has to arrive, which is
    /// when all of `input` is taken.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<HandlerFrame<'a>>, FramingError> {
        if std::mem::take(&mut self.is_said) {
            self.rest.clear();
            self.rest.shrink_to(IDLE_CAPACITY);
        }
        if self.rest.is_empty() {
            match self.whole(input)? {
                Some(whole) if whole <= input.len() => {
                    let (frame, behind) = input.split_at(whole);
                    *input = behind;
                    return Ok(Some(frame_of(frame)));
                }
                _ => {
                    self.rest.extend_from_slice(input);
                    *input = &[];
                    return Ok(None);
                }
            }
        }
        if self.rest.len() < HEAD {
            self.take(HEAD, input);
        }
        let Some(whole) = self.whole(&self.rest)? else { return Ok(None) };
        self.take(whole, input);
        if self.rest.len() < whole {
            return Ok(None);
        }
        self.is_said = true;
        Ok(Some(frame_of(&self.rest)))
    }

    /// The length of the frame that these bytes begin with, when its head is there.
    fn whole(&self, bytes: &[u8]) -> Result<Option<usize>, FramingError> {
        let Some((head, _)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
        let (length, kind) = (u32::from_be_bytes([head[0], head[1], head[2], head[3]]), head[4]);
        let most = self.longest(kind);
        match length as usize <= most {
            true => Ok(Some(HEAD + length as usize)),
            false => Err(FramingError::TooLong { kind, length, most }),
        }
    }

    /// Most bytes of a payload.
    fn longest(&self, kind: u8) -> usize {
        match HandlerKind::of(kind) {
            Some(HandlerKind::Text | HandlerKind::Binary) => self.max_message,
            Some(HandlerKind::BroadcastText | HandlerKind::BroadcastBinary) => {
                self.max_message + 4 + 8 * MAX_CONNS
            }
            Some(HandlerKind::Publish) => self.max_message + 2 + usize::from(u16::MAX),
            _ => MAX_WORDS,
        }
    }

    /// Takes from `input` until there are so many bytes.
    fn take(&mut self, until: usize, input: &mut &[u8]) {
        let (taken, behind) = input.split_at(input.len().min(until - self.rest.len()));
        self.rest.extend_from_slice(taken);
        *input = behind;
    }
}

/// The frame that is all of these bytes.
fn frame_of(bytes: &[u8]) -> HandlerFrame<'_> {
    let (head, payload) = bytes.split_at(HEAD);
    let conn = u64::from_be_bytes(head[5..].try_into().expect("eight bytes"));
    HandlerFrame { kind: head[4], conn, payload }
}

/// Puts a frame behind `into`, whose payload are these parts. It is shorter than 4 GiB.
pub fn append(kind: HandlerKind, conn: u64, parts: &[&[u8]], into: &mut Vec<u8>) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(length).expect("nothing is so long that is said here");
    into.reserve(HEAD + length as usize);
    into.extend_from_slice(&length.to_be_bytes());
    into.push(kind as u8);
    into.extend_from_slice(&conn.to_be_bytes());
    parts.iter().for_each(|part| into.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 100;

    fn frames(stream: &[u8], piece: usize) -> Result<Vec<(u8, u64, Vec<u8>)>, FramingError> {
        let mut reader = HandlerReader::new(MOST);
        let mut all = Vec::new();
        for mut input in stream.chunks(piece) {
            while let Some(frame) = reader.next(&mut input)? {
                all.push((frame.kind, frame.conn, frame.payload.to_vec()));
            }
            assert!(input.is_empty(), "all is taken");
        }
        Ok(all)
    }

    #[test]
    fn frames_are_the_same_however_they_arrive() {
        let mut stream = Vec::new();
        append(HandlerKind::Hello, 0, &[&[0, 1]], &mut stream);
        append(HandlerKind::Text, u64::MAX, &[b"one", b"", b" and two"], &mut stream);
        append(HandlerKind::Binary, 7, &[], &mut stream);
        append(HandlerKind::Text, 8, &[&[b'x'; MOST]], &mut stream);
        let whole = frames(&stream, stream.len()).expect("frames");
        assert_eq!(whole[1], (1, u64::MAX, b"one and two".to_vec()));
        assert_eq!(whole[2], (2, 7, Vec::new()));
        assert_eq!(whole.len(), 4);
        for piece in 1..stream.len() {
            assert_eq!(frames(&stream, piece).expect("frames"), whole, "{piece}");
        }
    }

    #[test]
    fn a_length_is_judged_before_anything_is_kept() {
        for (kind, most) in [
            (HandlerKind::Text, MOST),
            (HandlerKind::Publish, MOST + 2 + 65_535),
            (HandlerKind::BroadcastText, MOST + 4 + 524_288),
            (HandlerKind::Close, MAX_WORDS),
        ] {
            let mut head = (most as u32 + 1).to_be_bytes().to_vec();
            head.extend([kind as u8, 0, 0, 0, 0, 0, 0, 0, 0]);
            let error = FramingError::TooLong { kind: kind as u8, length: most as u32 + 1, most };
            assert_eq!(frames(&head, HEAD), Err(error));
            assert_eq!(frames(&head, 1), Err(error));
            head[..4].copy_from_slice(&(most as u32).to_be_bytes());
            assert_eq!(frames(&head, 1), Ok(vec![]));
        }
        assert!(frames(b"HTTP/1.1 400 Bad Request", 64).is_err());
    }

    #[test]
    fn what_is_kept_grows_with_what_arrived_and_is_given_back() {
        let mut reader = HandlerReader::new(64 << 20);
        let mut stream = Vec::new();
        append(HandlerKind::Binary, 1, &[&vec![0; 60 << 20]], &mut stream);
        let (mut first, mut rest) = stream.split_at(1000);
        assert_eq!(reader.next(&mut first), Ok(None));
        assert!(reader.held_bytes() < 10_000, "{}", reader.held_bytes());
        let frame = reader.next(&mut rest).expect("a frame").expect("a whole one");
        assert_eq!(frame.payload.len(), 60 << 20);
        assert_eq!(reader.next(&mut rest), Ok(None));
        assert!(reader.held_bytes() <= IDLE_CAPACITY, "{}", reader.held_bytes());
    }
}
