//! The core without sockets: compressed messages in both directions, and the echo.

use crate::world::*;
use wsloop::proto::ws::deflate::{Compression, Deflater, Window};
use wsloop::proto::ws::frame::Opcode;
use wsloop::{CompressionFor, Settings};

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const BOTH: &str = "/ws/foo?subscribe-broadcast&publish-broadcast&echo";
const CHANNEL: &str = "broadcast:foo";
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";
const SHARED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn with_echo() -> Settings {
    Settings { echo_path: Some("/echo".to_string()), ..settings() }
}

/// A browser with a WebSocket that compresses, or as the offer says.
fn open_with(world: &mut World, target: &str, offer: &str) -> BrowserId {
    let id = world.ask(&upgrade(target, &[offer]));
    assert_eq!(world.status(id), Some(101), "{target}");
    id
}

fn extensions(world: &World, id: BrowserId) -> Option<&str> {
    world.response(id).header("Sec-WebSocket-Extensions")
}

/// A browser's frame with RSV1.
fn compressed(opcode: Opcode, message: &[u8]) -> Vec<u8> {
    let mut deflater = Deflater::default();
    let mut frame = masked(opcode, deflater.compress(message, 15).expect("smaller"));
    frame[0] |= 0x40;
    frame
}

fn long_text(number: usize) -> String {
    format!("{{\"number\":{number}}},").repeat(100)
}

#[test]
fn what_is_answered_is_what_the_settings_say() {
    let dedicated = "permessage-deflate; client_max_window_bits=10";
    for (compression, answer) in [
        (Compression::Off, None),
        (Compression::Shared, Some(SHARED)),
        (Compression::Dedicated, Some(dedicated)),
    ] {
        let mut world = World::new(Settings { compression, ..settings() });
        let id = open_with(&mut world, HEARS, OFFER);
        assert_eq!(extensions(&world, id), answer);
        let id = open_with(&mut world, HEARS, "Sec-WebSocket-Extensions: permessage-deflate; x");
        assert_eq!(extensions(&world, id), None);
        let id = world.open(HEARS);
        assert_eq!(extensions(&world, id), None);
    }
}

#[test]
fn clients_that_are_no_browsers_may_be_given_none() {
    let agents = ["User-Agent: Mozilla/5.0 (X11)", "User-Agent: Tornado/6.6"];
    for (compression_for, line, compresses) in [
        (CompressionFor::All, agents[1], true),
        (CompressionFor::All, "X: y", true),
        (CompressionFor::Browsers, "Origin: http://example.com", true),
        (CompressionFor::Browsers, "Sec-Fetch-Mode: websocket", true),
        (CompressionFor::Browsers, agents[0], true),
        (CompressionFor::Browsers, agents[1], false),
        (CompressionFor::Browsers, "X: y", false),
    ] {
        let mut world = World::new(Settings { compression_for, ..settings() });
        let id = world.ask(&upgrade(HEARS, &[OFFER, line]));
        assert_eq!(extensions(&world, id), compresses.then_some(SHARED), "{line}");
    }
}

/// The smallest window there is: the client is told to keep to it, and what it then refers to is
/// found.
#[test]
fn a_client_may_have_a_window_of_256_bytes() {
    let mut world = World::new(Settings { compression: Compression::Dedicated, ..settings() });
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=8";
    let id = open_with(&mut world, BOTH, offer);
    assert_eq!(extensions(&world, id), Some("permessage-deflate; client_max_window_bits=8"));
    let (mut deflater, mut window) = (Deflater::default(), Window::new(8));
    let text = "two hundred and fifty-six bytes are remembered".repeat(2);
    for _ in 0..20 {
        let message = deflater.compress_after(text.as_bytes(), &mut window).expect("smaller");
        let mut frame = masked(Opcode::Text, message);
        frame[0] |= 0x40;
        world.send(id, &frame);
    }
    world.run();
    assert_eq!(world.texts(id), vec![text; 20]);
}

