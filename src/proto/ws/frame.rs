//! One RFC 6455 frame: its header decoded and encoded, its payload unmasked in place.
//!
//! It knows single frames only: what may follow what, how large a message may be and what is
//! valid UTF-8 is [`message`](super::message)'s. The errors of both are here, each with its close
//! code ([`ProtocolError::close_code`]). It keeps no state and takes nothing from its input.
//!
//! Rules:
//! - A header is refused at the first byte that makes it wrong, in the order of the wire, so the
//!   verdict does not depend on how the bytes were cut into reads.
//! - RSV1 passes only where permessage-deflate (RFC 7692) may set it, and only when negotiated.
//! - An encoded frame is one allocation and holds one copy of the payload, for any number of
//!   conns that share it.

use std::borrow::Cow;
use std::fmt;
use std::iter;
use std::sync::Arc;

/// Longest header: two bytes, a 64-bit length and a mask.
pub const MAX_HEADER: usize = 14;

/// Longest payload of a control frame, in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const SHORT_LEN: u8 = 0x7f;
const LEN_16: u8 = 126;
const LEN_64: u8 = 127;

/// Which end of the connection we are; the peer is the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Requires masked frames and writes unmasked ones.
    Server,
    /// Requires unmasked frames and writes masked ones.
    Client,
}

/// What a frame is (RFC 6455 section 11.8); the value is the one on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment of the message that is under way.
    Continuation = 0,
    /// The first or only frame of a text message.
    Text = 1,
    /// The first or only frame of a binary message.
    Binary = 2,
    /// The closing handshake.
    Close = 8,
    /// Asks for a pong with the same payload.
    Ping = 9,
    /// Answers a ping, or says unasked that the sender is alive.
    Pong = 10,
}

impl Opcode {
    /// Whether this is a close, ping or pong, which may come between the fragments of a message.
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }

    fn from_wire(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }
}

/// A frame without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// The message that begins here is compressed (RFC 7692 section 6).
    pub rsv1: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// What the payload is XORed with, when the sender is a client.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload, below 2^63.
    pub len: u64,
}

/// What a peer did wrong, in a frame or in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// RSV2 or RSV3, or RSV1 where no extension allows it.
    ReservedBit,
    /// Opcode 3 to 7 or 11 to 15.
    ReservedOpcode,
    /// A control frame without FIN.
    FragmentedControl,
    /// A control frame of more than [`MAX_CONTROL`] bytes.
    ControlTooLong,
    /// A client's frame without a mask.
    NotMasked,
    /// A server's frame with a mask.
    Masked,
    /// A length in more bytes than it needs.
    LengthNotMinimal,
    /// A length of 2^63 or more.
    LengthOutOfRange,
    /// A continuation while no message is under way.
    UnexpectedContinuation,
    /// A new message before the last fragment of the one under way.
    UnfinishedMessage,
    /// A message larger than the limit.
    MessageTooBig,
    /// A message of more fragments than the limit.
    TooManyFragments,
    /// A compressed message that cannot be inflated.
    NotDeflated,
    /// A text message that is not UTF-8.
    TextNotUtf8,
    /// A close payload of one byte.
    CloseTooShort,
    /// A close code that must not be on the wire.
    CloseCodeNotAllowed,
    /// A close reason that is not UTF-8.
    CloseReasonNotUtf8,
}

