//! L2: one browser: its handshake, its life, its frames.
//!
//! What it wants of others it says as an [`Effect`]; it imports no other party.

mod access_log;
pub(crate) mod admitting;
mod arriving;
mod conn;
mod context;
pub(crate) mod deciding;
mod effect;
mod elsewhere;
pub(crate) mod endpoint;
mod endpoint_conn;
mod explain;
mod frames;
pub(crate) mod handshake;
mod held;
mod host;
mod life;
mod names;
mod needs;
mod opening;
pub(crate) mod orders;
mod plain;
mod posting;
mod refusal;
pub(crate) mod settings;
mod special;
mod streaming;
pub(crate) mod topics;

pub(crate) use conn::{Conn, Kept, Member, Unserved};
pub use context::Context;
pub(crate) use effect::{Effect, Hear, Left, Said, Source};
pub(crate) use life::{Goodbye, supersede};
