//! L2: a conn's first bytes: what its proxy says of it, then its request head.
//!
//! Bytes are collected until the head is complete. Then it is known who the client is, as far as
//! proxies are believed, and how many there are of its address; and what the head alone decides.

use std::borrow::Cow;
use std::net::IpAddr;

use super::conn::{Begun, Conn, Life, Unserved, Whence};
use super::context::Context;
use super::effect::Effect;
use super::handshake::{self, Decision, Examined, Request};
use super::life::is_bare;
use super::posting::Post;
use super::refusal::{self, Refusal};
use super::settings::Settings;
use crate::access::crowds::Network;
use crate::access::proxies::{Client, Transport, Via};
use crate::access::sources::{Unidentified, WhoAsks};
use crate::link::LinkId;
use crate::proto::http::{self, Scheme};
use crate::proto::proxy::parse_proxy;
use crate::web;
use crate::web::admin::Inspect;
use crate::web::upstream::{self, Asker, Forwarded, Unforwarded};

impl Conn {
    /// All that it sends and hears from here on goes by TLS.
    pub(crate) fn secured(&mut self, cx: &mut Context) {
        cx.metrics.tls_handshakes_total += 1;
        if let Life::Head(head) = &mut self.life {
            head.whence.way = Transport::Secure;
        }
    }

    /// It speaks no TLS, and is to be told that it must.
    pub(crate) fn exposed(&mut self, cx: &mut Context) {
        cx.metrics.tls_missing_total += 1;
        if let Life::Head(head) = &mut self.life {
            head.whence.way = Transport::Exposed;
        }
    }

    /// Bytes of a request head: decides when it is whole, and keeps it until then.
    pub(super) fn on_head(&mut self, link: LinkId, bytes: &[u8], cx: &mut Context) {
        let Life::Head(head) = &mut self.life else { return };
        if head.rested && head.rest.is_empty() {
            // The time of its next request begins with the first byte of that.
            head.began = cx.now.tick();
        }
        let since = head.began;
        let mut kept = std::mem::take(&mut head.rest);
        let mut whole = match kept.is_empty() {
            true => Cow::Borrowed(bytes),
            false => {
                kept.extend_from_slice(bytes);
                Cow::Owned(kept)
            }
        };
        let before = Network::of(head.whence.address);
        let (whence, length) = match announced(link, &whole, head.whence, cx) {
            Ok(Some(announced)) => announced,
            Ok(None) => return head.rest = whole.into_owned(),
            Err(refusal) => return self.refuse(link, refusal, cx),
        };
        if length > 0 {
            whole = Cow::Owned(whole[length..].to_vec());
        }
        let mut room = http::header_room();
        match examine(link, &whole, whence, &mut room, cx) {
            Ok(None) => {
                (head.whence, head.rest) = (whence, whole.into_owned());
                if before != Network::of(whence.address) {
                    cx.put(link, Effect::Moved(before));
                }
            }
            Ok(Some((Identified::Inspects(asked), _))) => cx.put(link, Effect::Inspect(asked)),
            Ok(Some((Identified::Decided(Decision::Refuse(refusal)), length)))
                if is_bare(&whole) =>
            {
                self.refuse(link, refusal.without_body(), cx);
                self.keep_early(link, &whole[length..], cx);
            }
            Ok(Some((examined, length))) => {
                if let Identified::Elsewhere(whence, mut request) = examined {
                    head.whence = whence;
                    request.early = whole[length..].to_vec();
                    return cx.put(link, Effect::Forward(request));
                }
                let mut begun = Begun { since, ..Begun::default() };
                if let Identified::By(request, _) = &examined
                    && request.publishes()
                {
                    match Post::begin(&whole[..length], head.whence, &cx.settings) {
                        Ok(post) => begun.post = Some(Box::new(post)),
                        Err((status, text)) => {
                            let refusal = request.refuse(status, &[], &text, &cx.settings);
                            return self.refuse(link, refusal, cx);
                        }
                    }
                }
                self.on_examined(link, examined, begun, cx);
                self.keep_early(link, &whole[length..], cx);
            }
            Err(refusal) if is_bare(&whole) => self.refuse(link, refusal.without_body(), cx),
            Err(refusal) => self.refuse(link, refusal, cx),
        }
    }
}

