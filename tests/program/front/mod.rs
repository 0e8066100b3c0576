//! One port with the application: real sockets, a real application, and gigabytes.

mod tls;
mod wsgi;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::client::{Client, Response, tcp, upgrade};
use crate::support::{Folder, PATIENCE, Process, Wsloop, eventually};

/// A part of a body.
const PIECE: usize = 64 << 10;

/// Answers every request on a stream: a GET of `/N` with that many bytes, a POST with the number of
/// bytes that came.
fn answer(stream: impl Read + Write) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if stream.read_line(&mut first).is_ok_and(|n| n == 0) || first.is_empty() {
            return;
        }
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).expect("a head");
            if let Some(text) = line.strip_prefix("Content-Length: ") {
                length = text.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let came = std::io::copy(&mut (&mut stream).take(length), &mut std::io::sink());
        let out = stream.get_mut();
        let path = first.split(' ').nth(1).expect("a path");
        let sent = match path[1..].parse::<usize>() {
            Ok(bytes) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
                let pieces = (0..bytes.div_ceil(PIECE)).map(|at| PIECE.min(bytes - at * PIECE));
                let mut sent = out.write_all(head.as_bytes());
                for piece in pieces {
                    sent = sent.and_then(|()| out.write_all(&[b'x'; PIECE][..piece]));
                }
                sent
            }
            Err(_) => {
                let body = format!("{first}{}", came.expect("a body"));
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                out.write_all((head + &body).as_bytes())
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// An application at a port of its own, as long as the test runs.
fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

/// The most memory that a process has had, in bytes.
fn peak(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// Asks on a stream that stays open.
fn ask(stream: &mut TcpStream, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: site.example\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let (mut response, early) = Response::read_head(stream);
    let length: usize =
        response.header("content-length").expect("a length").parse().expect("a number");
    let mut body = early;
    let held = body.len();
    body.resize(length, 0);
    stream.read_exact(&mut body[held..]).expect("a body");
    response.body = String::from_utf8(body).expect("text");
    response
}

/// Asks on a stream of its own, of which the application's answer keeps the end open.
fn page(wsloop: &Wsloop, path: &str) -> Response {
    ask(&mut tcp(wsloop.address()), path)
}

#[test]
fn pages_and_sockets_come_from_one_port() {
    let url = format!("http://{}", application());
    let wsloop = Wsloop::start(&["--upstream", &url, "--allow", "all"]);
    let mut stream = tcp(wsloop.address());
    for path in ["/page?x=1", "/other", "/5"] {
        let response = ask(&mut stream, path);
        assert_eq!(response.status, 200);
        assert!(response.body == "xxxxx" || response.body.contains(path), "{}", response.body);
    }
    assert_eq!(wsloop.metric("upstream_dials_total"), 1, "its link is kept");
    let mut socket = wsloop.connect("topic?subscribe-broadcast&publish-broadcast&echo");
    socket.send("hello");
    socket.expect(&["hello"]);
    assert!(wsloop.get("/wsloop.js").body.contains("WSLoop"));
    assert_eq!(wsloop.metric("upstream_2xx_total"), 3);
    assert!(page(&wsloop, "/").body.starts_with("GET / HTTP/1.1"), "there is no demo");
}

#[test]
fn the_application_may_be_at_a_unix_socket() {
    let folder = Folder::new();
    let path = folder.join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(stream));
        }
    });
    let wsloop = Wsloop::start(&["--upstream", &format!("unix:{}", path.display())]);
    assert!(page(&wsloop, "/hello").body.starts_with("GET /hello HTTP/1.1"));
}

#[test]
fn an_application_that_is_away_is_said_once_and_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let url = format!("http://{address}");
    let wsloop = Wsloop::start(&["--upstream", &url, "--upstream-patience", "0.1"]);
    for _ in 0..3 {
        let response = wsloop.get("/");
        assert_eq!((response.status, response.body.contains("cannot be reached")), (502, true));
    }
    wsloop.expect_log(&["cannot be reached", "said once until it answers"]);
    assert_eq!(wsloop.log().matches("cannot be reached").count(), 1);
    assert_eq!(wsloop.metric("upstream_errors_total"), 3);
}

