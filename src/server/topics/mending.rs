//! L2: what was missed in an outage of the broker, for those who hear a channel all the time.
//!
//! It is read from the history in pages, as for those who come back, and goes to all at once. Its
//! rules:
//! * what is live waits behind it, in the line of the channel;
//! * a conn that does not read it as fast as it comes has the rest as if it had come back;
//! * what cannot be had any more is a gap for those who need it.

use super::arriving::Arriving;
use super::floor::Floor;
use super::{Mending, Topics};
use crate::broker::history::Offset;
use crate::broker::history::look::{Look, Looked, Missed};
use crate::broker::history::position::Position;
use crate::broker::history::reading::Place;
use crate::browser::Context;
use crate::fanout::hub::ChannelId;
use crate::proto::topics::NOWHERE;
use crate::server::table::Table;

impl Topics {
    /// Looks at what was missed in an outage, if there is a history.
    pub(super) fn mend(&mut self, channel: ChannelId, look: Look) {
        self.asking(channel);
        let look = self.hub.state(channel).size.map(|_| look);
        let number = self.ask(channel, |_| look);
        self.hub.state(channel).mending = Mending::Asked(number, look);
    }

    /// It is known what was missed in an outage, or some of it.
    pub(super) fn on_mended(
        &mut self,
        channel: ChannelId,
        look: Option<Look>,
        answer: Result<Option<&[u8]>, ()>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let topic = self.hub.state(channel);
        let text = answer.ok().flatten();
        let Some(size) = topic.size else {
            self.tell_of_gap(channel, NOWHERE, text, |_| true, table, cx);
            return;
        };
        let looked = text.and_then(Looked::parse);
        let is_known = !topic.line.is_lost() && look != Some(Look::Join(None));
        let place = topic.line.at().filter(|_| is_known);
        let is_on = matches!(look, Some(Look::On(_)));
        if let Some((looked, place)) = looked.as_ref().zip(place) {
            let at = Position { place, epoch: topic.epoch };
            let missed = looked.since(at, size);
            if !is_on && missed != Missed::Gone {
                self.tell_who_fell(channel, looked, at, table, cx);
            }
            match missed {
                Missed::Here(missed) if looked.whole || !missed.is_empty() => {
                    return self.give_missed(channel, missed, looked, table, cx);
                }
                // What follows did not fit beside what is stored, or is too large.
                Missed::Here(_) if is_on => return self.mend(channel, Look::Join(None)),
                Missed::Here(_) => return self.mend(channel, Look::On(place)),
                Missed::Later if is_on => return self.mend(channel, Look::Join(None)),
                Missed::Later if matches!(place, Place::Time(_)) => {
                    return self.mend(channel, Look::On(place));
                }
                // A gap is told with what is stored.
                Missed::Gone if is_on => return self.mend(channel, Look::Join(Some(place))),
                Missed::Gone | Missed::Later => {}
            }
        }
        // Who began to hear behind the line's place may miss nothing all the same.
        if let Some(looked) = looked.as_ref().filter(|_| is_known)
            && let Some(at) = self.hub.state(channel).keep_standing(looked, size)
        {
            self.hub.state(channel).line.go_on(at.place);
            let position = looked.position().to_string();
            self.tell_of_gap(channel, &position, looked.stored, |floor| floor.is_none(), table, cx);
            self.raise_floors(channel, looked.position());
            return match looked.since(at, size) {
                Missed::Here(missed) if looked.whole || !missed.is_empty() => {
                    self.give_missed(channel, missed, looked, table, cx);
                }
                _ => self.mend(channel, Look::On(at.place)),
            };
        }
        self.begin_anew(channel, looked, table, cx);
    }

