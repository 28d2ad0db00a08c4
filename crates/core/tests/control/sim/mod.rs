//! A seeded simulator of what the model lives in: brokers that die, workers that freeze, clocks that are set.

mod command;
mod deciding;
mod event;
mod faults;
mod judge;
mod mutant;
mod op;
mod overlap_judge;
mod pull;
mod queue;
mod recurring;
mod recurring_judge;
mod scenario;
mod session;
mod worker;
mod world;

use std::fmt;

pub use event::{Attack, RECURRING};
pub use mutant::Mutant;
use world::World;

/// What a seed came to.
pub struct Outcome {
    /// None if everything promised was kept.
    pub violations: Vec<String>,
    pub figures: Figures,
    /// What happened, if it was asked for.
    pub trace: Vec<String>,
}

/// What was tried.
#[derive(Default)]
pub struct Figures {
    steps: u64,
    seconds: u64,
    attempts: usize,
    dropped: usize,
    moved: usize,
    answers: usize,
    ticks: usize,
}

impl Figures {
    pub fn add(&mut self, other: &Figures) {
        self.steps += other.steps;
        self.seconds += other.seconds;
        self.attempts += other.attempts;
        self.dropped += other.dropped;
        self.moved += other.moved;
        self.answers += other.answers;
        self.ticks += other.ticks;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, seconds, attempts, dropped, moved, answers, ticks } = self;
        let hours = seconds / 3_600;
        write!(
            f,
            "{steps} steps, {hours} h of theirs, {attempts} attempts, {dropped} drops, {moved} moves, {answers} answers, {ticks} ticks"
        )
    }
}

/// One world. `trace` costs time.
pub fn run(seed: u64, mutant: Option<Mutant>, trace: bool) -> Outcome {
    let mut world = World::new(seed, mutant, trace);
    let last_fault = scenario::plan(&mut world);
    world.run(last_fault);
    let figures = Figures {
        steps: world.steps,
        seconds: (world.now - world::BEGIN) / 1_000,
        attempts: world.judge.attempts,
        dropped: world.judge.dropped,
        moved: world.judge.moved,
        answers: world.judge.answers,
        ticks: world.recurring.ticks(),
    };
    let violations = std::mem::take(&mut world.judge.violations);
    Outcome { violations, figures, trace: world.into_trace() }
}
