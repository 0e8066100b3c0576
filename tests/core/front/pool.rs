//! Links to the application: which request goes over which, how many there are, and what is sent
//! twice.

use wsloop::{Cause, Front, Settings};

use super::stage::{Stage, settings};
use super::{get, is_answer};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\na";

/// An application whose link is open so many milliseconds after its answer keeps its links.
const KEPT_MS: u64 = 250;

/// A stage with a link that has brought an answer and rests.
fn rested() -> (Stage, usize, usize) {
    rested_with(settings().front)
}

fn rested_with(front: Front) -> (Stage, usize, usize) {
    let mut stage = Stage::new(Settings { front, ..settings() });
    let browser = stage.asks(get("/", ""));
    let app = stage.app();
    stage.say(app, ANSWER);
    stage.take(browser);
    stage.take(app);
    (stage, browser, app)
}

#[test]
fn a_link_that_rests_has_the_next_request() {
    let (mut stage, browser, app) = rested();
    stage.pass(20_000);
    stage.say(browser, get("/2", ""));
    assert!(stage.take(app).starts_with("GET /2 "));
    stage.say(app, ANSWER);
    assert_eq!(stage.take(browser), ANSWER);
    let other = stage.asks(get("/3", ""));
    assert!(stage.take(app).starts_with("GET /3 "), "whoever asks");
    stage.say(app, ANSWER);
    assert_eq!(stage.take(other), ANSWER);
    assert_eq!(stage.server.metrics().upstream_dials_total, 1);
}

