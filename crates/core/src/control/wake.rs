//! In: a message with a key that wakes, what is so, and this worker's newest fence. Out: release, wait, drop,
//! sleep again. Messages without a key never come here. Pure.

use super::fence::Vouched;
use super::horizons::Sequence;
use super::key::KeyHash;
use super::state::{Blindness, State};
use crate::schedule::UnixMs;

/// A message with a key, as its stamp tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyed {
    /// Its key.
    pub key: KeyHash,
    /// Of a unique schedule; none for a plain one.
    pub generation: Option<Sequence>,
    /// Of one that a run-now has brought forward: up to there the log has to be read. 0 for any other.
    pub moved: Sequence,
    /// The log that was there when it was taken in.
    pub log: u64,
    /// Its due time, or that of its next attempt.
    pub wake_at: UnixMs,
}

/// What becomes of a message that wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Wake {
    /// An attempt may begin, once the wall clock shows its time.
    Release,
    /// It is held, or goes round through the wait queue.
    Wait(Wait),
    /// It is acknowledged, and counted.
    Drop(Cause),
    /// Rescheduled: it goes into the levels once more, and this is when it wakes from now on.
    SleepAgain(UnixMs),
}

/// What a message with a key waits for. It may not be released, and must not be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The log: what is so is not known.
    Blind(Blindness),
    /// The operator: another log was there when it was taken in.
    OtherLog,
    /// A fence of this worker's.
    Fence,
}

/// Why a message is not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its key was cancelled.
    Cancelled,
    /// A later unique schedule has taken its place.
    Replaced,
    /// Its registrar was followed by another before it could write it down; that one has decided its command
    /// again.
    Unclaimed,
}

impl Cause {
    /// As metrics and documents call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Cancelled => "cancelled",
            Cause::Replaced => "replaced",
            Cause::Unclaimed => "unclaimed",
        }
    }
}

/// Rule R. Dropping needs no fence: cancelled is cancelled, and generations only grow. Due times move away, but for
/// a run-now: what it has brought forward does not sleep again by what was so before.
pub fn wake(message: &Keyed, state: &State, vouched: Option<Vouched>) -> Wake {
    if let Some(blindness) = state.blindness() {
        return Wake::Wait(Wait::Blind(blindness));
    }
    if !state.accepts(message.log) {
        return Wake::Wait(Wait::OtherLog);
    }
    let record = state.get(&message.key).unwrap_or_default();
    // a fence that stands before its schedule may stand before a cancel that followed, and is being decided again
    let stands_behind = |generation| vouched.filter(|vouched| vouched.sequence > generation);
    let generation = message.generation.unwrap_or(0);
    match message.generation {
        None if record.was_cancelled => return Wake::Drop(Cause::Cancelled),
        None => {}
        Some(generation) if generation < record.generation => return Wake::Drop(Cause::Replaced),
        Some(generation) if generation == record.generation && record.cancelled => {
            return Wake::Drop(Cause::Cancelled);
        }
        Some(generation) if generation == record.generation => {}
        Some(generation) if stands_behind(generation).is_none() => return Wake::Wait(Wait::Fence),
        // decided again, it would be newer; so it is forgotten, or was decided otherwise
        Some(_) if record.generation > 0 || record.cancelled => {
            return Wake::Drop(Cause::Unclaimed);
        }
        Some(_) => {}
    }
    let is_its_own = record.generation == 0 || record.generation == generation;
    if message.moved > 0 && stands_behind(message.moved).is_none() {
        return Wake::Wait(Wait::Fence);
    }
    if let Some(due) = record.due.filter(|due| is_its_own && *due > message.wake_at) {
        return Wake::SleepAgain(due);
    }
    match stands_behind(generation) {
        Some(vouched) if vouched.horizon >= message.wake_at => Wake::Release,
        Some(_) | None => Wake::Wait(Wait::Fence),
    }
}
