//! L2: the values that go between the core and the loop that drives it.
//!
//! Inputs are past tense, outputs imperative; the order in which they are exchanged stands at the
//! top of the crate.

use crate::link::LinkId;
use crate::link::Target;

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes arrived. They are unmasked where they lie.
    Received {
        /// From whom.
        link: LinkId,
        /// What; never empty.
        bytes: &'a mut [u8],
    },
    /// A link that was dialed is made.
    Connected {
        /// Which.
        link: LinkId,
    },
    /// The kernel took fewer bytes than waited; nothing is lost.
    Blocked {
        /// Whose.
        link: LinkId,
    },
    /// The peer ended its side, or the link failed, or could not be made. Still to be closed.
    HungUp {
        /// Which.
        link: LinkId,
        /// Why.
        cause: Cause,
    },
    /// The process is asked to end; asked again, to end at once.
    ShutdownAsked,
}

/// Why a link hung up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer sends no more, but may still read.
    Ended,
    /// The link failed, in the words of the system.
    Failed(String),
}

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Make this link, to that address.
    Dial(LinkId, Target),
    /// Bytes wait in this link's outbox: take them with `slices` and `advance`.
    Flush(LinkId),
    /// All that waited is sent: shut the writing side, and go on reading.
    Finish(LinkId),
    /// Close this link and forget it. The name means nothing from here on.
    Close(LinkId),
}
