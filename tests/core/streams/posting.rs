//! POST publishes its body, and is answered when the broker has it.

use super::*;
use wsloop::Settings;
use wsloop::proto::ws::frame::Opcode;

fn chunked(target: &str, chunks: &[&str]) -> Vec<u8> {
    let mut bytes = request("POST", target, &[HOST, "Transfer-Encoding: chunked"]);
    for chunk in chunks {
        bytes.extend(format!("{:x}\r\n{chunk}\r\n", chunk.len()).bytes());
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

#[test]
fn a_body_is_a_message_however_it_is_cut() {
    for settings in [settings(), with_redis()] {
        let mut world = World::new(settings);
        let hearer = world.open(HEARS);
        let sized = post(SPEAKS, b"hello", &[]);
        for bytes in [sized, chunked(SPEAKS, &["he", "l", "lo"])] {
            for cut in 1..bytes.len() {
                let id = world.accept();
                world.send(id, &bytes[..cut]);
                world.send(id, &bytes[cut..]);
                world.run();
                assert_eq!(world.status(id), Some(202), "cut at {cut}");
                assert_eq!(world.texts(hearer), ["hello"], "cut at {cut}");
                world.hang_up(id);
                assert!(world.browsers[id].closed_ms.is_some());
            }
        }
        assert_eq!((world.metrics().conns, world.metrics().handshakes_pending), (1, 0));
        let late = world.open(HEARS);
        assert_eq!(world.texts(late), ["hello"], "it is stored as others are");
        assert_eq!(world.metrics().posts_total, world.metrics().messages_in_total);
        world.server.check_invariants();
    }
}

#[test]
fn what_is_answered_says_what_became_of_it() {
    let most = 100;
    let long = "x".repeat(most + 1);
    let heartbeat = Some(b"hb".to_vec());
    let settings = Settings { max_message_size: most, heartbeat, ..settings() };
    for (status, bytes) in [
        (202, post(SPEAKS, &long.as_bytes()[1..], &[])),
        (202, chunked(SPEAKS, &[&long[1..]])),
        (413, post(SPEAKS, long.as_bytes(), &[])),
        (413, request("POST", SPEAKS, &[HOST, "Content-Length: 99999999999"])),
        (413, chunked(SPEAKS, &[&long[2..], "xx"])),
        (400, request("POST", SPEAKS, &[HOST])),
        (400, post(SPEAKS, b"hb", &[])),
        (400, request("POST", SPEAKS, &[HOST, "Content-Length: 1", "Content-Length: 1"])),
        (400, request("POST", SPEAKS, &[HOST, "Content-Length: x"])),
        (
            400,
            [request("POST", SPEAKS, &[HOST, "Transfer-Encoding: chunked"]), b"zz\r\n".to_vec()]
                .concat(),
        ),
        (501, request("POST", SPEAKS, &[HOST, "Transfer-Encoding: gzip"])),
        (400, post("/ws/foo?publish-brodcast&publish-user", b"hello", &[])),
        (400, post("/ws/a:b?publish-user", b"hello", &[])),
    ] {
        let mut world = World::new(settings.clone());
        let hearer = world.open(HEARS);
        let id = world.ask(&bytes);
        assert_eq!(world.status(id), Some(status), "{:?}", String::from_utf8_lossy(&bytes));
        assert_eq!(world.texts(hearer).len(), usize::from(status == 202));
        if status != 202 {
            assert!(world.response(id).text().ends_with(".\n"), "{:?}", world.response(id));
            assert_eq!(world.response(id).header("Connection"), Some("close"));
            assert!(world.browsers[id].closed_ms.is_some());
        }
        world.server.check_invariants();
    }
}

#[test]
fn one_connection_publishes_again_and_again() {
    for settings in [settings(), with_redis()] {
        let mut world = World::new(settings);
        let hearer = world.open(HEARS);
        let id = world.accept();
        // One after the other, and two at one time.
        for n in 0..10 {
            world.send(id, &post(SPEAKS, format!("{n}").as_bytes(), &[]));
            world.run();
            world.pass(1_000);
        }
        world.send(id, &[post(SPEAKS, b"10", &[]), post(SPEAKS, b"11", &[])].concat());
        world.run();
        let expected: Vec<_> = (0..12).map(|n| n.to_string()).collect();
        assert_eq!(world.texts(hearer), expected);
        assert_eq!((world.browsers[id].answered.len(), world.status(id)), (11, Some(202)));
        // And then it is something else.
        world.send(id, &upgrade(SPEAKS, &[]));
        world.run();
        assert_eq!(world.status(id), Some(101));
        world.send_frame(id, Opcode::Text, b"12");
        assert_eq!(world.texts(hearer), ["12"]);
        world.server.check_invariants();
    }
    let mut world = World::new(settings());
    let id = world.ask(&post(SPEAKS, b"hello", &["Connection: close"]));
    assert_eq!(world.response(id).header("Connection"), Some("close"));
    assert!(world.browsers[id].closed_ms.is_some());
    let id = world.ask(&post(SPEAKS, b"hello", &[]));
    world.pass(80_000);
    assert!(world.browsers[id].closed_ms.is_some(), "it has rested too long");
}

#[test]
fn who_waits_to_send_its_body_is_told_to_go_on_or_refused() {
    let mut world = World::new(settings());
    let hearer = world.open(HEARS);
    let expects = [HOST, "Content-Length: 5", "Expect: 100-continue"];
    let id = world.ask(&request("POST", SPEAKS, &expects));
    assert_eq!((world.browsers[id].continues, world.status(id)), (1, None));
    world.send(id, b"hello");
    world.run();
    assert_eq!((world.texts(hearer), world.status(id)), (vec!["hello".to_owned()], Some(202)));
    let headers = [&expects[..], &["Origin: https://evil.example"]].concat();
    let id = world.ask(&request("POST", SPEAKS, &headers));
    assert_eq!((world.browsers[id].continues, world.status(id)), (0, Some(403)));
}

#[test]
fn a_body_that_does_not_come_is_waited_for_no_longer_than_a_handshake() {
    let mut world = World::new(Settings { handshake_timeout_ms: 10_000, ..settings() });
    let id = world.ask(&request("POST", SPEAKS, &[HOST, "Content-Length: 5"]));
    world.send(id, b"hell");
    world.pass(9_900);
    assert_eq!(world.status(id), None);
    world.pass(200);
    assert_eq!(world.status(id), Some(408));
    let id = world.ask(&request("POST", SPEAKS, &[HOST, "Content-Length: 5"]));
    world.hang_up(id);
    assert_eq!((world.metrics().conns, world.metrics().messages_in_total), (0, 0));
}

#[test]
fn who_says_more_than_may_be_said_is_told_so_by_whatever_connection() {
    let mut world = World::new(Settings { message_rate: 3, ..settings() });
    let from = |world: &mut World, address: &str| {
        let id = world.accept_from(address);
        world.send(id, &post(SPEAKS, b"hello", &[]));
        world.run();
        (world.status(id), world.response(id).header("Retry-After").map(str::to_owned))
    };
    for address in ["192.0.2.1", "192.0.2.2"] {
        for _ in 0..3 {
            assert_eq!(from(&mut world, address), (Some(202), None));
        }
        assert_eq!(from(&mut world, address), (Some(429), Some("1".to_owned())));
    }
    world.pass(1_000);
    assert_eq!(from(&mut world, "192.0.2.1").0, Some(202));
    assert_eq!(world.metrics().hasty_total, 2);
}

#[test]
fn whoever_is_logged_in_has_a_rate_of_their_own_wherever_they_are() {
    let mut world = World::new(Settings { message_rate: 3, ..by_session() });
    let from = |world: &mut World, address: &str, name: &str| {
        let session = format!(r#"{{"wsloop:username": "{name}"}}"#);
        world.redis.set(&format!("session:{name}s-key"), &session);
        let cookie = format!("Cookie: sessionid={name}s-key");
        let headers = [&*cookie, "Sec-Fetch-Site: same-origin"];
        let id = world.accept_from(address);
        world.send(id, &post("/ws/foo?publish-user", b"hello", &headers));
        world.run();
        world.status(id)
    };
    for n in 0..3 {
        assert_eq!(from(&mut world, &format!("192.0.2.{n}"), "john"), Some(202));
    }
    assert_eq!(from(&mut world, "192.0.2.9", "john"), Some(429));
    // Others at an address of John's have theirs.
    assert_eq!(from(&mut world, "192.0.2.1", "mary"), Some(202));
}

#[test]
fn an_answer_waits_for_the_brokers() {
    let mut world = World::new(with_redis());
    let hearer = world.open(HEARS);
    world.redis.paused = true;
    let id = world.ask(&post(SPEAKS, b"hello", &[]));
    assert_eq!(world.status(id), None);
    world.redis.paused = false;
    world.run();
    assert_eq!((world.status(id), world.texts(hearer)), (Some(202), vec!["hello".to_owned()]));
    // The broker does not want it.
    world.redis.deny("PUBLISH", CHANNEL.to_owned());
    let id = world.ask(&post(SPEAKS, b"hello", &[]));
    assert_eq!(world.status(id), Some(503));
    assert!(world.response(id).text().contains("not let"));
    let id = world.ask(&post("/ws/bar?publish-broadcast", b"hello", &[]));
    assert_eq!(world.status(id), Some(202), "that is another channel");
    world.redis.allow_all();
    // It goes away in between.
    world.redis.paused = true;
    let id = world.ask(&post(SPEAKS, b"hello", &[]));
    world.cut_redis();
    assert_eq!(world.status(id), Some(503));
    assert!(world.response(id).text().contains("not known"), "{:?}", world.response(id));
    world.server.check_invariants();
}

#[test]
fn a_message_waits_for_a_broker_that_is_dialed_and_no_other() {
    let mut world = World::new(with_redis());
    world.kill_redis();
    world.pass(20_000);
    let id = world.ask(&post(SPEAKS, b"hello", &[]));
    world.pass(20_000);
    let response = world.response(id);
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("5")));
    world.revive_redis();
    world.pass(10_000);
    let id = world.ask(&post(SPEAKS, b"hello", &[]));
    assert_eq!(world.status(id), Some(202));
}

#[test]
fn who_has_ended_its_side_is_answered_all_the_same() {
    for settings in [settings(), with_redis()] {
        let mut world = World::new(settings);
        let hearer = world.open(HEARS);
        world.redis.paused = true;
        let id = world.accept();
        world.browsers[id].polite = false;
        world.send(id, &post(SPEAKS, b"hello", &[]));
        world.hang_up(id);
        world.redis.paused = false;
        world.run();
        assert_eq!((world.status(id), world.texts(hearer)), (Some(202), vec!["hello".to_owned()]));
        assert!(world.browsers[id].closed_ms.is_some());
    }
}

#[test]
fn the_end_of_the_server_waits_for_the_brokers_answer() {
    let mut world = World::new(with_redis());
    world.redis.paused = true;
    let published = world.ask(&post(SPEAKS, b"hello", &[]));
    let begun = world.ask(&request("POST", SPEAKS, &[HOST, "Content-Length: 5"]));
    world.shut_down();
    assert_eq!((world.status(published), world.status(begun)), (None, Some(503)));
    world.redis.paused = false;
    world.run();
    assert_eq!(world.status(published), Some(202));
    assert_eq!(world.response(published).header("Connection"), Some("close"));
    assert!(world.server.is_done());
}
