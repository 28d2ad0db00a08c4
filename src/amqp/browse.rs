//! Looks through a queue message by message without consuming it: each is taken with `basic.get` and
//! no ack, and all that are not removed on purpose go back in one step.
//!
//! <https://www.rabbitmq.com/docs/confirms#consumer-nacks-requeue>: RabbitMQ puts returned messages
//! back where they were if it can. Quorum queues put them, in their order, before all others, so one
//! look at a time keeps the order; two looks at the same time may exchange what they held.

use std::collections::BTreeSet;

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, QueueDeclareOptions, QueuePurgeOptions,
};

use super::properties::from_client;
use super::{AmqpError, Connection};
use crate::message::Message;

/// A look at one queue, on a channel of its own. Dropping it gives everything back, too.
pub struct Browse {
    channel: lapin::Channel,
    queue: String,
    ready: u32,
    /// Delivery tags count from 1, so it is also how many were taken.
    last_tag: u64,
    held: BTreeSet<u64>,
}

/// A message that is held until it is removed or given back.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub tag: u64,
    pub message: Message,
}

impl Browse {
    /// Nothing if the queue does not exist.
    pub async fn open(connection: &Connection, queue: &str) -> Result<Option<Self>, AmqpError> {
        let channel = connection.channel().await?;
        match depth(&channel, queue).await {
            Ok(ready) => Ok(Some(Self {
                channel,
                queue: queue.to_owned(),
                ready,
                last_tag: 0,
                held: BTreeSet::new(),
            })),
            Err(AmqpError::Closed { code: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Messages ready when the look began. What arrives later is not looked at, so a look ends.
    pub fn ready(&self) -> u32 {
        self.ready
    }

    /// The next message of those that were ready, from the head of the queue.
    pub async fn next(&mut self) -> Result<Option<Seen>, AmqpError> {
        if self.looked_at() >= u64::from(self.ready) {
            return Ok(None);
        }
        let got = self
            .channel
            .basic_get(self.queue.as_str().into(), BasicGetOptions { no_ack: false })
            .await?;
        let Some(lapin::message::BasicGetMessage { delivery, .. }) = got else { return Ok(None) };
        self.last_tag = delivery.delivery_tag;
        self.held.insert(delivery.delivery_tag);
        let message = Message {
            exchange: delivery.exchange.into(),
            routing_key: delivery.routing_key.into(),
            properties: from_client(&delivery.properties),
            body: delivery.data.into(),
        };
        Ok(Some(Seen { tag: delivery.delivery_tag, message }))
    }

    /// Messages taken so far, removed ones included.
    pub fn looked_at(&self) -> u64 {
        self.last_tag
    }

    /// Removes a message for good.
    pub async fn remove(&mut self, tag: u64) -> Result<(), AmqpError> {
        self.held.remove(&tag);
        Ok(self.channel.basic_ack(tag, BasicAckOptions::default()).await?)
    }

    /// Empties the queue of all that is ready, and says how many that were.
    pub async fn purge(&mut self) -> Result<u32, AmqpError> {
        let queue = self.queue.as_str().into();
        Ok(self.channel.queue_purge(queue, QueuePurgeOptions::default()).await?)
    }

    /// Puts back all that is held, and waits until the queue has it.
    pub async fn give_back(self) -> Result<(), AmqpError> {
        if let Some(last) = self.held.last() {
            let all = BasicNackOptions { multiple: true, requeue: true };
            self.channel.basic_nack(*last, all).await?;
        }
        // answered by the queue itself, after what was sent to it before
        depth(&self.channel, &self.queue).await?;
        // a channel that fails to close is gone with its connection
        let _ = self.channel.close(200, "looked".into()).await;
        Ok(())
    }
}

async fn depth(channel: &lapin::Channel, queue: &str) -> Result<u32, AmqpError> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    Ok(channel.queue_declare(queue.into(), options, <_>::default()).await?.message_count())
}
