//! L2: from a request head to a decision: an answer, a refusal, or a conn about to open.
//!
//! It knows HTTP, the upgrade, origins and who may do what; it has no conn, no hub and no broker in
//! its hands. Its rules: every refusal is a complete response whose text says what to do, and
//! nothing is granted that was not asked for, allowed and named.

use std::borrow::Cow;
use std::net::IpAddr;

use super::context::Context;
use super::deciding::{self, Wanted};
use super::endpoint::{self, Addressee, ConnRequest};
use super::host;
use super::plain::{self, Plain, Wants};
use super::refusal::{GRANTED, Refusal, not_upgraded, readable_by, refuse};
use super::settings::{CompressionFor, Settings};
use super::special::{self, Special, is_own};
use super::topics::Topics;
use crate::access::channel::{self, Grant, Options};
use crate::fanout::overflow::Overflow;
use crate::link::{Frame, LeftOut, Metrics, Now, SaidRarely};
use crate::proto::http::{self, Head};
use crate::proto::topics::WSLOOP_1;
use crate::proto::ws::deflate::{self, Agreement, Compression};
use crate::proto::ws::upgrade;
use crate::web::upstream::Way;
use crate::web::{self, Site};

/// Longest facility: it is kept in memory, and named in the commands to Redis and their answers.
pub(super) const MAX_FACILITY_BYTES: usize = 512;

/// What is to be done about a request.
#[derive(Debug)]
pub enum Decision {
    /// Send this and close.
    Answer(Frame),
    /// Refuse, with this, and close.
    Refuse(Refusal),
    /// Open the conn, when the broker can.
    Open(Pending),
    /// Publish the body, when that is there.
    Publish(plain::Publishing),
}

/// A good request for a WebSocket.
#[derive(Debug)]
pub struct Pending {
    /// What it may do.
    pub grant: Grant,
    /// The 101 to send.
    pub accepted: Frame,
    /// How messages are compressed, if they are.
    pub agreement: Option<Agreement>,
    /// It is a stream of events.
    pub events: bool,
    /// What is done when it reads too slowly.
    pub overflow: Overflow,
    /// Whom its messages are for.
    pub(crate) to: Addressee,
    /// What the application is told, if it is an endpoint's, or decides about it.
    pub request: Option<Box<ConnRequest>>,
    /// What it wants of the relay, if the application decides about that.
    pub wanted: Option<Box<Wanted>>,
    /// What it has that speaks `wsloop.1`.
    pub(crate) topics: Option<Box<Topics>>,
}

/// A good request for a WebSocket, or about one, before it is known who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'b> {
    pub(super) facility: Cow<'b, str>,
    pub(super) options: Options,
    /// What it is for that has no facility.
    pub(super) special: Option<Special>,
    /// The page that asks, as it says.
    pub(super) origin: Option<Cow<'b, str>>,
    /// It asks with HEAD: no answer has a body.
    bare: bool,
    /// What the application is told, if it is for an endpoint, or decides about it.
    pub(super) told: Option<Box<ConnRequest>>,
    /// What the 101 is made of; nothing when the request is plain HTTP.
    pub(super) agreed: Option<Agreed>,
    /// What plain HTTP is for; nothing when it is told what a WebSocket would be granted.
    pub(super) plain: Option<Box<Plain>>,
}

/// What a 101 is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    accept: [u8; 28],
    protocol: Option<String>,
    deflate: Option<(Agreement, String)>,
    overflow: Overflow,
}

