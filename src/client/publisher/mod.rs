//! L4: the publisher of a backend written in Rust: a small blocking client that needs a Redis URL
//! and knows the names of channels.
//!
//! ```
//! use wsloop::{Expire, Publisher};
//! # use std::io::{Read, Write};
//! # let redis = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let url = format!("redis://{}", redis.local_addr()?);
//! # let answers = [&b"+OK\r\n"[..], b":1\r\n+OK\r\n:0\r\n+OK\r\n", b"$-1\r\n$5\r\nhello\r\n"];
//! # let redis = std::thread::spawn(move || {
//! #     let (mut publisher, _) = redis.accept().unwrap();
//! #     let asked = answers.map(|answer| {
//! #         let n = publisher.read(&mut [0; 1024]).unwrap();
//! #         publisher.write_all(answer).unwrap();
//! #         n
//! #     });
//! #     assert!(asked.iter().all(|n| *n > 0));
//! # });
//!
//! # let url = url.as_str();
//! let mut publisher = Publisher::new(url)?.prefix("site");
//!
//! // Everybody at /ws/chat, and john wherever he is logged in.
//! let sent = publisher.to("chat").broadcast().users(["john"]).publish("hello", Expire::Default)?;
//! assert_eq!((sent.channels, sent.receivers), (2, 1));
//!
//! // What john would be sent first if he came now.
//! let stored = publisher.to("chat").broadcast().users(["john"]).fetch()?;
//! assert_eq!(stored.as_deref(), Some(&b"hello"[..]));
//! # redis.join().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Its rules:
//! - What may have been published is never published again behind the caller's back. A kept
//!   connection that turns out to be dead is replaced as long as nothing was sent on it; after that
//!   the error says that the message may have been published.
//! - Nothing waits for ever: connecting and logging in, and then each write with its answers, may
//!   take the [timeout](Publisher::timeout).
//! - Nobody's name can spell another's channel: see [`Error::Name`] and [`Error::Facility`].

mod commands;
mod error;
pub(crate) mod link;
mod node;
mod recipients;
mod secured;
mod sentinels;
mod shards;
pub(crate) mod stream;

use std::collections::BTreeMap;
use std::time::Duration;

pub use error::Error;
pub(crate) use recipients::Recipients;
pub use secured::RedisTls;

use crate::access::channel::Audience;
use crate::broker::history::script;
use crate::broker::spread::Spread;
use crate::broker::{HistoryRule, HistoryRules, RedisSettings};
use crate::config::redis;
use crate::net::ClientTls;
use crate::proto::resp::{self, Reply};
use crate::proto::ws::frame::{MAX_CONTROL, may_be_sent};
use commands::Commands;
use link::Fault;
use node::{Exchange, Node};

/// What is done with a message besides sending it to those who are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expire {
    /// It is stored for 3600 seconds, for those who come later: as long as the server stores what
    /// browsers publish unless it is told otherwise.
    #[default]
    Default,
    /// It is stored for so many seconds, at most 100 years; 0 stores nothing.
    Seconds(u64),
    /// It is not stored. What is stored already stays.
    Unstored,
}

/// What a publish did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Channels that the message was published to.
    pub channels: usize,
    /// Subscribers that Redis handed it to, all channels together. To Redis, each wsloop process
    /// is one, however many browsers it holds.
    pub receivers: u64,
}

/// Publishes to browsers through a Redis, or through the embedded broker of a wsloop.
///
/// It holds one connection to each Redis and each sentinel, which it makes when it is first needed
/// and makes again when it is gone. Threads share one behind a mutex, or have one each.
#[derive(Debug)]
pub struct Publisher {
    nodes: Vec<Node>,
    spread: Spread,
    prefix: String,
    histories: HistoryRules,
    timeout: Duration,
    /// How it is asked by TLS, once that is known.
    tls: Option<ClientTls>,
}

