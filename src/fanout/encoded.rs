//! L1: one message as the frames that its receivers want, each encoded once and shared.
//!
//! It knows what receivers agreed on, not who they are. Its rules:
//! * a message is compressed once for each size of window. The exception are receivers with
//!   context takeover: for each of them a message smaller than its window is compressed by itself;
//! * what compressing does not make smaller goes out as it is;
//! * messages that arrived together go out as one run of frames, so that each receiver is handed
//!   one thing instead of many.

use std::collections::BTreeMap;
use std::iter;

use crate::link::Frame;
use crate::proto::sse;
use crate::proto::ws::deflate::{Agreement, Deflater, Window};
use crate::proto::ws::frame::{self, Opcode};
use crate::proto::ws::message::Kind;

/// What form a receiver wants its messages in.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct Form {
    /// Binary frames always.
    pub binary: bool,
    /// The window of compressed messages, as a power of two; 0 when nothing is to be compressed.
    pub window_bits: u8,
    /// Whether compressed messages may refer to earlier ones.
    pub takeover: bool,
    /// What they go out as.
    pub goes_as: GoesAs,
}

/// What messages go out as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GoesAs {
    /// Frames of WebSockets.
    #[default]
    Frames,
    /// Server-sent events, which are never compressed.
    Events,
    /// Events of what is published alone, which say where its channel stands.
    PlacedEvents,
}

/// By one comparison, as it is made for each receiver of a message.
impl PartialEq for Form {
    #[inline]
    fn eq(&self, other: &Form) -> bool {
        self.word() == other.word()
    }
}

impl Form {
    /// The form that was agreed on.
    pub fn new(agreement: Option<Agreement>) -> Form {
        agreement.map_or(Form::default(), |agreement| Form {
            window_bits: agreement.server_bits,
            takeover: agreement.server_takeover,
            ..Form::default()
        })
    }

    /// Events.
    pub fn events() -> Form {
        Form { goes_as: GoesAs::Events, ..Form::default() }
    }

    /// All of it.
    #[inline]
    fn word(self) -> u32 {
        let bools = [u8::from(self.binary), u8::from(self.takeover)];
        u32::from_ne_bytes([bools[0], self.window_bits, bools[1], self.goes_as as u8])
    }

    /// Whether they are events.
    #[inline]
    pub fn is_events(&self) -> bool {
        self.goes_as != GoesAs::Frames
    }
}

/// Messages from so many bytes on are compressed once for all, takeover or not: they fill the
/// window that is kept, so there is little in it for them to refer to, and compressing a large one
/// for each of many receivers would stop everything for seconds.
const LONG: usize = 4096;

/// Makes frames of messages, and remembers what the receivers' later messages may refer to.
#[derive(Debug)]
pub struct Encoder {
    deflater: Deflater,
    /// Smaller messages are not compressed.
    least: usize,
    /// Bytes of earlier messages that are kept for each of those receivers.
    kept: usize,
    /// What was sent to receivers that allow takeover, from their first compressed message on.
    windows: BTreeMap<u32, Window>,
    asked: u64,
}

impl Encoder {
    /// An encoder that compresses messages of at least so many bytes, and keeps so many of earlier
    /// ones for each receiver that allows takeover.
    pub fn new(least: usize, kept: usize) -> Encoder {
        let (deflater, windows) = (Deflater::default(), BTreeMap::new());
        Encoder { deflater, least, kept, windows, asked: 0 }
    }

    /// The frame for a receiver, which is to be told apart from others by its number. It must be
    /// the next that is sent to it.
    pub fn frame(&mut self, message: &mut Encoded<'_>, receiver: u32, form: Form) -> Frame {
        self.asked += message.payload.len() as u64;
        if form.window_bits == 0 || message.payload.len() < self.least {
            return match form.is_events() {
                false => message.frame(form.binary),
                true => message.event(form.binary),
            };
        }
        let deflated = match form.takeover {
            false => message.deflated(form, &mut self.deflater),
            true if message.payload.len() >= LONG => {
                let deflated = message.deflated(form, &mut self.deflater);
                if deflated.is_some() {
                    window(&mut self.windows, receiver, form, self.kept).push(message.payload);
                }
                deflated
            }
            true => {
                let opcode = message.opcode(form.binary);
                let window = window(&mut self.windows, receiver, form, self.kept);
                let deflated = self.deflater.compress_after(message.payload, window);
                deflated.map(|payload| frame::encode_deflated(opcode, payload))
            }
        };
        deflated.unwrap_or_else(|| message.frame(form.binary))
    }

    /// Bytes of all messages that frames were ever asked for of: no more were made.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// The receiver of that number is no more.
    pub fn forget(&mut self, receiver: u32) {
        self.windows.remove(&receiver);
    }

