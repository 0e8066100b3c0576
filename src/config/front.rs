//! L4: paths that are this server's own, and the application behind: their flags, the `[[route]]`
//! tables of the file, and what they make together.

use super::draft::ServerDraft;
use super::table::Absent::{Value, Words};
use super::table::Takes::{Count, Seconds, Text};
use super::table::{Flag, Wrong, put};
use super::values::{self, LONGEST_MS, MOST};
use crate::browser::settings::Settings;
use crate::web::upstream::{Upstream, upstream};

pub(super) const UPSTREAM: Flag<ServerDraft> = Flag {
    name: "upstream",
    variable: "WSLOOP_UPSTREAM",
    takes: Text("URL", |draft, text| put(&mut draft.upstream, upstream(text))),
    default: Words("none"),
    help: "The application, to which everything goes that is not for wsloop: \
           `http://host:port`, `unix:/path` or `uwsgi://host:port`",
};
pub(super) const TIMEOUT: Flag<ServerDraft> = Flag {
    name: "upstream-timeout",
    variable: "WSLOOP_UPSTREAM_TIMEOUT",
    takes: Seconds(1..=LONGEST_MS, |draft, ms| draft.settings.front.timeout_ms = ms),
    default: Value("60"),
    help: "Longest time in which nothing of a request to the application or of its response moves",
};
pub(super) const TUNNEL_TIMEOUT: Flag<ServerDraft> = Flag {
    name: "upstream-websocket-timeout",
    variable: "WSLOOP_UPSTREAM_WEBSOCKET_TIMEOUT",
    takes: Seconds(1..=LONGEST_MS, |draft, ms| draft.settings.front.tunnel_timeout_ms = ms),
    default: Value("600"),
    help: "Longest time in which nothing passes, pings included, on a WebSocket that a `[[route]]` \
           hands on",
};
pub(super) const PATIENCE: Flag<ServerDraft> = Flag {
    name: "upstream-patience",
    variable: "WSLOOP_UPSTREAM_PATIENCE",
    takes: Seconds(0..=LONGEST_MS, |draft, ms| draft.settings.front.patience_ms = ms),
    default: Value("1"),
    help: "How long a request waits for an application that refuses connections, as while it \
           restarts, before it gets 502",
};
pub(super) const CONNECTIONS: Flag<ServerDraft> = Flag {
    name: "upstream-connections",
    variable: "WSLOOP_UPSTREAM_CONNECTIONS",
    takes: Count(1..=MOST, |draft, count| draft.settings.front.connections = count),
    default: Value("256"),
    help: "Most connections to the application, and to each upstream of a `[[route]]`",
};
pub(super) const IDLE: Flag<ServerDraft> = Flag {
    name: "upstream-idle",
    variable: "WSLOOP_UPSTREAM_IDLE",
    takes: Count(0..=MOST, |draft, count| draft.settings.front.idle = count),
    default: Value("32"),
    help: "How many of them are kept for the next request; 0 is none",
};
pub(super) const WAITING: Flag<ServerDraft> = Flag {
    name: "upstream-waiting",
    variable: "WSLOOP_UPSTREAM_WAITING",
    takes: Count(1..=MOST, |draft, count| draft.settings.front.waiting = count),
    default: Value("1024"),
    help: "Most requests that wait for one of them; more get 503",
};
pub(super) const KEEP_ALIVE: Flag<ServerDraft> = Flag {
    name: "keep-alive-timeout",
    variable: "WSLOOP_KEEP_ALIVE_TIMEOUT",
    takes: Seconds(1..=LONGEST_MS, |draft, ms| draft.settings.front.keep_alive_ms = ms),
    default: Value("75"),
    help: "How long a browser's connection is kept for its next request to the application",
};
pub(super) const METRICS: Flag<ServerDraft> = Flag {
    name: "metrics",
    variable: "WSLOOP_METRICS",
    takes: Text("PATH", |draft, text| {
        put(&mut draft.settings.metrics_path, values::own_path(text, "/metrics"))
    }),
    default: Words("off"),
    help: "Path that answers with counters for Prometheus",
};
pub(super) const ECHO: Flag<ServerDraft> = Flag {
    name: "echo",
    variable: "WSLOOP_ECHO",
    takes: Text("PATH", |draft, text| {
        put(&mut draft.settings.echo_path, values::own_path(text, "/echo"))
    }),
    default: Words("off"),
    help: "WebSockets on exactly this path get their own messages back, to test a client with",
};

/// A `[[route]]` of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub prefix: String,
    pub upstream: Upstream,
    /// Where it stands.
    pub place: String,
}

/// Puts the routes and the application together, for which the rest is.
pub(super) fn finish(
    settings: &mut Settings,
    application: Option<Upstream>,
    routes: &[Route],
    hidden: Option<&str>,
) -> Result<(), Wrong> {
    if application.is_some() && settings.url_prefix == "/" {
        let why = "is / and leaves nothing for the application of --upstream; write another, \
                   such as /ws/";
        return Err(Wrong { flag: "url-prefix", why: why.to_owned() });
    }
    let prefix = settings.url_prefix.as_str();
    if let Some(route) = routes.iter().find(|route| route.prefix.starts_with(prefix)) {
        let why = format!(
            "{}: [[route]] prefix: paths that begin with {prefix} are for WebSockets here; write \
             another prefix, or another url-prefix",
            route.place
        );
        return Err(Wrong { flag: "config", why });
    }
    let application = application.map(|upstream| ("/".to_owned(), upstream));
    let routes = routes.iter().map(|route| (route.prefix.clone(), route.upstream.clone()));
    let front = &mut settings.front;
    for (prefix, upstream) in routes.chain(application) {
        let known = front.upstreams.iter().position(|known| *known == upstream);
        let number = known.unwrap_or_else(|| {
            front.upstreams.push(upstream);
            front.upstreams.len() - 1
        });
        front.routes.push((prefix, number));
    }
    front.hidden = hidden
        .filter(|_| !front.routes.is_empty())
        .map(|path| path.split(['?', '#']).next().unwrap_or_default().to_owned());
    Ok(())
}
