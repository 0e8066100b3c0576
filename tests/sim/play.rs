//! Plays a script: does what its actions say, lets the loop turn, and compares with the model.

use wsloop::browser::settings::{Refuse, Settings};
use wsloop::proto::ws::deflate::Compression;

use super::super::world::{
    Arrival, Call, Cause, EXPIRE_S, FakeRedis, Reach, Told, World, redis_of, settings, with_redis,
};
use super::Dice;
use super::action::{Action, FACILITIES, HEARTBEAT, MAX_MESSAGE, Payload, Say, Turn};
use super::guest::{Guest, Mark};
use super::model::Model;

pub const OUTBOX_LIMIT: usize = 700;
const HANDSHAKE_MS: u64 = 6_000;
const CLOSE_MS: u64 = 2_000;
const PING_MS: u64 = 3_000;
const PONG_MS: [u64; 2] = [2_000, 7_000];
/// A message goes out when none did for so long, within a tick of 50 ms.
const HEARTBEAT_MS: u64 = 3_900 + 50;

/// What fits nothing that Redis was asked for.
const MISFIT: &[u8] = b">3\r\n$9\r\nsubscribe\r\n$6\r\nnobody\r\n:1\r\n";

/// Plays `steps` actions, or as many as the dice have numbers for. `name` is said when something
/// is wrong, with the last actions; with `trace` every action is said as it happens.
pub fn play(name: &str, dice: &mut Dice<'_>, steps: usize, trace: bool) {
    let mut game = Game::new(name, dice, trace);
    for _ in 0..steps {
        if dice.is_over() || game.world.is_done() {
            break;
        }
        let action = Action::draw(dice, game.world.browsers.len(), game.redis);
        game.act(action);
        match dice.below(4) {
            0 => game.turn(),
            _ => game.run(),
        }
    }
    game.end();
}

struct Game {
    world: World,
    model: Model,
    redis: bool,
    heartbeat: bool,
    /// Messages thought of so far.
    messages: usize,
    journal: Journal,
}

/// What has happened, for somebody who has to find out why.
struct Journal {
    name: String,
    trace: bool,
    said: Vec<String>,
}

impl Journal {
    fn say(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        if self.trace {
            println!("{line}");
        }
        self.said.push(line);
    }

    /// Notes what the server was told, unless nothing has come of it.
    fn note(&mut self, call: &Call) {
        let nothing = matches!(call.told, Told::Other | Told::Tick | Told::Blocked(_))
            && call.opened.is_empty()
            && call.closing.is_empty()
            && call.commands.is_empty();
        if self.trace && !nothing {
            println!("    {}", readable(call));
        }
    }
}

fn readable(call: &Call) -> String {
    let words = |words: &Vec<Vec<u8>>| {
        words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
    };
    let told = match &call.told {
        Told::Redis(arrivals) => {
            let arrivals = arrivals.iter().map(|arrival| match arrival {
                Arrival::Subscribed(name) => format!("subscribed {}", name.escape_ascii()),
                Arrival::Message { channel, payload, publish } => {
                    let (channel, payload) = (channel.escape_ascii(), payload.escape_ascii());
                    format!("message {channel} {payload} {publish:?}")
                }
                Arrival::Answer(Some(value)) => format!("answer {}", value.escape_ascii()),
                Arrival::Refused(command) => format!("refused {}", words(command)),
                other => format!("{other:?}"),
            });
            format!("Redis {:?}", arrivals.collect::<Vec<_>>())
        }
        other => format!("{other:?}"),
    };
    let commands: Vec<String> = call.commands.iter().map(words).collect();
    let closing: Vec<String> =
        call.closing.iter().map(|(id, last)| format!("{id} {}", last.escape_ascii())).collect();
    format!("{told}: opens {:?}, closes {closing:?}, asks {commands:?}", call.opened)
}

impl Drop for Journal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("\n{}: the last of {} steps:", self.name, self.said.len());
            for line in self.said.iter().rev().take(40).rev() {
                println!("  {line}");
            }
        }
    }
}

