//! L4: a blocking WebSocket that only listens: it answers pings, asks a silent server whether it is
//! still there, and says how it ended.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use crate::client::publisher::stream::Stream;
use crate::client::url::Url;
use crate::link::Target;
use crate::proto::ws::client::{self, ServerAnswer};
use crate::proto::ws::frame::{self, Opcode, Role};
use crate::proto::ws::message::{Event, Kind, Limits, Reader};

/// How long the handshake may take, from looking up the name to the answer; and a write later.
const PATIENCE: Duration = Duration::from_secs(10);
/// The idle time after which the server is pinged. After as much again it is taken for gone.
const QUIET: Duration = Duration::from_secs(45);
/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// How much of a refusal's body is read, in bytes.
const MAX_BODY: usize = 1024;
/// The largest message that a server of ours can be told to send.
const LIMITS: Limits = Limits {
    role: Role::Client,
    max_message: 256 << 20,
    max_fragments: 1 << 20,
    compression: false,
};

/// How a connection ended, or why there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// There is no connection, or it broke.
    Failed(String),
    /// What is there is no WebSocket server.
    NoWebSocket(String),
    /// The handshake was refused.
    Refused {
        /// The status.
        status: u16,
        /// What the server says about it.
        text: String,
    },
    /// The server closed it.
    Closed {
        /// The code; `None` when it gave none.
        code: Option<u16>,
        /// The reason.
        reason: String,
    },
    /// Nobody reads what is printed any more.
    OutputClosed,
    /// What is printed cannot be written.
    OutputFailed(String),
}

impl End {
    /// Whether trying again would change nothing.
    pub(crate) fn is_final(&self) -> bool {
        // A server that accepts to say why it refuses closes with 4000 + the status.
        let status = match self {
            End::Failed(_) => return false,
            End::NoWebSocket(_) | End::OutputClosed | End::OutputFailed(_) => return true,
            End::Refused { status, .. } => *status,
            End::Closed { code: Some(code @ 4400..=4499), .. } => code - 4000,
            End::Closed { .. } => return false,
        };
        !matches!(status, 408 | 429 | 500..)
    }

    /// Whether it ended as connections should.
    pub(crate) fn is_good(&self) -> bool {
        matches!(self, End::OutputClosed | End::Closed { code: Some(1000 | 1001), .. })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Failed(why) | End::NoWebSocket(why) => f.write_str(why),
            End::Refused { status, text } if text.is_empty() => {
                write!(f, "the server refuses with {status}")
            }
            End::Refused { status, text } => write!(f, "the server refuses with {status}: {text}"),
            End::Closed { code: None, .. } => f.write_str("the server closed without a code"),
            End::Closed { code: Some(code), reason } if reason.is_empty() => {
                write!(f, "the server closed with {code}")
            }
            End::Closed { code: Some(code), reason } => {
                write!(f, "the server closed with {code}: {reason}")
            }
            End::OutputClosed => f.write_str("nobody reads standard output"),
            End::OutputFailed(why) => write!(f, "standard output: {why}"),
        }
    }
}

/// The system's randomness, for keys, masks and pauses.
#[derive(Debug)]
pub(crate) struct Random(File);

impl Random {
    /// Opens it.
    pub(crate) fn new() -> io::Result<Random> {
        File::open("/dev/urandom").map(Random)
    }

    /// Any number.
    pub(crate) fn word(&mut self) -> io::Result<u32> {
        self.bytes().map(u32::from_ne_bytes)
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).map(|()| bytes)
    }
}

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Stream,
    reader: Reader,
    /// What came behind the answer to the handshake.
    early: Vec<u8>,
    quiet: Duration,
}

impl Socket {
    /// Connects and shakes hands.
    pub(crate) fn open(
        url: &Url,
        headers: &[(String, String)],
        protocols: &[String],
        random: &mut Random,
    ) -> Result<Socket, End> {
        let deadline = Instant::now() + PATIENCE;
        let failed =
            |error: io::Error| End::Failed(format!("no connection to {}: {error}", url.authority));
        let target = Target::Tcp { host: url.host.clone(), port: url.port };
        let mut stream = Stream::dial(&target, None, deadline).map_err(failed)?;
        let key = client::key(random.bytes().map_err(failed)?);
        let offer = protocols.join(", ");
        let mut lines: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if !protocols.is_empty() {
            lines.push(("Sec-WebSocket-Protocol", &offer));
        }
        let mut request = Vec::new();
        client::request_with(&mut request, &url.authority, &url.target(), &key, &lines);
        write_all(&mut stream, &request, deadline).map_err(failed)?;
        let mut bytes = Vec::new();
        loop {
            let no_websocket = |error: client::ServerAnswerError| {
                End::NoWebSocket(format!("{} is no WebSocket: {error}", url.authority))
            };
            let answer = client::answer_to(&bytes, &key, MAX_HEAD, protocols);
            match answer.map_err(no_websocket)? {
                Some((ServerAnswer::Open, length)) => {
                    let early = bytes.split_off(length);
                    return Ok(Socket { stream, reader: Reader::new(), early, quiet: QUIET });
                }
                Some((ServerAnswer::Refused { status, body }, length)) => {
                    let body_start = bytes.split_off(length);
                    let text = refusal(stream, body_start, body, deadline);
                    return Err(End::Refused { status, text });
                }
                None => {}
            }
            let mut room = [0; 4096];
            match stream.read(&mut room, deadline).map_err(failed)? {
                0 => return Err(failed(ErrorKind::UnexpectedEof.into())),
                n => bytes.extend_from_slice(&room[..n]),
            }
        }
    }

