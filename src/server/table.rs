//! L2: the table of links: which are conns, which visitors, and which is the broker's.
//!
//! It knows places and generations, not what happens to what is there. Its rule: a place is taken
//! when a link is named and given up when it is freed, at no other time, so that a slab on the
//! other side of the contract, filled and emptied at the same moments, gives the same places.

use slab::Slab;

use crate::browser::conn::{Conn, Stage};
use crate::link::LinkId;

/// What a link is.
#[derive(Debug)]
pub enum Party {
    /// A browser's.
    Conn(Conn),
    /// The broker's.
    Broker,
    /// The application's, which is asked about handshakes.
    Auth,
    /// A visitor's, who is the server's to look after.
    Visitor,
}

/// The links by their place.
#[derive(Debug, Default)]
pub struct Slots {
    slots: Slab<Slot>,
    /// Links that have ever been named.
    named: u32,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    party: Party,
}

impl Slots {
    /// Names a link.
    pub fn name(&mut self, party: Party) -> LinkId {
        self.named = self.named.wrapping_add(1);
        let generation = self.named;
        let index = self.slots.insert(Slot { generation, party }) as u32;
        LinkId { index, generation }
    }

    /// Gives a link's place up; returns what was there, if the link still had it.
    pub fn free(&mut self, link: LinkId) -> Option<Party> {
        self.slot(link)?;
        Some(self.slots.remove(link.index as usize).party)
    }

    /// The conn of that link, unless it has gone.
    pub fn conn(&mut self, link: LinkId) -> Option<&mut Conn> {
        match self.slots.get_mut(link.index as usize)? {
            Slot { generation, party: Party::Conn(conn) }
                if *generation == link.generation && conn.stage != Stage::Gone =>
            {
                Some(conn)
            }
            _ => None,
        }
    }

    /// The conn of that link, to be looked at; unless it has gone.
    pub fn peek(&self, link: LinkId) -> Option<&Conn> {
        match &self.slot(link)?.party {
            Party::Conn(conn) if conn.stage != Stage::Gone => Some(conn),
            _ => None,
        }
    }

    /// The conn at that place, with its link.
    pub fn at(&mut self, index: u32) -> Option<(LinkId, &mut Conn)> {
        match self.slots.get_mut(index as usize)? {
            Slot { generation, party: Party::Conn(conn) } => {
                Some((LinkId { index, generation: *generation }, conn))
            }
            _ => None,
        }
    }

    /// All conns, in the order of their places.
    pub fn conns(&self) -> impl Iterator<Item = (LinkId, &Conn)> {
        self.slots.iter().filter_map(|(index, slot)| match &slot.party {
            Party::Conn(conn) => {
                Some((LinkId { index: index as u32, generation: slot.generation }, conn))
            }
            Party::Broker | Party::Auth | Party::Visitor => None,
        })
    }

    fn slot(&self, link: LinkId) -> Option<&Slot> {
        self.slots.get(link.index as usize).filter(|slot| slot.generation == link.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conn_is_a_few_cache_lines() {
        assert!(size_of::<Slot>() <= 112, "{}", size_of::<Slot>());
    }

    #[test]
    fn a_name_that_has_outlived_its_link_means_nothing() {
        let mut slots = Slots::default();
        let old = slots.name(Party::Conn(Conn::new(0, false)));
        assert!(slots.conn(old).is_some() && slots.free(old).is_some());
        let new = slots.name(Party::Conn(Conn::new(0, false)));
        assert_eq!(old.index, new.index);
        assert!(slots.conn(old).is_none() && slots.peek(old).is_none());
        assert!(slots.free(old).is_none() && slots.conn(new).is_some());
    }

    #[test]
    fn a_conn_that_has_gone_keeps_its_place_until_it_is_freed() {
        let mut slots = Slots::default();
        let link = slots.name(Party::Conn(Conn::new(0, false)));
        slots.conn(link).unwrap().stage = Stage::Gone;
        assert!(slots.conn(link).is_none());
        assert_ne!(slots.name(Party::Broker).index, link.index);
    }
}
