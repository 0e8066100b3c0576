//! L1: the conns that hear one channel, in the order of their coming but for who takes the place
//! of one that has gone.
//!
//! Most channels of a site are somebody's own: a single conn needs no memory besides.

use crate::link::places::{give_back, make_room};

/// The least that a list grows by.
const STEP: usize = 4;

/// At least one conn.
#[derive(Debug)]
pub(super) enum Subscribers {
    One(u32),
    #[expect(
        clippy::box_collection,
        reason = "a channel is to be small, and a list is three words"
    )]
    Many(Box<Vec<u32>>),
}

impl Subscribers {
    /// All of them.
    #[inline]
    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Subscribers::One(conn) => std::slice::from_ref(conn),
            Subscribers::Many(conns) => conns,
        }
    }

    /// Takes one more in, behind the others.
    pub(super) fn push(&mut self, conn: u32) {
        match self {
            Subscribers::One(first) => *self = Subscribers::Many(Box::new(vec![*first, conn])),
            Subscribers::Many(conns) => {
                make_room(conns, STEP);
                conns.push(conn);
            }
        }
    }

    /// Takes one of several out; its place is the last one's from then on, who is returned.
    pub(super) fn swap_remove(&mut self, position: usize) -> Option<u32> {
        let Subscribers::Many(conns) = self else { unreachable!("the last one stays") };
        conns.swap_remove(position);
        let moved = conns.get(position).copied();
        match conns[..] {
            [last] => *self = Subscribers::One(last),
            _ => give_back(conns),
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_them_takes_the_place_of_who_goes() {
        let mut conns = Subscribers::One(7);
        conns.push(8);
        conns.push(9);
        assert_eq!(conns.as_slice(), [7, 8, 9]);
        assert_eq!(conns.swap_remove(0), Some(9));
        assert_eq!(conns.as_slice(), [9, 8]);
        assert_eq!(conns.swap_remove(1), None);
        assert!(matches!(conns, Subscribers::One(9)));
    }

    #[test]
    fn it_has_memory_for_hardly_more_than_there_are() {
        let mut conns = Subscribers::One(0);
        let room = |conns: &Subscribers| match conns {
            Subscribers::One(_) => 0,
            Subscribers::Many(conns) => conns.capacity(),
        };
        for conn in 1..10_000 {
            conns.push(conn);
            let most = (conn as usize * 9 / 8).max(conn as usize + STEP);
            assert!(room(&conns) <= most + 1, "{} for {conn}", room(&conns));
        }
        for left in (1..10_000).rev() {
            conns.swap_remove(0);
            assert!(room(&conns) <= 2 * left + 1, "{} for {left}", room(&conns));
        }
        assert_eq!((conns.as_slice().len(), room(&conns)), (1, 0));
    }
}
