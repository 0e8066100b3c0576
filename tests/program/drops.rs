//! Links that drop: who speaks `wsloop.1`, or hears the same by a stream, comes back, and has then
//! all that was published, once and in order, or knows that it has not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::client::{Client, Event, upgrade};
use crate::support::redis::{RedisServer, Value};
use crate::support::stream::EventStream;
use crate::support::{PATIENCE, Wsloop, eventually};
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Expire, Publisher, PublisherError};

const FACILITY: &str = "chat/1";
const STREAM: &str = "wsloop:history:{broadcast:chat/1}";
const HISTORY: &str = "chat/*=2000/300";
/// How long a link is up, at most.
const UP: Duration = Duration::from_secs(6);
/// How long it is down, at most.
const DOWN: Duration = Duration::from_secs(2);

/// Numbers that are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }

    fn time(&mut self, most: Duration) -> Duration {
        Duration::from_millis(self.roll(most.as_millis() as u64))
    }
}

/// What a listener was told, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Number(u64),
    Gap,
}

/// The link of a page.
enum Link {
    Socket(Client),
    Stream(EventStream),
    /// A stream of one facility.
    Plain(EventStream),
}

impl Link {
    fn next_within(&mut self, time: Duration) -> Option<Event> {
        match self {
            Link::Socket(client) => client.next_within(time),
            Link::Stream(stream) => {
                let (name, data) = stream.next_within(time)?;
                assert_eq!(name, "", "{:?}", String::from_utf8_lossy(&data));
                Some(Event::Text(String::from_utf8(data).expect("text")))
            }
            // As the others are told.
            Link::Plain(stream) => {
                let (name, data) = stream.next_within(time)?;
                let data = String::from_utf8(data).expect("text");
                let at = &stream.last_id;
                Some(Event::Text(match &*name {
                    "gap" => format!("gap {data} {}", at.rsplit(' ').next().expect("a word")),
                    "" => format!("message {at}\n{data}"),
                    other => panic!("not expected: {other}"),
                }))
            }
        }
    }