    /// How often something was compressed.
    pub fn compressions(&self) -> u64 {
        self.deflater.compressions()
    }
}

/// What a receiver's later messages may refer to.
fn window(
    windows: &mut BTreeMap<u32, Window>,
    receiver: u32,
    form: Form,
    kept: usize,
) -> &mut Window {
    windows.entry(receiver).or_insert_with(|| Window::kept(form.window_bits, kept))
}

/// A message and the frames made of it so far.
#[derive(Debug)]
pub struct Encoded<'a> {
    payload: &'a [u8],
    /// Whether it may go out as text, once somebody has asked.
    is_text: Option<bool>,
    plain: Option<Pair>,
    /// Apart, since most messages have one receiver, who wants none of it.
    rare: Option<Box<Rare>>,
}

/// The forms of a message that are not a plain frame.
#[derive(Debug, Default)]
struct Rare {
    /// For each size of window that was wanted: what came of it, if that was smaller.
    deflated: Vec<(u8, Option<Pair>)>,
    /// Its event, as it is and as binary.
    events: [Option<Frame>; 2],
}

impl<'a> Encoded<'a> {
    /// A message of which no frame is made yet. It is text if it can be.
    pub fn new(payload: &'a [u8]) -> Self {
        Encoded { payload, is_text: None, plain: None, rare: None }
    }

    /// A message whose kind is known.
    pub fn of(kind: Kind, payload: &'a [u8]) -> Self {
        Encoded { is_text: Some(kind == Kind::Text), ..Encoded::new(payload) }
    }

    /// The frame, not compressed, for a receiver, which may want `binary` always. Else text stays
    /// text; what is not UTF-8 can only go out as binary (RFC 6455 section 8.1).
    pub fn frame(&mut self, binary: bool) -> Frame {
        let opcode = self.opcode(binary);
        let payload = self.payload;
        let new = || Pair::new(opcode, frame::encode(opcode, payload));
        self.plain.get_or_insert_with(new).get(opcode)
    }

    /// The event for a stream, which may want `binary` always. A message of no bytes is published
    /// by nobody: it says that something may be missing.
    fn event(&mut self, binary: bool) -> Frame {
        let is_text = self.opcode(binary) == Opcode::Text;
        let events = &mut self.rare.get_or_insert_default().events;
        let new = || match self.payload {
            [] => Frame::from(sse::GAP),
            payload => Frame::from(sse::event(payload, is_text)),
        };
        events[usize::from(binary)].get_or_insert_with(new).clone()
    }

    fn deflated(&mut self, form: Form, deflater: &mut Deflater) -> Option<Frame> {
        let (bits, opcode) = (form.window_bits, self.opcode(form.binary));
        let made = &mut self.rare.get_or_insert_default().deflated;
        let known = made.iter().position(|(known, _)| *known == bits);
        let at = known.unwrap_or_else(|| {
            let payload = deflater.compress(self.payload, bits);
            let new = |payload| Pair::new(opcode, frame::encode_deflated(opcode, payload));
            made.push((bits, payload.map(new)));
            made.len() - 1
        });
        made[at].1.as_mut().map(|pair| pair.get(opcode))
    }

    fn opcode(&mut self, binary: bool) -> Opcode {
        let payload = self.payload;
        let is_text = || simdutf8::basic::from_utf8(payload).is_ok();
        match !binary && *self.is_text.get_or_insert_with(is_text) {
            true => Opcode::Text,
            false => Opcode::Binary,
        }
    }
}

/// Messages that go out together, and the runs of frames made of them so far.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// Most runs are of one message, which needs no list.
    first: Encoded<'a>,
    others: Option<Box<Others<'a>>>,
    /// What the last receiver wanted; the next mostly wants the same. The second one's is kept:
    /// many messages have one receiver.
    last: Option<Form>,
    again: Option<Frame>,
}

/// The messages behind the first, and the runs of frames of all of them.
#[derive(Debug)]
struct Others<'a> {
    messages: Vec<Encoded<'a>>,
    joined: Vec<(Form, Frame)>,
}

impl<'a> Run<'a> {
    /// The messages in their order.
    pub(crate) fn new(first: &'a [u8], others: impl Iterator<Item = &'a [u8]>) -> Self {
        let messages: Vec<Encoded<'a>> = others.map(Encoded::new).collect();
        let others =
            (!messages.is_empty()).then(|| Box::new(Others { messages, joined: Vec::new() }));
        Run { first: Encoded::new(first), others, last: None, again: None }
    }

    /// The frames for a receiver, as [`Encoder::frame`] makes one.
    #[inline]
    pub(crate) fn frames(&mut self, encoder: &mut Encoder, receiver: u32, form: Form) -> Frame {
        if let Some(frames) = &self.again
            && self.last == Some(form)
        {
            return frames.clone();
        }
        self.make(encoder, receiver, form)
    }

