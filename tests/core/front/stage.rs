//! Browsers and upstreams as bytes, around the core: nobody here knows HTTP.

use std::collections::VecDeque;
use std::hash::RandomState;
use std::io::IoSlice;
use std::net::SocketAddr;

use slab::Slab;
use wsloop::{Cause, Front, Input, LinkId, Now, Output, Server, Settings, Speaks, Target};
use wsloop::{Upstream, Wish};

/// One end of a link.
#[derive(Debug, Default)]
pub struct Peer {
    link: Option<LinkId>,
    /// Whom the core has dialed, if that is how it came.
    pub target: Option<Target>,
    connected: bool,
    /// What it is to say, a piece at a time, and how it ends then.
    pub says: VecDeque<Vec<u8>>,
    pub ends: Option<Cause>,
    /// All that it was told.
    pub heard: Vec<u8>,
    /// How many more bytes it takes; `None` is all.
    pub appetite: Option<usize>,
    rests: bool,
    /// The core has shut its own side, or closed the link.
    pub finished: bool,
    pub closed: bool,
}

/// The core and everybody around it.
pub struct Stage {
    pub server: Server,
    pub now_ms: u64,
    pub peers: Vec<Peer>,
    places: Slab<usize>,
    /// Dials fail with that.
    pub refuses: Option<&'static str>,
    /// Nothing comes of dials.
    pub silent: bool,
}

/// An upstream at that port.
pub fn upstream(port: u16) -> Upstream {
    let target = Target::Tcp { host: "app".to_owned(), port };
    Upstream { target, speaks: Speaks::Http, host: "app".to_owned() }
}

/// Settings with an application behind.
pub fn settings() -> Settings {
    let routes = vec![("/".to_owned(), 0)];
    let front = Front { upstreams: vec![upstream(80)], routes, ..Front::default() };
    Settings { front, ..Settings::base() }
}

impl Stage {
    pub fn new(settings: Settings) -> Stage {
        let server = Server::new(settings, RandomState::new(), 1);
        let (peers, places) = (Vec::new(), Slab::new());
        Stage { server, now_ms: 1_000_000, peers, places, refuses: None, silent: false }
    }

    /// A browser comes.
    pub fn browser(&mut self) -> usize {
        let from: SocketAddr = "192.0.2.1:1234".parse().expect("an address");
        let link = self.server.accept(from, self.now());
        let connected = true;
        self.enter(link, Peer { link: Some(link), connected, ..Peer::default() })
    }

    /// A browser that says this.
    pub fn asks(&mut self, bytes: impl AsRef<[u8]>) -> usize {
        let id = self.browser();
        self.say(id, bytes);
        id
    }

    /// It says this, and whatever follows from that happens.
    pub fn say(&mut self, id: usize, bytes: impl AsRef<[u8]>) {
        self.peers[id].says.push_back(bytes.as_ref().to_vec());
        self.run();
    }

    /// It ends like that, behind what it says.
    pub fn end(&mut self, id: usize, cause: Cause) {
        self.peers[id].ends = Some(cause);
        self.run();
    }

    /// The links that were ever dialed, in their order.
    pub fn dialed(&self) -> Vec<usize> {
        (0..self.peers.len()).filter(|id| self.peers[*id].target.is_some()).collect()
    }

    /// The one that was dialed last.
    pub fn app(&self) -> usize {
        *self.dialed().last().expect("nobody was dialed")
    }

    /// Takes what it was told.
    pub fn take(&mut self, id: usize) -> String {
        String::from_utf8(std::mem::take(&mut self.peers[id].heard)).expect("text")
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while !self.server.is_done()
            && let Some(at_ms) = self.server.next_deadline_ms().filter(|at| *at <= until_ms)
        {
            self.now_ms = self.now_ms.max(at_ms);
            self.run();
        }
        self.now_ms = until_ms;
        self.run();
    }

    /// Turns until nothing happens any more.
    pub fn run(&mut self) {
        let mut turns = 0;
        while self.turn() {
            turns += 1;
            assert!(turns < 100_000, "the loop would spin");
        }
    }

    pub fn now(&self) -> Now {
        Now { mono_ms: self.now_ms, unix_ms: self.now_ms }
    }

