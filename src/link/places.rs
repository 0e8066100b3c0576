//! L1: memory for what comes and goes by the thousand: entries that keep their places.
//!
//! It knows nothing of what the entries are. Its rules:
//! * it grows by an eighth and not to the double, so that hardly more is paid for than is used;
//! * it gives back what is behind its last entry when half of it is empty, and all when it is;
//! * to come or to go takes constant time, on average;
//! * where the next entry goes depends on the order of coming and going alone: of two that see the
//!   same, both give the same places.

use std::collections::VecDeque;
use std::ops::{Deref, Index, IndexMut};

use slab::Slab;

/// The least that it grows by.
const STEP: usize = 16;
/// Room for so many is kept.
const LEAST: usize = 64;

/// Entries by their places.
#[derive(Debug)]
pub(crate) struct Places<T> {
    slab: Slab<T>,
    /// The entries that there is memory for.
    room: usize,
    /// Those that went since it was last tried to give memory back.
    gone: usize,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Places { slab: Slab::new(), room: 0, gone: 0 }
    }
}

impl<T> Places<T> {
    /// Takes an entry in; returns its place.
    pub(crate) fn insert(&mut self, entry: T) -> usize {
        if self.slab.len() == self.room {
            let step = (self.room / 8).max(STEP);
            self.slab.reserve_exact(step);
            self.room += step;
        }
        self.slab.insert(entry)
    }

    /// Takes the entry of that place out. There must be one.
    pub(crate) fn remove(&mut self, place: usize) -> T {
        let entry = self.slab.remove(place);
        self.gone += 1;
        if is_due(self.slab.len(), self.room, self.gone) {
            self.slab.shrink_to_fit();
            self.room = self.slab.iter().next_back().map_or(0, |(last, _)| last + 1);
            self.gone = 0;
        }
        entry
    }

    /// The entry of that place.
    #[inline]
    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.slab.get_mut(place)
    }
}

impl<T> Deref for Places<T> {
    type Target = Slab<T>;

    #[inline]
    fn deref(&self) -> &Slab<T> {
        &self.slab
    }
}

impl<T> Index<u32> for Places<T> {
    type Output = T;

    #[inline]
    fn index(&self, place: u32) -> &T {
        &self.slab[place as usize]
    }
}

impl<T> IndexMut<u32> for Places<T> {
    #[inline]
    fn index_mut(&mut self, place: u32) -> &mut T {
        &mut self.slab[place as usize]
    }
}

/// Makes room for one more, if there is none: an eighth more, or so many at least.
#[inline]
pub(crate) fn make_room<T>(list: &mut Vec<T>, least: usize) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 8).max(least));
    }
}

/// Gives memory back when less than half of it is used.
#[inline]
pub(crate) fn give_back<T>(list: &mut Vec<T>) {
    if list.len() < list.capacity() / 2 {
        list.shrink_to(list.len() + list.len() / 8);
    }
}

/// Gives memory back when there is much more than that many would need.
#[inline]
pub(crate) fn give_back_queue<T>(queue: &mut VecDeque<T>, most: usize) {
    if queue.capacity() > LEAST && queue.capacity() / 4 > most.max(queue.len()) {
        queue.shrink_to(queue.len());
    }
}

/// Whether it is time to look for memory to be given back, when so many have gone since the last
/// time. To look is cheap as long as the last entry stays; there is none so far behind again.
pub(crate) fn is_due(used: usize, room: usize, gone: usize) -> bool {
    room > LEAST && used <= room / 2 && gone > used / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_an_eighth() {
        let mut places = Places::default();
        for number in 0..100_000 {
            assert_eq!(places.insert(number), number);
            assert!(places.capacity() <= (number * 9 / 8).max(number + STEP) + 1);
        }
    }

    #[test]
    fn what_is_behind_the_last_entry_is_given_back_and_what_is_before_it_is_used_again() {
        let mut places = Places::default();
        (0..10_000).for_each(|number| assert_eq!(places.insert(number), number));
        for place in (0..10_000).filter(|place| *place != 1_000) {
            places.remove(place);
        }
        assert!(places.capacity() < 2_000, "{}", places.capacity());
        (0..1_000).for_each(|number| assert_ne!(places.insert(number), 1_000));
        assert_eq!((places.len(), places[1_000]), (1_001, 1_000));
        (0..1_001).for_each(|place| assert!(places.remove(place) <= 1_000));
        assert!(places.is_empty() && places.capacity() <= LEAST, "{}", places.capacity());
    }

    #[test]
    fn two_that_see_the_same_give_the_same_places() {
        let (mut small, mut large) = (Places::default(), Places::default());
        let (mut there, mut random) = (Vec::new(), 1u64);
        for round in 0..100_000 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let roll = (random >> 33) as usize;
            // It is filled and emptied again and again.
            let comes = roll % 10 < if round / 5_000 % 2 == 0 { 7 } else { 3 };
            if comes {
                let place = small.insert(0u8);
                assert_eq!(place, large.insert([0u64; 9]));
                there.push(place);
            } else if !there.is_empty() {
                let place = there.swap_remove(roll % there.len());
                small.remove(place);
                large.remove(place);
            }
            assert_eq!(small.len(), there.len());
        }
    }

    #[test]
    fn a_list_is_given_back_without_losing_anything() {
        let mut list = Vec::new();
        for number in 0..1_000 {
            make_room(&mut list, 2);
            list.push(number);
            assert!(list.capacity() <= (number * 9 / 8).max(number + 2) + 1);
        }
        list.truncate(100);
        give_back(&mut list);
        assert_eq!((list.len(), list.capacity(), list[99]), (100, 112, 99));
        let mut queue = VecDeque::from(list);
        give_back_queue(&mut queue, 100);
        assert_eq!(queue.capacity(), 112, "as many may come again");
        queue.truncate(10);
        give_back_queue(&mut queue, 20);
        assert_eq!((queue.len(), queue[9]), (10, 9));
        assert!(queue.capacity() < 20, "{}", queue.capacity());
    }
}
