//! What a client of `wsloop.1` wants.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

use super::{MAX_NUMBER, MAX_POSITION};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCommand<'a> {
    /// Its number, which is in the answer.
    pub number: u64,
    /// What is wanted.
    pub verb: Verb<'a>,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb<'a> {
    /// To hear a facility.
    Subscribe {
        /// As it is written.
        audience: &'a str,
        /// Decoded.
        facility: Cow<'a, str>,
        /// Channels, decoded, with the positions behind which each is to go on.
        since: Vec<(Cow<'a, str>, &'a str)>,
    },
    /// To hear it no more.
    Unsubscribe {
        /// As it is written.
        audience: &'a str,
        /// Decoded.
        facility: Cow<'a, str>,
    },
    /// To say something.
    Publish {
        /// As it is written.
        audience: &'a str,
        /// Decoded.
        facility: Cow<'a, str>,
        /// What is said.
        payload: &'a [u8],
    },
    /// To be answered.
    Ping,
}

/// Why a message is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// Its header is not UTF-8.
    HeaderUtf8,
    /// It begins with no verb that there is.
    Verb,
    /// There is no number behind the verb, or one that is too large.
    Number,
    /// It has fewer words than it needs.
    Words,
    /// It has more of them, or two spaces on end.
    Rest,
    /// An escape in a word is none, or what is escaped is not UTF-8.
    Escape,
    /// A position is longer than one can be.
    Position,
    /// It has a payload, or has none.
    Payload,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CommandError::HeaderUtf8 => "the header of a command must be UTF-8",
            CommandError::Verb => "a command is subscribe, unsubscribe, publish or ping",
            CommandError::Number => "a command has a number of 1 to 9007199254740991",
            CommandError::Words => "the command has too few words",
            CommandError::Rest => "the command has too many words or spaces",
            CommandError::Escape => "an escape is % and two hexadecimal digits of UTF-8",
            CommandError::Position => "a position has at most 64 bytes",
            CommandError::Payload => "publish has a line feed and a payload, and nothing else has",
        })
    }
}

impl<'a> TopicCommand<'a> {
    /// Reads a message, text or binary.
    pub fn parse(message: &'a [u8]) -> Result<TopicCommand<'a>, CommandError> {
        let feed = message.iter().position(|byte| *byte == b'\n');
        let (head, payload) = match feed {
            Some(at) => (&message[..at], Some(&message[at + 1..])),
            None => (message, None),
        };
        let head = std::str::from_utf8(head).map_err(|_| CommandError::HeaderUtf8)?;
        let mut words = head.split(' ');
        let verb = words.next().unwrap_or_default();
        if !matches!(verb, "subscribe" | "unsubscribe" | "publish" | "ping") {
            return Err(CommandError::Verb);
        }
        let number = number(words.next().unwrap_or_default())?;
        if payload.is_some() != (verb == "publish") {
            return Err(CommandError::Payload);
        }
        let verb = match verb {
            "ping" => Verb::Ping,
            verb => {
                let audience = words.next().filter(|word| !word.is_empty());
                let audience = audience.ok_or(CommandError::Words)?;
                let facility = words.next().filter(|word| !word.is_empty());
                let facility = decoded(facility.ok_or(CommandError::Words)?)?;
                match (verb, payload) {
                    ("publish", Some(payload)) => Verb::Publish { audience, facility, payload },
                    ("unsubscribe", _) => Verb::Unsubscribe { audience, facility },
                    _ => Verb::Subscribe { audience, facility, since: since(&mut words)? },
                }
            }
        };
        match words.next() {
            None => Ok(TopicCommand { number, verb }),
            Some(_) => Err(CommandError::Rest),
        }
    }
}

/// Channels and positions, in pairs.
fn since<'a>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Result<Vec<(Cow<'a, str>, &'a str)>, CommandError> {
    let mut since = Vec::new();
    while let Some(channel) = words.next() {
        if channel.is_empty() {
            return Err(CommandError::Rest);
        }
        let position = words.next().filter(|word| !word.is_empty());
        let position = position.ok_or(CommandError::Words)?;
        if position.len() > MAX_POSITION {
            return Err(CommandError::Position);
        }
        since.push((decoded(channel)?, position));
    }
    Ok(since)
}

