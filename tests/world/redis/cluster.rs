//! What makes a Redis a node of a cluster: who has which slots, as far as it knows, and what it
//! says to those who ask for what it has not.

use std::collections::{BTreeMap, BTreeSet};

use redis_protocol::redis_keyslot;

use super::client::bulk;
use super::{Arrival, FakeRedis};

/// What a node knows of the cluster.
#[derive(Clone, Debug)]
pub struct Share {
    /// Its number, which its name and its port come of.
    pub node: u16,
    pub epoch: u64,
    /// It can serve.
    pub serves: bool,
    pub shards: Vec<Shard>,
    /// Slots that are on their way to the node of that number.
    pub leaving: BTreeMap<u16, u16>,
    /// Slots that are on their way here.
    pub coming: BTreeSet<u16>,
    /// How many greetings it was given.
    pub hellos: usize,
    /// The next command is about such a slot.
    asking: bool,
    /// It is older than CLUSTER SHARDS, and says who has which slots range by range.
    pub by_ranges: bool,
    /// What it says of that instead.
    pub nonsense: Option<&'static str>,
}

/// A master with its replicas, the master first.
#[derive(Clone, Debug)]
pub struct Shard {
    pub slots: Vec<(u16, u16)>,
    pub nodes: Vec<u16>,
    /// The master is known to have failed.
    pub failed: bool,
}

/// The slot of a name.
pub fn slot(name: &str) -> u16 {
    redis_keyslot(name.as_bytes())
}

impl Shard {
    pub fn of(slots: (u16, u16), nodes: &[u16]) -> Shard {
        Shard { slots: vec![slots], nodes: nodes.to_vec(), failed: false }
    }
}

/// The shards of a cluster at first: half of the nodes are masters, the other half their replicas.
pub fn shards(nodes: u16) -> Vec<Shard> {
    let masters = nodes / 2;
    let end = |of: u16| u32::from(of) * 16_384 / u32::from(masters);
    let slots = |of| (end(of) as u16, (end(of + 1) - 1) as u16);
    (0..masters).map(|of| Shard::of(slots(of), &[of, masters + of])).collect()
}

impl Share {
    /// That of a node in a cluster of these shards.
    pub fn of(node: u16, epoch: u64, shards: &[Shard]) -> Share {
        let (leaving, coming) = (BTreeMap::new(), BTreeSet::new());
        let shards = shards.to_vec();
        let (serves, asking, by_ranges, nonsense) = (true, false, false, None);
        let hellos = 0;
        Share { node, epoch, serves, shards, leaving, coming, asking, by_ranges, nonsense, hellos }
    }

    fn owner_of(&self, slot: u16) -> Option<u16> {
        let has = |shard: &&Shard| shard.slots.iter().any(|(a, b)| (*a..=*b).contains(&slot));
        self.shards.iter().find(has).map(|shard| shard.nodes[0])
    }

    fn answer(&self, about: &[u8]) -> Vec<u8> {
        let epoch = self.epoch;
        match about {
            b"MYID" => bulk(id(self.node).as_bytes()),
            b"INFO" => {
                let state = if self.serves { "ok" } else { "fail" };
                let text = format!("cluster_state:{state}\r\ncluster_current_epoch:{epoch}\r\n");
                bulk(text.as_bytes())
            }
            _ if self.nonsense.is_some() => self.nonsense.unwrap_or_default().into(),
            b"SHARDS" if self.by_ranges => b"-ERR unknown subcommand 'SHARDS'\r\n".to_vec(),
            b"SLOTS" => self.ranges(),
            _ => self.shards(),
        }
    }

    fn ranges(&self) -> Vec<u8> {
        let ranges = self.shards.iter().map(|shard| shard.slots.len()).sum::<usize>();
        let mut out = format!("*{ranges}\r\n").into_bytes();
        for shard in &self.shards {
            let node = |node: &u16| {
                let (id, port) = (bulk(id(*node).as_bytes()), port(*node));
                let head = format!("*4\r\n$9\r\nlocalhost\r\n:{port}\r\n").into_bytes();
                [head, id, b"%1\r\n$2\r\nip\r\n$9\r\nlocalhost\r\n".to_vec()].concat()
            };
            let nodes = shard.nodes.iter().flat_map(node).collect::<Vec<u8>>();
            for (first, last) in &shard.slots {
                let count = 2 + shard.nodes.len();
                out.extend(format!("*{count}\r\n:{first}\r\n:{last}\r\n").into_bytes());
                out.extend(&nodes);
            }
        }
        out
    }

