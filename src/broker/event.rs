//! L1: what a broker says, and the names that its answers come back with.

use std::sync::Arc;

use crate::link::LinkId;

/// What a node of the broker has to say.
#[derive(Debug, PartialEq, Eq)]
pub enum BrokerEvent<'a> {
    /// A message arrived.
    Delivery(Delivery<'a>),
    /// A message arrived from a RESP client, and the RESP clients have been told of it.
    Announced(Delivery<'a>),
    /// From now on the channel's messages arrive.
    Subscribed {
        /// Its name.
        channel: &'a [u8],
    },
    /// These channels are asked for once more, each by itself: what is stored is to be asked for
    /// behind that.
    AskedAgain {
        /// Their names.
        channels: Vec<Arc<str>>,
    },
    /// The node has ceased to have the messages of the channel: another one has them.
    Unheard {
        /// The channel.
        channel: &'a [u8],
    },
    /// The broker will not let us hear the channel.
    Denied {
        /// Its name.
        channel: Arc<str>,
        /// Why, in the broker's words.
        reason: String,
    },
    /// An ask is answered.
    Answer {
        /// The ask.
        ask: Ask,
        /// What is stored, if anything is.
        payload: Option<&'a [u8]>,
    },
    /// An ask is answered with nothing of use: an error, or a value larger than allowed.
    NoAnswer {
        /// The ask.
        ask: Ask,
        /// What is wrong.
        reason: String,
    },
    /// What a conn had published is answered, that was to be told when it is.
    Settled {
        /// The conn.
        conn: LinkId,
    },
    /// It is known what became of a publish that was to be told of.
    Published {
        /// Whose it was.
        receipt: Receipt,
        /// What became of it.
        outcome: PublishOutcome,
    },
    /// A message was larger than allowed and has been skipped; the broker tells of which channel.
    Skipped,
    /// The node is up, and knows of no subscription and no fetch.
    Up,
    /// A replica begins anew with all that its master has: what was published just before may be
    /// missing.
    Anew,
    /// The link was to be left, and nothing more comes over it.
    Left,
    /// The link is of no more use; the owner closes it and says so with `lost`.
    Broken {
        /// What was wrong.
        reason: String,
    },
    /// The same, because the server is in no state to answer.
    Ill {
        /// In its words.
        reason: String,
    },
    /// The same, because the server is a replica now.
    Demoted {
        /// How that is known.
        reason: String,
    },
    /// Something to be counted or said.
    Notice(Notice),
    /// Nothing that concerns the owner.
    Quiet,
}

/// What whoever runs the server wants to know about the broker.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// A publish, the storing of its message, or an unsubscription is not allowed.
    Refused {
        /// Why, in the broker's words.
        reason: String,
    },
    /// A message was not published.
    Unpublished {
        /// Why, in the broker's words.
        reason: String,
    },
    /// A message was published and not stored.
    Unstored {
        /// Why, in the broker's words.
        reason: String,
    },
    /// A message was published and is not in its channel's history.
    Unrecorded {
        /// Why, in the broker's words.
        reason: String,
    },
    /// The server answers, after it was in no state to.
    Well,
    /// It stores messages, after it did not.
    Stores,
    /// It records messages, after it did not.
    Records,
    /// What browsers publish goes to a replica.
    Replica,
    /// It does so no more: that has become a master.
    Master,
    /// A node of a cluster says nothing of use about who has which slots: what was said before
    /// counts on.
    Unmapped {
        /// What is wrong.
        reason: String,
    },
    /// It does so again.
    Mapped,
    /// What shows that messages pass may not be published.
    CanaryDenied,
    /// So many messages waited too long for a link.
    GivenUp(u64),
}

/// Who asked for something that is stored. The broker gives it back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The fetch of that number, for a channel's stored message.
    Stored(u64),
    /// A conn, for the session of who asks.
    Session(LinkId),
    /// The question of that number, for where a channel's history ends.
    Place(u64),
    /// What came into a channel's history since a place, beside the fetch of that number.
    Missed(u64),
    /// The question of that number, about a channel that is heard with positions.
    Topic(u64),
}

/// Who is to be told what becomes of a publish. The broker gives it back, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The conn that publishes.
    pub conn: LinkId,
    /// Which of its publishes that is.
    pub number: u64,
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The broker has taken it.
    Accepted,
    /// The broker does not let us publish there.
    Denied,
    /// The broker could not: it is full, or a replica that must not, or in no state to.
    Failed,
    /// The link was lost before the broker answered, or did not come back in time.
    Dropped,
}

/// One message arriving for one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The channel's name.
    pub channel: &'a [u8],
    /// The message, as it was published.
    pub payload: &'a [u8],
    /// The conn that published it and shall not have it back.
    pub except: Option<LinkId>,
    /// It was published to those who hear the shard, and comes from one node alone.
    pub is_sharded: bool,
}
