//! L2: those who are about to hear a channel, and what each is to be told of a page of its history.
//!
//! It knows positions and pages, not conns. Its rules:
//! * pages are read upwards, and everybody whose position is on a page or behind it has its part of
//!   each from there on. Who has a position that was passed waits until the end is reached;
//! * who comes while others are far from the end has a look of its own in between: mostly it has
//!   missed little;
//! * each page begins with the last entry of the one before, so that what is trimmed in between is
//!   noticed: whoever needed it has a gap;
//! * an entry that does not fit beside what is stored is asked for alone. Of one that is too large
//!   for that there is a gap.

use std::iter;

use super::{Topic, Topics};
use crate::broker::HistorySize;
use crate::broker::history::Offset;
use crate::broker::history::look::{Look, Looked, Missed};
use crate::broker::history::position::Position;
use crate::broker::history::reading::Place;
use crate::fanout::hub::ChannelId;
use crate::link::LinkId;

/// A conn that is about to hear a channel.
#[derive(Debug)]
pub(super) struct Arriving {
    pub link: LinkId,
    pub number: u64,
    /// The position that it has said.
    pub since: Option<String>,
    /// Up to which entry it has all, where that is behind what it has said.
    pub behind: Option<Offset>,
    /// It was told from which position on it hears, and what it has missed is on its way.
    pub is_begun: bool,
    /// The conn knows that it hears, and waits for no answer.
    pub is_heard: bool,
    /// Since when it waits for the broker, which has answered then.
    pub at_ms: u64,
    /// It was not asked about yet.
    is_new: bool,
    /// The next entry did not fit beside what is stored.
    is_stuck: bool,
    /// What it needs is not to be had, which is not said yet.
    is_gone: bool,
}

/// Who is about to hear a channel, and was asked about.
#[derive(Debug)]
pub(super) struct Joining {
    /// The question.
    pub number: u64,
    /// Where there is a history.
    pub look: Option<Look>,
    /// It is a look between two pages of others.
    pub is_between: bool,
    pub all: Vec<Arriving>,
}

/// What one of them is to be told of a page.
#[derive(Debug)]
pub(super) enum Turn<'e, 'a> {
    /// Where the channel stands, and what is stored.
    Fresh,
    /// That too, and that something is missing.
    Gap,
    /// All that it has missed, or the rest of that.
    All(&'e [(Offset, &'a [u8])]),
    /// Some of what it has missed.
    Part(&'e [(Offset, &'a [u8])]),
    /// Nothing yet.
    Wait,
}

impl Arriving {
    pub(super) fn new(link: LinkId, number: u64, since: Option<String>, at_ms: u64) -> Self {
        let (is_begun, is_heard, is_stuck, is_gone) = (false, false, false, false);
        let (behind, is_new) = (None, true);
        Arriving {
            link,
            number,
            since,
            behind,
            is_begun,
            is_heard,
            at_ms,
            is_new,
            is_stuck,
            is_gone,
        }
    }

    /// A conn that hears it already, and lacks what is behind that position.
    pub(super) fn hearing(link: LinkId, position: String, at_ms: u64) -> Self {
        let (is_begun, is_heard) = (true, true);
        Arriving { is_begun, is_heard, ..Arriving::new(link, 0, Some(position), at_ms) }
    }

    /// The position that it has, if it is one.
    fn position(&self) -> Option<Position> {
        match self.behind {
            _ if self.is_gone => None,
            Some(offset) => Some(Position { place: Place::Entry(offset), epoch: 0 }),
            None => self.since.as_deref().and_then(Position::parse),
        }
    }

    fn place(&self) -> Option<Place> {
        self.position().map(|position| position.place)
    }

    /// What it is to be told of what a look has found.
    pub(super) fn turn<'e, 'a>(
        &mut self,
        look: Option<Look>,
        looked: &'e Looked<'a>,
        size: Option<HistorySize>,
    ) -> Turn<'e, 'a> {
        if self.since.is_none() {
            return Turn::Fresh;
        }
        let (Some(position), Some(size), Some(look)) = (self.position(), size, look) else {
            return Turn::Gap;
        };
        let is_first = look.place() == Some(position.place);
        match looked.since(position, size) {
            Missed::Here(missed) if looked.whole => Turn::All(missed),
            Missed::Gone => self.gone(look),
            Missed::Later if is_first && matches!(position.place, Place::Entry(_)) => {
                self.gone(look)
            }
            Missed::Here([]) | Missed::Later if is_first => self.stick(look),
            Missed::Later if matches!(position.place, Place::Entry(_)) => Turn::Wait,
            Missed::Here([]) | Missed::Later => {
                self.behind = looked.entries.last().map(|(last, _)| *last);
                Turn::Wait
            }
            Missed::Here(missed) => Turn::Part(missed),
        }
    }

    /// It has what it was given.
    pub(super) fn has(&mut self, last: Offset) {
        (self.behind, self.is_begun, self.is_stuck) = (Some(last), true, false);
    }

