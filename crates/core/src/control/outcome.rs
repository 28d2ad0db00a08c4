//! What a registrar is told besides a command, and what it says. Pure.

use std::time::Duration;

use super::command::Refusal;
use super::horizons::Sequence;
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

/// What is said to the sender of a command, about each of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
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
    /// It has no effect.
    Refused(Refusal),
}

impl Outcome {
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
}
