//! In: the next command, what is so, and the operator's limits. Out: what is so from then on, and an answer. Pure.

use super::Registrar;
use crate::control::command::{Command, IfExists, Refusal};
use crate::control::entry::{Entry, Fence, LogTime, Record};
use crate::control::horizons::Sequence;
use crate::control::key::{Key, KeyHash};
use crate::control::outcome::{Answer, Limits, Outcome, Taken};
use crate::control::state::{EVERY_OTHER, State};
use crate::schedule::UnixMs;

impl Registrar {
    fn decided(&mut self, message: u64, outcome: &Outcome) {
        match outcome {
            Outcome::Refused(_) => {}
            outcome => {
                let kept = *outcome == Outcome::Kept;
                self.beside.decide(message, kept);
                self.push(Entry::Decided { message, kept });
            }
        }
    }

    /// Decides the next command of the queue.
    pub fn decide(
        &mut self,
        state: &State,
        limits: &Limits,
        taken: Taken,
        command: &Command,
    ) -> Answer {
        if let Command::Schedules(command) = command {
            return self.decide_schedules(state, limits, taken, command);
        }
        let mut deciding = Deciding { registrar: self, state, limits, taken };
        let mut generation = None;
        let outcomes = match command {
            Command::Cancel { keys, due_by } => {
                keys.iter().map(|key| deciding.cancel(key, *due_by)).collect()
            }
            Command::Reschedule { keys, due } => {
                keys.iter().map(|key| deciding.reschedule(key, *due)).collect()
            }
            Command::Unique { message, .. } if taken.decided => vec![deciding.decided(*message)],
            Command::Unique { key, if_exists, due, message } => {
                let (outcome, scheduled) = deciding.unique(key, *if_exists, *due);
                generation = scheduled;
                self.decided(*message, &outcome);
                vec![outcome]
            }
            Command::RunNow { key, due } => vec![deciding.run_now(key, *due)],
            Command::Move { message, .. } if taken.decided => vec![deciding.moved(*message)],
            Command::Move { key, generation, due, message } => {
                let outcome = deciding.bring_forward(key, *generation, *due);
                self.decided(*message, &outcome);
                vec![outcome]
            }
            Command::Fence(fence) => {
                self.fence(fence, taken.redelivered);
                Vec::new()
            }
            Command::Accept => {
                self.accept(EVERY_OTHER);
                Vec::new()
            }
            Command::Schedules(_) => Vec::new(),
        };
        Answer { outcomes, sequence: self.next - 1, generation, made: Vec::new(), told: None }
    }

    /// What is so about a key, as decided.
    pub(super) fn known(&self, state: &State, key: &KeyHash) -> Option<Record> {
        let decided = self.unread.get(key).map(|(_, record)| *record);
        let record = decided.or_else(|| state.keys.get(key));
        record.filter(|record| record.until > self.beside.log_time)
    }

    /// A worker releases a unique schedule only under a fence that stands behind it and reaches its due time, and
    /// the log has all fences: no clock is asked.
    pub(super) fn may_have_begun(&self, record: &Record) -> bool {
        let reached = self.beside.horizons.since(record.generation);
        record.tried || record.due.is_none_or(|due| due <= reached)
    }

    /// What was delivered before may have been answered, or published into the levels: it finds room.
    pub(super) fn is_full(&self, state: &State, limits: &Limits, taken: Taken) -> bool {
        let keys = state.keys.len() + self.unread.len();
        keys >= limits.keys && !taken.redelivered
    }

    /// A fence that was delivered before may have overtaken commands that were returned with it, so its worker has
    /// to send another. That something was released by it stays true.
    fn fence(&mut self, fence: &Fence, redelivered: bool) {
        let nobodys = Fence { worker: 0, number: 0, horizon: fence.horizon };
        self.beside.horizons.note(self.next, fence.horizon);
        self.push(Entry::Fence(if redelivered { nobodys } else { *fence }));
    }
}

/// One command at a time.
struct Deciding<'a> {
    registrar: &'a mut Registrar,
    state: &'a State,
    limits: &'a Limits,
    taken: Taken,
}

