//! L1: the messages of one channel in the order of its history, each with its position, for those
//! who want positions.
//!
//! Messages arrive by pub/sub, without a position; the history has positions. So what arrives waits
//! until the history was looked at behind the last place that is known: one look at a time, however
//! many messages wait. It knows messages and offsets, not who hears them. Its rules:
//! * the history says the order: a message that is in it comes at its place there, whether it has
//!   arrived or not, and one that is not comes where it arrived, without a position;
//! * on one link a message that is recorded and published as one arrives before the answer that has
//!   it. One that was recorded first and published later is given out with the answer, and passed
//!   over when it arrives;
//! * nothing is given out twice, and nothing that arrived is lost.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::history::Offset;
use crate::broker::history::reading::Place;

/// Messages that are kept to be known again.
const EARLY: usize = 64;
/// Looks at the history after which what was given out early is not awaited any more.
const EARLY_LOOKS: u64 = 64;

/// One channel's messages on their way.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Everything up to there was given out.
    at: Option<Place>,
    /// What has arrived and waits, each with its number.
    waiting: VecDeque<(u64, Arc<[u8]>)>,
    /// Messages that have ever arrived.
    arrived: u64,
    /// What was given out before it arrived, each with how often the history was looked at then.
    early: VecDeque<(u64, Arc<[u8]>)>,
    /// How often the history was looked at.
    looks: u64,
    /// What was given out without a position, until all of the history was looked at.
    plain: VecDeque<Arc<[u8]>>,
    is_asked: bool,
    /// Bytes of what waits.
    bytes: usize,
}

/// A message that is given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Where it stands, if it is in the history.
    pub offset: Option<Offset>,
    /// Which that arrived it is, if it has.
    pub number: Option<u64>,
    pub payload: Arc<[u8]>,
}

impl Placed {
    /// A message without a place, which has not waited.
    pub(crate) fn plain(payload: Arc<[u8]>) -> Placed {
        Placed { offset: None, number: None, payload }
    }
}

impl Line {
    /// Begins behind that place, unless it has begun.
    pub(crate) fn begin(&mut self, at: Place) {
        self.at.get_or_insert(at);
    }

    /// A message has arrived.
    pub(crate) fn push(&mut self, payload: &[u8]) {
        if self.take_early(payload) {
            return;
        }
        self.arrived += 1;
        self.bytes += payload.len();
        self.waiting.push_back((self.arrived, payload.into()));
    }

    /// Bytes of what waits.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the last message that has arrived.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// The number of the first message that waits.
    pub(crate) fn first_waiting(&self) -> Option<u64> {
        self.waiting.front().map(|(number, _)| *number)
    }

    /// Where everything was given out up to.
    pub(crate) fn at(&self) -> Option<Place> {
        self.at
    }

    /// Behind which place the history is to be looked at, if something waits for that.
    pub(crate) fn ask(&mut self) -> Option<Place> {
        let at = self.at.filter(|_| !self.is_asked && !self.waiting.is_empty())?;
        self.is_asked = true;
        Some(at)
    }

    /// The same after an outage, in which what was published has not arrived and will not.
    pub(crate) fn mended(&mut self, entries: &[(Offset, &[u8])]) -> Vec<Placed> {
        let placed = self.answered(entries, true);
        self.early = VecDeque::new();
        placed
    }

    /// The answer: entries behind the place, of which there may be more.
    pub(crate) fn answered(&mut self, entries: &[(Offset, &[u8])], whole: bool) -> Vec<Placed> {
        self.is_asked = false;
        self.looks += 1;
        // What has not arrived by now was added by somebody who does not publish.
        self.early.retain(|(looks, _)| looks + EARLY_LOOKS > self.looks);
        let (mut placed, mut rest) = (Vec::new(), entries);
        while let Some((number, payload)) = self.waiting.pop_front() {
            if self.take_early(&payload) {
                continue;
            }
            if let Some(at) = place_of(&payload, rest) {
                self.give_out_early(&rest[..at], &mut placed);
                let offset = Some(rest[at].0);
                placed.push(Placed { offset, number: Some(number), payload });
                rest = &rest[at + 1..];
            } else if whole || self.waiting.iter().any(|(_, next)| place_of(next, rest).is_some()) {
                if !whole {
                    note(&mut self.plain, payload.clone());
                }
                placed.push(Placed { offset: None, number: Some(number), payload });
            } else {
                // Its entry may be behind those that the answer had room for.
                self.waiting.push_front((number, payload));
                break;
            }
        }
        self.give_out_early(rest, &mut placed);
        if whole {
            self.plain = VecDeque::new();
        }
        match entries.last() {
            Some((offset, _)) => self.at = Some(Place::Entry(*offset)),
            None if whole => {}
            None => placed.extend(self.give_up()),
        }
        self.bytes = self.waiting.iter().map(|(_, payload)| payload.len()).sum();
        placed
    }

