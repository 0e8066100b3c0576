//! What browsers send: request heads, and frames once they are open.

use super::Server;
use crate::access::channel::Grant;
use crate::broker::{PublishError, Status};
use crate::browser::conn::{Publication, Stage};
use crate::browser::handshake::{Decision, Pending};
use crate::link::Frame;
use crate::link::LinkId;
use crate::proto::ws::frame::{self, Opcode};
use crate::proto::ws::message::{self, Limits};
use crate::server::relay::Request;

impl Server {
    pub(super) fn on_bytes(&mut self, link: LinkId, bytes: &mut [u8]) {
        let Some(stage) = self.relay.heard(link) else { return self.on_auth_bytes(link, bytes) };
        match stage {
            Stage::Head => self.on_head(link, bytes),
            Stage::Authorizing | Stage::Joining => self.relay.keep_early(link, bytes),
            Stage::Open if self.relay.is_kept_for_later(link) => {
                self.relay.keep_for_later(link, bytes);
            }
            Stage::Open => self.on_frames(link, bytes),
            Stage::Closing | Stage::Gone => {}
        }
    }

    /// Bytes of a request head: decides when it is whole, and keeps it until then.
    fn on_head(&mut self, link: LinkId, bytes: &mut [u8]) {
        let early = self.relay.conn(link).and_then(|conn| conn.early.as_mut());
        let mut joined = early.map(|early| std::mem::take(&mut early.bytes)).unwrap_or_default();
        let whole = match joined.is_empty() {
            true => self.decide(link, bytes),
            false => {
                joined.extend_from_slice(bytes);
                self.decide(link, &mut joined)
            }
        };
        if !whole && let Some(conn) = self.relay.conn(link) {
            let kept = &mut conn.early().bytes;
            match joined.is_empty() {
                true => kept.extend_from_slice(bytes),
                false => *kept = joined,
            }
        }
    }

    /// Decides about the request in `bytes`; false when it is incomplete.
    fn decide(&mut self, link: LinkId, bytes: &mut [u8]) -> bool {
        let (request, length) = match self.relay.examine(link, bytes, self.unix_ms) {
            Ok(None) => return false,
            Ok(Some(examined)) => examined,
            Err(refusal) => {
                self.relay.refuse(link, refusal);
                return true;
            }
        };
        match request {
            Request::Decided(Decision::Answer(answer)) => self.relay.finish(link, answer),
            Request::Decided(Decision::Refuse(refusal)) => self.relay.refuse(link, refusal),
            Request::Decided(Decision::Open(pending)) => self.authorize(link, pending),
            Request::Asked(asked, who) => self.identify(link, asked, who),
        }
        let rest = &mut bytes[length..];
        match self.relay.peek(link).map(|conn| conn.stage) {
            Some(Stage::Open) => self.on_frames(link, rest),
            Some(Stage::Authorizing | Stage::Joining) => self.relay.keep_early(link, rest),
            _ => {}
        }
        true
    }

    /// Opens a conn, now or when the broker is up, or refuses it.
    pub(super) fn authorize(&mut self, link: LinkId, pending: Pending) {
        let Some(conn) = self.relay.conn(link) else { return };
        conn.agree(pending.agreement);
        conn.overflow = pending.overflow;
        conn.echoes = pending.echoes;
        match self.broker.status() {
            _ if !pending.needs_broker() => self.join(link, pending.grant, pending.accepted),
            Status::Up => self.join(link, pending.grant, pending.accepted),
            Status::Dialing => {
                conn.stage = Stage::Authorizing;
                conn.early().grant = Some(pending.grant);
                conn.early().accepted = Some(pending.accepted);
            }
            Status::Down => {
                self.relay.refuse_unavailable(link, Some(&pending.accepted));
            }
        }
    }

    /// Subscribes a conn to what it was granted. Its 101 waits until the broker has confirmed that,
    /// so that a page whose socket is open misses nothing that is published from then on.
    pub(super) fn join(&mut self, link: LinkId, grant: Grant, accepted: Frame) {
        self.unsubscribe_left();
        let publications = publications(&grant);
        let Some(conn) = self.relay.conn(link) else { return };
        conn.stage = Stage::Joining;
        conn.form.binary = grant.binary;
        conn.publications = publications;
        conn.early().accepted = Some(accepted.clone());
        self.relay.send(link, accepted);
        let mut last_fetch = 0;
        for name in &grant.subscribe {
            let Some((channel, first)) = self.relay.subscribe(link, name) else { return };
            if first {
                let names = vec![self.relay.hub.name(channel).clone()];
                self.broker.subscribe(names, self.now_ms);
            }
            let (fetch, ask) = self.relay.wait_for_stored(link, channel, last_fetch);
            if ask {
                self.broker.fetch(name, self.now_ms);
            }
            last_fetch = fetch;
        }
        self.relay.open_if_joined(link);
    }

