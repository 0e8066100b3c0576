//! L2: the relay's conns about whose channels the application decides that wsloop is a part of.
//!
//! A conn of the relay waits, when it is known who asks, until the application says what it hears
//! and where its messages go; from then on it is a conn like any other. Its rules:
//! * who is asked about is said whole: the request, who it is, and what the rules would grant;
//! * nothing is granted but what the answer names, each channel once; without an answer, nothing;
//! * the application is told the end of every conn that it was asked about, unless it has refused
//!   it, with what that conn heard then.

use std::collections::BTreeSet;

use super::conn::{Conn, Life, Waiting};
use super::context::Context;
use super::endpoint::{Addressee, ConnId, SocketEvent};
use super::handshake::{Pending, Request};
use super::opening::publication;
use super::settings::Settings;
use super::topics::Publications;
use crate::access::channel::{Grant, Options};
use crate::access::identity::Identity;
use crate::fanout::overflow::Overflow;
use crate::link::{Frame, LinkId};
use crate::proto::ws::deflate::Agreement;

/// The channels of one conn of the relay, by their whole names, as publishers have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Those that it hears, each from its stored message on; those are sent in this order.
    pub hears: Vec<String>,
    /// Those that it hears without what is stored.
    pub hears_live: Vec<String>,
    /// Those that its messages go to.
    pub publishes: Vec<String>,
}

impl Channels {
    /// Bytes of all names, and their number.
    pub(crate) fn size(&self) -> (usize, usize) {
        let all = || [&self.hears, &self.hears_live, &self.publishes].into_iter().flatten();
        (all().map(String::len).sum(), all().count())
    }
}

/// What a conn of the relay asks for, and what it would have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The facility: what follows the prefix in its path, decoded.
    pub facility: String,
    /// The options that its URL names, such as `subscribe-broadcast` and `echo`.
    pub options: Vec<String>,
    /// What the rules of the settings would grant this request of who asks.
    pub channels: Channels,
}

/// What is left of a conn whose end the application is to be told.
#[derive(Debug)]
pub(crate) struct Released {
    endpoint: u8,
    code: u16,
    reason: String,
    publishes: Vec<String>,
}

impl Released {
    pub(super) fn of(conn: &Conn, endpoint: u8, (code, reason): (u16, String)) -> Released {
        let publications = match &conn.life {
            Life::Open(member) => member.publications.fixed(),
            Life::Joining(joining) => joining.member.publications.fixed(),
            _ => &[],
        };
        let publishes = publications.iter().map(|one| one.channel.to_string()).collect();
        Released { endpoint, code, reason, publishes }
    }

    /// Tells it, with what that conn has heard.
    pub(crate) fn tell(self, link: LinkId, hears: Vec<String>, cx: &mut Context) {
        let Released { endpoint, code, reason, publishes } = self;
        let channels = Box::new(Channels { hears, hears_live: Vec::new(), publishes });
        let conn = ConnId(link);
        cx.tell(endpoint, SocketEvent::Released { conn, channels, code, reason });
    }
}

/// The endpoint whose application decides about the relay's conns.
pub(super) fn decider(settings: &Settings) -> Option<u8> {
    settings.endpoints.iter().position(|endpoint| endpoint.joins).map(|at| at as u8)
}

/// A request for the relay that the application of an endpoint decides about: rules would grant
/// that.
pub(super) fn asked(
    endpoint: u8,
    request: Request<'_>,
    identity: &Identity,
    mut grant: Grant,
    (accepted, agreement, overflow): (Frame, Option<Agreement>, Overflow),
) -> Pending {
    // Nothing is left, and so it is noted besides whose it is, which what it hears will not say.
    grant.granted = Options::default();
    let hears = std::mem::take(&mut grant.subscribe);
    let publishes = std::mem::take(&mut grant.publish);
    let wanted = Wanted {
        facility: request.facility.into_owned(),
        options: request.options.each().map(|option| option.to_string()).collect(),
        channels: Channels { hears, hears_live: Vec::new(), publishes },
    };
    Pending {
        grant,
        accepted,
        agreement,
        events: false,
        overflow,
        to: Addressee::Decided(endpoint),
        request: request.told.map(|told| Box::new(told.by(identity))),
        wanted: Some(Box::new(wanted)),
        topics: None,
    }
}

impl Conn {
    /// The application grants it these channels. Whether it has waited for that.
    pub(crate) fn decide(&mut self, channels: Channels) -> bool {
        let Life::Waiting(Waiting { subscribe, live, joining, knock }) = &mut self.life else {
            return false;
        };
        let Addressee::Decided(_) = joining.member.to else { return false };
        let Some(knock) = knock.take_if(|knock| knock.request.is_none()) else { return false };
        let mut known = BTreeSet::new();
        let mut once = |names: Vec<String>| -> Vec<String> {
            names.into_iter().filter(|name| known.insert(name.clone())).collect()
        };
        *subscribe = once(channels.hears);
        let others = once(channels.hears_live);
        *live = others.len() as u32;
        subscribe.extend(others);
        let mut known = BTreeSet::new();
        let own = channels.publishes.iter().filter(|name| known.insert(*name));
        let publications = own.map(|name| publication(name, subscribe, knock.echo));
        joining.member.publications = Publications::Fixed(publications.collect());
        true
    }

    /// It has come to hear a channel, or hears it no more: its own messages are withheld from it,
    /// or are not.
    pub(crate) fn note_hearing(&mut self, name: &str, hears: bool) {
        let Some(member) = self.member() else { return };
        let publications = member.publications.fixed_mut().iter_mut();
        for publication in publications.filter(|one| &*one.channel == name) {
            publication.withhold = hears && !publication.echo;
        }
    }

    /// Whether what it hears is its own by its name, and not what an application has chosen.
    pub(crate) fn hears_as_itself(&self) -> bool {
        self.application().is_none()
    }
}
