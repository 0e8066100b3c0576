//! L1: which channels have a history, and under which names their last messages are kept.
//!
//! A history is a stream of Redis: an entry for each message, the oldest first, with the one field
//! [`FIELD`]. `kept` has those of the embedded broker, `script` is how Redis is asked. It knows
//! channels by name; not who hears them, nor how a Redis is reached. Its rules:
//! * the first rule that fits a channel decides; a channel that none fits costs nothing;
//! * the stream of a channel is named after it, with the channel in braces: so it lies in the
//!   channel's slot of a cluster. A channel with a brace in its name would lie elsewhere, and has
//!   no history.

mod kept;
pub(crate) mod look;
mod offset;
pub(crate) mod position;
pub(crate) mod reading;
pub(crate) mod script;

pub(crate) use kept::Histories;
pub(crate) use offset::Bound;
pub use offset::Offset;

use crate::access::channel::{self, Audience};
use crate::access::pattern;

/// What names of streams begin with.
pub(crate) const PREFIX: &str = "wsloop:history:";
/// The field of an entry that has the message.
pub(crate) const FIELD: &[u8] = b"message";
/// Most messages of a history.
pub(crate) const MOST_MESSAGES: usize = 100_000;

/// How much is kept of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistorySize {
    /// Most messages.
    pub messages: usize,
    /// Seconds after the last message until all are forgotten.
    pub seconds: u64,
}

/// What is kept of the channels that it fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRule {
    /// Pattern of facilities.
    pub facility: String,
    /// Audiences.
    pub audiences: Vec<Audience>,
    /// How much.
    pub keeps: HistorySize,
}

/// Rules in the order in which they are tried, for the channels of one prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryRules {
    /// What names of channels begin with, without the colon.
    pub prefix: String,
    /// The rules.
    pub rules: Vec<HistoryRule>,
}

impl HistorySize {
    /// The time in milliseconds.
    pub(crate) fn ms(self) -> u64 {
        self.seconds.saturating_mul(1000)
    }
}

impl HistoryRule {
    /// Reads `PATTERN=MESSAGES/SECONDS`, for all audiences.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once('=').and_then(|(facility, numbers)| {
            let (messages, seconds) = numbers.split_once('/')?;
            Some((facility.trim(), messages.trim().parse().ok()?, seconds.trim().parse().ok()?))
        });
        let (facility, messages, seconds) = parts.ok_or_else(|| {
            format!("{text:?} is no rule; write facilities, messages and seconds, {EXAMPLE}")
        })?;
        HistoryRule::new(facility, Audience::ALL.to_vec(), HistorySize { messages, seconds })
    }

    /// Reads such rules with commas between.
    pub(crate) fn parse_list(list: &str) -> Result<Vec<Self>, String> {
        let rules = list.split(',').filter(|rule| !rule.trim().is_empty());
        rules.map(HistoryRule::parse).collect()
    }

    /// A rule, if it makes sense.
    pub(crate) fn new(
        facility: &str,
        audiences: Vec<Audience>,
        keeps: HistorySize,
    ) -> Result<Self, String> {
        if facility.contains(['{', '}']) {
            return Err(format!(
                "{facility:?} has a brace, and channels with braces have no history; write a \
                 pattern without, {EXAMPLE}"
            ));
        }
        if !(1..=MOST_MESSAGES).contains(&keeps.messages) {
            let most = MOST_MESSAGES;
            return Err(format!("{} messages are out of range; give 1 to {most}", keeps.messages));
        }
        if !(1..=LONGEST_S).contains(&keeps.seconds) {
            let most = LONGEST_S;
            return Err(format!("{} seconds are out of range; give 1 to {most}", keeps.seconds));
        }
        Ok(HistoryRule { facility: facility.to_owned(), audiences, keeps })
    }
}

impl HistoryRules {
    /// Whether no channel has a history.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How much is kept of a channel, if it has a history.
    pub fn of(&self, channel: &str) -> Option<HistorySize> {
        let keeps = self.wanted(channel)?;
        is_nameable(channel).then_some(keeps)
    }

