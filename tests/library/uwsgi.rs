//! The twelve example applications of uWSGI's tests, as they behave: what each of them does is
//! written here in a few lines of its own, or is one of the examples.
//!
//! | uWSGI's | here |
//! |---|---|
//! | `websockets_echo.py`, `.pl`, `.ru` | `echoes_with_the_time` |
//! | `websockets_echo.lua` | `examples/echo_subprotocol.rs` |
//! | `websockets.py` | `examples/work_queue.rs` |
//! | `websockets_chat.py`, `_async.py`, `_asyncio.py`, `.pl` | `a_chat_by_the_broker` |
//! | `websockets_chat_2.py` | `a_chat_in_the_process` |
//! | `websockets_chat_async.lua` | `a_chat_with_names` |
//! | `sharedarea.py` | `a_counter_and_a_string_in_a_shared_area` |

use std::collections::BTreeMap;

use wsloop::{Page, PageContent, SharedArea};

use super::examples::Served;
use super::*;

/// The page of all of them: it opens a socket at `/foobar/`, and sends "ciao".
const PAGE: &str = "<script src='/page.js'></script>";
const SCRIPT: &str = "new WebSocket(`ws${location.protocol.slice(4)}//${location.host}/foobar/`)";

/// The page at `/`, and sockets at `/foobar/`.
fn site(decides: bool) -> Sockets {
    let pages = vec![Page::html("/", PAGE), Page::script("/page.js", SCRIPT)];
    assert!(pages.iter().all(|page| matches!(page.content, PageContent::Body { .. })));
    let path = "/foobar/".to_owned();
    serve(Settings { pages, ..Settings::base() }, Endpoint { path, decides, ..Endpoint::default() })
}

/// What stands for the time: it is the same in every run.
fn stamped(text: &str) -> String {
    format!("[12:00:00] {text}")
}

fn ciao(served: &Served) -> Client {
    let mut client = served.open("/foobar/");
    client.send("ciao");
    client
}

