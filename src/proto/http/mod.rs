//! L0: HTTP/1.1 (RFC 9110, RFC 9112): request heads in, answers out, and the answers of others.

pub mod answer;
pub mod body;
mod forwarded;
mod head;
pub mod message;

pub use forwarded::*;
pub use head::*;
