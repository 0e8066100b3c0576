//! Requests that go on to an application, in disorder drawn from seeds: browsers ask one thing
//! behind another, read slowly and leave; the application is slow, answers in pieces and in every
//! framing, says too much, breaks off, refuses and restarts.
//!
//! What is checked: everybody has exactly its own answers, in their order, or an error that the
//! application has earned; the application has every request as it was sent, and none twice that
//! may not be sent twice.

mod app;
mod browser;
#[path = "../../core/front/stage.rs"]
#[allow(dead_code, reason = "a script needs other parts of it than a test")]
mod stage;

use std::fmt;

use wsloop::{Cause, Front, Settings};

use super::server::sim::Dice;
use app::AppLink;
use browser::Browser;
use stage::Stage;

/// Most bytes of a body. What waits here is bounded well below it.
const LARGE: usize = 300_000;

/// One request, and what the application has to say to it.
struct Ask {
    method: &'static str,
    /// The digit after `HTTP/1.`.
    minor_version: u8,
    closes: bool,
    /// How its body is framed, if it has one: in chunks, or by its length.
    chunks: Option<bool>,
    body: Vec<u8>,
    status: u16,
    answer: Vec<u8>,
    /// How often the application has had its head.
    seen: usize,
    /// The application has begun to answer before it had all of it.
    early: bool,
    /// The browser has its answer.
    answered: bool,
    /// It may fail: something has happened that is not wsloop's doing.
    excused: bool,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ask { method, minor_version, closes, chunks, status, seen, .. } = self;
        let Ask { early, answered, excused, body, answer, .. } = self;
        write!(f, "{method} HTTP/1.{minor_version} of {} bytes, chunks: {chunks:?}, ", body.len())?;
        write!(f, "closes: {closes}, answer: {status} of {} bytes, seen: {seen}, ", answer.len())?;
        write!(f, "early: {early}, answered: {answered}, excused: {excused}")
    }
}

impl Ask {
    fn draw(number: usize, dice: &mut Dice<'_>) -> Ask {
        let bytes = |what: &str, dice: &mut Dice<'_>| {
            let length = match dice.below(12) {
                0 => dice.below(LARGE),
                1 => 0,
                _ => dice.below(100),
            };
            let text = format!("{what} {number}.");
            text.bytes().cycle().take(length).collect::<Vec<u8>>()
        };
        let method = dice.pick(&["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE"]);
        let chunks = match method {
            "POST" | "PUT" => Some(dice.once_in(3)),
            _ => None,
        };
        let minor_version = if dice.once_in(8) { 0 } else { 1 };
        // HTTP/1.0 has no chunks.
        let chunks = chunks.map(|chunks| chunks && minor_version == 1);
        let status = dice.pick(&[200, 200, 200, 404, 500, 204, 304]);
        let mut answer = bytes("answer", dice);
        if matches!(status, 204 | 304) {
            answer.clear();
        }
        let body = if chunks.is_some() { bytes("body", dice) } else { Vec::new() };
        let closes = dice.once_in(15);
        let (seen, early, answered, excused) = (0, false, false, false);
        Ask {
            method,
            minor_version,
            closes,
            chunks,
            body,
            status,
            answer,
            seen,
            early,
            answered,
            excused,
        }
    }

    /// Whether it may be sent twice.
    fn is_repeatable(&self) -> bool {
        self.body.is_empty() && self.chunks != Some(true) && self.method != "POST"
    }

    /// The request.
    fn bytes(&self, number: usize, dice: &mut Dice<'_>) -> Vec<u8> {
        let Ask { method, minor_version, .. } = self;
        let mut bytes = format!("{method} /r/{number} HTTP/1.{minor_version}\r\nHost: h\r\n");
        match (self.closes, minor_version) {
            (true, _) => bytes.push_str("Connection: close\r\n"),
            (false, 0) => bytes.push_str("Connection: keep-alive\r\n"),
            (false, _) => {}
        }
        match self.chunks {
            Some(true) => bytes.push_str("Transfer-Encoding: chunked\r\n"),
            Some(false) => bytes.push_str(&format!("Content-Length: {}\r\n", self.body.len())),
            None => {}
        }
        let mut bytes = (bytes + "\r\n").into_bytes();
        match self.chunks {
            Some(true) => bytes.extend(chunked(&self.body, dice)),
            _ => bytes.extend(&self.body),
        }
        bytes
    }
}

