//! What HTTP asks of every answer: no body where none may be, and no request taken for another.

use super::*;

/// Who has asked with HEAD, and what else has happened by then.
fn bare(settings: Settings, bytes: &[u8], then: impl Fn(&mut World)) -> (u16, Response) {
    let mut world = World::new(settings);
    let id = world.accept();
    world.browsers[id].bare = true;
    world.browsers[id].polite = false;
    world.send(id, bytes);
    world.run();
    then(&mut world);
    (world.status(id).expect("an answer"), world.response(id).clone())
}

#[test]
fn head_never_has_a_body() {
    let asked = || Settings { sources: by_application().sources, ..settings() };
    let locked = Settings { require_login: true, ..settings() };
    let nothing = |_: &mut World| {};
    let head = |target: &str| request("HEAD", target, &["Host: h"]);
    let large = format!("X: {}", "x".repeat(9000));
    for (status, (told, response)) in [
        (200, bare(pages(), &head("/chat/"), nothing)),
        (404, bare(settings(), &head("/nothing"), nothing)),
        (426, bare(settings(), &head("/ws/foo"), nothing)),
        (426, bare(settings(), &[b"\r\n", &head("/ws/foo")[..]].concat(), nothing)),
        (400, bare(settings(), &head("/ws/a:b?subscribe-user"), nothing)),
        (400, bare(settings(), &request("HEAD", "/ws/foo", &[]), nothing)),
        (400, bare(settings(), &request("HEAD", "/nothing", &[]), nothing)),
        (400, bare(settings(), b"HEAD /a#b HTTP/1.1\r\nHost: h\r\n\r\n", nothing)),
        (431, bare(settings(), &request("HEAD", "/", &["Host: h", &large]), nothing)),
        (403, bare(locked, &head("/ws/foo"), nothing)),
        (503, bare(asked(), &head("/ws/foo"), |world| world.pass(AUTH_TIMEOUT_MS + 100))),
        (408, bare(settings(), b"HEAD / HTTP/1.1\r\nHo", |world| world.pass(11_000))),
        (503, bare(settings(), b"HEAD / HTTP/1.1\r\nHo", World::shut_down)),
    ] {
        assert_eq!((told, response.body.as_slice()), (status, &b""[..]), "{response:?}");
        assert!(response.content_length() > 0, "as for GET: {response:?}");
    }
}

#[test]
fn other_methods_are_405_and_post_is_400_as_in_ws4redis() {
    for (method, target, status) in [
        ("POST", "/ws/foo", 400),
        ("PUT", "/ws/foo", 405),
        ("DELETE", "/ws/foo?subscribe-broadcast", 405),
        ("PATCH", "/ws/foo", 405),
        ("OPTIONS", "/ws/foo", 405),
        ("POST", "/elsewhere", 405),
        ("DELETE", "/elsewhere", 405),
    ] {
        let mut world = World::new(settings());
        let id = ask(&mut world, &request(method, target, &["Host: h"]));
        assert_refused(&mut world, id, status);
        let allow = world.response(id).header("Allow");
        assert_eq!(allow, (status == 405).then_some("GET, HEAD"), "{method} {target}");
    }
}

#[test]
fn an_upgrade_with_a_body_is_refused_before_that_is_taken_for_frames() {
    for (line, status) in [
        ("Transfer-Encoding: chunked", 400),
        ("Transfer-Encoding: identity", 400),
        ("Content-Length: 7", 400),
        ("Content-Length: 00", 400),
        ("Content-Length: 0", 101),
    ] {
        let mut world = World::new(settings());
        let id = ask(&mut world, &upgrade("/ws/foo", &[line]));
        assert_eq!(world.status(id), Some(status), "{line}");
    }
}

#[test]
fn a_host_that_is_missing_doubled_or_malformed_is_400_everywhere() {
    let settings = || Settings { metrics_path: Some("/metrics".to_owned()), ..pages() };
    for target in ["/chat/", "/metrics", "/nothing", "/ws/foo", "http://h/chat/"] {
        for lines in [
            &[][..],
            &["Host:"],
            &["Host: h", "Host: h"],
            &["Host: h", "Host: other"],
            &["Host: user@h"],
            &["Host: h/chat/"],
            &["Host: h:x"],
            &["Host: a, b"],
        ] {
            let mut world = World::new(settings());
            let id = ask(&mut world, &request("GET", target, lines));
            let text = assert_refused(&mut world, id, 400);
            assert!(text.contains("Host"), "{target} {lines:?}: {text}");
        }
        // Of HTTP/1.0 no Host is asked; what says two is malformed there as well.
        for (lines, refused) in [("", false), ("Host: h\r\nHost: h\r\n", true)] {
            let mut world = World::new(settings());
            let bytes = format!("GET {target} HTTP/1.0\r\n{lines}\r\n");
            let id = ask(&mut world, bytes.as_bytes());
            let is_400 = world.status(id) == Some(400);
            assert_eq!(is_400, refused || target == "/ws/foo", "{target} {lines:?}");
        }
    }
}

#[test]
fn no_answer_is_sniffed_and_scripts_may_be_loaded_by_other_sites() {
    let settings = || Settings { metrics_path: Some("/metrics".to_owned()), ..pages() };
    for (bytes, status) in [
        (request("GET", "/chat/", &["Host: h"]), 200),
        (request("GET", "/metrics", &["Host: h"]), 200),
        (request("GET", "/nothing", &["Host: h"]), 404),
        (request("PUT", "/nothing", &["Host: h"]), 405),
        (request("GET", "/ws/foo", &["Host: h"]), 426),
        (upgrade("/ws/foo", &["Origin: http://elsewhere.com"]), 403),
        (b"nonsense\r\n\r\n".to_vec(), 400),
    ] {
        let mut world = World::new(settings());
        let id = ask(&mut world, &bytes);
        assert_eq!(world.status(id), Some(status));
        let response = world.response(id);
        let sniffs = response.headers.iter().filter(|(name, _)| name == "X-Content-Type-Options");
        assert_eq!(sniffs.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["nosniff"]);
        let resource = response.header("Cross-Origin-Resource-Policy");
        assert_eq!(resource, bytes.starts_with(b"GET /chat/").then_some("cross-origin"));
    }
}

#[test]
fn origins_that_clients_really_send() {
    let listed = AllowedOrigins::parse("file://, ws://app.example:81").unwrap();
    let none = AllowedOrigins::Listed(vec![]);
    for (allowed, origin, status) in [
        (&none, "file://", 403),
        (&listed, "file://", 101),
        (&none, "ws://example.com", 101),
        (&none, "wss://example.com", 101),
        (&none, "ws://example.com:8080", 403),
        (&listed, "ws://app.example:81", 101),
        (&listed, "http://app.example:81", 101),
        (&listed, "https://app.example:81", 403),
        (&listed, "", 403),
        (&none, "", 403),
    ] {
        let mut world = World::new(Settings { allowed_origins: allowed.clone(), ..settings() });
        let id = world.ask(&upgrade("/ws/foo", &[&format!("Origin: {origin}")]));
        assert_eq!(world.status(id), Some(status), "{origin:?}");
    }
}
