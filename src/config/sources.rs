//! L4: where identities come from: tokens, the application's sessions, the application itself.
//!
//! A source is on when what it cannot do without is given: a key, the template of session keys, a
//! URL. What is given for a source that is not on is wrong, not ignored.

use std::fmt::Display;

use super::table::{Given, Wrong};
use super::values::{is_token_byte, quoted};
use crate::access::ask;
use crate::access::channel;
use crate::access::identity::{MAX_NAME, secret};
use crate::access::session::{Entries, Format};
use crate::access::sources::{Sessions, Sources, Tokens};
use crate::access::token::TokenKey;
use crate::link::Target;

/// The values of the flags about sources.
#[derive(Default)]
pub(super) struct SourcesDraft {
    pub token_key: Option<TokenKey>,
    pub token_audience: Option<String>,
    /// What comes before a session's own key in Redis, and behind it.
    pub session_key: Option<(String, String)>,
    pub cookie: Option<String>,
    pub format: Format,
    pub secret: Option<Vec<u8>>,
    pub user_entry: String,
    pub groups_entry: String,
    /// Where to dial, the Host header, and path and query.
    pub auth_url: Option<(Target, String, String)>,
    pub auth_timeout_ms: u64,
    pub auth_connections: usize,
}

/// Sources, checked, and what is to be said about them.
pub(super) struct Checked {
    pub sources: Sources,
    pub warnings: Vec<String>,
    pub notes: Vec<String>,
}

impl SourcesDraft {
    /// Whether something is given that says who a browser belongs to.
    pub(super) fn has_any(&self, given: &Given) -> bool {
        ["token-key-file", "session-key", "auth-url"].into_iter().any(|flag| given.has(flag))
    }

    /// The sources. `waiting` is how many handshakes may be under way.
    pub(super) fn finish(
        self,
        given: &Given,
        waiting: usize,
        handshake_timeout_ms: u64,
    ) -> Result<Checked, Wrong> {
        belongings(given)?;
        let (mut warnings, mut notes) = (Vec::new(), Vec::new());
        if let Some(key) = &self.token_key {
            notes.push(format!("tokens must be signed with {}", key.algorithm()));
            warnings.extend(key.warning().map(|warning| format!("--token-key-file: {warning}")));
        }
        if self.secret.is_some() && !self.format.is_signed() {
            warnings.push(format!(
                "--session-secret-file has no effect: sessions of the format {} are not signed",
                self.format.name()
            ));
        }
        if self.auth_url.is_some() && self.auth_timeout_ms >= handshake_timeout_ms {
            let why = "it must be shorter than --handshake-timeout, or no answer could be used";
            return Err(Wrong { flag: "auth-timeout", why: why.to_owned() });
        }
        let usual = if self.format == Format::Express { "connect.sid" } else { "sessionid" };
        let entry = |entry: String| Some(entry).filter(|entry| !entry.is_empty());
        let sources = Sources {
            token: self.token_key.map(|key| Tokens { key, audience: self.token_audience }),
            session: self.session_key.map(|key| Sessions {
                cookie: self.cookie.unwrap_or_else(|| usual.to_owned()),
                key,
                format: self.format,
                secret: self.secret,
                entries: Entries { user: entry(self.user_entry), groups: entry(self.groups_entry) },
            }),
            auth: self.auth_url.map(|(target, host, path)| ask::AskSettings {
                target,
                host,
                path,
                timeout_ms: self.auth_timeout_ms,
                connections: self.auth_connections,
                waiting,
            }),
        };
        Ok(Checked { sources, warnings, notes })
    }
}

/// Refuses what is given for a source that is not on.
fn belongings(given: &Given) -> Result<(), Wrong> {
    let mend = "give --token-key-file as well, with the key that tokens are signed with";
    given.only_with("token-key-file", &["token-audience"], mend)?;
    let of_sessions = [
        "session-cookie",
        "session-format",
        "session-secret-file",
        "session-user",
        "session-groups",
    ];
    let mend = "give --session-key as well, such as session:{}";
    given.only_with("session-key", &of_sessions, mend)?;
    let mend = "give --auth-url as well, such as http://127.0.0.1:8000/wsloop/auth/";
    given.only_with("auth-url", &["auth-timeout", "auth-connections"], mend)
}

/// What a file says, read by `parse`.
pub(super) fn read<T, E: Display>(
    path: &str,
    parse: impl FnOnce(&[u8]) -> Result<T, E>,
) -> Result<T, String> {
    let bytes =
        std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", quoted(path)))?;
    parse(&bytes).map_err(|error| format!("{}: {error}", quoted(path)))
}

/// The secret in a file's bytes.
pub(super) fn secret_of(file: &[u8]) -> Result<Vec<u8>, &'static str> {
    match secret(file) {
        [] => Err("the file is empty; it must have the secret in it"),
        secret => Ok(secret.to_vec()),
    }
}

/// What comes before a session's own key in Redis, and behind it.
pub(super) fn template(text: &str) -> Result<(String, String), String> {
    let Some((before, behind)) = text.split_once("{}").filter(|(_, rest)| !rest.contains("{}"))
    else {
        return Err(format!(
            "{} must have {{}} in it, once, for the session's own key, such as session:{{}}",
            quoted(text)
        ));
    };
    if text.len() > MAX_NAME {
        return Err(format!("{} is over {MAX_NAME} bytes", quoted(text)));
    }
    // Whoever may name a session could else have a stored message read as one, or the reverse.
    if channel::reads_as_channel(&text.replace("{}", "broadcast"))
        || channel::reads_as_channel(&text.replace("{}", "key"))
    {
        return Err(format!(
            "{} reads as the name of a channel, so that browsers could hear and store sessions; \
             let the application keep its sessions under other names",
            quoted(text)
        ));
    }
    Ok((before.to_owned(), behind.to_owned()))
}

/// How sessions are written.
pub(super) fn format(text: &str) -> Result<Format, String> {
    let names = || Format::ALL.map(Format::name).join(", ");
    let wrong = || format!("{} is none of {}", quoted(text), names());
    Format::parse(text).ok_or_else(wrong)
}

/// The name of a cookie.
pub(super) fn cookie(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(is_token_byte) {
        true => Ok(text.to_owned()),
        false => Err(format!("{} is no name of a cookie, such as sessionid", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_one_place_and_is_no_channel() {
        let both = |before: &str, behind: &str| Ok((before.to_owned(), behind.to_owned()));
        assert_eq!(template("session:{}"), both("session:", ""));
        assert_eq!(template("{}"), both("", ""));
        let django = ":1:django.contrib.sessions.cache{}";
        assert_eq!(template(django), both(":1:django.contrib.sessions.cache", ""));
        assert_eq!(template("sess:{}"), both("sess:", ""));
        for (text, words) in [
            ("", "once"),
            ("session:", "once"),
            ("{}{}", "once"),
            ("session:{}:data", "reads as the name of a channel"),
            ("broadcast:{}", "reads as the name of a channel"),
            ("{}:x", "reads as the name of a channel"),
            ("user:{}:x", "reads as the name of a channel"),
            (&format!("{}{{}}", "x".repeat(300)), "255 bytes"),
        ] {
            let error = template(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn cookies_have_names() {
        assert_eq!(cookie("connect.sid"), Ok("connect.sid".to_owned()));
        for text in ["", "a b", "a=b", "a;b", "\u{e9}"] {
            assert!(cookie(text).is_err(), "{text}");
        }
    }
}
