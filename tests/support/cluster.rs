//! A real cluster of Redis: three masters with a replica each, and all that may become of them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::redis::{RedisClient, RedisServer, Value};
use super::tls::{Authority, Files};
use super::{eventually, eventually_ok, free_port};

/// How long a node of the cluster is silent before the others take it for failed.
const NODE_TIMEOUT_MS: &str = "1500";

/// How the nodes of one are reached by TLS.
pub struct Secure {
    pub authority: Authority,
    files: Files,
}

/// A node.
pub struct Node {
    pub redis: RedisServer,
    pub port: u16,
    /// It is killed or frozen.
    is_away: AtomicBool,
}

impl Node {
    fn start(secure: Option<&Secure>, more: &[&str]) -> Node {
        let (redis, port) = RedisServer::start_on_ports(|port| {
            let (port, bus) = (port.to_string(), free_port().to_string());
            let mut args = vec!["--bind", "127.0.0.1", "--cluster-enabled", "yes"];
            args.extend(["--cluster-port", &bus, "--cluster-node-timeout", NODE_TIMEOUT_MS]);
            args.extend(["--repl-diskless-sync-delay", "0"]);
            // All that remain at one time are too few to choose a master when they are too careful.
            args.extend(["--cluster-replica-validity-factor", "0"]);
            let root = secure.map(|secure| secure.authority.root()).unwrap_or_default();
            match secure {
                None => args.extend(["--port", &port]),
                Some(Secure { files, .. }) => {
                    args.extend(["--tls-port", &port]);
                    args.extend(["--tls-replication", "yes", "--tls-cluster", "yes"]);
                    args.extend(["--tls-cert-file", &files.cert, "--tls-key-file", &files.key]);
                    args.extend(["--tls-ca-cert-file", &root]);
                }
            }
            args.iter().chain(more).map(|arg| arg.to_string()).collect()
        });
        Node { redis, port, is_away: AtomicBool::new(false) }
    }

    pub fn connect(&self) -> RedisClient {
        self.redis.connect()
    }

    pub fn is_here(&self) -> bool {
        !self.is_away.load(Ordering::SeqCst)
    }

    /// Its name in the cluster.
    fn id(&self) -> String {
        text(&self.connect().command(&["CLUSTER", "MYID"]))
    }

    /// Ends it without a word.
    pub fn kill(&self) {
        self.is_away.store(true, Ordering::SeqCst);
        self.redis.process().signal("KILL");
    }

    /// Stops it, and all that is connected to it hangs.
    pub fn freeze(&self) {
        self.is_away.store(true, Ordering::SeqCst);
        self.redis.process().signal("STOP");
    }

    /// It goes on with what it knew.
    pub fn thaw(&self) {
        self.redis.process().signal("CONT");
        self.is_away.store(false, Ordering::SeqCst);
    }

    /// Starts it again with what it knew of the cluster, and without any data.
    pub fn revive(&mut self) {
        self.redis.kill();
        self.redis.revive(|_| {});
        self.is_away.store(false, Ordering::SeqCst);
    }

    /// The ranges of slots with the ports of those that have them, the master's first, sorted.
    fn ranges(&self) -> Vec<(u16, u16, Vec<u16>)> {
        let Value::Array(ranges) = self.connect().command(&["CLUSTER", "SLOTS"]) else {
            panic!("no ranges")
        };
        let range = |range: &Value| {
            let parts = list(range);
            let ports = parts[2..].iter().map(|node| number(&list(node)[1]));
            (number(&parts[0]), number(&parts[1]), ports.collect())
        };
        let mut ranges: Vec<_> = ranges.iter().map(range).collect();
        ranges.sort();
        ranges
    }

    fn view(&self) -> View {
        let mut client = self.connect();
        let cluster = text(&client.command(&["CLUSTER", "INFO"]));
        let info = text(&client.command(&["INFO", "replication"]));
        let is_content =
            cluster.contains("cluster_state:ok") && !info.contains("master_link_status:down");
        let nodes = text(&client.command(&["CLUSTER", "NODES"]));
        View { port: self.port, is_content, ranges: self.ranges(), nodes }
    }
}

/// What a node knows of the cluster.
struct View {
    port: u16,
    /// It takes the cluster for whole and has all that its master had.
    is_content: bool,
    ranges: Vec<(u16, u16, Vec<u16>)>,
    /// In the words of Redis.
    nodes: String,
}

