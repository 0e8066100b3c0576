//! L2: a conn whose request publishes: its body is one message.
//!
//! It knows the body and the broker's answer; what may be published, and where, is decided in
//! `plain`. Its rules:
//! * the body is taken as it comes, no matter whether it is known who asks, within the size of a
//!   message; nothing is published before it is whole and allowed;
//! * 202 says that the broker has the message; where that is not known, no answer says so;
//! * behind a 202 the conn may ask for more. Behind everything else it ends, as a body may be on
//!   its way that nobody reads.

use super::conn::{Begun, Conn, Head, Last, Life, Whence};
use super::context::Context;
use super::effect::Effect;
use super::plain::Publishing;
use super::refusal::{self, GRANTED, Refusal};
use super::settings::Settings;
use super::topics::badness;
use crate::broker::PublishOutcome;
use crate::link::timers::Tick;
use crate::link::{Frame, LinkId};
use crate::proto::http::body::BodyReader;
use crate::proto::http::message::request_framing;
use crate::proto::http::{self, parse_head};

const EMPTY: &str = "The body is the message, and it is empty.";
const HEARTBEAT: &str = "This is the heartbeat's text, which is never published.";
const HASTY: &str = "More messages come from you than may (see --message-rate); try again later.";
const DENIED: &str = "The message broker does not let the server publish there.";
const UNKNOWN: &str =
    "The message broker went away before it answered: whether it has the message is not known.";
const FAILED: &str = "The message broker cannot take the message at the moment; try again later.";

/// A body on its way to become a message.
#[derive(Debug)]
pub(super) struct Post {
    reader: BodyReader,
    body: Vec<u8>,
    /// What came behind the body.
    behind: Vec<u8>,
    /// Where the conn comes from.
    whence: Whence,
    /// The conn may ask for more.
    keeps_alive: bool,
    /// It waits for 100 before it sends the body.
    waits: bool,
}

/// A conn that may publish its body.
#[derive(Debug)]
pub(super) struct Posting {
    pub since: Tick,
    post: Post,
    pub(super) publishing: Publishing,
    stage: Stage,
    /// The peer has ended its side.
    pub(super) ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The body is not whole.
    Body,
    /// The broker is to be reached.
    Broker,
    /// The broker has it, and has yet to answer about so many channels; the worst answer so far.
    Published(usize, PublishOutcome),
}

/// Why a body does not become a message: a status, and what is said.
type Unread = (u16, String);

impl Post {
    /// The body of a request whose head is `bytes`, of a conn that comes from there.
    pub(super) fn begin(bytes: &[u8], whence: Whence, settings: &Settings) -> Result<Post, Unread> {
        let head = parse_head(bytes, settings.max_head_size);
        let Ok(Some((head, _))) = head else { return Err((400, EMPTY.to_owned())) };
        let framing =
            request_framing(&head, bytes).map_err(|error| (error.status(), error.to_string()))?;
        let closes = head.list("connection").any(|word| word.eq_ignore_ascii_case(b"close"));
        let expected = head.header("expect");
        let post = Post {
            reader: BodyReader::new(framing),
            body: Vec::new(),
            behind: Vec::new(),
            whence,
            keeps_alive: head.minor_version > 0 && !closes && settings.front.keep_alive_ms > 0,
            waits: expected.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")),
        };
        post.check_size(settings)?;
        Ok(post)
    }

    /// Takes what has come.
    pub(super) fn take(&mut self, mut bytes: &[u8], settings: &Settings) -> Result<(), Unread> {
        loop {
            let data = self.reader.next(&mut bytes).map_err(|error| (400, said(&error)))?;
            self.check_size(settings)?;
            let Some(data) = data else { break };
            self.body.extend_from_slice(data);
        }
        if self.behind.len() + bytes.len() <= settings.max_head_size {
            self.behind.extend_from_slice(bytes);
        } else {
            self.keeps_alive = false;
        }
        Ok(())
    }

    /// Bytes of memory that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        size_of::<Post>() + self.body.capacity() + self.behind.capacity()
    }

    fn check_size(&self, settings: &Settings) -> Result<(), Unread> {
        let most = settings.max_message_size;
        match self.body.len() as u64 + self.reader.due() > most as u64 {
            true => Err((413, format!("A message has at most {most} bytes here."))),
            false => Ok(()),
        }
    }
}

impl Posting {
    pub(super) fn held_bytes(&self) -> usize {
        let names: usize = self.publishing.channels.iter().map(String::capacity).sum();
        names + self.publishing.readers.held_bytes() + self.post.held_bytes()
    }

    pub(super) fn has_body(&self) -> bool {
        self.stage != Stage::Body
    }

    /// What to send in the place of 202.
    pub(super) fn refusal(&self, status: u16, text: &str, settings: &Settings) -> Refusal {
        let mut headers = self.publishing.readers.headers();
        if matches!(status, 429 | 503) {
            headers.push(("Retry-After", if status == 429 { "1" } else { "5" }));
        }
        refusal::refuse(status, &headers, text.to_owned(), None, settings)
    }
}

