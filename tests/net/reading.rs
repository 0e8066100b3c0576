//! Who is read when, and how much of it.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::SockRef;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Metrics, Settings};

use crate::support::client::{Client, Event, frame_bytes};
use crate::turns::{Loop, narrow, numbers, read_some, texts, write_some};
use crate::world::settings;

const HEARS: &str = "room?subscribe-broadcast";
/// What it says goes nowhere, and is counted.
const SAYS: &str = "room";
const ECHO: &str = "/ws/echo";

/// Bytes read at a time, and reads of a link in a turn.
const SCRATCH: usize = 128 << 10;
const READS: usize = 4;
/// Frames of a conn that are looked at in one go.
const GO: usize = 128;

fn with_echo() -> Settings {
    Settings { echo_path: Some(ECHO.to_owned()), ..settings() }
}

/// How much a counter grows in each of so many turns, each after `before`.
fn growth(
    lp: &mut Loop,
    turns: usize,
    counter: fn(&Metrics) -> u64,
    mut before: impl FnMut(&mut Loop),
) -> Vec<usize> {
    let turn = |_| {
        before(lp);
        let was = counter(lp.metrics());
        lp.turn();
        (counter(lp.metrics()) - was) as usize
    };
    (0..turns).map(turn).collect()
}

#[test]
fn what_was_dialed_is_read_before_what_was_accepted() {
    let mut lp = Loop::with_redis(|_| {});
    let mut client = lp.open(HEARS);
    // The browser is the first to be ready.
    client.frame(true, Opcode::Close, &1000u16.to_be_bytes());
    lp.redis.as_mut().expect("it is up").publish("broadcast:room", "before the close");
    assert_eq!(lp.next(&mut client), Event::Text("before the close".to_owned()));
    assert_eq!(lp.next(&mut client), Event::Close(Some(1000), String::new()));
}

/// A flood is what names a link twice: more has arrived for one that is left over.
#[test]
fn a_link_that_was_dialed_is_read_so_often_in_a_turn_and_no_more() {
    let mut lp = Loop::with_redis(|_| {});
    let head = ">3\r\n$7\r\nmessage\r\n$7\r\nnobodys\r\n$986\r\n";
    let push = format!("{head}{}\r\n", "x".repeat(1024 - head.len() - 2)).into_bytes();
    let flood = push.repeat(8 << 10);
    let mut at = 0;
    let read = growth(
        &mut lp,
        50,
        |metrics| metrics.deliveries_total,
        |lp| {
            at = (at + lp.redis.as_mut().expect("it is up").say(&flood[at..])) % flood.len();
        },
    );
    let most = READS * SCRATCH / push.len();
    assert!(read.iter().all(|read| *read <= most + 1), "{most}, not {read:?}");
    assert!(read.contains(&most), "it was no flood: {read:?}");
}

#[test]
fn a_link_that_was_accepted_is_read_so_often_in_a_turn_and_no_more() {
    let mut lp = Loop::new(settings());
    let mut client = lp.open(SAYS);
    let message = frame_bytes(true, Opcode::Binary, &vec![0; (32 << 10) - 8]);
    let flood = message.repeat(100);
    let mut at = 0;
    let read = growth(
        &mut lp,
        200,
        |metrics| metrics.messages_in_total,
        |_| {
            at = (at + write_some(client.stream(), &flood[at..])) % flood.len();
        },
    );
    let most = READS * SCRATCH / message.len();
    assert!(read.iter().all(|read| *read <= most + 1), "{most}, not {read:?}");
    assert!(read.iter().any(|read| *read >= most), "it was no flood: {read:?}");
}

/// So many browsers with so much to say take far more than the time that a turn has for reading.
fn crowd(lp: &mut Loop, path: &str, number: usize, each: usize) -> Vec<Client> {
    let mut crowd: Vec<Client> = (0..number).map(|_| lp.open(path)).collect();
    let bytes = texts(&numbers(each));
    crowd.iter_mut().for_each(|client| client.raw(&bytes));
    crowd
}

