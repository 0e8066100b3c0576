//! A large message that has come whole, to be sent back as a server's frame from where it lies.
//!
//! It knows the peer's frame and ours: with a mask the one is four bytes longer than the other, so
//! that our header fits in front of the payload. What is not such a message is left to
//! [`Reader::next`].

use super::frame::{self, Opcode, ProtocolError, Role, decode, unmask};
use super::message::{Kind, Limits, Reader};

/// A whole message in the frame with which a server sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<'a> {
    /// Text or binary.
    pub kind: Kind,
    /// The frame, whose payload is not masked.
    pub frame: &'a [u8],
    /// Bytes of its header.
    pub head: usize,
}

impl<'a> Whole<'a> {
    /// The message's bytes.
    pub fn payload(&self) -> &'a [u8] {
        &self.frame[self.head..]
    }
}

impl Reader {
    /// Takes a message from the front of `input` that begins there, is of `least` bytes or more,
    /// and has come whole in one frame that is not compressed. `None` when what comes next is
    /// anything else: that is left to [`Reader::next`], as the verdict on what is wrong is.
    ///
    /// A server's reader alone has such messages.
    pub fn whole<'a>(
        &mut self,
        input: &mut &'a mut [u8],
        limits: &Limits,
        least: usize,
    ) -> Result<Option<Whole<'a>>, ProtocolError> {
        if input.len() < least || !self.is_between() || limits.role != Role::Server {
            return Ok(None);
        }
        let Ok(Some((header, begins))) = decode(input, limits.role, false) else {
            return Ok(None);
        };
        let (Opcode::Text | Opcode::Binary, Some(mask)) = (header.opcode, header.mask) else {
            return Ok(None);
        };
        let most = (input.len() - begins).min(limits.max_message) as u64;
        if !header.fin || !(least as u64..=most).contains(&header.len) {
            return Ok(None);
        }
        let len = header.len as usize;
        let (taken, rest) = std::mem::take(input).split_at_mut(begins + len);
        *input = rest;
        unmask(&mut taken[begins..], mask, 0);
        let kind = if header.opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
        if kind == Kind::Text && simdutf8::basic::from_utf8(&taken[begins..]).is_err() {
            return Err(self.fail(ProtocolError::TextNotUtf8));
        }
        let (made, head) = frame::head(header.opcode, len, None);
        let from = begins - head;
        taken[from..begins].copy_from_slice(&made[..head]);
        Ok(Some(Whole { kind, frame: &taken[from..], head }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { role: Role::Server, max_message: 70_000, max_fragments: 9, compression: false };

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let opcode = if first & 1 > 0 { Opcode::Text } else { Opcode::Binary };
        frame::encode_masked(opcode, payload, [1, 200, 3, 40], &mut bytes);
        bytes[0] = first;
        bytes
    }

    #[test]
    fn what_has_come_whole_is_the_frame_that_a_server_makes_of_it() {
        for len in [4, 125, 126, 127, 65_535, 65_536, 70_000] {
            for (first, opcode) in [(0x81, Opcode::Text), (0x82, Opcode::Binary)] {
                let payload: Vec<u8> = (0..len).map(|at| b'a' + (at % 25) as u8).collect();
                let mut bytes = masked(first, &payload);
                bytes.extend_from_slice(b"more");
                let mut input = &mut bytes[..];
                let whole = Reader::new().whole(&mut input, &LIMITS, 4).unwrap().unwrap();
                assert_eq!(whole.frame, &frame::encode(opcode, &payload)[..], "{len}");
                assert_eq!((whole.payload(), &*input), (&payload[..], &b"more"[..]), "{len}");
            }
        }
    }

    #[test]
    fn anything_else_is_left_as_it_is() {
        let part = |bytes: &[u8]| bytes[..bytes.len() - 1].to_vec();
        let rows = [
            ("small", masked(0x81, b"abc")),
            ("incomplete", part(&masked(0x81, b"abcd"))),
            ("too large", masked(0x82, &[0; 70_001])),
            ("a fragment", masked(0x01, b"abcd")),
            ("a continuation", masked(0x80, b"abcd")),
            ("compressed", masked(0xc1, b"abcd")),
            ("a ping", masked(0x89, b"abcd")),
            ("without a mask", b"\x81\x04abcd".to_vec()),
            ("nothing", Vec::new()),
        ];
        for (what, bytes) in rows {
            let mut given = bytes.clone();
            let mut input = &mut given[..];
            assert_eq!(Reader::new().whole(&mut input, &LIMITS, 4), Ok(None), "{what}");
            assert_eq!(&*input, &bytes[..], "{what}");
        }
        let mut reader = Reader::new();
        let mut begun = masked(0x01, b"a");
        assert_eq!(reader.next(&mut &mut begun[..], &LIMITS), Ok(None));
        let mut bytes = masked(0x82, b"abcd");
        assert_eq!(reader.whole(&mut &mut bytes[..], &LIMITS, 4), Ok(None), "within a message");
    }

    #[test]
    fn what_is_not_text_ends_the_stream() {
        let mut reader = Reader::new();
        let mut bytes = [masked(0x81, b"abc\xff"), masked(0x82, b"abcd")].concat();
        let mut input = &mut bytes[..];
        let refused = Err(ProtocolError::TextNotUtf8);
        assert_eq!(reader.whole(&mut input, &LIMITS, 4), refused);
        assert_eq!(reader.whole(&mut input, &LIMITS, 4), Ok(None));
        assert_eq!(reader.next(&mut input, &LIMITS).unwrap_err(), ProtocolError::TextNotUtf8);
    }
}
