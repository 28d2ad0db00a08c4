//! Takes messages that the client library cannot read out of the way: looks through queues with a
//! connection that never decodes what it receives, and replaces each such message by a readable one.
//!
//! RabbitMQ takes names, routing keys and properties as bytes; the client library wants UTF-8 and
//! gives up the whole connection over a delivery that is not. The message is requeued, comes first
//! again, and would end every connection after it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lapin::protocol::{AMQPClass, basic, channel};
use lapin::types::FieldTable;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::amqp10::link::Link;
use super::frames::{self, ContentHeader, Deliver, Frame};
use super::raw::{is_readable, read_method};
use super::{AmqpError, Connection, Outcome, Publisher, RawConnection};
use crate::config::Broker;
use crate::message::Message;

/// A queue to look through: its first `prefetch` messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    pub queue: String,
    pub prefetch: u16,
}

/// A look at some queues. What it does not replace goes back when it is closed or dropped, or is kept by
/// [`Quarantine::keep`].
pub struct Quarantine<'a> {
    queues: &'a [Watched],
    /// Channel `n + 1` consumes queue `n`. Read only as fast as messages are replaced, so that at most
    /// one body for each queue is kept.
    reading: RawConnection,
    under_way: Vec<Option<UnderWay>>,
    found: VecDeque<Unreadable>,
    /// What each queue delivered and was not removed, and of that what is not to go back.
    unsettled: Vec<BTreeSet<u64>>,
    kept: Vec<BTreeSet<u64>>,
    /// Queues whose channel RabbitMQ closed: not there, or not for us.
    gone: BTreeSet<usize>,
    replacing: Replacing,
    deadline: Instant,
}

/// Publishes replacements one by one. A refusal costs a channel, and not the ones behind it.
pub struct Replacing {
    connection: Connection,
    publisher: Publisher<()>,
}

/// Holds messages unacknowledged until it is dropped, while [`Keeping::hold`] runs.
pub struct Keeping(pub(super) Held);

pub(super) enum Held {
    /// Without heartbeats.
    Raw(Box<RawConnection>),
    Link(Box<Link>),
}

/// Well within what RabbitMQ lets an AMQP 1.0 connection be silent.
const BEAT: Duration = Duration::from_secs(10);

impl Keeping {
    /// Holds them for so long, and gives them back.
    pub async fn hold(self, time: Duration) {
        let end = Instant::now() + time;
        match self.0 {
            Held::Raw(_held) => tokio::time::sleep_until(end).await,
            Held::Link(mut link) => {
                while Instant::now() < end && link.beat().await.is_ok() {
                    tokio::time::sleep(BEAT).await;
                }
            }
        }
    }
}

/// A message that cannot be read, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it was found: index of the queue.
    pub queue: usize,
    tag: u64,
    pub problem: Problem,
    pub exchange: Bytes,
    pub routing_key: Bytes,
    /// Flags and values, as in its content header.
    pub properties: Bytes,
    pub body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The exchange's name or the routing key.
    RoutingKey,
    /// A property, or the name of a header.
    Properties,
    /// Its content header does not fit the frame size that was agreed on.
    LargerThanFrame,
}

/// A delivery of which some frames have arrived.
struct UnderWay {
    deliver: Deliver,
    problem: Option<Problem>,
    header: Option<ContentHeader>,
    received_bytes: u64,
    /// Filled only if there is a problem.
    body: BytesMut,
}

/// The tag of each consumer, on its channel.
const CONSUMER: &str = "look";

/// Nothing arrives for so long: the look is over. A broker requeues the deliveries of a connection
/// that was just lost within less.
pub(super) const SILENCE: Duration = Duration::from_millis(500);

/// The longest look, in connect timeouts: no message may hold up all others for longer.
const CONNECT_TIMEOUTS: u32 = 3;

