//! Publishes into queues of ours, which always exist and never refuse for good: so it does not give
//! up, and the delivery it replaces is acked only after the confirm.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::Shared;
use crate::amqp::{AmqpError, Connection, Outcome, Publisher};
use crate::message::Message;
use crate::schedule::Sleeper;

/// A message to put into a queue of ours, in place of delivery `tag`.
#[derive(Debug)]
pub struct Errand {
    pub sleeper: Sleeper,
    pub tag: u64,
    pub to: To,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// The level queues, or straight to due: whatever is left of its delay asks for.
    Levels,
    /// The wait queue, out of a full hold.
    Wait,
    Dlq,
}

/// Pause before a refused publish is made again. A refusal means an alarm, a missing majority or a
/// policy of the operator's; none of them heals faster.
const PAUSE: Duration = Duration::from_secs(1);

/// An errand under way.
pub struct Sent {
    errand: Errand,
    at: Instant,
}

/// A publish into the levels that is confirmed so late may have entered them late: on a connection
/// that stalled, or into a queue that had no leader. Its TTLs were planned for then.
const LATE: Duration = Duration::from_secs(1);

/// What enters the levels waits this long for company: publishes, confirms and acks that travel together
/// cost the broker and the worker less. Nothing is late for it, as its delay counts already.
const GATHER: Duration = Duration::from_millis(20);
/// So many are company enough.
const GATHERED: usize = 64;
/// With less than this left of its delay, a message does not wait.
const SHORT: Duration = Duration::from_millis(100);

pub struct Inward {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    publisher: Publisher<Sent>,
    /// Those that wait for company, the first of them since `gathered_since`.
    gathered: Vec<Errand>,
    gathered_since: Option<Instant>,
    /// Refused ones, in order of when to publish them again.
    paused: VecDeque<(Instant, Errand)>,
}

impl Inward {
    pub async fn open(
        shared: Arc<Shared>,
        connection: &Arc<Connection>,
    ) -> Result<Self, AmqpError> {
        Ok(Self {
            shared,
            connection: connection.clone(),
            publisher: connection.publisher().await?,
            gathered: Vec::new(),
            gathered_since: None,
            paused: VecDeque::new(),
        })
    }

    /// Publishes it, at once or soon with others.
    pub fn send(&mut self, errand: Errand) {
        let at_once = errand.to != To::Levels || self.shared.left(&errand.sleeper) < SHORT;
        if at_once && !self.connection.is_blocked() {
            return self.publish(errand);
        }
        self.gathered_since.get_or_insert_with(Instant::now);
        self.gathered.push(errand);
        if self.gathered.len() >= GATHERED {
            self.publish_gathered();
        }
    }

    /// While an alarm blocks the connection, what is published waits in the client library: it would go
    /// out by a plan of long ago, and even when this session is over and its delivery with somebody else.
    fn publish_gathered(&mut self) {
        if self.connection.is_blocked() {
            self.gathered_since = Some(Instant::now());
            return;
        }
        self.gathered_since = None;
        for errand in std::mem::take(&mut self.gathered) {
            self.publish(errand);
        }
    }

    /// Plans by what is left of the delay now, and publishes.
    fn publish(&mut self, errand: Errand) {
        let message = self.shared.entering(&errand.sleeper, errand.to);
        self.publisher.publish(message, Sent { errand, at: Instant::now() });
    }

    /// Sends it after a pause.
    pub fn send_later(&mut self, errand: Errand) {
        self.paused.push_back((Instant::now() + PAUSE, errand));
    }

    /// The errands that are done: confirmed by a queue of ours. Cancel safe.
    ///
    /// Errors: the channel is gone, and with it this session.
    pub async fn settled(&mut self) -> Result<Vec<Errand>, AmqpError> {
        loop {
            let gathered = self.gathered_since.map(|since| since + GATHER);
            let again = self.paused.front().map(|(at, _)| *at);
            let until = |at: Option<Instant>| sleep_until(at.unwrap_or_else(Instant::now));
            let settled = tokio::select! {
                settled = self.publisher.settled() => settled,
                () = until(gathered), if gathered.is_some() => {
                    self.publish_gathered();
                    continue;
                }
                () = until(again), if again.is_some() => {
                    if let Some((_, errand)) = self.paused.pop_front() {
                        self.send(errand);
                    }
                    continue;
                }
            };
            let done = self.sort(settled)?;
            if !done.is_empty() {
                return Ok(done);
            }
        }
    }

    fn sort(&mut self, settled: Vec<(Sent, Outcome)>) -> Result<Vec<Errand>, AmqpError> {
        let mut done = Vec::with_capacity(settled.len());
        for (Sent { errand, at }, outcome) in settled {
            match outcome {
                Outcome::Confirmed => {
                    if errand.to == To::Levels && at.elapsed() > LATE {
                        self.shared.may_be_late.notify_one();
                    }
                    done.push(errand);
                }
                Outcome::Nacked => self.refused(errand, "a queue of ours rejected it"),
                Outcome::Returned { .. } => {
                    self.shared.heal.notify_one();
                    self.refused(errand, "no queue of ours is bound for it");
                }
                Outcome::Unknown(closed) => {
                    return Err(AmqpError::Closed { code: closed.code, text: closed.text });
                }
            }
        }
        Ok(done)
    }

    fn refused(&mut self, errand: Errand, problem: &str) {
        warn!(id = errand.sleeper.stamp.id, to = ?errand.to, "{problem}: publishing again in {PAUSE:?}");
        self.shared.metrics.internal_refused.increment(1);
        self.send_later(errand);
    }

    /// Sent and without a confirm yet.
    pub fn outstanding(&self) -> usize {
        self.gathered.len() + self.publisher.len()
    }
}

impl Shared {
    /// What is left of its delay.
    fn left(&self, sleeper: &Sleeper) -> Duration {
        sleeper.stamp.wake_at().since(self.clock.now())
    }

    /// Counts a message that entered the levels or the DLQ for the first time, or again.
    pub(super) fn count(&self, sleeper: &Sleeper, to: To) {
        match (to, &sleeper.stamp.failure, &sleeper.stamp.comeback) {
            (To::Dlq, Some(failure), _) => self.metrics.dead_lettered(failure.reason),
            (_, _, Some(comeback)) => {
                let policy = self.policies.of_queue(&comeback.queue);
                self.metrics.retried(&policy.name, 1);
            }
            (_, _, None) => self.metrics.scheduled.increment(1),
        }
    }

    /// The message that puts it there, planned by what is left of its delay.
    pub(super) fn entering(&self, sleeper: &Sleeper, to: To) -> Message {
        let Shared { layout, names, .. } = self;
        match to {
            To::Levels => {
                let plan = layout.plan(self.left(sleeper));
                self.metrics.hops.record(plan.hops);
                names.entering(layout, plan, sleeper)
            }
            To::Wait => sleeper.asleep(&names.wait(), std::iter::empty()),
            To::Dlq => sleeper.dead(&names.dlq(), self.frame_max_bytes),
        }
    }
}
