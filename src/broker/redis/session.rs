//! L1: what is awaited on one link to Redis.
//!
//! It knows the order of the protocol, and who is to have which answer. Its rules:
//! * every command has its entry among the awaited, in order. A reply ends the oldest; a
//!   confirmation push counts the oldest subscription down, a message push touches none. One entry
//!   too many or too few would hand one browser's answer to another, so a reply that does not fit
//!   the oldest entry ends the link;
//! * message pushes come anywhere between replies, a conn's own among them: before the reply to its
//!   PUBLISH or after it, but never after the reply to the command that follows.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::Lost;
use super::window::Window;
use crate::broker::{Ask, BrokerEvent, Delivery};
use crate::link::LinkId;
use crate::proto::resp::{self, Push, Reply};

/// What belongs to one link and goes with it.
#[derive(Debug)]
pub(super) struct Session {
    out: Vec<u8>,
    sent: usize,
    pub(super) awaited: VecDeque<Awaited>,
    /// The number of the oldest awaited command; the first on a link has 0.
    oldest: u64,
    /// Own publications whose push is not to reach the conn they came from.
    own: VecDeque<Own>,
    /// Conns that are to be told when so many commands are answered.
    settling: VecDeque<(u64, LinkId)>,
    /// Asks under way.
    pub(super) window: Window,
    /// Asks that wait until they may be made, and those that are to be made by GET.
    asks: VecDeque<(Ask, Box<str>)>,
    again: VecDeque<(Ask, Box<str>)>,
    /// GETRANGE is not to be had.
    plain: bool,
    /// The most bytes that are of use of a value.
    largest: usize,
    pub(super) heard_ms: u64,
    /// Since when an answer is due without a byte having arrived.
    pub(super) due_ms: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Greeting,
    /// Confirmations that are still to come; a `None` is not wanted any more.
    Subscribe(VecDeque<(Arc<str>, bool)>),
    Unsubscribe(Arc<str>),
    Publish,
    Set,
    Get(Get),
    Ping,
}

/// An ask that is under way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Get {
    ask: Ask,
    name: Box<str>,
    /// By GETRANGE, of which no more comes back than is of use.
    ranged: bool,
}

#[derive(Debug)]
struct Own {
    command: u64,
    hash: u64,
    conn: LinkId,
}

impl Session {
    /// A link on which nothing is awaited. Of a value at most `largest` bytes are of use, and
    /// `window` bytes of answers are to be expected at one time.
    pub(super) fn new(largest: usize, window: usize) -> Self {
        Session {
            out: Vec::new(),
            sent: 0,
            awaited: VecDeque::new(),
            oldest: 0,
            own: VecDeque::new(),
            settling: VecDeque::new(),
            window: Window::new(window, largest.saturating_add(1)),
            asks: VecDeque::new(),
            again: VecDeque::new(),
            plain: false,
            largest,
            heard_ms: 0,
            due_ms: 0,
        }
    }

    /// Whether one more ask would be made at once.
    pub(super) fn has_room(&self) -> bool {
        self.asks.is_empty() && self.again.is_empty() && self.window.has_room()
    }

    /// Makes an ask as soon as there is room for it.
    pub(super) fn ask(&mut self, ask: Ask, name: &str, now_ms: u64) {
        self.asks.push_back((ask, name.into()));
        self.make_asks(now_ms);
    }

    /// Makes the asks for which there is room. Those that are made again come first, and when all
    /// before them are answered, so that answers keep the order of the asks.
    pub(super) fn make_asks(&mut self, now_ms: u64) {
        while self.window.has_room() {
            let again = !self.again.is_empty();
            if again && !self.window.is_empty() && !self.plain_is_under_way() {
                return;
            }
            let next = if again { self.again.pop_front() } else { self.asks.pop_front() };
            let Some((ask, name)) = next else { return };
            let ranged = !again && !self.plain;
            let last = self.largest.to_string();
            match ranged {
                true => {
                    let get = [b"GETRANGE", name.as_bytes(), b"0", last.as_bytes()];
                    self.command(
                        &get,
                        Awaited::Get(Get { ask, name: name.clone(), ranged }),
                        now_ms,
                    )
                }
                false => {
                    let get = [b"GET", name.as_bytes()];
                    self.command(
                        &get,
                        Awaited::Get(Get { ask, name: name.clone(), ranged }),
                        now_ms,
                    )
                }
            }
            self.window.asked();
        }
    }