fn number(word: &str) -> Result<u64, CommandError> {
    let is_plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let number = word.parse().ok().filter(|number| is_plain && *number <= MAX_NUMBER);
    number.filter(|number| *number > 0).ok_or(CommandError::Number)
}

pub(super) fn decoded(word: &str) -> Result<Cow<'_, str>, CommandError> {
    let escaped = |(at, _): (usize, &str)| {
        let digits = word.as_bytes().get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !word.match_indices('%').all(escaped) {
        return Err(CommandError::Escape);
    }
    percent_decode_str(word).decode_utf8().map_err(|_| CommandError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Verb<'_>, CommandError> {
        TopicCommand::parse(text.as_bytes()).map(|command| command.verb)
    }

    #[test]
    fn commands_are_read_and_borrowed() {
        let facility = Cow::Borrowed("chat/42");
        let subscribe =
            |since| Verb::Subscribe { audience: "broadcast", facility: facility.clone(), since };
        assert_eq!(of("subscribe 1 broadcast chat/42"), Ok(subscribe(vec![])));
        assert_eq!(
            of("subscribe 1 broadcast chat/42 broadcast 17-0"),
            Ok(subscribe(vec![(Cow::Borrowed("broadcast"), "17-0")]))
        );
        assert_eq!(
            of("unsubscribe 2 group chat%2042"),
            Ok(Verb::Unsubscribe { audience: "group", facility: "chat 42".into() })
        );
        let payload = &b"two\nlines"[..];
        assert_eq!(
            of("publish 3 user chat/42\ntwo\nlines"),
            Ok(Verb::Publish { audience: "user", facility: facility.clone(), payload })
        );
        let ping = TopicCommand { number: MAX_NUMBER, verb: Verb::Ping };
        assert_eq!(TopicCommand::parse(b"ping 9007199254740991"), Ok(ping));
        let binary =
            TopicCommand::parse(b"publish 1 user a\n\xff\0").expect("a payload may be binary");
        let payload = &b"\xff\0"[..];
        let facility = Cow::Borrowed("a");
        assert_eq!(binary.verb, Verb::Publish { audience: "user", facility, payload });
    }

    #[test]
    fn what_is_no_command_says_why() {
        let long = format!("subscribe 1 user a user {}", "1".repeat(MAX_POSITION + 1));
        for (text, error) in [
            ("", CommandError::Verb),
            ("SUBSCRIBE 1 user a", CommandError::Verb),
            (" ping 1", CommandError::Verb),
            ("ping", CommandError::Number),
            ("ping ", CommandError::Number),
            ("ping 0", CommandError::Number),
            ("ping +1", CommandError::Number),
            ("ping 9007199254740992", CommandError::Number),
            ("ping 1 ", CommandError::Rest),
            ("ping 1\n", CommandError::Payload),
            ("subscribe 1", CommandError::Words),
            ("subscribe 1 user", CommandError::Words),
            ("subscribe 1  a", CommandError::Words),
            ("subscribe 1 user ", CommandError::Words),
            ("subscribe 1 user a user", CommandError::Words),
            ("subscribe 1 user a  17-0", CommandError::Rest),
            ("subscribe 1 user a\n", CommandError::Payload),
            ("unsubscribe 1 user a b", CommandError::Rest),
            ("publish 1 user a", CommandError::Payload),
            ("publish 1 user\n", CommandError::Words),
            ("subscribe 1 user %4", CommandError::Escape),
            ("subscribe 1 user %+1", CommandError::Escape),
            ("subscribe 1 user %ff", CommandError::Escape),
            (&long, CommandError::Position),
        ] {
            assert_eq!(of(text), Err(error), "{text:?}");
            assert!(!error.to_string().is_empty());
        }
        assert_eq!(TopicCommand::parse(b"ping \xff"), Err(CommandError::HeaderUtf8));
    }
}
