//! Plays a script: does what its actions say, lets the loop turn, and compares with the model.

mod act;
mod check;
mod journal;
mod others;

use super::super::world::{Cause, FakeRedis, Packing, Reach, Setup, World};
use super::Dice;
use super::action::{Action, Scene};
use super::ask::HEARTBEAT;
use super::model::Model;
use super::people::ALLOWS;
use journal::Journal;

const HANDSHAKE_MS: u64 = 6_000;
const CLOSE_MS: u64 = 2_000;
const PING_MS: u64 = 3_000;
const PONG_MS: [u64; 2] = [2_000, 7_000];
/// Messages and outboxes are small, so that little fills them, and now and then larger than what is
/// joined with others or compressed for each receiver.
const SMALL: (usize, usize) = (300, 700);
const LARGE: (usize, usize) = (5_000, 12_000);

/// Plays `steps` actions, or as many as the dice have numbers for; with `trace` everything is said
/// as it happens. Panics when something is otherwise than the model says.
pub fn play(dice: &mut Dice<'_>, steps: usize, trace: bool) {
    let mut game = Game::new(dice, trace);
    for _ in 0..steps {
        if dice.is_over() || game.world.is_done() {
            break;
        }
        let action = Action::draw(dice, &game.scene());
        game.act(action, dice);
        match dice.below(8) {
            0..2 => game.turn(),
            // The next comes at the same time.
            2 => {}
            _ => game.run(),
        }
        game.answer_at_once(dice);
    }
    game.end();
}

struct Game {
    world: World,
    model: Model,
    setup: Setup,
    /// The application answers at once.
    prompt: bool,
    /// Messages thought of so far.
    messages: usize,
    /// When it was last later at once.
    jumped_ms: u64,
    journal: Journal,
}

/// What a server is told in a game.
fn draw(dice: &mut Dice<'_>) -> Setup {
    let redis = dice.below(3) > 0;
    // None, each alone, some of two, and all.
    let sources = dice.pick(&[0b000, 0b000, 0b001, 0b010, 0b100, 0b011, 0b110, 0b111]);
    let (max_message, outbox_limit) = if dice.once_in(10) { LARGE } else { SMALL };
    Setup {
        redis,
        prefix: dice.pick(&["", "", "p", "p:q"]),
        allow: ALLOWS[dice.below(8).saturating_sub(6)].0,
        require_login: dice.once_in(8),
        tokens: sources & 0b001 != 0,
        sessions: sources & 0b010 != 0,
        application: (sources & 0b100 != 0).then(|| 1 + dice.below(3)),
        auth_timeout_ms: 1_500,
        heartbeat: (dice.below(2) == 0).then_some(HEARTBEAT),
        ping_interval_ms: dice.pick(&[0, PING_MS]),
        pong_timeout_ms: dice.pick(&PONG_MS),
        handshake_timeout_ms: HANDSHAKE_MS,
        close_timeout_ms: CLOSE_MS,
        shutdown_timeout_ms: 3_000,
        max_message,
        outbox_limit,
        max_connections: dice.pick(&[16, 16, 6]),
        max_handshakes: 12,
        packing: dice.pick(&[Packing::Shared, Packing::Dedicated, Packing::Off]),
        refuses_by_closing: dice.below(2) == 0,
        overflow: dice.pick(&["close", "close", "c=latest", "latest"]),
        expire_s: dice.pick(&[3_600, 3_600, 20, 0]),
        buffer_limit: dice.pick(&[1 << 20, 1 << 20, 1 << 20, 1_200]),
    }
}

impl Game {
    fn new(dice: &mut Dice<'_>, trace: bool) -> Self {
        let setup = draw(dice);
        let push_first = dice.below(2) == 0;
        let journal = Journal { trace };
        journal.say(|| format!("push first: {push_first}, {setup:?}"));
        let fake = FakeRedis::with(|fake| {
            fake.push_first = push_first;
            fake.sessions = setup.sessions.then_some("session:");
        });
        let model = Model::new(&setup);
        let mut world = World::watched(setup.settings(), fake);
        world.flushes = dice.pick(&[usize::MAX, usize::MAX, 1, 3]);
        world.pulls = dice.pick(&[usize::MAX, usize::MAX, usize::MAX, 1]);
        let prompt = !dice.once_in(3);
        let mut game = Game { world, model, setup, prompt, messages: 0, jumped_ms: 0, journal };
        game.digest();
        if !game.setup.redis {
            // Whoever publishes from outside.
            game.connect_resp(false);
        }
        game
    }

    fn scene(&self) -> Scene {
        Scene {
            browsers: self.world.browsers.len(),
            redis: self.setup.redis,
            prefix: self.setup.prefix,
            sessions: self.setup.sessions,
            application: self.setup.application.is_some(),
            control: self.model.control().is_some(),
        }
    }

    fn next_number(&mut self) -> usize {
        self.messages += 1;
        self.messages
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
        self.model.note_published(self.world.redis.take_published());
        let calls = self.world.calls.replace(Vec::new()).unwrap_or_default();
        for call in calls {
            self.journal.note(&call);
            self.model.call(&call);
        }
    }

    /// Order returns; then everybody goes.
    fn end(mut self) {
        self.journal.say(|| "order returns".to_string());
        let redis = &mut self.world.redis;
        (redis.paused, redis.held, redis.cut_after) = (false, false, None);
        redis.reach = Reach::Answers;
        redis.piece = usize::MAX;
        redis.allow_all();
        self.world.app.reach = Reach::Answers;
        self.resume_app();
        self.prompt = true;
        self.world.resume_redis();
        self.world.now_ms = self.world.latest_ms();
        for id in 0..self.world.browsers.len() {
            self.world.resume(id);
        }
        for id in 0..self.world.resp_clients.len() {
            self.world.resume_resp(id);
        }
        self.digest();
        self.answer_at_once(&mut Dice::Bytes(&[]));
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
        self.check_empty();
        if !self.model.shut_down {
            self.world.shut_down();
            self.digest();
        }
        assert!(self.world.is_done(), "the shutdown is complete");
    }
}
