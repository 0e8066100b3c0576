//! L1: the histories of the embedded broker, bounded.
//!
//! Its rules:
//! * each message is recorded once, whoever published it and however;
//! * a history has no more messages than its rule says, and is forgotten as a whole so many seconds
//!   after its last one, as Redis forgets a stream, or when a client says, which is known later on;
//! * past the limit for all of them, the oldest messages of the history go that would be forgotten
//!   first;
//! * no two entries have one offset, in whatever history.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::{HistoryRules, HistorySize, Offset};
use crate::link::Now;

/// What an entry takes besides its message.
pub(crate) const ENTRY_BYTES: usize = 64;
/// What a history takes besides its entries and, twice, its name.
const HISTORY_BYTES: usize = 256;

/// The histories there are.
#[derive(Debug)]
pub(crate) struct Histories {
    rules: HistoryRules,
    limit: usize,
    bytes: usize,
    evicted: u64,
    /// When that happened last, in milliseconds of Unix time.
    evicted_ms: Option<u64>,
    /// The offset that was given last.
    last: Offset,
    /// Makes equal times first in, first out.
    serial: u64,
    kept: HashMap<Arc<[u8]>, History>,
    by_expiry: BTreeMap<(u64, u64), Arc<[u8]>>,
}

#[derive(Debug)]
struct History {
    entries: VecDeque<Entry>,
    expiry: (u64, u64),
    /// When that is by the rule.
    due_ms: u64,
}

/// A message and where it stands.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where.
    pub offset: Offset,
    /// The message.
    pub payload: Arc<[u8]>,
}

impl Histories {
    /// None yet; all together may take so many bytes.
    pub(crate) fn new(rules: HistoryRules, limit: usize) -> Self {
        Histories {
            rules,
            limit,
            bytes: 0,
            evicted: 0,
            evicted_ms: None,
            last: Offset::default(),
            serial: 0,
            kept: HashMap::new(),
            by_expiry: BTreeMap::new(),
        }
    }

    /// Records a message, and says where it stands; `None` when its channel has no history.
    pub(crate) fn record(
        &mut self,
        channel: &[u8],
        payload: Arc<[u8]>,
        now: Now,
    ) -> Option<Offset> {
        let keeps = self.rules.of(std::str::from_utf8(channel).ok()?)?;
        self.expire(now.mono_ms);
        let offset = self.last.after(now.unix_ms);
        self.last = offset;
        let name = match self.kept.get_key_value(channel) {
            Some((name, _)) => name.clone(),
            None => self.begin(channel),
        };
        self.bytes += payload.len() + ENTRY_BYTES;
        let history = self.kept.get_mut(&name).expect("it is there or has begun");
        history.entries.push_back(Entry { offset, payload });
        while history.entries.len() > keeps.messages {
            self.bytes -= history.drop_oldest();
        }
        history.due_ms = expires_ms(keeps, now);
        let due_ms = history.due_ms;
        self.set_expiry_ms(&name, due_ms);
        self.make_room();
        Some(offset)
    }

    /// Whether that entry of a channel's history has this message.
    pub(crate) fn has(&self, channel: &[u8], offset: Offset, payload: &[u8]) -> bool {
        let mut there = self.range(channel, offset, offset);
        there.next().is_some_and(|entry| *entry.payload == *payload)
    }

    /// Whether a channel has a history by the rules.
    pub(crate) fn is_for(&self, channel: &[u8]) -> bool {
        std::str::from_utf8(channel).is_ok_and(|channel| self.rules.of(channel).is_some())
    }

    /// The entries of a channel from one place to another, both included, the oldest first.
    pub(crate) fn range(
        &self,
        channel: &[u8],
        first: Offset,
        last: Offset,
    ) -> impl DoubleEndedIterator<Item = &Entry> {
        let entries = self.kept.get(channel).map(|history| &history.entries);
        let place = |until: &dyn Fn(&Entry) -> bool| {
            entries.map_or(0, |entries| entries.partition_point(until))
        };
        let begin = place(&|entry| entry.offset < first);
        let end = place(&|entry| entry.offset <= last).max(begin);
        entries.into_iter().flat_map(move |entries| entries.range(begin..end))
    }

