//! What happens to a message, as typed events: the one place where it is counted and logged. Who else wants to
//! know of each message (a ledger, a console) subscribes in [`Events::note`].
//!
//! An event borrows what it tells, so it costs nothing where nobody wants it. The message has its id, target,
//! attempt, due time and last failure.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::in_flight::{InternalQueue, KEEP, PAUSE};
use super::metrics::Metrics;
use super::tell::Tell;
use crate::amqp::Closed;
use crate::schedule::{Cause, DelayedMessage, Policies, Reason, Stamp, Target, UnixMs};
use crate::topology::Names;

/// What happened to a message.
///
/// `told` says how often it happened since the log spoke of it, if it is time to speak of it again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event<'a> {
    /// Planned, for a publish that follows at once; again if that is made again.
    Planned { hops: u32 },
    /// A client's message sleeps in the levels.
    TakenIn,
    /// It will be brought back to the queue that dead-lettered it, after `pause`.
    Recalled { pause: Duration },
    /// And sleeps in the levels until then. `policy` says so.
    TakenBack { policy: &'a str },
    /// The cascade had found no queue for it. `ours` was in the cascade already, and not a client's.
    Parked { ours: bool, told: Option<u64> },
    /// It woke much too early, and is planned again.
    WokeEarly { told: Option<u64> },
    /// A full hold puts it back.
    PutBack,
    /// It is due at `now`, and published to its target.
    Released { now: UnixMs },
    /// Its target has confirmed it, so long after the publish.
    Delivered { took: Duration },
    /// Its attempt failed; there is another one after `pause`, or it goes to the DLQ.
    AttemptFailed { cause: &'a Cause, pause: Option<Duration> },
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

/// Everybody who wants to know.
#[derive(Default)]
pub(super) struct Events {
    metrics: Metrics,
    log: Log,
}

impl Events {
    /// Counts that are seen as 0 from the start.
    pub fn expect_policies(&self, policies: &Policies) {
        policies.names().for_each(|policy| self.metrics.retried(policy, 0));
    }

    pub fn note(&self, message: &DelayedMessage, event: Event<'_>) {
        self.metrics.note(message, event);
        self.log.note(message, event);
    }

    /// So many more were planned again by a sweep, and sleep in the levels.
    pub fn note_swept(&self, messages: u64) {
        self.metrics.swept.increment(messages);
    }

    /// So many that cannot be read were put into the DLQ.
    pub fn note_unreadable(&self, messages: u64) {
        self.metrics.dead_lettered(Reason::Unreadable, messages);
    }
}

impl Metrics {
    fn note(&self, message: &DelayedMessage, event: Event<'_>) {
        match event {
            Event::Planned { hops } => self.hops.record(hops),
            Event::TakenIn => self.scheduled.increment(1),
            Event::TakenBack { policy } => self.retried(policy, 1),
            Event::Parked { .. } => self.parked.increment(1),
            Event::WokeEarly { .. } => self.replanned.increment(1),
            Event::PutBack => self.put_back.increment(1),
            Event::Released { now } => {
                let wake_at = message.stamp.wake_at();
                if now < wake_at {
                    self.early.increment(1);
                }
                self.lateness.record(now.since(wake_at).as_secs_f64());
            }
            Event::Delivered { took } => {
                self.delivered.increment(1);
                self.confirm.record(took.as_secs_f64());
            }
            Event::AttemptFailed { cause, .. } => {
                self.attempt_failed(cause.reason);
                if cause.reason == Reason::Unroutable {
                    self.returned.increment(1);
                }
            }
            Event::Dead => {
                if let Some(failure) = &message.stamp.failure {
                    self.dead_lettered(failure.reason, 1);
                }
            }
            Event::DlqRefused { .. } | Event::Refused { .. } | Event::Kept { .. } => {
                self.internal_refused.increment(1);
            }
            Event::Recalled { .. }
            | Event::Doomed { .. }
            | Event::RefusedInside { .. }
            | Event::Moved { .. }
            | Event::NotMoved { .. } => {}
        }
    }
}

/// The modules whose lines these have always been: `log.filter` names them.
mod of {
    pub const WORKER: &str = "dormouse::worker";
    pub const DELIVERY: &str = "dormouse::worker::delivery";
    pub const INTAKE: &str = "dormouse::worker::intake";
    pub const INWARD: &str = "dormouse::worker::inward";
    pub const RETRY: &str = "dormouse::worker::retry";
    pub const UNCARRIED: &str = "dormouse::worker::uncarried";
}

#[derive(Default)]
struct Log {
    /// When it spoke of messages that died, by reason.
    told_of_dead: Mutex<BTreeMap<Reason, Tell>>,
}

impl Log {
    fn note(&self, message: &DelayedMessage, event: Event<'_>) {
        match event {
            Event::AttemptFailed { cause, pause: Some(pause) } => failed(message, cause, pause),
            Event::AttemptFailed { cause, pause: None } | Event::Doomed { cause } => {
                self.doomed(message, cause)
            }
            Event::Recalled { pause } => recalled(message, pause),
            Event::Parked { ours: true, told } => parked(message, told),
            Event::WokeEarly { told: Some(_) } => woke_early(),
            Event::RefusedInside { closed, told } => refused_inside(message, closed, told),
            Event::DlqRefused { names, told: Some(times) } => dlq_refused(&names.dlq(), times),
            Event::Refused { to, problem, told: Some(times) } => {
                refused(message, to, problem, times)
            }
            Event::Kept { closed, told: Some(times) } => kept(message, closed, times),
            Event::Moved { queue, problem, to, told } => moved(message, queue, problem, to, told),
            Event::NotMoved { queue, problem, answer, told: Some(_) } => {
                not_moved(message, queue, problem, answer)
            }
            Event::Planned { .. }
            | Event::TakenIn
            | Event::TakenBack { .. }
            | Event::Parked { .. }
            | Event::WokeEarly { .. }
            | Event::PutBack
            | Event::Released { .. }
            | Event::Delivered { .. }
            | Event::Dead
            | Event::DlqRefused { .. }
            | Event::Refused { .. }
            | Event::Kept { .. }
            | Event::NotMoved { .. } => {}
        }
    }

    /// Of each at debug, of one a minute and reason at info.
    fn doomed(&self, message: &DelayedMessage, Cause { reason, detail }: &Cause) {
        let Stamp { id, attempt, target, .. } = &message.stamp;
        let Target { exchange, routing_key, .. } = target;
        let mut told = self.told_of_dead.lock().expect("no panic while noting a line of the log");
        match told.entry(*reason).or_default().due() {
            Some(times) => info!(
                target: of::WORKER,
                times, id, %reason, attempt, exchange, routing_key, detail, "a message goes to the DLQ"
            ),
            None => debug!(
                target: of::WORKER,
                id, %reason, attempt, exchange, routing_key, detail, "a message goes to the DLQ"
            ),
        }
    }
}

fn failed(message: &DelayedMessage, Cause { reason, detail }: &Cause, pause: Duration) {
    let Stamp { id, attempt, target, .. } = &message.stamp;
    let Target { exchange, routing_key, .. } = target;
    debug!(
        target: of::DELIVERY,
        id, %reason, attempt, ?pause, exchange, routing_key, detail, "delivery failed"
    );
}

fn recalled(message: &DelayedMessage, pause: Duration) {
    let Stamp { id, retry_state, .. } = &message.stamp;
    if let Some(retry_state) = retry_state {
        // the one under way is counted already
        let (queue, retries) = (&retry_state.queue, retry_state.retries.saturating_sub(1));
        debug!(target: of::RETRY, id, queue, retries, ?pause, "to be brought back");
    }
}

fn parked(message: &DelayedMessage, told: Option<u64>) {
    let id = &message.stamp.id;
    debug!(target: of::INTAKE, id, "was parked");
    if let Some(times) = told {
        warn!(
            target: of::INTAKE,
            times, id, "a message was parked: an exchange of ours lacks a binding or a queue"
        );
    }
}

fn woke_early() {
    warn!(
        target: of::DELIVERY,
        "messages wake much too early: a policy shortens TTLs, the levels were changed, or the clock went \
         back; they are planned again (see `dormouse topology verify`)"
    );
}

fn refused_inside(
    message: &DelayedMessage,
    Closed { code, text: answer }: &Closed,
    told: Option<u64>,
) {
    let id = &message.stamp.id;
    match told {
        Some(times) => warn!(
            target: of::INWARD,
            times, id, code, answer, "RabbitMQ refuses a message; it goes to the DLQ"
        ),
        None => debug!(
            target: of::INWARD,
            id, code, answer, "RabbitMQ refuses a message; it goes to the DLQ"
        ),
    }
}

fn dlq_refused(queue: &str, times: u64) {
    warn!(
        target: of::INWARD,
        times,
        queue,
        "the DLQ refuses messages: it is full by a policy or a limit, or unavailable. What is dead sleeps and \
         is tried again; nothing is lost, and other messages are not held up. Raise its limit, or empty it with \
         `dormouse dlq redrive` or `dormouse dlq purge`"
    );
}

fn refused(message: &DelayedMessage, to: InternalQueue, problem: &str, times: u64) {
    warn!(
        target: of::INWARD,
        times,
        id = message.stamp.id,
        ?to,
        "{problem}: publishing again every {PAUSE:?}, and what is behind it waits (see `dormouse topology \
         verify`)"
    );
}

fn kept(message: &DelayedMessage, Closed { code, text: answer }: &Closed, times: u64) {
    let (Stamp { id, target, .. }, bytes) = (&message.stamp, message.body_bytes());
    let Target { exchange, routing_key, .. } = target;
    warn!(
        target: of::INWARD,
        times, id, code, answer, exchange, routing_key, bytes,
        "RabbitMQ takes a message from nobody, not even for the DLQ. It stays unacknowledged in the queue where \
         it is and is tried again, every {KEEP:?} at last: raise the limit that is named here"
    );
}

fn moved(
    message: &DelayedMessage,
    queue: &str,
    problem: &str,
    to: InternalQueue,
    told: Option<u64>,
) {
    let id = &message.stamp.id;
    debug!(target: of::UNCARRIED, id, queue, problem, ?to, "moved");
    if told.is_some() {
        warn!(
            target: of::UNCARRIED,
            id, queue, problem, ?to, "AMQP 0-9-1 cannot carry a message as it is"
        );
    }
}

fn not_moved(message: &DelayedMessage, queue: &str, problem: &str, answer: &str) {
    let id = &message.stamp.id;
    warn!(
        target: of::UNCARRIED,
        id, queue, problem, answer,
        "RabbitMQ takes no replacement for a message that AMQP 0-9-1 cannot carry"
    );
}
