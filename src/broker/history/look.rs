//! L1: what a channel's history has, with the place of each message, as one script of wsloop's own
//! asks Redis, and as the embedded broker answers too.
//!
//! It does not say whether anything is missing: whoever asks has the places from which that can be
//! told. Two things are asked:
//! * what came behind a place, the oldest first, as much as one answer may have: for a channel that
//!   is heard;
//! * where the history ends, what is stored for the channel, and the newest entries down to a
//!   place: for those who begin to hear it.

use super::kept::{ENTRY_BYTES, Entry};
use super::position::Position;
use super::reading::{Place, line};
use super::{Histories, HistorySize, Offset, stream_of};
use crate::proto::resp;

const SCRIPT: &str = include_str!("look.lua");

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// What is behind that place.
    Behind(Place),
    /// What is stored, and the entries from that place on, that of itself included.
    Join(Option<Place>),
}

/// What there is.
#[derive(Debug, PartialEq, Eq)]
pub struct Looked<'a> {
    /// Where the history ends.
    pub end: Place,
    /// There was room for all that was looked for.
    pub whole: bool,
    /// Entries that there are altogether.
    pub length: usize,
    /// The time at the broker, in milliseconds of Unix time.
    pub now_ms: u64,
    /// The broker's life.
    pub epoch: u32,
    /// What is stored for the channel.
    pub stored: Option<&'a [u8]>,
    /// Entries, the oldest first. One that is too large is empty.
    pub entries: Vec<(Offset, &'a [u8])>,
}

impl Look {
    fn start(self) -> Option<Offset> {
        match self {
            Look::Behind(place) => Some(place.first_behind()),
            Look::Join(None) => None,
            Look::Join(Some(Place::Entry(offset))) => Some(offset),
            Look::Join(Some(Place::Time(ms))) => Some(Offset { ms, seq: 0 }),
        }
    }

    /// Appends the command that asks for it, and for no more than so many bytes.
    pub(crate) fn command(self, out: &mut Vec<u8>, channel: &str, limit: usize) {
        let mode = if let Look::Join(_) = self { "J" } else { "B" };
        let start = self.start().map(|start| start.to_string()).unwrap_or_default();
        let (stream, limit) = (stream_of(channel), limit.to_string());
        let words = ["EVAL", SCRIPT, "2", &stream, channel, mode, &start, &limit];
        resp::command(out, &words.map(str::as_bytes));
    }

    /// The answer of the embedded broker, as the script has it.
    pub(crate) fn answer(
        self,
        channel: &[u8],
        histories: Option<&Histories>,
        stored: Option<&[u8]>,
        (now_ms, epoch): (u64, u32),
        limit: usize,
    ) -> Vec<u8> {
        let is_join = matches!(self, Look::Join(_));
        let stored = stored.filter(|stored| is_join && stored.len() <= limit);
        let mut bytes = stored.map_or(0, <[u8]>::len);
        let range = |first| {
            let all = histories.into_iter();
            all.flat_map(move |all| all.range(channel, first, Offset::MAX))
        };
        let mut entries: Vec<&Entry> = self.start().into_iter().flat_map(range).collect();
        if is_join {
            entries.reverse();
        }
        let (mut found, mut whole) = (Vec::<(Offset, &[u8])>::new(), "W");
        for Entry { offset, payload } in entries {
            bytes += payload.len() + ENTRY_BYTES;
            if bytes > limit && (is_join || !found.is_empty()) {
                whole = "P";
                break;
            }
            let is_large = bytes > limit;
            bytes = if is_large { 0 } else { bytes };
            found.push((*offset, if is_large { &[] } else { payload }));
        }
        if let (Look::Join(Some(Place::Time(ms))), Some(histories)) = (self, histories)
            && histories.has_evicted_since(ms)
        {
            whole = "P";
        }
        let last = range(Offset::default()).next_back();
        let length = histories.map_or(0, |histories| histories.len(channel));
        let here = match last {
            Some(entry) => format!("E {}", entry.offset),
            None => format!("T {now_ms}"),
        };
        let size = stored.map_or(-1, |stored| stored.len() as i64);
        let mut out = format!("{here} {whole} {length} {now_ms} {epoch:x} {size}\n").into_bytes();
        out.extend_from_slice(stored.unwrap_or_default());
        for (offset, payload) in found {
            out.extend_from_slice(format!("{offset} {}\n", payload.len()).as_bytes());
            out.extend_from_slice(payload);
        }
        out
    }
}