#[test]
fn a_delivery_to_a_thousand_is_compressed_once() {
    for redis in [false, true] {
        let mut world = World::new(if redis { with_redis() } else { settings() });
        let small = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9";
        let many: Vec<BrowserId> = (0..1000).map(|_| open_with(&mut world, HEARS, OFFER)).collect();
        let plain = world.open(HEARS);
        let speaker = world.open("/ws/foo?publish-broadcast");
        let text = long_text(7);
        world.say(speaker, &text);
        assert_eq!(world.metrics().compressions_total, 1);
        assert_eq!(world.metrics().messages_out_total, 1001);
        for id in &many {
            assert_eq!(world.texts(*id), [text.as_str()]);
            assert!(world.browsers[*id].taken < text.len() / 2, "it went out compressed");
        }
        assert_eq!(world.texts(plain), [text.as_str()]);
        // Once more for another size of window, and for a binary frame not at all.
        let binary = open_with(&mut world, "/ws/foo?subscribe-broadcast&binary", OFFER);
        let narrow = open_with(&mut world, HEARS, small);
        let stored = world.metrics().compressions_total;
        world.heard(binary);
        world.heard(narrow);
        world.say(speaker, &text);
        assert_eq!(world.metrics().compressions_total, stored + 2);
        assert_eq!(world.heard(binary), [Heard::Binary(text.clone().into_bytes())]);
        assert_eq!(world.texts(narrow), [text.as_str()]);
        assert_eq!(world.texts(many[999]), [text.as_str()]);
        // What is small goes out as it is.
        world.say(speaker, "small");
        assert_eq!(world.metrics().compressions_total, stored + 2);
        assert_eq!(world.texts(many[0]), [text.as_str(), "small"]);
    }
}

#[test]
fn the_stored_message_is_compressed_too() {
    let mut world = World::new(with_redis());
    let text = long_text(1);
    world.publish(CHANNEL, &text);
    let id = open_with(&mut world, HEARS, OFFER);
    assert_eq!(world.texts(id), [text.as_str()]);
    assert_eq!(world.metrics().compressions_total, 1);
}

#[test]
fn dedicated_conns_are_each_told_in_terms_of_what_they_heard() {
    let mut world = World::new(Settings { compression: Compression::Dedicated, ..settings() });
    let speaker = open_with(&mut world, "/ws/foo?publish-broadcast", OFFER);
    let early = open_with(&mut world, HEARS, OFFER);
    let alone = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover";
    let alone: Vec<BrowserId> = (0..2).map(|_| open_with(&mut world, HEARS, alone)).collect();
    let texts: Vec<String> = (0..20).map(long_text).collect();
    for (n, text) in texts.iter().enumerate() {
        world.say(speaker, text);
        assert_eq!(world.metrics().compressions_total, 2 * (n as u64 + 1));
    }
    assert_eq!(world.texts(early), texts);
    assert_eq!(world.texts(alone[0]), texts);
    assert_eq!(world.texts(alone[1]), texts);
    let (taken, without) = (world.browsers[early].taken, world.browsers[alone[0]].taken);
    assert!(taken * 10 < without * 9, "{taken} {without}");
    // Whoever takes the place of one that left starts anew.
    world.vanish(early);
    let late = open_with(&mut world, HEARS, OFFER);
    assert_eq!(world.browsers[late].link.index, world.browsers[early].link.index);
    world.heard(late);
    world.say(speaker, &texts[3]);
    assert_eq!(world.texts(late), [texts[3].as_str()]);
}

#[test]
fn a_long_message_is_compressed_once_for_dedicated_conns_too() {
    let mut world = World::new(Settings { compression: Compression::Dedicated, ..settings() });
    let hearers: Vec<BrowserId> = (0..50).map(|_| open_with(&mut world, HEARS, OFFER)).collect();
    let speaker = world.open("/ws/foo?publish-broadcast");
    // What follows a long message may refer to it, and to what came before it.
    let long = (0..2000).map(|n| format!("{n},")).collect::<String>();
    let random: String = (0..6000u32).map(|n| char::from(b'!' + (n * n % 89) as u8)).collect();
    let said = [long_text(1), long, long_text(1), random.clone(), long_text(2), random, "x".into()];
    let mut compressions = Vec::new();
    for text in &said {
        let before = world.metrics().compressions_total;
        world.say(speaker, text);
        compressions.push(world.metrics().compressions_total - before);
    }
    assert_eq!(compressions, [50, 1, 50, 1, 50, 1, 0]);
    for hearer in hearers {
        assert_eq!(world.texts(hearer), said);
    }
}

#[test]
fn compressed_messages_are_published_as_what_they_say() {
    let mut world = World::new(with_redis());
    let id = open_with(&mut world, BOTH, OFFER);
    let text = long_text(3);
    let frame = compressed(Opcode::Text, text.as_bytes());
    for piece in frame.chunks(7) {
        world.send(id, piece);
    }
    world.run();
    assert_eq!(world.texts(id), [text.as_str()]);
    assert_eq!(world.metrics().messages_in_total, 1);
}

