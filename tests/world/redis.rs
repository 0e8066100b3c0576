//! A Redis server as wsloop sees it: bytes of RESP commands in, bytes of RESP3 out.
//!
//! It keeps what is stored, with expiry on the clock it is given, and who subscribed. It has one
//! client. What it does not know it answers with an error, as Redis does.

mod client;
mod cluster;
mod history;
mod pair;

use std::collections::BTreeMap;

pub use client::parse_command;
use client::{Client, bulk, hello, number};
pub use cluster::{Shard, Share, slot};
pub use history::Histories;

/// What dialing it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A connection.
    Answers,
    /// `Connection refused`.
    Refuses,
    /// Nothing at all.
    Silent,
}

/// Something that has arrived whole at the other end of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The greeting is answered, and well.
    Greeted,
    /// A channel is confirmed.
    Subscribed(Vec<u8>),
    /// A message; with the number of the PUBLISH on this link that it comes of, from 0, if any.
    Message { channel: Vec<u8>, payload: Vec<u8>, publish: Option<usize> },
    /// The answer to a GET; whether that was for a session.
    Answer { value: Option<Vec<u8>>, session: bool },
    /// The answer to a SET.
    Stored,
    /// An error, with the command that it answers.
    Refused(Vec<Vec<u8>>),
    /// Something that nobody asked for.
    Blurt,
}

/// The server. Its knobs are its public fields.
#[derive(Debug)]
pub struct FakeRedis {
    /// What dialing it leads to.
    pub reach: Reach,
    /// A client's own push comes before the reply to its PUBLISH (Redis 6 and 7.0), or right after
    /// it (Redis 7.2 and later, Valkey 8).
    pub push_first: bool,
    /// It knows no RESP3 and no HELLO.
    pub ancient: bool,
    /// User and password that HELLO must bring.
    pub account: Option<(String, String)>,
    /// Commands refused, with the channel or key for which they are; `*` is for all.
    pub denied: Vec<(&'static str, &'static str)>,
    /// What it says of itself: mode, role, and its slots where it is a node of a cluster.
    pub mode: &'static str,
    pub role: &'static str,
    pub slots: &'static str,
    /// What it knows of the cluster, if it is a node of one that can be followed.
    pub cluster: Option<Share>,
    /// What was published here and is to reach the other nodes.
    pub bus: Vec<(Vec<u8>, Vec<u8>)>,
    /// What it says of itself and its master: whether it has it, and its history and offset.
    pub link: &'static str,
    pub history: &'static str,
    pub offset: u64,
    /// What it answers to everything but the greeting.
    pub condition: Option<&'static str>,
    /// A command, and the error that it is answered with.
    pub denied_with: Option<(&'static str, &'static str)>,
    /// Commands that it does not know.
    pub unknown: Vec<&'static str>,
    /// Why it keeps no history.
    pub unkept: Option<&'static str>,
    /// Most bytes of what it says that may wait for its client, which is cut past that.
    pub output_limit: usize,
    /// The most bytes of what it said that ever waited.
    pub most_unsaid: usize,
    /// It is reading its data from disk: it can be greeted and subscribed to, and knows no key.
    pub loading: bool,
    /// Commands wait until they are let through with [`FakeRedis::serve`].
    pub paused: bool,
    /// What it says stays on the way.
    pub held: bool,
    /// Most bytes of what it says that arrive in one piece.
    pub piece: usize,
    /// The link breaks after so many more bytes of what it says.
    pub cut_after: Option<usize>,
    /// How many more bytes of commands its socket takes; `None` is all.
    pub appetite: Option<usize>,
    /// Knob: keys that begin so, with no colon behind, are sessions'. A piece of what it says ends
    /// with the answer about one, or with control messages right behind, so that it makes no
    /// difference when in a piece such an answer takes effect.
    pub sessions: Option<&'static str>,
    /// The commands it was given, in words, the greeting left out.
    pub commands: Vec<String>,
    /// Channels and messages in the order in which they were published, since they were last taken.
    published: Vec<(Vec<u8>, Vec<u8>)>,
    /// The same as the knob, for names that are drawn.
    denied_names: Vec<(&'static str, String)>,
    store: BTreeMap<(u32, Vec<u8>), Stored>,
    pub histories: Histories,
    client: Option<Client>,
    /// What has arrived since it was last taken.
    arrived: Vec<Arrival>,
    /// Commands that may be executed though it is paused.
    allowance: usize,
    /// Commands of which something has come on this link or the last, and what came of one that
    /// is not whole.
    begun: (usize, Vec<u8>),
}

#[derive(Clone, Debug)]
struct Stored {
    value: Vec<u8>,
    expires_ms: u64,
}

impl FakeRedis {
    pub fn new() -> Self {
        FakeRedis {
            reach: Reach::Answers,
            push_first: true,
            ancient: false,
            account: None,
            denied: Vec::new(),
            mode: "standalone",
            role: "master",
            slots: "0-16383",
            cluster: None,
            bus: Vec::new(),
            link: "up",
            history: "a",
            offset: 0,
            condition: None,
            denied_with: None,
            unknown: Vec::new(),
            unkept: None,
            output_limit: usize::MAX,
            most_unsaid: 0,
            loading: false,
            paused: false,
            held: false,
            piece: usize::MAX,
            cut_after: None,
            appetite: None,
            arrived: Vec::new(),
            commands: Vec::new(),
            published: Vec::new(),
            sessions: None,
            denied_names: Vec::new(),
            store: BTreeMap::new(),
            histories: Histories::default(),
            client: None,
            allowance: 0,
            begun: (0, Vec::new()),
        }
    }

