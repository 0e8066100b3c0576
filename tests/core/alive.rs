//! The core without sockets: heartbeats, pings, closing, slow readers, and the end of the server.

use crate::world::*;
use wsloop::Settings;
use wsloop::proto::ws::frame::Opcode;

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const SPEAKS: &str = "/ws/foo?publish-broadcast";
const CHANNEL: &str = "broadcast:foo";

/// When a browser was sent what is `wanted`, in milliseconds from `start_ms`.
fn times(world: &World, id: BrowserId, start_ms: u64, wanted: &Heard) -> Vec<u64> {
    let heard = world.browsers[id].heard.iter().filter(|(_, heard)| heard == wanted);
    heard.map(|(at_ms, _)| at_ms - start_ms).collect()
}

fn ping() -> Heard {
    Heard::Ping(Vec::new())
}

fn closed_with(heard: &[Heard]) -> Option<u16> {
    match heard.last() {
        Some(Heard::Close(code, _)) => *code,
        other => panic!("not closed: {other:?}"),
    }
}

// Heartbeats and pings.

#[test]
fn an_idle_browser_has_a_heartbeat_at_least_every_four_seconds() {
    let heartbeat = Some(b"--heartbeat--".to_vec());
    let text = Heard::Text("--heartbeat--".to_string());
    for ping_interval_ms in [0, 1_000, 5_000, 30_000] {
        for offset_ms in [0, 1, 37, 49] {
            let settings =
                Settings { heartbeat: heartbeat.clone(), ping_interval_ms, ..settings() };
            let mut world = World::new(settings);
            world.pass(offset_ms);
            let id = world.open("/ws/foo");
            let start_ms = world.now_ms;
            world.pass(100_000);
            let times = times(&world, id, start_ms, &text);
            let last_ms = 100_000 - times.last().expect("there are some");
            let gaps = times.windows(2).map(|two| two[1] - two[0]).chain([times[0], last_ms]);
            let gaps: Vec<u64> = gaps.collect();
            assert!(gaps.iter().all(|gap| *gap <= 4_000), "pings {ping_interval_ms}: {gaps:?}");
            assert!(times.len() <= 27, "no more than needed: {}", times.len());
            assert_eq!(world.metrics().heartbeats_total, times.len() as u64);
        }
    }
}

#[test]
fn a_heartbeat_is_answered_at_once_and_spares_the_next() {
    let mut world = World::new(Settings { heartbeat: Some(b"hb".to_vec()), ..settings() });
    let id = world.open("/ws/foo");
    let start_ms = world.now_ms;
    for _ in 0..10 {
        world.pass(3_000);
        world.say(id, "hb");
    }
    let times = times(&world, id, start_ms, &Heard::Text("hb".to_string()));
    assert_eq!(times, (1..=10).map(|n| n * 3_000).collect::<Vec<u64>>());
    assert_eq!(world.metrics().messages_in_total, 0);
}

#[test]
fn a_message_spares_a_heartbeat() {
    let mut world = World::new(Settings { heartbeat: Some(b"hb".to_vec()), ..settings() });
    let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
    for _ in 0..10 {
        world.pass(3_000);
        world.say(speaker, "news");
    }
    assert_eq!(world.texts(id), ["news"; 10]);
}

#[test]
fn a_ping_goes_out_when_nothing_came_for_the_interval() {
    let mut world = World::new(Settings { ping_interval_ms: 30_000, ..settings() });
    let (idle, busy, told) = (world.open("/ws/foo"), world.open("/ws/foo"), world.open(HEARS));
    let speaker = world.open(SPEAKS);
    let start_ms = world.now_ms;
    for n in 1..=10 {
        world.pass(10_000);
        // Half a frame is life too.
        let frame = masked(Opcode::Text, b"x");
        let half = if n % 2 == 1 { &frame[..3] } else { &frame[3..] };
        world.send(busy, half);
        world.say(speaker, "what is said to a browser is no sign of life from it");
    }
    for id in [idle, told] {
        let times = times(&world, id, start_ms, &ping());
        assert_eq!(times.len(), 3, "{times:?}");
        for (n, at_ms) in (1..).zip(&times) {
            assert!((n * 30_000..=n * 30_000 + 150).contains(at_ms), "{times:?}");
        }
    }
    assert_eq!(world.heard(busy), []);
    assert_eq!(world.metrics().pings_total, 6);
}

