//! Two hundred browsers that publish 500 messages a second while slots move, some of them to a node
//! that had none before. Half of the messages are on the channel whose slot moves just then.
//!
//! Each says numbers on a channel of its own and hears them. They come once, in order and all of
//! them; the last is what is stored then, and all of them are in the history of a channel that has
//! one.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::server;
use crate::admin::ask;
use crate::support::client::{Client, Event};
use crate::support::cluster::Cluster;
use crate::support::redis::Value;
use crate::support::{PATIENCE, eventually};

const CHANNELS: usize = 200;
/// Every so manieth channel has a history.
const RECORD_EVERY: usize = 4;
/// Messages that are published before slots move, and after.
const AROUND: u64 = 600;
/// Time for two messages, which go out together.
const PAUSE: Duration = Duration::from_millis(4);
/// Slots that move to another master with all that there is of them.
const MOVED: usize = 1_000;
/// Channels whose slots go to a node that has none, and away again.
const THERE_AND_BACK: usize = 20;

fn facility(at: usize) -> String {
    let kind = if at.is_multiple_of(RECORD_EVERY) { "chat" } else { "room" };
    format!("{kind}/{at}")
}

fn channel(at: usize) -> String {
    format!("broadcast:{}", facility(at))
}

/// How far the numbers are.
#[derive(Default)]
struct Course {
    count: AtomicU64,
    /// Whose slot moves.
    hot: AtomicUsize,
    is_over: AtomicBool,
}

impl Course {
    fn goes_on(&self, more: u64) {
        let last = self.count.load(Ordering::SeqCst) + more;
        eventually("numbers are said", || {
            (self.count.load(Ordering::SeqCst) >= last).then_some(())
        });
    }

    /// Has each say the next number when it is its turn, until that is to end; the last of each.
    fn speak(&self, conns: &mut [Client]) -> Vec<u64> {
        let (began, mut last) = (Instant::now(), vec![0u64; conns.len()]);
        let mut say = |at: usize| {
            last[at] += 1;
            conns[at].send(&last[at].to_string());
        };
        for turn in 0u32.. {
            if self.is_over.load(Ordering::SeqCst) {
                break;
            }
            // Two follow each other on the one channel before two others do on theirs.
            match turn.is_multiple_of(2) {
                true => (0..2).for_each(|_| say(self.hot.load(Ordering::SeqCst))),
                false => (0..2).for_each(|next| say((turn as usize + next) % CHANNELS)),
            }
            self.count.fetch_add(2, Ordering::SeqCst);
            thread::sleep((began + PAUSE * turn).saturating_duration_since(Instant::now()));
        }
        last
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

/// Nothing is missing, twice or out of order.
fn compare(what: &str, got: &[u64], said: &[u64]) {
    let differs = got.iter().zip(said).position(|(got, said)| got != said);
    let at = differs.unwrap_or(got.len().min(said.len()));
    let rest = &got[at..got.len().min(at + 20)];
    assert_eq!(got.len().max(said.len()), at, "{what}: {rest:?} after {at}");
}

/// Slots move, many at once and then one after the other, while somebody publishes in them.
fn slots_move(cluster: &Cluster, new: u16, course: &Course) {
    course.goes_on(AROUND);
    let masters = cluster.masters();
    cluster.reshard(masters[0], masters[1], MOVED);
    for at in 0..THERE_AND_BACK {
        let slot = cluster.slot_of(&channel(at));
        let owner = cluster.owner_of(slot);
        let next = masters.iter().find(|port| **port != owner && **port != new);
        course.hot.store(at, Ordering::SeqCst);
        course.goes_on(10);
        cluster.move_slot(slot, new);
        course.goes_on(10);
        cluster.move_slot(slot, *next.expect("another"));
    }
    course.goes_on(AROUND);
}

fn speakers_keep_their_order(sharded: &str, more: &[&str]) {
    // One whose last slot goes would be a replica from then on.
    let mut cluster = Cluster::start_with(&["--cluster-allow-replica-migration", "no"]);
    let new = cluster.grow();
    let args = ["--history", "chat/*=50000/600", "--redis-sharded", sharded];
    let server = server(&cluster, &[&args[..], more].concat());
    let options = "subscribe-broadcast&publish-broadcast&echo";
    let connect = |at: usize| server.connect(&format!("{}?{options}", facility(at)));
    let mut conns: Vec<Client> = (0..CHANNELS).map(connect).collect();
    let course = Course::default();
    let last = thread::scope(|scope| {
        let speaking = scope.spawn(|| course.speak(&mut conns));
        let end = End(&course);
        slots_move(&cluster, new, &course);
        drop(end);
        speaking.join().expect("who speaks")
    });
    for (at, conn) in conns.iter_mut().enumerate() {
        let (last, channel) = (last[at], channel(at));
        let all: Vec<u64> = (1..=last).collect();
        if at.is_multiple_of(RECORD_EVERY) {
            compare(&format!("{channel} recorded"), &recorded(&cluster, &channel), &all);
        }
        eventually("the last is stored", || {
            let stored = cluster.home_of(&channel).connect().command(&["GET", &channel]);
            (number_in(&stored) == last).then_some(())
        });
        let mut heard: Vec<u64> = Vec::new();
        while heard.len() < all.len()
            && let Some(Event::Text(text)) = conn.next_within(PATIENCE)
        {
            heard.push(text.parse().expect("a number"));
        }
        compare(&channel, &heard, &all);
        assert_eq!(conn.next_within(Duration::ZERO), None, "{channel}");
    }
    let figures = ask(server.admin(), "/metrics", "").body;
    assert!(figures.contains("\nwsloop_publishes_dropped_total 0\n"), "{figures}");
    println!("{CHANNELS} channels, {} numbers", last.iter().sum::<u64>());
}

#[test]
#[ignore = "needs redis-server"]
fn speakers_by_shards_keep_their_order_while_slots_move() {
    speakers_keep_their_order("on", &[]);
}

#[test]
#[ignore = "needs redis-server"]
fn speakers_to_all_nodes_keep_their_order_while_slots_move() {
    speakers_keep_their_order("off", &[]);
}

#[test]
#[ignore = "needs redis-server"]
fn speakers_of_two_workers_keep_their_order_while_slots_move() {
    speakers_keep_their_order("on", &["--workers", "2"]);
}
