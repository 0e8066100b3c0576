//! L1: the stored messages that are asked for, and what waits for the answers.
//!
//! It knows channels by id, conns by link and messages by their bytes. A fetch is one question for
//! a channel's stored message; its number comes back with its answer, and fetches of channels of
//! one node of the broker are asked and answered in the order of their numbers. Its rules:
//! * while a conn waits for a fetch of a channel, the channel's live messages are held for it: the
//!   stored message goes out before them, unless it is one of them;
//! * what is held is held once for all who wait, and goes when there is no answer in time;
//! * a conn's stored messages come in the order of its channels, which is that of `Audience` in
//!   `access/channel`; between those of two nodes there is none;
//! * a conn that arrives during a fetch shares it, unless a message was delivered after the broker
//!   was asked;
//! * after an outage every conn of a channel waits for its stored message. It gets the message only
//!   if that is news: not among the last two delivered, nor the last one fetched.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::hub::ChannelId;
use crate::broker::spread::Spread;
use crate::link::LinkId;

/// What a held message takes besides its bytes.
pub(crate) const HELD_COST: usize = 64;

/// What is kept for each channel that somebody hears.
#[derive(Debug, Default)]
pub(crate) struct ChannelState {
    /// Whether the broker has confirmed the subscription.
    pub confirmed: bool,
    /// Whether it has a history, so that its trail is kept.
    pub is_trailed: bool,
    /// Whether it is to be heard at another node of a cluster, though its own was up.
    pub is_moved: bool,
    /// Counts deliveries, so that who joined before one can be told from who joined after.
    deliveries: u32,
    /// Hashes of the last two messages delivered, the last first; 0 for none. The last may have
    /// been refused when it was to be stored, and then the one before it still is.
    last_delivered: [u64; 2],
    /// Hash of the last stored message seen, 0 for none.
    last_stored: u64,
    /// What waits for fetches; none while there are none.
    hold: Option<Box<Hold>>,
}

/// What waits on a channel for its fetches.
#[derive(Debug, Default)]
struct Hold {
    /// The fetch that a conn which comes now may share, 0 for none.
    shared: u64,
    /// The fetches that are not answered, oldest first, each with the deliveries there had been
    /// when its first conn began to wait.
    fetches: VecDeque<(u64, u32)>,
    /// The messages delivered since the oldest of those.
    messages: VecDeque<Held>,
    bytes: usize,
}

/// A live message that waits until the stored one has gone out.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The message.
    pub payload: Arc<[u8]>,
    /// The conn that is not to have it.
    pub except: Option<LinkId>,
    since: Since,
}

/// When a message began to wait: its place among all that ever did, and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Since {
    /// Its place.
    pub place: u64,
    /// The time.
    pub at_ms: u64,
}

/// What is to go out when a fetch is over.
#[derive(Debug, Default)]
pub(crate) struct Released {
    /// The messages that were held, oldest first.
    pub messages: Vec<Held>,
    /// The deliveries there had been before the first of them.
    first: u32,
    /// Bytes that are held no more.
    pub freed: usize,
}

impl From<Vec<Held>> for Released {
    /// To go out instead of what was held.
    fn from(messages: Vec<Held>) -> Released {
        Released { messages, first: 0, freed: 0 }
    }
}

/// The fetches that are not answered yet, by their numbers.
#[derive(Debug)]
pub(crate) struct Fetches {
    waiting: BTreeMap<u64, Fetch>,
    /// The number of the last fetch made; the first is 1.
    made: u64,
    /// The number of the last fetch that any node of the broker was asked for.
    asked: u64,
    /// The number up to which each node was asked for its own.
    asked_of: Box<[u64]>,
    spread: Spread,
    /// What the last channel waited with that waited for nothing more, for the next.
    spare: Option<Box<Hold>>,
}

/// One question for a channel's stored message.
#[derive(Debug)]
pub(crate) struct Fetch {
    /// The channel's id when it was made.
    pub channel: ChannelId,
    /// Its name: the id may have come to name another.
    pub name: Arc<str>,
    /// The node of the broker that has it.
    node: usize,
    /// It is for everyone who hears the channel, after an outage.
    pub catch_up: Option<CatchUp>,
    /// Those that have had no stored message of the channel.
    pub waiters: Vec<Waiter>,
}