    /// How many entries a channel has.
    pub(crate) fn len(&self, channel: &[u8]) -> usize {
        self.kept.get(channel).map_or(0, |history| history.entries.len())
    }

    /// When the history of a channel is forgotten.
    pub(crate) fn expires_ms(&self, channel: &[u8]) -> Option<u64> {
        self.kept.get(channel).map(|history| history.expiry.0)
    }

    /// Has it forgotten at another time.
    pub(crate) fn set_expiry_ms(&mut self, channel: &[u8], expires_ms: u64) {
        let Some(history) = self.kept.get_mut(channel) else { return };
        self.serial += 1;
        let before = std::mem::replace(&mut history.expiry, (expires_ms, self.serial));
        let name = self.by_expiry.remove(&before).expect("each history has its time");
        self.by_expiry.insert((expires_ms, self.serial), name);
    }

    /// Forgets the history of a channel; false when there was none.
    fn remove(&mut self, channel: &[u8]) -> bool {
        let Some(history) = self.kept.remove(channel) else { return false };
        self.by_expiry.remove(&history.expiry);
        self.bytes -= history.entries.iter().map(Entry::bytes).sum::<usize>() + cost(channel);
        true
    }

    /// Forgets what has expired.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while let Some((&(expires_ms, _), name)) = self.by_expiry.first_key_value()
            && expires_ms <= now_ms
        {
            let name = name.clone();
            if self.kept.get(&name).is_some_and(|history| expires_ms < history.due_ms) {
                self.evicted_ms = Some(self.last.ms);
            }
            self.remove(&name);
        }
    }

    /// Forgets the history of a channel before its time; false when there was none.
    pub(crate) fn forget(&mut self, channel: &[u8]) -> bool {
        let was_there = self.remove(channel);
        if was_there {
            self.evicted_ms = Some(self.last.ms);
        }
        was_there
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        if !self.kept.is_empty() {
            self.evicted_ms = Some(self.last.ms);
        }
        self.expire(u64::MAX);
    }

    /// Bytes that all of them take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that were given up because there was no room for more.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Whether any was since that time of day, or was forgotten before its time.
    pub(crate) fn has_evicted_since(&self, unix_ms: u64) -> bool {
        self.evicted_ms.is_some_and(|evicted_ms| evicted_ms >= unix_ms)
    }

    fn begin(&mut self, channel: &[u8]) -> Arc<[u8]> {
        let name: Arc<[u8]> = Arc::from(channel);
        self.serial += 1;
        let expiry = (u64::MAX, self.serial);
        self.bytes += cost(channel);
        let history = History { entries: VecDeque::new(), expiry, due_ms: 0 };
        self.kept.insert(name.clone(), history);
        self.by_expiry.insert(expiry, name.clone());
        name
    }

    fn make_room(&mut self) {
        while self.bytes > self.limit
            && let Some((_, name)) = self.by_expiry.first_key_value()
        {
            let name = name.clone();
            let history = self.kept.get_mut(&name).expect("each time is that of a history");
            self.bytes -= history.drop_oldest();
            self.evicted += 1;
            self.evicted_ms = Some(self.last.ms);
            if history.entries.is_empty() {
                self.remove(&name);
            }
        }
    }
}

impl History {
    /// Gives up its oldest entry; returns the bytes that this one took.
    fn drop_oldest(&mut self) -> usize {
        self.entries.pop_front().expect("no history is empty").bytes()
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.payload.len() + ENTRY_BYTES
    }
}

/// What a history of that name takes besides its entries.
fn cost(channel: &[u8]) -> usize {
    channel.len() + HISTORY_BYTES
}

