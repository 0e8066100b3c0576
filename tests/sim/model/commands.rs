//! What Redis is asked, and whether that follows from what has happened.

use super::guest::{Guest, Life};
use super::redis::{Get, Publish, Subject, Waiting};
use super::{Model, Said};

impl Model {
    /// What Redis is asked to do follows from what has happened.
    pub(super) fn follow(&mut self, commands: &[Vec<Vec<u8>>], mut said: Vec<Said>) {
        let dropped = !self.up || self.may_drop();
        let mut wanted = self.to_publish(&mut said);
        let mut author = None;
        for command in commands {
            let name = command.get(1).map_or("".into(), |name| String::from_utf8_lossy(name));
            self.written += 1;
            match &command[0][..] {
                b"SUBSCRIBE" => {
                    for name in &command[1..] {
                        let name = String::from_utf8_lossy(name).into_owned();
                        let era = self.channels.get(&name).map_or(0, |channel| channel.era);
                        self.subscribes.push_back((name.clone(), era));
                        assert!(self.asked_for.insert(name), "it is subscribed to once");
                    }
                }
                b"UNSUBSCRIBE" => {
                    let was = self.asked_for.remove(&*name);
                    assert!(was, "{name} is unsubscribed from once");
                }
                b"GETRANGE" => self.gets(&name),
                b"GET" => self.gets.extend(self.again.pop_front()),
                b"SET" => {
                    self.unstored += 1;
                    if let Some(author) = author.take() {
                        let guest: &mut Guest = &mut self.guests[author];
                        guest.unstored = self.unstored;
                    }
                }
                b"PUBLISH" => author = self.published(&name, &command[2], &mut wanted, dropped),
                _ => {}
            }
        }
        let ended = wanted.iter().all(|(id, ..)| self.guests[*id].cut_short);
        let waits = !self.subscribes.is_empty() || !self.waiting.is_empty();
        assert!(wanted.is_empty() || dropped || ended || waits, "not published: {wanted:?}");
        let (at_ms, perhaps) = (self.now_ms, self.may_drop() || ended);
        let waiting = |(who, channel, payload)| Waiting { who, channel, payload, at_ms, perhaps };
        self.waiting.extend(wanted.into_iter().map(waiting));
        // Whatever waited for the link has gone out on it, or never waited.
        if self.up && self.subscribes.is_empty() {
            self.waiting.retain(|waiting| !waiting.may_be_gone(at_ms));
        }
        if !self.up {
            return assert!(commands.iter().all(|command| command[0] == b"HELLO"), "Redis is down");
        }
        let control = self.control();
        let control = control.filter(|name| !self.control_denied || self.asked_for.contains(name));
        let heard = self.channels.keys().cloned().chain(control).collect();
        assert_eq!(self.asked_for, heard, "what is heard is what Redis was asked for");
        let waits = |id: &usize| {
            let guest = &self.guests[*id];
            guest.life == Life::LookingUp && !guest.looked_up && guest.due.is_none()
        };
        // What is asked otherwise comes first, when all that was asked before is answered.
        let waits = (0..self.guests.len()).find(waits).filter(|_| self.again.is_empty());
        assert_eq!(waits, None, "its session is not asked for");
    }

    /// Redis is asked for a session or for a stored message.
    fn gets(&mut self, name: &str) {
        self.asked += 1;
        let (number, asked) = (self.asked, self.event);
        let session = |id: &usize| {
            let guest = &self.guests[*id];
            guest.looks_up.is_some() && !guest.looked_up && self.session_name(*id) == name
        };
        // Those who waited until Redis was back are asked about in the order of their places.
        let order = |id: &usize| (self.guests[*id].looks_up, self.guests[*id].place);
        let session = (0..self.guests.len()).filter(session).min_by_key(order);
        let subject = match (session, self.channels.get_mut(name)) {
            (Some(id), _) => {
                self.guests[id].looked_up = true;
                Subject::Session(id)
            }
            (None, None) => Subject::Nothing,
            (None, Some(channel)) => {
                let mut joined = u64::MAX;
                for id in &channel.members {
                    joined = joined.min(self.guests[*id].waits_for(name, number));
                }
                // Who came behind the one for whom it was made shares it, and no earlier one.
                let now = |get: &&Get| get.asked == asked && get.is_for(name, channel.era);
                let earlier: Vec<u64> =
                    self.gets.iter().filter(now).map(|get| get.number).collect();
                for id in &channel.members {
                    self.guests[*id].shares(name, number, joined, &earlier);
                }
                let catches_up = std::mem::take(&mut channel.catches_up);
                Subject::Stored { channel: name.to_owned(), era: channel.era, catches_up }
            }
        };
        self.gets.push_back(Get { number, asked, subject });
    }

