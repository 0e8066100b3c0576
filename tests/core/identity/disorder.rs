//! Whose a browser is, with everything at once.

use super::*;

// Everything at once.

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % below
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

const USERS: [&str; 3] = ["john", "mary", "paul"];

/// A browser of that user comes, by one way or another.
fn come(world: &mut World, dice: &mut Dice, user: &str) -> BrowserId {
    let options = dice.pick(&[ALL, "subscribe-user", "", "subscribe-user&publish-user"]);
    match dice.roll(3) {
        0 => knock(world, options, &[&format!("Cookie: sessionid=key-of-{user}")]),
        1 => knock(world, options, &[&format!("Cookie: who={user}")]),
        _ => {
            let ends_ms = BEGIN_UNIX_MS + world.now_ms - BEGIN_MS + dice.roll(20_000) as u64 + 1;
            let exp = ends_ms as f64 / 1000.0;
            let text = token(&format!(r#"{{"sub":"{user}","exp":{exp}}}"#));
            knock(world, &format!("{options}&token={text}"), &[])
        }
    }
}

/// What the application says to a question, which names the user.
fn of_user(question: &str) -> Option<String> {
    let user = USERS.into_iter().find(|user| question.contains(&format!("who={user}")));
    // Whose session was not found is asked about, too.
    let header = user.map(|user| format!("X-Wsloop-User: {user}\r\n")).unwrap_or_default();
    Some(format!("HTTP/1.1 204 No Content\r\n{header}\r\n"))
}

/// The application does something about one of the questions.
fn respond(world: &mut World, dice: &mut Dice) {
    let questions = world.app.questions();
    if questions.is_empty() {
        return;
    }
    let (link, question) = questions[dice.roll(questions.len())];
    let answer = of_user(question).expect("an answer");
    match dice.roll(6) {
        0 => world.app.hang_up(link, Cause::Ended),
        1 => world.app.hang_up(link, Cause::Failed("reset".to_owned())),
        2 => world.app.say(link, "?\r\n"),
        3 => {
            world.app.say(link, &answer[..20]);
            world.app.say(link, &answer[20..]);
        }
        _ => world.app.say(link, answer),
    }
    world.run();
}

fn disturb_redis(world: &mut World, dice: &mut Dice) {
    match dice.roll(6) {
        0 => world.cut_redis(),
        1 => world.redis.paused = true,
        2 => world.redis.held = true,
        3 => world.redis.serve(dice.roll(3)),
        4 => world.redis.piece = 1 + dice.roll(40),
        _ => {
            (world.redis.paused, world.redis.held) = (false, false);
            world.redis.piece = usize::MAX;
        }
    }
    world.run();
}

/// Disconnects a user; when Redis says so at once, whoever was open is closed at once.
fn disconnect(world: &mut World, dice: &mut Dice, browsers: &[(BrowserId, &str)]) {
    let user = dice.pick(&USERS);
    let open: Vec<BrowserId> = browsers
        .iter()
        .filter(|(id, of)| *of == user && world.status(*id) == Some(101))
        .map(|(id, _)| *id)
        .collect();
    let listens = world.redis.subscribed().contains(&"wsloop:control".to_owned());
    control(world, &format!(r#"{{"disconnect": {{"user": "{user}"}}}}"#));
    if listens && !world.redis.held {
        for id in open {
            assert!(world.browsers[id].closed_ms.is_some(), "{user} is still there");
        }
    }
}

/// Plays a game, and returns how often the things happened that it is about.
fn play(seed: u64) -> [u64; 8] {
    let mut settings = by_all();
    if let Some(application) = &mut settings.sources.auth {
        application.keep_alive = seed.is_multiple_of(2);
    }
    let mut world = World::new(settings);
    for user in USERS {
        let session = format!(r#"{{"wsloop:username": "{user}"}}"#);
        world.redis.set(&format!("session:key-of-{user}"), session);
    }
    let (mut dice, mut browsers, mut texts) = (Dice(seed), Vec::new(), 0);
    for step in 0..300 {
        let user = dice.pick(&USERS);
        match dice.roll(17) {
            0..=4 => browsers.push((come(&mut world, &mut dice, user), user)),
            5..=7 => respond(&mut world, &mut dice),
            8..=10 => world.publish(&format!("user:{user}:foo"), format!("{user} {step}")),
            11 => disturb_redis(&mut world, &mut dice),
            12 => disconnect(&mut world, &mut dice, &browsers),
            13 => world.pass(dice.roll(1_500) as u64),
            _ if browsers.is_empty() => {}
            roll => {
                let (id, of) = browsers[dice.roll(browsers.len())];
                match roll {
                    14 => world.vanish(id),
                    15 => world.say(id, &format!("{of} says {step}")),
                    _ => world.hang_up(id),
                }
            }
        }
        for (id, of) in &browsers {
            for heard in world.heard(*id) {
                let Heard::Text(text) = heard else { continue };
                texts += 1;
                assert!(text.starts_with(of), "seed {seed}, step {step}: {of} hears {text:?}");
            }
        }
    }
    (world.redis.paused, world.redis.held) = (false, false);
    world.pass(30_000);
    let metrics = world.metrics().clone();
    assert_eq!((metrics.handshakes_pending, metrics.broker_up), (0, 1), "seed {seed}");
    browsers.iter().for_each(|(id, _)| world.vanish(*id));
    world.pass(31_000);
    assert_eq!((world.metrics().conns, world.metrics().channels), (0, 0), "seed {seed}");
    assert_eq!(world.redis.subscribed(), ["wsloop:control"]);
    assert_eq!(world.app.open(), 0, "what rests is closed");
    [
        texts,
        metrics.handshakes_total,
        metrics.handshakes_refused_total,
        metrics.publishes_total,
        metrics.expired_total,
        metrics.disconnected_total,
        metrics.questions_failed_total,
        metrics.broker_lost_total,
    ]
}

#[test]
fn whatever_happens_nobody_hears_what_is_for_another_and_nothing_is_left() {
    let mut happened = [0; 8];
    for seed in 1..=60 {
        happened.iter_mut().zip(play(seed)).for_each(|(sum, times)| *sum += times);
    }
    assert!(happened.iter().all(|sum| *sum >= 50), "{happened:?}");
}
