//! L1: who may do what: audiences, channels, permissions, and the sources that say who somebody is.
//!
//! It knows names and rules; no conn, no hub, no broker.

pub mod ask;
pub mod channel;
pub mod control;
pub mod identity;
pub(crate) mod nearest;
pub mod pattern;
pub mod permissions;
pub mod session;
pub mod sources;
pub mod token;
