//! Which pages may have streams and may publish, and who they are.

use super::*;
use wsloop::proto::ws::upgrade::AllowedOrigins;
use wsloop::{Allow, Refuse, Settings};

const OTHER: &str = "Origin: https://other.example";
const CORS: [&str; 2] = ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"];

fn allowing(list: &str) -> Settings {
    Settings { allowed_origins: AllowedOrigins::parse(list).expect("a list"), ..settings() }
}

fn said(world: &World, id: BrowserId) -> (u16, [Option<&str>; 2], Option<&str>) {
    let response = world.response(id);
    (response.status, CORS.map(|name| response.header(name)), response.header("Vary"))
}

#[test]
fn a_page_of_an_allowed_origin_may_read_and_of_no_other() {
    let none = [None, None];
    let of = |origin: &'static str| [Some(origin), Some("true")];
    let all = [Some("*"), None];
    for (list, headers, stream, published, readers) in [
        ("", &[OTHER][..], 403, 403, none),
        ("", &[], 200, 202, none),
        ("", &["Origin: http://example.com"], 200, 202, of("http://example.com")),
        ("", &["Origin: null"], 403, 403, none),
        ("null", &["Origin: null"], 200, 202, of("null")),
        ("https://other.example", &[OTHER], 200, 202, of("https://other.example")),
        ("https://other.example", &["Origin: http://other.example"], 403, 403, none),
        ("https://other.example", &["Origin: https://other.example.evil"], 403, 403, none),
        ("*", &[OTHER], 200, 202, all),
        ("*", &[], 200, 202, all),
        // What a browser says of a page that says no origin.
        ("", &["Sec-Fetch-Site: cross-site"], 403, 403, none),
        ("https://other.example", &["Sec-Fetch-Site: cross-site"], 403, 403, none),
        (
            "https://other.example",
            &["Cookie: a=b", "Sec-Fetch-Site: cross-site", OTHER],
            200,
            202,
            of("https://other.example"),
        ),
        ("*", &["Sec-Fetch-Site: cross-site"], 200, 202, all),
        ("", &["Cookie: a=b"], 200, 403, none),
        ("*", &["Cookie: a=b"], 200, 403, all),
        ("", &["Cookie: a=b", "Sec-Fetch-Site: same-site"], 200, 403, none),
        ("", &["Cookie: a=b", "Sec-Fetch-Site: none"], 200, 403, none),
        ("", &["Cookie: a=b", "Sec-Fetch-Site: same-origin"], 200, 202, none),
        ("", &["Cookie: a=b", "Origin: http://example.com"], 200, 202, of("http://example.com")),
        ("", &["Cookie: a=b", "Content-Type: text/plain", OTHER], 403, 403, none),
    ] {
        for (asked, status) in
            [(asks(HEARS, headers), stream), (post(SPEAKS, b"hello", headers), published)]
        {
            let mut world = World::new(allowing(list));
            let hearer = world.open(HEARS);
            let id = world.ask(&asked);
            let (got, cors, vary) = said(&world, id);
            assert_eq!(got, status, "{list:?} {headers:?} {:?}", world.response(id));
            match status {
                403 => assert_eq!(cors, none, "{headers:?}"),
                _ => assert_eq!(cors, readers, "{list:?} {headers:?}"),
            }
            if status != 403 && list != "*" {
                assert_eq!(vary, Some("Origin"));
            }
            assert_eq!(world.texts(hearer).len(), usize::from(status == 202));
            assert_eq!(world.metrics().origins_refused_total, u64::from(status == 403));
        }
    }
}

