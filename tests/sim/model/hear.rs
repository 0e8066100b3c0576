//! What a browser is to hear, and whether that is what it has heard.

use std::collections::BTreeMap;

use super::super::super::world::{Browser, Heard};
use super::super::ask::{HEARTBEAT, Payload};
use super::guest::{Guest, Held, Life};
use super::{Model, TICK_MS};

/// What a small frame may take while it waits.
pub const FRAME_COST: usize = 80;
/// So much may wait on a channel for what is stored, whatever may wait for one browser, and what a
/// message takes there besides its bytes.
pub const HELD_AT_LEAST: usize = 64 << 10;
pub const HELD_COST: usize = 64;
/// Pings and heartbeats are no more frequent.
const SIGN_MS: u64 = 3_000;

/// A message that it is to hear, unless it is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    payload: Vec<u8>,
    own: bool,
    /// The place of its channel among those of the browser.
    channel: usize,
}

impl Model {
    /// Compares what a browser has heard with what it was to hear.
    pub fn check(&mut self, id: usize, browser: &mut Browser, idle: bool) {
        let shut_down = self.shut_down;
        let guest = &mut self.guests[id];
        let held = guest.ended.is_some() && !guest.answered;
        // Its socket is closed: without an answer because that came too late, or behind both close
        // frames, between which nothing was for it any more, though it may have been on its way.
        guest.excused |= guest.life == Life::Closing && browser.closed_ms.is_some();
        let stays = guest.opened && guest.life != Life::Closing;
        assert!(!(stays && browser.closed_ms.is_some()), "browser {id} is closed for nothing");
        if guest.opened && !std::mem::replace(&mut guest.granted, browser.response.is_some()) {
            guest.check_grant(browser);
        }
        if browser.heard.is_empty() && guest.expected.is_empty() && guest.pongs.is_empty() {
            return;
        }
        guest.listen(browser);
        let served = |until_ms| browser.closed_ms.is_some_and(|at_ms| at_ms < until_ms);
        let served = guest.reads_until_ms.is_some_and(served) && !shut_down;
        let reads = browser.appetite.is_none() && idle && !held;
        let closing = guest.life == Life::Closing;
        // A close has its time, also when the answer waits until what was said is stored.
        let closes_ms = guest.closes_ms.map(|at_ms| at_ms + self.setup.close_timeout_ms);
        let late = |at_ms| browser.closed_ms.is_some_and(|closed| closed + 2 * TICK_MS >= at_ms);
        let cut_short = guest.cut_short || closes_ms.is_some_and(late);
        let all = reads && guest.opened && !cut_short && (!closing || !guest.excused || served);
        let (now_ms, limit) = (self.now_ms, self.setup.outbox_limit);
        let slow = guest.stalled_ms.is_some_and(|at_ms| guest.most_waiting(now_ms - at_ms) > limit);
        if let Err(fault) = guest.compare(all, guest.skips && slow) {
            panic!("browser {id}: {fault}");
        }
        if all && guest.expected.is_empty() {
            (guest.stalled_ms, guest.replies) = (None, 0);
        }
    }
}

impl Guest {
    /// It is to hear a message on a channel, which was published then, unless it is its own.
    pub fn expect(&mut self, channel: usize, payload: &[u8], own: bool, published: Option<usize>) {
        self.expected.push_back(Expected { payload: payload.to_vec(), own, channel });
        let newest = &mut self.memberships[channel].newest;
        *newest = (*newest).max(published.unwrap_or_default());
    }

    /// A message has arrived for it on a channel.
    pub fn live(&mut self, channel: usize, held: Held) {
        let membership = &mut self.memberships[channel];
        match membership.waits() {
            true => membership.held.push(held),
            false => self.hear(channel, held),
        }
    }

    /// It waits no more for what is stored on a channel: it is to hear that, if it is anything, and
    /// what has arrived meanwhile, of which that may be one.
    pub fn go_on(&mut self, channel: usize, stored: Option<(&[u8], Option<usize>)>) {
        let membership = &mut self.memberships[channel];
        (membership.answered, membership.catches_up, membership.gave_up) = (true, false, false);
        let held = std::mem::take(&mut membership.held);
        if let Some((payload, published)) = stored
            && held.iter().all(|held| held.payload != payload)
        {
            self.expect(channel, payload, false, published);
        }
        for held in held {
            self.hear(channel, held);
        }
    }

    fn hear(&mut self, channel: usize, held: Held) {
        self.expect(channel, &held.payload, held.own, held.published);
        if held.back
            && let Some((_, back)) = self.own.get_mut(&held.payload)
        {
            *back += 1;
        }
    }

