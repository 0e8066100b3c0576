//! L1: the values that go between the core and the loop that drives it.
//!
//! Inputs are past tense, outputs imperative; the order in which they are exchanged stands at the
//! top of the crate.

use super::{LinkId, Target};

/// How long a name may be looked up: longer than any resolver takes to give up.
pub(crate) const LOOKUP_MS: u64 = 60_000;

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// Bytes arrived. They are unmasked where they lie.
    Received {
        /// The link that they arrived on.
        link: LinkId,
        /// The bytes; never empty.
        bytes: &'a mut [u8],
    },
    /// Bytes arrived, and were appended to the room that the link has for them
    /// ([`Server::room`](crate::Server::room)).
    Filled {
        /// The link that they arrived on.
        link: LinkId,
        /// How many; never 0.
        bytes: usize,
    },
    /// A link whose wish is [`Wish::GoOn`] has its turn.
    WentOn {
        /// The link.
        link: LinkId,
    },
    /// The name of a link that was dialed is being looked up, which may take longer than a dial.
    LookingUp {
        /// The link.
        link: LinkId,
    },
    /// It was looked up, and the dial begins.
    LookedUp {
        /// The link.
        link: LinkId,
    },
    /// A link that was dialed is made.
    Connected {
        /// The link.
        link: LinkId,
    },
    /// What is sent and received on an accepted link from here on is encrypted: its TLS handshake
    /// is done.
    Secured {
        /// The link.
        link: LinkId,
    },
    /// A link of a port for TLS alone is not encrypted, and will not be. What arrives is to be
    /// answered so.
    Exposed {
        /// The link.
        link: LinkId,
    },
    /// The loop holds other memory for a link than before, which its peer has made grow: what came
    /// of a record in part, or is encrypted and not sent.
    Held {
        /// The link.
        link: LinkId,
        /// KiB, rounded up.
        kib: usize,
    },
    /// The kernel took fewer bytes than waited; nothing more is flushed to the link until it is
    /// [`Input::Writable`].
    Blocked {
        /// The link.
        link: LinkId,
    },
    /// The link can be written to: the kernel takes bytes again, or the loop has stopped before it
    /// refused any. [`Output::Flush`] follows if something waits.
    Writable {
        /// The link.
        link: LinkId,
    },
    /// The peer ended its side, or the link failed, or could not be made. Still to be closed.
    HungUp {
        /// The link.
        link: LinkId,
        /// How it ended.
        cause: Cause,
    },
    /// The process is going to be asked to end: it serves as before, and says that it is not ready.
    ShutdownAnnounced,
    /// The process is asked to end; asked again, to end at once, or, while it closes one conn after
    /// the other, to close all.
    ShutdownAsked,
}

/// Why a link hung up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer sends no more, but may still read.
    Ended,
    /// The link failed, in the words of the system.
    Failed(String),
    /// Its TLS failed, in words.
    Tls(String),
}

/// What a link wants of the loop as to its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To be read.
    Read,
    /// To be read, best into its room, because much is to come of a large message.
    Fill,
    /// To be told [`Input::WentOn`]: it has bytes left that were read before.
    GoOn,
    /// Nothing before some of what waits is put out: as much waits as may. To be asked again when
    /// the loop has done that, in this turn or at its end.
    Later,
    /// Nothing until [`Output::Resume`] names it.
    Rest,
}

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Make this link, to that address.
    Dial(LinkId, Target),
    /// Bytes wait in this link's outbox: take them with `slices` and `advance`.
    Flush(LinkId),
    /// Ask for this link's wish again in the next turn.
    Resume(LinkId),
    /// All that waited is sent: shut the writing side, and go on reading.
    Finish(LinkId),
    /// Close this link and forget it. The name means nothing from here on.
    Close(LinkId),
}
