//! What an application cannot harm by not receiving, and peers not by flooding.

use super::*;

/// An endpoint whose queue takes so many events.
fn queue(queue_events: usize) -> Settings {
    of(vec![Endpoint { queue_events, ..Endpoint::default() }])
}

fn messages(events: &[SocketEvent]) -> Vec<String> {
    let text = |event: &SocketEvent| match event {
        SocketEvent::Message { message: Message::Text(text), .. } => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

#[test]
fn while_the_queue_is_full_nobody_is_read_and_nothing_is_lost() {
    let mut world = World::new(queue(10));
    let (flood, _) = open(&mut world, "/");
    let (quiet, _) = open(&mut world, "/");
    for number in 0..100 {
        world.send(flood, &masked(Opcode::Text, format!("{number}").as_bytes()));
    }
    world.run();
    world.say(quiet, "quiet");
    let told = world.told(0);
    assert_eq!(told.len(), 10, "as many as may wait");
    assert!(world.browsers[flood].sending.len() >= 89, "the rest is not read");
    assert_eq!(world.browsers[quiet].sending.len(), 1, "nor is the other");
    world.pass(60_000);
    assert_eq!(world.told(0), [], "and the loop sleeps");
    let mut all = messages(&told);
    world.received(0, &told);
    for _ in 0..100 {
        all.extend(messages(&world.events(0)));
    }
    let place = all.iter().position(|text| text == "quiet").expect("it is heard");
    assert!(place <= 30, "others have their turn: {place}");
    all.remove(place);
    let numbers: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(all, numbers, "all of them, in their order");
}

#[test]
fn bytes_fill_the_queue_as_well() {
    let endpoint = Endpoint { queue_bytes: 1000, ..Endpoint::default() };
    let mut world = World::new(of(vec![endpoint]));
    let (id, _) = open(&mut world, "/");
    (0..10).for_each(|_| world.send(id, &masked(Opcode::Text, &[b'x'; 400])));
    world.run();
    let told = world.told(0);
    assert_eq!(told.len(), 3);
    world.received(0, &told[..1]);
    assert_eq!(world.told(0), [], "there is less than half of it free");
    world.received(0, &told[1..]);
    assert_eq!(world.told(0).len(), 3);
}

#[test]
fn one_endpoint_that_is_full_is_nothing_to_others() {
    let path =
        |path: &str| Endpoint { path: path.to_owned(), queue_events: 2, ..Endpoint::default() };
    let endpoints = vec![path("/one"), path("/two")];
    let mut world = World::new(Settings { endpoints, ..settings() });
    let one = world.open("/one");
    (0..9).for_each(|_| world.send(one, &masked(Opcode::Text, b"one")));
    world.run();
    let two = world.open("/two");
    world.events(1);
    world.say(two, "two");
    assert_eq!(messages(&world.events(1)), ["two"]);
    let relayed = world.open("/ws/foo?subscribe-broadcast&publish-broadcast&echo");
    world.say(relayed, "relayed");
    assert_eq!(world.texts(relayed), ["relayed"]);
    assert_eq!(world.told(0).len(), 2);
    assert_eq!(world.status(world.browsers.len() - 1), Some(101));
}

#[test]
fn who_comes_to_a_full_queue_waits_for_its_101() {
    let mut world = World::new(queue(2));
    world.open("/");
    world.open("/");
    let third = world.knock("/");
    let fourth = world.knock("/");
    assert_eq!((world.status(third), world.status(fourth)), (None, None));
    let told = world.told(0);
    assert_eq!(told.len(), 2);
    world.received(0, &told);
    assert_eq!((world.status(third), world.status(fourth)), (Some(101), Some(101)));
    let told = world.told(0);
    assert_eq!(told.len(), 2, "both are said: {told:?}");
    let fifth = world.knock("/");
    world.pass(10_100);
    assert_eq!(world.status(fifth), Some(503), "no longer than a handshake may take");
    world.received(0, &told);
    assert_eq!(world.events(0), [], "nobody opened");
}

#[test]
fn who_comes_and_goes_while_nobody_receives_leaves_no_more_than_may_wait() {
    let mut world = World::new(queue(4));
    for _ in 0..100 {
        let id = world.knock("/");
        world.vanish(id);
    }
    let told = world.told(0);
    assert!(told.len() <= 8, "{}", told.len());
    world.received(0, &told);
    let late = world.knock("/");
    assert_eq!(world.status(late), Some(101));
    assert_eq!(world.told(0).len(), 1, "nothing is said of those who gave up before they opened");
}

#[test]
fn who_is_not_read_is_not_judged_by_its_silence() {
    let settings = Settings { ping_interval_ms: 1_000, pong_timeout_ms: 500, ..queue(1) };
    let mut world = World::new(settings);
    let (id, conn) = open(&mut world, "/");
    world.send(id, &masked(Opcode::Text, b"fills it"));
    world.run();
    for _ in 0..10 {
        world.pass(1_000);
        world.send(id, &masked(Opcode::Pong, b""));
        world.run();
    }
    let heard = world.heard(id);
    assert!(
        heard.len() > 5 && heard.iter().all(|one| *one == Heard::Ping(Vec::new())),
        "{heard:?}"
    );
    let told = world.told(0);
    assert_eq!(told, [text(conn, "fills it")]);
    world.received(0, &told);
    assert!(world.browsers[id].sending.is_empty(), "it is read");
    world.browsers[id].pongs = false;
    world.pass(2_000);
    assert_eq!(world.events(0), [closed(conn, 1011, "nothing came in answer to a ping")]);
}

#[test]
fn pings_need_no_application_and_none_are_sent_where_they_are_off() {
    for (interval_ms, pings) in [(1_000, 3), (0, 0)] {
        let mut world = World::new(Settings { ping_interval_ms: interval_ms, ..endpoint() });
        let (id, _) = open(&mut world, "/");
        for _ in 0..3 {
            world.pass(1_100);
            world.send_frame(id, Opcode::Pong, &[]);
        }
        assert_eq!(world.heard(id), vec![Heard::Ping(Vec::new()); pings]);
    }
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let settings = Settings { ping_interval_ms: 1_000, pong_timeout_ms: 1_000, ..endpoint() };
    let mut world = World::new(settings);
    let (id, _) = open(&mut world, "/");
    world.browsers[id].pongs = false;
    for _ in 0..20 {
        world.pass(1_500);
        // It is busy, and its pong never comes.
        world.send(id, &fragment(TEXT, true, b"busy"));
        world.run();
    }
    let events = world.events(0);
    assert_eq!(events.len(), 20, "{events:?}");
}

#[test]
fn a_pong_that_nobody_asked_for_goes_to_who_has_heard_nothing() {
    let mut world = World::new(Settings { pong_interval_ms: 1_000, ..endpoint() });
    let (id, conn) = open(&mut world, "/");
    world.pass(2_500);
    assert_eq!(world.heard(id), vec![Heard::Pong(Vec::new()); 2]);
    for _ in 0..4 {
        world.order(send(conn, "something"));
        world.pass(900);
    }
    assert_eq!(world.heard(id), vec![Heard::Text("something".to_owned()); 4]);
}
