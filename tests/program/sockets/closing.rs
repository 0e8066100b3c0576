//! How connections are closed by the server.

use super::*;

/// Whether the server ends the stream within some time.
fn ends(client: &mut Client, within: Duration) -> bool {
    client.next_within(within) == Some(Event::End)
}

#[test]
fn a_socket_is_not_shut_before_our_close_is_answered() {
    let server = Wsloop::start(&["--max-message-size", "1000"]);
    let mut client = server.connect("room");
    let message = frame_bytes(true, Opcode::Binary, &[b'x'; 70_000]);
    client.raw(&message[..100]);
    client.hear_close(1009, "larger");
    assert!(!ends(&mut client, Duration::from_millis(300)), "shut before the answer");
    client.raw(&message[100..]);
    client.send("what was on its way");
    assert!(!ends(&mut client, Duration::from_millis(300)), "shut by something else");
    let answered = Instant::now();
    client.frame(true, Opcode::Close, &1009u16.to_be_bytes());
    assert_eq!(client.next(), Event::End);
    assert!(answered.elapsed() < Duration::from_secs(2), "{:?}", answered.elapsed());
}

#[test]
fn a_close_that_is_not_answered_ends_after_the_close_timeout() {
    let server = Wsloop::start(&["--max-message-size", "1000", "--close-timeout", "0.5"]);
    let mut client = server.connect("room");
    let begun = Instant::now();
    client.raw(&frame_bytes(true, Opcode::Binary, &[b'x'; 70_000])[..100]);
    client.hear_close(1009, "larger");
    assert_eq!(client.next(), Event::End);
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    server.expect_metric("conns", |n| n == 1);
}
