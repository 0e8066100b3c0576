//! What a peer sends and what the message reader makes of it: every case is fed whole, cut in two
//! at every byte, and byte by byte, and must come out the same.

mod rooms;
mod streams;

use std::borrow::Cow;

use wsloop::proto::ws::frame::{Opcode, ProtocolError, Role, encode, encode_close, encode_masked};
use wsloop::proto::ws::message::{Event, Kind, Limits, Reader};

const LIMITS: Limits =
    Limits { role: Role::Server, max_message: 1000, max_fragments: 10, compression: false };

const KEY: [u8; 4] = [0x9d, 0x01, 0xfe, 0x6b];

/// The events of a stream, and the error that ended it.
type Outcome = (Vec<Event<'static>>, Option<ProtocolError>);

/// A client's frame, made without the encoder: any first byte, right or wrong.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..65536 => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn text(data: &str) -> Event<'static> {
    Event::Message { kind: Kind::Text, data: Cow::Owned(data.into()) }
}

fn binary(data: &[u8]) -> Event<'static> {
    Event::Message { kind: Kind::Binary, data: Cow::Owned(data.into()) }
}

fn ping(data: &[u8]) -> Event<'static> {
    Event::Ping(Cow::Owned(data.into()))
}

fn pong(data: &[u8]) -> Event<'static> {
    Event::Pong(Cow::Owned(data.into()))
}

fn close(code: u16, reason: &str) -> Event<'static> {
    Event::Close(Some((code, Cow::Owned(reason.into()))))
}

fn own(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Message { kind, data } => {
            Event::Message { kind, data: Cow::Owned(data.into_owned()) }
        }
        Event::Ping(data) => ping(&data),
        Event::Pong(data) => pong(&data),
        Event::Close(None) => Event::Close(None),
        Event::Close(Some((code, reason))) => close(code, &reason),
    }
}

/// One read's worth of bytes, of which the front is put where the reader has room, if it has any.
fn read(reader: &mut Reader, bytes: &[u8], limits: &Limits) -> Outcome {
    let filled = fill(reader, bytes);
    let mut bytes = bytes.to_vec();
    let mut events = Vec::new();
    if filled > 0 {
        match reader.next(&mut &mut [][..], limits) {
            Ok(event) => events.extend(event.map(own)),
            Err(error) => return (events, Some(error)),
        }
    }
    let mut input = &mut bytes[filled..];
    loop {
        match reader.next(&mut input, limits) {
            Ok(Some(event)) => events.push(own(event)),
            Ok(None) => {
                assert!(input.is_empty(), "None means that all was taken");
                return (events, None);
            }
            Err(error) => return (events, Some(error)),
        }
    }
}

fn fill(reader: &mut Reader, bytes: &[u8]) -> usize {
    if !reader.wants_room() {
        return 0;
    }
    let Some(room) = reader.room(0) else { return 0 };
    let filled = bytes.len().min(room.capacity() - room.len());
    room.extend_from_slice(&bytes[..filled]);
    filled
}

/// A connection's life, read by read.
fn run<'a>(reads: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
    let mut reader = Reader::new();
    let mut events = Vec::new();
    for bytes in reads {
        let (more, error) = read(&mut reader, bytes, limits);
        events.extend(more);
        if error.is_some() {
            return (events, error);
        }
    }
    (events, None)
}

/// Long streams are cut near their ends and at every 4001st byte only.
fn is_cut_here(at: usize, len: usize) -> bool {
    len <= 4096 || at < 32 || at + 8 > len || at.is_multiple_of(4001)
}

fn check(name: &str, bytes: &[u8], limits: &Limits, expected: &Outcome) {
    // No assert_eq: a failing long stream would print megabytes.
    assert!(run([bytes], limits) == *expected, "{name}: whole: {:.300?}", run([bytes], limits));
    for at in (0..=bytes.len()).filter(|at| is_cut_here(*at, bytes.len())) {
        let (front, back) = bytes.split_at(at);
        assert!(run([front, back], limits) == *expected, "{name}: cut at {at}");
    }
    assert!(run(bytes.chunks(1), limits) == *expected, "{name}: byte by byte");
}

