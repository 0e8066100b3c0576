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

mod error;
pub(crate) mod link;
mod secured;
pub(crate) mod stream;

use std::time::Duration;

pub use error::Error;
pub use secured::RedisTls;

use crate::access::channel::Audience;
use crate::broker::history::script;
use crate::broker::{HistoryRule, HistoryRules, RedisAddress, RedisSettings};
use crate::config::redis_url;
use crate::config::values::LONGEST_EXPIRE_S;
use crate::net::ClientTls;
use crate::proto::resp::{self, Reply};
use crate::proto::ws::frame::{MAX_CONTROL, may_be_sent};
use link::{Fault, Link};

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
/// It holds one connection, which it makes when it is first needed and makes again when it is
/// gone. Threads share one behind a mutex, or have one each.
#[derive(Debug)]
pub struct Publisher {
    settings: RedisSettings,
    prefix: String,
    histories: HistoryRules,
    timeout: Duration,
    /// How it is asked by TLS, once that is known.
    tls: Option<ClientTls>,
    link: Option<Link>,
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
/// Longest facility that a server takes, in bytes.
const MAX_FACILITY_BYTES: usize = 512;
/// Longest reason, in bytes: what a close frame has room for besides its code.
const MAX_REASON_BYTES: usize = MAX_CONTROL - 2;

impl Publisher {
    /// A publisher through the Redis at `url`: `redis://[user:password@]host[:port][/db]`,
    /// `rediss://` for the same by TLS, or `redis+unix://[user:password@]/path[?db=N]`. It connects
    /// when it is first used.
    pub fn new(url: &str) -> Result<Publisher, Error> {
        // Time and room are the publisher's own affair.
        let settings = redis_url::parse(url).map_err(Error::Url)?;
        if let RedisAddress::Watched(_) = settings.address {
            let why = "the URL names sentinels, which a publisher does not ask; name the Redis";
            return Err(Error::Url(why.to_owned()));
        }
        let (prefix, histories) = (String::new(), HistoryRules::default());
        let timeout = TIMEOUT;
        Ok(Publisher { settings, prefix, histories, timeout, tls: None, link: None })
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
    /// itself, the embedded broker does.
    pub fn history(mut self, list: &str) -> Result<Publisher, Error> {
        self.histories.rules = HistoryRule::parse_list(list).map_err(Error::History)?;
        Ok(self)
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

    /// The Redis that it publishes through.
    pub(crate) fn redis(&self) -> &RedisSettings {
        &self.settings
    }

    /// Begins a publish or a fetch: say to whom, then do it.
    pub fn to(&mut self, facility: impl Into<String>) -> Recipients<'_> {
        Recipients {
            publisher: self,
            facility: facility.into(),
            broadcast: false,
            whos: Vec::new(),
        }
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
        let channel = self.name("wsloop:control");
        let published = self.publish(&[channel], message.as_bytes(), 0)?;
        Ok(published.receivers)
    }

    fn publish(
        &mut self,
        channels: &[String],
        message: &[u8],
        expire_s: u64,
    ) -> Result<Published, Error> {
        let mut published = Published::default();
        let expire = expire_s.to_string();
        let per_channel = if expire_s > 0 { 2 } else { 1 };
        let batch = BATCH_BYTES / (per_channel * message.len()).max(1);
        let batch = batch.clamp(1, BATCH_CHANNELS);
        for channels in channels.chunks(batch) {
            let mut commands = Vec::new();
            for channel in channels {
                match self.histories.of(channel) {
                    Some(size) => script::publish(&mut commands, channel, message, size),
                    None => {
                        resp::command(&mut commands, &[b"PUBLISH", channel.as_bytes(), message]);
                    }
                }
                if expire_s > 0 {
                    let channel = channel.as_bytes();
                    let set = [b"SET", channel, message, b"EX", expire.as_bytes()];
                    resp::command(&mut commands, &set);
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
            let done = self.exchange(&commands, channels.len() * per_channel, false, on_reply);
            done.map_err(|fault| match (fault, published.channels) {
                (Fault::Lost(why), _) => Error::MaybePublished(why),
                (fault, 0) => self.nothing_done(fault),
                (fault, _) => Error::MaybePublished(self.nothing_done(fault).to_string()),
            })?;
            if let Some((at, reason)) = refused {
                return Err(Error::Refused { channel: channels[at].clone(), reason });
            }
            published.channels += channels.len();
        }
        Ok(published)
    }

    /// The first stored message that is not empty.
    fn fetch(&mut self, channels: &[String]) -> Result<Option<Vec<u8>>, Error> {
        for channels in channels.chunks(FETCH_BATCH) {
            let mut commands = Vec::new();
            for channel in channels {
                resp::command(&mut commands, &[b"GET", channel.as_bytes()]);
            }
            let mut stored = vec![Ok(Vec::new()); channels.len()];
            let on_reply = |at: usize, reply: Reply<'_>| {
                stored[at] = match reply {
                    Reply::Bulk(message) => Ok(message.to_vec()),
                    Reply::Null => Ok(Vec::new()),
                    reply => Err(not_expected(reply)),
                };
            };
            let done = self.exchange(&commands, channels.len(), true, on_reply);
            done.map_err(|fault| self.nothing_done(fault))?;
            for (channel, stored) in channels.iter().zip(stored) {
                match stored {
                    Ok(message) if message.is_empty() => {}
                    Ok(message) => return Ok(Some(message)),
                    Err(reason) => {
                        return Err(Error::Refused { channel: channel.clone(), reason });
                    }
                }
            }
        }
        Ok(None)
    }

    /// Sends commands on the kept link if it is alive, or else on a new one. Those that are
    /// `repeatable` are sent again when the kept one fails.
    fn exchange(
        &mut self,
        commands: &[u8],
        replies: usize,
        repeatable: bool,
        mut on_reply: impl FnMut(usize, Reply<'_>),
    ) -> Result<(), Fault> {
        if let Some(mut link) = self.link.take()
            && link.is_alive()
        {
            match link.exchange(commands, replies, &mut on_reply) {
                Err(Fault::Untaken(_)) => {}
                Err(Fault::Lost(_)) if repeatable => {}
                done => {
                    self.link = done.is_ok().then_some(link);
                    return done;
                }
            }
        }
        if self.tls.is_none() && self.settings.address.is_tls() {
            let tls = RedisTls::default().read();
            self.tls = Some(tls.map_err(Fault::Unreachable)?);
        }
        let RedisAddress::Fixed(target) = &self.settings.address else {
            return Err(Fault::Unreachable("it is not known where it is".to_owned()));
        };
        let mut link = Link::dial(target, &self.settings, self.tls.as_ref(), self.timeout)?;
        link.exchange(commands, replies, on_reply)?;
        self.link = Some(link);
        Ok(())
    }

    fn nothing_done(&self, fault: Fault) -> Error {
        let address = self.settings.address.to_string();
        match fault {
            Fault::Unreachable(reason) | Fault::Untaken(reason) => {
                Error::Unreachable { address, reason }
            }
            Fault::Login(reason) => Error::Login { address, reason },
            Fault::Lost(reason) => Error::Unanswered(reason),
        }
    }

    fn name(&self, rest: &str) -> String {
        let colon = if self.prefix.is_empty() { "" } else { ":" };
        format!("{}{colon}{rest}", self.prefix)
    }

    /// A prefix with the word of an audience in it could spell the names of another one.
    fn check_prefix(&self) -> Result<(), Error> {
        let words = [Audience::Broadcast, Audience::Group, Audience::User, Audience::Session];
        let is_word = |part: &str| words.iter().any(|audience| word(*audience) == part);
        match self.prefix.ends_with(':') || self.prefix.split(':').any(is_word) {
            true => Err(Error::Prefix(self.prefix.clone())),
            false => Ok(()),
        }
    }
}

/// To whom a facility's message goes, or whose stored message is wanted; made by
/// [`Publisher::to`]. Each name counts once, however often it is given.
#[derive(Debug)]
#[must_use = "it does nothing until `publish` or `fetch`"]
pub struct Recipients<'a> {
    publisher: &'a mut Publisher,
    facility: String,
    broadcast: bool,
    whos: Vec<(Audience, String)>,
}

impl Recipients<'_> {
    /// Everybody who subscribed to the facility.
    pub fn broadcast(mut self) -> Self {
        self.broadcast = true;
        self
    }

    /// These users too, on all their devices.
    pub fn users<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        self.add(Audience::User, names)
    }

