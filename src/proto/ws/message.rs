//! Frames to messages: fragments joined, UTF-8 checked, control frames taken out between them.
//!
//! It knows one direction of one connection. What an event leads to is the caller's affair. An
//! error is a [`ProtocolError`], which carries the close code to send.
//!
//! Rules:
//! - What arrived whole is handed on where it lies, unmasked in place, not copied. Only what is
//!   incomplete at the end of a read is kept, in one box that exists only meanwhile.
//! - Memory follows the bytes that have arrived, never a length that was declared: what is held
//!   of a message is at most 4 KiB more than twice what arrived of it, and at most its limit.
//! - The rest of a large message can be put behind what has arrived of it, and is unmasked there:
//!   [`Reader::room`].
//! - A declared length is judged when its header is complete, text when its bytes arrive, so a
//!   peer that errs is told inside the frame.
//! - The events, and the error that ends them, are the same however the bytes were cut.
//! - A compressed message is inflated as it arrives, and judged by what comes out: text at once,
//!   and size before more than a chunk too much was inflated. Its frames may be a little longer
//!   than the largest message, as badly compressed ones are. While it is incomplete it holds a
//!   state for inflating besides, of a fixed size.

use std::borrow::Cow;
use std::mem;
use std::str;

use super::assembly::Assembly;
use super::deflate::{self, Inflater, Window};
use super::frame::{Header, MAX_HEADER, Opcode, ProtocolError, Role, decode, read_close, unmask};
use super::skim::Skim;

/// Bytes of which less is received together with what comes behind it, and copied: what has come of
/// a message, what is to come, and what there is room for.
pub(super) const ROOM_BYTES: usize = 4 << 10;

/// What a peer may send; shared by all conns to which the same applies, so none of them keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Who we are.
    pub role: Role,
    /// Largest message, in bytes, all its fragments together.
    pub max_message: usize,
    /// Most frames that one message may come in, at least 1.
    pub max_fragments: usize,
    /// Whether permessage-deflate was negotiated, so that RSV1 may begin a message.
    pub compression: bool,
}

/// Which kind of data message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8, already validated.
    Text,
    /// Any bytes.
    Binary,
}