#[test]
fn reading_a_crowd_takes_several_turns() {
    let mut lp = Loop::new(settings());
    let (number, each) = (100, READS * GO);
    let _crowd = crowd(&mut lp, SAYS, number, each);
    lp.turn();
    let read = lp.metrics().messages_in_total as usize;
    assert!((GO..number * each / 2).contains(&read), "{read} in one turn");
    lp.until("all is read", |lp| lp.metrics().messages_in_total == (number * each) as u64);
}

#[test]
fn whoever_is_left_over_is_read_in_rotation() {
    let mut lp = Loop::new(with_echo());
    let (number, each) = (20, 6_000);
    let mut crowd = crowd(&mut lp, "echo", number, each);
    let half = (number * each / 2) as u64;
    lp.until("half of it is read", |lp| lp.metrics().messages_in_total >= half);
    // Bytes of echoes: each has had a few goes, and none is done.
    let heard: Vec<usize> = crowd.iter_mut().map(|client| read_some(client.stream())).collect();
    let echoes = |count| numbers(count).iter().map(|text| text.len() + 2).sum::<usize>();
    let fair = echoes(3 * GO)..echoes(each);
    assert!(heard.iter().all(|heard| fair.contains(heard)), "{heard:?}");
}

/// However much Redis says, one of those who are left over has a go in each turn.
#[test]
fn whoever_is_left_over_moves_on_while_redis_takes_the_time() {
    let mut lp = Loop::with_redis(|_| {});
    let mut client = lp.open(SAYS);
    let each = 15 * GO;
    client.raw(&texts(&numbers(each)));
    let push = format!(">3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$66\r\n{}\r\n", "x".repeat(66));
    let flood = push.repeat(10_000).into_bytes();
    let mut at = 0;
    let mut read = growth(
        &mut lp,
        20,
        |metrics| metrics.messages_in_total,
        |lp| {
            at = (at + lp.redis.as_mut().expect("it is up").say(&flood[at..])) % flood.len();
        },
    );
    assert_eq!(read.iter().sum::<usize>(), each, "{read:?}");
    // Up to the last of it: the first may have been left over without a go.
    while read.pop_if(|read| *read < GO).is_some() {}
    assert!(read[1..].iter().all(|read| *read >= GO), "{read:?}");
}

/// What was read before is still to be gone through when the end comes, and nothing follows it.
#[test]
fn a_link_that_is_left_over_and_hangs_up_is_let_go() {
    let reset = |client: &mut Client| {
        SockRef::from(&*client.stream()).set_linger(Some(Duration::ZERO)).expect("a socket");
    };
    for resets in [false, true] {
        let mut lp = Loop::new(settings());
        let mut client = lp.open(SAYS);
        client.raw(&texts(&numbers(20 * GO)));
        lp.turn();
        let read = lp.metrics().messages_in_total as usize;
        assert!((1..20 * GO).contains(&read), "something is left over: {read}");
        match resets {
            true => reset(&mut client),
            false => client.shut_writing(),
        }
        let client = (!resets).then_some(client);
        lp.until("it is let go", |lp| lp.metrics().conns == 0);
        let read = lp.metrics().messages_in_total as usize;
        assert!(resets || read == 20 * GO, "what it said before is heard: {read}");
        drop(client);
    }
}

#[test]
fn whoever_has_sent_much_and_then_nothing_more_is_let_go() {
    for bytes in [1, SCRATCH - 1, SCRATCH, SCRATCH + 1, 5 * SCRATCH, 5 * SCRATCH + 1] {
        let mut lp = Loop::new(settings());
        let mut client = lp.open(SAYS);
        // A fragment of a message that does not end.
        let mut frame = vec![0x02, 0xff, 0, 0, 0, 0, 0, 0x0f, 0, 0, 0, 0, 0, 0];
        frame.resize(bytes, 0);
        client.raw(&frame);
        client.shut_writing();
        lp.until("it is let go", |lp| lp.metrics().conns == 0);
    }
}

/// A browser whose socket takes little on its way to it, and that pings on and on.
struct Pinger {
    client: Client,
    /// Pings that were begun, what is still to be sent of them, and pongs that came back.
    begun: usize,
    unsent: Vec<u8>,
    heard: usize,
}

