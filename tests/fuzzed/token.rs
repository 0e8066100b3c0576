//! Any bytes as a token, as the claims of a signed one, and as a request that has one: what is
//! accepted is sound.
//!
//! The first byte says which key, and whether the rest is claims, a token or parts of a request.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wsloop::internals::access::identity::check_name;
use wsloop::internals::access::token::{Judge, MAX_TOKEN, TokenError, find_token, verify};
use wsloop::{TokenAlgorithm, TokenKeys};

const NOW_MS: u64 = 1_800_000_000_000;
const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

/// The keys of the committed tokens, so that a corpus of those gets to the claims.
static KEYS: LazyLock<Vec<TokenKeys>> = LazyLock::new(|| {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../sessions/tokens.json")).expect("it is committed");
    let read = |text: &serde_json::Value| {
        let text = text.as_str().expect("a key is a text");
        TokenKeys::from_file_bytes(text.as_bytes(), &[]).expect("the keys are good")
    };
    vectors["keys"].as_object().expect("the keys have names").values().map(read).collect()
});

/// Panics when a token is judged wrongly.
pub fn check(data: &[u8]) {
    let Some((&what, rest)) = data.split_first() else { return };
    let audience = (what & 0x40 != 0).then_some("push");
    match what % 4 {
        0 => claims(rest, audience),
        1 => request(rest),
        2 => {
            // Nobody's key, whatever it is.
            let named = if audience.is_some() { &[TokenAlgorithm::Hs256][..] } else { &[] };
            if let Ok(keys) = TokenKeys::from_file_bytes(rest, named) {
                assert!(!rest.is_empty() && keys.count() > 0);
                assert!(keys.warning().is_none() || !named.is_empty() && is_short(rest));
            }
        }
        _ => {
            let key = &KEYS[usize::from(what / 4) % KEYS.len()];
            let _verified = judge(&String::from_utf8_lossy(rest), key, audience);
        }
    }
}

/// Whether a secret is shorter than 32 bytes, the newline aside.
fn is_short(file: &[u8]) -> bool {
    wsloop::internals::access::identity::secret(file).len() < 32
}

fn claims(claims: &[u8], audience: Option<&str>) {
    let body = [&br#"{"alg":"HS256"}"#[..], claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let body = body.join(".");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), body.as_bytes());
    let token = format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag));
    let key = TokenKeys::from_file_bytes(SECRET, &[]).expect("a good secret");
    let outcome = judge(&token, &key, audience);
    // It is signed, so that only what it says can be wrong with it.
    assert_ne!(outcome, Err(TokenError::Signature));
    assert_ne!(outcome, Err(TokenError::Algorithm));
}

fn judge(token: &str, keys: &TokenKeys, audience: Option<&str>) -> Result<(), TokenError> {
    let claims = verify(token, &Judge { keys, audience, leeway_ms: 0 }, NOW_MS)?;
    assert!(token.len() <= MAX_TOKEN);
    assert!(claims.expires_ms.is_none_or(|expires_ms| expires_ms > NOW_MS));
    let identity = &claims.named.identity;
    for name in identity.user.iter().chain(&identity.session).chain(&identity.groups) {
        assert_eq!(check_name(name), Ok(()));
    }
    Ok(())
}

/// The first line is the query, the second the sub-protocols, and each other one a header.
fn request(lines: &[u8]) {
    let mut lines = lines.split(|&byte| byte == b'\n');
    let [query, protocols] =
        [lines.next(), lines.next()].map(|line| String::from_utf8_lossy(line.unwrap_or(b"")));
    let found = find_token(&query, protocols.split(','), lines.clone());
    let reversed: Vec<_> = lines.clone().collect();
    let other_way = find_token(&query, protocols.rsplit(','), reversed.into_iter().rev());
    match (&found, &other_way) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        // Which of two errors is found first depends on the order.
        _ => assert!(found.is_err() && other_way.is_err(), "{found:?} against {other_way:?}"),
    }
}
