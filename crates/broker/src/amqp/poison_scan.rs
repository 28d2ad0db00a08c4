//! Takes messages that the client library cannot read out of the way: looks through queues with a
//! connection that never decodes what it receives, and replaces each such message by a readable one.
//!
//! RabbitMQ takes names, routing keys and properties as bytes; the client library wants UTF-8 and
//! gives up the whole connection over a delivery that is not. The message is requeued, comes first
//! again, and would end every connection after it.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use lapin::protocol::{AMQPClass, basic, channel};
use lapin::types::FieldTable;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::assembly::{Assembled, Assembly, Problem, out_of_step};
use super::frames::{self, Deliver, Frame};
use super::keeping::{Held, Keeping};
use super::raw::read_method;
use super::replacing::{Replacing, SILENCE, ScanQueue, too_slow};
use super::{AmqpError, Outcome, RawConnection};
use crate::config::Broker;
use crate::message::Message;

/// A look at some queues. What it does not replace goes back when it is closed or dropped, or is kept by
/// [`PoisonScan::keep`].
pub struct PoisonScan<'a> {
    /// Channel `n + 1` consumes queue `n`. Read only as fast as messages are replaced, so that at most
    /// one body for each queue is kept.
    reading: RawConnection,
    queues: Vec<Queue<'a>>,
    found: VecDeque<Unreadable>,
    replacing: Replacing,
    deadline: Instant,
}

/// A queue, and what came from it.
struct Queue<'a> {
    watched: &'a ScanQueue,
    assembly: Assembly,
    /// What was delivered and not removed, and of that what is not to go back.
    unsettled: BTreeSet<u64>,
    kept: BTreeSet<u64>,
    /// RabbitMQ closed its channel: it is not there, or not for us.
    is_gone: bool,
}

/// A message that cannot be read, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it was found: index of the queue.
    pub queue: usize,
    tag: u64,
    /// Why not.
    pub problem: Problem,
    /// The exchange that it was published to.
    pub exchange: Bytes,
    /// Its key there.
    pub routing_key: Bytes,
    /// Flags and values, as in its content header.
    pub properties: Bytes,
    /// Whole.
    pub body: Bytes,
}

/// The tag of each consumer, on its channel.
const CONSUMER: &str = "look";

/// The longest look, in connect timeouts: no message may hold up all others for longer.
const CONNECT_TIMEOUTS: u32 = 3;

impl<'a> PoisonScan<'a> {
    /// Connects and starts to look.
    pub async fn open(broker: &Broker, queues: &'a [ScanQueue]) -> Result<Self, AmqpError> {
        let replacing = Replacing::open(broker).await?;
        let reading = RawConnection::open(broker, "dormouse quarantine").await?;
        let mut this = Self {
            reading,
            queues: queues.iter().map(Queue::new).collect(),
            found: VecDeque::new(),
            replacing,
            deadline: Instant::now() + broker.connect_timeout * CONNECT_TIMEOUTS,
        };
        let deadline = this.deadline;
        timeout_at(deadline, this.start()).await.map_err(|_| too_slow())??;
        Ok(this)
    }

    async fn start(&mut self) -> Result<(), AmqpError> {
        for channel in 1..=self.queues.len() as u16 {
            self.reading.open_channel(channel).await?;
        }
        for index in 0..self.queues.len() {
            let ScanQueue { queue, prefetch } = self.queues[index].watched;
            let qos = basic::Qos { prefetch_count: *prefetch, global: false };
            let consume = basic::Consume {
                queue: queue.as_str().into(),
                consumer_tag: CONSUMER.into(),
                no_local: false,
                no_ack: false,
                exclusive: false,
                nowait: false,
                arguments: FieldTable::default(),
            };
            // answered among the deliveries
            self.call(index, basic::AMQPMethod::Qos(qos)).await?;
            self.call(index, basic::AMQPMethod::Consume(consume)).await?;
        }
        Ok(())
    }

    /// The next message that cannot be read, or nothing once all were looked at, or time is up.
    pub async fn next(&mut self) -> Result<Option<Unreadable>, AmqpError> {
        while self.found.is_empty() {
            let silent = Instant::now() + SILENCE;
            let in_between = self.queues.iter().all(|queue| queue.assembly.is_between_deliveries());
            let end = if in_between { silent.min(self.deadline) } else { self.deadline };
            match timeout_at(end, self.reading.frame()).await {
                Ok(frame) => self.take(frame?).await?,
                Err(_) => return Ok(None),
            }
        }
        Ok(self.found.pop_front())
    }

    /// Publishes `message` in its place, and removes it if that is confirmed and not returned.
    pub async fn replace(
        &mut self,
        original: &Unreadable,
        message: Message,
    ) -> Result<Outcome, AmqpError> {
        let outcome = self.replacing.publish(message, self.deadline).await?;
        if outcome == Outcome::Confirmed {
            let ack = basic::Ack { delivery_tag: original.tag, multiple: false };
            self.queues[original.queue].unsettled.remove(&original.tag);
            self.call(original.queue, basic::AMQPMethod::Ack(ack)).await?;
        }
        Ok(outcome)
    }

    /// Nobody takes a replacement: it is not to go back with the others.
    pub fn refuse(&mut self, original: &Unreadable) {
        self.queues[original.queue].kept.insert(original.tag);
    }

