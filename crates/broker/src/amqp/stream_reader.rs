//! Reads a stream in order, from the first message that is left of it or from another.
//!
//! RabbitMQ asks for a prefetch and for acks, and gives a stream no single active consumer:
//! <https://www.rabbitmq.com/docs/streams#consuming>. Acks only let more come; nothing is removed by them.
//!
//! Nothing can be removed from a stream, and whoever may publish to queues may publish to this one what the client
//! library cannot read, or RabbitMQ cannot hand to AMQP 0-9-1. That ends the connection, so the reader has one of
//! its own, and goes on behind that message with another: it is none that we wrote.

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, LongString};
use tokio::task::JoinSet;
use tracing::warn;

use super::connection::lost;
use super::consuming::ConsumingChannel;
use super::inspector::depth;
use super::{AmqpError, Connection};
use crate::config::Broker;
use crate::message::{Value, as_integer};

/// A consumer of a stream.
pub struct StreamReader {
    broker: Broker,
    name: String,
    stream: String,
    reading: Reading,
    /// The next one, behind a message that ended this one.
    opening: JoinSet<Result<Reading, AmqpError>>,
    /// Of the message after the last one; none before the first.
    next_offset: Option<i64>,
    /// Messages passed over since the last one that could be read.
    passed_over: i64,
}

/// One connection.
struct Reading {
    connection: Connection,
    channel: ConsumingChannel,
    consumer: lapin::Consumer,
    /// Read since the last ack, and the newest of them.
    unacked: u16,
    newest_tag: u64,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStart {
    /// At the first message that is left.
    First,
    /// At the message with this offset; if that is gone, at the first one that is left. A stream that has not come so
    /// far, as it was deleted and declared again, gives nothing until it has.
    Offset(i64),
    /// At the last ones: those that RabbitMQ has stored together.
    Last,
}

/// A message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamMessage {
    /// Where it stands: later ones have larger numbers, with holes.
    pub offset: Option<i64>,
    /// The exchange that it came through: empty if somebody published straight to the queue.
    pub exchange: String,
    /// As it was published.
    pub body: Bytes,
}

/// Deliveries on their way at once. With 200, 8 to 14 million entries of 40 bytes were read in a second, 500 in
/// a message.
const PREFETCH: u16 = 200;
/// So many are acked together.
const ACKED_TOGETHER: u16 = PREFETCH / 4;
/// So many in a row that cannot be read are no accident, and something else is wrong.
const MOST_PASSED_OVER: i64 = 1_000;
/// Where a message stands in its stream.
const OFFSET: &str = "x-stream-offset";

impl StreamReader {
    /// Connects, and begins at the first message that is left. `name` is what the management UI shows.
    ///
    /// Errors: there is no such stream (404), it has no replica on this node (406), or the broker is gone.
    pub async fn open(broker: &Broker, name: &str, stream: &str) -> Result<Self, AmqpError> {
        Self::open_at(broker, name, stream, StreamStart::First).await
    }

    /// Connects, and begins there.
    ///
    /// Errors: as [`StreamReader::open`].
    pub async fn open_at(
        broker: &Broker,
        name: &str,
        stream: &str,
        start: StreamStart,
    ) -> Result<Self, AmqpError> {
        Ok(Self {
            reading: Reading::open(broker, name, stream, start).await?,
            opening: JoinSet::new(),
            broker: broker.clone(),
            name: name.to_owned(),
            stream: stream.to_owned(),
            next_offset: match start {
                StreamStart::Offset(offset) => Some(offset),
                StreamStart::First | StreamStart::Last => None,
            },
            passed_over: 0,
        })
    }

