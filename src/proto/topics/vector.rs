//! Where the channels of a stream stand, as the `id:` of an event says it: in triples of a channel,
//! its facility and a position, with one space between all words.

use std::borrow::Cow;
use std::fmt;
use std::iter;
use std::ops::Range;

use super::command::decoded;
use super::header::word;
use super::{MAX_POSITION, MAX_VECTOR};

/// The positions of channels, in the order in which they came, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vector(String);

/// A channel and its facility as they are in a vector: two words.
pub fn pair(channel: &str, facility: &str) -> String {
    format!("{} {}", word(channel), word(facility))
}

impl Vector {
    /// Reads what a client gives back; nothing if that is no vector. What is said twice of a
    /// channel is as it was said last.
    pub fn parse(text: &str) -> Option<Vector> {
        if text.len() > MAX_VECTOR {
            return None;
        }
        let mut vector = Vector::default();
        let mut words = text.split(' ');
        while let Some(channel) = words.next() {
            let (channel, facility) = (some(channel)?, some(words.next()?)?);
            let position = words.next().filter(|word| is_position(word))?;
            vector.set(&pair(&channel, &facility), position);
        }
        Some(vector)
    }

    /// Notes where a channel stands, and says between which bytes of it the position is.
    pub fn set(&mut self, pair: &str, position: &str) -> Range<usize> {
        let at = match self.place_of(pair) {
            Some(place) if place.end == self.0.len() => {
                self.0.truncate(place.start);
                self.0.push_str(position);
                place.start
            }
            Some(place) => {
                self.0.replace_range(place.clone(), position);
                place.start
            }
            None => {
                let space = if self.0.is_empty() { "" } else { " " };
                // Most have one channel, for good.
                self.0.reserve_exact(space.len() + pair.len() + 1 + position.len());
                for part in [space, pair, " "] {
                    self.0.push_str(part);
                }
                self.0.push_str(position);
                self.0.len() - position.len()
            }
        };
        at..at + position.len()
    }

    /// Takes out what is so of the two words of a channel.
    pub fn take(&mut self, mut is_so: impl FnMut(&str) -> bool) -> Vector {
        let (mut taken, mut rest) = (Vector::default(), Vector::default());
        for (pair, position) in self.iter() {
            let to = if is_so(pair) { &mut taken } else { &mut rest };
            to.set(pair, position);
        }
        *self = rest;
        taken
    }

    /// The two words of each channel, and its position.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &self.0[..];
        iter::from_fn(move || {
            let (triple, behind) = rest.split_at(third_space(rest)?);
            rest = behind.strip_prefix(' ').unwrap_or_default();
            triple.rsplit_once(' ')
        })
    }

    /// Bytes of it as it is written, and a space behind it.
    pub fn written_bytes(&self) -> usize {
        self.0.len() + usize::from(!self.0.is_empty())
    }

    /// It as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Between which bytes the position of a channel is.
    fn place_of(&self, pair: &str) -> Option<Range<usize>> {
        // Most have one channel.
        let first = self.0.strip_prefix(pair).and_then(|behind| behind.strip_prefix(' '));
        if let Some(behind) = first {
            let at = pair.len() + 1;
            return Some(at..at + behind.find(' ').unwrap_or(behind.len()));
        }
        let mut begin = 0;
        self.iter().find_map(|(known, position)| {
            let at = begin + known.len() + 1;
            begin = at + position.len() + 1;
            (known == pair).then(|| at..at + position.len())
        })
    }
}

/// Where the third word ends, if there is one.
fn third_space(text: &str) -> Option<usize> {
    let ends = text.match_indices(' ').map(|(at, _)| at);
    ends.chain([text.len()]).nth(2)
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn some(word: &str) -> Option<Cow<'_, str>> {
    Some(word).filter(|word| !word.is_empty()).and_then(|word| decoded(word).ok())
}

/// What a position may be, whatever it means: it is given back in the line that it came from.
fn is_position(word: &str) -> bool {
    (1..=MAX_POSITION).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_read_and_written_as_it_was() {
        for text in [
            "broadcast chat/42 5-0",
            "broadcast a 5-0 user a @17.5c1f group:the%20staff 50%25%C3%A9 -",
        ] {
            let vector = Vector::parse(text).expect(text);
            assert_eq!((vector.to_string(), vector.written_bytes()), (text.into(), text.len() + 1));
        }
        let vector = Vector::parse("user %61 1-0 user b 2-0 user a 3-0").expect("a vector");
        assert_eq!(vector.to_string(), "user a 3-0 user b 2-0", "the last counts");
    }

    #[test]
    fn what_is_no_vector_is_none() {
        let long = format!("user a {}", "1".repeat(MAX_POSITION + 1));
        let longer = "user a 1-0 ".repeat(MAX_VECTOR / 10);
        for text in [
            "",
            " ",
            "1",
            "user",
            "user a",
            "user a ",
            "user a 5-0 ",
            " user a 5-0",
            "user  a 5-0",
            "user a 5-0 user",
            "user a 5-0 user a",
            "user %4 5-0",
            "user %ff 5-0",
            "user a 5\n0",
            "user a \u{e9}",
            "user a 5\r0",
            "user a 5\0-0",
            &long,
            &longer,
        ] {
            assert_eq!(Vector::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn channels_are_noted_and_taken_out() {
        let mut vector = Vector::default();
        assert!(vector.is_empty());
        for (facility, position) in [("a", "1-0"), ("b b", "2-0"), ("a", "3-0")] {
            vector.set(&pair("broadcast", facility), position);
        }
        assert_eq!(vector.to_string(), "broadcast a 3-0 broadcast b%20b 2-0");
        let taken = vector.take(|pair| pair.ends_with("b%20b"));
        let both = [vector.as_str(), taken.as_str()];
        assert_eq!((taken.iter().count(), both), (1, ["broadcast a 3-0", "broadcast b%20b 2-0"]));
        for position in ["12345-0", "1-0", "@17.5c1f"] {
            vector.set("user x", "0-0");
            let place = vector.set("broadcast a", position);
            let written = format!("broadcast a {position} user x 0-0");
            assert_eq!((vector.as_str(), &vector.as_str()[place]), (&written[..], position));
        }
    }
}
