//! L1: where messages come from: `Redis`, or `Local` (in this process, the default).
//!
//! The rest of the code cannot tell which it has: it subscribes, publishes and fetches, and takes
//! [`BrokerEvent`]s. A broker knows channels by name, and conns by their links, which it gives back
//! and never looks at. Its rules:
//! * an answer carries its ask, once. When the broker goes down, what it has not answered is given
//!   back unanswered;
//! * asks of one kind are answered in the order in which they were made;
//! * the delivery of a conn's own publish names that conn in `except`, exactly once.
//!
//! A RESP client is a Redis client of the embedded broker: an application that publishes, or
//! somebody who looks around. `client` is about one of them, `store` about what they and the conns
//! have stored, `glob` about their patterns, `history` about channels whose last messages are kept.

pub(crate) mod client;
mod glob;
pub(crate) mod history;
mod local;
mod redis;
mod sentinel;
mod settings;
pub(crate) mod store;

use std::sync::Arc;

pub(crate) use local::Local;
pub(crate) use redis::{Redis, RedisDue};
pub use sentinel::Watch;
pub(crate) use sentinel::{SentinelErrand, SentinelNotice};
pub use settings::{BrokerKind, BrokerSettings, RedisAddress, RedisSettings, Sentinels, Uses};

use crate::link::{LinkId, Now};
use history::look::Look;
use history::reading::Reading;
pub use history::{HistoryRule, HistoryRules, HistorySize};

/// Whether the broker can be asked anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It answers.
    Up,
    /// The outcome of a dial is awaited.
    Dialing,
    /// The last dial failed; there will be another.
    Down,
}

/// What the broker has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum BrokerEvent<'a> {
    /// A message arrived.
    Delivery(Delivery<'a>),
    /// A message arrived from a RESP client, and the RESP clients have been told of it.
    Announced(Delivery<'a>),
    /// From now on the channel's messages arrive.
    Subscribed {
        /// Its name.
        channel: &'a [u8],
    },
    /// These channels are asked for once more, each by itself: what is stored is to be asked for
    /// behind that.
    AskedAgain {
        /// Their names.
        channels: Vec<Arc<str>>,
    },
    /// The broker will not let us hear the channel.
    Denied {
        /// Its name.
        channel: Arc<str>,
        /// Why, in the broker's words.
        reason: String,
    },
    /// An ask is answered.
    Answer {
        /// The ask.
        ask: Ask,
        /// What is stored, if anything is.
        payload: Option<&'a [u8]>,
    },
    /// An ask is answered with nothing of use: an error, or a value larger than allowed.
    NoAnswer {
        /// The ask.
        ask: Ask,
        /// What is wrong.
        reason: String,
    },
    /// What a conn had published when [`Broker::settle`] was called is answered.
    Settled {
        /// The conn.
        conn: LinkId,
    },
    /// It is known what became of a publish that was to be told of.
    Published {
        /// Whose it was.
        receipt: Receipt,
        /// What became of it.
        outcome: PublishOutcome,
    },
    /// A message was larger than allowed and has been skipped; [`Broker::skipped_channel`] tells of
    /// which channel.
    Skipped,
    /// The broker is up, and knows of no subscription and no fetch.
    Up,
    /// The link is of no more use; the owner closes it and says so with `lost`.
    Broken {
        /// What was wrong.
        reason: String,
    },
    /// The same, because the server is in no state to answer.
    Ill {
        /// In its words.
        reason: String,
    },
    /// The same, because the server is a replica now.
    Demoted {
        /// How that is known.
        reason: String,
    },
    /// Something to be counted or said.
    Notice(Notice),
    /// Nothing that concerns the owner.
    Quiet,
}

/// What whoever runs the server wants to know about the broker.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// A publish, the storing of its message, or an unsubscription is not allowed.
    Refused {
        /// Why, in the broker's words.
        reason: String,
    },
    /// A message was not published.
    Unpublished {
        /// Why, in the broker's words.
        reason: String,
    },
    /// A message was published and not stored.
    Unstored {
        /// Why, in the broker's words.
        reason: String,
    },
    /// A message was published and is not in its channel's history.
    Unrecorded {
        /// Why, in the broker's words.
        reason: String,
    },
    /// The server answers, after it was in no state to.
    Well,
    /// It stores messages, after it did not.
    Stores,
    /// It records messages, after it did not.
    Records,
    /// What browsers publish goes to a replica.
    Replica,
    /// It does so no more: that has become a master.
    Master,
    /// What shows that messages pass may not be published.
    CanaryDenied,
    /// So many messages waited too long for a link.
    GivenUp(u64),
}