    /// What its 101 says that it was granted is what it was.
    fn check_grant(&self, browser: &Browser) {
        let Some(response) = &browser.response else { return };
        let mut options = self.grant.options.clone();
        options.extend(self.ask.echo.then(|| "echo".to_owned()));
        options.extend(self.ask.binary.then(|| "binary".to_owned()));
        options.extend(self.ask.gaps.then(|| "gaps".to_owned()));
        assert_eq!(response.header("X-Wsloop-Granted"), Some(&*options.join(",")));
    }

    /// Takes what the browser has heard.
    fn listen(&mut self, browser: &mut Browser) {
        for (_, heard) in browser.heard.drain(..) {
            match heard {
                // An event says that there was an outage, whatever messages come as.
                Heard::Text(text) if text.is_empty() && self.ask.stream => {
                    self.heard.push_back((self.ask.binary, Vec::new()));
                }
                Heard::Text(text) if text.as_bytes() == HEARTBEAT => {
                    self.beats = self.beats.saturating_sub(1);
                }
                Heard::Text(text) => self.heard.push_back((false, text.into_bytes())),
                Heard::Binary(bytes) => self.heard.push_back((true, bytes)),
                Heard::Pong(payload) => {
                    assert_eq!(self.pongs.pop_front(), Some(payload), "a pong answers a ping");
                }
                Heard::Ping(_) | Heard::Close(..) => {}
            }
        }
    }

    /// The most that may have waited for it since it has read all, if it was slow for so long.
    fn most_waiting(&self, slow_ms: u64) -> usize {
        // In base64 they are longer by a third.
        let cost = |expected: &Expected| expected.payload.len() * 3 / 2 + FRAME_COST;
        let messages = self.expected.iter().map(cost);
        let signs = slow_ms / SIGN_MS * 2 + 4;
        messages.sum::<usize>() + self.replies + signs as usize * FRAME_COST
    }

    /// Compares; `all` is whether all that there was must have been heard by now, and `skips`
    /// whether it may have skipped to the latest.
    fn compare(&mut self, all: bool, skips: bool) -> Result<(), String> {
        let mut missed: BTreeMap<&[u8], usize> = BTreeMap::new();
        let mut expected = self.expected.iter();
        for (binary, payload) in &self.heard {
            let as_binary = self.ask.binary || std::str::from_utf8(payload).is_err();
            if *binary != as_binary {
                return Err(self.fault("text and binary"));
            }
            loop {
                let Some(next) = expected.next() else {
                    return Err(self.fault("something that was not to be heard"));
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
        let sent = |payload: &[u8]| self.own.get(payload).map_or(0, |(sent, _)| *sent);
        if !skips && missed.iter().any(|(payload, missed)| *missed > sent(payload)) {
            return Err(self.fault("something is missing"));
        }
        if all {
            let missed = |payload: &[u8]| missed.get(payload).copied().unwrap_or_default();
            if self.own.iter().any(|(payload, (_, back))| missed(payload) < *back) {
                return Err(self.fault("its own came back"));
            }
            if !self.pongs.is_empty() || self.beats > 0 {
                return Err(self.fault("a ping or a heartbeat is not answered"));
            }
            if skips && let Some(latest) = self.missing_latest() {
                return Err(self.fault(&format!("the latest {latest} is missing")));
            }
        }
        if all && self.own.values().all(|(sent, back)| sent == back) {
            self.expected.clear();
            self.heard.clear();
            self.own.clear();
        }
        Ok(())
    }

    /// A message that was the last of its channel and was not heard, unless there may be another
    /// like it. What was published to several channels is heard for each of them.
    fn missing_latest(&self) -> Option<String> {
        // One of its own may have been taken for somebody else's like it, and be the latest.
        if self.own.keys().any(|own| !Payload::is_unique(own)) {
            return None;
        }
        let mut last: BTreeMap<usize, &[u8]> = BTreeMap::new();
        for expected in self.expected.iter().filter(|e| !e.own && !e.payload.is_empty()) {
            last.insert(expected.channel, &expected.payload);
        }
        let count = |payload: &[u8]| last.values().filter(|other| **other == payload).count();
        let heard =
            |payload: &[u8]| self.heard.iter().filter(|(_, other)| other == payload).count();
        let missing =
            |payload: &&&[u8]| Payload::is_unique(payload) && heard(payload) < count(payload);
        last.values().find(missing).map(|payload| payload.escape_ascii().to_string())
    }

    fn fault(&self, what: &str) -> String {
        let heard: Vec<_> = self.heard.iter().map(|(_, p)| p.escape_ascii().to_string()).collect();
        let expected = self.expected.iter().map(|expected| {
            (expected.payload.escape_ascii().to_string(), expected.own, expected.channel)
        });
        let expected: Vec<_> = expected.collect();
        let own = self.own.iter().map(|(own, counts)| (own.escape_ascii().to_string(), counts));
        let own: Vec<_> = own.collect();
        format!("{what}\n heard:    {heard:?}\n expected: {expected:?}\n own: {own:?}")
    }
}
