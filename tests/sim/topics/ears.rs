//! Who hears one channel by its URL, of several Redis, and is told of outages.
//!
//! What is checked: as long as its own Redis was not away, an ear hears each message of its
//! channel's history once and in order, whatever becomes of the others; after an outage of which it
//! was told nothing comes twice or out of order but what was stored.

use std::collections::BTreeSet;

use super::super::server::world::{BrowserId, Heard};
use super::Game;

/// Somebody who hears.
#[derive(Debug)]
pub(super) struct Ear {
    browser: BrowserId,
    name: &'static str,
    /// The place in the log behind which it stands, once that is known.
    next: Option<usize>,
    /// How long the log was when it was told of an outage: of what is before, it may lack some.
    told: usize,
    /// What it has heard.
    texts: BTreeSet<String>,
}

impl Game<'_, '_> {
    /// Somebody new comes.
    pub(super) fn come_by_url(&mut self) {
        let name = self.dice.pick(self.channels);
        let browser = self.world.knock(&format!("/ws/{name}?subscribe-broadcast&gaps"));
        self.say(|| format!("ear {} comes to {name}", self.ears.len()));
        let (next, told, texts) = (None, 0, BTreeSet::new());
        self.ears.push(Ear { browser, name, next, told, texts });
    }

    /// Somebody goes.
    pub(super) fn leave_by_url(&mut self) {
        if !self.ears.is_empty() {
            let gone = self.ears.swap_remove(self.dice.below(self.ears.len()));
            self.world.vanish(gone.browser);
        }
    }

    /// Compares what everybody hears with what they are to hear.
    pub(super) fn look_at_ears(&mut self) {
        for at in 0..self.ears.len() {
            for heard in self.world.heard(self.ears[at].browser) {
                self.say(|| format!("ear {at} hears {heard:?}"));
                let Heard::Text(text) = heard else { panic!("ear {at} hears {heard:?}") };
                self.look_at_ear(at, text);
            }
        }
        let world = &self.world;
        self.ears.retain(|ear| {
            let status = world.status(ear.browser);
            assert!(matches!(status, None | Some(101 | 503)), "{ear:?}: {status:?}");
            let is_open = world.browsers[ear.browser].closed_ms.is_none();
            assert!(status != Some(101) || is_open, "{ear:?} was closed");
            status != Some(503)
        });
    }

    fn look_at_ear(&mut self, at: usize, text: String) {
        let ear = &mut self.ears[at];
        if text.is_empty() {
            ear.told = self.logs[ear.name].len();
            return;
        }
        // Of what pages say the last is stored, and comes after an outage or to who is new.
        let is_stored = self.said_by_pages.contains(&text);
        let is_new = ear.texts.insert(text.clone());
        let place = self.logs[ear.name].place_of(&text);
        let Some(place) = place else {
            assert!(is_new || is_stored, "{ear:?} hears {text} twice");
            return;
        };
        let log = &self.logs[ear.name];
        let is_behind = ear.next.is_none_or(|next| place >= next)
            || place < ear.told && log.has_lost_all(&ear.texts, place);
        // It is no stored one that goes on where it stands, or is behind the last outage.
        let is_live = |next| next >= ear.told || place == next || place >= ear.told;
        let is_live = ear.next.is_some_and(is_live);
        if is_stored && !(is_new && is_behind && is_live) {
            return;
        }
        assert!(is_new && is_behind, "{ear:?} hears {text} again");
        let lacks = ear.next.is_some_and(|next| place > next.max(ear.told));
        assert!(!lacks, "{ear:?} hears {text} and lacks what is before it");
        ear.next = ear.next.max(Some(place + 1));
    }

    /// All is well, and a message was published: who hears that channel has it.
    pub(super) fn end_ears(&mut self, last: &'static str) {
        let all = self.logs[last].len();
        for ear in self.ears.iter().filter(|ear| ear.name == last) {
            assert_eq!(ear.next, Some(all), "{ear:?} lacks the last");
        }
        for ear in std::mem::take(&mut self.ears) {
            self.world.vanish(ear.browser);
        }
    }
}
