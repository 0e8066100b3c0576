//! L2: one browser: its handshake, its states, its frames.

pub mod conn;
pub mod handshake;
pub mod settings;
