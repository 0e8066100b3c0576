//! L4: where TLS is spoken, and what is shown there: the listeners behind `https://`, and the files
//! with certificates and keys, in pairs.

use super::draft::ServerDraft;
use super::sources;
use super::table::Absent::Words;
use super::table::Takes::Repeated;
use super::table::{Flag, Wrong};
use super::values::HTTPS;
use crate::net::{Pair, PairError, PemFile, ServerTls};

/// Certificates.
pub(super) const CERT: Flag<ServerDraft> = Flag {
    name: "tls-cert",
    variable: "WSLOOP_TLS_CERT",
    takes: Repeated("FILE", |draft, text| read_into(&mut draft.tls.chains, text)),
    default: Words("none"),
    help: "PEM file with the certificate for `--listen https://…`, and behind it those that \
           lead to its authority; repeatable, or separated by commas: who asks for a name gets \
           the one that is for it, or else the first",
};

/// Their keys.
pub(super) const KEY: Flag<ServerDraft> = Flag {
    name: "tls-key",
    variable: "WSLOOP_TLS_KEY",
    takes: Repeated("FILE", |draft, text| read_into(&mut draft.tls.keys, text)),
    default: Words("none"),
    help: "PEM file with the private key of each `--tls-cert`, in the same order; both are \
           read again on SIGHUP",
};

/// The files, in the order given.
#[derive(Default)]
pub(super) struct TlsDraft {
    pub chains: Vec<PemFile>,
    pub keys: Vec<PemFile>,
}

/// Reads files, and puts them behind those that were read before.
pub(super) fn read_into(files: &mut Vec<PemFile>, text: &str) -> Result<(), String> {
    let read = sources::read_all(text)?;
    files.extend(read.into_iter().map(|(path, text)| PemFile { path, text }));
    Ok(())
}

impl TlsDraft {
    /// What is shown, if TLS is spoken anywhere, and lines about what is probably a mistake.
    pub(super) fn finish(
        self,
        listen: &[String],
    ) -> Result<(Option<ServerTls>, Vec<String>), Wrong> {
        let wrong = |flag, why: String| Err(Wrong { flag, why });
        let secured = listen.iter().find(|address| address.starts_with(HTTPS));
        match (secured, self.chains.len(), self.keys.len()) {
            (None, 0, 0) => return Ok((None, Vec::new())),
            (None, 0, _) => {
                let why = "is for --listen https://HOST:PORT, which is missing; so is --tls-cert";
                return wrong("tls-key", why.to_owned());
            }
            (None, ..) => {
                let why = "is for TLS, and no --listen speaks it; write https:// before its \
                           HOST:PORT";
                return wrong("tls-cert", why.to_owned());
            }
            (Some(address), 0, _) => {
                let why = "needs a certificate and its key; give --tls-cert and --tls-key";
                return wrong("listen", format!("{address} {why}"));
            }
            (Some(_), chains, keys) if chains != keys => {
                let why = "there is to be a key for each certificate, in the same order; one file \
                           with both is given to both flags";
                return wrong("tls-key", format!("{chains} certificates and {keys} keys: {why}"));
            }
            _ => {}
        }
        let pairs = self.chains.into_iter().zip(self.keys);
        let pairs: Vec<_> = pairs.map(|(chain, key)| Pair { chain, key }).collect();
        let shown = ServerTls::new(&pairs).map_err(|error| match error {
            PairError::Chain(why) => Wrong { flag: "tls-cert", why },
            PairError::Key(why) => Wrong { flag: "tls-key", why },
        })?;
        Ok((Some(shown.0), shown.1))
    }
}
