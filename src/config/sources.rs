//! L4: where identities come from: tokens, the application's sessions, the application itself.
//!
//! A source is on when what it cannot do without is given: a key, the template of session keys, a
//! URL. What is given for a source that is not on is wrong, not ignored.

use super::flags::Flags;
use super::values::{quoted, seconds};
use super::{LONGEST_MS, Wrong, count, value};
use crate::access::ask::{self, AskSettings};
use crate::access::channel;
use crate::access::identity::{MAX_NAME, secret};
use crate::access::session::{Entries, Format};
use crate::access::sources::{Sessions, Sources, Tokens};
use crate::access::token::Key;

/// Names of the session's entries that the Django application writes.
const USER_ENTRY: &str = "wsloop:username";
const GROUPS_ENTRY: &str = "ws4redis:memberof";

/// The sources, checked. `waiting` is how many handshakes may be under way.
pub fn sources(
    flags: &Flags,
    waiting: usize,
    handshake_timeout_ms: u64,
    notes: &mut Vec<String>,
) -> Result<Sources, Wrong> {
    Ok(Sources {
        token: tokens(flags, notes)?,
        session: sessions(flags, notes)?,
        auth: application(flags, waiting, handshake_timeout_ms)?,
    })
}

fn tokens(flags: &Flags, notes: &mut Vec<String>) -> Result<Option<Tokens>, Wrong> {
    let needs = "give --token-key-file as well, with the key that tokens are signed with";
    only_with(&flags.token_key_file, [("token-audience", &flags.token_audience)], needs)?;
    let read = |path: &str| {
        let key = Key::from_file_bytes(&bytes_of(path)?);
        key.map_err(|error| format!("{}: {error}", quoted(path)))
    };
    let Some(key) = value("token-key-file", &flags.token_key_file, read)? else { return Ok(None) };
    notes.push(format!("tokens must be signed with {}", key.algorithm()));
    notes.extend(key.warning().map(|warning| format!("--token-key-file: {warning}")));
    Ok(Some(Tokens { key, audience: flags.token_audience.clone() }))
}

fn sessions(flags: &Flags, notes: &mut Vec<String>) -> Result<Option<Sessions>, Wrong> {
    let others = [
        ("session-cookie", &flags.session_cookie),
        ("session-format", &flags.session_format),
        ("session-secret-file", &flags.session_secret_file),
        ("session-user", &flags.session_user),
        ("session-groups", &flags.session_groups),
    ];
    let needs = "give --session-key as well, such as session:{}";
    only_with(&flags.session_key, others, needs)?;
    let Some(key) = value("session-key", &flags.session_key, template)? else { return Ok(None) };
    let format = value("session-format", &flags.session_format, format)?.unwrap_or_default();
    let read = |path: &str| {
        let file = bytes_of(path)?;
        match secret(&file) {
            [] => Err(format!("{} is empty", quoted(path))),
            secret => Ok(secret.to_vec()),
        }
    };
    let secret = value("session-secret-file", &flags.session_secret_file, read)?;
    if secret.is_some() && !format.is_signed() {
        notes.push(format!(
            "--session-secret-file has no effect: sessions of the format {} are not signed",
            format.name()
        ));
    }
    let usual = if format == Format::Express { "connect.sid" } else { "sessionid" };
    let cookie = value("session-cookie", &flags.session_cookie, cookie)?;
    let entry = |given: &Option<String>, usual: &str| {
        Some(given.clone().unwrap_or_else(|| usual.to_owned())).filter(|entry| !entry.is_empty())
    };
    Ok(Some(Sessions {
        cookie: cookie.unwrap_or_else(|| usual.to_owned()),
        key,
        format,
        secret,
        entries: Entries {
            user: entry(&flags.session_user, USER_ENTRY),
            groups: entry(&flags.session_groups, GROUPS_ENTRY),
        },
    }))
}

fn application(
    flags: &Flags,
    waiting: usize,
    handshake_timeout_ms: u64,
) -> Result<Option<AskSettings>, Wrong> {
    let others =
        [("auth-timeout", &flags.auth_timeout), ("auth-connections", &flags.auth_connections)];
    let needs = "give --auth-url as well, such as http://127.0.0.1:8000/wsloop/auth/";
    only_with(&flags.auth_url, others, needs)?;
    let url = value("auth-url", &flags.auth_url, ask::auth_url)?;
    let Some((target, host, path)) = url else { return Ok(None) };
    let timeout = |text: &str| seconds(text, 1..=LONGEST_MS);
    let timeout_ms = value("auth-timeout", &flags.auth_timeout, timeout)?.unwrap_or(3_000);
    if timeout_ms >= handshake_timeout_ms {
        let why = "it must be shorter than --handshake-timeout, or no answer could be used".into();
        return Err(Wrong { flag: "auth-timeout", why });
    }
    let connections = count("auth-connections", &flags.auth_connections, 8)?;
    Ok(Some(AskSettings { target, host, path, timeout_ms, connections, waiting }))
}

/// Refuses what is given without that which it belongs to.
fn only_with<const N: usize>(
    main: &Option<String>,
    others: [(&'static str, &Option<String>); N],
    needs: &str,
) -> Result<(), Wrong> {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    match others.into_iter().find(|(_, other)| main.is_none() && given(other)) {
        Some((flag, _)) => Err(Wrong { flag, why: needs.to_owned() }),
        None => Ok(()),
    }
}

/// What comes before a session's own key in Redis, and behind it.
fn template(text: &str) -> Result<(String, String), String> {
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

fn format(text: &str) -> Result<Format, String> {
    let names = || Format::ALL.map(Format::name).join(", ");
    let wrong = || format!("{} is none of {}", quoted(text), names());
    Format::parse(text).ok_or_else(wrong)
}

fn cookie(text: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_token) {
        true => Ok(text.to_owned()),
        false => Err(format!("{} is no name of a cookie, such as sessionid", quoted(text))),
    }
}

fn bytes_of(path: &str) -> Result<Vec<u8>, String> {
    let wrong = |error| format!("{} cannot be read: {error}", quoted(path));
    std::fs::read(path).map_err(wrong)
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
