//! The servers of Python's applications behind `--upstream`: gunicorn by HTTP, uWSGI by its own
//! protocol and by HTTP, with the application of `site.py`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;

use wsloop::proto::http::body::{BodyReader, Framing};

use crate::support::client::{Response, tcp};
use crate::support::{Folder, Process, Wsloop, eventually};

/// The application in its server, and wsloop in front of it.
struct Site {
    wsloop: Wsloop,
    server: Process,
    folder: Folder,
}

const PLACE: &str = "app.sock";

impl Site {
    /// Starts them; `url` is the beginning of what wsloop is told, before the path of the socket.
    fn start(program: &str, args: &[&str], url: &str) -> Site {
        let folder = Folder::new();
        let site = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/program/front/site.py");
        fs::copy(site, folder.join("site_of_test.py")).expect("a file");
        let log = fs::File::create(folder.join("log")).expect("a file");
        let errors = log.try_clone().expect("a file");
        let mut command = Command::new(program);
        command.args(args).current_dir(folder.path()).env("GO", folder.join("go"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let server = Process::spawn(command.stdout(Stdio::from(log)).stderr(Stdio::from(errors)));
        let socket = folder.join(PLACE);
        eventually(program, || UnixStream::connect(&socket).ok());
        let url = format!("{url}{}", socket.display());
        let wsloop = Wsloop::start(&["--upstream", &url, "--trusted-proxies", "127.0.0.1"]);
        Site { wsloop, server, folder }
    }

    fn gunicorn() -> Site {
        let bind = format!("unix:{PLACE}");
        let args = ["--bind", &bind, "--threads", "4", "--keep-alive", "30", "site_of_test"];
        Site::start("gunicorn", &args, "unix:")
    }

    fn uwsgi(option: &str, url: &str) -> Site {
        // One process: a master would leave its workers behind when it is killed.
        let args = [option, PLACE, "--wsgi-file", "site_of_test.py", "--need-app"];
        Site::start("uwsgi_python3", &[&args[..], &["--threads", "4"]].concat(), url)
    }

    /// What comes back on a connection of its own.
    fn ask(&self, request: &str, body: &[u8]) -> (Response, Vec<u8>) {
        ask(&mut tcp(self.wsloop.address()), request, body)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // gunicorn ends its worker then, which would outlive it by a second.
        self.server.signal("INT");
        eventually("the application's server ends", || self.server.status());
    }
}

/// Sends a request (`GET /path`) with a body and more lines of its head, and reads what comes back.
fn ask(stream: &mut TcpStream, request: &str, body: &[u8]) -> (Response, Vec<u8>) {
    let (first, lines) = request.split_once('\n').unwrap_or((request, ""));
    let lines: String = lines.lines().map(|line| format!("{}\r\n", line.trim())).collect();
    let host = if lines.contains("Host: ") { "" } else { "Host: site.example\r\n" };
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    let head = format!("{first} HTTP/1.1\r\n{host}{length}{lines}\r\n");
    stream.write_all(head.as_bytes()).expect("it is taken");
    if lines.contains("Expect: ") {
        let (response, rest) = Response::read_head(stream);
        assert_eq!((response.status, &rest[..]), (100, &b""[..]), "the body is waited for");
    }
    stream.write_all(body).expect("it is taken");
    let (response, rest) = Response::read_head(stream);
    let bare = first.starts_with("HEAD ") || matches!(response.status, 204 | 304);
    let body = rest_of_body(stream, &response, rest, bare);
    (response, body)
}

fn rest_of_body(
    stream: &mut TcpStream,
    response: &Response,
    mut rest: Vec<u8>,
    bare: bool,
) -> Vec<u8> {
    let length = response.header("content-length").map(|text| text.parse().expect("a length"));
    let mut reader = BodyReader::new(match (bare, length) {
        (true, _) => Framing::Empty,
        (false, Some(length)) => Framing::Sized(length),
        (false, None) => {
            assert_eq!(response.header("transfer-encoding"), Some("chunked"), "{response:?}");
            Framing::Chunked
        }
    });
    let mut body = Vec::new();
    loop {
        let mut input = &rest[..];
        while let Some(data) = reader.next(&mut input).expect("a body") {
            body.extend_from_slice(data);
        }
        if reader.is_done() {
            assert!(input.is_empty(), "something came behind the body: {response:?}");
            return body;
        }
        rest.resize(64 << 10, 0);
        let n = stream.read(&mut rest).expect("more of the body");
        assert!(n > 0, "it ended after {} bytes: {response:?}", body.len());
        rest.truncate(n);
    }
}

/// What every server must do alike.
fn try_out(site: &Site, continues: bool) {
    let text = |request: &str| {
        let (response, body) = site.ask(request, b"");
        (response.status, String::from_utf8(body).expect("text"))
    };
    assert_eq!(text("GET /size/3"), (200, "xxx".to_owned()));
    let (response, body) = site.ask("HEAD /size/3", b"");
    assert_eq!((response.status, response.header("content-length")), (200, Some("3")));
    assert!(body.is_empty());
    let (response, _) = site.ask("GET /cached\nIf-None-Match: \"1\"", b"");
    assert_eq!((response.status, response.header("etag")), (304, Some("\"1\"")));
    let (response, body) = site.ask("GET /cookies\nCookie: c=3\nCookie: d=4", b"");
    let cookies: Vec<_> =
        response.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, v)| v).collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2; Expires=Thu, 1 Jan 2037"]);
    assert_eq!(String::from_utf8_lossy(&body).replace(',', "; ").replace(";  ", "; "), "c=3; d=4");

