//! What is heard: who comes to which channels, and what arrives there.

use std::collections::BTreeSet;

use super::guest::{End, Held, Life, Membership};
use super::hear::{HELD_AT_LEAST, HELD_COST};
use super::{Model, TICK_MS};

/// A channel that somebody hears.
#[derive(Debug, Default)]
pub struct Channel {
    /// Which time it is heard; a new one when the first browser comes.
    pub era: u64,
    pub confirmed: bool,
    pub members: BTreeSet<usize>,
    /// When a message last arrived.
    pub delivered: u64,
    /// The last two, the last first.
    pub last_delivered: [Option<Vec<u8>>; 2],
    pub last_stored: Option<Vec<u8>>,
    /// Bytes of messages that have ever arrived.
    arrived: usize,
    /// The broker has come up, and everybody who heard it is to catch up.
    pub catches_up: bool,
}

impl Model {
    /// A browser comes to its channels.
    pub(super) fn join(&mut self, id: usize) {
        self.guests[id].life = Life::Joining;
        for name in self.guests[id].grant.subscribe.clone() {
            let local = self.local.is_some();
            // Each time is another one, though several begin at once.
            self.event += 1;
            let (joined, era) = (self.event, self.event);
            let new = || Channel { era, confirmed: local, ..Channel::default() };
            let channel = self.channels.entry(name.clone()).or_insert_with(new);
            channel.members.insert(id);
            let guest = &mut self.guests[id];
            if !channel.confirmed {
                guest.awaits.insert(name.clone());
            }
            let before = guest.memberships.last().map_or(Some(0), |last| last.get);
            // Who comes while the stored message is being asked for shares that, as long as it is
            // no older than what has arrived.
            let shared = self
                .again
                .iter()
                .chain(&self.gets)
                .rev()
                .find(|get| get.is_for(&name, channel.era));
            let shared = shared.filter(|get| channel.delivered <= get.asked && !local);
            let get = shared.map(|get| get.number);
            let get = get.filter(|get| before.is_some_and(|before| *get > before));
            guest.memberships.push(Membership {
                channel: name.clone(),
                joined,
                get,
                answered: local,
                catches_up: false,
                held: Vec::new(),
                known: Default::default(),
                gave_up: false,
                newest: 0,
            });
            if let Some(stored) = self.local.as_ref().and_then(|local| local.stored(&name)) {
                let stored = stored.to_vec();
                self.expect_stored(id, &name, &stored);
            }
        }
        self.open_if_joined(id);
    }

    /// A browser is let in if it waits for no confirmation any more. When its token has expired
    /// meanwhile, within the time that a deadline is kept to, it is told so instead.
    pub(super) fn open_if_joined(&mut self, id: usize) {
        let guest = &mut self.guests[id];
        if guest.life != Life::Joining || !guest.awaits.is_empty() {
            return;
        }
        let (expires_ms, unix_ms) = (guest.expires_ms.unwrap_or(u64::MAX), self.unix_ms);
        let closed = self.closing.get(&id) == Some(&End::Status(401));
        if unix_ms >= expires_ms && (closed || unix_ms >= expires_ms + 2 * TICK_MS) {
            return self.end(id, End::Status(401));
        }
        (guest.life, guest.opened, guest.heard_ms) = (Life::Open, true, self.now_ms);
        self.opening.push(id);
        self.read(id);
    }

    /// A browser leaves its channels: it hears nothing more.
    pub(super) fn leave(&mut self, id: usize) {
        let guest = &mut self.guests[id];
        guest.life = Life::Closing;
        guest.awaits.clear();
        if !guest.goodbye {
            self.kept.retain(|(of, _)| *of != id);
        }
        for membership in &guest.memberships {
            let name = &membership.channel;
            let Some(channel) = self.channels.get_mut(name) else { continue };
            channel.members.remove(&id);
            if channel.members.is_empty() {
                self.channels.remove(name);
            }
        }
    }

    /// A message arrives for everybody who hears a channel.
    pub(super) fn deliver(
        &mut self,
        name: &str,
        payload: &[u8],
        except: Option<usize>,
        back: Option<usize>,
    ) {
        let published = self.published_at(name, payload).map(|(_, last)| last);
        let Some(channel) = self.channels.get_mut(name) else { return };
        channel.delivered = self.event;
        channel.arrived += payload.len() + HELD_COST;
        let most = self.setup.outbox_limit.max(HELD_AT_LEAST);
        // Who began to wait first may have left since: what is held for whoever is still there may
        // be less than what is held.
        let gives_up = self.gives_up && channel.arrived > most;
        let before = channel.last_delivered[0].take();
        channel.last_delivered = [Some(payload.to_vec()), before];
        for id in &channel.members {
            let guest = &mut self.guests[*id];
            let at = guest.place_of(name).expect("a member hears the channel");
            let (own, back) = (except == Some(*id), back == Some(*id));
            let payload = payload.to_vec();
            guest.live(
                at,
                Held { payload, own, back, published, at_ms: self.now_ms, event: self.event },
            );
            if gives_up && guest.memberships[at].waits() {
                guest.go_on(at, None);
                guest.memberships[at].gave_up = true;
            }
        }
    }

    /// A stored message is for one browser.
    pub(super) fn expect_stored(&mut self, id: usize, name: &str, payload: &[u8]) {
        let published = self.published_at(name, payload).map(|(_, last)| last);
        if self.is_for_browsers(payload) {
            let guest = &mut self.guests[id];
            let at = guest.place_of(name).expect("it hears the channel");
            guest.expect(at, payload, false, published);
        }
    }
}
