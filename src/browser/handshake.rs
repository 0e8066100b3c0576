//! L2: from a request head to a decision: an answer, a refusal, or a conn about to open.
//!
//! It knows HTTP, the upgrade, origins and who may do what; it has no conn, no hub and no broker in
//! its hands. Its rules: every refusal is a complete response whose text says what to do, and
//! nothing is granted that was not asked for, allowed and named.

use super::settings::{Refuse, Settings};
use crate::access::channel::{self, Allow, Grant, Options};
use crate::access::identity::Identity;
use crate::access::permissions;
use crate::fanout::overflow::Overflow;
use crate::link::Frame;
use crate::link::Metrics;
use crate::proto::http::{Head, HeadError};
use crate::proto::ws::deflate::{self, Agreement, Compression};
use crate::proto::ws::frame;
use crate::proto::ws::upgrade;
use crate::web::{self, Site};

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
pub struct Request {
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

impl Request {
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
    Asked(Request),
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
        let site = Site {
            pages: &settings.pages,
            metrics_path: settings.metrics_path.as_deref(),
            url_prefix: &settings.url_prefix,
        };
        return Examined::Decided(Decision::Answer(web::answer(head, &site, metrics)));
    }
    match check(head, facility, echoes, settings, metrics) {
        Ok(examined) => examined,
        Err(refusal) => Examined::Decided(Decision::Refuse(refusal)),
    }
}

/// A request for a WebSocket, at the path of a facility or of echoes.
fn check(
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
    Ok(Examined::Asked(Request { facility, options, agreed }))
}

/// Decides about a good request when it is known who asks. Whoever told that may have narrowed what
/// can be granted. The echo path never gets here: nobody else is to be heard there.
pub fn admit(
    request: Request,
    identity: &Identity,
    narrowed_by: Option<Allow>,
    settings: &Settings,
    metrics: &mut Metrics,
) -> Decision {
    let Request { facility, options, agreed } = request;
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
pub fn unauthorized(text: &str, request: &Request, settings: &Settings) -> Refusal {
    let headers = [("WWW-Authenticate", "Bearer")];
    refuse(401, &headers, text.to_owned(), Some(&request.accepted()), settings)
}

/// The refusal of a request in the words of the application, or because of what was heard of it.
pub fn turned_away(status: u16, text: &str, request: &Request, settings: &Settings) -> Refusal {
    let accepted = request.accepted();
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
        _ => web::text_response(status, headers, &text, false),
    };
    Refusal { status, text, bytes: Frame::from(bytes) }
}
