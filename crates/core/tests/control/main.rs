//! The model of cancel, reschedule and unique schedules: its laws, and a simulator that attacks it.
//!
//! More seeds, or one of them with all that happened, with a mutant if wanted:
//! ```sh
//! DORMOUSE_TEST_SEEDS=100000 cargo test -p dormouse-core --test control promise -- --nocapture
//! DORMOUSE_TEST_SEED=17 DORMOUSE_TEST_MUTANT=NoFence cargo test -p dormouse-core --test control one_seed -- --nocapture
//! ```

mod laws;
mod sim;
mod size;

use std::time::Instant;

use sim::{Attack, Mutant, RECURRING};

/// Of each of the two tests of the promise.
const SEEDS: u64 = 2_000;
/// A mutant is caught within so many of the seeds that have its attack.
const SEEDS_OF_A_MUTANT: usize = 400;

fn from_environment<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Every seed of these keeps what was promised; the first that does not is told from its beginning.
fn keep_the_promise(seeds: impl Iterator<Item = u64>) {
    let begun = Instant::now();
    let (mut count, mut sum) = (0, sim::Figures::default());
    for seed in seeds {
        let outcome = sim::run(seed, None, false);
        if !outcome.violations.is_empty() {
            let told = sim::run(seed, None, true);
            panic!("{}\nseed {seed}: {:#?}", told.trace.join("\n"), told.violations);
        }
        count += 1;
        sum.add(&outcome.figures);
    }
    println!("{count} seeds, {sum}, in {:.0} s", begun.elapsed().as_secs_f64());
}

fn seeds() -> u64 {
    from_environment("DORMOUSE_TEST_SEEDS").unwrap_or(2 * SEEDS)
}

#[test]
fn the_promise_holds_in_even_seeds() {
    keep_the_promise((0..seeds()).step_by(2));
}

#[test]
fn the_promise_holds_in_odd_seeds() {
    keep_the_promise((1..seeds()).step_by(2));
}

#[test]
fn ticks_of_schedules_come_once_and_none_against_a_pause_an_edit_or_a_delete() {
    keep_the_promise(RECURRING..RECURRING + seeds() / 20);
}

/// The judge is no better than what it finds.
#[test]
fn every_mutant_is_caught() {
    for mutant in Mutant::ALL {
        let first = if mutant.attack() == Attack::Recurring { RECURRING } else { 0 };
        let made_for_it = (first..).filter(|seed| Attack::of(*seed) == mutant.attack());
        let caught = made_for_it.take(SEEDS_OF_A_MUTANT).enumerate().find_map(|(tried, seed)| {
            let violations = sim::run(seed, Some(mutant), false).violations;
            // that something waits for ever is no proof
            let broken =
                violations.into_iter().find(|violation| !violation.starts_with("never quiet"));
            broken.map(|violation| (tried + 1, seed, violation))
        });
        let Some((tried, seed, violation)) = caught else {
            panic!("{mutant:?} is not caught");
        };
        let unchanged = sim::run(seed, None, false).violations;
        assert!(unchanged.is_empty(), "seed {seed} without {mutant:?}: {unchanged:#?}");
        println!("{mutant:?}: {tried} tried, seed {seed}: {violation:.200}");
    }
}

#[test]
fn one_seed() {
    let Some(seed) = from_environment("DORMOUSE_TEST_SEED") else { return };
    let name: Option<String> = from_environment("DORMOUSE_TEST_MUTANT");
    let named = |mutant: &Mutant| Some(format!("{mutant:?}")) == name;
    let outcome = sim::run(seed, Mutant::ALL.into_iter().find(named), true);
    println!("{}\nseed {seed}: {:#?}", outcome.trace.join("\n"), outcome.violations);
}
