//! L1: signed tokens (JWT, RFC 7519): the bytes of a token in, claims out.
//!
//! - A key says by which algorithm a token is signed: RS256, ES256 or EdDSA for a public key and
//!   HS256 for a secret. What the token says is compared with that and never followed.
//! - A token that names a key (`kid`) is held against no key of another name.
//! - A token is good from `nbf` on and before `exp`, to the millisecond, and beyond either by the
//!   leeway, which is nothing unless it is configured.
//! - A claim that is present is of the right type, or the token is refused; `null` is no type.
//! - A token with an audience is for that audience: where none is configured it is for somebody
//!   else (RFC 7519 section 4.1.3). A token without one is refused where one is configured.
//! - Nothing of the claims is looked at before the signature is found good.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::access::channel::Allow;
use crate::access::identity::{MAX_GROUPS, Named};
use crate::access::key::TokenKeys;

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;
/// The sub-protocol whose name goes on with a token.
const SUB_PROTOCOL: &str = "bearer.";
/// The last second of the year 9999. What lies behind it was not meant in seconds.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub` is the user, `groups` are the groups, `sid` is the session.
    pub named: Named,
    /// `allow`: what the token narrows the permissions to, in the words of [`Allow::parse`].
    pub allow: Option<Allow>,
    /// `exp` and the leeway, in milliseconds of Unix time; a token without it is good for ever.
    pub expires_ms: Option<u64>,
}

/// Why a token is refused. Each is a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// There are two, and they differ.
    Several,
    /// It is longer than [`MAX_TOKEN`].
    TooLong,
    /// It is no JWT: not three parts of base64, or no JSON object in the first two.
    Malformed,
    /// Its algorithm is not that of a key; `none` never is.
    Algorithm,
    /// It names a key that is not there.
    UnknownKey,
    /// Its header says that something must be understood (`crit`) which is not.
    Critical,
    /// Its signature is not by a key.
    Signature,
    /// `exp` has come.
    Expired,
    /// `nbf` has not come.
    NotYet,
    /// It is for another audience, for one where none is configured, or for none where one is.
    Audience,
    /// The claim of that name is not in seconds, but in milliseconds or less.
    Milliseconds(&'static str),
    /// The claim of that name is of the wrong type, or holds what means nothing.
    Claim(&'static str),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Several => "the request has two different tokens",
            Self::TooLong => "the token is longer than 8192 bytes",
            Self::Malformed => "the token is malformed",
            Self::Algorithm => "the token is signed by another algorithm than the key's",
            Self::UnknownKey => "the token names a key (kid) that is not among the keys",
            Self::Critical => "the token has a critical header that is not understood",
            Self::Signature => "the token's signature is wrong",
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not yet valid",
            Self::Audience => "the token is for another audience",
            Self::Milliseconds(name) => {
                return write!(
                    f,
                    "the token's claim {name} is in milliseconds; it must be seconds"
                );
            }
            Self::Claim(name) => {
                return write!(f, "the token's claim {name} must be {}", wanted(name));
            }
        })
    }
}

/// The token of a request, if it has one: `token=` in the raw query, a sub-protocol
/// `bearer.<token>`, or an `Authorization` header with the scheme `Bearer` (in any case).
///
/// Other schemes are the application's. A token that is given twice is one; two that differ are
/// refused, for it depends on the reader which one is meant. An empty one is a token, and no good.
pub fn find_token<'a>(
    query: &'a str,
    protocols: impl IntoIterator<Item = &'a str>,
    authorization: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<Cow<'a, str>>, TokenError> {
    let queried = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "token")
        .map(|(_, token)| Ok(token));
    let offered = protocols
        .into_iter()
        .filter_map(|name| name.strip_prefix(SUB_PROTOCOL))
        .map(|token| Ok(Cow::Borrowed(token)));
    let authorized = authorization.into_iter().filter_map(bearer).map(|token| {
        std::str::from_utf8(token).map(Cow::Borrowed).map_err(|_| TokenError::Malformed)
    });
    let mut found: Option<Cow<'a, str>> = None;
    for token in queried.chain(offered).chain(authorized) {
        let token = token?;
        if found.as_ref().is_some_and(|before| *before != token) {
            return Err(TokenError::Several);
        }
        found = Some(token);
    }
    Ok(found)
}

