//! What is logged of the broker: each line once while what it says is so.

use std::collections::BTreeMap;

use super::brokering::Loss;
use crate::access::channel;
use crate::broker::{Ask, Broker, HistoryRules, Notice, PublishError, SentinelNotice, tls_mend};
use crate::browser::Context;
use crate::link::{LeftOut, Metrics, SaidOnce, SaidRarely};

/// Bytes of answers for which Redis may have cut a link: less than any limit that is in use.
const MUCH: usize = 1 << 20;

/// Moves of slots that are named in one line.
const MOST_MOVES: usize = 4;

/// Lines of the log that are said once.
#[derive(Debug)]
pub(super) struct Said {
    nodes: Vec<SaidOfNode>,
    dropped: SaidOnce,
    pub evicted: SaidOnce,
    pub strangers: SaidOnce,
    pub unrouted: SaidOnce,
    braces: SaidOnce,
    pub forgotten: SaidOnce,
    pub control: SaidOnce,
    slots: SaidRarely,
}

/// Those that are said once of each node of the broker.
#[derive(Debug)]
pub(super) struct SaidOfNode {
    /// What it is called.
    name: String,
    unreachable: SaidOnce,
    ill: SaidOnce,
    replica: SaidOnce,
    unstored: SaidOnce,
    unrecorded: SaidOnce,
    unread: SaidOnce,
    unheard: SaidOnce,
    refused: SaidOnce,
    denied: SaidOnce,
    unmapped: SaidOnce,
    skipped: SaidRarely,
    sentinels: SaidRarely,
    stored: SaidOnce,
    session: SaidOnce,
}

impl Said {
    /// Nothing so far of the nodes of that broker.
    pub(super) fn new(broker: &mut Broker) -> Said {
        let nodes = broker.nodes();
        let name = |node| match broker.redis(node).filter(|_| nodes > 1) {
            Some(redis) => format!("Redis at {}", redis.address()),
            None => "Redis".to_owned(),
        };
        Said {
            nodes: (0..nodes).map(name).map(SaidOfNode::new).collect(),
            dropped: SaidOnce::default(),
            evicted: SaidOnce::default(),
            strangers: SaidOnce::default(),
            unrouted: SaidOnce::default(),
            braces: SaidOnce::default(),
            forgotten: SaidOnce::default(),
            control: SaidOnce::default(),
            slots: SaidRarely::default(),
        }
    }

    /// What is said of one node.
    pub(super) fn at(&mut self, node: usize) -> &mut SaidOfNode {
        &mut self.nodes[node]
    }

    /// Where a node is, of those of a cluster.
    pub(super) fn name(&mut self, node: usize, place: &str) {
        let name = format!("Redis at {place}");
        match self.nodes.get_mut(node) {
            Some(said) => said.name = name,
            None => self.nodes.push(SaidOfNode::new(name)),
        }
    }

    /// What a node is called: Redis, and where, if there are several.
    pub(super) fn name_of(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    /// Slots of a cluster have moved: so many, from the one node to the other.
    pub(super) fn moved(&mut self, slots: &BTreeMap<(u8, u8), usize>, mono_ms: u64) {
        let Some(left_out) = self.slots.may(mono_ms) else { return };
        let name = |node: u8| self.name_of(usize::from(node));
        let moved = slots.iter().map(|((from, to), count)| {
            format!("{count} of {} are at {} now", name(*from), name(*to))
        });
        let moved: Vec<String> = moved.take(MOST_MOVES).collect();
        tracing::info!("slots have moved: {}{}", moved.join(", "), LeftOut(left_out));
    }

    /// A channel has no history though a rule fits it, if that is so: said once, of any.
    pub(super) fn braces(&mut self, histories: &HistoryRules, channel: &str) {
        if histories.fits_in_vain(channel) && self.braces.first() {
            tracing::warn!(
                "channel {channel:?} has no history, as its name has a brace in it (said once)"
            );
        }
    }

    /// A node is up, with so many channels to be heard.
    pub(super) fn up(&mut self, node: usize, channels: usize) {
        self.nodes[node].up(channels);
        self.dropped.ended();
    }

    /// A node has something to be counted or said.
    pub(super) fn notice(&mut self, node: usize, notice: Notice, metrics: &mut Metrics) {
        let said = &mut self.nodes[node];
        match notice {
            Notice::GivenUp(messages) => {
                metrics.publishes_dropped_total += messages;
                let why = format!("{} cannot be reached", said.name);
                self.dropped(&why);
            }
            notice => said.notice(notice, metrics),
        }
    }

    /// Messages from browsers are dropped.
    fn dropped(&mut self, why: &str) {
        if self.dropped.first() {
            tracing::warn!("messages from browsers are dropped: {why} (said once; then counted)");
        }
    }

    /// A message was not published.
    pub(super) fn undelivered(&mut self, error: PublishError) {
        self.dropped(match error {
            PublishError::Down => "Redis cannot be reached",
            PublishError::Full => "Redis takes them too slowly, see --redis-buffer-limit",
        });
    }
}

/// What a node could not do: counted, and said once.
impl SaidOfNode {
    fn new(name: String) -> SaidOfNode {
        SaidOfNode {
            name,
            unreachable: SaidOnce::default(),
            ill: SaidOnce::default(),
            replica: SaidOnce::default(),
            unstored: SaidOnce::default(),
            unrecorded: SaidOnce::default(),
            unread: SaidOnce::default(),
            unheard: SaidOnce::default(),
            unmapped: SaidOnce::default(),
            refused: SaidOnce::default(),
            denied: SaidOnce::default(),
            skipped: SaidRarely::default(),
            sentinels: SaidRarely::default(),
            stored: SaidOnce::default(),
            session: SaidOnce::default(),
        }
    }

