//! What must be true, worked out from what the server was told and from nothing that it keeps.
//!
//! * A browser hears a channel from the moment the server has both its request and the broker's
//!   word that the channel is subscribed, until it is closed: every message that arrives between
//!   the two, in order, once.
//! * Its own it does not hear, unless it asked for an echo. Redis does not say whose a message is,
//!   so of identical ones any may be taken for it, but as many as there were.
//! * A browser hears the stored message first, and what arrives until that is answered waits behind
//!   it; but not when it is one of those. Too many or too old ones wait no longer.
//! * After an outage everybody waits for the stored message in this way, and hears it unless it was
//!   the last that was delivered or stored before.
//! * A conn is closed for a reason that its browser, Redis or the operator has given, and then
//!   always.

mod redis;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::world::{Browser, Call, Cause, REDIS_TIMEOUT_MS, Told};
use super::action::MAX_MESSAGE;
use super::guest::{Guest, Held, Mark};
use super::play::OUTBOX_LIMIT;
use redis::{Get, Publish};

#[derive(Debug, Default)]
struct Channel {
    /// Which time it is heard; a new one when the first browser comes.
    era: u64,
    confirmed: bool,
    /// Messages that have arrived.
    delivered: usize,
    last_delivered: Option<Vec<u8>>,
    last_stored: Option<Vec<u8>>,
    /// Both when the broker came up.
    known: [Option<Vec<u8>>; 2],
    /// The fetch that who comes now may share, and whether Redis was asked.
    shared: Option<(usize, bool)>,
    /// The fetches that are not over, each with the messages that had arrived when it began.
    fetches: Vec<(usize, usize)>,
    /// What arrived since the oldest of those: lengths and times.
    held: VecDeque<(usize, u64)>,
}

/// What a held message takes besides its bytes.
const HELD_COST: usize = 64;
/// How long a message is held.
const PATIENCE_MS: u64 = REDIS_TIMEOUT_MS;

/// What there is in the broker in the process.
type Store = BTreeMap<String, (Vec<u8>, u64)>;

/// The model.
#[derive(Debug)]
pub struct Model {
    pub guests: Vec<Guest>,
    /// The operator has asked for the end.
    pub shut_down: bool,
    /// Redis has been told to refuse something.
    pub denied: bool,
    /// Redis has been hindered from answering in time.
    pub hindered: bool,
    /// Redis is so slow that publishing may be refused.
    pub may_drop: bool,
    pub now_ms: u64,
    /// Redis greets us and is not lost.
    up: bool,
    expire_ms: u64,
    close_ms: u64,
    store: Option<Store>,
    /// Counts what happens.
    event: u64,
    /// Messages from browsers.
    messages: u64,
    /// Messages published, from wherever.
    publications: usize,
    /// When a message was published: of identical ones the first, and the last.
    published: BTreeMap<Vec<u8>, (usize, usize)>,
    channels: BTreeMap<String, Channel>,
    subscribes: VecDeque<(String, u64)>,
    /// Fetches made so far.
    fetches: usize,
    /// Those that Redis was not asked for, those it was, and those it is to be asked for again.
    unasked: Vec<Get>,
    gets: VecDeque<Get>,
    again: VecDeque<Get>,
    publishes: Vec<Publish>,
    /// Messages that Redis was asked to store and has not answered.
    unstored: usize,
}

impl Model {
    /// Nothing has happened yet; without Redis, `local`.
    pub fn new(local: bool, expire_s: u64, close_ms: u64) -> Self {
        Model {
            guests: Vec::new(),
            shut_down: false,
            denied: false,
            hindered: false,
            may_drop: false,
            now_ms: 0,
            up: local,
            expire_ms: expire_s * 1000,
            close_ms,
            store: local.then(Store::new),
            event: 0,
            messages: 0,
            publications: 0,
            published: BTreeMap::new(),
            channels: BTreeMap::new(),
            subscribes: VecDeque::new(),
            fetches: 0,
            unasked: Vec::new(),
            gets: VecDeque::new(),
            again: VecDeque::new(),
            publishes: Vec::new(),
            unstored: 0,
        }
    }

    /// Whether Redis is up, or there is none.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether everything that Redis was asked for has been answered.
    pub fn is_settled(&self) -> bool {
        self.subscribes.is_empty()
            && self.gets.is_empty()
            && self.unasked.is_empty()
            && self.again.is_empty()
    }

