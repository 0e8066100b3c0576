//! A real Redis on a Unix socket of its own, and a client for it.
//!
//! The client speaks RESP2 in its own few lines and uses nothing of wsloop's, so that what wsloop
//! writes and reads is judged by somebody else.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

use super::{Folder, PATIENCE, Process, eventually, free_port};

/// The program that is Redis here: `REDIS_SERVER`, or Debian's.
pub fn program() -> OsString {
    env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}

/// A Redis server that stores nothing on disk.
pub struct RedisServer {
    process: Option<Process>,
    folder: Folder,
    args: Vec<String>,
}

impl RedisServer {
    pub fn start() -> RedisServer {
        RedisServer::start_with(&[])
    }

    /// Starts it with more arguments.
    pub fn start_with(args: &[&str]) -> RedisServer {
        let mut server = RedisServer::absent();
        server.args = args.iter().map(|arg| arg.to_string()).collect();
        server.revive(|_| {});
        server
    }

    /// Starts it on a port of 127.0.0.1 as well, and returns the port.
    pub fn start_on_tcp() -> (RedisServer, u16) {
        RedisServer::start_on_tcp_with(&[])
    }

    /// The same with more arguments.
    pub fn start_on_tcp_with(args: &[&str]) -> (RedisServer, u16) {
        RedisServer::start_on_ports(|port| {
            let port_args = ["--bind", "127.0.0.1", "--port", &port.to_string()];
            port_args.iter().chain(args).map(|arg| arg.to_string()).collect()
        })
    }

    /// The same with what is said for a port that may be free.
    pub fn start_on_ports(args: impl Fn(u16) -> Vec<String>) -> (RedisServer, u16) {
        let mut server = RedisServer::absent();
        for _ in 0..5 {
            let port = free_port();
            server.args = args(port);
            if server.launch(|_| {}) {
                return (server, port);
            }
        }
        panic!("redis-server cannot be started: {}", server.log());
    }

    /// Its place, without a server there.
    pub fn absent() -> RedisServer {
        RedisServer { process: None, folder: Folder::new(), args: Vec::new() }
    }

    /// What `--redis` is to be.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// The path in it.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    #[track_caller]
    pub fn connect(&self) -> RedisClient {
        let stream = UnixStream::connect(self.socket()).expect("Redis listens");
        RedisClient::new(stream)
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it was started")
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again, empty. Whoever waits for it can connect when `prepare` has returned.
    #[track_caller]
    pub fn revive(&mut self, prepare: impl FnOnce(&mut RedisClient)) {
        assert!(self.launch(prepare), "redis-server does not start: {}", self.log());
    }

    /// Starts it again with other arguments and what it had saved. It may not have loaded that.
    #[track_caller]
    pub fn revive_with(&mut self, args: &[&str]) {
        self.args = args.iter().map(|arg| arg.to_string()).collect();
        self.revive(|_| {});
    }

    /// It begins to listen in another place and is moved when it is ready.
    fn launch(&mut self, prepare: impl FnOnce(&mut RedisClient)) -> bool {
        let early = self.folder.join("early.sock");
        let mut command = Command::new(program());
        command.args(["--port", "0", "--save", "", "--appendonly", "no"]);
        command.args(["--dir", self.folder.path(), "--logfile", "redis.log"]);
        command.arg("--unixsocket").arg(&early).args(&self.args);
        let mut process = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let client = eventually("Redis listens or ends", || match UnixStream::connect(&early) {
            Ok(stream) => Some(Some(RedisClient::new(stream))),
            Err(_) => process.status().map(|_| None),
        });
        let Some(mut client) = client else { return false };
        // Any answer will do, also that a password is missing.
        client.command(&["PING"]);
        prepare(&mut client);
        fs::rename(early, self.socket()).expect("a place to move to");
        self.process = Some(process);
        true
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("redis.log")).unwrap_or_default()
    }
}

/// What Redis answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Status(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Value>),
}

