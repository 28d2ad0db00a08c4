//! Takes what sleeps out of queues and puts it to sleep in the current layout, until the same due time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::{Clock, RateLimiter};
use crate::amqp::{AmqpError, Closed, Connection, Consumer, Delivered, Isolating, Outcome};
use crate::cascade::Cascade;
use crate::config::Config;
use crate::message::Message;
use crate::schedule::delayed_message::unstamped;
use crate::schedule::{DelayedMessage, Reason, UnixMs};

/// Pause before a refused publish is made again.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a stop waits for confirms.
const GRACE: Duration = Duration::from_secs(5);

/// Messages on their way from one queue to another.
pub struct Mover {
    way: Way,
    consumer: Consumer,
    publisher: Isolating<Moved>,
    pace: RateLimiter,
    /// When the next delivery may be taken.
    turn: Instant,
    /// Refused ones, in order of when to publish them again.
    later: VecDeque<(Instant, Moved)>,
    unsettled: usize,
    last_delivery: Instant,
    taken: u64,
    moved: u64,
    to_dlq: u64,
    dropped: u64,
    late: bool,
    wanted: Option<Wanted>,
    found: Option<Moved>,
    told: Option<Told>,
    reader: Reader,
    stayed: u64,
}

/// Whether a message is the one that somebody looks for.
pub type Wanted = Box<dyn Fn(&DelayedMessage) -> bool + Send>;

/// What a message is that was taken out of a queue.
pub enum Read {
    /// It sleeps on, by its stamp.
    Moves(Box<DelayedMessage>),
    /// It has no stamp: it goes to the DLQ.
    Dead(Box<DelayedMessage>),
    /// It is acked where it was.
    Dropped,
    /// It is not acked, and goes back when the move stops.
    Stays,
}

/// Reads messages. With the moment.
pub type Reader = Box<dyn FnMut(Message, UnixMs) -> Read + Send>;

/// Reads what a queue of ours holds.
pub fn stamped(message: Message, now: UnixMs) -> Read {
    match DelayedMessage::read(message) {
        Ok(delayed) => Read::Moves(Box::new(delayed)),
        Err((fault, message)) => {
            let id = Uuid::now_v7().to_string();
            Read::Dead(Box::new(unstamped(message, &fault, id, now)))
        }
    }
}

/// Hears of each message that is taken.
pub type Told = Box<dyn FnMut(&DelayedMessage) + Send>;

