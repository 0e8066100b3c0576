//! What the application wants of its conns.

use super::*;

fn deciding() -> Settings {
    of(vec![Endpoint { decides: true, ..Endpoint::default() }])
}

/// A browser that asks, and its name.
fn ask(world: &mut World, more: &[&str]) -> (BrowserId, ConnId) {
    let id = world.ask(&upgrade("/", more));
    match &world.events(0)[..] {
        [SocketEvent::Asked { conn, .. }] => (id, *conn),
        other => panic!("{other:?}"),
    }
}

fn accept(conn: ConnId, protocol: Option<&str>, headers: &[(&str, &str)]) -> Order {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    Order::Accept { conn, protocol: protocol.map(str::to_owned), headers: headers.collect() }
}

#[test]
fn an_application_may_decide_about_a_handshake() {
    let mut world = World::new(deciding());
    let offers = ["Sec-WebSocket-Protocol: echo, chat"];
    let (id, conn) = ask(&mut world, &offers);
    world.pass(5_000);
    assert_eq!(world.status(id), None, "it waits");
    world.order(send(conn, "too early"));
    world.order(accept(conn, Some("chat"), &[("X-Room", "7")]));
    let response = world.response(id);
    assert_eq!(response.status, 101);
    assert_eq!(response.header("sec-websocket-protocol"), Some("chat"));
    assert_eq!(response.header("x-room"), Some("7"));
    world.order(accept(conn, None, &[]));
    world.order(Order::Refuse { conn, status: 403, text: "too late".to_owned() });
    world.say(id, "hello");
    world.order(send(conn, "hello"));
    assert_eq!(world.events(0), [text(conn, "hello")]);
    assert_eq!(world.texts(id), ["hello"]);

    let (id, conn) = ask(&mut world, &offers);
    world.order(accept(conn, Some("other"), &[]));
    assert_eq!(world.response(id).header("sec-websocket-protocol"), None, "it was not offered");

    let (id, conn) = ask(&mut world, &offers);
    world.order(Order::Refuse { conn, status: 404, text: "No such room.".to_owned() });
    assert_eq!((world.status(id), world.response(id).text()), (Some(404), "No such room.\n"));
    world.order(accept(conn, None, &[]));
    world.pass(20_000);
    assert_eq!(world.events(0), [], "who was refused needs no word of its end");
}

#[test]
fn who_asks_in_vain_or_gives_up_is_said_to_be_gone() {
    let mut world = World::new(deciding());
    let (id, conn) = ask(&mut world, &[]);
    world.pass(10_100);
    assert_eq!((world.status(id), world.events(0)), (Some(503), vec![closed(conn, 1006, "")]));
    let (id, conn) = ask(&mut world, &[]);
    world.vanish(id);
    assert_eq!(world.events(0), [closed(conn, 1006, "")]);
    world.order(accept(conn, None, &[]));
    assert_eq!(world.events(0), []);
    let (id, conn) = ask(&mut world, &[]);
    world.order(Order::Close { conn, code: 1000, reason: String::new() });
    assert_eq!((world.status(id), world.events(0)), (Some(403), vec![]));
}

#[test]
fn what_is_sent_arrives_in_order_and_what_was_sent_before_a_close_before_that() {
    let mut world = World::new(endpoint());
    let (id, conn) = open(&mut world, "/");
    (0..3).for_each(|number| world.order(send(conn, &number.to_string())));
    world.order(Order::Close { conn, code: 4001, reason: "enough".to_owned() });
    world.order(send(conn, "too late"));
    world.order(Order::Close { conn, code: 4002, reason: "again".to_owned() });
    let texts = ["0", "1", "2"].map(|text| Heard::Text(text.to_owned()));
    let close = Heard::Close(Some(4001), "enough".to_owned());
    assert_eq!(world.heard(id), [&texts[..], &[close]].concat());
    assert_eq!(world.events(0), [closed(conn, 4001, "enough")]);
    assert!(world.browsers[id].closed_ms.is_some(), "the browser has answered");
}

