//! L2: the table of links: who is at the other end of each, and which of them are to be flushed.
//!
//! It knows places, generations and what each party says of itself by the verbs that all have. Its
//! rules:
//! * a place is taken when a link is named and given up when its `Close` is put out, at no other
//!   time, so that the loop's own list of sockets has the same places;
//! * a link stands in each line at most once, however much is queued for it;
//! * a link is in no line while the kernel takes no more of its bytes: the loop flushes it when the
//!   socket is writable again.

use std::collections::VecDeque;

use super::lines::{Line, Lines};
use crate::broker::client::RespClient;
use crate::browser::Conn;
use crate::link::places::{Places, give_back_queue};
use crate::link::{LinkId, Output, Target};

/// Who is at the other end of a link.
#[derive(Debug)]
pub(super) enum Party {
    /// A browser.
    Browser(Conn),
    /// The Redis of that node of the broker.
    Redis(usize),
    /// Of the sentinels of that node, which say where its Redis is, the one of that number.
    Sentinel(usize, usize),
    /// The application, over that one of its links.
    App(usize),
    /// The application of an endpoint, under that number.
    Handler(usize),
    /// A Redis client of the embedded broker.
    Client(Box<RespClient>),
    /// A browser whose request is with an upstream, under that number.
    Guest(usize),
    /// An upstream, over that one of its links.
    Uplink(usize),
    /// Nobody any more: the link is to be closed. Whether it was a browser.
    Gone(bool),
}

/// The links by their places.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Places<Slot>,
    /// Links that have ever been named.
    named: u32,
    lines: Lines,
    outputs: VecDeque<Todo>,
}

/// What is to be done next outside.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// So many frames of this link are to be flushed.
    Flush(LinkId, usize),
    /// Something else.
    Output(Output),
}

/// Something to be put out.
#[derive(Debug)]
enum Todo {
    Output(Output),
    /// A link that is named when its dial is put out, as its place is taken then.
    Dial(Party, Target),
}

/// One place.
#[derive(Debug)]
pub(super) struct Slot {
    generation: u32,
    /// The lines that it stands in.
    pub(super) lines: u8,
    /// The kernel has refused bytes, and something has waited ever since.
    pub blocked: bool,
    /// KiB that the loop holds for it.
    pub held_kib: u16,
    /// Who is there.
    pub party: Party,
}

impl Table {
    /// Names a link.
    pub(super) fn name(&mut self, party: Party) -> LinkId {
        self.named = self.named.wrapping_add(1);
        let generation = self.named;
        let slot = Slot { generation, lines: 0, blocked: false, held_kib: 0, party };
        LinkId { index: self.slots.insert(slot) as u32, generation }
    }

    /// Has a link dialed, which is named when that is put out.
    pub(super) fn dial(&mut self, party: Party, target: Target) {
        self.outputs.push_back(Todo::Dial(party, target));
    }

    /// Has a link closed: nobody is there from here on.
    pub(super) fn close(&mut self, link: LinkId) {
        let Some(slot) = self.get(link) else { return };
        if !matches!(slot.party, Party::Gone(_)) {
            slot.party = Party::Gone(matches!(slot.party, Party::Browser(_) | Party::Guest(_)));
            self.put(Output::Close(link));
        }
    }

    /// Puts something out.
    pub(super) fn put(&mut self, output: Output) {
        self.outputs.push_back(Todo::Output(output));
    }

    /// Whose link it is.
    pub(super) fn get(&mut self, link: LinkId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(link.index as usize)?;
        (slot.generation == link.generation).then_some(slot)
    }

    /// Whose link it is, to be looked at.
    pub(super) fn peek(&self, link: LinkId) -> Option<&Slot> {
        let slot = self.slots.get(link.index as usize)?;
        (slot.generation == link.generation).then_some(slot)
    }

    /// The conn of that link.
    pub(super) fn conn(&mut self, link: LinkId) -> Option<&mut Conn> {
        match &mut self.get(link)?.party {
            Party::Browser(conn) => Some(conn),
            _ => None,
        }
    }

    /// The same, to be looked at.
    pub(super) fn peek_conn(&self, link: LinkId) -> Option<&Conn> {
        match &self.peek(link)?.party {
            Party::Browser(conn) => Some(conn),
            _ => None,
        }
    }

    /// Whether a browser is there.
    pub(super) fn is_browser(&self, link: LinkId) -> bool {
        self.peek_conn(link).is_some()
    }

    /// The Redis client of that link.
    pub(super) fn client(&mut self, link: LinkId) -> Option<&mut RespClient> {
        match &mut self.get(link)?.party {
            Party::Client(client) => Some(client),
            _ => None,
        }
    }

