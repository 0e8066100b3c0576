//! L1: public keys in PEM (RFC 7468), one or several in a file.
//!
//! Text around the blocks is nobody's business; a block that is no public key makes the whole file
//! worth nothing, so that no key is left out silently.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::evident::is_der_sequence;
use super::{KeyError, TokenKey, contains};

const BEGIN: &str = "-----BEGIN ";

/// Whether there is a block in it.
pub(super) fn looks_like_one(file: &[u8]) -> bool {
    contains(file, BEGIN.as_bytes())
}

/// The keys of all blocks, in their order.
pub(super) fn keys(file: &[u8]) -> Result<Vec<TokenKey>, KeyError> {
    if contains(file, b"PRIVATE KEY-----") {
        return Err(KeyError::Private);
    }
    if contains(file, b"CERTIFICATE-----") {
        return Err(KeyError::Certificate);
    }
    let text = String::from_utf8_lossy(file);
    text.split(BEGIN).skip(1).map(key).collect()
}

/// The key of a block, from its label on.
fn key(block: &str) -> Result<TokenKey, KeyError> {
    let der = der(block).filter(|der| is_der_sequence(der)).ok_or(KeyError::Unreadable)?;
    TokenKey::of_public(rsa_key(&der), None).ok_or(KeyError::Unsupported)
}

fn der(block: &str) -> Option<Vec<u8>> {
    let (label, rest) = block.split_once("-----")?;
    if !["PUBLIC KEY", "RSA PUBLIC KEY"].contains(&label) {
        return None;
    }
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
