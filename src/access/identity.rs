//! L1: who a conn belongs to: session, user and groups, and which names they may have.
//!
//! An identity is determined by [`token`] or by [`session`], which are pure functions of bytes, or
//! by a question to the application. It knows nothing of where the bytes come from.
//!
//! - A name with a colon in it would make `[prefix:]audience:who:facility` ambiguous: facility `c`
//!   of user `a:b` is facility `b:c` of user `a`. Such a name is never part of an identity.
//! - Nothing is dropped silently: a name that an identity has lost is in the answer, whichever
//!   source it is from. Who has lost one is let in without it, and refused where it is needed.

use std::fmt;

use crate::access::channel::{Audience, Options};

/// Longest name of a user, a group or a session, in bytes of UTF-8.
pub(crate) const MAX_NAME: usize = 255;
/// Most groups that one may be in: each is a channel to be heard.
pub const MAX_GROUPS: usize = 1000;
/// How many characters of a refused name are kept for the log.
const MAX_SHOWN: usize = 80;

/// Session key, user name and groups of a conn; all empty for an anonymous one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Key of the application's session.
    pub session: Option<String>,
    /// The user's name.
    pub user: Option<String>,
    /// Names of the user's groups, in the application's order.
    pub groups: Vec<String>,
}

impl Identity {
    /// What the conns of a user, a group or a session are found by.
    pub fn owner(audience: Audience, name: &str) -> String {
        format!("{}:{name}", audience.word())
    }

    /// Whom its conns belong to, each in the words of [`Identity::owner`].
    pub fn owners(&self) -> impl Iterator<Item = String> {
        self.other_owners(Options::default())
    }

    /// The same but for those by whose channels a conn is found, as it was granted to hear them.
    pub fn other_owners(&self, granted: Options) -> impl Iterator<Item = String> {
        let user = self.user.iter().map(|name| (Audience::User, name));
        let groups = self.groups.iter().map(|name| (Audience::Group, name));
        let session = self.session.iter().map(|name| (Audience::Session, name));
        let all = user.chain(groups).chain(session);
        all.filter(move |(audience, _)| !granted.subscribe(*audience))
            .map(|(audience, name)| Self::owner(audience, name))
    }
}

/// An identity, and the names that it cannot have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// What is left: every name in it passes [`check_name`].
    pub identity: Identity,
    /// What was lost. Such an identity is sound, but less than the application meant.
    pub refused: Vec<Refused>,
}

impl Named {
    /// Takes the names that may be, and says which may not.
    pub fn new<'a>(
        session: Option<&str>,
        user: Option<&str>,
        groups: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut named = Self::default();
        named.identity.session = session.and_then(|name| named.take(Audience::Session, name));
        named.identity.user = user.and_then(|name| named.take(Audience::User, name));
        for group in groups {
            if let Some(group) = named.take(Audience::Group, group) {
                named.identity.groups.push(group);
            }
        }
        named
    }

    /// Copies the name when it may be, and notes it when not.
    fn take(&mut self, audience: Audience, name: &str) -> Option<String> {
        match check_name(name) {
            Ok(()) => Some(name.to_owned()),
            Err(why) => {
                let name = name.chars().take(MAX_SHOWN).collect();
                self.refused.push(Refused { audience, name, why });
                None
            }
        }
    }
}

/// A name that was not taken into an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What it was the name of: a group, a user or a session.
    pub audience: Audience,
    /// Its first 80 characters, as they are: to be escaped when they are shown. Empty when it is
    /// no text.
    pub name: String,
    /// What is wrong with it.
    pub why: NameError,
}

/// Why a name may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It is empty, and all who have none would share a channel.
    Empty,
    /// It is longer than 255 bytes.
    TooLong,
    /// It holds a colon, which is what separates the parts of a channel's name.
    Colon,
    /// It holds a control character, which is nobody's name and forges lines of a log.
    Control,
    /// It begins or ends with a blank, which is lost or added on the way through headers and forms.
    Blank,
    /// It is neither a text nor a whole number where it was found, or no list where one belongs.
    NotText,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::TooLong => "is longer than 255 bytes",
            Self::Colon => "holds a colon",
            Self::Control => "holds a control character",
            Self::Blank => "begins or ends with a blank",
            Self::NotText => "is not of the type that it must be",
        })
    }
}

