//! L1: by what a message is known again: 64 bits of it, by a key that no peer knows.
//!
//! Nothing is looked up by it: two messages need only be unlikely to have the same.

use std::hash::{BuildHasher, RandomState};

use foldhash::quality::FixedState;

/// Makes the fingerprints of messages.
#[derive(Debug)]
pub(crate) struct Fingerprints(FixedState);

impl Fingerprints {
    /// Those of these keys.
    pub(crate) fn new(keys: &RandomState) -> Self {
        Fingerprints(FixedState::with_seed(keys.hash_one("fingerprints")))
    }

    /// That of a message; never 0.
    pub(crate) fn of(&self, message: &[u8]) -> u64 {
        self.0.hash_one(message) | 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_same_message_has_the_same_and_another_key_another() {
        let keys = RandomState::new();
        let (one, same) = (Fingerprints::new(&keys), Fingerprints::new(&keys));
        let other = Fingerprints::new(&RandomState::new());
        for length in [0, 1, 15, 16, 17, 64, 1000] {
            let message = vec![b'm'; length];
            assert_eq!(one.of(&message), same.of(&message));
            assert_ne!(one.of(&message), other.of(&message));
            assert_ne!(one.of(&message), 0);
        }
    }

    #[test]
    fn messages_that_differ_a_little_differ_in_it() {
        let fingerprints = Fingerprints::new(&RandomState::new());
        let mut seen = HashSet::new();
        let mut count = 0;
        for length in 0..200 {
            let mut message = vec![0; length];
            seen.insert(fingerprints.of(&message));
            count += 1;
            for bit in 0..length * 8 {
                message[bit / 8] ^= 1 << (bit % 8);
                seen.insert(fingerprints.of(&message));
                message[bit / 8] ^= 1 << (bit % 8);
                count += 1;
            }
        }
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn halves_of_a_block_that_change_places_change_it() {
        let fingerprints = Fingerprints::new(&RandomState::new());
        let there = fingerprints.of(b"abcdefgh12345678");
        assert_ne!(there, fingerprints.of(b"12345678abcdefgh"));
        assert_ne!(fingerprints.of(&[b'a'; 32]), fingerprints.of(&[b'a'; 48]));
    }
}