    /// What is to be published of what browsers have said: to each of their channels.
    fn to_publish(&self, said: &mut Vec<Said>) -> Vec<(usize, String, Vec<u8>)> {
        let mut wanted = Vec::new();
        for (id, payload) in said.drain(..) {
            let channels = self.guests[id].grant.publish.iter();
            wanted.extend(channels.map(|name| (id, name.clone(), payload.clone())));
        }
        wanted
    }

    /// Whether Redis may be so slow that publishing is refused.
    fn may_drop(&self) -> bool {
        self.setup.buffer_limit < 1 << 20
    }

    /// The server publishes: it is what somebody has just said, or what has waited. Returns who
    /// has just said it.
    fn published(
        &mut self,
        name: &str,
        payload: &[u8],
        wanted: &mut Vec<(usize, String, Vec<u8>)>,
        dropped: bool,
    ) -> Option<usize> {
        let alike = |one: &Waiting| one.channel == name && one.payload == payload;
        let surely = |one: &Waiting| alike(one) && !one.may_be_gone(self.now_ms);
        let waiting = self.waiting.iter().position(surely);
        let just_said = wanted.iter().any(|(_, channel, said)| channel == name && said == payload);
        let likely = |one: &Waiting| alike(one) && !one.is_overdue(self.now_ms);
        let likely = self.waiting.iter().position(likely);
        let perhaps = likely.or_else(|| self.waiting.iter().position(alike));
        let waiting = waiting.or(perhaps.filter(|_| !just_said));
        let (id, at_ms, new) = match waiting {
            Some(at) => {
                let one = self.waiting.remove(at).expect("it is there");
                let mut before =
                    self.waiting.iter().take(at).filter(|before| before.who == one.who);
                let gone = before.all(|before| before.may_be_gone(self.now_ms));
                assert!(gone, "published in the order in which it was said");
                (one.who, one.at_ms, false)
            }
            None => (take_said(name, payload, wanted, dropped), self.now_ms, true),
        };
        let withholds = |id: &usize| self.guests[*id].withholds(name);
        // Of identical ones that wait, some of which may have been refused, this may be any.
        let mut authors: Vec<usize> = match new {
            true => Vec::new(),
            false => self.waiting.iter().filter(|one| alike(one)).map(|one| one.who).collect(),
        };
        authors.push(id);
        authors.sort_unstable();
        authors.dedup();
        let except = Some(id).filter(withholds).filter(|_| authors.len() == 1);
        authors.retain(withholds);
        for author in authors {
            self.guests[author].own.entry(payload.to_vec()).or_default().0 += 1;
        }
        let (channel, payload) = (name.to_string(), payload.to_vec());
        let (who, number, arrived, twin) = (id, self.written - 1, false, false);
        let publish = Publish { who, at_ms, number, channel, payload, except, arrived, twin };
        self.publishes.push(publish);
        // A close does not wait for what has waited for a link.
        new.then_some(id)
    }
}

/// Takes what somebody has just said from what is to be published. Returns who.
fn take_said(
    name: &str,
    payload: &[u8],
    wanted: &mut Vec<(usize, String, Vec<u8>)>,
    dropped: bool,
) -> usize {
    let fits = |(_, channel, said): &(usize, String, Vec<u8>)| channel == name && said == payload;
    let at = wanted.iter().position(fits);
    let at = at.unwrap_or_else(|| panic!("nobody said {:?} to {name}", payload.escape_ascii()));
    let id = wanted[at].0;
    let skipped = wanted[..at].iter().any(|(before, ..)| *before == id);
    assert!(!skipped || dropped, "published in the order in which it was said");
    wanted.remove(at);
    id
}
