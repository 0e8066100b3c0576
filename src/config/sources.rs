//! L4: where identities come from: tokens, the application's sessions, the application itself.
//!
//! A source is on when what it cannot do without is given: a key, the template of session keys, a
//! URL. What is given for a source that is not on is wrong, not ignored.

use std::io::Read;
use std::path::Path;

use super::draft::ServerDraft;
use super::table::Absent::Value;
use super::table::Takes::Switch;
use super::table::{Flag, Given, Wrong};
use super::values::{is_token_byte, quoted};
use crate::access::ask;
use crate::access::channel;
use crate::access::identity::{MAX_NAME, secret};
use crate::access::key::{self, KeyError, TokenAlgorithm, TokenKeys};
use crate::access::session::{Entries, Format};
use crate::access::sources::{Sessions, Sources, Tokens};
use crate::link::Target;

pub(super) const REQUIRE_LOGIN: Flag<ServerDraft> = Flag {
    name: "require-login",
    variable: "WSLOOP_REQUIRE_LOGIN",
    takes: Switch(|draft, on| draft.settings.require_login = on),
    default: Value("off"),
    help: "Whoever is not logged in is refused with 403",
};

/// The values of the flags about sources.
#[derive(Default)]
pub(super) struct SourcesDraft {
    /// The files with keys of tokens, with their bytes.
    pub token_keys: Vec<(String, Vec<u8>)>,
    pub token_algorithms: Vec<TokenAlgorithm>,
    pub token_audience: Option<String>,
    pub token_leeway_ms: u64,
    /// What comes before a session's own key in Redis, and behind it.
    pub session_key: Option<(String, String)>,
    pub cookie: Option<String>,
    pub format: Format,
    pub secrets: Vec<Vec<u8>>,
    pub user_entry: String,
    pub groups_entry: String,
    /// Where to dial, the Host header, and path and query.
    pub auth_url: Option<(Target, String, String)>,
    pub auth_timeout_ms: u64,
    pub auth_connections: usize,
    pub auth_keep_alive: bool,
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
        let keys = token_keys(&self.token_keys, &self.token_algorithms)
            .map_err(|why| Wrong { flag: "token-key-file", why })?;
        if let Some(keys) = &keys {
            let several = match keys.count() {
                1 => String::new(),
                count => format!(", by one of {count} keys"),
            };
            let algorithms = keys.algorithms().join(" or ");
            notes.push(format!("tokens must be signed with {algorithms}{several}"));
            warnings.extend(keys.warning().map(|warning| format!("--token-key-file: {warning}")));
        }
        if !self.secrets.is_empty() && !self.format.is_signed() {
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
            token: keys.map(|keys| Tokens {
                keys,
                audience: self.token_audience,
                leeway_ms: self.token_leeway_ms,
            }),
            session: self.session_key.map(|key| Sessions {
                cookie: self.cookie.unwrap_or_else(|| usual.to_owned()),
                key,
                format: self.format,
                secrets: self.secrets,
                entries: Entries { user: entry(self.user_entry), groups: entry(self.groups_entry) },
            }),
            auth: self.auth_url.map(|(target, host, path)| ask::AskSettings {
                target,
                host,
                path,
                timeout_ms: self.auth_timeout_ms,
                connections: self.auth_connections,
                keep_alive: self.auth_keep_alive,
                waiting,
            }),
        };
        Ok(Checked { sources, warnings, notes })
    }
}

/// Refuses what is given for a source that is not on.
fn belongings(given: &Given) -> Result<(), Wrong> {
    let mend = "give --token-key-file as well, with the key that tokens are signed with";
    let of_tokens = ["token-algorithm", "token-audience", "token-leeway"];
    given.only_with("token-key-file", &of_tokens, mend)?;
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
    given.only_with("auth-url", &["auth-timeout", "auth-connections", "auth-keep-alive"], mend)
}

/// Most bytes of a file with keys: a set of the largest keys has fewer.
const MAX_KEY_FILE: u64 = 256 << 10;

/// The files that a text names, with commas between, unless one has the whole text for its name;
/// with what each says.
pub(super) fn read_all(text: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
    match Path::new(text).exists() {
        true => Ok(vec![read(text)?]),
        false => text.split(',').map(read).collect(),
    }
}

/// The secrets in such files.
pub(super) fn session_secrets(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let of = |(path, bytes): (String, Vec<u8>)| session_secret(&path, &bytes);
    read_all(text)?.into_iter().map(of).collect()
}

/// The password in a file.
pub(super) fn password(path: &str) -> Result<Vec<u8>, String> {
    let (path, bytes) = read(path)?;
    match secret(&bytes) {
        [] => Err(format!("{}: the file is empty; it must have the password in it", quoted(&path))),
        password => Ok(password.to_vec()),
    }
}

/// A file with keys, or with a secret, and what it says.
pub(super) fn read(path: &str) -> Result<(String, Vec<u8>), String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", quoted(path));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_KEY_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 > MAX_KEY_FILE {
        true => Err(format!("{} is over 256 KiB, which no file with keys is", quoted(path))),
        false => Ok((path.to_owned(), bytes)),
    }
}

/// The keys of all files; `None` without files.
fn token_keys(
    files: &[(String, Vec<u8>)],
    named: &[TokenAlgorithm],
) -> Result<Option<TokenKeys>, String> {
    let mut all = TokenKeys::default();
    for (path, bytes) in files {
        let wrong = |error: KeyError| format!("{}: {error}", quoted(path));
        if named.is_empty() && names_a_file(path, bytes) {
            let why = KeyError::NoSecret("it is the name of a file");
            return Err(wrong(why));
        }
        let keys = TokenKeys::from_file_bytes(bytes, named).map_err(wrong)?;
        all = all.with(keys).map_err(wrong)?;
    }
    Ok(Some(all).filter(|_| !files.is_empty()))
}

/// Whether a file says nothing but the name of another, as seen from here or from beside it.
fn names_a_file(path: &str, bytes: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(bytes.trim_ascii()) else { return false };
    let beside = Path::new(path).parent().map(|folder| folder.join(name));
    !name.is_empty() && (Path::new(name).exists() || beside.is_some_and(|path| path.exists()))
}

/// How tokens may be signed.
pub(super) fn algorithm(text: &str) -> Result<TokenAlgorithm, String> {
    let names = || TokenAlgorithm::ALL.map(TokenAlgorithm::name).join(", ");
    TokenAlgorithm::parse(text).ok_or_else(|| format!("{} is none of {}", quoted(text), names()))
}

/// The secret in a file, which is no key that others may have.
fn session_secret(path: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let secret = secret(bytes);
    let why = match key::evident(bytes) {
        _ if secret.is_empty() => "the file is empty; it must have the secret in it".to_owned(),
        _ if key::is_wide(bytes) => {
            "this is UTF-16 or UTF-32; save it as ASCII or UTF-8".to_owned()
        }
        _ if secret.starts_with(b"\xef\xbb\xbf") => {
            "it begins with a byte order mark, which the application's secret does not; save it \
             without"
                .to_owned()
        }
        Some(form) => format!("this is {form}, not a secret"),
        None => return Ok(secret.to_vec()),
    };
    Err(format!("{}: {why}", quoted(path)))
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
