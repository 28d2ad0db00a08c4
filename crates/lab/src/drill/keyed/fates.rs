//! In: what was confirmed about one key, in its order. Out: what one process would have made of each schedule that
//! got it in that order: it comes, it is stopped, or either. Pure.

use dormouse_core::control::Outcome;
use dormouse_core::control::command::{IfExists, Refusal};

use super::plan::What;

/// The promise gives RabbitMQ's confirm so much before the due time.
pub const NOTICE_MS: u64 = 1_000;

/// An act, for one of its keys.
#[derive(Debug, Clone)]
pub struct Step<'a> {
    pub number: u32,
    pub what: &'a What,
    pub confirmed_ms: Option<u64>,
    /// It was published once.
    pub once: bool,
    /// What was answered for this key, the last answer last.
    pub told: Vec<&'a Outcome<String>>,
    /// When the last answer came.
    pub answered_ms: Option<u64>,
}

/// What has to become of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// The act that stops it for sure, since it was confirmed in time.
    pub stopped_by: Option<u32>,
    /// Nothing was published that could stop it.
    pub must_come: bool,
    /// Not before the first, and on time is the second.
    pub due_ms: (u64, u64),
}

/// Which unique schedule is to come, before an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    Nothing,
    /// This one was the last, and was cancelled.
    Gone(u32),
    Surely(u32),
    /// It depends on what became of it meanwhile.
    Open,
}

/// Of one key.
#[derive(Debug, Clone, Default)]
pub struct Fates {
    /// By the number of its act.
    pub schedules: Vec<(u32, Fate)>,
    /// What stood before each act.
    pub before: Vec<Stands>,
}

impl Step<'_> {
    /// What it names, by the clock.
    pub fn due_ms(&self, start_ms: u64) -> u64 {
        match self.what {
            What::Schedule { due, .. } | What::Reschedule { due, .. } => {
                start_ms + due.as_millis() as u64
            }
            What::Cancel { .. } => 0,
        }
    }

    pub fn is_unique(&self) -> bool {
        matches!(self.what, What::Schedule { unique: Some(_), .. })
    }

    /// It was refused, and so has no effect. The last answer counts.
    fn is_void(&self) -> bool {
        self.refusal().is_some()
    }

    /// Why it was refused, by the last answer.
    pub fn refusal(&self) -> Option<&str> {
        match self.told.last() {
            Some(Outcome::Refused(why)) if !is_unanswered(why) => Some(why),
            _ => None,
        }
    }

    fn is_in_time_for(&self, due_ms: u64) -> bool {
        self.confirmed_ms.is_some_and(|confirmed_ms| confirmed_ms + NOTICE_MS <= due_ms)
    }
}

/// Its registrar ended before it answered, and the next could not tell: that says nothing about its effect.
fn is_unanswered(refusal: &str) -> bool {
    refusal == Refusal::Unanswered.to_string()
}

impl Stands {
    /// Nothing is to come.
    pub fn is_nothing(self) -> bool {
        matches!(self, Stands::Nothing | Stands::Gone(_))
    }

    pub fn surely(self) -> Option<u32> {
        match self {
            Stands::Surely(number) => Some(number),
            Stands::Nothing | Stands::Gone(_) | Stands::Open => None,
        }
    }
}

impl Fates {
    /// The schedule that was to be kept instead of this one.
    pub fn kept_instead_of(&self, number: u32) -> Option<u32> {
        let (_, fate) = self.schedules.iter().find(|(own, _)| *own == number)?;
        // what stops a schedule otherwise comes after it
        fate.stopped_by.filter(|by| *by < number)
    }

    fn of_mut(&mut self, number: u32) -> &mut Fate {
        let found = self.schedules.iter_mut().find(|(own, _)| *own == number);
        &mut found.expect("what stands was scheduled").1
    }
}

/// A key is that of plain schedules or of unique ones, never of both.
pub fn fates(steps: &[Step], start_ms: u64) -> Fates {
    if steps.iter().any(Step::is_unique) {
        let mut walk = Walk { start_ms, stands: Stands::Nothing, fates: Fates::default() };
        for step in steps {
            walk.fates.before.push(walk.stands);
            if !step.is_void() {
                walk.step(step);
            }
        }
        walk.fates
    } else {
        plain(steps, start_ms)
    }
}

