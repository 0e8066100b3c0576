//! Whoever comes in crowds and says little, slowly or nothing, harms nobody who is there.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, tcp, upgrade};
use crate::support::{PATIENCE, Process, Wsloop};

/// Browsers that are there before.
const OPEN: usize = 10;
/// What half of their messages may take at most until all have heard them, and what each may: the
/// machine may be busy besides.
const USUAL: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(5);
/// What each of these tests takes at most.
const LONGEST_TEST: Duration = Duration::from_secs(30);
const PATH: &str = "room?subscribe-broadcast&publish-broadcast&echo";

/// Open conns, which are not to notice anything.
struct Browsers {
    clients: Vec<Client>,
    said: usize,
    took: Vec<Duration>,
}

impl Browsers {
    fn of(server: &Wsloop) -> Browsers {
        let clients = (0..OPEN).map(|_| server.connect(PATH)).collect();
        Browsers { clients, said: 0, took: Vec::new() }
    }

    /// One of them says something, and all hear it.
    fn talk(&mut self) {
        let text = format!("message {}", self.said);
        let began = Instant::now();
        self.clients[self.said % OPEN].send(&text);
        self.clients.iter_mut().for_each(|client| client.expect(&[&text]));
        self.took.push(began.elapsed());
        self.said += 1;
    }

    /// All are there still, and none has ever waited for long.
    fn end(mut self) {
        self.took.sort();
        let (usual, worst) = (self.took[self.said / 2], self.took[self.said - 1]);
        let told = format!("{} messages took {usual:?}, and one {worst:?}", self.said);
        assert!(self.said > 20 && usual < USUAL && worst < LONGEST, "{told}");
        self.clients.into_iter().for_each(Client::close);
    }
}

/// Half of a handshake, or none of it.
fn half_open(host: SocketAddr, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&host, PATIENCE).expect("a connection");
    let request = upgrade("room", host, "");
    let part = &request[..request.len() / 2 * (number % 2)];
    stream.write_all(part.as_bytes()).expect("it is taken");
    stream
}

#[test]
fn ten_thousand_half_open_handshakes_disturb_nobody() {
    const CROWD: usize = 10_000;
    let limit = rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    assert!(limit > 11_000, "raise the limit of open files (ulimit -Hn), it is {limit}");
    let server = Wsloop::start(&["--allow", "all", "--handshake-timeout", "60"]);
    let mut browsers = Browsers::of(&server);
    let host = server.address();
    let began = Instant::now();
    let mut crowd = Vec::with_capacity(CROWD);
    for number in 0..CROWD {
        crowd.push(half_open(host, number));
        if number.is_multiple_of(250) {
            browsers.talk();
            // Whoever comes in earnest is served, too.
            assert!(Client::open(host, &upgrade("room", host, "")).is_ok());
            assert!(began.elapsed() < LONGEST_TEST, "{number} have come");
        }
    }
    browsers.talk();
    assert_eq!(server.metric("conns_open"), OPEN as u64);
    let pending = server.metric("handshakes_pending");
    assert!((4000..=4097).contains(&pending), "as many as --max-handshakes: {pending}");
    // The conns that ask for the figures have a request.
    let evicted = server.metric("strangers_evicted_total");
    assert!((5900..=6100).contains(&evicted), "all others had to go: {evicted}");
    browsers.end();
}

/// Runs slowhttptest with these arguments against a path. At least so many of its connections are
/// held at one time.
fn survives(server: &Wsloop, args: &[&str], path: &str, held: u64) {
    let mut browsers = Browsers::of(server);
    let host = server.address();
    let url = format!("http://{host}{path}");
    let crowd = ["-c", "2000", "-r", "1000", "-l", "10", "-p", "2", "-u", &url];
    let mut command = Command::new("slowhttptest");
    command.args(args).args(crowd).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut attack = Process::spawn(&mut command);
    let mut most = 0;
    let status = loop {
        browsers.talk();
        if browsers.said.is_multiple_of(10) {
            most = most.max(server.metric("conns"));
            drop(Client::accepted(asking(host)).unwrap_or_else(|no| panic!("refused: {no:?}")));
        }
        if let Some(status) = attack.status() {
            break status;
        }
        assert!(began.elapsed() < LONGEST_TEST, "it does not end");
        thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "slowhttptest: {status}");
    browsers.end();
    assert!(most >= held, "only {most} at one time");
}

fn asking(host: SocketAddr) -> TcpStream {
    let mut stream = tcp(host);
    stream.write_all(upgrade("room", host, "").as_bytes()).expect("it is taken");
    stream
}

#[test]
#[ignore = "needs slowhttptest"]
fn slow_heads_disturb_nobody() {
    let server = Wsloop::start(&["--allow", "all"]);
    survives(&server, &["-H", "-i", "1"], "/ws/room", 1000);
}

#[test]
#[ignore = "needs slowhttptest"]
fn slow_bodies_disturb_nobody() {
    // An application that waits for all of a body, and takes one after the other.
    let application = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", application.local_addr().expect("an address"));
    let server = Wsloop::start(&["--allow", "all", "--upstream", &url]);
    survives(&server, &["-B", "-i", "1", "-s", "65536"], "/form", 1000);
    // Without one a body is not waited for.
    let server = Wsloop::start(&["--allow", "all"]);
    survives(&server, &["-B", "-i", "1"], "/form", 0);
}

#[test]
#[ignore = "needs slowhttptest"]
fn slow_readers_disturb_nobody() {
    let server = Wsloop::start(&["--allow", "all"]);
    let slowly = ["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3"];
    survives(&server, &slowly, "/wsloop.js", 1000);
}
