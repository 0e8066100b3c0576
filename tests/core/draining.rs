//! The core without sockets: a shutdown that takes its time, and what browsers say at the end.

use crate::world::*;
use wsloop::Settings;
use wsloop::proto::ws::frame::Opcode;

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const SPEAKS: &str = "/ws/foo?publish-broadcast";
const CHANNEL: &str = "broadcast:foo";
const DRAIN_MS: u64 = 10_000;

fn draining() -> Settings {
    Settings { drain_ms: DRAIN_MS, ..settings() }
}

fn closed_with(heard: &[Heard]) -> Option<u16> {
    heard.iter().find_map(|heard| match heard {
        Heard::Close(code, _) => *code,
        _ => None,
    })
}

fn stored(world: &World) -> Option<&[u8]> {
    world.redis.stored(0, CHANNEL, world.now_ms)
}

#[test]
fn browsers_are_told_one_after_the_other_in_an_order_of_chance() {
    let mut world = World::new(draining());
    let all: Vec<BrowserId> = (0..100).map(|_| world.open(HEARS)).collect();
    world.shut_down();
    let (mut gone, mut order) = (0, Vec::new());
    for second in 1..=DRAIN_MS / 1000 {
        world.pass(1000);
        for id in &all {
            let heard = world.heard(*id);
            if let Some(code) = closed_with(&heard) {
                assert_eq!(code, 1012);
                gone += 1;
                order.push(*id);
            }
        }
        assert!((second * 10).abs_diff(gone) <= 1, "{gone} are told after {second} s");
    }
    assert_ne!(order, all, "not as they came");
    assert!(world.server.is_done());
}

#[test]
fn whoever_comes_while_the_server_drains_is_served_until_it_ends() {
    let mut world = World::new(draining());
    let (open, half) = (world.open(HEARS), world.accept());
    world.send(half, &upgrade(HEARS, &[])[..30]);
    world.shut_down();
    assert!(!world.server.is_done());
    world.send(half, &upgrade(HEARS, &[])[30..]);
    world.run();
    let late = world.open(HEARS);
    assert_eq!(world.status(half), Some(101));
    let plain = world.ask(&request("GET", "/ws/foo", &["Host: example.com"]));
    assert_eq!(world.status(plain), Some(426));
    world.pass(DRAIN_MS - 100);
    let speaker = world.open(SPEAKS);
    world.say(speaker, "still");
    assert!(world.heard(late).contains(&Heard::Text("still".to_owned())));
    let silent = world.accept();
    world.browsers[speaker].polite = false;
    world.pass(150);
    for id in [half, late, speaker] {
        assert_eq!(closed_with(&world.heard(id)), Some(1012), "{id:?}");
    }
    assert_eq!(closed_with(&world.heard(open)), Some(1012));
    world.send(silent, &upgrade(HEARS, &[]));
    world.run();
    assert_eq!(world.status(silent), Some(503), "nobody is served then");
    world.pass(5_000);
    assert!(world.server.is_done());
}

#[test]
fn nobody_is_waited_for_where_nobody_is() {
    let mut world = World::new(draining());
    world.shut_down();
    assert!(world.server.is_done());
}

#[test]
fn asked_again_a_server_that_drains_tells_everybody_and_then_ends_at_once() {
    let mut world = World::new(draining());
    let (swift, slow) = (world.open(HEARS), world.open(HEARS));
    world.browsers[slow].polite = false;
    world.shut_down();
    world.shut_down();
    for id in [swift, slow] {
        assert_eq!(closed_with(&world.heard(id)), Some(1012));
    }
    assert!(!world.server.is_done(), "who is slow has its time");
    world.shut_down();
    assert!(world.server.is_done() && world.browsers[slow].closed_ms.is_some());
}

#[test]
fn an_end_that_is_announced_changes_nothing_for_browsers() {
    let mut world = World::new(settings());
    let id = world.open(HEARS);
    world.announce_the_end();
    world.pass(60_000);
    assert!(!world.server.is_done());
    assert_eq!(closed_with(&world.heard(id)), None);
    world.shut_down();
    assert_eq!(closed_with(&world.heard(id)), Some(1001));
}