#[test]
fn echoes_with_the_time() {
    let served = Served::by(site(false), |mut sockets| {
        loop {
            if let SocketEvent::Message { conn, message: Message::Text(text) } = sockets.recv()? {
                sockets.send(conn, stamped(&text));
            }
        }
    });
    let host = served.address;
    let page = Response::to(host, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert_eq!((page.status, &page.body[..]), (200, PAGE));
    let mut client = ciao(&served);
    client.expect(&["[12:00:00] ciao"]);
    // Several at once are several, of which none is left for the next wake.
    let three = [&b"1"[..], b"", b"3"].map(|text| frame_bytes(true, Opcode::Text, text)).concat();
    client.raw(&three);
    client.expect(&["[12:00:00] 1", "[12:00:00] ", "[12:00:00] 3"]);
    served.end(client);
}

#[test]
fn a_chat_by_the_broker() {
    const BURST: usize = 200;
    let served = Served::by(site(false), |mut sockets| {
        loop {
            match sockets.recv()? {
                SocketEvent::Opened { conn, .. } => sockets.subscribe(conn, "foobar")?,
                SocketEvent::Message { message, .. } => {
                    let text = String::from_utf8_lossy(message.as_bytes());
                    sockets.publish("foobar", stamped(&text))?;
                }
                _ => {}
            }
        }
    });
    let mut all: Vec<Client> = (0..3).map(|_| served.open("/foobar/")).collect();
    for (number, client) in all.iter_mut().enumerate() {
        client.send(&format!("ciao {number}"));
        // Whoever has come before hears it, and itself.
        client.expect_among(&stamped(&format!("ciao {number}")));
    }
    // A burst is lost by no one, though each of uWSGI's has one slot, or one message a wake.
    let frames = (0..BURST).map(|n| frame_bytes(true, Opcode::Text, n.to_string().as_bytes()));
    all[0].raw(&frames.collect::<Vec<_>>().concat());
    for client in &mut all {
        client.expect_among("[12:00:00] 0");
        (1..BURST).for_each(|number| client.expect(&[&stamped(&number.to_string())]));
    }
    served.end(all);
}

#[test]
fn a_chat_in_the_process() {
    let served = Served::by(site(false), |mut sockets| {
        let mut room = Vec::new();
        loop {
            match sockets.recv()? {
                SocketEvent::Opened { conn, .. } => room.push(conn),
                SocketEvent::Closed { conn, .. } => room.retain(|other| *other != conn),
                SocketEvent::Message { message: Message::Binary(bytes), .. } => {
                    sockets.broadcast_binary(room.iter().copied(), bytes);
                }
                SocketEvent::Message { message: Message::Text(text), .. } => {
                    sockets.broadcast(room.iter().copied(), text);
                }
                _ => {}
            }
        }
    });
    let mut one = ciao(&served);
    one.expect(&["ciao"]);
    let mut two = ciao(&served);
    two.expect(&["ciao"]);
    one.expect(&["ciao"]);
    two.send_binary(b"\0\xff");
    assert_eq!((one.message(), two.message()), {
        let binary = Event::Binary(vec![0, 255]);
        (binary.clone(), binary)
    });
    drop(two);
    one.send("alone");
    one.expect(&["alone"]);
    served.end(one);
}

#[test]
fn a_chat_with_names() {
    let served = Served::by(site(true), |mut sockets| {
        let (mut room, mut users) = (BTreeMap::new(), 0);
        loop {
            let said = match sockets.recv()? {
                SocketEvent::Asked { conn, .. } => {
                    sockets.accept(conn, Some("chat"), &[])?;
                    users += 1;
                    room.insert(users, conn);
                    format!("User{users} joined")
                }
                SocketEvent::Message { conn, message } => {
                    let user = room.iter().find(|(_, other)| **other == conn).expect("it is there");
                    let text = String::from_utf8_lossy(message.as_bytes());
                    format!("[12:00:00][User{}]: {text}", user.0)
                }
                SocketEvent::Closed { conn, .. } => {
                    let user =
                        room.iter().find(|(_, other)| **other == conn).map(|(user, _)| *user);
                    let Some(user) = user else { continue };
                    room.remove(&user);
                    format!("User{user} left")
                }
                _ => continue,
            };
            sockets.broadcast(room.values().copied(), said);
        }
    });
    let join = || served.ask("/foobar/", "Sec-WebSocket-Protocol: chat\r\n").expect("a 101");
    let mut one = join();
    assert_eq!(one.response.header("sec-websocket-protocol"), Some("chat"));
    one.expect(&["User1 joined"]);
    let mut two = join();
    two.expect(&["User2 joined"]);
    two.send("ciao");
    two.expect(&["[12:00:00][User2]: ciao"]);
    one.expect(&["User2 joined", "[12:00:00][User2]: ciao"]);
    // Who vanishes has left as well.
    drop(two);
    one.expect(&["User2 left"]);
    served.end(one);
}

#[test]
fn a_counter_and_a_string_in_a_shared_area() {
    const FAR: usize = (1 << 31) + 1;
    let folder = Folder::new();
    // Neither the file nor the memory takes more than is written.
    let area = SharedArea::create(folder.join("area"), FAR + 4096).expect("a sparse file");
    let seen = SharedArea::open(folder.join("area")).expect("a file");
    for at in [0, (1 << 31) - 14, FAR] {
        area.set(at, 100_i64).expect("room");
        assert_eq!(area.add(at, 1_i64).expect("room"), 101);
        assert_eq!(area.add(at, -2_i64).expect("room"), 99);
        assert_eq!(seen.get::<i64>(at).expect("a number"), 99);
        area.write(at + 8, b"ciao").expect("room");
        assert_eq!(seen.read(at + 8..at + 12).expect("bytes"), b"ciao");
    }
    let mut sockets = bind();
    let (mut client, conn) = open(&mut sockets);
    // uWSGI sends from the beginning, whatever place it is told.
    sockets.send_from_shared_area(conn, &area, FAR + 8..FAR + 12).expect("it can be read");
    client.expect(&["ciao"]);
    assert!(sockets.send_from_shared_area(conn, &area, FAR + 4000..FAR + 5000).is_err());
    assert_eq!(
        sockets.send(conn, "and it is open"),
        Sent::Queued,
        "an error is none of the conn's"
    );
    client.expect(&["and it is open"]);
}
