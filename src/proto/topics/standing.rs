//! Where the channels of a stream stand, as a line that is ready to be said: the channel whose
//! position has changed last comes last.
//!
//! So what is in front of that one is the same for one event as for the next of its channel, and
//! is kept as it is said; and what is about the channel itself is the same for all streams, which
//! share it.

use std::sync::Arc;

use super::short;

/// How the line begins, and all that is in front of a channel that is alone.
pub const ID: &str = "id: ";

/// Where one channel stands, as an `id:` says it: its two words and the position in short, with one
/// space between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    triple: Arc<str>,
    /// Bytes of its two words.
    pair: usize,
}

/// The positions of channels as an `id:` says them, in triples with one space between all words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The line up to the last triple, if there are others.
    before: Option<Arc<[u8]>>,
    last: Option<Stand>,
}

/// What is in front of a channel that was put last, and where all stood before: so those that stood
/// there too share it.
#[derive(Debug)]
pub struct Moved {
    from: Standing,
    before: Arc<[u8]>,
}

impl Stand {
    /// That of the channel of these two words.
    pub fn new(pair: &str, position: &str) -> Self {
        let mut triple = String::with_capacity(pair.len() + position.len() + 2);
        let pair = short::put(pair, position, &mut triple);
        Stand { triple: triple.into(), pair }
    }

    /// The three words.
    pub fn triple(&self) -> &str {
        &self.triple
    }

    fn pair(&self) -> &str {
        &self.triple[..self.pair]
    }

    fn position(&self) -> &str {
        &self.triple[self.pair + 1..]
    }
}

impl Standing {
    /// Notes where a channel stands, which then is the last. What became the line of the one that
    /// this channel was put last in before may be known.
    #[inline]
    pub fn set(&mut self, stand: &Stand, known: &mut Option<Moved>) {
        match &mut self.last {
            Some(last) if last.pair() == stand.pair() => last.triple = stand.triple.clone(),
            _ => self.put_last(stand, known),
        }
    }

    #[inline(never)]
    fn put_last(&mut self, stand: &Stand, known: &mut Option<Moved>) {
        if self.last.is_some() {
            let moved = match known.take().filter(|moved| moved.from == *self) {
                Some(moved) => moved,
                None => Moved { from: self.clone(), before: self.all_but(stand.pair()) },
            };
            self.before = Some(known.insert(moved).before.clone());
        }
        self.last = Some(stand.clone());
    }

    /// How the line begins that says where channels stand: all but the last one, and a space behind
    /// each. There is none if there are no others.
    pub fn before(&self) -> Option<&Arc<[u8]>> {
        self.before.as_ref()
    }

    /// The beginning of that line with more in front of it.
    pub fn behind(&self, others: &str) -> Arc<[u8]> {
        [ID, others, " ", self.others()].concat().into_bytes().into()
    }

    /// The position of the channel of these two words.
    pub fn of(&self, pair: &str) -> Option<String> {
        let pair = &*short::pair(pair);
        if let Some(last) = self.last.as_ref().filter(|last| last.pair() == pair) {
            return short::position(pair, last.position());
        }
        let found = triples(self.others()).find(|triple| is_of(triple, pair))?;
        short::position(pair, found.trim_end_matches(' ').get(pair.len() + 1..)?)
    }

    /// Bytes of it as it is written, and a space behind it.
    pub fn written_bytes(&self) -> usize {
        self.others().len() + self.last.as_ref().map_or(0, |last| last.triple.len() + 1)
    }

    /// How the line begins that says where all stand but the channel of these two words.
    fn all_but(&self, pair: &str) -> Arc<[u8]> {
        let last = self.last.as_ref().map_or("", Stand::triple);
        let mut line = String::with_capacity(ID.len() + self.written_bytes());
        line.push_str(ID);
        triples(self.others()).filter(|triple| !is_of(triple, pair)).for_each(|triple| {
            line.push_str(triple);
        });
        line.push_str(last);
        line.push(' ');
        line.into_bytes().into()
    }

