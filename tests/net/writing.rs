//! Who is written to when, and how much of it.

use std::time::Duration;

use crate::support::client::{Client, Event};
use crate::turns::{Loop, narrow, texts};
use crate::world::{redis_of, settings};

const HEARS: &str = "room?subscribe-broadcast";
const SPEAKS: &str = "room?publish-broadcast";

/// Frames that one write takes.
const SLICES: usize = 16;
/// Bytes of messages that are not put together for one write, whose calls are counted.
const APART: usize = 600;

/// A long text that begins with a number.
fn long(number: usize, length: usize) -> String {
    let mut text = format!("{number} ");
    text.extend(std::iter::repeat_n('x', length - text.len()));
    text
}

#[test]
fn a_link_is_written_to_once_in_a_turn_whatever_was_queued_in_it() {
    let mut lp = Loop::new(settings());
    let mut hearer = lp.open(HEARS);
    // No more than fit into one write.
    let mut speakers: Vec<Client> = (0..SLICES).map(|_| lp.open(SPEAKS)).collect();
    let text = long(0, APART);
    for round in 0..3 {
        speakers.iter_mut().for_each(|speaker| speaker.send(&text));
        lp.writes = Some(Vec::new());
        let all = SLICES * (round + 1);
        lp.until("all is heard", |lp| lp.metrics().deliveries_total == all as u64);
        let turns = lp.writes.take().expect("they are counted");
        assert!(turns.iter().all(|writes| *writes <= 1), "{turns:?}");
        assert!(turns.len() < SLICES / 2, "what came together was heard together: {turns:?}");
        lp.expect(&mut hearer, &vec![text.clone(); SLICES]);
    }
}

/// What is put together for a write arrives as it was, also past what one write takes.
#[test]
fn many_small_pieces_arrive_as_they_were() {
    let mut lp = Loop::with_redis(|_| {});
    let mut hearer = lp.open(HEARS);
    let _other = lp.open("other?subscribe-broadcast");
    for count in [1, 2, 3, SLICES / 4, SLICES - 1, SLICES, SLICES + 1, 3 * SLICES] {
        let texts: Vec<String> = (0..count).map(|n| long(n, 4 + n % 40)).collect();
        for text in &texts {
            let redis = lp.redis.as_mut().expect("it is up");
            redis.fake.publish("broadcast:room", text, 0, 0);
            redis.fake.publish("broadcast:other", text, 0, 0);
        }
        lp.writes = Some(Vec::new());
        lp.expect(&mut hearer, &texts);
        let counted: usize = lp.writes.take().into_iter().flatten().sum();
        assert_eq!(counted, 0, "each is put together, which is one piece to the kernel");
    }
}

/// So much waits, in little pieces, that one turn has not the time to write it all.
#[test]
fn a_link_for_which_very_much_waits_is_written_to_in_several_turns() {
    const FRAMES: usize = 64 << 10;
    let mut lp = Loop::with_redis(|settings| {
        (settings.outbox_limit, settings.max_message_size) = (1 << 30, 32 << 20);
    });
    let socket = narrow(lp.address());
    let mut hearer = lp.open_on(socket, HEARS);
    let _other = lp.open("other?subscribe-broadcast");
    // More than the kernel keeps for a browser that reads nothing.
    let first = long(0, 6 << 20);
    let text = long(1, APART);
    let channels = ["broadcast:room", "broadcast:other"];
    lp.redis.as_mut().expect("it is up").publish(channels[0], &first);
    lp.settle();
    // From one channel to the other and back, so that no message is joined with the one before.
    for n in 0..FRAMES {
        let redis = lp.redis.as_mut().expect("it is up");
        channels.iter().for_each(|channel| redis.fake.publish(channel, &text, 0, 0));
        if n % 1000 == 0 {
            lp.turn();
        }
    }
    let all = 2 * FRAMES as u64 + 1;
    lp.until("all is queued", |lp| lp.metrics().messages_out_total == all);
    lp.settle();
    lp.writes = Some(Vec::new());
    let mut heard = Vec::new();
    lp.until("all is heard", |_| {
        heard.extend(std::iter::from_fn(|| hearer.next_within(Duration::from_micros(100))));
        heard.len() > FRAMES
    });
    assert!(heard[0] == Event::Text(first));
    assert!(heard[1..].iter().all(|event| *event == Event::Text(text.clone())));
    let most = lp.writes.into_iter().flatten().max().expect("they are counted");
    assert!((2..FRAMES / SLICES * 2 / 3).contains(&most), "{most} writes in one turn");
}

/// It is told of the kernel only when it has asked to be, and that only once.
#[test]
fn a_browser_that_stalls_is_written_to_when_it_reads_again() {
    let mut lp = Loop::with_redis(|settings| {
        (settings.outbox_limit, settings.max_message_size) = (64 << 20, 2 << 20);
    });
    let socket = narrow(lp.address());
    let mut slow = lp.open_on(socket, HEARS);
    let mut other = lp.open("other?subscribe-broadcast");
    for round in 0..3 {
        let texts: Vec<String> = (0..6).map(|n| long(6 * round + n, 1 << 20)).collect();
        let redis = lp.redis.as_mut().expect("it is up");
        texts.iter().for_each(|text| redis.publish("broadcast:room", text));
        redis.publish("broadcast:other", "others go on");
        lp.expect(&mut other, &["others go on".to_owned()]);
        // While it reads nothing there is nothing to do.
        lp.settle();
        lp.writes = Some(Vec::new());
        lp.expect(&mut slow, &texts);
        let later: usize = lp.writes.take().into_iter().flatten().sum();
        assert!(later > 0, "some of it has waited");
    }
    assert_eq!(lp.metrics().slow_total, 0);
}

#[test]
fn a_redis_that_stalls_is_written_to_when_it_reads_again() {
    let mut lp = Loop::with_redis(|settings| {
        let redis = redis_of(settings);
        (redis.timeout_ms, redis.buffer_limit) = (60_000, 128 << 20);
    });
    let mut speaker = lp.open(SPEAKS);
    for round in 0..2 {
        lp.redis.as_mut().expect("it is up").asleep = true;
        let said: Vec<String> = (0..20).map(|n| long(20 * round + n, 1 << 19)).collect();
        for text in &said {
            speaker.raw(&texts(std::slice::from_ref(text)));
            lp.settle();
        }
        assert_eq!(lp.metrics().publishes_total as usize, 20 * (round + 1));
        lp.redis.as_mut().expect("it is up").asleep = false;
        let mut published = Vec::new();
        lp.until("all is published", |lp| {
            published.append(&mut lp.redis.as_mut().expect("it is up").fake.take_published());
            published.len() == said.len()
        });
        assert!(published.iter().zip(&said).all(|((_, got), said)| got == said.as_bytes()));
    }
    assert_eq!(lp.metrics().broker_lost_total, 0);
}
