//! L2: names that an identity cannot have, the requests that cannot do without them, and what a
//! developer is told of that and of what else is granted or not.
//!
//! It knows who asks and for what. Its rule: whoever has lost a name is let in without it, and gets
//! no more by that than with it.

use super::handshake::Request;
use super::settings::Settings;
use crate::access::channel::{Audience, Grant, Options};
use crate::access::identity::{Identity, NameError, Refused};
use crate::access::permissions;
use crate::proto::ws::upgrade;

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
        let asks = options.subscribe(name.audience) || options.publish(name.audience);
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

/// What a developer is told who asks a WebSocket's URL with plain HTTP.
pub(super) fn told(
    request: &Request,
    (identity, refused): (&Identity, &[Refused]),
    by_rule: Options,
    grant: &Grant,
) -> String {
    let mut text = upgrade::UpgradeError::NoUpgrade.to_string();
    let facility = &request.facility;
    text.push_str(&format!("\n\nWhat a WebSocket of this URL is granted ({facility:?}):\n"));
    match &identity.user {
        Some(user) => text.push_str(&format!("- you are the user {user:?}.\n")),
        None => text.push_str("- you are nobody who is logged in.\n"),
    }
    if !identity.groups.is_empty() {
        text.push_str(&format!("- you are in the groups {:?}.\n", identity.groups));
    }
    for name in refused.iter().filter(|name| name.why != NameError::Empty) {
        let whose = whose(name.audience);
        text.push_str(&format!("- {whose} {}: a WebSocket that needs it is refused.\n", name.why));
    }
    if request.options.is_silent() {
        text.push_str(
            "- nothing: its query has no option such as subscribe-broadcast or publish-user.\n",
        );
    }
    for option in request.options.each() {
        let verdict = if !grant.granted.intersection(option).is_empty() {
            "granted"
        } else if by_rule.intersection(option).is_empty() {
            "denied: neither an [[allow]] rule nor --allow grants it"
        } else if !grant.denied.intersection(option).is_empty() {
            "denied: the token or the application allows less"
        } else {
            "no channel: nothing says which user, group or session this is"
        };
        text.push_str(&format!("- {option}: {verdict}.\n"));
    }
    text
}