impl<'b> Request<'b> {
    /// The same, of which nothing is borrowed: to be kept until it is known who asks.
    pub(super) fn into_owned(self) -> Request<'static> {
        let facility = Cow::Owned(self.facility.into_owned());
        let origin = self.origin.map(|origin| Cow::Owned(origin.into_owned()));
        let Request { options, special, bare, told, agreed, plain, .. } = self;
        Request { facility, options, special, origin, bare, told, agreed, plain }
    }

    fn special(special: Special, head: &Head<'b>, agreed: Option<Agreed>) -> Request<'b> {
        let (special, bare) = (Some(special), head.method == "HEAD");
        let (facility, options) = (Cow::Borrowed(""), Options::default());
        Request { facility, options, special, origin: None, bare, told: None, agreed, plain: None }
    }

    /// A request that is no upgrade and is served all the same.
    pub(super) fn plain(
        head: &Head<'b>,
        facility: Cow<'b, str>,
        options: Options,
        plain: Plain,
        settings: &Settings,
    ) -> Request<'b> {
        let asks = plain.wants == Wants::Stream && deciding::decider(settings).is_some();
        let told = asks.then(|| Box::new(ConnRequest::of(head, std::iter::empty())));
        let bare = head.method == "HEAD";
        let plain = Some(Box::new(plain));
        let (special, origin, agreed) = (None, None, None);
        Request { facility, options, special, origin, bare, told, agreed, plain }
    }

    /// A stream of topics.
    pub(super) fn of_topics(head: &Head<'b>, plain: Plain) -> Request<'b> {
        let plain = Some(Box::new(plain));
        Request { plain, ..Request::special(Special::Topics, head, None) }
    }

    /// It comes from there.
    pub(super) fn came_from(mut self, address: Option<IpAddr>) -> Request<'b> {
        self.told.iter_mut().for_each(|told| told.address = address);
        self.plain.iter_mut().for_each(|plain| plain.address = address);
        self
    }

    /// Whether it publishes its body.
    pub(super) fn publishes(&self) -> bool {
        self.plain.as_ref().is_some_and(|plain| plain.wants == Wants::Publish)
    }

    /// Whether it is more than a question what a WebSocket would be granted.
    pub(super) fn is_served(&self) -> bool {
        self.agreed.is_some() || self.plain.is_some()
    }

    /// What it would be answered with that may be granted, how its messages are compressed, and
    /// what is done when it reads too slowly; nothing for who is only told that.
    pub(super) fn opening(
        &self,
        granted: Option<Options>,
    ) -> Option<(Frame, Option<Agreement>, Overflow)> {
        match (&self.agreed, &self.plain) {
            (Some(agreed), _) => {
                Some((agreed.accepted(granted), agreed.agreement(), agreed.overflow))
            }
            (None, Some(plain)) => Some((plain.head(granted), None, plain.overflow())),
            (None, None) => None,
        }
    }

    /// The 101 that says nothing of what is granted, to be followed by a refusal; nothing when no
    /// WebSocket is asked for.
    pub fn accepted(&self) -> Option<Frame> {
        self.agreed.as_ref().map(|agreed| agreed.accepted(None))
    }

    /// Bytes that it takes besides itself.
    pub(super) fn held_bytes(&self) -> usize {
        let plain = self.plain.as_ref().map_or(0, |plain| plain.held_bytes());
        self.facility.len() + self.origin.as_ref().map_or(0, |origin| origin.len()) + plain
    }

    /// Whether it is for topics, each of which is decided about by itself.
    pub(super) fn is_for_topics(&self) -> bool {
        self.special == Some(Special::Topics)
    }

    /// Whether it asks with HEAD.
    pub fn is_bare(&self) -> bool {
        self.bare
    }

    /// The refusal of it.
    pub(super) fn refuse(
        &self,
        status: u16,
        headers: &[(&str, &str)],
        text: &str,
        settings: &Settings,
    ) -> Refusal {
        let readable = match &self.plain {
            Some(plain) => plain.readers.headers(),
            None => readable_by(self.plain_origin()),
        };
        let headers = [headers, &readable].concat();
        let accepted = self.accepted();
        let refusal = refuse(status, &headers, text.to_owned(), accepted.as_deref(), settings);
        if self.bare { refusal.without_body() } else { refusal }
    }

    /// The origin of a page that reads the answer to plain HTTP.
    pub(super) fn plain_origin(&self) -> Option<&str> {
        self.origin.as_deref().filter(|_| self.agreed.is_none())
    }
}

