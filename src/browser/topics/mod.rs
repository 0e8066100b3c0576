//! L2: a conn that speaks `wsloop.1`: the facilities that it hears, and its commands under way.
//!
//! It knows who the conn is, what that one may do, and the limits; not who else hears a channel,
//! nor what a position means. Its rules:
//! * a command is answered once, with `ok`, `refused` or `dropped`; one that hears or says
//!   something when each of its channels has an answer;
//! * what is granted is what the conn's own URL form would be: the same rules, names and channels;
//! * a command under way has a number of its own here, so that an answer that comes late is never
//!   taken for that to a later command of the same number;
//! * everything that a client can make grow has a limit, of which `welcome` tells it.
//!
//! `commands` does what a client wants; `asking` is about applications that are asked about each
//! topic; `listed` about streams, whose URL names their topics.

mod asking;
mod commands;
mod listed;

pub(super) use listed::Listed;

use std::collections::BTreeMap;

use super::conn::Publication;
use super::context::Context;
use super::effect::Effect;
use super::settings::Settings;
use crate::access::channel::{self, Allow, Audience};
use crate::access::identity::{Identity, Refused};
use crate::broker::PublishOutcome;
use crate::link::LinkId;
use asking::Asked;
use listed::Listing;

/// What a header takes at most that has a payload behind it, with the longest facility.
const HEADER_BYTES: usize = 2 << 10;
/// What a command, or a facility that is heard, takes besides its names, about.
const ENTRY_BYTES: usize = 96;

/// Where the messages of a conn go that are for the broker.
#[derive(Debug)]
pub(crate) enum Publications {
    /// To these channels, which its URL has chosen.
    Fixed(Box<[Publication]>),
    /// Where each says.
    Topics(Box<Topics>),
}

impl Default for Publications {
    fn default() -> Self {
        Publications::Fixed(Box::default())
    }
}

impl Publications {
    /// The channels that every message goes to.
    #[inline]
    pub(crate) fn fixed(&self) -> &[Publication] {
        match self {
            Publications::Fixed(publications) => publications,
            Publications::Topics(_) => &[],
        }
    }

    /// The same, to be changed.
    pub(super) fn fixed_mut(&mut self) -> &mut [Publication] {
        match self {
            Publications::Fixed(publications) => publications,
            Publications::Topics(_) => &mut [],
        }
    }

    /// The topics that are heard.
    pub(super) fn subscriptions(&self) -> u64 {
        match self {
            Publications::Fixed(_) => 0,
            Publications::Topics(topics) => topics.heard.len() as u64,
        }
    }

    /// Bytes of memory that they take and that a client makes grow.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Publications::Fixed(_) => 0,
            Publications::Topics(topics) => topics.held_bytes(),
        }
    }
}

/// Why a channel is not heard that a conn was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unheard {
    /// The broker will not let us hear it.
    Denied,
    /// The broker is away.
    Unavailable,
}

/// What a conn has that speaks `wsloop.1`.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    identity: Identity,
    /// Names that the identity cannot have.
    refused: Vec<Refused>,
    /// What alone is allowed, if whoever knows the conn has said so.
    narrowed_by: Option<Allow>,
    heard: BTreeMap<Topic, Subscription>,
    /// Bytes of the names of all channels that it hears.
    names: usize,
    commands: BTreeMap<u64, UnderWay>,
    /// Commands that have ever been under way.
    begun: u64,
    /// What it says that is on its way to the broker.
    publishing: Option<Publishing>,
    /// What the application was asked about the conn, which it is asked about each topic too.
    question: Option<Box<[u8]>>,
    /// Channels that the application has let it publish to.
    spoken: BTreeMap<Topic, Vec<String>>,
    /// What a stream has whose URL names its topics.
    listing: Option<Box<Listing>>,
}

/// A facility, for one audience.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Topic {
    audience: Audience,
    facility: Box<str>,
}

#[derive(Debug)]
struct Subscription {
    /// Bytes of the names of its channels.
    names: usize,
    /// The command by which it is to be heard, while that is under way.
    command: Option<u64>,
    /// Its channels, where they are not those of the conn's own groups.
    channels: Option<Vec<String>>,
}

/// A command that is not answered.
#[derive(Debug)]
struct UnderWay {
    /// As the client has it.
    number: u64,
    /// Channels of which nothing is known yet.
    left: usize,
    wants: Wants,
}

