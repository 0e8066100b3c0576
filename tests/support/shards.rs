//! A real Redis Cluster of six: three masters with a replica each. Its slots are moved in steps,
//! for publishers that are redirected in between.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::redis::{RedisServer, Value};
use super::{eventually, free_port};

/// After so long a silence a node is held for dead, in milliseconds.
const NODE_TIMEOUT_MS: &str = "1500";
/// How long joining may take, and becoming whole again.
const JOINING: Duration = Duration::from_secs(60);

/// A cluster.
pub struct RedisCluster {
    /// Its nodes, and where they listen.
    pub nodes: Vec<(RedisServer, u16)>,
    more: Vec<String>,
}

impl RedisCluster {
    /// When all nodes know each other.
    pub fn start() -> RedisCluster {
        RedisCluster::start_with(&[])
    }

    /// The same with more arguments for each node.
    pub fn start_with(more: &[&str]) -> RedisCluster {
        let more: Vec<String> = more.iter().map(|arg| arg.to_string()).collect();
        let mut cluster = RedisCluster { nodes: Vec::new(), more };
        (0..6).for_each(|_| cluster.start_node());
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(cluster.nodes.iter().map(|(_, port)| format!("127.0.0.1:{port}")));
        create.args(["--cluster-replicas", "1", "--cluster-yes"]).stdin(Stdio::null());
        let output = create.output().expect("redis-cli");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        cluster.until_whole();
        cluster
    }

