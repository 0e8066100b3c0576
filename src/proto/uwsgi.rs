//! L0: uWSGI's own protocol, from the side of who asks: the variables of a request in one packet.
//!
//! Four bytes of head (a modifier, the length of the rest in 16 bits, another modifier) go before
//! variables of a 16-bit length each, name and value; the body follows as it is. The answer is
//! HTTP.

/// Most bytes of variables in a packet.
pub const MAX_VARIABLES: usize = u16::MAX as usize;

/// One packet of variables under way.
#[derive(Debug)]
pub struct Packet {
    bytes: Vec<u8>,
}

impl Default for Packet {
    fn default() -> Self {
        Packet { bytes: vec![0; HEAD] }
    }
}

const HEAD: usize = 4;

impl Packet {
    /// Adds a variable.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.text(&[name.as_bytes()]);
        self.text(&[value]);
    }

    /// Adds the variable of a header line: `HTTP_` and its name, in capitals and with `_` for `-`.
    pub fn push_header(&mut self, name: &str, value: &[u8]) {
        let capital = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() };
        let name: Vec<u8> = name.bytes().map(capital).collect();
        self.text(&[b"HTTP_", &name]);
        self.text(&[value]);
    }

    /// All of it; nothing when it is too large for the protocol.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        let length = u16::try_from(self.bytes.len() - HEAD).ok()?;
        self.bytes[1..3].copy_from_slice(&length.to_le_bytes());
        Some(self.bytes)
    }

    fn text(&mut self, parts: &[&[u8]]) {
        // One that is longer makes the whole too large, whatever its length says.
        let length = parts.iter().map(|part| part.len()).sum::<usize>() as u16;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_as_uwsgi_reads_it() {
        let mut packet = Packet::default();
        packet.push("REQUEST_METHOD", b"GET");
        packet.push_header("X-a", b"");
        let expected = b"\0\x20\0\0\x0e\0REQUEST_METHOD\x03\0GET\x08\0HTTP_X_A\0\0";
        let bytes = packet.finish().expect("it is small");
        assert_eq!(bytes.len(), 4 + 2 + 14 + 2 + 3 + 2 + 8 + 2);
        let length = (bytes.len() - 4) as u8;
        assert_eq!(bytes[..4], [0, length, 0, 0]);
        assert_eq!(bytes[4..], expected[4..]);
    }

    #[test]
    fn what_is_too_large_is_no_packet() {
        for (length, fits) in
            [(MAX_VARIABLES - 5, true), (MAX_VARIABLES - 4, false), (70_000, false)]
        {
            let mut packet = Packet::default();
            packet.push("A", &vec![b'x'; length]);
            assert_eq!(packet.finish().is_some(), fits, "{length}");
        }
    }
}
