//! L2: from a request head to a decision: an answer, a refusal, or a conn about to open.
//!
//! It knows HTTP, the upgrade, origins and who may do what; it has no conn, no hub and no broker in
//! its hands. Its rules: every refusal is a complete response whose text says what to do, and
//! nothing is granted that was not asked for, allowed and named.

use crate::access::channel::{self, Allow, Grant, Options};
use crate::access::identity::Identity;
use crate::access::permissions;
use crate::browser::settings::{PageContent, Refuse, Settings};
use crate::fanout::overflow::Overflow;
use crate::link::Frame;
use crate::link::Metrics;
use crate::proto::http::{self, Head, HeadError};
use crate::proto::ws::deflate::{self, Agreement, Compression};
use crate::proto::ws::upgrade;
use crate::proto::ws::{frame, message};

/// Longest facility: it is kept in memory, and named in the commands to Redis and their answers.
const MAX_FACILITY_BYTES: usize = 4096;

/// The header of a 101 that says which options were granted.
const GRANTED: &str = "X-Wsloop-Granted";

/// What is to be done about a request.
#[derive(Debug)]
pub enum Decision {
    /// Send this and close.
    Answer(Frame),
    /// Refuse, with this, and close.
    Refuse(Refusal),
    /// Open the conn, when the broker can.
    Open(Pending),
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
    /// What is done when it reads too slowly.
    pub overflow: Overflow,
    /// Its messages come back to it, and go nowhere else.
    pub echoes: bool,
}

/// A good request for a WebSocket, before it is known who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    facility: String,
    options: Options,
    agreed: Agreed,
}

/// What a 101 is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Agreed {
    accept: [u8; 28],
    protocol: Option<String>,
    deflate: Option<(Agreement, String)>,
    overflow: Overflow,
}

impl Asked {
    /// The 101 that says nothing of what is granted, to be followed by a refusal.
    pub fn accepted(&self) -> Frame {
        self.agreed.accepted(None)
    }
}

impl Agreed {
    /// The 101, with what is granted, if anything can be.
    fn accepted(&self, granted: Option<Options>) -> Frame {
        let extensions = self.deflate.as_ref().map(|(_, answer)| answer.as_str());
        let protocol = self.protocol.as_deref();
        let granted = granted.map(|options| options.to_string());
        let header = granted.as_deref().map(|granted| (GRANTED, granted));
        Frame::from(upgrade::accepted(&self.accept, protocol, extensions, header.as_slice()))
    }

    fn agreement(&self) -> Option<Agreement> {
        self.deflate.as_ref().map(|(agreement, _)| *agreement)
    }
}

/// What a request head alone decides.
#[derive(Debug)]
pub enum Examined {
    /// All that there is to decide.
    Decided(Decision),
    /// Nothing yet: it is to be found out who asks.
    Asked(Asked),
}

/// What to send to a conn that is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status, also for the log.
    pub status: u16,
    /// One or two sentences for the developer.
    pub text: String,
    /// Everything to send.
    pub bytes: Frame,
}

impl Pending {
    /// Whether it cannot be opened without the broker.
    pub fn needs_broker(&self) -> bool {
        !self.grant.subscribe.is_empty() || !self.grant.publish.is_empty()
    }
}

/// Decides about a request whose head is complete, as far as that can be without knowing who asks.
pub fn examine(head: &Head<'_>, settings: &Settings, metrics: &mut Metrics) -> Examined {
    let facility = channel::facility(head.path, &settings.url_prefix);
    let wants_upgrade = head.list("upgrade").any(|t| t.eq_ignore_ascii_case(b"websocket"));
    let echoes = settings.echo_path.as_deref() == Some(head.path);
    if facility.is_none() && !wants_upgrade && !echoes {
        return Examined::Decided(Decision::Answer(plain(head, settings, metrics)));
    }
    match knock(head, facility, echoes, settings, metrics) {
        Ok(examined) => examined,
        Err(refusal) => Examined::Decided(Decision::Refuse(refusal)),
    }
}