    /// The members of these groups too.
    pub fn groups<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        self.add(Audience::Group, names)
    }

    /// The sessions with these keys too.
    pub fn sessions<N: Into<String>>(self, keys: impl IntoIterator<Item = N>) -> Self {
        self.add(Audience::Session, keys)
    }

    /// Sends the message to all of them: a PUBLISH to each channel and, if it is to be stored, a
    /// SET after it. Text must be UTF-8 to reach browsers as text; an empty message reaches nobody,
    /// and what is stored is then as good as nothing.
    ///
    /// When Redis refuses one of the commands, others may have been carried out. What could not be
    /// added to a channel's history is published all the same; the reason then begins with
    /// `UNKEPT`.
    pub fn publish(self, message: impl AsRef<[u8]>, expire: Expire) -> Result<Published, Error> {
        let expire_s = match expire {
            Expire::Default => EXPIRE_S,
            Expire::Seconds(seconds) if seconds > LONGEST_EXPIRE_S => {
                return Err(Error::Expire(seconds));
            }
            Expire::Seconds(seconds) => seconds,
            Expire::Unstored => 0,
        };
        let order = [Audience::Broadcast, Audience::Group, Audience::User, Audience::Session];
        let channels = self.channels(order)?;
        self.publisher.publish(&channels, message.as_ref(), expire_s)
    }

