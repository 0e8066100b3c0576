//! L2: names that an identity cannot have, and the requests that cannot do without them.
//!
//! It knows who asks and for what. Its rule: whoever has lost a name is let in without it, and gets
//! no more by that than with it.

use super::settings::Settings;
use crate::access::channel::{Audience, Options};
use crate::access::identity::{Identity, NameError, Refused};
use crate::access::permissions;

/// The refused name that a request cannot do without: it asks for what only that name has channels
/// for, or what it may depends on it.
pub(super) fn needed<'a>(
    facility: &str,
    options: Options,
    identity: &Identity,
    refused: &'a [Refused],
    settings: &Settings,
) -> Option<&'a Refused> {
    let may = |identity: &Identity| {
        let may = settings.rules.granted(facility, options, identity, settings.allow);
        (may, !settings.require_login || permissions::is_logged_in(identity))
    };
    // Who has an empty name is nobody, and has lost nothing.
    let mut refused = refused.iter().filter(|name| name.why != NameError::Empty);
    refused.find(|name| {
        let mut whole = identity.clone();
        let lost = if name.name.is_empty() { "?" } else { &name.name };
        match name.audience {
            Audience::User => whole.user = Some(lost.to_owned()),
            Audience::Group => whole.groups.push(lost.to_owned()),
            Audience::Session | Audience::Broadcast => {}
        }
        // Who is in other groups has channels without this one.
        let has_other = name.audience == Audience::Group && !identity.groups.is_empty();
        let asks = options.asks(name.audience);
        asks && !has_other || may(identity) != may(&whole)
    })
}

/// What a refused name was to be, as a sentence begins.
pub(super) fn whose(audience: Audience) -> &'static str {
    match audience {
        Audience::Group => "The name of a group of yours cannot be part of a channel's name: it",
        Audience::Session => "The key of your session cannot be part of a channel's name: it",
        _ => "Your user name cannot be part of a channel's name: it",
    }
}
