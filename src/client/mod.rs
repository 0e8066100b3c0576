//! L4: clients: the publisher for backends in Rust, and the WebSocket client of the tools.

pub mod publisher;
pub mod socket;
