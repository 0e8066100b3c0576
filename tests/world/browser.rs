//! A browser at the other end of a conn: what it sends, what it takes, and what it makes of that.
//!
//! It trusts nobody: bytes that are no response and no frames, or that come after the end, are a
//! panic.

use std::collections::VecDeque;

use wsloop::proto::ws::frame::{self, Opcode, Role};
use wsloop::proto::ws::message::{self, Limits, Reader};

use super::contract::{Cause, LinkId};
use super::stream::take_events;

const LIMITS: Limits = Limits {
    role: Role::Client,
    max_message: usize::MAX >> 1,
    max_fragments: 1,
    compression: false,
};
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Something that a browser was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// A response's head, and what came behind it unless that was frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What there has been for a browser so far, taken or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Open,
    Closing,
}

/// One browser. The fields that are knobs say so.
#[derive(Debug)]
pub struct Browser {
    pub link: LinkId,
    /// Knob: pings are answered.
    pub pongs: bool,
    /// Knob: when the server has finished, it hangs up, and a close frame is echoed.
    pub polite: bool,
    /// Knob: how many more bytes it takes; `None` is all.
    pub appetite: Option<usize>,
    /// Knob: it has asked with HEAD, so that no body is to come.
    pub bare: bool,
    /// Pieces to be sent, and how its side ends when those are through.
    pub sending: VecDeque<Vec<u8>>,
    pub ending: Option<Cause>,
    /// It has said that it ends.
    pub ended: bool,
    /// What it was answered, when that is whole as far as the head.
    pub response: Option<Response>,
    /// Answers before that, and how often it was told to go on with a body.
    pub answered: Vec<Response>,
    pub continues: usize,
    /// What it was sent, and when.
    pub heard: Vec<(u64, Heard)>,
    /// When the server shut its writing side, and when it closed.
    pub finished_ms: Option<u64>,
    pub closed_ms: Option<u64>,
    /// The id of the last event that had one.
    pub last_id: String,
    /// Bytes taken.
    pub taken: usize,
    /// What there has been for it, when the server is watched.
    pub seen: Seen,
    /// Bytes that were ever to be sent.
    pub queued: usize,
    /// When it came, when the server last heard of it, when it last was told something other than
    /// a ping, and, when the server is watched, when the server began to close it.
    pub came_ms: u64,
    pub lively_ms: u64,
    pub spoken_to_ms: u64,
    pub closing_ms: Option<u64>,
    unread: Vec<u8>,
    reader: Reader,
    pub close_sent: bool,
    close_heard: bool,
}

impl Browser {
    pub fn new(link: LinkId) -> Self {
        Browser {
            link,
            pongs: true,
            polite: true,
            appetite: None,
            bare: false,
            sending: VecDeque::new(),
            ending: None,
            ended: false,
            response: None,
            answered: Vec::new(),
            continues: 0,
            heard: Vec::new(),
            finished_ms: None,
            closed_ms: None,
            last_id: String::new(),
            taken: 0,
            seen: Seen::Nothing,
            queued: 0,
            came_ms: 0,
            lively_ms: 0,
            spoken_to_ms: 0,
            closing_ms: None,
            unread: Vec::new(),
            reader: Reader::new(),
            close_sent: false,
            close_heard: false,
        }
    }

