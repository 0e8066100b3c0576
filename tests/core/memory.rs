//! The core without sockets: what peers hold together stays within a limit, whoever they are.

use crate::world::*;
use wsloop::proto::ws::deflate::{Compression, Deflater};
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Metrics, Settings};

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const MIB: usize = 1 << 20;
const KIB: usize = 1 << 10;

fn bounded(limit: usize) -> Settings {
    Settings {
        memory_limit: limit,
        unsent_limit: 0,
        echo_path: Some("/echo".to_owned()),
        ..settings()
    }
}

fn is_closed(world: &World, id: BrowserId) -> bool {
    world.browsers[id].closed_ms.is_some()
}

/// Somebody who has sent so many bytes of a message that does not end.
fn partial(world: &mut World, bytes: usize) -> BrowserId {
    let id = world.open("/echo");
    let frame = masked(Opcode::Binary, &vec![b'x'; bytes + 1]);
    world.send(id, &frame[..frame.len() - 1]);
    world.run();
    id
}

/// Somebody who does not read what comes back.
fn unread(world: &mut World, messages: usize, bytes: usize) -> BrowserId {
    let id = world.open("/echo");
    world.stall(id, 0);
    for _ in 0..messages {
        world.send(id, &masked(Opcode::Binary, &vec![b'x'; bytes]));
        world.run();
    }
    id
}

fn held(metrics: &Metrics) -> usize {
    metrics.memory_bytes as usize
}

#[test]
fn who_holds_most_of_too_much_is_closed_first() {
    let mut world = World::new(bounded(2 * MIB));
    let small: Vec<BrowserId> = (0..6).map(|_| partial(&mut world, 100 * KIB)).collect();
    let large = partial(&mut world, 900 * KIB);
    assert_eq!(world.metrics().memory_closed_total, 0);
    let last: Vec<BrowserId> = (0..8).map(|_| partial(&mut world, 100 * KIB)).collect();
    assert!(matches!(world.heard(large)[..], [Heard::Close(Some(1013), _)]));
    for id in small.into_iter().chain(last) {
        assert_eq!(world.heard(id), [], "{id:?}");
    }
    assert_eq!(world.metrics().memory_closed_total, 1);
    assert_eq!(world.metrics().slow_total, 0);
    assert!(held(world.metrics()) <= 2 * MIB, "{}", held(world.metrics()));
}

#[test]
fn what_comes_back_to_many_who_do_not_read_stays_within_the_limit() {
    let mut world = World::new(bounded(2 * MIB));
    for _ in 0..20 {
        unread(&mut world, 5, 100 * KIB);
        let waiting: usize = (0..world.browsers.len()).map(|id| world.waiting(id)).sum();
        assert!(waiting <= 2 * MIB + 100 * KIB, "{waiting}");
    }
    let metrics = world.metrics().clone();
    assert!(metrics.memory_closed_total >= 16, "{}", metrics.memory_closed_total);
    assert_eq!(metrics.slow_total, 0);
}

#[test]
fn a_message_to_many_is_counted_once() {
    let limits = bounded(4 * MIB);
    let mut world = World::new(Settings { broker: with_redis().broker, ..limits });
    let hearers: Vec<BrowserId> = (0..20).map(|_| world.open(HEARS)).collect();
    for id in &hearers {
        world.stall(*id, 0);
    }
    for _ in 0..30 {
        world.publish("broadcast:foo", vec![b'x'; 100 * KIB]);
        world.run();
        world.pass(1_000);
    }
    assert_eq!(world.metrics().memory_closed_total, 0);
    let held = held(world.metrics());
    assert!((3000 * KIB..3600 * KIB).contains(&held), "{held}");
    for id in hearers {
        world.resume(id);
    }
    world.run();
    world.pass(1_000);
    world.publish("broadcast:foo", "news");
    world.run();
    assert!(world.metrics().memory_bytes < 100 * KIB as u64, "{}", world.metrics().memory_bytes);
}

#[test]
fn what_grows_out_of_few_bytes_counts() {
    let compression = Compression::Shared;
    let mut world = World::new(Settings { compression, ..bounded(4 * MIB) });
    let bytes = Deflater::default().compress(&vec![0; 900 * KIB], 15).expect("smaller").to_vec();
    for _ in 0..10 {
        let id = world.ask(&upgrade("/echo", &["Sec-WebSocket-Extensions: permessage-deflate"]));
        // A first frame, which does not end the message.
        let mut frame = masked(Opcode::Binary, &bytes);
        frame[0] = 0x42;
        world.send(id, &frame);
        world.run();
    }
    let closed = world.metrics().memory_closed_total;
    assert!((5..8).contains(&closed), "{closed}");
    assert!(held(world.metrics()) <= 4 * MIB);
}

#[test]
fn who_is_closing_and_still_holds_most_is_closed_at_once() {
    let mut world = World::new(bounded(MIB));
    let id = world.open("/echo");
    // Of one large frame a part is on its way.
    world.stall(id, 1000);
    world.send(id, &masked(Opcode::Binary, &vec![b'x'; 900 * KIB]));
    world.run();
    assert!(!is_closed(&world, id));
    let other = partial(&mut world, 200 * KIB);
    assert!(is_closed(&world, id), "its close frame would wait behind all of that");
    assert!(!is_closed(&world, other));
    assert_eq!(world.metrics().memory_closed_total, 1);
}

#[test]
fn redis_clients_and_handshakes_count_like_browsers() {
    let mut world = World::new(bounded(2 * MIB));
    let client = world.connect_resp();
    let value = "x".repeat(900 * KIB);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{value}\r\n", value.len());
    world.tell(client, set);
    world.run();
    assert_eq!(world.answers(client), "+OK\n");
    world.stall_resp(client, 0);
    let asking = "GET a\r\n".repeat(2);
    world.tell(client, asking);
    world.run();
    partial(&mut world, 400 * KIB);
    assert_eq!(world.metrics().memory_closed_total, 1);
    assert_eq!((world.metrics().resp_clients, world.metrics().conns_open), (0, 1));
}

#[test]
fn what_the_kernel_takes_for_who_does_not_read_counts() {
    let mut world = World::new(Settings { unsent_limit: 128 * KIB, ..bounded(2 * MIB) });
    for _ in 0..30 {
        unread(&mut world, 1, 10 * KIB);
    }
    let metrics = world.metrics().clone();
    assert!((14..=17).contains(&metrics.memory_closed_total), "{}", metrics.memory_closed_total);
}

#[test]
fn without_a_limit_it_is_only_counted() {
    let mut world = World::new(bounded(0));
    let id = partial(&mut world, 900 * KIB);
    world.pass(1_000);
    world.send(id, b"x");
    world.run();
    assert!(held(world.metrics()) >= 900 * KIB, "{}", held(world.metrics()));
    assert_eq!(world.metrics().memory_closed_total, 0);
}
