//! Any bytes as `Cookie` headers, one a line: what is found is a session key and was sent.
//!
//! The first byte says which format, and whether there is a secret.

use wsloop::Format;
use wsloop::internals::access::session::{SessionError, session_key};

/// Panics when a cookie is read wrongly.
pub fn check(data: &[u8]) {
    let Some((&what, headers)) = data.split_first() else { return };
    let format = Format::ALL[usize::from(what) % Format::ALL.len()];
    let all = [b"another".to_vec(), b"secret".to_vec()];
    let secrets = if what & 0x80 != 0 { &all[..] } else { &[] };
    let lines = || headers.split(|&byte| byte == b'\n');
    let read = session_key(lines(), "sid", format, secrets);
    match &read {
        Ok(Some(key)) => {
            assert!((8..=128).contains(&key.len()));
            assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
            if format == Format::Express {
                assert_eq!(session_key(lines(), "sid", format, &[]), read);
            } else {
                assert!(headers.windows(key.len()).any(|window| window == key.as_bytes()));
            }
            // What stands in one header or in several is the same.
            let joined: Vec<u8> =
                headers.iter().map(|&byte| if byte == b'\n' { b';' } else { byte }).collect();
            assert_eq!(session_key([joined.as_slice()], "sid", format, secrets), read);
        }
        Ok(None) => {}
        Err(error) => {
            let signed = [SessionError::NotSigned, SessionError::Signature].contains(error);
            assert!(!signed || format == Format::Express);
            assert!(signed || *error == SessionError::NotAKey);
        }
    }
}
