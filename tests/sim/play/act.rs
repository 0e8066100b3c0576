//! What actions do: those of browsers, of Redis and of the clock.

use super::super::super::world::Cause;
use super::super::Dice;
use super::super::action::{Action, Place, Turn};
use super::super::ask::{Payload, Say};
use super::super::model::TICK_MS;
use super::super::model::guest::{Guest, Life, Mark};
use super::Game;

/// What fits nothing that Redis was asked for.
const MISFIT: &[u8] = b">3\r\n$9\r\nsubscribe\r\n$6\r\nnobody\r\n:1\r\n";

/// No more than this is said at once by who waits for the 101: much of it is refused.
const EARLY_BYTES: usize = 4 << 10;

impl Game {
    pub(super) fn act(&mut self, action: Action, dice: &mut Dice<'_>) {
        // What was done before may have had the loop turn.
        self.digest();
        let now_ms = self.world.now_ms;
        self.journal.say(|| format!("{now_ms} {action:?}"));
        match action {
            Action::Connect { ask, cuts, whole, early } => self.connect(ask, &cuts, whole, &early),
            Action::Publish { place, payloads, stored } => self.publish(&place, &payloads, stored),
            Action::Session { key, session } => self.set_session(key, session),
            Action::Disconnect { whose, code, sense } => self.disconnect(whose, code, sense),
            Action::Redis(turn) => self.turn_redis(turn),
            Action::App(turn) => self.turn_app(turn, dice),
            Action::Resp(turn) => self.turn_resp(turn),
            Action::Pass(ms) => self.pass(ms),
            Action::Jump(ms) => self.jump(self.world.latest_ms() + ms),
            Action::Back(ms) => self.world.now_ms -= ms,
            Action::Clock(ms) => self.world.begin_unix_ms = self.world.begin_unix_ms + ms - 1_000,
            Action::ShutDown => self.world.shut_down(),
            Action::Idle => {}
            Action::Send { who, .. }
            | Action::Flood { who, .. }
            | Action::Half { who }
            | Action::HalfClose { who }
            | Action::Vanish { who }
                if self.world.browsers[who].ended => {}
            action => self.act_as_browser(action),
        }
    }

    /// It is later at once, without a turn at the deadlines until then.
    pub(super) fn jump(&mut self, to_ms: u64) {
        self.world.now_ms = to_ms;
        self.jumped_ms = self.jumped_ms.max(to_ms);
    }

