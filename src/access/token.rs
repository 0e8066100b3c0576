//! L1: signed tokens (JWT, RFC 7519): the bytes of a token in, claims out.
//!
//! - The key says by which algorithm a token is signed: RS256, ES256 or EdDSA for a public key and
//!   HS256 for a secret. What the token says is compared with that and never followed.
//! - There is no leeway: a token is good from `nbf` on and before `exp`, to the millisecond.
//! - A claim that is present is of the right type, or the token is refused; `null` is no type.
//! - A token with an audience is for that audience: where none is configured it is for somebody
//!   else (RFC 7519 section 4.1.3). A token without one is refused where one is configured.
//! - Nothing of the claims is looked at before the signature is found good.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use aws_lc_rs::signature as crypto;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use crate::access::channel::Allow;
use crate::access::identity::{MAX_GROUPS, Named, secret};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;
/// The sub-protocol whose name goes on with a token.
const SUB_PROTOCOL: &str = "bearer.";
/// An HS256 secret is to be as long as the hash (RFC 7518 section 3.2).
const GOOD_SECRET: usize = 32;
/// The sizes of RSA keys that RS256 is verified with.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// What a token is verified with. `Debug` shows the algorithm only.
#[derive(Clone)]
pub struct TokenKey {
    algorithm: Algorithm,
    decoding: DecodingKey,
    short: bool,
}

impl TokenKey {
    /// Reads a key file. A PEM public key means RS256 (2048 to 8192 bits), ES256 (P-256) or EdDSA
    /// (Ed25519) after what it is. Anything else is the HS256 secret: its bytes as they are, less
    /// one newline at their end.
    ///
    /// What is evidently a key in another form is refused: whoever knows a public key could sign
    /// with it if it were taken for a secret.
    pub fn from_file_bytes(file: &[u8]) -> Result<Self, KeyError> {
        if contains(file, b"-----BEGIN ") {
            return Self::from_pem(file);
        }
        let secret = secret(file);
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        if is_key_of_other_form(secret) {
            return Err(KeyError::NotPem);
        }
        let short = secret.len() < GOOD_SECRET;
        Ok(Self { algorithm: Algorithm::HS256, decoding: DecodingKey::from_secret(secret), short })
    }

