//! Manual-ack consumers on one channel, whose deliveries come as one stream.

use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};

use super::acks::Acks;
use super::properties::from_client;
use super::{AmqpError, Connection};
use crate::message::Message;

/// One channel with one or more consumers. Prefetch bounds what is unacknowledged for each.
pub struct Consumer {
    channel: lapin::Channel,
    tags: Vec<String>,
    deliveries: SelectAll<BoxStream<'static, Result<Delivered, AmqpError>>>,
    acks: Acks,
}

/// A message from a queue, to be settled by its tag.
#[derive(Debug)]
pub struct Delivered {
    pub tag: u64,
    /// Which of the consumed queues, in the order of [`Consumer::consume`].
    pub queue: usize,
    pub redelivered: bool,
    pub message: Message,
}

impl Consumer {
    pub async fn open(connection: &Connection) -> Result<Self, AmqpError> {
        let channel = connection.channel().await?;
        Ok(Self { channel, tags: Vec::new(), deliveries: SelectAll::new(), acks: Acks::default() })
    }

    /// Starts to consume `queue`, with at most `prefetch` deliveries unacknowledged.
    pub async fn consume(&mut self, queue: &str, prefetch: u16) -> Result<(), AmqpError> {
        // per consumer, for those started after it: <https://www.rabbitmq.com/docs/consumer-prefetch>
        self.channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let index = self.tags.len();
        let consumer = self
            .channel
            .basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), <_>::default())
            .await?;
        self.tags.push(consumer.tag().to_string());
        let delivered = move |delivery: lapin::Result<lapin::message::Delivery>| {
            let delivery = delivery?;
            Ok(Delivered {
                tag: delivery.delivery_tag,
                queue: index,
                redelivered: delivery.redelivered,
                message: Message {
                    exchange: delivery.exchange.into(),
                    routing_key: delivery.routing_key.into(),
                    properties: from_client(&delivery.properties),
                    body: delivery.data.into(),
                },
            })
        };
        self.deliveries.push(consumer.map(delivered).boxed());
        Ok(())
    }

    /// The next delivery; an error once a consumer is cancelled or the channel is closed.
    pub async fn next(&mut self) -> Result<Delivered, AmqpError> {
        match self.deliveries.next().await {
            Some(delivered) => delivered,
            None => Err(AmqpError::Lost(
                "the broker cancelled the consumer (was its queue deleted?)".into(),
            )),
        }
    }

    /// Marks a delivery as settled. It is acked with the next [`Consumer::flush`].
    pub fn settle(&mut self, tag: u64) {
        self.acks.settle(tag);
    }

    /// Sends the acks of all that was settled, as few as possible.
    pub async fn flush(&mut self) -> Result<(), AmqpError> {
        if self.acks.is_empty() {
            return Ok(());
        }
        let acks = self.acks.take().into_iter();
        let sent = acks
            .map(|ack| self.channel.basic_ack(ack.tag, BasicAckOptions { multiple: ack.multiple }));
        futures_util::future::try_join_all(sent).await?;
        Ok(())
    }

    /// Stops deliveries; what is unacknowledged can still be settled.
    pub async fn cancel(&mut self) -> Result<(), AmqpError> {
        for tag in std::mem::take(&mut self.tags) {
            self.channel.basic_cancel(tag.into(), <_>::default()).await?;
        }
        Ok(())
    }
}
