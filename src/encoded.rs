//! L1: one message as the frames that its receivers want, each encoded once and shared.

use crate::outbox::Frame;
use crate::proto::frame::{self, Opcode};

/// A message and the frames made of it so far.
#[derive(Debug)]
pub struct Encoded<'a> {
    payload: &'a [u8],
    text: Option<Frame>,
    binary: Option<Frame>,
}

impl<'a> Encoded<'a> {
    /// A message of which no frame is made yet.
    pub fn new(payload: &'a [u8]) -> Self {
        Encoded { payload, text: None, binary: None }
    }

    /// The frame for a conn, which may want `binary` always. Else text stays text; what is not
    /// UTF-8 can only go out as binary (RFC 6455 section 8.1).
    pub fn frame(&mut self, binary: bool) -> Frame {
        if !binary && self.text.is_none() && std::str::from_utf8(self.payload).is_ok() {
            self.text = Some(frame::encode(Opcode::Text, self.payload));
        }
        match &self.text {
            Some(text) if !binary => text.clone(),
            _ => self
                .binary
                .get_or_insert_with(|| frame::encode(Opcode::Binary, self.payload))
                .clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

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
    }

    #[test]
    fn each_frame_is_made_once() {
        let mut encoded = Encoded::new(b"hi");
        assert!(Arc::ptr_eq(&encoded.frame(false), &encoded.frame(false)));
        assert!(Arc::ptr_eq(&encoded.frame(true), &encoded.frame(true)));
    }
}