/// Each act speaks of all that has the key, whether it was scheduled before or after.
fn plain(steps: &[Step], start_ms: u64) -> Fates {
    let mut fates = Fates { before: vec![Stands::Open; steps.len()], ..Fates::default() };
    for schedule in steps {
        let What::Schedule { .. } = schedule.what else { continue };
        let due_ms = schedule.due_ms(start_ms);
        let mut fate = fate(schedule, due_ms);
        for step in steps.iter().filter(|step| !step.is_void()) {
            match step.what {
                What::Reschedule { .. } => fate.put_off(step, start_ms),
                What::Cancel { .. } => fate.stop(step),
                What::Schedule { .. } => {}
            }
        }
        fates.schedules.push((schedule.number, fate));
    }
    fates
}

fn fate(schedule: &Step, due_ms: u64) -> Fate {
    let must_come = schedule.confirmed_ms.is_some() && !schedule.is_void();
    Fate { stopped_by: None, must_come, due_ms: (due_ms, due_ms) }
}

impl Fate {
    fn put_off(&mut self, step: &Step, start_ms: u64) {
        let due_ms = step.due_ms(start_ms);
        if step.is_in_time_for(self.due_ms.0) {
            self.due_ms.0 = self.due_ms.0.max(due_ms);
        }
        self.due_ms.1 = self.due_ms.1.max(due_ms);
    }

    fn stop(&mut self, step: &Step) {
        self.must_come = false;
        if step.is_in_time_for(self.due_ms.0) {
            self.stopped_by.get_or_insert(step.number);
        }
    }
}

struct Walk {
    start_ms: u64,
    stands: Stands,
    fates: Fates,
}

impl Walk {
    fn step(&mut self, step: &Step) {
        match step.what {
            What::Schedule { unique: Some(IfExists::Keep), .. } => self.keep(step),
            What::Schedule { .. } => {
                self.end_what_stands(step);
                self.schedule(step);
            }
            What::Cancel { .. } => {
                self.end_what_stands(step);
                if let Stands::Surely(before) = self.stands {
                    self.stands = Stands::Gone(before);
                }
            }
            What::Reschedule { .. } => self.put_off(step),
        }
    }

    fn schedule(&mut self, step: &Step) {
        self.add(step);
        // it may not be there yet, or twice
        let sure = step.confirmed_ms.is_some();
        self.stands = if sure { Stands::Surely(step.number) } else { Stands::Open };
    }

    fn add(&mut self, step: &Step) {
        let due_ms = step.due_ms(self.start_ms);
        self.fates.schedules.push((step.number, fate(step, due_ms)));
    }

    /// A cancel or another schedule: whatever was there does not come any more, if it has not begun.
    fn end_what_stands(&mut self, step: &Step) {
        match self.stands {
            Stands::Nothing | Stands::Gone(_) => {}
            Stands::Surely(before) => self.fates.of_mut(before).stop(step),
            Stands::Open => {
                for (_, fate) in &mut self.fates.schedules {
                    fate.must_come = false;
                }
            }
        }
    }

    fn keep(&mut self, step: &Step) {
        match self.stands {
            Stands::Nothing | Stands::Gone(_) => self.schedule(step),
            Stands::Surely(before) if step.is_in_time_for(self.fates.of_mut(before).due_ms.0) => {
                self.add(step);
                let own = self.fates.of_mut(step.number);
                (own.must_come, own.stopped_by) = (false, Some(before));
            }
            Stands::Surely(_) | Stands::Open => {
                self.add(step);
                self.be_open();
            }
        }
    }

    fn put_off(&mut self, step: &Step) {
        let Stands::Surely(before) = self.stands else { return };
        let fate = self.fates.of_mut(before);
        let in_time = step.is_in_time_for(fate.due_ms.0);
        fate.put_off(step, self.start_ms);
        if !in_time {
            // it may have begun before
            self.stands = Stands::Open;
        }
    }

    /// Which of them comes depends on what had begun.
    fn be_open(&mut self) {
        for (_, fate) in &mut self.fates.schedules {
            fate.must_come = false;
        }
        self.stands = Stands::Open;
    }
}
