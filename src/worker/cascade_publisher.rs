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
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::events::Event;
use super::in_flight::{InFlight, InternalPublish, InternalQueue, Next, PAUSE};
use super::kept_deliveries::KeptDeliveries;
use super::size_limit::is_about_size;
use super::tell::Tell;
use super::{KeptMessage, Shared};
use crate::amqp::{AmqpError, Closed, Connection, Consumer, Isolating, Outcome};
use crate::schedule::{DelayedMessage, Reason};

/// A publish under way.
pub struct Sent {
    publish: InternalPublish,
    at: Instant,
    /// On a channel that was opened for it, or for those before it.
    alone: bool,
}

impl Sent {
    fn now(publish: InternalPublish, alone: bool) -> Self {
        Self { publish, at: Instant::now(), alone }
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

pub struct CascadePublisher {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    publisher: Isolating<Sent>,
    /// Those that wait for company, the first of them since `gathered_since`.
    gathered: Vec<InternalPublish>,
    gathered_since: Option<Instant>,
    /// Refused ones, in order of when to publish them again.
    paused: VecDeque<(Instant, InternalPublish)>,
    kept: KeptDeliveries,
    told_of_refusals: Tell,
    told_of_isolated: Tell,
    told_of_kept: Tell,
}

impl CascadePublisher {
    pub async fn open(
        shared: Arc<Shared>,
        connection: &Arc<Connection>,
    ) -> Result<Self, AmqpError> {
        Ok(Self {
            kept: KeptDeliveries::new(shared.clone()),
            shared,
            connection: connection.clone(),
            publisher: Isolating::open(connection.clone()).await?,
            gathered: Vec::new(),
            gathered_since: None,
            paused: VecDeque::new(),
            told_of_refusals: Tell::default(),
            told_of_isolated: Tell::default(),
            told_of_kept: Tell::default(),
        })
    }

    /// Publishes it, at once or soon with others.
    pub fn send(&mut self, publish: InternalPublish) {
        let InternalPublish { from, to } = &publish;
        let at_once = *to != InternalQueue::Levels || self.left(&from.message) < SHORT;
        if at_once && !self.connection.is_blocked() {
            return self.publish(publish);
        }
        self.gathered_since.get_or_insert_with(Instant::now);
        self.gathered.push(publish);
        if self.gathered.len() >= GATHERED {
            self.publish_gathered();
        }
    }

    /// What is left of its delay.
    fn left(&self, message: &DelayedMessage) -> Duration {
        message.stamp.wake_at().since(self.shared.clock.now())
    }

    /// While an alarm blocks the connection, what is published waits in the client library: it would go
    /// out by a plan of long ago, and even when this session is over and its delivery with somebody else.
    fn publish_gathered(&mut self) {
        if self.connection.is_blocked() {
            self.gathered_since = Some(Instant::now());
            return;
        }
        self.gathered_since = None;
        for publish in std::mem::take(&mut self.gathered) {
            self.publish(publish);
        }
    }

    /// Plans by what is left of the delay now, and publishes.
    fn publish(&mut self, publish: InternalPublish) {
        let InternalPublish { from, to } = &publish;
        if self.shared.size_limit.is_below(&from.message) {
            return self.publisher.publish_alone(Sent::now(publish, true));
        }
        let message = self.shared.dispatch.entering(&from.message, *to);
        self.publisher.publish(message, Sent::now(publish, false));
    }

    /// Sends it after a pause.
    pub fn send_later(&mut self, publish: InternalPublish) {
        self.paused.push_back((Instant::now() + PAUSE, publish));
    }

    /// The publishes that are done: confirmed by a queue of ours. There may be none. Cancel safe. The
    /// caller then calls [`CascadePublisher::mend`].
    pub async fn settled(&mut self) -> Vec<InternalPublish> {
        loop {
            let gathered = self.gathered_since.map(|since| since + GATHER);
            let again = self.paused.front().map(|(at, _)| *at);
            let until = |at: Option<Instant>| sleep_until(at.unwrap_or_else(Instant::now));
            tokio::select! {
                settled = self.publisher.settled() => return self.sort(settled),
                () = until(gathered), if gathered.is_some() => self.publish_gathered(),
                () = until(again), if again.is_some() => {
                    if let Some((_, publish)) = self.paused.pop_front() {
                        self.send(publish);
                    }
                }
                () = self.kept.due() => return Vec::new(),
            }
        }
    }

    /// Opens anew channels that were closed, and gives back what was kept long enough. `consumer` is where
    /// the deliveries came from.
    ///
    /// Errors: the connection is gone, and with it this session.
    pub async fn mend(&mut self, consumer: &mut Consumer) -> Result<(), AmqpError> {
        let dispatch = &self.shared.dispatch;
        let render = |Sent { publish: InternalPublish { from, to }, .. }: &mut Sent| {
            dispatch.entering(&from.message, *to)
        };
        self.publisher.mend(render).await?;
        self.kept.tend(consumer).await
    }

    fn sort(&mut self, settled: Vec<(Sent, Outcome)>) -> Vec<InternalPublish> {
        let mut done = Vec::with_capacity(settled.len());
        for (Sent { publish, at, alone }, outcome) in settled {
            match Next::of(&outcome, publish.to) {
                Next::Done => {
                    self.note_taken(&publish, at);
                    done.push(publish);
                }
                Next::Again { problem, hole } => self.refused(publish, problem, hole),
                Next::Sleep => self.sleep_before_the_dlq(publish),
                Next::Dlq(closed) => self.closed_over(publish, alone, closed),
                Next::Keep(closed) => self.keep(publish, closed),
            }
        }
        done
    }

    fn note_taken(&self, InternalPublish { from, to }: &InternalPublish, sent_at: Instant) {
        self.shared.size_limit.took(&from.message);
        match to {
            InternalQueue::Levels if sent_at.elapsed() > LATE => {
                self.shared.signals.may_be_late.notify_one();
            }
            InternalQueue::Dlq => self.shared.refusals.dlq.no_more(),
            InternalQueue::Levels | InternalQueue::Wait => {}
        }
    }

    /// It makes room for what does not go to the DLQ, and survives this worker.
    fn sleep_before_the_dlq(&mut self, mut publish: InternalPublish) {
        let message = &mut publish.from.message;
        self.shared.refusals.dlq.seen(self.shared.clock.now());
        let sleeps = self.shared.dispatch.put_off(message);
        let told = if sleeps { self.told_of_refusals.due() } else { None };
        let names = self.shared.names();
        self.shared.events().note(message, Event::DlqRefused { names, told });
        if !sleeps {
            return self.send_later(publish);
        }
        publish.to = InternalQueue::Levels;
        self.send(publish);
    }

    /// RabbitMQ closed the channel over this one.
    fn closed_over(&mut self, mut publish: InternalPublish, alone: bool, closed: &Closed) {
        let message = &mut publish.from.message;
        // 3.10 reads the limit when a channel is opened: it may be higher by now
        let may_pass = !alone && is_about_size(&closed.text);
        if !may_pass {
            let told = self.told_of_isolated.due();
            self.shared.events().note(message, Event::RefusedInside { closed, told });
            self.shared.size_limit.refused(message, &closed.text);
            let now = self.shared.clock.now();
            message.fail(Reason::RefusedInside, closed.refused_inside(), now);
            message.wake_for_dlq();
            publish.to = InternalQueue::Dlq;
        }
        self.publisher.publish_alone(Sent::now(publish, true));
    }

    /// Nobody can publish it on this broker, so it stays where it is.
    fn keep(&mut self, publish: InternalPublish, closed: &Closed) {
        let InternalPublish { from: InFlight { tag, message }, .. } = &publish;
        self.shared.size_limit.refused(message, &closed.text);
        let told = self.told_of_kept.due();
        self.shared.events().note(message, Event::Kept { closed, told });
        self.kept.keep(*tag, KeptMessage::of(message, &closed.text));
    }

    /// A queue of ours refused it, or could not be reached.
    fn refused(&mut self, publish: InternalPublish, problem: &str, hole: bool) {
        if hole {
            self.shared.signals.heal.notify_one();
        }
        self.shared.refusals.inside.seen(self.shared.clock.now());
        let InternalPublish { from, to } = &publish;
        let told = self.told_of_refusals.due();
        let message = &from.message;
        self.shared.events().note(message, Event::Refused { to: *to, problem, told });
        self.send_later(publish);
    }

    /// Sent and without a confirm yet.
    pub fn outstanding(&self) -> usize {
        self.gathered.len() + self.publisher.len()
    }
}
