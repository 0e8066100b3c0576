//! The core without sockets: requests, refusals, pages, limits, and what comes before the 101.

mod http;
mod limits;

use std::borrow::Cow;

use crate::world::*;
use wsloop::internals::access::identity::Identity;
use wsloop::internals::browser::Context;
use wsloop::internals::browser::handshake;
use wsloop::internals::browser::handshake::{Decision, Examined};
use wsloop::proto::http::parse_head;
use wsloop::proto::ws::frame::Opcode;
use wsloop::proto::ws::upgrade::AllowedOrigins;
use wsloop::{Allow, Page, PageContent, Refuse, Rule, Rules, Settings, Who};

/// Whether a browser was refused in full: a whole response, the end of what is sent, and only when
/// the browser has hung up, the end of the link.
#[track_caller]
fn assert_refused(world: &mut World, id: BrowserId, status: u16) -> String {
    assert_eq!(world.status(id), Some(status));
    assert_eq!(world.browsers[id].finished_ms, Some(world.now_ms), "the end was not said");
    assert_eq!(world.browsers[id].closed_ms, None, "closed before the browser hung up");
    let response = world.response(id);
    assert!(response.headers.contains(&("Connection".to_string(), "close".to_string())));
    assert_eq!(response.header("Content-Type"), Some("text/plain; charset=utf-8"));
    let text = response.text().to_string();
    assert!(text.ends_with(".\n") || text.ends_with("`).\n"), "not a sentence: {text}");
    world.hang_up(id);
    assert_eq!(world.browsers[id].closed_ms, Some(world.now_ms));
    text
}

/// A request whose browser does not hang up by itself.
fn ask(world: &mut World, bytes: &[u8]) -> BrowserId {
    let id = world.accept();
    world.browsers[id].polite = false;
    world.send(id, bytes);
    world.run();
    id
}