#[test]
fn who_does_not_answer_a_ping_is_closed_and_any_byte_is_an_answer() {
    let settings = || Settings { ping_interval_ms: 30_000, pong_timeout_ms: 10_000, ..settings() };
    for (answer, closed) in [
        (None, true),
        (Some(masked(Opcode::Pong, b"")), false),
        (Some(masked(Opcode::Pong, b"another")), false),
        (Some(masked(Opcode::Text, b"text")), false),
        (Some(vec![0x81]), false),
    ] {
        let mut world = World::new(settings());
        let id = world.open("/ws/foo");
        let start_ms = world.now_ms;
        world.browsers[id].pongs = false;
        world.pass(39_000);
        assert_eq!(world.heard(id), [ping()]);
        answer.iter().for_each(|bytes| world.send(id, bytes));
        world.pass(2_000);
        assert_eq!(world.browsers[id].closed_ms.is_some(), closed, "{answer:?}");
        assert_eq!(world.metrics().pong_timeouts_total, u64::from(closed));
        if closed {
            assert_eq!(closed_with(&world.heard(id)), Some(1011));
            let closed_ms = world.browsers[id].closed_ms.unwrap() - start_ms;
            assert!((40_000..=40_150).contains(&closed_ms), "{closed_ms}");
        }
    }
}

/// With a pong timeout longer than the interval, too: the answer brings the next ping forward.
#[test]
fn pings_keep_their_interval_whatever_the_timeout() {
    for pong_timeout_ms in [500, 5_000, 20_000, 100_000] {
        let mut world =
            World::new(Settings { ping_interval_ms: 5_000, pong_timeout_ms, ..settings() });
        let id = world.open("/ws/foo");
        world.pass(51_000);
        let pings = world.heard(id).len();
        assert!((9..=10).contains(&pings), "timeout {pong_timeout_ms}: {pings} pings");
    }
}

#[test]
fn a_browser_that_has_gone_without_a_word_is_closed_in_the_end() {
    let mut world = World::new(Settings { ping_interval_ms: 30_000, ..settings() });
    let id = world.open(HEARS);
    let start_ms = world.now_ms;
    world.stall(id, 0);
    world.browsers[id].polite = false;
    world.pass(60_000);
    let closed_ms = world.browsers[id].closed_ms.expect("it is closed") - start_ms;
    assert!((45_000..=45_200).contains(&closed_ms), "interval, timeout, closing: {closed_ms}");
    assert_eq!((world.metrics().conns, world.metrics().channels), (0, 0));
}

#[test]
fn pings_are_answered_with_their_payload_and_in_order() {
    let mut world = World::new(settings());
    let id = world.open(HEARS);
    let payloads: [&[u8]; 4] = [b"", b"p", &[0xff; 125], b"last"];
    let pings = payloads.iter().flat_map(|payload| masked(Opcode::Ping, payload));
    let pings: Vec<u8> = pings.collect();
    world.send(id, &pings);
    world.run();
    assert_eq!(world.heard(id), payloads.map(|payload| Heard::Pong(payload.to_vec())));
    world.send_frame(id, Opcode::Pong, b"unasked");
    assert_eq!(world.heard(id), []);
}

// Closing.

#[test]
fn a_close_is_answered_with_its_code_and_nothing_follows() {
    for (payload, code) in [
        (&b""[..], None),
        (b"\x03\xe8", Some(1000)),
        (b"\x03\xe9bye", Some(1001)),
        (b"\x03\xf3", Some(1011)),
        (b"\x0b\xb8", Some(3000)),
        (b"\x13\x87", Some(4999)),
    ] {
        let mut world = World::new(settings());
        let (id, speaker) = (world.open(HEARS), world.open(SPEAKS));
        world.browsers[id].polite = false;
        let mut bytes = masked(Opcode::Close, payload);
        bytes.extend(masked(Opcode::Ping, b"after the end"));
        world.send(id, &bytes);
        world.run();
        world.say(speaker, "not for who closes");
        world.send(id, &masked(Opcode::Text, b"nor is this read"));
        world.run();
        assert_eq!(world.heard(id), [Heard::Close(code, String::new())]);
        assert_eq!(world.browsers[id].finished_ms, Some(world.now_ms));
        assert_eq!(world.browsers[id].closed_ms, None, "it waits for the browser to hang up");
        assert_eq!(world.metrics().conns_open, 1);
        world.hang_up(id);
        assert_eq!(world.browsers[id].closed_ms, Some(world.now_ms));
    }
}

