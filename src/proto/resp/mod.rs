//! RESP3 from a Redis server to values, and commands to bytes.
//!
//! This file knows how an item is framed and which items can matter to someone who subscribes,
//! publishes and fetches. It does not know which command a reply answers, nor what a channel name
//! means. Its rules:
//!
//! - The scanner here finds the end of an item: it goes on where it stopped, looks at no byte
//!   twice, does not recurse, and enforces every limit. Only complete items that passed it, at most
//!   one level deep, are given to redis-protocol, which takes nesting and sizes on trust and starts
//!   an incomplete item over. What an [`Item`] holds was decoded by redis-protocol, but for a
//!   message that is whole in the input: it is two lengths and two slices, and most of what comes.
//! - Bytes are kept for what will be decoded: scalars, and pushes of three plain elements. All else
//!   streams by: aggregates, whose contents nobody here needs, and values that are too large.
//! - An item that is whole in the input is borrowed from it. An incomplete one is kept in a buffer
//!   that grows with what arrived, whatever the length it declares.
//! - What a Redis server does not send unasked is an error, and an error ends the link: after it
//!   nobody can say which reply belongs to which command.
//!
//! The other side of the same protocol, commands to values and replies to bytes, is `request` and
//! `reply`.

pub mod reply;
pub mod request;
mod scalars;
mod scan;
mod tree;

use std::fmt;

use redis_protocol::resp3::decode::complete::decode_range;
use redis_protocol::resp3::types::RangeFrame;

pub(crate) use scalars::scalars;
pub(crate) use scan::MAX_ELEMENTS;
use scan::Scanner;
pub(crate) use tree::Tree;

/// Most bytes of a line or blob error, and of the kind and the channel in a push.
const MAX_TEXT: usize = 64 * 1024;
/// Bytes of capacity that an idle decoder may keep.
const IDLE_CAPACITY: usize = 4096;
/// Bytes that are looked at for the channel of a message that is too large; a name that is longer
/// stays unknown.
const MAX_SKIPPED_HEAD: usize = 1024;

/// One item at the top level of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The answer to the oldest command that waits for one.
    Reply(Reply<'a>),
    /// Something that answers no command in turn; it comes between any two replies.
    Push(Push<'a>),
}

/// An answer to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// `+`, such as `OK` or `PONG`.
    Status(&'a str),
    /// `-` or `!`. An error may quote arguments that are not UTF-8: it is cut before such a byte.
    Error(&'a str),
    /// `:`
    Integer(i64),
    /// `$`, or `=` without its format.
    Bulk(&'a [u8]),
    /// `_`, or RESP2's `$-1` and `*-1`.
    Null,
    /// An array, map or set, whatever it contains.
    Aggregate,
    /// A double, boolean or big number.
    Other,
    /// The value, or something in the aggregate, passed the limit and was skipped.
    TooLarge,
}

/// Something the server sent unasked, or as the confirmation of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push<'a> {
    /// A message was published.
    Message {
        /// The channel it was published to.
        channel: &'a [u8],
        /// The message.
        payload: &'a [u8],
        /// It was published to those who hear the shard.
        is_sharded: bool,
    },
    /// One channel of a SUBSCRIBE is confirmed.
    Subscribed {
        /// The channel.
        channel: &'a [u8],
    },
    /// One channel of an UNSUBSCRIBE is confirmed.
    Unsubscribed {
        /// The channel.
        channel: &'a [u8],
    },
    /// One channel of an SUNSUBSCRIBE is confirmed, or the channel is not at this node of a cluster
    /// any more.
    ShardUnsubscribed {
        /// The channel.
        channel: &'a [u8],
    },
    /// The payload, or something else in the push, passed the limit and was skipped.
    TooLarge,
    /// Any other push.
    Other,
}

/// Why the stream cannot be read on. It is fatal to the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespError {
    /// An item begins with a byte that is no RESP3 type.
    UnknownType(u8),
    /// `|`: attributes are for those who ask for them.
    Attribute,
    /// `$?`, `*?` and the like, `;` or `.`: lengths that are not known in advance.
    Streamed,
    /// A push within another item.
    NestedPush,
    /// A length that is no number, is negative, has more than 10 digits or passes 4 GiB, or leaves
    /// a verbatim string no room for its format.
    BadLength,
    /// CR LF is missing where a line or a string ends.
    BadLineEnd,
    /// More than 8 levels of aggregates.
    TooDeep,
    /// More than 4096 elements in an item, or more than an expected reply may have.
    TooManyElements,
    /// A line or an error of more than 64 KiB.
    TextTooLong,
    /// Well framed, but not a value of its type.
    BadValue,
}

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RespError::UnknownType(byte) => {
                return write!(f, "not RESP3: an item begins with byte 0x{byte:02x}");
            }
            RespError::Attribute => "RESP3 attributes are not supported",
            RespError::Streamed => "streamed RESP3 strings and aggregates are not supported",
            RespError::NestedPush => "a RESP3 push inside another item",
            RespError::BadLength => "a RESP3 length that is no number or is out of range",
            RespError::BadLineEnd => "a RESP3 line or string does not end in CR LF",
            RespError::TooDeep => "a RESP3 item is nested too deeply",
            RespError::TooManyElements => "a RESP3 item has too many elements",
            RespError::TextTooLong => "a RESP3 line or error text is too long",
            RespError::BadValue => "a RESP3 value does not fit its type",
        })
    }
}

