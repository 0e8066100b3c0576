//! L1: a link to a node of a cluster: what the node says of the cluster, and what it says belongs
//! elsewhere.
//!
//! Its rules:
//! * a node is up when whoever knows the cluster has found that it is the master of its shard;
//! * what it answers with MOVED, ASK, TRYAGAIN or CLUSTERDOWN was not done. It is handed out to be
//!   done where it belongs. A question is given up after [`MOST_TRIES`], and what is published
//!   after some seconds.

use std::collections::VecDeque;
use std::sync::Arc;

use super::asking::Wanted;
use super::inside;
use super::later::Publication;
use super::session::{Awaited, Session, misfit};
use super::{Redis, State};
use crate::broker::cluster::{Map, Said, of_info, of_redirection};
use crate::broker::{Ask, BrokerEvent, Notice, Sharding};
use crate::link::Target;

/// How often a question is tried before it is given up.
pub(in crate::broker) const MOST_TRIES: u8 = 20;

/// What belongs to a link to a node of a cluster.
#[derive(Debug, Default)]
pub(super) struct Clustering {
    /// Where the node was dialed.
    at: Option<Target>,
    /// How channels are heard, and published on.
    form: Sharding,
    /// What it is called in the cluster.
    id: String,
    /// Whether it can serve, and the epoch of what it knows.
    info: Option<(bool, u64)>,
    said: Option<Said>,
    /// It knows no CLUSTER SHARDS.
    by_ranges: bool,
    is_asked: bool,
    /// What it said last of who has which slots could not be understood.
    is_unmapped: bool,
    redirected: VecDeque<Redirected>,
    /// Bytes of what is kept in case that it belongs elsewhere.
    kept_bytes: usize,
    /// When it has last said that something was published.
    published_ms: Option<u64>,
}

