//! What happens in a world, and what is made to happen.

use std::rc::Rc;

use dormouse_core::control::{Answer, Fence, LogMessage};

/// A message on its way to its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub id: u64,
    pub op: usize,
    pub generation: Option<u64>,
    pub log: u64,
    /// As stamped: the entry by which it was brought forward, else 0.
    pub moved: u64,
    /// The run-now that did it, for the judge.
    pub moved_by: Option<usize>,
    pub wake_at: u64,
    pub attempt: u32,
    /// Consumer's retries and redrives that may follow.
    pub comebacks: u32,
}

#[derive(Debug, Clone)]
pub enum Event {
    Ack {
        session: u64,
        id: u64,
    },
    Tick {
        worker: usize,
        life: u32,
    },
    /// A client publishes.
    Publish(usize),
    /// The log's leader gets what a channel has sent.
    Append {
        session: u64,
        message: Rc<LogMessage>,
        acks: Vec<u64>,
    },
    Fence {
        worker: usize,
        life: u32,
        fence: Fence,
    },
    /// A registrar's worker asks for ticks, by the number of what it asks.
    Make {
        worker: usize,
        life: u32,
        make: usize,
    },
    Wakes(Copy),
    /// It was taken out of the levels before it woke.
    Taken,
    /// A worker looks for what a run-now asks for.
    Pull {
        worker: usize,
        life: u32,
        op: usize,
    },
    /// It asks the registrar, by the number of what it asks.
    Move {
        worker: usize,
        life: u32,
        asked: usize,
    },
    Moved {
        asked: usize,
        answer: Answer,
    },
    Fault(Fault),
    /// The broker notices that a connection is silent.
    Silent {
        worker: usize,
        connection: u64,
    },
    BrokerUp,
    Restart {
        worker: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Kill {
        worker: usize,
        down: u64,
    },
    Stop {
        worker: usize,
        down: u64,
    },
    Freeze {
        worker: usize,
        lasts: u64,
    },
    Cut {
        worker: usize,
        lasts: u64,
    },
    /// The channel of its registrar dies, and it learns of it later.
    Channel {
        worker: usize,
        unnoticed: u64,
    },
    Suspect {
        worker: usize,
    },
    PowerCut {
        down: u64,
    },
    /// Broker and workers are down together.
    Outage {
        down: u64,
    },
    Clock {
        machine: usize,
        by: i64,
    },
    LoseHead,
    DeleteLog,
    /// Whoever is the registrar.
    FreezeRegistrar {
        lasts: u64,
    },
    /// The active consumer is taken for dead, and the next one is activated.
    Rotate,
    /// An operator purges the command queue: what nobody has answered is gone.
    Purge,
    /// An operator accepts the log, though nothing may be wrong with it.
    OperatorAccepts,
}

/// What a world is made to try, beside chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    None,
    /// A clock is set ahead to the due time of what was cancelled, just after a fence.
    ClockAhead,
    /// A clock is set back just after a fence, and the registrar is frozen.
    ClockBack,
    /// A cancel and a fence are returned by several consumers of different prefetch.
    Overtaken,
    /// Everybody dies while a cancel is being decided, and the queue is purged.
    Purged,
    /// One registrar after the other.
    Elections,
    PowerCuts,
    Outage,
    /// What sleeps is brought forward while its registrar is followed by another, and put off, cancelled and
    /// replaced at the same time.
    RunNow,
    /// Recurring schedules are changed, paused and deleted while registrars follow each other. Of seeds of its own.
    Recurring,
}

/// Seeds from here on are about recurring schedules.
pub const RECURRING: u64 = 1 << 32;

impl Attack {
    pub const ALL: [Attack; 9] = [
        Attack::None,
        Attack::ClockAhead,
        Attack::ClockBack,
        Attack::Overtaken,
        Attack::Purged,
        Attack::Elections,
        Attack::PowerCuts,
        Attack::Outage,
        Attack::RunNow,
    ];

    /// Every ninth seed has the same, up to [`RECURRING`].
    pub fn of(seed: u64) -> Self {
        if seed >= RECURRING {
            return Attack::Recurring;
        }
        Self::ALL[(seed % Self::ALL.len() as u64) as usize]
    }
}

/// What a world is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    pub workers: usize,
    pub prefetch: usize,
    /// Registrars differ in their prefetch, as in an upgrade that would change it: only plain schedules are exact.
    pub any_prefetch: bool,
    pub clocks: bool,
    /// Retention or an operator takes from the log what was needed.
    pub log_damaged: bool,
    pub keys: usize,
    pub attack: Attack,
}