impl std::error::Error for RespError {}

/// Cuts a stream of bytes into items.
///
/// Between items it owns at most 5 KiB; within one, at most the largest value and 193 KiB more.
#[derive(Debug)]
pub struct Decoder {
    scanner: Scanner,
    /// What arrived of an item that will be decoded but was incomplete when the input ended.
    spill: Vec<u8>,
    /// More than any item that is kept can have, in bytes.
    max_spill: usize,
    /// The channel of the last message that was too large; empty if it is not known.
    skipped: Vec<u8>,
    /// Whether that is about the item that is being read.
    knows_skipped: bool,
    failed: Option<RespError>,
    #[cfg(test)]
    copied: usize,
}

impl Decoder {
    /// A decoder at the start of a stream.
    ///
    /// `max_value_bytes` is the most that a reply's bulk string or a message's payload may have.
    /// Larger ones are skipped and reported as `TooLarge`. Strings within aggregates may have
    /// 64 KiB in any case, so that a low limit does not hide HELLO's answer.
    pub fn new(max_value_bytes: usize) -> Decoder {
        Decoder::with_limits(max_value_bytes, max_value_bytes)
    }

    /// The same with a limit for replies and one for messages.
    pub(crate) fn with_limits(max_reply: usize, max_message: usize) -> Decoder {
        let max_value_bytes = max_reply.max(max_message);
        Decoder {
            scanner: Scanner::new(max_reply, max_message),
            spill: Vec::new(),
            max_spill: max_value_bytes.saturating_add(3 * MAX_TEXT + 256),
            skipped: Vec::new(),
            knows_skipped: false,
            failed: None,
            #[cfg(test)]
            copied: 0,
        }
    }

    /// Has the replies that begin from now on be of up to so many elements. Pushes, which others
    /// have a say in, keep their limit.
    pub(crate) fn allow_elements(&mut self, most: u32) {
        self.scanner.max_elements = most;
    }

    /// Whether the item that goes on with `input`, or begins with it, is a push.
    pub(crate) fn is_at_push(&self, input: &[u8]) -> bool {
        match self.scanner.is_between_items() {
            true => input.first() == Some(&b'>'),
            false => self.scanner.push,
        }
    }

    /// Takes the next complete item from the front of `input`, or all of `input` and returns
    /// `None`.
    ///
    /// Call it until it returns `None`: this is what frees the memory of the last item. Once it has
    /// failed it takes nothing and returns the same error again.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Item<'a>>, RespError> {
        if let Some((channel, payload, is_sharded)) = self.message(input) {
            return Ok(Some(Item::Push(Push::Message { channel, payload, is_sharded })));
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.scanner.is_between_items() {
            self.forget();
            self.knows_skipped = false;
        }
        let bytes: &'i [u8] = input;
        let (used, complete) =
            self.scanner.run(bytes).inspect_err(|error| self.failed = Some(*error))?;
        let (taken, rest) = bytes.split_at(used);
        *input = rest;

        if let Some(item) = self.scanner.verdict {
            // Without input the verdict is still that about the item before.
            if item == Item::Push(Push::TooLarge) && !self.knows_skipped && !taken.is_empty() {
                self.note_skipped(taken);
            }
            self.forget();
            return Ok(complete.then_some(item));
        }
        if !complete {
            self.keep(taken);
            return Ok(None);
        }
        let raw = if self.spill.is_empty() {
            taken
        } else {
            self.keep(taken);
            &self.spill
        };
        let item = decode(raw);
        self.failed = item.err();
        item.map(Some)
    }