/// A request for a WebSocket, at the path of a facility or of echoes.
fn knock(
    head: &Head<'_>,
    facility: Option<String>,
    echoes: bool,
    settings: &Settings,
    metrics: &mut Metrics,
) -> Result<Examined, Refusal> {
    let upgrade = upgrade::check(head).map_err(|refusal| not_upgraded(&refusal, None, settings))?;
    let spoken = settings.subprotocols.as_deref();
    let protocol = upgrade::choose_protocol(upgrade.protocols(), spoken);
    let overflow = facility.as_deref().map_or(Overflow::Close, |name| settings.overflows.of(name));
    let compression = match (settings.compression, overflow) {
        // Of messages that refer to one another none can be skipped.
        (Compression::Dedicated, Overflow::Latest) => Compression::Shared,
        (compression, _) => compression,
    };
    let agreed = Agreed {
        accept: upgrade.accept,
        protocol: protocol.map(str::to_owned),
        deflate: deflate::negotiate(head.values(deflate::HEADER), compression),
        overflow,
    };
    let refused =
        |status, text| Err(refuse(status, &[], text, Some(&agreed.accepted(None)), settings));
    if let Err(refusal) = upgrade.check_origin(&settings.allowed_origins) {
        metrics.origins_refused_total += 1;
        if metrics.origins_refused_total == 1 {
            tracing::warn!("a page was refused: {refusal} (said once; the rest is counted)");
        }
        return Err(not_upgraded(&refusal, Some(&agreed.accepted(None)), settings));
    }
    if echoes {
        let (grant, agreement) = (Grant::default(), agreed.agreement());
        let accepted = agreed.accepted(None);
        let pending = Pending { grant, accepted, agreement, overflow, echoes };
        return Ok(Examined::Decided(Decision::Open(pending)));
    }
    let Some(facility) = facility else {
        let prefix = &settings.url_prefix;
        let text = format!("WebSockets are served below {prefix} (see --url-prefix).");
        return refused(404, text);
    };
    if facility.len() > MAX_FACILITY_BYTES {
        let text = format!("The facility, behind {}, is over 4096 bytes.", settings.url_prefix);
        return refused(414, text);
    }
    let options = Options::parse(upgrade.query);
    if channel::is_ambiguous(&facility, options) {
        let text = "With user, group or session options, the facility must have no colon in it.";
        return refused(400, text.to_owned());
    }
    Ok(Examined::Asked(Asked { facility, options, agreed }))
}

/// Decides about a good request when it is known who asks. Whoever told that may have narrowed what
/// can be granted. The echo path never gets here: nobody else is to be heard there.
pub fn admit(
    asked: Asked,
    identity: &Identity,
    narrowed_by: Option<Allow>,
    settings: &Settings,
    metrics: &mut Metrics,
) -> Decision {
    let Asked { facility, options, agreed } = asked;
    if settings.require_login && !permissions::is_logged_in(identity) {
        let text = "Only who is logged in may connect here (see --require-login): log in first.";
        let accepted = agreed.accepted(None);
        return Decision::Refuse(refuse(403, &[], text.to_owned(), Some(&accepted), settings));
    }
    let permitted = settings.rules.granted(&facility, options, identity, settings.allow);
    let permitted = narrowed_by.map_or(permitted, |allow| allow.permitted(permitted));
    let grant = channel::channels(&settings.prefix, &facility, options, permitted, identity);
    metrics.options_denied_total += u64::from(grant.denied.len());
    tracing::debug!(
        "{facility:?}: granted [{}] of [{options}], denied [{}] (see --allow)",
        grant.granted,
        grant.denied
    );
    Decision::Open(Pending {
        accepted: agreed.accepted(Some(grant.granted)),
        agreement: agreed.agreement(),
        overflow: agreed.overflow,
        grant,
        echoes: false,
    })
}

/// The refusal of bytes that are no request head.
pub fn bad_head(error: HeadError, settings: &Settings) -> Refusal {
    refuse(error.status(), &[], error.to_string(), None, settings)
}

/// The refusal of a request that could be served later; `accepted` is the 101 it would have had.
pub fn unavailable(text: &str, accepted: Option<&[u8]>, settings: &Settings) -> Refusal {
    refuse(503, &[("Retry-After", "5")], text.to_string(), accepted, settings)
}

/// The refusal of a request whose token is not valid.
pub fn unauthorized(text: &str, asked: &Asked, settings: &Settings) -> Refusal {
    let headers = [("WWW-Authenticate", "Bearer")];
    refuse(401, &headers, text.to_owned(), Some(&asked.accepted()), settings)
}

