//! Any bytes as what Redis answers about a history, or as a position that a browser gives: nothing
//! panics, no more is read than is there, and what came since is what is behind a place.
//!
//! The first byte says which of these.

use wsloop::HistorySize;
use wsloop::internals::broker::history::{Looked, Missed, Place, Position, Since};

const SIZE: HistorySize = HistorySize { messages: 100, seconds: 60 };

/// Panics when something is read wrongly.
pub fn check(data: &[u8]) {
    let Some((&what, text)) = data.split_first() else { return };
    match what % 3 {
        0 => check_since(text),
        1 => check_looked(text),
        _ => check_position(text),
    }
}

fn check_since(text: &[u8]) {
    if let Some(Since { messages: Some(messages), .. }) = Since::parse(text) {
        let bytes: usize = messages.iter().map(|message| message.len()).sum();
        assert!(bytes + 4 * messages.len() < text.len());
    }
}

fn check_looked(text: &[u8]) {
    let Some(looked) = Looked::parse(text) else { return };
    let bytes: usize = looked.entries.iter().map(|(_, message)| message.len()).sum();
    let stored = looked.stored.map_or(0, <[u8]>::len);
    assert!(bytes + stored + 4 * looked.entries.len() < text.len());
    let at_time = |ms| Position { place: Place::Time(ms), epoch: looked.epoch };
    for ms in [0, looked.now_ms, u64::MAX] {
        let since = looked.since(at_time(ms), SIZE);
        assert!(since == Missed::Gone || looked.epoch != 0 && ms <= looked.now_ms);
    }
    if !looked.entries.is_sorted_by(|(one, _), (other, _)| one < other) {
        return;
    }
    for (at, (offset, _)) in looked.entries.iter().enumerate() {
        let position = Position { place: Place::Entry(*offset), epoch: 0 };
        assert_eq!(looked.since(position, SIZE), Missed::Here(&looked.entries[at + 1..]));
        assert_eq!(Position::parse(&position.to_string()), Some(position));
    }
}

fn check_position(text: &[u8]) {
    let Ok(word) = std::str::from_utf8(text) else { return };
    if let Some(position) = Position::parse(word) {
        assert_eq!(Position::parse(&position.to_string()), Some(position));
    }
}
