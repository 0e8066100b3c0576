//! L1: what is awaited on one link to Redis.
//!
//! It knows the order of the protocol, and who is to have which answer. Its rules:
//! * every command has its entry among the awaited, in order. A reply ends the oldest; a
//!   confirmation push counts the oldest subscription down, a message push touches none. One entry
//!   too many or too few would hand one browser's answer to another, so a reply that does not fit
//!   the oldest entry ends the link;
//! * SUNSUBSCRIBEs that were sent together share an entry, which the answer to a HELLO behind them
//!   ends, and no error;
//! * message pushes come anywhere between replies, a conn's own among them: before the reply to its
//!   PUBLISH or after it, but never after the reply to the command that follows.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::Lost;
use super::asking::{READ_HEAD, Wanted};
use super::clustered::{self, Again, Clustering};
use super::errors::Ill;
use super::inside::{self, Room};
use super::kind::{self, Kind, Role};
use super::later::Publication;
use super::own::Own;
use super::pair::Pair;
use super::window::Window;
use crate::broker::{
    Ask, BrokerEvent, Delivery, HistorySize, Notice, PublishOutcome, Receipt, Uses,
};
use crate::link::LinkId;
use crate::proto::resp::{self, Push, Reply, Whole};

/// What belongs to one link and goes with it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) out: Vec<u8>,
    pub(super) sent: usize,
    /// Bytes of commands that were taken from the front of `out`.
    pub(super) gone: u64,
    /// Publications that no byte was sent of, or none of their storing.
    pub(super) unsent: VecDeque<Unsent>,
    /// What kind of server it is.
    pub(super) kind: Kind,
    /// All that was to be known before anything else is asked is known.
    pub(super) is_greeted: bool,
    /// A replica is of no use.
    must_be_master: bool,
    /// What ROLE says may be had.
    pub(super) may_ask_role: bool,
    pub(super) awaited: VecDeque<Awaited>,
    /// The number of the oldest awaited command; the first on a link has 0.
    pub(super) oldest: u64,
    /// Own publications whose push is not to reach the conn they came from.
    pub(super) own: Own,
    /// Conns that are to be told when so many commands are answered.
    settling: VecDeque<(u64, LinkId)>,
    /// What became of publishes, to be told.
    pub(super) published: VecDeque<(Receipt, PublishOutcome)>,
    /// Asks under way.
    pub(super) window: Window,
    /// Asks that wait until they may be made, and those that are to be made by GET.
    pub(super) asks: VecDeque<Wanted>,
    pub(super) again: VecDeque<(Ask, Box<str>)>,
    /// GETRANGE is not to be had.
    pub(super) plain: bool,
    /// Which values are of use.
    pub(super) uses: Uses,
    pub(super) heard_ms: u64,
    /// Since when an answer is due without a byte having arrived.
    pub(super) due_ms: u64,
    /// What is about the cluster of which the server is a node.
    pub(super) cluster: Option<Box<Clustering>>,
    /// What is about its being a replica, or the master of one.
    pub(super) pair: Option<Box<Pair>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Hello,
    /// The rest of a greeting.
    Greeting,
    /// Which slots of a cluster the node has.
    Slots,
    /// What the node is called in the cluster.
    NodeId,
    ClusterInfo,
    /// Who has which slots.
    Map {
        by_ranges: bool,
    },
    /// The next command is about a slot that is about to be there.
    Asking,
    Role,
    Replication,
    /// It is to say when it forgets all its data.
    Tracking,
    /// Confirmations that are still to come; a `None` is not wanted any more.
    Subscribe(VecDeque<(Arc<str>, bool)>),
    /// The same for those who hear the shard; all are of one slot.
    ShardSubscribe(VecDeque<(Arc<str>, bool)>),
    Unsubscribe(Arc<str>),
    /// So many commands, of which these are not confirmed, and a HELLO behind them.
    ShardUnsubscribe(BTreeSet<Arc<str>>),
    Publish(Option<Receipt>, Kept),
    /// A message is recorded and published.
    Record(Option<Receipt>, Kept),
    Set(Kept),
    Get(Get),
    /// What is in a history; what was wanted, where that may belong elsewhere.
    Read(Ask, Option<Box<Wanted>>),
    Ping,
    Canary,
    /// It is left for another. Nothing comes behind its answer, and nothing is sent behind it.
    Reset,
}