impl Conn {
    /// It may publish its body, of which some may be there.
    pub(super) fn begin_posting(
        &mut self,
        link: LinkId,
        publishing: Publishing,
        begun: Begun,
        cx: &mut Context,
    ) {
        let since = begun.since;
        let Some(post) = begun.post else { return };
        if post.waits && post.body.is_empty() && !post.reader.is_done() {
            self.outbox.push(Frame::from(&b"HTTP/1.1 100 Continue\r\n\r\n"[..]));
            cx.queued(1);
        }
        let posting = Posting { since, post: *post, publishing, stage: Stage::Body, ended: false };
        self.life = Life::Posting(Box::new(posting));
        self.take_body(link, &[], cx);
    }

    /// Takes more of its body, and has that published when it is whole.
    pub(super) fn take_body(&mut self, link: LinkId, bytes: &[u8], cx: &mut Context) {
        let Life::Posting(posting) = &mut self.life else { return };
        if let Err((status, text)) = posting.post.take(bytes, &cx.settings) {
            let refusal = posting.refusal(status, &text, &cx.settings);
            return self.refuse(link, refusal, cx);
        }
        if posting.stage != Stage::Body || !posting.post.reader.is_done() {
            return;
        }
        let body = &posting.post.body[..];
        let wrong = match body {
            [] => Some((400, EMPTY)),
            _ if cx.settings.heartbeat.as_deref() == Some(body) => Some((400, HEARTBEAT)),
            _ if !cx.post_rates.allows(posting.publishing.by.clone(), cx.now) => Some((429, HASTY)),
            _ => None,
        };
        if let Some((status, text)) = wrong {
            cx.metrics.hasty_total += u64::from(status == 429);
            let refusal = posting.refusal(status, text, &cx.settings);
            return self.refuse(link, refusal, cx);
        }
        posting.stage = Stage::Broker;
        cx.metrics.messages_in_total += 1;
        cx.put(link, Effect::Publish);
    }

    /// Whether its message waits for the broker.
    pub(super) fn has_message(&self) -> bool {
        matches!(&self.life, Life::Posting(posting) if posting.stage == Stage::Broker)
    }

    /// The channels that its message goes to, while that waits for the broker.
    pub(super) fn posted_channels(&self) -> &[String] {
        match &self.life {
            Life::Posting(posting) if posting.stage == Stage::Broker => {
                &posting.publishing.channels
            }
            _ => &[],
        }
    }

    /// Takes the message, and the channels that it goes to, when the broker is there.
    pub(crate) fn take_message(&mut self) -> Option<(Vec<String>, Vec<u8>)> {
        let Life::Posting(posting) = &mut self.life else { return None };
        if posting.stage != Stage::Broker {
            return None;
        }
        let channels = std::mem::take(&mut posting.publishing.channels);
        posting.stage = Stage::Published(channels.len(), PublishOutcome::Accepted);
        Some((channels, std::mem::take(&mut posting.post.body)))
    }

    /// Whether its body is not whole.
    pub(super) fn lacks_body(&self) -> bool {
        matches!(&self.life, Life::Posting(posting) if posting.stage == Stage::Body)
    }

    /// Whether its message is with the broker.
    pub(super) fn awaits_broker(&self) -> bool {
        let Life::Posting(posting) = &self.life else { return false };
        matches!(posting.stage, Stage::Published(..))
    }

    /// Answers when it is known what became of its message on each channel.
    pub(super) fn on_posted(&mut self, link: LinkId, outcome: PublishOutcome, cx: &mut Context) {
        let Life::Posting(posting) = &mut self.life else { return };
        let Stage::Published(left, worst) = &mut posting.stage else { return };
        *left -= 1;
        if badness(outcome) > badness(*worst) {
            *worst = outcome;
        }
        if *left > 0 {
            return;
        }
        let text = match *worst {
            PublishOutcome::Accepted => return self.on_taken(link, cx),
            PublishOutcome::Denied => DENIED,
            PublishOutcome::Dropped => UNKNOWN,
            PublishOutcome::Failed => FAILED,
        };
        let refusal = posting.refusal(503, text, &cx.settings);
        self.refuse(link, refusal, cx);
    }

    /// Its request is answered, and it may ask for more unless the server ends.
    pub(super) fn asks_no_more(&mut self) {
        if let Life::Posting(posting) = &mut self.life {
            posting.post.keeps_alive = false;
        }
    }

    fn on_taken(&mut self, link: LinkId, cx: &mut Context) {
        let Life::Posting(posting) = &mut self.life else { return };
        let granted = posting.publishing.granted.to_string();
        let mut headers =
            vec![("Content-Length", "0"), ("Cache-Control", "no-store"), (GRANTED, &granted)];
        headers.extend(posting.publishing.readers.headers());
        cx.metrics.posts_total += 1;
        cx.metrics.requests_total += 1;
        if !posting.post.keeps_alive || posting.ended {
            let answer = Frame::from(http::open_response_head(202, &headers));
            cx.access_log.answered(link, 202);
            return self.finish(link, answer, Last::Response, cx);
        }
        let answer = Frame::from(http::kept_response_head(202, &headers));
        let behind = std::mem::take(&mut posting.post.behind);
        let whence = posting.post.whence;
        self.life =
            Life::Head(Head { began: cx.now.tick(), whence, rested: true, rest: Vec::new() });
        self.outbox.push(answer);
        cx.queued(1);
        cx.access_log.answered(link, 202);
        cx.put(link, Effect::Rested(behind));
    }
}

fn said(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let (first, rest) = text.split_at(1);
    format!("{}{rest}.", first.to_uppercase())
}