    /// Hands over message after message, and `None` whenever no more is there for now, until the
    /// connection ends or something cannot be handed over.
    pub(crate) fn listen(
        &mut self,
        random: &mut Random,
        mut hand_over: impl FnMut(Option<(Kind, &[u8])>) -> io::Result<()>,
    ) -> End {
        let mut room = vec![0; 64 << 10];
        let mut early = std::mem::take(&mut self.early);
        let mut taken = self.take(&mut early, random, &mut hand_over);
        let mut pinged = false;
        loop {
            let handed_over = hand_over(None).map_err(output);
            if let Err(end) = taken.and(handed_over) {
                return end;
            }
            match self.stream.read(&mut room, Instant::now() + self.quiet) {
                Ok(0) => return End::Failed("the server hung up".to_owned()),
                Ok(n) => {
                    pinged = false;
                    taken = self.take(&mut room[..n], random, &mut hand_over);
                }
                Err(error) if error.kind() == ErrorKind::TimedOut && pinged => {
                    return End::Failed("the server is silent, also when pinged".to_owned());
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    pinged = true;
                    taken = self.send(random, Opcode::Ping, b"").map_err(broken);
                }
                Err(error) => return broken(error),
            }
        }
    }

    /// What arrived, message by message.
    fn take(
        &mut self,
        mut input: &mut [u8],
        random: &mut Random,
        hand_over: &mut impl FnMut(Option<(Kind, &[u8])>) -> io::Result<()>,
    ) -> Result<(), End> {
        loop {
            match self.reader.next(&mut input, &LIMITS) {
                Ok(None) => return Ok(()),
                Ok(Some(Event::Message { kind, data })) => {
                    hand_over(Some((kind, &data))).map_err(output)?;
                }
                Ok(Some(Event::Ping(payload))) => {
                    let payload = payload.into_owned();
                    self.send(random, Opcode::Pong, &payload).map_err(broken)?;
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(close))) => {
                    let (code, reason) = match close {
                        Some((code, reason)) => (Some(code), reason.into_owned()),
                        None => (None, String::new()),
                    };
                    let echo = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
                    // Who closes may have gone already.
                    let _ = self.send(random, Opcode::Close, &echo);
                    return Err(End::Closed { code, reason });
                }
                Err(error) => {
                    let code = error.close_code().to_be_bytes();
                    let _ = self.send(random, Opcode::Close, &code);
                    return Err(End::Failed(format!("what the server sends is wrong: {error}")));
                }
            }
        }
    }

    fn send(&mut self, random: &mut Random, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame::encode_masked(opcode, payload, random.bytes()?, &mut bytes);
        write_all(&mut self.stream, &bytes, Instant::now() + PATIENCE)
    }
}

/// What a refusal says: its body as far as it comes in time, on one line.
fn refusal(
    mut stream: Stream,
    mut body: Vec<u8>,
    length: Option<usize>,
    deadline: Instant,
) -> String {
    let length = length.unwrap_or(MAX_BODY).min(MAX_BODY);
    let mut room = [0; MAX_BODY];
    while body.len() < length {
        match stream.read(&mut room, deadline) {
            Ok(n) if n > 0 => body.extend_from_slice(&room[..n]),
            _ => break,
        }
    }
    body.truncate(length);
    let text = String::from_utf8_lossy(&body);
    text.split_whitespace().collect::<Vec<&str>>().join(" ")
}

