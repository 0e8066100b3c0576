//! Browsers: what they ask, and that they hear nothing but the answers to that.

use wsloop::Cause;

use super::app::dechunked;
use super::{Ask, Game};

/// One browser's link.
#[derive(Debug)]
pub struct Browser {
    /// Its number on the stage.
    pub id: usize,
    /// What it has asked, in that order.
    pub asks: Vec<usize>,
    /// How many of those are answered.
    answered: usize,
    heard: Vec<u8>,
    /// It has left, or has been told that its link ends.
    pub gone: bool,
}

/// The first response of some bytes.
enum Heard {
    Partly,
    Whole { status: u16, head: String, body: Vec<u8>, length: usize },
}

impl Game<'_, '_> {
    /// A browser comes and asks something.
    pub fn come(&mut self) {
        let id = self.stage.browser();
        let (asks, heard) = (Vec::new(), Vec::new());
        self.browsers.push(Browser { id, asks, answered: 0, heard, gone: false });
        self.ask(self.browsers.len() - 1);
    }

    /// One of the last that came asks more, whether it has its answers or not.
    pub fn ask_more(&mut self) {
        let Some(at) = self.recent() else { return self.come() };
        self.ask(at);
    }

    fn recent(&mut self) -> Option<usize> {
        let there: Vec<usize> = (0..self.browsers.len())
            .filter(|at| {
                let browser = &self.browsers[*at];
                let peer = &self.stage.peers[browser.id];
                !browser.gone && !peer.closed && !peer.finished
            })
            .collect();
        let last = there.len().checked_sub(1)?;
        Some(there[last - self.dice.below(there.len().min(6))])
    }

    fn ask(&mut self, at: usize) {
        let number = self.asks.len();
        let ask = Ask::draw(number, self.dice);
        let id = self.browsers[at].id;
        self.say(|| format!("browser {at} asks {number}: {ask:?}"));
        let bytes = ask.bytes(number, self.dice);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let most = rest.len().min(60_000);
            let length = if self.dice.once_in(3) { 1 + self.dice.below(most) } else { most };
            let (piece, after) = rest.split_at(length);
            self.stage.peers[id].says.push_back(piece.to_vec());
            rest = after;
        }
        self.asks.push(ask);
        // Too many may wait.
        self.asks[number].excused = self.waiting < 1_000 || self.is_away();
        self.browsers[at].asks.push(number);
        if !self.dice.once_in(3) {
            self.stage.run();
        }
    }

    /// A browser takes so many bytes more.
    pub fn restrain(&mut self) {
        if let Some(at) = self.recent() {
            let bytes = self.dice.below(2_000);
            self.say(|| format!("browser {at} takes {bytes} bytes"));
            let id = self.browsers[at].id;
            self.stage.peers[id].appetite = Some(bytes);
        }
    }

    /// A browser takes all again.
    pub fn feed(&mut self) {
        if let Some(at) = self.recent() {
            self.say(|| format!("browser {at} takes all"));
            self.stage.feed(self.browsers[at].id, None);
        }
    }

    /// A browser leaves.
    pub fn leave(&mut self) {
        if let Some(at) = self.recent() {
            self.say(|| format!("browser {at} leaves"));
            self.browsers[at].gone = true;
            let cause = match self.dice.once_in(2) {
                true => Cause::Ended,
                false => Cause::Failed("reset".to_owned()),
            };
            self.stage.end(self.browsers[at].id, cause);
        }
    }

    /// Compares what browsers have heard with what they are to hear.
    pub fn hear_answers(&mut self) {
        for at in 0..self.browsers.len() {
            let browser = &mut self.browsers[at];
            browser.heard.append(&mut self.stage.peers[browser.id].heard);
            while !browser.heard.is_empty() {
                let peer = &self.stage.peers[browser.id];
                let over = peer.closed || peer.finished;
                let Some(number) = browser.asks.get(browser.answered).copied() else {
                    panic!("browser {at} hears what it has not asked: {:?}", text(&browser.heard));
                };
                let ask = &mut self.asks[number];
                match response(&browser.heard, ask.method == "HEAD", peer.finished) {
                    Heard::Partly => {
                        // What is not whole, and will not be, is to be seen as that.
                        let fine = !over || ask.excused || browser.gone;
                        assert!(fine, "the answer to {number} breaks off: {ask:?}");
                        break;
                    }
                    Heard::Whole { status: 103, length, .. } => {
                        assert_eq!(ask.minor_version, 1, "HTTP/1.0 knows no hints");
                        browser.heard.drain(..length);
                    }
                    Heard::Whole { status, head, body, length } => {
                        browser.heard.drain(..length);
                        browser.answered += 1;
                        ask.answered = true;
                        check(number, ask, status, &head, &body);
                        if over && browser.heard.is_empty() {
                            break;
                        }
                    }
                }
            }
            let peer = &self.stage.peers[browser.id];
            let last = browser.answered.checked_sub(1).map(|last| &self.asks[browser.asks[last]]);
            let next = browser.asks.get(browser.answered).map(|next| &self.asks[*next]);
            if (peer.closed || peer.finished) && !browser.gone {
                let may_end = last.is_some_and(|ask| {
                    ask.closes || ask.early || ask.excused || ask.minor_version == 0
                });
                let fine = may_end || next.is_none_or(|ask| ask.excused);
                assert!(fine, "browser {at}'s link ends, and {next:?} is not answered");
            }
        }
    }
}

fn check(number: usize, ask: &Ask, status: u16, head: &str, body: &[u8]) {
    match head.split("X-Id: ").nth(1).and_then(|rest| rest.split("\r\n").next()) {
        Some(id) => {
            assert_eq!(id, number.to_string(), "it is the answer to another: {head}");
            assert_eq!(status, ask.status, "{head}");
            let expected = if ask.method == "HEAD" { &[][..] } else { &ask.answer };
            assert!(body == expected, "the answer to {number} is not as it was: {}", text(body));
        }
        None => {
            let known = matches!(status, 408 | 502 | 503 | 504);
            assert!(known && ask.excused, "{number} is answered {head} for nothing: {ask:?}");
        }
    }
}

fn response(bytes: &[u8], is_head: bool, over: bool) -> Heard {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Heard::Partly;
    };
    let head = text(&bytes[..end + 4]);
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status: u16 = status.unwrap_or_else(|| panic!("no response: {head}"));
    let rest = &bytes[end + 4..];
    let value = |name: &str| {
        let (_, after) = head.split_once(&format!("\r\n{name}: "))?;
        after.split("\r\n").next()
    };
    let body = match (value("Content-Length"), value("Transfer-Encoding")) {
        _ if is_head || matches!(status, 100..200 | 204 | 304) => Some((Vec::new(), 0)),
        (Some(length), None) => {
            let length: usize = length.parse().expect("a length");
            rest.get(..length).map(|body| (body.to_vec(), length))
        }
        (None, Some("chunked")) => dechunked(rest),
        (None, None) => over.then(|| (rest.to_vec(), rest.len())),
        other => panic!("{other:?}"),
    };
    match body {
        Some((body, taken)) => Heard::Whole { status, head, body, length: end + 4 + taken },
        None => Heard::Partly,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
