//! Any bytes as what a node of a cluster answers about the cluster, or as where it sends: nothing
//! panics, and what is read is a map that can be followed.
//!
//! The first byte says which of these.

use wsloop::Target;
use wsloop::internals::broker::cluster::{Map, Shard, of_info, of_redirection};

const SLOTS: u16 = 16_384;

/// Panics when something is read wrongly.
pub fn check(data: &[u8]) {
    let Some((&what, text)) = data.split_first() else { return };
    let host = "seed".to_owned();
    let asked = match what & 4 {
        0 => Target::Tcp { host, port: 6379 },
        _ => Target::Tls { host, port: 6379 },
    };
    match what & 3 {
        0 => check_map(Map::of_shards(text, &asked), &asked),
        1 => check_map(Map::of_slots(text, &asked), &asked),
        2 => {
            of_info(text);
        }
        _ => check_redirection(text, &asked),
    }
}

fn check_map(map: Option<Map>, asked: &Target) {
    let Some(map) = map else { return };
    assert!(map.shards.iter().any(|shard| !shard.slots.is_empty()));
    for shard in &map.shards {
        check_shard(shard, asked);
    }
}

fn check_shard(shard: &Shard, asked: &Target) {
    let master = shard.master().expect("a shard has a master");
    assert!(master.is_master && shard.members.contains(master));
    for (first, last) in &shard.slots {
        assert!(first <= last && *last < SLOTS);
    }
    for member in &shard.members {
        assert!(!member.id.is_empty() && member.id.len() < 256);
        check_target(&member.at, asked);
    }
}

fn check_redirection(text: &[u8], asked: &Target) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Some((slot, target)) = of_redirection(text, asked) {
        assert!(slot < SLOTS);
        check_target(&target, asked);
    }
}

/// It can be dialed, and is asked by TLS if the one was who named it.
fn check_target(target: &Target, asked: &Target) {
    let (Target::Tcp { host, port } | Target::Tls { host, port }) = target else {
        panic!("it is no host");
    };
    assert!(*port > 0 && !host.is_empty() && host.len() < 256);
    assert!(!host.contains(char::is_whitespace) && !host.contains(char::is_control));
    let is_tls = |target: &Target| matches!(target, Target::Tls { .. });
    assert_eq!(is_tls(target), is_tls(asked));
}
