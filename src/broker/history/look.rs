//! L1: what a channel's history has, with the place of each message, as one script of wsloop's own
//! asks Redis, and as the embedded broker answers too.
//!
//! It does not say whether anything is missing: whoever asks has the places from which that can be
//! told. Two things are asked:
//! * what came behind a place, as much as one answer may have: for a channel that is heard;
//! * where the history ends, what is stored for the channel, and the entries from a place on: for
//!   those who begin to hear it. What is more than a page of these is asked for again.
//!
//! Entries come the oldest first. Each page but the first begins with the last entry of the one
//! before: where that is gone, others may be that were behind it.

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
    /// What is stored, and a page of the entries from that place on. An entry that is the place is
    /// said to be there, and is empty.
    Join(Option<Place>),
    /// The same without what is stored, which leaves all of the room to the entries.
    On(Place),
}

/// What there is.
#[derive(Debug, PartialEq, Eq)]
pub struct Looked<'a> {
    /// Where the history ends.
    pub end: Place,
    /// There was room for all that was looked for.
    pub whole: bool,
    /// The broker has forgotten entries before their time, since the one that was looked for.
    pub is_evicted: bool,
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

/// What a look has of what came behind a position.
#[derive(Debug, PartialEq, Eq)]
pub enum Missed<'e, 'a> {
    /// What came; there may be more where the look is not whole.
    Here(&'e [(Offset, &'a [u8])]),
    /// The position is behind all that is here.
    Later,
    /// What came cannot be had, or cannot be told.
    Gone,
}

impl Look {
    /// The place that it begins with.
    pub(crate) fn place(self) -> Option<Place> {
        match self {
            Look::Behind(place) | Look::On(place) => Some(place),
            Look::Join(place) => place,
        }
    }

    /// Whether what is stored is looked for.
    fn is_join(self) -> bool {
        matches!(self, Look::Join(_))
    }

    /// The entry that whoever asks has.
    fn known(self) -> Option<Offset> {
        match self {
            Look::Join(Some(Place::Entry(offset))) | Look::On(Place::Entry(offset)) => Some(offset),
            _ => None,
        }
    }

    fn start(self) -> Option<Offset> {
        self.known().or(self.place().map(|place| place.first_behind()))
    }

    /// Bytes of a page, where it may have so many, and an answer so many.
    fn page(self, (page, limit): (usize, usize)) -> usize {
        if let Look::Behind(_) = self { limit } else { page.min(limit) }
    }

    /// Appends the command that asks for it: for a page of so many bytes, or one entry that is
    /// larger, and for no more than so many altogether.
    pub(crate) fn command(self, out: &mut Vec<u8>, channel: &str, bytes: (usize, usize)) {
        let mode = match self {
            Look::Behind(_) => "B",
            Look::Join(_) => "J",
            Look::On(_) => "C",
        };
        let text = |offset: Option<Offset>| offset.map(|it| it.to_string()).unwrap_or_default();
        let (start, known) = (text(self.start()), text(self.known()));
        let (page, limit) = (self.page(bytes).to_string(), bytes.1.to_string());
        let stream = stream_of(channel);
        let words = ["EVAL", SCRIPT, "2", &stream, channel, mode, &start, &limit, &page, &known];
        resp::command(out, &words.map(str::as_bytes));
    }