    fn shards(&self) -> Vec<u8> {
        let mut out = format!("*{}\r\n", self.shards.len()).into_bytes();
        for shard in &self.shards {
            out.extend(b"%2\r\n$5\r\nslots\r\n");
            out.extend(format!("*{}\r\n", shard.slots.len() * 2).into_bytes());
            for (first, last) in &shard.slots {
                out.extend(format!(":{first}\r\n:{last}\r\n").into_bytes());
            }
            out.extend(format!("$5\r\nnodes\r\n*{}\r\n", shard.nodes.len()).into_bytes());
            for (at, node) in shard.nodes.iter().enumerate() {
                out.extend(b"%7\r\n");
                let role = if at == 0 { "master" } else { "replica" };
                let health = if at == 0 && shard.failed { "fail" } else { "online" };
                let pairs = [("id", &*id(*node)), ("endpoint", "localhost"), ("ip", "localhost")];
                for (key, value) in pairs.into_iter().chain([("role", role), ("health", health)]) {
                    out.extend(bulk(key.as_bytes()));
                    out.extend(bulk(value.as_bytes()));
                }
                out.extend(b"$18\r\nreplication-offset\r\n:70\r\n");
                out.extend(format!("$4\r\nport\r\n:{}\r\n", port(*node)).into_bytes());
            }
        }
        out
    }
}

fn id(node: u16) -> String {
    format!("{node:040}")
}

fn port(node: u16) -> u16 {
    6379 + node
}

impl FakeRedis {
    /// The node of that number of a cluster of so many.
    pub fn of_cluster(number: u16, nodes: u16) -> Self {
        FakeRedis::with(|redis| {
            redis.mode = "cluster";
            redis.cluster = Some(Share::of(number, 1, &shards(nodes)));
        })
    }

    /// Why a node of a cluster does not do that here.
    pub(super) fn redirection(&mut self, name: &str, command: &[Vec<u8>]) -> Option<String> {
        let share = self.cluster.as_mut()?;
        let asking = std::mem::take(&mut share.asking);
        let key = match name {
            "GET" | "GETRANGE" | "SET" | "SSUBSCRIBE" | "SUNSUBSCRIBE" | "SPUBLISH" => &command[1],
            "EVAL" => &command[3],
            _ => return None,
        };
        let slots: Vec<u16> = match name {
            "SSUBSCRIBE" => command[1..].iter().map(|key| redis_keyslot(key)).collect(),
            _ => vec![redis_keyslot(key)],
        };
        let slot = slots[0];
        if slots.iter().any(|other| *other != slot) {
            return Some("CROSSSLOT Keys in request don't hash to the same slot".to_owned());
        }
        if asking && share.coming.contains(&slot) {
            return None;
        }
        let to = |word: &str, node| format!("{word} {slot} localhost:{}", port(node));
        match share.owner_of(slot) {
            None => Some("CLUSTERDOWN Hash slot not served".to_owned()),
            Some(owner) if owner != share.node => Some(to("MOVED", owner)),
            Some(_) => share.leaving.get(&slot).map(|node| to("ASK", *node)),
        }
    }

    /// What a node of a cluster answers.
    pub(super) fn answer_of_node(
        &mut self,
        name: &str,
        command: &[Vec<u8>],
    ) -> Option<Vec<(Vec<u8>, Option<Arrival>)>> {
        let share = self.cluster.as_mut()?;
        let client = self.client.as_mut()?;
        Some(match name {
            "ASKING" => {
                share.asking = true;
                vec![(b"+OK\r\n".to_vec(), None)]
            }
            "HELLO" => {
                share.hellos += 1;
                return None;
            }
            "CLUSTER" => vec![(share.answer(&command[1]), None)],
            "SSUBSCRIBE" | "SUNSUBSCRIBE" => {
                let channels = command[1..].iter();
                channels.map(|channel| client.confirm_sharded(name, channel)).collect()
            }
            "SPUBLISH" => {
                self.published.push((command[1].clone(), command[2].clone()));
                let number = client.publishes;
                client.publishes += 1;
                client.deliver_sharded(&command[1], &command[2], Some(number));
                vec![(b":1\r\n".to_vec(), None)]
            }
            _ => return None,
        })
    }

    /// Somebody else publishes to those who hear the shard.
    pub fn spublish(&mut self, channel: &str, payload: &str) {
        if let Some(client) = &mut self.client {
            client.deliver_sharded(channel.as_bytes(), payload.as_bytes(), None);
        }
    }

    /// Another node has this message, which this one takes, too.
    pub fn hear(&mut self, channel: &[u8], payload: &[u8]) {
        if let Some(client) = &mut self.client {
            client.deliver(channel, payload, None);
        }
    }

    /// What its client hears of the shard.
    pub fn shard_subscribed(&self) -> Vec<String> {
        let channels = self.client.iter().flat_map(|client| &client.sharded);
        channels.map(|channel| String::from_utf8_lossy(channel).into_owned()).collect()
    }

    /// It learns how the cluster is now, and has its client hear no more of what it has no more.
    pub fn learn(&mut self, epoch: u64, shards: &[Shard]) {
        let Some(share) = &mut self.cluster else { panic!("it is no node of a cluster") };
        (share.epoch, share.shards) = (epoch, shards.to_vec());
        let share = share.clone();
        let Some(client) = &mut self.client else { return };
        for channel in client.sharded.clone() {
            if share.owner_of(redis_keyslot(&channel)) != Some(share.node) {
                let (push, _) = client.confirm_sharded("SUNSUBSCRIBE", &channel);
                client.say(&push, None);
            }
        }
    }
}
