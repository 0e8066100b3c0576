//! L1: which node of the broker has a channel: where it is heard, read and written.
//!
//! It is a value that the rooms keep which ask it, and a new one is handed to all of them when it
//! changes. Its rules:
//! * of several independent Redis, one has a channel for everything: it is what Redis Cluster does
//!   with keys, over as many servers as there are: the slot of the channel's name modulo their
//!   number. The slot is the CRC16 of the name, or of what stands between its first `{` and the
//!   next `}` where that is something, modulo 16,384. Publishers compute the same:
//!   `clients/python/tests/spread.json` has examples for all of them;
//! * a replica is heard and read in the place of its master, or the master is;
//! * in a cluster the owner of the slot has it, as the cluster's map says. A channel that is heard
//!   stays where it is heard when its slot moves, unless the node there says otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis_protocol::redis_keyslot;

/// Most Redis among which channels are spread.
pub(crate) const MOST_NODES: usize = 64;
/// The slots that the names of a cluster are divided into.
pub(crate) const SLOTS: usize = 16_384;
/// The node that has what is no channel's, unless names have slots.
const FIRST: usize = 0;

/// How channels are spread over nodes.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    nodes: usize,
    slots: Option<Arc<Slots>>,
    /// Where everything is heard and read, of a master and its replica; all else is at the master.
    heard_at: Option<usize>,
}

/// Who has the slots of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    /// The node that owns each slot.
    pub(crate) owners: Box<[u8]>,
    /// Channels that are heard at another node than the owner of their slot.
    pub(crate) moved: BTreeMap<Arc<str>, usize>,
}

impl Spread {
    /// Over so many, one at least.
    pub(crate) fn over(nodes: usize) -> Spread {
        Spread { nodes: nodes.max(1), slots: None, heard_at: None }
    }

    /// Over the nodes of a cluster, of which so many are known.
    pub(crate) fn by_slots(nodes: usize, slots: Slots) -> Spread {
        Spread { nodes, slots: Some(Arc::new(slots)), heard_at: None }
    }

    /// Over a master and its replica, of which that one is heard and read.
    pub(crate) fn of_pair(heard_at: usize) -> Spread {
        Spread { nodes: 2, slots: None, heard_at: Some(heard_at) }
    }

    /// Where all is heard, if these are a master and its replica.
    #[inline]
    pub(crate) fn heard_at(&self) -> Option<usize> {
        self.heard_at
    }

    /// How many there are.
    #[inline]
    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    /// How many there may come to be.
    pub(crate) fn most_nodes(&self) -> usize {
        if self.slots.is_some() { MOST_NODES } else { self.nodes }
    }

    /// The node that owns each slot, if names have slots.
    pub(crate) fn owners(&self) -> Option<&[u8]> {
        self.slots.as_deref().map(|slots| &*slots.owners)
    }

    /// Whether a node has channels that are heard there and not at the owner of their slot.
    pub(crate) fn is_heard_at(&self, node: usize) -> bool {
        let moved = self.slots.iter().flat_map(|slots| slots.moved.values());
        moved.copied().any(|other| other == node)
    }

    /// The node whose link has the messages of the channel.
    #[inline]
    pub(crate) fn hears(&self, channel: &str) -> usize {
        let Some(slots) = self.slots.as_deref() else { return self.reads(channel) };
        match slots.moved.get(channel) {
            Some(node) => *node,
            None => slots.owner_of(channel),
        }
    }

    /// The node that is asked for what is stored of the channel, and for its history.
    #[inline]
    pub(crate) fn reads(&self, channel: &str) -> usize {
        match self.heard_at {
            Some(node) => node,
            None => self.place_of(channel),
        }
    }

    /// The node where is published on the channel.
    #[inline]
    pub(crate) fn writes(&self, channel: &str) -> usize {
        self.place_of(channel)
    }

    /// The nodes that have the channel: where it is heard, read and written.
    pub(crate) fn places(&self, channel: &str) -> [usize; 3] {
        [self.hears(channel), self.reads(channel), self.writes(channel)]
    }

    /// The node that is asked for what is stored under a name that is no channel's.
    #[inline]
    pub(crate) fn keeps(&self, name: &str) -> usize {
        if self.slots.is_some() { self.place_of(name) } else { FIRST }
    }

    #[inline]
    fn place_of(&self, name: &str) -> usize {
        match (&self.slots, self.nodes) {
            (Some(slots), _) => slots.owner_of(name),
            (None, 1) => FIRST,
            (None, _) if self.heard_at.is_some() => FIRST,
            (None, nodes) => usize::from(slot_of(name)) % nodes,
        }
    }
}

impl Slots {
    pub(crate) fn owner_of(&self, name: &str) -> usize {
        usize::from(self.owners[usize::from(slot_of(name))])
    }
}

/// The slot of a name.
#[inline]
pub(crate) fn slot_of(name: &str) -> u16 {
    redis_keyslot(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_where_the_examples_say() {
        let examples = include_str!("../../clients/python/tests/spread.json");
        let examples: Vec<serde_json::Value> = serde_json::from_str(examples).expect("JSON");
        for example in &examples {
            let channel = example["channel"].as_str().expect("a name");
            for nodes in [2, 3, 64] {
                let expected = example[format!("of_{nodes}")].as_u64();
                let node = Spread::over(nodes).writes(channel) as u64;
                assert_eq!(Some(node), expected, "{channel:?} of {nodes}");
            }
            assert_eq!(Spread::over(1).writes(channel), 0);
        }
        assert!(examples.len() > 10);
    }
}