    fn pong(&mut self, payload: &[u8]) {
        if let Link::Socket(client) = self {
            client.frame(true, Opcode::Pong, payload);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Socket,
    Stream,
    Plain,
}

/// A page whose link drops.
struct Listener {
    kind: Kind,
    /// What its stream told it last.
    last_id: String,
    /// Whom it may connect to.
    servers: Vec<SocketAddr>,
    dice: Dice,
    /// Where it stands.
    position: Option<String>,
    told: Vec<Told>,
    drops: usize,
    /// How many listeners are subscribed for the first time.
    subscribed: Arc<AtomicUsize>,
}

impl Listener {
    /// Listens until it has heard this number.
    fn listen(mut self, last: u64, deadline: Instant) -> Listener {
        loop {
            let Some(mut client) = self.connect() else {
                thread::sleep(DOWN / 10);
                continue;
            };
            let until = Instant::now() + self.dice.time(UP);
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                match client.next_within(left) {
                    // Redis is away: a page asks again later, on this link or another.
                    Some(Event::Text(text)) if text.starts_with("refused 1 503 ") => break,
                    Some(Event::Text(text)) => self.hear(&text),
                    Some(Event::Ping(payload)) => client.pong(&payload),
                    None => break,
                    Some(event) => panic!("the server ended it: {event:?}"),
                }
                if self.told.last() == Some(&Told::Number(last)) {
                    return self;
                }
            }
            assert!(Instant::now() < deadline, "{last} does not come: {:?}", self.told.last());
            self.lose(client);
        }
    }

    /// Connects, unless Redis is away.
    fn connect(&mut self) -> Option<Link> {
        let server = self.servers[self.dice.roll(self.servers.len() as u64) as usize];
        match self.kind {
            Kind::Socket => {}
            Kind::Stream => {
                let target = format!("/ws/?topic=broadcast+{FACILITY}");
                return Some(Link::Stream(EventStream::open(server, &target, &self.last_id)));
            }
            Kind::Plain => {
                let target = format!("/ws/{FACILITY}?subscribe-broadcast");
                let stream = EventStream::ask(server, &target, &self.last_id);
                match stream.head.status {
                    200 if self.position.is_none() => {
                        self.subscribed.fetch_add(1, Ordering::SeqCst);
                        self.position = Some(String::new());
                    }
                    200 => {}
                    status => {
                        assert_eq!(status, 503);
                        return None;
                    }
                }
                return Some(Link::Plain(stream));
            }
        }
        let request = upgrade("", server, "Sec-WebSocket-Protocol: wsloop.1\r\n");
        let mut client = Client::open(server, &request).expect("a WebSocket");
        let since = self.position.as_ref().map(|position| format!(" broadcast {position}"));
        client.send(&format!("subscribe 1 broadcast {FACILITY}{}", since.unwrap_or_default()));
        Some(Link::Socket(client))
    }

    fn hear(&mut self, text: &str) {
        let (header, payload) = text.split_once('\n').unwrap_or((text, ""));
        let words: Vec<&str> = header.split(' ').collect();
        match words[0] {
            "welcome" | "ok" | "beat" | "stored" => return,
            "subscribed" if self.position.is_none() => {
                self.subscribed.fetch_add(1, Ordering::SeqCst);
            }
            "subscribed" => {}
            "message" => self.told.push(Told::Number(payload.trim().parse().expect("a number"))),
            "gap" => self.told.push(Told::Gap),
            _ => panic!("not expected: {text}"),
        }
        // An id is in short, of which the one kind has this.
        let is_short = self.kind == Kind::Plain && words[1] == "b";
        assert!(is_short || words[1] == "broadcast", "{header}");
        assert_eq!(words[2], FACILITY, "{header}");
        assert_ne!(words[3], "-", "a message of this channel is in its history");
        self.position = Some(words[3].to_owned());
    }

    /// The link is cut, or carries nothing for a while before it is.
    fn lose(&mut self, client: Link) {
        self.drops += 1;
        if let Link::Stream(stream) | Link::Plain(stream) = &client {
            self.last_id = stream.last_id.clone();
        }
        let down = self.dice.time(DOWN);
        match self.dice.roll(3) {
            0 => thread::sleep(down),
            _ => {
                drop(client);
                thread::sleep(down);
            }
        }
    }
}

/// So many listeners of these servers, of which all are subscribed.
fn listeners(
    count: usize,
    servers: &[&Wsloop],
    last: u64,
    lasting: Duration,
) -> Vec<JoinHandle<Listener>> {
    let subscribed = Arc::new(AtomicUsize::new(0));
    let deadline = Instant::now() + lasting + 2 * PATIENCE;
    let threads = (0..count).map(|number| {
        let listener = Listener {
            kind: [Kind::Socket, Kind::Stream, Kind::Plain][number % 3],
            last_id: String::new(),
            servers: servers.iter().map(|server| server.address()).collect(),
            dice: Dice(number as u64),
            position: None,
            told: Vec::new(),
            drops: 0,
            subscribed: Arc::clone(&subscribed),
        };
        thread::spawn(move || listener.listen(last, deadline))
    });
    let threads = threads.collect();
    eventually("all are subscribed", || (subscribed.load(Ordering::SeqCst) >= count).then_some(()));
    threads
}

/// Says the numbers from 1 on, 25 a second.
fn publish(url: &str, last: u64) {
    let mut publisher = publisher(url);
    let began = Instant::now();
    for number in 1..=last {
        let due = Duration::from_millis(40) * number as u32;
        thread::sleep(due.saturating_sub(began.elapsed()));
        say(&mut publisher, number).expect("the broker takes it");
    }
}

fn publisher(url: &str) -> Publisher {
    Publisher::new(url).expect("a URL").history(HISTORY).expect("a rule")
}

/// A number, in a message of 100 bytes.
fn say(publisher: &mut Publisher, number: u64) -> Result<(), PublisherError> {
    let message = format!("{number:<100}");
    publisher.to(FACILITY).broadcast().publish(message, Expire::Unstored).map(|_| ())
}

/// The listeners at their end; each was told exactly this.
fn expect_all(threads: Vec<JoinHandle<Listener>>, expected: &[Told]) {
    let count = threads.len();
    let ends = threads.into_iter().map(|thread| thread.join().expect("a listener"));
    let mut drops = 0;
    for (number, listener) in ends.enumerate() {
        drops += listener.drops;
        let pairs = listener.told.iter().zip(expected);
        let at = pairs.take_while(|(told, expected)| told == expected).count();
        let (told, due) = (listener.told.get(at), expected.get(at));
        assert_eq!(told, due, "listener {number}, after {at} of {}", expected.len());
    }
    println!("{count} listeners, {drops} drops, {} messages each", expected.len());
    assert!(drops > count, "links drop");
}

fn numbers(through: impl IntoIterator<Item = u64>) -> Vec<Told> {
    through.into_iter().map(Told::Number).collect()
}

const ARGS: [&str; 4] = ["--allow", "all", "--history", HISTORY];
const MANY: usize = 200;
const LAST: u64 = 1000;
const LASTING: Duration = Duration::from_secs(40);

#[test]
fn whose_links_drop_hear_everything_once_from_the_embedded_broker() {
    let server = Wsloop::start(&[&ARGS[..], &["--resp", "127.0.0.1:0"]].concat());
    let threads = listeners(MANY, &[&server], LAST, LASTING);
    publish(&format!("redis://{}", server.resp_address()), LAST);
    expect_all(threads, &numbers(1..=LAST));
}

/// Of two processes, either has what a browser missed that was at the other.
#[test]
#[ignore = "needs redis-server"]
fn whose_links_drop_hear_everything_once_from_redis_through_either_of_two() {
    let redis = RedisServer::start();
    let url = redis.url();
    let args = [&ARGS[..], &["--redis", &url]].concat();
    let servers = [Wsloop::start(&args), Wsloop::start(&args)];
    for server in &servers {
        server.expect_metric("broker_up", |up| up == 1);
    }
    let threads = listeners(MANY, &[&servers[0], &servers[1]], LAST, LASTING);
    publish(&url, LAST);
    expect_all(threads, &numbers(1..=LAST));
}

/// What of the numbers the stream has.
fn kept(redis: &RedisServer) -> Vec<u64> {
    let Value::Array(entries) = redis.connect().command(&["XRANGE", STREAM, "-", "+"]) else {
        panic!("XRANGE is answered with entries");
    };
    let number = |entry| {
        let Value::Array(parts) = entry else { panic!("an entry has parts") };
        let Value::Array(fields) = &parts[1] else { panic!("an entry has fields") };
        let Value::Bulk(text) = &fields[1] else { panic!("a field is a text") };
        String::from_utf8_lossy(text).trim().parse().expect("a number")
    };
    entries.into_iter().map(number).collect()
}

/// What is said while Redis is away, of which it may know nothing.
fn publish_while_redis_restarts(redis: &mut RedisServer, last: u64) {
    let mut publisher = publisher(&redis.url());
    for number in 1..=last {
        thread::sleep(Duration::from_millis(20));
        if number == last / 2 {
            redis.kill();
            thread::sleep(Duration::from_millis(500));
            redis.revive(|_| {});
        }
        eventually("it is said", || match say(&mut publisher, number) {
            // What may have been said is not said again.
            Ok(()) | Err(PublisherError::MaybePublished(_)) => Some(()),
            Err(_) => None,
        });
    }
}

/// Redis is killed while links drop, and comes back.
fn through_a_restart(redis: &mut RedisServer) -> (Vec<Vec<Told>>, Vec<u64>) {
    let last = 600;
    let server = Wsloop::start(&[&ARGS[..], &["--redis", &redis.url()]].concat());
    server.expect_metric("broker_up", |up| up == 1);
    let threads = listeners(20, &[&server], last, Duration::from_secs(15));
    publish_while_redis_restarts(redis, last);
    let told = threads.into_iter().map(|thread| thread.join().expect("a listener").told);
    (told.collect(), kept(redis))
}

/// It keeps its data, so that nothing is missing.
#[test]
#[ignore = "needs redis-server"]
fn a_redis_that_comes_back_with_its_data_leaves_nothing_out() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes"]);
    let (told, kept) = through_a_restart(&mut redis);
    let kept = numbers(kept);
    assert!(kept.len() >= 599, "of 600 there are {}", kept.len());
    for (number, told) in told.iter().enumerate() {
        assert!(*told == kept, "listener {number}: {told:?}");
    }
}

/// Then all that somebody can miss is where there is a gap.
#[test]
#[ignore = "needs redis-server"]
fn a_redis_that_comes_back_empty_leaves_a_gap() {
    let mut redis = RedisServer::start();
    let (told, kept) = through_a_restart(&mut redis);
    assert!(kept.len() < 400, "it was empty, and has {}", kept.len());
    for (number, told) in told.iter().enumerate() {
        let gaps = told.iter().filter(|told| **told == Told::Gap).count();
        assert!(gaps > 0, "listener {number} knows of no gap");
        for pair in told.windows(2) {
            if let [Told::Number(a), Told::Number(b)] = pair {
                assert_eq!(*b, a + 1, "listener {number}, without a gap: {told:?}");
            }
        }
        let heard: Vec<u64> = told
            .iter()
            .filter_map(|told| match told {
                Told::Number(number) => Some(*number),
                Told::Gap => None,
            })
            .collect();
        assert!(heard.is_sorted_by(|a, b| a < b), "listener {number}, twice: {heard:?}");
    }
}
