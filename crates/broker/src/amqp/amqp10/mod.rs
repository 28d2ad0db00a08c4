//! Takes messages out of the way that RabbitMQ cannot hand to any AMQP 0-9-1 client: reads a queue through
//! AMQP 1.0, and replaces each such message by one that AMQP 0-9-1 can carry.
//!
//! RabbitMQ 4 keeps what an AMQP 1.0 client published as it is, and converts it for each consumer. Where it
//! has no conversion (a UUID among the application properties is enough), the consumer's channel crashes,
//! 541 ends the connection, the message is requeued, comes first again, and would end every connection
//! after it: `mc_amqpl:to_091/2`, seen on 4.0.5 and 4.3.6.

mod link;
pub mod sections;
mod value;

use tokio::time::{Instant, timeout_at};

use self::link::Link;
use super::connection::first_node;
use super::quarantine::{SILENCE, Watched, publish};
use super::{AmqpError, Publisher};
use crate::config::Broker;
use crate::message::Message;

/// A look through one queue. What it does not replace goes back when it is closed or dropped.
pub struct Amqp10 {
    link: Link,
    deadline: Instant,
}

/// A message that AMQP 0-9-1 cannot carry as it is.
#[derive(Debug)]
pub struct Uncarried {
    delivery: u32,
    /// What it can carry.
    pub message: Message,
    /// What is different in that.
    pub problems: Vec<String>,
}

impl Amqp10 {
    /// Connects to the first node that answers, and starts to look through the first messages of a queue.
    ///
    /// Errors: RabbitMQ before 4.0 does not speak AMQP 1.0 by itself.
    pub async fn open(broker: &Broker, watched: &Watched) -> Result<Self, AmqpError> {
        let link = first_node(broker, |node| Link::open(node, watched)).await?;
        Ok(Self { link, deadline: Instant::now() + broker.connect_timeout })
    }

    /// The next message that AMQP 0-9-1 cannot carry, or nothing once all were looked at, or time is up.
    pub async fn next(&mut self) -> Result<Option<Uncarried>, AmqpError> {
        loop {
            let end = self.deadline.min(Instant::now() + SILENCE);
            let Ok(received) = timeout_at(end, self.link.receive()).await else {
                return Ok(None);
            };
            let (delivery, encoded) = received?;
            let (message, problems) = sections::carried(&encoded);
            if !problems.is_empty() {
                return Ok(Some(Uncarried { delivery, message, problems }));
            }
        }
    }

    /// Publishes `message` in its place, and removes it once that is confirmed and not returned.
    ///
    /// Errors: it was not, and the original is still in its queue.
    pub async fn replace(
        &mut self,
        original: Uncarried,
        message: Message,
        publisher: &mut Publisher<()>,
    ) -> Result<(), AmqpError> {
        publish(publisher, message, self.deadline).await?;
        self.link.accept(original.delivery).await
    }

    /// Gives back what was not replaced.
    pub async fn close(self) {
        // one that fails to close is gone, and the broker requeues all the same
        let _ = timeout_at(Instant::now() + SILENCE, self.link.close()).await;
    }
}
