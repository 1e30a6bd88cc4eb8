//! Random event sequences against the dispatcher in virtual time, checked after every input.
//!
//! One seed is one run: a random company, then hundreds of random inputs, lost batches, crashes and clock
//! jumps. A violated invariant names its seed and the command that replays it.
//!
//! - `CALLKIT_SEED=n`: only this seed.
//! - `CALLKIT_SEEDS=n`: that many seeds instead of the default, for a longer search.

mod check;
mod fault;
mod run;
mod view;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fault::Fault;
use run::{Failure, Reached, Watch, run};

/// Enough to reach every pair of transitions many times, few enough for every build.
const SEEDS: u64 = 2000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} has to be a number, not {text:?}")),
    )
}

/// Runs all seeds on all processors; the failure with the smallest seed.
fn sweep(seeds: u64, fault: Option<Fault>) -> Option<Failure> {
    let next = AtomicU64::new(0);
    let found: Mutex<Option<Failure>> = Mutex::new(None);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    if let Err(failure) = run(seed, fault, Watch::Nothing) {
                        next.store(seeds, Ordering::Relaxed);
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        if found.as_ref().is_none_or(|known| failure.seed < known.seed) {
                            *found = Some(failure);
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn random_events_crashes_and_clock_jumps_never_break_an_invariant() {
    let failure = match number("CALLKIT_SEED") {
        Some(seed) => run(seed, None, Watch::Nothing).err(),
        None => sweep(number("CALLKIT_SEEDS").unwrap_or(SEEDS), None),
    };
    if let Some(failure) = failure {
        panic!("{failure}");
    }
}

#[test]
fn i15_the_same_seed_gives_the_same_history() {
    for seed in 0..40 {
        let first = run(seed, None, Watch::History).map(|run| run.digest);
        let second = run(seed, None, Watch::History).map(|run| run.digest);
        match (first, second) {
            (Ok(first), Ok(second)) => assert_eq!(first, second, "I15: seed {seed} ran in two ways"),
            (Err(failure), _) | (_, Err(failure)) => panic!("{failure}"),
        }
    }
    let other = run(1, None, Watch::History).map(|run| run.digest).ok();
    assert_ne!(
        run(0, None, Watch::History).map(|run| run.digest).ok(),
        other,
        "the digest sees the history"
    );
}

#[test]
fn the_runs_reach_what_they_are_meant_to_check() {
    let mut reached = Reached::default();
    for seed in 0..100 {
        match run(seed, None, Watch::History) {
            Ok(run) => reached.add(&run.reached),
            Err(failure) => panic!("{failure}"),
        }
    }
    for (what, times) in reached.all() {
        assert!(times >= 10, "{what}: only {times} times in 100 runs");
    }
}

#[test]
fn the_checker_sees_each_fault() {
    for fault in Fault::ALL {
        let failure = sweep(200, Some(fault));
        let invariant = failure.as_ref().map(|failure| failure.violation.invariant);
        assert!(
            invariant.is_some_and(|invariant| fault.seen_by().contains(&invariant)),
            "{fault:?} was noticed as {invariant:?}: {failure:?}"
        );
    }
}
