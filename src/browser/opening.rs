//! L2: a conn's way from its first byte to its 101, or to a refusal.
//!
//! Head: bytes are collected until the request is complete. Asking: the client is identified; the
//! answer comes back with this conn's name. Waiting, Joining: the conn is admitted, and becomes a
//! member of its channels when the broker can be asked for them and has confirmed them.

use std::collections::BTreeSet;

use super::admitting;
use super::arriving::Identified;
use super::conn::{
    Asking, Begun, Closing, Conn, Joining, Kept, Last, Life, Member, Publication, Waiting,
};
use super::context::Context;
use super::effect::{Effect, Said, Source};
use super::endpoint::{Addressee, Knock};
use super::handshake::{Decision, Pending, Request};
use super::refusal;
use super::topics::Publications;
use crate::access::ask::{Failure, Granted, Verdict};
use crate::access::channel::{Allow, Grant, Options};
use crate::access::identity::Named;
use crate::access::sources::{Known, WhoAsks};
use crate::fanout::encoded::{Form, GoesAs};
use crate::fanout::overflow::Overflow;
use crate::link::figures::{AskKind, AskOutcome};
use crate::link::{Frame, LinkId};
use crate::proto::sse;
use crate::proto::ws::deflate::Agreement;
use crate::proto::ws::frame;

const UNKNOWN: &str = "It cannot be found out at the moment who you are; try again later.";
const BROKER_DOWN: &str = "The message broker cannot be reached at the moment; try again later.";
const EXPIRED: &str = "the token has expired";

