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
//! * nothing is given out twice, and nothing that arrived is lost;
//! * messages may be equal: each is passed over at most once for each that was given out before it
//!   arrived, and only when the history has no other of its kind;
//! * when what waits was given out without a look at the history, it is not known which entries
//!   that was. The line goes on from where the history ends at the next answer.

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
    /// Something arrived that was taken for what had arrived before: the history knows.
    is_in_doubt: bool,
    /// The number of the last that had arrived when the history was asked for.
    asked: u64,
    /// Messages and answers come on links of their own: what arrives while the history is asked
    /// for may be in it behind the answer.
    is_apart: bool,
    /// What waited was given out unseen: some of what is behind `at` has been given out.
    is_lost: bool,
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
        self.arrived += 1;
        self.bytes += payload.len();
        self.waiting.push_back((self.arrived, payload.into()));
    }

    /// Bytes of what waits.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Goes on behind a later place: nobody is to have what came before it.
    pub(crate) fn go_on(&mut self, at: Place) {
        self.at = Some(at);
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

    /// Something has arrived that equals what arrived before, and was not pushed: whether it is
    /// another is to be seen in the history.
    pub(crate) fn doubt(&mut self) {
        self.is_in_doubt = true;
    }

    /// Behind which place the history is to be looked at, if something waits for that.
    pub(crate) fn ask(&mut self) -> Option<Place> {
        let has_cause = !self.waiting.is_empty() || self.is_in_doubt;
        let at = self.at.filter(|_| !self.is_asked && has_cause)?;
        (self.is_asked, self.is_in_doubt) = (true, false);
        Some(at)
    }

    /// The history is asked for now, on another link than messages come on or the same.
    pub(crate) fn asking(&mut self, is_apart: bool) {
        (self.asked, self.is_apart) = (self.arrived, is_apart);
    }

    /// Whether it is not known which entries behind its place were given out.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The answer: where the history ends, and entries behind the place; there may be more.
    pub(crate) fn answered(
        &mut self,
        entries: &[(Offset, &[u8])],
        whole: bool,
        end: Place,
    ) -> Vec<Placed> {
        if self.is_lost {
            return self.restart(end);
        }
        self.is_asked = false;
        self.looks += 1;
        // What has not arrived by now was added by somebody who does not publish.
        self.early.retain(|(looks, _)| looks + EARLY_LOOKS > self.looks);
        let (mut placed, mut rest) = (Vec::new(), entries);
        while let Some((number, payload)) = self.waiting.pop_front() {
            // A message may be said again: what is in the history comes before what was early.
            if let Some(at) = place_of(&payload, rest) {
                self.give_out_early(&rest[..at], &mut placed);
                let offset = Some(rest[at].0);
                placed.push(Placed { offset, number: Some(number), payload });
                rest = &rest[at + 1..];
            } else if (whole && !self.is_ahead(number))
                || self.waiting.iter().any(|(_, next)| place_of(next, rest).is_some())
            {
                if self.take_early(&payload) {
                    continue;
                }
                if !whole {
                    note(&mut self.plain, payload.clone());
                }
                placed.push(Placed { offset: None, number: Some(number), payload });
            } else {
                if self.is_ahead(number) && self.take_early(&payload) {
                    continue;
                }
                // Its entry may be behind those that the answer had room for, or saw.
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

    /// What came in an outage, which is behind the place of a line that is not lost; all of it, or
    /// some. What was published then never arrives.
    pub(crate) fn mended(
        &mut self,
        missed: &[(Offset, &[u8])],
        whole: bool,
        end: Place,
    ) -> Vec<Placed> {
        let placed = self.answered(missed, whole, end);
        if !self.is_apart {
            self.early = VecDeque::new();
        }
        placed
    }

    /// The history cannot be looked at: what waits comes without positions.
    pub(crate) fn give_up(&mut self) -> Vec<Placed> {
        self.pass_over_early();
        (self.is_asked, self.bytes) = (false, 0);
        self.is_lost |= !self.waiting.is_empty();
        let placed = |(number, payload)| Placed { offset: None, number: Some(number), payload };
        self.waiting.drain(..).map(placed).collect()
    }

    /// The link is lost: what was asked is not answered, and what was early never arrives.
    pub(crate) fn interrupt(&mut self) {
        self.is_asked = false;
        self.pass_over_early();
        self.early = VecDeque::new();
    }

    /// Begins anew behind that place, as what came before it cannot be known: what waits comes
    /// without positions.
    pub(crate) fn restart(&mut self, at: Place) -> Vec<Placed> {
        let placed = self.give_up();
        (self.at, self.is_lost, self.plain) = (Some(at), false, VecDeque::new());
        placed
    }

    /// Drops what waits and was given out before it arrived, as far as can be told without the
    /// history.
    fn pass_over_early(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|(_, payload)| !self.take_early(payload));
        self.waiting = waiting;
        self.bytes = self.waiting.iter().map(|(_, payload)| payload.len()).sum();
    }

    /// Whether the answer may have been made before that message was in the history.
    fn is_ahead(&self, number: u64) -> bool {
        self.is_apart && number > self.asked
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
        /// Recorded and not published yet.
        late: VecDeque<Vec<u8>>,
        published: Vec<Vec<u8>>,
        /// Few texts, each said again and again, if there are so many.
        texts: Option<usize>,
        /// Messages that nobody can have: not recorded, and lost with the link.
        lost: usize,
        had_outage: bool,
        gave_up: bool,
    }

    impl Model {
        fn next(&mut self) -> Vec<u8> {
            let number = self.published.len();
            let text = self.texts.map_or(number, |texts| number % texts).to_string().into_bytes();
            self.published.push(text.clone());
            text
        }

        fn record(&mut self, payload: Vec<u8>) {
            let ms = self.entries.len() as u64 + 1;
            self.entries.push((Offset { ms, seq: 0 }, payload));
        }

        fn is_recorded(&self, payload: &[u8]) -> bool {
            self.entries.iter().any(|(_, entry)| entry == payload)
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

        fn end(&self) -> Place {
            self.entries.last().map_or(Place::Time(0), |(offset, _)| Place::Entry(*offset))
        }

        /// The link is lost, something is recorded meanwhile, and the line is mended.
        fn outage(&mut self, line: &mut Line) -> Vec<Placed> {
            let lost = std::mem::take(&mut self.on_the_way).into_iter().flatten();
            self.lost += lost.filter(|payload| !self.is_recorded(payload)).count();
            self.had_outage = true;
            // What is published after an outage that was recorded before it comes twice.
            self.late.clear();
            line.interrupt();
            let message = self.next();
            self.record(message);
            let at = line.at().expect("it has begun");
            match line.is_lost() {
                true => line.restart(self.end()),
                false => line.mended(&self.behind(at, usize::MAX).0, true, self.end()),
            }
        }

        /// What is published: recorded and published as one, plain, or recorded first.
        fn publish(&mut self, how: u64) {
            let message = self.next();
            if how != 3 {
                self.record(message.clone());
            }
            match how {
                4 => self.late.push_back(message),
                _ => self.on_the_way.push_back(Some(message)),
            }
        }

        /// One thing arrives.
        fn arrive(&mut self, line: &mut Line, most: usize) -> Vec<Placed> {
            match self.on_the_way.pop_front() {
                None => Vec::new(),
                Some(Some(message)) => {
                    line.push(&message);
                    Vec::new()
                }
                Some(None) => {
                    let at = line.at().expect("it has begun");
                    let (entries, whole) = self.behind(at, most);
                    line.answered(&entries, whole, self.end())
                }
            }
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
        for seed in 0..5_000 {
            let mut draw = numbers(seed);
            let (mut model, mut line) = (Model::default(), Line::default());
            model.texts = (seed % 4 >= 2).then_some(3);
            line.begin(Place::Time(0));
            let mut given = Vec::new();
            for step in 0..60 {
                let ends = step >= 50;
                match draw(40) / 4 {
                    how @ 0..=3 if !ends => model.publish(how),
                    4 if !ends && seed % 2 == 0 => model.publish(4),
                    5 => {
                        let late = model.late.pop_front().map(Some);
                        model.on_the_way.extend(late);
                    }
                    6 if seed % 8 >= 4 && draw(4) == 0 => given.extend(model.outage(&mut line)),
                    7 if seed % 16 >= 8 && draw(2) == 0 => {
                        // The answer that is on its way finds nobody.
                        model.on_the_way.retain(Option::is_some);
                        model.gave_up = true;
                        given.extend(line.give_up());
                    }
                    _ => {}
                }
                for _ in 0..if ends { 100 } else { draw(3) } {
                    given.extend(model.arrive(&mut line, 1 + draw(4) as usize));
                    if line.ask().is_some() {
                        model.on_the_way.push_back(None);
                    }
                }
            }
            check(seed, &given, &model);
        }
    }

    fn check(seed: u64, given: &[Placed], model: &Model) {
        let count_of = |payload: &[u8]| {
            let given = given.iter().filter(|placed| *placed.payload == *payload).count();
            (given, model.published.iter().filter(|text| text[..] == *payload).count())
        };
        let twice = model.published.iter().any(|text| count_of(text).0 > count_of(text).1);
        assert!(!twice, "seed {seed}: something came twice");
        let placed = given
            .iter()
            .filter_map(|placed| placed.offset.map(|offset| (offset, placed.payload.to_vec())));
        let placed: Vec<_> = placed.collect();
        let ascends = placed.is_sorted_by(|one, next| one.0 < next.0);
        assert!(ascends, "seed {seed}: out of order");
        let known = placed.iter().all(|entry| model.entries.contains(entry));
        assert!(known, "seed {seed}: a position that is none");
        // What is published late is not looked for, and equal messages cannot be told apart when
        // some of them were lost with a link.
        let is_certain = seed % 2 == 1 && !(model.had_outage && model.gave_up);
        if is_certain && !(model.had_outage && model.texts.is_some()) {
            let unknown = model.published.len() - given.len();
            assert_eq!(unknown, model.lost, "seed {seed}: something is lost");
        }
        if is_certain && !model.gave_up && model.texts.is_none() {
            assert_eq!(placed.len(), model.entries.len(), "seed {seed}: a position is lost");
        }
    }

    #[test]
    fn an_equal_message_is_no_message_that_came_before() {
        let offset = |ms| Offset { ms, seq: 0 };
        let first = [(offset(2), &b"ok"[..])];
        // What was missed in an outage never arrives.
        let mut line = Line::default();
        line.begin(Place::Entry(offset(1)));
        line.interrupt();
        assert_eq!(line.mended(&first, true, Place::Entry(offset(2))).len(), 1);
        line.push(b"ok");
        assert_eq!(line.ask(), Some(Place::Entry(offset(2))));
        let placed = line.answered(&[], true, Place::Entry(offset(2)));
        assert_eq!(placed.len(), 1, "a plain message after it");
        // Nor does what is recorded and never published.
        let mut line = Line::default();
        line.begin(Place::Entry(offset(1)));
        assert_eq!(line.answered(&first, true, Place::Entry(offset(2))).len(), 1);
        line.push(b"ok");
        assert!(line.ask().is_some());
        let placed = line.answered(&[(offset(3), b"ok")], true, Place::Entry(offset(3)));
        assert_eq!(placed.first().and_then(|placed| placed.offset), Some(offset(3)));
    }

    #[test]
    fn what_was_given_out_unseen_is_not_given_out_again() {
        let offset = |ms| Offset { ms, seq: 0 };
        let mut line = Line::default();
        line.begin(Place::Time(0));
        line.push(b"a");
        assert!(line.ask().is_some());
        assert_eq!((line.give_up().len(), line.is_lost()), (1, true));
        line.push(b"b");
        assert!(line.ask().is_some());
        let both = [(offset(1), &b"a"[..]), (offset(2), &b"b"[..])];
        let placed = line.answered(&both, true, Place::Entry(offset(2)));
        let given: Vec<_> = placed.iter().map(|placed| (placed.offset, placed.number)).collect();
        assert_eq!(given, [(None, Some(2))]);
        line.push(b"c");
        assert_eq!((line.ask(), line.is_lost()), (Some(Place::Entry(offset(2))), false));
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
        let end = |ms| Place::Entry(entry(ms).0);
        assert_eq!(texts(&line.mended(&[entry(1)], true, end(1))), [(Some(1), "ok")]);
        line.push(b"ok");
        assert!(line.ask().is_some(), "what was missed has not arrived, and this has");
        assert_eq!(texts(&line.answered(&[entry(2)], true, end(2))), [(Some(2), "ok")]);
        line.push(b"ok");
        line.push(b"ok");
        assert_eq!(texts(&line.give_up()), [(None, "ok"), (None, "ok")]);
        line.push(b"ok");
        line.ask();
        let entries = [entry(3), entry(4), entry(5)];
        assert_eq!(texts(&line.answered(&entries, true, end(5))), [(None, "ok")]);
        assert_eq!(line.at(), Some(end(5)), "it is not known which of them was given out");
    }
}
