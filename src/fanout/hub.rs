//! L1: which conns hear which channel.
//!
//! It knows conns by their index and channels by name; not what is delivered, nor whether the
//! broker has heard of a channel. Its rules:
//! * subscribing, unsubscribing and finding a channel take constant time, however many conns;
//! * a conn of the relay subscribes once, to all that it will ever hear, each channel once; others
//!   come to hear one channel after the other;
//! * it reports the first subscriber of a channel and the last one that leaves;
//! * a subscription costs 12 bytes, or 4 when it is a conn's only one. Who waits for something is
//!   noted elsewhere, for as long as it waits;
//! * order is that of arrival and departure alone, never that of a hash map.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::iter;
use std::sync::Arc;

use hashbrown::HashTable;

pub(crate) use super::heard::ChannelId;
use super::heard::{Conns, Heard, Subscription};
use super::subscribers::Subscribers;
use crate::link::places::Places;

/// The part of a channel's name that says whose it is, if it is somebody's.
pub(crate) type OwnerOf = fn(&str) -> Option<&str>;

/// The channels and who hears them. `S` is what the owner keeps for each channel.
#[derive(Debug)]
pub(crate) struct Hub<S> {
    channels: Places<Channel<S>>,
    /// The channels by their names, which they have themselves.
    ids: HashTable<ChannelId>,
    /// One channel of each owner, which leads to the others.
    owners: HashTable<ChannelId>,
    owner_of: OwnerOf,
    keys: RandomState,
    conns: Conns,
    /// Who waits for something on a channel.
    waiting: BTreeMap<(ChannelId, u32), Waits>,
    /// Channels on which everybody waits for what was stored during an outage, but for those that
    /// are said to be exempt.
    catching_up: BTreeSet<ChannelId>,
}

#[derive(Debug)]
struct Channel<S> {
    name: Arc<str>,
    subscribers: Subscribers,
    /// The next channel of the same owner and the one before, in a circle.
    next: ChannelId,
    before: ChannelId,
    state: S,
}

/// What a conn waits for on a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// That the broker confirms the channel.
    confirmation: bool,
    /// The channel's stored message.
    stored: bool,
    /// Not for what was stored during an outage, as others do.
    exempt: bool,
}

impl Waits {
    /// For its confirmation, if need be, and for nothing that is stored.
    pub(crate) fn for_confirmation(confirmed: bool) -> Self {
        Waits { confirmation: !confirmed, ..Waits::default() }
    }

    /// For the channel's stored message, and before that for its confirmation, if need be.
    pub(crate) fn for_stored(confirmed: bool) -> Self {
        Waits { confirmation: !confirmed, stored: true, exempt: false }
    }
}

/// A channel that a conn has come to hear.
pub(crate) struct Joined<'a, S> {
    pub channel: ChannelId,
    pub name: &'a Arc<str>,
    pub state: &'a mut S,
    /// It is the channel's first subscriber.
    pub first: bool,
}

impl<S: Default> Hub<S> {
    /// An empty hub, whose look-ups by name are hashed with `keys`.
    pub(crate) fn new(keys: RandomState, owner_of: OwnerOf) -> Self {
        Hub {
            channels: Places::default(),
            ids: HashTable::new(),
            owners: HashTable::new(),
            owner_of,
            keys,
            conns: Conns::default(),
            waiting: BTreeMap::new(),
            catching_up: BTreeSet::new(),
        }
    }

    /// Lets `conn`, which hears nothing, hear these channels; `waits` says what it waits for on
    /// each of them.
    pub(crate) fn subscribe<'a>(
        &mut self,
        conn: u32,
        mut names: impl ExactSizeIterator<Item = &'a str>,
        mut waits: impl FnMut(Joined<'_, S>) -> Waits,
    ) {
        let heard = match names.len() {
            0 => return,
            1 => {
                let name = names.next().expect("it is one");
                Heard::One(self.join(conn, name, &mut waits))
            }
            _ => Heard::Many(names.map(|name| self.join(conn, name, &mut waits)).collect()),
        };
        self.conns.enter(conn, heard);
    }

