//! L1: what a session makes of errors: whose they are, and what comes of it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::asking::Wanted;
use super::clustered::{Again, unasked};
use super::errors::{Ill, condition, greeting_refused, is_denial, is_unknown, unquoted};
use super::session::{Awaited, Session, misfit};
use crate::broker::history::script::UNKEPT;
use crate::broker::{BrokerEvent, Notice, PublishOutcome, Receipt};
use crate::proto::resp;

impl Session {
    /// The oldest command is answered with an error.
    pub(super) fn on_error<'a>(&mut self, awaited: Awaited, reason: &str) -> BrokerEvent<'a> {
        let reason = unquoted(reason);
        let awaited = match self.redirected(awaited, &reason) {
            Ok(event) => return event,
            Err(awaited) => awaited,
        };
        let ill = condition(&reason);
        match awaited {
            // One that loads or is busy greets no worse than others; that it does is not sure.
            Awaited::Hello | Awaited::Greeting if ill.is_some() => BrokerEvent::Ill { reason },
            Awaited::Hello | Awaited::Greeting => misfit(&greeting_refused(&reason)),
            Awaited::Subscribe(channels) if is_denial(&reason) => {
                self.on_subscribe_denied(channels, false, &reason)
            }
            Awaited::ShardSubscribe(channels) if is_denial(&reason) => {
                self.on_subscribe_denied(channels, true, &reason)
            }
            Awaited::ShardSubscribe(_) if is_unknown(&reason) => misfit(NO_SHARDED),
            // Whatever else it is says nothing about a channel: another dial may do better.
            Awaited::Subscribe(_) | Awaited::ShardSubscribe(_) => BrokerEvent::Ill { reason },
            // It answers nothing of use yet, and will when it is dialed again.
            Awaited::Get(get) if ill.is_some() => {
                // It is given back as one that is not answered.
                self.awaited.push_front(Awaited::Get(get));
                BrokerEvent::Ill { reason }
            }
            Awaited::Read(ask, wanted) if ill.is_some() => {
                self.awaited.push_front(Awaited::Read(ask, wanted));
                BrokerEvent::Ill { reason }
            }
            Awaited::Get(get) => self.on_get_refused(get, reason),
            Awaited::Read(ask, _) => self.on_unread(ask, reason),
            Awaited::Record(receipt, kept) if let Some(reason) = reason.strip_prefix(UNKEPT) => {
                self.release(kept.as_deref());
                self.receive(receipt, PublishOutcome::Accepted);
                BrokerEvent::Notice(Notice::Unrecorded { reason: reason.to_string() })
            }
            Awaited::Record(receipt, kept) => {
                self.release(kept.as_deref());
                self.on_unpublished(receipt, reason)
            }
            Awaited::Publish(receipt, kept) => {
                self.release(kept.as_deref());
                self.on_unpublished(receipt, reason)
            }
            Awaited::Set(kept) => {
                self.release(kept.as_deref());
                self.on_unstored(reason)
            }
            Awaited::Unsubscribe(_) | Awaited::ShardUnsubscribe(_) => {
                BrokerEvent::Notice(Notice::Refused { reason })
            }
            Awaited::Role => {
                self.may_ask_role = false;
                BrokerEvent::Quiet
            }
            Awaited::Replication if ill.is_some() => BrokerEvent::Ill { reason },
            Awaited::Replication => self.on_replication(Err(reason)),
            Awaited::Canary if is_denial(&reason) => BrokerEvent::Notice(Notice::CanaryDenied),
            Awaited::NodeId | Awaited::ClusterInfo if ill.is_some() => BrokerEvent::Ill { reason },
            Awaited::NodeId | Awaited::ClusterInfo => unasked(&reason),
            Awaited::Map { .. } if ill.is_some() => BrokerEvent::Ill { reason },
            Awaited::Map { by_ranges } => self.on_unmapped(by_ranges, &reason),
            // Then it is seen at the next look that it has begun anew, if at all.
            Awaited::Tracking => BrokerEvent::Quiet,
            Awaited::Ping | Awaited::Canary | Awaited::Slots | Awaited::Asking | Awaited::Reset => {
                BrokerEvent::Quiet
            }
        }
    }

