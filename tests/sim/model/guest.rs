//! One browser as the model sees it: what it has asked for and said, and what is to come of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::ask::{Ask, Bad};
use super::super::people::{Grant, Identity};
use super::hear::Expected;

/// What a browser has said, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Its request.
    Head,
    /// A message.
    Message(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A heartbeat.
    Heartbeat,
    /// A close frame.
    Close(Option<u16>),
    /// A frame that breaks the protocol.
    Bad(Bad),
}

/// Where it is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its request is not whole.
    Head,
    /// Its session is looked up, or will be when Redis is back.
    LookingUp,
    /// The application is asked about it.
    Asking,
    /// It is known who it is, and Redis is being dialed.
    Waiting,
    /// It hears its channels, which are not all confirmed.
    Joining,
    Open,
    /// It has been sent its last bytes, or will be, or is gone.
    Closing,
}

/// How a conn is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With a refusal of that status, or a 101 and a close frame that says so.
    Status(u16),
    /// With a close frame.
    Code(Option<u16>),
    /// Without a word.
    Dropped,
}

/// A channel that it hears.
#[derive(Debug)]
pub struct Membership {
    pub channel: String,
    /// When it came.
    pub joined: u64,
    /// The number of the GET whose answer is for it.
    pub get: Option<u64>,
    pub answered: bool,
    /// It heard the channel when the broker came up, and waits for what was stored before.
    pub catches_up: bool,
    /// What had arrived and was stored last when the broker came up.
    pub known: [Option<Vec<u8>>; 3],
    /// What has arrived and waits for that.
    pub held: Vec<Held>,
    /// It did not wait for what is stored, and there is no answer yet.
    pub gave_up: bool,
    /// When the newest message that there was for it was published, or given up.
    pub newest: usize,
}

impl Membership {
    /// Whether what arrives is held until it is known what is stored.
    pub fn waits(&self) -> bool {
        !self.answered || self.catches_up
    }
}

/// A message that it is to hear behind the stored one.
#[derive(Clone, Debug)]
pub struct Held {
    pub payload: Vec<u8>,
    pub own: bool,
    /// It is its own, and came back.
    pub back: bool,
    pub published: Option<usize>,
    pub at_ms: u64,
    /// What had happened when it arrived.
    pub event: u64,
}

/// One browser.
#[derive(Debug)]
pub struct Guest {
    pub ask: Ask,
    /// The place of its link among all links, which is the order of some things.
    pub place: u32,
    /// It came when all conns were taken.
    pub surplus: bool,
    pub life: Life,
    /// How it is to be closed by what the server is told just now.
    pub due: Option<End>,
    /// What it says, and after how many bytes that is said.
    pub script: VecDeque<(usize, Mark)>,
    /// Bytes that the server was told of.
    pub told: usize,
    /// When it came, when the server last heard of it, and when the application was asked.
    pub came_ms: u64,
    pub heard_ms: u64,
    pub asking_ms: u64,
    /// What had happened when Redis was to be asked for its session, also if it has left since.
    pub looks_up: Option<u64>,
    /// When it said what ends it, or was told of its end.
    pub closes_ms: Option<u64>,
    /// The time of day at which its token expires, and at which it may stay no longer.
    pub expires_unix_ms: Option<u64>,
    pub expires_ms: Option<u64>,
    pub identity: Identity,
    pub grant: Grant,
    pub memberships: Vec<Membership>,
    /// Channels that are to be confirmed before it opens.
    pub awaits: BTreeSet<String>,
    /// Channels that it heard before an outage and does not hear again.
    pub missing: BTreeSet<String>,
    /// Who was disconnected while the application was asked about this one.
    pub revoked: BTreeSet<String>,
    /// The application was of no use for it, and there may be no verdict.
    pub trouble: bool,
    /// Redis has been asked for its session.
    pub looked_up: bool,
    /// The application is asked about it once more.
    pub asked_again: bool,
    /// The application was to be asked about it.
    pub asks: bool,
    /// What its 101 says of that was looked at.
    pub granted: bool,
    /// It was open at some time.
    pub opened: bool,
    /// It has said what ends it, and is to be closed with that.
    pub ended: Option<Option<u16>>,
    /// How many messages Redis has yet to store until it has stored this one's.
    pub unstored: usize,
    /// What ends it is a close frame.
    pub polite: bool,
    /// It was open when the server ended, and is heard until its close frame.
    pub goodbye: bool,
    /// It has been sent what ends it.
    pub answered: bool,
    /// It has ended its side, and gets until then what waits for it.
    pub reads_until_ms: Option<u64>,
    /// It says nothing more.
    pub silent: bool,
    /// Some of what waited for it was given up.
    pub cut_short: bool,
    /// Since when it may have been slow, unless it has read all since.
    pub stalled_ms: Option<u64>,
    /// Bytes that what answers its pings and heartbeats may take, since it has read all.
    pub replies: usize,
    /// It does not see to it that it stays.
    pub excused: bool,
    /// It skips to the latest when it is slow.
    pub skips: bool,
    pub expected: VecDeque<Expected>,
    pub heard: VecDeque<(bool, Vec<u8>)>,
    pub pongs: VecDeque<Vec<u8>>,
    pub beats: usize,
    /// What it published and is not to hear: how often it was to be sent, and came back.
    pub own: BTreeMap<Vec<u8>, (usize, usize)>,
}