#[derive(Debug)]
enum Wants {
    /// To hear that, of which a channel may have turned out not to be heard.
    Hear(Topic, Option<Unheard>),
    /// To say something, of which this is the worst that is known.
    Say(PublishOutcome),
    /// To do what the application is to be asked about first.
    Ask(Box<Asked>),
}

/// Something that a conn says on the channels of one topic.
#[derive(Debug)]
pub(crate) struct Publishing {
    /// The command's number here.
    pub command: u64,
    /// Where it goes.
    pub channels: Vec<String>,
    /// Where the payload begins in the message of the client.
    pub payload_at: usize,
}

/// Why a command is not done, as HTTP would say it.
#[derive(Clone, Debug)]
struct Unfit {
    status: u16,
    text: String,
}

impl Unfit {
    fn new(status: u16, text: impl Into<String>) -> Unfit {
        Unfit { status, text: text.into() }
    }
}

/// How a client is to call a channel of this prefix: its audience, with the name of a group behind
/// a colon, and its facility.
pub(crate) fn words_of(channel: &str, prefix: &str) -> (String, String) {
    match channel::whose(channel, prefix) {
        Some((Audience::Group, who, facility)) => (format!("group:{who}"), facility.to_owned()),
        Some((audience, _, facility)) => (audience.word().to_owned(), facility.to_owned()),
        None => (Audience::Broadcast.word().to_owned(), channel.to_owned()),
    }
}

/// How much worse than the best that is.
pub(super) fn badness(outcome: PublishOutcome) -> u8 {
    match outcome {
        PublishOutcome::Accepted => 0,
        PublishOutcome::Failed => 1,
        PublishOutcome::Denied => 2,
        PublishOutcome::Dropped => 3,
    }
}

/// Bytes of the largest payload that is published for such a conn.
fn largest_payload(settings: &Settings) -> usize {
    let most = settings.max_message_size;
    most - HEADER_BYTES.min(most / 2)
}

impl Topics {
    /// Those of somebody who hears nothing yet.
    pub(super) fn of(
        identity: Identity,
        refused: Vec<Refused>,
        narrowed_by: Option<Allow>,
    ) -> Box<Topics> {
        Box::new(Topics { identity, refused, narrowed_by, ..Topics::default() })
    }

    /// Bytes that it holds.
    fn held_bytes(&self) -> usize {
        let facilities: usize = self.heard.keys().map(|topic| topic.facility.len()).sum();
        let entries = self.heard.len() + self.commands.len();
        let question = self.question.as_ref().map_or(0, |question| question.len());
        let groups: usize = self.identity.groups.iter().map(String::len).sum();
        // What the application has granted is kept by its names, of which there may be no more.
        let kept = if self.question.is_some() { self.names } else { 0 };
        let names = facilities + groups + kept;
        let asked = self.asked_bytes() + self.listed_bytes();
        size_of::<Topics>() + entries * ENTRY_BYTES + names + question + asked
    }

    /// Begins a command that has so many channels; its own number.
    fn begin(&mut self, number: u64, left: usize, wants: Wants) -> u64 {
        self.begun += 1;
        self.commands.insert(self.begun, UnderWay { number, left, wants });
        self.begun
    }

    /// One channel of a command has its answer, which `note` takes down; the command when it was
    /// the last one.
    fn answered(&mut self, command: u64, note: impl FnOnce(&mut Wants)) -> Option<UnderWay> {
        let under_way = self.commands.get_mut(&command)?;
        note(&mut under_way.wants);
        under_way.left -= 1;
        (under_way.left == 0).then(|| self.commands.remove(&command)).flatten()
    }

    /// Hears a topic no more; the names of its channels are no more heard either.
    fn forget(&mut self, topic: &Topic, link: LinkId, cx: &mut Context) -> Option<Subscription> {
        let subscription = self.heard.remove(topic)?;
        self.names -= subscription.names;
        cx.metrics.subscriptions -= 1;
        let own = || {
            let asked = Allow::of(&[topic.audience], &[channel::Direction::Subscribe]).options();
            let (prefix, facility) = (&cx.settings.prefix, &topic.facility);
            channel::channels(prefix, facility, asked, asked, &self.identity).subscribe
        };
        let channels = subscription.channels.clone().unwrap_or_else(own);
        for channel in channels {
            cx.put(link, Effect::Unhear { number: subscription.command.unwrap_or(0), channel });
        }
        Some(subscription)
    }
}
