//! What a frame of an application means.

use std::fmt;

use super::{FramingError, HandlerFrame, HandlerKind, MAX_CONNS, VERSION};

/// What an application says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerSaid<'a> {
    /// Send a text message.
    Text(u64, &'a str),
    /// Send a binary message.
    Binary(u64, &'a [u8]),
    /// Begin the close handshake.
    Close(u64, u16, &'a str),
    /// Let the conn in.
    Accept(u64, Option<&'a str>, Vec<(&'a str, &'a str)>),
    /// Refuse it.
    Refuse(u64, u16, &'a str),
    /// Forward what the broker delivers on a channel.
    Subscribe(u64, &'a str),
    /// Forward no more of it.
    Unsubscribe(u64, &'a str),
    /// Publish a message.
    Publish(&'a str, &'a [u8]),
    /// Send a text message to many.
    BroadcastText(Vec<u64>, &'a str),
    /// Send a binary message to many.
    BroadcastBinary(Vec<u64>, &'a [u8]),
    /// So many bytes more may be under way.
    Credit(u32),
    /// Read the conn no more.
    Pause(u64),
    /// Read it again.
    Resume(u64),
}

/// What an application says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandlerHello {
    /// It decides about handshakes.
    pub decides: bool,
    /// Bytes that may be under way to it; [`UNCOUNTED`](super::UNCOUNTED) is any number.
    pub credit: u32,
}

/// Why a frame means nothing. It is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongOrder {
    /// Its kind is none that an application sends.
    Kind(u8),
    /// Its payload is shorter than what must be in it.
    Short,
    /// A text is not UTF-8.
    Utf8,
    /// A broadcast is to more conns than one may name.
    Conns,
    /// A line of an acceptance is no `name: value`.
    Line,
}

impl fmt::Display for WrongOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WrongOrder::Kind(kind) => write!(f, "an application sends no frames of kind {kind}"),
            WrongOrder::Short => f.write_str("the payload ends too early"),
            WrongOrder::Utf8 => f.write_str("a text must be UTF-8"),
            WrongOrder::Conns => write!(f, "a broadcast names at most {MAX_CONNS} conns"),
            WrongOrder::Line => f.write_str("each line of an acceptance is `name: value`"),
        }
    }
}

impl<'a> HandlerFrame<'a> {
    /// What it says as the first frame of a link.
    pub fn hello(&self) -> Result<HandlerHello, FramingError> {
        if self.kind != HandlerKind::Hello as u8 {
            return Err(FramingError::NoHello);
        }
        let (version, rest) = number(self.payload).map_err(|_| FramingError::NoHello)?;
        if version != VERSION {
            return Err(FramingError::Version(version));
        }
        let (&flags, rest) = rest.split_first().ok_or(FramingError::NoHello)?;
        let (credit, _) = long(rest).map_err(|_| FramingError::NoHello)?;
        Ok(HandlerHello { decides: flags & 1 != 0, credit })
    }

    /// What it says as a later frame.
    pub fn said(&self) -> Result<HandlerSaid<'a>, WrongOrder> {
        let HandlerFrame { kind, conn, payload } = *self;
        let kind = HandlerKind::of(kind).ok_or(WrongOrder::Kind(kind))?;
        Ok(match kind {
            HandlerKind::Text => HandlerSaid::Text(conn, text(payload)?),
            HandlerKind::Binary => HandlerSaid::Binary(conn, payload),
            HandlerKind::Close => {
                let (code, reason) = number(payload)?;
                HandlerSaid::Close(conn, code, text(reason)?)
            }
            HandlerKind::Accept => accept(conn, text(payload)?)?,
            HandlerKind::Refuse => {
                let (status, why) = number(payload)?;
                HandlerSaid::Refuse(conn, status, text(why)?)
            }
            HandlerKind::Subscribe => HandlerSaid::Subscribe(conn, text(payload)?),
            HandlerKind::Unsubscribe => HandlerSaid::Unsubscribe(conn, text(payload)?),
            HandlerKind::Publish => {
                let (length, rest) = number(payload)?;
                let name = rest.split_at_checked(usize::from(length));
                let (channel, message) = name.ok_or(WrongOrder::Short)?;
                HandlerSaid::Publish(text(channel)?, message)
            }
            HandlerKind::BroadcastText => {
                let (conns, message) = conns(payload)?;
                HandlerSaid::BroadcastText(conns, text(message)?)
            }
            HandlerKind::BroadcastBinary => {
                let (conns, message) = conns(payload)?;
                HandlerSaid::BroadcastBinary(conns, message)
            }
            HandlerKind::Credit => HandlerSaid::Credit(long(payload)?.0),
            HandlerKind::Pause => HandlerSaid::Pause(conn),
            HandlerKind::Resume => HandlerSaid::Resume(conn),
            HandlerKind::Hello
            | HandlerKind::Opened
            | HandlerKind::Resumed
            | HandlerKind::Asked
            | HandlerKind::Slow
            | HandlerKind::Error => return Err(WrongOrder::Kind(kind as u8)),
        })
    }
}

fn text(bytes: &[u8]) -> Result<&str, WrongOrder> {
    std::str::from_utf8(bytes).map_err(|_| WrongOrder::Utf8)
}

fn number(bytes: &[u8]) -> Result<(u16, &[u8]), WrongOrder> {
    let (number, rest) = bytes.split_first_chunk().ok_or(WrongOrder::Short)?;
    Ok((u16::from_be_bytes(*number), rest))
}

fn long(bytes: &[u8]) -> Result<(u32, &[u8]), WrongOrder> {
    let (number, rest) = bytes.split_first_chunk().ok_or(WrongOrder::Short)?;
    Ok((u32::from_be_bytes(*number), rest))
}

fn conns(bytes: &[u8]) -> Result<(Vec<u64>, &[u8]), WrongOrder> {
    let (count, rest) = long(bytes)?;
    if count as usize > MAX_CONNS {
        return Err(WrongOrder::Conns);
    }
    let (names, message) = rest.split_at_checked(8 * count as usize).ok_or(WrongOrder::Short)?;
    let names = names.as_chunks().0.iter().map(|name| u64::from_be_bytes(*name));
    Ok((names.collect(), message))
}

/// Lines of headers, the one of `:protocol` among them.
fn accept(conn: u64, lines: &str) -> Result<HandlerSaid<'_>, WrongOrder> {
    let (mut protocol, mut headers) = (None, Vec::new());
    for line in lines.split('\n').filter(|line| !line.is_empty()) {
        match line.split_once(": ").ok_or(WrongOrder::Line)? {
            (":protocol", name) => protocol = Some(name),
            header => headers.push(header),
        }
    }
    Ok(HandlerSaid::Accept(conn, protocol, headers))
}

#[cfg(test)]
mod tests {
    use super::super::{HEAD, HandlerReader, append};
    use super::*;

    /// What a frame of these parts means, by the way of its bytes.
    fn with<T>(kind: HandlerKind, parts: &[&[u8]], act: impl Fn(HandlerFrame) -> T) -> T {
        let mut stream = Vec::new();
        append(kind, 5, parts, &mut stream);
        assert_eq!(stream.len() - HEAD, parts.iter().map(|part| part.len()).sum::<usize>());
        let mut reader = HandlerReader::new(1 << 20);
        act(reader.next(&mut &stream[..]).expect("a frame").expect("a whole one"))
    }

    #[test]
    fn the_greeting_says_version_and_credit() {
        let hello = |parts: &[&[u8]]| with(HandlerKind::Hello, parts, |frame| frame.hello());
        let said = HandlerHello { decides: true, credit: 256 };
        assert_eq!(hello(&[&[0, 1, 1], &[0, 0, 1, 0]]), Ok(said));
        assert_eq!(hello(&[&[0, 1, 1], &[0, 0, 1, 0], b"more"]), Ok(said), "of a later one");
        assert_eq!(hello(&[&[0, 2, 1], &[0, 0, 1, 0]]), Err(FramingError::Version(2)));
        assert_eq!(hello(&[&[0, 1, 1], &[0, 0, 1]]), Err(FramingError::NoHello));
        let other = with(HandlerKind::Text, &[&[0, 1, 1, 0, 0, 1, 0]], |frame| frame.hello());
        assert_eq!(other, Err(FramingError::NoHello));
    }

    #[test]
    fn orders_mean_what_they_say() {
        use HandlerKind as K;
        use HandlerSaid as S;
        let two = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
        for (kind, payload, said) in [
            (K::Text, "äh".as_bytes(), Ok(S::Text(5, "äh"))),
            (K::Text, b"", Ok(S::Text(5, ""))),
            (K::Text, b"\xff", Err(WrongOrder::Utf8)),
            (K::Binary, b"\xff", Ok(S::Binary(5, b"\xff"))),
            (K::Close, b"\x03\xe8bye", Ok(S::Close(5, 1000, "bye"))),
            (K::Close, b"\x03", Err(WrongOrder::Short)),
            (K::Accept, b"", Ok(S::Accept(5, None, vec![]))),
            (
                K::Accept,
                b":protocol: chat\nX-A: 1\nX-B: \n",
                Ok(S::Accept(5, Some("chat"), vec![("X-A", "1"), ("X-B", "")])),
            ),
            (K::Accept, b"X-A", Err(WrongOrder::Line)),
            (K::Refuse, b"\x01\x93no", Ok(S::Refuse(5, 403, "no"))),
            (K::Subscribe, b"news", Ok(S::Subscribe(5, "news"))),
            (K::Unsubscribe, b"news", Ok(S::Unsubscribe(5, "news"))),
            (K::Publish, b"\0\x04news\xff", Ok(S::Publish("news", b"\xff"))),
            (K::Publish, b"\0\x05news", Err(WrongOrder::Short)),
            (K::BroadcastText, &[&two[..], b"hi"].concat(), Ok(S::BroadcastText(vec![1, 2], "hi"))),
            (K::BroadcastBinary, &two, Ok(S::BroadcastBinary(vec![1, 2], b""))),
            (K::BroadcastText, &two[..19], Err(WrongOrder::Short)),
            (K::BroadcastText, &[0, 1, 0, 1], Err(WrongOrder::Conns)),
            (K::Credit, &[0, 0, 1, 1], Ok(S::Credit(257))),
            (K::Pause, b"", Ok(S::Pause(5))),
            (K::Resume, b"", Ok(S::Resume(5))),
            (K::Opened, b"", Err(WrongOrder::Kind(4))),
            (K::Hello, b"", Err(WrongOrder::Kind(0))),
        ] {
            with(kind, &[payload], |frame| assert_eq!(frame.said(), said, "{kind:?}"));
        }
        let unknown = HandlerFrame { kind: 200, conn: 0, payload: b"" };
        assert_eq!(unknown.said(), Err(WrongOrder::Kind(200)));
    }
}