/// Default of [`Publisher::timeout`].
const TIMEOUT: Duration = Duration::from_secs(5);
/// What [`Expire::Default`] stands for.
const EXPIRE_S: u64 = 3600;
/// Bytes of commands that are sent before their answers are read: one write for a usual publish,
/// and a bound on the copies of a large message to many.
const BATCH_BYTES: usize = 256 << 10;
/// Channels in such a batch at most.
const BATCH_CHANNELS: usize = 512;
/// Stored messages that are asked for at once.
const FETCH_BATCH: usize = 64;
/// Longest reason, in bytes: what a close frame has room for besides its code.
const MAX_REASON_BYTES: usize = MAX_CONTROL - 2;

impl Publisher {
    /// A publisher through the Redis at `url`: `redis://[user:password@]host[:port][/db]`,
    /// `rediss://` for the same by TLS, `redis+unix://[user:password@]/path[?db=N]`, or
    /// `redis+sentinel://[user:password@]host[:port],host[:port]/NAME[/db]` for the master that
    /// these sentinels name, or `redis+cluster://[user:password@]host[:port],host[:port]` for the
    /// cluster of these nodes. It connects when it is first used.
    pub fn new(url: &str) -> Result<Publisher, Error> {
        Publisher::over(&[url])
    }

    /// A publisher over several Redis, 64 at most, in the order in which the server was given them
    /// with `--redis`. What is published goes to the Redis of its channel. When one fails, the
    /// others get what is for them, and then the error is returned.
    pub fn over(urls: &[&str]) -> Result<Publisher, Error> {
        let mut all = Vec::new();
        urls.iter().try_for_each(|url| redis::add(&mut all, url)).map_err(Error::Url)?;
        match all.is_empty() {
            true => Err(Error::Url("there is no URL; give one at least".to_owned())),
            false => Ok(Publisher::through(all)),
        }
    }

    /// The same with what was read already, which is one Redis at least.
    pub(crate) fn through(all: Vec<RedisSettings>) -> Publisher {
        let spread = Spread::over(all.len());
        // Time and room are the publisher's own affair.
        let nodes = all.into_iter().map(Node::new).collect();
        let (prefix, histories) = (String::new(), HistoryRules::default());
        Publisher { nodes, spread, prefix, histories, timeout: TIMEOUT, tls: None }
    }

    /// With a login for the sentinels of `redis+sentinel://`; that of the URL is for Redis. They
    /// want none by default.
    pub fn sentinel_login(mut self, user: Option<&str>, password: &str) -> Publisher {
        self.nodes.iter_mut().for_each(|node| node.sentinel_login(user, password));
        self
    }

    /// With what a `rediss://` Redis is to be asked with, besides what is said by default: it is
    /// believed when one of the system's authorities has signed that it is the host of the URL.
    pub fn tls(mut self, tls: &RedisTls<'_>) -> Result<Publisher, Error> {
        self.tls = Some(tls.read().map_err(Error::Tls)?);
        Ok(self)
    }

