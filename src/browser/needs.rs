//! L2: what a conn whose handshake is under way, or whose message is posted, needs of the broker.

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

    /// Whether a conn waits to know who asks.
    pub(crate) fn is_asking(&self) -> bool {
        matches!(self.life, Life::Asking(_))
    }
}
