//! What the tests over real sockets share: the program itself as a process, a WebSocket client, a
//! Redis with a client for it, and what both brokers must do alike.
//!
//! Rules:
//! - Everything that a test starts ends with it, also when it panics: processes are killed and
//!   folders removed when their owners are dropped.
//! - A test waits for what must happen, never for time to pass, and gives up after [`PATIENCE`].
//! - Addresses and folders are each test's own, so that all tests run at the same time.
#![allow(dead_code, reason = "every test program uses another part of this")]

pub mod browser;
pub mod client;
pub mod cluster;
pub mod redis;
pub mod scenarios;
pub mod sentinels;
pub mod shards;
pub mod stream;
pub mod tls;

use std::fmt::{Debug, Display};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, Response, upgrade};

/// How long anything may take before a test fails: far more than it does, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    eventually_ok(|| ask().ok_or(what))
}

/// The same for who says what there is instead.
#[track_caller]
pub fn eventually_ok<T, E: Display>(mut ask: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(instead) => assert!(Instant::now() < deadline, "in vain: {instead}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A port of 127.0.0.1 that nobody listens on now. Somebody may take it before its use, so whoever
/// starts a program on it tries again when that ends at once.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A folder of its own, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("wsloop-test-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Folder(path),
                // Left by a killed test whose process id has come round again.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("no folder {path:?}: {error}"),
            }
        }
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process, killed when dropped.
pub struct Process(Child);

impl Process {
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Process {
        Process::spawn_as_it_is(command.stdin(Stdio::null()))
    }

    #[track_caller]
    fn spawn_as_it_is(command: &mut Command) -> Process {
        match command.spawn() {
            Ok(child) => Process(child),
            Err(error) => panic!("{:?} does not start: {error}", command.get_program()),
        }
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// What it writes, if that was piped.
    pub fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().expect("a pipe")
    }

    /// What it complains of, if that was piped.
    pub fn stderr(&mut self) -> std::process::ChildStderr {
        self.0.stderr.take().expect("a pipe")
    }

    /// Sends a signal, as `TERM`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.0.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(status.success(), "{kill}");
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program, serving on a port of its own.
pub struct Wsloop {
    process: Process,
    addresses: Vec<SocketAddr>,
    log: Arc<Mutex<String>>,
    /// Kept open, so that the program does not write into a broken pipe.
    _stdout: BufReader<ChildStdout>,
}

impl Wsloop {
    /// Starts it with these arguments besides `--listen` and `--metrics`, and returns when it
    /// listens.
    #[track_caller]
    pub fn start(args: &[&str]) -> Wsloop {
        Wsloop::start_in(&[], Stdio::null(), args)
    }

    /// Starts it in this environment, `NAME=VALUE` each, perhaps by another program, that and its
    /// arguments behind them, with this standard input.
    #[track_caller]
    pub fn start_in(environment: &[&str], stdin: Stdio, args: &[&str]) -> Wsloop {
        // Whoever runs the tests may ignore SIGHUP, and then the server would have to as well.
        let mut command = Command::new("/usr/bin/env");
        command.args(["-i", "--default-signal=HUP"]).args(environment);
        command.arg(env!("CARGO_BIN_EXE_wsloop")).stdin(stdin);
        command.args(["--listen", "127.0.0.1:0"]).args(args);
        // Of several workers one would tell its own figures there, which is refused.
        let is_said = environment.iter().any(|text| text.starts_with("WSLOOP_METRICS="));
        if !is_said && !args.contains(&"--workers") {
            command.args(["--metrics", "/metrics"]);
        }
        if !args.contains(&"--resp") {
            // Its default is for one server, and the tests start many.
            command.args(["--resp", "off"]);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn_as_it_is(&mut command);
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = BufReader::new(process.0.stderr.take().expect("a pipe"));
        let lines = log.clone();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = lines.lock().expect("nobody panics with the log in hand");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut stdout = BufReader::new(process.0.stdout.take().expect("a pipe"));
        let mut addresses = Vec::new();
        for _ in 0..=args.iter().filter(|arg| **arg == "--listen").count() {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("a pipe");
            if line.starts_with("listening on unix:") {
                continue;
            }
            let address = line.strip_prefix("listening on http").map(str::trim_end);
            let address = address.map(|at| at.trim_start_matches('s').trim_start_matches("://"));
            match address.and_then(|address| address.parse().ok()) {
                Some(address) => addresses.push(address),
                None => {
                    let _ = process.0.wait();
                    panic!("wsloop {args:?} does not listen: {line}{}", log.lock().expect("a log"));
                }
            }
        }
        Wsloop { process, addresses, log, _stdout: stdout }
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where it answers Redis clients, given `--resp` with port 0.
    #[track_caller]
    pub fn resp_address(&self) -> SocketAddr {
        eventually("a line about Redis clients", || {
            let log = self.log();
            let (_, rest) = log.split_once("redis clients: ")?;
            Some(rest.lines().next()?.parse().expect("an address"))
        })
    }

    /// Where it listens, in the order of the arguments.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where operators are answered.
    pub fn admin(&self) -> SocketAddr {
        eventually("a line about operators", || {
            let log = self.log();
            let (_, rest) = log.split_once("operators: ")?;
            Some(rest.lines().next()?.parse().expect("an address"))
        })
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with the log in hand").clone()
    }

    /// Waits for a line of the log that contains all these words.
    #[track_caller]
    pub fn expect_log(&self, words: &[&str]) {
        eventually(&format!("a log line with {words:?}"), || {
            let log = self.log();
            log.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
        });
    }

    /// A connected WebSocket. The path begins with the facility.
    #[track_caller]
    pub fn connect(&self, path: &str) -> Client {
        match self.try_connect(path) {
            Ok(client) => client,
            Err(response) => panic!("{path} is refused: {response:?}"),
        }
    }

    pub fn try_connect(&self, path: &str) -> Result<Client, Response> {
        Client::open(self.address(), &upgrade(path, self.address(), ""))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        let host = self.address();
        Response::to(host, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    /// A counter or gauge as it is now. The conn that asks for it is counted.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").body;
        let line = format!("\nwsloop_{name} ");
        let at = text.find(&line).unwrap_or_else(|| panic!("no metric {name}")) + line.len();
        text[at..].lines().next().and_then(|value| value.parse().ok()).expect("a number")
    }

    #[track_caller]
    pub fn expect_metric(&self, name: &str, so: impl Fn(u64) -> bool) {
        eventually(&format!("{name} as expected"), || so(self.metric(name)).then_some(()));
    }

    /// Processor time used so far.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("proc");
        let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        // The kernel's USER_HZ is 100 on every Linux that Rust runs on.
        Duration::from_millis(ticks * 10)
    }

    /// How it ends.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the end of wsloop", || self.process.status())
    }

    pub fn is_running(&mut self) -> bool {
        self.process.status().is_none()
    }
}

impl Drop for Wsloop {
    fn drop(&mut self) {
        let died = self.process.status().is_some_and(|status| !status.success());
        if thread::panicking() {
            eprintln!("the log of wsloop:\n{}", self.log());
        } else if died {
            panic!("wsloop died:\n{}", self.log());
        }
    }
}

/// Shows that both are the same, when only one of them would be too much to read.
#[track_caller]
pub fn assert_all_equal<T: PartialEq + Debug>(got: &[T], expected: &[T]) {
    let differs = got.iter().zip(expected).position(|(a, b)| a != b);
    if let Some(at) = differs {
        panic!("number {at} is {:?} and not {:?}", got[at], expected[at]);
    }
    assert_eq!(got.len(), expected.len());
}
