//! Any bytes as a stored session: names are sound, what is signed is signed, and the JSON in a
//! Django session says what it says on its own.
//!
//! The first byte says which format, and whether there is a secret.

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wsloop::internals::access::identity::{MAX_GROUPS, check_name};
use wsloop::internals::access::session::{SessionError, decode};
use wsloop::{Entries, Format};

const KEY: &str = "session-key";
const SECRET: &[u8] = b"secret";

/// Panics when a session is read wrongly.
pub fn check(data: &[u8]) {
    let Some((&what, stored)) = data.split_first() else { return };
    let format = Format::ALL[usize::from(what) % Format::ALL.len()];
    let all = [SECRET.to_vec()];
    let secrets = if what & 0x80 != 0 { &all[..] } else { &[] };
    let entries = Entries { user: Some("a.b".into()), groups: Some("g".into()) };
    let read = decode(format, stored, secrets, KEY, &entries);
    if let Ok(named) = &read {
        let identity = &named.identity;
        assert_eq!(identity.session.as_deref(), Some(KEY));
        for name in identity.user.iter().chain(&identity.groups) {
            assert_eq!(check_name(name), Ok(()));
        }
        assert!(identity.groups.len() + named.refused.len() <= MAX_GROUPS + 1);
    }
    match format {
        Format::Json => {
            let wrapped = decode(Format::Django, &wrapped(stored), &all, KEY, &entries);
            assert_eq!(wrapped, read);
            let elsewhere =
                decode(Format::Django, &self::wrapped(stored), &[Vec::new()], KEY, &entries);
            assert_eq!(elsewhere, Err(SessionError::Signature));
        }
        Format::Django if read.is_ok() && !secrets.is_empty() => {
            assert_eq!(decode(format, stored, &[], KEY, &entries), read);
        }
        _ => {}
    }
}

/// The JSON as Django signs it.
fn wrapped(json: &[u8]) -> Vec<u8> {
    let salted = [b"django.contrib.sessions.SessionStoresigner", SECRET].concat();
    let key = digest::digest(&digest::SHA256, &salted);
    let signed = format!("{}:1uX8yZ", URL_SAFE_NO_PAD.encode(json));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), signed.as_bytes());
    format!("{signed}:{}", URL_SAFE_NO_PAD.encode(tag)).into_bytes()
}