impl Agreed {
    /// The 101, with what is granted, if anything can be.
    fn accepted(&self, granted: Option<Options>) -> Frame {
        let extensions = self.deflate.as_ref().map(|(_, answer)| answer.as_str());
        let protocol = self.protocol.as_deref();
        let mut out = upgrade::begin_accepted(&self.accept, protocol, extensions);
        if let Some(options) = granted {
            http::push_list(&mut out, GRANTED, options.names());
        }
        out.extend_from_slice(b"\r\n");
        Frame::from(out)
    }

    /// A WebSocket whose messages come back.
    pub(super) fn echo(&self) -> Pending {
        let (accepted, agreement) = (self.accepted(None), self.agreement());
        let (grant, overflow, to) = (Grant::default(), self.overflow, Addressee::Itself);
        let (events, request, wanted, topics) = (false, None, None, None);
        Pending { grant, accepted, agreement, events, overflow, to, request, wanted, topics }
    }

    /// A WebSocket that speaks `wsloop.1`.
    pub(super) fn of_topics(&self, topics: Box<Topics>) -> Pending {
        Pending { to: Addressee::Topics, topics: Some(topics), ..self.echo() }
    }

    /// A WebSocket whose messages are for that endpoint.
    pub(super) fn of_endpoint(&self, endpoint: u8, request: Option<Box<ConnRequest>>) -> Pending {
        Pending { to: Addressee::Endpoint(endpoint), request, ..self.echo() }
    }

    fn agreement(&self) -> Option<Agreement> {
        self.deflate.as_ref().map(|(agreement, _)| *agreement)
    }
}

/// What a request head alone decides.
#[derive(Debug)]
pub enum Examined<'b> {
    /// All that there is to decide.
    Decided(Decision),
    /// Nothing yet: it is to be found out who asks.
    Asked(Request<'b>),
    /// That the upstream of this number is to answer.
    Forwarded(usize),
    /// That the application of this endpoint is to answer a plain request.
    Requested(usize),
}

/// Decides about a request whose head is complete, as far as that can be without knowing who asks.
pub fn examine<'b>(head: &Head<'b>, cx: &mut Context) -> Examined<'b> {
    let settings = &cx.settings;
    let facility = channel::facility(head.path, &settings.url_prefix);
    let wants_upgrade = || head.list("upgrade").any(|t| t.eq_ignore_ascii_case(b"websocket"));
    let special = special::of(head, facility.as_deref(), settings, wants_upgrade);
    let plain = match special {
        None if settings.endpoints.is_empty() => None,
        None if is_own(head.path, settings) || wants_upgrade() => None,
        None => endpoint::of(head.path, facility.is_some(), settings),
        Some(_) => None,
    };
    let requested = plain.filter(|(_, of)| of.requests.is_some()).map(|(at, _)| at);
    let is_endpoint = plain.is_some();
    let facility = facility.filter(|_| special.is_none() && !is_endpoint);
    let is_plain = facility.is_none() && special.is_none() && !wants_upgrade();
    if let Some(text) = host::misdirected(head, !is_plain, cx) {
        let refusal = refuse(421, &[], text, None, &cx.settings);
        return Examined::Decided(Decision::Refuse(refusal));
    }
    let settings = &cx.settings;
    let is_elsewhere = facility.is_none() && special.is_none() && !is_own(head.path, settings);
    let way = if is_elsewhere { settings.front.way(head.path) } else { None };
    if is_plain || way.is_some() {
        if !upgrade::has_host(head) {
            let refusal = not_upgraded(&upgrade::UpgradeError::Host, None, settings);
            return Examined::Decided(Decision::Refuse(refusal));
        }
        if let Some(endpoint) = requested {
            return Examined::Requested(endpoint);
        }
        match way {
            Some(Way::To(upstream)) => return Examined::Forwarded(upstream),
            Some(Way::Hidden) => {
                let text = "Nothing is served here.".to_owned();
                let refusal = refuse(404, &[], text, None, settings);
                return Examined::Decided(Decision::Refuse(refusal));
            }
            None if is_endpoint => {
                let refusal = not_upgraded(&upgrade::UpgradeError::NoUpgrade, None, settings);
                return Examined::Decided(Decision::Refuse(refusal));
            }
            None => {}
        }
        if settings.require_login && settings.metrics_path.as_deref() == Some(head.path) {
            return Examined::Asked(Request::special(Special::Metrics, head, None));
        }
        let site = Site {
            pages: &settings.pages,
            metrics_path: settings.metrics_path.as_deref(),
            url_prefix: &settings.url_prefix,
        };
        return Examined::Decided(Decision::Answer(web::answer(head, &site, &mut cx.metrics)));
    }
    match check(head, facility, special, cx) {
        Ok(examined) => examined,
        Err(refusal) => Examined::Decided(Decision::Refuse(refusal)),
    }
}

