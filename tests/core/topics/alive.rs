//! How long such a WebSocket lives, and who ends it.

use super::*;
use wsloop::{Endpoint, Rule, Rules, Sources, TokenKeys, Tokens, Who};

/// Tokens say who somebody is.
fn by_token(settings: Settings) -> Settings {
    let keys = TokenKeys::from_file_bytes(b"a secret of more than thirty-two bytes", &[]);
    let tokens = Tokens { keys: keys.expect("a key"), audience: None, leeway_ms: 0 };
    Settings { sources: Sources { token: Some(tokens), ..Sources::default() }, ..settings }
}

/// Somebody with these claims.
fn somebody(world: &mut World, claims: &str) -> BrowserId {
    let token = format!("Authorization: Bearer {}", token(claims));
    open(world, &[&token])
}

#[test]
fn a_token_says_who_it_is_narrows_what_it_may_and_ends_it() {
    let mut world = World::new(by_token(settings()));
    let at_s = BEGIN_UNIX_MS / 1000 + 100;
    let allow = "subscribe-broadcast,subscribe-user";
    let claims = format!(r#"{{"sub":"john","exp":{at_s},"allow":"{allow}"}}"#);
    let id = somebody(&mut world, &claims);
    assert_eq!(answer(&mut world, id, "subscribe 1 user foo"), "ok 1");
    let denied = answer(&mut world, id, "publish 2 user foo\nhello");
    assert_eq!(
        denied,
        "refused 2 403 publish-user is denied: the token or the application allows less"
    );
    world.pass(99_000);
    assert_eq!(answer(&mut world, id, "ping 3"), "ok 3");
    world.pass(1_100);
    assert_eq!(closed_with(&mut world, id).0, Some(4401));
    assert_eq!(world.metrics().subscriptions, 0);
    // A token may be offered beside the protocol, and is none.
    let bearer = format!("bearer.{}", token(r#"{"sub":"john"}"#));
    let offers = format!("Sec-WebSocket-Protocol: {bearer}, wsloop.1");
    let id = world.ask(&upgrade("/ws/", &[&offers]));
    assert_eq!(world.response(id).header("sec-websocket-protocol"), Some("wsloop.1"));
    assert_eq!(world.texts(id).len(), 1);
    assert_eq!(answer(&mut world, id, "subscribe 1 user foo"), "ok 1");
}

#[test]
fn rules_are_those_of_the_url_form() {
    let allow = Allow::parse("").expect("a list");
    let rule = |facility: &str, options: &str, who: Who| Rule {
        facility: facility.to_owned(),
        options: Allow::parse(options).expect("options"),
        who,
        grant: true,
    };
    let rules = Rules(vec![
        rule("news", "subscribe-broadcast", Who::Anyone),
        rule("chat/*", "all", Who::LoggedIn),
        rule("staff", "all", Who::Group("staff".to_owned())),
    ]);
    let mut world = World::new(by_token(Settings { allow, rules, ..settings() }));
    let (nobody, john) = (open(&mut world, &[]), somebody(&mut world, r#"{"sub":"john"}"#));
    let mary = somebody(&mut world, r#"{"sub":"mary","groups":["staff"]}"#);
    for (facility, granted) in
        [("news", [true; 3]), ("chat/1", [false, true, true]), ("staff", [false, false, true])]
    {
        for (id, granted) in [nobody, john, mary].into_iter().zip(granted) {
            let command = format!("subscribe 1 broadcast {facility}");
            let answer = answer(&mut world, id, &command);
            let expected = if granted { "ok 1" } else { "refused 1 403 " };
            assert!(answer.starts_with(expected), "{facility} {id}: {answer}");
            // The URL form says the same.
            let url = format!("/ws/{facility}?subscribe-broadcast");
            if id == nobody {
                let plain = world.open(&url);
                let header = world.response(plain).header("x-wsloop-granted");
                assert_eq!(header == Some("subscribe-broadcast"), granted);
            }
        }
    }
}

#[test]
fn a_disconnect_of_its_user_finds_it_whatever_it_hears() {
    for message in [
        r#"{"disconnect": {"user": "john"}, "code": 4000, "reason": "logged out"}"#,
        r#"{"disconnect": {"group": "staff"}, "code": 4000, "reason": "logged out"}"#,
    ] {
        let mut world = World::new(by_token(with_redis()));
        let john = somebody(&mut world, r#"{"sub":"john","groups":["staff"]}"#);
        let mary = somebody(&mut world, r#"{"sub":"mary"}"#);
        assert_eq!(answer(&mut world, mary, "subscribe 1 user foo"), "ok 1");
        let now_ms = world.now_ms;
        world.redis.publish("wsloop:control", message, 0, now_ms);
        world.run();
        assert_eq!(closed_with(&mut world, john), (Some(4000), "logged out".to_owned()));
        assert_eq!(answer(&mut world, mary, "ping 2"), "ok 2");
    }
}

#[test]
fn a_shutdown_closes_it_as_others() {
    let mut world = World::new(settings());
    let id = open(&mut world, &[]);
    world.shut_down();
    assert_eq!(closed_with(&mut world, id).0, Some(1001));
}

#[test]
fn who_hears_nothing_gets_a_beat() {
    for (settings, every_s) in [
        (Settings { heartbeat: Some(b"--heartbeat--".to_vec()), ..settings() }, 4),
        (Settings { pong_interval_ms: 20_000, ..settings() }, 20),
    ] {
        let mut world = World::new(settings);
        let id = ask(&mut world, "/ws/", &[]);
        let welcome = world.texts(id).remove(0);
        assert!(welcome.ends_with(&format!(" beat={every_s}")), "{welcome}");
        world.pass(every_s * 1000);
        assert_eq!(world.texts(id), ["beat"]);
        world.pass(every_s * 500);
        assert_eq!(answer(&mut world, id, "ping 1"), "ok 1");
        world.pass(every_s * 700);
        assert_eq!(world.texts(id), [""; 0], "an answer is a sign of life too");
    }
}

#[test]
fn the_answer_to_its_close_waits_for_what_it_has_published() {
    let mut world = World::new(with_redis());
    let id = open(&mut world, &[]);
    world.redis.paused = true;
    world.say(id, "publish 1 broadcast foo\nhello");
    world.send_frame(id, Opcode::Close, &1000_u16.to_be_bytes());
    assert_eq!(world.heard(id), []);
    world.redis.paused = false;
    world.run();
    assert_eq!(closed_with(&mut world, id).0, Some(1000));
    assert_eq!(world.redis.take_published(), [(b"broadcast:foo".to_vec(), b"hello".to_vec())]);
}

#[test]
fn what_redis_denies_is_refused_and_nobody_is_closed() {
    let mut world = World::new(with_redis());
    let id = open(&mut world, &[]);
    world.redis.deny("PUBLISH", "broadcast:foo".to_owned());
    assert_eq!(refusal(&mut world, id, "publish 1 broadcast foo\nhello"), 503);
    assert_eq!(answer(&mut world, id, "publish 2 broadcast bar\nhello"), "ok 2");
}

#[test]
fn a_publish_to_several_groups_is_answered_once_and_as_badly_as_the_worst_of_them() {
    let mut world = World::new(by_token(with_redis()));
    let id = somebody(&mut world, r#"{"sub":"john","groups":["a","b","c"]}"#);
    assert_eq!(answer(&mut world, id, "publish 1 group foo\nhello"), "ok 1");
    assert_eq!(world.redis.take_published().len(), 3);
    world.redis.deny("PUBLISH", "group:b:foo".to_owned());
    assert_eq!(refusal(&mut world, id, "publish 2 group foo\nhello"), 503);
    assert_eq!(world.redis.take_published().len(), 2, "the others have it");
}

#[test]
fn what_an_application_decides_about_is_no_such_websocket() {
    let endpoint = Endpoint { joins: true, path: String::new(), ..Endpoint::default() };
    let mut world = World::new(Settings { endpoints: vec![endpoint], ..settings() });
    let id = ask(&mut world, "/ws/", &[]);
    assert_eq!(world.status(id), None, "the application is asked, as about any");
}

#[test]
fn what_it_holds_is_in_the_memory_that_is_bounded() {
    let mut world = World::new(Settings { memory_limit: 64 << 10, unsent_limit: 0, ..settings() });
    let (small, large) = (open(&mut world, &[]), open(&mut world, &[]));
    assert_eq!(answer(&mut world, small, "subscribe 1 broadcast foo"), "ok 1");
    for n in 0..200 {
        let command = format!("subscribe 1 broadcast {n}{}", "x".repeat(400));
        world.browsers[large].send_frame(Opcode::Text, command.as_bytes());
    }
    world.run();
    world.pass(2_000);
    assert_eq!(closed_with(&mut world, large).0, Some(1013));
    assert_eq!(answer(&mut world, small, "ping 2"), "ok 2");
    assert_eq!(world.metrics().memory_closed_total, 1);
}