/// How tokens are judged.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// What they are signed with.
    pub keys: &'a TokenKeys,
    /// Whom they must be for.
    pub audience: Option<&'a str>,
    /// So many milliseconds they are good before `nbf` and behind `exp`.
    pub leeway_ms: u64,
}

/// What a token says, if it is signed by one of the keys, for that audience, and good at that time
/// (`now_ms`, milliseconds of Unix time).
pub fn verify(token: &str, judge: &Judge<'_>, now_ms: u64) -> Result<Claims, TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::TooLong);
    }
    let claims = verified(token, judge.keys)?;
    let expires_ms = time(&claims, "exp")?.map(|ms| ms.saturating_add(judge.leeway_ms));
    let begins_ms = time(&claims, "nbf")?.map(|ms| ms.saturating_sub(judge.leeway_ms));
    if expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
        return Err(TokenError::Expired);
    }
    if begins_ms.is_some_and(|begins_ms| begins_ms > now_ms) {
        return Err(TokenError::NotYet);
    }
    check_audience(&claims, judge.audience)?;
    let allow = text(&claims, "allow")?
        .map(|list| Allow::parse(list).map_err(|_| TokenError::Claim("allow")))
        .transpose()?;
    let groups = match claims.get("groups") {
        None => Vec::new(),
        Some(groups) => texts(groups).ok_or(TokenError::Claim("groups"))?,
    };
    if groups.len() > MAX_GROUPS {
        return Err(TokenError::Claim("groups"));
    }
    let named = Named::new(text(&claims, "sid")?, text(&claims, "sub")?, groups);
    Ok(Claims { named, allow, expires_ms })
}

/// The claims of a token whose header and signature are good.
///
/// The crate's own `decode` would judge the claims as well, but it asks the clock of the machine,
/// rounds times, and takes a claim of the wrong type for a broken token or for none.
fn verified(token: &str, keys: &TokenKeys) -> Result<Map<String, Value>, TokenError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let header = object(header)?;
    let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or("none");
    let id = text(&header, "kid")?;
    let mut keys = keys.of_algorithm(algorithm).peekable();
    if keys.peek().is_none() {
        return Err(TokenError::Algorithm);
    }
    if header.contains_key("crit") {
        return Err(TokenError::Critical);
    }
    let mut keys = keys.filter(|key| key.may_be(id)).peekable();
    if keys.peek().is_none() {
        return Err(TokenError::UnknownKey);
    }
    match keys.any(|key| key.has_signed(signed.as_bytes(), signature)) {
        true => object(claims),
        false => Err(TokenError::Signature),
    }
}

/// A JSON object as a part of a token.
fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

/// What the claim of that name must be.
fn wanted(name: &str) -> &'static str {
    match name {
        "exp" | "nbf" => "a number of seconds since 1970",
        "groups" => "a list of at most 1000 texts",
        "aud" => "a text, or a list of texts",
        "allow" => "a text such as subscribe-user,subscribe-group",
        _ => "a text",
    }
}

/// A claim that is a number of seconds, maybe with a fraction, in milliseconds.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().ok_or(TokenError::Claim(name))?;
    if seconds > LAST_SECOND {
        return Err(TokenError::Milliseconds(name));
    }
    // The cast makes 0 of what is below it.
    Ok(Some((seconds * 1000.0).round() as u64))
}

fn check_audience(claims: &Map<String, Value>, configured: Option<&str>) -> Result<(), TokenError> {
    let named = match claims.get("aud") {
        None => None,
        Some(Value::String(one)) => Some(vec![one.as_str()]),
        Some(several) => Some(texts(several).ok_or(TokenError::Claim("aud"))?),
    };
    match (named, configured) {
        (None, None) => Ok(()),
        (Some(named), Some(configured)) if named.contains(&configured) => Ok(()),
        _ => Err(TokenError::Audience),
    }
}

/// A claim that is a text.
fn text<'a>(
    claims: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, TokenError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Claim(name)),
    }
}

/// A list of nothing but texts.
fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

/// What follows the scheme in an `Authorization` header, if the scheme is `Bearer`.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let header = header.trim_ascii();
    let end = header.iter().position(u8::is_ascii_whitespace).unwrap_or(header.len());
    let (scheme, token) = header.split_at(end);
    scheme.eq_ignore_ascii_case(b"bearer").then(|| token.trim_ascii())
}
