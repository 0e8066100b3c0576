//! What a page learns of what it was not granted: from the refusal of a mistyped option, and from a
//! plain GET of a WebSocket's URL.

use crate::world::{World, request, settings, upgrade};
use wsloop::{Allow, Refuse, Settings};

const HOST: &str = "Host: example.com";

/// The text of the answer to a plain GET, its status, and what is granted.
fn inquired(world: &mut World, target: &str, more: &[&str]) -> (u16, String, Option<String>) {
    let id = world.ask(&request("GET", target, &[&[HOST], more].concat()));
    let response = world.response(id);
    let granted = response.header("x-wsloop-granted").map(str::to_owned);
    (response.status, response.text().to_owned(), granted)
}

#[test]
fn a_mistyped_option_is_refused_with_the_nearest() {
    let mut world = World::new(settings());
    for (query, unknown, nearest) in [
        ("subscribe-brodcast", "subscribe-brodcast", "subscribe-broadcast"),
        ("echo&Publish-Users=1", "publish-users", "publish-user"),
        ("subscribe-", "subscribe-", "subscribe-user"),
        ("publish-%00", "publish-\\0", "publish-user"),
    ] {
        let id = world.knock(&format!("/ws/room?{query}"));
        assert_eq!(world.status(id), Some(400), "{query}");
        let text = world.response(id).text();
        assert!(text.contains(unknown) && text.contains(nearest), "{query}: {text}");
    }
    // All other names mean nothing here, as they always did.
    for query in ["", "foo", "subscribe", "unsubscribe-user", "subscribe_broadcast", "token=x"] {
        let id = world.knock(&format!("/ws/room?{query}"));
        assert_eq!(world.status(id), Some(101), "{query}");
    }
}

#[test]
fn a_page_that_hides_refusals_sees_the_mistyped_option_as_a_close() {
    let mut world = World::new(Settings { refuse: Refuse::Close, ..settings() });
    let id = world.knock("/ws/room?subscribe-brodcast");
    assert_eq!(world.status(id), Some(101));
    let heard = format!("{:?}", world.heard(id));
    assert!(heard.contains("4400") && heard.contains("subscribe-broadcast"), "{heard}");
}

#[test]
fn a_plain_get_says_what_a_websocket_would_be_granted_and_why_not() {
    let mut world = World::new(Settings { allow: Allow::default(), ..settings() });
    let target = "/ws/room?subscribe-broadcast&publish-broadcast&subscribe-user&echo";
    let (status, text, granted) = inquired(&mut world, target, &[]);
    assert_eq!((status, granted.as_deref()), (426, Some("subscribe-broadcast,echo")), "{text}");
    for line in [
        "- you are nobody who is logged in",
        "- subscribe-broadcast: granted",
        "- publish-broadcast: denied: neither an [[allow]] rule nor --allow grants it",
        "- subscribe-user: no channel: nothing says which user you are",
    ] {
        assert!(text.lines().any(|told| told == format!("{line}.")), "{line} is not in\n{text}");
    }
    let (_, text, _) = inquired(&mut world, "/ws/room", &[]);
    assert!(text.contains("- nothing: its query has no option"), "{text}");
    // Nobody came, nothing was granted.
    let metrics = world.metrics();
    assert_eq!((metrics.handshakes_total, metrics.options_denied_total), (0, 0));
    assert_eq!(metrics.channels, 0);
}

#[test]
fn a_page_of_an_allowed_origin_may_read_it_and_another_reads_why_not() {
    let mut world = World::new(settings());
    let mut cors = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let id = world.ask(&request("GET", "/ws/room?echo", &[HOST, &origin]));
        let response = world.response(id);
        assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(response.header("vary"), Some("Origin"));
        let readable_by = response.header("access-control-allow-origin").map(str::to_owned);
        (response.status, readable_by, response.text().to_owned())
    };
    let (status, readable_by, _) = cors("http://example.com");
    assert_eq!((status, readable_by.as_deref()), (426, Some("http://example.com")));
    let (status, readable_by, text) = cors("http://elsewhere.com");
    assert_eq!((status, readable_by.as_deref()), (403, Some("http://elsewhere.com")));
    assert!(text.contains("--allowed-origins") && !text.contains("granted"), "{text}");
}

#[test]
fn what_is_refused_of_a_plain_get_is_http_though_refusals_are_closes() {
    let settings = Settings { refuse: Refuse::Close, require_login: true, ..settings() };
    let mut world = World::new(settings);
    let (status, text, _) = inquired(&mut world, "/ws/room?subscribe-broadcast", &[]);
    assert_eq!(status, 403);
    assert!(text.contains("--require-login"), "{text}");
    assert_eq!(inquired(&mut world, "/ws/room?subscribe-x", &[]).0, 400);
    // Other methods are what they were.
    let id = world.ask(&request("POST", "/ws/room", &[HOST]));
    assert_eq!(world.status(id), Some(400));
    let id = world.ask(&upgrade("/ws/room", &[]));
    assert_eq!(world.status(id), Some(101));
}
