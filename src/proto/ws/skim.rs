//! Frames passed over: what a peer still sends behind our close frame, until its own.
//!
//! It knows where frames end, and judges nothing: whoever has been sent a close frame for what it
//! did wrong may go on doing that. RFC 6455 section 7.1.7 asks no more of who closes.

use super::frame::MAX_HEADER;

/// The opcode of a close frame, with the bits of the first byte that say so.
const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 8;
const MASKED: u8 = 0x80;

/// Where in a peer's frames it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skim {
    /// Bytes of a payload still to come.
    left: u64,
    /// The first bytes of a header.
    head: [u8; MAX_HEADER],
    /// How many those are.
    len: u8,
}

impl Skim {
    /// It begins in a payload of which so many bytes are still to come.
    pub(super) fn in_payload(left: u64) -> Skim {
        Skim { left, ..Skim::default() }
    }

    /// It begins behind the first bytes of a header.
    pub(super) fn in_header(bytes: &[u8]) -> Skim {
        let mut skim = Skim::default();
        skim.pass(bytes);
        skim
    }

    /// Passes over bytes that arrived; true when a close frame begins there.
    pub fn pass(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let piece = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= piece as u64;
            bytes = &bytes[piece..];
            let [byte, rest @ ..] = bytes else { return false };
            bytes = rest;
            self.head[usize::from(self.len)] = *byte;
            self.len += 1;
            let head = &self.head[..usize::from(self.len)];
            if head[0] & OPCODE == CLOSE && head.len() == 2 {
                return true;
            }
            if let Some(length) = payload_length(head) {
                (self.left, self.len) = (length, 0);
            }
        }
    }
}

/// The length that a whole header says; `None` for a part of one.
fn payload_length(head: &[u8]) -> Option<u64> {
    let (_, rest) = head.split_first()?;
    let (second, rest) = rest.split_first()?;
    let (bytes, rest) = match second & !MASKED {
        126 => rest.split_at_checked(2)?,
        127 => rest.split_at_checked(8)?,
        _ => rest.split_at(0),
    };
    let masked = second & MASKED != 0;
    let whole = rest.len() == if masked { 4 } else { 0 };
    let length = match bytes {
        [] => u64::from(second & !MASKED),
        bytes => bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    whole.then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ws::frame::{self, Opcode};

    fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame::encode_masked(opcode, payload, [1, 2, 3, 4], &mut out);
        out
    }

    #[test]
    fn a_close_is_found_behind_frames_of_any_length_however_they_are_cut() {
        let mut before = Vec::new();
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            before.extend(masked(Opcode::Binary, &vec![0x88; length]));
            before.extend_from_slice(&frame::encode(Opcode::Text, &vec![0x88; length]));
        }
        // Frames that no peer may send end where they say.
        before.extend([0xf3, 0x83, 0x88, 0, 0, 0, 1, 2, 3, 0x0b, 0x01, 0x88]);
        let close = masked(Opcode::Close, b"");
        for step in [1, 2, 3, 7, 1000, before.len()] {
            let mut skim = Skim::default();
            assert!(!before.chunks(step).any(|piece| skim.pass(piece)), "step {step}");
            assert!(!skim.pass(&close[..1]) && skim.pass(&close[1..]), "step {step}");
        }
        let whole = [&before[..], &close].concat();
        assert!(Skim::default().pass(&whole));
    }

    #[test]
    fn it_begins_where_a_frame_is_cut() {
        let close = masked(Opcode::Close, b"");
        let mut skim = Skim::in_payload(3);
        assert!(!skim.pass(b"\x88\x80\x88") && skim.pass(&close));
        let mut skim = Skim::in_header(&[0x82, 126, 0]);
        assert!(!skim.pass(b"\x02\x88\x80") && skim.pass(&close));
        let mut skim = Skim::in_header(&[0x88]);
        assert!(skim.pass(&close[1..]));
        // A length that no peer means: nothing is found, and nothing breaks.
        let mut skim = Skim::in_header(&[0x82, 127]);
        assert!(!skim.pass(&[0xff; 8]) && !skim.pass(&close));
    }
}