    /// One with its knobs turned.
    pub fn with(turn: impl FnOnce(&mut FakeRedis)) -> Self {
        let mut redis = FakeRedis::new();
        turn(&mut redis);
        redis
    }

    /// Somebody else publishes, and has the message stored for so many seconds, 0 for not at all.
    pub fn publish(
        &mut self,
        channel: &str,
        payload: impl AsRef<[u8]>,
        expire_s: u64,
        now_ms: u64,
    ) {
        let (channel, payload) = (channel.as_bytes(), payload.as_ref());
        self.published.push((channel.to_vec(), payload.to_vec()));
        if let Some(client) = &mut self.client {
            client.deliver(channel, payload, None);
        }
        if expire_s > 0 {
            self.store(0, channel, payload, now_ms + expire_s * 1000);
        }
    }

    /// Somebody else has a value stored, without publishing it.
    pub fn set(&mut self, channel: &str, value: impl AsRef<[u8]>) {
        self.store(0, channel.as_bytes(), value.as_ref(), u64::MAX);
    }

    /// What is stored for a channel, in the database of that number.
    pub fn stored(&self, db: u32, channel: &str, now_ms: u64) -> Option<&[u8]> {
        self.read(db, channel.as_bytes(), now_ms)
    }

    /// What its client is subscribed to.
    pub fn subscribed(&self) -> Vec<String> {
        let channels = self.client.iter().flat_map(|client| &client.subscribed);
        channels.map(|channel| String::from_utf8_lossy(channel).into_owned()).collect()
    }

    /// Takes the commands noted so far.
    pub fn take_commands(&mut self) -> Vec<String> {
        std::mem::take(&mut self.commands)
    }

    /// Refuses a command for this channel or key from here on.
    pub fn deny(&mut self, command: &'static str, channel: String) {
        self.denied_names.push((command, channel));
    }

    /// Refuses nothing any more.
    pub fn allow_all(&mut self) {
        self.denied.clear();
        self.denied_names.clear();
    }

    /// Lets so many commands through, though it is paused.
    pub fn serve(&mut self, commands: usize) {
        self.allowance += commands;
    }

    /// Says something that nobody asked for.
    pub fn blurt(&mut self, bytes: &[u8]) {
        let client = self.client.as_mut().expect("it has a client");
        client.say(bytes, Some(Arrival::Blurt));
    }

    /// How many commands it was given, one that is not whole included.
    pub fn begun(&self) -> usize {
        self.begun.0 + usize::from(!self.begun.1.is_empty())
    }

    /// Whether it has a client.
    pub fn has_client(&self) -> bool {
        self.client.is_some()
    }

    /// What has arrived at its client since this was last asked.
    pub fn take_arrived(&mut self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrived)
    }

    /// A client has connected.
    pub fn connected(&mut self) {
        self.client = Some(Client::default());
        self.begun = (0, Vec::new());
    }

    /// The client has gone.
    pub fn disconnected(&mut self) {
        self.client = None;
        self.cut_after = None;
    }

    /// Bytes from the client; on a link that is broken they come to nothing.
    pub fn receive(&mut self, bytes: &[u8]) {
        if let Some(client) = &mut self.client {
            client.inbox.extend_from_slice(bytes);
        }
        let (whole, rest) = &mut self.begun;
        rest.extend_from_slice(bytes);
        while let Some((_, length)) = parse_command(rest) {
            rest.drain(..length);
            *whole += 1;
        }
    }

    /// Executes what may be executed of what has arrived whole; whether there was anything.
    pub fn work(&mut self, now_ms: u64) -> bool {
        let mut worked = false;
        self.histories.now_ms = now_ms;
        while let Some(client) = &mut self.client {
            if self.paused && self.allowance == 0 {
                break;
            }
            let Some((command, length)) = parse_command(&client.inbox) else { break };
            client.inbox.drain(..length);
            self.allowance = self.allowance.saturating_sub(1);
            self.execute(&command, now_ms);
            worked = true;
        }
        let unsaid = self.client.as_ref().map_or(0, |client| client.outbox.len());
        self.most_unsaid = self.most_unsaid.max(unsaid);
        if unsaid > self.output_limit {
            self.cut_after = Some(0);
        }
        worked
    }

