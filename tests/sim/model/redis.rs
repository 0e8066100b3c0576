//! What comes of what Redis says, and what it is asked.

use std::collections::BTreeSet;

use super::super::super::world::Arrival;
use super::{Model, is_for_browsers};

#[derive(Debug)]
pub(super) struct Get {
    channel: String,
    era: u64,
    asked: u64,
    catches_up: bool,
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
                if let Some(id) = except
                    && self.guests[id].is_member()
                    && let Some((_, back)) = self.guests[id].own.get_mut(payload)
                {
                    *back += 1;
                }
                let fits = is_for_browsers(payload);
                if fits && self.channels.get(&name).is_some_and(|channel| channel.confirmed) {
                    self.deliver(&name, payload, except);
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
        for (name, channel) in self.channels.iter_mut().filter(|(name, _)| heard.contains(*name)) {
            let _ = name;
            channel.confirmed = false;
            channel.catches_up = true;
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

    /// The oldest GET is answered.
    fn answered(&mut self, value: Option<&[u8]>) {
        let get = self.gets.pop_front().expect("it was asked for");
        let Some(channel) = self.channels.get_mut(&get.channel).filter(|c| c.era == get.era) else {
            return;
        };
        let delivered = channel.delivered;
        if let Some(value) = value {
            let known = [&channel.last_delivered, &channel.last_stored];
            let known = known.into_iter().any(|known| known.as_deref() == Some(value));
            channel.last_stored = Some(value.to_vec());
            if get.catches_up && delivered < get.asked && !known {
                return self.deliver(&get.channel, value, None);
            }
        }
        let published = value.and_then(|value| self.published.get(value));
        let published = published.map(|(_, last)| *last);
        for (_, guest) in self.members(&get.channel) {
            let joined = guest.joined.expect("it is a member");
            if !guest.fetched && delivered < joined.min(get.asked) {
                guest.fetched = true;
                if let Some(value) = value {
                    guest.expect(value, false);
                    guest.keep_up(published);
                }
            }
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
                b"GET" => {
                    let channel = self.channels.get_mut(&*name);
                    let era = channel.as_ref().map_or(0, |channel| channel.era);
                    let catches_up = channel.is_some_and(|c| std::mem::take(&mut c.catches_up));
                    let (channel, asked) = (name.into_owned(), self.event);
                    self.gets.push_back(Get { channel, era, asked, catches_up });
                }
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
