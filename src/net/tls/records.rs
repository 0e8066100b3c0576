//! L3: where records end, which their heads say in clear.

/// The bytes of a record's head: its type, a version, and the length of the rest.
const HEAD: usize = 5;
/// The type of the records that a handshake begins with.
const HANDSHAKE: u8 = 22;
/// The first byte of an older kind of greeting, which is refused in the words of TLS.
const OLDER: u8 = 0x80;

/// How many records these bytes are; the last may be incomplete.
pub(super) fn count(mut bytes: &[u8]) -> u32 {
    let mut records = 0;
    while let Some(rest) = bytes.get(HEAD..) {
        let length = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
        bytes = rest.get(length..).unwrap_or(&[]);
        records += 1;
    }
    records
}

/// Whether a peer whose first byte this is speaks TLS, as far as can be told: no text begins so.
pub(super) fn begins(first: u8) -> bool {
    first == HANDSHAKE || first >= OLDER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_by_their_heads() {
        let record = |length: u16| {
            let [high, low] = length.to_be_bytes();
            [&[23, 3, 3, high, low][..], &vec![7; usize::from(length)]].concat()
        };
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&record(0)), 1);
        assert_eq!(count(&[record(1), record(0), record(300)].concat()), 3);
        assert_eq!(count(&[record(1), record(9)[..8].to_vec()].concat()), 2);
    }

    #[test]
    fn text_is_no_tls() {
        assert!(begins(22) && begins(0x80));
        assert!(!b"GET P\r\n\0 ".iter().any(|byte| begins(*byte)));
    }
}
