//! A stream whose topics are at several Redis.

use super::topics::{MOST, kept, last_id, resume, said};
use super::*;

/// Of two Redis the first has chat/1, and the other chat/0.
const BOTH: &str = "/ws/?topic=broadcast+chat/0&topic=broadcast+chat/1";
const CHANNELS: [&str; 2] = ["broadcast:chat/1", "broadcast:chat/0"];

fn keep_at(world: &mut World, node: usize, text: &str) {
    world.node(node).publish_kept(CHANNELS[node], text, MOST);
    world.run();
}

#[test]
fn an_outage_of_one_is_mended_and_the_topics_of_the_other_go_on() {
    let mut world = World::new(kept(with_several(2)));
    let id = stream(&mut world, BOTH);
    keep_at(&mut world, 0, "one");
    keep_at(&mut world, 1, "two");
    assert_eq!(said(&mut world, id), ["one", "two"]);
    world.kill_node(1);
    keep_at(&mut world, 0, "three");
    assert_eq!(said(&mut world, id), ["three"]);
    keep_at(&mut world, 1, "four");
    assert_eq!(said(&mut world, id), [""; 0]);
    world.revive_node(1);
    assert_eq!(said(&mut world, id), ["four"]);
    keep_at(&mut world, 0, "five");
    keep_at(&mut world, 1, "six");
    assert_eq!(said(&mut world, id), ["five", "six"]);
}

/// Its place in the channel that cannot be heard is kept for when it can.
#[test]
fn whoever_comes_back_while_one_is_away_has_all_of_it_later() {
    let mut world = World::new(kept(with_several(2)));
    let id = stream(&mut world, BOTH);
    keep_at(&mut world, 0, "one");
    keep_at(&mut world, 1, "two");
    assert_eq!(said(&mut world, id), ["one", "two"]);
    let last = last_id(&world, id);
    world.hang_up(id);
    world.kill_node(1);
    keep_at(&mut world, 0, "three");
    keep_at(&mut world, 1, "four");
    let id = resume(&mut world, BOTH, &last);
    assert_eq!(said(&mut world, id), ["three"]);
    let last = last_id(&world, id);
    world.hang_up(id);
    keep_at(&mut world, 0, "five");
    world.revive_node(1);
    let id = resume(&mut world, BOTH, &last);
    let mut texts = said(&mut world, id);
    texts.sort();
    assert_eq!(texts, ["five", "four"]);
    assert_eq!(world.metrics().gaps_total, 0);
}
