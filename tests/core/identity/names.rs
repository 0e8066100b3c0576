//! Names that cannot stand in a channel: every source treats them alike.

use super::*;

/// Has a browser ask whose user, groups and session have these names, by each source that can say
/// so, and hands on what came of it.
fn by_each(
    settings: &Settings,
    [user, groups, session]: [&str; 3],
    options: &str,
    so: impl Fn(&mut World, BrowserId, &str),
) {
    let list: Vec<&str> = groups.split(',').filter(|group| !group.is_empty()).collect();
    let mut claims = serde_json::json!({"sub": user, "groups": list});
    if !session.is_empty() {
        claims["sid"] = session.into();
    }
    let sources = |sources| Settings { sources, ..settings.clone() };
    let nobody = Sources::default;
    let mut world = World::new(sources(Sources { token: Some(tokens()), ..nobody() }));
    let options = options.replace(',', "&");
    let id = knock(&mut world, &format!("token={}&{options}", token(&claims.to_string())), &[]);
    so(&mut world, id, "token");
    for encoded in [false, true] {
        let mut world = World::new(sources(Sources { auth: Some(application()), ..nobody() }));
        let id = knock(&mut world, &options, &[]);
        let line = |header: &str, name: &str| match encoded {
            true => format!("X-Wsloop-{header}-Encoded: {}\r\n", name.replace(':', "%3A")),
            false => format!("X-Wsloop-{header}: {name}\r\n"),
        };
        let lines = [line("User", user), line("Groups", groups), line("Session", session)].concat();
        world.answer(format!("HTTP/1.1 204 No Content\r\n{lines}\r\n"));
        so(&mut world, id, "application");
    }
    if session.is_empty() {
        let mut world = World::new(sources(Sources { session: Some(sessions()), ..nobody() }));
        let stored = serde_json::json!({"wsloop:username": user, "ws4redis:memberof": list});
        world.redis.set("session:johns-key", stored.to_string());
        let id = knock(&mut world, &options, &[COOKIE]);
        so(&mut world, id, "session");
    }
}

#[test]
fn who_has_a_name_with_a_colon_is_let_in_without_it_and_refused_where_it_is_needed() {
    const HEAR: &str = "subscribe-broadcast";
    for (names, options, refused) in [
        (["a:b", "", ""], HEAR, None),
        (["a:b", "c", ""], "subscribe-broadcast,subscribe-group", None),
        (["a:b", "", ""], "subscribe-user", Some("Your user name")),
        (["a:b", "", ""], "subscribe-broadcast,publish-user", Some("Your user name")),
        (["john", "a:b", ""], "subscribe-broadcast,subscribe-user", None),
        (["john", "a:b,c", ""], "subscribe-group", None),
        (["john", "a:b", ""], "subscribe-group", Some("The name of a group of yours")),
        (["john", "a:b,c:d", ""], "publish-group", Some("The name of a group of yours")),
        (["john", "", "a:b"], "subscribe-user", None),
        (["john", "", "a:b"], "subscribe-session", Some("The key of your session")),
    ] {
        by_each(&with_redis(), names, options, |world, id, source| match refused {
            None => assert_eq!(granted(world, id), options, "{names:?} {source}"),
            Some(whose) => {
                expect_refused(world, id, 403, whose);
                let text = world.response(id).text().to_owned();
                assert!(text.contains("holds a colon"), "{text}");
                assert!(!text.contains("a:b"), "{text}");
                assert_eq!(world.metrics().questions_failed_total, 0, "{source}");
            }
        });
    }
}

#[test]
fn an_empty_name_is_nobody_s_and_refuses_nobody() {
    by_each(&with_redis(), ["", "", ""], ALL, |world, id, source| {
        let expected = match source {
            "session" => "subscribe-broadcast,subscribe-session",
            _ => "subscribe-broadcast",
        };
        assert_eq!(granted(world, id), expected, "{source}");
    });
}

#[test]
fn a_comma_is_a_part_of_a_user_s_name() {
    by_each(&with_redis(), ["Doe,John", "", ""], "subscribe-user", |world, id, source| {
        assert_eq!(granted(world, id), "subscribe-user", "{source}");
        world.publish("user:Doe,John:foo", "for him");
        assert_eq!(world.texts(id), ["for him"], "{source}");
    });
}

#[test]
fn no_rule_is_passed_by_who_has_lost_the_name_that_it_is_about() {
    let rule = |who, grant| Rule {
        facility: "*".to_owned(),
        options: Allow::parse("subscribe-broadcast").expect("a list"),
        who,
        grant,
    };
    let denied = vec![rule(Who::Group("a:b".to_owned()), false)];
    let granted_to = vec![rule(Who::LoggedIn, true), rule(Who::Anyone, false)];
    for (rules, names) in [(denied, ["john", "a:b,c", ""]), (granted_to, ["a:b", "", ""])] {
        let settings = Settings { rules: Rules(rules), ..with_redis() };
        by_each(&settings, names, "subscribe-broadcast", |world, id, _| {
            expect_refused(world, id, 403, "cannot be part of a channel's name");
        });
    }
    let settings = Settings { require_login: true, ..with_redis() };
    by_each(&settings, ["a:b", "", ""], "subscribe-broadcast", |world, id, _| {
        expect_refused(world, id, 403, "Your user name cannot be part of a channel's name");
    });
}

#[test]
fn a_plain_request_is_told_which_name_is_missing() {
    let mut world = World::new(by_application());
    let id = world.ask(b"GET /ws/foo?subscribe-user HTTP/1.1\r\nHost: example.com\r\n\r\n");
    world.answer("HTTP/1.1 204 No Content\r\nX-Wsloop-User: a:b\r\n\r\n");
    let response = world.response(id);
    assert_eq!(response.status, 426);
    let said = "- Your user name cannot be part of a channel's name: it holds a colon: a WebSocket \
                that needs it is refused.";
    assert!(response.text().contains(said), "{}", response.text());
}