fn write_all(stream: &mut Stream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = stream.write(bytes, deadline)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

fn broken(error: io::Error) -> End {
    End::Failed(format!("the connection broke: {error}"))
}

fn output(error: io::Error) -> End {
    match error.kind() {
        ErrorKind::BrokenPipe => End::OutputClosed,
        _ => End::OutputFailed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::thread::{self, JoinHandle};

    use crate::proto::http;
    use crate::proto::ws::upgrade;

    fn closed(code: u16) -> End {
        End::Closed { code: Some(code), reason: String::new() }
    }

    #[test]
    fn who_says_no_is_not_asked_again_and_who_is_away_is() {
        let refused = |status| End::Refused { status, text: String::new() };
        for end in [refused(403), refused(404), refused(200), refused(301), closed(4403)] {
            assert!(end.is_final() && !end.is_good(), "{end}");
        }
        for end in [refused(503), refused(429), refused(408), closed(1012), closed(4503)] {
            assert!(!end.is_final() && !end.is_good(), "{end}");
        }
        let nameless = End::Closed { code: None, reason: String::new() };
        for (end, good) in [(closed(1000), true), (closed(1001), true), (nameless, false)] {
            assert!(!end.is_final() && end.is_good() == good, "{end}");
        }
    }

    /// A server that opens one WebSocket, and what it then does.
    fn server(then: impl FnOnce(TcpStream) + Send + 'static) -> (Url, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let url = Url {
            authority: address.to_string(),
            host: address.ip().to_string(),
            port: address.port(),
            path: "/".to_owned(),
            query: None,
        };
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            let accepted = loop {
                if let Some((head, _)) = http::parse_head(&request, 8192).expect("a request") {
                    let asked = upgrade::check(&head).expect("a handshake");
                    break upgrade::accepted(&asked.accept, None, None, &[]);
                }
                let mut room = [0; 1024];
                let n = stream.read(&mut room).expect("a request");
                request.extend_from_slice(&room[..n]);
            };
            stream.write_all(&accepted).expect("a client");
            then(stream);
        });
        (url, thread)
    }

    /// The next frame of a client, unmasked.
    fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
        let mut head = [0; 6];
        stream.read_exact(&mut head).expect("a frame");
        assert!(head[1] >= 0x80, "a client masks");
        let mut payload = vec![0; usize::from(head[1] & 0x7f)];
        stream.read_exact(&mut payload).expect("a frame");
        frame::unmask(&mut payload, [head[2], head[3], head[4], head[5]], 0);
        (head[0], payload)
    }

    /// How it ends, and what was handed over.
    fn listened(url: &Url, quiet: Duration) -> (End, Vec<(Kind, Vec<u8>)>) {
        let mut random = Random::new().expect("randomness");
        let mut socket = Socket::open(url, &[], &[], &mut random).expect("a WebSocket");
        socket.quiet = quiet;
        let mut got = Vec::new();
        let end = socket.listen(&mut random, |message| {
            got.extend(message.map(|(kind, data)| (kind, data.to_vec())));
            Ok(())
        });
        (end, got)
    }

    #[test]
    fn pings_and_the_close_are_answered_and_messages_handed_over() {
        let (url, server) = server(|mut stream| {
            stream.write_all(b"\x89\x02hi\x01\x01a\x89\x00\x80\x01b\x82\x01\0").expect("a client");
            assert_eq!(frame(&mut stream), (0x8a, b"hi".to_vec()));
            assert_eq!(frame(&mut stream), (0x8a, Vec::new()));
            stream.write_all(b"\x88\x05\x0f\xa0bye").expect("a client");
            assert_eq!(frame(&mut stream), (0x88, b"\x0f\xa0".to_vec()));
        });
        let expected = vec![(Kind::Text, b"ab".to_vec()), (Kind::Binary, b"\0".to_vec())];
        let end = End::Closed { code: Some(4000), reason: "bye".to_owned() };
        assert_eq!(listened(&url, QUIET), (end, expected));
        server.join().expect("the server saw what it should");
    }

    #[test]
    fn what_is_wrong_is_closed_with_its_code() {
        let (url, server) = server(|mut stream| {
            stream.write_all(b"\x83\x00").expect("a client");
            assert_eq!(frame(&mut stream), (0x88, 1002u16.to_be_bytes().to_vec()));
        });
        let (end, _) = listened(&url, QUIET);
        assert!(matches!(&end, End::Failed(why) if why.contains("wrong")), "{end}");
        server.join().expect("the server saw what it should");
    }

    #[test]
    fn a_silent_server_is_pinged_and_given_up_when_it_stays_silent() {
        let (url, server) = server(|mut stream| {
            assert_eq!(frame(&mut stream), (0x89, Vec::new()));
            stream.write_all(b"\x8a\x00").expect("a client");
            assert_eq!(frame(&mut stream), (0x89, Vec::new()));
            assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
        });
        let (end, _) = listened(&url, Duration::from_secs(1));
        assert_eq!(end, End::Failed("the server is silent, also when pinged".to_owned()));
        server.join().expect("the server saw what it should");
    }
}
