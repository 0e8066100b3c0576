//! Heads: what goes on, what does not, and which requests go to nobody.

use wsloop::{Front, Page, PageContent, Settings, Speaks, Upstream};

use super::stage::{Stage, settings, upstream};
use super::{get, is_answer};

const WHENCE: &str = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\n\
                      X-Forwarded-Host: example.com\r\n\r\n";

#[test]
fn a_request_goes_on_as_it_came_but_for_what_is_of_one_connection() {
    for (request, expected) in [
        (get("/a%2f/?b=%20&c", ""), "GET /a%2f/?b=%20&c HTTP/1.1\r\nHost: example.com\r\n"),
        (get("/a?", ""), "GET /a? HTTP/1.1\r\nHost: example.com\r\n"),
        (get("/..//./a", ""), "GET /..//./a HTTP/1.1\r\nHost: example.com\r\n"),
        (get("http://other.example/x?y", ""), "GET /x?y HTTP/1.1\r\nHost: other.example\r\n"),
        (
            get("/", "Cookie: a=b\r\nAccept: */*\r\nX-A:  1 \r\nX-A: 2\r\n"),
            "GET / HTTP/1.1\r\nHost: example.com\r\nCookie: a=b\r\nAccept: */*\r\nX-A: 1\r\n\
             X-A: 2\r\n",
        ),
        (
            get(
                "/",
                "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
                 Proxy: x:1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nExpect: x\r\n",
            ),
            "GET / HTTP/1.1\r\nHost: example.com\r\n",
        ),
        (
            get(
                "/",
                "X-Forwarded-For: 10.0.0.1\r\nx-forwarded-proto: https\r\nX-Forwarded-Host: h\r\n\
                 Forwarded: for=1\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Port: 1\r\n\
                 X_Forwarded_For: 1\r\nREMOTE_USER: root\r\n",
            ),
            "GET / HTTP/1.1\r\nHost: example.com\r\n",
        ),
        (
            get("/", "Connection: X-Forwarded-For, host\r\n"),
            "GET / HTTP/1.1\r\nHost: example.com\r\n",
        ),
    ] {
        let mut stage = Stage::new(settings());
        stage.asks(&request);
        let app = stage.app();
        let whence = match request.contains("other.example") {
            true => WHENCE.replace("example.com", "other.example"),
            false => WHENCE.to_owned(),
        };
        assert_eq!(stage.take(app), format!("{expected}{whence}"), "{request}");
    }
    let mut stage = Stage::new(settings());
    stage.asks("GET / HTTP/1.0\r\n\r\n");
    let app = stage.app();
    assert!(stage.take(app).starts_with("GET / HTTP/1.1\r\nHost: app\r\n"));
}

