//! Requests, who asks, and what is done about that.

use super::super::super::world::AppTold;
use super::super::ask::{Flaw, FlawKind, number_in};
use super::super::outside::Reply;
use super::super::people::{ALLOWS, FACILITIES, Grant, Identity, KEYS, Options, Session};
use super::Model;
use super::guest::{End, Life};

/// What something means that the application says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppNews {
    /// It is the end of an answer about a browser.
    Answer { about: usize, reply: Reply },
    /// It leaves a browser without an answer.
    Spoils { about: usize },
    /// It is no response, which may show before it is whole.
    Shakes { about: usize },
    /// It is no answer to anything.
    Nothing,
}

impl Model {
    /// A browser's request is whole.
    pub(super) fn knock(&mut self, id: usize) {
        let guest = &self.guests[id];
        let (ask, surplus) = (guest.ask, guest.surplus);
        match ask.bad {
            Some(Flaw { status, kind: FlawKind::Unreadable, .. }) => {
                return self.end(id, End::Status(status));
            }
            _ if surplus => return self.end(id, End::Status(503)),
            Some(Flaw { status, kind: FlawKind::Wrong, .. }) => {
                return self.end(id, End::Status(status));
            }
            Some(Flaw { kind: FlawKind::Inquiry, .. }) | None => {}
        }
        if let Some(token) = ask.token.filter(|_| self.setup.tokens) {
            let expires_unix_ms = self.guests[id].expires_unix_ms;
            if token.forged || expires_unix_ms.is_some_and(|at_ms| at_ms <= self.unix_ms) {
                return self.end(id, End::Status(401));
            }
            self.guests[id].expires_ms = expires_unix_ms;
            return self.admit(id, token.identity(), token.allow);
        }
        match ask.cookie.filter(|_| self.setup.sessions) {
            Some(_) if self.down => self.end(id, End::Status(503)),
            Some(_) => {
                let (up, event) = (self.up, self.event);
                (self.guests[id].life, self.guests[id].looks_up) =
                    (Life::LookingUp, up.then_some(event));
                if let Some(local) = &self.local {
                    let stored = local.stored(&self.session_name(id)).map(<[u8]>::to_vec);
                    self.looked_up(id, stored.as_deref());
                }
            }
            None => self.ask_the_application(id),
        }
    }

    /// The name under which a browser's session is stored.
    pub(super) fn session_name(&self, id: usize) -> String {
        let key = self.guests[id].ask.cookie.expect("it has a cookie");
        format!("session:{}", KEYS[key])
    }

    /// A browser's session was read.
    pub(super) fn looked_up(&mut self, id: usize, stored: Option<&[u8]>) {
        if self.guests[id].life != Life::LookingUp {
            return;
        }
        match stored {
            // Redis does not hand it out, or the server does not take it.
            Some(stored) if stored.len() > self.setup.max_message && self.local.is_none() => {
                self.end(id, End::Status(503));
            }
            stored => match stored.and_then(Session::read) {
                Some(standing) => {
                    let identity = standing.identity(self.guests[id].ask.cookie);
                    self.admit(id, identity, None);
                }
                None => self.ask_the_application(id),
            },
        }
    }

    fn ask_the_application(&mut self, id: usize) {
        if self.setup.application.is_none() {
            return self.admit(id, Identity::default(), None);
        }
        let guest = &mut self.guests[id];
        (guest.life, guest.asks, guest.asking_ms) = (Life::Asking, true, self.now_ms);
    }

    /// The application has said something.
    pub(super) fn app_said(&mut self, told: &AppTold) {
        match told.mark.map(|news| self.app_news[news]) {
            Some(AppNews::Answer { about, reply: Reply::GaveUp }) => self.lost_by(about, told),
            Some(AppNews::Answer { about, reply }) if self.is_asking(about) => {
                self.answered_about(about, reply);
            }
            Some(AppNews::Shakes { about }) => self.guests[about].trouble = true,
            Some(AppNews::Answer { .. } | AppNews::Spoils { .. } | AppNews::Nothing) => {}
            // What nobody asked for.
            None => match number_in(&told.question) {
                Some(about) => self.guests[about].trouble = true,
                None => self.trouble_anybody(told),
            },
        }
    }

    /// A link to the application has ended; or could not be made, and then nobody knows who would
    /// have had it.
    pub(super) fn app_hung_up(&mut self, told: &AppTold) {
        match told.mark.map(|news| self.app_news[news]) {
            Some(AppNews::Spoils { about }) if self.is_asking(about) => {
                self.end(about, End::Status(503));
            }
            Some(_) => {}
            None => match number_in(&told.question) {
                Some(about) => self.lost_by(about, told),
                None => self.trouble_anybody(told),
            },
        }
    }

