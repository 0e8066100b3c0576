//! The application is asked about each topic, as about the URL form of it.

use super::*;
use wsloop::AskSettings;

const COOKIE: &str = "Cookie: sessionid=johns-key";
const JOHN: &str = "HTTP/1.1 204 No Content\r\nX-Wsloop-User: john\r\n\r\n";
const MARY: &str = "HTTP/1.1 204 No Content\r\nX-Wsloop-User: mary\r\n\r\n";
const NO: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 13\r\n\r\nnot for john!";

fn world() -> World {
    World::new(by_application())
}

/// John, whom the application has let in.
fn john(world: &mut World) -> BrowserId {
    let id = ask(world, "/ws/", &[COOKIE, "Authorization: Basic abc"]);
    assert_eq!(world.status(id), None);
    let (_, question) = world.question();
    assert!(question.contains("\r\nX-Original-URI: /ws/\r\n"), "{question}");
    world.answer(JOHN);
    assert_eq!(world.status(id), Some(101));
    assert_eq!(world.texts(id).len(), 1);
    id
}

/// The paths that the application is asked about and has not answered.
fn asked(world: &World) -> Vec<String> {
    let questions = world.app.questions();
    let path = |question: &str| {
        let lines = question.lines();
        let line = lines.filter_map(|line| line.strip_prefix("X-Original-URI: ")).next();
        line.expect("a path").to_owned()
    };
    questions.iter().map(|(_, question)| path(question)).collect()
}

#[test]
fn each_topic_is_asked_about_with_the_credentials_of_the_request() {
    let mut world = world();
    let id = john(&mut world);
    world.say(id, "subscribe 1 user a%20b/c");
    assert_eq!(world.texts(id), [""; 0]);
    let (_, question) = world.question();
    for part in [COOKIE, "Authorization: Basic abc", "/ws/a%20b/c?subscribe-user\r\n"] {
        assert!(question.contains(part), "{part}: {question}");
    }
    world.answer(JOHN);
    assert_eq!(world.texts(id), ["subscribed user a%20b/c -", "ok 1"]);
    world.publish("user:john:a b/c", "hello");
    assert_eq!(world.texts(id), ["message user a%20b/c -\nhello"]);
    assert_eq!(world.metrics().questions_total, 2);
    // To be asked once more when it was left.
    assert_eq!(answer(&mut world, id, "unsubscribe 2 user a%20b/c"), "ok 2");
    world.say(id, "subscribe 3 user a%20b/c");
    assert_eq!(asked(&world), ["/ws/a%20b/c?subscribe-user"]);
}

