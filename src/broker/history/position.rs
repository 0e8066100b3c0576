//! L1: a position in a channel's history, as a client has it: one word.
//!
//! That of an entry is good as long as the entry is there. That of a time at which there was no
//! entry has an epoch, the broker's life: what a broker forgets with its life nobody can tell.

use std::fmt;

use super::Offset;
use super::reading::Place;

/// A position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Where it is.
    pub place: Place,
    /// Of a time alone.
    pub epoch: u32,
}

impl Position {
    /// Reads what it prints.
    pub fn parse(word: &str) -> Option<Position> {
        let Some(time) = word.strip_prefix('@') else {
            return Offset::parse_id(word)
                .map(|offset| Position { place: Place::Entry(offset), epoch: 0 });
        };
        let (ms, epoch) = time.split_once('.')?;
        let is_plain = ms.bytes().all(|byte| byte.is_ascii_digit());
        let epoch = u32::from_str_radix(epoch, 16).ok().filter(|_| is_plain)?;
        Some(Position { place: Place::Time(ms.parse().ok()?), epoch })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Entry(offset) => offset.fmt(f),
            Place::Time(ms) => write!(f, "@{ms}.{:x}", self.epoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_position_and_back() {
        for word in ["5-0", "1732791234567-12", "@0.0", "@1732791234567.5c1f"] {
            assert_eq!(Position::parse(word).expect(word).to_string(), word);
        }
        for word in ["", "-", "5", "5-", "@", "@5", "@5.", "@5.x", "@+5.1", "@-5.1", "5-0.1"] {
            assert_eq!(Position::parse(word), None, "{word}");
        }
    }
}
