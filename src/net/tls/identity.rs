//! L3: what a TLS server shows of itself: certificates and keys, from PEM files to what rustls
//! takes, and which of them answers to which name.
//!
//! It knows no flags. Its errors are clauses that say which file is wrong and how to mend it.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ProducesTickets, ResolvesServerCert,
};
use rustls::sign::CertifiedKey;

use super::super::clock;
use super::x509;

/// What is spoken within TLS.
const HTTP: &[u8] = b"http/1.1";
const DAY_S: i64 = 86_400;

/// A PEM file.
#[derive(Clone, Debug)]
pub(crate) struct PemFile {
    /// Where it is, for what is said of it.
    pub path: String,
    /// What is in it.
    pub text: Vec<u8>,
}

/// A certificate with those that lead to its authority, and its key.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    /// The certificates, its own first.
    pub chain: PemFile,
    /// The private key.
    pub key: PemFile,
}

/// Why a file will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PairError {
    /// The certificates.
    Chain(String),
    /// The key.
    Key(String),
}

/// What a server shows, and how it speaks TLS.
#[derive(Clone)]
pub(crate) struct ServerTls(pub(super) Arc<ServerConfig>);

/// Which certificate answers to which name: the first that is for it, or else the first of all.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ServerTls {
    /// Takes pairs, of which the first answers whoever asks for no name or another one, and lines
    /// about what is probably a mistake.
    pub(crate) fn new(pairs: &[Pair]) -> Result<(ServerTls, Vec<String>), PairError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut warnings = Vec::new();
        let mut keys = Vec::new();
        for pair in pairs {
            keys.push(Arc::new(certified(pair, &provider, &mut warnings)?));
        }
        let versions = ServerConfig::builder_with_provider(provider);
        let versions = versions.with_safe_default_protocol_versions().expect("it has suites");
        let names = Arc::new(ByName(keys));
        let mut config = versions.with_no_client_auth().with_cert_resolver(names);
        config.alpn_protocols = vec![HTTP.to_vec()];
        // Sessions are kept by browsers, in tickets, and not here.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(tickets) = tickets() {
            config.ticketer = tickets;
        }
        Ok((ServerTls(Arc::new(config)), warnings))
    }
}

impl Debug for ServerTls {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// The keys of tickets are the process's: who comes back with one after the certificates were read
/// again is known still.
fn tickets() -> Option<Arc<dyn ProducesTickets>> {
    static TICKETS: OnceLock<Option<Arc<dyn ProducesTickets>>> = OnceLock::new();
    TICKETS.get_or_init(|| aws_lc_rs::Ticketer::new().ok()).clone()
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let first = self.0.first()?;
        let named = match hello.server_name() {
            Some(name) if self.0.len() > 1 => ServerName::try_from(name).ok(),
            _ => None,
        };
        let is_for = |key: &&Arc<CertifiedKey>, name: &ServerName<'_>| {
            let certificate = key.end_entity_cert().ok().map(ParsedCertificate::try_from);
            matches!(certificate, Some(Ok(one)) if verify_server_name(&one, name).is_ok())
        };
        let found = named.and_then(|name| self.0.iter().find(|key| is_for(key, &name)));
        Some(found.unwrap_or(first).clone())
    }
}

/// What rustls takes of a pair.
pub(super) fn certified(
    pair: &Pair,
    provider: &CryptoProvider,
    warnings: &mut Vec<String>,
) -> Result<CertifiedKey, PairError> {
    let chain = chain(&pair.chain)?;
    let key = private_key(&pair.key)?;
    let path = &pair.key.path;
    let signing = provider.key_provider.load_private_key(key).map_err(|_| {
        PairError::Key(format!(
            "{path:?} has a private key of a kind that is not taken; make one for P-256, P-384, \
             Ed25519 or RSA of 2048 bits or more"
        ))
    })?;
    let belongs = |at: usize| {
        CertifiedKey::new(vec![chain[at].clone()], signing.clone()).keys_match().is_ok()
    };
    if !belongs(0) {
        let file = &pair.chain.path;
        return Err(match (1..chain.len()).find(|at| belongs(*at)) {
            Some(at) => PairError::Chain(format!(
                "{file:?} is in the wrong order: the certificate of the key in {path:?} is the \
                 {}th; put it first, and behind it the ones that lead to its authority",
                at + 1
            )),
            None => PairError::Key(format!(
                "{path:?} is not the key of the certificate in {file:?}; give them in the same \
                 order, a key for each certificate"
            )),
        });
    }
    warnings.extend(judge(&pair.chain.path, &chain));
    Ok(CertifiedKey::new(chain, signing))
}

/// What is probably a mistake in a chain that belongs to its key.
fn judge(path: &str, chain: &[CertificateDer<'_>]) -> Vec<String> {
    let read: Vec<_> = chain.iter().map_while(|der| x509::read(der)).collect();
    let now_s = (clock::unix_ms() / 1000) as i64;
    let mut warnings = Vec::new();
    if let Some(own) = read.first() {
        if own.until < now_s {
            let days = (now_s - own.until) / DAY_S;
            warnings.push(format!(
                "the certificate in {path:?} expired {days} days ago, and browsers refuse it; \
                 renew it, and have the server read it again with SIGHUP"
            ));
        } else if own.from > now_s {
            warnings.push(format!(
                "the certificate in {path:?} is not valid yet; look at the clock of this machine"
            ));
        }
    }
    if read.windows(2).any(|two| two[0].issuer != two[1].subject) {
        warnings.push(format!(
            "the certificates in {path:?} are in the wrong order: each is to be signed by the one \
             behind it; some clients do not find the way"
        ));
    }
    warnings
}

/// The certificates of a file.
fn chain(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let path = &file.path;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.text).collect();
    let chain = read.map_err(|error| PairError::Chain(format!("{path:?} is no PEM: {error}")))?;
    let Some(first) = chain.first() else {
        return Err(PairError::Chain(format!(
            "{path:?} has no certificate; give a PEM file with BEGIN CERTIFICATE in it, such as \
             fullchain.pem"
        )));
    };
    match ParsedCertificate::try_from(first) {
        Ok(_) => Ok(chain),
        Err(error) => Err(PairError::Chain(format!(
            "the first certificate in {path:?} cannot be used: {error}; it is to be one of X.509, \
             version 3"
        ))),
    }
}

/// The private key of a file.
fn private_key(file: &PemFile) -> Result<PrivateKeyDer<'static>, PairError> {
    let path = &file.path;
    let is_there = |what: &[u8]| file.text.windows(what.len()).any(|part| part == what);
    PrivateKeyDer::from_pem_slice(&file.text).map_err(|_| {
        PairError::Key(if is_there(b"ENCRYPTED") {
            format!(
                "the private key in {path:?} is encrypted; decrypt it with: openssl pkey -in FILE"
            )
        } else {
            format!(
                "{path:?} has no private key; give a PEM file with BEGIN PRIVATE KEY in it, such \
                 as privkey.pem"
            )
        })
    })
}
