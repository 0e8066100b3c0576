//! Kinds of sites, for what their conns cost in memory: whom conns hear, and what is said to them.
//!
//! Each kind is a number of conns that come, hear sixteen small messages each or sixty larger ones,
//! and go.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wsloop::proto::ws::deflate::Compression;
use wsloop::{LinkId, Settings, TokenKeys, Tokens};

use crate::live::Live;
use crate::{Core, OFFER, hears, text_of, upgrade};

const SECRET: &[u8] = b"a secret of the application, of 44 bytes or so";
/// Milliseconds in which a thousand conns come, so that a million come before the first ping.
const THOUSAND_MS: u64 = 10;
/// Conns that share a group, and groups of each.
const SHARING: usize = 100;
const GROUPS: usize = 5;
/// What has gone is given back within so many milliseconds.
const GONE_MS: u64 = 10_000;

/// What the conns of a site hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All of them one channel.
    One,
    /// Each a channel of its own.
    Own,
    /// Broadcasts, what is for their user, and for five groups; each has a token of its own.
    Groups,
    /// All of them one channel, with compression that refers to earlier messages.
    Dedicated,
}

/// Bytes that were live at a time, all conns together.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// When all conns were open.
    pub idle: Live,
    /// When each had heard its messages.
    pub after: Live,
    /// Ten seconds after they had gone.
    pub gone: Live,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::One, Kind::Own, Kind::Groups, Kind::Dedicated];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Kind::One => "all on one channel",
            Kind::Own => "each on its own",
            Kind::Groups => "broadcast, user and five groups",
            Kind::Dedicated => "dedicated compression",
        }
    }

    /// Measures so many conns.
    pub fn measure(self, conns: usize) -> Sizes {
        let before = Live::now();
        let mut core = Core::redis_with(|settings| self.set(settings));
        let mut links = Vec::with_capacity(conns);
        for number in 0..conns {
            links.push(core.open_answered(&self.request(number, conns)));
            if number % 1_000 == 999 {
                core.pass(THOUSAND_MS);
            }
        }
        let links_bytes = links.capacity() * size_of::<LinkId>();
        let since = |core: &Core| {
            assert!(core.open_conns() == conns as u64 || core.open_conns() == 0);
            Live::now().since(&before).without(links_bytes)
        };
        let idle = since(&core);
        self.traffic(&mut core, conns);
        let after = since(&core);
        for some in links.chunks(1_000) {
            core.leave(some);
            core.pass(THOUSAND_MS);
        }
        for _ in 0..10 {
            core.pass(GONE_MS / 10);
            core.leave(&[]);
        }
        Sizes { idle, after, gone: since(&core) }
    }

    fn set(self, settings: &mut Settings) {
        settings.ping_interval_ms = 0;
        match self {
            Kind::Groups => {
                let keys = TokenKeys::from_file_bytes(SECRET, &[]).expect("a key");
                settings.sources.token = Some(Tokens { keys, audience: None, leeway_ms: 0 });
            }
            Kind::Dedicated => settings.compression = Compression::Dedicated,
            Kind::One | Kind::Own => {}
        }
    }

    /// The request of the conn of that number.
    pub fn request(self, number: usize, conns: usize) -> Vec<u8> {
        match self {
            Kind::One => upgrade(&hears("stocks"), &[]),
            Kind::Own => upgrade(&hears(&facility(number)), &[]),
            Kind::Groups => {
                let target = "/ws/stocks?subscribe-broadcast&subscribe-user&subscribe-group";
                let token = format!("Authorization: Bearer {}", token(number, conns));
                upgrade(target, &[&token])
            }
            Kind::Dedicated => upgrade(&hears("stocks"), &[OFFER]),
        }
    }

    /// What is said to everybody: sixteen messages of 256 bytes, four of them in each read, or
    /// sixty of 1 KiB. Returns the bytes that were sent.
    fn traffic(self, core: &mut Core, conns: usize) -> usize {
        let mut sent = 0;
        let (reads, each, bytes) =
            if self == Kind::Dedicated { (60, 1, 1024) } else { (4, 4, 256) };
        for read in 0..reads {
            let payload = text_of(read + 1, bytes);
            let channels = match self {
                Kind::One | Kind::Dedicated => 1,
                Kind::Own | Kind::Groups => conns,
            };
            for number in 0..channels {
                let channel = match self {
                    Kind::One | Kind::Dedicated => "broadcast:stocks".to_owned(),
                    Kind::Own => format!("broadcast:{}", facility(number)),
                    Kind::Groups => format!("user:{}:stocks", user(number)),
                };
                core.redis_says(&mut push_to(&channel, &payload).repeat(each));
                if number % 1_000 == 999 {
                    sent += core.drain_turns();
                }
            }
            sent += core.drain_turns();
        }
        sent
    }
}

