//! The commands that RESP clients have, and what is said about wrong ones.

use std::fmt;

/// A command, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Auth,
    Client,
    DbSize,
    Del,
    Describe,
    Discard,
    Echo,
    Eval,
    EvalSha,
    Exec,
    Exists,
    Expire,
    FlushDb,
    Get,
    Hello,
    Info,
    Keys,
    MGet,
    Multi,
    PExpire,
    Ping,
    PSetEx,
    PSubscribe,
    PTtl,
    Publish,
    PubSub,
    PUnsubscribe,
    Quit,
    Scan,
    Script,
    Select,
    Set,
    SetEx,
    SetNx,
    Subscribe,
    Ttl,
    Type,
    Unsubscribe,
    Unwatch,
    Watch,
    XAdd,
    XLen,
    XRange,
    XRevRange,
}

const ANY: usize = usize::MAX;

/// Names, and the least and the most arguments, the name included.
const TABLE: [(&str, Command, usize, usize); 45] = [
    ("auth", Command::Auth, 2, 3),
    ("client", Command::Client, 2, ANY),
    ("command", Command::Describe, 1, ANY),
    ("dbsize", Command::DbSize, 1, 1),
    ("del", Command::Del, 2, ANY),
    ("discard", Command::Discard, 1, 1),
    ("echo", Command::Echo, 2, 2),
    ("eval", Command::Eval, 3, ANY),
    ("evalsha", Command::EvalSha, 3, ANY),
    ("exec", Command::Exec, 1, 1),
    ("exists", Command::Exists, 2, ANY),
    ("expire", Command::Expire, 3, ANY),
    ("flushdb", Command::FlushDb, 1, 2),
    ("get", Command::Get, 2, 2),
    ("hello", Command::Hello, 1, ANY),
    ("info", Command::Info, 1, ANY),
    ("keys", Command::Keys, 2, 2),
    ("mget", Command::MGet, 2, ANY),
    ("multi", Command::Multi, 1, 1),
    ("pexpire", Command::PExpire, 3, ANY),
    ("ping", Command::Ping, 1, 2),
    ("psetex", Command::PSetEx, 4, 4),
    ("psubscribe", Command::PSubscribe, 2, ANY),
    ("pttl", Command::PTtl, 2, 2),
    ("publish", Command::Publish, 3, 3),
    ("pubsub", Command::PubSub, 2, ANY),
    ("punsubscribe", Command::PUnsubscribe, 1, ANY),
    ("quit", Command::Quit, 1, ANY),
    ("scan", Command::Scan, 2, ANY),
    ("script", Command::Script, 2, ANY),
    ("select", Command::Select, 2, 2),
    ("set", Command::Set, 3, ANY),
    ("setex", Command::SetEx, 4, 4),
    ("setnx", Command::SetNx, 3, 3),
    ("subscribe", Command::Subscribe, 2, ANY),
    ("ttl", Command::Ttl, 2, 2),
    ("type", Command::Type, 2, 2),
    ("unlink", Command::Del, 2, ANY),
    ("unsubscribe", Command::Unsubscribe, 1, ANY),
    ("unwatch", Command::Unwatch, 1, 1),
    ("watch", Command::Watch, 2, ANY),
    ("xadd", Command::XAdd, 5, ANY),
    ("xlen", Command::XLen, 2, 2),
    ("xrange", Command::XRange, 4, 6),
    ("xrevrange", Command::XRevRange, 4, 6),
];

/// How many commands there are.
pub(super) const COUNT: usize = TABLE.len();

impl Command {
    /// Whether it subscribes or unsubscribes.
    pub(super) fn is_about_hearing(self) -> bool {
        use Command::{PSubscribe, PUnsubscribe, Subscribe, Unsubscribe};
        matches!(self, Subscribe | PSubscribe | Unsubscribe | PUnsubscribe)
    }

    /// Whether it is for who has not said the password.
    pub(super) fn is_for_strangers(self) -> bool {
        matches!(self, Command::Auth | Command::Hello | Command::Quit)
    }

    /// How many of so many arguments are names of what is stored, behind the command's own.
    pub(super) fn names(self, arguments: usize) -> usize {
        use Command::{
            Del, Exists, Expire, Get, MGet, PExpire, PSetEx, PTtl, Set, SetEx, SetNx, Ttl, Type,
        };
        match self {
            Del | Exists | MGet => arguments - 1,
            Expire | Get | PExpire | PSetEx | PTtl | Set | SetEx | SetNx | Ttl | Type => 1,
            _ => 0,
        }
    }

    /// Whether a client that hears something may use it in RESP2, where replies and messages cannot
    /// be told apart otherwise.
    pub(super) fn is_for_subscribers(self) -> bool {
        self.is_about_hearing() || matches!(self, Command::Ping | Command::Quit)
    }
}

/// The command that these arguments are, as far as their number tells.
pub(super) fn find(args: &[&[u8]]) -> Result<Command, Wrong> {
    let name = args.first().copied().unwrap_or_default();
    let known = TABLE.iter().find(|(known, ..)| name.eq_ignore_ascii_case(known.as_bytes()));
    match known {
        None => Err(Wrong::Unknown(printable(name))),
        Some((known, _, least, most)) if args.len() < *least || args.len() > *most => {
            Err(Wrong::Arguments(known))
        }
        Some((_, command, ..)) => Ok(*command),
    }
}

