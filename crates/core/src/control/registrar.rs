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

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::command::Command;
use super::entry::{Beginning, Entry, LONGEST_BEAT_SECONDS, Record};
use super::fence::Clocks;
use super::horizons::Sequence;
use super::key::KeyHash;
use super::log::{Batch, Epoch};
use super::schedules::{Make, Schedules, Standing, Ticker};
use super::state::State;

mod copies;
mod deciding;
mod making;
mod overlapping;
mod scheduling;

pub use copies::Copies;

/// Entries of a checkpoint that are appended together, between commands.
const CHECKPOINT_PART: usize = 500;
/// And of the schedules in it, bytes.
const CHECKPOINT_BYTES: usize = 256 * 1024;

/// One whose epoch counts, as far as it knows.
#[derive(Debug)]
pub struct Registrar {
    epoch: u64,
    after: Sequence,
    next: Sequence,
    /// As decided: ahead of what is read.
    beside: Beginning,
    /// As decided, too.
    schedules: Schedules,
    /// Which ticks it asked for.
    ticker: Ticker,
    /// Decided, and not yet taken to be appended.
    entries: Vec<Entry>,
    /// Decided, and not yet read back: they go before what is read.
    unread: BTreeMap<KeyHash, (Sequence, Record)>,
    unread_order: VecDeque<(Sequence, KeyHash)>,
    /// The run of keys that a checkpoint goes on with.
    checkpoint: Option<usize>,
    /// The schedule that a checkpoint told last; none while it tells keys.
    checkpoint_schedules: Option<String>,
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
            schedules: state.schedules.clone(),
            ticker: Ticker::default(),
            entries: Vec::new(),
            unread: BTreeMap::new(),
            unread_order: VecDeque::new(),
            checkpoint: None,
            checkpoint_schedules: None,
        }
    }

    /// How many of the commands that were returned to the queue are decided: all up to the last one that the log
    /// knows. `returned` are all of them: up to the first that is not redelivered, or [`MOST_UNACKED`]. To have
    /// one that is not redelivered, the registrar publishes a fence when it is elected. A command that is delivered
    /// again after those ends the session.
    ///
    /// None if one came twice that is not [known](Copies) to have been published twice, and the session has to end:
    /// its channel was taken for dead and is active again, and another registrar may have decided some of them.
    /// Copies of what is decided are decided.
    ///
    /// Only unique schedules and moves are looked for. To decide a cancel or a reschedule twice changes nothing,
    /// unless one of those was decided in between.
    ///
    /// [`MOST_UNACKED`]: super::entry::MOST_UNACKED
    #[must_use]
    pub fn returned(&self, returned: &[Command], copies: &mut Copies) -> Option<usize> {
        if !copies.are_known(returned) {
            return None;
        }
        let is_decided = |command: &Command| {
            command.mark().is_some_and(|mark| self.find_decided(mark).is_some())
        };
        Some(returned.iter().rposition(is_decided).map_or(0, |last| last + 1))
    }

    fn find_decided(&self, message: u64) -> Option<bool> {
        let decided = self.beside.decided.iter().find(|(known, _)| *known == message);
        decided.map(|(_, kept)| *kept)
    }

    /// What was decided so far: for the answer to what is no command.
    pub fn decided_up_to(&self) -> Sequence {
        self.next - 1
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

    /// The operator lets messages of another log go, or of [`EVERY_OTHER`](super::state::EVERY_OTHER).
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
        if !self.checkpoint_of_schedules(full) {
            self.checkpoint = Some(run);
            return false;
        }
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
        self.checkpoint_schedules = Some(String::new());
    }

    /// The next recurring schedules. True if all of them are told.
    fn checkpoint_of_schedules(&mut self, full: usize) -> bool {
        let Some(last) = self.checkpoint_schedules.take() else { return true };
        let (mut told, mut bytes) = (Vec::new(), 0);
        let mut next = last.clone();
        for (name, Standing { stored, progress }) in self.schedules.after(&last) {
            if self.entries.len() + told.len() >= full || bytes > CHECKPOINT_BYTES {
                break;
            }
            bytes += stored.bytes();
            next = name.to_owned();
            let progress = progress.clone();
            told.push(Entry::Schedule(stored.clone()));
            told.push(Entry::Progress { name: next.clone(), progress });
        }
        if told.is_empty() && self.entries.len() < full {
            return true;
        }
        told.into_iter().for_each(|entry| self.push(entry));
        self.checkpoint_schedules = Some(next);
        false
    }

    /// Ticks that are to be made real now: to be published to the command queue.
    pub fn ask_for_ticks(&mut self, now: Clocks) -> Vec<Make> {
        self.ticker.ask(&self.schedules, now)
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
