//! L2: what plain HTTP may have where WebSockets are: a stream of what one would hear, and to
//! publish what one would send.
//!
//! It knows requests, origins and grants; no conn. Its rules:
//! * whoever asks is granted what a WebSocket of the same URL is, and by the same sources;
//! * a page of another origin is served if that may open WebSockets. Browsers ask for plain HTTP
//!   with cookies also where a page says no origin, so what they say of its site counts, too;
//! * whatever is no such request is left to others, as it is.

use std::borrow::Cow;
use std::net::IpAddr;

use super::context::Context;
use super::deciding;
use super::endpoint::Addressee;
use super::handshake::{self, Decision, Examined, Pending, Request};
use super::refusal::{self, GRANTED, Refusal, refuse};
use super::settings::Settings;
use super::topics::{Listed, Topics};
use crate::access::channel::{Audience, Grant, Options};
use crate::access::identity::Identity;
use crate::access::rates::Publisher;
use crate::fanout::overflow::Overflow;
use crate::link::Frame;
use crate::proto::http::{self, Head};
use crate::proto::ws::upgrade::{self, AllowedOrigins};
use crate::web;

const EVENTS: &str = "text/event-stream";
/// What a page of another origin may read of the headers.
const EXPOSED: &str = "X-Wsloop-Granted, Retry-After";

/// What a plain request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// A stream of events.
    Stream,
    /// To publish its body.
    Publish,
}

/// A request that is no upgrade and is served all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    pub wants: Wants,
    pub readers: Readers,
    overflow: Overflow,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// What a stream names, and where its page stands.
    pub listed: Option<Box<Listed>>,
}

/// Which pages may read an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Those of the host itself.
    Own,
    /// Those of this origin, with its user's cookies.
    Of(String),
    /// All, but not what is for who has cookies.
    All,
}

/// What is to be published when its body is there.
#[derive(Debug)]
pub struct Publishing {
    pub(super) channels: Vec<String>,
    pub(super) readers: Readers,
    pub(super) granted: Options,
    pub(super) by: Publisher,
}

impl Readers {
    fn of(origin: Option<&str>, settings: &Settings) -> Readers {
        match (&settings.allowed_origins, origin) {
            (AllowedOrigins::Any, _) => Readers::All,
            (AllowedOrigins::Listed(_), Some(origin)) => Readers::Of(origin.to_owned()),
            (AllowedOrigins::Listed(_), None) => Readers::Own,
        }
    }

    /// The headers that say so.
    pub(super) fn headers(&self) -> Vec<(&str, &str)> {
        let exposed = ("Access-Control-Expose-Headers", EXPOSED);
        match self {
            Readers::Own => vec![("Vary", "Origin")],
            Readers::All => vec![("Access-Control-Allow-Origin", "*"), exposed],
            Readers::Of(origin) => vec![
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Allow-Credentials", "true"),
                exposed,
                ("Vary", "Origin"),
            ],
        }
    }

    /// Bytes that it takes besides itself.
    pub(super) fn held_bytes(&self) -> usize {
        if let Readers::Of(origin) = self { origin.capacity() } else { 0 }
    }
}

impl Plain {
    /// The beginning of a stream. It ends with the connection, so that it is the same for HTTP/1.0,
    /// and each event is the same bytes for everybody.
    pub(super) fn head(&self, granted: Option<Options>) -> Frame {
        let granted = granted.map(|granted| granted.to_string());
        let mut headers = vec![
            ("Content-Type", EVENTS),
            ("Cache-Control", "no-store, no-transform"),
            ("X-Accel-Buffering", "no"),
            ("X-Content-Type-Options", "nosniff"),
        ];
        headers.extend(granted.as_deref().map(|granted| (GRANTED, granted)));
        headers.extend(self.readers.headers());
        Frame::from(http::open_response_head(200, &headers))
    }