impl<'a> Looked<'a> {
    /// What there is of a channel that has no history: what is stored.
    pub(crate) fn nowhere(stored: Option<&'a [u8]>) -> Looked<'a> {
        let (end, entries) = (Place::Time(0), Vec::new());
        Looked { end, whole: true, length: 0, now_ms: 0, epoch: 0, stored, entries }
    }

    /// Reads the answer; nothing when it is something else.
    pub fn parse(text: &'a [u8]) -> Option<Looked<'a>> {
        let (head, rest) = line(text)?;
        let words: Vec<&str> = head.split(' ').collect();
        let &[kind, place, whole, length, now_ms, epoch, size] = &words[..] else { return None };
        let end = match kind {
            "E" => Place::Entry(Offset::parse_id(place)?),
            "T" => Place::Time(place.parse().ok()?),
            _ => return None,
        };
        let whole = match whole {
            "W" => true,
            "P" => false,
            _ => return None,
        };
        let (stored, mut rest) = match size {
            "-1" => (None, rest),
            size => rest.split_at_checked(size.parse().ok()?).map(|(it, rest)| (Some(it), rest))?,
        };
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (head, after) = line(rest)?;
            let (id, length) = head.split_once(' ')?;
            let (message, after) = after.split_at_checked(length.parse().ok()?)?;
            entries.push((Offset::parse_id(id)?, message));
            rest = after;
        }
        if entries.first() > entries.last() {
            entries.reverse();
        }
        let epoch = u32::from_str_radix(epoch, 16).ok()?;
        let (length, now_ms) = (length.parse().ok()?, now_ms.parse().ok()?);
        Some(Looked { end, whole, length, now_ms, epoch, stored, entries })
    }

    /// What came behind a position, if all of that is here.
    pub fn since(&self, position: Position, size: HistorySize) -> Option<&[(Offset, &'a [u8])]> {
        match position.place {
            Place::Entry(offset) => {
                let at = self.entries.binary_search_by_key(&offset, |(offset, _)| *offset).ok()?;
                Some(&self.entries[at + 1..])
            }
            // Nothing can have been trimmed or have expired since.
            Place::Time(ms) => {
                let is_recent = ms <= self.now_ms && self.now_ms - ms < size.ms();
                let is_kept = self.whole && self.length < size.messages;
                // A broker that does not say which life it has may be in another.
                let is_same = self.epoch != 0 && position.epoch == self.epoch;
                let is_known = is_same && is_recent && is_kept;
                let at = self.entries.partition_point(|(offset, _)| offset.ms < ms);
                is_known.then(|| &self.entries[at..])
            }
        }
    }

    /// Where the history ends.
    pub(crate) fn position(&self) -> Position {
        Position { place: self.end, epoch: self.epoch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: HistorySize = HistorySize { messages: 4, seconds: 10 };

    fn looked(text: &str) -> Option<Looked<'_>> {
        Looked::parse(text.as_bytes())
    }

    fn texts<'a>(entries: Option<&[(Offset, &'a [u8])]>) -> Option<Vec<&'a str>> {
        let text = |(_, message): &(Offset, &'a [u8])| std::str::from_utf8(message).expect("text");
        entries.map(|entries| entries.iter().map(text).collect())
    }

    #[test]
    fn what_came_since_is_known_while_the_place_is_there() {
        let found = looked("E 7-0 W 3 9000 5c1f 3\nold7-0 1\nc6-1 1\nb5-0 2\na\n").expect("good");
        assert_eq!(found.stored, Some(&b"old"[..]));
        let since = |word| texts(found.since(Position::parse(word).expect(word), SIZE));
        assert_eq!(since("5-0"), Some(vec!["b", "c"]));
        assert_eq!(since("7-0"), Some(vec![]));
        assert_eq!(since("6-0"), None, "it is not there");
        assert_eq!(since("8-0"), None, "it was never there");
        assert_eq!(since("@6.5c1f"), Some(vec!["b", "c"]));
        assert_eq!(since("@6.5c1e"), None, "another life");
        assert_eq!(since("@9001.5c1f"), None, "it was not yet");
        let full = looked("E 7-0 W 4 9000 1 -1\n").expect("good");
        assert_eq!(texts(full.since(Position::parse("@6.1").expect("good"), SIZE)), None);
        let unsaid = looked("E 7-0 W 3 9000 0 -1\n").expect("good");
        assert_eq!(texts(unsaid.since(Position::parse("@6.0").expect("good"), SIZE)), None);
        let late = looked("E 7-0 W 3 10006 1 -1\n").expect("good");
        assert_eq!(texts(late.since(Position::parse("@6.1").expect("good"), SIZE)), None);
        assert_eq!(late.position().to_string(), "7-0");
        assert_eq!(looked("T 9 W 0 9 a -1\n").expect("good").position().to_string(), "@9.a");
    }

    #[test]
    fn what_is_cut_or_changed_is_no_panic() {
        let text = b"E 7-0 W 3 9000 5c1f 3\nold7-0 1\nc6-1 1\nb5-0 2\na\n";
        for length in 0..text.len() {
            let _ = Looked::parse(&text[..length]);
            for byte in 0..=u8::MAX {
                let mut changed = text.to_vec();
                changed[length] = byte;
                if let Some(found) = Looked::parse(&changed) {
                    let bytes = found.entries.iter().map(|(_, message)| message.len());
                    assert!(bytes.sum::<usize>() < text.len());
                }
            }
        }
    }
}