#[test]
fn a_name_that_has_outlived_its_conn_means_nothing() {
    let mut world = World::new(Settings { url_prefix: "/ws/".to_owned(), ..endpoint() });
    let (id, gone) = open(&mut world, "/");
    world.vanish(id);
    world.events(0);
    // Its place is another's.
    let (next, conn) = open(&mut world, "/");
    let orders = |conn| {
        [
            send(conn, "for somebody else"),
            Order::Broadcast {
                conns: Box::new([conn]),
                frame: frame::encode(Opcode::Text, b"for somebody else"),
            },
            Order::Subscribe { conn, channel: "channel".to_owned() },
            Order::Unsubscribe { conn, channel: "channel".to_owned() },
            Order::Close { conn, code: 1000, reason: String::new() },
            accept(conn, None, &[]),
            Order::Refuse { conn, status: 404, text: String::new() },
        ]
    };
    orders(gone).into_iter().for_each(|order| world.order(order));
    world.order(Order::Publish { channel: "channel".to_owned(), payload: b"m".to_vec() });
    assert_eq!((world.heard(next), world.events(0)), (vec![], vec![]));
    world.order(Order::Gone { endpoint: 7 });
    world.order(send(conn, "alive"));
    assert_eq!(world.texts(next), ["alive"]);
}

#[test]
fn a_message_to_many_goes_to_each_of_them_once() {
    let mut world = World::new(endpoint());
    let all: Vec<_> = (0..50).map(|_| open(&mut world, "/")).collect();
    let conns = all[1..].iter().map(|(_, conn)| *conn).collect();
    let frame = frame::encode(Opcode::Binary, b"\xffmany");
    world.order(Order::Broadcast { conns, frame });
    for (id, _) in &all[1..] {
        assert_eq!(world.heard(*id), [Heard::Binary(b"\xffmany".to_vec())]);
    }
    assert_eq!(world.heard(all[0].0), []);
}

