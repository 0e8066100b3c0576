//! Redis clients of the embedded broker, and how they are heard.

use std::collections::VecDeque;

use super::{Cause, Input, Party, Told, World};
use wsloop::link::LinkId;

/// The place of a visitor among all that there ever were.
pub type VisitorId = usize;

/// A Redis client.
pub struct Visitor {
    pub link: LinkId,
    /// What goes out in the next turns, a piece in each.
    sending: VecDeque<Vec<u8>>,
    ending: Option<Cause>,
    /// What has come, as it came.
    received: Vec<u8>,
    /// Knob: so many bytes are taken and no more.
    appetite: Option<usize>,
    pub closed: bool,
}

impl Visitor {
    pub fn has_to_speak(&self) -> bool {
        !self.closed && (!self.sending.is_empty() || self.ending.is_some())
    }

    pub fn take(&mut self, given: &[u8]) -> usize {
        let taken = self.appetite.map_or(given.len(), |most| most.min(given.len()));
        self.appetite = self.appetite.map(|most| most - taken);
        self.received.extend_from_slice(&given[..taken]);
        taken
    }
}

impl World {
    /// A Redis client connects.
    pub fn visit(&mut self) -> VisitorId {
        let link = self.server.accept_visitor(&"somewhere", self.now_ms);
        let id = self.visitors.len();
        self.insert(link, Party::Visitor(id));
        self.visitors.push(Visitor {
            link,
            sending: VecDeque::new(),
            ending: None,
            received: Vec::new(),
            appetite: None,
            closed: false,
        });
        id
    }

    /// A visitor sends bytes; what came of it is not looked at.
    pub fn tell(&mut self, id: VisitorId, bytes: impl AsRef<[u8]>) {
        self.send_later(id, bytes);
        self.run();
    }

    /// Lets bytes go out from a visitor, in one piece, at the next turn that has none before.
    pub fn send_later(&mut self, id: VisitorId, bytes: impl AsRef<[u8]>) {
        self.visitors[id].sending.push_back(bytes.as_ref().to_vec());
    }

    /// A visitor sends lines, each a command, and is answered this, without the CRs.
    pub fn ask_for(&mut self, id: VisitorId, lines: &str) -> String {
        self.tell(id, format!("{lines}\n"));
        self.answers(id)
    }

    /// Takes all that a visitor was sent, without the CRs.
    pub fn answers(&mut self, id: VisitorId) -> String {
        let received = std::mem::take(&mut self.visitors[id].received);
        String::from_utf8_lossy(&received).replace('\r', "")
    }

    /// A visitor takes so many bytes more and then none.
    pub fn stall_visitor(&mut self, id: VisitorId, after: usize) {
        self.visitors[id].appetite = Some(after);
    }

    /// A visitor takes everything again.
    pub fn resume_visitor(&mut self, id: VisitorId) {
        self.visitors[id].appetite = None;
        if !self.visitors[id].closed {
            self.flush(self.visitors[id].link);
        }
        self.run();
    }

    /// A visitor ends its side, or its link fails.
    pub fn end_visitor(&mut self, id: VisitorId, cause: Cause) {
        self.visitors[id].ending = Some(cause);
        self.run();
    }

    pub(super) fn hear_visitor(&mut self, id: VisitorId) {
        let visitor = &self.visitors[id];
        let link = visitor.link;
        if !visitor.has_to_speak() || !self.server.is_reading(link) {
            return;
        }
        let visitor = &mut self.visitors[id];
        if let Some(mut bytes) = visitor.sending.pop_front() {
            let bytes = &mut bytes[..];
            self.server.handle(Input::Received { link, bytes }, self.now_ms);
        } else if let Some(cause) = visitor.ending.take() {
            self.server.handle(Input::HungUp { link, cause }, self.now_ms);
        }
        self.note(Told::Other);
    }
}
