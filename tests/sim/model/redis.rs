//! What comes of what Redis says, and what it is asked.

use std::collections::BTreeSet;

use super::super::super::world::Arrival;
use super::{Model, PATIENCE_MS, is_for_browsers};

#[derive(Debug)]
pub(super) struct Get {
    number: usize,
    pub(super) channel: String,
    pub(super) era: u64,
}

#[derive(Debug)]
pub(super) struct Publish {
    channel: String,
    payload: Vec<u8>,
    /// Who is not to hear it.
    except: Option<usize>,
    arrived: bool,
    /// An identical message arrived meanwhile, and may have been taken for it.
    twin: bool,
}

impl Model {
    /// Something has arrived from Redis.
    pub(super) fn arrive(&mut self, arrival: &Arrival) {
        self.event += 1;
        match arrival {
            // What follows comes to nothing.
            Arrival::Blurt => self.lose(),
            Arrival::Greeted => self.greeted(),
            _ if !self.up => {}
            Arrival::Subscribed(name) => {
                let (channel, era) = self.subscribes.pop_front().expect("it was subscribed to");
                assert_eq!(channel.as_bytes(), name);
                if let Some(channel) = self.channels.get_mut(&channel).filter(|c| c.era == era) {
                    channel.confirmed = true;
                }
            }
            Arrival::Message { channel, payload, publish } => {
                let name = String::from_utf8_lossy(channel).into_owned();
                let mut except = None;
                for (number, own) in self.publishes.iter_mut().enumerate() {
                    if Some(number) == *publish {
                        own.arrived = true;
                        except = own.except;
                    } else if !own.arrived && own.channel == name && own.payload == *payload {
                        own.twin = true;
                    }
                }
                let comes_back = |id: &usize| {
                    self.guests[*id].is_member() && self.guests[*id].own.contains_key(payload)
                };
                let back = except.filter(comes_back);
                let fits = is_for_browsers(payload);
                if fits && self.channels.get(&name).is_some_and(|channel| channel.confirmed) {
                    self.deliver(&name, payload, except, back);
                } else if let Some(id) = back {
                    self.guests[id].own.entry(payload.clone()).or_default().1 += 1;
                }
            }
            Arrival::Answer(value) => {
                let usable = value.as_deref().filter(|value| is_for_browsers(value));
                self.answered(usable);
            }
            Arrival::Stored => self.stored(),
            Arrival::Refused(command) => self.refused(command),
        }
    }

    fn greeted(&mut self) {
        self.up = true;
        let heard = self.heard_channels();
        for name in &heard {
            self.fetches += 1;
            let number = self.fetches;
            let channel = self.channels.get_mut(name).expect("it is heard");
            channel.confirmed = false;
            channel.known = [channel.last_delivered.clone(), channel.last_stored.clone()];
            channel.shared = Some((number, false));
            let oldest = channel.fetches.iter().map(|(_, since)| *since).min();
            let since = oldest.unwrap_or(channel.delivered);
            channel.fetches = vec![(number, since)];
            let (channel, era) = (name.clone(), channel.era);
            self.unasked.push(Get { number, channel, era });
            for (_, guest) in self.members(name) {
                guest.waits = guest.waits.map(|_| number);
                guest.catches_up = Some(number);
            }
        }
        for id in 0..self.guests.len() {
            let guest = &self.guests[id];
            let waits = guest.asked && guest.joined.is_none() && !guest.closing;
            if waits && guest.ask.bad.is_none() {
                self.join(id);
            }
        }
    }

    pub(super) fn lose(&mut self) {
        self.up = false;
        self.subscribes.clear();
        self.gets.clear();
        self.unasked.clear();
        self.again.clear();
        self.unstored = 0;
        self.guests.iter_mut().for_each(|guest| guest.unstored = 0);
        for publish in std::mem::take(&mut self.publishes) {
            self.forget(&publish);
        }
    }

    /// A publication does not come back any more.
    fn forget(&mut self, publish: &Publish) {
        if let Some(id) = publish.except
            && !publish.arrived
            && !publish.twin
            && let Some((sent, _)) = self.guests[id].own.get_mut(&publish.payload)
        {
            *sent -= 1;
        }
    }

    /// A browser waits for what is stored on its channel.
    pub(super) fn wait_for_stored(&mut self, id: usize, name: &str) {
        let channel = self.channels.get_mut(name).expect("it is heard");
        if let Some((number, _)) = channel.shared {
            self.guests[id].waits = Some(number);
            return;
        }
        self.fetches += 1;
        let number = self.fetches;
        channel.shared = Some((number, false));
        channel.fetches.push((number, channel.delivered));
        let (channel, era) = (name.to_string(), channel.era);
        self.unasked.push(Get { number, channel, era });
        self.guests[id].waits = Some(number);
    }