    /// What is decided about a stream of topics when it is known who asks.
    pub(super) fn of_topics(&self, bare: bool, topics: Box<Topics>, cx: &mut Context) -> Decision {
        let accepted = self.head(None);
        if bare {
            cx.metrics.requests_total += 1;
            return Decision::Answer(accepted);
        }
        let listed = self.listed.as_deref().cloned().unwrap_or_default();
        Decision::Open(Pending {
            grant: Grant::default(),
            accepted,
            agreement: None,
            events: true,
            overflow: self.overflow,
            to: Addressee::Topics,
            request: None,
            wanted: None,
            topics: Some(topics.listed(listed)),
        })
    }

    /// Bytes that it takes besides itself.
    pub(super) fn held_bytes(&self) -> usize {
        self.readers.held_bytes() + self.listed.as_ref().map_or(0, |listed| listed.held_bytes())
    }

    /// What is done when its stream is read too slowly.
    pub(super) fn overflow(&self) -> Overflow {
        self.overflow
    }
}

/// What is decided about a request at the path of a facility that is one of those; nothing about
/// another.
pub(super) fn check<'b>(
    head: &Head<'b>,
    facility: &Cow<'b, str>,
    cx: &mut Context,
) -> Result<Option<Examined<'b>>, Refusal> {
    let settings = &cx.settings;
    let wants = match head.method {
        _ if asks(head, "upgrade", b"websocket") => return Ok(None),
        "GET" | "HEAD" if accepts_events(head) => Some(Wants::Stream),
        "POST" if publishes(head.query) && deciding::decider(settings).is_none() => {
            Some(Wants::Publish)
        }
        "OPTIONS" if is_preflight(head) => None,
        _ => return Ok(None),
    };
    let asked = upgrade::inquiry(head);
    let asked = asked.map_err(|error| refusal::not_upgraded(&error, None, settings))?;
    if let Err(error) = asked.check_origin(&settings.allowed_origins) {
        handshake::note_origin(&error, (&mut cx.metrics, &mut cx.said.origin), cx.now);
        return Err(refuse(error.status(), &[], error.to_string(), None, &cx.settings));
    }
    let readers = Readers::of(asked.origin, settings);
    let Some(wants) = wants else {
        return Ok(Some(Examined::Decided(Decision::Answer(permission(head, &readers)))));
    };
    if let Err(text) = check_site(head, wants, asked.origin, settings) {
        cx.metrics.origins_refused_total += 1;
        return Err(refuse(403, &[], text.to_owned(), None, &cx.settings));
    }
    let refused = |(status, text): (u16, String)| {
        Err(refuse(status, &readers.headers(), text, None, settings))
    };
    if wants == Wants::Stream && is_of_topics(head, facility, settings) {
        let listed = match Listed::read(head, settings) {
            Ok(listed) => Some(Box::new(listed)),
            Err(text) => return refused((400, text)),
        };
        let plain = Plain { wants, readers, overflow: Overflow::Close, address: None, listed };
        return Ok(Some(Examined::Asked(Request::of_topics(head, plain))));
    }
    let options = match handshake::options(facility, head.query, settings) {
        Ok(options) => options,
        Err(why) => return refused(why),
    };
    let overflow = settings.overflows.of(facility);
    let listed = (!settings.history.is_empty()).then(|| Box::new(Listed::since(head, settings)));
    let plain = Plain { wants, readers, overflow, address: None, listed };
    Ok(Some(Examined::Asked(Request::plain(head, facility.clone(), options, plain, settings))))
}

/// Whether a stream is for topics that its URL names, or for none: a page that only publishes is
/// told at least that the server is there. Where an application decides about the
/// relay's conns none is.
fn is_of_topics(head: &Head<'_>, facility: &str, settings: &Settings) -> bool {
    let may_be = facility.is_empty() && deciding::decider(settings).is_none();
    may_be && (Listed::is_in(head.query) || Options::read(head.query) == Ok(Options::default()))
}

