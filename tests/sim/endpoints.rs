//! An application in the same process, in disorder drawn from seeds: it decides about handshakes
//! and about conns of the relay, echoes, sends, broadcasts, publishes, has conns hear channels,
//! closes them, answers plain requests, receives late or never, and may go; its peers say things,
//! read slowly and leave.
//!
//! What is checked: of each conn the application is told in order that it comes, all that it says,
//! and its end, once; each peer hears what is for it, in order, and nothing else, all of it as long
//! as nothing has closed it that may; nobody is let in whom the application has not let in, nor
//! refused without a reason; and no more waits for the application than may.

use std::collections::{BTreeMap, VecDeque};

use wsloop::internals::browser::Order;
use wsloop::proto::ws::frame::{self, Opcode};
use wsloop::{
    Channels, ConnId, Endpoint, Message, PlainRequests, RequestId, Settings, SocketEvent,
};

use super::server::sim::Dice;
use super::server::world::{BrowserId, Heard, World, request, settings, upgrade};

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

    // Peers.

    fn come(&mut self) {
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
    fn somebody(&mut self, so: impl Fn(&Peer) -> bool) -> Option<usize> {
        let all: Vec<usize> = (0..self.peers.len()).filter(|at| so(&self.peers[*at])).collect();
        let last = all.len().checked_sub(1)?;
        Some(all[last - self.dice.below(all.len().min(6))])
    }

    fn speak(&mut self) {
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

    fn stall(&mut self) {
        let may = |peer: &Peer| peer.state == State::Open;
        if let Some(at) = self.somebody(may) {
            let after = self.dice.below(200);
            self.say(|| format!("{at} takes {after} bytes"));
            self.peers[at].slow = true;
            self.world.stall(self.peers[at].browser, after);
        }
    }

    fn resume(&mut self) {
        if let Some(at) = self.somebody(|peer| peer.slow) {
            self.say(|| format!("{at} takes all"));
            self.world.resume(self.peers[at].browser);
        }
    }

    fn leave(&mut self) {
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

    // The application.

    /// It receives so many events, and does something about some.
    fn receive(&mut self, most: usize) {
        for _ in 0..most {
            self.take();
            let Some(event) = self.inbox.pop_front().filter(|_| !self.gone) else { return };
            self.say(|| format!("received: {event:?}"));
            let bytes = event.held_bytes();
            self.world.order(Order::Received { endpoint: 0, events: 1, bytes });
            self.received(event);
        }
    }

    /// Takes what the application was told.
    fn take(&mut self) {
        self.inbox.extend(self.world.told(0));
        let ends = |event: &&SocketEvent| {
            matches!(event, SocketEvent::Closed { .. } | SocketEvent::Released { .. })
        };
        let waiting = self.inbox.len() - self.inbox.iter().filter(ends).count();
        assert!(waiting <= self.most, "{waiting} events wait of {}", self.most);
    }

    fn numbered(&self, path: &str) -> usize {
        let number = path.rsplit('/').next().expect("a number");
        number.parse().unwrap_or_else(|_| panic!("nobody has asked for {path}"))
    }

    fn of(&self, conn: ConnId) -> usize {
        let at = self.peers.iter().position(|peer| peer.conn == Some(conn));
        at.unwrap_or_else(|| panic!("{conn} was not said to come"))
    }

    fn received(&mut self, event: SocketEvent) {
        match event {
            SocketEvent::Opened { conn, request } => {
                assert!(!self.decides, "it is to decide");
                let at = self.numbered(&request.path);
                self.comes(at, Kind::Own, conn);
                self.opens(at);
            }
            SocketEvent::Asked { conn, request } => {
                assert!(self.decides, "it is not to decide");
                let at = self.numbered(&request.path);
                self.comes(at, Kind::Own, conn);
            }
            SocketEvent::Joining { conn, request, wanted } => {
                let at = self.numbered(&request.path);
                assert_eq!(wanted.facility, at.to_string());
                assert_eq!(wanted.channels.hears, [format!("broadcast:{at}")]);
                self.comes(at, Kind::Relayed, conn);
            }
            SocketEvent::Request { id, request } => {
                let at = self.numbered(&request.path);
                let peer = &mut self.peers[at];
                assert!(peer.kind == Kind::Plain && peer.id.is_none(), "it is told once");
                peer.id = Some(id);
                if peer.state == State::Came {
                    peer.state = State::Asked;
                }
            }
            SocketEvent::Message { conn, message } => {
                let at = self.of(conn);
                let peer = &mut self.peers[at];
                assert!(peer.kind == Kind::Own && !peer.end_told, "{at} says something now");
                let text = peer.said[peer.told].clone();
                assert_eq!(message, Message::Text(text), "of {at}");
                peer.told += 1;
                self.about_message(at);
            }
            SocketEvent::Closed { conn, .. } => self.ends(conn, Kind::Own),
            SocketEvent::Released { conn, channels, .. } => {
                let at = self.of(conn);
                let publishes = &self.peers[at].publishes;
                assert!(channels.publishes.is_empty() || channels.publishes == *publishes);
                self.ends(conn, Kind::Relayed);
            }
            other => panic!("{other:?}"),
        }
    }

    fn comes(&mut self, at: usize, kind: Kind, conn: ConnId) {
        let peer = &mut self.peers[at];
        assert!(peer.kind == kind && peer.conn.is_none(), "{at} comes once");
        peer.conn = Some(conn);
        if peer.state == State::Came {
            peer.state = State::Asked;
        }
    }

    fn ends(&mut self, conn: ConnId, kind: Kind) {
        let at = self.of(conn);
        let peer = &mut self.peers[at];
        assert!(peer.kind == kind && !peer.end_told && !peer.refused, "{at} ends once");
        peer.end_told = true;
        peer.state = State::Over;
    }

    fn opens(&mut self, at: usize) {
        if self.peers[at].state == State::Asked {
            self.peers[at].state = State::Open;
        }
    }

    fn about_message(&mut self, at: usize) {
        match self.dice.below(4) {
            0..2 => {
                let text = format!("echo of {}", self.peers[at].told);
                self.send_to(at, &text);
            }
            2 => self.broadcast(),
            _ => {}
        }
    }

    /// It decides about somebody, or answers a request.
    fn decide(&mut self) {
        let Some(at) = self.somebody(|peer| peer.state == State::Asked) else { return };
        self.decide_about(at);
    }

    fn decide_about(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        let refuses = self.dice.once_in(4);
        if let Some(id) = peer.id {
            peer.state = State::Over;
            self.say(|| format!("{at} is answered"));
            let (headers, body) = (Vec::new(), at.to_string().into_bytes());
            return self.world.order(Order::Respond { id, status: 200, headers, body });
        }
        let conn = peer.conn.expect("it was told");
        if refuses {
            (peer.refused, peer.state) = (true, State::Over);
            self.say(|| format!("{at} is refused"));
            let text = "no".to_owned();
            return self.world.order(Order::Refuse { conn, status: 404, text });
        }
        if peer.kind == Kind::Own {
            self.opens(at);
            self.say(|| format!("{at} is accepted"));
            return self.world.order(Order::Accept { conn, protocol: None, headers: Vec::new() });
        }
        self.grant(at, conn);
    }

    fn grant(&mut self, at: usize, conn: ConnId) {
        let mut names = || -> Vec<&'static str> {
            CHANNELS.into_iter().filter(|_| self.dice.below(2) == 0).collect()
        };
        let (hears, live, publishes) = (names(), names(), names());
        self.say(|| format!("{at} is granted {hears:?}, {live:?} live, and {publishes:?}"));
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (of_hears, hears_live) = (owned(&hears), owned(&live));
        let channels = Channels { hears: of_hears, hears_live, publishes: owned(&publishes) };
        self.opens(at);
        for channel in &hears {
            let stored = self.stored.get(channel).cloned().map(Heard::Text);
            self.peers[at].due.extend(stored);
        }
        let peer = &mut self.peers[at];
        peer.hears = hears;
        peer.hears.extend(live);
        peer.hears.sort_unstable();
        peer.hears.dedup();
        peer.publishes = publishes;
        // What it has said before goes out when it opens.
        for number in 0..self.peers[at].said.len() {
            let text = self.peers[at].said[number].clone();
            self.publish(Some(at), &text);
        }
        self.peers[at].told = self.peers[at].said.len();
        self.world.order(Order::Grant { conn, channels: Box::new(channels) });
    }

    fn send(&mut self) {
        if let Some(at) = self.somebody(|peer| peer.conn.is_some()) {
            let text = self.text();
            self.send_to(at, &text);
        }
    }

    fn send_to(&mut self, at: usize, text: &str) {
        self.say(|| format!("{at} is sent {text:?}"));
        let peer = &mut self.peers[at];
        if peer.state == State::Open {
            peer.due.push(Heard::Text(text.to_owned()));
        }
        let frame = frame::encode(Opcode::Text, text.as_bytes());
        self.world.order(Order::Send { conn: peer.conn.expect("it was told"), frame });
    }

    fn broadcast(&mut self) {
        let text = self.text();
        self.say(|| format!("broadcast: {text:?}"));
        let frame = frame::encode(Opcode::Text, text.as_bytes());
        let conns = self.peers.iter().filter_map(|peer| peer.conn).collect();
        for peer in self.peers.iter_mut().filter(|peer| peer.state == State::Open) {
            peer.due.push(Heard::Text(text.clone()));
        }
        self.world.order(Order::Broadcast { conns, frame });
    }

    fn change_channels(&mut self) {
        let Some(at) = self.somebody(|peer| peer.conn.is_some()) else { return };
        let (name, leaves) = (self.dice.pick(&CHANNELS), self.dice.once_in(3));
        self.say(|| format!("{at} hears {name}: {}", !leaves));
        let (stored, peer) = (self.stored.get(name).cloned(), &mut self.peers[at]);
        let (conn, channel) = (peer.conn.expect("it was told"), name.to_owned());
        let is_new = !peer.hears.contains(&name);
        if peer.state == State::Open {
            match leaves {
                true => peer.hears.retain(|heard| *heard != name),
                false if is_new => {
                    peer.hears.push(name);
                    peer.due.extend(stored.map(Heard::Text));
                }
                false => {}
            }
        }
        self.world.order(match leaves {
            true => Order::Unsubscribe { conn, channel },
            false => Order::Subscribe { conn, channel },
        });
    }

    fn publish_as_application(&mut self) {
        let (text, name) = (self.text(), self.dice.pick(&CHANNELS));
        self.say(|| format!("published on {name}: {text:?}"));
        self.delivered(name, &text, None);
        let (channel, payload) = (name.to_owned(), text.into_bytes());
        self.world.order(Order::Publish { channel, payload });
    }

    /// Somebody's message goes to its channels.
    fn publish(&mut self, by: Option<usize>, text: &str) {
        let names = by.map_or(Vec::new(), |at| self.peers[at].publishes.clone());
        names.into_iter().for_each(|name| self.delivered(name, text, by));
    }

    fn delivered(&mut self, name: &'static str, text: &str, by: Option<usize>) {
        self.stored.insert(name, text.to_owned());
        for (at, peer) in self.peers.iter_mut().enumerate() {
            let own = by == Some(at) && !peer.echo;
            if peer.state == State::Open && peer.hears.contains(&name) && !own {
                peer.due.push(Heard::Text(text.to_owned()));
            }
        }
    }

    fn close(&mut self) {
        let Some(at) = self.somebody(|peer| peer.conn.is_some()) else { return };
        self.say(|| format!("{at} is closed"));
        let peer = &mut self.peers[at];
        match peer.state {
            State::Open => peer.due.push(Heard::Close(Some(4_000), "enough".to_owned())),
            State::Asked => peer.refused = true,
            State::Came | State::Over => {}
        }
        peer.state = State::Over;
        let (conn, code, reason) = (peer.conn.expect("it was told"), 4_000, "enough".to_owned());
        self.world.order(Order::Close { conn, code, reason });
    }

    /// The application ends: what is its own is closed.
    fn go(&mut self) {
        if std::mem::replace(&mut self.gone, true) {
            return;
        }
        self.say(|| "the application ends".to_owned());
        for peer in &mut self.peers {
            peer.excused = true;
            let response = &self.world.browsers[peer.browser].response;
            // It may be open before the application knows.
            let opened = peer.state == State::Came
                && response.as_ref().is_some_and(|response| response.status == 101);
            if peer.kind == Kind::Own && (peer.state == State::Open || opened) {
                let reason = "the application has ended".to_owned();
                peer.due.push(Heard::Close(Some(1_001), reason));
            }
            if peer.kind != Kind::Relayed || peer.state != State::Open {
                peer.state = State::Over;
            }
        }
        self.inbox.clear();
        self.world.order(Order::Gone { endpoint: 0 });
    }

    // What is checked.

    /// Compares what everybody was answered and has heard with what is for it.
    fn look(&mut self) {
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