    fn enter(&mut self, link: LinkId, peer: Peer) -> usize {
        self.peers.push(peer);
        let id = self.peers.len() - 1;
        assert_eq!(self.places.insert(id), link.index as usize, "places disagree");
        id
    }

    /// One turn; whether anything has happened.
    fn turn(&mut self) -> bool {
        let mut happened = false;
        for id in 0..self.peers.len() {
            happened |= self.hear(id);
        }
        self.server.tick(self.now());
        while let Some(output) = self.server.poll_output() {
            happened = true;
            match output {
                Output::Flush(link) => self.flush(link),
                Output::Resume(link) => {
                    if let Some(id) = self.find(link) {
                        self.peers[id].rests = false;
                    }
                }
                Output::Dial(link, target) => {
                    let (link, target) = (Some(link), Some(target));
                    let id =
                        self.enter(link.expect("it"), Peer { link, target, ..Peer::default() });
                    if let Some(why) = self.refuses {
                        self.peers[id].ends = Some(Cause::Failed(why.to_owned()));
                        self.peers[id].connected = true;
                    }
                }
                Output::Finish(link) => {
                    let id = self.find(link).expect("a link");
                    self.peers[id].finished = true;
                }
                Output::Close(link) => {
                    let id = self.places.remove(link.index as usize);
                    assert_eq!(self.peers[id].link, Some(link));
                    self.peers[id].closed = true;
                }
            }
        }
        self.server.check_invariants();
        happened
    }

    fn find(&self, link: LinkId) -> Option<usize> {
        let id = *self.places.get(link.index as usize)?;
        (self.peers[id].link == Some(link)).then_some(id)
    }

    /// Tells the core the next thing of a peer.
    fn hear(&mut self, id: usize) -> bool {
        let now = self.now();
        let peer = &mut self.peers[id];
        let Some(link) = peer.link.filter(|_| !peer.closed) else { return false };
        if !peer.connected {
            if !self.silent {
                peer.connected = true;
                self.server.handle(Input::Connected { link }, now);
            }
            return !self.silent;
        }
        if peer.rests || peer.says.is_empty() && peer.ends.is_none() {
            return false;
        }
        match self.server.wish(link) {
            Wish::Read | Wish::Fill => {}
            Wish::GoOn => {
                self.server.handle(Input::WentOn { link }, now);
                return true;
            }
            Wish::Later => return true,
            Wish::Rest => {
                peer.rests = true;
                return false;
            }
        }
        match peer.says.pop_front() {
            Some(mut bytes) => self.server.handle(Input::Received { link, bytes: &mut bytes }, now),
            None => {
                let cause = peer.ends.take().expect("it was looked at");
                self.server.handle(Input::HungUp { link, cause }, now);
            }
        }
        true
    }

    fn flush(&mut self, link: LinkId) {
        let Some(id) = self.find(link) else { return };
        loop {
            let mut slices = [IoSlice::new(&[]); 16];
            let used = self.server.slices(link, &mut slices);
            let given: Vec<u8> = slices[..used].iter().flat_map(|one| one.to_vec()).collect();
            if given.is_empty() {
                return;
            }
            let peer = &mut self.peers[id];
            assert!(!peer.finished, "bytes behind the end");
            let taken = peer.appetite.map_or(given.len(), |most| most.min(given.len()));
            peer.appetite = peer.appetite.map(|most| most - taken);
            peer.heard.extend_from_slice(&given[..taken]);
            self.server.advance(link, taken);
            if taken < given.len() {
                return self.server.handle(Input::Blocked { link }, self.now());
            }
        }
    }

    /// It takes so many more bytes.
    pub fn feed(&mut self, id: usize, more: Option<usize>) {
        let peer = &mut self.peers[id];
        peer.appetite = more;
        if let Some(link) = peer.link.filter(|_| !peer.closed) {
            self.server.handle(Input::Writable { link }, self.now());
        }
        self.run();
    }

    /// Bytes that wait for it in the core.
    pub fn waiting(&self, id: usize) -> usize {
        let mut slices = [IoSlice::new(&[]); 16];
        let used = self.server.slices(self.peers[id].link.expect("a link"), &mut slices);
        slices[..used].iter().map(|one| one.len()).sum()
    }
}