    #[inline(never)]
    fn make(&mut self, encoder: &mut Encoder, receiver: u32, form: Form) -> Frame {
        let again = self.again.is_none() && self.last == Some(form) && !form.takeover;
        let frames = self.encode(encoder, receiver, form);
        self.last = Some(form);
        self.again = again.then(|| frames.clone());
        frames
    }

    fn encode(&mut self, encoder: &mut Encoder, receiver: u32, form: Form) -> Frame {
        let Some(Others { messages, joined }) = self.others.as_deref_mut() else {
            return encoder.frame(&mut self.first, receiver, form);
        };
        if let Some((_, frames)) = joined.iter().find(|(known, _)| *known == form) {
            return frames.clone();
        }
        let mut bytes = Vec::new();
        for message in iter::once(&mut self.first).chain(messages) {
            bytes.extend_from_slice(&encoder.frame(message, receiver, form));
        }
        let frames = Frame::from(bytes);
        if !form.takeover {
            joined.push((form, frames.clone()));
        }
        frames
    }

    /// The frame of the last message alone.
    pub(crate) fn last(&mut self, encoder: &mut Encoder, receiver: u32, form: Form) -> Frame {
        let others = self.others.as_mut().and_then(|others| others.messages.last_mut());
        encoder.frame(others.unwrap_or(&mut self.first), receiver, form)
    }

    /// What the messages say.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = &'a [u8]> {
        iter::once(&self.first).chain(self.others()).map(|message| message.payload)
    }

    /// How many bytes they are.
    pub(crate) fn bytes(&self) -> usize {
        let others = self.others().iter().map(|message| message.payload.len());
        self.first.payload.len() + others.sum::<usize>()
    }

    /// The number of messages.
    pub(crate) fn messages(&self) -> usize {
        1 + self.others().len()
    }

    fn others(&self) -> &[Encoded<'a>] {
        self.others.as_ref().map_or(&[], |others| &others.messages)
    }
}

/// One payload as the frame that was wanted first, and as that of the other kind once it is wanted.
#[derive(Debug)]
struct Pair {
    opcode: Opcode,
    frame: Frame,
    other: Option<Frame>,
}

impl Pair {
    fn new(opcode: Opcode, frame: Frame) -> Pair {
        Pair { opcode, frame, other: None }
    }