    /// The answer of the embedded broker, as the script has it.
    pub(crate) fn answer(
        self,
        channel: &[u8],
        histories: Option<&Histories>,
        stored: Option<&[u8]>,
        (now_ms, epoch): (u64, u32),
        bytes: (usize, usize),
    ) -> Vec<u8> {
        let limit = bytes.1;
        let stored = stored.filter(|stored| self.is_join() && stored.len() <= limit);
        let range = |first| {
            let all = histories.into_iter();
            all.flat_map(move |all| all.range(channel, first, Offset::MAX))
        };
        let all = self.start().into_iter().flat_map(range);
        let (found, whole) =
            self.page_of(all, stored.map_or(0, <[u8]>::len), (self.page(bytes), limit));
        let is_evicted = match (self, histories) {
            (Look::Join(Some(Place::Time(ms))), Some(all)) => all.has_evicted_since(ms),
            _ => false,
        };
        let whole = match (whole, is_evicted) {
            (true, false) => "W",
            (false, false) => "P",
            (true, true) => "w",
            (false, true) => "p",
        };
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

    /// The entries that there is room for behind so many bytes, and whether these are all.
    fn page_of<'e>(
        self,
        entries: impl Iterator<Item = &'e Entry>,
        mut bytes: usize,
        (page, limit): (usize, usize),
    ) -> (Vec<(Offset, &'e [u8])>, bool) {
        let (mut found, mut is_first) = (Vec::<(Offset, &[u8])>::new(), true);
        for Entry { offset, payload } in entries {
            if self.known() == Some(*offset) {
                found.push((*offset, &[]));
                continue;
            }
            bytes += payload.len() + ENTRY_BYTES;
            let is_large = bytes > limit;
            let may_be_empty = matches!(self, Look::Behind(_));
            if bytes > page && (!is_first || is_large && !may_be_empty) {
                return (found, false);
            }
            bytes = if is_large { 0 } else { bytes };
            found.push((*offset, if is_large { &[] } else { payload }));
            is_first = false;
        }
        (found, true)
    }
}

impl<'a> Looked<'a> {
    /// What there is of a channel that has no history: what is stored.
    pub(crate) fn nowhere(stored: Option<&'a [u8]>) -> Looked<'a> {
        let (end, entries) = (Place::Time(0), Vec::new());
        let (whole, is_evicted) = (true, false);
        Looked { end, whole, is_evicted, length: 0, now_ms: 0, epoch: 0, stored, entries }
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
        let (whole, is_evicted) = match whole {
            "W" | "w" => (true, whole == "w"),
            "P" | "p" => (false, whole == "p"),
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
        let epoch = u32::from_str_radix(epoch, 16).ok()?;
        let (length, now_ms) = (length.parse().ok()?, now_ms.parse().ok()?);
        Some(Looked { end, whole, is_evicted, length, now_ms, epoch, stored, entries })
    }

    /// What came behind a position.
    pub fn since(&self, position: Position, size: HistorySize) -> Missed<'_, 'a> {
        match position.place {
            Place::Entry(offset) => {
                let last = self.entries.last().map(|(offset, _)| *offset);
                match self.entries.binary_search_by_key(&offset, |(offset, _)| *offset) {
                    Ok(at) => Missed::Here(&self.entries[at + 1..]),
                    Err(_) if !self.whole && last.is_none_or(|last| last < offset) => Missed::Later,
                    Err(_) => Missed::Gone,
                }
            }
            // Nothing can have been trimmed or have expired since.
            Place::Time(ms) => {
                let is_recent = ms <= self.now_ms && self.now_ms - ms < size.ms();
                let is_kept = !self.is_evicted && self.length < size.messages;
                // A broker that does not say which life it has may be in another.
                let is_same = self.epoch != 0 && position.epoch == self.epoch;
                if !(is_same && is_recent && is_kept) {
                    return Missed::Gone;
                }
                let at = self.entries.partition_point(|(offset, _)| offset.ms < ms);
                match self.whole || at < self.entries.len() {
                    true => Missed::Here(&self.entries[at..]),
                    false => Missed::Later,
                }
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

    fn texts<'a>(since: Missed<'_, 'a>) -> Option<Vec<&'a str>> {
        let text = |(_, message): &(Offset, &'a [u8])| std::str::from_utf8(message).expect("text");
        match since {
            Missed::Here(entries) => Some(entries.iter().map(text).collect()),
            Missed::Later => Some(vec!["later"]),
            Missed::Gone => None,
        }
    }

    #[test]
    fn what_came_since_is_known_while_the_place_is_there() {
        let found = looked("E 7-0 W 3 9000 5c1f 3\nold5-0 2\na\n6-1 1\nb7-0 1\nc").expect("good");
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
        let part = looked("E 9-0 P 3 9000 5c1f -1\n5-0 0\n6-1 1\nb").expect("good");
        let since = |word| texts(part.since(Position::parse(word).expect(word), SIZE));
        assert_eq!(since("5-0"), Some(vec!["b"]));
        assert_eq!(since("6-1"), Some(vec![]), "what is behind it is on the next page");
        assert_eq!((since("6-2"), since("@7.5c1f")), (Some(vec!["later"]), Some(vec!["later"])));
        assert_eq!(since("6-0"), None);
        let evicted = looked("E 7-0 w 3 9000 1 -1\n").expect("good");
        assert_eq!(texts(evicted.since(Position::parse("@6.1").expect("good"), SIZE)), None);
        assert_eq!(looked("T 9 W 0 9 a -1\n").expect("good").position().to_string(), "@9.a");
    }

    #[test]
    fn what_is_cut_or_changed_is_no_panic() {
        let text = b"E 7-0 W 3 9000 5c1f 3\nold5-0 2\na\n6-1 1\nb7-0 1\nc";
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
