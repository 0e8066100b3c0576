//! L1: what every party needs, whoever is at the other end of its link: names, addresses, what
//! waits to be sent, time, counters, and the values that go between the core and its loop.
//!
//! It knows no party.

pub(crate) mod authority;
mod backoff;
mod contract;
mod entry;
pub(crate) mod figures;
mod gathered;
mod id;
mod metrics;
mod now;
mod outbox;
mod peer;
pub(crate) mod places;
mod said;
mod target;
pub(crate) mod timers;

pub(crate) use backoff::Backoff;
pub(crate) use contract::LOOKUP_MS;
pub use contract::{Cause, Input, Output, Wish};
pub(crate) use entry::{Events, Frame};
pub use gathered::Gathered;
pub use id::LinkId;
pub use metrics::Metrics;
pub(crate) use now::DayClock;
pub use now::Now;
pub(crate) use outbox::Outbox;
pub use peer::Peer;
pub(crate) use said::{LeftOut, SaidOnce, SaidRarely};
pub use target::Target;
