//! The examples, each with a client that has no page.
#![allow(dead_code, reason = "an example's main is for the command line")]

use super::support::browser::browse_at;
use super::*;

#[path = "../../examples/echo.rs"]
mod echo;

#[path = "../../examples/chat.rs"]
mod chat;
#[path = "../../examples/echo_page.rs"]
mod echo_page;
#[path = "../../examples/echo_subprotocol.rs"]
mod echo_subprotocol;
#[path = "../../examples/game.rs"]
mod game;
#[path = "../../examples/relay_with_rules.rs"]
mod relay_with_rules;
#[path = "../../examples/ticker.rs"]
mod ticker;
#[path = "../../examples/work_queue.rs"]
mod work_queue;

/// An example that is served on a thread of its own until the test is over.
pub struct Served {
    pub address: SocketAddr,
    sender: wsloop::Sender,
    thread: Option<thread::JoinHandle<Result<(), SocketsError>>>,
}

impl Served {
    pub fn by<S>(sockets: Sockets, serve: S) -> Served
    where
        S: FnOnce(Sockets) -> Result<(), SocketsError> + Send + 'static,
    {
        let (address, sender) = (sockets.addresses()[0], sockets.sender());
        Served { address, sender, thread: Some(thread::spawn(move || serve(sockets))) }
    }

    pub fn open(&self, path: &str) -> Client {
        self.ask(path, "").expect("a 101")
    }

    pub fn ask(&self, path: &str, more: &str) -> Result<Client, Response> {
        let request = upgrade("", self.address, more).replacen("/ws/", path, 1);
        Client::open(self.address, &request)
    }

    /// It ends as it is asked to, when these have hung up.
    pub fn end<T>(mut self, clients: T) {
        drop(clients);
        self.sender.shut_down();
        let ended = self.thread.take().expect("it runs").join().expect("nobody panicked");
        assert!(matches!(ended, Err(SocketsError::ShutDown)), "{ended:?}");
    }
}

fn anywhere() -> String {
    "127.0.0.1:0".to_owned()
}

#[test]
fn echo() {
    let served = Served::by(bind(), echo::serve);
    let mut client = served.open("/");
    for text in ["hello", "", "grüße"] {
        client.send(text);
        assert_eq!(client.text(), text);
    }
    let large = vec![7; 1 << 20];
    client.send_binary(&large);
    assert_eq!(client.message(), Event::Binary(large));
    served.end(client);
}

