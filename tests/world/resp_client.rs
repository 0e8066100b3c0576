//! Redis clients of the embedded broker, and how they are heard.

use std::collections::VecDeque;

use super::contract::{Cause, Input, LinkId};
use super::{Party, Told, World};

/// The place of a RESP client among all that there ever were.
pub type RespClientId = usize;

/// A Redis client.
pub struct RespClient {
    pub link: LinkId,
    /// What goes out in the next turns, a piece in each.
    sending: VecDeque<Vec<u8>>,
    /// Knob: how it ends its side, when all has gone out.
    pub ending: Option<Cause>,
    /// What has come, as it came.
    received: Vec<u8>,
    /// Knob: so many bytes are taken and no more.
    pub appetite: Option<usize>,
    pub closed: bool,
}

impl RespClient {
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
    pub fn connect_resp(&mut self) -> RespClientId {
        let link = self.accept_resp_client();
        let id = self.resp_clients.len();
        self.insert(link, Party::RespClient(id));
        self.resp_clients.push(RespClient {
            link,
            sending: VecDeque::new(),
            ending: None,
            received: Vec::new(),
            appetite: None,
            closed: false,
        });
        id
    }

    /// A RESP client sends bytes; what came of it is not looked at.
    pub fn tell(&mut self, id: RespClientId, bytes: impl AsRef<[u8]>) {
        self.send_later(id, bytes);
        self.run();
    }

    /// Lets bytes go out from a RESP client, in one piece, at the next turn that has none before.
    pub fn send_later(&mut self, id: RespClientId, bytes: impl AsRef<[u8]>) {
        self.resp_clients[id].sending.push_back(bytes.as_ref().to_vec());
    }

    /// A RESP client sends lines, each a command, and is answered this, without the CRs.
    pub fn ask_for(&mut self, id: RespClientId, lines: &str) -> String {
        self.tell(id, format!("{lines}\n"));
        self.answers(id)
    }

    /// Takes all that a RESP client was sent, as it came.
    pub fn take_received(&mut self, id: RespClientId) -> Vec<u8> {
        std::mem::take(&mut self.resp_clients[id].received)
    }

    /// Takes all that a RESP client was sent, without the CRs.
    pub fn answers(&mut self, id: RespClientId) -> String {
        let received = std::mem::take(&mut self.resp_clients[id].received);
        String::from_utf8_lossy(&received).replace('\r', "")
    }

    /// A RESP client takes so many bytes more and then none.
    pub fn stall_resp(&mut self, id: RespClientId, after: usize) {
        self.resp_clients[id].appetite = Some(after);
    }

    /// A RESP client takes everything again.
    pub fn resume_resp(&mut self, id: RespClientId) {
        self.resp_clients[id].appetite = None;
        if !self.resp_clients[id].closed {
            self.flush(self.resp_clients[id].link);
        }
        self.run();
    }

    /// A RESP client ends its side, or its link fails.
    pub fn end_resp(&mut self, id: RespClientId, cause: Cause) {
        self.resp_clients[id].ending = Some(cause);
        self.run();
    }

    pub(super) fn hear_resp_client(&mut self, id: RespClientId) {
        let client = &self.resp_clients[id];
        let link = client.link;
        if !client.has_to_speak() {
            return;
        }
        self.flush(link);
        if self.resp_clients[id].closed || !self.is_reading(link) {
            return;
        }
        let client = &mut self.resp_clients[id];
        if let Some(mut bytes) = client.sending.pop_front() {
            let length = bytes.len();
            self.handle_bytes(link, &mut bytes);
            self.note(Told::Resp(id, length));
        } else if let Some(cause) = client.ending.take() {
            self.handle(Input::HungUp { link, cause: cause.clone() });
            self.note(Told::RespEnded(id, cause));
        }
    }
}
