//! In: the next command about recurring schedules, what is so, and the operator's limits. Out: what is so from then on,
//! an answer, and the ticks to publish. Pure.

use std::sync::Arc;

use super::Registrar;
use crate::control::entry::{Entry, Record};
use crate::control::horizons::Sequence;
use crate::control::outcome::{Answer, Limits, MadeTick, Taken};
use crate::control::refusal::Refusal;
use crate::control::schedules::command::{List, Named, ScheduleCommand};
use crate::control::schedules::reply::{Holds, Listed, Outcome, Told};
use crate::control::schedules::{
    MOST_BYTES, MOST_IN_AN_HOUR, MOST_SCHEDULES, Pause, Progress, Standing, Stored,
};
use crate::control::state::State;
use crate::recurring::Schedule;
use crate::recurring::definition::key;
use crate::schedule::UnixMs;

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
pub(super) struct Scheduling<'a> {
    pub(super) registrar: &'a mut Registrar,
    pub(super) state: &'a State,
    pub(super) limits: &'a Limits,
    pub(super) taken: Taken,
    pub(super) made: Vec<MadeTick>,
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
            ScheduleCommand::Done { done, .. } => self.done(done),
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
            ScheduleCommand::Done { done, .. } => &done.name,
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
            progress.under_way.leave_out_waiting();
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
        let (mut progress, too_late) = self.withdraw(&named.name, progress, true);
        progress.under_way.leave_out_waiting();
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
        Self::check_running(&schedule, &progress, ticks.len())?;
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
        Ok(self.holds_and_fires(&named.name, Outcome::Fired, fired))
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
                progress.under_way.end(made.tick, made.run);
            }
            tried
        });
        // what came after it is decided again
        if progress.under_way.waiting.is_some_and(|waiting| waiting > back_to) {
            progress.under_way.waiting = None;
        }
        progress.made = made;
        progress.position = back_to;
        (progress, too_late)
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

    pub(super) fn advance(&mut self, name: &str, progress: Progress) {
        self.registrar.schedules.advance(name, &progress);
        self.registrar.push(Entry::Progress { name: name.to_owned(), progress });
    }

    pub(super) fn known(&self, schedule: &Schedule, tick: UnixMs) -> Option<Record> {
        self.registrar.known(self.state, &schedule.key(tick).hash())
    }

    pub(super) fn is_full(&self) -> bool {
        self.registrar.is_full(self.state, self.limits, self.taken)
    }

    pub(super) fn holds(&self, name: &str, outcome: Outcome) -> Told {
        self.holds_but(name, outcome, Vec::new())
    }

    pub(super) fn holds_and_fires(&self, name: &str, outcome: Outcome, fired: Vec<UnixMs>) -> Told {
        let revision = self.registrar.schedules.get(name).map(|it| it.stored.revision);
        let (name, fired_ms) = (name.to_owned(), fired);
        Told::Holds(Holds { name, outcome, revision, too_late_ms: Vec::new(), fired_ms })
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