#[test]
fn who_agreed_on_compression_gets_it_and_others_do_not() {
    let mut world = World::new(Settings { compression_min: 8, ..endpoint() });
    let offer = ["Sec-WebSocket-Extensions: permessage-deflate"];
    world.ask(&upgrade("/", &offer));
    let (plain, other) = (world.open("/"), world.events(0));
    let conns: Box<[ConnId]> = other
        .iter()
        .map(|event| match event {
            SocketEvent::Opened { conn, .. } => *conn,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(conns.len(), 2);
    let long = "over and over ".repeat(20);
    let frame = frame::encode(Opcode::Text, long.as_bytes());
    world.order(Order::Broadcast { conns, frame });
    assert_eq!(world.metrics().compressions_total, 1);
    assert_eq!(world.texts(plain), [long]);
}

/// Both brokers.
fn with_brokers(test: impl Fn(World)) {
    test(World::new(endpoint()));
    let redis = Settings {
        endpoints: vec![Endpoint::default()],
        url_prefix: String::new(),
        ..with_redis()
    };
    test(World::new(redis));
}

fn publish(channel: &str, text: &str) -> Order {
    Order::Publish { channel: channel.to_owned(), payload: text.as_bytes().to_vec() }
}

fn subscribe(conn: ConnId, channel: &str) -> Order {
    Order::Subscribe { conn, channel: channel.to_owned() }
}

fn unsubscribe(conn: ConnId, channel: &str) -> Order {
    Order::Unsubscribe { conn, channel: channel.to_owned() }
}

#[test]
fn what_the_broker_delivers_is_forwarded_without_the_application() {
    with_brokers(|mut world| {
        let (alice, one) = open(&mut world, "/");
        let (bob, two) = open(&mut world, "/");
        world.order(publish("news", "stored"));
        world.order(subscribe(one, "news"));
        world.order(subscribe(one, "news"));
        world.order(subscribe(one, "other"));
        world.order(subscribe(one, "third"));
        world.order(subscribe(two, "other"));
        world.order(publish("news", "live"));
        world.order(publish("other", "both"));
        assert_eq!(world.texts(alice), ["stored", "live", "both"]);
        assert_eq!(world.texts(bob), ["both"]);
        world.order(unsubscribe(one, "news"));
        world.order(unsubscribe(one, "news"));
        world.order(unsubscribe(two, "nothing"));
        world.order(publish("news", "nobody hears"));
        world.order(publish("third", "third"));
        world.order(publish("other", "both again"));
        assert_eq!(world.texts(alice), ["third", "both again"]);
        assert_eq!(world.texts(bob), ["both again"]);
        world.order(unsubscribe(one, "other"));
        world.order(publish("other", "one is left"));
        world.vanish(alice);
        assert_eq!(world.texts(bob), ["one is left"]);
        world.order(unsubscribe(two, "other"));
        assert_eq!(world.metrics().channels, 0);
        assert_eq!(world.events(0).len(), 1, "that one has gone, and nothing else");
    });
}

#[test]
fn redis_is_asked_for_a_channel_once_however_many_hear_it() {
    let endpoints = vec![Endpoint::default()];
    let mut world = World::new(Settings { endpoints, url_prefix: String::new(), ..with_redis() });
    let all: Vec<_> = (0..3).map(|_| open(&mut world, "/")).collect();
    world.redis.take_commands();
    for (_, conn) in &all {
        world.order(subscribe(*conn, "news"));
    }
    let of = |world: &mut World, what: &str| {
        let commands = world.redis.take_commands();
        commands.iter().filter(|command| command.starts_with(what)).count()
    };
    assert_eq!(of(&mut world, "SUBSCRIBE"), 1);
    world.publish("news", "to all");
    for (id, conn) in &all {
        assert_eq!(world.texts(*id), ["to all"]);
        assert_eq!(of(&mut world, "UNSUBSCRIBE"), 0, "somebody hears it");
        world.order(unsubscribe(*conn, "news"));
    }
    assert_eq!(of(&mut world, "UNSUBSCRIBE"), 1);
}

#[test]
fn what_was_subscribed_while_redis_was_away_is_heard_when_it_is_back() {
    let endpoints = vec![Endpoint::default()];
    let settings = Settings { endpoints, url_prefix: String::new(), ..with_redis() };
    let mut world = World::new(settings);
    let (id, conn) = open(&mut world, "/");
    world.kill_redis();
    world.order(subscribe(conn, "news"));
    world.order(subscribe(conn, "gone again"));
    world.order(unsubscribe(conn, "gone again"));
    world.pass(1_000);
    world.revive_redis();
    world.pass(10_000);
    world.publish("news", "heard");
    assert_eq!(world.texts(id), ["heard"]);
}

#[test]
fn who_reads_too_slowly_is_told_of_and_closed_beside_one_that_reads() {
    let mut world = World::new(Settings { outbox_limit: 10_000, ..endpoint() });
    let (slow, one) = open(&mut world, "/");
    let (fast, two) = open(&mut world, "/");
    world.stall(slow, 0);
    let mut said = Vec::new();
    for _ in 0..30 {
        for conn in [one, two] {
            world.order(send(conn, &"x".repeat(1000)));
        }
        world.server.take_slow(|conn, bytes| said.push((conn, bytes)));
    }
    assert_eq!(world.texts(fast).len(), 30);
    assert!(said.iter().all(|(conn, _)| *conn == one), "{said:?}");
    assert!(said.iter().any(|(_, bytes)| *bytes > 5_000), "{said:?}");
    assert_eq!(world.events(0), [closed(one, 1008, "this connection reads too slowly")]);
    world.resume(slow);
    world.pass(60_000);
    said.clear();
    (0..2).for_each(|_| world.server.take_slow(|conn, bytes| said.push((conn, bytes))));
    assert_eq!(said, [(one, 0)], "once more, with nothing");
}

#[test]
fn when_the_application_has_gone_so_do_its_conns() {
    let path =
        |path: &str| Endpoint { path: path.to_owned(), queue_events: 2, ..Endpoint::default() };
    let endpoints = vec![path("/one"), path("/two"), Endpoint { decides: true, ..path("/three") }];
    let mut world = World::new(of(endpoints));
    let ids = [world.open("/one"), world.open("/one")];
    let waits = world.knock("/one");
    let asks = world.knock("/three");
    let other = world.open("/two");
    world.order(Order::Gone { endpoint: 0 });
    world.order(Order::Gone { endpoint: 2 });
    for id in ids {
        let close = Heard::Close(Some(1001), "the application has ended".to_owned());
        assert_eq!(world.heard(id), [close]);
    }
    assert_eq!((world.status(waits), world.status(asks)), (Some(503), Some(503)));
    let late = world.knock("/one");
    assert_eq!(world.status(late), Some(503));
    assert_eq!((world.told(0), world.told(2)), (vec![], vec![]));
    world.events(1);
    world.say(other, "alive");
    assert_eq!(world.events(1).len(), 1);
}
