//! The program and applications in other processes that handle WebSockets, here over a real socket
//! each. That they die is in the tests of the Python package, where they are processes.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::support::client::{Client, Event};
use super::support::redis::RedisServer;
use super::support::{Folder, PATIENCE, Wsloop, eventually};
use wsloop::proto::handler::{HandlerKind as Kind, HandlerReader, append};

/// Longer than anything that an application is sent here.
const MAX_MESSAGE: usize = 16 << 20;

/// A server with an endpoint at `/ws/app/`, and where its application is to listen.
struct Site {
    server: Wsloop,
    socket: PathBuf,
    _folder: Folder,
}

impl Site {
    fn start(args: &[&str]) -> Site {
        let folder = Folder::new();
        let socket = folder.join("app.sock");
        let endpoint = format!("/ws/app/=unix:{}", socket.display());
        let own = ["--endpoint", &endpoint, "--allow", "subscribe-broadcast,publish-broadcast"];
        let server = Wsloop::start(&[&own[..], args].concat());
        Site { server, socket, _folder: folder }
    }

    fn listen(&self) -> UnixListener {
        UnixListener::bind(&self.socket).expect("a socket of its own")
    }

    /// A server and its application, which have greeted.
    fn greeted(args: &[&str]) -> (Site, App) {
        let site = Site::start(args);
        let mut app = App::accept(&site.listen());
        app.greet();
        site.server.expect_metric("handlers_up", |up| up == 1);
        (site, app)
    }
}

/// The application's end of a link.
struct App {
    stream: UnixStream,
    reader: HandlerReader,
    frames: VecDeque<(Kind, u64, Vec<u8>)>,
}

impl App {
    fn accept(listener: &UnixListener) -> App {
        listener.set_nonblocking(true).expect("a listener");
        let (stream, _) = eventually("a dial", || listener.accept().ok());
        stream.set_nonblocking(false).expect("a stream");
        stream.set_read_timeout(Some(PATIENCE)).expect("a stream");
        App { stream, reader: HandlerReader::new(MAX_MESSAGE), frames: VecDeque::new() }
    }

    /// Greets, with any credit, when it has heard the greeting.
    fn greet(&mut self) {
        assert_eq!(self.next().0, Kind::Hello);
        self.order(Kind::Hello, 0, b"\0\x01\0\xff\xff\xff\xff");
    }

    fn order(&mut self, kind: Kind, conn: u64, payload: &[u8]) {
        let mut bytes = Vec::new();
        append(kind, conn, &[payload], &mut bytes);
        self.stream.write_all(&bytes).expect("the server reads");
    }

    fn next(&mut self) -> (Kind, u64, Vec<u8>) {
        self.try_next().expect("another frame")
    }

    /// The next frame; nothing at the end of the link.
    fn try_next(&mut self) -> Option<(Kind, u64, Vec<u8>)> {
        let mut bytes = vec![0; 64 << 10];
        while self.frames.is_empty() {
            let n = match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing comes: {error}"),
            };
            let mut input = &bytes[..n];
            while let Some(frame) = self.reader.next(&mut input).expect("frames") {
                let kind = Kind::of(frame.kind).expect("a known kind");
                self.frames.push_back((kind, frame.conn, frame.payload.to_vec()));
            }
        }
        self.frames.pop_front()
    }

    /// The name of a conn that opens.
    fn opened(&mut self) -> u64 {
        let (kind, conn, _) = self.next();
        assert_eq!(kind, Kind::Opened);
        conn
    }
}

#[test]
fn the_relay_and_an_application_are_beside_each_other() {
    let (site, mut app) = Site::greeted(&[]);
    let mut relayed = site.server.connect("room?subscribe-broadcast&publish-broadcast&echo");
    let mut client = site.server.connect("app/room");
    let conn = app.opened();
    client.send("to the application");
    assert_eq!(app.next(), (Kind::Text, conn, b"to the application".to_vec()));
    relayed.send("to the broker");
    relayed.expect(&["to the broker"]);
    app.order(Kind::Subscribe, conn, b"broadcast:room");
    client.expect(&["to the broker"]);
    app.order(Kind::Publish, 0, b"\0\x0ebroadcast:roomfrom the application");
    client.expect(&["from the application"]);
    relayed.expect(&["from the application"]);
    drop(app);
    client.expect_close(1012, "the application has gone");
    relayed.send("the relay stays");
    relayed.expect(&["the relay stays"]);
    site.server.expect_log(&["WARN", "/ws/app/", "is lost: it hung up; its 1 conns"]);
    let response = site.server.try_connect("app/room").expect_err("a refusal");
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
}