/// Something that is to be done elsewhere, or later.
#[derive(Debug)]
pub(in crate::broker) struct Redirected {
    pub what: Again,
    pub to: Elsewhere,
    /// How often it was tried.
    pub tries: u8,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::broker) enum Again {
    Ask(Wanted),
    Publish(Box<Publication<'static>>),
    /// A channel is to be heard.
    Hear(Arc<str>, u8),
}

/// Where it is to be done.
#[derive(Debug)]
pub(in crate::broker) enum Elsewhere {
    /// There, where the slot is now.
    Moved(u16, Target),
    /// There, where the slot is about to be.
    Asking(Target),
    /// Nobody knows yet.
    Later,
}

impl Clustering {
    /// Of a link to a node where channels are heard so.
    pub(super) fn new(form: Sharding) -> Clustering {
        Clustering { form, ..Clustering::default() }
    }
}

impl Again {
    /// The name whose slot matters.
    pub(in crate::broker) fn name(&self) -> &str {
        match self {
            Again::Ask(wanted) => wanted.name(),
            Again::Hear(name, _) => name,
            Again::Publish(publication) => &publication.channel,
        }
    }

    /// How often it was tried.
    pub(in crate::broker) fn tries(&self) -> u8 {
        match self {
            Again::Ask(wanted) => wanted.tries(),
            Again::Hear(_, tries) => *tries,
            Again::Publish(publication) => publication.tries,
        }
    }

    /// The ask, if it is one.
    pub(in crate::broker) fn who(&self) -> Option<Ask> {
        match self {
            Again::Ask(wanted) => Some(wanted.ask()),
            Again::Publish(_) | Again::Hear(..) => None,
        }
    }
}

/// Whether an answer has the form of a map, whatever is in it.
pub(super) fn is_map(answer: &[u8]) -> bool {
    matches!(answer.first(), Some(b'*' | b'%' | b'~'))
}

/// Whether an error says that something was not done, as it belongs elsewhere or later.
pub(super) fn is_redirection(reason: &str) -> bool {
    let word = reason.split(' ').next().unwrap_or_default();
    matches!(word, "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN")
}

impl Session {
    /// The node was dialed there.
    pub(super) fn dialed(&mut self, at: Option<&Target>) {
        if let Some(cluster) = &mut self.cluster {
            cluster.at = at.cloned();
        }
    }

    /// It has greeted us: asks who it is, and about the cluster.
    pub(super) fn greet_cluster<'a>(&mut self, is_node: bool, now_ms: u64) -> BrokerEvent<'a> {
        if !is_node {
            return misfit(NO_CLUSTER);
        }
        self.command(&[b"CLUSTER", b"MYID"], Awaited::NodeId, now_ms);
        self.ask_about_cluster(now_ms);
        BrokerEvent::Quiet
    }

    /// Asks for the epoch and who has which slots, in one write, so that they fit each other.
    pub(super) fn ask_about_cluster(&mut self, now_ms: u64) {
        let Some(cluster) = &mut self.cluster else { return };
        if std::mem::replace(&mut cluster.is_asked, true) {
            return;
        }
        let by_ranges = cluster.by_ranges;
        self.command(&[b"CLUSTER", b"INFO"], Awaited::ClusterInfo, now_ms);
        self.ask_for_map(by_ranges, now_ms);
    }

    fn ask_for_map(&mut self, by_ranges: bool, now_ms: u64) {
        let about: &[u8] = if by_ranges { b"SLOTS" } else { b"SHARDS" };
        self.command(&[b"CLUSTER", about], Awaited::Map { by_ranges }, now_ms);
    }

    pub(super) fn on_node_id<'a>(&mut self, id: &[u8]) -> BrokerEvent<'a> {
        if let Some(cluster) = &mut self.cluster {
            cluster.id = String::from_utf8_lossy(id).into_owned();
        }
        BrokerEvent::Quiet
    }

    pub(super) fn on_cluster_info<'a>(&mut self, text: &[u8]) -> BrokerEvent<'a> {
        if let Some(cluster) = &mut self.cluster {
            cluster.info = of_info(text);
        }
        BrokerEvent::Quiet
    }

    /// Who has which slots. One who has no slots yet says nothing of use.
    pub(super) fn on_map<'a>(&mut self, answer: &[u8], by_ranges: bool) -> BrokerEvent<'a> {
        let Some(cluster) = &mut self.cluster else { return BrokerEvent::Quiet };
        cluster.is_asked = false;
        let Some(at) = &cluster.at else { return BrokerEvent::Quiet };
        let map = match by_ranges {
            true => Map::of_slots(answer, at),
            false => Map::of_shards(answer, at),
        };
        let reason = match (map, cluster.info.take()) {
            (Some(map), Some((serves, epoch))) => {
                cluster.said = Some(Said { map, epoch, serves });
                return match std::mem::take(&mut cluster.is_unmapped) {
                    true => BrokerEvent::Notice(Notice::Mapped),
                    false => BrokerEvent::Quiet,
                };
            }
            (Some(_), None) => NO_EPOCH,
            (None, _) if answer.len() >= inside::MAP.bytes => TOO_LARGE,
            (None, _) => UNMAPPED,
        };
        if !self.is_greeted {
            return misfit(reason);
        }
        // The reply was in its place, so that the link is as good as before.
        cluster.is_unmapped = true;
        BrokerEvent::Notice(Notice::Unmapped { reason: reason.to_owned() })
    }

    /// What is asked about the cluster is answered with an error.
    pub(super) fn on_unmapped<'a>(&mut self, by_ranges: bool, reason: &str) -> BrokerEvent<'a> {
        let now_ms = self.heard_ms;
        match &mut self.cluster {
            Some(cluster) if !by_ranges && reason.starts_with("ERR") => {
                cluster.by_ranges = true;
                self.ask_for_map(true, now_ms);
                BrokerEvent::Quiet
            }
            _ => unasked(reason),
        }
    }

    /// Keeps a publication that the node may say belongs elsewhere, if it is one of a cluster.
    pub(super) fn kept(
        &mut self,
        publication: &Publication<'_>,
        stored_only: bool,
    ) -> Option<Box<Publication<'static>>> {
        let cluster = self.cluster.as_mut()?;
        let publication = publication.copied(stored_only);
        cluster.kept_bytes += publication.cost();
        Some(Box::new(publication))
    }

    /// Such a publication is answered.
    pub(super) fn release(&mut self, kept: Option<&Publication<'_>>) {
        if let (Some(cluster), Some(kept)) = (&mut self.cluster, kept) {
            cluster.kept_bytes -= kept.cost();
        }
    }

    /// The node has published something.
    pub(super) fn on_published(&mut self, kept: Option<&Publication<'_>>) {
        self.release(kept);
        if let Some(cluster) = &mut self.cluster {
            cluster.published_ms = Some(self.heard_ms);
        }
    }

    /// Bytes of all of them.
    pub(super) fn kept_bytes(&self) -> usize {
        self.cluster.as_ref().map_or(0, |cluster| cluster.kept_bytes)
    }

    /// Channels of one slot are not to be heard here.
    pub(super) fn redirect_subscriptions<'a>(
        &mut self,
        channels: VecDeque<(Arc<str>, bool)>,
        reason: &str,
    ) -> BrokerEvent<'a> {
        for (channel, _) in channels.into_iter().filter(|(_, wanted)| *wanted) {
            self.redirect(Again::Hear(channel, 0), 0, reason);
        }
        BrokerEvent::Quiet
    }

    /// How channels are heard, and published on.
    pub(super) fn form(&self) -> Sharding {
        self.cluster.as_ref().map_or(Sharding::Off, |cluster| cluster.form)
    }

    /// Whether messages are published to those who hear the shard.
    pub(super) fn is_sharded(&self) -> bool {
        self.form().is_sharded()
    }

    /// Whether what is answered with this error is to be done elsewhere, or later.
    pub(super) fn redirects(&self, reason: &str) -> bool {
        self.cluster.is_some() && is_redirection(reason)
    }

    /// Hands it out.
    pub(super) fn redirect<'a>(&mut self, what: Again, tries: u8, reason: &str) -> BrokerEvent<'a> {
        let Some(cluster) = &mut self.cluster else { return BrokerEvent::Quiet };
        let place = cluster.at.as_ref().and_then(|at| of_redirection(reason, at));
        let to = match (reason.split(' ').next(), place) {
            (Some("MOVED"), Some((slot, target))) => Elsewhere::Moved(slot, target),
            (Some("ASK"), Some((_, target))) => Elsewhere::Asking(target),
            _ => Elsewhere::Later,
        };
        cluster.redirected.push_back(Redirected { what, to, tries: tries.saturating_add(1) });
        BrokerEvent::Quiet
    }

    /// The next that was.
    fn next_redirected(&mut self) -> Option<Redirected> {
        self.cluster.as_mut()?.redirected.pop_front()
    }

    /// All that were and are not taken, as the link is lost.
    pub(super) fn take_redirected(&mut self) -> Vec<Again> {
        std::iter::from_fn(|| self.next_redirected()).map(|redirected| redirected.what).collect()
    }
}