    /// The largest frame that a replacement may need.
    pub fn frame_max_bytes(&self) -> usize {
        self.replacing.frame_max_bytes()
    }

    /// Gives back what was not replaced.
    pub async fn close(self) {
        // one that fails to close is gone, and the broker requeues all the same
        let _ = timeout_at(Instant::now() + SILENCE, self.reading.close()).await;
        self.replacing.close().await;
    }

    /// Gives back what was not replaced, but for what was [refused](PoisonScan::refuse): that would end the
    /// next session too. Nothing, if there is none of that or the broker does not answer.
    pub async fn keep(mut self) -> Option<Keeping> {
        if self.queues.iter().all(|queue| queue.kept.is_empty()) {
            self.close().await;
            return None;
        }
        let end = Instant::now() + SILENCE * 10;
        let kept = timeout_at(end, self.let_go()).await;
        if let Ok(Err(error)) = &kept {
            warn!(name: "scan-not-kept-apart", %error, "what cannot be replaced could not be kept apart");
        }
        let Self { reading, replacing, .. } = self;
        replacing.close().await;
        matches!(kept, Ok(Ok(()))).then(|| Keeping(Held::Raw(Box::new(reading))))
    }

    async fn let_go(&mut self) -> Result<(), AmqpError> {
        let mut waiting = 0usize;
        for index in 0..self.queues.len() {
            if self.queues[index].is_gone {
                continue;
            }
            if self.queues[index].kept.is_empty() {
                let close = channel::Close {
                    reply_code: 200,
                    reply_text: "looked".into(),
                    class_id: 0,
                    method_id: 0,
                };
                let close = AMQPClass::Channel(channel::AMQPMethod::Close(close));
                self.reading.call(index as u16 + 1, close).await?;
            } else {
                let cancel = basic::Cancel { consumer_tag: CONSUMER.into(), nowait: false };
                self.call(index, basic::AMQPMethod::Cancel(cancel)).await?;
                waiting += 1;
            }
        }
        // nothing comes behind the answer
        while waiting > 0 {
            let frame = self.reading.frame().await?;
            let is_cancelled = frame.kind() == frames::METHOD
                && frames::method(&frame.payload()) == Some((60, 31));
            waiting -= usize::from(is_cancelled);
            self.take(frame).await?;
        }
        for index in 0..self.queues.len() {
            let Queue { unsettled, kept, .. } = &self.queues[index];
            // the others went back with their channel
            if kept.is_empty() {
                continue;
            }
            let others: Vec<_> = unsettled.difference(kept).copied().collect();
            for delivery_tag in others {
                let nack = basic::Nack { delivery_tag, multiple: false, requeue: true };
                self.call(index, basic::AMQPMethod::Nack(nack)).await?;
            }
        }
        Ok(())
    }

    /// On the channel of a queue.
    async fn call(&mut self, queue: usize, method: basic::AMQPMethod) -> Result<(), AmqpError> {
        let deadline = self.deadline.max(Instant::now() + SILENCE);
        timeout_at(deadline, self.reading.call(queue as u16 + 1, AMQPClass::Basic(method)))
            .await
            .map_err(|_| too_slow())?
    }

    async fn take(&mut self, frame: Frame) -> Result<(), AmqpError> {
        let Some(index) = usize::from(frame.channel()).checked_sub(1) else { return Ok(()) };
        if frame.kind() == frames::METHOD {
            match frames::method(&frame.payload()) {
                Some(Deliver::METHOD) => {}
                Some((20, 40)) => return self.refused(index, &frame).await,
                // consume-ok and the like
                _ => return Ok(()),
            }
        }
        let frame_max_bytes = self.reading.frame_max_bytes();
        let queue = self.queues.get_mut(index).ok_or_else(out_of_step)?;
        let Some(Assembled { deliver, unreadable }) =
            queue.assembly.take(&frame, frame_max_bytes)?
        else {
            return Ok(());
        };
        let Deliver { tag, exchange, routing_key } = deliver;
        queue.unsettled.insert(tag);
        if let Some((problem, properties, body)) = unreadable {
            let queue = index;
            self.found.push_back(Unreadable {
                queue,
                tag,
                problem,
                exchange,
                routing_key,
                properties,
                body,
            });
        }
        Ok(())
    }

    /// The broker closed the channel of a queue: it is not there, or not for us.
    async fn refused(&mut self, index: usize, frame: &Frame) -> Result<(), AmqpError> {
        let AMQPClass::Channel(channel::AMQPMethod::Close(close)) = read_method(frame)? else {
            return Err(out_of_step());
        };
        let queue = self.queues.get_mut(index).ok_or_else(out_of_step)?;
        queue.is_gone = true;
        let queue = &queue.watched.queue;
        match close.reply_code {
            404 => debug!(queue, "not there, so not looked through"),
            code => {
                warn!(name: "scan-queue-not-looked-through", queue, code, answer = %close.reply_text, "cannot be looked through")
            }
        }
        let close_ok = channel::AMQPMethod::CloseOk(channel::CloseOk {});
        self.reading.call(frame.channel(), AMQPClass::Channel(close_ok)).await
    }
}

impl<'a> Queue<'a> {
    fn new(watched: &'a ScanQueue) -> Self {
        Self {
            watched,
            assembly: Assembly::default(),
            unsettled: BTreeSet::new(),
            kept: BTreeSet::new(),
            is_gone: false,
        }
    }
}
