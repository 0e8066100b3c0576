//! What a message costs the busiest of two nodes, beside what it costs where one has all channels,
//! when many wsloop hear it: deliveries are to grow with the nodes. The subscribers are clients of
//! Redis, and subscribe as wsloop does: at the node that has the slot.
//!
//! It is processor time that is compared, since two nodes may share a core here.

use std::fs;

use super::facility_at;
use crate::support::cluster::{Cluster, Node};
use crate::support::redis::{RedisClient, Value};

const SUBSCRIBERS: usize = 100;
/// At each of the nodes that have some.
const CHANNELS: usize = 4;
/// Both are measured in short turns, so that whatever else goes on here is the same for both. What
/// else goes on only adds to what they take: the tenth that took least counts.
const ROUNDS: usize = 10;
const TOGETHER: usize = 16;
const TURNS: usize = 40;
/// A machine that has much else to do takes something from the node that counts, which is the
/// busier of two: what one series of these shows is so.
const SERIES: usize = 3;
const TEXT: [u8; 100] = [b'x'; 100];

/// The two forms of a channel.
struct Form {
    subscribe: &'static str,
    publish: &'static str,
}

/// Subscribers of channels of one node, and who publishes there.
struct Crowd<'a> {
    node: &'a Node,
    channels: Vec<String>,
    subscribers: Vec<RedisClient>,
    app: RedisClient,
    form: &'a Form,
}

impl<'a> Crowd<'a> {
    fn new(cluster: &'a Cluster, port: u16, form: &'a Form) -> Crowd<'a> {
        let node = cluster.at(port);
        let name = |at| format!("broadcast:{}", facility_at(cluster, port, &format!("{at}x")));
        let channels: Vec<String> = (0..CHANNELS).map(name).collect();
        let subscriber = || {
            let mut client = node.connect();
            for channel in &channels {
                client.command(&[form.subscribe, channel]);
            }
            client
        };
        let subscribers = (0..SUBSCRIBERS).map(|_| subscriber()).collect();
        Crowd { node, channels, subscribers, app: node.connect(), form }
    }

    /// Messages that are under way together, as they are where Redis is the limit; all have them
    /// when this returns.
    fn hear(&mut self) {
        let publish = |at: usize| {
            let channel = self.channels[at % CHANNELS].as_bytes();
            vec![self.form.publish.as_bytes(), channel, &TEXT[..]]
        };
        let commands: Vec<_> = (0..TOGETHER).map(publish).collect();
        for told in self.app.pipeline(&commands) {
            assert_eq!(told, Value::Integer(SUBSCRIBERS as i64));
        }
        for client in &mut self.subscribers {
            for _ in 0..TOGETHER {
                assert!(matches!(client.value(), Value::Array(parts) if parts.len() == 3));
            }
        }
    }

    /// The processor time of its node, in nanoseconds.
    fn cpu_ns(&self) -> u64 {
        let id = self.node.redis.process().id();
        let text = fs::read_to_string(format!("/proc/{id}/task/{id}/schedstat")).expect("Linux");
        text.split(' ').next().and_then(|time| time.parse().ok()).expect("a time")
    }
}

/// Adds the microseconds that each node spends, of each message when all crowds have their part.
fn measure(crowds: &mut [&mut Crowd], spent_us: &mut [Vec<f64>]) {
    let before: Vec<u64> = crowds.iter().map(|crowd| crowd.cpu_ns()).collect();
    // Each in one piece: on a machine of its own no node finds its caches taken by another.
    for round in 0..ROUNDS {
        crowds[round * crowds.len() / ROUNDS].hear();
    }
    for ((crowd, before), all) in crowds.iter().zip(before).zip(spent_us) {
        all.push((crowd.cpu_ns() - before) as f64 / 1_000.0 / (ROUNDS * TOGETHER) as f64);
    }
}

/// How much more two nodes deliver than one with the same processor time.
fn gain(cluster: &Cluster, form: &Form) -> f64 {
    let masters = cluster.masters();
    let [mut one, mut other] = [0, 1].map(|at| Crowd::new(cluster, masters[at], form));
    let (mut alone, mut shared) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..TURNS {
        measure(&mut [&mut one], &mut alone[..1]);
        measure(&mut [&mut other], &mut alone[1..]);
        measure(&mut [&mut one, &mut other], &mut shared);
    }
    let least = |all: &mut Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[TURNS / 10]
    };
    let (alone, shared) = (alone.each_mut().map(least), shared.each_mut().map(least));
    let gain = (alone[0] + alone[1]) / 2.0 / shared[0].max(shared[1]);
    let word = form.publish;
    println!("{word}: {alone:.1?} us a message, of two nodes {shared:.1?} us: {gain:.2} times");
    gain
}

#[test]
#[ignore = "needs redis-server"]
fn two_nodes_deliver_nearly_twice_what_one_does() {
    let cluster = Cluster::start();
    let sharded = Form { subscribe: "SSUBSCRIBE", publish: "SPUBLISH" };
    let plain = Form { subscribe: "SUBSCRIBE", publish: "PUBLISH" };
    // Without shards each node is told of each message, which takes some of what two save.
    for (form, least) in [(sharded, 1.7), (plain, 1.5)] {
        let reached = (0..SERIES).any(|_| gain(&cluster, &form) >= least);
        assert!(reached, "{}: less than {least} times in {SERIES} series", form.publish);
    }
}
