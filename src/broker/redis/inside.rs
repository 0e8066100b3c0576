//! L1: what arrived of an answer that is looked into, and how much that may be.
//!
//! The map of a cluster is far larger than anything else that is asked for, so that only while it
//! is the next to be answered there is room for it. Pushes come anywhere, and publishers have a say
//! in them: nothing of them is kept here, and they have no more room for that.

use crate::proto::resp;

/// Bytes that stay reserved between two answers: more than a map of a few nodes has.
const IDLE_BYTES: usize = 64 << 10;

/// How much an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes that are looked into.
    pub(super) bytes: usize,
    /// Elements, at all levels together.
    pub(super) elements: u32,
}

/// That of an answer that is not looked into.
pub(super) const NONE: Room = Room { bytes: 0, elements: resp::MAX_ELEMENTS };
/// That of one about the server.
pub(super) const SMALL: Room = Room { bytes: 1 << 20, elements: resp::MAX_ELEMENTS };
/// That of the map of a cluster. At its largest, by CLUSTER SLOTS, each of 16,384 slots is a range
/// of its own: 30 elements and 600 bytes with a master and two replicas of 80-byte names. 16 MiB
/// are half of what Redis lets wait for a link before it cuts it.
pub(super) const MAP: Room = Room { bytes: 16 << 20, elements: 1 << 20 };

/// What arrived of it.
#[derive(Debug, Default)]
pub(super) struct Inside {
    bytes: Vec<u8>,
}

impl Inside {
    /// Takes what arrives, as far as there is room for it.
    pub(super) fn take(&mut self, arrived: &[u8], room: Room) {
        let left = room.bytes.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&arrived[..arrived.len().min(left)]);
    }

    /// All of it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The answer is over.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > IDLE_BYTES {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clustered::Clustering;
    use super::super::tests::dialed;
    use super::*;
    use crate::broker::{BrokerEvent, Sharding};

    #[test]
    fn what_is_published_takes_nothing_of_the_room_of_a_map_that_is_awaited() {
        let mut redis = dialed(None, 60);
        redis.session.cluster = Some(Box::new(Clustering::new(Sharding::Off)));
        let mut hear = |mut input: &[u8]| {
            while let Some(event) = redis.next(&mut input, 0) {
                if let BrokerEvent::Broken { reason } = event {
                    return Err(reason);
                }
            }
            Ok(redis.inside.bytes().len())
        };
        let greeting = b"%1\r\n$4\r\nmode\r\n$7\r\ncluster\r\n$2\r\nid\r\n$1\r\ni\r\n";
        assert_eq!(hear(greeting), Ok(0));
        let push = [b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$9000\r\n", &[b'x'; 9_000][..], b"\r\n"];
        for piece in push.concat().chunks(500) {
            assert_eq!(hear(piece), Ok(0));
        }
        let map = b"*9000\r\n:1\r\n";
        assert_eq!(hear(map), Ok(map.len()), "of that there may be more");
        assert_eq!(hear(b":1\r\n".repeat(8_999).as_slice()), Ok(0), "and it is over");
        let reason = "a RESP3 item has too many elements";
        assert_eq!(hear(b">9000\r\n"), Err(reason.to_owned()));
    }

    #[test]
    fn no_more_is_taken_than_there_is_room_for_and_it_is_given_back() {
        let mut inside = Inside::default();
        let room = Room { bytes: 2 * IDLE_BYTES, ..MAP };
        (0..5).for_each(|_| inside.take(&[b'x'; IDLE_BYTES - 7], room));
        assert_eq!(inside.bytes().len(), room.bytes);
        inside.take(b"x", NONE);
        inside.clear();
        assert_eq!((inside.bytes().len(), inside.bytes.capacity()), (0, 0));
    }
}
