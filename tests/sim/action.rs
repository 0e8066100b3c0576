//! What can happen in a script, as values.

use super::super::world::{Reach, upgrade};
use super::Dice;

/// The facilities there are; few, so that conns meet.
pub const FACILITIES: [&str; 3] = ["a", "b", "c"];
/// The heartbeat, when it is on.
pub const HEARTBEAT: &[u8] = b"--hb--";
/// The largest message.
pub const MAX_MESSAGE: usize = 300;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// A browser connects and asks for this, in pieces cut there, the last perhaps never.
    Connect { ask: Ask, cuts: Vec<usize>, whole: bool, early: Vec<Say> },
    /// A browser sends these, in pieces cut at those places.
    Send { who: usize, says: Vec<Say>, cuts: Vec<usize> },
    /// A browser sends the beginning of a frame and no more.
    Half { who: usize },
    /// A browser takes so many bytes more.
    Stall { who: usize, after: usize },
    /// A browser takes everything again.
    Resume { who: usize },
    /// A browser answers no pings.
    Mute { who: usize },
    /// A browser ends its side.
    HalfClose { who: usize },
    /// A browser's link fails.
    Vanish { who: usize },
    /// Somebody else publishes, and has it stored or not.
    Publish { facility: usize, payload: Payload, stored: bool },
    /// Redis.
    Redis(Turn),
    /// Time passes.
    Pass(u64),
    /// The clock jumps forwards.
    Jump(u64),
    /// The clock jumps back.
    Back(u64),
    /// The process is asked to end.
    ShutDown,
    /// Nothing: only the loop turns.
    Idle,
}

/// What Redis does.
#[derive(Clone, Debug)]
pub enum Turn {
    Pause(bool),
    Serve(usize),
    Hold(bool),
    Piece(usize),
    CutAfter(usize),
    Cut,
    /// It dies, and is another version when it is back.
    Die {
        push_first: bool,
    },
    Reach(Reach),
    /// It refuses a command for a channel, or for all.
    Deny {
        command: &'static str,
        channel: &'static str,
    },
    /// It refuses nothing any more.
    Allow,
    /// Its socket takes so many bytes more.
    Stall(usize),
    Resume,
    Blurt,
}

/// What a browser asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub facility: usize,
    pub hears: bool,
    pub speaks: bool,
    pub echo: bool,
    pub binary: bool,
    /// It offers permessage-deflate.
    pub deflate: bool,
    /// It is no good request.
    pub bad: Option<&'static str>,
}

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
    pub what: &'static str,
    pub code: u16,
}

/// What a message consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Unlike any other, so long.
    Own(usize),
    /// The same, not UTF-8.
    Bytes(usize),
    /// One that others send as well.
    Common(u8),
    /// Nothing.
    Nothing,
    /// More than there may be.
    TooLong,
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

impl Action {
    /// The next one; `conns` is how many browsers there were.
    pub fn draw(dice: &mut Dice<'_>, conns: usize, redis: bool) -> Action {
        if conns == 0 || dice.below(100) < 12 {
            return Action::connect(dice);
        }
        // Those that came last are the likeliest to be there still.
        let who = conns - 1 - dice.below(conns.min(8));
        match dice.below(100) {
            0..30 => {
                let says = (0..1 + dice.below(3)).map(|_| Say::draw(dice)).collect();
                let cuts = (0..dice.below(3)).map(|_| dice.below(400)).collect();
                Action::Send { who, says, cuts }
            }
            30 => Action::Half { who },
            31..36 => Action::Stall { who, after: dice.below(400) },
            36..42 => Action::Resume { who },
            42 => Action::Mute { who },
            43..45 => Action::HalfClose { who },
            45..49 => Action::Vanish { who },
            49..65 => {
                let payload = Payload::draw(dice, true);
                let facility = dice.below(FACILITIES.len());
                Action::Publish { facility, payload, stored: !dice.once_in(5) }
            }
            65..72 => Action::Pass(dice.below(1_200) as u64),
            72 => Action::Pass(dice.below(20_000) as u64),
            73 => Action::Jump(dice.below(60_000) as u64 * dice.pick(&[1, 100])),
            74 => Action::Back(dice.below(3_000) as u64),
            75 if dice.once_in(12) => Action::ShutDown,
            76..96 if redis => Action::Redis(Turn::draw(dice)),
            _ => Action::Idle,
        }
    }

    fn connect(dice: &mut Dice<'_>) -> Action {
        let ask = Ask {
            facility: dice.below(FACILITIES.len()),
            hears: !dice.once_in(6),
            speaks: dice.below(2) == 0,
            echo: dice.once_in(3),
            binary: dice.once_in(5),
            deflate: dice.once_in(4),
            bad: dice.once_in(12).then(|| {
                dice.pick(&["no path", "no upgrade", "bad version", "no head", "long head"])
            }),
        };
        let early = (0..dice.below(8).saturating_sub(5)).map(|_| Say::draw(dice)).collect();
        let cuts = (0..dice.below(4)).map(|_| dice.below(300)).collect();
        Action::Connect { ask, cuts, whole: !dice.once_in(15), early }
    }
}

