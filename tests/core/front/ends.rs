//! How exchanges end that do not end with an answer.

use wsloop::{Cause, Front, Input, Now, Settings};

use super::stage::{Stage, settings};
use super::{get, is_answer};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";

fn failed() -> Cause {
    Cause::Failed("Connection reset".to_owned())
}

#[test]
fn an_application_that_is_not_there_is_a_502() {
    let mut stage = Stage::new(settings());
    stage.refuses = Some("Connection refused");
    let browser = stage.asks(get("/", ""));
    stage.pass(900);
    assert_eq!(stage.take(browser), "", "it may be about to come back");
    stage.pass(200);
    is_answer(&stage.take(browser), 502, "cannot be reached");
    stage.end(browser, Cause::Ended);
    assert!(stage.peers[browser].closed && stage.peers[stage.app()].closed);
    assert!((8..12).contains(&stage.dialed().len()), "{} dials", stage.dialed().len());
    let bare = stage.asks(get("/", "").replace("GET", "HEAD"));
    stage.pass(1_100);
    let heard = stage.take(bare);
    assert!(heard.starts_with("HTTP/1.1 502 ") && heard.ends_with("\r\n\r\n"), "{heard}");
    assert_eq!(stage.server.metrics().upstream_errors_total, 2);
    stage.refuses = None;
    let browser = stage.asks(get("/", ""));
    stage.pass(100);
    let app = stage.app();
    stage.say(app, format!("{HEAD}abc"));
    assert_eq!(stage.take(browser), format!("{HEAD}abc"));
}

/// Whoever asks while the application restarts waits a little, whatever is asked.
#[test]
fn an_application_that_comes_back_answers_who_has_waited() {
    let mut stage = Stage::new(settings());
    stage.refuses = Some("Connection refused");
    let first = stage.asks("POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    let others: Vec<usize> = (2..5).map(|n| stage.asks(get(&format!("/{n}"), ""))).collect();
    stage.pass(500);
    let tries = stage.dialed().len();
    assert!(tries < 12, "one dial at a time: {tries}");
    // Who leaves takes nobody's turn along.
    stage.end(first, failed());
    stage.refuses = None;
    stage.pass(150);
    for (browser, app) in others.iter().zip(stage.dialed().split_off(tries)) {
        stage.say(app, format!("{HEAD}abc"));
        assert_eq!(stage.take(*browser), format!("{HEAD}abc"));
    }
    assert_eq!(stage.server.metrics().upstream_errors_total, 0);
}

#[test]
fn an_answer_of_no_use_is_a_502() {
    for answer in [
        "garbage",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 099 No\r\n\r\n",
    ] {
        let mut stage = Stage::new(settings());
        let browser = stage.asks(get("/", ""));
        let app = stage.app();
        stage.say(app, answer);
        if stage.peers[browser].heard.is_empty() {
            stage.end(app, Cause::Ended);
        }
        is_answer(&stage.take(browser), 502, "The application");
        assert!(stage.peers[app].closed, "{answer:?}");
    }
    let mut stage = Stage::new(settings());
    let browser = stage.asks(get("/", ""));
    let app = stage.app();
    stage.say(app, format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(40_000)));
    is_answer(&stage.take(browser), 502, "cannot be passed on");
}

