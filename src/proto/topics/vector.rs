//! Where the channels of a stream stand, as the `id:` of an event says it: in triples of a channel,
//! its facility and a position, with one space between all words. It is written in short, and read
//! as messages say it, too: so a page writes it that has the positions from them.

use std::borrow::Cow;
use std::fmt;

use super::command::decoded;
use super::header::word;
use super::{MAX_VECTOR, short};

/// The positions of channels, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vector(Vec<(String, String)>);

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
            let (channel, position) = short::read(channel, words.next()?)?;
            vector.set(&pair(&channel, &facility), &position);
        }
        Some(vector)
    }

    /// Notes where a channel stands.
    pub fn set(&mut self, pair: &str, position: &str) {
        match self.0.iter_mut().find(|(known, _)| known == pair) {
            Some((_, at)) => {
                at.clear();
                at.push_str(position);
            }
            None => self.0.push((pair.to_owned(), position.to_owned())),
        }
    }

    /// Takes out what is so of the two words of a channel.
    pub fn take(&mut self, mut is_so: impl FnMut(&str) -> bool) -> Vector {
        let taken = self.0.extract_if(.., |(pair, _)| is_so(pair)).collect();
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        Vector(taken)
    }

    /// The two words of each channel, and its position.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(pair, position)| (&pair[..], &position[..]))
    }

    /// Bytes of it as messages say it, and a space behind it: it is no longer as it is written.
    pub fn written_bytes(&self) -> usize {
        self.0.iter().map(|(pair, position)| pair.len() + position.len() + 2).sum()
    }

    /// Appends it as it is written, behind a space where there is something in front of it.
    pub fn append(&self, out: &mut String) {
        for (pair, position) in &self.0 {
            out.push_str(if out.is_empty() { "" } else { " " });
            short::put(pair, position, out);
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(self.written_bytes());
        self.append(&mut out);
        f.write_str(&out)
    }
}

fn some(word: &str) -> Option<Cow<'_, str>> {
    Some(word).filter(|word| !word.is_empty()).and_then(|word| decoded(word).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_read_and_written_as_it_was() {
        for (text, short) in [
            ("broadcast chat/42 5-0", "b chat/42 5"),
            (
                "broadcast a 5-1 user a @17.5c1f group:the%20staff 50%25%C3%A9 -",
                "b a 5-1 u a @H.5c1f g:the%20staff 50%25%C3%A9 '-",
            ),
            ("users b 5-0", "users b 5-0"),
        ] {
            let vector = Vector::parse(text).expect(text);
            assert_eq!((&*vector.to_string(), vector.written_bytes()), (short, text.len() + 1));
            assert_eq!(Vector::parse(short), Some(vector));
        }
        let vector = Vector::parse("user %61 1-0 u b 2 u a 3").expect("a vector");
        assert_eq!(vector.to_string(), "u a 3 u b 2", "the last counts");
    }

    #[test]
    fn what_is_no_vector_is_none() {
        let long = format!("user a {}", "1".repeat(super::super::MAX_POSITION + 1));
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
            "u a -0",
            "u a zzzzzzzzzzzz",
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
        assert_eq!(vector.to_string(), "b a 3 b b%20b 2");
        let taken = vector.take(|pair| pair.ends_with("b%20b"));
        let mut both = vector.to_string();
        taken.append(&mut both);
        assert_eq!((taken.iter().count(), both), (1, "b a 3 b b%20b 2".into()));
    }
}
