//! Who asks: sessions and the application are asked, and what they say admits a conn or refuses it.

use super::Server;
use crate::access::ask::{Failure, Granted, Verdict, Wish};
use crate::access::channel::Allow;
use crate::access::control;
use crate::access::sources::{Known, Who};
use crate::broker::Status;
use crate::browser::conn::Waiting;
use crate::browser::conn::{Conn, Stage};
use crate::browser::handshake::{self, Asked, Decision};
use crate::link::LinkId;
use crate::link::timers;
use crate::link::{Cause, Output};
use crate::server::relay::Session;
use crate::server::table::Party;

const UNKNOWN: &str = "It cannot be found out at the moment who you are; try again later.";

impl Server {
    /// A good request: admits it when it is known who asks, and else has that looked up.
    pub(super) fn identify(&mut self, link: LinkId, asked: Asked, who: Who) {
        match who {
            Who::Known(known) => self.admit(link, asked, known),
            Who::Unknown(lookup) => {
                let Some(conn) = self.relay.conn(link) else { return };
                conn.stage = Stage::Authorizing;
                conn.early().waiting = Some(Box::new(Waiting { asked, lookup, asking: false }));
                self.look_up(link);
            }
        }
    }

    /// Asks the next of those who may know whose a conn is; when there is none it is nobody's.
    pub(super) fn look_up(&mut self, link: LinkId) {
        let Some(conn) = self.relay.conn(link) else { return };
        let Some(mut waiting) = conn.early().waiting.take() else { return };
        let sessions = self.relay.settings().sources.session.as_ref();
        if let Some((sessions, key)) = sessions.zip(waiting.lookup.session.as_ref()) {
            let name = sessions.stored_as(key);
            self.put_back(link, waiting);
            match self.broker.status() {
                Status::Up => {
                    self.broker.fetch(&name, self.now_ms);
                    self.relay.look_up(link);
                }
                Status::Dialing => {}
                Status::Down => self.relay.refuse_waiting(link, 503, UNKNOWN),
            }
            return;
        }
        let question = waiting.lookup.question.take();
        match (question, &mut self.auth) {
            (Some(question), Some(auth)) => {
                self.relay.metrics.questions_total += 1;
                let taken = auth.ask(link, question, self.now_ms);
                waiting.asking = taken.is_ok();
                self.put_back(link, waiting);
                if taken.is_err() {
                    self.on_no_verdict(link, &Failure::Busy);
                }
            }
            _ => self.admit(link, waiting.asked, Known::default()),
        }
    }

    /// Takes what was found out since this was last called.
    pub(super) fn take_identities(&mut self) {
        for link in std::mem::take(&mut self.relay.unasked) {
            if let Some(auth) = &mut self.auth {
                auth.forget(link);
            }
        }
        while let Some((link, session)) = self.relay.looked_up.pop_front() {
            self.on_session(link, session);
        }
        while let Some((link, verdict)) = self.auth.as_mut().and_then(|auth| auth.next_answer()) {
            self.on_verdict(link, verdict);
        }
    }

    /// What the application's link, if it is one, has to say.
    pub(super) fn on_auth_bytes(&mut self, link: LinkId, bytes: &[u8]) {
        if let Some(auth) = self.auth.as_mut().filter(|auth| auth.is_mine(link)) {
            auth.received(link, bytes, self.now_ms);
        }
    }

    pub(super) fn on_auth_hung_up(&mut self, link: LinkId, cause: &Cause) {
        let failure = match cause {
            Cause::Ended => None,
            Cause::Failed(reason) => Some(reason.as_str()),
        };
        if let Some(auth) = self.auth.as_mut().filter(|auth| auth.is_mine(link)) {
            auth.hung_up(link, failure, self.now_ms);
        }
    }

    /// What is to be done about the links to the application.
    pub(super) fn auth_output(&mut self) -> Option<Output> {
        let auth = self.auth.as_mut()?;
        while let Some(wish) = auth.next_wish() {
            match wish {
                Wish::Close(link) => self.relay.put_out(Output::Close(link)),
                Wish::Dial => {
                    let link = self.relay.name_link(Party::Auth);
                    auth.dialing(link, self.now_ms);
                    return Some(Output::Dial(link, auth.target().clone()));
                }
            }
        }
        auth.next_flush().map(Output::Flush)
    }

    /// The bytes that wait for the application on that link.
    pub(super) fn auth_unsent(&self, link: LinkId) -> &[u8] {
        let auth = self.auth.as_ref().filter(|auth| auth.is_mine(link));
        auth.map_or(&[], |auth| auth.unsent(link))
    }

    pub(super) fn auth_advance(&mut self, link: LinkId, n: usize) {
        if let Some(auth) = self.auth.as_mut().filter(|auth| auth.is_mine(link)) {
            auth.advance(link, n);
        }
    }

