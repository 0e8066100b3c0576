//! The core without sockets: WebSockets whose messages are for the application itself.

mod areas;
mod joining;
mod limits;
mod orders;
mod requests;

use crate::world::*;
use wsloop::internals::browser::Order;
use wsloop::proto::ws::frame::{self, Opcode};
use wsloop::{ConnId, ConnRequest, Endpoint, Message, Settings, SocketEvent};

/// One endpoint at every path, and no relay.
fn endpoint() -> Settings {
    of(vec![Endpoint::default()])
}

fn of(endpoints: Vec<Endpoint>) -> Settings {
    Settings { endpoints, url_prefix: String::new(), ..settings() }
}

/// A browser that has opened a WebSocket, and its name.
fn open(world: &mut World, target: &str) -> (BrowserId, ConnId) {
    let id = world.open(target);
    match &world.events(0)[..] {
        [SocketEvent::Opened { conn, .. }] => (id, *conn),
        other => panic!("{other:?}"),
    }
}

fn text(conn: ConnId, text: &str) -> SocketEvent {
    SocketEvent::Message { conn, message: Message::Text(text.to_owned()) }
}

fn closed(conn: ConnId, code: u16, reason: &str) -> SocketEvent {
    SocketEvent::Closed { conn, code, reason: reason.to_owned() }
}

fn send(conn: ConnId, text: &str) -> Order {
    Order::Send { conn, frame: frame::encode(Opcode::Text, text.as_bytes()) }
}

/// A frame of a message that goes on, or that has gone on.
fn fragment(opcode: u8, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = masked(Opcode::Text, payload);
    frame[0] = u8::from(fin) << 7 | opcode;
    frame
}

const TEXT: u8 = 1;
const MORE: u8 = 0;

#[test]
fn who_comes_is_said_with_all_that_it_asked_for() {
    let mut world = World::new(endpoint());
    let id = world.ask(&upgrade(
        "/some/where%20?a=1&b",
        &["Sec-WebSocket-Protocol: echo, chat", "X-Thing: one", "x-thing: two"],
    ));
    assert_eq!(world.status(id), Some(101));
    assert_eq!(world.response(id).header("sec-websocket-protocol"), Some("echo"), "one of them");
    let events = world.events(0);
    let [SocketEvent::Opened { request, .. }] = &events[..] else { panic!("{events:?}") };
    let ConnRequest { address, path, query, protocols, .. } = &**request;
    assert_eq!(address.map(|ip| ip.to_string()).as_deref(), Some("192.0.2.7"));
    assert_eq!((&path[..], &query[..]), ("/some/where%20", "a=1&b"));
    assert_eq!(protocols, &["echo", "chat"]);
    assert_eq!(request.header("X-THING"), Some("one"));
    assert_eq!(request.headers.last().expect("headers").1, b"two");
    assert_eq!((&request.user, &request.session), (&None, &None));
}

#[test]
fn messages_are_events_and_control_frames_are_none() {
    let mut world = World::new(endpoint());
    let (id, conn) = open(&mut world, "/");
    world.say(id, "hello");
    world.send_frame(id, Opcode::Ping, b"payload");
    world.send_frame(id, Opcode::Pong, b"unasked");
    world.say(id, "");
    world.send_frame(id, Opcode::Binary, &[0, 255]);
    let binary = SocketEvent::Message { conn, message: Message::Binary(vec![0, 255]) };
    assert_eq!(world.events(0), [text(conn, "hello"), text(conn, ""), binary]);
    assert_eq!(world.heard(id), [Heard::Pong(b"payload".to_vec())], "and nothing unsent");
    world.pass(600_000);
    assert_eq!((world.events(0), world.heard(id)), (vec![], vec![]));
}

#[test]
fn fragments_are_joined_for_each_conn_by_itself() {
    let mut world = World::new(endpoint());
    let (alice, one) = open(&mut world, "/");
    let (bob, two) = open(&mut world, "/");
    world.send(alice, &fragment(TEXT, false, b"ALICE "));
    world.send(bob, &fragment(TEXT, false, b"bob "));
    world.send(alice, &masked(Opcode::Ping, b"between"));
    world.send(alice, &fragment(MORE, false, b"more "));
    world.run();
    assert_eq!(world.events(0), [], "no fragment is a message");
    world.send(bob, &fragment(MORE, true, b"end"));
    world.send(alice, &fragment(MORE, true, b"end"));
    world.run();
    assert_eq!(world.heard(alice), [Heard::Pong(b"between".to_vec())]);
    let events = world.events(0);
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events.contains(&text(one, "ALICE more end")), "{events:?}");
    assert!(events.contains(&text(two, "bob end")), "{events:?}");
}

