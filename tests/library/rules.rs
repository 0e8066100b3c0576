//! What uWSGI's WebSockets do well, and what breaks them, on the interface of the library.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustls::version::TLS13;
use wsloop::{Front, PlainRequests, Speaks, Target, TlsPair, Upstream};

use super::support::tls::{self, Authority};
use super::*;

fn closed(sockets: &mut Sockets) -> (ConnId, u16) {
    match next(sockets) {
        SocketEvent::Closed { conn, code, .. } => (conn, code),
        other => panic!("{other:?}"),
    }
}

/// A frame as bytes on the wire, with these first two bytes before an empty mask and the payload.
fn raw(first: u8, second: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, second, 0, 0, 0, 0], payload].concat()
}

#[test]
fn a_message_has_a_mebibyte_at_most_however_it_is_cut_and_a_ping_comes_after_half_a_minute() {
    assert_eq!(Settings::without_relay().ping_interval_ms, 30_000);
    let mut sockets = bind();
    let (mut client, conn) = open(&mut sockets);
    let most = vec![b'x'; 1 << 20];
    client.send_binary(&most);
    assert_eq!(next(&mut sockets), SocketEvent::Message { conn, message: Message::Binary(most) });
    let part = vec![b'x'; 600 << 10];
    client.frame(false, Opcode::Binary, &part);
    // What is too long is known by its head, and the rest of it may meet a closed socket.
    let bytes = frame_bytes(true, Opcode::Continuation, &part);
    client.raw(&bytes[..1000]);
    assert!(matches!(client.next(), Event::Close(Some(1009), _)));
    assert_eq!(closed(&mut sockets), (conn, 1009));
}