#[test]
fn who_asks_while_the_application_restarts_waits_for_it() {
    let folder = Folder::new();
    let path = folder.join("app.sock");
    let wsloop =
        Wsloop::start(&["--upstream", &format!("unix:{}", path.display()), "--log", "debug"]);
    let mut stream = tcp(wsloop.address());
    stream.write_all(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").expect("it");
    wsloop.expect_metric("upstream_dials_total", |dials| dials > 1);
    let listener = UnixListener::bind(&path).expect("a socket");
    thread::spawn(move || listener.accept().map(|(stream, _)| answer(stream)));
    let (response, body) = Response::read_head(&mut stream);
    assert_eq!((response.status, body.ends_with(b"3")), (200, true), "{response:?}");
}

/// An application that refuses an upload closes with most of it unread, which resets the
/// connection: its answer arrives all the same.
#[test]
fn a_refusal_of_an_upload_arrives_though_the_connection_is_reset() {
    const REFUSAL: &[u8] = b"HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\ntoo much";
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            stream.read_exact(&mut [0; 100]).expect("a head");
            stream.write_all(REFUSAL).expect("it is taken");
            // What is unread now is a reset.
        }
    });
    let wsloop = Wsloop::start(&["--upstream", &format!("http://{address}")]);
    for _ in 0..20 {
        let mut stream = tcp(wsloop.address());
        stream
            .write_all(b"POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 1073741824\r\n\r\n")
            .expect("it is taken");
        // Until the answer is there, and then nobody takes more.
        stream.set_nonblocking(true).expect("a socket");
        let mut head = [0; 12];
        eventually("an answer", || {
            let _ = stream.write(&[b'x'; PIECE]);
            stream.peek(&mut head).is_ok_and(|n| n == head.len()).then_some(())
        });
        stream.set_nonblocking(false).expect("a socket");
        let (response, _) = Response::read_head(&mut stream);
        assert_eq!(response.status, 413, "{}", wsloop.log());
    }
}

/// The same when writing is what tells of the reset, while most of the answer is not read here yet:
/// the browser is slow to take it.
#[test]
fn an_answer_is_read_to_its_end_though_the_application_takes_no_more() {
    let folder = Folder::new();
    let path = folder.join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    // It says as much as the sockets hold, and how much that was.
    let application = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.read_exact(&mut [0; 10]).expect("a head");
        stream.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 9000000\r\n\r\n").expect("a head");
        stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket");
        std::iter::from_fn(|| stream.write(&[b'x'; 1000]).ok()).sum::<usize>()
    });
    let listen = format!("unix:{}", folder.join("wsloop.sock").display());
    let upstream = format!("unix:{}", path.display());
    let wsloop = Wsloop::start(&["--listen", &listen, "--upstream", &upstream]);
    let mut stream = UnixStream::connect(folder.join("wsloop.sock")).expect("a connection");
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nbody")
        .expect("it is taken");
    let said = application.join().expect("it has answered");
    stream.write_all(b"more").expect("it is taken");
    assert_eq!(wsloop.metric("upstream_pending"), 1, "the browser has not taken all");
    let (mut all, mut piece) = (Vec::new(), [0; PIECE]);
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        all.extend_from_slice(&piece[..n]);
    }
    assert!(all.starts_with(b"HTTP/1.1 413 "), "{} bytes", all.len());
    assert_eq!(all.iter().filter(|byte| **byte == b'x').count(), said);
}

/// A GiB down and a GiB up, of which little is ever here.
#[test]
fn a_gigabyte_passes_in_little_memory() {
    const BYTES: usize = 1 << 30;
    let url = format!("http://{}", application());
    let wsloop = Wsloop::start(&["--upstream", &url]);
    let before = peak(wsloop.process().id());
    let mut stream = tcp(wsloop.address());
    let request = format!("GET /{BYTES} HTTP/1.1\r\nHost: h\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let (_, early) = Response::read_head(&mut stream);
    let (mut left, mut into) = (BYTES - early.len(), vec![0; PIECE]);
    while left > 0 {
        let n = left.min(PIECE);
        stream.read_exact(&mut into[..n]).expect("a body");
        assert!(into[..n].starts_with(b"x") && into[..n].ends_with(b"x"), "{left} are left");
        left -= n;
    }
    let request = format!("POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: {BYTES}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is taken");
    for _ in 0..BYTES / PIECE {
        stream.write_all(&into).expect("it is taken");
    }
    let (response, early) = Response::read_head(&mut stream);
    let body = String::from_utf8_lossy(&early).into_owned();
    assert!(response.status == 200 && body.ends_with(&BYTES.to_string()), "{body}");
    let grown = peak(wsloop.process().id()) - before;
    assert!(grown < 8 << 20, "{grown} bytes");
}

/// Who does not read is not read for: what the application sends waits there.
#[test]
fn who_reads_nothing_costs_little() {
    let url = format!("http://{}", application());
    let wsloop = Wsloop::start(&["--upstream", &url]);
    let before = peak(wsloop.process().id());
    let streams: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = tcp(wsloop.address());
            stream.write_all(b"GET /100000000 HTTP/1.1\r\nHost: h\r\n\r\n").expect("it is taken");
            stream
        })
        .collect();
    wsloop.expect_metric("upstream_2xx_total", |responses| responses == 8);
    // Others are served meanwhile.
    assert_eq!(page(&wsloop, "/1000000").body.len(), 1_000_000);
    let grown = peak(wsloop.process().id()) - before;
    assert!(grown < 8 << 20, "{grown} bytes");
    drop(streams);
    wsloop.expect_metric("upstream_pending", |pending| pending == 0);
}