/// What a peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A complete data message, possibly empty.
    Message {
        /// Text or binary.
        kind: Kind,
        /// Its bytes, inflated if need be: borrowed from the input if all of them came in one frame
        /// and one read, and as they are.
        data: Cow<'a, [u8]>,
    },
    /// To be answered with a pong of the same payload, of at most 125 bytes.
    Ping(Cow<'a, [u8]>),
    /// A pong, asked for or not.
    Pong(Cow<'a, [u8]>),
    /// The close frame: its code and reason, or `None` if it was empty. The code is one that may
    /// be echoed. RFC 6455 section 1.4 has what follows discarded: the caller stops reading.
    Close(Option<(u16, Cow<'a, str>)>),
}

/// One peer's frames on their way to become events. Idle, it is one null pointer, unless the peer's
/// messages may refer to earlier ones.
#[derive(Debug, Default)]
pub struct Reader(Option<Box<Partial>>);

impl Reader {
    /// A reader at the start of a stream.
    pub fn new() -> Reader {
        Reader::default()
    }

    /// A reader at the start of a stream whose compressed messages may refer to those before them,
    /// as far back as two to the power of `window_bits` bytes.
    pub fn with_takeover(window_bits: u8) -> Reader {
        let window = Some(Box::new(Window::new(window_bits)));
        Reader(Some(Box::new(Partial { window, ..Partial::default() })))
    }

    /// Does what [`Reader::next_with`] does, with a new inflater.
    pub fn next<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        limits: &Limits,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        self.next_with(input, limits, &mut Inflater::default())
    }

    /// Takes bytes from the front of `input` until they make an event; `None` when all were taken
    /// and the next event is not complete. To be called until then, with the same limits always;
    /// the inflater may be any.
    ///
    /// After an error the rest of the stream means nothing: the reader lets go of what it held,
    /// takes no more bytes and returns that error for ever.
    pub fn next_with<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        limits: &Limits,
        inflater: &mut Inflater,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let mut frames = u32::MAX;
        self.next_of(input, limits, inflater, &mut frames)
    }

    /// Does what [`Reader::next_with`] does, but looks at no more than `frames` frames or pieces of
    /// them, which it counts down: `None` also when it is 0, and the rest is left in `input`.
    pub fn next_of<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        limits: &Limits,
        inflater: &mut Inflater,
        frames: &mut u32,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let result = self.advance(input, limits, inflater, frames);
        if let Err(error) = result {
            self.fail(error);
        } else if self.0.as_ref().is_some_and(|partial| partial.is_empty()) {
            self.0 = None;
        }
        result
    }

    /// Whether the next byte begins a frame, and no message is under way.
    #[inline]
    pub(super) fn is_between(&self) -> bool {
        self.0.as_deref().is_none_or(Partial::is_between)
    }

    /// The stream has an error, and means nothing from here on.
    #[cold]
    pub(super) fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        let stage = Stage::Failed(error, self.skim());
        self.0 = Some(Box::new(Partial { stage, ..Partial::default() }));
        error
    }

    /// Where the stream is, for who judges no more of it: also behind an error.
    pub fn skim(&self) -> Skim {
        match self.0.as_ref().map(|partial| &partial.stage) {
            None => Skim::default(),
            Some(Stage::Head(head)) => Skim::in_header(&head.bytes[..head.len]),
            Some(Stage::Payload { header, done }) => Skim::in_payload(header.len - done),
            Some(Stage::Failed(_, skim)) => skim.clone(),
        }
    }

    /// Whether there is so much to come of a message that it is worth receiving it where it is put
    /// together.
    #[inline]
    pub fn wants_room(&self) -> bool {
        self.0.as_deref().is_some_and(|partial| partial.rest() >= ROOM_BYTES)
    }

    /// Where the message under way is put together: what arrives next may be appended to that, as
    /// much as there is capacity for, which is no more than is to come of its frame. Then
    /// [`Reader::next`] is called, with no input. `waiting` bytes are known to have arrived; there
    /// is room for them, or for as much as has been taken of the message.
    pub fn room(&mut self, waiting: usize) -> Option<&mut Vec<u8>> {
        let partial = self.0.as_deref_mut()?;
        let rest = partial.rest();
        let message = partial.message.as_mut().filter(|_| rest >= ROOM_BYTES)?;
        message.make_room(rest, waiting)
    }

    /// Bytes of memory that it holds of what is incomplete, which is what grows.
    pub fn held_bytes(&self) -> usize {
        let Some(Partial { control, message, .. }) = self.0.as_deref() else { return 0 };
        let state = |of: &Assembly| if of.inflating.is_some() { deflate::INFLATING } else { 0 };
        let bytes = message.as_ref().map_or(0, |of| of.data.capacity() + state(of));
        control.capacity() + bytes
    }

    fn advance<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        limits: &Limits,
        inflater: &mut Inflater,
        frames: &mut u32,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        if self.0.as_deref().is_some_and(Partial::is_filled) {
            *frames = frames.saturating_sub(1);
            let event = self.take_filled()?;
            if event.is_some() {
                return Ok(event);
            }
        }
        while *frames > 0
            && let Some((header, done)) = self.frame(input, limits)?
        {
            *frames -= 1;
            let left = header.len - done;
            let piece = take_front(input, usize::try_from(left).unwrap_or(usize::MAX));
            if let Some(mask) = header.mask {
                unmask(piece, mask, (done % 4) as usize);
            }
            let ended = piece.len() as u64 == left;
            if !ended {
                let done = done + piece.len() as u64;
                self.partial().stage = Stage::Payload { header, done };
            } else if let Some(partial) = &mut self.0 {
                partial.stage = Stage::default();
            }
            let event = if header.opcode.is_control() {
                self.control(header.opcode, piece, ended)?
            } else {
                self.data(&header, left, piece, limits, inflater)?
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// The frame whose payload comes next, and how much of that has been taken before.
    fn frame(
        &mut self,
        input: &mut &mut [u8],
        limits: &Limits,
    ) -> Result<Option<(Header, u64)>, ProtocolError> {
        let decoded = match self.0.as_deref_mut().map(|partial| &mut partial.stage) {
            Some(Stage::Failed(error, _)) => return Err(*error),
            _ if input.is_empty() => return Ok(None),
            Some(Stage::Payload { header, done }) => return Ok(Some((*header, *done))),
            Some(Stage::Head(head)) if head.len > 0 => head.complete(input, limits)?,
            _ => decode(input, limits.role, limits.compression)?.map(|(header, len)| {
                take_front(input, len);
                header
            }),
        };
        let Some(header) = decoded else {
            if !input.is_empty() {
                let mut head = Head::default();
                head.fill(take_front(input, usize::MAX));
                self.partial().stage = Stage::Head(head);
            }
            return Ok(None);
        };
        if let Err(error) = self.admit(&header, limits) {
            self.partial().stage = Stage::Payload { header, done: 0 };
            return Err(error);
        }
        Ok(Some((header, 0)))
    }

    /// Judges a header by what came before it, and counts it.
    fn admit(&mut self, header: &Header, limits: &Limits) -> Result<(), ProtocolError> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let open = self.0.as_deref_mut().and_then(|partial| partial.message.as_mut());
        let (arrived, fragments, deflated) = match (header.opcode, open) {
            (Opcode::Continuation, None) => return Err(ProtocolError::UnexpectedContinuation),
            (Opcode::Continuation, Some(message)) => {
                message.fragments += 1;
                (message.arrived(), message.fragments, message.inflating.is_some())
            }
            (_, Some(_)) => return Err(ProtocolError::UnfinishedMessage),
            (_, None) => (0, 1, header.rsv1),
        };
        let most = match deflated {
            true => deflate::longest(limits.max_message),
            false => limits.max_message,
        };
        if header.len > most.saturating_sub(arrived) as u64 {
            return Err(ProtocolError::MessageTooBig);
        }
        if fragments > limits.max_fragments {
            return Err(ProtocolError::TooManyFragments);
        }
        Ok(())
    }

    /// A piece of a control frame; its event when that was the last one.
    fn control<'a>(
        &mut self,
        opcode: Opcode,
        piece: &'a [u8],
        ended: bool,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        if !ended {
            self.partial().control.extend_from_slice(piece);
            return Ok(None);
        }
        let before = self.0.as_mut().map(|partial| mem::take(&mut partial.control));
        let payload = match before {
            Some(mut payload) if !payload.is_empty() => {
                payload.extend_from_slice(piece);
                Cow::Owned(payload)
            }
            _ => Cow::Borrowed(piece),
        };
        Ok(Some(match opcode {
            Opcode::Ping => Event::Ping(payload),
            Opcode::Pong => Event::Pong(payload),
            _ => Event::Close(read_close(payload)?),
        }))
    }

    /// A piece of a data frame of which `left` bytes were to come; the message when it is done.
    fn data<'a>(
        &mut self,
        header: &Header,
        left: u64,
        piece: &'a [u8],
        limits: &Limits,
        inflater: &mut Inflater,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        let done = header.fin && piece.len() as u64 == left;
        let before = self.0.as_deref_mut().and_then(|partial| partial.message.take());
        let arrived_whole = done && !header.rsv1 && before.as_ref().is_none_or(Assembly::is_empty);
        if arrived_whole {
            let kind = before.map_or_else(|| kind(header.opcode), |message| message.kind);
            if kind == Kind::Text && simdutf8::basic::from_utf8(piece).is_err() {
                return Err(ProtocolError::TextNotUtf8);
            }
            return Ok(Some(Event::Message { kind, data: Cow::Borrowed(piece) }));
        }
        let mut message = before.unwrap_or_else(|| Assembly::new(kind(header.opcode)));
        if header.rsv1 && message.inflating.is_none() {
            let window = self.0.as_deref().and_then(|partial| partial.window.as_deref());
            message.inflating = Some(inflater.begin(window)?);
        }
        if message.inflating.is_some() {
            message.inflate(piece, limits.max_message)?;
            if done {
                self.inflated(&mut message, inflater)?;
                return message.finish().map(Some);
            }
            self.partial().message = Some(message);
            return Ok(None);
        }
        // The header was admitted, so what is left of a last frame is within the limit.
        let most = if header.fin { message.data.len() + left as usize } else { limits.max_message };
        message.push(piece, most)?;
        if done {
            return message.finish().map(Some);
        }
        self.partial().message = Some(message);
        Ok(None)
    }

    /// What has been put where the message under way is put together; the message when it is whole.
    #[cold]
    fn take_filled<'a>(&mut self) -> Result<Option<Event<'a>>, ProtocolError> {
        let partial = self.partial();
        let Partial { stage: Stage::Payload { header, done }, message, .. } = partial else {
            return Ok(None);
        };
        let Some(filled) = message else { return Ok(None) };
        *done += filled.take_filled(header.len - *done, header.mask, (*done % 4) as usize)?;
        if *done < header.len {
            return Ok(None);
        }
        let fin = header.fin;
        partial.stage = Stage::default();
        message.take_if(|_| fin).map(Assembly::finish).transpose()
    }

    /// The last of a compressed message has been taken: was it whole, and what comes of its state.
    fn inflated(
        &mut self,
        message: &mut Assembly,
        inflater: &mut Inflater,
    ) -> Result<(), ProtocolError> {
        let Some(mut inflating) = message.inflating.take() else { return Ok(()) };
        inflating.finish()?;
        inflater.end(inflating);
        inflater.remember(&mut self.partial().window, &message.data);
        Ok(())
    }

    fn partial(&mut self) -> &mut Partial {
        self.0.get_or_insert_default()
    }
}