/// What everyone who hears a channel had when the broker came up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatchUp {
    /// The deliveries so far.
    pub since: u32,
    /// There was no outage: the channel is heard elsewhere.
    pub is_moved: bool,
    known: [u64; 3],
}

/// A conn that waits for a channel's stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    /// The conn.
    pub link: LinkId,
    /// The channel's deliveries when it came.
    pub since: u32,
    /// What it has had, if it waits for news only.
    known: Option<[u64; 3]>,
}

impl Held {
    /// One that nobody has had, from a channel's history.
    pub(crate) fn missed(payload: Arc<[u8]>) -> Held {
        Held { payload, except: None, since: Since { place: 0, at_ms: 0 } }
    }

    /// Whether it is one of those.
    pub(crate) fn is_missed(&self) -> bool {
        self.since.place == 0
    }
}

impl Waiter {
    /// Whether a stored message of that hash is for it.
    pub(crate) fn wants(&self, hash: Option<u64>) -> bool {
        hash.is_some_and(|hash| self.known.is_none_or(|known| !known.contains(&hash)))
    }
}

/// Whose waiting for a fetch is over before it is answered.
#[derive(Debug)]
pub(crate) struct GivenUp {
    /// Those who waited for it.
    pub waiters: Vec<Waiter>,
    /// Everyone else who heard the channel, after an outage.
    pub everyone: Option<CatchUp>,
    /// The deliveries there had been when the first of the others began to wait, if any do.
    pub rest: Option<u32>,
}

/// Whether one count of deliveries is smaller than another; they wrap around.
fn is_before(one: u32, other: u32) -> bool {
    (other.wrapping_sub(one) as i32) > 0
}

impl ChannelState {
    /// Notes that a message of that hash was delivered; `fetches` are those of all channels.
    pub(crate) fn delivered(&mut self, hash: u64, fetches: &Fetches) {
        self.deliveries = self.deliveries.wrapping_add(1);
        self.last_delivered = [hash, self.last_delivered[0]];
        if let Some(hold) = &mut self.hold
            && hold.shared <= fetches.asked
        {
            hold.shared = 0;
        }
    }

    /// Whether somebody waits for the stored message, so that what is delivered is to be held.
    pub(crate) fn holds(&self) -> bool {
        self.hold.is_some()
    }

    /// Holds the message that was just delivered. Returns the bytes it takes.
    pub(crate) fn hold(&mut self, payload: &[u8], except: Option<LinkId>, since: Since) -> usize {
        let hold = self.hold.as_mut().expect("somebody waits");
        let bytes = payload.len() + HELD_COST;
        hold.bytes += bytes;
        hold.messages.push_back(Held { payload: Arc::from(payload), except, since });
        bytes
    }

