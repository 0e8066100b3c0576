//! Shared areas: in this process, and in a file that another one writes.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wsloop::{AreaError, AreaKind, SharedArea};

use super::*;

/// In memory, in a file, and the same file as another process sees it.
fn areas(folder: &Folder, size: usize) -> [SharedArea; 3] {
    let path = folder.join("area");
    let written = SharedArea::create(&path, size).expect("a file");
    let read = SharedArea::open_with(&path, Duration::from_millis(1)).expect("a file");
    [SharedArea::new(size), written, read]
}

#[test]
fn what_is_written_is_read_and_counted() {
    let folder = Folder::new();
    let [memory, written, read] = areas(&folder, 20);
    for (area, other) in [(&memory, &memory.clone()), (&written, &read)] {
        assert_eq!((area.size(), other.size()), (20, 20));
        assert_eq!(other.read(0..20).expect("zeros"), [0; 20]);
        assert_eq!(other.version().expect("a version"), 0);
        area.write(10, b"0123456789").expect("room");
        assert_eq!(other.read(12..15).expect("bytes"), b"234");
        assert_eq!(other.read(20..20).expect("none"), b"");
        area.set(0, 0x1234_5678_u32).expect("room");
        assert_eq!(other.get::<u32>(0).expect("a number"), 0x1234_5678);
        assert_eq!(other.read(0..4).expect("bytes"), [0x78, 0x56, 0x34, 0x12]);
        assert_eq!(area.add(12, -1_i64).expect("room"), i64::from_le_bytes(*b"23456789") - 1);
        area.set(4, u16::MAX).expect("room");
        assert_eq!(area.add(4, 2_u16).expect("room"), 1, "it wraps around");
        assert_eq!(other.read(6..8).expect("bytes"), [0, 0], "and nothing beside it changes");
        assert_eq!(other.version().expect("a version"), 5);
    }
    assert!(matches!(read.write(0, b"x"), Err(AreaError::ReadOnly)));
    assert!(matches!(read.add(0, 1_u8), Err(AreaError::ReadOnly)));
}

#[test]
fn nothing_is_done_beyond_the_end() {
    let folder = Folder::new();
    for area in areas(&folder, 20) {
        let far = |result: Result<(), AreaError>| {
            matches!(result, Err(AreaError::Range { size: 20, .. }))
        };
        assert!(far(area.read(10..21).map(drop)));
        assert!(far(area.read(usize::MAX - 1..usize::MAX).map(drop)));
        #[allow(clippy::reversed_empty_ranges, reason = "an application may ask for this")]
        let reversed = area.read(30..10);
        assert!(far(reversed.map(drop)));
        assert!(far(area.write(20, b"x")));
        assert!(far(area.write(usize::MAX, b"x")));
        assert!(far(area.get::<u64>(13).map(drop)));
        assert!(far(area.set(17, 1_u32)));
        assert!(far(area.add(usize::MAX, 1_u8).map(drop)));
        assert_eq!(area.read(0..20).expect("all"), [0; 20]);
    }
}

#[test]
fn whoever_reads_a_file_sees_writes_as_a_whole() {
    let folder = Folder::new();
    const SIZE: usize = 1 << 20;
    let [_, _, read] = areas(&folder, SIZE);
    let path = folder.join("area");
    let file = fs::OpenOptions::new().write(true).open(path).expect("a file");
    let ends = Arc::new(AtomicBool::new(false));
    let until = ends.clone();
    // As another program does it: one before, a write in two parts, one behind.
    let writer = thread::spawn(move || {
        let mut sequence = 0_u64;
        let put = |bytes: &[u8], at| file.write_all_at(bytes, at).expect("room");
        while !until.load(Ordering::SeqCst) {
            let part = vec![(sequence / 2) as u8; SIZE / 2];
            put(&(sequence + 1).to_le_bytes(), 0);
            put(&part, 8);
            thread::sleep(Duration::from_millis(1));
            put(&part, 8 + SIZE as u64 / 2);
            sequence += 2;
            put(&sequence.to_le_bytes(), 0);
            thread::sleep(Duration::from_millis(2));
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < 20 && Instant::now() < deadline {
        let bytes = read.read(0..SIZE).expect("a file");
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "half a write");
        seen.insert(bytes[0]);
    }
    ends.store(true, Ordering::SeqCst);
    writer.join().expect("it wrote");
    assert!(seen.len() >= 20, "it saw {seen:?}");
}

#[test]
fn a_file_that_is_no_area_or_no_more_is_an_error() {
    let folder = Folder::new();
    let path = folder.join("area");
    assert!(matches!(SharedArea::open(&path), Err(AreaError::File(_))));
    fs::write(&path, b"short").expect("a file");
    assert!(matches!(SharedArea::open(&path), Err(AreaError::File(_))));
    let [_, _, read] = areas(&folder, 20);
    let file = fs::OpenOptions::new().write(true).open(&path).expect("a file");
    // Whoever wrote it died in the midst of that.
    file.write_all_at(&7_u64.to_le_bytes(), 0).expect("written");
    assert!(matches!(read.read(0..20), Err(AreaError::Busy)));
    file.set_len(10).expect("shorter");
    file.write_all_at(&8_u64.to_le_bytes(), 0).expect("written");
    assert!(matches!(read.read(0..20), Err(AreaError::File(_))), "and no signal");
}

#[test]
fn parts_of_an_area_are_sent() {
    let mut sockets = bind();
    let (mut client, conn) = open(&mut sockets);
    let area = SharedArea::new(20);
    area.write(0, b"0123456789ABCDEFGHIJ").expect("room");
    assert_eq!(sockets.send_from_shared_area(conn, &area, 10..15).expect("in it"), Sent::Queued);
    assert_eq!(client.text(), "ABCDE");
    sockets.send_binary_from_shared_area(conn, &area, 18..20).expect("in it");
    assert_eq!(client.message(), Event::Binary(b"IJ".to_vec()));
    let beyond = sockets.send_from_shared_area(conn, &area, 10..21);
    assert!(matches!(beyond, Err(AreaError::Range { end: 21, size: 20 })));
    assert_eq!(sockets.send(conn, "alive"), Sent::Queued, "and the conn is none the worse");
    assert_eq!(client.text(), "alive");
}

#[test]
fn whoever_follows_is_sent_the_latest() {
    let folder = Folder::new();
    let [memory, written, read] = areas(&folder, 16);
    for (area, seen) in [(&memory, &memory), (&written, &read)] {
        let mut sockets = bind();
        area.write(0, b"first").expect("room");
        let (mut client, conn) = open(&mut sockets);
        let (mut other, second) = open(&mut sockets);
        sockets.follow(conn, seen, AreaKind::Text).expect("it can be read");
        sockets.follow(second, seen, AreaKind::Binary).expect("it can be read");
        assert_eq!(client.text(), "first");
        assert_eq!(other.message(), Event::Binary(b"first\0\0\0\0\0\0\0\0\0\0\0".to_vec()));
        for number in 0..1000 {
            area.write(0, format!("{number:0>5}").as_bytes()).expect("room");
        }
        let mut last = String::new();
        while last != "00999" {
            let text = client.text();
            assert!(text > last || last.is_empty(), "{text} behind {last}");
            last = text;
        }
        sockets.unfollow(conn, seen);
        sockets.unfollow(second, seen);
        sockets.send(conn, "nothing more");
        area.write(0, b"x").expect("room");
        assert_eq!(client.text(), "nothing more");
        assert_eq!(client.next_within(Duration::from_millis(30)), None);
    }
}