#[test]
fn echo_page() {
    let served = Served::by(echo_page::bind(anywhere()).expect("a port"), echo_page::serve);
    let host = served.address;
    let closes = "Connection: close\r\n";
    let get =
        |path| Response::to(host, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{closes}\r\n"));
    let page = get("/");
    assert!(page.status == 200 && page.body.contains("/page.js"), "{page:?}");
    assert!(page.body.contains("<p>0 connected so far."), "the application has made it: {page:?}");
    assert!(get("/page.js").body.contains("/foobar"));
    assert_eq!(get("/foobar").status, 404, "plain HTTP is no WebSocket");
    assert_eq!(served.ask("/elsewhere", "").expect_err("no endpoint").status, 404);
    let mut client = served.ask("/foobar", &format!("Origin: http://{host}\r\n")).expect("a 101");
    client.send("hello");
    assert_eq!(client.text(), "hello");
    assert_eq!(client.next_within(Duration::from_millis(300)), None, "nothing comes unsent");
    client.send("");
    assert_eq!(client.text(), "");
    assert!(get("/").body.contains("<p>1 connected so far."));
    let elsewhere = served.ask("/foobar", "Origin: http://elsewhere.example\r\n");
    assert_eq!(elsewhere.expect_err("another site's page").status, 403);
    served.end(client);
}

#[test]
#[ignore = "needs chromium and node"]
fn echo_page_in_a_browser() {
    let served = Served::by(echo_page::bind(anywhere()).expect("a port"), echo_page::serve);
    browse_at("echo_page.test.mjs", &format!("http://{}", served.address), &[]);
    served.end(());
}

#[test]
#[ignore = "needs chromium and node"]
fn game_in_a_browser() {
    let served = Served::by(game::bind(anywhere()).expect("a port"), game::serve);
    browse_at("game.test.mjs", &format!("http://{}", served.address), &[]);
    served.end(());
}

#[test]
fn echo_subprotocol() {
    let sockets = echo_subprotocol::bind(anywhere()).expect("a port");
    let served = Served::by(sockets, echo_subprotocol::serve);
    let offer = "Sec-WebSocket-Protocol: foo, echo, bar\r\n";
    let mut client = served.ask("/", offer).expect("a 101");
    assert_eq!(client.response.header("sec-websocket-protocol"), Some("echo"));
    client.send("hello");
    assert_eq!(client.text(), "hello");
    let refused = served.ask("/", "Sec-WebSocket-Protocol: foo\r\n").expect_err("no echo");
    assert_eq!((refused.status, refused.body.trim_end()), (400, "Offer the sub-protocol echo."));
    served.end(client);
}

#[test]
fn chat() {
    let served = Served::by(bind(), chat::serve);
    let mut alice = served.open("/?name=alice");
    alice.expect(&["* alice has come"]);
    let mut bob = served.open("/?name=bob");
    bob.expect(&["* bob has come"]);
    alice.send("hello");
    bob.expect(&["alice: hello"]);
    alice.expect(&["* bob has come", "alice: hello"]);
    bob.close();
    alice.expect(&["* bob has gone"]);
    let mut carol = served.open("/?name=carol");
    carol.expect(&["* carol has come"]);
    carol.send_binary(b"?");
    carol.expect_close(1003, "only text");
    alice.expect(&["* carol has come", "* carol has gone"]);
    served.end((alice, carol));
}

#[test]
fn work_queue() {
    let served = Served::by(bind(), work_queue::serve);
    let mut workers: Vec<Client> = (0..3).map(|_| served.open("/")).collect();
    let mut boss = served.open("/");
    // Whoever came last has its turn first, and everybody has one.
    for number in 0..8 {
        boss.send(&number.to_string());
    }
    workers.push(boss);
    let mut all: Vec<String> = Vec::new();
    for worker in &mut workers {
        let both: Vec<usize> = (0..2).map(|_| worker.text().parse().expect("a number")).collect();
        assert_eq!(both[1] - both[0], 4, "each in turn");
        all.extend(both.iter().map(usize::to_string));
        assert_eq!(worker.arrived(), [], "and each message to one alone");
    }
    all.sort();
    assert_eq!(all, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    served.end(workers);
}

#[test]
fn ticker() {
    let settings = Settings { ping_interval_ms: 50, pong_timeout_ms: 3_000, ..Settings::base() };
    let every = Duration::from_millis(400);
    let sockets = serve(settings, Endpoint::default());
    let served = Served::by(sockets, move |sockets| ticker::serve(sockets, every));
    let mut client = served.open("/");
    let mut silent = served.open("/");
    let first: u64 = client.text().parse().expect("a number");
    // It has been pinged and is alive, though nothing was received by the application.
    assert_eq!(client.text(), (first + 1).to_string());
    let gone = std::iter::from_fn(|| silent.next_within(PATIENCE));
    let last = gone.take_while(|event| *event != Event::End).last();
    assert!(matches!(last, Some(Event::Close(Some(1011), _))), "it answered no ping: {last:?}");
    served.end((client, silent));
}

#[test]
fn game() {
    let served = Served::by(game::bind(anywhere()).expect("a port"), game::serve);
    let host = served.address;
    let get = |path| Response::to(host, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert!(get("/").body.contains("<canvas") && get("/game.js").body.contains("pointermove"));
    let (mut alice, mut bob) = (served.open("/"), served.open("/"));
    alice.send("30 20");
    bob.send("40 50");
    // Both see both, on their way and where they went.
    for player in [&mut alice, &mut bob] {
        let mut seen = std::iter::from_fn(|| Some(player.text()));
        assert!(seen.any(|dots| dots == "[[30,20],[40,50]]" || dots == "[[40,50],[30,20]]"));
    }
    bob.frame(true, Opcode::Close, &1000u16.to_be_bytes());
    // What was on its way comes before the answer.
    while !matches!(bob.next(), Event::Close(Some(1000), _)) {}
    alice.expect_among("[[30,20]]");
    served.end(alice);
}

#[test]
fn relay_with_rules() {
    let sockets = relay_with_rules::bind(anywhere()).expect("a port");
    let served = Served::by(sockets, relay_with_rules::serve);
    let mut alice = served.open("/ws/news?name=alice");
    alice.expect(&["* alice has come"]);
    alice.send("it rains");
    // Its own message does not come back; who comes later is sent what was said last.
    let mut bob = served.open("/ws/news?name=bob");
    bob.expect(&["it rains", "* bob has come"]);
    alice.expect(&["* bob has come"]);
    bob.send("it does not");
    alice.send("it pours");
    bob.expect(&["it pours"]);
    for refused in ["/ws/news?name=carol", "/ws/attic?name=alice", "/ws/news?subscribe-broadcast"] {
        let refused = served.ask(refused, "").expect_err("it is not in the table");
        assert_eq!((refused.status, refused.body.trim_end()), (403, "This room is not for you."));
    }
    bob.close();
    alice.expect(&["* bob has gone"]);
    served.end(alice);
}
