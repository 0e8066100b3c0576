//! A stream hears what a WebSocket would.

use super::*;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Overflows, Settings};

#[test]
fn a_stream_hears_what_a_websocket_of_the_same_url_hears() {
    let messages: [&[u8]; 8] = [
        b"one",
        b"two\nlines",
        b"\n",
        b" blank",
        b"a\rcr",
        b"\xff\x00",
        b"data: x\n\nid: 1",
        b"{}",
    ];
    for settings in [settings(), with_redis()] {
        let mut world = World::new(settings);
        let speaker = world.open(SPEAKS);
        world.say(speaker, "stored");
        for url in [HEARS, "/ws/foo?subscribe-broadcast&binary"] {
            let (socket, stream) = (world.open(url), stream(&mut world, url));
            for message in messages {
                world.send_frame(speaker, Opcode::Binary, message);
            }
            let heard = world.heard(socket);
            assert_eq!(heard.len(), 9, "{heard:?}");
            assert_eq!(world.heard(stream), heard, "{url}");
            world.say(speaker, "stored");
        }
        world.server.check_invariants();
    }
}

#[test]
fn its_head_says_what_it_is_and_what_is_granted() {
    let mut world = World::new(with_redis());
    let id = stream(&mut world, HEARS);
    let response = world.response(id);
    for (name, value) in [
        ("Content-Type", Some("text/event-stream")),
        ("Cache-Control", Some("no-store, no-transform")),
        ("X-Accel-Buffering", Some("no")),
        ("X-Wsloop-Granted", Some("subscribe-broadcast")),
        ("Connection", Some("close")),
        ("Content-Length", None),
        ("Transfer-Encoding", None),
        ("Access-Control-Allow-Origin", None),
        ("Vary", Some("Origin")),
    ] {
        assert_eq!(response.header(name), value, "{name}");
    }
    let metrics = world.metrics();
    assert_eq!((metrics.streams, metrics.streams_total, metrics.conns_open), (1, 1, 1));
    assert_eq!((metrics.handshakes_total, metrics.handshakes_pending), (0, 0));
    world.hang_up(id);
    let metrics = world.metrics();
    assert_eq!((metrics.streams, metrics.conns, metrics.channels), (0, 0, 0));
}

