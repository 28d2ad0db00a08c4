//! One thing that happened to a message.

use std::time::Duration;

use dormouse_core::control;

use crate::amqp::Closed;
use crate::schedule::{Cause, UnixMs};
use crate::topology::Names;
use crate::worker::in_flight::InternalQueue;

/// What happened to a message.
///
/// `told` says how often it happened since the log spoke of it, if it is time to speak of it again.
#[derive(Debug, Clone, Copy)]
pub(in crate::worker) enum Event<'a> {
    /// Planned, for a publish that follows at once; again if that is made again.
    Planned { hops: u32 },
    /// A client's message sleeps in the levels.
    TakenIn { hops: u32 },
    /// It will be brought back to the queue that dead-lettered it, after `pause`.
    Recalled { pause: Duration },
    /// And sleeps in the levels until then. `policy` says so.
    TakenBack { policy: &'a str, hops: u32 },
    /// The cascade had found no queue for it. `ours` was in the cascade already, and not a client's.
    Parked { ours: bool, told: Option<u64> },
    /// It woke much too early, and is planned again.
    WokeEarly { told: Option<u64> },
    /// A full hold puts it back.
    PutBack,
    /// It is due at `now`, and published to its target.
    Released { now: UnixMs },
    /// It has a key, and is not delivered.
    Dropped { cause: control::Cause },
    /// It has a key that was rescheduled: it sleeps again.
    Rescheduled { until: UnixMs },
    /// It was found asleep, and sleeps until then instead.
    BroughtForward { until: UnixMs },
    /// It has a key, and waits too long for what lets it go: it goes round through the wait queue.
    Waits { wait: control::Wait, told: Option<u64> },
    /// Its target has confirmed it, so long after the publish.
    Delivered { took: Duration },
    /// Its attempt failed at `now`; there is another one after `pause`, or it goes to the DLQ.
    AttemptFailed { cause: &'a Cause, pause: Option<Duration>, now: UnixMs },
    /// It goes to the DLQ.
    Doomed { cause: &'a Cause },
    /// RabbitMQ refuses it for the levels, so it goes to the DLQ.
    RefusedInside { closed: &'a Closed, told: Option<u64> },
    /// The DLQ has it.
    Dead,
    /// The DLQ has no room for it: it sleeps, or waits where it is, until it may have.
    DlqRefused { names: &'a Names, told: Option<u64> },
    /// A publish into a queue of ours was refused, and is made again.
    Refused { to: InternalQueue, problem: &'a str, told: Option<u64> },
    /// RabbitMQ takes it from nobody; it stays in its queue.
    Kept { closed: &'a Closed, told: Option<u64> },
    /// AMQP 0-9-1 cannot carry it: it was moved out of this queue, without what was the problem.
    Moved { queue: &'a str, problem: &'a str, to: InternalQueue, told: Option<u64> },
    /// Or could not be.
    NotMoved { queue: &'a str, problem: &'a str, answer: &'a str, told: Option<u64> },
}