/// Whether a user, a group or a session may have that name: not empty, at most 255 bytes,
/// without colons, without control characters and without blanks around it.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        Err(NameError::Empty)
    } else if name.len() > MAX_NAME {
        Err(NameError::TooLong)
    } else if name.contains(':') {
        Err(NameError::Colon)
    } else if name.contains(char::is_control) {
        Err(NameError::Control)
    } else if name.trim() != name {
        Err(NameError::Blank)
    } else {
        Ok(())
    }
}

/// What a file with a secret in it says: its bytes less one newline (LF or CRLF) at their end.
pub fn secret(file: &[u8]) -> &[u8] {
    let line = file.strip_suffix(b"\n").unwrap_or(file);
    if line.len() < file.len() { line.strip_suffix(b"\r").unwrap_or(line) } else { file }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::channel::{Allow, channels};

    #[test]
    fn names() {
        let longest = "x".repeat(MAX_NAME);
        for name in
            ["john", "a b", "Doe, John", "jürgen 😀", "*", "user/1", "None", "a%3Ab", &longest]
        {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, error) in [
            ("", NameError::Empty),
            (":", NameError::Colon),
            ("a:b", NameError::Colon),
            ("a\nb", NameError::Control),
            ("\0", NameError::Control),
            ("a\u{85}", NameError::Control),
            (" a", NameError::Blank),
            ("a ", NameError::Blank),
            ("a\u{a0}", NameError::Blank),
            ("\u{3000}a", NameError::Blank),
            (" ", NameError::Blank),
            (&format!("{longest}x"), NameError::TooLong),
            (&"ö".repeat(128), NameError::TooLong),
        ] {
            assert_eq!(check_name(name), Err(error), "{name}");
        }
    }

    #[test]
    fn what_is_refused_is_said_and_the_rest_is_kept() {
        let named = Named::new(Some("key"), Some(&":".repeat(500)), ["a", "b:c", "", "d"]);
        let identity = Identity {
            session: Some("key".into()),
            user: None,
            groups: vec!["a".into(), "d".into()],
        };
        assert_eq!(named.identity, identity);
        let refused = |audience, name: &str, why| Refused { audience, name: name.into(), why };
        let expected = [
            refused(Audience::User, &":".repeat(80), NameError::TooLong),
            refused(Audience::Group, "b:c", NameError::Colon),
            refused(Audience::Group, "", NameError::Empty),
        ];
        assert_eq!(named.refused, expected);
    }

    #[test]
    fn no_two_owners_share_a_channel() {
        let parts = ["a", "b", "a:b", ":", "user", "group:a", ""];
        let mut owners = std::collections::BTreeMap::new();
        for facility in parts.iter().filter(|facility| !facility.contains(':')) {
            for name in parts {
                for audience in ["user", "group", "session"] {
                    let named = Named::new(
                        (audience == "session").then_some(name),
                        (audience == "user").then_some(name),
                        (audience == "group").then_some(name),
                    );
                    let options = Options::parse(&format!("subscribe-{audience}"));
                    let allow = Allow::parse("all").unwrap();
                    for channel in
                        channels("p", facility, options, allow.permitted(options), &named.identity)
                            .subscribe
                    {
                        let owner = (audience, name, *facility);
                        assert_eq!(owners.insert(channel, owner), None, "{owner:?}");
                    }
                }
            }
        }
        assert_eq!(owners.len(), 3 * 3 * 4);
    }

    #[test]
    fn secrets_lose_one_newline() {
        for (file, expected) in [
            (&b"secret"[..], &b"secret"[..]),
            (b"secret\n", b"secret"),
            (b"secret\r\n", b"secret"),
            (b"secret\n\n", b"secret\n"),
            (b" secret \r", b" secret \r"),
            (b"\n", b""),
            (b"", b""),
        ] {
            assert_eq!(secret(file), expected);
        }
    }
}
