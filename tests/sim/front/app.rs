//! The application: what it hears must be what was asked, and it answers as it likes.

use wsloop::Cause;

use super::{Game, chunked};

/// One link to it.
#[derive(Debug)]
pub struct AppLink {
    /// Its number on the stage.
    pub id: usize,
    heard: Vec<u8>,
    /// The request that it has the head of, and whether it has all of that.
    asked: Option<(usize, bool)>,
    /// It has brought an answer before, and not been closed.
    used: bool,
    /// It ends, or nothing is to be asked on it any more.
    ended: bool,
    /// It hangs up behind what it has said.
    hangs_up: bool,
}

impl Game<'_, '_> {
    /// Reads what the links have heard, and compares it with what was asked.
    pub fn hear_requests(&mut self) {
        for id in self.stage.dialed().into_iter().skip(self.links.len()) {
            let (heard, asked) = (Vec::new(), None);
            let (used, ended, hangs_up) = (false, false, false);
            self.links.push(AppLink { id, heard, asked, used, ended, hangs_up });
        }
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            link.heard.append(&mut self.stage.peers[link.id].heard);
            self.hear_request(at);
        }
    }

    fn hear_request(&mut self, at: usize) {
        let link = &mut self.links[at];
        if link.asked.is_none() {
            let Some(end) = link.heard.windows(4).position(|four| four == b"\r\n\r\n") else {
                return;
            };
            let head: Vec<u8> = link.heard.drain(..end + 4).collect();
            let head = String::from_utf8(head).expect("a head");
            let mut words = head.split(' ');
            let method = words.next().expect("a method");
            let path = words.next().and_then(|path| path.strip_prefix("/r/"));
            let number: usize = path.and_then(|path| path.parse().ok()).expect("our path");
            let ask = &mut self.asks[number];
            ask.seen += 1;
            let most = if ask.is_repeatable() { 2 } else { 1 };
            assert!(ask.seen <= most, "request {number} came {} times: {ask:?}", ask.seen);
            assert!(!ask.answered, "request {number} comes again, behind its answer");
            assert_eq!(method, ask.method);
            assert!(!link.ended || link.hangs_up, "request {number} comes on a link that ends");
            ask.excused |= link.hangs_up && !(link.used && ask.is_repeatable() && ask.seen == 1);
            let length = format!("Content-Length: {}\r\n", ask.body.len());
            assert_eq!(head.contains(&length), ask.chunks == Some(false), "{head}");
            assert_eq!(head.contains("Transfer-Encoding"), ask.chunks == Some(true), "{head}");
            link.asked = Some((number, false));
        }
        let Some((number, false)) = link.asked else {
            assert!(link.heard.is_empty(), "a second request, before the first is answered");
            return;
        };
        let ask = &self.asks[number];
        let end = match ask.chunks {
            Some(true) => dechunked(&link.heard),
            _ => (link.heard.len() >= ask.body.len())
                .then(|| (link.heard[..ask.body.len()].to_vec(), ask.body.len())),
        };
        if let Some((body, taken)) = end {
            assert!(body == ask.body, "request {number} has another's body");
            link.heard.drain(..taken);
            assert!(link.heard.is_empty(), "something came behind request {number}");
            link.asked = Some((number, true));
        }
    }

    /// The links that are there and have something to answer, in their order.
    fn asked(&self, whole: bool) -> Vec<usize> {
        let waits = |at: &usize| {
            let link = &self.links[*at];
            let has = link.asked.is_some_and(|(_, all)| all || !whole);
            has && !link.ended && !self.stage.peers[link.id].closed
        };
        (0..self.links.len()).filter(waits).collect()
    }

    /// It answers something, in some manner.
    pub fn answer(&mut self) {
        let early = self.dice.once_in(12);
        let asked = self.asked(!early);
        if asked.is_empty() {
            return;
        }
        let at = asked[self.dice.below(asked.len())];
        let manner = self.dice.below(24);
        self.answer_on(at, manner);
        if !self.dice.once_in(3) {
            self.stage.run();
        }
    }

    /// It answers something as it should; false when there is nothing.
    pub fn answer_one(&mut self) -> bool {
        let Some(at) = self.asked(true).first().copied() else { return false };
        self.answer_on(at, 23);
        true
    }

    fn answer_on(&mut self, at: usize, manner: usize) {
        let (number, whole) = self.links[at].asked.expect("it is asked something");
        let id = self.links[at].id;
        self.say(|| format!("link {at} answers {number} in manner {manner}, asked: {whole}"));
        let ask = &mut self.asks[number];
        ask.early |= !whole;
        let (status, body, is_head) = (ask.status, ask.answer.clone(), ask.method == "HEAD");
        let bare = is_head || matches!(status, 204 | 304);
        let mut bytes = Vec::new();
        if manner == 0 {
            bytes.extend(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
        }
        let ends = manner == 1 || manner == 2 && !bare || manner == 3;
        let minor_version = if manner == 3 { 0 } else { 1 };
        bytes.extend(format!("HTTP/1.{minor_version} {status} Yes\r\nX-Id: {number}\r\n").bytes());
        let chunks = (4..9).contains(&manner) && !bare;
        match manner {
            1 => bytes.extend(b"Connection: close\r\n"),
            // Its body goes until the end.
            2 | 3 => {}
            _ if chunks => bytes.extend(b"Transfer-Encoding: chunked\r\n"),
            _ => {}
        }
        if !chunks && !matches!(manner, 2 | 3) && !matches!(status, 204 | 304) {
            bytes.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
        }
        bytes.extend(b"\r\n");
        match (bare, chunks) {
            (true, _) => {}
            (false, true) => bytes.extend(chunked(&body, self.dice)),
            (false, false) => bytes.extend(&body),
        }
        if manner == 9 {
            // Nobody is to hear that.
            bytes.extend(b"HTTP/1.1 200 OK\r\nX-Id: 999999\r\nContent-Length: 0\r\n\r\n");
        }
        let breaks = manner == 10;
        if breaks {
            bytes.truncate(self.dice.below(bytes.len()));
            self.asks[number].excused = true;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let most = if manner == 9 || rest.len() > 60_000 { 60_000 } else { rest.len() };
            let length = match self.dice.once_in(3) && manner != 9 {
                true => 1 + self.dice.below(most),
                false => most.min(rest.len()),
            };
            let (piece, after) = rest.split_at(length);
            self.stage.peers[id].says.push_back(piece.to_vec());
            rest = after;
        }
        let link = &mut self.links[at];
        (link.asked, link.used) = (None, true);
        if ends || breaks {
            let fails = breaks && self.dice.once_in(2);
            let cause = if fails { Cause::Failed("reset".to_owned()) } else { Cause::Ended };
            self.links[at].ended = true;
            self.stage.peers[id].ends = Some(cause);
        }
        // Of a link that ends, or says too much, nothing more is used; what is on its way may be.
        self.links[at].ended |= !whole || manner == 9;
    }

    /// A link ends, whatever is on it.
    pub fn hang_up(&mut self) {
        let open: Vec<usize> = (0..self.links.len())
            .filter(|at| !self.links[*at].ended && !self.stage.peers[self.links[*at].id].closed)
            .collect();
        if open.is_empty() {
            return;
        }
        let at = open[self.dice.below(open.len())];
        let AppLink { id, asked, used, .. } = self.links[at];
        self.say(|| format!("link {at} hangs up, asked {asked:?}, used: {used}"));
        // A request that may be sent twice is not lost with a link that was used before.
        self.excuse(|ask| !used || !ask.is_repeatable() || ask.seen > 1);
        if let Some((number, _)) = asked.filter(|_| !used) {
            self.asks[number].excused = true;
        }
        (self.links[at].ended, self.links[at].hangs_up) = (true, true);
        let cause = match self.dice.once_in(2) {
            true => Cause::Ended,
            false => Cause::Failed("reset".to_owned()),
        };
        self.stage.end(id, cause);
    }
}

/// The body at the start of these bytes and their length, once it is whole.
pub fn dechunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let end = at + bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        at = end + 2;
        if size == 0 {
            if bytes[at..].starts_with(b"\r\n") {
                return Some((body, at + 2));
            }
            let end = bytes[at..].windows(4).position(|four| four == b"\r\n\r\n")?;
            return Some((body, at + end + 4));
        }
        let chunk = bytes.get(at..at + size + 2)?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends with a line's end");
        body.extend(&chunk[..size]);
        at += size + 2;
    }
}