/// Everything that is kept of a stream which is not between two messages.
#[derive(Debug, Default)]
struct Partial {
    stage: Stage,
    /// What has arrived of a control frame.
    control: Vec<u8>,
    /// The message under way, if its first frame has begun and its last has not ended.
    message: Option<Assembly>,
    /// What a compressed message may refer to; kept between messages, if at all.
    window: Option<Box<Window>>,
}

impl Partial {
    /// Bytes that are to come of a frame of a large message under way, if that is not compressed.
    fn rest(&self) -> usize {
        let large = |of: &&Assembly| of.inflating.is_none() && of.data.len() >= ROOM_BYTES;
        match (&self.stage, self.message.as_ref().filter(large)) {
            (Stage::Payload { header, done }, Some(_)) if !header.opcode.is_control() => {
                usize::try_from(header.len - done).unwrap_or(usize::MAX)
            }
            _ => 0,
        }
    }

    /// Whether something has been put into the room.
    fn is_filled(&self) -> bool {
        self.message.as_ref().is_some_and(Assembly::is_filled)
    }

    fn is_between(&self) -> bool {
        matches!(self.stage, Stage::Head(Head { len: 0, .. })) && self.message.is_none()
    }

    fn is_empty(&self) -> bool {
        self.is_between() && self.window.is_none()
    }
}