impl View {
    /// The ranges with their masters.
    fn masters(&self) -> Vec<(u16, u16, u16)> {
        self.ranges.iter().map(|(from, to, at)| (*from, *to, at[0])).collect()
    }

    /// The epochs of the masters by their names. Who takes a slot takes a higher epoch than all
    /// that it knows of; where it does not know the owner's yet, the slot goes back to that one.
    fn epochs(&self) -> BTreeMap<&str, &str> {
        let words = self.nodes.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let masters = words.filter(|words| matches!(words[2], "master" | "myself,master"));
        masters.map(|words| (words[0], words[6])).collect()
    }
}

impl Display for View {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}, content: {}", self.port, self.is_content)?;
        writeln!(out, "{:?}\n{}", self.masters(), self.nodes)
    }
}

/// Six of them, or more.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub secure: Option<Secure>,
    more: Vec<String>,
}

impl Cluster {
    /// When it is whole.
    pub fn start() -> Cluster {
        Cluster::start_with(&[])
    }

    /// The same with more arguments for each node.
    pub fn start_with(more: &[&str]) -> Cluster {
        Cluster::make(None, more)
    }

    /// The same with nodes that are reached by TLS alone.
    pub fn start_secure() -> Cluster {
        Cluster::start_secure_as("IP:127.0.0.1", "no")
    }

    /// The same with a certificate for these names; `yes` where clients are to show one as well.
    pub fn start_secure_as(names: &str, asks_clients: &str) -> Cluster {
        let authority = Authority::new();
        let files = authority.issue("redis", names);
        let more = ["--tls-auth-clients", asks_clients];
        Cluster::make(Some(Secure { authority, files }), &more)
    }

    fn make(secure: Option<Secure>, more: &[&str]) -> Cluster {
        let nodes: Vec<Node> = (0..6).map(|_| Node::start(secure.as_ref(), more)).collect();
        let more = more.iter().map(|arg| arg.to_string()).collect();
        let cluster = Cluster { nodes, secure, more };
        let places = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let places: Vec<String> = places.collect();
        let mut words: Vec<&str> = places.iter().map(String::as_str).collect();
        words.insert(0, "create");
        words.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        cluster.manage(&words);
        cluster.settle();
        cluster
    }

    /// What `redis-cli --cluster` does.
    fn manage(&self, words: &[&str]) {
        let mut command = Command::new("redis-cli");
        if let Some(secure) = &self.secure {
            command.args(["--tls", "--cacert", &secure.authority.root()]);
            command.args(["--cert", &secure.files.cert, "--key", &secure.files.key]);
        }
        let output = command.arg("--cluster").args(words).stdin(Stdio::null()).output();
        let output = output.expect("redis-cli");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{words:?}: {said}");
    }