fn check_good(name: &str, frames: &[Vec<u8>], events: &[Event<'static>]) {
    check(name, &frames.concat(), &LIMITS, &(events.to_vec(), None));
}

fn check_bad(name: &str, frames: &[Vec<u8>], events: &[Event<'static>], error: ProtocolError) {
    // What comes after the error changes nothing.
    let tails: [&[Vec<u8>]; 2] = [&[], &[frame(0x81, b"too late")]];
    for tail in tails {
        let bytes = [frames.concat(), tail.concat()].concat();
        check(name, &bytes, &LIMITS, &(events.to_vec(), Some(error)));
    }
}

#[test]
fn messages_and_control_frames() {
    let f = frame;
    check_good("nothing", &[], &[]);
    check_good("text", &[f(0x81, "grüße €😀".as_bytes())], &[text("grüße €😀")]);
    check_good("binary", &[f(0x82, b"\xff\xfe\0")], &[binary(b"\xff\xfe\0")]);
    check_good("empty", &[f(0x81, b""), f(0x82, b"")], &[text(""), binary(b"")]);
    let pair = [f(0x81, b"one"), f(0x82, b"two"), f(0x81, b"three")];
    check_good("a burst", &pair, &[text("one"), binary(b"two"), text("three")]);
    let three = [f(0x01, b"he"), f(0x00, b"ll"), f(0x80, b"o")];
    check_good("fragments", &three, &[text("hello")]);
    let empties = [f(0x02, b""), f(0x00, b""), f(0x80, b"")];
    check_good("empty fragments", &empties, &[binary(b"")]);
    let padded = [f(0x01, b""), f(0x00, b"mid"), f(0x80, b"")];
    check_good("empty around", &padded, &[text("mid")]);
    check_good("ping", &[f(0x89, b"p"), f(0x89, b"")], &[ping(b"p"), ping(b"")]);
    check_good("pong", &[f(0x8a, &[255; 125])], &[pong(&[255; 125])]);
    check_good("empty close", &[f(0x88, b"")], &[Event::Close(None)]);
    let bye = [b"\x0f\xa0".as_slice(), "tschüß".as_bytes()].concat();
    check_good("close", &[f(0x88, &bye)], &[close(4000, "tschüß")]);
    check_good("incomplete", &[f(0x81, b"done"), f(0x01, b"not")], &[text("done")]);
}

#[test]
fn control_frames_between_fragments() {
    let between = [
        frame(0x89, b"before"),
        frame(0x01, "halb\u{e9}".as_bytes().split_last().unwrap().1),
        frame(0x89, b"1"),
        frame(0x8a, b""),
        frame(0x00, b"\xa9"),
        frame(0x89, &[9; 125]),
        frame(0x80, b"s"),
        frame(0x8a, b"after"),
    ];
    let events =
        [ping(b"before"), ping(b"1"), pong(b""), ping(&[9; 125]), text("halbés"), pong(b"after")];
    check_good("pings", &between, &events);
    let closed = [frame(0x01, b"half"), frame(0x88, b"\x03\xe9")];
    check_good("a close inside a message has its own code", &closed, &[close(1001, "")]);
}

#[test]
fn good_messages_come_before_the_error_behind_them() {
    use ProtocolError::*;
    let unmasked = b"\x81\x02hi".to_vec();
    let long_ping = frame(0x89, &[0; 126]);
    let overlong = b"\x81\xfe\0\x05".to_vec();
    let huge = b"\x82\xff\x80".to_vec();
    let rows = [
        ("rsv1", frame(0xc1, b"x"), ReservedBit),
        ("rsv2", frame(0xa1, b"x"), ReservedBit),
        ("rsv3", frame(0x91, b""), ReservedBit),
        ("rsv on a ping", frame(0xc9, b""), ReservedBit),
        ("opcode 3", frame(0x83, b"x"), ReservedOpcode),
        ("opcode 15", frame(0x8f, b""), ReservedOpcode),
        ("ping without FIN", frame(0x09, b""), FragmentedControl),
        ("close without FIN", frame(0x08, b""), FragmentedControl),
        ("long ping", long_ping, ControlTooLong),
        ("unmasked", unmasked, NotMasked),
        ("padded length", overlong, LengthNotMinimal),
        ("length of 2^63", huge, LengthOutOfRange),
        ("continuation", frame(0x80, b"x"), UnexpectedContinuation),
        ("open continuation", frame(0x00, b""), UnexpectedContinuation),
        ("too big", frame(0x82, &[0; 1001]), MessageTooBig),
        ("not UTF-8", frame(0x81, b"\xff"), TextNotUtf8),
        ("half a character", frame(0x81, b"abc\xe2\x82"), TextNotUtf8),
        ("close of one byte", frame(0x88, b"\x03"), CloseTooShort),
        ("close 1005", frame(0x88, b"\x03\xed"), CloseCodeNotAllowed),
        ("close reason", frame(0x88, b"\x03\xe8\xff"), CloseReasonNotUtf8),
    ];
    for (name, bad, error) in rows {
        check_bad(name, std::slice::from_ref(&bad), &[], error);
        let good = [frame(0x81, b"one"), frame(0x89, b"?"), frame(0x02, b"a"), frame(0x80, b"b")];
        let behind = [good.as_slice(), &[bad]].concat();
        check_bad(name, &behind, &[text("one"), ping(b"?"), binary(b"ab")], error);
    }
}

#[test]
fn a_data_frame_inside_a_message_is_refused() {
    for first in [0x81, 0x82, 0x01, 0x02] {
        let frames = [frame(0x01, b"open"), frame(0x89, b""), frame(first, b"x")];
        check_bad("inside", &frames, &[ping(b"")], ProtocolError::UnfinishedMessage);
    }
    let twice = [frame(0x01, b"a"), frame(0x80, b"b"), frame(0x80, b"c")];
    check_bad("after", &twice, &[text("ab")], ProtocolError::UnexpectedContinuation);
}

#[test]
fn rsv1_passes_where_compression_may_set_it() {
    let limits = Limits { compression: true, ..LIMITS };
    let good = [frame(0xc2, b"\x4b\x04\0"), frame(0x42, b"\x4b\x04"), frame(0x80, b"\0")].concat();
    check("negotiated", &good, &limits, &(vec![binary(b"a"), binary(b"a")], None));
    for bad in [
        [frame(0x42, b"a"), frame(0xc0, b"b")].concat(),
        [frame(0x02, b"a"), frame(0xc0, b"b")].concat(),
        frame(0xc9, b""),
        frame(0xe2, b""),
    ] {
        let expected = (vec![], Some(ProtocolError::ReservedBit));
        check("not there", &bad, &limits, &expected);
    }
}

#[test]
fn lengths_at_the_boundaries() {
    for len in [0_usize, 1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 65535, 65536, 65537] {
        let data: Vec<u8> = (0..len).map(|i| b' ' + (i % 90) as u8).collect();
        let too_small = len.checked_sub(1).map(|max_message| (max_message, false));
        for (max_message, fits) in [(len, true), (len + 1, true)].into_iter().chain(too_small) {
            let limits = Limits { max_message, ..LIMITS };
            let name = format!("{len} bytes of {max_message}");
            for (first, kind) in [(0x81, Kind::Text), (0x82, Kind::Binary)] {
                let bytes = [frame(first, &data), frame(0x89, b"next")].concat();
                let message = Event::Message { kind, data: Cow::Owned(data.clone()) };
                let expected = if fits {
                    (vec![message, ping(b"next")], None)
                } else {
                    (vec![], Some(ProtocolError::MessageTooBig))
                };
                check(&name, &bytes, &limits, &expected);
            }
        }
    }
}

#[test]
fn a_message_too_big_is_refused_by_its_header() {
    for (len, declared) in [(1001_u64, 126), (65536, 127), (u64::MAX >> 1, 127)] {
        let mut head = vec![0x82, 0x80 | declared];
        match declared {
            126 => head.extend_from_slice(&(len as u16).to_be_bytes()),
            _ => head.extend_from_slice(&len.to_be_bytes()),
        }
        head.extend_from_slice(&KEY);
        let expected = (vec![], Some(ProtocolError::MessageTooBig));
        check("header", &head, &LIMITS, &expected);
    }
    // A last fragment whose length makes the sum overflow.
    let mut bytes = frame(0x02, b"x");
    bytes.extend_from_slice(&[0x80, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0]);
    check("overflow", &bytes, &LIMITS, &(vec![], Some(ProtocolError::MessageTooBig)));
    check(
        "overflow without a limit",
        &bytes,
        &Limits { max_message: usize::MAX, ..LIMITS },
        &(vec![], None),
    );
}

#[test]
fn fragments_are_counted_empty_ones_too() {
    for (fragments, fits) in [(1, true), (2, true), (9, true), (10, true), (11, false)] {
        for payload in [b"".as_slice(), b"x"] {
            let mut frames = vec![frame(if fragments == 1 { 0x82 } else { 0x02 }, payload)];
            for i in 1..fragments {
                frames.push(frame(0x89, b""));
                frames.push(frame(if i + 1 == fragments { 0x80 } else { 0 }, payload));
            }
            let mut events = vec![ping(b""); fragments - 1];
            if fits {
                events.push(binary(&payload.repeat(fragments)));
                // The count begins anew with the next message.
                let twice = [frames.concat(), frames.concat()].concat();
                check("twice", &twice, &LIMITS, &([events.clone(), events].concat(), None));
            } else {
                check_bad("too many", &frames, &events, ProtocolError::TooManyFragments);
            }
        }
    }
    let one = Limits { max_fragments: 1, ..LIMITS };
    check("one", &frame(0x81, b"whole"), &one, &(vec![text("whole")], None));
    let two = [frame(0x01, b"a"), frame(0x80, b"b")].concat();
    check("one", &two, &one, &(vec![], Some(ProtocolError::TooManyFragments)));
}

#[test]
fn text_fails_at_the_first_impossible_byte() {
    // The bytes, and the index of the one that no text can have there.
    let rows: &[(&[u8], Option<usize>)] = &[
        (b"\x80", Some(0)),
        (b"ab\xbf", Some(2)),
        (b"\xc0\xaf", Some(0)),
        (b"\xc1\x80", Some(0)),
        (b"\xc3(", Some(1)),
        (b"\xe0\x80\xaf", Some(1)),
        (b"\xe0\x9f\xbf", Some(1)),
        (b"\xe2\x82(", Some(2)),
        (b"\xed\xa0\x80", Some(1)),
        (b"\xed\xbf\xbf", Some(1)),
        (b"\xf0\x80\x80\xaf", Some(1)),
        (b"\xf0\x8f\xbf\xbf", Some(1)),
        (b"\xf0\x9f\x98(", Some(3)),
        (b"\xf4\x90\x80\x80", Some(1)),
        (b"\xf5\x80\x80\x80", Some(0)),
        (b"\xfe", Some(0)),
        (b"\xff", Some(0)),
        ("κόσμε\u{10ffff}".as_bytes(), None),
        ("\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}".as_bytes(), None),
    ];
    for (bad, at) in rows {
        for lead in ["", "a", "κόσμε", "0123456789abcdef0123456789abcdef"] {
            let data = [lead.as_bytes(), bad, b"tail"].concat();
            let fails_at = at.map(|at| at + lead.len());
            // In one frame, and a frame for each byte: the payload's bytes come one at a time.
            let single = frame(0x81, &data);
            let head = single.len() - data.len();
            let mut reads: Vec<Vec<u8>> = vec![single[..head].to_vec()];
            reads.extend(single[head..].iter().map(|byte| vec![*byte]));
            let mut pieces = vec![frame(0x01, b"")];
            pieces.extend(data.iter().map(|byte| frame(0x00, &[*byte])));
            let limits = Limits { max_fragments: 100, ..LIMITS };
            for reads in [reads, pieces] {
                let mut reader = Reader::new();
                let failed = reads.iter().position(|bytes| {
                    let (_, error) = read(&mut reader, bytes, &limits);
                    assert!(error.is_none_or(|error| error == ProtocolError::TextNotUtf8));
                    error.is_some()
                });
                assert_eq!(failed, fails_at.map(|at| at + 1), "{data:x?}");
            }
            if fails_at.is_some() {
                check_bad("not UTF-8", &[single], &[], ProtocolError::TextNotUtf8);
            }
        }
    }
}

#[test]
fn a_character_may_be_split_anywhere_but_not_at_the_end() {
    for character in ["é", "€", "😀"] {
        let bytes = character.as_bytes();
        for at in 1..bytes.len() {
            let halves = [frame(0x01, &bytes[..at]), frame(0x00, b""), frame(0x80, &bytes[at..])];
            check_good("split", &halves, &[text(character)]);
            let cut = ProtocolError::TextNotUtf8;
            check_bad("cut", &[frame(0x81, &bytes[..at])], &[], cut);
            check_bad("cut", &[frame(0x01, b"x"), frame(0x80, &bytes[..at])], &[], cut);
            check_bad("cut", &[frame(0x01, &bytes[..at]), frame(0x80, b"")], &[], cut);
        }
    }
    let invalid = [frame(0x02, b"\xff\xe2"), frame(0x80, b"\x82")];
    check_good("binary is not text", &invalid, &[binary(b"\xff\xe2\x82")]);
}

#[test]
fn close_payloads() {
    let codes: &[(u16, bool)] = &[
        (0, false),
        (999, false),
        (1000, true),
        (1003, true),
        (1004, false),
        (1005, false),
        (1006, false),
        (1007, true),
        (1011, true),
        (1012, true),
        (1013, true),
        (1014, true),
        (1015, false),
        (1016, false),
        (1100, false),
        (2000, false),
        (2999, false),
        (3000, true),
        (3999, true),
        (4000, true),
        (4999, true),
        (5000, false),
        (65535, false),
    ];
    for (code, allowed) in codes {
        for reason in ["", "r", "ü€"] {
            let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
            let bytes = frame(0x88, &payload);
            if *allowed {
                check_good("close", &[bytes], &[close(*code, reason)]);
            } else {
                check_bad("close", &[bytes], &[], ProtocolError::CloseCodeNotAllowed);
            }
        }
    }
    let longest = [b"\x03\xe8".as_slice(), &[b'x'; 123]].concat();
    check_good("longest", &[frame(0x88, &longest)], &[close(1000, &"x".repeat(123))]);
    for reason in [b"\xff".as_slice(), b"ok\xe2\x82", b"\xed\xa0\x80"] {
        let payload = [b"\x03\xe8".as_slice(), reason].concat();
        check_bad("reason", &[frame(0x88, &payload)], &[], ProtocolError::CloseReasonNotUtf8);
    }
}

#[test]
fn what_arrived_whole_is_not_copied() {
    let stream = [
        frame(0x81, b"text"),
        frame(0x82, &[1; 700]),
        frame(0x89, b"ping"),
        frame(0x8a, b"pong"),
        frame(0x01, b"in"),
        frame(0x89, b"inside"),
        frame(0x80, b"pieces"),
        frame(0x88, b"\x03\xe8bye"),
    ];
    let mut bytes = stream.concat();
    let span = bytes.as_ptr_range();
    let span = span.start as usize..span.end as usize;
    let mut reader = Reader::new();
    let mut input = &mut bytes[..];
    let mut borrowed = Vec::new();
    while let Some(event) = reader.next(&mut input, &LIMITS).unwrap() {
        borrowed.push(match &event {
            Event::Message { data, .. } | Event::Ping(data) | Event::Pong(data) => {
                span.contains(&(data.as_ptr() as usize))
            }
            Event::Close(Some((_, reason))) => span.contains(&(reason.as_ptr() as usize)),
            Event::Close(None) => false,
        });
    }
    assert_eq!(borrowed, [true, true, true, true, true, false, true]);

    // The header came in an earlier read: the payload still lies in one piece.
    let bytes = frame(0x81, b"payload");
    for cut in 1..=6 {
        let (mut front, mut back) = (bytes[..cut].to_vec(), bytes[cut..].to_vec());
        let mut reader = Reader::new();
        assert_eq!(reader.next(&mut &mut front[..], &LIMITS), Ok(None));
        let mut input = &mut back[..];
        let event = reader.next(&mut input, &LIMITS).unwrap();
        let Some(Event::Message { data: Cow::Borrowed(data), .. }) = event else {
            panic!("cut at {cut}: {event:?}")
        };
        assert_eq!(data, b"payload");
    }
}
