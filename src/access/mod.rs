//! L1: who may do what: audiences, channels, permissions, and the sources that say who somebody is.
//!
//! It knows names and rules; no conn, no hub, no broker.

pub(crate) mod ask;
pub(crate) mod channel;
pub(crate) mod control;
pub(crate) mod crowds;
pub(crate) mod facility;
pub(crate) mod hosts;
pub(crate) mod identity;
pub(crate) mod key;
pub(crate) mod naming;
pub(crate) mod nearest;
pub(crate) mod pattern;
pub(crate) mod permissions;
pub(crate) mod proxies;
pub(crate) mod rates;
pub(crate) mod session;
pub(crate) mod sources;
pub(crate) mod token;
