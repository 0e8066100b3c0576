//! L2: plain HTTP: the pages and scripts that the server itself serves, the metrics, and what is
//! wrong with any other request; in `upstream`, requests that go on to an application.
//!
//! It knows requests and answers; no conn.

pub(crate) mod admin;
pub(crate) mod upstream;

use std::borrow::Cow;

use crate::link::{Frame, Metrics};
use crate::proto::http::{self, Head};

/// What is answered to plain requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site<'a> {
    /// The pages.
    pub pages: &'a [Page],
    /// Path of the metrics.
    pub metrics_path: Option<&'a str>,
    /// What WebSocket paths begin with.
    pub url_prefix: &'a str,
}

/// One page or script that the server itself answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Exact path, without the query.
    pub path: &'static str,
    /// What is there.
    pub content: PageContent,
}

impl Page {
    /// A page of HTML. It may load scripts and styles of this server, and open WebSockets; nothing
    /// else, and no script that stands in the page itself.
    pub fn html(path: &'static str, body: impl Into<Cow<'static, str>>) -> Page {
        Page::of(path, "text/html; charset=utf-8", body.into())
    }

    /// A script.
    pub fn script(path: &'static str, body: impl Into<Cow<'static, str>>) -> Page {
        Page::of(path, "text/javascript; charset=utf-8", body.into())
    }

    fn of(path: &'static str, content_type: &'static str, body: Cow<'static, str>) -> Page {
        let body = match body {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Page { path, content: PageContent::Body { content_type, body } }
    }
}

/// What a page consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageContent {
    /// A body of the given media type.
    Body {
        /// The Content-Type header.
        content_type: &'static str,
        /// The bytes.
        body: Cow<'static, [u8]>,
    },
    /// A 302 to another path.
    Redirect(&'static str),
}

/// The answer to a plain HTTP request: a page, the metrics, or what is wrong.
pub(crate) fn answer(head: &Head<'_>, site: &Site<'_>, metrics: &mut Metrics) -> Frame {
    metrics.requests_total += 1;
    let bare = head.method == "HEAD";
    if head.method != "GET" && !bare {
        let headers = [("Allow", "GET, HEAD")];
        let text = "Only GET and HEAD are answered here.";
        return Frame::from(text_response(405, &headers, text, false));
    }
    if site.metrics_path == Some(head.path) {
        return counters(metrics, bare);
    }
    match site.pages.iter().find(|page| page.path == head.path).map(|page| &page.content) {
        Some(PageContent::Redirect(to)) => {
            Frame::from(text_response(302, &[("Location", to)], to, bare))
        }
        Some(PageContent::Body { content_type, body }) => {
            let headers = [
                ("Content-Type", *content_type),
                ("Cache-Control", "no-cache"),
                // The same for everybody: pages of any origin may import the scripts.
                ("Access-Control-Allow-Origin", "*"),
                ("Cross-Origin-Resource-Policy", "cross-origin"),
                ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
            ];
            Frame::from(response(200, &headers, body, bare))
        }
        None => {
            let text = match site.url_prefix {
                "" => "Nothing is served here.".to_owned(),
                prefix => format!("Nothing is served here; WebSockets are, below {prefix}."),
            };
            Frame::from(text_response(404, &[], &text, bare))
        }
    }
}

/// The metrics, for who may have them.
pub(crate) fn metrics(metrics: &mut Metrics, bare: bool) -> Frame {
    metrics.requests_total += 1;
    counters(metrics, bare)
}

fn counters(metrics: &Metrics, bare: bool) -> Frame {
    let text = metrics.prometheus();
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Frame::from(response(200, &[("Content-Type", kind)], text.as_bytes(), bare))
}

/// Pages load only what this server serves. Some browsers do not take 'self' for WebSockets, so
/// those are allowed by their schemes.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// A response whose body is a line of text; without the body when it is `bare`.
pub(crate) fn text_response(
    status: u16,
    headers: &[(&str, &str)],
    text: &str,
    bare: bool,
) -> Vec<u8> {
    let mut all = vec![("Content-Type", "text/plain; charset=utf-8")];
    all.extend_from_slice(headers);
    response(status, &all, format!("{text}\n").as_bytes(), bare)
}

/// A response without a body.
pub(crate) fn empty_response(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    response(status, headers, b"", false)
}

fn response(status: u16, headers: &[(&str, &str)], body: &[u8], bare: bool) -> Vec<u8> {
    // No browser is to take an answer for something else than it says, a refusal neither.
    let headers = [headers, &[("X-Content-Type-Options", "nosniff")]].concat();
    match bare {
        true => http::response_head(status, &headers, body.len()),
        false => http::response(status, &headers, body),
    }
}