#[test]
fn a_bomb_is_closed_with_1009_and_bad_data_with_1007() {
    let bomb = compressed(Opcode::Binary, &vec![0; 8 << 20]);
    let mut bad = masked(Opcode::Text, b"\x06");
    bad[0] |= 0x40;
    let mut unagreed = World::new(Settings { compression: Compression::Off, ..settings() });
    let id = open_with(&mut unagreed, BOTH, OFFER);
    unagreed.send(id, &bad);
    unagreed.run();
    assert!(matches!(unagreed.heard(id)[..], [Heard::Close(Some(1002), _)]));
    for (frame, code) in [(bomb, 1009), (bad, 1007)] {
        let mut world = World::new(settings());
        let id = open_with(&mut world, BOTH, OFFER);
        world.send(id, &frame);
        world.run();
        assert!(matches!(world.heard(id)[..], [Heard::Close(Some(sent), _)] if sent == code));
        assert_eq!(world.metrics().protocol_errors_total, 1);
        assert_eq!(world.metrics().messages_in_total, 0);
    }
}

/// A read of 64 KiB can be 64 MiB of messages: a turn takes a part, and the rest comes after it.
#[test]
fn what_a_read_inflates_to_is_spread_over_turns() {
    let mut world = World::new(with_echo());
    let id = open_with(&mut world, "/echo", OFFER);
    let frame = compressed(Opcode::Binary, &vec![0; 1 << 20]);
    world.send(id, &frame.repeat(60));
    world.turn();
    let first = world.metrics().messages_in_total;
    assert!((1..=17).contains(&first), "{first}");
    world.run();
    assert_eq!(world.heard(id).len(), 60);
    assert_eq!(world.metrics().messages_out_total, 60);
}

#[test]
fn an_echo_gives_every_message_back_with_its_type_through_no_broker() {
    let dedicated = Settings { compression: Compression::Dedicated, ..with_echo() };
    let down = Settings { broker: with_redis().broker, ..with_echo() };
    for (settings, offer) in
        [(with_echo(), "X: y"), (with_echo(), OFFER), (dedicated, OFFER), (down, OFFER)]
    {
        let mut redis = FakeRedis::new();
        redis.reach = Reach::Refuses;
        let mut world = World::around(settings, redis);
        let id = open_with(&mut world, "/echo?any=thing", offer);
        let long = long_text(5);
        for text in ["", "grüße", &long, &long] {
            world.say(id, text);
            assert_eq!(world.texts(id), [text]);
        }
        world.send_frame(id, Opcode::Binary, b"");
        world.send_frame(id, Opcode::Binary, b"text, but not said so");
        world.send_frame(id, Opcode::Ping, b"!");
        let text = Heard::Binary(b"text, but not said so".to_vec());
        let expected = [Heard::Binary(Vec::new()), text, Heard::Pong(b"!".to_vec())];
        assert_eq!(world.heard(id), expected);
        if offer == OFFER {
            world.send(id, &compressed(Opcode::Binary, long.as_bytes()));
            world.run();
            assert_eq!(world.heard(id), [Heard::Binary(long.clone().into_bytes())]);
        }
        let metrics = world.metrics();
        assert_eq!(metrics.messages_in_total, metrics.messages_out_total);
        assert_eq!((metrics.publishes_total, metrics.publishes_unrouted_total), (0, 0));
        world.send_frame(id, Opcode::Close, &1000_u16.to_be_bytes());
        assert_eq!(world.heard(id), [Heard::Close(Some(1000), String::new())]);
    }
}

#[test]
fn an_echo_obeys_the_limits_and_is_where_it_is_and_nowhere_else() {
    let mut world = World::new(Settings { max_message_size: 1000, ..with_echo() });
    let id = world.open("/echo");
    world.send_frame(id, Opcode::Binary, &[0; 1000]);
    assert_eq!(world.heard(id), [Heard::Binary(vec![0; 1000])]);
    world.send_frame(id, Opcode::Binary, &[0; 1001]);
    assert!(matches!(world.heard(id)[..], [Heard::Close(Some(1009), _)]));
    for (target, more, status) in [
        ("/echo", &["Origin: http://elsewhere"][..], 403),
        ("/echo/", &[], 404),
        ("/Echo", &[], 404),
        ("/%65cho", &[], 404),
    ] {
        let id = world.ask(&upgrade(target, more));
        assert_eq!(world.status(id), Some(status), "{target}");
    }
    let id = world.ask(&request("GET", "/echo", &["Host: example.com"]));
    assert!(world.response(id).text().contains("speaks WebSocket"));
    let mut off = World::new(settings());
    let id = off.ask(&upgrade("/echo", &[]));
    assert_eq!(off.status(id), Some(404));
    // Whoever does not read what comes back is closed, like anybody.
    let mut world = World::new(Settings { outbox_limit: 100_000, ..with_echo() });
    let id = world.open("/echo");
    world.stall(id, 0);
    for _ in 0..20 {
        world.send_frame(id, Opcode::Binary, &[0; 10_000]);
    }
    assert_eq!(world.metrics().slow_total, 1);
}
