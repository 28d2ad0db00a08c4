//! In: ticks that a registrar's worker has asked for, and how their schedule stands. Out: those that are made real. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::scheduling::Scheduling;
use crate::control::entry::Record;
use crate::control::outcome::MadeTick;
use crate::control::schedules::command::Make;
use crate::control::schedules::{Made, Progress, Run, Standing};
use crate::recurring::Schedule;
use crate::recurring::definition::key;
use crate::recurring::misfire::MOST_TOGETHER;
use crate::schedule::UnixMs;

/// The record of a tick is kept so long after it, at most: its later attempts are stopped without it, too.
const LONGEST_MEMORY: Duration = Duration::from_secs(3600);
/// Ticks that are told as the last ones.
const LAST: usize = 5;
/// Clocks of workers differ by less. Who pauses a schedule so long after a tick did not do so before it.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

impl Scheduling<'_> {
    /// Only as it was asked for: of another revision, or from another place, it changes nothing.
    pub(super) fn make(&mut self, make: &Make) {
        let Make { name, revision, from, ticks, to, asked } = make;
        if self.taken.decided {
            return;
        }
        let Some(standing) = self.registrar.schedules.get(name) else { return };
        let Standing { stored, progress } = standing;
        let stands =
            stored.revision == *revision && progress.position == *from && stored.pause.is_none();
        let (Some(schedule), true) = (stored.schedule.clone(), stands && to >= from) else {
            return;
        };
        let mut progress = self.put_aside(&schedule, progress.clone(), *asked);
        progress.position = *to;
        self.settle(&schedule, &mut progress);
        for tick in ticks {
            let known = self.known(&schedule, *tick);
            match known {
                // its user cancelled it
                Some(record) if record.cancelled && record.was_cancelled => continue,
                // it was made real before, and was not withdrawn in time
                Some(record) if record.generation > 0 && (!record.cancelled || record.tried) => {
                    continue;
                }
                None if self.is_full() => {
                    // the rest is asked for again
                    progress.position = UnixMs(tick.0 - 1).max(*from);
                    break;
                }
                Some(_) | None => {}
            }
            if Self::is_held_up(&schedule, &mut progress, *tick) {
                continue;
            }
            self.make_one(&schedule, *tick, schedule.due(*tick), &mut progress, false);
        }
        self.advance(name, progress);
    }

    pub(super) fn make_one(
        &mut self,
        schedule: &Arc<Schedule>,
        tick: UnixMs,
        due: UnixMs,
        progress: &mut Progress,
        by_hand: bool,
    ) {
        let key = schedule.key(tick);
        let before = self.registrar.known(self.state, &key.hash()).unwrap_or_default();
        progress.runs += 1;
        let (generation, run) = (self.registrar.next, progress.runs);
        let memory = self.memory();
        let until = self.registrar.beside.log_time.plus(due.since(self.taken.now) + memory);
        let record = Record {
            generation,
            due: Some(due),
            was_cancelled: before.was_cancelled,
            retaken: self.taken.redelivered,
            until: until.max(before.until),
            ..Record::default()
        };
        self.registrar.put(key.hash(), record);
        progress.made.push(Made { tick, run, by_hand, is_past: false });
        if schedule.overlap.is_limited() {
            let since = due.max(self.taken.now);
            progress.under_way.running.push(Run { tick, run, since });
        }
        let schedule = schedule.clone();
        self.made.push(MadeTick { schedule, tick, due, run, generation });
    }

    /// A registrar that was followed by this one before its decision was written down may have made these ticks real, by
    /// another revision or by a clock that was ahead. What is not made real now is not to come of that.
    pub(super) fn take_back(&mut self, name: &str, ticks: &[UnixMs]) {
        if !self.taken.redelivered || self.taken.decided {
            return;
        }
        let until = self.registrar.beside.log_time.plus(self.memory());
        let standing = self.registrar.schedules.get(name);
        let waiting = standing.and_then(|standing| standing.progress.under_way.waiting);
        for tick in ticks.iter().take(MOST_TOGETHER).chain(waiting.iter()) {
            let key = key(name, *tick).hash();
            if self.registrar.known(self.state, &key).is_none() {
                let record = Record { cancelled: true, until, ..Record::default() };
                self.registrar.put(key, record);
            }
        }
    }

    /// What was due long before `asked`: the last few are told, and no more.
    fn put_aside(&self, schedule: &Schedule, mut progress: Progress, asked: UnixMs) -> Progress {
        for made in progress.made.iter_mut().filter(|made| !made.is_past) {
            let known = self.known(schedule, made.tick);
            let has_begun =
                known.is_none_or(|it| it.cancelled || self.registrar.may_have_begun(&it));
            let due = if made.by_hand { made.tick } else { schedule.due(made.tick) };
            made.is_past = has_begun && due.plus(CLOCKS_DIFFER) < asked;
        }
        let past = progress.made.iter().filter(|made| made.is_past).count();
        let mut gone = past.saturating_sub(LAST);
        progress.made.retain(|made| {
            let goes = gone > 0 && made.is_past;
            gone -= usize::from(goes);
            !goes
        });
        progress
    }

    /// How long what a tick came to is known.
    pub(super) fn memory(&self) -> Duration {
        self.limits.memory.min(LONGEST_MEMORY)
    }
}