/// What is decided about a good request to publish when it is known who asks.
pub(super) fn publishing(
    request: &Request<'_>,
    identity: &Identity,
    grant: Grant,
    settings: &Settings,
) -> Decision {
    if grant.publish.is_empty() {
        let text = "Nothing that this URL asks to publish is granted to you (see --allow); a plain \
                    GET of it says why.";
        return Decision::Refuse(request.refuse(403, &[], text, settings));
    }
    let (address, readers) = match &request.plain {
        Some(plain) => (plain.address, plain.readers.clone()),
        None => (None, Readers::Own),
    };
    let by = match &identity.user {
        Some(user) => Publisher::User(user.clone()),
        None => Publisher::at(address),
    };
    let (channels, granted) = (grant.publish, grant.granted);
    Decision::Publish(Publishing { channels, readers, granted, by })
}

/// Refuses what a browser sends for a page that does not say its origin, which cannot be judged:
/// with cookies it could be anybody's.
fn check_site(
    head: &Head<'_>,
    wants: Wants,
    origin: Option<&str>,
    settings: &Settings,
) -> Result<(), &'static str> {
    if origin.is_some() {
        return Ok(());
    }
    let site = head.header("sec-fetch-site");
    if site == Some(b"cross-site") && settings.allowed_origins != AllowedOrigins::Any {
        return Err("A page of another site asks for this and says no origin: ask with fetch or \
                    EventSource, and name the page's origin with --allowed-origins.");
    }
    let has_cookie = head.header("cookie").is_some();
    if wants == Wants::Publish && has_cookie && site != Some(b"same-origin") {
        return Err(
            "A POST with a Cookie must say that it comes from a page of this host, or from \
             which other: with Sec-Fetch-Site: same-origin, or with an Origin. Whoever is no \
             browser sends a token in its place.",
        );
    }
    Ok(())
}

/// The answer to a browser that asks before a page does.
fn permission(head: &Head<'_>, readers: &Readers) -> Frame {
    let named: Vec<&[u8]> = head.list("access-control-request-headers").collect();
    let is_name = |name: &&[u8]| http::is_token(name);
    let named = named.into_iter().filter(is_name).filter_map(|name| std::str::from_utf8(name).ok());
    let named = named.collect::<Vec<_>>().join(", ");
    let mut headers =
        vec![("Access-Control-Allow-Methods", "GET, POST"), ("Access-Control-Max-Age", "600")];
    if !named.is_empty() {
        headers.push(("Access-Control-Allow-Headers", &named));
    }
    headers.extend(readers.headers().into_iter().filter(|(name, _)| *name != "Vary"));
    headers.push(("Vary", "Origin, Access-Control-Request-Headers"));
    Frame::from(web::empty_response(200, &headers))
}

/// Whether the media type of streams is named, and not with a quality of 0.
fn accepts_events(head: &Head<'_>) -> bool {
    head.list("accept").any(|range| {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let is_named =
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case(EVENTS.as_bytes()));
        let is_zero = |part: &[u8]| {
            let value = part.strip_prefix(b"q=").or(part.strip_prefix(b"Q="));
            value.is_some_and(|value| value.iter().all(|byte| b"0.".contains(byte)))
        };
        is_named && !parts.any(is_zero)
    })
}

/// Whether a query has an option to publish.
fn publishes(query: &str) -> bool {
    let options = Options::parse(query);
    Audience::ALL.into_iter().any(|audience| options.publish(audience))
}

/// Whether a browser asks for a page of another origin if that may ask.
fn is_preflight(head: &Head<'_>) -> bool {
    let method = head.header("access-control-request-method");
    head.header("origin").is_some() && matches!(method, Some(b"GET" | b"POST"))
}

fn asks(head: &Head<'_>, name: &str, what: &[u8]) -> bool {
    head.list(name).any(|element| element.eq_ignore_ascii_case(what))
}
