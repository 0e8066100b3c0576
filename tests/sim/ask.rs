//! What browsers ask for and say, as values and as bytes.

use super::super::world::{request, upgrade};
use super::Dice;
use super::people::{FACILITIES, HEARS_ALL, KEYS, Options, SPEAKS_TO_ALL, Token, option_names};

/// The heartbeat, when it is on.
pub const HEARTBEAT: &[u8] = b"--hb--";
/// Longest control frame's payload.
const MAX_CONTROL: usize = 125;

/// What a browser asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub facility: usize,
    pub options: Options,
    pub echo: bool,
    pub binary: bool,
    /// It wants to be told that Redis was away.
    pub gaps: bool,
    /// It offers permessage-deflate.
    pub deflate: bool,
    pub token: Option<Token>,
    /// The place in [`KEYS`] of the session's key that is in its cookie.
    pub cookie: Option<usize>,
    /// It wants a stream of events, on which what it says is passed over.
    pub stream: bool,
    /// It is no good request.
    pub bad: Option<Flaw>,
}

/// What is wrong with a request, and what it is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    what: &'static str,
    pub status: u16,
    pub kind: FlawKind,
}

/// When it is answered with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlawKind {
    /// As soon as it shows that it is no request at all.
    Unreadable,
    /// When it is whole.
    Wrong,
    /// When it is known who asks: it is plain HTTP, and is told what a WebSocket would be granted.
    Inquiry,
}

const FLAWS: [Flaw; 8] = [
    Flaw { what: "no path", status: 404, kind: FlawKind::Wrong },
    Flaw { what: "no upgrade", status: 426, kind: FlawKind::Inquiry },
    Flaw { what: "bad version", status: 426, kind: FlawKind::Wrong },
    Flaw { what: "bad origin", status: 403, kind: FlawKind::Wrong },
    Flaw { what: "colon", status: 400, kind: FlawKind::Wrong },
    Flaw { what: "typing error", status: 400, kind: FlawKind::Wrong },
    Flaw { what: "no head", status: 400, kind: FlawKind::Unreadable },
    Flaw { what: "long head", status: 431, kind: FlawKind::Unreadable },
];

/// One thing that a browser says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    Message { payload: Payload, fragments: usize },
    Empty,
    Heartbeat,
    Ping(u8),
    Pong,
    Close(Option<u16>),
    Bad(Bad),
}

/// Frames that break the protocol, with what they are closed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad {
    what: &'static str,
    pub code: u16,
}

const BAD_FRAMES: [Bad; 8] = [
    Bad { what: "unmasked", code: 1002 },
    Bad { what: "reserved opcode", code: 1002 },
    Bad { what: "reserved bit", code: 1002 },
    Bad { what: "continues nothing", code: 1002 },
    Bad { what: "long ping", code: 1002 },
    Bad { what: "close code", code: 1002 },
    Bad { what: "not UTF-8", code: 1007 },
    Bad { what: "too long", code: 1009 },
];

/// What a message consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Unlike any other, so long.
    Own(usize),
    /// The same, not UTF-8.
    Bytes(usize),
    /// The same, as long as it may be.
    Longest,
    /// One that others send as well.
    Common(u8),
    /// Nothing.
    Nothing,
    /// More than there may be.
    TooLong,
}

impl Ask {
    pub fn draw(dice: &mut Dice<'_>) -> Ask {
        // Some ask for everything, some for a few things, and most for what is everybody's.
        let options = match dice.below(6) {
            0 => dice.below(256) as Options,
            1 => 0b1111,
            2 => (dice.below(256) & dice.below(256)) as Options,
            _ => 0,
        };
        let hears = if dice.once_in(4) { 0 } else { HEARS_ALL };
        let speaks = if dice.below(2) == 0 { SPEAKS_TO_ALL } else { 0 };
        let stream = dice.once_in(5);
        let flaw = dice.once_in(12).then(|| dice.pick(&FLAWS));
        Ask {
            facility: dice.below(FACILITIES.len()),
            options: options | hears | speaks,
            echo: dice.once_in(3),
            binary: dice.once_in(5),
            gaps: dice.once_in(3),
            deflate: dice.once_in(4),
            token: dice.once_in(2).then(|| Token::draw(dice)),
            cookie: (!dice.once_in(4)).then(|| dice.below(KEYS.len())),
            stream,
            bad: flaw.filter(|flaw| !stream || flaw.status != 426),
        }
    }

