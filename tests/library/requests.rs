//! Plain HTTP that the application answers itself, over real sockets.

use std::io::Write;

use wsloop::{PlainRequest, PlainRequests, RequestId, Sender};

use super::*;

fn answering(requests: PlainRequests) -> Sockets {
    serve(Settings::base(), Endpoint { requests: Some(requests), ..Endpoint::default() })
}

fn asked(sockets: &mut Sockets) -> (RequestId, Box<PlainRequest>) {
    match next(sockets) {
        SocketEvent::Request { id, request } => (id, request),
        other => panic!("{other:?}"),
    }
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn a_connection_has_pages_forms_and_a_websocket_one_after_the_other() {
    let limits = PlainRequests { max_body: 1 << 20, ..PlainRequests::default() };
    let mut sockets = answering(limits);
    let address = sockets.addresses()[0];
    let mut stream = tcp(address);
    let large = vec![b'x'; 1 << 20];
    for body in [&b""[..], b"a=b", &large] {
        // The kernel may take less of it than all before it is read.
        let mut writes = stream.try_clone().expect("a socket");
        let bytes = post("/form?q", body);
        let writer = thread::spawn(move || writes.write_all(&bytes).expect("it is taken"));
        let (id, request) = asked(&mut sockets);
        writer.join().expect("it was taken");
        assert_eq!((&request.path[..], &request.query[..]), ("/form", "q"));
        assert!(request.body == body, "{} bytes", request.body.len());
        let headers = [("Content-Type", "text/plain"), ("X-Id", "7")];
        sockets.respond(id, 201, &headers, request.body.clone()).expect("it can be said");
        let response = Response::next(&mut stream);
        assert_eq!((response.status, response.header("x-id")), (201, Some("7")));
        assert!(response.body.as_bytes() == body);
    }
    stream.write_all(upgrade("x", address, "").as_bytes()).expect("it is taken");
    let mut client = Client::accepted(stream).expect("a 101");
    let SocketEvent::Opened { conn, .. } = next(&mut sockets) else { panic!("not opened") };
    sockets.send(conn, "open");
    assert_eq!(client.text(), "open");
}

#[test]
fn answers_come_from_other_threads_in_whatever_order() {
    let mut sockets = answering(PlainRequests::default());
    let address = sockets.addresses()[0];
    let clients: Vec<_> = (0..8)
        .map(|number| {
            thread::spawn(move || {
                let mut stream = tcp(address);
                for round in 0..20 {
                    let body = format!("{number} {round}");
                    stream.write_all(&post("/", body.as_bytes())).expect("it is taken");
                    assert_eq!(Response::next(&mut stream).body, body);
                }
            })
        })
        .collect();
    let mut answers: Vec<thread::JoinHandle<()>> = Vec::new();
    let answer = |sender: Sender, id, request: Box<PlainRequest>| {
        thread::spawn(move || sender.respond(id, 200, &[], request.body).expect("it can be said"))
    };
    for _ in 0..8 * 20 {
        let (id, request) = asked(&mut sockets);
        answers.push(answer(sockets.sender(), id, request));
    }
    answers.into_iter().for_each(|one| one.join().expect("it is given"));
    clients.into_iter().for_each(|client| client.join().expect("each had its own"));
}

#[test]
fn a_flood_of_requests_leaves_websockets_their_turn_and_is_answered_or_refused() {
    const FLOOD: usize = 64;
    let limits = PlainRequests { at_once: 4, timeout_ms: 2_000, ..PlainRequests::default() };
    let mut sockets = answering(limits);
    let (mut client, conn) = open(&mut sockets);
    let address = sockets.addresses()[0];
    let mut flood: Vec<_> = (0..FLOOD).map(|_| tcp(address)).collect();
    for (number, one) in flood.iter_mut().enumerate() {
        one.write_all(&post("/", number.to_string().as_bytes())).expect("it is taken");
    }
    let told: Vec<_> = (0..4).map(|_| asked(&mut sockets)).collect();
    client.send("hello");
    assert_eq!(next(&mut sockets), text(conn, "hello"));
    sockets.send(conn, "hello");
    assert_eq!(client.text(), "hello");
    // Those that are not told are refused at once, whatever the application does.
    let is_told =
        |number: usize| told.iter().any(|(_, one)| one.body == number.to_string().as_bytes());
    for (number, one) in flood.iter_mut().enumerate().filter(|(number, _)| !is_told(*number)) {
        assert_eq!(Response::next(one).status, 503, "{number}");
    }
    sockets.respond(told[0].0, 200, &[], "answered").expect("it can be said");
    let (mut answered, mut overdue) = (0, 0);
    for (_, one) in flood.iter_mut().enumerate().filter(|(number, _)| is_told(*number)) {
        match Response::next(one).status {
            200 => answered += 1,
            status => overdue += usize::from(status == 504),
        }
    }
    assert_eq!((answered, overdue), (1, 3));
}

#[test]
fn what_cannot_be_answered_is_an_error() {
    let mut sockets = answering(PlainRequests::default());
    let mut stream = tcp(sockets.addresses()[0]);
    stream.write_all(&post("/", b"")).expect("it is taken");
    let (id, _) = asked(&mut sockets);
    for status in [0, 101, 199, 600] {
        let refused = sockets.respond(id, status, &[], "");
        assert!(matches!(refused, Err(SocketsError::Answer(of)) if of == status), "{status}");
    }
    for header in [
        ("Content-Length", "7"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("a b", "x"),
        ("X", "a\r\nSet-Cookie: b"),
    ] {
        let refused = sockets.respond(id, 200, &[header], "");
        assert!(matches!(refused, Err(SocketsError::Header(_))), "{header:?}");
    }
    sockets.respond(id, 200, &[("X", "grüße")], "fine").expect("it can be said");
    assert_eq!(Response::next(&mut stream).body, "fine");
}

#[test]
fn an_application_that_has_gone_has_its_requests_answered_for_it() {
    let mut sockets = answering(PlainRequests::default());
    let mut stream = tcp(sockets.addresses()[0]);
    stream.write_all(&post("/", b"")).expect("it is taken");
    let thread = thread::spawn(move || {
        asked(&mut sockets);
        drop(sockets);
    });
    thread.join().expect("it has gone");
    assert_eq!(Response::next(&mut stream).status, 503);
}
