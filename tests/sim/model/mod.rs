//! What must be true, worked out from what the server was told and from nothing that it keeps.
//!
//! * Who somebody is, is what its token says; if there is none, its session; if there is none that
//!   can be read, the application; and else nobody. It is let in with the options and the channels
//!   that this one has, or refused with the status that says why, at once.
//! * A browser hears its channels from the moment the server knows who it is, and each from when
//!   the broker has confirmed it, until it is closed: every message that arrives, in order, once.
//! * Its own it does not hear, unless it asked for an echo. Redis does not say whose a message is,
//!   so of identical ones any may be taken for it, but as many as there were.
//! * A browser hears a channel's stored message first, and what arrives before that is there waits
//!   behind it, but not too long; when it is one of those, it is not heard twice. The stored
//!   messages of one browser come in the order of its channels.
//! * After an outage everybody waits for the stored message in this way, and hears it unless it was
//!   the last that was delivered or stored before.
//! * Who is disconnected is closed or refused at once, also if the application answers about it
//!   only later; who comes afterwards is not.
//! * A conn is closed for a reason that its browser, Redis, the application, the clock or the
//!   operator has given, and then always. Nobody is refused because of Redis while Redis is up.
//! * What is heard is subscribed to and nothing else, and the channel of the application with it.
//!
//! `knock` is about requests and who asks, `ends` about closing, `channels` about what is heard,
//! `redis` about what Redis says and is asked, `local` about the embedded broker and its RESP
//! clients, `hear` about what a browser has heard.

mod channels;
mod commands;
mod ends;
pub mod guest;
mod hear;
mod knock;
pub mod local;
mod redis;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::world::{Call, REDIS_TIMEOUT_MS, Setup, Told};
use super::ask::Payload;
use channels::Channel;
use ends::read_end;
use guest::{End, Guest, Life, Mark};
use hear::FRAME_COST;
pub use knock::{AppNews, write_control};
use local::Local;
use redis::{Get, Publish, Waiting};

/// Deadlines are kept to within a tick.
pub(super) const TICK_MS: u64 = 50;

/// The model.
#[derive(Debug)]
pub struct Model {
    setup: Setup,
    pub guests: Vec<Guest>,
    /// The operator has asked for the end.
    pub shut_down: bool,
    /// Redis has been told to refuse to say what is stored.
    pub denied: bool,
    /// What the application says, by the names that the script gave it.
    pub app_news: Vec<AppNews>,
    pub local: Option<Local>,
    /// The application may not have been given what it was asked.
    pub app_stalls: bool,
    /// How many dials to the application will come to nothing.
    app_silent: usize,
    now_ms: u64,
    unix_ms: u64,
    /// Redis greets us and is not lost, or there is none.
    up: bool,
    /// The last dial came to nothing.
    down: bool,
    /// Redis's link is lost, and none was dialed since.
    lost: bool,
    /// When the server last heard of Redis.
    redis_ms: u64,
    /// Counts what happens.
    event: u64,
    /// Messages from browsers.
    messages: u64,
    /// Stored messages that were given up, and whether some were just now.
    late: u64,
    gives_up: bool,
    /// Messages published, from wherever.
    publications: usize,
    /// When messages were published on each channel: of identical ones the first, and the last.
    published: BTreeMap<String, BTreeMap<Vec<u8>, (usize, usize)>>,
    channels: BTreeMap<String, Channel>,
    /// Channels for which Redis was last asked to send their messages, and not to cease.
    asked_for: BTreeSet<String>,
    /// Redis does not let us hear the application.
    control_denied: bool,
    subscribes: VecDeque<(String, u64)>,
    gets: VecDeque<Get>,
    /// Those that were refused, and are to be asked otherwise.
    again: VecDeque<Get>,
    /// GETs ever sent.
    asked: u64,
    publishes: Vec<Publish>,
    /// Commands that were written for Redis's link, and how many of them it was given.
    written: usize,
    begun: usize,
    /// Messages of browsers that wait for a link, oldest first.
    waiting: VecDeque<Waiting>,
    /// Messages that Redis was asked to store and has not answered.
    unstored: usize,
    /// What browsers have said just now, and what they said before that is left over.
    said: Vec<Said>,
    kept: Vec<Said>,
    /// The browser of whose bytes some are left over.
    left_over: Option<usize>,
    /// Guests that are to be closed by what the server is told just now.
    due: Vec<usize>,
    /// Guests that have been let in just now, and those that are closed.
    opening: Vec<usize>,
    closing: BTreeMap<usize, End>,
}

/// Something that a browser has said: who, and what.
type Said = (usize, Vec<u8>);