/// What a peer has sent, as it may be repeated.
pub(super) fn printable(bytes: &[u8]) -> String {
    const LONGEST: usize = 128;
    bytes[..bytes.len().min(LONGEST)].escape_ascii().to_string()
}

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// There is no such command.
    Unknown(String),
    /// The first has no such second word.
    UnknownPart(&'static str, String),
    /// Too few or too many arguments.
    Arguments(&'static str),
    /// An option that it does not have, or two that do not go together.
    Syntax,
    /// A number was to be there.
    NotInteger,
    /// A time that has passed or will never come.
    ExpireTime(&'static str),
    /// A cursor that is no number.
    Cursor,
    /// A number of a database that is not there.
    Database,
    /// A version of the protocol that is not spoken.
    Version,
    /// A name with a character that is not allowed.
    Name,
    /// A name or a pattern that is too long.
    Long,
    /// A message or a value that is too large.
    Large,
    /// A value that is larger than the store.
    Full,
    /// There are streams for histories, and no channel has one.
    NoHistory,
    /// A name that is not that of a history.
    NoStream,
    /// A channel that no rule fits.
    NoRule,
    /// XADD with something that is not the entry of a message.
    Entry,
    /// A script that is not the one that there is.
    Script,
    /// The hash of another.
    NoScript,
    /// That one with other words than it takes.
    ScriptWords,
    /// A place in a stream that is none.
    Place,
    /// A stream where a value was to be, or a name kept for streams.
    Kind,
    /// More than is done for one client.
    TooMuch,
    /// A client in RESP2 hears something and may not do this.
    Subscribed(String),
    /// MULTI within MULTI.
    Nested,
    /// WATCH within MULTI.
    WatchInside,
    /// A command that is not for transactions.
    Inside(String),
    /// EXEC or DISCARD without MULTI.
    Outside(String),
    /// EXEC after a command that was wrong.
    Aborted,
    /// The password is to be said first.
    Locked,
    /// HELLO without the password that is to be said first.
    LockedHello,
    /// Another password, or the name of somebody.
    Password,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wrong::Unknown(name) => {
                return write!(
                    f,
                    "ERR unknown command '{name}': the embedded broker of wsloop has only what \
                     publishing and listening need; use a real Redis (--redis)"
                );
            }
            Wrong::UnknownPart(command, part) => {
                return write!(
                    f,
                    "ERR unknown subcommand '{part}' of {command}: the embedded broker of wsloop \
                     has only what publishing and listening need; use a real Redis (--redis)"
                );
            }
            Wrong::Arguments(name) => {
                return write!(f, "ERR wrong number of arguments for '{name}' command");
            }
            Wrong::ExpireTime(name) => {
                return write!(f, "ERR invalid expire time in '{name}' command");
            }
            Wrong::Subscribed(name) => {
                return write!(
                    f,
                    "ERR Can't execute '{name}': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT \
                     are allowed in this context"
                );
            }
            Wrong::Inside(name) => return write!(f, "ERR '{name}' is not allowed in transactions"),
            Wrong::Outside(name) => return write!(f, "ERR {name} without MULTI"),
            Wrong::Syntax => "ERR syntax error",
            Wrong::NotInteger => "ERR value is not an integer or out of range",
            Wrong::Cursor => "ERR invalid cursor",
            Wrong::Database => "ERR DB index is out of range",
            Wrong::Version => "NOPROTO unsupported protocol version",
            Wrong::Name => {
                "ERR Client names cannot contain spaces, newlines or special characters."
            }
            Wrong::Long => "ERR the name is longer than 4 KiB, or the pattern than 1 KiB",
            Wrong::Large => "ERR the message is larger than --max-message-size of wsloop",
            Wrong::Full => "OOM the value is larger than --store-limit of wsloop",
            Wrong::NoHistory
            | Wrong::NoStream
            | Wrong::NoRule
            | Wrong::Entry
            | Wrong::Script
            | Wrong::NoScript
            | Wrong::ScriptWords
            | Wrong::Place
            | Wrong::Kind => self.about_streams(),
            Wrong::TooMuch => "ERR that is more than the embedded broker of wsloop does at once",
            Wrong::Nested => "ERR MULTI calls can not be nested",
            Wrong::WatchInside => "ERR WATCH inside MULTI is not allowed",
            Wrong::Locked => "NOAUTH Authentication required.",
            Wrong::LockedHello => {
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                 HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client \
                 and select the RESP protocol version at the same time"
            }
            Wrong::Password => "WRONGPASS invalid username-password pair or user is disabled.",
            Wrong::Aborted => "EXECABORT Transaction discarded because of previous errors.",
        })
    }
}

impl Wrong {
    /// What is said of what is wrong with the history of a channel.
    fn about_streams(&self) -> &'static str {
        match self {
            Wrong::NoHistory => {
                "ERR the embedded broker of wsloop has streams for the history of channels, and no \
                 channel has one: give --history"
            }
            Wrong::NoStream => {
                "ERR the embedded broker of wsloop has streams for the history of channels alone, \
                 under names such as wsloop:history:{broadcast:news}"
            }
            Wrong::NoRule => "ERR no rule of --history fits the channel of this stream",
            Wrong::Entry => {
                "ERR an entry of a history is written as XADD NAME MAXLEN COUNT * message TEXT"
            }
            Wrong::Script => {
                "ERR the embedded broker of wsloop runs no script but the one that publishes into \
                 the history of a channel; it is in the book, and must be the same to the letter"
            }
            Wrong::NoScript => "NOSCRIPT No matching script. Please use EVAL.",
            Wrong::ScriptWords => {
                "ERR this script is called with 1 key, the stream, and with the channel, the \
                 message, the most messages and the milliseconds"
            }
            Wrong::Place => "ERR Invalid stream ID specified as stream command argument",
            _ => {
                "WRONGTYPE Operation against a key holding the wrong kind of value: names that \
                 begin with wsloop:history are for the history of channels"
            }
        }
    }
}
