//! What the log says of messages.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use dormouse_core::control;
use tracing::{debug, info, warn};

use super::event::Event;
use crate::amqp::Closed;
use crate::schedule::{Cause, DelayedMessage, Reason, Stamp, Target, UnixMs};
use crate::worker::in_flight::{InternalQueue, KEEP, PAUSE};
use crate::worker::tell::Tell;

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
pub(super) struct Log {
    /// When it spoke of messages that died, by reason.
    told_of_dead: Mutex<BTreeMap<Reason, Tell>>,
}

impl Log {
    pub fn note(&self, message: &DelayedMessage, event: Event<'_>) {
        match event {
            Event::AttemptFailed { cause, pause: Some(pause), .. } => failed(message, cause, pause),
            Event::AttemptFailed { cause, pause: None, .. } | Event::Doomed { cause } => {
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
            Event::Dropped { cause } => dropped(message, cause),
            Event::Rescheduled { until } => rescheduled(message, until),
            Event::Waits { wait, told: Some(times) } => waits(message, wait, times),
            Event::Moved { queue, problem, to, told } => moved(message, queue, problem, to, told),
            Event::NotMoved { queue, problem, answer, told: Some(_) } => {
                not_moved(message, queue, problem, answer)
            }
            Event::Planned { .. }
            | Event::BroughtForward { .. }
            | Event::TakenIn { .. }
            | Event::TakenBack { .. }
            | Event::Parked { .. }
            | Event::WokeEarly { .. }
            | Event::PutBack
            | Event::Released { .. }
            | Event::Waits { .. }
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
                name: "message-doomed",
                target: of::WORKER,
                times, id, %reason, attempt, exchange, routing_key, detail, "a message goes to the DLQ"
            ),
            None => debug!(
                name: "message-doomed",
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
        name: "message-attempt-failed",
        target: of::DELIVERY,
        id, %reason, attempt, ?pause, exchange, routing_key, detail, "delivery failed"
    );
}

fn recalled(message: &DelayedMessage, pause: Duration) {
    let Stamp { id, retry_state, .. } = &message.stamp;
    if let Some(retry_state) = retry_state {
        // the one under way is counted already
        let (queue, retries) = (&retry_state.queue, retry_state.retries.saturating_sub(1));
        debug!(name: "message-recalled", target: of::RETRY, id, queue, retries, ?pause, "to be brought back");
    }
}

fn parked(message: &DelayedMessage, told: Option<u64>) {
    let id = &message.stamp.id;
    debug!(name: "message-parked", target: of::INTAKE, id, "was parked");
    if let Some(times) = told {
        warn!(
            name: "message-parked",
            target: of::INTAKE,
            times, id, "a message was parked: an exchange of ours lacks a binding or a queue"
        );
    }
}

fn woke_early() {
    warn!(
        name: "message-woke-early",
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
            name: "message-refused-inside",
            target: of::INWARD,
            times, id, code, answer, "RabbitMQ refuses a message; it goes to the DLQ"
        ),
        None => debug!(
            name: "message-refused-inside",
            target: of::INWARD,
            id, code, answer, "RabbitMQ refuses a message; it goes to the DLQ"
        ),
    }
}

fn dlq_refused(queue: &str, times: u64) {
    warn!(
        name: "dlq-refuses",
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
        name: "message-publish-refused",
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
        name: "message-kept",
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
    debug!(name: "message-moved", target: of::UNCARRIED, id, queue, problem, ?to, "moved");
    if told.is_some() {
        warn!(
            name: "message-moved",
            target: of::UNCARRIED,
            id, queue, problem, ?to, "AMQP 0-9-1 cannot carry a message as it is"
        );
    }
}

fn not_moved(message: &DelayedMessage, queue: &str, problem: &str, answer: &str) {
    let id = &message.stamp.id;
    warn!(
        name: "message-not-moved",
        target: of::UNCARRIED,
        id, queue, problem, answer,
        "RabbitMQ takes no replacement for a message that AMQP 0-9-1 cannot carry"
    );
}

fn dropped(message: &DelayedMessage, cause: control::Cause) {
    let Stamp { id, key, .. } = &message.stamp;
    let key = key.as_ref().map(|key| key.key.as_str());
    debug!(name: "message-dropped", target: of::DELIVERY, id, key, cause = cause.as_str(), "a message is dropped");
}

fn rescheduled(message: &DelayedMessage, until: UnixMs) {
    let Stamp { id, key, .. } = &message.stamp;
    let key = key.as_ref().map(|key| key.key.as_str());
    debug!(name: "message-rescheduled", target: of::DELIVERY, id, key, until = until.0, "a message was rescheduled, and sleeps again");
}

fn waits(message: &DelayedMessage, wait: control::Wait, times: u64) {
    let Stamp { id, key, .. } = &message.stamp;
    let (key, log) = key.as_ref().map(|key| (key.key.as_str(), key.log)).unzip();
    let why = match wait {
        control::Wait::Blind(blindness) => blindness.to_string(),
        control::Wait::OtherLog => format!(
            "it was taken in with the log {:016x}, which is gone with its cancels: `dormouse log accept` lets it go",
            log.unwrap_or(0)
        ),
        control::Wait::Fence => "no fence comes back through the command queue".to_owned(),
    };
    warn!(name: "message-waits", target: of::DELIVERY, times, id, key, why, "messages with a key are due, and wait");
}