    /// Tells those of a gap who began to hear behind the line's place, at one that is of another
    /// life of the broker, or of which not all is there.
    fn tell_who_fell(
        &mut self,
        channel: ChannelId,
        looked: &Looked<'_>,
        at: Position,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let topic = self.hub.state(channel);
        let Some(size) = topic.size else { return };
        let (line, end) = (at.place.first_behind(), looked.position());
        let is_gone =
            |floor: &Floor| floor.from() > line && looked.since(floor.at, size) == Missed::Gone;
        if !topic.floors.values().any(is_gone) {
            return;
        }
        let is_for = |floor: Option<&Floor>| floor.is_some_and(is_gone);
        self.tell_of_gap(channel, &end.to_string(), looked.stored, is_for, table, cx);
        let floors = self.hub.state(channel).floors.values_mut();
        floors.filter(|floor| is_gone(floor)).for_each(|floor| floor.at = end);
    }

    /// What was missed is not to be had.
    fn begin_anew(
        &mut self,
        channel: ChannelId,
        looked: Option<Looked<'_>>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        let topic = self.hub.state(channel);
        let placed = match &looked {
            Some(looked) => {
                topic.epoch = looked.epoch;
                topic.line.restart(looked.end)
            }
            None => topic.line.give_up(),
        };
        self.give_out(channel, &placed, table, cx);
        let position = looked.as_ref().map_or(NOWHERE.to_owned(), |it| it.position().to_string());
        let stored = looked.and_then(|looked| looked.stored);
        self.tell_of_gap(channel, &position, stored, |_| true, table, cx);
        self.hub.state(channel).floors.clear();
    }

    /// Hands out what was missed, as far as it is on a page, and asks for the next.
    fn give_missed(
        &mut self,
        channel: ChannelId,
        missed: &[(Offset, &[u8])],
        looked: &Looked<'_>,
        table: &mut Table,
        cx: &mut Context,
    ) {
        if !missed.is_empty() {
            self.let_rest(channel, table, cx);
        }
        cx.metrics.recovered_total += missed.len() as u64;
        let topic = self.hub.state(channel);
        let placed = topic.line.mended(missed, looked.whole, looked.end);
        if let Some(fingerprints) = &self.fingerprints {
            let name = self.hub.name(channel);
            let early = placed.iter().filter(|one| one.number.is_none());
            let early = early.map(|one| (name.clone(), fingerprints.of(&one.payload)));
            self.mended.extend(early);
        }
        self.give_out(channel, &placed, table, cx);
        let topic = self.hub.state(channel);
        topic.lift_floors();
        if let Some(at) = topic.line.at().filter(|_| !looked.whole) {
            self.mend(channel, Look::On(at));
        }
    }

    /// Lets those who read too slowly have what was missed as they read.
    fn let_rest(&mut self, channel: ChannelId, table: &mut Table, cx: &mut Context) {
        let topic = self.hub.peek(channel);
        let Some(place) = topic.line.at() else { return };
        let at = Position { place, epoch: topic.epoch }.to_string();
        let absent = topic.absent();
        let hears =
            |index: &u32| absent.binary_search(index).is_err() && !topic.floors.contains_key(index);
        let mut resting = Vec::new();
        for index in self.hub.subscribers(channel).filter(hears) {
            if let Some((link, _)) = table.at(index)
                && table.conn(link).is_some_and(|conn| conn.is_behind(cx))
            {
                resting.push(Arriving::hearing(link, at.clone(), cx.now.mono_ms));
            }
        }
        self.hub.state(channel).resting.append(&mut resting);
    }

    /// Lets everybody who has no floor hear only what the history has behind that position.
    fn raise_floors(&mut self, channel: ChannelId, at: Position) {
        let topic = self.hub.peek(channel);
        let absent = topic.absent();
        let rest = self.hub.subscribers(channel);
        let rest = rest.filter(|index| absent.binary_search(index).is_err());
        let rest: Vec<u32> = rest.collect();
        let floors = &mut self.hub.state(channel).floors;
        for index in rest {
            floors.entry(index).or_insert(Floor { at, behind: 0 });
        }
    }
}