#[test]
fn a_handshake_is_the_same_however_it_is_cut() {
    let request = upgrade("/ws/foo?subscribe-broadcast&publish-broadcast&echo", &[]);
    let mut bytes = request.clone();
    bytes.extend(masked(Opcode::Text, b"hello"));
    for settings in [settings(), with_redis()] {
        let mut world = World::new(settings);
        for cut in 1..bytes.len() {
            let id = world.accept();
            world.send(id, &bytes[..cut]);
            world.send(id, &bytes[cut..]);
            world.run();
            assert_eq!(world.status(id), Some(101), "cut at {cut}");
            assert_eq!(world.texts(id).last().map(String::as_str), Some("hello"), "cut at {cut}");
            world.hang_up(id);
        }
        let id = world.accept();
        bytes.iter().for_each(|byte| world.send(id, &[*byte]));
        world.run();
        assert_eq!(world.texts(id).last().map(String::as_str), Some("hello"), "byte by byte");
        let response = world.response(id);
        assert_eq!(response.header("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(response.header("Upgrade"), Some("websocket"));
        assert_eq!(response.header("Connection"), Some("Upgrade"));
        assert_eq!(response.header("Content-Length"), None);
        assert_eq!(world.metrics().handshakes_total as usize, bytes.len());
    }
}

#[test]
fn every_refusal_is_a_whole_response_and_the_link_outlives_it() {
    let without = |name: &str| {
        let text = String::from_utf8(upgrade("/ws/foo", &[])).unwrap();
        let kept = text.split("\r\n").filter(|line| !line.starts_with(name));
        kept.collect::<Vec<_>>().join("\r\n").into_bytes()
    };
    let long = format!("Cookie: {}", "x".repeat(9000));
    let many = vec!["X: y"; 100];
    for (status, bytes) in [
        (400, b"\x16\x03\x01\x02\x00\x01".to_vec()),
        (400, b"GET /ws/foo HTTP/2.0\r\n\r\n".to_vec()),
        (400, b"GET /ws/foo HTTP/1.0\r\nHost: h\r\n\r\n".to_vec()),
        (400, request("POST", "/ws/foo", &["Host: h"])),
        (426, request("GET", "/ws/foo", &["Host: h"])),
        (400, without("Host")),
        (400, without("Connection")),
        (400, without("Sec-WebSocket-Key")),
        (426, without("Sec-WebSocket-Version")),
        (403, upgrade("/ws/foo", &["Origin: http://elsewhere.com"])),
        (400, upgrade("/ws/foo", &["Origin: http://a", "Origin: http://b"])),
        (404, upgrade("/elsewhere", &[])),
        (404, request("GET", "/elsewhere", &["Host: h"])),
        (405, request("POST", "/elsewhere", &["Host: h"])),
        (431, upgrade("/ws/foo", &[&long])),
        (431, upgrade("/ws/foo", &many)),
    ] {
        let mut world = World::new(settings());
        let id = ask(&mut world, &bytes);
        let text = assert_refused(&mut world, id, status);
        let response = world.response(id);
        match status {
            405 => assert_eq!(response.header("Allow"), Some("GET, HEAD")),
            426 => assert_eq!(response.header("Sec-WebSocket-Version"), Some("13")),
            403 => assert!(text.contains("--allowed-origins") && text.contains("Host")),
            _ => {}
        }
        let metrics = world.metrics();
        assert_eq!((metrics.conns, metrics.handshakes_pending, metrics.conns_open), (0, 0, 0));
        assert_eq!(metrics.origins_refused_total, u64::from(status == 403));
        let plain = bytes.ends_with(b"/elsewhere HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(metrics.requests_total, u64::from(plain));
        assert_eq!(metrics.handshakes_refused_total, u64::from(!plain), "{status}");
    }
}

#[test]
fn a_refused_browser_that_does_not_hang_up_is_closed_after_a_while() {
    let mut world = World::new(settings());
    let id = ask(&mut world, &request("GET", "/ws/foo", &["Host: h"]));
    let refused_ms = world.now_ms;
    world.send(id, b"more, which nobody reads");
    world.pass(4_900);
    assert_eq!(world.browsers[id].closed_ms, None);
    world.pass(200);
    let closed_ms = world.browsers[id].closed_ms.expect("it is closed");
    assert!((5_000..=5_050).contains(&(closed_ms - refused_ms)));
    assert_eq!(world.metrics().conns, 0);
}

#[test]
fn a_refusal_reaches_a_browser_that_reads_slowly_and_has_shut_its_side() {
    let mut world = World::new(settings());
    let id = world.accept();
    world.stall(id, 10);
    world.send(id, &request("GET", "/ws/foo", &["Host: h"]));
    world.hang_up(id);
    assert_eq!((world.status(id), world.browsers[id].closed_ms), (None, None));
    world.resume(id);
    assert_eq!(world.status(id), Some(426));
    assert!(world.response(id).body.len() == world.response(id).content_length());
    assert_eq!(world.browsers[id].closed_ms, Some(world.now_ms));
}

#[test]
fn refusing_by_close_is_a_101_and_a_close_code_that_the_page_sees() {
    let mut world = World::new(Settings { refuse: Refuse::Close, ..with_redis() });
    for (code, bytes) in [
        (4403, upgrade("/ws/foo", &["Origin: http://elsewhere.com"])),
        (4404, upgrade("/elsewhere", &[])),
    ] {
        let id = ask(&mut world, &bytes);
        assert_eq!(world.status(id), Some(101));
        assert!(matches!(&world.heard(id)[..], [Heard::Close(Some(c), _)] if *c == code));
        assert_eq!(world.browsers[id].shut_ms(), None);
        world.send_frame(id, Opcode::Close, &code.to_be_bytes());
        assert_eq!(world.browsers[id].closed_ms, Some(world.now_ms));
    }
    world.kill_redis();
    world.pass(200);
    let id = world.knock("/ws/foo?subscribe-broadcast");
    assert_eq!(world.status(id), Some(101));
    assert!(matches!(&world.heard(id)[..], [Heard::Close(Some(4503), _)]));
    assert_eq!(world.metrics().handshakes_total, 0);
    assert_eq!(world.metrics().handshakes_refused_total, 3);

    // What never was a WebSocket handshake has no 101 to be given.
    let id = ask(&mut world, &request("GET", "/ws/foo", &["Host: h"]));
    assert_refused(&mut world, id, 426);
}

#[test]
fn one_sub_protocol_is_chosen() {
    let spoken = || Some(vec!["chat.v1".to_string(), "chat.v2".to_string()]);
    for (spoken, offered, chosen) in [
        (None, &[][..], None),
        (None, &["Sec-WebSocket-Protocol: one"], Some("one")),
        (None, &["Sec-WebSocket-Protocol: bearer.secret, one, two"], Some("one")),
        (None, &["Sec-WebSocket-Protocol: Bearer.secret"], None),
        (
            spoken(),
            &["Sec-WebSocket-Protocol: x, chat.v2", "Sec-WebSocket-Protocol: chat.v1"],
            Some("chat.v2"),
        ),
        (spoken(), &["Sec-WebSocket-Protocol: chat.v3"], None),
    ] {
        let mut world = World::new(Settings { subprotocols: spoken, ..settings() });
        let id = world.ask(&upgrade("/ws/foo", offered));
        assert_eq!(world.status(id), Some(101));
        assert_eq!(world.response(id).header("Sec-WebSocket-Protocol"), chosen, "{offered:?}");
    }
}

#[test]
fn pages_of_other_origins_are_refused() {
    let listed = AllowedOrigins::parse("https://app.example, null").unwrap();
    let none = AllowedOrigins::Listed(vec![]);
    for (allowed, origin, status) in [
        (&none, "http://example.com", 101),
        (&none, "https://EXAMPLE.com:443", 101),
        (&none, "http://example.com:80", 101),
        (&none, "http://example.com:8080", 403),
        (&none, "http://example.com.evil.com", 403),
        (&none, "null", 403),
        (&listed, "null", 101),
        (&listed, "https://app.example", 101),
        (&listed, "http://app.example", 403),
        (&AllowedOrigins::Any, "http://evil.com", 101),
    ] {
        let mut world = World::new(Settings { allowed_origins: allowed.clone(), ..settings() });
        let id = world.ask(&upgrade("/ws/foo", &[&format!("Origin: {origin}")]));
        assert_eq!(world.status(id), Some(status), "{origin}");
    }
}

#[test]
fn what_is_not_allowed_is_discarded_and_counted() {
    let mut world = World::new(Settings { allow: Allow::default(), ..settings() });
    let id = world.open("/ws/foo?subscribe-broadcast&publish-broadcast&publish-user&echo");
    assert_eq!(world.metrics().options_denied_total, 2);
    world.say(id, "hello");
    assert_eq!(world.texts(id), [""; 0]);
    let metrics = world.metrics();
    assert_eq!((metrics.messages_in_total, metrics.publishes_unrouted_total), (1, 1));
    assert_eq!((metrics.publishes_total, metrics.publishes_dropped_total), (0, 0));

    // What nobody is, is not denied: there is nothing to grant.
    world.open("/ws/foo?subscribe-user&subscribe-group&subscribe-session&unheard-of");
    assert_eq!(world.metrics().options_denied_total, 2);
    assert_eq!(world.metrics().channels, 1);
}

/// The header comes with every 101 of a WebSocket path, also when it waited for Redis.
#[test]
fn the_101_says_what_was_granted() {
    let both = "subscribe-broadcast,publish-broadcast";
    for (allow, query, granted) in [
        ("all", "", ""),
        ("all", "subscribe-broadcast&publish-broadcast&x", both),
        ("all", "PUBLISH-broadcast=no&echo&binary&echo", "publish-broadcast,echo,binary"),
        ("", "subscribe-broadcast&publish-broadcast&gaps&binary", "binary,gaps"),
        ("subscribe-broadcast", "subscribe-broadcast&publish-broadcast", "subscribe-broadcast"),
        // Nobody is a user, so that there is no channel for it.
        ("all", "subscribe-user&subscribe-group&publish-session&echo", "echo"),
    ] {
        for settings in [settings(), with_redis()] {
            let allow = Allow::parse(allow).expect("a list");
            let mut world = World::new(Settings { allow, ..settings });
            let id = world.open(&format!("/ws/foo?{query}"));
            assert_eq!(world.response(id).header("X-Wsloop-Granted"), Some(granted), "{query}");
        }
    }
    let mut world = World::new(Settings { echo_path: Some("/echo".to_owned()), ..settings() });
    let id = world.open("/echo?subscribe-broadcast");
    assert_eq!(world.response(id).header("X-Wsloop-Granted"), None, "nothing can be granted there");
}

#[test]
fn rules_decide_by_facility_and_what_they_deny_is_counted() {
    let rule = |facility: &str, options: &str, who, grant| Rule {
        facility: facility.to_owned(),
        options: Allow::parse(options).expect("options"),
        who,
        grant,
    };
    let rules = Rules(vec![
        rule("chat/*", "publish-broadcast", Who::Anyone, true),
        rule("staff/*", "all", Who::LoggedIn, true),
        rule("staff/*", "all", Who::Anyone, false),
    ]);
    for (facility, granted, denied) in [
        ("chat/a", "subscribe-broadcast,publish-broadcast", 0),
        ("chat%2Fa", "subscribe-broadcast,publish-broadcast", 0),
        ("chat", "subscribe-broadcast", 1),
        ("staff/a", "", 2),
        ("%73taff/a", "", 2),
        ("Staff/a", "subscribe-broadcast", 1),
    ] {
        let (rules, allow) = (rules.clone(), Allow::default());
        let mut world = World::new(Settings { rules, allow, ..settings() });
        let id = world.open(&format!("/ws/{facility}?subscribe-broadcast&publish-broadcast"));
        assert_eq!(world.response(id).header("X-Wsloop-Granted"), Some(granted), "{facility}");
        assert_eq!(world.metrics().options_denied_total, denied, "{facility}");
        world.say(id, "hello");
        let published = u64::from(granted.contains("publish"));
        assert_eq!(world.metrics().publishes_total, published, "{facility}");
    }
}

#[test]
fn a_facility_that_could_be_taken_for_somebody_elses_is_refused() {
    for (target, status) in [
        ("/ws/a:b?subscribe-user", 400),
        ("/ws/a%3Ab?publish-group", 400),
        ("/ws/:?subscribe-broadcast&SUBSCRIBE-Session", 400),
        ("/ws/a:b?subscribe%2Duser=no", 400),
        ("/ws/a:b?subscribe-broadcast&publish-broadcast&echo", 101),
        ("/ws/a:b", 101),
        ("/ws/ab?subscribe-user&subscribe-group&publish-session", 101),
        // What is left after decoding once is text.
        ("/ws/a%253Ab?subscribe-user", 101),
    ] {
        // Whether it would be granted makes no difference.
        for allow in ["all", ""] {
            let allow = Allow::parse(allow).expect("a list");
            let mut world = World::new(Settings { allow, ..settings() });
            let id = ask(&mut world, &upgrade(target, &[]));
            assert_eq!(world.status(id), Some(status), "{target}");
            if status == 400 {
                let text = assert_refused(&mut world, id, 400);
                assert!(text.contains("colon"), "{text}");
            }
        }
    }
    let mut world = World::new(Settings { refuse: Refuse::Close, ..settings() });
    let id = ask(&mut world, &upgrade("/ws/a:b?subscribe-user", &[]));
    assert!(matches!(&world.heard(id)[..], [Heard::Close(Some(4400), _)]));
    assert_eq!(world.response(id).header("X-Wsloop-Granted"), None);
}

#[test]
fn whoever_must_log_in_gets_403_on_the_echo_path_too() {
    let settings =
        || Settings { require_login: true, echo_path: Some("/echo".to_owned()), ..pages() };
    let mut world = World::new(settings());
    for target in ["/ws/foo", "/ws/foo?subscribe-broadcast", "/ws/", "/echo"] {
        let id = ask(&mut world, &upgrade(target, &[]));
        let text = assert_refused(&mut world, id, 403);
        assert!(text.contains("--require-login"), "{text}");
    }
    assert_eq!(world.metrics().handshakes_refused_total, 4);
    assert_eq!(world.metrics().origins_refused_total, 0);
    let id = world.ask(&request("GET", "/chat/", &["Host: h"]));
    assert_eq!(world.status(id), Some(200), "pages are for everybody");

    let mut world = World::new(Settings { refuse: Refuse::Close, ..settings() });
    let id = ask(&mut world, &upgrade("/ws/foo", &[]));
    assert!(matches!(&world.heard(id)[..], [Heard::Close(Some(4403), _)]));
}

/// What becomes of a request once it is known who asks.
#[test]
fn an_identity_is_admitted_with_what_it_is_granted_and_not_more() {
    let asking = "/ws/f?subscribe-user&publish-user&subscribe-group&subscribe-broadcast&echo";
    let nobody = Identity::default();
    let stranger = Identity { session: Some("key".to_owned()), ..Identity::default() };
    let nameless = Identity { user: Some(String::new()), ..stranger.clone() };
    let john = Identity {
        user: Some("john".to_owned()),
        groups: vec!["staff".to_owned()],
        ..stranger.clone()
    };
    let narrow = |list| Some(Allow::parse(list).expect("a list"));
    let cases = [
        (&nobody, false, None, Some("subscribe-broadcast,echo")),
        (&nobody, true, None, None),
        (&stranger, true, None, None),
        (&nameless, true, None, None),
        (&john, true, None, Some("subscribe-broadcast,subscribe-group,subscribe-user,echo")),
        (
            &john,
            true,
            narrow("all"),
            Some("subscribe-broadcast,subscribe-group,subscribe-user,echo"),
        ),
        // A list that narrows grants nothing that was not granted.
        (&john, true, narrow("publish-user,subscribe-user"), Some("subscribe-user,echo")),
        (&john, false, narrow(""), Some("echo")),
    ];
    for (identity, require_login, narrowed_by, granted) in cases {
        let allow = Allow::default();
        let settings = Settings { require_login, allow, ..settings() };
        let bytes = upgrade(asking, &[]);
        let (head, _) = parse_head(&bytes, 8192).expect("a head").expect("all of it");
        let mut cx = Context::new(settings);
        let asked = match handshake::examine(&head, &mut cx) {
            Examined::Asked(asked) => asked,
            Examined::Forwarded(_) | Examined::Requested(_) => {
                unreachable!("no application is behind")
            }
            Examined::Decided(decision) => panic!("{decision:?}"),
        };
        match handshake::admit(asked, identity, &[], narrowed_by, &mut cx) {
            Decision::Open(pending) => {
                assert_eq!(
                    Some(pending.grant.granted.to_string().as_str()),
                    granted,
                    "{identity:?}"
                );
                let text = String::from_utf8_lossy(&pending.accepted).into_owned();
                let header = format!("\r\nX-Wsloop-Granted: {}\r\n", pending.grant.granted);
                assert!(text.contains(&header), "{text}");
                let denied = u64::from(pending.grant.denied.len());
                assert_eq!(cx.metrics.options_denied_total, denied);
                assert!(pending.grant.publish.is_empty());
            }
            Decision::Refuse(refusal) => assert_eq!((refusal.status, granted), (403, None)),
            Decision::Answer(_) | Decision::Publish(_) => panic!("no plain request"),
        }
    }
}

#[test]
fn redis_names_are_those_of_ws4redis() {
    for (prefix, target, name) in [
        ("", "/ws/foobar?subscribe-broadcast", "broadcast:foobar"),
        ("demo", "/ws/foobar?SUBSCRIBE-Broadcast=no", "demo:broadcast:foobar"),
        ("", "/ws/a/b/?x&subscribe%2Dbroadcast", "broadcast:a/b/"),
        ("", "/ws/?subscribe-broadcast", "broadcast:"),
        ("", "/ws/caf%C3%A9%20x?subscribe-broadcast", "broadcast:caf\\xc3\\xa9 x"),
        ("", "/ws/%ff?subscribe-broadcast", "broadcast:%FF"),
        ("", "ws://example.com/ws/abs?subscribe-broadcast", "broadcast:abs"),
    ] {
        let mut world = World::new(Settings { prefix: prefix.to_string(), ..with_redis() });
        world.open(target);
        let expected = [format!("SUBSCRIBE {name}"), format!("GETRANGE {name} 0 1048576")];
        assert_eq!(world.redis.take_commands(), expected, "{target}");
    }
    let mut world = World::new(Settings { prefix: "demo".to_string(), ..with_redis() });
    let id = world.open("/ws/f?publish-broadcast");
    world.say(id, "hi");
    let expected = ["PUBLISH demo:broadcast:f hi", "SET demo:broadcast:f hi EX 3600"];
    assert_eq!(world.redis.take_commands(), expected);
}

fn pages() -> Settings {
    let page = |path, content| Page { path, content };
    let body = |content_type, body: &'static str| PageContent::Body {
        content_type,
        body: Cow::Borrowed(body.as_bytes()),
    };
    Settings {
        pages: vec![
            page("/", PageContent::Redirect("/chat/")),
            page("/chat/", body("text/html; charset=utf-8", "<p>chat</p>")),
        ],
        metrics_path: Some("/metrics".to_string()),
        ..settings()
    }
}

#[test]
fn pages_are_answered_to_get_and_to_head() {
    let mut world = World::new(pages());
    for (target, status, name, value, body) in [
        ("/", 302, "Location", "/chat/", "/chat/\n"),
        ("/chat/", 200, "Content-Type", "text/html; charset=utf-8", "<p>chat</p>"),
        ("/chat/?x=1", 200, "X-Content-Type-Options", "nosniff", "<p>chat</p>"),
    ] {
        let id = world.ask(&request("GET", target, &["Host: h"]));
        let response = world.response(id);
        assert_eq!((response.status, response.header(name)), (status, Some(value)), "{target}");
        assert_eq!(response.text(), body);
        assert!(world.browsers[id].closed_ms.is_some(), "it hung up when that was finished");
        let (headers, length) = (response.headers.clone(), response.content_length());
        assert_eq!(length, body.len());

        let id = world.accept();
        world.browsers[id].bare = true;
        world.send(id, &request("HEAD", target, &["Host: h"]));
        world.run();
        let response = world.response(id);
        assert_eq!((response.status, &response.headers), (status, &headers), "{target}");
        assert_eq!(response.text(), "");
        assert!(world.browsers[id].closed_ms.is_some());
    }
    assert_eq!(world.metrics().requests_total, 6);
    assert_eq!(world.metrics().handshakes_refused_total, 0);
}

#[test]
fn the_metrics_are_a_page() {
    let mut world = World::new(pages());
    world.open("/ws/foo?subscribe-broadcast");
    let id = world.ask(&request("GET", "/metrics", &["Host: h"]));
    let text = world.response(id).text();
    for line in [
        "wsloop_conns_open 1",
        "wsloop_channels 1",
        "wsloop_handshakes_total 1",
        "wsloop_broker_up 1",
        "wsloop_requests_total 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing");
    }
    let mut world = World::new(Settings { metrics_path: None, ..pages() });
    let id = world.ask(&request("GET", "/metrics", &["Host: h"]));
    assert_eq!(world.status(id), Some(404));
}
