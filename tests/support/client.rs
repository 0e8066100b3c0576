//! A blocking client: HTTP requests, and WebSockets on the frames of `wsloop::proto`.
//!
//! It answers nothing by itself but a ping that comes while a message is waited for, so that a
//! test sees, and can send, every frame and every byte.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use wsloop::proto::ws::frame::{self, Opcode, Role};
use wsloop::proto::ws::message::{self, Kind, Limits, Reader};

use super::PATIENCE;

const LIMITS: Limits =
    Limits { role: Role::Client, max_message: 64 << 20, max_fragments: 1, compression: false };
/// Any will do: nobody between the test and the server is to be kept from guessing it.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// The example of RFC 6455 section 1.3, and what it is accepted with.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What a WebSocket brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    /// The server's side of the socket is shut.
    End,
    /// The socket was reset, which may have destroyed what was on its way.
    Reset,
    /// It is shut, but TLS inside was not closed before.
    Cut,
}

/// A handshake for `/ws/` and the path, with more header lines, each with its CR LF.
pub fn upgrade(path: &str, host: impl std::fmt::Display, more: &str) -> String {
    format!(
        "GET /ws/{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    )
}

/// What a client speaks over: TCP, or what goes over that.
pub trait Wire: Read + Write {
    /// The TCP connection.
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

/// A TCP connection that does not wait for ever.
#[track_caller]
pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// An HTTP response: with a body, or a 101.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    /// The response to a request.
    #[track_caller]
    pub fn to(address: SocketAddr, request: &str) -> Response {
        let mut stream = tcp(address);
        stream.write_all(request.as_bytes()).expect("the request is taken");
        Response::read(&mut stream)
    }

    /// Reads a response that is not a 101, to the end of the stream.
    #[track_caller]
    pub fn read(stream: &mut impl Read) -> Response {
        let response = Response::next(stream);
        let more = stream.read(&mut [0]).expect("an end without a reset");
        assert_eq!(more, 0, "more than {response:?}");
        response
    }

    /// Reads a response that is not a 101, behind which more may follow.
    #[track_caller]
    pub fn next(stream: &mut impl Read) -> Response {
        let (response, rest) = Response::read_head(stream);
        response.with_body(rest, stream)
    }

    #[track_caller]
    fn with_body(mut self, mut body: Vec<u8>, stream: &mut impl Read) -> Response {
        let length = self.header("content-length").and_then(|length| length.parse().ok());
        let missing = length.and_then(|length: usize| length.checked_sub(body.len()));
        let missing = missing.unwrap_or_else(|| panic!("{self:?} is not all: {body:?}"));
        let mut rest = vec![0; missing];
        stream.read_exact(&mut rest).expect("a body that no reset destroys");
        body.append(&mut rest);
        self.body = String::from_utf8(body).expect("a text");
        self
    }

    /// Reads a head, and returns what came behind it.
    #[track_caller]
    pub fn read_head(stream: &mut impl Read) -> (Response, Vec<u8>) {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            let mut piece = [0; 4096];
            let n = match stream.read(&mut piece) {
                // A test that was stopped for a while reads on.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.expect("a response"),
            };
            assert!(n > 0, "no whole response: {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&piece[..n]);
        };
        let rest = bytes.split_off(end + 4);
        let head = std::str::from_utf8(&bytes[..end]).expect("a head in ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3));
        let status = status.and_then(|status| status.parse().ok()).expect("a status line");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_ascii_lowercase(), value.to_owned())
        });
        (Response { status, headers: headers.collect(), body: String::new() }, rest)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Client<W = TcpStream> {
    stream: W,
    reader: Reader,
    events: VecDeque<Event>,
    said_close: bool,
    /// The head of the 101.
    pub response: Response,
}

impl Client {
    /// Connects and sends a request; an error is the response that is no 101.
    #[track_caller]
    pub fn open(address: SocketAddr, request: &str) -> Result<Client, Response> {
        let mut stream = tcp(address);
        stream.write_all(request.as_bytes()).expect("the request is taken");
        Client::accepted(stream)
    }
}

impl<W: Wire> Client<W> {
    /// Reads the response to a request that was sent.
    #[track_caller]
    pub fn accepted(mut stream: W) -> Result<Client<W>, Response> {
        let (response, rest) = Response::read_head(&mut stream);
        if response.status != 101 {
            return Err(response.with_body(rest, &mut stream));
        }
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT));
        let events = VecDeque::new();
        let (reader, said_close) = (Reader::new(), false);
        let mut client = Client { stream, reader, events, said_close, response };
        client.decode(rest);
        Ok(client)
    }

    pub fn stream(&mut self) -> &mut W {
        &mut self.stream
    }

    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.frame(true, Opcode::Text, text.as_bytes());
    }

    #[track_caller]
    pub fn send_binary(&mut self, data: &[u8]) {
        self.frame(true, Opcode::Binary, data);
    }

    #[track_caller]
    pub fn frame(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) {
        self.said_close |= opcode == Opcode::Close;
        self.raw(&frame_bytes(fin, opcode, payload));
    }

    #[track_caller]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes what is sent");
    }

    /// The next event.
    #[track_caller]
    pub fn next(&mut self) -> Event {
        self.next_within(PATIENCE).expect("something arrives")
    }

    /// The next event, if it comes in time.
    pub fn next_within(&mut self, patience: Duration) -> Option<Event> {
        let deadline = Instant::now() + patience;
        let mut bytes = [0; 16 << 10];
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.tcp().set_read_timeout(Some(left)).expect("a socket");
            match self.stream.read(&mut bytes) {
                Ok(0) => self.events.push_back(Event::End),
                Ok(n) => self.decode(bytes[..n].to_vec()),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset => self.events.push_back(Event::Reset),
                    ErrorKind::UnexpectedEof => self.events.push_back(Event::Cut),
                    _ => panic!("reading failed: {error}"),
                },
            }
        }
    }

    /// The next message, whatever pings come before; they are answered.
    #[track_caller]
    pub fn message(&mut self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next_within(left).expect("a message arrives") {
                Event::Ping(payload) => self.frame(true, Opcode::Pong, &payload),
                event => return event,
            }
        }
    }

    /// The next message, which is a text.
    #[track_caller]
    pub fn text(&mut self) -> String {
        match self.message() {
            Event::Text(text) => text,
            event => panic!("not a text: {event:?}"),
        }
    }

    /// The next messages are these.
    #[track_caller]
    pub fn expect(&mut self, texts: &[&str]) {
        for text in texts {
            assert_eq!(self.text(), *text);
        }
    }

    /// One of the next messages is this text; those before it do not matter.
    #[track_caller]
    pub fn expect_among(&mut self, text: &str) {
        while self.text() != text {}
    }

    /// The server closes with this code, in words that contain these, and ends its side when it
    /// has the answer.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16, words: &str) {
        self.hear_close(code, words);
        if !self.said_close {
            self.frame(true, Opcode::Close, &code.to_be_bytes());
        }
        assert_eq!(self.next(), Event::End);
    }

    /// The server says a close with this code, in words that contain these; it is not answered.
    #[track_caller]
    pub fn hear_close(&mut self, code: u16, words: &str) {
        match self.message() {
            Event::Close(Some(got), reason) if got == code && reason.contains(words) => {}
            event => panic!("not a close with {code} and {words:?}: {event:?}"),
        }
    }

    /// All that arrives before the answer to a ping sent now, and so all that was sent before; or
    /// up to the end of the connection, which is the last of it.
    #[track_caller]
    pub fn arrived(&mut self) -> Vec<Event> {
        let question = b"all of it?".to_vec();
        self.frame(true, Opcode::Ping, &question);
        let mut events = Vec::new();
        while !matches!(events.last(), Some(Event::End | Event::Reset)) {
            match self.next() {
                Event::Pong(payload) if payload == question => break,
                event => events.push(event),
            }
        }
        events
    }

    /// Says goodbye, and hears it.
    #[track_caller]
    pub fn close(mut self) {
        self.frame(true, Opcode::Close, &1000u16.to_be_bytes());
        self.expect_close(1000, "");
    }

    /// Ends our side of the socket.
    pub fn shut_writing(&mut self) {
        self.stream.tcp().shutdown(Shutdown::Write).expect("a socket");
    }

    fn decode(&mut self, mut bytes: Vec<u8>) {
        let mut input = bytes.as_mut_slice();
        while let Some(event) = self.reader.next(&mut input, &LIMITS).expect("proper frames") {
            self.events.push_back(match event {
                message::Event::Message { kind: Kind::Text, data } => {
                    Event::Text(String::from_utf8(data.into_owned()).expect("it was validated"))
                }
                message::Event::Message { data, .. } => Event::Binary(data.into_owned()),
                message::Event::Ping(payload) => Event::Ping(payload.into_owned()),
                message::Event::Pong(payload) => Event::Pong(payload.into_owned()),
                message::Event::Close(None) => Event::Close(None, String::new()),
                message::Event::Close(Some((code, reason))) => {
                    Event::Close(Some(code), reason.into_owned())
                }
            });
        }
    }
}

/// One frame as a client sends it.
pub fn frame_bytes(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode_masked(opcode, payload, MASK, &mut bytes);
    if !fin {
        bytes[0] &= 0x7f;
    }
    bytes
}