    /// The algorithm that tokens must be signed by, as in their header.
    pub fn algorithm(&self) -> &'static str {
        match self.algorithm {
            Algorithm::RS256 => "RS256",
            Algorithm::ES256 => "ES256",
            Algorithm::EdDSA => "EdDSA",
            _ => "HS256",
        }
    }

    /// What the operator should be told about a key that is taken all the same.
    pub fn warning(&self) -> Option<&'static str> {
        self.short.then_some(
            "the token secret is shorter than 32 bytes: who has a token may be able to guess it",
        )
    }

    fn from_pem(file: &[u8]) -> Result<Self, KeyError> {
        if contains(file, b"PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        if !contains(file, b"PUBLIC KEY-----") {
            return Err(KeyError::Unreadable);
        }
        let der = pem_block(file).filter(|der| is_der_sequence(der)).ok_or(KeyError::Unreadable)?;
        let key = rsa_key(&der);
        type Read = fn(&[u8]) -> DecodingKey;
        let kinds: [(Algorithm, Read, &'static dyn crypto::VerificationAlgorithm); 3] = [
            (Algorithm::EdDSA, DecodingKey::from_ed_der, &crypto::ED25519),
            (Algorithm::ES256, DecodingKey::from_ec_der, &crypto::ECDSA_P256_SHA256_FIXED),
            (Algorithm::RS256, DecodingKey::from_rsa_der, &crypto::RSA_PKCS1_2048_8192_SHA256),
        ];
        for (algorithm, read, verification) in kinds {
            if crypto::ParsedPublicKey::new(verification, key).is_err() {
                continue;
            }
            if algorithm == Algorithm::RS256 && !RSA_BITS.contains(&modulus_bits(key)) {
                break;
            }
            return Ok(Self { algorithm, decoding: read(key), short: false });
        }
        Err(KeyError::Unsupported)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Why a file is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// A secret of no bytes.
    Empty,
    /// A private key, which belongs where tokens are signed.
    Private,
    /// A PEM file that holds no public key, or one that cannot be read.
    Unreadable,
    /// A public key of a kind, a curve or a size that no algorithm here takes.
    Unsupported,
    /// A key as DER, JWK or of OpenSSH.
    NotPem,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the secret is empty",
            Self::Private => "this is a private key; give the public one, for that is enough here",
            Self::Unreadable => "this PEM file holds no public key that can be read",
            Self::Unsupported => {
                "the public key is none of RSA (2048 to 8192 bits), P-256 and Ed25519"
            }
            Self::NotPem => "this is a key, but not as PEM; convert it, as with openssl pkey",
        })
    }
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub` is the user, `groups` are the groups, `sid` is the session.
    pub named: Named,
    /// `allow`: what the token narrows the permissions to, in the words of [`Allow::parse`].
    pub allow: Option<Allow>,
    /// `exp`, in milliseconds of Unix time (`u64::MAX` for what lies beyond); a token without it
    /// is good for ever.
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
    /// Its algorithm is not that of the key; `none` never is.
    Algorithm,
    /// Its header says that something must be understood (`crit`) which is not.
    Critical,
    /// Its signature is not by the key.
    Signature,
    /// `exp` has come.
    Expired,
    /// `nbf` has not come.
    NotYet,
    /// It is for another audience, for one where none is configured, or for none where one is.
    Audience,
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
            Self::Critical => "the token has a critical header that is not understood",
            Self::Signature => "the token's signature is wrong",
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not yet valid",
            Self::Audience => "the token is for another audience",
            Self::Claim(name) => return write!(f, "the token's claim {name} cannot be used"),
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

/// What a token says, if it is signed by that key, for that audience, and good at that time
/// (`now_ms`, milliseconds of Unix time).
pub fn verify(
    token: &str,
    key: &TokenKey,
    audience: Option<&str>,
    now_ms: u64,
) -> Result<Claims, TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::TooLong);
    }
    let claims = verified(token, key)?;
    let expires_ms = time(&claims, "exp")?;
    if expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms) {
        return Err(TokenError::Expired);
    }
    if time(&claims, "nbf")?.is_some_and(|begins_ms| begins_ms > now_ms) {
        return Err(TokenError::NotYet);
    }
    check_audience(&claims, audience)?;
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
fn verified(token: &str, key: &TokenKey) -> Result<Map<String, Value>, TokenError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let header = object(header)?;
    if header.get("alg").and_then(Value::as_str) != Some(key.algorithm()) {
        return Err(TokenError::Algorithm);
    }
    if header.contains_key("crit") {
        return Err(TokenError::Critical);
    }
    match jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.decoding, key.algorithm) {
        Ok(true) => object(claims),
        Ok(false) | Err(_) => Err(TokenError::Signature),
    }
}

/// A JSON object as a part of a token.
fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)
}

/// A claim that is a number of seconds, maybe with a fraction, in milliseconds.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().ok_or(TokenError::Claim(name))?;
    // The cast makes 0 of what is below it, and the greatest of what is above.
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

/// Whether these bytes are a key of OpenSSH or SSH2, JSON (a JWK, or what a realm publishes), or
/// one whole DER sequence, also in base64.
fn is_key_of_other_form(secret: &[u8]) -> bool {
    let text = secret.trim_ascii();
    let begins = |start: &&str| text.starts_with(start.as_bytes());
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-", "---- BEGIN"].iter().any(begins)
        || serde_json::from_slice::<Map<String, Value>>(text).is_ok()
        || is_der_sequence(secret)
        || of_base64(text).is_some_and(|bytes| is_der_sequence(&bytes))
}

/// What a text in base64 stands for, in either alphabet, padded or not, over lines or not.
fn of_base64(text: &[u8]) -> Option<Vec<u8>> {
    let plain = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    };
    let text: Vec<u8> = text.iter().filter(|byte| !byte.is_ascii_whitespace()).map(plain).collect();
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    STANDARD_NO_PAD.decode(&text[..text.len() - padding]).ok()
}

/// The bytes of the first public key in a PEM file, in whichever of its two forms.
fn pem_block(file: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(file);
    let (label, rest) = text.split("-----BEGIN ").skip(1).find_map(|block| {
        let (label, rest) = block.split_once("-----")?;
        ["PUBLIC KEY", "RSA PUBLIC KEY"].contains(&label).then_some((label, rest))
    })?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD_NO_PAD.decode(body.trim_end_matches('=')).ok()
}

/// The RSA key (PKCS #1) in what names its algorithm (RFC 5280); anything else as it is.
fn rsa_key(der: &[u8]) -> &[u8] {
    const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    match der.get(4..).and_then(|named| named.strip_prefix(RSA)) {
        Some([0x03, 0x82, _, _, 0, key @ ..]) => key,
        _ => der,
    }
}

/// The size of an RSA public key (PKCS #1); 0 for one too small for lengths of two bytes.
fn modulus_bits(key: &[u8]) -> usize {
    let [0x30, 0x82, _, _, 0x02, 0x82, high, low, rest @ ..] = key else { return 0 };
    let modulus = rest.get(..usize::from(u16::from_be_bytes([*high, *low]))).unwrap_or(&[]);
    let zeros = modulus.iter().take_while(|&&byte| byte == 0).count();
    let significant = &modulus[zeros..];
    significant.first().map_or(0, |first| significant.len() * 8 - first.leading_zeros() as usize)
}

/// Whether these bytes are a DER sequence to their last: a tag, and the length of all that follows.
fn is_der_sequence(bytes: &[u8]) -> bool {
    let (length, rest) = match bytes {
        [0x30, length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x82, high, low, rest @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return false,
    };
    length == rest.len()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
