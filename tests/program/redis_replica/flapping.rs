//! A replica that comes and goes, hangs, and loses its master, again and again, under a thousand
//! who hear and 500 messages a second.
//!
//! Each message is a number of its channel. Whoever hears it has each once and in order; where some
//! are missing there is a gap, and of channels with a history nothing is missing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::support::client::Event;

const CROWD: usize = 1_000;
const CHANNELS: usize = 96;
/// What happens is drawn from this.
const SEED: u64 = 20_261_129;
/// How long it goes on.
const FLAPS: Duration = Duration::from_secs(8);
/// How long the load is measured without.
const QUIET: Duration = Duration::from_secs(2);
/// Bytes of a message that nobody hears, so that a replica that hung has to catch up; of these 100
/// are published a second.
const BULK: usize = 64 << 10;
const END: &str = "end";
const RECORD: &str = "redis.call('XADD', KEYS[1], 'MAXLEN', '5000', '*', 'm', ARGV[1])\n\
                      redis.call('PEXPIRE', KEYS[1], '300000')\n\
                      return redis.call('PUBLISH', KEYS[2], ARGV[1])";

/// Numbers by chance, the same in each run.
struct Chance(u64);

impl Chance {
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

fn has_history(channel: usize) -> bool {
    channel % 4 >= 2
}

fn facility(channel: usize) -> String {
    let word = if has_history(channel) { "chat" } else { "room" };
    format!("{word}/{channel}")
}

/// Somebody who hears: as a conn, or by `wsloop.1`.
struct Hears {
    client: Client,
    is_page: bool,
}

impl Hears {
    fn open(server: &Wsloop, channel: usize) -> Hears {
        let (facility, is_page) = (facility(channel), channel % 2 == 1);
        if !is_page {
            let client = server.connect(&format!("{facility}?subscribe-broadcast&gaps"));
            return Hears { client, is_page };
        }
        let request = upgrade("", server.address(), "Sec-WebSocket-Protocol: wsloop.1\r\n");
        let mut client = Client::open(server.address(), &request).expect("a WebSocket");
        client.send(&format!("subscribe 1 broadcast {facility}"));
        while !client.text().starts_with("ok 1") {}
        Hears { client, is_page }
    }

