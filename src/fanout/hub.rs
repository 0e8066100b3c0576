//! L1: which conns hear which channel.
//!
//! It knows conns by their index and channels by name; not what is delivered, nor whether the
//! broker has heard of a channel. Its rules:
//! * subscribing, unsubscribing and finding a channel take constant time, however many conns;
//! * it reports the first subscriber of a channel and the last one that leaves;
//! * a subscription costs 24 bytes, and a conn remembers only the first of its own;
//! * order is that of arrival and departure alone, never that of a hash map.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use slab::Slab;

/// A channel's place in the hub; reused after its last subscriber has left.
pub(crate) type ChannelId = u32;

/// The first of a conn's subscriptions, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscriptions(u32);

const NONE: u32 = u32::MAX;

impl Default for Subscriptions {
    fn default() -> Self {
        Subscriptions(NONE)
    }
}

/// The channels and who hears them. `S` is what the owner keeps for each channel.
#[derive(Debug)]
pub(crate) struct Hub<S> {
    channels: Slab<Channel<S>>,
    /// The channels by their names, which they have themselves.
    ids: HashTable<ChannelId>,
    keys: RandomState,
    subscriptions: Slab<Subscription>,
}

#[derive(Debug)]
struct Channel<S> {
    name: Arc<str>,
    subscribers: Vec<Subscriber>,
    state: S,
}

#[derive(Debug)]
struct Subscriber {
    conn: u32,
    subscription: u32,
}

#[derive(Debug)]
struct Subscription {
    channel: ChannelId,
    /// Where the conn stands among the channel's subscribers.
    position: u32,
    /// The conn's next subscription, or `NONE`.
    next: u32,
    /// The conn waits for the broker to confirm the channel.
    joins: bool,
    /// It waits for the channel's stored message.
    awaits_stored: bool,
    /// It waits, with everyone who heard the channel before, for what was stored during an outage.
    catches_up: bool,
}

impl<S: Default> Hub<S> {
    /// An empty hub, whose look-ups by name are hashed with `keys`.
    pub(crate) fn new(keys: RandomState) -> Self {
        let (channels, subscriptions) = (Slab::new(), Slab::new());
        Hub { channels, ids: HashTable::new(), keys, subscriptions }
    }

    /// Lets `conn` hear `name`; `of` are its subscriptions so far, of which this becomes the last.
    /// If `waits` says so of the channel, the subscription is marked until [`Hub::take_waiting`].
    /// True is for the channel's first subscriber.
    pub(crate) fn subscribe(
        &mut self,
        conn: u32,
        of: &mut Subscriptions,
        name: &str,
        waits: impl Fn(&S) -> bool,
    ) -> (ChannelId, bool) {
        let channel = self.find(name.as_bytes()).unwrap_or_else(|| self.add(name));
        let Channel { subscribers, state, .. } = &mut self.channels[channel as usize];
        let position = subscribers.len() as u32;
        let joins = waits(state);
        let (awaits_stored, catches_up) = (false, false);
        let entry =
            Subscription { channel, position, next: NONE, joins, awaits_stored, catches_up };
        let subscription = self.subscriptions.insert(entry) as u32;
        subscribers.push(Subscriber { conn, subscription });
        match self.last_of(*of) {
            Some(last) => self.subscriptions[last as usize].next = subscription,
            None => of.0 = subscription,
        }
        (channel, position == 0)
    }