/// The refusal of a request in the words of the application, or because of what was heard of it.
pub fn turned_away(status: u16, text: &str, asked: &Asked, settings: &Settings) -> Refusal {
    let accepted = asked.accepted();
    match status {
        503 => unavailable(text, Some(&accepted), settings),
        _ => refuse(status, &[], text.to_owned(), Some(&accepted), settings),
    }
}

/// The refusal of a conn whose right to be here was withdrawn before it was open; `accepted` is the
/// 101 it would have had.
pub fn revoked(accepted: Option<&[u8]>, settings: &Settings) -> Refusal {
    refuse(403, &[], "This connection may no longer be here.".to_owned(), accepted, settings)
}

/// The refusal of a request that took too long to arrive.
pub fn too_late(settings: &Settings) -> Refusal {
    let text = "The request did not arrive within the time that a handshake may take.";
    refuse(408, &[], text.to_string(), None, settings)
}

/// The refusal of a conn that sent too much before it had its 101.
pub fn too_eager(accepted: Option<&[u8]>, settings: &Settings) -> Refusal {
    let text = "Wait for the 101 before sending messages; too many came before it.";
    refuse(400, &[], text.to_string(), accepted, settings)
}

fn not_upgraded(
    refusal: &upgrade::Refusal,
    accepted: Option<&[u8]>,
    settings: &Settings,
) -> Refusal {
    refuse(refusal.status(), refusal.headers(), refusal.to_string(), accepted, settings)
}

fn refuse(
    status: u16,
    headers: &[(&str, &str)],
    text: String,
    accepted: Option<&[u8]>,
    settings: &Settings,
) -> Refusal {
    let bytes = match (settings.refuse, accepted) {
        (Refuse::Close, Some(accepted)) => {
            let mut bytes = accepted.to_vec();
            bytes.extend_from_slice(&frame::encode_close(Some(4000 + status), &text));
            bytes
        }
        _ => text_response(status, headers, &text, false),
    };
    Refusal { status, text, bytes: Frame::from(bytes) }
}

/// A plain HTTP request: a page, the metrics, or what is wrong.
fn plain(head: &Head<'_>, settings: &Settings, metrics: &mut Metrics) -> Frame {
    metrics.requests_total += 1;
    let bare = head.method == "HEAD";
    if head.method != "GET" && !bare {
        let headers = [("Allow", "GET, HEAD")];
        let text = "Only GET and HEAD are answered here.";
        return Frame::from(text_response(405, &headers, text, false));
    }
    if settings.metrics_path.as_deref() == Some(head.path) {
        let text = metrics.prometheus();
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        return Frame::from(response(200, &[("Content-Type", kind)], text.as_bytes(), bare));
    }
    match settings.pages.iter().find(|page| page.path == head.path).map(|page| &page.content) {
        Some(PageContent::Redirect(to)) => {
            Frame::from(text_response(302, &[("Location", to)], to, bare))
        }
        Some(PageContent::Body { content_type, body }) => {
            let headers = [
                ("Content-Type", *content_type),
                ("Cache-Control", "no-cache"),
                ("X-Content-Type-Options", "nosniff"),
                // The same for everybody: pages of any origin may import the scripts.
                ("Access-Control-Allow-Origin", "*"),
                ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
            ];
            Frame::from(response(200, &headers, body, bare))
        }
        None => {
            let prefix = &settings.url_prefix;
            let text = format!("Nothing is served here; WebSockets are, below {prefix}.");
            Frame::from(text_response(404, &[], &text, bare))
        }
    }
}

/// Pages load only what this server serves. Some browsers do not take 'self' for WebSockets, so
/// those are allowed by their schemes.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

fn text_response(status: u16, headers: &[(&str, &str)], text: &str, bare: bool) -> Vec<u8> {
    let mut all = vec![("Content-Type", "text/plain; charset=utf-8")];
    all.extend_from_slice(headers);
    response(status, &all, format!("{text}\n").as_bytes(), bare)
}

fn response(status: u16, headers: &[(&str, &str)], body: &[u8], bare: bool) -> Vec<u8> {
    match bare {
        true => http::response_head(status, headers, body.len()),
        false => http::response(status, headers, body),
    }
}

/// The limits that every conn's reader is held to; whether it may compress is its own affair.
pub fn limits(settings: &Settings) -> message::Limits {
    message::Limits {
        role: frame::Role::Server,
        max_message: settings.max_message_size,
        max_fragments: settings.max_fragments,
        compression: false,
    }
}