    /// Sends a frame in one piece.
    pub fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) {
        self.close_sent |= opcode == Opcode::Close;
        self.send(masked(opcode, payload));
    }

    /// Sends bytes in one piece.
    pub fn send(&mut self, bytes: Vec<u8>) {
        self.queued += bytes.len();
        self.sending.push_back(bytes);
    }

    /// Whether it has something to say.
    pub fn has_to_speak(&self) -> bool {
        !self.ended && (!self.sending.is_empty() || self.ending.is_some())
    }

    /// Takes bytes.
    pub fn take(&mut self, bytes: &[u8], now_ms: u64) {
        assert!(self.finished_ms.is_none(), "bytes after the end");
        self.taken += bytes.len();
        self.unread.extend_from_slice(bytes);
        if self.response.as_ref().is_some_and(Response::is_followed) {
            self.answered.extend(self.response.take());
        }
        while self.response.is_none() {
            let Some((response, length)) = parse_response(&self.unread) else { return };
            self.unread.drain(..length);
            match response.status {
                100 => self.continues += 1,
                _ if response.is_followed() && !self.unread.is_empty() => {
                    self.answered.push(response);
                }
                _ => {
                    self.reader = reader_for(&response);
                    self.response = Some(response);
                }
            }
        }
        let response = self.response.as_mut().expect("it is there");
        let mut unread = std::mem::take(&mut self.unread);
        if response.status == 101 {
            return self.read_frames(&mut unread, now_ms);
        }
        if response.is_stream() {
            self.unread = unread;
            return self.read_events(now_ms);
        }
        response.body.append(&mut unread);
        assert!(response.body.len() <= response.content_length(), "more than Content-Length");
    }

    /// The server has shut its writing side.
    pub fn finish(&mut self, now_ms: u64) {
        assert_eq!(self.finished_ms.replace(now_ms), None, "it can be shut but once");
        let response = self.response.as_ref().expect("no end before a response");
        if response.status != 101 && !response.is_stream() && !self.bare {
            assert_eq!(response.body.len(), response.content_length());
        }
        assert!(self.unread.is_empty(), "the end came within a response");
        if self.polite && !self.ended {
            self.ending.get_or_insert(Cause::Ended);
        }
    }

    /// When the server shut its writing side, alone or with the whole socket.
    pub fn shut_ms(&self) -> Option<u64> {
        self.finished_ms.or(self.closed_ms)
    }

    fn read_events(&mut self, now_ms: u64) {
        // All that comes does what pings and heartbeats do for others, its head too.
        (self.spoken_to_ms, self.lively_ms) = (now_ms, now_ms);
        for heard in take_events(&mut self.unread, &mut self.last_id) {
            assert!(!self.close_heard, "an event after the last");
            self.close_heard = matches!(heard, Heard::Close(..));
            self.heard.push((now_ms, heard));
        }
    }

    fn read_frames(&mut self, bytes: &mut [u8], now_ms: u64) {
        let mut input = bytes;
        let compression = self
            .response
            .as_ref()
            .is_some_and(|response| response.header("Sec-WebSocket-Extensions").is_some());
        let limits = Limits { compression, ..LIMITS };
        while let Some(event) = self.reader.next(&mut input, &limits).expect("valid frames") {
            assert!(!self.close_heard, "a frame after the close frame");
            let heard = match event {
                message::Event::Message { kind: message::Kind::Text, data } => {
                    Heard::Text(String::from_utf8(data.into_owned()).expect("it was checked"))
                }
                message::Event::Message { data, .. } => Heard::Binary(data.into_owned()),
                message::Event::Ping(payload) => Heard::Ping(payload.into_owned()),
                message::Event::Pong(payload) => Heard::Pong(payload.into_owned()),
                message::Event::Close(None) => Heard::Close(None, String::new()),
                message::Event::Close(Some((code, reason))) => {
                    Heard::Close(Some(code), reason.into_owned())
                }
            };
            self.heard.push((now_ms, heard.clone()));
            if matches!(heard, Heard::Text(_) | Heard::Binary(_)) {
                self.spoken_to_ms = now_ms;
            }
            if matches!(heard, Heard::Ping(_)) {
                self.lively_ms = now_ms;
            }
            match heard {
                Heard::Ping(payload) if self.pongs => self.send_frame(Opcode::Pong, &payload),
                Heard::Close(code, _) => {
                    self.close_heard = true;
                    if self.polite && !self.close_sent {
                        let code = code.map_or(vec![], |code| code.to_be_bytes().to_vec());
                        self.send_frame(Opcode::Close, &code);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// Whether events follow it.
    pub fn is_stream(&self) -> bool {
        self.header("Content-Type") == Some("text/event-stream")
    }

    /// Whether it is whole without a body, and the answer to another request may follow it.
    fn is_followed(&self) -> bool {
        self.status == 202 && self.header("Connection").is_none()
    }

    /// The body's length as announced.
    pub fn content_length(&self) -> usize {
        let value = self.header("Content-Length").expect("every response says its length");
        value.parse().expect("a number")
    }

    /// The body, of text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// A client's frame.
pub fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode_masked(opcode, payload, MASK, &mut out);
    out
}

/// A request for a WebSocket, with more headers if wanted.
pub fn upgrade(target: &str, more: &[&str]) -> Vec<u8> {
    let standard = [
        "Host: example.com",
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    request("GET", target, &[&standard, more].concat())
}

/// Any request.
pub fn request(method: &str, target: &str, headers: &[&str]) -> Vec<u8> {
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{method} {target} HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

/// Messages may refer to those before them if the response does not promise otherwise.
fn reader_for(response: &Response) -> Reader {
    match response.header("Sec-WebSocket-Extensions") {
        Some(text) if !text.contains("server_no_context_takeover") => Reader::with_takeover(15),
        _ => Reader::new(),
    }
}

fn parse_response(bytes: &[u8]) -> Option<(Response, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
    let (status_line, lines) = head.split_once("\r\n").unwrap_or((head, ""));
    let rest = status_line.strip_prefix("HTTP/1.1 ").expect("a status line");
    let status = rest[..3].parse().expect("a status");
    assert!(rest[3..].len() > 1, "a status has its phrase: {status_line}");
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a header");
        (name.to_string(), value.to_string())
    };
    let headers = lines.split("\r\n").filter(|line| !line.is_empty()).map(header).collect();
    Some((Response { status, headers, body: Vec::new() }, end + 4))
}
