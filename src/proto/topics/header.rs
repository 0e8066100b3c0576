//! What the server of `wsloop.1` says before a payload, or alone.

use std::fmt::{self, Display};
use std::io::Write;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What is escaped in a word.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// A header line; its `Display` is what goes out, without a line feed. A channel is an audience,
/// and for a group its name behind a colon; a position is one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicHeader<'a> {
    /// The first thing that is said, with the limits as `KEY=VALUE`.
    Welcome(&'a [(&'a str, u64)]),
    /// A command is done.
    Ok(u64),
    /// It is not done: a status as HTTP has it, and why.
    Refused(u64, u16, &'a str),
    /// It is not known whether a message is published.
    Dropped(u64),
    /// A channel is heard from that position on.
    Subscribed(&'a str, &'a str, &'a str),
    /// A message; its payload follows.
    Message(&'a str, &'a str, &'a str),
    /// The stored message of a channel; its payload follows.
    Stored(&'a str, &'a str),
    /// What was published before that position may be missing.
    Gap(&'a str, &'a str, &'a str),
    /// The server is there.
    Beat,
}

impl TopicHeader<'_> {
    /// Whether a line feed and a payload follow.
    pub fn has_payload(&self) -> bool {
        matches!(self, TopicHeader::Message(..) | TopicHeader::Stored(..))
    }

    /// Appends it, and the line feed where a payload follows.
    pub fn append(&self, out: &mut Vec<u8>) {
        write!(out, "{self}").expect("memory takes what is written");
        if self.has_payload() {
            out.push(b'\n');
        }
    }
}

/// Where a message of the server says that a channel stands: the two words of the channel, and the
/// position, if it says one.
pub fn stands(message: &[u8]) -> Option<(&str, &str)> {
    let end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
    let (verb, rest) = std::str::from_utf8(&message[..end]).ok()?.split_once(' ')?;
    let (pair, position) = rest.rsplit_once(' ')?;
    let says = matches!(verb, "subscribed" | "message" | "gap") && position != super::NOWHERE;
    says.then_some((pair, position))
}

impl Display for TopicHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |f: &mut fmt::Formatter<'_>, verb, channel, facility, position| {
            write!(f, "{verb} {} {} {position}", word(channel), word(facility))
        };
        match *self {
            TopicHeader::Welcome(limits) => {
                f.write_str("welcome")?;
                limits.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
            }
            TopicHeader::Ok(number) => write!(f, "ok {number}"),
            TopicHeader::Refused(number, status, why) => {
                let line = why.lines().next().unwrap_or_default();
                write!(f, "refused {number} {status} {line}")
            }
            TopicHeader::Dropped(number) => write!(f, "dropped {number}"),
            TopicHeader::Subscribed(channel, facility, position) => {
                of(f, "subscribed", channel, facility, position)
            }
            TopicHeader::Message(channel, facility, position) => {
                of(f, "message", channel, facility, position)
            }
            TopicHeader::Stored(channel, facility) => {
                of(f, "stored", channel, facility, super::NOWHERE)
            }
            TopicHeader::Gap(channel, facility, position) => {
                of(f, "gap", channel, facility, position)
            }
            TopicHeader::Beat => f.write_str("beat"),
        }
    }
}

/// A word as it is written.
pub(super) fn word(text: &str) -> impl Display {
    utf8_percent_encode(text, ESCAPED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_of_words() {
        for (header, line) in [
            (TopicHeader::Welcome(&[("commands", 64), ("beat", 0)]), "welcome commands=64 beat=0"),
            (TopicHeader::Ok(7), "ok 7"),
            (TopicHeader::Refused(7, 403, "not yours\nat all"), "refused 7 403 not yours"),
            (TopicHeader::Dropped(7), "dropped 7"),
            (TopicHeader::Subscribed("user", "a", "1-2"), "subscribed user a 1-2"),
            (TopicHeader::Stored("user", "a"), "stored user a -\n"),
            (TopicHeader::Gap("broadcast", "a", "@5.x"), "gap broadcast a @5.x"),
            (TopicHeader::Beat, "beat"),
            (
                TopicHeader::Message("group:the staff", "50%\u{e9}", "-"),
                "message group:the%20staff 50%25%C3%A9 -\n",
            ),
        ] {
            let mut out = Vec::new();
            header.append(&mut out);
            let says = matches!(line.split(' ').nth(3), Some("1-2" | "@5.x"));
            assert_eq!(stands(&out).is_some(), says, "{line}");
            assert_eq!(String::from_utf8(out).expect("text"), line);
        }
        let message = b"message group:a%20b 50%25 5-0\nuser a 6-0";
        assert_eq!(stands(message), Some(("group:a%20b 50%25", "5-0")));
        assert_eq!(stands(b"gap broadcast a 1-0"), Some(("broadcast a", "1-0")));
    }
}
