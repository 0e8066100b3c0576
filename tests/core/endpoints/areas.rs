//! Who follows a shared area, and what of it was overtaken.

use super::*;

fn follow(conn: ConnId, area: u32, binary: bool, content: &[u8]) -> Order {
    Order::Follow { conn, area, binary, content: content.to_vec() }
}

fn show(area: u32, content: &[u8]) -> Order {
    Order::Show { area, content: content.to_vec() }
}

#[test]
fn who_follows_is_sent_what_is_there_and_what_is_new() {
    let mut world = World::new(endpoint());
    let (alice, one) = open(&mut world, "/");
    let (bob, two) = open(&mut world, "/");
    let (carol, _) = open(&mut world, "/");
    world.order(follow(one, 1, false, b"now\0\0"));
    world.order(follow(two, 1, true, b"now\0\0"));
    world.order(follow(two, 2, false, b"\xff\xff"));
    world.order(show(1, b"new\0\0"));
    let text = |text: &str| Heard::Text(text.to_owned());
    let binary = |bytes: &[u8]| Heard::Binary(bytes.to_vec());
    assert_eq!(world.heard(alice), [text("now"), text("new")]);
    let no_text = binary(b"\xff\xff");
    assert_eq!(world.heard(bob), [binary(b"now\0\0"), no_text, binary(b"new\0\0")]);
    world.order(follow(one, 1, true, b"again"));
    world.order(show(1, b"once"));
    assert_eq!(world.heard(alice), [binary(b"again"), binary(b"once")], "it follows once");
    world.order(Order::Unfollow { conn: one, area: 1 });
    world.order(Order::Unfollow { conn: one, area: 7 });
    world.vanish(bob);
    world.order(show(1, b"nobody"));
    world.order(show(2, b"nobody"));
    assert_eq!((world.heard(alice), world.heard(carol)), (vec![], vec![]));
}

#[test]
fn a_name_that_has_outlived_its_conn_follows_nothing() {
    let mut world = World::new(endpoint());
    let (id, gone) = open(&mut world, "/");
    world.order(follow(gone, 1, false, b"now"));
    world.vanish(id);
    let next = world.open("/");
    world.order(show(1, b"new"));
    world.order(follow(gone, 1, false, b"now"));
    world.order(show(1, b"new"));
    assert_eq!(world.heard(next), []);
}

#[test]
fn who_reads_slowly_is_sent_the_latest_and_nothing_that_was_overtaken() {
    let mut world = World::new(Settings { outbox_limit: 10_000, ..endpoint() });
    let (slow, one) = open(&mut world, "/");
    let (fast, two) = open(&mut world, "/");
    for (conn, area) in [(one, 1), (one, 2), (two, 1)] {
        world.order(follow(conn, area, false, b"begin"));
    }
    world.heard(slow);
    world.heard(fast);
    world.stall(slow, 100);
    let frame = |number: usize| format!("{number:0>1000}");
    for number in 0..100 {
        world.order(show(1, frame(number).as_bytes()));
        world.order(show(2, frame(number + 1000).as_bytes()));
    }
    assert_eq!(world.texts(fast).len(), 100);
    world.resume(slow);
    // The one on its way, and perhaps one that waited alone, have no other in their place.
    let texts = world.texts(slow);
    assert!(texts.len() <= 4, "{} frames", texts.len());
    assert_eq!(texts[texts.len() - 2..], [frame(99), frame(1099)]);
    assert!(world.metrics().superseded_total > 150);
    assert_eq!(world.events(0), [], "nobody was closed");
}