    /// The channels that somebody hears.
    pub fn heard_channels(&self) -> BTreeSet<String> {
        self.guests.iter().filter(|guest| guest.is_member()).map(|g| g.ask.channel()).collect()
    }

    /// These were published, in this order.
    pub fn note_published(&mut self, payloads: Vec<Vec<u8>>) {
        for payload in payloads.into_iter().filter(|payload| is_for_browsers(payload)) {
            self.publications += 1;
            let at = self.publications;
            self.published.entry(payload).or_insert((at, at)).1 = at;
        }
    }

    /// Something was told to the server, which made this of it.
    pub fn call(&mut self, call: &Call) {
        self.event += 1;
        self.now_ms = call.now_ms;
        let (heard_before, was_up) = (self.heard_channels(), self.up);
        let mut said: Vec<(usize, Vec<u8>)> = Vec::new();
        match &call.told {
            Told::Bytes(id, length) => {
                self.guests[*id].told += length;
                self.read(*id, &mut said);
            }
            Told::Ended(id, cause) => {
                let guest = &mut self.guests[*id];
                let reads_on = *cause == Cause::Ended && guest.open && !guest.closing;
                // Deadlines are kept to within a tick of 50 ms.
                guest.reads_until_ms = reads_on.then_some(self.now_ms + self.close_ms - 100);
                (guest.closing, guest.excused) = (true, true);
            }
            Told::Redis(arrivals) => arrivals.iter().for_each(|arrival| self.arrive(arrival)),
            Told::Lost => self.lose(),
            Told::Tick => self.release_overdue(),
            Told::Blocked(_) | Told::Other => {}
        }
        if self.up && !call.up {
            assert!(self.hindered, "Redis is given up for nothing");
            self.lose();
        }
        assert_eq!(self.up, call.up, "Redis is up, or it is not");
        let hidden = (0..self.guests.len()).filter(|id| {
            self.opens_unseen(*id) && !call.closing.iter().any(|(closing, _)| closing == id)
        });
        let hidden: Vec<usize> = hidden.collect();
        for id in call.opened.iter().chain(&hidden) {
            if !self.guests[*id].open {
                self.open(*id);
                self.read(*id, &mut said);
            }
        }
        for (id, last) in &call.closing {
            self.close(*id, last);
        }
        for (id, guest) in self.guests.iter().enumerate() {
            let stays = guest.open && !guest.closing && guest.ended.is_some();
            assert!(!stays, "browser {id} has ended itself and is not closed");
        }
        self.count(&mut said, call.messages);
        match self.store {
            Some(_) => said.into_iter().for_each(|(id, payload)| self.publish_here(id, payload)),
            None => self.follow(&call.commands, said, &heard_before, was_up),
        }
        let heard = self.heard_channels();
        self.channels.retain(|name, _| heard.contains(name));
        let channels = &self.channels;
        self.unasked.retain(|get| channels.get(&get.channel).is_some_and(|c| c.era == get.era));
    }

    /// What was said is what the server has counted, except that nobody listens to a browser any
    /// more which was closed for reading too slowly. What goes nowhere is taken out.
    fn count(&mut self, said: &mut Vec<(usize, Vec<u8>)>, messages: u64) {
        let counted = (messages - self.messages) as usize;
        self.messages = messages;
        while said.len() > counted {
            let unheard = said.iter().rposition(|(id, _)| self.guests[*id].cut_short);
            said.remove(unheard.expect("every message is counted"));
        }
        assert_eq!(said.len(), counted, "messages that nobody sent");
        said.retain(|(id, payload)| self.guests[*id].ask.speaks && !payload.is_empty());
    }

    /// A browser has said something more.
    fn read(&mut self, id: usize, said: &mut Vec<(usize, Vec<u8>)>) {
        loop {
            let guest = &mut self.guests[id];
            let told = guest.told;
            if guest.closing || guest.ended.is_some() || (guest.asked && !guest.open) {
                return;
            }
            if guest.script.front().is_none_or(|(end, _)| *end > told) {
                return;
            }
            let Some((_, mark)) = guest.script.pop_front() else { return };
            match mark {
                Mark::Head => {
                    guest.asked = true;
                    if self.up && self.guests[id].ask.bad.is_none() {
                        self.join(id);
                    }
                }
                Mark::Message(payload) => said.push((id, payload)),
                Mark::Ping(payload) => guest.pongs.push_back(payload),
                Mark::Heartbeat => guest.beats += 1,
                Mark::Close(code) => {
                    (guest.ended, guest.polite) = (Some(code), true);
                    // The answer may have to wait until what was published is stored.
                    guest.closing = guest.ask.speaks && self.store.is_none();
                }
                Mark::Bad(bad) => guest.ended = Some(Some(bad.code)),
            }
        }
    }