impl ProtocolError {
    /// The close code to answer with (RFC 6455 section 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            ProtocolError::NotDeflated
            | ProtocolError::TextNotUtf8
            | ProtocolError::CloseReasonNotUtf8 => 1007,
            ProtocolError::TooManyFragments => 1008,
            ProtocolError::MessageTooBig => 1009,
            _ => 1002,
        }
    }

    /// Whether it is a close frame that is wrong, behind which no other one comes.
    pub fn is_of_a_close(self) -> bool {
        matches!(
            self,
            ProtocolError::CloseTooShort
                | ProtocolError::CloseCodeNotAllowed
                | ProtocolError::CloseReasonNotUtf8
        )
    }

    fn sentence(self) -> &'static str {
        match self {
            ProtocolError::ReservedBit => "a frame has a reserved bit set that was not negotiated",
            ProtocolError::ReservedOpcode => "a frame has a reserved opcode",
            ProtocolError::FragmentedControl => "a control frame is fragmented",
            ProtocolError::ControlTooLong => "a control frame is longer than 125 bytes",
            ProtocolError::NotMasked => "a client's frame is not masked",
            ProtocolError::Masked => "a server's frame is masked",
            ProtocolError::LengthNotMinimal => "a frame's length takes more bytes than it needs",
            ProtocolError::LengthOutOfRange => "a frame's 64-bit length has its highest bit set",
            ProtocolError::UnexpectedContinuation => {
                "a continuation frame came while no message was under way"
            }
            ProtocolError::UnfinishedMessage => {
                "a new message began before the last fragment of the one under way"
            }
            ProtocolError::MessageTooBig => "a message is larger than allowed here",
            ProtocolError::TooManyFragments => "a message has more fragments than allowed here",
            ProtocolError::NotDeflated => "a compressed message is not valid DEFLATE data",
            ProtocolError::TextNotUtf8 => "a text message is not valid UTF-8",
            ProtocolError::CloseTooShort => "a close frame's payload is one byte long",
            ProtocolError::CloseCodeNotAllowed => {
                "a close frame has a code that must not be on the wire"
            }
            ProtocolError::CloseReasonNotUtf8 => "a close frame's reason is not valid UTF-8",
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for ProtocolError {}

/// Decodes the header at the front of `bytes` and says how many bytes it takes; `None` when more
/// are needed (never when there are [`MAX_HEADER`]).
///
/// `role` is ours, `compression` whether permessage-deflate was negotiated.
#[inline]
pub fn decode(
    bytes: &[u8],
    role: Role,
    compression: bool,
) -> Result<Option<(Header, usize)>, ProtocolError> {
    let [first, rest @ ..] = bytes else { return Ok(None) };
    let fin = first & FIN != 0;
    let rsv1 = first & RSV1 != 0;
    if first & RSV2_AND_3 != 0 {
        return Err(ProtocolError::ReservedBit);
    }
    let opcode = Opcode::from_wire(first & OPCODE).ok_or(ProtocolError::ReservedOpcode)?;
    if rsv1 && !(compression && matches!(opcode, Opcode::Text | Opcode::Binary)) {
        return Err(ProtocolError::ReservedBit);
    }
    if opcode.is_control() && !fin {
        return Err(ProtocolError::FragmentedControl);
    }

    let [second, rest @ ..] = rest else { return Ok(None) };
    let masked = second & MASKED != 0;
    match role {
        Role::Server if !masked => return Err(ProtocolError::NotMasked),
        Role::Client if masked => return Err(ProtocolError::Masked),
        _ => {}
    }
    let short = second & SHORT_LEN;
    if opcode.is_control() && usize::from(short) > MAX_CONTROL {
        return Err(ProtocolError::ControlTooLong);
    }
    let Some((len, rest)) = decode_len(short, rest)? else { return Ok(None) };
    let (mask, rest) = if masked {
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        (Some(*mask), rest)
    } else {
        (None, rest)
    };
    Ok(Some((Header { fin, rsv1, opcode, mask, len }, bytes.len() - rest.len())))
}

/// Encodes a whole unmasked frame, as a server sends it, ready to be shared.
///
/// A control frame's payload must not exceed [`MAX_CONTROL`] bytes.
pub fn encode(opcode: Opcode, payload: &[u8]) -> Arc<[u8]> {
    if payload.len() <= MAX_CONTROL {
        // By way of the stack a short one takes half the instructions.
        let mut frame = [0; 2 + MAX_CONTROL];
        (frame[0], frame[1]) = (FIN | opcode as u8, payload.len() as u8);
        frame[2..2 + payload.len()].copy_from_slice(payload);
        return Arc::from(&frame[..2 + payload.len()]);
    }
    let (head, head_len) = head(opcode, payload.len(), None);
    let head = &head[..head_len];
    // Zeroing first costs a third more than the copy alone and, without `unsafe`, nothing is
    // cheaper: a chained iterator copies byte by byte, a Vec is copied (and allocated) again.
    let mut frame: Arc<[u8]> = iter::repeat_n(0, head_len + payload.len()).collect();
    let bytes = Arc::get_mut(&mut frame).expect("a new Arc is not shared yet");
    let (front, back) = bytes.split_at_mut(head_len);
    front.copy_from_slice(head);
    back.copy_from_slice(payload);
    frame
}

/// Appends a whole unmasked frame, as a server sends it, to others that go out with it.
///
/// A control frame's payload must not exceed [`MAX_CONTROL`] bytes.
pub fn append(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let (head, head_len) = head(opcode, payload.len(), None);
    out.extend_from_slice(&head[..head_len]);
    out.extend_from_slice(payload);
}

/// Encodes a whole unmasked data frame whose payload is a compressed message (RFC 7692 section 6).
pub fn encode_deflated(opcode: Opcode, payload: &[u8]) -> Arc<[u8]> {
    debug_assert!(!opcode.is_control(), "control frames are not compressed");
    let mut frame = encode(opcode, payload);
    Arc::get_mut(&mut frame).expect("a new Arc is not shared yet")[0] |= RSV1;
    frame
}

/// A copy of an encoded frame that is another in its opcode alone.
pub fn with_opcode(frame: &[u8], opcode: Opcode) -> Arc<[u8]> {
    let mut frame = Arc::<[u8]>::from(frame);
    let bytes = Arc::get_mut(&mut frame).expect("a new Arc is not shared yet");
    if let Some(first) = bytes.first_mut() {
        *first = *first & !OPCODE | opcode as u8;
    }
    frame
}

/// Encodes an unmasked close frame; the reason is cut at a character to what fits beside the code.
///
/// Without a code the frame is empty and the reason is dropped. The code must be one that
/// [`may_be_sent`].
pub fn encode_close(code: Option<u16>, reason: &str) -> Arc<[u8]> {
    let Some(code) = code else { return encode(Opcode::Close, &[]) };
    debug_assert!(may_be_sent(code), "close code {code} must not be on the wire");
    let mut payload = [0; MAX_CONTROL];
    let (front, room) = payload.split_at_mut(2);
    front.copy_from_slice(&code.to_be_bytes());
    let mut len = reason.len().min(room.len());
    while !reason.is_char_boundary(len) {
        len -= 1;
    }
    room[..len].copy_from_slice(&reason.as_bytes()[..len]);
    encode(Opcode::Close, &payload[..2 + len])
}

/// The frames of a run of unmasked ones, each with its header. What cannot be one ends the run and
/// counts as the last.
pub fn frames(mut run: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let whole = match decode(run, Role::Client, true) {
            Ok(Some((header, length))) => length.saturating_add(header.len as usize),
            _ => run.len(),
        };
        let (frame, rest) = run.split_at(whole.min(run.len()));
        run = rest;
        (!frame.is_empty()).then_some(frame)
    })
}

