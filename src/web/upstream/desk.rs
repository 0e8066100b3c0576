//! L2: requests that the application in this process answers, by its endpoints.
//!
//! A request is told it whole, with its body, and answered by its name. Its rules:
//! * there are no more at a time than may be, and no body is longer than it may be: that is so
//!   before anything of it is kept, where the request says how long it is;
//! * who asks waits while nobody takes events, and no longer than it may for the rest of its body,
//!   nor after that for an answer;
//! * an answer to who has gone, or was answered, is nothing.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;

use super::request::{Asker, Traits, push};
use super::{Errand, Proxy, Stage};
use crate::link::timers::{self, Tick};
use crate::link::{LinkId, Metrics};
use crate::proto::http::body::Framing;
use crate::proto::http::{self, Head, Scheme};

/// How plain HTTP requests are taken that an application answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainRequests {
    /// Longest body, in bytes; a longer one is refused with 413 (RFC 9110 section 15.5.14).
    pub max_body: usize,
    /// Most requests that are on their way to the application, or with it; one more is refused
    /// with 503.
    pub at_once: usize,
    /// The time in which a body must arrive, in milliseconds, and then, from its end on, the answer
    /// of the application: without, the request is answered with 408, or with 504 (503 when the
    /// application has not received it).
    pub timeout_ms: u64,
}

impl Default for PlainRequests {
    /// Bodies of up to 64 KiB, 256 requests at once, 10 s.
    fn default() -> Self {
        PlainRequests { max_body: 64 << 10, at_once: 256, timeout_ms: 10_000 }
    }
}

/// A plain HTTP request (RFC 9110) that the application is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainRequest {
    /// The method, as sent: `GET`, `POST` and so on, never `CONNECT` or `TRACE`. An answer to
    /// `HEAD` is the same as to `GET`: its body is left out on the way.
    pub method: String,
    /// Where it comes from; a trusted proxy is looked through. None by a Unix socket.
    pub address: Option<IpAddr>,
    /// Whether it came by TLS, to this server or to a trusted proxy.
    pub is_secure: bool,
    /// The path, as sent: still percent-encoded.
    pub path: String,
    /// What follows the first `?`, as sent; empty without.
    pub query: String,
    /// The header lines, in their order; the names as sent, in whatever case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, without the chunks in which it may have come; no longer than `max_body`.
    pub body: Vec<u8>,
}

impl PlainRequest {
    pub(super) fn of(head: &Head<'_>, asker: Asker) -> PlainRequest {
        let line = |(name, value): (&str, &[u8])| (name.to_owned(), value.to_vec());
        PlainRequest {
            method: head.method.to_owned(),
            address: asker.address,
            is_secure: asker.scheme == Scheme::Https,
            path: head.path.to_owned(),
            query: head.query.to_owned(),
            headers: head.lines().map(line).collect(),
            body: Vec::new(),
        }
    }

    /// The value of the first header line of that name, in any case, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// Bytes of memory that it takes besides itself.
    pub(crate) fn held_bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        self.path.len() + self.query.len() + self.body.len() + headers.sum::<usize>()
    }
}

/// Names one request, for its answer. When it is over the name means nothing, and does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub(crate) link: LinkId,
    /// Its number among all that were asked.
    pub(crate) number: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.link, self.number)
    }
}

/// What an application answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Where a request is that an endpoint is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtDesk {
    /// Its body is not whole.
    Arriving,
    /// It is to be told.
    InLine,
    /// It was told, under that number.
    Told(u64),
}

/// One endpoint, as far as it is asked.
#[derive(Debug, Default)]
pub(super) struct Desk {
    max_body: usize,
    at_once: usize,
    pub(super) timeout: Tick,
    /// Guests that are not answered.
    pending: usize,
    /// Those that are to be told.
    in_line: VecDeque<usize>,
    /// Nobody answers any more.
    is_over: bool,
}

const GONE: &str = "The application behind this address has ended.";

impl Desk {
    pub(super) fn new(settings: Option<PlainRequests>) -> Desk {
        let Some(PlainRequests { max_body, at_once, timeout_ms }) = settings else {
            return Desk::default();
        };
        let timeout = timers::ticks(timeout_ms);
        Desk { max_body, at_once, timeout, ..Desk::default() }
    }
}

impl Proxy {
    /// A guest has come whose request is for an endpoint.
    pub(super) fn come_to_desk(&mut self, at: usize, metrics: &mut Metrics) {
        metrics.requests_total += 1;
        self.at_desks += 1;
        let guest = &mut self.guests[at];
        let desk = &mut self.desks[guest.to];
        desk.pending += 1;
        guest.stage = Stage::Desk(AtDesk::Arriving);
        // Its body is kept as it is, whichever way it comes.
        let framing = std::mem::replace(&mut guest.framing, Framing::UntilEnd);
        if desk.is_over {
            self.fail(at, 503, GONE, "", metrics);
        } else if desk.pending > desk.at_once {
            let text = "Too many requests wait for the application; try again later.";
            self.fail(at, 503, text, "", metrics);
        } else if matches!(framing, Framing::Sized(length) if length > desk.max_body as u64) {
            self.too_long(at, metrics);
        } else if guest.body.is_done() {
            self.arrived_at_desk(at, metrics);
        } else if guest.traits.expects {
            self.go_on(at);
        }
    }