    fn join(&mut self, id: usize) {
        self.guests[id].joined = Some(self.event);
        if !self.guests[id].ask.hears {
            return;
        }
        let name = self.guests[id].ask.channel();
        let (event, local) = (self.event, self.store.is_some());
        self.channels.entry(name.clone()).or_insert_with(|| Channel {
            era: event,
            confirmed: local,
            ..Channel::default()
        });
        let stored = self.store.as_ref().and_then(|store| store.get(&name));
        if let Some((payload, until_ms)) = stored.cloned()
            && until_ms > self.now_ms
        {
            self.guests[id].expect(&payload, false);
        }
        if !local {
            self.wait_for_stored(id, &name);
        }
    }

    /// Whether a browser is let in without that being seen yet: when it has already said goodbye,
    /// nothing goes out to it until what it published is stored.
    fn opens_unseen(&self, id: usize) -> bool {
        let guest = &self.guests[id];
        if guest.open || guest.closing || guest.joined.is_none() || !guest.ask.speaks || !self.up {
            return false;
        }
        let channel = self.channels.get(&guest.ask.channel());
        let confirmed = !guest.ask.hears || channel.is_some_and(|channel| channel.confirmed);
        let told = guest.script.iter().take_while(|(end, _)| *end <= guest.told);
        let ends = told.map(|(_, mark)| mark).find(|m| matches!(m, Mark::Close(_) | Mark::Bad(_)));
        self.store.is_none() && confirmed && matches!(ends, Some(Mark::Close(_)))
    }

    fn open(&mut self, id: usize) {
        let guest = &mut self.guests[id];
        assert!(guest.asked && guest.ask.bad.is_none(), "browser {id} is let in for nothing");
        guest.open = true;
        if guest.ask.hears {
            assert!(guest.joined.is_some(), "browser {id} is let in while Redis is down");
            let confirmed = self.channels.get(&guest.ask.channel()).is_some_and(|c| c.confirmed);
            assert!(confirmed, "browser {id} is let in before its channel is confirmed");
        }
    }

    /// A browser is closed with these last bytes.
    fn close(&mut self, id: usize, last: &[u8]) {
        let (shut_down, denied) = (self.shut_down, self.denied);
        let guest = &mut self.guests[id];
        (guest.closing, guest.answered) = (true, true);
        if !guest.open {
            let status = refusal(last);
            let just = match guest.ask.bad {
                Some(_) => (400..504).contains(&status),
                None if guest.asked => status == 503,
                None => [408, 503].contains(&status),
            };
            return assert!(just, "browser {id} is refused with {status}");
        }
        let code = last.get(2..4).map(|code| u16::from_be_bytes([code[0], code[1]]));
        let early = guest.polite && guest.ended == Some(code) && guest.unstored > 0;
        assert!(!early, "the close of browser {id} is answered too early");
        let reason = last.get(4..).unwrap_or_default();
        let slow = code == Some(1008) && guest.ended != Some(code);
        guest.cut_short = slow;
        // What is wrong may show before the frame is whole.
        let bad = guest
            .script
            .front()
            .is_some_and(|(_, mark)| matches!(mark, Mark::Bad(bad) if Some(bad.code) == code));
        let just = match guest.ended {
            _ if bad => true,
            Some(ended) if code == ended => true,
            _ if slow => guest.excused,
            _ if code == Some(1001) => shut_down,
            _ if code == Some(1011) && reason.starts_with(b"nothing came") => guest.excused,
            _ if code == Some(1011) => denied,
            _ => false,
        };
        assert!(just, "browser {id} is closed with {code:?} {}", reason.escape_ascii());
    }

