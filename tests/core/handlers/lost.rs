//! What becomes of conns whose application is lost.

use super::*;

#[test]
fn its_conns_are_closed_with_1012_and_handshakes_refused_until_the_next_is_there() {
    let mut world = greeted(dialed(false));
    let (id, conn) = open(&mut world, "/");
    world.handlers.reach = Reach::Refuses;
    world.lose_handler();
    assert_eq!(world.heard(id), [close(1012, "the application has gone")]);
    let refused = world.knock("/");
    assert_eq!(world.status(refused), Some(503));
    assert!(world.response(refused).header("retry-after").is_some());
    assert_eq!(world.metrics().handler_lost_total, 1);
    world.handlers.reach = Reach::Answers;
    world.pass(10_000);
    world.greet();
    world.frames();
    let (_, other) = open(&mut world, "/");
    assert_ne!(conn, other);
}

#[test]
fn dials_come_after_pauses_that_grow() {
    let mut world = World::new(dialed(false));
    world.greet();
    world.handlers.reach = Reach::Refuses;
    world.lose_handler();
    world.pass(60_000);
    let dials = world.handlers.links.len();
    assert!((14..30).contains(&dials), "{dials} dials in a minute");
    assert_eq!(world.metrics().handler_dials_total as usize, dials);
}

#[test]
fn kept_conns_are_the_next_ones_with_what_they_have_said_meanwhile() {
    let mut world = greeted(dialed(true));
    let (stays, one) = open(&mut world, "/stays?a=1");
    let (leaves, two) = open(&mut world, "/leaves");
    let (early, three) = open(&mut world, "/early");
    world.vanish(early);
    assert_eq!(world.frames().len(), 1, "{three} has closed");
    world.handlers.reach = Reach::Refuses;
    world.lose_handler();
    assert_eq!((world.heard(stays), world.heard(leaves)), (vec![], vec![]));
    world.say(stays, "meanwhile");
    world.say(leaves, "last words");
    world.send_frame(leaves, Opcode::Close, &1000u16.to_be_bytes());
    let refused = world.knock("/");
    assert_eq!(world.status(refused), Some(503));
    world.handlers.reach = Reach::Answers;
    world.pass(10_000);
    world.frames();
    world.greet();
    let frames = world.frames();
    let kinds: Vec<(Kind, u64)> = frames.iter().map(|frame| (frame.0, frame.1)).collect();
    let expected = [
        (Kind::Resumed, one),
        (Kind::Resumed, two),
        (Kind::Text, one),
        (Kind::Text, two),
        (Kind::Close, two),
    ];
    let mut sorted = kinds.clone();
    sorted[..2].sort_by_key(|(_, conn)| *conn != one);
    assert_eq!(sorted, expected);
    let lines = &frames.iter().find(|frame| frame.1 == one).expect("it").2;
    assert!(lines.starts_with(b":path: /stays\n:query: a=1\n"), "{lines:?}");
    world.ordered(Kind::Text, one, b"and on");
    assert_eq!(world.texts(stays), ["and on"]);
}

#[test]
fn what_kept_conns_say_is_bounded_and_nothing_of_it_is_lost() {
    let mut world = greeted(dialed(true));
    let (id, conn) = open(&mut world, "/");
    world.ordered(Kind::Pause, conn, b"");
    world.handlers.reach = Reach::Refuses;
    world.lose_handler();
    for number in 0..100 {
        world.send(id, &masked(Opcode::Text, format!("{number}").as_bytes()));
    }
    world.run();
    world.pass(300_000);
    assert!(world.browsers[id].sending.len() >= 80, "ten are kept, and the rest is not read");
    world.handlers.reach = Reach::Answers;
    world.pass(10_000);
    world.frames();
    world.greet();
    let mut frames = world.frames();
    assert_eq!(frames.remove(0).0, Kind::Resumed);
    let numbers: Vec<HandlerHeard> =
        (0..100).map(|number| text(conn, &number.to_string())).collect();
    assert_eq!(frames, numbers);
}

#[test]
fn who_has_asked_the_one_that_is_lost_is_refused() {
    for keeps in [false, true] {
        let mut world = World::new(dialed(keeps));
        world.handlers.last().greet(true, u32::MAX);
        world.run();
        let asks = world.knock("/");
        let accepted = world.knock("/");
        let conn = world.frames()[2].1;
        world.ordered(Kind::Accept, conn, b"");
        let turned_away = world.knock("/");
        let other = world.frames()[0].1;
        world.ordered(Kind::Refuse, other, b"\x01\x90");
        assert_eq!(world.status(turned_away), Some(400));
        world.handlers.reach = Reach::Refuses;
        world.lose_handler();
        assert_eq!(world.status(asks), Some(503), "{keeps}");
        assert_eq!(world.status(accepted), Some(101));
        world.handlers.reach = Reach::Answers;
        world.pass(10_000);
        world.frames();
        world.greet();
        let frames = world.frames();
        match keeps {
            true => {
                assert!(matches!(frames[..], [(Kind::Resumed, of, _)] if of == conn), "{frames:?}")
            }
            false => assert_eq!(frames, []),
        }
    }
}

#[test]
fn who_comes_and_goes_before_it_is_told_of_is_nothing_to_the_next() {
    for keeps in [false, true] {
        let mut world = World::new(dialed(keeps));
        world.handlers.last().greet(false, 1);
        world.run();
        world.frames();
        let (_, known) = open(&mut world, "/");
        let waits = world.knock("/waits");
        assert_eq!(world.status(waits), Some(101), "there is room in the queue, and no credit");
        let goes = world.knock("/goes");
        world.vanish(goes);
        assert_eq!(world.frames(), []);
        world.handlers.reach = Reach::Refuses;
        world.lose_handler();
        world.handlers.reach = Reach::Answers;
        world.pass(10_000);
        world.frames();
        world.greet();
        let kinds: Vec<(Kind, bool)> =
            world.frames().iter().map(|frame| (frame.0, frame.1 == known)).collect();
        let expected = [
            (Kind::Resumed, true),
            (Kind::Opened, false),
            (Kind::Opened, false),
            (Kind::Close, false),
        ];
        assert_eq!(kinds, if keeps { &expected[..] } else { &[] });
    }
}