/// How fast to move.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Messages a second; 0 is no limit.
    pub rate: u32,
    /// Deliveries in flight over all queues: enough to keep the broker busy, few enough to forget.
    pub window: usize,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Confirmed by the current layout and acked where it was.
    pub moved: u64,
    /// Of these, messages that went to the DLQ: without a stamp, or refused by RabbitMQ elsewhere.
    pub to_dlq: u64,
    /// Not confirmed in time: they go back to their queue, and may be in both.
    pub unconfirmed: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum MoverError {
    #[error(transparent)]
    Amqp(#[from] AmqpError),
    /// What was not moved stays where it was.
    #[error("a part of the current layout is missing")]
    Incomplete,
}

/// A message on its way, in place of delivery `tag`.
struct Moved {
    delayed: DelayedMessage,
    tag: u64,
    at: Instant,
    /// It has no stamp, or RabbitMQ refused it for the levels.
    to_dlq: bool,
}

/// Where messages go.
struct Way {
    cascade: Cascade,
    clock: Clock,
    frame_max_bytes: usize,
}

impl Way {
    /// Planned by what is left of the delay now.
    fn message(&self, Moved { delayed, to_dlq, .. }: &Moved) -> Message {
        if *to_dlq {
            return self.cascade.to_dlq(delayed, self.frame_max_bytes);
        }
        self.cascade.enter(delayed, self.clock.now()).message
    }
}

/// A move that is confirmed so late may have been planned for another moment: see `worker/cascade_publisher.rs`.
const LATE: Duration = Duration::from_secs(1);

impl Mover {
    pub async fn start(
        config: &Config,
        clock: Clock,
        connections: (&Connection, &Arc<Connection>),
        queues: &[String],
        speed: Speed,
    ) -> Result<Self, AmqpError> {
        let (consuming, publishing) = connections;
        let mut consumer = Consumer::open(consuming).await?;
        let prefetch = (speed.window / queues.len().max(1)).clamp(1, 500);
        for queue in queues {
            consumer.consume(queue, prefetch as u16).await?;
        }
        Ok(Self {
            way: Way {
                cascade: Cascade::of(config),
                clock,
                frame_max_bytes: publishing.frame_max_bytes(),
            },
            consumer,
            publisher: Isolating::open(publishing.clone()).await?,
            pace: RateLimiter::new(speed.rate),
            turn: Instant::now(),
            later: VecDeque::new(),
            unsettled: 0,
            last_delivery: Instant::now(),
            taken: 0,
            moved: 0,
            to_dlq: 0,
            dropped: 0,
            late: false,
            wanted: None,
            found: None,
            told: None,
            reader: Box::new(stamped),
            stayed: 0,
        })
    }

    /// Tells of each message that it takes and can read.
    pub fn tell(&mut self, told: Told) {
        self.told = Some(told);
    }

    /// Reads messages in another way than as those of our queues.
    pub fn read_with(&mut self, reader: Reader) {
        self.reader = reader;
    }

    /// Keeps back the first message that is wanted, and takes no more then but what is on its way.
    pub fn look_for(&mut self, wanted: Wanted) {
        self.wanted = Some(wanted);
    }

    /// What is kept back.
    pub fn found(&self) -> Option<&DelayedMessage> {
        self.found.as_ref().map(|found| &found.delayed)
    }

    /// Puts back what it has found, as it is by then, and looks for no more.
    pub fn let_go(&mut self, change: impl FnOnce(&mut DelayedMessage)) {
        self.wanted = None;
        if let Some(mut found) = self.found.take() {
            change(&mut found.delayed);
            self.send(found);
        }
    }

    /// Taken, and not confirmed where they go.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Moves messages for this long, or until `stop`. Not cancel safe: acks that were not sent would be lost.
    pub async fn work(
        &mut self,
        time: Duration,
        stop: &CancellationToken,
    ) -> Result<(), MoverError> {
        let end = Instant::now() + time;
        // what was dropped waits for no confirm
        self.consumer.flush().await?;
        loop {
            let again = self.later.front().map(|(at, _)| *at);
            let next = async {
                tokio::time::sleep_until(self.turn.into()).await;
                self.consumer.next().await
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep_until(end.into()) => return Ok(()),
                settled = self.publisher.settled() => self.settle(settled).await?,
                () = tokio::time::sleep_until(again.unwrap_or(end).into()), if again.is_some() => {
                    if let Some((_, moved)) = self.later.pop_front() {
                        self.send(moved);
                    }
                }
                delivered = next => {
                    self.take(delivered?);
                    if self.found.is_some() {
                        // what is on its way is put back as it comes
                        self.consumer.cancel().await?;
                    }
                }
            }
        }
    }

    /// Taken so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Confirmed so far.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Judged not to go on, so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Not to be moved, so far.
    pub fn stayed(&self) -> u64 {
        self.stayed
    }

    /// Something may have entered its level late.
    pub fn was_late(&self) -> bool {
        self.late
    }

    /// Nothing is in flight, and nothing has come for this long.
    pub fn is_quiet_for(&self, time: Duration) -> bool {
        self.unsettled == 0 && self.last_delivery.elapsed() >= time
    }

    /// Takes no more, and settles what is in flight.
    pub async fn stop(mut self) -> Result<Stopped, MoverError> {
        self.consumer.cancel().await?;
        let end = Instant::now() + GRACE;
        while !self.publisher.is_empty() {
            tokio::select! {
                settled = self.publisher.settled() => self.settle(settled).await?,
                () = tokio::time::sleep_until(end.into()) => break,
            }
        }
        let stopped =
            Stopped { moved: self.moved, to_dlq: self.to_dlq, unconfirmed: self.publisher.len() };
        // the channels close as they are dropped, and give back what was sent and not taken
        self.consumer.finish().await?;
        Ok(stopped)
    }

    fn take(&mut self, Delivered { tag, message, .. }: Delivered) {
        let now = Instant::now();
        self.turn = now + self.pace.take(now);
        self.unsettled += 1;
        self.taken += 1;
        self.last_delivery = now;
        let (delayed, to_dlq) = match (self.reader)(message, self.way.clock.now()) {
            Read::Moves(delayed) => {
                self.told.iter_mut().for_each(|told| told(&delayed));
                (*delayed, false)
            }
            Read::Dead(delayed) => (*delayed, true),
            Read::Dropped => {
                self.unsettled -= 1;
                self.dropped += 1;
                return self.consumer.settle(tag);
            }
            Read::Stays => {
                self.unsettled -= 1;
                self.stayed += 1;
                return;
            }
        };
        let moved = Moved { delayed, tag, to_dlq, at: now };
        let is_wanted = |wanted: &Wanted| wanted(&moved.delayed);
        if self.found.is_none() && !to_dlq && self.wanted.as_ref().is_some_and(is_wanted) {
            self.found = Some(moved);
        } else {
            self.send(moved);
        }
    }

    fn send(&mut self, mut moved: Moved) {
        moved.at = Instant::now();
        let message = self.way.message(&moved);
        self.publisher.publish(message, moved);
    }

    async fn settle(&mut self, settled: Vec<(Moved, Outcome)>) -> Result<(), MoverError> {
        for (moved, outcome) in settled {
            match outcome {
                Outcome::Confirmed => {
                    self.unsettled -= 1;
                    self.moved += 1;
                    self.late |= moved.at.elapsed() > LATE;
                    self.to_dlq += u64::from(moved.to_dlq);
                    self.consumer.settle(moved.tag);
                }
                Outcome::Nacked => self.later.push_back((Instant::now() + PAUSE, moved)),
                Outcome::Returned { .. } => return Err(MoverError::Incomplete),
                Outcome::Unknown(closed) => self.closed_over(moved, closed)?,
            }
        }
        let way = &self.way;
        self.publisher.mend(|moved| way.message(moved)).await?;
        Ok(self.consumer.flush().await?)
    }

    /// RabbitMQ refuses this one message. It goes to the DLQ, or stays where it is until the move stops.
    fn closed_over(&mut self, mut moved: Moved, closed: Closed) -> Result<(), MoverError> {
        let Closed { code, text } = &closed;
        match *code {
            404 => return Err(MoverError::Incomplete),
            code @ 403 => return Err(AmqpError::Closed { code, text: text.clone() }.into()),
            0 => self.later.push_back((Instant::now() + PAUSE, moved)),
            _ if moved.to_dlq => {
                let id = &moved.delayed.stamp.id;
                warn!(name: "mover-message-refused", id, code, answer = text, "a message stays where it is: RabbitMQ refuses it");
                self.unsettled -= 1;
            }
            _ => {
                let (detail, now) = (closed.refused_inside(), self.way.clock.now());
                moved.delayed.fail(Reason::RefusedInside, detail, now);
                moved.delayed.wake_for_dlq();
                moved.to_dlq = true;
                self.publisher.publish_alone(moved);
            }
        }
        Ok(())
    }
}
