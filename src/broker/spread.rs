//! L1: which of several Redis has a channel: its messages, what is stored of it, its history.
//!
//! It is what Redis Cluster does with keys, over as many servers as there are: the slot of the
//! channel's name modulo their number. The slot is the CRC16 of the name, or of what stands between
//! its first `{` and the next `}` where that is something, modulo 16,384. Publishers compute the
//! same: `clients/python/tests/spread.json` has examples for all of them.

use redis_protocol::redis_keyslot;

/// Most Redis among which channels are spread.
pub(crate) const MOST_NODES: usize = 64;

/// Over how many nodes channels are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    nodes: usize,
}

impl Spread {
    /// Over so many, one at least.
    pub(crate) fn over(nodes: usize) -> Spread {
        Spread { nodes: nodes.max(1) }
    }

    /// How many there are.
    pub(crate) fn nodes(self) -> usize {
        self.nodes
    }

    /// The one that has the channel.
    #[inline]
    pub(crate) fn node_of(self, channel: &str) -> usize {
        match self.nodes {
            1 => 0,
            nodes => usize::from(redis_keyslot(channel.as_bytes())) % nodes,
        }
    }
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
                let node = Spread::over(nodes).node_of(channel) as u64;
                assert_eq!(Some(node), expected, "{channel:?} of {nodes}");
            }
            assert_eq!(Spread::over(1).node_of(channel), 0);
        }
        assert!(examples.len() > 10);
    }
}
