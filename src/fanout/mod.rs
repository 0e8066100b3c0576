//! L1: what goes to whom: who hears a channel, messages as shared frames, what happens to slow
//! readers, and who waits for a stored message.

pub(crate) mod encoded;
pub(crate) mod fingerprint;
mod heard;
pub(crate) mod hub;
pub(crate) mod line;
pub(crate) mod overflow;
pub(crate) mod stored;
mod subscribers;
pub(crate) mod trail;