    /// The same, to be looked at.
    pub(super) fn peek_client(&self, link: LinkId) -> Option<&RespClient> {
        match &self.peek(link)?.party {
            Party::Client(client) => Some(client),
            _ => None,
        }
    }

    /// Who is at that place, with the name of the link.
    pub(super) fn at(&mut self, index: u32) -> Option<(LinkId, &mut Slot)> {
        let slot = self.slots.get_mut(index as usize)?;
        Some((LinkId { index, generation: slot.generation }, slot))
    }

    /// The conn at that place.
    pub(super) fn conn_at(&self, index: u32) -> Option<&Conn> {
        match &self.slots.get(index as usize)?.party {
            Party::Browser(conn) => Some(conn),
            _ => None,
        }
    }

    /// The links of all conns that are so, in the order of their places.
    pub(super) fn conns(&self, so: impl Fn(&Conn) -> bool) -> Vec<LinkId> {
        let conn = |(index, slot): (usize, &Slot)| match &slot.party {
            Party::Browser(conn) if so(conn) => {
                Some(LinkId { index: index as u32, generation: slot.generation })
            }
            _ => None,
        };
        self.slots.iter().filter_map(conn).collect()
    }

    /// Everybody, in the order of their places.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().map(|(_, slot)| slot)
    }

    /// The same with the names of their links.
    pub(super) fn places(&self) -> impl Iterator<Item = (LinkId, &Slot)> {
        let link =
            |index: usize, slot: &Slot| LinkId { index: index as u32, generation: slot.generation };
        self.slots.iter().map(move |(index, slot)| (link(index, slot), slot))
    }

    /// Puts a link in line if something waits for it that may go out; it goes to so many receivers.
    pub(super) fn stand(&mut self, link: LinkId, receivers: usize) {
        if let Some((at, slot, lines)) = self.at_and_lines(link.index)
            && at == link
        {
            let line = slot.line(receivers);
            slot.stand(link.index, line, lines);
        }
    }

    /// The same for who is at that place, in the midst of a fan-out.
    #[inline]
    pub(super) fn at_and_lines(&mut self, index: u32) -> Option<(LinkId, &mut Slot, &mut Lines)> {
        let slot = self.slots.get_mut(index as usize)?;
        Some((LinkId { index, generation: slot.generation }, slot, &mut self.lines))
    }

    /// The next thing to do outside. What the broker and the application are asked goes before what
    /// browsers are told: when a browser reads the answer to its close, what it said before has
    /// been sent on.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Next> {
        loop {
            if !self.outputs.is_empty() && !self.lines.has(Line::First) {
                return self.next_output().map(Next::Output);
            }
            let line = self.lines.which()?;
            let Some(index) = self.lines.take(line) else { continue };
            let Some(slot) = self.slots.get_mut(index as usize) else { continue };
            // Another link may have come to that place, or another line was faster.
            let stood = slot.lines & line.bit() != 0;
            slot.lines &= !line.bit();
            if stood && !slot.blocked {
                let frames = slot.unsent_frames();
                if frames > 0 {
                    return Some(Next::Flush(
                        LinkId { index, generation: slot.generation },
                        frames,
                    ));
                }
            }
        }
    }

    fn next_output(&mut self) -> Option<Output> {
        match self.outputs.pop_front()? {
            Todo::Output(output) => Some(output),
            Todo::Dial(party, target) => Some(Output::Dial(self.name(party), target)),
        }
    }

    /// Gives the place of a link up whose `Close` is put out; true when it was a browser's.
    pub(super) fn free(&mut self, link: LinkId) -> bool {
        if self.peek(link).is_none() {
            return false;
        }
        let party = self.slots.remove(link.index as usize).party;
        self.lines.give_back(self.slots.len());
        give_back_queue(&mut self.outputs, self.slots.len());
        matches!(party, Party::Gone(true))
    }

    /// Whether something is still to be put out.
    pub(super) fn has_outputs(&self) -> bool {
        !self.outputs.is_empty() || !self.lines.is_empty()
    }
}

impl Slot {
    /// Puts it in that line, unless it stands before the others of it already.
    #[inline]
    pub(super) fn stand(&mut self, index: u32, line: Line, lines: &mut Lines) {
        if !self.blocked && self.has_unsent() {
            self.enter(index, line, lines);
        }
    }

    /// The same for whom something waits that may go out, and whose socket takes bytes.
    #[inline]
    pub(super) fn enter(&mut self, index: u32, line: Line, lines: &mut Lines) {
        let ahead = self.lines & (Line::First.bit() | Line::Front.bit() | line.bit());
        if ahead == 0 {
            self.lines |= line.bit();
            lines.stand(index, line);
        }
    }

    /// The line for something that goes to so many receivers.
    pub(super) fn line(&self, receivers: usize) -> Line {
        match self.party {
            Party::Redis(_) | Party::Sentinel(..) | Party::App(_) | Party::Handler(_) => {
                Line::First
            }
            _ => Line::of(receivers),
        }
    }