    /// Takes a message, its channel and its payload, from the front of `input`, if that is the next
    /// item and whole: what [`Decoder::next`] does as well, by a shorter way.
    #[inline]
    pub(crate) fn message<'i>(&mut self, input: &mut &'i [u8]) -> Option<Whole<'i>> {
        if self.failed.is_some() || !self.scanner.is_between_items() {
            return None;
        }
        let (message, rest) = whole_message(input, self.scanner.max_message())?;
        self.forget();
        self.knows_skipped = false;
        #[cfg(test)]
        {
            self.scanner.scanned += input.len() - rest.len();
        }
        *input = rest;
        Some(message)
    }

    /// The channel of the message that was last reported as [`Push::TooLarge`], if it is known.
    pub fn skipped_channel(&self) -> Option<&[u8]> {
        Some(self.skipped.as_slice()).filter(|name| !name.is_empty())
    }

    /// The payload is not kept; what came before it has the channel's name.
    fn note_skipped(&mut self, taken: &[u8]) {
        let head = &taken[..taken.len().min(MAX_SKIPPED_HEAD)];
        let name = if self.spill.is_empty() {
            channel_of_message(head)
        } else {
            self.keep(head);
            channel_of_message(&self.spill)
        };
        let name = name.filter(|name| name.len() <= MAX_SKIPPED_HEAD).unwrap_or_default();
        self.skipped = name.to_vec();
        self.knows_skipped = true;
    }

    /// Appends to the spill. Its capacity doubles, so that the copying stays linear, but stops
    /// short of what no item can need.
    fn keep(&mut self, bytes: &[u8]) {
        let needed = self.spill.len() + bytes.len();
        if needed > self.spill.capacity() {
            let doubled = self.spill.capacity().saturating_mul(2).min(self.max_spill);
            self.spill.reserve_exact(doubled.max(needed) - self.spill.len());
            #[cfg(test)]
            {
                self.copied += self.spill.len();
            }
        }
        self.spill.extend_from_slice(bytes);
        #[cfg(test)]
        {
            self.copied += bytes.len();
        }
    }

    fn forget(&mut self) {
        self.spill.clear();
        if self.spill.capacity() > IDLE_CAPACITY {
            self.spill = Vec::new();
        }
    }
}

/// How a message push begins, up to its channel.
const MESSAGE: &[u8] = b">3\r\n$7\r\nmessage\r\n";
/// The same of one that was published to those who hear the shard.
const SHARD_MESSAGE: &[u8] = b">3\r\n$8\r\nsmessage\r\n";

/// A message that is whole: its channel, its payload, and whether it is one of a shard.
pub(crate) type Whole<'i> = (&'i [u8], &'i [u8], bool);

/// The message at the front of `input`, and what is behind it, if it is one, whole and within the
/// limits. Everything else is for the scanner to judge.
fn whole_message(input: &[u8], max_value: usize) -> Option<(Whole<'_>, &[u8])> {
    let (rest, is_sharded) = behind_kind(input)?;
    let (channel, rest) = bulk(rest, MAX_TEXT)?;
    let (payload, rest) = bulk(rest, max_value)?;
    Some(((channel, payload, is_sharded), rest))
}

/// What is behind the kind of a message push, and whether that is the one of shards.
#[inline]
fn behind_kind(input: &[u8]) -> Option<(&[u8], bool)> {
    match input.strip_prefix(MESSAGE) {
        Some(rest) => Some((rest, false)),
        None => input.strip_prefix(SHARD_MESSAGE).map(|rest| (rest, true)),
    }
}

/// The bulk string at the front of `input`, and what is behind it.
fn bulk(input: &[u8], limit: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bulk_length(input)?;
    let (text, rest) = rest.split_at_checked(length).filter(|_| length <= limit)?;
    Some((text, rest.strip_prefix(b"\r\n")?))
}

