//! Any text as the positions that a stream gives back: nothing panics, and what is read is again
//! what it was when it is written, in one line of ASCII.

use wsloop::proto::topics::{MAX_VECTOR, Vector};

/// Panics when a vector is read wrongly.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(vector) = Vector::parse(text) else { return };
    assert!(text.len() <= MAX_VECTOR && !vector.is_empty());
    let written = vector.to_string();
    assert!(written.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{written:?}");
    assert!(written.len() < vector.written_bytes(), "{written:?} is longer than in full");
    let words = written.split(' ').count();
    assert_eq!(words, 3 * vector.iter().count(), "{written:?}");
    if written.len() <= MAX_VECTOR {
        assert_eq!(Vector::parse(&written), Some(vector));
    }
}
