//! L4: why something was not published or fetched.

use std::fmt;

use super::word;
use crate::access::channel::Audience;

/// Why something was not published or fetched. Names and reasons are as they were given; the
/// sentences have no line break in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The URL makes no sense; why, without repeating what may be a password.
    Url(String),
    /// What a `rediss://` Redis was to be asked with will not do; why.
    Tls(String),
    /// A rule of the histories makes no sense; why.
    History(String),
    /// The prefix ends with a colon, or a part of it between colons is the word of an audience, so
    /// that names could be taken for others.
    Prefix(String),
    /// The facility is longer than the 512 bytes that a server takes; or it has a colon in it
    /// while a user, a group or a session is named, so that the name could be taken for another's.
    Facility(String),
    /// The name of a user or a group, or the key of a session, is empty or has a colon in it, so
    /// that a channel's name could be taken for another's.
    Name {
        /// Of what it is the name.
        audience: Audience,
        /// The name.
        name: String,
    },
    /// A message is to be stored for more than 100 years; for how many seconds.
    Expire(u64),
    /// No close frame can carry this code, or this reason of more than 123 bytes.
    Close {
        /// The code.
        code: u16,
        /// The reason.
        reason: String,
    },
    /// Nobody was named: neither broadcast nor a user, a group or a session.
    NoAudience,
    /// There is no connection to Redis. Nothing was published.
    Unreachable {
        /// Where it should be.
        address: String,
        /// Why, in the system's words.
        reason: String,
    },
    /// Redis is there and lets nobody in, or not with this user and password, or not to this
    /// database. Nothing was published.
    Login {
        /// Where it is.
        address: String,
        /// Why, in its words.
        reason: String,
    },
    /// Redis refused a command for this channel. Commands for other channels may have been carried
    /// out, and if what was refused is the storing, the message was published.
    Refused {
        /// The channel.
        channel: String,
        /// Why, in Redis's words.
        reason: String,
    },
    /// The connection failed after something was sent: the message may have been published, to
    /// some of the channels or to all of them. Whether to try again is for the caller to say.
    MaybePublished(String),
    /// The connection failed before all answers were there. Nothing was changed.
    Unanswered(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Url(why) | Error::Tls(why) | Error::History(why) => f.write_str(why),
            Error::Prefix(prefix) => write!(
                f,
                "the prefix {prefix:?} ends with a colon, has broadcast, group, user or session \
                 between its colons, or begins with wsloop:history"
            ),
            Error::Facility(facility) if facility.contains(':') => write!(
                f,
                "the facility {facility:?} has a colon in it, which only a broadcast's may have"
            ),
            Error::Facility(facility) => {
                write!(f, "the facility has {} bytes, more than 512", facility.len())
            }
            Error::Name { audience, name } => {
                write!(f, "{name:?} is no name of a {}: ", word(*audience))?;
                f.write_str(match name.as_str() {
                    "" => "it is empty",
                    _ if *audience == Audience::Broadcast => "a broadcast has none",
                    _ => "it has a colon in it",
                })
            }
            Error::Expire(seconds) => write!(f, "{seconds} seconds are more than 100 years"),
            Error::Close { reason, .. } if reason.len() > super::MAX_REASON_BYTES => {
                write!(f, "the reason has {} bytes, more than 123", reason.len())
            }
            Error::Close { code, .. } => write!(f, "{code} is no code that a conn is closed with"),
            Error::NoAudience => {
                f.write_str("nobody is named: say broadcast, or a user, a group or a session")
            }
            Error::Unreachable { address, reason } => {
                write!(f, "no connection to Redis at {address}: {reason}")
            }
            Error::Login { address, reason } => {
                write!(f, "Redis at {address} does not let us in: {reason}")
            }
            Error::Refused { channel, reason } => {
                write!(f, "Redis refuses a command for {channel:?}: {reason}")
            }
            Error::MaybePublished(why) => {
                write!(f, "the message may have been published, or not: {why}")
            }
            Error::Unanswered(why) => write!(f, "Redis did not answer: {why}"),
        }
    }
}

impl std::error::Error for Error {}
