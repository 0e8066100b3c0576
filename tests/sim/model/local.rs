//! The embedded broker as its RESP clients and the browsers see it.
//!
//! A RESP client is answered in the order of its commands, each of them done at once and a
//! transaction as a whole; it hears what is published from when it subscribes, its own before it is
//! told how many have heard it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::super::world::Setup;
use super::Model;

/// The broker.
#[derive(Debug)]
pub struct Local {
    pub clients: Vec<Client>,
    expire_ms: u64,
    max_message: usize,
    now_ms: u64,
    store: BTreeMap<Vec<u8>, Stored>,
    /// Counts what is written.
    revision: u64,
    /// Messages of RESP clients that the browsers have yet to hear.
    announced: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
struct Stored {
    value: Vec<u8>,
    until_ms: u64,
    revision: u64,
}

/// A RESP client.
#[derive(Debug, Default)]
pub struct Client {
    /// Its commands, in words, and after how many bytes each is said.
    pub script: VecDeque<(usize, Vec<Vec<u8>>)>,
    pub queued: usize,
    pub told: usize,
    three: bool,
    channels: BTreeSet<Vec<u8>>,
    /// What names begin with that it hears.
    patterns: BTreeSet<Vec<u8>>,
    /// Between MULTI and EXEC: its commands, and whether all were good.
    transaction: Option<(Vec<Vec<Vec<u8>>>, bool)>,
    watched: Vec<(Vec<u8>, Option<u64>)>,
    /// What it is to be sent.
    expected: VecDeque<Reply>,
    received: Vec<u8>,
    pub gone: bool,
    /// It has been slow at some time.
    pub stalled: bool,
}

/// What a RESP client is sent.
#[derive(Clone, Debug)]
enum Reply {
    Bytes(Vec<u8>),
    /// A line that begins so.
    Error(&'static str),
}

impl Local {
    pub fn new(setup: &Setup) -> Local {
        Local {
            clients: Vec::new(),
            expire_ms: setup.expire_s * 1000,
            max_message: setup.max_message,
            now_ms: 0,
            store: BTreeMap::new(),
            revision: 0,
            announced: Vec::new(),
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.store.retain(|_, stored| stored.until_ms > now_ms);
    }

    /// What is stored.
    pub(super) fn stored(&self, name: &str) -> Option<&[u8]> {
        self.store.get(name.as_bytes()).map(|stored| &stored.value[..])
    }

    /// A browser's message.
    pub(super) fn published(&mut self, name: &str, payload: &[u8]) {
        if self.expire_ms > 0 {
            self.set(name.as_bytes(), payload, self.now_ms + self.expire_ms);
        }
        self.tell(name.as_bytes(), payload);
    }

    /// A RESP client that has read all it was sent ends its side; or its link fails.
    pub(super) fn ended(&mut self, id: usize) {
        self.clients[id].gone = true;
    }

    pub(super) fn shut_down(&mut self) {
        self.clients.iter_mut().for_each(|client| client.gone = true);
    }

    fn set(&mut self, name: &[u8], value: &[u8], until_ms: u64) {
        self.revision += 1;
        let stored = Stored { value: value.to_vec(), until_ms, revision: self.revision };
        self.store.insert(name.to_vec(), stored);
    }

    /// Every RESP client that hears a channel is told; returns how often.
    fn tell(&mut self, name: &[u8], payload: &[u8]) -> usize {
        self.clients.iter_mut().map(|client| client.hear(name, payload)).sum()
    }

    /// Does a command; `heard` is whether browsers hear a channel, or the server itself.
    fn run(&mut self, id: usize, words: &[Vec<u8>], heard: &impl Fn(&[u8]) -> bool) {
        let (name, rest) = (&words[0][..], &words[1..]);
        let is_about_hearing =
            matches!(name, b"SUBSCRIBE" | b"PSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE");
        let client = &mut self.clients[id];
        let listens = !client.channels.is_empty() || !client.patterns.is_empty();
        if name == b"LLEN" {
            client.spoil();
            return client.fail("ERR unknown command");
        }
        if !client.three && listens && !is_about_hearing && name != b"PING" {
            return client.fail("ERR Can't execute");
        }
        let Some((commands, good)) = &mut client.transaction else {
            return self.execute(id, words, heard);
        };
        match name {
            b"EXEC" => self.exec(id, heard),
            b"DISCARD" => {
                (client.transaction, client.watched) = (None, Vec::new());
                client.say(b"+OK\r\n");
            }
            b"MULTI" => client.fail("ERR MULTI calls can not be nested"),
            b"WATCH" => client.fail("ERR WATCH inside MULTI"),
            _ if is_about_hearing => {
                *good = false;
                client.fail("ERR");
            }
            _ => {
                commands.push([&[name.to_vec()], rest].concat());
                client.say(b"+QUEUED\r\n");
            }
        }
    }

    fn exec(&mut self, id: usize, heard: &impl Fn(&[u8]) -> bool) {
        let client = &mut self.clients[id];
        let (commands, good) = client.transaction.take().expect("it is in one");
        let watched = std::mem::take(&mut client.watched);
        let revision = |name: &[u8]| self.store.get(name).map(|stored| stored.revision);
        let same = watched.iter().all(|(name, watched)| revision(name) == *watched);
        match (good, same) {
            (false, _) => client.fail("EXECABORT"),
            (true, false) if client.three => client.say(b"_\r\n"),
            (true, false) => client.say(b"*-1\r\n"),
            (true, true) => {
                client.say(format!("*{}\r\n", commands.len()).as_bytes());
                commands.iter().for_each(|words| self.execute(id, words, heard));
            }
        }
    }

    fn execute(&mut self, id: usize, words: &[Vec<u8>], heard: &impl Fn(&[u8]) -> bool) {
        let (name, now_ms) = (&words[0][..], self.now_ms);
        let argument = words.get(1).cloned().unwrap_or_default();
        match name {
            b"PUBLISH" if words[2].len() > self.max_message => self.clients[id].fail("ERR"),
            b"PUBLISH" => {
                let ears = self.tell(&argument, &words[2]) + usize::from(heard(&argument));
                self.clients[id].say(format!(":{ears}\r\n").as_bytes());
                self.announced.push((argument, words[2].clone()));
            }
            b"SET" if words[2].len() > self.max_message => self.clients[id].fail("ERR"),
            b"SET" => {
                let seconds: u64 = String::from_utf8_lossy(&words[4]).parse().expect("a number");
                self.set(&argument, &words[2], now_ms + seconds * 1000);
                self.clients[id].say(b"+OK\r\n");
            }
            b"GET" => {
                let value = self.store.get(&argument).map(|stored| bulk(&stored.value));
                let client = &mut self.clients[id];
                let nothing = if client.three { "_\r\n" } else { "$-1\r\n" };
                client.say(&value.unwrap_or(nothing.into()));
            }
            b"DEL" => {
                let was = self.store.remove(&argument).is_some();
                self.clients[id].say(format!(":{}\r\n", u8::from(was)).as_bytes());
            }
            b"WATCH" => {
                let revision = self.store.get(&argument).map(|stored| stored.revision);
                self.clients[id].watched.push((argument, revision));
                self.clients[id].say(b"+OK\r\n");
            }
            b"EXEC" => self.clients[id].fail("ERR EXEC without MULTI"),
            b"DISCARD" => self.clients[id].fail("ERR DISCARD without MULTI"),
            _ => self.clients[id].execute(name, words.get(1)),
        }
    }
}

impl Client {
    /// One that has just come, speaking RESP3 or not.
    pub fn new(three: bool) -> Client {
        Client { three, ..Client::default() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.expected.push_back(Reply::Bytes(bytes.to_vec()));
    }

    fn fail(&mut self, start: &'static str) {
        self.expected.push_back(Reply::Error(start));
    }

    fn spoil(&mut self) {
        if let Some((_, good)) = &mut self.transaction {
            *good = false;
        }
    }

    /// What concerns nobody else.
    fn execute(&mut self, name: &[u8], argument: Option<&Vec<u8>>) {
        let listens = self.listens_to() > 0;
        match name {
            b"MULTI" => {
                self.transaction = Some((Vec::new(), true));
                self.say(b"+OK\r\n");
            }
            b"PING" if !self.three && listens => self.say(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
            b"PING" => self.say(b"+PONG\r\n"),
            _ => self.subscribe(name, argument),
        }
    }

    fn listens_to(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    fn subscribe(&mut self, name: &[u8], argument: Option<&Vec<u8>>) {
        let patterns = name.starts_with(b"P");
        let adds = !name.ends_with(b"UNSUBSCRIBE");
        let kind = name.to_ascii_lowercase();
        let names = if patterns { &mut self.patterns } else { &mut self.channels };
        let start = if self.three { ">3\r\n" } else { "*3\r\n" };
        let Some(argument) = argument else {
            let all = std::mem::take(names);
            if all.is_empty() {
                let nothing = if self.three { "_" } else { "$-1" };
                let count = self.listens_to();
                let rest = format!("{nothing}\r\n:{count}\r\n");
                return self.say(&[start.as_bytes(), &bulk(&kind), rest.as_bytes()].concat());
            }
            let others = self.listens_to();
            for (at, name) in all.iter().enumerate() {
                let count = format!(":{}\r\n", others + all.len() - 1 - at);
                let parts = [start.as_bytes(), &bulk(&kind), &bulk(&shown(name, patterns))];
                self.say(&[&parts.concat(), count.as_bytes()].concat());
            }
            return;
        };
        let bare = if patterns { argument.strip_suffix(b"*").expect("a star") } else { argument };
        match adds {
            true => names.insert(bare.to_vec()),
            false => names.remove(bare),
        };
        let count = format!(":{}\r\n", self.listens_to());
        self.say(&[start.as_bytes(), &bulk(&kind), &bulk(argument), count.as_bytes()].concat());
    }

    /// Is told of a message, if it hears the channel; returns how often.
    fn hear(&mut self, name: &[u8], payload: &[u8]) -> usize {
        if self.gone {
            return 0;
        }
        let before = self.expected.len();
        let mark = if self.three { '>' } else { '*' };
        if self.channels.contains(name) {
            let start = format!("{mark}3\r\n").into_bytes();
            self.say(&[start, bulk(b"message"), bulk(name), bulk(payload)].concat());
        }
        let fitting = self.patterns.iter().filter(|start| name.starts_with(start));
        let fitting: Vec<Vec<u8>> = fitting.map(|start| shown(start, true)).collect();
        for pattern in fitting {
            let start = format!("{mark}4\r\n").into_bytes();
            let parts = [start, bulk(b"pmessage"), bulk(&pattern), bulk(name), bulk(payload)];
            self.say(&parts.concat());
        }
        self.expected.len() - before
    }

    /// Compares what it was sent with what it was to be sent; `all` is whether it has taken all.
    pub fn check(&mut self, received: &[u8], all: bool) -> Result<(), String> {
        self.received.extend_from_slice(received);
        while let Some(next) = self.expected.front() {
            let length = match next {
                Reply::Bytes(bytes) if self.received.starts_with(bytes) => bytes.len(),
                Reply::Bytes(bytes) if bytes.starts_with(&self.received) => break,
                Reply::Error(start) => {
                    let Some(end) = self.received.windows(2).position(|two| two == b"\r\n") else {
                        break;
                    };
                    let line = self.received[..end].strip_prefix(b"-");
                    if line.is_none_or(|line| !line.starts_with(start.as_bytes())) {
                        return Err(self.fault("it was to be an error"));
                    }
                    end + 2
                }
                Reply::Bytes(_) => return Err(self.fault("something else was to come")),
            };
            self.received.drain(..length);
            self.expected.pop_front();
        }
        match self.received.is_empty() {
            true if self.expected.is_empty() || !all => Ok(()),
            true => Err(self.fault("something is missing")),
            false if self.expected.is_empty() => Err(self.fault("nothing was to come")),
            false if all => Err(self.fault("something is cut off")),
            false => Ok(()),
        }
    }

    fn fault(&self, what: &str) -> String {
        let expected = self.expected.iter().take(3).map(|reply| match reply {
            Reply::Bytes(bytes) => bytes.escape_ascii().to_string(),
            Reply::Error(start) => format!("-{start}…"),
        });
        let expected: Vec<String> = expected.collect();
        format!("{what}\n received: {}\n expected: {expected:?}", self.received.escape_ascii())
    }
}

impl Model {
    /// Bytes came from a RESP client: the commands that are whole by then are done.
    pub(super) fn resp_said(&mut self, id: usize, length: usize) {
        let control = self.control();
        let local = self.local.as_mut().expect("it has RESP clients");
        local.clients[id].told += length;
        let channels = &self.channels;
        let heard = |name: &[u8]| {
            let name = std::str::from_utf8(name).unwrap_or_default();
            channels.contains_key(name) || control.as_deref() == Some(name)
        };
        loop {
            let client = &mut local.clients[id];
            let told = client.told;
            if client.gone || client.script.front().is_none_or(|(end, _)| *end > told) {
                break;
            }
            let Some((_, words)) = client.script.pop_front() else { break };
            local.run(id, &words, &heard);
        }
    }

    /// What RESP clients have published goes to browsers, or to the server itself.
    pub(super) fn deliver_announced(&mut self) {
        let local = self.local.as_mut().expect("it has RESP clients");
        for (name, payload) in std::mem::take(&mut local.announced) {
            self.event += 1;
            self.note_published(vec![(name.clone(), payload.clone())]);
            let name = String::from_utf8_lossy(&name);
            match self.control().as_deref() == Some(&name) {
                true => self.controlled(&payload),
                false if self.is_for_browsers(&payload) => {
                    self.deliver(&name, &payload, None, None)
                }
                false => {}
            }
        }
    }

    /// A browser's message goes out by the embedded broker.
    pub(super) fn publish_here(&mut self, id: usize, payload: Vec<u8>) {
        for name in self.guests[id].grant.publish.clone() {
            self.event += 1;
            self.note_published(vec![(name.clone().into_bytes(), payload.clone())]);
            self.local.as_mut().expect("it is here").published(&name, &payload);
            if self.channels.contains_key(&name) {
                let withheld = self.guests[id].withholds(&name);
                if withheld && self.guests[id].is_member() {
                    let own = self.guests[id].own.entry(payload.clone()).or_default();
                    *own = (own.0 + 1, own.1 + 1);
                }
                self.deliver(&name, &payload, withheld.then_some(id), None);
            }
        }
    }
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// A name, or the pattern of all that begin with it.
fn shown(name: &[u8], pattern: bool) -> Vec<u8> {
    if pattern { [name, b"*"].concat() } else { name.to_vec() }
}