    fn get(&mut self, opcode: Opcode) -> Frame {
        if opcode == self.opcode {
            return self.frame.clone();
        }
        self.other.get_or_insert_with(|| frame::with_opcode(&self.frame, opcode)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Compresses well.
    const LONG: &[u8] = &[b'x'; 1000];

    fn form(window_bits: u8, takeover: bool) -> Form {
        Form { window_bits, takeover, ..Form::default() }
    }

    #[test]
    fn text_stays_text_and_what_is_not_utf8_goes_out_as_binary() {
        let table: [(&[u8], bool, &[u8]); 4] = [
            (b"hi", false, b"\x81\x02hi"),
            (b"hi", true, b"\x82\x02hi"),
            (b"\xff\xfe", false, b"\x82\x02\xff\xfe"),
            (b"\xff\xfe", true, b"\x82\x02\xff\xfe"),
        ];
        for (payload, binary, frame) in table {
            assert_eq!(&*Encoded::new(payload).frame(binary), frame);
        }
        assert_eq!(&*Encoded::of(Kind::Binary, b"hi").frame(false), b"\x82\x02hi");
        assert_eq!(&*Encoded::of(Kind::Text, b"hi").frame(false), b"\x81\x02hi");
    }

    #[test]
    fn each_frame_is_made_once() {
        let mut encoded = Encoded::new(b"hi");
        for first in [false, true] {
            assert!(Arc::ptr_eq(&encoded.frame(first), &encoded.frame(first)));
            assert_ne!(encoded.frame(first), encoded.frame(!first));
        }
    }

    #[test]
    fn an_event_is_made_once_for_all_streams_and_never_compressed() {
        let mut encoder = Encoder::new(0, 4096);
        let events = Form::events();
        let binary = Form { binary: true, ..events };
        for (payload, form, event) in [
            (&b"hi"[..], events, &b"data: hi\n\n"[..]),
            (b"hi", binary, b"event: binary\ndata: aGk=\n\n"),
            (b"\xff", events, b"event: binary\ndata: /w==\n\n"),
            (b"", events, b"event: gap\ndata: *\n\n"),
        ] {
            let mut encoded = Encoded::new(payload);
            let first = encoder.frame(&mut encoded, 1, form);
            assert_eq!(&*first, event);
            assert!(Arc::ptr_eq(&encoder.frame(&mut encoded, 2, form), &first));
            assert_eq!(encoder.frame(&mut encoded, 3, Form::default())[0] & 0x80, 0x80);
        }
        let mut run = Run::new(LONG, [b"x".as_slice()].into_iter());
        let frames = run.frames(&mut encoder, 1, events);
        assert_eq!(sse::events(&frames).count(), 2);
        assert!(Arc::ptr_eq(&run.frames(&mut encoder, 2, events), &frames));
        assert_eq!(encoder.compressions(), 0);
    }

    #[test]
    fn a_message_is_compressed_once_for_each_window() {
        let mut encoder = Encoder::new(0, 4096);
        let mut encoded = Encoded::new(LONG);
        let first = encoder.frame(&mut encoded, 0, form(15, false));
        assert_eq!(first[0], 0xc1);
        for receiver in 1..100 {
            let frame = encoder.frame(&mut encoded, receiver, form(15, false));
            assert!(Arc::ptr_eq(&frame, &first));
        }
        assert_eq!(encoder.compressions(), 1);
        let binary = Form { binary: true, ..form(15, false) };
        let frame = encoder.frame(&mut encoded, 100, binary);
        assert_eq!((frame[0], &frame[1..]), (0xc2, &first[1..]));
        assert_eq!(encoder.compressions(), 1);
        encoder.frame(&mut encoded, 101, form(9, false));
        assert_eq!(encoder.compressions(), 2);
        assert_eq!(encoder.frame(&mut encoded, 102, Form::default())[0], 0x81);
        assert_eq!(encoder.compressions(), 2);
    }

    #[test]
    fn what_is_small_or_stays_large_goes_out_as_it_is() {
        let mut encoder = Encoder::new(1000, 4096);
        for takeover in [false, true] {
            let small = encoder.frame(&mut Encoded::new(&LONG[1..]), 0, form(15, takeover));
            assert_eq!(small, Encoded::new(&LONG[1..]).frame(false));
            assert_eq!(encoder.frame(&mut Encoded::new(LONG), 0, form(15, takeover))[0], 0xc1);
        }
        assert_eq!(encoder.compressions(), 2);
        let mut encoder = Encoder::new(0, 4096);
        for payload in [&b""[..], b"x", b"\xff", b"0123456789abcdef"] {
            let mut encoded = Encoded::new(payload);
            for takeover in [false, true, false] {
                let frame = encoder.frame(&mut encoded, 0, form(15, takeover));
                assert_eq!(frame, Encoded::new(payload).frame(false), "{payload:?}");
            }
        }
        assert_eq!(encoder.compressions(), 8, "tried in vain once for all, and each time");
    }

    #[test]
    fn takeover_is_each_receivers_own() {
        let mut encoder = Encoder::new(0, 4096);
        let text = br#"{"user":"grace","room":"engines","text":"hello","user_id":17,"room_id":3}"#;
        let mut frame = |receiver| encoder.frame(&mut Encoded::new(text), receiver, form(15, true));
        let first = frame(1);
        assert!(frame(1).len() < first.len() / 2, "it refers to the first");
        assert_eq!(frame(2), first);
        encoder.forget(1);
        let after = encoder.frame(&mut Encoded::new(text), 1, form(15, true));
        assert_eq!(after, first);
        assert_eq!(encoder.windows.len(), 2);
    }

    #[test]
    fn messages_go_out_together_and_each_run_is_made_once() {
        let payloads = [b"hi".as_slice(), b"\xff", LONG];
        let mut encoder = Encoder::new(100, 4096);
        let mut run = Run::new(payloads[0], payloads[1..].iter().copied());
        assert_eq!((run.messages(), run.payloads().count()), (3, 3));
        let each = |form| -> Vec<u8> {
            let mut encoder = Encoder::new(100, 4096);
            let mut frame = |payload| encoder.frame(&mut Encoded::new(payload), 9, form).to_vec();
            payloads.into_iter().flat_map(&mut frame).collect()
        };
        let binary = Form { binary: true, ..Form::default() };
        for form in [Form::default(), binary, form(15, false), form(9, false)] {
            let frames = run.frames(&mut encoder, 1, form);
            assert_eq!(&frames[..], each(form), "{form:?}");
            assert!(Arc::ptr_eq(&run.frames(&mut encoder, 2, form), &frames));
        }
        assert_eq!(encoder.compressions(), 2, "once for each window");
        let own = run.frames(&mut encoder, 1, form(15, true));
        assert_eq!(&own[..], each(form(15, true)));
        let mut again = Run::new(payloads[0], payloads[1..].iter().copied());
        let next = again.frames(&mut encoder, 1, form(15, true));
        assert!(next.len() < own.len(), "it refers to what this receiver was sent before");
    }
}
