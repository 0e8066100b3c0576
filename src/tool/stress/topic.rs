//! L4: messages that everybody is to have once and in order, or each its own.
//!
//! It knows numbers, payloads and times, and no socket. Its rules:
//! - where each has its own, message after message goes to one listener after the other, by their
//!   ids from 0 on;
//! - a message is compared where it lies with the one that is due; only what differs is read;
//! - a stream keeps its order, so a message that is skipped counts as settled when a later one
//!   comes, and the run goes on; if it comes after all it was reordered, and is no longer lost;
//! - what is lost is counted at the end: all that was to be received and was not.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use super::histogram::Histogram;
use super::payload::{Payload, Received};

/// Who listens, and what is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Different for all listeners.
    pub id: u32,
    /// One more than the highest number that came.
    pub next: u32,
}

/// What was received, and how.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Messages of the run, each counted once for a listener.
    pub received: u64,
    /// Messages that came again.
    pub duplicated: u64,
    /// Messages that came after a later one.
    pub reordered: u64,
    /// Messages that nobody sent.
    pub corrupt: u64,
    /// From sending a message to each receipt of it.
    pub latency: Histogram,
    /// Messages that were skipped and may still come.
    skipped: BTreeSet<(u32, u32)>,
}

impl Tally {
    /// Counts a message that arrived, and returns the numbers that are settled by it.
    pub(super) fn judge(&mut self, place: &mut Place, number: u32, waited_ns: u64) -> Range<u32> {
        let due = place.next;
        if number >= due {
            self.skipped.extend((due..number).map(|skipped| (place.id, skipped)));
            place.next = number + 1;
        } else if self.skipped.remove(&(place.id, number)) {
            self.reordered += 1;
        } else {
            self.duplicated += 1;
            return 0..0;
        }
        self.received += 1;
        self.latency.record(waited_ns);
        due..place.next
    }
}

/// One stream of messages to many listeners.
#[derive(Debug)]
pub(super) struct Topic {
    payload: Payload,
    /// Messages that somebody still has to receive or was sent after such a one, oldest first.
    under_way: VecDeque<Message>,
    published: u32,
    listeners: u32,
    /// Messages from one of a listener's own to its next; 1 where all have all.
    stride: u32,
    /// What the listeners received.
    pub tally: Tally,
    /// From sending a message to its last receipt, if that was in order.
    pub last: Histogram,
}

#[derive(Debug)]
struct Message {
    payload: Vec<u8>,
    sent_ns: u64,
    awaited_by: u32,
}

impl Topic {
    /// A stream without messages and listeners.
    pub(super) fn new(payload: Payload) -> Topic {
        let (tally, last) = (Tally::default(), Histogram::default());
        let under_way = VecDeque::new();
        Topic { payload, under_way, published: 0, listeners: 0, stride: 1, tally, last }
    }

    /// The same, of which each of so many listeners has its own.
    pub(super) fn of_each(payload: Payload, listeners: u32) -> Topic {
        Topic { stride: listeners, ..Topic::new(payload) }
    }

    /// The number of messages that are to be received.
    pub(super) fn due(&self, listeners: u64) -> u64 {
        let each = if self.is_shared() { listeners } else { 1 };
        u64::from(self.published) * each
    }

    fn is_shared(&self) -> bool {
        self.stride == 1
    }

    /// The number of the message that is due for a listener as the one of that place.
    fn number(&self, id: u32, place: u32) -> u32 {
        match self.is_shared() {
            true => place,
            false => place * self.stride + id,
        }
    }

    /// One more listens. All must before the first message.
    pub(super) fn join(&mut self) {
        self.listeners += 1;
    }

    /// A listener has gone: nothing more is awaited of it.
    pub(super) fn leave(&mut self, place: Place) {
        self.listeners -= 1;
        let rest = self.published.saturating_sub(self.number(place.id, 0)).div_ceil(self.stride);
        self.settle(place.id, place.next..rest);
    }

    /// How many listen.
    pub(super) fn listeners(&self) -> u32 {
        self.listeners
    }

    /// Messages sent so far.
    pub(super) fn published(&self) -> u32 {
        self.published
    }

    /// Messages from the oldest that is still awaited to the newest.
    pub(super) fn in_flight(&self) -> usize {
        self.under_way.len()
    }

    /// A new message, to be sent now.
    pub(super) fn publish(&mut self, now_ns: u64) -> &[u8] {
        let mut payload = Vec::new();
        self.payload.write(self.published, now_ns, &mut payload);
        self.published += 1;
        let awaited_by = if self.is_shared() { self.listeners } else { 1 };
        self.under_way.push_back(Message { payload, sent_ns: now_ns, awaited_by });
        self.under_way.back().map_or(&[], |message| &message.payload)
    }

    /// A listener received this.
    #[inline]
    pub(super) fn heard(&mut self, place: &mut Place, data: &[u8], now_ns: u64) {
        match self.awaited(self.number(place.id, place.next)) {
            Some(message) if message.payload == data => {
                message.awaited_by -= 1;
                let (waited_ns, was_last) = (now_ns - message.sent_ns, message.awaited_by == 0);
                place.next += 1;
                self.tally.received += 1;
                self.tally.latency.record(waited_ns);
                if was_last {
                    self.last.record(waited_ns);
                    self.forget_settled();
                }
            }
            _ => self.heard_another(place, data, now_ns),
        }
    }

    fn heard_another(&mut self, place: &mut Place, data: &[u8], now_ns: u64) {
        match self.payload.read(data) {
            Received::Foreign => {}
            Received::Ours { number, sent_ns }
                if number < self.published
                    && sent_ns <= now_ns
                    && self.number(place.id, number / self.stride) == number =>
            {
                let settled = self.tally.judge(place, number / self.stride, now_ns - sent_ns);
                self.settle(place.id, settled);
            }
            // Before the first message a stored one may come, of whatever sort.
            _ if self.published == 0 => {}
            _ => self.tally.corrupt += 1,
        }
    }

