//! L2: a good request and who asks become a decision.
//!
//! It knows rules, grants and names; what a request is, and how it is answered, `handshake` and
//! `plain` know. Its rule: nothing is granted that was not asked for, allowed and named.

use super::context::Context;
use super::deciding;
use super::endpoint::Addressee;
use super::explain;
use super::handshake::{Decision, Pending, Request};
use super::names;
use super::plain;
use super::settings::Settings;
use super::special::Special;
use super::topics::Topics;
use crate::access::channel::{self, Allow, Grant, Options};
use crate::access::identity::{Identity, Refused};
use crate::access::permissions;
use crate::web;

/// Most bytes of the names of all channels that a conn hears and publishes to: they are kept in
/// memory and told Redis, for each group anew.
const MAX_NAMES_BYTES: usize = 128 << 10;

/// Decides about a good request when it is known who asks, and which names of that one were
/// refused. Whoever told that may have narrowed what can be granted.
pub fn admit(
    request: Request<'_>,
    identity: &Identity,
    refused: &[Refused],
    narrowed_by: Option<Allow>,
    cx: &mut Context,
) -> Decision {
    let settings = &cx.settings;
    if request.is_served()
        && let Some(name) =
            names::needed(&request.facility, request.options, identity, refused, settings)
    {
        let text = format!("{} {}.", names::whose(name.audience), name.why);
        return Decision::Refuse(request.refuse(403, &[], &text, settings));
    }
    if settings.require_login && !permissions::is_logged_in(identity) {
        let text = "Only who is logged in may connect here (see --require-login): log in first.";
        return Decision::Refuse(request.refuse(403, &[], text, settings));
    }
    if let (Some(Special::Topics), Some(plain)) = (request.special, &request.plain) {
        let topics = Topics::of(identity.clone(), refused.to_vec(), narrowed_by);
        return plain.of_topics(request.is_bare(), topics, cx);
    }
    match (request.special, &request.agreed) {
        (Some(Special::Echo), Some(agreed)) => return Decision::Open(agreed.echo()),
        (Some(Special::Endpoint(endpoint)), Some(agreed)) => {
            let told = request.told.map(|told| Box::new(told.by(identity)));
            return Decision::Open(agreed.of_endpoint(endpoint, told));
        }
        (Some(Special::Topics), Some(agreed)) => {
            let topics = Topics::of(identity.clone(), refused.to_vec(), narrowed_by);
            return Decision::Open(agreed.of_topics(topics));
        }
        (Some(_), _) => return Decision::Answer(web::metrics(&mut cx.metrics, request.is_bare())),
        (None, _) => {}
    }
    let (by_rule, grant) = match granted(&request, identity, narrowed_by, settings) {
        Ok(granted) => granted,
        Err(text) => return Decision::Refuse(request.refuse(403, &[], &text, settings)),
    };
    if request.publishes() {
        return plain::publishing(&request, identity, grant, settings);
    }
    open(request, (identity, refused), by_rule, grant, cx)
}

/// What the rules grant of what is asked for, and what comes of that with who asks, and what may be
/// granted at most.
fn granted(
    request: &Request<'_>,
    identity: &Identity,
    narrowed_by: Option<Allow>,
    settings: &Settings,
) -> Result<(Options, Grant), String> {
    let Request { facility, options, .. } = request;
    let by_rule = settings.rules.granted(facility, *options, identity, settings.allow);
    let permitted = narrowed_by.map_or(by_rule, |allow| allow.permitted(by_rule));
    let grant = channel::channels(&settings.prefix, facility, *options, permitted, identity);
    let bytes: usize = grant.subscribe.iter().chain(&grant.publish).map(String::len).sum();
    match bytes > MAX_NAMES_BYTES {
        true => Err(format!(
            "The names of all channels that this connection asks for are {bytes} bytes, more than \
             the {MAX_NAMES_BYTES} that one may have: {} groups are too many for a facility as \
             long as this.",
            identity.groups.len()
        )),
        false => Ok((by_rule, grant)),
    }
}

/// A conn that hears and says what is granted, or what a developer is told of that.
fn open(
    request: Request<'_>,
    (identity, refused): (&Identity, &[Refused]),
    by_rule: Options,
    grant: Grant,
    cx: &mut Context,
) -> Decision {
    let settings = &cx.settings;
    let decider = deciding::decider(settings);
    let granted = Some(grant.granted).filter(|_| decider.is_none());
    let Some((accepted, agreement, overflow)) = request.opening(granted) else {
        let text = explain::told(&request, (identity, refused), by_rule, &grant);
        return Decision::Refuse(explain::inquired(&request, &grant, text, decider.is_some()));
    };
    let events = request.plain.is_some();
    if events && request.is_bare() {
        cx.metrics.requests_total += 1;
        return Decision::Answer(accepted);
    }
    if let Some(endpoint) = decider {
        let agreed = (accepted, agreement, overflow);
        let pending = deciding::asked(endpoint, request, identity, grant, agreed);
        return Decision::Open(Pending { events, ..pending });
    }
    let listed = request.plain.as_ref().and_then(|plain| plain.listed.as_deref());
    let topics = listed.map(|listed| Topics::of_channels(&grant.subscribe, listed, settings));
    let topics = match topics.transpose() {
        Ok(topics) => topics.flatten(),
        Err(text) => return Decision::Refuse(request.refuse(413, &[], &text, settings)),
    };
    cx.metrics.options_denied_total += u64::from(grant.denied.len());
    if !grant.denied.is_empty() || grant.granted.is_silent() {
        let (prefix, said) = (&settings.url_prefix, &mut cx.said.silent);
        explain::warn_of_silence(&request, &grant, prefix, said, cx.now);
    }
    let (to, request, wanted) = (Addressee::Broker, None, None);
    let pending =
        Pending { grant, accepted, agreement, events, overflow, to, request, wanted, topics };
    Decision::Open(pending)
}
