//! L1: what tokens are signed with: the bytes of a key file in, keys out.
//!
//! - A file is what it is said to be, or it is refused: a public key that is taken for a secret
//!   lets everybody in who has it, as whoever they like.
//! - A secret is one line of printable ASCII of at least 32 bytes that is nothing else, or it is
//!   named one (`--token-algorithm`). What is evidently a key of another form is never one.
//! - A key has one algorithm, and what a token says of its own is compared with that.
//! - Of several keys each stands for itself: a token is good that one of them has signed.

mod evident;
mod jwk;
mod pem;

use std::fmt;
use std::ops::RangeInclusive;

use aws_lc_rs::signature as crypto;
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::access::identity::secret;
pub(crate) use evident::{evident, is_wide};

/// An HS256 secret is to be as long as the hash (RFC 7518 section 3.2).
pub(super) const GOOD_SECRET: usize = 32;
/// Most keys: a token that names none may be held against each.
const MAX_KEYS: usize = 32;
/// The sizes of RSA keys that RS256 is verified with.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAlgorithm {
    /// With a secret.
    Hs256,
    /// With an RSA key of 2048 to 8192 bits.
    Rs256,
    /// With a key on the curve P-256.
    Es256,
    /// With an Ed25519 key.
    EdDsa,
}

impl TokenAlgorithm {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in the header of a token.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The one of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    fn of_crate(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// What tokens are verified with: one key or several. `Debug` shows the algorithms only.
#[derive(Clone, Default)]
pub struct TokenKeys(Vec<TokenKey>);

/// One key.
#[derive(Clone)]
pub(super) struct TokenKey {
    algorithm: TokenAlgorithm,
    /// Its name (`kid`), where it has one.
    id: Option<String>,
    decoding: DecodingKey,
    short: bool,
}

impl TokenKeys {
    /// Reads a key file, which holds
    ///
    /// * public keys in PEM, one or several: RS256 (2048 to 8192 bits), ES256 (P-256) or EdDSA
    ///   (Ed25519) after what each is;
    /// * a JWK or a set of them (RFC 7517), of which those are taken that verify signatures by one
    ///   of the four algorithms;
    /// * or a secret for HS256: one line of printable ASCII of at least 32 bytes.
    ///
    /// `named` is what the keys are said to be: then no others will do, and a secret may be any
    /// bytes, less one newline at their end.
    pub fn from_file_bytes(file: &[u8], named: &[TokenAlgorithm]) -> Result<Self, KeyError> {
        let text = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let keys = if jwk::looks_like_one(text) {
            jwk::keys(text, named)?
        } else if pem::looks_like_one(file) {
            pem::keys(file)?
        } else {
            vec![secret_key(file, named)?]
        };
        if !named.is_empty()
            && let Some(key) = keys.iter().find(|key| !named.contains(&key.algorithm))
        {
            return Err(KeyError::OtherAlgorithm(key.algorithm));
        }
        Self(Vec::new()).with(Self(keys))
    }

    /// Both.
    pub fn with(mut self, other: Self) -> Result<Self, KeyError> {
        self.0.extend(other.0);
        if self.0.len() > MAX_KEYS { Err(KeyError::TooMany) } else { Ok(self) }
    }

    /// The algorithms that tokens may be signed by, as in their header, each once.
    pub fn algorithms(&self) -> Vec<&'static str> {
        let has = |algorithm| self.0.iter().any(|key| key.algorithm == algorithm);
        TokenAlgorithm::ALL.into_iter().filter(|a| has(*a)).map(TokenAlgorithm::name).collect()
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What the operator should be told about keys that are taken all the same.
    pub fn warning(&self) -> Option<&'static str> {
        self.0.iter().any(|key| key.short).then_some(
            "the token secret is shorter than 32 bytes: who has a token may be able to guess it",
        )
    }

    /// The keys for a token of that algorithm, and by that name if it gives one: a key without a
    /// name may be any.
    pub(super) fn of_algorithm(&self, name: &str) -> impl Iterator<Item = &TokenKey> {
        self.0.iter().filter(move |key| key.algorithm.name() == name)
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeys({} of {})", self.count(), self.algorithms().join(", "))
    }
}

impl TokenKey {
    /// Whether a token that names that key may be signed with it.
    pub(super) fn may_be(&self, id: Option<&str>) -> bool {
        match (&self.id, id) {
            (Some(own), Some(id)) => own == id,
            _ => true,
        }
    }

    /// Whether the signature of these bytes is by it.
    pub(super) fn has_signed(&self, signed: &[u8], signature: &str) -> bool {
        let algorithm = self.algorithm.of_crate();
        let verified = jsonwebtoken::crypto::verify(signature, signed, &self.decoding, algorithm);
        verified.unwrap_or(false)
    }