/// A request for a WebSocket, at the path of a facility, of echoes or of an endpoint.
fn check<'b>(
    head: &Head<'b>,
    facility: Option<Cow<'b, str>>,
    special: Option<Special>,
    cx: &mut Context,
) -> Result<Examined<'b>, Refusal> {
    let checked = upgrade::check(head);
    if let Some(facility) = &facility
        && checked.is_err()
        && let Some(examined) = plain::check(head, facility, cx)?
    {
        return Ok(examined);
    }
    let settings = &cx.settings;
    let upgrade = match checked {
        // Echoes are asked for and given, nothing about them is to be found out.
        Err(upgrade::UpgradeError::NoUpgrade) if facility.is_some() => None,
        checked => Some(checked.map_err(|refusal| not_upgraded(&refusal, None, settings))?),
    };
    let overflow = facility.as_deref().map_or(Overflow::Close, |name| settings.overflows.of(name));
    let agreed = upgrade.as_ref().map(|upgrade| agree(head, upgrade, overflow, settings));
    let upgrade = match upgrade {
        Some(upgrade) => upgrade,
        None => upgrade::inquiry(head).map_err(|error| not_upgraded(&error, None, settings))?,
    };
    let plain_origin = upgrade.origin.filter(|_| agreed.is_none());
    let refused = |agreed: Option<Agreed>, status, text| {
        let accepted = agreed.map(|agreed| agreed.accepted(None));
        let headers = readable_by(plain_origin);
        Err(refuse(status, &headers, text, accepted.as_deref(), settings))
    };
    let endpoint = special.and_then(|special| special.endpoint(settings));
    if let Err(refusal) = upgrade.check_origin(&settings.allowed_origins)
        && !endpoint.is_some_and(|endpoint| endpoint.any_origin)
    {
        note_origin(&refusal, (&mut cx.metrics, &mut cx.said.origin), cx.now);
        return refused(agreed, refusal.status(), refusal.to_string());
    }
    if let Some(special) = special {
        let Some(agreed) = agreed else {
            return Err(not_upgraded(&upgrade::UpgradeError::NoUpgrade, None, settings));
        };
        return Ok(of_special(special, head, &upgrade, agreed, settings));
    }
    let Some(facility) = facility else {
        let text = match &settings.url_prefix[..] {
            "" => "No WebSockets are served here.".to_owned(),
            prefix => format!("WebSockets are served below {prefix} (see --url-prefix)."),
        };
        return refused(agreed, 404, text);
    };
    let options = match options(&facility, upgrade.query, settings) {
        Ok(options) => options,
        Err((status, text)) => return refused(agreed, status, text),
    };
    let origin = upgrade.origin.map(Cow::Borrowed);
    let bare = head.method == "HEAD";
    let asks = agreed.is_some() && deciding::decider(settings).is_some();
    let told = asks.then(|| Box::new(ConnRequest::of(head, upgrade.protocols())));
    let (special, plain) = (None, None);
    Ok(Examined::Asked(Request { facility, options, special, origin, bare, told, agreed, plain }))
}

