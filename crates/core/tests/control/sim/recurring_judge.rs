//! What was promised of recurring schedules, and whether it was kept.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_core::control::Refusal;
use dormouse_core::control::schedules::Told;
use dormouse_core::recurring::Policy;

use super::event::Copy;
use super::judge::{CLOCKS_MS, Judge, NOTICE_MS};
use super::op::Kind;
use super::overlap_judge::Run;
use super::recurring::{GRACE_MS, Rule, What};

/// What is known of ticks.
#[derive(Default)]
pub struct Ticks {
    /// By op and generation: which version of the schedule says so.
    variants: BTreeMap<(usize, u64), u64>,
    /// By op and generation, of schedules whose runs may not overlap: the run, and how long it takes at most.
    pub runs: BTreeMap<(usize, u64), (Run, u64)>,
    /// Those that were tried, by op.
    tried: BTreeMap<usize, u64>,
    /// When a command was decided, the last time.
    decided: BTreeMap<usize, u64>,
    /// Clocks may be wrong.
    pub clocks: bool,
    /// By op: a power cut took from the log that they were made real, and they may have been released.
    pub lost: BTreeSet<usize>,
    /// No fault after this.
    pub calm_from: u64,
}

/// What a client has said of a schedule.
struct Said {
    order: usize,
    at: u64,
    op: usize,
    what: What,
}

impl Ticks {
    /// With the run, if it may not overlap.
    pub fn made(&mut self, op: usize, generation: u64, variant: u64, run: Option<(Run, u64)>) {
        self.variants.insert((op, generation), variant);
        self.runs.extend(run.map(|run| ((op, generation), run)));
    }
}

impl Judge {
    pub fn schedule_decided(&mut self, op: usize, now: u64, told: Option<&Result<Told, Refusal>>) {
        match told {
            Some(Ok(_)) => {
                self.ops[op].refused = false;
                self.ticks.decided.insert(op, now);
            }
            Some(Err(Refusal::Unanswered)) | None => {}
            Some(Err(_)) => self.ops[op].refused = true,
        }
    }

    /// In the order of the command queue; none if what was said may be lost.
    fn said_of(&self, schedule: usize) -> Option<Vec<Said>> {
        if self.log_lost || self.accepted {
            return None;
        }
        let mut all = Vec::new();
        for (op, other) in self.ops.iter().enumerate() {
            let Kind::Recurring { schedule: of, what } = other.kind else { continue };
            if of != schedule || matches!(what, What::Done { .. }) {
                continue;
            }
            if other.purged {
                return None;
            }
            if let (Some((at, order)), false) = (other.confirmed, other.refused) {
                all.push(Said { order, at, op, what });
            }
        }
        all.sort_unstable_by_key(|said| said.order);
        Some(all)
    }

    pub fn attempt_of_tick(&mut self, copy: &Copy, machine: usize, now: u64) {
        let Kind::Tick { schedule, tick } = self.ops[copy.op].kind else { return };
        let generation = copy.generation.expect("unique");
        let variant = self.ticks.variants[&(copy.op, generation)];
        let before = self.ticks.tried.insert(copy.op, generation);
        if before.is_some_and(|before| before != generation)
            && !self.log_lost
            && !self.accepted
            && !self.ticks.lost.contains(&copy.op)
        {
            self.violated(format!("fired twice: tick {tick} of {schedule}, op {}", copy.op));
        }
        let Some(said) = self.said_of(schedule) else { return };
        let rules = said.iter().filter_map(|said| match said.what {
            What::Put(rule) => Some(rule),
            _ => None,
        });
        let rule = rules.clone().find(|rule| rule.variant == variant).expect("it was put");
        if !tick.is_multiple_of(rule.every_s * 1_000) {
            self.violated(format!("no tick: {tick} of {schedule}, every {} s", rule.every_s));
        }
        // what was made real and is lost from the log comes as it was: docs/schedules.md states it
        if before.is_some() || self.ticks.lost.contains(&copy.op) {
            return;
        }
        let in_time = |said: &&Said| {
            said.at < now && self.machines[machine].wall(said.at) + NOTICE_MS <= copy.wake_at
        };
        let last = said.iter().rfind(|said| said.at < now);
        if let Some(last) = last.filter(in_time)
            && matches!(last.what, What::Pause | What::Delete)
        {
            let what = format!("fired against it: tick {tick} of {schedule}, op {}", last.op);
            self.violated(what);
            return;
        }
        // the newest that was said in time, or anything later
        let newest = said.iter().filter(in_time).rfind(|said| matches!(said.what, What::Put(_)));
        let Some(newest) = newest.filter(|_| !self.ticks.clocks) else { return };
        let may_be = said
            .iter()
            .filter(|said| said.order >= newest.order)
            .any(|said| matches!(said.what, What::Put(rule) if rule.variant == variant));
        if !may_be {
            let what =
                format!("fired as it was before op {}: tick {tick} of {schedule}", newest.op);
            self.violated(what);
        }
    }

    /// All is over: what a schedule says last, it does.
    pub fn end_of_ticks(&mut self) {
        self.end_of_runs();
        let schedules = self.ops.iter().filter_map(|op| match op.kind {
            Kind::Recurring { schedule, .. } => Some(schedule),
            _ => None,
        });
        let last = schedules.max().map_or(0, |last| last + 1);
        for schedule in 0..last {
            let Some(said) = self.said_of(schedule) else { continue };
            let Some((rule, from)) = self.last_rule(&said) else { continue };
            let every = rule.every_s * 1_000;
            let from = match rule.policy {
                Policy::All => from,
                Policy::Once | Policy::Skip => from.max(self.ticks.calm_from),
            };
            // by a clock that is right, each that is due after it was decided
            let clocks_differ = if self.ticks.clocks { CLOCKS_MS } else { 1 };
            let mut tick = (from + clocks_differ).next_multiple_of(every);
            while tick <= rule.end {
                let is_there = self.ops.iter().any(|op| {
                    op.kind == (Kind::Tick { schedule, tick }) && (op.attempts > 0 || op.dead)
                });
                if !is_there && !self.is_held_up(schedule, tick, rule) {
                    let what = format!("missing: tick {tick} of {schedule}, {rule:?}, from {from}");
                    self.violated(what);
                }
                tick += every;
            }
        }
    }

    /// The rule that stands at the end, if it is not paused or deleted, and since when at the latest.
    fn last_rule(&self, said: &[Said]) -> Option<(Rule, u64)> {
        let (mut rule, mut paused, mut from) = (None, false, 0);
        for said in said {
            let decided = self.ticks.decided.get(&said.op).copied().unwrap_or(said.at);
            match said.what {
                What::Put(new) => {
                    if rule.is_none() {
                        paused = false;
                    }
                    rule = Some(new);
                }
                What::Pause if rule.is_some() => paused = true,
                What::Resume => paused = false,
                What::Delete => rule = None,
                What::Done { .. } => unreachable!("left out"),
                What::Pause => {}
            }
            // what may have begun when it was said is not made real again
            from = from.max(decided).max(said.at) + if self.ticks.clocks { GRACE_MS } else { 0 };
        }
        rule.filter(|_| !paused).map(|rule| (rule, from))
    }
}