impl Guest {
    /// Whether that is how it is closed for what it is to say next: what is wrong may show before
    /// the frame is whole.
    pub fn is_fault(&self, end: &End) -> bool {
        let next = self.script.front().map(|(_, mark)| mark);
        matches!((next, end), (Some(Mark::Bad(bad)), End::Code(code)) if Some(bad.code) == *code)
    }

    pub fn new(ask: Ask, place: u32, surplus: bool, now_ms: u64) -> Self {
        Guest {
            ask,
            place,
            surplus,
            life: Life::Head,
            due: None,
            script: VecDeque::new(),
            told: 0,
            came_ms: now_ms,
            heard_ms: now_ms,
            asking_ms: 0,
            looks_up: None,
            closes_ms: None,
            expires_unix_ms: None,
            expires_ms: None,
            identity: Identity::default(),
            grant: Grant::default(),
            memberships: Vec::new(),
            awaits: BTreeSet::new(),
            missing: BTreeSet::new(),
            revoked: BTreeSet::new(),
            trouble: false,
            looked_up: false,
            asked_again: false,
            asks: false,
            granted: false,
            opened: false,
            ended: None,
            unstored: 0,
            polite: false,
            goodbye: false,
            answered: false,
            reads_until_ms: None,
            silent: false,
            cut_short: false,
            stalled_ms: None,
            replies: 0,
            excused: false,
            skips: false,
            expected: VecDeque::new(),
            heard: VecDeque::new(),
            pongs: VecDeque::new(),
            beats: 0,
            own: BTreeMap::new(),
        }
    }

    /// Whether it hears its channels.
    pub fn is_member(&self) -> bool {
        matches!(self.life, Life::Joining | Life::Open)
    }

    /// Whether it has no 101 yet, and nothing instead.
    pub fn is_pending(&self) -> bool {
        !matches!(self.life, Life::Open | Life::Closing)
    }

    /// Whether it waits for Redis.
    pub fn waits_for_redis(&self) -> bool {
        matches!(self.life, Life::LookingUp | Life::Waiting | Life::Joining)
    }

    /// The place of a channel among those that it hears.
    pub fn place_of(&self, channel: &str) -> Option<usize> {
        self.memberships.iter().position(|membership| membership.channel == channel)
    }

    /// What is stored on a channel is asked for, by the GET of that number: if it waits for one, it
    /// is for this. Returns when it came, if so.
    pub fn waits_for(&mut self, channel: &str, number: u64) -> u64 {
        let (mut before, mut joined) = (Some(0), u64::MAX);
        for membership in &mut self.memberships {
            let next = membership.channel == channel && membership.get.is_none();
            if next && before.is_some_and(|before| before < number) {
                (membership.get, joined) = (Some(number), membership.joined);
            }
            before = membership.get;
        }
        joined
    }

    /// The same was asked for by `earlier` GETs just before: if it waits for one of those and has
    /// come after `joined`, it waits for this one instead.
    pub fn shares(&mut self, channel: &str, number: u64, joined: u64, earlier: &[u64]) {
        let waits = |one: &Membership| {
            let get = one.get.filter(|_| !one.answered);
            one.channel == channel && get.is_some_and(|get| earlier.contains(&get))
        };
        let Some(at) = self.memberships.iter().position(waits) else { return };
        if self.memberships[at].joined > joined {
            self.memberships[at].get = Some(number);
            for later in &mut self.memberships[at + 1..] {
                later.get = later.get.filter(|get| later.answered || *get > number);
            }
        }
    }

    /// Whether its messages go nowhere but to it: it publishes to the channel, hears it, and wants
    /// no echo.
    pub fn withholds(&self, channel: &str) -> bool {
        !self.ask.echo && self.grant.subscribe.iter().any(|name| name == channel)
    }
}
