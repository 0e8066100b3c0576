//! Names with several addresses, or none, or that take their time to be looked up.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use wsloop::{RedisAddress, Target};

use crate::turns::{Loop, RedisEnd};
use crate::world::{redis_of, with_redis};

/// A name here is a list of its addresses.
fn listed(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let address = |word: &str| SocketAddr::new(word.parse().expect("an address"), port);
    match name {
        "nobody," => Err(io::ErrorKind::NotFound.into()),
        "," => Ok(Vec::new()),
        name => Ok(name.split(',').map(address).collect()),
    }
}

/// A loop that is to dial Redis at that name.
fn dialing(name: &str, port: u16, redis: Option<RedisEnd>) -> Loop {
    let mut settings = with_redis();
    let target = Target::Tcp { host: name.to_owned(), port };
    redis_of(&mut settings).address = RedisAddress::Fixed(target);
    let mut lp = Loop { redis, ..Loop::new(settings) };
    lp.reactor.look_up_with(listed);
    lp
}

#[test]
fn the_next_address_of_a_name_is_dialed_when_one_fails() {
    for name in ["127.0.0.2,127.0.0.1", "127.0.0.2,127.0.0.3,127.0.0.1", "127.0.0.1,127.0.0.2"] {
        let redis = RedisEnd::at("127.0.0.1", 0);
        let mut lp = dialing(name, redis.port(), Some(redis));
        lp.until("Redis is up", |lp| lp.metrics().broker_up == 1);
        assert_eq!(lp.metrics().broker_dials_total, 1, "{name} is one dial");
    }
}

/// One that takes a link and does not answer would use up the time of every dial.
#[test]
fn each_dial_begins_with_another_address() {
    let first = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = first.local_addr().expect("an address").port();
    let second = TcpListener::bind(("127.0.0.2", port)).expect("the same port");
    let listeners = [first, second];
    listeners.iter().for_each(|one| one.set_nonblocking(true).expect("a socket"));
    let mut lp = dialing("127.0.0.1,127.0.0.2", port, None);
    for dial in 0..4 {
        // It is let go at once, and dialed again.
        lp.until("a dial", |_| listeners[dial % 2].accept().is_ok());
        assert!(listeners[1 - dial % 2].accept().is_err(), "dial {dial}");
    }
}

#[test]
fn a_name_that_leads_nowhere_is_dialed_again_later_and_costs_nothing() {
    for name in ["127.0.0.2,127.0.0.3", "nobody,", ","] {
        let free = RedisEnd::at("127.0.0.1", 0);
        let mut lp = dialing(name, free.port(), None);
        lp.until("it was dialed", |lp| lp.metrics().broker_dials_total == 3);
        lp.settle();
        assert!(lp.metrics().broker_dials_total < 5, "there are pauses");
        if name.starts_with("127") {
            lp.redis = Some(RedisEnd::at("127.0.0.3", free.port()));
            lp.until("Redis is up", |lp| lp.metrics().broker_up == 1);
        }
    }
}

/// Looks names up one after the other, each when it is let.
fn held(_: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let number = ASKED.fetch_add(1, Ordering::AcqRel) + 1;
    while ANSWERED.load(Ordering::Acquire) < number {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(vec![([127, 0, 0, 1], port).into()])
}

static ASKED: AtomicUsize = AtomicUsize::new(0);
static ANSWERED: AtomicUsize = AtomicUsize::new(0);

/// The time of a dial begins when there is something to dial.
#[test]
fn a_name_that_is_looked_up_slowly_keeps_nobody_waiting_and_costs_no_dial() {
    let redis = RedisEnd::at("127.0.0.1", 0);
    let mut settings = with_redis();
    let of_redis = redis_of(&mut settings);
    let target = Target::Tcp { host: "redis".to_owned(), port: redis.port() };
    of_redis.address = RedisAddress::Fixed(target);
    of_redis.timeout_ms = 300;
    let mut lp = Loop { redis: Some(redis), ..Loop::new(settings) };
    lp.reactor.look_up_with(held);
    let start = Instant::now();
    lp.until("three dials could have been given up", |_| start.elapsed().as_millis() > 1_000);
    drop(lp.open("room"));
    assert_eq!((lp.metrics().broker_dials_total, ASKED.load(Ordering::Acquire)), (1, 1));
    ANSWERED.store(usize::MAX, Ordering::Release);
    lp.until("Redis is up", |lp| lp.metrics().broker_up == 1);
    assert_eq!((lp.metrics().broker_dials_total, ASKED.load(Ordering::Acquire)), (1, 1));
}