impl Model {
    /// Nothing has happened yet.
    pub fn new(setup: &Setup) -> Self {
        Model {
            guests: Vec::new(),
            shut_down: false,
            denied: false,
            app_news: Vec::new(),
            local: (!setup.redis).then(|| Local::new(setup)),
            app_stalls: false,
            app_silent: 0,
            now_ms: 0,
            unix_ms: 0,
            up: !setup.redis,
            down: false,
            lost: false,
            redis_ms: 0,
            event: 0,
            messages: 0,
            late: 0,
            gives_up: false,
            publications: 0,
            published: BTreeMap::new(),
            channels: BTreeMap::new(),
            asked_for: BTreeSet::new(),
            control_denied: false,
            subscribes: VecDeque::new(),
            gets: VecDeque::new(),
            again: VecDeque::new(),
            asked: 0,
            publishes: Vec::new(),
            written: 0,
            begun: 0,
            waiting: VecDeque::new(),
            unstored: 0,
            said: Vec::new(),
            kept: Vec::new(),
            left_over: None,
            due: Vec::new(),
            opening: Vec::new(),
            closing: BTreeMap::new(),
            setup: setup.clone(),
        }
    }

    /// Whether Redis is up, or there is none.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// How long Redis has said nothing on a link that is up.
    pub fn silent_ms(&self, now_ms: u64) -> u64 {
        let matters = self.up && self.setup.redis && !self.shut_down;
        if matters { now_ms - self.redis_ms } else { 0 }
    }

    /// Whether everything that Redis was asked for has been answered.
    pub fn is_settled(&self) -> bool {
        let asked = !self.subscribes.is_empty() || !self.gets.is_empty() || !self.again.is_empty();
        !asked && self.waiting.iter().all(|waiting| waiting.may_be_gone(self.now_ms))
    }

    /// The channels that somebody hears.
    pub fn heard_channels(&self) -> impl ExactSizeIterator<Item = &String> {
        self.channels.keys()
    }

    /// The channels that Redis is to know of.
    pub fn wanted_channels(&self) -> BTreeSet<String> {
        let control = self.control().filter(|_| !self.control_denied);
        self.channels.keys().cloned().chain(control).collect()
    }

    /// The channel on which the application speaks to the server, if it does.
    pub fn control(&self) -> Option<String> {
        let prefix = self.setup.prefix;
        let colon = if prefix.is_empty() { "" } else { ":" };
        self.setup.identifies().then(|| format!("{prefix}{colon}wsloop:control"))
    }

    /// These were published on those channels, in this order.
    pub fn note_published(&mut self, messages: Vec<(Vec<u8>, Vec<u8>)>) {
        for (channel, payload) in messages {
            if self.is_for_browsers(&payload) {
                self.publications += 1;
                let at = self.publications;
                let name = String::from_utf8_lossy(&channel).into_owned();
                let messages = self.published.entry(name).or_default();
                messages.entry(payload).or_insert((at, at)).1 = at;
            }
        }
    }

    /// When a message was first and last published on a channel.
    fn published_at(&self, name: &str, payload: &[u8]) -> Option<(usize, usize)> {
        self.published.get(name)?.get(payload).copied()
    }

    /// Something was told to the server, which made this of it.
    pub fn call(&mut self, call: &Call) {
        (self.now_ms, self.unix_ms, self.begun) = (call.now_ms, call.unix_ms, call.begun);
        self.gives_up = call.late > std::mem::replace(&mut self.late, call.late);
        if matches!(call.told, Told::Tick) {
            self.release_overdue();
        }
        if call.is_idle() && call.up == self.up && call.messages == self.messages {
            return;
        }
        self.event += 1;
        if let Some(local) = &mut self.local {
            local.pass(self.now_ms);
        }
        if let Told::Resp(id, length) = call.told {
            self.resp_said(id, length);
        }
        self.closing = call.closing.iter().map(|(id, last)| (*id, read_end(last))).collect();
        let reads = match call.told {
            Told::Bytes(id, _) | Told::WentOn(id) => Some(id),
            _ => None,
        };
        self.left_over = reads.filter(|_| call.left_over);
        let (said, kept) = self.kept.drain(..).partition(|(id, _)| Some(*id) == reads);
        (self.said, self.kept) = (said, kept);
        self.give_up_slow(&call.closing, reads);
        self.hear(&call.told);
        if self.up && !call.up {
            let silent_ms = self.now_ms - self.redis_ms;
            assert!(silent_ms >= REDIS_TIMEOUT_MS, "Redis is given up after {silent_ms} ms");
            self.lose();
        }
        assert_eq!(self.up, call.up, "Redis is up, or it is not");
        self.check_opened(call);
        self.give_up_slow(&call.closing, None);
        self.check_ends(&call.closing);
        let said = self.count(call.messages);
        match self.local {
            Some(_) => said.into_iter().for_each(|(id, payload)| self.publish_here(id, payload)),
            None => self.follow(&call.commands, said),
        }
    }

    fn hear(&mut self, told: &Told) {
        match told {
            Told::Bytes(id, length) => {
                self.guests[*id].told += length;
                self.guests[*id].heard_ms = self.now_ms;
                self.read(*id);
            }
            Told::WentOn(id) => self.read(*id),
            Told::Ended(id, cause) => self.ended(*id, cause),
            Told::Redis(arrivals) => {
                self.redis_ms = self.now_ms;
                arrivals.iter().for_each(|arrival| self.arrive(arrival));
            }
            Told::Dialed => self.dialed(),
            Told::Lost => self.lose(),
            Told::AppSilent(links) => self.app_silent = *links,
            Told::App(told) => self.app_said(told),
            Told::AppHungUp(told) => self.app_hung_up(told),
            Told::Resp(..) => self.deliver_announced(),
            Told::RespEnded(id, _) => {
                self.local.as_mut().expect("it has RESP clients").ended(*id);
            }
            Told::ShutDown => self.shut_down(),
            Told::Blocked(_) | Told::Tick | Told::Other => {}
        }
    }