    /// A fetch is over: who waited for it hears what was stored, if anything, and what was held.
    fn end_fetch(&mut self, name: &str, number: usize, value: Option<&[u8]>) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        let Some(at) = channel.fetches.iter().position(|(known, _)| *known == number) else {
            return;
        };
        channel.fetches.remove(at);
        channel.shared = channel.shared.filter(|(shared, _)| *shared != number);
        let wanted = channel.fetches.iter().map(|(_, since)| channel.delivered - since).max();
        while channel.held.len() > wanted.unwrap_or(0) {
            channel.held.pop_front();
        }
        let news = value
            .is_some_and(|value| channel.known.iter().all(|known| known.as_deref() != Some(value)));
        if let Some(value) = value {
            channel.last_stored = Some(value.to_vec());
        }
        let published = value.and_then(|value| self.published.get(value));
        let published = published.map(|(_, last)| *last);
        let stored = value.map(|value| (value, published));
        for (_, guest) in self.members(name) {
            if guest.waits == Some(number) {
                guest.go_on(stored);
            } else if guest.catches_up == Some(number) {
                guest.go_on(stored.filter(|_| news));
            }
        }
    }

    /// What waits on a channel behind the first so many messages that are held waits no longer.
    pub(super) fn release(&mut self, name: &str, old: usize) {
        let Some(channel) = self.channels.get(name) else { return };
        let old = old.min(channel.held.len());
        let behind = channel.delivered - (channel.held.len() - old);
        let waits = |since: usize| old > 0 && since < behind;
        let over = channel.fetches.iter().filter(|(_, since)| waits(*since));
        let over: Vec<usize> = over.map(|(number, _)| *number).collect();
        for number in over {
            self.unasked.retain(|get| get.number != number);
            self.end_fetch(name, number, None);
        }
    }

    /// What has waited too long waits no longer.
    pub(super) fn release_overdue(&mut self) {
        let names: Vec<String> = self.channels.keys().cloned().collect();
        for name in names {
            let held = &self.channels[&name].held;
            let old = held.iter().take_while(|(_, at_ms)| at_ms + PATIENCE_MS <= self.now_ms);
            let old = old.count();
            self.release(&name, old);
        }
    }

    /// The oldest question is answered.
    fn answered(&mut self, value: Option<&[u8]>) {
        let get = self.gets.pop_front().expect("it was asked for");
        if self.channels.get(&get.channel).is_some_and(|channel| channel.era == get.era) {
            self.end_fetch(&get.channel, get.number, value);
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
            b"GET" => self.answered(None),
            b"GETRANGE" => self.again.extend(self.gets.pop_front()),
            b"SET" => self.stored(),
            b"SUBSCRIBE" => {
                let names = command[1..].iter().map(|name| String::from_utf8_lossy(name));
                for name in names {
                    let denied = self.subscribes.pop_front().expect("it was subscribed to");
                    assert_eq!(denied.0, name);
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
                let own = Publish {
                    arrived: false,
                    channel: String::new(),
                    payload: own.payload.clone(),
                    ..*own
                };
                self.forget(&own);
            }
            _ => {}
        }
    }

    /// What Redis is asked to do follows from what has happened.
    pub(super) fn follow(
        &mut self,
        commands: &[Vec<Vec<u8>>],
        mut said: Vec<(usize, Vec<u8>)>,
        heard_before: &BTreeSet<String>,
        was_up: bool,
    ) {
        let heard = self.heard_channels();
        let (mut subscribed, mut unsubscribed) = (BTreeSet::new(), BTreeSet::new());
        let dropped = !self.up || self.may_drop;
        let mut author = 0;
        for command in commands {
            let name = command.get(1).map_or("".into(), |name| String::from_utf8_lossy(name));
            match &command[0][..] {
                b"SUBSCRIBE" => {
                    for name in &command[1..] {
                        let name = String::from_utf8_lossy(name).into_owned();
                        let era = self.channels.get(&name).map_or(0, |channel| channel.era);
                        self.subscribes.push_back((name.clone(), era));
                        assert!(subscribed.insert(name), "it is subscribed to once");
                    }
                }
                b"UNSUBSCRIBE" => {
                    assert!(unsubscribed.insert(name.into_owned()), "it is unsubscribed from once");
                }
                b"GET" => self.gets.extend(self.again.pop_front()),
                b"GETRANGE" => self.asked(&name),
                b"SET" => {
                    self.unstored += 1;
                    self.guests[author].unstored = self.unstored;
                }
                b"PUBLISH" => author = self.published(&name, &command[2], &mut said, dropped),
                _ => {}
            }
        }
        let ended = said.iter().all(|(id, _)| self.guests[*id].cut_short);
        assert!(said.is_empty() || dropped || ended, "not published: {said:?}");
        if !self.up {
            return assert!(commands.iter().all(|command| command[0] == b"HELLO"), "Redis is down");
        }
        if was_up && !self.denied {
            let (came, went) = (&heard - heard_before, heard_before - &heard);
            assert_eq!(subscribed, came, "what is heard now is subscribed to");
            assert_eq!(unsubscribed, went, "and unsubscribed from what is not heard any more");
        } else if !was_up {
            assert_eq!(subscribed, heard, "what is heard is subscribed to when Redis is back");
        }
    }

    /// Redis is asked for what is stored on a channel.
    fn asked(&mut self, name: &str) {
        let at = self.unasked.iter().position(|get| get.channel == name);
        let get = self.unasked.remove(at.expect("somebody waits for it"));
        if let Some(channel) = self.channels.get_mut(name)
            && let Some((number, asked)) = &mut channel.shared
        {
            *asked |= *number == get.number;
        }
        self.gets.push_back(get);
    }

    /// The server publishes: it is what somebody has just said. Returns who.
    fn published(
        &mut self,
        name: &str,
        payload: &[u8],
        said: &mut Vec<(usize, Vec<u8>)>,
        dropped: bool,
    ) -> usize {
        let at = said
            .iter()
            .position(|(id, said)| *said == payload && self.guests[*id].ask.channel() == name);
        let at = at.unwrap_or_else(|| panic!("nobody said {:?}", payload.escape_ascii()));
        let id = said[at].0;
        let skipped = said[..at].iter().any(|(before, _)| *before == id);
        assert!(!skipped || dropped, "published in the order in which it was said");
        said.remove(at);
        let ask = self.guests[id].ask;
        let except = (ask.hears && !ask.echo).then_some(id);
        if except.is_some() {
            self.guests[id].own.entry(payload.to_vec()).or_default().0 += 1;
        }
        let (channel, payload) = (name.to_string(), payload.to_vec());
        self.publishes.push(Publish { channel, payload, except, arrived: false, twin: false });
        id
    }
}
