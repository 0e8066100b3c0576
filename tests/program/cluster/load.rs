//! A thousand who hear, and some pages of channels with a history, 500 messages a second, and a
//! publisher that finds its way in the cluster by itself.
//!
//! Half of the thousand hear as conns, the others by `wsloop.1` and by streams, each on channels
//! that nobody hears in another way.
//!
//! Each message is a number. What is published on a channel must come to every conn of it once, in
//! order, and may be missing only between the moment when something became of the cluster and the
//! moment when the program had followed. Where only the shard of a channel is told, Redis itself
//! says whether the program heard a message, and what came must be that to the number.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Event, upgrade};
use crate::support::cluster::Cluster;
use crate::support::redis::{RedisClient, Value};
use crate::support::stream::EventStream;
use crate::support::{PATIENCE, Wsloop, eventually};

/// How large a crowd is.
pub struct Scale {
    crowd: usize,
    channels: usize,
    /// A number is said so often.
    pace: Duration,
}

/// Many who hear, with few messages on each channel.
pub const CROWD: Scale = Scale { crowd: 1_000, channels: 99, pace: Duration::from_millis(2) };
/// Few who hear, with many messages on each channel.
pub const BUSY: Scale = Scale { crowd: 60, channels: 3, pace: Duration::from_micros(400) };

/// Conns that speak `wsloop.1`, on one of the channels with a history each.
const PAGES: usize = 21;
const RECORDED: usize = 3;
/// Every so manieth number is recorded as well.
const RECORD_EVERY: u64 = 10;
/// How many numbers are said before something becomes of the cluster, and after.
const BEFORE: u64 = 400;
const AFTER: u64 = 600;

/// What publishes and asks where a channel is, and what says that a browser's page is done.
const END: &str = "end";
const RECORD: &str = "redis.call('XADD', KEYS[1], 'MAXLEN', '5000', '*', 'm', ARGV[1])\n\
                      redis.call('PEXPIRE', KEYS[1], '300000')\n\
                      return redis.call(ARGV[2], KEYS[2], ARGV[1])";

/// Where the publisher is, and what it is told.
#[derive(Default)]
pub struct Course {
    count: AtomicU64,
    /// The node that nothing is to be sent to, since it will not answer: its port, or 0.
    hold: AtomicU16,
    /// What the publisher holds, when nothing is on its way there.
    held: AtomicU16,
    ended: AtomicBool,
}

impl Course {
    /// The last number said.
    pub fn now(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until so many more numbers were said.
    pub fn goes_on(&self, more: u64) {
        let last = self.now() + more;
        eventually("numbers are said", || (self.now() >= last).then_some(()));
    }

    /// Waits until nobody waits for that node.
    pub fn hold(&self, port: u16) {
        self.hold.store(port, Ordering::SeqCst);
        eventually("nobody waits for the node", || {
            (self.held.load(Ordering::SeqCst) == port).then_some(())
        });
    }
}

/// Lets the publisher end, whatever has failed.
struct End<'a>(&'a Course);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
    }
}

/// A publisher, which follows the cluster itself.
struct App<'a> {
    cluster: &'a Cluster,
    course: &'a Course,
    scale: &'a Scale,
    /// What `--redis-sharded` is.
    form: &'a str,
    redis: Vec<(u16, RedisClient)>,
    /// The channels' names and slots, and who has them.
    places: Vec<(String, u16, u16)>,
    /// The numbers that Redis took, of each channel, and whether somebody was to hear them.
    said: Vec<Vec<(u64, bool)>>,
    /// The last number recorded, of each channel with a history.
    recorded: Vec<u64>,
}

