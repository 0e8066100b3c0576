//! L1: what bytes evidently are, whatever they are said to be.
//!
//! Whoever has a public key could sign with it if it were taken for a secret. So a key is looked
//! for as it is, and in what the bytes stand for in UTF-16, in base64 and in hexadecimal digits,
//! one in the other. Certain forms are enough for a refusal; what is no more than likely
//! ([`no_secret`]) speaks only against what nobody named a secret.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{GOOD_SECRET, contains};

/// How many encodings are looked through, one in the other.
const DEPTH: usize = 3;
/// The names of algorithms in keys: of RSA, of curves, of Ed25519, X25519, Ed448 and X448.
const OBJECT_IDENTIFIERS: [&[u8]; 6] = [
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01",
    b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
    b"\x06\x03\x2b\x65\x70",
    b"\x06\x03\x2b\x65\x6e",
    b"\x06\x03\x2b\x65\x71",
    b"\x06\x03\x2b\x65\x6f",
];
/// What keys of OpenSSH begin with, and what their blobs have behind a length.
const SSH: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
/// How many bytes the moduli of usual RSA keys have.
const MODULI: [usize; 5] = [128, 256, 384, 512, 1024];
/// How many bytes an uncompressed point of P-256, P-384 or P-521 has.
const POINTS: [usize; 3] = [65, 97, 133];

/// The key that the bytes evidently are, or stand for.
pub(crate) fn evident(bytes: &[u8]) -> Option<&'static str> {
    looked_through(bytes, DEPTH)
}

/// Whether these bytes are text of more than a byte a character.
pub(crate) fn is_wide(bytes: &[u8]) -> bool {
    let marked = [&b"\xff\xfe"[..], b"\xfe\xff"].iter().any(|mark| bytes.starts_with(mark));
    let narrow = narrowed(bytes);
    let is_text = narrow.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
        && narrow.is_ascii();
    is_text && (marked || narrow.len() <= bytes.len() / 2 + 1 && narrow.len() < bytes.len())
}

/// What speaks against a secret that nobody has named one.
pub(super) fn no_secret(secret: &[u8]) -> Option<&'static str> {
    let lower = secret.to_ascii_lowercase();
    let ends = |end: &&str| lower.ends_with(end.as_bytes());
    if secret.contains(&b'\n') || secret.contains(&b'\r') {
        Some("it has more than one line")
    } else if secret.starts_with(b"\xef\xbb\xbf") {
        Some("it begins with a byte order mark")
    } else if !secret.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        Some("it is not printable ASCII")
    } else if secret.trim_ascii() != secret {
        Some("it begins or ends with a blank")
    } else if matches!(secret[0], b'{' | b'[') || serde_json::from_slice::<String>(secret).is_ok() {
        Some("it is JSON")
    } else if is_url(&lower) {
        Some("it is a URL")
    } else if FILES.iter().any(ends) {
        Some("it is the name of a file")
    } else if contains(&lower, b"sha256:") || contains(&lower, b"md5:") || is_likely_key(secret) {
        Some("it may be a public key")
    } else if secret.len() < GOOD_SECRET {
        Some("it is shorter than 32 bytes")
    } else {
        None
    }
}

/// How the names of files end that have keys.
const FILES: [&str; 10] =
    [".pem", ".pub", ".key", ".crt", ".cer", ".der", ".jwk", ".jwks", ".json", ".txt"];

fn is_url(lower: &[u8]) -> bool {
    let scheme = lower.split(|byte| *byte == b':').next().unwrap_or(&[]);
    let is_scheme = !scheme.is_empty()
        && scheme.len() < lower.len()
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    is_scheme && lower[scheme.len()..].starts_with(b"://")
        || ["data:", "file:", "urn:"].iter().any(|start| lower.starts_with(start.as_bytes()))
        || contains(lower, b".well-known/")
}

/// Whether the text stands for what may be the modulus of an RSA key, or a point of a curve.
fn is_likely_key(text: &[u8]) -> bool {
    let likely = |bytes: Vec<u8>| {
        let number = bytes.strip_prefix(&[0]).unwrap_or(&bytes);
        let is_modulus = MODULI.contains(&number.len())
            && number[0] & 0x80 != 0
            && number[number.len() - 1] & 1 != 0;
        is_modulus || POINTS.contains(&bytes.len()) && bytes[0] == 4
    };
    of_hex(text).is_some_and(likely) || of_base64(text).is_some_and(likely)
}

