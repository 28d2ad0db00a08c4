//! What clients asked for, and what became of it; and the clocks of machines.

use dormouse_core::control::{Cause, IfExists};

use super::recurring::What;

/// A client's publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Unkeyed {
        due: u64,
    },
    Plain {
        due: u64,
    },
    Unique {
        if_exists: IfExists,
        due: u64,
    },
    Cancel {
        due_by: Option<u64>,
    },
    Reschedule {
        due: u64,
    },
    RunNow {
        due: Option<u64>,
    },
    /// A command about a schedule.
    Recurring {
        schedule: usize,
        what: What,
    },
    /// What a schedule fires.
    Tick {
        schedule: usize,
        tick: u64,
    },
}

impl Kind {
    pub fn put_off(&self) -> Option<u64> {
        match self {
            Kind::Reschedule { due } => Some(*due),
            _ => None,
        }
    }

    pub fn due(&self) -> Option<u64> {
        match self {
            Kind::Unkeyed { due } | Kind::Plain { due } | Kind::Unique { due, .. } => Some(*due),
            Kind::Cancel { .. } | Kind::Reschedule { .. } | Kind::RunNow { .. } => None,
            Kind::Recurring { .. } | Kind::Tick { .. } => None,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Op {
    pub kind: Kind,
    pub key: usize,
    /// When RabbitMQ confirmed it, and as which one of all.
    pub confirmed: Option<(u64, usize)>,
    pub attempts: usize,
    pub last_attempt: u64,
    /// The earliest due time of an attempt.
    pub earliest: u64,
    pub drops: Vec<Cause>,
    pub dead: bool,
    pub refused: bool,
    pub answered: bool,
    /// The first time.
    pub answered_at: u64,
    /// It may have been decided, or not.
    pub purged: bool,
    /// As decided by the newest registrar that had it read back.
    pub claimed: bool,
    pub kept: bool,
    /// It was answered that no attempt of it has begun or will begin.
    pub never: bool,
    /// The reschedules of which it was answered that none begins before.
    pub put_off: Vec<usize>,
    /// When it was put into the levels as a unique schedule.
    pub placed: Vec<u64>,
}

/// A machine's wall clock, as it was at any time.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    steps: Vec<(u64, i64)>,
}

impl Machine {
    pub fn step(&mut self, at: u64, by: i64) {
        let offset = self.steps.last().map_or(0, |(_, offset)| *offset);
        self.steps.push((at, offset + by));
    }

    pub fn wall(&self, at: u64) -> u64 {
        let after = self.steps.partition_point(|(since, _)| *since <= at);
        let offset = if after == 0 { 0 } else { self.steps[after - 1].1 };
        at.checked_add_signed(offset).expect("a time of day")
    }
}
