//! Tokens and permissions.

use super::*;

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
    let far = knock(&mut world, &query(r#","exp":253402300799"#), &[]);
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

/// John and mary, whose tokens are good for an hour and for two.
fn for_hours(world: &mut World) -> [BrowserId; 2] {
    [("john", 3_600), ("mary", 7_200)].map(|(user, lasts_s)| {
        let exp = world.unix_ms() / 1000 + lasts_s;
        let text = token(&format!(r#"{{"sub":"{user}","exp":{exp}}}"#));
        let id = knock(world, &format!("token={text}&subscribe-user"), &[]);
        assert_eq!(world.status(id), Some(101));
        id
    })
}

#[test]
fn nobody_stays_an_hour_longer_for_a_machine_that_was_suspended_as_long() {
    for (wait_ms, jump_ms) in [(0, 3_600_000), (1_234, 3_600_000), (90_000, 3_599_000)] {
        let mut world = World::new(by_token());
        world.pass(wait_ms);
        let [john, mary] = for_hours(&mut world);
        world.pass(2_000);
        world.begin_unix_ms += jump_ms;
        world.turn();
        expect_closed(&mut world, john, 4401, "expired");
        assert_eq!(world.status(mary), Some(101));
        assert_eq!(world.heard(mary), [], "{wait_ms}");
        // What is left of mary's hour is kept to a tick.
        let left_ms = 7_200_000 - 2_000 - jump_ms;
        let (whole_ms, part_ms) = (left_ms / 1000 * 1000, left_ms % 1000);
        world.pass(whole_ms - 1_000);
        assert_eq!(world.heard(mary), [], "{wait_ms}");
        world.pass(1_000 + part_ms + 100);
        expect_closed(&mut world, mary, 4401, "expired");
    }
}

#[test]
fn a_clock_that_is_set_back_closes_nobody_early_and_one_that_creeps_closes_in_time() {
    let mut world = World::new(by_token());
    let [john, _] = for_hours(&mut world);
    world.begin_unix_ms -= 1_800_000;
    world.pass(3_600_000);
    assert_eq!(world.heard(john), []);
    world.pass(1_799_000);
    assert_eq!(world.heard(john), []);
    world.pass(1_100);
    expect_closed(&mut world, john, 4401, "expired");
    // A millisecond in each second is an hour and 3.6 s in an hour.
    let mut world = World::new(by_token());
    let [john, _] = for_hours(&mut world);
    for second in 0..3_596 {
        world.begin_unix_ms += 1;
        world.pass(1_000);
        assert_eq!(world.browsers[john].closed_ms, None, "{second}");
    }
    world.pass(600);
    expect_closed(&mut world, john, 4401, "expired");
}

#[test]
fn who_waits_for_the_broker_while_the_clock_jumps_hears_nothing_after_its_time() {
    let mut settings = by_token();
    redis_of(&mut settings).timeout_ms = 60_000;
    let mut world = World::new(settings);
    world.redis.paused = true;
    let exp = BEGIN_UNIX_MS / 1000 + 3_600;
    let query = format!("token={}&{ALL}", token(&format!(r#"{{"sub":"john","exp":{exp}}}"#)));
    let id = knock(&mut world, &query, &[]);
    world.begin_unix_ms += 3_600_100;
    world.redis.paused = false;
    world.run();
    expect_closed(&mut world, id, 4401, "expired");
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
fn echoes_and_metrics_are_for_nobody_who_must_log_in_first() {
    let mut settings = by_token();
    settings.echo_path = Some("/echo".to_owned());
    settings.metrics_path = Some("/metrics".to_owned());
    for require_login in [false, true] {
        let mut world = World::new(Settings { require_login, ..settings.clone() });
        let good = token(r#"{"sub":"john"}"#);
        let (bearer, forged) =
            (format!("Authorization: Bearer {good}"), "Authorization: Bearer a.b.c".to_owned());
        for (header, echo, metrics) in
            [("Accept: */*", 101, 200), (&bearer, 101, 200), (&forged, 101, 200)]
        {
            let refused = match header {
                _ if !require_login || header == bearer => None,
                _ if header == forged => Some(401),
                _ => Some(403),
            };
            let id = world.ask(&upgrade("/echo", &[header]));
            assert_eq!(world.status(id), Some(refused.unwrap_or(echo)), "{header}");
            if refused.is_none() {
                world.say(id, "back");
                assert_eq!(world.texts(id), ["back"]);
            }
            let request = format!("GET /metrics HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n");
            let id = world.ask(request.as_bytes());
            assert_eq!(world.status(id), Some(refused.unwrap_or(metrics)), "{header}");
            let has_numbers = world.response(id).text().contains("wsloop_conns_open");
            assert_eq!(has_numbers, refused.is_none(), "{header}");
        }
    }
}

#[test]
fn the_application_is_asked_who_wants_echoes_and_metrics_where_that_matters() {
    let mut settings = Settings { require_login: true, ..by_application() };
    settings.echo_path = Some("/echo".to_owned());
    settings.metrics_path = Some("/metrics".to_owned());
    for (answer, expected) in [(YES, [101, 200]), (NOBODY, [403, 403])] {
        let mut world = World::new(settings.clone());
        let requests =
            [upgrade("/echo", &[]), b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()];
        for (request, status) in requests.iter().zip(expected) {
            let id = world.ask(request);
            assert_eq!(world.status(id), None);
            world.answer(answer);
            assert_eq!(world.status(id), Some(status));
        }
    }
}

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
