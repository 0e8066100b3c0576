//! The histories of channels in a Redis: streams of messages.

use std::collections::{BTreeMap, VecDeque};

use super::{FakeRedis, number};

/// The histories, by the names of their streams. Its clock is a number of its own, which grows with
/// each message, and is never behind the world's where messages expire.
#[derive(Debug, Default)]
pub struct Histories {
    streams: BTreeMap<Vec<u8>, Stream>,
    /// The time.
    pub ms: u64,
    /// How many lives the server had before.
    pub life: u32,
    /// A stream expires so long after its last message; never, if that is not said.
    pub expire_ms: Option<u64>,
    /// The world's clock.
    pub now_ms: u64,
    /// What is on the disk.
    saved: BTreeMap<Vec<u8>, Stream>,
}

/// The messages of a stream by their times, the oldest first.
#[derive(Clone, Debug, Default)]
struct Stream {
    entries: VecDeque<(u64, Vec<u8>)>,
    expires_ms: u64,
}

impl Histories {
    /// Adds a message to the history of a channel, which has at most so many.
    pub fn keep(&mut self, channel: &[u8], payload: &[u8], most: usize) {
        let name = [b"wsloop:history:{", channel, b"}"].concat();
        let ms = self.tick();
        let stream = self.streams.entry(name).or_default();
        stream.expires_ms = self.expire_ms.map_or(u64::MAX, |expire_ms| ms + expire_ms);
        stream.entries.push_back((ms, payload.to_vec()));
        stream.entries.drain(..stream.entries.len().saturating_sub(most));
    }

    /// Time goes on, and what has expired is gone.
    fn tick(&mut self) -> u64 {
        self.ms += 1;
        if self.expire_ms.is_some() {
            self.ms = self.ms.max(self.now_ms);
        }
        let ms = self.ms;
        self.streams.retain(|_, stream| stream.expires_ms > ms);
        ms
    }

    /// Writes all of them to the disk.
    pub fn save(&mut self) {
        self.saved = self.streams.clone();
    }

    /// Another life begins with what is on the disk.
    pub fn load(&mut self) {
        self.forget();
        self.streams = self.saved.clone();
        self.tick();
    }

    /// Forgets all of them, as in another life.
    pub fn forget(&mut self) {
        self.streams.clear();
        self.life += 1;
    }

    /// What the script answers that looks: the name of the stream, and what it is called with.
    pub fn look(&mut self, words: &[Vec<u8>], stored: Option<&[u8]>) -> Vec<u8> {
        let [stream, _channel, mode, start, limit, page, known] = words else {
            panic!("{words:?}")
        };
        self.tick();
        let stored = stored.filter(|stored| mode == b"J" && stored.len() as u64 <= number(limit));
        let empty = VecDeque::new();
        let entries = self.streams.get(stream).map_or(&empty, |stream| &stream.entries);
        let here = match entries.back() {
            Some((id, _)) => format!("E {id}-0"),
            None => format!("T {}", self.ms),
        };
        let mut wanted: Vec<_> = entries.iter().collect();
        match start.is_empty() {
            true => wanted.clear(),
            false => wanted.retain(|(known, _)| (*known, 0) >= id(start)),
        }
        let (mut text, mut whole) = (Vec::new(), 'W');
        let (mut bytes, mut found) = (stored.map_or(0, <[u8]>::len) as u64, 0);
        for (at, payload) in wanted {
            let name = format!("{at}-0");
            if name.as_bytes() == known {
                text.extend(format!("{name} 0\n").into_bytes());
                continue;
            }
            bytes += payload.len() as u64 + 64;
            let is_large = bytes > number(limit);
            if bytes > number(page) && (found > 0 || is_large && mode != b"B") {
                whole = 'P';
                break;
            }
            found += 1;
            let payload = if is_large { &[][..] } else { payload };
            bytes = if is_large { 0 } else { bytes };
            text.extend(format!("{name} {}\n", payload.len()).into_bytes());
            text.extend(payload);
        }
        let (length, ms, life) = (entries.len(), self.ms, self.life + 1);
        let size = stored.map_or(-1, |stored| stored.len() as i64);
        let head = format!("{here} {whole} {length} {ms} {life:x} {size}\n");
        [head.as_bytes(), stored.unwrap_or_default(), &text].concat()
    }

    /// What the script answers that reads: the name of the stream, and what it is called with.
    pub fn read(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let [stream, kind, place, start, most, ms, limit] = words else { panic!("{words:?}") };
        self.tick();
        let empty = VecDeque::new();
        let entries = self.streams.get(stream).map_or(&empty, |stream| &stream.entries);
        let end = match entries.back() {
            Some((id, _)) => format!("E {id}-0"),
            None => format!("T {}", self.ms),
        };
        let is_whole = match kind.as_slice() {
            b"E" => entries.iter().any(|(known, _)| (*known, 0) == id(place)),
            b"T" => self.ms - id(place).0 < number(ms) && entries.len() < number(most) as usize,
            _ => return format!("G {end}\n").into_bytes(),
        };
        let mut text = format!("W {end}\n").into_bytes();
        let mut bytes = 0;
        for (known, payload) in entries.iter().filter(|(known, _)| (*known, 0) >= id(start)) {
            bytes += payload.len() as u64 + 64;
            text.extend(format!("{known}-0 {}\n", payload.len()).into_bytes());
            text.extend(payload);
        }
        match is_whole && bytes <= number(limit) {
            true => text,
            false => format!("G {end}\n").into_bytes(),
        }
    }
}

/// The two numbers of an id.
fn id(text: &[u8]) -> (u64, u64) {
    let text = std::str::from_utf8(text).expect("a text");
    let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
    (ms.parse().expect("a number"), seq.parse().expect("a number"))
}

impl FakeRedis {
    /// Somebody else publishes a message and keeps it in the history of the channel, which has at
    /// most so many.
    pub fn publish_kept(&mut self, channel: &str, payload: impl AsRef<[u8]>, most: usize) {
        self.histories.keep(channel.as_bytes(), payload.as_ref(), most);
        self.publish(channel, payload, 0, 0);
    }

    /// The messages in the history of a channel, the oldest first.
    pub fn history(&self, channel: &str) -> Vec<String> {
        self.timed_history(channel).into_iter().map(|(_, message)| message).collect()
    }

    /// The same with their times.
    pub fn timed_history(&self, channel: &str) -> Vec<(u64, String)> {
        let name = format!("wsloop:history:{{{channel}}}");
        let stream = self.histories.streams.get(name.as_bytes());
        let messages = stream.into_iter().flat_map(|stream| &stream.entries);
        let text = |message: &Vec<u8>| String::from_utf8_lossy(message).into_owned();
        messages.map(|(ms, message)| (*ms, text(message))).collect()
    }
}
