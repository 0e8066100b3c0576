//! L1: one sentinel at the end of one link.
//!
//! It knows when to dial, to greet, to ask and to give up, and what is awaited. Its rules:
//! * a sentinel is asked for the address first and for the epoch behind it, in one write: during a
//!   failover the address is new as soon as the epoch is;
//! * what it announces is a reason to ask at once, and no more: an announcement has no epoch;
//! * every reply ends the oldest that is awaited, and one that does not fit ends the link.

use std::collections::VecDeque;

use super::View;
use crate::broker::Sentinels;
use crate::broker::redis::{greeting_refused, is_sentinel, unquoted};
use crate::link::{Backoff, LOOKUP_MS, LinkId, Target};
use crate::proto::resp::{self, Decoder, Item, Push, Reply, scalars};

/// How often each sentinel is asked.
const ASK_MS: u64 = 1_000;
/// Bytes of an answer that is looked into.
const INSIDE: usize = 16 << 10;
/// Bytes of a value that can matter.
const MAX_VALUE: usize = 4 << 10;
/// Longest name of a host (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 255;
const SWITCHED: &[u8] = b"+switch-master";

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Dial,
    GiveUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting {
        until_ms: u64,
    },
    LookingUp {
        since_ms: u64,
    },
    Dialing {
        since_ms: u64,
    },
    /// It is greeted, or asked for the first time.
    Greeting {
        since_ms: u64,
    },
    /// It is to be asked again at that time, or was asked then.
    Up {
        since_ms: u64,
        ask_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Hello,
    /// The confirmation of the subscription, which is a push.
    Subscription,
    Address,
    Epoch,
}

/// One sentinel.
#[derive(Debug)]
pub(super) struct Sentinel {
    target: Target,
    name: String,
    user: Option<String>,
    password: Option<String>,
    timeout_ms: u64,
    link: Option<LinkId>,
    state: State,
    backoff: Backoff,
    decoder: Decoder,
    awaited: VecDeque<Awaited>,
    out: Vec<u8>,
    sent: usize,
    /// What arrived of an answer that is looked into.
    inside: Vec<u8>,
    /// The address that was said last, whose epoch is awaited.
    said: Option<(String, u16)>,
    view: Option<View>,
    /// Why it is of no use.
    trouble: Option<String>,
}