    /// Whether bytes wait for it that may go out.
    pub(super) fn has_unsent(&self) -> bool {
        self.unsent_frames() > 0
    }

    /// The number of frames that wait for it and may go out.
    #[inline]
    fn unsent_frames(&self) -> usize {
        if let Party::Browser(conn) = &self.party {
            return conn.unsent_frames();
        }
        self.unsent_of_another()
    }

    /// The same apart, so that a crowd of conns does not pay for the others.
    #[inline(never)]
    fn unsent_of_another(&self) -> usize {
        match &self.party {
            Party::Browser(conn) => conn.unsent_frames(),
            Party::Client(client) => usize::from(!client.unsent().is_empty()),
            // The server knows, and has them stand only when something waits.
            Party::Redis(_)
            | Party::Sentinel(..)
            | Party::App(_)
            | Party::Handler(_)
            | Party::Guest(_)
            | Party::Uplink(_) => 1,
            Party::Gone(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::lines::{CROWD, FRONT_RUN};

    const MANY: usize = CROWD + 1;

    /// Somebody for whom something waits.
    fn somebody() -> Party {
        Party::Client(Box::new(RespClient::refused("ERR full")))
    }

    fn table(links: usize) -> (Table, Vec<LinkId>) {
        let mut table = Table::default();
        let links = (0..links).map(|_| table.name(somebody())).collect();
        (table, links)
    }

    fn next(table: &mut Table) -> Option<u32> {
        match table.next()? {
            Next::Flush(link, 1) => Some(link.index),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_place_is_a_few_cache_lines() {
        assert!(size_of::<Slot>() <= 112, "{}", size_of::<Slot>());
    }

    #[test]
    fn a_name_that_has_outlived_its_link_means_nothing() {
        let (mut table, links) = table(1);
        let old = links[0];
        table.close(old);
        table.free(old);
        let new = table.name(somebody());
        assert_eq!((new.index, new.generation), (old.index, old.generation + 1));
        assert!(table.get(old).is_none() && table.peek(old).is_none() && !table.free(old));
        assert!(table.get(new).is_some());
    }

    #[test]
    fn a_link_that_is_to_be_closed_keeps_its_place_until_that_is_put_out() {
        let (mut table, links) = table(1);
        table.close(links[0]);
        table.close(links[0]);
        assert!(matches!(table.get(links[0]), Some(Slot { party: Party::Gone(false), .. })));
        assert_ne!(table.name(somebody()).index, links[0].index);
        assert_eq!(table.next(), Some(Next::Output(Output::Close(links[0]))));
        assert_eq!(table.next(), None, "it is closed once");
    }

    #[test]
    fn a_dialed_link_is_named_when_its_dial_is_put_out() {
        let (mut table, links) = table(1);
        table.close(links[0]);
        table.dial(Party::Redis(0), Target::Unix("/redis.sock".into()));
        assert_eq!(table.next(), Some(Next::Output(Output::Close(links[0]))));
        table.free(links[0]);
        let Some(Next::Output(Output::Dial(link, _))) = table.next() else { panic!("no dial") };
        assert_eq!(link.index, links[0].index, "the place that was given up");
    }

    #[test]
    fn who_is_one_of_few_goes_before_a_crowd_that_came_first_and_each_goes_once() {
        let (mut table, links) = table(8);
        for link in &links[..6] {
            table.stand(*link, MANY);
        }
        table.stand(links[6], CROWD);
        table.stand(links[3], 1);
        let order: Vec<u32> = std::iter::from_fn(|| next(&mut table)).collect();
        // Whoever moved on to the front still has its place in the crowd, for what came later.
        assert_eq!(order, [6, 3, 0, 1, 2, 3, 4, 5]);
        assert!(!table.has_outputs());
    }

    #[test]
    fn a_crowd_moves_on_however_many_go_before_it() {
        let (mut table, links) = table(2);
        table.stand(links[0], MANY);
        let mut before = 0;
        loop {
            table.stand(links[1], 1);
            match next(&mut table) {
                Some(1) => before += 1,
                other => break assert_eq!(other, Some(0)),
            }
        }
        assert_eq!(before, FRONT_RUN);
    }

    #[test]
    fn who_takes_no_more_or_has_gone_is_passed_over() {
        let (mut table, links) = table(3);
        table.get(links[0]).expect("a link").blocked = true;
        for link in &links {
            table.stand(*link, 1);
        }
        table.close(links[1]);
        assert_eq!(table.next(), Some(Next::Output(Output::Close(links[1]))));
        table.free(links[1]);
        table.name(somebody());
        assert_eq!(next(&mut table), Some(2));
        assert_eq!(table.next(), None);
    }
}
