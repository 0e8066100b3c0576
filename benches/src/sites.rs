//! Kinds of sites, for what their conns cost in memory: whom conns hear, and what is said to them.
//!
//! Each kind is a number of conns that come, hear sixteen small messages each or sixty larger ones,
//! and go.

use std::io::IoSlice;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wsloop::proto::ws::deflate::Compression;
use wsloop::{Cause, Input, LinkId, Output, Settings, TokenKeys, Tokens, Wish};

use crate::live::Live;
use crate::{Core, OFFER, SLICES, hears, redis_kind, settings, text_of, upgrade};

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
        let mut site = Site::new(|settings| self.set(settings));
        let mut links = Vec::with_capacity(conns);
        for number in 0..conns {
            links.push(site.open(&self.request(number, conns)));
            if number % 1_000 == 999 {
                site.pass(THOUSAND_MS);
            }
        }
        let links_bytes = links.capacity() * size_of::<LinkId>();
        let since = |site: &Site| {
            assert!(site.core.open_conns() == conns as u64 || site.core.open_conns() == 0);
            Live::now().since(&before).without(links_bytes)
        };
        let idle = since(&site);
        self.traffic(&mut site, conns);
        let after = since(&site);
        for some in links.chunks(1_000) {
            site.leave(some);
            site.pass(THOUSAND_MS);
        }
        for _ in 0..10 {
            site.pass(GONE_MS / 10);
        }
        Sizes { idle, after, gone: since(&site) }
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
    fn traffic(self, site: &mut Site, conns: usize) -> usize {
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
                site.redis_says(&mut push_to(&channel, &payload).repeat(each));
                if number % 1_000 == 999 {
                    sent += site.drain_turns();
                }
            }
            sent += site.drain_turns();
        }
        sent
    }
}

/// A server whose Redis answers every command: that nothing is stored.
struct Site {
    core: Core,
    /// What Redis was told and has not answered.
    commands: Vec<u8>,
}

impl Site {
    fn new(change: impl FnOnce(&mut Settings)) -> Site {
        let mut settings = settings(redis_kind());
        change(&mut settings);
        let mut site = Site { core: Core::new(settings), commands: Vec::new() };
        site.pass(1);
        site
    }

    fn open(&mut self, request: &[u8]) -> LinkId {
        let open = self.core.open_conns();
        let link = self.core.ask(&mut request.to_vec());
        self.drain();
        assert_eq!(self.core.open_conns(), open + 1, "the handshake is complete");
        link
    }

    fn leave(&mut self, links: &[LinkId]) {
        for link in links {
            let input = Input::HungUp { link: *link, cause: Cause::Ended };
            self.core.server.handle(input, self.core.now());
        }
        self.drain();
    }

    fn redis_says(&mut self, bytes: &mut [u8]) {
        self.core.redis_says(bytes);
    }

    fn pass(&mut self, ms: u64) -> usize {
        self.core.now_ms += ms;
        self.core.server.tick(self.core.now());
        self.drain()
    }

    /// Takes turns, in which no time passes, until there is nothing left to send.
    fn drain_turns(&mut self) -> usize {
        let mut sent = self.drain();
        loop {
            match self.pass(0) {
                0 => return sent,
                more => sent += more,
            }
        }
    }

    /// Does what is to be done outside, and answers what Redis is told, until there is no more.
    /// Returns the bytes that browsers were sent.
    fn drain(&mut self) -> usize {
        let mut sent = 0;
        loop {
            while let Some(output) = self.core.server.poll_output() {
                match output {
                    Output::Flush(link) => sent += self.flush(link),
                    Output::Dial(link, _) => {
                        self.core.redis = Some(link);
                        self.core.server.handle(Input::Connected { link }, self.core.now());
                    }
                    Output::Resume(link) => {
                        while self.core.server.wish(link) == Wish::GoOn {
                            self.core.server.handle(Input::WentOn { link }, self.core.now());
                        }
                    }
                    Output::Finish(_) | Output::Close(_) => {}
                }
            }
            if self.commands.is_empty() {
                return sent;
            }
            let mut answers = answers(&std::mem::take(&mut self.commands));
            self.core.redis_says(&mut answers);
        }
    }

    fn flush(&mut self, link: LinkId) -> usize {
        let is_redis = self.core.redis == Some(link);
        let mut sent = 0;
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.core.server.slices(link, &mut slices);
            let bytes = slices[..used].iter().map(|slice| slice.len()).sum();
            if is_redis {
                slices[..used].iter().for_each(|slice| self.commands.extend_from_slice(slice));
            }
            if bytes > 0 {
                self.core.server.advance(link, bytes);
                sent += bytes;
            }
            if used < SLICES {
                return if is_redis { 0 } else { sent };
            }
        }
    }
}

/// Bytes of a conn with dedicated compression that keeps so many bytes of earlier messages, and
/// bytes that it was sent, when it has heard sixty messages of 1 KiB.
pub fn window(kept: usize, conns: usize) -> (usize, usize) {
    let before = Live::now();
    let mut site = Site::new(|settings| {
        Kind::Dedicated.set(settings);
        settings.compression_window = kept;
    });
    for number in 0..conns {
        site.open(&Kind::Dedicated.request(number, conns));
    }
    let sent = Kind::Dedicated.traffic(&mut site, conns);
    (Live::now().since(&before).bytes() / conns, sent / conns)
}

/// Redis's answers to these commands, when nothing is stored there.
fn answers(mut commands: &[u8]) -> Vec<u8> {
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
            "HELLO" => answers.extend_from_slice(b"%1\r\n$5\r\nproto\r\n:3\r\n"),
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