    /// A link is lost of which nobody knows who had it, if anybody had.
    fn trouble_anybody(&mut self, told: &AppTold) {
        if !told.connected || self.app_stalls {
            self.guests.iter_mut().for_each(|guest| guest.trouble |= guest.asks);
        }
    }

    /// The link on which the application was asked about a browser is lost before an answer began.
    /// If it had rested, that may be why, and it is asked about once more.
    fn lost_by(&mut self, about: usize, told: &AppTold) {
        let guest = &mut self.guests[about];
        let again = told.rested && !guest.asked_again;
        (guest.asked_again, guest.trouble) = (true, guest.trouble || !again);
    }

    fn is_asking(&self, id: usize) -> bool {
        self.guests[id].life == Life::Asking && self.guests[id].due.is_none()
    }

    fn answered_about(&mut self, id: usize, reply: Reply) {
        if self.is_overdue(id) {
            return self.end(id, End::Status(503));
        }
        match reply {
            Reply::No(status) => self.end(id, End::Status(status)),
            Reply::Useless(_) => self.end(id, End::Status(503)),
            Reply::GaveUp => {}
            Reply::Yes { allow, .. } => {
                let identity = reply.identity().expect("it is somebody");
                let revoked = &self.guests[id].revoked;
                match identity.owners().iter().any(|owner| revoked.contains(owner)) {
                    true => self.end(id, End::Status(403)),
                    false => self.admit(id, identity, allow),
                }
            }
        }
    }

    /// Whether the application has had all the time that it may take.
    pub(super) fn is_overdue(&self, id: usize) -> bool {
        self.now_ms >= self.guests[id].asking_ms + self.setup.auth_timeout_ms
    }

    /// It is known who a browser is.
    fn admit(&mut self, id: usize, identity: Identity, narrowed_to: Option<usize>) {
        if self.setup.require_login && identity.user.is_none() {
            return self.end(id, End::Status(403));
        }
        if let Some(Flaw { status, .. }) = self.guests[id].ask.bad {
            return self.end(id, End::Status(status));
        }
        let allowed = |list: &str| ALLOWS.iter().find(|(known, _)| *known == list).map(|(_, o)| *o);
        let mut permitted: Options = allowed(self.setup.allow).expect("a list that is known");
        permitted &= narrowed_to.map_or(Options::MAX, |at| ALLOWS[at].1);
        let guest = &mut self.guests[id];
        let facility = FACILITIES[guest.ask.facility];
        guest.grant = identity.grant(self.setup.prefix, facility, guest.ask.options & permitted);
        guest.identity = identity;
        if guest.ask.stream {
            guest.grant.publish.clear();
        }
        let Grant { subscribe, publish, .. } = &guest.grant;
        let needs_redis = !subscribe.is_empty() || !publish.is_empty();
        match needs_redis && !self.up {
            false => self.join(id),
            true if self.down => self.end(id, End::Status(503)),
            true => self.guests[id].life = Life::Waiting,
        }
    }

    /// The application has said something on the channel that is for the server itself.
    pub(super) fn controlled(&mut self, message: &[u8]) {
        let Some((owner, code)) = read_control(message) else { return };
        for id in 0..self.guests.len() {
            let guest = &mut self.guests[id];
            if guest.life == Life::Asking {
                guest.revoked.insert(owner.clone());
            }
            if guest.due.is_some() || !guest.identity.owners().contains(&owner) {
                continue;
            }
            match guest.life {
                Life::Open => self.end(id, End::Code(Some(code))),
                Life::Waiting | Life::Joining => self.end(id, End::Status(403)),
                Life::Head | Life::LookingUp | Life::Asking | Life::Closing => {}
            }
        }
    }
}

/// A message for the server itself, that makes sense or not.
pub fn write_control(whose: (&str, &str), code: Option<u16>, sense: bool) -> Vec<u8> {
    let (word, name) = whose;
    let code = code.map_or(String::new(), |code| format!(r#", "code": {code}"#));
    let verb = if sense { "disconnect" } else { "disconnects" };
    format!(r#"{{"{verb}": {{"{word}": "{name}"}}{code}}}"#).into_bytes()
}

/// Whose conns are to be closed, and with which code.
fn read_control(message: &[u8]) -> Option<(String, u16)> {
    let text = std::str::from_utf8(message).ok()?;
    let rest = text.strip_prefix(r#"{"disconnect": {""#)?;
    let (word, rest) = rest.split_once(r#"": ""#)?;
    let (name, rest) = rest.split_once(r#""}"#)?;
    let code = rest.strip_prefix(r#", "code": "#).and_then(|rest| rest.strip_suffix('}'));
    Some((format!("{word}:{name}"), code.map_or(4403, |code| code.parse().expect("a number"))))
}
