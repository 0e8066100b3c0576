//! TLS, as clients of every kind see it.

mod browsers;
mod files;
mod hostile;
mod offered;
mod reading;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};

use super::support::client::{Event, Response, tcp};
use super::support::tls::{Authority, Files, connect, get, open};
use super::support::{Wsloop, eventually};

const NAMES: &str = "DNS:localhost,IP:127.0.0.1";
const TALK: &str = "room?subscribe-broadcast&publish-broadcast&echo";

/// A server that speaks TLS on a port, and plain HTTP on another, and who believes it.
struct Site {
    authority: Authority,
    files: Files,
    server: Wsloop,
    client: Arc<ClientConfig>,
}

impl Site {
    fn start(args: &[&str]) -> Site {
        let authority = Authority::new();
        let files = authority.issue("own", NAMES);
        let always = ["--listen", "https://127.0.0.1:0", "--log", "debug", "--allow", "all"];
        let always = [&always[..], &["--expire", "0"]].concat();
        let pair = ["--tls-cert", &files.cert, "--tls-key", &files.key];
        let server = Wsloop::start(&[&always, &pair[..], args].concat());
        let client = Arc::new(authority.client(&[&TLS12, &TLS13]));
        Site { authority, files, server, client }
    }

    fn address(&self) -> SocketAddr {
        self.server.addresses()[1]
    }

    /// A client of its own, that speaks that version alone.
    fn client_of(&self, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
        Arc::new(self.authority.client(&[version]))
    }
}

