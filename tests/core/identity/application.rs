//! The application that is asked, and one source after the other.

use super::*;

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
    assert_eq!((world.app.open(), world.metrics().questions_total), (0, 1));
}

#[test]
fn no_browser_is_let_in_by_the_answer_that_came_twice_for_another() {
    const MARY: &str = "HTTP/1.1 204 No Content\r\nX-Wsloop-User: mary\r\n\r\n";
    let mut world = World::new(by_application());
    let john = knock(&mut world, "subscribe-user", &[]);
    let (first, question) = world.question();
    assert!(question.contains("\r\nConnection: close\r\n"), "{question}");
    world.answer(YES);
    let mary = knock(&mut world, "subscribe-user", &[]);
    let (second, _) = world.question();
    assert_ne!(first, second, "a question has a link of its own");
    world.answer(MARY);
    for (id, user) in [(john, "john"), (mary, "mary")] {
        world.publish(&format!("user:{user}:foo"), user);
        assert_eq!(world.texts(id), [user]);
    }
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
    let mut world = World::new(on_kept_links());
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
