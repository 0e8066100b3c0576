//! The core without sockets, in disorder: browsers come, stall and go, Redis lags, breaks and
//! returns, in an order drawn from a seed. What must hold all the time the world watches; what must
//! hold in the end stands here. A failure names its seed.

mod world;

use world::*;
use wsloop::proto::frame::Opcode;
use wsloop::settings::Settings;

const NEWS: &str = "broadcast:news";
const TARGETS: [&str; 5] = [
    "/ws/news?subscribe-broadcast",
    "/ws/news?subscribe-broadcast&binary",
    "/ws/talk?subscribe-broadcast&publish-broadcast",
    "/ws/talk?publish-broadcast&subscribe-broadcast&echo",
    "/ws/talk",
];

/// Numbers from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % end as u64) as usize
    }
}

fn tight(heartbeat: bool) -> Settings {
    Settings {
        heartbeat: heartbeat.then(|| b"hb".to_vec()),
        ping_interval_ms: 3_000,
        pong_timeout_ms: 2_000,
        handshake_timeout_ms: 4_000,
        close_timeout_ms: 1_000,
        max_message_size: 400,
        outbox_limit: 1_000,
        ..with_redis()
    }
}

/// One thing that happens; `told` counts the messages of the news.
fn step(world: &mut World, draw: &mut Draw, told: &mut u64) {
    let id = draw.below(world.browsers.len().max(1)).min(world.browsers.len().saturating_sub(1));
    let here = world.browsers.get(id).is_some_and(|browser| browser.closed_ms.is_none());
    match draw.below(24) {
        0..6 => {
            let id = world.accept();
            let request = upgrade(TARGETS[draw.below(TARGETS.len())], &[]);
            let (first, second) = request.split_at(draw.below(request.len()).max(1));
            world.send(id, first);
            world.send(id, second);
        }
        6..9 if here => {
            let text = format!("{id} {}", "x".repeat(draw.below(450)));
            world.browsers[id].send_frame(Opcode::Text, text.as_bytes());
        }
        9 if here => world.browsers[id].send_frame(Opcode::Close, b"\x03\xe8"),
        10 if here => world.vanish(id),
        11 if here => world.hang_up(id),
        12 if here => world.stall(id, draw.below(300) + 1),
        13 if here => world.resume(id),
        14 if here => world.send(id, b"\x81"),
        15 => world.redis.paused = draw.below(2) == 0,
        16 => world.redis.held = draw.below(3) == 0,
        17 => world.redis.serve(draw.below(4)),
        18 => world.redis.piece = draw.below(40) + 1,
        19 => world.redis.cut_after = Some(draw.below(200)),
        20 => world.redis.reach = [Reach::Answers, Reach::Refuses, Reach::Silent][draw.below(3)],
        21 => world.pass(draw.below(1_500) as u64),
        _ => {
            *told += 1;
            world.redis.publish(NEWS, told.to_string(), EXPIRE_S, world.now_ms);
        }
    }
    if draw.below(3) > 0 {
        world.run();
    }
}

/// The numbers of the news that a browser has heard.
fn news(world: &World, id: BrowserId) -> Vec<u64> {
    let number = |heard: &Heard| match heard {
        Heard::Text(text) => text.parse().ok(),
        Heard::Binary(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    };
    world.browsers[id].heard.iter().filter_map(|(_, heard)| number(heard)).collect()
}

#[test]
fn after_any_disorder_everyone_hears_everything_in_order_and_nothing_is_left() {
    for seed in 0..300 {
        let (mut draw, mut told) = (Draw(seed), 0);
        let mut world = World::new(tight(seed % 2 == 0));
        for _ in 0..150 {
            step(&mut world, &mut draw, &mut told);
        }
        // Order returns.
        (world.redis.paused, world.redis.held, world.redis.cut_after) = (false, false, None);
        world.redis.reach = Reach::Answers;
        (0..world.browsers.len()).for_each(|id| world.resume(id));
        world.pass(20_000);
        assert_eq!(world.metrics().broker_up, 1, "seed {seed}");
        assert_eq!(world.metrics().handshakes_pending, 0, "seed {seed}");
        let late = world.open(TARGETS[0]);
        assert_eq!(news(&world, late), Vec::from_iter((told > 0).then_some(told)), "seed {seed}");
        world.publish(NEWS, (told + 1).to_string());
        for id in 0..world.browsers.len() {
            let heard = news(&world, id);
            let ordered = heard.windows(2).all(|two| two[0] < two[1]);
            assert!(ordered, "seed {seed}, browser {id}: {heard:?}");
            let open = world.browsers[id].closed_ms.is_none();
            assert!(!open || heard.is_empty() || heard.last() == Some(&(told + 1)), "seed {seed}");
        }
        let deaf = world.redis.subscribed().is_empty();
        assert!(!deaf, "seed {seed}");

        (0..world.browsers.len()).for_each(|id| world.vanish(id));
        let metrics = world.metrics();
        let left =
            [metrics.conns, metrics.conns_open, metrics.handshakes_pending, metrics.channels];
        assert_eq!(left, [0; 4], "seed {seed}");
        assert_eq!(world.redis.subscribed(), [""; 0], "seed {seed}");
        world.shut_down();
        assert!(world.server.is_done(), "seed {seed}");
    }
}
