//! The core without sockets: what trusted proxies say of whom they pass on, and what others say.

use crate::world::*;
use wsloop::{ForwardedHeaders, Proxies, Settings, TrustedProxies};

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const PROXY: &str = "10.0.0.1";

fn behind(announce: bool) -> Settings {
    let trusted = TrustedProxies::parse("10.0.0.0/8").expect("a list");
    let proxies = Proxies { trusted, headers: ForwardedHeaders::X, announce };
    Settings { proxies, max_per_address: 2, ..settings() }
}

/// A handshake that arrives from there, with these lines.
fn ask(world: &mut World, from: &str, lines: &[&str]) -> BrowserId {
    let id = world.accept_from(from);
    world.send(id, &upgrade(HEARS, lines));
    world.run();
    id
}

fn status(world: &mut World, from: &str, lines: &[&str]) -> Option<u16> {
    let id = ask(world, from, lines);
    world.status(id)
}

#[test]
fn the_limit_of_an_address_is_that_of_the_client() {
    let mut world = World::new(behind(false));
    let from = |client: &str| format!("X-Forwarded-For: {client}");
    let first = ask(&mut world, PROXY, &[&from("192.0.2.1")]);
    assert_eq!(world.status(first), Some(101));
    // What the client itself says of others is to the left of what the proxy says.
    assert_eq!(status(&mut world, PROXY, &[&from("6.6.6.6, 192.0.2.1")]), Some(101));
    assert_eq!(status(&mut world, PROXY, &[&from("7.7.7.7, 192.0.2.1, 10.0.0.2")]), Some(429));
    assert_eq!(status(&mut world, PROXY, &[&from("192.0.2.2")]), Some(101));
    // Who is refused has gone; so has one that leaves.
    world.hang_up(first);
    world.run();
    assert_eq!(status(&mut world, PROXY, &[&from("192.0.2.1")]), Some(101));
    assert_eq!(status(&mut world, PROXY, &[&from("192.0.2.1")]), Some(429));
    // The proxies themselves are any number, as for what they ask themselves.
    for _ in 0..4 {
        assert_eq!(status(&mut world, PROXY, &[]), Some(101));
    }
    assert_eq!(world.metrics().conns_crowded_total, 2);
}

#[test]
fn nobody_else_is_believed() {
    let mut world = World::new(behind(false));
    for (spoofed, expected) in [("192.0.2.8", 101), ("192.0.2.9", 101), ("192.0.2.10", 429)] {
        let line = format!("X-Forwarded-For: {spoofed}");
        assert_eq!(status(&mut world, "192.0.2.66", &[&line]), Some(expected), "{spoofed}");
    }
    let forwarded = ["X-Forwarded-Host: site", "Origin: https://site"];
    assert_eq!(status(&mut world, "192.0.2.67", &forwarded), Some(403));
    assert_eq!(status(&mut world, PROXY, &forwarded), Some(101), "the page's own host");
    let other = ["X-Forwarded-Host: site", "Origin: https://other"];
    assert_eq!(status(&mut world, PROXY, &other), Some(403));
}

#[test]
fn what_proxies_announce_is_where_a_connection_comes_from() {
    let mut world = World::new(behind(true));
    let announced = |client: &str| format!("PROXY TCP4 {client} 192.0.2.250 4321 80\r\n");
    let mut come = |from: &str, first: &str, lines: &[&str], cut: bool| {
        let id = world.accept_from(from);
        if !first.is_empty() {
            world.send(id, first.as_bytes());
        }
        if cut {
            world.run();
        }
        world.send(id, &upgrade(HEARS, lines));
        world.run();
        world.server.check_invariants();
        world.status(id)
    };
    let spoofed = ["X-Forwarded-For: 6.6.6.6"];
    for cut in [false, true] {
        assert_eq!(come(PROXY, &announced("192.0.2.1"), &spoofed, cut), Some(101));
    }
    for cut in [false, true] {
        assert_eq!(come(PROXY, &announced("192.0.2.1"), &spoofed, cut), Some(429));
    }
    // Another proxy behind the one that announces says it in the request.
    let told = ["X-Forwarded-For: 192.0.2.1"];
    assert_eq!(come(PROXY, &announced("10.0.0.9"), &told, true), Some(429));
    assert_eq!(come(PROXY, "PROXY UNKNOWN\r\n", &[], false), Some(101));
    // A trusted proxy has to say it; of anybody else it is no HTTP.
    assert_eq!(come(PROXY, "", &[], false), Some(400));
    assert_eq!(come("192.0.2.5", &announced("192.0.2.1"), &[], false), Some(400));
    assert_eq!(come("192.0.2.5", "", &[], false), Some(101));
    assert_eq!(world.metrics().proxies_refused_total, 1);
}

#[test]
fn strangers_of_a_proxy_that_announces_them_give_way_by_their_own_address() {
    let mut world = World::new(Settings { max_handshakes: 4, ..behind(true) });
    let mut come = |client: &str| {
        let id = world.accept_from(PROXY);
        world.send(id, format!("PROXY TCP4 {client} 192.0.2.250 4321 80\r\n").as_bytes());
        world.run();
        id
    };
    let crowd = ["192.0.2.9", "192.0.2.1", "192.0.2.1"].map(&mut come);
    // One that has not been announced is the proxy's.
    world.accept_from(PROXY);
    world.pass(1_100);
    let newcomer = world.accept_from("192.0.2.3");
    world.send(newcomer, &upgrade(HEARS, &[]));
    world.run();
    assert_eq!(world.status(newcomer), Some(101));
    let gone = crowd.map(|id| world.browsers[id].closed_ms.is_some());
    assert_eq!(gone, [false, true, false], "the oldest of the address that has most");
    world.server.check_invariants();
}