#[test]
fn what_was_said_before_a_close_is_delivered_and_stored() {
    for settings in [settings(), with_redis()] {
        let mut world = World::new(settings);
        let (hearer, speaker) = (world.open(HEARS), world.open(SPEAKS));
        let mut bytes = masked(Opcode::Text, b"last words");
        bytes.extend(masked(Opcode::Close, b""));
        world.send(speaker, &bytes);
        world.hang_up(speaker);
        assert_eq!(world.texts(hearer), ["last words"]);
        assert_eq!(world.heard(speaker), [Heard::Close(None, String::new())]);
        let late = world.open(HEARS);
        assert_eq!(world.texts(late), ["last words"]);
    }
}

#[test]
fn a_browser_that_says_nothing_behind_its_close_is_closed_when_it_has_the_answer() {
    let mut world = World::new(settings());
    let id = world.open(HEARS);
    world.browsers[id].polite = false;
    world.send_frame(id, Opcode::Close, b"\x03\xe8");
    world.run();
    assert_eq!(world.heard(id), [Heard::Close(Some(1000), String::new())]);
    let browser = &world.browsers[id];
    assert_eq!((browser.finished_ms, browser.closed_ms), (None, Some(world.now_ms)));
    assert_eq!(world.metrics().conns, 0);
}

#[test]
fn a_browser_that_does_not_hang_up_after_its_close_is_closed() {
    for (taking, behind) in [(None, &b"?"[..]), (Some(1), b"")] {
        let mut world = World::new(settings());
        let id = world.open(HEARS);
        world.browsers[id].polite = false;
        world.browsers[id].appetite = taking;
        world.send(id, &[&masked(Opcode::Close, b"\x03\xe8"), behind].concat());
        world.run();
        world.pass(4_900);
        assert_eq!(world.browsers[id].closed_ms, None);
        world.pass(200);
        assert!(world.browsers[id].closed_ms.is_some());
        assert_eq!(world.metrics().conns, 0);
    }
}

