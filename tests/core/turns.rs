//! The core without sockets: what a conn may do in one go, and what becomes of the rest.

use std::io::IoSlice;

use crate::world::*;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Settings, Wish};

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const SPEAKS: &str = "/ws/foo?publish-broadcast";
const ECHO: &str = "/echo";

/// Frames of one conn that are looked at in one go.
const GO: u64 = 128;
/// Bytes that are queued before nobody is to be read until some of them have gone out.
const ROOM: usize = 512 << 10;
/// Bytes of pongs that wait for a conn before it rests.
const PONGS: usize = 64 << 10;

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

/// All these frames, one behind the other.
fn frames(opcode: Opcode, payloads: &[String]) -> Vec<u8> {
    payloads.iter().flat_map(|payload| masked(opcode, payload.as_bytes())).collect()
}

/// One message, a character in each fragment.
fn fragments(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, character) in text.char_indices() {
        let opcode = if at == 0 { Opcode::Text } else { Opcode::Continuation };
        let mut frame = masked(opcode, character.to_string().as_bytes());
        frame[0] &= if at + character.len_utf8() < text.len() { 0x7f } else { 0xff };
        bytes.append(&mut frame);
    }
    bytes
}

/// The most messages that came of one thing that the server was told.
fn most_at_once(world: &mut World) -> u64 {
    let calls = world.calls.take().expect("it is watched");
    let counts: Vec<u64> = calls.iter().map(|call| call.messages).collect();
    counts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[test]
fn a_go_takes_so_many_frames_and_the_rest_follow_in_order_and_once() {
    for settings in [settings(), with_redis()] {
        let mut world = World::watched(settings, FakeRedis::new());
        let (speaker, hearer) = (world.open(SPEAKS), world.open(HEARS));
        let texts = numbers(1000);
        // Cut within a frame; the second piece comes while most of the first is still kept.
        let bytes = frames(Opcode::Text, &texts);
        let (first, second) = bytes.split_at(bytes.len() * 2 / 3 + 1);
        world.send(speaker, first);
        world.send(speaker, second);
        world.run();
        assert_eq!(world.texts(hearer), texts);
        assert_eq!(most_at_once(&mut world), GO);
    }
}

#[test]
fn bytes_that_are_handed_in_before_the_rest_was_taken_come_behind_it() {
    let mut world = World::new(settings());
    let (speaker, hearer) = (world.open(SPEAKS), world.open(HEARS));
    let (link, texts) = (world.browsers[speaker].link, numbers(500));
    let now = world.now();
    for part in texts.chunks(250) {
        let bytes = &mut frames(Opcode::Text, part)[..];
        world.server.handle(Input::Received { link, bytes }, now);
    }
    // Two gos there were already.
    for _ in 2..500_u64.div_ceil(GO) {
        assert_eq!(world.server.wish(link), Wish::GoOn);
        world.server.handle(Input::WentOn { link }, now);
    }
    world.run();
    assert_eq!(world.texts(hearer), texts);
}

#[test]
fn fragments_are_frames_of_a_go_too() {
    let limits = Settings { max_fragments: 10_000, ..settings() };
    let mut world = World::watched(limits, FakeRedis::new());
    let (speaker, hearer) = (world.open(SPEAKS), world.open(HEARS));
    let text = numbers(500).concat();
    world.send(speaker, &[fragments(&text), masked(Opcode::Text, b"behind it")].concat());
    let gos = world.calls.as_ref().map_or(0, Vec::len);
    world.run();
    assert_eq!(world.texts(hearer), [text.as_str(), "behind it"]);
    let gos = world.calls.as_ref().map_or(0, Vec::len) - gos;
    assert!(gos > text.len() / GO as usize, "{} fragments in {gos} gos", text.len());
}

#[test]
fn what_was_said_before_the_end_is_heard_however_much_it_was() {
    type End = fn(&mut World, BrowserId);
    let ends: [End; 2] = [
        |world, id| world.send_frame(id, Opcode::Close, b"\x03\xe8"),
        |world, id| world.hang_up(id),
    ];
    for end in ends {
        let mut world = World::new(settings());
        let (speaker, hearer) = (world.open(SPEAKS), world.open(HEARS));
        world.send(speaker, &frames(Opcode::Text, &numbers(1000)));
        end(&mut world, speaker);
        assert_eq!(world.texts(hearer), numbers(1000));
        assert!(world.browsers[speaker].closed_ms.is_some());
        assert_eq!(world.metrics().conns, 1);
    }
}

/// They are kept with the handshake, and nothing more may ever arrive: the server has to say by
/// itself that the conn goes on.
#[test]
fn many_frames_behind_the_request_are_taken_in_gos_when_the_101_goes_out() {
    for settings in [settings(), with_redis()] {
        let mut world = World::watched(settings, FakeRedis::new());
        world.redis.paused = true;
        let texts = numbers(800);
        let request = upgrade("/ws/foo?publish-broadcast&subscribe-broadcast&echo", &[]);
        let id = world.ask(&[request, frames(Opcode::Text, &texts)].concat());
        // With Redis, what lets it go on is the confirmation, which comes over another link.
        world.redis.paused = false;
        world.run();
        assert_eq!((world.status(id), world.texts(id)), (Some(101), texts));
        assert_eq!(most_at_once(&mut world), GO);
    }
}

#[test]
fn who_does_not_read_its_pongs_rests_until_it_has_read_them() {
    let mut world = World::new(settings());
    let (id, other) = (world.open(HEARS), world.open(HEARS));
    let speaker = world.open(SPEAKS);
    world.stall(id, 0);
    let payloads: Vec<String> = (0..5_000).map(|n| format!("{n:0100}")).collect();
    let pieces: Vec<Vec<u8>> =
        payloads.chunks(100).map(|part| frames(Opcode::Ping, part)).collect();
    pieces.iter().for_each(|piece| world.send(id, piece));
    world.run();
    let link = world.browsers[id].link;
    assert_eq!(world.server.wish(link), Wish::Rest);
    assert!(world.browsers[id].sending.len() > 40, "most of it is not read");
    assert!((PONGS / 2..PONGS + pieces[0].len()).contains(&world.waiting(id)));
    world.say(speaker, "somebody else goes on");
    assert_eq!(world.texts(other), ["somebody else goes on"]);
    // A part of them is not all of them.
    world.resume_for(id, 1_000);
    assert_eq!(world.server.wish(link), Wish::Rest);
    world.resume(id);
    let mut heard = world.heard(id);
    heard.retain(|heard| *heard != Heard::Text("somebody else goes on".to_owned()));
    let pongs: Vec<Heard> = payloads.into_iter().map(|text| Heard::Pong(text.into())).collect();
    assert!(heard == pongs, "every ping is answered, once and in order");
    assert_eq!(world.server.wish(link), Wish::Read);
}

#[test]
fn who_never_reads_its_pongs_is_closed_for_not_answering_ours() {
    let mut world = World::new(Settings { ping_interval_ms: 20_000, ..settings() });
    let id = world.open(HEARS);
    world.stall(id, 0);
    let payloads: Vec<String> = (0..2_000).map(|n| format!("{n:0100}")).collect();
    payloads.chunks(100).for_each(|part| world.send(id, &frames(Opcode::Ping, part)));
    world.run();
    world.pass(36_000);
    assert!(world.browsers[id].closed_ms.is_some());
    assert_eq!((world.metrics().pong_timeouts_total, world.metrics().conns), (1, 0));
}

#[test]
fn what_answers_one_read_goes_out_in_order_and_as_one() {
    let mut world = World::new(Settings { echo_path: Some(ECHO.to_string()), ..settings() });
    let id = world.open(ECHO);
    let long = "x".repeat(5_000);
    let said = |long: &str| {
        let texts = ["a", long, "b"].map(|text| masked(Opcode::Text, text.as_bytes()));
        let pings = ["1", "2", "3"].map(|text| masked(Opcode::Ping, text.as_bytes()));
        [&pings[0], &texts[0], &pings[1], &texts[1], &texts[2], &pings[2]].map(Vec::clone).concat()
    };
    let answers = |long: &str| {
        let text = |text: &str| Heard::Text(text.to_owned());
        let pong = |text: &str| Heard::Pong(text.into());
        vec![pong("1"), text("a"), pong("2"), text(long), text("b"), pong("3")]
    };
    // What is long goes out by itself, between what came before and after it.
    for (long, pieces) in [("short", 1), (long.as_str(), 3)] {
        world.stall(id, 0);
        world.send(id, &said(long));
        world.run();
        let mut slices = [IoSlice::new(&[]); 16];
        assert_eq!(world.server.slices(world.browsers[id].link, &mut slices), pieces);
        world.resume(id);
        assert_eq!(world.heard(id), answers(long));
    }
}

/// As a loop does that reads everybody before it writes.
fn read_while_there_is_room(world: &mut World, crowd: &[BrowserId], text: &str) -> usize {
    let now = world.now();
    let is_read = |id: &&BrowserId| {
        let link = world.browsers[**id].link;
        let wish = world.server.wish(link);
        assert!(matches!(wish, Wish::Read | Wish::Later), "{wish:?}");
        if wish == Wish::Read {
            let bytes = &mut masked(Opcode::Text, text.as_bytes())[..];
            world.server.handle(Input::Received { link, bytes }, now);
        }
        wish == Wish::Read
    };
    crowd.iter().filter(is_read).count()
}

#[test]
fn a_crowd_has_no_more_waiting_than_a_turn_may_queue() {
    let mut world = World::new(Settings { echo_path: Some(ECHO.to_string()), ..settings() });
    let crowd: Vec<BrowserId> = (0..100).map(|_| world.open(ECHO)).collect();
    let text = "x".repeat(16 << 10);
    for round in 1..3 {
        let read = read_while_there_is_room(&mut world, &crowd, &text);
        let waiting: usize = crowd.iter().map(|id| world.waiting(*id)).sum();
        assert!((ROOM..ROOM + text.len() + 14).contains(&waiting), "{waiting}");
        world.run();
        let heard: Vec<String> = crowd.iter().flat_map(|id| world.texts(*id)).collect();
        assert!(heard.iter().all(|heard| *heard == text));
        assert_eq!(heard.len(), read, "in round {round}");
    }
}

/// Whoever does not read has its own limits, and whoever hears holds no bytes of its own.
#[test]
fn what_waits_for_a_stalled_conn_or_for_many_takes_no_ones_room() {
    let mut world = World::new(Settings { echo_path: Some(ECHO.to_string()), ..settings() });
    let (stalled, speaker) = (world.open(ECHO), world.open(SPEAKS));
    let hearers: Vec<BrowserId> = (0..100).map(|_| world.open(HEARS)).collect();
    let text = "x".repeat(60 << 10);
    world.stall(stalled, 0);
    for _ in 0..2 * ROOM / text.len() {
        world.say(stalled, &text);
    }
    assert!(world.waiting(stalled) > ROOM);
    let crowd = [speaker; 100];
    let read = read_while_there_is_room(&mut world, &crowd, &text);
    assert_eq!(read, ROOM.div_ceil(text.len()));
    world.run();
    assert!(hearers.iter().all(|id| world.texts(*id).len() == read));
}

/// A loop may stop within a link, for its time is up, and say that it can be written to.
#[test]
fn a_link_that_the_loop_stopped_writing_to_goes_on_where_it_was() {
    for settings in [settings(), with_redis()] {
        let mut world = World::new(settings);
        let (speaker, hearer) = (world.open(SPEAKS), world.open(HEARS));
        let texts: Vec<String> = (0..100).map(|n| format!("{n:05000}")).collect();
        let bytes = frames(Opcode::Text, &texts);
        world.pulls = 1;
        world.send(speaker, &bytes);
        world.run();
        assert_eq!(world.texts(hearer), texts);
        assert_eq!(world.metrics().slow_total, 0);
    }
}

fn with_echo() -> Settings {
    Settings { echo_path: Some(ECHO.to_string()), ..settings() }
}

#[test]
fn the_rest_of_a_large_message_is_put_where_it_is_put_together_and_comes_back() {
    let mut world = World::new(with_echo());
    let browser = world.open(ECHO);
    let link = world.browsers[browser].link;
    let text = "κόσμε, ".repeat(20_000);
    let bytes = masked(Opcode::Text, text.as_bytes());
    let (first, rest) = bytes.split_at(64 << 10);
    world.send(browser, first);
    world.run();
    assert_eq!(world.server.wish(link), Wish::Fill);
    let now = world.now();
    let mut rest = rest;
    while let Some(room) = world.server.room(link, 0) {
        let len = rest.len().min(room.capacity() - room.len()).min(10_001);
        room.extend_from_slice(&rest[..len]);
        rest = &rest[len..];
        world.server.handle(Input::Filled { link, bytes: len }, now);
    }
    // Less is to come than is worth it, and whatever is behind it comes with it.
    assert!(rest.len() < 4 << 10, "{}", rest.len());
    assert_eq!(world.server.wish(link), Wish::Read);
    let behind = masked(Opcode::Text, b"behind");
    world.send(browser, &[rest, &behind].concat());
    world.run();
    assert_eq!(world.texts(browser), [text, "behind".to_owned()]);
}

#[test]
fn what_is_put_into_a_room_is_a_sign_of_life() {
    let mut world = World::new(Settings { ping_interval_ms: 3_000, ..with_echo() });
    let browser = world.open(ECHO);
    let bytes = masked(Opcode::Binary, &[7; 100_000]);
    for piece in bytes.chunks(9_000) {
        world.send(browser, piece);
        world.run();
        world.pass(2_000);
    }
    assert_eq!(world.metrics().pings_total, 0);
}
