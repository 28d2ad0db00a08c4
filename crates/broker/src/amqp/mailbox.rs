//! A queue for one connection: nobody else reads it, and it is gone with the connection, however that ends.

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};

use super::consuming::ConsumingChannel;
use super::declare::table;
use super::properties::from_client;
use super::{AmqpError, Connection};
use crate::message::Message;
use crate::topology::{Argument, Arguments};

/// An exclusive queue with its one consumer. What it is sent is taken for handled.
pub struct Mailbox {
    /// Dropped, it would close with the consumer.
    _channel: ConsumingChannel,
    consumer: lapin::Consumer,
}

impl Mailbox {
    /// Declares the queue and consumes it.
    ///
    /// Errors: the user may not declare or read a queue of this name (403), or there is one (405).
    pub async fn open(connection: &Connection, queue: &str) -> Result<Self, AmqpError> {
        let channel = ConsumingChannel::open(connection).await?;
        let options =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let classic = Arguments::from([("x-queue-type", Argument::Text("classic".into()))]);
        channel.queue_declare(queue.into(), options, table(&classic)).await?;
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..Default::default() };
        let consumer = channel.basic_consume(queue.into(), "".into(), options, <_>::default());
        Ok(Self { consumer: consumer.await?, _channel: channel })
    }

    /// The next message that comes.
    ///
    /// Errors: the connection is lost.
    pub async fn next(&mut self) -> Result<Message, AmqpError> {
        match self.consumer.next().await {
            Some(Ok(delivery)) => Ok(Message {
                exchange: delivery.exchange.to_string(),
                routing_key: delivery.routing_key.to_string(),
                properties: from_client(&delivery.properties, |_| true),
                body: delivery.data.into(),
            }),
            Some(Err(error)) => Err(error.into()),
            None => Err(AmqpError::Lost("its queue was deleted".into())),
        }
    }
}
