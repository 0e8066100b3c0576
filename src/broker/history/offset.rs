//! L1: where an entry stands in its stream, as Redis says it: milliseconds of the broker's clock,
//! and a number among those of one millisecond.

use std::fmt;

/// The place of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset {
    /// Milliseconds of Unix time, at the broker.
    pub ms: u64,
    /// Its number in that millisecond.
    pub seq: u64,
}

/// Which end of a range an offset is, where it does not say everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// What a range begins with.
    First,
    /// What it ends with.
    Last,
}

impl Offset {
    /// The last that there can be.
    pub(crate) const MAX: Offset = Offset { ms: u64::MAX, seq: u64::MAX };

    /// The place behind this one, at that time or later.
    pub(crate) fn after(self, unix_ms: u64) -> Offset {
        match unix_ms > self.ms {
            true => Offset { ms: unix_ms, seq: 0 },
            false => self.next(),
        }
    }

    /// The next place.
    pub(crate) fn next(self) -> Offset {
        match self.seq.checked_add(1) {
            Some(seq) => Offset { seq, ..self },
            None => Offset { ms: self.ms.saturating_add(1), seq: 0 },
        }
    }

    /// The place before.
    pub(crate) fn before(self) -> Option<Offset> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Offset { seq, ..self }),
            None => Some(Offset { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Reads an end of a range: `-`, `+`, milliseconds alone, or both; a bracket before it leaves
    /// out the place itself.
    pub(crate) fn parse_end(text: &[u8], bound: Bound) -> Option<Offset> {
        match (text, bound) {
            (b"-", _) => return Some(Offset::default()),
            (b"+", _) => return Some(Offset::MAX),
            ([b'(', rest @ ..], Bound::First) => {
                return Offset::parse(rest, bound).map(Offset::next);
            }
            ([b'(', rest @ ..], Bound::Last) => return Offset::parse(rest, bound)?.before(),
            _ => {}
        }
        Offset::parse(text, bound)
    }

    /// Reads what it prints.
    pub(crate) fn parse_id(text: &str) -> Option<Offset> {
        text.contains('-').then(|| Offset::parse(text.as_bytes(), Bound::First))?
    }

    /// Reads what it prints, or the milliseconds alone.
    fn parse(text: &[u8], bound: Bound) -> Option<Offset> {
        let number = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?
        };
        let text = std::str::from_utf8(text).ok()?;
        match text.split_once('-') {
            Some((ms, seq)) => Some(Offset { ms: number(ms)?, seq: number(seq)? }),
            None if bound == Bound::First => Some(Offset { ms: number(text)?, seq: 0 }),
            None => Some(Offset { ms: number(text)?, seq: u64::MAX }),
        }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_place_is_larger_whatever_the_clock_does() {
        let mut last = Offset::default();
        for unix_ms in [5, 5, 7, 3, 3, 8] {
            let next = last.after(unix_ms);
            assert!(next > last, "{next} is not behind {last}");
            last = next;
        }
        assert_eq!(last.to_string(), "8-0");
        assert_eq!(Offset { ms: 1, seq: u64::MAX }.after(0), Offset { ms: 2, seq: 0 });
    }

    #[test]
    fn ends_of_ranges_are_read_as_redis_does() {
        let of = |ms, seq| Some(Offset { ms, seq });
        for (text, first, last) in [
            ("-", of(0, 0), of(0, 0)),
            ("+", Some(Offset::MAX), Some(Offset::MAX)),
            ("5", of(5, 0), of(5, u64::MAX)),
            ("5-3", of(5, 3), of(5, 3)),
            ("(5-3", of(5, 4), of(5, 2)),
            ("(5-0", of(5, 1), of(4, u64::MAX)),
            ("(0-0", of(0, 1), None),
            ("", None, None),
            ("(", None, None),
            ("x", None, None),
            ("5-", None, None),
            ("-5", None, None),
            ("+5", None, None),
            ("5-3-1", None, None),
            ("99999999999999999999-0", None, None),
        ] {
            assert_eq!(Offset::parse_end(text.as_bytes(), Bound::First), first, "{text}");
            assert_eq!(Offset::parse_end(text.as_bytes(), Bound::Last), last, "{text}");
        }
    }
}
