//! The core without sockets: WebSockets that applications in other processes handle.

mod limits;
mod lost;

use crate::world::*;
use wsloop::proto::handler::HandlerKind as Kind;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Endpoint, HandlerSettings, Settings, Target};

/// One endpoint at every path below this, whose application is in another process.
fn dialed(keeps: bool) -> Settings {
    of(&["/"], keeps)
}

fn of(paths: &[&str], keeps: bool) -> Settings {
    let endpoint = |path: &&str| Endpoint {
        path: (*path).to_owned(),
        queue_events: 10,
        ..Endpoint::default()
    };
    let handler = |(endpoint, path): (u8, &&str)| HandlerSettings {
        endpoint,
        target: Target::Unix(format!("/run{path}").into()),
        keeps,
    };
    Settings {
        endpoints: paths.iter().map(endpoint).collect(),
        handlers: (0..).zip(paths).map(handler).collect(),
        url_prefix: String::new(),
        ..settings()
    }
}

/// A server and its application, which have greeted.
fn greeted(settings: Settings) -> World {
    let mut world = World::new(settings);
    world.greet();
    world
}

/// A browser that has opened a WebSocket, and its name.
fn open(world: &mut World, target: &str) -> (BrowserId, u64) {
    let id = world.open(target);
    match &world.frames()[..] {
        [(Kind::Opened, conn, _)] => (id, *conn),
        other => panic!("{other:?}"),
    }
}

fn text(conn: u64, text: &str) -> HandlerHeard {
    (Kind::Text, conn, text.as_bytes().to_vec())
}

fn closed(conn: u64, code: u16, reason: &str) -> HandlerHeard {
    (Kind::Close, conn, [&code.to_be_bytes(), reason.as_bytes()].concat())
}

fn close(code: u16, reason: &str) -> Heard {
    Heard::Close(Some(code), reason.to_owned())
}

#[test]
fn both_sides_greet() {
    let mut world = World::new(Settings { max_message_size: 0x10203, ..dialed(false) });
    let greeting = (Kind::Hello, 0, b"\0\x01\0\x01\x02\x03/".to_vec());
    assert_eq!(world.frames(), [greeting]);
    assert_eq!(world.metrics().handlers_up, 0);
    let early = world.knock("/");
    assert_eq!(world.status(early), Some(503), "nobody has greeted");
    world.greet();
    assert_eq!(world.metrics().handlers_up, 1);
    assert_eq!(world.handlers.last().path, "/run/");
    let (id, conn) = open(&mut world, "/");
    assert_eq!(world.texts(id), Vec::<String>::new());
    assert_ne!(conn, 0);
}

#[test]
fn what_happens_is_said_and_what_is_ordered_is_done() {
    let mut world = greeted(dialed(false));
    let (id, conn) = open(&mut world, "/");
    world.say(id, "hello");
    world.say(id, "");
    world.send_frame(id, Opcode::Binary, &[0, 255]);
    let binary = (Kind::Binary, conn, vec![0, 255]);
    assert_eq!(world.frames(), [text(conn, "hello"), text(conn, ""), binary]);
    world.ordered(Kind::Text, conn, b"one");
    world.ordered(Kind::Binary, conn, b"\xff");
    world.ordered(Kind::Text, conn, b"");
    let heard =
        [Heard::Text("one".to_owned()), Heard::Binary(vec![255]), Heard::Text(String::new())];
    assert_eq!(world.heard(id), heard);
    world.ordered(Kind::Close, conn, b"\x0f\xa0enough");
    assert_eq!(world.heard(id), [close(4000, "enough")]);
    assert_eq!(world.frames(), [closed(conn, 4000, "enough")]);
    world.ordered(Kind::Text, conn, b"too late");
    assert_eq!((world.heard(id), world.frames()), (vec![], vec![]));
    let metrics = world.metrics();
    assert_eq!((metrics.handler_orders_total, metrics.handler_orders_refused_total), (5, 0));
    assert_eq!(metrics.handler_events_total, 5);
}

#[test]
fn a_request_is_said_in_lines() {
    let mut world = greeted(dialed(false));
    world.ask(&upgrade("/some/where?a=1", &["Sec-WebSocket-Protocol: echo, chat", "X-A: b: c"]));
    let frames = world.frames();
    let [(Kind::Opened, _, lines)] = &frames[..] else { panic!("{frames:?}") };
    let lines = String::from_utf8(lines.clone()).expect("text");
    let start = ":path: /some/where\n:query: a=1\n:address: 192.0.2.7\n:protocol: echo\n\
                 :protocol: chat\n";
    assert!(lines.starts_with(start), "{lines}");
    assert!(lines.ends_with("X-A: b: c\n"), "{lines}");
}