    /// A browser has said something more.
    fn read(&mut self, id: usize) {
        loop {
            let redis = self.local.is_none();
            let guest = &mut self.guests[id];
            let begins = matches!(guest.life, Life::Head | Life::Open) && guest.due.is_none();
            let reads = begins || guest.goodbye;
            if !reads || guest.script.front().is_none_or(|(end, _)| *end > guest.told) {
                return;
            }
            // What ends it may not have been looked at yet.
            let ends = matches!(guest.script.front(), Some((_, Mark::Close(_) | Mark::Bad(_))));
            if ends && self.left_over == Some(id) {
                return;
            }
            let Some((_, mark)) = guest.script.pop_front() else { return };
            if guest.goodbye {
                match mark {
                    Mark::Message(payload) => self.said.push((id, payload)),
                    Mark::Close(_) | Mark::Bad(_) => guest.goodbye = false,
                    Mark::Head | Mark::Ping(_) | Mark::Heartbeat => {}
                }
                continue;
            }
            match mark {
                Mark::Head => self.knock(id),
                Mark::Message(payload) => self.said.push((id, payload)),
                Mark::Ping(payload) => {
                    guest.replies += payload.len() + FRAME_COST;
                    guest.pongs.push_back(payload);
                }
                Mark::Heartbeat => {
                    guest.replies += FRAME_COST;
                    guest.beats += 1;
                }
                Mark::Close(code) => {
                    (guest.ended, guest.polite) = (Some(code), true);
                    guest.closes_ms = Some(self.now_ms);
                    // The answer may have to wait until what was published is stored.
                    match redis && !guest.grant.publish.is_empty() {
                        true => self.leave(id),
                        false => self.end(id, End::Code(code)),
                    }
                }
                Mark::Bad(bad) => {
                    (guest.ended, guest.closes_ms) = (Some(Some(bad.code)), Some(self.now_ms));
                    self.end(id, End::Code(Some(bad.code)));
                }
            }
        }
    }

    /// Those who are to be let in are, and nobody else.
    fn check_opened(&mut self, call: &Call) {
        for id in std::mem::take(&mut self.opening) {
            let guest = &self.guests[id];
            let held = guest.polite && !guest.answered && self.local.is_none();
            let seen = call.opened.contains(&id) || held;
            assert!(seen, "browser {id} is not let in though nothing is awaited");
        }
        for id in &call.opened {
            let guest = &self.guests[*id];
            assert!(guest.opened, "browser {id} is let in, though it is {:?}", guest.life);
        }
    }

    /// What was said is what the server has counted, except that nobody listens to a browser any
    /// more which was closed for reading too slowly; and that what is left over is counted later.
    /// What goes nowhere is taken out.
    fn count(&mut self, messages: u64) -> Vec<Said> {
        let counted = (messages - self.messages) as usize;
        self.messages = messages;
        let mut said = std::mem::take(&mut self.said);
        while said.len() > counted {
            let left = |(id, _): &Said| Some(*id) == self.left_over;
            let unheard = |(id, _): &Said| self.guests[*id].cut_short;
            let last = said.iter().rposition(|said| left(said) || unheard(said));
            let last = said.remove(last.expect("every message is counted"));
            if left(&last) {
                self.kept.insert(0, last);
            }
        }
        assert_eq!(said.len(), counted, "messages that nobody sent");
        said.retain(|(id, payload)| {
            !self.guests[*id].grant.publish.is_empty() && !payload.is_empty()
        });
        said
    }

    /// When nothing is under way any more: who knocked is let in, and has had what is stored, or
    /// something newer.
    pub fn check_quiet(&self, stored: impl Fn(&str) -> Option<Vec<u8>>) {
        for (id, guest) in self.guests.iter().enumerate() {
            let waits = guest.polite && !guest.answered && !guest.excused;
            assert!(!waits, "the close of browser {id} is not answered");
            assert!(!guest.waits_for_redis(), "browser {id}, {:?}, waits for nothing", guest.life);
            if guest.life != Life::Open || self.denied {
                continue;
            }
            for membership in guest.memberships.iter().filter(|one| !one.gave_up) {
                let Some(value) = stored(&membership.channel) else { continue };
                let at = self.published_at(&membership.channel, &value);
                let newest = at.is_none_or(|(first, last)| {
                    first != last || first <= membership.newest || !Payload::is_unique(&value)
                });
                let (name, value) = (&membership.channel, value.escape_ascii());
                assert!(newest, "browser {id} has had nothing on {name} since {value}");
            }
        }
    }

    /// Whether a message has a length that browsers may be sent.
    fn is_for_browsers(&self, payload: &[u8]) -> bool {
        !payload.is_empty() && payload.len() <= self.setup.max_message
    }
}
