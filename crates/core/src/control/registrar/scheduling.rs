//! In: the next command about recurring schedules, what is so, and the operator's limits. Out: what is so from then on,
//! an answer, and the ticks to publish. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::Registrar;
use crate::control::entry::{Entry, Record};
use crate::control::horizons::Sequence;
use crate::control::outcome::{Answer, Limits, MadeTick, Taken};
use crate::control::refusal::Refusal;
use crate::control::schedules::command::{List, Make, Named, ScheduleCommand};
use crate::control::schedules::reply::{Holds, Listed, Outcome, Told};
use crate::control::schedules::{
    MOST_BYTES, MOST_IN_AN_HOUR, MOST_SCHEDULES, Made, Pause, Progress, Standing, Stored,
};
use crate::control::state::State;
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
/// Of the keys that are known at a time, what ticks may take: four of five.
const SHARE: (u64, u64) = (4, 5);

impl Registrar {
    /// Decides a command about schedules.
    pub(super) fn decide_schedules(
        &mut self,
        state: &State,
        limits: &Limits,
        taken: Taken,
        command: &ScheduleCommand,
    ) -> Answer {
        let mut deciding = Scheduling { registrar: self, state, limits, taken, made: Vec::new() };
        let told = deciding.decide(command);
        let made = deciding.made;
        if let (Ok(Told::Holds(holds)), Some(mark)) = (&told, command.mark())
            && holds.outcome != Outcome::Decided
        {
            self.beside.decide(mark, false);
            self.push(Entry::Decided { message: mark, kept: false });
        }
        let sequence = self.next - 1;
        Answer { outcomes: Vec::new(), sequence, generation: None, made, told: Some(told) }
    }
}

/// One command at a time.
struct Scheduling<'a> {
    registrar: &'a mut Registrar,
    state: &'a State,
    limits: &'a Limits,
    taken: Taken,
    made: Vec<MadeTick>,
}

