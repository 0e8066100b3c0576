//! L1: keys as JSON (JWK and sets of them, RFC 7517 and 7518).
//!
//! A set is what others publish, and has keys of kinds that are not for us: those are passed over,
//! as RFC 7517 section 5 has it. A set that has a private key in it is refused as a whole.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::{GOOD_SECRET, KeyError, TokenAlgorithm, TokenKey};

/// Whether it is a JSON object.
pub(super) fn looks_like_one(file: &[u8]) -> bool {
    file.trim_ascii().starts_with(b"{")
        && serde_json::from_slice::<Map<String, Value>>(file).is_ok()
}

/// The keys in it that verify signatures; by one of the named algorithms, if there are such.
pub(super) fn keys(file: &[u8], named: &[TokenAlgorithm]) -> Result<Vec<TokenKey>, KeyError> {
    let whole: Map<String, Value> =
        serde_json::from_slice(file).map_err(|_| KeyError::OtherForm("JSON"))?;
    let jwks: Vec<&Map<String, Value>> = match (whole.get("keys"), whole.get("kty")) {
        (Some(Value::Array(keys)), None) => keys.iter().filter_map(Value::as_object).collect(),
        (None, Some(_)) => vec![&whole],
        _ => return Err(KeyError::OtherForm("JSON")),
    };
    if jwks.iter().any(|jwk| jwk.contains_key("d")) {
        return Err(KeyError::Private);
    }
    let keys = jwks.into_iter().filter_map(key);
    let wanted = |key: &TokenKey| named.is_empty() || named.contains(&key.algorithm);
    let keys: Vec<_> = keys.filter(wanted).collect();
    if keys.is_empty() { Err(KeyError::NoKey) } else { Ok(keys) }
}

/// The key, if it is for verifying signatures, whole, and of a kind that is known here.
fn key(jwk: &Map<String, Value>) -> Option<TokenKey> {
    let text = |name| jwk.get(name).and_then(Value::as_str);
    let bytes = |name| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    if jwk.get("use").is_some_and(|used| used != "sig") {
        return None;
    }
    if let Some(operations) = jwk.get("key_ops") {
        operations.as_array()?.iter().find(|operation| *operation == "verify")?;
    }
    let id = match jwk.get("kid") {
        None => None,
        Some(id) => Some(id.as_str()?.to_owned()),
    };
    let key = match (text("kty")?, text("crv")) {
        ("RSA", _) => TokenKey::of_public(&rsa_der(&bytes("n")?, &bytes("e")?), id)?,
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            let is_whole = x.len() == 32 && y.len() == 32;
            let point = [&[4], &x[..], &y].concat();
            TokenKey::of_public(&point, id).filter(|_| is_whole)?
        }
        ("OKP", Some("Ed25519")) => {
            let point = bytes("x").filter(|x| x.len() == 32)?;
            TokenKey::of_public(&point, id)?
        }
        ("oct", _) => {
            let secret = bytes("k").filter(|secret| secret.len() >= GOOD_SECRET)?;
            TokenKey::of_secret(&secret, id)
        }
        _ => return None,
    };
    let said = jwk.get("alg").and_then(Value::as_str);
    (said.is_none_or(|said| said == key.algorithm.name())
        && (said.is_some() || !jwk.contains_key("alg")))
    .then_some(key)
}

/// An RSA public key as DER (PKCS #1).
fn rsa_der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let (modulus, exponent) = (tagged(0x02, &unsigned(modulus)), tagged(0x02, &unsigned(exponent)));
    tagged(0x30, &[modulus, exponent].concat())
}

/// A number that is not negative, as short as DER wants it.
fn unsigned(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    let number = &number[zeros..];
    let sign: &[u8] = if number.first().is_none_or(|first| first & 0x80 != 0) { &[0] } else { &[] };
    [sign, number].concat()
}

/// A value of that tag, whose length is less than 64 KiB or makes it worth nothing.
fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let [high, low] = (value.len() as u16).to_be_bytes();
    let head: &[u8] = match value.len() {
        0..0x80 => &[tag, low],
        0x80..0x100 => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [head, value].concat()
}