    /// The next number, and 0 for a gap; nothing at the end.
    fn number(&mut self) -> Option<u64> {
        let Event::Text(text) = self.client.message() else { panic!("it is closed") };
        let payload = match self.is_page {
            false => &text[..],
            true => match text.split_once('\n') {
                Some((header, payload)) if header.starts_with("message ") => payload,
                None if text.starts_with("gap ") => "",
                _ => panic!("not expected: {text}"),
            },
        };
        match payload {
            "" => Some(0),
            END => None,
            number => Some(number.parse().expect("a number")),
        }
    }
}

/// What came of it all.
#[derive(Debug, Default)]
struct Outcome {
    flaps: u64,
    came: u64,
    /// Of channels without a history, and with one.
    missing: u64,
    gaps: [u64; 2],
    /// Lines of the log.
    lines: usize,
    /// The longest time for which the server was not ready.
    unready: Duration,
    /// Shares of a processor, before and meanwhile.
    cpu: [f64; 2],
}

impl Outcome {
    /// Each once and in order, and what is missing behind a gap. By `wsloop.1` the gap of a channel
    /// without a history comes with what is stored, and messages may come before that.
    fn count(&mut self, who: &str, got: &[u64], last: u64, (has_history, is_page): (bool, bool)) {
        let (mut before, mut is_told, mut is_due) = (0, false, false);
        for number in got.iter().copied() {
            if number == 0 {
                self.gaps[usize::from(has_history)] += 1;
                (is_told, is_due) = (true, false);
                continue;
            }
            assert!(number > before, "{who}: {number} behind {before} in {got:?}");
            let missing = number - before - 1;
            let may_miss = !has_history && (is_told || is_page);
            assert!(missing == 0 || may_miss, "{who}: {number} behind {before} in {got:?}");
            is_due |= missing > 0 && !is_told;
            (self.missing, self.came) = (self.missing + missing, self.came + 1);
            (before, is_told) = (number, false);
        }
        assert!(!is_due, "{who}: no gap in {got:?}");
        assert_eq!(before, last, "{who}: all was well at the end");
    }
}

/// Says numbers until it is told to end, and what the last of each channel is.
fn publish(master: &RedisServer, count: &AtomicU64, ended: &AtomicBool) -> Vec<u64> {
    let (mut app, mut last) = (master.connect(), vec![0u64; CHANNELS]);
    let mut other = master.connect();
    let bulk = vec![b'.'; BULK];
    let mut say = |channel: usize, text: &str| {
        let name = format!("broadcast:{}", facility(channel));
        let stream = format!("wsloop:history:{{{name}}}");
        let value = match has_history(channel) {
            true => app.command(&["EVAL", RECORD, "2", &stream, &name, text]),
            false => app.command(&["PUBLISH", &name, text]),
        };
        assert!(matches!(value, Value::Integer(_)), "{value:?}");
    };
    let began = Instant::now();
    while !ended.load(Ordering::SeqCst) {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let channel = number as usize % CHANNELS;
        last[channel] += 1;
        say(channel, &last[channel].to_string());
        if number.is_multiple_of(5) {
            other.publish("bulk", &bulk);
        }
        let due = began + Duration::from_millis(2) * number as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    (0..CHANNELS).for_each(|channel| say(channel, END));
    last
}

/// Something becomes of the replica, for up to so long.
fn flap(replica: &mut RedisServer, chance: &mut Chance, port: &str) {
    let pause = |ms| thread::sleep(Duration::from_millis(ms));
    match chance.up_to(4) {
        0 => {
            replica.kill();
            pause(chance.up_to(600));
            replica.revive(|_| {});
        }
        1 => {
            replica.process().signal("STOP");
            pause(200 + chance.up_to(1_500));
            replica.process().signal("CONT");
        }
        2 => {
            replica.connect().ok(&["REPLICAOF", "NO", "ONE"]);
            pause(chance.up_to(1_200));
            replica.connect().ok(&["REPLICAOF", "127.0.0.1", port]);
        }
        _ => {
            // Its master's link breaks: it goes on where it was.
            replica.connect().command(&["CLIENT", "KILL", "TYPE", "master"]);
        }
    }
    pause(300 + chance.up_to(1_200));
}

/// Lets the others end, whatever has failed.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The longest time for which the server says that it is not ready, until it is told to end.
fn watch(server: &Wsloop, ended: &AtomicBool) -> Duration {
    let (mut longest, mut since) = (Duration::ZERO, Instant::now());
    while !ended.load(Ordering::SeqCst) {
        if ask(server.admin(), "/readyz", "").status == 200 {
            since = Instant::now();
        }
        longest = longest.max(since.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
    longest
}

#[test]
#[ignore = "needs redis-server"]
fn a_replica_that_flaps_closes_nobody_and_nothing_comes_twice() {
    // Nobody reads, and answers, before the end.
    let more = ["--history", "chat/*=5000/300", "--max-handshakes", "2000", "--ping-interval", "0"];
    let Pair { master, mut replica, server } = Pair::start_with(&more);
    let Value::Array(role) = replica.connect().command(&["ROLE"]) else { panic!("no role") };
    let Value::Integer(port) = role[2] else { panic!("no port: {role:?}") };
    let mut crowd: Vec<Hears> = (0..CROWD).map(|at| Hears::open(&server, at % CHANNELS)).collect();
    let (count, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut outcome, mut chance) = (Outcome::default(), Chance(SEED));
    let last = thread::scope(|scope| {
        let app = scope.spawn(|| publish(&master, &count, &ended));
        let watch = scope.spawn(|| watch(&server, &ended));
        let end = End(&ended);
        let share = |before: Duration, began: Instant| {
            (server.cpu_time() - before).as_secs_f64() / began.elapsed().as_secs_f64()
        };
        let (before, began) = (server.cpu_time(), Instant::now());
        thread::sleep(QUIET);
        outcome.cpu[0] = share(before, began);
        let lines = server.log().lines().count();
        let (before, began) = (server.cpu_time(), Instant::now());
        while began.elapsed() < FLAPS {
            flap(&mut replica, &mut chance, &port.to_string());
            outcome.flaps += 1;
        }
        outcome.cpu[1] = share(before, began);
        outcome.lines = server.log().lines().count() - lines;
        expect_up(&server, &replica, 1);
        thread::sleep(QUIET);
        drop(end);
        outcome.unready = watch.join().expect("a watch");
        app.join().expect("a publisher")
    });
    for (at, one) in crowd.iter_mut().enumerate() {
        let channel = at % CHANNELS;
        let got: Vec<u64> = std::iter::from_fn(|| one.number()).collect();
        let kind = (has_history(channel), one.is_page);
        outcome.count(&format!("number {at}"), &got, last[channel], kind);
    }
    println!("{outcome:?}");
    assert_eq!(server.metric("conns_open"), CROWD as u64);
    assert!(outcome.lines as u64 <= 6 * outcome.flaps, "{}", server.log());
    assert!(outcome.unready < Duration::from_secs(1), "{:?}", outcome.unready);
    let [quiet, flapping] = outcome.cpu;
    assert!(flapping < 2.0 * quiet + 0.1, "{:?} of a processor", outcome.cpu);
}