    /// Bytes that are held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.hold.as_ref().map_or(0, |hold| hold.bytes)
    }

    /// Panics when messages are held that nobody waits for.
    pub(crate) fn check_invariants(&self) {
        let Some(hold) = &self.hold else { return };
        assert!(hold.messages.len() <= hold.wanted(self.deliveries), "messages held for nobody");
    }

    /// Since when the oldest message is held.
    pub(crate) fn held_since(&self) -> Option<Since> {
        Some(self.hold.as_ref()?.messages.front()?.since)
    }

    /// The deliveries up to the message of that place, or the last one before it.
    pub(crate) fn held_until(&self, place: u64) -> Option<u32> {
        let hold = self.hold.as_ref()?;
        let old = hold.messages.iter().take_while(|held| held.since.place <= place).count();
        let rest = hold.messages.len() - old;
        (old > 0).then(|| self.deliveries.wrapping_sub(rest as u32))
    }

    /// The fetches that somebody began to wait for before there were so many deliveries.
    pub(crate) fn fetches_before(&self, deliveries: u32) -> Vec<u64> {
        let fetches = self.hold.iter().flat_map(|hold| &hold.fetches);
        fetches.filter(|(_, since)| is_before(*since, deliveries)).map(|(n, _)| *n).collect()
    }

    /// Notes that a message of that hash was delivered that had no delivery of its own.
    pub(crate) fn saw(&mut self, hash: u64) {
        self.last_delivered = [hash, self.last_delivered[0]];
    }

    /// Notes a stored message.
    pub(crate) fn saw_stored(&mut self, hash: u64) {
        self.last_stored = hash;
    }

    /// The fetch of that number is over, or is so for those who came before there were `rest`
    /// deliveries: what was held for it. It is held no more unless others wait for it: what is held
    /// for nobody would be overdue for ever.
    pub(crate) fn release(
        &mut self,
        number: u64,
        rest: Option<u32>,
        fetches: &mut Fetches,
    ) -> Released {
        let Some(hold) = &mut self.hold else { return Released::default() };
        let Some(at) = hold.fetches.iter().position(|(known, _)| *known == number) else {
            return Released::default();
        };
        let since = hold.fetches[at].1;
        match rest {
            Some(rest) => hold.fetches[at].1 = rest,
            None => {
                hold.fetches.remove(at);
                // Who comes now may not share it any more.
                hold.shared = if hold.shared == number { 0 } else { hold.shared };
            }
        }
        let held = hold.messages.len();
        let own = (self.deliveries.wrapping_sub(since) as usize).min(held);
        let messages = hold.messages.iter().skip(held - own).cloned().collect();
        let before = hold.bytes;
        let wanted = hold.wanted(self.deliveries);
        while hold.messages.len() > wanted {
            let gone = hold.messages.pop_front().expect("there are more");
            hold.bytes -= gone.payload.len() + HELD_COST;
        }
        let freed = before - hold.bytes;
        if hold.fetches.is_empty() {
            fetches.spare = self.hold.take().filter(|hold| hold.messages.capacity() == 0);
        }
        Released { messages, first: self.deliveries.wrapping_sub(own as u32), freed }
    }
}

impl Hold {
    /// How many messages somebody waits for behind a stored one.
    fn wanted(&self, deliveries: u32) -> usize {
        let wanted = self.fetches.iter().map(|(_, since)| deliveries.wrapping_sub(*since));
        wanted.max().map_or(0, |wanted| wanted as usize)
    }
}

impl Released {
    /// The place of the first message for who waited since that many deliveries.
    pub(crate) fn start(&self, since: u32) -> usize {
        (since.wrapping_sub(self.first) as usize).min(self.messages.len())
    }
}

impl CatchUp {
    /// Whether a stored message of that hash is news to those who heard the channel before.
    pub(crate) fn is_news(&self, hash: u64) -> bool {
        !self.known.contains(&hash)
    }
}

impl Fetches {
    /// None, of channels that are spread so.
    pub(crate) fn new(spread: Spread) -> Fetches {
        let asked_of = vec![0; spread.most_nodes()].into();
        Fetches { waiting: BTreeMap::new(), made: 0, asked: 0, asked_of, spread, spare: None }
    }

    /// Channels are spread otherwise from now on. What is asked for stays where it is.
    pub(crate) fn set_spread(&mut self, spread: Spread) {
        self.spread = spread;
    }

    /// Lets a conn wait for the channel's stored message, which is to come after that of fetch
    /// `after`. Returns the fetch it waits for.
    pub(crate) fn wait(
        &mut self,
        link: LinkId,
        channel: ChannelId,
        name: &Arc<str>,
        state: &mut ChannelState,
        after: u64,
    ) -> u64 {
        let since = state.deliveries;
        let waiter = Waiter { link, since, known: None };
        if let Some(hold) = &state.hold
            && hold.shared > after
            && let Some(fetch) = self.waiting.get_mut(&hold.shared)
        {
            fetch.waiters.push(waiter);
            return hold.shared;
        }
        let number = self.make(channel, name.clone(), None, vec![waiter]);
        let hold = state.hold.get_or_insert_with(|| self.spare.take().unwrap_or_default());
        hold.shared = number;
        hold.fetches.push_back((number, since));
        number
    }

    /// Makes a fetch for everyone who hears the channel, in the place of those that the broker has
    /// forgotten.
    pub(crate) fn catch_up(
        &mut self,
        channel: ChannelId,
        name: Arc<str>,
        state: &mut ChannelState,
    ) -> u64 {
        let since = state.deliveries;
        let [last, before] = state.last_delivered;
        let known = [last, before, state.last_stored];
        let is_moved = std::mem::take(&mut state.is_moved);
        let catch_up = CatchUp { since, is_moved, known };
        let number = self.make(channel, name, Some(catch_up), Vec::new());
        let hold = state.hold.get_or_insert_default();
        hold.shared = number;
        hold.fetches = VecDeque::from([(number, since)]);
        number
    }

