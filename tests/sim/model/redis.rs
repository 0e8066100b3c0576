//! What comes of what Redis says.

use std::collections::VecDeque;

use super::super::super::world::{Arrival, REDIS_TIMEOUT_MS};
use super::Model;
use super::guest::{End, Life};

/// How long a message waits for a link.
const PATIENCE_MS: u64 = 5_000;

/// A GET that is not answered.
#[derive(Debug)]
pub struct Get {
    /// How many there were before it, and it.
    pub number: u64,
    /// When it was sent.
    pub asked: u64,
    pub subject: Subject,
}

/// What a GET is about.
#[derive(Debug)]
pub enum Subject {
    /// The session of a browser.
    Session(usize),
    /// A channel's stored message, perhaps for everybody who hears it.
    Stored { channel: String, era: u64, catches_up: bool },
    /// A channel that nobody hears any more.
    Nothing,
}

/// A browser's message on its way through Redis.
#[derive(Debug)]
pub struct Publish {
    pub who: usize,
    pub at_ms: u64,
    /// How many commands were written before its PUBLISH.
    pub number: usize,
    pub channel: String,
    pub payload: Vec<u8>,
    /// Who is not to hear it.
    pub except: Option<usize>,
    pub arrived: bool,
    /// An identical message arrived meanwhile, and may have been taken for it.
    pub twin: bool,
}

/// A browser's message that waits for a link to Redis.
#[derive(Debug)]
pub struct Waiting {
    pub who: usize,
    pub channel: String,
    pub payload: Vec<u8>,
    pub at_ms: u64,
    /// It may have been refused.
    pub perhaps: bool,
}

impl Waiting {
    /// Whether it may have been given up, or was refused.
    pub fn may_be_gone(&self, now_ms: u64) -> bool {
        self.perhaps || self.is_overdue(now_ms)
    }

    /// Whether it has waited as long as it may.
    pub fn is_overdue(&self, now_ms: u64) -> bool {
        self.at_ms + PATIENCE_MS <= now_ms
    }
}

impl Get {
    /// Whether its answer is about that channel.
    pub fn is_for(&self, name: &str, time: u64) -> bool {
        match &self.subject {
            Subject::Stored { channel, era, .. } => channel == name && *era == time,
            _ => false,
        }
    }
}

impl Model {
    /// Something has arrived from Redis.
    pub(super) fn arrive(&mut self, arrival: &Arrival) {
        self.event += 1;
        match arrival {
            // What follows it comes to nothing.
            _ if self.lost => {}
            Arrival::Blurt => self.lose(),
            Arrival::Greeted => self.greeted(),
            _ if !self.up => {}
            Arrival::Subscribed(name) => {
                let (channel, era) = self.subscribes.pop_front().expect("it was subscribed to");
                assert_eq!(channel.as_bytes(), name);
                self.confirmed(&channel, era);
            }
            Arrival::Message { channel, payload, publish } => {
                let name = String::from_utf8_lossy(channel).into_owned();
                match self.control() == Some(name.clone()) {
                    true => self.controlled(payload),
                    false => self.message(&name, payload, *publish),
                }
            }
            Arrival::Answer { value, .. } => self.answered(value.as_deref(), true),
            Arrival::Stored => self.stored(),
            Arrival::Refused(command) => self.refused(command),
        }
    }

    fn confirmed(&mut self, name: &str, era: u64) {
        self.control_denied &= self.control().as_deref() != Some(name);
        let Some(channel) = self.channels.get_mut(name).filter(|channel| channel.era == era) else {
            return;
        };
        channel.confirmed = true;
        for id in channel.members.clone() {
            let guest = &mut self.guests[id];
            if guest.missing.remove(name) && guest.missing.is_empty() {
                guest.expect(0, b"", false, None);
            }
            guest.awaits.remove(name);
            self.open_if_joined(id);
        }
    }

    fn message(&mut self, name: &str, payload: &[u8], publish: Option<usize>) {
        let mut except = None;
        for (number, own) in self.publishes.iter_mut().enumerate() {
            if Some(number) == publish {
                own.arrived = true;
                except = own.except;
            } else if !own.arrived && own.channel == name && own.payload == *payload {
                own.twin = true;
            }
        }
        let comes_back =
            |id: &usize| self.guests[*id].is_member() && self.guests[*id].own.contains_key(payload);
        let back = except.filter(comes_back);
        let confirmed = self.channels.get(name).is_some_and(|channel| channel.confirmed);
        if confirmed && self.is_for_browsers(payload) {
            self.deliver(name, payload, except, back);
        } else if let Some((_, back)) = back.and_then(|id| self.guests[id].own.get_mut(payload)) {
            *back += 1;
        }
    }

