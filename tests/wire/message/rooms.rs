//! Large messages whose rest is put where they are put together.

use super::*;

const LARGE: Limits = Limits { max_message: 300_000, max_fragments: 3, ..LIMITS };

/// What comes of a stream that is read `len` bytes at a time, and how much of it went into rooms.
fn run_by(bytes: &[u8], len: usize) -> (Outcome, usize) {
    let mut reader = Reader::new();
    let (mut events, mut arrived, mut filled) = (Vec::new(), 0, 0);
    for bytes in bytes.chunks(len) {
        if reader.wants_room()
            && let Some(room) = reader.room(0)
        {
            let most = room.capacity() - room.len();
            assert!(
                room.capacity() <= 2 * arrived + (4 << 10),
                "{} for {arrived}",
                room.capacity()
            );
            filled += most.min(bytes.len());
        }
        let (more, error) = read(&mut reader, bytes, &LARGE);
        events.extend(more);
        arrived += bytes.len();
        if error.is_some() {
            return ((events, error), filled);
        }
    }
    ((events, None), filled)
}

#[test]
fn a_large_message_is_the_same_whatever_room_it_has() {
    let long = "κόσμε, ".repeat(20_000);
    let (front, back) = long.as_bytes().split_at(99_999);
    let broken = [front, b"\xff", back].concat();
    let (ping_between, tail) = (frame(0x89, b"?"), frame(0x81, b"next"));
    let rows: [(&str, Vec<Vec<u8>>, Outcome); 5] = [
        (
            "text",
            vec![frame(0x81, long.as_bytes()), tail.clone()],
            (vec![text(&long), text("next")], None),
        ),
        (
            "binary",
            vec![frame(0x82, &broken), tail.clone()],
            (vec![binary(&broken), text("next")], None),
        ),
        (
            "fragments",
            vec![frame(0x01, front), ping_between, frame(0x80, back), tail],
            (vec![ping(b"?"), text(&long), text("next")], None),
        ),
        ("not UTF-8", vec![frame(0x81, &broken)], (vec![], Some(ProtocolError::TextNotUtf8))),
        ("cut", vec![frame(0x81, front)], (vec![], Some(ProtocolError::TextNotUtf8))),
    ];
    for (name, frames, expected) in rows {
        let bytes = frames.concat();
        for len in [1_000, 4_097, 16_384, 65_536, 65_537, 131_072] {
            let (outcome, filled) = run_by(&bytes, len);
            assert!(outcome == expected, "{name} by {len}: {outcome:.300?}");
            assert!(filled > 0 || len > 65_537, "{name} by {len} had no room");
        }
    }
}

#[test]
fn there_is_room_only_where_much_is_to_come_of_a_plain_message() {
    let whole = frame(0x82, &[7; 40_000]);
    let rows = [(8, false), (4_103, false), (4_104, true), (20_000, true), (36_000, false)];
    for (arrived, wants) in rows {
        let mut reader = Reader::new();
        assert_eq!(read(&mut reader, &whole[..arrived], &LARGE), (vec![], None));
        assert_eq!(reader.wants_room(), wants, "{arrived}");
        assert_eq!(reader.room(0).is_some(), wants, "{arrived}");
    }
    // As much as is known to have arrived is as good as arrived.
    for (waiting, capacity) in
        [(0, 20_000), (19_000, 29_000), (26_000, 40_000), (usize::MAX, 40_000)]
    {
        let mut reader = Reader::new();
        assert_eq!(read(&mut reader, &whole[..10_008], &LARGE), (vec![], None));
        assert_eq!(reader.room(waiting).map(|room| room.capacity()), Some(capacity), "{waiting}");
    }
    let mut reader = Reader::new();
    let compressed = Limits { compression: true, ..LARGE };
    assert_eq!(read(&mut reader, &frame(0xc2, &[0; 40_000])[..20_000], &compressed).0, vec![]);
    assert!(!reader.wants_room() && reader.room(0).is_none());
}