#[test]
fn what_the_application_refuses_is_refused_in_its_words() {
    let mut world = world();
    let id = john(&mut world);
    world.say(id, "subscribe 1 broadcast staff");
    world.answer(NO);
    assert_eq!(world.texts(id), ["refused 1 403 not for john!"]);
    world.say(id, "subscribe 2 broadcast staff");
    world.answer("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(world.texts(id), ["refused 2 401 the application refuses it"]);
    // It narrows, and does not widen.
    world.say(id, "subscribe 3 broadcast staff");
    world.answer(
        "HTTP/1.1 204 No Content\r\nX-Wsloop-User: john\r\nX-Wsloop-Allow: subscribe-user\r\n\r\n",
    );
    let texts = world.texts(id);
    assert!(texts[0].starts_with("refused 3 403 subscribe-broadcast is denied"), "{texts:?}");
    assert_eq!(world.metrics().subscriptions, 0);
    assert_eq!(answer(&mut world, id, "ping 4"), "ok 4");
}

#[test]
fn an_answer_about_somebody_else_closes() {
    let session = "HTTP/1.1 204 No Content\r\nX-Wsloop-User: john\r\nX-Wsloop-Session: b\r\n\r\n";
    for other in [MARY, "HTTP/1.1 204 No Content\r\n\r\n", session] {
        for command in ["subscribe 1 broadcast foo", "publish 1 broadcast foo\nhello"] {
            let mut world = world();
            let id = john(&mut world);
            world.say(id, command);
            world.answer(other);
            assert_eq!(closed_with(&mut world, id).0, Some(4001));
            assert_eq!(world.redis.subscribed(), ["wsloop:control"]);
            assert_eq!(world.redis.take_published(), []);
        }
    }
}

#[test]
fn what_is_no_answer_refuses_the_command_and_nothing_else() {
    let mut world = world();
    let id = john(&mut world);
    world.say(id, "subscribe 1 broadcast foo");
    world.answer("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    assert!(world.texts(id)[0].starts_with("refused 1 503 "));
    world.say(id, "publish 2 broadcast foo\nhello");
    world.pass(AUTH_TIMEOUT_MS);
    assert!(world.texts(id)[0].starts_with("refused 2 503 "));
    assert_eq!(world.metrics().questions_failed_total, 2);
    world.say(id, "subscribe 3 broadcast foo");
    world.answer(JOHN);
    assert_eq!(world.texts(id), ["subscribed broadcast foo -", "ok 3"]);
}

#[test]
fn to_publish_is_asked_about_once_and_all_of_it_keeps_its_order() {
    let mut world = world();
    let id = john(&mut world);
    for n in 1..=3 {
        world.say(id, &format!("publish {n} broadcast foo\nmessage {n}"));
    }
    assert_eq!(asked(&world), ["/ws/foo?publish-broadcast"]);
    assert_eq!(world.redis.take_published(), []);
    world.answer(JOHN);
    world.say(id, "publish 4 broadcast foo\nmessage 4");
    assert_eq!(world.texts(id), ["ok 1", "ok 2", "ok 3", "ok 4"]);
    let published: Vec<String> = world
        .redis
        .take_published()
        .into_iter()
        .map(|(_, payload)| String::from_utf8(payload).expect("text"))
        .collect();
    assert_eq!(published, ["message 1", "message 2", "message 3", "message 4"]);
    assert_eq!(world.metrics().questions_total, 2, "the rest is known");
    // Another topic is another question, and what waits for its answer is refused with it.
    world.say(id, "publish 5 user foo\nhello");
    world.say(id, "publish 6 user foo\nhello");
    world.answer(NO);
    let texts = world.texts(id);
    assert_eq!(texts, ["refused 5 403 not for john!", "refused 6 403 not for john!"]);
}

#[test]
fn who_leaves_while_the_application_is_asked_does_not_hear_it() {
    let mut world = world();
    let id = john(&mut world);
    world.say(id, "subscribe 1 broadcast foo");
    assert_eq!(refusal(&mut world, id, "subscribe 2 broadcast foo"), 409);
    world.say(id, "unsubscribe 3 broadcast foo");
    let texts = world.texts(id);
    assert!(texts[0].starts_with("refused 1 409 "), "{texts:?}");
    assert_eq!(texts[1..], ["ok 3"]);
    world.answer(JOHN);
    assert_eq!(world.texts(id), [""; 0]);
    assert_eq!(world.redis.subscribed(), ["wsloop:control"]);
    world.say(id, "subscribe 4 broadcast foo");
    world.answer(JOHN);
    assert_eq!(world.texts(id), ["subscribed broadcast foo -", "ok 4"]);
}

#[test]
fn a_group_that_is_told_of_with_a_topic_is_heard_and_may_be_disconnected() {
    let mut world = world();
    let id = john(&mut world);
    world.say(id, "subscribe 1 group foo");
    world.answer("HTTP/1.1 204 No Content\r\nX-Wsloop-User: john\r\nX-Wsloop-Groups: a,b\r\n\r\n");
    let expected = ["subscribed group:a foo -", "subscribed group:b foo -", "ok 1"];
    assert_eq!(world.texts(id), expected);
    let now_ms = world.now_ms;
    let message = r#"{"disconnect": {"group": "b"}, "code": 4000, "reason": "left"}"#;
    world.redis.publish("wsloop:control", message, 0, now_ms);
    world.run();
    assert_eq!(closed_with(&mut world, id), (Some(4000), "left".to_owned()));
    assert_eq!(world.metrics().disconnected_total, 1);
}

#[test]
fn whoever_closes_leaves_no_question_behind() {
    let mut world = world();
    let id = john(&mut world);
    world.say(id, "subscribe 1 broadcast foo");
    world.say(id, "publish 2 broadcast foo\nhello");
    assert_eq!(asked(&world).len(), 2);
    world.hang_up(id);
    // The invariants count what is asked; the answers are for nobody.
    for (link, _) in world.app.questions().iter().map(|(link, _)| (*link, ())).collect::<Vec<_>>() {
        world.app.say(link, JOHN);
    }
    world.run();
    assert_eq!(world.redis.take_published(), []);
    assert_eq!(world.redis.subscribed(), ["wsloop:control"]);
}

#[test]
fn what_its_request_had_is_kept_by_such_a_websocket_alone_and_counted_from_the_first() {
    const SIZE: usize = 4_000;
    let cookie = format!("Cookie: sessionid={}", "x".repeat(SIZE));
    let held = |world: &mut World| {
        // It is counted when something happens.
        world.pass(1_000);
        let other = world.accept();
        world.send(other, b"x");
        world.hang_up(other);
        world.metrics().memory_bytes as usize
    };
    let mut world = world();
    let id = ask(&mut world, "/ws/", &[&cookie]);
    assert!(held(&mut world) >= SIZE, "{}", held(&mut world));
    world.answer(JOHN);
    assert_eq!(world.status(id), Some(101));
    let kept = held(&mut world);
    assert!((SIZE..SIZE + 2_000).contains(&kept), "{kept}");
    world.hang_up(id);
    assert_eq!(held(&mut world), 0);
    let plain = world.ask(&upgrade("/ws/foo?subscribe-broadcast", &[&cookie]));
    world.answer(JOHN);
    assert_eq!(world.status(plain), Some(101));
    assert!(held(&mut world) < 100, "{}", held(&mut world));
}

#[test]
fn what_waits_for_answers_is_bounded() {
    let mut limits = by_application();
    let auth = AskSettings { connections: 1, waiting: 2, ..application() };
    limits.sources.auth = Some(auth);
    limits.max_message_size = 10_000;
    let mut world = World::new(limits);
    let id = john(&mut world);
    for n in 1..=5 {
        world.say(id, &format!("subscribe {n} broadcast foo/{n}"));
    }
    let texts = world.texts(id);
    assert!(texts.iter().all(|text| text.contains(" 503 ")), "{texts:?}");
    assert_eq!(texts.len(), 2, "one is asked and two wait");
    let large = "x".repeat(6_000);
    let mut world = World::new(Settings { max_message_size: 10_000, ..by_application() });
    let id = john(&mut world);
    world.say(id, &format!("publish 1 broadcast foo\n{large}"));
    assert_eq!(refusal(&mut world, id, &format!("publish 2 broadcast foo\n{large}")), 429);
}