/// The length of the bulk string at the front of `input`, and what is behind its line.
#[inline]
fn bulk_length(input: &[u8]) -> Option<(usize, &[u8])> {
    let [b'$', first @ b'0'..=b'9', rest @ ..] = input else { return None };
    let (mut length, mut rest) = (usize::from(first - b'0'), rest);
    // More digits than any length here has are for the scanner to refuse.
    for _ in 0..10 {
        match rest {
            [b'\r', b'\n', behind @ ..] => return Some((length, behind)),
            [digit @ b'0'..=b'9', more @ ..] => {
                length = length * 10 + usize::from(digit - b'0');
                rest = more;
            }
            _ => return None,
        }
    }
    None
}

/// The channel in the first bytes of a message push.
fn channel_of_message(head: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bulk_length(behind_kind(head)?.0)?;
    rest.get(..length)
}

/// Appends a command: an array of bulk strings, the command's name first.
pub fn command(out: &mut Vec<u8>, args: &[&[u8]]) {
    out.reserve(command_len(args));
    push_header(out, b'*', args.len());
    for arg in args {
        push_header(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

fn command_len(args: &[&[u8]]) -> usize {
    let strings: usize = args.iter().map(|arg| header_len(arg.len()) + arg.len() + 2).sum();
    header_len(args.len()) + strings
}

fn header_len(number: usize) -> usize {
    let digits = number.checked_ilog10().map_or(1, |log| log as usize + 1);
    digits + 3
}

fn push_header(out: &mut Vec<u8>, kind: u8, number: usize) {
    // Several of these are in every command, and formatting costs five times as much.
    let (mut digits, mut at, mut left) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.push(kind);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Decodes one complete item that is a scalar or a push of scalars.
fn decode(raw: &[u8]) -> Result<Item<'_>, RespError> {
    let (frame, used) = decode_range(raw).ok().flatten().ok_or(RespError::BadValue)?;
    if used != raw.len() {
        return Err(RespError::BadValue);
    }
    Ok(Item::Reply(match frame {
        RangeFrame::SimpleString { data, .. } => {
            let text = std::str::from_utf8(&raw[data.0..data.1]);
            Reply::Status(text.map_err(|_| RespError::BadValue)?)
        }
        RangeFrame::SimpleError { data, .. } | RangeFrame::BlobError { data, .. } => {
            let chunk = raw[data.0..data.1].utf8_chunks().next();
            Reply::Error(chunk.map_or("", |chunk| chunk.valid()))
        }
        RangeFrame::Number { data, .. } => Reply::Integer(data),
        RangeFrame::BlobString { data, .. } | RangeFrame::VerbatimString { data, .. } => {
            Reply::Bulk(&raw[data.0..data.1])
        }
        RangeFrame::Null => Reply::Null,
        RangeFrame::Double { .. } | RangeFrame::Boolean { .. } | RangeFrame::BigNumber { .. } => {
            Reply::Other
        }
        RangeFrame::Push { data, .. } => return Ok(Item::Push(push(raw, &data))),
        _ => return Err(RespError::BadValue),
    }))
}

fn push<'a>(raw: &'a [u8], elements: &[RangeFrame]) -> Push<'a> {
    use RangeFrame::{BlobString, Number};
    let [BlobString { data: kind, .. }, BlobString { data: name, .. }, last] = elements else {
        return Push::Other;
    };
    let channel = &raw[name.0..name.1];
    match (&raw[kind.0..kind.1], last) {
        (kind @ (b"message" | b"smessage"), BlobString { data, .. }) => {
            let (payload, is_sharded) = (&raw[data.0..data.1], kind == b"smessage");
            Push::Message { channel, payload, is_sharded }
        }
        (b"subscribe" | b"ssubscribe", Number { .. }) => Push::Subscribed { channel },
        (b"sunsubscribe", Number { .. }) => Push::ShardUnsubscribed { channel },
        (b"unsubscribe", Number { .. }) => Push::Unsubscribed { channel },
        _ => Push::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    fn message(payload: usize) -> Vec<u8> {
        let mut out = format!(">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n${payload}\r\n").into_bytes();
        out.resize(out.len() + payload, b'x');
        out.extend_from_slice(b"\r\n");
        out
    }

    /// Feeds the stream in pieces; returns how many items came out and the most it held.
    fn drain(decoder: &mut Decoder, stream: &[u8], piece: usize) -> (usize, usize) {
        let (mut items, mut most) = (0, 0);
        for mut input in stream.chunks(piece) {
            while decoder.next(&mut input).expect("the stream is valid").is_some() {
                items += 1;
                most = most.max(decoder.spill.capacity());
            }
            assert!(input.is_empty());
            most = most.max(decoder.spill.capacity());
        }
        (items, most)
    }

    #[test]
    fn the_channel_of_what_is_too_large_is_known() {
        let push = |name: &str| {
            let start = format!(">3\r\n$7\r\nmessage\r\n${}\r\n{name}\r\n", name.len());
            [start.into_bytes(), b"$9\r\n123456789\r\n".to_vec()].concat()
        };
        let long = "n".repeat(2 * MAX_SKIPPED_HEAD);
        for (stream, known) in [
            (push("broadcast:a"), Some(&b"broadcast:a"[..])),
            (push(""), None),
            (push(&long), None),
            (b">3\r\n$7\r\nmessage\r\n*1\r\n$9\r\n123456789\r\n:1\r\n".to_vec(), None),
        ] {
            for piece in [1, 2, 3, 30, 4096] {
                let mut decoder = Decoder::new(8);
                drain(&mut decoder, &push("broadcast:before"), piece);
                assert_eq!(drain(&mut decoder, &stream, piece).0, 1);
                assert_eq!(decoder.skipped_channel(), known, "in pieces of {piece}");
                // What comes after it changes nothing about it.
                drain(&mut decoder, b"+OK\r\n$9\r\n123456789\r\n", piece);
                assert_eq!(decoder.skipped_channel(), known);
            }
        }
    }

    #[test]
    fn work_is_linear_in_what_arrived() {
        let large = message(900 * 1024);
        let many = b"*1000\r\n".iter().copied().chain(b":12345678\r\n".repeat(1000)).collect();
        let line = [b"+".as_slice(), &[b'x'; MAX_TEXT], b"\r\n"].concat();
        for stream in [large, many, line] {
            for piece in [1, 7, 4096] {
                let mut decoder = Decoder::new(LIMIT);
                assert_eq!(drain(&mut decoder, &stream, piece).0, 1);
                assert_eq!(decoder.scanner.scanned, stream.len());
                // Each byte is copied once, and less than twice more by the doublings.
                assert!(decoder.copied <= 3 * stream.len(), "{} copied", decoder.copied);
            }
        }
    }

    #[test]
    fn an_expected_reply_may_be_larger_and_a_push_may_not() {
        let many = [b"*100000\r\n".as_slice(), &b":1\r\n".repeat(100_000)].concat();
        for piece in [1, 7, 4096] {
            let mut decoder = Decoder::new(LIMIT);
            decoder.allow_elements(100_000);
            let (items, most) = drain(&mut decoder, &many, piece);
            assert_eq!(items, 1);
            assert!(most <= IDLE_CAPACITY, "{most} held");
            assert_eq!(decoder.scanner.scanned, many.len(), "no byte is looked at twice");
        }
        let allowed = |most, mut input: &[u8]| {
            let mut decoder = Decoder::new(LIMIT);
            decoder.allow_elements(most);
            decoder.next(&mut input).map(|_| ())
        };
        let error = Err(RespError::TooManyElements);
        assert_eq!(allowed(MAX_ELEMENTS, &many), error);
        assert_eq!(allowed(99_999, &many), error);
        assert_eq!(allowed(100_000, b">4097\r\n"), error);
        assert_eq!(allowed(100_000, b">4096\r\n"), Ok(()));
    }

    #[test]
    fn only_incomplete_items_are_held_and_only_as_long() {
        let mut decoder = Decoder::new(LIMIT);
        let large = message(900 * 1024);
        assert_eq!(drain(&mut decoder, &large, large.len()), (1, 0));
        let (items, most) = drain(&mut decoder, &large, 4096);
        assert_eq!(items, 1);
        assert!((large.len()..=decoder.max_spill).contains(&most), "{most} held");
        assert!(decoder.spill.capacity() <= IDLE_CAPACITY);

        // It is what arrived that is held, not what was declared.
        let mut start = &large[..100];
        assert_eq!(decoder.next(&mut start), Ok(None));
        assert!(decoder.spill.capacity() <= IDLE_CAPACITY);
    }

    #[test]
    fn the_largest_push_is_held_within_the_bound() {
        let name = format!("${MAX_TEXT}\r\n{}\r\n", "n".repeat(MAX_TEXT));
        let value = format!("${LIMIT}\r\n{}\r\n", "v".repeat(LIMIT));
        let stream = [">3\r\n", &name, &name, &value].concat().into_bytes();
        let mut decoder = Decoder::new(LIMIT);
        let (items, most) = drain(&mut decoder, &stream, 1000);
        assert_eq!(items, 1);
        assert!((stream.len()..=decoder.max_spill).contains(&most), "{most} held");
    }

    #[test]
    fn what_is_not_decoded_is_not_held() {
        let mut decoder = Decoder::new(4);
        let skipped = 10 << 20;
        let streams = [
            [&format!("${skipped}\r\n").into_bytes(), &vec![b'x'; skipped][..], b"\r\n"].concat(),
            message(skipped),
            [b"*1000\r\n".as_slice(), &b"$3\r\nabc\r\n".repeat(1000)].concat(),
            [b">4000\r\n".as_slice(), &b"$3\r\nabc\r\n".repeat(4000)].concat(),
        ];
        for mut stream in streams {
            stream.extend_from_slice(b"+OK\r\n");
            let (items, most) = drain(&mut decoder, &stream, 1000);
            assert_eq!(items, 2);
            assert!(most <= IDLE_CAPACITY, "{most} held");
        }
    }

    #[test]
    fn what_turns_out_too_large_is_let_go() {
        let name = format!("${MAX_TEXT}\r\n{}\r\n", "n".repeat(MAX_TEXT));
        let mut decoder = Decoder::new(LIMIT);
        let head = [">3\r\n$7\r\nmessage\r\n", &name].concat();
        assert_eq!(decoder.next(&mut head.as_bytes()), Ok(None));
        assert!(decoder.spill.capacity() > MAX_TEXT);
        assert_eq!(decoder.next(&mut b"$2000000\r\nxyz".as_slice()), Ok(None));
        assert!(decoder.spill.capacity() <= IDLE_CAPACITY);
    }

    #[test]
    fn garbage_neither_panics_nor_fills_the_memory() {
        // Pieces of the protocol get deeper than bytes at random.
        const TOKENS: [&[u8]; 40] = [
            b"+",
            b"-",
            b":",
            b",",
            b"#",
            b"_",
            b"(",
            b"$",
            b"=",
            b"!",
            b"*",
            b"%",
            b"~",
            b">",
            b"|",
            b".",
            b";",
            b"?",
            b"\r\n",
            b"\r\n",
            b"\r\n",
            b"\r",
            b"\n",
            b"0",
            b"1",
            b"3",
            b"999",
            b"70000",
            b">3\r\n",
            b"$7\r\nmessage\r\n",
            b"$1\r\nc\r\n",
            b":1\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*2\r\n",
            b"%1\r\n",
            b"_\r\n",
            b"#t\r\n",
            b"+OK\r\n",
            b"\xff",
        ];
        let (mut items, mut errors, mut most) = (0, 0, 0);
        for seed in 0..20_000_u64 {
            let mut state = seed;
            let mut random = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as usize % below
            };
            let mut decoder = Decoder::new(1000);
            let mut failed = false;
            while !failed && random(200) > 0 {
                let run = vec![b'x'; random(20_000)];
                let token = if random(20) == 0 { &run } else { TOKENS[random(TOKENS.len())] };
                let mut input = token;
                loop {
                    match decoder.next(&mut input) {
                        Ok(Some(_)) => items += 1,
                        Ok(None) => break,
                        Err(_) => {
                            failed = true;
                            errors += 1;
                            break;
                        }
                    }
                }
                most = most.max(decoder.spill.capacity());
                assert!(decoder.scanner.depth <= scan::MAX_DEPTH);
            }
        }
        assert!(items > 1000 && errors > 1000, "{items} items, {errors} errors");
        let max_spill = Decoder::new(1000).max_spill;
        assert!((MAX_TEXT / 2..=max_spill).contains(&most), "{most} held");
    }

    #[test]
    fn commands_take_exactly_the_room_they_reserve() {
        for len in [0, 1, 9, 10, 99, 100, 999, 1000, 12_345] {
            let long = vec![b'v'; len];
            let args: Vec<&[u8]> = (0..len % 101).map(|_| long.as_slice()).collect();
            let mut out = Vec::new();
            command(&mut out, &args);
            assert_eq!(out.len(), command_len(&args));
        }
    }
}