/// A route hands WebSockets on, too: here to another server of the same kind.
#[test]
fn a_route_leads_to_another_upstream_with_its_websockets() {
    let behind = Wsloop::start(&["--allow", "all"]);
    let folder = Folder::new();
    let file = folder.join("wsloop.toml");
    let text = format!(
        "[[route]]\nprefix = \"/ws/\"\nupstream = \"http://{}\"\n\
         [[route]]\nprefix = \"/\"\nupstream = \"http://{}\"\n",
        behind.address(),
        application()
    );
    fs::write(&file, text).expect("a file");
    let config = file.to_str().expect("UTF-8");
    let wsloop = Wsloop::start(&["--config", config, "--url-prefix", "/own/", "--allow", "all"]);
    let path = "topic?subscribe-broadcast&publish-broadcast&echo";
    let mut through = wsloop.connect(path);
    through.send("hello");
    through.expect(&["hello"]);
    let large = "x".repeat(900_000);
    through.send(&large);
    through.expect(&[&large]);
    assert_eq!(behind.metric("conns_open"), 1);
    through.close();
    behind.expect_metric("conns_open", |open| open == 0);

    let request = upgrade("own", wsloop.address(), "").replace("/ws/own", "/own/topic");
    assert!(Client::open(wsloop.address(), &request).is_ok(), "what is its own stays its own");
    assert!(page(&wsloop, "/page").body.starts_with("GET /page HTTP/1.1"));
}

#[test]
fn what_cannot_be_is_refused_at_the_start() {
    let folder = Folder::new();
    let file = folder.join("wsloop.toml");
    let config = format!("--config={}", file.display());
    let upstream = "--upstream=http://127.0.0.1:8000";
    let route = |text: &str| fs::write(&file, text).expect("a file");
    route("");
    for (toml, args, words) in [
        ("", vec![upstream, "--url-prefix=/"], "--url-prefix: is / and leaves nothing"),
        ("", vec![upstream, "--demo"], "--demo: its pages are not served in front"),
        (
            "[[route]]\nprefix = \"/ws/x\"\nupstream = \"http://h\"\n",
            vec![],
            ":1: [[route]] prefix: paths that begin with /ws/ are for WebSockets here",
        ),
        ("[[route]]\nprefix = \"x\"\nupstream = \"http://h\"\n", vec![], "begins without a slash"),
        ("[[route]]\nprefix = \"/x\"\n", vec![], "a route has both"),
        ("[[route]]\nto = \"/x\"\n", vec![], "there is no key \"to\"; a route has"),
        (
            "[[route]]\nprefix = \"/x\"\nupstream = \"ftp://h\"\n",
            vec![],
            ":3: [[route]] upstream: its scheme is none of http, unix and uwsgi",
        ),
        ("route = \"/x\"\n", vec![], "below [[route]]"),
    ] {
        route(toml);
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
        let command = command.env_clear().args(&args).args([&config, "--resp=off"]);
        let output = command.output().expect("it runs");
        let line = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{line}");
        assert!(line.contains(words), "{line}");
    }
}

/// Python's own server, as it comes.
#[test]
#[ignore = "needs python3"]
fn pythons_server_answers_behind() {
    let folder = Folder::new();
    fs::write(folder.join("page.html"), "hello").expect("a file");
    let mut command = Command::new("python3");
    command.args(["-u", "-m", "http.server", "--protocol", "HTTP/1.1", "--bind", "127.0.0.1", "0"]);
    command.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut python = Process::spawn(&mut command);
    let mut line = String::new();
    BufReader::new(python.stdout()).read_line(&mut line).expect("a line");
    let port = line.split("port ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port");
    let wsloop = Wsloop::start(&["--upstream", &format!("http://127.0.0.1:{port}")]);
    let mut stream = tcp(wsloop.address());
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    for _ in 0..3 {
        assert_eq!(ask(&mut stream, "/page.html").body, "hello");
    }
    assert_eq!(ask(&mut stream, "/none").status, 404);
    assert_eq!(page(&wsloop, "/").status, 200);
}