impl Awaited {
    /// What was asked for, if that is what it is about.
    fn wanted(self) -> Option<Wanted> {
        match self {
            Awaited::Get(Get { ask, name, tries, .. }) => {
                Some(Wanted::value(ask, name).tried(tries))
            }
            Awaited::Read(_, Some(wanted)) => Some(*wanted),
            // It is made again only by the nodes of a cluster, where what was wanted is kept.
            Awaited::Read(ask, None) => Some(Wanted::value(ask, Box::default())),
            _ => None,
        }
    }
}

/// An ask that is under way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Get {
    pub(super) ask: Ask,
    pub(super) name: Box<str>,
    /// By GETRANGE, of which no more comes back than is of use.
    pub(super) ranged: bool,
    /// How often it was tried.
    pub(super) tries: u8,
}

/// What was published, where that may belong elsewhere.
pub(super) type Kept = Option<Box<Publication<'static>>>;

/// Where the commands of a publication begin among all bytes of the link.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) publish: u64,
    /// The number of that command.
    pub(super) command: u64,
    /// That of SET, or of PUBLISH where nothing is stored.
    pub(super) last: u64,
    pub(super) except: Option<LinkId>,
    pub(super) receipt: Option<Receipt>,
    pub(super) history: Option<HistorySize>,
    /// There was no PUBLISH.
    pub(super) stored_only: bool,
    pub(super) at_ms: u64,
}

impl Session {
    /// A link on which nothing is awaited, and on which `window` bytes of answers are to be
    /// expected at one time.
    pub(super) fn new(uses: Uses, window: usize, must_be_master: bool) -> Self {
        let largest = uses.max_message.max(uses.max_session);
        Session {
            out: Vec::new(),
            sent: 0,
            gone: 0,
            unsent: VecDeque::new(),
            kind: Kind::default(),
            is_greeted: false,
            must_be_master,
            may_ask_role: true,
            awaited: VecDeque::new(),
            oldest: 0,
            own: Own::default(),
            settling: VecDeque::new(),
            published: VecDeque::new(),
            window: Window::new(window, largest.saturating_add(READ_HEAD)),
            asks: VecDeque::new(),
            again: VecDeque::new(),
            plain: false,
            uses,
            heard_ms: 0,
            due_ms: 0,
            cluster: None,
            pair: None,
        }
    }

    pub(super) fn command(&mut self, arguments: &[&[u8]], awaited: Awaited, now_ms: u64) {
        self.awaits(awaited, now_ms);
        resp::command(&mut self.out, arguments);
    }

    /// Something is sent that is answered with one reply.
    pub(super) fn awaits(&mut self, awaited: Awaited, now_ms: u64) {
        if self.awaited.is_empty() {
            self.due_ms = now_ms;
        }
        self.awaited.push_back(awaited);
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.sent += n;
        assert!(self.sent <= self.out.len(), "more bytes were sent than waited");
        let sent = self.gone + self.sent as u64;
        while self.unsent.front().is_some_and(|unsent| unsent.last < sent) {
            self.unsent.pop_front();
        }
        if self.sent == self.out.len() {
            self.gone = sent;
            self.out.clear();
            self.out.shrink_to(64 << 10);
            self.sent = 0;
        } else if self.sent > self.out.len() / 2 && self.sent > 64 << 10 {
            self.out.drain(..self.sent);
            self.gone = sent;
            self.sent = 0;
        }
    }

