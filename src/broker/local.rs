//! L1: the broker in this process.
//!
//! For development and for sites of one process. It knows channels, messages and when they expire;
//! not who hears them. What it is asked, it answers through the same queue of events as Redis does.

use std::collections::VecDeque;
use std::sync::Arc;

use super::history::look::Look;
use super::history::{Histories, HistoryRules, Offset};
use super::store::{Store, Writer};
use super::{Ask, BrokerEvent, Delivery, PublishOutcome, Receipt};
use crate::link::{LinkId, Now};

/// The embedded broker.
#[derive(Debug)]
pub struct Local {
    expire_s: u64,
    /// Its life, by which positions are told from those of another.
    epoch: u32,
    store: Store,
    /// The histories, where a channel may have one.
    histories: Option<Box<Histories>>,
    events: VecDeque<Happened>,
    /// The event that the owner looks at.
    current: Option<Happened>,
}

#[derive(Debug)]
enum Happened {
    Delivered { channel: Arc<[u8]>, payload: Arc<[u8]>, except: Option<LinkId> },
    Announced { channel: Arc<[u8]>, payload: Arc<[u8]> },
    Subscribed { channel: Arc<str> },
    Answered { ask: Ask, payload: Option<Arc<[u8]>> },
    Published { receipt: Receipt },
}

impl Local {
    /// A broker that has nothing stored yet, and keeps to `store_limit` bytes; what is published by
    /// conns is stored for `expire_s` seconds.
    pub fn new(expire_s: u64, store_limit: usize) -> Self {
        let store = Store::new(store_limit);
        Local { expire_s, epoch: 0, store, histories: None, events: VecDeque::new(), current: None }
    }

    /// The same, of that life.
    pub(super) fn with_epoch(self, epoch: u32) -> Self {
        // 0 is for a life that is not known.
        Local { epoch: epoch.max(1), ..self }
    }

    /// What is stored and has not expired.
    pub fn store(&mut self, now_ms: u64) -> &mut Store {
        self.store.expire(now_ms);
        &mut self.store
    }

    /// Has what is published on channels that these rules fit recorded, in so many bytes.
    pub(super) fn keep_histories(&mut self, rules: HistoryRules, limit: usize) {
        self.histories = Some(Box::new(Histories::new(rules, limit)));
    }

    /// The histories, without what has expired, if there are any.
    pub(super) fn histories(&mut self, now_ms: u64) -> Option<&mut Histories> {
        let histories = self.histories.as_deref_mut()?;
        histories.expire(now_ms);
        Some(histories)
    }

    /// Publishes a message of a RESP client, for the conns, and stores nothing. It is in the
    /// channel's history already where that client has put it there: with that offset.
    pub fn announce(
        &mut self,
        channel: Arc<[u8]>,
        payload: Arc<[u8]>,
        recorded: Option<Offset>,
        now: Now,
    ) {
        if recorded.is_none() {
            self.record(&channel, &payload, now);
        }
        self.events.push_back(Happened::Announced { channel, payload });
    }

    pub(super) fn subscribe(&mut self, channels: Vec<Arc<str>>) {
        self.events.extend(channels.into_iter().map(|channel| Happened::Subscribed { channel }));
    }

    pub(super) fn ask(&mut self, ask: Ask, name: &str, now_ms: u64) {
        let payload = self.store(now_ms).get(name.as_bytes()).cloned();
        self.events.push_back(Happened::Answered { ask, payload });
    }

    /// Whether none of these channels has a stored message.
    pub(crate) fn stores_none_of(&mut self, channels: &[String], now_ms: u64) -> bool {
        let store = self.store(now_ms);
        channels.iter().all(|name| store.get(name.as_bytes()).is_none())
    }

    pub(super) fn look(
        &mut self,
        ask: Ask,
        channel: &str,
        look: Look,
        bytes: (usize, usize),
        now: Now,
    ) {
        let stored = self.store(now.mono_ms).get(channel.as_bytes()).cloned();
        let epoch = self.epoch;
        let histories = self.histories(now.mono_ms).map(|histories| &*histories);
        let life = (now.unix_ms, epoch);
        let answer = look.answer(channel.as_bytes(), histories, stored.as_deref(), life, bytes);
        self.events.push_back(Happened::Answered { ask, payload: Some(answer.into()) });
    }

    pub(super) fn publish(
        &mut self,
        channel: &str,
        payload: &[u8],
        except: Option<LinkId>,
        now: Now,
    ) {
        let now_ms = now.mono_ms;
        let channel: Arc<[u8]> = Arc::from(channel.as_bytes());
        let payload: Arc<[u8]> = Arc::from(payload);
        if self.expire_s > 0 {
            let expires_ms = now_ms.saturating_add(self.expire_s.saturating_mul(1000));
            let (name, value) = (channel.clone(), payload.clone());
            self.store(now_ms).set(name, value, expires_ms, Writer::Browser);
        }
        self.record(&channel, &payload, now);
        self.events.push_back(Happened::Delivered { channel, payload, except });
    }

