//! L3: how a server is asked by TLS: whom it is believed from, what is shown to it, and the name
//! that it is to have.
//!
//! It knows no flags. Its errors are clauses that say what is wrong and how to mend it.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::identity::{Pair, PairError, PemFile, certified};

/// How a server is asked by TLS.
#[derive(Clone)]
pub(crate) struct ClientTls {
    config: Arc<ClientConfig>,
    /// The name that its certificate is to have; else the host that is dialed.
    name: Option<ServerName<'static>>,
}

/// What of it will not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AskError {
    /// The authorities.
    Authority(String),
    /// The certificate that is shown, or its key.
    Pair(PairError),
    /// The server's name.
    Name(String),
}

impl ClientTls {
    /// Believes `authority`, or those of this system, and shows a pair if it is asked for one.
    pub(crate) fn new(
        authority: Option<&PemFile>,
        pair: Option<&Pair>,
        name: Option<&str>,
    ) -> Result<ClientTls, AskError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = match authority {
            Some(file) => authorities(file)?,
            None => system()?,
        };
        let shown = pair.map(|pair| certified(pair, &provider, &mut Vec::new())).transpose();
        let shown = shown.map_err(AskError::Pair)?;
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("it has suites");
        let builder = builder.with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let only = rustls::sign::SingleCertAndKey::from(shown);
                builder.with_client_cert_resolver(Arc::new(only))
            }
        };
        let name = name.map(named).transpose().map_err(AskError::Name)?;
        Ok(ClientTls { config: Arc::new(config), name })
    }

    /// A session with that host, for a loop.
    pub(super) fn unbuffered(&self, host: &str) -> Result<UnbufferedClientConnection, String> {
        let name = self.name_of(host)?;
        let connection = UnbufferedClientConnection::new(self.config.clone(), name);
        connection.map_err(|error| error.to_string())
    }

    /// The same for who waits.
    pub(crate) fn connection(&self, host: &str) -> Result<ClientConnection, String> {
        let name = self.name_of(host)?;
        ClientConnection::new(self.config.clone(), name).map_err(|error| error.to_string())
    }

    fn name_of(&self, host: &str) -> Result<ServerName<'static>, String> {
        self.name.clone().map_or_else(|| named(host), Ok)
    }
}

impl Debug for ClientTls {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

fn named(host: &str) -> Result<ServerName<'static>, String> {
    let name = ServerName::try_from(host.to_owned());
    name.map_err(|_| format!("{host:?} is no name that a certificate may have"))
}

/// The authorities of a file.
fn authorities(file: &PemFile) -> Result<RootCertStore, AskError> {
    let path = &file.path;
    let wrong = |why: String| AskError::Authority(format!("{path:?} {why}"));
    let mut roots = RootCertStore::empty();
    for read in CertificateDer::pem_slice_iter(&file.text) {
        let der = read.map_err(|error| wrong(format!("is no PEM: {error}")))?;
        let added = roots.add(der);
        added.map_err(|error| wrong(format!("has a certificate of no use: {error}")))?;
    }
    match roots.is_empty() {
        false => Ok(roots),
        true => Err(wrong("has no certificate; give the PEM file of the authority".to_owned())),
    }
}

/// The authorities that this system believes.
fn system() -> Result<RootCertStore, AskError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        false => Ok(roots),
        true => Err(AskError::Authority(
            "this system knows no authorities; install ca-certificates, or name one".to_owned(),
        )),
    }
}