    /// The next piece of what it says, and whether the link breaks after it; `None` for nothing.
    pub fn speak(&mut self) -> Option<(Vec<u8>, bool)> {
        let client = self.client.as_mut().filter(|_| !self.held)?;
        let arrived = &mut self.arrived;
        let length = client.outbox.len().min(self.piece).min(client.breath());
        let breaks = self.cut_after.is_some_and(|after| after <= length);
        let length = self.cut_after.map_or(length, |after| after.min(length));
        if length == 0 && !breaks {
            return None;
        }
        self.cut_after = self.cut_after.map(|after| after - length);
        client.spoken += length;
        while client.marks.front().is_some_and(|(end, _)| *end <= client.spoken) {
            arrived.extend(client.marks.pop_front().map(|(_, mark)| mark));
        }
        Some((client.outbox.drain(..length).collect(), breaks))
    }

    /// Whether [`FakeRedis::speak`] has something to say.
    pub fn has_to_speak(&self) -> bool {
        let waits = |client: &Client| !client.outbox.is_empty() || self.cut_after == Some(0);
        !self.held && self.client.as_ref().is_some_and(waits)
    }

    fn execute(&mut self, command: &[Vec<u8>], now_ms: u64) {
        let words: Vec<String> =
            command.iter().map(|word| word.escape_ascii().to_string()).collect();
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let name = words[0].as_str();
        if !matches!(name, "HELLO" | "SELECT") {
            self.commands.push(words.join(" "));
        }
        let refusal = self.refusal(name, &arguments);
        if let Some(error) = refusal.or_else(|| self.redirection(name, command)) {
            let client = self.client.as_mut().expect("it has a client");
            client.publishes += usize::from(matches!(name, "PUBLISH" | "SPUBLISH" | "EVAL"));
            let refused = Arrival::Refused(command.to_vec());
            return client.say(format!("-{error}\r\n").as_bytes(), Some(refused));
        }
        if name == "PUBLISH" {
            return self.publish_own(&command[1], &command[2], (0, false));
        }
        if name == "EVAL" && command.len() == 8 && command[2] == b"1" {
            let most = number(&command[6]) as usize;
            let is_sharded = command[1].windows(8).any(|word| word == b"SPUBLISH");
            return self.publish_own(&command[4], &command[5], (most, is_sharded));
        }
        let replies = match self.answer_of_node(name, command) {
            Some(replies) => replies,
            None => self.answer(name, command, now_ms),
        };
        let client = self.client.as_mut().expect("it has a client");
        for (reply, mark) in replies {
            client.say(&reply, mark);
        }
    }

    /// Its client publishes, to the shard or to all, and has the message in a history of so many.
    fn publish_own(&mut self, channel: &[u8], payload: &[u8], (most, is_sharded): (usize, bool)) {
        self.published.push((channel.to_vec(), payload.to_vec()));
        if self.cluster.is_some() && !is_sharded {
            self.bus.push((channel.to_vec(), payload.to_vec()));
        }
        let readonly = "READONLY You can't write against a read only replica.";
        let unkept = self.unkept.or((self.role == "replica").then_some(readonly));
        let unkept = unkept.filter(|_| most > 0);
        if most > 0 && unkept.is_none() {
            self.histories.keep(channel, payload, most);
        }
        let client = self.client.as_mut().expect("it has a client");
        let number = client.publishes;
        client.publishes += 1;
        let hears = client.subscribed.contains(channel);
        let reply = format!(":{}\r\n", u8::from(hears));
        let reply = unkept.map_or(reply, |why| format!("-UNKEPT {why}\r\n")).into_bytes();
        let deliver = if is_sharded { Client::deliver_sharded } else { Client::deliver };
        if self.push_first {
            deliver(client, channel, payload, Some(number));
        }
        client.say(&reply, None);
        if !self.push_first {
            deliver(client, channel, payload, Some(number));
        }
    }

