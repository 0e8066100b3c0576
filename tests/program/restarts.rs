//! How a process makes room for another, and what it tells the service manager.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::client::{Client, upgrade};
use crate::support::{Folder, PATIENCE, Wsloop, eventually};

/// Passes standard input on as the socket that systemd gives.
pub const ACTIVATED: [&str; 4] = [
    "LISTEN_FDS=1",
    "/bin/sh",
    "-c",
    "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDNAMES=$FDNAMES exec \"$0\" \"$@\"",
];

/// Browsers that come one after the other, without a pause, until they are told to stop.
pub struct Comers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Comers {
    pub fn begin(host: SocketAddr) -> Comers {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut served = 0;
            while !stopped.load(Ordering::Relaxed) {
                let mut stream = TcpStream::connect(host).expect("no connect is refused");
                stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
                stream.write_all(upgrade("room", host, "").as_bytes()).expect("it is taken");
                let client = Client::accepted(stream);
                client.unwrap_or_else(|response| panic!("refused: {response:?}"));
                served += 1;
            }
            served
        });
        Comers { stop, thread }
    }

    /// How many were served; none was turned away.
    pub fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("everybody is served")
    }
}

/// A service manager that listens.
pub struct Manager(UnixDatagram, pub String);

impl Manager {
    pub fn new(folder: &Folder) -> Manager {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Manager(socket, format!("NOTIFY_SOCKET={}", path.display()))
    }

    /// The next thing that it is told, besides signs of life.
    pub fn hears(&self) -> String {
        loop {
            let mut room = [0; 1000];
            let length = self.0.recv(&mut room).expect("it is told something");
            let text = String::from_utf8_lossy(&room[..length]).into_owned();
            if text != "WATCHDOG=1" {
                break text;
            }
        }
    }
}

/// A process that this test has not started itself, ended when dropped.
pub struct Successor(pub String);

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.0]).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_drain_closes_one_after_the_other_with_1012() {
    let mut server = Wsloop::start(&["--drain", "1"]);
    let mut clients: Vec<Client> = (0..10).map(|_| server.connect("room")).collect();
    server.process().signal("TERM");
    let asked = Instant::now();
    let mut after: Vec<Duration> = Vec::new();
    thread::scope(|scope| {
        let closes = clients.iter_mut().map(|client| {
            scope.spawn(move || {
                client.expect_close(1012, "restarts");
                asked.elapsed()
            })
        });
        let closes: Vec<_> = closes.collect();
        after.extend(closes.into_iter().map(|close| close.join().expect("a close")));
    });
    after.sort();
    let spread = after[9] - after[0];
    assert!(spread > Duration::from_millis(500), "{after:?}");
    drop(clients);
    assert!(server.wait().success());
}

#[test]
fn a_delay_serves_on_before_the_end_begins() {
    let mut server = Wsloop::start(&["--drain-delay", "1"]);
    let mut early = server.connect("room");
    server.process().signal("TERM");
    server.expect_log(&["asked to end; serving on for 1 s"]);
    let mut late = server.connect("room?subscribe-broadcast&publish-broadcast&echo");
    late.send("as ever");
    late.expect(&["as ever"]);
    early.expect_close(1001, "");
    late.expect_close(1001, "");
    drop((early, late));
    assert!(server.wait().success());
}

#[test]
fn a_port_is_free_at_once_though_a_silent_browser_keeps_the_process() {
    let mut old = Wsloop::start(&["--close-timeout", "60", "--shutdown-timeout", "60"]);
    let mut silent = old.connect("room");
    let host = old.address();
    old.process().signal("TERM");
    silent.hear_close(1001, "");
    let listens = || TcpListener::bind(host).ok();
    drop(eventually("a port that is free", listens));
    assert!(old.is_running(), "the silent browser has a minute");
    let new = Wsloop::start(&["--listen", &host.to_string()]);
    drop(Client::open(host, &upgrade("room", host, "")).expect("a 101"));
    drop(new);
    old.process().signal("TERM");
    assert!(old.wait().success());
}

#[test]
fn no_connect_is_refused_where_systemd_has_the_socket() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = socket.local_addr().expect("an address");
    let start = || {
        let stdin = Stdio::from(OwnedFd::from(socket.try_clone().expect("a socket")));
        Wsloop::start_in(&ACTIVATED, stdin, &["--listen", "systemd", "--drain", "0.3"])
    };
    let mut server = start();
    assert!(server.addresses().contains(&host), "{:?}", server.addresses());
    let mut silent = Client::open(host, &upgrade("room", host, "")).expect("a 101");
    let comers = Comers::begin(host);
    for _ in 0..3 {
        server.process().signal("TERM");
        silent.hear_close(1012, "");
        assert!(server.is_running());
        let new = start();
        silent = Client::open(host, &upgrade("room", host, "")).expect("a 101");
        assert!(server.wait().success());
        server = new;
    }
    assert!(comers.end() > 10);
}

