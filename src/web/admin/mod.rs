//! L2: what operators and balancers ask a server about itself: whether it is well, ready, and what
//! it does.
//!
//! It knows requests; what is asked that only the server knows is said as an [`Inspect`]. Its rule:
//! nothing but the health path is answered where browsers come, and nobody is answered on the
//! operators' own address whose Host a page may have been given.

pub(crate) mod summed;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{CONTENT_SECURITY_POLICY, response, text_response};
use crate::access::hosts::{self, AllowedHosts};
use crate::link::Frame;
use crate::proto::http::Head;
use crate::proto::ws::upgrade;

const INDEX: &str = include_str!("index.html");
const SCRIPT: &str = include_str!("admin.js");
const STYLE: &str = include_str!("admin.css");

/// The operators' own address.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Admin {
    /// What has to be said there.
    pub token: Option<Vec<u8>>,
}

impl std::fmt::Debug for Admin {
    /// Leaves the token out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Admin {{ token: {} }}", self.token.is_some())
    }
}

/// Something that is asked about the server, and without a body where it is `bare`.
#[derive(Debug)]
pub enum Inspect {
    /// It needs no looking at.
    Answer(Frame),
    /// Whether browsers are to be sent here.
    Ready {
        /// By HEAD.
        bare: bool,
    },
    /// All that is counted.
    Metrics {
        /// By HEAD.
        bare: bool,
    },
    /// Who listens to what.
    Conns {
        /// By HEAD.
        bare: bool,
    },
}

/// What a request asks, if it has come where operators do, or is for the path of balancers.
pub(crate) fn asked(
    head: &Head<'_>,
    admin: Option<&Admin>,
    hosts: &AllowedHosts,
    health: Option<&str>,
) -> Option<Inspect> {
    let bare = head.method == "HEAD";
    let Some(admin) = admin else {
        // Whatever balancers ask with. It is read only where no body follows that is not read.
        let is_asked = ["GET", "HEAD", "OPTIONS"].contains(&head.method);
        return (health == Some(head.path) && is_asked).then_some(Inspect::Ready { bare });
    };
    let answer = |status, headers: &[(&str, &str)], text: &str| {
        let answer = text_response(status, headers, text, bare);
        Some(Inspect::Answer(Frame::from(answer)))
    };
    let is_named = head.header("host").is_some();
    let host = upgrade::host_name(head);
    let is_ours =
        |host: &str| hosts::is_local(host) || *hosts != AllowedHosts::Any && hosts.permits(host);
    if is_named && !host.is_some_and(is_ours) {
        let text = "Here localhost, IP addresses and the names of --allowed-hosts are answered to.";
        return answer(421, &[], text);
    }
    if !is_known(head, admin) {
        let asks = [("WWW-Authenticate", "Basic realm=\"wsloop\", charset=\"UTF-8\"")];
        let text = "Say the token of --admin-token-file: as a Bearer, or as a password.";
        return answer(401, &asks, text);
    }
    if head.method != "GET" && !bare {
        return answer(405, &[("Allow", "GET, HEAD")], "Only GET and HEAD are answered here.");
    }
    let page = |kind, body: &str| {
        let policy = ("Content-Security-Policy", CONTENT_SECURITY_POLICY);
        let headers = [("Content-Type", kind), ("Cache-Control", "no-cache"), policy];
        Some(Inspect::Answer(Frame::from(response(200, &headers, body.as_bytes(), bare))))
    };
    match head.path {
        "/healthz" => answer(200, &[], "ok"),
        "/readyz" => Some(Inspect::Ready { bare }),
        "/metrics" => Some(Inspect::Metrics { bare }),
        "/conns" => Some(Inspect::Conns { bare }),
        "/" => page("text/html; charset=utf-8", INDEX),
        "/admin.js" => page("text/javascript; charset=utf-8", SCRIPT),
        "/admin.css" => page("text/css; charset=utf-8", STYLE),
        _ => answer(404, &[], "Here are /, /metrics, /conns, /healthz and /readyz."),
    }
}

/// The answer to who asks whether the server is ready; it is, where there is no reason against it.
pub(crate) fn ready(reasons: &[String], bare: bool) -> Frame {
    let never = ("Cache-Control", "no-store");
    Frame::from(match reasons {
        [] => text_response(200, &[never], "ready", bare),
        reasons => {
            text_response(503, &[never], &format!("not ready: {}", reasons.join("; ")), bare)
        }
    })
}

/// An answer of that kind.
pub(crate) fn document(kind: &str, body: &str, bare: bool) -> Frame {
    let headers = [("Content-Type", kind), ("Cache-Control", "no-store")];
    Frame::from(response(200, &headers, body.as_bytes(), bare))
}

fn is_known(head: &Head<'_>, admin: &Admin) -> bool {
    let Some(token) = &admin.token else { return true };
    let said = head.header("authorization").unwrap_or_default();
    let Some(space) = said.iter().position(|byte| *byte == b' ') else { return false };
    let (scheme, rest) = (&said[..space], said[space..].trim_ascii());
    let said = match scheme.to_ascii_lowercase().as_slice() {
        b"bearer" => rest.to_vec(),
        b"basic" => {
            let pair = STANDARD.decode(rest).unwrap_or_default();
            let colon = pair.iter().position(|byte| *byte == b':');
            colon.map(|colon| pair[colon + 1..].to_vec()).unwrap_or_default()
        }
        _ => return false,
    };
    aws_lc_rs::constant_time::verify_slices_are_equal(&said, token).is_ok()
}