    /// Bytes of frames, from a conn that is open.
    pub(super) fn on_frames(&mut self, link: LinkId, bytes: &mut [u8]) {
        let mut input = bytes;
        while self.relay.peek(link).is_some_and(|conn| conn.stage == Stage::Open) {
            if self.relay.is_full() {
                return self.relay.keep_for_later(link, input);
            }
            let Some(conn) = self.relay.conn(link) else { return };
            let limits = Limits { compression: conn.form.window_bits > 0, ..self.limits };
            let echoes = conn.echoes;
            match conn.reader.next_with(&mut input, &limits, &mut self.inflater) {
                Ok(None) => return,
                Ok(Some(message::Event::Message { kind, data })) => {
                    if limits.compression {
                        self.relay.inflated(data.len());
                    }
                    match echoes {
                        true => self.relay.echo(link, kind, &data),
                        false => self.on_message(link, &data),
                    }
                }
                Ok(Some(message::Event::Ping(payload))) => {
                    self.relay.send(link, frame::encode(Opcode::Pong, &payload));
                }
                Ok(Some(message::Event::Pong(_))) => {}
                Ok(Some(message::Event::Close(close))) => {
                    self.on_close(link, close.map(|(code, _)| code));
                }
                Err(error) => {
                    self.relay.metrics.protocol_errors_total += 1;
                    self.relay.close(link, Some(error.close_code()), &error.to_string());
                }
            }
        }
    }

    /// When a browser reads the answer to its close, what it published before is published and
    /// stored.
    fn on_close(&mut self, link: LinkId, code: Option<u16>) {
        let published = self.relay.peek(link).is_some_and(|conn| !conn.publications.is_empty());
        self.relay.close(link, code, "");
        if let Some(asked) = self.broker.unanswered().filter(|_| published)
            && let Some(conn) = self.relay.conn(link)
        {
            conn.awaiting = 1;
            self.farewells.push_back((asked, link));
        }
    }

    fn on_message(&mut self, link: LinkId, data: &[u8]) {
        if self.relay.settings().heartbeat.as_deref() == Some(data) {
            return self.relay.send_heartbeat(link);
        }
        self.relay.metrics.messages_in_total += 1;
        if data.is_empty() {
            return;
        }
        let Some(conn) = self.relay.peek(link) else { return };
        let (mut published, mut failed) = (0, None);
        for publication in &conn.publications {
            let except = publication.withhold.then_some(link);
            match self.broker.publish(&publication.channel, data, except, self.now_ms) {
                Ok(()) => published += 1,
                Err(error) => failed = Some(error),
            }
        }
        let wanted = conn.publications.len() as u64;
        let metrics = &mut self.relay.metrics;
        metrics.publishes_unrouted_total += u64::from(wanted == 0);
        if wanted == 0 && metrics.publishes_unrouted_total == 1 {
            tracing::warn!(
                "{link} sent a message that goes nowhere: its URL asks for no publish- option, or \
                 none is granted, see --allow (said once; then counted)"
            );
        }
        metrics.publishes_total += published;
        metrics.publishes_dropped_total += wanted - published;
        if let Some(error) = failed
            && !std::mem::replace(&mut self.said.dropped, true)
        {
            let why = match error {
                PublishError::Down => "Redis cannot be reached",
                PublishError::Full => "Redis takes them too slowly, see --redis-buffer-limit",
            };
            tracing::warn!("messages from browsers are dropped: {why} (said once; then counted)");
        }
    }
}

/// A conn's own messages are withheld from it on channels that it hears, unless it wants an echo.
fn publications(grant: &Grant) -> Box<[Publication]> {
    let publication = |name: &String| Publication {
        channel: name.as_str().into(),
        withhold: !grant.echo && grant.subscribe.contains(name),
    };
    grant.publish.iter().map(publication).collect()
}