    fn up(&mut self, channels: usize) {
        if !self.ill.is_said() && !self.replica.is_said() {
            let ending = if channels == 1 { "" } else { "s" };
            tracing::info!("{} is up, {channels} channel{ending}", self.name);
        }
        for said in [&mut self.unreachable, &mut self.refused, &mut self.unmapped] {
            said.ended();
        }
    }

    /// Redis's link is lost, or could not be made; so many bytes of answers were expected.
    pub(super) fn lost(&mut self, loss: &Loss<'_>, target: &str, was_up: bool, owed: usize) {
        match loss {
            Loss::Ill(reason) if self.ill.first() => tracing::warn!(
                "Redis at {target} is in no state to answer: {reason}; browsers stay; dialing \
                 until it is (said once)"
            ),
            Loss::Ill(_) | Loss::Left | Loss::Moved => {}
            Loss::Demoted(reason) if !was_up => {
                if self.unreachable.first() {
                    tracing::warn!(
                        "Redis at {target} is a replica ({reason}), though the sentinels say that \
                         it is the master; dialing what they say until that is one (said once)"
                    );
                }
            }
            Loss::Demoted(reason) => tracing::warn!(
                "Redis at {target} has become a replica ({reason}); browsers stay; dialing for the \
                 master"
            ),
            Loss::HungUp(reason) if was_up && owed >= MUCH => tracing::warn!(
                "Redis at {target} is lost: {reason}, while it owed {owed} bytes of stored \
                 messages; perhaps its client-output-buffer-limit for pubsub is smaller than \
                 --redis-window-size allows for; browsers stay; dialing again"
            ),
            Loss::HungUp(reason) | Loss::Broken(reason) if was_up => {
                let mend = tls_mend(reason);
                tracing::warn!(
                    "Redis at {target} is lost: {reason}{mend}; browsers stay; dialing again"
                )
            }
            Loss::HungUp(reason) | Loss::Broken(reason) if self.unreachable.first() => {
                let mend = tls_mend(reason);
                tracing::warn!(
                    "Redis at {target} cannot be used: {reason}{mend}; dialing until it can (said \
                     once)"
                );
            }
            Loss::HungUp(_) | Loss::Broken(_) => {}
        }
    }

    /// A replica is not heard, and its master is in its place.
    pub(super) fn is_not_heard(&mut self) {
        if self.unheard.first() {
            tracing::warn!(
                "{}, the replica, is of no use: its master is heard until it is (said once)",
                self.name
            );
        }
    }

    /// A replica is heard in the place of its master.
    pub(super) fn is_heard_again(&mut self) {
        if self.unheard.ended() {
            tracing::info!("{}, the replica, is heard again in the place of its master", self.name);
        }
    }

    /// What the sentinels say, or that they say nothing.
    pub(super) fn sentinel(&mut self, notice: &SentinelNotice, mono_ms: u64) {
        let is_found = matches!(notice, SentinelNotice::Found { .. });
        if !is_found && self.sentinels.may(mono_ms).is_none() {
            return;
        }
        match notice {
            SentinelNotice::Found { at, epoch, by } => {
                tracing::info!(
                    "{} is at {at}, says the sentinel at {by} (epoch {epoch})",
                    self.name
                )
            }
            SentinelNotice::Useful { at } => tracing::info!("the sentinel at {at} answers"),
            SentinelNotice::Useless { at, reason, last: false } => {
                tracing::warn!("the sentinel at {at} is of no use: {reason}; dialing until it is");
            }
            SentinelNotice::Useless { at, reason, last: true } => tracing::warn!(
                "the sentinel at {at} is of no use: {reason}; nor is any other, so that Redis is \
                 taken to be where it was, if that was known; dialing until one is"
            ),
        }
    }

