//! L1: what a server was seen to be unable to, over all links to it.

use std::collections::VecDeque;

use super::errors::{Ill, condition};
use crate::broker::{BrokerEvent, Notice};

/// What it was seen to be unable to, and what is to be said.
#[derive(Debug, Default)]
pub(super) struct Health {
    ills: Vec<Ill>,
    notices: VecDeque<Notice>,
}

impl Health {
    /// Whether it is unable to nothing.
    pub(super) fn is_well(&self) -> bool {
        self.ills.is_empty()
    }

    /// Whether it is unable to that.
    pub(super) fn has(&self, ill: Ill) -> bool {
        self.ills.contains(&ill)
    }

    /// Has something said.
    pub(super) fn say(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    /// Whether something is to be said.
    pub(super) fn has_more(&self) -> bool {
        !self.notices.is_empty()
    }

    /// What is to be said next.
    pub(super) fn next(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Takes note of what came of something that shows, if it is good, that these are over.
    pub(super) fn note(&mut self, event: &BrokerEvent<'_>, cured: &[Ill]) {
        let ill = match event {
            BrokerEvent::Ill { reason } => condition(reason).unwrap_or(Ill::Subscriptions),
            BrokerEvent::Notice(Notice::Unpublished { reason }) => {
                condition(reason).unwrap_or(Ill::Publishing)
            }
            BrokerEvent::Notice(Notice::Unstored { .. }) => Ill::Storing,
            BrokerEvent::Notice(Notice::Unrecorded { .. }) => Ill::Recording,
            BrokerEvent::Broken { .. }
            | BrokerEvent::Demoted { .. }
            | BrokerEvent::Denied { .. }
            | BrokerEvent::NoAnswer { .. }
            | BrokerEvent::Notice(Notice::Refused { .. }) => return,
            _ => return self.cure(cured),
        };
        if !self.has(ill) {
            self.ills.push(ill);
        }
    }

    fn cure(&mut self, cured: &[Ill]) {
        let before = (self.has(Ill::Storing), self.has(Ill::Recording), self.has_other());
        self.ills.retain(|ill| !cured.contains(ill));
        if before.0 && !self.has(Ill::Storing) {
            self.say(Notice::Stores);
        }
        if before.1 && !self.has(Ill::Recording) {
            self.say(Notice::Records);
        }
        if before.2 && !self.has_other() {
            self.say(Notice::Well);
        }
    }

    /// Whether it is unable to something besides storing and recording.
    fn has_other(&self) -> bool {
        self.ills.iter().any(|ill| !matches!(ill, Ill::Storing | Ill::Recording))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_said_once_when_all_of_it_is() {
        let mut health = Health::default();
        let ill = |reason: &str| BrokerEvent::Ill { reason: reason.to_owned() };
        let unstored = BrokerEvent::Notice(Notice::Unstored { reason: "OOM".to_owned() });
        for event in [ill("BUSY x"), ill("BUSY x"), ill("STRANGE"), unstored] {
            health.note(&event, &[Ill::All, Ill::Subscriptions, Ill::Storing]);
        }
        assert!(!health.is_well() && health.next().is_none());
        health.note(&BrokerEvent::Quiet, &[Ill::All, Ill::Keys]);
        assert_eq!(health.next(), None, "it does not subscribe yet");
        health.note(&BrokerEvent::Quiet, &[Ill::Storing]);
        health.note(&BrokerEvent::Quiet, &[Ill::Subscriptions]);
        assert_eq!([health.next(), health.next()], [Some(Notice::Stores), Some(Notice::Well)]);
        health.note(&BrokerEvent::Quiet, &[Ill::Subscriptions]);
        assert!(health.is_well() && health.next().is_none());
    }
}
