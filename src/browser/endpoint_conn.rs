//! L2: the conn of an endpoint: how it is let in, what it says, and how it parts.

use std::borrow::Cow;

use super::conn::{Conn, Life, Waiting};
use super::context::Context;
use super::deciding::{Released, Wanted};
use super::endpoint::{Addressee, ConnId, ConnRequest, Knock, Message, SocketEvent};
use super::refusal;
use crate::link::{Frame, LinkId};
use crate::proto::http;
use crate::proto::ws::message::Kind;

impl Conn {
    /// The endpoint that its messages are for, if it is open.
    pub(crate) fn endpoint(&self) -> Option<u8> {
        match &self.life {
            Life::Open(member) => member.to.endpoint(),
            _ => None,
        }
    }

    /// The endpoint whose application it is told of, from when it is open or about to be.
    pub(crate) fn application(&self) -> Option<u8> {
        match &self.life {
            Life::Open(member) => member.to.application(),
            Life::Joining(joining) => joining.member.to.application(),
            _ => None,
        }
    }

    /// The endpoint that is to let it in, or has been told of it.
    pub(crate) fn knocks(&self) -> Option<u8> {
        match &self.life {
            Life::Waiting(Waiting { knock: Some(_), joining, .. }) => {
                joining.member.to.application()
            }
            _ => None,
        }
    }

    /// Takes what the application is to be told of the request; `None` when it was told.
    pub(crate) fn take_request(&mut self) -> Option<(Box<ConnRequest>, Option<Box<Wanted>>)> {
        match &mut self.life {
            Life::Waiting(waiting) => {
                let knock = waiting.knock.as_mut()?;
                Some((knock.request.take()?, knock.wanted.take()))
            }
            _ => None,
        }
    }

    /// Has it stand in line for room in the queue of its endpoint, or no more; whether that is new.
    pub(crate) fn stand_in_line(&mut self, stands: bool) -> bool {
        match &mut self.life {
            Life::Waiting(Waiting { knock: Some(knock), .. }) => {
                std::mem::replace(&mut knock.in_line, stands) != stands
            }
            _ => false,
        }
    }

    /// It is let in.
    pub(crate) fn let_in(&mut self) {
        if let Life::Waiting(waiting) = &mut self.life {
            waiting.knock = None;
        }
    }

    /// The application lets it in, and says this in its 101. Whether it has waited for that; a
    /// sub-protocol that it has not offered is left out.
    pub(crate) fn accept(&mut self, protocol: Option<&str>, headers: &[(String, String)]) -> bool {
        let Life::Waiting(waiting) = &mut self.life else { return false };
        let Addressee::Endpoint(_) = waiting.joining.member.to else { return false };
        let Some(knock) = waiting.knock.take_if(|knock| knock.request.is_none()) else {
            return false;
        };
        let is_offered = |name: &&str| knock.offered.iter().any(|offered| offered == name);
        if protocol.is_some_and(|name| !is_offered(&name)) {
            tracing::warn!("a sub-protocol was accepted that the client has not offered: left out");
        }
        let accepted = &mut waiting.joining.accepted;
        let mut head = accepted[..accepted.len() - 2].to_vec();
        if let Some(name) = protocol.filter(is_offered) {
            http::push_header(&mut head, "Sec-WebSocket-Protocol", name);
        }
        for (name, value) in headers {
            http::push_header(&mut head, name, value);
        }
        head.extend_from_slice(b"\r\n");
        *accepted = Frame::from(head);
        true
    }

    /// The application refuses it, if it has been told of it.
    pub(crate) fn turn_away(&mut self, link: LinkId, status: u16, text: &str, cx: &mut Context) {
        let Life::Waiting(waiting) = &mut self.life else { return };
        if waiting.knock.take_if(|knock| knock.request.is_none()).is_some() {
            // Who was refused needs no word of its end.
            waiting.joining.member.to = Addressee::Broker;
            let accepted = self.accepted_frame();
            let text = text.to_owned();
            let refusal = refusal::refuse(status, &[], text, accepted.as_deref(), &cx.settings);
            self.refuse(link, refusal, cx);
        }
    }

    /// Nobody lets it in.
    pub(crate) fn is_unheard(&mut self, link: LinkId, cx: &mut Context) {
        if let Life::Waiting(waiting) = &mut self.life {
            waiting.joining.member.to = Addressee::Broker;
        }
        self.refuse_waiting(
            link,
            503,
            "The application behind this address is away; try again later.",
            cx,
        );
    }