impl<'a> Quarantine<'a> {
    /// Connects and starts to look.
    pub async fn open(broker: &Broker, queues: &'a [Watched]) -> Result<Self, AmqpError> {
        let replacing = Replacing::open(broker).await?;
        let reading = RawConnection::open(broker, "dormouse quarantine").await?;
        let mut this = Self {
            queues,
            reading,
            under_way: queues.iter().map(|_| None).collect(),
            found: VecDeque::new(),
            unsettled: vec![BTreeSet::new(); queues.len()],
            kept: vec![BTreeSet::new(); queues.len()],
            gone: BTreeSet::new(),
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
        for (index, Watched { queue, prefetch }) in self.queues.iter().enumerate() {
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
            let in_between = self.under_way.iter().all(Option::is_none);
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
            self.unsettled[original.queue].remove(&original.tag);
            self.call(original.queue, basic::AMQPMethod::Ack(ack)).await?;
        }
        Ok(outcome)
    }

    /// Nobody takes a replacement: it is not to go back with the others.
    pub fn refuse(&mut self, original: &Unreadable) {
        self.kept[original.queue].insert(original.tag);
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

    /// Gives back what was not replaced, but for what was [refused](Quarantine::refuse): that would end the
    /// next session too. Nothing, if there is none of that or the broker does not answer.
    pub async fn keep(mut self) -> Option<Keeping> {
        if self.kept.iter().all(BTreeSet::is_empty) {
            self.close().await;
            return None;
        }
        let end = Instant::now() + SILENCE * 10;
        let kept = timeout_at(end, self.let_go()).await;
        if let Ok(Err(error)) = &kept {
            warn!(%error, "what cannot be replaced could not be kept apart");
        }
        let Self { reading, replacing, .. } = self;
        replacing.close().await;
        matches!(kept, Ok(Ok(()))).then(|| Keeping(Held::Raw(Box::new(reading))))
    }

    async fn let_go(&mut self) -> Result<(), AmqpError> {
        let mut waiting = 0usize;
        for index in 0..self.queues.len() {
            if self.gone.contains(&index) {
                continue;
            }
            if self.kept[index].is_empty() {
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
            if self.kept[index].is_empty() {
                continue;
            }
            let others: Vec<_> =
                self.unsettled[index].difference(&self.kept[index]).copied().collect();
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
        match frame.kind() {
            frames::METHOD => match frames::method(&frame.payload()) {
                Some(Deliver::METHOD) => self.begin(index, &frame)?,
                Some((20, 40)) => self.refused(index, &frame).await?,
                // consume-ok and the like
                _ => {}
            },
            frames::HEADER => self.header(index, &frame)?,
            frames::BODY => self.body(index, &frame),
            _ => {}
        }
        self.complete(index);
        Ok(())
    }

    fn begin(&mut self, index: usize, frame: &Frame) -> Result<(), AmqpError> {
        let deliver = Deliver::read(&frame.payload()).ok_or_else(out_of_step)?;
        let problem = (!is_readable(frame)).then_some(Problem::RoutingKey);
        let body = BytesMut::new();
        let under_way = self.under_way.get_mut(index).ok_or_else(out_of_step)?;
        *under_way = Some(UnderWay { deliver, problem, header: None, received_bytes: 0, body });
        Ok(())
    }

    fn header(&mut self, index: usize, frame: &Frame) -> Result<(), AmqpError> {
        let Some(Some(under_way)) = self.under_way.get_mut(index) else { return Ok(()) };
        under_way.header = Some(ContentHeader::read(&frame.payload()).ok_or_else(out_of_step)?);
        let problem = if frame.bytes().len() > self.reading.frame_max_bytes() {
            Some(Problem::LargerThanFrame)
        } else {
            (!is_readable(frame)).then_some(Problem::Properties)
        };
        under_way.problem = under_way.problem.or(problem);
        Ok(())
    }

    fn body(&mut self, index: usize, frame: &Frame) {
        let Some(Some(under_way)) = self.under_way.get_mut(index) else { return };
        let part = frame.payload();
        under_way.received_bytes += part.len() as u64;
        if under_way.problem.is_some() {
            under_way.body.extend_from_slice(&part);
        }
    }

    /// Ends a delivery whose body is whole: kept if there is a problem, forgotten if not.
    fn complete(&mut self, queue: usize) {
        let Some(slot) = self.under_way.get_mut(queue) else { return };
        let whole = |delivery: &mut UnderWay| {
            delivery
                .header
                .as_ref()
                .is_some_and(|header| delivery.received_bytes >= header.body_bytes)
        };
        let Some(UnderWay { deliver, problem, header, body, .. }) = slot.take_if(whole) else {
            return;
        };
        let Deliver { tag, exchange, routing_key } = deliver;
        self.unsettled[queue].insert(tag);
        let (Some(problem), Some(header)) = (problem, header) else { return };
        let (properties, body) = (header.properties, body.freeze());
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

    /// The broker closed the channel of a queue: it is not there, or not for us.
    async fn refused(&mut self, index: usize, frame: &Frame) -> Result<(), AmqpError> {
        let AMQPClass::Channel(channel::AMQPMethod::Close(close)) = read_method(frame)? else {
            return Err(out_of_step());
        };
        let queue = self.queues.get(index).map_or("?", |watched| &watched.queue);
        match close.reply_code {
            404 => debug!(queue, "not there, so not looked through"),
            code => warn!(queue, code, answer = %close.reply_text, "cannot be looked through"),
        }
        self.gone.insert(index);
        let close_ok = channel::AMQPMethod::CloseOk(channel::CloseOk {});
        self.reading.call(frame.channel(), AMQPClass::Channel(close_ok)).await
    }
}

impl Replacing {
    pub async fn open(broker: &Broker) -> Result<Self, AmqpError> {
        let connection = Connection::open(broker, "dormouse quarantine publish").await?;
        let publisher = connection.publisher().await?;
        Ok(Self { connection, publisher })
    }

    pub fn frame_max_bytes(&self) -> usize {
        self.connection.frame_max_bytes()
    }

    /// Publishes, and says what became of it.
    ///
    /// Errors: the connection is gone, or the broker did not answer in time.
    pub(super) async fn publish(
        &mut self,
        message: Message,
        deadline: Instant,
    ) -> Result<Outcome, AmqpError> {
        self.publisher.publish(message, ());
        let settled = timeout_at(deadline, self.publisher.settled()).await;
        let outcome = settled.map_err(|_| too_slow())?.into_iter().next();
        let ((), outcome) = outcome.ok_or_else(too_slow)?;
        match &outcome {
            Outcome::Confirmed | Outcome::Returned { .. } => {}
            // on 3.10 a channel that was refused stays refused
            Outcome::Nacked | Outcome::Unknown(_) => {
                self.publisher = self.connection.publisher().await?;
            }
        }
        Ok(outcome)
    }

    pub async fn close(self) {
        self.connection.close().await;
    }
}

fn too_slow() -> AmqpError {
    AmqpError::Lost("the broker did not answer in time".into())
}

fn out_of_step() -> AmqpError {
    AmqpError::Lost("the broker's frames are out of step".into())
}
