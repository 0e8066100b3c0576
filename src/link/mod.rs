//! L1: what every party needs, whoever is at the other end of its link: names, addresses, what
//! waits to be sent, time, counters, and the values that go between the core and its loop.
//!
//! It knows no party.

pub mod authority;
mod contract;
mod id;
mod metrics;
mod now;
mod outbox;
mod said;
mod target;
pub mod timers;

pub use contract::{Cause, Input, Output, Wish};
pub use id::LinkId;
pub use metrics::Metrics;
pub use now::Now;
pub use outbox::{Frame, Label, Outbox};
pub use said::{SaidOnce, SaidRarely};
pub use target::Target;
