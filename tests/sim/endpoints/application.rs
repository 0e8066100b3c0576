//! The application: what it is told must be what has happened, and it does what it likes.

use wsloop::internals::browser::Order;
use wsloop::proto::ws::frame::{self, Opcode};
use wsloop::{Channels, ConnId, Message, SocketEvent};

use super::super::server::world::Heard;
use super::{CHANNELS, Game, Kind, State};

impl Game<'_, '_> {
    /// It receives so many events, and does something about some.
    pub fn receive(&mut self, most: usize) {
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
    pub fn take(&mut self) {
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
    pub fn decide(&mut self) {
        let Some(at) = self.somebody(|peer| peer.state == State::Asked) else { return };
        self.decide_about(at);
    }

    pub fn decide_about(&mut self, at: usize) {
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

    pub fn send(&mut self) {
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

    pub fn broadcast(&mut self) {
        let text = self.text();
        self.say(|| format!("broadcast: {text:?}"));
        let frame = frame::encode(Opcode::Text, text.as_bytes());
        let conns = self.peers.iter().filter_map(|peer| peer.conn).collect();
        for peer in self.peers.iter_mut().filter(|peer| peer.state == State::Open) {
            peer.due.push(Heard::Text(text.clone()));
        }
        self.world.order(Order::Broadcast { conns, frame });
    }

    pub fn change_channels(&mut self) {
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

    pub fn publish_as_application(&mut self) {
        let (text, name) = (self.text(), self.dice.pick(&CHANNELS));
        self.say(|| format!("published on {name}: {text:?}"));
        self.delivered(name, &text, None);
        let (channel, payload) = (name.to_owned(), text.into_bytes());
        self.world.order(Order::Publish { channel, payload });
    }

    /// Somebody's message goes to its channels.
    pub fn publish(&mut self, by: Option<usize>, text: &str) {
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

    pub fn close(&mut self) {
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
    pub fn go(&mut self) {
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
}
