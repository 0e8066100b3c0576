//! L4: what a publisher asks a Redis with by TLS.

use crate::net::{AskError, ClientTls, Pair, PairError, PemFile};

/// What a `rediss://` Redis is asked with. What is left out is as it is by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisTls<'a> {
    /// PEM of the authority that has signed the server's certificate; the system's by default.
    pub authority: Option<&'a [u8]>,
    /// PEM of the certificate that is shown to the server, and of its key; none by default.
    pub certificate: Option<(&'a [u8], &'a [u8])>,
    /// The name that the server's certificate is to be for; the host of the URL by default.
    pub server_name: Option<&'a str>,
}

impl RedisTls<'_> {
    /// What rustls takes of it, or what is wrong.
    pub(super) fn read(&self) -> Result<ClientTls, String> {
        let file = |path: &str, text: &[u8]| PemFile { path: path.to_owned(), text: text.to_vec() };
        let authority = self.authority.map(|text| file("authority", text));
        let pair = self
            .certificate
            .map(|(chain, key)| Pair { chain: file("certificate", chain), key: file("key", key) });
        let read = ClientTls::new(authority.as_ref(), pair.as_ref(), self.server_name);
        read.map_err(|error| match error {
            AskError::Authority(why) | AskError::Name(why) => why,
            AskError::Pair(PairError::Chain(why) | PairError::Key(why)) => why,
        })
    }
}