impl Sentinel {
    pub(super) fn new(of: &Sentinels, target: Target, timeout_ms: u64, seed: u64) -> Sentinel {
        Sentinel {
            target,
            name: of.name.clone(),
            user: of.user.clone(),
            password: of.password.clone(),
            timeout_ms,
            link: None,
            state: State::Resting { until_ms: 0 },
            backoff: Backoff::new(seed),
            decoder: Decoder::new(MAX_VALUE),
            awaited: VecDeque::new(),
            out: Vec::new(),
            sent: 0,
            inside: Vec::new(),
            said: None,
            view: None,
            trouble: None,
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn link(&self) -> Option<LinkId> {
        self.link
    }

    /// What it says, as long as there is a link to it.
    pub(super) fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// What to say of it when it is given up.
    pub(super) fn late(&self) -> &'static str {
        match self.state {
            State::Dialing { .. } => self.target.late_dial(),
            _ => "it did not answer in time",
        }
    }

    /// Whether it was tried and is of no use.
    pub(super) fn is_useless(&self) -> bool {
        self.trouble.is_some()
    }

    pub(super) fn tick(&mut self, now_ms: u64) -> Option<Due> {
        if now_ms < self.deadline_ms() {
            return None;
        }
        match self.state {
            State::Resting { .. } => {
                self.state = State::Dialing { since_ms: now_ms };
                Some(Due::Dial)
            }
            State::Up { since_ms, .. } if self.awaited.is_empty() => {
                self.state = State::Up { since_ms, ask_ms: now_ms };
                self.ask();
                None
            }
            _ => Some(Due::GiveUp),
        }
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        match self.state {
            State::Resting { until_ms } => until_ms,
            State::LookingUp { since_ms } => since_ms + LOOKUP_MS,
            State::Dialing { since_ms } | State::Greeting { since_ms } => {
                since_ms + self.timeout_ms
            }
            State::Up { ask_ms, .. } if self.awaited.is_empty() => ask_ms,
            State::Up { ask_ms, .. } => ask_ms + self.timeout_ms,
        }
    }

    pub(super) fn on_lookup(&mut self, begins: bool, now_ms: u64) {
        if matches!(self.state, State::LookingUp { .. } | State::Dialing { .. }) {
            self.state = match begins {
                true => State::LookingUp { since_ms: now_ms },
                false => State::Dialing { since_ms: now_ms },
            };
        }
    }

    /// It is being dialed by that link; false if that is not wanted any more.
    pub(super) fn dialing(&mut self, link: LinkId) -> bool {
        let wanted = matches!(self.state, State::Dialing { .. } | State::LookingUp { .. });
        self.link = Some(link).filter(|_| wanted);
        wanted
    }

    pub(super) fn connected(&mut self, now_ms: u64) {
        self.state = State::Greeting { since_ms: now_ms };
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
        if let Some(password) = &self.password {
            let user = self.user.as_deref().unwrap_or("default");
            hello.extend([&b"AUTH"[..], user.as_bytes(), password.as_bytes()]);
        }
        hello.extend([&b"SETNAME"[..], b"wsloop"]);
        resp::command(&mut self.out, &hello);
        resp::command(&mut self.out, &[b"SUBSCRIBE", SWITCHED]);
        self.awaited.extend([Awaited::Hello, Awaited::Subscription]);
        self.ask();
    }

    /// Has it asked as soon as it may be.
    pub(super) fn ask_soon(&mut self, now_ms: u64) {
        if let State::Up { ask_ms, .. } = &mut self.state
            && self.awaited.is_empty()
        {
            *ask_ms = now_ms;
        }
    }

    fn ask(&mut self) {
        let name = self.name.as_bytes();
        resp::command(&mut self.out, &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name]);
        resp::command(&mut self.out, &[b"SENTINEL", b"MASTER", name]);
        self.awaited.extend([Awaited::Address, Awaited::Epoch]);
    }

    /// Takes what arrived: whether a Redis of that name was switched, or why the link is of no
    /// use.
    pub(super) fn received(&mut self, bytes: &[u8], now_ms: u64) -> Result<bool, String> {
        if self.link.is_none() {
            return Ok(false);
        }
        let (mut input, mut switched) = (bytes, false);
        loop {
            let before = input;
            let item = self.decoder.next(&mut input).map_err(|error| error.to_string());
            let taken = &before[..before.len() - input.len()];
            let room = (INSIDE - self.inside.len()).min(taken.len());
            self.inside.extend_from_slice(&taken[..room]);
            match item? {
                None => return Ok(switched),
                Some(Item::Push(Push::Message { channel: SWITCHED, payload, .. })) => {
                    let name = payload.split(|byte| *byte == b' ').next();
                    switched |= name == Some(self.name.as_bytes());
                }
                Some(Item::Push(Push::Subscribed { .. })) => {
                    match self.awaited.pop_front() {
                        Some(Awaited::Subscription) => {}
                        _ => return Err("it confirms what was not asked for".to_owned()),
                    };
                }
                Some(Item::Push(_)) => {}
                Some(Item::Reply(reply)) => {
                    let inside = std::mem::take(&mut self.inside);
                    let awaited = self.awaited.pop_front();
                    let read = Read::of(awaited, reply, &inside, &self.name)?;
                    self.on_read(read, now_ms);
                }
            }
            self.inside.clear();
        }
    }

    fn on_read(&mut self, read: Read, now_ms: u64) {
        match read {
            Read::Nothing => {}
            Read::Address(host, port) => self.said = Some((host, port)),
            Read::Epoch(epoch) => {
                let since_ms = match self.state {
                    State::Up { since_ms, .. } => since_ms,
                    _ => now_ms,
                };
                self.state = State::Up { since_ms, ask_ms: now_ms + ASK_MS };
                self.trouble = None;
                self.view = self.said.take().map(|(host, port)| View { epoch, host, port });
            }
        }
    }

