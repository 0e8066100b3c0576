//! L1: one RESP client: a Redis client of the embedded broker.
//!
//! It knows what the client has chosen and asked for: its version of the protocol, its transaction,
//! what it hears, and what waits to be sent to it. It knows neither links nor browsers nor other
//! RESP clients: a publication is handed out as a [`Step`], and how many heard it is said
//! afterwards.
//! Its rules:
//! * commands are answered in order, and errors are worded as Redis words them;
//! * while much waits to be sent, no further command is taken; what arrives meanwhile is kept, and
//!   a client that goes on asking without reading is done with;
//! * everything that it may make grow has a limit.
//!
//! `commands` is the table of commands, `transactions` about those between MULTI and EXEC, `keys`
//! about what is stored, `streams` about histories, `hearing` about subscriptions, `about` about
//! who is who.

mod about;
mod commands;
mod hearing;
mod keys;
mod streams;
mod transactions;

use std::collections::VecDeque;
use std::sync::Arc;

use super::history::Offset;
use super::local::Local;
use crate::link::{Now, Wish};
use crate::proto::resp::reply::{self, Version};
use crate::proto::resp::request::{RequestError, Requests};
use commands::{Command, Wrong};
use hearing::{Hearing, NameSet};
pub(crate) use keys::matching;
use streams::Added;
use transactions::Transaction;

/// Bytes that may wait to be sent while further commands are taken.
const RESTS_AT: usize = 1 << 20;
/// Bytes of a command besides the message in it, and of commands that are kept.
const ROOM: usize = 256 << 10;
/// Most bytes of a name or a channel.
const MAX_NAME: usize = 4 << 10;
/// Most bytes of a pattern, which may be held against very many names.
const MAX_PATTERN: usize = 1024;
/// Most steps that holding patterns against names may take in one command, some tenths of a second,
/// and for one message, of each client: who has patterns that take more is closed.
const MAX_WORK: usize = 1 << 24;
const MAX_WORK_PER_MESSAGE: usize = 1 << 18;
/// Most bytes that a reply of many values may have, and a transaction.
const MAX_MANY: usize = 64 << 20;
/// What a command in a transaction and a subscription take besides their bytes.
const OVERHEAD: usize = 64;

/// Bytes that may wait for a RESP client whose socket takes no more: as much as Redis lets wait for
/// a subscriber.
const UNSENT_LIMIT: usize = 32 << 20;

/// A RESP client.
#[derive(Debug)]
pub struct RespClient {
    requests: Requests,
    max_kept: usize,
    /// What is kept is no whole command.
    starved: bool,
    /// It sends nothing more, and is closed when all is answered.
    ended: bool,
    session: Session,
}

/// What came of looking for the next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is nothing more to do until more arrives, or until some of what waits is sent.
    Idle,
    /// A command was answered.
    Done,
    /// A message is to be published; then [`RespClient::published`] is to be called.
    Publish {
        /// To which channel.
        channel: Arc<[u8]>,
        /// What.
        payload: Arc<[u8]>,
        /// Where it stands in the channel's history, if this client has put it there.
        recorded: Option<Offset>,
    },
    /// It asks who hears what; then [`RespClient::told`] is to be called.
    PubSub(PubSub),
}

/// A question about who hears what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PubSub {
    /// The channels that somebody hears, of these that fit a pattern if there is one.
    Channels(Option<Vec<u8>>),
    /// How many hear each of these channels.
    Receivers(Vec<Vec<u8>>),
    /// How many patterns there are.
    Patterns,
}

/// The answer to such a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Names of channels.
    Channels(Vec<Vec<u8>>),
    /// Names of channels, and how many hear each.
    Receivers(Vec<(Vec<u8>, usize)>),
    /// A number.
    Patterns(usize),
}

/// All but the bytes that come.
#[derive(Debug)]
struct Session {
    id: u64,
    name: Vec<u8>,
    /// What it has to know, if it has not said it yet.
    locked_with: Option<Arc<[u8]>>,
    /// What everybody has to know.
    password: Option<Arc<[u8]>>,
    version: Version,
    max_message: usize,
    hearing: Hearing,
    transaction: Option<Transaction>,
    /// Names, and which revision of each was watched.
    watched: Vec<(Vec<u8>, Option<u64>)>,
    added: Added,
    executing: VecDeque<Vec<Vec<u8>>>,
    /// Bytes of those.
    undone: usize,
    out: Vec<u8>,
    /// Bytes of `out` that are sent.
    sent: usize,
    over: bool,
}

impl RespClient {
    /// A RESP client that has just come, under a number of its own. A message may have
    /// `max_message` bytes. With a password nothing is done before it is said.
    pub fn new(id: u64, max_message: usize, password: Option<Arc<[u8]>>) -> Self {
        let limit = max_message.saturating_mul(2).saturating_add(ROOM);
        RespClient {
            requests: Requests::new(limit),
            max_kept: limit.saturating_add(ROOM),
            starved: false,
            ended: false,
            session: Session {
                id,
                name: Vec::new(),
                locked_with: password.clone(),
                password,
                version: Version::Two,
                max_message,
                hearing: Hearing::default(),
                transaction: None,
                watched: Vec::new(),
                added: Added::default(),
                executing: VecDeque::new(),
                undone: 0,
                out: Vec::new(),
                sent: 0,
                over: false,
            },
        }
    }

