//! One browser as the model sees it: what it says, what it is to hear, and what it has heard.

use std::collections::{BTreeMap, VecDeque};

use super::super::world::{Browser, Heard};
use super::action::{Ask, Bad, HEARTBEAT};

/// What a browser has said, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Its request.
    Head,
    /// A message.
    Message(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A heartbeat.
    Heartbeat,
    /// A close frame.
    Close(Option<u16>),
    /// A frame that breaks the protocol.
    Bad(Bad),
}

/// One browser.
#[derive(Debug)]
pub struct Guest {
    pub ask: Ask,
    /// What it says, and after how many bytes that is said.
    pub script: VecDeque<(usize, Mark)>,
    /// Bytes that the server was told of.
    pub told: usize,
    pub asked: bool,
    /// When it came to its channel.
    pub joined: Option<u64>,
    pub open: bool,
    pub closing: bool,
    /// It has said what ends it, and is to be closed with that.
    pub ended: Option<Option<u16>>,
    /// How many messages Redis has yet to store until it has stored this one's.
    pub unstored: usize,
    /// What ends it is a close frame.
    pub polite: bool,
    /// It has been sent what ends it.
    pub answered: bool,
    /// The fetch of the stored message that it waits for.
    pub waits: Option<usize>,
    /// The fetch that everybody waits for who was there when the broker came up.
    pub catches_up: Option<usize>,
    /// What is held for it until then.
    pub held: Vec<Held>,
    /// It has ended its side, and gets until then what waits for it.
    pub reads_until_ms: Option<u64>,
    /// It says nothing more.
    pub silent: bool,
    /// Some of what waited for it was given up.
    pub cut_short: bool,
    /// Somebody else saw to it that it is closed.
    pub excused: bool,
    pub expected: VecDeque<Expected>,
    pub heard: VecDeque<(bool, Vec<u8>)>,
    pub pongs: VecDeque<Vec<u8>>,
    pub beats: usize,
    /// What it published and is not to hear: how often it was to be sent, and came back.
    pub own: BTreeMap<Vec<u8>, (usize, usize)>,
    /// When the newest message that there was for it was published.
    pub newest: usize,
}

/// A message that it is to hear, unless it is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    payload: Vec<u8>,
    own: bool,
}

/// A message that it is to hear when what was stored before has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub payload: Vec<u8>,
    pub own: bool,
    /// It is its own, and has come back.
    pub back: bool,
    pub published: Option<usize>,
}

impl Guest {
    pub fn new(ask: Ask) -> Self {
        Guest {
            ask,
            script: VecDeque::new(),
            told: 0,
            asked: false,
            joined: None,
            open: false,
            closing: false,
            ended: None,
            unstored: 0,
            polite: false,
            answered: false,
            waits: None,
            catches_up: None,
            held: Vec::new(),
            reads_until_ms: None,
            silent: false,
            cut_short: false,
            excused: false,
            expected: VecDeque::new(),
            heard: VecDeque::new(),
            pongs: VecDeque::new(),
            beats: 0,
            own: BTreeMap::new(),
            newest: 0,
        }
    }

    /// Notes that it was to hear a message that was published then, if it was.
    pub fn keep_up(&mut self, published: Option<usize>) {
        self.newest = self.newest.max(published.unwrap_or_default());
    }

    pub fn is_member(&self) -> bool {
        self.joined.is_some() && !self.closing && self.ask.hears
    }

    pub fn expect(&mut self, payload: &[u8], own: bool) {
        self.expected.push_back(Expected { payload: payload.to_vec(), own });
    }

    /// A message has arrived for it.
    pub fn live(&mut self, held: Held) {
        match self.waits.is_some() || self.catches_up.is_some() {
            true => self.held.push(held),
            false => self.hear(held),
        }
    }

    /// The fetch that it waited for is over: it is to hear what was stored, if anything, and what
    /// was held, of which that may be one.
    pub fn go_on(&mut self, stored: Option<(&[u8], Option<usize>)>) {
        (self.waits, self.catches_up) = (None, None);
        if let Some((payload, published)) = stored
            && self.held.iter().all(|held| held.payload != payload)
        {
            self.expect(payload, false);
            self.keep_up(published);
        }
        for held in std::mem::take(&mut self.held) {
            self.hear(held);
        }
    }

    fn hear(&mut self, held: Held) {
        self.expect(&held.payload, held.own);
        self.keep_up(held.published);
        if held.back {
            self.own.entry(held.payload).or_default().1 += 1;
        }
    }

    /// Takes what the browser has heard.
    pub fn listen(&mut self, browser: &mut Browser) {
        for (_, heard) in browser.heard.drain(..) {
            match heard {
                Heard::Text(text) if text.as_bytes() == HEARTBEAT => {
                    self.beats = self.beats.saturating_sub(1);
                }
                Heard::Text(text) => self.heard.push_back((false, text.into_bytes())),
                Heard::Binary(bytes) => self.heard.push_back((true, bytes)),
                Heard::Pong(payload) => {
                    assert_eq!(self.pongs.pop_front(), Some(payload), "a pong answers a ping");
                }
                Heard::Ping(_) => {}
                Heard::Close(..) => {}
            }
        }
    }

    /// Compares; `all` is whether all that there was must have been heard by now.
    pub fn compare(&mut self, all: bool) -> Result<(), String> {
        let fault = |what: &str, guest: &Guest| {
            let heard: Vec<_> =
                guest.heard.iter().map(|(_, p)| p.escape_ascii().to_string()).collect();
            let expected =
                guest.expected.iter().map(|e| (e.payload.escape_ascii().to_string(), e.own));
            let expected: Vec<_> = expected.collect();
            format!("{what}\n heard:    {heard:?}\n expected: {expected:?}\n own: {:?}", guest.own)
        };
        let mut missed: BTreeMap<&[u8], usize> = BTreeMap::new();
        let mut expected = self.expected.iter();
        for (binary, payload) in &self.heard {
            let as_binary = self.ask.binary || std::str::from_utf8(payload).is_err();
            if *binary != as_binary {
                return Err(fault("text and binary", self));
            }
            loop {
                let Some(next) = expected.next() else {
                    return Err(fault("something that was not to be heard", self));
                };
                if next.payload == *payload {
                    break;
                }
                *missed.entry(&next.payload).or_default() += 1;
            }
        }
        if all {
            expected.for_each(|rest| *missed.entry(&rest.payload).or_default() += 1);
        }
        for (payload, missed) in &missed {
            let (sent, _) = self.own.get(*payload).copied().unwrap_or_default();
            if *missed > sent {
                return Err(fault("something is missing", self));
            }
        }
        if all {
            for (payload, (_, back)) in &self.own {
                if missed.get(&payload[..]).copied().unwrap_or_default() < *back {
                    return Err(fault("its own came back", self));
                }
            }
            if !self.pongs.is_empty() || self.beats > 0 {
                return Err(fault("a ping or a heartbeat is not answered", self));
            }
        }
        drop(missed);
        if all && self.own.values().all(|(sent, back)| sent == back) {
            self.expected.clear();
            self.heard.clear();
            self.own.clear();
        }
        Ok(())
    }
}
