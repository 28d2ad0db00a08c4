//! Publishes into queues of ours, and does not give up: the delivery that a publish replaces is acked only
//! after the confirm. Three things can go wrong, and each concerns as few messages as it can:
//!
//! - A queue refuses (nack): the publish is made again after a pause, on a new channel. What the DLQ
//!   refuses sleeps in the levels meanwhile, so that nothing else waits behind it.
//! - RabbitMQ closes the channel over a message: [`Isolating`] finds that one, and it goes to the DLQ.
//! - RabbitMQ does not take it for the DLQ either: it is *kept*, unacknowledged in the queue where it is,
//!   and given back once in a while to be tried again, and as soon as another as large was taken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::KeptMessage;
use super::Shared;
use super::tell::Tell;
use crate::amqp::{AmqpError, Closed, Connection, Consumer, Isolating, Outcome};
use crate::message::Message;
use crate::schedule::{Reason, Sleeper};

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

/// What is dead sleeps for so long at least and at most before the DLQ is asked again.
pub(super) const DLQ_AGAIN: (Duration, Duration) =
    (Duration::from_secs(4), Duration::from_secs(300));

/// What nobody takes goes back to its queue after so long at most, and is tried again: well within RabbitMQ's
/// `consumer_timeout` of 30 minutes, which would close the channel.
pub(super) const KEEP: Duration = Duration::from_secs(300);
/// At first, and after a limit was raised, it goes back sooner, and each time after twice as long: on a channel
/// that was opened before it is refused by the old limit still.
const KEEP_AT_FIRST: Duration = Duration::from_secs(15);

/// A delivery that is kept.
struct KeptDelivery {
    since: Instant,
    tag: u64,
    /// In what the parts of the session keep together.
    number: u64,
}

/// An errand under way.
pub struct Sent {
    errand: Errand,
    at: Instant,
    /// On a channel that was opened for it, or for those before it.
    alone: bool,
}

impl Sent {
    fn now(errand: Errand, alone: bool) -> Self {
        Self { errand, at: Instant::now(), alone }
    }
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
    publisher: Isolating<Sent>,
    /// Those that wait for company, the first of them since `gathered_since`.
    gathered: Vec<Errand>,
    gathered_since: Option<Instant>,
    /// Refused ones, in order of when to publish them again.
    paused: VecDeque<(Instant, Errand)>,
    /// Deliveries to keep, once the consumer knows of it.
    to_keep: Vec<(u64, KeptMessage)>,
    /// Deliveries that are kept, in order.
    kept: VecDeque<KeptDelivery>,
    /// Tells when a limit was raised, and what is kept may go on.
    limit_raised: watch::Receiver<()>,
    /// All that is kept is to be tried again.
    gives_back: bool,
    /// What is kept goes back after so long.
    keep_for: Duration,
    told_of_refusals: Tell,
    told_of_isolated: Tell,
    told_of_kept: Tell,
}