/// That an answer is not whole must be seen by who reads it, and what there is of it.
#[test]
fn an_answer_that_breaks_off_ends_the_link() {
    for (begun, cause) in [
        (format!("{HEAD}ab"), Cause::Ended),
        (format!("{HEAD}ab"), failed()),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n".to_owned(),
            Cause::Ended,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nab".to_owned(), failed()),
    ] {
        let mut stage = Stage::new(settings());
        let browser = stage.asks(get("/", ""));
        let app = stage.app();
        stage.say(app, &begun);
        stage.end(app, cause.clone());
        let heard = stage.take(browser);
        assert!(heard.contains("ab") && !heard.ends_with("0\r\n\r\n"), "{heard}");
        let peer = &stage.peers[browser];
        assert!(peer.closed && !peer.finished, "{begun:?} {cause:?}");
    }
    let mut stage = Stage::new(settings());
    let browser = stage.asks(get("/", ""));
    let app = stage.app();
    stage.say(app, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabXX");
    assert!(stage.peers[browser].closed && stage.peers[app].closed);

    // In one turn, and to who reads slowly.
    let mut stage = Stage::new(settings());
    let browser = stage.browser();
    stage.peers[browser].appetite = Some(10);
    stage.say(browser, get("/", ""));
    let app = stage.app();
    stage.peers[app].ends = Some(Cause::Ended);
    stage.say(app, format!("{HEAD}ab"));
    assert!(stage.peers[app].closed && !stage.peers[browser].closed);
    stage.feed(browser, None);
    assert_eq!(stage.take(browser), format!("{HEAD}ab"));
    assert!(stage.peers[browser].closed && !stage.peers[browser].finished);
}

#[test]
fn whatever_does_not_move_ends() {
    // The application says nothing, or stops.
    let mut stage = Stage::new(settings());
    let browser = stage.asks(get("/", ""));
    stage.pass(59_000);
    assert!(stage.peers[browser].heard.is_empty());
    stage.pass(1_100);
    is_answer(&stage.take(browser), 504, "did not answer in time");
    assert!(stage.peers[stage.app()].closed);

    let mut stage = Stage::new(settings());
    let browser = stage.asks(get("/", ""));
    let app = stage.app();
    for piece in ["HTTP/1.1 200 OK\r\n", "Content-Length: 3\r\n\r\n", "a"] {
        stage.pass(50_000);
        stage.say(app, piece);
        assert!(!stage.peers[browser].closed);
    }
    stage.pass(61_000);
    assert!(stage.peers[browser].closed && stage.peers[app].closed);

    // The dial comes to nothing.
    let mut stage = Stage::new(settings());
    stage.silent = true;
    let browser = stage.asks(get("/", ""));
    stage.pass(5_100);
    is_answer(&stage.take(browser), 504, "cannot be reached");

    // The browser does not send its body, or does not read.
    let mut stage = Stage::new(settings());
    let browser = stage.asks("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na");
    stage.pass(61_000);
    is_answer(&stage.take(browser), 408, "The rest of the request");

    let mut stage = Stage::new(settings());
    let browser = stage.browser();
    stage.peers[browser].appetite = Some(10);
    stage.say(browser, get("/", ""));
    let app = stage.app();
    stage.say(app, format!("{HEAD}abc"));
    stage.pass(61_000);
    assert!(stage.peers[browser].closed);

    // It asks for nothing more.
    let mut stage = Stage::new(settings());
    let browser = stage.asks(get("/", ""));
    let app = stage.app();
    stage.say(app, format!("{HEAD}abc"));
    stage.pass(74_000);
    assert!(!stage.peers[browser].closed);
    stage.pass(1_100);
    assert!(stage.peers[browser].closed);
    assert!(stage.peers[app].closed, "what rests is closed, too");
}

/// A part of the next request has the time of a handshake, and no more.
#[test]
fn the_next_request_has_its_own_time() {
    let mut stage = Stage::new(settings());
    let browser = stage.asks(get("/", ""));
    let app = stage.app();
    stage.say(app, format!("{HEAD}abc"));
    stage.take(browser);
    stage.pass(20_000);
    stage.say(browser, "GET /");
    stage.pass(9_000);
    assert!(stage.peers[browser].heard.is_empty());
    stage.pass(1_100);
    is_answer(&stage.take(browser), 408, "");
}

#[test]
fn an_answer_before_the_request_is_whole_is_passed_on_and_ends_the_link() {
    let mut stage = Stage::new(settings());
    let browser = stage.asks("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\nabc");
    let app = stage.app();
    stage.say(app, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(stage.take(browser), "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    assert!(stage.peers[browser].finished, "its end is shut, and what it sends is read");
    assert!(stage.peers[app].closed);
    stage.say(browser, vec![b'x'; 100_000]);
    stage.say(browser, get("/smuggled", ""));
    assert_eq!(stage.dialed().len(), 1);
    stage.pass(5_100);
    assert!(stage.peers[browser].closed);
}

#[test]
fn chunks_that_are_none_are_a_400() {
    let mut stage = Stage::new(settings());
    let browser =
        stage.asks("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n");
    is_answer(&stage.take(browser), 400, "The request cannot be read: the body is chunked");
    let app = stage.app();
    assert_eq!(stage.take(app), "");
    assert_eq!(
        stage.server.metrics().upstream_errors_total,
        0,
        "it is not the application's fault"
    );
}

#[test]
fn who_leaves_takes_the_request_along() {
    for cause in [Cause::Ended, failed()] {
        for answer in ["", HEAD] {
            let mut stage = Stage::new(settings());
            let browser = stage.asks(get("/", ""));
            let app = stage.app();
            stage.say(app, answer);
            stage.end(browser, cause.clone());
            assert!(stage.peers[browser].closed && stage.peers[app].closed, "{answer:?}");
        }
    }
}

#[test]
fn a_shutdown_lets_what_is_under_way_end() {
    let mut stage = Stage::new(settings());
    let idle = stage.asks(get("/", ""));
    let app = stage.app();
    stage.say(app, format!("{HEAD}abc"));
    stage.take(idle);
    let browser = stage.asks(get("/", ""));
    let now = Now { mono_ms: stage.now_ms, unix_ms: stage.now_ms };
    stage.server.handle(Input::ShutdownAsked, now);
    stage.run();
    stage.say(app, format!("{HEAD}abc"));
    let heard = stage.take(browser);
    assert!(heard.contains("\r\nConnection: close\r\n") && heard.ends_with("abc"), "{heard}");
    assert!(stage.peers[browser].finished && stage.peers[app].closed);
    stage.end(browser, Cause::Ended);
    let late = stage.asks(get("/", ""));
    is_answer(&stage.take(late), 503, "shutting down");
    stage.end(late, Cause::Ended);
    stage.pass(1_100);
    assert!(stage.server.is_done());

    let front = Front { timeout_ms: 600_000, ..settings().front };
    let mut stage = Stage::new(Settings { front, ..settings() });
    let browser = stage.asks(get("/", ""));
    let now = Now { mono_ms: stage.now_ms, unix_ms: stage.now_ms };
    stage.server.handle(Input::ShutdownAsked, now);
    stage.run();
    stage.pass(10_100);
    assert!(stage.peers[browser].closed && stage.server.is_done());
}
