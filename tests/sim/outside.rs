//! What the application answers, and what RESP clients ask the embedded broker for.

use super::super::world::Reach;
use super::Dice;
use super::ask::Payload;
use super::people::{ALLOWS, Identity, KEYS, Standing, any_channel};

/// What the application does.
#[derive(Clone, Debug)]
pub enum AppTurn {
    /// It answers one of the questions that it has not answered.
    Answer {
        which: usize,
        reply: Reply,
        manner: Manner,
    },
    /// It answers all of them, and goes on to do so at once, or ceases to.
    Prompt(bool),
    Reach(Reach),
    /// It hangs up, whether it was asked something or not.
    HangUp {
        which: usize,
        fails: bool,
    },
    /// It hangs up on all its links: it is started again.
    Restart,
    /// It says what nobody asked for.
    Blurt {
        which: usize,
    },
    /// Its sockets take so many bytes more together.
    Stall(usize),
    Resume,
}

/// What it thinks of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Yes {
        standing: Standing,
        key: Option<usize>,
        allow: Option<usize>,
    },
    No(u16),
    /// What means neither yes nor no.
    Useless(&'static str),
    /// It gave up waiting for the question.
    GaveUp,
}

/// How it says that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// In two pieces, cut there.
    pub cut: Option<usize>,
    /// After so many bytes it hangs up instead.
    pub ends_after: Option<usize>,
    pub fails: bool,
    /// Twice, the second time perhaps in two breaths.
    pub twice: bool,
    /// So many milliseconds pass before anybody hears of it.
    pub takes_ms: u64,
    /// It closes the connection, and says so.
    pub closes: bool,
}

/// One command of a RESP client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Publish(String, Payload),
    Set(String, Payload, u64),
    Get(String),
    Del(String),
    Watch(String),
    Subscribe(String),
    Unsubscribe(Option<String>),
    /// For all names with that beginning.
    PSubscribe(String),
    PUnsubscribe,
    Ping,
    Multi,
    Exec,
    Discard,
    Unknown,
}

impl AppTurn {
    pub fn draw(dice: &mut Dice<'_>) -> AppTurn {
        let which = dice.below(4);
        match dice.below(20) {
            0..10 => {
                AppTurn::Answer { which, reply: Reply::draw(dice), manner: Manner::draw(dice) }
            }
            10 => AppTurn::Prompt(false),
            11..14 => AppTurn::Prompt(true),
            14 => AppTurn::Reach(dice.pick(&[Reach::Refuses, Reach::Silent])),
            15 => AppTurn::Reach(Reach::Answers),
            16 => AppTurn::HangUp { which, fails: dice.below(2) == 0 },
            17 if dice.once_in(2) => AppTurn::Blurt { which },
            17 => AppTurn::Restart,
            18 => AppTurn::Stall(dice.below(300)),
            _ => AppTurn::Resume,
        }
    }
}

impl Reply {
    pub fn draw(dice: &mut Dice<'_>) -> Reply {
        const USELESS: [&str; 5] = [
            "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n",
            "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /login\r\n",
            "HTTP/1.1 204 Yes\r\nX-Wsloop-User: a\r\nX-Wsloop-User-Encoded: a\r\n",
            "HTTP/1.1 204 Yes\r\nX-Wsloop-Allow: everything\r\n",
            "hello\r\n",
        ];
        match dice.below(16) {
            0 => Reply::No(401),
            1 => Reply::No(403),
            2 => Reply::Useless(dice.pick(&USELESS)),
            3 if dice.once_in(2) => Reply::GaveUp,
            _ => Reply::Yes {
                standing: Standing::draw(dice),
                key: dice.once_in(3).then(|| dice.below(KEYS.len())),
                allow: dice.once_in(4).then(|| dice.below(ALLOWS.len())),
            },
        }
    }

    /// Whether it is an answer as it should be.
    pub fn is_sensible(self) -> bool {
        matches!(self, Reply::Yes { .. } | Reply::No(_))
    }

    /// Who it is, if it is somebody.
    pub fn identity(self) -> Option<Identity> {
        match self {
            Reply::Yes { standing, key, .. } => Some(standing.identity(key)),
            _ => None,
        }
    }