    /// Whether a rule fits a channel that can have no history all the same.
    pub(crate) fn fits_in_vain(&self, channel: &str) -> bool {
        !self.is_empty() && !is_nameable(channel) && self.wanted(channel).is_some()
    }

    fn wanted(&self, channel: &str) -> Option<HistorySize> {
        if self.is_empty() {
            return None;
        }
        let (audience, facility) = channel::within(channel, &self.prefix)?;
        let fits = |rule: &&HistoryRule| {
            rule.audiences.contains(&audience) && pattern::matches(&rule.facility, facility)
        };
        self.rules.iter().find(fits).map(|rule| rule.keeps)
    }
}

/// The name of the stream with the history of a channel.
pub(crate) fn stream_of(channel: &str) -> String {
    format!("{PREFIX}{{{channel}}}")
}

/// The channel whose history a stream of that name has, if it is such a name.
pub(crate) fn channel_of(stream: &[u8]) -> Option<&[u8]> {
    stream.strip_prefix(PREFIX.as_bytes())?.strip_prefix(b"{")?.strip_suffix(b"}")
}

/// Whether a stream can be named after a channel.
fn is_nameable(channel: &str) -> bool {
    !channel.contains(['{', '}'])
}

/// Longest time that a history is kept: 100 years, as with what is stored.
const LONGEST_S: u64 = 100 * 365 * 86_400;
const EXAMPLE: &str = "as in chat/*=100/300";

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(list: &[&str]) -> HistoryRules {
        let rules = list.iter().map(|text| HistoryRule::parse(text).expect(text)).collect();
        HistoryRules { prefix: "site".to_owned(), rules }
    }

    #[test]
    fn the_first_rule_that_fits_a_channel_of_the_prefix_decides() {
        let mut rules = rules(&["chat/log=9/8", "chat/*=100/300", " a=b = 1 / 2 "]);
        let user = HistoryRule { audiences: vec![Audience::User], ..rules.rules[1].clone() };
        rules.rules.push(HistoryRule { facility: "*".to_owned(), ..user });
        for (channel, expected) in [
            ("site:broadcast:chat/log", Some((9, 8))),
            ("site:broadcast:chat/42", Some((100, 300))),
            ("site:group:staff:chat/42", Some((100, 300))),
            ("site:broadcast:a=b", Some((1, 2))),
            ("site:broadcast:news", None),
            ("site:user:john:news", Some((100, 300))),
            ("site:session:k:news", None),
            ("broadcast:chat/42", None),
            ("other:broadcast:chat/42", None),
            ("site:broadcast:chat/{42}", None),
            ("wsloop:control", None),
            ("", None),
        ] {
            let keeps = rules.of(channel).map(|keeps| (keeps.messages, keeps.seconds));
            assert_eq!(keeps, expected, "{channel}");
            assert_eq!(rules.fits_in_vain(channel), channel.contains('{'), "{channel}");
        }
        assert!(!HistoryRules::default().fits_in_vain("broadcast:{"));
    }

    #[test]
    fn what_is_no_rule_says_how_to_write_one() {
        for (text, words) in [
            ("chat", "as in chat/*=100/300"),
            ("chat/*=100", "as in chat/*=100/300"),
            ("chat=100/", "as in chat/*=100/300"),
            ("chat=-1/2", "as in chat/*=100/300"),
            ("chat=0/2", "0 messages are out of range; give 1 to 100000"),
            ("chat=100001/2", "give 1 to 100000"),
            ("chat=1/0", "0 seconds are out of range"),
            ("chat/{}=1/2", "has a brace"),
        ] {
            let error = HistoryRule::parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_stream_is_named_after_its_channel() {
        let name = stream_of("broadcast:chat/42");
        assert_eq!(name, "wsloop:history:{broadcast:chat/42}");
        assert_eq!(channel_of(name.as_bytes()), Some(&b"broadcast:chat/42"[..]));
        for name in ["wsloop:history:broadcast:a", "wsloop:history:{a", "{a}", ""] {
            assert_eq!(channel_of(name.as_bytes()), None, "{name}");
        }
    }
}
