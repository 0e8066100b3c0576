//! L1: what a session asks for that is stored, and what comes of it.

use super::errors::is_unknown;
use super::session::{Awaited, Get, Session};
use crate::broker::history::look::Look;
use crate::broker::history::reading::Reading;
use crate::broker::{Ask, BrokerEvent};

/// What an answer about a history has besides the entries.
pub(super) const READ_HEAD: usize = 128;

/// What is to be asked for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::broker) struct Wanted {
    ask: Ask,
    name: Box<str>,
    what: What,
    /// How often it was tried, of a node of a cluster.
    tries: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// The value of that name.
    Value,
    /// What is in the history of that channel.
    History(Reading),
    /// The same, with the place of each message, in pages of so many bytes.
    Places(Look, usize),
}

impl Wanted {
    pub(super) fn value(ask: Ask, name: Box<str>) -> Wanted {
        Wanted { ask, name, what: What::Value, tries: 0 }
    }

    pub(in crate::broker) fn ask(&self) -> Ask {
        self.ask
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn tries(&self) -> u8 {
        self.tries
    }

    pub(super) fn tried(self, tries: u8) -> Wanted {
        Wanted { tries, ..self }
    }
}

impl Session {
    /// Publishes what is to come back, and is stored nowhere.
    pub(super) fn canary(&mut self, channel: &str, payload: &[u8], now_ms: u64) {
        let command = [b"PUBLISH", channel.as_bytes(), payload];
        self.command(&command, Awaited::Canary, now_ms);
    }

    /// Whether one more ask would be made at once.
    pub(super) fn has_room(&self) -> bool {
        self.asks.is_empty() && self.again.is_empty() && self.window.has_room()
    }

    /// Makes an ask as soon as there is room for it.
    pub(super) fn ask(&mut self, ask: Ask, name: &str, now_ms: u64) {
        self.asks.push_back(Wanted::value(ask, name.into()));
        self.make_asks(now_ms);
    }

    /// The same of what is in the history of a channel.
    pub(super) fn read(&mut self, ask: Ask, channel: &str, reading: Reading, now_ms: u64) {
        self.asks.push_back(Wanted {
            what: What::History(reading),
            ..Wanted::value(ask, channel.into())
        });
        self.make_asks(now_ms);
    }

    /// The same, with the place of each message.
    pub(super) fn look(
        &mut self,
        ask: Ask,
        channel: &str,
        (look, page): (Look, usize),
        now_ms: u64,
    ) {
        let what = What::Places(look, page);
        self.asks.push_back(Wanted { what, ..Wanted::value(ask, channel.into()) });
        self.make_asks(now_ms);
    }

    /// Makes the asks for which there is room. Those that are made again come first, and when all
    /// before them are answered, so that answers keep the order of the asks.
    pub(super) fn make_asks(&mut self, now_ms: u64) {
        while self.window.has_room() && self.awaited.back() != Some(&Awaited::Reset) {
            let again = !self.again.is_empty();
            if again && !self.window.is_empty() && !self.plain_is_under_way() {
                return;
            }
            let next = match again {
                true => self.again.pop_front().map(|(ask, name)| Wanted::value(ask, name)),
                false => self.asks.pop_front(),
            };
            let Some(wanted) = next else { return };
            self.make(wanted, !again && !self.plain, now_ms);
        }
    }

    /// Makes an ask that another node of the cluster has said belongs here, or is about to.
    pub(super) fn ask_again(&mut self, wanted: Wanted, asking: bool, now_ms: u64) {
        if !asking {
            self.asks.push_back(wanted);
            return self.make_asks(now_ms);
        }
        self.command(&[b"ASKING"], Awaited::Asking, now_ms);
        self.make(wanted, !self.plain, now_ms);
    }