/// What a head says of who asks.
pub(super) enum Identified<'b> {
    /// All that there is to decide.
    Decided(Decision),
    /// It asks about the server itself.
    Inspects(Inspect),
    /// What is asked for, and who asks, or what is to be looked up to know that.
    By(Request<'b>, WhoAsks),
    /// That it is answered elsewhere, and whence it comes.
    Elsewhere(Whence, Box<Forwarded>),
}

/// Takes what a proxy says of the connection before the request, of so many bytes: where it comes
/// from now, or `None` while that is incomplete.
fn announced(
    link: LinkId,
    bytes: &[u8],
    whence: Whence,
    cx: &mut Context,
) -> Result<Option<(Whence, usize)>, Refusal> {
    if whence.via != Via::Announcing {
        return Ok(Some((whence, 0)));
    }
    let announced = parse_proxy(bytes).map_err(|error| {
        cx.metrics.proxies_refused_total += 1;
        if cx.said.proxy.first() {
            let proxy = whence.address.map_or("a Unix socket".to_owned(), |ip| ip.to_string());
            tracing::warn!("a proxy was refused, {proxy}: {error} (said once; then counted)");
        }
        refusal::unannounced(error, &cx.settings)
    })?;
    let Some((source, length)) = announced else { return Ok(None) };
    let Some(source) = source else {
        // It may be the proxy's own, or of a client that it cannot name: nobody counts for it, and
        // the headers that came through the proxy are not the proxy's.
        return Ok(Some((Whence { via: Via::Direct, ..whence }, length)));
    };
    let address = Some(source);
    let mut whence = Whence { address, via: cx.settings.proxies.via_announced(source), ..whence };
    tracing::debug!("{link} comes from {}, as its proxy says", Shown(address));
    if whence.via == Via::Direct {
        whence.count(link, cx);
    }
    Ok(Some((whence, length)))
}

impl Whence {
    /// It is known whom a trusted proxy passes on, who counts from here on: there may be too many
    /// of that address.
    fn count(&mut self, link: LinkId, cx: &mut Context) {
        if let Some(address) = self.address {
            let network = Network::of(Some(address));
            if cx.crowds.excess(network) > 0 {
                self.unserved.get_or_insert(Unserved::Crowded);
            }
            if !cx.handshake_rates.allows(network, cx.now) {
                self.unserved.get_or_insert(Unserved::Hasty);
            }
            cx.crowds.enter(link, network);
        }
    }
}

/// An address for the log.
struct Shown(Option<IpAddr>);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => write!(f, "{}", address.to_canonical()),
            None => f.write_str("a Unix socket"),
        }
    }
}

/// What is asked about the server itself, if anything is.
fn inspection(head: &http::Head<'_>, whence: Whence, settings: &Settings) -> Option<Inspect> {
    let admin = settings.admin.as_ref().filter(|_| whence.operator);
    let health = settings.health_path.as_deref();
    web::admin::asked(head, admin, &settings.allowed_hosts, health)
}

