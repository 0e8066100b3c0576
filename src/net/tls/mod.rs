//! L3: TLS: what a server shows of itself, and the sessions of the links that speak it.
//!
//! The core knows of it that a conn is secure, and nothing else. `identity` reads certificates and
//! keys, `asking` is about servers that are dialed, `session` is one link's TLS without its socket,
//! `links` puts both together.

mod asking;
mod identity;
mod links;
mod records;
mod session;
mod x509;

pub(crate) use asking::AskError;
pub(crate) use asking::ClientTls;
pub(crate) use identity::ServerTls;
pub(crate) use identity::{Pair, PairError, PemFile};
pub(super) use links::{Tls, Written};

/// What is shown and asked with by TLS, where that is spoken.
#[derive(Clone, Debug, Default)]
pub struct TlsUses {
    /// What is shown to browsers.
    pub(crate) shown: Option<ServerTls>,
    /// How Redis is asked.
    pub(crate) redis: Option<ClientTls>,
}

impl TlsUses {
    /// Takes over what is new, where TLS was spoken before and is still.
    pub(super) fn renew(&mut self, new: TlsUses) {
        // Without it nobody could be answered or asked who can be now.
        if new.shown.is_some() && self.shown.is_some() {
            self.shown = new.shown;
        }
        if new.redis.is_some() && self.redis.is_some() {
            self.redis = new.redis;
        }
    }
}