    /// What `--redis` is to be.
    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let scheme = if self.secure.is_some() { "rediss" } else { "redis" };
        format!("{scheme}+cluster://{}", hosts.join(","))
    }

    /// The nodes that are neither killed nor frozen.
    pub fn here(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_here())
    }

    /// The one that listens there.
    pub fn at(&self, port: u16) -> &Node {
        self.nodes.iter().find(|node| node.port == port).expect("one of the cluster")
    }

    pub fn at_mut(&mut self, port: u16) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.port == port).expect("one of the cluster")
    }

    /// Waits until all who are here agree on the slots and epochs, and every replica has its data.
    pub fn settle(&self) {
        self.settle_if(|_| true);
    }

    /// The same when the ranges are also such.
    pub fn settle_if(&self, so: impl Fn(&[(u16, u16, Vec<u16>)]) -> bool) {
        eventually_ok(|| {
            let views: Vec<View> = self.here().map(Node::view).collect();
            let (masters, epochs) = (views[0].masters(), views[0].epochs());
            let agrees = |view: &View| view.masters() == masters && view.epochs() == epochs;
            let is_whole = views.iter().all(|view| view.is_content && agrees(view));
            let are_here = masters.iter().all(|(_, _, port)| self.at(*port).is_here());
            let slots: u32 = masters.iter().map(|(from, to, _)| u32::from(to - from) + 1).sum();
            match is_whole && are_here && slots == 16384 && so(&views[0].ranges) {
                true => Ok(()),
                false => {
                    let views: String = views.iter().map(View::to_string).collect();
                    Err(format!("the cluster is whole\n{views}"))
                }
            }
        });
    }

    /// The masters, those with the lowest slots first.
    pub fn masters(&self) -> Vec<u16> {
        let mut masters: Vec<u16> = Vec::new();
        for (_, _, ports) in self.here().next().expect("a node").ranges() {
            if !masters.contains(&ports[0]) {
                masters.push(ports[0]);
            }
        }
        masters
    }

    /// The replica of that master.
    pub fn replica_of(&self, master: u16) -> u16 {
        eventually("all know the replica", || {
            let ranges = self.here().next().expect("a node").ranges();
            let range = ranges.into_iter().find(|(_, _, ports)| ports[0] == master);
            range.expect("a master").2.get(1).copied()
        })
    }

    /// The slot of that key, as Redis says.
    pub fn slot_of(&self, key: &str) -> u16 {
        let node = self.here().next().expect("a node");
        number(&node.connect().command(&["CLUSTER", "KEYSLOT", key]))
    }

    /// Who has that slot, as the first who is here says.
    pub fn owner_of(&self, slot: u16) -> u16 {
        self.owner_if_any(slot).expect("a slot that somebody has")
    }

    /// The same; for a moment nobody may have it.
    fn owner_if_any(&self, slot: u16) -> Option<u16> {
        let ranges = self.here().next().expect("a node").ranges();
        let range = ranges.iter().find(|(from, to, _)| (*from..=*to).contains(&slot));
        range.map(|(_, _, ports)| ports[0])
    }

    /// The master that has that key.
    pub fn home_of(&self, key: &str) -> &Node {
        self.at(self.owner_of(self.slot_of(key)))
    }

    /// Makes that replica the master of its shard by order, and waits until all know it. An order
    /// that comes to nothing within the 5 s that Redis gives it is given again.
    pub fn fail_over_to(&self, replica: u16) {
        self.at(replica).connect().ok(&["CLUSTER", "FAILOVER"]);
        let ordered = Cell::new(Instant::now());
        self.settle_if(|ranges| {
            let is_master = ranges.iter().any(|(_, _, ports)| ports[0] == replica);
            if !is_master && ordered.get().elapsed() > Duration::from_secs(6) {
                self.at(replica).connect().command(&["CLUSTER", "FAILOVER"]);
                ordered.set(Instant::now());
            }
            is_master
        });
    }

    /// Waits until another has the slots of that master, and returns its port.
    pub fn replaced(&self, master: u16, slot: u16) -> u16 {
        eventually("the replica is promoted", || {
            self.owner_if_any(slot).filter(|port| *port != master)
        })
    }

    /// Moves so many slots with their keys from the one to the other.
    pub fn reshard(&self, from: u16, to: u16, count: usize) {
        let place = format!("127.0.0.1:{from}");
        let (source, target) = (self.at(from).id(), self.at(to).id());
        let count = count.to_string();
        let who = ["--cluster-from", &source, "--cluster-to", &target, "--cluster-slots", &count];
        let words = [&["reshard", &place][..], &who, &["--cluster-yes"]].concat();
        self.manage(&words);
        self.settle();
    }

    /// Moves that slot with its keys, and tells everybody.
    pub fn move_slot(&self, slot: u16, to: u16) {
        let from = self.owner_of(slot);
        let (source, target) = (self.at(from).id(), self.at(to).id());
        let (mut source_at, mut target_at) = (self.at(from).connect(), self.at(to).connect());
        let slot = slot.to_string();
        target_at.ok(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
        source_at.ok(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
        let port = to.to_string();
        loop {
            let keys = source_at.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            let keys = list(&keys);
            if keys.is_empty() {
                break;
            }
            for key in keys {
                source_at.ok(&["MIGRATE", "127.0.0.1", &port, &text(key), "0", "5000"]);
            }
        }
        target_at.ok(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
        for node in self.here().filter(|node| node.port != to) {
            // Who is told twice ends what is heard of the slot. A replica is told by its master.
            node.connect().command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
        }
        self.settle();
    }

    /// A master more, which has no slots. Its port.
    pub fn grow(&mut self) -> u16 {
        let more: Vec<&str> = self.more.iter().map(String::as_str).collect();
        let node = Node::start(self.secure.as_ref(), &more);
        let (port, first) = (node.port, self.here().next().expect("a node").port);
        let (new, known) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{first}"));
        self.nodes.push(node);
        self.manage(&["add-node", &new, &known]);
        self.settle();
        port
    }
}

/// A text.
fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("no text: {other:?}"),
    }
}

fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        other => panic!("no array: {other:?}"),
    }
}

fn number(value: &Value) -> u16 {
    match value {
        Value::Integer(number) => u16::try_from(*number).expect("a slot or a port"),
        other => panic!("no number: {other:?}"),
    }
}