    /// Whether the asks under way are made by GET.
    fn plain_is_under_way(&self) -> bool {
        let mut gets = self.awaited.iter().filter_map(|awaited| match awaited {
            Awaited::Get(get) => Some(get.ranged),
            _ => None,
        });
        gets.all(|ranged| !ranged)
    }

    pub(super) fn command(&mut self, arguments: &[&[u8]], awaited: Awaited, now_ms: u64) {
        if self.awaited.is_empty() {
            self.due_ms = now_ms;
        }
        resp::command(&mut self.out, arguments);
        self.awaited.push_back(awaited);
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.sent += n;
        assert!(self.sent <= self.out.len(), "more bytes were sent than waited");
        if self.sent == self.out.len() {
            self.out.clear();
            self.out.shrink_to(64 << 10);
            self.sent = 0;
        } else if self.sent > self.out.len() / 2 && self.sent > 64 << 10 {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    pub(super) fn on_push<'a>(&mut self, push: Push<'a>) -> BrokerEvent<'a> {
        match push {
            Push::Message { channel, payload } => {
                let except = self.take_own(channel, payload);
                BrokerEvent::Delivery(Delivery { channel, payload, except })
            }
            Push::Subscribed { channel } => self.on_subscribed(channel),
            Push::Unsubscribed { channel } => match self.awaited.front() {
                Some(Awaited::Unsubscribe(name)) if name.as_bytes() == channel => {
                    self.finish();
                    BrokerEvent::Quiet
                }
                _ => misfit("a confirmation of an UNSUBSCRIBE that was not due"),
            },
            Push::TooLarge => BrokerEvent::Skipped,
            _ => BrokerEvent::Quiet,
        }
    }

