//! The core without sockets: who says too much, and who comes too often.

use crate::world::*;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Settings, TrustedProxies};

const SPEAKS: &str = "/ws/foo?publish-broadcast";
const HEARS: &str = "/ws/foo?subscribe-broadcast";

fn closed_with(heard: &[Heard]) -> Option<u16> {
    heard.iter().find_map(|heard| match heard {
        Heard::Close(code, _) => *code,
        _ => None,
    })
}

#[test]
fn who_says_more_than_may_be_said_is_closed_and_nobody_else() {
    let heartbeat = Some(b"--heartbeat--".to_vec());
    let mut world = World::new(Settings { message_rate: 10, heartbeat, ..settings() });
    let (hearer, loud, quiet) = (world.open(HEARS), world.open(SPEAKS), world.open(SPEAKS));
    for _ in 0..10 {
        world.say(loud, "at one time");
        // Signs of life are no messages.
        world.say(loud, "--heartbeat--");
        world.send_frame(loud, Opcode::Ping, b"");
    }
    assert_eq!(closed_with(&world.heard(loud)), None);
    for _ in 0..30 {
        world.pass(100);
        world.say(loud, "now and then");
        world.say(quiet, "as well");
    }
    assert_eq!(closed_with(&world.heard(loud)), None, "that is the rate");
    world.say(loud, "one too many");
    assert_eq!(closed_with(&world.heard(loud)), Some(1008));
    world.say(loud, "and more");
    assert_eq!(closed_with(&world.heard(quiet)), None);
    assert_eq!(world.metrics().hasty_total, 1);
    assert_eq!(world.texts(hearer).len(), 10 + 60, "nothing of what was too much");
    // Whoever comes to its place begins anew.
    let next = world.open(SPEAKS);
    (0..10).for_each(|_| world.say(next, "at one time"));
    assert_eq!(closed_with(&world.heard(next)), None);
}

#[test]
fn echoes_have_the_same_rate() {
    let echo_path = Some("/echo".to_owned());
    let mut world = World::new(Settings { message_rate: 2, echo_path, ..settings() });
    let id = world.open("/echo");
    (0..3).for_each(|_| world.say(id, "hello"));
    let heard = world.heard(id);
    assert_eq!((heard.len(), closed_with(&heard)), (3, Some(1008)));
}

#[test]
fn who_comes_more_often_than_may_be_is_told_so_and_nobody_else_is() {
    let proxies = wsloop::Proxies {
        trusted: TrustedProxies::parse("10.0.0.1").expect("an address"),
        ..wsloop::Proxies::default()
    };
    let mut world = World::new(Settings { handshake_rate: 3, proxies, ..settings() });
    let from = |world: &mut World, address: &str, more: &str| {
        let id = world.accept_from(address);
        world.send(
            id,
            &upgrade(HEARS, if more.is_empty() { &[] } else { std::slice::from_ref(&more) }),
        );
        world.run();
        world.status(id)
    };
    let came = |world: &mut World, address: &str, more: &str| {
        (0..5).map(|_| from(world, address, more)).collect::<Vec<_>>()
    };
    let three = [Some(101), Some(101), Some(101), Some(429), Some(429)];
    assert_eq!(came(&mut world, "192.0.2.1", ""), three);
    assert_eq!(came(&mut world, "192.0.2.2", ""), three);
    // Of a proxy those count whom it passes on.
    for client in ["192.0.2.3", "192.0.2.4"] {
        let header = format!("X-Forwarded-For: {client}");
        assert_eq!(came(&mut world, "10.0.0.1", &header), three);
    }
    world.pass(1_000);
    assert_eq!(came(&mut world, "192.0.2.1", ""), three);
    assert_eq!(world.metrics().conns_hasty_total, 10);
}
