//! The applications in other processes that handle conns: puppets of a script, which hear frames
//! and say bytes.

use std::collections::VecDeque;

use wsloop::proto::handler::{HandlerKind, HandlerReader, append};

use super::contract::{Cause, Input, LinkId};
use super::{Reach, World};

/// Messages are no longer.
const MAX_MESSAGE: usize = 16 << 20;

/// What an application hears: kind, conn and payload.
pub type HandlerHeard = (HandlerKind, u64, Vec<u8>);

/// What happens at the other end of a link, and is still to be told.
#[derive(Debug)]
enum Said {
    Connected,
    Bytes(Vec<u8>),
    HungUp(Cause),
}

/// One link.
#[derive(Debug)]
pub struct HandlerLink {
    pub link: LinkId,
    /// The path that was dialed.
    pub path: String,
    says: VecDeque<Said>,
    reader: HandlerReader,
    /// What has been heard.
    pub heard: Vec<HandlerHeard>,
    /// The server has closed it.
    pub closed: bool,
    ended: bool,
}

/// All of them. Their knobs are the first fields.
#[derive(Debug)]
pub struct FakeHandlers {
    /// What dialing leads to.
    pub reach: Reach,
    /// How many more bytes their sockets take together; `None` is all.
    pub appetite: Option<usize>,
    pub links: Vec<HandlerLink>,
}

impl Default for FakeHandlers {
    fn default() -> Self {
        FakeHandlers { reach: Reach::Answers, appetite: None, links: Vec::new() }
    }
}

impl FakeHandlers {
    pub(super) fn dialed(&mut self, link: LinkId, path: String) {
        let says = match self.reach {
            Reach::Answers => VecDeque::from([Said::Connected]),
            Reach::Refuses => {
                let cause = Cause::Failed("Connection refused".to_owned());
                VecDeque::from([Said::HungUp(cause)])
            }
            Reach::Silent => VecDeque::new(),
        };
        let reader = HandlerReader::new(MAX_MESSAGE);
        let (heard, closed, ended) = (Vec::new(), false, false);
        self.links.push(HandlerLink { link, path, says, reader, heard, closed, ended });
    }

    pub(super) fn closed(&mut self, link: LinkId) {
        self.links.iter_mut().filter(|one| one.link == link).for_each(|one| one.closed = true);
    }

    /// How many of these bytes the socket takes.
    pub(super) fn receive(&mut self, link: LinkId, given: &[u8]) -> usize {
        let taken = self.appetite.map_or(given.len(), |most| most.min(given.len()));
        self.appetite = self.appetite.map(|most| most - taken);
        let one = self.links.iter_mut().find(|one| one.link == link).expect("a link of theirs");
        let mut input = &given[..taken];
        while let Some(frame) = one.reader.next(&mut input).expect("frames") {
            let kind = HandlerKind::of(frame.kind).expect("a known kind");
            one.heard.push((kind, frame.conn, frame.payload.to_vec()));
        }
        taken
    }

    pub(super) fn has_to_speak(&self) -> bool {
        self.links.iter().any(|one| !one.closed && !one.says.is_empty())
    }

    /// The link that was dialed last.
    pub fn last(&mut self) -> &mut HandlerLink {
        self.links.last_mut().expect("a link was dialed")
    }
}

impl HandlerLink {
    /// Says these bytes, as they are.
    pub fn say(&mut self, bytes: &[u8]) {
        self.says.push_back(Said::Bytes(bytes.to_vec()));
    }

    /// Says a frame.
    pub fn order(&mut self, kind: HandlerKind, conn: u64, payload: &[u8]) {
        let mut bytes = Vec::new();
        append(kind, conn, &[payload], &mut bytes);
        self.say(&bytes);
    }

    /// Greets, with so much credit.
    pub fn greet(&mut self, decides: bool, credit: u32) {
        let version = 1u16.to_be_bytes();
        let payload = [&version[..], &[u8::from(decides)], &credit.to_be_bytes()].concat();
        self.order(HandlerKind::Hello, 0, &payload);
    }

    /// Ends.
    pub fn hang_up(&mut self) {
        self.says.push_back(Said::HungUp(Cause::Ended));
    }

    /// What it has heard since this was last asked.
    pub fn take(&mut self) -> Vec<HandlerHeard> {
        std::mem::take(&mut self.heard)
    }
}

impl World {
    /// The application that was found last hears the greeting and greets, with any credit.
    pub fn greet(&mut self) {
        self.handlers.last().greet(false, u32::MAX);
        self.handlers.last().heard.clear();
        self.run();
    }

    /// It says a frame.
    pub fn ordered(&mut self, kind: HandlerKind, conn: u64, payload: &[u8]) {
        self.handlers.last().order(kind, conn, payload);
        self.run();
    }

    /// What it has heard since this was last asked.
    pub fn frames(&mut self) -> Vec<HandlerHeard> {
        self.handlers.last().take()
    }

    /// It ends.
    pub fn lose_handler(&mut self) {
        self.handlers.last().hang_up();
        self.run();
    }

    /// Its socket takes bytes again.
    pub fn resume_handler(&mut self) {
        self.handlers.appetite = None;
        let link = self.handlers.last().link;
        self.flush(link);
        self.run();
    }

    pub(super) fn hear_handlers(&mut self) {
        for at in 0..self.handlers.links.len() {
            let one = &self.handlers.links[at];
            let link = one.link;
            if one.closed || one.ended {
                continue;
            }
            self.flush(link);
            let is_bytes = matches!(self.handlers.links[at].says.front(), Some(Said::Bytes(_)));
            if is_bytes && !self.is_reading(link) {
                continue;
            }
            let one = &mut self.handlers.links[at];
            match one.says.pop_front() {
                None => {}
                Some(Said::Connected) => self.handle(Input::Connected { link }),
                Some(Said::Bytes(mut bytes)) => self.handle_bytes(link, &mut bytes),
                Some(Said::HungUp(cause)) => {
                    one.ended = true;
                    self.handle(Input::HungUp { link, cause });
                }
            }
        }
    }
}