    /// Takes one subscription from those in `of`; when it was the channel's last, the channel is
    /// forgotten and its name and state are returned. Call it until the outer `Option` is `None`.
    pub(crate) fn unsubscribe(&mut self, of: &mut Subscriptions) -> Option<Option<(Arc<str>, S)>> {
        if of.0 == NONE {
            return None;
        }
        let Subscription { channel, position, next, .. } = self.subscriptions.remove(of.0 as usize);
        of.0 = next;
        let subscribers = &mut self.channels[channel as usize].subscribers;
        subscribers.swap_remove(position as usize);
        if let Some(moved) = subscribers.get(position as usize) {
            self.subscriptions[moved.subscription as usize].position = position;
        }
        if subscribers.len() * 4 < subscribers.capacity() {
            subscribers.shrink_to(subscribers.len() * 2);
        }
        if !subscribers.is_empty() {
            return Some(None);
        }
        let Channel { name, state, .. } = self.channels.remove(channel as usize);
        if self.channels.is_empty() {
            // Slabs do not shrink, but what has no entry need have no memory.
            (self.channels, self.subscriptions) = (Slab::new(), Slab::new());
        }
        let hash = hash(name.as_bytes(), &self.keys);
        if let Ok(entry) = self.ids.find_entry(hash, |id| *id == channel) {
            entry.remove();
        }
        let (channels, keys) = (&self.channels, &self.keys);
        if self.ids.len() * 4 < self.ids.capacity() {
            self.ids.shrink_to(self.ids.len() * 2, |id| hash_of(*id, channels, keys));
        }
        Some(Some((name, state)))
    }

