//! In: the log, message by message from the first that is left. Out: what is so, or that this cannot be known. Pure.

use super::entry::{Beginning, Entry, IGNORABLE, LONGEST_BEAT_SECONDS, LogTime, Record};
use super::horizons::Sequence;
use super::key::KeyHash;
use super::keys::Keys;
use super::log::{Batch, Epoch, LogMessage, Unreadable};
use super::schedules::Schedules;

/// What is so after the messages read so far. The same messages make the same state on every worker.
///
/// A reader whose connection ended starts again with a new one, from the first message that is left: nothing of
/// a log that lost its tail survives in it.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) keys: Keys,
    pub(super) beside: Beginning,
    pub(super) schedules: Schedules,
    epoch: u64,
    base: Sequence,
    last: Sequence,
    blind: Option<Blindness>,
    /// A checkpoint began, and nothing was missed since.
    in_checkpoint: bool,
}

/// As the log that an operator accepts: each that was there before this one. No log has this id.
pub const EVERY_OTHER: u64 = 0;

/// Why it cannot be known what is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says it itself")]
pub enum Blindness {
    #[error("nothing of the log was read yet")]
    NothingRead,
    #[error(
        "the log begins in the middle: what came before is not to be had, and no whole checkpoint followed"
    )]
    Truncated,
    #[error("a later version wrote to the log what this one does not know: upgrade this worker")]
    NewerVersion,
}

/// What became of a message of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Read {
    /// It counts, and nothing was missed.
    Applied,
    /// Of a registrar that others have followed, or read before: it counts for nobody.
    Void,
    /// Applied, though something before it is missing: blind until a checkpoint has come by. Fences of before prove
    /// nothing any more.
    Gap,
}

impl Default for State {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            beside: Beginning::default(),
            schedules: Schedules::default(),
            epoch: 0,
            base: 0,
            last: 0,
            blind: Some(Blindness::NothingRead),
            in_checkpoint: false,
        }
    }
}

impl State {
    /// Reads the next message.
    pub fn read(&mut self, message: &LogMessage) -> Read {
        match message {
            LogMessage::Epoch(epoch) => self.read_epoch(epoch),
            LogMessage::Batch(batch) => self.read_batch(batch),
        }
    }

    /// Reads the next message of the stream. None: it could not be read.
    pub fn read_encoded(&mut self, bytes: &[u8]) -> Option<(LogMessage, Read)> {
        match LogMessage::decode(bytes) {
            Ok(message) => {
                let read = self.read(&message);
                Some((message, read))
            }
            Err(unreadable) => {
                self.skip(unreadable);
                None
            }
        }
    }

    /// A message that could not be read. One that is foreign changes nothing: if it was a batch, the next one's
    /// `after` tells.
    pub fn skip(&mut self, unreadable: Unreadable) {
        match unreadable {
            Unreadable::Foreign => {}
            Unreadable::NewerVersion(_) => self.become_blind(Blindness::NewerVersion),
        }
    }

    /// The first one that names the newest counts. Any other comes from a registrar that began to consume
    /// before the newest did, and that holds commands which are no longer its.
    fn read_epoch(&mut self, &Epoch { epoch, previous, base }: &Epoch) -> Read {
        let begins_log = previous == 0 && self.blind == Some(Blindness::NothingRead);
        let follows = previous == self.epoch && self.epoch != 0;
        if !(begins_log || follows) || base <= self.last.max(self.base) {
            return Read::Void;
        }
        if begins_log {
            self.beside.log = epoch;
            self.blind = None;
        }
        self.epoch = epoch;
        self.base = base;
        self.in_checkpoint = false;
        Read::Applied
    }

    fn read_batch(&mut self, batch: &Batch) -> Read {
        let is_newest = batch.epoch == self.epoch;
        let is_newer = batch.first > self.last && batch.first >= self.base;
        if !is_newer {
            return Read::Void;
        }
        let read = if is_newest && batch.after == self.last {
            Read::Applied
        } else {
            self.begin_in_the_middle(batch);
            Read::Gap
        };
        self.last = batch.last();
        for (sequence, entry) in (batch.first..).zip(&batch.entries) {
            self.apply(sequence, entry);
        }
        read
    }

    fn begin_in_the_middle(&mut self, batch: &Batch) {
        *self = Self { epoch: batch.epoch, base: batch.first, ..Self::default() };
        self.blind = Some(Blindness::Truncated);
    }

    fn become_blind(&mut self, why: Blindness) {
        self.blind = Some(why);
        self.in_checkpoint = false;
    }

    fn apply(&mut self, sequence: Sequence, entry: &Entry) {
        match entry {
            Entry::Put { key, record } => self.keys.put(*key, *record),
            Entry::Fence(fence) => self.beside.horizons.note(sequence, fence.horizon),
            Entry::Beat { seconds } => {
                self.beside.log_time.0 += u32::from((*seconds).min(LONGEST_BEAT_SECONDS));
                self.keys.sweep(self.beside.log_time);
            }
            Entry::Decided { message, kept } => self.beside.decide(*message, *kept),
            Entry::CheckpointBegin(beginning) => {
                if self.is_blind() {
                    self.beside = (**beginning).clone();
                    self.in_checkpoint = true;
                }
            }
            Entry::CheckpointEnd => {
                if std::mem::take(&mut self.in_checkpoint) {
                    self.blind = None;
                }
            }
            Entry::Accept { log } => {
                self.beside.accepted.insert(*log);
            }
            Entry::Schedule(stored) => self.schedules.put(stored.clone()),
            Entry::NoSchedule { name } => {
                self.schedules.remove(name);
            }
            Entry::Progress { name, progress } => self.schedules.advance(name, progress),
            Entry::Unknown { kind } if *kind >= IGNORABLE => {}
            Entry::Unknown { .. } => self.become_blind(Blindness::NewerVersion),
        }
    }

    /// What is so about a key; none if nothing was ever said of it, or it is forgotten.
    pub fn get(&self, key: &KeyHash) -> Option<Record> {
        self.keys.get(key).filter(|record| record.until > self.beside.log_time)
    }

    /// Why nothing can be said, if that is so.
    pub fn blindness(&self) -> Option<Blindness> {
        self.blind
    }

    /// Whether nothing can be said.
    pub fn is_blind(&self) -> bool {
        self.blind.is_some()
    }

    /// The epoch that counts; 0 if none was read.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The id of the log: that of its first epoch. 0 if it is not known.
    pub fn log(&self) -> u64 {
        self.beside.log
    }

    /// The sequence number of the last entry that counted. After a restart of the reader, a lower one than
    /// before means that the log has lost its tail.
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// The sequence number that the newest epoch begins with.
    pub fn base(&self) -> Sequence {
        self.base
    }

    /// The log's own time.
    pub fn log_time(&self) -> LogTime {
        self.beside.log_time
    }

    /// Whether messages that were taken in with this log may go: it is this one, or the operator said so.
    pub fn accepts(&self, log: u64) -> bool {
        let accepted = &self.beside.accepted;
        log == self.beside.log || accepted.contains(&log) || accepted.contains(&EVERY_OTHER)
    }

    /// The recurring schedules.
    pub fn schedules(&self) -> &Schedules {
        &self.schedules
    }

    /// Keys that it holds, and the bytes that they take.
    pub fn keys_and_bytes(&self) -> (usize, usize) {
        (self.keys.len(), self.keys.bytes())
    }
}
