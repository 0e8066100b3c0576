//! What follows from what nodes say of a cluster.

use super::map::Member;
use super::*;

fn tcp(node: u16) -> Target {
    Target::Tcp { host: "h".to_owned(), port: node }
}

fn cluster() -> Cluster {
    Cluster::new(&Clustered { seeds: vec![tcp(7)], form: Sharding::Off })
}

/// A shard of these nodes, the master first.
fn shard(slots: &[(u16, u16)], nodes: &[u16]) -> Shard {
    let member = |(at, node): (usize, &u16)| Member {
        id: format!("node{node}"),
        at: tcp(*node),
        is_master: at == 0,
        is_online: true,
    };
    Shard { slots: slots.to_vec(), members: nodes.iter().enumerate().map(member).collect() }
}

fn said(epoch: u64, shards: &[Shard]) -> Said {
    Said { map: Map { shards: shards.to_vec() }, epoch, serves: true }
}

fn masters(cluster: &Cluster) -> Vec<&str> {
    (0..cluster.nodes()).map(|node| cluster.leader(node).0).collect()
}

#[test]
fn a_shard_keeps_its_place_whoever_is_its_master() {
    let mut cluster = cluster();
    let halves = [(0, 8_191), (8_192, 16_383)];
    let two = |a: &[u16], b: &[u16]| [shard(&halves[..1], a), shard(&halves[1..], b)];
    assert!(cluster.take(said(1, &two(&[1, 2], &[3, 4])), false, 0));
    assert_eq!(masters(&cluster), ["node1", "node3"]);
    let [a, b] = two(&[2, 1], &[3, 4]);
    assert!(cluster.take(said(2, &[b, a]), false, 0));
    assert_eq!(masters(&cluster), ["node2", "node3"]);
    assert_eq!([cluster.owners()[0], cluster.owners()[16_383]], [0, 1]);
    // The master of each becomes a replica of the other.
    assert!(cluster.take(said(3, &two(&[3, 2], &[2, 3])), false, 0));
    assert_eq!(masters(&cluster), ["node2", "node3"]);
    assert_eq!([cluster.owners()[0], cluster.owners()[16_383]], [1, 0]);
}

#[test]
fn a_master_that_failed_leaves_its_place_to_its_replica() {
    let mut cluster = cluster();
    let (all, other) = ([(0, 8_191)], shard(&[(8_192, 16_383)], &[3]));
    assert!(cluster.take(said(1, &[shard(&all, &[1, 2]), other.clone()]), false, 0));
    let mut gone = shard(&[], &[1]);
    gone.members[0].is_online = false;
    assert!(cluster.take(said(2, &[gone, other, shard(&all, &[2])]), false, 0));
    assert_eq!(masters(&cluster)[..2], ["node2", "node3"]);
    assert_eq!([cluster.owners()[0], cluster.owners()[16_383]], [0, 1]);
}

#[test]
fn one_that_has_failed_leads_nowhere_and_one_without_slots_is_not_needed() {
    let mut cluster = cluster();
    let mut failed = shard(&[(0, 16_383)], &[1, 2]);
    failed.members[0].is_online = false;
    assert!(cluster.take(said(1, &[failed, shard(&[], &[3])]), false, 0));
    assert_eq!(cluster.leader(0), ("", None));
    assert_eq!((cluster.is_needed(0), cluster.is_needed(1)), (true, false));
    assert_eq!(cluster.find(&tcp(3), 10), Some(1));
    assert!(cluster.is_needed(1), "something is to be asked there");
    assert!(!cluster.is_stale(1, 9 + WANTED_MS) && cluster.is_stale(1, 10 + WANTED_MS));
    assert_eq!(cluster.find(&tcp(3), 20), Some(1));
    assert!(!cluster.is_stale(1, 10 + WANTED_MS), "there is more");
    assert_eq!(cluster.find(&tcp(1), 20), Some(0));
    assert!(!cluster.is_stale(0, 20 + WANTED_MS), "it has slots");
    assert!(!cluster.has_slots(1));
    cluster.unwant(1);
    assert!(!cluster.is_needed(1));
}

#[test]
fn the_highest_epoch_counts_until_nothing_else_is_said_than_another() {
    let mut cluster = cluster();
    let (new, old) = ([shard(&[(0, 16_383)], &[2])], [shard(&[(0, 16_383)], &[1])]);
    assert!(cluster.take(said(5, &new), false, 0));
    for _ in 1..ANEW {
        assert!(!cluster.take(said(4, &old), false, 0));
    }
    assert!(cluster.take(said(5, &new), false, 0));
    for _ in 1..ANEW {
        assert!(!cluster.take(said(4, &old), false, 0));
    }
    assert!(cluster.take(said(4, &old), false, 0), "it was set up anew");
    let cannot = || Said { serves: false, ..said(9, &new) };
    assert!(!cluster.take(cannot(), false, 0));
    assert!(cluster.take(cannot(), true, 0), "there is no other");
}

#[test]
fn places_are_given_again_and_there_are_not_more_than_there_may_be() {
    let mut cluster = cluster();
    let many: Vec<Shard> = (1..=200).map(|node| shard(&[(node, node)], &[node])).collect();
    assert!(cluster.take(said(1, &many), false, 0));
    assert_eq!(cluster.nodes(), MOST_NODES);
    assert!(cluster.take(said(2, &many[..2]), false, 0));
    (0..MOST_NODES).for_each(|node| cluster.vacate(node));
    assert!(cluster.take(said(3, &many[100..110]), false, 0));
    assert_eq!(cluster.nodes(), MOST_NODES);
    let needed = (0..MOST_NODES).filter(|node| cluster.is_needed(*node));
    assert_eq!(needed.count(), 10);
}

#[test]
fn who_is_asked_takes_turns_and_whoever_may_know_comes_first() {
    let mut cluster = cluster();
    let three: Vec<Shard> = (1..=3).map(|node| shard(&[(node, node)], &[node])).collect();
    assert!(cluster.take(said(1, &three), false, 0));
    let mut up = vec![Status::Up; 3];
    let asked: Vec<_> = (0..4).map(|_| cluster.next_asked(&up, 0)).collect();
    assert_eq!(asked, [Some(1), Some(2), Some(0), Some(1)]);
    assert_eq!(cluster.ask_ms(), ASK_MS);
    cluster.hurry(0, 5);
    assert_eq!((cluster.ask_ms(), cluster.next_asked(&up, 20)), (ASK_PAUSE_MS, Some(0)));
    up[1] = Status::Down;
    assert_eq!((cluster.next_asked(&up, 100), cluster.ask_ms()), (Some(2), 100 + ASK_SOON_MS));
}

#[test]
fn whoever_has_only_voted_does_not_lead_back() {
    let mut cluster = cluster();
    let (new, old) = ([shard(&[(0, 16_383)], &[2, 1])], [shard(&[(0, 16_383)], &[1, 2])]);
    assert!(cluster.take(said(5, &old), false, 10_000));
    assert!(cluster.take(said(6, &old), false, 20_000));
    assert!(cluster.take(said(6, &new), false, 20_010));
    assert!(!cluster.take(said(6, &old), false, 20_020));
    assert_eq!(masters(&cluster), ["node2"]);
    assert!(cluster.take(said(6, &old), false, 20_010 + SETTLED_MS), "it is what all say");
    assert!(cluster.take(said(7, &new), false, 20_020 + SETTLED_MS), "that is newer");
}