    /// The request of the browser of that number, at that time of day.
    pub fn bytes(&self, number: usize, unix_ms: u64) -> Vec<u8> {
        let mut query = option_names(self.options);
        query.extend(self.echo.then(|| "echo".to_owned()));
        query.extend(self.binary.then(|| "binary".to_owned()));
        query.extend(self.gaps.then(|| "gaps".to_owned()));
        query.push(format!("browser={number}"));
        let mut headers = Vec::new();
        match self.token.map(|token| token.write(unix_ms)) {
            Some(Ok(parameter)) => query.push(parameter),
            Some(Err(header)) => headers.push(header),
            None => {}
        }
        headers.extend(self.cookie.map(|key| format!("Cookie: a=b; sessionid={}", KEYS[key])));
        if self.deflate {
            headers.push("Sec-WebSocket-Extensions: permessage-deflate".to_owned());
        }
        let (mut base, mut facility) = ("/ws/", FACILITIES[self.facility].to_owned());
        match self.bad.map_or("", |flaw| flaw.what) {
            "no path" => base = "/elsewhere/",
            "bad origin" => headers.push("Origin: https://evil.example".to_owned()),
            "colon" => {
                facility.push_str(":x");
                query.push("subscribe-user".to_owned());
            }
            "typing error" => query.push("subscribe-brodcast".to_owned()),
            "long head" => headers.push(format!("X: {}", "x".repeat(9_000))),
            "no head" => return b"\x16\x03\x01 hello\r\n\r\n".to_vec(),
            _ => {}
        }
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let target = format!("{base}{facility}?{}", query.join("&"));
        if self.stream {
            let standard = ["Host: example.com", "Accept: text/event-stream"];
            return request("GET", &target, &[&standard, &headers[..]].concat());
        }
        let good = upgrade(&target, &headers);
        let replaced = |what: &str, by: &str| {
            String::from_utf8(good.clone()).expect("text").replace(what, by).into_bytes()
        };
        match self.bad.map_or("", |flaw| flaw.what) {
            "no upgrade" => replaced("Upgrade: websocket", "Upgrade: h2c"),
            "bad version" => replaced("Version: 13", "Version: 12"),
            _ => good,
        }
    }
}

/// The number of the browser that a request repeats somewhere, if it has come that far.
pub fn number_in(request: &str) -> Option<usize> {
    let (_, rest) = request.split_once("browser=")?;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

impl Say {
    pub fn draw(dice: &mut Dice<'_>) -> Say {
        match dice.below(40) {
            0..24 => {
                let payload = Payload::draw(dice, false);
                Say::Message { payload, fragments: 1 + dice.below(6).saturating_sub(3) }
            }
            24..26 => Say::Empty,
            26..29 => Say::Heartbeat,
            29..33 => Say::Ping(dice.below(MAX_CONTROL + 1) as u8),
            33 => Say::Pong,
            34 => Say::Close(dice.pick(&[None, Some(1000), Some(1001), Some(4321)])),
            35 => Say::Bad(dice.pick(&BAD_FRAMES)),
            _ => Say::Message { payload: Payload::Own(0), fragments: 1 },
        }
    }

    /// Its frames; `payload` is a message's, which may have `max_message` bytes.
    pub fn frames(&self, payload: &[u8], max_message: usize) -> Vec<u8> {
        match self {
            Say::Message { fragments, .. } => {
                let opcode = if std::str::from_utf8(payload).is_ok() { 1 } else { 2 };
                let length = payload.len().div_ceil(*fragments).max(1);
                let pieces: Vec<&[u8]> = payload.chunks(length).collect();
                let mut bytes = Vec::new();
                for (at, piece) in pieces.iter().enumerate() {
                    let fin = if at + 1 == pieces.len() { 0x80 } else { 0 };
                    bytes.extend(frame(fin | if at == 0 { opcode } else { 0 }, piece));
                }
                bytes
            }
            Say::Empty => frame(0x81, b""),
            Say::Heartbeat => frame(0x81, HEARTBEAT),
            Say::Ping(length) => frame(0x89, &vec![b'p'; usize::from(*length)]),
            Say::Pong => frame(0x8a, b"unasked"),
            Say::Close(code) => {
                frame(0x88, &code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec()))
            }
            Say::Bad(bad) => match bad.what {
                "unmasked" => b"\x81\x02hi".to_vec(),
                "reserved opcode" => frame(0x83, b"x"),
                "reserved bit" => frame(0xa1, b"x"),
                "continues nothing" => frame(0x80, b"x"),
                "long ping" => frame(0x89, &[b'p'; MAX_CONTROL + 1]),
                "close code" => frame(0x88, &999_u16.to_be_bytes()),
                "not UTF-8" => frame(0x81, b"\xff"),
                _ => frame(0x81, &vec![b'x'; max_message + 1]),
            },
        }
    }
}

impl Payload {
    /// What somebody sends; from outside also what no browser may be sent.
    pub fn draw(dice: &mut Dice<'_>, outside: bool) -> Payload {
        match dice.below(20) {
            0..10 => Payload::Own(dice.below(12)),
            10 => Payload::Own(dice.below(290)),
            11 => Payload::Longest,
            12..15 => Payload::Bytes(dice.below(40)),
            15..18 => Payload::Common(dice.below(2) as u8),
            18 if outside => Payload::Nothing,
            19 if outside => Payload::TooLong,
            _ => Payload::Own(0),
        }
    }

    /// Its bytes, of which there may be `max_message`; `number` is not used twice.
    pub fn bytes(self, number: usize, max_message: usize) -> Vec<u8> {
        let filled = |mut bytes: Vec<u8>, length: usize| {
            let length = length.max(bytes.len()).min(max_message);
            bytes.resize(length, b'.');
            bytes
        };
        match self {
            Payload::Own(length) => filled(format!("m{number}").into_bytes(), length),
            Payload::Longest => filled(format!("m{number}").into_bytes(), max_message),
            Payload::Bytes(length) => {
                filled([b"\xff\xfeb", number.to_string().as_bytes()].concat(), length)
            }
            Payload::Common(which) => vec![b'A' + which; 5],
            Payload::Nothing => Vec::new(),
            Payload::TooLong => vec![b'L'; max_message + 1],
        }
    }

    /// Whether there is but one of it.
    pub fn is_unique(payload: &[u8]) -> bool {
        payload.starts_with(b"m") || payload.starts_with(b"\xff\xfeb")
    }
}

/// A masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x11, 0xa2, 0x33, 0xc4];
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => bytes.push(0x80 | length),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend((payload.len() as u16).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