    /// What it needs is gone, which is said together with what is stored.
    fn gone<'e, 'a>(&mut self, look: Look) -> Turn<'e, 'a> {
        match look {
            Look::On(_) => {
                self.needs_gap();
                Turn::Wait
            }
            _ => Turn::Gap,
        }
    }

    /// The next entry did not fit.
    fn stick<'e, 'a>(&mut self, look: Look) -> Turn<'e, 'a> {
        match look {
            Look::On(_) => self.needs_gap(),
            _ => self.is_stuck = true,
        }
        Turn::Wait
    }

    fn needs_gap(&mut self) {
        (self.is_gone, self.is_stuck) = (true, false);
    }
}

impl Topic {
    /// All who are about to hear it.
    fn all_arriving(&self) -> impl Iterator<Item = &Arriving> {
        let joining = self.joining.iter().flat_map(|joining| &joining.all);
        self.arriving.iter().chain(joining).chain(&self.resting)
    }

    /// Their places in the table, in order.
    pub(super) fn absent(&self) -> Vec<u32> {
        let mut absent: Vec<u32> = self.all_arriving().map(|one| one.link.index).collect();
        absent.sort_unstable();
        absent
    }

    /// How many these are.
    pub(super) fn count_absent(&self) -> usize {
        self.all_arriving().count()
    }

    /// Since when a conn waits for the broker to say something of it.
    pub(super) fn awaits_since(&self, link: LinkId) -> Option<u64> {
        let joining = self.joining.iter().flat_map(|joining| &joining.all);
        let mut all = self.arriving.iter().chain(joining);
        all.find(|one| one.link == link).map(|one| one.at_ms)
    }

    /// A conn is about to hear it no more.
    pub(super) fn take(&mut self, link: LinkId) -> Vec<Arriving> {
        let joining = self.joining.iter_mut().map(|joining| &mut joining.all);
        let all = iter::once(&mut self.arriving).chain(joining).chain([&mut self.resting]);
        all.flat_map(|all| all.extract_if(.., |one| one.link == link)).collect()
    }

    /// Nobody is about to hear it any more.
    pub(super) fn take_all(&mut self) -> Vec<Arriving> {
        let mut all = std::mem::take(&mut self.arriving);
        all.extend(self.joining.take().into_iter().flat_map(|joining| joining.all));
        all.append(&mut self.resting);
        all
    }

    /// Those for whom the next look is, and from where on it is made.
    fn next_page(&mut self) -> (Vec<Arriving>, Option<Look>) {
        let all = &mut self.arriving;
        let is_stuck = all.iter().any(|one| one.is_stuck);
        let may_be_between = self.swept.is_some() && !self.is_between && !is_stuck;
        self.is_between = may_be_between && all.iter().any(|one| one.is_new);
        let swept = self.swept.map(Offset::next);
        let is_ahead = |one: &Arriving| {
            one.place().is_none_or(|place| swept.is_none_or(|swept| place.first_behind() >= swept))
        };
        let next: Vec<Arriving> = match is_stuck {
            true => all.extract_if(.., |one| one.is_stuck).collect(),
            false if self.is_between => all.extract_if(.., |one| one.is_new).collect(),
            false => all.extract_if(.., |one| is_ahead(one)).collect(),
        };
        let mut next = if next.is_empty() { std::mem::take(all) } else { next };
        next.iter_mut().for_each(|one| one.is_new = false);
        let least =
            next.iter().filter_map(Arriving::place).min_by_key(|place| place.first_behind());
        let goes_on = is_stuck || next.iter().all(|one| one.behind.is_some() && !one.is_gone);
        let look = match least {
            Some(least) if goes_on => Look::On(least),
            least => Look::Join(least),
        };
        (next, self.size.map(|_| look))
    }
}

impl Topics {
    /// Asks where the channel stands for those who are about to hear it.
    pub(super) fn let_in(&mut self, channel: ChannelId) {
        let topic = self.hub.state(channel);
        if !topic.confirmed || topic.joining.is_some() || topic.arriving.is_empty() {
            return;
        }
        let (all, look) = topic.next_page();
        let is_between = topic.is_between;
        let number = self.ask(channel, |_| look);
        self.hub.state(channel).joining = Some(Joining { number, look, is_between, all });
    }

    /// All that waited for a conn is sent, or something else of it is done: what it has missed of
    /// one more channel comes.
    pub(in crate::server) fn wake(&mut self, link: LinkId, now_ms: u64) {
        let rests = |channel: &ChannelId| {
            self.hub.peek(*channel).resting.iter().any(|one| one.link == link)
        };
        let Some(channel) = self.hub.channels_of(link.index).find(rests) else { return };
        let name = self.hub.name(channel).clone();
        let topic = self.hub.state(channel);
        for mut one in topic.resting.extract_if(.., |one| one.link == link) {
            one.at_ms = now_ms;
            topic.arriving.push(one);
        }
        self.wishes.push_back((now_ms, link, name));
        self.let_in(channel);
    }
}