    /// One more node that knows nobody yet.
    fn start_node(&mut self) {
        let bus = free_port().to_string();
        let own = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus,
            "--cluster-node-timeout",
            NODE_TIMEOUT_MS,
            "--repl-diskless-sync-delay",
            "0",
        ];
        let more = self.more.iter().map(String::as_str);
        let args: Vec<&str> = own.into_iter().chain(more).collect();
        self.nodes.push(RedisServer::start_on_tcp_with(&args));
    }

    /// An empty shard more: a master without slots. Its place among the nodes.
    pub fn add_shard(&mut self) -> usize {
        self.start_node();
        let added = self.nodes.len() - 1;
        let port = self.nodes[added].1.to_string();
        self.alive().first().expect("somebody").0.connect().ok(&[
            "CLUSTER",
            "MEET",
            "127.0.0.1",
            &port,
            &self.bus(added),
        ]);
        eventually("all know it", || {
            self.alive().iter().all(|(node, _)| nodes(node).contains(&port)).then_some(())
        });
        added
    }

    /// What `--redis` is to be.
    pub fn url(&self) -> String {
        let hosts = self.nodes.iter().map(|(_, port)| format!("127.0.0.1:{port}"));
        format!("redis+cluster://{}", hosts.collect::<Vec<_>>().join(","))
    }

    /// Those that were not killed.
    fn alive(&self) -> Vec<&(RedisServer, u16)> {
        let is_alive = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
        self.nodes.iter().filter(|(_, port)| is_alive(*port)).collect()
    }

    /// Waits until all agree who has which slots, all are served, and replicas are whole. None may
    /// be frozen.
    pub fn until_whole(&self) {
        let deadline = Instant::now() + JOINING;
        while !self.is_whole() {
            assert!(Instant::now() < deadline, "{}", nodes(&self.alive()[0].0));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_whole(&self) -> bool {
        let mut views = Vec::new();
        for (node, _) in self.alive() {
            let mut client = node.connect();
            let info = text(&client.command(&["CLUSTER", "INFO"]));
            let replication = text(&client.command(&["INFO", "replication"]));
            if !info.contains("cluster_state:ok") || replication.contains("link_status:down") {
                return false;
            }
            views.push(owners(node));
        }
        views.iter().all(|view| *view == views[0])
    }

    /// The place of the master that has the slot of a channel, as the node at a place sees it.
    pub fn owner_seen_by(&self, seen_by: usize, channel: &str) -> usize {
        self.owner_if_any(seen_by, channel).expect("somebody has it")
    }

    /// The same; for a moment nobody may have it.
    fn owner_if_any(&self, seen_by: usize, channel: &str) -> Option<usize> {
        let slot = self.slot(seen_by, channel);
        let owners = owners(&self.nodes[seen_by].0);
        let mut ranges = owners.iter().filter(|(first, last, _)| (*first..=*last).contains(&slot));
        ranges.next().map(|(_, _, port)| self.at(*port))
    }

    /// The same as the first node that is alive sees it.
    pub fn owner(&self, channel: &str) -> usize {
        self.owner_seen_by(self.at(self.alive()[0].1), channel)
    }

    /// The number of a channel's slot, by the words of a node.
    pub fn slot(&self, asked: usize, channel: &str) -> u16 {
        match self.nodes[asked].0.connect().command(&["CLUSTER", "KEYSLOT", channel]) {
            Value::Integer(slot) => slot as u16,
            other => panic!("no slot: {other:?}"),
        }
    }

    /// The place of the node that listens there.
    pub fn at(&self, port: u16) -> usize {
        self.nodes.iter().position(|(_, of)| *of == port).expect("one of them")
    }

    /// The place of a replica of the master at a place.
    pub fn replica_of(&self, master: usize) -> usize {
        let id = self.id(master);
        // A node hears who else is what from one after the other.
        let line = eventually("a replica", || {
            let known = nodes(&self.nodes[master].0);
            let is_replica = |line: &&str| line.contains("slave") && line.contains(&id);
            known.lines().find(is_replica).map(str::to_owned)
        });
        let address = line.split([' ', '@']).nth(1).expect("an address");
        self.at(address.rsplit(':').next().expect("a port").parse().expect("a port"))
    }

    /// A node's name in the cluster.
    fn id(&self, place: usize) -> String {
        text(&self.nodes[place].0.connect().command(&["CLUSTER", "MYID"]))
    }

    fn bus(&self, place: usize) -> String {
        let known = nodes(&self.nodes[place].0);
        let own = known.lines().find(|line| line.contains("myself")).expect("itself");
        own.split(['@', ',', ' ']).nth(2).expect("a port of the bus").to_owned()
    }

    /// Its replica takes the place of a master by order; the place of the replica. An order comes
    /// to nothing where a node is busy, and is given again.
    pub fn fail_over(&self, master: usize) -> usize {
        let replica = self.replica_of(master);
        let mut client = self.nodes[replica].0.connect();
        for _ in 0..5 {
            client.command(&["CLUSTER", "FAILOVER"]);
            for _ in 0..60 {
                if text(&client.command(&["INFO", "replication"])).contains("role:master") {
                    return replica;
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        panic!("no order is followed");
    }

    /// Waits until a node holds another than this for the channel's master; its place.
    pub fn next_after(&self, master: usize, channel: &str) -> usize {
        let of = |place: usize| self.nodes[place].1;
        let alive = self.alive();
        let seen_by = alive.iter().find(|(_, port)| *port != of(master)).expect("another");
        let seen_by = self.at(seen_by.1);
        eventually("the cluster decides", || {
            self.owner_if_any(seen_by, channel).filter(|owner| *owner != master)
        })
    }

    /// The slot of a channel begins to move.
    pub fn begin_move(&self, channel: &str, from: usize, to: usize) {
        let slot = self.slot(from, channel).to_string();
        let set = |place: usize, state: &str, other: usize| {
            let id = self.id(other);
            self.nodes[place].0.connect().ok(&["CLUSTER", "SETSLOT", &slot, state, &id]);
        };
        set(to, "IMPORTING", from);
        set(from, "MIGRATING", to);
    }

    /// What is stored at these names moves.
    pub fn move_keys(&self, from: usize, to: usize, names: &[&str]) {
        let port = self.nodes[to].1.to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(names);
        self.nodes[from].0.connect().command(&migrate);
    }

    /// It has moved, with all that is in it.
    pub fn end_move(&self, channel: &str, from: usize, to: usize) {
        let slot = self.slot(from, channel).to_string();
        loop {
            let in_slot = ["CLUSTER", "GETKEYSINSLOT", &slot, "100"];
            let names = words(&self.nodes[from].0.connect().command(&in_slot));
            if names.is_empty() {
                break;
            }
            self.move_keys(from, to, &names.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let id = self.id(to);
        for place in [to, from] {
            self.nodes[place].0.connect().ok(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }

    /// So many slots move, with what is in them; it takes a while.
    pub fn reshard(&self, from: usize, to: usize, slots: usize) {
        let mut reshard = Command::new("redis-cli");
        let first = format!("127.0.0.1:{}", self.nodes[from].1);
        reshard.args(["--cluster", "reshard", &first, "--cluster-yes"]);
        reshard.args(["--cluster-from", &self.id(from), "--cluster-to", &self.id(to)]);
        reshard.args(["--cluster-slots", &slots.to_string()]).stdin(Stdio::null());
        let output = reshard.output().expect("redis-cli");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Who has which slots, as one node sees it: first, last, and the port of the master.
fn owners(node: &RedisServer) -> Vec<(u16, u16, u16)> {
    let Value::Array(ranges) = node.connect().command(&["CLUSTER", "SLOTS"]) else {
        panic!("no slots");
    };
    let number = |value: &Value| match value {
        Value::Integer(number) => *number as u16,
        other => panic!("no number: {other:?}"),
    };
    let range = |range: &Value| {
        let Value::Array(parts) = range else { panic!("{range:?}") };
        let Value::Array(master) = &parts[2] else { panic!("{range:?}") };
        (number(&parts[0]), number(&parts[1]), number(&master[1]))
    };
    let mut owners: Vec<_> = ranges.iter().map(range).collect();
    owners.sort_unstable();
    owners
}

/// What a node knows of all nodes.
fn nodes(node: &RedisServer) -> String {
    text(&node.connect().command(&["CLUSTER", "NODES"]))
}

fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("no text: {other:?}"),
    }
}

fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        other => panic!("no array: {other:?}"),
    }
}