    #[inline]
    pub(super) fn on_message<'a>(&mut self, message: Whole<'a>) -> BrokerEvent<'a> {
        let (channel, payload, is_sharded) = message;
        let except = self.own.take(channel, payload, self.heard_ms);
        BrokerEvent::Delivery(Delivery { channel, payload, except, is_sharded })
    }

    pub(super) fn on_push<'a>(&mut self, push: Push<'a>) -> BrokerEvent<'a> {
        match push {
            Push::Message { channel, payload, is_sharded } => {
                self.on_message((channel, payload, is_sharded))
            }
            Push::Subscribed { channel } => self.on_subscribed(channel),
            Push::ShardUnsubscribed { channel } => self.on_shard_unsubscribed(channel),
            Push::Unsubscribed { channel } => match self.awaited.front() {
                Some(Awaited::Unsubscribe(name)) if name.as_bytes() == channel => {
                    self.finish();
                    BrokerEvent::Quiet
                }
                _ => misfit("a confirmation of an UNSUBSCRIBE that was not due"),
            },
            Push::TooLarge => BrokerEvent::Skipped,
            Push::Other if self.is_on_trial() => BrokerEvent::Anew,
            Push::Other => BrokerEvent::Quiet,
        }
    }

    fn on_subscribed<'a>(&mut self, channel: &'a [u8]) -> BrokerEvent<'a> {
        let Some(Awaited::Subscribe(channels) | Awaited::ShardSubscribe(channels)) =
            self.awaited.front_mut()
        else {
            return misfit("a confirmation of a SUBSCRIBE that was not due");
        };
        match channels.pop_front() {
            Some((name, wanted)) if name.as_bytes() == channel => {
                if channels.is_empty() {
                    self.finish();
                }
                if wanted { BrokerEvent::Subscribed { channel } } else { BrokerEvent::Quiet }
            }
            _ => misfit("a confirmation of another channel than was due"),
        }
    }

    /// A reply to the oldest command; `inside` is what [`Session::looks_inside`] wanted to see.
    pub(super) fn on_reply<'a>(&mut self, reply: Reply<'a>, inside: &[u8]) -> BrokerEvent<'a> {
        if let (Some(Awaited::ShardUnsubscribe(_)), Reply::Error(reason)) =
            (self.awaited.front(), &reply)
        {
            return self.on_shard_unsubscribe_refused(reason);
        }
        let Some(awaited) = self.awaited.pop_front() else {
            return misfit("a reply that nothing asked for");
        };
        self.finished();
        match (awaited, reply) {
            (Awaited::Slots, Reply::Bulk(nodes)) if kind::has_all_slots(nodes) => self.greeted(),
            (Awaited::Slots, _) => misfit(NOT_ALL_SLOTS),
            (Awaited::Reset, _) => BrokerEvent::Left,
            (awaited, Reply::Error(reason)) => self.on_error(awaited, reason),
            (Awaited::Hello, Reply::Aggregate) => self.on_hello(kind::of_hello(inside)),
            (Awaited::Greeting, Reply::Status(_)) => self.greeted(),
            (Awaited::Role, Reply::Aggregate) => self.on_role(kind::of_role(inside)),
            (Awaited::Get(get), Reply::Bulk(payload)) => self.on_value(get, Some(payload)),
            (Awaited::Get(get), Reply::Null) => self.on_value(get, None),
            (Awaited::Get(get), Reply::TooLarge) => self.on_large_value(get.ask),
            (Awaited::Read(ask, _), Reply::Bulk(text)) => self.on_read(ask, text),
            (Awaited::Read(ask, _), _) => self.on_unread(ask, "it answers something else".into()),
            (
                Awaited::Publish(receipt, kept) | Awaited::Record(receipt, kept),
                Reply::Integer(_),
            ) => {
                self.on_published(kept.as_deref());
                self.receive(receipt, PublishOutcome::Accepted);
                BrokerEvent::Quiet
            }
            (Awaited::Set(kept), Reply::Status(_)) => {
                self.release(kept.as_deref());
                BrokerEvent::Quiet
            }
            (Awaited::Replication, Reply::Bulk(text)) => self.on_replication(Ok(text)),
            (Awaited::NodeId, Reply::Bulk(id)) => self.on_node_id(id),
            (Awaited::ClusterInfo, Reply::Bulk(text)) => self.on_cluster_info(text),
            (Awaited::Map { by_ranges }, Reply::Aggregate | Reply::TooLarge)
                if clustered::is_map(inside) =>
            {
                self.on_map(inside, by_ranges)
            }
            (Awaited::Canary, Reply::Integer(_))
            | (Awaited::ShardUnsubscribe(_), Reply::Aggregate)
            | (Awaited::Asking | Awaited::Tracking, Reply::Status(_))
            | (Awaited::Ping, Reply::Status(_) | Reply::Bulk(_)) => BrokerEvent::Quiet,
            _ => misfit("a reply of another kind than was due"),
        }
    }

    /// Whether a SUBSCRIBE is not answered.
    pub(super) fn is_subscribing(&self) -> bool {
        let subscribes = |awaited: &Awaited| {
            matches!(awaited, Awaited::Subscribe(_) | Awaited::ShardSubscribe(_))
        };
        self.awaited.iter().any(subscribes)
    }

    /// What a good reply to the oldest command shows not to be so, or to be so no more.
    pub(super) fn cured(&self) -> &'static [Ill] {
        match self.awaited.front() {
            Some(Awaited::Get(_) | Awaited::Read(..)) => &[Ill::All, Ill::Keys],
            Some(Awaited::Set(_)) => &[Ill::All, Ill::Keys, Ill::Storing],
            Some(Awaited::Publish(..)) => &[Ill::All, Ill::Publishing],
            Some(Awaited::Record(..)) => &[Ill::All, Ill::Publishing, Ill::Recording],
            Some(Awaited::Ping) => &[Ill::All],
            Some(Awaited::Subscribe(_) | Awaited::ShardSubscribe(_)) => &[Ill::Subscriptions],
            _ => &[],
        }
    }

    /// How much is to be seen of what is inside of the next reply.
    pub(super) fn looks_inside(&self) -> Room {
        match self.awaited.front() {
            Some(Awaited::Hello | Awaited::Role) => inside::SMALL,
            Some(Awaited::Map { .. }) => inside::MAP,
            _ => inside::NONE,
        }
    }

    fn on_hello<'a>(&mut self, kind: Kind) -> BrokerEvent<'a> {
        self.kind = kind;
        if kind.sentinel {
            return misfit(SENTINEL);
        }
        if self.cluster.is_some() {
            // Who is whose master is said by the map.
            self.kind.role = None;
            return self.greet_cluster(kind.cluster, self.heard_ms);
        }
        if kind.cluster {
            self.command(&[b"CLUSTER", b"NODES"], Awaited::Slots, self.heard_ms);
        }
        self.greeted()
    }

    fn greeted<'a>(&mut self) -> BrokerEvent<'a> {
        match self.awaited.is_empty() {
            true if self.must_be_master && self.is_replica() => {
                BrokerEvent::Demoted { reason: "HELLO says so".into() }
            }
            true if self.is_on_trial() => {
                self.track(self.heard_ms);
                self.ask_replication(self.heard_ms);
                BrokerEvent::Quiet
            }
            is_greeted => {
                self.is_greeted = is_greeted;
                BrokerEvent::Quiet
            }
        }
    }

    fn on_role<'a>(&mut self, role: Option<Role>) -> BrokerEvent<'a> {
        let before = self.kind.role;
        self.kind.role = role.or(before);
        match (before, role) {
            (Some(Role::Replica), Some(Role::Master)) => BrokerEvent::Notice(Notice::Master),
            (Some(Role::Replica), _) | (_, None | Some(Role::Master)) => BrokerEvent::Quiet,
            (_, Some(Role::Replica)) => BrokerEvent::Demoted { reason: "ROLE says so".into() },
        }
    }

    /// It has become a replica; if one was left lately, this is the best that there is.
    pub(super) fn demoted<'a>(&mut self, reason: String, left_lately: bool) -> BrokerEvent<'a> {
        if !left_lately {
            return BrokerEvent::Demoted { reason };
        }
        self.kind.role = Some(Role::Replica);
        BrokerEvent::Notice(Notice::Unstored { reason })
    }

    /// Who does not say what it is is a replica if one was left lately.
    pub(super) fn assume_role(&mut self, left_lately: bool) {
        self.kind.role = self.kind.role.or(left_lately.then_some(Role::Replica));
    }

    /// Whether it repeats what another server has.
    pub(super) fn is_replica(&self) -> bool {
        self.kind.role == Some(Role::Replica)
    }

    pub(super) fn unsent(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// What is awaited when the link is lost, and what was not sent of it.
    pub(super) fn lost(mut self) -> (Lost, Vec<Publication<'static>>, Own) {
        let mut elsewhere = self.take_redirected();
        let unsent = self.unsent.iter().filter_map(|unsent| self.publication(unsent));
        let unsent: Vec<Publication<'static>> = unsent.collect();
        let sent = self.gone + self.sent as u64;
        for unsent in self.unsent.iter().filter(|one| one.publish >= sent && !one.stored_only) {
            self.own.withdraw(unsent.command);
        }
        let own = self.own.next(self.oldest + self.awaited.len() as u64);
        let owed = self.window.owed();
        let receipts = self.unanswered(&unsent);
        let made = self.awaited.into_iter().filter_map(Awaited::wanted);
        let again = self.again.into_iter().map(|(ask, name)| Wanted::value(ask, name));
        let wanted = made.chain(again).chain(self.asks);
        let mut asks = Vec::new();
        match self.cluster {
            Some(_) => elsewhere.extend(wanted.map(Again::Ask)),
            None => asks.extend(wanted.map(|wanted| wanted.ask())),
        }
        let settled = self.settling.into_iter().map(|(_, conn)| conn).collect();
        (Lost { asks, elsewhere, settled, receipts, owed }, unsent, own)
    }

    /// Has a conn told when all that was asked so far is answered; false when it is.
    pub(super) fn settle(&mut self, conn: LinkId) -> bool {
        let asked = self.commands();
        if !self.awaited.is_empty() {
            self.settling.push_back((asked, conn));
        }
        !self.awaited.is_empty()
    }

    /// A conn for which that is so.
    pub(super) fn next_settled(&mut self) -> Option<LinkId> {
        self.settling.front().filter(|(asked, _)| *asked <= self.oldest)?;
        self.settling.pop_front().map(|(_, conn)| conn)
    }

    /// Keeps the push of a message that is about to be published from the conn it came from.
    pub(super) fn withhold(&mut self, channel: &str, payload: &[u8], conn: LinkId) {
        self.own.withhold(self.commands(), channel, payload, conn);
    }

    /// Commands that were sent on this link: the number of the next.
    pub(super) fn commands(&self) -> u64 {
        self.oldest + self.awaited.len() as u64
    }

    /// Wants no confirmation of the channel any more that is under way.
    pub(super) fn unwant(&mut self, channel: &Arc<str>) {
        let subscribes = self.awaited.iter_mut().filter_map(|awaited| match awaited {
            Awaited::Subscribe(channels) | Awaited::ShardSubscribe(channels) => Some(channels),
            _ => None,
        });
        for (_, wanted) in subscribes.flatten().filter(|(name, _)| name == channel) {
            *wanted = false;
        }
    }

    fn finish(&mut self) {
        self.awaited.pop_front();
        self.finished();
    }

    /// The oldest command is answered. The push of a publication comes before the answer to the
    /// command after it or not at all, so by then nobody need look for it any more.
    fn finished(&mut self) {
        self.own.forget(self.oldest);
        self.oldest += 1;
    }
}

pub(super) fn misfit<'a>(what: &str) -> BrokerEvent<'a> {
    BrokerEvent::Broken { reason: what.to_string() }
}

const SENTINEL: &str = "it is a Sentinel, which has no messages; to follow it, give \
    redis+sentinel://HOST:PORT/NAME, with the name under which it watches the master";
const NOT_ALL_SLOTS: &str = "it is a node of a cluster that does not have all slots, so that it \
    knows only some of the stored messages; a cluster is given by --redis alone, as \
    redis+cluster://HOST:PORT with some of its nodes";
