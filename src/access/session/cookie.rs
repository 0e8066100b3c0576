//! L1: the cookie that names a session: `Cookie` headers in, session key out.
//!
//! Cookies are read as the framework reads them, so that both mean the same session:
//!
//! - of several cookies of one name Django takes the last and everybody else the first;
//! - quotes around a value are not part of it;
//! - Express percent-decodes values, and signs them: `s:<key>.<MAC>`.
//!
//! A session key is 8 to 128 letters, digits, `_` and `-`. A cookie is what its sender wants it to
//! be, and the key becomes part of a Redis key: with a colon it could name a stored message.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use percent_encoding::percent_decode;

use super::{Format, SessionError, is_signed};

const SHORTEST_KEY: usize = 8;
const LONGEST_KEY: usize = 128;

/// The session key in the cookie of that name, or `None` without such a cookie.
///
/// With secrets, the MAC of an Express cookie must be by one of them. Without any the key is taken
/// as it is, which is as safe as a session key is secret. Of other formats the cookie is not
/// signed.
pub fn session_key<'a>(
    headers: impl IntoIterator<Item = &'a [u8]>,
    name: &str,
    format: Format,
    secrets: &[Vec<u8>],
) -> Result<Option<String>, SessionError> {
    let mut values = headers
        .into_iter()
        .flat_map(|header| header.split(|&byte| byte == b';'))
        .filter_map(|pair| {
            let equals = pair.iter().position(|&byte| byte == b'=')?;
            let (key, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
            (key == name.as_bytes()).then(|| unquoted(value))
        });
    let value = match format {
        Format::Django | Format::DjangoPickle => values.last(),
        Format::Json | Format::Express => values.next(),
    };
    match value {
        None => Ok(None),
        Some(value) if format == Format::Express => express(value, secrets).map(Some),
        Some(value) => key(value).map(Some),
    }
}

/// The key in a cookie of express-session.
fn express(value: &[u8], secrets: &[Vec<u8>]) -> Result<String, SessionError> {
    let decoded: Vec<u8> = percent_decode(value).collect();
    let signed = decoded.strip_prefix(b"s:").ok_or(SessionError::NotSigned)?;
    let dot = signed.iter().rposition(|&byte| byte == b'.').ok_or(SessionError::NotSigned)?;
    let (id, mac) = (&signed[..dot], &signed[dot + 1..]);
    is_signed(secrets, |secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        STANDARD_NO_PAD.decode(mac).is_ok_and(|mac| hmac::verify(&key, id, &mac).is_ok())
    })?;
    key(id)
}

fn key(value: &[u8]) -> Result<String, SessionError> {
    let letter = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let fits = (SHORTEST_KEY..=LONGEST_KEY).contains(&value.len());
    match std::str::from_utf8(value) {
        Ok(key) if fits && value.iter().all(letter) => Ok(key.to_owned()),
        _ => Err(SessionError::NotAKey),
    }
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}