impl Inward {
    pub async fn open(
        shared: Arc<Shared>,
        connection: &Arc<Connection>,
    ) -> Result<Self, AmqpError> {
        Ok(Self {
            limit_raised: shared.limit_raised.subscribe(),
            shared,
            connection: connection.clone(),
            publisher: Isolating::open(connection.clone()).await?,
            gathered: Vec::new(),
            gathered_since: None,
            paused: VecDeque::new(),
            to_keep: Vec::new(),
            kept: VecDeque::new(),
            gives_back: false,
            keep_for: KEEP_AT_FIRST,
            told_of_refusals: Tell::default(),
            told_of_isolated: Tell::default(),
            told_of_kept: Tell::default(),
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
        if self.shared.is_too_large(&errand.sleeper) {
            return self.publisher.publish_alone(Sent::now(errand, true));
        }
        let message = self.shared.entering(&errand.sleeper, errand.to);
        self.publisher.publish(message, Sent::now(errand, false));
    }

    /// Sends it after a pause.
    pub fn send_later(&mut self, errand: Errand) {
        self.paused.push_back((Instant::now() + PAUSE, errand));
    }

    /// The errands that are done: confirmed by a queue of ours. There may be none. Cancel safe. The
    /// caller then calls [`Inward::mend`].
    pub async fn settled(&mut self) -> Vec<Errand> {
        loop {
            let gathered = self.gathered_since.map(|since| since + GATHER);
            let again = self.paused.front().map(|(at, _)| *at);
            let back = self.kept.front().map(|kept| kept.since + self.keep_for);
            let keeps = !self.kept.is_empty();
            let until = |at: Option<Instant>| sleep_until(at.unwrap_or_else(Instant::now));
            tokio::select! {
                settled = self.publisher.settled() => return self.sort(settled),
                () = until(gathered), if gathered.is_some() => self.publish_gathered(),
                () = until(again), if again.is_some() => {
                    if let Some((_, errand)) = self.paused.pop_front() {
                        self.send(errand);
                    }
                }
                () = until(back), if back.is_some() => return Vec::new(),
                Ok(()) = self.limit_raised.changed(), if keeps => {
                    self.gives_back = true;
                    return Vec::new();
                }
            }
        }
    }

    /// Opens anew channels that were closed, and gives back what was kept long enough. `consumer` is where
    /// the errands' deliveries came from.
    ///
    /// Errors: the connection is gone, and with it this session.
    pub async fn mend(&mut self, consumer: &mut Consumer) -> Result<(), AmqpError> {
        let shared = &self.shared;
        let render = |Sent { errand, .. }: &mut Sent| shared.entering(&errand.sleeper, errand.to);
        self.publisher.mend(render).await?;
        for (tag, mut message) in self.to_keep.drain(..) {
            message.queue = consumer.keep(tag).unwrap_or_default().to_owned();
            let number = self.shared.kept().add(message);
            self.kept.push_back(KeptDelivery { since: Instant::now(), tag, number });
        }
        let before = self.kept.len();
        while let Some(KeptDelivery { since, tag, number }) = self.kept.front()
            && (self.gives_back || since.elapsed() >= self.keep_for)
        {
            self.shared.kept().remove(*number);
            consumer.requeue(*tag).await?;
            self.kept.pop_front();
        }
        if std::mem::take(&mut self.gives_back) {
            self.keep_for = KEEP_AT_FIRST;
        } else if self.kept.len() < before {
            self.keep_for = (self.keep_for * 2).min(KEEP);
        }
        Ok(())
    }

    fn sort(&mut self, settled: Vec<(Sent, Outcome)>) -> Vec<Errand> {
        let mut done = Vec::with_capacity(settled.len());
        for (Sent { errand, at, alone }, outcome) in settled {
            match outcome {
                Outcome::Confirmed => {
                    self.shared.took(&errand.sleeper);
                    match errand.to {
                        To::Levels if at.elapsed() > LATE => self.shared.may_be_late.notify_one(),
                        To::Dlq => self.shared.dlq_refuses.no_more(),
                        To::Levels | To::Wait => {}
                    }
                    done.push(errand);
                }
                Outcome::Nacked if errand.to == To::Dlq => self.sleep_before_the_dlq(errand),
                Outcome::Nacked => self.refused(errand, "a queue of ours rejected it"),
                Outcome::Returned { .. } => {
                    self.shared.heal.notify_one();
                    self.refused(errand, "no queue of ours is bound for it");
                }
                Outcome::Unknown(closed) => self.closed_over(errand, alone, &closed),
            }
        }
        done
    }

    /// It makes room for what does not go to the DLQ, and survives this worker.
    fn sleep_before_the_dlq(&mut self, mut errand: Errand) {
        self.shared.metrics.internal_refused.increment(1);
        self.shared.dlq_refuses.seen(self.shared.clock.now());
        let reason = errand.sleeper.stamp.failure.as_ref().map(|failure| failure.reason);
        if reason == Some(Reason::RefusedInside) {
            return self.send_later(errand); // the levels do not take it either
        }
        self.shared.put_off(&mut errand.sleeper);
        errand.to = To::Levels;
        if let Some(times) = self.told_of_refusals.due() {
            warn!(
                times,
                queue = self.shared.names.dlq(),
                "the DLQ refuses messages: it is full by a policy or a limit, or unavailable. What is dead \
                 sleeps and is tried again; nothing is lost, and other messages are not held up. Raise its \
                 limit, or empty it with `dormouse dlq redrive` or `dormouse dlq purge`"
            );
        }
        self.send(errand);
    }

    /// RabbitMQ closed the channel over this one.
    fn closed_over(&mut self, mut errand: Errand, alone: bool, closed: &Closed) {
        let Closed { code, text } = closed;
        let id = &errand.sleeper.stamp.id;
        match (code, errand.to) {
            (404, _) => {
                self.shared.heal.notify_one();
                self.refused(errand, text);
            }
            // the channel went for another reason, or the user may not write there
            (0 | 403, _) => self.refused(errand, text),
            // 3.10 reads the limit when a channel is opened: it may be higher by now
            (_, To::Levels | To::Wait) if !alone && is_about_size(text) => {
                self.publisher.publish_alone(Sent::now(errand, true));
            }
            (_, To::Levels | To::Wait) => {
                match self.told_of_isolated.due() {
                    Some(times) => {
                        warn!(
                            times,
                            id,
                            code,
                            answer = text,
                            "RabbitMQ refuses a message; it goes to the DLQ"
                        );
                    }
                    None => {
                        debug!(
                            id,
                            code,
                            answer = text,
                            "RabbitMQ refuses a message; it goes to the DLQ"
                        );
                    }
                }
                self.shared.note_size(&errand.sleeper, text);
                let (detail, now) = (closed.refused_inside(), self.shared.clock.now());
                errand.sleeper.fail(Reason::RefusedInside, detail, now);
                errand.sleeper.wake_for_dlq();
                errand.to = To::Dlq;
                self.publisher.publish_alone(Sent::now(errand, true));
            }
            (_, To::Dlq) => self.keep(errand, closed),
        }
    }

    /// Nobody can publish it on this broker, so it stays where it is.
    fn keep(&mut self, errand: Errand, Closed { code, text }: &Closed) {
        self.shared.note_size(&errand.sleeper, text);
        self.shared.metrics.internal_refused.increment(1);
        let message = KeptMessage::of(&errand.sleeper, text);
        if let Some(times) = self.told_of_kept.due() {
            let KeptMessage { id, exchange, routing_key, bytes, .. } = &message;
            warn!(
                times,
                id,
                code,
                answer = text,
                exchange,
                routing_key,
                bytes,
                "RabbitMQ takes a message from nobody, not even for the DLQ. It stays unacknowledged in the \
                 queue where it is and is tried again, every {KEEP:?} at last: raise the limit that is named here"
            );
        }
        self.to_keep.push((errand.tag, message));
    }

    fn refused(&mut self, errand: Errand, problem: &str) {
        self.shared.metrics.internal_refused.increment(1);
        self.shared.inside_refuses.seen(self.shared.clock.now());
        if let Some(times) = self.told_of_refusals.due() {
            warn!(
                times,
                id = errand.sleeper.stamp.id,
                to = ?errand.to,
                "{problem}: publishing again every {PAUSE:?}, and what is behind it waits (see `dormouse \
                 topology verify`)"
            );
        }
        self.send_later(errand);
    }

    /// Sent and without a confirm yet.
    pub fn outstanding(&self) -> usize {
        self.gathered.len() + self.publisher.len()
    }
}

/// What this part of a session kept goes back to its queue.
impl Drop for Inward {
    fn drop(&mut self) {
        self.kept.iter().for_each(|kept| self.shared.kept().remove(kept.number));
    }
}

impl Shared {
    /// Whether RabbitMQ has refused as large a one.
    pub(super) fn is_too_large(&self, sleeper: &Sleeper) -> bool {
        sleeper.body_bytes() >= self.too_large_bytes.load(Relaxed)
    }

    /// Puts a dead one off until the DLQ may have room: through a level, so that it takes no place in the hold.
    pub(super) fn put_off(&self, sleeper: &mut Sleeper) {
        let least = DLQ_AGAIN.0.max(self.layout.unit() * 2);
        let most = DLQ_AGAIN.1.min(self.config.topology.max_delay);
        sleeper.wait_for_dlq(self.clock.now(), (least, most.max(least)), fastrand::f64());
    }

    /// The limit was raised, if it was in the way.
    fn took(&self, sleeper: &Sleeper) {
        if self.is_too_large(sleeper) {
            self.too_large_bytes.store(usize::MAX, Relaxed);
            self.limit_raised.send_replace(());
        }
    }

    /// Notes the size, if that is what RabbitMQ refused it for: others as large go alone from now on.
    pub(super) fn note_size(&self, sleeper: &Sleeper, answer: &str) {
        if is_about_size(answer) {
            self.too_large_bytes.fetch_min(sleeper.body_bytes(), Relaxed);
        }
    }

    /// What is left of its delay.
    fn left(&self, sleeper: &Sleeper) -> Duration {
        sleeper.stamp.wake_at().since(self.clock.now())
    }

    /// Counts a message that entered the levels or the DLQ for the first time, or again.
    pub(super) fn count(&self, sleeper: &Sleeper, to: To) {
        if sleeper.stamp.waits_for_dlq {
            return;
        }
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

/// "message size 2000000 is larger than configured max size 1000000" of `rabbit_channel:check_msg_size/3`.
fn is_about_size(answer: &str) -> bool {
    answer.contains("message size")
}
