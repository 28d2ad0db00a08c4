//! What a registrar is told besides a command, and what it says. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::command::Refusal;
use super::horizons::Sequence;
use super::schedules::Told;
use crate::recurring::Schedule;
use crate::schedule::UnixMs;

/// What the operator has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Keys that are known at a time, at most: 36 bytes of every worker's memory each.
    pub keys: usize,
    /// The longest delay that is accepted: a cancel of a message whose due time is not known holds so long.
    pub longest_delay: Duration,
    /// How long after its due time a message may still wake: attempts, retries, and what a broker held back.
    pub memory: Duration,
}

/// How a command was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// RabbitMQ's flag.
    pub redelivered: bool,
    /// It is one of those that [`Registrar::returned`](super::Registrar::returned) counted.
    pub decided: bool,
    /// The registrar's wall clock.
    pub now: UnixMs,
}

/// What is said to the sender of a command, about each of its keys. The sender gets a refusal in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<Reason = Refusal> {
    /// No attempt has begun, and none begins any more.
    Cancelled,
    /// It holds for what is not tried yet; whether anything was is not known.
    Noted,
    /// It holds for what is not tried yet, but an attempt may have begun: it may have arrived.
    TooLate,
    /// As noted; and a complete index has never seen the key.
    Unknown,
    /// A unique schedule of this key is still to come, and stays; this one does not come.
    Kept,
    /// The one before was never tried and never will be; this one comes.
    Replaced,
    /// It comes at its time, not before.
    Scheduled,
    /// It is looked for; another answer follows.
    Running,
    /// It was found, and comes at that time, or at its own if that is sooner.
    Moved,
    /// It was looked for, and sleeps nowhere: it comes at its time, has come, or was never there.
    NotFound,
    /// Too many messages sleep where it can be to look through them. Nothing was moved.
    TooDeep,
    /// It has no effect.
    Refused(Reason),
}

impl<Reason> Outcome<Reason> {
    /// As replies, metrics and documents call it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Cancelled => "cancelled",
            Outcome::Noted => "noted",
            Outcome::TooLate => "too-late",
            Outcome::Unknown => "unknown",
            Outcome::Kept => "kept",
            Outcome::Replaced => "replaced",
            Outcome::Scheduled => "scheduled",
            Outcome::Running => "running",
            Outcome::Moved => "moved",
            Outcome::NotFound => "not-found",
            Outcome::TooDeep => "too-deep",
            Outcome::Refused(_) => "refused",
        }
    }

    /// Whether an attempt may have begun before the command was decided, as far as the log knows.
    pub fn may_have_arrived(&self) -> bool {
        matches!(self, Outcome::TooLate)
    }
}

impl Outcome {
    /// As its sender gets it.
    pub fn in_words(self) -> Outcome<String> {
        match self {
            Outcome::Cancelled => Outcome::Cancelled,
            Outcome::Noted => Outcome::Noted,
            Outcome::TooLate => Outcome::TooLate,
            Outcome::Unknown => Outcome::Unknown,
            Outcome::Kept => Outcome::Kept,
            Outcome::Replaced => Outcome::Replaced,
            Outcome::Scheduled => Outcome::Scheduled,
            Outcome::Running => Outcome::Running,
            Outcome::Moved => Outcome::Moved,
            Outcome::NotFound => Outcome::NotFound,
            Outcome::TooDeep => Outcome::TooDeep,
            Outcome::Refused(refusal) => Outcome::Refused(refusal.to_string()),
        }
    }

    /// With what a complete index says: whether it has ever seen the key.
    pub fn with_index(self, has_seen_key: bool) -> Self {
        match self {
            Outcome::Noted if !has_seen_key => Outcome::Unknown,
            other => other,
        }
    }
}

/// To be given when the log has been read up to `sequence` in this registrar's own epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// In the order of the command's keys; none for a fence.
    pub outcomes: Vec<Outcome>,
    /// That of the last entry it depends on.
    pub sequence: Sequence,
    /// Of a unique schedule that comes: to be stamped on the message that is published into the levels.
    pub generation: Option<Sequence>,
    /// Ticks of recurring schedules, to be published into the levels.
    pub made: Vec<MadeTick>,
    /// What is said to the sender of a command about recurring schedules.
    pub told: Option<Result<Told, Refusal>>,
}

/// A tick of a recurring schedule that comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeTick {
    /// As it stands at this command's place in the queue.
    pub schedule: Arc<Schedule>,
    /// When, by the schedule's rule.
    pub tick: UnixMs,
    /// With its jitter.
    pub due: UnixMs,
    /// From 1.
    pub run: u64,
    /// To be stamped on its message.
    pub generation: Sequence,
}