impl Pinger {
    const PAYLOAD: usize = 100;
    /// More than any kernel keeps on its way.
    const MANY: usize = 1_000_000;

    fn new(lp: &mut Loop) -> Pinger {
        let socket = narrow(lp.address());
        let client = lp.open_on(socket, "pings?subscribe-broadcast");
        Pinger { client, begun: 0, unsent: Vec::new(), heard: 0 }
    }

    fn payload(number: usize) -> Vec<u8> {
        format!("{number:0width$}", width = Pinger::PAYLOAD).into_bytes()
    }

    /// Sends what the kernel takes; false when that is nothing.
    fn ping(&mut self) -> bool {
        if self.unsent.is_empty() {
            let pings = self.begun..self.begun + 500;
            self.begun = pings.end;
            let frame = |n| frame_bytes(true, Opcode::Ping, &Pinger::payload(n));
            self.unsent = pings.flat_map(frame).collect();
        }
        let sent = write_some(self.client.stream(), &self.unsent);
        self.unsent.drain(..sent);
        assert!(self.begun < Pinger::MANY, "it is read on and on");
        sent > 0
    }

    /// Pings that went out whole.
    fn sent(&self) -> usize {
        self.begun - self.unsent.len().div_ceil(Pinger::PAYLOAD + 6)
    }

    /// Hears what has come: the pongs follow each other.
    fn hear(&mut self) {
        while let Some(event) = self.client.next_within(Duration::from_micros(100)) {
            assert_eq!(event, Event::Pong(Pinger::payload(self.heard)));
            self.heard += 1;
        }
    }
}

/// Turns until a browser that reads nothing can send nothing more.
fn until_it_rests(lp: &mut Loop, pinger: &mut Pinger) {
    let mut idle = 0;
    lp.until("it is read no more", |_| {
        idle = if pinger.ping() { 0 } else { idle + 1 };
        idle > 20
    });
}

#[test]
fn a_link_that_rests_is_not_read_and_costs_no_turn() {
    let mut lp = Loop::new(settings());
    let mut pinger = Pinger::new(&mut lp);
    let mut others = [HEARS, "room?publish-broadcast"].map(|path| lp.open(path));
    for round in 0..3 {
        until_it_rests(&mut lp, &mut pinger);
        lp.settle();
        let sleeps = |lp: &mut Loop| {
            let (began, sleep) = (Instant::now(), Duration::from_millis(10));
            lp.turn_for(sleep);
            began.elapsed() >= sleep
        };
        let slept = (0..10).filter(|_| sleeps(&mut lp)).count();
        assert!(slept > 5, "it slept in {slept} turns of round {round}");
        others[1].send("others go on");
        lp.expect(&mut others[0], &["others go on".to_owned()]);
        // When it has read its pongs, the rest of its pings is read, though no more of them come.
        lp.until("every ping is answered", |_| {
            pinger.hear();
            pinger.heard == pinger.sent()
        });
    }
}

#[test]
fn a_link_that_rests_and_is_reset_is_let_go() {
    let mut lp = Loop::new(settings());
    let mut pinger = Pinger::new(&mut lp);
    until_it_rests(&mut lp, &mut pinger);
    drop(pinger);
    lp.until("it is let go", |lp| lp.metrics().conns == 0);
}

/// The kernel has told of them once, and there was no room for them then.
#[test]
fn who_could_not_be_accepted_is_when_there_is_room() {
    let mut lp = Loop::new(Settings { max_connections: 1, ..settings() });
    let _open = lp.open(HEARS);
    let streams: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(lp.address()).expect("a connection")).collect();
    lp.settle();
    // Those who are too many have a second to ask, and are told so.
    assert_eq!((lp.metrics().conns, lp.metrics().conns_accepted_total), (33, 33));
    lp.until("the rest has come", |lp| lp.metrics().conns_accepted_total == 41);
    drop(streams);
    lp.until("they are let go", |lp| lp.metrics().conns == 1);
}
