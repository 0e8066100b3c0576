//! Disconnects, and many who wait.

use super::*;

// Revocation.

#[test]
fn whoever_is_named_is_closed_and_nobody_else() {
    for (whose, code) in
        [("user\": \"john", 4403), ("group\": \"a", 4000), ("session\": \"johns-key", 4403)]
    {
        let mut world = with_john(by_session());
        world.redis.set("session:marys-key", r#"{"wsloop:username": "mary"}"#);
        let johns = ["", ALL, "subscribe-broadcast"].map(|o| knock(&mut world, o, &[COOKIE]));
        let others =
            ["Cookie: sessionid=marys-key", "A: b"].map(|header| knock(&mut world, ALL, &[header]));
        control(
            &mut world,
            &format!(r#"{{"disconnect": {{"{whose}"}}, "code": {code}, "reason": "logged out"}}"#),
        );
        for id in johns {
            expect_closed(&mut world, id, code, "logged out");
            assert!(world.browsers[id].closed_ms.is_some());
        }
        for id in others {
            assert_eq!(world.heard(id), []);
        }
        assert_eq!((world.metrics().conns_open, world.metrics().disconnected_total), (2, 3));
        // Who is let in again stays.
        let id = knock(&mut world, ALL, &[COOKIE]);
        control(&mut world, r#"{"disconnect": {"user": "mary"}}"#);
        assert_eq!(world.heard(id), []);
    }
}

#[test]
fn who_is_about_to_be_let_in_is_refused() {
    let message = r#"{"disconnect": {"user": "john"}, "code": 4000}"#;
    // Joining: the session was answered, and no subscription confirmed.
    let mut world = with_john(by_session());
    world.redis.paused = true;
    let id = knock(&mut world, ALL, &[COOKIE]);
    world.redis.serve(1);
    world.run();
    control(&mut world, message);
    expect_refused(&world, id, 403, "no longer");
    assert_eq!(world.metrics().disconnected_total, 1);
    world.redis.paused = false;
    world.run();
    assert_eq!(world.redis.subscribed(), ["wsloop:control"]);
}

#[test]
fn what_was_said_before_a_disconnect_is_heard_before_it() {
    let mut world = with_john(by_session());
    let john = knock(&mut world, ALL, &[COOKIE]);
    let now_ms = world.now_ms;
    world.redis.publish("user:john:foo", "you are logged out", 0, now_ms);
    world.redis.publish("wsloop:control", r#"{"disconnect": {"user": "john"}}"#, 0, now_ms);
    world.redis.publish("user:john:foo", "too late", 0, now_ms);
    world.run();
    let heard = world.heard(john);
    assert_eq!(heard[0], Heard::Text("you are logged out".to_owned()));
    assert!(matches!(&heard[1], Heard::Close(Some(4403), _)), "{heard:?}");
    assert_eq!(heard.len(), 2);
}

#[test]
fn a_session_that_was_read_before_a_disconnect_lets_nobody_in_after_it() {
    let mut world = with_john(by_session());
    world.redis.held = true;
    let id = knock(&mut world, ALL, &[COOKIE]);
    let now_ms = world.now_ms;
    world.redis.publish("wsloop:control", r#"{"disconnect": {"user": "john"}}"#, 0, now_ms);
    world.redis.held = false;
    world.run();
    expect_refused(&world, id, 403, "no longer");
}

#[test]
fn an_answer_of_the_application_from_before_a_disconnect_lets_nobody_in_after_it() {
    let mut world = World::new(by_application());
    let john = knock(&mut world, ALL, &[]);
    let mary = knock(&mut world, ALL, &[]);
    control(&mut world, r#"{"disconnect": {"user": "john"}}"#);
    world.app.say(0, YES);
    world.app.say(1, YES.replace("john", "mary"));
    world.run();
    expect_refused(&world, john, 403, "no longer");
    assert_eq!(world.status(mary), Some(101), "she was not meant");
    // Who is asked about from now on is let in: john has logged in again.
    let again = knock(&mut world, ALL, &[]);
    world.answer(YES);
    assert_eq!(world.status(again), Some(101));
}

#[test]
fn a_disconnect_finds_who_waits_for_redis_to_be_dialed() {
    let mut world = World::new(by_application());
    let id = knock(&mut world, ALL, &[]);
    world.redis.paused = true;
    world.cut_redis();
    world.answer(YES);
    assert_eq!(world.status(id), None, "john waits for the dial");
    world.redis.paused = false;
    world.pass(1_000);
    assert_eq!(world.status(id), Some(101));
    control(&mut world, r#"{"disconnect": {"user": "john"}}"#);
    expect_closed(&mut world, id, 4403, "");
}

#[test]
fn control_messages_that_make_no_sense_are_counted_and_do_nothing() {
    let mut world = with_john(by_session());
    let id = knock(&mut world, ALL, &[COOKIE]);
    let messages = ["", "x", "[]", "{}", r#"{"disconnect": {"user": true}}"#, "\u{0}", r#"{"a": "#];
    for message in messages {
        control(&mut world, message);
    }
    assert_eq!(world.metrics().controls_refused_total, messages.len() as u64);
    control(&mut world, r#"{"disconnect": {"user": "mary"}}"#);
    assert_eq!((world.metrics().disconnected_total, world.heard(id)), (0, vec![]));
}

#[test]
fn a_name_that_the_application_says_twice_is_one_conns() {
    let mut world = World::new(by_application());
    let id = knock(&mut world, ALL, &[]);
    world.answer("HTTP/1.1 204 No Content\r\nX-Wsloop-Groups: a,a,b\r\n\r\n");
    control(&mut world, r#"{"disconnect": {"group": "a"}}"#);
    expect_closed(&mut world, id, 4403, "");
    assert_eq!(world.metrics().disconnected_total, 1);
}

#[test]
fn control_is_listened_to_again_after_an_outage_and_under_the_prefix() {
    let mut world = with_john(Settings { prefix: "site".to_owned(), ..by_session() });
    let id = knock(&mut world, ALL, &[COOKIE]);
    world.cut_redis();
    world.pass(1_000);
    control(&mut world, r#"{"disconnect": {"user": "john"}}"#);
    assert_eq!(world.heard(id), [], "that is another site's");
    let now_ms = world.now_ms;
    let message = r#"{"disconnect": {"user": "john"}}"#;
    world.redis.publish("site:wsloop:control", message, 0, now_ms);
    world.run();
    expect_closed(&mut world, id, 4403, "");
}

#[test]
fn who_may_not_listen_to_control_serves_browsers_all_the_same() {
    let denied = vec![("SUBSCRIBE", "wsloop:control")];
    let mut world = World::around(by_token(), FakeRedis::with(|redis| redis.denied = denied));
    let id = knock(&mut world, ALL, &[]);
    assert_eq!(granted(&world, id), "subscribe-broadcast");
    assert_eq!(world.metrics().broker_errors_total, 1);
    // Nor does one batch with what browsers hear spoil that.
    world.cut_redis();
    world.pass(1_000);
    world.publish("broadcast:foo", "on");
    assert_eq!(world.texts(id), ["on"]);
    assert!(world.metrics().broker_errors_total >= 2);
}

#[test]
fn without_a_source_nobody_listens_to_control() {
    let world = World::new(with_redis());
    assert_eq!(world.redis.subscribed(), [""; 0]);
}

// Many.

#[test]
fn ten_thousand_who_wait_do_not_disturb_who_is_there() {
    const MANY: usize = 10_000;
    let mut settings = by_application();
    settings.ping_interval_ms = 1_000;
    settings.max_handshakes = MANY;
    let mut world = World::new(settings);
    let open = knock(&mut world, "subscribe-broadcast&subscribe-user", &[]);
    world.answer(YES);
    assert_eq!(world.status(open), Some(101));
    for _ in 0..MANY {
        let id = world.accept();
        world.send(id, &upgrade(&path(ALL), &[COOKIE]));
    }
    world.run();
    assert_eq!(world.metrics().handshakes_pending as usize, MANY);
    assert!(!world.server.accepting(), "no more may wait");
    assert_eq!(
        (world.app.most, world.app.questions().len()),
        (2, 2),
        "few links, however many ask"
    );
    for name in ["broadcast:foo", "user:john:foo"] {
        world.publish(name, name);
        assert_eq!(world.texts(open), [name]);
    }
    world.pass(2_500);
    assert_eq!(world.heard(open).len(), 2, "two pings");
    assert_eq!(world.metrics().handshakes_pending as usize, MANY);
    world.pass(500);
    assert_eq!((world.metrics().handshakes_pending, world.metrics().conns_open), (0, 1));
    assert!(world.server.accepting());
    assert_eq!(world.metrics().questions_failed_total as usize, MANY);
    assert!((1..=MANY).all(|id| world.status(id) == Some(503)));
    world.publish("user:john:foo", "still there");
    assert!(world.heard(open).contains(&Heard::Text("still there".to_owned())));
}

#[test]
fn ten_thousand_sessions_are_looked_up_at_once() {
    const MANY: usize = 10_000;
    let mut world = with_john(by_session());
    let open = knock(&mut world, ALL, &[COOKIE]);
    world.redis.held = true;
    for _ in 0..MANY {
        let id = world.accept();
        world.send(id, &upgrade(&path("subscribe-user"), &[COOKIE]));
    }
    world.run();
    assert_eq!(world.metrics().handshakes_pending as usize, MANY);
    world.redis.held = false;
    world.publish("user:john:foo", "to all of them");
    assert_eq!(world.texts(open), ["to all of them"]);
    assert_eq!(world.metrics().conns_open as usize, MANY + 1);
    control(&mut world, r#"{"disconnect": {"session": "johns-key"}}"#);
    assert_eq!((world.metrics().conns, world.metrics().channels), (0, 0));
}
