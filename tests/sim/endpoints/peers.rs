//! Peers: they come, say things, read slowly and leave.

use wsloop::proto::ws::frame::{self, Opcode};

use super::super::server::world::{request, upgrade};
use super::{AT_ONCE, Game, Kind, Peer, State};

impl Game<'_, '_> {
    pub fn come(&mut self) {
        let number = self.peers.len();
        let kind = self.dice.pick(&[Kind::Own, Kind::Own, Kind::Relayed, Kind::Plain]);
        let echo = self.dice.below(2) == 0;
        let bytes = match kind {
            Kind::Own => upgrade(&format!("/own/{number}"), &[]),
            Kind::Relayed => {
                let options = if echo { "subscribe-broadcast&echo" } else { "subscribe-broadcast" };
                upgrade(&format!("/ws/{number}?{options}"), &[])
            }
            Kind::Plain => {
                request("GET", &format!("/own/{number}"), &["Host: h", "Connection: close"])
            }
        };
        let waits = |peer: &&Peer| peer.kind == Kind::Plain && peer.state != State::Over;
        let excused = kind == Kind::Plain && self.peers.iter().filter(waits).count() >= AT_ONCE;
        self.say(|| format!("{number} comes: {kind:?}, echo: {echo}"));
        self.peers.push(Peer {
            browser: self.world.browsers.len(),
            kind,
            state: State::Came,
            came_ms: self.world.now_ms,
            conn: None,
            id: None,
            said: Vec::new(),
            told: 0,
            due: Vec::new(),
            heard: 0,
            hears: Vec::new(),
            publishes: Vec::new(),
            echo,
            leaves: false,
            slow: false,
            refused: false,
            excused: excused || self.gone,
            end_told: false,
        });
        self.world.ask(&bytes);
    }

    /// Somebody of the last that came who is there.
    pub fn somebody(&mut self, so: impl Fn(&Peer) -> bool) -> Option<usize> {
        let all: Vec<usize> = (0..self.peers.len()).filter(|at| so(&self.peers[*at])).collect();
        let last = all.len().checked_sub(1)?;
        Some(all[last - self.dice.below(all.len().min(6))])
    }

    pub fn speak(&mut self) {
        // Of who reads slowly it is not known when it is closed.
        let may = |peer: &Peer| {
            let is_known = peer.kind == Kind::Own || peer.kind == Kind::Relayed && !peer.slow;
            is_known && peer.state != State::Over && !peer.leaves
        };
        let Some(at) = self.somebody(may) else { return };
        let text = self.text();
        self.say(|| format!("{at} says {text:?}"));
        let (browser, mut bytes) = (self.peers[at].browser, Vec::new());
        frame::encode_masked(Opcode::Text, text.as_bytes(), [1, 2, 3, 4], &mut bytes);
        let (first, rest) = bytes.split_at(self.dice.below(bytes.len()));
        let pieces = [first, rest].map(<[u8]>::to_vec);
        pieces.into_iter().filter(|piece| !piece.is_empty()).for_each(|piece| {
            self.world.send(browser, &piece);
        });
        self.peers[at].said.push(text.clone());
        if self.peers[at].kind == Kind::Relayed && self.peers[at].state == State::Open {
            self.peers[at].told += 1;
            self.publish(Some(at), &text);
        }
        self.world.run();
    }

    pub fn stall(&mut self) {
        let may = |peer: &Peer| peer.state == State::Open;
        if let Some(at) = self.somebody(may) {
            let after = self.dice.below(200);
            self.say(|| format!("{at} takes {after} bytes"));
            self.peers[at].slow = true;
            self.world.stall(self.peers[at].browser, after);
        }
    }

    pub fn resume(&mut self) {
        if let Some(at) = self.somebody(|peer| peer.slow) {
            self.say(|| format!("{at} takes all"));
            self.world.resume(self.peers[at].browser);
        }
    }

    pub fn leave(&mut self) {
        let Some(at) = self.somebody(|peer| !peer.leaves && peer.state != State::Over) else {
            return;
        };
        let peer = &mut self.peers[at];
        // It may be open before the application knows.
        let opens = peer.kind == Kind::Own && peer.state == State::Came && !self.decides;
        let (browser, is_open) = (peer.browser, peer.state == State::Open || opens);
        peer.leaves = true;
        // Of who is not open that is seen at once.
        peer.state = if is_open { peer.state } else { State::Over };
        if is_open && !opens && self.dice.below(2) == 0 {
            self.say(|| format!("{at} closes"));
            self.world.send_frame(browser, Opcode::Close, &4_321_u16.to_be_bytes());
        } else {
            self.say(|| format!("{at} vanishes"));
            self.world.vanish(browser);
        }
    }
}
