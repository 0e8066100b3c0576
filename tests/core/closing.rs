//! The core without sockets: a close that we begin is a handshake.

use crate::world::*;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Refuse, Settings};

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const SPEAKS: &str = "/ws/foo?publish-broadcast";

fn close(code: u16) -> Vec<u8> {
    masked(Opcode::Close, &code.to_be_bytes())
}

fn codes(world: &mut World, id: BrowserId) -> Vec<Option<u16>> {
    let code = |heard| match heard {
        Heard::Close(code, _) => Some(code),
        _ => None,
    };
    world.heard(id).into_iter().filter_map(code).collect()
}

/// A browser that does nothing by itself, and that we have begun to close, each for its reason.
fn closed(code: u16) -> (World, BrowserId) {
    let limits = Settings { max_message_size: 1000, outbox_limit: 4_000, ..settings() };
    let mut world = match code {
        4403 => World::new(Settings { refuse: Refuse::Close, ..limits }),
        _ => World::new(limits),
    };
    if code == 4403 {
        let id = world.accept();
        world.browsers[id].polite = false;
        world.send(id, &upgrade(HEARS, &["Origin: http://elsewhere.com"]));
        world.run();
        return (world, id);
    }
    let id = world.open(HEARS);
    world.browsers[id].polite = false;
    match code {
        1001 => world.shut_down(),
        1002 => world.send(id, &[0x83, 0x82, 1, 2, 3, 4, 0x88, 0x80]),
        1007 => world.send(id, &masked(Opcode::Text, b"\xff")),
        1008 => {
            let speaker = world.open(SPEAKS);
            world.stall(id, 0);
            (0..10).for_each(|_| world.say(speaker, &"x".repeat(900)));
            world.resume(id);
        }
        1009 => world.send(id, &masked(Opcode::Binary, &[0x88; 3000])[..100]),
        _ => unreachable!("{code}"),
    }
    world.run();
    (world, id)
}

const CODES: [u16; 6] = [1001, 1002, 1007, 1008, 1009, 4403];

#[test]
fn a_socket_is_not_shut_before_the_browser_has_answered_our_close() {
    for code in CODES {
        let (mut world, id) = closed(code);
        assert_eq!(codes(&mut world, id), [Some(code)]);
        assert_eq!(world.browsers[id].shut_ms(), None, "{code}: shut before the answer");
        if code == 1009 {
            world.send(id, &masked(Opcode::Binary, &[0x88; 3000])[100..]);
        }
        world.send(id, &masked(Opcode::Text, &[b'x'; 200]));
        world.send(id, &masked(Opcode::Ping, b"nobody answers"));
        world.run();
        assert_eq!(world.browsers[id].shut_ms(), None, "{code}: shut by something else");
        world.pass(1_000);
        world.send(id, &close(code));
        world.run();
        assert_eq!(world.browsers[id].shut_ms(), Some(world.now_ms), "{code}: not shut at once");
        let closed_ms = world.browsers[id].closed_ms;
        assert_eq!((world.heard(id), closed_ms), (vec![], Some(world.now_ms)), "{code}");
    }
}

#[test]
fn an_answer_to_our_close_is_found_however_it_is_cut() {
    let bytes = [masked(Opcode::Text, &[b'x'; 130]), close(1000)].concat();
    for cut in 1..bytes.len() {
        let (mut world, id) = closed(1001);
        world.send(id, &bytes[..cut]);
        world.run();
        let begun = bytes.len() - 8 + 2;
        assert_eq!(world.browsers[id].shut_ms().is_some(), cut >= begun, "cut at {cut}");
        world.send(id, &bytes[cut..]);
        world.run();
        assert!(world.browsers[id].shut_ms().is_some(), "cut at {cut}");
    }
}

#[test]
fn who_does_not_answer_our_close_is_closed_after_a_while_and_who_hangs_up_at_once() {
    for code in CODES {
        let (mut world, id) = closed(code);
        let begun_ms = world.now_ms;
        world.pass(4_900);
        assert_eq!(world.browsers[id].closed_ms, None, "{code}");
        world.pass(200);
        let closed_ms = world.browsers[id].closed_ms.expect("it is closed");
        assert!((5_000..=5_050).contains(&(closed_ms - begun_ms)), "{code}");
        assert_eq!(world.browsers[id].finished_ms, None, "{code}");

        let (mut world, id) = closed(code);
        world.hang_up(id);
        assert_eq!(world.browsers[id].closed_ms, Some(world.now_ms), "{code}");
    }
}

#[test]
fn a_close_that_lay_behind_what_a_turn_had_time_for_is_the_answer() {
    let mut world = World::new(settings());
    let id = world.open(HEARS);
    world.browsers[id].polite = false;
    let many: Vec<u8> = (0..200).flat_map(|_| masked(Opcode::Pong, b"")).collect();
    world.send(id, &[many, close(1000)].concat());
    world.turn();
    world.shut_down();
    assert_eq!(codes(&mut world, id), [Some(1001)]);
    assert_eq!(world.browsers[id].shut_ms(), Some(world.now_ms));
}

#[test]
fn a_close_that_is_wrong_is_answered_and_no_other_is_waited_for() {
    for payload in [&b"\x03"[..], b"\x03\xed", b"\x03\xe8\xff"] {
        let mut world = World::new(settings());
        let id = world.open(HEARS);
        world.browsers[id].polite = false;
        world.send(id, &masked(Opcode::Close, payload));
        world.run();
        assert_eq!(world.browsers[id].shut_ms(), Some(world.now_ms), "{payload:x?}");
    }
}

#[test]
fn what_came_with_a_handshake_that_is_refused_by_closing_is_passed_over() {
    let mut world = World::new(Settings { refuse: Refuse::Close, ..settings() });
    let head = upgrade(HEARS, &["Origin: http://elsewhere.com"]);
    let early = masked(Opcode::Text, &[0x88; 90]);
    for cut in [0, 1, 5, early.len()] {
        let id = world.accept();
        world.browsers[id].polite = false;
        world.send(id, &[&head, &early[..cut]].concat());
        world.send(id, &early[cut..]);
        world.run();
        assert_eq!(world.browsers[id].shut_ms(), None);
        world.send(id, &close(4403));
        world.run();
        assert_eq!(world.browsers[id].shut_ms(), Some(world.now_ms), "cut at {cut}");
    }
}
