//! L1: what goes to whom: who hears a channel, messages as shared frames, what happens to slow
//! readers, and who waits for a stored message.

pub mod encoded;
pub mod hub;
pub mod overflow;
pub mod stored;
