//! The core without sockets: silent strangers, and how many may come from one address.

use crate::world::*;
use wsloop::Settings;

const HEARS: &str = "/ws/foo?subscribe-broadcast";

fn few(max_handshakes: usize) -> Settings {
    Settings { max_handshakes, ..settings() }
}

fn closed(world: &World, id: BrowserId) -> bool {
    world.browsers[id].closed_ms.is_some()
}

#[test]
fn silent_strangers_do_not_keep_newcomers_out() {
    let mut world = World::new(few(4));
    let crowd: Vec<BrowserId> = (0..4).map(|_| world.accept_from("192.0.2.1")).collect();
    world.run();
    assert!(!world.accepting(), "their requests may be on their way");
    world.pass(900);
    let wakes_ms = world.server.next_deadline_ms().expect("a deadline") - world.now_ms;
    assert!((50..=150).contains(&wakes_ms), "{wakes_ms}");
    world.pass(wakes_ms);
    assert!(world.accepting(), "one of them is to give way");
    let newcomer = world.accept_from("192.0.2.2");
    world.send(newcomer, &upgrade(HEARS, &[]));
    world.run();
    assert_eq!(world.status(newcomer), Some(101));
    let gone: Vec<bool> = crowd.iter().map(|id| closed(&world, *id)).collect();
    assert_eq!(gone, [true, false, false, false], "the oldest");
    assert_eq!(world.status(crowd[0]), None);
    let metrics = world.metrics();
    assert_eq!((metrics.strangers_evicted_total, metrics.handshakes_pending), (1, 3));
}

#[test]
fn the_network_that_has_most_strangers_gives_way() {
    let mut world = World::new(few(5));
    let from = ["192.0.2.9", "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"];
    let early: Vec<BrowserId> = from.iter().map(|address| world.accept_from(address)).collect();
    world.pass(1_100);
    for newcomers in 1..=2 {
        world.accept_from("192.0.2.1");
        world.run();
        let gone: Vec<bool> = early.iter().map(|id| closed(&world, *id)).collect();
        assert_eq!(gone, [false, true, newcomers > 1, false, false], "{newcomers}");
    }
}

#[test]
fn part_of_a_request_is_no_better_than_none_and_a_whole_one_is() {
    let redis = FakeRedis::with(|redis| redis.reach = Reach::Silent);
    let mut world = World::around(Settings { max_handshakes: 3, ..with_redis() }, redis);
    let waits = world.knock(HEARS);
    let half = world.ask(b"GET /ws/foo HTTP/1.1\r\nHost: ");
    let other = world.knock(HEARS);
    world.pass(1_100);
    let newcomer = world.knock(HEARS);
    assert_eq!(
        [waits, half, other, newcomer].map(|id| closed(&world, id)),
        [false, true, false, false]
    );
    // Nobody is a stranger any more: whoever comes waits where it is.
    assert!(!world.accepting());
}

#[test]
fn who_has_said_nothing_for_a_while_gives_way_where_all_connections_are_taken() {
    let mut world = World::new(Settings { max_connections: 4, ..settings() });
    let open = world.open(HEARS);
    let crowd: Vec<BrowserId> = (0..3).map(|_| world.accept_from("192.0.2.1")).collect();
    let early = world.accept_from("192.0.2.2");
    world.send(early, &upgrade(HEARS, &[]));
    world.run();
    assert_eq!(world.status(early), Some(503), "their requests may be on their way");
    world.pass(1_100);
    let late = world.accept_from("192.0.2.2");
    world.send(late, &upgrade(HEARS, &[]));
    world.run();
    assert_eq!(world.status(late), Some(101));
    assert_eq!([open, crowd[0], crowd[1]].map(|id| closed(&world, id)), [false, true, false]);
    assert_eq!(world.metrics().conns_full_total, 1);
}

#[test]
fn who_is_not_served_may_not_stay_silent_either() {
    let mut world = World::new(Settings { max_connections: 1, ..settings() });
    world.open(HEARS);
    let mut silent = Vec::new();
    while world.accepting() {
        silent.push(world.accept_from("192.0.2.1"));
    }
    assert_eq!(silent.len(), 32);
    world.pass(1_100);
    assert!(silent.iter().all(|id| closed(&world, *id)));
    let polite = world.knock(HEARS);
    assert_eq!(world.status(polite), Some(503));
}

#[test]
fn an_address_has_as_many_conns_as_it_may() {
    let mut world = World::new(Settings { max_per_address: 2, ..settings() });
    let knock = |world: &mut World, address: &str| {
        let id = world.accept_from(address);
        world.send(id, &upgrade(HEARS, &[]));
        world.run();
        id
    };
    let first = knock(&mut world, "2001:db8::1");
    let silent = world.accept_from("2001:db8::2");
    let refused = knock(&mut world, "2001:db8::3");
    assert_eq!((world.status(first), world.status(refused)), (Some(101), Some(429)));
    let response = world.response(refused);
    assert!(response.header("Retry-After").is_some() && response.text().contains("--max-per-"));
    let other = knock(&mut world, "2001:db8:0:1::1");
    assert_eq!(world.status(other), Some(101), "another network");
    world.hang_up(first);
    let next = knock(&mut world, "2001:db8::4");
    assert_eq!(world.status(next), Some(101), "there is room again");
    assert_eq!(world.metrics().conns_crowded_total, 1);

    // Past some, they are not even told.
    let crowd: Vec<BrowserId> = (0..30).map(|_| world.accept_from("2001:db8::5")).collect();
    world.run();
    let untold = crowd.iter().filter(|id| closed(&world, **id)).count();
    assert_eq!((untold, closed(&world, silent)), (22, false));
    world.pass(1_100);
    assert!(crowd.iter().all(|id| closed(&world, *id)));
}
