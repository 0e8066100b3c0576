//! A WebSocket server of one's own over real sockets: [`wsloop::Sockets`] as an application uses
//! it, and the examples.

#[path = "../support/mod.rs"]
mod support;

mod areas;
mod examples;
mod joining;
mod loads;
mod requests;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use support::client::{Client, Event, Response, frame_bytes, tcp, upgrade};
use support::{Folder, PATIENCE, eventually};
use wsloop::proto::ws::frame::Opcode;
use wsloop::{ConnId, Endpoint, Message, Sent, Settings, SocketEvent, Sockets, SocketsError};

/// A server of one endpoint at a port of its own.
fn bind() -> Sockets {
    Sockets::bind("127.0.0.1:0").expect("a port")
}

/// The same with other settings and an endpoint.
fn serve(settings: Settings, endpoint: Endpoint) -> Sockets {
    let settings = Settings { url_prefix: String::new(), ..settings };
    Sockets::serve(&["127.0.0.1:0".to_owned()], settings, endpoint).expect("a port")
}

fn connect(address: SocketAddr) -> Client {
    match Client::open(address, &upgrade("any", address, "")) {
        Ok(client) => client,
        Err(response) => panic!("refused: {response:?}"),
    }
}

/// The next event, which must come.
#[track_caller]
fn next(sockets: &mut Sockets) -> SocketEvent {
    let event = sockets.recv_timeout(PATIENCE).expect("the loop goes on");
    event.expect("something happens")
}

/// A client that has opened, and its name.
#[track_caller]
fn open(sockets: &mut Sockets) -> (Client, ConnId) {
    let client = connect(sockets.addresses()[0]);
    match next(sockets) {
        SocketEvent::Opened { conn, .. } => (client, conn),
        other => panic!("{other:?}"),
    }
}

fn text(conn: ConnId, text: &str) -> SocketEvent {
    SocketEvent::Message { conn, message: Message::Text(text.to_owned()) }
}

#[test]
fn nothing_yet_and_an_empty_message_and_the_end_are_three_things() {
    let mut sockets = bind();
    assert!(matches!(sockets.recv_nb(), Ok(None)));
    let before = Instant::now();
    assert!(matches!(sockets.recv_timeout(Duration::from_millis(30)), Ok(None)));
    assert!(before.elapsed() >= Duration::from_millis(30));
    let (mut client, conn) = open(&mut sockets);
    client.send("");
    client.send_binary(b"");
    assert_eq!(next(&mut sockets), text(conn, ""));
    let empty = SocketEvent::Message { conn, message: Message::Binary(Vec::new()) };
    assert_eq!(eventually("it is there", || sockets.recv_nb().expect("a loop")), empty);
    assert!(matches!(sockets.recv_nb(), Ok(None)));
    sockets.sender().shut_down();
    client.expect_close(1001, "shutting down");
    let reason = "the server is shutting down".to_owned();
    assert_eq!(next(&mut sockets), SocketEvent::Closed { conn, code: 1001, reason });
    for _ in 0..2 {
        assert!(matches!(sockets.recv(), Err(SocketsError::ShutDown)));
        assert!(matches!(sockets.recv_nb(), Err(SocketsError::ShutDown)));
        assert!(matches!(sockets.recv_timeout(PATIENCE), Err(SocketsError::ShutDown)));
    }
    assert_eq!(sockets.send(conn, "too late"), Sent::Closed);
}

#[test]
fn the_end_is_waited_for_and_a_drop_asks_for_it() {
    let mut sockets = bind();
    let (mut client, _) = open(&mut sockets);
    let address = sockets.addresses()[0];
    let ends = thread::spawn(move || sockets.shut_down());
    client.expect_close(1001, "");
    ends.join().expect("it ends");
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    let mut sockets = bind();
    let (mut client, conn) = open(&mut sockets);
    let sender = sockets.sender();
    drop(sockets);
    client.expect_close(1001, "the application has ended");
    eventually("it is closed", || (sender.send(conn, "x") == Sent::Closed).then_some(()));
}

