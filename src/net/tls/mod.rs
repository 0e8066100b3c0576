//! L3: TLS: what a server shows of itself, and the sessions of the links that speak it.
//!
//! The core knows of it that a conn is secure, and nothing else. `identity` reads certificates and
//! keys, `session` is one link's TLS without its socket, `links` puts both together.

mod identity;
mod links;
mod records;
mod session;
mod x509;

pub use identity::ServerTls;
pub(crate) use identity::{Pair, PairError, PemFile};
pub(super) use links::{Tls, Written};
