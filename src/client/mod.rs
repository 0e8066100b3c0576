//! L4: clients: the publisher for backends in Rust, and the WebSocket client of the tools.

pub(crate) mod publisher;
pub(crate) mod socket;
pub(crate) mod url;
