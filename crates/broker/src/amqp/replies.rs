//! What is replied to a channel's publishes, without a queue of its own.

use std::task::{Context, Poll};

use futures_util::StreamExt;
use lapin::options::BasicConsumeOptions;

use super::AmqpError;
use super::properties::from_client;
use crate::message::{DIRECT_REPLY_TO, Message};

/// A consumer of the channel that publishes, as RabbitMQ demands.
pub struct Replies {
    /// None once the channel is gone.
    consumer: Option<lapin::Consumer>,
    here: Vec<Message>,
}

impl Replies {
    pub async fn consume(channel: &lapin::Channel) -> Result<Self, AmqpError> {
        // RabbitMQ takes no acks for replies
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer =
            channel.basic_consume(DIRECT_REPLY_TO.into(), "".into(), options, <_>::default());
        Ok(Self { consumer: Some(consumer.await?), here: Vec::new() })
    }

    /// Whether some are here.
    pub fn poll(&mut self, context: &mut Context<'_>) -> bool {
        while let Some(consumer) = &mut self.consumer {
            match consumer.poll_next_unpin(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(delivery))) => self.here.push(Message {
                    exchange: delivery.exchange.into(),
                    routing_key: delivery.routing_key.into(),
                    properties: from_client(&delivery.properties, |_| true),
                    body: delivery.data.into(),
                }),
                // the publishes of this channel tell why
                Poll::Ready(Some(Err(_)) | None) => self.consumer = None,
            }
        }
        !self.here.is_empty()
    }

    pub fn take(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.here)
    }
}