/// Who asked for something that is stored. The broker gives it back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The fetch of that number, for a channel's stored message.
    Stored(u64),
    /// A conn, for the session of who asks.
    Session(LinkId),
    /// The question of that number, for where a channel's history ends.
    Place(u64),
    /// What came into a channel's history since a place, beside the fetch of that number.
    Missed(u64),
    /// The question of that number, about a channel that is heard with positions.
    Topic(u64),
}

/// Who is to be told what becomes of a publish. The broker gives it back, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The conn that publishes.
    pub conn: LinkId,
    /// Which of its publishes that is.
    pub number: u64,
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The broker has taken it.
    Accepted,
    /// The broker does not let us publish there.
    Denied,
    /// The broker could not: it is full, or a replica that must not, or in no state to.
    Failed,
    /// The link was lost before the broker answered, or did not come back in time.
    Dropped,
}

/// One message arriving for one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The channel's name.
    pub channel: &'a [u8],
    /// The message, as it was published.
    pub payload: &'a [u8],
    /// The conn that published it and shall not have it back.
    pub except: Option<LinkId>,
}

/// Why a message was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The broker cannot be reached.
    Down,
    /// Too many bytes wait for it already.
    Full,
}

/// One of the brokers.
#[derive(Debug)]
pub enum Broker {
    /// In this process.
    Local(Box<Local>),
    /// A Redis server.
    Redis(Box<Redis>),
}

impl Broker {
    /// The broker of these settings; `seed` is for the jitter of its dialing.
    pub fn new(settings: BrokerSettings, uses: Uses, seed: u64) -> Self {
        match settings.kind {
            BrokerKind::Local { store_limit } => {
                let local = Local::new(settings.expire_s, store_limit).with_epoch(seed as u32);
                Broker::Local(Box::new(local))
            }
            BrokerKind::Redis(redis) => {
                let expire_s = settings.expire_s;
                Broker::Redis(Box::new(Redis::new(redis, expire_s, uses, seed)))
            }
        }
    }

    /// Has the last messages of channels kept that these rules fit; all of them may take so many
    /// bytes in this process.
    pub fn keep_histories(&mut self, rules: HistoryRules, limit: usize) {
        match self {
            _ if rules.is_empty() => {}
            Broker::Local(local) => local.keep_histories(rules, limit),
            Broker::Redis(redis) => redis.keep_histories(rules),
        }
    }

    /// Whether it can be asked anything.
    pub fn status(&self) -> Status {
        match self {
            Broker::Local(_) => Status::Up,
            Broker::Redis(redis) => redis.status(),
        }
    }

    /// Asks for the messages of these channels. It must be up.
    pub fn subscribe(&mut self, channels: Vec<Arc<str>>, now_ms: u64) {
        match self {
            Broker::Local(local) => local.subscribe(channels),
            Broker::Redis(redis) => redis.subscribe(channels, now_ms),
        }
    }

    /// Asks for no more messages of the channel; `confirmed` is whether
    /// [`BrokerEvent::Subscribed`] came.
    pub fn unsubscribe(&mut self, channel: Arc<str>, confirmed: bool, now_ms: u64) {
        match self {
            Broker::Local(_) => {}
            Broker::Redis(redis) => redis.unsubscribe(channel, confirmed, now_ms),
        }
    }

    /// Asks for what is stored under a name. It must be up.
    pub fn ask(&mut self, ask: Ask, name: &str, now_ms: u64) {
        match self {
            Broker::Local(local) => local.ask(ask, name, now_ms),
            Broker::Redis(redis) => redis.ask(ask, name, now_ms),
        }
    }

    /// Asks what is in the history of a channel, which only a Redis may have to be asked. It must
    /// be up.
    pub(crate) fn read(&mut self, ask: Ask, channel: &str, reading: Reading, now_ms: u64) {
        if let Broker::Redis(redis) = self {
            redis.read(ask, channel, reading, now_ms);
        }
    }