#[test]
#[ignore = "needs openssl"]
fn both_versions_carry_messages_both_ways() {
    let site = Site::start(&["--max-message-size", "2MiB"]);
    let mut plain = site.server.connect(TALK);
    for (version, name) in [(&TLS12, "TLSv1_2"), (&TLS13, "TLSv1_3")] {
        let mut socket = open(site.address(), &site.client_of(version), TALK);
        let conn = &socket.stream().conn;
        assert_eq!(format!("{:?}", conn.protocol_version()), format!("Some({name})"));
        assert_eq!(conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        socket.send("small");
        socket.expect(&["small"]);
        plain.expect(&["small"]);
        let large: String = (0..1 << 17).map(|n| format!("{n:08}")).collect();
        socket.send(&large);
        socket.expect(&[&large]);
        plain.expect(&[&large]);
        plain.send("from the plain side");
        socket.expect(&["from the plain side"]);
        plain.expect(&["from the plain side"]);
        // Its end is said, and is not only that of the socket: the client would see a failure.
        socket.close();
    }
    assert_eq!(site.server.metric("tls_handshakes_total"), 2);
    assert_eq!(site.server.metric("tls_failed_total"), 0);
}

#[test]
#[ignore = "needs openssl"]
fn pages_are_fetched() {
    let site = Site::start(&["--demo"]);
    let page = get(site.address(), &site.client, "/chat/");
    assert_eq!(page.status, 200);
    assert_eq!(page.body, site.server.get("/chat/").body);
    let why = get(site.address(), &site.client, "/ws/room?subscribe-broadcast");
    assert_eq!(why.status, 426);
}

#[test]
#[ignore = "needs openssl"]
fn who_comes_again_shows_a_ticket() {
    let site = Site::start(&[]);
    for version in [&TLS12, &TLS13] {
        let client = site.client_of(version);
        let kind = |client: &Arc<ClientConfig>| {
            let mut stream = connect(site.address(), client, "localhost").expect("a handshake");
            // The ticket comes with the first bytes.
            stream.write_all(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("taken");
            assert_eq!(Response::read(&mut stream).status, 404);
            stream.conn.handshake_kind()
        };
        assert_eq!(kind(&client), Some(HandshakeKind::Full));
        assert_eq!(kind(&client), Some(HandshakeKind::Resumed));
        // The keys of tickets outlive certificates.
        site.server.process().signal("HUP");
        let reads = || site.server.log().matches("SIGHUP: the configuration is read").count();
        eventually("it is read again", || (reads() > 0).then_some(()));
        assert_eq!(kind(&client), Some(HandshakeKind::Resumed));
    }
}

#[test]
#[ignore = "needs openssl"]
fn without_tls_there_is_a_redirect_or_a_sentence() {
    let site = Site::start(&[]);
    let address = site.address();
    let ask = |request: &str| Response::to(address, request);
    let to = format!("https://{address}/a/b?c=d");
    for method in ["GET", "HEAD"] {
        let mut stream = tcp(address);
        let request = format!("{method} /a/b?c=d HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is taken");
        let (answer, _) = Response::read_head(&mut stream);
        assert_eq!((answer.status, answer.header("location")), (302, Some(&*to)), "{method}");
    }
    for request in ["GET / HTTP/1.0\r\n\r\n", "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let answer = ask(request);
        assert_eq!(answer.status, 400, "{request:?}");
        assert!(answer.body.contains("This port speaks TLS"), "{answer:?}");
    }
    assert_eq!(ask("nonsense\r\n\r\n").status, 400);
    // In pieces, as well.
    let mut stream = tcp(address);
    for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        stream.write_all(&[*byte]).expect("it is taken");
    }
    assert_eq!(Response::read(&mut stream).header("location"), Some("https://localhost/"));
    assert_eq!(site.server.metric("tls_missing_total"), 6);
    // And the other way round: TLS on the plain port is told so, in clear.
    let error = connect(site.server.address(), &site.client, "localhost").expect_err("no TLS");
    assert!(error.contains("corrupt message"), "{error}");
}

#[test]
#[ignore = "needs openssl"]
fn names_have_certificates_of_their_own() {
    let authority = Authority::new();
    let files = [
        authority.issue("first", NAMES),
        authority.issue("second", "DNS:a.example,DNS:*.b.example"),
    ];
    let [cert, key] = [|files: &Files| files.cert.clone(), |files: &Files| files.key.clone()];
    let certs = files.each_ref().map(cert).join(",");
    let keys = files.each_ref().map(key).join(",");
    let args = ["--listen", "https://127.0.0.1:0", "--tls-cert", &certs, "--tls-key", &keys];
    let server = Wsloop::start(&args);
    let client = Arc::new(authority.client(&[&TLS12, &TLS13]));
    let at = server.addresses()[1];
    for name in ["localhost", "127.0.0.1", "a.example", "A.example", "x.b.example"] {
        assert!(connect(at, &client, name).is_ok(), "{name}");
    }
    // Whoever asks for another gets the first, and judges it.
    for name in ["b.example", "x.y.b.example", "c.example"] {
        let error = connect(at, &client, name).expect_err(name);
        assert!(error.contains("not valid for name") && error.contains("localhost"), "{error}");
    }
}

#[test]
#[ignore = "needs openssl"]
fn certificates_are_read_again() {
    let site = Site::start(&[]);
    let shown = || {
        let stream = connect(site.address(), &site.client, "localhost").expect("a handshake");
        stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let old = shown();
    let mut stays = open(site.address(), &site.client, TALK);
    let new = site.authority.issue("new", NAMES);
    fs::copy(&new.cert, &site.files.cert).expect("a file");
    // The key does not belong to it yet.
    site.server.process().signal("HUP");
    site.server.expect_log(&["SIGHUP: nothing is changed", "--tls-key", "is not the key of"]);
    assert_eq!(shown(), old);
    fs::copy(&new.key, &site.files.key).expect("a file");
    site.server.process().signal("HUP");
    eventually("another certificate", || (shown() != old).then_some(()));
    stays.send("still here");
    stays.expect(&["still here"]);
    stays.close();
}

#[test]
#[ignore = "needs openssl"]
fn the_application_behind_it_is_told_that_it_is_secure() {
    let application = TcpListener::bind("127.0.0.1:0").expect("a port");
    let upstream = format!("http://{}", application.local_addr().expect("an address"));
    let site = Site::start(&["--upstream", &upstream]);
    let mut stream = connect(site.address(), &site.client, "localhost").expect("a handshake");
    // It gives back what it is asked, twice over one connection.
    thread::spawn(move || {
        let (mut stream, _) = application.accept().expect("a connection");
        let mut room = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut room) {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n");
            let _ = stream.write_all(&[head.as_bytes(), &room[..n]].concat());
        }
    });
    for more in ["", "X-Forwarded-Proto: http\r\n"] {
        let request = format!("GET /page HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).expect("it is taken");
        let (response, body) = Response::read_head(&mut stream);
        let length = response.header("content-length").expect("a length").parse().expect("one");
        let mut rest = vec![0; length];
        rest[..body.len()].copy_from_slice(&body);
        stream.read_exact(&mut rest[body.len()..]).expect("a body");
        let asked = String::from_utf8(rest).expect("text").to_ascii_lowercase();
        assert_eq!(asked.matches("x-forwarded-proto: https\r\n").count(), 1, "{asked}");
    }
}

#[test]
#[ignore = "needs openssl"]
fn an_end_is_said_in_every_way() {
    let mut site = Site::start(&[]);
    // Cut off without a word, it is an end.
    let mut cut = open(site.address(), &site.client, TALK);
    cut.shut_writing();
    assert_eq!(cut.next(), Event::End);
    // With a word, but no close of the WebSocket.
    let mut bare = open(site.address(), &site.client, TALK);
    bare.stream().conn.send_close_notify();
    bare.stream().flush().expect("it is taken");
    assert_eq!(bare.next(), Event::End);
    // What is behind the request is lingered for, and the answer is there.
    let mut stream = connect(site.address(), &site.client, "localhost").expect("a handshake");
    let request = "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it is taken");
    stream.write_all(&vec![b'x'; 300_000]).expect("it is taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer, and the end");
    assert!(answer.starts_with(b"HTTP/1.1 405 "), "{}", String::from_utf8_lossy(&answer));
    // The server ends.
    let mut last = open(site.address(), &site.client, TALK);
    site.server.process().signal("TERM");
    last.expect_close(1001, "shutting down");
    assert!(site.server.wait().success());
}