/// What a server is told in a game, drawn as well.
fn drawn(dice: &mut Dice<'_>, redis: bool) -> Settings {
    let base = if redis { with_redis() } else { settings() };
    let mut settings = Settings {
        heartbeat: (dice.below(2) == 0).then(|| HEARTBEAT.to_vec()),
        ping_interval_ms: dice.pick(&[0, PING_MS]),
        pong_timeout_ms: dice.pick(&PONG_MS),
        handshake_timeout_ms: HANDSHAKE_MS,
        close_timeout_ms: CLOSE_MS,
        shutdown_timeout_ms: 3_000,
        max_message_size: MAX_MESSAGE,
        outbox_limit: OUTBOX_LIMIT,
        max_connections: 16,
        max_handshakes: 12,
        compression: dice.pick(&[Compression::Shared, Compression::Dedicated, Compression::Off]),
        compression_min: 8,
        refuse: dice.pick(&[Refuse::Status, Refuse::Close]),
        ..base
    };
    if redis {
        redis_of(&mut settings).buffer_limit = dice.pick(&[1 << 20, 1 << 20, 1 << 20, 1_200]);
        redis_of(&mut settings).window = dice.pick(&[MAX_MESSAGE / 4, 4 << 20]);
    }
    settings
}

impl Game {
    fn new(name: &str, dice: &mut Dice<'_>, trace: bool) -> Self {
        let redis = dice.below(3) > 0;
        let mut settings = drawn(dice, redis);
        let may_drop = redis && redis_of(&mut settings).buffer_limit < 1 << 20;
        let heartbeat = settings.heartbeat.is_some();
        let push_first = dice.below(2) == 0;
        let mut journal = Journal { name: name.to_string(), trace, said: Vec::new() };
        journal.say(|| {
            let broker = if redis { "Redis" } else { "the broker in the process" };
            format!("{name}: {broker}, push first: {push_first}, {:?}", settings.refuse)
        });
        let fake = FakeRedis::with(|fake| fake.push_first = push_first);
        let mut model = Model::new(!redis, EXPIRE_S, CLOSE_MS);
        model.may_drop = may_drop;
        let mut world = World::watched(settings, fake);
        world.flushes = dice.pick(&[usize::MAX, usize::MAX, 1, 3]);
        let mut game = Game { world, model, redis, heartbeat, messages: 0, journal };
        game.digest();
        game
    }

    fn act(&mut self, action: Action) {
        let now_ms = self.world.now_ms;
        self.journal.say(|| format!("{now_ms} {action:?}"));
        let gone = |world: &World, who: usize| world.browsers[who].ended;
        match action {
            Action::Connect { ask, cuts, whole, early } => {
                if !self.world.accepting() {
                    return;
                }
                let id = self.world.accept();
                self.model.guests.push(Guest::new(ask));
                let mut bytes = ask.bytes();
                if !whole {
                    let most = cuts.first().copied().unwrap_or(1);
                    bytes.truncate(most.clamp(1, bytes.len() - 1));
                    self.world.send(id, &bytes);
                    self.model.guests[id].silent = true;
                    return;
                }
                let end = bytes.len();
                self.model.guests[id].script.push_back((end, Mark::Head));
                self.say(id, &early, bytes, &cuts);
            }
            Action::Send { who, .. } | Action::Half { who } if gone(&self.world, who) => {}
            Action::Send { who, says, cuts } => self.say(who, &says, Vec::new(), &cuts),
            Action::Half { who } if self.model.guests[who].silent => {}
            Action::Half { who } => {
                // Nothing may follow, which would be taken for the rest.
                self.world.send(who, b"\x81\x85\0\0\0\0h");
                let browser = &mut self.world.browsers[who];
                (browser.pongs, browser.polite) = (false, false);
                self.model.guests[who].excused = true;
                self.model.guests[who].silent = true;
            }
            Action::Stall { who, after } => {
                self.world.stall(who, after);
                self.model.guests[who].excused = true;
            }
            Action::Resume { who } => {
                self.world.browsers[who].appetite = None;
                self.world.resume(who);
            }
            Action::Mute { who } => {
                self.world.browsers[who].pongs = false;
                self.model.guests[who].excused = true;
            }
            Action::HalfClose { who } | Action::Vanish { who } if gone(&self.world, who) => {}
            Action::HalfClose { who } => {
                self.world.browsers[who].ending.get_or_insert(Cause::Ended);
            }
            Action::Vanish { who } => {
                self.world.browsers[who].ending = Some(Cause::Failed("reset".to_string()));
            }
            Action::Publish { facility, payload, stored } => {
                let payload = payload.bytes(self.next_number());
                let channel = format!("broadcast:{}", FACILITIES[facility]);
                if self.redis {
                    let now_ms = self.world.latest_ms();
                    let expire_s = if stored { EXPIRE_S } else { 0 };
                    self.world.redis.publish(&channel, payload, expire_s, now_ms);
                }
            }
            Action::Redis(turn) => self.turn_redis(turn),
            Action::Pass(ms) => self.pass(ms),
            Action::Jump(ms) => {
                self.world.now_ms = self.world.latest_ms() + ms;
                // Whoever was slow to answer has had no chance to be quicker.
                self.model.hindered = true;
                self.model.guests.iter_mut().for_each(|guest| guest.excused = true);
            }
            Action::Back(ms) => self.world.now_ms -= ms,
            Action::ShutDown => {
                self.model.shut_down = true;
                self.world.shut_down();
            }
            Action::Idle => {}
        }
    }

