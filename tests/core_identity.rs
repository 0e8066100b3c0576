//! The core without sockets: whose a browser is, found out before it is let in, and its being sent
//! away again.

mod world;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use world::*;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{
    Allow, Entries, Format, Refuse, Rule, Rules, Sessions, Settings, Sources, TokenKey, Tokens, Who,
};

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const ALL: &str = "subscribe-broadcast&subscribe-group&subscribe-user&subscribe-session";
const COOKIE: &str = "Cookie: sessionid=johns-key";
const JOHN: &str = r#"{"wsloop:username": "john", "ws4redis:memberof": ["b", "a"]}"#;
const YES: &str = "HTTP/1.1 204 No Content\r\nX-Wsloop-User: john\r\n\r\n";
const NOBODY: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn tokens() -> Tokens {
    Tokens { key: TokenKey::from_file_bytes(SECRET).expect("a key"), audience: None }
}

/// Redis, and tokens.
fn by_token() -> Settings {
    let sources = Sources { token: Some(tokens()), ..Sources::default() };
    Settings { sources, ..with_redis() }
}

/// Redis, and all of them.
fn by_all() -> Settings {
    let sources =
        Sources { token: Some(tokens()), session: Some(sessions()), auth: Some(application()) };
    Settings { sources, ..with_redis() }
}

/// A world in which john has a session.
fn with_john(settings: Settings) -> World {
    let mut world = World::new(settings);
    world.redis.set("session:johns-key", JOHN);
    world
}

fn path(options: &str) -> String {
    format!("/ws/foo?{options}")
}

/// A browser asks with these headers.
fn knock(world: &mut World, options: &str, headers: &[&str]) -> BrowserId {
    world.ask(&upgrade(&path(options), headers))
}

/// The options that a browser was granted, which was let in.
#[track_caller]
fn granted(world: &World, id: BrowserId) -> &str {
    assert_eq!(world.status(id), Some(101), "{:?}", world.browsers[id].response);
    world.response(id).header("X-Wsloop-Granted").expect("it is always said")
}

