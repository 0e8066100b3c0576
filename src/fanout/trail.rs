//! L1: what has come of a channel's history, so that what an outage of Redis has kept from those
//! who hear the channel can be read and given to them.
//!
//! It knows channels by name and messages by their hashes. Live messages arrive by pub/sub, without
//! a place in the stream, and plain ones are in no stream. So a trail is a place up to which all of
//! the stream has been delivered, and the hashes of what was delivered since. Its rules:
//! * on one link, what is pushed before the answer about a place is in the stream up to that place,
//!   or in none: the answer begins the trail anew;
//! * of what is read after an outage, that has been delivered with which the trail begins: what is
//!   in both, in one order, up to the first that is not in the trail;
//! * the stream says in which order the rest comes; what has arrived meanwhile and is in it comes
//!   at its place there, and what is in none comes where it arrived;
//! * a trail that cannot be followed is given up, and begun anew.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::RandomState;
use std::sync::Arc;

use super::stored::Held;
use crate::broker::HistoryRules;
use crate::broker::history::reading::{Place, Reading, Since};
use crate::broker::spread::Spread;

/// Most hashes in a trail after which the broker is asked for the place anew.
const LONG: usize = 256;
/// Part of the messages of a history after which it is, as a place is of no use when it is trimmed,
/// and part of the time that it is kept.
const PART: usize = 4;
/// Hashes after which a trail that got no answer is given up.
const TOO_LONG: usize = 16 * LONG;

/// The trails of channels that have a history and are heard.
#[derive(Debug)]
pub(crate) struct Trails {
    rules: HistoryRules,
    trails: HashMap<Arc<str>, Trail, RandomState>,
    /// The number of the last question for a place.
    asked: u64,
    /// The channels that those are about which are not answered.
    questions: BTreeMap<u64, Arc<str>>,
    /// The channels of each node of the broker whose place is to be asked for.
    to_ask: Box<[VecDeque<Arc<str>>]>,
    spread: Spread,
    /// When it is looked whether places are to be asked for anew: they are of no use when the
    /// history has expired.
    due: BTreeSet<(u64, Arc<str>)>,
}

#[derive(Debug)]
struct Trail {
    reading: Reading,
    /// Hashes of what was delivered behind the place.
    delivered: VecDeque<u64>,
    /// The question for a place that is not answered, 0 for none.
    asked: u64,
    /// When the place was known to be of use.
    placed_ms: u64,
    /// When it is looked at again.
    due_ms: Option<u64>,
    /// Nothing of what was delivered since the last question was in a history.
    is_plain: bool,
    mending: Option<Mending>,
}

/// What becomes of an outage.
#[derive(Debug)]
enum Mending {
    /// What came since the place is asked for, beside that fetch.
    Asked(u64),
    /// It is there, and goes out with the fetch; `since` are hashes of what was pushed after it.
    Found { messages: Vec<Arc<[u8]>>, end: Place, since: VecDeque<u64> },
}

impl Trails {
    /// Trails for channels that these rules fit, and that are spread so.
    pub(crate) fn new(rules: HistoryRules, spread: Spread, keys: RandomState) -> Self {
        Trails {
            rules,
            trails: HashMap::with_hasher(keys),
            asked: 0,
            questions: BTreeMap::new(),
            to_ask: vec![VecDeque::new(); spread.most_nodes()].into(),
            spread,
            due: BTreeSet::new(),
        }
    }

    /// Channels are spread otherwise from now on. What is asked for stays where it is, and what is
    /// to be asked for is so where its channel is read now.
    pub(crate) fn set_spread(&mut self, spread: Spread) {
        self.spread = spread;
        let waiting: Vec<_> = self.to_ask.iter_mut().map(std::mem::take).collect();
        waiting.into_iter().flatten().for_each(|name| self.ask_for(name));
    }

    /// Begins a channel's trail; false when the channel has no history.
    pub(crate) fn begin(&mut self, name: &Arc<str>) -> bool {
        let Some(size) = self.rules.of(name) else { return false };
        let reading = Reading { since: None, size };
        let trail = Trail {
            reading,
            delivered: VecDeque::new(),
            asked: 0,
            placed_ms: 0,
            due_ms: None,
            is_plain: false,
            mending: None,
        };
        self.trails.insert(name.clone(), trail);
        true
    }