/// Looks at the request at the start of `bytes`, of which it takes so many; `None` while it is
/// incomplete.
fn examine<'b>(
    link: LinkId,
    bytes: &'b [u8],
    mut whence: Whence,
    room: &'b mut http::HeaderRoom<'b>,
    cx: &mut Context,
) -> Result<Option<(Identified<'b>, usize)>, Refusal> {
    let head = http::parse_head_in(bytes, cx.settings.max_head_size, room)
        .map_err(|error| refusal::bad_head(error, &cx.settings))?;
    let Some((mut head, length)) = head else { return Ok(None) };
    if let Some(asked) = inspection(&head, whence, &cx.settings) {
        cx.access_log.asked(link, head.path, whence.address);
        cx.metrics.requests_total += 1;
        return Ok(Some((Identified::Inspects(asked), length)));
    }
    let before = whence;
    let client = cx.settings.proxies.client(&head, (whence.way, whence.via), whence.address);
    tracing::debug!("{link} asks: {} {:?}, {}", head.method, head.path, Shown(client.address));
    cx.access_log.asked(link, head.path, client.address);
    if whence.via == Via::Forwarding && !cx.settings.proxies.trusted.has(client.address) {
        whence.address = client.address;
        whence.count(link, cx);
    }
    // The host that the page's origin is compared with is the one that the browser knows.
    head.authority = client.host.or(head.authority);
    if whence.way == Transport::Exposed {
        let refusal = refusal::exposed(&head, &cx.settings);
        return Ok(Some((Identified::Decided(Decision::Refuse(refusal)), length)));
    }
    let examined = handshake::examine(&head, cx);
    let refused = |refusal| Ok(Some((Identified::Decided(Decision::Refuse(refusal)), length)));
    if let Some(why) = whence.unserved {
        return refused(refuse_unserved(why, examined, cx));
    }
    let identified = match examined {
        Examined::Forwarded(upstream) => {
            let (asker, to) = (asker(&head, &client, whence), &cx.settings.front.upstreams);
            let to = (upstream, &to[upstream]);
            elsewhere(before, upstream::forward(&head, &bytes[..length], asker, to), cx)
        }
        Examined::Requested(endpoint) => {
            let asker = asker(&head, &client, whence);
            elsewhere(before, upstream::ask(&head, &bytes[..length], asker, endpoint), cx)
        }
        Examined::Decided(decision) => Identified::Decided(decision),
        Examined::Asked(request) => {
            let sources = &cx.settings.sources;
            return match sources.identify(&head, &client, cx.now.unix_ms, &mut cx.metrics) {
                Ok(who) => {
                    let request = request.came_from(client.address);
                    Ok(Some((Identified::By(request, who), length)))
                }
                Err(why) => refused(refuse_unidentified(why, &request, cx)),
            };
        }
    };
    Ok(Some((identified, length)))
}

/// Whose request it is for who answers it. What nobody has said who is believed is not said of us.
fn asker(head: &http::Head<'_>, client: &Client<'_>, whence: Whence) -> Asker {
    let scheme = match (whence.via, whence.way) {
        (Via::Forwarding, _) => client.scheme(head),
        (_, Transport::Secure) => Some(Scheme::Https),
        _ => None,
    };
    Asker { address: client.address, scheme: scheme.unwrap_or(Scheme::Http) }
}

/// A request from there that goes on, or why it does not.
fn elsewhere(
    whence: Whence,
    request: Result<Forwarded, Unforwarded>,
    cx: &Context,
) -> Identified<'static> {
    match request {
        Ok(request) => Identified::Elsewhere(whence, Box::new(request)),
        Err(Unforwarded { status, text }) => {
            let refusal = refusal::refuse(status, &[], text, None, &cx.settings);
            Identified::Decided(Decision::Refuse(refusal))
        }
    }
}

fn refuse_unserved(why: Unserved, examined: Examined<'_>, cx: &mut Context) -> Refusal {
    cx.metrics.conns_full_total += u64::from(why == Unserved::Full);
    cx.metrics.conns_crowded_total += u64::from(why == Unserved::Crowded);
    cx.metrics.conns_hasty_total += u64::from(why == Unserved::Hasty);
    let accepted = match examined {
        Examined::Decided(Decision::Open(pending)) => Some(pending.accepted),
        Examined::Decided(Decision::Answer(_) | Decision::Refuse(_) | Decision::Publish(_))
        | Examined::Forwarded(_)
        | Examined::Requested(_) => None,
        Examined::Asked(request) if request.plain.is_some() => {
            let headers = [refusal::RETRY_AFTER];
            return request.refuse(why.status(), &headers, why.text(), &cx.settings);
        }
        Examined::Asked(request) => request.accepted(),
    };
    refusal::unserved(why.status(), why.text(), accepted.as_deref(), &cx.settings)
}

fn refuse_unidentified(why: Unidentified, request: &Request<'_>, cx: &mut Context) -> Refusal {
    match why {
        Unidentified::Token(error) => {
            cx.metrics.tokens_refused_total += 1;
            if cx.said.token.first() {
                tracing::info!("a token was refused: {error} (said once; then counted)");
            }
            let text = format!("The token is not valid: {error}.");
            refusal::unauthorized(&text, request, &cx.settings)
        }
        Unidentified::Unaskable => {
            let text = "The application cannot be asked about this request.";
            refusal::turned_away(400, text, request, &cx.settings)
        }
    }
}