#[test]
fn a_link_that_says_something_unasked_is_closed() {
    let (mut stage, _, app) = rested();
    stage.say(app, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    assert!(stage.peers[app].closed);
    let (mut stage, _, app) = rested();
    stage.end(app, Cause::Ended);
    assert!(stage.peers[app].closed);
}

/// The application closed the link just when a request was sent on it.
#[test]
fn what_may_be_sent_twice_is_when_a_link_that_rested_has_gone() {
    for (request, again) in [
        (get("/2", ""), true),
        (get("/2", "").replace("GET", "HEAD"), true),
        (get("/2", "").replace("GET", "DELETE"), true),
        (get("/2", "").replace("GET", "POST"), false),
        (POST.to_owned(), false),
        (POST.replace("POST", "PUT"), false),
    ] {
        for cause in [Cause::Ended, Cause::Failed("Broken pipe".to_owned())] {
            let (mut stage, browser, app) = rested();
            stage.pass(KEPT_MS);
            stage.say(browser, &request);
            let first = stage.take(app);
            stage.end(app, cause);
            if !again {
                is_answer(&stage.take(browser), 502, "without an answer");
                continue;
            }
            let second = stage.app();
            assert_ne!(second, app);
            assert_eq!(stage.take(second), first);
            // Not a third time.
            stage.end(second, Cause::Ended);
            let heard = stage.take(browser);
            assert!(heard.starts_with("HTTP/1.1 502 "), "{heard}");
            assert_eq!(stage.dialed().len(), 2);
        }
    }
    // A byte of an answer has come.
    let (mut stage, browser, app) = rested();
    stage.say(browser, get("/2", ""));
    stage.say(app, "H");
    stage.end(app, Cause::Ended);
    is_answer(&stage.take(browser), 502, "without an answer");
    // A link that is new has gone.
    let mut stage = Stage::new(settings());
    let browser = stage.asks(get("/", ""));
    stage.end(stage.app(), Cause::Ended);
    is_answer(&stage.take(browser), 502, "without an answer");
    assert_eq!(stage.dialed().len(), 1);
}

#[test]
fn what_may_not_be_sent_twice_goes_over_a_link_that_is_about_new() {
    for (after_ms, dials) in [(0, 2), (200, 2), (KEPT_MS, 1), (900, 1), (1_000, 2)] {
        let (mut stage, browser, _) = rested();
        stage.pass(after_ms);
        stage.say(browser, POST);
        assert_eq!(stage.dialed().len(), dials, "{after_ms}");
    }
}

/// uWSGI's `--http-socket` does not announce that it closes a link behind each answer.
#[test]
fn an_application_that_closes_behind_its_answers_loses_nothing_that_may_not_be_sent_twice() {
    let (mut stage, browser, first) = rested();
    for number in 2..9 {
        stage.say(browser, POST);
        assert_eq!(stage.dialed().len(), number);
        let app = stage.app();
        stage.say(app, ANSWER);
        assert_eq!(stage.take(browser), ANSWER);
        stage.end(app, Cause::Ended);
    }
    // What may be sent twice shows at no cost whether that has changed.
    stage.take(first);
    stage.say(browser, get("/", ""));
    assert!(stage.take(first).starts_with("GET / "));
    stage.say(first, ANSWER);
    stage.say(browser, POST);
    assert!(stage.take(first).starts_with("POST / "));
    assert_eq!(stage.dialed().len(), 8);
}

/// Links are trusted no more when one is closed soon after its answer, or at the next request.
#[test]
fn one_link_that_is_closed_too_soon_is_enough() {
    for (after_ms, dials) in [(0, 2), (900, 2), (1_000, 1)] {
        let (mut stage, browser, app) = rested();
        let other = stage.browser();
        stage.say(browser, get("/", ""));
        stage.say(other, get("/", ""));
        let second = stage.app();
        stage.say(app, ANSWER);
        stage.pass(after_ms);
        stage.say(second, ANSWER);
        stage.end(app, Cause::Ended);
        stage.say(browser, POST);
        assert_eq!(stage.dialed().len() - 1, dials, "{after_ms}");
    }
    let (mut stage, browser, app) = rested();
    stage.pass(KEPT_MS);
    stage.say(browser, POST);
    stage.end(app, Cause::Ended);
    is_answer(&stage.take(browser), 502, "without an answer");
    let browser = stage.asks(POST);
    stage.say(stage.app(), ANSWER);
    stage.say(browser, POST);
    assert_eq!(stage.dialed().len(), 3);
}

/// However few links are kept, one of them rests for long enough to show it.
#[test]
fn who_only_posts_learns_that_links_are_kept() {
    let front = Front { idle: 1, ..settings().front };
    let (mut stage, browser, first) = rested_with(front);
    stage.take(first);
    for _ in 0..4 {
        stage.pass(50);
        stage.say(browser, POST);
        stage.say(stage.app(), ANSWER);
    }
    assert_eq!(stage.dialed().len(), 5);
    stage.pass(50);
    stage.say(browser, POST);
    assert!(stage.take(first).starts_with("POST / "));
    assert_eq!(stage.dialed().len(), 5);
}

#[test]
fn links_and_who_waits_for_them_are_so_many() {
    let front = Front { connections: 2, waiting: 1, ..settings().front };
    let mut stage = Stage::new(Settings { front, ..settings() });
    let browsers = ["/1", "/2", "/3", "/4"].map(|path| stage.asks(get(path, "")));
    let apps = stage.dialed();
    assert_eq!(apps.len(), 2);
    is_answer(&stage.take(browsers[3]), 503, "Too many requests");
    assert_eq!(stage.server.metrics().upstream_pending, 4 - 1);
    stage.take(apps[1]);
    stage.say(apps[1], ANSWER);
    assert_eq!(stage.take(browsers[1]), ANSWER);
    assert!(stage.take(apps[1]).starts_with("GET /3 "), "the first that waits");
    stage.pass(50_000);
    let late = stage.asks(get("/5", ""));
    stage.pass(10_100);
    is_answer(&stage.take(browsers[0]), 504, "did not answer in time");
    let five = stage.app();
    assert!(stage.take(five).starts_with("GET /5 "), "a link that is lost makes room");
    stage.say(five, ANSWER);
    assert_eq!(stage.take(late), ANSWER);
}

/// Where all links are old ones that rest, one of them makes room for who needs a new one.
#[test]
fn an_old_link_makes_room() {
    let front = Front { connections: 1, ..settings().front };
    let mut stage = Stage::new(Settings { front, ..settings() });
    let browser = stage.asks(get("/", ""));
    let app = stage.app();
    stage.say(app, ANSWER);
    stage.pass(5_000);
    stage.say(browser, POST);
    assert!(stage.peers[app].closed);
    assert!(stage.take(stage.app()).ends_with("\r\n\r\na"));
}

#[test]
fn as_many_links_are_kept_as_is_said_and_the_last_that_was_used_is_the_next() {
    for (idle, kept) in [(0, 0), (1, 1), (2, 2)] {
        let (mut stage, _, _) = rested_with(Front { idle, ..settings().front });
        stage.pass(KEPT_MS);
        for _ in 0..3 {
            stage.asks(get("/", ""));
        }
        let dialed = stage.dialed();
        for app in &dialed[dialed.len() - 3..] {
            stage.say(*app, ANSWER);
        }
        let open = |app: &usize| !stage.peers[*app].closed;
        assert_eq!(stage.dialed().iter().filter(|app| open(app)).count(), kept, "{idle}");
        let last = stage.app();
        stage.take(last);
        stage.asks(get("/next", ""));
        if kept > 0 {
            assert!(stage.take(last).starts_with("GET /next "));
        }
    }
}

/// Who was answered and asks for nothing gives way to others, as who never asked.
#[test]
fn conns_that_rest_make_room() {
    let mut stage = Stage::new(Settings { max_connections: 2, ..settings() });
    let browsers = [stage.asks(get("/", "")), stage.asks(get("/", ""))];
    for app in stage.dialed() {
        stage.say(app, ANSWER);
    }
    stage.pass(2_000);
    let third = stage.asks(get("/", ""));
    stage.say(stage.app(), ANSWER);
    assert_eq!(stage.take(third), ANSWER);
    assert!(stage.peers[browsers[0]].closed && !stage.peers[browsers[1]].closed);
}