    fn of_secret(secret: &[u8], id: Option<String>) -> Self {
        let short = secret.len() < GOOD_SECRET;
        let decoding = DecodingKey::from_secret(secret);
        Self { algorithm: TokenAlgorithm::Hs256, id, decoding, short }
    }

    /// A public key as a DER sequence or, of ES256, as its point and, of EdDSA, as its 32 bytes.
    fn of_public(key: &[u8], id: Option<String>) -> Option<Self> {
        type Read = fn(&[u8]) -> DecodingKey;
        let kinds: [(TokenAlgorithm, Read, &'static dyn crypto::VerificationAlgorithm); 3] = [
            (TokenAlgorithm::EdDsa, DecodingKey::from_ed_der, &crypto::ED25519),
            (TokenAlgorithm::Es256, DecodingKey::from_ec_der, &crypto::ECDSA_P256_SHA256_FIXED),
            (TokenAlgorithm::Rs256, DecodingKey::from_rsa_der, &crypto::RSA_PKCS1_2048_8192_SHA256),
        ];
        for (algorithm, read, verification) in kinds {
            if crypto::ParsedPublicKey::new(verification, key).is_err() {
                continue;
            }
            if algorithm == TokenAlgorithm::Rs256 && !RSA_BITS.contains(&modulus_bits(key)) {
                break;
            }
            return Some(Self { algorithm, id, decoding: read(key), short: false });
        }
        None
    }
}

/// Why a file holds no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// A secret of no bytes.
    Empty,
    /// A private key, which belongs where tokens are signed.
    Private,
    /// A certificate.
    Certificate,
    /// A PEM file that holds no public key, or one that cannot be read.
    Unreadable,
    /// A public key of a kind, a curve or a size that no algorithm here takes.
    Unsupported,
    /// Text of two or four bytes a character.
    Wide,
    /// A key in a form that is not read.
    OtherForm(&'static str),
    /// A set of JWKs without one that verifies signatures by an algorithm here.
    NoKey,
    /// More than 32 keys.
    TooMany,
    /// No secret as it is recognised; what speaks against it.
    NoSecret(&'static str),
    /// A key of an algorithm that was not named.
    OtherAlgorithm(TokenAlgorithm),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the secret is empty",
            Self::Private => "this is a private key; give the public one, for that is enough here",
            Self::Certificate => {
                "this is a certificate; give its public key, as openssl x509 -pubkey -noout does"
            }
            Self::Unreadable => "this PEM file holds no public key that can be read",
            Self::Unsupported => {
                "the public key is none of RSA (2048 to 8192 bits), P-256 and Ed25519"
            }
            Self::Wide => "this is UTF-16 or UTF-32; save it as ASCII or UTF-8",
            Self::OtherForm(form) => {
                return write!(
                    f,
                    "this is {form}, not a key as PEM or JWK; convert it, as with openssl pkey"
                );
            }
            Self::NoKey => {
                "of these JWKs none verifies signatures by RS256 (2048 to 8192 bits), ES256, EdDSA \
                 or HS256 (at least 32 bytes)"
            }
            Self::TooMany => "there are more than 32 keys; remove the old ones",
            Self::NoSecret(why) => {
                return write!(
                    f,
                    "this is neither a public key nor a secret: {why}; openssl rand -hex 32 makes \
                     a secret, and --token-algorithm HS256 takes these bytes for one as they are"
                );
            }
            Self::OtherAlgorithm(algorithm) => {
                let name = algorithm.name();
                return write!(
                    f,
                    "this is a key for {name}, which --token-algorithm does not name"
                );
            }
        })
    }
}

/// The secret of a file, which is named one or is one evidently.
fn secret_key(file: &[u8], named: &[TokenAlgorithm]) -> Result<TokenKey, KeyError> {
    let secret = secret(file);
    if secret.is_empty() {
        return Err(KeyError::Empty);
    }
    if is_wide(file) {
        return Err(KeyError::Wide);
    }
    if let Some(form) = evident(file) {
        return Err(KeyError::OtherForm(form));
    }
    if !named.contains(&TokenAlgorithm::Hs256)
        && let Some(why) = evident::no_secret(secret)
    {
        return Err(KeyError::NoSecret(why));
    }
    Ok(TokenKey::of_secret(secret, None))
}

/// The size of an RSA public key (PKCS #1); 0 for one too small for lengths of two bytes.
fn modulus_bits(key: &[u8]) -> usize {
    let [0x30, 0x82, _, _, 0x02, 0x82, high, low, rest @ ..] = key else { return 0 };
    let modulus = rest.get(..usize::from(u16::from_be_bytes([*high, *low]))).unwrap_or(&[]);
    let zeros = modulus.iter().take_while(|&&byte| byte == 0).count();
    let significant = &modulus[zeros..];
    significant.first().map_or(0, |first| significant.len() * 8 - first.leading_zeros() as usize)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