    /// Redis is there, and knows nothing.
    fn greeted(&mut self) {
        (self.up, self.down, self.control_denied) = (true, false, false);
        for guest in self.guests.iter_mut().filter(|guest| guest.life == Life::Open) {
            let heard = guest.grant.subscribe.iter().filter(|_| guest.ask.gaps);
            guest.missing = heard.cloned().collect();
        }
        let event = self.event;
        let looking = self.guests.iter_mut().filter(|guest| guest.life == Life::LookingUp);
        looking.for_each(|guest| guest.looks_up = Some(event));
        for name in self.channels.keys().cloned().collect::<Vec<_>>() {
            self.catch_up(&name);
        }
        let mut waiting: Vec<usize> =
            (0..self.guests.len()).filter(|id| self.guests[*id].life == Life::Waiting).collect();
        waiting.sort_by_key(|id| self.guests[*id].place);
        waiting.into_iter().for_each(|id| self.join(id));
    }

    /// What is stored for a channel is asked for once more, for everybody who hears it; what comes
    /// of earlier asks is of no use.
    fn catch_up(&mut self, name: &str) {
        let channel = self.channels.get_mut(name).expect("somebody hears it");
        (channel.confirmed, channel.catches_up) = (false, true);
        let [last, before] = channel.last_delivered.clone();
        let known = [last, before, channel.last_stored.clone()];
        for id in &channel.members {
            let memberships = self.guests[*id].memberships.iter_mut();
            for membership in memberships.filter(|m| m.channel == name) {
                // Who waits since an outage before has had nothing since then.
                if !(membership.answered && membership.catches_up) {
                    membership.known = known.clone();
                }
                membership.catches_up = true;
                membership.get = membership.get.filter(|_| membership.answered);
            }
        }
        let era = channel.era;
        for get in self.gets.iter_mut().chain(&mut self.again).filter(|get| get.is_for(name, era)) {
            get.subject = Subject::Nothing;
        }
    }

    /// Redis's link is being dialed.
    pub(super) fn dialed(&mut self) {
        (self.lost, self.written) = (false, 0);
    }

    /// Redis's link is lost.
    pub(super) fn lose(&mut self) {
        if std::mem::replace(&mut self.lost, true) {
            return;
        }
        self.down = !self.up;
        self.up = false;
        self.subscribes.clear();
        self.gets.clear();
        self.again.clear();
        self.asked_for.clear();
        self.unstored = 0;
        let (mut unsent, before) = (VecDeque::new(), std::mem::take(&mut self.waiting));
        for publish in std::mem::take(&mut self.publishes) {
            let Publish { who, channel, payload, at_ms, number, .. } = publish;
            if !publish.arrived && !publish.twin {
                self.forget(publish.except, &payload);
            }
            if number >= self.begun {
                unsent.push_back(Waiting { who, channel, payload, at_ms, perhaps: false });
            }
        }
        unsent.extend(before);
        self.waiting = unsent;
        for id in 0..self.guests.len() {
            let guest = &mut self.guests[id];
            guest.unstored = 0;
            (guest.looks_up, guest.looked_up) = (None, false);
            for membership in guest.memberships.iter_mut().filter(|m| !m.answered) {
                membership.get = None;
            }
            if self.down && guest.waits_for_redis() && guest.due.is_none() {
                self.end(id, End::Status(503));
            }
        }
    }

    /// A publication does not come back any more.
    fn forget(&mut self, except: Option<usize>, payload: &[u8]) {
        if let Some(id) = except
            && let Some((sent, _)) = self.guests[id].own.get_mut(payload)
        {
            *sent -= 1;
        }
    }