#[test]
fn each_breach_of_the_protocol_has_its_close_code() {
    let limits = || Settings { max_message_size: 1000, max_fragments: 3, ..settings() };
    let fragment = |first: u8| [first, 0x80, 0, 0, 0, 0];
    for (code, bytes) in [
        (1002, vec![0x81, 0x01, b'x']),
        (1002, vec![0xc1, 0x80, 0, 0, 0, 0]),
        (1002, vec![0x83, 0x80, 0, 0, 0, 0]),
        (1002, vec![0x80, 0x80, 0, 0, 0, 0]),
        (1002, vec![0x09, 0x80, 0, 0, 0, 0]),
        (1002, masked(Opcode::Close, b"\x03")),
        (1002, masked(Opcode::Close, b"\x03\xed")),
        (1002, vec![0x81, 0xfe, 0, 1]),
        (1007, masked(Opcode::Text, b"\xff")),
        (1007, masked(Opcode::Close, b"\x03\xe8\xff")),
        (1008, [fragment(1), fragment(0), fragment(0), fragment(0)].concat()),
        (1009, vec![0x81, 0xfe, 0x03, 0xe9]),
        (1009, vec![0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ] {
        for cut in [0, 1, bytes.len() - 1] {
            let mut world = World::new(limits());
            let (id, other) = (world.open(HEARS), world.open(HEARS));
            world.browsers[id].polite = false;
            [&bytes[..cut], &bytes[cut..]]
                .into_iter()
                .filter(|piece| !piece.is_empty())
                .for_each(|piece| world.send(id, piece));
            world.send(id, &masked(Opcode::Text, b"ignored"));
            world.run();
            assert_eq!(closed_with(&world.heard(id)), Some(code), "{bytes:x?} cut at {cut}");
            assert_eq!(world.browsers[id].shut_ms().is_some(), bytes[0] == 0x88);
            assert_eq!(world.metrics().protocol_errors_total, 1);
            assert_eq!((world.metrics().conns_open, world.heard(other)), (1, vec![]));
            world.vanish(id);
            assert_eq!(world.metrics().conns, 1);
        }
    }
}

// Slow readers.

fn tight() -> Settings {
    Settings { outbox_limit: 10_000, max_message_size: 5_000, ..settings() }
}

#[test]
fn a_slow_reader_is_closed_at_the_limit_and_harms_nobody() {
    for settings in [tight(), Settings { broker: with_redis().broker, ..tight() }] {
        let mut world = World::new(settings);
        let (slow, swift, speaker) = (world.open(HEARS), world.open(HEARS), world.open(SPEAKS));
        let text = |n: usize| format!("{n:01000}");
        // It stops within the second frame.
        world.stall(slow, 1_500);
        for n in 0..20 {
            world.say(speaker, &text(n));
            // Nine messages and the rest of the second one are just over the limit, at 64 bytes
            // more
            // than its own for each frame.
            assert_eq!(world.metrics().slow_total, u64::from(n >= 10), "after message {n}");
        }
        assert_eq!(world.texts(swift), (0..20).map(text).collect::<Vec<_>>());
        assert_eq!(world.metrics().conns_open, 2);
        world.resume(slow);
        let heard = world.heard(slow);
        assert_eq!(heard[..2], [Heard::Text(text(0)), Heard::Text(text(1))]);
        assert_eq!((closed_with(&heard), heard.len()), (Some(1008), 3));
        assert_eq!(world.metrics().frames_dropped_total, 9);
        assert!(world.browsers[slow].closed_ms.is_some());
    }
}

#[test]
fn a_slow_reader_that_never_reads_again_is_closed_after_a_while() {
    let mut world = World::new(tight());
    let (slow, speaker) = (world.open(HEARS), world.open(SPEAKS));
    world.stall(slow, 0);
    (0..20).for_each(|_| world.say(speaker, &"x".repeat(1000)));
    assert_eq!((world.metrics().slow_total, world.browsers[slow].closed_ms), (1, None));
    world.pass(5_100);
    assert!(world.browsers[slow].closed_ms.is_some());
    assert_eq!(world.metrics().conns, 1);
}

#[test]
fn a_burst_that_the_kernel_takes_never_counts() {
    let mut world = World::new(tight());
    let (hearer, speaker) = (world.open(HEARS), world.open(SPEAKS));
    let burst: Vec<u8> = (0..100).flat_map(|_| masked(Opcode::Text, &[b'x'; 1000])).collect();
    world.send(speaker, &burst);
    world.run();
    assert_eq!((world.texts(hearer).len(), world.metrics().slow_total), (100, 0));

    // The same burst is too much for a socket that takes only some of it.
    world.stall(hearer, 50_000);
    world.send(speaker, &burst);
    world.run();
    assert_eq!(world.metrics().slow_total, 1);
}

#[test]
fn who_catches_up_in_time_is_not_slow() {
    let mut world = World::new(tight());
    let (hearer, speaker) = (world.open(HEARS), world.open(SPEAKS));
    for _ in 0..5 {
        world.stall(hearer, 100);
        (0..9).for_each(|_| world.say(speaker, &"x".repeat(1000)));
        world.resume(hearer);
        assert_eq!(world.texts(hearer).len(), 9);
    }
    assert_eq!(world.metrics().slow_total, 0);
}

// The end of the server.

#[test]
fn everyone_is_told_that_the_server_ends() {
    for settings in [settings(), with_redis()] {
        let mut world = World::new(settings);
        let open: Vec<BrowserId> = (0..5).map(|_| world.open(HEARS)).collect();
        let (silent, half) = (world.accept(), world.ask(b"GET /ws/fo"));
        assert!(!world.server.is_done());
        world.shut_down();
        for id in open {
            assert_eq!(closed_with(&world.heard(id)), Some(1001));
            assert!(world.browsers[id].closed_ms.is_some());
        }
        assert_eq!((world.status(half), world.status(silent)), (Some(503), None));
        assert!(!world.server.is_done(), "its request may be on its way");
        world.pass(1_050);
        assert_eq!(world.status(silent), None);
        assert!(world.browsers[silent].closed_ms.is_some());
        assert!(world.server.is_done(), "all have hung up");
        assert_eq!(world.metrics().conns, 0);
    }
}

#[test]
fn who_comes_as_the_server_ends_is_told_so() {
    let mut world = World::new(Settings { max_connections: 3, ..settings() });
    let (open, early) = (world.open(HEARS), world.accept());
    world.browsers[open].polite = false;
    world.shut_down();
    let late = world.accept();
    for id in [early, late] {
        world.send(id, &upgrade(HEARS, &[]));
        world.run();
        assert_eq!(world.status(id), Some(503));
        assert_eq!(world.response(id).header("Retry-After"), Some("5"));
        assert!(world.response(id).text().contains("shutting down"));
    }
    let half = world.ask(b"GET /ws/fo");
    assert_eq!(world.status(half), None);
    world.pass(1_050);
    assert_eq!(world.status(half), Some(503), "it has little time");
    world.send_frame(open, Opcode::Close, b"");
    world.hang_up(open);
    assert!(world.server.is_done());
    let metrics = world.metrics();
    assert_eq!((metrics.conns_full_total, metrics.handshake_timeouts_total), (0, 0));
}

#[test]
fn handshakes_that_wait_for_redis_are_refused_when_the_server_ends() {
    let redis = FakeRedis::with(|redis| redis.reach = Reach::Silent);
    let mut world = World::around(with_redis(), redis);
    let id = world.knock(HEARS);
    world.shut_down();
    assert_eq!(world.status(id), Some(503));
    assert!(world.response(id).header("Retry-After").is_some());
    assert!(world.server.is_done());
}

#[test]
fn the_end_waits_for_who_is_slow_but_not_for_ever() {
    let mut world =
        World::new(Settings { close_timeout_ms: 60_000, shutdown_timeout_ms: 7_000, ..settings() });
    let (slow, swift) = (world.open(HEARS), world.open(HEARS));
    world.browsers[slow].polite = false;
    world.shut_down();
    assert!(world.browsers[swift].closed_ms.is_some() && !world.server.is_done());
    world.pass(6_900);
    assert!(!world.server.is_done());
    world.pass(100);
    assert!(world.server.is_done() && world.browsers[slow].closed_ms.is_some());
}

#[test]
fn asked_twice_the_server_ends_at_once() {
    let mut world = World::new(settings());
    let id = world.open(HEARS);
    world.browsers[id].polite = false;
    world.shut_down();
    assert!(!world.server.is_done());
    world.shut_down();
    assert!(world.server.is_done() && world.browsers[id].closed_ms.is_some());
}

#[test]
fn the_last_words_reach_redis_before_the_end() {
    let mut world = World::new(with_redis());
    let id = world.open(SPEAKS);
    world.redis.paused = true;
    world.say(id, "last words");
    world.shut_down();
    assert!(!world.server.is_done(), "Redis has not answered");
    world.redis.paused = false;
    world.run();
    assert!(world.server.is_done());
    assert_eq!(world.redis.stored(0, CHANNEL, world.now_ms), Some(&b"last words"[..]));
}

/// Redis is not dialed any more then, and that must not leave a deadline in the past.
#[test]
fn the_end_comes_the_same_while_redis_is_away() {
    let settings = Settings { close_timeout_ms: 60_000, ..with_redis() };
    for reach in [Reach::Refuses, Reach::Silent] {
        let mut world =
            World::around(settings.clone(), FakeRedis::with(|redis| redis.reach = reach));
        world.pass(1_000);
        let id = world.open("/ws/foo");
        world.browsers[id].polite = false;
        let dials = world.dials_ms.len();
        world.shut_down();
        world.pass(9_900);
        assert!(!world.server.is_done());
        world.pass(100);
        assert!(world.server.is_done());
        assert_eq!(world.dials_ms.len(), dials);
    }
}
