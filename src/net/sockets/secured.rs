//! L3: what sockets of one's own show of themselves where they speak TLS.

use std::fs;
use std::path::{Path, PathBuf};

use super::SocketsError;
use crate::net::tls::{Pair, PairError, PemFile, ServerTls, TlsUses};

const HTTPS: &str = "https://";

/// A certificate for `https://` addresses, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPair {
    /// PEM file with the certificate, and behind it those that lead to its authority.
    pub certificate: PathBuf,
    /// PEM file with its private key; it may be the same.
    pub key: PathBuf,
}

/// What is shown at these addresses, if any of them speaks TLS.
pub(super) fn uses(addresses: &[String], pairs: &[TlsPair]) -> Result<TlsUses, SocketsError> {
    let is_secured = |address: &String| address.starts_with(HTTPS);
    if let Some(address) = addresses.iter().find(|address| is_secured(address))
        && pairs.is_empty()
    {
        let why = format!("{address} needs a certificate and its key; give them to serve_tls");
        return Err(SocketsError::Tls(why));
    }
    if pairs.is_empty() {
        return Ok(TlsUses::default());
    }
    let read = |pair: &TlsPair| {
        Ok(Pair { chain: read_pem(&pair.certificate)?, key: read_pem(&pair.key)? })
    };
    let pairs = pairs.iter().map(read).collect::<Result<Vec<Pair>, SocketsError>>()?;
    let (shown, warnings) = ServerTls::new(&pairs).map_err(|error| match error {
        PairError::Chain(why) | PairError::Key(why) => SocketsError::Tls(why),
    })?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(TlsUses { shown: Some(shown), redis: None })
}

fn read_pem(path: &Path) -> Result<PemFile, SocketsError> {
    let path_text = path.display().to_string();
    match fs::read(path) {
        Ok(text) => Ok(PemFile { path: path_text, text }),
        Err(error) => Err(SocketsError::Tls(format!("{path_text:?} cannot be read: {error}"))),
    }
}
