//! What everybody was answered and has heard is what is for it.

use super::super::server::world::Heard;
use super::{ANSWER_MS, Game, HANDSHAKE_MS, Kind, State};

impl Game<'_, '_> {
    /// Compares what everybody was answered and has heard with what is for it.
    pub fn look(&mut self) {
        self.world.run();
        if !self.gone {
            self.take();
        }
        for at in 0..self.peers.len() {
            self.look_at_answer(at);
            self.look_at_heard(at);
        }
    }

    fn look_at_answer(&mut self, at: usize) {
        let Some(response) = self.world.browsers[self.peers[at].browser].response.clone() else {
            return;
        };
        let peer = &mut self.peers[at];
        let waited_ms = self.world.now_ms - peer.came_ms;
        match (response.status, peer.kind) {
            (101, Kind::Own | Kind::Relayed) => {
                let unasked = peer.kind == Kind::Own && !self.decides;
                let let_in = unasked || !matches!(peer.state, State::Came | State::Asked);
                assert!(let_in && !peer.refused, "{at} is let in by nobody");
            }
            (200, Kind::Plain) => {
                assert_eq!(response.body, at.to_string().as_bytes(), "the answer to another");
            }
            (404, Kind::Own | Kind::Relayed) => assert!(peer.refused, "{at} is refused by nobody"),
            (403, Kind::Own | Kind::Relayed) => assert!(peer.refused, "{at} is refused by nobody"),
            (503 | 504, kind) => {
                let least_ms = if kind == Kind::Plain { ANSWER_MS } else { HANDSHAKE_MS };
                assert!(peer.excused || waited_ms >= least_ms, "{at} has waited {waited_ms} ms");
                peer.state = State::Over;
            }
            (status, kind) => panic!("{at}, {kind:?}, is answered {status}"),
        }
    }

    fn look_at_heard(&mut self, at: usize) {
        let heard = self.world.heard(self.peers[at].browser);
        let peer = &mut self.peers[at];
        for one in heard {
            let due = peer.due.get(peer.heard);
            let may_end = match &one {
                Heard::Close(Some(4_321), _) => peer.leaves,
                Heard::Close(Some(1_008), _) => peer.slow,
                _ => false,
            };
            if may_end && due != Some(&one) {
                (peer.leaves, peer.state) = (true, State::Over);
                continue;
            }
            assert_eq!(Some(&one), due, "what {at} hears");
            peer.heard += 1;
        }
        let browser = &self.world.browsers[peer.browser];
        let let_in = browser.response.as_ref().is_some_and(|response| response.status == 101);
        // Who has read slowly may have been closed without having read that.
        let closed = peer.slow && browser.closed_ms.is_some();
        if let_in && browser.appetite.is_none() && !peer.leaves && !closed {
            assert_eq!(peer.due.get(peer.heard), None, "{at} has not heard it");
        }
    }
}