impl Deciding<'_> {
    fn cancel(&mut self, key: &Key, due_by: Option<UnixMs>) -> Outcome {
        let key = key.hash();
        let known = self.known(&key);
        if self.taken.decided {
            return noted_if(known.is_some_and(|record| record.was_cancelled));
        }
        if known.is_none() && self.is_full() {
            return self.full();
        }
        let record = known.unwrap_or_default();
        let is_unique = record.generation > 0;
        let tried = is_unique && self.may_have_begun(&record);
        // of a unique schedule the due time is known, and what it needs was reckoned then
        let until = if is_unique { record.until } else { self.until(due_by) };
        let until = until.max(record.until);
        self.registrar
            .put(key, Record { cancelled: true, was_cancelled: true, tried, until, ..record });
        match (is_unique, tried || record.retaken) {
            (true, true) => Outcome::TooLate,
            (true, false) => Outcome::Cancelled,
            (false, _) => Outcome::Noted,
        }
    }

    fn reschedule(&mut self, key: &Key, due: UnixMs) -> Outcome {
        let key = key.hash();
        let known = self.known(&key);
        if self.taken.decided {
            return noted_if(known.is_some_and(|record| record.due >= Some(due)));
        }
        if known.is_none() && self.is_full() {
            return self.full();
        }
        let record = known.unwrap_or_default();
        if record.cancelled {
            return Outcome::Refused(Refusal::Cancelled);
        }
        if let Some(stands) = record.due.filter(|stands| due < *stands) {
            if record.run_now {
                // what its sender is told has to stay true
                self.registrar.put(key, Record { run_now: false, ..record });
            }
            return Outcome::Refused(Refusal::NotLater { stands });
        }
        let is_unique = record.generation > 0;
        let tried = is_unique && self.may_have_begun(&record);
        let until = self.until(Some(due)).max(record.until);
        let record = Record { due: Some(due), tried, until, run_now: false, ..record };
        self.registrar.put(key, record);
        match (is_unique, tried || record.retaken) {
            (true, true) => Outcome::TooLate,
            (true, false) => Outcome::Scheduled,
            (false, _) => Outcome::Noted,
        }
    }

    fn decided(&self, message: u64) -> Outcome {
        match self.registrar.find_decided(message) {
            Some(true) => Outcome::Kept,
            Some(false) => Outcome::Scheduled,
            // what is refused leaves no entry
            None => self.full(),
        }
    }

    fn unique(
        &mut self,
        key: &Key,
        if_exists: IfExists,
        due: UnixMs,
    ) -> (Outcome, Option<Sequence>) {
        let key = key.hash();
        let known = self.known(&key);
        if known.is_none() && self.is_full() {
            return (self.full(), None);
        }
        let before = known.unwrap_or_default();
        let is_to_come =
            before.generation > 0 && !before.cancelled && !self.may_have_begun(&before);
        if is_to_come && if_exists == IfExists::Keep {
            return (Outcome::Kept, None);
        }
        let generation = self.registrar.next;
        let record = Record {
            generation,
            due: Some(due),
            cancelled: false,
            was_cancelled: before.was_cancelled,
            tried: false,
            retaken: self.taken.redelivered,
            run_now: false,
            until: self.until(Some(due)).max(before.until),
        };
        self.registrar.put(key, record);
        let replaces = is_to_come && !before.retaken;
        (if replaces { Outcome::Replaced } else { Outcome::Scheduled }, Some(generation))
    }

    /// Nothing is put earlier before the message is found: what was put off stays so if it is not.
    fn run_now(&mut self, key: &Key, due: Option<UnixMs>) -> Outcome {
        let key = key.hash();
        let Some(record) = self.known(&key) else { return Outcome::Running };
        if record.cancelled {
            return Outcome::Refused(Refusal::Cancelled);
        }
        if let (Some(due), Some(stands)) = (due, record.due)
            && due > stands
        {
            return Outcome::Refused(Refusal::NotEarlier { stands });
        }
        if record.due.is_some() && !self.taken.decided {
            self.registrar.put(key, Record { run_now: true, ..record });
        }
        Outcome::Running
    }

    /// It was found. Whatever was said of its key since the command holds against it.
    fn bring_forward(&mut self, key: &Key, generation: Option<Sequence>, due: UnixMs) -> Outcome {
        let key = key.hash();
        let record = self.known(&key).unwrap_or_default();
        let is_its_own = record.generation == 0 || Some(record.generation) == generation;
        match generation {
            None if record.was_cancelled => return Outcome::Refused(Refusal::Cancelled),
            Some(_) if !is_its_own => return Outcome::Refused(Refusal::Replaced),
            Some(_) if record.cancelled => return Outcome::Refused(Refusal::Cancelled),
            None | Some(_) => {}
        }
        if let Some(stands) = record.due.filter(|stands| is_its_own && *stands > due) {
            if !record.run_now {
                return Outcome::Refused(Refusal::PutOff { stands });
            }
            let tried = record.generation > 0 && self.may_have_begun(&record);
            let record = Record { due: Some(due), tried, run_now: false, ..record };
            self.registrar.put(key, record);
        }
        Outcome::Moved
    }

    fn moved(&self, message: u64) -> Outcome {
        match self.registrar.find_decided(message) {
            Some(_) => Outcome::Moved,
            None => Outcome::Refused(Refusal::Unanswered),
        }
    }

    fn may_have_begun(&self, record: &Record) -> bool {
        self.registrar.may_have_begun(record)
    }

    fn known(&self, key: &KeyHash) -> Option<Record> {
        self.registrar.known(self.state, key)
    }

    fn is_full(&self) -> bool {
        self.registrar.is_full(self.state, self.limits, self.taken)
    }

    fn full(&self) -> Outcome {
        Outcome::Refused(Refusal::Full { limit: self.limits.keys })
    }

    /// Until when to remember what is due at the latest then, or at any time.
    fn until(&self, due_by: Option<UnixMs>) -> LogTime {
        let left = due_by.map_or(self.limits.longest_delay, |due| due.since(self.taken.now));
        self.registrar.beside.log_time.plus(left + self.limits.memory)
    }
}

/// What can be said about a command that another registrar decided.
fn noted_if(it_stands: bool) -> Outcome {
    if it_stands { Outcome::Noted } else { Outcome::Refused(Refusal::Unanswered) }
}