impl Scheduling<'_> {
    fn decide(&mut self, command: &ScheduleCommand) -> Result<Told, Refusal> {
        if let (true, Some(mark)) = (self.taken.decided, command.mark()) {
            return self.decided(mark, command);
        }
        match command {
            ScheduleCommand::Put { schedule, if_revision, .. } => self.put(schedule, *if_revision),
            ScheduleCommand::Delete(named) => self.delete(named),
            ScheduleCommand::Pause { named, note } => self.pause(named, note),
            ScheduleCommand::Resume(named) => self.resume(named),
            ScheduleCommand::Fire { named, ticks } => {
                let told = self.fire(named, ticks);
                self.take_back(&named.name, ticks);
                told
            }
            ScheduleCommand::List(list) => Ok(self.list(list)),
            ScheduleCommand::Make(make) => {
                self.make(make);
                self.take_back(&make.name, &make.ticks);
                Ok(Told::Listed(Listed::default()))
            }
        }
    }

    /// Another registrar decided it, or refused it.
    fn decided(&self, mark: u64, command: &ScheduleCommand) -> Result<Told, Refusal> {
        self.registrar.find_decided(mark).ok_or(Refusal::Unanswered)?;
        let name = match command {
            ScheduleCommand::Put { schedule, .. } => schedule.name(),
            ScheduleCommand::Delete(named)
            | ScheduleCommand::Pause { named, .. }
            | ScheduleCommand::Resume(named)
            | ScheduleCommand::Fire { named, .. } => &named.name,
            ScheduleCommand::List(_) | ScheduleCommand::Make(_) => "",
        };
        Ok(self.holds(name, Outcome::Decided))
    }

    fn list(&self, asked: &List) -> Told {
        Told::Listed(Listed::of(&self.registrar.schedules, asked, self.taken.now))
    }

    fn put(&mut self, schedule: &Schedule, if_revision: Option<Sequence>) -> Result<Told, Refusal> {
        let name = schedule.name();
        let before = self.registrar.schedules.get(name).cloned();
        check_revision(name, before.as_ref(), if_revision)?;
        if before.as_ref().is_some_and(|it| it.stored.definition == schedule.definition) {
            return Ok(self.holds(name, Outcome::Unchanged));
        }
        self.check_room(schedule, before.as_ref())?;
        let mut stored = Stored::new(schedule.clone(), self.registrar.next, self.taken.now);
        let Some(Standing { stored: old, progress }) = before else {
            self.store(stored);
            self.advance(name, Progress::at(self.taken.now));
            return Ok(self.holds(name, Outcome::Created));
        };
        stored.pause = old.pause.clone();
        let is_same_time = old.schedule.as_ref().is_some_and(|old| old.timing == schedule.timing);
        let (mut progress, too_late) = self.withdraw(name, progress, false);
        if !is_same_time {
            // what it says of the past is not made up for; what the old rule had made real ahead is withdrawn
            progress.position = self.taken.now;
        }
        self.store(stored);
        self.advance(name, progress);
        Ok(self.holds_but(name, Outcome::Changed, too_late))
    }

    fn delete(&mut self, named: &Named) -> Result<Told, Refusal> {
        let standing = self.standing(named)?;
        let (_, too_late) = self.withdraw(&named.name, standing.progress, true);
        self.registrar.schedules.remove(&named.name);
        self.registrar.push(Entry::NoSchedule { name: named.name.clone() });
        Ok(self.holds_but(&named.name, Outcome::Deleted, too_late))
    }

    fn pause(&mut self, named: &Named, note: &str) -> Result<Told, Refusal> {
        let Standing { stored, progress } = self.standing(named)?;
        let since = stored.pause.as_ref().map_or(self.taken.now, |pause| pause.since);
        let pause = Some(Pause { note: note.to_owned(), since });
        let (progress, too_late) = self.withdraw(&named.name, progress, true);
        self.store(Stored { pause, ..(*stored).clone() });
        self.advance(&named.name, progress);
        Ok(self.holds_but(&named.name, Outcome::Paused, too_late))
    }

    /// What came due meanwhile is gone.
    fn resume(&mut self, named: &Named) -> Result<Told, Refusal> {
        let Standing { stored, mut progress } = self.standing(named)?;
        if stored.pause.is_none() {
            return Ok(self.holds(&named.name, Outcome::Unchanged));
        }
        progress.position = progress.position.max(self.taken.now);
        self.store(Stored { pause: None, ..(*stored).clone() });
        self.advance(&named.name, progress);
        Ok(self.holds(&named.name, Outcome::Resumed))
    }

    fn fire(&mut self, named: &Named, ticks: &[UnixMs]) -> Result<Told, Refusal> {
        let Standing { stored, mut progress } = self.standing(named)?;
        let Some(schedule) = stored.schedule.clone() else {
            return Err(Refusal::Recurring(format!("the zone of {:?} is not known", named.name)));
        };
        let mut fired = Vec::new();
        for tick in ticks {
            let known = self.known(&schedule, *tick);
            let is_to_come = known.is_some_and(|record| {
                record.generation > 0
                    && !record.cancelled
                    && !self.registrar.may_have_begun(&record)
            });
            if is_to_come {
                continue;
            }
            if known.is_none() && self.is_full() {
                return Err(Refusal::Full { limit: self.limits.keys });
            }
            self.make_one(&schedule, *tick, self.taken.now, &mut progress, true);
            fired.push(*tick);
        }
        self.advance(&named.name, progress);
        let Told::Holds(mut holds) = self.holds(&named.name, Outcome::Fired) else {
            unreachable!("as made")
        };
        holds.fired_ms = fired;
        Ok(Told::Holds(holds))
    }

    /// Only as it was asked for: of another revision, or from another place, it changes nothing.
    fn make(&mut self, make: &Make) {
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
            self.make_one(&schedule, *tick, schedule.due(*tick), &mut progress, false);
        }
        self.advance(name, progress);
    }

    fn make_one(
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
        let schedule = schedule.clone();
        self.made.push(MadeTick { schedule, tick, due, run, generation });
    }

    /// A registrar that was followed by this one before its decision was written down may have made these ticks real, by
    /// another revision or by a clock that was ahead. What is not made real now is not to come of that.
    fn take_back(&mut self, name: &str, ticks: &[UnixMs]) {
        if !self.taken.redelivered || self.taken.decided {
            return;
        }
        let until = self.registrar.beside.log_time.plus(self.memory());
        for tick in ticks.iter().take(MOST_TOGETHER) {
            let key = key(name, *tick).hash();
            if self.registrar.known(self.state, &key).is_none() {
                let record = Record { cancelled: true, until, ..Record::default() };
                self.registrar.put(key, record);
            }
        }
    }

    /// Cancels what was made real and has not begun; with `all` also what may have begun, unless that was long ago. Gives
    /// back how far the schedule is then, and what may have begun.
    fn withdraw(
        &mut self,
        name: &str,
        mut progress: Progress,
        all: bool,
    ) -> (Progress, Vec<UnixMs>) {
        let mut too_late = Vec::new();
        let mut back_to = progress.position;
        let mut made = std::mem::take(&mut progress.made);
        made.retain(|made| {
            let key = key(name, made.tick).hash();
            let known = self.registrar.known(self.state, &key);
            let known = known.filter(|it| it.generation > 0 && !it.cancelled);
            let (Some(record), false) = (known, made.by_hand || made.is_past) else { return true };
            let tried = self.registrar.may_have_begun(&record);
            if all || !tried {
                // by this, and not by `was_cancelled`, it can be told from one that its user cancelled
                self.registrar.put(key, Record { cancelled: true, tried, ..record });
            }
            if tried {
                too_late.push(made.tick);
            } else {
                back_to = back_to.min(UnixMs(made.tick.0.saturating_sub(1)));
            }
            tried
        });
        progress.made = made;
        progress.position = back_to;
        (progress, too_late)
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

    fn check_room(&self, schedule: &Schedule, before: Option<&Standing>) -> Result<(), Refusal> {
        let schedules = &self.registrar.schedules;
        if before.is_none() && schedules.len() >= MOST_SCHEDULES {
            return Err(Refusal::TooManySchedules { limit: MOST_SCHEDULES });
        }
        let old = before.map(|before| &before.stored);
        let bytes = schedules.bytes() - old.map_or(0, |old| old.bytes()) + schedule.bytes();
        if bytes > MOST_BYTES {
            return Err(Refusal::SchedulesTooLarge { bytes, limit: MOST_BYTES });
        }
        let its = schedule.timing.most_in_an_hour();
        let ticks = schedules.in_an_hour() - old.map_or(0, |old| old.most_in_an_hour()) + its;
        let memory = self.memory().as_secs().max(1);
        let keys = self.limits.keys as u64 * SHARE.0 / SHARE.1;
        let limit = MOST_IN_AN_HOUR.min(keys * 3600 / memory);
        if ticks > limit {
            let name = schedule.name().to_owned();
            return Err(Refusal::TooOften { name, its, ticks, limit });
        }
        Ok(())
    }

    fn standing(&self, named: &Named) -> Result<Standing, Refusal> {
        let standing = self.registrar.schedules.get(&named.name);
        check_revision(&named.name, standing, named.if_revision)?;
        standing.cloned().ok_or_else(|| Refusal::NoSchedule { name: named.name.clone() })
    }

    fn store(&mut self, stored: Stored) {
        let stored = Arc::new(stored);
        self.registrar.schedules.put(stored.clone());
        self.registrar.push(Entry::Schedule(stored));
    }

    fn advance(&mut self, name: &str, progress: Progress) {
        self.registrar.schedules.advance(name, &progress);
        self.registrar.push(Entry::Progress { name: name.to_owned(), progress });
    }

    fn known(&self, schedule: &Schedule, tick: UnixMs) -> Option<Record> {
        self.registrar.known(self.state, &schedule.key(tick).hash())
    }

    /// How long what a tick came to is known.
    fn memory(&self) -> Duration {
        self.limits.memory.min(LONGEST_MEMORY)
    }

    fn is_full(&self) -> bool {
        self.registrar.is_full(self.state, self.limits, self.taken)
    }

    fn holds(&self, name: &str, outcome: Outcome) -> Told {
        self.holds_but(name, outcome, Vec::new())
    }

    fn holds_but(&self, name: &str, outcome: Outcome, too_late_ms: Vec<UnixMs>) -> Told {
        let revision = self.registrar.schedules.get(name).map(|it| it.stored.revision);
        let name = name.to_owned();
        Told::Holds(Holds { name, outcome, revision, too_late_ms, fired_ms: Vec::new() })
    }
}

fn check_revision(
    name: &str,
    standing: Option<&Standing>,
    if_revision: Option<Sequence>,
) -> Result<(), Refusal> {
    let Some(wanted) = if_revision else { return Ok(()) };
    let stands = standing.map_or(0, |standing| standing.stored.revision);
    match wanted == stands {
        true => Ok(()),
        false => Err(Refusal::OtherRevision { name: name.to_owned(), wanted, stands }),
    }
}
