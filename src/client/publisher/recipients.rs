//! L4: to whom something is published, or whose stored message is wanted: audiences to the names of
//! channels.
//!
//! It does not know where channels are. Its rule: nobody's name can spell another's channel.

use std::collections::BTreeSet;

use super::{EXPIRE_S, Error, Expire, Published, Publisher, word};
use crate::access::channel::Audience;
use crate::config::values::LONGEST_EXPIRE_S;

/// Longest facility that a server takes, in bytes.
const MAX_FACILITY_BYTES: usize = 512;

/// To whom a facility's message goes, or whose stored message is wanted; made by
/// [`Publisher::to`]. Each name counts once, however often it is given.
#[derive(Debug)]
#[must_use = "it does nothing until `publish` or `fetch`"]
pub struct Recipients<'a> {
    publisher: &'a mut Publisher,
    facility: String,
    broadcast: bool,
    whos: Vec<(Audience, String)>,
}

impl<'a> Recipients<'a> {
    /// Nobody yet.
    pub(super) fn of(publisher: &'a mut Publisher, facility: String) -> Recipients<'a> {
        Recipients { publisher, facility, broadcast: false, whos: Vec::new() }
    }

    /// Everybody who subscribed to the facility.
    pub fn broadcast(mut self) -> Self {
        self.broadcast = true;
        self
    }

    /// These users too, on all their devices.
    pub fn users<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        self.add(Audience::User, names)
    }

    /// The members of these groups too.
    pub fn groups<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        self.add(Audience::Group, names)
    }

    /// The sessions with these keys too.
    pub fn sessions<N: Into<String>>(self, keys: impl IntoIterator<Item = N>) -> Self {
        self.add(Audience::Session, keys)
    }

    /// Sends the message to all of them: a PUBLISH to each channel and, if it is to be stored, a
    /// SET after it. Text must be UTF-8 to reach browsers as text; an empty message reaches nobody,
    /// and what is stored is then as good as nothing.
    ///
    /// When Redis refuses one of the commands, others may have been carried out. What could not be
    /// added to a channel's history is published all the same; the reason then begins with
    /// `UNKEPT`.
    pub fn publish(self, message: impl AsRef<[u8]>, expire: Expire) -> Result<Published, Error> {
        let expire_s = match expire {
            Expire::Default => EXPIRE_S,
            Expire::Seconds(seconds) if seconds > LONGEST_EXPIRE_S => {
                return Err(Error::Expire(seconds));
            }
            Expire::Seconds(seconds) => seconds,
            Expire::Unstored => 0,
        };
        let order = [Audience::Broadcast, Audience::Group, Audience::User, Audience::Session];
        let channels = self.channels(order)?;
        self.publisher.publish(&channels, message.as_ref(), expire_s)
    }

    /// The stored message of the first of them that has one: sessions are asked first, then users,
    /// groups and broadcast, and among themselves in the order in which they were given.
    pub fn fetch(self) -> Result<Option<Vec<u8>>, Error> {
        let order = [Audience::Session, Audience::User, Audience::Group, Audience::Broadcast];
        let channels = self.channels(order)?;
        self.publisher.fetch(&channels)
    }

    /// The first channel to which a rule of the history fits in vain, if there is one: with a brace
    /// in its name it can have none. It is published to all the same.
    pub fn unkept(&self) -> Option<String> {
        let order = [Audience::Broadcast, Audience::Group, Audience::User, Audience::Session];
        let histories = &self.publisher.histories;
        self.channels(order).ok()?.into_iter().find(|channel| histories.fits_in_vain(channel))
    }

    fn add<N: Into<String>>(
        mut self,
        audience: Audience,
        names: impl IntoIterator<Item = N>,
    ) -> Self {
        self.whos.extend(names.into_iter().map(|name| (audience, name.into())));
        self
    }

    /// The names of the channels, each once.
    fn channels(&self, order: [Audience; 4]) -> Result<Vec<String>, Error> {
        let Recipients { publisher, facility, broadcast, whos } = self;
        publisher.check_prefix()?;
        if facility.len() > MAX_FACILITY_BYTES || facility.contains(':') && !whos.is_empty() {
            return Err(Error::Facility(facility.clone()));
        }
        if let Some((audience, name)) = whos.iter().find(|(_, n)| n.is_empty() || n.contains(':')) {
            return Err(Error::Name { audience: *audience, name: name.clone() });
        }
        let mut channels = Vec::new();
        let mut seen = BTreeSet::new();
        for audience in order {
            if audience == Audience::Broadcast && *broadcast {
                channels.push(publisher.name(&format!("broadcast:{facility}")));
            }
            let whos = whos.iter().filter(|(of, _)| *of == audience).map(|(_, name)| name);
            for who in whos {
                let name = publisher.name(&format!("{}:{who}:{facility}", word(audience)));
                if seen.insert(name.clone()) {
                    channels.push(name);
                }
            }
        }
        if channels.is_empty() { Err(Error::NoAudience) } else { Ok(channels) }
    }
}
