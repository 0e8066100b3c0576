//! What an application cannot harm by not reading, by flooding, or by saying what is nothing.

use super::*;
use wsloop::proto::handler::{HEAD, append};

/// How many frames have come, and of how many bytes.
fn sizes(world: &mut World) -> (usize, usize) {
    let frames = world.frames();
    (frames.len(), frames.iter().map(|frame| HEAD + frame.2.len()).sum())
}

fn flood(world: &mut World, id: BrowserId, messages: usize) {
    (0..messages).for_each(|_| world.send(id, &masked(Opcode::Text, &[b'x'; 87])));
    world.run();
}

#[test]
fn as_much_is_under_way_as_there_is_credit_for_and_nobody_is_read_then() {
    let mut world = World::new(dialed(false));
    world.handlers.last().greet(false, 1_000);
    world.run();
    world.frames();
    let (id, conn) = open(&mut world, "/");
    let spent = 1_000;
    flood(&mut world, id, 100);
    let (frames, bytes) = sizes(&mut world);
    assert!(frames < 10 && bytes < spent + 100, "{frames} frames of {bytes} bytes");
    assert!(world.browsers[id].sending.len() > 70, "the rest is not read");
    world.pass(60_000);
    assert_eq!(world.frames(), [], "and the loop sleeps, and nobody is judged by silence");
    assert_eq!(world.status(id), Some(101));
    world.ordered(Kind::Credit, 0, &100u32.to_be_bytes());
    assert_eq!(sizes(&mut world), (1, 100), "what is past the credit is owed");
    let mut all = frames + 1;
    for _ in 0..200 {
        world.ordered(Kind::Credit, 0, &500u32.to_be_bytes());
        let (frames, bytes) = sizes(&mut world);
        assert!(bytes <= 600, "{bytes}");
        all += frames;
    }
    assert_eq!(all, 100, "all of them");
    world.ordered(Kind::Text, conn, b"still here");
    assert_eq!(world.texts(id), ["still here"]);
}

#[test]
fn an_application_that_reads_nothing_has_its_conns_wait() {
    let mut world = greeted(dialed(false));
    let (id, _) = open(&mut world, "/");
    world.handlers.appetite = Some(0);
    let large = masked(Opcode::Binary, &[0; 100_000]);
    (0..100).for_each(|_| world.send(id, &large));
    world.run();
    let left = world.browsers[id].sending.len();
    assert!(left > 80, "{left} messages wait with the browser");
    world.pass(1_000);
    let held = world.metrics().memory_bytes;
    assert!((300_000..3_000_000).contains(&held), "{held}");
    world.resume_handler();
    assert_eq!(world.frames().len(), 100);
    assert_eq!(world.browsers[id].sending.len(), 0);
}

#[test]
fn a_conn_that_is_paused_is_not_read_and_others_are() {
    let mut world = greeted(dialed(false));
    let (one, its) = open(&mut world, "/");
    let (two, others) = open(&mut world, "/");
    world.ordered(Kind::Pause, its, b"");
    world.ordered(Kind::Pause, its, b"");
    (0..20).for_each(|_| world.send(one, &masked(Opcode::Text, b"wait")));
    world.run();
    world.say(two, "heard");
    assert_eq!(world.frames(), [text(others, "heard")]);
    world.pass(120_000);
    assert_eq!(world.frames(), [], "it is not judged by its silence");
    world.ordered(Kind::Resume, its, b"");
    assert_eq!(world.frames().len(), 20);
    world.ordered(Kind::Pause, its, b"");
    world.ordered(Kind::Close, its, b"\x03\xe8");
    assert_eq!(world.frames(), [closed(its, 1000, "")]);
    world.say(two, "and on");
    assert_eq!(world.frames(), [text(others, "and on")]);
}

#[test]
fn who_reads_too_slowly_is_told_of() {
    let mut world = greeted(Settings { outbox_limit: 1 << 20, ..dialed(false) });
    let (id, conn) = open(&mut world, "/");
    world.stall(id, 0);
    for _ in 0..10 {
        world.ordered(Kind::Binary, conn, &[0; 20_000]);
    }
    let frames = world.frames();
    let [(Kind::Slow, of, bytes)] = &frames[..] else { panic!("{frames:?}") };
    let bytes = u32::from_be_bytes(bytes[..].try_into().expect("four bytes"));
    assert!(*of == conn && (64 << 10..1 << 20).contains(&bytes), "{bytes}");
    world.resume(id);
    assert_eq!(world.frames(), [(Kind::Slow, conn, vec![0; 4])]);
    world.stall(id, 0);
    for _ in 0..100 {
        world.ordered(Kind::Binary, conn, &[0; 20_000]);
    }
    let frames = world.frames();
    let last = frames.last().expect("frames");
    assert_eq!(*last, closed(conn, 1008, "this connection reads too slowly"));
}

#[test]
fn what_cannot_be_framed_ends_the_link_and_is_said() {
    let mut hello = Vec::new();
    append(Kind::Hello, 0, &[&[0, 2, 0, 0, 0, 0, 0]], &mut hello);
    for (greets, bytes, why) in [
        (false, &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "another program"),
        (false, b"\0\0\0\0\x01\0\0\0\0\0\0\0\0", "does not greet"),
        (false, &hello, "version 2"),
        (true, b"\x7f\xff\xff\xff\x01\0\0\0\0\0\0\0\0", "--max-message-size"),
    ] {
        let mut world = World::new(dialed(false));
        if greets {
            world.greet();
        }
        world.frames();
        world.handlers.last().say(bytes);
        world.run();
        let frames = world.frames();
        let [(Kind::Error, 0, said)] = &frames[..] else { panic!("{frames:?}") };
        assert!(String::from_utf8_lossy(said).contains(why), "{said:?}");
        assert!(world.handlers.last().closed, "{why}");
        world.pass(10_000);
        assert!(world.handlers.links.len() > 1, "it is dialed again");
        world.greet();
        open(&mut world, "/");
    }
}

#[test]
fn complaints_that_nobody_reads_do_not_pile_up() {
    let mut world = greeted(dialed(false));
    world.handlers.appetite = Some(0);
    for _ in 0..300 {
        let mut stream = Vec::new();
        (0..100).for_each(|_| append(Kind::Text, 9, &[b"\xff"], &mut stream));
        world.handlers.last().say(&stream);
    }
    world.run();
    world.pass(1_000);
    assert_eq!(world.metrics().handler_orders_refused_total, 30_000);
    let held = world.metrics().memory_bytes;
    assert!(held < 1 << 20, "{held}");
}

#[test]
fn who_never_greets_is_given_up_and_dialed_again() {
    let mut world = World::new(dialed(false));
    world.pass(4_000);
    assert_eq!(world.handlers.links.len(), 1);
    world.pass(2_000);
    assert!(world.handlers.links[0].closed);
    assert_eq!(world.handlers.links.len(), 2);
    world.greet();
    open(&mut world, "/");
}
