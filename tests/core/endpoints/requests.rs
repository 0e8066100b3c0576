//! Plain HTTP requests that the application answers itself.

use wsloop::{Cause, PlainRequest, PlainRequests, RequestId};

use super::*;
use crate::front::stage::Stage;
use crate::front::{get, is_answer};

const LIMITS: PlainRequests = PlainRequests { max_body: 10, at_once: 3, timeout_ms: 5_000 };

fn answering() -> Settings {
    of(vec![Endpoint { requests: Some(LIMITS), ..Endpoint::default() }])
}

/// What the application of an endpoint is told next, and receives.
fn events(stage: &mut Stage, endpoint: usize) -> Vec<SocketEvent> {
    let mut events = Vec::new();
    stage.server.take_events(endpoint, &mut events);
    let bytes = events.iter().map(SocketEvent::held_bytes).sum();
    order(stage, Order::Received { endpoint, events: events.len(), bytes });
    events
}

#[track_caller]
fn told(stage: &mut Stage) -> (RequestId, PlainRequest) {
    let events = events(stage, 0);
    let [SocketEvent::Request { id, request }] = &events[..] else { panic!("{events:?}") };
    (*id, (**request).clone())
}

fn order(stage: &mut Stage, order: Order) {
    let now = stage.now();
    stage.server.obey([order].into_iter(), now);
    stage.run();
}

fn answer(stage: &mut Stage, id: RequestId, status: u16, body: &str) {
    let headers = vec![("Content-Type".to_owned(), "text/plain".to_owned())];
    order(stage, Order::Respond { id, status, headers, body: body.as_bytes().to_vec() });
}