    fn make(&mut self, wanted: Wanted, ranged: bool, now_ms: u64) {
        let (ask, tries) = (wanted.ask, wanted.tries);
        let limit = self.largest(ask);
        self.window.asked();
        match wanted.what {
            What::Value => {
                let name = wanted.name;
                let last = limit.to_string();
                let ranged_get = [b"GETRANGE", name.as_bytes(), b"0", last.as_bytes()];
                let get = [b"GET", name.as_bytes()];
                let command: &[&[u8]] = if ranged { &ranged_get } else { &get };
                let awaited = Awaited::Get(Get { ask, name: name.clone(), ranged, tries });
                self.command(command, awaited, now_ms);
            }
            What::History(reading) => {
                reading.command(&mut self.out, &wanted.name, limit);
                self.awaits_read(wanted, now_ms);
            }
            What::Places(look, page) => {
                look.command(&mut self.out, &wanted.name, (page, limit));
                self.awaits_read(wanted, now_ms);
            }
        }
    }

    fn awaits_read(&mut self, wanted: Wanted, now_ms: u64) {
        let ask = wanted.ask;
        let wanted = self.cluster.is_some().then(|| Box::new(wanted));
        self.awaits(Awaited::Read(ask, wanted), now_ms);
    }

    /// The most bytes that are of use of what is asked for.
    fn largest(&self, ask: Ask) -> usize {
        match ask {
            Ask::Stored(_) | Ask::Topic(_) => self.uses.max_message,
            Ask::Session(_) => self.uses.max_session,
            Ask::Place(_) | Ask::Missed(_) => self.uses.max_message.max(self.uses.max_session),
        }
    }

    /// What is in a history.
    pub(super) fn on_read<'a>(&mut self, ask: Ask, text: &'a [u8]) -> BrokerEvent<'a> {
        self.window.answered(text.len());
        BrokerEvent::Answer { ask, payload: Some(text) }
    }

    pub(super) fn on_unread<'a>(&mut self, ask: Ask, reason: String) -> BrokerEvent<'a> {
        self.window.answered(0);
        BrokerEvent::NoAnswer { ask, reason }
    }

    /// Whether the asks under way are made by GET.
    fn plain_is_under_way(&self) -> bool {
        let mut gets = self.awaited.iter().filter_map(|awaited| match awaited {
            Awaited::Get(get) => Some(get.ranged),
            _ => None,
        });
        gets.all(|ranged| !ranged)
    }

    /// The value that was asked for; GETRANGE gives an empty one where there is none.
    pub(super) fn on_value<'a>(&mut self, get: Get, value: Option<&'a [u8]>) -> BrokerEvent<'a> {
        if value.is_some_and(|value| value.len() > self.largest(get.ask)) {
            return self.on_large_value(get.ask);
        }
        self.window.answered(value.map_or(0, <[u8]>::len));
        let payload = value.filter(|value| !get.ranged || !value.is_empty());
        BrokerEvent::Answer { ask: get.ask, payload }
    }

    pub(super) fn on_large_value<'a>(&mut self, ask: Ask) -> BrokerEvent<'a> {
        self.window.answered(self.largest(ask));
        let reason = match ask {
            Ask::Stored(_) | Ask::Place(_) | Ask::Missed(_) | Ask::Topic(_) => {
                "the value is larger than a message may be".to_string()
            }
            Ask::Session(_) => "it is larger than --max-session-size".to_string(),
        };
        BrokerEvent::NoAnswer { ask, reason }
    }

    /// Who may not use GETRANGE, or has none, may have GET.
    pub(super) fn on_get_refused<'a>(&mut self, get: Get, reason: String) -> BrokerEvent<'a> {
        self.window.answered(0);
        let unknown = is_unknown(&reason);
        if get.ranged && (unknown || reason.starts_with("NOPERM")) {
            self.plain |= unknown || reason.contains("command");
            self.again.push_back((get.ask, get.name));
            return BrokerEvent::Quiet;
        }
        BrokerEvent::NoAnswer { ask: get.ask, reason }
    }
}
