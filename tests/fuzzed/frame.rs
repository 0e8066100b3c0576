//! Any bytes as frames from a browser: the events do not depend on how the bytes arrived, and they
//! are those that tungstenite reads from the same bytes, refusals included.

use std::io::{self, Read, Write};

use tungstenite::protocol::{Role as TheirRole, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};
use wsloop::proto::ws::frame::{self, Opcode, ProtocolError, Role};
use wsloop::proto::ws::message::{Event, Kind, Limits, Reader};
use wsloop::proto::ws::whole::Whole;

const MAX_MESSAGE: usize = 1000;

/// Panics when the frames are read wrongly. The first byte says how the rest becomes a stream and
/// how that is cut.
pub fn check(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else { return };
    let stream = if how & 1 == 0 { rest.to_vec() } else { frames(rest) };
    let whole = ours(&stream, stream.len().max(1), false);
    assert_eq!(whole, ours(&stream, stream.len().max(1), true), "taken whole");
    assert_eq!(whole, ours(&stream, usize::from(how >> 1) + 1, true), "cut");
    assert_eq!(whole, ours(&stream, 1, false), "byte by byte");
    compare(&whole, &theirs(&stream));
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Refused(Option<ProtocolError>),
}

/// Records of a first byte, a form, a length and so many bytes, as masked frames: random bytes
/// alone would seldom be a second frame.
fn frames(data: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut rest = data;
    while let [first, form, length, tail @ ..] = rest {
        let (payload, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        let masked = if form & 0x0f == 0x0f { 0 } else { 0x80 };
        stream.push(*first);
        match form >> 6 {
            0 | 1 if payload.len() < 126 => stream.push(masked | payload.len() as u8),
            3 => {
                stream.push(masked | 127);
                stream.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
            _ => {
                stream.push(masked | 126);
                stream.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            }
        }
        if masked > 0 {
            let mask = [*form, 0x55, *first, *length];
            stream.extend_from_slice(&mask);
            stream.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            stream.extend_from_slice(payload);
        }
        rest = tail;
    }
    stream
}

fn ours(stream: &[u8], piece: usize, takes_whole: bool) -> Vec<Seen> {
    let limits = Limits {
        role: Role::Server,
        max_message: MAX_MESSAGE,
        max_fragments: usize::MAX,
        compression: false,
    };
    let mut reader = Reader::new();
    let mut seen = Vec::new();
    for piece in stream.to_vec().chunks_mut(piece) {
        let mut input = piece;
        loop {
            // A refusal is given again by what comes next.
            if takes_whole && let Ok(Some(whole)) = reader.whole(&mut input, &limits, 1) {
                seen.push(taken_whole(whole));
                continue;
            }
            let event = match reader.next(&mut input, &limits) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    seen.push(Seen::Refused(Some(error)));
                    return seen;
                }
            };
            seen.push(match event {
                Event::Message { kind: Kind::Text, data } => Seen::Text(data.into_owned()),
                Event::Message { kind: Kind::Binary, data } => Seen::Binary(data.into_owned()),
                Event::Ping(data) => Seen::Ping(data.into_owned()),
                Event::Pong(data) => Seen::Pong(data.into_owned()),
                Event::Close(close) => {
                    seen.push(Seen::Close(close.map(|(code, text)| (code, text.into_owned()))));
                    return seen;
                }
            });
        }
    }
    seen
}

/// A message in the frame in which a server sends it.
fn taken_whole(whole: Whole<'_>) -> Seen {
    let (payload, text) = (whole.payload(), whole.kind == Kind::Text);
    let opcode = if text { Opcode::Text } else { Opcode::Binary };
    assert_eq!(whole.frame, &frame::encode(opcode, payload)[..]);
    if text { Seen::Text(payload.to_vec()) } else { Seen::Binary(payload.to_vec()) }
}

/// The stream as a socket that takes every answer.
struct Socket<'a>(&'a [u8]);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            other => other,
        }
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn theirs(stream: &[u8]) -> Vec<Seen> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let mut socket = WebSocket::from_raw_socket(Socket(stream), TheirRole::Server, Some(config));
    let mut seen = Vec::new();
    loop {
        seen.push(match socket.read() {
            Ok(Message::Text(text)) => Seen::Text(text.as_bytes().to_vec()),
            Ok(Message::Binary(data)) => Seen::Binary(data.to_vec()),
            Ok(Message::Ping(data)) => Seen::Ping(data.to_vec()),
            Ok(Message::Pong(data)) => Seen::Pong(data.to_vec()),
            Ok(Message::Frame(frame)) => panic!("a raw frame: {frame}"),
            Ok(Message::Close(close)) => {
                let close = close.map(|c| (u16::from(c.code), c.reason.as_str().to_string()));
                seen.push(Seen::Close(close));
                return seen;
            }
            Err(Error::Io(_)) => return seen,
            Err(_) => {
                seen.push(Seen::Refused(None));
                return seen;
            }
        });
    }
}

fn compare(ours: &[Seen], theirs: &[Seen]) {
    let violation = Seen::Close(Some((1002, "Protocol violation".to_string())));
    let (error, good) = match ours {
        [good @ .., Seen::Refused(Some(error))] => (error, good),
        // It does not know this code, which has been registered since.
        [good @ .., Seen::Close(Some((1014, _)))] => {
            return assert_eq!([good, &[violation]].concat(), theirs);
        }
        _ => return assert_eq!(ours, theirs),
    };
    assert_eq!(good, &theirs[..good.len().min(theirs.len())], "before {error:?}");
    let then = &theirs[good.len()..];
    match error {
        // It lets these pass: a length in more bytes than it needs, of a control frame too.
        ProtocolError::LengthNotMinimal | ProtocolError::ControlTooLong => {}
        // We refuse while the message is still arriving, it when it is whole, and between the two
        // there may be control frames; but it must not deliver that message.
        ProtocolError::TextNotUtf8 | ProtocolError::MessageTooBig => {
            let delivered = then.iter().find(|s| matches!(s, Seen::Text(_) | Seen::Binary(_)));
            assert_eq!(delivered, None, "{error:?}");
        }
        // It says this as if the peer had sent it.
        ProtocolError::CloseCodeNotAllowed => {
            assert!(then == [violation] || then == [Seen::Refused(None)], "{then:?}");
        }
        _ => assert!(matches!(then, [Seen::Refused(None)] | []), "{error:?} against {then:?}"),
    }
}