    fn next_number(&mut self) -> usize {
        self.messages += 1;
        self.messages
    }

    /// A browser sends, after `first`, all of this in pieces.
    fn say(&mut self, id: usize, says: &[Say], first: Vec<u8>, cuts: &[usize]) {
        if self.model.guests[id].silent {
            return;
        }
        let mut bytes = first;
        let before = self.world.browsers[id].queued;
        for say in says {
            if *say == Say::Heartbeat && !self.heartbeat {
                continue;
            }
            let mut payload = Vec::new();
            if let Say::Message { payload: what, .. } = say {
                // Of what waits for the 101 it must be seen whose it is.
                let what = match what {
                    Payload::Common(_) if !self.model.guests[id].open => Payload::Own(0),
                    what => *what,
                };
                payload = what.bytes(self.next_number());
            }
            bytes.extend(say.frames(&payload));
            let mark = match say {
                Say::Message { .. } => Mark::Message(payload),
                Say::Heartbeat => Mark::Heartbeat,
                Say::Ping(length) => Mark::Ping(vec![b'p'; usize::from(*length)]),
                Say::Close(code) => Mark::Close(*code),
                Say::Bad(bad) => Mark::Bad(*bad),
                Say::Empty => Mark::Message(Vec::new()),
                Say::Pong => continue,
            };
            let ends = matches!(say, Say::Close(_) | Say::Bad(_));
            self.model.guests[id].script.push_back((before + bytes.len(), mark));
            if ends {
                self.model.guests[id].silent = true;
                break;
            }
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % bytes.len().max(1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        for piece in cuts.windows(2) {
            self.world.send(id, &bytes[piece[0]..piece[1]]);
        }
    }

    fn turn_redis(&mut self, turn: Turn) {
        self.model.hindered |=
            matches!(turn, Turn::Pause(true) | Turn::Hold(true) | Turn::Stall(_));
        let redis = &mut self.world.redis;
        match turn {
            Turn::Pause(paused) => redis.paused = paused,
            Turn::Serve(commands) => redis.serve(commands),
            Turn::Hold(held) => redis.held = held,
            Turn::Piece(most) => redis.piece = most,
            Turn::CutAfter(after) => redis.cut_after = Some(after),
            Turn::Cut => self.world.cut_redis(),
            Turn::Die { push_first } => {
                redis.push_first = push_first;
                self.world.kill_redis();
            }
            Turn::Reach(reach) => redis.reach = reach,
            Turn::Deny { command, channel } => {
                redis.denied.push((command, channel));
                self.model.denied = true;
            }
            Turn::Allow => redis.denied.clear(),
            Turn::Stall(after) => redis.appetite = Some(after),
            Turn::Resume => self.world.resume_redis(),
            Turn::Blurt if redis.has_client() => redis.blurt(MISFIT),
            Turn::Blurt => {}
        }
    }

    fn turn(&mut self) {
        self.world.turn();
        self.digest();
        self.check(false);
    }

    fn run(&mut self) {
        self.world.run();
        self.digest();
        self.check(true);
    }

    fn pass(&mut self, ms: u64) {
        // What is there already does not come in the same turn as the deadline for it, and it comes
        // before what is stored expires meanwhile.
        self.world.run();
        self.digest();
        self.world.pass(ms);
        self.digest();
        self.check(true);
        self.check_times();
    }

    /// Tells the model what the server was told.
    fn digest(&mut self) {
        self.model.now_ms = self.world.latest_ms();
        self.model.note_published(self.world.redis.take_published());
        let calls = self.world.calls.replace(Vec::new()).unwrap_or_default();
        for call in calls {
            self.journal.note(&call);
            self.model.call(&call);
        }
    }

    fn check(&mut self, idle: bool) {
        for id in 0..self.world.browsers.len() {
            self.model.check(id, &mut self.world.browsers[id], idle);
            let guest = &self.model.guests[id];
            if idle && guest.open && !guest.closing && self.world.browsers[id].appetite == Some(0) {
                let waiting = self.world.waiting(id);
                assert!(waiting <= OUTBOX_LIMIT, "{waiting} bytes wait for browser {id}");
            }
        }
        if idle || self.world.flushes == usize::MAX {
            assert!(!self.world.has_output(), "output after the drain");
        }
        let redis = &self.world.redis;
        let clear = !redis.paused && !redis.held && redis.appetite.is_none();
        if self.redis && idle && clear && self.model.is_up() && redis.has_client() {
            assert!(self.model.is_settled(), "Redis has not answered everything");
            let heard = self.model.heard_channels();
            let subscribed = redis.subscribed();
            assert!(subscribed.iter().eq(&heard), "{subscribed:?} are subscribed, not {heard:?}");
            let now_ms = self.world.latest_ms();
            let stored = |channel: &str| redis.stored(0, channel, now_ms).map(<[u8]>::to_vec);
            self.model.check_quiet(stored);
        } else if !self.redis && idle {
            self.model.check_quiet(|_| None);
        }
    }

    /// Whatever was due has happened.
    fn check_times(&self) {
        let now_ms = self.world.now_ms;
        if now_ms < self.world.latest_ms() {
            return;
        }
        for (id, browser) in self.world.browsers.iter().enumerate() {
            let guest = &self.model.guests[id];
            if browser.closed_ms.is_some() {
                continue;
            }
            let since = |at_ms: u64| now_ms.saturating_sub(at_ms);
            if guest.closing {
                let at_ms = browser.closing_ms.unwrap_or(now_ms);
                assert!(since(at_ms) <= CLOSE_MS + 100, "browser {id} is not closed in the end");
            } else if !guest.open {
                let late = since(browser.came_ms) > HANDSHAKE_MS + 100;
                assert!(!late, "browser {id} waits for ever");
            } else if browser.appetite.is_none() {
                let ping = !self.world.server_pings() || since(browser.lively_ms) <= PING_MS + 100;
                assert!(ping || !browser.pongs, "browser {id} is not pinged");
                let beats = !self.heartbeat || since(browser.spoken_to_ms) <= HEARTBEAT_MS + 50;
                assert!(beats, "browser {id} hears no heartbeat");
            }
        }
    }

    /// Order returns; then everybody goes.
    fn end(mut self) {
        self.journal.say(|| "order returns".to_string());
        let redis = &mut self.world.redis;
        (redis.paused, redis.held, redis.cut_after) = (false, false, None);
        redis.reach = Reach::Answers;
        redis.piece = usize::MAX;
        redis.denied.clear();
        self.world.resume_redis();
        self.world.now_ms = self.world.latest_ms();
        for id in 0..self.world.browsers.len() {
            self.world.resume(id);
        }
        self.digest();
        self.pass(20_000);
        if !self.model.shut_down {
            assert_eq!(self.world.metrics().broker_up, 1, "the broker is back");
        }
        self.journal.say(|| "everybody goes".to_string());
        for id in 0..self.world.browsers.len() {
            if !self.world.browsers[id].ended {
                self.world.browsers[id].ending = Some(Cause::Failed("gone".to_string()));
            }
        }
        self.run();
        let metrics = self.world.metrics();
        let left =
            [metrics.conns, metrics.conns_open, metrics.handshakes_pending, metrics.channels];
        assert_eq!(left, [0; 4], "nothing is left");
        assert_eq!(self.world.redis.subscribed(), [""; 0], "nor at Redis");
        let unclosed = self.world.browsers.iter().position(|b| b.closed_ms.is_none());
        assert_eq!(unclosed, None, "everybody was closed");
        if !self.model.shut_down {
            self.model.shut_down = true;
            self.world.shut_down();
            self.digest();
        }
        assert!(self.world.is_done(), "the shutdown is complete");
    }
}
