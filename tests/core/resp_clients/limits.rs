//! What a RESP client may not make grow, and how it ends.

use super::*;

#[test]
fn messages_have_the_limit_of_all_messages() {
    let mut world = World::new(settings());
    let (id, browser) = (world.connect_resp(), world.open(HEARS));
    for (size, expected) in [(1 << 20, ":1\n"), ((1 << 20) + 1, "-ERR the message is larger than ")]
    {
        let head = format!("*3\r\n$7\r\nPUBLISH\r\n$13\r\n{CHANNEL}\r\n${size}\r\n");
        let bytes = [head.as_bytes(), &vec![b'x'; size], b"\r\n"].concat();
        for piece in bytes.chunks(64 << 10) {
            world.tell(id, piece);
        }
        let answer = world.answers(id);
        assert!(answer.starts_with(expected), "{answer}");
    }
    assert_eq!(world.texts(browser).len(), 1);
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_and_nobody_else() {
    let mut world = World::new(settings());
    let (slow, quick, publisher) =
        (world.connect_resp(), world.connect_resp(), world.connect_resp());
    let browser = world.open(HEARS);
    for id in [slow, quick] {
        world.ask_for(id, "SUBSCRIBE broadcast:foo");
    }
    world.stall_resp(slow, 1000);
    let text = "x".repeat(1 << 19);
    let command = format!("*3\r\n$7\r\nPUBLISH\r\n$13\r\n{CHANNEL}\r\n$524288\r\n{text}\r\n");
    for sent in 1..=80 {
        world.tell(publisher, &command);
        assert_eq!(world.resp_clients[slow].closed, sent >= 64, "after {sent}");
    }
    assert!(!world.resp_clients[quick].closed && world.metrics().resp_clients_closed_total == 1);
    assert!(world.answers(quick).len() > 80 << 19);
    assert_eq!(world.texts(browser).len(), 80);
    assert!(world.answers(publisher).ends_with(":2\n"), "it does not count any more");
}

#[test]
fn who_asks_for_more_than_it_reads_waits_for_the_rest() {
    let mut world = World::new(settings());
    let id = world.connect_resp();
    let value = "x".repeat(100_000);
    world.ask_for(id, &format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\n{value}\r"));
    world.stall_resp(id, 0);
    world.tell(id, "GET a\r\n".repeat(500) + "PING\r\n");
    let other = world.connect_resp();
    assert_eq!(world.ask_for(other, "PING"), "+PONG\n", "nobody else waits");
    world.resume_resp(id);
    let answers = world.answers(id);
    assert_eq!(answers.matches("$100000\n").count(), 500);
    assert!(answers.ends_with("+PONG\n"));

    // But it may not go on asking for ever.
    world.stall_resp(id, 0);
    for _ in 0..100 {
        world.tell(id, "GET a\r\n".repeat(8_000));
    }
    assert!(world.resp_clients[id].closed);
}

#[test]
fn who_ends_its_side_is_answered_first() {
    let mut world = World::new(settings());
    let id = world.connect_resp();
    world.stall_resp(id, 0);
    world.tell(id, "PING\r\n");
    world.end_resp(id, Cause::Ended);
    assert!(!world.resp_clients[id].closed);
    world.resume_resp(id);
    assert_eq!((world.answers(id).as_str(), world.resp_clients[id].closed), ("+PONG\n", true));
    let id = world.connect_resp();
    world.ask_for(id, "SUBSCRIBE a");
    world.end_resp(id, Cause::Failed("reset".to_owned()));
    assert!(world.resp_clients[id].closed);
    let id = world.connect_resp();
    assert_eq!(world.ask_for(id, "PUBLISH a x"), ":0\n");
}

#[test]
fn there_are_only_so_many() {
    let mut world = World::new(settings());
    let ids: Vec<usize> = (0..128).map(|_| world.connect_resp()).collect();
    world.run();
    let surplus = world.connect_resp();
    world.run();
    assert_eq!(world.answers(surplus), "-ERR max number of clients reached\n");
    assert!(world.resp_clients[surplus].closed);
    assert!(ids.iter().all(|id| !world.resp_clients[*id].closed));
    world.end_resp(ids[5], Cause::Ended);
    let next = world.connect_resp();
    assert_eq!(world.ask_for(next, "PING"), "+PONG\n");
}

#[test]
fn subscriptions_and_transactions_are_bounded() {
    let mut world = World::new(settings());
    let id = world.connect_resp();
    let mut refused = 0;
    for n in 0..1500 {
        let name = format!("{n:04}{}", "n".repeat(4092));
        refused += usize::from(world.ask_for(id, &format!("SUBSCRIBE {name}")).starts_with('-'));
    }
    assert!((470..510).contains(&refused), "{refused}");
    let long = "n".repeat(4097);
    for command in ["SUBSCRIBE", "PUBLISH", "SET"] {
        let message = if command == "SUBSCRIBE" { "" } else { "x" };
        let id = world.connect_resp();
        let answer = world.ask_for(id, &format!("{command} {long} {message}"));
        assert!(answer.starts_with("-ERR the name is longer than 4 KiB"), "{answer}");
    }
    assert!(world.ask_for(id, &format!("PSUBSCRIBE {}", "*".repeat(1025))).starts_with("-ERR"));

    let id = world.connect_resp();
    world.ask_for(id, "MULTI");
    let command = format!("*2\r\n$4\r\nECHO\r\n$1000000\r\n{}\r\n", "x".repeat(1_000_000));
    for _ in 0..70 {
        world.tell(id, &command);
    }
    assert!(world.resp_clients[id].closed);
    assert!(world.answers(id).ends_with("does at once\n"));
}

#[test]
fn patterns_that_take_long_harm_nobody_else() {
    let mut world = World::new(settings());
    let (evil, good) = (world.connect_resp(), world.connect_resp());
    world.ask_for(good, "PSUBSCRIBE *aaa* b*");
    for n in 0..100 {
        world.ask_for(evil, &format!("PSUBSCRIBE *{}{n}b", "a".repeat(500)));
    }
    let publisher = world.connect_resp();
    let name = "a".repeat(4096);
    assert_eq!(world.ask_for(publisher, &format!("PUBLISH {name} x")), ":1\n");
    world.ask_for(publisher, &format!("SET {name} x"));
    let keys = world.ask_for(publisher, &format!("KEYS *{}b", "a".repeat(500)));
    assert_eq!(keys, "*0\n", "one name is not too much");
    assert!(world.resp_clients[evil].closed && !world.resp_clients[good].closed);
    assert!(world.answers(good).contains("pmessage"));

    for n in 0..50 {
        world.ask_for(publisher, &format!("SET {}{n} x", "a".repeat(4000)));
    }
    let keys = world.ask_for(publisher, &format!("KEYS *{}b", "a".repeat(500)));
    assert!(keys.starts_with("-ERR that is more than"), "{keys:.80}");
}

#[test]
fn all_clients_together_hold_a_bounded_number_of_bytes() {
    let mut world = World::new(settings());
    let command = format!("*2\r\n$4\r\nECHO\r\n$1000000\r\n{}\r\n", "x".repeat(1_000_000));
    let ids: Vec<usize> = (0..6).map(|_| world.connect_resp()).collect();
    for (at, id) in ids.iter().enumerate() {
        world.ask_for(*id, "MULTI");
        // The fourth has most when it is too much; none is at its own limit.
        for _ in 0..30 + usize::from(at == 3) {
            world.tell(*id, &command);
        }
    }
    let closed: Vec<bool> = ids.iter().map(|id| world.resp_clients[*id].closed).collect();
    assert_eq!(closed.iter().filter(|closed| **closed).count(), 2, "{closed:?}");
    assert!(closed[3], "{closed:?}");
    assert_eq!(world.metrics().resp_clients_closed_total, 2);
}

#[test]
fn a_control_character_in_a_line_ends_the_connection() {
    for (bytes, closed) in [
        (&b"PING\x00\n"[..], true),
        (b"PING \x1b[A\r\n", true),
        (b"\xff\xf4\xff\xfd\x06", true),
        (b"\x16\x03\x01\x02\x00", true),
        (b"PI\rNG\r\n", true),
        (b"PING\t\"a\x7f\"\n", true),
        (b"PING\tx\r\n", false),
        (b"PING h\xc3\xa9\r\n", false),
        (b"*2\r\n$4\r\nPING\r\n$2\r\n\x00\n\r\n", false),
    ] {
        for cut in [1, bytes.len()] {
            let mut world = World::new(settings());
            let id = world.connect_resp();
            bytes.chunks(cut).for_each(|piece| world.tell(id, piece));
            assert_eq!(world.resp_clients[id].closed, closed, "{}", bytes.escape_ascii());
            let told = world.answers(id).contains("-ERR Protocol error: control character");
            assert_eq!(told, closed, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn ten_thousand_keys_are_listed_and_scanned() {
    let mut world = World::new(settings());
    let id = world.connect_resp();
    let sets: String = (0..10_000).map(|n| format!("SET broadcast:{n} x\r\n")).collect();
    world.tell(id, sets);
    assert_eq!(world.answers(id), "+OK\n".repeat(10_000));
    let keys = world.ask_for(id, "KEYS broadcast:*7");
    assert!(keys.starts_with("*1000\n$11\nbroadcast:7\n"), "{}", &keys[..50]);
    let (mut cursor, mut seen) = ("0".to_owned(), 0);
    loop {
        let answer = world.ask_for(id, &format!("SCAN {cursor} COUNT 777"));
        let mut lines = answer.lines().skip(2);
        cursor = lines.next().expect("a cursor").to_owned();
        seen += lines.filter(|line| line.starts_with("broadcast:")).count();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen, 10_000);
}

#[test]
fn a_full_turn_is_not_the_end_of_a_pipeline() {
    let mut world = World::new(settings());
    let listeners: Vec<usize> = (0..40).map(|_| world.connect_resp()).collect();
    for id in &listeners {
        world.ask_for(*id, "PSUBSCRIBE *");
    }
    let publisher = world.connect_resp();
    let text = "x".repeat(30_000);
    let publish = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$30000\r\n{text}\r\n");
    // More than a turn may queue: 40 times 6 MB.
    let pipeline = publish.repeat(200) + "SUBSCRIBE a\r\n";
    for piece in pipeline.as_bytes().chunks(64 << 10) {
        world.send_later(publisher, piece);
    }
    world.run();
    let answers = world.answers(publisher);
    assert_eq!(answers.matches(":40\n").count(), 200);
    assert!(answers.ends_with("*3\n$9\nsubscribe\n$1\na\n:1\n"));
    for id in listeners {
        assert_eq!(world.answers(id).matches("pmessage").count(), 200);
    }
}

#[test]
fn a_shutdown_closes_them_and_redis_leaves_no_place_for_them() {
    let mut world = World::new(settings());
    let id = world.connect_resp();
    assert!(world.server.accepting_clients());
    world.shut_down();
    assert!(world.resp_clients[id].closed && !world.server.accepting_clients());
    assert!(world.server.is_done());
    assert!(!World::new(with_redis()).server.accepting_clients());
}
