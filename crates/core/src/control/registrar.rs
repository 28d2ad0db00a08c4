//! In: the commands in the order of their queue, and what is so. Out: entries of the log, and honest answers. Pure.
//!
//! A session of the worker that consumes the command queue:
//! 1. Before it begins to consume: [`Candidate::new`]. What is delivered was delivered after that.
//! 2. At its first delivery: append [`Candidate::epoch`], and read it back. [`Candidate::elected`], or close the
//!    channel and begin again: another registrar has begun in between.
//! 3. When all that was returned has come: [`Registrar::returned`].
//! 4. [`Registrar::decide`] each command in turn; of a unique schedule, publish the message into the levels; when
//!    that is confirmed, append [`Registrar::take_batch`].
//! 5. When the batch has been read back, and not before: answer, and acknowledge the commands.
//!
//! [`Candidate::new`]: super::Candidate::new
//! [`Candidate::epoch`]: super::Candidate::epoch
//! [`Candidate::elected`]: super::Candidate::elected
//!
//! Whatever goes wrong, a batch that counts for nobody included: close the channel. RabbitMQ gives the commands
//! to the next registrar, in their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::command::{Command, IfExists, Refusal};
use super::entry::{Beginning, Entry, Fence, LONGEST_BEAT_SECONDS, LogTime, Record};
use super::horizons::Sequence;
use super::key::{Key, KeyHash};
use super::log::{Batch, Epoch};
use super::outcome::{Answer, Limits, Outcome, Taken};
use super::state::State;
use crate::schedule::UnixMs;

/// Entries of a checkpoint that are appended together, between commands.
const CHECKPOINT_PART: usize = 500;

/// One whose epoch counts, as far as it knows.
#[derive(Debug)]
pub struct Registrar {
    epoch: u64,
    after: Sequence,
    next: Sequence,
    /// As decided: ahead of what is read.
    beside: Beginning,
    /// Decided, and not yet taken to be appended.
    entries: Vec<Entry>,
    /// Decided, and not yet read back: they go before what is read.
    unread: BTreeMap<KeyHash, (Sequence, Record)>,
    unread_order: VecDeque<(Sequence, KeyHash)>,
    /// The run of keys that a checkpoint goes on with.
    checkpoint: Option<usize>,
}

impl Registrar {
    /// The epoch counts: all that is so is known.
    pub(super) fn begin(epoch: &Epoch, state: &State) -> Self {
        let mut beside = state.beside.clone();
        if beside.log == 0 {
            // its beginning is gone, and the operator accepts the rest: another log
            beside.log = epoch.epoch;
        }
        Self {
            epoch: epoch.epoch,
            after: state.last(),
            next: epoch.base,
            beside,
            entries: Vec::new(),
            unread: BTreeMap::new(),
            unread_order: VecDeque::new(),
            checkpoint: None,
        }
    }

    /// How many of the commands that were returned to the queue are decided: all up to the last one that the log
    /// knows. `returned` are all of them: up to the first that is not redelivered, or [`MOST_UNACKED`]. To have
    /// one that is not redelivered, the registrar publishes a fence when it is elected. A command that is delivered
    /// again after those ends the session.
    ///
    /// None if one came twice, and the session has to end, too: its channel was taken for dead and is active again,
    /// and another registrar may have decided some of them.
    ///
    /// Only unique schedules are looked for. To decide a cancel or a reschedule twice changes nothing, unless a
    /// unique schedule was decided in between.
    ///
    /// [`MOST_UNACKED`]: super::entry::MOST_UNACKED
    #[must_use]
    pub fn returned(&self, returned: &[Command]) -> Option<usize> {
        let mut seen = BTreeSet::new();
        let mut decided = 0;
        for (before, command) in returned.iter().enumerate() {
            if let Command::Unique { message, .. } = command {
                if !seen.insert(*message) {
                    return None;
                }
                if self.find_decided(*message).is_some() {
                    decided = before + 1;
                }
            }
        }
        Some(decided)
    }