    /// Nobody hears the channel any more.
    pub(crate) fn end(&mut self, name: &str) {
        let trail = self.trails.remove_entry(name);
        if let Some((name, Trail { due_ms: Some(due_ms), .. })) = trail {
            self.due.remove(&(due_ms, name));
        }
    }

    /// A node of the broker has gone, and what was asked about what is heard there is not answered.
    pub(crate) fn forget_questions(&mut self, node: usize) {
        let Trails { questions, to_ask, spread, .. } = self;
        questions.retain(|_, name| spread.hears(name) != node);
        to_ask.iter_mut().for_each(|names| names.retain(|name| spread.hears(name) != node));
    }

    /// Has the place of a channel asked for.
    fn ask_for(&mut self, name: Arc<str>) {
        self.to_ask[self.spread.reads(&name)].push_back(name);
    }

    /// Notes that a message of that hash has come to those who hear the channel, or waits behind
    /// what is asked for.
    pub(crate) fn delivered(&mut self, name: &Arc<str>, hash: u64) {
        let Some(trail) = self.trails.get_mut(name) else { return };
        let hashes = match &mut trail.mending {
            Some(Mending::Asked(_)) => return,
            Some(Mending::Found { since, .. }) => since,
            None if trail.reading.since.is_none() => return,
            None => &mut trail.delivered,
        };
        hashes.push_back(hash);
        let length = hashes.len();
        if length >= TOO_LONG {
            trail.give_up();
        } else if trail.is_long(length) {
            self.ask_for(name.clone());
        }
    }

    /// The broker has confirmed the channel: its place is to be asked for, if it is not known.
    pub(crate) fn confirmed(&mut self, name: &Arc<str>) {
        let Some(trail) = self.trails.get(name) else { return };
        if trail.reading.since.is_none() && trail.mending.is_none() {
            self.ask_for(name.clone());
        }
    }

    /// Whether [`Trails::next_to_ask`] may have one.
    pub(crate) fn has_to_ask(&self) -> bool {
        self.to_ask[..self.spread.nodes()].iter().any(|names| !names.is_empty())
    }

    /// The next channel whose place a node of the broker is to be asked for, with the number of the
    /// question.
    pub(crate) fn next_to_ask(&mut self, node: usize) -> Option<(u64, Arc<str>, Reading)> {
        loop {
            let name = self.to_ask[node].pop_front()?;
            if let Some(trail) = self.trails.get_mut(&name).filter(|trail| trail.mending.is_none())
            {
                self.asked += 1;
                trail.asked = self.asked;
                self.questions.insert(self.asked, name.clone());
                return Some((self.asked, name, Reading { since: None, ..trail.reading }));
            }
        }
    }

    /// A question for a place is answered by that node, if it is: the trail begins there. Another
    /// node than the one where the channel is read may have what is not heard there.
    pub(crate) fn on_place(&mut self, number: u64, end: Option<Place>, node: usize, now_ms: u64) {
        let Some(name) = self.questions.remove(&number) else { return };
        let end = end.filter(|_| self.spread.reads(&name) == node);
        let asked = |trail: &&mut Trail| trail.asked == number && trail.mending.is_none();
        let Some(trail) = self.trails.get_mut(&name).filter(asked) else { return };
        trail.asked = 0;
        if end.is_none() {
            return;
        }
        trail.is_plain = matches!(end, Some(Place::Time(_))) && !trail.delivered.is_empty();
        (trail.reading.since, trail.delivered) = (end, VecDeque::new());
        trail.placed_ms = now_ms;
        if trail.due_ms.is_none() {
            self.due.insert((trail.lasts_until_ms(), name));
            trail.due_ms = Some(trail.lasts_until_ms());
        }
    }