    /// The channel of that name, if anybody hears it.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<ChannelId> {
        let is_it = |id: &ChannelId| self.channels[*id as usize].name.as_bytes() == name;
        self.ids.find(hash(name, &self.keys), is_it).copied()
    }

    /// The channel's name.
    pub(crate) fn name(&self, channel: ChannelId) -> &Arc<str> {
        &self.channels[channel as usize].name
    }

    /// What the owner keeps for the channel.
    pub(crate) fn state(&mut self, channel: ChannelId) -> &mut S {
        &mut self.channels[channel as usize].state
    }

    /// What the owner keeps, for each channel.
    pub(crate) fn states(&self) -> impl Iterator<Item = &S> {
        self.channels.iter().map(|(_, channel)| &channel.state)
    }

    /// Whether the id still names a channel.
    pub(crate) fn contains(&self, channel: ChannelId) -> bool {
        self.channels.contains(channel as usize)
    }

    /// Every channel, in the order of their ids.
    pub(crate) fn channels(&self) -> impl Iterator<Item = (ChannelId, &Arc<str>)> {
        self.channels.iter().map(|(id, channel)| (id as ChannelId, &channel.name))
    }

    /// The number of channels.
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// The conns that hear the channel.
    pub(crate) fn subscribers(&self, channel: ChannelId) -> impl ExactSizeIterator<Item = u32> {
        self.channels[channel as usize].subscribers.iter().map(|subscriber| subscriber.conn)
    }

    /// The conns that waited for the channel's confirmation; they wait no longer.
    pub(crate) fn take_waiting(&mut self, channel: ChannelId) -> Vec<u32> {
        let subscriptions = &mut self.subscriptions;
        let waited = |subscriber: &Subscriber| {
            let entry = &mut subscriptions[subscriber.subscription as usize];
            std::mem::take(&mut entry.joins).then_some(subscriber.conn)
        };
        self.channels[channel as usize].subscribers.iter().filter_map(waited).collect()
    }

    /// Lets the conn that came to the channel last wait for its stored message. Returns the
    /// subscription, for [`Hub::release`].
    pub(crate) fn hold(&mut self, channel: ChannelId) -> u32 {
        let last = self.channels[channel as usize].subscribers.last();
        let subscription = last.expect("somebody hears it").subscription;
        self.subscriptions[subscription as usize].awaits_stored = true;
        subscription
    }

    /// Lets everybody who hears the channel wait for its stored message.
    pub(crate) fn hold_all(&mut self, channel: ChannelId) {
        for subscriber in &self.channels[channel as usize].subscribers {
            self.subscriptions[subscriber.subscription as usize].catches_up = true;
        }
    }

    /// Lets a conn wait no more for the channel's stored message; false when it does not wait, or
    /// the subscription is another one by now.
    pub(crate) fn release(&mut self, channel: ChannelId, subscription: u32, conn: u32) -> bool {
        let Some(entry) = self.subscriptions.get_mut(subscription as usize) else { return false };
        let subscribers = &self.channels[channel as usize].subscribers;
        let stands = subscribers.get(entry.position as usize);
        let same = stands.is_some_and(|one| (one.conn, one.subscription) == (conn, subscription));
        let waited = same && entry.channel == channel && entry.awaits_stored;
        if waited {
            (entry.awaits_stored, entry.catches_up) = (false, false);
        }
        waited
    }

    /// The conns that waited for what was stored during an outage and for nothing else; they wait
    /// no longer.
    pub(crate) fn release_all(&mut self, channel: ChannelId) -> Vec<u32> {
        let subscriptions = &mut self.subscriptions;
        let waited = |subscriber: &Subscriber| {
            let entry = &mut subscriptions[subscriber.subscription as usize];
            let waited = std::mem::take(&mut entry.catches_up) && !entry.awaits_stored;
            waited.then_some(subscriber.conn)
        };
        self.channels[channel as usize].subscribers.iter().filter_map(waited).collect()
    }

    /// The conns that hear the channel and do not wait for its stored message.
    pub(crate) fn receivers(&self, channel: ChannelId) -> impl Iterator<Item = u32> {
        let subscriptions = &self.subscriptions;
        let receives = |one: &&Subscriber| {
            let entry = &subscriptions[one.subscription as usize];
            !entry.awaits_stored && !entry.catches_up
        };
        let subscribers = &self.channels[channel as usize].subscribers;
        subscribers.iter().filter(receives).map(|subscriber| subscriber.conn)
    }

    /// The channels of a conn, in the order of its subscribing.
    pub(crate) fn channels_of(&self, of: Subscriptions) -> impl Iterator<Item = ChannelId> {
        let entry = |at: u32| self.subscriptions.get(at as usize);
        std::iter::successors(entry(of.0), move |s| entry(s.next)).map(|s| s.channel)
    }

    /// Panics when the index disagrees with itself.
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.ids.len(), self.channels.len());
        let mut seen = 0;
        for (id, channel) in &self.channels {
            assert!(!channel.subscribers.is_empty(), "a channel nobody hears was kept");
            assert_eq!(self.find(channel.name.as_bytes()), Some(id as u32));
            for (position, subscriber) in channel.subscribers.iter().enumerate() {
                let subscription = &self.subscriptions[subscriber.subscription as usize];
                assert_eq!(subscription.channel as usize, id);
                assert_eq!(subscription.position as usize, position);
                seen += 1;
            }
        }
        assert_eq!(seen, self.subscriptions.len());
    }

    /// A channel that nobody hears yet. Most have one subscriber at most.
    fn add(&mut self, name: &str) -> ChannelId {
        let (subscribers, state) = (Vec::with_capacity(1), S::default());
        let entry = Channel { name: Arc::from(name), subscribers, state };
        let channel = self.channels.insert(entry) as ChannelId;
        let (channels, keys) = (&self.channels, &self.keys);
        let hash = hash(name.as_bytes(), keys);
        self.ids.insert_unique(hash, channel, |id| hash_of(*id, channels, keys));
        channel
    }

    fn last_of(&self, of: Subscriptions) -> Option<u32> {
        let mut last = (of.0 != NONE).then_some(of.0)?;
        while self.subscriptions[last as usize].next != NONE {
            last = self.subscriptions[last as usize].next;
        }
        Some(last)
    }
}

/// What a channel is found by.
fn hash_of<S>(id: ChannelId, channels: &Slab<Channel<S>>, keys: &RandomState) -> u64 {
    hash(channels[id as usize].name.as_bytes(), keys)
}