/// The options of a query for that facility, or why they cannot be: a status, and what is said.
pub(super) fn options(
    facility: &str,
    query: &str,
    settings: &Settings,
) -> Result<Options, (u16, String)> {
    if facility.len() > MAX_FACILITY_BYTES {
        let text = format!("The facility, behind {}, is over 512 bytes.", settings.url_prefix);
        return Err((414, text));
    }
    let options = Options::read(query).map_err(|(unknown, nearest)| {
        (400, format!("There is no option {unknown:?}; the nearest is {nearest}."))
    })?;
    if channel::is_ambiguous(facility, options) {
        let text = "With user, group or session options, the facility must have no colon in it.";
        return Err((400, text.to_owned()));
    }
    Ok(options)
}

/// A page was refused for its origin.
pub(super) fn note_origin(
    refusal: &upgrade::UpgradeError,
    (metrics, said): (&mut Metrics, &mut SaidRarely),
    now: Now,
) {
    metrics.origins_refused_total += 1;
    if let Some(left_out) = said.may(now.mono_ms) {
        tracing::warn!("a page was refused: {refusal}{}", LeftOut(left_out));
    }
}

/// A good request for a WebSocket that has no facility.
fn of_special<'b>(
    special: Special,
    head: &Head<'b>,
    upgrade: &upgrade::Upgrade<'b>,
    mut agreed: Agreed,
    settings: &Settings,
) -> Examined<'b> {
    if special == Special::Echo && !settings.require_login {
        return Examined::Decided(Decision::Open(agreed.echo()));
    }
    if special == Special::Topics {
        agreed.protocol = Some(WSLOOP_1.to_owned());
        if Options::read(upgrade.query) != Ok(Options::default()) {
            let text = "A WebSocket that speaks wsloop.1 has no options in its URL: it subscribes.";
            let accepted = agreed.accepted(None);
            let refusal = refuse(400, &[], text.to_owned(), Some(&accepted), settings);
            return Examined::Decided(Decision::Refuse(refusal));
        }
    }
    let Some(endpoint) = special.endpoint(settings) else {
        return Examined::Asked(Request::special(special, head, Some(agreed)));
    };
    agreed.protocol.take_if(|_| endpoint.decides);
    let told = Some(Box::new(ConnRequest::of(head, upgrade.protocols())));
    Examined::Asked(Request { told, ..Request::special(special, head, Some(agreed)) })
}

/// What a WebSocket is agreed on with who asks for it.
fn agree(
    head: &Head<'_>,
    upgrade: &upgrade::Upgrade<'_>,
    overflow: Overflow,
    settings: &Settings,
) -> Agreed {
    let spoken = settings.subprotocols.as_deref();
    let protocol = upgrade::choose_protocol(upgrade.protocols(), spoken);
    let compression = match (settings.compression, overflow) {
        _ if settings.compression_for == CompressionFor::Browsers && !is_browsers(head) => {
            Compression::Off
        }
        // Of messages that refer to one another none can be skipped.
        (Compression::Dedicated, Overflow::Latest) => Compression::Shared,
        (compression, _) => compression,
    };
    Agreed {
        accept: upgrade.accept,
        protocol: protocol.map(str::to_owned),
        deflate: deflate::negotiate(
            head.values(deflate::HEADER),
            compression,
            settings.compression_window,
        ),
        overflow,
    }
}

/// Whether a browser asks, by a sign that all of them leave and hardly any other client.
fn is_browsers(head: &Head<'_>) -> bool {
    let is_browser = |agent: &[u8]| agent.starts_with(b"Mozilla/");
    head.header("Origin").is_some()
        || head.header("Sec-Fetch-Mode").is_some()
        || head.header("User-Agent").is_some_and(is_browser)
}
