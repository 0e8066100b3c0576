//! What passes: bodies both ways, however they are framed and cut, and who waits for whom.

use wsloop::Cause;

use super::get;
use super::stage::{Stage, settings};

/// What an application answers, and what the browser hears of it.
#[test]
fn answers_end_where_they_say_for_who_speaks_either_version() {
    let new = get("/", "");
    let head = new.replace("GET", "HEAD");
    let old = "GET / HTTP/1.0\r\nHost: example.com\r\n\r\n".to_owned();
    let kept = "GET / HTTP/1.0\r\nHost: example.com\r\nConnection: keep-alive\r\n\r\n".to_owned();
    let last = get("/", "Connection: close\r\n");
    let sized = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3;x=y\r\nabc\r\n0\r\nA: b\r\nX_Y: z\r\n\r\n";
    for (request, answer, expected, kept_both) in [
        (&new, sized, "200 OK\r\nContent-Length: 3\r\n\r\nabc", (true, true)),
        (
            &new,
            chunked,
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n",
            (true, true),
        ),
        (&old, sized, "200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", (false, true)),
        (
            &kept,
            sized,
            "200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
            (true, true),
        ),
        (&old, chunked, "200 OK\r\nConnection: close\r\n\r\nabc", (false, true)),
        (
            &last,
            sized,
            "200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
            (false, true),
        ),
        (
            &head,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            "200 OK\r\nContent-Length: 3\r\n\r\n",
            (true, true),
        ),
        (
            &head,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "200 OK\r\n\r\n",
            (true, true),
        ),
        (
            &new,
            "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
            "204 No Content\r\nA: b\r\n\r\n",
            (true, true),
        ),
        (
            &new,
            "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 9\r\n\r\n",
            "304 Not Modified\r\nETag: x\r\nContent-Length: 9\r\n\r\n",
            (true, true),
        ),
        (
            &new,
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "200 OK\r\nContent-Length: 3\r\n\r\nabc",
            (true, false),
        ),
        (
            &new,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close, X-B\r\nX-B: 1\r\n\r\nabc",
            "200 OK\r\nContent-Length: 3\r\n\r\nabc",
            (true, false),
        ),
        (
            &new,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n",
            "200 OK\r\nContent-Length: 3\r\n\r\nabc",
            (true, false),
        ),
        (
            &new,
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            (true, true),
        ),
    ] {
        for step in [1, 7, answer.len()] {
            let mut stage = Stage::new(settings());
            let browser = stage.asks(request);
            let app = stage.app();
            for piece in answer.as_bytes().chunks(step) {
                stage.say(app, piece);
            }
            let mut heard = stage.take(browser);
            if step < 100 && expected.contains("3\r\nabc\r\n") {
                heard = heard.replace("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n", "3\r\nabc\r\n");
                heard = heard.replace("2\r\nab\r\n1\r\nc\r\n", "3\r\nabc\r\n");
                heard = heard.replace("1\r\na\r\n2\r\nbc\r\n", "3\r\nabc\r\n");
            }
            assert_eq!(heard, format!("HTTP/1.1 {expected}"), "{answer} by {step}");
            let kept = (!stage.peers[browser].finished, !stage.peers[app].closed);
            assert_eq!(kept, kept_both, "{answer} by {step}");
        }
    }
}

#[test]
fn a_body_until_the_end_goes_on_in_chunks_or_until_the_end() {
    for (request, expected, finished) in [
        (
            get("/", ""),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            false,
        ),
        (
            "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc",
            true,
        ),
    ] {
        let mut stage = Stage::new(settings());
        let browser = stage.asks(&request);
        let app = stage.app();
        stage.say(app, "HTTP/1.1 200 OK\r\n\r\nabc");
        assert!(!stage.peers[browser].finished);
        stage.end(app, Cause::Ended);
        assert_eq!(stage.take(browser), expected);
        assert_eq!(stage.peers[browser].finished, finished);
    }
}