    /// The response.
    pub fn bytes(self, closes: bool) -> Vec<u8> {
        let close = if closes { "Connection: close\r\n" } else { "" };
        let head = match self {
            Reply::No(status) => format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n"),
            Reply::GaveUp => "HTTP/1.1 408 Late\r\nContent-Length: 0\r\n".to_owned(),
            Reply::Useless(head) => head.to_owned(),
            Reply::Yes { standing, key, allow } => {
                let mut head = "HTTP/1.1 204 Yes\r\n".to_owned();
                let groups = standing.groups().join(", ");
                let named = [
                    ("User", standing.user().unwrap_or_default()),
                    ("Groups", &groups),
                    ("Session", key.map_or("", |key| KEYS[key])),
                ];
                for (name, value) in named {
                    head.push_str(&format!("X-Wsloop-{name}: {value}\r\n"));
                }
                if let Some(allow) = allow {
                    head.push_str(&format!("X-Wsloop-Allow: {}\r\n", ALLOWS[allow].0));
                }
                head
            }
        };
        format!("{head}{close}\r\n").into_bytes()
    }
}

impl Manner {
    pub fn draw(dice: &mut Dice<'_>) -> Manner {
        Manner {
            cut: dice.once_in(3).then(|| 1 + dice.below(60)),
            ends_after: dice.once_in(10).then(|| dice.pick(&[0, 0, 1, 20])),
            fails: dice.below(2) == 0,
            twice: dice.once_in(10),
            takes_ms: if dice.once_in(8) { dice.below(3_000) as u64 } else { 0 },
            closes: dice.once_in(5),
        }
    }
}

impl Command {
    /// A few commands that make sense together.
    pub fn draw(dice: &mut Dice<'_>, prefix: &str) -> Vec<Command> {
        let channel = any_channel(dice, prefix);
        let payload = Payload::draw(dice, true);
        let seconds = dice.pick(&[1, 5, 3600]);
        let beginning = || channel[..channel.find(':').map_or(0, |at| at + 1)].to_owned();
        match dice.below(20) {
            0..5 => vec![Command::Publish(channel, payload)],
            5 => vec![
                Command::Multi,
                Command::Publish(channel.clone(), payload),
                Command::Set(channel, payload, seconds),
                Command::Exec,
            ],
            6 => vec![
                Command::Multi,
                Command::Get(channel.clone()),
                Command::Set(channel, payload, seconds),
            ],
            7 => vec![Command::Exec],
            8 => vec![Command::Set(channel.clone(), payload, seconds), Command::Get(channel)],
            9 => vec![Command::Get(channel)],
            10 => vec![Command::Watch(channel.clone()), Command::Multi, Command::Get(channel)],
            11..14 => vec![Command::Subscribe(channel)],
            14 => vec![Command::PSubscribe(beginning())],
            15 => vec![Command::Unsubscribe(Some(channel))],
            16 => vec![Command::Unsubscribe(None), Command::PUnsubscribe],
            17 => vec![Command::Ping, Command::Del(channel)],
            18 => vec![Command::Discard, Command::Unknown],
            _ => vec![Command::Publish(channel.clone(), payload); 2 + dice.below(3)],
        }
    }

    /// What its message consists of, if it has one.
    pub fn payload(&self) -> Option<Payload> {
        match self {
            Command::Publish(_, payload) | Command::Set(_, payload, _) => Some(*payload),
            _ => None,
        }
    }

    /// Its words; `payload` is its message's.
    pub fn words(&self, payload: &[u8]) -> Vec<Vec<u8>> {
        let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect();
        match self {
            Command::Publish(channel, _) => words(&[b"PUBLISH", channel.as_bytes(), payload]),
            Command::Set(name, _, seconds) => {
                let seconds = seconds.to_string();
                words(&[b"SET", name.as_bytes(), payload, b"EX", seconds.as_bytes()])
            }
            Command::Get(name) => words(&[b"GET", name.as_bytes()]),
            Command::Del(name) => words(&[b"DEL", name.as_bytes()]),
            Command::Watch(name) => words(&[b"WATCH", name.as_bytes()]),
            Command::Subscribe(name) => words(&[b"SUBSCRIBE", name.as_bytes()]),
            Command::Unsubscribe(Some(name)) => words(&[b"UNSUBSCRIBE", name.as_bytes()]),
            Command::Unsubscribe(None) => words(&[b"UNSUBSCRIBE"]),
            Command::PSubscribe(start) => words(&[b"PSUBSCRIBE", format!("{start}*").as_bytes()]),
            Command::PUnsubscribe => words(&[b"PUNSUBSCRIBE"]),
            Command::Ping => words(&[b"PING"]),
            Command::Multi => words(&[b"MULTI"]),
            Command::Exec => words(&[b"EXEC"]),
            Command::Discard => words(&[b"DISCARD"]),
            Command::Unknown => words(&[b"LLEN", b"x"]),
        }
    }
}
