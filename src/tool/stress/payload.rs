//! L4: what the messages of a run say: whose they are, their number and when they were sent.
//!
//! A payload is text: 8 hexadecimal digits for the run, 8 for the number, 16 for the nanoseconds,
//! and a filler that every payload of the run has in common. A message of another run, which a
//! broker may have stored, is told from one that was spoilt on its way.

/// Bytes in front of the filler, and so of the smallest payload.
pub(crate) const LEAST: usize = 32;

/// Writes and reads the payloads of one run.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    run: [u8; 8],
    filler: Vec<u8>,
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A message of this run.
    Ours {
        /// Its number.
        number: u32,
        /// When it was sent.
        sent_ns: u64,
    },
    /// A message of another run.
    Foreign,
    /// Nothing that any run sends.
    Corrupt,
}

impl Payload {
    /// Payloads of so many bytes, at least [`LEAST`].
    pub(super) fn new(run: u32, size: usize) -> Payload {
        let filler = (b'a'..=b'z').cycle().take(size.saturating_sub(LEAST)).collect();
        Payload { run: *hex(u64::from(run), &mut [0; 8]), filler }
    }

    /// Appends one.
    pub(super) fn write(&self, number: u32, sent_ns: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.run);
        out.extend_from_slice(hex(u64::from(number), &mut [0; 8]));
        out.extend_from_slice(hex(sent_ns, &mut [0; 16]));
        out.extend_from_slice(&self.filler);
    }

    /// Reads one.
    pub(super) fn read(&self, bytes: &[u8]) -> Received {
        let parsed = bytes.split_at_checked(LEAST).and_then(|(head, filler)| {
            let (run, rest) = head.split_at(8);
            let (number, sent) = rest.split_at(8);
            let number = u32::try_from(value(number)?).ok()?;
            value(run).map(|_| (run, number, value(sent), filler))
        });
        match parsed {
            Some((run, number, Some(sent_ns), filler)) if run == self.run => {
                if filler == self.filler {
                    Received::Ours { number, sent_ns }
                } else {
                    Received::Corrupt
                }
            }
            Some((run, _, Some(_), _)) if run != self.run => Received::Foreign,
            _ => Received::Corrupt,
        }
    }
}

/// The low digits of a number.
fn hex<const DIGITS: usize>(mut number: u64, digits: &mut [u8; DIGITS]) -> &[u8; DIGITS] {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number % 16) as usize];
        number /= 16;
    }
    digits
}

fn value(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| match digit {
        b'0'..=b'9' => Some(value << 4 | u64::from(digit - b'0')),
        b'a'..=b'f' => Some(value << 4 | u64::from(digit - b'a' + 10)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for (size, number, sent_ns) in
            [(LEAST, 0, 0), (33, u32::MAX, u64::MAX), (4096, 77, 1 << 40)]
        {
            let payload = Payload::new(0xfeed, size);
            let mut bytes = Vec::new();
            payload.write(number, sent_ns, &mut bytes);
            assert_eq!(bytes.len(), size);
            assert!(bytes.is_ascii());
            assert_eq!(payload.read(&bytes), Received::Ours { number, sent_ns });
        }
    }

    #[test]
    fn what_was_spoilt_is_noticed_wherever_it_was() {
        let payload = Payload::new(0xfeed, 64);
        let mut good = Vec::new();
        payload.write(3, 5, &mut good);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] = b'!';
            assert_eq!(payload.read(&bad), Received::Corrupt, "{at}");
            assert_eq!(payload.read(&good[..at]), Received::Corrupt, "{at}");
        }
        assert_eq!(payload.read(&[&good[..], b"a"].concat()), Received::Corrupt);
        assert_eq!(payload.read(b""), Received::Corrupt);
        assert_eq!(payload.read("é".repeat(32).as_bytes()), Received::Corrupt);
        let mut other = Vec::new();
        Payload::new(0xfeee, 80).write(3, 5, &mut other);
        assert_eq!(payload.read(&other), Received::Foreign);
    }
}
