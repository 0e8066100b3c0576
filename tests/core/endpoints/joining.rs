//! The relay's conns about whose channels the application decides.

use wsloop::{Channels, Wanted};

use super::*;

/// The relay, and an application that decides about it.
fn deciding() -> Settings {
    by(Endpoint { joins: true, path: String::new(), ..Endpoint::default() }, settings())
}

fn by(endpoint: Endpoint, settings: Settings) -> Settings {
    let sources = Setup { tokens: true, ..setup() }.settings().sources;
    Settings { endpoints: vec![endpoint], sources, ..settings }
}

fn on_redis() -> Settings {
    let endpoint = Endpoint { joins: true, path: String::new(), ..Endpoint::default() };
    by(endpoint, with_redis())
}

/// A browser of that user that asks.
fn come(world: &mut World, target: &str, user: &str) -> BrowserId {
    let name = token(&format!(r#"{{"sub":"{user}","groups":["staff"]}}"#));
    world.ask(&upgrade(target, &[&format!("Authorization: Bearer {name}")]))
}

#[track_caller]
fn asked(world: &mut World) -> (ConnId, ConnRequest, Wanted) {
    match &world.events(0)[..] {
        [SocketEvent::Joining { conn, request, wanted }] => {
            (*conn, (**request).clone(), (**wanted).clone())
        }
        other => panic!("{other:?}"),
    }
}

/// The same, and what the application is asked is granted like that.
#[track_caller]
fn join(world: &mut World, target: &str, channels: Channels) -> (BrowserId, ConnId) {
    let id = come(world, target, "alice");
    let (conn, _, _) = asked(world);
    grant(world, conn, channels);
    assert_eq!(world.status(id), Some(101));
    (id, conn)
}

fn grant(world: &mut World, conn: ConnId, channels: Channels) {
    world.order(Order::Grant { conn, channels: Box::new(channels) });
}

fn channels(hears: &[&str], hears_live: &[&str], publishes: &[&str]) -> Channels {
    let [hears, hears_live, publishes] = [hears, hears_live, publishes]
        .map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    Channels { hears, hears_live, publishes }
}

fn released(conn: ConnId, channels: Channels, code: u16, reason: &str) -> SocketEvent {
    let (channels, reason) = (Box::new(channels), reason.to_owned());
    SocketEvent::Released { conn, channels, code, reason }
}

fn publish(world: &mut World, channel: &str, text: &str) {
    world.order(Order::Publish { channel: channel.to_owned(), payload: text.into() });
}

/// Both brokers.
fn with_brokers(test: impl Fn(World)) {
    test(World::new(deciding()));
    test(World::new(on_redis()));
}

const ALL: &str = "/ws/room?subscribe-broadcast&subscribe-user&publish-group&echo";

#[test]
fn it_is_asked_with_who_it_is_and_what_the_rules_would_grant() {
    let mut world = World::new(deciding());
    let id = come(&mut world, ALL, "alice");
    let (conn, request, wanted) = asked(&mut world);
    assert_eq!((&request.path[..], request.user.as_deref()), ("/ws/room", Some("alice")));
    assert!(request.query.starts_with("subscribe-broadcast&") && request.groups == ["staff"]);
    assert_eq!(wanted.facility, "room");
    let options = ["subscribe-broadcast", "subscribe-user", "publish-group", "echo"];
    assert_eq!(wanted.options, options);
    let by_rule = channels(&["broadcast:room", "user:alice:room"], &[], &["group:staff:room"]);
    assert_eq!(wanted.channels, by_rule);
    world.pass(5_000);
    assert_eq!(world.status(id), None, "it waits");
    grant(&mut world, conn, wanted.channels);
    assert_eq!(world.status(id), Some(101));
    assert_eq!(world.response(id).header("x-wsloop-granted"), None, "the rules have not decided");
    publish(&mut world, "user:alice:room", "as by the rules");
    assert_eq!(world.texts(id), ["as by the rules"]);
}

#[test]
fn what_is_granted_is_heard_and_published_to_and_nothing_else() {
    with_brokers(|mut world| {
        for name in ["chosen", "live", "broadcast:room"] {
            publish(&mut world, name, &format!("stored on {name}"));
        }
        let granted = channels(&["chosen", "also", "chosen"], &["live", "also"], &["said", "said"]);
        let (id, conn) = join(&mut world, ALL, granted);
        for name in ["live", "also", "broadcast:room", "chosen"] {
            publish(&mut world, name, name);
        }
        assert_eq!(world.texts(id), ["stored on chosen", "live", "also", "chosen"]);
        let (other, _) = join(&mut world, "/ws/other", channels(&["said"], &[], &[]));
        world.say(id, "from alice");
        world.say(other, "to nobody");
        assert_eq!((world.texts(other), world.texts(id)), (vec!["from alice".into()], vec![]));
        world.send_frame(id, Opcode::Close, b"\x0f\xa0bye");
        let parted = channels(&["chosen", "also", "live"], &[], &["said"]);
        assert_eq!(world.events(0), [released(conn, parted, 4000, "bye")]);
        world.vanish(other);
        assert!(matches!(world.events(0)[..], [SocketEvent::Released { code: 1006, .. }]));
        assert_eq!(world.metrics().channels, 0);
    });
}

#[test]
fn own_messages_come_back_to_who_asks_for_an_echo() {
    for (options, texts) in [("echo", &["mine"][..]), ("", &[])] {
        let mut world = World::new(deciding());
        let target = format!("/ws/room?{options}");
        let (id, _) = join(&mut world, &target, channels(&["both"], &[], &["both"]));
        world.say(id, "mine");
        assert_eq!(world.texts(id), texts);
    }
}

#[test]
fn who_is_refused_or_asks_in_vain_hears_nothing() {
    let mut world = World::new(deciding());
    let id = come(&mut world, ALL, "alice");
    let (conn, _, _) = asked(&mut world);
    world.order(Order::Refuse { conn, status: 404, text: "No such room.".to_owned() });
    assert_eq!((world.status(id), world.response(id).text()), (Some(404), "No such room.\n"));
    grant(&mut world, conn, channels(&["a"], &[], &[]));
    world.pass(20_000);
    assert_eq!(world.events(0), [], "who was refused needs no word of its end");
    let id = come(&mut world, ALL, "alice");
    let (conn, _, _) = asked(&mut world);
    world.pass(10_100);
    assert_eq!(world.status(id), Some(503), "without an answer nothing is granted");
    assert_eq!(world.events(0), [released(conn, Channels::default(), 1006, "")]);
    let id = come(&mut world, ALL, "alice");
    let (conn, _, _) = asked(&mut world);
    world.vanish(id);
    assert_eq!(world.events(0), [released(conn, Channels::default(), 1006, "")]);
    let next = world.accept();
    grant(&mut world, conn, channels(&["a"], &[], &[]));
    world.order(Order::Refuse { conn, status: 404, text: String::new() });
    assert_eq!((world.status(next), world.metrics().channels), (None, 0));
    let id = come(&mut world, ALL, "alice");
    let (conn, _, _) = asked(&mut world);
    world.order(Order::Close { conn, code: 1000, reason: String::new() });
    assert_eq!((world.status(id), world.events(0)), (Some(403), vec![]));
}

#[test]
fn rules_that_refuse_and_plain_questions_do_not_ask_the_application() {
    let mut world = World::new(Settings { require_login: true, ..deciding() });
    let id = world.ask(&upgrade(ALL, &[]));
    assert_eq!(world.status(id), Some(403));
    let id = world.ask(&upgrade(ALL, &["Origin: http://elsewhere.com"]));
    assert_eq!(world.status(id), Some(403));
    let mut world = World::new(deciding());
    let id = world.ask(&request("GET", ALL, &["Host: example.com"]));
    assert_eq!(world.status(id), Some(426));
    assert!(world.response(id).text().contains("the application decides in the end"));
    assert_eq!(world.response(id).header("x-wsloop-granted"), None);
    assert_eq!(world.events(0), []);
}

#[test]
fn an_application_that_does_not_receive_has_them_wait_and_nobody_else() {
    let endpoint = Endpoint { joins: true, queue_events: 1, ..Endpoint::default() };
    let mut world = World::new(by(endpoint, settings()));
    let (member, conn) = join(&mut world, "/ws/room", channels(&["room"], &[], &["room"]));
    let first = come(&mut world, ALL, "bob");
    let second = come(&mut world, ALL, "carol");
    // The conns of the relay are read all the same: what they say is not for the application.
    world.say(member, "heard");
    publish(&mut world, "room", "by others");
    assert_eq!(world.texts(member), ["by others"]);
    assert_eq!(world.metrics().publishes_total, 2);
    let told = world.told(0);
    assert!(matches!(told[..], [SocketEvent::Joining { .. }]), "{told:?}");
    world.vanish(first);
    world.received(0, &told);
    assert!(matches!(world.events(0)[..], [SocketEvent::Released { .. }]));
    let events = world.told(0);
    let [SocketEvent::Joining { request, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(request.user.as_deref(), Some("carol"));
    world.vanish(second);
    world.vanish(member);
    let events = world.told(0);
    assert_eq!(events.len(), 2, "the ends of conns are told however full it is: {events:?}");
    let parted = channels(&["room"], &[], &["room"]);
    assert_eq!(events[1], released(conn, parted, 1006, ""));
    let late = come(&mut world, ALL, "dave");
    world.pass(10_100);
    assert_eq!(world.status(late), Some(503));
}

#[test]
fn redis_may_be_lost_while_it_is_asked() {
    let mut world = World::new(on_redis());
    let id = come(&mut world, ALL, "alice");
    let (conn, _, wanted) = asked(&mut world);
    world.kill_redis();
    world.pass(1_000);
    assert_eq!(world.status(id), None, "Redis was not needed yet");
    grant(&mut world, conn, wanted.channels.clone());
    assert_eq!(world.status(id), Some(503));
    assert_eq!(world.events(0), [released(conn, Channels::default(), 1006, "")]);
    let id = come(&mut world, ALL, "alice");
    let (conn, _, _) = asked(&mut world);
    world.revive_redis();
    world.pass(1_000);
    assert_eq!((world.status(id), world.events(0)), (None, vec![]), "it is asked about once");
    grant(&mut world, conn, wanted.channels);
    world.publish("broadcast:room", "heard");
    assert_eq!((world.status(id), world.texts(id)), (Some(101), vec!["heard".to_owned()]));
}

#[test]
fn when_the_application_has_gone_nobody_new_is_let_in_and_others_stay() {
    let mut world = World::new(deciding());
    let (member, _) = join(&mut world, ALL, channels(&["room"], &[], &["room"]));
    let waits = come(&mut world, ALL, "bob");
    world.order(Order::Gone { endpoint: 0 });
    let late = come(&mut world, ALL, "carol");
    assert_eq!((world.status(waits), world.status(late)), (Some(503), Some(503)));
    publish(&mut world, "room", "alive");
    assert_eq!(world.texts(member), ["alive"]);
}

#[test]
fn a_disconnect_finds_who_somebody_is_and_not_whom_it_hears() {
    let mut world = World::new(deciding());
    let (alice, _) = join(&mut world, ALL, channels(&["user:bob:room"], &[], &[]));
    let bob = come(&mut world, ALL, "bob");
    let (conn, _, wanted) = asked(&mut world);
    grant(&mut world, conn, wanted.channels);
    publish(&mut world, "wsloop:control", r#"{"disconnect": {"user": "bob"}}"#);
    assert!(matches!(world.heard(bob)[..], [Heard::Close(Some(4403), _)]));
    assert_eq!(world.heard(alice), []);
    publish(&mut world, "wsloop:control", r#"{"disconnect": {"group": "staff"}}"#);
    assert!(matches!(world.heard(alice)[..], [Heard::Close(Some(4403), _)]));
    assert_eq!(world.metrics().disconnected_total, 2);
}

#[test]
fn an_application_may_send_to_them_change_what_they_hear_and_close_them() {
    let mut world = World::new(deciding());
    let (id, conn) = join(&mut world, ALL, channels(&["first"], &[], &["said"]));
    world.order(send(conn, "welcome"));
    world.order(Order::Subscribe { conn, channel: "second".to_owned() });
    world.order(Order::Unsubscribe { conn, channel: "first".to_owned() });
    publish(&mut world, "first", "1");
    publish(&mut world, "second", "2");
    assert_eq!(world.texts(id), ["welcome", "2"]);
    world.order(Order::Close { conn, code: 4001, reason: "enough".to_owned() });
    assert_eq!(world.heard(id), [Heard::Close(Some(4001), "enough".to_owned())]);
    let parted = channels(&["second"], &[], &["said"]);
    assert_eq!(world.events(0), [released(conn, parted, 4001, "enough")]);
}

#[test]
fn each_kind_of_asking_has_its_own_answer() {
    let path = |path: &str| Endpoint { path: path.to_owned(), ..Endpoint::default() };
    let endpoints =
        vec![Endpoint { joins: true, ..path("") }, Endpoint { decides: true, ..path("/own/") }];
    let mut world = World::new(Settings { endpoints, ..settings() });
    let relayed = world.ask(&upgrade("/ws/room?subscribe-broadcast", &[]));
    let (conn, request, _) = asked(&mut world);
    assert_eq!((request.user, request.address.is_some()), (None, true));
    world.order(Order::Accept { conn, protocol: None, headers: Vec::new() });
    assert_eq!(world.status(relayed), None, "it is not accepted but granted channels");
    let own = world.ask(&upgrade("/own/", &[]));
    let events = world.events(1);
    let [SocketEvent::Asked { conn: other, .. }] = events[..] else { panic!("{events:?}") };
    grant(&mut world, other, channels(&["a"], &[], &[]));
    assert_eq!(world.status(own), None, "it is accepted or refused");
    let nowhere = world.ask(&upgrade("/elsewhere", &[]));
    assert_eq!(world.status(nowhere), Some(404), "an empty path is no path");
    grant(&mut world, conn, Channels::default());
    assert_eq!(world.status(relayed), Some(101), "it hears nothing, and is open");
}
