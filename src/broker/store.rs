//! L1: what the embedded broker has stored: values by their names, bounded.
//!
//! It does not know channels from keys. Its rules:
//! * past the limit those are given up that would expire first, and of those that never expire the
//!   ones that were written first; what browsers stored goes before what the application did;
//! * what browsers store has the share that the application leaves, and never takes its place;
//! * names are listed in the order in which they came, and never in that of a hash map;
//! * a name that has expired is not there: [`Store::expire`] is called before anything is asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The time of what never expires.
pub(crate) const NEVER_MS: u64 = u64::MAX;

/// What a value takes besides its name and bytes: its places in the three indexes.
pub(crate) const OVERHEAD_BYTES: usize = 224;

/// Stored values.
#[derive(Debug)]
pub struct Store {
    limit: usize,
    bytes: usize,
    evicted: u64,
    /// Makes entries of the indexes unique, and equal times first in, first out.
    serial: u64,
    values: HashMap<Arc<[u8]>, Stored>,
    by_expiry: BTreeMap<(u64, u64), Arc<[u8]>>,
    /// The same of those that browsers stored.
    browsers: BTreeMap<(u64, u64), Arc<[u8]>>,
    by_age: BTreeMap<u64, Arc<[u8]>>,
}

#[derive(Debug)]
struct Stored {
    value: Arc<[u8]>,
    writer: Writer,
    expiry: (u64, u64),
    /// Stays when the value is replaced.
    age: u64,
}

/// Who stored a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// A browser, by publishing.
    Browser,
    /// The application, as a RESP client.
    Application,
}

impl Store {
    /// An empty store for so many bytes.
    pub fn new(limit: usize) -> Self {
        Store {
            limit,
            bytes: 0,
            evicted: 0,
            serial: 0,
            values: HashMap::new(),
            by_expiry: BTreeMap::new(),
            browsers: BTreeMap::new(),
            by_age: BTreeMap::new(),
        }
    }

    /// Stores a value until a time. False when it is larger than what its writer may store: then
    /// there is none of that name.
    pub fn set(
        &mut self,
        name: Arc<[u8]>,
        value: Arc<[u8]>,
        expires_ms: u64,
        writer: Writer,
    ) -> bool {
        let age = self.take(&name).map(|stored| stored.age);
        let size = cost(&name, &value);
        if !self.make_room(size, writer) {
            self.evicted += 1;
            return false;
        }
        self.serial += 1;
        let (expiry, age) = ((expires_ms, self.serial), age.unwrap_or(self.serial));
        self.bytes += size;
        self.index(writer).insert(expiry, name.clone());
        self.by_age.insert(age, name.clone());
        self.values.insert(name, Stored { value, writer, expiry, age });
        true
    }

    /// Gives up what has to go for so many bytes more of this writer; false when there cannot be
    /// room.
    fn make_room(&mut self, size: usize, writer: Writer) -> bool {
        if size > self.limit {
            return false;
        }
        while self.bytes + size > self.limit {
            let applications = || match writer {
                Writer::Browser => None,
                Writer::Application => self.by_expiry.first_key_value(),
            };
            let first = self.browsers.first_key_value();
            let Some((_, oldest)) = first.or_else(applications) else { return false };
            let oldest = oldest.clone();
            self.remove(&oldest);
            self.evicted += 1;
        }
        true
    }

    fn index(&mut self, writer: Writer) -> &mut BTreeMap<(u64, u64), Arc<[u8]>> {
        match writer {
            Writer::Browser => &mut self.browsers,
            Writer::Application => &mut self.by_expiry,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        let names: Vec<Arc<[u8]>> = self.values.keys().cloned().collect();
        for name in names {
            self.remove(&name);
        }
    }

    /// The value of that name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<[u8]>> {
        self.values.get(name).map(|stored| &stored.value)
    }

    /// When it expires.
    pub fn expires_ms(&self, name: &[u8]) -> Option<u64> {
        self.values.get(name).map(|stored| stored.expiry.0)
    }

    /// Lets it expire at another time; false when there is none.
    pub fn set_expiry(&mut self, name: &[u8], expires_ms: u64) -> bool {
        let Some(stored) = self.values.get_mut(name) else { return false };
        self.serial += 1;
        let before = std::mem::replace(&mut stored.expiry, (expires_ms, self.serial));
        let (after, writer) = (stored.expiry, stored.writer);
        let index = self.index(writer);
        if let Some(name) = index.remove(&before) {
            index.insert(after, name);
        }
        true
    }

    /// Another number after every change of what has this name; `None` while nothing has.
    pub fn revision(&self, name: &[u8]) -> Option<u64> {
        self.values.get(name).map(|stored| stored.expiry.1)
    }