/// Where in a frame the stream is.
#[derive(Debug)]
enum Stage {
    /// In its header, or at its first byte.
    Head(Head),
    /// In its payload, of which `done` bytes, fewer than all, have been taken.
    Payload { header: Header, done: u64 },
    /// Behind an error, of which the rest of the frame may still come.
    Failed(ProtocolError, Skim),
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::Head(Head::default())
    }
}

/// The first bytes of a header.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

impl Head {
    /// Takes as many bytes as there is room for.
    fn fill(&mut self, bytes: &[u8]) {
        for (slot, byte) in self.bytes[self.len..].iter_mut().zip(bytes) {
            *slot = *byte;
            self.len += 1;
        }
    }

    /// Goes on with more input, and takes of it what belongs to the header.
    fn complete(
        &mut self,
        input: &mut &mut [u8],
        limits: &Limits,
    ) -> Result<Option<Header>, ProtocolError> {
        let before = self.len;
        self.fill(input);
        let decoded = decode(&self.bytes[..self.len], limits.role, limits.compression)
            .inspect_err(|_| self.len = before)?;
        // The bytes held before were too few for a header, so its end is behind them.
        let end = decoded.map_or(self.len, |(_, len)| len);
        take_front(input, end - before);
        Ok(decoded.map(|(header, _)| header))
    }
}