/// A browser that does nothing by itself, and that is told that the server ends.
fn told(settings: Settings, code: u16) -> (World, BrowserId) {
    let mut world = World::new(Settings { max_message_size: 1000, ..settings });
    let id = world.open(SPEAKS);
    world.browsers[id].polite = false;
    match code {
        1001 | 1012 => world.shut_down(),
        1002 => world.send(id, &[0x83, 0x82, 1, 2, 3, 4]),
        1007 => world.send(id, &masked(Opcode::Text, b"\xff")),
        1009 => world.send(id, &masked(Opcode::Binary, &[0x88; 3000])),
        _ => unreachable!("{code}"),
    }
    world.run();
    if code == 1012 {
        world.pass(DRAIN_MS);
    }
    assert_eq!(closed_with(&world.heard(id)), Some(code));
    (world, id)
}

#[test]
fn what_arrives_before_the_answer_to_our_goodbye_is_published_however_it_is_cut() {
    let close = masked(Opcode::Close, &1001u16.to_be_bytes());
    let words = [
        masked(Opcode::Text, b"first"),
        masked(Opcode::Ping, b"nobody answers"),
        masked(Opcode::Text, b""),
        masked(Opcode::Text, b"last words"),
    ]
    .concat();
    let behind = masked(Opcode::Text, b"too late");
    for (settings, code) in [
        (with_redis(), 1001),
        (Settings { drain_ms: DRAIN_MS, close_timeout_ms: 60_000, ..with_redis() }, 1012),
    ] {
        for cut in [0, 1, 7, words.len() - 3, words.len(), words.len() + 1] {
            let (mut world, id) = told(settings.clone(), code);
            let all = [&words[..], &close, &behind].concat();
            world.send(id, &all[..cut]);
            world.run();
            assert_eq!(world.browsers[id].shut_ms(), None, "{code}: shut before the answer");
            world.send(id, &all[cut..]);
            world.run();
            assert_eq!(stored(&world), Some(&b"last words"[..]), "{code}, cut at {cut}");
            assert_eq!(world.browsers[id].shut_ms(), Some(world.now_ms), "{code}, cut at {cut}");
            assert_eq!(world.metrics().publishes_total, 2);
            assert_eq!(world.heard(id), [], "{code}: nothing is said behind a close");
            assert!(world.server.is_done());
        }
    }
}

#[test]
fn what_arrives_behind_any_other_close_of_ours_is_discarded() {
    for code in [1002, 1007, 1009] {
        let (mut world, id) = told(with_redis(), code);
        world.send(id, &masked(Opcode::Text, b"words"));
        world.send(id, &masked(Opcode::Close, b""));
        world.run();
        assert_eq!((stored(&world), world.metrics().publishes_total), (None, 0), "{code}");
    }
}

#[test]
fn many_last_words_are_heard_to_the_end() {
    let (mut world, id) = told(with_redis(), 1001);
    let many: Vec<u8> =
        (0..1000).flat_map(|n| masked(Opcode::Text, b"x".repeat(n % 7).as_slice())).collect();
    world.send(id, &[many, masked(Opcode::Close, b"")].concat());
    world.run();
    assert_eq!(world.metrics().publishes_total, 1000 - 1000_u64.div_ceil(7));
    assert!(world.server.is_done());
}

#[test]
fn last_words_that_break_the_protocol_end_and_the_answer_is_still_awaited() {
    let (mut world, id) = told(with_redis(), 1001);
    world.send(id, &masked(Opcode::Text, b"good"));
    world.send(id, &[0x83, 0x82, 1, 2, 3, 4, 0x88, 0x80]);
    world.send(id, &masked(Opcode::Text, b"bad"));
    world.run();
    assert_eq!(stored(&world), Some(&b"good"[..]));
    assert_eq!(world.browsers[id].shut_ms(), None);
    world.send(id, &masked(Opcode::Close, b""));
    world.run();
    assert!(world.browsers[id].shut_ms().is_some() && world.server.is_done());
}

#[test]
fn last_words_have_the_time_of_a_close() {
    let (mut world, id) = told(with_redis(), 1001);
    world.send(id, &masked(Opcode::Text, b"words")[..4]);
    world.pass(5_050);
    assert!(world.browsers[id].closed_ms.is_some());
}