#[test]
fn what_is_no_request_for_a_stream_is_answered_as_ever() {
    for (status, bytes) in [
        (426, request("GET", "/ws/foo", &[HOST])),
        (426, request("GET", "/ws/foo", &[HOST, "Accept: */*"])),
        (426, request("GET", "/ws/foo", &[HOST, "Accept: text/*"])),
        (426, request("GET", "/ws/foo", &[HOST, "Accept: text/event-stream;q=0"])),
        (426, request("GET", "/ws/foo", &[HOST, "Accept: text/event-stream; q=0.000"])),
        (405, request("PUT", "/ws/foo", &[HOST, EVENTS])),
        (405, request("OPTIONS", "/ws/foo", &[HOST, EVENTS])),
        (400, request("POST", "/ws/foo", &[HOST, EVENTS])),
        (400, request("POST", HEARS, &[HOST])),
        (400, request("POST", "/ws/foo?echo&binary&gaps", &[HOST])),
        (404, request("GET", "/elsewhere", &[HOST, EVENTS])),
        (101, upgrade("/ws/foo", &[EVENTS])),
        (200, request("GET", "/ws/foo", &[HOST, "accept: text/html, Text/Event-Stream;q=0.5"])),
        (400, request("GET", "/ws/foo", &[EVENTS])),
        (400, asks("/ws/foo?subscribe-brodcast", &[])),
        (400, asks("/ws/a:b?subscribe-user", &[])),
        (414, asks(&format!("/ws/{}", "x".repeat(513)), &[])),
    ] {
        let mut world = World::new(settings());
        let id = world.ask(&bytes);
        assert_eq!(world.status(id), Some(status), "{:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn old_http_has_streams_too_and_head_is_told_of_them() {
    let mut world = World::new(with_redis());
    let text = format!("GET {HEARS} HTTP/1.0\r\n{HOST}\r\n{EVENTS}\r\n\r\n");
    let old = world.ask(text.as_bytes());
    assert_eq!(world.status(old), Some(200));
    world.publish(CHANNEL, "hello");
    assert_eq!(world.texts(old), ["hello"]);
    let id = world.accept();
    world.browsers[id].bare = true;
    world.send(id, &request("HEAD", HEARS, &[HOST, EVENTS]));
    world.run();
    assert_eq!(world.status(id), Some(200));
    assert_eq!(world.response(id).header("X-Wsloop-Granted"), Some("subscribe-broadcast"));
    assert!(world.browsers[id].closed_ms.is_some(), "that is all");
    assert_eq!(world.metrics().streams_total, 1);
}

#[test]
fn comments_keep_an_idle_stream_in_use_and_nothing_is_awaited_for_them() {
    for (ping_interval_ms, heartbeat, every_ms) in [
        (30_000, None, 30_000),
        (1_000, None, 1_000),
        (0, Some(b"hb".to_vec()), 3_900),
        (30_000, Some(b"hb".to_vec()), 3_900),
    ] {
        let mut world = World::new(Settings { ping_interval_ms, heartbeat, ..settings() });
        let id = stream(&mut world, HEARS);
        world.pass(10 * every_ms + every_ms / 2);
        assert_eq!(world.heard(id), vec![Heard::Ping(Vec::new()); 10], "every {every_ms} ms");
        assert_eq!(world.metrics().pong_timeouts_total, 0);
    }
    let mut world = World::new(settings());
    let id = stream(&mut world, HEARS);
    world.pass(1_000_000);
    assert_eq!((world.heard(id), world.metrics().streams), (vec![], 1));
}

#[test]
fn what_is_sent_on_a_stream_is_passed_over_and_its_end_is_the_end() {
    let mut world = World::new(settings());
    let mut bytes = asks(HEARS, &[]);
    bytes.extend(asks(HEARS, &[]));
    let id = world.ask(&bytes);
    let speaker = world.open(SPEAKS);
    for _ in 0..100 {
        world.send(id, &[0x81; 1000]);
        world.send(id, &asks(HEARS, &[]));
        world.run();
    }
    world.say(speaker, "hello");
    assert_eq!(world.texts(id), ["hello"]);
    assert_eq!(world.metrics().protocol_errors_total, 0);
    assert_eq!(world.metrics().messages_in_total, 1);
    world.hang_up(id);
    assert!(world.browsers[id].closed_ms.is_some());
    assert_eq!((world.metrics().streams, world.metrics().conns), (0, 1));
    // What waits for it may still go out.
    let id = stream(&mut world, HEARS);
    world.stall(id, 3);
    world.say(speaker, "bye");
    world.hang_up(id);
    assert_eq!((world.metrics().streams, world.browsers[id].closed_ms), (0, None));
    world.resume(id);
    let heard = world.heard(id);
    assert_eq!(heard, ["hello", "bye"].map(|text| Heard::Text(text.to_owned())));
    assert!(world.browsers[id].closed_ms.is_some());
}

#[test]
fn who_reads_too_slowly_is_told_why_it_ends_or_skips() {
    for (latest, code) in [(false, Some(1008)), (true, None)] {
        let overflows = if latest { "*=latest" } else { "" };
        let overflows = Overflows::parse(overflows).expect("a list");
        let mut world = World::new(Settings { outbox_limit: 2_000, overflows, ..settings() });
        let (slow, speaker) = (stream(&mut world, HEARS), world.open(SPEAKS));
        world.stall(slow, 0);
        for n in 0..100 {
            world.say(speaker, &format!("{n}\n{}", "x".repeat(90)));
        }
        world.resume(slow);
        world.say(speaker, "after");
        let heard = world.heard(slow);
        match code {
            Some(code) => {
                let Some(Heard::Close(Some(said), _)) = heard.last() else { panic!("{heard:?}") };
                assert_eq!((*said, heard.len() < 40), (code, true), "{heard:?}");
                assert!(world.browsers[slow].closed_ms.is_some());
            }
            None => {
                let last = heard.len() - 2;
                assert!(heard.len() < 40, "{heard:?}");
                assert!(matches!(&heard[last], Heard::Text(text) if text.starts_with("99\n")));
                assert_eq!(heard[last + 1], Heard::Text("after".to_owned()));
                assert!(world.metrics().superseded_total > 50);
            }
        }
        world.server.check_invariants();
    }
}

/// Messages that arrive together are one run of events, and the last of them is the latest.
#[test]
fn the_last_of_what_arrived_together_is_the_latest() {
    let overflows = Overflows::parse("latest").expect("a list");
    let mut world = World::new(Settings { outbox_limit: 5_000, overflows, ..with_redis() });
    let id = stream(&mut world, HEARS);
    world.stall(id, 5);
    world.publish(CHANNEL, "begun");
    for n in 0..60 {
        world.redis.publish(CHANNEL, format!("{n}\n{}", "x".repeat(98)), 0, world.now_ms);
    }
    world.run();
    assert_eq!((world.metrics().superseded_total, world.metrics().slow_total), (59, 0));
    world.resume(id);
    assert_eq!(world.texts(id), ["begun".to_owned(), format!("59\n{}", "x".repeat(98))]);
}

#[test]
fn when_the_server_ends_streams_are_told_and_do_not_all_come_back_at_one_time() {
    for drain_ms in [0, 10_000] {
        let mut world = World::new(Settings { drain_ms, ..with_redis() });
        let ids: Vec<_> = (0..50).map(|_| stream(&mut world, HEARS)).collect();
        world.shut_down();
        world.pass(drain_ms + 1_000);
        for id in ids {
            let code = if drain_ms > 0 { 1012 } else { 1001 };
            let heard = world.heard(id);
            assert!(matches!(&heard[..], [Heard::Close(Some(said), _)] if *said == code));
            assert!(world.browsers[id].closed_ms.is_some());
        }
        assert_eq!((world.metrics().streams, world.metrics().conns), (0, 0));
        assert!(world.server.is_done());
    }
}

#[test]
fn a_stream_that_asks_for_gaps_is_told_of_an_outage() {
    let mut world = World::new(with_redis());
    let id = stream(&mut world, "/ws/foo?subscribe-broadcast&gaps");
    world.kill_redis();
    world.pass(1_000);
    world.redis.set(CHANNEL, "news");
    world.revive_redis();
    assert_eq!(world.texts(id), ["", "news"]);
}

#[test]
fn while_the_broker_is_away_streams_are_refused_for_the_time_being() {
    let mut world = World::new(with_redis());
    world.kill_redis();
    world.pass(20_000);
    let id = world.ask(&asks(HEARS, &["Origin: http://example.com"]));
    world.pass(20_000);
    let response = world.response(id);
    assert_eq!((response.status, response.header("Retry-After")), (503, Some("5")));
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some("http://example.com"));
    assert_eq!(response.header("Sec-WebSocket-Accept"), None);
}

#[test]
fn one_that_may_not_be_heard_ends_the_stream() {
    let mut world = World::new(with_redis());
    world.redis.deny("SUBSCRIBE", CHANNEL.to_owned());
    let id = world.ask(&asks(HEARS, &[]));
    assert_eq!(world.status(id), Some(503));
    world.server.check_invariants();
}
