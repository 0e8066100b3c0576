//! (to be written)

/// Which subscribe and publish options are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow(u8);
