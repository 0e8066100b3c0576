//! The core without sockets: whose a browser is, found out before it is let in, and its being sent
//! away again.

mod disorder;

mod application;
mod names;
mod revocation;
mod tokens;
use crate::world::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Allow, Refuse, Rule, Rules, Settings, Sources, TokenKeys, Tokens, Who};

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
const ALL: &str = "subscribe-broadcast&subscribe-group&subscribe-user&subscribe-session";
const COOKIE: &str = "Cookie: sessionid=johns-key";
const JOHN: &str = r#"{"wsloop:username": "john", "ws4redis:memberof": ["b", "a"]}"#;
const YES: &str = "HTTP/1.1 204 No Content\r\nX-Wsloop-User: john\r\n\r\n";
const NOBODY: &str = "HTTP/1.1 204 No Content\r\n\r\n";

fn tokens() -> Tokens {
    let keys = TokenKeys::from_file_bytes(SECRET, &[]).expect("a key");
    Tokens { keys, audience: None, leeway_ms: 0 }
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
    let id = knock(&mut world, "subscribe-broadcast&subscribe-session", &[COOKIE]);
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
fn sessions_have_a_limit_of_their_own() {
    let groups = vec!["\"a group\""; 200].join(",");
    let session = format!(r#"{{"wsloop:username": "john", "more": [{groups}]}}"#);
    let (length, far_more) = (session.len(), 100_000);
    for (max_message_size, max_session_size, may) in
        [(1_000, length, true), (far_more, length - 1, false), (1_000, far_more, true)]
    {
        let limits = Settings { max_message_size, max_session_size, ..by_session() };
        let mut world = World::new(limits);
        world.redis.set("session:johns-key", &session);
        world.redis.set("user:john:foo", "x".repeat(1_001));
        let id = knock(&mut world, ALL, &[COOKIE]);
        match may {
            true => assert_eq!(world.status(id), Some(101), "{length} bytes"),
            false => expect_refused(&world, id, 503, "who you are"),
        }
        assert_eq!(world.metrics().sessions_unreadable_total, u64::from(!may));
        assert_eq!(
            world.metrics().stored_unreadable_total,
            u64::from(may && max_message_size == 1_000)
        );
        world.publish("user:john:foo", "y".repeat(1_001));
        assert_eq!(
            world.metrics().deliveries_skipped_total,
            u64::from(may && max_message_size == 1_000)
        );
        assert_eq!(world.metrics().broker_lost_total, 0);
    }
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