#[test]
fn the_next_application_is_found_and_kept_conns_are_its() {
    let (site, app) = Site::greeted(&["--endpoint-lost", "keep"]);
    let mut client = site.server.connect("app/room");
    drop(app);
    site.server.expect_metric("handlers_up", |up| up == 0);
    client.send("meanwhile");
    fs::remove_file(&site.socket).expect("the old one's");
    let mut app = App::accept(&site.listen());
    app.greet();
    let (kind, conn, lines) = app.next();
    assert_eq!(kind, Kind::Resumed);
    assert!(lines.starts_with(b":path: /ws/app/room\n"), "{lines:?}");
    assert_eq!(app.next(), (Kind::Text, conn, b"meanwhile".to_vec()));
    app.order(Kind::Text, conn, b"and on");
    client.expect(&["and on"]);
    site.server.expect_log(&["INFO", "/ws/app/", "is there"]);
}

#[test]
fn what_is_no_application_is_told_so_and_dialed_again() {
    for (bytes, why) in [
        (&b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..], "another program"),
        (b"\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\0\0", "version 2"),
        (&[0; 64], "does not greet"),
    ] {
        let site = Site::start(&[]);
        let listener = site.listen();
        let mut app = App::accept(&listener);
        assert_eq!(app.next().0, Kind::Hello);
        app.stream.write_all(bytes).expect("the server reads");
        let (kind, conn, said) = app.next();
        assert_eq!((kind, conn), (Kind::Error, 0));
        assert!(String::from_utf8_lossy(&said).contains(why), "{said:?}");
        assert_eq!(app.try_next(), None);
        site.server.expect_log(&["WARN", "cannot be reached", why]);
        let mut app = App::accept(&listener);
        app.greet();
        site.server.expect_metric("handlers_up", |up| up == 1);
    }
}

#[test]
fn an_application_that_reads_nothing_harms_its_own_conns_alone() {
    let (site, mut app) = Site::greeted(&[]);
    let mut client = site.server.connect("app/room");
    let conn = app.opened();
    let stream = client.stream();
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a socket");
    let frame = super::support::client::frame_bytes(
        true,
        wsloop::proto::ws::frame::Opcode::Binary,
        &[0; 65_536],
    );
    let mut taken = 0;
    while taken < 1_000 && stream.write_all(&frame).is_ok() {
        taken += 1;
    }
    assert!(taken < 1_000, "65 MB were taken though nobody reads");
    let mut relayed = site.server.connect("room?subscribe-broadcast&publish-broadcast&echo");
    relayed.send("the relay goes on");
    relayed.expect(&["the relay goes on"]);
    let held = site.server.metric("memory_bytes");
    assert!(held < 16 << 20, "{held}");
    let before = site.server.cpu_time();
    std::thread::sleep(Duration::from_millis(500));
    assert!(site.server.cpu_time() - before < Duration::from_millis(200), "it does not spin");
    for _ in 0..taken {
        assert_eq!(app.next().1, conn);
    }
}

#[test]
fn an_application_that_floods_harms_its_own_conns_alone() {
    let (site, mut app) = Site::greeted(&["--outbox-limit", "4MiB"]);
    let slow = site.server.connect("app/slow");
    let conn = app.opened();
    let mut quick = site.server.connect("app/quick");
    let other = app.opened();
    let began = Instant::now();
    // It reads nothing: its socket and its outbox fill, and it is closed.
    for _ in 0..2_000 {
        app.order(Kind::Binary, conn, &[0; 65_536]);
    }
    app.order(Kind::Text, other, b"behind all that");
    quick.expect(&["behind all that"]);
    assert!(began.elapsed() < PATIENCE);
    let closed = eventually("its close", || {
        let frame = app.next();
        (frame.0 == Kind::Close).then_some(frame)
    });
    assert_eq!((closed.1, &closed.2[..2]), (conn, &1008u16.to_be_bytes()[..]));
    assert_eq!(site.server.metric("slow_total"), 1);
    drop(slow);
    // Orders about nobody, as fast as they can be said.
    let mut stream = Vec::new();
    (0..200_000).for_each(|_| append(Kind::Close, 12345, &[b"\x03\xe8"], &mut stream));
    app.stream.write_all(&stream).expect("the server reads");
    quick.send("still here");
    loop {
        if app.next() == (Kind::Text, other, b"still here".to_vec()) {
            break;
        }
    }
}

