//! What a client sends that means no good, or does not know what it does.

use super::*;
use wsloop::proto::ws::frame::MAX_HEADER;

/// So many commands in one piece.
fn flood(world: &mut World, id: BrowserId, commands: impl Iterator<Item = String>) {
    let frames: Vec<u8> = commands.flat_map(|one| masked(Opcode::Text, one.as_bytes())).collect();
    world.send(id, &frames);
    world.run();
}

fn count(texts: &[String], start: &str) -> usize {
    texts.iter().filter(|text| text.starts_with(start)).count()
}

#[test]
fn what_is_no_command_closes_with_4400_and_says_what_is_wrong() {
    let mut world = World::new(settings());
    for (message, why) in [
        (&b"hello"[..], "subscribe, unsubscribe, publish or ping"),
        (b"", "subscribe, unsubscribe, publish or ping"),
        (b"subscribe 0 broadcast foo", "9007199254740991"),
        (b"publish 1 broadcast foo", "line feed"),
        (b"subscribe 1 broadcast %zz", "hexadecimal"),
        (b"\xff\xfe\0\x01", "UTF-8"),
    ] {
        let id = open(&mut world, &[]);
        world.send_frame(id, Opcode::Binary, message);
        let (code, said) = closed_with(&mut world, id);
        assert_eq!(code, Some(4400), "{message:?}");
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(world.metrics().protocol_errors_total, 6);
    assert_eq!(world.metrics().subscriptions, 0);
}

#[test]
fn ten_thousand_subscribes_are_as_many_as_may_be() {
    let mut world = World::new(Settings { max_subscriptions: 100, ..settings() });
    let id = open(&mut world, &[]);
    flood(&mut world, id, (1..=10_000).map(|n| format!("subscribe {n} broadcast room/{n}")));
    let texts = world.texts(id);
    assert_eq!(count(&texts, "ok "), 100);
    assert_eq!(count(&texts, "refused "), 9900);
    assert_eq!(world.metrics().subscriptions, 100);
    assert_eq!(refusal(&mut world, id, "subscribe 1 broadcast one/more"), 429);
    assert_eq!(answer(&mut world, id, "unsubscribe 2 broadcast room/1"), "ok 2");
    assert_eq!(answer(&mut world, id, "subscribe 3 broadcast one/more"), "ok 3");
}

#[test]
fn names_are_bounded_one_by_one_and_together() {
    let mut world = World::new(Settings { max_names_size: 1000, ..settings() });
    let id = open(&mut world, &[]);
    let long = |letter: &str, bytes: usize| letter.repeat(bytes);
    let command = |n: u32, name: &str| format!("subscribe {n} broadcast {name}");
    assert_eq!(refusal(&mut world, id, &command(1, &long("a", 513))), 413);
    assert_eq!(answer(&mut world, id, &command(2, &long("a", 490))), "ok 2");
    assert_eq!(answer(&mut world, id, &command(3, &long("b", 490))), "ok 3");
    assert_eq!(refusal(&mut world, id, &command(4, "c")), 413);
    assert_eq!(
        answer(&mut world, id, &format!("unsubscribe 5 broadcast {}", long("b", 490))),
        "ok 5"
    );
    assert_eq!(answer(&mut world, id, &command(6, "c")), "ok 6");
    // A name of a mebibyte is more than a message may be.
    let name = long("x", 1 << 20);
    world.say(id, &command(7, &name));
    assert_eq!(closed_with(&mut world, id).0, Some(1009));
    let id = open(&mut world, &[]);
    assert_eq!(refusal(&mut world, id, &command(8, &name[..(1 << 20) - 100])), 413);
}

#[test]
fn commands_under_way_are_bounded() {
    let mut world = World::new(Settings { max_commands: 3, ..with_redis() });
    let id = open(&mut world, &[]);
    world.redis.paused = true;
    flood(&mut world, id, (1..=5).map(|n| format!("publish {n} broadcast foo\nhello")));
    let texts = world.texts(id);
    assert_eq!(count(&texts, "refused 4 429 "), 1, "{texts:?}");
    assert_eq!((count(&texts, "refused 5 429 "), texts.len()), (1, 2), "{texts:?}");
    assert_eq!(answer(&mut world, id, "ping 6"), "ok 6", "a ping is never too much");
    world.redis.paused = false;
    world.run();
    assert_eq!(world.texts(id), ["ok 1", "ok 2", "ok 3"]);
}

#[test]
fn who_does_not_read_the_answers_is_not_read_either() {
    let mut world = World::new(settings());
    let id = open(&mut world, &[]);
    world.stall(id, 0);
    for _ in 0..100 {
        flood(&mut world, id, (1..=1000).map(|n| format!("ping {n}")));
    }
    // As much as of pongs, and what one go may add to that.
    let most = (64 << 10) + 128 * ("ok 1000".len() + MAX_HEADER);
    assert!(world.waiting(id) <= most, "{} bytes wait", world.waiting(id));
    world.resume(id);
    world.pass(100);
    assert_eq!(world.texts(id).len(), 100_000, "and all of them are answered in the end");
}

#[test]
fn a_command_may_come_in_pieces() {
    let mut world = World::new(settings());
    let id = open(&mut world, &[]);
    let frame = |opcode: Opcode, fin: bool, payload: &[u8]| {
        let mut frame = masked(opcode, payload);
        frame[0] = frame[0] & 0x7f | if fin { 0x80 } else { 0 };
        frame
    };
    let pieces = [
        frame(Opcode::Text, false, b"publish 1 broad"),
        masked(Opcode::Ping, b""),
        frame(Opcode::Continuation, false, b"cast foo\nhel"),
        frame(Opcode::Continuation, true, b"lo"),
    ];
    let hearer = world.open("/ws/foo?subscribe-broadcast");
    for byte in pieces.concat() {
        world.send(id, &[byte]);
    }
    world.run();
    assert_eq!(world.heard(id), [Heard::Pong(vec![]), Heard::Text("ok 1".to_owned())]);
    assert_eq!(world.texts(hearer), ["hello"]);
}

#[test]
fn the_largest_payload_is_published_and_a_larger_one_refused() {
    let mut world = World::new(Settings { max_message_size: 10_000, ..settings() });
    let id = open(&mut world, &[]);
    let publish = |bytes: usize| format!("publish 1 broadcast foo\n{}", "x".repeat(bytes));
    assert_eq!(answer(&mut world, id, &publish(7952)), "ok 1");
    assert_eq!(refusal(&mut world, id, &publish(7953)), 413);
    world.say(id, &publish(10_000));
    assert_eq!(closed_with(&mut world, id).0, Some(1009));
}

#[test]
fn who_says_too_much_is_closed() {
    let mut world = World::new(Settings { message_rate: 5, ..settings() });
    let id = open(&mut world, &[]);
    flood(&mut world, id, (1..=6).map(|n| format!("ping {n}")));
    let heard = world.heard(id);
    assert_eq!(heard.len(), 6, "{heard:?}");
    assert!(matches!(heard[5], Heard::Close(Some(1008), _)), "{heard:?}");
}