    fn on_subscribed<'a>(&mut self, channel: &'a [u8]) -> BrokerEvent<'a> {
        let Some(Awaited::Subscribe(channels)) = self.awaited.front_mut() else {
            return misfit("a confirmation of a SUBSCRIBE that was not due");
        };
        match channels.pop_front() {
            Some((name, wanted)) if name.as_bytes() == channel => {
                if channels.is_empty() {
                    self.finish();
                }
                if wanted { BrokerEvent::Subscribed { channel } } else { BrokerEvent::Quiet }
            }
            _ => misfit("a confirmation of another channel than was due"),
        }
    }

    pub(super) fn on_reply<'a>(&mut self, reply: Reply<'a>) -> BrokerEvent<'a> {
        let Some(awaited) = self.awaited.pop_front() else {
            return misfit("a reply that nothing asked for");
        };
        self.finished();
        match (awaited, reply) {
            (awaited, Reply::Error(reason)) => self.on_error(awaited, reason),
            (Awaited::Greeting, Reply::Status(_) | Reply::Aggregate) => {
                match self.awaited.is_empty() {
                    true => BrokerEvent::Up,
                    false => BrokerEvent::Quiet,
                }
            }
            (Awaited::Get(get), Reply::Bulk(payload)) => self.on_value(get, Some(payload)),
            (Awaited::Get(get), Reply::Null) => self.on_value(get, None),
            (Awaited::Get(get), Reply::TooLarge) => self.on_large_value(get.ask),
            (Awaited::Publish, Reply::Integer(_))
            | (Awaited::Set, Reply::Status(_))
            | (Awaited::Ping, Reply::Status(_) | Reply::Bulk(_)) => BrokerEvent::Quiet,
            _ => misfit("a reply of another kind than was due"),
        }
    }

    fn on_error<'a>(&mut self, awaited: Awaited, reason: &str) -> BrokerEvent<'a> {
        // An unknown command is quoted with its arguments: a password, or what somebody wrote.
        let reason = reason.split(", with args beginning").next().unwrap_or(reason).to_string();
        match awaited {
            Awaited::Greeting => BrokerEvent::Broken { reason: greeting_refused(&reason) },
            Awaited::Subscribe(channels) if is_denial(&reason) => {
                self.on_subscribe_denied(channels, &reason)
            }
            // Whatever else it is says nothing about a channel: another dial may do better.
            Awaited::Subscribe(_) => BrokerEvent::Broken { reason },
            // It answers nothing of use yet, and will when it is dialed again.
            Awaited::Get(get) if is_condition(&reason) => {
                // It is given back as one that is not answered.
                self.awaited.push_front(Awaited::Get(get));
                BrokerEvent::Broken { reason }
            }
            Awaited::Get(get) => self.on_get_refused(get, reason),
            Awaited::Publish => {
                self.forget_own(self.oldest);
                BrokerEvent::Refused { reason }
            }
            Awaited::Set | Awaited::Unsubscribe(_) => BrokerEvent::Refused { reason },
            Awaited::Ping => BrokerEvent::Quiet,
        }
    }

    /// The value that was asked for; GETRANGE gives an empty one where there is none.
    fn on_value<'a>(&mut self, get: Get, value: Option<&'a [u8]>) -> BrokerEvent<'a> {
        if value.is_some_and(|value| value.len() > self.largest) {
            return self.on_large_value(get.ask);
        }
        self.window.answered(value.map_or(0, <[u8]>::len));
        let payload = value.filter(|value| !get.ranged || !value.is_empty());
        BrokerEvent::Answer { ask: get.ask, payload }
    }

    fn on_large_value<'a>(&mut self, ask: Ask) -> BrokerEvent<'a> {
        self.window.answered(self.largest);
        let reason = "the value is larger than a message may be".to_string();
        BrokerEvent::NoAnswer { ask, reason }
    }

    /// Who may not use GETRANGE, or has none, may have GET.
    fn on_get_refused<'a>(&mut self, get: Get, reason: String) -> BrokerEvent<'a> {
        self.window.answered(0);
        let unknown = reason.contains("unknown command");
        if get.ranged && (unknown || reason.starts_with("NOPERM")) {
            self.plain |= unknown || reason.contains("command");
            self.again.push_back((get.ask, get.name));
            return BrokerEvent::Quiet;
        }
        BrokerEvent::NoAnswer { ask: get.ask, reason }
    }

    /// One error denies the whole batch, so each of its channels is asked for by itself; but not
    /// one whose UNSUBSCRIBE is under way, for that would come first.
    fn on_subscribe_denied<'a>(
        &mut self,
        mut channels: VecDeque<(Arc<str>, bool)>,
        reason: &str,
    ) -> BrokerEvent<'a> {
        if channels.len() > 1 {
            let wanted = channels.into_iter().filter(|(_, wanted)| *wanted);
            let channels: Vec<Arc<str>> = wanted.map(|(channel, _)| channel).collect();
            for channel in &channels {
                let command = [b"SUBSCRIBE", channel.as_bytes()];
                resp::command(&mut self.out, &command);
                self.awaited.push_back(Awaited::Subscribe([(channel.clone(), true)].into()));
            }
            return BrokerEvent::AskedAgain { channels };
        }
        match channels.pop_front() {
            Some((channel, true)) => BrokerEvent::Denied { channel, reason: reason.to_string() },
            _ => BrokerEvent::Quiet,
        }
    }

    pub(super) fn unsent(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// What is awaited when the link is lost.
    pub(super) fn lost(self) -> Lost {
        let ask = |awaited| if let Awaited::Get(get) = awaited { Some(get.ask) } else { None };
        let made = self.awaited.into_iter().filter_map(ask);
        let waiting = self.again.into_iter().chain(self.asks).map(|(ask, _)| ask);
        Lost {
            asks: made.chain(waiting).collect(),
            settled: self.settling.into_iter().map(|(_, conn)| conn).collect(),
        }
    }

    /// Has a conn told when all that was asked so far is answered; false when it is.
    pub(super) fn settle(&mut self, conn: LinkId) -> bool {
        let asked = self.oldest + self.awaited.len() as u64;
        if !self.awaited.is_empty() {
            self.settling.push_back((asked, conn));
        }
        !self.awaited.is_empty()
    }

    /// A conn for which that is so.
    pub(super) fn next_settled(&mut self) -> Option<LinkId> {
        self.settling.front().filter(|(asked, _)| *asked <= self.oldest)?;
        self.settling.pop_front().map(|(_, conn)| conn)
    }

    /// Keeps the push of a message that is about to be published from the conn it came from.
    pub(super) fn withhold(&mut self, channel: &[u8], payload: &[u8], conn: LinkId) {
        let command = self.oldest + self.awaited.len() as u64;
        self.own.push_back(Own { command, hash: hash(channel, payload), conn });
    }

    /// Wants no confirmation of the channel any more that is under way.
    pub(super) fn unwant(&mut self, channel: &Arc<str>) {
        let subscribes = self.awaited.iter_mut().filter_map(|awaited| match awaited {
            Awaited::Subscribe(channels) => Some(channels),
            _ => None,
        });
        for (_, wanted) in subscribes.flatten().filter(|(name, _)| name == channel) {
            *wanted = false;
        }
    }

    /// The conn whose publication this push is, if it is one that is still looked for.
    fn take_own(&mut self, channel: &[u8], payload: &[u8]) -> Option<LinkId> {
        if self.own.is_empty() {
            return None;
        }
        let hash = hash(channel, payload);
        let at = self.own.iter().position(|own| own.hash == hash)?;
        self.own.remove(at).map(|own| own.conn)
    }

    fn finish(&mut self) {
        self.awaited.pop_front();
        self.finished();
    }

    /// The oldest command is answered. The push of a publication comes before the answer to the
    /// command after it or not at all, so by then nobody need look for it any more.
    fn finished(&mut self) {
        self.forget_own(self.oldest);
        self.oldest += 1;
    }

    /// Looks no more for the pushes of publications older than that command.
    fn forget_own(&mut self, command: u64) {
        while self.own.front().is_some_and(|own| own.command < command) {
            self.own.pop_front();
        }
    }
}

fn hash(channel: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(channel);
    hasher.write_u8(0);
    hasher.write(payload);
    hasher.finish()
}

fn misfit<'a>(what: &str) -> BrokerEvent<'a> {
    BrokerEvent::Broken { reason: what.to_string() }
}

/// Whether Redis refuses something to this user, now and later.
fn is_denial(reason: &str) -> bool {
    reason.starts_with("NOPERM")
}

/// Whether it is the server that is in no state to answer, and will be.
pub(crate) fn is_condition(reason: &str) -> bool {
    let conditions = ["LOADING", "BUSY ", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"];
    conditions.iter().any(|condition| reason.starts_with(condition))
}

fn greeting_refused(reason: &str) -> String {
    let mend = match reason.split(' ').next() {
        Some("NOAUTH") => "; give the password in the URL: redis://:PASSWORD@HOST",
        Some("WRONGPASS") => "; mend the user or the password in the URL",
        Some("NOPROTO") => "; wsloop needs RESP3, which Redis has from version 6.0 on",
        Some("ERR") if reason.contains("unknown command") => {
            "; wsloop needs RESP3, which Redis has from version 6.0 on"
        }
        _ => "",
    };
    format!("it refused the greeting: {reason}{mend}")
}