/// When what has that much kept is forgotten after a message.
fn expires_ms(keeps: HistorySize, now: Now) -> u64 {
    // One that never expires could not be told from one that has just begun.
    now.mono_ms.saturating_add(keeps.ms()).min(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::super::HistoryRule;
    use super::*;

    fn histories(list: &[&str], limit: usize) -> Histories {
        let rules = list.iter().map(|text| HistoryRule::parse(text).expect(text)).collect();
        Histories::new(HistoryRules { prefix: String::new(), rules }, limit)
    }

    fn at(ms: u64) -> Now {
        Now { mono_ms: ms, unix_ms: 1000 + ms }
    }

    fn record(histories: &mut Histories, channel: &str, payload: &[u8], ms: u64) -> Option<Offset> {
        histories.record(channel.as_bytes(), Arc::from(payload), at(ms))
    }

    fn payloads(histories: &Histories, channel: &str) -> String {
        let all = histories.range(channel.as_bytes(), Offset::default(), Offset::MAX);
        let all: Vec<&[u8]> = all.map(|entry| &*entry.payload).collect();
        String::from_utf8(all.concat()).expect("text")
    }

    #[test]
    fn the_last_messages_are_kept_and_forgotten_together() {
        let mut histories = histories(&["a=3/10", "b=3/20"], 1 << 20);
        assert_eq!(record(&mut histories, "broadcast:c", b"x", 0), None);
        for (ms, payload) in [(0, b"1"), (0, b"2"), (4, b"3"), (9, b"4")] {
            record(&mut histories, "broadcast:a", payload, ms * 1000).expect("a place");
        }
        record(&mut histories, "broadcast:b", b"5", 9000).expect("a place");
        assert_eq!(
            (&*payloads(&histories, "broadcast:a"), histories.len(b"broadcast:a")),
            ("234", 3)
        );
        let first = Offset { ms: 1000, seq: 1 };
        let from: Vec<_> = histories.range(b"broadcast:a", first.next(), Offset::MAX).collect();
        assert_eq!((from.len(), from[0].offset), (2, Offset { ms: 5000, seq: 0 }));
        assert!(histories.has(b"broadcast:a", first, b"2") && !histories.has(b"a", first, b"2"));
        assert!(!histories.has(b"broadcast:a", first, b"3"), "another message is there");
        histories.expire(18_999);
        assert_eq!(payloads(&histories, "broadcast:a"), "234");
        histories.expire(19_000);
        assert_eq!((histories.len(b"broadcast:a"), histories.len(b"broadcast:b")), (0, 1));
        histories.clear();
        assert_eq!((histories.bytes(), histories.by_expiry.len(), histories.kept.len()), (0, 0, 0));
    }

    #[test]
    fn the_history_that_would_be_forgotten_first_gives_way() {
        let size = 100 + ENTRY_BYTES;
        let limit = 2 * (cost(b"broadcast:a") + 2 * size);
        let mut histories = histories(&["a=9/10", "b=9/30"], limit);
        let payload = [b'x'; 100];
        for _ in 0..2 {
            record(&mut histories, "broadcast:b", &payload, 0);
            record(&mut histories, "broadcast:a", &payload, 0);
        }
        assert_eq!((histories.bytes(), histories.evicted()), (limit, 0));
        record(&mut histories, "broadcast:b", &payload, 0);
        let lengths =
            |histories: &Histories| (histories.len(b"broadcast:a"), histories.len(b"broadcast:b"));
        assert_eq!((lengths(&histories), histories.evicted()), ((1, 3), 1));
        record(&mut histories, "broadcast:b", &payload, 1);
        assert_eq!(lengths(&histories), (0, 4), "one without messages is none");
        for ms in 0..9 {
            record(&mut histories, "broadcast:b", &payload, ms);
        }
        assert!(histories.bytes() <= limit && histories.len(b"broadcast:b") == 5);
        assert!(record(&mut histories, "broadcast:b", &[b'x'; 10_000], 0).is_some());
        assert_eq!((lengths(&histories), histories.bytes()), ((0, 0), 0), "it has no room at all");
    }

    #[test]
    fn offsets_are_those_of_no_two_entries() {
        let mut histories = histories(&["*=9/10"], 1 << 20);
        let mut offsets = Vec::new();
        for (ms, channel) in [(5, "broadcast:a"), (5, "broadcast:b"), (2, "broadcast:a")] {
            offsets.push(record(&mut histories, channel, b"x", ms).expect("a place"));
        }
        assert!(offsets.is_sorted() && offsets.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