    /// Lets these conns wait for the fetch that was just made for everyone, but not for what was
    /// delivered before: everyone else may have missed that in an earlier outage.
    pub(crate) fn wait_for_news(&mut self, links: Vec<LinkId>, state: &ChannelState) {
        let Some(fetch) = self.waiting.get_mut(&self.made) else { return };
        let (since, known) = (state.deliveries, fetch.catch_up.map(|catch_up| catch_up.known));
        fetch.waiters.extend(links.into_iter().map(|link| Waiter { link, since, known }));
    }

    /// Lets those who waited for a forgotten fetch wait for the one that was made in its place.
    pub(crate) fn wait_again(&mut self, forgotten: Fetch, state: &mut ChannelState) {
        let Some(hold) = &mut state.hold else { return };
        let Some((number, since)) = hold.fetches.front_mut() else { return };
        let Some(fetch) = self.waiting.get_mut(number) else { return };
        // What everyone missed in an outage before is still to come, and is held since then.
        if let Some(before) = forgotten.catch_up {
            let is_moved = before.is_moved && fetch.catch_up.is_some_and(|it| it.is_moved);
            fetch.catch_up = Some(CatchUp { is_moved, ..before });
            if is_before(before.since, *since) {
                *since = before.since;
            }
        }
        for waiter in forgotten.waiters {
            if is_before(waiter.since, *since) {
                *since = waiter.since;
            }
            fetch.waiters.push(waiter);
        }
    }

    /// Whether the broker is yet to be asked for one.
    #[inline]
    pub(crate) fn has_to_ask(&self) -> bool {
        self.asked_of[..self.spread.nodes()].iter().any(|asked| *asked < self.made)
    }

    /// The next fetch that a node of the broker is to be asked for, with the channel's id and name.
    pub(crate) fn next_to_ask(&mut self, node: usize) -> Option<(u64, ChannelId, Arc<str>)> {
        let mut behind = self.waiting.range(self.asked_of[node] + 1..);
        let Some((number, fetch)) = behind.find(|(_, fetch)| fetch.node == node) else {
            self.asked_of[node] = self.made;
            return None;
        };
        self.asked_of[node] = *number;
        self.asked = self.asked.max(*number);
        Some((*number, fetch.channel, fetch.name.clone()))
    }

    /// The name of the channel that a fetch is about.
    pub(crate) fn name_of(&self, number: u64) -> Option<Arc<str>> {
        self.waiting.get(&number).map(|fetch| fetch.name.clone())
    }

    /// The fetch of that number: it is over.
    pub(crate) fn take(&mut self, number: u64) -> Option<Fetch> {
        self.waiting.remove(&number)
    }

    /// Those who wait for a fetch and came before there were `until` deliveries, and whether
    /// everyone is among them: they wait no more.
    pub(crate) fn give_up(&mut self, number: u64, until: u32) -> Option<GivenUp> {
        let fetch = self.waiting.get_mut(&number)?;
        let late = |since: u32| is_before(since, until);
        let (waiters, rest) = fetch.waiters.drain(..).partition(|waiter| late(waiter.since));
        fetch.waiters = rest;
        let everyone = fetch.catch_up.take_if(|catch_up| late(catch_up.since));
        let stay = fetch.waiters.iter().map(|waiter| waiter.since);
        let stay = stay.chain(fetch.catch_up.map(|catch_up| catch_up.since));
        let rest = stay.reduce(|one, other| if is_before(other, one) { other } else { one });
        Some(GivenUp { waiters, everyone, rest })
    }

    /// Takes the fetches of what is heard at a node which went away. Those of what is heard
    /// elsewhere are still to be answered.
    pub(crate) fn forgotten(&mut self, node: usize) -> BTreeMap<u64, Fetch> {
        self.asked = self.made;
        let all = std::mem::take(&mut self.waiting);
        let spread = &self.spread;
        let (forgotten, rest) =
            all.into_iter().partition(|(_, fetch)| spread.hears(&fetch.name) == node);
        self.waiting = rest;
        forgotten
    }