#[test]
fn a_browser_that_asks_before_a_page_does_is_told() {
    let asked = ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: a, b,é "];
    for (list, origin, status, cors) in [
        ("https://other.example", OTHER, 200, [Some("https://other.example"), Some("true")]),
        ("*", OTHER, 200, [Some("*"), None]),
        ("", OTHER, 403, [None, None]),
        ("", "Origin: http://example.com", 200, [Some("http://example.com"), Some("true")]),
    ] {
        let mut world = World::new(allowing(list));
        let headers = [&[HOST, origin][..], &asked].concat();
        let id = world.ask(&request("OPTIONS", SPEAKS, &headers));
        let (got, readers, _) = said(&world, id);
        assert_eq!((got, readers), (status, cors), "{list:?}");
        let response = world.response(id);
        if status == 200 {
            let allowed = response.header("Access-Control-Allow-Headers");
            assert_eq!(allowed, Some("a, b"));
            let methods = response.header("Access-Control-Allow-Methods");
            assert_eq!((methods, response.body.len()), (Some("GET, POST"), 0));
            let vary = response.header("Vary");
            assert_eq!(vary, Some("Origin, Access-Control-Request-Headers"));
        }
    }
    for headers in [&[HOST][..], &[HOST, OTHER], &[HOST, asked[0]]] {
        let mut world = World::new(allowing("*"));
        let id = world.ask(&request("OPTIONS", SPEAKS, headers));
        assert_eq!(world.status(id), Some(405), "{headers:?}");
    }
    let mut world = World::new(allowing("*"));
    let headers = [HOST, OTHER, "Access-Control-Request-Method: DELETE"];
    let id = world.ask(&request("OPTIONS", SPEAKS, &headers));
    assert_eq!(world.status(id), Some(405));
}

#[test]
fn refusals_are_plain_however_websockets_are_refused() {
    let settings = Settings {
        refuse: Refuse::Close,
        require_login: true,
        ..allowing("https://other.example")
    };
    let mut world = World::new(settings);
    for asked in [asks(HEARS, &[OTHER]), post(SPEAKS, b"hello", &[OTHER])] {
        let id = world.ask(&asked);
        let (status, cors, _) = said(&world, id);
        assert_eq!((status, cors), (403, [Some("https://other.example"), Some("true")]));
        assert!(world.response(id).text().contains("log in first"));
        let exposed = world.response(id).header("Access-Control-Expose-Headers");
        assert_eq!(exposed, Some("X-Wsloop-Granted, Retry-After"));
    }
}

#[test]
fn who_is_granted_nothing_hears_nothing_and_publishes_nothing() {
    let mut world = World::new(Settings { allow: Allow::parse("").expect("none"), ..with_redis() });
    let id = stream(&mut world, HEARS);
    assert_eq!(world.response(id).header("X-Wsloop-Granted"), Some(""));
    world.publish(CHANNEL, "not for you");
    assert_eq!(world.heard(id), []);
    let id = world.ask(&post(SPEAKS, b"hello", &[]));
    assert_eq!(world.status(id), Some(403));
    assert!(world.response(id).text().contains("--allow"));
    assert_eq!(world.redis.take_published(), [(CHANNEL.into(), b"not for you".to_vec())]);
}

#[test]
fn a_user_hears_and_publishes_by_the_same_session() {
    let mut world = World::new(by_session());
    world.redis.set("session:johns-key", r#"{"wsloop:username": "john"}"#);
    let mine = ["Cookie: sessionid=johns-key", "Sec-Fetch-Site: same-origin"];
    let id = world.ask(&asks("/ws/foo?subscribe-user", &mine));
    assert_eq!(world.status(id), Some(200));
    // Its body may come before it is known who it is.
    world.redis.paused = true;
    let posted = world.ask(&post("/ws/foo?publish-user", b"to myself", &mine));
    assert_eq!(world.status(posted), None);
    world.redis.paused = false;
    world.run();
    assert_eq!(world.status(posted), Some(202));
    assert_eq!(world.texts(id), ["to myself"]);
    let control = r#"{"disconnect": {"user": "john"}, "code": 4403, "reason": "logged out"}"#;
    let now_ms = world.now_ms;
    world.redis.publish("wsloop:control", control, 0, now_ms);
    world.run();
    assert_eq!(world.heard(id), [Heard::Close(Some(4403), "logged out".to_owned())]);
    assert_eq!(world.metrics().streams, 0);
}
