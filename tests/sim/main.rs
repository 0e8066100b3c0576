//! The whole core on a virtual clock, in disorder drawn from seeds and checked against a model.
//!
//! A failure names its seed and says what happened in it. `WSLOOP_SIM_SEED=N` plays that seed and
//! says everything; `WSLOOP_SIM_SEEDS=FROM..TO` plays others. In release it plays 10,000 seeds:
//! `cargo test --release --test sim`. What a seed means changes with the simulation itself.

mod endpoints;
mod front;
#[path = "../fuzzed/server.rs"]
mod server;
mod topics;

use std::ops::Range;
use std::panic::catch_unwind;

use server::sim::{self, Dice};

const STEPS: usize = 120;
const SEEDS: Range<u64> = 0..if cfg!(debug_assertions) { 300 } else { 10_000 };

fn play(seed: u64, trace: bool) {
    sim::play(&mut Dice::Seed(seed), STEPS, trace);
}

/// The seeds that were asked for, and whether to say everything.
fn wanted() -> (Range<u64>, bool) {
    let number = |text: &str| text.trim().parse().expect("a seed is a number");
    if let Ok(seed) = std::env::var("WSLOOP_SIM_SEED") {
        let seed = number(&seed);
        return (seed..seed + 1, true);
    }
    let Ok(seeds) = std::env::var("WSLOOP_SIM_SEEDS") else { return (SEEDS, false) };
    let (from, to) = seeds.split_once("..").expect("WSLOOP_SIM_SEEDS=FROM..TO");
    (number(from)..number(to), false)
}

/// Plays all the seeds that were asked for, and the first that fails once more, with everything.
fn play_all(play: fn(u64, bool)) {
    let (seeds, trace) = wanted();
    let lanes = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let failed = std::thread::scope(|scope| {
        let lane = |lane: usize| {
            let mut seeds = seeds.clone().skip(lane).step_by(lanes);
            let fails = |seed: &u64| catch_unwind(|| play(*seed, false)).is_err();
            scope.spawn(move || seeds.find(fails))
        };
        let lanes: Vec<_> = (0..lanes).map(lane).collect();
        let failed = lanes.into_iter().filter_map(|lane| lane.join().expect("it catches all"));
        failed.min()
    });
    if let Some(seed) = failed {
        println!("the first seed that failed is {seed}: WSLOOP_SIM_SEED={seed} replays it");
        play(seed, true);
        panic!("seed {seed} fails, but not always");
    } else if trace {
        play(seeds.start, true);
    }
}

#[test]
fn in_any_disorder_everybody_hears_what_they_are_to_hear() {
    play_all(play);
}

#[test]
fn in_any_disorder_requests_have_their_own_answers() {
    play_all(|seed, trace| front::play(&mut Dice::Seed(seed), STEPS, trace));
}

#[test]
fn in_any_disorder_an_application_is_told_and_heard() {
    play_all(|seed, trace| endpoints::play(&mut Dice::Seed(seed), STEPS, trace));
}

#[test]
fn in_any_disorder_pages_have_all_or_are_told_of_a_gap() {
    play_all(|seed, trace| topics::play(&mut Dice::Seed(seed), STEPS, trace));
}

#[test]
fn in_any_disorder_of_several_redis_pages_have_all_or_are_told_of_a_gap() {
    play_all(|seed, trace| topics::play_several(&mut Dice::Seed(seed), STEPS, trace));
}

#[test]
fn bytes_make_a_script() {
    let mut dice = Dice::Seed(1);
    for length in [0, 1, 10, 100, 1_000, 4_000] {
        let bytes: Vec<u8> = (0..length).map(|_| dice.below(256) as u8).collect();
        server::check(&bytes);
    }
}

#[test]
fn a_seed_is_the_same_script_every_time() {
    let [first, second] = [Dice::Seed(7), Dice::Seed(7)].map(|mut dice| {
        let scene = |browsers| sim::action::Scene {
            browsers,
            redis: browsers % 2 == 0,
            prefix: "p",
            sessions: true,
            application: true,
            control: true,
        };
        let actions = (0..100).map(|at| sim::action::Action::draw(&mut dice, &scene(at)));
        actions.map(|action| format!("{action:?}")).collect::<Vec<_>>()
    });
    assert_eq!(first, second);
}
