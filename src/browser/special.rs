//! L2: what a request is for that has no facility: echoes, an endpoint, the metrics, or all topics.

use super::deciding;
use super::endpoint::{self, Endpoint};
use super::settings::Settings;
use crate::proto::http::Head;
use crate::proto::topics::WSLOOP_1;
use crate::proto::ws::upgrade;

/// What a request is for that has no facility: with `require_login`, that is for known users too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    /// Messages that come back.
    Echo,
    /// The endpoint of that number.
    Endpoint(u8),
    /// The metrics.
    Metrics,
    /// One WebSocket for all topics, which speaks `wsloop.1`, or one stream for some.
    Topics,
}

impl Special {
    /// The endpoint that it is for.
    pub(super) fn endpoint(self, settings: &Settings) -> Option<&Endpoint> {
        match self {
            Special::Endpoint(at) => settings.endpoints.get(usize::from(at)),
            Special::Echo | Special::Metrics | Special::Topics => None,
        }
    }
}

/// What a WebSocket at that path is for, if it has no facility. Where an application decides about
/// the relay's conns none is for all topics.
pub(super) fn of(
    head: &Head<'_>,
    facility: Option<&str>,
    settings: &Settings,
    wants_upgrade: impl Fn() -> bool,
) -> Option<Special> {
    if settings.echo_path.as_deref() == Some(head.path) {
        return Some(Special::Echo);
    }
    if let Some((at, _)) = endpoint::of(head.path, facility.is_some(), settings) {
        return wants_upgrade().then_some(Special::Endpoint(at as u8));
    }
    let has_topics = facility == Some("")
        && wants_upgrade()
        && upgrade::offered(head).any(|name| name == WSLOOP_1)
        && deciding::decider(settings).is_none();
    has_topics.then_some(Special::Topics)
}

/// Whether that path is a page, a script or the metrics of this server itself.
pub(super) fn is_own(path: &str, settings: &Settings) -> bool {
    settings.metrics_path.as_deref() == Some(path)
        || settings.pages.iter().any(|page| page.path == path)
}