/// Appends a whole masked frame, as a client sends it. RFC 6455 section 5.3 wants a mask that
/// cannot be predicted; where it comes from is the caller's affair.
///
/// A control frame's payload must not exceed [`MAX_CONTROL`] bytes.
pub fn encode_masked(opcode: Opcode, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    let (head, head_len) = head(opcode, payload.len(), Some(mask));
    out.reserve(head_len + payload.len());
    out.extend_from_slice(&head[..head_len]);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask, 0);
}

/// The code and reason of a close frame (RFC 6455 section 5.5.1).
pub(super) fn read_close(
    payload: Cow<'_, [u8]>,
) -> Result<Option<(u16, Cow<'_, str>)>, ProtocolError> {
    let code = match *payload {
        [] => return Ok(None),
        [_] => return Err(ProtocolError::CloseTooShort),
        [high, low, ..] => u16::from_be_bytes([high, low]),
    };
    if !may_be_sent(code) {
        return Err(ProtocolError::CloseCodeNotAllowed);
    }
    let reason = match payload {
        Cow::Borrowed(bytes) => str::from_utf8(&bytes[2..]).ok().map(Cow::Borrowed),
        Cow::Owned(mut bytes) => String::from_utf8(bytes.split_off(2)).ok().map(Cow::Owned),
    };
    reason.map(|reason| Some((code, reason))).ok_or(ProtocolError::CloseReasonNotUtf8)
}

