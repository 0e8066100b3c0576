//! Two hundred browsers that publish 500 messages a second while slots move, some of them to a node
//! that had none before.
//!
//! Each says numbers on a channel of its own and hears them. They come once, in order and all of
//! them; the last is what is stored then, and all of them are in the history of a channel that has
//! one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::server;
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::redis::Value;

const CHANNELS: usize = 200;
/// Every so manieth channel has a history.
const RECORD_EVERY: usize = 4;
/// Numbers that each says before slots move, and after.
const ROUNDS: u64 = 3;
const PAUSE: Duration = Duration::from_millis(2);
/// Slots that move to another master, and to the new one.
const MOVED: usize = 1_500;

fn facility(at: usize) -> String {
    let kind = if at.is_multiple_of(RECORD_EVERY) { "chat" } else { "room" };
    format!("{kind}/{at}")
}

/// How far the numbers are.
#[derive(Default)]
struct Course {
    round: AtomicU64,
    is_over: AtomicBool,
}

impl Course {
    fn goes_on(&self) {
        let last = self.round.load(Ordering::SeqCst) + ROUNDS;
        eventually("numbers are said", || {
            (self.round.load(Ordering::SeqCst) >= last).then_some(())
        });
    }

    /// Has each say one number after the other until that is to end; the last.
    fn speak(&self, conns: &mut [Client]) -> u64 {
        let (began, mut said) = (Instant::now(), 0u32);
        while !self.is_over.load(Ordering::SeqCst) {
            let number = self.round.load(Ordering::SeqCst) + 1;
            for conn in &mut *conns {
                conn.send(&number.to_string());
                said += 1;
                thread::sleep((began + PAUSE * said).saturating_duration_since(Instant::now()));
            }
            self.round.store(number, Ordering::SeqCst);
        }
        self.round.load(Ordering::SeqCst)
    }
}

/// Lets the speakers end, whatever has failed.
struct End<'a>(&'a Course);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

/// The numbers in the history of a channel.
fn recorded(cluster: &Cluster, channel: &str) -> Vec<u64> {
    let stream = format!("wsloop:history:{{{channel}}}");
    let entries = cluster.home_of(channel).connect().command(&["XRANGE", &stream, "-", "+"]);
    let Value::Array(entries) = entries else { panic!("{entries:?}") };
    let number = |entry: &Value| match entry {
        Value::Array(parts) => match &parts[1] {
            Value::Array(fields) => number_in(&fields[1]),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    entries.iter().map(number).collect()
}

fn number_in(value: &Value) -> u64 {
    let Value::Bulk(text) = value else { panic!("{value:?}") };
    String::from_utf8_lossy(text).parse().expect("a number")
}

fn speakers_keep_their_order(sharded: &str) {
    let mut cluster = Cluster::start();
    let new = cluster.grow();
    let args = ["--history", "chat/*=5000/300", "--redis-sharded", sharded];
    let server = server(&cluster, &args);
    let options = "subscribe-broadcast&publish-broadcast&echo";
    let connect = |at: usize| server.connect(&format!("{}?{options}", facility(at)));
    let mut conns: Vec<Client> = (0..CHANNELS).map(connect).collect();
    let course = Course::default();
    let last = thread::scope(|scope| {
        let speaking = scope.spawn(|| course.speak(&mut conns));
        let end = End(&course);
        course.goes_on();
        let masters = cluster.masters();
        cluster.reshard(masters[0], masters[1], MOVED);
        cluster.reshard(masters[1], new, MOVED);
        course.goes_on();
        drop(end);
        speaking.join().expect("who speaks")
    });
    let all: Vec<u64> = (1..=last).collect();
    for (at, conn) in conns.iter_mut().enumerate() {
        let mut heard = Vec::new();
        while heard.last() != Some(&last) {
            heard.push(conn.text().parse().expect("a number"));
        }
        assert_eq!(heard, all, "{}", facility(at));
        let channel = format!("broadcast:{}", facility(at));
        eventually("the last is stored", || {
            let stored = cluster.home_of(&channel).connect().command(&["GET", &channel]);
            (number_in(&stored) == last).then_some(())
        });
        if at.is_multiple_of(RECORD_EVERY) {
            assert_eq!(recorded(&cluster, &channel), all, "{channel}");
        }
    }
    assert_eq!(server.metric("publishes_dropped_total"), 0);
    assert_eq!(server.metric("repeats_dropped_total"), 0);
    println!("{CHANNELS} channels, {last} numbers each");
}

#[test]
#[ignore = "needs redis-server"]
fn what_browsers_publish_by_shards_keeps_its_order_while_slots_move() {
    speakers_keep_their_order("on");
}

#[test]
#[ignore = "needs redis-server"]
fn what_browsers_publish_to_all_nodes_keeps_its_order_while_slots_move() {
    speakers_keep_their_order("off");
}