    /// One listener less awaits those of these places.
    fn settle(&mut self, id: u32, places: Range<u32>) {
        for place in places {
            let Some(message) = self.awaited(self.number(id, place)) else { continue };
            message.awaited_by -= 1;
        }
        self.forget_settled();
    }

    fn forget_settled(&mut self) {
        while self.under_way.front().is_some_and(|message| message.awaited_by == 0) {
            self.under_way.pop_front();
        }
    }

    #[inline]
    fn awaited(&mut self, number: u32) -> Option<&mut Message> {
        let oldest = self.published as usize - self.under_way.len();
        self.under_way.get_mut((number as usize).wrapping_sub(oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(listeners: u32) -> (Topic, Vec<Place>) {
        let mut topic = Topic::new(Payload::new(1, 40));
        (0..listeners).for_each(|_| topic.join());
        (topic, (0..listeners).map(|id| Place { id, next: 0 }).collect())
    }

    #[test]
    fn a_message_is_in_flight_until_all_have_it() {
        let (mut topic, mut places) = topic(2);
        let first = topic.publish(100).to_vec();
        let second = topic.publish(110).to_vec();
        topic.heard(&mut places[0], &first, 150);
        topic.heard(&mut places[0], &second, 160);
        assert_eq!(topic.in_flight(), 2);
        topic.heard(&mut places[1], &first, 170);
        assert_eq!((topic.in_flight(), topic.last.max()), (1, 70));
        topic.heard(&mut places[1], &second, 180);
        assert_eq!((topic.in_flight(), topic.tally.received), (0, 4));
        let Tally { duplicated, reordered, corrupt, .. } = topic.tally;
        assert_eq!((duplicated, reordered, corrupt), (0, 0, 0));
        assert_eq!((topic.tally.latency.count(), topic.last.count()), (4, 2));
    }

    #[test]
    fn what_goes_wrong_is_called_by_its_name() {
        // The numbers that arrive of 0, 1 and 2; then received, duplicated, reordered, in flight.
        for (arrived, expected) in [
            (&[0, 1, 2][..], (3, 0, 0, 0)),
            (&[0, 2], (2, 0, 0, 0)),
            (&[0, 1], (2, 0, 0, 1)),
            (&[0, 2, 1], (3, 0, 1, 0)),
            (&[2, 1, 0], (3, 0, 2, 0)),
            (&[0, 0, 1, 2, 1], (3, 2, 0, 0)),
            (&[0, 2, 1, 1], (3, 1, 1, 0)),
        ] {
            let (mut topic, mut places) = topic(1);
            let messages: Vec<Vec<u8>> = (0..3).map(|at| topic.publish(at).to_vec()).collect();
            for number in arrived {
                topic.heard(&mut places[0], &messages[*number], 10);
            }
            let Tally { received, duplicated, reordered, .. } = topic.tally;
            let got = (received, duplicated, reordered, topic.in_flight());
            assert_eq!(got, expected, "{arrived:?}");
        }
    }

    #[test]
    fn what_nobody_sent_is_corrupt_but_not_what_was_stored_before() {
        let (mut topic, mut places) = topic(1);
        topic.heard(&mut places[0], b"stored", 1);
        let mut foreign = Vec::new();
        Payload::new(2, 40).write(0, 0, &mut foreign);
        topic.heard(&mut places[0], &foreign, 1);
        assert_eq!(topic.tally.corrupt, 0);
        let mut message = topic.publish(5).to_vec();
        topic.heard(&mut places[0], &foreign, 6);
        message[39] ^= 1;
        topic.heard(&mut places[0], &message, 6);
        let mut not_sent_yet = Vec::new();
        Payload::new(1, 40).write(1, 5, &mut not_sent_yet);
        topic.heard(&mut places[0], &not_sent_yet, 6);
        assert_eq!((topic.tally.corrupt, topic.tally.received, topic.in_flight()), (2, 0, 1));
    }

    #[test]
    fn where_each_has_its_own_it_is_awaited_by_one_and_another_s_is_corrupt() {
        let mut topic = Topic::of_each(Payload::new(1, 40), 2);
        (0..2).for_each(|_| topic.join());
        let mut places = [0, 1].map(|id| Place { id, next: 0 });
        let messages: Vec<Vec<u8>> = (0..5).map(|at| topic.publish(at).to_vec()).collect();
        assert_eq!((topic.due(2), topic.in_flight()), (5, 5));
        for (listener, number, in_flight, received) in
            [(0, 0, 4, 1), (1, 3, 3, 2), (1, 1, 3, 3), (0, 1, 3, 3), (0, 2, 1, 4)]
        {
            topic.heard(&mut places[listener], &messages[number], 10);
            assert_eq!((topic.in_flight(), topic.tally.received), (in_flight, received));
        }
        let Tally { duplicated, reordered, corrupt, .. } = topic.tally;
        assert_eq!((duplicated, reordered, corrupt), (0, 1, 1));
        topic.leave(places[0]);
        assert_eq!((topic.in_flight(), topic.listeners()), (0, 1));
    }

    #[test]
    fn nobody_waits_for_those_who_left() {
        let (mut topic, mut places) = topic(2);
        let message = topic.publish(0).to_vec();
        topic.heard(&mut places[0], &message, 1);
        topic.leave(places[1]);
        assert_eq!((topic.in_flight(), topic.listeners()), (0, 1));
        let message = topic.publish(3).to_vec();
        topic.heard(&mut places[0], &message, 4);
        assert_eq!((topic.in_flight(), topic.tally.received), (0, 2));
    }
}
