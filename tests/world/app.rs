//! The application at the other end of the links on which it is asked who somebody is.
//!
//! It is a script's puppet: it answers what it is told to, when it is told to, on the link that it
//! is told to, and is shown what it was asked.

use std::collections::VecDeque;

use super::Reach;
use super::contract::{Cause, LinkId};

/// What a question is answered with, if it is answered at once.
pub type View = Box<dyn Fn(&str) -> Option<String>>;

/// What happens at its end of a link, and is still to be told.
#[derive(Debug)]
pub enum Said {
    Connected,
    /// Bytes, and whether they are the end of an answer after which the link may be used again.
    Bytes(Vec<u8>, Option<Mark>, bool),
    HungUp(Cause, Option<Mark>),
}

/// What a script calls something that the application says, for whoever watches.
pub type Mark = usize;

/// One link to it.
#[derive(Debug)]
pub struct AppLink {
    pub link: LinkId,
    /// What it was asked and has not answered.
    pub inbox: String,
    pub says: VecDeque<Said>,
    /// The server knows that the dial succeeded.
    pub connected: bool,
    /// It has brought an answer.
    pub rested: bool,
    /// The other end is gone, which the server knows.
    pub dead: bool,
    /// The server has closed it.
    pub closed: bool,
}

impl AppLink {
    /// Whether the application may still say something on it.
    pub fn is_open(&self) -> bool {
        !self.closed && !self.dead && !self.says.iter().any(|said| matches!(said, Said::HungUp(..)))
    }
}

/// The application. Its knobs are its first fields.
pub struct FakeApp {
    /// What dialing it leads to.
    pub reach: Reach,
    /// What it answers to a question at once, if anything.
    pub answers: View,
    /// How many more bytes its sockets take together; `None` is all.
    pub appetite: Option<usize>,
    /// Its links in the order in which they were dialed.
    pub links: Vec<AppLink>,
    /// The most links that there were at one time.
    pub most: usize,
    /// When a dial last came to nothing.
    pub undialed_ms: Option<u64>,
}

impl FakeApp {
    pub fn new() -> Self {
        FakeApp {
            reach: Reach::Answers,
            answers: Box::new(|_| None),
            appetite: None,
            links: Vec::new(),
            most: 0,
            undialed_ms: None,
        }
    }

    /// The whole questions that it has not answered, each with the number of its link.
    pub fn questions(&self) -> Vec<(usize, &str)> {
        let open = self.links.iter().enumerate().filter(|(_, link)| link.is_open());
        let whole = open.filter(|(_, link)| link.inbox.ends_with("\r\n\r\n"));
        whole.map(|(number, link)| (number, link.inbox.as_str())).collect()
    }

    /// Links that are open.
    pub fn open(&self) -> usize {
        self.links.iter().filter(|link| !link.closed).count()
    }

    /// Links that are dialed without anything coming of it.
    pub fn silent(&self) -> usize {
        let waits = |link: &&AppLink| !link.closed && !link.connected && link.says.is_empty();
        self.links.iter().filter(waits).count()
    }

    /// It says what nobody asked for; what it was asked there is not answered with that.
    pub fn blurt(&mut self, link: usize, bytes: &[u8]) {
        self.links[link].says.push_back(Said::Bytes(bytes.to_vec(), None, false));
    }

    /// It says this on a link; what it was asked there is answered with that.
    pub fn say(&mut self, link: usize, bytes: impl AsRef<[u8]>) {
        self.say_as(link, bytes, None, false);
    }

    /// The same, under a name; whether the link may be used again.
    pub fn say_as(
        &mut self,
        link: usize,
        bytes: impl AsRef<[u8]>,
        mark: Option<Mark>,
        rests: bool,
    ) {
        let link = &mut self.links[link];
        link.inbox.clear();
        link.says.push_back(Said::Bytes(bytes.as_ref().to_vec(), mark, rests));
    }

    /// A link to it ends or fails.
    pub fn hang_up(&mut self, link: usize, cause: Cause) {
        self.hang_up_as(link, cause, None);
    }

    /// The same, under a name.
    pub fn hang_up_as(&mut self, link: usize, cause: Cause, mark: Option<Mark>) {
        self.links[link].says.push_back(Said::HungUp(cause, mark));
    }

    /// Whether it has something to say.
    pub fn has_to_speak(&self) -> bool {
        self.links.iter().any(|link| !link.closed && !link.says.is_empty())
    }

    pub(super) fn dialed(&mut self, link: LinkId) {
        let says = match self.reach {
            Reach::Answers => Some(Said::Connected),
            Reach::Refuses => {
                Some(Said::HungUp(Cause::Failed("Connection refused".to_string()), None))
            }
            Reach::Silent => None,
        };
        let says = says.into_iter().collect();
        self.links.push(AppLink {
            link,
            inbox: String::new(),
            says,
            connected: false,
            rested: false,
            dead: false,
            closed: false,
        });
        self.most = self.most.max(self.open());
    }

    pub(super) fn closed(&mut self, link: LinkId, now_ms: u64) {
        let known = self.links.iter_mut().find(|known| known.link == link && !known.closed);
        let known = known.expect("only what is open is closed");
        known.closed = true;
        if !known.connected {
            self.undialed_ms = Some(now_ms);
        }
    }

    /// Takes what it can of a question, and says how much.
    pub(super) fn receive(&mut self, link: LinkId, bytes: &[u8]) -> usize {
        let taken = self.appetite.map_or(bytes.len(), |most| most.min(bytes.len()));
        self.appetite = self.appetite.map(|most| most - taken);
        let known = |known: &AppLink| known.link == link && !known.closed;
        let number = self.links.iter().position(known).expect("only what is open is flushed");
        let inbox = &mut self.links[number].inbox;
        inbox.push_str(std::str::from_utf8(&bytes[..taken]).expect("these are text"));
        let answer = inbox.ends_with("\r\n\r\n").then(|| (self.answers)(inbox)).flatten();
        if let Some(answer) = answer {
            self.say(number, answer);
        }
        taken
    }

    /// The link of that name.
    pub(super) fn link(&mut self, link: LinkId) -> &mut AppLink {
        let known = self.links.iter_mut().find(|known| known.link == link && !known.closed);
        known.expect("only what is open is heard")
    }

    /// The next thing that it says, and on which link.
    pub(super) fn speak(&mut self) -> Option<(LinkId, Said)> {
        let open = self.links.iter_mut().filter(|link| !link.closed);
        open.filter_map(|link| Some((link.says.pop_front()?, link)))
            .map(|(said, link)| {
                link.connected |= matches!(said, Said::Connected);
                link.dead |= matches!(said, Said::HungUp(..));
                (link.link, said)
            })
            .next()
    }
}