#[test]
fn large_and_empty_messages_go_both_ways() {
    let (site, mut app) = Site::greeted(&[]);
    let mut client = site.server.connect("app/room");
    let conn = app.opened();
    for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let message = vec![b'x'; size];
        client.send_binary(&message);
        let (kind, of, payload) = loop {
            let frame = app.next();
            if frame.0 != Kind::Slow {
                break frame;
            }
        };
        assert_eq!((kind, of, payload.len()), (Kind::Binary, conn, size));
        app.order(Kind::Text, conn, &payload);
        assert_eq!(client.message(), Event::Text("x".repeat(size)));
    }
}

#[test]
fn its_applications_hear_of_the_end() {
    let (mut site, mut app) = Site::greeted(&[]);
    let mut client = site.server.connect("app/room");
    let conn = app.opened();
    client.send("last words");
    assert_eq!(app.next(), (Kind::Text, conn, b"last words".to_vec()));
    site.server.process().signal("TERM");
    client.expect_close(1001, "");
    let (kind, of, payload) = app.next();
    assert_eq!((kind, of, &payload[..2]), (Kind::Close, conn, &1001u16.to_be_bytes()[..]));
    assert_eq!(app.try_next(), None);
    assert!(site.server.wait().success());
}

#[test]
#[ignore = "needs redis-server"]
fn each_worker_has_a_link_of_its_own() {
    let (redis, folder) = (RedisServer::start(), Folder::new());
    let socket = folder.join("app.sock");
    let listener = UnixListener::bind(&socket).expect("a socket of its own");
    let endpoint = format!("/ws/app/=unix:{}", socket.display());
    let url = redis.url();
    let args = ["--endpoint", &endpoint, "--redis", &url, "--workers", "2"];
    let server = Wsloop::start(&args);
    let mut apps = [App::accept(&listener), App::accept(&listener)];
    apps.iter_mut().for_each(App::greet);
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..40 {
        let client = eventually("a 101", || server.try_connect("app/room").ok());
        clients.push(client);
    }
    let mut counts = [0; 2];
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&format!("from {number}"));
    }
    for (app, count) in apps.iter_mut().zip(&mut counts) {
        app.stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a stream");
        let mut bytes = [0; 64 << 10];
        while let Ok(n) = app.stream.read(&mut bytes)
            && n > 0
        {
            let mut input = &bytes[..n];
            while let Some(frame) = app.reader.next(&mut input).expect("frames") {
                if frame.kind == Kind::Text as u8 {
                    *count += 1;
                    let (conn, text) = (frame.conn, frame.payload.to_vec());
                    let mut answer = Vec::new();
                    append(Kind::Text, conn, &[&text], &mut answer);
                    app.stream.write_all(&answer).expect("the server reads");
                }
            }
        }
    }
    assert_eq!(counts.iter().sum::<usize>(), 40, "{counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    for (number, client) in clients.iter_mut().enumerate() {
        client.expect(&[&format!("from {number}")]);
    }
}

#[test]
fn it_is_checked_like_every_flag() {
    let check = |args: &[&str]| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
        command.arg("check").args(args).env_clear().output().expect("it runs")
    };
    let output = check(&["--endpoint=/a/=unix:/run/a.sock", "--endpoint=/b/=unix:/run/b.sock"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let row = text.lines().find(|line| line.starts_with("endpoint ")).expect("a row");
    assert!(row.contains("/a/=unix:/run/a.sock,/b/=unix:/run/b.sock"), "{row}");
    assert!(output.status.success());
    let output = check(&["--endpoint=/a/=unix:/run/a.sock,/a/=unix:/run/b.sock"]);
    assert!(!output.status.success());
    let output = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&output);
    assert!(text.contains("\"/a/\" is there twice"), "{text}");
}