    fn members<'a>(&'a mut self, name: &'a str) -> impl Iterator<Item = (usize, &'a mut Guest)> {
        let guests = self.guests.iter_mut().enumerate();
        guests.filter(move |(_, guest)| guest.is_member() && guest.ask.channel() == name)
    }

    fn deliver(&mut self, name: &str, payload: &[u8], except: Option<usize>, back: Option<usize>) {
        let at_ms = self.now_ms;
        let channel = self.channels.get_mut(name).expect("it is heard");
        channel.delivered += 1;
        channel.last_delivered = Some(payload.to_vec());
        channel.shared = channel.shared.filter(|(_, asked)| !asked);
        if !channel.fetches.is_empty() {
            channel.held.push_back((payload.len() + HELD_COST, at_ms));
        }
        let held: usize = channel.held.iter().map(|(bytes, _)| bytes).sum();
        let full = held > OUTBOX_LIMIT;
        let published = self.published.get(payload).map(|(_, last)| *last);
        for (id, guest) in self.members(name) {
            let (own, back) = (except == Some(id), back == Some(id));
            guest.live(Held { payload: payload.to_vec(), own, back, published });
        }
        if full {
            self.release(name, usize::MAX);
        }
    }

    /// A browser's message goes out by the broker in the process.
    fn publish_here(&mut self, id: usize, payload: Vec<u8>) {
        self.event += 1;
        let ask = self.guests[id].ask;
        let name = ask.channel();
        let until_ms = self.now_ms + self.expire_ms;
        let store = self.store.as_mut().expect("it is here");
        store.insert(name.clone(), (payload.clone(), until_ms));
        if self.channels.contains_key(&name) {
            let withheld = ask.hears && !ask.echo;
            if withheld && self.guests[id].is_member() {
                let own = self.guests[id].own.entry(payload.clone()).or_default();
                *own = (own.0 + 1, own.1 + 1);
            }
            self.deliver(&name, &payload, withheld.then_some(id), None);
        }
    }

    /// Compares what a browser has heard with what it was to hear.
    pub fn check(&mut self, id: usize, browser: &mut Browser, idle: bool) {
        let guest = &mut self.guests[id];
        let held = guest.ended.is_some() && !guest.answered;
        // It was closed without an answer because that came too late.
        guest.excused |= held && browser.closed_ms.is_some();
        if browser.heard.is_empty() && guest.expected.is_empty() && guest.pongs.is_empty() {
            return;
        }
        guest.listen(browser);
        let served = |until_ms| browser.closed_ms.is_some_and(|at_ms| at_ms < until_ms);
        let served = guest.reads_until_ms.is_some_and(served) && !self.shut_down;
        let reads = browser.appetite.is_none() && idle && !held;
        let all =
            reads && guest.open && !guest.cut_short && (!guest.closing || !guest.excused || served);
        if let Err(fault) = guest.compare(all) {
            panic!("browser {id}: {fault}");
        }
    }

    /// When nothing is under way any more: who knocked is let in, and has had what is stored, or
    /// something newer.
    pub fn check_quiet(&self, stored: impl Fn(&str) -> Option<Vec<u8>>) {
        for (id, guest) in self.guests.iter().enumerate() {
            let waits = guest.ended.is_some() && !guest.answered && !guest.excused;
            assert!(!waits, "the close of browser {id} is not answered");
        }
        for (id, guest) in self.guests.iter().enumerate().filter(|(_, guest)| !guest.closing) {
            let waits = guest.asked && !guest.open;
            assert!(!waits, "browser {id} waits for nothing");
            let value = guest.ask.hears.then(|| stored(&guest.ask.channel())).flatten();
            if let (true, false, Some(value)) = (guest.open, self.denied, value) {
                let newest = self
                    .published
                    .get(&value)
                    .is_none_or(|(first, last)| first != last || *first <= guest.newest);
                assert!(newest, "browser {id} has had nothing since {}", value.escape_ascii());
            }
        }
    }
}

/// Whether a message has a length that browsers may be sent.
fn is_for_browsers(payload: &[u8]) -> bool {
    !payload.is_empty() && payload.len() <= MAX_MESSAGE
}

/// The status of a refusal: that of the response, or that in the close frame behind a 101.
fn refusal(bytes: &[u8]) -> u16 {
    let digits = bytes.get(9..12).map_or(b"0".as_slice(), |digits| digits);
    let status = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    match (status, head.and_then(|at| bytes.get(at + 6..at + 8))) {
        (Some(101), Some(code)) => u16::from_be_bytes([code[0], code[1]]).saturating_sub(4000),
        (status, _) => status.unwrap_or_default(),
    }
}
