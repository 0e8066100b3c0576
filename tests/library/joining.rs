//! The relay's conns about which the application decides, over real sockets.

use wsloop::{Channels, Wanted};

use super::*;

fn deciding() -> Sockets {
    let endpoint = Endpoint { path: String::new(), joins: true, ..Endpoint::default() };
    let settings = Settings { handshake_timeout_ms: 2_000, ..Settings::base() };
    Sockets::serve(&["127.0.0.1:0".to_owned()], settings, endpoint).expect("a port")
}

fn asked(sockets: &mut Sockets) -> (ConnId, Box<Wanted>) {
    match next(sockets) {
        SocketEvent::Joining { conn, wanted, .. } => (conn, wanted),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_asks_waits_for_the_answer_of_any_thread_and_is_released() {
    let mut sockets = deciding();
    let address = sockets.addresses()[0];
    let comes = thread::spawn(move || connect(address));
    let (conn, wanted) = asked(&mut sockets);
    assert_eq!((&wanted.facility[..], wanted.channels), ("any", Channels::default()));
    let sender = sockets.sender();
    let channels = Channels { hears: vec!["chosen".to_owned()], ..Channels::default() };
    let granted = channels.clone();
    let grants = thread::spawn(move || sender.grant(conn, granted).expect("they can be had"));
    let mut client = comes.join().expect("a 101");
    grants.join().expect("it is granted");
    assert_eq!(sockets.send(conn, "welcome"), Sent::Queued);
    sockets.publish("chosen", "news").expect("a name");
    client.expect(&["welcome", "news"]);
    client.frame(true, Opcode::Close, b"\x0f\xa0bye");
    let (channels, reason) = (Box::new(channels), "bye".to_owned());
    assert_eq!(next(&mut sockets), SocketEvent::Released { conn, channels, code: 4000, reason });
    assert_eq!(sockets.send(conn, "too late"), Sent::Closed);
}

#[test]
fn without_an_answer_nobody_is_let_in() {
    let mut sockets = deciding();
    let address = sockets.addresses()[0];
    let refused = Client::open(address, &upgrade("any", address, "")).expect_err("no answer");
    assert_eq!(refused.status, 503);
    let (conn, _) = asked(&mut sockets);
    let channels = Box::<Channels>::default();
    let reason = String::new();
    assert_eq!(next(&mut sockets), SocketEvent::Released { conn, channels, code: 1006, reason });
    sockets.grant(conn, Channels::default()).expect("it does no harm");
    drop(sockets);
}

#[test]
fn channels_that_cannot_be_had_and_two_deciders_are_errors() {
    let mut sockets = deciding();
    let address = sockets.addresses()[0];
    let comes = thread::spawn(move || connect(address));
    let (conn, _) = asked(&mut sockets);
    let of = |names: Vec<String>| Channels { hears_live: names, ..Channels::default() };
    let many = vec!["x".to_owned(); 4097];
    for names in [vec![String::new()], many, vec!["x".repeat((128 << 10) + 1)]] {
        assert!(matches!(sockets.grant(conn, of(names)), Err(SocketsError::Channels)));
    }
    sockets.grant(conn, of(vec!["x".repeat(128 << 10)])).expect("as long as may be");
    drop(comes.join().expect("a 101"));
    let one = || Endpoint { joins: true, ..Endpoint::default() };
    let addresses = ["127.0.0.1:0".to_owned()];
    let pathless = Endpoint { path: String::new(), ..Endpoint::default() };
    for endpoints in [vec![one(), one()], vec![pathless]] {
        let refused = Sockets::serve_all(&addresses, Settings::base(), endpoints);
        assert!(matches!(refused, Err(SocketsError::Endpoints)));
    }
}