/// Whether RFC 6455 section 7.4 and its registry let a close frame carry this code.
pub fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Takes the mask off (or puts it on) a piece of a payload, in place. `offset` is the piece's
/// place in the payload; only its remainder by 4 matters.
#[inline]
pub fn unmask(payload: &mut [u8], mut mask: [u8; 4], offset: usize) {
    mask.rotate_left(offset % 4);
    let key = u32::from_ne_bytes(mask);
    // Plain words: the compiler makes vectors of this loop, and wider chunks by hand were slower.
    let (words, tail) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// The payload length and what follows it, from the seven bits and the bytes after them.
fn decode_len(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    match short {
        LEN_16 => {
            let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
            let len = u16::from_be_bytes(*len);
            if len < u16::from(LEN_16) {
                return Err(ProtocolError::LengthNotMinimal);
            }
            Ok(Some((u64::from(len), rest)))
        }
        LEN_64 => {
            if rest.first().is_some_and(|byte| byte & 0x80 != 0) {
                return Err(ProtocolError::LengthOutOfRange);
            }
            if rest.starts_with(&[0; 6]) {
                return Err(ProtocolError::LengthNotMinimal);
            }
            let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
            Ok(Some((u64::from_be_bytes(*len), rest)))
        }
        _ => Ok(Some((u64::from(short), rest))),
    }
}

/// The header of an unfragmented frame, and how many of the bytes it takes.
pub(crate) fn head(opcode: Opcode, len: usize, mask: Option<[u8; 4]>) -> ([u8; MAX_HEADER], usize) {
    debug_assert!(!opcode.is_control() || len <= MAX_CONTROL, "a control frame of {len} bytes");
    let mut head = [0; MAX_HEADER];
    let masked = if mask.is_some() { MASKED } else { 0 };
    head[0] = FIN | opcode as u8;
    let mut at = match len {
        0..=125 => {
            head[1] = masked | len as u8;
            2
        }
        126..=0xffff => {
            head[1] = masked | LEN_16;
            head[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            4
        }
        _ => {
            head[1] = masked | LEN_64;
            head[2..10].copy_from_slice(&(len as u64).to_be_bytes());
            10
        }
    };
    if let Some(mask) = mask {
        head[at..at + 4].copy_from_slice(&mask);
        at += 4;
    }
    (head, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    fn header(fin: bool, rsv1: bool, opcode: Opcode, mask: Option<[u8; 4]>, len: u64) -> Header {
        Header { fin, rsv1, opcode, mask, len }
    }

    #[test]
    fn headers_decode() {
        use Opcode::*;
        let k = Some(KEY);
        // First byte, the bytes of the length, and what they say to a server.
        let rows: &[(u8, &[u8], Header)] = &[
            (0x81, &[0x80], header(true, false, Text, k, 0)),
            (0x01, &[0x85], header(false, false, Text, k, 5)),
            (0x82, &[0xfd], header(true, false, Binary, k, 125)),
            (0xc1, &[0x81], header(true, true, Text, k, 1)),
            (0x42, &[0x81], header(false, true, Binary, k, 1)),
            (0x00, &[0xfe, 0, 126], header(false, false, Continuation, k, 126)),
            (0x80, &[0xfe, 0xff, 0xff], header(true, false, Continuation, k, 65535)),
            (0x82, &[0xff, 0, 0, 0, 0, 0, 1, 0, 0], header(true, false, Binary, k, 65536)),
            (
                0x82,
                &[0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                header(true, false, Binary, k, u64::MAX >> 1),
            ),
            (0x88, &[0x82], header(true, false, Close, k, 2)),
            (0x89, &[0xfd], header(true, false, Ping, k, 125)),
            (0x8a, &[0x80], header(true, false, Pong, k, 0)),
        ];
        for (first, len, expected) in rows {
            let mut bytes = vec![*first];
            bytes.extend_from_slice(len);
            let mut unmasked = bytes.clone();
            unmasked[1] &= SHORT_LEN;
            bytes.extend_from_slice(&KEY);
            for (bytes, role, mask) in
                [(&bytes, Role::Server, Some(KEY)), (&unmasked, Role::Client, None)]
            {
                for cut in 0..bytes.len() {
                    assert_eq!(decode(&bytes[..cut], role, true), Ok(None), "{bytes:x?} {cut}");
                }
                let expected = Ok(Some((Header { mask, ..*expected }, bytes.len())));
                assert_eq!(decode(bytes, role, true), expected);
                let mut longer = bytes.clone();
                longer.extend_from_slice(&[0xff; 20]);
                assert_eq!(decode(&longer, role, true), expected, "what follows is not looked at");
            }
        }
    }

    /// Every first byte against the rules, spelled out another way than the decoder does.
    #[test]
    fn every_first_byte_is_judged_at_once() {
        for first in 0..=255_u8 {
            for compression in [false, true] {
                let opcode = first & 15;
                let expected = if first & 0x30 != 0 {
                    Err(ProtocolError::ReservedBit)
                } else if (3..8).contains(&opcode) || opcode > 10 {
                    Err(ProtocolError::ReservedOpcode)
                } else if first & 0x40 != 0 && (!compression || opcode == 0 || opcode >= 8) {
                    Err(ProtocolError::ReservedBit)
                } else if opcode >= 8 && first & 0x80 == 0 {
                    Err(ProtocolError::FragmentedControl)
                } else {
                    Ok(None)
                };
                assert_eq!(decode(&[first], Role::Server, compression), expected, "{first:#x}");
            }
        }
    }

    #[test]
    fn headers_are_refused_at_the_first_wrong_byte() {
        use ProtocolError::*;
        let rows: &[(Role, &[u8], ProtocolError)] = &[
            (Role::Server, &[0x81, 0x00], NotMasked),
            (Role::Server, &[0x81, 0x7f], NotMasked),
            (Role::Server, &[0x88, 0x00], NotMasked),
            (Role::Client, &[0x81, 0x80], Masked),
            (Role::Client, &[0x8a, 0x80], Masked),
            (Role::Server, &[0x88, 0xfe], ControlTooLong),
            (Role::Server, &[0x89, 0xff], ControlTooLong),
            (Role::Client, &[0x8a, 0x7e], ControlTooLong),
            (Role::Server, &[0x81, 0xfe, 0, 0], LengthNotMinimal),
            (Role::Server, &[0x81, 0xfe, 0, 125], LengthNotMinimal),
            (Role::Server, &[0x81, 0xff, 0, 0, 0, 0, 0, 0], LengthNotMinimal),
            (Role::Client, &[0x82, 0x7f, 0, 0, 0, 0, 0, 0], LengthNotMinimal),
            (Role::Server, &[0x81, 0xff, 0x80], LengthOutOfRange),
            (Role::Client, &[0x81, 0x7f, 0xff], LengthOutOfRange),
        ];
        for (role, bytes, error) in rows {
            assert_eq!(decode(bytes, *role, false), Err(*error), "{bytes:x?}");
            let before = &bytes[..bytes.len() - 1];
            assert_eq!(decode(before, *role, false), Ok(None), "{bytes:x?} not earlier");
            let mut longer = bytes.to_vec();
            longer.extend_from_slice(&[0xff; 20]);
            assert_eq!(decode(&longer, *role, false), Err(*error), "{bytes:x?} and more");
        }
    }

    #[test]
    fn encoding_is_what_the_rfc_shows() {
        // RFC 6455 section 5.7.
        assert_eq!(*encode(Opcode::Text, b"Hello"), *b"\x81\x05Hello");
        assert_eq!(*encode(Opcode::Ping, b"Hello"), *b"\x89\x05Hello");
        // RFC 7692 section 7.2.3.1.
        let hello = *b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
        assert_eq!(*encode_deflated(Opcode::Text, &hello[2..]), hello);
        let binary = encode_deflated(Opcode::Binary, &hello[2..]);
        assert_eq!(with_opcode(&hello, Opcode::Binary), binary);
        assert_eq!(encode(Opcode::Binary, &[0; 256])[..4], [0x82, 0x7e, 0x01, 0x00]);
        let head = [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(encode(Opcode::Binary, &[0; 65536])[..10], head);
        let mut out = b"before".to_vec();
        encode_masked(Opcode::Text, b"Hello", KEY, &mut out);
        assert_eq!(out, b"before\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        for opcode in [Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Ping, Opcode::Pong] {
            for len in [0, 1, 2, 124, 125, 126, 127, 65534, 65535, 65536, 65537, 1 << 20] {
                if opcode.is_control() && len > MAX_CONTROL {
                    continue;
                }
                let payload: Vec<u8> = (0..len).map(|i| (i * 7 % 251) as u8).collect();
                let from_server = encode(opcode, &payload);
                let mut from_client = Vec::new();
                encode_masked(opcode, &payload, KEY, &mut from_client);
                for (frame, role, mask) in
                    [(&*from_server, Role::Client, None), (&*from_client, Role::Server, Some(KEY))]
                {
                    let (decoded, at) = decode(frame, role, false).unwrap().unwrap();
                    assert_eq!(decoded, header(true, false, opcode, mask, len as u64));
                    let mut back = frame[at..].to_vec();
                    unmask(&mut back, mask.unwrap_or_default(), 0);
                    assert!(back == payload, "{opcode:?} of {len} bytes");
                }
            }
        }
    }

    #[test]
    fn close_frames() {
        let long = "x".repeat(200);
        // 122 bytes, then a character of two bytes: one would fit, half a character must not.
        let cut = format!("{}é!", "x".repeat(122));
        let fits = format!("{}é", "x".repeat(121));
        let rows: &[(Option<u16>, &str, &[u8])] = &[
            (None, "", b""),
            (None, "dropped", b""),
            (Some(1000), "", b"\x03\xe8"),
            (Some(1009), "big", b"\x03\xf1big"),
            (Some(4403), &long, &[&[0x11, 0x33], &long.as_bytes()[..123]].concat()),
            (Some(1001), &cut, &[&[0x03, 0xe9], &cut.as_bytes()[..122]].concat()),
            (Some(1001), &fits, &[&[0x03, 0xe9], fits.as_bytes()].concat()),
        ];
        for (code, reason, payload) in rows {
            let frame = encode_close(*code, reason);
            assert_eq!(frame[..2], [0x88, payload.len() as u8], "{code:?} {reason}");
            assert_eq!(frame[2..], **payload, "{code:?} {reason}");
        }
    }

    #[test]
    fn unmasking_is_byte_by_byte_xor_at_every_length_offset_and_alignment() {
        let plain: Vec<u8> = (0..200).map(|i| (i * 31 % 256) as u8).collect();
        for start in 0..8 {
            for len in 0..100 {
                for offset in 0..9 {
                    let mut fast = plain.clone();
                    unmask(&mut fast[start..start + len], KEY, offset);
                    let mut slow = plain.clone();
                    for (i, byte) in slow[start..start + len].iter_mut().enumerate() {
                        *byte ^= KEY[(offset + i) % 4];
                    }
                    assert_eq!(fast, slow, "from {start}, {len} bytes, offset {offset}");
                }
            }
        }
    }

    #[test]
    fn codes_that_may_be_sent() {
        let allowed = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
        for code in 0..=u16::MAX {
            let expected = allowed.contains(&code) || (3000..5000).contains(&code);
            assert_eq!(may_be_sent(code), expected, "{code}");
        }
    }

    #[test]
    fn errors_say_what_happened_and_fit_into_a_close_frame() {
        use ProtocolError::*;
        let rows = [
            (ReservedBit, 1002),
            (ReservedOpcode, 1002),
            (FragmentedControl, 1002),
            (ControlTooLong, 1002),
            (NotMasked, 1002),
            (Masked, 1002),
            (LengthNotMinimal, 1002),
            (LengthOutOfRange, 1002),
            (UnexpectedContinuation, 1002),
            (UnfinishedMessage, 1002),
            (MessageTooBig, 1009),
            (TooManyFragments, 1008),
            (NotDeflated, 1007),
            (TextNotUtf8, 1007),
            (CloseTooShort, 1002),
            (CloseCodeNotAllowed, 1002),
            (CloseReasonNotUtf8, 1007),
        ];
        for (error, code) in rows {
            let text = error.to_string();
            assert_eq!(error.close_code(), code, "{text}");
            assert!(text.contains(' ') && text.len() <= MAX_CONTROL - 2, "{text}");
            assert_eq!(encode_close(Some(code), &text).len(), 4 + text.len());
        }
    }
}