    /// Whether it is not read because the application does not receive, or does not want it read.
    pub(crate) fn is_passed_over(&self, cx: &Context) -> bool {
        let Life::Open(member) = &self.life else { return false };
        let is_full = |endpoint| cx.endpoints[usize::from(endpoint)].is_full();
        member.paused || member.to.endpoint().is_some_and(is_full)
    }

    /// The application wants it read no more, or again; whether that is new.
    pub(crate) fn pause(&mut self, pauses: bool, cx: &mut Context) -> bool {
        let Life::Open(member) = &mut self.life else { return false };
        let is_new = std::mem::replace(&mut member.paused, pauses) != pauses;
        if is_new {
            cx.pause(pauses);
        }
        is_new
    }

    /// The application of its endpoint has told it to close.
    pub(crate) fn end(&mut self, link: LinkId, code: u16, reason: &str, cx: &mut Context) {
        match self.is_pending() {
            true => self.turn_away(link, 403, "The application has refused this.", cx),
            false if self.application().is_some() => self.close(link, Some(code), reason, cx),
            false => {}
        }
    }

    /// What it closes with, for the application.
    pub(super) fn note_last_words(&self, code: Option<u16>, reason: &str, cx: &mut Context) {
        if self.told().is_some() && cx.last_words.is_none() {
            cx.last_words = Some((code.unwrap_or(1005), reason.to_owned()));
        }
    }

    /// It says nothing more. What it has heard is known to others, who tell that.
    pub(super) fn part(&mut self, link: LinkId, cx: &mut Context) -> Option<Box<Released>> {
        let to = self.told()?;
        self.pause(false, cx);
        let (code, reason) = cx.last_words.take().unwrap_or((1006, String::new()));
        let conn = ConnId(link);
        match to {
            Addressee::Decided(endpoint) => {
                return Some(Box::new(Released::of(self, endpoint, (code, reason))));
            }
            Addressee::Endpoint(endpoint) => {
                cx.tell(endpoint, SocketEvent::Closed { conn, code, reason });
            }
            Addressee::Broker | Addressee::Itself | Addressee::Topics => {}
        }
        None
    }

    /// The endpoint whose it is, and whose application has been told of it.
    pub(crate) fn told_of(&self) -> Option<u8> {
        self.told()?.endpoint()
    }

    /// Who has been told of it, if that is an application.
    fn told(&self) -> Option<Addressee> {
        let to = match &self.life {
            Life::Open(member) => member.to,
            Life::Joining(joining) => joining.member.to,
            Life::Waiting(waiting) => {
                let is_told = |knock: &Knock| knock.request.is_none();
                let told = waiting.knock.as_deref().is_none_or(is_told);
                Some(waiting.joining.member.to).filter(|_| told)?
            }
            _ => return None,
        };
        Some(to).filter(|to| to.application().is_some())
    }
}

impl Addressee {
    /// The endpoint, if it is one.
    pub(crate) fn endpoint(self) -> Option<u8> {
        match self {
            Addressee::Endpoint(endpoint) => Some(endpoint),
            Addressee::Broker | Addressee::Itself | Addressee::Decided(_) | Addressee::Topics => {
                None
            }
        }
    }

    /// The endpoint whose application is told of it.
    pub(crate) fn application(self) -> Option<u8> {
        match self {
            Addressee::Endpoint(endpoint) | Addressee::Decided(endpoint) => Some(endpoint),
            Addressee::Broker | Addressee::Itself | Addressee::Topics => None,
        }
    }
}

/// Hands a message to an endpoint.
#[inline(never)]
pub(super) fn tell(link: LinkId, endpoint: u8, kind: Kind, data: Cow<'_, [u8]>, cx: &mut Context) {
    cx.metrics.messages_in_total += 1;
    let data = data.into_owned();
    let message = match kind {
        Kind::Text => Message::Text(String::from_utf8(data).expect("text was checked")),
        Kind::Binary => Message::Binary(data),
    };
    let queue = &mut cx.endpoints[usize::from(endpoint)];
    queue.last = link.index;
    cx.tell(endpoint, SocketEvent::Message { conn: ConnId(link), message });
}