impl Redis {
    /// Asks about the cluster. It must be up.
    pub(crate) fn ask_about_cluster(&mut self, now_ms: u64) {
        self.session.ask_about_cluster(now_ms);
    }

    /// Whether it has answered something that was asked since then, or all that was.
    pub(crate) fn has_answered_since(&self, since_ms: u64) -> bool {
        self.is_settled() || self.session.heard_ms > since_ms
    }

    /// Whether nothing is under way there, nor waits for its link.
    pub(in crate::broker) fn is_unused(&self) -> bool {
        self.is_settled() && self.later.is_empty() && !self.has_kept()
    }

    /// What it says of the cluster, once.
    pub(in crate::broker) fn take_said(&mut self) -> Option<Said> {
        self.session.cluster.as_mut()?.said.take()
    }

    /// What is to be done elsewhere, or later.
    pub(in crate::broker) fn next_redirected(&mut self) -> Option<Redirected> {
        self.session.next_redirected()
    }

    /// Whether there is any of that, or something that it says of the cluster.
    pub(in crate::broker) fn has_cluster_news(&self) -> bool {
        let has_news =
            |cluster: &Clustering| cluster.said.is_some() || !cluster.redirected.is_empty();
        self.session.cluster.as_deref().is_some_and(has_news)
    }