/// The kind of message that begins with such a frame.
fn kind(first: Opcode) -> Kind {
    if first == Opcode::Text { Kind::Text } else { Kind::Binary }
}

/// Cuts off the front of `input`, at most `len` bytes.
fn take_front<'a>(input: &mut &'a mut [u8], len: usize) -> &'a mut [u8] {
    let len = len.min(input.len());
    let (front, rest) = mem::take(input).split_at_mut(len);
    *input = rest;
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { role: Role::Server, max_message: 1 << 20, max_fragments: 100, compression: false };

    /// A frame whose mask is zero, so that its payload can be read in the test.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        frame
    }

    fn feed(reader: &mut Reader, bytes: &[u8], limits: &Limits) -> Result<usize, ProtocolError> {
        let mut bytes = bytes.to_vec();
        let mut input = &mut bytes[..];
        let mut events = 0;
        while reader.next(&mut input, limits)?.is_some() {
            events += 1;
        }
        assert!(input.is_empty());
        Ok(events)
    }

    fn message(reader: &Reader) -> &Assembly {
        reader.0.as_ref().unwrap().message.as_ref().unwrap()
    }

    #[test]
    fn an_idle_reader_is_one_pointer() {
        assert_eq!(size_of::<Reader>(), 8);
        assert!(Reader::new().0.is_none());
        assert!(size_of::<Partial>() <= 128, "{}", size_of::<Partial>());
    }

    /// Byte by byte through streams in which every boundary between messages is known.
    #[test]
    fn the_box_is_there_only_inside_a_message_or_frame() {
        let inside_a_message = [frame(0x01, b"a"), frame(0x89, b"!"), frame(0x80, b"")].concat();
        let units = [
            frame(0x81, b"hello"),
            frame(0x81, b""),
            frame(0x89, b"ping"),
            frame(0x8a, b""),
            inside_a_message,
            frame(0x88, b"\x03\xe8bye"),
        ];
        let mut reader = Reader::new();
        for unit in units {
            for (i, byte) in unit.iter().enumerate() {
                feed(&mut reader, &[*byte], &LIMITS).unwrap();
                assert_eq!(reader.0.is_none(), i + 1 == unit.len(), "{unit:x?} at {i}");
            }
            assert_eq!(feed(&mut reader, &[], &LIMITS), Ok(0));
            assert!(reader.0.is_none(), "no bytes, no box");
        }
    }

    #[test]
    fn what_is_declared_and_not_sent_costs_nothing() {
        let mut reader = Reader::new();
        let declared = [0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0];
        feed(&mut reader, &declared, &LIMITS).unwrap();
        assert_eq!(message(&reader).data.capacity(), 0);
        feed(&mut reader, &[7; 10], &LIMITS).unwrap();
        assert!(message(&reader).data.capacity() <= 20);
        // Also behind a fragment that did come.
        let mut reader = Reader::new();
        feed(&mut reader, &frame(0x02, &[7; 100]), &LIMITS).unwrap();
        feed(&mut reader, &[0x80, 0xff, 0, 0, 0, 0, 0, 0x0f, 0, 0, 0, 0, 0, 0], &LIMITS).unwrap();
        assert!(message(&reader).data.capacity() <= 200);
        let mut reader = Reader::new();
        feed(&mut reader, &[0x89, 0xfd, 0, 0, 0, 0], &LIMITS).unwrap();
        assert_eq!(reader.0.as_ref().unwrap().control.capacity(), 0);
    }

    #[test]
    fn a_growing_message_takes_at_most_twice_what_came_and_never_more_than_the_limit() {
        let limits = Limits { max_message: 100_000, max_fragments: usize::MAX, ..LIMITS };
        for fin in [true, false] {
            let mut reader = Reader::new();
            if fin {
                let declared = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x86, 0xa0, 0, 0, 0, 0];
                feed(&mut reader, &declared, &limits).unwrap();
            } else {
                feed(&mut reader, &frame(0x02, b""), &limits).unwrap();
            }
            let (mut arrived, mut grown, mut capacity) = (0, 0, 0);
            while arrived + 7 < limits.max_message {
                let piece = if fin { vec![1; 7] } else { frame(0x00, &[1; 7]) };
                feed(&mut reader, &piece, &limits).unwrap();
                arrived += 7;
                let now = message(&reader).data.capacity();
                assert!(now <= (2 * arrived).min(limits.max_message), "{now} of {arrived}");
                grown += usize::from(now != capacity);
                capacity = now;
            }
            assert!(grown < 20, "{grown} reallocations");
        }
    }

    #[test]
    fn an_error_frees_what_was_held_and_stays() {
        let mut reader = Reader::new();
        feed(&mut reader, &frame(0x02, &[7; 100]), &LIMITS).unwrap();
        let error = Err(ProtocolError::UnfinishedMessage);
        assert_eq!(feed(&mut reader, &frame(0x81, b"new"), &LIMITS), error);
        assert!(reader.0.as_ref().unwrap().message.is_none());
        assert_eq!(feed(&mut reader, &[], &LIMITS), error);
        let mut good = frame(0x81, b"good");
        let mut input = &mut good[..];
        assert_eq!(reader.next(&mut input, &LIMITS), Err(ProtocolError::UnfinishedMessage));
        assert_eq!(input.len(), 10, "nothing is taken");
    }

    #[test]
    fn a_compressed_message_holds_its_state_only_while_it_is_incomplete() {
        let limits = Limits { compression: true, ..LIMITS };
        let mut inflater = Inflater::default();
        let mut reader = Reader::new();
        let inside =
            [frame(0x41, b"\xf2\x48"), frame(0x89, b"!"), frame(0x80, b"\xcd\xc9\xc9\x07\0")];
        for unit in [frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\0"), inside.concat()] {
            for (i, byte) in unit.iter().enumerate() {
                let mut input = &mut [*byte][..];
                while reader.next_with(&mut input, &limits, &mut inflater).unwrap().is_some() {}
                assert_eq!(reader.0.is_none(), i + 1 == unit.len(), "{unit:x?} at {i}");
            }
        }
        let mut reader = Reader::with_takeover(15);
        feed(&mut reader, &frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\0"), &limits).unwrap();
        assert!(reader.0.as_ref().unwrap().message.is_none());
        assert!(reader.0.as_ref().unwrap().window.is_some());
    }

    #[test]
    fn what_comes_out_of_a_bomb_never_passes_the_limit() {
        let limits = Limits { max_message: 100_000, compression: true, ..LIMITS };
        let zeros = vec![0; 1 << 20];
        let bomb = deflate::Deflater::default().compress(&zeros, 15).unwrap().to_vec();
        let mut reader = Reader::new();
        feed(&mut reader, &frame(0x42, b""), &limits).unwrap();
        for piece in bomb.chunks(10) {
            match feed(&mut reader, &frame(0x00, piece), &limits) {
                Ok(_) => assert!(message(&reader).data.capacity() <= limits.max_message),
                Err(error) => {
                    assert_eq!(error, ProtocolError::MessageTooBig);
                    assert!(reader.0.as_ref().unwrap().message.is_none());
                    return;
                }
            }
        }
        panic!("the bomb was taken");
    }
}
