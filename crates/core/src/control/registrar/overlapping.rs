//! In: the runs of a schedule that are not over, and a tick that is due or a run that is over. Out: which of them runs, waits or
//! is left out. Pure.

use std::sync::Arc;

use super::scheduling::Scheduling;
use crate::control::refusal::Refusal;
use crate::control::schedules::command::Done;
use crate::control::schedules::reply::{Outcome, Told};
use crate::control::schedules::runs::{MOST_RUNNING, Run};
use crate::control::schedules::{Progress, Standing};
use crate::recurring::Schedule;
use crate::recurring::overlap::Overlap;
use crate::schedule::UnixMs;

impl Scheduling<'_> {
    /// Somebody says that a run is over: then the tick runs that has waited for it.
    pub(super) fn done(&mut self, done: &Done) -> Result<Told, Refusal> {
        let Done { name, tick, run } = done;
        let standing = self.registrar.schedules.get(name).cloned();
        let no_schedule = || Refusal::NoSchedule { name: name.clone() };
        let Standing { stored, mut progress } = standing.ok_or_else(no_schedule)?;
        if !progress.under_way.end(*tick, *run) {
            // it was over before, or was none
            return Ok(self.holds(name, Outcome::Unchanged));
        }
        let before = progress.runs;
        if let Some(schedule) = &stored.schedule {
            self.settle(schedule, &mut progress);
        }
        let fired = (progress.runs > before).then(|| progress.made.last().map(|made| made.tick));
        self.advance(name, progress);
        Ok(self.holds_and_fires(name, Outcome::Done, fired.flatten().into_iter().collect()))
    }

    /// Takes out the runs that are over without a word, and makes the tick real that waited for them.
    pub(super) fn settle(&mut self, schedule: &Arc<Schedule>, progress: &mut Progress) {
        let mut running = std::mem::take(&mut progress.under_way.running);
        running.retain(|run| !self.is_over(schedule, run));
        progress.under_way.running = running;
        let Some(tick) = progress.under_way.waiting else { return };
        if !progress.under_way.running.is_empty() {
            return;
        }
        let known = self.known(schedule, tick);
        if known.is_none() && self.is_full() {
            return;
        }
        progress.under_way.waiting = None;
        // its user cancelled it meanwhile
        if known.is_none_or(|record| !(record.cancelled && record.was_cancelled)) {
            self.make_one(schedule, tick, self.taken.now, progress, false);
        }
    }

    /// Nobody has to say that a run is over that was cancelled before an attempt, or that is due long ago.
    fn is_over(&self, schedule: &Schedule, run: &Run) -> bool {
        let Some(timeout) = schedule.overlap.timeout() else { return true };
        let never_began = self
            .known(schedule, run.tick)
            .is_some_and(|record| record.cancelled && !self.registrar.may_have_begun(&record));
        never_began || run.since.plus(timeout) <= self.taken.now
    }

    /// Whether a tick that is due has to wait, or is left out, as another run is not over.
    pub(super) fn is_held_up(schedule: &Schedule, progress: &mut Progress, tick: UnixMs) -> bool {
        if progress.under_way.running.is_empty() {
            return false;
        }
        match schedule.overlap {
            Overlap::Allow => return false,
            Overlap::Skip(_) => progress.under_way.skip(tick),
            Overlap::BufferOne(_) => progress.under_way.wait(tick),
        }
        true
    }

    /// Errors: too many runs are not over.
    pub(super) fn check_running(
        schedule: &Schedule,
        progress: &Progress,
        more: usize,
    ) -> Result<(), Refusal> {
        let running = progress.under_way.running.len();
        if !schedule.overlap.is_limited() || running + more <= MOST_RUNNING {
            return Ok(());
        }
        Err(Refusal::Recurring(format!(
            "{running} runs of {:?} are not over: {MOST_RUNNING} at most, so say of them that they are done, or wait",
            schedule.name()
        )))
    }
}