    fn find_decided(&self, message: u64) -> Option<bool> {
        let decided = self.beside.decided.iter().find(|(known, _)| *known == message);
        decided.map(|(_, kept)| *kept)
    }

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
            Command::Fence(fence) => {
                self.fence(fence, taken.redelivered);
                Vec::new()
            }
        };
        Answer { outcomes, sequence: self.next - 1, generation }
    }

    /// A fence that was delivered before may have overtaken commands that were returned with it, so its worker has
    /// to send another. That something was released by it stays true.
    fn fence(&mut self, fence: &Fence, redelivered: bool) {
        let nobodys = Fence { worker: 0, number: 0, horizon: fence.horizon };
        self.beside.horizons.note(self.next, fence.horizon);
        self.push(Entry::Fence(if redelivered { nobodys } else { *fence }));
    }

    /// So much monotonic time has passed since the last beat, or since it was elected.
    pub fn beat(&mut self, passed: Duration) {
        let seconds = u8::try_from(passed.as_secs()).unwrap_or(u8::MAX).min(LONGEST_BEAT_SECONDS);
        self.beside.log_time.0 += u32::from(seconds);
        self.push(Entry::Beat { seconds });
    }

    /// A message was held whose generation this registrar has not given yet: the log has lost it in a power cut,
    /// with the epoch that gave it. The session has to end, so that the next one begins beyond it, and the message
    /// need not wait for an entry that never comes.
    pub fn is_behind(&self, seen: Sequence) -> bool {
        self.next <= seen
    }

    /// The operator lets messages of another log go.
    pub fn accept(&mut self, log: u64) {
        self.beside.accepted.insert(log);
        self.push(Entry::Accept { log });
    }

    /// The next part of a checkpoint, the first if none is under way. True if it was the last.
    pub fn checkpoint(&mut self, state: &State) -> bool {
        let mut run = match self.checkpoint {
            Some(run) => run,
            None => {
                self.begin_checkpoint();
                0
            }
        };
        let full = self.entries.len() + CHECKPOINT_PART;
        while self.entries.len() < full {
            let Some(records) = state.keys.run(run) else {
                self.push(Entry::CheckpointEnd);
                self.checkpoint = None;
                return true;
            };
            for (key, read) in records {
                let record = self.unread.get(&key).map_or(read, |(_, decided)| *decided);
                if record.until > self.beside.log_time {
                    self.push(Entry::Put { key, record });
                }
            }
            run += 1;
        }
        self.checkpoint = Some(run);
        false
    }

    /// What is not read back may stand before the beginning, so it is told once more.
    fn begin_checkpoint(&mut self) {
        self.push(Entry::CheckpointBegin(Box::new(self.beside.clone())));
        let unread: Vec<_> = self.unread.iter().map(|(key, (_, record))| (*key, *record)).collect();
        for (key, record) in unread {
            self.push(Entry::Put { key, record });
        }
    }

    /// What was decided since the last batch, to be appended after it on the same channel. None if nothing was.
    pub fn take_batch(&mut self) -> Option<Batch> {
        let entries = std::mem::take(&mut self.entries);
        let count = entries.len() as u64;
        let batch =
            Batch { epoch: self.epoch, after: self.after, first: self.next - count, entries };
        (count > 0).then(|| {
            self.after = batch.last();
            batch
        })
    }

    /// The log has been read up to `state`. False if another registrar has begun: nothing that this one appends
    /// counts any more, and its session has to end.
    #[must_use]
    pub fn read_back(&mut self, state: &State) -> bool {
        while let Some((sequence, key)) = self.unread_order.front()
            && *sequence <= state.last()
        {
            if self.unread.get(key).is_some_and(|(newest, _)| newest == sequence) {
                self.unread.remove(key);
            }
            self.unread_order.pop_front();
        }
        state.epoch() == self.epoch
    }

    fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.next += 1;
    }

    fn put(&mut self, key: KeyHash, record: Record) {
        self.unread.insert(key, (self.next, record));
        self.unread_order.push_back((self.next, key));
        self.push(Entry::Put { key, record });
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
            return Outcome::Refused(Refusal::NotLater { stands });
        }
        let is_unique = record.generation > 0;
        let tried = is_unique && self.may_have_begun(&record);
        let until = self.until(Some(due)).max(record.until);
        self.registrar.put(key, Record { due: Some(due), tried, until, ..record });
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
            until: self.until(Some(due)).max(before.until),
        };
        self.registrar.put(key, record);
        let replaces = is_to_come && !before.retaken;
        (if replaces { Outcome::Replaced } else { Outcome::Scheduled }, Some(generation))
    }

    /// A worker releases a unique schedule only under a fence that stands behind it and reaches its due time, and
    /// the log has all fences: no clock is asked.
    fn may_have_begun(&self, record: &Record) -> bool {
        let reached = self.registrar.beside.horizons.since(record.generation);
        record.tried || record.due.is_none_or(|due| due <= reached)
    }

    fn known(&self, key: &KeyHash) -> Option<Record> {
        let decided = self.registrar.unread.get(key).map(|(_, record)| *record);
        let record = decided.or_else(|| self.state.keys.get(key));
        record.filter(|record| record.until > self.registrar.beside.log_time)
    }

    /// What was delivered before may have been answered, or published into the levels: it finds room.
    fn is_full(&self) -> bool {
        let keys = self.state.keys.len() + self.registrar.unread.len();
        keys >= self.limits.keys && !self.taken.redelivered
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