    /// More of a guest's body has come, or all of it.
    pub(super) fn arrived_at_desk(&mut self, at: usize, metrics: &mut Metrics) {
        let guest = &mut self.guests[at];
        let desk = &mut self.desks[guest.to];
        if guest.up.len() > desk.max_body {
            self.too_long(at, metrics);
        } else if guest.body.is_done() {
            (guest.stage, guest.moved) = (Stage::Desk(AtDesk::InLine), self.now);
            desk.in_line.push_back(at);
            let (to, link) = (guest.to, guest.link);
            self.errands.extend([Errand::Tell(to), Errand::Wake(link)]);
        }
    }

    fn too_long(&mut self, at: usize, metrics: &mut Metrics) {
        let most = self.desks[self.guests[at].to].max_body;
        let text = format!("The body of this request is over the {most} bytes that it may have.");
        self.fail(at, 413, &text, "", metrics);
    }

    /// The next request that the application of that endpoint is to be told.
    pub(crate) fn next_asked(&mut self, endpoint: usize) -> Option<(RequestId, Box<PlainRequest>)> {
        let at = self.desks.get_mut(endpoint)?.in_line.pop_front()?;
        self.asked += 1;
        let (guest, number) = (&mut self.guests[at], self.asked);
        guest.stage = Stage::Desk(AtDesk::Told(number));
        let mut asked = guest.asked.take().expect("it is told once");
        asked.body = std::mem::take(&mut guest.up).bytes;
        Some((RequestId { link: guest.link, number }, asked))
    }

    /// The application answers the request of that number, if the guest still waits for that;
    /// whether it does.
    pub(crate) fn answer(&mut self, at: usize, number: u64, answer: &PlainAnswer) -> bool {
        let Some(guest) = self.guests.get_mut(at) else { return false };
        let place = AtDesk::Told(number);
        if guest.stage != Stage::Desk(place) {
            return false;
        }
        guest.closes |= !guest.traits.keeps_alive;
        push_answer(&mut guest.down.bytes, answer, guest.traits, guest.closes);
        (guest.stage, guest.answered, guest.moved) = (Stage::Done, true, self.now);
        let (to, link) = (guest.to, guest.link);
        self.leave_desk(at, to, place);
        self.errands.push_back(Errand::Flush(link));
        true
    }

    /// Nobody answers what that endpoint is asked any more.
    pub(crate) fn end_desk(&mut self, endpoint: usize, metrics: &mut Metrics) {
        let Some(desk) = self.desks.get_mut(endpoint) else { return };
        desk.is_over = true;
        for at in self.all() {
            let guest = &self.guests[at];
            if matches!(guest.stage, Stage::Desk(_)) && guest.to == endpoint {
                self.fail(at, 503, GONE, "", metrics);
            }
        }
    }

    /// A guest's time at a desk is over.
    pub(super) fn overdue_at_desk(&mut self, at: usize, place: AtDesk, metrics: &mut Metrics) {
        let (status, text) = match place {
            AtDesk::Arriving => (408, "The rest of the request did not arrive in time."),
            AtDesk::InLine => (503, "The application takes no requests; try again later."),
            AtDesk::Told(_) => (504, "The application did not answer in time."),
        };
        self.fail(at, status, text, "", metrics);
    }

    /// A guest waits for no answer any more.
    pub(super) fn leave_desk(&mut self, at: usize, endpoint: usize, place: AtDesk) {
        let desk = &mut self.desks[endpoint];
        desk.pending -= 1;
        if place == AtDesk::InLine {
            desk.in_line.retain(|waiting| *waiting != at);
        }
    }

    /// Panics when the parts disagree with each other: a bug of ours.
    pub(super) fn check_desks(&self) {
        let all = || self.guests.iter().filter(|(_, guest)| guest.is_at_desk);
        assert_eq!(all().count(), self.at_desks, "guests that endpoints are asked by");
        for (number, desk) in self.desks.iter().enumerate() {
            let is_its =
                |guest: &&super::Guest| guest.to == number && matches!(guest.stage, Stage::Desk(_));
            let its = all().filter(|(_, guest)| is_its(guest));
            assert_eq!(desk.pending, its.count(), "guests of endpoint {number}");
            let is_in_line = |at: &usize| self.guests[*at].stage == Stage::Desk(AtDesk::InLine);
            assert!(desk.in_line.iter().all(is_in_line), "who is in line waits");
        }
    }
}

/// Appends an answer to a request of those traits; `closes` when the link is closed behind it.
fn push_answer(out: &mut Vec<u8>, answer: &PlainAnswer, traits: Traits, closes: bool) {
    let PlainAnswer { status, headers, body } = answer;
    out.reserve(256 + body.len());
    out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", http::reason(*status)).as_bytes());
    for (name, value) in headers {
        push(out, name, value.as_bytes());
    }
    let has_body = !matches!(status, 204 | 304);
    if has_body {
        push(out, "Content-Length", body.len().to_string().as_bytes());
    }
    match (closes, traits.minor_version) {
        (true, _) => push(out, "Connection", b"close"),
        (false, 0) => push(out, "Connection", b"keep-alive"),
        (false, _) => {}
    }
    out.extend_from_slice(b"\r\n");
    if has_body && !traits.bare {
        out.extend_from_slice(body);
    }
}