/// Somebody else who uses the Redis: the application, say.
pub struct RedisClient {
    stream: BufReader<UnixStream>,
}

impl RedisClient {
    /// At the end of that stream.
    pub fn new(stream: UnixStream) -> RedisClient {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        RedisClient { stream: BufReader::new(stream) }
    }

    /// Sends a command and returns the answer.
    #[track_caller]
    pub fn command(&mut self, args: &[impl AsRef<[u8]>]) -> Value {
        let args: Vec<&[u8]> = args.iter().map(AsRef::as_ref).collect();
        self.pipeline(&[args]).remove(0)
    }

    /// Sends commands in one write and returns their answers.
    #[track_caller]
    pub fn pipeline(&mut self, commands: &[Vec<&[u8]>]) -> Vec<Value> {
        let mut bytes = Vec::new();
        for args in commands {
            bytes.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
            for arg in args {
                bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
                bytes.extend_from_slice(arg);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.stream.get_mut().write_all(&bytes).expect("Redis takes commands");
        commands.iter().map(|_| self.value()).collect()
    }

    /// Shows that what is stored there was to live for so many seconds, some of which have passed.
    #[track_caller]
    pub fn expect_ttl(&mut self, name: &str, seconds: i64) {
        match self.command(&["TTL", name]) {
            Value::Integer(ttl) if (seconds - 15..=seconds).contains(&ttl) => {}
            other => panic!("{name} lives for {other:?}, and not for {seconds} s"),
        }
    }

    /// Publishes, and returns how many clients of Redis heard it.
    #[track_caller]
    pub fn publish(&mut self, channel: &str, message: impl AsRef<[u8]>) -> i64 {
        let args = ["PUBLISH".as_bytes(), channel.as_bytes(), message.as_ref()];
        match self.command(&args) {
            Value::Integer(heard) => heard,
            other => panic!("PUBLISH is answered {other:?}"),
        }
    }

    /// A command that must succeed.
    #[track_caller]
    pub fn ok(&mut self, args: &[impl AsRef<[u8]>]) {
        assert_eq!(self.command(args), Value::Status("OK".to_owned()));
    }

    /// The names of the clients of this Redis, in the order in which they came.
    #[track_caller]
    pub fn client_names(&mut self) -> Vec<String> {
        let Value::Bulk(list) = self.command(&["CLIENT", "LIST"]) else { panic!("no list") };
        let list = String::from_utf8(list).expect("a text");
        let field =
            |line: &str| line.split(' ').find_map(|f| f.strip_prefix("name=").map(str::to_owned));
        list.lines().map(|line| field(line).expect("a name")).collect()
    }

    /// The channels that somebody is subscribed to, sorted.
    #[track_caller]
    pub fn channels(&mut self) -> Vec<String> {
        let Value::Array(list) = self.command(&["PUBSUB", "CHANNELS"]) else { panic!("no list") };
        let mut names: Vec<String> = list
            .into_iter()
            .map(|name| match name {
                Value::Bulk(name) => String::from_utf8(name).expect("a text"),
                other => panic!("a channel's name is {other:?}"),
            })
            .collect();
        names.sort();
        names
    }

    /// The next answer, or message.
    #[track_caller]
    pub fn value(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("Redis answers");
        let line = line.strip_suffix("\r\n").expect("a whole line");
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().expect("a number");
        match kind {
            "+" => Value::Status(rest.to_owned()),
            "-" => Value::Error(rest.to_owned()),
            ":" => Value::Integer(number()),
            "$" | "*" if number() < 0 => Value::Nil,
            "$" => {
                let mut bytes = vec![0; number() as usize + 2];
                self.stream.read_exact(&mut bytes).expect("Redis answers");
                bytes.truncate(bytes.len() - 2);
                Value::Bulk(bytes)
            }
            "*" => Value::Array((0..number()).map(|_| self.value()).collect()),
            _ => panic!("not RESP2: {line}"),
        }
    }
}
