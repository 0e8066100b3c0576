//! Compressed messages as the message reader takes them: every case is fed whole, cut in two at
//! every byte, and byte by byte, and must come out the same.

use std::borrow::Cow;

use wsloop::proto::ws::deflate::{Deflater, Inflater, Window};
use wsloop::proto::ws::frame::{Opcode, ProtocolError, Role, encode_masked};
use wsloop::proto::ws::message::{Event, Kind, Limits, Reader};

const LIMITS: Limits =
    Limits { role: Role::Server, max_message: 70_000, max_fragments: 10, compression: true };

/// `Hello` with fixed codes, without its tail (RFC 7692 section 7.2.3.1).
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\0";
/// `Hello` again, in terms of the first (section 7.2.3.2).
const HELLO_AGAIN: &[u8] = b"\xf2\0\x11\0\0";

/// The events of a stream, and the error that ended it.
type Outcome = (Vec<Event<'static>>, Option<ProtocolError>);

/// A client's frame with any first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_masked(Opcode::Binary, payload, [0x9d, 0x01, 0xfe, 0x6b], &mut frame);
    frame[0] = first;
    frame
}

fn text(data: &str) -> Event<'static> {
    Event::Message { kind: Kind::Text, data: Cow::Owned(data.into()) }
}

fn binary(data: &[u8]) -> Event<'static> {
    Event::Message { kind: Kind::Binary, data: Cow::Owned(data.into()) }
}

fn own(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Message { kind, data } => {
            Event::Message { kind, data: Cow::Owned(data.into_owned()) }
        }
        Event::Ping(data) => Event::Ping(Cow::Owned(data.into_owned())),
        _ => panic!("nothing else is sent here"),
    }
}

