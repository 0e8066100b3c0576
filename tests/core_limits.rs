//! The core without sockets: what nobody can make grow without bound.

mod world;

use world::*;
use wsloop::proto::frame::Opcode;
use wsloop::settings::{Refuse, Settings};

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const SPEAKS: &str = "/ws/foo?publish-broadcast";

/// As many frames as a turn may queue, with something to spare.
const MORE_THAN_A_TURN: usize = (1 << 20) + (1 << 16);

#[test]
fn a_turn_that_is_full_is_put_out_before_more_is_read() {
    for settings in [settings(), with_redis()] {
        let mut world = World::new(settings);
        let hearers: Vec<BrowserId> = (0..1100).map(|_| world.open(HEARS)).collect();
        let (speaker, other) = (world.open(SPEAKS), world.open(SPEAKS));
        let messages = MORE_THAN_A_TURN / hearers.len();
        let burst: Vec<u8> = (0..messages).flat_map(|_| masked(Opcode::Text, b"x")).collect();
        let outbox = |world: &World| world.server.is_reading(world.browsers[other].link);
        assert!(outbox(&world), "an idle turn reads");
        world.send(speaker, &burst);
        world.say(other, "y");
        for hearer in hearers {
            let heard = world.texts(hearer);
            assert_eq!(heard.len(), messages + 1);
            assert!(heard[..messages].iter().all(|text| text == "x") && heard[messages] == "y");
        }
        assert!(outbox(&world), "and reads again when all is put out");
        assert_eq!(world.metrics().slow_total, 0);
    }
}

#[test]
fn empty_frames_count_in_an_outbox_too() {
    let mut world = World::new(Settings { outbox_limit: 10_000, ..settings() });
    let id = world.open(HEARS);
    world.stall(id, 0);
    world.send(id, &masked(Opcode::Ping, b"").repeat(100));
    world.run();
    assert_eq!(world.metrics().slow_total, 0, "a hundred pongs are 6,600 bytes of memory");
    world.send(id, &masked(Opcode::Ping, b"").repeat(100));
    world.run();
    assert_eq!(world.metrics().slow_total, 1);
}

#[test]
fn a_facility_has_a_length() {
    let mut world = World::new(Settings { max_head_size: 64 << 10, ..settings() });
    for (length, status) in [(4096, 101), (4097, 414), (60_000, 414)] {
        let id = world.knock(&format!("/ws/{}?subscribe-broadcast", "x".repeat(length)));
        assert_eq!(world.status(id), Some(status), "{length} bytes");
    }
    assert_eq!(world.metrics().channels, 1);
}

#[test]
fn who_is_one_too_many_is_told_in_the_way_that_was_asked_for() {
    for (refuse, status) in [(Refuse::Status, 503), (Refuse::Close, 101)] {
        let mut world = World::new(Settings { max_connections: 1, refuse, ..settings() });
        world.open(HEARS);
        let id = world.knock(HEARS);
        assert_eq!(world.status(id), Some(status));
        let closed = world.heard(id).iter().any(|h| matches!(h, Heard::Close(Some(4503), _)));
        assert_eq!(closed, refuse == Refuse::Close);
        assert_eq!(world.metrics().conns_full_total, 1);
    }
}

#[test]
fn a_redis_that_is_still_loading_counts_as_away() {
    let mut world = World::new(with_redis());
    world.redis.set("broadcast:foo", "stored");
    world.redis.loading = true;
    let early = world.knock(HEARS);
    world.pass(6_000);
    assert_eq!(world.texts(early), [""; 0]);
    let dials = world.dials_ms.len();
    assert!((3..20).contains(&dials), "it was dialed {dials} times");
    world.redis.loading = false;
    world.pass(6_000);
    assert_eq!((world.status(early), world.texts(early)), (Some(101), vec!["stored".to_string()]));
}
