//! Where the channels of a stream stand, as one text that is ready to be said: the channel whose
//! position has changed last comes last.
//!
//! So what is in front of that one is the same for one event as for the next of its channel, and
//! what is about the channel itself is the same for all streams.

/// The positions of channels as an `id:` says them, in triples with one space between all words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    text: String,
    /// Where the last triple begins.
    last: usize,
}

impl Standing {
    /// Notes where a channel stands, by its two words, which then is the last.
    pub fn set(&mut self, pair: &str, position: &str) {
        if !is_of(&self.text[self.last..], pair) {
            if let Some((start, end)) = self.find(pair) {
                self.text.replace_range(start..end, "");
                self.text.truncate(self.text.trim_end_matches(' ').len());
            }
            self.last = match self.text.len() {
                0 => 0,
                len => len + 1,
            };
        }
        self.text.truncate(self.last);
        let missing = pair.len() + position.len() + 2;
        self.text.reserve_exact(missing);
        if self.last > self.text.len() {
            self.text.push(' ');
        }
        for part in [pair, " ", position] {
            self.text.push_str(part);
        }
    }

    /// What is said of all channels but the last one, and a space behind it, if there is something.
    pub fn before(&self) -> &str {
        &self.text[..self.last]
    }

    /// The position of the channel of these two words.
    pub fn of(&self, pair: &str) -> Option<&str> {
        let (start, end) = self.find(pair)?;
        self.text[start..end].trim_end_matches(' ').get(pair.len() + 1..)
    }

    /// Bytes of it as it is written, and a space behind it.
    pub fn written_bytes(&self) -> usize {
        self.text.len() + usize::from(!self.text.is_empty())
    }

    /// Where the triple of a channel is, with the space behind it.
    fn find(&self, pair: &str) -> Option<(usize, usize)> {
        let mut start = 0;
        while start < self.text.len() {
            let spaces = self.text[start..].match_indices(' ').map(|(at, _)| start + at + 1);
            let end = spaces.take(3).nth(2).unwrap_or(self.text.len());
            if is_of(&self.text[start..end], pair) {
                return Some((start, end));
            }
            start = end;
        }
        None
    }
}

/// Whether a triple is about the channel of these two words.
fn is_of(triple: &str, pair: &str) -> bool {
    triple.strip_prefix(pair).is_some_and(|rest| rest.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_last_comes_last() {
        let mut standing = Standing::default();
        assert_eq!((standing.before(), standing.written_bytes()), ("", 0));
        for (pair, position, before, text) in [
            ("user a", "1-0", "", "user a 1-0"),
            ("user a", "10-0", "", "user a 10-0"),
            ("user aa", "2-0", "user a 10-0 ", "user a 10-0 user aa 2-0"),
            ("user aa", "3-0", "user a 10-0 ", "user a 10-0 user aa 3-0"),
            ("user a", "11-0", "user aa 3-0 ", "user aa 3-0 user a 11-0"),
            ("b c", "@1", "user aa 3-0 user a 11-0 ", "user aa 3-0 user a 11-0 b c @1"),
            ("user a", "4-0", "user aa 3-0 b c @1 ", "user aa 3-0 b c @1 user a 4-0"),
            ("user aa", "5-0", "b c @1 user a 4-0 ", "b c @1 user a 4-0 user aa 5-0"),
        ] {
            standing.set(pair, position);
            assert_eq!((standing.before(), &standing.text[..]), (before, text));
            assert_eq!(standing.of(pair), Some(position));
            assert_eq!(standing.written_bytes(), text.len() + 1);
        }
        assert_eq!((standing.of("b c"), standing.of("user b")), (Some("@1"), None));
        assert_eq!((standing.of("c @1"), standing.of("a 4-0")), (None, None));
    }
}