/// However a request is cut, the application hears the same.
#[test]
fn bodies_of_requests_go_on_however_they_are_cut() {
    let sized = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\nA: b\r\nX-Forwarded-For: 1\r\nC_D: 1\r\n\r\n";
    for (request, line, body) in [
        (sized, "Content-Length: 3", "abc"),
        (chunked, "Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\nA: b\r\n\r\n"),
    ] {
        for step in 1..=request.len() {
            let mut stage = Stage::new(settings());
            let browser = stage.browser();
            for piece in request.as_bytes().chunks(step) {
                stage.say(browser, piece);
            }
            let app = stage.app();
            let heard = stage.take(app);
            let (head, mut rest) =
                heard.split_once("\r\n\r\n").map(|(h, r)| (h, r.to_owned())).expect("a head");
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
            if body.len() > 3 {
                for (cut, whole) in [
                    ("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n", "3\r\nabc\r\n"),
                    ("2\r\nab\r\n1\r\nc\r\n", "3\r\nabc\r\n"),
                    ("1\r\na\r\n2\r\nbc\r\n", "3\r\nabc\r\n"),
                ] {
                    rest = rest.replace(cut, whole);
                }
            }
            assert_eq!(rest, body, "by {step}");
            stage.say(app, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            assert!(stage.take(browser).starts_with("HTTP/1.1 200 OK"));
            assert!(!stage.peers[browser].finished && !stage.peers[app].closed);
        }
    }
}

#[test]
fn requests_that_come_at_once_are_answered_in_their_order() {
    let mut stage = Stage::new(settings());
    let three: String = ["/1", "/2", "/3"].map(|path| get(path, "")).concat();
    let browser = stage.asks(&three);
    for path in ["/1", "/2", "/3"] {
        assert_eq!(stage.dialed().len(), 1, "one link will do");
        let app = stage.app();
        let heard = stage.take(app);
        assert!(heard.starts_with(&format!("GET {path} ")), "{heard}");
        assert_eq!(heard.matches("GET ").count(), 1, "{heard}");
        stage.say(app, format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{path}"));
        assert!(stage.take(browser).ends_with(&format!("\r\n\r\n{path}")));
    }
    stage.say(browser, get("/ws/x", ""));
    assert!(stage.take(browser).starts_with("HTTP/1.1 426 "), "what is ours is answered by us");
}

#[test]
fn who_waits_for_a_100_has_it_from_the_application() {
    let mut stage = Stage::new(settings());
    let head = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n";
    let browser = stage.asks(head);
    let app = stage.app();
    assert!(stage.take(app).contains("\r\nExpect: 100-Continue\r\n"));
    stage.say(app, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(stage.take(browser), "HTTP/1.1 100 Continue\r\n\r\n");
    stage.say(browser, "abc");
    assert_eq!(stage.take(app), "abc");
    stage.say(app, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    assert!(stage.take(browser).starts_with("HTTP/1.1 201 Created\r\n"));
}

/// Neither end makes more wait here than a buffer and a read.
#[test]
fn who_reads_slowly_stops_the_other() {
    const MOST: usize = 3 * (64 << 10);
    let piece = vec![b'x'; 64 << 10];
    let length = 100 * piece.len();
    let mut stage = Stage::new(settings());
    let browser = stage.browser();
    stage.peers[browser].appetite = Some(100);
    stage.say(browser, get("/", ""));
    let app = stage.app();
    stage.say(app, format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
    stage.peers[app].says.extend(vec![piece.clone(); 100]);
    stage.run();
    assert!(stage.waiting(browser) < MOST, "{}", stage.waiting(browser));
    assert!(stage.peers[app].says.len() > 90, "the application is read on");
    stage.feed(browser, None);
    let heard = stage.take(browser);
    assert_eq!(heard.len() - heard.find("\r\n\r\n").expect("a head") - 4, length);

    let mut stage = Stage::new(settings());
    let browser = stage.browser();
    stage.say(browser, format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"));
    let app = stage.app();
    stage.peers[app].appetite = Some(0);
    stage.peers[browser].says.extend(vec![piece.clone(); 100]);
    stage.run();
    assert!(stage.waiting(app) < MOST, "{}", stage.waiting(app));
    assert!(stage.peers[browser].says.len() > 90, "the browser is read on");
    stage.feed(app, None);
    assert!(stage.take(app).len() > length && stage.peers[browser].says.is_empty());

    // The same while there is no link yet.
    let mut stage = Stage::new(settings());
    stage.silent = true;
    let browser = stage.browser();
    stage.peers[browser].says.push_back(
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n").into_bytes(),
    );
    stage.peers[browser].says.extend(vec![piece; 100]);
    stage.run();
    assert!(stage.peers[browser].says.len() > 90, "the browser is read on");
    stage.silent = false;
    stage.run();
    let app = stage.app();
    assert!(stage.take(app).len() > length);
}

#[test]
fn a_websocket_of_the_application_passes() {
    let mut stage = Stage::new(settings());
    let lines = "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n";
    let browser = stage.asks(get("/live?x", lines) + "early");
    let app = stage.app();
    let heard = stage.take(app);
    assert!(heard.contains("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"), "{heard}");
    assert!(heard.ends_with("\r\n\r\n"), "{heard}");
    stage.say(
        app,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: y\r\n\r\nfirst",
    );
    let expected = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: y\r\n\
                    Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst";
    assert_eq!(stage.take(browser), expected);
    assert_eq!(stage.take(app), "early");
    // Whichever side says something keeps it.
    for (from, to) in [(browser, app), (app, browser)] {
        stage.pass(590_000);
        stage.say(from, "ping");
        assert_eq!(stage.take(to), "ping");
    }
    stage.pass(590_000);
    assert!(!stage.peers[browser].finished);
    stage.end(app, Cause::Ended);
    assert!(stage.peers[browser].finished && stage.peers[app].closed);
    stage.end(browser, Cause::Ended);
    assert!(stage.peers[browser].closed);
}

/// Of a WebSocket that was forgotten, nothing stays.
#[test]
fn a_websocket_on_which_nothing_passes_ends() {
    let mut stage = Stage::new(settings());
    let browser = stage.asks(get("/live", "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    let app = stage.app();
    stage.say(app, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
    stage.pass(599_000);
    assert!(!stage.peers[browser].closed);
    stage.pass(1_100);
    assert!(stage.peers[browser].closed && stage.peers[app].closed);
}

/// Bodies of all lengths and framings, cut at random on both sides, arrive as they were.
#[test]
fn bytes_arrive_as_they_were_however_everything_is_cut() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |most: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % most as u64) as usize
    };
    let mut stage = Stage::new(settings());
    for _ in 0..40 {
        let browser = stage.browser();
        for _ in 0..1 + below(4) {
            let up = body(below(200_000), &mut below);
            let down = body(below(200_000), &mut below);
            let request = [&b"POST /x HTTP/1.1\r\nHost: h\r\n"[..], &up.1].concat();
            let answer = [&b"HTTP/1.1 200 OK\r\n"[..], &down.1].concat();
            cut(&mut stage, browser, &request, &mut below);
            stage.run();
            let app = stage.app();
            cut(&mut stage, app, &answer, &mut below);
            for _ in 0..below(20) {
                let (to_app, to_browser) = (below(60_000), below(60_000));
                stage.feed(app, Some(to_app));
                stage.feed(browser, Some(to_browser));
            }
            stage.feed(app, None);
            stage.feed(browser, None);
            let asked = std::mem::take(&mut stage.peers[app].heard);
            let answered = std::mem::take(&mut stage.peers[browser].heard);
            assert!(
                data(&asked) == up.0 && data(&answered) == down.0,
                "bytes are not as they were"
            );
        }
        stage.end(browser, Cause::Ended);
    }
    assert!(stage.server.metrics().upstream_errors_total == 0);
}

/// Data, and the same with the lines that say where it ends.
fn body(length: usize, below: &mut impl FnMut(usize) -> usize) -> (Vec<u8>, Vec<u8>) {
    let data: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
    let mut out = Vec::new();
    if below(2) == 0 {
        out.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
        out.extend_from_slice(&data);
        return (data, out);
    }
    out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    let mut rest = &data[..];
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(1 + below(rest.len()));
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = after;
    }
    out.extend_from_slice(b"0\r\n\r\n");
    (data, out)
}

fn cut(stage: &mut Stage, id: usize, bytes: &[u8], below: &mut impl FnMut(usize) -> usize) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + below(rest.len().min(65_536)));
        stage.peers[id].says.push_back(piece.to_vec());
        rest = after;
    }
}

/// The data of a message.
fn data(message: &[u8]) -> Vec<u8> {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let (head, mut rest) = message.split_at(end);
    let head = String::from_utf8_lossy(head).into_owned();
    if !head.contains("Transfer-Encoding: chunked") {
        return rest.to_vec();
    }
    let mut data = Vec::new();
    loop {
        let line = rest.iter().position(|byte| *byte == b'\r').expect("a size");
        let size = std::str::from_utf8(&rest[..line]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            assert_eq!(&rest[line..], b"\r\n\r\n");
            return data;
        }
        data.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest = &rest[line + 4 + size..];
    }
}