    /// Does what was to be done elsewhere, here. It must be up.
    pub(in crate::broker) fn accept(&mut self, what: Again, tries: u8, asking: bool, now_ms: u64) {
        match what {
            Again::Ask(wanted) => self.session.ask_again(wanted.tried(tries), asking, now_ms),
            // It is heard by whoever knows who hears it, and published in its order.
            Again::Hear(..) | Again::Publish(_) => {}
        }
    }

    /// How many commands were sent on its link.
    pub(in crate::broker) fn commands(&self) -> u64 {
        self.session.commands()
    }

    /// Whether so many of them are answered, or the link is another by now.
    pub(in crate::broker) fn has_answered(&self, commands: u64) -> bool {
        self.session.oldest >= commands
    }

    /// Whether something that was to be published is not answered, or, where all nodes are told,
    /// was published less than a moment of so many milliseconds ago.
    pub(in crate::broker) fn publishes_since(&self, now_ms: u64, moment_ms: u64) -> bool {
        let published = self.session.cluster.as_ref().and_then(|cluster| cluster.published_ms);
        let is_new = |at_ms: u64| !self.session.is_sharded() && now_ms < at_ms + moment_ms;
        let publishes = |awaited: &Awaited| {
            matches!(awaited, Awaited::Publish(..) | Awaited::Record(..) | Awaited::Set(_))
        };
        published.is_some_and(is_new) || self.session.awaited.iter().any(publishes)
    }

    /// What was to be done elsewhere is given up.
    pub(in crate::broker) fn give_up(&mut self, what: Again) {
        if let Again::Publish(publication) = what {
            self.on_given_up([*publication]);
        }
    }

    /// The master of this node is of that name, and there: whether the link is to be left for that.
    pub(in crate::broker) fn lead(
        &mut self,
        master: &str,
        at: Option<&Target>,
        now_ms: u64,
    ) -> bool {
        let is_linked = self.is_linked();
        let cluster = self.session.cluster.as_mut().filter(|_| is_linked);
        match cluster {
            // It knows best where it was reached.
            Some(cluster) if !cluster.id.is_empty() && cluster.id == master => {
                self.session.is_greeted = true;
                return false;
            }
            Some(cluster) if cluster.id.is_empty() && self.dialed.as_ref() == at => return false,
            _ => {}
        }
        if self.target.as_ref() != at {
            self.target = at.cloned();
            if let State::Resting { until_ms } = &mut self.state {
                *until_ms = now_ms;
            }
        }
        is_linked || self.has_moved()
    }

    /// Where it is dialed next.
    pub(in crate::broker) fn try_at(&mut self, target: Option<Target>) {
        self.target = target;
    }
}

/// What is asked about the cluster is refused.
pub(super) fn unasked<'a>(reason: &str) -> BrokerEvent<'a> {
    let mend = match reason.starts_with("NOPERM") {
        true => "; let the user ask: ACL SETUSER … +cluster|myid +cluster|info +cluster|shards",
        false => "",
    };
    misfit(&format!("it says nothing of its cluster: {reason}{mend}"))
}

const UNMAPPED: &str = "it does not say who has the slots of the cluster; let it join one: \
    redis-cli --cluster create for a new one, add-node for one that there is";
const NO_EPOCH: &str = "it does not say the epoch of its cluster: CLUSTER INFO has none";
const TOO_LARGE: &str = "what it says of the slots of the cluster is larger than 16 MiB; let \
    each node have its slots in fewer ranges";
const NO_CLUSTER: &str = "it is no node of a cluster; for a single Redis write redis://HOST:PORT";
