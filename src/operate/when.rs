//! When somebody wants a message to be due.

use std::time::Duration;

use crate::schedule::UnixMs;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Now,
    In(Duration),
    At(jiff::Timestamp),
}

impl When {
    /// The time, or else the duration from now, or else now.
    pub fn of(at: Option<jiff::Timestamp>, after: Option<Duration>) -> Self {
        match (at, after) {
            (Some(at), _) => Self::At(at),
            (None, Some(after)) => Self::In(after),
            (None, None) => Self::Now,
        }
    }

    /// In whole milliseconds; the epoch for what is before it.
    pub fn due(self, now: UnixMs) -> UnixMs {
        match self {
            Self::Now => now,
            Self::In(after) => now.plus(after),
            Self::At(at) => UnixMs(u64::try_from(at.as_millisecond()).unwrap_or(0)),
        }
    }
}