    /// The history cannot be looked at: what waits comes without positions, and is not to come
    /// again with one.
    pub(crate) fn give_up(&mut self) -> Vec<Placed> {
        (self.is_asked, self.bytes) = (false, 0);
        for (_, payload) in &self.waiting {
            note(&mut self.plain, payload.clone());
        }
        let placed = |(number, payload)| Placed { offset: None, number: Some(number), payload };
        self.waiting.drain(..).map(placed).collect()
    }

    /// The link is lost: what was asked is not answered, and what was early never arrives.
    pub(crate) fn interrupt(&mut self) {
        self.is_asked = false;
        (self.early, self.plain) = (VecDeque::new(), VecDeque::new());
    }

    /// Begins anew behind that place, as what came before it cannot be known: what waits comes
    /// without positions.
    pub(crate) fn restart(&mut self, at: Place) -> Vec<Placed> {
        self.at = Some(at);
        let placed = self.give_up();
        self.plain = VecDeque::new();
        placed
    }

    /// Whether such a message was given out before it arrived.
    fn take_early(&mut self, payload: &[u8]) -> bool {
        let at = self.early.iter().position(|(_, message)| **message == *payload);
        at.and_then(|at| self.early.remove(at)).is_some()
    }

    fn give_out_early(&mut self, entries: &[(Offset, &[u8])], placed: &mut Vec<Placed>) {
        for (offset, payload) in entries.iter().filter(|(_, payload)| !payload.is_empty()) {
            if take(&mut self.plain, payload) {
                continue;
            }
            let payload: Arc<[u8]> = Arc::from(*payload);
            if self.early.len() == EARLY {
                self.early.pop_front();
            }
            self.early.push_back((self.looks, payload.clone()));
            placed.push(Placed { offset: Some(*offset), number: None, payload });
        }
    }
}

/// Keeps a message among the last ones.
fn note(messages: &mut VecDeque<Arc<[u8]>>, payload: Arc<[u8]>) {
    if messages.len() == EARLY {
        messages.pop_front();
    }
    messages.push_back(payload);
}

/// Takes a message from those that were kept, if it is there.
fn take(messages: &mut VecDeque<Arc<[u8]>>, payload: &[u8]) -> bool {
    let at = messages.iter().position(|message| **message == *payload);
    at.and_then(|at| messages.remove(at)).is_some()
}