impl<'a> App<'a> {
    fn new(load: &'a Load, form: &'a str) -> App<'a> {
        let Load { cluster, course, scale, .. } = load;
        let redis = cluster.nodes.iter().map(|node| (node.port, node.connect())).collect();
        let plain = (0..scale.channels).map(|at| format!("broadcast:room/{at}"));
        let names = plain.chain((0..RECORDED).map(|at| format!("broadcast:{}", chat(cluster, at))));
        let place = |name: String| {
            let slot = cluster.slot_of(&name);
            (name, slot, cluster.owner_of(slot))
        };
        let places: Vec<_> = names.map(place).collect();
        let said = vec![Vec::new(); places.len()];
        App { cluster, course, scale, form, redis, places, said, recorded: vec![0; RECORDED] }
    }

    /// Publishes until it is told to end.
    fn run(mut self) -> (Vec<Vec<(u64, bool)>>, Vec<u64>) {
        let (began, mut number) = (Instant::now(), 0u64);
        while !self.course.ended.load(Ordering::SeqCst) {
            let hold = self.course.hold.load(Ordering::SeqCst);
            self.course.held.store(hold, Ordering::SeqCst);
            number += 1;
            if number.is_multiple_of(RECORD_EVERY) {
                self.record((number / RECORD_EVERY) as usize % RECORDED, hold);
            }
            self.say(number, hold);
            self.course.count.store(number, Ordering::SeqCst);
            let due = began + self.scale.pace * number as u32;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        self.say_the_end();
        (self.said, self.recorded)
    }

    /// Where the last number was said, since what is said elsewhere may overtake it.
    fn say_the_end(&mut self) {
        let hold = self.course.hold.load(Ordering::SeqCst);
        for at in 0..self.scale.channels {
            let channel = self.places[at].0.clone();
            let heard = self.send(at, hold, &[self.word(1), &channel, END]);
            assert!(heard.is_some(), "{channel} is nowhere");
        }
    }

    /// How the number of that round is said: in both forms in turns, where both are heard.
    fn word(&self, round: u64) -> &'static str {
        match self.form {
            "off" => "PUBLISH",
            "both" if round.is_multiple_of(2) => "PUBLISH",
            _ => "SPUBLISH",
        }
    }

    fn say(&mut self, number: u64, hold: u16) {
        let at = number as usize % self.scale.channels;
        let (channel, text) = (self.places[at].0.clone(), number.to_string());
        let word = self.word(number / self.scale.channels as u64);
        if let Some(heard) = self.send(at, hold, &[word, &channel, &text]) {
            // Of other nodes' subscribers PUBLISH says nothing.
            self.said[at].push((number, word == "PUBLISH" || heard > 0));
        }
    }

    /// Records and says the next number on that channel with a history.
    fn record(&mut self, at: usize, hold: u16) {
        let channel = self.places[self.scale.channels + at].0.clone();
        let stream = format!("wsloop:history:{{{channel}}}");
        let text = (self.recorded[at] + 1).to_string();
        let words = ["EVAL", RECORD, "2", &stream, &channel, &text, self.word(1)];
        if let Some(_heard) = self.send(self.scale.channels + at, hold, &words) {
            self.recorded[at] += 1;
        }
    }

    /// What Redis answers, wherever the slot is; nothing when its node is held.
    fn send(&mut self, at: usize, hold: u16, words: &[&str]) -> Option<i64> {
        let mut asking = None;
        for _ in 0..200 {
            let (_, slot, mut owner) = self.places[at];
            if owner == hold && hold != 0 {
                owner = self.cluster.owner_of(slot);
                self.places[at].2 = owner;
                if owner == hold {
                    return None;
                }
            }
            let port = asking.take().unwrap_or(owner);
            let is_asked = port != owner;
            let (_, redis) = self.redis.iter_mut().find(|(of, _)| *of == port).expect("a node");
            if is_asked {
                redis.ok(&["ASKING"]);
            }
            let error = match redis.command(words) {
                Value::Integer(heard) => return Some(heard),
                Value::Error(error) => error,
                other => panic!("{other:?}"),
            };
            let parts: Vec<&str> = error.split([' ', ':']).collect();
            match parts[0] {
                "MOVED" => self.places[at].2 = parts[3].parse().expect("a port"),
                "ASK" => asking = parts[3].parse().ok(),
                // Its slot is on the move, or its master is gone and it knows that already.
                "TRYAGAIN" | "CLUSTERDOWN" | "READONLY" => thread::sleep(Duration::from_millis(10)),
                _ => panic!("{error}"),
            }
        }
        None
    }
}

