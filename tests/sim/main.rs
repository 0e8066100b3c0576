//! The whole core on a virtual clock, in disorder drawn from seeds and checked against a model.
//!
//! A failure names its seed and says what happened last. `WSLOOP_SIM_SEED=N` replays that seed and
//! says everything; `WSLOOP_SIM_SEEDS=FROM..TO` plays others. In release it plays 10,000 seeds:
//! `cargo test --release --test sim`. What a seed means changes with the simulation itself.

#[path = "../fuzzed/server.rs"]
mod server;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use server::sim::{self, Dice};

const STEPS: usize = 120;
const SEEDS: Range<u64> = 0..if cfg!(debug_assertions) { 300 } else { 10_000 };

fn play(seed: u64, trace: bool) {
    sim::play(&format!("seed {seed}"), &mut Dice::Seed(seed), STEPS, trace);
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

#[test]
fn in_any_disorder_everybody_hears_what_they_are_to_hear() {
    let (seeds, trace) = wanted();
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get()) as u64;
    let failed = std::thread::scope(|scope| {
        let lane = |lane: u64| {
            let seeds = seeds.clone().skip(lane as usize).step_by(threads as usize);
            move || {
                for seed in seeds {
                    let played = catch_unwind(AssertUnwindSafe(|| play(seed, trace)));
                    if let Err(panic) = played {
                        println!("replay it with WSLOOP_SIM_SEED={seed}");
                        return Some((seed, panic));
                    }
                }
                None
            }
        };
        let lanes: Vec<_> = (0..threads).map(|at| scope.spawn(lane(at))).collect();
        lanes
            .into_iter()
            .filter_map(|lane| lane.join().expect("it catches all"))
            .collect::<Vec<_>>()
    });
    if let Some((seed, panic)) = failed.into_iter().min_by_key(|(seed, _)| *seed) {
        println!("the first seed that failed is {seed}");
        resume_unwind(panic);
    }
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