    /// A RESP client that is told why it may not stay.
    pub fn refused(why: &str) -> Self {
        let mut client = RespClient::new(0, 0, None);
        reply::error(&mut client.session.out, why);
        client.session.over = true;
        client
    }

    /// Takes the next thing to do from what was kept and from the front of `input`, and does it.
    pub fn step(&mut self, input: &mut &[u8], local: &mut Local, now: Now) -> Step {
        let session = &mut self.session;
        if session.over {
            *input = &[];
            return Step::Idle;
        }
        if let Some(args) = session.executing.pop_front() {
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            return session.execute(&args, local, now);
        }
        if session.unsent().len() >= RESTS_AT {
            self.keep(std::mem::take(input));
            return Step::Idle;
        }
        match self.requests.next(input) {
            Ok(Some(args)) => session.take(&args, local, now),
            Ok(None) => {
                self.starved = true;
                Step::Idle
            }
            Err(error) => {
                if error != RequestError::Http {
                    reply::error(&mut session.out, &format!("ERR {error}"));
                }
                session.over = true;
                *input = &[];
                Step::Idle
            }
        }
    }

    /// Whether the next step has to follow before anybody else's: it is in a transaction.
    pub fn is_executing(&self) -> bool {
        !self.session.executing.is_empty()
    }

    /// Whether there may be another step although nothing more arrives.
    pub fn has_more(&self) -> bool {
        let session = &self.session;
        let kept = self.requests.kept_bytes() > 0 && !self.starved;
        let kept = kept && session.unsent().len() < RESTS_AT;
        !session.over && (kept || self.is_executing())
    }

    /// Keeps bytes for later. A client that has sent far more than it has read is done with.
    pub fn keep(&mut self, bytes: &[u8]) {
        if self.requests.kept_bytes() + bytes.len() > self.max_kept {
            self.session.over = true;
        } else if !bytes.is_empty() && !self.session.over {
            self.requests.keep(bytes);
            self.starved = false;
        }
    }

    /// So many heard what was published.
    pub fn published(&mut self, receivers: usize) {
        reply::integer(&mut self.session.out, receivers as i64);
    }

    /// The answer to what it asked about who hears what.
    pub fn told(&mut self, heard: &Heard) {
        let out = &mut self.session.out;
        match heard {
            Heard::Channels(names) => {
                reply::array(out, names.len());
                names.iter().for_each(|name| reply::bulk(out, name));
            }
            Heard::Receivers(receivers) => {
                reply::array(out, 2 * receivers.len());
                for (name, count) in receivers {
                    reply::bulk(out, name);
                    reply::integer(out, *count as i64);
                }
            }
            Heard::Patterns(count) => reply::integer(out, *count as i64),
        }
    }

    /// How often it would be told of a message on the channel.
    pub fn ears(&self, channel: &[u8]) -> usize {
        self.session.hearing.ears(channel).unwrap_or(0)
    }

    /// Whether it hears the channel by its name.
    pub fn hears(&self, channel: &[u8]) -> bool {
        self.session.hearing.names(channel)
    }

    /// The channels that it hears by their names, and its patterns.
    pub(crate) fn hearing(&self) -> (&NameSet, &NameSet) {
        self.session.hearing.all()
    }

    /// Bytes that are held for it: what it has not read, and what it has not finished.
    pub fn held_bytes(&self) -> usize {
        let queued = self.session.transaction.as_ref().map_or(0, |queued| queued.bytes);
        self.session.out.capacity() + self.requests.kept_bytes() + queued + self.session.undone
    }

    /// Tells it of a message, if it hears the channel; returns how many bytes that made.
    pub fn hear(&mut self, channel: &[u8], payload: &[u8]) -> usize {
        let Session { hearing, out, version, over, .. } = &mut self.session;
        let before = out.len();
        if !*over && hearing.hear(channel, payload, out, *version).is_none() {
            reply::error(out, "ERR these patterns take too long to be held against a name");
            *over = true;
        }
        out.len() - before
    }

    /// It sends nothing more.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether there is nothing more to say to it, or nobody who would hear it: the kernel has
    /// refused bytes when it is `blocked`.
    pub fn is_done(&self, blocked: bool) -> bool {
        let sent = self.unsent().is_empty();
        self.session.over && (sent || blocked) || self.ended && sent && !self.has_more()
    }

    /// Whether it lets more wait than it may, when the kernel takes no more of it.
    pub fn is_slow(&self) -> bool {
        self.unsent().len() > UNSENT_LIMIT
    }

    /// Whether it wants to be read.
    pub fn wish(&self) -> Wish {
        if self.has_more() { Wish::GoOn } else { Wish::Read }
    }

    /// The bytes that wait to be sent.
    pub fn unsent(&self) -> &[u8] {
        self.session.unsent()
    }

