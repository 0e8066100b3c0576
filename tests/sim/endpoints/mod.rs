//! An application in the same process, in disorder drawn from seeds: it decides about handshakes
//! and about conns of the relay, echoes, sends, broadcasts, publishes, has conns hear channels,
//! closes them, answers plain requests, receives late or never, and may go; its peers say things,
//! read slowly and leave.
//!
//! What is checked: of each conn the application is told in order that it comes, all that it says,
//! and its end, once; each peer hears what is for it, in order, and nothing else, all of it as long
//! as nothing has closed it that may; nobody is let in whom the application has not let in, nor
//! refused without a reason; and no more waits for the application than may.

mod application;
mod look;
mod peers;

use std::collections::{BTreeMap, VecDeque};

use wsloop::{ConnId, Endpoint, PlainRequests, RequestId, Settings, SocketEvent};

use super::server::sim::Dice;
use super::server::world::{BrowserId, Heard, World, settings};

const AT_ONCE: usize = 3;
const ANSWER_MS: u64 = 5_000;
const HANDSHAKE_MS: u64 = 10_000;
const CHANNELS: [&str; 3] = ["x", "y", "z"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Own,
    Relayed,
    Plain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The application has not been told.
    Came,
    /// It is asked about it.
    Asked,
    Open,
    /// It was refused, answered or told to close, or has gone.
    Over,
}

/// Somebody who has come.
#[derive(Debug)]
struct Peer {
    browser: BrowserId,
    kind: Kind,
    state: State,
    came_ms: u64,
    conn: Option<ConnId>,
    id: Option<RequestId>,
    /// What it has said, and how much of that the application was told.
    said: Vec<String>,
    told: usize,
    /// What it is to hear, and how much of that it has heard.
    due: Vec<Heard>,
    heard: usize,
    hears: Vec<&'static str>,
    publishes: Vec<&'static str>,
    echo: bool,
    /// It has left by itself, or may have been closed for reading slowly.
    leaves: bool,
    slow: bool,
    refused: bool,
    /// It may be refused though nobody is late.
    excused: bool,
    end_told: bool,
}

struct Game<'d, 's> {
    dice: &'d mut Dice<'s>,
    world: World,
    trace: bool,
    peers: Vec<Peer>,
    /// What the application was told and has not received.
    inbox: VecDeque<SocketEvent>,
    most: usize,
    decides: bool,
    /// The last message that was published on each channel.
    stored: BTreeMap<&'static str, String>,
    texts: usize,
    gone: bool,
}

/// Plays the script of a seed.
pub fn play(dice: &mut Dice<'_>, steps: usize, trace: bool) {
    let most = dice.pick(&[1, 2, 5, 1_000]);
    let decides = dice.below(2) == 0;
    let requests = PlainRequests { max_body: 100, at_once: AT_ONCE, timeout_ms: ANSWER_MS };
    let endpoint = Endpoint {
        path: "/own/".to_owned(),
        decides,
        joins: true,
        requests: Some(requests),
        queue_events: most,
        ..Endpoint::default()
    };
    let outbox_limit = dice.pick(&[500, 1 << 20]);
    let endpoints = vec![endpoint];
    let handshake_timeout_ms = HANDSHAKE_MS;
    let world =
        World::new(Settings { endpoints, outbox_limit, handshake_timeout_ms, ..settings() });
    let (peers, inbox, stored) = (Vec::new(), VecDeque::new(), BTreeMap::new());
    let (texts, gone) = (0, false);
    let mut game = Game { dice, world, trace, peers, inbox, most, decides, stored, texts, gone };
    game.world.flushes = game.dice.pick(&[usize::MAX, usize::MAX, 1, 3]);
    game.say(|| format!("queue of {most}, decides: {decides}, outboxes of {outbox_limit}"));
    for _ in 0..steps {
        game.step();
        game.look();
    }
    game.end();
}

impl Game<'_, '_> {
    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{} {}", self.world.now_ms, what());
        }
    }

    fn step(&mut self) {
        match self.dice.below(44) {
            0..6 => self.come(),
            6..16 => self.speak(),
            16..24 => {
                let most = 1 + self.dice.below(6);
                self.receive(most);
            }
            24..29 => self.decide(),
            29..31 => self.send(),
            31 => self.broadcast(),
            32..34 => self.change_channels(),
            34 => self.publish_as_application(),
            35 => self.close(),
            36 => self.stall(),
            37..39 => self.resume(),
            39 => self.leave(),
            43 if self.dice.once_in(40) => self.go(),
            _ => {
                let ms = self.dice.pick(&[10, 900, 900, 4_000, 11_000]);
                self.say(|| format!("{ms} ms pass"));
                self.world.pass(ms);
            }
        }
    }

    fn text(&mut self) -> String {
        self.texts += 1;
        format!("text {} {}", self.texts, "x".repeat(self.dice.below(60)))
    }

    /// The application receives everything and decides; then everybody goes.
    fn end(&mut self) {
        self.say(|| "the end".to_owned());
        for at in 0..self.peers.len() {
            self.world.resume(self.peers[at].browser);
        }
        for _ in 0..10_000 {
            self.receive(usize::MAX);
            let asked = self.peers.iter().position(|peer| peer.state == State::Asked);
            let Some(at) = asked.filter(|_| !self.gone) else { break };
            self.decide_about(at);
            self.look();
        }
        self.world.pass(2 * HANDSHAKE_MS);
        self.receive(usize::MAX);
        self.look();
        for (at, peer) in self.peers.iter().enumerate() {
            let browser = &self.world.browsers[peer.browser];
            let answered = browser.response.is_some() || browser.ended;
            assert!(answered, "{at} is not answered: {peer:?}");
            let stays = peer.state == State::Open && !peer.leaves;
            assert!(!stays || peer.told == peer.said.len(), "{at} is not heard: {peer:?}");
        }
        for at in 0..self.peers.len() {
            if !self.world.browsers[self.peers[at].browser].ended {
                self.world.vanish(self.peers[at].browser);
            }
        }
        self.world.pass(60_000);
        self.receive(usize::MAX);
        for (at, peer) in self.peers.iter().enumerate().filter(|_| !self.gone) {
            let ends = peer.conn.is_some() && !peer.refused;
            assert_eq!(peer.end_told, ends, "the end of {at}: {peer:?}");
        }
        assert_eq!((self.world.metrics().conns, self.world.metrics().channels), (0, 0));
    }
}