/// Which of the entries has this message.
fn place_of(payload: &[u8], entries: &[(Offset, &[u8])]) -> Option<usize> {
    entries.iter().position(|(_, entry)| *entry == payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history and what is on its way from it.
    #[derive(Default)]
    struct Model {
        entries: Vec<(Offset, Vec<u8>)>,
        /// Pushes and, as `None`, where an answer is made.
        on_the_way: VecDeque<Option<Vec<u8>>>,
        published: u64,
    }

    impl Model {
        fn next(&mut self) -> Vec<u8> {
            self.published += 1;
            self.published.to_string().into_bytes()
        }

        fn record(&mut self, payload: Vec<u8>) {
            let ms = self.entries.len() as u64 + 1;
            self.entries.push((Offset { ms, seq: 0 }, payload));
        }

        /// At most so many entries behind a place, and whether that is all.
        fn behind(&self, at: Place, most: usize) -> (Vec<(Offset, &[u8])>, bool) {
            let behind = self.entries.iter().filter(|(offset, _)| match at {
                Place::Entry(last) => *offset > last,
                Place::Time(ms) => offset.ms >= ms,
            });
            let behind: Vec<_> = behind.map(|(offset, entry)| (*offset, &entry[..])).collect();
            (behind[..behind.len().min(most)].to_vec(), behind.len() <= most)
        }
    }

    /// Numbers that look random, from a seed.
    fn numbers(mut seed: u64) -> impl FnMut(u64) -> u64 {
        move |below| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        }
    }

    #[test]
    fn whatever_is_published_comes_once_and_what_is_recorded_in_its_order() {
        for seed in 0..20_000 {
            let mut draw = numbers(seed);
            let (mut model, mut line) = (Model::default(), Line::default());
            line.begin(Place::Time(0));
            let (mut given, mut late) = (Vec::new(), VecDeque::new());
            for step in 0..60 {
                let ends = step >= 50;
                match draw(8) {
                    // Recorded and published as one, plain, or recorded first and published later.
                    0..3 if !ends => {
                        let message = model.next();
                        model.record(message.clone());
                        model.on_the_way.push_back(Some(message));
                    }
                    3 if !ends => {
                        let message = model.next();
                        model.on_the_way.push_back(Some(message));
                    }
                    4 if !ends && seed % 2 == 0 => {
                        let message = model.next();
                        model.record(message.clone());
                        late.push_back(message);
                    }
                    5 => model.on_the_way.extend(late.pop_front().map(Some)),
                    _ => {}
                }
                for _ in 0..if ends { 100 } else { draw(3) } {
                    match model.on_the_way.pop_front() {
                        None => {}
                        Some(Some(message)) => line.push(&message),
                        Some(None) => {
                            let at = line.at().expect("it has begun");
                            let (entries, whole) = model.behind(at, 1 + draw(4) as usize);
                            given.extend(line.answered(&entries, whole));
                        }
                    }
                    if line.ask().is_some() {
                        model.on_the_way.push_back(None);
                    }
                }
            }
            check(seed, &given, &model);
        }
    }

    fn check(seed: u64, given: &[Placed], model: &Model) {
        let mut payloads: Vec<&[u8]> = given.iter().map(|placed| &placed.payload[..]).collect();
        payloads.sort_unstable();
        let count = payloads.len();
        payloads.dedup();
        assert_eq!(payloads.len(), count, "seed {seed}: something came twice");
        let placed = given
            .iter()
            .filter_map(|placed| placed.offset.map(|offset| (offset, placed.payload.to_vec())));
        let placed: Vec<_> = placed.collect();
        assert!(placed.is_sorted(), "seed {seed}: out of order");
        let known = placed.iter().all(|entry| model.entries.contains(entry));
        assert!(known, "seed {seed}: a position that is none");
        // What nothing has pushed is not looked for.
        let unknown = model.published as usize - count;
        assert!(unknown <= model.entries.len() - placed.len(), "seed {seed}: something is lost");
        if seed % 2 == 1 {
            assert_eq!((unknown, placed.len()), (0, model.entries.len()), "seed {seed}");
        }
    }

    #[test]
    fn what_cannot_be_looked_up_comes_without_positions() {
        let mut line = Line::default();
        line.push(b"a");
        assert_eq!(line.ask(), None, "it is not known where it begins");
        line.begin(Place::Time(5));
        assert_eq!(line.ask(), Some(Place::Time(5)));
        line.push(b"b");
        assert_eq!((line.ask(), line.held_bytes()), (None, 2), "one look at a time");
        let placed = line.restart(Place::Time(7));
        let numbers: Vec<_> = placed.iter().map(|placed| (placed.offset, placed.number)).collect();
        assert_eq!(numbers, [(None, Some(1)), (None, Some(2))]);
        assert_eq!((line.at(), line.arrived(), line.ask()), (Some(Place::Time(7)), 2, None));
    }

    /// What one answer gives out, in words.
    fn texts(placed: &[Placed]) -> Vec<(Option<u64>, &str)> {
        let words = placed.iter().map(|placed| {
            let text = std::str::from_utf8(&placed.payload).expect("text");
            (placed.offset.map(|offset| offset.ms), text)
        });
        words.collect()
    }

    #[test]
    fn equal_messages_are_not_taken_for_one_another() {
        let entry = |ms| (Offset { ms, seq: 0 }, &b"ok"[..]);
        let mut line = Line::default();
        line.begin(Place::Time(0));
        assert_eq!(texts(&line.mended(&[entry(1)])), [(Some(1), "ok")]);
        line.push(b"ok");
        assert!(line.ask().is_some(), "what was missed has not arrived, and this has");
        assert_eq!(texts(&line.answered(&[entry(2)], true)), [(Some(2), "ok")]);
        line.push(b"ok");
        line.push(b"ok");
        assert_eq!(texts(&line.give_up()), [(None, "ok"), (None, "ok")]);
        line.push(b"ok");
        line.ask();
        let entries = [entry(3), entry(4), entry(5)];
        let placed = line.answered(&entries, true);
        assert_eq!(placed.len(), 1, "two of them were given out: {placed:?}");
    }
}