    fn refusal(&self, name: &str, arguments: &[&str]) -> Option<String> {
        let client = self.client.as_ref().expect("it has a client");
        if self.ancient && name == "HELLO" {
            return Some("ERR unknown command 'HELLO'".to_string());
        }
        if name == "HELLO" {
            let brought = arguments
                .iter()
                .position(|word| *word == "AUTH")
                .map(|at| (arguments[at + 1].to_string(), arguments[at + 2].to_string()));
            return match (&self.account, brought) {
                (None, _) => None,
                (Some(account), Some(brought)) if *account == brought => None,
                (Some(_), Some(_)) => {
                    Some("WRONGPASS invalid username-password pair or user is disabled.".into())
                }
                (Some(_), None) => Some("NOAUTH HELLO must be called with AUTH".into()),
            };
        }
        if !client.greeted {
            return Some("NOAUTH Authentication required.".to_string());
        }
        if self.loading && matches!(name, "GET" | "GETRANGE" | "SET") {
            return Some("LOADING Redis is loading the dataset in memory".to_string());
        }
        if let Some(condition) = self.condition {
            return Some(condition.to_string());
        }
        let denied = self.denied.iter().any(|(command, channel)| {
            *command == name && (*channel == "*" || arguments.contains(channel))
        });
        let denied = denied
            || self.denied_names.iter().any(|(command, channel)| {
                *command == name && (channel == "*" || arguments.contains(&channel.as_str()))
            });
        if let Some((_, error)) = self.denied_with.filter(|(command, _)| *command == name) {
            return Some(error.to_string());
        }
        if name == "SET" && self.role == "replica" {
            return Some("READONLY You can't write against a read only replica.".to_string());
        }
        let unheard_of = self.unknown.contains(&name);
        let error = match unheard_of {
            true => format!("ERR unknown command '{name}', with args beginning with: "),
            false => "NOPERM No permissions to access a channel".to_string(),
        };
        (denied || unheard_of).then_some(error)
    }

    fn answer(
        &mut self,
        name: &str,
        command: &[Vec<u8>],
        now_ms: u64,
    ) -> Vec<(Vec<u8>, Option<Arrival>)> {
        let client = self.client.as_mut().expect("it has a client");
        let db = client.db;
        vec![match name {
            "HELLO" => {
                client.greeted = true;
                (hello(self.mode, self.role), Some(Arrival::Greeted))
            }
            "SELECT" => {
                client.db = number(&command[1]) as u32;
                (b"+OK\r\n".to_vec(), None)
            }
            "PING" => (b"+PONG\r\n".to_vec(), None),
            "EVAL" if command[2] == b"2" => {
                let channel = String::from_utf8_lossy(&command[4]).into_owned();
                let stored = self.stored(db, &channel, now_ms).map(<[u8]>::to_vec);
                (bulk(&self.histories.look(&command[3..], stored.as_deref())), None)
            }
            "EVAL" => (bulk(&self.histories.read(&command[3..])), None),
            "INFO" => (bulk(self.replication().as_bytes()), None),
            "ROLE" => {
                let role = self.role.replace("replica", "slave");
                (format!("*3\r\n+{role}\r\n:0\r\n*0\r\n").into_bytes(), None)
            }
            "CLUSTER" => {
                let node = "0a1b 10.0.0.1:6379@16379 myself,master - 0 0 1 connected";
                (bulk(format!("{node} {}\n", self.slots).as_bytes()), None)
            }
            "SUBSCRIBE" | "UNSUBSCRIBE" => {
                return command[1..].iter().map(|channel| client.confirm(name, channel)).collect();
            }
            "SET" => {
                assert_eq!(command[3], b"EX", "every stored message expires");
                let expires_ms = now_ms + number(&command[4]) * 1000;
                self.store(db, &command[1], &command[2], expires_ms);
                (b"+OK\r\n".to_vec(), Some(Arrival::Stored))
            }
            "GET" | "GETRANGE" => {
                let value = self.read(db, &command[1], now_ms).map(<[u8]>::to_vec);
                let reply = match name {
                    "GET" => value.as_deref().map_or(b"_\r\n".to_vec(), bulk),
                    _ => {
                        assert_eq!(number(&command[2]), 0, "from the start");
                        let part = value.as_deref().unwrap_or_default();
                        bulk(&part[..part.len().min(number(&command[3]) as usize + 1)])
                    }
                };
                let session = self.sessions.and_then(|start| {
                    command[1].strip_prefix(start.as_bytes()).map(|key| !key.contains(&b':'))
                });
                (reply, Some(Arrival::Answer { value, session: session == Some(true) }))
            }
            _ => (format!("-ERR unknown command '{name}'\r\n").into_bytes(), None),
        }]
    }

    fn store(&mut self, db: u32, channel: &[u8], value: &[u8], expires_ms: u64) {
        self.store.insert((db, channel.to_vec()), Stored { value: value.to_vec(), expires_ms });
    }

    fn read(&self, db: u32, channel: &[u8], now_ms: u64) -> Option<&[u8]> {
        let stored = self.store.get(&(db, channel.to_vec()));
        stored.filter(|stored| stored.expires_ms > now_ms).map(|stored| &stored.value[..])
    }
}
