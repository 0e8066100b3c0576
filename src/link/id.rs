//! L1: the name of one link, for as long as it lives.
//!
//! It says nothing of what the link is. An index is used again after its link has gone; the
//! generation is not, so that a name that has outlived its link means nothing and does no harm.

/// Names one link: a browser's, a RESP client's, the application's or Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId {
    /// Its place in the slabs of the core and of the reactor.
    pub index: u32,
    /// Which of the links that have had that place.
    pub generation: u32,
}

impl std::fmt::Display for LinkId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.generation)
    }
}
