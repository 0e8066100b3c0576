//! L1: what came into a channel's history since a place, as one script of wsloop's own asks Redis.
//!
//! A place is that of an entry, or a time at which there was none. What came since an entry is
//! known to be whole while that entry is there: entries go from the front, and all together. So no
//! epoch is needed for a stream that is trimmed, expires, is deleted or is lost in a failover: the
//! entry is gone with it. What came since a time is known to be whole while nothing can have been
//! trimmed or have expired since: for the rule's seconds, as long as there are fewer messages than
//! the rule has.
//!
//! The script answers with one string, which the link reads as it reads any value: whether all is
//! there, where the stream ends, and the entries.

use super::{HistorySize, Offset, stream_of};
use crate::proto::resp;

const SCRIPT: &str = include_str!("read.lua");

/// A place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// That of an entry.
    Entry(Offset),
    /// The time, in Unix milliseconds at the broker, at which there was no entry.
    Time(u64),
}

/// What is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Since when; `None` asks only where the stream ends.
    pub since: Option<Place>,
    /// What the rule of the channel says.
    pub size: HistorySize,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Since<'a> {
    /// The messages since the place, the oldest first; `None` when some may be missing.
    pub messages: Option<Vec<&'a [u8]>>,
    /// Where the stream ends.
    pub end: Place,
}

impl Place {
    /// The first offset behind it.
    pub(crate) fn first_behind(self) -> Offset {
        match self {
            Place::Entry(offset) => offset.next(),
            Place::Time(ms) => Offset { ms, seq: 0 },
        }
    }
}

impl Reading {
    /// Appends the command that asks for it, and for no more than so many bytes of entries.
    pub(crate) fn command(&self, out: &mut Vec<u8>, channel: &str, limit: usize) {
        let (kind, place) = match self.since {
            None => ("", String::new()),
            Some(Place::Entry(offset)) => ("E", offset.to_string()),
            Some(Place::Time(ms)) => ("T", ms.to_string()),
        };
        let start = self.since.map(|place| place.first_behind().to_string()).unwrap_or_default();
        let (most, ms) = (self.size.messages.to_string(), self.size.ms().to_string());
        let (stream, limit) = (stream_of(channel), limit.to_string());
        let words = ["EVAL", SCRIPT, "1", &stream, kind, &place, &start, &most, &ms, &limit];
        resp::command(out, &words.map(str::as_bytes));
    }
}

impl<'a> Since<'a> {
    /// Reads what the script answers; nothing when it is something else.
    pub fn parse(text: &'a [u8]) -> Option<Since<'a>> {
        let (head, mut rest) = line(text)?;
        let mut words = head.split(' ');
        let whole = words.next()?;
        let end = match (words.next()?, words.next()?) {
            ("E", id) => Place::Entry(Offset::parse_id(id)?),
            ("T", ms) => Place::Time(ms.parse().ok()?),
            _ => return None,
        };
        let mut messages = match whole {
            "W" => Some(Vec::new()),
            "G" if rest.is_empty() => None,
            _ => return None,
        };
        while let Some(messages) = &mut messages
            && !rest.is_empty()
        {
            let (head, after) = line(rest)?;
            let (id, length) = head.split_once(' ')?;
            Offset::parse_id(id)?;
            let message = after.get(..length.parse().ok()?)?;
            rest = &after[message.len()..];
            messages.push(message);
        }
        Some(Since { messages, end })
    }
}

/// The first line, and what is behind it.
pub(super) fn line(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    Some((std::str::from_utf8(&text[..end]).ok()?, &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_or_changed_is_no_panic_and_says_no_more_than_is_there() {
        let text = b"W E 6-0\n5-2 3\na\nb5-3 0\n6-0 12\nhello, world";
        for length in 0..text.len() {
            let whole = Since::parse(&text[..length]).and_then(|since| since.messages);
            assert!(whole.is_none_or(|messages| messages.len() < 3), "{length}");
            for byte in 0..=u8::MAX {
                let mut changed = text.to_vec();
                changed[length] = byte;
                let read = Since::parse(&changed).and_then(|since| since.messages);
                let bytes = read.iter().flatten().map(|message| message.len()).sum::<usize>();
                assert!(bytes < text.len());
            }
        }
    }

    #[test]
    fn an_answer_is_a_gap_or_messages_and_where_the_stream_ends() {
        let entry = |ms, seq| Place::Entry(Offset { ms, seq });
        let whole = |messages: &[&'static str], end| {
            Some((Some(messages.iter().map(|text| text.to_string()).collect::<Vec<_>>()), end))
        };
        for (text, expected) in [
            ("G E 5-1\n", Some((None, entry(5, 1)))),
            ("G T 7\n", Some((None, Place::Time(7)))),
            ("W T 7\n", whole(&[], Place::Time(7))),
            ("W E 6-0\n5-2 3\na\nb6-0 0\n", whole(&["a\nb", ""], entry(6, 0))),
            ("W E 6-0\n5-2 3\na\n", None),
            ("W E 6-0\n5-2 x\na", None),
            ("W E 6-0\n5 1\na", None),
            ("W E 6-0\n5-0 18446744073709551615\na", None),
            ("W E 6\n", None),
            ("G E 5-1\n5-1 1\na", None),
            ("X E 5-1\n", None),
            ("W X 5-1\n", None),
            ("W E 5-1", None),
            ("", None),
            ("\n", None),
        ] {
            let since = Since::parse(text.as_bytes());
            let as_text = |message: &[u8]| String::from_utf8(message.to_vec()).expect("text");
            let found = since.map(|since| {
                let messages = since.messages.map(|all| all.into_iter().map(as_text).collect());
                (messages, since.end)
            });
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
