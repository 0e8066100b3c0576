//! L3: the little of a certificate that TLS itself does not look at on the side that shows it: from
//! when until when it is valid, whose it is, and who has signed it.
//!
//! It reads DER of the operator's own files, and takes what it does not understand for nothing.

/// What is read of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Certificate<'a> {
    /// Who has signed it, as its name is encoded.
    pub issuer: &'a [u8],
    /// Whose it is.
    pub subject: &'a [u8],
    /// Seconds since 1970 from which it is valid.
    pub from: i64,
    /// Those after which it is not.
    pub until: i64,
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Reads a certificate (RFC 5280 section 4.1).
pub(super) fn read(der: &[u8]) -> Option<Certificate<'_>> {
    let certificate = take(der)?;
    let mut body = take(certificate)?;
    if body.first() == Some(&VERSION) {
        next(&mut body)?;
    }
    let (tag, _) = next(&mut body)?;
    let (algorithm, _) = next(&mut body)?;
    if (tag, algorithm) != (INTEGER, SEQUENCE) {
        return None;
    }
    let (_, issuer) = next(&mut body)?;
    let (_, mut validity) = next(&mut body)?;
    let (_, subject) = next(&mut body)?;
    let from = time(next(&mut validity)?)?;
    let until = time(next(&mut validity)?)?;
    Some(Certificate { issuer, subject, from, until })
}

/// The content of a sequence.
fn take(mut bytes: &[u8]) -> Option<&[u8]> {
    next(&mut bytes).filter(|(tag, _)| *tag == SEQUENCE).map(|(_, content)| content)
}

/// The next element: its tag and its content.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ ..0x80 => (usize::from(*short), rest),
        long => {
            let digits = usize::from(long & 0x7f);
            let number = rest.get(..digits).filter(|_| (1..=4).contains(&digits))?;
            let length = number.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, &rest[digits..])
        }
    };
    let content = rest.get(..length)?;
    *bytes = &rest[length..];
    Some((*tag, content))
}

/// Seconds since 1970 of `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let pair = |at: usize| -> Option<i64> {
        let pair = digits.get(at..at + 2).filter(|pair| pair.iter().all(u8::is_ascii_digit))?;
        Some(i64::from(pair[0] - b'0') * 10 + i64::from(pair[1] - b'0'))
    };
    let (year, at) = match tag {
        UTC_TIME => (pair(0).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        GENERALIZED_TIME => (pair(0)? * 100 + pair(2)?, 4),
        _ => return None,
    };
    let (month, day) = (pair(at)?, pair(at + 2)?);
    let seconds = (pair(at + 4)? * 60 + pair(at + 6)?) * 60 + pair(at + 8)?;
    (digits.len() == at + 10).then(|| days(year, month, day) * 86_400 + seconds)
}

/// Days from 1970 to a date, counted in years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let utc = |text: &str| time((UTC_TIME, text.as_bytes()));
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("261127165000Z"), Some(1_795_798_200));
        assert_eq!(utc("491231235959Z"), Some(2_524_607_999));
        assert_eq!(time((GENERALIZED_TIME, b"20000229120000Z")), Some(951_825_600));
        assert_eq!(time((GENERALIZED_TIME, b"20500101000000Z")), Some(2_524_608_000));
        for wrong in ["7001010000Z", "700101000000", "70010100000xZ", "700101000000+0100"] {
            assert_eq!(utc(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_nothing() {
        for bytes in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x30\x00"] {
            assert_eq!(read(bytes), None);
        }
    }
}
