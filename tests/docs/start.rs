//! The pages that get somebody started, each followed from an empty folder to the push into the
//! application's own page.
//!
//! All of these applications look the same to who uses them, so what is done in the browser is the
//! same for all.

use crate::browser::Browsers;
use crate::follow::Reader;
use crate::place;
use crate::support::client::{Client, upgrade};

const SERVER: &str = "127.0.0.1:8080";

#[test]
#[ignore = "needs chromium, node, ip, python3 with venv and PyPI"]
fn django_is_started() {
    // One address for pages and WebSockets.
    let page = include_str!("../../docs/src/start/django.md");
    start("start::django_is_started", "django", page, "127.0.0.1:8000");
}

#[test]
#[ignore = "needs chromium, node, ip, python3 with venv and PyPI"]
fn flask_is_started() {
    let page = include_str!("../../docs/src/start/flask.md");
    start("start::flask_is_started", "flask", page, SERVER);
}

#[test]
#[ignore = "needs chromium, node, ip, rails, bundler, puma, sqlite3, bcrypt and redis for Ruby"]
fn rails_is_started() {
    let page = include_str!("../../docs/src/start/rails.md");
    start("start::rails_is_started", "rails", page, SERVER);
}

#[test]
#[ignore = "needs chromium, node, ip, npm"]
fn express_is_started() {
    let page = include_str!("../../docs/src/start/express.md");
    start("start::express_is_started", "express", page, SERVER);
}

#[test]
#[ignore = "needs chromium, node, ip, php with redis"]
fn plain_php_is_started() {
    let page = include_str!("../../docs/src/start/php.md");
    start("start::plain_php_is_started", "php", page, SERVER);
}

/// Follows a page, and uses what came of it as people would.
fn start(test: &str, name: &str, page: &str, server: &str) {
    if !place::is_inside(test, page) {
        return;
    }
    let mut reader = Reader::of(page);
    let url = reader.go_on().expect("an address to open");
    let mut browsers = Browsers::start();
    browsers.ask(&["john", "open", &url]);
    browsers.pictures("john", &format!("{name}-login"));
    // A wrong password lets nobody in.
    log_in(&mut browsers, "john", "wrong");
    assert_eq!(browsers.texts("john", "h1"), ["Log in"]);
    log_in(&mut browsers, "john", "secret");
    browsers.ask(&["john", "sees", "News for john"]);
    browsers.ask(&["mary", "open", &url]);
    log_in(&mut browsers, "mary", "secret");
    browsers.ask(&["mary", "sees", "News for mary"]);
    for who in ["john", "mary"] {
        browsers.ask(&[who, "listens", "1"]);
    }

    for (who, text) in [("john", "Good morning!"), ("mary", "<b>Hello</b> John")] {
        browsers.ask(&[who, "fill", "Message", text]);
        browsers.ask(&[who, "press", "Send"]);
        for reader in ["john", "mary"] {
            browsers.ask(&[reader, "sees", &format!("{who}: {text}")]);
        }
    }
    // What else the page has published to them, in this order.
    assert_eq!(reader.go_on(), None);
    browsers.ask(&["mary", "sees", "Mary, your parcel is here."]);
    let said = ["The shop opens at nine.", "mary: <b>Hello</b> John", "john: Good morning!"];
    assert_eq!(browsers.texts("john", "#news li"), said);
    assert_eq!(browsers.texts("mary", "#news li")[1..], said);
    browsers.pictures("mary", name);
    for who in ["john", "mary"] {
        browsers.expect_no_problems(who);
    }
    stranger(&mut browsers, &url, server);
}

fn log_in(browsers: &mut Browsers, who: &str, password: &str) {
    browsers.ask(&[who, "fill", "Name", who]);
    browsers.ask(&[who, "fill", "Password", password]);
    browsers.ask(&[who, "press", "Log in"]);
}

/// Somebody without a login sees the form, publishes nothing, and hears nothing.
fn stranger(browsers: &mut Browsers, url: &str, server: &str) {
    browsers.ask(&["stranger", "open", url]);
    assert_eq!(browsers.texts("stranger", "h1"), ["Log in"]);
    for form in ["/send", "/send.php"] {
        let script = format!("fetch('{form}', {{ method: 'POST' }}).then((answer) => answer.url)");
        browsers.ask(&["stranger", "evaluate", &script]);
    }
    let server = server.parse().expect("an address");
    let origin = url.trim_end_matches('/');
    for origin in [origin, "https://example.com"] {
        let more = format!("Origin: {origin}\r\n");
        let request = upgrade("news?subscribe-broadcast", server, &more);
        let refused = Client::open(server, &request).expect_err("a refusal");
        assert_eq!(refused.status, 403, "{origin}: {refused:?}");
    }
    assert_eq!(browsers.texts("john", "#news li").len(), 3, "what was sent without a login");
}

/// A framework's own WebSocket, without a script: HTML that the application publishes is in the
/// page.
#[test]
#[ignore = "needs chromium, node, npm, ip, python3 with venv, PyPI"]
fn htmx_is_started() {
    shop("start::htmx_is_started", "htmx", include_str!("../../docs/src/htmx.md"));
}

#[test]
#[ignore = "needs chromium, node, npm, ip, python3 with venv, PyPI"]
fn turbo_streams_are_started() {
    let page = include_str!("../../docs/src/turbo.md");
    shop("start::turbo_streams_are_started", "turbo", page);
}

fn shop(test: &str, name: &str, page: &str) {
    if !place::is_inside(test, page) {
        return;
    }
    let mut reader = Reader::of(page);
    let url = reader.go_on().expect("an address to open");
    let mut browsers = Browsers::start();
    for who in ["john", "mary"] {
        browsers.ask(&[who, "open", &url]);
        browsers.ask(&[who, "listens", "1"]);
    }
    for (who, what) in [("john", "Tea"), ("mary", "<i>Cake</i>")] {
        browsers.ask(&[who, "fill", "Order", what]);
        browsers.ask(&[who, "press", "Send"]);
        for who in ["john", "mary"] {
            browsers.ask(&[who, "sees", what]);
        }
    }
    assert_eq!(reader.go_on(), None);
    for who in ["john", "mary"] {
        browsers.ask(&[who, "sees", "From a shell"]);
        assert_eq!(browsers.texts(who, "#orders li"), ["From a shell", "<i>Cake</i>", "Tea"]);
        assert_eq!(browsers.texts(who, "#count"), ["2"]);
        browsers.expect_no_problems(who);
    }
    browsers.pictures("mary", name);
    // What the pages say of a restart.
    reader.restart("wsloop --allowed-origins http://127.0.0.1:5000");
    if name == "htmx" {
        browsers.ask(&["mary", "listens", "2"]);
    }
}