    /// With the prefix of names that the server was given as `--prefix`; none by default.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Publisher {
        self.prefix = prefix.into();
        self.histories.prefix.clone_from(&self.prefix);
        self
    }

    /// With rules by which channels keep their last messages, as the server was given them with
    /// `--history`: `chat/*=100/300` for a hundred messages and five minutes. What is published on
    /// such a channel is added to its history by the same command. Redis does not do that by
    /// itself, the embedded broker does. A rule is for all audiences: where those of the server are
    /// not, leave this out for what is published to others. A channel with a brace in its name has
    /// no history.
    pub fn history(mut self, list: &str) -> Result<Publisher, Error> {
        self.histories.rules = HistoryRule::parse_list(list).map_err(Error::History)?;
        Ok(self)
    }

    /// In a cluster, whether messages are published by SPUBLISH, which only the shard of a channel
    /// has to do with, and not by PUBLISH, which every node hands on to every other; off by
    /// default. The server has to hear that: it is told by `--redis-sharded`. Where there is no
    /// cluster it changes nothing.
    pub fn sharded(mut self, is_sharded: bool) -> Publisher {
        self.nodes.iter_mut().for_each(|node| node.sharded(is_sharded));
        self
    }

    /// With another longest time than 5 seconds for connecting and logging in together, and for
    /// each exchange after that.
    pub fn timeout(mut self, timeout: Duration) -> Publisher {
        self.timeout = timeout;
        self
    }

    /// The same with what was read already.
    pub(crate) fn asking(mut self, tls: Option<ClientTls>) -> Publisher {
        self.tls = tls;
        self
    }

    /// Begins a publish or a fetch: say to whom, then do it.
    pub fn to(&mut self, facility: impl Into<String>) -> Recipients<'_> {
        Recipients::of(self, facility.into())
    }

    /// Closes the conns of one user, group or session in every process of this prefix, with a
    /// close code (1000 to 1003, 1007 to 1014, or 3000 to 4999: RFC 6455 section 7.4) and a reason
    /// of at most 123 bytes. Returns how many processes were told.
    pub fn disconnect(
        &mut self,
        audience: Audience,
        name: &str,
        code: u16,
        reason: &str,
    ) -> Result<u64, Error> {
        self.check_prefix()?;
        if audience == Audience::Broadcast || name.is_empty() {
            return Err(Error::Name { audience, name: name.to_owned() });
        }
        if !may_be_sent(code) || reason.len() > MAX_REASON_BYTES {
            return Err(Error::Close { code, reason: reason.to_owned() });
        }
        let message = serde_json::json!({
            "disconnect": { word(audience): name }, "code": code, "reason": reason,
        });
        let message = message.to_string();
        let channels = [self.name("wsloop:control")];
        // The server hears it from every Redis, and it does no harm twice: one will do.
        let mut failure = None;
        for at in 0..self.nodes.len() {
            let mut published = Published::default();
            match self.publish_at(at, &channels, message.as_bytes(), 0, &mut published) {
                Ok(()) => return Ok(published.receivers),
                Err(refused @ Error::Refused { .. }) => return Err(refused),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        Err(failure.expect("there is one Redis at least"))
    }

    fn publish(
        &mut self,
        channels: &[String],
        message: &[u8],
        expire_s: u64,
    ) -> Result<Published, Error> {
        let mut published = Published::default();
        let mut failure = None;
        for (at, channels) in self.shares(channels) {
            if let Err(error) = self.publish_at(at, &channels, message, expire_s, &mut published) {
                failure.get_or_insert(error);
            }
        }
        match failure {
            None => Ok(published),
            Some(error @ (Error::Unreachable { .. } | Error::Login { .. }))
                if published.channels > 0 =>
            {
                Err(Error::MaybePublished(error.to_string()))
            }
            Some(error) => Err(error),
        }
    }

    /// The channels of each Redis.
    fn shares(&self, channels: &[String]) -> BTreeMap<usize, Vec<String>> {
        let mut shares = BTreeMap::<usize, Vec<String>>::new();
        for channel in channels {
            shares.entry(self.spread.writes(channel)).or_default().push(channel.clone());
        }
        shares
    }

    /// Publishes at one Redis, and counts what is done.
    fn publish_at(
        &mut self,
        at: usize,
        channels: &[String],
        message: &[u8],
        expire_s: u64,
        published: &mut Published,
    ) -> Result<(), Error> {
        let before = published.channels;
        let is_sharded = self.nodes[at].is_sharded();
        let word: &[u8] = if is_sharded { b"SPUBLISH" } else { b"PUBLISH" };
        let expire = expire_s.to_string();
        let per_channel = if expire_s > 0 { 2 } else { 1 };
        let batch = BATCH_BYTES / (per_channel * message.len()).max(1);
        let batch = batch.clamp(1, BATCH_CHANNELS);
        for channels in channels.chunks(batch) {
            let mut commands = Commands::default();
            for channel in channels {
                let name = channel.as_bytes();
                commands.add(channel, |out| match self.histories.of(channel) {
                    Some(size) => script::publish(out, channel, message, size, is_sharded),
                    None => resp::command(out, &[word, name, message]),
                });
                if expire_s > 0 {
                    let set = [b"SET", name, message, b"EX", expire.as_bytes()];
                    commands.add(channel, |out| resp::command(out, &set));
                }
            }
            let mut refused = None;
            let on_reply = |at: usize, reply: Reply<'_>| {
                let why = match (at % per_channel, reply) {
                    (0, Reply::Integer(heard)) => {
                        published.receivers += u64::try_from(heard).unwrap_or_default();
                        return;
                    }
                    (1, Reply::Status(_)) => return,
                    (_, reply) => not_expected(reply),
                };
                refused.get_or_insert((at / per_channel, why));
            };
            let done = self.exchange(at, &commands, false, on_reply);
            let node = &self.nodes[at];
            done.map_err(|fault| match fault {
                Fault::Lost(why) => Error::MaybePublished(why),
                fault if published.channels == before => node.nothing_done(fault),
                fault => Error::MaybePublished(node.nothing_done(fault).to_string()),
            })?;
            if let Some((at, reason)) = refused {
                return Err(Error::Refused { channel: channels[at].clone(), reason });
            }
            published.channels += channels.len();
        }
        Ok(())
    }

    /// The first stored message that is not empty.
    fn fetch(&mut self, channels: &[String]) -> Result<Option<Vec<u8>>, Error> {
        for channels in channels.chunks(FETCH_BATCH) {
            let mut stored = BTreeMap::new();
            for (node, channels) in self.shares(channels) {
                let mut commands = Commands::default();
                for channel in &channels {
                    let get = [b"GET", channel.as_bytes()];
                    commands.add(channel, |out| resp::command(out, &get));
                }
                let on_reply = |at: usize, reply: Reply<'_>| {
                    let message = match reply {
                        Reply::Bulk(message) => Ok(message.to_vec()),
                        Reply::Null => Ok(Vec::new()),
                        reply => Err(not_expected(reply)),
                    };
                    stored.insert(channels[at].clone(), message);
                };
                let done = self.exchange(node, &commands, true, on_reply);
                done.map_err(|fault| self.nodes[node].nothing_done(fault))?;
            }
            for channel in channels {
                match stored.remove(channel) {
                    None => {}
                    Some(Ok(message)) if message.is_empty() => {}
                    Some(Ok(message)) => return Ok(Some(message)),
                    Some(Err(reason)) => {
                        return Err(Error::Refused { channel: channel.clone(), reason });
                    }
                }
            }
        }
        Ok(None)
    }

    fn exchange(
        &mut self,
        at: usize,
        commands: &Commands,
        repeatable: bool,
        on_reply: impl FnMut(usize, Reply<'_>),
    ) -> Result<(), Fault> {
        let exchange = Exchange { commands, repeatable, timeout: self.timeout };
        self.nodes[at].exchange(&exchange, &mut self.tls, on_reply)
    }

    fn name(&self, rest: &str) -> String {
        let colon = if self.prefix.is_empty() { "" } else { ":" };
        format!("{}{colon}{rest}", self.prefix)
    }

    /// A prefix with the word of an audience in it could spell the names of another one, and one
    /// of histories theirs.
    fn check_prefix(&self) -> Result<(), Error> {
        let words = [Audience::Broadcast, Audience::Group, Audience::User, Audience::Session];
        let is_word = |part: &str| words.iter().any(|audience| word(*audience) == part);
        let is_of_histories = self.prefix.starts_with(HISTORIES);
        match is_of_histories || self.prefix.ends_with(':') || self.prefix.split(':').any(is_word) {
            true => Err(Error::Prefix(self.prefix.clone())),
            false => Ok(()),
        }
    }
}

/// What names of histories begin with.
const HISTORIES: &str = "wsloop:history";

/// The word for an audience in names.
fn word(audience: Audience) -> &'static str {
    match audience {
        Audience::Broadcast => "broadcast",
        Audience::Group => "group",
        Audience::User => "user",
        Audience::Session => "session",
    }
}

fn not_expected(reply: Reply<'_>) -> String {
    match reply {
        Reply::Error(why) => why.to_owned(),
        Reply::TooLarge => "the value is larger than 512 MiB".to_owned(),
        _ => "the answer is none to this command".to_owned(),
    }
}