    /// The next message. Cancel safe.
    ///
    /// Errors: the connection is gone, or the stream is.
    pub async fn next(&mut self) -> Result<StreamMessage, AmqpError> {
        loop {
            if let Some(opened) = self.opening.join_next().await {
                self.reading = opened.map_err(lost)??;
            }
            let error = match self.reading.next().await {
                Ok(message) => {
                    self.next_offset = message.offset.map(|offset| offset + 1).or(self.next_offset);
                    self.passed_over = 0;
                    return Ok(message);
                }
                Err(error) => self.reading.because(error).await,
            };
            let is_poison = error.may_be_a_delivery() || error.may_be_amqp10();
            if !is_poison || self.passed_over == MOST_PASSED_OVER {
                return Err(error);
            }
            self.pass_over(&error);
        }
    }

    /// Goes on behind the message that ended the connection. A stream's offsets have holes, and what is in front of
    /// the next message that is there is begun at.
    fn pass_over(&mut self, error: &AmqpError) {
        self.passed_over += 1;
        let from = self.next_offset.unwrap_or(0) + self.passed_over;
        if self.passed_over == 1 {
            warn!(name: "stream-message-unreadable", %error, stream = self.stream, from, "somebody published what cannot be read; passing over it");
        }
        let (broker, name, stream) = (self.broker.clone(), self.name.clone(), self.stream.clone());
        // a task, so that whoever gives up waiting for it finds it done later
        self.opening.spawn(async move {
            Reading::open(&broker, &name, &stream, StreamStart::Offset(from)).await
        });
    }

    /// The next message, and with it what is here already, `most` in all. Cancel safe.
    ///
    /// Errors: as [`StreamReader::next`].
    pub async fn next_together(&mut self, most: usize) -> Result<Vec<StreamMessage>, AmqpError> {
        let mut together = vec![self.next().await?];
        while together.len() < most
            && let Some(Ok(message)) = self.next().now_or_never()
        {
            together.push(message);
        }
        Ok(together)
    }

    /// Whether the stream is there and RabbitMQ answers: then what has not come by now was not there yet when it was
    /// asked.
    ///
    /// Errors: the stream is gone (404), or the connection.
    pub async fn ask(&self) -> Result<(), AmqpError> {
        let asked = depth(&self.reading.channel, &self.stream).await;
        match asked.map_err(AmqpError::from) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.reading.because(error).await),
        }
    }

    /// Closes in order.
    pub async fn close(self) {
        self.reading.connection.close().await;
    }
}

impl Reading {
    async fn open(
        broker: &Broker,
        name: &str,
        stream: &str,
        start: StreamStart,
    ) -> Result<Self, AmqpError> {
        let connection = Connection::open(broker, name).await?;
        let channel = ConsumingChannel::open(&connection).await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let offset = match start {
            StreamStart::First => LongString::from("first").into(),
            StreamStart::Offset(offset) => Value::LongLongInt(offset),
            StreamStart::Last => LongString::from("last").into(),
        };
        let mut arguments = FieldTable::default();
        arguments.insert(OFFSET.into(), offset);
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(stream.into(), "".into(), options, arguments).await?;
        Ok(Self { connection, channel, consumer, unacked: 0, newest_tag: 0 })
    }

    async fn next(&mut self) -> Result<StreamMessage, AmqpError> {
        if self.unacked >= ACKED_TOGETHER {
            self.unacked = 0;
            let options = BasicAckOptions { multiple: true };
            self.channel.basic_ack(self.newest_tag, options).await?;
        }
        let Some(delivery) = self.consumer.next().await else {
            return Err(AmqpError::Lost("RabbitMQ ended the consumer of a stream".into()));
        };
        let delivery = delivery?;
        self.unacked += 1;
        self.newest_tag = delivery.delivery_tag;
        let headers = delivery.properties.headers().as_ref();
        let offset = headers.and_then(|headers| headers.inner().get(OFFSET)).and_then(as_integer);
        let exchange = delivery.exchange.to_string();
        Ok(StreamMessage { offset, exchange, body: delivery.data.into() })
    }

    /// The consumer notices the end of the connection first, but only the connection knows why.
    async fn because(&self, error: AmqpError) -> AmqpError {
        if self.connection.is_open() { error } else { self.connection.lost().await }
    }
}