#[test]
fn who_breaks_the_protocol_is_closed_with_its_code_and_nobody_else_is() {
    let long = [b'x'; 126];
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("an unmasked frame", b"\x81\x01x".to_vec(), 1002),
        ("a reserved bit", raw(0xc1, 0x81, b"x"), 1002),
        ("another reserved bit", raw(0xa1, 0x81, b"x"), 1002),
        ("a reserved opcode", raw(0x83, 0x81, b"x"), 1002),
        ("a reserved control opcode", raw(0x8b, 0x80, b""), 1002),
        ("a long ping", [&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], &long[..]].concat(), 1002),
        ("a ping in fragments", raw(0x09, 0x80, b""), 1002),
        ("a length of two bytes too many", vec![0x81, 0xfe, 0, 1, 0, 0, 0, 0, b'x'], 1002),
        ("a length with its first bit", vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1], 1002),
        ("a text that is none", raw(0x81, 0x81, b"\xff"), 1007),
        ("a continuation of nothing", raw(0x80, 0x81, b"x"), 1002),
        (
            "a text in the midst of another",
            [raw(0x01, 0x80, b""), raw(0x81, 0x80, b"")].concat(),
            1002,
        ),
        ("a close of one byte", raw(0x88, 0x81, b"\x03"), 1002),
        ("a close with a code that is not to be sent", raw(0x88, 0x82, b"\x03\xed"), 1002),
        ("a close with a reason that is no text", raw(0x88, 0x83, b"\x03\xe8\xff"), 1007),
    ];
    let mut sockets = bind();
    let (mut bystander, its) = open(&mut sockets);
    for (what, bytes, code) in cases {
        bystander.frame(false, Opcode::Text, b"half ");
        let (mut client, conn) = open(&mut sockets);
        client.raw(bytes);
        match client.next() {
            Event::Close(Some(said), _) => assert_eq!(said, *code, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(closed(&mut sockets), (conn, *code), "{what}");
        bystander.frame(true, Opcode::Continuation, b"whole");
        assert_eq!(next(&mut sockets), text(its, "half whole"), "{what}");
    }
}

#[test]
fn a_ping_comes_back_with_its_payload_in_the_midst_of_a_message() {
    let mut sockets = bind();
    let (mut client, conn) = open(&mut sockets);
    client.frame(false, Opcode::Text, b"one ");
    client.frame(true, Opcode::Ping, b"payload");
    assert_eq!(client.next(), Event::Pong(b"payload".to_vec()), "and no byte of the message");
    client.frame(true, Opcode::Pong, b"unasked");
    client.frame(true, Opcode::Continuation, b"message");
    assert_eq!(next(&mut sockets), text(conn, "one message"));
    assert_eq!(client.arrived(), []);
}

#[test]
fn what_is_no_handshake_is_refused_with_what_is_wrong_and_nobody_is_told() {
    let mut sockets = bind();
    let address = sockets.addresses()[0];
    let good = upgrade("x", address, "");
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (from, to, status) in [
        ("GET ", "POST ", 400),
        ("HTTP/1.1", "HTTP/1.0", 400),
        ("Connection: Upgrade\r\n", "", 400),
        ("Version: 13", "Version: 8", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        (key, "", 400),
        (key, "Sec-WebSocket-Key: x\r\n", 400),
        ("Upgrade: websocket\r\n", "", 426),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let refused = Client::open(address, &bad).expect_err(to);
        assert_eq!(refused.status, status, "{from:?} -> {to:?}");
        if status == 426 {
            assert_eq!(refused.header("sec-websocket-version"), Some("13"));
        }
    }
    assert!(matches!(sockets.recv_timeout(Duration::from_millis(50)), Ok(None)));
    // Firefox has more to say about its connection, and the 101 says one sub-protocol.
    let firefox = good.replace("Connection: Upgrade", "Connection: keep-alive, Upgrade");
    let offer = firefox.replacen("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a, b\r\n\r\n", 1);
    let client = Client::open(address, &offer).expect("a 101");
    assert_eq!(client.response.header("sec-websocket-protocol"), Some("a"));
    assert_eq!(client.response.header("sec-websocket-origin"), None);
    let SocketEvent::Opened { request, .. } = next(&mut sockets) else { panic!("not opened") };
    assert_eq!(request.protocols, ["a", "b"]);
}

#[test]
fn pages_of_listed_origins_may_come_and_others_not() {
    let listed = vec!["https://app.example".to_owned()];
    let allowed_origins = wsloop::proto::ws::upgrade::AllowedOrigins::Listed(listed);
    let sockets = serve(Settings { allowed_origins, ..Settings::base() }, Endpoint::default());
    let address = sockets.addresses()[0];
    let of = |origin: &str| {
        let request = upgrade("x", address, &format!("Origin: {origin}\r\n"));
        Client::open(address, &request).map_or_else(|refused| refused.status, |_| 101)
    };
    assert_eq!(of("https://app.example"), 101);
    assert_eq!(of(&format!("http://{address}")), 101, "the same host");
    assert_eq!(of("https://app.example.evil"), 403);
    assert_eq!(of("null"), 403);
}

#[test]
fn no_ping_is_sent_where_they_are_off_and_a_busy_peer_need_not_answer_one() {
    let off = Settings { ping_interval_ms: 0, ..Settings::base() };
    let mut sockets = serve(off, Endpoint::default());
    let (mut client, _) = open(&mut sockets);
    assert_eq!(client.next_within(Duration::from_millis(300)), None);
    let busy = Settings { ping_interval_ms: 50, pong_timeout_ms: 1_000, ..Settings::base() };
    let mut sockets = serve(busy, Endpoint::default());
    let (mut client, conn) = open(&mut sockets);
    for _ in 0..60 {
        client.send("busy");
        assert_eq!(next(&mut sockets), text(conn, "busy"));
        thread::sleep(Duration::from_millis(25));
    }
    // Then it falls silent, and is found out.
    assert_eq!(closed(&mut sockets), (conn, 1011));
}

#[test]
fn a_unix_socket_serves_as_a_port_does() {
    let folder = Folder::new();
    let path = folder.join("sockets");
    let mut sockets = Sockets::bind(&format!("unix:{}", path.display())).expect("a socket");
    let mut stream = UnixStream::connect(&path).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let bytes = [upgrade("x", "h", "").into_bytes(), frame_bytes(true, Opcode::Text, b"hello")];
    stream.write_all(&bytes.concat()).expect("it is taken");
    assert_eq!(Response::read_head(&mut stream).0.status, 101);
    let SocketEvent::Opened { conn, request } = next(&mut sockets) else { panic!("not opened") };
    assert_eq!(request.address, None);
    assert_eq!(next(&mut sockets), text(conn, "hello"));
    sockets.send(conn, "hello");
    let mut frame = [0; 7];
    stream.read_exact(&mut frame).expect("an answer");
    assert_eq!(&frame, b"\x81\x05hello");
}

#[test]
#[ignore = "needs openssl"]
fn tls_is_spoken_where_the_address_says_so() {
    let authority = Authority::new();
    let files = authority.issue("own", "DNS:localhost");
    let pair = TlsPair { certificate: files.cert.clone().into(), key: files.key.into() };
    let addresses = ["https://127.0.0.1:0".to_owned()];
    let endpoint = || Endpoint {
        path: "/ws/".to_owned(),
        requests: Some(PlainRequests::default()),
        ..Endpoint::default()
    };
    let serve = |pairs: &[TlsPair]| {
        Sockets::serve_tls(&addresses, Settings::without_relay(), vec![endpoint()], pairs)
    };
    let mut sockets = serve(std::slice::from_ref(&pair)).expect("a port").remove(0);
    let address = sockets.addresses()[0];
    let client = Arc::new(authority.client(&[&TLS13]));
    let mut socket = tls::open(address, &client, "x");
    let SocketEvent::Opened { conn, .. } = next(&mut sockets) else { panic!("not opened") };
    socket.send("secret");
    assert_eq!(next(&mut sockets), text(conn, "secret"));
    sockets.send(conn, "kept");
    assert_eq!(socket.text(), "kept");
    let asks = thread::spawn(move || tls::get(address, &client, "/ws/page"));
    let SocketEvent::Request { id, request } = next(&mut sockets) else { panic!("not asked") };
    assert!(request.is_secure, "the application is told");
    sockets.respond(id, 200, &[], "page").expect("it can be said");
    drop(sockets);
    assert_eq!(asks.join().expect("it is answered").body, "page");
    let wrong = TlsPair { key: "/nowhere".into(), ..pair.clone() };
    let other = TlsPair { key: pair.certificate.clone(), ..pair };
    for (pairs, words) in [(vec![], "https://"), (vec![wrong], "/nowhere"), (vec![other], "key")] {
        match serve(&pairs) {
            Err(SocketsError::Tls(why)) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn other_paths_go_on_to_an_application_behind() {
    let behind = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = behind.local_addr().expect("an address");
    let answers = thread::spawn(move || {
        let (mut link, _) = behind.accept().expect("it is asked");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            link.read_exact(&mut byte).expect("a request");
            head.push(byte[0]);
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nbehind";
        link.write_all(answer).expect("it is taken");
        String::from_utf8(head).expect("text")
    });
    let target = Target::Tcp { host: at.ip().to_string(), port: at.port() };
    let upstream = Upstream { target, speaks: Speaks::Http, host: "app".to_owned() };
    let routes = vec![("/".to_owned(), 0)];
    let front = Front { upstreams: vec![upstream], routes, ..Front::default() };
    let endpoint = Endpoint { path: "/ws/".to_owned(), ..Endpoint::default() };
    let mut sockets = serve(Settings { front, ..Settings::base() }, endpoint);
    let address = sockets.addresses()[0];
    let request = format!("GET /app?a HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    assert_eq!(Response::to(address, &request).body, "behind");
    assert!(answers.join().expect("it has answered").starts_with("GET /app?a HTTP/1.1\r\n"));
    open(&mut sockets);
}