    /// Forgets a value; false when there was none.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.take(name).is_some()
    }

    /// Forgets what has expired.
    pub fn expire(&mut self, now_ms: u64) {
        for writer in [Writer::Browser, Writer::Application] {
            while let Some((&(expires_ms, _), name)) = self.index(writer).first_key_value() {
                if expires_ms > now_ms || expires_ms == NEVER_MS {
                    break;
                }
                let name = name.clone();
                self.remove(&name);
            }
        }
    }

    /// All names, the oldest first.
    pub fn names(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.by_age.values()
    }

    /// So many names from a cursor on, and the cursor for more; both are 0 at the start and at the
    /// end. It goes from the newest to the oldest: whoever follows it sees each name once that is
    /// there all the time, and comes to an end however many are added meanwhile.
    pub fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<Arc<[u8]>>) {
        let from = if cursor == 0 { u64::MAX } else { cursor };
        let mut rest = self.by_age.range(..=from).rev();
        let names = rest.by_ref().take(count).map(|(_, name)| name.clone()).collect();
        (rest.next().map_or(0, |(age, _)| *age), names)
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Bytes that the values take with all that belongs to them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Values that were given up because the store was full.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn take(&mut self, name: &[u8]) -> Option<Stored> {
        let stored = self.values.remove(name)?;
        self.index(stored.writer).remove(&stored.expiry);
        self.by_age.remove(&stored.age);
        self.bytes -= cost(name, &stored.value);
        Some(stored)
    }
}

fn cost(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(store: &mut Store, name: &str, value: &[u8], expires_ms: u64) -> bool {
        let (name, value) = (Arc::from(name.as_bytes()), Arc::from(value));
        store.set(name, value, expires_ms, Writer::Application)
    }

    fn names(store: &Store) -> Vec<String> {
        store.names().map(|name| String::from_utf8(name.to_vec()).unwrap()).collect()
    }

    #[test]
    fn what_never_expires_is_given_up_last_and_the_oldest_first() {
        let mut store = Store::new(3 * (1 + 100 + OVERHEAD_BYTES));
        for (name, expires_ms) in [("a", NEVER_MS), ("b", NEVER_MS), ("c", 10), ("d", 20)] {
            assert!(set(&mut store, name, &[b'x'; 100], expires_ms));
        }
        assert_eq!(names(&store), ["a", "b", "d"]);
        set(&mut store, "e", &[b'x'; 100], NEVER_MS);
        set(&mut store, "f", &[b'x'; 100], NEVER_MS);
        assert_eq!(names(&store), ["b", "e", "f"]);
        assert!(!set(&mut store, "b", &[b'x'; 1000], NEVER_MS));
        assert_eq!((names(&store), store.evicted()), (vec!["e".into(), "f".into()], 4));
        store.expire(u64::MAX);
        assert_eq!(store.len(), 2, "never is never");
    }

    #[test]
    fn what_browsers_store_takes_nothing_from_the_application() {
        let size = 1 + 100 + OVERHEAD_BYTES;
        let mut store = Store::new(6 * size);
        let value: Arc<[u8]> = Arc::from([b'x'; 100]);
        let browser = |store: &mut Store, name: &str, expires_ms| {
            let name = Arc::from(name.as_bytes());
            store.set(name, value.clone(), expires_ms, Writer::Browser)
        };
        for name in ["a", "b"] {
            set(&mut store, name, &[b'x'; 100], 1);
        }
        for (at, name) in ["1", "2", "3", "4", "5"].into_iter().enumerate() {
            assert!(browser(&mut store, name, 100 + at as u64));
        }
        assert_eq!(names(&store), ["a", "b", "2", "3", "4", "5"], "they have what is left");
        // The application takes the places of browsers first, however soon its own expire.
        for name in ["c", "d", "e", "f"] {
            assert!(set(&mut store, name, &[b'x'; 100], 1));
        }
        assert_eq!(names(&store), ["a", "b", "c", "d", "e", "f"]);
        assert!(!browser(&mut store, "6", 9), "there is no room, and nobody gives way");
        assert_eq!(names(&store).len(), 6);
        set(&mut store, "g", &[b'x'; 100], 5);
        assert_eq!(names(&store), ["b", "c", "d", "e", "f", "g"]);
        store.remove(b"b");
        assert!(browser(&mut store, "7", 9));
        store.clear();
        assert_eq!((store.bytes(), store.browsers.len(), store.len()), (0, 0, 0));
    }

    #[test]
    fn the_time_can_be_changed_and_every_change_is_noticed() {
        let mut store = Store::new(1 << 20);
        assert!(!store.set_expiry(b"a", 5) && store.revision(b"a").is_none());
        set(&mut store, "a", b"x", 10);
        let first = store.revision(b"a");
        assert!(store.set_expiry(b"a", 5));
        assert_ne!(store.revision(b"a"), first);
        assert_eq!(store.expires_ms(b"a"), Some(5));
        store.expire(4);
        assert_eq!(store.get(b"a").map(|value| value.to_vec()), Some(b"x".to_vec()));
        store.expire(5);
        assert!(store.is_empty() && store.by_expiry.is_empty() && store.by_age.is_empty());
        assert_eq!(store.bytes(), 0);
    }

    #[test]
    fn a_scan_sees_once_what_is_there_all_the_time_and_ends() {
        let mut store = Store::new(1 << 20);
        for n in 0..100 {
            set(&mut store, &format!("old{n}"), b"x", NEVER_MS);
        }
        let (mut cursor, mut seen, mut round) = (0, Vec::new(), 0);
        loop {
            let (next, names) = store.scan(cursor, 7);
            seen.extend(names.into_iter().filter(|name| name.starts_with(b"old")));
            for n in 0..10 {
                set(&mut store, &format!("new{round}-{n}"), b"x", NEVER_MS);
            }
            set(&mut store, &format!("old{round}"), b"replaced", 1000);
            (cursor, round) = (next, round + 1);
            if cursor == 0 {
                break;
            }
        }
        assert_eq!((seen.len(), round), (100, 15));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 100);
        assert_eq!(Store::new(10).scan(0, 5), (0, Vec::new()));
    }
}
