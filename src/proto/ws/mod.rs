//! L0: WebSockets (RFC 6455) and their compression (RFC 7692): the upgrade, frames and messages.

mod assembly;
pub mod client;
pub mod deflate;
pub mod frame;
pub mod message;
pub mod origin;
pub mod skim;
pub mod upgrade;
pub mod whole;