    /// Takes a conn from all channels that it hears; `forgotten` are told those of which it was the
    /// last.
    pub(crate) fn unsubscribe(&mut self, conn: u32, mut forgotten: impl FnMut(Arc<str>, S)) {
        for Subscription { channel, position } in self.conns.leave(conn).as_slice() {
            if !self.waiting.is_empty() {
                self.waiting.remove(&(*channel, conn));
            }
            let subscribers = &mut self.channels[*channel].subscribers;
            if subscribers.as_slice().len() == 1 {
                let Channel { name, state, .. } = self.remove(*channel);
                forgotten(name, state);
            } else if let Some(moved) = subscribers.swap_remove(*position as usize) {
                self.conns.moved(moved, *channel, *position);
            }
        }
    }

    /// Lets `conn` hear one channel more, unless it hears that one.
    #[inline(never)]
    pub(crate) fn subscribe_also(
        &mut self,
        conn: u32,
        name: &str,
        mut waits: impl FnMut(Joined<'_, S>) -> Waits,
    ) {
        let known = self.find(name.as_bytes());
        if known.is_none_or(|channel| self.channels_of(conn).all(|heard| heard != channel)) {
            let subscription = self.join(conn, name, &mut waits);
            self.conns.add(conn, subscription);
        }
    }

    /// Takes a conn from one channel, if it hears that; the channel if it was the last.
    #[inline(never)]
    pub(crate) fn unsubscribe_from(
        &mut self,
        conn: u32,
        channel: ChannelId,
    ) -> Option<(Arc<str>, S)> {
        let Subscription { position, .. } = self.conns.remove(conn, channel)?;
        self.waiting.remove(&(channel, conn));
        let subscribers = &mut self.channels[channel].subscribers;
        if subscribers.as_slice().len() == 1 {
            let Channel { name, state, .. } = self.remove(channel);
            return Some((name, state));
        }
        if let Some(moved) = subscribers.swap_remove(position as usize) {
            self.conns.moved(moved, channel, position);
        }
        None
    }

    /// The channel of that name, if anybody hears it.
    #[inline]
    pub(crate) fn find(&self, name: &[u8]) -> Option<ChannelId> {
        let is_it = |id: &ChannelId| self.channels[*id].name.as_bytes() == name;
        self.ids.find(hash(name, &self.keys), is_it).copied()
    }

    /// The channel's name.
    pub(crate) fn name(&self, channel: ChannelId) -> &Arc<str> {
        &self.channels[channel].name
    }

    /// What the owner keeps for the channel.
    pub(crate) fn state(&mut self, channel: ChannelId) -> &mut S {
        &mut self.channels[channel].state
    }

    /// The same, to be looked at.
    pub(crate) fn peek(&self, channel: ChannelId) -> &S {
        &self.channels[channel].state
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
    #[inline]
    pub(crate) fn subscribers(&self, channel: ChannelId) -> impl ExactSizeIterator<Item = u32> {
        self.channels[channel].subscribers.as_slice().iter().copied()
    }

    /// The channels of a conn, in the order of its subscribing.
    pub(crate) fn channels_of(&self, conn: u32) -> impl ExactSizeIterator<Item = ChannelId> {
        self.conns.of(conn).iter().map(|one| one.channel)
    }

    /// The channels of each conn, in the order of its subscribing.
    pub(crate) fn channels_of_each(
        &self,
    ) -> impl Iterator<Item = impl Iterator<Item = ChannelId> + '_> {
        self.conns.all().map(|heard| heard.iter().map(|one| one.channel))
    }

    /// The conns that hear something, in the order of their indices.
    pub(crate) fn conns(&self) -> impl Iterator<Item = u32> {
        let heard = self.conns.all().enumerate().filter(|(_, heard)| !heard.is_empty());
        heard.map(|(conn, _)| conn as u32)
    }

    /// The conns that hear a channel of that owner's.
    pub(crate) fn heard_of(&self, owner: &str) -> impl Iterator<Item = u32> {
        let is_it = |id: &ChannelId| self.owner(*id) == Some(owner);
        let first = self.owners.find(hash(owner.as_bytes(), &self.keys), is_it).copied();
        let next =
            move |id: &ChannelId| Some(self.channels[*id].next).filter(|id| Some(*id) != first);
        iter::successors(first, next).flat_map(|id| self.subscribers(id))
    }

    /// The conns that waited for the channel's confirmation; they wait no longer.
    pub(crate) fn take_waiting(&mut self, channel: ChannelId) -> Vec<u32> {
        let waited = |waits: &mut Waits| std::mem::take(&mut waits.confirmation);
        self.take(channel, waited)
    }

    /// Lets everybody who hears the channel wait for its stored message. Those whose waiting since
    /// the outage before is over, while that of others is not, wait by themselves; returns them.
    pub(crate) fn hold_all(&mut self, channel: ChannelId) -> Vec<u32> {
        self.catching_up.insert(channel);
        self.take(channel, |waits| {
            let released = std::mem::take(&mut waits.exempt) && !waits.stored;
            waits.stored |= released;
            released
        })
    }

    /// Lets a conn wait no more for the channel's stored message; false when it does not wait.
    pub(crate) fn release(&mut self, channel: ChannelId, conn: u32) -> bool {
        let Entry::Occupied(mut entry) = self.waiting.entry((channel, conn)) else { return false };
        let exempt = self.catching_up.contains(&channel);
        let waited = std::mem::take(&mut entry.get_mut().stored);
        if waited {
            entry.get_mut().exempt = exempt;
        }
        if *entry.get() == Waits::default() {
            entry.remove();
        }
        waited
    }

    /// The conns that waited for what was stored during an outage and for nothing else; they wait
    /// no longer.
    pub(crate) fn release_all(&mut self, channel: ChannelId) -> Vec<u32> {
        if !self.catching_up.contains(&channel) {
            return Vec::new();
        }
        let released = self.who(channel, |waits| !waits.stored && !waits.exempt);
        self.catching_up.remove(&channel);
        self.take(channel, |waits| std::mem::take(&mut waits.exempt));
        released
    }

    /// The conns that hear the channel and do not wait for its stored message.
    pub(crate) fn receivers(&self, channel: ChannelId) -> Vec<u32> {
        let all_wait = self.catching_up.contains(&channel);
        self.who(channel, |waits| !waits.stored && (waits.exempt || !all_wait))
    }

    /// Panics when the index disagrees with itself.
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.ids.len(), self.channels.len());
        let (mut subscriptions, mut circles) = (0, 0);
        for (id, channel) in self.channels.iter() {
            let id = id as ChannelId;
            assert_eq!(self.find(channel.name.as_bytes()), Some(id));
            for (position, conn) in channel.subscribers.as_slice().iter().enumerate() {
                let here = Subscription { channel: id, position: position as u32 };
                assert!(self.conns.of(*conn).contains(&here), "{conn} is not where it stands");
                subscriptions += 1;
            }
            let next = &self.channels[channel.next];
            assert_eq!(next.before, id);
            assert_eq!(self.owner(channel.next), self.owner(id));
            let owner = self.owner(id);
            let first = owner.and_then(|owner| self.first_of(owner));
            assert_eq!(first.is_some(), owner.is_some(), "{} is found by nobody", channel.name);
            circles += usize::from(first == Some(id));
        }
        assert_eq!(circles, self.owners.len());
        assert_eq!(subscriptions, self.conns.all().map(<[_]>::len).sum::<usize>());
        for ((channel, conn), waits) in &self.waiting {
            let hears = self.channels_of(*conn).any(|heard| heard == *channel);
            assert!(hears && *waits != Waits::default(), "{conn} waits for nothing");
            assert!(!waits.exempt || self.catching_up.contains(channel));
        }
        assert!(self.catching_up.iter().all(|channel| self.contains(*channel)));
    }

    /// The conns that hear the channel and wait for such.
    fn who(&self, channel: ChannelId, is: impl Fn(Waits) -> bool) -> Vec<u32> {
        let waiting = self.waiting.range((channel, 0)..=(channel, u32::MAX));
        let waiting: Vec<_> = waiting.map(|((_, conn), waits)| (*conn, *waits)).collect();
        let waits = |conn: &u32| {
            let at = waiting.binary_search_by_key(conn, |(conn, _)| *conn);
            at.map(|at| waiting[at].1).unwrap_or_default()
        };
        self.subscribers(channel).filter(|conn| is(waits(conn))).collect()
    }

    /// The conns of which that is so when it is taken from what they wait for.
    fn take(&mut self, channel: ChannelId, mut take: impl FnMut(&mut Waits) -> bool) -> Vec<u32> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let all = self.waiting.range_mut((channel, 0)..=(channel, u32::MAX));
        let taken = all.filter_map(|((_, conn), waits)| take(waits).then_some(*conn));
        let taken: Vec<u32> = taken.collect();
        for conn in &taken {
            let key = (channel, *conn);
            if self.waiting.get(&key) == Some(&Waits::default()) {
                self.waiting.remove(&key);
            }
        }
        taken
    }

    fn join(
        &mut self,
        conn: u32,
        name: &str,
        waits: &mut impl FnMut(Joined<'_, S>) -> Waits,
    ) -> Subscription {
        let (channel, position) = match self.find(name.as_bytes()) {
            None => (self.add(name, conn), 0),
            Some(channel) => {
                let subscribers = &mut self.channels[channel].subscribers;
                subscribers.push(conn);
                (channel, subscribers.as_slice().len() - 1)
            }
        };
        let exempt = position > 0 && self.catching_up.contains(&channel);
        let Channel { name, state, .. } = &mut self.channels[channel];
        let waits = waits(Joined { channel, name, state, first: position == 0 });
        let waits = Waits { exempt, ..waits };
        if waits != Waits::default() {
            self.waiting.insert((channel, conn), waits);
        }
        Subscription { channel, position: position as u32 }
    }

    /// A channel that one conn hears.
    fn add(&mut self, name: &str, conn: u32) -> ChannelId {
        let (subscribers, state) = (Subscribers::One(conn), S::default());
        let channel = Channel { name: Arc::from(name), subscribers, next: 0, before: 0, state };
        let id = self.channels.insert(channel) as ChannelId;
        let (channels, keys) = (&self.channels, &self.keys);
        let hash_of = |id: &ChannelId| hash(channels[*id].name.as_bytes(), keys);
        self.ids.insert_unique(hash(name.as_bytes(), keys), id, hash_of);
        let owner = (self.owner_of)(name);
        let first = owner.and_then(|owner| self.first_of(owner));
        let before = first.map_or(id, |first| self.channels[first].before);
        let next = first.unwrap_or(id);
        let channel = &mut self.channels[id];
        (channel.next, channel.before) = (next, before);
        self.channels[before].next = id;
        self.channels[next].before = id;
        if first.is_none()
            && let Some(owner) = owner
        {
            let (channels, keys, owner_of) = (&self.channels, &self.keys, self.owner_of);
            let hash_of = |id: &ChannelId| hash_of_owner(*id, channels, keys, owner_of);
            self.owners.insert_unique(hash(owner.as_bytes(), keys), id, hash_of);
        }
        id
    }

    fn remove(&mut self, id: ChannelId) -> Channel<S> {
        let (name, owner_of) = (self.channels[id].name.clone(), self.owner_of);
        if let Ok(entry) = self.ids.find_entry(hash(name.as_bytes(), &self.keys), |at| *at == id) {
            entry.remove();
        }
        let Channel { next, before, .. } = self.channels[id];
        (self.channels[next].before, self.channels[before].next) = (before, next);
        if let Some(owner) = owner_of(&name) {
            let hash = hash(owner.as_bytes(), &self.keys);
            match self.owners.find_entry(hash, |at| *at == id) {
                Ok(entry) if next == id => drop(entry.remove()),
                Ok(mut entry) => *entry.get_mut() = next,
                Err(_) => {}
            }
        }
        self.catching_up.remove(&id);
        let channel = self.channels.remove(id as usize);
        let (channels, keys) = (&self.channels, &self.keys);
        shrink(&mut self.ids, |id| hash(channels[*id].name.as_bytes(), keys));
        shrink(&mut self.owners, |id| hash_of_owner(*id, channels, keys, owner_of));
        channel
    }

    /// The channel by which those of an owner are found.
    fn first_of(&self, owner: &str) -> Option<ChannelId> {
        let is_it = |id: &ChannelId| self.owner(*id) == Some(owner);
        self.owners.find(hash(owner.as_bytes(), &self.keys), is_it).copied()
    }

    /// Whose a channel is.
    fn owner(&self, channel: ChannelId) -> Option<&str> {
        (self.owner_of)(&self.channels[channel].name)
    }
}

