//! L1: by what a message is known again: 64 bits of it, by keys that no peer knows.
//!
//! Every delivery is hashed, so that an outage can tell news from what was had before. A hash for
//! tables would take as long as all else that is done for a small message, and here nothing is
//! looked up by it: two messages need only be unlikely to have the same.

use std::hash::{BuildHasher, RandomState};

/// Makes the fingerprints of messages.
#[derive(Debug)]
pub(crate) struct Fingerprints {
    keys: [u64; 2],
}

impl Fingerprints {
    /// Those of these keys.
    pub(crate) fn new(keys: &RandomState) -> Self {
        // Odd, so that no step takes all to 0.
        Fingerprints { keys: [0, 1].map(|number: u8| keys.hash_one(number) | 1) }
    }

    /// That of a message; never 0.
    pub(crate) fn of(&self, message: &[u8]) -> u64 {
        let [first, second] = self.keys;
        let (blocks, rest) = message.as_chunks::<16>();
        // The length tells the filled up last block from a full one.
        let mut state = fold(first ^ message.len() as u64, second);
        for block in blocks {
            state = step(state, block, second);
        }
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        fold(step(state, &last, second), first) | 1
    }
}

fn step(state: u64, block: &[u8; 16], key: u64) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    fold(u64::from_le_bytes(words[0]) ^ state, u64::from_le_bytes(words[1]) ^ key)
}

/// Both halves of the product, each bit of which depends on all lower ones of the factors.
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
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
