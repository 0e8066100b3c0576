//! Real sentinels that watch a real master with a replica.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::redis::{RedisClient, RedisServer, Value, program};
use super::{Folder, Process, eventually, free_port};

/// Under which the sentinels know the Redis.
pub const NAME: &str = "main";

/// A sentinel.
pub struct SentinelServer {
    process: Option<Process>,
    folder: Folder,
    pub port: u16,
}

impl SentinelServer {
    /// One that watches a master at this port; so many of them are to agree. `more` goes into its
    /// configuration.
    pub fn start(master: u16, quorum: usize, more: &str) -> SentinelServer {
        let mut sentinel = SentinelServer { process: None, folder: Folder::new(), port: 0 };
        for _ in 0..5 {
            sentinel.port = free_port();
            let socket = sentinel.socket();
            let text = format!(
                "bind 127.0.0.1\nport {}\nunixsocket {}\ndir {}\nlogfile sentinel.log\n\
                 sentinel monitor {NAME} 127.0.0.1 {master} {quorum}\n\
                 sentinel down-after-milliseconds {NAME} 1000\n\
                 sentinel failover-timeout {NAME} 6000\n{more}\n",
                sentinel.port,
                socket.display(),
                sentinel.folder.path(),
            );
            fs::write(sentinel.folder.join("sentinel.conf"), text).expect("a file");
            if sentinel.revive() {
                return sentinel;
            }
        }
        panic!("no sentinel can be started: {}", sentinel.log());
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("s.sock")
    }

    /// Starts it with what it knew; false when it ends at once.
    pub fn revive(&mut self) -> bool {
        let mut command = Command::new(program());
        command.arg(self.folder.join("sentinel.conf")).arg("--sentinel");
        let mut process = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let listens = eventually("the sentinel listens or ends", || {
            match UnixStream::connect(self.socket()) {
                Ok(_) => Some(true),
                Err(_) => process.status().map(|_| false),
            }
        });
        self.process = Some(process).filter(|_| listens);
        listens
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("it was started")
    }

    pub fn connect(&self) -> RedisClient {
        RedisClient::new(UnixStream::connect(self.socket()).expect("it listens"))
    }

    /// The port of the master, as it says.
    pub fn master(&self) -> u16 {
        master(&mut self.connect())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("sentinel.log")).unwrap_or_default()
    }
}

/// The port of the master, as that sentinel says.
pub fn master(sentinel: &mut RedisClient) -> u16 {
    let answer = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
    let Value::Array(parts) = &answer else { panic!("{answer:?}") };
    let Value::Bulk(port) = &parts[1] else { panic!("{answer:?}") };
    String::from_utf8_lossy(port).parse().expect("a port")
}

/// A master with a replica, and three sentinels.
pub struct Sentinels {
    /// The two, the first master first, and where they listen.
    pub redis: Vec<(RedisServer, u16)>,
    pub sentinels: Vec<SentinelServer>,
}

impl Sentinels {
    /// When the sentinels know each other and the replica.
    pub fn start() -> Sentinels {
        let (first, port) = RedisServer::start_on_tcp();
        let master = port.to_string();
        let of = ["--replicaof", "127.0.0.1", &master, "--repl-diskless-sync-delay", "0"];
        let (second, replica_port) = RedisServer::start_on_tcp_with(&of);
        eventually("the replica follows", || {
            let info = second.connect().command(&["INFO", "replication"]);
            text(&info).contains("master_link_status:up").then_some(())
        });
        let sentinels: Vec<SentinelServer> =
            (0..3).map(|_| SentinelServer::start(port, 2, "")).collect();
        for sentinel in &sentinels {
            let mut client = sentinel.connect();
            eventually("the sentinels know each other", || {
                let known = words(&client.command(&["SENTINEL", "MASTER", NAME]));
                let has = |key: &str, value: &str| {
                    known.chunks(2).any(|pair| pair[0] == key && pair[1] == value)
                };
                (has("num-other-sentinels", "2") && has("num-slaves", "1")).then_some(())
            });
        }
        Sentinels { redis: vec![(first, port), (second, replica_port)], sentinels }
    }

    /// What `--redis` is to be.
    pub fn url(&self) -> String {
        let hosts = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port));
        format!("redis+sentinel://{}/{NAME}", hosts.collect::<Vec<_>>().join(","))
    }

    /// The one that listens there.
    pub fn at(&self, port: u16) -> &RedisServer {
        let at = self.redis.iter().find(|(_, of)| *of == port);
        &at.expect("one of the two").0
    }

    /// Waits until the sentinel of that number has decided that another is the master, and returns
    /// its port.
    pub fn decided(&self, sentinel: usize, before: u16) -> u16 {
        let mut client = self.sentinels[sentinel].connect();
        eventually("the sentinels decide", || {
            let port = master(&mut client);
            (port != before).then_some(port)
        })
    }
}

/// A text.
fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("no text: {other:?}"),
    }
}

/// The texts of an array.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        other => panic!("no array: {other:?}"),
    }
}