#[test]
fn a_close_of_either_side_has_its_code_and_reason() {
    let mut sockets = bind();
    let (mut client, conn) = open(&mut sockets);
    client.frame(true, Opcode::Close, b"\x0f\xa0bye");
    assert_eq!(client.next(), Event::Close(Some(4000), String::new()));
    let closed =
        |conn, code, reason: &str| SocketEvent::Closed { conn, code, reason: reason.to_owned() };
    assert_eq!(next(&mut sockets), closed(conn, 4000, "bye"));
    let (mut client, conn) = open(&mut sockets);
    assert_eq!(sockets.send(conn, "before"), Sent::Queued);
    sockets.close(conn, 4001, "enough").expect("a code");
    assert_eq!(client.text(), "before");
    client.expect_close(4001, "enough");
    assert_eq!(next(&mut sockets), closed(conn, 4001, "enough"));
    assert_eq!(sockets.send(conn, "behind"), Sent::Closed);
    let (client, conn) = open(&mut sockets);
    drop(client);
    assert_eq!(next(&mut sockets), closed(conn, 1006, ""));
}

#[test]
fn what_cannot_be_said_is_an_error() {
    let mut sockets = bind();
    let (mut client, conn) = open(&mut sockets);
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        let refused = sockets.close(conn, code, "");
        assert!(matches!(refused, Err(SocketsError::CloseCode(of)) if of == code), "{code}");
    }
    let long = "x".repeat(124);
    assert!(matches!(sockets.close(conn, 1000, &long), Err(SocketsError::Reason)));
    for name in [String::new(), "x".repeat(513)] {
        assert!(matches!(sockets.subscribe(conn, &name), Err(SocketsError::Channel)));
        assert!(matches!(sockets.unsubscribe(conn, &name), Err(SocketsError::Channel)));
        assert!(matches!(sockets.publish(&name, ""), Err(SocketsError::Channel)));
    }
    for header in [("a b", "x"), ("X", "a\r\nb"), ("Sec-WebSocket-Accept", "x"), ("upgrade", "x")] {
        let refused = sockets.accept(conn, None, &[header]);
        assert!(matches!(refused, Err(SocketsError::Header(_))), "{header:?}");
    }
    assert!(matches!(sockets.accept(conn, Some("a b"), &[]), Err(SocketsError::Header(_))));
    assert!(matches!(sockets.refuse(conn, 200, ""), Err(SocketsError::Status(200))));
    assert_eq!(client.arrived(), [], "and nothing was done");
    let address = sockets.addresses()[0].to_string();
    match Sockets::bind(&address) {
        Err(error @ SocketsError::Loop(_)) => {
            let text = error.to_string();
            assert!(text.contains(&address) && !text.contains("--"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let none = Sockets::serve_all(&[address], Settings::base(), Vec::new());
    assert!(matches!(none, Err(SocketsError::Endpoints)));
}

#[test]
fn a_sender_on_another_thread_wakes_the_loop() {
    let mut sockets = bind();
    let (mut client, conn) = open(&mut sockets);
    let senders: Vec<_> = (0..4)
        .map(|number| {
            let sender = sockets.sender();
            thread::spawn(move || {
                for _ in 0..100 {
                    assert_ne!(sender.send(conn, number.to_string()), Sent::Closed);
                }
            })
        })
        .collect();
    let mut texts: Vec<String> = (0..400).map(|_| client.text()).collect();
    senders.into_iter().for_each(|sender| sender.join().expect("it has sent"));
    texts.sort();
    assert!(texts.chunks(100).all(|hundred| hundred.iter().all(|text| *text == hundred[0])));
}

/// What is sent while there are more events in hand needs no waking: somebody who computes for long
/// then is not to be waited for.
#[test]
fn what_is_sent_with_more_events_in_hand_goes_out_at_once() {
    let mut sockets = bind();
    let (mut client, conn) = open(&mut sockets);
    for round in 0..5 {
        let both = [frame_bytes(true, Opcode::Text, b"1"), frame_bytes(true, Opcode::Text, b"2")];
        client.raw(&both.concat());
        assert_eq!(next(&mut sockets), text(conn, "1"));
        // As long as the loop still looks, and when it does so no more.
        thread::sleep(Duration::from_millis(round * 10));
        sockets.send(conn, "answer");
        assert_eq!(client.text(), "answer");
        assert_eq!(next(&mut sockets), text(conn, "2"));
    }
}

#[test]
fn frames_right_behind_the_handshake_are_heard() {
    let mut sockets = bind();
    let address = sockets.addresses()[0];
    let mut bytes = upgrade("x", address, "").into_bytes();
    bytes.extend(frame_bytes(true, Opcode::Text, b"early"));
    let mut stream = tcp(address);
    std::io::Write::write_all(&mut stream, &bytes).expect("they are taken");
    let mut client = Client::accepted(stream).expect("a 101");
    let SocketEvent::Opened { conn, .. } = next(&mut sockets) else { panic!("not opened") };
    assert_eq!(next(&mut sockets), text(conn, "early"));
    sockets.send(conn, "heard");
    assert_eq!(client.text(), "heard");
}

#[test]
fn handshakes_are_decided_by_values() {
    let mut sockets = serve(Settings::base(), Endpoint { decides: true, ..Endpoint::default() });
    let address = sockets.addresses()[0];
    let decider = thread::spawn(move || {
        for _ in 0..2 {
            let SocketEvent::Asked { conn, request } = next(&mut sockets) else {
                panic!("nobody asked")
            };
            match &request.query[..] {
                "name=alice" => sockets.accept(conn, Some("chat"), &[("X-Name", "alice")]),
                _ => sockets.refuse(conn, 404, "Who are you?"),
            }
            .expect("it can be said");
        }
        sockets
    });
    let request = upgrade("?name=alice", address, "Sec-WebSocket-Protocol: a, chat\r\n");
    let client = Client::open(address, &request).expect("a 101");
    assert_eq!(client.response.header("sec-websocket-protocol"), Some("chat"));
    assert_eq!(client.response.header("x-name"), Some("alice"));
    let Err(Response { status, body, .. }) = Client::open(address, &upgrade("?", address, ""))
    else {
        panic!("it was let in")
    };
    assert_eq!((status, body.trim_end()), (404, "Who are you?"));
    drop(decider.join().expect("both were decided"));
}

#[test]
fn a_channel_is_forwarded_whether_or_not_the_application_receives() {
    let mut sockets = bind();
    let (mut one, conn) = open(&mut sockets);
    let (mut two, other) = open(&mut sockets);
    sockets.subscribe(conn, "news").expect("a name");
    sockets.subscribe(other, "news").expect("a name");
    sockets.publish("news", "first").expect("a name");
    assert_eq!((one.text(), two.text()), ("first".to_owned(), "first".to_owned()));
    sockets.unsubscribe(conn, "news").expect("a name");
    sockets.publish("news", "second").expect("a name");
    sockets.send(conn, "last");
    assert_eq!((one.text(), two.text()), ("last".to_owned(), "second".to_owned()));
}

#[test]
fn it_listens_on_a_unix_socket() {
    let folder = Folder::new();
    let path = folder.join("sockets");
    let sockets = Sockets::bind(&format!("unix:{}", path.display())).expect("a socket");
    assert!(sockets.addresses().is_empty());
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
    sockets.shut_down();
}

#[test]
fn endpoints_and_the_relay_are_served_by_one_process() {
    let path = |path: &str| Endpoint { path: path.to_owned(), ..Endpoint::default() };
    let settings =
        Settings { allow: wsloop::Allow::parse("all").expect("a list"), ..Settings::base() };
    let addresses = ["127.0.0.1:0".to_owned()];
    let all = Sockets::serve_all(&addresses, settings, vec![path("/a/"), path("/b/")]);
    let mut all = all.expect("a port");
    let (mut b, mut a) = (all.pop().expect("two"), all.pop().expect("two"));
    let address = a.addresses()[0];
    let at = |path: &str| {
        let request = upgrade("x", address, "").replacen("/ws/x", path, 1);
        Client::open(address, &request).expect("a 101")
    };
    let (_a, mut of_b) = (at("/a/x"), at("/b/x"));
    let path_of = |sockets: &mut Sockets| match next(sockets) {
        SocketEvent::Opened { request, conn } => (request.path, conn),
        other => panic!("{other:?}"),
    };
    assert_eq!(path_of(&mut a).0, "/a/x");
    let (path, conn) = path_of(&mut b);
    assert_eq!(path, "/b/x");
    let mut relayed = at("/ws/room?subscribe-broadcast&publish-broadcast&echo");
    relayed.send("relayed");
    assert_eq!(relayed.text(), "relayed");
    // What the relay's browsers say is heard by who subscribes to it.
    b.subscribe(conn, "broadcast:room").expect("a name");
    assert_eq!(of_b.text(), "relayed");
    drop(a);
    relayed.send("still");
    assert_eq!((relayed.text(), of_b.text()), ("still".to_owned(), "still".to_owned()));
}