/// The same in chunks, perhaps with a trailer.
fn chunked(body: &[u8], dice: &mut Dice<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(1 + dice.below(rest.len()));
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()));
        bytes.extend(b"\r\n");
        rest = after;
    }
    let trailer = if dice.once_in(4) { "X-Trailer: 1\r\n" } else { "" };
    bytes.extend(format!("0\r\n{trailer}\r\n").bytes());
    bytes
}

/// What is played with.
struct Game<'d, 's> {
    dice: &'d mut Dice<'s>,
    stage: Stage,
    trace: bool,
    asks: Vec<Ask>,
    browsers: Vec<Browser>,
    links: Vec<AppLink>,
    /// More than this many requests wait in vain.
    waiting: usize,
}

/// Plays the script of a seed.
pub fn play(dice: &mut Dice<'_>, steps: usize, trace: bool) {
    let waiting = if dice.once_in(4) { 1 + dice.below(3) } else { 1_000 };
    let front = Front {
        connections: 1 + dice.below(4),
        idle: dice.below(4),
        waiting,
        keep_alive_ms: dice.pick(&[1_000, 75_000]),
        ..stage::settings().front
    };
    let stage = Stage::new(Settings { front, ..stage::settings() });
    let (asks, browsers, links) = (Vec::new(), Vec::new(), Vec::new());
    let mut game = Game { dice, stage, trace, asks, browsers, links, waiting };
    for _ in 0..steps {
        game.step();
        game.look();
    }
    game.end();
}

impl Game<'_, '_> {
    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{} {}", self.stage.now_ms, what());
        }
    }

    fn step(&mut self) {
        match self.dice.below(40) {
            0..5 => self.come(),
            5..13 => self.ask_more(),
            13..28 => self.answer(),
            28..30 => self.restrain(),
            30..33 => self.feed(),
            33 => self.leave(),
            34 => self.hang_up(),
            35 if self.dice.once_in(3) => {
                self.stage.refuses = self.dice.once_in(2).then_some("Connection refused");
                self.stage.silent = self.dice.once_in(4);
                self.excuse(|_| true);
            }
            36..39 => {
                let ms = self.dice.below(900) as u64;
                self.pass(ms);
            }
            39 if self.dice.once_in(4) => {
                let ms = self.dice.below(70_000) as u64;
                self.pass(ms);
            }
            _ => self.stage.run(),
        }
    }

    fn pass(&mut self, ms: u64) {
        self.say(|| format!("{ms} ms pass"));
        if ms > 900 {
            self.excuse(|_| true);
        }
        // What was said before arrives before, and not behind the time that it may take.
        self.stage.run();
        self.stage.pass(ms);
    }

    /// Whatever is not answered and so may fail from here on.
    fn excuse(&mut self, so: impl Fn(&Ask) -> bool) {
        self.asks.iter_mut().filter(|ask| !ask.answered && so(ask)).for_each(|a| a.excused = true);
    }

    /// Whether nobody can reach the application.
    fn is_away(&self) -> bool {
        self.stage.refuses.is_some() || self.stage.silent
    }

    /// Looks at what everybody has heard.
    fn look(&mut self) {
        self.hear_requests();
        self.hear_answers();
    }

    /// Everything is answered that can be, and everybody goes.
    fn end(&mut self) {
        self.say(|| "the end".to_owned());
        (self.stage.refuses, self.stage.silent) = (None, false);
        for at in 0..self.browsers.len() {
            let id = self.browsers[at].id;
            self.stage.feed(id, None);
        }
        for _ in 0..1_000 {
            // A request may wait for the next dial.
            self.pass(150);
            self.look();
            if !self.answer_one() {
                break;
            }
        }
        self.pass(900);
        self.look();
        for browser in &self.browsers {
            let peer = &self.stage.peers[browser.id];
            let over = browser.gone || peer.closed || peer.finished;
            let left = browser.asks.iter().find(|ask| !self.asks[**ask].answered);
            if let Some(left) = left.filter(|left| !over && !self.asks[**left].excused) {
                panic!("request {left} is not answered: {:?}", self.asks[*left]);
            }
        }
        for at in 0..self.browsers.len() {
            let id = self.browsers[at].id;
            self.stage.end(id, Cause::Failed("gone".to_owned()));
        }
        self.stage.pass(70_000);
        let metrics = self.stage.server.metrics();
        assert_eq!((metrics.upstream_pending, metrics.upstream_links, metrics.conns), (0, 0, 0));
    }
}