    fn act_as_browser(&mut self, action: Action) {
        match action {
            Action::Send { who, says, cuts } => self.say(who, &says, Vec::new(), &cuts),
            Action::Flood { who, .. } if self.model.guests[who].life != Life::Open => {}
            Action::Flood { who, frames, ends } => {
                let says = (0..frames).map(|at| match at % 5 {
                    0 => Say::Message { payload: Payload::Own(0), fragments: 1 + at % 2 },
                    1 => Say::Pong,
                    at => Say::Ping(at as u8),
                });
                let end = ends.then_some(Say::Close(Some(1000)));
                self.say(who, &says.chain(end).collect::<Vec<_>>(), Vec::new(), &[]);
            }
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
                let now_ms = self.world.latest_ms();
                let guest = &mut self.model.guests[who];
                guest.stalled_ms.get_or_insert(now_ms);
                guest.excused = true;
            }
            Action::Resume { who } => self.world.resume(who),
            Action::Mute { who } => {
                self.world.browsers[who].pongs = false;
                self.model.guests[who].excused = true;
            }
            Action::HalfClose { who } => {
                self.world.browsers[who].ending.get_or_insert(Cause::Ended);
            }
            Action::Vanish { who } => {
                self.world.browsers[who].ending = Some(Cause::Failed("reset".to_string()));
            }
            other => panic!("no browser does {other:?}"),
        }
    }

    fn connect(&mut self, ask: super::super::ask::Ask, cuts: &[usize], whole: bool, early: &[Say]) {
        if !self.world.accepting() {
            return;
        }
        let full = self.world.metrics().conns as usize >= self.setup.max_connections;
        let evicted = self.world.metrics().strangers_evicted_total;
        let id = self.world.accept();
        let evicts = self.world.metrics().strangers_evicted_total > evicted;
        let surplus = full && !evicts || self.model.shut_down;
        if evicts {
            self.give_way(full);
        }
        let place = self.world.browsers[id].link.index;
        let now_ms = self.world.latest_ms();
        let mut guest = Guest::new(ask, place, surplus, now_ms);
        let unix_ms = self.world.unix_ms();
        let lasts_ms = ask.token.and_then(|token| token.lasts_ms);
        guest.expires_unix_ms = lasts_ms.map(|lasts_ms| unix_ms + lasts_ms);
        let facility = super::super::people::FACILITIES[ask.facility];
        guest.skips = match self.setup.overflow {
            "latest" => true,
            list => list == format!("{facility}=latest"),
        };
        self.model.guests.push(guest);
        let mut bytes = ask.bytes(id, unix_ms);
        if !whole {
            let most = cuts.first().copied().unwrap_or(1);
            bytes.truncate(most.clamp(1, bytes.len() - 1));
            self.world.send(id, &bytes);
            self.model.guests[id].silent = true;
            return;
        }
        let end = bytes.len();
        self.model.guests[id].script.push_back((end, Mark::Head));
        self.say(id, early, bytes, cuts);
    }

    /// The oldest whose request has not been whole for a while has given way to others: where all
    /// conns are taken, one that was to be served.
    fn give_way(&mut self, full: bool) {
        let now_ms = self.world.now().mono_ms.max(self.world.latest_ms());
        let late = |came_ms: u64| now_ms / TICK_MS >= came_ms / TICK_MS + 1_000 / TICK_MS;
        let guests = self.model.guests.iter().zip(&self.world.browsers);
        let first = guests.enumerate().position(|(_, (guest, browser))| {
            let is_stranger = guest.life == Life::Head && browser.closed_ms.is_none();
            is_stranger && late(guest.came_ms) && !(full && guest.surplus)
        });
        self.model.given_way(first.expect("nobody is to give way"));
    }

    /// A browser sends, after `first`, all of this in pieces.
    fn say(&mut self, id: usize, says: &[Say], first: Vec<u8>, cuts: &[usize]) {
        if self.model.guests[id].silent || self.world.browsers[id].close_sent {
            return;
        }
        let max_message = self.setup.max_message;
        let mut bytes = first;
        let before = self.world.browsers[id].queued;
        for say in says {
            if *say == Say::Heartbeat && self.setup.heartbeat.is_none() {
                continue;
            }
            let mut payload = Vec::new();
            if let Say::Message { payload: what, .. } = say {
                // Of what waits for the 101 it must be seen whose it is, and it must not be much.
                let what = match what {
                    Payload::Common(_) | Payload::Longest if !self.model.guests[id].opened => {
                        Payload::Own(0)
                    }
                    what => *what,
                };
                payload = what.bytes(self.next_number(), max_message);
            }
            let frames = say.frames(&payload, max_message);
            if !self.model.guests[id].opened && bytes.len() + frames.len() > EARLY_BYTES {
                continue;
            }
            bytes.extend(frames);
            let mark = match say {
                Say::Message { .. } => Mark::Message(payload),
                Say::Heartbeat => Mark::Heartbeat,
                Say::Ping(length) => Mark::Ping(vec![b'p'; usize::from(*length)]),
                Say::Close(code) => Mark::Close(*code),
                Say::Bad(bad) => Mark::Bad(*bad),
                Say::Empty => Mark::Message(Vec::new()),
                Say::Pong => continue,
            };
            if self.model.guests[id].ask.stream {
                continue;
            }
            let ends = matches!(say, Say::Close(_) | Say::Bad(_));
            self.model.guests[id].script.push_back((before + bytes.len(), mark));
            if ends {
                self.model.guests[id].silent = true;
                break;
            }
        }
        let cut_at = pieces(bytes.len(), cuts);
        for piece in cut_at.windows(2) {
            self.world.send(id, &bytes[piece[0]..piece[1]]);
        }
    }

    /// Somebody else publishes, and has the last message stored or not.
    fn publish(&mut self, place: &Place, payloads: &[Payload], stored: bool) {
        let channel = match place {
            Place::Any(channel) => channel.clone(),
            Place::Heard(which, channel) => {
                let heard = self.model.heard_channels();
                let which = which % heard.len().max(1);
                self.model.heard_channels().nth(which).unwrap_or(channel).clone()
            }
        };
        let max_message = self.setup.max_message;
        let payloads: Vec<Vec<u8>> =
            payloads.iter().map(|payload| payload.bytes(self.next_number(), max_message)).collect();
        let expire_s = if stored { self.setup.expire_s.max(20) } else { 0 };
        if !self.setup.redis {
            return self.publish_as_operator(&channel, payloads, expire_s);
        }
        let now_ms = self.world.latest_ms();
        for payload in payloads {
            self.world.redis.publish(&channel, payload, expire_s, now_ms);
        }
    }

    fn turn_redis(&mut self, turn: Turn) {
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
                redis.deny(command, channel);
                self.model.denied |= command == "GET" || command == "GETRANGE" || command == "SET";
            }
            Turn::Allow => redis.allow_all(),
            Turn::Stall(after) => redis.appetite = Some(after),
            Turn::Resume => self.world.resume_redis(),
            Turn::Blurt if redis.has_client() => redis.blurt(MISFIT),
            Turn::Blurt => {}
        }
    }
}

/// Where bytes of that length are cut.
pub(super) fn pieces(length: usize, cuts: &[usize]) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % length.max(1)).collect();
    cuts.extend([0, length]);
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}
