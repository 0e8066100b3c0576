//! What can happen in a script, as values.

use super::super::world::Reach;
use super::Dice;
use super::ask::{Ask, Payload, Say};
use super::outside::{AppTurn, Command};
use super::people::{KEYS, Session, any_channel, any_owner};

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// A browser connects and asks for this, in pieces cut there, the last perhaps never.
    Connect { ask: Ask, cuts: Vec<usize>, whole: bool, early: Vec<Say> },
    /// A browser sends these, in pieces cut at those places.
    Send { who: usize, says: Vec<Say>, cuts: Vec<usize> },
    /// A browser sends so many small frames at once, and then what ends it or not.
    Flood { who: usize, frames: usize, ends: bool },
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
    /// Somebody else publishes these at once, and has the last stored or not.
    Publish { place: Place, payloads: Vec<Payload>, stored: bool },
    /// Somebody logs in or out, or is somebody else from here on.
    Session { key: usize, session: Option<Session> },
    /// The application has somebody disconnected.
    Disconnect { whose: (&'static str, &'static str), code: Option<u16>, sense: bool },
    /// Redis.
    Redis(Turn),
    /// The application that is asked who somebody is.
    App(AppTurn),
    /// A RESP client.
    Resp(RespTurn),
    /// Time passes.
    Pass(u64),
    /// The clock jumps forwards.
    Jump(u64),
    /// The clock jumps back.
    Back(u64),
    /// The time of day is set, so much later than a second ago.
    Clock(u64),
    /// The process is asked to end.
    ShutDown,
    /// Nothing: only the loop turns.
    Idle,
}

/// Where something is published.
#[derive(Clone, Debug)]
pub enum Place {
    /// On one of those channels that somebody hears, if there is one, and else on this.
    Heard(usize, String),
    /// On this one, whoever hears it.
    Any(String),
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
        channel: String,
    },
    /// It refuses nothing any more.
    Allow,
    /// Its socket takes so many bytes more.
    Stall(usize),
    Resume,
    Blurt,
}

/// What a RESP client does.
#[derive(Clone, Debug)]
pub enum RespTurn {
    /// It connects, and speaks RESP3 or not.
    Connect {
        three: bool,
    },
    /// It sends these, in pieces cut at those places.
    Send {
        who: usize,
        commands: Vec<Command>,
        cuts: Vec<usize>,
    },
    /// It takes so many bytes more.
    Stall {
        who: usize,
        after: usize,
    },
    Resume {
        who: usize,
    },
    /// It ends its side, or its link fails.
    End {
        who: usize,
        fails: bool,
    },
}

/// What there is in a game.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// How many browsers there were.
    pub browsers: usize,
    pub redis: bool,
    pub prefix: &'static str,
    pub sessions: bool,
    pub application: bool,
    /// Somebody may be disconnected.
    pub control: bool,
}

impl Action {
    /// The next one.
    pub fn draw(dice: &mut Dice<'_>, scene: &Scene) -> Action {
        if scene.browsers == 0 || dice.below(100) < 12 {
            return Action::connect(dice);
        }
        // Those that came last are the likeliest to be there still.
        let who = scene.browsers - 1 - dice.below(scene.browsers.min(8));
        match dice.below(120) {
            0..30 => {
                let says = (0..1 + dice.below(3)).map(|_| Say::draw(dice)).collect();
                let cuts = (0..dice.below(3)).map(|_| dice.below(400)).collect();
                Action::Send { who, says, cuts }
            }
            30 if dice.once_in(2) => Action::Half { who },
            30 => Action::Flood { who, frames: dice.below(400), ends: dice.once_in(3) },
            31..36 => Action::Stall { who, after: dice.below(400) },
            36..42 => Action::Resume { who },
            42 => Action::Mute { who },
            43..45 => Action::HalfClose { who },
            45..49 => Action::Vanish { who },
            49..67 => Action::publish(dice, scene),
            67..74 => Action::Pass(dice.below(1_200) as u64),
            74 => Action::Pass(dice.below(20_000) as u64),
            75 => Action::Jump(dice.below(60_000) as u64 * dice.pick(&[1, 100])),
            76 => Action::Back(dice.below(3_000) as u64),
            77 => Action::Clock(dice.below(5_000) as u64),
            78 if dice.once_in(12) => Action::ShutDown,
            79..82 if scene.control => Action::Disconnect {
                whose: any_owner(dice),
                code: dice.once_in(3).then(|| dice.pick(&[1008, 4000, 4999])),
                sense: !dice.once_in(6),
            },
            82..84 if scene.sessions => {
                let key = dice.below(KEYS.len());
                let session = (!dice.once_in(4)).then(|| Session::draw(dice));
                Action::Session { key, session }
            }
            84..95 if scene.application => Action::App(AppTurn::draw(dice)),
            95..115 if scene.redis => Action::Redis(Turn::draw(dice, scene.prefix)),
            95..115 => Action::Resp(RespTurn::draw(dice, scene.prefix)),
            _ => Action::Idle,
        }
    }

    fn connect(dice: &mut Dice<'_>) -> Action {
        let ask = Ask::draw(dice);
        let early = (0..dice.below(8).saturating_sub(5)).map(|_| Say::draw(dice)).collect();
        let cuts = (0..dice.below(4)).map(|_| dice.below(300)).collect();
        Action::Connect { ask, cuts, whole: !dice.once_in(15), early }
    }

    fn publish(dice: &mut Dice<'_>, scene: &Scene) -> Action {
        let channel = any_channel(dice, scene.prefix);
        let place = match dice.once_in(4) {
            true => Place::Any(channel),
            false => Place::Heard(dice.below(256), channel),
        };
        let many = if dice.once_in(3) { 2 + dice.below(3) } else { 1 };
        // A few long ones are more than may wait for a browser.
        let long = many > 1 && dice.once_in(3);
        let payload = |_| if long { Payload::Longest } else { Payload::draw(dice, true) };
        let payloads = (0..many).map(payload).collect();
        Action::Publish { place, payloads, stored: !dice.once_in(5) }
    }
}

impl Turn {
    fn draw(dice: &mut Dice<'_>, prefix: &str) -> Turn {
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
                let channel = match dice.below(3) {
                    0 => "*".to_owned(),
                    _ => any_channel(dice, prefix),
                };
                Turn::Deny {
                    command: dice.pick(&["SUBSCRIBE", "PUBLISH", "SET", "GETRANGE", "GET"]),
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

impl RespTurn {
    fn draw(dice: &mut Dice<'_>, prefix: &str) -> RespTurn {
        let who = dice.below(3);
        match dice.below(20) {
            0..2 => RespTurn::Connect { three: dice.below(2) == 0 },
            2 => RespTurn::Stall { who, after: dice.below(100) },
            3 => RespTurn::Resume { who },
            4 => RespTurn::End { who, fails: dice.below(2) == 0 },
            _ => {
                let mut commands = Command::draw(dice, prefix);
                if dice.once_in(3) {
                    commands.extend(Command::draw(dice, prefix));
                }
                let cuts = (0..dice.below(3)).map(|_| dice.below(200)).collect();
                RespTurn::Send { who, commands, cuts }
            }
        }
    }
}
