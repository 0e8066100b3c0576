//! How many handshakes there may be, how long they take, and what comes behind them.

use super::*;

#[test]
fn conns_beyond_the_limit_are_told_so_and_more_wait_to_be_accepted() {
    let mut world = World::new(Settings { max_connections: 3, ..settings() });
    let ids: Vec<BrowserId> = (0..3).map(|_| world.open("/ws/foo")).collect();
    let mut surplus = 0;
    while world.server.accepting() {
        let id = ask(&mut world, &upgrade("/ws/foo", &[]));
        assert_eq!(world.status(id), Some(503));
        assert!(world.response(id).header("Retry-After").is_some());
        surplus += 1;
        assert!(surplus < 1000, "accepting must pause at some time");
    }
    assert!(surplus > 0);
    assert_eq!(world.metrics().conns_full_total, surplus);
    world.pass(5_100);
    assert!(world.server.accepting());

    world.hang_up(ids[0]);
    world.open("/ws/foo");
    let id = world.knock("/ws/foo");
    assert_eq!(world.status(id), Some(503));
}

#[test]
fn pending_handshakes_are_limited() {
    let mut world = World::new(Settings { max_handshakes: 2, ..settings() });
    for _ in 0..10 {
        assert!(world.server.accepting(), "one of them gives way");
        world.accept();
        assert!(world.metrics().handshakes_pending <= 2);
        world.pass(1_100);
    }
    world.open("/ws/foo");
    assert_eq!(world.metrics().strangers_evicted_total, 9);
}

#[test]
fn a_handshake_must_be_complete_in_time() {
    let mut world = World::new(settings());
    let (silent, slow) = (world.accept(), world.accept());
    let start_ms = world.now_ms;
    world.browsers[slow].polite = false;
    for byte in &upgrade("/ws/foo", &[])[..19] {
        world.send(slow, &[*byte]);
        world.pass(500);
    }
    assert_eq!((world.status(slow), world.browsers[silent].closed_ms), (None, None));
    world.pass(550);
    assert_eq!(world.browsers[silent].closed_ms, Some(start_ms + 10_000), "nobody was there");
    assert_eq!(world.browsers[silent].taken, 0);
    assert_eq!(world.browsers[slow].finished_ms, Some(start_ms + 10_000));
    assert_eq!(world.status(slow), Some(408));
    assert_eq!(world.metrics().handshake_timeouts_total, 2);
    world.hang_up(slow);
    assert_eq!(world.metrics().conns, 0);
}

#[test]
fn frames_may_come_right_behind_the_request() {
    let mut bytes = upgrade("/ws/foo?subscribe-broadcast&publish-broadcast&echo", &[]);
    bytes.extend(masked(Opcode::Text, b"one"));
    bytes.extend(masked(Opcode::Ping, b"p"));
    bytes.extend(masked(Opcode::Text, b"two"));
    let late = masked(Opcode::Text, b"three");
    let expected: Vec<Heard> = ["one", "two", "three"].map(|t| Heard::Text(t.into())).into();
    for settings in [settings(), with_redis()] {
        let redis = settings.broker == with_redis().broker;
        let mut world = World::new(settings);
        world.redis.held = true;
        let id = world.ask(&bytes);
        for piece in late.chunks(2) {
            world.send(id, piece);
            world.run();
        }
        assert_eq!(world.status(id), (!redis).then_some(101), "it waits for Redis");
        world.redis.held = false;
        world.run();
        let heard = world.heard(id);
        assert!(heard.contains(&Heard::Pong(b"p".to_vec())));
        let texts: Vec<_> =
            heard.into_iter().filter(|h| *h != Heard::Pong(b"p".to_vec())).collect();
        assert_eq!(texts, expected);
    }
}

#[test]
fn too_much_before_the_101_is_refused() {
    let both = |extra, status| [1_000, 100_000].map(|most| (extra, most, status));
    for (extra, most, status) in [both(8192, None), both(8193, Some(400))].into_iter().flatten() {
        let mut world = World::new(with_redis());
        world.redis.held = true;
        let mut bytes = upgrade("/ws/foo?subscribe-broadcast", &[]);
        bytes.resize(bytes.len() + extra, 0x81);
        let id = world.accept();
        for piece in bytes.chunks(most) {
            world.send(id, piece);
        }
        world.run();
        assert_eq!(world.status(id), status, "{extra} bytes");
        world.redis.held = false;
        world.run();
        assert_eq!(world.status(id), status.or(Some(101)));
        let subscribed = usize::from(status.is_none());
        assert_eq!(world.redis.subscribed().len(), subscribed, "nothing is left of the refused");
    }
}

#[test]
fn a_socket_without_options_stays_open_and_what_it_says_goes_nowhere() {
    let mut world = World::new(with_redis());
    let id = world.open("/ws/foo");
    world.say(id, "hello");
    world.pass(100_000);
    assert_eq!(world.browsers[id].closed_ms, None);
    assert_eq!(world.heard(id), []);
    assert!(world.redis.take_commands().iter().all(|command| command == "PING"));
    assert_eq!(world.metrics().publishes_unrouted_total, 1);
}
