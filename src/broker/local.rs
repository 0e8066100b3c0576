//! L1: the broker in this process.
//!
//! For development and for sites of one process. It knows channels, messages and when they expire;
//! not who hears them. What it is asked, it answers through the same queue of events as Redis does.
//! The stored messages are bounded: past the limit those that would expire first are given up.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::{Delivery, Event};
use crate::link_id::LinkId;

/// The embedded broker.
#[derive(Debug)]
pub struct Local {
    expire_s: u64,
    store: Store,
    events: VecDeque<Happened>,
    /// The event that the owner looks at.
    current: Option<Happened>,
}

#[derive(Debug)]
enum Happened {
    Delivered { channel: Arc<str>, payload: Arc<[u8]>, except: Option<LinkId> },
    Subscribed { channel: Arc<str> },
    Answered { payload: Option<Arc<[u8]>> },
}

#[derive(Debug)]
struct Store {
    limit: usize,
    bytes: usize,
    evicted: u64,
    /// Makes the keys of `by_expiry` unique, and equal times first in, first out.
    serial: u64,
    messages: HashMap<Arc<str>, Stored>,
    by_expiry: BTreeMap<(u64, u64), Arc<str>>,
}

#[derive(Debug)]
struct Stored {
    payload: Arc<[u8]>,
    expiry: (u64, u64),
}

impl Local {
    pub(super) fn new(expire_s: u64, store_limit: usize) -> Self {
        let store = Store {
            limit: store_limit,
            bytes: 0,
            evicted: 0,
            serial: 0,
            messages: HashMap::new(),
            by_expiry: BTreeMap::new(),
        };
        Local { expire_s, store, events: VecDeque::new(), current: None }
    }

    pub(super) fn subscribe(&mut self, channels: Vec<Arc<str>>) {
        self.events.extend(channels.into_iter().map(|channel| Happened::Subscribed { channel }));
    }

    pub(super) fn fetch(&mut self, channel: &str, now_ms: u64) {
        self.store.expire(now_ms);
        let payload = self.store.messages.get(channel).map(|stored| stored.payload.clone());
        self.events.push_back(Happened::Answered { payload });
    }

    pub(super) fn publish(
        &mut self,
        channel: &str,
        payload: &[u8],
        except: Option<LinkId>,
        now_ms: u64,
    ) {
        let (channel, payload): (Arc<str>, Arc<[u8]>) = (Arc::from(channel), Arc::from(payload));
        if self.expire_s > 0 {
            let expires_ms = now_ms.saturating_add(self.expire_s.saturating_mul(1000));
            self.store.expire(now_ms);
            self.store.set(channel.clone(), payload.clone(), expires_ms);
        }
        self.events.push_back(Happened::Delivered { channel, payload, except });
    }

    pub(super) fn next(&mut self) -> Option<Event<'_>> {
        self.current = self.events.pop_front();
        if self.current.is_none() && self.events.capacity() > 1024 {
            self.events.shrink_to(0);
        }
        Some(match self.current.as_ref()? {
            Happened::Delivered { channel, payload, except } => {
                let channel = channel.as_bytes();
                Event::Delivery(Delivery { channel, payload, except: *except })
            }
            Happened::Subscribed { channel } => Event::Subscribed { channel: channel.as_bytes() },
            Happened::Answered { payload } => Event::Answer(payload.as_deref()),
        })
    }

    pub(super) fn has_more(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.store.evicted
    }
}

/// What a stored message takes besides its name and bytes: its places in the two indexes.
const OVERHEAD_BYTES: usize = 160;

impl Store {
    fn set(&mut self, channel: Arc<str>, payload: Arc<[u8]>, expires_ms: u64) {
        self.remove(&channel);
        let size = cost(&channel, &payload);
        if size > self.limit {
            self.evicted += 1;
            return;
        }
        while self.bytes + size > self.limit {
            let Some((_, oldest)) = self.by_expiry.first_key_value() else { break };
            let oldest = oldest.clone();
            self.remove(&oldest);
            self.evicted += 1;
        }
        self.serial += 1;
        let expiry = (expires_ms, self.serial);
        self.bytes += size;
        self.by_expiry.insert(expiry, channel.clone());
        self.messages.insert(channel, Stored { payload, expiry });
    }

    fn expire(&mut self, now_ms: u64) {
        while let Some((&(expires_ms, _), channel)) = self.by_expiry.first_key_value() {
            if expires_ms > now_ms {
                break;
            }
            let channel = channel.clone();
            self.remove(&channel);
        }
    }

    fn remove(&mut self, channel: &str) {
        if let Some(stored) = self.messages.remove(channel) {
            self.by_expiry.remove(&stored.expiry);
            self.bytes -= cost(channel, &stored.payload);
        }
    }
}

fn cost(channel: &str, payload: &[u8]) -> usize {
    channel.len() + payload.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(local: &mut Local, channel: &str, now_ms: u64) -> Option<Vec<u8>> {
        local.fetch(channel, now_ms);
        let mut answer = None;
        while let Some(event) = local.next() {
            if let Event::Answer(payload) = event {
                answer = payload.map(<[u8]>::to_vec);
            }
        }
        answer
    }

    #[test]
    fn a_message_is_delivered_and_stored_until_it_expires() {
        let mut local = Local::new(10, 1 << 20);
        let except = Some(LinkId { index: 1, generation: 2 });
        local.publish("c", b"one", except, 1000);
        let delivery = Delivery { channel: b"c", payload: b"one", except };
        assert_eq!(local.next(), Some(Event::Delivery(delivery)));
        assert_eq!(local.next(), None);
        assert_eq!(fetched(&mut local, "c", 10_999).as_deref(), Some(&b"one"[..]));
        assert_eq!(fetched(&mut local, "c", 11_000), None);
        assert_eq!(local.store.bytes, 0);
    }

    #[test]
    fn a_later_message_replaces_the_stored_one_and_renews_its_time() {
        let mut local = Local::new(10, 1 << 20);
        local.publish("c", b"one", None, 0);
        local.publish("c", b"two", None, 5000);
        assert_eq!(fetched(&mut local, "c", 14_999).as_deref(), Some(&b"two"[..]));
        assert_eq!(local.store.by_expiry.len(), 1);
    }

    #[test]
    fn expire_zero_stores_nothing() {
        let mut local = Local::new(0, 1 << 20);
        local.publish("c", b"one", None, 0);
        assert_eq!(fetched(&mut local, "c", 0), None);
    }

    #[test]
    fn a_full_store_gives_up_what_expires_first() {
        let mut local = Local::new(10, 3 * (1 + 100 + OVERHEAD_BYTES));
        for (at, channel) in ["a", "b", "c", "d"].into_iter().enumerate() {
            local.publish(channel, &[b'x'; 100], None, at as u64);
        }
        assert_eq!(fetched(&mut local, "a", 5), None);
        assert!(fetched(&mut local, "b", 5).is_some());
        assert_eq!(local.evicted(), 1);
        local.publish("e", &[b'x'; 10_000], None, 6);
        assert_eq!(fetched(&mut local, "e", 6), None, "larger than the whole store");
        assert_eq!((local.store.messages.len(), local.evicted()), (3, 2), "and the others stay");
    }

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        let mut local = Local::new(10, 1 << 20);
        local.subscribe(vec![Arc::from("c")]);
        local.fetch("c", 0);
        local.publish("c", b"x", None, 0);
        assert_eq!(local.next(), Some(Event::Subscribed { channel: b"c" }));
        assert_eq!(local.next(), Some(Event::Answer(None)));
        assert!(matches!(local.next(), Some(Event::Delivery(_))));
    }
}