    /// The first `n` of those bytes are sent.
    pub fn advance(&mut self, n: usize) {
        let session = &mut self.session;
        session.sent += n;
        assert!(session.sent <= session.out.len(), "more bytes were sent than waited");
        if session.sent == session.out.len() {
            (session.out, session.sent) = (Vec::new(), 0);
        } else if session.sent > session.out.len() / 2 {
            session.out.drain(..std::mem::take(&mut session.sent));
        }
    }
}

impl Session {
    /// A command has come: it is done, or put into the transaction.
    fn take(&mut self, args: &[&[u8]], local: &mut Local, now: Now) -> Step {
        let command = match commands::find(args) {
            Ok(command) => command,
            Err(wrong) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.broken = true;
                }
                return self.fail(&wrong);
            }
        };
        if self.locked_with.is_some() && !command.is_for_strangers() {
            return self.fail(&Wrong::Locked);
        }
        let deaf = self.version == Version::Two && !self.hearing.is_empty();
        if deaf && !command.is_for_subscribers() {
            return self.fail(&Wrong::Subscribed(commands::printable(args[0])));
        }
        let Some(transaction) = &mut self.transaction else {
            return self.run(command, args, local, now);
        };
        match command {
            Command::Exec => return self.exec(local, now.mono_ms),
            Command::Discard => {
                (self.transaction, self.watched) = (None, Vec::new());
                reply::status(&mut self.out, "OK");
            }
            Command::Quit => return self.run(command, args, local, now),
            Command::Multi => return self.fail(&Wrong::Nested),
            Command::Watch => return self.fail(&Wrong::WatchInside),
            command if command.is_about_hearing() => {
                transaction.broken = true;
                return self.fail(&Wrong::Inside(commands::printable(args[0])));
            }
            _ => {
                transaction.bytes += args.iter().map(|arg| arg.len() + OVERHEAD).sum::<usize>();
                if transaction.bytes > MAX_MANY {
                    (self.transaction, self.over) = (None, true);
                    return self.fail(&Wrong::TooMuch);
                }
                transaction.commands.push_back(args.iter().map(|arg| arg.to_vec()).collect());
                reply::status(&mut self.out, "QUEUED");
            }
        }
        Step::Done
    }

    fn run(&mut self, command: Command, args: &[&[u8]], local: &mut Local, now: Now) -> Step {
        let now_ms = now.mono_ms;
        let (out, version) = (&mut self.out, self.version);
        let done = match command {
            Command::Publish | Command::Eval | Command::EvalSha => {
                return self.publish(command, args, local, now);
            }
            Command::Subscribe
            | Command::PSubscribe
            | Command::Unsubscribe
            | Command::PUnsubscribe => {
                self.subscribe(command, &args[1..]);
                Ok(())
            }
            Command::Multi => {
                self.transaction = Some(Transaction::default());
                reply::status(out, "OK");
                Ok(())
            }
            Command::Exec | Command::Discard => {
                Err(Wrong::Outside(commands::printable(args[0]).to_uppercase()))
            }
            Command::Watch => self.watch(&args[1..], local, now_ms),
            Command::Unwatch => {
                self.watched = Vec::new();
                reply::status(out, "OK");
                Ok(())
            }
            Command::Ping => {
                self.ping(args);
                Ok(())
            }
            Command::Quit => {
                reply::status(out, "OK");
                self.over = true;
                Ok(())
            }
            Command::Hello => self.hello(args),
            Command::Client => self.client(args),
            Command::Info => {
                reply::bulk(out, about::info(local.store(now_ms)).as_bytes());
                Ok(())
            }
            Command::PubSub => match keys::pubsub(args) {
                Ok(question) => return Step::PubSub(question),
                Err(wrong) => Err(wrong),
            },
            Command::Auth => self.auth(args),
            Command::Script => streams::script(args, out),
            Command::Echo | Command::Select | Command::Describe => {
                about::answer(command, args, out, version)
            }
            _ => {
                let asked = keys::Asked { command, args, now, max_value: self.max_message };
                match streams::is_asked(command, args, local, now_ms) {
                    true => streams::answer(&asked, &mut self.added, local, out, version),
                    false => keys::answer(&asked, local.store(now_ms), out, version),
                }
            }
        };
        if let Err(wrong) = done {
            self.fail(&wrong);
        }
        Step::Done
    }

    /// PUBLISH, or the script that does it and more.
    fn publish(&mut self, command: Command, args: &[&[u8]], local: &mut Local, now: Now) -> Step {
        let asked = keys::Asked { command, args, now, max_value: self.max_message };
        let step = match command {
            Command::Publish => streams::publish(&asked, &mut self.added, local),
            _ => streams::evaluate(&asked, local),
        };
        step.unwrap_or_else(|wrong| self.fail(&wrong))
    }

    fn fail(&mut self, wrong: &Wrong) -> Step {
        reply::error(&mut self.out, &wrong.to_string());
        Step::Done
    }

    fn unsent(&self) -> &[u8] {
        &self.out[self.sent..]
    }
}