/// A connection's life, read by read, with an inflater that other conns use too.
fn run(mut reader: Reader, reads: &[&[u8]], limits: &Limits) -> Outcome {
    let mut inflater = Inflater::default();
    let mut other = Reader::new();
    let mut events = Vec::new();
    for read in reads {
        let mut bytes = read.to_vec();
        let mut input = &mut bytes[..];
        loop {
            match reader.next_with(&mut input, limits, &mut inflater) {
                Ok(Some(event)) => events.push(own(event)),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(input.is_empty(), "None means that all was taken");
        let mut bytes = frame(0xc1, HELLO);
        let event = other.next_with(&mut &mut bytes[..], &LIMITS, &mut inflater);
        assert_eq!(event, Ok(Some(text("Hello"))), "the other conn");
    }
    (events, None)
}

/// Long streams are cut near their ends and at some bytes between.
fn is_cut_here(at: usize, len: usize) -> bool {
    len <= 512 || at < 24 || at + 8 > len || at.is_multiple_of(20_011)
}

#[track_caller]
fn check_with(reader: fn() -> Reader, frames: &[Vec<u8>], limits: &Limits, expected: Outcome) {
    let bytes = frames.concat();
    let whole = run(reader(), &[&bytes], limits);
    // No assert_eq: a failing long stream would print megabytes.
    assert!(whole == expected, "whole: {whole:.300?}");
    for at in (0..=bytes.len()).filter(|at| is_cut_here(*at, bytes.len())) {
        let (front, back) = bytes.split_at(at);
        assert!(run(reader(), &[front, back], limits) == expected, "cut at {at}");
    }
    if bytes.len() < 5000 {
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert!(run(reader(), &single, limits) == expected, "byte by byte");
    }
}

#[track_caller]
fn check(frames: &[Vec<u8>], events: &[Event<'static>]) {
    check_with(Reader::new, frames, &LIMITS, (events.to_vec(), None));
}

#[track_caller]
fn check_bad(frames: &[Vec<u8>], events: &[Event<'static>], error: ProtocolError) {
    check_with(Reader::new, frames, &LIMITS, (events.to_vec(), Some(error)));
}

#[test]
fn messages_are_inflated() {
    let f = frame;
    check(&[f(0xc1, HELLO)], &[text("Hello")]);
    check(&[f(0xc2, HELLO), f(0xc1, HELLO)], &[binary(b"Hello"), text("Hello")]);
    // Plain ones may come between, and are handed on as they are.
    let mixed = [f(0x81, b"plain"), f(0xc1, HELLO), f(0x82, HELLO)];
    check(&mixed, &[text("plain"), text("Hello"), binary(HELLO)]);
    // Empty, as zlib writes it, and with no byte at all.
    check(&[f(0xc1, b"\0"), f(0xc2, b"")], &[text(""), binary(b"")]);
    // With a last block.
    check(
        &[f(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\0\0"), f(0xc1, HELLO)],
        &[text("Hello"), text("Hello")],
    );
}

#[test]
fn fragments_are_one_stream() {
    let f = frame;
    let fragments =
        [f(0x41, &HELLO[..3]), f(0x00, b""), f(0x00, &HELLO[3..4]), f(0x80, &HELLO[4..])];
    check(&fragments, &[text("Hello")]);
    check(&[f(0x41, b""), f(0x80, HELLO)], &[text("Hello")]);
    check(&[f(0x42, HELLO), f(0x80, b"")], &[binary(b"Hello")]);
    check(&[f(0x41, b""), f(0x00, b""), f(0x80, b"")], &[text("")]);
    let ping = Event::Ping(Cow::Borrowed(b"!"));
    let between = [f(0x41, &HELLO[..3]), f(0x89, b"!"), f(0x80, &HELLO[3..]), f(0xc1, HELLO)];
    check(&between, &[ping, text("Hello"), text("Hello")]);
}

#[test]
fn rsv1_stands_on_the_first_frame_of_a_message_only() {
    let f = frame;
    let error = ProtocolError::ReservedBit;
    check_bad(&[f(0x41, &HELLO[..3]), f(0xc0, &HELLO[3..])], &[], error);
    check_bad(&[f(0x01, b"a"), f(0xc0, b"b")], &[], error);
    check_bad(&[f(0xc1, HELLO), f(0xc9, b"")], &[text("Hello")], error);
    check_bad(&[f(0xc8, b"")], &[], error);
    check_bad(&[f(0xe1, HELLO)], &[], error);
    let plain = Limits { compression: false, ..LIMITS };
    check_with(Reader::new, &[f(0xc1, HELLO)], &plain, (Vec::new(), Some(error)));
}

#[test]
fn what_cannot_be_inflated_ends_the_stream() {
    let f = frame;
    let error = ProtocolError::NotDeflated;
    check_bad(&[f(0xc1, HELLO), f(0xc1, b"\x06"), f(0xc1, HELLO)], &[text("Hello")], error);
    check_bad(&[f(0xc1, &HELLO[..5])], &[], error);
    check_bad(&[f(0x41, HELLO), f(0x80, b"\x06")], &[], error);
    // A context that was not agreed on.
    check_bad(&[f(0xc1, HELLO), f(0xc1, HELLO_AGAIN)], &[text("Hello")], error);
    assert_eq!(error.close_code(), 1007);
}

#[test]
fn a_context_is_taken_over_where_that_was_agreed_on() {
    let f = frame;
    let frames = [
        f(0xc1, HELLO),
        // What is not compressed is no part of the context, nor is a control frame.
        f(0x81, b"12345678901234567890"),
        f(0x89, b""),
        f(0x41, &HELLO_AGAIN[..2]),
        f(0x80, &HELLO_AGAIN[2..]),
        f(0xc1, HELLO_AGAIN),
    ];
    let hello = text("Hello");
    let plain = text("12345678901234567890");
    let ping = Event::Ping(Cow::Borrowed(b""));
    let expected = [hello.clone(), plain, ping, hello.clone(), hello];
    for reader in [|| Reader::with_takeover(8), || Reader::with_takeover(15)] {
        check_with(reader, &frames[..5], &LIMITS, (expected[..4].to_vec(), None));
        check_with(reader, &frames, &LIMITS, (expected.to_vec(), None));
    }
}

#[test]
fn text_is_checked_as_it_comes_out() {
    let good = "grüße €😀".repeat(9);
    let mut deflater = Deflater::default();
    let mut deflated = |text: &[u8]| deflater.compress(text, 15).expect("smaller").to_vec();
    check(&[frame(0xc1, &deflated(good.as_bytes()))], &[text(&good)]);
    let mut bad = good.clone().into_bytes();
    bad.push(0xc3);
    let error = ProtocolError::TextNotUtf8;
    check_bad(&[frame(0xc1, &deflated(&bad))], &[], error);
    bad.insert(20, 0xff);
    let frames = [frame(0x41, &deflated(&bad)), frame(0x00, b"\0\0\0\xff\xff")];
    check_bad(&frames, &[], error);
    // And at once: of the 65,535 bytes of this frame, few have come.
    let begun = b"\xc1\xfe\xff\xff\0\0\0\0\0\x02\0\xfd\xff\xff\xff".to_vec();
    check_bad(&[begun], &[], error);
}

#[test]
fn the_limit_is_on_what_comes_out() {
    let mut deflater = Deflater::default();
    let limit = LIMITS.max_message;
    for (len, fits) in [(limit - 1, true), (limit, true), (limit + 1, false), (1 << 20, false)] {
        let data = vec![7; len];
        let compressed = deflater.compress(&data, 15).expect("smaller").to_vec();
        let (front, back) = compressed.split_at(compressed.len() / 2);
        for frames in [vec![frame(0xc2, &compressed)], vec![frame(0x42, front), frame(0x80, back)]]
        {
            match fits {
                true => check(&frames, &[binary(&data)]),
                false => check_bad(&frames, &[], ProtocolError::MessageTooBig),
            }
        }
    }
    // What compressing made longer still fits when it is good, as stored blocks of any size are.
    for block in [limit.min(65_535), 1000] {
        let data = vec![7; limit];
        let mut stored = Vec::new();
        for part in data.chunks(block) {
            let len = part.len() as u16;
            stored.push(0);
            stored.extend_from_slice(&len.to_le_bytes());
            stored.extend_from_slice(&(!len).to_le_bytes());
            stored.extend_from_slice(part);
        }
        stored.push(0);
        assert!(stored.len() > limit);
        check(&[frame(0xc2, &stored)], &[binary(&data)]);
    }
    // Not so what brings nothing but its length: refused at the header.
    let declared = [0xc2, 0xff, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0].to_vec();
    check_bad(&[declared], &[], ProtocolError::MessageTooBig);
    let nothing = b"\0\0\0\xff\xff".repeat(10_000);
    let frames = [frame(0x42, &nothing), frame(0x00, &nothing)];
    check_bad(&frames, &[], ProtocolError::MessageTooBig);
    let many: Vec<_> = (0..11).map(|i| frame(if i == 0 { 0x42 } else { 0x00 }, b"")).collect();
    check_bad(&many, &[], ProtocolError::TooManyFragments);
}

#[test]
fn a_bomb_of_a_gibibyte_costs_no_more_than_the_limit() {
    let zeros = vec![0; 1 << 20];
    let mut deflater = Deflater::default();
    let part = deflater.compress(&zeros, 15).expect("smaller").to_vec();
    // Each part ends at a byte once its tail is put back, so that they can stand in a row.
    let bomb = [&part[..], &[0, 0, 0xff, 0xff]].concat().repeat(1 << 10);
    let limits = Limits { max_message: 4 << 20, ..LIMITS };
    let error = Some(ProtocolError::MessageTooBig);
    assert_eq!(run(Reader::new(), &[&frame(0xc2, &bomb)], &limits), (Vec::new(), error));
    let mut taken = 0;
    let mut reader = Reader::new();
    let mut bytes = frame(0xc2, &bomb);
    for read in bytes.chunks_mut(100) {
        taken += read.len();
        match reader.next(&mut &mut read[..], &limits) {
            Ok(event) => assert_eq!(event, None),
            Err(error) => {
                assert_eq!(error, ProtocolError::MessageTooBig);
                break;
            }
        }
    }
    assert!(taken < 5 * (part.len() + 4), "told after {taken} of {} bytes", bomb.len());
}

/// What is sent the way a client would comes back, at every size that means something.
#[test]
fn what_is_compressed_comes_back_at_every_boundary() {
    let mut deflater = Deflater::default();
    let mut window = Window::new(15);
    for len in [1, 125, 126, 127, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 70_000] {
        let data: Vec<u8> = (0..len).map(|i| (i / 3 % 101 + i % 2) as u8).collect();
        let Some(alone) = deflater.compress(&data, 15) else {
            assert!(len < 200, "{len} bytes do not compress");
            continue;
        };
        check(&[frame(0xc2, alone)], &[binary(&data)]);
        let mut frames = Vec::new();
        for _ in 0..2 {
            let compressed = deflater.compress_after(&data, &mut window).expect("smaller");
            frames.push(frame(0xc2, compressed));
        }
        let twice = [binary(&data), binary(&data)];
        window = Window::new(15);
        check_with(|| Reader::with_takeover(15), &frames, &LIMITS, (twice.to_vec(), None));
    }
}
