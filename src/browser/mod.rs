//! L2: one browser: its handshake, its life, its frames.
//!
//! What it wants of others it says as an [`Effect`]; it imports no other party.

mod conn;
mod context;
mod effect;
mod frames;
pub mod handshake;
mod life;
mod opening;
pub mod settings;

pub use conn::{Conn, Kept, Member, Publication};
pub use context::Context;
pub use effect::{Effect, Left, Said, Source};
pub use life::supersede;