/// The facility of a channel with a history, in a slot of another master each.
fn chat(cluster: &Cluster, at: usize) -> String {
    let third = |slot: u16| usize::from(slot) * RECORDED / 16384;
    let mut names = (0..100).map(|of| format!("chat/{of}"));
    let is_there = |name: &String| third(cluster.slot_of(&format!("broadcast:{name}"))) == at;
    names.find(is_there).expect("one of a hundred")
}

/// Somebody who hears a channel.
enum Hears {
    Conn(Client),
    Page(Client),
    Stream(EventStream),
}

impl Hears {
    /// Whoever hears the channel of that number.
    fn open(server: &Wsloop, channel: usize) -> Hears {
        let facility = format!("room/{channel}");
        match channel % 10 {
            9 => {
                let target = format!("/ws/?topic=broadcast+{facility}");
                let mut stream = EventStream::open(server.address(), &target, "");
                while !stream.text().starts_with("ok 1") {}
                Hears::Stream(stream)
            }
            even if even % 2 == 0 => {
                Hears::Conn(server.connect(&format!("{facility}?subscribe-broadcast")))
            }
            _ => Hears::Page(page(server, &facility)),
        }
    }

    /// The next number, and 0 for a gap; nothing at the end.
    fn number(&mut self) -> Option<u64> {
        let text = match self {
            Hears::Conn(client) => return number_of(&client.text()),
            Hears::Page(client) => client.text(),
            Hears::Stream(stream) => stream.text(),
        };
        let (header, payload) = text.split_once('\n').unwrap_or((&text, ""));
        match header.split(' ').next() {
            Some("message") => number_of(payload),
            Some("gap") => Some(0),
            _ => panic!("not expected: {text}"),
        }
    }
}

/// A server with its crowd.
pub struct Load<'a> {
    pub cluster: &'a Cluster,
    pub server: &'a Wsloop,
    pub course: Course,
    scale: &'a Scale,
    crowd: Vec<Hears>,
    pages: Vec<Client>,
}