fn looked_through(bytes: &[u8], depth: usize) -> Option<&'static str> {
    let narrow = narrowed(bytes);
    let found = as_it_is(bytes).or_else(|| as_it_is(&narrow));
    if found.is_some() || depth == 0 {
        return found;
    }
    let behind = |decoded: Option<Vec<u8>>| {
        decoded.filter(|bytes| bytes.len() > 1).and_then(|bytes| looked_through(&bytes, depth - 1))
    };
    behind(of_hex(&narrow)).or_else(|| behind(of_base64(&narrow)))
}

/// The key that these bytes are, without decoding them.
fn as_it_is(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii();
    if is_der_sequence(bytes) || is_der_sequence(text) || is_der_sequence(one_line(bytes)) {
        return Some("DER");
    }
    if OBJECT_IDENTIFIERS.iter().any(|name| contains(bytes, name)) {
        return Some("DER");
    }
    if is_ssh(text) {
        return Some("a key of OpenSSH");
    }
    if serde_json::from_slice::<Map<String, Value>>(text).is_ok()
        || serde_json::from_slice::<Vec<Map<String, Value>>>(text).is_ok()
    {
        return Some("JSON");
    }
    if is_token(text) {
        return Some("a token");
    }
    let lower = text.to_ascii_lowercase();
    let has = |word: &[u8]| contains(&lower, word);
    if has(b"-begin ") || has(b"- begin ") {
        return Some("PEM that is not as it should be");
    }
    let is_key = has(b"public key") || has(b"private key") || has(b"certificate");
    if has(b"begin") && is_key {
        return Some("PEM that is not as it should be");
    }
    if has(b"\"kty\"") || has(b"'kty'") {
        return Some("JSON");
    }
    let printed: [&[u8]; 11] = [
        b"public-key:",
        b"private-key:",
        b"public key:",
        b"private key:",
        b"modulus=",
        b"modulus:",
        b"<modulus>",
        b"putty-user-key-file",
        b":rsaencryption",
        b":id-ecpublickey",
        b":ed25519",
    ];
    printed.iter().any(|word| has(word)).then_some("a key printed as text")
}

/// Whether it is a key of OpenSSH or SSH2, or has one in it.
fn is_ssh(text: &[u8]) -> bool {
    let begins = |bytes: &[u8]| SSH.iter().any(|start| bytes.starts_with(start.as_bytes()));
    let is_blob = |word: &[u8]| {
        let blob = of_base64(word).unwrap_or_default();
        matches!(blob[..], [0, 0, 0, 1..=64, ..]) && begins(&blob[4..])
    };
    begins(text) || text.split(u8::is_ascii_whitespace).any(is_blob)
}

/// Whether it is a JWT, which whoever has it could sign others with.
fn is_token(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| *byte == b'.');
    let header = parts.next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let is_header = |json: Vec<u8>| serde_json::from_slice::<Map<String, Value>>(&json).is_ok();
    parts.count() == 2 && header.is_some_and(is_header)
}

/// What UTF-16 and UTF-32 leave when they hold ASCII.
fn narrowed(bytes: &[u8]) -> Vec<u8> {
    let marks: [&[u8]; 3] = [b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"];
    let unmarked =
        |bytes: &[u8]| marks.iter().find_map(|mark| Some(bytes.strip_prefix(*mark)?.to_vec()));
    let narrow: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    unmarked(&narrow).unwrap_or(narrow)
}

/// The bytes less one newline at their end.
fn one_line(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(b"\n").unwrap_or(bytes)
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

/// What hexadecimal digits stand for, with or without what is put between bytes.
fn of_hex(text: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8(text.to_vec()).ok()?.replace("0x", "").replace("\\x", "");
    let between = |c: &char| !c.is_ascii_whitespace() && ![':', ',', ';', '-', '.'].contains(c);
    let digits: Option<Vec<u8>> =
        text.chars().filter(between).map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| !digits.is_empty() && digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Whether these bytes are a DER sequence to their last: a tag, and the length of all that follows.
pub(super) fn is_der_sequence(bytes: &[u8]) -> bool {
    let (length, rest) = match bytes {
        [0x30, length @ 0..=0x7f, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x30, 0x82, high, low, rest @ ..] => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        [0x30, 0x83, top, high, low, rest @ ..] => {
            (usize::try_from(u32::from_be_bytes([0, *top, *high, *low])).unwrap_or(0), rest)
        }
        _ => return false,
    };
    length == rest.len()
}