impl Say {
    fn draw(dice: &mut Dice<'_>) -> Say {
        match dice.below(40) {
            0..24 => {
                let payload = Payload::draw(dice, false);
                Say::Message { payload, fragments: 1 + dice.below(6).saturating_sub(3) }
            }
            24..26 => Say::Empty,
            26..29 => Say::Heartbeat,
            29..33 => Say::Ping(dice.below(126) as u8),
            33 => Say::Pong,
            34 => Say::Close(dice.pick(&[None, Some(1000), Some(1001), Some(4321)])),
            35 => Say::Bad(dice.pick(&BAD_FRAMES)),
            _ => Say::Message { payload: Payload::Own(0), fragments: 1 },
        }
    }
}

impl Payload {
    fn draw(dice: &mut Dice<'_>, outside: bool) -> Payload {
        match dice.below(20) {
            0..10 => Payload::Own(dice.below(12)),
            10 => Payload::Own(dice.below(MAX_MESSAGE - 10)),
            11 => Payload::Own(MAX_MESSAGE),
            12..15 => Payload::Bytes(dice.below(40)),
            15..18 => Payload::Common(dice.below(2) as u8),
            18 if outside => Payload::Nothing,
            19 if outside => Payload::TooLong,
            _ => Payload::Own(0),
        }
    }

    /// Its bytes; `number` is not used twice.
    pub fn bytes(self, number: usize) -> Vec<u8> {
        let filled = |mut bytes: Vec<u8>, length: usize| {
            let length = length.max(bytes.len()).min(MAX_MESSAGE);
            bytes.resize(length, b'.');
            bytes
        };
        match self {
            Payload::Own(length) => filled(format!("m{number}").into_bytes(), length),
            Payload::Bytes(length) => {
                filled([b"\xff\xfeb", number.to_string().as_bytes()].concat(), length)
            }
            Payload::Common(which) => vec![b'A' + which; 5],
            Payload::Nothing => Vec::new(),
            Payload::TooLong => vec![b'L'; MAX_MESSAGE + 1],
        }
    }
}

impl Turn {
    fn draw(dice: &mut Dice<'_>) -> Turn {
        match dice.below(40) {
            0..4 => Turn::Pause(true),
            4..9 => Turn::Pause(false),
            9..13 => Turn::Serve(1 + dice.below(4)),
            13..16 => Turn::Hold(true),
            16..21 => Turn::Hold(false),
            21 => Turn::Piece(1 + dice.below(60)),
            22 => Turn::Piece(usize::MAX),
            23..26 => Turn::CutAfter(dice.below(300)),
            26..28 => Turn::Cut,
            28 => Turn::Die { push_first: dice.below(2) == 0 },
            29 => Turn::Reach(dice.pick(&[Reach::Refuses, Reach::Silent])),
            30..34 => Turn::Reach(Reach::Answers),
            34 => {
                let channel = ["broadcast:a", "broadcast:b", "*"][dice.below(3)];
                Turn::Deny {
                    command: dice.pick(&["SUBSCRIBE", "PUBLISH", "SET", "GETRANGE"]),
                    channel,
                }
            }
            35..37 => Turn::Allow,
            37 => Turn::Stall(dice.below(300)),
            38 => Turn::Resume,
            _ if dice.once_in(3) => Turn::Blurt,
            _ => Turn::Pause(false),
        }
    }
}

impl Ask {
    /// The request.
    pub fn bytes(&self) -> Vec<u8> {
        let wishes = [
            (self.hears, "subscribe-broadcast"),
            (self.speaks, "publish-broadcast"),
            (self.echo, "echo"),
            (self.binary, "binary"),
        ];
        let query: Vec<&str> = wishes.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        let target = format!("/ws/{}?{}", FACILITIES[self.facility], query.join("&"));
        let offer = ["Sec-WebSocket-Extensions: permessage-deflate"];
        let good = upgrade(&target, if self.deflate { &offer } else { &[] });
        let replaced = |what: &str, by: &str| {
            String::from_utf8(good.clone()).expect("text").replace(what, by).into_bytes()
        };
        match self.bad {
            None => good,
            Some("no path") => replaced("/ws/", "/elsewhere/"),
            Some("no upgrade") => replaced("Upgrade: websocket", "Upgrade: h2c"),
            Some("bad version") => replaced("Version: 13", "Version: 12"),
            Some("long head") => replaced("Host:", &format!("X: {}\r\nHost:", "x".repeat(9_000))),
            Some(_) => b"\x16\x03\x01 hello\r\n\r\n".to_vec(),
        }
    }

    /// The channel.
    pub fn channel(&self) -> String {
        format!("broadcast:{}", FACILITIES[self.facility])
    }
}

impl Say {
    /// Its frames; `payload` is a message's.
    pub fn frames(&self, payload: &[u8]) -> Vec<u8> {
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
                "long ping" => frame(0x89, &[b'p'; 126]),
                "close code" => frame(0x88, &999_u16.to_be_bytes()),
                "not UTF-8" => frame(0x81, b"\xff"),
                _ => frame(0x81, &[b'x'; MAX_MESSAGE + 1]),
            },
        }
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