    /// Looks at the history of a channel. It must be up.
    pub(crate) fn look(&mut self, ask: Ask, channel: &str, look: Look, limit: usize, now: Now) {
        match self {
            Broker::Local(local) => local.look(ask, channel, look, limit, now),
            Broker::Redis(redis) => redis.look(ask, channel, look, now.mono_ms),
        }
    }

    /// Whether it is to be asked for more stored messages now.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Broker::Local(_) => true,
            Broker::Redis(redis) => redis.has_room(),
        }
    }

    /// Publishes a message and stores it; `except` shall not have it back, and what becomes of it
    /// is said for the receipt, unless this fails.
    pub fn publish(
        &mut self,
        channel: &str,
        payload: &[u8],
        except: Option<LinkId>,
        receipt: Option<Receipt>,
        now: Now,
    ) -> Result<(), PublishError> {
        match self {
            Broker::Local(local) => {
                local.publish(channel, payload, except, now);
                receipt.into_iter().for_each(|receipt| local.accepted(receipt));
                Ok(())
            }
            Broker::Redis(redis) => redis.publish(channel, payload, (except, receipt), now.mono_ms),
        }
    }

    /// Takes what arrived from the front of `input` until there is something to say; `None` when
    /// all is taken. Call it until then, with an empty input as well.
    #[inline]
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        now_ms: u64,
    ) -> Option<BrokerEvent<'a>> {
        match self {
            Broker::Local(local) => local.next(),
            Broker::Redis(redis) => redis.next(input, now_ms),
        }
    }

    /// The Redis, if that is what it is: for the link, which only Redis has.
    pub fn redis(&mut self) -> Option<&mut Redis> {
        match self {
            Broker::Local(_) => None,
            Broker::Redis(redis) => Some(redis),
        }
    }

    /// The same, to be looked at.
    pub(crate) fn peek_redis(&self) -> Option<&Redis> {
        match self {
            Broker::Local(_) => None,
            Broker::Redis(redis) => Some(redis),
        }
    }

    /// The embedded broker, if that is what it is: for RESP clients, which only that one has.
    pub fn local(&mut self) -> Option<&mut Local> {
        match self {
            Broker::Local(local) => Some(local),
            Broker::Redis(_) => None,
        }
    }

    /// Asks to be told when all that was asked so far is answered; false when it is.
    pub fn settle(&mut self, conn: LinkId) -> bool {
        match self {
            Broker::Local(_) => false,
            Broker::Redis(redis) => redis.settle(conn),
        }
    }

    /// Whether there is something to say that nothing more need arrive for.
    pub fn has_more(&self) -> bool {
        match self {
            Broker::Local(local) => local.has_more(),
            Broker::Redis(redis) => redis.has_more(),
        }
    }

    /// The commands that wait to be sent.
    pub fn unsent(&self) -> &[u8] {
        match self {
            Broker::Local(_) => &[],
            Broker::Redis(redis) => redis.unsent(),
        }
    }

    /// The first `n` bytes of those are sent; true when that was all.
    pub fn advance(&mut self, n: usize) -> bool {
        if let Broker::Redis(redis) = self {
            redis.advance(n);
        }
        self.unsent().is_empty()
    }

    /// Whether bytes were kept that a turn had no time for.
    pub fn has_kept(&self) -> bool {
        match self {
            Broker::Local(_) => false,
            Broker::Redis(redis) => redis.has_kept(),
        }
    }

    /// The channel of the message that was skipped last, if it is known.
    pub fn skipped_channel(&self) -> Option<&str> {
        match self {
            Broker::Local(_) => None,
            Broker::Redis(redis) => redis.skipped_channel(),
        }
    }

    /// Stored messages that were given up because the store was full.
    pub fn evicted(&self) -> u64 {
        match self {
            Broker::Local(local) => local.evicted(),
            Broker::Redis(_) => 0,
        }
    }

    /// Messages of histories that were given up because there was no room for more.
    pub fn history_evicted(&self) -> u64 {
        match self {
            Broker::Local(local) => local.history_evicted(),
            Broker::Redis(_) => 0,
        }
    }
}