#[test]
fn sockets_of_systemd_have_names() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = socket.local_addr().expect("an address");
    let stdin = Stdio::from(OwnedFd::from(socket));
    let environment = [&["FDNAMES=public"][..], &ACTIVATED].concat();
    let server = Wsloop::start_in(&environment, stdin, &["--listen", "systemd:public"]);
    assert!(server.addresses().contains(&host));
    drop(Client::open(host, &upgrade("room", host, "")).expect("a 101"));
    let program = env!("CARGO_BIN_EXE_wsloop");
    let output = Command::new(program).args(["--listen", "systemd:public"]).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("systemd has given no such socket"), "{said}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn another_process_takes_over_and_no_connect_is_refused() {
    let folder = Folder::new();
    let manager = Manager::new(&folder);
    let path = format!("unix:{}", folder.join("socket").display());
    let args = ["--listen", &path, "--drain", "0.3"];
    let mut server = Wsloop::start_in(&[&manager.1], Stdio::null(), &args);
    assert!(manager.hears().starts_with("READY=1\nMAINPID="));
    let host = server.address();
    let mut open = server.connect("room");
    let comers = Comers::begin(host);
    server.process().signal("USR2");
    let told = manager.hears();
    let id = told.strip_prefix("MAINPID=").unwrap_or_else(|| panic!("{told}"));
    let second = Successor(id.to_owned());
    open.expect_close(1012, "");
    drop(open);
    assert!(server.wait().success());
    assert!(folder.join("socket").exists(), "it is the other process's now");
    // The same once more.
    let usr2 = Command::new("kill").args(["-USR2", &second.0]).status();
    assert!(usr2.expect("kill is there").success());
    let told = manager.hears();
    let third = Successor(told.strip_prefix("MAINPID=").expect("another").to_owned());
    assert_ne!(second.0, third.0);
    eventually("the end of the second", || {
        (!std::path::Path::new(&format!("/proc/{}", second.0)).exists()).then_some(())
    });
    assert!(comers.end() > 10);
    assert!(folder.join("socket").exists());
    let term = Command::new("kill").args(["-TERM", &third.0]).status();
    assert!(term.expect("kill is there").success());
    assert_eq!(manager.hears(), "STOPPING=1", "of the one that the manager knows");
    eventually("a socket that is removed", || (!folder.join("socket").exists()).then_some(()));
}

#[test]
fn who_cannot_take_over_leaves_everything_as_it_was() {
    let folder = Folder::new();
    let file = folder.join("wsloop.toml");
    fs::write(&file, "").expect("a file");
    let server = Wsloop::start(&["--config", file.to_str().expect("UTF-8")]);
    fs::write(&file, "nonsense = 1\n").expect("a file");
    for times in 1..=2 {
        server.process().signal("USR2");
        eventually("a line about that", || {
            let said =
                server.log().matches("nobody takes over, and this process serves on").count();
            (said == times).then_some(())
        });
    }
    drop(server.connect("room"));
}

#[test]
fn the_service_manager_is_told_how_it_goes() {
    let folder = Folder::new();
    let manager = Manager::new(&folder);
    let environment = [&manager.1, "WATCHDOG_USEC=200000"];
    let mut server = Wsloop::start_in(&environment, Stdio::null(), &[]);
    assert_eq!(manager.hears(), format!("READY=1\nMAINPID={}", server.process().id()));
    server.process().signal("HUP");
    let told = manager.hears();
    let time = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("two lines");
    let up = fs::read_to_string("/proc/uptime").expect("Linux");
    let up: f64 = up.split(' ').next().and_then(|text| text.parse().ok()).expect("seconds");
    let time: f64 = time.parse().expect("a number");
    assert!((up - time / 1e6).abs() < 3600.0 * 24.0, "{up} {time}");
    assert_eq!(manager.hears(), "READY=1");
    let mut beats = 0;
    let since = Instant::now();
    while beats < 5 {
        let mut room = [0; 100];
        let length = manager.0.recv(&mut room).expect("a sign of life");
        assert_eq!(&room[..length], b"WATCHDOG=1");
        beats += 1;
    }
    assert!(since.elapsed() >= Duration::from_millis(300), "a few a second");
    // A process that is stuck gives none.
    server.process().signal("STOP");
    manager.0.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    let mut room = [0; 100];
    while manager.0.recv(&mut room).is_ok() {}
    let error = manager.0.recv(&mut room).expect_err("silence").kind();
    assert!(matches!(error, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    server.process().signal("CONT");
    manager.0.set_read_timeout(Some(PATIENCE)).expect("a socket");
    server.process().signal("TERM");
    assert_eq!(manager.hears(), "STOPPING=1");
    assert!(server.wait().success());
}