fn hash_of_owner<S>(
    id: ChannelId,
    channels: &Places<Channel<S>>,
    keys: &RandomState,
    owner_of: OwnerOf,
) -> u64 {
    let owner = owner_of(&channels[id].name).expect("only somebody's channels are in the table");
    hash(owner.as_bytes(), keys)
}

/// The hash of a name: of its bytes alone, as it is the whole of what is hashed.
fn hash(name: &[u8], keys: &RandomState) -> u64 {
    let mut hasher = keys.build_hasher();
    hasher.write(name);
    hasher.finish()
}

fn shrink(table: &mut HashTable<ChannelId>, hash_of: impl Fn(&ChannelId) -> u64) {
    if table.len() * 4 < table.capacity() {
        table.shrink_to(table.len() * 2, hash_of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Whose a channel is stands before its colon.
    fn hub() -> Hub<u8> {
        Hub::new(RandomState::new(), |name| name.split_once(':').map(|(owner, _)| owner))
    }

    /// Subscribes a conn; returns the channels of which it is the first.
    fn subscribe(hub: &mut Hub<u8>, conn: u32, names: &[&str], waits: Waits) -> Vec<String> {
        let mut first = Vec::new();
        hub.subscribe(conn, names.iter().copied(), |joined| {
            first.extend(joined.first.then(|| joined.name.to_string()));
            waits
        });
        hub.check_invariants();
        first
    }

    /// Returns the channels that nobody hears any more.
    fn leave(hub: &mut Hub<u8>, conn: u32) -> Vec<String> {
        let mut forgotten = Vec::new();
        hub.unsubscribe(conn, |name, _| forgotten.push(name.to_string()));
        hub.check_invariants();
        forgotten
    }

    fn stored() -> Waits {
        Waits { stored: true, ..Waits::default() }
    }

    #[test]
    fn a_channel_is_small() {
        assert_eq!(size_of::<Channel<()>>(), 40);
        assert_eq!(size_of::<Option<Channel<()>>>(), 40, "a free place costs no more");
    }

    #[test]
    fn first_and_last_are_reported_once() {
        let (mut hub, waits) = (hub(), Waits::default());
        assert_eq!(subscribe(&mut hub, 1, &["x"], waits), ["x"]);
        assert!(subscribe(&mut hub, 2, &["x"], waits).is_empty());
        let channel = hub.find(b"x").expect("it is heard");
        assert_eq!(hub.subscribers(channel).collect::<Vec<_>>(), [1, 2]);
        assert!(leave(&mut hub, 1).is_empty() && leave(&mut hub, 1).is_empty());
        assert_eq!(leave(&mut hub, 2), ["x"]);
        assert!(hub.len() == 0 && hub.find(b"x").is_none());
    }

    #[test]
    fn a_conns_channels_keep_their_order() {
        let mut hub = hub();
        subscribe(&mut hub, 3, &["group:g:x"], Waits::default());
        let names = ["broadcast:x", "group:g:x", "user:u:x"];
        subscribe(&mut hub, 7, &names, Waits::default());
        let heard: Vec<_> = hub.channels_of(7).map(|c| hub.name(c).to_string()).collect();
        assert_eq!(heard, names);
    }

    #[test]
    fn waiting_is_taken_once() {
        let mut hub = hub();
        subscribe(&mut hub, 1, &["x"], Waits { confirmation: true, ..stored() });
        subscribe(&mut hub, 2, &["x"], stored());
        let channel = hub.find(b"x").expect("it is heard");
        assert_eq!(hub.take_waiting(channel), [1]);
        assert!(hub.take_waiting(channel).is_empty() && hub.receivers(channel).is_empty());
        assert!(hub.release(channel, 1) && hub.release(channel, 2));
        assert_eq!(hub.receivers(channel), [1, 2]);
        assert!(hub.waiting.is_empty());
    }

    #[test]
    fn who_waits_for_a_stored_message_receives_nothing_until_it_is_released() {
        let mut hub = hub();
        subscribe(&mut hub, 1, &["x"], Waits::default());
        let channel = hub.find(b"x").expect("it is heard");
        hub.hold_all(channel);
        subscribe(&mut hub, 2, &["x"], stored());
        subscribe(&mut hub, 3, &["x"], Waits::default());
        assert_eq!(hub.receivers(channel), [3]);
        assert!(!hub.release(channel, 1), "it waits for something else");
        assert!(hub.release(channel, 2) && !hub.release(channel, 2));
        assert_eq!(hub.receivers(channel), [2, 3]);
        assert_eq!((hub.release_all(channel), hub.release_all(channel)), (vec![1], vec![]));
        assert_eq!(hub.receivers(channel), [1, 2, 3]);
        // Who waits still is not among those who have caught up.
        leave(&mut hub, 2);
        subscribe(&mut hub, 2, &["x", "y"], stored());
        hub.hold_all(channel);
        hub.hold_all(channel);
        assert_eq!(hub.release_all(channel), [1, 3]);
        assert_eq!(hub.receivers(channel), [1, 3]);
        leave(&mut hub, 2);
        assert!(!hub.release(channel, 2), "it has gone");
    }

    #[test]
    fn who_has_caught_up_before_others_waits_by_itself_in_the_next_outage() {
        let mut hub = hub();
        subscribe(&mut hub, 1, &["x"], Waits::default());
        subscribe(&mut hub, 2, &["x"], stored());
        let channel = hub.find(b"x").expect("it is heard");
        assert!(hub.hold_all(channel).is_empty());
        subscribe(&mut hub, 3, &["x"], stored());
        assert!(hub.release(channel, 2), "it waited before the outage");
        assert_eq!(hub.hold_all(channel), [2], "the third waits on as it did");
        assert!(hub.receivers(channel).is_empty());
        assert!(hub.release(channel, 2) && hub.release(channel, 3));
        assert_eq!(hub.release_all(channel), [1]);
    }

    #[test]
    fn an_owners_conns_are_those_of_all_its_channels() {
        let mut hub = hub();
        for (conn, names) in
            [(1, &["a:x", "b:x"][..]), (2, &["a:y"]), (3, &["ax"]), (4, &["a:z", "b:x"])]
        {
            subscribe(&mut hub, conn, names, Waits::default());
        }
        let of = |hub: &Hub<u8>, owner| hub.heard_of(owner).collect::<Vec<_>>();
        assert_eq!(of(&hub, "a"), [1, 2, 4]);
        assert_eq!((of(&hub, "b"), of(&hub, "ax")), (vec![1, 4], vec![]));
        leave(&mut hub, 1);
        assert_eq!((of(&hub, "a"), of(&hub, "b")), (vec![2, 4], vec![4]));
        leave(&mut hub, 4);
        assert_eq!((of(&hub, "a"), of(&hub, "b")), (vec![2], vec![]));
        leave(&mut hub, 2);
        assert!(of(&hub, "a").is_empty() && hub.owners.is_empty());
    }

    /// What is to be so, kept as plainly as can be.
    #[derive(Default)]
    struct Model {
        heard: BTreeMap<u32, Vec<String>>,
        waiting: BTreeSet<(String, u32)>,
        behind: BTreeSet<(String, u32)>,
    }

    impl Model {
        fn subscribers(&self, name: &str) -> BTreeSet<u32> {
            let hears = |names: &&Vec<String>| names.iter().any(|heard| heard == name);
            self.heard.iter().filter(|(_, names)| hears(names)).map(|(conn, _)| *conn).collect()
        }

        fn check_all(&self, hub: &Hub<u8>) {
            hub.check_invariants();
            for owner in 0..4 {
                let of: BTreeSet<u32> = hub.heard_of(&owner.to_string()).collect();
                let names: Vec<String> = (0..3).map(|one| format!("{owner}:{one}")).collect();
                names.iter().for_each(|name| self.check(hub, name));
                let conns = names.iter().flat_map(|name| self.subscribers(name));
                assert_eq!(of, conns.collect());
            }
        }

        fn check(&self, hub: &Hub<u8>, name: &str) {
            let subscribers = self.subscribers(name);
            let Some(channel) = hub.find(name.as_bytes()) else {
                return assert!(subscribers.is_empty());
            };
            let set = |conns: Vec<u32>| conns.into_iter().collect::<BTreeSet<u32>>();
            assert_eq!(set(hub.subscribers(channel).collect()), subscribers);
            let holds = |conn: &u32| {
                let key = (name.to_owned(), *conn);
                self.waiting.contains(&key) || self.behind.contains(&key)
            };
            let receivers = subscribers.into_iter().filter(|conn| !holds(conn)).collect();
            assert_eq!(set(hub.receivers(channel)), receivers);
        }
    }

    #[test]
    fn any_order_of_coming_and_going_agrees_with_a_plain_model() {
        let (mut hub, mut model) = (hub(), Model::default());
        let mut random = 1u64;
        let mut roll = move |below: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % below
        };
        for round in 0..10_000 {
            let (conn, name) = (roll(40) as u32, format!("{}:{}", roll(4), roll(3)));
            let channel = hub.find(name.as_bytes());
            let key = (name.clone(), conn);
            match roll(7) {
                0 => {
                    let released = channel.is_some_and(|channel| hub.release(channel, conn));
                    assert_eq!(released, model.waiting.remove(&key));
                    if released {
                        model.behind.remove(&key);
                    }
                }
                1 if channel.is_some() && roll(4) == 0 => {
                    let own = hub.hold_all(channel.expect("it is heard"));
                    let all = model.subscribers(&name).into_iter().map(|conn| (name.clone(), conn));
                    let all: Vec<(String, u32)> = all.collect();
                    let waits = |key: &_| model.waiting.contains(key) || model.behind.contains(key);
                    let through = all.iter().filter(|key| !waits(key)).map(|(_, conn)| *conn);
                    // Those who are through, as long as anybody is not.
                    if model.behind.iter().any(|(behind, _)| *behind == name) {
                        assert!(through.eq(own.iter().copied()));
                    } else {
                        assert!(own.is_empty() || through.eq(own.iter().copied()));
                    }
                    model.waiting.extend(own.into_iter().map(|conn| (name.clone(), conn)));
                    model.behind.extend(all);
                }
                2 if channel.is_some() => {
                    let mut released = hub.release_all(channel.expect("it is heard"));
                    released.sort();
                    let of = |key: &&(String, u32)| key.0 == name && !model.waiting.contains(key);
                    let expected: Vec<u32> =
                        model.behind.iter().filter(of).map(|(_, c)| *c).collect();
                    assert_eq!(released, expected);
                    model.behind.retain(|(behind, _)| *behind != name);
                }
                _ if model.heard.contains_key(&conn) => {
                    let names = model.heard.remove(&conn).expect("it hears something");
                    model.waiting.retain(|(_, waits)| *waits != conn);
                    model.behind.retain(|(_, waits)| *waits != conn);
                    let gone = |name: &String| model.subscribers(name).is_empty();
                    let gone: Vec<String> = names.into_iter().filter(gone).collect();
                    assert_eq!(leave(&mut hub, conn), gone);
                }
                _ => {
                    let names: BTreeSet<String> =
                        (0..=roll(5)).map(|_| format!("{}:{}", roll(4), roll(3))).collect();
                    let names: Vec<String> = names.into_iter().collect();
                    let waits = Waits { stored: roll(3) == 0, ..Waits::default() };
                    let new = |name: &String| model.subscribers(name).is_empty();
                    let new: Vec<String> = names.iter().filter(|name| new(name)).cloned().collect();
                    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
                    assert_eq!(subscribe(&mut hub, conn, &texts, waits), new);
                    let all = names.iter().filter(|_| waits.stored);
                    model.waiting.extend(all.map(|name| (name.clone(), conn)));
                    model.heard.insert(conn, names);
                }
            }
            model.check(&hub, &name);
            if round % 32 == 0 {
                model.check_all(&hub);
            }
        }
        (0..40).for_each(|conn| drop(leave(&mut hub, conn)));
        assert!(hub.len() == 0 && hub.waiting.is_empty() && hub.catching_up.is_empty());
    }

    #[test]
    fn when_everybody_has_left_the_memory_is_given_back() {
        let mut hub = hub();
        for conn in 0..10_000 {
            let names = ["all".to_owned(), format!("u{conn}:x"), format!("g{}:x", conn % 100)];
            hub.subscribe(conn, names.iter().map(String::as_str), |_| stored());
        }
        (0..10_000).for_each(|conn| hub.unsubscribe(conn, |_, _| {}));
        hub.check_invariants();
        assert!(hub.channels.capacity() <= 64, "{}", hub.channels.capacity());
        let tables = [hub.ids.capacity(), hub.owners.capacity()];
        assert!(tables.iter().all(|room| *room <= 64), "{tables:?}");
        assert!(hub.waiting.is_empty());
    }
}