    /// The oldest GET is answered, with something that can be read or not.
    fn answered<'a>(&mut self, value: Option<&'a [u8]>, readable: bool) {
        let get = self.gets.pop_front().expect("it was asked for");
        let (name, era, catches_up) = match &get.subject {
            Subject::Nothing => return,
            Subject::Session(id) if readable => return self.looked_up(*id, value),
            Subject::Session(id) => return self.no_session(*id),
            Subject::Stored { channel, era, catches_up } => (channel, *era, *catches_up),
        };
        let value = value.filter(|value| self.is_for_browsers(value));
        let Some(channel) = self.channels.get_mut(name).filter(|channel| channel.era == era) else {
            return;
        };
        if let Some(value) = value {
            channel.last_stored = Some(value.to_vec());
        }
        let there = self.published.get(name);
        let published = |value: &[u8]| there.and_then(|at| at.get(value)).map(|(_, last)| *last);
        let stored = |value: Option<&'a [u8]>| value.map(|value| (value, published(value)));
        let stored = stored(value);
        for id in &channel.members {
            let guest = &mut self.guests[*id];
            let at = guest.place_of(name).expect("a member hears the channel");
            let membership = &guest.memberships[at];
            if !membership.answered && membership.get == Some(get.number) {
                guest.go_on(at, stored);
            } else if membership.answered && membership.catches_up && catches_up {
                let known = |value: &[u8]| {
                    membership.known.iter().any(|known| known.as_deref() == Some(value))
                };
                let news = stored.filter(|(value, _)| !known(value));
                guest.go_on(at, news);
            } else if std::mem::take(&mut guest.memberships[at].gave_up) {
                guest.memberships[at].newest = self.publications;
            }
        }
    }

    /// What has waited too long for what is stored waits no longer, and that is given up.
    pub(super) fn release_overdue(&mut self) {
        for guest in self.guests.iter_mut().filter(|guest| guest.is_member()) {
            let oldest = |at: usize| guest.memberships[at].held.first().map(|held| (held, at));
            let oldest = (0..guest.memberships.len()).filter_map(oldest);
            let overdue = oldest.filter(|(held, _)| held.at_ms + REDIS_TIMEOUT_MS <= self.now_ms);
            let mut overdue: Vec<_> = overdue.map(|(held, at)| (held.event, at)).collect();
            overdue.sort_unstable();
            for (_, at) in overdue {
                guest.go_on(at, None);
                guest.memberships[at].gave_up = true;
            }
        }
    }

    fn no_session(&mut self, id: usize) {
        if self.guests[id].life == Life::LookingUp {
            self.end(id, End::Status(503));
        }
    }

    /// The oldest SET is answered.
    fn stored(&mut self) {
        self.unstored -= 1;
        for guest in &mut self.guests {
            guest.unstored = guest.unstored.saturating_sub(1);
        }
    }

    fn refused(&mut self, command: &[Vec<u8>]) {
        match &command[0][..] {
            b"GET" => self.answered(None, false),
            b"GETRANGE" => self.again.extend(self.gets.pop_front()),
            b"SET" => self.stored(),
            b"SUBSCRIBE" => {
                let alone = command.len() == 2;
                for _ in &command[1..] {
                    let (name, era) = self.subscribes.pop_front().expect("it was subscribed to");
                    self.subscribe_refused(&name, era, alone);
                }
            }
            b"PUBLISH" => {
                let refused = |own: &&mut Publish| {
                    !own.arrived
                        && own.channel.as_bytes() == command[1]
                        && own.payload == command[2]
                };
                let own = self.publishes.iter_mut().find(refused).expect("it was published");
                own.arrived = true;
                let (except, payload) = (own.except, own.payload.clone());
                if !own.twin {
                    self.forget(except, &payload);
                }
            }
            _ => {}
        }
    }

    /// Redis does not let us hear a channel; or one of several, and then each is asked for alone.
    fn subscribe_refused(&mut self, name: &str, era: u64, alone: bool) {
        let control = self.control().as_deref() == Some(name);
        let channel = self.channels.get(name).filter(|channel| channel.era == era);
        match (alone, channel) {
            // It is asked for again after a while.
            (true, _) if control => {
                self.control_denied = true;
                self.asked_for.remove(name);
            }
            (true, Some(channel)) => {
                for id in channel.members.clone() {
                    let end = match self.guests[id].life {
                        Life::Open => End::Code(Some(1011)),
                        _ => End::Status(503),
                    };
                    if self.guests[id].due.is_none() {
                        self.end(id, end);
                    }
                }
            }
            (false, _) if !self.subscribes.iter().any(|(later, _)| later == name) => {
                self.asked_for.remove(name);
                // What is stored is asked for again, behind that.
                if self.channels.contains_key(name) {
                    self.catch_up(name);
                }
            }
            _ => {}
        }
    }
}