    /// The stored message of the first of them that has one: sessions are asked first, then users,
    /// groups and broadcast, and among themselves in the order in which they were given.
    pub fn fetch(self) -> Result<Option<Vec<u8>>, Error> {
        let order = [Audience::Session, Audience::User, Audience::Group, Audience::Broadcast];
        let channels = self.channels(order)?;
        self.publisher.fetch(&channels)
    }

    fn add<N: Into<String>>(
        mut self,
        audience: Audience,
        names: impl IntoIterator<Item = N>,
    ) -> Self {
        self.whos.extend(names.into_iter().map(|name| (audience, name.into())));
        self
    }

    /// The names of the channels, each once.
    fn channels(&self, order: [Audience; 4]) -> Result<Vec<String>, Error> {
        let Recipients { publisher, facility, broadcast, whos } = self;
        publisher.check_prefix()?;
        if facility.len() > MAX_FACILITY_BYTES || facility.contains(':') && !whos.is_empty() {
            return Err(Error::Facility(facility.clone()));
        }
        if let Some((audience, name)) = whos.iter().find(|(_, n)| n.is_empty() || n.contains(':')) {
            return Err(Error::Name { audience: *audience, name: name.clone() });
        }
        let mut channels = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for audience in order {
            if audience == Audience::Broadcast && *broadcast {
                channels.push(publisher.name(&format!("broadcast:{facility}")));
            }
            let whos = whos.iter().filter(|(of, _)| *of == audience).map(|(_, name)| name);
            for who in whos {
                let name = publisher.name(&format!("{}:{who}:{facility}", word(audience)));
                if seen.insert(name.clone()) {
                    channels.push(name);
                }
            }
        }
        if channels.is_empty() { Err(Error::NoAudience) } else { Ok(channels) }
    }
}

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