impl Conn {
    /// Takes what arrived from the front of `input` until the browser has said something that
    /// concerns others; `None` when there is no more of it, or no more in this go: what is left in
    /// `input` is then to be given to [`Conn::keep`]. Call it until then.
    pub(crate) fn received<'i>(
        &mut self,
        link: LinkId,
        input: &mut &'i mut [u8],
        cx: &mut Context,
    ) -> Option<Said<'i>> {
        match &mut self.life {
            Life::Open(member) if member.is_stream() => {}
            Life::Open(_) => {
                let said = self.frames(link, input, cx);
                if said.is_some() || !self.is_closing() {
                    return said;
                }
                self.pass_over(link, input, cx);
            }
            Life::Head(_) => self.on_head(link, input, cx),
            Life::Asking(_) | Life::Waiting(_) | Life::Joining(_) | Life::Posting(_) => {
                self.keep_early(link, input, cx);
            }
            Life::Closing(_) => {
                if self.has_last_words() {
                    let said = self.frames(link, input, cx);
                    if said.is_some() || self.has_last_words() {
                        return said;
                    }
                }
                self.pass_over(link, input, cx);
            }
        }
        *input = &mut [];
        None
    }

    /// The answer of the broker about the session of who asks: what is stored, if it can be known.
    pub(crate) fn on_session(
        &mut self,
        link: LinkId,
        stored: Result<Option<&[u8]>, ()>,
        cx: &mut Context,
    ) {
        let Life::Asking(asking) = &mut self.life else { return };
        if asking.asked != Some(Source::Session) {
            return;
        }
        asking.asked = None;
        let Some(key) = asking.lookup.session.take() else { return };
        let took_ms = cx.now.mono_ms.saturating_sub(asking.asked_ms);
        let mut note = |outcome| cx.figures.asked(AskKind::Session, outcome, took_ms);
        let Ok(stored) = stored else {
            note(AskOutcome::Failed);
            return self.refuse_waiting(link, 503, UNKNOWN, cx);
        };
        note(if stored.is_some() { AskOutcome::Known } else { AskOutcome::Unknown });
        let sessions = cx.settings.sources.session.as_ref();
        let known =
            stored.zip(sessions).and_then(|(stored, s)| s.read(&key, stored, &mut cx.metrics));
        match known {
            None => self.look_up(link, cx),
            Some(known) => self.on_known(link, known, cx),
        }
    }

    /// The broker was not asked for the session, or went away before it answered: `down` when it is
    /// not being dialed either.
    pub(crate) fn on_no_broker(&mut self, link: LinkId, down: bool, cx: &mut Context) {
        let (needs, posts) = (self.needs_broker(), self.has_message());
        match &mut self.life {
            Life::Asking(asking) if asking.asked == Some(Source::Session) => asking.asked = None,
            Life::Asking(asking) if asking.asked.is_some() => return,
            Life::Head(_) | Life::Open(_) | Life::Closing(_) => return,
            // It waits for an application.
            Life::Waiting(_) if !needs => return,
            Life::Posting(_) if !posts => return,
            _ => {}
        }
        if down {
            self.refuse_waiting(link, 503, self.no_broker(), cx);
        }
    }

    /// The broker is up: what the conn waited for can be asked.
    pub(crate) fn on_broker_up(&mut self, link: LinkId, cx: &mut Context) {
        match &self.life {
            Life::Asking(asking) if asking.asked.is_none() => self.look_up(link, cx),
            Life::Waiting(_) => cx.put(link, Effect::Join),
            Life::Posting(_) if self.has_message() => cx.put(link, Effect::Publish),
            _ => {}
        }
    }

    /// The application has been asked, under this number.
    pub(crate) fn on_asked(&mut self, number: u64) {
        if let Life::Asking(asking) = &mut self.life {
            asking.asked = Some(Source::Application(number));
        }
    }

    /// The application's answer to the question of that number.
    pub(crate) fn on_verdict(
        &mut self,
        link: LinkId,
        number: u64,
        verdict: Verdict,
        cx: &mut Context,
    ) {
        let asked_ms = match &self.life {
            Life::Asking(asking) if asking.asked == Some(Source::Application(number)) => {
                asking.asked_ms
            }
            _ => {
                self.on_topic_verdict(link, number, verdict, cx);
                return self.subscribe_listed(link, cx);
            }
        };
        let outcome = match &verdict {
            Verdict::Granted(_) => AskOutcome::Known,
            Verdict::Refused { .. } => AskOutcome::Refused,
            Verdict::Unavailable { .. } => AskOutcome::Failed,
        };
        let took_ms = cx.now.mono_ms.saturating_sub(asked_ms);
        cx.figures.asked(AskKind::Application, outcome, took_ms);
        match verdict {
            Verdict::Granted(Granted { identity, refused, allow }) => {
                match allow.as_deref().map(Allow::parse).transpose() {
                    Ok(allow) => {
                        cx.said.unanswered.ended();
                        let named = Named { identity, refused };
                        let known = Known::by_names(named, &mut cx.metrics);
                        self.on_known(link, Known { allow, ..known }, cx);
                    }
                    Err(error) => {
                        self.on_no_verdict(link, &format!("X-Wsloop-Allow: {error}"), cx);
                    }
                }
            }
            Verdict::Refused { status, text } => {
                cx.said.unanswered.ended();
                self.refuse_waiting(link, status, &text, cx);
            }
            Verdict::Unavailable { reason } => self.on_no_verdict(link, &reason, cx),
        }
    }

    /// The application cannot be asked: too many questions wait already.
    pub(crate) fn on_busy_application(&mut self, link: LinkId, cx: &mut Context) {
        self.on_no_verdict(link, &Failure::Busy, cx);
    }

    /// Begins to join: its 101 is queued, and the channels are returned that it is to hear, of
    /// which the last so many without what is stored.
    pub(crate) fn join(&mut self, link: LinkId, cx: &mut Context) -> Option<(Vec<String>, usize)> {
        if !matches!(self.life, Life::Waiting(_)) {
            return None;
        }
        let left = Life::Closing(Closing::default());
        let Life::Waiting(Waiting { subscribe, live, joining, .. }) =
            std::mem::replace(&mut self.life, left)
        else {
            unreachable!("it was looked at")
        };
        self.outbox.push(joining.accepted.clone());
        cx.queued(1);
        tracing::trace!("{link} joins {} channels", subscribe.len());
        self.life = Life::Joining(joining);
        if self.is_placed() {
            self.join_placed(link, subscribe, cx);
            return Some((Vec::new(), 0));
        }
        Some((subscribe, live as usize))
    }

    /// Waits for one more confirmation of the broker before it opens.
    pub(crate) fn await_confirmation(&mut self) {
        if let Life::Joining(joining) = &mut self.life {
            joining.awaiting += 1;
        }
    }

    /// The broker has confirmed one of the channels.
    pub(crate) fn on_confirmed(&mut self, link: LinkId, cx: &mut Context) {
        if let Life::Joining(joining) = &mut self.life {
            joining.awaiting -= 1;
            self.open_if_joined(link, cx);
        }
    }

    /// Opens a conn whose channels are all confirmed: what waits for it goes out, unless its time
    /// is over.
    pub(crate) fn open_if_joined(&mut self, link: LinkId, cx: &mut Context) {
        let now = cx.now.tick();
        let Life::Joining(joining) = &mut self.life else { return };
        if joining.awaiting > 0 {
            return;
        }
        if joining.member.end(&cx.pace).is_some_and(|end| end <= now) {
            cx.metrics.expired_total += 1;
            let mut bytes = joining.accepted.to_vec();
            let last = match joining.member.is_stream() {
                true => {
                    bytes.extend_from_slice(&sse::close(4401, EXPIRED, None));
                    Last::Response
                }
                false => {
                    bytes.extend_from_slice(&frame::encode_close(Some(4401), EXPIRED));
                    Last::Close
                }
            };
            return self.finish(link, Frame::from(bytes), last, cx);
        }
        let mut member = std::mem::take(&mut joining.member);
        let early = std::mem::take(&mut joining.begun.early);
        (member.heard, member.spoken) = (now, now);
        let is_stream = member.is_stream();
        if !early.is_empty() && !is_stream {
            member.kept = Some(Box::new(Kept { bytes: early, done: 0 }));
            cx.put(link, Effect::GoOn);
        }
        self.life = Life::Open(member);
        cx.metrics.handshakes_pending -= 1;
        match is_stream {
            true => {
                (cx.metrics.streams, cx.metrics.streams_total) =
                    (cx.metrics.streams + 1, cx.metrics.streams_total + 1);
                cx.access_log.answered(link, 200);
            }
            false => {
                cx.metrics.handshakes_total += 1;
                cx.access_log.answered(link, 101);
            }
        }
        cx.message_rates.begin(link);
        cx.metrics.conns_open += 1;
        self.welcome(link, cx);
    }

    /// The broker will not let the conn hear one of its channels.
    pub(crate) fn on_denied(&mut self, link: LinkId, cx: &mut Context) {
        match self.is_pending() {
            true => self.refuse_waiting(link, 503, BROKER_DOWN, cx),
            false => self.close(link, Some(1011), "the server may not hear this channel", cx),
        }
    }

    /// Refuses a conn whose handshake waits for something.
    pub(super) fn refuse_waiting(
        &mut self,
        link: LinkId,
        status: u16,
        text: &str,
        cx: &mut Context,
    ) {
        let refusal = match &self.life {
            Life::Asking(asking) => {
                refusal::turned_away(status, text, &asking.request, &cx.settings)
            }
            Life::Posting(posting) => posting.refusal(status, text, &cx.settings),
            _ => refusal::unavailable(text, self.accepted_frame().as_deref(), &cx.settings),
        };
        self.refuse(link, refusal, cx);
    }

    /// The 101 that a conn would have had whose handshake is under way.
    pub(super) fn accepted_frame(&self) -> Option<Frame> {
        match &self.life {
            Life::Asking(asking) => asking.request.accepted(),
            Life::Waiting(waiting) => Some(waiting.joining.accepted.clone()),
            Life::Joining(joining) => Some(joining.accepted.clone()),
            Life::Head(_) | Life::Posting(_) | Life::Open(_) | Life::Closing(_) => None,
        }
    }

    fn no_broker(&self) -> &'static str {
        if let Life::Asking(_) = self.life { UNKNOWN } else { BROKER_DOWN }
    }

    pub(super) fn on_examined(
        &mut self,
        link: LinkId,
        known: Identified<'_>,
        begun: Begun,
        cx: &mut Context,
    ) {
        match known {
            Identified::Decided(decision) => self.on_decision(link, decision, begun, cx),
            Identified::Inspects(asked) => cx.put(link, Effect::Inspect(asked)),
            Identified::Elsewhere(..) => {}
            Identified::By(request, WhoAsks::Known(known)) => {
                self.admit(link, request, known, begun, cx);
            }
            Identified::By(request, WhoAsks::Unknown(lookup)) => {
                let (asked, question) = (None, None);
                let request = request.into_owned();
                let asking = Asking { begun, request, asked_ms: 0, lookup, asked, question };
                self.life = Life::Asking(Box::new(asking));
                self.look_up(link, cx);
            }
        }
    }

    /// Asks the next source that may know who a conn is; when there is none it is nobody's.
    fn look_up(&mut self, link: LinkId, cx: &mut Context) {
        let Life::Asking(asking) = &mut self.life else { return };
        asking.asked_ms = cx.now.mono_ms;
        let sessions = cx.settings.sources.session.as_ref();
        if let Some((sessions, key)) = sessions.zip(asking.lookup.session.as_ref()) {
            let name = sessions.stored_as(key);
            asking.asked = Some(Source::Session);
            cx.put(link, Effect::AskSession(name));
        } else if let Some(question) = asking.lookup.question.take() {
            asking.asked = Some(Source::Application(0));
            if asking.request.is_for_topics() {
                cx.took(question.len());
                asking.question = Some(question.clone());
            }
            cx.put(link, Effect::AskApplication(question));
        } else {
            self.on_known(link, Known::default(), cx);
        }
    }

    fn on_no_verdict(&mut self, link: LinkId, why: &dyn std::fmt::Display, cx: &mut Context) {
        cx.metrics.questions_failed_total += 1;
        tracing::debug!("{link}: no answer of use: {why}");
        if cx.said.unanswered.first() {
            tracing::error!(
                "the application's answer about a handshake is of no use: {why}; see --auth-url \
                 (said once until there is one; then counted)"
            );
        }
        self.refuse_waiting(link, 503, UNKNOWN, cx);
    }

    fn on_known(&mut self, link: LinkId, known: Known, cx: &mut Context) {
        let Life::Asking(asking) = &mut self.life else { return };
        asking.asked = None;
        let begun = std::mem::take(&mut asking.begun);
        let request = asking.request.clone();
        let question = asking.question.take();
        self.admit(link, request, known, begun, cx);
        if let (Life::Waiting(waiting), Some(question)) = (&mut self.life, question)
            && let Publications::Topics(topics) = &mut waiting.joining.member.publications
        {
            topics.keep_question(question);
        }
    }

    /// It is known who asks: decides, and lets the conn in.
    fn admit(
        &mut self,
        link: LinkId,
        request: Request<'_>,
        known: Known,
        begun: Begun,
        cx: &mut Context,
    ) {
        let Known { identity, refused, allow, expires_ms } = known;
        cx.access_log.known(link, identity.user.as_deref());
        let decision = admitting::admit(request, &identity, &refused, allow, cx);
        let granted = match &decision {
            Decision::Open(pending) => Some(pending.grant.granted),
            Decision::Publish(_) => Some(Options::default()),
            Decision::Answer(_) | Decision::Refuse(_) => None,
        };
        if let Some(granted) = granted {
            let owners: BTreeSet<String> = identity.other_owners(granted).collect();
            if !owners.is_empty() {
                cx.put(link, Effect::Own(owners));
            }
        }
        self.on_decision(link, decision, begun, cx);
        if let (Life::Waiting(waiting), Some(at_ms)) = (&mut self.life, expires_ms) {
            waiting.joining.member.expires = cx.pace.day.moment(at_ms);
        }
    }

    fn on_decision(&mut self, link: LinkId, decision: Decision, begun: Begun, cx: &mut Context) {
        match decision {
            Decision::Answer(answer) => self.respond(link, answer, cx),
            Decision::Refuse(refusal) => self.refuse(link, refusal, cx),
            Decision::Publish(publishing) => self.begin_posting(link, publishing, begun, cx),
            Decision::Open(pending) => {
                let Pending { grant, accepted, agreement, overflow, to, .. } = pending;
                let Pending { events, request, wanted, topics, .. } = pending;
                let mut member = Member::new(agreement, overflow, to);
                member.form.binary = grant.binary;
                member.gaps = grant.gaps;
                if events {
                    let is_placed = topics.as_ref().is_some_and(|topics| topics.is_placed());
                    let goes_as = if is_placed { GoesAs::PlacedEvents } else { GoesAs::Events };
                    member.form = Form { binary: grant.binary, goes_as, ..Form::default() };
                }
                member.publications = match topics {
                    Some(topics) => Publications::Topics(topics),
                    // A stream says nothing.
                    None if events => Publications::default(),
                    None => Publications::Fixed(publications(&grant)),
                };
                let joining = Box::new(Joining { begun, accepted, awaiting: 0, member });
                let knock = request.map(|request| {
                    let offered = request.protocols.clone();
                    let (request, echo) = (Some(request), grant.echo);
                    Box::new(Knock { request, wanted, echo, offered, in_line: false })
                });
                let subscribe = grant.subscribe;
                self.life = Life::Waiting(Waiting { subscribe, live: 0, joining, knock });
                cx.put(link, Effect::Join);
            }
        }
    }

    /// Keeps what a conn sends behind its head until its 101 has gone out.
    pub(super) fn keep_early(&mut self, link: LinkId, bytes: &[u8], cx: &mut Context) {
        let begun = match &mut self.life {
            Life::Posting(_) => return self.take_body(link, bytes, cx),
            Life::Asking(asking) => &mut asking.begun,
            Life::Waiting(waiting) => &mut waiting.joining.begun,
            Life::Joining(joining) => &mut joining.begun,
            Life::Closing(_) => return self.pass_over(link, bytes, cx),
            Life::Head(_) | Life::Open(_) => return,
        };
        if let Some(post) = &mut begun.post {
            if let Err((status, text)) = post.take(bytes, &cx.settings) {
                self.refuse_waiting(link, status, &text, cx);
            }
            return;
        }
        if begun.early.len() + bytes.len() <= cx.settings.max_head_size {
            return begun.early.extend_from_slice(bytes);
        }
        let refusal = refusal::too_eager(self.accepted_frame().as_deref(), &cx.settings);
        self.refuse(link, refusal, cx);
        self.pass_over(link, bytes, cx);
    }
}

impl Member {
    /// A member of what was agreed on, whose messages are for that one.
    fn new(agreement: Option<Agreement>, overflow: Overflow, to: Addressee) -> Self {
        let takeover = agreement.filter(|agreement| agreement.client_takeover);
        let client_bits = takeover.map_or(0, |agreement| agreement.client_bits);
        let form = Form::new(agreement);
        Member { client_bits, form, overflow, to, ..Member::default() }
    }
}

fn publications(grant: &Grant) -> Box<[Publication]> {
    let all = grant.publish.iter();
    all.map(|name| publication(name, &grant.subscribe, grant.echo)).collect()
}

/// A conn's own messages are withheld from it on channels that it hears, unless it wants an echo.
pub(super) fn publication(name: &String, hears: &[String], echo: bool) -> Publication {
    Publication { channel: name.as_str().into(), withhold: !echo && hears.contains(name), echo }
}
