//! L2: what a conn whose handshake is under way, or whose message is posted, needs of the broker.

use super::Context;
use super::conn::{Conn, Life};

impl Conn {
    /// Whether a conn that waits to join needs the broker for it.
    pub(crate) fn needs_broker(&self) -> bool {
        match &self.life {
            Life::Waiting(waiting) => {
                let publications = waiting.joining.member.publications.fixed();
                !waiting.subscribe.is_empty() || !publications.is_empty()
            }
            _ => false,
        }
    }

    /// The channels for which a conn needs the broker that waits to join, or whose message waits to
    /// be published.
    pub(crate) fn needed_channels(&self) -> impl Iterator<Item = &str> {
        let waiting = match &self.life {
            Life::Waiting(waiting) => Some(waiting),
            _ => None,
        };
        let names = waiting.into_iter().flat_map(|waiting| {
            let publications = waiting.joining.member.publications.fixed().iter();
            let published = publications.map(|publication| &*publication.channel);
            waiting.subscribe.iter().map(String::as_str).chain(published)
        });
        names.chain(self.posted_channels().iter().map(String::as_str))
    }

    /// What the session is stored as that says who asks, if that is awaited.
    pub(crate) fn asked_session(&self, cx: &Context) -> Option<String> {
        let Life::Asking(asking) = &self.life else { return None };
        let sessions = cx.settings.sources.session.as_ref()?;
        Some(sessions.stored_as(asking.lookup.session.as_ref()?))
    }
}