#[test]
fn the_application_may_decide_about_handshakes() {
    let mut world = World::new(dialed(false));
    world.handlers.last().greet(true, u32::MAX);
    world.run();
    world.frames();
    let asked = |world: &mut World| {
        let id = world.ask(&upgrade("/", &["Sec-WebSocket-Protocol: echo, chat"]));
        let frames = world.frames();
        let [(Kind::Asked, conn, _)] = &frames[..] else { panic!("{frames:?}") };
        (id, *conn)
    };
    let (id, conn) = asked(&mut world);
    assert_eq!(world.status(id), None, "it waits");
    world.ordered(Kind::Accept, conn, b":protocol: chat\nX-Room: 7\n");
    assert_eq!(world.status(id), Some(101));
    let response = world.response(id);
    assert_eq!(response.header("sec-websocket-protocol"), Some("chat"));
    assert_eq!(response.header("x-room"), Some("7"));
    world.say(id, "hello");
    assert_eq!(world.frames(), [text(conn, "hello")], "it is not said to have opened");
    let (id, conn) = asked(&mut world);
    world.ordered(Kind::Refuse, conn, b"\x01\x93not you");
    assert_eq!(world.status(id), Some(403));
    assert_eq!(world.frames(), [], "nothing more of it");
}

#[test]
fn one_frame_goes_to_many_and_to_no_conn_of_another() {
    let mut world = World::new(of(&["/one", "/two"], false));
    for one in &mut world.handlers.links {
        one.greet(false, u32::MAX);
    }
    world.run();
    let name = |world: &mut World, at: usize, path: &str| {
        world.handlers.links[at].take();
        let id = world.open(path);
        (id, world.handlers.links[at].take()[0].1)
    };
    let (alice, one) = name(&mut world, 0, "/one");
    let (bob, two) = name(&mut world, 0, "/one");
    let (other, theirs) = name(&mut world, 1, "/two");
    let names = [one, two, theirs, u64::MAX].map(u64::to_be_bytes).concat();
    let payload = [&4u32.to_be_bytes()[..], &names, b"all"].concat();
    world.handlers.links[0].order(Kind::BroadcastText, 0, &payload);
    for (kind, payload) in [
        (Kind::Text, &b"not yours"[..]),
        (Kind::Close, b"\x03\xe8"),
        (Kind::Subscribe, b"news"),
        (Kind::Pause, b""),
    ] {
        world.handlers.links[0].order(kind, theirs, payload);
    }
    world.handlers.links[0].order(Kind::Publish, 0, b"\0\x04newsmessage");
    world.run();
    assert_eq!((world.texts(alice), world.texts(bob)), (vec!["all".into()], vec!["all".into()]));
    assert_eq!(world.heard(other), []);
    world.say(other, "still here");
    assert_eq!(world.handlers.links[1].take(), [text(theirs, "still here")]);
}

#[test]
fn what_the_broker_delivers_is_forwarded() {
    let mut world = greeted(dialed(false));
    let (id, conn) = open(&mut world, "/");
    world.ordered(Kind::Publish, 0, b"\0\x04newsstored");
    world.ordered(Kind::Subscribe, conn, b"news");
    world.ordered(Kind::Publish, 0, b"\0\x04newslive");
    assert_eq!(world.texts(id), ["stored", "live"]);
    world.ordered(Kind::Unsubscribe, conn, b"news");
    world.ordered(Kind::Publish, 0, b"\0\x04newsunheard");
    assert_eq!(world.heard(id), []);
}

#[test]
fn a_wrong_order_is_refused_by_itself() {
    let mut world = greeted(dialed(false));
    let (id, conn) = open(&mut world, "/");
    let too_long = vec![b'x'; 513];
    for (kind, payload, why) in [
        (Kind::Text, &b"\xff"[..], "UTF-8"),
        (Kind::Close, b"\x03\xed", "1005 is no code"),
        (Kind::Close, b"\x03", "ends too early"),
        (Kind::Refuse, b"\0\xc8", "200 refuses nothing"),
        (Kind::Subscribe, &too_long, "1 to 512 bytes"),
        (Kind::Accept, b"Upgrade: no", "header that can be said"),
        (Kind::Opened, b"", "no frames of kind 4"),
    ] {
        world.ordered(kind, conn, payload);
        let frames = world.frames();
        let [(Kind::Error, of, said)] = &frames[..] else { panic!("{kind:?}: {frames:?}") };
        let said = String::from_utf8_lossy(said);
        assert!(said.contains(why) && *of == conn, "{said}");
    }
    world.ordered(Kind::Text, conn, b"goes on");
    assert_eq!(world.texts(id), ["goes on"]);
    assert_eq!(world.metrics().handler_orders_refused_total, 7);
}

#[test]
fn what_has_happened_is_said_before_the_server_ends() {
    let mut world = greeted(dialed(false));
    let (id, conn) = open(&mut world, "/");
    world.handlers.appetite = Some(5);
    world.say(id, "last words");
    world.shut_down();
    assert_eq!(world.heard(id), [close(1001, "the server is shutting down")]);
    world.send_frame(id, Opcode::Close, &1001u16.to_be_bytes());
    assert!(!world.is_done(), "the application has not taken all");
    world.resume_handler();
    let frames = world.frames();
    assert_eq!(frames[0], text(conn, "last words"));
    assert!(matches!(&frames[1], (Kind::Close, ..)), "{frames:?}");
    assert!(world.is_done());
}