    let mebibyte: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    let mut stream = tcp(site.wsloop.address());
    for _ in 0..3 {
        let (response, body) = ask(&mut stream, "POST /echo", &mebibyte);
        assert!(response.status == 200 && body == mebibyte, "{response:?}");
        let (response, body) = ask(&mut stream, "PUT /echo", b"small");
        assert_eq!((response.status, &body[..]), (200, &b"small"[..]));
    }
    post_many(site);
    if continues {
        let (response, body) = ask(&mut stream, "POST /echo\nExpect: 100-continue", b"waited for");
        assert_eq!((response.status, &body[..]), (200, &b"waited for"[..]));
    }

    // What the application says bit by bit arrives bit by bit.
    let mut stream = tcp(site.wsloop.address());
    stream.write_all(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n").expect("it is taken");
    let (response, mut body) = Response::read_head(&mut stream);
    while !body.windows(5).any(|five| five == b"first") {
        let mut piece = [0; 64];
        let n = stream.read(&mut piece).expect("the first piece");
        assert!(n > 0, "{body:?}");
        body.extend_from_slice(&piece[..n]);
    }
    assert!(!body.windows(6).any(|six| six == b"second"), "{body:?}");
    fs::write(site.folder.join("go"), "").expect("a file");
    let body = rest_of_body(&mut stream, &response, body, false);
    assert_eq!(body, b"first and second");

    // What breaks off is seen to be no whole answer.
    let mut stream = tcp(site.wsloop.address());
    stream.write_all(b"GET /breaks HTTP/1.1\r\nHost: h\r\n\r\n").expect("it is taken");
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let all = String::from_utf8(all).expect("text");
    assert!(all.contains("Content-Length: 1000\r\n") && all.ends_with("a part"), "{all}");
}

/// What may not be sent twice is sent over no connection that is about to be closed.
fn post_many(site: &Site) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = tcp(site.wsloop.address());
                for _ in 0..100 {
                    let (response, body) = ask(&mut stream, "POST /echo", b"one of many");
                    assert_eq!((response.status, &body[..]), (200, &b"one of many"[..]));
                }
            });
        }
    });
}

/// What the application is told of a request, as lines of `NAME=value`.
fn environ(site: &Site) -> Vec<String> {
    let request = "GET /environ/a%20b/%C3%A9?x=%20y&z=a/b\nHost: site.example:8443\n\
                   X-Forwarded-For: 6.6.6.6, 9.9.9.9\nX-Forwarded-Proto: https\n\
                   X-Thing: one\nX-Thing: two\nX_Forwarded_For: 6.6.6.6\nProxy: 6.6.6.6:1\n\
                   Content-Type: text/x-of-test\nConnection: X-Hop\nX-Hop: 1";
    let (response, body) = site.ask(request, b"");
    assert_eq!(response.status, 200);
    String::from_utf8(body).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[track_caller]
fn expect_lines(lines: &[String], expected: &[&str]) {
    for line in expected {
        let name = line.split('=').next().expect("a name");
        let found: Vec<_> =
            lines.iter().filter(|line| line.split('=').next() == Some(name)).collect();
        assert_eq!(found, [line], "{lines:#?}");
    }
}

const SAID: [&str; 11] = [
    "REQUEST_METHOD=GET",
    "PATH_INFO=/environ/a b/é",
    "QUERY_STRING=x=%20y&z=a/b",
    "SERVER_PROTOCOL=HTTP/1.1",
    "CONTENT_TYPE=text/x-of-test",
    "HTTP_HOST=site.example:8443",
    "HTTP_X_FORWARDED_FOR=9.9.9.9",
    "HTTP_X_FORWARDED_PROTO=https",
    "HTTP_X_FORWARDED_HOST=site.example:8443",
    "wsgi.url_scheme=https",
    "url=https://site.example:8443/environ/a%20b/%C3%A9?x=%20y&z=a/b",
];

#[test]
#[ignore = "needs gunicorn"]
fn gunicorn_answers_behind() {
    let site = Site::gunicorn();
    try_out(&site, true);
    let lines = environ(&site);
    expect_lines(&lines, &SAID);
    expect_lines(&lines, &["HTTP_X_THING=one,two"]);
    assert!(!lines.iter().any(|line| line.contains("6.6.6.6:1") || line.contains("X_HOP")));
    let chunks = "POST /digest HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\
                  Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let response = Response::to(site.wsloop.address(), chunks);
    assert_eq!(response.status, 200, "what is chunked stays so");
}

#[test]
#[ignore = "needs uwsgi with python3"]
fn uwsgi_answers_behind_by_its_own_protocol() {
    let site = Site::uwsgi("--socket", "uwsgi://");
    try_out(&site, true);
    let lines = environ(&site);
    expect_lines(&lines, &SAID);
    expect_lines(
        &lines,
        &[
            "REMOTE_ADDR=9.9.9.9",
            "HTTPS=on",
            "REQUEST_SCHEME=https",
            "REQUEST_URI=/environ/a%20b/%C3%A9?x=%20y&z=a/b",
            "SERVER_NAME=site.example",
            "SERVER_PORT=8443",
            "CONTENT_LENGTH=",
            "HTTP_X_THING=one, two",
        ],
    );
    assert!(!lines.iter().any(|line| line.contains("6.6.6.6:1") || line.contains("X_HOP")));
    let chunks = "POST /digest HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let response = Response::to(site.wsloop.address(), chunks);
    assert_eq!((response.status, response.body.contains("Content-Length")), (411, true));
}

#[test]
#[ignore = "needs uwsgi with python3"]
fn uwsgi_answers_behind_by_http() {
    let site = Site::uwsgi("--http-socket", "unix:");
    try_out(&site, false);
    expect_lines(&environ(&site), &["REQUEST_METHOD=GET", "PATH_INFO=/environ/a b/é"]);
}