/// The hash of a name: of its bytes alone, as it is the whole of what is hashed.
fn hash(name: &[u8], keys: &RandomState) -> u64 {
    let mut hasher = keys.build_hasher();
    hasher.write(name);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> Hub<u8> {
        Hub::new(RandomState::new())
    }

    #[test]
    fn a_subscription_is_small() {
        assert_eq!(size_of::<Subscription>(), 16);
        assert_eq!(size_of::<Option<Subscription>>(), 16, "a free place costs no more");
        assert_eq!(size_of::<Subscriber>(), 8);
    }

    #[test]
    fn first_and_last_are_reported_once() {
        let mut hub = hub();
        let (mut a, mut b) = Default::default();
        let (channel, first) = hub.subscribe(1, &mut a, "x", |_| false);
        assert!(first);
        assert_eq!(hub.subscribe(2, &mut b, "x", |_| false), (channel, false));
        assert_eq!(hub.subscribers(channel).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(hub.unsubscribe(&mut a), Some(None));
        assert_eq!(hub.unsubscribe(&mut a), None);
        assert_eq!(hub.unsubscribe(&mut b), Some(Some((Arc::from("x"), 0))));
        assert!(hub.len() == 0 && hub.find(b"x").is_none());
        hub.check_invariants();
    }

    #[test]
    fn a_conns_channels_keep_their_order() {
        let mut hub = hub();
        let mut of = Subscriptions::default();
        for name in ["broadcast:x", "group:g:x", "user:u:x"] {
            hub.subscribe(7, &mut of, name, |_| false);
        }
        let names: Vec<_> = hub.channels_of(of).map(|c| hub.name(c).to_string()).collect();
        assert_eq!(names, ["broadcast:x", "group:g:x", "user:u:x"]);
    }

    #[test]
    fn waiting_is_taken_once() {
        let mut hub = hub();
        let (mut a, mut b) = Default::default();
        let (channel, _) = hub.subscribe(1, &mut a, "x", |_| true);
        hub.subscribe(2, &mut b, "x", |_| false);
        assert_eq!(hub.take_waiting(channel), [1]);
        assert!(hub.take_waiting(channel).is_empty());
    }

    #[test]
    fn who_waits_for_a_stored_message_receives_nothing_until_it_is_released() {
        let mut hub = hub();
        let (mut a, mut b, mut c) = Default::default();
        let (channel, _) = hub.subscribe(1, &mut a, "x", |_| false);
        hub.hold_all(channel);
        hub.subscribe(2, &mut b, "x", |_| false);
        let second = hub.hold(channel);
        let receivers = |hub: &Hub<u8>| hub.receivers(channel).collect::<Vec<_>>();
        assert!(receivers(&hub).is_empty());
        assert!(!hub.release(channel, second, 1), "it is another's");
        assert!(hub.release(channel, second, 2) && !hub.release(channel, second, 2));
        assert_eq!(receivers(&hub), [2]);
        assert_eq!((hub.release_all(channel), hub.release_all(channel)), (vec![1], vec![]));
        assert_eq!(receivers(&hub), [1, 2]);
        while hub.unsubscribe(&mut b).is_some() {}
        hub.subscribe(3, &mut c, "y", |_| false);
        assert!(!hub.release(channel, second, 2), "it has gone");
    }

    #[test]
    fn any_order_of_coming_and_going_agrees_with_a_plain_model() {
        let mut hub = hub();
        let mut conns: Vec<(Subscriptions, Vec<String>)> = vec![Default::default(); 40];
        let mut random = 1u64;
        let mut roll = move |below: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % below
        };
        for _ in 0..20_000 {
            let conn = roll(40) as usize;
            if conns[conn].1.len() < 3 && roll(3) > 0 {
                let name = format!("c{}", roll(12));
                let heard = conns.iter().any(|(_, names)| names.contains(&name));
                let (of, names) = &mut conns[conn];
                if names.contains(&name) {
                    continue;
                }
                let (_, first) = hub.subscribe(conn as u32, of, &name, |_| false);
                assert_eq!(first, !heard);
                names.push(name);
            } else {
                let (mut of, names) = std::mem::take(&mut conns[conn]);
                for name in names {
                    let gone = hub.unsubscribe(&mut of).expect("as many as were subscribed");
                    let heard = conns.iter().any(|(_, names)| names.contains(&name));
                    assert_eq!(gone.map(|(n, _)| n.to_string()), (!heard).then_some(name));
                }
                assert_eq!(hub.unsubscribe(&mut of), None);
            }
            hub.check_invariants();
        }
    }
}