    /// What was published last is said to be so.
    pub(super) fn accepted(&mut self, receipt: Receipt) {
        self.events.push_back(Happened::Published { receipt });
    }

    fn record(&mut self, channel: &[u8], payload: &Arc<[u8]>, now: Now) {
        // What is empty reaches nobody.
        if let Some(histories) = &mut self.histories
            && !payload.is_empty()
        {
            histories.record(channel, payload.clone(), now);
        }
    }

    pub(super) fn next(&mut self) -> Option<BrokerEvent<'_>> {
        self.current = self.events.pop_front();
        if self.current.is_none() && self.events.capacity() > 1024 {
            self.events.shrink_to(0);
        }
        Some(match self.current.as_ref()? {
            Happened::Delivered { channel, payload, except } => BrokerEvent::Delivery(Delivery {
                channel,
                payload,
                except: *except,
                is_sharded: false,
            }),
            Happened::Announced { channel, payload } => BrokerEvent::Announced(Delivery {
                channel,
                payload,
                except: None,
                is_sharded: false,
            }),
            Happened::Subscribed { channel } => {
                BrokerEvent::Subscribed { channel: channel.as_bytes() }
            }
            Happened::Answered { ask, payload } => {
                BrokerEvent::Answer { ask: *ask, payload: payload.as_deref() }
            }
            Happened::Published { receipt } => {
                let outcome = PublishOutcome::Accepted;
                BrokerEvent::Published { receipt: *receipt, outcome }
            }
        })
    }

    pub(super) fn has_more(&self) -> bool {
        !self.events.is_empty()
    }

    /// Bytes of stored messages and their names.
    pub fn stored_bytes(&self) -> usize {
        self.store.bytes()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.store.evicted()
    }

    /// Bytes that histories take.
    pub fn history_bytes(&self) -> usize {
        self.histories.as_ref().map_or(0, |histories| histories.bytes())
    }

    pub(super) fn history_evicted(&self) -> u64 {
        self.histories.as_ref().map_or(0, |histories| histories.evicted())
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::OVERHEAD_BYTES;
    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono_ms: ms, unix_ms: ms }
    }

    fn fetched(local: &mut Local, channel: &str, now_ms: u64) -> Option<Vec<u8>> {
        local.ask(Ask::Stored(1), channel, now_ms);
        let mut answer = None;
        while let Some(event) = local.next() {
            if let BrokerEvent::Answer { payload, .. } = event {
                answer = payload.map(<[u8]>::to_vec);
            }
        }
        answer
    }

    #[test]
    fn a_message_is_delivered_and_stored_until_it_expires() {
        let mut local = Local::new(10, 1 << 20);
        let except = Some(LinkId { index: 1, generation: 2 });
        local.publish("c", b"one", except, at(1000));
        let delivery = Delivery { channel: b"c", payload: b"one", except, is_sharded: false };
        assert_eq!(local.next(), Some(BrokerEvent::Delivery(delivery)));
        assert_eq!(local.next(), None);
        assert_eq!(fetched(&mut local, "c", 10_999).as_deref(), Some(&b"one"[..]));
        assert_eq!(fetched(&mut local, "c", 11_000), None);
        assert_eq!(local.store.bytes(), 0);
    }

    #[test]
    fn a_later_message_replaces_the_stored_one_and_renews_its_time() {
        let mut local = Local::new(10, 1 << 20);
        local.publish("c", b"one", None, at(0));
        local.publish("c", b"two", None, at(5000));
        assert_eq!(fetched(&mut local, "c", 14_999).as_deref(), Some(&b"two"[..]));
        assert_eq!(local.store.len(), 1);
    }

    #[test]
    fn expire_zero_stores_nothing() {
        let mut local = Local::new(0, 1 << 20);
        local.publish("c", b"one", None, at(0));
        assert_eq!(fetched(&mut local, "c", 0), None);
    }

    #[test]
    fn a_full_store_gives_up_what_expires_first() {
        let mut local = Local::new(10, 3 * (1 + 100 + OVERHEAD_BYTES));
        for (n, channel) in ["a", "b", "c", "d"].into_iter().enumerate() {
            local.publish(channel, &[b'x'; 100], None, at(n as u64));
        }
        assert_eq!(fetched(&mut local, "a", 5), None);
        assert!(fetched(&mut local, "b", 5).is_some());
        assert_eq!(local.evicted(), 1);
        local.publish("e", &[b'x'; 10_000], None, at(6));
        assert_eq!(fetched(&mut local, "e", 6), None, "larger than the whole store");
        assert_eq!((local.store.len(), local.evicted()), (3, 2), "and the others stay");
    }

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        let mut local = Local::new(10, 1 << 20);
        local.subscribe(vec![Arc::from("c")]);
        local.ask(Ask::Stored(7), "c", 0);
        local.publish("c", b"x", None, at(0));
        assert_eq!(local.next(), Some(BrokerEvent::Subscribed { channel: b"c" }));
        assert_eq!(local.next(), Some(BrokerEvent::Answer { ask: Ask::Stored(7), payload: None }));
        assert!(matches!(local.next(), Some(BrokerEvent::Delivery(_))));
    }
}