/// Bytes of a conn with dedicated compression that keeps so many bytes of earlier messages, and
/// bytes that it was sent, when it has heard sixty messages of 1 KiB.
pub fn window(kept: usize, conns: usize) -> (usize, usize) {
    let before = Live::now();
    let mut core = Core::redis_with(|settings| {
        Kind::Dedicated.set(settings);
        settings.compression_window = kept;
    });
    for number in 0..conns {
        core.open_answered(&Kind::Dedicated.request(number, conns));
    }
    let sent = Kind::Dedicated.traffic(&mut core, conns);
    (Live::now().since(&before).bytes() / conns, sent / conns)
}

/// Redis's answers to these commands, when nothing is stored there.
pub fn answers(mut commands: &[u8]) -> Vec<u8> {
    let mut answers = Vec::new();
    while !commands.is_empty() {
        let mut line = || {
            let end = commands.iter().position(|byte| *byte == b'\r').expect("a line");
            let line = String::from_utf8(commands[..end].to_vec()).expect("text");
            commands = &commands[end + 2..];
            line
        };
        let words: usize = line()[1..].parse().expect("a number of words");
        let words: Vec<String> = (0..words).map(|_| (line(), line()).1).collect();
        match words[0].as_str() {
            kind @ ("SUBSCRIBE" | "UNSUBSCRIBE") => {
                for name in &words[1..] {
                    let kind = kind.to_lowercase();
                    let (kinds, names) = (kind.len(), name.len());
                    let answer =
                        format!(">3\r\n${kinds}\r\n{kind}\r\n${names}\r\n{name}\r\n:1\r\n");
                    answers.extend_from_slice(answer.as_bytes());
                }
            }
            "GETRANGE" | "GET" => answers.extend_from_slice(b"_\r\n"),
            "PING" => answers.extend_from_slice(b"+PONG\r\n"),
            other => panic!("{other} has no answer"),
        }
    }
    answers
}

fn facility(number: usize) -> String {
    format!("user-{number:07}")
}

fn user(number: usize) -> String {
    format!("user-{number:07}")
}

fn push_to(channel: &str, payload: &str) -> Vec<u8> {
    let (channels, payloads) = (channel.len(), payload.len());
    format!(">3\r\n$7\r\nmessage\r\n${channels}\r\n{channel}\r\n${payloads}\r\n{payload}\r\n")
        .into_bytes()
}

/// A token of the user of that number, in five groups of a hundred.
fn token(number: usize, conns: usize) -> String {
    let each = conns.div_ceil(SHARING);
    let group = |at: usize| format!("\"group-{:06}\"", at * each + (number / (at + 1)) % each);
    let groups: Vec<String> = (0..GROUPS).map(group).collect();
    let claims =
        format!(r#"{{"sub":"{}","groups":[{}],"exp":1900000000}}"#, user(number), groups.join(","));
    let [header, claims] = [r#"{"alg":"HS256"}"#, &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let body = format!("{header}.{claims}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let tag = hmac::sign(&key, body.as_bytes());
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag))
}