    /// When [`Trails::tick`] has something to do.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// Has places asked for anew that are about to be of no use.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        while self.deadline_ms().is_some_and(|due_ms| due_ms <= now_ms)
            && let Some((_, name)) = self.due.pop_first()
        {
            let Some(trail) = self.trails.get_mut(&name) else { continue };
            let due_ms = trail.lasts_until_ms();
            if due_ms > now_ms {
                trail.due_ms = Some(due_ms);
                self.due.insert((due_ms, name));
                continue;
            }
            trail.due_ms = None;
            if trail.asked == 0 && trail.mending.is_none() {
                self.ask_for(name);
            }
        }
    }

    /// There was an outage: what came since the place is to be read beside that fetch, if the place
    /// is known.
    pub(crate) fn mend(&mut self, name: &Arc<str>, fetch: u64) {
        let Some(trail) = self.trails.get_mut(name) else { return };
        trail.asked = 0;
        trail.mending = trail.reading.since.map(|_| Mending::Asked(fetch));
    }

    /// What is to be read beside that fetch.
    pub(crate) fn to_mend(&self, name: &Arc<str>, fetch: u64) -> Option<Reading> {
        let trail = self.trails.get(name)?;
        trail.is_asked_beside(fetch).then_some(trail.reading)
    }

    /// What came since the place is read beside that fetch; `hash_of` is for what may have been
    /// delivered.
    pub(crate) fn on_read(
        &mut self,
        name: &Arc<str>,
        fetch: u64,
        since: Option<Since<'_>>,
        hash_of: impl Fn(&[u8]) -> u64,
    ) {
        let is_asked = |trail: &&mut Trail| trail.is_asked_beside(fetch);
        let Some(trail) = self.trails.get_mut(name).filter(is_asked) else { return };
        let Some(Since { messages: Some(messages), end }) = since else {
            trail.give_up();
            return self.ask_for(name.clone());
        };
        let mut known = trail.delivered.iter();
        let was_delivered = |message: &&[u8]| {
            let hash = hash_of(message);
            known.any(|known| *known == hash)
        };
        let messages = messages.into_iter().skip_while(was_delivered).map(Arc::from).collect();
        trail.mending = Some(Mending::Found { messages, end, since: VecDeque::new() });
    }

    /// What is to go out with the fetch of the channel, of what was read, and of what has been held
    /// since; nothing when it could not be read.
    pub(crate) fn mended(&mut self, name: &Arc<str>, held: &[Held]) -> Option<Vec<Held>> {
        let trail = self.trails.get_mut(name)?;
        match trail.mending.take()? {
            Mending::Asked(_) => {
                trail.give_up();
                self.ask_for(name.clone());
                None
            }
            Mending::Found { messages, end, since } => {
                // What was pushed behind the answer is behind all that the answer has.
                let (before, behind) = held.split_at(held.len().saturating_sub(since.len()));
                (trail.reading.since, trail.delivered) = (Some(end), since);
                // It is not known how long the place will be of use.
                self.ask_for(name.clone());
                Some([merge(messages, before), behind.to_vec()].concat())
            }
        }
    }

    /// Those who waited for what was missed wait no longer.
    pub(crate) fn abandon(&mut self, name: &Arc<str>) {
        if let Some(trail) = self.trails.get_mut(name)
            && trail.mending.is_some()
        {
            trail.give_up();
            self.ask_for(name.clone());
        }
    }
}

impl Trail {
    /// Until when its place is of use at least.
    fn lasts_until_ms(&self) -> u64 {
        self.placed_ms.saturating_add(self.reading.size.ms() / PART as u64)
    }

    fn is_asked_beside(&self, fetch: u64) -> bool {
        matches!(self.mending, Some(Mending::Asked(of)) if of == fetch)
    }

    /// Whether a trail that has grown to so many hashes is long: one at once when it began at a
    /// time, which lasts less than the place of an entry.
    fn is_long(&self, hashes: usize) -> bool {
        let long = (self.reading.size.messages / PART).clamp(1, LONG);
        let begins = matches!(self.reading.since, Some(Place::Time(_))) && !self.is_plain;
        self.mending.is_none() && (hashes == long || hashes == 1 && begins)
    }

    fn give_up(&mut self) {
        (self.reading.since, self.delivered, self.mending) = (None, VecDeque::new(), None);
    }
}

/// What was missed, in the order of the stream, with what is held: each of that which is in the
/// stream at its place, and each other behind what was held before it.
fn merge(missed: Vec<Arc<[u8]>>, held: &[Held]) -> Vec<Held> {
    let mut rest = VecDeque::from(missed);
    let mut merged = Vec::new();
    for live in held {
        if let Some(at) = rest.iter().position(|message| *message == live.payload) {
            merged.extend(rest.drain(..at).map(Held::missed));
            rest.pop_front();
        }
        merged.push(live.clone());
    }
    merged.extend(rest.into_iter().map(Held::missed));
    merged
}