    fn notice(&mut self, notice: Notice, metrics: &mut Metrics) {
        let name = &self.name;
        match notice {
            Notice::Refused { reason } => {
                metrics.broker_errors_total += 1;
                if self.refused.first() {
                    tracing::error!("{name} refused a command: {reason} (said once)");
                }
            }
            Notice::Unpublished { reason } => {
                metrics.broker_errors_total += 1;
                if self.ill.first() {
                    tracing::warn!(
                        "{name} does not take what browsers publish: {reason} (said once; then \
                         counted)"
                    );
                }
            }
            Notice::Unstored { reason } => {
                metrics.broker_errors_total += 1;
                if self.unstored.first() {
                    tracing::warn!(
                        "{name} does not store what browsers publish, so that who comes later does \
                         not have it: {reason} (said once; then counted)"
                    );
                }
            }
            Notice::Unrecorded { reason } => {
                metrics.broker_errors_total += 1;
                if self.unrecorded.first() {
                    tracing::warn!(
                        "{name} publishes what browsers say and does not keep it in the history of \
                         its channel: {reason} (said once; then counted)"
                    );
                }
            }
            Notice::Unmapped { reason } => {
                metrics.broker_errors_total += 1;
                if self.unmapped.first() {
                    tracing::warn!(
                        "{name} says nothing of use about its cluster: {reason}; what was known \
                         before counts on (said once; then counted)"
                    );
                }
            }
            Notice::Mapped if self.unmapped.ended() => {
                tracing::info!("{name} says again who has the slots of the cluster");
            }
            Notice::Well if self.ill.ended() => tracing::info!("{name} answers again"),
            Notice::Stores if self.unstored.ended() => {
                tracing::info!("{name} stores again what browsers publish");
            }
            Notice::Records if self.unrecorded.ended() => {
                tracing::info!("{name} keeps histories again");
            }
            Notice::Replica if self.replica.first() => tracing::warn!(
                "{name} is a replica: what browsers publish is heard only here and is not stored; \
                 looking for the master every 30 s (said once)"
            ),
            Notice::Master if self.replica.ended() => tracing::info!("{name} is a master again"),
            Notice::Well
            | Notice::Stores
            | Notice::Records
            | Notice::Replica
            | Notice::Master
            | Notice::Mapped
            | Notice::CanaryDenied
            | Notice::GivenUp(_) => {}
        }
    }

    pub(super) fn no_answer(&mut self, ask: Ask, reason: &str, metrics: &mut Metrics) {
        match ask {
            Ask::Stored(_) => {
                metrics.stored_unreadable_total += 1;
                if self.stored.first() {
                    tracing::warn!(
                        "a stored message is not sent: {reason} (said once; then counted)"
                    );
                }
            }
            Ask::Place(_) | Ask::Missed(_) | Ask::Topic(_) => {
                metrics.broker_errors_total += 1;
                if self.unread.first() {
                    tracing::warn!(
                        "the history of a channel cannot be read, so that what Redis has while it \
                         is away stays away: {reason} (said once; then counted)"
                    );
                }
            }
            Ask::Session(_) => {
                metrics.sessions_unreadable_total += 1;
                if self.session.first() {
                    tracing::error!(
                        "a session cannot be read: {reason}; see --session-key, \
                         --max-session-size (said once; then counted)"
                    );
                }
            }
        }
    }

    /// What guards security is named, and so is its end.
    pub(super) fn control_denied(&mut self, channel: &str, reason: &str, metrics: &mut Metrics) {
        metrics.broker_errors_total += 1;
        if self.unheard.first() {
            tracing::error!(
                "{} does not let wsloop hear {channel:?}, so that nobody is disconnected who \
                 logs out: {reason}; see ACL SETUSER (asked again every 5 s; said once)",
                self.name
            );
        }
    }

    /// The application's own channel is heard.
    pub(super) fn hears_control(&mut self) {
        if self.unheard.ended() {
            tracing::info!("disconnects of the application are heard");
        }
    }

    pub(super) fn denied(&mut self, channel: &str, reason: &str, metrics: &mut Metrics) {
        metrics.broker_errors_total += 1;
        if self.denied.first() {
            // A session's key is not for the log.
            let shown = if channel.contains("session:") { "a session's channel" } else { channel };
            tracing::error!(
                "{} does not let wsloop hear {shown:?}: {reason}; see ACL SETUSER (said once; \
                 then counted)",
                self.name
            );
        }
    }

    /// Its publisher cannot know it, and a developer looks for the facility. Who it was for is not
    /// for the log.
    pub(super) fn skipped(&mut self, channel: Option<&str>, cx: &mut Context) {
        cx.metrics.deliveries_skipped_total += 1;
        let Some(left_out) = self.skipped.may(cx.now.mono_ms) else { return };
        let of = match channel.and_then(channel::facility_of) {
            Some(facility) => format!(" of the facility {facility:?}"),
            None => String::new(),
        };
        tracing::warn!(
            "a message{of} from {} was skipped: it is larger than --max-message-size{}",
            self.name,
            LeftOut(left_out)
        );
    }
}