/// A token with these claims.
fn token(claims: &str) -> String {
    let [header, claims] = [r#"{"alg":"HS256"}"#, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let body = format!("{header}.{claims}");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
    let tag = aws_lc_rs::hmac::sign(&key, body.as_bytes());
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// That it is refused with this status and these words.
#[track_caller]
fn expect_refused(world: &World, id: BrowserId, status: u16, words: &str) {
    let response = world.response(id);
    assert_eq!(response.status, status, "{response:?}");
    assert!(response.text().contains(words), "{response:?}");
    assert!(world.browsers[id].closed_ms.is_some());
}

/// That it was let in only to be closed with this code and these words.
#[track_caller]
fn expect_closed(world: &mut World, id: BrowserId, code: u16, words: &str) {
    assert_eq!(world.status(id), Some(101));
    match world.heard(id).pop() {
        Some(Heard::Close(Some(got), reason)) if got == code && reason.contains(words) => {}
        other => panic!("not a close with {code} and {words:?}: {other:?}"),
    }
}

/// The application, or the operator, says this to the servers.
fn control(world: &mut World, message: &str) {
    let now_ms = world.now_ms;
    world.redis.publish("wsloop:control", message, 0, now_ms);
    world.run();
}

// Sessions.

#[test]
fn a_session_gives_the_channels_of_its_user_groups_and_key() {
    let mut world = with_john(by_session());
    let id = knock(&mut world, ALL, &[COOKIE]);
    assert_eq!(granted(&world, id), ALL.replace('&', ","));
    let names = ["broadcast:foo", "group:b:foo", "group:a:foo", "user:john:foo"];
    for name in names.into_iter().chain(["session:johns-key:foo"]) {
        world.publish(name, name);
        assert_eq!(world.texts(id), [name]);
    }
    world.publish("user:mary:foo", "not for john");
    world.publish("user:john:other", "for another page");
    assert_eq!(world.texts(id), [""; 0]);
    let commands = world.redis.take_commands();
    let at = |command: &str| commands.iter().position(|known| known == command);
    let order = [at("GETRANGE session:johns-key 0 1048576"), at("SUBSCRIBE broadcast:foo")];
    assert!(order[0].is_some() && order[0] < order[1], "{commands:?}");
}

#[test]
fn what_a_group_is_told_is_published_to_each_of_them() {
    let mut world = with_john(by_session());
    let john = knock(&mut world, "publish-group&publish-user&publish-session", &[COOKIE]);
    world.say(john, "hello");
    for name in ["group:a:foo", "group:b:foo", "user:john:foo", "session:johns-key:foo"] {
        assert_eq!(world.redis.stored(0, name, world.now_ms), Some(&b"hello"[..]), "{name}");
    }
    assert_eq!(world.redis.stored(0, "session:johns-key", 0), Some(JOHN.as_bytes()));
}

#[test]
fn who_has_no_session_that_can_be_believed_is_nobody() {
    let huge = format!("[{}]", "[".repeat(1000));
    for (header, stored) in [
        ("Accept: */*", None),
        (COOKIE, None),
        ("Cookie: sessionid=", None),
        ("Cookie: sessionid=short", None),
        ("Cookie: sessionid=johns-key:foo", None),
        ("Cookie: sessionid=broadcast", None),
        ("Cookie: sessionid=../johns-key", None),
        ("Cookie: other=johns-key", None),
        (COOKIE, Some("")),
        (COOKIE, Some("no JSON")),
        (COOKIE, Some("[]")),
        (COOKIE, Some(&huge)),
    ] {
        let mut world = World::new(by_session());
        if let Some(stored) = stored {
            world.redis.set("session:johns-key", stored);
        }
        let id = knock(&mut world, ALL, &[header]);
        assert_eq!(granted(&world, id), "subscribe-broadcast", "{header} {stored:?}");
        assert_eq!(world.redis.subscribed(), ["broadcast:foo", "wsloop:control"]);
        world.publish("session:johns-key:foo", "for somebody");
        assert_eq!(world.texts(id), [""; 0]);
    }
}

#[test]
fn cookies_and_sessions_that_are_not_believed_are_counted() {
    let mut world = World::new(by_session());
    knock(&mut world, ALL, &["Cookie: sessionid=short"]);
    assert_eq!(world.metrics().cookies_refused_total, 1);
    world.redis.set("session:johns-key", "no JSON");
    knock(&mut world, ALL, &[COOKIE]);
    assert_eq!(world.metrics().sessions_refused_total, 1);
    world.redis.set("session:johns-key", r#"{"wsloop:username": "a:b"}"#);
    let id = knock(&mut world, ALL, &[COOKIE]);
    assert_eq!(granted(&world, id), "subscribe-broadcast,subscribe-session");
    assert_eq!(world.metrics().names_refused_total, 1);
}

#[test]
fn a_lookup_that_is_answered_late_lets_in_late() {
    let mut world = with_john(by_session());
    world.redis.paused = true;
    let id = knock(&mut world, ALL, &[COOKIE]);
    world.send_frame(id, Opcode::Text, b"early");
    world.pass(4_000);
    assert_eq!(world.status(id), None);
    assert_eq!(world.metrics().handshakes_pending, 1);
    world.redis.paused = false;
    world.run();
    assert_eq!(granted(&world, id), ALL.replace('&', ","));
    assert_eq!(world.metrics().messages_in_total, 1, "what it said early is heard");
}

#[test]
fn a_lookup_that_is_never_answered_is_a_503() {
    let mut settings = by_session();
    redis_of(&mut settings).timeout_ms = 60_000;
    let mut world = with_john(settings);
    world.redis.paused = true;
    let id = knock(&mut world, ALL, &[COOKIE]);
    world.pass(9_900);
    assert_eq!(world.status(id), None);
    world.pass(200);
    expect_refused(&world, id, 503, "took too long on the server's side");
    assert!(world.response(id).header("Retry-After").is_some());
    // The answer comes for nobody, and the next one's is its own.
    world.redis.set("session:marys-key", r#"{"wsloop:username": "mary"}"#);
    let mary = knock(&mut world, ALL, &["Cookie: sessionid=marys-key"]);
    world.redis.paused = false;
    world.run();
    world.publish("user:mary:foo", "for mary");
    world.publish("user:john:foo", "for john");
    assert_eq!(world.texts(mary), ["for mary"]);
}

#[test]
fn an_answer_for_who_has_gone_is_nobodys() {
    let mut world = with_john(by_session());
    world.redis.set("session:marys-key", r#"{"wsloop:username": "mary"}"#);
    for vanishes in [false, true] {
        world.redis.paused = true;
        let john = knock(&mut world, ALL, &[COOKIE]);
        match vanishes {
            true => world.vanish(john),
            false => world.hang_up(john),
        }
        assert!(world.browsers[john].closed_ms.is_some());
        // Whoever comes next gets the same place.
        let mary = knock(&mut world, ALL, &["Cookie: sessionid=marys-key"]);
        assert_eq!(world.browsers[john].link.index, world.browsers[mary].link.index);
        world.redis.paused = false;
        world.run();
        world.publish("user:john:foo", "for john");
        world.publish("user:mary:foo", "for mary");
        let texts = world.texts(mary);
        assert!(texts.contains(&"for mary".into()) && !texts.contains(&"for john".into()));
        world.vanish(mary);
        assert_eq!(world.redis.subscribed(), ["wsloop:control"]);
    }
}

#[test]
fn an_answer_too_many_is_given_to_nobody() {
    let mut world = with_john(by_session());
    world.redis.set("session:marys-key", r#"{"wsloop:username": "mary"}"#);
    world.redis.held = true;
    let mary = knock(&mut world, ALL, &["Cookie: sessionid=marys-key"]);
    world.redis.blurt(format!("${}\r\n{JOHN}\r\n", JOHN.len()).as_bytes());
    world.redis.held = false;
    world.run();
    world.pass(1_000);
    assert_eq!(world.metrics().broker_lost_total, 1, "such a link is of no more use");
    assert_eq!(granted(&world, mary), "subscribe-broadcast,subscribe-user,subscribe-session");
    world.publish("user:john:foo", "for john");
    world.publish("user:mary:foo", "for mary");
    assert_eq!(world.texts(mary), ["for mary"]);
}

#[test]
fn a_lookup_that_is_lost_with_redis_is_made_again() {
    let mut world = with_john(by_session());
    world.redis.paused = true;
    let john = knock(&mut world, ALL, &[COOKIE]);
    let nobody = knock(&mut world, "", &["Cookie: sessionid=nobodys-key"]);
    world.cut_redis();
    assert_eq!(world.metrics().broker_up, 0, "it is being dialed, and greets nobody");
    let late = knock(&mut world, ALL, &[COOKIE]);
    assert_eq!([john, nobody, late].map(|id| world.status(id)), [None; 3]);
    world.redis.paused = false;
    world.pass(1_000);
    assert_eq!(world.metrics().broker_up, 1);
    for id in [john, late] {
        assert_eq!(granted(&world, id), ALL.replace('&', ","));
    }
    assert_eq!(granted(&world, nobody), "");
    let commands = world.redis.take_commands();
    let gets = commands
        .iter()
        .filter(|command| *command == "GETRANGE session:johns-key 0 1048576")
        .count();
    assert_eq!(gets, 2, "once for each: {commands:?}");
}

#[test]
fn without_redis_nobody_is_taken_for_nobody() {
    let mut world = with_john(by_session());
    world.redis.paused = true;
    let waiting = knock(&mut world, ALL, &[COOKIE]);
    world.kill_redis();
    world.pass(500);
    expect_refused(&world, waiting, 503, "later");
    let down = knock(&mut world, "", &[COOKIE]);
    expect_refused(&world, down, 503, "later");
    let without = knock(&mut world, "", &[]);
    assert_eq!(granted(&world, without), "", "whom nobody need be asked about");
}

#[test]
fn what_is_no_text_where_a_session_should_be_is_a_503() {
    let key = "session:johns-key";
    let redis = FakeRedis::with(|redis| redis.denied = vec![("GETRANGE", key), ("GET", key)]);
    let mut world = World::around(by_session(), redis);
    let id = knock(&mut world, ALL, &[COOKIE]);
    expect_refused(&world, id, 503, "who you are");
    assert_eq!(world.metrics().sessions_unreadable_total, 1);
}

#[test]
fn a_session_that_is_larger_than_a_message_may_be_is_a_503() {
    let mut world = World::new(Settings { max_message_size: 1_000, ..by_session() });
    let groups = vec!["\"a group\""; 200].join(",");
    let session = format!(r#"{{"wsloop:username": "john", "more": [{groups}]}}"#);
    world.redis.set("session:johns-key", session);
    let id = knock(&mut world, ALL, &[COOKIE]);
    expect_refused(&world, id, 503, "who you are");
    assert_eq!(world.metrics().sessions_unreadable_total, 1);
    assert_eq!(world.metrics().broker_lost_total, 0);
}

// Stored messages of several channels.

const STORED: [&str; 5] =
    ["broadcast:foo", "group:b:foo", "group:a:foo", "user:john:foo", "session:johns-key:foo"];

#[test]
fn stored_messages_come_in_the_order_broadcast_groups_user_session() {
    let mut world = with_john(by_session());
    STORED.iter().for_each(|name| world.redis.set(name, name));
    // Others hear some of them already, in another order of coming.
    for options in ["subscribe-session", "subscribe-user", "subscribe-group"] {
        knock(&mut world, options, &[COOKIE]);
    }
    let id = knock(&mut world, ALL, &[COOKIE]);
    assert_eq!(world.texts(id), STORED);
}

#[test]
fn stored_messages_come_in_that_order_also_across_an_outage() {
    for paused in [true, false] {
        let mut world = with_john(by_session());
        let early: Vec<BrowserId> = ["subscribe-session", "subscribe-user", "subscribe-group"]
            .map(|options| knock(&mut world, options, &[COOKIE]))
            .into();
        world.redis.set("session:others-key", r#"{"ws4redis:memberof": ["a"]}"#);
        knock(&mut world, "subscribe-group", &["Cookie: sessionid=others-key"]);
        let open = knock(&mut world, ALL, &[COOKIE]);
        assert_eq!(world.texts(open), [""; 0]);
        // One waits for its stored messages when Redis goes.
        world.redis.paused = true;
        let waiting = knock(&mut world, ALL, &[COOKIE]);
        world.redis.serve(usize::from(!paused));
        world.run();
        world.cut_redis();
        STORED.iter().for_each(|name| world.redis.set(name, name));
        world.redis.paused = false;
        world.pass(1_000);
        assert_eq!(world.texts(waiting), STORED, "paused {paused}");
        assert_eq!(world.texts(open), STORED, "news are for everybody, in their own order");
        for (id, names) in early.into_iter().zip([&STORED[4..], &STORED[3..4], &STORED[1..3]]) {
            assert_eq!(world.texts(id), names);
        }
    }
}

// The application.

#[test]
fn the_application_is_asked_and_grants() {
    let mut world = World::new(by_application());
    let headers =
        [COOKIE, "Authorization: Basic abc", "User-Agent: x", "Origin: http://example.com"];
    let id = knock(&mut world, ALL, &headers);
    assert_eq!(world.status(id), None);
    let (_, question) = world.question();
    assert!(question.starts_with("GET /auth?key=1 HTTP/1.1\r\nHost: app\r\n"), "{question}");
    for header in headers.into_iter().chain(["192.0.2.7", "/ws/foo?subscribe-broadcast"]) {
        assert!(question.contains(header), "{header}: {question}");
    }
    world.answer(
        "HTTP/1.1 200 OK\r\nX-Wsloop-User: john\r\nX-Wsloop-Groups: b, a,b\r\n\
         X-Wsloop-Session: johns-key\r\nContent-Length: 2\r\n\r\nok",
    );
    assert_eq!(granted(&world, id), ALL.replace('&', ","));
    for name in STORED {
        world.publish(name, name);
        assert_eq!(world.texts(id), [name]);
    }
    let headers = &world.response(id).headers;
    assert!(headers.iter().all(|(name, value)| !value.contains("john") && name != "X-Wsloop-User"));
    assert_eq!((world.app.open(), world.metrics().questions_total), (1, 1));
}

#[test]
fn the_application_can_narrow_what_is_granted_and_never_widen_it() {
    for (allow, rules, grants) in [
        (None, "all", "subscribe-broadcast,subscribe-user,publish-user"),
        (Some(""), "all", ""),
        (Some("publish-user"), "all", "publish-user"),
        (Some("all"), "subscribe-user", "subscribe-user"),
        (
            Some("publish-user,subscribe-user"),
            "subscribe-user,subscribe-broadcast",
            "subscribe-user",
        ),
        (Some("subscribe-group"), "all", ""),
    ] {
        let mut settings = by_application();
        settings.allow = Allow::parse(rules).expect("a list");
        let mut world = World::new(settings);
        let id = knock(&mut world, "subscribe-broadcast&subscribe-user&publish-user", &[]);
        let header = allow.map(|allow| format!("X-Wsloop-Allow: {allow}\r\n")).unwrap_or_default();
        world.answer(format!("HTTP/1.1 204 No Content\r\nX-Wsloop-User: john\r\n{header}\r\n"));
        assert_eq!(granted(&world, id), grants, "{allow:?} of {rules}");
    }
}

#[test]
fn whatever_is_no_answer_is_a_503_and_never_a_grant() {
    let many = (0..1001).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let too_many = format!("HTTP/1.1 204 No Content\r\nX-Wsloop-Groups: {many}\r\n\r\n");
    for answer in [
        "HTTP/1.1 500 Internal Server Error\r\nX-Wsloop-User: john\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nX-Wsloop-User: john\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nX-Wsloop-User: a:b\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nX-Wsloop-User: a\r\nX-Wsloop-User: b\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nX-Wsloop-User: a\r\nX-Wsloop-Allow: everything\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        &too_many,
    ] {
        let mut world = World::new(by_application());
        let id = knock(&mut world, ALL, &[]);
        world.answer(answer);
        expect_refused(&world, id, 503, "who you are");
        assert!(world.response(id).header("Retry-After").is_some());
        assert_eq!(world.metrics().questions_failed_total, 1, "{answer}");
        assert_eq!(world.redis.subscribed(), ["wsloop:control"]);
    }
}

#[test]
fn the_application_refuses_in_its_own_words() {
    for (status, phrase) in [(401, "Unauthorized"), (403, "Forbidden")] {
        let text = "Log in,\r\n please \u{1b}[31m: j\u{fc}rgen";
        let answer =
            format!("HTTP/1.1 {status} {phrase}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        let mut world = World::new(by_application());
        let id = knock(&mut world, ALL, &[]);
        world.answer(&answer);
        expect_refused(&world, id, status, "Log in,");
        let refused = world.response(id).text().to_owned();
        assert!(refused.contains("j\u{fc}rgen"), "{refused:?}");
        assert!(!refused.trim_end().contains(char::is_control), "{refused:?}");
        assert_eq!(world.metrics().questions_failed_total, 0);
    }
}

#[test]
fn a_refusal_is_a_close_code_where_pages_are_to_see_it() {
    let close = |settings| Settings { refuse: Refuse::Close, ..settings };
    let long = "\u{20ac}".repeat(300);
    for (answer, code, words) in [
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 6\r\n\r\nlog in".into(), 4401, "log in"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".into(), 4403, ""),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".into(), 4503, "who you are"),
        (
            format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n{long}", long.len()),
            4403,
            "\u{20ac}",
        ),
    ] {
        let mut world = World::new(close(by_application()));
        let id = knock(&mut world, ALL, &[]);
        world.answer(answer);
        assert_eq!(world.response(id).header("X-Wsloop-Granted"), None);
        expect_closed(&mut world, id, code, words);
    }
    let mut world = World::new(close(by_application()));
    let id = knock(&mut world, ALL, &[]);
    world.pass(AUTH_TIMEOUT_MS);
    expect_closed(&mut world, id, 4503, "who you are");
    let mut world = World::new(close(by_token()));
    let id = knock(&mut world, "token=x", &[]);
    expect_closed(&mut world, id, 4401, "malformed");
    let mut world = World::new(Settings { require_login: true, ..close(by_token()) });
    let id = knock(&mut world, ALL, &[]);
    expect_closed(&mut world, id, 4403, "logged in");
    let mut world = World::new(close(by_session()));
    world.kill_redis();
    world.pass(500);
    let id = knock(&mut world, ALL, &[COOKIE]);
    expect_closed(&mut world, id, 4503, "who you are");
}

#[test]
fn a_slow_application_is_not_waited_for_and_its_late_answer_is_nobodys() {
    let mut world = World::new(by_application());
    let john = knock(&mut world, ALL, &[]);
    world.pass(AUTH_TIMEOUT_MS - 1);
    assert_eq!(world.status(john), None);
    world.pass(1);
    expect_refused(&world, john, 503, "who you are");
    assert_eq!(world.app.open(), 0, "its link is of no more use");
    let mary = knock(&mut world, ALL, &[]);
    let (link, _) = world.question();
    assert_eq!((link, world.app.links.len()), (1, 2));
    world.answer(NOBODY);
    assert_eq!(granted(&world, mary), "subscribe-broadcast");
}

#[test]
fn an_answer_about_who_has_gone_is_thrown_away() {
    let mut world = World::new(by_application());
    let john = knock(&mut world, ALL, &[]);
    world.vanish(john);
    let mary = knock(&mut world, ALL, &[]);
    assert_eq!(world.browsers[john].link.index, world.browsers[mary].link.index);
    let links: Vec<usize> = world.app.questions().iter().map(|(link, _)| *link).collect();
    assert_eq!(links.len(), 2);
    world.app.say(links[0], YES);
    world.run();
    assert_eq!(world.status(mary), None, "that was john's");
    world.app.say(links[1], NOBODY);
    world.run();
    assert_eq!(granted(&world, mary), "subscribe-broadcast");
}

#[test]
fn an_application_that_hangs_up_grants_nothing() {
    for begun in ["", "HTTP/1.1 204 No Content\r\nX-Wsloop-User: john\r\n"] {
        for cause in [Cause::Ended, Cause::Failed("reset".to_owned())] {
            let mut world = World::new(by_application());
            let id = knock(&mut world, ALL, &[]);
            if !begun.is_empty() {
                world.answer(begun);
            }
            assert_eq!(world.status(id), None);
            world.app.hang_up(0, cause.clone());
            world.run();
            expect_refused(&world, id, 503, "who you are");
            assert_eq!(world.app.open(), 0);
        }
    }
}

#[test]
fn a_link_that_the_application_closed_while_it_rested_costs_nobody_a_503() {
    let mut world = World::new(by_application());
    let first = knock(&mut world, ALL, &[]);
    world.answer(YES);
    assert_eq!(world.status(first), Some(101));
    let id = knock(&mut world, ALL, &[]);
    let (link, _) = world.question();
    assert_eq!(link, 0, "the link is used again");
    world.app.hang_up(link, Cause::Failed("reset".to_owned()));
    world.run();
    let (link, _) = world.question();
    assert_eq!(link, 1, "and the question asked again on another");
    world.answer(YES);
    assert_eq!(granted(&world, id), "subscribe-broadcast,subscribe-user");
}

#[test]
fn an_application_that_is_not_there_is_a_503() {
    for reach in [Reach::Refuses, Reach::Silent] {
        let mut world = World::new(by_application());
        world.app.reach = reach;
        let id = knock(&mut world, ALL, &[]);
        world.pass(AUTH_TIMEOUT_MS);
        expect_refused(&world, id, 503, "who you are");
        world.app.reach = Reach::Answers;
        world.pass(1_000);
        let id = knock(&mut world, ALL, &[]);
        world.answer(YES);
        assert_eq!(granted(&world, id), "subscribe-broadcast,subscribe-user");
    }
}

#[test]
fn an_application_that_takes_a_question_in_pieces_is_asked_all_of_it() {
    let mut world = World::new(by_application());
    world.app.appetite = Some(10);
    let id = knock(&mut world, ALL, &[COOKIE]);
    assert_eq!(world.app.links[0].inbox.len(), 10);
    world.app.appetite = None;
    // The kernel says when it takes more.
    world.app.links[0].says.clear();
    world.resume_app(0);
    let (_, question) = world.question();
    assert!(question.contains(COOKIE) && question.matches("GET ").count() == 1, "{question}");
    world.answer(YES);
    assert_eq!(world.status(id), Some(101));
}

#[test]
fn who_needs_redis_is_refused_though_the_application_grants() {
    let mut world = World::new(by_application());
    let id = knock(&mut world, ALL, &[]);
    let bare = knock(&mut world, "", &[]);
    world.kill_redis();
    world.pass(500);
    assert_eq!(
        [world.status(id), world.status(bare)],
        [None; 2],
        "Redis is not what they wait for"
    );
    for link in [0, 1] {
        world.app.say(link, YES);
    }
    world.run();
    expect_refused(&world, id, 503, "broker");
    assert_eq!(world.status(bare), Some(101));
}

#[test]
fn a_shutdown_forgets_what_was_asked() {
    let mut world = World::new(by_application());
    let id = knock(&mut world, ALL, &[]);
    world.shut_down();
    expect_refused(&world, id, 503, "shutting down");
    world.app.say(0, YES);
    world.run();
    assert!(world.server.is_done());
}

// One source after the other.

#[test]
fn the_first_source_that_knows_somebody_ends_the_search() {
    let mut world = with_john(by_all());
    let mary = format!("token={}&{ALL}", token(r#"{"sub":"mary"}"#));
    let id = knock(&mut world, &mary, &[COOKIE]);
    assert_eq!(granted(&world, id), "subscribe-broadcast,subscribe-user");
    assert_eq!(world.redis.subscribed(), ["broadcast:foo", "user:mary:foo", "wsloop:control"]);
    let john = knock(&mut world, ALL, &[COOKIE]);
    assert_eq!(granted(&world, john), ALL.replace('&', ","));
    assert_eq!(world.metrics().questions_total, 0);
    // No session of that key, one that is not believed, a key that cannot be one, and none.
    world.redis.set("session:bad-session", "?");
    for header in [
        "Cookie: sessionid=unknown-key",
        "Cookie: sessionid=bad-session",
        "Cookie: sessionid=x",
        "A: b",
    ] {
        let id = knock(&mut world, ALL, &[header]);
        assert!(world.question().1.contains(header) || header == "A: b");
        world.answer(YES);
        assert_eq!(granted(&world, id), "subscribe-broadcast,subscribe-user", "{header}");
    }
}

#[test]
fn a_lookup_and_a_question_can_be_lost_one_after_the_other() {
    let mut world = with_john(by_all());
    world.redis.paused = true;
    let id = knock(&mut world, ALL, &["Cookie: sessionid=unknown-key"]);
    assert_eq!(world.app.questions(), []);
    world.cut_redis();
    world.redis.paused = false;
    world.pass(1_000);
    assert_eq!(world.app.questions().len(), 1);
    world.cut_redis();
    world.pass(1_000);
    assert_eq!(world.metrics().questions_total, 1, "it is not asked again for Redis's sake");
    world.vanish(id);
    world.app.say(0, YES);
    world.run();
    assert_eq!(world.metrics().conns, 0);
}

// Tokens.

#[test]
fn a_token_is_found_wherever_it_may_be_and_never_echoed() {
    let good = token(r#"{"sub":"john","groups":["a"],"sid":"s"}"#);
    let protocols = format!("Sec-WebSocket-Protocol: bearer.{good}, chat");
    let alone = format!("Sec-WebSocket-Protocol: bearer.{good}");
    let bearer = format!("Authorization: bearer {good}");
    let query = format!("token={good}&");
    for (query, header, protocol) in [
        (query.as_str(), "Accept: */*", None),
        ("", &protocols, Some("chat")),
        ("", &alone, None),
        ("", &bearer, None),
        (query.as_str(), &bearer, None),
    ] {
        let mut world = World::new(by_token());
        let id = knock(&mut world, &format!("{query}{ALL}"), &[header]);
        assert_eq!(granted(&world, id), ALL.replace('&', ","), "{header}");
        let response = world.response(id);
        assert_eq!(response.header("Sec-WebSocket-Protocol"), protocol);
        assert!(response.headers.iter().all(|(_, value)| !value.contains(&good[..20])));
        world.publish("user:john:foo", "for john");
        assert_eq!(world.texts(id), ["for john"]);
    }
    // Also where nobody takes it.
    let mut world = World::new(with_redis());
    let id = knock(&mut world, ALL, &[&protocols]);
    assert_eq!(world.response(id).header("Sec-WebSocket-Protocol"), Some("chat"));
    let id = knock(&mut world, ALL, &[&alone]);
    assert_eq!(world.response(id).header("Sec-WebSocket-Protocol"), None);
}

#[test]
fn a_token_that_is_wrong_is_a_401_and_never_a_step_to_the_next_source() {
    let s = BEGIN_UNIX_MS / 1000;
    let expired = token(&format!(r#"{{"sub":"john","exp":{s}}}"#));
    let early = token(&format!(r#"{{"sub":"john","nbf":{}}}"#, s + 1));
    let good = token(r#"{"sub":"john"}"#);
    let other = token(r#"{"sub":"mary"}"#);
    for (query, header, words) in [
        (format!("token={expired}"), COOKIE.to_owned(), "expired"),
        (format!("token={early}"), COOKIE.to_owned(), "not yet valid"),
        ("token=".to_owned(), COOKIE.to_owned(), "malformed"),
        ("token".to_owned(), COOKIE.to_owned(), "malformed"),
        (format!("token={}", &good[..good.len() - 2]), COOKIE.to_owned(), "signature"),
        (String::new(), format!("Sec-WebSocket-Protocol: chat, bearer.{expired}"), "expired"),
        (String::new(), format!("Authorization: Bearer {expired}"), "expired"),
        (String::new(), "Authorization: Bearer".to_owned(), "malformed"),
        (format!("token={good}"), format!("Authorization: Bearer {other}"), "two"),
    ] {
        let mut world = with_john(by_all());
        let id = knock(&mut world, &format!("{query}&{ALL}"), &[&header, COOKIE]);
        expect_refused(&world, id, 401, words);
        assert_eq!(world.response(id).header("WWW-Authenticate"), Some("Bearer"));
        assert_eq!(world.metrics().tokens_refused_total, 1);
        assert_eq!((world.metrics().questions_total, world.app.links.len()), (0, 0));
        assert!(
            !world
                .redis
                .take_commands()
                .contains(&"GETRANGE session:johns-key 0 1048576".to_owned())
        );
    }
}

#[test]
fn a_token_is_judged_by_the_time_of_day_and_not_by_the_clock_of_deadlines() {
    let mut world = World::new(by_token());
    let s = BEGIN_UNIX_MS / 1000;
    let text = token(&format!(r#"{{"sub":"john","nbf":{},"exp":{}}}"#, s + 100, s + 200));
    let query = format!("token={text}");
    let status = |world: &mut World, offset_ms: u64| {
        world.begin_unix_ms = BEGIN_UNIX_MS + offset_ms;
        let id = knock(world, &query, &[]);
        world.status(id)
    };
    for (offset_ms, expected) in [(99_999, 401), (100_000, 101), (199_000, 101), (200_000, 401)] {
        assert_eq!(status(&mut world, offset_ms), Some(expected), "{offset_ms}");
    }
}

#[test]
fn who_stays_until_its_token_expires_is_closed_at_that_moment() {
    let mut settings = by_token();
    settings.ping_interval_ms = 20_000;
    settings.heartbeat = Some(b"--heartbeat--".to_vec());
    let mut world = World::new(settings);
    let s = BEGIN_UNIX_MS / 1000;
    let query = |exp: &str| format!("token={}&{ALL}", token(&format!(r#"{{"sub":"john"{exp}}}"#)));
    let john = knock(&mut world, &query(&format!(r#","exp":{}"#, s + 90)), &[]);
    let ever = knock(&mut world, &query(""), &[]);
    let far = knock(&mut world, &query(r#","exp":1e300"#), &[]);
    world.pass(89_900);
    for id in [john, ever, far] {
        let heard = world.heard(id);
        let pings = heard.iter().filter(|heard| matches!(heard, Heard::Ping(_))).count();
        assert_eq!((pings, heard.len()), (4, 27), "{heard:?}");
    }
    assert_eq!(world.metrics().expired_total, 0);
    world.pass(150);
    expect_closed(&mut world, john, 4401, "expired");
    let (expired, closed_ms) = (world.metrics().expired_total, world.browsers[john].closed_ms);
    assert_eq!((expired, closed_ms), (1, Some(world.now_ms)));
    world.publish("user:john:foo", "on");
    for id in [ever, far] {
        assert!(world.texts(id).contains(&"on".to_owned()));
    }
    world.pass(3_600_000);
    assert_eq!(world.metrics().conns_open, 2);
}

#[test]
fn nobody_is_closed_before_its_token_expires_or_more_than_a_tick_later() {
    for (at_ms, lasts_ms) in [(0, 1000), (1, 1000), (49, 1000), (49, 1), (25, 1026), (7, 1)] {
        let mut world = World::new(by_token());
        world.pass(at_ms);
        let ends_ms = BEGIN_UNIX_MS + at_ms + lasts_ms;
        let text =
            token(&format!(r#"{{"sub":"john","exp":{}.{:03}}}"#, ends_ms / 1000, ends_ms % 1000));
        let query = format!("token={text}&subscribe-user");
        let id = knock(&mut world, &query, &[]);
        assert_eq!(world.status(id), Some(101));
        world.pass(lasts_ms - 1);
        assert_eq!(world.heard(id), [], "{at_ms} {lasts_ms}");
        world.pass(51);
        expect_closed(&mut world, id, 4401, "expired");
        let again = knock(&mut world, &query, &[]);
        expect_refused(&world, again, 401, "expired");
    }
}

#[test]
fn who_is_not_let_in_before_its_token_expires_hears_nothing() {
    let mut settings = by_token();
    redis_of(&mut settings).timeout_ms = 60_000;
    let mut world = World::new(settings);
    world.redis.set("user:john:foo", "for who may hear it");
    world.redis.paused = true;
    let exp = BEGIN_UNIX_MS / 1000 + 5;
    let query = format!("token={}&{ALL}", token(&format!(r#"{{"sub":"john","exp":{exp}}}"#)));
    let id = knock(&mut world, &query, &[]);
    world.pass(6_000);
    world.redis.paused = false;
    world.run();
    world.pass(100);
    assert_eq!(world.browsers[id].heard.len(), 1);
    expect_closed(&mut world, id, 4401, "expired");
    assert_eq!((world.metrics().expired_total, world.metrics().handshakes_pending), (1, 0));
}

#[test]
fn a_token_can_narrow_what_is_granted() {
    let mut world = World::new(by_token());
    let query = format!("token={}&{ALL}", token(r#"{"sub":"john","allow":"subscribe-user"}"#));
    let id = knock(&mut world, &query, &[]);
    assert_eq!(granted(&world, id), "subscribe-user");
    assert_eq!(world.metrics().options_denied_total, 3);
}

// Permissions.

#[test]
fn who_must_be_logged_in_is() {
    for settings in [by_session(), by_application(), by_token(), with_redis()] {
        let mut world = with_john(Settings { require_login: true, ..settings });
        world.app.answers = Box::new(|_| Some(NOBODY.to_owned()));
        world.redis.set("session:nobodys-key", "{}");
        for header in ["Cookie: sessionid=nobodys-key", "Accept: */*"] {
            let id = knock(&mut world, "", &[header]);
            expect_refused(&world, id, 403, "log in first");
        }
    }
    let mut world = with_john(Settings { require_login: true, ..by_session() });
    let id = knock(&mut world, "", &[COOKIE]);
    assert_eq!(world.status(id), Some(101));
}

#[test]
fn rules_are_about_who_it_turns_out_to_be() {
    let rule = |who, options: &str| Rule {
        facility: "foo".to_owned(),
        options: Allow::parse(options).expect("a list"),
        who,
        grant: true,
    };
    let rules = Rules(vec![
        rule(Who::Group("b".to_owned()), "publish-group"),
        rule(Who::LoggedIn, "subscribe-user"),
        rule(Who::Anyone, "subscribe-broadcast"),
    ]);
    let allow = Allow::parse("").expect("a list");
    let mut world = with_john(Settings { rules, allow, ..by_session() });
    world.redis.set("session:marys-key", r#"{"wsloop:username": "mary"}"#);
    let asks = "subscribe-broadcast&subscribe-user&publish-group&publish-user";
    for (header, grants) in [
        (COOKIE, "subscribe-broadcast,subscribe-user,publish-group"),
        ("Cookie: sessionid=marys-key", "subscribe-broadcast,subscribe-user"),
        ("Accept: */*", "subscribe-broadcast"),
    ] {
        let id = knock(&mut world, asks, &[header]);
        assert_eq!(granted(&world, id), grants, "{header}");
    }
}

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

// Everything at once.

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % below
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

const USERS: [&str; 3] = ["john", "mary", "paul"];

/// A browser of that user comes, by one way or another.
fn come(world: &mut World, dice: &mut Dice, user: &str) -> BrowserId {
    let options = dice.pick(&[ALL, "subscribe-user", "", "subscribe-user&publish-user"]);
    match dice.roll(3) {
        0 => knock(world, options, &[&format!("Cookie: sessionid=key-of-{user}")]),
        1 => knock(world, options, &[&format!("Cookie: who={user}")]),
        _ => {
            let ends_ms = BEGIN_UNIX_MS + world.now_ms - BEGIN_MS + dice.roll(20_000) as u64 + 1;
            let exp = ends_ms as f64 / 1000.0;
            let text = token(&format!(r#"{{"sub":"{user}","exp":{exp}}}"#));
            knock(world, &format!("{options}&token={text}"), &[])
        }
    }
}

/// What the application says to a question, which names the user.
fn of_user(question: &str) -> Option<String> {
    let user = USERS.into_iter().find(|user| question.contains(&format!("who={user}")));
    // Whose session was not found is asked about, too.
    let header = user.map(|user| format!("X-Wsloop-User: {user}\r\n")).unwrap_or_default();
    Some(format!("HTTP/1.1 204 No Content\r\n{header}\r\n"))
}

/// The application does something about one of the questions.
fn respond(world: &mut World, dice: &mut Dice) {
    let questions = world.app.questions();
    if questions.is_empty() {
        return;
    }
    let (link, question) = questions[dice.roll(questions.len())];
    let answer = of_user(question).expect("an answer");
    match dice.roll(6) {
        0 => world.app.hang_up(link, Cause::Ended),
        1 => world.app.hang_up(link, Cause::Failed("reset".to_owned())),
        2 => world.app.say(link, "?\r\n"),
        3 => {
            world.app.say(link, &answer[..20]);
            world.app.say(link, &answer[20..]);
        }
        _ => world.app.say(link, answer),
    }
    world.run();
}

fn disturb_redis(world: &mut World, dice: &mut Dice) {
    match dice.roll(6) {
        0 => world.cut_redis(),
        1 => world.redis.paused = true,
        2 => world.redis.held = true,
        3 => world.redis.serve(dice.roll(3)),
        4 => world.redis.piece = 1 + dice.roll(40),
        _ => {
            (world.redis.paused, world.redis.held) = (false, false);
            world.redis.piece = usize::MAX;
        }
    }
    world.run();
}

/// Disconnects a user; when Redis says so at once, whoever was open is closed at once.
fn disconnect(world: &mut World, dice: &mut Dice, browsers: &[(BrowserId, &str)]) {
    let user = dice.pick(&USERS);
    let open: Vec<BrowserId> = browsers
        .iter()
        .filter(|(id, of)| *of == user && world.status(*id) == Some(101))
        .map(|(id, _)| *id)
        .collect();
    let listens = world.redis.subscribed().contains(&"wsloop:control".to_owned());
    control(world, &format!(r#"{{"disconnect": {{"user": "{user}"}}}}"#));
    if listens && !world.redis.held {
        for id in open {
            assert!(world.browsers[id].closed_ms.is_some(), "{user} is still there");
        }
    }
}

/// Plays a game, and returns how often the things happened that it is about.
fn play(seed: u64) -> [u64; 8] {
    let mut world = World::new(by_all());
    for user in USERS {
        let session = format!(r#"{{"wsloop:username": "{user}"}}"#);
        world.redis.set(&format!("session:key-of-{user}"), session);
    }
    let (mut dice, mut browsers, mut texts) = (Dice(seed), Vec::new(), 0);
    for step in 0..300 {
        let user = dice.pick(&USERS);
        match dice.roll(17) {
            0..=4 => browsers.push((come(&mut world, &mut dice, user), user)),
            5..=7 => respond(&mut world, &mut dice),
            8..=10 => world.publish(&format!("user:{user}:foo"), format!("{user} {step}")),
            11 => disturb_redis(&mut world, &mut dice),
            12 => disconnect(&mut world, &mut dice, &browsers),
            13 => world.pass(dice.roll(1_500) as u64),
            _ if browsers.is_empty() => {}
            roll => {
                let (id, of) = browsers[dice.roll(browsers.len())];
                match roll {
                    14 => world.vanish(id),
                    15 => world.say(id, &format!("{of} says {step}")),
                    _ => world.hang_up(id),
                }
            }
        }
        for (id, of) in &browsers {
            for heard in world.heard(*id) {
                let Heard::Text(text) = heard else { continue };
                texts += 1;
                assert!(text.starts_with(of), "seed {seed}, step {step}: {of} hears {text:?}");
            }
        }
    }
    (world.redis.paused, world.redis.held) = (false, false);
    world.pass(30_000);
    let metrics = world.metrics().clone();
    assert_eq!((metrics.handshakes_pending, metrics.broker_up), (0, 1), "seed {seed}");
    browsers.iter().for_each(|(id, _)| world.vanish(*id));
    world.pass(31_000);
    assert_eq!((world.metrics().conns, world.metrics().channels), (0, 0), "seed {seed}");
    assert_eq!(world.redis.subscribed(), ["wsloop:control"]);
    assert_eq!(world.app.open(), 0, "what rests is closed");
    [
        texts,
        metrics.handshakes_total,
        metrics.handshakes_refused_total,
        metrics.publishes_total,
        metrics.expired_total,
        metrics.disconnected_total,
        metrics.questions_failed_total,
        metrics.broker_lost_total,
    ]
}

#[test]
fn whatever_happens_nobody_hears_what_is_for_another_and_nothing_is_left() {
    let mut happened = [0; 8];
    for seed in 1..=60 {
        happened.iter_mut().zip(play(seed)).for_each(|(sum, times)| *sum += times);
    }
    assert!(happened.iter().all(|sum| *sum >= 50), "{happened:?}");
}
