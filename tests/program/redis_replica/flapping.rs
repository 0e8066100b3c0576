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
const FLAPS: Duration = Duration::from_secs(12);
/// How long the load is measured without.
const QUIET: Duration = Duration::from_secs(2);
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

/// What came to one.
#[derive(Debug, Default)]
struct Outcome {
    came: u64,
    gaps: [u64; 4],
    missing: [u64; 4],
    untold: [u64; 4],
    back: [u64; 4],
    shown: [u64; 4],
    flaps: u64,
    lines: usize,
    unready: usize,
    quiet_cpu: f64,
    cpu: f64,
}

impl Outcome {
    /// Each once and in order, and what is missing behind a gap.
    fn count(&mut self, who: &str, got: &[u64], last: u64, kind: usize) {
        let (mut before, mut is_told) = (0, false);
        let mut bad = false;
        for number in got.iter().copied() {
            if number == 0 {
                (self.gaps[kind], is_told) = (self.gaps[kind] + 1, true);
                continue;
            }
            if number <= before {
                self.back[kind] += 1;
                bad = true;
                continue;
            }
            let missing = number - before - 1;
            if missing > 0 && !is_told {
                self.untold[kind] += missing;
                bad = true;
            }
            (self.missing[kind], self.came) = (self.missing[kind] + missing, self.came + 1);
            (before, is_told) = (number, false);
        }
        let missing = last - before;
        self.missing[kind] += missing;
        if bad && self.shown[kind] < 2 {
            self.shown[kind] += 1;
            println!("{who} {kind}: {got:?}");
        }
    }
}

/// Says numbers until it is told to end, and what the last of each channel is.
fn publish(master: &RedisServer, count: &AtomicU64, ended: &AtomicBool) -> Vec<u64> {
    let (mut app, mut last) = (master.connect(), vec![0u64; CHANNELS]);
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
        let due = began + Duration::from_millis(2) * number as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    (0..CHANNELS).for_each(|channel| say(channel, END));
    last
}

/// Something becomes of the replica, for up to so long.
fn flap(replica: &mut RedisServer, chance: &mut Chance, port: &str) {
    let pause = |ms| thread::sleep(Duration::from_millis(ms));
    let what = chance.up_to(4);
    println!(
        "{:?} {what}",
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
            % 60_000
    );
    match what {
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

#[test]
#[ignore = "needs redis-server"]
fn a_replica_that_flaps_closes_nobody_and_nothing_comes_twice() {
    let more = ["--history", "chat/*=5000/300", "--max-handshakes", "2000"];
    let Pair { master, mut replica, server } = Pair::start_with(&more);
    let Value::Array(role) = replica.connect().command(&["ROLE"]) else { panic!("no role") };
    let Value::Integer(port) = role[2] else { panic!("no port: {role:?}") };
    let mut crowd: Vec<Hears> = (0..CROWD).map(|at| Hears::open(&server, at % CHANNELS)).collect();
    let (count, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut outcome, mut chance) = (Outcome::default(), Chance(SEED));
    let last = thread::scope(|scope| {
        let app = scope.spawn(|| publish(&master, &count, &ended));
        let cpu_share = |before: Duration, began: Instant| {
            (server.cpu_time() - before).as_secs_f64() / began.elapsed().as_secs_f64()
        };
        let (before, began) = (server.cpu_time(), Instant::now());
        thread::sleep(QUIET);
        outcome.quiet_cpu = cpu_share(before, began);
        let lines = server.log().lines().count();
        let (before, began) = (server.cpu_time(), Instant::now());
        while began.elapsed() < FLAPS {
            flap(&mut replica, &mut chance, &port.to_string());
            outcome.flaps += 1;
            let answer = ask(server.admin(), "/readyz", "");
            assert!(answer.status == 200 || !answer.body.is_empty(), "{answer:?}");
            if answer.status != 200 {
                println!("{}", answer.body);
            }
            outcome.unready += usize::from(answer.status != 200);
        }
        outcome.cpu = cpu_share(before, began);
        outcome.lines = server.log().lines().count() - lines;
        expect_up(&server, &replica, 1);
        // Until nothing is on its way from one of the two to the other.
        thread::sleep(QUIET);
        ended.store(true, Ordering::SeqCst);
        app.join().expect("a publisher")
    });
    for (at, one) in crowd.iter_mut().enumerate() {
        let channel = at % CHANNELS;
        let got: Vec<u64> = std::iter::from_fn(|| one.number()).collect();
        outcome.count(&format!("number {at}"), &got, last[channel], channel % 4);
    }
    println!("{outcome:?}");
    assert_eq!(server.metric("conns_open"), CROWD as u64);
}
