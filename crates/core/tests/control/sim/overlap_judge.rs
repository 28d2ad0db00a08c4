//! What was promised of runs that may not overlap, and whether it was kept.

use super::judge::{CLOCKS_MS, Judge};
use super::op::Kind;
use super::recurring::{Limit, Rule, What};
use super::recurring_judge::Ticks;

/// A tick of a schedule whose runs may not overlap, as it was made real.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub number: u64,
    pub every_s: u64,
    /// When it was due, or made real if that was later, by the clock of who made it so.
    pub since: u64,
    /// When that was decided.
    pub made_at: u64,
    /// Its first attempt.
    pub began: Option<u64>,
}

/// A tick that comes due in an outage is decided so much later, at most.
const LATE_MS: u64 = 600_000;

impl Ticks {
    /// An attempt begins. The run's number and the seconds between its ticks, if it is the first.
    pub fn begins(&mut self, op: usize, generation: u64, now: u64) -> Option<(u64, u64)> {
        let (run, _) = self.runs.get_mut(&(op, generation))?;
        let is_first = run.began.replace(run.began.unwrap_or(now)).is_none();
        is_first.then_some((run.number, run.every_s))
    }
}

impl Judge {
    fn schedule_and_tick(&self, op: usize) -> Option<(usize, u64)> {
        match self.ops[op].kind {
            Kind::Tick { schedule, tick } => Some((schedule, tick)),
            _ => None,
        }
    }

    /// From when on the run counts as over: somebody said so after `begun`, or it takes too long.
    fn over_at(&self, op: usize, (run, timeout): (&Run, u64), begun: u64) -> u64 {
        let (of, its_tick) = self.schedule_and_tick(op).expect("a tick");
        let said = self.ops.iter().filter_map(|other| match other.kind {
            Kind::Recurring { schedule, what: What::Done { tick, run: number } } => {
                let (at, _) = other.confirmed?;
                let is_its = (schedule, tick, number) == (of, its_tick, run.number);
                (is_its && at >= begun).then_some(at)
            }
            _ => None,
        });
        said.chain([run.since + timeout]).min().expect("one")
    }

    /// With a schedule its runs are forgotten.
    fn is_deleted_before(&self, schedule: usize, at: u64) -> bool {
        self.ops.iter().any(|op| {
            op.kind == (Kind::Recurring { schedule, what: What::Delete })
                && op.confirmed.is_some_and(|(confirmed, _)| confirmed < at)
        })
    }

    fn clocks_differ(&self) -> u64 {
        if self.ticks.clocks { CLOCKS_MS } else { 0 }
    }

    /// No run began while another was not over.
    pub fn end_of_runs(&mut self) {
        if self.log_lost || self.accepted {
            return;
        }
        let began = self
            .ticks
            .runs
            .iter()
            .filter(|((op, _), (run, _))| run.began.is_some() && !self.ticks.lost.contains(op));
        let began: Vec<_> = began.collect();
        let mut wrong = Vec::new();
        for ((op, _), (run, timeout)) in &began {
            let (schedule, tick) = self.schedule_and_tick(*op).expect("a tick");
            // nobody is promised anything who says so before
            let begun = tick.saturating_sub(self.clocks_differ());
            let over_at = self.over_at(*op, (run, *timeout), begun);
            for ((other, _), (later, _)) in &began {
                let (of, its_tick) = self.schedule_and_tick(*other).expect("a tick");
                let is_later = of == schedule
                    && op != other
                    && later.made_at > run.made_at
                    && !self.is_deleted_before(schedule, later.made_at);
                if is_later && later.made_at + self.clocks_differ() < over_at {
                    wrong.push(format!(
                        "overlap: tick {its_tick} of {schedule} was made at {}, and {tick} was not over before {over_at}: \
                         {run:?} {later:?}",
                        later.made_at
                    ));
                }
            }
        }
        wrong.into_iter().for_each(|what| self.violated(what));
    }

    /// Whether the tick may be left out, as another was not over; and of those that wait, the newest has come.
    pub fn is_held_up(&self, schedule: usize, tick: u64, rule: Rule) -> bool {
        let of_schedule =
            |op: &usize| self.schedule_and_tick(*op).is_some_and(|(of, _)| of == schedule);
        let is_by = |(op, run, timeout): &(usize, Run, u64)| {
            let (_, its_tick) = self.schedule_and_tick(*op).expect("a tick");
            its_tick != tick
                && run.made_at <= tick + LATE_MS
                && self.over_at(*op, (run, *timeout), run.made_at) + self.clocks_differ() + 3_000
                    >= tick
        };
        let mut runs =
            self.ticks.runs.iter().map(|((op, _), (run, timeout))| (*op, *run, *timeout));
        let is_by_another = runs.clone().filter(|(op, ..)| of_schedule(op)).any(|run| is_by(&run));
        let newer_came = runs.any(|(op, run, _)| {
            of_schedule(&op)
                && run.began.is_some()
                && self.schedule_and_tick(op).expect("a tick").1 > tick
        });
        match rule.limit {
            Limit::None => false,
            Limit::Skip { .. } => is_by_another,
            Limit::BufferOne { .. } => is_by_another && newer_came,
        }
    }
}
