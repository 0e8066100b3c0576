//! L1: the signed text of Django's sessions, in both of its forms.
//!
//! | Django | text | MAC |
//! |---|---|---|
//! | 3.1 and later | `body:timestamp:mac`, all in URL-safe letters | HMAC-SHA256 of what is before it |
//! | before | base64 of `mac:json` | HMAC-SHA1 of the JSON |
//!
//! The key of either MAC is a hash of a salt and `SECRET_KEY`; the salt is that of engines whose
//! class is called `SessionStore`, as Django's and those of its ecosystem are. The body is base64
//! of the JSON, after a dot if it is compressed. The timestamp is not looked at: Redis expires
//! sessions.

use std::fmt::Write;

use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zlib_rs::{Inflate, InflateFlush, Status};

use super::{MAX_STORED, SessionError, is_signed};

/// The first byte of a zlib stream with a window of 32 KiB, which is the one that everybody uses.
pub(super) const ZLIB: u8 = 0x78;
const SALT: &str = "django.contrib.sessions.SessionStoresigner";
const OLD_SALT: &str = "django.contrib.sessionsSessionStore";
/// Bytes inflated at a time.
const CHUNK: usize = 16 * 1024;
const WINDOW_BITS: u8 = 15;

/// The JSON in a stored session, whose MAC must be right if there are secrets to tell by.
pub(super) fn unsign(stored: &[u8], secrets: &[Vec<u8>]) -> Result<Vec<u8>, SessionError> {
    let text = std::str::from_utf8(stored).map_err(|_| SessionError::NotDjango)?;
    let Some((signed, mac)) = text.rsplit_once(':') else { return unsign_old(text, secrets) };
    let (body, _timestamp) = signed.rsplit_once(':').ok_or(SessionError::NotDjango)?;
    is_signed(secrets, |secret| {
        let key = key(&digest::SHA256, hmac::HMAC_SHA256, SALT, secret);
        let mac = URL_SAFE_NO_PAD.decode(mac);
        mac.is_ok_and(|mac| hmac::verify(&key, signed.as_bytes(), &mac).is_ok())
    })?;
    let decode = |body: &str| URL_SAFE_NO_PAD.decode(body).map_err(|_| SessionError::NotDjango);
    match body.strip_prefix('.') {
        Some(compressed) => inflate(&decode(compressed)?),
        None => decode(body),
    }
}

fn unsign_old(text: &str, secrets: &[Vec<u8>]) -> Result<Vec<u8>, SessionError> {
    let decoded = STANDARD.decode(text).map_err(|_| SessionError::NotDjango)?;
    let colon = decoded.iter().position(|&byte| byte == b':').ok_or(SessionError::NotDjango)?;
    let (mac, json) = (&decoded[..colon], &decoded[colon + 1..]);
    is_signed(secrets, |secret| {
        let hash = &digest::SHA1_FOR_LEGACY_USE_ONLY;
        let key = key(hash, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, OLD_SALT, secret);
        let mut expected = String::new();
        for byte in hmac::sign(&key, json).as_ref() {
            write!(expected, "{byte:02x}").expect("a string takes all");
        }
        constant_time::verify_slices_are_equal(mac, expected.as_bytes()).is_ok()
    })?;
    Ok(json.to_vec())
}

fn key(
    hash: &'static digest::Algorithm,
    mac: hmac::Algorithm,
    salt: &str,
    secret: &[u8],
) -> hmac::Key {
    hmac::Key::new(mac, digest::digest(hash, &[salt.as_bytes(), secret].concat()).as_ref())
}

/// Inflates a zlib stream that is [`MAX_STORED`] at most.
pub(super) fn inflate(mut input: &[u8]) -> Result<Vec<u8>, SessionError> {
    let mut inflate = Inflate::new(true, WINDOW_BITS);
    let mut inflated = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let before = (inflate.total_in(), inflate.total_out());
        let status = inflate
            .decompress(input, &mut chunk, InflateFlush::NoFlush)
            .map_err(|_| SessionError::NotDeflated)?;
        let taken = (inflate.total_in() - before.0) as usize;
        let made = (inflate.total_out() - before.1) as usize;
        if inflated.len() + made > MAX_STORED {
            return Err(SessionError::TooLarge);
        }
        inflated.extend_from_slice(&chunk[..made]);
        input = &input[taken..];
        match status {
            Status::StreamEnd => return Ok(inflated),
            _ if taken == 0 && made == 0 => return Err(SessionError::NotDeflated),
            _ => {}
        }
    }
}