    /// The link is gone, or could not be made; whether that is news.
    pub(super) fn lost(&mut self, reason: &str, now_ms: u64) -> bool {
        let up_ms = match self.state {
            State::Up { since_ms, .. } => Some(now_ms.saturating_sub(since_ms)),
            _ => None,
        };
        self.state = State::Resting { until_ms: now_ms + self.backoff.pause_ms(up_ms) };
        self.decoder = Decoder::new(MAX_VALUE);
        (self.link, self.view, self.said, self.sent) = (None, None, None, 0);
        (self.out, self.inside) = (Vec::new(), Vec::new());
        self.awaited.clear();
        let reason = Some(reason.to_owned());
        let is_news = self.trouble != reason;
        self.trouble = reason;
        is_news
    }

    pub(super) fn unsent(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    pub(super) fn advance(&mut self, n: usize) -> bool {
        self.sent += n;
        assert!(self.sent <= self.out.len(), "more bytes were sent than waited");
        let all = self.sent == self.out.len();
        if all {
            self.out.clear();
            self.sent = 0;
        }
        all
    }
}

/// What a reply says.
enum Read {
    Nothing,
    Address(String, u16),
    Epoch(u64),
}

impl Read {
    fn of(
        awaited: Option<Awaited>,
        reply: Reply<'_>,
        inside: &[u8],
        name: &str,
    ) -> Result<Read, String> {
        match (awaited, reply) {
            (Some(Awaited::Hello), Reply::Error(reason)) => Err(refused(&unquoted(reason))),
            (Some(Awaited::Hello), Reply::Aggregate) if is_sentinel(inside) => Ok(Read::Nothing),
            (Some(Awaited::Hello), Reply::Aggregate) => Err(NO_SENTINEL.to_owned()),
            // Whoever may not hear it is asked all the same.
            (Some(Awaited::Subscription), Reply::Error(_)) => Ok(Read::Nothing),
            (Some(Awaited::Address), Reply::Null) => Err(unknown(name)),
            (Some(Awaited::Address), Reply::Aggregate) => {
                address(inside).ok_or_else(|| "it gives an address that is none".to_owned())
            }
            (Some(Awaited::Epoch), Reply::Aggregate) => {
                epoch(inside).ok_or_else(|| "it says no epoch of its configuration".to_owned())
            }
            (Some(_), Reply::Error(reason)) if reason.contains("No such master") => {
                Err(unknown(name))
            }
            (Some(_), Reply::Error(reason)) => {
                Err(format!("it refuses to say where Redis is: {}", unquoted(reason)))
            }
            _ => Err("it answers something else than was asked".to_owned()),
        }
    }
}

const NO_SENTINEL: &str = "it is no Sentinel but a Redis; give it as redis://, or name sentinels, \
    which mostly listen at port 26379";

/// The password of the sentinels is apart from that of Redis, which is in the URL.
fn refused(reason: &str) -> String {
    match reason.split(' ').next() {
        Some("NOAUTH") => {
            "it wants a password; give that of the sentinels with --redis-sentinel-password"
                .to_owned()
        }
        Some("WRONGPASS") => "it does not take the password; mend --redis-sentinel-user and \
                              --redis-sentinel-password"
            .to_owned(),
        _ => greeting_refused(reason),
    }
}

fn unknown(name: &str) -> String {
    format!("it watches no Redis of the name {name}; mend the name in --redis, behind the slash")
}

fn address(answer: &[u8]) -> Option<Read> {
    let mut words = scalars(answer);
    let host = std::str::from_utf8(words.next()?).ok()?;
    let port = std::str::from_utf8(words.next()?).ok()?.parse().ok().filter(|port| *port != 0)?;
    let is_host =
        (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic());
    is_host.then(|| Read::Address(host.to_owned(), port))
}

fn epoch(answer: &[u8]) -> Option<Read> {
    let mut words = scalars(answer);
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key == b"config-epoch" {
            return std::str::from_utf8(value).ok()?.parse().ok().map(Read::Epoch);
        }
    }
    None
}