#[test]
fn who_breaks_the_protocol_harms_itself_alone() {
    let over = vec![b'x'; 600];
    let cases: [(Vec<Vec<u8>>, u16); 5] = [
        (vec![fragment(MORE, true, b"orphan")], 1002),
        (vec![fragment(TEXT, false, b"a"), fragment(TEXT, true, b"b")], 1002),
        (vec![fragment(3, true, b"reserved")], 1002),
        (vec![masked(Opcode::Text, b"\xff")], 1007),
        (vec![fragment(TEXT, false, &over), fragment(MORE, true, &over)], 1009),
    ];
    for (frames, code) in cases {
        let mut world = World::new(Settings { max_message_size: 1000, ..endpoint() });
        let (other, its) = open(&mut world, "/");
        world.send(other, &fragment(TEXT, false, b"half "));
        let (id, conn) = open(&mut world, "/");
        frames.iter().for_each(|frame| world.send(id, frame));
        world.run();
        let events = world.events(0);
        let [SocketEvent::Closed { conn: who, code: said, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((*who, *said), (conn, code));
        world.send(other, &fragment(MORE, true, b"whole"));
        world.run();
        assert_eq!(world.events(0), [text(its, "half whole")], "{code}");
    }
}

#[test]
fn who_closes_in_the_midst_of_anothers_message_takes_nothing_along() {
    let mut world = World::new(endpoint());
    let (alice, one) = open(&mut world, "/");
    let (bob, two) = open(&mut world, "/");
    world.send(alice, &fragment(TEXT, false, b"first "));
    world.send(bob, &masked(Opcode::Close, b"\x0f\xa0bye"));
    world.run();
    assert_eq!(world.events(0), [closed(two, 4000, "bye")]);
    assert_eq!(world.heard(bob), [Heard::Close(Some(4000), String::new())], "it is answered");
    world.send(alice, &fragment(MORE, true, b"second"));
    world.run();
    assert_eq!(world.events(0), [text(one, "first second")]);
}

#[test]
fn however_a_conn_ends_that_is_said_once() {
    type End = fn(&mut World, BrowserId);
    let ends: [(End, u16); 5] = [
        (|world, id| world.send_frame(id, Opcode::Close, &[]), 1005),
        (|world, id| world.vanish(id), 1006),
        (|world, id| world.hang_up(id), 1006),
        (|world, _| world.shut_down(), 1001),
        (|world, id| world.send(id, &masked(Opcode::Close, b"\x03")), 1002),
    ];
    for (end, code) in ends {
        let mut world = World::new(endpoint());
        let (id, conn) = open(&mut world, "/");
        world.say(id, "last");
        end(&mut world, id);
        world.pass(60_000);
        let events = world.events(0);
        let [said, SocketEvent::Closed { conn: who, code: said_code, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((said, *who, *said_code), (&text(conn, "last"), conn, code));
    }
}

#[test]
fn each_path_has_its_endpoint_and_the_relay_the_rest_below_its_own() {
    let path = |path: &str| Endpoint { path: path.to_owned(), ..Endpoint::default() };
    let endpoints = vec![path("/chat/"), path("/chat/room/"), path("/ws/own/"), path("/")];
    let mut world = World::new(Settings { endpoints, ..settings() });
    let targets = ["/chat/a", "/chat/room/a", "/ws/own/a", "/elsewhere"];
    for (endpoint, target) in targets.into_iter().enumerate() {
        world.open(target);
        let opened = (0..4).filter(|at| !world.events(*at).is_empty()).collect::<Vec<_>>();
        assert_eq!(opened, [endpoint], "{target}");
    }
    let id = world.open("/ws/foo?subscribe-broadcast&publish-broadcast&echo");
    world.say(id, "relayed");
    assert_eq!(world.texts(id), ["relayed"]);
    assert!((0..4).all(|endpoint| world.events(endpoint).is_empty()), "none is told");
    for target in ["/chat/a", "/ws/own/a", "/elsewhere"] {
        let id = world.ask(&request("GET", target, &["Host: example.com"]));
        assert_eq!(world.status(id), Some(426), "plain HTTP is no WebSocket: {target}");
        let text = world.response(id).text();
        assert!(text.contains("speaks WebSocket") && !text.contains("granted"), "{text}");
    }
}

#[test]
fn a_page_of_elsewhere_is_refused_unless_it_may_come() {
    for (any_origin, status) in [(false, 403), (true, 101)] {
        let mut world = World::new(of(vec![Endpoint { any_origin, ..Endpoint::default() }]));
        let id = world.ask(&upgrade("/", &["Origin: http://elsewhere.com"]));
        assert_eq!(world.status(id), Some(status));
        assert_eq!(world.events(0).len(), usize::from(any_origin));
    }
}

#[test]
fn it_is_said_who_somebody_is() {
    let sources = Setup { tokens: true, ..setup() }.settings().sources;
    let mut world = World::new(Settings { sources, ..endpoint() });
    let name = token(r#"{"sub":"alice","groups":["staff"]}"#);
    let id = world.ask(&upgrade("/", &[&format!("Authorization: Bearer {name}")]));
    assert_eq!(world.status(id), Some(101));
    let events = world.events(0);
    let [SocketEvent::Opened { request, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (request.user.as_deref(), &request.groups[..]),
        (Some("alice"), &["staff".into()][..])
    );
    let id = world.ask(&upgrade("/", &["Authorization: Bearer a.b.c"]));
    assert_eq!((world.status(id), world.events(0)), (Some(401), vec![]));
}

fn setup() -> Setup {
    Setup {
        redis: false,
        prefix: "",
        allow: "all",
        require_login: false,
        tokens: false,
        sessions: false,
        application: None,
        auth_timeout_ms: 1_000,
        heartbeat: None,
        ping_interval_ms: 0,
        pong_timeout_ms: 1_000,
        handshake_timeout_ms: 10_000,
        close_timeout_ms: 1_000,
        shutdown_timeout_ms: 1_000,
        max_message: 1 << 20,
        outbox_limit: 1 << 20,
        max_connections: 100,
        max_handshakes: 100,
        packing: Packing::Off,
        refuses_by_closing: false,
        overflow: "close",
        expire_s: 60,
        buffer_limit: 1 << 20,
    }
}