    /// The application has something to say to us. What came before it is heard before, and whoever
    /// a session that was read before is about is let in before: so it is about them, too.
    pub(super) fn on_control(&mut self, message: &[u8]) {
        self.relay.deliver_arrived();
        self.take_identities();
        match control::parse(message) {
            Ok(disconnect) => {
                tracing::debug!("asked to disconnect somebody, with {}", disconnect.code);
                if let Some(auth) = &mut self.auth {
                    auth.revoke(&disconnect.owner, self.now_ms);
                }
                self.relay.disconnect(&disconnect.owner, disconnect.code, &disconnect.reason);
            }
            Err(error) => {
                self.relay.metrics.controls_refused_total += 1;
                if self.relay.metrics.controls_refused_total == 1 {
                    tracing::warn!(
                        "a message on {} was not understood: {error} (said once; then counted)",
                        control::CHANNEL
                    );
                }
            }
        }
    }

    /// Panics when somebody is asked about who does not wait for it, or waits for what nobody asks.
    pub(super) fn check_askers(&self) {
        assert!(self.relay.looked_up.is_empty() && self.relay.unasked.is_empty());
        let Some(auth) = &self.auth else { return };
        let asking = self.relay.links(Conn::waits_for_application);
        assert_eq!(auth.askers(), asking.len(), "a question is kept about who has gone");
        assert!(asking.into_iter().all(|link| auth.is_asked_about(link)));
    }

    fn put_back(&mut self, link: LinkId, waiting: Box<Waiting>) {
        if let Some(conn) = self.relay.conn(link) {
            conn.early().waiting = Some(waiting);
        }
    }

    fn on_session(&mut self, link: LinkId, session: Option<Session>) {
        let Some(waiting) = self.relay.conn(link).and_then(|conn| conn.early.as_mut()) else {
            return;
        };
        let Some(waiting) = &mut waiting.waiting else { return };
        let Some(key) = waiting.lookup.session.take() else { return };
        let Some(session) = session else { return self.relay.refuse_waiting(link, 503, UNKNOWN) };
        let known = session.and_then(|stored| {
            let (settings, metrics) = self.relay.settings_and_metrics();
            settings.sources.session.as_ref()?.read(&key, &stored, metrics)
        });
        match known {
            None => self.look_up(link),
            Some(known) => self.on_known(link, known),
        }
    }

    fn on_verdict(&mut self, link: LinkId, verdict: Verdict) {
        let Some(early) = self.relay.conn(link).and_then(|conn| conn.early.as_mut()) else {
            return;
        };
        if let Some(waiting) = &mut early.waiting {
            waiting.asking = false;
        }
        match verdict {
            Verdict::Granted(Granted { identity, allow }) => {
                match allow.as_deref().map(Allow::parse).transpose() {
                    Ok(allow) => {
                        self.said.unanswered = false;
                        self.on_known(link, Known { identity, allow, ..Known::default() });
                    }
                    Err(error) => self.on_no_verdict(link, &format!("X-Wsloop-Allow: {error}")),
                }
            }
            Verdict::Refused { status, text } => {
                self.said.unanswered = false;
                self.relay.refuse_waiting(link, status, &text);
            }
            Verdict::Unavailable { reason } => self.on_no_verdict(link, &reason),
        }
    }

    fn on_no_verdict(&mut self, link: LinkId, why: &dyn std::fmt::Display) {
        self.relay.metrics.questions_failed_total += 1;
        tracing::debug!("{link}: no answer of use: {why}");
        if !std::mem::replace(&mut self.said.unanswered, true) {
            tracing::error!(
                "the application's answer about a handshake is of no use: {why}; see --auth-url \
                 (said once until there is one; then counted)"
            );
        }
        self.relay.refuse_waiting(link, 503, UNKNOWN);
    }

    fn on_known(&mut self, link: LinkId, known: Known) {
        let waiting = self.relay.conn(link).and_then(|conn| conn.early.as_mut()?.waiting.take());
        if let Some(waiting) = waiting {
            self.admit(link, waiting.asked, known);
        }
    }

    /// It is known who asks: decides, and lets the conn in.
    fn admit(&mut self, link: LinkId, asked: Asked, known: Known) {
        let (settings, metrics) = self.relay.settings_and_metrics();
        let decision = handshake::admit(asked, &known.identity, known.allow, settings, metrics);
        match decision {
            Decision::Open(pending) => {
                self.relay.own(link, &known.identity);
                if let Some((conn, at_ms)) = self.relay.conn(link).zip(known.expires_ms) {
                    // At the tick behind that moment, for who is closed before it would be let in
                    // again. The two clocks may differ by a part of a millisecond.
                    let left_ms = at_ms.saturating_sub(self.unix_ms);
                    let past_ms = self.now_ms % timers::TICK_MS + 1;
                    let left = timers::ticks(left_ms.saturating_add(past_ms));
                    conn.expires = timers::tick(self.now_ms).saturating_add(left);
                }
                self.authorize(link, pending);
                self.on_broker_events(&mut &[][..]);
            }
            Decision::Answer(answer) => self.relay.finish(link, answer),
            Decision::Refuse(refusal) => self.relay.refuse(link, refusal),
        }
    }
}