    /// Takes the fetches of a channel that come too early to be of use.
    pub(crate) fn overtaken(&mut self, state: &ChannelState) -> Vec<Fetch> {
        let numbers = state.hold.iter().flat_map(|hold| &hold.fetches);
        numbers.filter_map(|(number, _)| self.waiting.remove(number)).collect()
    }

    fn make(
        &mut self,
        channel: ChannelId,
        name: Arc<str>,
        catch_up: Option<CatchUp>,
        waiters: Vec<Waiter>,
    ) -> u64 {
        self.made += 1;
        let node = self.spread.reads(&name);
        self.waiting.insert(self.made, Fetch { channel, name, node, catch_up, waiters });
        self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(index: u32) -> LinkId {
        LinkId { index, generation: index }
    }

    /// Fetches of a broker of one node.
    fn alone() -> Fetches {
        Fetches::new(Spread::over(1))
    }

    /// Delivers a message that is its own hash, and holds it if somebody waits.
    fn deliver(state: &mut ChannelState, message: u8, at_ms: u64, fetches: &Fetches) {
        state.delivered(u64::from(message), fetches);
        if state.holds() {
            state.hold(&[message], None, Since { place: at_ms, at_ms });
        }
    }

    /// What was held for each who waited for the fetch.
    fn over(fetches: &mut Fetches, state: &mut ChannelState, number: u64) -> Vec<(u32, Vec<u8>)> {
        let fetch = fetches.take(number).expect("it waits");
        let released = state.release(number, None, fetches);
        let messages = |since| {
            let messages = released.messages[released.start(since)..].iter();
            messages.map(|held| held.payload[0]).collect()
        };
        fetch.waiters.iter().map(|one| (one.link.index, messages(one.since))).collect()
    }

    #[test]
    fn an_answer_is_for_the_fetch_of_its_number_whatever_came_before() {
        let (mut fetches, mut a, mut b) = (alone(), Default::default(), Default::default());
        let names: [Arc<str>; 2] = [Arc::from("a"), Arc::from("b")];
        assert_eq!(fetches.wait(conn(1), 0, &names[0], &mut a, 0), 1);
        assert_eq!(fetches.wait(conn(2), 1, &names[1], &mut b, 0), 2);
        assert_eq!(over(&mut fetches, &mut b, 2), [(2, vec![])]);
        assert!(fetches.take(2).is_none(), "it was answered");
        assert_eq!(fetches.wait(conn(3), 0, &names[0], &mut a, 0), 1);
        assert_eq!(over(&mut fetches, &mut a, 1), [(1, vec![]), (3, vec![])]);
        assert!(!a.holds() && !b.holds());
    }

    #[test]
    fn live_messages_are_held_for_who_waits_from_when_it_came() {
        let (mut fetches, mut state) = (alone(), ChannelState::default());
        let name = Arc::from("c");
        deliver(&mut state, 9, 0, &fetches);
        let first = fetches.wait(conn(1), 0, &name, &mut state, 0);
        deliver(&mut state, 1, 0, &fetches);
        assert_eq!(fetches.wait(conn(2), 0, &name, &mut state, 0), first, "it is not asked yet");
        assert_eq!(fetches.next_to_ask(0).map(|(number, ..)| number), Some(first));
        assert!(fetches.next_to_ask(0).is_none());
        deliver(&mut state, 2, 0, &fetches);
        let second = fetches.wait(conn(3), 0, &name, &mut state, 0);
        assert_ne!(second, first, "the answer may be older than what was delivered");
        deliver(&mut state, 3, 0, &fetches);
        let expected = [(1, vec![1, 2, 3]), (2, vec![2, 3])];
        assert_eq!(over(&mut fetches, &mut state, first), expected);
        assert_eq!(state.held_bytes(), 1 + HELD_COST, "3 is held for the other fetch alone");
        assert_eq!(over(&mut fetches, &mut state, second), [(3, vec![3])]);
        assert_eq!((state.holds(), state.held_bytes()), (false, 0));
    }

    #[test]
    fn a_conns_fetches_keep_the_order_of_its_channels() {
        let mut fetches = alone();
        let (mut a, mut b) = Default::default();
        let names: [Arc<str>; 2] = [Arc::from("a"), Arc::from("b")];
        fetches.wait(conn(1), 1, &names[1], &mut b, 0);
        let first = fetches.wait(conn(2), 0, &names[0], &mut a, 0);
        assert_eq!(first, 2);
        assert_eq!(fetches.wait(conn(2), 1, &names[1], &mut b, first), 3);
    }

    #[test]
    fn who_has_waited_too_long_is_given_up_and_who_came_later_waits_on() {
        let (mut fetches, mut state) = (alone(), ChannelState::default());
        let name = Arc::from("c");
        let first = fetches.wait(conn(1), 0, &name, &mut state, 0);
        assert_eq!(state.held_until(100), None, "nothing is held");
        deliver(&mut state, 1, 10, &fetches);
        assert_eq!(fetches.wait(conn(2), 0, &name, &mut state, 0), first, "it is not asked yet");
        deliver(&mut state, 2, 20, &fetches);
        let oldest = Since { place: 10, at_ms: 10 };
        assert_eq!((state.held_since(), state.held_until(9)), (Some(oldest), None));
        let until = state.held_until(10).expect("a message is");
        assert_eq!(state.fetches_before(until), [first]);
        let gone = fetches.give_up(first, until).expect("it is under way");
        assert_eq!(gone.waiters.iter().map(|one| one.link.index).collect::<Vec<_>>(), [1]);
        let released = state.release(first, gone.rest, &mut fetches);
        assert_eq!(released.messages.len(), 2);
        assert_eq!(state.held_since().map(|since| since.at_ms), Some(20), "for the other");
        assert_eq!(over(&mut fetches, &mut state, first), [(2, vec![2])]);
    }

    #[test]
    fn after_an_outage_only_news_goes_to_everyone() {
        let (mut fetches, mut state) = (alone(), ChannelState::default());
        deliver(&mut state, 1, 0, &fetches);
        state.saw_stored(2);
        fetches.catch_up(0, Arc::from("c"), &mut state);
        deliver(&mut state, 3, 0, &fetches);
        let fetch = fetches.take(1).expect("it waits");
        let catch_up = fetch.catch_up.expect("it is for everyone");
        assert_eq!([1, 2, 4].map(|hash| catch_up.is_news(hash)), [false, false, true]);
        let released = state.release(1, None, &mut fetches);
        assert_eq!(released.start(catch_up.since), 0, "3 came later");
        assert_eq!(released.messages.len(), 1);
    }

    #[test]
    fn what_is_held_for_everyone_when_the_broker_goes_again_is_held_on() {
        let (mut fetches, mut state) = (alone(), ChannelState::default());
        let name: Arc<str> = Arc::from("c");
        deliver(&mut state, 1, 0, &fetches);
        fetches.catch_up(0, name.clone(), &mut state);
        deliver(&mut state, 2, 0, &fetches);
        let forgotten = fetches.forgotten(0);
        fetches.catch_up(0, name, &mut state);
        forgotten.into_values().for_each(|fetch| fetches.wait_again(fetch, &mut state));
        let catch_up = fetches.take(2).and_then(|fetch| fetch.catch_up).expect("for everyone");
        assert!(!catch_up.is_news(1), "it was delivered before the first outage");
        let released = state.release(2, None, &mut fetches);
        assert_eq!(released.messages[released.start(catch_up.since)..].len(), 1);
    }

    #[test]
    fn who_waited_when_the_broker_went_waits_for_the_next_fetch() {
        let (mut fetches, mut state) = (alone(), ChannelState::default());
        let name: Arc<str> = Arc::from("c");
        fetches.wait(conn(1), 0, &name, &mut state, 0);
        deliver(&mut state, 1, 0, &fetches);
        let forgotten = fetches.forgotten(0);
        fetches.catch_up(0, name, &mut state);
        forgotten.into_values().for_each(|fetch| fetches.wait_again(fetch, &mut state));
        assert_eq!(fetches.next_to_ask(0).map(|(number, ..)| number), Some(2));
        deliver(&mut state, 2, 0, &fetches);
        assert_eq!(over(&mut fetches, &mut state, 2), [(1, vec![1, 2])]);
    }
}