fn post(body: &str) -> String {
    format!("POST /form HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";

#[test]
fn a_request_is_told_whole_and_answered_by_its_name() {
    let mut stage = Stage::new(answering());
    let browser = stage.asks("POST /a%20b?c=d HTTP/1.1\r\nHost: h\r\nX-One: 1\r\n");
    stage.say(browser, "Content-Length: 6\r\n\r\nabc");
    assert_eq!(events(&mut stage, 0), [], "it is not whole");
    stage.say(browser, "def");
    let (id, request) = told(&mut stage);
    assert_eq!((&request.method[..], &request.path[..]), ("POST", "/a%20b"));
    assert_eq!((&request.query[..], &request.body[..]), ("c=d", &b"abcdef"[..]));
    assert_eq!((request.header("x-one"), request.is_secure), (Some("1"), false));
    assert_eq!(request.address.map(|ip| ip.to_string()).as_deref(), Some("192.0.2.1"));
    answer(&mut stage, id, 200, "hello");
    assert_eq!(stage.take(browser), format!("{OK}Content-Length: 5\r\n\r\nhello"));
    answer(&mut stage, id, 200, "again");
    assert_eq!(stage.take(browser), "", "once");
    // The connection goes on, for a request of a page and one for a WebSocket.
    stage.say(browser, get("/", "").replace("GET", "HEAD"));
    let (id, request) = told(&mut stage);
    assert_eq!(request.method, "HEAD");
    answer(&mut stage, id, 200, "hello");
    assert_eq!(stage.take(browser), format!("{OK}Content-Length: 5\r\n\r\n"));
    stage.say(browser, String::from_utf8(upgrade("/", &[])).expect("text"));
    assert!(stage.take(browser).starts_with("HTTP/1.1 101 "));
    assert!(matches!(events(&mut stage, 0)[..], [SocketEvent::Opened { .. }]));
    assert_eq!(stage.server.metrics().requests_total, 2);
}

#[test]
fn a_body_comes_in_chunks_and_after_a_100_as_well() {
    let mut stage = Stage::new(answering());
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let browser = stage.asks(format!("{chunked}3\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n"));
    assert_eq!(told(&mut stage).1.body, b"abcde");
    let expects = post("abc").replace("\r\n\r\nabc", "\r\nExpect: 100-continue\r\n\r\n");
    let waits = stage.asks(expects);
    assert_eq!(stage.take(waits), "HTTP/1.1 100 Continue\r\n\r\n");
    stage.say(waits, "abc");
    let (id, request) = told(&mut stage);
    assert_eq!(request.body, b"abc");
    answer(&mut stage, id, 204, "left out");
    assert_eq!(stage.take(waits), "HTTP/1.1 204 No Content\r\nContent-Type: text/plain\r\n\r\n");
    assert_eq!(stage.take(browser), "");
}

#[test]
fn who_speaks_http_1_0_or_closes_has_its_connection_closed() {
    for (head, says) in [
        ("GET / HTTP/1.0\r\nHost: h\r\n\r\n", "Connection: close\r\n"),
        ("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "Connection: close\r\n"),
        ("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", "Connection: keep-alive"),
    ] {
        let mut stage = Stage::new(answering());
        let browser = stage.asks(head);
        let (id, _) = told(&mut stage);
        answer(&mut stage, id, 200, "x");
        let heard = stage.take(browser);
        assert!(heard.contains(says) && heard.ends_with("\r\n\r\nx"), "{heard}");
        assert_eq!(stage.peers[browser].finished, says.contains("close"));
    }
}

#[test]
fn a_body_that_is_too_long_or_of_no_certain_end_is_refused_and_not_told() {
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let endless = format!("{chunked}{}", "5\r\nabcde\r\n".repeat(3));
    for (bytes, status, words) in [
        (post("12345678901"), 413, "over the 10 bytes"),
        (post("12345678901").replace("12345678901", ""), 413, "over the 10 bytes"),
        (endless, 413, "over the 10 bytes"),
        (format!("{chunked}x\r\n"), 400, "not as HTTP has it"),
        (post("x").replace("1\r\n\r\n", "1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400, "exclude"),
        (get("/", "").replace("GET", "TRACE"), 405, "TRACE"),
        (get("/", "").replace("Host: example.com\r\n", ""), 400, "Host"),
    ] {
        let mut stage = Stage::new(answering());
        let browser = stage.asks(&bytes);
        is_answer(&stage.take(browser), status, words);
        assert!(stage.peers[browser].finished, "{bytes}");
        assert_eq!(events(&mut stage, 0), [], "{bytes}");
        stage.say(browser, "more".repeat(1000));
        stage.pass(60_000);
        assert!(stage.peers[browser].closed, "{bytes}");
    }
    let mut stage = Stage::new(answering());
    stage.asks(post("1234567890"));
    assert_eq!(told(&mut stage).1.body, b"1234567890", "as long as may be");
}

#[test]
fn time_is_bounded_for_the_body_and_then_for_the_answer() {
    let mut stage = Stage::new(answering());
    let trickles = stage.asks(post("1234567890").replace("1234567890", ""));
    for _ in 0..5 {
        stage.pass(990);
        stage.say(trickles, "1");
    }
    assert_eq!(stage.take(trickles), "");
    stage.pass(60);
    is_answer(&stage.take(trickles), 408, "did not arrive in time");
    let slow = stage.asks(post("123").replace("123", ""));
    stage.pass(4_000);
    stage.say(slow, "123");
    let (id, _) = told(&mut stage);
    stage.pass(4_900);
    assert_eq!(stage.take(slow), "", "its time began anew");
    stage.pass(200);
    is_answer(&stage.take(slow), 504, "did not answer in time");
    answer(&mut stage, id, 200, "too late");
    assert_eq!(stage.take(slow), "");
}

#[test]
fn so_many_are_asked_at_once_and_who_has_gone_makes_room() {
    let mut stage = Stage::new(answering());
    let all: Vec<usize> = (0..3).map(|n| stage.asks(get(&format!("/{n}"), ""))).collect();
    let ids: Vec<RequestId> = events(&mut stage, 0)
        .iter()
        .map(|event| match event {
            SocketEvent::Request { id, .. } => *id,
            other => panic!("{other:?}"),
        })
        .collect();
    let fourth = stage.asks(get("/", ""));
    is_answer(&stage.take(fourth), 503, "Too many requests");
    stage.end(all[0], Cause::Ended);
    answer(&mut stage, ids[0], 200, "to nobody");
    let fifth = stage.asks(get("/fifth", ""));
    let (id, _) = told(&mut stage);
    // Answers come in whatever order, each to who asked.
    for (id, browser) in [(ids[2], all[2]), (id, fifth), (ids[1], all[1])] {
        answer(&mut stage, id, 200, &id.to_string());
        assert!(stage.take(browser).ends_with(&format!("\r\n\r\n{id}")));
    }
}

#[test]
fn requests_wait_while_the_application_receives_nothing() {
    let requests = Some(PlainRequests { at_once: 10, ..LIMITS });
    let endpoint = Endpoint { requests, queue_events: 2, ..Endpoint::default() };
    let mut stage = Stage::new(of(vec![endpoint]));
    let all: Vec<usize> = (0..4).map(|n| stage.asks(get(&format!("/{n}"), ""))).collect();
    let gives_up = stage.asks(get("/gives-up", ""));
    stage.end(gives_up, Cause::Failed("Connection reset".to_owned()));
    let mut first = Vec::new();
    stage.server.take_events(0, &mut first);
    assert_eq!(first.len(), 2, "as many as may wait");
    stage.pass(4_000);
    order(&mut stage, Order::Received { endpoint: 0, events: 2, bytes: usize::MAX });
    assert_eq!(events(&mut stage, 0).len(), 2, "the others, but for who gave up");
    stage.asks(get("/", ""));
    stage.asks(get("/", ""));
    let late = stage.asks(get("/", ""));
    stage.pass(1_100);
    assert!(all.iter().all(|browser| stage.peers[*browser].heard.starts_with(b"HTTP/1.1 504 ")));
    stage.pass(4_000);
    is_answer(&stage.take(late), 503, "takes no requests");
    assert_eq!(events(&mut stage, 0).len(), 2, "it is told of no request that is over");
}

#[test]
fn what_comes_behind_a_request_waits_for_its_answer() {
    let mut stage = Stage::new(answering());
    let browser = stage.asks([post("1"), post("2"), post("3")].concat());
    let mut before = None;
    for number in ["1", "2", "3"] {
        let (id, request) = told(&mut stage);
        assert_eq!(request.body, number.as_bytes());
        before.replace(id).into_iter().for_each(|id| answer(&mut stage, id, 200, "again"));
        assert_eq!(stage.take(browser), "", "an answer is its own request's");
        answer(&mut stage, id, 200, number);
        assert!(stage.take(browser).ends_with(&format!("\r\n\r\n{number}")));
    }
    // Whoever sends without end behind its request is not read for ever.
    stage.say(browser, post("4"));
    for _ in 0..40 {
        stage.say(browser, "x".repeat(1_000));
    }
    assert!(stage.peers[browser].says.len() > 20, "{}", stage.peers[browser].says.len());
}

#[test]
fn pages_and_the_relay_and_other_endpoints_keep_their_paths() {
    let path =
        |path: &str, requests| Endpoint { path: path.to_owned(), requests, ..Endpoint::default() };
    let endpoints = vec![path("/", Some(LIMITS)), path("/quiet/", None), path("/b/", Some(LIMITS))];
    let pages = vec![wsloop::Page::html("/page", "<p>a page")];
    let metrics_path = Some("/metrics".to_owned());
    let mut stage = Stage::new(Settings { endpoints, pages, metrics_path, ..Settings::base() });
    for (target, status) in
        [("/page", 200), ("/metrics", 200), ("/ws/room?subscribe-broadcast", 426), ("/quiet/", 426)]
    {
        let browser = stage.asks(get(target, ""));
        let heard = stage.take(browser);
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {heard}");
    }
    stage.asks(get("/b/x", ""));
    stage.asks(get("/a", ""));
    let paths = |stage: &mut Stage, endpoint| match &events(stage, endpoint)[..] {
        [SocketEvent::Request { request, .. }] => request.path.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((paths(&mut stage, 2), paths(&mut stage, 0)), ("/b/x".into(), "/a".into()));
    assert_eq!(events(&mut stage, 1), []);
}

#[test]
fn when_the_application_has_gone_its_requests_are_answered_for_it() {
    let mut stage = Stage::new(answering());
    let told = stage.asks(get("/", ""));
    let arriving = stage.asks(post("123").replace("123", "1"));
    order(&mut stage, Order::Gone { endpoint: 0 });
    let late = stage.asks(get("/", ""));
    for browser in [told, arriving, late] {
        is_answer(&stage.take(browser), 503, "has ended");
    }
    assert_eq!(events(&mut stage, 0), []);
}

#[test]
fn at_the_end_who_was_asked_may_still_answer() {
    let mut stage = Stage::new(answering());
    let [one, two] = ["/1", "/2"].map(|path| stage.asks(get(path, "")));
    let first = events(&mut stage, 0);
    let SocketEvent::Request { id, .. } = &first[0] else { panic!("{first:?}") };
    let now = stage.now();
    stage.server.handle(wsloop::Input::ShutdownAsked, now);
    stage.run();
    answer(&mut stage, *id, 200, "last");
    let heard = stage.take(one);
    assert!(heard.contains("Connection: close") && heard.ends_with("last"), "{heard}");
    stage.end(one, Cause::Ended);
    stage.pass(20_000);
    assert!(stage.peers[two].closed && stage.server.is_done());
}