impl<'a> Load<'a> {
    pub fn new(cluster: &'a Cluster, server: &'a Wsloop, scale: &'a Scale) -> Load<'a> {
        let crowd = (0..scale.crowd).map(|at| Hears::open(server, at % scale.channels)).collect();
        let chats: Vec<String> = (0..RECORDED).map(|at| chat(cluster, at)).collect();
        let pages = (0..PAGES).map(|at| page(server, &chats[at % RECORDED])).collect();
        Load { cluster, server, course: Course::default(), scale, crowd, pages }
    }

    /// Waits until the numbers of so long a time were said.
    pub fn goes_on_for(&self, time: Duration) {
        self.course.goes_on((time.as_micros() / self.scale.pace.as_micros()) as u64);
    }

    /// Something becomes of the cluster while numbers are said, and the program follows.
    pub fn run(mut self, form: &str, fate: impl FnOnce(&Load)) -> Outcome {
        let load = &self;
        let ((said, recorded), window) = thread::scope(|scope| {
            let app = App::new(load, form);
            let app = scope.spawn(move || app.run());
            let end = End(&load.course);
            load.course.goes_on(BEFORE);
            let from = load.course.now();
            fate(load);
            load.server.expect_metric("broker_up", |up| up == 1);
            let to = load.course.now();
            load.course.goes_on(AFTER);
            drop(end);
            (app.join().expect("a publisher"), (from, to))
        });
        let mut outcome = Outcome { window, ..Outcome::default() };
        for (at, one) in self.crowd.iter_mut().enumerate() {
            let mut got: Vec<u64> = Vec::new();
            while let Some(number) = one.number() {
                got.push(number);
            }
            let told = got.len();
            got.retain(|number| *number > 0);
            outcome.gaps_in_crowd += told - got.len();
            outcome.count(&format!("number {at}"), &said[at % self.scale.channels], &got);
        }
        for (at, page) in self.pages.iter_mut().enumerate() {
            let last = recorded[at % RECORDED];
            assert!(last > 20, "{recorded:?}");
            outcome.count_page(&told(page, last), last);
        }
        assert_eq!(self.server.metric("conns_open"), (self.scale.crowd + PAGES) as u64);
        println!("{outcome:?}");
        outcome
    }
}

fn number_of(text: &str) -> Option<u64> {
    (text != END).then(|| text.parse().expect("a number"))
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The last number said before, and when the program had followed.
    window: (u64, u64),
    came: usize,
    /// What did not come to a conn.
    pub missing: usize,
    /// Numbers that Redis told nobody, of all channels, as those who hear count them.
    pub unheard: usize,
    pub recorded: usize,
    pub gaps: usize,
    /// Gaps on channels without a history.
    pub gaps_in_crowd: usize,
}

impl Outcome {
    /// Every number once and in order, and what is missing was said in the window.
    fn count(&mut self, who: &str, said: &[(u64, bool)], got: &[u64]) {
        let mut rest = got.iter().peekable();
        let mut missing = Vec::new();
        for (number, is_heard) in said {
            self.unheard += usize::from(!*is_heard);
            // What nobody heard at that node may have been heard at another of its shard.
            if rest.next_if(|next| *next == number).is_none() && *is_heard {
                missing.push(*number);
            }
        }
        let rest: Vec<_> = rest.collect();
        assert!(rest.is_empty(), "{who}: {rest:?} came twice or too late, of {got:?}");
        assert!(got.len() >= 5, "{who}: {got:?}");
        let (from, to) = self.window;
        let is_due = |number: &u64| (from..=to).contains(number);
        assert!(missing.iter().all(is_due), "{who}: {missing:?} are missing, {from} to {to}");
        self.came += got.len();
        self.missing += missing.len();
    }

    /// Every number once and in order, but where there is a gap.
    fn count_page(&mut self, told: &[u64], last: u64) {
        let mut expected = 1;
        for (at, number) in told.iter().enumerate() {
            match *number {
                0 => {
                    self.gaps += 1;
                    continue;
                }
                number if number == expected => {}
                number => {
                    let is_told = at > 0 && told[at - 1] == 0 && number > expected;
                    assert!(is_told, "{expected} is missing in {told:?}");
                }
            }
            self.recorded += 1;
            expected = number + 1;
        }
        assert_eq!(expected, last + 1);
    }
}

/// Somebody who speaks `wsloop.1` and hears that channel with a history.
fn page(server: &Wsloop, facility: &str) -> Client {
    let request = upgrade("", server.address(), "Sec-WebSocket-Protocol: wsloop.1\r\n");
    let mut client = Client::open(server.address(), &request).expect("a WebSocket");
    client.send(&format!("subscribe 1 broadcast {facility}"));
    while !client.text().starts_with("ok 1") {}
    client
}

/// What a page was told: numbers, and 0 for a gap.
fn told(client: &mut Client, last: u64) -> Vec<u64> {
    let (mut told, mut headers) = (Vec::new(), Vec::new());
    while told.last() != Some(&last) {
        let text = match client.next_within(PATIENCE) {
            Some(Event::Text(text)) => text,
            other => panic!("{other:?} and not {last}, behind {headers:?}"),
        };
        let (header, payload) = text.split_once('\n').unwrap_or((&text, ""));
        headers.push(format!("{header}: {payload}"));
        match header.split(' ').next() {
            Some("message") => told.push(payload.parse().expect("a number")),
            Some("gap") => told.push(0),
            Some("welcome" | "ok" | "subscribed" | "stored") => {}
            _ => panic!("not expected: {text}"),
        }
    }
    if !told.is_sorted_by(|a, b| a < b || *b == 0) {
        println!("{headers:#?}");
    }
    told
}
