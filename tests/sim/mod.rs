//! The whole core in disorder: a script drawn from a seed, or from a fuzzer's bytes, is played in
//! the world without sockets, and after every step a small model of what must be true is compared
//! with what the browsers have heard.
#![allow(dead_code, reason = "the corpus is played from bytes alone, the seeds from seeds alone")]

pub mod action;
pub mod ask;
pub mod model;
pub mod outside;
pub mod people;
pub mod play;

pub use play::play;

/// Where the numbers of a script come from. The same source gives the same script.
#[derive(Clone, Debug)]
pub enum Dice<'a> {
    /// Drawn, without end.
    Seed(u64),
    /// Read, until they are used up; then everything is 0.
    Bytes(&'a [u8]),
}

impl Dice<'_> {
    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        match self {
            Dice::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((mixed ^ (mixed >> 31)) % end as u64) as usize
            }
            Dice::Bytes(bytes) => {
                let width = if end > 256 { 2 } else { 1 };
                let (taken, rest) = bytes.split_at(width.min(bytes.len()));
                *bytes = rest;
                taken.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) % end
            }
        }
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }

    /// Whether nothing is left to be read.
    pub fn is_over(&self) -> bool {
        matches!(self, Dice::Bytes([]))
    }
}