    /// What is said of all channels but the last, with a space behind each.
    fn others(&self) -> &str {
        let line = self.before.as_deref().unwrap_or_default();
        line.get(ID.len()..).and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default()
    }
}

/// The triples of a text, with the space behind each.
fn triples(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let end = text.match_indices(' ').nth(2).map_or(text.len(), |(at, _)| at + 1);
        let (triple, rest) = text.split_at(end);
        text = rest;
        (!triple.is_empty()).then_some(triple)
    })
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
        assert_eq!((standing.before(), standing.written_bytes()), (None, 0));
        for (pair, position, before) in [
            ("user a", "1-0", ""),
            ("user a", "10-1", ""),
            ("user aa", "2-0", "u a A-1 "),
            ("user aa", "3-0", "u a A-1 "),
            ("user a", "11-0", "u aa 3 "),
            ("group:b c", "@1", "u aa 3 u a B "),
            ("user a", "4-0", "u aa 3 g:b c '@1 "),
            ("user aa", "5-0", "g:b c '@1 u a 4 "),
        ] {
            standing.set(&Stand::new(pair, position), &mut None);
            let line = standing.before().map(|line| String::from_utf8_lossy(line).into_owned());
            let wanted = (!before.is_empty()).then(|| format!("id: {before}"));
            assert_eq!(line, wanted);
            assert_eq!(standing.of(pair).as_deref(), Some(position));
            let last = Stand::new(pair, position);
            assert_eq!(standing.written_bytes(), before.len() + last.triple().len() + 1);
            let line = standing.behind("s e 1-1");
            assert_eq!(String::from_utf8_lossy(&line), format!("id: s e 1-1 {before}"));
        }
        let of = |pair| standing.of(pair);
        assert_eq!((of("group:b c"), of("user a")), (Some("@1".into()), Some("4-0".into())));
        assert_eq!((of("user b"), of("c '@1"), of("a 4")), (None, None, None));
    }

    #[test]
    fn what_is_in_front_is_kept_while_the_last_is_the_same() {
        let mut standing = Standing::default();
        for (pair, position) in [("a", "1-0"), ("b", "1-0")] {
            standing.set(&Stand::new(&format!("user {pair}"), position), &mut None);
        }
        let line = standing.before().expect("another").clone();
        standing.set(&Stand::new("user b", "2-0"), &mut None);
        assert!(standing.before().is_some_and(|kept| Arc::ptr_eq(kept, &line)));
    }

    #[test]
    fn those_that_stood_at_the_same_share_what_is_in_front() {
        let standing = |places: &[(&str, &str)]| {
            let mut standing = Standing::default();
            for (pair, position) in places {
                standing.set(&Stand::new(pair, position), &mut None);
            }
            standing
        };
        let mut known = None;
        let mut lines = Vec::new();
        for places in [
            &[("user a", "1-0"), ("user b", "1-0")][..],
            &[("user a", "1-0"), ("user b", "1-0")],
            &[("user a", "1-0"), ("user b", "2-0")],
            &[("user c", "1-0"), ("user a", "1-0"), ("user b", "2-0")],
            &[("user c", "1-0"), ("user a", "1-0"), ("user b", "2-0")],
            &[("user a", "1-0")],
            &[("user b", "2-0")],
            &[],
        ] {
            let mut standing = standing(places);
            standing.set(&Stand::new("user a", "5-0"), &mut known);
            lines.push(standing.before().cloned());
        }
        let text = |at: usize| lines[at].as_deref().map(|line| std::str::from_utf8(line).unwrap());
        assert_eq!((text(0), text(2)), (Some("id: u b 1 "), Some("id: u b 2 ")));
        assert_eq!((text(3), text(6)), (Some("id: u c 1 u b 2 "), text(2)));
        assert_eq!((text(5), text(7)), (None, None));
        let is_one = |a: usize, b: usize| match (&lines[a], &lines[b]) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        assert!(is_one(0, 1) && is_one(3, 4) && !is_one(2, 6));
    }
}
