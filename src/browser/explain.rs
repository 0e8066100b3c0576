//! L2: what a developer is told of what a WebSocket is granted and what not, and why.
//!
//! It knows who asks, for what, and what came of it. Its rule: nothing of a query but the names of
//! options gets into the log.

use super::handshake::Request;
use super::names;
use super::refusal::{GRANTED, Refusal, readable_by};
use crate::access::channel::{Audience, Grant, Options};
use crate::access::identity::{Identity, NameError, Refused};
use crate::link::{Frame, LeftOut, Now, SaidRarely};
use crate::proto::ws::upgrade;
use crate::web;

/// Says in the log that a page is granted less than it asks for: it may wonder why it hears
/// nothing, or why nobody hears it.
pub(super) fn warn_of_silence(
    request: &Request<'_>,
    grant: &Grant,
    url_prefix: &str,
    said: &mut SaidRarely,
    now: Now,
) {
    let Some(left_out) = said.may(now.mono_ms) else { return };
    let page = request.origin.as_deref().unwrap_or("no origin");
    let path = [url_prefix, &request.facility].concat();
    let what = match grant.denied.is_empty() {
        false => format!("is denied {}", grant.denied),
        true if request.options.is_silent() => "asks for nothing to hear or say".to_owned(),
        true => format!("is granted nothing of {}: it is nobody there", request.options),
    };
    tracing::warn!(
        "a page of {page:?} {what} at {path:?}; a plain GET of its URL says why{}",
        LeftOut(left_out)
    );
}

/// What a developer is told who asks a WebSocket's URL with plain HTTP.
pub(super) fn told(
    request: &Request<'_>,
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
        let whose = names::whose(name.audience);
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
        } else if option.asks(Audience::Group) {
            "no channel: nothing says that you are in a group"
        } else if option.asks(Audience::Session) {
            "no channel: nothing says which session this is"
        } else {
            "no channel: nothing says which user you are"
        };
        text.push_str(&format!("- {option}: {verdict}.\n"));
    }
    text
}

/// The answer to plain HTTP where WebSockets are: 426, with what a WebSocket would be granted,
/// unless that is for the application to say.
pub(super) fn inquired(
    request: &Request<'_>,
    grant: &Grant,
    mut text: String,
    is_decided: bool,
) -> Refusal {
    let granted = grant.granted.to_string();
    let mut headers = [
        upgrade::UpgradeError::NoUpgrade.headers(),
        &[("Cache-Control", "no-store")],
        &readable_by(request.plain_origin()),
    ]
    .concat();
    match is_decided {
        true => text.push_str("- the application decides in the end, when a WebSocket asks.\n"),
        false => headers.push((GRANTED, &granted)),
    }
    let bytes = Frame::from(web::text_response(426, &headers, text.trim_end(), request.is_bare()));
    Refusal { status: 426, text, bytes, closes: false }
}