/// Two readers could differ about where these end, or what they are for.
#[test]
fn what_could_smuggle_a_request_goes_to_nobody() {
    let body = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
    for (lines, status) in [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5, 5\r\n", 400),
        ("Content-Length: +5\r\n", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: xchunked\r\n", 501),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Transfer-Encoding:\x0bchunked\r\n", 400),
        ("X: a\r\n Transfer-Encoding: chunked\r\n", 400),
        ("X: a\nContent-Length: 5\r\n", 400),
        ("X: a\r\n\tb\r\n", 400),
        ("X: a\rContent-Length: 5\r\n", 400),
        ("Content-Length: 5\0\r\n", 400),
        ("Host: other\r\n", 400),
        (": a\r\n", 400),
    ] {
        let mut stage = Stage::new(settings());
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let browser = stage.asks(format!("{head}{body}"));
        assert!(stage.dialed().is_empty(), "{lines:?}");
        is_answer(&stage.take(browser), status, "");
        assert!(stage.peers[browser].finished, "{lines:?}");
    }
    let mut stage = Stage::new(settings());
    let old = stage.asks("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    is_answer(&stage.take(old), 400, "HTTP/1.0 has no Transfer-Encoding");
    let none = stage.asks("GET / HTTP/1.1\r\n\r\n");
    is_answer(&stage.take(none), 400, "");
    let trace = stage.asks("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n");
    is_answer(&stage.take(trace), 405, "TRACE is not passed on");
    assert!(stage.dialed().is_empty());
}

#[test]
fn own_paths_win_and_the_question_of_who_somebody_is_has_no_answer_outside() {
    let content = PageContent::Redirect("/elsewhere");
    let mut settings = Settings {
        pages: vec![Page { path: "/wsloop.js", content }],
        metrics_path: Some("/metrics".to_owned()),
        echo_path: Some("/echo".to_owned()),
        ..settings()
    };
    settings.front.hidden = Some("/ws-auth/".to_owned());
    for (path, status) in [
        ("/wsloop.js", 302),
        ("/metrics", 200),
        ("/echo", 426),
        ("/ws/", 426),
        ("/ws/topic", 426),
        ("/ws-auth/", 404),
        ("/%77s-auth", 404),
        ("/x/..//WS-AUTH/.", 404),
    ] {
        let mut stage = Stage::new(settings.clone());
        let browser = stage.asks(get(path, ""));
        assert!(stage.dialed().is_empty(), "{path}");
        let heard = stage.take(browser);
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{heard}");
    }
    let mut stage = Stage::new(settings);
    stage.asks(get("/ws-authors", ""));
    assert_eq!(stage.dialed().len(), 1);
}

#[test]
fn routes_go_where_they_say_by_the_longest_beginning() {
    let routes = [("/", 0), ("/live/", 1), ("/live/two/", 2)];
    let front = Front {
        upstreams: vec![upstream(80), upstream(81), upstream(82)],
        routes: routes.map(|(prefix, to)| (prefix.to_owned(), to)).to_vec(),
        ..Front::default()
    };
    for (path, port) in
        [("/live", 80), ("/live/", 81), ("/%6Cive/x", 81), ("/live/two/", 82), ("/x/live/", 80)]
    {
        let mut stage = Stage::new(Settings { front: front.clone(), ..settings() });
        stage.asks(get(path, ""));
        let app = stage.app();
        assert_eq!(stage.peers[app].target, Some(upstream(port).target), "{path}");
        assert!(stage.take(app).starts_with(&format!("GET {path} ")), "{path}");
    }
}

#[test]
fn uwsgi_has_its_packet_and_no_chunks() {
    let front = Front {
        upstreams: vec![Upstream { speaks: Speaks::Uwsgi, ..upstream(3031) }],
        ..settings().front
    };
    let settings = Settings { front, ..settings() };
    let mut stage = Stage::new(settings.clone());
    let chunked = stage.asks(
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    );
    is_answer(&stage.take(chunked), 411, "send a Content-Length");

    let browser = stage.asks(
        "POST /%41?q=%20 HTTP/1.1\r\nHost: h:81\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\
         Content-Type: t\r\nX-A: 1\r\nX-A: 2\r\nX_A: 3\r\nContent_Length: 9\r\n\r\n",
    );
    assert_eq!(stage.take(browser), "HTTP/1.1 100 Continue\r\n\r\n");
    stage.say(browser, "abc");
    let app = stage.app();
    let heard = std::mem::take(&mut stage.peers[app].heard);
    let length = usize::from(u16::from_le_bytes([heard[1], heard[2]]));
    assert_eq!(&heard[4 + length..], b"abc");
    let mut rest = &heard[4..4 + length];
    let mut variables = Vec::new();
    let mut text = || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (text, after) = after.split_at(usize::from(u16::from_le_bytes(*length)));
        rest = after;
        Some(String::from_utf8(text.to_vec()).expect("text"))
    };
    while let Some(name) = text() {
        variables.push((name, text().expect("a value")));
    }
    let expected = [
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/%41?q=%20"),
        ("PATH_INFO", "/A"),
        ("QUERY_STRING", "q=%20"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_SCHEME", "http"),
        ("SERVER_NAME", "h"),
        ("SERVER_PORT", "81"),
        ("CONTENT_LENGTH", "3"),
        ("CONTENT_TYPE", "t"),
        ("HTTP_HOST", "h:81"),
        ("HTTP_X_A", "1, 2"),
        ("REMOTE_ADDR", "192.0.2.1"),
        ("HTTP_X_FORWARDED_FOR", "192.0.2.1"),
        ("HTTP_X_FORWARDED_PROTO", "http"),
        ("HTTP_X_FORWARDED_HOST", "h:81"),
    ];
    assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    stage.say(app, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(stage.take(browser), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert!(stage.peers[app].closed, "its protocol has one request on a connection");
}
