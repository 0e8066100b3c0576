//! Two nodes that send to each other, as they do for good when a slot moves again before all know
//! of the epoch of its owner.

use super::*;
use wsloop::proto::ws::frame::Opcode;

/// The first says that the second has the slot, and the second that the first has it.
fn quarrel(world: &mut World) {
    world.node(0).learn(2, &split(10, &[0, 2], &[1, 3]));
    world.node(1).learn(2, &split(8_191, &[0, 2], &[1, 3]));
}

/// Both say that the second has it.
fn agree(world: &mut World) {
    learn(world, 3, &split(10, &[0, 2], &[1, 3]));
}

/// Time passes, with a round trip of two milliseconds.
fn live(world: &mut World, ms: u64) {
    for _ in 0..ms {
        world.now_ms += 1;
        world.turn();
    }
}

/// How many commands of that name both were sent since the last look.
fn count(world: &mut World, words: &[&str]) -> usize {
    let count = |node| {
        let commands = world.node(node).take_commands();
        names(&commands).iter().filter(|name| words.contains(name)).count()
    };
    (0..2).map(count).sum()
}

#[test]
fn they_are_asked_no_more_and_more_and_what_is_heard_is_heard_when_they_agree() {
    for form in [Sharding::On, Sharding::Both] {
        let mut world = world(form);
        let first = world.open(&hears(FIRST));
        count(&mut world, &[]);
        quarrel(&mut world);
        for second in 0..20 {
            live(&mut world, 1_000);
            let asked = count(&mut world, &["SSUBSCRIBE", "SUNSUBSCRIBE"]);
            assert!(asked < 100, "{form:?}: {asked} in second {second}");
        }
        let found = world.metrics().broker_found_total;
        assert!(found < 500, "{form:?}: {found}");
        agree(&mut world);
        live(&mut world, 3_000);
        world.node(1).spublish(&channel(FIRST), "live");
        live(&mut world, 100);
        assert!(world.texts(first).contains(&"live".to_owned()), "{form:?}");
    }
}

/// They agree within the five seconds for which it may wait.
#[test]
fn what_is_published_waits_until_they_agree() {
    for form in [Sharding::On, Sharding::Off] {
        let mut world = world(form);
        let first = world.open(&format!("/ws/{FIRST}?publish-broadcast"));
        quarrel(&mut world);
        live(&mut world, 2);
        count(&mut world, &[]);
        world.browsers[first].send_frame(Opcode::Text, b"said");
        live(&mut world, 4_000);
        let tried = count(&mut world, &["SPUBLISH", "SET"]);
        assert!((10..400).contains(&tried), "{form:?}: {tried}");
        agree(&mut world);
        live(&mut world, 900);
        assert_eq!(world.metrics().publishes_dropped_total, 0, "{form:?}");
        let now_ms = world.now_ms;
        let stored = world.node(1).stored(0, &channel(FIRST), now_ms);
        assert_eq!(stored, Some(&b"said"[..]), "{form:?}");
    }
}

/// What was only to be stored is said to be lost as well.
#[test]
fn what_is_published_is_given_up_and_counted_when_they_do_not() {
    for form in [Sharding::On, Sharding::Off] {
        let mut world = world(form);
        let first = world.open(&format!("/ws/{FIRST}?publish-broadcast"));
        quarrel(&mut world);
        live(&mut world, 2);
        world.browsers[first].send_frame(Opcode::Text, b"said");
        live(&mut world, 8_000);
        let metrics = world.metrics();
        let (dropped, errors) = (metrics.publishes_dropped_total, metrics.broker_errors_total);
        match form {
            Sharding::On => assert_eq!(dropped, 1),
            _ => assert_eq!((dropped, errors), (0, 1)),
        }
        count(&mut world, &[]);
        live(&mut world, 1_000);
        assert_eq!(count(&mut world, &["SPUBLISH", "SET"]), 0, "{form:?}");
    }
}