    fn on_unpublished<'a>(&mut self, receipt: Option<Receipt>, reason: String) -> BrokerEvent<'a> {
        self.has_not_published(self.oldest - 1);
        match is_denial(&reason) {
            true => {
                self.receive(receipt, PublishOutcome::Denied);
                BrokerEvent::Notice(Notice::Refused { reason })
            }
            false => {
                self.receive(receipt, PublishOutcome::Failed);
                BrokerEvent::Notice(Notice::Unpublished { reason })
            }
        }
    }

    fn on_unstored<'a>(&self, reason: String) -> BrokerEvent<'a> {
        let ill = condition(&reason);
        match ill {
            _ if is_denial(&reason) => BrokerEvent::Notice(Notice::Refused { reason }),
            Some(Ill::Keys) => BrokerEvent::Ill { reason },
            Some(_) => BrokerEvent::Notice(Notice::Unpublished { reason }),
            None if reason.starts_with("READONLY") && !self.is_replica() => {
                BrokerEvent::Demoted { reason }
            }
            None => BrokerEvent::Notice(Notice::Unstored { reason }),
        }
    }

    /// Hands out what is to be done elsewhere in a cluster, or later; what is not is given back.
    fn redirected<'a>(
        &mut self,
        awaited: Awaited,
        reason: &str,
    ) -> Result<BrokerEvent<'a>, Awaited> {
        if !self.redirects(reason) {
            return Err(awaited);
        }
        Ok(match awaited {
            Awaited::Get(get) => {
                self.window.answered(0);
                let wanted = Wanted::value(get.ask, get.name);
                self.redirect(Again::Ask(wanted), get.tries, reason)
            }
            Awaited::Read(_, Some(wanted)) => {
                self.window.answered(0);
                let tries = wanted.tries();
                self.redirect(Again::Ask(*wanted), tries, reason)
            }
            Awaited::Publish(_, Some(kept))
            | Awaited::Record(_, Some(kept))
            | Awaited::Set(Some(kept)) => {
                self.has_not_published(self.oldest - 1);
                self.release(Some(&kept));
                let tries = kept.tries;
                self.redirect(Again::Publish(kept), tries, reason)
            }
            Awaited::ShardSubscribe(channels) => self.redirect_subscriptions(channels, reason),
            awaited => return Err(awaited),
        })
    }

    /// One error denies the whole batch, so each of its channels is asked for by itself; but not
    /// one whose UNSUBSCRIBE is under way, for that would come first.
    fn on_subscribe_denied<'a>(
        &mut self,
        mut channels: VecDeque<(Arc<str>, bool)>,
        is_sharded: bool,
        reason: &str,
    ) -> BrokerEvent<'a> {
        if channels.len() > 1 {
            let wanted = channels.into_iter().filter(|(_, wanted)| *wanted);
            let channels: Vec<Arc<str>> = wanted.map(|(channel, _)| channel).collect();
            for channel in &channels {
                let (word, awaited): (&[u8], fn(_) -> Awaited) = match is_sharded {
                    true => (b"SSUBSCRIBE", Awaited::ShardSubscribe),
                    false => (b"SUBSCRIBE", Awaited::Subscribe),
                };
                resp::command(&mut self.out, &[word, channel.as_bytes()]);
                self.awaited.push_back(awaited([(channel.clone(), true)].into()));
            }
            return BrokerEvent::AskedAgain { channels };
        }
        match channels.pop_front() {
            Some((channel, true)) => BrokerEvent::Denied { channel, reason: reason.to_string() },
            _ => BrokerEvent::Quiet,
        }
    }
}

const NO_SHARDED: &str = "it has no sharded pub/sub, which Redis has from version 7.0 on; leave \
    --redis-sharded out";
